//! A popped message in the application's hands.

use std::time::Duration;

use tokio::task::JoinSet;

use super::receipt::Receipt;
use crate::error::Error;
use crate::hooks::{ConsumeOutcome, Watched};
use crate::received::Received;

/// The broker chooses the delay by how often the message failed.
const USUAL: i32 = 0;
/// Messages that are given back at a time when a consumer ends.
const GIVEN_BACK_AT_ONCE: usize = 32;

/// A message that nobody else of the group gets for a while: acknowledge it with [`ack`](Popped::ack) before that time
/// is over, or hide it for longer with [`hide_for`](Popped::hide_for). It can be read as a [`Received`].
///
/// Dropping it says nothing to the broker: the message comes again when its time is over, here or at another member.
#[derive(Debug)]
#[must_use = "a message that is not acknowledged comes again"]
pub struct Popped {
    pub(in crate::consumer) message: Received,
    pub(in crate::consumer) receipt: Receipt,
    /// While hooks watch what becomes of it. One that is dropped is not heard of again.
    pub(in crate::consumer) watched: Option<Watched>,
}

impl std::ops::Deref for Popped {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.message
    }
}

impl Popped {
    /// Ends the application's part.
    fn settle(&mut self, outcome: ConsumeOutcome) {
        self.receipt.count(outcome == ConsumeOutcome::Done);
        self.receipt.member().consumed(self.watched.take(), &self.message, outcome);
    }

    /// It and what was popped behind it in order, each by itself.
    pub(in crate::consumer) fn unrolled(mut self) -> Vec<Popped> {
        let following = std::mem::take(self.receipt.following());
        std::iter::once(self).chain(following).collect()
    }

    /// It is done: nobody gets it again. Calls that run at the same time share requests.
    ///
    /// # Errors
    /// When the broker did not confirm; the message may come again then.
    pub async fn ack(mut self) -> Result<(), Error> {
        self.settle(ConsumeOutcome::Done);
        self.receipt.acknowledge().await
    }

    /// For how long nobody else gets it.
    pub fn hidden_for(&self) -> Duration {
        self.receipt.left()
    }

    /// Hides it for so long from now, longer or shorter than before.
    ///
    /// # Errors
    /// When the broker did not confirm; the old time holds then, or the new one.
    pub async fn hide_for(&mut self, hidden: Duration) -> Result<(), Error> {
        self.receipt.hide(hidden).await
    }

    /// It failed, and comes again: 10 s later the first time, then after a time that grows with each failure. After too
    /// many failures it is a dead letter.
    ///
    /// # Errors
    /// When the broker did not confirm; the message comes again when its time is over.
    pub async fn retry(mut self) -> Result<(), Error> {
        self.settle(ConsumeOutcome::Failed);
        self.receipt.failed(self.message, USUAL).await
    }

    /// It failed, and comes again after this time.
    ///
    /// # Errors
    /// When the broker did not confirm; the message comes again when its time is over.
    pub async fn retry_after(mut self, pause: Duration) -> Result<(), Error> {
        self.settle(ConsumeOutcome::Failed);
        self.receipt.hide_undone(pause).await
    }

    /// It will never be done: it goes to the group's dead letter topic.
    ///
    /// # Errors
    /// When the broker did not confirm; the message may come again then, dead or not.
    pub async fn dead_letter(mut self) -> Result<(), Error> {
        self.settle(ConsumeOutcome::Dead);
        self.receipt.bury(&self.message).await
    }

    /// The text that the protocol has for this delivery (`POP_CK`).
    pub fn receipt_handle(&self) -> String {
        self.receipt.handle().to_string()
    }
}

/// Hides messages for no longer.
pub(in crate::consumer) async fn give_back(popped: Vec<Popped>) {
    let mut under_way = JoinSet::new();
    for message in popped.into_iter().flat_map(Popped::unrolled) {
        if under_way.len() >= GIVEN_BACK_AT_ONCE {
            under_way.join_next().await;
        }
        // If it does not work, the message comes again when its time is over.
        under_way.spawn(async move { message.retry_after(Duration::ZERO).await.is_ok() });
    }
    while under_way.join_next().await.is_some() {}
}
