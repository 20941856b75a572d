//! A broker behind a real socket, on a disk that fails when told to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use broker::{Broker, BrokerError, MainPort};
use remoting::{Limits, Listener, Server};
use sim::{SimClock, SimDisk};
use store::{Clock, Disk, RealClock};

use super::Peer;

/// How long a stop waits for whoever still holds the broker: nobody does, unless a test keeps it.
const HELD_MAX: Duration = Duration::from_secs(2);

/// What a broker is started with: a disk and keys of `broker.conf`.
pub struct Situation {
    pub disk: SimDisk,
    /// The disk's clock; that of the broker too with [`Situation::start_in_its_time`].
    pub clock: SimClock,
    keys: Vec<(String, String)>,
}

impl Situation {
    /// An empty disk, small files, and `keys` over the defaults.
    pub fn new(keys: &[(&str, &str)]) -> Situation {
        let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let clock = SimClock::new(since_1970.as_millis() as i64, 0);
        let small = [
            ("storePathRootDir", "/store"),
            ("mappedFileSizeCommitLog", "262144"),
            ("mappedFileSizeConsumeQueue", "4000"),
            ("messageIndexEnable", "false"),
        ];
        let keys = small.iter().chain(keys).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Situation { disk: SimDisk::new(clock.clone()), clock, keys: keys.collect() }
    }

    /// Starts a broker on it. One at a time.
    pub async fn start(&self) -> House {
        self.start_on(Arc::new(self.disk.clone()), Limits::default()).await
    }

    /// Starts a broker on another disk than its own, and with other limits for connections.
    pub async fn start_on(&self, disk: Arc<dyn Disk>, limits: Limits) -> House {
        self.start_with(disk, Arc::new(RealClock::default()), limits).await
    }

    /// Starts it in a time that stands still until the test moves it.
    pub async fn start_in_its_time(&self) -> House {
        let disk = Arc::new(self.disk.clone());
        self.start_with(disk, Arc::new(self.clock.clone()), Limits::default()).await
    }

    async fn start_with(&self, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>, limits: Limits) -> House {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let settings = settings::load_broker("", &self.keys).unwrap().settings;
        let broker = Broker::open(settings, listener.address(), disk, clock).unwrap();
        let server = listener.serve(limits, Arc::new(MainPort(Arc::clone(&broker))));
        broker.start().await;
        House { broker, server }
    }

    /// The same keys on the disk as it is now, as a process finds it that follows one killed at this moment.
    pub fn after_kill(&self) -> Situation {
        Situation { disk: self.disk.copy(), clock: self.clock.clone(), keys: self.keys.clone() }
    }

    /// With another value of a key.
    pub fn with(mut self, key: &str, value: &str) -> Situation {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.to_owned(), value.to_owned()));
        self
    }

    /// A file below the store's root.
    pub fn path(&self, below: &str) -> PathBuf {
        PathBuf::from("/store").join(below)
    }
}

/// A running broker.
pub struct House {
    pub broker: Arc<Broker>,
    server: Server,
}

impl House {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// A client with a connection of its own.
    pub fn peer(&self) -> Peer {
        Peer::new(self.address())
    }

    /// Stops it as SIGTERM does.
    pub async fn stop(self) -> Result<(), BrokerError> {
        self.server.stop_accepting();
        self.broker.retire().await;
        self.server.close(Duration::from_secs(1)).await;
        let (broker, last) = (Arc::clone(&self.broker), Arc::downgrade(&self.broker));
        drop((self.broker, self.server));
        let finished = tokio::task::spawn_blocking(move || broker.finish()).await.unwrap();
        // Tasks that were told to end may hold it for a moment longer, and with it the lock of the store, which a
        // process that ends would let go of.
        let deadline = Instant::now() + HELD_MAX;
        while last.strong_count() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        finished
    }
}
