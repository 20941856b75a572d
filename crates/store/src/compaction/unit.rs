//! One entry of a sparse consume queue (store.md §4.3, §4.4): where in the compaction log a message stands.

/// Bytes of an entry.
pub(crate) const UNIT_BYTES: usize = 46;

/// A message of a compaction log. Its queue offset is part of the entry, since the offsets have holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Offset in the compaction log of this queue.
    pub position: u64,
    /// Bytes of the record.
    pub size: u32,
    pub tags_code: i64,
    /// Unix milliseconds.
    pub store_timestamp: i64,
    pub queue_offset: u64,
}

impl Unit {
    /// From the bytes of a file, `None` if no message's entry stands there: the end marker, or nothing at all.
    pub fn decode(bytes: &[u8]) -> Option<Unit> {
        let long = |at: usize| bytes.get(at..)?.first_chunk().map(|chunk| i64::from_be_bytes(*chunk));
        let size = i32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
        let messages = i16::from_be_bytes(*bytes.get(36..)?.first_chunk()?);
        let (position, queue_offset) = (long(0)?, long(28)?);
        (position >= 0 && size > 0 && queue_offset >= 0 && messages > 0).then_some(Unit {
            position: position as u64,
            size: size as u32,
            tags_code: long(12)?,
            store_timestamp: long(20)?,
            queue_offset: queue_offset as u64,
        })
    }

    pub fn encode(&self) -> [u8; UNIT_BYTES] {
        let mut bytes = [0; UNIT_BYTES];
        bytes[..8].copy_from_slice(&self.position.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.store_timestamp.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.queue_offset.to_be_bytes());
        bytes[36..38].copy_from_slice(&1i16.to_be_bytes());
        bytes[38..42].copy_from_slice(&(-1i32).to_be_bytes());
        bytes
    }

    /// What Java writes behind the last entry of a file that is full.
    pub fn end_marker() -> [u8; UNIT_BYTES] {
        let mut bytes = [0; UNIT_BYTES];
        bytes[..8].copy_from_slice(&(-1i64).to_be_bytes());
        bytes[38..42].copy_from_slice(&(-1i32).to_be_bytes());
        bytes
    }

    /// Offset behind the record.
    pub fn until(&self) -> u64 {
        self.position + u64::from(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_bytes_of_the_specification() {
        let unit =
            Unit { position: 4096, size: 123, tags_code: -2, store_timestamp: 5, queue_offset: 0x0102_0304 };
        let bytes = unit.encode();
        assert_eq!(bytes[..12], [0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0x7B]);
        assert_eq!(bytes[28..], [0, 0, 0, 0, 1, 2, 3, 4, 0, 1, 255, 255, 255, 255, 0, 0, 0, 0]);
        assert_eq!(Unit::decode(&bytes), Some(unit));
        assert_eq!(Unit::decode(&bytes[..45]), Some(unit), "the reserved bytes say nothing");
        for none in [[0; UNIT_BYTES], Unit::end_marker(), [0xFF; UNIT_BYTES]] {
            assert_eq!(Unit::decode(&none), None);
        }
    }
}
