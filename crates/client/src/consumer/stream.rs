//! The consumer that gives messages one by one, also for the combinators of `tokio-stream` and `futures`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use wire::body::MessageQueue;

use super::delivery::Delivered;
use super::intake::Intake;
use super::member::Assigned;
use crate::error::Error;
use crate::filter::Filter;
use crate::watch::QueueWatch;

/// A member of a group that gives messages one by one. It is a [`Stream`](futures_core::Stream) too.
///
/// ```no_run
/// # async fn example() -> Result<(), thrustmq_client::Error> {
/// use std::time::Duration;
/// use thrustmq_client::{Client, Filter};
///
/// let client = Client::connect("127.0.0.1:9876").await?;
/// let mut consumer = client.consumer("order-service").subscribe("orders", Filter::all()).stream().await?;
/// while let Some(order) = consumer.next().await {
///     match order.body.is_empty() {
///         false => order.ack(),
///         true => order.dead_letter().await,
///     }
/// }
/// consumer.close(Duration::from_secs(10)).await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Consumer {
    intake: Intake,
}

impl Consumer {
    pub(super) fn new(intake: Intake) -> Consumer {
        Consumer { intake }
    }

    /// The next message; `None` when the consumer was closed. No message is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Delivered> {
        self.intake.next().await
    }

    /// Queues that this member has now. One with the number -1 stands for all of its broker, and is popped.
    pub fn queues(&self) -> Vec<MessageQueue> {
        self.intake.member.held_queues()
    }

    /// Watches which queues this member has: they change when members come and go, or the topics change.
    pub fn watch_queues(&self) -> QueueWatch {
        self.intake.member.watch_queues()
    }

    /// Queues that this member reads now, each with the offset that everything before is settled: read, or passed over
    /// by the filter. Brokers alone know this of queues that are popped.
    pub fn positions(&self) -> BTreeMap<MessageQueue, i64> {
        let assigned = self.intake.member.assigned().into_iter();
        let namespace = &self.intake.member.shared.namespace;
        let position = |one: Arc<Assigned>| {
            (namespace.unwrap_queue(MessageQueue::clone(&one.queue)), one.window.lock().committable())
        };
        assigned.map(position).collect()
    }

    /// Adds a topic while the consumer works, or wants other messages of it from now on. What was pulled before comes
    /// as it was. All members of a group must do the same.
    ///
    /// ```no_run
    /// # async fn example(consumer: thrustmq_client::Consumer) -> Result<(), thrustmq_client::Error> {
    /// use thrustmq_client::Filter;
    ///
    /// consumer.subscribe("refunds", Filter::tags(["large"])).await?;
    /// consumer.unsubscribe("orders").await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the name is not allowed, no name server answers, or the broker refuses the filter; nothing changes then.
    pub async fn subscribe(&self, topic: &str, filter: Filter) -> Result<(), Error> {
        self.intake.member.subscribe(topic, filter).await
    }

    /// Wants nothing of a topic any more. When this returns, none of its messages is given out, unless it was popped;
    /// those in hands can be settled, for a few seconds with effect on the group's offsets.
    pub async fn unsubscribe(&self, topic: &str) {
        self.intake.member.unsubscribe(topic).await;
    }

    /// Asks brokers for no more messages until it is [resumed](Consumer::resume). What has come before is given
    /// out all the same, and so is what a request brings that is under way. The queues stay this member's.
    pub fn suspend(&self) {
        self.intake.member.suspend();
    }

    /// Goes on after [`suspend`](Consumer::suspend).
    pub fn resume(&self) {
        self.intake.member.resume();
    }

    /// Takes no more messages, waits up to `limit` until those in hands are settled, writes offsets down and leaves the
    /// group. What is not settled comes again, here or at another member. Brokers that do not answer can make it a few
    /// seconds more.
    pub async fn close(mut self, limit: Duration) {
        self.intake.close(limit).await;
    }
}

/// The same messages that [`Consumer::next`] gives, for whatever takes a stream. It ends when the consumer is closed.
///
/// A combinator that drops a message, as `filter` does, says by it that the message failed.
///
/// ```no_run
/// # async fn example(client: thrustmq_client::Client) -> Result<(), thrustmq_client::Error> {
/// use std::pin::pin;
/// use std::time::Duration;
/// use thrustmq_client::Filter;
/// use tokio_stream::StreamExt;
///
/// let mut orders = client.consumer("order-service").subscribe("orders", Filter::all()).stream().await?;
/// {
///     // A hundred at a time, or as many as came within a second.
///     let mut some = pin!((&mut orders).take(10_000).chunks_timeout(100, Duration::from_secs(1)));
///     while let Some(orders) = some.next().await {
///         println!("{} orders", orders.len());
///         orders.into_iter().for_each(|order| order.ack());
///     }
/// }
/// orders.close(Duration::from_secs(10)).await;
/// # Ok(()) }
/// ```
impl Stream for Consumer {
    type Item = Delivered;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivered>> {
        self.get_mut().intake.poll_next(context)
    }
}
