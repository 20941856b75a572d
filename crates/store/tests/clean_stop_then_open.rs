//! The ordinary life: open, work, stop, open again; on a real disk with real threads, and on the simulated one.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{World, bodies, letter, send, small_options};
use sim::{Fault, Operation};
use store::{Arrival, FlushMode, Flushed, KeyKind, Options, RealClock, RealDisk, Store, StoreError, Watcher};

fn open_real(dir: &std::path::Path, flush: FlushMode) -> Result<Arc<Store>, StoreError> {
    let options = Options { root: dir.to_path_buf(), flush, ..small_options() };
    let options = Options { commit_log_dir: dir.join("commitlog"), ..options };
    Store::open(Arc::new(RealDisk), Arc::new(RealClock::default()), options, Arc::new(|_| {}))
}

#[test]
fn on_a_real_disk_with_workers_everything_is_there_again() {
    let sync = FlushMode::Sync { timeout: Duration::from_secs(5) };
    for flush in [FlushMode::Async { interval: Duration::from_millis(20) }, sync] {
        let dir = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for life in 0..3 {
            let store = open_real(dir.path(), flush).unwrap();
            store.start_workers();
            let (done, wait) = std::sync::mpsc::channel();
            for i in 0..100 {
                let body = format!("{life}-{i}");
                let appended = send(&store, &letter("t", 0, &body).keyed(&format!("key{life}-{i}"))).unwrap();
                let done = done.clone();
                store.when_flushed(appended.until, Box::new(move |flushed| done.send(flushed).unwrap()));
                expected.push(body);
            }
            for _ in 0..100 {
                assert_eq!(wait.recv_timeout(Duration::from_secs(20)), Ok(Flushed::Done));
            }
            assert_eq!(bodies(&store, "t", 0), expected);
            let found = store.query("t", "key0-42", 10, 0, i64::MAX, KeyKind::Key).unwrap();
            assert_eq!(found.records.len(), 1);
            assert!(matches!(open_real(dir.path(), flush).map(|_| ()), Err(StoreError::Locked { .. })));
            store.stop().unwrap();
            assert!(!dir.path().join("abort").exists());
        }
    }
}

#[test]
fn a_disk_that_has_filled_up_meanwhile_does_not_keep_the_store_from_opening() {
    let world = World::new(small_options());
    let store = world.open();
    send(&store, &letter("t", 0, "before")).unwrap();
    store.stop().unwrap();
    drop(store);
    world.disk.inject(Fault::from_now(Operation::Write, "abort", ErrorKind::StorageFull));
    let store = world.open();
    assert!(world.disk.failures() > 0);
    assert_eq!(bodies(&store, "t", 0), ["before"]);
    world.disk.heal();
    send(&store, &letter("t", 0, "after")).unwrap();
    drop(store);
    assert_eq!(bodies(&world.open(), "t", 0), ["before", "after"], "what was written counts as a kill");
}

#[test]
fn a_clean_stop_leaves_nothing_to_recover() {
    let world = World::new(small_options());
    let store = world.open();
    for i in 0..100 {
        send(&store, &letter("t", i % 4, &format!("{i}"))).unwrap();
    }
    let end = store.log_end();
    store.stop().unwrap();
    store.stop().unwrap();
    assert!(send(&store, &letter("t", 0, "late")).is_err());
    drop(store);
    assert!(!world.disk.files().contains_key(&world.path("abort")));
    let before = world.disk.files();
    let operations = world.disk.operations();
    let store = world.open();
    assert_eq!((store.log_end(), store.flushed_until()), (end, end));
    assert!(world.disk.operations() - operations < 10, "opening writes almost nothing");
    store.stop().unwrap();
    let after = world.disk.files();
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (path, bytes) in before {
        assert!(bytes == after[&path], "{} changed", path.display());
    }
}

#[test]
fn only_watched_queues_are_told_of_arrivals() {
    let world = World::new(small_options());
    let told = Arc::new(AtomicUsize::new(0));
    let on_arrival = {
        let told = told.clone();
        Arc::new(move |arrival: &Arrival<'_>| {
            let queue = arrival.queue;
            assert!(arrival.told.includes(Watcher::Pull) && !arrival.told.includes(Watcher::Pop));
            assert_eq!((&**queue.topic(), queue.id(), queue.max_offset()), ("t", 1, 2));
            told.fetch_add(1, Ordering::SeqCst);
        })
    };
    let store = Store::open(
        Arc::new(world.disk.clone()),
        Arc::new(world.clock.clone()),
        world.options.clone(),
        on_arrival,
    )
    .unwrap();
    send(&store, &letter("t", 1, "unwatched")).unwrap();
    store.queue("t", 1).watchers.watch(Watcher::Pull);
    send(&store, &letter("t", 0, "elsewhere")).unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 0);
    send(&store, &letter("t", 1, "watched")).unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

#[test]
fn a_deleted_topic_begins_anew_and_stays_so() {
    let world = World::new(small_options());
    let store = world.open();
    for i in 0..50 {
        send(&store, &letter("old", i % 2, "old")).unwrap();
        send(&store, &letter("other", 0, &format!("{i}"))).unwrap();
    }
    let held = store.queue("old", 0);
    store.delete_topic("old").unwrap();
    assert!(store.find_queue("old", 0).is_none());
    let again = send(&store, &letter("old", 0, "new")).unwrap();
    assert_eq!(again.queue_offset, 0);
    assert_eq!(held.max_offset(), 25);
    drop((store, held));
    let store = world.open();
    assert_eq!(bodies(&store, "old", 0), ["new"]);
    assert_eq!(bodies(&store, "other", 0).len(), 50);
    // Also when the queues must be rebuilt from the log, where the old messages still are.
    store.stop().unwrap();
    drop(store);
    world.disk.damage(&world.path("consumequeue/old/0/00000000000000000000"), |bytes| bytes.fill(0));
    assert_eq!(bodies(&world.open(), "old", 0), ["new"]);
}
