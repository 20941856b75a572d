//! Configuration of topics and consumer groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::or_default;

/// Permission bit: producers may write.
pub const PERM_WRITE: i32 = 2;
/// Permission bit: consumers may read.
pub const PERM_READ: i32 = 4;
/// Permission bit: topics created from this one inherit its settings.
pub const PERM_INHERIT: i32 = 1;

/// Settings of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// Attributes without their `+`.
    #[serde(deserialize_with = "or_default")]
    pub attributes: BTreeMap<String, String>,
    /// Whether the topic is an order topic.
    #[serde(deserialize_with = "or_default")]
    pub order: bool,
    /// Permission bits.
    pub perm: i32,
    /// Queues consumers read.
    pub read_queue_nums: i32,
    /// `SINGLE_TAG` or `MULTI_TAG`.
    #[serde(deserialize_with = "single_tag")]
    pub topic_filter_type: String,
    /// Name.
    pub topic_name: String,
    /// Unit flags.
    #[serde(deserialize_with = "or_default")]
    pub topic_sys_flag: i32,
    /// Queues producers write.
    pub write_queue_nums: i32,
}

fn single_tag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(|| "SINGLE_TAG".to_owned()))
}

impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig {
            attributes: BTreeMap::new(),
            order: false,
            perm: PERM_READ | PERM_WRITE,
            read_queue_nums: 16,
            topic_filter_type: "SINGLE_TAG".to_owned(),
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

impl TopicConfig {
    /// A topic of `queues` read and write queues.
    pub fn new(name: &str, queues: i32, perm: i32) -> TopicConfig {
        TopicConfig {
            topic_name: name.to_owned(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm,
            ..TopicConfig::default()
        }
    }
}

/// Settings of one consumer group (200).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    /// Attributes without their `+`.
    #[serde(deserialize_with = "or_default")]
    pub attributes: BTreeMap<String, String>,
    /// Broker to read from when the consumer keeps up.
    pub broker_id: i64,
    /// Whether members may consume in broadcast.
    pub consume_broadcast_enable: bool,
    /// Whether members may consume at all.
    pub consume_enable: bool,
    /// Kept for clients; unused.
    pub consume_from_min_enable: bool,
    /// Orderly consumption, for the gRPC side.
    #[serde(deserialize_with = "or_default")]
    pub consume_message_orderly: bool,
    /// Minutes a message may take.
    pub consume_timeout_minute: i32,
    /// Name.
    pub group_name: String,
    /// Retry policy, kept as it came.
    pub group_retry_policy: serde_json::Value,
    /// Flags.
    #[serde(deserialize_with = "or_default")]
    pub group_sys_flag: i32,
    /// Whether members are told when membership changes.
    pub notify_consumer_ids_changed_enable: bool,
    /// Failed consumptions before the dead letter topic.
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    pub retry_queue_nums: i32,
    /// Fixed subscriptions, kept as they came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<serde_json::Value>,
    /// Broker to read from when the consumer is far behind.
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> SubscriptionGroupConfig {
        SubscriptionGroupConfig {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: serde_json::json!({"type": "CUSTOMIZED"}),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl SubscriptionGroupConfig {
    /// A group with every setting at its default.
    pub fn new(name: &str) -> SubscriptionGroupConfig {
        SubscriptionGroupConfig { group_name: name.to_owned(), ..SubscriptionGroupConfig::default() }
    }
}
