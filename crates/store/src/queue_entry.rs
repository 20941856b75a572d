//! One entry of a simple consume queue (store.md §4.1), whose twenty bytes begin those of a batch queue too.

/// Bytes of an entry on disk.
pub(crate) const ENTRY_BYTES: usize = 20;
/// A larger hole in a queue's numbering is not filled: one damaged number must not fill the disk.
pub(crate) const FILLED_MAX: u64 = 1_000_000;
/// Size field of the filler before the first entry of a queue that does not begin at a segment's start.
const PRE_BLANK_SIZE: u32 = 0x7FFF_FFFF;
/// Highest tags code that is not one but the address of an extension.
const ADDRESS_MAX: i64 = i32::MIN as i64 - 1;
/// Positions from here on have no address.
pub(crate) const POSITION_MAX: u64 = ADDRESS_MAX.wrapping_sub(i64::MIN) as u64;

/// One entry: a message's place in the log, and what readers filter by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueEntry {
    /// Offset of the record in the commit log.
    pub physical_offset: u64,
    /// Bytes of the record.
    pub size: u32,
    /// Hash of the tags, the time of delivery in the schedule topic, or the address of an extension; see
    /// [`QueueEntry::known_tags_code`].
    pub tags_code: i64,
}

impl QueueEntry {
    /// Filler that stands for no message.
    pub(crate) const PRE_BLANK: QueueEntry =
        QueueEntry { physical_offset: 0, size: PRE_BLANK_SIZE, tags_code: 0 };

    /// From the bytes of a queue file, `None` if nothing valid was written there.
    pub(crate) fn decode(bytes: &[u8]) -> Option<QueueEntry> {
        let physical_offset = i64::from_be_bytes(*bytes.first_chunk()?);
        let size = i32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
        let tags_code = i64::from_be_bytes(*bytes.get(12..)?.first_chunk()?);
        if physical_offset < 0 || size <= 0 {
            return None;
        }
        Some(QueueEntry { physical_offset: physical_offset as u64, size: size as u32, tags_code })
    }

    pub(crate) fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.physical_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// The tags code, unless the address of an extension stands in its place (`enableConsumeQueueExt`): then that or
    /// the record itself tells it.
    pub fn known_tags_code(&self) -> Option<i64> {
        position_of(self.tags_code).is_none().then_some(self.tags_code)
    }

    /// Where its extension stands among those of its queue, if it has one.
    pub fn extension_position(&self) -> Option<u64> {
        position_of(self.tags_code)
    }

    /// Whether it stands for no message.
    pub(crate) fn is_pre_blank(&self) -> bool {
        self.physical_offset == 0 && self.size == PRE_BLANK_SIZE
    }
}

/// The position among the extensions of its queue that a tags code stands for, if it is no tags code.
fn position_of(tags_code: i64) -> Option<u64> {
    (tags_code <= ADDRESS_MAX).then(|| tags_code.wrapping_sub(i64::MIN) as u64)
}

/// What stands in the place of the tags code for the extension at a position.
pub(crate) fn address_of(position: u64) -> i64 {
    (position as i64).wrapping_add(i64::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_bytes_of_the_specification() {
        let entry = QueueEntry { physical_offset: 4096, size: 123, tags_code: 2_598_919 };
        let bytes = entry.encode();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0x7B, 0, 0, 0, 0, 0, 0x27, 0xA8, 0x07]);
        assert_eq!(QueueEntry::decode(&bytes), Some(entry));
        assert_eq!(QueueEntry::decode(&[0; 20]), None);
        assert_eq!(QueueEntry::decode(&[0xFF; 20]), None);
        assert_eq!(QueueEntry::decode(&bytes[..19]), None);
        assert!(QueueEntry::PRE_BLANK.is_pre_blank());
    }

    #[test]
    fn addresses_are_told_from_tags_codes() {
        assert_eq!(position_of(i64::from(i32::MIN)), None);
        assert_eq!(position_of(0), None);
        assert_eq!(position_of(i64::MIN), Some(0));
        assert_eq!(position_of(address_of(12_345)), Some(12_345));
        assert_eq!(position_of(ADDRESS_MAX), Some(POSITION_MAX));
    }
}
