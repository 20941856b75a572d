//! Receipts: what a delivery of a message can be acknowledged, hidden for longer and given back with.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use wire::body::MessageQueue;
use wire::code::request;
use wire::pop::Handle;

use super::{PopQueue, Popped, give_back};
use crate::consumer::member::{DEAD, Member};
use crate::error::Error;
use crate::fields::Fields;
use crate::received::Received;
use crate::shared::{Shared, number, success};

/// How long a message that failed stays hidden, in seconds, by how often it failed before.
const BACK_OFF: [u64; 17] =
    [10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1_200, 1_800, 3_600, 7_200, 7_200];

/// One delivery of one message. Dropping it says nothing to the broker: the message comes again when its time is over.
#[derive(Debug)]
pub(in crate::consumer) struct Receipt {
    member: Arc<Member>,
    popping: Arc<PopQueue>,
    handle: Handle<'static>,
    /// When others may get it, by our clock.
    until: Instant,
    /// Since when the application has it.
    handed: Option<Instant>,
    /// Popped behind it in order: the first of them is given out when it is done.
    following: VecDeque<Popped>,
}

impl Receipt {
    pub fn new(member: Arc<Member>, popping: Arc<PopQueue>, handle: Handle<'static>) -> Receipt {
        popping.unsettled.fetch_add(1, Ordering::AcqRel);
        let until = Instant::now() + hidden_for(&handle);
        Receipt { member, popping, handle, until, handed: None, following: VecDeque::new() }
    }

    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// What was popped behind it in order.
    pub fn following(&mut self) -> &mut VecDeque<Popped> {
        &mut self.following
    }

    pub fn is_handed(&self) -> bool {
        self.handed.is_some()
    }

    /// Whether it was popped where another was.
    pub fn goes_with(&self, other: &Receipt) -> bool {
        Arc::ptr_eq(&self.popping, &other.popping)
    }

    /// Counts the message as in the application's hands; false when others may have it already.
    pub fn hand_over(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.until || self.member.is_stopping() {
            return false;
        }
        self.popping.hands.take();
        self.handed = Some(now);
        true
    }

    /// Counts how long the application had it, and whether it is done.
    pub fn count(&self, done: bool) {
        if let Some(since) = self.handed {
            self.popping.status.consumed(since.elapsed(), done);
        }
    }

    /// For how long nobody else gets it.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    pub fn handle(&self) -> Handle<'_> {
        Handle { broker: &self.popping.queue.broker_name, ..self.handle }
    }

    /// Topic that the message lay in: a retry topic for one that failed before.
    pub fn topic(&self) -> String {
        self.handle.origin.topic(&self.member.group, &self.popping.queue.topic)
    }

    /// Tells the broker, together with others, and waits for its answer.
    pub async fn acknowledge(self) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.hand_in(Some(done));
        answer.await.unwrap_or(Err(Error::Stopped("the consumer")))
    }

    /// Tells the broker a little later. If that does not work, the message comes again.
    pub fn acknowledge_later(self) {
        self.hand_in(None);
    }

    fn hand_in(mut self, done: Option<oneshot::Sender<Result<(), Error>>>) {
        if let Some(next) = first_of(std::mem::take(&mut self.following)) {
            if self.member.is_stopping() {
                self.leave(vec![next]);
            } else {
                self.member.give_popped(vec![next]);
            }
        }
        let acks = self.popping.acks.clone();
        // Only a runtime that ends has nobody who takes it.
        let _ = acks.send(Ack { receipt: self, done });
    }

    /// Hides the message for so long from now.
    pub async fn hide(&mut self, hidden: Duration) -> Result<(), Error> {
        let shared = &self.member.shared;
        let address = shared.master_of(&self.popping.queue).await?;
        let fields = fields(&self.member.group, &self.topic(), &self.handle())
            .number("invisibleTime", i64::try_from(hidden.as_millis()).unwrap_or(i64::MAX));
        let asked = Instant::now();
        let answer = shared.ask(&address, request::CHANGE_MESSAGE_INVISIBLETIME, &fields, &[]).await?;
        self.handle = Handle {
            start: self.handle.offset,
            pop_time: number(&address, &answer, "popTime")?,
            invisible_ms: number(&address, &answer, "invisibleTime")?,
            revive_queue: number(&address, &answer, "reviveQid")?,
            ..self.handle
        };
        self.until = asked + hidden;
        Ok(())
    }

    /// Hides the message for so long from now, since it was not done. What follows it comes again behind it.
    pub async fn hide_undone(mut self, hidden: Duration) -> Result<(), Error> {
        let following = Vec::from(std::mem::take(&mut self.following));
        let told = self.hide(hidden).await;
        if self.member.options.pop.orderly && told.is_ok() {
            self.ask_again(hidden);
        }
        if !following.is_empty() {
            self.leave(following);
        }
        told
    }

    /// Asks for what follows as soon as it may be popped again.
    fn ask_again(&self, pause: Duration) {
        let (member, popping) = (Arc::clone(&self.member), Arc::clone(&self.popping));
        self.member.runtime.spawn(member.pop_again(popping, pause));
    }

    /// Leaves messages to whoever pops them next.
    fn leave(&self, messages: Vec<Popped>) {
        self.member.runtime.spawn(give_back(messages));
    }

    /// Makes a dead letter of the message.
    pub async fn bury(self, message: &Received) -> Result<(), Error> {
        self.member.send_back(message, &self.topic(), DEAD).await?;
        self.acknowledge().await
    }

    /// The message failed: it is hidden for a while, or dead after too many failures.
    pub async fn failed(self, message: Received, level: i32) -> Result<(), Error> {
        let orderly = self.member.options.pop.orderly;
        let failures = if orderly { self.popping.failed_before(&message) } else { message.reconsume_times };
        if level == DEAD || failures >= self.member.retries_max() {
            return self.bury(&message).await;
        }
        if orderly {
            let pause = self.member.options.pause;
            return self.hide_undone(pause).await;
        }
        let before = if level > 0 { level } else { message.reconsume_times };
        let index = usize::try_from(before).unwrap_or(0).min(BACK_OFF.len() - 1);
        self.hide_undone(Duration::from_secs(BACK_OFF[index])).await
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let before = self.popping.unsettled.fetch_sub(1, Ordering::AcqRel);
        if before == self.member.options.pop.messages_max {
            self.popping.room.notify_one();
        }
        if self.handed.is_some() {
            self.popping.hands.give();
        }
    }
}

/// The receipt of a message that is done, on its way to the broker.
#[derive(Debug)]
pub(in crate::consumer) struct Ack {
    pub receipt: Receipt,
    /// Who waits for the broker's answer.
    pub done: Option<oneshot::Sender<Result<(), Error>>>,
}

/// The first of messages that were popped in order, which has the others behind it.
pub(super) fn first_of(mut messages: VecDeque<Popped>) -> Option<Popped> {
    let mut first = messages.pop_front()?;
    first.receipt.following = messages;
    Some(first)
}

fn hidden_for(handle: &Handle<'_>) -> Duration {
    Duration::from_millis(u64::try_from(handle.invisible_ms).unwrap_or(0))
}

/// Fields of the requests that speak of one delivery.
fn fields<'a>(group: &'a str, topic: &str, handle: &Handle<'a>) -> Fields<'a> {
    Fields::new()
        .text("consumerGroup", group)
        .text("topic", topic.to_owned())
        .number("queueId", handle.queue)
        .text("extraInfo", handle.to_string())
        .number("offset", handle.offset)
        .text("bname", handle.broker)
}

/// Acknowledges one delivery by itself. `queue` is where it was popped from.
pub(super) async fn acknowledge_one(
    shared: &Shared,
    group: &str,
    queue: &MessageQueue,
    handle: &Handle<'_>,
) -> Result<(), Error> {
    let address = shared.master_of(queue).await?;
    let fields = fields(group, &handle.origin.topic(group, &queue.topic), handle);
    let answer = shared.call(&address, request::ACK_MESSAGE, &fields, &[], shared.times.call).await?;
    success(&address, answer).map(drop)
}
