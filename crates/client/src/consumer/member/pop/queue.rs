//! Popping one queue, or all of a broker, for as long as this member may.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use remoting::Answer;
use tokio::sync::{Notify, mpsc};
use wire::body::MessageQueue;
use wire::code::{request, response};
use wire::pop::{Handle, Origin};
use wire::properties as props;

use super::acknowledge::acknowledge_for_ever;
use super::receipt::{Receipt, first_of};
use super::{PopQueue, Popped, give_back};
use crate::consumer::hands::Hands;
use crate::consumer::member::Member;
use crate::consumer::options::StartFrom;
use crate::error::Error;
use crate::fields::Fields;
use crate::identity::{now_ms, random};
use crate::received::{Received, read_all};
use crate::shared::number;

/// How long the broker keeps a pop that finds nothing.
const SUSPENDED: Duration = Duration::from_secs(15);
/// How long an answer may take beyond that.
const GRACE: Duration = Duration::from_secs(10);
/// Pause after a pop that failed, or that the broker had no place for.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Pause when the broker asks for it.
const FLOW_CONTROL: Duration = Duration::from_millis(20);
/// How much later than it may a failed message is asked for again.
const AGAIN: Duration = Duration::from_millis(10);
/// How long at most until a full queue is looked at again.
const FULL: Duration = Duration::from_millis(50);
/// An answer that finds nothing and comes sooner than this was not waited for at the broker.
const SUDDEN: Duration = Duration::from_millis(50);

/// What a pop found.
enum Found {
    Messages(Vec<Popped>),
    Nothing,
    /// The broker keeps as many pops waiting as it may.
    NoPlace,
}

impl Member {
    /// Starts to pop a queue.
    pub(in crate::consumer) fn begin_popping(self: &Arc<Self>, queue: MessageQueue) {
        // How many wait in it is bounded by what may be popped and not settled.
        let (acks, gathered) = mpsc::unbounded_channel();
        let popping = Arc::new(PopQueue {
            queue: queue.clone(),
            revoked: AtomicBool::new(false),
            unsettled: AtomicUsize::new(0),
            hands: Hands::default(),
            room: Notify::new(),
            last_pop_ms: AtomicI64::new(now_ms()),
            status: self.status_of(&queue.topic),
            failing: Mutex::default(),
            acks,
        });
        let to_settle =
            acknowledge_for_ever(Arc::clone(&self.shared), self.group.clone(), queue.clone(), gathered);
        self.runtime.spawn(to_settle);
        self.popped.lock().insert(queue, Arc::clone(&popping));
        // It does not end with the consumer but with the pop that is under way then: what that still brings is given
        // back, which nobody else could do before its time is over.
        self.runtime.spawn(Arc::clone(self).pop_for_ever(popping));
    }

    fn pops(&self, queue: &PopQueue) -> bool {
        !self.is_stopping() && !queue.is_revoked()
    }

    /// A name for the next pop, if it needs one.
    fn attempt(&self) -> Option<String> {
        self.options.pop.orderly.then(|| format!("{:016x}{:016x}", random(), random()))
    }

    async fn pop_for_ever(self: Arc<Self>, queue: Arc<PopQueue>) {
        let mut attempt = self.attempt();
        while self.pops(&queue) {
            if self.is_suspended() || queue.unsettled() >= self.options.pop.messages_max {
                let _ = tokio::time::timeout(FULL, queue.room.notified()).await;
                continue;
            }
            let begun = Instant::now();
            let found = self.pop(&queue, attempt.as_deref(), SUSPENDED).await;
            if found.is_ok() {
                attempt = self.attempt();
            }
            if let Ok(Found::Messages(messages)) = &found {
                queue.status.pulled(begun.elapsed(), messages.len());
            }
            match found {
                Ok(Found::Messages(messages)) if self.pops(&queue) => self.give_popped(messages),
                Ok(Found::Messages(messages)) => give_back(messages).await,
                Ok(Found::Nothing) if begun.elapsed() < SUDDEN => tokio::time::sleep(SUDDEN).await,
                Ok(Found::Nothing) => (),
                Ok(Found::NoPlace) => tokio::time::sleep(AFTER_FAILURE).await,
                Err(error) => self.rest_from_pop(&queue, &error).await,
            }
        }
    }

    /// Pops once more when what failed in an orderly queue may be popped again. The pop that waits at the broker may
    /// not hear of it: one of Java's lets it wait to its end.
    pub(super) async fn pop_again(self: Arc<Self>, queue: Arc<PopQueue>, pause: Duration) {
        tokio::time::sleep(pause + AGAIN).await;
        if !self.pops(&queue) {
            return;
        }
        match self.pop(&queue, self.attempt().as_deref(), Duration::ZERO).await {
            Ok(Found::Messages(messages)) if self.pops(&queue) => self.give_popped(messages),
            Ok(Found::Messages(messages)) => give_back(messages).await,
            // The pop that waits makes up for it.
            Ok(_) | Err(_) => (),
        }
    }

    /// One pop. An orderly one that is repeated as the same `attempt` gives the same messages: those whose answer was
    /// lost would hold their queue up otherwise.
    async fn pop(
        self: &Arc<Self>,
        popping: &Arc<PopQueue>,
        attempt: Option<&str>,
        wait: Duration,
    ) -> Result<Found, Error> {
        let queue = &popping.queue;
        popping.last_pop_ms.store(now_ms(), Ordering::Relaxed);
        let address = self.shared.master_of(queue).await?;
        let filter = self.filter_of(&queue.topic);
        let options = &self.options.pop;
        let from_end = self.options.start != StartFrom::Earliest;
        let fields = Fields::new()
            .text("consumerGroup", self.group.as_str())
            .text("topic", queue.topic.as_str())
            .number("queueId", queue.queue_id)
            .number("maxMsgNums", options.batch)
            .number("invisibleTime", options.invisible.as_millis() as i64)
            .number("pollTime", wait.as_millis() as i64)
            // Brokers take their own clock then, and so nothing depends on ours.
            .number("bornTime", 0)
            .number("initMode", i64::from(from_end))
            .text("expType", filter.kind())
            .text("exp", filter.expression())
            .flag("order", options.orderly)
            .maybe("attemptId", attempt)
            .text("bname", queue.broker_name.as_str());
        let timeout = wait + GRACE;
        let answer = self.shared.call(&address, request::POP_MESSAGE, &fields, &[], timeout).await?;
        match answer.code {
            response::SUCCESS => self.popped(popping, &address, answer),
            response::POLLING_TIMEOUT | response::PULL_NOT_FOUND => Ok(Found::Nothing),
            response::POLLING_FULL => Ok(Found::NoPlace),
            _ => Err(Error::refused(&address, &answer)),
        }
    }

    /// Reads what was popped, and acknowledges what only looks as if it were wanted: brokers compare hashes of tags.
    fn popped(
        self: &Arc<Self>,
        popping: &Arc<PopQueue>,
        address: &str,
        answer: Answer,
    ) -> Result<Found, Error> {
        let queue = &popping.queue;
        let delivery = Delivery::read(address, &answer)?;
        let filter = self.filter_of(&queue.topic);
        let mut messages = read_all(&Bytes::from(answer.body), &queue.broker_name, address)?;
        let handles: Option<Vec<_>> = messages.iter().map(|message| delivery.handle_of(message)).collect();
        let Some(handles) = handles else {
            return Err(Error::malformed(address, "a popped message has no handle"));
        };
        for message in &mut messages {
            message.reconsume_times = message.reconsume_times.max(delivery.failures_of(message));
            message.set_topic_before_pops_of(&self.group);
        }
        self.shared.namespace.unwrap_messages(&mut messages);
        let mut wanted = Vec::with_capacity(messages.len());
        for (message, handle) in messages.into_iter().zip(handles) {
            let receipt = Receipt::new(Arc::clone(self), Arc::clone(popping), handle);
            if filter.selects(&message) && self.wants(&message) {
                wanted.push(Popped { message, receipt, watched: None });
            } else {
                receipt.acknowledge_later();
            }
        }
        Ok(Found::Messages(if self.options.pop.orderly { in_lines(wanted) } else { wanted }))
    }

    /// Waits after a pop that failed, for as long as the reason suggests.
    async fn rest_from_pop(&self, popping: &PopQueue, error: &Error) {
        if error.broker_code() == Some(response::FLOW_CONTROL) {
            tokio::time::sleep(FLOW_CONTROL).await;
            return;
        }
        tracing::debug!(group = self.group, queue = ?popping.queue, "a pop failed: {error}");
        if self.pops(popping) {
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}

/// What the header of an answer says of its messages.
struct Delivery {
    pop_time: i64,
    invisible_ms: i64,
    revive_queue: i32,
    /// Where the pop began, by kind of topic and queue.
    starts: Vec<(Origin, i32, i64)>,
    /// How often messages of an orderly pop failed before.
    failures: Vec<Failures>,
}

impl Delivery {
    fn read(address: &str, answer: &Answer) -> Result<Delivery, Error> {
        Ok(Delivery {
            pop_time: number(address, answer, "popTime")?,
            invisible_ms: number(address, answer, "invisibleTime")?,
            revive_queue: number(address, answer, "reviveQid")?,
            starts: starts(answer.field("startOffsetInfo").unwrap_or_default())
                .ok_or_else(|| Error::malformed(address, "its startOffsetInfo cannot be read"))?,
            // It is said for orderly pops alone, and nothing depends on it but when there were too many.
            failures: failures(answer.field("orderCountInfo").unwrap_or_default()).unwrap_or_default(),
        })
    }

    /// How often a message failed before, as far as the header of an orderly pop says.
    fn failures_of(&self, message: &Received) -> i32 {
        let (origin, queue) = (Origin::of(&message.queue.topic), message.queue.queue_id);
        let of_queue = self.failures.iter().filter(|of| (of.origin, of.queue) == (origin, queue));
        let told = |offset| of_queue.clone().find(|of| of.offset == offset).map(|of| of.count);
        told(Some(message.offset)).or_else(|| told(None)).unwrap_or(0)
    }

    /// The handle of a message: the one that it carries, which retries do, else what the header says of its queue.
    fn handle_of(&self, message: &Received) -> Option<Handle<'static>> {
        if let Some(text) = message.property(props::POP_CK) {
            return Handle::parse(text).map(|handle| Handle { broker: "", ..handle });
        }
        let (origin, queue) = (Origin::of(&message.queue.topic), message.queue.queue_id);
        let start = self.starts.iter().find(|(of, id, _)| (*of, *id) == (origin, queue));
        Some(Handle {
            start: start?.2,
            pop_time: self.pop_time,
            invisible_ms: self.invisible_ms,
            revive_queue: self.revive_queue,
            origin,
            broker: "",
            queue,
            offset: message.offset,
        })
    }
}

/// Messages of each queue as a line: the first of them, with the others behind it.
fn in_lines(messages: Vec<Popped>) -> Vec<Popped> {
    let mut lines: Vec<VecDeque<Popped>> = Vec::new();
    for message in messages {
        let line =
            lines.iter_mut().find(|line| line.front().is_some_and(|first| first.queue == message.queue));
        match line {
            Some(line) => line.push_back(message),
            None => lines.push(VecDeque::from([message])),
        }
    }
    lines.into_iter().filter_map(first_of).collect()
}

/// How often consumption has failed in a queue.
#[derive(Debug, PartialEq, Eq)]
struct Failures {
    origin: Origin,
    queue: i32,
    /// Of the message with this offset; without one, of every message that is not named.
    offset: Option<i64>,
    count: i32,
}

/// `mark queue count` or, for one message, `mark qoQUEUE%OFFSET count`, with semicolons between them.
fn failures(text: &str) -> Option<Vec<Failures>> {
    let part = |part: &str| {
        let mut words = part.split(' ');
        let (origin, place) = (Origin::from_mark(words.next()?)?, words.next()?);
        let count = words.next()?.parse().ok()?;
        let (queue, offset) = match place.strip_prefix("qo").and_then(|place| place.split_once('%')) {
            Some((queue, offset)) => (queue, Some(offset.parse().ok()?)),
            None => (place, None),
        };
        Some(Failures { origin, queue: queue.parse().ok()?, offset, count })
    };
    text.split(';').filter(|text| !text.is_empty()).map(part).collect()
}

/// `mark queue offset;mark queue offset`.
fn starts(text: &str) -> Option<Vec<(Origin, i32, i64)>> {
    let part = |part: &str| {
        let mut words = part.split(' ');
        let origin = Origin::from_mark(words.next()?)?;
        Some((origin, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    text.split(';').filter(|text| !text.is_empty()).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_of_queues_or_of_single_messages() {
        let read = failures("0 qo0%17 3;0 0 0;1 2 5").unwrap();
        let failed = |origin, queue, offset, count| Failures { origin, queue, offset, count };
        let expected = [
            failed(Origin::Normal, 0, Some(17), 3),
            failed(Origin::Normal, 0, None, 0),
            failed(Origin::RetryV1, 2, None, 5),
        ];
        assert_eq!(read, expected);
        for bad in ["0", "0 1", "x 1 2", "0 qo1 2", "0 1%2 3", "0 qo1%x 3", "0 1 y"] {
            assert_eq!(failures(bad), None, "{bad}");
        }
    }

    #[test]
    fn starts_are_read_by_topic_and_queue() {
        let read = starts("0 3 100;1 0 7;2 0 9").unwrap();
        assert_eq!(read, [(Origin::Normal, 3, 100), (Origin::RetryV1, 0, 7), (Origin::RetryV2, 0, 9)]);
        assert_eq!(starts(""), Some(Vec::new()));
        for bad in ["0", "0 1", "x 1 2", "0 1 2;3 4 5", "0 1 y"] {
            assert_eq!(starts(bad), None, "{bad}");
        }
    }
}
