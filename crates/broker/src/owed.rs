//! What those who are far behind have coming while somebody sends: twice the bytes that are sent, so that a consumer
//! that a sender without pause has left behind catches up.
//!
//! A producer at a fixed rate is not touched by that: who drains a backlog beside it gets far more from the readers
//! than it sends, and nothing is ever due.

use std::sync::atomic::{AtomicU64, Ordering};

/// So many times the bytes that are sent.
const SHARE: u64 = 2;
/// Less than this is not missed: a reader's rest lets it come up.
const DUE_BYTES: u64 = 2 << 20;
/// Most that is remembered, or a consumer that comes late would hold everybody up.
const OWED_BYTES_MAX: u64 = 8 << 20;
/// An answer counts for at least so many bytes: it takes its time even if all messages were passed over.
const ANSWER_BYTES_MIN: u64 = 16 << 10;

/// Bytes that all who are far behind are owed together.
#[derive(Debug, Default)]
pub(crate) struct Owed(AtomicU64);

impl Owed {
    /// So many bytes were sent.
    pub fn sent(&self, bytes: u64) {
        self.change(|owed| owed.saturating_add(bytes.saturating_mul(SHARE)).min(OWED_BYTES_MAX));
    }

    /// Somebody far behind was given so many bytes.
    pub fn given(&self, bytes: u64) {
        self.change(|owed| owed.saturating_sub(bytes.max(ANSWER_BYTES_MIN)));
    }

    /// Whether they get less than they have coming.
    pub fn is_due(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= DUE_BYTES
    }

    fn change(&self, change: impl Fn(u64) -> u64) {
        let before = self.0.load(Ordering::Relaxed);
        // Two at once may lose one of the changes. It is a matter of proportions, and both go on.
        let after = change(before);
        if after != before {
            self.0.store(after, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: u64 = 1_200;
    const ANSWER: u64 = 32 * MESSAGE;

    /// Sends messages, and after every `of` of them gives one answer as long as readers have to step back from others;
    /// tells how many of the answers were due.
    fn due_answers(owed: &Owed, messages: u64, of: u64) -> u64 {
        let mut due = 0;
        for number in 0..messages {
            owed.sent(MESSAGE);
            if number % of == 0 {
                due += u64::from(owed.is_due());
                owed.given(ANSWER);
            }
        }
        due
    }

    #[test]
    fn who_gets_less_than_is_sent_has_something_coming() {
        let owed = Owed::default();
        assert!(!owed.is_due(), "nobody has sent");
        // An answer of 32 messages for 64 that are sent.
        assert!(due_answers(&owed, 100_000, 64) > 1_400);
    }

    #[test]
    fn who_drains_a_backlog_beside_a_slow_producer_has_nothing_coming() {
        let owed = Owed::default();
        assert_eq!(due_answers(&owed, 100_000, 4), 0);
        assert_eq!(due_answers(&owed, 100_000, 16), 0, "as much as is owed");
    }

    #[test]
    fn what_was_missed_for_long_is_not_made_up_for() {
        let owed = Owed::default();
        due_answers(&owed, 1_000_000, u64::MAX);
        let mut answers = 0;
        while owed.is_due() {
            owed.given(ANSWER);
            answers += 1;
        }
        assert!(answers < 200, "{answers}");
    }

    #[test]
    fn an_answer_without_messages_counts_too() {
        let owed = Owed::default();
        due_answers(&owed, 100_000, u64::MAX);
        assert!(owed.is_due());
        (0..1_000).for_each(|_| owed.given(0));
        assert!(!owed.is_due());
    }
}
