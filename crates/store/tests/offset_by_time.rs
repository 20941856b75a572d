//! From a time to an offset (store.md §12.2), compared with a search through all messages.

use std::time::Duration;

use crate::support::{World, letter, send, small_options};
use sim::Random;
use store::{Boundary, Clock};

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
        assert_eq!(store.offset_by_time(&queue, time, Boundary::Lower), lower as i64, "lower {time}");
        let upper = times.iter().rposition(|at| *at <= time).unwrap_or(0);
        assert_eq!(store.offset_by_time(&queue, time, Boundary::Upper), upper as i64, "upper {time}");
    }
    assert_eq!(store.store_time_of(&queue, 7), Some(times[7]));
    assert_eq!(store.store_time_of(&queue, 150), None);
    assert_eq!(store.earliest_store_time(), Some(first));
    assert_eq!(store.offset_by_time(&store.queue("empty", 0), first, Boundary::Lower), 0);
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
