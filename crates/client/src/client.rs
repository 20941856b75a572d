//! The client: what producers, consumers and administration are made from.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::admin::Admin;
use crate::consumer::{ConsumerBuilder, LitePullConsumerBuilder, PopConsumerBuilder};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::identity::{UniqueKeys, address_towards, client_id};
use crate::names::{self, NameServers};
use crate::producer::ProducerBuilder;
use crate::reader::QueueReader;
use crate::route::Route;
use crate::shared::{Parts, Shared, Times};

/// Connections, routes and identity, shared by all producers and consumers that are made from it.
///
/// Clones are cheap and mean the same client. Connections are made when they are needed and shared by everything that
/// is made from one client; when the last clone and the last producer or consumer is gone, they end.
///
/// ```no_run
/// # async fn example() -> Result<(), thrustmq_client::Error> {
/// use thrustmq_client::Client;
///
/// let client = Client::connect("127.0.0.1:9876").await?;
/// let topics = client.admin().topics().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("id", &self.shared.client_id).finish_non_exhaustive()
    }
}

/// How a client is made; see [`Client::builder`].
#[derive(Debug, Clone)]
#[must_use = "connect makes the client"]
pub struct ClientBuilder {
    servers: String,
    credentials: Option<Credentials>,
    instance: Option<String>,
    times: Times,
}

impl ClientBuilder {
    /// Signs every request.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// The part of the client's id behind `@`; by default unique in the world. Two clients of one id disturb each
    /// other.
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// Time for a call that has no time of its own; 3 s by default.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.times.call = timeout;
        self
    }

    /// How often routes are asked for again; 30 s by default.
    pub fn route_refresh(mut self, period: Duration) -> Self {
        self.times.route_refresh = period;
        self
    }

    /// How often brokers hear of this client; 30 s by default. Brokers forget who is silent for 120 s.
    pub fn heartbeat(mut self, period: Duration) -> Self {
        self.times.heartbeat = period;
        self
    }

    /// Makes the client. Nothing is sent yet: an unreachable server shows with the first call.
    ///
    /// # Errors
    /// When the list of name servers cannot be understood.
    #[allow(clippy::unused_async, reason = "it spawns tasks, and so needs the runtime that await implies")]
    pub async fn connect(self) -> Result<Client, Error> {
        let servers = names::parse(&self.servers)?;
        let Some(first) = servers.first() else {
            return Err(Error::Illegal("no name server is named".to_owned()));
        };
        let ip = address_towards(first);
        let shared = Shared::new(Parts {
            client_id: client_id(ip, self.instance.as_deref()),
            names: NameServers::new(servers),
            keys: UniqueKeys::new(ip),
            credentials: self.credentials,
            times: self.times,
        });
        shared.keep_task(every(&shared, shared.times.route_refresh, |shared| async move {
            shared.refresh_routes().await;
        }));
        shared.keep_task(every(&shared, shared.times.heartbeat, |shared| async move {
            shared.heartbeat_all().await;
        }));
        Ok(Client { shared })
    }
}

impl Client {
    /// A client of one or several name servers (`host:port;host:port`) with default settings.
    ///
    /// # Errors
    /// When the list cannot be understood.
    pub async fn connect(servers: &str) -> Result<Client, Error> {
        Client::builder(servers).connect().await
    }

    /// A client with other than default settings.
    pub fn builder(servers: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            servers: servers.into(),
            credentials: None,
            instance: None,
            times: Times {
                call: Duration::from_secs(3),
                route_refresh: Duration::from_secs(30),
                heartbeat: Duration::from_secs(30),
            },
        }
    }

    /// The id that servers know this client by.
    pub fn id(&self) -> &str {
        &self.shared.client_id
    }

    /// Where a topic lives.
    ///
    /// # Errors
    /// [`Error::NoRoute`] when no broker has it; [`Error::NoNameServer`] when nobody can say.
    pub async fn route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        self.shared.route(topic).await
    }

    /// What administrators do.
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.shared))
    }

    /// A producer of a group.
    pub fn producer(&self, group: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder::new(Arc::clone(&self.shared), group.into())
    }

    /// A member of a consumer group.
    pub fn consumer(&self, group: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder::new(Arc::clone(&self.shared), group.into())
    }

    /// A member of a consumer group that pops: brokers choose what each member gets, message by message.
    pub fn pop_consumer(&self, group: impl Into<String>) -> PopConsumerBuilder {
        PopConsumerBuilder::new(Arc::clone(&self.shared), group.into())
    }

    /// A member of a consumer group that is asked for messages, and can be sent to any offset.
    pub fn lite_pull_consumer(&self, group: impl Into<String>) -> LitePullConsumerBuilder {
        LitePullConsumerBuilder::new(Arc::clone(&self.shared), group.into())
    }

    /// Reads queues by offset, without membership in a group.
    pub fn reader(&self, group: impl Into<String>) -> QueueReader {
        QueueReader::new(Arc::clone(&self.shared), group.into())
    }

    /// Ends all connections. What is made from this client fails from now on; close producers and consumers first.
    pub fn close(&self) {
        self.shared.close();
    }
}

/// Repeats a step until the client is gone.
fn every<F: Future<Output = ()> + Send>(
    shared: &Arc<Shared>,
    period: Duration,
    step: impl Fn(Arc<Shared>) -> F + Send + 'static,
) -> AbortHandle {
    let shared: Weak<Shared> = Arc::downgrade(shared);
    let task = async move {
        loop {
            tokio::time::sleep(period).await;
            let Some(shared) = shared.upgrade().filter(|shared| !shared.is_closed()) else { return };
            step(shared).await;
        }
    };
    tokio::spawn(task).abort_handle()
}
