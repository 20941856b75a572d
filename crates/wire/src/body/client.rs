//! What clients send about themselves: heartbeats, subscriptions, queue locks.

use serde::{Deserialize, Serialize};

use super::{MessageQueue, loose_number, loose_numbers, or_default};

/// A client's heartbeat (34).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeartbeatData {
    /// Id of the client instance.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// Its consumer groups.
    #[serde(deserialize_with = "or_default")]
    pub consumer_data_set: Vec<ConsumerData>,
    /// Non-zero selects the second version of heartbeats.
    #[serde(deserialize_with = "loose_number")]
    pub heartbeat_fingerprint: i32,
    /// Its producer groups.
    #[serde(deserialize_with = "or_default")]
    pub producer_data_set: Vec<ProducerData>,
    /// Second version: subscriptions are left out because they did not change.
    #[serde(deserialize_with = "or_default")]
    pub without_sub: bool,
}

/// One consumer group of a heartbeat.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerData {
    /// Where a new group starts.
    #[serde(deserialize_with = "or_default")]
    pub consume_from_where: String,
    /// `CONSUME_ACTIVELY`, `CONSUME_PASSIVELY` or `CONSUME_POP`.
    #[serde(deserialize_with = "or_default")]
    pub consume_type: String,
    /// Group.
    pub group_name: String,
    /// `CLUSTERING` or `BROADCASTING`.
    #[serde(deserialize_with = "or_default")]
    pub message_model: String,
    /// Topics and filters.
    #[serde(deserialize_with = "or_default")]
    pub subscription_data_set: Vec<SubscriptionData>,
    /// Unit mode.
    #[serde(deserialize_with = "or_default")]
    pub unit_mode: bool,
}

/// One producer group of a heartbeat.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerData {
    /// Group.
    pub group_name: String,
}

/// A subscription to one topic.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// Class filters are refused everywhere.
    #[serde(deserialize_with = "or_default")]
    pub class_filter_mode: bool,
    /// Java hashes of the tags.
    #[serde(deserialize_with = "loose_numbers")]
    pub code_set: Vec<i32>,
    /// `TAG` or `SQL92`.
    #[serde(deserialize_with = "tag_type")]
    pub expression_type: String,
    /// `*`, tags joined by `||`, or SQL.
    #[serde(deserialize_with = "or_default")]
    pub sub_string: String,
    /// When the subscription was made: milliseconds from Java clients, nanoseconds from Go's.
    #[serde(deserialize_with = "loose_number")]
    pub sub_version: i64,
    /// The tags.
    #[serde(deserialize_with = "or_default")]
    pub tags_set: Vec<String>,
    /// Topic.
    pub topic: String,
}

fn tag_type<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(|| "TAG".to_owned()))
}

/// Members of a consumer group (38).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerIdList {
    /// Client ids.
    #[serde(deserialize_with = "or_default")]
    pub consumer_id_list: Vec<String>,
}

/// Queues to lock or unlock (41, 42).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatch {
    /// Client that wants them.
    pub client_id: String,
    /// Its group.
    pub consumer_group: String,
    /// The queues.
    #[serde(deserialize_with = "or_default")]
    pub mq_set: Vec<MessageQueue>,
    /// Not to be asked of other brokers.
    #[serde(deserialize_with = "or_default")]
    pub only_this_broker: bool,
}

/// Queues that a client holds (answer to 41).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LockedQueues {
    /// The queues.
    #[serde(rename = "lockOKMQSet", default, deserialize_with = "or_default")]
    pub locked: Vec<MessageQueue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_go_client_quotes_its_tag_hashes() {
        let text = r#"{"codeSet":["2598919","-7",5],"expressionType":null,"subVersion":1795283141459422066,"topic":"T"}"#;
        let data: SubscriptionData = serde_json::from_str(text).unwrap();
        assert_eq!(data.code_set, [2_598_919, -7, 5]);
        assert_eq!((data.sub_version, data.expression_type.as_str()), (1_795_283_141_459_422_066, "TAG"));
        assert!(serde_json::from_str::<SubscriptionData>(r#"{"codeSet":["x"]}"#).is_err());
        assert!(serde_json::from_str::<SubscriptionData>(r#"{"codeSet":[99999999999]}"#).is_err());
    }
}
