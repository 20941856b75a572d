//! A message that was read.
//!
//! Messages of one answer share its bytes: reading one allocates nothing, what few applications look at is read when
//! it is asked for, and a copy costs as much as counting it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use wire::body::MessageQueue;
use wire::ids::OffsetId;
use wire::names::RETRY_PREFIX;
use wire::pop::normal_topic;
use wire::properties as props;
use wire::record::Record;
use wire::{batch, sys_flag};

use crate::body::Room;
use crate::error::Error;

/// A message as a broker stored it. Clones share what they are made of, which is the whole answer that it came in: up
/// to some megabytes stay in memory for as long as one of its messages does. What is kept for long should be
/// [detached](Received::detached).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Where it stands; on a later attempt this is a queue of the group's retry topic.
    pub queue: Arc<MessageQueue>,
    /// Position in the queue.
    pub offset: i64,
    /// The body, unpacked.
    pub body: Bytes,
    /// The application's number.
    pub flag: i32,
    /// Physical offset in the broker's commit log.
    pub commit_log_offset: i64,
    /// Producer's clock, Unix milliseconds.
    pub born_at_ms: i64,
    /// Producer's address.
    pub born_host: SocketAddr,
    /// Broker's clock, Unix milliseconds.
    pub stored_at_ms: i64,
    /// Broker's address.
    pub store_host: SocketAddr,
    /// How often its consumption failed before: 0 the first time. Of what is popped in order brokers count, too, how
    /// often it was popped behind a message that failed.
    pub reconsume_times: i32,
    /// Bits of the protocol; see [`wire::sys_flag`].
    pub sys_flag: i32,
    /// Bytes that its record takes.
    pub stored_bytes: usize,
    /// Checksum of the body as it is stored, packed or not.
    pub body_crc: u32,
    /// Physical offset of the half message of a transaction that this one commits; 0 without one.
    pub prepared_transaction_offset: i64,
    /// As they travel.
    properties: Bytes,
    /// Where it is neither what the properties say nor that of the queue.
    topic: Option<Arc<str>>,
}

impl Received {
    /// Topic it was sent to. A message that is delivered again has its first topic here too.
    pub fn topic(&self) -> &str {
        match &self.topic {
            Some(topic) => topic,
            None => self.property(props::RETRY_TOPIC).unwrap_or(&self.queue.topic),
        }
    }

    /// The key that its producer gave it, or the offset id where there is none.
    pub fn message_id(&self) -> Cow<'_, str> {
        match self.property(props::UNIQ_KEY) {
            Some(key) => Cow::Borrowed(key),
            None => Cow::Owned(self.offset_id()),
        }
    }

    /// Where it is stored: what [`Admin::view_message`](crate::Admin::view_message) takes.
    pub fn offset_id(&self) -> String {
        let offset = u64::try_from(self.commit_log_offset).unwrap_or(0);
        OffsetId { store_host: self.store_host, offset }.to_string()
    }

    /// Properties of the application and of the protocol, in their order.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        props::iter(&self.properties)
    }

    /// Value of a property; the last of equal names wins.
    pub fn property(&self, name: &str) -> Option<&str> {
        props::find(&self.properties, name)
    }

    /// Adds a property to this copy of the message, as Java's client does with the bounds of its queue. One that has
    /// an empty part is left out.
    pub fn add_property(&mut self, name: &str, value: &str) {
        let mut own = Vec::with_capacity(name.len() + value.len() + 2);
        props::push(&mut own, name, value);
        self.properties = joined(&self.properties, &own);
    }

    /// A copy with bytes of its own, which keeps nothing alive but itself.
    ///
    /// ```no_run
    /// # async fn example(mut consumer: thrustmq_client::Consumer) {
    /// let mut latest = std::collections::HashMap::new();
    /// while let Some(price) = consumer.next().await {
    ///     if let Some(share) = price.property("share") {
    ///         latest.insert(share.to_owned(), price.detached());
    ///     }
    ///     price.ack();
    /// }
    /// # }
    /// ```
    pub fn detached(&self) -> Received {
        let (body, properties) =
            (Bytes::copy_from_slice(&self.body), Bytes::copy_from_slice(&self.properties));
        Received { body, properties, ..self.clone() }
    }

    /// The word that consumers can select by.
    pub fn tag(&self) -> Option<&str> {
        self.property(props::TAGS)
    }

    /// Keys that it can be found by.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.property(props::KEYS).unwrap_or_default().split(' ').filter(|key| !key.is_empty())
    }

    /// The body as text, with anything that is not UTF-8 replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Messages of a file of records, as brokers keep them, up to the first bytes that are none. The names of their
    /// brokers are empty.
    pub fn of_file(bytes: Bytes) -> Vec<Received> {
        let mut records = Records::new(&bytes, "", None);
        let mut at = 0;
        while let Ok(record) = Record::parse(&bytes[at..]) {
            records.room = Room::of_answer();
            records.add(&record);
            at += record.bytes.len();
        }
        records.messages
    }

    /// Bytes that it takes while it waits.
    pub(crate) fn weight(&self) -> usize {
        self.body.len().max(1)
    }

    /// What failed while a group popped does not say where it came from; the topic that it lies in does.
    pub(crate) fn set_topic_before_pops_of(&mut self, group: &str) {
        if self.queue.topic.starts_with(RETRY_PREFIX) {
            let topic = normal_topic(self.topic(), group).to_owned();
            self.set_topic(&topic);
        }
    }

    /// Another topic than its record tells.
    pub(crate) fn set_topic(&mut self, topic: &str) {
        if self.topic() != topic {
            self.topic = Some(topic.into());
        }
    }
}

/// Reads records that stand one behind the other, as brokers answer with them. `broker_name` is whose they are.
///
/// # Errors
/// When the bytes are no records. A body that cannot be unpacked, or would become too large, stays as it is, since
/// skipping the message would lose it: its `sys_flag` still says that it is compressed.
pub(crate) fn read_all(bytes: &Bytes, broker_name: &str, address: &str) -> Result<Vec<Received>, Error> {
    read(Records::new(bytes, broker_name, None), address)
}

/// Does the same with the records of one queue.
///
/// # Errors
/// When the bytes are no records.
pub(crate) fn read_queue(
    bytes: &Bytes,
    queue: &Arc<MessageQueue>,
    address: &str,
) -> Result<Vec<Received>, Error> {
    read(Records::new(bytes, &queue.broker_name, Some(queue)), address)
}

fn read(mut records: Records<'_>, address: &str) -> Result<Vec<Received>, Error> {
    let bytes = records.bytes;
    let mut at = 0;
    while at < bytes.len() {
        let record = Record::parse(&bytes[at..]).map_err(|error| Error::malformed(address, error))?;
        records.add(&record);
        at += record.bytes.len();
    }
    Ok(records.messages)
}

/// Messages in the making, of the records in `bytes`.
struct Records<'a> {
    bytes: &'a Bytes,
    broker_name: &'a str,
    /// What all are numbered as. In a static topic the record has the number that the queue had where it was stored.
    queue_id: Option<i32>,
    /// Shared by the messages that follow each other there.
    queue: Option<Arc<MessageQueue>>,
    room: Room,
    messages: Vec<Received>,
}

impl<'a> Records<'a> {
    fn new(bytes: &'a Bytes, broker_name: &'a str, queue: Option<&Arc<MessageQueue>>) -> Records<'a> {
        Records {
            bytes,
            broker_name,
            queue_id: queue.map(|queue| queue.queue_id),
            queue: queue.cloned(),
            room: Room::of_answer(),
            messages: Vec::new(),
        }
    }

    fn add(&mut self, record: &Record<'_>) {
        let message = self.message(record);
        const WRAPPED: i32 = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;
        if record.sys_flag & WRAPPED != WRAPPED {
            if self.messages.is_empty() {
                // Most answers have messages of one length.
                self.messages.reserve(self.bytes.len().div_ceil(record.bytes.len().max(1)).min(USUAL_MAX));
            }
            self.messages.push(message);
            return;
        }
        let base = message.property(props::INNER_BASE).and_then(|text| text.parse().ok());
        let base: i64 = base.unwrap_or(message.offset);
        for (index, entry) in batch::entries(&message.body).flatten().enumerate() {
            self.messages.push(Received {
                offset: base + index as i64,
                body: message.body.slice_ref(entry.body),
                flag: entry.flag,
                properties: joined(&message.properties, entry.properties),
                ..message.clone()
            });
        }
    }

    fn message(&mut self, record: &Record<'_>) -> Received {
        let packed = self.bytes.slice_ref(record.body);
        let (body, sys_flag) = match self.room.unpack(packed.clone(), record.sys_flag) {
            Some(body) => (body, record.sys_flag & !(sys_flag::COMPRESSED | sys_flag::COMPRESSION_MASK)),
            None => (packed, record.sys_flag),
        };
        Received {
            queue: self.queue_of(record),
            offset: record.queue_offset,
            body,
            flag: record.flag,
            commit_log_offset: record.physical_offset,
            born_at_ms: record.born_timestamp,
            born_host: record.born_host,
            stored_at_ms: record.store_timestamp,
            store_host: record.store_host,
            reconsume_times: record.reconsume_times,
            sys_flag,
            stored_bytes: record.bytes.len(),
            body_crc: record.body_crc,
            prepared_transaction_offset: record.prepared_transaction_offset,
            properties: self.bytes.slice_ref(record.properties),
            topic: None,
        }
    }

    fn queue_of(&mut self, record: &Record<'_>) -> Arc<MessageQueue> {
        let queue_id = self.queue_id.unwrap_or(record.queue_id as i32);
        if let Some(queue) = &self.queue
            && queue.queue_id == queue_id
            && queue.topic == record.topic
        {
            return Arc::clone(queue);
        }
        let queue = Arc::new(MessageQueue {
            topic: record.topic.to_owned(),
            broker_name: self.broker_name.to_owned(),
            queue_id,
        });
        self.queue = Some(Arc::clone(&queue));
        queue
    }
}

/// Messages that room is made for before they are read.
const USUAL_MAX: usize = 1_024;

/// Properties one behind the other.
fn joined(first: &[u8], second: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(first.len() + second.len() + 1);
    text.extend_from_slice(first);
    // The last separator may be missing.
    if text.last().is_some_and(|byte| *byte != props::END) {
        text.push(props::END);
    }
    text.extend_from_slice(second);
    text.into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A message as little as one can be.
    pub(crate) fn message(topic: &str, id: &str) -> Received {
        let host = SocketAddr::from(([127, 0, 0, 1], 1));
        let queue = MessageQueue { topic: topic.to_owned(), broker_name: "b".to_owned(), queue_id: 0 };
        let mut message = Received {
            queue: Arc::new(queue),
            offset: 0,
            body: Bytes::new(),
            flag: 0,
            commit_log_offset: 0,
            born_at_ms: 0,
            born_host: host,
            stored_at_ms: 0,
            store_host: host,
            reconsume_times: 0,
            sys_flag: 0,
            stored_bytes: 0,
            body_crc: 0,
            prepared_transaction_offset: 0,
            properties: Bytes::new(),
            topic: None,
        };
        message.add_property(props::UNIQ_KEY, id);
        message
    }

    fn record(topic: &str, queue_id: u32, properties: &[u8]) -> Vec<u8> {
        let host = SocketAddr::from(([127, 0, 0, 1], 1));
        let stored = wire::record::Message {
            flag: 7,
            born_timestamp: 1,
            properties,
            ..wire::record::Message::of_broker(host, topic, queue_id, b"body")
        };
        let mut bytes = Vec::new();
        wire::record::encode(&stored, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn messages_of_one_queue_share_its_name_and_those_of_others_have_their_own() {
        let bytes = [record("T", 1, b""), record("T", 1, b""), record("U", 1, b""), record("U", 2, b"")];
        let read = read_all(&Bytes::from(bytes.concat()), "b", "b:1").unwrap();
        let places: Vec<_> = read.iter().map(|one| (one.topic(), one.queue.queue_id)).collect();
        assert_eq!(places, [("T", 1), ("T", 1), ("U", 1), ("U", 2)]);
        assert!(Arc::ptr_eq(&read[0].queue, &read[1].queue));
        let queue = MessageQueue { topic: "T".to_owned(), broker_name: "b".to_owned(), queue_id: 9 };
        let read = read_queue(&Bytes::from(record("T", 1, b"")), &Arc::new(queue), "b:1").unwrap();
        assert_eq!(read[0].queue.queue_id, 9, "the number that a static topic has for it");
    }

    #[test]
    fn a_detached_message_is_the_same_and_keeps_the_answer_of_the_others_no_longer() {
        let bytes = Bytes::from([record("T", 1, b"a\x011"), record("T", 1, b"a\x012")].concat());
        let read = read_all(&bytes, "b", "b:1").unwrap();
        let kept = read[0].detached();
        assert_eq!(kept, read[0]);
        drop(read);
        assert!(bytes.is_unique(), "nothing else of the answer is in use");
    }

    #[test]
    fn properties_are_read_when_they_are_asked_for_and_the_last_one_counts() {
        let text = b"RETRY_TOPIC\x01first\x02a\x011\x02UNIQ_KEY\x01id\x02a\x012";
        let mut read = read_all(&Bytes::from(record("%RETRY%g", 0, text)), "b", "b:1").unwrap();
        let message = &mut read[0];
        assert_eq!((message.topic(), &*message.message_id()), ("first", "id"));
        message.add_property("b", "3");
        let all: Vec<_> = message.properties().skip(1).collect();
        assert_eq!(all, [("a", "1"), ("UNIQ_KEY", "id"), ("a", "2"), ("b", "3")]);
        assert_eq!((message.property("a"), message.property("c")), (Some("2"), None));
        message.set_topic("other");
        assert_eq!(message.topic(), "other");
        let bare = read_all(&Bytes::from(record("T", 0, b"")), "b", "b:1").unwrap();
        assert_eq!(bare[0].message_id(), bare[0].offset_id(), "there is no other key");
    }
}
