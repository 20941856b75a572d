//! Routes, clusters and broker registration.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{DataVersion, TopicConfig, TopicConfigAndMappingWrapper, TopicQueueMappingInfo, or_default};

/// Where a topic lives (105).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRoute {
    /// Brokers that hold queues of the topic.
    #[serde(deserialize_with = "or_default")]
    pub broker_datas: Vec<BrokerData>,
    /// Legacy; always empty but always written, since clients read it.
    #[serde(deserialize_with = "or_default")]
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// `broker:queues;…` of an order topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    /// Queues per broker.
    #[serde(deserialize_with = "or_default")]
    pub queue_datas: Vec<QueueData>,
    /// Logical queues by broker, if the topic is a static one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_by_broker: Option<BTreeMap<String, TopicQueueMappingInfo>>,
}

/// A broker group: one name, one address per broker id; id 0 is the master.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// Addresses by broker id. Keys are written quoted, which every official client reads (wire.md §12.2).
    #[serde(deserialize_with = "or_default")]
    pub broker_addrs: BTreeMap<i64, String>,
    /// Name of the group.
    pub broker_name: String,
    /// Cluster of the group.
    pub cluster: String,
    /// Whether a slave may act while there is no master.
    #[serde(deserialize_with = "or_default")]
    pub enable_acting_master: bool,
    /// Zone, when the broker named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
}

/// Queues of a topic on one broker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    /// Broker group.
    pub broker_name: String,
    /// Permission bits: 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// Queues consumers read.
    pub read_queue_nums: i32,
    /// Unit flags of the topic.
    #[serde(deserialize_with = "or_default")]
    pub topic_sys_flag: i32,
    /// Queues producers write.
    pub write_queue_nums: i32,
}

/// All brokers and clusters (106).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    /// Broker groups by name.
    #[serde(deserialize_with = "or_default")]
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Broker group names by cluster.
    #[serde(deserialize_with = "or_default")]
    pub cluster_addr_table: BTreeMap<String, BTreeSet<String>>,
}

/// What a broker registers (103).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    /// Legacy; empty.
    #[serde(deserialize_with = "or_default")]
    pub filter_server_list: Vec<String>,
    /// The broker's topics.
    #[serde(deserialize_with = "or_default")]
    pub topic_config_serialize_wrapper: TopicConfigAndMappingWrapper,
}

/// Topics of a broker with their version: `topics.json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigWrapper {
    /// Version of the table.
    #[serde(deserialize_with = "or_default")]
    pub data_version: DataVersion,
    /// Topics by name.
    #[serde(deserialize_with = "or_default")]
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}

/// Members of a broker group (901).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerMemberGroup {
    /// Addresses by broker id.
    pub broker_addrs: BTreeMap<i64, String>,
    /// Name of the group.
    pub broker_name: String,
    /// Cluster of the group.
    pub cluster: String,
}
