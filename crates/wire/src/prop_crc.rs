//! The CRC property of a record: twenty bytes at its end that vouch for all bytes before them (wire.md §13.2).
//!
//! The body's CRC that every record has says nothing about topic, properties and header. A broker with
//! `enabledAppendPropCRC` reserves the last twenty bytes of the properties for `__CRC32#`, the separator, ten decimal
//! digits from the least significant one on, and the end mark.

use std::borrow::Cow;

use crate::properties::{self, CRC32, END, NAME_VALUE};
use crate::record::RecordError;

/// Bytes that the property takes at the end of a record.
pub const SIZE: usize = CRC32.len() + 1 + DIGITS + 1;
const DIGITS: usize = 10;

/// Properties with room for the CRC at their end, and without one that came with the message: it was that of another
/// record.
pub fn reserve(text: &[u8]) -> Vec<u8> {
    let kept = if properties::find(text, CRC32).is_some() {
        let mut kept = Vec::with_capacity(text.len());
        properties::copy_without(text, &[CRC32], &mut kept);
        Cow::Owned(kept)
    } else {
        Cow::Borrowed(text)
    };
    let mut reserved = Vec::with_capacity(kept.len() + 1 + SIZE);
    reserved.extend_from_slice(&kept);
    if reserved.last().is_some_and(|last| *last != END) {
        reserved.push(END);
    }
    reserved.extend_from_slice(&tail(0));
    reserved
}

/// Writes the CRC into the room at the end of a record that is otherwise complete, offsets and times included.
pub fn seal(record: &mut [u8]) {
    if let Some(at) = record.len().checked_sub(SIZE) {
        let crc = crc32fast::hash(&record[..at]) & 0x7FFF_FFFF;
        record[at..].copy_from_slice(&tail(crc));
    }
}

/// Whether a record ends like one that was sealed; its bytes may have changed since.
pub fn is_sealed(record: &[u8]) -> bool {
    let name = record.len().checked_sub(SIZE).and_then(|at| record.get(at..at + CRC32.len()));
    name == Some(CRC32.as_bytes())
}

/// Compares the CRC at the end of a record with its bytes; a record without one fails too.
pub fn verify(record: &[u8]) -> Result<(), RecordError> {
    let Some(at) = record.len().checked_sub(SIZE) else { return Err(RecordError::PropCrc) };
    let expected = tail(crc32fast::hash(&record[..at]) & 0x7FFF_FFFF);
    if record[at..] == expected { Ok(()) } else { Err(RecordError::PropCrc) }
}

fn tail(crc: u32) -> [u8; SIZE] {
    let mut tail = [0; SIZE];
    let (name, rest) = tail.split_at_mut(CRC32.len());
    name.copy_from_slice(CRC32.as_bytes());
    rest[0] = NAME_VALUE;
    let mut left = crc;
    for digit in &mut rest[1..=DIGITS] {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    rest[DIGITS + 1] = END;
    tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::message;
    use crate::record::{Message, Record, encode, patch};

    fn sealed(properties: &[u8]) -> Vec<u8> {
        let message = Message { properties: &reserve(properties), ..message() };
        let mut record = Vec::new();
        encode(&message, &mut record).unwrap();
        patch(&mut record, 7, 4096, 1_700_000_000_001);
        seal(&mut record);
        record
    }

    #[test]
    fn the_digits_are_those_of_the_specification() {
        let record = sealed(b"KEYS\x01K1\x02TAGS\x01TagA\x02");
        assert_eq!(record.len(), 143);
        assert!(record.ends_with(b"__CRC32#\x015335214770\x02"));
        assert!(is_sealed(&record));
        assert_eq!(Record::parse(&record).unwrap().property(CRC32), Some("5335214770"));
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let record = sealed(b"KEYS\x01K1");
        verify(&record).unwrap();
        for at in 0..record.len() {
            for bit in 0..8 {
                let mut changed = record.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(verify(&changed), Err(RecordError::PropCrc), "byte {at}, bit {bit}");
            }
        }
        assert_eq!(verify(&record[..10]), Err(RecordError::PropCrc));
    }

    #[test]
    fn the_crc_that_a_message_brought_along_is_replaced() {
        let again = reserve(&reserve(b"A\x011\x02"));
        assert_eq!(again, reserve(b"A\x011"));
        assert_eq!(reserve(b"").len(), SIZE);
    }
}
