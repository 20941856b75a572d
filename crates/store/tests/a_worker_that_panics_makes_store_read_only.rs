//! A thread of the store panics: what it was for is done by nobody, so the store says so at once and promises no more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{World, bodies, letter, send, sync_options};
use parking_lot::Mutex;
use store::{AppendError, Flushed, Store, Watcher};

/// How long it may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
#[allow(clippy::disallowed_methods, reason = "threads of a real store are waited for")]
fn whoever_waits_is_answered_and_nothing_more_is_accepted() {
    let world = World::new(sync_options());
    // With synchronous flush the thread that flushes tells of arrivals.
    let store = Store::open(
        Arc::new(world.disk.clone()),
        Arc::new(world.clock.clone()),
        world.options.clone(),
        Arc::new(|_| panic!("a mistake in who hears of arrivals")),
    )
    .unwrap();
    store.start_workers();
    store.queue("t", 0).watchers.watch(Watcher::Pull);
    let answered = Arc::new(Mutex::new(None));
    let first = send(&store, &letter("t", 0, "durable")).unwrap();
    let answer = answered.clone();
    store.when_flushed(first.until, Box::new(move |flushed| *answer.lock() = Some(flushed)));
    let deadline = Instant::now() + PATIENCE;
    while store.is_writable() || answered.lock().is_none() {
        assert!(Instant::now() < deadline, "nobody has noticed; answered: {answered:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(*answered.lock(), Some(Flushed::Done), "the disk had it before");
    let refused = send(&store, &letter("t", 0, "late")).unwrap_err();
    assert!(
        matches!(&refused, AppendError::ReadOnly { cause } if cause.contains("store-flush")),
        "{refused}"
    );
    assert_eq!(bodies(&store, "t", 0), ["durable"]);
    store.stop().unwrap_err();
    assert!(world.disk.files().contains_key(&world.path("abort")), "the next start recovers");
}
