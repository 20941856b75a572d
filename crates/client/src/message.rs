//! A message to send.

use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use wire::names;
use wire::properties as props;

use crate::error::Error;
use crate::received::Received;

/// Largest body that brokers accept by default, in bytes.
pub(crate) const BODY_MAX: usize = 4 << 20;

/// Properties that only the client or the broker may set.
const RESERVED: [&str; 33] = [
    props::KEYS,
    props::TAGS,
    props::WAIT,
    props::DELAY,
    props::REAL_TOPIC,
    props::REAL_QID,
    props::TRAN_MSG,
    props::PGROUP,
    props::RETRY_TOPIC,
    props::RECONSUME_TIME,
    props::MAX_RECONSUME_TIMES,
    props::UNIQ_KEY,
    props::ORIGIN_MESSAGE_ID,
    props::MSG_REGION,
    props::TRACE_ON,
    props::CLUSTER,
    props::POP_CK,
    props::INNER_NUM,
    props::INNER_BASE,
    props::CRC32,
    props::REPLY_TO_CLIENT,
    props::CORRELATION_ID,
    props::MSG_TYPE,
    props::TRANSACTION_ID,
    props::TIMER_DELAY_SEC,
    props::TIMER_DELAY_MS,
    props::TIMER_DELIVER_MS,
    props::TIMER_OUT_MS,
    props::PRIORITY,
    SHARDING_KEY,
    "MIN_OFFSET",
    "MAX_OFFSET",
    "CONSUME_START_TIME",
];

pub(crate) const SHARDING_KEY: &str = "__SHARDINGKEY";

/// Properties that tell the story of one message, which is not that of a copy.
const OF_ONE_MESSAGE: [&str; 10] = [
    props::TIMER_ENQUEUE_MS,
    props::TIMER_DEQUEUE_MS,
    props::TIMER_ROLL_TIMES,
    props::TIMER_DEL_UNIQKEY,
    props::INNER_MULTI_DISPATCH,
    props::INNER_MULTI_QUEUE_OFFSET,
    props::BORN_TIMESTAMP,
    props::FIRST_POP_TIME,
    "DLQ_ORIGIN_TOPIC",
    "DLQ_ORIGIN_MESSAGE_ID",
];

/// Marks a message that is delivered at once and in no order with others.
#[derive(Debug, Clone, Copy)]
pub enum Now {}

/// Marks a message that is delivered later. Brokers refuse it in batches and transactions.
#[derive(Debug, Clone, Copy)]
pub enum Later {}

/// Marks a message that keeps its order with others of the same key, which means one queue for all of them.
#[derive(Debug, Clone, Copy)]
pub enum Ordered {}

/// How a message is delivered: [`Now`], [`Later`] or [`Ordered`].
pub trait Delivery: sealed::Sealed + Send + Sync + 'static {}

mod sealed {
    pub trait Sealed {
        /// Whether it may go in one request with others.
        const GATHERED: bool;
    }
    impl Sealed for super::Now {
        const GATHERED: bool = true;
    }
    impl Sealed for super::Later {
        const GATHERED: bool = false;
    }
    impl Sealed for super::Ordered {
        const GATHERED: bool = true;
    }
}

impl Delivery for Now {}
impl Delivery for Later {}
impl Delivery for Ordered {}

/// A message to send.
///
/// ```
/// use std::time::Duration;
/// use thrustmq_client::Message;
///
/// let paid = Message::new("orders", "order 7 is paid").tag("paid").key("7");
/// let reminder = Message::new("orders", "order 7 is open").delay(Duration::from_secs(90));
/// ```
///
/// Combinations that brokers refuse do not compile. A message is either delayed or ordered:
///
/// ```compile_fail
/// use std::time::Duration;
/// use thrustmq_client::Message;
///
/// Message::new("orders", "x").order_by("customer 3").delay(Duration::from_secs(90));
/// ```
#[derive(Debug, Clone)]
#[must_use = "a message does nothing until it is sent"]
pub struct Message<D: Delivery = Now> {
    pub(crate) topic: String,
    pub(crate) body: Bytes,
    pub(crate) flag: i32,
    /// Properties of the protocol's, each name once.
    properties: Vec<(String, String)>,
    /// Properties of the application's.
    own: Vec<(String, String)>,
    /// The key of an earlier send that was not confirmed.
    pub(crate) message_id: Option<String>,
    delivery: PhantomData<D>,
}

impl Message<Now> {
    /// A message for a topic.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Message<Now> {
        let (topic, body) = (topic.into(), body.into());
        let (properties, own) = (Vec::new(), Vec::new());
        Message { topic, body, flag: 0, properties, own, message_id: None, delivery: PhantomData }
    }

    /// A copy of a message that was read, for the same topic or another: its body, number, tag and keys, and the
    /// application's properties. It is delivered at once and gets an id of its own.
    pub fn copy_of(message: &Received, topic: impl Into<String>) -> Message<Now> {
        let mut copy = Message::new(topic, message.body.clone()).flag(message.flag);
        for name in [props::TAGS, props::KEYS, props::PRIORITY, SHARDING_KEY] {
            if let Some(value) = message.property(name) {
                copy.set(name, value.to_owned());
            }
        }
        copy.own = message
            .properties()
            .filter(|(name, _)| Message::is_own_property(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        copy
    }

    /// Whether a property is the application's: no part of the protocol, and so one that a copy of a message has too.
    pub fn is_own_property(name: &str) -> bool {
        !RESERVED.contains(&name) && !OF_ONE_MESSAGE.contains(&name)
    }

    /// Keeps the order with all messages of the same key: they go to the same queue, as long as the topic has the same
    /// queues, and one that is [enqueued](crate::Producer::enqueue) is sent when those before it are. Of several tasks
    /// that send at the same time, nobody knows who is first. What goes with
    /// [`send_all`](crate::Producer::send_all), [`send_oneway`](crate::Producer::send_oneway) or in a
    /// [transaction](crate::TransactionProducer) does not wait for those that are enqueued, and may pass them by.
    pub fn order_by(self, key: impl Into<String>) -> Message<Ordered> {
        self.with(SHARDING_KEY, key.into()).delivered()
    }

    /// Delivers it after one of the broker's delay levels, from 1: by default 1 s, 5 s, 10 s, 30 s, 1 min and so on
    /// until 2 h for level 18.
    pub fn delay_level(self, level: u32) -> Message<Later> {
        self.with(props::DELAY, level.to_string()).delivered()
    }

    /// Delivers it after a time of any length, which brokers of 5.x do to the second or better, up to three days.
    pub fn delay(self, delay: Duration) -> Message<Later> {
        self.with(props::TIMER_DELAY_MS, delay.as_millis().to_string()).delivered()
    }

    /// Delivers it at a moment, which brokers of 5.x do to the second or better, up to three days ahead.
    pub fn deliver_at(self, moment: SystemTime) -> Message<Later> {
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.with(props::TIMER_DELIVER_MS, since.as_millis().to_string()).delivered()
    }
}

impl<D: Delivery> Message<D> {
    /// A word that consumers can select by.
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.with(props::TAGS, tag.into())
    }

    /// A key that the message can be found by; may be called several times.
    pub fn key(mut self, key: impl AsRef<str>) -> Self {
        let key = key.as_ref();
        match self.properties.iter_mut().find(|(name, _)| name == props::KEYS) {
            Some((_, keys)) => {
                keys.push(' ');
                keys.push_str(key);
            }
            None => self.properties.push((props::KEYS.to_owned(), key.to_owned())),
        }
        self
    }

    /// A property of the application's own. Names that RocketMQ uses itself are refused when the message is sent.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.own.push((name.into(), value.into()));
        self
    }

    /// How urgent it is, from 0 up: of a topic with `message.type=PRIORITY`, consumers that pop get what is urgent
    /// first. It has no meaning for a message that is delivered later or keeps an order.
    pub fn priority(self, priority: u32) -> Self {
        self.with(props::PRIORITY, priority.to_string())
    }

    /// A number of the application's own, stored beside the message.
    pub fn flag(mut self, flag: i32) -> Self {
        self.flag = flag;
        self
    }

    /// Whether the broker answers only after what its settings promise of disks and replicas; `true` by default.
    pub fn wait_for_store(self, wait: bool) -> Self {
        self.with(props::WAIT, wait.to_string())
    }

    /// The key that it is sent under, if that is known already: it was sent before without a confirmation, and came
    /// back with [`SendError::into_message`](crate::SendError::into_message).
    pub fn message_id(&self) -> Option<&str> {
        self.message_id.as_deref()
    }

    /// Makes it another message than the one that was not confirmed: it gets a new key when it is sent.
    pub fn as_new(mut self) -> Self {
        self.message_id = None;
        self
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.own.iter().chain(&self.properties);
        all.rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn with(mut self, name: &str, value: String) -> Self {
        self.set(name, value);
        self
    }

    pub(crate) fn set(&mut self, name: &str, value: String) {
        match self.properties.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.properties.push((name.to_owned(), value)),
        }
    }

    pub(crate) fn delivered<E: Delivery>(self) -> Message<E> {
        let Message { topic, body, flag, properties, own, message_id, .. } = self;
        Message { topic, body, flag, properties, own, message_id, delivery: PhantomData }
    }

    /// The properties as they travel.
    pub(crate) fn encoded_properties(&self, more: &[(&str, &str)]) -> Vec<u8> {
        let mut text = Vec::with_capacity(256);
        for (name, value) in self.own.iter().chain(&self.properties) {
            props::push(&mut text, name, value);
        }
        for (name, value) in more {
            props::push(&mut text, name, value);
        }
        text
    }

    /// The kind of the message, by how it is delivered.
    pub(crate) fn is_delayed(&self) -> bool {
        self.get(props::DELAY).is_some()
    }

    /// What any broker would refuse, found before anything is sent.
    pub(crate) fn check(&self, body_max: usize) -> Result<(), Error> {
        names::check_topic(&self.topic).map_err(Error::illegal)?;
        if names::is_send_forbidden(&self.topic) {
            return Err(Error::Illegal(format!("topic \"{}\" is for brokers alone", self.topic)));
        }
        if self.body.is_empty() {
            return Err(Error::Illegal("the message has no body".to_owned()));
        }
        if self.body.len() > body_max {
            let length = self.body.len();
            return Err(Error::Illegal(format!("the body has {length} bytes, the longest is {body_max}")));
        }
        if let Some((name, _)) = self.own.iter().find(|(name, _)| RESERVED.contains(&name.as_str())) {
            return Err(Error::Illegal(format!(
                "property {name} has a meaning of its own; choose another name"
            )));
        }
        for (name, value) in self.own.iter().chain(&self.properties) {
            if name.is_empty() || value.is_empty() {
                return Err(Error::Illegal(format!("property \"{name}\" = \"{value}\" has an empty part")));
            }
            if !is_property(name, value) {
                let what = "has U+0001 or U+0002, which separate properties";
                return Err(Error::Illegal(format!("property \"{name}\" {what}")));
            }
        }
        Ok(())
    }
}

/// Whether a property can be written down: none of its parts is empty or has a separator in it.
pub(crate) fn is_property(name: &str, value: &str) -> bool {
    let is_part = |text: &str| {
        !text.is_empty() && !text.bytes().any(|byte| byte == props::NAME_VALUE || byte == props::END)
    };
    is_part(name) && is_part(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_joined_and_the_rest_is_replaced() {
        let message = Message::new("T", "b").key("a").tag("x").key("b").tag("y").property("p", "1");
        assert_eq!(
            (message.get("KEYS"), message.get("TAGS"), message.get("p")),
            (Some("a b"), Some("y"), Some("1"))
        );
        assert_eq!(message.encoded_properties(&[]), b"p\x011\x02KEYS\x01a b\x02TAGS\x01y\x02");
    }

    #[test]
    fn a_copy_has_what_the_application_gave_and_nothing_of_the_first_ones_life() {
        let properties = [
            ("TAGS", "paid"),
            ("KEYS", "7 8"),
            ("amount", "120"),
            ("UNIQ_KEY", "0A"),
            ("RETRY_TOPIC", "orders"),
            ("TIMER_DEQUEUE_MS", "5"),
        ];
        let mut read = crate::received::tests::message("orders", "0A");
        read.body = Bytes::from_static(b"b");
        read.flag = 9;
        for (name, value) in properties {
            read.add_property(name, value);
        }
        let copy = Message::copy_of(&read, "copies");
        assert_eq!((copy.topic(), &copy.body()[..], copy.flag), ("copies", &b"b"[..], 9));
        assert_eq!(copy.encoded_properties(&[]), b"amount\x01120\x02TAGS\x01paid\x02KEYS\x017 8\x02");
        assert!(copy.check(BODY_MAX).is_ok());
    }

    #[test]
    fn what_every_broker_refuses_is_refused_here() {
        assert!(Message::new("T", "b").check(BODY_MAX).is_ok());
        let wrong = [
            Message::new("a b", "b"),
            Message::new("SCHEDULE_TOPIC_XXXX", "b"),
            Message::new("T", ""),
            Message::new("T", "four"),
            Message::new("T", "b").property("UNIQ_KEY", "x"),
            Message::new("T", "b").property("p", ""),
            Message::new("T", "b").property("p", "a\u{1}b"),
            Message::new("T", "b").tag("a\u{2}b"),
        ];
        for message in wrong {
            assert!(message.check(3).is_err(), "{message:?}");
        }
    }
}
