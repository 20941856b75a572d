//! A bit of the wheel, the timer log or their checkpoint flips while no broker runs. Java's formats have no checksums:
//! a message may then come late or not at all. None comes early, as another one than it was, or from nowhere, and the
//! store opens.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{World, open_on, small_options};
use crate::timer::{arrived, at, now, park, run, with_small_timer};
use store::Options;

/// Of bytes that are zero, as most of the wheel is, one in so many is tried.
const ZEROS_PASSED: usize = 199;

/// Messages by body with the times at which they are due, and the store in which they wait, stopped or killed.
fn waiting(stopped: bool) -> (World, BTreeMap<String, i64>) {
    let world = World::new(with_small_timer(Options { segment_bytes: 256 * 1024, ..small_options() }));
    let store = world.open();
    let start = now(&world.clock);
    // Three in one slot, some beyond the window that is rolled, and enough for two files of the timer log.
    let times = [1500, 1501, 1999, 3000, 4000, 4001, 7777, 9000, 12_000, 15_500, 25_000, 61_000];
    let due: BTreeMap<String, i64> = times.map(|ms| (format!("m{ms}"), start + ms)).into();
    park(&store, &due.iter().map(|(body, due)| at("orders", body, *due)).collect::<Vec<_>>());
    run(&store);
    world.clock.advance(Duration::from_millis(1600));
    run(&store);
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    store.timer_flush_step().unwrap();
    if stopped {
        store.stop().unwrap();
    }
    (world, due)
}

/// Opens the store with a bit of a file flipped and lets it deliver everything.
fn deliver(world: &World, due: &BTreeMap<String, i64>, path: &Path, byte: usize) {
    let disk = world.disk.copy();
    disk.damage(path, |bytes| bytes[byte] ^= 1 << (byte % 8));
    let clock = sim::SimClock::default();
    clock.set_wall(now(&world.clock));
    let store = open_on(Arc::new(disk), Arc::new(clock.clone()), world.options.clone())
        .unwrap_or_else(|error| panic!("byte {byte} of {}: {error}", path.display()));
    for _ in 0..35 {
        run(&store);
        clock.advance(Duration::from_millis(2000));
    }
    for message in arrived(&store, "orders", 0) {
        let due = due.get(&message.body).unwrap_or_else(|| panic!("{message:?} from byte {byte}"));
        assert!(message.delivered_ms >= *due, "early: {message:?} from byte {byte} of {}", path.display());
        let said = message.properties.get("TIMER_DELIVER_MS").map(|due| due.parse());
        assert_eq!(said, Some(Ok(*due)), "byte {byte} of {}", path.display());
    }
}

#[test]
fn nothing_comes_early_or_as_something_else() {
    // What a kill leaves differs little from what a stop does: a part of it will do.
    for (stopped, one_in) in [(true, 1), (false, 7)] {
        let (world, due) = waiting(stopped);
        for (path, bytes) in world.disk.files() {
            let name = path.strip_prefix("/store").unwrap();
            let is_timer =
                ["timerwheel", "timerlog", "config/timercheck"].iter().any(|of| name.starts_with(of));
            if !is_timer {
                continue;
            }
            for (at, byte) in bytes.iter().enumerate() {
                if (*byte != 0 && at % one_in == 0) || at % ZEROS_PASSED == 0 {
                    deliver(&world, &due, &path, at);
                }
            }
        }
    }
}
