//! Delayed messages that the disk does not give when it is their turn.
//!
//! Those behind such a one wait for it a moment, because an error may pass. Then they pass it. It is noted with the
//! progress of its level, and tried again until the disk gives it or the log does not have it any more; so it is late
//! and never lost in silence. Levels do not wait for each other.

use std::time::Duration;

use store::Queue;
use wire::names;

use super::{Next, RETRY_PAUSE, Schedule, Undelivered};
use crate::Broker;
use crate::attempts::Attempts;

/// Attempts for which those behind an unreadable message wait: seven seconds.
const WAITED_FOR: u32 = 3;
/// Messages of a level that others pass at most. With more of them the level waits: it is its whole disk that fails.
const PASSED_MAX: usize = 1024;
/// Of those this many are tried at once: a failing disk takes its time.
const TRIED_AT_ONCE: usize = 16;

/// Attempts with what of one level cannot be read.
#[derive(Debug, Default)]
pub(super) struct Unread {
    /// With the message that is next. Passing it does not end them, so that of many in a row only the first is waited
    /// for.
    next: Attempts,
    /// With those that were passed.
    passed: Attempts,
    /// The last of those that was tried.
    tried: i64,
}

impl Schedule {
    /// The next message of a level could be read.
    pub(super) fn goes_on(&self, level: i32) {
        if let Some(unread) = self.unread.lock().get_mut(&level) {
            unread.next = Attempts::default();
        }
    }

    /// Goes on behind a message that cannot be read; false if there are too many of them already.
    fn pass(&self, level: i32, offset: i64, now_ms: i64) -> bool {
        {
            let mut offsets = self.offsets.lock();
            let unread = offsets.unread_table.entry(level).or_default();
            if unread.len() >= PASSED_MAX {
                return false;
            }
            // Before the progress, which may be saved in between.
            unread.insert(offset);
        }
        self.advance(level, offset + 1, now_ms);
        true
    }

    /// A message that was passed needs no more attempts.
    fn settle(&self, level: i32, offset: i64) {
        let mut offsets = self.offsets.lock();
        if let Some(unread) = offsets.unread_table.get_mut(&level) {
            unread.remove(&offset);
        }
        offsets.unread_table.retain(|_, unread| !unread.is_empty());
        drop(offsets);
        self.unsaved.note();
    }

    /// How long to wait with those of a level that were passed; `None` if there are none.
    pub(super) fn unread_left(&self, level: i32, now: Duration) -> Option<Duration> {
        self.offsets.lock().unread_table.get(&level)?;
        Some(self.unread.lock().get(&level).map_or(Duration::ZERO, |unread| unread.passed.left(now)))
    }

    /// Which of those to try now: each in turn.
    fn unread_to_try(&self, level: i32) -> Vec<i64> {
        let tried = self.unread.lock().get(&level).map_or(-1, |unread| unread.tried);
        let offsets = self.offsets.lock();
        let Some(passed) = offsets.unread_table.get(&level) else { return Vec::new() };
        let in_turn = passed.range(tried + 1..).chain(passed.range(..=tried));
        in_turn.take(TRIED_AT_ONCE).copied().collect()
    }
}

impl Broker {
    /// How long a level waits for a message that could not be read.
    pub(super) fn held_up(&self, level: i32) -> Duration {
        let now = self.clock.monotonic();
        self.schedule.unread.lock().get(&level).map_or(Duration::ZERO, |unread| unread.next.left(now))
    }

    /// What to do about the next message of a level, which cannot be read.
    pub(super) fn wait_or_pass(&self, level: i32, offset: u64, error: &str) -> Next {
        let (topic, queue) = (names::SCHEDULE_TOPIC, level - 1);
        let attempts = self.schedule.unread.lock().entry(level).or_default().next.failed();
        if attempts >= WAITED_FOR && self.schedule.pass(level, offset as i64, self.now_ms()) {
            tracing::error!(
                topic,
                queue,
                offset,
                "a delayed message cannot be read: it is tried again, but those behind it pass it now; when the broker \
                 is stopped, `thrust store inspect DIR --topic {topic} --queue {queue} --from {offset}` shows where it \
                 is: {error}"
            );
            return Next::After(Duration::ZERO);
        }
        let now = self.clock.monotonic();
        let pause = self.schedule.unread.lock().entry(level).or_default().next.fail(now);
        tracing::error!(
            topic,
            queue,
            offset,
            "a delayed message cannot be read, and those behind it wait {pause:?} for the next attempt: {error}"
        );
        Next::After(pause)
    }

    /// Tries again what was passed, when it is time; says after which time to come again, if there is any left.
    pub(super) async fn retry_unread(&self, level: i32) -> Option<Duration> {
        if self.schedule.unread_left(level, self.clock.monotonic())?.is_zero() {
            let tried = self.readers.run_own(move |broker| broker.deliver_unread(level)).await;
            if tried.is_none() {
                return Some(RETRY_PAUSE);
            }
        }
        self.schedule.unread_left(level, self.clock.monotonic())
    }

    /// Delivers some of those of a level that were passed, if the disk gives them now.
    pub(super) fn deliver_unread(&self, level: i32) {
        let queue = self.store.queue(names::SCHEDULE_TOPIC, level as u32 - 1);
        let (mut settled, mut tried, mut failed) = (0, -1, None);
        for offset in self.schedule.unread_to_try(level) {
            tried = offset;
            match self.deliver_at(level, &queue, offset as u64) {
                Ok(false) => continue,
                Ok(true) => {
                    self.schedule.settle(level, offset);
                    settled += 1;
                }
                Err(Undelivered::Unread(error)) => failed = Some((offset, error)),
                Err(Undelivered::Refused(error)) => {
                    failed = Some((offset, error));
                    break;
                }
            }
        }
        {
            let mut levels = self.schedule.unread.lock();
            let unread = levels.entry(level).or_default();
            unread.tried = tried;
            if settled > 0 {
                unread.passed = Attempts::default();
            } else {
                unread.passed.fail(self.clock.monotonic());
            }
        }
        if settled > 0 {
            tracing::info!(level, settled, "delayed messages that others had passed are delivered");
        }
        if let Some((offset, error)) = failed {
            tracing::warn!(level, offset, "a delayed message that others have passed still waits: {error}");
        }
    }

    /// Delivers the message at an offset of a level; false if it is not due yet.
    fn deliver_at(&self, level: i32, queue: &Queue, offset: u64) -> Result<bool, Undelivered> {
        let is_there = offset >= queue.min_offset();
        let entries = is_there.then(|| self.store.read_entries(queue, offset, 1));
        let entries = entries.transpose().map_err(|error| Undelivered::Unread(error.to_string()))?;
        let Some(entry) = entries.unwrap_or_default().first().copied() else {
            tracing::error!(level, offset, "a delayed message that could not be read is gone from the log");
            return Ok(true);
        };
        // Those whose entries could not be read may have been passed before they were due.
        let longest = self.schedule.delay(level).as_millis() as i64;
        let due_ms = self.due_ms(&entry, longest).map_err(|error| Undelivered::Unread(error.to_string()))?;
        if due_ms > self.now_ms() {
            return Ok(false);
        }
        self.deliver(&entry, queue).map(|()| true)
    }
}
