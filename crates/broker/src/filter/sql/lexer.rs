//! Tokens of an expression, one at a time: what stands behind a complete expression is never looked at, as in Java.

use super::SqlError;

/// One token; texts borrow from the expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    And,
    Between,
    Contains,
    EndsWith,
    False,
    In,
    Is,
    Not,
    Null,
    Or,
    StartsWith,
    True,
    Identifier(&'a str),
    /// Digits without the suffix `L`.
    Integer(&'a str),
    Float(&'a str),
    /// What stands between the quotes; a quote within is still doubled.
    Text(&'a str),
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Open,
    Close,
    Comma,
    Plus,
    Minus,
    End,
}

const KEYWORDS: [(&str, Token<'static>); 12] = [
    ("AND", Token::And),
    ("BETWEEN", Token::Between),
    ("CONTAINS", Token::Contains),
    ("ENDSWITH", Token::EndsWith),
    ("FALSE", Token::False),
    ("IN", Token::In),
    ("IS", Token::Is),
    ("NOT", Token::Not),
    ("NULL", Token::Null),
    ("OR", Token::Or),
    ("STARTSWITH", Token::StartsWith),
    ("TRUE", Token::True),
];

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((name, _)) = KEYWORDS.iter().find(|(_, token)| token == self) {
            return formatter.write_str(name);
        }
        let symbol = match self {
            Token::Identifier(text) | Token::Integer(text) | Token::Float(text) => text,
            Token::Text(text) => return write!(formatter, "'{text}'"),
            Token::Equal => "=",
            Token::Unequal => "<>",
            Token::Less => "<",
            Token::LessEqual => "<=",
            Token::Greater => ">",
            Token::GreaterEqual => ">=",
            Token::Open => "(",
            Token::Close => ")",
            Token::Comma => ",",
            Token::Plus => "+",
            Token::Minus => "-",
            _ => "the end",
        };
        formatter.write_str(symbol)
    }
}

/// Reads tokens from the front of an expression.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    /// The next token and where it begins, in bytes.
    pub fn next(&mut self) -> Result<(Token<'a>, usize), SqlError> {
        self.skip_blanks()?;
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.bytes().next() else { return Ok((Token::End, start)) };
        let (token, len) = match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => word(rest),
            b'0'..=b'9' | b'.' => number(rest).ok_or_else(|| self.stray(start))?,
            b'\'' => text(rest)
                .ok_or_else(|| SqlError::new(self.text, start, "the text that begins here does not end"))?,
            _ => symbol(rest).ok_or_else(|| self.stray(start))?,
        };
        self.at += len;
        Ok((token, start))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn stray(&self, at: usize) -> SqlError {
        let stray = self.text[at..].chars().next().unwrap_or_default();
        SqlError::new(self.text, at, format!("{stray:?} has no meaning here"))
    }

    fn skip_blanks(&mut self) -> Result<(), SqlError> {
        loop {
            let rest = self.rest();
            let bare = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0C']);
            self.at += rest.len() - bare.len();
            if bare.starts_with("--")
                // Without an end of line these are two minus signs.
                && let Some(end) = bare.find(['\n', '\r'])
            {
                self.at += end;
            } else if let Some(comment) = bare.strip_prefix("/*") {
                let Some(end) = comment.find("*/") else {
                    return Err(SqlError::new(
                        self.text,
                        self.at,
                        "the comment that begins here does not end",
                    ));
                };
                self.at += end + 4;
            } else {
                return Ok(());
            }
        }
    }
}

fn word(rest: &str) -> (Token<'_>, usize) {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    let len = rest.bytes().take_while(is_part).count();
    let word = &rest[..len];
    let keyword = KEYWORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
    (keyword.map_or(Token::Identifier(word), |(_, token)| *token), len)
}

/// The longest number at the front: a float if there is one, else an integer. Zeros in front of an integer are
/// numbers of their own.
fn number(rest: &str) -> Option<(Token<'_>, usize)> {
    let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(0);
    let mut len = whole;
    let mut is_float = false;
    if rest[whole..].starts_with('.') {
        let decimals = digits(whole + 1);
        if whole + decimals == 0 {
            return None;
        }
        len += 1 + decimals;
        is_float = true;
    }
    if rest[len..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[len + 1..].starts_with(['+', '-']));
        let exponent = digits(len + 1 + sign);
        if exponent > 0 {
            len += 1 + sign + exponent;
            is_float = true;
        }
    }
    if is_float {
        return Some((Token::Float(&rest[..len]), len));
    }
    if rest.starts_with('0') {
        return Some((Token::Integer("0"), 1));
    }
    let suffix = usize::from(rest[whole..].starts_with(['l', 'L']));
    Some((Token::Integer(&rest[..whole]), whole + suffix))
}

/// A text in quotes. Where it has no end because its last quote is doubled, it ends at the first of the two, as Java's
/// longest match does.
fn text(rest: &str) -> Option<(Token<'_>, usize)> {
    let bytes = rest.as_bytes();
    let ending = |at: usize| (Token::Text(&rest[1..at]), at + 1);
    let mut doubled = None;
    let mut at = 1;
    while let Some(distance) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == b'\'')) {
        at += distance;
        if bytes.get(at + 1) != Some(&b'\'') {
            return Some(ending(at));
        }
        doubled = Some(at);
        at += 2;
    }
    doubled.map(ending)
}

fn symbol(rest: &str) -> Option<(Token<'_>, usize)> {
    let two = match rest.as_bytes().first_chunk() {
        Some(b"<>") => Token::Unequal,
        Some(b"<=") => Token::LessEqual,
        Some(b">=") => Token::GreaterEqual,
        _ => return one_character(rest),
    };
    Some((two, 2))
}

fn one_character(rest: &str) -> Option<(Token<'_>, usize)> {
    let token = match rest.as_bytes().first()? {
        b'=' => Token::Equal,
        b'<' => Token::Less,
        b'>' => Token::Greater,
        b'(' => Token::Open,
        b')' => Token::Close,
        b',' => Token::Comma,
        b'+' => Token::Plus,
        b'-' => Token::Minus,
        _ => return None,
    };
    Some((token, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<String>, String> {
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::new();
        loop {
            match lexer.next().map_err(|error| error.to_string())? {
                (Token::End, _) => return Ok(tokens),
                (token, _) => tokens.push(format!("{token:?}")),
            }
        }
    }

    #[test]
    fn numbers_are_as_long_as_they_can_be() {
        assert_eq!(tokens("007.5").unwrap(), ["Float(\"007.5\")"]);
        assert_eq!(tokens("07").unwrap(), ["Integer(\"0\")", "Integer(\"7\")"]);
        assert_eq!(tokens("12L 5.e3 .5 1e").unwrap().len(), 5);
        assert_eq!(tokens("1e+5").unwrap(), ["Float(\"1e+5\")"]);
        assert!(tokens(".").is_err());
    }

    #[test]
    fn a_quote_in_a_text_is_doubled() {
        assert_eq!(tokens("'it''s'").unwrap(), ["Text(\"it''s\")"]);
        assert_eq!(tokens("''").unwrap(), ["Text(\"\")"]);
        assert!(tokens("'it''s").is_err());
        assert!(tokens("'").is_err());
        assert_eq!(Lexer::new("'it''s").next().unwrap(), (Token::Text("it"), 0));
    }

    #[test]
    fn comments_are_skipped_and_need_their_end() {
        assert_eq!(tokens("a -- b\n/* c **/ d").unwrap(), ["Identifier(\"a\")", "Identifier(\"d\")"]);
        assert_eq!(tokens("--b").unwrap(), ["Minus", "Minus", "Identifier(\"b\")"]);
        assert!(tokens("a /*/").is_err());
    }
}
