//! What requests brought, on its way to the application.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::delivery::Delivered;
use super::member::{Assigned, Member};
use super::pop::Popped;
use crate::received::Received;

/// Messages that are given back at a time when a consumer ends.
const GIVEN_BACK_AT_ONCE: usize = 32;

/// What one request brought.
#[derive(Debug)]
pub(super) enum Given {
    Pulled(Batch),
    Popped(Vec<Popped>),
}

/// Messages of one pull.
#[derive(Debug)]
pub(super) struct Batch {
    pub assigned: Arc<Assigned>,
    /// Of the queue's window when they were asked for.
    pub generation: u64,
    pub messages: Vec<Received>,
}

impl Batch {
    /// Whether it still means something: the queue is this member's and was not read from elsewhere since.
    pub fn is_current(&self) -> bool {
        !self.assigned.is_revoked() && self.assigned.generation() == self.generation
    }
}

/// The receiving end of a member.
#[derive(Debug)]
pub(super) struct Intake {
    pub member: Arc<Member>,
    receiver: mpsc::UnboundedReceiver<Given>,
    /// Received, and not in the application's hands yet.
    ready: VecDeque<Delivered>,
}

impl Intake {
    pub fn new(member: Arc<Member>, receiver: mpsc::UnboundedReceiver<Given>) -> Intake {
        Intake { member, receiver, ready: VecDeque::new() }
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

/// Hides messages for no longer.
pub(super) async fn give_back(popped: Vec<Popped>) {
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
