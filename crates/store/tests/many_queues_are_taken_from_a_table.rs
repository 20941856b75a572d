//! A clean stop and a kill leave a table of all queues, and the next start believes it only as far as it is true.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::support::{World, bodies, letter, open_on, send, small_options};
use sim::{Fault, Layer, Layered, Operation, Random};
use store::{Disk, File, Options, Store, StoreError};

fn world() -> World {
    World::new(Options { queue_table_rows_min: 1, queue_table_bytes: 4096, ..small_options() })
}

/// Ten topics of three queues, each with its number of messages.
fn fill(store: &Store) {
    for i in 0..300 {
        send(store, &letter(&format!("t{}", i % 10), (i / 10 % 3) as u32, &i.to_string())).unwrap();
    }
}

/// A store that was killed when a part of its queues had been written for the second time.
fn killed() -> World {
    let world = world();
    let store = world.open();
    for i in 0..200 {
        send(&store, &letter(&format!("t{}", i % 10), (i / 10 % 3) as u32, &i.to_string())).unwrap();
    }
    store.queue_step(false).unwrap();
    for i in 200..300 {
        send(&store, &letter(&format!("t{}", i % 10), (i / 10 % 3) as u32, &i.to_string())).unwrap();
    }
    world
        .disk
        .inject(Fault { after: 7, ..Fault::from_now(Operation::Write, "consumequeue", ErrorKind::Other) });
    store.queue_step(false).unwrap_err();
    world.disk.heal();
    world
}

/// Whether a start looks into the files of queues.
fn looks_into_files(world: &World) -> bool {
    let copy = World { disk: world.disk.copy(), clock: world.clock.clone(), options: world.options.clone() };
    copy.disk.inject(Fault::from_now(Operation::Read, "consumequeue/t", ErrorKind::Other));
    copy.try_open().is_err()
}

fn check(store: &Store) {
    for topic in 0..10 {
        for queue in 0..3 {
            let wanted: Vec<_> =
                (0..300).filter(|i| i % 10 == topic && i / 10 % 3 == queue).map(|i| i.to_string()).collect();
            assert_eq!(bodies(store, &format!("t{topic}"), queue as u32), wanted, "t{topic}-{queue}");
        }
    }
}

fn stopped() -> World {
    let world = world();
    let store = world.open();
    fill(&store);
    store.stop().unwrap();
    assert!(world.disk.files().contains_key(&world.path("queuetable")));
    world
}

fn remove_dir(world: &World, part: &str) {
    let dir = world.path(part);
    for path in world.disk.files().into_keys().filter(|path| path.starts_with(&dir)) {
        world.disk.remove(&path).unwrap();
    }
    for entry in world.disk.list(&dir).unwrap() {
        world.disk.remove_dir(&dir.join(entry.name)).unwrap();
    }
    world.disk.remove_dir(&dir).unwrap();
}

#[test]
fn the_next_start_looks_into_no_queue_file() {
    for world in [stopped(), killed()] {
        assert!(!looks_into_files(&world));
        let store = world.open();
        check(&store);
        let next = send(&store, &letter("t0", 0, "next")).unwrap();
        assert_eq!(next.queue_offset, 10);
    }
}

#[test]
fn nor_does_it_after_a_kill_amid_the_first_messages_of_all_queues() {
    let world = world();
    let store = world.open();
    fill(&store);
    world
        .disk
        .inject(Fault { after: 40, ..Fault::from_now(Operation::Any, "consumequeue", ErrorKind::Other) });
    store.queue_step(false).unwrap_err();
    world.disk.heal();
    drop(store);
    assert!(!looks_into_files(&world));
    check(&world.open());
}

/// Sends a message to each topic, once, when the first queue file is written.
#[derive(Clone, Default)]
struct SendsMeanwhile(Arc<Mutex<Weak<Store>>>);

impl Layer for SendsMeanwhile {
    fn write_at(&self, below: &dyn File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        if path.starts_with("/store/consumequeue") {
            let store = std::mem::take(&mut *self.0.lock().unwrap()).upgrade();
            for topic in store.iter().flat_map(|_| 0..10) {
                send(store.as_ref().unwrap(), &letter(&format!("t{topic}"), 0, "meanwhile")).unwrap();
            }
        }
        below.write_at(bytes, offset)
    }
}

#[test]
fn messages_that_came_while_queues_were_being_written_are_counted_by_the_next_table() {
    let world = world();
    let layer = SendsMeanwhile::default();
    let disk = Arc::new(Layered::new(Arc::new(world.disk.clone()), layer.clone()));
    let store = open_on(disk, Arc::new(world.clock.clone()), world.options.clone()).unwrap();
    fill(&store);
    *layer.0.lock().unwrap() = Arc::downgrade(&store);
    store.queue_step(false).unwrap();
    assert!(!looks_into_files(&world), "a kill in the next moment");
    // From now on only one queue has something to write.
    for i in 0..100 {
        send(&store, &letter("t0", 2, &i.to_string())).unwrap();
    }
    store.queue_step(false).unwrap();
    assert!(!looks_into_files(&world), "a kill after the next table");
    store.stop().unwrap();
    assert!(!looks_into_files(&world), "a clean stop");
    drop(store);
    let store = world.open();
    assert_eq!(bodies(&store, "t9", 0).len(), 11);
    assert_eq!(bodies(&store, "t0", 2).len(), 110);
}

#[test]
fn a_restart_of_the_machine_or_a_java_broker_voids_it() {
    let mut world = killed();
    let store = world.open();
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    drop(store);
    assert!(!looks_into_files(&world));
    world.disk = world.disk.crash(&mut Random::new(1));
    assert!(looks_into_files(&world));
    for world in [killed(), stopped()] {
        world.disk.damage(&world.path("checkpoint"), |bytes| bytes[3] ^= 1);
        assert!(looks_into_files(&world));
        check(&world.open());
    }
}

#[test]
fn after_segments_of_the_log_are_gone_it_is_another_one_that_counts() {
    let world = stopped();
    world.disk.remove(&world.path("commitlog/00000000000000000000")).unwrap();
    assert!(looks_into_files(&world), "somebody else removed it, and perhaps queue files too");

    let world = self::world();
    let store = world.open();
    for i in 0..1000 {
        send(&store, &letter("t", 0, &i.to_string())).unwrap();
    }
    store.flush_step().unwrap();
    world.clock.advance(Duration::from_secs(80 * 3600));
    store.clean_soon();
    assert!(store.clean_step().unwrap() > 0);
    let (min, kept) = (store.queue("t", 0).min_offset(), bodies(&store, "t", 0));
    assert!(min > 40, "the first queue file is gone too");
    drop(store);
    assert!(!looks_into_files(&world));
    let store = world.open();
    assert_eq!((store.queue("t", 0).min_offset(), bodies(&store, "t", 0)), (min, kept));
}

#[test]
fn a_topic_deleted_before_the_kill_stays_deleted() {
    for world in [killed(), stopped()] {
        let store = world.open();
        store.delete_topic("t4").unwrap();
        send(&store, &letter("t4", 1, "anew")).unwrap();
        drop(store);
        let store = world.open();
        assert_eq!(bodies(&store, "t4", 0), Vec::<String>::new());
        assert_eq!(bodies(&store, "t4", 1), ["anew"]);
        assert_eq!(bodies(&store, "t5", 0).len(), 10);
    }
}

#[test]
fn queues_that_only_their_files_know_are_found() {
    let world = killed();
    let from = world.path("consumequeue/t3/0/00000000000000000000");
    let dir = world.path("consumequeue/x/0");
    world.disk.create_dir_all(&dir).unwrap();
    let bytes = world.disk.files()[&from].clone();
    let file = world.disk.create(&dir.join("00000000000000000000"), bytes.len() as u64).unwrap();
    file.write_at(&bytes, 0).unwrap();
    let store = world.open();
    assert!(store.queue("x", 0).max_offset() > 0);
    check(&store);
}

#[test]
fn a_topic_whose_queues_were_removed_gets_them_back() {
    let world = stopped();
    remove_dir(&world, "consumequeue/t3");
    check(&world.open());
}

#[test]
fn a_damaged_table_is_passed_over() {
    for at in [0, 20, 60] {
        let world = stopped();
        world.disk.damage(&world.path("queuetable"), |bytes| bytes[at] ^= 4);
        check(&world.open());
    }
}

#[test]
fn what_came_after_the_table_is_counted_once() {
    let world = stopped();
    let store = world.open();
    fill(&store);
    drop(store);
    let store = world.open();
    assert_eq!(store.queue("t0", 0).max_offset(), 20);
    store.stop().unwrap();
    drop(store);
    let store = world.open();
    assert_eq!(store.queue("t0", 0).max_offset(), 20);
}

#[test]
fn a_single_missing_file_is_noticed_when_it_is_wanted_and_rebuilt_by_the_next_start() {
    let world = stopped();
    world.disk.remove(&world.path("consumequeue/t3/1/00000000000000000000")).unwrap();
    let store = world.open();
    let queue = store.queue("t3", 1);
    let limits = store::ReadLimits { max_count: 32, max_bytes: 1 << 20 };
    let error = store.read(&queue, 0, limits, &mut |_| true).unwrap_err();
    assert!(error.to_string().contains("is missing; restart the broker"), "{error}");
    // Appending goes on: the log is the truth.
    send(&store, &letter("t3", 1, "later")).unwrap();
    let error = store.stop().unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    drop(store);
    let store = world.open();
    let found = bodies(&store, "t3", 1);
    assert_eq!(found.len(), 11);
    assert_eq!(found[10], "later");
}

#[test]
fn one_that_was_only_missed_by_a_reader_is_rebuilt_after_a_clean_stop_too() {
    let world = stopped();
    world.disk.remove(&world.path("consumequeue/t3/1/00000000000000000000")).unwrap();
    let store = world.open();
    let limits = store::ReadLimits { max_count: 32, max_bytes: 1 << 20 };
    store.read(&store.queue("t3", 1), 0, limits, &mut |_| true).unwrap_err();
    store.stop().unwrap();
    drop(store);
    check(&world.open());
}
