//! Timer messages on a clock that a test moves: each at its own millisecond, across clock steps, rolls and recalls.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{World, letter, send, small_options};
use crate::timer::{TIMER_TOPIC, after, arrived, at, bodies, now, park, run, small_timer, with_small_timer};
use sim::{Fault, Operation, Random};
use store::examine::{LogChoice, StoreFiles};
use store::{Disk, Options, Space, TimerNext, TimerOptions};

fn world() -> World {
    World::new(with_small_timer(Options { segment_bytes: 256 * 1024, ..small_options() }))
}

#[test]
fn each_message_of_a_slot_comes_at_its_own_millisecond() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    let due: BTreeMap<String, i64> =
        [3, 1000, 1001, 1499, 1500, 1999, 2000, 2001, 7777].map(|ms| (format!("m{ms}"), start + ms)).into();
    let messages: Vec<_> = due.iter().rev().map(|(body, due)| at("orders", body, *due)).collect();
    park(&store, &messages);
    for _ in 0..9000 {
        run(&store);
        world.clock.advance(Duration::from_millis(1));
    }
    let got = arrived(&store, "orders", 0);
    assert_eq!(got.len(), due.len());
    for arrived in &got {
        assert_eq!(arrived.delivered_ms, due[&arrived.body], "{}", arrived.body);
    }
    assert!(got.is_sorted_by_key(|arrived| arrived.delivered_ms));
    assert_eq!(run(&store), TimerNext::OnArrival, "nothing is left to wait for");
    let copy = &got[0].properties;
    assert_eq!(
        (copy["REAL_TOPIC"].as_str(), copy["REAL_QID"].as_str(), copy["TAGS"].as_str()),
        ("orders", "0", "tag")
    );
    assert!(copy.contains_key("TIMER_ENQUEUE_MS") && copy.contains_key("TIMER_OUT_MS"));
}

#[test]
fn the_timer_says_how_long_it_wants_to_sleep() {
    let world = world();
    let store = world.open();
    assert_eq!(run(&store), TimerNext::OnArrival);
    let start = now(&world.clock);
    park(&store, &[after("orders", "soon", start, 120), after("orders", "later", start, 60_000)]);
    assert_eq!(run(&store), TimerNext::After(Duration::from_millis(120)));
    world.clock.advance(Duration::from_millis(120));
    // The clock may be set while it sleeps.
    assert_eq!(run(&store), TimerNext::After(Duration::from_millis(500)));
    assert_eq!(bodies(&store, "orders"), ["soon"]);
}

#[test]
fn a_jump_of_the_clock_delivers_what_is_due_once_and_a_step_back_repeats_nothing() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    park(&store, &[at("orders", "a", start + 5000), at("orders", "b", start + 100_000)]);
    run(&store);
    world.clock.set_wall(start + 50_000);
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["a"]);
    world.clock.set_wall(start - 20_000);
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["a"]);
    // Due by the clock of now, though the wheel has been turned past it.
    park(&store, &[after("orders", "c", start - 20_000, 3000)]);
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["a"], "not early");
    drop(store);
    let store = world.open();
    world.clock.advance(Duration::from_millis(2999));
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["a"], "not early after a restart either");
    world.clock.advance(Duration::from_millis(1));
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["a", "c"]);
    world.clock.set_wall(start + 200_000);
    for _ in 0..5 {
        run(&store);
    }
    assert_eq!(bodies(&store, "orders"), ["a", "c", "b"]);
}

#[test]
fn what_is_due_beyond_the_window_is_rolled_and_keeps_its_millisecond() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    park(&store, &[after("orders", "far", start, 90_123), at("orders", "too", start + 77_007)]);
    for _ in 0..90_124 {
        run(&store);
        world.clock.advance(Duration::from_millis(1));
    }
    let got = arrived(&store, "orders", 0);
    assert_eq!(got.iter().map(|arrived| arrived.delivered_ms - start).collect::<Vec<_>>(), [77_007, 90_123]);
    assert!(got[1].properties["TIMER_ROLL_TIMES"].parse::<i32>().unwrap() >= 2);
    let parked = arrived(&store, TIMER_TOPIC, 0);
    assert!(parked.len() > 4, "copies went through the timer topic");
    assert!(parked.iter().all(|parked| parked.properties["TIMER_OUT_MS"].ends_with("000")));
}

#[test]
fn a_message_that_is_taken_back_in_time_does_not_come() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    let [near, far, kept] = [
        at("orders", "near", start + 4321),
        at("orders", "far", start + 60_500),
        at("orders", "kept", start + 4322),
    ];
    park(&store, &[near.clone(), far.clone(), kept]);
    run(&store);
    park(&store, &[near.recall(1000), far.recall(1000)]);
    // Another topic's message with the same key as one that names its topic too stays.
    let mut other = at("orders", "named", start + 9000);
    park(&store, &[other.clone(), at("payments", "named", start + 9000)]);
    other = other.recall(1000);
    other.takes_back = "orders+named".into();
    park(&store, &[other]);
    for _ in 0..140 {
        run(&store);
        world.clock.advance(Duration::from_millis(500));
    }
    assert_eq!(bodies(&store, "orders"), ["kept"]);
    assert_eq!(bodies(&store, "payments"), ["named"]);
    assert!(store.timer_metrics().unwrap().timing_count.values().all(|metric| metric.count == 0));
}

#[test]
fn a_refused_append_delays_and_loses_nothing() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    park(&store, &[at("orders", "a", start + 1000), at("orders", "b", start + 1001)]);
    run(&store);
    world.clock.advance(Duration::from_secs(2));
    let refusal = sim::Fault::from_now(sim::Operation::Write, "commitlog", std::io::ErrorKind::StorageFull);
    world.disk.inject(refusal);
    assert_eq!(run(&store), TimerNext::After(Duration::from_millis(100)));
    assert_eq!(bodies(&store, "orders"), [""; 0]);
    world.disk.heal();
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["a", "b"]);
}

#[test]
fn a_sync_of_the_timer_log_that_failed_is_not_tried_again() {
    let mut world = world();
    let store = world.open();
    let start = now(&world.clock);
    let park_one = |body: &str| {
        park(&store, &[at("orders", body, start + 60_000)]);
        run(&store);
    };
    park_one("in the checkpoint");
    store.timer_flush_step().unwrap();
    park_one("not on the disk");
    world.disk.inject(Fault { times: 1, ..Fault::from_now(Operation::Sync, "timerlog", ErrorKind::Other) });
    store.timer_flush_step().unwrap_err();
    assert!(!store.is_writable());
    let syncs = world.disk.syncs();
    store.timer_flush_step().unwrap_err();
    assert_eq!(world.disk.syncs(), syncs);
    drop(store);
    world.clock.advance(Duration::from_secs(90));
    let cut = world.disk.copy();
    for seed in 0..20 {
        world.disk = cut.crash(&mut Random::new(seed));
        let store = world.open();
        run(&store);
        let mut got = bodies(&store, "orders");
        got.sort_unstable();
        assert_eq!(got, ["in the checkpoint", "not on the disk"], "seed {seed}");
    }
}

#[test]
fn progress_that_could_not_be_saved_is_saved_by_the_next_try() {
    let world = world();
    let store = world.open();
    park(&store, &[at("orders", "later", now(&world.clock) + 60_000)]);
    run(&store);
    world.disk.inject(Fault { times: 1, ..Fault::from_now(Operation::Read, "timerwheel", ErrorKind::Other) });
    store.timer_flush_step().unwrap_err();
    let is_saved = || world.disk.files().contains_key(&world.path("config/timercheck"));
    assert!(!is_saved());
    store.timer_flush_step().unwrap();
    assert!(is_saved());
}

#[test]
fn counts_of_what_waits_are_right_after_a_kill() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    let messages: Vec<_> = (0..30).map(|i| at("orders", &format!("m{i}"), start + 1 + i * 400)).collect();
    park(&store, &messages);
    park(&store, &[at("payments", "p", start + 70_000)]);
    run(&store);
    store.timer_flush_step().unwrap();
    world.clock.advance(Duration::from_millis(4001));
    run(&store);
    let count = |store: &store::Store, topic: &str| store.timer_metrics().unwrap().timing_count[topic].count;
    assert_eq!((count(&store, "orders"), count(&store, "payments")), (19, 1));
    drop(store);
    let store = world.open();
    run(&store);
    assert_eq!((count(&store, "orders"), count(&store, "payments")), (19, 1));
    assert_eq!(store.timer_figures().pending, 20);
}

#[test]
fn a_message_that_was_taken_back_waits_no_more_after_a_stop() {
    let world = world();
    let store = world.open();
    let slot = now(&world.clock).div_euclid(1000) * 1000 + 5000;
    let back = at("orders", "back", slot + 500);
    park(&store, &[back.clone(), back.recall(1000)]);
    run(&store);
    world.clock.set_wall(slot + 600);
    run(&store);
    assert_eq!(store.timer_figures().pending, 0);
    // The slot is not over: what takes messages back is all that is left in it.
    store.stop().unwrap();
    drop(store);
    let store = world.open();
    run(&store);
    assert_eq!(store.timer_figures().pending, 0);
    park(&store, &[at("orders", "later", slot + 20_000)]);
    run(&store);
    assert_eq!(store.timer_figures().pending, 1);
}

#[test]
fn a_lost_wheel_is_built_anew_from_the_timer_topic() {
    for lost in ["timerwheel", "timerlog"] {
        let world = world();
        let store = world.open();
        let start = now(&world.clock);
        park(&store, &[at("orders", "past", start + 1000), at("orders", "later", start + 9500)]);
        run(&store);
        world.clock.advance(Duration::from_millis(4000));
        run(&store);
        store.stop().unwrap();
        drop(store);
        for path in world.disk.files().into_keys().filter(|path| path.starts_with(world.path(lost))) {
            store::Disk::remove(&world.disk, &path).unwrap();
        }
        let store = world.open();
        run(&store);
        assert_eq!(bodies(&store, "orders"), ["past"], "without {lost}");
        world.clock.advance(Duration::from_millis(5500));
        run(&store);
        assert_eq!(bodies(&store, "orders"), ["past", "later"], "without {lost}");
    }
}

#[test]
fn a_wheel_whose_rebuilding_was_interrupted_is_built_anew_again() {
    for (lost, is_killed) in
        [("timerwheel", true), ("timerwheel", false), ("timerlog", true), ("timerlog", false)]
    {
        let world = world();
        let timer = TimerOptions { log_file_bytes: 52 * 1000, ..small_timer() };
        let world = World { options: Options { timer: Some(timer), ..world.options.clone() }, ..world };
        let store = world.open();
        let start = now(&world.clock);
        park(&store, &[at("orders", "past", start + 1000), at("orders", "later", start + 9500)]);
        for number in 0..30 {
            park(&store, &[at("others", &number.to_string(), start + 9500)]);
        }
        run(&store);
        world.clock.advance(Duration::from_millis(4000));
        run(&store);
        store.stop().unwrap();
        drop(store);
        for path in world.disk.files().into_keys().filter(|path| path.starts_with(world.path(lost))) {
            store::Disk::remove(&world.disk, &path).unwrap();
        }
        let store = world.open();
        let fault = Fault::from_now(Operation::Read, "commitlog", ErrorKind::Other);
        world.disk.inject(Fault { after: 10, ..fault });
        store.timer_step().unwrap_err();
        store.timer_flush_step().unwrap();
        world.disk.heal();
        if !is_killed {
            store.stop().unwrap();
        }
        drop(store);
        let store = world.open();
        run(&store);
        assert_eq!(bodies(&store, "orders"), ["past"], "without {lost}");
        world.clock.advance(Duration::from_millis(5500));
        run(&store);
        assert_eq!(bodies(&store, "orders"), ["past", "later"], "without {lost}, killed: {is_killed}");
        assert_eq!(bodies(&store, "others").len(), 30);
    }
}

#[test]
fn what_was_delivered_before_a_kill_comes_once_though_a_record_cannot_be_read_at_first() {
    let world = world();
    let store = world.open();
    // In one slot.
    let slot = (now(&world.clock) / 1000 + 2) * 1000;
    park(&store, &[at("orders", "a", slot + 200), at("orders", "b", slot + 800)]);
    run(&store);
    store.timer_flush_step().unwrap();
    world.clock.set_wall(slot + 500);
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["a"]);
    drop(store);
    let store = world.open();
    world.disk.inject(Fault::from_now(Operation::Read, "commitlog", ErrorKind::Other));
    store.timer_step().unwrap_err();
    world.disk.heal();
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["a"]);
    world.clock.advance(Duration::from_millis(2000));
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["a", "b"]);
}

#[test]
fn a_stop_after_a_slot_could_not_be_read_to_its_end_loses_nothing() {
    let world = world();
    let store = world.open();
    let slot = now(&world.clock).div_euclid(1000) * 1000 + 2000;
    let names: Vec<String> = (0..9).map(|number| number.to_string()).collect();
    let due = (1..).map(|number| slot + number * 100);
    park(&store, &names.iter().zip(due).map(|(name, due)| at("orders", name, due)).collect::<Vec<_>>());
    run(&store);
    store.timer_flush_step().unwrap();
    world.clock.set_wall(slot + 450);
    run(&store);
    assert_eq!(bodies(&store, "orders"), names[..4]);
    drop(store);
    let store = world.open();
    let fault = Fault::from_now(Operation::Read, "commitlog", ErrorKind::Other);
    world.disk.inject(Fault { after: 2, times: 1, ..fault });
    store.timer_step().unwrap_err();
    store.stop().unwrap();
    drop(store);
    let store = world.open();
    world.clock.set_wall(slot + 2000);
    run(&store);
    assert_eq!(bodies(&store, "orders"), names);
}

#[test]
fn another_precision_finds_what_waits() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    park(&store, &[at("orders", "a", start + 5432)]);
    run(&store);
    store.stop().unwrap();
    drop(store);
    let timer = TimerOptions { precision_ms: 200, ..small_timer() };
    let world = World { options: Options { timer: Some(timer), ..world.options.clone() }, ..world };
    let store = world.open();
    for _ in 0..60 {
        run(&store);
        world.clock.advance(Duration::from_millis(100));
    }
    assert_eq!(bodies(&store, "orders"), ["a"]);
    // Its slot was rounded for seconds, its own time is exact all the same, as far as that is in the slot.
    assert!(arrived(&store, "orders", 0)[0].delivered_ms > start + 5000);
}

#[test]
fn java_finds_in_the_present_slot_only_what_was_not_delivered() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    let first = start + 1000;
    park(&store, &[at("orders", "early", first + 100), at("orders", "late", first + 900)]);
    world.clock.advance(Duration::from_millis(1500));
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["early"]);
    store.stop().unwrap();
    drop(store);
    // What Java reads: its own fields of the checkpoint, that slot of the wheel, and the chain it leads to.
    let files = world.disk.files();
    let long = |bytes: &[u8], at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let check = &files[&world.path("config/timercheck")];
    assert_eq!(long(check, 0), first, "the slot is not over");
    assert_eq!((long(check, 16), long(check, 24)), (2, 2));
    let wheel = &files[&world.path("timerwheel")];
    let slot = (first / 1000 % 400) as usize * 32;
    assert_eq!(long(wheel, slot), first / 1000);
    let (head, last) = (long(wheel, slot + 8), long(wheel, slot + 16));
    assert_eq!(head, last, "one unit is left");
    let log = &files[&world.path("timerlog/00000000000000000000")];
    let unit = &log[last as usize..last as usize + 52];
    assert_eq!((long(unit, 4), long(unit, 28) > 0), (-1, true));
    assert_eq!(long(check, 8), last + 52);
    assert!(log[last as usize + 52..].iter().all(|byte| *byte == 0));
    // And a broker that reads as Java does delivers the rest, once.
    world.disk.damage(&world.path("config/timercheck"), |bytes| bytes[48..56].fill(9));
    let store = world.open();
    world.clock.advance(Duration::from_millis(3000));
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["early", "late"]);
}

/// A client can put any properties into a message. One that is for the timer topic itself would come back there with a
/// time that is past, and be delivered again at once, until the disk is full.
#[test]
fn a_message_that_is_for_a_place_where_messages_wait_is_dropped() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    let places =
        [TIMER_TOPIC, "SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC"];
    park(&store, &places.map(|place| at(place, "round and round", start + 1500)));
    // One that waits longer than the wheel reaches goes through the timer topic on its way, and arrives.
    park(&store, &[at("orders", "far", start + 30_000)]);
    for _ in 0..32 {
        run(&store);
        world.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(bodies(&store, "orders"), ["far"]);
    let parked = arrived(&store, TIMER_TOPIC, 0);
    assert_eq!(parked.iter().filter(|parked| parked.body == "round and round").count(), places.len());
    for place in &places[1..] {
        assert!(arrived(&store, place, 0).is_empty(), "{place}");
    }
}

/// What is left of a slot at a stop is noted again, behind messages that came later.
#[test]
fn a_file_of_units_stays_for_those_that_wait_though_its_last_message_is_gone_from_the_log() {
    let options = Options { segment_bytes: 4096, delete_batch_max: 1, ..small_options() };
    let world = World::new(with_small_timer(options));
    let store = world.open();
    let second = (now(&world.clock) / 1000 + 1) * 1000;
    let old = park(&store, &[at("orders", "first", second + 100)])[0];
    let rest: Vec<_> = (0..4).map(|i| at("orders", &format!("rest{i}"), second + 900)).collect();
    park(&store, &rest);
    let fill = || (0..8).for_each(|_| drop(send(&store, &letter("other", 0, &"x".repeat(1000)))));
    fill();
    let waiting = park(&store, &[at("orders", "waits", second + 15_000)])[0];
    fill();
    run(&store);
    world.clock.set_wall(second + 500);
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["first"]);
    store.stop().unwrap();
    drop(store);
    let store = world.open();
    park(&store, &[at("orders", "last", second + 16_000)]);
    run(&store);
    world.clock.set_wall(second + 2000);
    run(&store);
    assert_eq!(bodies(&store, "orders").len(), 5);
    store.flush_step().unwrap();
    world.disk.set_space(Space { total: 100, free: 12, available: 12 });
    while store.log_min() <= old.offset {
        assert_eq!(store.clean_step().unwrap(), 1);
    }
    assert!(store.log_min() <= waiting.offset);
    store.timer_flush_step().unwrap();
    world.clock.set_wall(second + 17_000);
    for _ in 0..5 {
        run(&store);
    }
    assert_eq!(bodies(&store, "orders")[5..], ["waits", "last"]);
}

#[test]
fn what_is_left_of_a_slot_comes_though_the_checkpoint_that_tells_of_it_was_not_written_before_a_kill() {
    for failures in 1..4 {
        let world = world();
        let store = world.open();
        let second = (now(&world.clock) / 1000 + 1) * 1000;
        park(&store, &[100, 800, 900].map(|ms| at("orders", &format!("{ms}"), second + ms)));
        run(&store);
        world.clock.set_wall(second + 500);
        run(&store);
        assert_eq!(bodies(&store, "orders"), ["100"]);
        let fault = Fault::from_now(Operation::Write, "timercheck", ErrorKind::Other);
        world.disk.inject(Fault { after: 1, times: failures, ..fault });
        store.stop().unwrap_err();
        for _ in 1..failures {
            store.timer_flush_step().unwrap_err();
        }
        drop(store);
        world.disk.heal();
        let store = world.open();
        world.clock.set_wall(second + 2000);
        run(&store);
        assert_eq!(bodies(&store, "orders"), ["100", "800", "900"], "after {failures} failures");
    }
}

#[test]
fn a_checkpoint_that_was_made_and_not_written_before_a_kill_repeats_nothing() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    park(&store, &[at("orders", "once", start + 1000)]);
    world.clock.set_wall(start + 5000);
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["once"]);
    drop(store);
    Disk::create_dir_all(&world.disk, &world.path("config")).unwrap();
    Disk::create(&world.disk, &world.path("config/timercheck"), 4096).unwrap();
    let store = world.open();
    world.clock.set_wall(start + 9000);
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["once"]);
}

/// The slot of the one that is lost leads to where another message stands now.
#[test]
fn a_repair_that_cuts_the_log_leaves_no_way_to_messages_that_are_gone() {
    let world = world();
    let store = world.open();
    let start = now(&world.clock);
    let lost = park(&store, &[at("orders", "lost", start + 5000)])[0];
    run(&store);
    store.stop().unwrap();
    drop(store);
    let segment = world.path("commitlog/00000000000000000000");
    world.disk.damage(&segment, |bytes| {
        let body = bytes.windows(4).position(|window| window == b"lost").unwrap();
        bytes[body] ^= 1;
    });
    let files = StoreFiles::open(Arc::new(world.disk.clone()), world.options.clone()).unwrap();
    let verified = files.verify(&mut |_| {}).unwrap();
    let plan = files.plan(&verified, Some(LogChoice::Cut), false).unwrap();
    files.repair(&plan, Arc::new(world.clock.clone()), &mut |_| {}).unwrap();
    let store = world.open();
    assert_eq!(store.log_end(), lost.offset);
    park(&store, &[at("orders", "late", start + 15_000), at("orders", "next", start + 7000)]);
    run(&store);
    world.clock.set_wall(start + 9000);
    run(&store);
    assert_eq!(bodies(&store, "orders"), ["next"]);
    world.clock.set_wall(start + 20_000);
    for _ in 0..5 {
        run(&store);
    }
    assert_eq!(bodies(&store, "orders"), ["next", "late"]);
}
