//! The client: what producers, consumers and administration are made from.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::admin::Admin;
use crate::consumer::{ConsumerBuilder, LitePullConsumerBuilder, PopConsumerBuilder};
use crate::credentials::Credentials;
use crate::discovery::Page;
use crate::error::Error;
use crate::hooks::{ConsumeHook, Hooks, RpcHook, SendHook};
use crate::identity::{UniqueKeys, address_towards, client_id};
use crate::inbound::Inbound;
use crate::names::{self, NameServers};
use crate::namespace::{self, Namespace};
use crate::outlet::send_traces;
use crate::producer::ProducerBuilder;
use crate::reader::QueueReader;
use crate::route::Route;
use crate::shared::{Parts, Shared, Times};
use crate::trace::{Trace, Tracer};

/// How often the page that lists the name servers is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(120);

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
    servers: Servers,
    credentials: Option<Credentials>,
    instance: Option<String>,
    namespace: Namespace,
    hooks: Hooks,
    trace: Option<Trace>,
    times: Times,
    #[cfg(feature = "tls")]
    tls: Option<remoting::Tls>,
}

/// Where the name servers are known from.
#[derive(Debug, Clone)]
enum Servers {
    Listed(String),
    /// From a page at this address.
    OnPage(String),
}

impl ClientBuilder {
    fn of(servers: Servers) -> ClientBuilder {
        ClientBuilder {
            servers,
            credentials: None,
            instance: None,
            namespace: Namespace::default(),
            hooks: Hooks::default(),
            trace: None,
            times: Times {
                call: Duration::from_secs(3),
                route_refresh: Duration::from_secs(30),
                heartbeat: Duration::from_secs(30),
                look_again: LOOK_AGAIN,
            },
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

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

    /// Encrypts all connections. Without this nothing is encrypted, whatever servers offer.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), thrustmq_client::Error> {
    /// use thrustmq_client::{Client, Tls};
    ///
    /// let tls = Tls::trusting("ca.pem")?.server_name("brokers.example")?;
    /// let client = Client::builder("10.0.0.1:9876").tls(tls).connect().await?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: remoting::Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The namespace that topics and groups of this client are in, as part of their names (`MQ_INST_a_b%orders`).
    /// Producers, consumers and readers have bare names; only [administration](Client::admin) speaks of complete ones,
    /// since it is for those of all namespaces. A name server's address like `http://MQ_INST_a_b.example.com:80`
    /// implies one.
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace.prefix = Some(name.into()).filter(|name: &String| !name.is_empty());
        self
    }

    /// The namespace that every request names beside what it asks for (`ns`), for servers that know such.
    pub fn namespace_v2(mut self, name: impl Into<String>) -> Self {
        self.namespace.named = Some(name.into()).filter(|name: &String| !name.is_empty());
        self
    }

    /// Records what happens to messages, for `mqadmin queryMsgTraceById` and the dashboard. No send and no handler
    /// waits for it; closing a producer or consumer waits up to 5 s for what is left to be recorded.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), thrustmq_client::Error> {
    /// use thrustmq_client::{Client, Trace};
    ///
    /// let client = Client::builder("127.0.0.1:9876").trace(Trace::default()).connect().await?;
    /// # Ok(()) }
    /// ```
    pub fn trace(mut self, trace: Trace) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Watches everything that producers of this client send; may be called several times.
    pub fn send_hook(mut self, hook: impl SendHook) -> Self {
        self.hooks.send.push(Arc::new(hook));
        self
    }

    /// Watches everything that consumers of this client hand out; may be called several times.
    pub fn consume_hook(mut self, hook: impl ConsumeHook) -> Self {
        self.hooks.consume.push(Arc::new(hook));
        self
    }

    /// Watches all requests of this client; may be called several times.
    pub fn rpc_hook(mut self, hook: impl RpcHook) -> Self {
        self.hooks.rpc.push(Arc::new(hook));
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

    /// How often the page that lists the name servers is looked at again; every 2 minutes by default.
    pub fn discovery_refresh(mut self, period: Duration) -> Self {
        self.times.look_again = period;
        self
    }

    /// How often brokers hear of this client; 30 s by default. Brokers forget who is silent for 120 s.
    pub fn heartbeat(mut self, period: Duration) -> Self {
        self.times.heartbeat = period;
        self
    }

    /// Makes the client. No server hears of it yet: one that is unreachable shows with the first call. Only a page that
    /// lists the name servers is looked at here.
    ///
    /// # Errors
    /// When the list of name servers cannot be understood or had, or the client's certificate cannot be used.
    pub async fn connect(mut self) -> Result<Client, Error> {
        let (servers, page) = match &self.servers {
            Servers::Listed(text) => {
                let implied = namespace::of_endpoint(text).map(str::to_owned);
                self.namespace.prefix = self.namespace.prefix.or(implied);
                (names::parse(text)?, None)
            }
            Servers::OnPage(url) => {
                let page = Page::parse(url)?;
                (page.look().await?, Some(page))
            }
        };
        let Some(first) = servers.first() else {
            return Err(Error::Illegal("no name server is named".to_owned()));
        };
        let ip = address_towards(first);
        let (tracer, waiting) = self.trace.map(Tracer::new).unzip();
        if let Some(tracer) = &tracer {
            self.hooks.send.push(Arc::clone(tracer) as Arc<dyn SendHook>);
            self.hooks.consume.push(Arc::clone(tracer) as Arc<dyn ConsumeHook>);
        }
        let inbound = Arc::new(Inbound::default());
        let shared = Shared::new(Parts {
            client_id: client_id(ip, self.instance.as_deref()),
            names: NameServers::new(servers),
            keys: UniqueKeys::new(ip),
            credentials: self.credentials,
            namespace: self.namespace,
            hooks: self.hooks,
            tracer,
            times: self.times,
            inbound: inbound.clone(),
            #[cfg(feature = "tls")]
            tls: self.tls,
        })?;
        inbound.belongs_to(&shared);
        if let Some(waiting) = waiting {
            shared.keep_task(tokio::spawn(send_traces(waiting, Arc::downgrade(&shared))).abort_handle());
        }
        if let Some(page) = page {
            shared.keep_task(every(&shared, shared.times.look_again, move |shared| {
                let page = page.clone();
                async move { shared.look_for_names(&page).await }
            }));
        }
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
        ClientBuilder::of(Servers::Listed(servers.into()))
    }

    /// A client of the name servers that a page lists, as in `http://host:8080/rocketmq/nsaddr` or, for a unit,
    /// `http://host:8080/rocketmq/nsaddr-unit?nofix=1`: its first line is `host:port;host:port`. The page is looked at
    /// again every two minutes; while it cannot be had, the list that was there last holds.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), thrustmq_client::Error> {
    /// use thrustmq_client::Client;
    ///
    /// let client = Client::discover("http://names.example:8080/rocketmq/nsaddr").connect().await?;
    /// # Ok(()) }
    /// ```
    pub fn discover(page: impl Into<String>) -> ClientBuilder {
        ClientBuilder::of(Servers::OnPage(page.into()))
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
