//! Groups: which there are, their settings, who is in them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wire::body::{
    ConsumerConnection, GroupList, ProducerConnection, SubscriptionGroupConfig, SubscriptionGroupWrapper,
    TopicList,
};
use wire::code::{request, response};
use wire::names::retry_topic;

use super::{Admin, json};
use crate::error::Error;
use crate::fields::Fields;

/// A producer that is connected to a broker (328).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerInfo {
    /// Id of its client.
    pub client_id: String,
    /// Its address as Java writes one, with a slash before it.
    #[serde(rename = "remoteIP")]
    pub remote_ip: String,
    /// Language of its client.
    pub language: String,
    /// Version of its client, as a number.
    pub version: i32,
    /// When it was last heard of, Unix milliseconds.
    pub last_update_timestamp: i64,
}

#[derive(Deserialize)]
struct ProducerTable {
    #[serde(default)]
    data: Option<BTreeMap<String, Vec<ProducerInfo>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupConfigs<'a> {
    group_config_list: &'a [SubscriptionGroupConfig],
}

/// How a group reads a topic, where its members let brokers say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestMode {
    /// Members pull; each queue is one member's.
    Pull,
    /// Members pop.
    Pop {
        /// How many other members share the queues of one; 0 for all members and all queues.
        share: u32,
    },
}

impl Admin {
    /// Consumer groups of one broker with their settings, by name.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn groups(&self, address: &str) -> Result<BTreeMap<String, SubscriptionGroupConfig>, Error> {
        let code = request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG;
        let wrapper: SubscriptionGroupWrapper = self.get(address, code, Fields::new()).await?;
        Ok(wrapper.subscription_group_table)
    }

    /// Settings of a consumer group at one broker.
    ///
    /// # Errors
    /// When the broker does not have it.
    pub async fn group_config(&self, address: &str, group: &str) -> Result<SubscriptionGroupConfig, Error> {
        let fields = Fields::new().text("group", group);
        match self.get(address, request::GET_SUBSCRIPTIONGROUP_CONFIG, fields).await {
            // Brokers of 4.9 tell all or nothing.
            Err(unknown) if unknown.broker_code() == Some(response::REQUEST_CODE_NOT_SUPPORTED) => {
                self.groups(address).await?.remove(group).ok_or(unknown)
            }
            other => other,
        }
    }

    /// Creates a consumer group at every master of a cluster, or changes it there.
    ///
    /// # Errors
    /// At the first broker that refuses; those before it have the group.
    pub async fn create_group(&self, cluster: &str, config: &SubscriptionGroupConfig) -> Result<(), Error> {
        for address in self.masters(cluster).await? {
            self.update_group(&address, config).await?;
        }
        Ok(())
    }

    /// Creates a consumer group at one broker, or changes it.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn update_group(&self, address: &str, config: &SubscriptionGroupConfig) -> Result<(), Error> {
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        self.shared.ask(address, code, &Fields::new(), &json(config)?).await.map(drop)
    }

    /// Creates or changes many consumer groups at one broker with one request, which brokers before 5.3 do not know.
    ///
    /// # Errors
    /// When the broker refuses one of them.
    pub async fn update_groups(
        &self,
        address: &str,
        configs: &[SubscriptionGroupConfig],
    ) -> Result<(), Error> {
        let body = json(&GroupConfigs { group_config_list: configs })?;
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
        self.shared.ask(address, code, &Fields::new(), &body).await.map(drop)
    }

    /// Says, at every master of a cluster, how a group reads a topic. Members follow at their next rebalance, those
    /// that [let brokers say so](crate::ConsumerBuilder::rebalance_by_brokers).
    ///
    /// # Errors
    /// At the first broker that refuses, which those before 5.0 do; those before it have the mode.
    pub async fn set_request_mode(
        &self,
        cluster: &str,
        topic: &str,
        group: &str,
        mode: RequestMode,
    ) -> Result<(), Error> {
        for address in self.masters(cluster).await? {
            self.set_request_mode_at(&address, topic, group, mode).await?;
        }
        Ok(())
    }

    /// The same at one broker.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn set_request_mode_at(
        &self,
        address: &str,
        topic: &str,
        group: &str,
        mode: RequestMode,
    ) -> Result<(), Error> {
        let (name, share) = match mode {
            RequestMode::Pull => ("PULL", 0),
            RequestMode::Pop { share } => ("POP", share),
        };
        let body = json(&serde_json::json!({
            "topic": topic, "consumerGroup": group, "mode": name, "popShareQueueNum": share,
        }))?;
        let code = request::SET_MESSAGE_REQUEST_MODE;
        self.shared.ask(address, code, &Fields::new(), &body).await.map(drop)
    }

    /// Deletes a consumer group at every master of a cluster, with its offsets if wanted. Its retry and dead letter
    /// topics stay; [`delete_topic`](Admin::delete_topic) removes them.
    ///
    /// # Errors
    /// At the first broker that refuses.
    pub async fn delete_group(&self, cluster: &str, group: &str, with_offsets: bool) -> Result<(), Error> {
        for address in self.masters(cluster).await? {
            self.delete_group_at(&address, group, with_offsets).await?;
        }
        Ok(())
    }

    /// Deletes a consumer group at one broker.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn delete_group_at(&self, address: &str, group: &str, with_offsets: bool) -> Result<(), Error> {
        let fields = Fields::new()
            .text("groupName", group)
            .flag("cleanOffset", with_offsets)
            // The same field's name before 5.0.
            .flag("removeOffset", with_offsets);
        self.ask(address, request::DELETE_SUBSCRIPTIONGROUP, fields).await
    }

    /// Groups that have read a topic.
    ///
    /// # Errors
    /// When a broker does not answer or refuses.
    pub async fn groups_of_topic(&self, topic: &str) -> Result<BTreeSet<String>, Error> {
        let mut groups = BTreeSet::new();
        for address in self.fresh_route(topic).await?.addresses() {
            let fields = Fields::new().text("topic", topic);
            let list: GroupList = self.get(address, request::QUERY_TOPIC_CONSUME_BY_WHO, fields).await?;
            groups.extend(list.group_list);
        }
        Ok(groups)
    }

    /// Topics that a group has read, as one broker knows.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn topics_of_group(&self, address: &str, group: &str) -> Result<Vec<String>, Error> {
        let fields = Fields::new().text("group", group);
        let list: TopicList = self.get(address, request::QUERY_TOPICS_BY_CONSUMER, fields).await?;
        Ok(list.topic_list)
    }

    /// Members of a consumer group that are online, over all brokers; `None` when there are none.
    ///
    /// # Errors
    /// When the group is not known, or a broker does not answer.
    pub async fn consumers(&self, group: &str) -> Result<Option<ConsumerConnection>, Error> {
        let mut all: Option<ConsumerConnection> = None;
        for address in self.brokers_of_group(group).await? {
            let fields = Fields::new().text("consumerGroup", group);
            let one: ConsumerConnection =
                match self.get(&address, request::GET_CONSUMER_CONNECTION_LIST, fields).await {
                    Err(Error::Refused { code: response::CONSUMER_NOT_ONLINE, .. }) => continue,
                    other => other?,
                };
            match &mut all {
                None => all = Some(one),
                Some(all) => {
                    all.connection_set.extend(one.connection_set);
                    all.subscription_table.extend(one.subscription_table);
                }
            }
        }
        if let Some(all) = &mut all {
            // A member is connected to every broker.
            all.connection_set.sort_by(|a, b| a.client_id.cmp(&b.client_id));
            all.connection_set.dedup_by(|a, b| a.client_id == b.client_id);
        }
        Ok(all)
    }

    /// Members of a consumer group that are online at one broker.
    ///
    /// # Errors
    /// When the group has none there.
    pub async fn consumers_at(&self, address: &str, group: &str) -> Result<ConsumerConnection, Error> {
        let fields = Fields::new().text("consumerGroup", group);
        self.get(address, request::GET_CONSUMER_CONNECTION_LIST, fields).await
    }

    /// Producers of a group that are online at one broker.
    ///
    /// # Errors
    /// When the group has none there.
    pub async fn producers_at(&self, address: &str, group: &str) -> Result<ProducerConnection, Error> {
        let fields = Fields::new().text("producerGroup", group);
        self.get(address, request::GET_PRODUCER_CONNECTION_LIST, fields).await
    }

    /// All producers that are connected to one broker, by group.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn all_producers(&self, address: &str) -> Result<BTreeMap<String, Vec<ProducerInfo>>, Error> {
        let table: ProducerTable = self.get(address, request::GET_ALL_PRODUCER_INFO, Fields::new()).await?;
        Ok(table.data.unwrap_or_default())
    }

    /// Producers of a group that are online, over the brokers of a topic.
    ///
    /// # Errors
    /// When a broker does not answer. A broker that knows no such producer is passed over.
    pub async fn producers(&self, group: &str, topic: &str) -> Result<ProducerConnection, Error> {
        let mut all = ProducerConnection::default();
        for address in self.fresh_route(topic).await?.addresses() {
            let fields = Fields::new().text("producerGroup", group);
            match self.get::<ProducerConnection>(address, request::GET_PRODUCER_CONNECTION_LIST, fields).await
            {
                Ok(one) => all.connection_set.extend(one.connection_set),
                Err(Error::Refused { .. }) => (),
                Err(error) => return Err(error),
            }
        }
        all.connection_set.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        all.connection_set.dedup_by(|a, b| a.client_id == b.client_id);
        Ok(all)
    }

    /// Brokers of a group: those of its retry topic, and all masters for a group that never had one.
    pub(super) async fn brokers_of_group(&self, group: &str) -> Result<Vec<String>, Error> {
        match self.fresh_route(&retry_topic(group)).await {
            Ok(route) => Ok(route.addresses().into_iter().map(str::to_owned).collect()),
            Err(Error::NoRoute { .. }) => self.masters("").await,
            Err(error) => Err(error),
        }
    }
}
