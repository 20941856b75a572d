//! What requests brought, on its way to the application.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::mpsc;

use super::delivery::Delivered;
use super::member::{Given, Member, Popped, give_back};
use crate::error::Error;

/// The receiving end of a member.
#[derive(Debug)]
pub(super) struct Intake {
    pub member: Arc<Member>,
    receiver: mpsc::UnboundedReceiver<Given>,
    /// Received, and not in the application's hands yet.
    ready: VecDeque<Delivered>,
}

impl Intake {
    /// That of a member, which joins its group by this.
    pub async fn joined(
        member: Arc<Member>,
        receiver: mpsc::UnboundedReceiver<Given>,
    ) -> Result<Intake, Error> {
        let intake = Intake { member, receiver, ready: VecDeque::new() };
        intake.member.start().await?;
        Ok(intake)
    }

    /// What the next request brought; `None` when the consumer was closed. Nothing is lost when the future is dropped.
    pub async fn next_given(&mut self) -> Option<Given> {
        if self.member.is_stopping() {
            return None;
        }
        // What is there need not wait for the news that all is over, which takes a subscription.
        if let Ok(given) = self.receiver.try_recv() {
            return Some(given);
        }
        tokio::select! {
            given = self.receiver.recv() => given,
            () = self.member.told_to_stop() => None,
        }
    }

    /// The next message; `None` when the consumer was closed. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Delivered> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same for streams. Only its owner closes the consumer, and who polls it is not closing it: nothing else than
    /// a message need wake it.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Delivered>> {
        loop {
            if self.member.is_stopping() {
                return Poll::Ready(None);
            }
            while let Some(mut delivered) = self.ready.pop_front() {
                if delivered.hand_over() {
                    return Poll::Ready(Some(delivered));
                }
            }
            let Some(given) = ready!(self.receiver.poll_recv(context)) else { return Poll::Ready(None) };
            let mut ready = std::mem::take(&mut self.ready);
            self.unpack(given, &mut ready);
            self.ready = ready;
        }
    }

    /// Adds the messages of a request to those that can be handed over.
    pub fn unpack(&self, given: Given, ready: &mut VecDeque<Delivered>) {
        match given {
            Given::Pulled(batch) => ready.extend(Delivered::of(&self.member, batch)),
            Given::Popped(messages) => ready.extend(messages.into_iter().map(Delivered::from)),
        }
    }

    /// Leaves the group; see [`Member::close`].
    pub async fn close(&mut self, limit: Duration) {
        self.member.no_more();
        let unread = std::mem::take(&mut self.ready);
        self.give_back(unread, limit).await;
        self.member.close(limit).await;
    }

    /// Lets others have at once what was popped and never came into the application's hands. Without this it would come
    /// again too, but only when its time is over.
    pub async fn give_back(&mut self, unread: VecDeque<Delivered>, limit: Duration) {
        let mut popped: Vec<Popped> = unread.into_iter().filter_map(Delivered::into_popped).collect();
        while let Ok(given) = self.receiver.try_recv() {
            if let Given::Popped(messages) = given {
                popped.extend(messages);
            }
        }
        let _ = tokio::time::timeout(limit, give_back(popped)).await;
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        // Nothing is written down here, since nobody could wait for it: what was settled last comes again.
        self.member.stop();
    }
}
