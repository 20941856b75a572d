//! Topics: which there are, their settings, their size.

use std::collections::BTreeMap;

use wire::body::{
    TopicConfig, TopicConfigAndQueueMapping, TopicConfigList, TopicConfigWrapper, TopicList, TopicStatsTable,
};
use wire::code::{request, response};

use super::{Admin, json};
use crate::error::Error;
use crate::fields::Fields;
use crate::route::Route;
use crate::shared::decode;

impl Admin {
    /// All topics that the name servers know, retry topics and those of the system too.
    ///
    /// # Errors
    /// When no name server answers.
    pub async fn topics(&self) -> Result<Vec<String>, Error> {
        self.names_list(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, Fields::new()).await
    }

    /// Topics of one cluster.
    ///
    /// # Errors
    /// When no name server answers.
    pub async fn topics_of_cluster(&self, cluster: &str) -> Result<Vec<String>, Error> {
        self.names_list(request::GET_TOPICS_BY_CLUSTER, Fields::new().text("cluster", cluster)).await
    }

    /// Topics of the system, as the name servers know them.
    ///
    /// # Errors
    /// When no name server answers.
    pub async fn system_topics(&self) -> Result<Vec<String>, Error> {
        self.names_list(request::GET_SYSTEM_TOPIC_LIST_FROM_NS, Fields::new()).await
    }

    async fn names_list(&self, code: i32, fields: Fields<'_>) -> Result<Vec<String>, Error> {
        let (server, answer) = self.shared.ask_names(code, &fields, &[]).await?;
        let mut list = decode::<TopicList>(&server, &answer)?.topic_list;
        list.sort();
        Ok(list)
    }

    /// Where a topic lives, as the name servers say now.
    ///
    /// # Errors
    /// [`Error::NoRoute`] when no broker has it.
    pub async fn topic_route(&self, topic: &str) -> Result<Route, Error> {
        Ok((*self.fresh_route(topic).await?).clone())
    }

    /// Settings of a topic at one broker.
    ///
    /// # Errors
    /// When the broker does not have it.
    pub async fn topic_config(&self, address: &str, topic: &str) -> Result<TopicConfig, Error> {
        match self.get(address, request::GET_TOPIC_CONFIG, Fields::new().text("topic", topic)).await {
            // Brokers of 4.9 tell all or nothing.
            Err(unknown) if unknown.broker_code() == Some(response::REQUEST_CODE_NOT_SUPPORTED) => {
                self.topic_configs(address).await?.remove(topic).ok_or(unknown)
            }
            other => other,
        }
    }

    /// Settings of a topic at one broker, with its queues if it is a static topic; `None` when the broker does not have
    /// it.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn topic_with_mapping(
        &self,
        address: &str,
        topic: &str,
    ) -> Result<Option<TopicConfigAndQueueMapping>, Error> {
        let fields = Fields::new().text("topic", topic).flag("lo", true);
        match self.get(address, request::GET_TOPIC_CONFIG, fields).await {
            Err(absent) if absent.broker_code() == Some(response::TOPIC_NOT_EXIST) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Creates a static topic at one broker, or changes what it knows of its queues. `force` keeps the broker from
    /// comparing that with what it knew.
    ///
    /// # Errors
    /// When it is no static topic, or when the broker refuses.
    pub async fn update_static_topic(
        &self,
        address: &str,
        topic: &TopicConfigAndQueueMapping,
        force: bool,
    ) -> Result<(), Error> {
        let TopicConfigAndQueueMapping { config, mapping_detail: Some(detail) } = topic else {
            let name = &topic.config.topic_name;
            return Err(Error::Illegal(format!("topic \"{name}\" is no static topic: it has no mapping")));
        };
        let fields = Self::settings_of(config).flag("force", force);
        let code = request::UPDATE_AND_CREATE_STATIC_TOPIC;
        self.shared.ask(address, code, &fields, &json(detail)?).await.map(drop)
    }

    /// Settings of all topics of one broker, by name.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn topic_configs(&self, address: &str) -> Result<BTreeMap<String, TopicConfig>, Error> {
        let wrapper: TopicConfigWrapper =
            self.get(address, request::GET_ALL_TOPIC_CONFIG, Fields::new()).await?;
        Ok(wrapper.topic_config_table)
    }

    /// Creates a topic at every master of a cluster, or changes it there.
    ///
    /// # Errors
    /// At the first broker that refuses; those before it have the topic.
    pub async fn create_topic(&self, cluster: &str, config: &TopicConfig) -> Result<(), Error> {
        for address in self.masters(cluster).await? {
            self.update_topic(&address, config).await?;
        }
        Ok(())
    }

    /// Creates a topic at one broker, or changes it. Attributes are added or changed, never removed: an attribute is
    /// removed by [`update_topic_attributes`](Admin::update_topic_attributes).
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn update_topic(&self, address: &str, config: &TopicConfig) -> Result<(), Error> {
        let attributes: Vec<String> =
            config.attributes.iter().map(|(name, value)| format!("+{name}={value}")).collect();
        self.update_topic_attributes(address, config, &attributes.join(",")).await
    }

    /// The same with changes of attributes as text: `+name=value,-name`.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn update_topic_attributes(
        &self,
        address: &str,
        config: &TopicConfig,
        attributes: &str,
    ) -> Result<(), Error> {
        let fields =
            Self::settings_of(config).maybe("attributes", Some(attributes).filter(|text| !text.is_empty()));
        self.ask(address, request::UPDATE_AND_CREATE_TOPIC, fields).await
    }

    fn settings_of(config: &TopicConfig) -> Fields<'_> {
        Fields::new()
            .text("topic", config.topic_name.as_str())
            .text("defaultTopic", wire::names::AUTO_CREATE_TOPIC)
            .number("readQueueNums", config.read_queue_nums)
            .number("writeQueueNums", config.write_queue_nums)
            .number("perm", config.perm)
            .text("topicFilterType", config.topic_filter_type.as_str())
            .number("topicSysFlag", config.topic_sys_flag)
            .flag("order", config.order)
    }

    /// Creates many topics at one broker with one request, which brokers before 5.3 do not know.
    ///
    /// # Errors
    /// When the broker refuses one of them.
    pub async fn update_topics(&self, address: &str, configs: &[TopicConfig]) -> Result<(), Error> {
        let body = json(&TopicConfigList { topic_config_list: configs.to_vec() })?;
        let code = request::UPDATE_AND_CREATE_TOPIC_LIST;
        self.shared.ask(address, code, &Fields::new(), &body).await.map(drop)
    }

    /// Deletes a topic with its messages: at every broker of a cluster first, then at every name server.
    ///
    /// # Errors
    /// At the first server that refuses or does not answer.
    pub async fn delete_topic(&self, cluster: &str, topic: &str) -> Result<(), Error> {
        for address in self.brokers(cluster).await? {
            self.delete_topic_at(&address, topic).await?;
        }
        self.forget_topic(cluster, topic).await
    }

    /// Deletes a topic with its messages at one broker.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn delete_topic_at(&self, address: &str, topic: &str) -> Result<(), Error> {
        self.ask(address, request::DELETE_TOPIC_IN_BROKER, Fields::new().text("topic", topic)).await
    }

    /// Where every queue of a topic begins and ends, over all brokers that have it.
    ///
    /// # Errors
    /// When a broker does not answer or refuses.
    pub async fn topic_stats(&self, topic: &str) -> Result<TopicStatsTable, Error> {
        let route = self.fresh_route(topic).await?;
        let mut all = TopicStatsTable::default();
        for address in route.addresses() {
            let one = self.topic_stats_at(address, topic).await?;
            all.offset_table.extend(one.offset_table);
            all.topic_put_tps += one.topic_put_tps;
        }
        self.logical_extents(&route, &mut all).await?;
        Ok(all)
    }

    /// The same at one broker, with the numbers and offsets that its queues have there.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn topic_stats_at(&self, address: &str, topic: &str) -> Result<TopicStatsTable, Error> {
        self.get(address, request::GET_TOPIC_STATS_INFO, Fields::new().text("topic", topic)).await
    }

    /// Topics of the system, as one broker knows them.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn system_topics_at(&self, address: &str) -> Result<Vec<String>, Error> {
        let code = request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER;
        Ok(self.get::<TopicList>(address, code, Fields::new()).await?.topic_list)
    }

    /// Deletes a topic from the tables of every name server; brokers that still have it register it again.
    ///
    /// # Errors
    /// At the first name server that does not answer or refuses.
    pub async fn forget_topic(&self, cluster: &str, topic: &str) -> Result<(), Error> {
        for server in self.name_servers() {
            self.forget_topic_at(&server, cluster, topic).await?;
        }
        Ok(())
    }

    /// The same at one name server.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn forget_topic_at(&self, server: &str, cluster: &str, topic: &str) -> Result<(), Error> {
        let fields = Fields::new().text("topic", topic).text("clusterName", cluster);
        self.ask(server, request::DELETE_TOPIC_IN_NAMESRV, fields).await?;
        self.shared.routes.forget(topic);
        Ok(())
    }
}
