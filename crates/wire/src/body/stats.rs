//! How much there is and how far consumers have come (202, 208, 303, 315, 317), and who is connected (203, 204).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{MessageQueue, SubscriptionData, TopicConfig, or_default};
use crate::body::{DataVersion, SubscriptionGroupConfig};

/// Reads a table keyed by queues, after [`crate::loose_json::strict`] has made texts of the keys.
fn queue_keyed<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<MessageQueue, V>, D::Error> {
    let table = Option::<BTreeMap<String, V>>::deserialize(deserializer)?.unwrap_or_default();
    let keyed = |(key, value): (String, V)| Ok((serde_json::from_str(&key)?, value));
    table.into_iter().map(keyed).collect::<Result<_, serde_json::Error>>().map_err(serde::de::Error::custom)
}

/// Where a queue begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicOffset {
    /// Store time of the newest message, Unix milliseconds; 0 when there is none.
    pub last_update_timestamp: i64,
    /// One behind the newest message.
    pub max_offset: i64,
    /// The oldest message.
    pub min_offset: i64,
}

/// How much a topic holds (202).
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStatsTable {
    /// By queue.
    #[serde(deserialize_with = "queue_keyed")]
    pub offset_table: BTreeMap<MessageQueue, TopicOffset>,
    /// Messages per second that come in; brokers of 4.9 do not say.
    #[serde(deserialize_with = "or_default")]
    pub topic_put_tps: f64,
}

/// Where a group is in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OffsetWrapper {
    /// One behind the newest message.
    pub broker_offset: i64,
    /// The next message that the group has not finished.
    pub consumer_offset: i64,
    /// Store time of the last finished message, Unix milliseconds; 0 when unknown.
    pub last_timestamp: i64,
    /// The next message that was not handed out; brokers of 4.9 do not say.
    pub pull_offset: i64,
}

/// How far a group has come (208).
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    /// Messages per second that go out.
    #[serde(deserialize_with = "or_default")]
    pub consume_tps: f64,
    /// By queue.
    #[serde(deserialize_with = "queue_keyed")]
    pub offset_table: BTreeMap<MessageQueue, OffsetWrapper>,
}

impl ConsumeStats {
    /// Messages that the group has not finished.
    pub fn behind(&self) -> i64 {
        let behind = |offset: &OffsetWrapper| offset.broker_offset.saturating_sub(offset.consumer_offset);
        self.offset_table.values().map(behind).fold(0, i64::saturating_add)
    }
}

/// How far all groups of a broker have come (317).
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStatsList {
    /// Broker that answers.
    #[serde(deserialize_with = "or_default")]
    pub broker_addr: String,
    /// One group and its topics each.
    #[serde(deserialize_with = "or_default")]
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    /// Messages not finished in all.
    #[serde(deserialize_with = "or_default")]
    pub total_diff: i64,
    /// Messages handed out and not finished.
    #[serde(deserialize_with = "or_default")]
    pub total_inflight_diff: i64,
}

/// New offsets of a group (answer to 222, body of 220).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBody {
    /// By queue.
    #[serde(deserialize_with = "queue_keyed")]
    pub offset_table: BTreeMap<MessageQueue, i64>,
}

/// One client that is connected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// Address as the broker sees it.
    #[serde(deserialize_with = "or_default")]
    pub client_addr: String,
    /// Id that it chose.
    #[serde(deserialize_with = "or_default")]
    pub client_id: String,
    /// `JAVA`, `GO` and so on.
    #[serde(deserialize_with = "or_default")]
    pub language: String,
    /// Protocol version.
    pub version: i32,
}

/// Members of a consumer group with what they said of themselves (203).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnection {
    /// The members.
    #[serde(deserialize_with = "or_default")]
    pub connection_set: Vec<Connection>,
    /// Where a new group starts.
    #[serde(deserialize_with = "or_default")]
    pub consume_from_where: String,
    /// `CONSUME_ACTIVELY`, `CONSUME_PASSIVELY` or `CONSUME_POP`.
    #[serde(deserialize_with = "or_default")]
    pub consume_type: String,
    /// `CLUSTERING` or `BROADCASTING`.
    #[serde(deserialize_with = "or_default")]
    pub message_model: String,
    /// By topic.
    #[serde(deserialize_with = "or_default")]
    pub subscription_table: BTreeMap<String, SubscriptionData>,
}

/// Producers of a group (204).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerConnection {
    /// The members.
    #[serde(deserialize_with = "or_default")]
    pub connection_set: Vec<Connection>,
}

/// Consumer groups of a broker (201).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupWrapper {
    /// Version of the table.
    #[serde(deserialize_with = "or_default")]
    pub data_version: DataVersion,
    /// By name.
    #[serde(deserialize_with = "or_default")]
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// A list of consumer groups (300).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupList {
    /// The groups.
    #[serde(deserialize_with = "or_default")]
    pub group_list: Vec<String>,
}

/// Topics to create with one request (18).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigList {
    /// The topics.
    pub topic_config_list: Vec<TopicConfig>,
}

/// When a group reads what was written, queue by queue (303).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueTimeSpan {
    /// The queue.
    pub message_queue: MessageQueue,
    /// Store time of the oldest message, Unix milliseconds; -1 when there is none.
    #[serde(default)]
    pub min_time_stamp: i64,
    /// Store time of the newest message; -1 when there is none.
    #[serde(default)]
    pub max_time_stamp: i64,
    /// Store time of the last finished message; -1 when unknown.
    #[serde(default)]
    pub consume_time_stamp: i64,
    /// How long the next message has been waiting, in milliseconds.
    #[serde(default)]
    pub delay_time: i64,
}

/// The answer to 303.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueTimeSpans {
    /// By queue.
    #[serde(deserialize_with = "or_default")]
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// One statistic over one window.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerStatsItem {
    /// What was counted.
    pub sum: i64,
    /// Per second.
    pub tps: f64,
    /// Per occasion.
    pub avgpt: f64,
}

/// One statistic over a minute, an hour and a day (315).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStatsData {
    /// Over the last minute.
    #[serde(deserialize_with = "or_default")]
    pub stats_minute: BrokerStatsItem,
    /// Over the last hour.
    #[serde(deserialize_with = "or_default")]
    pub stats_hour: BrokerStatsItem,
    /// Over the last day.
    #[serde(deserialize_with = "or_default")]
    pub stats_day: BrokerStatsItem,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loose_json;

    #[test]
    fn tables_with_queues_as_keys_are_read_in_the_loose_form() {
        let body = br#"{"consumeTps":1.5,"offsetTable":{{"brokerName":"b","queueId":2,"topic":"T"}:{"brokerOffset":9,"consumerOffset":4,"lastTimestamp":7}}}"#;
        let stats: ConsumeStats = loose_json::read(body).unwrap();
        let queue = MessageQueue { broker_name: "b".into(), queue_id: 2, topic: "T".into() };
        let offset = stats.offset_table[&queue];
        assert_eq!((offset.consumer_offset, offset.pull_offset, stats.behind()), (4, 0, 5));
        assert!(loose_json::read::<ConsumeStats>(br#"{"offsetTable":{"x":{}}}"#).is_err());
        assert_eq!(loose_json::read::<TopicStatsTable>(b"{}").unwrap(), TopicStatsTable::default());
    }
}
