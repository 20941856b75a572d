//! The body of a registration (103) in its three forms (wire.md §11.14).
//!
//! Only what a route needs is read; attributes and filter servers are passed over. A broker of 100,000 topics sends
//! this twice a minute, so topics go straight into a list of small records.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use flate2::read::ZlibDecoder;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, de};
use wire::body::{DataVersion, TopicQueueMappingInfo};
use wire::loose_json::{self, LooseJsonError};

use crate::tables::{Queues, TopicQueues};

/// From this version on the body is more than the topic table (V3_0_11).
const VERSION_WITH_FILTERS: i32 = 37;
/// From this version on a compressed body has static topics at its end (V5_0_0).
const VERSION_WITH_MAPPINGS: i32 = 413;
/// Most topics of one registration.
const TOPICS_MAX: usize = 2_000_000;
/// Most static topics of one registration: an empty one is two bytes here, and more than a hundred in memory.
const MAPPINGS_MAX: usize = 200_000;
/// Most bytes that a compressed body may unfold to.
const INFLATED_BYTES_MAX: u64 = 512 << 20;
/// Most bytes of one record within a compressed body.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// Longest topic name; the longest that a broker can make has 255 bytes and a suffix.
pub(crate) const TOPIC_BYTES_MAX: usize = 1024;

/// What a broker registers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Payload {
    pub version: DataVersion,
    pub topics: Vec<TopicQueues>,
    /// What of them is static.
    pub mappings: Vec<TopicQueueMappingInfo>,
}

/// Why a body is not understood. The text is the remark.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayloadError {
    #[error("Failed to decode RegisterBrokerBody: {0}")]
    Json(#[from] LooseJsonError),
    #[error("Failed to decode RegisterBrokerBody: the compressed body ends early or is damaged: {0}")]
    Inflate(#[from] std::io::Error),
    #[error("Failed to decode RegisterBrokerBody: {0}")]
    Layout(&'static str),
}

/// Reads a body; an absent one is an empty table of version 0.
pub(crate) fn decode(body: &[u8], compressed: bool, version: i32) -> Result<Payload, PayloadError> {
    if body.is_empty() {
        return Ok(Payload::default());
    }
    if version < VERSION_WITH_FILTERS {
        return Ok(loose_json::read::<Wrapper>(body)?.into());
    }
    if compressed { inflate(body, version) } else { Ok(loose_json::read::<Body>(body)?.wrapper.into()) }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    #[serde(rename = "topicConfigSerializeWrapper", deserialize_with = "or_default")]
    wrapper: Wrapper,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Wrapper {
    #[serde(deserialize_with = "or_default")]
    data_version: DataVersion,
    #[serde(deserialize_with = "or_default")]
    topic_config_table: Topics,
    #[serde(deserialize_with = "or_default")]
    topic_queue_mapping_info_map: BTreeMap<String, Option<TopicQueueMappingInfo>>,
}

impl From<Wrapper> for Payload {
    fn from(wrapper: Wrapper) -> Payload {
        let mappings = wrapper.topic_queue_mapping_info_map.into_iter();
        Payload {
            version: wrapper.data_version,
            topics: wrapper.topic_config_table.0,
            mappings: mappings.filter_map(|(topic, info)| Some(named(topic, info?))).collect(),
        }
    }
}

/// One topic of the table; absent members have Java's defaults.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Topic {
    perm: i32,
    read_queue_nums: i32,
    #[serde(deserialize_with = "or_default")]
    topic_name: String,
    #[serde(deserialize_with = "or_default")]
    topic_sys_flag: i32,
    write_queue_nums: i32,
}

impl Default for Topic {
    fn default() -> Topic {
        Topic {
            perm: 6,
            read_queue_nums: 16,
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

#[derive(Default)]
struct Topics(Vec<TopicQueues>);

impl<'de> Deserialize<'de> for Topics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Topics, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Topics;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a table of topics")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Topics, A::Error> {
                let mut topics = Vec::new();
                while let Some((key, topic)) = map.next_entry::<String, Option<Topic>>()? {
                    let Some(topic) = topic else { continue };
                    let name = if topic.topic_name.is_empty() { key } else { topic.topic_name };
                    let queues = Queues {
                        read: topic.read_queue_nums,
                        write: topic.write_queue_nums,
                        perm: topic.perm,
                        sys_flag: topic.topic_sys_flag,
                    };
                    push(&mut topics, &name, queues).map_err(A::Error::custom)?;
                }
                Ok(Topics(topics))
            }
        }
        deserializer.deserialize_map(Table)
    }
}

/// The member that names the topic is redundant and may be absent.
fn named(topic: String, info: TopicQueueMappingInfo) -> TopicQueueMappingInfo {
    TopicQueueMappingInfo { topic: if info.topic.is_empty() { topic } else { info.topic }, ..info }
}

fn or_default<'de, D: Deserializer<'de>, T: de::Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn push(topics: &mut Vec<TopicQueues>, name: &str, queues: Queues) -> Result<(), &'static str> {
    if topics.len() >= TOPICS_MAX {
        return Err("more than 2,000,000 topics in one registration");
    }
    if name.is_empty() || name.len() > TOPIC_BYTES_MAX {
        // No client can ask for it; the rest of the broker should not suffer.
        tracing::warn!(bytes = name.len(), "topic of a registration left out: its name is empty or too long");
        return Ok(());
    }
    topics.push(TopicQueues { name: name.into(), queues });
    Ok(())
}

/// Reads the compressed form: records that each have their length in front.
fn inflate(body: &[u8], version: i32) -> Result<Payload, PayloadError> {
    let mut records = Records { stream: ZlibDecoder::new(body).take(INFLATED_BYTES_MAX), record: Vec::new() };
    let mut payload = Payload { version: loose_json::read(records.next()?)?, ..Payload::default() };
    let count = records.count()?;
    if count > TOPICS_MAX {
        return Err(PayloadError::Layout("more than 2,000,000 topics in one registration"));
    }
    for _ in 0..count {
        let text = records.next()?;
        let (name, queues) = topic_of_text(text)
            .ok_or(PayloadError::Layout("a topic is not of the form `name read write perm filterType`"))?;
        push(&mut payload.topics, name, queues).map_err(PayloadError::Layout)?;
    }
    records.next()?;
    if version >= VERSION_WITH_MAPPINGS {
        let count = records.count()?;
        if count > MAPPINGS_MAX {
            return Err(PayloadError::Layout("more than 200,000 static topics in one registration"));
        }
        for _ in 0..count {
            payload.mappings.push(loose_json::read(records.next()?)?);
        }
    }
    Ok(payload)
}

struct Records<'a> {
    stream: std::io::Take<ZlibDecoder<&'a [u8]>>,
    record: Vec<u8>,
}

impl Records<'_> {
    fn count(&mut self) -> Result<usize, PayloadError> {
        let mut bytes = [0; 4];
        self.stream.read_exact(&mut bytes)?;
        usize::try_from(i32::from_be_bytes(bytes)).map_err(|_| PayloadError::Layout("a length is negative"))
    }

    fn next(&mut self) -> Result<&[u8], PayloadError> {
        let length = self.count()?;
        if length > RECORD_BYTES_MAX {
            return Err(PayloadError::Layout("a record has more than 1 MiB"));
        }
        self.record.resize(length, 0);
        self.stream.read_exact(&mut self.record)?;
        Ok(&self.record)
    }
}

/// `name read write perm filterType[ attributes]`; attributes and filter type do not matter here.
fn topic_of_text(text: &[u8]) -> Option<(&str, Queues)> {
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let name = words.next()?;
    let mut number = || words.next()?.parse::<i32>().ok();
    let queues = Queues { read: number()?, write: number()?, perm: number()?, sys_flag: 0 };
    words.next()?;
    Some((name, queues))
}

#[cfg(test)]
mod tests;
