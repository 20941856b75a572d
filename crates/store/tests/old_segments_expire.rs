//! Retention (store.md §13).

mod support;

use std::sync::Arc;
use std::time::Duration;

use store::{KeyKind, Options, ReadLimits, ReadStatus, RealClock, RealDisk, Space, Store};
use support::{World, bodies, letter, open_on, send, small_options};

const HOUR: Duration = Duration::from_secs(3600);

fn fill(store: &Store) {
    for i in 0..100 {
        send(store, &letter("t", 0, &format!("{i}-{}", "x".repeat(800))).keyed(&format!("k{i}"))).unwrap();
    }
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
}

#[test]
fn at_the_hour_expired_segments_go_but_never_the_last() {
    let world = World::new(small_options());
    let store = world.open();
    fill(&store);
    let segments = store.runtime().segments;
    assert!(segments > 4);
    // It is 22:13; after 73 hours 23:13, and five hours later 04:13.
    assert_eq!(store.clean_step().unwrap(), 0);
    world.clock.advance(HOUR * 73);
    assert_eq!(store.clean_step().unwrap(), 0, "not at this hour");
    world.clock.advance(HOUR * 5);
    assert_eq!(store.clean_step().unwrap() as usize, segments - 1);
    assert_eq!(store.runtime().segments, 1);

    let queue = store.queue("t", 0);
    let min = queue.min_offset();
    assert!(min > 0 && min < 100);
    assert_eq!(bodies(&store, "t", 0).len() as u64, 100 - min);
    let result = store.read(&queue, 0, ReadLimits { max_count: 1, max_bytes: 100 }, &mut |_| true).unwrap();
    assert_eq!((result.status, result.next_offset), (ReadStatus::OffsetTooSmall, min as i64));
    assert!(store.query("t", "k1", 1, 0, i64::MAX, KeyKind::Key).unwrap().records.is_empty());
    let files: Vec<_> =
        world.disk.files().into_keys().filter(|path| path.starts_with(world.path("consumequeue"))).collect();
    assert!(files.len() < 3, "{files:?}");

    store.stop().unwrap();
    drop((store, queue));
    let store = world.open();
    assert_eq!(store.queue("t", 0).min_offset(), min);
    assert_eq!(bodies(&store, "t", 0).len() as u64, 100 - min);
}

#[test]
fn a_full_disk_takes_segments_before_their_time() {
    let world = World::new(small_options());
    let store = world.open();
    fill(&store);
    let segments = store.runtime().segments;
    world.disk.set_space(Space { total: 100, free: 20, available: 20 });
    assert_eq!(store.clean_step().unwrap(), 0, "over the maximum only what has expired goes");
    world.disk.set_space(Space { total: 100, free: 12, available: 12 });
    assert_eq!(store.clean_step().unwrap() as usize, segments - 1);
}

#[test]
fn a_queue_all_of_whose_messages_expired_keeps_its_numbering() {
    let world = World::new(small_options());
    let store = world.open();
    send(&store, &letter("light", 0, "only")).unwrap();
    fill(&store);
    world.clock.advance(HOUR * 80);
    store.clean_soon();
    assert!(store.clean_step().unwrap() > 0);
    let queue = store.queue("light", 0);
    assert_eq!((queue.min_offset(), queue.max_offset()), (1, 1));
    store.stop().unwrap();
    drop((store, queue));
    let store = world.open();
    let queue = store.queue("light", 0);
    assert_eq!((queue.min_offset(), queue.max_offset()), (1, 1));
    assert_eq!(send(&store, &letter("light", 0, "next")).unwrap().queue_offset, 1);
    assert_eq!(bodies(&store, "light", 0), ["next"]);
}

/// A log that has just got its second segment and then rests: the first must go all the same.
#[test]
fn the_cleaner_watches_from_the_second_segment_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        root: dir.path().to_path_buf(),
        commit_log_dir: dir.path().join("commitlog"),
        file_reserved: Duration::ZERO,
        delete_when: (0..24).collect(),
        clean_interval: Duration::from_millis(20),
        ..small_options()
    };
    let store = open_on(Arc::new(RealDisk), Arc::new(RealClock::default()), options).unwrap();
    store.start_workers();
    let pause = || std::thread::park_timeout(Duration::from_millis(50));
    while store.log_end() < store.options().segment_bytes {
        send(&store, &letter("t", 0, &"x".repeat(800))).unwrap();
        pause();
    }
    for _ in 0..200 {
        if store.log_min() > 0 {
            return store.stop().unwrap();
        }
        pause();
    }
    panic!("the first segment is still there");
}
