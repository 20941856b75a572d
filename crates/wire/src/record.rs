//! The stored message record: one layout for the commit log, for pull bodies and for queries (wire.md §13.1).
//!
//! [`encode`] appends a record to a buffer with the three fields that only the appender knows (queue offset,
//! physical offset, store timestamp) left zero; [`patch`] fills them in. [`Record::parse`] borrows a record
//! from bytes and checks its shape; it never allocates. Nothing here touches a file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::sys_flag;

/// First layout: the topic length is one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Second layout, for topics longer than 127 bytes: the topic length is two bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Filler at the end of a commit log segment; never sent to a client.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;

/// Longest topic that the first layout can name, in bytes.
pub const TOPIC_V1_MAX: usize = 127;
/// Longest properties text, in bytes: the length field is a signed 16-bit integer.
pub const PROPERTIES_MAX: usize = i16::MAX as usize;
/// Size of the blank marker (length and magic) that must always fit behind the last record of a segment.
pub const BLANK_SIZE: usize = 8;

const AT_QUEUE_OFFSET: usize = 20;
const AT_PHYSICAL_OFFSET: usize = 28;
const AT_SYS_FLAG: usize = 36;
const AT_BORN_HOST: usize = 48;

/// What a record is made of, before the store has placed it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// At most 255 bytes; longer than [`TOPIC_V1_MAX`] selects the second layout.
    pub topic: &'a str,
    /// Queue within the topic.
    pub queue_id: u32,
    /// The application's own flag, stored as it came.
    pub flag: i32,
    /// The host bits are set by [`encode`] from the addresses; see [`crate::sys_flag`].
    pub sys_flag: i32,
    /// Producer clock, Unix milliseconds.
    pub born_timestamp: i64,
    /// Address of the producer.
    pub born_host: SocketAddr,
    /// Address of the broker, part of the offset id.
    pub store_host: SocketAddr,
    /// How often consumption failed before.
    pub reconsume_times: i32,
    /// Physical offset of the half message on a committed transactional message, else 0.
    pub prepared_transaction_offset: i64,
    /// As the producer sent it, compressed or not.
    pub body: &'a [u8],
    /// Encoded as in [`crate::properties`]; at most [`PROPERTIES_MAX`] bytes.
    pub properties: &'a [u8],
}

impl<'a> Message<'a> {
    /// A message that a broker makes by itself, without anything but a place and a body.
    pub fn of_broker(broker: SocketAddr, topic: &'a str, queue_id: u32, body: &'a [u8]) -> Message<'a> {
        Message {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: broker,
            store_host: broker,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: &[],
        }
    }
}

/// Why a message cannot become a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The topic does not fit.
    #[error("topic is {0} bytes, the longest is 255")]
    TopicTooLong(usize),
    /// The properties do not fit.
    #[error("properties are {0} bytes, the longest is {PROPERTIES_MAX}")]
    PropertiesTooLong(usize),
    /// The body does not fit.
    #[error("body is {0} bytes, which no record can hold")]
    BodyTooLong(usize),
    /// The properties have so many zeros that a store would take them for bytes that a crash has lost.
    #[error("properties end with a zero byte, or have more than 510 of them in a row")]
    ZerosInProperties,
}

/// Appends the record of `message` to `out`; returns its length in bytes.
///
/// Queue offset, physical offset and store timestamp are zero until [`patch`].
pub fn encode(message: &Message<'_>, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
    let topic = message.topic.as_bytes();
    if topic.len() > 255 {
        return Err(EncodeError::TopicTooLong(topic.len()));
    }
    if message.properties.len() > PROPERTIES_MAX {
        return Err(EncodeError::PropertiesTooLong(message.properties.len()));
    }
    if message.body.len() > (i32::MAX as usize) / 2 {
        return Err(EncodeError::BodyTooLong(message.body.len()));
    }
    let wide_topic = topic.len() > TOPIC_V1_MAX;
    let sys_flag = sys_flag::with_hosts(message.sys_flag, &message.born_host, &message.store_host);
    let length = encoded_len(message);
    out.reserve(length);
    let start = out.len();
    put_u32(out, length as u32);
    put_u32(out, if wide_topic { MAGIC_V2 } else { MAGIC_V1 });
    put_u32(out, body_crc(message.body));
    put_u32(out, message.queue_id);
    put_u32(out, message.flag as u32);
    put_u64(out, 0);
    put_u64(out, 0);
    put_u32(out, sys_flag as u32);
    put_u64(out, message.born_timestamp as u64);
    put_host(out, &message.born_host);
    put_u64(out, 0);
    put_host(out, &message.store_host);
    put_u32(out, message.reconsume_times as u32);
    put_u64(out, message.prepared_transaction_offset as u64);
    put_u32(out, message.body.len() as u32);
    out.extend_from_slice(message.body);
    if wide_topic {
        out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    } else {
        out.push(topic.len() as u8);
    }
    out.extend_from_slice(topic);
    out.extend_from_slice(&(message.properties.len() as u16).to_be_bytes());
    out.extend_from_slice(message.properties);
    debug_assert_eq!(out.len() - start, length);
    Ok(length)
}

/// Length in bytes of the record that [`encode`] would write.
pub fn encoded_len(message: &Message<'_>) -> usize {
    let topic_length_size = if message.topic.len() > TOPIC_V1_MAX { 2 } else { 1 };
    74 + host_size(message.born_host.is_ipv6())
        + host_size(message.store_host.is_ipv6())
        + topic_length_size
        + message.topic.len()
        + message.body.len()
        + message.properties.len()
}

/// Fills in what the appender knows. `record` is one whole record as written by [`encode`].
pub fn patch(record: &mut [u8], queue_offset: u64, physical_offset: u64, store_timestamp: i64) {
    record[AT_QUEUE_OFFSET..AT_QUEUE_OFFSET + 8].copy_from_slice(&queue_offset.to_be_bytes());
    record[AT_PHYSICAL_OFFSET..AT_PHYSICAL_OFFSET + 8].copy_from_slice(&physical_offset.to_be_bytes());
    let at = store_timestamp_at(record);
    record[at..at + 8].copy_from_slice(&store_timestamp.to_be_bytes());
}

/// The store timestamp's place moves with the width of the born host (store.md §24 T16).
fn store_timestamp_at(record: &[u8]) -> usize {
    let sys_flag = i32::from_be_bytes([
        record[AT_SYS_FLAG],
        record[AT_SYS_FLAG + 1],
        record[AT_SYS_FLAG + 2],
        record[AT_SYS_FLAG + 3],
    ]);
    AT_BORN_HOST + host_size(sys_flag & sys_flag::BORN_HOST_V6 != 0)
}

/// The properties text of a record, found by the lengths before it and nothing else; `None` where these make no sense.
///
/// For filters, which look at every message: the rest of the record is neither read nor checked.
pub fn properties_of(bytes: &[u8]) -> Option<&[u8]> {
    let prefix = Prefix::parse(bytes).filter(Prefix::is_record)?;
    let mut cursor = Cursor { bytes: bytes.get(..prefix.size as usize)?, at: AT_SYS_FLAG };
    let sys_flag = cursor.u32().ok()? as i32;
    let hosts = host_size(sys_flag & sys_flag::BORN_HOST_V6 != 0)
        + host_size(sys_flag & sys_flag::STORE_HOST_V6 != 0);
    // Between and behind the hosts stand the store timestamp, the reconsume count and the prepared offset.
    cursor.at = AT_BORN_HOST + hosts + 8 + 4 + 8;
    let body_length = cursor.u32().ok()? as usize;
    cursor.take(body_length).ok()?;
    let topic_length =
        if prefix.magic == MAGIC_V2 { cursor.u16().ok()? as usize } else { cursor.take(1).ok()?[0] as usize };
    cursor.take(topic_length).ok()?;
    let length = cursor.u16().ok()? as usize;
    cursor.take(length).ok()
}

/// Queue offset of a stored record, without looking at the rest of it; `None` if the bytes end before it.
pub fn queue_offset(record: &[u8]) -> Option<i64> {
    let bytes = record.get(AT_QUEUE_OFFSET..)?.first_chunk()?;
    Some(i64::from_be_bytes(*bytes))
}

/// CRC-32 of a body with the sign bit cleared, as every record carries it.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

/// One record, borrowed from the bytes it was stored in.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The whole record, length field included.
    pub bytes: &'a [u8],
    /// [`MAGIC_V1`] or [`MAGIC_V2`].
    pub magic: u32,
    /// As stored; see [`Record::verify_crc`].
    pub body_crc: u32,
    /// Queue within the topic.
    pub queue_id: u32,
    /// The application's own flag.
    pub flag: i32,
    /// Position in the queue.
    pub queue_offset: i64,
    /// Where the record says it stands in the commit log.
    pub physical_offset: i64,
    /// See [`crate::sys_flag`].
    pub sys_flag: i32,
    /// Producer clock, Unix milliseconds.
    pub born_timestamp: i64,
    /// Address of the producer.
    pub born_host: SocketAddr,
    /// Broker clock, Unix milliseconds.
    pub store_timestamp: i64,
    /// Address of the broker that stored it.
    pub store_host: SocketAddr,
    /// How often consumption failed before.
    pub reconsume_times: i32,
    /// Physical offset of the half message, or 0.
    pub prepared_transaction_offset: i64,
    /// As the producer sent it.
    pub body: &'a [u8],
    /// Topic.
    pub topic: &'a str,
    /// Properties text; see [`crate::properties`].
    pub properties: &'a [u8],
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end early.
    #[error("record needs {needed} bytes and only {available} are there")]
    Short {
        /// Bytes the record would take.
        needed: usize,
        /// Bytes at hand.
        available: usize,
    },
    /// Not a record's magic.
    #[error("magic is {0:#010x}, which marks no record")]
    Magic(u32),
    /// A length inside makes no sense.
    #[error("a length inside the record is negative or larger than the record")]
    Length,
    /// Total and parts disagree.
    #[error("record says {stated} bytes but its parts give {parts}")]
    TotalLength {
        /// The length field.
        stated: usize,
        /// Sum of the parts.
        parts: usize,
    },
    /// The topic cannot be read.
    #[error("topic is not UTF-8")]
    Topic,
    /// The body was changed after it was stored.
    #[error("body CRC is {stored:08x} but its bytes give {computed:08x}")]
    Crc {
        /// The CRC field.
        stored: u32,
        /// CRC of the body at hand.
        computed: u32,
    },
    /// See [`crate::prop_crc`].
    #[error("CRC property is missing or does not agree with the record's bytes")]
    PropCrc,
}

/// The first eight bytes of a record or of a blank: total size and magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Bytes of the whole record, or of the rest of the segment for a blank.
    pub size: u32,
    /// What follows.
    pub magic: u32,
}

impl Prefix {
    /// `None` when fewer than eight bytes are there.
    pub fn parse(bytes: &[u8]) -> Option<Prefix> {
        let bytes: &[u8; 8] = bytes.first_chunk()?;
        let [s0, s1, s2, s3, m0, m1, m2, m3] = *bytes;
        Some(Prefix {
            size: u32::from_be_bytes([s0, s1, s2, s3]),
            magic: u32::from_be_bytes([m0, m1, m2, m3]),
        })
    }

    /// Whether the magic is that of a message record (not a blank, not garbage).
    pub fn is_record(&self) -> bool {
        self.magic == MAGIC_V1 || self.magic == MAGIC_V2
    }
}

impl<'a> Record<'a> {
    /// Reads one record from the front of `bytes`; what follows it is ignored.
    ///
    /// Checks lengths and magic, not the body's CRC: see [`Record::verify_crc`].
    pub fn parse(bytes: &'a [u8]) -> Result<Record<'a>, RecordError> {
        let prefix = Prefix::parse(bytes).ok_or(RecordError::Short { needed: 8, available: bytes.len() })?;
        if !prefix.is_record() {
            return Err(RecordError::Magic(prefix.magic));
        }
        let total = prefix.size as usize;
        if total > bytes.len() {
            return Err(RecordError::Short { needed: total, available: bytes.len() });
        }
        let mut cursor = Cursor { bytes: &bytes[..total], at: 8 };
        let record = Record::fields(&mut cursor, prefix.magic)?;
        if cursor.at != total {
            return Err(RecordError::TotalLength { stated: total, parts: cursor.at });
        }
        Ok(record)
    }

    fn fields(cursor: &mut Cursor<'a>, magic: u32) -> Result<Record<'a>, RecordError> {
        let body_crc = cursor.u32()?;
        let queue_id = cursor.u32()?;
        let flag = cursor.u32()? as i32;
        let queue_offset = cursor.i64()?;
        let physical_offset = cursor.i64()?;
        let sys_flag = cursor.u32()? as i32;
        let born_timestamp = cursor.i64()?;
        let born_host = cursor.host(sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
        let store_timestamp = cursor.i64()?;
        let store_host = cursor.host(sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
        let reconsume_times = cursor.u32()? as i32;
        let prepared_transaction_offset = cursor.i64()?;
        let body_length = cursor.u32()? as usize;
        let body = cursor.take(body_length)?;
        let topic_length =
            if magic == MAGIC_V2 { cursor.u16()? as usize } else { cursor.take(1)?[0] as usize };
        let topic = std::str::from_utf8(cursor.take(topic_length)?).map_err(|_| RecordError::Topic)?;
        let properties_length = cursor.u16()? as usize;
        if properties_length > PROPERTIES_MAX {
            return Err(RecordError::Length);
        }
        let properties = cursor.take(properties_length)?;
        Ok(Record {
            bytes: cursor.bytes,
            magic,
            body_crc,
            queue_id,
            flag,
            queue_offset,
            physical_offset,
            sys_flag,
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic,
            properties,
        })
    }

    /// The message it was made of, to be stored again as another record.
    pub fn message(&self) -> Message<'a> {
        Message {
            topic: self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: self.body,
            properties: self.properties,
        }
    }

    /// Compares the stored CRC with the body's. An empty body carries 0.
    pub fn verify_crc(&self) -> Result<(), RecordError> {
        let computed = body_crc(self.body);
        if computed == self.body_crc {
            Ok(())
        } else {
            Err(RecordError::Crc { stored: self.body_crc, computed })
        }
    }

    /// Value of one property, if the record has it; the last of equal names wins.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        crate::properties::find(self.properties, name)
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let end = self.at.checked_add(length).ok_or(RecordError::Length)?;
        let part = self.bytes.get(self.at..end).ok_or(RecordError::Length)?;
        self.at = end;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let part = self.take(N)?;
        part.try_into().map_err(|_| RecordError::Length)
    }

    fn u16(&mut self) -> Result<u16, RecordError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Ports are stored as 32-bit integers; only the low half means anything.
    fn host(&mut self, v6: bool) -> Result<SocketAddr, RecordError> {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))
        };
        let port = self.u32()? as u16;
        Ok(SocketAddr::new(ip, port))
    }
}

fn host_size(v6: bool) -> usize {
    if v6 { 20 } else { 8 }
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_host(out: &mut Vec<u8>, host: &SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    put_u32(out, u32::from(host.port()));
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The vector of store.md §25.
    const VECTOR: &str = "0000007bdaa320a73610a686000000030000000000000000000000070000000000001000000000000000018bcfe568000a0000010000c3500000018bcfe568010a00000200002a9f00000000000000000000000000000005\
68656c6c6f09546f7069635465737400124b455953014b3102544147530154616741\
02";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    pub(crate) fn message<'a>() -> Message<'a> {
        Message {
            topic: "TopicTest",
            queue_id: 3,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            born_host: "10.0.0.1:50000".parse().unwrap(),
            store_host: "10.0.0.2:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"hello",
            properties: b"KEYS\x01K1\x02TAGS\x01TagA\x02",
        }
    }

    #[test]
    fn encoding_gives_the_bytes_of_the_specification() {
        let mut out = Vec::new();
        let length = encode(&message(), &mut out).unwrap();
        patch(&mut out, 7, 4096, 1_700_000_000_001);
        assert_eq!(length, 123);
        assert_eq!(out, unhex(VECTOR));
    }

    #[test]
    fn parsing_gives_back_what_was_encoded() {
        let bytes = unhex(VECTOR);
        let record = Record::parse(&bytes).unwrap();
        record.verify_crc().unwrap();
        assert_eq!(record.topic, "TopicTest");
        assert_eq!(record.queue_offset, 7);
        assert_eq!(record.physical_offset, 4096);
        assert_eq!(record.store_timestamp, 1_700_000_000_001);
        assert_eq!(record.property("TAGS"), Some("TagA"));
        assert_eq!(record.body, b"hello");
        assert_eq!(properties_of(&bytes), Some(record.properties));
    }

    #[test]
    fn a_long_topic_takes_the_second_layout_and_an_ipv6_host_moves_the_timestamp() {
        let topic = format!("%RETRY%{}", "g".repeat(150));
        let message = Message { topic: &topic, born_host: "[::1]:9".parse().unwrap(), ..message() };
        let mut out = Vec::new();
        encode(&message, &mut out).unwrap();
        patch(&mut out, 1, 2, 3);
        let record = Record::parse(&out).unwrap();
        assert_eq!(record.magic, MAGIC_V2);
        assert_eq!(record.topic, topic);
        assert_eq!(record.store_timestamp, 3);
        assert_eq!(properties_of(&out), Some(record.properties));
        assert_eq!(properties_of(&out[..out.len() - 1]), None);
        assert_eq!(record.born_host, message.born_host);
    }

    #[test]
    fn every_truncation_and_every_length_flip_is_an_error_not_a_panic() {
        let bytes = unhex(VECTOR);
        for end in 0..bytes.len() {
            assert!(Record::parse(&bytes[..end]).is_err());
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut copy = bytes.clone();
                copy[at] ^= 1 << bit;
                let _ = Record::parse(&copy).map(|record| record.verify_crc());
            }
        }
    }
}
