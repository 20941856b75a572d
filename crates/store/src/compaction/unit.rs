//! One entry of a sparse consume queue (store.md §4.3, §4.4): where in the compaction log a message stands. Its bytes
//! are those of an entry of a batch queue.

use wire::hash;
use wire::properties;
use wire::record::Record;

use crate::queue_entry::QueueEntry;
use crate::queue_kind::{self, QueueKind, UNIT_BYTES};

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
    /// That of a record at `position`. The queue offset of the record is not negative.
    pub fn of(record: &Record<'_>, position: u64) -> Unit {
        Unit {
            position,
            size: record.bytes.len() as u32,
            tags_code: hash::tags_code(record.property(properties::TAGS)),
            store_timestamp: record.store_timestamp,
            queue_offset: record.queue_offset as u64,
        }
    }

    /// From the bytes of a file, `None` if no message's entry stands there: the end marker, or nothing at all.
    pub fn decode(bytes: &[u8]) -> Option<Unit> {
        let queue_kind::Unit { entry, store_timestamp, base, .. } =
            queue_kind::Unit::decode(QueueKind::Batch, 0, bytes)?;
        let QueueEntry { physical_offset, size, tags_code } = entry;
        Some(Unit { position: physical_offset, size, tags_code, store_timestamp, queue_offset: base })
    }

    pub fn encode(&self) -> [u8; UNIT_BYTES] {
        self.as_queue_unit().encode()
    }

    /// As readers of queues know it.
    pub fn as_queue_unit(&self) -> queue_kind::Unit {
        let Unit { position, size, tags_code, store_timestamp, queue_offset } = *self;
        let entry = QueueEntry { physical_offset: position, size, tags_code };
        queue_kind::Unit { entry, store_timestamp, base: queue_offset, count: 1 }
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
        self.position.saturating_add(u64::from(self.size))
    }

    /// Whether this is an entry that can stand behind another.
    pub fn follows(&self, before: &Unit) -> bool {
        self.position == before.until() && self.queue_offset > before.queue_offset
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
