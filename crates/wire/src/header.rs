//! Frame headers in both dialects, JSON and ROCKETMQ binary (wire.md §3, §4, §5).
//!
//! Reading borrows from the frame and copies only text that had to be unescaped. Writing appends to the
//! buffer of outgoing bytes. A server answers in the dialect that asked.

mod binary;
mod fields;
mod json;
mod writer;

use std::borrow::Cow;

pub use fields::{FIELDS_MAX, Fields};
pub(crate) use writer::push_json_string;
pub use writer::{FrameWriter, Head};

/// The version number that we announce: RocketMQ 5.5.0 (since-5.3.md).
///
/// Java consumers refuse SQL92 subscriptions against a broker that answers a heartbeat with less than 232.
pub const OUR_VERSION: i32 = 513;

/// How a header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// A JSON object; every official client's default.
    Json,
    /// The compact form of `rocketmq.serialize.type=ROCKETMQ`; its code field has only 16 bits.
    Binary,
}

impl Dialect {
    /// From the byte at offset 4 of a frame.
    pub fn from_byte(byte: u8) -> Option<Dialect> {
        match byte {
            0 => Some(Dialect::Json),
            1 => Some(Dialect::Binary),
            _ => None,
        }
    }

    /// The byte at offset 4 of a frame.
    pub fn byte(self) -> u8 {
        match self {
            Dialect::Json => 0,
            Dialect::Binary => 1,
        }
    }
}

/// Language of a peer, by RocketMQ's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Language(pub u8);

const LANGUAGES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS",
    "RUST", "NODE_JS",
];

impl Language {
    /// What we answer with: older clients know no newer name, and all know this one.
    pub const JAVA: Language = Language(0);
    /// C++ clients get one push body in another shape (wire.md §11.10).
    pub const CPP: Language = Language(1);
    /// A peer that named no language we know.
    pub const OTHER: Language = Language(7);

    /// From the name in a JSON header.
    pub fn from_name(name: &str) -> Language {
        match LANGUAGES.iter().position(|known| *known == name) {
            Some(number) => Language(number as u8),
            None => Language::OTHER,
        }
    }

    /// The name in a JSON header.
    pub fn name(self) -> &'static str {
        LANGUAGES.get(usize::from(self.0)).copied().unwrap_or("OTHER")
    }
}

/// Flag bit: this frame answers a request.
pub const FLAG_RESPONSE: i32 = 1;
/// Flag bit: the sender wants no answer.
pub const FLAG_ONEWAY: i32 = 2;

/// A header read from a frame.
#[derive(Debug, Clone)]
pub struct Header<'a> {
    /// Request or response code.
    pub code: i32,
    /// Language of the sender.
    pub language: Language,
    /// Version number of the sender; 0 when it names none.
    pub version: i32,
    /// Correlates a response with its request.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`] and [`FLAG_ONEWAY`].
    pub flag: i32,
    /// Text for people.
    pub remark: Option<Cow<'a, str>>,
    /// The ext fields.
    pub fields: Fields<'a>,
}

impl Header<'_> {
    /// Whether this header answers a request.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether no answer may be sent.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}

/// Reads a header of the given dialect.
pub fn parse(dialect: Dialect, bytes: &[u8]) -> Result<Header<'_>, HeaderError> {
    match dialect {
        Dialect::Json => json::parse(bytes),
        Dialect::Binary => binary::parse(bytes),
    }
}

/// Why a header cannot be read. The connection it came over is closed, as official peers do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The text is no JSON object of a header.
    #[error("JSON header is malformed at byte {at}: expected {expected}")]
    Json {
        /// Offset in the header.
        at: usize,
        /// What would have been right there.
        expected: &'static str,
    },
    /// A length in a binary header is negative or leads outside it.
    #[error("binary header is malformed at byte {at}: {what}")]
    Binary {
        /// Offset in the header.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// More ext fields than anybody sends.
    #[error("header has more than {FIELDS_MAX} ext fields")]
    Fields,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;
    use proptest::prelude::*;

    #[test]
    fn the_sample_of_the_specification_is_read() {
        let text = br#"{"code":105,"extFields":{"topic":"T"},"flag":0,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":479}"#;
        let header = parse(Dialect::Json, text).unwrap();
        assert_eq!((header.code, header.opaque, header.flag, header.version), (105, 7, 0, 479));
        assert_eq!(header.language, Language::JAVA);
        assert_eq!(header.fields.get("topic"), Some("T"));
    }

    #[test]
    fn unusual_but_legal_json_is_read() {
        let text = b" { \"code\" : 10 , \"unknown\":[1,{\"a\":null}], \"extFields\":{\"n\":3,\"b\":true,\"e\":\"\",\"p\":\"A\\u00011\\u0002\\n\\uD83D\\uDE00\",\"x\":null},\"remark\":null,\"flag\":-1,\"opaque\":-5} ";
        let header = parse(Dialect::Json, text).unwrap();
        assert_eq!(header.opaque, -5);
        assert_eq!(header.fields.get("n"), Some("3"));
        assert_eq!(header.fields.get("b"), Some("true"));
        assert_eq!(header.fields.get("e"), Some(""));
        assert_eq!(header.fields.get("p"), Some("A\u{1}1\u{2}\n\u{1F600}"));
        assert_eq!(header.fields.get("x"), None);
        assert_eq!(header.remark, None);
    }

    #[test]
    fn malformed_json_is_an_error() {
        for bad in [
            "",
            "null",
            "[]",
            "{",
            "{\"code\":}",
            "{\"code\":1}x",
            "{\"code\":99999999999}",
            "{\"extFields\":3}",
        ] {
            assert!(parse(Dialect::Json, bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn more_fields_than_the_limit_are_refused_in_both_dialects() {
        for dialect in [Dialect::Json, Dialect::Binary] {
            for (count, fits) in [(FIELDS_MAX, true), (FIELDS_MAX + 1, false)] {
                let mut out = Vec::new();
                let mut writer = FrameWriter::new(&mut out, &Head::request(dialect, 1, 1));
                for _ in 0..count {
                    writer.field("a", "b");
                }
                writer.empty();
                let frame = frame::split(&out, frame::FRAME_MAX).unwrap().unwrap();
                assert_eq!(parse(dialect, frame.header).is_ok(), fits, "{dialect:?} {count}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_in_both_dialects(
            code in 0i32..32767, opaque: i32, remark in proptest::option::of("[^\\x00]{1,20}"),
            pairs in proptest::collection::vec(("[a-zA-Z]{1,12}", "(?s).{1,30}"), 0..6), body: Vec<u8>
        ) {
            for dialect in [Dialect::Json, Dialect::Binary] {
                let mut out = Vec::new();
                let mut writer =
                    FrameWriter::new(&mut out, &Head::response(dialect, code, opaque).with_remark(remark.as_deref()));
                for (key, value) in &pairs {
                    writer.field(key, value);
                }
                writer.body(&body);
                let frame = frame::split(&out, frame::FRAME_MAX).unwrap().unwrap();
                prop_assert_eq!(frame.size, out.len());
                prop_assert_eq!(frame.body, &body[..]);
                let header = parse(frame.dialect, frame.header).unwrap();
                prop_assert_eq!((header.code, header.opaque, header.flag), (code, opaque, FLAG_RESPONSE));
                prop_assert_eq!(header.remark.as_deref(), remark.as_deref());
                let read: Vec<_> = header.fields.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
                prop_assert_eq!(&read, &pairs);
            }
        }

        #[test]
        fn no_bytes_make_a_parser_panic(bytes: Vec<u8>) {
            let _ = parse(Dialect::Json, &bytes);
            let _ = parse(Dialect::Binary, &bytes);
            let _ = frame::split(&bytes, frame::FRAME_MAX);
        }
    }
}
