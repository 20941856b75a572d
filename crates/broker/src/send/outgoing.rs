//! What the sends of one turn gather, and the ends of transactions with them: records to append together, and the
//! answers that follow.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use remoting::ReplyTo;
use store::Batch;

use super::answer::Answer;
use super::share::Share;
use crate::repeats::TurnRepeats;
use crate::topics::Topic;

thread_local! {
    static OUTGOING: RefCell<Outgoing> = RefCell::default();
}

/// Sends of one turn, between check and append. One for each thread, lent to one connection at a time.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub(crate) batch: Batch,
    /// What of it belongs to transactions.
    pub(crate) share: Share,
    pub(super) answers: Vec<Answer>,
    /// Unique keys that answers will carry, one behind the other.
    pub(super) keys: Vec<u8>,
    /// Properties of the message at hand.
    pub(super) properties: Vec<u8>,
    /// Whether any message wants to wait for the disk.
    pub(super) waits: bool,
    /// What was sent before, and what may be sent again.
    pub(super) repeats: TurnRepeats,
    /// Topic of the last send, which is most often that of the next.
    pub(super) topic: Option<Arc<Topic>>,
}

impl Outgoing {
    /// Keeps a unique key for an answer; gives its place in `keys`.
    pub(super) fn keep_key(&mut self, unique_key: &str) -> Range<usize> {
        let start = self.keys.len();
        self.keys.extend_from_slice(unique_key.as_bytes());
        start..self.keys.len()
    }

    /// Answers a request with SUCCESS and nothing else once the batch is stored.
    pub(crate) fn answer_plainly(&mut self, reply_to: ReplyTo) {
        let first = self.batch.len();
        self.answers.push(Answer::new(reply_to, first, 0, 0));
    }
}

/// Lends the batch of this thread's turn.
pub(crate) fn with_outgoing<T>(use_it: impl FnOnce(&mut Outgoing) -> T) -> T {
    OUTGOING.with_borrow_mut(use_it)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use wire::header::Dialect;
    use wire::record::Message;

    use super::*;
    use crate::service::Gathered;
    use crate::testing::broker;

    /// A connection's turn on this thread, and a mistake in the handler of its second request.
    #[tokio::test]
    async fn what_a_turn_gathered_that_panicked_is_neither_stored_nor_answered() {
        let broker = broker();
        let is_sound = false;
        let turn = || {
            let _gathered = Gathered(&broker);
            with_outgoing(|outgoing| {
                let message = Message::of_broker(broker.address, "orders", 0, b"body");
                outgoing.batch.push(&broker.store.queue("orders", 0), &message, 0).unwrap();
                outgoing.answer_plainly(ReplyTo { dialect: Dialect::Json, opaque: 7, oneway: false });
            });
            assert!(is_sound, "a mistake in a handler");
        };
        catch_unwind(AssertUnwindSafe(turn)).unwrap_err();
        with_outgoing(|outgoing| assert!(outgoing.batch.is_empty() && outgoing.answers.is_empty()));
    }
}
