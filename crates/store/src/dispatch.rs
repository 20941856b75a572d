//! From a record to its queue entry: the same rule when it is appended and when recovery finds it in the log.

use std::sync::Arc;
use std::time::Duration;

use wire::hash;
use wire::names;
use wire::properties;
use wire::record::Record;
use wire::sys_flag;

use crate::queue_entry::QueueEntry;
use crate::queue_kind::{self, QueueKind};

/// Topic in which delayed messages wait; entries of its queues carry the time of delivery.
pub(crate) const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

/// Topic of the records that a repair puts in the place of damaged ones; shortened where there is no room for it.
pub(crate) const REPAIR_TOPIC: &str = "THRUST_REPAIR";

/// Whether a record stands for no message but for bytes that were lost.
pub(crate) fn is_filler(record: &Record<'_>) -> bool {
    record.sys_flag & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_ROLLBACK
        && !record.topic.is_empty()
        && REPAIR_TOPIC.starts_with(record.topic)
}

/// Whether a record of the log gets an entry in the queue that it names. `kind` tells what the queues of its topic are.
pub(crate) fn has_place(record: &Record<'_>, kind: impl FnOnce() -> QueueKind) -> bool {
    sys_flag::is_queued(record.sys_flag)
        && is_safe_topic(record.topic)
        && record.queue_id <= i32::MAX as u32
        && record.queue_offset >= 0
        // An inner batch of a topic that was deleted, and perhaps made again as another kind.
        && (!queue_kind::is_inner_batch(record) || kind() == QueueKind::Batch)
}

/// The entry of a record of the log.
pub(crate) fn entry(record: &Record<'_>, levels: &[Duration]) -> QueueEntry {
    QueueEntry {
        physical_offset: record.physical_offset as u64,
        size: record.bytes.len() as u32,
        tags_code: tags_code(record, levels),
    }
}

/// The tags code of a scheduled message's entry: when it is due (store.md §4.1). `None` for levels that mean no delay.
pub(crate) fn due_time(level: i32, store_timestamp: i64, levels: &[Duration]) -> Option<i64> {
    let level = usize::try_from(level).ok().filter(|level| *level > 0)?;
    let delay = match levels.get(level.min(levels.len()).wrapping_sub(1)) {
        Some(delay) => delay.as_millis() as i64,
        None => 1000,
    };
    Some(store_timestamp.saturating_add(delay))
}

/// The tags code of a record's entry.
fn tags_code(record: &Record<'_>, levels: &[Duration]) -> i64 {
    if record.topic == SCHEDULE_TOPIC {
        let level = record.property(properties::DELAY).and_then(|level| level.parse().ok());
        if let Some(due) = level.and_then(|level| due_time(level, record.store_timestamp, levels)) {
            return due;
        }
    }
    hash::tags_code(record.property(properties::TAGS))
}

/// The light queues of a comma-separated list, `None` if any name in it cannot be one.
pub(crate) fn light_names(list: &str) -> Option<Vec<Arc<str>>> {
    let names = list.split(',').map(|name| {
        (names::is_light(name) && is_safe_topic(name) && name.len() <= LIGHT_NAME_MAX)
            .then(|| Arc::<str>::from(name))
    });
    names.collect()
}

/// Longest name of a light queue, which is that of a directory too.
const LIGHT_NAME_MAX: usize = 255;

/// The light queues that a record of the log was put into, with its offsets there. None if what it says of that does
/// not fit together, as Java's broker does not dispatch it either.
pub(crate) fn light_places(record: &Record<'_>) -> Vec<(Arc<str>, u64)> {
    if !sys_flag::is_queued(record.sys_flag) || !names::may_name_light_queues(record.topic) {
        return Vec::new();
    }
    let list = record.property(properties::INNER_MULTI_DISPATCH).and_then(light_names);
    let offsets = record.property(properties::INNER_MULTI_QUEUE_OFFSET);
    let (Some(list), Some(offsets)) = (list, offsets) else { return Vec::new() };
    let offsets: Option<Vec<u64>> =
        offsets.split(',').map(|offset| offset.parse::<i64>().ok()?.try_into().ok()).collect();
    match offsets {
        Some(offsets) if offsets.len() == list.len() => list.into_iter().zip(offsets).collect(),
        _ => Vec::new(),
    }
}

/// Whether a topic read from the log may become a directory's name.
pub(crate) fn is_safe_topic(topic: &str) -> bool {
    !topic.is_empty() && topic != "." && topic != ".." && !topic.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_beyond_the_table_wait_as_long_as_the_last_one() {
        let levels = [Duration::from_secs(1), Duration::from_secs(5)];
        assert_eq!(due_time(1, 100, &levels), Some(1_100));
        assert_eq!(due_time(2, 100, &levels), Some(5_100));
        assert_eq!(due_time(18, 100, &levels), Some(5_100));
        assert_eq!(due_time(0, 100, &levels), None);
        assert_eq!(due_time(-3, 100, &levels), None);
        assert_eq!(due_time(1, 100, &[]), Some(1_100));
    }

    #[test]
    fn a_list_is_of_light_queues_or_none() {
        let names = light_names("%LMQ%a,%LMQ%b").unwrap();
        assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), ["%LMQ%a", "%LMQ%b"]);
        for list in ["", "a", "%LMQ%a,", "%LMQ%a,b", "%LMQ%a/b"] {
            assert_eq!(light_names(list), None, "{list:?}");
        }
    }

    #[test]
    fn topics_that_would_leave_the_directory_are_not_safe() {
        assert!(is_safe_topic("%RETRY%group"));
        for topic in ["", ".", "..", "a/b", "a\0"] {
            assert!(!is_safe_topic(topic), "{topic:?}");
        }
    }
}
