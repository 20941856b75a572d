//! Static topics: their queues have numbers and offsets of their own, which outlive a move to another broker
//! (105, 351, 513; `config/topicQueueMapping.json`).
//!
//! A logical queue has generations, oldest first. Each stands for one physical queue of one broker; the last one is
//! the leader, which takes what is sent. Offsets of a logical queue go on from one generation to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{DataVersion, TopicConfig, or_default};

/// The scope of topics that are known everywhere; the only one that Java's tools write.
pub const SCOPE_GLOBAL: &str = "__global__";
/// What names of brokers begin with that stand for all that have a static topic.
const LOGICAL_BROKER_PREFIX: &str = "__syslo__";

/// Name that clients have for the broker of the logical queues of this scope, wherever these are.
pub fn logical_broker(scope: &str) -> String {
    let scope = match scope {
        // It loses its first two letters.
        SCOPE_GLOBAL => &SCOPE_GLOBAL[2..],
        scope => scope,
    };
    format!("{LOGICAL_BROKER_PREFIX}{scope}")
}

/// Whether this is such a name, of any scope.
pub fn is_logical_broker(name: &str) -> bool {
    name.starts_with(LOGICAL_BROKER_PREFIX)
}

fn scope_or_global<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(|| SCOPE_GLOBAL.to_owned()))
}

/// One generation of a logical queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogicQueueMappingItem {
    /// Broker that holds it.
    pub bname: String,
    /// Physical offset that it ends before; -1 while that is not decided.
    pub end_offset: i64,
    /// Number of the generation, which rises.
    pub r#gen: i32,
    /// Logical offset of its first message; -1 until the end of the generation before is known.
    pub logic_offset: i64,
    /// Number of the physical queue.
    pub queue_id: i32,
    /// Physical offset of its first message.
    pub start_offset: i64,
    /// Reserved.
    pub time_of_end: i64,
    /// Reserved.
    pub time_of_start: i64,
}

impl Default for LogicQueueMappingItem {
    fn default() -> LogicQueueMappingItem {
        LogicQueueMappingItem {
            bname: String::new(),
            end_offset: -1,
            r#gen: 0,
            logic_offset: 0,
            queue_id: 0,
            start_offset: 0,
            time_of_end: -1,
            time_of_start: -1,
        }
    }
}

impl LogicQueueMappingItem {
    /// Whether it is known where the generation begins.
    pub fn has_begun(&self) -> bool {
        self.logic_offset >= 0
    }

    /// Whether it is known where the generation ends.
    pub fn has_end(&self) -> bool {
        self.end_offset > self.start_offset
    }

    /// The logical offset of a physical one, which may lie behind the end. Whatever is before the start is the start.
    pub fn logical(&self, physical: i64) -> i64 {
        self.logic_offset.saturating_add(physical.saturating_sub(self.start_offset).max(0))
    }

    /// The same within the generation; -1 while it is not known where that begins.
    pub fn logical_within(&self, physical: i64) -> i64 {
        if !self.has_begun() {
            return -1;
        }
        let bounded = self.end_offset >= self.start_offset;
        self.logical(if bounded { physical.min(self.end_offset) } else { physical })
    }

    /// The physical offset of a logical one.
    pub fn physical(&self, logical: i64) -> i64 {
        logical.saturating_sub(self.logic_offset).saturating_add(self.start_offset)
    }

    /// The logical offset that the generation ends before, as far as that is decided, else where it begins.
    pub fn logical_end(&self) -> i64 {
        self.logic_offset.saturating_add(self.end_offset.saturating_sub(self.start_offset).max(0))
    }

    /// What clients add to the offset in a record to have its logical one.
    pub fn delta(&self) -> i64 {
        self.logic_offset.saturating_sub(self.start_offset)
    }
}

/// What a nameserver knows of a static topic on one broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicQueueMappingInfo {
    /// The broker.
    #[serde(deserialize_with = "or_default")]
    pub bname: String,
    /// Physical queues by the logical queues that the broker leads.
    #[serde(deserialize_with = "or_default")]
    pub curr_id_map: BTreeMap<i32, i32>,
    /// Reserved.
    pub dirty: bool,
    /// Rises with each change of the topic: of two brokers that claim a queue the later epoch is right.
    pub epoch: i64,
    /// Where the topic's name counts.
    #[serde(deserialize_with = "scope_or_global")]
    pub scope: String,
    /// The topic.
    #[serde(deserialize_with = "or_default")]
    pub topic: String,
    /// Logical queues of the topic on all brokers.
    pub total_queues: i32,
}

impl Default for TopicQueueMappingInfo {
    fn default() -> TopicQueueMappingInfo {
        TopicQueueMappingInfo {
            bname: String::new(),
            curr_id_map: BTreeMap::new(),
            dirty: false,
            epoch: 0,
            scope: SCOPE_GLOBAL.to_owned(),
            topic: String::new(),
            total_queues: 0,
        }
    }
}

/// What a broker knows of one of its static topics (513, 351).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicQueueMappingDetail {
    /// The broker.
    #[serde(deserialize_with = "or_default")]
    pub bname: String,
    /// Empty here; [`TopicQueueMappingDetail::info`] fills it for the nameserver.
    #[serde(deserialize_with = "or_default")]
    pub curr_id_map: BTreeMap<i32, i32>,
    /// Reserved.
    pub dirty: bool,
    /// See [`TopicQueueMappingInfo::epoch`].
    pub epoch: i64,
    /// Generations by logical queue, oldest first. Those of queues that moved away stay for a while.
    #[serde(deserialize_with = "or_default")]
    pub hosted_queues: BTreeMap<i32, Vec<LogicQueueMappingItem>>,
    /// Where the topic's name counts.
    #[serde(deserialize_with = "scope_or_global")]
    pub scope: String,
    /// The topic.
    #[serde(deserialize_with = "or_default")]
    pub topic: String,
    /// Logical queues of the topic on all brokers.
    pub total_queues: i32,
}

impl Default for TopicQueueMappingDetail {
    fn default() -> TopicQueueMappingDetail {
        TopicQueueMappingDetail {
            bname: String::new(),
            curr_id_map: BTreeMap::new(),
            dirty: false,
            epoch: 0,
            hosted_queues: BTreeMap::new(),
            scope: SCOPE_GLOBAL.to_owned(),
            topic: String::new(),
            total_queues: 0,
        }
    }
}

impl TopicQueueMappingDetail {
    /// What the nameserver is told: the queues that this broker leads.
    pub fn info(&self) -> TopicQueueMappingInfo {
        let leaders = self.hosted_queues.iter().filter_map(|(id, items)| Some((*id, items.last()?)));
        let led = leaders.filter(|(_, leader)| leader.bname == self.bname);
        TopicQueueMappingInfo {
            bname: self.bname.clone(),
            curr_id_map: led.map(|(id, leader)| (id, leader.queue_id)).collect(),
            dirty: false,
            epoch: self.epoch,
            scope: self.scope.clone(),
            topic: self.topic.clone(),
            total_queues: self.total_queues,
        }
    }
}

/// All static topics of a broker: `config/topicQueueMapping.json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicQueueMappingTable {
    /// Version of the table.
    #[serde(deserialize_with = "or_default")]
    pub data_version: DataVersion,
    /// By topic.
    #[serde(deserialize_with = "or_default")]
    pub topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingDetail>,
}

/// Settings of a topic, with its queues if it is a static one (351).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicConfigAndQueueMapping {
    /// The settings; their members stand beside the mapping.
    #[serde(flatten)]
    pub config: TopicConfig,
    /// Absent for other topics.
    #[serde(rename = "mappingDetail", default, skip_serializing_if = "Option::is_none")]
    pub mapping_detail: Option<TopicQueueMappingDetail>,
}

/// Topics of a broker and what is static among them: part of a registration (103), and the answer to 21.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigAndMappingWrapper {
    /// Version of the topics.
    #[serde(deserialize_with = "or_default")]
    pub data_version: DataVersion,
    /// Version of the static topics; registrations have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping_data_version: Option<DataVersion>,
    /// Topics by name.
    #[serde(deserialize_with = "or_default")]
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Static topics by name, for other brokers and tools.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub topic_queue_mapping_detail_map: BTreeMap<String, TopicQueueMappingDetail>,
    /// Static topics by name, for nameservers.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingInfo>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::TopicRoute;
    use crate::loose_json;
    use proptest::prelude::*;

    fn item(logic_offset: i64, start_offset: i64, end_offset: i64) -> LogicQueueMappingItem {
        LogicQueueMappingItem { logic_offset, start_offset, end_offset, ..LogicQueueMappingItem::default() }
    }

    #[test]
    fn offsets_go_both_ways_within_a_generation() {
        let open = item(10_000, 0, -1);
        assert_eq!((open.logical(0), open.logical(7), open.physical(10_007)), (10_000, 10_007, 7));
        assert_eq!((open.logical_within(7), open.logical_end(), open.delta()), (10_007, 10_000, 10_000));
        let closed = item(100, 20, 30);
        assert_eq!((closed.logical(25), closed.physical(105), closed.delta()), (105, 25, 80));
        assert_eq!(
            (closed.logical(3), closed.logical_within(3)),
            (100, 100),
            "before the start is the start"
        );
        assert_eq!(
            (closed.logical(40), closed.logical_within(40)),
            (120, 110),
            "only one of them knows the end"
        );
        assert_eq!(closed.logical_end(), 110);
    }

    #[test]
    fn a_generation_whose_begin_is_not_known_has_no_logical_offsets() {
        let new = item(-1, 0, -1);
        assert!(!new.has_begun() && !new.has_end());
        assert_eq!((new.logical_within(5), new.logical_end()), (-1, -1));
    }

    #[test]
    fn a_nameserver_is_told_of_the_queues_that_are_led_here() {
        let on = |bname: &str, queue_id| LogicQueueMappingItem {
            bname: bname.to_owned(),
            queue_id,
            ..LogicQueueMappingItem::default()
        };
        let detail = TopicQueueMappingDetail {
            bname: "a".to_owned(),
            epoch: 7,
            hosted_queues: BTreeMap::from([
                (0, vec![on("b", 5), on("a", 2)]),
                (1, vec![on("a", 1), on("b", 6)]),
                (2, Vec::new()),
            ]),
            topic: "T".to_owned(),
            total_queues: 3,
            ..TopicQueueMappingDetail::default()
        };
        let info = detail.info();
        assert_eq!(info.curr_id_map, BTreeMap::from([(0, 2)]));
        assert_eq!((info.bname.as_str(), info.epoch, info.total_queues), ("a", 7, 3));
    }

    // Written by the classes of RocketMQ 5.5.0.
    const JAVA_DETAIL: &str = r#"{"bname":"broker-a","currIdMap":{},"dirty":false,"epoch":1700000000000,"hostedQueues":{0:[{"bname":"broker-b","endOffset":-1,"gen":0,"logicOffset":0,"queueId":1,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1},{"bname":"broker-a","endOffset":-1,"gen":1,"logicOffset":10000,"queueId":0,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}],1:[{"bname":"broker-a","endOffset":-1,"gen":0,"logicOffset":0,"queueId":1,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}]},"scope":"__global__","topic":"T","totalQueues":2}"#;
    const JAVA_INFO: &str = r#"{"bname":"broker-a","currIdMap":{0:0,1:1},"dirty":false,"epoch":1700000000000,"scope":"__global__","topic":"T","totalQueues":2}"#;
    const JAVA_TOPIC: &str = r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":2}"#;
    const JAVA_VERSION: &str = r#"{"counter":3,"stateVersion":0,"timestamp":1700000000001}"#;

    fn detail() -> TopicQueueMappingDetail {
        let first = |bname: &str| LogicQueueMappingItem {
            bname: bname.to_owned(),
            queue_id: 1,
            ..LogicQueueMappingItem::default()
        };
        let second =
            LogicQueueMappingItem { r#gen: 1, queue_id: 0, logic_offset: 10_000, ..first("broker-a") };
        TopicQueueMappingDetail {
            bname: "broker-a".to_owned(),
            epoch: 1_700_000_000_000,
            hosted_queues: BTreeMap::from([
                (0, vec![first("broker-b"), second]),
                (1, vec![first("broker-a")]),
            ]),
            topic: "T".to_owned(),
            total_queues: 2,
            ..TopicQueueMappingDetail::default()
        }
    }

    /// Reads what Java wrote and compares what we write of it: the same but for quotes around numbers as keys, which
    /// Java reads.
    #[track_caller]
    fn is_as_java_writes_it<T>(java: &str, ours: &T)
    where
        T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        assert_eq!(&loose_json::read::<T>(java.as_bytes()).unwrap(), ours);
        let written = serde_json::to_string(ours).unwrap();
        assert_eq!(written, String::from_utf8(loose_json::strict(java.as_bytes()).unwrap()).unwrap());
    }

    #[test]
    fn mappings_are_read_and_written_as_java_writes_them() {
        let version = DataVersion { counter: 3, state_version: 0, timestamp: 1_700_000_000_001 };
        let topics = BTreeMap::from([("T".to_owned(), TopicConfig::new("T", 2, 6))]);
        is_as_java_writes_it(JAVA_DETAIL, &detail());
        is_as_java_writes_it(JAVA_INFO, &detail().info());
        let file =
            format!(r#"{{"dataVersion":{JAVA_VERSION},"topicQueueMappingInfoMap":{{"T":{JAVA_DETAIL}}}}}"#);
        let table = TopicQueueMappingTable {
            data_version: version,
            topic_queue_mapping_info_map: BTreeMap::from([("T".to_owned(), detail())]),
        };
        is_as_java_writes_it(&file, &table);
        let all = format!(
            r#"{{"dataVersion":{JAVA_VERSION},"mappingDataVersion":{JAVA_VERSION},"topicConfigTable":{{"T":{JAVA_TOPIC}}},"topicQueueMappingDetailMap":{{"T":{JAVA_DETAIL}}},"topicQueueMappingInfoMap":{{"T":{JAVA_INFO}}}}}"#
        );
        let wrapper = TopicConfigAndMappingWrapper {
            data_version: version,
            mapping_data_version: Some(version),
            topic_config_table: topics,
            topic_queue_mapping_detail_map: BTreeMap::from([("T".to_owned(), detail())]),
            topic_queue_mapping_info_map: BTreeMap::from([("T".to_owned(), detail().info())]),
        };
        is_as_java_writes_it(&all, &wrapper);
        let route = format!(
            r#"{{"brokerDatas":[],"filterServerTable":{{}},"queueDatas":[],"topicQueueMappingByBroker":{{"broker-a":{JAVA_INFO}}}}}"#
        );
        let mappings = BTreeMap::from([("broker-a".to_owned(), detail().info())]);
        let expected = TopicRoute { topic_queue_mapping_by_broker: Some(mappings), ..TopicRoute::default() };
        is_as_java_writes_it(&route, &expected);
    }

    #[test]
    fn settings_of_a_topic_come_with_its_mapping_or_without() {
        let config = TopicConfig::new("T", 2, 6);
        let plain = TopicConfigAndQueueMapping { config: config.clone(), mapping_detail: None };
        is_as_java_writes_it(JAVA_TOPIC, &plain);
        let java = JAVA_TOPIC.replace(r#""order""#, &format!(r#""mappingDetail":{JAVA_DETAIL},"order""#));
        let mapped = TopicConfigAndQueueMapping { config, mapping_detail: Some(detail()) };
        assert_eq!(loose_json::read::<TopicConfigAndQueueMapping>(java.as_bytes()).unwrap(), mapped);
        let written = serde_json::to_vec(&mapped).unwrap();
        assert_eq!(loose_json::read::<TopicConfigAndQueueMapping>(&written).unwrap(), mapped);
    }

    proptest! {
        #[test]
        fn no_numbers_overflow(logic: i64, start: i64, end: i64, offset: i64) {
            let item = item(logic, start, end);
            let _ = (item.logical(offset), item.logical_within(offset), item.physical(offset));
            let _ = (item.logical_end(), item.delta());
        }

        #[test]
        fn what_is_translated_comes_back(logic in 0i64..1 << 40, start in 0i64..1 << 40, ahead in 0i64..1 << 40) {
            let item = item(logic, start, -1);
            prop_assert_eq!(item.physical(item.logical(start + ahead)), start + ahead);
        }
    }
}
