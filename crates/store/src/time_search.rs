//! From a time to a queue offset (store.md §12.2).

use crate::queue::Queue;
use crate::queue_kind::QueueKind;
use crate::store::Store;
use crate::store_time;

/// Which of several messages of one time is meant, and which neighbour of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundary {
    /// The first of equal times; behind a gap.
    #[default]
    Lower,
    /// The last of equal times; before a gap.
    Upper,
}

impl Store {
    /// Offset of the message stored at a time; the end of the queue if all are older.
    pub fn offset_by_time(&self, queue: &Queue, millis: i64, boundary: Boundary) -> i64 {
        if let Some(kept) = self.kept_offset_by_time(queue, millis) {
            return kept as i64;
        }
        let kept = self.compaction_log_of(queue).is_some();
        let min = if kept { queue.log_min_offset() } else { queue.min_offset() };
        let max = queue.max_offset();
        if min >= max {
            return max as i64;
        }
        // Store times do not go back along the log, hence not along a queue.
        if queue.kind() == QueueKind::Batch {
            return self.unit_by_time(queue, (min, max), millis, boundary) as i64;
        }
        let found = match boundary {
            Boundary::Lower => self.first_where(queue, min, max, |time| time >= millis),
            Boundary::Upper => self.first_where(queue, min, max, |time| time > millis).saturating_sub(1),
        };
        found.clamp(min, max) as i64
    }

    /// The same for a batch queue, where it is the offset of an entry; as with Java that of the last one if all are
    /// older.
    fn unit_by_time(&self, queue: &Queue, (min, max): (u64, u64), millis: i64, boundary: Boundary) -> u64 {
        let found = match boundary {
            Boundary::Lower => self.first_where(queue, min, max, |time| time >= millis),
            Boundary::Upper => {
                self.first_where(queue, min, max, |time| time > millis).saturating_sub(1).max(min)
            }
        };
        let unit = queue.unit(found.min(max - 1)).ok().flatten();
        unit.map_or(found, |unit| unit.base.max(min))
    }

    fn first_where(&self, queue: &Queue, min: u64, max: u64, holds: impl Fn(i64) -> bool) -> u64 {
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            // What cannot be read has expired: it counts as too old.
            if self.store_time_of(queue, middle).is_some_and(&holds) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// When a message was stored, Unix milliseconds; `None` if it is not there.
    pub fn store_time_of(&self, queue: &Queue, offset: u64) -> Option<i64> {
        store_time::of_message(&self.base.log, queue, offset).ok().flatten()
    }

    /// When the oldest message of the log was stored.
    pub fn earliest_store_time(&self) -> Option<i64> {
        store_time::of_record(&self.base.log, self.base.log.min()).ok().flatten()
    }
}
