//! From a time to a queue offset (store.md §12.2).

use crate::error::StoreError;
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

/// Messages that are asked for their time where the first of them has none.
const ASKED_MAX: u64 = 8;

impl Store {
    /// Offset of the message stored at a time; the end of the queue if all are older. Messages that may be of that time
    /// or later are never left out: what is damaged counts as such, and what cannot be read is an error.
    pub fn offset_by_time(&self, queue: &Queue, millis: i64, boundary: Boundary) -> Result<i64, StoreError> {
        if let Some(kept) = self.kept_offset_by_time(queue, millis)? {
            return Ok(kept as i64);
        }
        let kept = self.compaction_log_of(queue).is_some();
        let min = if kept { queue.log_min_offset() } else { queue.min_offset() };
        let max = queue.max_offset();
        if min >= max {
            return Ok(max as i64);
        }
        // Store times do not go back along the log, hence not along a queue.
        if queue.kind() == QueueKind::Batch {
            return self.unit_by_time(queue, (min, max), millis, boundary).map(|found| found as i64);
        }
        let found = match boundary {
            Boundary::Lower => self.first_where(queue, min, max, |time| time >= millis)?,
            Boundary::Upper => self.first_where(queue, min, max, |time| time > millis)?.saturating_sub(1),
        };
        Ok(found.clamp(min, max) as i64)
    }

    /// The same for a batch queue, where it is the offset of an entry; as with Java that of the last one if all are
    /// older.
    fn unit_by_time(
        &self,
        queue: &Queue,
        (min, max): (u64, u64),
        millis: i64,
        boundary: Boundary,
    ) -> Result<u64, StoreError> {
        let found = match boundary {
            Boundary::Lower => self.first_where(queue, min, max, |time| time >= millis)?,
            Boundary::Upper => {
                self.first_where(queue, min, max, |time| time > millis)?.saturating_sub(1).max(min)
            }
        };
        let unit = queue.unit(found.min(max - 1)).map_err(|source| self.queue_error(queue, source))?;
        Ok(unit.map_or(found, |unit| unit.base.max(min)))
    }

    fn first_where(
        &self,
        queue: &Queue,
        min: u64,
        max: u64,
        holds: impl Fn(i64) -> bool,
    ) -> Result<u64, StoreError> {
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.time_from(queue, middle, high)? {
                Some((at, time)) if !holds(time) => low = at + 1,
                Some(_) => high = middle,
                // It has expired meanwhile, so it is too old. Otherwise it is damaged: rather show too many messages
                // than hide one.
                None if middle < queue.log_min_offset() => low = middle + 1,
                None => high = middle,
            }
        }
        Ok(low)
    }

    /// The first message at an offset or a little behind it that has a store time, and that; `None` if there is none
    /// before `until`.
    fn time_from(&self, queue: &Queue, offset: u64, until: u64) -> Result<Option<(u64, i64)>, StoreError> {
        for at in offset..until.min(offset + ASKED_MAX) {
            let time = store_time::of_message(&self.base.log, queue, at);
            if let Some(time) = time.map_err(|source| self.queue_error(queue, source))? {
                return Ok(Some((at, time)));
            }
        }
        Ok(None)
    }

    /// When a message was stored, Unix milliseconds; `None` if it is not there or cannot be read.
    pub fn store_time_of(&self, queue: &Queue, offset: u64) -> Option<i64> {
        store_time::of_message(&self.base.log, queue, offset).ok().flatten()
    }

    /// When the oldest message of the log was stored; `None` if there is none or it cannot be read.
    pub fn earliest_store_time(&self) -> Option<i64> {
        store_time::of_record(&self.base.log, self.base.log.min()).ok().flatten()
    }
}
