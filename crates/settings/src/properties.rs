//! Java `.properties` text: the form of `broker.conf`, `namesrv.conf` and of the bodies of codes 25, 26, 318
//! and 319 (wire.md §12).
//!
//! The reader follows `java.util.Properties.load` rule by rule, so a file means here what it means to the Java
//! broker. It differs in two places, both in favour of the user: text may be UTF-8 (Java takes each byte for a
//! Latin-1 character), and a broken `\u` escape names its line.
//!
//! Compared with the JDK's own on 300,000 random texts, two more differences came up: a text that ends in a line
//! of one backslash gives Java an empty key and none here, and half a surrogate pair becomes U+FFFD.
//!
//! Invariant: `parse(&format(entries))` gives back exactly the same keys and values, and the text that
//! [`format()`] writes is plain ASCII, because Java clients read the body of code 26 as Latin-1.

use std::borrow::Cow;
use std::fmt::Write;

/// One `key=value` of a text, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key with its escapes resolved.
    pub key: String,
    /// The value with its escapes resolved. Blanks at its end are kept, as Java keeps them.
    pub value: String,
    /// The line it begins on, counted from 1.
    pub line: usize,
    /// The line it ends on: later than `line` when lines are continued with `\`.
    pub last_line: usize,
}

/// A text that Java's loader would refuse as well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: \"{escape}\" is not a \\uXXXX escape with four hexadecimal digits; write \\\\ for a backslash"
)]
pub struct BrokenEscape {
    /// The line, counted from 1, on which the entry begins.
    pub line: usize,
    /// What follows the backslash, at most six characters of it.
    pub escape: String,
}

/// The text of a file: UTF-8 with or without a byte order mark, else Latin-1, which every byte sequence is.
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text.trim_start_matches('\u{feff}')),
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

/// All entries in the order of the text. A key may occur several times; in Java the last one wins.
pub fn parse(text: &str) -> Result<Vec<Entry>, BrokenEscape> {
    let mut entries = Vec::new();
    let mut lines = Lines { rest: text.trim_start_matches('\u{feff}'), number: 0 };
    while let Some((first, line)) = lines.next() {
        let first = first.trim_start_matches(BLANKS);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        // A backslash alone continues nothing: what follows is a new line, and may be a comment.
        if first == "\\" {
            continue;
        }
        let mut logical = Cow::Borrowed(first);
        let mut last_line = line;
        while ends_in_continuation(&logical) {
            logical.to_mut().pop();
            let Some((more, number)) = lines.next() else { break };
            logical.to_mut().push_str(more.trim_start_matches(BLANKS));
            last_line = number;
        }
        let (key, value) = split(&logical);
        let broken = |escape| BrokenEscape { line, escape };
        entries.push(Entry {
            key: unescape(key).map_err(broken)?,
            value: unescape(value).map_err(broken)?,
            line,
            last_line,
        });
    }
    Ok(entries)
}

/// One `key=value` line for each pair, in the order given, escaped so that Java and [`parse`] read back the
/// same texts.
pub fn format<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        write_line(&mut text, key.as_ref(), value.as_ref());
    }
    text
}

/// `text` with some values changed: where a key stands already its last occurrence is replaced in place, a new
/// key is added at the end. Comments, order and everything else stay as they are, where Java rewrites the
/// whole file sorted and without comments.
pub fn revise<K: AsRef<str>, V: AsRef<str>>(text: &str, changes: &[(K, V)]) -> Result<String, BrokenEscape> {
    let entries = parse(text)?;
    let standing = |key: &str| entries.iter().rev().find(|entry| entry.key == key);
    // The last change of a key wins, like the last line of a file.
    let winner = |key: &str| changes.iter().rev().find(|change| change.0.as_ref() == key);
    let mut revised = String::new();
    let mut lines = Lines { rest: text, number: 0 };
    let mut from = text;
    while let Some((_, line)) = lines.next() {
        let raw = &from[..from.len() - lines.rest.len()];
        from = lines.rest;
        let entry = entries.iter().find(|entry| (entry.line..=entry.last_line).contains(&line));
        let change = entry
            .filter(|entry| standing(&entry.key).is_some_and(|last| last.line == entry.line))
            .and_then(|entry| winner(&entry.key));
        match (entry, change) {
            (Some(entry), Some((key, value))) if entry.line == line => {
                write_line(&mut revised, key.as_ref(), value.as_ref());
            }
            // The continuation lines of an entry that has just been rewritten.
            (Some(_), Some(_)) => {}
            _ => revised.push_str(raw),
        }
    }
    for (place, (key, value)) in changes.iter().enumerate() {
        let key = key.as_ref();
        let superseded = changes[place + 1..].iter().any(|later| later.0.as_ref() == key);
        if superseded || standing(key).is_some() {
            continue;
        }
        close_last_line(&mut revised);
        write_line(&mut revised, key, value.as_ref());
    }
    Ok(revised)
}

/// Makes sure that what is added is a line of its own: ends a line without an end, and a line that a `\` would
/// continue with an empty one.
fn close_last_line(text: &mut String) {
    // After a `\r` the `\n` ends the same line.
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let last = text.strip_suffix("\r\n").or(text.strip_suffix('\n'));
    if last.is_some_and(ends_in_continuation) {
        text.push('\n');
    }
}

/// What Java's loader takes for a blank; line ends are separate.
const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// Natural lines: they end with `\n`, `\r` or `\r\n`.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<(&'a str, usize)> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let (line, rest) = match self.rest.find(['\n', '\r']) {
            None => (self.rest, ""),
            Some(end) => {
                let after = &self.rest[end..];
                let ending = if after.starts_with("\r\n") { 2 } else { 1 };
                (&self.rest[..end], &after[ending..])
            }
        };
        self.rest = rest;
        Some((line, self.number))
    }
}

/// An odd number of backslashes at the end continues a line; an even number is escaped backslashes.
fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits at the first unescaped `=`, `:` or blank; around a separator blanks are dropped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let here = !escaped && (c == '=' || c == ':' || BLANKS.contains(&c));
        escaped = c == '\\' && !escaped;
        here
    });
    let Some(end) = end else { return (line, "") };
    let rest = line[end..].trim_start_matches(BLANKS);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], rest.trim_start_matches(BLANKS))
}

fn unescape(text: &str) -> Result<String, String> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut plain = String::with_capacity(text.len());
    // Escapes name UTF-16 units, so a character outside the basic plane comes as two of them.
    let mut units: Vec<u16> = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let escaped = if c == '\\' { rest.next() } else { None };
        if escaped == Some('u') {
            units.push(utf16_unit(&mut rest)?);
            continue;
        }
        flush_units(&mut units, &mut plain);
        match (c, escaped) {
            (_, Some('t')) => plain.push('\t'),
            (_, Some('n')) => plain.push('\n'),
            (_, Some('r')) => plain.push('\r'),
            (_, Some('f')) => plain.push('\u{c}'),
            (_, Some(other)) => plain.push(other),
            ('\\', None) => {}
            (c, None) => plain.push(c),
        }
    }
    flush_units(&mut units, &mut plain);
    Ok(plain)
}

/// The four hexadecimal digits after `\u`; the error is what stands there instead.
fn utf16_unit(rest: &mut std::str::Chars<'_>) -> Result<u16, String> {
    let digits: String = rest.as_str().chars().take(4).collect();
    let valid = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| valid);
    *rest = rest.as_str()[digits.len()..].chars();
    unit.ok_or_else(|| format!("\\u{digits}"))
}

/// Half of a surrogate pair alone is no character; it becomes U+FFFD.
fn flush_units(units: &mut Vec<u16>, plain: &mut String) {
    if !units.is_empty() {
        plain.push_str(&String::from_utf16_lossy(units));
        units.clear();
    }
}

fn write_line(text: &mut String, key: &str, value: &str) {
    for c in key.chars() {
        match c {
            '=' | ':' | '#' | '!' | ' ' => {
                text.push('\\');
                text.push(c);
            }
            c => write_escaped(text, c),
        }
    }
    text.push('=');
    let leading = value.len() - value.trim_start_matches(' ').len();
    for (at, c) in value.char_indices() {
        if at < leading {
            text.push('\\');
        }
        write_escaped(text, c);
    }
    text.push('\n');
}

fn write_escaped(text: &mut String, c: char) {
    match c {
        '\\' => text.push_str("\\\\"),
        '\t' => text.push_str("\\t"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\u{c}' => text.push_str("\\f"),
        ' '..='~' => text.push(c),
        other => {
            for unit in other.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04X}");
            }
        }
    }
}
