//! From a time to an offset (store.md §12.2), compared with a search through all messages.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{World, letter, send, small_options};
use sim::{Fault, Operation, Random};
use store::{Boundary, Clock, Store};

#[test]
fn the_found_offset_is_that_of_a_linear_search() {
    let world = World::new(small_options());
    let store = world.open();
    let mut random = Random::new(9);
    let mut times = Vec::new();
    for _ in 0..150 {
        world.clock.advance(Duration::from_millis(random.below(4) * random.below(3)));
        send(&store, &letter("t", 0, "x")).unwrap();
        send(&store, &letter("other", 0, "x")).unwrap();
        times.push(world.clock.now_millis());
    }
    store.queue_step(false).unwrap();
    let queue = store.queue("t", 0);
    let (first, last) = (times[0], times[149]);
    for time in first - 2..=last + 2 {
        let lower = times.iter().position(|at| *at >= time).unwrap_or(150);
        assert_eq!(
            store.offset_by_time(&queue, time, Boundary::Lower).unwrap(),
            lower as i64,
            "lower {time}"
        );
        let upper = times.iter().rposition(|at| *at <= time).unwrap_or(0);
        assert_eq!(
            store.offset_by_time(&queue, time, Boundary::Upper).unwrap(),
            upper as i64,
            "upper {time}"
        );
    }
    assert_eq!(store.store_time_of(&queue, 7), Some(times[7]));
    assert_eq!(store.store_time_of(&queue, 150), None);
    assert_eq!(store.earliest_store_time(), Some(first));
    assert_eq!(store.offset_by_time(&store.queue("empty", 0), first, Boundary::Lower).unwrap(), 0);
}

/// Thirty messages, ten milliseconds apart; gives their times and where they stand in the log.
fn thirty_messages(world: &World) -> (Arc<Store>, Vec<(i64, usize)>) {
    let store = world.open();
    let mut messages = Vec::new();
    for _ in 0..30 {
        let appended = send(&store, &letter("t", 0, "x")).unwrap();
        messages.push((appended.store_timestamp, appended.offset as usize));
        world.clock.advance(Duration::from_millis(10));
    }
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    (store, messages)
}

#[test]
fn what_cannot_be_read_is_an_error_and_not_the_end_of_the_queue() {
    for file in ["consumequeue", "commitlog"] {
        let world = World::new(small_options());
        let (store, messages) = thirty_messages(&world);
        let queue = store.queue("t", 0);
        for boundary in [Boundary::Lower, Boundary::Upper] {
            world.disk.inject(Fault::from_now(Operation::Read, file, ErrorKind::Other));
            let refused = store.offset_by_time(&queue, messages[3].0, boundary).unwrap_err();
            assert!(refused.to_string().contains("injected"), "{refused}");
            world.disk.heal();
            assert_eq!(store.offset_by_time(&queue, messages[3].0, boundary).unwrap(), 3);
        }
    }
}

#[test]
fn damaged_messages_in_the_middle_hide_none_before_them() {
    for damaged in [15..16, 14..19, 10..25] {
        let world = World::new(small_options());
        let (store, messages) = thirty_messages(&world);
        world.disk.damage(&world.path("commitlog/00000000000000000000"), |bytes| {
            for (_, at) in &messages[damaged.clone()] {
                bytes[at + 4] ^= 0xFF;
            }
        });
        let queue = store.queue("t", 0);
        for (expected, (time, _)) in messages.iter().enumerate() {
            for boundary in [Boundary::Lower, Boundary::Upper] {
                let found = store.offset_by_time(&queue, *time, boundary).unwrap() as usize;
                assert!(found <= expected, "{damaged:?}, {boundary:?}: {found} for {expected}");
                if expected < damaged.start {
                    assert_eq!(found, expected, "{damaged:?}, {boundary:?}");
                }
            }
        }
        let last = store.offset_by_time(&queue, messages[29].0, Boundary::Lower).unwrap();
        assert!(damaged.len() > 8 || last == 29, "a few damaged messages do not show half the queue");
    }
}

#[test]
fn a_clock_that_steps_back_does_not_disturb_the_order() {
    let world = World::new(small_options());
    let store = world.open();
    let first = send(&store, &letter("t", 0, "x")).unwrap();
    world.clock.set_wall(first.store_timestamp - 50_000);
    let second = send(&store, &letter("t", 0, "x")).unwrap();
    assert_eq!(second.store_timestamp, first.store_timestamp);
    store.stop().unwrap();
    drop(store);
    let third = send(&world.open(), &letter("t", 0, "x")).unwrap();
    assert_eq!(third.store_timestamp, first.store_timestamp);
}
