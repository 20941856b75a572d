//! Messages that are sent at about the same time go together, each with a result of its own (client.md §2.7).
//!
//! Which messages wait for each other is a plain table; a message that nobody waits for any more is not sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use wire::batch::{self, Entry};
use wire::body::MessageQueue;
use wire::code::{request, response};
use wire::names::RETRY_PREFIX;
use wire::properties as props;

use super::Inner;
use super::batch::{Mark, divided};
use super::send::{Failure, Outgoing, Stored, Target, told};
use crate::error::Error;
use crate::message::{Delivery, Message, SHARDING_KEY};
use crate::receipt::{Receipt, SendError};

/// What Java's client allows.
const WAIT_MAX: Duration = Duration::from_secs(30);
const BYTES_MAX: usize = 2 << 20;

/// How messages are gathered into batches; see [`ProducerBuilder::auto_batch`](crate::ProducerBuilder::auto_batch).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoBatch {
    wait: Duration,
    bytes: usize,
    held_max: usize,
}

impl Default for AutoBatch {
    /// 10 ms, 32 KiB and 32 MiB, as Java's client has them.
    fn default() -> AutoBatch {
        AutoBatch { wait: Duration::from_millis(10), bytes: 32 << 10, held_max: 32 << 20 }
    }
}

impl AutoBatch {
    /// How long the first message of a batch waits for others; 30 s at most.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait.min(WAIT_MAX);
        self
    }

    /// Bytes of bodies from which on a batch does not wait any longer; 2 MiB at most, and half of the largest body that
    /// the producer sends.
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes.clamp(1, BYTES_MAX);
        self
    }

    /// Bytes of bodies that are in batches and not answered for. What is sent while there are more goes by itself.
    pub fn held_max(mut self, bytes: usize) -> Self {
        self.held_max = bytes;
        self
    }
}

/// Batches in the making.
#[derive(Debug)]
pub(super) struct Gatherer {
    limits: AutoBatch,
    open: Mutex<Open>,
    /// Bytes of bodies that wait or are under way.
    held: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Open {
    batches: BTreeMap<Key, Gathered>,
    /// Number of the newest of them.
    newest: u64,
}

/// What messages of one batch have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Its complete name.
    topic: String,
    /// Where they must go, if that is not open.
    queue: Option<MessageQueue>,
    waits_for_store: bool,
}

#[derive(Debug)]
struct Gathered {
    number: u64,
    bytes: usize,
    waiting: Vec<Waiting>,
}

/// A message that waits for others.
#[derive(Debug)]
pub(super) struct Waiting {
    message_id: String,
    body: Bytes,
    flag: i32,
    properties: Vec<u8>,
    done: oneshot::Sender<Result<Stored, Failure>>,
    _held: Held,
}

/// Bytes that count as held.
#[derive(Debug)]
struct Held {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// What came of adding a message.
#[derive(Debug)]
enum Added {
    /// Others have begun the batch.
    Joined,
    /// It begins the batch with this number, which must be sent when its time is over.
    First(u64),
    /// The batch is large enough to be sent.
    Full(Vec<Waiting>),
}

impl Gatherer {
    pub fn new(limits: &AutoBatch, body_max: usize) -> Gatherer {
        // What is added last may nearly double it.
        let bytes = limits.bytes.min(body_max / 2).max(1);
        let limits = AutoBatch { bytes, ..limits.clone() };
        Gatherer { limits, open: Mutex::default(), held: Arc::default() }
    }

    /// Whether a message may wait for others: it is not delivered later nor more urgent than others, would not be
    /// compressed, and is no large part of a batch by itself.
    pub fn suits<D: Delivery>(&self, message: &Message<D>, compress_from: usize) -> bool {
        let bytes = message.body.len();
        D::GATHERED
            && bytes < compress_from
            && bytes < self.limits.bytes
            && !message.topic.starts_with(RETRY_PREFIX)
            // Brokers choose the queue of an urgent message, and of each by itself.
            && message.get(props::PRIORITY).is_none()
    }

    /// Room for a body, unless too much is held.
    fn hold(&self, bytes: usize) -> Option<Held> {
        let more = |held: usize| (held + bytes <= self.limits.held_max).then_some(held + bytes);
        self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Held { bytes, all: Arc::clone(&self.held) })
    }

    fn add(&self, key: &Key, waiting: Waiting) -> Added {
        let mut open = self.open.lock();
        if let Some(gathered) = open.batches.get_mut(key) {
            gathered.bytes += waiting.body.len();
            gathered.waiting.push(waiting);
            if gathered.bytes < self.limits.bytes {
                return Added::Joined;
            }
            return Added::Full(open.batches.remove(key).map(|full| full.waiting).unwrap_or_default());
        }
        open.newest += 1;
        let number = open.newest;
        let gathered = Gathered { number, bytes: waiting.body.len(), waiting: vec![waiting] };
        open.batches.insert(key.clone(), gathered);
        Added::First(number)
    }

    /// A batch whose time is over, unless it was sent already.
    fn take(&self, key: &Key, number: u64) -> Option<Vec<Waiting>> {
        let mut open = self.open.lock();
        if open.batches.get(key)?.number != number {
            return None;
        }
        open.batches.remove(key).map(|gathered| gathered.waiting)
    }

    fn take_all(&self) -> Vec<(Key, Vec<Waiting>)> {
        let batches = std::mem::take(&mut self.open.lock().batches);
        batches.into_iter().map(|(key, gathered)| (key, gathered.waiting)).collect()
    }
}

impl Inner {
    /// Sends a message together with others if it may go so, else by itself.
    pub(super) async fn send_gathered<D: Delivery>(
        self: &Arc<Self>,
        gatherer: &Gatherer,
        message: Message<D>,
        target: Target<'_>,
    ) -> Result<Receipt, SendError<D>> {
        let suits = gatherer.suits(&message, self.options.compress_from);
        let Some(held) = suits.then(|| gatherer.hold(message.body.len())).flatten() else {
            return self.send(message, target, 0, &[]).await;
        };
        let begun = Instant::now();
        let mark = self.mark(&message);
        let sent = self.wait_for_batch(gatherer, &message, &mark, target, held).await;
        self.tell_hooks(&message, &mark, &told(&sent.as_ref(), begun.elapsed(), 0));
        sent.map(|stored| stored.receipt).map_err(|failure| {
            SendError::new(failure.error, message, mark.key, failure.attempts, failure.maybe_stored)
        })
    }

    async fn wait_for_batch<D: Delivery>(
        self: &Arc<Self>,
        gatherer: &Gatherer,
        message: &Message<D>,
        mark: &Mark,
        target: Target<'_>,
        held: Held,
    ) -> Result<Stored, Failure> {
        let properties = self.properties_in_batch(message, mark).map_err(Failure::unsent)?;
        let key = self.batch_of(message, target).await.map_err(Failure::unsent)?;
        let (done, answer) = oneshot::channel();
        let waiting = Waiting {
            message_id: mark.key.clone(),
            body: message.body.clone(),
            flag: message.flag,
            properties,
            done,
            _held: held,
        };
        match gatherer.add(&key, waiting) {
            Added::Joined => (),
            Added::First(number) => self.send_in_time(gatherer.limits.wait, key, number),
            Added::Full(waiting) => {
                tokio::spawn(Arc::clone(self).send_together(key, waiting));
            }
        }
        // Only a runtime that ends leaves it without an answer.
        let unknown = |_| Failure {
            error: Error::Stopped("the runtime"),
            attempts: 0,
            maybe_stored: true,
            broker: None,
        };
        answer.await.map_err(unknown)?
    }

    /// Which messages this one may go with: an ordered one with those of its queue.
    async fn batch_of<D: Delivery>(&self, message: &Message<D>, target: Target<'_>) -> Result<Key, Error> {
        let topic = self.shared.namespace.wrap(&message.topic).into_owned();
        let ordering_key = message.get(SHARDING_KEY);
        let queue = match target {
            Target::Any if ordering_key.is_none() => None,
            target => {
                let route = self.route_in_time(&topic).await?;
                Some(self.choose(&route, target, ordering_key, None)?)
            }
        };
        Ok(Key { topic, queue, waits_for_store: message.get(props::WAIT) != Some("false") })
    }

    /// Sends a batch when its time is over. If the producer is gone by then, so is everybody who waits.
    fn send_in_time(self: &Arc<Self>, wait: Duration, key: Key, number: u64) {
        let inner = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let Some(inner) = inner.upgrade() else { return };
            let due = inner.gatherer.as_ref().and_then(|gatherer| gatherer.take(&key, number));
            if let Some(waiting) = due {
                inner.send_together(key, waiting).await;
            }
        });
    }

    /// Sends everything that waits, and waits until it is answered.
    pub(super) async fn send_gathered_now(self: &Arc<Self>) {
        let mut under_way = JoinSet::new();
        for (key, waiting) in self.gatherer.iter().flat_map(Gatherer::take_all) {
            under_way.spawn(Arc::clone(self).send_together(key, waiting));
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Sends a batch and tells everybody what became of his message.
    async fn send_together(self: Arc<Self>, key: Key, mut waiting: Vec<Waiting>) {
        waiting.retain(|one| !one.done.is_closed());
        if waiting.len() > 1 {
            match self.send_batch(&key, &waiting).await {
                Ok(whole) => {
                    let receipts = divided(&whole.receipt, waiting.iter().map(|one| one.message_id.as_str()));
                    for (one, receipt) in waiting.into_iter().zip(receipts) {
                        // Who gave up waiting does not want to know.
                        let _ = one.done.send(Ok(Stored { receipt, ..whole.clone() }));
                    }
                    return;
                }
                // One of them may be at fault, and the others shall not suffer for it.
                Err(failure) if failure.error.broker_code() == Some(response::MESSAGE_ILLEGAL) => (),
                Err(failure) => {
                    for one in waiting {
                        let _ = one.done.send(Err(failure.clone()));
                    }
                    return;
                }
            }
        }
        let mut silence: Option<Error> = None;
        for one in waiting {
            let sent = match &silence {
                None => self.send_one(&key, &one).await,
                // Each would wait for a silent broker as long as the one before did.
                Some(error) => Err(Failure::unsent(error.clone())),
            };
            silence = sent.as_ref().err().map(|failure| failure.error.clone()).filter(Error::nobody_answered);
            let _ = one.done.send(sent);
        }
    }

    async fn send_batch(&self, key: &Key, waiting: &[Waiting]) -> Result<Stored, Failure> {
        let mut body = Vec::new();
        for one in waiting {
            let entry = Entry { flag: one.flag, body: &one.body, properties: &one.properties };
            batch::push(&mut body, &entry);
        }
        let outgoing = Outgoing {
            topic: key.topic.as_str().into(),
            body: Bytes::from(body),
            flag: 0,
            sys_flag: 0,
            properties: key.properties(Vec::new()),
            code: request::SEND_BATCH_MESSAGE,
            unique_key: "",
            failures: None,
        };
        self.attempts(&outgoing, key.target(), None).await
    }

    async fn send_one(&self, key: &Key, one: &Waiting) -> Result<Stored, Failure> {
        let outgoing = Outgoing {
            topic: key.topic.as_str().into(),
            body: one.body.clone(),
            flag: one.flag,
            sys_flag: 0,
            properties: key.properties(one.properties.clone()),
            code: request::SEND_MESSAGE_V2,
            unique_key: &one.message_id,
            failures: None,
        };
        self.attempts(&outgoing, key.target(), None).await
    }
}

impl Key {
    fn target(&self) -> Target<'_> {
        self.queue.as_ref().map_or(Target::Any, Target::Queue)
    }

    /// Properties of a request with these besides.
    fn properties(&self, mut properties: Vec<u8>) -> String {
        props::push(&mut properties, props::WAIT, if self.waits_for_store { "true" } else { "false" });
        // They were made of texts.
        String::from_utf8(properties).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gatherer(bytes: usize, held_max: usize) -> Gatherer {
        Gatherer::new(&AutoBatch::default().bytes(bytes).held_max(held_max), 1 << 20)
    }

    fn key(topic: &str) -> Key {
        Key { topic: topic.to_owned(), queue: None, waits_for_store: true }
    }

    fn waiting(gatherer: &Gatherer, bytes: usize) -> Waiting {
        Waiting {
            message_id: String::new(),
            body: vec![b'x'; bytes].into(),
            flag: 0,
            properties: Vec::new(),
            done: oneshot::channel().0,
            _held: gatherer.hold(bytes).expect("room"),
        }
    }

    fn add(gatherer: &Gatherer, key: &Key, bytes: usize) -> Added {
        gatherer.add(key, waiting(gatherer, bytes))
    }

    #[test]
    fn a_batch_is_sent_when_it_is_large_enough_and_the_next_message_begins_another() {
        let gatherer = gatherer(10, 1_000);
        assert!(matches!(add(&gatherer, &key("a"), 4), Added::First(1)));
        assert!(matches!(add(&gatherer, &key("b"), 9), Added::First(2)));
        assert!(matches!(add(&gatherer, &key("a"), 5), Added::Joined));
        let Added::Full(full) = add(&gatherer, &key("a"), 1) else { panic!("10 bytes are enough") };
        assert_eq!(full.len(), 3);
        assert!(matches!(add(&gatherer, &key("a"), 1), Added::First(3)));
        assert!(gatherer.take(&key("a"), 1).is_none(), "that one was sent");
        assert_eq!(gatherer.take(&key("a"), 3).map(|due| due.len()), Some(1));
        assert_eq!(gatherer.take_all().len(), 1, "that of b");
    }

    #[test]
    fn what_is_held_is_counted_until_it_is_answered_for() {
        let gatherer = gatherer(10, 10);
        let first = waiting(&gatherer, 6);
        assert!(gatherer.hold(5).is_none());
        assert!(gatherer.hold(4).is_some(), "and given back");
        drop(first);
        assert!(gatherer.hold(10).is_some());
    }

    #[test]
    fn what_is_delivered_later_compressed_or_large_goes_by_itself() {
        let gatherer = gatherer(100, 1_000);
        let message = |bytes: usize| Message::new("T", vec![b'x'; bytes]);
        assert!(gatherer.suits(&message(99), 4_096) && gatherer.suits(&message(9).order_by("k"), 4_096));
        assert!(!gatherer.suits(&message(100), 4_096) && !gatherer.suits(&message(50), 50));
        assert!(!gatherer.suits(&message(9).delay_level(1), 4_096));
        assert!(!gatherer.suits(&message(9).priority(1), 4_096));
        assert!(!gatherer.suits(&Message::new("%RETRY%g", "x"), 4_096));
    }
}
