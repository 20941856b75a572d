//! Writing fails: for want of space, or for worse.

use std::io::ErrorKind;
use std::time::Duration;

use crate::support::{World, bodies, letter, send, send_all, small_options};
use sim::{Fault, Operation, Random};
use store::{AppendError, Options, Space};

#[test]
fn a_failed_append_leaves_nothing_and_the_next_one_succeeds() {
    for (kind, bytes_written) in
        [(ErrorKind::StorageFull, 0), (ErrorKind::StorageFull, 300), (ErrorKind::Other, 100)]
    {
        let world = World::new(small_options());
        let store = world.open();
        send(&store, &letter("t", 0, "first")).unwrap();
        let fault = Fault::from_now(Operation::Write, "commitlog", kind);
        world.disk.inject(Fault { times: 1, bytes_written, ..fault });
        let error = send_all(&store, &[letter("t", 0, "lost"), letter("t", 1, "lost too")]).unwrap_err();
        match kind {
            ErrorKind::StorageFull => assert!(matches!(error, AppendError::DiskFull { .. }), "{error}"),
            _ => assert!(matches!(error, AppendError::Io { .. }), "{error}"),
        }
        assert_eq!(bodies(&store, "t", 0), ["first"]);
        let second = send(&store, &letter("t", 0, "second")).unwrap();
        assert_eq!(second.queue_offset, 1);
        drop(store);
        let store = world.open();
        assert_eq!(bodies(&store, "t", 0), ["first", "second"]);
        assert_eq!(bodies(&store, "t", 1), Vec::<String>::new());
    }
}

#[test]
fn records_of_a_failed_batch_do_not_come_to_life_behind_a_shorter_one() {
    let world = World::new(small_options());
    let store = world.open();
    let fault = Fault::from_now(Operation::Write, "commitlog", ErrorKind::Other);
    // All of it reaches the disk, but the caller is told otherwise.
    world.disk.inject(Fault { times: 1, bytes_written: usize::MAX, ..fault });
    let batch = [letter("t", 0, "aaaa"), letter("t", 0, "bbbb"), letter("t", 0, "cccc")];
    send_all(&store, &batch).unwrap_err();
    // Exactly as long as the first of the failed ones: the second would line up behind it.
    send(&store, &letter("t", 0, "AAAA")).unwrap();
    drop(store);
    assert_eq!(bodies(&world.open(), "t", 0), ["AAAA"]);
}

#[test]
fn without_a_next_segment_appends_fail_until_space_returns() {
    let world = World::new(small_options());
    let store = world.open();
    send(&store, &letter("t", 0, "first")).unwrap();
    world.disk.inject(Fault::from_now(Operation::Allocate, "commitlog", ErrorKind::StorageFull));
    let large = "x".repeat(3000);
    let refused = (0..20).find_map(|_| send(&store, &letter("t", 1, &large)).err());
    assert!(matches!(refused, Some(AppendError::DiskFull { .. })), "{refused:?}");
    assert!(matches!(send(&store, &letter("t", 0, "small")), Err(AppendError::DiskFull { .. })));
    world.disk.heal();
    send(&store, &letter("t", 0, "second")).unwrap();
    drop(store);
    assert_eq!(bodies(&world.open(), "t", 0), ["first", "second"]);
}

#[test]
fn queue_files_that_cannot_be_written_wait_in_memory() {
    let world = World::new(small_options());
    let store = world.open();
    for i in 0..10 {
        send(&store, &letter("t", i % 3, &format!("{i}"))).unwrap();
    }
    world.disk.inject(Fault::from_now(Operation::Write, "consumequeue", ErrorKind::StorageFull));
    store.queue_step(false).unwrap_err();
    store.queue_step(false).unwrap_err();
    assert_eq!(bodies(&store, "t", 0), ["0", "3", "6", "9"]);
    world.disk.heal();
    store.queue_step(true).unwrap();
    assert_eq!(bodies(&store, "t", 1), ["1", "4", "7"]);
    store.stop().unwrap();
    drop(store);
    assert_eq!(bodies(&world.open(), "t", 2), ["2", "5", "8"]);
}

#[test]
fn above_the_warning_level_nothing_is_accepted() {
    let world = World::new(small_options());
    let store = world.open();
    world.disk.set_space(Space { total: 100, free: 5, available: 5 });
    store.clean_step().unwrap();
    let error = send(&store, &letter("t", 0, "x")).unwrap_err();
    assert!(error.to_string().contains("95 % used"), "{error}");
    world.disk.set_space(Space { total: 100, free: 50, available: 50 });
    store.clean_step().unwrap();
    send(&store, &letter("t", 0, "x")).unwrap();
}

/// A log of one segment can free nothing, and must stop all the same before the disk does; others fill it too.
#[test]
fn a_young_store_sees_the_disk_fill_and_empty_again() {
    let world = World::new(Options { clean_interval: Duration::from_millis(10), ..small_options() });
    world.disk.set_space(Space { total: 100, free: 5, available: 5 });
    let store = world.open();
    store.start_workers();
    let becomes = |writable: bool| {
        let looked = (0..1000).any(|_| {
            std::thread::park_timeout(Duration::from_millis(10));
            store.is_writable() == writable
        });
        assert!(looked, "the store never became writable={writable}");
    };
    becomes(false);
    assert!(matches!(send(&store, &letter("t", 0, "x")), Err(AppendError::DiskFull { .. })));
    for _ in 0..2 {
        world.disk.set_space(Space { total: 100, free: 50, available: 50 });
        becomes(true);
        send(&store, &letter("t", 0, "x")).unwrap();
        world.disk.set_space(Space { total: 100, free: 5, available: 5 });
        becomes(false);
    }
    assert_eq!(store.runtime().segments, 1);
    store.stop().unwrap();
}

/// Java takes an all-zero queue segment for one entry, and drops the message that belongs there (store.md §24 T3).
#[test]
fn no_queue_segment_is_left_without_entries() {
    let world = World::new(small_options());
    let store = world.open();
    send(&store, &letter("t", 0, "first")).unwrap();
    let fault = Fault::from_now(Operation::Write, "consumequeue", ErrorKind::StorageFull);
    world.disk.inject(fault.clone());
    store.queue_step(false).unwrap_err();
    drop(store);
    let segments =
        || world.disk.files().into_keys().filter(|path| path.starts_with(world.path("consumequeue/t")));
    assert_eq!(segments().count(), 0);

    world.disk.heal();
    let store = world.open();
    for i in 0..u64::from(world.options.queue_segment_entries) {
        send(&store, &letter("t", 0, &format!("{i}"))).unwrap();
    }
    // The first segment is filled, the second one's first write fails.
    world.disk.inject(Fault { after: 1, ..fault });
    store.queue_step(false).unwrap_err();
    assert_eq!(segments().count(), 1);
    world.disk.heal();
    store.queue_step(false).unwrap();
    assert_eq!(segments().count(), 2);
}

/// The rest of a failed write is cleared before a clean stop, and that is durable: the next start reads on there.
#[test]
fn what_a_failed_write_left_does_not_come_to_life_after_a_clean_stop_and_a_power_cut() {
    let mut world = World::new(small_options());
    let store = world.open();
    send(&store, &letter("t", 0, "kept")).unwrap();
    store.flush_step().unwrap();
    let fault = Fault::from_now(Operation::Write, "commitlog", ErrorKind::Other);
    world.disk.inject(Fault { times: 1, bytes_written: usize::MAX, ..fault });
    send(&store, &letter("t", 0, "failed")).unwrap_err();
    store.stop().unwrap();
    drop(store);
    let cut = world.disk.copy();
    for seed in 0..40 {
        world.disk = cut.crash(&mut Random::new(seed));
        assert_eq!(bodies(&world.open(), "t", 0), ["kept"], "seed {seed}");
    }
}
