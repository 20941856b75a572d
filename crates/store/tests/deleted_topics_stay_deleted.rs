//! A topic whose deletion was answered does not come back, whatever happens to the machine. What the disk refused to
//! give up goes as soon as it does, and is never mixed with a topic of the same name that is made meanwhile.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use crate::support::{World, bodies, letter, send, small_options};
use parking_lot::Mutex;
use sim::{Fault, Operation, Random};
use store::{Options, QueueKind, Store};

#[test]
fn after_a_power_cut() {
    let mut world = World::new(small_options());
    let store = world.open();
    for i in 0..100 {
        send(&store, &letter(["gone", "kept"][i % 2], (i % 4) as u32, "x")).unwrap();
    }
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    let kept = bodies(&store, "kept", 1);
    store.delete_topic("gone").unwrap();
    drop(store);
    let cut = world.disk.copy();
    for seed in 0..40 {
        world.disk = cut.crash(&mut Random::new(seed));
        let store = world.open();
        assert!(store.topics().iter().all(|topic| &**topic != "gone"), "seed {seed}");
        assert_eq!(bodies(&store, "kept", 1), kept);
        assert_eq!(send(&store, &letter("gone", 0, "anew")).unwrap().queue_offset, 0);
    }
}

/// Files of a topic's queues and of their extensions.
fn files_of(world: &World, topic: &str) -> Vec<PathBuf> {
    let is_of_topic = |path: &PathBuf| path.iter().any(|name| name == topic);
    world.disk.files().into_keys().filter(is_of_topic).collect()
}

fn extended() -> Options {
    Options { queue_ext_enabled: true, queue_ext_segment_bytes: 700, ..small_options() }
}

/// A store with files of a topic `t`, of which the disk refuses to remove some.
fn world_that_refuses(times: u64) -> (World, Arc<Store>) {
    let world = World::new(Options { queue_table_rows_min: 0, ..extended() });
    let store = world.open();
    for i in 0..90 {
        send(&store, &letter("t", i % 3, "old").tagged("a")).unwrap();
    }
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    let fault = Fault::from_now(Operation::Remove, "/t/1/", ErrorKind::Other);
    world.disk.inject(Fault { times, ..fault });
    store.delete_topic("t").unwrap_err();
    assert!(store.find_queue("t", 1).is_none());
    (world, store)
}

fn send_anew(store: &Store) {
    for i in 0..7 {
        let appended = send(store, &letter("t", 1, &format!("new {i}")).tagged("a")).unwrap();
        assert_eq!(appended.queue_offset, i);
    }
}

fn new_bodies() -> Vec<String> {
    (0..7).map(|i| format!("new {i}")).collect()
}

#[test]
fn what_the_disk_refused_to_remove_goes_with_the_next_round() {
    let (world, store) = world_that_refuses(1);
    assert!(!files_of(&world, "t").is_empty());
    store.queue_step(false).unwrap();
    assert_eq!(files_of(&world, "t"), Vec::<PathBuf>::new());
    drop(store);
    assert!(world.open().topics().iter().all(|topic| &**topic != "t"));
}

#[test]
fn what_the_disk_refused_to_remove_goes_at_the_stop() {
    let (world, store) = world_that_refuses(1);
    store.stop().unwrap();
    assert_eq!(files_of(&world, "t"), Vec::<PathBuf>::new());
}

#[test]
fn a_second_attempt_removes_what_the_first_one_left() {
    let (world, store) = world_that_refuses(1);
    store.delete_topic("t").unwrap();
    assert_eq!(files_of(&world, "t"), Vec::<PathBuf>::new());
}

#[test]
fn a_topic_made_anew_is_not_mixed_with_what_is_left_of_the_old_one() {
    let (world, store) = world_that_refuses(u64::MAX);
    let left = files_of(&world, "t");
    send_anew(&store);
    assert!(store.queue_step(false).unwrap_err().to_string().contains("cannot be removed"));
    assert_eq!(bodies(&store, "t", 1), new_bodies());
    assert_eq!(files_of(&world, "t"), left);
    world.disk.heal();
    store.stop().unwrap();
    let files = world.disk.files();
    let entries = &files[&world.path("consumequeue/t/1/00000000000000000000")];
    assert!(entries[7 * 20..].iter().all(|byte| *byte == 0), "entries of the topic that was deleted");
    let extensions = &files[&world.path("consumequeue_ext/t/1/00000000000000000000")];
    assert!(extensions[7 * 20..].iter().all(|byte| *byte == 0), "extensions of the topic that was deleted");
    assert_eq!(files_of(&world, "t").len(), 2);
    drop(store);
    assert_eq!(bodies(&world.open(), "t", 1), new_bodies());
}

#[test]
fn a_stop_that_could_not_finish_a_deletion_is_not_clean_and_one_start_tidies_up() {
    let (world, store) = world_that_refuses(u64::MAX);
    send_anew(&store);
    store.stop().unwrap_err();
    drop(store);
    world.disk.heal();
    // The log does not say what was deleted: queues that are built from it have all of its messages again.
    let open = || {
        let store = world.open();
        assert!(!store.was_stopped_cleanly());
        store.queue_step(false).unwrap();
        assert!(bodies(&store, "t", 1).ends_with(&new_bodies()));
        drop(store);
        world.disk.files()
    };
    assert!(open() == open(), "a second start changed something");
}

#[test]
fn wherever_a_deletion_fails_the_next_one_is_whole() {
    for step in 0.. {
        let mut world = World::new(extended());
        let store = world.open();
        for i in 0..40 {
            send(&store, &letter(["t", "kept"][i % 2], (i % 4) as u32, "x").tagged("a")).unwrap();
        }
        store.flush_step().unwrap();
        store.queue_step(true).unwrap();
        let fault = Fault::from_now(Operation::Any, "consumequeue", ErrorKind::Other);
        world.disk.inject(Fault { after: step, times: 1, ..fault });
        let done = store.delete_topic("t").is_ok();
        world.disk.heal();
        store.delete_topic("t").unwrap();
        assert_eq!(files_of(&world, "t"), Vec::<PathBuf>::new(), "step {step}");
        drop(store);
        for seed in 0..5 {
            let after = world.disk.crash(&mut Random::new(seed));
            let before = std::mem::replace(&mut world.disk, after);
            let store = world.open();
            assert!(store.find_queue("t", 0).is_none(), "step {step}, seed {seed}");
            assert_eq!(bodies(&store, "kept", 1).len(), 10);
            drop(store);
            world.disk = before;
        }
        if done {
            assert!(step > 10, "only {step} steps were tried");
            return;
        }
    }
}

#[test]
fn those_who_watch_are_told_before_the_disk_is_waited_for() {
    let world = World::new(extended());
    let store = world.open();
    send(&store, &letter("t", 0, "old")).unwrap();
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    let old = store.queue("t", 0);
    let told = Arc::new(Mutex::new(Vec::new()));
    let (seen, disk, weak) = (told.clone(), world.disk.clone(), Arc::downgrade(&store));
    store.tell_of_deletions(Box::new(move |topic| {
        let store = weak.upgrade().unwrap();
        let has_files = disk.files().keys().any(|path| path.iter().any(|name| name == topic));
        seen.lock().push((topic.to_owned(), has_files, store.queue(topic, 0).kind()));
    }));
    store.set_queue_kind("t", QueueKind::Batch).unwrap();
    assert!(old.is_deleted());
    assert_eq!(*told.lock(), [("t".to_owned(), true, QueueKind::Batch)], "a new queue is of the new kind");
    assert_eq!(files_of(&world, "t"), Vec::<PathBuf>::new());
    store.delete_topic("t").unwrap();
    assert_eq!(told.lock().len(), 2);
}
