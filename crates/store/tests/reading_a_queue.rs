//! Every outcome of a read (store.md §12.1), filters and limits, entries of delayed messages.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Letter, World, letter, send, send_all, small_options};
use store::{Options, ReadLimits, ReadStatus, Store};
use wire::hash::tags_code;

fn read(store: &Store, offset: i64, max_count: u32, max_bytes: u64) -> (ReadStatus, i64, usize) {
    let limits = ReadLimits { max_count, max_bytes };
    let result = store.read(&store.queue("t", 0), offset, limits, &mut |_| true).unwrap();
    (result.status, result.next_offset, result.records.len())
}

#[test]
fn each_offset_gets_its_status() {
    let world = World::new(small_options());
    let store = world.open();
    assert_eq!(read(&store, 0, 10, 1000), (ReadStatus::NoMessageInQueue, 0, 0));
    assert_eq!(read(&store, 5, 10, 1000), (ReadStatus::NoMessageInQueue, 0, 0));
    for i in 0..100 {
        send(&store, &letter("t", 0, &format!("{i}"))).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(read(&store, -1, 10, 1 << 20), (ReadStatus::OffsetTooSmall, 0, 0));
        assert_eq!(read(&store, 0, 10, 1 << 20), (ReadStatus::Found, 10, 10));
        assert_eq!(read(&store, 35, 32, 1 << 20), (ReadStatus::Found, 67, 32));
        assert_eq!(read(&store, 95, 10, 1 << 20), (ReadStatus::Found, 100, 5));
        assert_eq!(read(&store, 100, 10, 1 << 20), (ReadStatus::OffsetOverflowOne, 100, 0));
        assert_eq!(read(&store, 101, 10, 1 << 20), (ReadStatus::OffsetOverflowBadly, 100, 0));
        // The first message comes whatever its size.
        assert_eq!(read(&store, 0, 10, 1), (ReadStatus::Found, 1, 1));
        // Again with the entries in files instead of memory.
        store.queue_step(true).unwrap();
    }
}

#[test]
fn a_filter_passes_over_messages_and_says_how_far_it_came() {
    let world = World::new(small_options());
    let store = world.open();
    for i in 0..1000 {
        send(&store, &letter("t", 0, &format!("{i}")).tagged(if i == 900 { "rare" } else { "common" }))
            .unwrap();
    }
    let rare = tags_code(Some("rare"));
    let queue = store.queue("t", 0);
    let limits = ReadLimits { max_count: 32, max_bytes: 1 << 20 };
    let first = store.read(&queue, 0, limits, &mut |code| code == rare).unwrap();
    assert_eq!((first.status, first.next_offset), (ReadStatus::NoMatchedMessage, 800));
    let second = store.read(&queue, 800, limits, &mut |code| code == rare).unwrap();
    assert_eq!((second.status, second.next_offset, second.records.len()), (ReadStatus::Found, 1000, 1));
}

#[test]
fn an_answer_from_disk_is_smaller_than_one_from_memory() {
    let world = World::new(store::Options { in_memory_bytes: 1000, ..small_options() });
    let store = world.open();
    for i in 0..100 {
        send(&store, &letter("t", 0, &format!("{i}"))).unwrap();
    }
    assert_eq!(read(&store, 0, 32, 1 << 20), (ReadStatus::Found, 8, 8));
    let result = store
        .read(&store.queue("t", 0), 0, ReadLimits { max_count: 1, max_bytes: 100 }, &mut |_| true)
        .unwrap();
    assert!(result.suggest_slave);
}

#[test]
fn delayed_messages_are_due_at_the_same_time_after_recovery() {
    let world = World::new(small_options());
    let store = world.open();
    let delayed = |level: &str| Letter {
        delay: level.into(),
        ..letter("SCHEDULE_TOPIC_XXXX", 2, "later").tagged("tag")
    };
    let first = send(&store, &delayed("3")).unwrap();
    send(&store, &delayed("99")).unwrap();
    send(&store, &delayed("0")).unwrap();
    let codes = |store: &Store| -> Vec<i64> {
        let queue = store.queue("SCHEDULE_TOPIC_XXXX", 2);
        store.entries(&queue, 0, 10).iter().map(|entry| entry.tags_code).collect()
    };
    let expected =
        [first.store_timestamp + 10_000, first.store_timestamp + 7_200_000, tags_code(Some("tag"))];
    assert_eq!(codes(&store), expected);
    drop(store);
    assert_eq!(codes(&world.open()), expected);
}

#[test]
fn half_and_rolled_back_transactions_have_no_place_in_a_queue() {
    let world = World::new(small_options());
    let store = world.open();
    for sys_flag in [0, 0x4, 0x8, 0xC, 0] {
        let appended = send(&store, &Letter { sys_flag, ..letter("t", 0, "x") }).unwrap();
        if sys_flag == 0x4 || sys_flag == 0xC {
            assert_eq!(appended.queue_offset, 0);
        }
        assert!(store.record_at(appended.offset).unwrap().is_some());
    }
    assert_eq!(store.queue("t", 0).max_offset(), 3);
    drop(store);
    assert_eq!(world.open().queue("t", 0).max_offset(), 3);
}

#[test]
fn a_record_is_only_found_where_one_begins() {
    let world = World::new(small_options());
    let store = world.open();
    let appended = send(&store, &letter("t", 0, "hello")).unwrap();
    assert!(store.record_at(appended.offset).unwrap().is_some());
    for offset in 1..appended.until + 10 {
        assert!(store.record_at(offset).unwrap().is_none(), "{offset}");
    }
    assert!(store.record_at(u64::MAX).unwrap().is_none());
    world.disk.damage(&world.path("commitlog/00000000000000000000"), |bytes| bytes[88] ^= 1);
    assert!(store.record_at(appended.offset).unwrap().is_none(), "a flipped bit in the body");
}

/// A timer that follows its queue takes a message without a record for one that is lost, and passes over it.
#[test]
fn whoever_sees_an_entry_finds_its_record() {
    let world = World::new(Options { segment_bytes: 4 << 20, ..small_options() });
    let store = world.open();
    let letters: Vec<_> = (0..500).map(|i| letter("t", i % 3, "x")).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let appending = scope.spawn(|| {
            for _ in 0..200 {
                send_all(&store, &letters).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        let queue = store.queue("t", 0);
        while !done.load(Ordering::Acquire) && !appending.is_finished() {
            let Some(last) = queue.max_offset().checked_sub(1) else { continue };
            let entry = store.entries(&queue, last, 1)[0];
            let record = store.record_at(entry.physical_offset).unwrap();
            assert!(record.is_some(), "the record of message {last}");
        }
    });
}
