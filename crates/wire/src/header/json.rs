//! The JSON header (wire.md §3): one pass, no tree, unknown members skipped.

use std::borrow::Cow;
use std::ops::Range;

use super::fields::Span;
use super::{Fields, Header, HeaderError, Language};
use crate::cursor::Cursor;
use crate::scan::Stops;

/// Nesting allowed inside members that we skip.
const DEPTH_MAX: usize = 32;

pub(super) fn parse(bytes: &[u8]) -> Result<Header<'_>, HeaderError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| HeaderError::Json { at: error.valid_up_to(), expected: "UTF-8" })?;
    let mut reader = Reader { text, cursor: Cursor::new(bytes), stops: Stops::new() };
    let mut header = Header {
        code: 0,
        language: Language::JAVA,
        version: 0,
        opaque: 0,
        flag: 0,
        remark: None,
        fields: Fields::of(text),
    };
    reader.members(|reader, name| {
        match name {
            "code" => header.code = reader.integer()?,
            "flag" => header.flag = reader.integer()?,
            "opaque" => header.opaque = reader.integer()?,
            "version" => header.version = reader.integer()?,
            "language" => {
                if let Some(name) = reader.scalar()? {
                    header.language = Language::from_name(&name);
                }
            }
            "remark" => header.remark = reader.scalar()?,
            "extFields" => reader.fields(&mut header.fields)?,
            _ => reader.skip_value(0)?,
        }
        Ok(())
    })?;
    reader.cursor.space();
    if !reader.cursor.is_at_end() {
        return Err(reader.error("the end of the header"));
    }
    Ok(header)
}

struct Reader<'a> {
    text: &'a str,
    cursor: Cursor<'a>,
    stops: Stops,
}

impl<'a> Reader<'a> {
    fn error(&self, expected: &'static str) -> HeaderError {
        HeaderError::Json { at: self.cursor.at, expected }
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), HeaderError> {
        if self.cursor.eat(byte) { Ok(()) } else { Err(self.error(expected)) }
    }

    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), HeaderError>,
    ) -> Result<(), HeaderError> {
        self.expect(b'{', "an object")?;
        if self.cursor.eat(b'}') {
            return Ok(());
        }
        loop {
            self.expect(b'"', "a member name")?;
            let name = self.string_tail()?;
            self.expect(b':', "a colon")?;
            member(self, &name)?;
            if self.cursor.eat(b'}') {
                return Ok(());
            }
            self.expect(b',', "a comma or the end of the object")?;
        }
    }

    fn fields(&mut self, fields: &mut Fields<'a>) -> Result<(), HeaderError> {
        if self.eat_word("null") {
            return Ok(());
        }
        self.expect(b'{', "an object of ext fields")?;
        if self.cursor.eat(b'}') {
            return Ok(());
        }
        loop {
            self.expect(b'"', "a field name")?;
            let name = self.string_span(fields.unescaped())?;
            self.expect(b':', "a colon")?;
            if let Some(value) = self.scalar_span(fields.unescaped())? {
                fields.push(name, value)?;
            }
            if self.cursor.eat(b'}') {
                return Ok(());
            }
            self.expect(b',', "a comma or the end of the ext fields")?;
        }
    }

    fn eat_word(&mut self, word: &str) -> bool {
        self.cursor.space();
        let found = self.text[self.cursor.at..].starts_with(word);
        self.cursor.at += if found { word.len() } else { 0 };
        found
    }

    fn integer(&mut self) -> Result<i32, HeaderError> {
        self.cursor.space();
        let start = self.cursor.at;
        let quoted = self.cursor.eat(b'"');
        let from = self.cursor.at;
        while matches!(self.cursor.peek(), Some(b'-' | b'0'..=b'9')) {
            self.cursor.at += 1;
        }
        let number = self.text[from..self.cursor.at].parse();
        if quoted {
            self.expect(b'"', "the end of a quoted number")?;
        }
        number.map_err(|_| HeaderError::Json { at: start, expected: "a 32-bit integer" })
    }

    /// A string, number or boolean as text; `None` for null.
    fn scalar(&mut self) -> Result<Option<Cow<'a, str>>, HeaderError> {
        if self.cursor.eat(b'"') {
            return self.string_tail().map(Some);
        }
        let text = self.text;
        Ok(self.word()?.map(|range| Cow::Borrowed(&text[range])))
    }

    /// The same as a place, which is in `unescaped` if it had to be.
    fn scalar_span(&mut self, unescaped: &mut String) -> Result<Option<Span>, HeaderError> {
        if self.cursor.eat(b'"') {
            return self.string_span(unescaped).map(Some);
        }
        Ok(self.word()?.map(Span::of_header))
    }

    /// Where a number or boolean is; `None` for null.
    fn word(&mut self) -> Result<Option<Range<usize>>, HeaderError> {
        if self.eat_word("null") {
            return Ok(None);
        }
        let start = self.cursor.at;
        while matches!(self.cursor.peek(), Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'))
        {
            self.cursor.at += 1;
        }
        if start == self.cursor.at {
            return Err(self.error("a string, a number or a boolean"));
        }
        Ok(Some(start..self.cursor.at))
    }

    /// The rest of a string whose opening quote has been taken.
    fn string_tail(&mut self) -> Result<Cow<'a, str>, HeaderError> {
        let text = self.text;
        let plain = self.plain_part()?;
        if self.cursor.peek() == Some(b'"') {
            self.cursor.at += 1;
            return Ok(Cow::Borrowed(&text[plain]));
        }
        let mut owned = text[plain].to_owned();
        self.unescape_into(&mut owned)?;
        Ok(Cow::Owned(owned))
    }

    /// The same as a place, which is in `unescaped` if it had to be.
    fn string_span(&mut self, unescaped: &mut String) -> Result<Span, HeaderError> {
        let plain = self.plain_part()?;
        if self.cursor.peek() == Some(b'"') {
            self.cursor.at += 1;
            return Ok(Span::of_header(plain));
        }
        let from = unescaped.len();
        unescaped.push_str(&self.text[plain]);
        self.unescape_into(unescaped)?;
        Ok(Span::unescaped(from..unescaped.len()))
    }

    /// The part of a string before its end or its first escape, which is next.
    fn plain_part(&mut self) -> Result<Range<usize>, HeaderError> {
        let start = self.cursor.at;
        let Some(end) = self.stops.next(self.text.as_bytes(), start) else {
            return Err(self.error("the end of a string"));
        };
        self.cursor.at = end;
        Ok(start..end)
    }

    fn unescape_into(&mut self, owned: &mut String) -> Result<(), HeaderError> {
        let text = self.text;
        loop {
            let plain = self.plain_part()?;
            let stop = text.as_bytes()[plain.end];
            owned.push_str(&text[plain]);
            self.cursor.at += 1;
            if stop == b'"' {
                return Ok(());
            }
            let Some(escape) = self.cursor.peek() else { return Err(self.error("an escape")) };
            self.cursor.at += 1;
            match escape {
                b'n' => owned.push('\n'),
                b't' => owned.push('\t'),
                b'r' => owned.push('\r'),
                b'b' => owned.push('\u{8}'),
                b'f' => owned.push('\u{c}'),
                b'"' | b'\\' | b'/' | b'\'' => owned.push(char::from(escape)),
                b'u' => {
                    let unit = self.unit()?;
                    owned.push(self.char_from(unit)?);
                }
                _ => return Err(self.error("a known escape")),
            }
        }
    }

    fn unit(&mut self) -> Result<u16, HeaderError> {
        let digits = self.text.as_bytes().get(self.cursor.at..self.cursor.at + 4);
        if let Some([b'0', b'0', b'0', digit @ b'0'..=b'9']) = digits {
            // Separators of properties, as nearly all that is escaped.
            self.cursor.at += 4;
            return Ok(u16::from(digit - b'0'));
        }
        let mut unit = 0u16;
        for &digit in digits.ok_or_else(|| self.error("four hexadecimal digits"))? {
            let value =
                char::from(digit).to_digit(16).ok_or_else(|| self.error("four hexadecimal digits"))?;
            unit = unit << 4 | value as u16;
        }
        self.cursor.at += 4;
        Ok(unit)
    }

    /// Joins surrogate pairs; a lone surrogate becomes the replacement character, as in Java's UTF-8 output.
    fn char_from(&mut self, unit: u16) -> Result<char, HeaderError> {
        if !(0xD800..0xE000).contains(&unit) {
            return Ok(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if unit < 0xDC00 && self.text[self.cursor.at..].starts_with("\\u") {
            let back = self.cursor.at;
            self.cursor.at += 2;
            let low = self.unit()?;
            if let Some(Ok(joined)) = char::decode_utf16([unit, low]).next() {
                return Ok(joined);
            }
            self.cursor.at = back;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn skip_value(&mut self, depth: usize) -> Result<(), HeaderError> {
        if depth > DEPTH_MAX {
            return Err(self.error("less nesting"));
        }
        if self.cursor.eat(b'[') {
            if self.cursor.eat(b']') {
                return Ok(());
            }
            loop {
                self.skip_value(depth + 1)?;
                if self.cursor.eat(b']') {
                    return Ok(());
                }
                self.expect(b',', "a comma or the end of the array")?;
            }
        }
        if self.cursor.peek() == Some(b'{') {
            return self.members(|reader, _| reader.skip_value(depth + 1));
        }
        self.scalar().map(|_| ())
    }
}
