//! The machine loses power while messages are on their way to the disk.

use std::path::Path;

use crate::support::{ROOT, World, bodies, letter, send, small_options};
use sim::Random;
use store::{Batch, Clock, Disk, StoreError};
use wire::record::{EncodeError, Message};

fn segment(base: u64) -> String {
    format!("commitlog/{base:020}")
}

#[test]
fn what_was_flushed_stays_and_the_torn_rest_is_gone_for_good() {
    for seed in 0..40 {
        let mut world = World::new(small_options());
        let store = world.open();
        for i in 0..5 {
            send(&store, &letter("t", 0, &format!("kept-{i}-{}", "k".repeat(700)))).unwrap();
        }
        store.flush_step().unwrap();
        for i in 0..5 {
            send(&store, &letter("t", 0, &format!("maybe-{i}-{}", "m".repeat(700)))).unwrap();
        }
        world.disk = world.disk.crash(&mut Random::new(seed));
        let store = world.open();
        let found = bodies(&store, "t", 0);
        assert!(found.len() >= 5, "seed {seed}: {found:?}");
        // Whatever survived is a beginning of what was sent.
        for (i, body) in found.iter().enumerate() {
            let expected = if i < 5 { format!("kept-{i}-") } else { format!("maybe-{}-", i - 5) };
            assert!(body.starts_with(&expected), "seed {seed}: {i} is {body}");
        }
        let file = &world.disk.files()[&world.path(&segment(0))];
        assert!(file[store.log_end() as usize..].iter().all(|&byte| byte == 0), "seed {seed}");
        let next = send(&store, &letter("t", 0, "next")).unwrap();
        assert_eq!(next.queue_offset, found.len() as u64, "seed {seed}");
    }
}

#[test]
fn a_lost_sector_inside_the_properties_is_noticed() {
    let world = World::new(small_options());
    let store = world.open();
    let keys = "k".repeat(900);
    send(&store, &letter("t", 0, "body").keyed(&keys)).unwrap();
    drop(store);
    // The record's last sector never came to the disk; body and lengths did.
    world.disk.damage(&world.path(&segment(0)), |bytes| bytes[512..1024].fill(0));
    let store = world.open();
    assert_eq!(store.log_end(), 0);
    assert_eq!(bodies(&store, "t", 0), Vec::<String>::new());
}

#[test]
fn a_zero_that_a_producer_put_into_a_property_ends_no_log() {
    for java_wrote_last in [false, true] {
        let world = World::new(small_options());
        let store = world.open();
        for keys in ["before", "a\0b", "behind"] {
            send(&store, &letter("t", 0, keys).keyed(keys)).unwrap();
        }
        drop(store);
        if java_wrote_last {
            world.disk.damage(&world.path("checkpoint"), |bytes| bytes.fill(0));
        }
        assert_eq!(bodies(&world.open(), "t", 0), ["before", "a\0b", "behind"]);
    }
}

#[test]
fn zeros_that_could_be_those_of_a_lost_sector_are_not_accepted() {
    let store = World::new(small_options()).open();
    let queue = store.queue("t", 0);
    let nobody = "127.0.0.1:1000".parse().unwrap();
    let pushed = |properties: &str| {
        let message =
            Message { properties: properties.as_bytes(), ..Message::of_broker(nobody, "t", 0, b"body") };
        Batch::default().push(&queue, &message, 0)
    };
    for zeros in [511, 1023, 30_000] {
        let zeros = "\0".repeat(zeros);
        assert_eq!(pushed(&format!("KEYS\x01{zeros}k\x02")), Err(EncodeError::ZerosInProperties));
    }
    assert_eq!(pushed("KEYS\x01k\0"), Err(EncodeError::ZerosInProperties));
    pushed(&format!("KEYS\x01{}k\x02", "\0".repeat(510))).unwrap();
}

/// Puts zeros where the only keys made of `z` stand in a segment: what older versions took and Java takes.
fn make_zeros(world: &World, base: u64) {
    world.disk.damage(&world.path(&segment(base)), |bytes| {
        for byte in bytes.iter_mut().filter(|byte| **byte == b'z') {
            *byte = 0;
        }
    });
}

#[test]
fn zeros_that_were_accepted_once_end_no_log_after_a_kill() {
    let world = World::new(small_options());
    let store = world.open();
    for (body, keys) in [("before", "k"), ("run", &*format!("{}k", "z".repeat(1500))), ("behind", "k")] {
        send(&store, &letter("t", 0, body).keyed(keys)).unwrap();
    }
    // Keys are the first property here, so these stand for properties that end with zeros.
    let raw = Message {
        properties: b"KEYS\x01zzz",
        ..Message::of_broker("127.0.0.1:1000".parse().unwrap(), "t", 0, b"end")
    };
    let mut batch = Batch::default();
    batch.push(&store.queue("t", 0), &raw, 0).unwrap();
    store.append(&mut batch).unwrap();
    send(&store, &letter("t", 0, "last")).unwrap();
    drop(store);
    make_zeros(&world, 0);
    assert_eq!(bodies(&world.open(), "t", 0), ["before", "run", "behind", "end", "last"]);
}

#[test]
fn a_last_write_that_a_kill_cut_short_is_no_message() {
    let world = World::new(small_options());
    let store = world.open();
    send(&store, &letter("t", 0, "whole").keyed("k")).unwrap();
    let last = send(&store, &letter("t", 0, "short").keyed(&"k".repeat(600))).unwrap();
    drop(store);
    world.disk.damage(&world.path(&segment(0)), |bytes| bytes[last.offset as usize + 300..].fill(0));
    let store = world.open();
    assert_eq!(bodies(&store, "t", 0), ["whole"]);
    assert_eq!(store.log_end(), last.offset);
}

#[test]
fn a_page_that_the_kernel_gave_up_after_a_failed_sync_is_noticed() {
    let world = World::new(small_options());
    let store = world.open();
    send(&store, &letter("t", 0, "before").keyed("k")).unwrap();
    let lost = send(&store, &letter("t", 0, "lost").keyed(&"k".repeat(10_000))).unwrap();
    send(&store, &letter("t", 0, "behind").keyed("k")).unwrap();
    drop(store);
    world.disk.damage(&world.path(&segment(0)), |bytes| bytes[4096..8192].fill(0));
    let store = world.open();
    assert_eq!(bodies(&store, "t", 0), ["before"]);
    assert_eq!(store.log_end(), lost.offset);
}

#[test]
fn zeros_that_java_took_end_no_log_where_its_checkpoint_says_that_they_were_flushed() {
    let world = World::new(small_options());
    let store = world.open();
    for (body, keys) in [("before", "k"), ("run", &*format!("{}k", "z".repeat(1500))), ("behind", "k")] {
        send(&store, &letter("t", 0, body).keyed(keys)).unwrap();
    }
    drop(store);
    make_zeros(&world, 0);
    let flushed = world.clock.now_millis() + 10_000;
    world.disk.damage(&world.path("checkpoint"), |bytes| {
        bytes.fill(0);
        bytes[..8].copy_from_slice(&flushed.to_be_bytes());
        bytes[8..16].copy_from_slice(&flushed.to_be_bytes());
    });
    assert_eq!(bodies(&world.open(), "t", 0), ["before", "run", "behind"]);
}

#[test]
fn damage_below_what_was_flushed_is_refused_and_left_alone() {
    let mut world = World::new(small_options());
    let store = world.open();
    let first = send(&store, &letter("t", 0, &"a".repeat(300))).unwrap();
    let second = send(&store, &letter("t", 0, &"b".repeat(300))).unwrap();
    store.flush_step().unwrap();
    store.queue_step(false).unwrap();
    // The system writes the checkpoint out by itself some day.
    world.disk.sync_tree(Path::new(ROOT)).unwrap();
    drop(store);
    world.disk = world.disk.crash(&mut Random::new(1));
    world.disk.damage(&world.path(&segment(0)), |bytes| bytes[second.offset as usize + 150] ^= 1);
    let before = world.disk.files();
    match world.try_open().map(|_| ()) {
        Err(StoreError::Damaged { at, segment: path, .. }) => {
            assert_eq!(at, second.offset);
            assert_eq!(path, world.path(&segment(0)));
        }
        other => panic!("{other:?}"),
    }
    assert!(first.offset < second.offset);
    assert!(before == world.disk.files(), "nothing was changed");
}

#[test]
fn valid_records_behind_a_bad_one_are_never_dropped_silently() {
    let world = World::new(small_options());
    let store = world.open();
    let mut appended = Vec::new();
    for _ in 0..60 {
        appended.push(send(&store, &letter("t", 0, &"x".repeat(700))).unwrap());
    }
    drop(store);
    let middle = &appended[30];
    let base = middle.offset / 16_384 * 16_384;
    // Java wrote last, so nothing says what was flushed.
    world.disk.damage(&world.path("checkpoint"), |bytes| bytes.fill(0));
    world.disk.damage(&world.path(&segment(base)), |bytes| bytes[(middle.offset - base) as usize + 100] ^= 1);
    let error = world.try_open().map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { at, .. } if at == middle.offset), "{error}");
    assert!(error.to_string().contains("valid records later"), "{error}");
}
