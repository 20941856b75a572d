//! A message that was read.

use std::net::SocketAddr;

use bytes::Bytes;
use wire::body::MessageQueue;
use wire::ids::OffsetId;
use wire::properties as props;
use wire::record::Record;
use wire::{batch, sys_flag};

use crate::body::Room;
use crate::error::Error;

/// A message as a broker stored it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Topic it was sent to. A message that is delivered again has its first topic here too.
    pub topic: String,
    /// Where it stands; on a later attempt this is a queue of the group's retry topic.
    pub queue: MessageQueue,
    /// Position in the queue.
    pub offset: i64,
    /// The body, unpacked.
    pub body: Bytes,
    /// Properties of the application and of the protocol.
    pub properties: Vec<(String, String)>,
    /// The application's number.
    pub flag: i32,
    /// The key that its producer gave it, or the offset id where there is none.
    pub message_id: String,
    /// Where it is stored: what [`Admin::view_message`](crate::Admin::view_message) takes.
    pub offset_id: String,
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
    /// How often its consumption failed before: 0 the first time.
    pub reconsume_times: i32,
    /// Bits of the protocol; see [`wire::sys_flag`].
    pub sys_flag: i32,
    /// Bytes that its record takes.
    pub stored_bytes: usize,
    /// Checksum of the body as it is stored, packed or not.
    pub body_crc: u32,
    /// Physical offset of the half message of a transaction that this one commits; 0 without one.
    pub prepared_transaction_offset: i64,
}

impl Received {
    /// Value of a property; the last of equal names wins.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
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
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Messages of a file of records, as brokers keep them, up to the first bytes that are none. The names of their
    /// brokers are empty.
    pub fn of_file(bytes: Bytes) -> Vec<Received> {
        let mut messages = Vec::new();
        let mut at = 0;
        while let Ok(record) = Record::parse(&bytes[at..]) {
            read(&bytes, &record, "", &mut Room::of_answer(), &mut messages);
            at += record.bytes.len();
        }
        messages
    }

    /// Bytes that it takes while it waits.
    pub(crate) fn weight(&self) -> usize {
        self.body.len().max(1)
    }
}

/// Reads records that stand one behind the other, as brokers answer with them. `broker_name` is whose they are.
///
/// # Errors
/// When the bytes are no records. A body that cannot be unpacked, or would become too large, stays as it is, since
/// skipping the message would lose it: its `sys_flag` still says that it is compressed.
pub(crate) fn read_all(bytes: &Bytes, broker_name: &str, address: &str) -> Result<Vec<Received>, Error> {
    let (mut messages, mut room) = (Vec::new(), Room::of_answer());
    let mut at = 0;
    while at < bytes.len() {
        let record = Record::parse(&bytes[at..]).map_err(|error| Error::malformed(address, error))?;
        read(bytes, &record, broker_name, &mut room, &mut messages);
        at += record.bytes.len();
    }
    Ok(messages)
}

fn read(
    bytes: &Bytes,
    record: &Record<'_>,
    broker_name: &str,
    room: &mut Room,
    messages: &mut Vec<Received>,
) {
    let message = message(bytes, record, broker_name, room);
    const WRAPPED: i32 = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;
    if record.sys_flag & WRAPPED != WRAPPED {
        messages.push(message);
        return;
    }
    let base: i64 =
        message.property(props::INNER_BASE).and_then(|text| text.parse().ok()).unwrap_or(message.offset);
    let body = message.body.clone();
    for (index, entry) in batch::entries(&body).flatten().enumerate() {
        let own = properties(entry.properties);
        let mut properties = message.properties.clone();
        properties.extend(own);
        let mut inner = Received {
            offset: base + index as i64,
            body: body.slice_ref(entry.body),
            flag: entry.flag,
            properties,
            ..message.clone()
        };
        inner.message_id = inner.property(props::UNIQ_KEY).unwrap_or(&inner.offset_id).to_owned();
        messages.push(inner);
    }
}

fn message(bytes: &Bytes, record: &Record<'_>, broker_name: &str, room: &mut Room) -> Received {
    let properties = properties(record.properties);
    let offset_id =
        OffsetId { store_host: record.store_host, offset: record.physical_offset.max(0) as u64 }.to_string();
    let packed = bytes.slice_ref(record.body);
    let (body, sys_flag) = match room.unpack(packed.clone(), record.sys_flag) {
        Some(body) => (body, record.sys_flag & !(sys_flag::COMPRESSED | sys_flag::COMPRESSION_MASK)),
        None => (packed, record.sys_flag),
    };
    let queue = MessageQueue {
        topic: record.topic.to_owned(),
        broker_name: broker_name.to_owned(),
        queue_id: record.queue_id as i32,
    };
    let named = |name| props::find(record.properties, name);
    Received {
        topic: named(props::RETRY_TOPIC).unwrap_or(record.topic).to_owned(),
        queue,
        offset: record.queue_offset,
        body,
        flag: record.flag,
        message_id: named(props::UNIQ_KEY).unwrap_or(&offset_id).to_owned(),
        offset_id,
        properties,
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
    }
}

fn properties(text: &[u8]) -> Vec<(String, String)> {
    props::iter(text).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A message as little as one can be.
    pub(crate) fn message(topic: &str, id: &str) -> Received {
        let host = SocketAddr::from(([127, 0, 0, 1], 1));
        Received {
            topic: topic.to_owned(),
            queue: MessageQueue { topic: topic.to_owned(), broker_name: "b".to_owned(), queue_id: 0 },
            offset: 0,
            body: Bytes::new(),
            properties: Vec::new(),
            flag: 0,
            message_id: id.to_owned(),
            offset_id: String::new(),
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
        }
    }
}
