//! Extensions of queue entries (`enableConsumeQueueExt`, store.md §4.2): what readers filter by and an entry of twenty
//! bytes has no room for. The entry then holds the address of its extension in the place of the tags code.
//!
//! Extensions only ever save looking into records. Whoever finds none where an entry says that it is looks into the
//! record, so nothing is lost with them, and recovery need not bring them back as they were.

use std::io;

use crate::queue_entry::{POSITION_MAX, address_of};

/// Bytes of an extension without its bitmap.
const HEAD_BYTES: usize = 20;
/// The size stands in sixteen bits with a sign.
const UNIT_BYTES_MAX: usize = i16::MAX as usize;
/// The last bytes of a segment are left free, for the mark that says that the rest of it is unused.
const SEGMENT_REST_BYTES: u64 = 4;
/// Stands where a size would, before the unused rest of a segment.
const REST_UNUSED: i16 = -1;

/// What the extension of a queue entry says of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Hash of the tags.
    pub tags_code: i64,
    /// When the message was stored, Unix milliseconds.
    pub store_timestamp: i64,
    /// Which filters want the message; empty if that was not worked out. See [`Bitmaps`].
    pub bitmap: &'a [u8],
}

/// Works out the bitmaps of messages as they are appended.
pub trait Bitmaps: Send + Sync {
    /// Changes whenever the meaning of a bitmap does. Bitmaps that were made while it changed are not stored: the
    /// store asks before it makes them, and again when the messages have their store times.
    fn edition(&self) -> u64;

    /// Adds the bitmap of a message to `out`, or nothing if it gets none. `record` is as in the log but for the fields
    /// that only the append knows.
    fn push(&self, topic: &str, record: &[u8], out: &mut Vec<u8>);
}

/// A position that no extension of a queue with so many entries has: each takes less than half of this, and the unused
/// rest of a segment before it likewise.
pub(crate) fn unused_from(entries: u64) -> u64 {
    entries.saturating_mul(2 * (UNIT_BYTES_MAX as u64 + 1)).min(POSITION_MAX)
}

/// What bytes are, taken as an extension.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded<'a> {
    Unit(Extension<'a>),
    /// So many bytes are needed to tell.
    Short(usize),
    Nothing,
}

impl<'a> Extension<'a> {
    /// Bytes in the file.
    pub(crate) fn size(&self) -> usize {
        HEAD_BYTES + self.bitmap.len()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.size() as i16).to_be_bytes());
        out.extend_from_slice(&self.tags_code.to_be_bytes());
        out.extend_from_slice(&self.store_timestamp.to_be_bytes());
        out.extend_from_slice(&(self.bitmap.len() as i16).to_be_bytes());
        out.extend_from_slice(self.bitmap);
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Decoded<'a> {
        let Some(size) = bytes.first_chunk().map(|size| i16::from_be_bytes(*size)) else {
            return Decoded::Short(HEAD_BYTES);
        };
        let Some(size) = usize::try_from(size).ok().filter(|size| *size >= HEAD_BYTES) else {
            return Decoded::Nothing;
        };
        let Some(unit) = bytes.get(..size) else { return Decoded::Short(size) };
        let (head, bitmap) = unit.split_at(HEAD_BYTES);
        let number = |at: usize| head.get(at..).and_then(|bytes| bytes.first_chunk()).copied();
        match (number(2), number(10)) {
            (Some(tags_code), Some(store_timestamp)) if head[18..] == (bitmap.len() as i16).to_be_bytes() => {
                Decoded::Unit(Extension {
                    tags_code: i64::from_be_bytes(tags_code),
                    store_timestamp: i64::from_be_bytes(store_timestamp),
                    bitmap,
                })
            }
            _ => Decoded::Nothing,
        }
    }
}

/// The end of a queue's extensions: what is not in files yet.
#[derive(Debug, Default)]
pub(crate) struct ExtTail {
    /// Position of the first byte that only memory holds: that of `bytes`.
    pub written: u64,
    pub bytes: Vec<u8>,
}

impl ExtTail {
    /// Adds an extension; gives its address, or `None` if it cannot have one.
    pub fn push(&mut self, unit: &Extension<'_>, segment_bytes: u64) -> Option<i64> {
        let mut position = self.written + self.bytes.len() as u64;
        let size = unit.size() as u64;
        let fits = |room: u64| size + SEGMENT_REST_BYTES <= room;
        if unit.size() > UNIT_BYTES_MAX
            || position.saturating_add(2 * segment_bytes) > POSITION_MAX
            || !fits(segment_bytes)
        {
            return None;
        }
        let room = segment_bytes - position % segment_bytes;
        if !fits(room) {
            let begin = self.bytes.len();
            self.bytes.extend_from_slice(&REST_UNUSED.to_be_bytes());
            self.bytes.resize(begin + room as usize, 0);
            position += room;
        }
        unit.encode(&mut self.bytes);
        Some(address_of(position))
    }
}

/// Where the extensions of a segment end: behind the last one of an unbroken row from its beginning.
pub(crate) fn end_in_segment(
    segment_bytes: u64,
    read: &dyn Fn(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<u64> {
    const CHUNK: u64 = 256 << 10;
    let (mut at, mut chunk_at, mut chunk) = (0, 0, Vec::new());
    while at + (HEAD_BYTES as u64) < segment_bytes {
        let held = chunk.get((at - chunk_at) as usize..).unwrap_or_default();
        match Extension::decode(held) {
            Decoded::Unit(unit) => at += unit.size() as u64,
            Decoded::Nothing => break,
            Decoded::Short(needed) if at + needed as u64 > segment_bytes => break,
            Decoded::Short(_) => {
                chunk.resize(CHUNK.min(segment_bytes - at) as usize, 0);
                read(at, &mut chunk)?;
                chunk_at = at;
            }
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Extension<'static> =
        Extension { tags_code: 2_598_919, store_timestamp: 1_700_000_000_000, bitmap: &[1, 0x80] };

    fn encoded(unit: &Extension<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        unit.encode(&mut bytes);
        bytes
    }

    #[test]
    fn an_extension_has_the_bytes_of_the_specification() {
        let bytes = encoded(&UNIT);
        let expected =
            [0, 22, 0, 0, 0, 0, 0, 0x27, 0xA8, 0x07, 0, 0, 1, 0x8B, 0xCF, 0xE5, 0x68, 0, 0, 2, 1, 0x80];
        assert_eq!(bytes, expected);
        assert_eq!(Extension::decode(&bytes), Decoded::Unit(UNIT));
        assert_eq!(Extension::decode(&bytes[..21]), Decoded::Short(22));
        assert_eq!(Extension::decode(&bytes[..1]), Decoded::Short(20));
        assert_eq!(Extension::decode(&[0; 40]), Decoded::Nothing);
        assert_eq!(Extension::decode(&[0xFF; 40]), Decoded::Nothing);
        let mut torn = bytes;
        torn[19] = 3;
        assert_eq!(Extension::decode(&torn), Decoded::Nothing);
    }

    #[test]
    fn a_segment_that_is_full_ends_with_the_mark() {
        let mut tail = ExtTail { written: 100, bytes: Vec::new() };
        // 100 + 22 + 4 is more than 124.
        assert_eq!(tail.push(&UNIT, 124), Some(address_of(124)));
        assert_eq!(tail.bytes.len(), 24 + 22);
        assert_eq!(tail.bytes[..4], [0xFF, 0xFF, 0, 0]);
        assert_eq!(tail.push(&UNIT, 124), Some(address_of(146)));
        assert_eq!(tail.push(&Extension { bitmap: &[0; 200], ..UNIT }, 124), None);
        assert_eq!(tail.push(&Extension { bitmap: &[0; 40_000], ..UNIT }, 1 << 20), None);
        let mut full = ExtTail { written: POSITION_MAX - 50, bytes: Vec::new() };
        assert_eq!(full.push(&UNIT, 124), None);
    }

    #[test]
    fn the_end_is_behind_the_last_of_an_unbroken_row() {
        let mut segment = encoded(&UNIT).repeat(3);
        segment.resize(124, 0);
        let end = |segment: &[u8]| {
            let read = |at: u64, out: &mut [u8]| {
                out.copy_from_slice(&segment[at as usize..at as usize + out.len()]);
                Ok(())
            };
            end_in_segment(segment.len() as u64, &read).unwrap()
        };
        assert_eq!(end(&segment), 66);
        assert_eq!(end(&[0; 124]), 0);
        segment[66..68].copy_from_slice(&[0x7F, 0xFF]);
        assert_eq!(end(&segment), 66);
        segment[66..68].copy_from_slice(&[0xFF, 0xFF]);
        assert_eq!(end(&segment), 66);
        assert_eq!(end(&encoded(&UNIT).repeat(3)), 66);
    }
}
