//! Timer messages that the disk does not give when it is their turn.
//!
//! All others wait for such a one a moment, because an error may pass. Then they pass it, and it goes into a later slot
//! of the wheel, where it is tried again, until the disk gives it or the log does not have it any more. So it is late
//! and never lost in silence. It moves when the present slot is left, in one step with that: whenever we stop, it waits
//! in one slot.

use std::collections::HashSet;
use std::io;

use wire::record::Record;

use super::enqueue::Timed;
use super::log::{MAGIC_DEFAULT, Unit};
use super::slot::{PutOff, Waiting};
use super::{State, Timer};
use crate::error::StoreError;
use crate::queue_entry::QueueEntry;

/// Attempts for which the others wait; the timer's loop pauses a second after each.
const WAITED_FOR: u32 = 3;
/// From one attempt with a message that was passed to the next.
const RETRY_MS: i64 = 10_000;
/// Messages that others pass at most. With more of them the timer waits: it is its whole disk that fails.
const PASSED_MAX: usize = 1024;
/// Hash of the topic of a message that could not be read when it was taken in.
pub(super) const UNKNOWN_TOPIC: i32 = 0;

/// What cannot be read.
#[derive(Debug, Default)]
pub(super) struct Unread {
    /// Messages that others have passed, by position.
    passed: HashSet<u64>,
    /// The message that others wait for, and the attempts with it that have failed.
    waited_for: (u64, u32),
}

impl Unread {
    /// Whether the others pass a message that could not be read now. While there is one that they have passed, no
    /// other is waited for: they would all wait for a bad place of the disk message by message.
    fn is_passed(&mut self, at: u64, error: &StoreError) -> bool {
        if self.passed.contains(&at) {
            return true;
        }
        if self.passed.is_empty() && !self.has_waited_for(at) || self.passed.len() >= PASSED_MAX {
            return false;
        }
        self.passed.insert(at);
        tracing::error!(
            offset = at,
            "a timer message cannot be read: the others pass it now, and it is tried again every {} s; when the broker \
             is stopped, `thrust store inspect DIR --offset {at}` shows what is there: {error}",
            RETRY_MS / 1000
        );
        true
    }

    fn has_waited_for(&mut self, at: u64) -> bool {
        let (position, attempts) = self.waited_for;
        let attempts = if position == at { attempts.saturating_add(1) } else { 1 };
        self.waited_for = (at, attempts);
        attempts > WAITED_FOR
    }

    /// The disk has answered about a message: here it is, or it is gone from the log.
    pub fn answered(&mut self, at: u64) {
        if self.passed.remove(&at) {
            tracing::info!(offset = at, "the disk answers about a timer message that others have passed");
        }
    }
}

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
