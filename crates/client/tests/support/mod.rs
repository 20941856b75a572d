//! A name server and brokers in this process, on loopback, over temporary directories.
#![allow(dead_code, reason = "each test uses a part of this")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, MainPort};
use nameserver::Nameserver;
use remoting::{Limits, Listener, Server};
use settings::Surroundings;
use store::{RealClock, RealDisk};
use tempfile::TempDir;
use thrustmq_client::{Client, SubscriptionGroupConfig, TopicConfig};

/// How long anything may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Cluster of all brokers.
pub const CLUSTER: &str = "DefaultCluster";

/// A cluster of one name server and some brokers.
pub struct World {
    names: SocketAddr,
    name_server: Server,
    brokers: Vec<Option<Running>>,
    dir: TempDir,
    given: Vec<(String, String)>,
}

struct Running {
    broker: Arc<Broker>,
    server: Server,
    address: SocketAddr,
}

impl World {
    /// One broker, `broker-a`.
    pub async fn start() -> World {
        World::with(1, &[]).await
    }

    /// Several brokers, `broker-a` and so on, with some keys of `broker.conf`.
    pub async fn with(brokers: usize, given: &[(&str, &str)]) -> World {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let settings = settings::load_nameserver("", &[]).expect("default settings").settings;
        let table = Nameserver::new(settings, dir.path().join("kvConfig.json")).expect("a name server");
        let listener = Listener::bind(loopback(0)).expect("a free port");
        let names = listener.address();
        let name_server = listener.serve(Limits::default(), table);
        let given = given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut world = World { names, name_server, brokers: Vec::new(), dir, given };
        for index in 0..brokers {
            let running = world.open(index, loopback(0)).await;
            world.brokers.push(Some(running));
        }
        world
    }

    async fn open(&self, index: usize, address: SocketAddr) -> Running {
        let mut overrides = vec![
            ("brokerName".to_owned(), broker_name(index)),
            ("namesrvAddr".to_owned(), self.names.to_string()),
            ("storePathRootDir".to_owned(), self.dir.path().join(broker_name(index)).display().to_string()),
            ("mappedFileSizeCommitLog".to_owned(), (8 << 20).to_string()),
            ("maxHashSlotNum".to_owned(), "1000".to_owned()),
            ("maxIndexNum".to_owned(), "4000".to_owned()),
        ];
        overrides.extend(self.given.iter().cloned());
        let loaded = settings::load_in(&Surroundings::default(), "", &overrides).expect("settings");
        let listener = Listener::bind(address).expect("a free port");
        let address = listener.address();
        let broker =
            Broker::open(loaded.settings, address, Arc::new(RealDisk), Arc::new(RealClock::default()))
                .expect("a broker");
        broker.start().await;
        assert!(broker.registered(Duration::from_secs(20)).await, "the name server takes the broker");
        let server = listener.serve(Limits::default(), Arc::new(MainPort(Arc::clone(&broker))));
        Running { broker, server, address }
    }

    /// Stops a broker cleanly; clients find nobody at its address.
    pub async fn stop_broker(&mut self, index: usize) -> SocketAddr {
        let Running { broker, server, address } = self.brokers[index].take().expect("a running broker");
        broker.retire().await;
        server.close(Duration::from_secs(2)).await;
        broker.finish().expect("everything on disk");
        let alive = Arc::downgrade(&broker);
        drop((broker, server));
        eventually("the broker is gone", async || alive.strong_count() == 0).await;
        address
    }

    /// Starts a broker again, at its old address over its old files.
    pub async fn start_broker(&mut self, index: usize, address: SocketAddr) {
        let running = self.open(index, address).await;
        self.brokers[index] = Some(running);
    }

    /// Address of the name server, as clients take it.
    pub fn names(&self) -> String {
        self.names.to_string()
    }

    /// Address of a broker.
    pub fn broker(&self, index: usize) -> String {
        self.brokers[index].as_ref().expect("a running broker").address.to_string()
    }

    /// A client with default settings.
    pub async fn client(&self) -> Client {
        Client::connect(&self.names()).await.expect("a client")
    }

    /// A client that waits for a broker whose disk is busy.
    async fn patient(&self) -> Client {
        Client::builder(self.names()).call_timeout(PATIENCE).connect().await.expect("a client")
    }

    /// A topic on all brokers.
    pub async fn create_topic(&self, name: &str, queues: i32) {
        let admin = self.patient().await.admin();
        admin.create_topic(CLUSTER, &TopicConfig::new(name, queues, 6)).await.expect("a topic");
        let route = async || {
            let route = admin.topic_route(name).await;
            route.is_ok_and(|route| route.queues_to_write().len() == queues as usize * self.brokers.len())
        };
        eventually("the topic is known", route).await;
    }

    /// A group on all brokers.
    pub async fn create_group(&self, config: &SubscriptionGroupConfig) {
        let admin = self.patient().await.admin();
        admin.create_group(CLUSTER, config).await.expect("a group");
    }

    /// A folder that ends with the test.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }
}

fn broker_name(index: usize) -> String {
    format!("broker-{}", char::from(b'a' + index as u8))
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Waits until something holds.
pub async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
