//! A broker on a simulated disk and clock, for unit tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sim::{SimClock, SimDisk};

use crate::Broker;

/// Opens a broker with small segments, and with what `change` makes of its settings.
pub(crate) fn open(
    disk: &SimDisk,
    clock: &SimClock,
    change: impl FnOnce(&mut settings::Broker),
) -> Arc<Broker> {
    let keys = [("storePathRootDir", "/store"), ("mappedFileSizeCommitLog", "262144")];
    let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut settings = settings::load_broker("", &keys).unwrap().settings;
    change(&mut settings);
    let address = SocketAddr::from(([127, 0, 0, 1], 10911));
    Broker::open(settings, address, Arc::new(disk.clone()), Arc::new(clock.clone())).unwrap()
}

/// Waits until something is so that other threads bring about, or for as long as a loaded machine may take at most.
pub(crate) fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() && Instant::now() < deadline {
        std::thread::yield_now();
    }
}

/// A broker of whose disk and clock nothing is wanted.
pub(crate) fn broker() -> Arc<Broker> {
    let clock = SimClock::default();
    open(&SimDisk::new(clock.clone()), &clock, |_| ())
}
