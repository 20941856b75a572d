//! Reading answers: frames from a socket, and of each the code and the opaque number without a JSON parser.

use std::io::{self, Read};

use wire::frame::{self, Frame};
use wire::header::{self, Dialect, Header};
use wire::record::Prefix;

/// Bytes asked from the socket at once.
const READ_SIZE: usize = 256 << 10;

/// Bytes that arrived and were not consumed. Grows to the largest announced frame, never beyond the protocol's.
pub struct Inbox {
    bytes: Vec<u8>,
    from: usize,
    until: usize,
}

impl Inbox {
    pub fn new() -> Inbox {
        Inbox { bytes: vec![0; READ_SIZE], from: 0, until: 0 }
    }

    /// Reads once. `Ok(0)` is the end of the stream.
    pub fn read(&mut self, mut source: impl Read) -> io::Result<usize> {
        if self.from > 0 {
            self.bytes.copy_within(self.from..self.until, 0);
            self.until -= self.from;
            self.from = 0;
        }
        let announced = frame::announced(&self.bytes[..self.until]).unwrap_or(0).min(frame::FRAME_MAX);
        if announced > self.bytes.len() {
            self.bytes.resize(announced.next_power_of_two(), 0);
        }
        let count = source.read(&mut self.bytes[self.until..])?;
        self.until += count;
        Ok(count)
    }

    /// Hands every complete frame to `take`.
    pub fn frames<E>(&mut self, mut take: impl FnMut(&Frame<'_>) -> Result<(), E>) -> Result<(), E>
    where
        E: From<frame::FrameError>,
    {
        while let Some(frame) = frame::split(&self.bytes[self.from..self.until], frame::FRAME_MAX)? {
            take(&frame)?;
            self.from += frame.size;
        }
        Ok(())
    }
}

/// Finds code and opaque number in headers of one peer.
///
/// Servers write the members in one order, so the opaque number stands at the same distance from the end as in
/// the answer before; when it does not, it is searched, and when that fails the real parser decides.
#[derive(Default)]
pub struct Scanner {
    opaque_from_end: usize,
}

const CODE: &[u8] = b"{\"code\":";
const OPAQUE: &[u8] = b"\"opaque\":";

impl Scanner {
    /// Code and opaque number of a header.
    pub fn scan(&mut self, frame: &Frame<'_>) -> Result<(i32, i32), header::HeaderError> {
        let fast = match frame.dialect {
            Dialect::Json => self.scan_json(frame.header),
            Dialect::Binary => scan_binary(frame.header),
        };
        match fast {
            Some(found) => Ok(found),
            None => parse(frame).map(|header| (header.code, header.opaque)),
        }
    }

    fn scan_json(&mut self, header: &[u8]) -> Option<(i32, i32)> {
        let code = header.strip_prefix(CODE).and_then(number)?;
        Some((code, number(&header[self.opaque_digits(header)?..])?))
    }

    /// Where the digits of the opaque number begin.
    ///
    /// The key cannot be mistaken: inside a JSON string its quotes would be escaped.
    fn opaque_digits(&mut self, header: &[u8]) -> Option<usize> {
        let guess = header.len().wrapping_sub(self.opaque_from_end);
        if header.get(guess..).is_some_and(|rest| rest.starts_with(OPAQUE)) {
            return Some(guess + OPAQUE.len());
        }
        let found = header.windows(OPAQUE.len()).rposition(|window| window == OPAQUE)?;
        self.opaque_from_end = header.len() - found;
        Some(found + OPAQUE.len())
    }
}

fn scan_binary(header: &[u8]) -> Option<(i32, i32)> {
    let code = i16::from_be_bytes(*header.first_chunk()?);
    let opaque = i32::from_be_bytes(*header.get(5..)?.first_chunk()?);
    Some((i32::from(code), opaque))
}

/// A number that is followed by the end of a member.
fn number(bytes: &[u8]) -> Option<i32> {
    let (negative, digits) = match bytes.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, bytes),
    };
    let mut value = 0i64;
    for (at, &byte) in digits.iter().enumerate().take(12) {
        match byte {
            b'0'..=b'9' => value = value * 10 + i64::from(byte - b'0'),
            b',' | b'}' if at > 0 => return i32::try_from(if negative { -value } else { value }).ok(),
            _ => return None,
        }
    }
    None
}

/// The records of a pull's body, one after the other by their length fields; an error is the last.
pub fn records(body: &[u8]) -> impl Iterator<Item = Result<&[u8], &'static str>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut rest);
        let Some(prefix) = Prefix::parse(bytes).filter(Prefix::is_record) else {
            return Some(Err("a pull body with bytes that are no record"));
        };
        let Some((record, behind)) = bytes.split_at_checked((prefix.size as usize).max(1)) else {
            return Some(Err("a pull body that ends within a record"));
        };
        rest = behind;
        Some(Ok(record))
    })
}

/// The whole header, for the answers that need more than code and opaque number.
pub fn parse<'a>(frame: &Frame<'a>) -> Result<Header<'a>, header::HeaderError> {
    header::parse(frame.dialect, frame.header)
}

/// The remark of an answer, or why it has none that can be read.
pub fn remark(frame: &Frame<'_>) -> String {
    match parse(frame) {
        Ok(header) => header.remark.unwrap_or_default().into_owned(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::header::{FrameWriter, Head};

    fn framed(header: &str) -> Frame<'_> {
        Frame { dialect: Dialect::Json, header: header.as_bytes(), body: b"", size: 0 }
    }

    #[test]
    fn answers_of_java_and_of_ours_are_scanned_and_the_place_is_remembered() {
        let mut scanner = Scanner::default();
        let java = r#"{"code":0,"extFields":{"queueId":"0","msgId":"7F000001000074D70000000000000000"},"flag":1,"language":"JAVA","opaque":1000000015,"serializeTypeCurrentRPC":"JSON","version":513}"#;
        assert_eq!(scanner.scan(&framed(java)), Ok((0, 1_000_000_015)));
        let place = scanner.opaque_from_end;
        assert_ne!(place, 0);
        let longer = java.replace("\"0\"", "\"1234567\"").replace("15,", "16,");
        assert_eq!(scanner.scan(&framed(&longer)), Ok((0, 1_000_000_016)));
        assert_eq!(scanner.opaque_from_end, place);
    }

    #[test]
    fn remarks_that_look_like_members_do_not_mislead() {
        let text =
            r#"{"code":2,"flag":1,"language":"JAVA","opaque":-7,"remark":"\"opaque\":99,","version":1}"#;
        assert_eq!(Scanner::default().scan(&framed(text)), Ok((2, -7)));
    }

    #[test]
    fn unusual_order_falls_back_to_the_parser() {
        let text = r#"{ "opaque" : 5, "code" : 14, "flag":1 }"#;
        assert_eq!(Scanner::default().scan(&framed(text)), Ok((14, 5)));
        assert!(Scanner::default().scan(&framed("{\"code\":x")).is_err());
    }

    #[test]
    fn frames_are_taken_however_they_are_cut() {
        let mut stream = Vec::new();
        for (dialect, opaque) in [(Dialect::Json, 1_000_000_001), (Dialect::Binary, -3), (Dialect::Json, 9)] {
            FrameWriter::new(&mut stream, &Head::response(dialect, 13, opaque)).body(&[7; 300]);
        }
        for cut in 1..stream.len() {
            let mut inbox = Inbox::new();
            let mut scanner = Scanner::default();
            let mut seen = Vec::new();
            for part in stream.chunks(cut) {
                assert_eq!(inbox.read(part).unwrap(), part.len());
                inbox
                    .frames(|frame| {
                        seen.push(scanner.scan(frame).unwrap());
                        Ok::<_, frame::FrameError>(())
                    })
                    .unwrap();
            }
            assert_eq!(seen, [(13, 1_000_000_001), (13, -3), (13, 9)]);
        }
    }

    #[test]
    fn a_frame_larger_than_the_buffer_makes_it_grow() {
        let mut stream = Vec::new();
        FrameWriter::new(&mut stream, &Head::response(Dialect::Json, 0, 1)).body(&vec![0; 3 * READ_SIZE]);
        let mut inbox = Inbox::new();
        let mut source = &stream[..];
        let mut sizes = Vec::new();
        while inbox.read(&mut source).unwrap() > 0 {
            let taken = inbox.frames(|frame| {
                sizes.push(frame.size);
                Ok::<_, frame::FrameError>(())
            });
            taken.unwrap();
        }
        assert_eq!(sizes, [stream.len()]);
    }
}
