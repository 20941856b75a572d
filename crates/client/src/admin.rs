//! What administrators do: topics, groups, offsets, messages, brokers, name servers (operations.md §3).
//!
//! Methods that take an `address` speak to one server; the others find the servers themselves.

mod cluster;
mod groups;
mod logical;
mod messages;
mod names;
mod offsets;
mod permissions;
mod topics;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use wire::body::ClusterInfo;
use wire::code::request;

use crate::error::Error;
use crate::fields::Fields;
use crate::route::{MASTER_ID, Route};
use crate::shared::{Shared, decode};

pub use cluster::{HaMaster, HaSlave, HaStatus};
pub use groups::{ProducerInfo, RequestMode};
pub use messages::{ConsumeResult, Index, QueueEntries, QueueEntry, Search};
pub use offsets::Moment;

/// Administration. Clones are cheap.
///
/// ```no_run
/// # async fn example() -> Result<(), thrustmq_client::Error> {
/// use thrustmq_client::{Client, TopicConfig};
///
/// let admin = Client::connect("127.0.0.1:9876").await?.admin();
/// admin.create_topic("DefaultCluster", &TopicConfig::new("orders", 8, 6)).await?;
/// let stats = admin.consume_stats("order-service", None).await?;
/// println!("{} messages behind", stats.behind());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Admin {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Admin").field("id", &self.shared.client_id).finish_non_exhaustive()
    }
}

impl Admin {
    pub(crate) fn new(shared: Arc<Shared>) -> Admin {
        Admin { shared }
    }

    /// All clusters and brokers.
    ///
    /// # Errors
    /// When no name server answers.
    pub async fn cluster(&self) -> Result<ClusterInfo, Error> {
        let (server, answer) =
            self.shared.ask_names(request::GET_BROKER_CLUSTER_INFO, &Fields::new(), &[]).await?;
        decode(&server, &answer)
    }

    /// Addresses of the masters of a cluster, of all clusters for an empty name.
    ///
    /// # Errors
    /// [`Error::NoBroker`] when there are none.
    pub async fn masters(&self, cluster: &str) -> Result<Vec<String>, Error> {
        self.members(cluster, |data| data.broker_addrs.get(&MASTER_ID).cloned().into_iter().collect()).await
    }

    /// Addresses of all brokers of a cluster, slaves too; of all clusters for an empty name.
    ///
    /// # Errors
    /// [`Error::NoBroker`] when there are none.
    pub async fn brokers(&self, cluster: &str) -> Result<Vec<String>, Error> {
        self.members(cluster, |data| data.broker_addrs.values().cloned().collect()).await
    }

    async fn members(
        &self,
        cluster: &str,
        addresses: impl Fn(&wire::body::BrokerData) -> Vec<String>,
    ) -> Result<Vec<String>, Error> {
        let info = self.cluster().await?;
        let names: BTreeSet<&String> = match cluster {
            "" => info.broker_addr_table.keys().collect(),
            _ => info.cluster_addr_table.get(cluster).into_iter().flatten().collect(),
        };
        let datas = names.into_iter().filter_map(|name| info.broker_addr_table.get(name));
        let found: Vec<String> = datas.flat_map(addresses).collect();
        if found.is_empty() { Err(Error::NoBroker { name: cluster.to_owned() }) } else { Ok(found) }
    }

    /// The present route of a topic: administrators want no remembered one.
    async fn fresh_route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        self.shared.ask_for_route(topic).await
    }

    async fn ask(&self, address: &str, code: i32, fields: Fields<'_>) -> Result<(), Error> {
        self.shared.ask(address, code, &fields, &[]).await.map(drop)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        address: &str,
        code: i32,
        fields: Fields<'_>,
    ) -> Result<T, Error> {
        let answer = self.shared.ask(address, code, &fields, &[]).await?;
        decode(address, &answer)
    }
}

/// The JSON text of something that has one.
fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(Error::illegal)
}
