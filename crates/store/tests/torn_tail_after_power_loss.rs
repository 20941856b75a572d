//! The machine loses power while messages are on their way to the disk.

use std::path::Path;

use crate::support::{ROOT, World, bodies, letter, send, small_options};
use sim::Random;
use store::{Disk, StoreError};

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
