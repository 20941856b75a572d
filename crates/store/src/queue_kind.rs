//! The two kinds of consume queues (`queue.type` of a topic) and their entries.
//!
//! An entry of a simple queue stands for one message, and its place in the files is the message's offset. An entry of a
//! batch queue (BatchCQ) stands for a record that may hold many messages, an inner batch: it says which offsets these
//! have, and its place says nothing (store.md §4.3).

use std::collections::BTreeSet;
use std::path::Path;

use wire::body::TopicConfigWrapper;
use wire::properties;
use wire::record::Record;
use wire::sys_flag;

use crate::config_file;
use crate::disk::Disk;
use crate::queue_entry::{ENTRY_BYTES, QueueEntry};

/// Bytes of an entry of a batch queue.
pub(crate) const UNIT_BYTES: usize = 46;
/// Most messages of an inner batch: Java counts them with a signed 16-bit integer.
pub const INNER_MESSAGES_MAX: usize = i16::MAX as usize;

/// The attribute that decides, and its value for batch queues.
const QUEUE_TYPE: &str = "queue.type";
const BATCH_CQ: &str = "BatchCQ";

/// What the entries of a queue are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum QueueKind {
    /// One entry for each message: `SimpleCQ`.
    #[default]
    Simple,
    /// One entry for each record, which may hold many messages: `BatchCQ`.
    Batch,
}

impl QueueKind {
    /// Both kinds.
    pub(crate) const ALL: [QueueKind; 2] = [QueueKind::Simple, QueueKind::Batch];

    /// The kind that a topic with these attributes has.
    pub fn of_attributes(attributes: &std::collections::BTreeMap<String, String>) -> QueueKind {
        match attributes.get(QUEUE_TYPE) {
            Some(kind) if kind == BATCH_CQ => QueueKind::Batch,
            _ => QueueKind::Simple,
        }
    }

    /// Java's name of it.
    pub fn name(self) -> &'static str {
        match self {
            QueueKind::Simple => "SimpleCQ",
            QueueKind::Batch => BATCH_CQ,
        }
    }

    /// Directory of such queues, below the root of the store.
    pub(crate) fn dir(self) -> &'static str {
        match self {
            QueueKind::Simple => "consumequeue",
            QueueKind::Batch => "batchconsumequeue",
        }
    }

    pub(crate) fn entry_bytes(self) -> usize {
        match self {
            QueueKind::Simple => ENTRY_BYTES,
            QueueKind::Batch => UNIT_BYTES,
        }
    }
}

/// An entry of either kind with the offsets that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub entry: QueueEntry,
    /// When its record was stored; 0 in a simple queue, which does not tell.
    pub store_timestamp: i64,
    /// Offset of its first message.
    pub base: u64,
    /// Number of its messages.
    pub count: u64,
}

impl Unit {
    /// From the bytes of a queue file, `None` if nothing valid was written there. `place` is that of the entry.
    pub fn decode(kind: QueueKind, place: u64, bytes: &[u8]) -> Option<Unit> {
        let entry = QueueEntry::decode(bytes)?;
        if kind == QueueKind::Simple {
            return Some(Unit { entry, store_timestamp: 0, base: place, count: 1 });
        }
        let long = |at: usize| bytes.get(at..)?.first_chunk().map(|chunk| i64::from_be_bytes(*chunk));
        let count = bytes.get(36..)?.first_chunk().map(|chunk| i16::from_be_bytes(*chunk))?;
        let base = u64::try_from(long(28)?).ok()?;
        let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
        Some(Unit { entry, store_timestamp: long(20)?, base, count })
    }

    /// As an entry of a batch queue. The count is at most [`INNER_MESSAGES_MAX`].
    pub fn encode(&self) -> [u8; UNIT_BYTES] {
        let mut bytes = [0; UNIT_BYTES];
        bytes[..20].copy_from_slice(&self.entry.encode());
        bytes[20..28].copy_from_slice(&self.store_timestamp.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.base.to_be_bytes());
        bytes[36..38].copy_from_slice(&(self.count as u16).to_be_bytes());
        // Where the record is in a compacted log: in none.
        bytes[38..42].copy_from_slice(&(-1i32).to_be_bytes());
        bytes
    }

    /// Offset behind its last message.
    pub fn until(&self) -> u64 {
        self.base.saturating_add(self.count)
    }
}

/// How many messages a record holds, in a queue of this kind.
pub(crate) fn message_count(kind: QueueKind, record: &Record<'_>) -> u64 {
    if kind == QueueKind::Simple || !is_inner_batch(record) {
        return 1;
    }
    let count = record.property(properties::INNER_NUM).and_then(|count| count.parse::<i16>().ok());
    count.and_then(|count| u64::try_from(count).ok()).filter(|count| *count > 0).unwrap_or(1)
}

/// Whether a record holds several messages that clients unwrap.
pub(crate) fn is_inner_batch(record: &Record<'_>) -> bool {
    record.sys_flag & sys_flag::INNER_BATCH != 0
}

/// The topics with batch queues, by the broker's `topics.json`, and all topics that it names; nothing if it cannot be
/// read, which the broker reports.
pub(crate) fn topics_on_disk(disk: &dyn Disk, root: &Path) -> KnownTopics {
    let decode = |bytes: &[u8]| wire::loose_json::read::<TopicConfigWrapper>(bytes).ok();
    let path = root.join("config").join("topics.json");
    let read = config_file::peek(disk, &path, decode);
    let mut known = KnownTopics::default();
    for (name, config) in read.map(|wrapper| wrapper.topic_config_table).unwrap_or_default() {
        match QueueKind::of_attributes(&config.attributes) {
            QueueKind::Batch => known.batch.insert(name),
            QueueKind::Simple => known.simple.insert(name),
        };
    }
    known
}

/// Topics by the kind of their queues.
#[derive(Debug, Default)]
pub(crate) struct KnownTopics {
    pub simple: BTreeSet<String>,
    pub batch: BTreeSet<String>,
}

impl KnownTopics {
    /// The kind of a topic's queues, if anything says it.
    pub fn kind_of(&self, topic: &str) -> Option<QueueKind> {
        if self.batch.contains(topic) {
            Some(QueueKind::Batch)
        } else {
            self.simple.contains(topic).then_some(QueueKind::Simple)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_batch_queue_has_java_s_bytes() {
        let entry = QueueEntry { physical_offset: 4096, size: 123, tags_code: 2_598_919 };
        let unit = Unit { entry, store_timestamp: 1_700_000_000_001, base: 7, count: 10 };
        let bytes = unit.encode();
        assert_eq!(bytes[..20], entry.encode());
        assert_eq!(bytes[20..28], 1_700_000_000_001i64.to_be_bytes());
        assert_eq!(bytes[28..], [0, 0, 0, 0, 0, 0, 0, 7, 0, 10, 255, 255, 255, 255, 0, 0, 0, 0]);
        assert_eq!(Unit::decode(QueueKind::Batch, 0, &bytes), Some(unit));
        assert_eq!(unit.until(), 17);
    }

    #[test]
    fn entries_that_java_does_not_take_are_none() {
        let entry = QueueEntry { physical_offset: 0, size: 1, tags_code: 0 };
        let bytes = Unit { entry, store_timestamp: 0, base: 0, count: 1 }.encode();
        assert!(Unit::decode(QueueKind::Batch, 0, &bytes).is_some());
        for (at, byte) in [(0, 0x80), (8, 0x80), (28, 0x80), (36, 0x80)] {
            let mut changed = bytes;
            changed[at] = byte;
            assert_eq!(Unit::decode(QueueKind::Batch, 0, &changed), None, "byte {at}");
        }
        assert_eq!(Unit::decode(QueueKind::Batch, 0, &[0; UNIT_BYTES]), None);
        assert_eq!(Unit::decode(QueueKind::Batch, 0, &bytes[..45]).map(|unit| unit.count), Some(1));
        assert_eq!(Unit::decode(QueueKind::Batch, 0, &bytes[..37]), None);
    }
}
