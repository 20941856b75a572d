//! Groups that this client is a member of, as its heartbeats say, and what brokers may ask about them.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use wire::body::{ConsumerData, HeartbeatData, MessageQueue, ProducerData};

use crate::decision::Checker;
use crate::error::Error;
use crate::greetings::Greetings;
use crate::reply::Reply;

/// A member of a consumer group as heartbeats and brokers see it (Java's `MQConsumerInner`). This is a trait since
/// members stand above the client that they are entered in, which must not know what they are made of.
pub(crate) trait ConsumerInner: Send + Sync {
    /// Complete name of its group.
    fn group(&self) -> &str;

    /// Whether it is leaving its group: a heartbeat would make it a member again.
    fn has_left(&self) -> bool;

    /// What a heartbeat says of it.
    fn heartbeat(&self) -> ConsumerData;

    /// Divides the queues again as soon as possible.
    fn rebalance_soon(&self);

    /// Moves to other offsets, as an administrator wants it.
    fn reset(self: Arc<Self>, offsets: &BTreeMap<MessageQueue, i64>);

    /// Offsets of the queues of a topic that it has, as the body of an answer (221).
    fn status(&self, topic: &str) -> Result<String, serde_json::Error>;

    /// What it is, and how it does, as the body of an answer (307); `stacks` of threads are asked for too.
    fn running_info(&self, stacks: bool) -> Result<String, serde_json::Error>;

    /// Gives one message to the application, outside of any queue, and says what became of it (309).
    fn consume_directly(self: Arc<Self>, record: Bytes, broker_name: String) -> Direct;
}

/// The body of an answer that says what the application made of a message.
pub(crate) type Direct = Pin<Box<dyn Future<Output = Result<String, Error>> + Send>>;

/// A producer as it is entered here.
struct Member {
    /// Tells it from others of its group that were here before, or come after it.
    number: u64,
    checker: Option<Checker>,
}

/// Producers and consumers of one client. A group is there once as producer and once as consumer.
#[derive(Default)]
pub(crate) struct Registry {
    producers: Mutex<BTreeMap<String, Member>>,
    /// Number of the newest producer.
    newest: AtomicU64,
    consumers: Mutex<BTreeMap<String, Weak<dyn ConsumerInner>>>,
    /// Who waits for a reply, by correlation id.
    replies: Mutex<HashMap<String, oneshot::Sender<Reply>>>,
    /// Brokers that have heard of everybody who is here now.
    pub greetings: Greetings,
}

impl Registry {
    /// Adds a producer group, with who answers for its open transactions, and gives the number to remove it by.
    pub fn add_producer(&self, group: &str, checker: Option<Checker>) -> Result<u64, Error> {
        let mut producers = self.producers.lock();
        if producers.contains_key(group) {
            let what = format!("this client already has a producer of group \"{group}\"; clone that one");
            return Err(Error::Illegal(what));
        }
        let number = self.newest.fetch_add(1, Ordering::Relaxed);
        producers.insert(group.to_owned(), Member { number, checker });
        self.greetings.begin_again();
        Ok(number)
    }

    /// Removes a producer group, unless it has left already, and another may have come in its place. Tells whether it
    /// was there.
    pub fn remove_producer(&self, group: &str, number: u64) -> bool {
        let mut producers = self.producers.lock();
        let there = producers.get(group).is_some_and(|member| member.number == number);
        if there {
            producers.remove(group);
        }
        there
    }

    /// Who answers for open transactions of a group.
    pub fn checker(&self, group: &str) -> Option<Checker> {
        self.producers.lock().get(group)?.checker.clone()
    }

    /// Adds a member of a consumer group.
    pub fn add_consumer(&self, member: Arc<dyn ConsumerInner>) -> Result<(), Error> {
        let mut consumers = self.consumers.lock();
        let group = member.group();
        if consumers.get(group).is_some_and(|other| other.strong_count() > 0) {
            let what = format!("this client already has a consumer of group \"{group}\"; use another client");
            return Err(Error::Illegal(what));
        }
        consumers.insert(group.to_owned(), Arc::downgrade(&member));
        self.greetings.begin_again();
        Ok(())
    }

    /// Removes a member of a consumer group, unless another has come in its place.
    pub fn remove_consumer(&self, member: &dyn ConsumerInner) {
        let mut consumers = self.consumers.lock();
        let known = consumers.get(member.group());
        if known.is_some_and(|known| std::ptr::addr_eq(known.as_ptr(), member)) {
            consumers.remove(member.group());
        }
    }

    /// The member of a consumer group.
    pub fn consumer(&self, group: &str) -> Option<Arc<dyn ConsumerInner>> {
        self.consumers.lock().get(group).and_then(Weak::upgrade)
    }

    /// Waits for the reply with this correlation id.
    pub fn expect_reply(&self, correlation_id: &str) -> oneshot::Receiver<Reply> {
        let (sender, receiver) = oneshot::channel();
        self.replies.lock().insert(correlation_id.to_owned(), sender);
        receiver
    }

    /// Nobody waits for this reply any more.
    pub fn forget_reply(&self, correlation_id: &str) {
        self.replies.lock().remove(correlation_id);
    }

    /// Hands a reply to who waits for it; one that nobody waits for is dropped.
    pub fn replied(&self, correlation_id: &str, reply: Reply) {
        if let Some(waiting) = self.replies.lock().remove(correlation_id) {
            let _ = waiting.send(reply);
        }
    }

    /// Whether slaves must hear of this client too, which only those of consumers must.
    pub fn has_consumers(&self) -> bool {
        self.consumers.lock().values().any(|member| member.strong_count() > 0)
    }

    /// What a heartbeat says; `None` when there is nobody to speak for.
    pub fn heartbeat(&self, client_id: &str) -> Option<HeartbeatData> {
        let producer = |group: &String| ProducerData { group_name: group.clone() };
        let producers: Vec<_> = self.producers.lock().keys().map(producer).collect();
        let members: Vec<_> = self.consumers.lock().values().filter_map(Weak::upgrade).collect();
        let consumers: Vec<_> =
            members.iter().filter(|member| !member.has_left()).map(|member| member.heartbeat()).collect();
        (!producers.is_empty() || !consumers.is_empty()).then(|| HeartbeatData {
            client_id: client_id.to_owned(),
            producer_data_set: producers,
            consumer_data_set: consumers,
            ..HeartbeatData::default()
        })
    }
}
