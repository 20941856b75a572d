//! Writing frames: header in either dialect, then the body, into a buffer of outgoing bytes.

use super::{Dialect, FLAG_ONEWAY, FLAG_RESPONSE, Language, OUR_VERSION};
use crate::scan;

/// What a header says besides its ext fields.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// How to write it.
    pub dialect: Dialect,
    /// Request or response code.
    pub code: i32,
    /// Correlation number.
    pub opaque: i32,
    /// Flag bits.
    pub flag: i32,
    /// Text for people.
    pub remark: Option<&'a str>,
}

impl<'a> Head<'a> {
    /// An answer to the request numbered `opaque`, in the dialect that asked.
    pub fn response(dialect: Dialect, code: i32, opaque: i32) -> Head<'a> {
        Head { dialect, code, opaque, flag: FLAG_RESPONSE, remark: None }
    }

    /// A request that wants an answer. Codes beyond 16 bits need the JSON dialect (wire.md §4).
    pub fn request(dialect: Dialect, code: i32, opaque: i32) -> Head<'a> {
        Head { dialect, code, opaque, flag: 0, remark: None }
    }

    /// A request that wants none.
    pub fn oneway(dialect: Dialect, code: i32, opaque: i32) -> Head<'a> {
        Head { dialect, code, opaque, flag: FLAG_ONEWAY, remark: None }
    }

    /// The same with a remark.
    #[must_use]
    pub fn with_remark(self, remark: Option<&'a str>) -> Head<'a> {
        Head { remark, ..self }
    }
}

/// Appends one frame to a buffer: fields first, then the body, then the lengths are filled in.
///
/// Dropping a writer without finishing it leaves a broken frame behind; call one of the body functions.
#[must_use = "a frame must be finished with body, body_with or empty"]
pub struct FrameWriter<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    /// Where the length of the ext fields stands in the binary dialect.
    ext_length_at: usize,
    head: Tail,
    first: bool,
}

/// The part of the head that the JSON dialect writes behind the fields, where keys are in order.
struct Tail {
    dialect: Dialect,
    opaque: i32,
    flag: i32,
    remark: Option<String>,
}

impl<'o> FrameWriter<'o> {
    /// Starts a frame at the end of `out`.
    pub fn new(out: &'o mut Vec<u8>, head: &Head<'_>) -> FrameWriter<'o> {
        let start = out.len();
        out.extend_from_slice(&[0, 0, 0, 0, head.dialect.byte(), 0, 0, 0]);
        let mut ext_length_at = 0;
        match head.dialect {
            Dialect::Json => {
                out.extend_from_slice(b"{\"code\":");
                push_integer(out, head.code);
                out.extend_from_slice(b",\"extFields\":{");
            }
            Dialect::Binary => {
                out.extend_from_slice(&(head.code as i16).to_be_bytes());
                out.push(Language::JAVA.0);
                out.extend_from_slice(&(OUR_VERSION as i16).to_be_bytes());
                out.extend_from_slice(&head.opaque.to_be_bytes());
                out.extend_from_slice(&head.flag.to_be_bytes());
                let remark = head.remark.unwrap_or_default().as_bytes();
                out.extend_from_slice(&(remark.len() as u32).to_be_bytes());
                out.extend_from_slice(remark);
                ext_length_at = out.len();
                out.extend_from_slice(&[0; 4]);
            }
        }
        let remark = match head.dialect {
            Dialect::Json => head.remark.map(str::to_owned),
            Dialect::Binary => None,
        };
        let head = Tail { dialect: head.dialect, opaque: head.opaque, flag: head.flag, remark };
        FrameWriter { out, start, ext_length_at, head, first: true }
    }

    /// Adds a field. Empty values are written in JSON only; the binary dialect knows none (wire.md §4).
    pub fn field(&mut self, name: &str, value: &str) -> &mut Self {
        match self.head.dialect {
            Dialect::Json => {
                self.json_name(name);
                push_json_string(self.out, value);
            }
            Dialect::Binary => self.binary_field(name, value.as_bytes()),
        }
        self
    }

    /// Adds a number; on the wire it is text like every field.
    pub fn number(&mut self, name: &str, value: impl itoa::Integer) -> &mut Self {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(value);
        match self.head.dialect {
            Dialect::Json => {
                self.json_name(name);
                self.out.push(b'"');
                self.out.extend_from_slice(text.as_bytes());
                self.out.push(b'"');
            }
            Dialect::Binary => self.binary_field(name, text.as_bytes()),
        }
        self
    }

    /// Adds a field whose text `write` appends; it must be text that JSON needs no escapes for.
    pub fn field_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        match self.head.dialect {
            Dialect::Json => {
                self.json_name(name);
                self.out.push(b'"');
                write(self.out);
                self.out.push(b'"');
            }
            Dialect::Binary => {
                self.out.extend_from_slice(&(name.len() as u16).to_be_bytes());
                self.out.extend_from_slice(name.as_bytes());
                let at = self.out.len();
                self.out.extend_from_slice(&[0; 4]);
                write(self.out);
                let length = (self.out.len() - at - 4) as u32;
                self.out[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
        self
    }

    /// Ends the frame with a body.
    pub fn body(self, body: &[u8]) {
        self.body_with(|out| out.extend_from_slice(body));
    }

    /// Ends the frame without a body.
    pub fn empty(self) {
        self.body_with(|_| ());
    }

    /// Ends the header and lets `write` append the body.
    pub fn body_with(self, write: impl FnOnce(&mut Vec<u8>)) {
        let FrameWriter { out, start, ext_length_at, head, .. } = self;
        match head.dialect {
            Dialect::Json => push_json_tail(out, &head),
            Dialect::Binary => {
                let length = (out.len() - ext_length_at - 4) as u32;
                out[ext_length_at..ext_length_at + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
        let header_length = (out.len() - start - 8) as u32;
        let [_, h0, h1, h2] = header_length.to_be_bytes();
        out[start + 5..start + 8].copy_from_slice(&[h0, h1, h2]);
        write(out);
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    fn json_name(&mut self, name: &str) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        push_json_string(self.out, name);
        self.out.push(b':');
    }

    fn binary_field(&mut self, name: &str, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        self.out.extend_from_slice(&(name.len() as u16).to_be_bytes());
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.out.extend_from_slice(value);
    }
}

fn push_json_tail(out: &mut Vec<u8>, head: &Tail) {
    out.extend_from_slice(b"},\"flag\":");
    push_integer(out, head.flag);
    out.extend_from_slice(b",\"language\":\"JAVA\",\"opaque\":");
    push_integer(out, head.opaque);
    if let Some(remark) = &head.remark {
        out.extend_from_slice(b",\"remark\":");
        push_json_string(out, remark);
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    push_integer(out, OUR_VERSION);
    out.push(b'}');
}

fn push_integer(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends `text` as a JSON string.
pub(crate) fn push_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(plain) = scan::escaped_in_json(rest) {
        out.extend_from_slice(&rest[..plain]);
        match rest[plain] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(DIGITS[usize::from(control >> 4)]);
                out.push(DIGITS[usize::from(control & 15)]);
            }
        }
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
