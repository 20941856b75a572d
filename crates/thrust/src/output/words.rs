//! Numbers and times in sentences.

use super::cells::cells;

/// `1 message`, `2 messages`.
pub fn count(number: impl std::fmt::Display, noun: &str) -> String {
    match number.to_string().as_str() {
        "1" => format!("1 {noun}"),
        many => format!("{many} {noun}s"),
    }
}

/// A whole number with its thousands set apart: `1,234,567`.
pub fn grouped(number: impl std::fmt::Display) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && digit.is_ascii_digit() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as people read them: `512 bytes`, `1.5 KiB`.
pub fn bytes(number: u64) -> String {
    if number < 1024 {
        return count(number, "byte");
    }
    let exponent = (number.ilog2() / 10) as usize;
    let unit = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][exponent - 1];
    format!("{:.1} {unit}", number as f64 / (1_u64 << (10 * exponent)) as f64)
}

/// `a`, `a and b`, `a, b and c`.
pub fn list<T: AsRef<str>>(items: &[T]) -> String {
    match items {
        [] => "none".to_owned(),
        [one] => one.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

/// A text with line ends, so that no line is longer than `columns`; lines after the first begin with `indent` spaces.
/// What stands between backticks is a command to copy, and stays in one piece.
pub fn wrapped(text: &str, columns: usize, indent: usize) -> String {
    let words = text.trim_start_matches(' ');
    let mut lines = " ".repeat(text.len() - words.len());
    let mut width = lines.len();
    let mut is_first = true;
    for word in pieces(words) {
        let cells = cells(word);
        if !is_first && width + 1 + cells > columns {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            width = indent;
        } else if !is_first {
            lines.push(' ');
            width += 1;
        }
        is_first = false;
        lines.push_str(word);
        width += cells;
    }
    lines
}

/// Words, and commands as they are.
fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut in_command) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '`' => in_command = !in_command,
            ' ' if !in_command => {
                pieces.push(&text[start..at]);
                start = at + 1;
            }
            _ => (),
        }
    }
    pieces.push(&text[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural_and_lists_end_with_and() {
        assert_eq!(
            [count(0, "queue"), count(1, "queue"), count(2, "queue")],
            ["0 queues", "1 queue", "2 queues"]
        );
        assert_eq!(
            [bytes(1), bytes(1023), bytes(1536), bytes(u64::MAX)].join(" "),
            "1 byte 1023 bytes 1.5 KiB 16.0 EiB"
        );
        assert_eq!([list(&["a"]), list(&["a", "b"]), list(&["a", "b", "c"])], ["a", "a and b", "a, b and c"]);
    }

    #[test]
    fn long_texts_are_wrapped_between_words() {
        assert_eq!(wrapped("one two three", 7, 2), "one two\n  three");
        assert_eq!(wrapped("unbreakable", 3, 0), "unbreakable");
        assert_eq!(wrapped("  one two", 6, 4), "  one\n    two");
        assert_eq!(wrapped("try `a b c` now", 6, 0), "try\n`a b c`\nnow");
        assert_eq!(wrapped("one two", usize::MAX, 2), "one two");
    }
}
