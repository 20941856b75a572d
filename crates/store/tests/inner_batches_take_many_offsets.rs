//! A topic with batch queues: a record may hold many messages, which are counted one by one and found at any of their
//! offsets, whatever happened to the store.

use std::time::Duration;

use crate::support;
use crate::support::{World, configure_batch_topics, letter, read_queue, send, send_all, small_options};
use store::examine::StoreFiles;
use store::{Batch, Boundary, QueueKind, ReadLimits, ReadStatus, Store, StoreError};
use wire::properties;
use wire::record::Record;

const LIMITS: ReadLimits = ReadLimits { max_count: 32, max_bytes: 1 << 20 };

fn world() -> World {
    let world = World::new(small_options());
    configure_batch_topics(&world.disk, &["letters"]);
    world
}

/// Bodies and first offsets of what one read from `offset` gives, and where the next begins.
fn read(store: &Store, offset: i64, limits: ReadLimits) -> (Vec<(String, i64)>, i64) {
    let queue = store.queue("letters", 0);
    let result = store.read(&queue, offset, limits, &mut |_| true).unwrap();
    assert_eq!(result.status, ReadStatus::Found);
    let records = result.records.iter().map(|bytes| {
        let bytes = bytes.unwrap();
        let record = Record::parse(&bytes).unwrap();
        (String::from_utf8_lossy(record.body).into_owned(), record.queue_offset)
    });
    (records.collect(), result.next_offset)
}

fn pair(body: &str, offset: i64) -> (String, i64) {
    (body.to_owned(), offset)
}

/// Sends a batch of ten, a single message, a batch of three: offsets 0 to 13.
fn send_three(world: &World, store: &Store) {
    send(store, &letter("letters", 0, "ten").inner_batch(10)).unwrap();
    world.clock.advance(Duration::from_secs(1));
    send(store, &letter("letters", 0, "one")).unwrap();
    world.clock.advance(Duration::from_secs(1));
    let appended = send(store, &letter("letters", 0, "three").inner_batch(3)).unwrap();
    assert_eq!(appended.queue_offset, 11);
}

fn check_three(store: &Store) {
    let queue = store.queue("letters", 0);
    assert_eq!(queue.kind(), QueueKind::Batch);
    assert_eq!((queue.min_offset(), queue.max_offset()), (0, 14));
    let all = [pair("ten", 0), pair("one", 10), pair("three", 11)];
    for offset in 0..14 {
        let from = usize::from(offset >= 10) + usize::from(offset >= 11);
        assert_eq!(read(store, offset, LIMITS), (all[from..].to_vec(), 14), "from {offset}");
    }
    let at_end = store.read(&queue, 14, LIMITS, &mut |_| true).unwrap();
    assert_eq!((at_end.status, at_end.next_offset), (ReadStatus::OffsetOverflowOne, 14));
    assert_eq!(read_queue(store, &queue).len(), 3);
}

#[test]
fn every_offset_leads_to_the_record_that_holds_it() {
    let world = world();
    let store = world.open();
    send_three(&world, &store);
    check_three(&store);
    // A batch comes whole or not at all, and the first one whatever is asked for.
    let few = ReadLimits { max_count: 4, ..LIMITS };
    assert_eq!(read(&store, 3, few), (vec![pair("ten", 0)], 10));
    assert_eq!(read(&store, 10, few), (vec![pair("one", 10), pair("three", 11)], 14));
    let fewer = ReadLimits { max_count: 3, ..LIMITS };
    assert_eq!(read(&store, 10, fewer), (vec![pair("one", 10)], 11));
}

#[test]
fn the_first_offset_stands_in_the_record() {
    for append_prop_crc in [false, true] {
        let world = World::new(store::Options { append_prop_crc, ..small_options() });
        configure_batch_topics(&world.disk, &["letters"]);
        let store = world.open();
        send(&store, &letter("letters", 0, "a").inner_batch(5)).unwrap();
        let appended = send(&store, &letter("letters", 0, "b").inner_batch(2)).unwrap();
        let bytes = store.record_at(appended.offset).unwrap().unwrap();
        let record = Record::parse(&bytes).unwrap();
        assert_eq!(record.property(properties::INNER_BASE).unwrap().parse(), Ok(5));
        assert_eq!(record.property(properties::INNER_NUM), Some("2"));
        assert_eq!(wire::prop_crc::verify(&bytes).is_ok(), append_prop_crc);
    }
}

#[test]
fn a_time_leads_to_the_beginning_of_a_batch() {
    let world = world();
    let store = world.open();
    send_three(&world, &store);
    let queue = store.queue("letters", 0);
    let time = |offset| store.store_time_of(&queue, offset).unwrap();
    let (first, last) = (time(9), time(13));
    assert_eq!(last - first, 2000);
    for (millis, boundary, offset) in [
        (first - 1, Boundary::Lower, 0),
        (first, Boundary::Upper, 0),
        (first + 1, Boundary::Lower, 10),
        (first + 1, Boundary::Upper, 0),
        (last, Boundary::Lower, 11),
        // As with Java, behind the last one is the last one.
        (last + 1, Boundary::Lower, 11),
        (last + 1, Boundary::Upper, 11),
    ] {
        let found = store.offset_by_time(&queue, millis, boundary).unwrap();
        assert_eq!(found, offset, "{boundary:?} at {}", millis - first);
    }
}

#[test]
fn numbers_go_on_after_a_stop_and_after_a_kill() {
    let world = world();
    let store = world.open();
    send_three(&world, &store);
    store.stop().unwrap();
    drop(store);
    let store = world.open();
    check_three(&store);
    let appended = send(&store, &letter("letters", 0, "more").inner_batch(4)).unwrap();
    assert_eq!(appended.queue_offset, 14);
    drop(store);
    let store = world.open();
    assert_eq!(store.queue("letters", 0).max_offset(), 18);
    assert_eq!(read(&store, 17, LIMITS), (vec![pair("more", 14)], 18));
}

#[test]
fn queue_files_that_are_gone_are_built_again() {
    let world = world();
    let store = world.open();
    send_three(&world, &store);
    store.stop().unwrap();
    drop(store);
    let path = world.path("batchconsumequeue/letters/0/00000000000000000000");
    let before = world.disk.files()[&path].clone();
    assert_eq!(before.len(), 30 * 46);
    store::Disk::remove(&world.disk, &path).unwrap();
    let store = world.open();
    check_three(&store);
    store.stop().unwrap();
    assert_eq!(world.disk.files()[&path], before);
}

#[test]
fn files_roll_expire_and_are_deleted_with_their_topic() {
    let world = world();
    let store = world.open();
    let body = "x".repeat(300);
    for _ in 0..100 {
        send(&store, &letter("letters", 0, &body).inner_batch(7)).unwrap();
    }
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    world.clock.advance(Duration::from_secs(80 * 3600));
    store.clean_soon();
    assert!(store.clean_step().unwrap() > 0);
    let queue = store.queue("letters", 0);
    let min = queue.min_offset();
    assert!(min > 0 && min.is_multiple_of(7), "{min}");
    assert_eq!(queue.max_offset(), 700);
    let result = store.read(&queue, 3, LIMITS, &mut |_| true).unwrap();
    assert_eq!((result.status, result.next_offset), (ReadStatus::OffsetTooSmall, min as i64));
    assert_eq!(read(&store, min as i64 + 5, LIMITS).0[0].1, min as i64);
    let files = |world: &World| {
        let dir = world.path("batchconsumequeue/letters/0");
        world.disk.files().keys().filter(|path| path.starts_with(&dir)).count()
    };
    assert_eq!(files(&world), 2, "of four files two hold only what has expired");
    drop(store);
    let store = world.open();
    assert_eq!(store.queue("letters", 0).min_offset(), min);
    store.delete_topic("letters").unwrap();
    assert_eq!(files(&world), 0);
    let appended = send(&store, &letter("letters", 0, "new").inner_batch(2)).unwrap();
    assert_eq!(appended.queue_offset, 0);
}

#[test]
fn verify_knows_them_and_repair_builds_them() {
    let world = world();
    let store = world.open();
    send_three(&world, &store);
    send_all(&store, &[letter("plain", 0, "a"), letter("letters", 1, "b").inner_batch(2)]).unwrap();
    store.stop().unwrap();
    drop(store);
    let open = || StoreFiles::open(std::sync::Arc::new(world.disk.clone()), world.options.clone()).unwrap();
    let verified = open().verify(&mut |_| {}).unwrap();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings.kept());
    assert_eq!((verified.queues, verified.queue_entries), (3, 5));
    let overview = open().overview(true, &mut |_| ()).unwrap();
    let view = overview.queues.iter().find(|queue| (&*queue.topic, queue.id) == ("letters", 0)).unwrap();
    assert_eq!((view.min, view.max, view.files), (0, 14, 1));
    let numbers = open().entries("letters", 0, None, 10).unwrap().unwrap();
    assert_eq!(numbers.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 10, 11]);

    // An entry that says that it holds more than its record does.
    let path = world.path("batchconsumequeue/letters/0/00000000000000000000");
    store::Disk::open(&world.disk, &path).unwrap().write_at(&[0, 12], 36).unwrap();
    let files = open();
    let verified = files.verify(&mut |_| {}).unwrap();
    let [finding] = verified.findings.kept() else { panic!("{:?}", verified.findings.kept()) };
    assert!(
        finding.what.contains("has 12 messages from offset 0 on, and it has 10 from 0 on"),
        "{finding:?}"
    );
    let plan = files.plan(&verified, None, false).unwrap();
    files.repair(&plan, std::sync::Arc::new(world.clock.clone()), &mut |_| {}).unwrap();
    assert!(open().verify(&mut |_| {}).unwrap().findings.is_empty());
    check_three(&world.open());
}

#[test]
fn queues_of_the_other_kind_keep_the_store_closed() {
    let world = World::new(small_options());
    let store = world.open();
    send(&store, &letter("letters", 0, "plain")).unwrap();
    store.stop().unwrap();
    drop(store);
    configure_batch_topics(&world.disk, &["letters"]);
    assert!(matches!(world.try_open(), Err(StoreError::OtherKind { .. })));
}

#[test]
fn a_topic_made_anew_as_the_other_kind_begins_anew() {
    let world = world();
    let store = world.open();
    send_three(&world, &store);
    store.set_queue_kind("letters", QueueKind::Simple).unwrap();
    configure_batch_topics(&world.disk, &[]);
    assert_eq!(send(&store, &letter("letters", 0, "plain")).unwrap().queue_offset, 0);
    drop(store);
    let store = world.open();
    assert_eq!(support::bodies(&store, "letters", 0), ["plain"]);
    assert!(!world.disk.files().keys().any(|path| path.starts_with(world.path("batchconsumequeue"))));
}

#[test]
fn a_batch_for_a_topic_that_is_deleted_meanwhile_shifts_no_later_one() {
    let world = world();
    let store = world.open();
    let mut batch = Batch::default();
    letter("letters", 0, "ten").inner_batch(10).push_to(&store, &mut batch);
    store.set_queue_kind("letters", QueueKind::Simple).unwrap();
    store.append(&mut batch).unwrap();
    assert_eq!(store.queue("letters", 0).kind(), QueueKind::Simple);
    assert_eq!(send(&store, &letter("letters", 0, "one")).unwrap().queue_offset, 0);
    assert_eq!(read_queue(&store, &store.queue("letters", 0)).len(), 1);
    store.stop().unwrap();
}
