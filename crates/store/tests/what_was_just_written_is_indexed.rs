//! The index is told the keys of what is appended; the log it reads only where it was not told.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::PathBuf;

use crate::support::{World, letter, send, small_options};
use sim::{Fault, Operation};
use store::{KeyKind, Options, Store};

/// Keys of one message.
const KEYS: u32 = 500;
/// Messages that have more keys than may wait for the index.
const TOO_MANY: u32 = 140;

fn index_all(store: &Store) {
    while store.index_step().unwrap() {}
}

fn send_some(store: &Store, numbers: Range<u32>) {
    for i in numbers {
        send(store, &letter("t", 0, &"x".repeat(100)).keyed(&format!("k{i}"))).unwrap();
    }
}

fn are_found(store: &Store, count: u32) -> bool {
    (0..count).all(|i| {
        let found = store.query("t", &format!("k{i}"), 32, 0, i64::MAX, KeyKind::Key).unwrap();
        found.records.len() == 1
    })
}

fn with_many_keys() -> Options {
    Options { segment_bytes: 64 << 10, index_slots: 5000, index_entries: 30_000, ..small_options() }
}

fn send_with_many_keys(store: &Store, number: u32) {
    let keys: Vec<String> = (0..KEYS).map(|key| format!("{number}-{key}")).collect();
    send(store, &letter("t", 0, "x").keyed(&keys.join(" "))).unwrap();
}

/// The index files of a broker that took so many messages; `is_time` tells after each of them whether to index.
fn indexed(messages: u32, is_time: impl Fn(u32) -> bool) -> BTreeMap<PathBuf, Vec<u8>> {
    let world = World::new(with_many_keys());
    let store = world.open();
    for number in 0..messages {
        send_with_many_keys(&store, number);
        if is_time(number) {
            index_all(&store);
        }
    }
    store.stop().unwrap();
    world.disk.files().into_iter().filter(|(path, _)| path.starts_with(world.path("index"))).collect()
}

#[test]
fn without_a_look_into_the_log_over_many_segments() {
    let world = World::new(small_options());
    let store = world.open();
    world.disk.inject(Fault::from_now(Operation::Read, "/commitlog/", ErrorKind::Other));
    for from in [0, 70, 140, 210] {
        send_some(&store, from..from + 70);
        index_all(&store);
    }
    assert!(store.log_end() > 2 * world.options.segment_bytes);
    world.disk.heal();
    assert!(are_found(&store, 280));
}

#[test]
fn what_came_before_a_kill_is_read_and_what_came_after_it_is_not() {
    let world = World::new(small_options());
    let store = world.open();
    send_some(&store, 0..50);
    drop(store);
    let store = world.open();
    send_some(&store, 50..90);
    world.disk.inject(Fault::from_now(Operation::Read, "/commitlog/", ErrorKind::Other));
    store.index_step().unwrap_err();
    world.disk.heal();
    assert!(are_found(&store, 90));
}

#[test]
fn as_the_log_has_it_when_more_came_at_once_than_may_wait() {
    const { assert!(TOO_MANY * KEYS > 1 << 16) };
    let one_by_one = indexed(TOO_MANY + 20, |_| true);
    assert!(one_by_one.len() > 2);
    assert!(one_by_one == indexed(TOO_MANY + 20, |number| number == TOO_MANY || number > TOO_MANY + 10));
    assert!(one_by_one == indexed(TOO_MANY + 20, |_| false));
}
