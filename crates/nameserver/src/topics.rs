//! Requests about topics and the key-value table: routes, lists, deletion, order topics.

use remoting::Request;
use wire::body::{TopicList, TopicRoute};
use wire::code::request::{GET_HAS_UNIT_SUB_TOPIC_LIST, GET_UNIT_TOPIC_LIST};
use wire::code::response::{QUERY_NOT_FOUND, SYSTEM_ERROR, TOPIC_NOT_EXIST};
use wire::loose_json;

use crate::brokers::ZONE_NAME;
use crate::kv::{KvError, ORDER_TOPICS};
use crate::registration::TOPIC_BYTES_MAX;
use crate::reply::Reply;
use crate::route::{FLAG_UNIT, FLAG_UNIT_SUB, keep_zone};
use crate::tables::Tables;
use crate::{Nameserver, missing};

/// A client that wants its zone only.
const ZONE_MODE: &str = "__ZONE_MODE";

impl Nameserver {
    pub(crate) fn route(&self, request: &Request<'_>) -> Reply {
        let Some(topic) = request.field("topic") else { return missing("topic") };
        let settings = self.settings.load();
        if settings.need_wait_for_service && self.started.elapsed() < settings.wait_seconds_for_service {
            return Reply::failure(SYSTEM_ERROR, "name server not ready");
        }
        let Some(mut route) = self.tables.read().route(topic, settings.support_acting_master) else {
            return unknown_topic(topic);
        };
        if settings.order_message_enable {
            route.order_topic_conf = self.kv.get(ORDER_TOPICS, topic);
        }
        let zone = request.field(ZONE_NAME).filter(|zone| !zone.trim().is_empty());
        if let Some(zone) = zone
            && request.header.fields.flag(ZONE_MODE) == Some(true)
        {
            keep_zone(&mut route, zone);
        }
        Reply::json(&route)
    }

    pub(crate) fn all_topics(&self) -> Reply {
        if !self.settings.load().enable_all_topic_list {
            return disabled();
        }
        self.listed(|tables| tables.topic_names(|_| true))
    }

    pub(crate) fn topics_by_cluster(&self, request: &Request<'_>) -> Reply {
        if !self.settings.load().enable_topic_list {
            return disabled();
        }
        let cluster = request.field("cluster").unwrap_or_default();
        self.listed(|tables| tables.topics_of_cluster(cluster))
    }

    pub(crate) fn unit_topics(&self, code: i32) -> Reply {
        if !self.settings.load().enable_topic_list {
            return disabled();
        }
        let wanted = |flags: i32| match code {
            GET_UNIT_TOPIC_LIST => flags & FLAG_UNIT != 0,
            GET_HAS_UNIT_SUB_TOPIC_LIST => flags & FLAG_UNIT_SUB != 0,
            _ => flags & FLAG_UNIT_SUB != 0 && flags & FLAG_UNIT == 0,
        };
        self.listed(|tables| tables.topics_flagged(wanted))
    }

    /// A list of topics, sorted. There may be millions of them: sorting and writing them keeps nobody from the tables.
    fn listed(&self, names: impl FnOnce(&Tables) -> Vec<String>) -> Reply {
        let mut topic_list = names(&self.tables.read());
        topic_list.sort_unstable();
        Reply::json(&TopicList { broker_addr: None, topic_list })
    }

    pub(crate) fn delete_topic(&self, request: &Request<'_>) -> Reply {
        let Some(topic) = request.field("topic") else { return missing("topic") };
        let cluster = request.field("clusterName").filter(|cluster| !cluster.is_empty());
        self.tables.write().delete_topic(topic, cluster);
        tracing::info!(topic, cluster, "topic deleted");
        Reply::success()
    }

    /// Java answers SUCCESS whether or not all brokers of the topic are known, and tools rely on no other code.
    pub(crate) fn register_topic(&self, request: &Request<'_>) -> Reply {
        let Some(topic) = request.field("topic") else { return missing("topic") };
        if request.body.is_empty() {
            return Reply::success();
        }
        match loose_json::read::<TopicRoute>(request.body) {
            Ok(route) if route.queue_datas.is_empty() || topic.len() > TOPIC_BYTES_MAX => (),
            Ok(route) => {
                let added = self.tables.write().add_topic(topic, &route.queue_datas);
                if let Err(refused) = added {
                    tracing::warn!(topic, "topic not added: {refused}");
                }
            }
            Err(error) => return Reply::failure(SYSTEM_ERROR, error),
        }
        Reply::success()
    }

    pub(crate) fn put_kv(&self, request: &Request<'_>) -> Reply {
        let (Some(namespace), Some(key)) = (request.field("namespace"), request.field("key")) else {
            return Reply::failure(SYSTEM_ERROR, "namespace or key is null");
        };
        // The binary dialect cannot carry an empty value.
        let value = request.field("value").unwrap_or_default();
        tracing::info!(namespace, key, "key-value entry set");
        changed(self.kv.put(namespace, key, value))
    }

    pub(crate) fn get_kv(&self, request: &Request<'_>) -> Reply {
        let namespace = request.field("namespace").unwrap_or_default();
        let key = request.field("key").unwrap_or_default();
        match self.kv.get(namespace, key) {
            Some(value) => Reply::success().with_field("value", value),
            None => {
                let remark = format!("No config item, Namespace: {namespace} Key: {key}");
                Reply::failure(QUERY_NOT_FOUND, remark)
            }
        }
    }

    pub(crate) fn delete_kv(&self, request: &Request<'_>) -> Reply {
        let namespace = request.field("namespace").unwrap_or_default();
        let key = request.field("key").unwrap_or_default();
        tracing::info!(namespace, key, "key-value entry deleted");
        changed(self.kv.delete(namespace, key))
    }

    pub(crate) fn kv_namespace(&self, request: &Request<'_>) -> Reply {
        let namespace = request.field("namespace").unwrap_or_default();
        match self.kv.namespace(namespace) {
            Some(table) => Reply::json(&table),
            None => Reply::failure(QUERY_NOT_FOUND, format!("No config item, Namespace: {namespace}")),
        }
    }
}

fn changed(result: Result<(), KvError>) -> Reply {
    match result {
        Ok(()) => Reply::success(),
        Err(error) => {
            tracing::error!("key-value table: {error}");
            Reply::failure(SYSTEM_ERROR, error)
        }
    }
}

fn disabled() -> Reply {
    Reply::failure(SYSTEM_ERROR, "disable")
}

/// Clients take this code, and no other, for "not there": they fall back to the template topic or keep polling.
fn unknown_topic(topic: &str) -> Reply {
    let remark = format!(
        "No topic route info in name server for the topic: {topic}\n\
         See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    );
    Reply::failure(TOPIC_NOT_EXIST, remark)
}
