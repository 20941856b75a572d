//! After a kill the queue entries that no round of writing has covered come from their journal; the log is read only
//! behind it.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::support::{World, bodies, letter, send, small_options};
use sim::{Fault, Operation, Random};
use store::{Disk, Options, Store};

fn world(queue_journal_bytes_max: u64) -> World {
    World::new(Options {
        queue_table_rows_min: 1,
        queue_table_bytes: 1 << 20,
        queue_journal_bytes_max,
        ..small_options()
    })
}

fn send_some(store: &Store, numbers: std::ops::Range<u64>) {
    for i in numbers {
        send(store, &letter(&format!("t{}", i % 10), 0, &i.to_string())).unwrap();
    }
}

fn check(store: &Store, count: u64) {
    for topic in 0..10 {
        let wanted: Vec<_> = (0..count).filter(|i| i % 10 == topic).map(|i| i.to_string()).collect();
        assert_eq!(bodies(store, &format!("t{topic}"), 0), wanted, "t{topic}");
    }
}

/// A store with `count` messages, flushed and journaled, whose queues were never written.
fn journaled(world: &World, count: u64) -> u64 {
    let store = world.open();
    send_some(&store, 0..count);
    store.flush_step().unwrap();
    store.journal_step().unwrap();
    store.log_end()
}

fn journal_files(world: &World) -> Vec<PathBuf> {
    let dir = world.path("queuejournal");
    world.disk.files().into_keys().filter(|path| path.starts_with(&dir)).collect()
}

/// How many messages a start finds if the log is damaged at its very beginning; none if it does not start. It tells
/// whether that part is read.
fn found_behind_damage(world: &World) -> Option<u64> {
    let copy = World { disk: world.disk.copy(), clock: world.clock.clone(), options: world.options.clone() };
    copy.disk.damage(&copy.path("commitlog/00000000000000000000"), |bytes| bytes[5] ^= 1);
    let store = copy.try_open().ok()?;
    Some((0..10).map(|topic| store.queue(&format!("t{topic}"), 0).max_offset()).sum())
}

#[test]
fn with_few_queues_there_is_no_journal_until_there_are_more() {
    let mut world = world(1 << 20);
    world.options.queue_journal_queues_min = 12;
    let store = world.open();
    send_some(&store, 0..100);
    // The first step finds what came before it knew how many queues there are.
    store.journal_step().unwrap();
    send_some(&store, 100..200);
    store.journal_step().unwrap();
    let before = journal_files(&world);
    send_some(&store, 200..210);
    send(&store, &letter("u", 0, "one more")).unwrap();
    send(&store, &letter("v", 0, "and another")).unwrap();
    for _ in 0..2 {
        store.journal_step().unwrap();
        send_some(&store, 210..220);
    }
    store.flush_step().unwrap();
    assert!(journal_files(&world).len() > before.len(), "{before:?}");
    drop(store);
    let store = world.open();
    assert_eq!(bodies(&store, "u", 0), ["one more"]);
    assert_eq!(bodies(&store, "t3", 0).len(), 23);
}

#[test]
fn a_start_after_a_kill_reads_nothing_of_the_log_that_the_journal_knows() {
    // Whether the queues come from their table or from their files.
    for queue_table_rows_min in [0, 1000] {
        let mut world = world(1 << 20);
        world.options.queue_table_rows_min = queue_table_rows_min;
        journaled(&world, 200);
        assert_eq!(found_behind_damage(&world), Some(200));
        for path in journal_files(&world) {
            world.disk.remove(&path).unwrap();
        }
        assert_eq!(found_behind_damage(&world), None, "without the journal all of it is read");
        check(&world.open(), 200);
    }
}

#[test]
fn what_came_behind_the_journal_is_read_from_the_log() {
    let world = world(1 << 20);
    journaled(&world, 100);
    let store = world.open();
    send_some(&store, 100..150);
    drop(store);
    let store = world.open();
    check(&store, 150);
    // That is in the journal now, without a round of writing.
    store.journal_step().unwrap();
    send_some(&store, 150..170);
    drop(store);
    assert_eq!(found_behind_damage(&world), Some(170));
    let store = world.open();
    check(&store, 170);
    assert_eq!(send(&store, &letter("t3", 0, "next")).unwrap().queue_offset, 17);
}

#[test]
fn a_block_that_the_kill_cut_short_does_not_count() {
    let world = world(1 << 20);
    let store = world.open();
    send_some(&store, 0..100);
    store.journal_step().unwrap();
    send_some(&store, 100..200);
    let cut =
        Fault { bytes_written: 700, ..Fault::from_now(Operation::Write, "queuejournal", ErrorKind::Other) };
    world.disk.inject(cut);
    store.journal_step().unwrap_err();
    drop(store);
    world.disk.heal();
    assert_eq!(found_behind_damage(&world), Some(200));
    check(&world.open(), 200);
}

#[test]
fn a_gap_is_read_from_the_log_and_the_rounds_of_writing_close_it() {
    let world = world(1 << 20);
    let store = world.open();
    send_some(&store, 0..50);
    store.journal_step().unwrap();
    send_some(&store, 50..100);
    world.disk.inject(Fault::from_now(Operation::Create, "queuejournal", ErrorKind::StorageFull));
    world.disk.inject(Fault::from_now(Operation::Write, "queuejournal", ErrorKind::StorageFull));
    store.journal_step().unwrap_err();
    world.disk.heal();
    send_some(&store, 100..150);
    store.journal_step().unwrap();
    let copy = World { disk: world.disk.copy(), clock: world.clock.clone(), options: world.options.clone() };
    check(&copy.open(), 150);
    // A clean look at the same files after the queues were written: the journal behind the gap is what counts.
    drop(store);
    let store = world.open();
    store.queue_step(false).unwrap();
    send_some(&store, 150..200);
    store.journal_step().unwrap();
    drop(store);
    check(&world.open(), 200);
}

#[test]
fn a_full_journal_takes_more_when_the_queues_have_been_written() {
    let world = World::new(Options { queue_table_bytes: 1, ..world(6000).options });
    let store = world.open();
    for round in 0..20 {
        send_some(&store, round * 30..(round + 1) * 30);
        store.journal_step().unwrap();
    }
    let bytes: usize = journal_files(&world).iter().map(|path| world.disk.files()[path].len()).sum();
    assert!((6000..9000).contains(&bytes), "{bytes}");
    let copy = World { disk: world.disk.copy(), clock: world.clock.clone(), options: world.options.clone() };
    check(&copy.open(), 600);
    store.queue_step(false).unwrap();
    for round in 20..23 {
        send_some(&store, round * 30..(round + 1) * 30);
        store.journal_step().unwrap();
    }
    drop(store);
    assert_eq!(found_behind_damage(&world), Some(690));
    check(&world.open(), 690);
}

#[test]
fn files_go_when_the_table_has_come_past_them() {
    let world = World::new(Options { queue_table_bytes: 1, ..world(1 << 20).options });
    let store = world.open();
    for round in 0..10 {
        send_some(&store, round * 30..(round + 1) * 30);
        store.journal_step().unwrap();
        store.queue_step(false).unwrap();
        assert!(journal_files(&world).len() <= 2, "{:?}", journal_files(&world));
    }
    store.stop().unwrap();
    assert!(world.disk.stat(&world.path("queuejournal")).unwrap().is_none(), "a clean stop leaves none");
}

#[test]
fn a_restart_of_the_machine_or_a_java_broker_voids_it() {
    let mut world = world(1 << 20);
    journaled(&world, 100);
    world.disk = world.disk.crash(&mut Random::new(1));
    check(&world.open(), 100);
    assert_eq!(journal_files(&world), Vec::<PathBuf>::new());

    let world = self::world(1 << 20);
    journaled(&world, 100);
    world.disk.damage(&world.path("checkpoint"), |bytes| bytes[3] ^= 1);
    check(&world.open(), 100);
    assert_eq!(journal_files(&world), Vec::<PathBuf>::new());
}

#[test]
fn a_flipped_bit_is_noticed_and_the_log_read_instead() {
    let original = world(1 << 20);
    journaled(&original, 20);
    let [path] = &journal_files(&original)[..] else { panic!("one file") };
    for at in 0..original.disk.files()[path].len() {
        let world = World {
            disk: original.disk.copy(),
            clock: original.clock.clone(),
            options: original.options.clone(),
        };
        world.disk.damage(path, |bytes| bytes[at] ^= 1 << (at % 8));
        check(&world.open(), 20);
    }
}

#[test]
fn a_deleted_topic_stays_deleted() {
    let world = world(1 << 20);
    let store = world.open();
    send_some(&store, 0..100);
    store.journal_step().unwrap();
    store.delete_topic("t4").unwrap();
    send(&store, &letter("t5", 0, "later")).unwrap();
    store.journal_step().unwrap();
    drop(store);
    let store = world.open();
    assert!(!store.topics().iter().any(|topic| &**topic == "t4"), "{:?}", store.topics());
    assert_eq!(bodies(&store, "t5", 0).len(), 11);
    send(&store, &letter("t4", 0, "anew")).unwrap();
    store.journal_step().unwrap();
    drop(store);
    assert_eq!(bodies(&world.open(), "t4", 0), ["anew"]);
}

#[test]
fn every_kind_of_queue_is_in_it() {
    let world = World::new(Options { multi_dispatch: true, ..world(1 << 20).options });
    crate::support::configure_batch_topics(&world.disk, &["batches"]);
    let store = world.open();
    for i in 0..5 {
        send(&store, &letter("batches", 0, &format!("b{i}")).inner_batch(3)).unwrap();
        send(&store, &letter("t1", 0, &format!("l{i}")).also_in("%LMQ%a,%LMQ%b")).unwrap();
    }
    store.flush_step().unwrap();
    store.journal_step().unwrap();
    drop(store);
    world.disk.damage(&world.path("commitlog/00000000000000000000"), |bytes| bytes[5] ^= 1);
    let store = world.open();
    assert_eq!(store.queue("batches", 0).max_offset(), 15);
    for light in ["%LMQ%a", "%LMQ%b"] {
        assert_eq!(store.queue(light, 0).max_offset(), 5);
    }
}
