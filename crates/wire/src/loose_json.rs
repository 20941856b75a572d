//! JSON as fastjson writes it (wire.md §12): integer keys without quotes, whole objects as keys.
//!
//! [`read`] accepts both the strict and the loose form. An object or array used as a key becomes a string key
//! that holds its compact text, so `{{"a":1}:5}` reads as `{"{\"a\":1}":5}`. [`write_object_keyed`] writes the
//! loose form for the few bodies that have no other.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cursor::Cursor;
use crate::header::FrameWriter;

/// Nesting that a body may have.
const DEPTH_MAX: usize = 64;

/// Nesting of objects as keys inside objects as keys. Each level doubles the backslashes of the one inside it, so
/// without a limit 64 braces would ask for 2^64 bytes. No known body has more than one level.
const KEY_DEPTH_MAX: usize = 2;

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LooseJsonError {
    /// Not JSON even in the loose form.
    #[error("JSON body is malformed at byte {at}: expected {expected}")]
    Malformed {
        /// Offset in the body.
        at: usize,
        /// What would have been right there.
        expected: &'static str,
    },
    /// JSON, but not of the shape asked for.
    #[error("JSON body has the wrong shape: {0}")]
    Shape(#[from] serde_json::Error),
}

/// Reads a body of either form.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, LooseJsonError> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    Ok(serde_json::from_slice(&strict(body)?)?)
}

/// Rewrites a loose body as strict compact JSON.
pub fn strict(body: &[u8]) -> Result<Vec<u8>, LooseJsonError> {
    let mut reader = Reader {
        bytes: body,
        cursor: Cursor::new(body),
        key_depth: 0,
        out: Vec::with_capacity(body.len() + body.len() / 4),
    };
    reader.value(0)?;
    reader.cursor.space();
    if !reader.cursor.is_at_end() {
        return Err(reader.error("the end of the body"));
    }
    Ok(reader.out)
}

/// Writes `{key:value,…}` with each key as a bare object, the form that Java requires for queue-keyed maps.
pub fn write_object_keyed<K: Serialize, V: Serialize>(
    entries: impl IntoIterator<Item = (K, V)>,
) -> Result<String, serde_json::Error> {
    let mut out = String::from("{");
    for (key, value) in entries {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&serde_json::to_string(&key)?);
        out.push(':');
        out.push_str(&serde_json::to_string(&value)?);
    }
    out.push('}');
    Ok(out)
}

/// Ends a frame with a JSON body.
pub fn body_of<T: Serialize>(writer: FrameWriter<'_>, value: &T) {
    writer.body_with(|out| {
        // Serialising our own plain structs into memory cannot fail; a failure would leave an empty body.
        let start = out.len();
        if serde_json::to_writer(&mut *out, value).is_err() {
            out.truncate(start);
        }
    });
}

struct Reader<'a> {
    bytes: &'a [u8],
    cursor: Cursor<'a>,
    /// Objects as keys that enclose what is being read.
    key_depth: usize,
    out: Vec<u8>,
}

impl Reader<'_> {
    fn error(&self, expected: &'static str) -> LooseJsonError {
        LooseJsonError::Malformed { at: self.cursor.at, expected }
    }

    fn value(&mut self, depth: usize) -> Result<(), LooseJsonError> {
        if depth > DEPTH_MAX {
            return Err(self.error("less nesting"));
        }
        self.cursor.space();
        match self.cursor.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(quote @ (b'"' | b'\'')) => self.string(quote),
            Some(_) => {
                let word = self.bare_word()?;
                // A bare word that is no JSON literal can only be meant as text.
                if serde_json::from_slice::<serde_json::Value>(&word).is_ok() {
                    self.out.extend_from_slice(&word);
                } else {
                    self.push_text(&word);
                }
                Ok(())
            }
            None => Err(self.error("a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), LooseJsonError> {
        self.cursor.at += 1;
        self.out.push(b'{');
        let mut first = true;
        while !self.cursor.eat(b'}') {
            if !first {
                if !self.cursor.eat(b',') {
                    return Err(self.error("a comma or the end of the object"));
                }
                if self.cursor.eat(b'}') {
                    break;
                }
                self.out.push(b',');
            }
            first = false;
            self.key(depth)?;
            if !self.cursor.eat(b':') {
                return Err(self.error("a colon"));
            }
            self.out.push(b':');
            self.value(depth + 1)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn key(&mut self, depth: usize) -> Result<(), LooseJsonError> {
        self.cursor.space();
        match self.cursor.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote),
            Some(b'{' | b'[') => {
                if self.key_depth == KEY_DEPTH_MAX {
                    return Err(self.error("less nesting of objects as keys"));
                }
                let start = self.out.len();
                self.key_depth += 1;
                self.value(depth + 1)?;
                self.key_depth -= 1;
                let text = self.out.split_off(start);
                self.push_text(&text);
                Ok(())
            }
            _ => {
                let word = self.bare_word()?;
                self.push_text(&word);
                Ok(())
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), LooseJsonError> {
        self.cursor.at += 1;
        self.out.push(b'[');
        let mut first = true;
        while !self.cursor.eat(b']') {
            if !first {
                if !self.cursor.eat(b',') {
                    return Err(self.error("a comma or the end of the array"));
                }
                if self.cursor.eat(b']') {
                    break;
                }
                self.out.push(b',');
            }
            first = false;
            self.value(depth + 1)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn bare_word(&mut self) -> Result<Cow<'static, [u8]>, LooseJsonError> {
        let start = self.cursor.at;
        while self.cursor.peek().is_some_and(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_' | b'$' | b'%')
        }) {
            self.cursor.at += 1;
        }
        if start == self.cursor.at {
            return Err(self.error("a name, a number or a word"));
        }
        Ok(Cow::Owned(self.bytes[start..self.cursor.at].to_vec()))
    }

    fn push_text(&mut self, text: &[u8]) {
        crate::header::push_json_string(&mut self.out, &String::from_utf8_lossy(text));
    }

    /// Copies a string; escapes stay as they are, but for the quote of single-quoted strings.
    fn string(&mut self, quote: u8) -> Result<(), LooseJsonError> {
        self.cursor.at += 1;
        self.out.push(b'"');
        loop {
            let Some(byte) = self.cursor.peek() else { return Err(self.error("the end of a string")) };
            self.cursor.at += 1;
            match byte {
                b'\\' => {
                    let Some(escaped) = self.cursor.peek() else { return Err(self.error("an escape")) };
                    self.cursor.at += 1;
                    if escaped != b'\'' {
                        self.out.push(b'\\');
                    }
                    self.out.push(escaped);
                }
                byte if byte == quote => break,
                b'"' => self.out.extend_from_slice(b"\\\""),
                // fastjson lets control characters through unescaped.
                byte if byte < 0x20 => self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                byte => self.out.push(byte),
            }
        }
        self.out.push(b'"');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn strict_text(loose: &str) -> String {
        String::from_utf8(strict(loose.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn integer_keys_and_object_keys_become_strings() {
        assert_eq!(
            strict_text(r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:5}}"#),
            r#"{"offsetTable":{"{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"T\"}":5}}"#
        );
        assert_eq!(strict_text("{0:\"a\", 1:'b',}"), r#"{"0":"a","1":"b"}"#);
        assert_eq!(strict_text("[1,2,]"), "[1,2]");
        assert_eq!(strict_text("{\"a\":'it\\'s \"x\"'}"), r#"{"a":"it's \"x\""}"#);
        assert_eq!(strict_text("{\"a\":\"tab\there\"}"), "{\"a\":\"tab\\u0009here\"}");
    }

    #[test]
    fn object_keys_are_written_bare() {
        #[derive(Serialize)]
        struct Key {
            topic: &'static str,
        }
        assert_eq!(write_object_keyed([(Key { topic: "T" }, 5)]).unwrap(), r#"{{"topic":"T"}:5}"#);
    }

    #[test]
    fn deep_nesting_is_refused_and_truncation_is_an_error() {
        assert!(strict("[".repeat(10_000).as_bytes()).is_err());
        assert!(strict("{".repeat(10_000).as_bytes()).is_err());
        let whole = r#"{"a":{0:"x"},"b":['y']}"#;
        for end in 0..whole.len() {
            assert!(strict(&whole.as_bytes()[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn objects_as_keys_inside_each_other_do_not_grow_without_bound() {
        let nested = |levels: usize| format!("{}{{\"a\":1}}{}", "{".repeat(levels), ":1}".repeat(levels));
        assert!(strict(nested(KEY_DEPTH_MAX).as_bytes()).is_ok());
        for levels in [KEY_DEPTH_MAX + 1, 30, 60] {
            assert!(strict(nested(levels).as_bytes()).is_err(), "{levels}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_strict_text_stays_strict(text: String) {
            if let Ok(out) = strict(text.as_bytes()) {
                prop_assert!(std::str::from_utf8(&out).is_ok());
            }
        }
    }
}
