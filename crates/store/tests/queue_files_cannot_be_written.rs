//! The log takes messages while the files of its queues cannot be written: entries wait in memory, up to a bound.

use std::io::ErrorKind;
use std::time::Duration;

use crate::support::{World, bodies, letter, send, small_options};
use sim::{Fault, Operation, Random, SimDisk};
use store::{AppendError, Options, Space};

/// Room for ten entries in memory, and the one that crosses the line.
fn world() -> World {
    World::new(Options { queue_tail_bytes_max: 200, ..small_options() })
}

#[test]
fn beyond_the_bound_nothing_is_accepted_until_they_are_written() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        let world = world();
        let store = world.open();
        world.disk.inject(Fault::from_now(Operation::Write, "consumequeue", kind));
        let mut stored = Vec::new();
        let refused = loop {
            let body = stored.len().to_string();
            match send(&store, &letter("t", stored.len() as u32 % 2, &body)) {
                Ok(_) => stored.push(body),
                Err(error) => break error,
            }
            store.queue_step(false).unwrap_err();
            assert!(stored.len() < 20);
        };
        assert_eq!(stored.len(), 11);
        assert!(matches!(refused, AppendError::QueuesBehind { waiting: 220, .. }), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("consumequeue") && text.contains("injected"), "{text}");
        assert!(!store.is_writable());
        assert_eq!(bodies(&store, "t", 1), ["1", "3", "5", "7", "9"], "readers do not notice");

        world.disk.heal();
        store.queue_step(false).unwrap();
        send(&store, &letter("t", 1, "after")).unwrap();
        drop(store);
        let store = world.open();
        assert_eq!(bodies(&store, "t", 0), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(bodies(&store, "t", 1), ["1", "3", "5", "7", "9", "after"]);
    }
}

/// As when the process has too many open files for a moment.
#[test]
fn a_file_that_cannot_be_opened_to_be_synced_is_synced_later() {
    for seed in 0..20 {
        let world = World::new(small_options());
        let store = world.open();
        for number in 0..6 {
            send(&store, &letter("t", number % 3, "x")).unwrap();
        }
        store.flush_step().unwrap();
        store.queue_step(false).unwrap();
        let fault = Fault::from_now(Operation::Read, "consumequeue", ErrorKind::Other);
        world.disk.inject(Fault { after: seed % 3, ..fault });
        store.queue_step(true).unwrap_err();
        assert!(store.is_writable(), "no sync has failed");
        world.disk.heal();
        store.queue_step(true).unwrap();
        let files = |disk: &SimDisk| -> Vec<_> {
            disk.files()
                .into_iter()
                .filter(|(path, _)| path.starts_with(world.path("consumequeue")))
                .collect()
        };
        let written = files(&world.disk);
        assert_eq!(written.len(), 3);
        assert!(files(&world.disk.crash(&mut Random::new(seed))) == written, "seed {seed}");
    }
}

#[test]
fn a_part_that_was_written_counts() {
    let world = world();
    let store = world.open();
    for number in 0..11 {
        send(&store, &letter("t", number % 11, "x")).unwrap();
    }
    assert!(!store.is_writable());
    // Each queue's file is one write; the fourth and later ones fail.
    let fault = Fault::from_now(Operation::Write, "consumequeue", ErrorKind::StorageFull);
    world.disk.inject(Fault { after: 3, ..fault });
    store.queue_step(false).unwrap_err();
    assert!(store.is_writable());
    for _ in 0..3 {
        send(&store, &letter("t", 0, "x")).unwrap();
    }
    assert!(!store.is_writable());
}

#[test]
fn a_queue_that_cannot_be_written_keeps_no_other_waiting() {
    let world = world();
    let store = world.open();
    world.disk.inject(Fault::from_now(Operation::CreateDir, "consumequeue/bad", ErrorKind::Other));
    for topic in ["bad", "good", "better"] {
        send(&store, &letter(topic, 0, "x")).unwrap();
    }
    for number in 0..30 {
        store.queue_step(false).unwrap_err();
        send(&store, &letter("good", 0, &format!("{number}"))).unwrap();
    }
    world.disk.heal();
    store.queue_step(false).unwrap();
    drop(store);
    let store = world.open();
    assert_eq!(bodies(&store, "bad", 0), ["x"]);
    assert_eq!(bodies(&store, "good", 0).len(), 31);
}

#[test]
fn entries_of_a_deleted_topic_wait_no_more() {
    let world = world();
    let store = world.open();
    for _ in 0..11 {
        send(&store, &letter("doomed", 0, "x")).unwrap();
    }
    send(&store, &letter("t", 0, "refused")).unwrap_err();
    store.delete_topic("doomed").unwrap();
    send(&store, &letter("t", 0, "accepted")).unwrap();
    assert_eq!(bodies(&store, "t", 0), ["accepted"]);
}

#[test]
fn what_recovery_dispatches_is_not_counted_against_later_messages() {
    let world = world();
    let store = world.open();
    for number in 0..100 {
        send(&store, &letter("t", 0, &format!("{number}"))).unwrap();
        store.queue_step(false).unwrap();
    }
    store.flush_step().unwrap();
    drop(store);
    let queues = world.path("consumequeue");
    let paths: Vec<_> = world.disk.files().into_keys().filter(|path| path.starts_with(&queues)).collect();
    for path in paths {
        store::Disk::remove(&world.disk, &path).unwrap();
    }
    let store = world.open();
    store.queue_step(false).unwrap();
    for number in 100..111 {
        send(&store, &letter("t", 0, &format!("{number}"))).unwrap();
    }
    assert!(!store.is_writable());
    assert_eq!(bodies(&store, "t", 0).len(), 111);
}

/// An administrator restarts the machine whose disk is full. Only a store that opens can delete what has expired.
#[test]
fn a_disk_that_is_full_after_a_power_cut_keeps_no_store_from_opening() {
    let mut world = World::new(small_options());
    let store = world.open();
    for number in 0..100 {
        send(&store, &letter("t", 0, &format!("{number:0>1000}"))).unwrap();
        if number == 60 {
            store.flush_step().unwrap();
            store.queue_step(true).unwrap();
        }
    }
    store.flush_step().unwrap();
    drop(store);
    world.disk = world.disk.crash(&mut Random::new(7));
    world.disk.inject(Fault::from_now(Operation::Write, "consumequeue", ErrorKind::StorageFull));
    let store = world.open();
    assert_eq!(bodies(&store, "t", 0).len(), 100);
    store.queue_step(true).unwrap_err();
    let first = store.log_min();
    world.disk.set_space(Space { total: 1000, free: 10, available: 10 });
    world.clock.advance(Duration::from_secs(100 * 86_400));
    let _ = store.clean_step();
    assert!(store.log_min() > first, "what has expired makes room");
    world.disk.heal();
    store.queue_step(true).unwrap();
    let left = bodies(&store, "t", 0).len();
    assert!((1..100).contains(&left));
    store.stop().unwrap();
    drop(store);
    assert_eq!(bodies(&world.open(), "t", 0).len(), left);
}
