//! Options for retention and reading take effect while the store is open; those that shape files do not.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{World, letter, send, small_options, sync_options};
use parking_lot::Mutex;
use store::{FlushMode, Flushed, Options, ReadLimits, Space, Store, Transfer};

const HOUR: Duration = Duration::from_secs(3600);

fn filled(world: &World) -> Arc<Store> {
    let store = world.open();
    for _ in 0..60 {
        send(&store, &letter("t", 0, &"x".repeat(800))).unwrap();
    }
    store.flush_step().unwrap();
    store
}

#[test]
fn a_shorter_time_lets_segments_go_in_the_next_round() {
    let world = World::new(small_options());
    let store = filled(&world);
    world.clock.advance(HOUR * 10);
    store.clean_soon();
    assert_eq!(store.clean_step().unwrap(), 0, "72 hours are not over");
    store.adjust(&Options { file_reserved: HOUR * 5, segment_bytes: 4096, ..small_options() });
    assert!(store.clean_step().unwrap() > 0);
    assert_eq!(store.options().segment_bytes, small_options().segment_bytes);
}

#[test]
fn another_hour_counts_from_the_next_round_on() {
    let world = World::new(small_options());
    let store = filled(&world);
    // It was 22:13.
    world.clock.advance(HOUR * 80);
    assert_eq!(store.clean_step().unwrap(), 0);
    store.adjust(&Options { delete_when: vec![6], ..small_options() });
    assert!(store.clean_step().unwrap() > 0);
}

#[test]
fn other_ratios_open_and_close_the_store() {
    let world = World::new(small_options());
    let store = world.open();
    world.disk.set_space(Space { total: 100, free: 20, available: 20 });
    store.clean_step().unwrap();
    assert!(store.is_writable());
    store.adjust(&Options { disk_warning_percent: 70, ..small_options() });
    store.clean_step().unwrap();
    assert!(!store.is_writable());
    store.adjust(&small_options());
    store.clean_step().unwrap();
    assert!(store.is_writable());
}

#[test]
fn a_shorter_wait_for_the_disk_counts_and_another_mode_does_not() {
    let world = World::new(sync_options());
    let store = world.open();
    let timeout = Duration::from_secs(1);
    store.adjust(&Options { flush: FlushMode::Sync { timeout }, ..sync_options() });
    let appended = send(&store, &letter("t", 0, "slow")).unwrap();
    let outcome = Arc::new(Mutex::new(None));
    let seen = outcome.clone();
    store.when_flushed(appended.until, Box::new(move |flushed| *seen.lock() = Some(flushed)));
    world.clock.advance(Duration::from_secs(2));
    store.deadline_step();
    assert_eq!(*outcome.lock(), Some(Flushed::Timeout));
    store.adjust(&small_options());
    assert!(store.is_sync());
    send(&store, &letter("t", 0, "unseen")).unwrap();
    assert_eq!(store.queue("t", 0).max_offset(), 0, "still shown when it is durable only");
}

#[test]
fn the_next_read_obeys_new_limits() {
    let world = World::new(small_options());
    let store = world.open();
    for _ in 0..20 {
        send(&store, &letter("t", 0, "x")).unwrap();
    }
    let count = || {
        let limits = ReadLimits { max_count: 32, max_bytes: 1 << 20 };
        store.read(&store.queue("t", 0), 0, limits, &mut |_| true).unwrap().records.len()
    };
    assert_eq!(count(), 20);
    let few = Transfer { bytes: 262_144, count: 5 };
    store.adjust(&Options { transfer_in_memory: few, ..small_options() });
    assert_eq!(count(), 5);
    let fewer = Transfer { bytes: 262_144, count: 2 };
    store.adjust(&Options { transfer_on_disk: fewer, in_memory_bytes: 0, ..small_options() });
    assert_eq!(count(), 2);
}
