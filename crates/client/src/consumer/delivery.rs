//! Messages in the application's hands, and what becomes of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use wire::code::request;

use super::member::{Assigned, Member};
use crate::error::Error;
use crate::fields::Fields;
use crate::received::Received;

/// Pause before a message that could not be sent back is given out again here.
const LOCAL_PAUSE: Duration = Duration::from_secs(5);
/// Delay level of a message that shall be a dead letter at once.
const DEAD: i32 = -1;
/// The broker chooses the delay by how often the message failed.
const USUAL: i32 = 0;

/// A message to be settled: with [`ack`](Delivered::ack), [`retry`](Delivered::retry) or
/// [`dead_letter`](Delivered::dead_letter). It can be read as a [`Received`].
///
/// Dropping it means that it failed: it comes again later.
#[derive(Debug)]
#[must_use = "a message that is not settled comes again"]
pub struct Delivered {
    message: Received,
    seat: Option<Seat>,
}

#[derive(Debug)]
struct Seat {
    member: Arc<Member>,
    assigned: Arc<Assigned>,
    generation: u64,
    /// The application has it; before that nobody needs to settle it.
    handed: bool,
}

impl std::ops::Deref for Delivered {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.message
    }
}

impl Delivered {
    pub(super) fn new(
        member: Arc<Member>,
        assigned: Arc<Assigned>,
        generation: u64,
        message: Received,
    ) -> Delivered {
        Delivered { message, seat: Some(Seat { member, assigned, generation, handed: false }) }
    }

    /// Counts the message as in the application's hands; `None` when it is not this member's any more.
    fn hand_over(mut self) -> Option<Delivered> {
        let seat = self.seat.as_mut()?;
        let current = seat.assigned.window.lock().generation() == seat.generation;
        if !current || !seat.member.reads(&seat.assigned) {
            return None;
        }
        seat.handed = true;
        seat.assigned.handed.fetch_add(1, Ordering::AcqRel);
        Some(self)
    }

    /// It is done. The offset is written down a little later, and at the end.
    pub fn ack(mut self) {
        if let Some(seat) = self.seat.take() {
            seat.done(self.message.offset);
        }
    }

    /// It failed, and comes again: after a time that grows with each failure, or for orderly consumers after a short
    /// pause and before all others of its queue. After too many failures it is a dead letter.
    pub async fn retry(mut self) {
        if let Some(seat) = self.seat.take() {
            seat.failed(self.message.clone(), USUAL).await;
        }
    }

    /// It failed, and comes again after a delay level of the broker's, from 1. Orderly consumers pause as they always
    /// do.
    pub async fn retry_after_level(mut self, level: u32) {
        if let Some(seat) = self.seat.take() {
            seat.failed(self.message.clone(), i32::try_from(level).unwrap_or(USUAL)).await;
        }
    }

    /// It will never be done: it goes to the group's dead letter topic.
    pub async fn dead_letter(mut self) {
        if let Some(seat) = self.seat.take() {
            seat.failed(self.message.clone(), DEAD).await;
        }
    }
}

impl Drop for Delivered {
    fn drop(&mut self) {
        let Some(seat) = self.seat.take().filter(|seat| seat.handed) else { return };
        tracing::debug!(id = self.message.message_id, "dropped without being settled; it comes again");
        let message = self.message.clone();
        let runtime = seat.member.runtime.clone();
        runtime.spawn(async move { seat.failed(message, USUAL).await });
    }
}

impl Seat {
    fn done(self, offset: i64) {
        let Seat { member, assigned, generation, .. } = &self;
        if assigned.window.lock().settled(*generation, offset) {
            assigned.room.notify_one();
            if member.options.orderly && !assigned.direct {
                assigned.line.lock().busy = false;
                member.next_in_line(assigned);
            }
        }
    }

    async fn failed(self, message: Received, level: i32) {
        if self.assigned.direct {
            self.assigned.restart(message.offset);
            return;
        }
        if self.member.is_broadcast() {
            let (group, id) = (&self.member.group, &message.message_id);
            tracing::warn!(group, id, "a message failed; in broadcast it does not come again");
            self.done(message.offset);
            return;
        }
        let too_often = message.reconsume_times >= self.member.retries_max();
        if self.member.options.orderly && level != DEAD && !too_often {
            self.again_later(message, self.member.options.pause);
            return;
        }
        let level = if too_often && self.member.options.orderly { DEAD } else { level };
        match self.member.send_back(&message, level).await {
            Ok(()) => self.done(message.offset),
            Err(error) => {
                let (group, id) = (&self.member.group, &message.message_id);
                tracing::warn!(group, id, "a message cannot be sent back and is tried here: {error}");
                self.again_later(message, LOCAL_PAUSE);
            }
        }
    }

    /// Gives the message out again from here, unless the queue went to somebody else meanwhile.
    fn again_later(&self, mut message: Received, pause: Duration) {
        message.reconsume_times += 1;
        let (member, assigned) = (Arc::clone(&self.member), Arc::clone(&self.assigned));
        let generation = self.generation;
        let runtime = member.runtime.clone();
        runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            if assigned.window.lock().generation() != generation {
                return;
            }
            if member.options.orderly {
                let mut line = assigned.line.lock();
                line.waiting.push_front((generation, message));
                line.busy = false;
                drop(line);
                member.next_in_line(&assigned);
            } else if member.reads(&assigned) {
                member.offer(&assigned, generation, message);
            }
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.handed {
            self.assigned.handed.fetch_sub(1, Ordering::AcqRel);
            self.assigned.handed_back.notify_waiters();
        }
    }
}

impl Member {
    /// Gives a message back to the broker, which delivers it again later or makes a dead letter of it.
    async fn send_back(&self, message: &Received, level: i32) -> Result<(), Error> {
        let address = self.shared.master_of(&message.queue).await?;
        let fields = Fields::new()
            .text("group", self.group.as_str())
            .text("originTopic", message.topic.as_str())
            .number("offset", message.commit_log_offset)
            .number("delayLevel", level)
            .text("originMsgId", message.message_id.as_str())
            .flag("unitMode", false)
            .number("maxReconsumeTimes", self.retries_max())
            .text("bname", message.queue.broker_name.as_str());
        self.shared.ask(&address, request::CONSUMER_SEND_MSG_BACK, &fields, &[]).await?;
        Ok(())
    }
}

/// A member of a group that gives messages one by one.
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
    member: Arc<Member>,
    intake: mpsc::UnboundedReceiver<Delivered>,
}

impl Consumer {
    pub(super) fn new(member: Arc<Member>, intake: mpsc::UnboundedReceiver<Delivered>) -> Consumer {
        Consumer { member, intake }
    }

    /// The next message; `None` when the consumer was closed. No message is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Delivered> {
        loop {
            if self.member.is_stopping() {
                return None;
            }
            let delivered = tokio::select! {
                delivered = self.intake.recv() => delivered?,
                () = self.member.told_to_stop() => continue,
            };
            if let Some(delivered) = delivered.hand_over() {
                return Some(delivered);
            }
        }
    }

    /// Queues that this member has now.
    pub fn queues(&self) -> Vec<wire::body::MessageQueue> {
        self.member.assigned().iter().map(|assigned| assigned.queue.clone()).collect()
    }

    /// Takes no more messages, waits up to `limit` until those in hands are settled, writes offsets down and leaves the
    /// group. What is not settled comes again, here or at another member.
    pub async fn close(self, limit: Duration) {
        self.member.close(limit).await;
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // Nothing is written down here, since nobody could wait for it: what was settled last comes again.
        self.member.stop();
    }
}

/// A member of a group whose messages go to a handler.
#[derive(Debug)]
#[must_use = "dropping it stops the consumer without waiting for handlers"]
pub struct Serving {
    member: Arc<Member>,
    task: JoinHandle<()>,
}

impl Serving {
    pub(super) fn start<H, F, E>(mut consumer: Consumer, concurrency: usize, handler: H) -> Serving
    where
        H: Fn(Received) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let member = Arc::clone(&consumer.member);
        let permits = Arc::new(Semaphore::new(concurrency));
        let task = tokio::spawn(async move {
            // A permit first: what waits for a handler is not in hands, and may go to another member.
            while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
                let Some(delivered) = consumer.next().await else { return };
                let handling = handler(delivered.message.clone());
                tokio::spawn(async move {
                    match handling.await {
                        Ok(()) => delivered.ack(),
                        Err(error) => {
                            tracing::info!(id = delivered.message_id, "a handler failed: {error}");
                            delivered.retry().await;
                        }
                    }
                    drop(permit);
                });
            }
        });
        Serving { member, task }
    }

    /// Queues that this member has now.
    pub fn queues(&self) -> Vec<wire::body::MessageQueue> {
        self.member.assigned().iter().map(|assigned| assigned.queue.clone()).collect()
    }

    /// Takes no more messages, waits up to `limit` for handlers, writes offsets down and leaves the group. What is not
    /// finished comes again, here or at another member.
    pub async fn close(self, limit: Duration) {
        self.member.close(limit).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.member.stop();
        self.task.abort();
    }
}
