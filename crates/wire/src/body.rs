//! JSON bodies shared by servers and clients (wire.md §11, §12.3).
//!
//! Members are written in alphabetical order and never as `null`, as fastjson does. Readers tolerate absent and
//! null members; [`crate::loose_json::read`] also accepts fastjson's unquoted and object keys.

mod client;
mod permissions;
mod route;
mod static_topic;
mod stats;
mod story;
mod topic;

use serde::{Deserialize, Deserializer, Serialize};

pub use client::*;
pub use permissions::*;
pub use route::*;
pub use static_topic::*;
pub use stats::*;
pub use story::*;
pub use topic::*;

/// A queue of one topic on one broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageQueue {
    /// Broker that holds it.
    pub broker_name: String,
    /// Number within the topic on that broker.
    #[serde(deserialize_with = "loose_number")]
    pub queue_id: i32,
    /// Topic.
    pub topic: String,
}

/// Version of a table: equal when all three are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Rises with each change.
    #[serde(deserialize_with = "or_default")]
    pub counter: i64,
    /// Epoch of the master that made it; 0 outside controller mode.
    pub state_version: i64,
    /// Unix milliseconds of the last change.
    pub timestamp: i64,
}

impl DataVersion {
    /// The next version, stamped `now_ms`.
    pub fn next(&mut self, now_ms: i64) {
        self.timestamp = now_ms;
        self.counter += 1;
    }
}

/// How many messages wait in the timer wheel: `config/timermetrics`, and the answer to 61.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimerMetrics {
    /// Version of the table.
    pub data_version: DataVersion,
    /// By topic.
    #[serde(deserialize_with = "or_default")]
    pub timing_count: std::collections::BTreeMap<String, TimerMetric>,
}

/// Timer messages of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimerMetric {
    /// Messages that wait, less those that take others back.
    pub count: i64,
    /// Unix milliseconds of the last change.
    pub time_stamp: i64,
}

impl TimerMetrics {
    /// As JSON, on one line.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Up to which queue offset queues were compacted: `compaction/position-checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CompactionPositions {
    /// By topic and queue, `topic_id`.
    #[serde(deserialize_with = "or_default")]
    pub queue_offset_map: std::collections::BTreeMap<String, i64>,
}

impl CompactionPositions {
    /// As JSON, on one line.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A table of strings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KvTable {
    /// Names and values.
    #[serde(default, deserialize_with = "or_default")]
    pub table: std::collections::BTreeMap<String, String>,
}

/// A list of topics.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    /// One broker's address, on system topic lists of a nameserver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    /// The topics.
    #[serde(deserialize_with = "or_default")]
    pub topic_list: Vec<String>,
}

/// Reads an explicit `null` as the type's default.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a number that may stand in quotes: the Go client writes its tag hashes so, and Java reads both.
pub(crate) fn loose_number<'de, D: Deserializer<'de>, T: TryFrom<i64> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    let number = Option::<LooseNumber>::deserialize(deserializer)?;
    number.map_or(Ok(T::default()), |number| number.get().map_err(serde::de::Error::custom))
}

/// Reads a list of such numbers.
pub(crate) fn loose_numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i32>, D::Error> {
    let numbers = Option::<Vec<LooseNumber>>::deserialize(deserializer)?.unwrap_or_default();
    numbers.into_iter().map(|number| number.get().map_err(serde::de::Error::custom)).collect()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum LooseNumber {
    Plain(i64),
    Quoted(String),
}

impl LooseNumber {
    fn get<T: TryFrom<i64>>(self) -> Result<T, &'static str> {
        let number = match self {
            LooseNumber::Plain(number) => number,
            LooseNumber::Quoted(text) => text.trim().parse().map_err(|_| "a quoted number is no number")?,
        };
        T::try_from(number).map_err(|_| "a number is out of range")
    }
}
