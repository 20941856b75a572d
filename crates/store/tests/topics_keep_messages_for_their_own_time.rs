//! Topics whose messages can be read for a shorter time than the log keeps them (`retention.ms`).

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{World, bodies, letter, send, small_options};
use sim::{Fault, Operation};
use store::{Boundary, Clock, KeyKind, ReadLimits, ReadStatus, Store};

const HOUR: Duration = Duration::from_secs(3600);

/// Ten messages to each of two topics, an hour apart.
fn ten_hours(world: &World) -> Arc<Store> {
    let store = world.open();
    for hour in 0..10 {
        for topic in ["short", "long"] {
            send(&store, &letter(topic, 0, &format!("{hour}")).keyed(&format!("k{hour}"))).unwrap();
        }
        world.clock.advance(HOUR);
    }
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    store
}

fn keep(store: &Store, hours: u32) {
    // The messages stand on the hour; half an hour more makes the count plain.
    store.keep_messages("short", Some(HOUR * hours + HOUR / 2));
}

fn min(store: &Store, topic: &str) -> u64 {
    store.queue(topic, 0).min_offset()
}

#[test]
fn older_messages_are_not_there_any_more_by_any_way_of_asking() {
    let world = World::new(small_options());
    let store = ten_hours(&world);
    let files = world.disk.files();
    keep(&store, 3);
    assert_eq!((min(&store, "short"), min(&store, "long")), (7, 0));
    assert_eq!(bodies(&store, "short", 0), ["7", "8", "9"]);
    let queue = store.queue("short", 0);
    let limits = ReadLimits { max_count: 32, max_bytes: 1 << 20 };
    let result = store.read(&queue, 2, limits, &mut |_| true).unwrap();
    assert_eq!((result.status, result.next_offset), (ReadStatus::OffsetTooSmall, 7));
    assert_eq!((result.min_offset, result.max_offset), (7, 10));
    assert_eq!(store.offset_by_time(&queue, 0, Boundary::Lower).unwrap(), 7);
    let found = |topic, key| store.query(topic, key, 9, 0, i64::MAX, KeyKind::Key).unwrap().records.len();
    assert_eq!((found("short", "k6"), found("short", "k7"), found("long", "k6")), (0, 1, 1));
    assert!(store.has_expired("short", 0, 6) && !store.has_expired("short", 0, 7));
    assert!(!store.has_expired("long", 0, 6));
    let now = world.disk.files();
    let of_messages = files.iter().filter(|(path, _)| !path.ends_with("checkpoint"));
    for (path, content) in of_messages {
        assert_eq!(
            now.get(path),
            Some(content),
            "{}: bytes go with their segment, not before",
            path.display()
        );
    }
}

/// The log has many more of them than a topic keeps, and a key or tag may be that of all.
#[test]
fn a_query_does_not_read_what_its_topic_keeps_no_more() {
    let world = World::new(small_options());
    let store = ten_hours(&world);
    keep(&store, 3);
    while store.index_step().unwrap() {}
    world.disk.inject(Fault::from_now(Operation::Read, "commitlog", ErrorKind::Other));
    let found =
        |topic, key| store.query(topic, key, 9, 0, i64::MAX, KeyKind::Key).map(|found| found.records.len());
    assert_eq!((found("short", "k6").unwrap(), found("short", "k0").unwrap()), (0, 0));
    found("short", "k7").unwrap_err();
    found("long", "k6").unwrap_err();
    world.disk.heal();
    // Everything in one queue has expired, and a message comes to another.
    world.clock.advance(HOUR * 10);
    send(&store, &letter("short", 1, "new").keyed("k0")).unwrap();
    store.clean_step().unwrap();
    assert_eq!((found("short", "k9").unwrap(), found("short", "k0").unwrap()), (0, 1));
}

#[test]
fn the_floor_moves_with_time_and_numbers_go_on() {
    let world = World::new(small_options());
    let store = ten_hours(&world);
    keep(&store, 3);
    world.clock.advance(HOUR);
    assert_eq!(min(&store, "short"), 7, "reading does not look at the clock");
    store.clean_step().unwrap();
    assert_eq!(min(&store, "short"), 8);
    world.clock.advance(HOUR * 5);
    store.clean_step().unwrap();
    let queue = store.queue("short", 0);
    assert_eq!((queue.min_offset(), queue.max_offset()), (10, 10));
    let limits = ReadLimits { max_count: 1, max_bytes: 100 };
    let at_end = store.read(&queue, 10, limits, &mut |_| true).unwrap();
    assert_eq!(at_end.status, ReadStatus::OffsetOverflowOne);
    assert_eq!(send(&store, &letter("short", 0, "next")).unwrap().queue_offset, 10);
    store.clean_step().unwrap();
    assert_eq!(bodies(&store, "short", 0), ["next"]);
    world.clock.advance(HOUR * 4);
    store.clean_step().unwrap();
    assert_eq!(min(&store, "short"), 11);
    // A queue that comes later has its floor from the first round on.
    send(&store, &letter("short", 1, "other")).unwrap();
    world.clock.advance(HOUR * 4);
    store.clean_step().unwrap();
    assert_eq!(store.queue("short", 1).min_offset(), 1);
}

#[test]
fn a_longer_time_brings_back_what_the_log_still_has_and_a_restart_changes_nothing() {
    let world = World::new(small_options());
    let store = ten_hours(&world);
    keep(&store, 3);
    assert_eq!(min(&store, "short"), 7);
    keep(&store, 5);
    assert_eq!(min(&store, "short"), 5);
    store.clean_step().unwrap();
    assert_eq!(min(&store, "short"), 5);
    store.stop().unwrap();
    drop(store);
    let store = world.open();
    assert_eq!(min(&store, "short"), 0, "whoever does not know of it sees everything, as Java does");
    keep(&store, 5);
    assert_eq!(min(&store, "short"), 5);
    store.keep_messages("short", None);
    store.clean_step().unwrap();
    assert_eq!(bodies(&store, "short", 0).len(), 10);
}

#[test]
fn the_beginning_of_the_log_and_the_floor_do_not_disturb_each_other() {
    let world = World::new(small_options());
    let store = world.open();
    for number in 0..120 {
        send(&store, &letter("short", 0, &format!("{number}-{}", "x".repeat(800)))).unwrap();
        world.clock.advance(HOUR);
    }
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    keep(&store, 100);
    assert_eq!(min(&store, "short"), 20);
    let queue_files = || {
        let below = world.path("consumequeue");
        world.disk.files().into_keys().filter(|path| path.starts_with(&below)).count()
    };
    assert_eq!(queue_files(), 3);
    store.clean_soon();
    assert!(store.clean_step().unwrap() > 0);
    let gone = min(&store, "short");
    assert!(gone > 20, "the log keeps 72 hours: {gone}");
    assert_eq!(bodies(&store, "short", 0).len() as u64, 120 - gone);
    keep(&store, 10);
    assert_eq!(min(&store, "short"), 110);
    store.clean_soon();
    store.clean_step().unwrap();
    assert_eq!(queue_files(), 3 - gone as usize / 40, "queue files follow the log, not the floor");
    store.keep_messages("short", None);
    assert_eq!(min(&store, "short"), gone);
}

#[test]
fn a_clock_that_was_ahead_hides_nothing_for_good() {
    let world = World::new(small_options());
    let store = ten_hours(&world);
    keep(&store, 3);
    let now = world.clock.now_millis();
    world.clock.set_wall(now + 1_000_000_000);
    store.clean_step().unwrap();
    assert_eq!(min(&store, "short"), 10);
    world.clock.set_wall(now);
    store.clean_step().unwrap();
    assert_eq!(min(&store, "short"), 7);
}

#[test]
fn a_clock_that_was_ahead_only_when_the_time_was_set_hides_nothing_for_good() {
    let world = World::new(small_options());
    let store = ten_hours(&world);
    let now = world.clock.now_millis();
    world.clock.set_wall(now + 1_000_000_000);
    keep(&store, 3);
    assert_eq!(min(&store, "short"), 10);
    world.clock.set_wall(now);
    world.disk.inject(Fault::from_now(Operation::Read, "consumequeue", ErrorKind::Other));
    store.clean_step().unwrap();
    world.disk.heal();
    assert_eq!(min(&store, "short"), 10, "it could not be read");
    store.clean_step().unwrap();
    assert_eq!(min(&store, "short"), 7);
}

#[test]
fn a_queue_that_cannot_be_read_hides_nothing_more() {
    let world = World::new(small_options());
    let store = ten_hours(&world);
    keep(&store, 3);
    world.clock.advance(HOUR * 2);
    world.disk.inject(Fault::from_now(Operation::Read, "consumequeue", ErrorKind::Other));
    store.clean_step().unwrap();
    world.disk.heal();
    assert_eq!(min(&store, "short"), 7);
    store.clean_step().unwrap();
    assert_eq!(min(&store, "short"), 9);
}
