//! The consumer that pops.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use wire::body::MessageQueue;

use super::intake::Intake;
use super::member::Popped;
use crate::error::Error;
use crate::filter::Filter;
use crate::watch::QueueWatch;

/// A member of a group that pops: brokers choose what each member gets, message by message, so that no member waits
/// behind another's queue and a slow message holds up nothing. It is a [`Stream`](futures_core::Stream) too.
///
/// ```no_run
/// # async fn example() -> Result<(), thrustmq_client::Error> {
/// use std::time::Duration;
/// use thrustmq_client::{Client, Filter};
///
/// let client = Client::connect("127.0.0.1:9876").await?;
/// let consumer = client.pop_consumer("thumbnails").subscribe("pictures", Filter::all());
/// let mut consumer = consumer.invisible_for(Duration::from_secs(30)).stream().await?;
/// while let Some(mut picture) = consumer.next().await {
///     if picture.body.len() > 10 << 20 {
///         // It takes longer than others.
///         picture.hide_for(Duration::from_secs(300)).await?;
///     }
///     picture.ack().await?;
/// }
/// consumer.close(Duration::from_secs(10)).await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PopConsumer {
    intake: Intake,
}

impl PopConsumer {
    pub(super) fn new(intake: Intake) -> PopConsumer {
        PopConsumer { intake }
    }

    /// The next message; `None` when the consumer was closed. No message is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Popped> {
        loop {
            if let Some(popped) = self.intake.next().await?.into_popped() {
                return Some(popped);
            }
        }
    }

    /// Queues that are popped now; one with the number -1 stands for all of its broker.
    pub fn queues(&self) -> Vec<MessageQueue> {
        self.intake.member.held_queues()
    }

    /// Watches which queues this member has: they change when members come and go, or the topics change.
    pub fn watch_queues(&self) -> QueueWatch {
        self.intake.member.watch_queues()
    }

    /// Adds a topic while the consumer works, or wants other messages of it from now on. All members of a group must do
    /// the same.
    ///
    /// # Errors
    /// When the name is not allowed, no name server answers, or the broker refuses the filter; nothing changes then.
    pub async fn subscribe(&self, topic: &str, filter: Filter) -> Result<(), Error> {
        self.intake.member.subscribe(topic, filter).await
    }

    /// Pops nothing of a topic any more. What was popped before comes all the same, since nobody else gets it yet.
    pub async fn unsubscribe(&self, topic: &str) {
        self.intake.member.unsubscribe(topic).await;
    }

    /// Asks brokers for no more messages until it is [resumed](PopConsumer::resume). What has come before is given
    /// out all the same, and so is what a request brings that is under way. The queues stay this member's.
    pub fn suspend(&self) {
        self.intake.member.suspend();
    }

    /// Goes on after [`suspend`](PopConsumer::suspend).
    pub fn resume(&self) {
        self.intake.member.resume();
    }

    /// Takes no more messages, waits up to `limit` until those in hands are settled and their acknowledgements are
    /// confirmed, and leaves the group. Others get at once what never came into hands. What is in hands still comes
    /// again by itself when its time is over: no work is lost, neither here nor when the process ends without this.
    pub async fn close(mut self, limit: Duration) {
        self.intake.close(limit).await;
    }
}

/// The same messages that [`PopConsumer::next`] gives. One that a combinator drops comes again when its time is over.
impl Stream for PopConsumer {
    type Item = Popped;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Popped>> {
        let intake = &mut self.get_mut().intake;
        loop {
            let Some(delivered) = ready!(intake.poll_next(context)) else { return Poll::Ready(None) };
            if let Some(popped) = delivered.into_popped() {
                return Poll::Ready(Some(popped));
            }
        }
    }
}
