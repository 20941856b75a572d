//! A place of the disk that gives no timer message: those there are late, all others come at their time.

use std::io::ErrorKind;
use std::time::Duration;

use crate::support::{World, small_options};
use crate::timer::{arrived, at, bodies, now, park, run, try_run, with_small_timer};
use sim::{Fault, Operation};
use store::{Options, Store};

const FIRST_SEGMENT: &str = "commitlog/00000000000000000000";
/// Of a body, which is the key as well: others have no room beside it in a segment.
const FILLS_A_SEGMENT: usize = 1850;

fn world() -> World {
    World::new(with_small_timer(Options { segment_bytes: 4096, ..small_options() }))
}

fn fail_reads(world: &World) {
    world.disk.inject(Fault::from_now(Operation::Read, FIRST_SEGMENT, ErrorKind::Other));
}

/// Lets the timer work for a while, as its thread does: each second, also after an error.
fn run_for(world: &World, store: &Store, seconds: u32) {
    for _ in 0..seconds {
        world.clock.advance(Duration::from_secs(1));
        let _ = try_run(store);
    }
}

/// Body of one that stands in the first segment, alone there.
fn bad() -> String {
    "x".repeat(FILLS_A_SEGMENT)
}

#[test]
fn one_that_was_taken_in_comes_when_the_disk_gives_it_again() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    park(&store, &[at("orders", &bad(), start + 2000)]);
    park(&store, &[at("orders", "same slot", start + 2001), at("orders", "later", start + 20_000)]);
    run(&store);
    fail_reads(&world);
    run_for(&world, &store, 3);
    assert_eq!(bodies(&store, "orders"), [""; 0], "an error that may pass is waited for");
    run_for(&world, &store, 4);
    assert_eq!(bodies(&store, "orders"), ["same slot"]);
    run_for(&world, &store, 13);
    assert_eq!(bodies(&store, "orders"), ["same slot", "later"]);
    assert_eq!(store.timer_figures().pending, 1);
    world.disk.heal();
    run_for(&world, &store, 11);
    assert_eq!(bodies(&store, "orders"), ["same slot".to_owned(), "later".to_owned(), bad()]);
    run_for(&world, &store, 30);
    assert_eq!(store.timer_figures().pending, 0);
    assert_eq!(arrived(&store, "orders", 0).len(), 3);
}

#[test]
fn one_that_fails_between_its_slot_and_its_millisecond_is_put_off_too() {
    let world = world();
    let store = world.open();
    let slot = now(&world.clock).div_euclid(1000) * 1000 + 2000;
    park(&store, &[at("orders", &bad(), slot + 500)]);
    park(&store, &[at("orders", "before", slot + 400), at("orders", "after", slot + 600)]);
    run(&store);
    world.clock.set_wall(slot + 100);
    run(&store);
    fail_reads(&world);
    world.clock.set_wall(slot + 500);
    let _ = try_run(&store);
    assert_eq!(bodies(&store, "orders"), ["before"]);
    run_for(&world, &store, 5);
    assert_eq!(bodies(&store, "orders"), ["before", "after"]);
    world.disk.heal();
    run_for(&world, &store, 12);
    assert_eq!(bodies(&store, "orders"), ["before".to_owned(), "after".to_owned(), bad()]);
}

#[test]
fn one_that_cannot_be_taken_in_keeps_its_time_if_the_disk_gives_it_before() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    park(&store, &[at("orders", &bad(), start + 60_500)]);
    park(&store, &[at("orders", "soon", start + 6000)]);
    fail_reads(&world);
    run_for(&world, &store, 7);
    assert_eq!(bodies(&store, "orders"), ["soon"]);
    world.disk.heal();
    run_for(&world, &store, 53);
    assert_eq!(bodies(&store, "orders"), ["soon"], "its time has not come");
    run_for(&world, &store, 1);
    assert_eq!(bodies(&store, "orders"), ["soon".to_owned(), bad()]);
    assert_eq!(store.timer_figures().pending, 0);
}

#[test]
fn a_recall_that_cannot_be_taken_in_at_once_counts_if_it_is_read_in_time() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    let order = at("orders", "taken back", start + 40_000);
    park(&store, &[order.recall(1000)]);
    park(&store, &[at("filler", &bad(), start + 6000)]);
    park(&store, &[at("orders", "soon", start + 6000)]);
    world
        .disk
        .inject(Fault { times: 4, ..Fault::from_now(Operation::Read, FIRST_SEGMENT, ErrorKind::Other) });
    run_for(&world, &store, 7);
    park(&store, &[order]);
    run_for(&world, &store, 60);
    assert_eq!(bodies(&store, "orders"), ["soon"]);
}

#[test]
fn whenever_the_broker_stops_each_comes_once() {
    for seconds in 0..25 {
        for (is_taken_in, is_killed) in [(true, true), (true, false), (false, true), (false, false)] {
            let world = world();
            let store = world.open();
            let start = now(&world.clock);
            park(&store, &[at("orders", &bad(), start + 2000)]);
            let others: Vec<String> = (10..30).map(|second| second.to_string()).collect();
            let due = (10..).map(|second| start + second * 1000 - 500);
            park(
                &store,
                &others.iter().zip(due).map(|(body, due)| at("orders", body, due)).collect::<Vec<_>>(),
            );
            if is_taken_in {
                run(&store);
            }
            fail_reads(&world);
            for second in 0..seconds {
                run_for(&world, &store, 1);
                if second % 3 == 0 {
                    store.timer_flush_step().unwrap();
                }
            }
            world.disk.heal();
            if !is_killed {
                store.stop().unwrap();
            }
            drop(store);
            let store = world.open();
            run_for(&world, &store, 40);
            let mut got = bodies(&store, "orders");
            got.sort();
            let expected: Vec<String> = others.into_iter().chain([bad()]).collect();
            assert_eq!(got, expected, "{seconds} s, taken in: {is_taken_in}, killed: {is_killed}");
            assert_eq!(store.timer_figures().pending, 0);
        }
    }
}
