//! The index after a kill, a power cut, or a stop that did not wait for it: what the checkpoint has a mark for is not
//! read again, and in the end the files are those of a broker to which nothing happened.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::support::{ROOT, World, bodies, letter, send, small_options};
use sim::reader::StoreFiles;
use sim::{Fault, Operation, Random};
use store::{KeyKind, Options, Store};

fn send_some(store: &Store, numbers: std::ops::Range<u32>) {
    for i in numbers {
        send(store, &letter("t", 0, &format!("{i}")).keyed(&format!("a{i} b{}", i % 7))).unwrap();
    }
}

fn index_all(store: &Store) {
    while store.index_step().unwrap() {}
}

/// Bytes of the log that are still to be indexed.
fn behind(store: &Store) -> u64 {
    store.runtime().dispatch_behind_bytes
}

fn index_files(world: &World) -> BTreeMap<PathBuf, Vec<u8>> {
    world.disk.files().into_iter().filter(|(path, _)| path.starts_with(world.path("index"))).collect()
}

fn is_found_once(store: &Store, number: u32) -> bool {
    let found = store.query("t", &format!("a{number}"), 32, 0, i64::MAX, KeyKind::Key).unwrap();
    found.records.len() == 1
}

/// Whether all of the first messages are found by their keys, the one that they have alone and the one that they share.
fn are_found(store: &Store, count: u32) -> bool {
    let sharing = |key: u32| {
        let found = store.query("t", &format!("b{key}"), 1000, 0, i64::MAX, KeyKind::Key).unwrap();
        found.records.len() == (0..count).filter(|i| i % 7 == key).count()
    };
    (0..count).all(|i| is_found_once(store, i)) && (0..7).all(sharing)
}

/// The index files of a broker that took so many messages and was stopped.
fn undisturbed(count: u32) -> BTreeMap<PathBuf, Vec<u8>> {
    let world = World::new(small_options());
    let store = world.open();
    send_some(&store, 0..count);
    store.stop().unwrap();
    index_files(&world)
}

/// A killed broker that took `marked` messages, marked the index, and took some more.
fn killed_after_mark(marked: u32, count: u32) -> (World, u64) {
    let world = World::new(small_options());
    let store = world.open();
    send_some(&store, 0..marked);
    index_all(&store);
    store.index_mark_step().unwrap();
    let position = store.log_end();
    send_some(&store, marked..count);
    index_all(&store);
    (world, position)
}

#[test]
fn a_killed_broker_reads_again_what_came_behind_the_mark() {
    // Two entries a message, 149 in a file: within the first, in the third.
    for (marked, count) in [(40, 45), (170, 175)] {
        let (world, position) = killed_after_mark(marked, count);
        let store = world.open();
        assert_eq!(behind(&store), store.log_end() - position, "of {count}");
        assert!((0..count).all(|i| is_found_once(&store, i)), "of {count}");
        store.stop().unwrap();
        drop(store);
        assert!(index_files(&world) == undisturbed(count), "of {count}");
        let store = world.open();
        assert_eq!(behind(&store), 0);
        send_some(&store, count..count + 1);
        assert!((0..=count).all(|i| is_found_once(&store, i)), "of {count}");
    }
}

#[test]
fn a_file_that_became_full_behind_its_mark_needs_none() {
    let (world, position) = killed_after_mark(70, 90);
    let store = world.open();
    assert!((1..store.log_end() - position).contains(&behind(&store)));
    assert!((0..90).all(|i| is_found_once(&store, i)));
    store.stop().unwrap();
    let files = StoreFiles::of(&world.disk.files(), Path::new(ROOT)).unwrap();
    files.compare_index(&files.log().unwrap(), world.options.index_slots).unwrap();
}

#[test]
fn what_a_clean_stop_left_is_kept_by_a_kill_soon_after_the_next_start() {
    // The 75th message has its first key in one file and its second in the next.
    for stopped in [45, 75, 76] {
        let world = World::new(small_options());
        let store = world.open();
        send_some(&store, 0..stopped);
        store.stop().unwrap();
        let stopped_at = store.log_end();
        drop(store);
        let store = world.open();
        send_some(&store, stopped..stopped + 2);
        index_all(&store);
        let end = store.log_end();
        drop(store);
        let store = world.open();
        assert_eq!(behind(&store), end - stopped_at, "stopped after {stopped}");
        assert!(are_found(&store, stopped + 2), "stopped after {stopped}");
        store.stop().unwrap();
        assert!(index_files(&world) == undisturbed(stopped + 2), "stopped after {stopped}");
    }
}

/// Then the file before, which is durable, ends with the record that the next one begins with.
#[test]
fn a_file_that_begins_within_a_record_counts_only_once_it_is_durable() {
    for seed in 0..60 {
        let mut world = World::new(Options { index_slots: 500, ..small_options() });
        let store = world.open();
        send_some(&store, 0..75);
        index_all(&store);
        // Killed in the middle of stopping: the second file is written, and nothing of it durable.
        world.disk.inject(Fault::from_now(Operation::Sync, "/index/", ErrorKind::Other));
        assert!(store.stop().is_err());
        drop(store);
        world.disk = world.disk.crash(&mut Random::new(seed));
        let store = world.open();
        let count = bodies(&store, "t", 0).len() as u32;
        index_all(&store);
        assert!(are_found(&store, count), "seed {seed}, of {count}");
    }
}

#[test]
fn a_power_cut_leaves_what_was_marked_whatever_else_it_takes() {
    for seed in 0..60 {
        let (mut world, position) = killed_after_mark(40, 45);
        let store = world.open();
        index_all(&store);
        // The mark is in the checkpoint, which is synced with the queues.
        store.queue_step(true).unwrap();
        send_some(&store, 45..60);
        index_all(&store);
        drop(store);
        world.disk = world.disk.crash(&mut Random::new(seed));
        let store = world.open();
        assert!(store.log_end() >= position);
        assert_eq!(behind(&store), store.log_end() - position, "seed {seed}");
        send_some(&store, 60..63);
        store.stop().unwrap();
        let files = StoreFiles::of(&world.disk.files(), Path::new(ROOT)).unwrap();
        let log = files.log().unwrap();
        files.compare_index(&log, world.options.index_slots).unwrap();
        let indexed: usize = index_files(&world).values().map(|bytes| usize::from(bytes[39]) - 1).sum();
        assert_eq!(indexed, 2 * log.records.len(), "seed {seed}: no entry is there twice");
    }
}

/// Entries chain to each other, so what became of a file is seen when its slots are made from them.
#[test]
fn a_file_whose_entries_do_not_hold_together_is_made_again() {
    let previous_of = |entry: usize| 40 + 4 * 50 + 20 * entry + 19;
    for entry in [1, 7, 79] {
        let (world, _) = killed_after_mark(40, 45);
        let path = index_files(&world).into_keys().next().unwrap();
        world.disk.damage(&path, |bytes| bytes[previous_of(entry)] ^= 1);
        let store = world.open();
        assert!((0..45).all(|i| is_found_once(&store, i)), "entry {entry}");
        store.stop().unwrap();
        assert!(index_files(&world) == undisturbed(45), "entry {entry}");
    }
}

/// A header of Java's layout: two times and two offsets of eight bytes, two numbers of four.
#[test]
fn a_damaged_header_ends_no_query_and_no_index() {
    let store = |world: &World| {
        let store = world.open();
        index_all(&store);
        store
    };
    for (at, value) in [
        (0, i64::MAX),
        (0, i64::MIN),
        (8, i64::MIN),
        (24, i64::MIN),
        (32, i64::MAX),
        (32, i64::from(i32::MAX)),
    ] {
        let world = World::new(small_options());
        let stopped = store(&world);
        send_some(&stopped, 0..20);
        world.clock.advance(Duration::from_secs(3));
        send_some(&stopped, 20..40);
        stopped.stop().unwrap();
        drop(stopped);
        let path = index_files(&world).into_keys().next().unwrap();
        world.disk.damage(&path, |bytes| bytes[at..at + 8].copy_from_slice(&value.to_be_bytes()));
        let store = store(&world);
        send_some(&store, 40..120);
        index_all(&store);
        assert!((0..40).all(|i| store.query("t", &format!("a{i}"), 32, 0, i64::MAX, KeyKind::Key).is_ok()));
        assert!((75..120).all(|i| is_found_once(&store, i)), "{value} at {at}");
        // A number of entries that no file has is seen at once, and the log read again.
        assert!(at < 32 || are_found(&store, 120), "{value} at {at}");
    }
}

#[test]
fn a_mark_goes_with_its_file() {
    let (world, _) = killed_after_mark(40, 45);
    let remove = |path: PathBuf| store::Disk::remove(&world.disk, &path).unwrap();
    index_files(&world).into_keys().for_each(remove);
    let store = world.open();
    index_all(&store);
    drop(store);
    let store = world.open();
    assert_eq!(behind(&store), store.log_end(), "the mark of the file before is not taken for the new one's");
    assert!((0..45).all(|i| is_found_once(&store, i)));
}

#[test]
fn a_stop_that_does_not_wait_leaves_the_rest_to_the_next_start() {
    let impatient = Options { index_stop_wait: Duration::ZERO, ..small_options() };
    let mut world = World::new(impatient);
    let store = world.open();
    send_some(&store, 0..90);
    index_all(&store);
    let indexed_until = store.log_end();
    send_some(&store, 90..120);
    store.stop().unwrap();
    drop(store);
    assert!(!world.disk.files().contains_key(&world.path("abort")), "the stop is a clean one");
    // What is in the files by then is whole: Java may open them, and finds what they speak of.
    world.options = small_options();
    let store = world.open();
    assert!(store.was_stopped_cleanly());
    assert_eq!(behind(&store), store.log_end() - indexed_until);
    assert!((0..120).all(|i| is_found_once(&store, i)));
    store.stop().unwrap();
    assert!(index_files(&world) == undisturbed(120));
}

#[test]
fn a_stop_before_the_first_step_of_the_index_is_a_clean_one_too() {
    for wait in [Duration::ZERO, Duration::from_secs(10)] {
        let (mut world, position) = killed_after_mark(40, 45);
        world.options = Options { index_stop_wait: wait, ..small_options() };
        let store = world.open();
        store.stop().unwrap();
        let end = store.log_end();
        drop(store);
        let store = world.open();
        assert_eq!(behind(&store), if wait.is_zero() { end - position } else { 0 });
        assert!((0..45).all(|i| is_found_once(&store, i)));
        world.options = small_options();
        store.stop().unwrap();
        drop(store);
        assert!(index_files(&world) == undisturbed(45));
    }
}

/// A store that is read-only since a sync has failed tells its checkpoint nothing more: that goes on to say that all of
/// the last file is as a clean stop has left it. So it must be, while the keys of the last messages come to be indexed.
#[test]
fn a_file_that_the_checkpoint_trusts_stays_as_it_is_when_a_sync_has_failed() {
    for failing in ["/index/", "/commitlog/"] {
        for writes in 0..6 {
            let world = World::new(Options { index_slots: 500, ..small_options() });
            let store = world.open();
            send_some(&store, 0..40);
            store.stop().unwrap();
            drop(store);
            let store = world.open();
            send_some(&store, 40..100);
            let fault = |on, path_part| Fault::from_now(on, path_part, ErrorKind::Other);
            world.disk.inject(Fault { times: 1, ..fault(Operation::Sync, failing) });
            let failures = [store.flush_step().is_err(), store.index_step().is_err()];
            assert!(failures.contains(&true) && !store.is_writable(), "{failing}");
            // Killed in the middle of writing to the index, which becomes full and is followed by another.
            world.disk.inject(Fault { after: writes, ..fault(Operation::Write, "/index/") });
            let indexed = store.index_step().is_ok() && store.index_step().is_ok();
            assert!(!indexed || are_found(&store, 100), "{failing}, {writes} writes");
            drop(store);
            for seed in 0..20 {
                let disk =
                    if seed == 0 { world.disk.copy() } else { world.disk.crash(&mut Random::new(seed)) };
                let World { clock, options, .. } = &world;
                let store = World { disk, clock: clock.clone(), options: options.clone() }.open();
                let count = bodies(&store, "t", 0).len() as u32;
                assert!(count >= 40 && (seed > 0 || count == 100));
                assert!(are_found(&store, count), "{failing}, {writes} writes, crash {seed}");
            }
        }
    }
}

/// The checkpoint of a clean stop says how far index files are complete; those that are made anew are not.
#[test]
fn a_file_that_was_never_synced_is_not_counted_on_though_one_that_went_had_come_further() {
    for seed in 0..60 {
        let mut world = World::new(small_options());
        let store = world.open();
        send_some(&store, 0..60);
        store.stop().unwrap();
        drop(store);
        let remove = |path: PathBuf| store::Disk::remove(&world.disk, &path).unwrap();
        index_files(&world).into_keys().for_each(remove);
        let store = world.open();
        index_all(&store);
        store.index_rest_step().unwrap();
        // What was indexed by then ends before where the stop was.
        drop(store);
        world.disk = world.disk.crash(&mut Random::new(seed));
        let store = world.open();
        assert!(are_found(&store, 60), "seed {seed}");
    }
}

/// Headers have no sums: other numbers that are wrong are found by `thrust store verify`, and end nothing.
#[test]
fn numbers_of_a_header_that_are_as_large_as_can_be_stop_nothing() {
    for (at, len) in [(0, 8), (8, 8), (16, 8), (24, 8), (32, 4)] {
        for first in [0x00, 0x7F, 0x80, 0xFF] {
            let world = World::new(small_options());
            let store = world.open();
            for i in 0..90 {
                world.clock.advance(Duration::from_secs(1));
                send_some(&store, i..i + 1);
            }
            store.stop().unwrap();
            drop(store);
            for path in index_files(&world).keys() {
                world.disk.damage(path, |bytes| {
                    bytes[at..at + len].fill(if first == 0x80 { 0 } else { 0xFF });
                    bytes[at] = first;
                });
            }
            let query = |store: &Store| {
                store.query("t", "b3", 200, i64::MIN, i64::MAX, KeyKind::Key).unwrap();
                store.query("t", "b3", 200, 0, i64::MAX, KeyKind::Key).unwrap();
            };
            let store = world.open();
            query(&store);
            for i in 90..180 {
                send_some(&store, i..i + 1);
            }
            query(&store);
            assert!(is_found_once(&store, 179));
            store.stop().unwrap();
            drop(store);
            query(&world.open());
        }
    }
}

/// With its threads: marks are set by the one that indexes.
#[test]
#[allow(clippy::disallowed_methods, reason = "threads of a real store are waited for")]
fn the_thread_that_indexes_sets_marks() {
    let world = World::new(small_options());
    let store = world.open();
    store.start_workers();
    send_some(&store, 0..40);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let is_marked = || world.disk.files()[&world.path("checkpoint")][144..].starts_with(b"ThrustI1");
    while !is_marked() {
        assert!(std::time::Instant::now() < deadline, "there is no mark");
        std::thread::sleep(Duration::from_millis(10));
    }
    store.stop().unwrap();
    drop(Arc::into_inner(store));
    assert!(index_files(&world) == undisturbed(40));
}
