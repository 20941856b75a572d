//! Queue entries with extensions (`enableConsumeQueueExt`): the files are Java's, readers find in them what an entry
//! has no room for, and nothing is lost with them.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::{
    ROOT, TagBits, Tagged, World, letter, read_queue, read_tagged, send, send_all, small_options,
};
use sim::Random;
use sim::reader::StoreFiles;
use store::examine::StoreFiles as Examined;
use store::{Batch, Bitmaps, Extension, MessageFilter, Options, Queue, ReadLimits, Store};

fn extended() -> Options {
    Options { queue_ext_enabled: true, queue_ext_segment_bytes: 400, ..small_options() }
}

fn open(world: &World) -> Arc<Store> {
    let store = world.open();
    store.set_bitmaps(Arc::new(TagBits));
    store
}

/// Sends what fills several files of the log, and of extensions; all of it is on disk.
fn send_segments(store: &Store) {
    let body = "x".repeat(900);
    for number in 0..120 {
        send(store, &letter("t", 0, &format!("{number}{body}")).tagged("a")).unwrap();
    }
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
}

/// Lets time pass until files of the log have expired and are deleted.
fn expire(world: &World, store: &Store) {
    world.clock.advance(std::time::Duration::from_secs(80 * 3600));
    store.clean_soon();
    assert!(store.clean_step().unwrap() > 3);
}

/// Sends messages with keys `k0`, `k1`, …, tagged `a` and `b` in turn.
fn send_tagged(store: &Store, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let tag = ["a", "b"][number as usize % 2];
        send(store, &letter("t", 0, &format!("{number}")).keyed(&format!("k{number}")).tagged(tag)).unwrap();
    }
}

fn tagged(store: &Store, tag: &str) -> Vec<String> {
    let bodies = read_tagged(store, &store.queue("t", 0), tag);
    bodies.into_iter().map(|body| String::from_utf8(body).unwrap()).collect()
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.step_by(2).map(|number| number.to_string()).collect()
}

fn file(world: &World, base: u64) -> Option<Vec<u8>> {
    world.disk.files().get(&world.path(&format!("consumequeue_ext/t/0/{base:020}"))).cloned()
}

/// Counts how often a record is asked for.
struct Counting<'a>(Tagged<'a>, Cell<u32>);

impl MessageFilter for Counting<'_> {
    fn wants_entry(&self, _tags_code: Option<i64>) -> bool {
        true
    }

    fn wants_extended(&self, extension: &Extension<'_>) -> bool {
        self.0.wants_extended(extension)
    }

    fn looks_into_record(&self, _tags_code: Option<i64>) -> bool {
        true
    }

    fn wants_record(&self, record: &[u8]) -> bool {
        self.1.set(self.1.get() + 1);
        self.0.wants_record(record)
    }
}

fn records_looked_into(store: &Store, queue: &Queue, tag: &str) -> u32 {
    let filter = Counting(Tagged(tag), Cell::new(0));
    let limits = ReadLimits { max_count: 32, max_bytes: 1 << 20 };
    store.read_filtered(queue, 0, limits, &filter).unwrap();
    filter.1.get()
}

#[test]
fn an_entry_holds_the_address_of_its_extension_as_in_java() {
    let world = World::new(extended());
    let store = open(&world);
    send_tagged(&store, 0..20);
    let entries = store.entries(&store.queue("t", 0), 0, 20);
    assert_eq!(entries[0].tags_code, i64::MIN);
    // A bitmap of TagBits has six bytes.
    assert_eq!(entries[1].tags_code, i64::MIN + 26);
    // 15 of 26 bytes are 390, and four bytes must be left: the 16th message, k7 having no bitmap, is in the next file.
    let positions: Vec<_> = entries.iter().map(|entry| entry.extension_position().unwrap()).collect();
    assert_eq!((positions[8], positions[14], positions[15]), (26 * 8 - 6, 26 * 14 - 6, 400));
    store.stop().unwrap();
    let first = file(&world, 0).unwrap();
    assert_eq!((first.len(), &first[..2]), (400, &[0, 26][..]));
    assert_eq!(first[26 * 15 - 6..][..4], [0xFF, 0xFF, 0, 0], "the rest of the file is marked as unused");
    assert_eq!(file(&world, 400).unwrap().len(), 400);
    let files = StoreFiles::of(&world.disk.files(), ROOT.as_ref()).unwrap();
    files.compare_queues(&files.log().unwrap(), |_| false).unwrap();
}

#[test]
fn a_reader_passes_over_what_the_bitmap_says_it_does_not_want() {
    let world = World::new(extended());
    let store = open(&world);
    send_tagged(&store, 0..20);
    for life in 0..3 {
        // Ten messages are tagged b; k7 and k17 have no bitmap and are odd as well.
        let queue = store.queue("t", 0);
        assert_eq!(records_looked_into(&store, &queue, "b"), 10, "in life {life}");
        assert_eq!(records_looked_into(&store, &queue, "a"), 10 + 2, "in life {life}");
        assert_eq!((tagged(&store, "a"), tagged(&store, "b")), (numbers(0..20), numbers(1..20)));
        store.queue_step(life == 1).unwrap();
    }
}

#[test]
fn extensions_outlive_a_stop_and_a_kill() {
    let world = World::new(extended());
    let mut sent = 0;
    for life in 0..6 {
        let store = open(&world);
        assert_eq!((tagged(&store, "a"), tagged(&store, "b")), (numbers(0..sent), numbers(1..sent)));
        send_tagged(&store, sent..sent + 14);
        sent += 14;
        match life % 3 {
            0 => store.stop().unwrap(),
            1 => store.queue_step(false).unwrap(),
            // The entries are only in memory.
            _ => {}
        }
        assert_eq!((tagged(&store, "a"), tagged(&store, "b")), (numbers(0..sent), numbers(1..sent)));
    }
    let store = open(&world);
    store.stop().unwrap();
    drop(store);
    let disk = Arc::new(world.disk.clone());
    let verified = Examined::open(disk, world.options.clone()).unwrap().verify(&mut |_| {}).unwrap();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    assert_eq!(verified.extensions, u64::from(sent));
}

#[test]
fn whether_entries_of_a_topic_have_extensions_does_not_depend_on_who_makes_them() {
    let world = World::new(extended());
    let topics = ["t", "%LMQ%sent to", "SCHEDULE_TOPIC_XXXX"];
    let extended = |store: &Store| {
        topics.map(|topic| store.entries(&store.queue(topic, 0), 0, 1)[0].extension_position().is_some())
    };
    let store = open(&world);
    send_all(&store, &topics.map(|topic| letter(topic, 0, "one").tagged("a"))).unwrap();
    assert_eq!(extended(&store), [true, false, false], "made by the append");
    drop(store);
    // They were only in memory.
    assert_eq!(extended(&open(&world)), [true, false, false], "made by recovery");
}

#[test]
fn extensions_in_files_stay_what_they_are_though_the_table_of_queues_is_older() {
    let options = Options { queue_table_rows_min: 0, queue_table_bytes: 1 << 20, ..extended() };
    let world = World::new(options);
    let store = open(&world);
    send_tagged(&store, 0..20);
    store.queue_step(true).unwrap();
    let looked_into = records_looked_into(&store, &store.queue("t", 0), "a");
    drop(store);
    let before = world.disk.files();
    let store = open(&world);
    assert_eq!(records_looked_into(&store, &store.queue("t", 0), "a"), looked_into);
    store.queue_step(false).unwrap();
    drop(store);
    let after = world.disk.files();
    let of_queues = |path: &&std::path::PathBuf| path.to_string_lossy().contains("consumequeue");
    assert!(before.contains_key(&world.path("queuetable")));
    assert_eq!(before.keys().filter(of_queues).count(), 3);
    for path in before.keys().filter(of_queues) {
        assert!(before[path] == after[path], "a kill changed {}", path.display());
    }
}

#[test]
fn extensions_outlive_a_kill_and_the_power_cut_behind_it() {
    let mut world = World::new(extended());
    let mut sent = 0;
    for (life, sync) in [true, false, false, false].into_iter().enumerate() {
        let store = open(&world);
        for _ in 0..2 {
            // More than two files of extensions, of which nothing is synced but in the first life.
            send_tagged(&store, sent..sent + 35);
            sent += 35;
            store.flush_step().unwrap();
            store.queue_step(sync).unwrap();
        }
        assert_eq!(tagged(&store, "a"), numbers(0..sent), "in life {life}");
    }
    let cut = world.disk.copy();
    for seed in 0..150 {
        world.disk = cut.crash(&mut Random::new(seed));
        for life in 1..3 {
            let store = open(&world);
            let (from, until) = (sent + 20 * (life - 1), sent + 20 * life);
            send_tagged(&store, from..until);
            assert_eq!((tagged(&store, "a"), tagged(&store, "b")), (numbers(0..until), numbers(1..until)));
            store.stop().unwrap();
            drop(store);
            let verified = Examined::open(Arc::new(world.disk.clone()), world.options.clone())
                .unwrap()
                .verify(&mut |_| {});
            let verified = verified.unwrap();
            assert!(verified.findings.is_empty(), "seed {seed}: {:?}", verified.findings);
            assert_eq!(verified.extensions, u64::from(until), "seed {seed}: entries without extensions");
        }
    }
}

#[test]
fn files_that_had_expired_and_that_a_power_cut_brings_back_are_no_hindrance() {
    let mut world = World::new(extended());
    let store = open(&world);
    send_segments(&store);
    expire(&world, &store);
    drop(store);
    let cut = world.disk.copy();
    let mut with_gaps = 0;
    for seed in 0..60 {
        world.disk = cut.crash(&mut Random::new(seed));
        let there = |base| file(&world, base).is_some();
        let later_came_back = (400..2800).step_by(400).any(|base| there(base - 400) && !there(base));
        with_gaps += u32::from(later_came_back && there(2800));
        let store = open(&world);
        send(&store, &letter("t", 0, "later").tagged("a")).unwrap();
        let queue = store.queue("t", 0);
        let last = queue.max_offset() - 1;
        let entry = store.entries(&queue, last, 1)[0];
        assert!(entry.extension_position().is_some(), "seed {seed}: extensions cannot be used");
        assert_eq!(read_tagged(&store, &queue, "a").len(), read_queue(&store, &queue).len());
    }
    assert!(with_gaps > 0, "no power cut left a gap: this says nothing");
}

#[test]
fn the_switch_may_be_turned_at_any_start() {
    let mut world = World::new(extended());
    let mut sent = 0;
    for life in 0..7 {
        world.options.queue_ext_enabled = [true, false, true, true, false, false, true][life];
        let store = open(&world);
        send_tagged(&store, sent..sent + 9);
        sent += 9;
        assert_eq!((tagged(&store, "a"), tagged(&store, "b")), (numbers(0..sent), numbers(1..sent)));
        if life % 2 == 0 {
            store.stop().unwrap();
        }
    }
}

#[test]
fn a_segment_of_which_a_power_cut_kept_the_name_alone_stays_the_one_to_go_on_with() {
    let mut world = World::new(extended());
    let store = open(&world);
    send_tagged(&store, 0..20);
    store.stop().unwrap();
    drop(store);
    world.options.queue_ext_enabled = false;
    let store = open(&world);
    send_tagged(&store, 20..21);
    store.flush_step().unwrap();
    drop(store);
    world.disk.damage(&world.path("consumequeue_ext/t/0/00000000000000000400"), |bytes| bytes.fill(0));
    let recovered = || {
        let store = open(&world);
        store.queue_step(true).unwrap();
        assert_eq!((tagged(&store, "a"), tagged(&store, "b")), (numbers(0..21), numbers(1..21)));
        (file(&world, 0).unwrap(), file(&world, 400).unwrap())
    };
    let first = recovered();
    let mark = first.0.windows(2).position(|bytes| bytes == [0xFF, 0xFF]);
    assert!(mark.is_some_and(|at| at > 350), "the one before is full, as it says: {mark:?}");
    assert_eq!(recovered(), first);
}

#[test]
fn extensions_whose_files_are_removed_are_missed_and_never_mistaken() {
    let world = World::new(extended());
    let store = open(&world);
    send_tagged(&store, 0..20);
    store.stop().unwrap();
    drop(store);
    for path in world.disk.files().keys().filter(|path| path.starts_with("/store/consumequeue_ext")) {
        store::Disk::remove(&world.disk, path).unwrap();
    }
    let verified =
        Examined::open(Arc::new(world.disk.clone()), world.options.clone()).unwrap().verify(&mut |_| {});
    let findings = verified.unwrap().findings;
    assert_eq!(findings.counts().values().sum::<u64>(), 1, "{findings:?}");
    let store = open(&world);
    assert_eq!((tagged(&store, "a"), tagged(&store, "b")), (numbers(0..20), numbers(1..20)));
    send_tagged(&store, 20..40);
    assert_eq!((tagged(&store, "a"), tagged(&store, "b")), (numbers(0..40), numbers(1..40)));
    assert!(file(&world, 0).is_none());
}

#[test]
fn files_of_another_size_are_not_written_to() {
    let mut world = World::new(extended());
    let store = open(&world);
    send_tagged(&store, 0..20);
    store.stop().unwrap();
    drop(store);
    let before = (file(&world, 0), file(&world, 400));
    for bytes in [300, 800] {
        world.options.queue_ext_segment_bytes = bytes;
        let store = open(&world);
        let next = store.queue("t", 0).max_offset() as u32;
        send_tagged(&store, next..next + 2);
        assert_eq!(tagged(&store, "a"), numbers(0..next + 2));
        store.stop().unwrap();
        drop(store);
        assert_eq!((file(&world, 0), file(&world, 400)), before);
    }
}

#[test]
fn extensions_go_with_their_messages_and_with_their_topic() {
    let world = World::new(extended());
    let store = open(&world);
    send_segments(&store);
    assert!(file(&world, 0).is_some());
    expire(&world, &store);
    assert!(file(&world, 0).is_none());
    let queue = store.queue("t", 0);
    assert_eq!(read_tagged(&store, &queue, "a").len(), read_queue(&store, &queue).len());
    store.delete_topic("t").unwrap();
    assert!(!world.disk.files().keys().any(|path| path.starts_with("/store/consumequeue_ext/t")));
    send_tagged(&store, 0..3);
    assert_eq!(store.entries(&store.queue("t", 0), 0, 1)[0].extension_position(), Some(0));
}

/// Bitmaps whose meaning changes while they are made.
struct Changing(AtomicU64);

impl Bitmaps for Changing {
    fn edition(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn push(&self, _topic: &str, _record: &[u8], out: &mut Vec<u8>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        out.push(1);
    }
}

#[test]
fn a_bitmap_whose_meaning_changed_meanwhile_is_not_stored() {
    let world = World::new(extended());
    let store = world.open();
    store.set_bitmaps(Arc::new(Changing(AtomicU64::new(0))));
    let mut batch = Batch::default();
    for number in 0..3 {
        letter("t", 0, &format!("{number}")).tagged("a").push_to(&store, &mut batch);
    }
    store.append(&mut batch).unwrap();
    let positions: Vec<_> = store
        .entries(&store.queue("t", 0), 0, 3)
        .iter()
        .map(|entry| entry.extension_position().unwrap())
        .collect();
    assert_eq!(positions, [0, 20, 40]);
}
