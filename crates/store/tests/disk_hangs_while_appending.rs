//! A sync that does not come back: appends go on, and those who wait for the disk are told in time.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::support;
use crate::support::{World, letter, send, sync_options};
use parking_lot::Mutex;
use store::{Flushed, KeyKind};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn an_append_does_not_wait_for_the_sync_of_zeros_ahead() {
    let world = World::new(sync_options());
    let store = world.open();
    send(&store, &letter("t", 0, "first")).unwrap();
    world.disk.hold_syncs(true);
    let zeroing = std::thread::spawn({
        let store = store.clone();
        move || store.zero_step()
    });
    // Far enough to meet the zeros that are under way, if they are.
    let (done, is_done) = channel();
    let appending = std::thread::spawn({
        let store = store.clone();
        move || {
            for _ in 0..4 {
                send(&store, &letter("t", 0, &"x".repeat(1500))).unwrap();
            }
            done.send(()).unwrap();
        }
    });
    is_done.recv_timeout(PATIENCE).expect("appends go on while a sync hangs");
    world.disk.hold_syncs(false);
    appending.join().unwrap();
    zeroing.join().unwrap().unwrap();
    store.flush_step().unwrap();
    assert_eq!(support::bodies(&store, "t", 0).len(), 5);
}

#[test]
fn while_a_flush_hangs_waiters_are_told_that_their_time_is_over() {
    let world = World::new(sync_options());
    let store = world.open();
    let appended = send(&store, &letter("t", 0, "slow")).unwrap();
    world.disk.hold_syncs(true);
    let flushing = std::thread::spawn({
        let store = store.clone();
        move || store.flush_step()
    });
    let outcome = Arc::new(Mutex::new(Vec::new()));
    let seen = outcome.clone();
    store.when_flushed(appended.until, Box::new(move |flushed| seen.lock().push(flushed)));
    world.clock.advance(Duration::from_secs(6));
    store.deadline_step();
    assert_eq!(*outcome.lock(), [Flushed::Timeout]);
    world.disk.hold_syncs(false);
    flushing.join().unwrap().unwrap();
    assert_eq!(outcome.lock().len(), 1);
    assert_eq!(store.queue("t", 0).max_offset(), 1);
}

/// A sender whose deadline is looked at in the moment in which the flush ends is told no earlier than the others.
#[test]
fn what_a_sender_is_told_is_durable_can_be_read_by_then() {
    const COUNT: u64 = 5_000;
    let world = World::new(sync_options());
    let store = world.open();
    let queue = store.queue("t", 0);
    let (begin, begun) = channel();
    let flushing = std::thread::spawn({
        let store = store.clone();
        move || begun.iter().try_for_each(|()| store.flush_step())
    });
    for count in 1..=COUNT {
        let appended = send(&store, &letter("t", 0, "new")).unwrap();
        let readable = Arc::new(Mutex::new(None));
        let (seen, read) = (readable.clone(), queue.clone());
        let told = move |flushed| *seen.lock() = Some((flushed, read.max_offset()));
        store.when_flushed(appended.until, Box::new(told));
        begin.send(()).unwrap();
        while readable.lock().is_none() {
            store.deadline_step();
        }
        assert_eq!(*readable.lock(), Some((Flushed::Done, count)));
    }
    drop(begin);
    flushing.join().unwrap().unwrap();
}

/// Who asks after a timeout whether the message is there, and is told yes, will not send it again.
#[test]
fn what_the_disk_does_not_have_yet_is_found_neither_by_key_nor_by_place() {
    let world = World::new(sync_options());
    let store = world.open();
    send(&store, &letter("t", 0, "durable").keyed("k").tagged("tag")).unwrap();
    store.flush_step().unwrap();
    let slow = send(&store, &letter("t", 0, "slow").keyed("k").tagged("tag")).unwrap();
    let found = |kind| {
        let key = if kind == KeyKind::Tag { "tag" } else { "k" };
        store.query("t", key, 9, 0, i64::MAX, kind).unwrap().records.len()
    };
    assert_eq!((found(KeyKind::Key), found(KeyKind::Tag)), (1, 1));
    assert_eq!(store.shown_record_at(slow.offset).unwrap(), None);
    assert!(store.record_at(slow.offset).unwrap().is_some(), "the broker itself goes on with it");
    store.flush_step().unwrap();
    assert_eq!((found(KeyKind::Key), found(KeyKind::Tag)), (2, 2));
    assert!(store.shown_record_at(slow.offset).unwrap().is_some());
}
