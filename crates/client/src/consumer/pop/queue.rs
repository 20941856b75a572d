//! Popping one queue, or all of a broker, for as long as this member may.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use remoting::Answer;
use tokio::sync::{Notify, mpsc};
use wire::body::MessageQueue;
use wire::code::{request, response};
use wire::pop::{Handle, Origin};
use wire::properties as props;

use super::Popped;
use super::acknowledge::{Ack, acknowledge_for_ever};
use super::receipt::Receipt;
use crate::consumer::hands::Hands;
use crate::consumer::intake::{Given, give_back};
use crate::consumer::member::Member;
use crate::consumer::options::StartFrom;
use crate::consumer::status::TopicStatus;
use crate::error::Error;
use crate::fields::Fields;
use crate::identity::now_ms;
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
/// How long at most until a full queue is looked at again.
const FULL: Duration = Duration::from_millis(50);
/// An answer that finds nothing and comes sooner than this was not waited for at the broker.
const SUDDEN: Duration = Duration::from_millis(50);

/// A queue that a member pops; the number -1 stands for all of its broker.
#[derive(Debug)]
pub(in crate::consumer) struct PopQueue {
    pub queue: MessageQueue,
    /// It went to others.
    pub revoked: AtomicBool,
    /// Messages popped and not settled, whether in hands or not.
    pub unsettled: AtomicUsize,
    pub hands: Hands,
    /// Something was settled: there may be room.
    pub room: Notify,
    pub last_pop_ms: AtomicI64,
    pub status: Arc<TopicStatus>,
    pub acks: mpsc::UnboundedSender<Ack>,
}

impl PopQueue {
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    pub fn unsettled(&self) -> usize {
        self.unsettled.load(Ordering::Acquire)
    }
}

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

    async fn pop_for_ever(self: Arc<Self>, queue: Arc<PopQueue>) {
        while self.pops(&queue) {
            if queue.unsettled() >= self.options.pop.messages_max {
                let _ = tokio::time::timeout(FULL, queue.room.notified()).await;
                continue;
            }
            let begun = Instant::now();
            let found = self.pop(&queue).await;
            if let Ok(Found::Messages(messages)) = &found {
                queue.status.pulled(begun.elapsed(), messages.len());
            }
            match found {
                Ok(Found::Messages(messages)) if self.pops(&queue) => self.give(Given::Popped(messages)),
                Ok(Found::Messages(messages)) => give_back(messages).await,
                Ok(Found::Nothing) if begun.elapsed() < SUDDEN => tokio::time::sleep(SUDDEN).await,
                Ok(Found::Nothing) => (),
                Ok(Found::NoPlace) => tokio::time::sleep(AFTER_FAILURE).await,
                Err(error) => self.rest_from_pop(&queue, &error).await,
            }
        }
    }

    async fn pop(self: &Arc<Self>, popping: &Arc<PopQueue>) -> Result<Found, Error> {
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
            .number("pollTime", SUSPENDED.as_millis() as i64)
            // Brokers take their own clock then, and so nothing depends on ours.
            .number("bornTime", 0)
            .number("initMode", i64::from(from_end))
            .text("expType", filter.kind())
            .text("exp", filter.expression())
            .flag("order", false)
            .text("bname", queue.broker_name.as_str());
        let timeout = SUSPENDED + GRACE;
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
        Ok(Found::Messages(wanted))
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
}

impl Delivery {
    fn read(address: &str, answer: &Answer) -> Result<Delivery, Error> {
        Ok(Delivery {
            pop_time: number(address, answer, "popTime")?,
            invisible_ms: number(address, answer, "invisibleTime")?,
            revive_queue: number(address, answer, "reviveQid")?,
            starts: starts(answer.field("startOffsetInfo").unwrap_or_default())
                .ok_or_else(|| Error::malformed(address, "its startOffsetInfo cannot be read"))?,
        })
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
    fn starts_are_read_by_topic_and_queue() {
        let read = starts("0 3 100;1 0 7;2 0 9").unwrap();
        assert_eq!(read, [(Origin::Normal, 3, 100), (Origin::RetryV1, 0, 7), (Origin::RetryV2, 0, 9)]);
        assert_eq!(starts(""), Some(Vec::new()));
        for bad in ["0", "0 1", "x 1 2", "0 1 2;3 4 5", "0 1 y"] {
            assert_eq!(starts(bad), None, "{bad}");
        }
    }
}
