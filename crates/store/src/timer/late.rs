//! Into a later slot: messages that the disk does not give now, and those that it gives only now.
//!
//! They move when the present slot is left, in one step with that: whenever we stop, each waits in one slot.

use std::io;

use wire::record::Record;

use super::enqueue::Timed;
use super::log::{MAGIC_DEFAULT, Unit};
use super::slot::{PutOff, Waiting};
use super::unread::{RETRY_MS, UNKNOWN_TOPIC};
use super::{State, Timer};
use crate::error::StoreError;
use crate::queue_entry::QueueEntry;

impl State {
    /// Puts off a message of the present slot that cannot be read; false if the others wait for it still.
    pub(super) fn put_off_unread(
        &mut self,
        timer: &Timer,
        waiting: Waiting,
        now: i64,
        error: &StoreError,
    ) -> bool {
        let passes = self.unread.is_passed(waiting.offset, error);
        if passes {
            let to = timer.options.slot_of(now.saturating_add(RETRY_MS));
            self.present.put_off.push(PutOff { waiting, moved: waiting, to });
        }
        passes
    }

    /// Takes in a message of which nothing is known, into the slot of the next attempt; false if the others wait for it
    /// still.
    pub(super) fn take_in_unread(
        &mut self,
        timer: &Timer,
        entry: &QueueEntry,
        now: i64,
        error: &StoreError,
    ) -> io::Result<bool> {
        let at = entry.physical_offset;
        // While the wheel is built anew its time says whether it was delivered before.
        if self.skipped.is_some() || !self.unread.is_passed(at, error) {
            return Ok(false);
        }
        let waiting = Waiting {
            offset: at,
            size: entry.size,
            magic: MAGIC_DEFAULT,
            write_time: timer.options.slot_of(now),
            topic_hash: UNKNOWN_TOPIC,
        };
        let to = timer.options.slot_of(now.saturating_add(RETRY_MS));
        self.chain_to(self.later(timer, to), waiting)?;
        Ok(true)
    }

    /// Does with a message what would have been done if the disk had given it when it was taken in. Tells by how much
    /// the count of its topic changes.
    pub(super) fn take_in_late(
        &mut self,
        timer: &Timer,
        unit: &Unit,
        record: Record<'_>,
        now: i64,
    ) -> Option<(String, i64)> {
        let Some(timed) = Timed::of(record) else {
            tracing::warn!(offset = unit.offset, "a timer message names no time; it is skipped");
            return None;
        };
        let (to, rolls) = timer.target(self.read_time, &timed, now);
        let moved = timed.waiting(timer, rolls, now);
        let mut count = moved.count();
        if to > self.read_time {
            self.present.put_off.push(PutOff { waiting: Waiting::of(unit), moved, to });
        } else {
            let unit = moved.unit(self.read_time, None);
            // What takes another back counts as one less only until its slot has come.
            count += i64::from(unit.deletes());
            self.admit(timer, &unit, &timed.record);
        }
        Some((timed.topic.to_owned(), count))
    }

    /// Moves what was put off into its later slots, now that the present one is left.
    pub(super) fn move_put_off(&mut self, timer: &Timer) -> io::Result<()> {
        while let Some(put_off) = self.present.put_off.last().copied() {
            self.chain_to(self.later(timer, put_off.to), put_off.moved)?;
            self.present.put_off.pop();
        }
        self.log.write()
    }

    /// The slot nearest to one that is wished for among those that are later than the present one.
    fn later(&self, timer: &Timer, wished: i64) -> i64 {
        let precision = timer.options.precision();
        let last = self.read_time.saturating_add(2 * self.wheel.reach() - precision);
        wished.min(last).max(self.read_time.saturating_add(precision))
    }
}
