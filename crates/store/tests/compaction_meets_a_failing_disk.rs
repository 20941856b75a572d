//! Failures of the disk at the steps that a compaction log trusts, each followed by what would make them harmful.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::compaction::{Model, TOPIC, options};
use crate::support::{World, letter, open_on};
use sim::{Fault, Operation, Random, SimDisk};
use store::{Space, Store, StoreError};

const FILES: &str = "/compactionLog/state/0/0000";
const PLAN: &str = "/compacting/plan";

fn try_open(world: &World, disk: &SimDisk) -> Result<Arc<Store>, StoreError> {
    let store = open_on(Arc::new(disk.clone()), Arc::new(world.clock.clone()), world.options.clone())?;
    store.compact_topic(TOPIC)?;
    Ok(store)
}

fn send(model: &mut Model, store: &Store, count: u64) {
    for i in 0..count {
        model.send(store, 0, &format!("k{}", i % 7), &format!("v{i}"));
    }
}

/// A store of which nothing was compacted, with three whole files in its compaction log.
fn filled(world: &World) -> (Arc<Store>, Model) {
    let store = try_open(world, &world.disk).unwrap();
    let mut model = Model::default();
    send(&mut model, &store, 37);
    store.compaction_follow_step().unwrap();
    (store, model)
}

fn once(on: Operation, path_part: &str) -> Fault {
    Fault { times: 1, ..Fault::from_now(on, path_part, ErrorKind::Other) }
}

/// What is there after power cuts at this moment is what the model knows.
fn survives_power_cuts(world: &World, disk: &SimDisk, model: &Model) {
    for seed in 0..12 {
        let after = disk.crash(&mut Random::new(seed));
        let store = try_open(world, &after).unwrap();
        model.check(&store);
    }
}

fn expire(disk: &SimDisk, store: &Store) {
    disk.set_space(Space { total: 1000, free: 120, available: 120 });
    let _ = store.clean_step();
    disk.set_space(Space { total: 1000, free: 900, available: 900 });
}

#[test]
fn a_record_whose_properties_a_power_cut_took_is_copied_again() {
    let world = World::new(options());
    let store = try_open(&world, &world.disk).unwrap();
    let mut model = Model::default();
    // With zeros of their own in the key, which are no damage.
    for i in 0..2 {
        model.send(&store, 0, &format!("{i}\0\0{}", "k".repeat(900)), &format!("v{i}"));
    }
    store.compaction_follow_step().unwrap();
    drop(store);
    let path = world.path("compaction/compactionLog/state/0/00000000000000000000");
    let whole = world.disk.files()[&path].clone();
    world.disk.damage(&path, |bytes| bytes[512..1024].fill(0));
    assert_ne!(world.disk.files()[&path], whole);
    let store = try_open(&world, &world.disk).unwrap();
    model.check(&store);
    store.flush_step().unwrap();
    store.compaction_follow_step().unwrap();
    model.check(&store);
    assert_eq!(world.disk.files()[&path], whole);
}

#[test]
fn a_deletion_that_failed_is_finished_by_the_next_one() {
    let world = World::new(options());
    let (store, _) = filled(&world);
    let compacted = || -> Vec<_> {
        world.disk.files().into_keys().filter(|path| path.iter().any(|name| name == TOPIC)).collect()
    };
    world.disk.inject(once(Operation::Remove, FILES));
    store.delete_topic(TOPIC).unwrap_err();
    assert!(!compacted().is_empty());
    store.delete_topic(TOPIC).unwrap();
    assert!(compacted().is_empty(), "{:?}", compacted());
    store.compact_topic(TOPIC).unwrap();
    let mut model = Model::default();
    send(&mut model, &store, 3);
    store.compaction_follow_step().unwrap();
    model.check(&store);
}

#[test]
fn a_plan_that_was_given_up_does_not_come_back() {
    let world = World::new(options());
    let (store, model) = filled(&world);
    store.stop().unwrap();
    drop(store);
    for step in 0.. {
        let disk = world.disk.copy();
        let store = try_open(&world, &disk).unwrap();
        disk.inject(once(Operation::Sync, PLAN));
        store.compaction_step().unwrap_err();
        disk.inject(once(Operation::SyncDir, "/compactionLog/state/0/compacting"));
        store.compaction_step().unwrap_err();
        disk.inject(Fault {
            after: step,
            ..Fault::from_now(Operation::Any, "/compaction", ErrorKind::Other)
        });
        let done = store.compaction_step().is_ok();
        survives_power_cuts(&world, &disk, &model);
        if done {
            assert!(step > 20, "only {step} steps were tried");
            return;
        }
    }
}

#[test]
fn a_plan_that_is_not_durable_is_made_so_before_it_is_carried_out() {
    let world = World::new(options());
    let (store, model) = filled(&world);
    world.disk.inject(once(Operation::Sync, PLAN));
    store.compaction_step().unwrap_err();
    drop(store);
    for step in 0.. {
        let killed = world.disk.copy();
        killed.inject(Fault {
            after: step,
            ..Fault::from_now(Operation::Any, "/compaction", ErrorKind::Other)
        });
        let done = try_open(&world, &killed).is_ok();
        survives_power_cuts(&world, &killed, &model);
        if done {
            assert!(step > 10, "only {step} steps were tried");
            return;
        }
    }
}

#[test]
fn what_could_not_be_synced_before_a_kill_is_written_again() {
    let world = World::new(options());
    let store = try_open(&world, &world.disk).unwrap();
    let mut model = Model::default();
    let large = "x".repeat(1500);
    for i in 0..30 {
        model.send(&store, 0, &format!("k{i}"), &large);
    }
    store.compaction_follow_step().unwrap();
    world.disk.inject(once(Operation::Sync, FILES));
    expire(&world.disk, &store);
    assert!(!store.is_writable(), "the sync has failed");
    drop(store);
    let killed = world.disk.copy();
    let store = try_open(&world, &killed).unwrap();
    expire(&killed, &store);
    assert!(store.log_min() > 0, "segments have expired");
    survives_power_cuts(&world, &killed, &model);
}

#[test]
fn a_file_that_could_not_be_made_before_a_clean_stop_is_no_obstacle() {
    for bytes_written in [1, 100] {
        let world = World::new(options());
        let (store, mut model) = filled(&world);
        let fault = Fault::from_now(Operation::Create, FILES, ErrorKind::StorageFull);
        world.disk.inject(Fault { bytes_written, ..fault });
        send(&mut model, &store, 10);
        store.compaction_follow_step().unwrap_err();
        store.stop().unwrap();
        drop(store);
        world.disk.heal();
        let store = try_open(&world, &world.disk).unwrap();
        model.check(&store);
        store.compaction_follow_step().unwrap();
        model.check(&store);
    }
}

#[test]
fn a_file_of_another_size_with_records_is_refused_and_stays() {
    let world = World::new(options());
    let store = try_open(&world, &world.disk).unwrap();
    let mut model = Model::default();
    send(&mut model, &store, 3);
    store.compaction_follow_step().unwrap();
    drop(store);
    let mut larger =
        World { disk: world.disk.copy(), clock: world.clock.clone(), options: world.options.clone() };
    larger.options.compaction.as_mut().unwrap().units_file_bytes *= 2;
    let before = larger.disk.files();
    assert!(matches!(try_open(&larger, &larger.disk), Err(StoreError::Compaction { .. })));
    let kept = |name: &&std::path::PathBuf| name.to_string_lossy().contains(FILES);
    let after = larger.disk.files();
    assert!(before.keys().filter(kept).eq(after.keys().filter(kept)));
}

#[test]
fn a_part_that_was_begun_is_not_emptied_when_the_next_cannot_be() {
    let world = World::new(options());
    let store = try_open(&world, &world.disk).unwrap();
    let mut model = Model::default();
    send(&mut model, &store, 37);
    drop(store);
    for step in 0..40 {
        let disk = world.disk.copy();
        let store = try_open(&world, &disk).unwrap();
        for after in [step, 2] {
            disk.inject(Fault { after, ..once(Operation::Any, "/compaction") });
            let _ = store.compaction_follow_step();
        }
        survives_power_cuts(&world, &disk, &model);
    }
}

#[test]
fn a_deletion_that_is_copied_again_still_deletes() {
    for seed in 0..30 {
        let world = World::new(options());
        let store = try_open(&world, &world.disk).unwrap();
        let mut model = Model::default();
        send(&mut model, &store, 8);
        model.send(&store, 0, "deleted", "value");
        model.send(&store, 0, "deleted", "");
        send(&mut model, &store, 5);
        store.compaction_follow_step().unwrap();
        assert_eq!(store.compaction_step().unwrap(), 1);
        let after = world.disk.crash(&mut Random::new(seed));
        drop(store);
        let store = try_open(&world, &after).unwrap();
        send(&mut model, &store, 15);
        store.compaction_follow_step().unwrap();
        store.compaction_step().unwrap();
        model.check(&store);
    }
}

/// What was kept is gone by then, and where the last pass had come to is not.
#[test]
fn after_a_deletion_that_failed_in_the_end_a_deleted_key_stays_deleted() {
    let world = World::new(options());
    let store = try_open(&world, &world.disk).unwrap();
    let mut model = Model::default();
    send(&mut model, &store, 8);
    model.send(&store, 0, "deleted", "value");
    model.send(&store, 0, "deleted", "");
    send(&mut model, &store, 5);
    store.compaction_follow_step().unwrap();
    assert_eq!(store.compaction_step().unwrap(), 1);
    store.queue_step(true).unwrap();
    world.disk.inject(Fault::from_now(Operation::Any, "position-checkpoint", ErrorKind::Other));
    store.delete_topic(TOPIC).unwrap_err();
    drop(store);
    world.disk.heal();
    let store = try_open(&world, &world.disk).unwrap();
    send(&mut model, &store, 15);
    store.compaction_follow_step().unwrap();
    store.compaction_step().unwrap();
    model.check(&store);
}

/// Waits until so many syncs hang.
fn wait_for_held(disk: &SimDisk, count: usize) {
    for _ in 0..2000 {
        if disk.held_syncs() >= count {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("{} syncs hang, not {count}", disk.held_syncs());
}

/// Two threads meet in the sync of queue 0: one copies, the other cleans and has gone past that queue's copying.
#[test]
fn no_segment_goes_on_the_word_of_a_sync_that_is_still_running() {
    let world = World::new(options());
    let store = try_open(&world, &world.disk).unwrap();
    let mut model = Model::default();
    let large = "x".repeat(1500);
    for i in 0..10 {
        model.send(&store, 0, &format!("k{i}"), &large);
        model.send(&store, 1, &format!("k{i}"), &large);
    }
    store.compaction_follow_step().unwrap();
    model.send(&store, 1, "last", &large);
    store.queue_step(true).unwrap();
    world.disk.set_space(Space { total: 1000, free: 120, available: 120 });
    world.disk.hold_syncs_of(Some("compactionLog/state/"));
    let (done, is_done) = channel();
    let cleaning = std::thread::spawn({
        let store = store.clone();
        move || {
            let deleted = store.clean_step();
            let _ = done.send(());
            deleted
        }
    });
    wait_for_held(&world.disk, 1);
    model.send(&store, 0, "last", &large);
    let copying = std::thread::spawn({
        let store = store.clone();
        move || store.compaction_follow_step()
    });
    wait_for_held(&world.disk, 2);
    world.disk.inject(once(Operation::Sync, FILES));
    world.disk.hold_syncs_of(Some(FILES));
    is_done.recv_timeout(Duration::from_millis(300)).expect_err("cleaning waits for the sync that hangs");
    assert_eq!(store.log_min(), 0);
    world.disk.hold_syncs_of(None);
    copying.join().unwrap().expect_err("its sync fails");
    cleaning.join().unwrap().expect_err("and that is known here");
    assert_eq!(store.log_min(), 0, "what could not be synced stays in the commit log");
    drop(store);
    survives_power_cuts(&world, &world.disk, &model);
}

#[test]
fn a_queue_that_cannot_be_copied_keeps_no_other_from_it() {
    let world = World::new(options());
    let store = try_open(&world, &world.disk).unwrap();
    let mut model = Model::default();
    model.send(&store, 0, "k", "v");
    model.send(&store, 1, "k", "v");
    world.disk.inject(Fault::from_now(Operation::Create, FILES, ErrorKind::StorageFull));
    let error = store.compaction_follow_step().unwrap_err().to_string();
    assert!(error.contains("compactionLog/state/0"), "{error}");
    let copied = world.path("compaction/compactionLog/state/1/00000000000000000000");
    assert!(world.disk.files().contains_key(&copied));
}

/// However full the disk is: nobody would know that the last messages of their keys went with a segment.
#[test]
fn segments_with_messages_that_cannot_be_copied_stay_and_senders_are_told_why() {
    let world = World::new(options());
    let store = try_open(&world, &world.disk).unwrap();
    let mut model = Model::default();
    let large = "x".repeat(1500);
    for i in 0..30 {
        model.send(&store, 0, &format!("k{i}"), &large);
    }
    store.compaction_follow_step().unwrap();
    for i in 0..30 {
        model.send(&store, 0, &format!("n{i}"), &large);
    }
    store.queue_step(true).unwrap();
    world.disk.inject(Fault::from_now(Operation::Create, FILES, ErrorKind::StorageFull));
    world.disk.set_space(Space { total: 1000, free: 50, available: 50 });
    for _ in 0..3 {
        store.clean_step().unwrap();
    }
    let missing = store.entries(&store.queue(TOPIC, 0), 30, 1)[0].physical_offset;
    let segment = store.options().segment_bytes;
    assert!(missing > segment);
    assert_eq!(store.log_min(), missing / segment * segment, "what was copied goes");
    let refused = crate::support::send(&store, &letter("t", 0, "x")).unwrap_err().to_string();
    assert!(refused.contains("queue 0 of the compacted topic state cannot be copied"), "{refused}");
    model.check(&store);
    world.disk.heal();
    assert!(store.clean_step().unwrap() > 0);
    world.disk.set_space(Space { total: 1000, free: 900, available: 900 });
    assert_eq!(store.clean_step().unwrap(), 0);
    crate::support::send(&store, &letter("t", 0, "x")).unwrap();
    model.check(&store);
}

#[test]
fn without_the_entries_of_a_compacted_queue_nothing_is_deleted_until_they_are_back() {
    let world = World::new(options());
    let store = try_open(&world, &world.disk).unwrap();
    let mut model = Model::default();
    for i in 0..30 {
        model.send(&store, 0, &format!("k{i}"), &"x".repeat(1500));
    }
    store.queue_step(true).unwrap();
    world.disk.inject(Fault::from_now(Operation::Read, "consumequeue", ErrorKind::Other));
    expire(&world.disk, &store);
    assert_eq!(store.log_min(), 0);
    world.disk.heal();
    expire(&world.disk, &store);
    assert!(store.log_min() > 0);
    model.check(&store);
}
