//! A clean stop leaves a table of all queues, and the next start believes it only as far as it is true.

use crate::support::{World, bodies, letter, send, small_options};
use sim::{Fault, Operation};
use store::{Disk, Options, Store, StoreError};

fn world() -> World {
    World::new(Options { queue_table_rows_min: 1, ..small_options() })
}

/// Ten topics of three queues, each with its number of messages.
fn fill(store: &Store) {
    for i in 0..300 {
        send(store, &letter(&format!("t{}", i % 10), (i / 10 % 3) as u32, &i.to_string())).unwrap();
    }
}

fn check(store: &Store) {
    for topic in 0..10 {
        for queue in 0..3 {
            let wanted: Vec<_> =
                (0..300).filter(|i| i % 10 == topic && i / 10 % 3 == queue).map(|i| i.to_string()).collect();
            assert_eq!(bodies(store, &format!("t{topic}"), queue as u32), wanted, "t{topic}-{queue}");
        }
    }
}

fn stopped() -> World {
    let world = world();
    let store = world.open();
    fill(&store);
    store.stop().unwrap();
    assert!(world.disk.files().contains_key(&world.path("queuetable")));
    world
}

fn remove_dir(world: &World, part: &str) {
    let dir = world.path(part);
    for path in world.disk.files().into_keys().filter(|path| path.starts_with(&dir)) {
        world.disk.remove(&path).unwrap();
    }
    for entry in world.disk.list(&dir).unwrap() {
        world.disk.remove_dir(&dir.join(entry.name)).unwrap();
    }
    world.disk.remove_dir(&dir).unwrap();
}

#[test]
fn the_next_start_looks_into_no_queue_file() {
    let world = stopped();
    world.disk.inject(Fault::from_now(Operation::Read, "consumequeue/t", std::io::ErrorKind::Other));
    let store = world.open();
    world.disk.heal();
    check(&store);
    let next = send(&store, &letter("t0", 0, "next")).unwrap();
    assert_eq!(next.queue_offset, 10);
}

#[test]
fn a_topic_whose_queues_were_removed_gets_them_back() {
    let world = stopped();
    remove_dir(&world, "consumequeue/t3");
    check(&world.open());
}

#[test]
fn a_damaged_table_is_passed_over() {
    for at in [0, 20, 60] {
        let world = stopped();
        world.disk.damage(&world.path("queuetable"), |bytes| bytes[at] ^= 4);
        check(&world.open());
    }
}

#[test]
fn after_an_unclean_stop_the_table_of_an_earlier_one_does_not_count() {
    let world = stopped();
    let store = world.open();
    fill(&store);
    drop(store);
    let store = world.open();
    assert_eq!(store.queue("t0", 0).max_offset(), 20);
    store.stop().unwrap();
    drop(store);
    let store = world.open();
    assert_eq!(store.queue("t0", 0).max_offset(), 20);
}

#[test]
fn a_single_missing_file_is_noticed_when_it_is_wanted_and_rebuilt_by_the_next_start() {
    let world = stopped();
    world.disk.remove(&world.path("consumequeue/t3/1/00000000000000000000")).unwrap();
    let store = world.open();
    let queue = store.queue("t3", 1);
    let limits = store::ReadLimits { max_count: 32, max_bytes: 1 << 20 };
    let error = store.read(&queue, 0, limits, &mut |_| true).unwrap_err();
    assert!(error.to_string().contains("is missing; restart the broker"), "{error}");
    // Appending goes on: the log is the truth.
    send(&store, &letter("t3", 1, "later")).unwrap();
    let error = store.stop().unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    drop(store);
    let store = world.open();
    let found = bodies(&store, "t3", 1);
    assert_eq!(found.len(), 11);
    assert_eq!(found[10], "later");
}
