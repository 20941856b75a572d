//! Messages in the application's hands, and what becomes of them.

mod orderly;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

pub use orderly::ConsumeOrderlyStatus;
use wire::body::MessageQueue;

use super::intake::{Batch, Intake};
use super::member::{Assigned, Member};
use super::pop::{Popped, Receipt};
use super::serving::Serving;
use crate::error::Error;
use crate::filter::Filter;
use crate::hooks::{ConsumeOutcome, Watched};
use crate::received::Received;
use crate::watch::QueueWatch;

/// Pause before a message that could not be sent back is given out again here.
const LOCAL_PAUSE: Duration = Duration::from_secs(5);
/// Delay level of a message that shall be a dead letter at once.
pub(super) const DEAD: i32 = -1;
/// The broker chooses the delay by how often the message failed.
const USUAL: i32 = 0;
/// Delay level of a message whose handler took too long.
const LATE: i32 = 3;

/// A message to be settled: with [`ack`](Delivered::ack), [`retry`](Delivered::retry) or
/// [`dead_letter`](Delivered::dead_letter). It can be read as a [`Received`].
///
/// Dropping it means that it failed: it comes again later.
#[derive(Debug)]
#[must_use = "a message that is not settled comes again"]
pub struct Delivered {
    message: Received,
    /// How it is settled, until it is.
    place: Option<Place>,
    /// While hooks watch what becomes of it.
    watched: Option<Watched>,
}

/// Where a message came from, which is where its fate is told.
#[derive(Debug)]
enum Place {
    Pulled(Seat),
    Popped(Receipt),
}

#[derive(Debug)]
struct Seat {
    source: Arc<Source>,
    /// Since when the application has it; before that nobody needs to settle it.
    handed: Option<Instant>,
}

/// Where the messages of one pull came from.
#[derive(Debug)]
struct Source {
    member: Arc<Member>,
    assigned: Arc<Assigned>,
    generation: u64,
}

impl std::ops::Deref for Delivered {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.message
    }
}

impl From<Popped> for Delivered {
    fn from(popped: Popped) -> Delivered {
        let Popped { message, receipt, watched } = popped;
        Delivered { message, place: Some(Place::Popped(receipt)), watched }
    }
}

impl Delivered {
    /// The messages of a pull.
    pub(super) fn of(member: &Arc<Member>, batch: Batch) -> impl Iterator<Item = Delivered> {
        let Batch { assigned, generation, messages } = batch;
        let source = Arc::new(Source { member: Arc::clone(member), assigned, generation });
        messages.into_iter().map(move |message| {
            let seat = Seat { source: Arc::clone(&source), handed: None };
            Delivered { message, place: Some(Place::Pulled(seat)), watched: None }
        })
    }

    /// The message, if it was popped.
    pub(super) fn into_popped(mut self) -> Option<Popped> {
        match self.place.take()? {
            Place::Popped(receipt) => {
                let (message, watched) = (self.message.clone(), self.watched.take());
                Some(Popped { message, receipt, watched })
            }
            Place::Pulled(_) => None,
        }
    }

    /// Counts the message as in the application's hands; false when it is not this member's any more.
    pub(super) fn hand_over(&mut self) -> bool {
        let Some(place) = &mut self.place else { return false };
        let handed = match place {
            Place::Pulled(seat) => seat.hand_over(),
            Place::Popped(receipt) => receipt.hand_over(),
        };
        if handed {
            self.watched = place.member().consuming(&self.message);
        }
        handed
    }

    /// Ends the application's part; `None` when that has ended already.
    fn settle(&mut self, outcome: ConsumeOutcome) -> Option<Place> {
        let place = self.place.take()?;
        place.count(outcome == ConsumeOutcome::Done);
        place.member().consumed(self.watched.take(), &self.message, outcome);
        Some(place)
    }

    /// The message itself, for a handler.
    pub(super) fn message(&self) -> Received {
        self.message.clone()
    }

    /// It is done. The offset is written down a little later, and at the end.
    pub fn ack(mut self) {
        match self.settle(ConsumeOutcome::Done) {
            Some(Place::Pulled(seat)) => seat.done(self.message.offset),
            Some(Place::Popped(receipt)) => receipt.acknowledge_later(),
            None => (),
        }
    }

    /// It failed, and comes again: after a time that grows with each failure, or for orderly consumers after a short
    /// pause and before all others of its queue. After too many failures it is a dead letter.
    pub async fn retry(self) {
        self.failed(USUAL).await;
    }

    /// It failed, and comes again after a delay level of the broker's, from 1. Orderly consumers pause as they always
    /// do.
    pub async fn retry_after_level(self, level: u32) {
        self.failed(i32::try_from(level).unwrap_or(USUAL)).await;
    }

    /// It will never be done: it goes to the group's dead letter topic.
    pub async fn dead_letter(self) {
        self.failed(DEAD).await;
    }

    async fn failed(self, level: i32) {
        let outcome = if level == DEAD { ConsumeOutcome::Dead } else { ConsumeOutcome::Failed };
        self.failed_as(outcome, level).await;
    }

    /// How long a handler may have it: an orderly queue waits for as long as it takes, and what was popped has a time
    /// of its own.
    pub(super) fn time_limit(&self) -> Option<Duration> {
        match self.place.as_ref()? {
            Place::Pulled(seat) => {
                let options = &seat.source.member.options;
                (!options.orderly).then_some(options.consume_timeout)
            }
            Place::Popped(_) => None,
        }
    }

    /// Its handler has taken too long: it holds its queue back no longer, and comes again.
    pub(super) async fn late(self) {
        tracing::warn!(id = %self.message.message_id(), "a handler takes too long; the message comes again");
        self.failed_as(ConsumeOutcome::TimedOut, LATE).await;
    }

    /// Whether a handler may take it together with another: they were read from one queue, or popped together.
    pub(super) fn goes_with(&self, other: &Delivered) -> bool {
        match (&self.place, &other.place) {
            (Some(Place::Pulled(one)), Some(Place::Pulled(two))) => {
                Arc::ptr_eq(&one.source.assigned, &two.source.assigned)
            }
            (Some(Place::Popped(one)), Some(Place::Popped(two))) => one.goes_with(two),
            _ => false,
        }
    }

    async fn failed_as(mut self, outcome: ConsumeOutcome, level: i32) {
        if let Some(place) = self.settle(outcome) {
            // Boxed, as it is the exception and would make every handler's future large.
            Box::pin(place.failed(self.message.clone(), level)).await;
        }
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        let Some(place) = self.settle(ConsumeOutcome::Dropped).filter(Place::is_handed) else { return };
        tracing::debug!(id = %self.message.message_id(), "dropped without being settled; it comes again");
        let message = self.message.clone();
        let runtime = place.member().runtime.clone();
        runtime.spawn(async move { place.failed(message, USUAL).await });
    }
}

impl Place {
    fn member(&self) -> &Arc<Member> {
        match self {
            Place::Pulled(seat) => &seat.source.member,
            Place::Popped(receipt) => receipt.member(),
        }
    }

    fn is_handed(&self) -> bool {
        match self {
            Place::Pulled(seat) => seat.handed.is_some(),
            Place::Popped(receipt) => receipt.is_handed(),
        }
    }

    /// Counts how long the application had it, if it did, and whether it is done.
    fn count(&self, done: bool) {
        match self {
            Place::Pulled(seat) => seat.count(done),
            Place::Popped(receipt) => receipt.count(done),
        }
    }

    async fn failed(self, message: Received, level: i32) {
        match self {
            Place::Pulled(seat) => seat.failed(message, level).await,
            Place::Popped(receipt) => {
                let id = message.message_id().into_owned();
                if let Err(error) = receipt.failed(message, level).await {
                    tracing::warn!(id, "a message comes again when its time is over: {error}");
                }
            }
        }
    }
}

impl Seat {
    fn hand_over(&mut self) -> bool {
        let Source { member, assigned, generation } = &*self.source;
        if assigned.generation() != *generation || !member.reads(assigned) {
            return false;
        }
        self.handed = Some(Instant::now());
        assigned.hands.take();
        true
    }

    fn count(&self, done: bool) {
        let Some(since) = self.handed else { return };
        let Source { member, assigned, .. } = &*self.source;
        let now = Instant::now();
        assigned.status.consumed(now.saturating_duration_since(since), done);
        assigned.last_consume_ms.store(member.unix_ms(now), Ordering::Relaxed);
    }

    fn done(self, offset: i64) {
        let Source { member, assigned, generation } = &*self.source;
        let settled = assigned.settle(*generation, [offset], &member.bounds(assigned));
        if settled && member.options.orderly && !assigned.direct {
            assigned.line.lock().settled();
            member.next_in_line(assigned);
        }
    }

    async fn failed(self, message: Received, level: i32) {
        let Source { member, assigned, .. } = &*self.source;
        if assigned.direct {
            assigned.restart(message.offset);
            return;
        }
        let id = message.message_id();
        if member.is_broadcast() {
            tracing::warn!(group = member.group, %id, "a message failed; in broadcast it does not come again");
            self.done(message.offset);
            return;
        }
        let too_often = message.reconsume_times >= member.retries_max();
        let orderly = member.options.orderly;
        if orderly && level != DEAD && !too_often {
            self.again_later(message.clone(), member.options.pause);
            return;
        }
        let level = if too_often && orderly { DEAD } else { level };
        match member.send_back(&message, message.topic(), level).await {
            Ok(()) => self.done(message.offset),
            Err(error) => {
                let group = &member.group;
                tracing::warn!(group, %id, "a message cannot be sent back and is tried here: {error}");
                self.again_later(message.clone(), LOCAL_PAUSE);
            }
        }
    }

    /// Gives the message out again from here, unless the queue went to somebody else meanwhile.
    fn again_later(&self, mut message: Received, pause: Duration) {
        message.reconsume_times += 1;
        let source = Arc::clone(&self.source);
        let runtime = source.member.runtime.clone();
        runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            let Source { member, assigned, generation } = &*source;
            let generation = *generation;
            if assigned.generation() != generation {
                return;
            }
            if member.options.orderly {
                assigned.line.lock().again(generation, message);
                member.next_in_line(assigned);
            } else if member.reads(assigned) {
                member.offer(assigned, generation, vec![message]);
            }
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.handed.is_some() {
            self.source.assigned.hands.give();
        }
    }
}

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
    pub(super) intake: Intake,
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
    /// group. What is not settled comes again, here or at another member.
    pub async fn close(mut self, limit: Duration) {
        self.intake.close(limit).await;
    }

    /// Hands every message to `handler`.
    pub(super) fn serve<H, F, E>(self, handler: H) -> Serving
    where
        H: Fn(Received) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        Serving::start(self.intake, move |delivered: Delivered| {
            let handling = handler(delivered.message());
            async move {
                let mut handling = pin!(handling);
                match in_time(handling.as_mut(), delivered.time_limit()).await {
                    Some(Ok(())) => delivered.ack(),
                    Some(Err(error)) => {
                        tracing::info!(id = %delivered.message_id(), "a handler failed: {error}");
                        delivered.retry().await;
                    }
                    None => {
                        delivered.late().await;
                        // It goes on to its end; what it says then means nothing.
                        let _ = handling.await;
                    }
                }
            }
        })
    }

    /// Hands several messages of a queue at a time to `handler`.
    pub(super) fn serve_batches<H, F, E>(self, handler: H) -> Serving
    where
        H: Fn(Vec<Received>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Unfinished<E>>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        Serving::start(self.intake, move |some: Vec<Delivered>| {
            let handling = handler(some.iter().map(Delivered::message).collect());
            async move {
                let mut handling = pin!(handling);
                let limit = some.first().and_then(Delivered::time_limit);
                let Some(handled) = in_time(handling.as_mut(), limit).await else {
                    for delivered in some {
                        delivered.late().await;
                    }
                    let _ = handling.await;
                    return;
                };
                let done = match handled {
                    Ok(()) => some.len(),
                    Err(Unfinished { done, cause }) => {
                        let failed = some.len().saturating_sub(done);
                        tracing::info!(done, failed, "a handler failed: {cause}");
                        done
                    }
                };
                for (at, delivered) in some.into_iter().enumerate() {
                    if at < done {
                        delivered.ack();
                    } else {
                        delivered.retry().await;
                    }
                }
            }
        })
    }
}

/// What a handler of several messages says when it has not done all of them: the first are done, and the others come
/// again later. An error by itself becomes one where none is done, so that `?` can be used.
///
/// ```no_run
/// # async fn book(order: &thrustmq_client::Received) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn example(client: thrustmq_client::Client) -> Result<(), thrustmq_client::Error> {
/// use thrustmq_client::{Filter, Unfinished};
///
/// let consumer = client.consumer("order-service").subscribe("orders", Filter::all());
/// let serving = consumer
///     .serve_batches(16, |orders| async move {
///         for (done, order) in orders.iter().enumerate() {
///             if let Err(cause) = book(order).await {
///                 return Err(Unfinished { done, cause });
///             }
///         }
///         Ok(())
///     })
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished<E> {
    /// How many of the first messages are done.
    pub done: usize,
    /// Why the others are not.
    pub cause: E,
}

impl<E> From<E> for Unfinished<E> {
    fn from(cause: E) -> Unfinished<E> {
        Unfinished { done: 0, cause }
    }
}

/// What a handler comes to; `None` when its time is over first. A timer is set only for one that has to wait.
async fn in_time<F: Future>(mut handling: Pin<&mut F>, limit: Option<Duration>) -> Option<F::Output> {
    let looked = poll_fn(|context| Poll::Ready(handling.as_mut().poll(context))).await;
    match (looked, limit) {
        (Poll::Ready(handled), _) => Some(handled),
        (Poll::Pending, Some(limit)) => tokio::time::timeout(limit, handling).await.ok(),
        (Poll::Pending, None) => Some(handling.await),
    }
}
