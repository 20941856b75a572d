//! Name servers: their settings, their key-value table, permissions of brokers.

use std::collections::BTreeMap;

use wire::body::{ClusterInfo, KvTable, TopicList, TopicRoute};
use wire::code::{request, response};

use super::Admin;
use super::cluster::{read_properties, write_properties};
use crate::error::Error;
use crate::fields::Fields;
use crate::shared::{decode, number};

impl Admin {
    /// Addresses of the name servers in use.
    pub fn name_servers(&self) -> Vec<String> {
        self.shared.names.in_order()
    }

    /// All clusters and brokers as one name server knows them.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn cluster_at(&self, address: &str) -> Result<ClusterInfo, Error> {
        self.get(address, request::GET_BROKER_CLUSTER_INFO, Fields::new()).await
    }

    /// All topics that one name server knows.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn topics_at(&self, address: &str) -> Result<Vec<String>, Error> {
        let code = request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER;
        Ok(self.get::<TopicList>(address, code, Fields::new()).await?.topic_list)
    }

    /// Where one name server says that a topic lives; `None` when it does not know.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn topic_route_at(&self, address: &str, topic: &str) -> Result<Option<TopicRoute>, Error> {
        let fields = Fields::new().text("topic", topic).flag("acceptStandardJsonOnly", true);
        match self.get(address, request::GET_ROUTEINFO_BY_TOPIC, fields).await {
            Err(Error::Refused { code: response::TOPIC_NOT_EXIST, .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Settings of one name server, by key.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn name_server_config(&self, address: &str) -> Result<BTreeMap<String, String>, Error> {
        let answer = self.shared.ask(address, request::GET_NAMESRV_CONFIG, &Fields::new(), &[]).await?;
        Ok(read_properties(&answer.body))
    }

    /// Changes settings of one running name server.
    ///
    /// # Errors
    /// When it does not answer, or refuses a key or a value.
    pub async fn update_name_server_config(
        &self,
        address: &str,
        changes: &[(&str, &str)],
    ) -> Result<(), Error> {
        let body = write_properties(changes);
        let code = request::UPDATE_NAMESRV_CONFIG;
        self.shared.ask(address, code, &Fields::new(), body.as_bytes()).await.map(drop)
    }

    /// A value of the key-value table, if it is there.
    ///
    /// # Errors
    /// When no name server answers.
    pub async fn kv(&self, namespace: &str, key: &str) -> Result<Option<String>, Error> {
        let fields = Fields::new().text("namespace", namespace).text("key", key);
        match self.shared.ask_names(request::GET_KV_CONFIG, &fields, &[]).await {
            Ok((_, answer)) => Ok(answer.field("value").map(str::to_owned)),
            Err(Error::Refused { code: response::QUERY_NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All values of a namespace of the key-value table.
    ///
    /// # Errors
    /// When no name server answers.
    pub async fn kv_namespace(&self, namespace: &str) -> Result<BTreeMap<String, String>, Error> {
        let fields = Fields::new().text("namespace", namespace);
        match self.shared.ask_names(request::GET_KVLIST_BY_NAMESPACE, &fields, &[]).await {
            Ok((server, answer)) => Ok(decode::<KvTable>(&server, &answer)?.table),
            Err(Error::Refused { code: response::QUERY_NOT_FOUND, .. }) => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// Sets a value of the key-value table at every name server.
    ///
    /// # Errors
    /// At the first that does not answer or refuses.
    pub async fn put_kv(&self, namespace: &str, key: &str, value: &str) -> Result<(), Error> {
        for server in self.name_servers() {
            self.put_kv_at(&server, namespace, key, value).await?;
        }
        Ok(())
    }

    /// The same at one name server.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn put_kv_at(
        &self,
        server: &str,
        namespace: &str,
        key: &str,
        value: &str,
    ) -> Result<(), Error> {
        let fields = Fields::new().text("namespace", namespace).text("key", key).text("value", value);
        self.ask(server, request::PUT_KV_CONFIG, fields).await
    }

    /// Removes a value of the key-value table at every name server.
    ///
    /// # Errors
    /// At the first that does not answer or refuses.
    pub async fn delete_kv(&self, namespace: &str, key: &str) -> Result<(), Error> {
        for server in self.name_servers() {
            self.delete_kv_at(&server, namespace, key).await?;
        }
        Ok(())
    }

    /// The same at one name server.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn delete_kv_at(&self, server: &str, namespace: &str, key: &str) -> Result<(), Error> {
        let fields = Fields::new().text("namespace", namespace).text("key", key);
        self.ask(server, request::DELETE_KV_CONFIG, fields).await
    }

    /// Stops producers from writing to a broker, at one name server; says how many topics that touched.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn wipe_write_permission(&self, server: &str, broker_name: &str) -> Result<u64, Error> {
        let fields = Fields::new().text("brokerName", broker_name);
        let answer = self.shared.ask(server, request::WIPE_WRITE_PERM_OF_BROKER, &fields, &[]).await?;
        number(server, &answer, "wipeTopicCount")
    }

    /// Lets producers write to a broker again, at one name server; says how many topics that touched.
    ///
    /// # Errors
    /// When it does not answer or refuses.
    pub async fn add_write_permission(&self, server: &str, broker_name: &str) -> Result<u64, Error> {
        let fields = Fields::new().text("brokerName", broker_name);
        let answer = self.shared.ask(server, request::ADD_WRITE_PERM_OF_BROKER, &fields, &[]).await?;
        number(server, &answer, "addTopicCount")
    }
}
