//! Timer messages that the disk does not give when it is their turn.
//!
//! All others wait for such a one a moment, because an error may pass. Then they pass it, and it goes into a later slot
//! of the wheel (see `late`), where it is tried again, until the disk gives it or the log does not have it any more. So
//! it is late and never lost in silence.

use std::collections::HashSet;

use crate::error::StoreError;

/// Attempts for which the others wait; the timer's loop pauses a second after each.
const WAITED_FOR: u32 = 3;
/// From one attempt with a message that was passed to the next.
pub(super) const RETRY_MS: i64 = 10_000;
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
    pub fn is_passed(&mut self, at: u64, error: &StoreError) -> bool {
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
