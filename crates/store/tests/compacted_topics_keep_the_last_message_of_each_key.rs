//! Topics with `cleanup.policy=COMPACTION`: what is kept, where reading leads, and what outlives the commit log.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::compaction::{Kept, Model, TOPIC, options, read_from};
use crate::support;
use crate::support::{Letter, World, letter, send};
use store::{Disk, MessageFilter, Options, ReadLimits, ReadResult, ReadStatus, Space, Store, StoreError};
use wire::record::Record;

/// A store with a compacted topic, and what was sent to topic.
struct Compacted {
    world: World,
    store: Arc<Store>,
    model: Model,
}

impl Compacted {
    fn new() -> Compacted {
        Compacted::with(options())
    }

    fn with(options: Options) -> Compacted {
        let world = World::new(options);
        let store = open(&world);
        Compacted { world, store, model: Model::default() }
    }

    /// Sends to queue 0.
    fn send(&mut self, key: &str, body: &str) {
        self.model.send(&self.store, 0, key, body);
    }

    /// Sends `count` messages over ten keys to queue 0.
    fn send_many(&mut self, count: usize) {
        for i in 0..count {
            let number = self.model.last(0).values().map(|kept| kept.queue_offset + 1).max().unwrap_or(0);
            self.send(&format!("k{}", i % 10), &format!("v{number}"));
        }
    }

    /// Copies and compacts; tells how many queues had something to leave out.
    fn compact(&self) -> u64 {
        self.store.compaction_follow_step().unwrap();
        self.store.compaction_step().unwrap()
    }

    fn check(&self) {
        self.model.check(&self.store);
    }

    /// What a reader of queue 0 gets from the beginning.
    fn all(&self) -> Vec<Kept> {
        read_from(&self.store, 0, 0)
    }

    /// Stops the store; `between` is done to its disk before it is opened again.
    fn restart(self, between: impl FnOnce(&World)) -> Compacted {
        let Compacted { world, store, model } = self;
        store.stop().unwrap();
        drop(store);
        between(&world);
        Compacted { store: open(&world), world, model }
    }
}

fn open(world: &World) -> Arc<Store> {
    let store = world.open();
    store.compact_topic(TOPIC).unwrap();
    store
}

#[test]
fn older_messages_of_a_key_go_and_offsets_stay() {
    let mut topic = Compacted::new();
    topic.send_many(95);
    assert_eq!(topic.all().len(), 95, "all can be read before anything is copied");
    topic.store.compaction_follow_step().unwrap();
    assert_eq!(topic.all().len(), 95);
    assert_eq!(topic.store.compaction_step().unwrap(), 1);
    topic.check();
    let got = topic.all();
    // All but the last file of five messages is compacted to one of ten.
    let offsets: Vec<_> = got.iter().map(|kept| kept.queue_offset).collect();
    assert_eq!(offsets, (80..95).collect::<Vec<_>>());
    let queue = topic.store.queue(TOPIC, 0);
    assert_eq!((queue.min_offset(), queue.max_offset()), (80, 95));
    assert_eq!(read_from(&topic.store, 0, 83), got[3..]);
    assert_eq!(read_from(&topic.store, 0, -5), got);
    assert_eq!(topic.store.compaction_step().unwrap(), 0, "there is nothing new");
    topic.send_many(20);
    assert_eq!(topic.compact(), 1);
    topic.check();
    topic.store.stop().unwrap();
}

#[test]
fn a_message_without_a_body_deletes_its_key() {
    let mut topic = Compacted::new();
    topic.send_many(20);
    topic.send("k3", "");
    topic.send("k4", "");
    topic.send("k4", "back");
    for i in 0..12 {
        topic.send("other", &format!("o{i}"));
    }
    assert_eq!(topic.compact(), 1);
    topic.check();
    let keys: Vec<_> = topic.all().into_iter().map(|kept| kept.key).collect();
    assert!(!keys.contains(&"k3".to_owned()) && keys.contains(&"k4".to_owned()), "{keys:?}");
    topic.store.stop().unwrap();
}

#[test]
fn what_is_kept_outlives_the_segments_of_the_log() {
    let mut topic = Compacted::new();
    topic.send("rare", "still here");
    let filler = "x".repeat(900);
    for i in 0..60 {
        topic.send("often", &format!("{i} {filler}"));
    }
    // The disk is so full that segments go before their time; nothing was copied before.
    topic.world.disk.set_space(Space { total: 1000, free: 120, available: 120 });
    assert!(topic.store.clean_step().unwrap() >= 2);
    assert!(topic.store.log_min() > 0);
    topic.world.disk.set_space(Space { total: 1000, free: 900, available: 900 });
    topic.check();
    assert_eq!(topic.compact(), 1);
    topic.check();
    let first = Kept { queue_offset: 0, key: "rare".into(), body: "still here".into() };
    assert_eq!(topic.all()[0], first);
    let queue = topic.store.queue(TOPIC, 0);
    assert_eq!(queue.min_offset(), 0);
    assert_eq!(topic.store.offset_by_time(&queue, 0, store::Boundary::Lower).unwrap(), 0);
    drop(queue);
    let mut topic = topic.restart(|_| ());
    topic.check();
    assert_eq!(topic.all()[0], first);
    topic.send_many(3);
    topic.check();
    topic.store.stop().unwrap();
}

#[test]
fn a_queue_without_files_goes_on_behind_what_is_kept() {
    let mut topic = Compacted::new();
    topic.send_many(25);
    let mut topic = topic.restart(|world| {
        for (path, _) in world.disk.files() {
            let path_text = path.to_string_lossy();
            if path_text.contains("/commitlog/")
                || path_text.contains("/consumequeue/")
                || path_text.ends_with("/checkpoint")
            {
                world.disk.remove(&path).unwrap();
            }
        }
    });
    topic.check();
    topic.send_many(2);
    topic.check();
    topic.store.stop().unwrap();
}

/// Else each start would build all queues from the log, and bring those of deleted topics back.
#[test]
fn a_queue_without_files_is_whole_at_the_start_after() {
    let mut topic = Compacted::new();
    topic.send_many(25);
    let is_of = |path: &Path, part: &str| path.to_string_lossy().contains(part);
    let topic = topic.restart(|world| {
        let files = world.disk.files().into_keys();
        let parts = ["/commitlog/", "/consumequeue/", "/checkpoint"];
        let gone = files.filter(|path| parts.iter().any(|part| is_of(path, part)));
        gone.for_each(|path| world.disk.remove(&path).unwrap());
    });
    send(&topic.store, &letter("deleted", 0, "a")).unwrap();
    topic.store.delete_topic("deleted").unwrap();
    let mut topic = topic.restart(|_| ());
    assert!(!topic.store.topics().iter().any(|name| &**name == "deleted"));
    topic.check();
    topic.send_many(2);
    topic.check();
}

#[test]
fn offsets_beyond_the_end_and_filters_are_as_java_has_them() {
    let world = World::new(options());
    let store = open(&world);
    let mut tagged = letter(TOPIC, 0, "a").keyed("a");
    for i in 0..30 {
        tagged = Letter { keys: format!("k{}", i % 3), tags: ["red", "blue"][i % 2].into(), ..tagged };
        send(&store, &tagged).unwrap();
    }
    store.flush_step().unwrap();
    store.compaction_follow_step().unwrap();
    let queue = store.queue(TOPIC, 0);
    let limits = ReadLimits { max_count: 64, max_bytes: 1 << 20 };
    let read = |offset: i64| store.read(&queue, offset, limits, &mut |_| true).unwrap();
    let ends = |offset| (read(offset).status, read(offset).next_offset);
    assert_eq!(ends(30), (ReadStatus::OffsetOverflowOne, 30));
    assert_eq!(ends(99), (ReadStatus::OffsetOverflowBadly, 0), "nothing was left out yet");
    assert_eq!(store.compaction_step().unwrap(), 1);
    assert!(queue.min_offset() > 0);
    assert_eq!(ends(99), (ReadStatus::OffsetOverflowBadly, 30));
    let red = wire::hash::tags_code(Some("red"));
    let reds = store.read(&queue, 0, limits, &mut |code| code == red).unwrap();
    assert_eq!((reds.status, reds.next_offset), (ReadStatus::Found, 30));
    let offsets = reds.records.iter().map(|bytes| wire::record::queue_offset(&bytes.unwrap()).unwrap());
    assert!(offsets.eq([18, 20, 22, 24, 26, 28]));
    let none = store.read(&queue, 0, limits, &mut |_| false).unwrap();
    assert_eq!((none.status, none.next_offset), (ReadStatus::NoMatchedMessage, 30));
    store.stop().unwrap();
}

#[test]
fn a_deleted_topic_leaves_nothing_and_begins_anew() {
    let mut topic = Compacted::new();
    topic.send_many(40);
    topic.compact();
    topic.store.delete_topic(TOPIC).unwrap();
    let left: Vec<_> = topic.world.disk.files().into_keys().collect();
    let left: Vec<_> =
        left.iter().filter(|path| path.to_string_lossy().contains("/compactionLog/")).collect();
    assert!(left.is_empty(), "{left:?}");
    topic.store.compact_topic(TOPIC).unwrap();
    topic.model = Model::default();
    topic.send_many(40);
    assert_eq!(topic.compact(), 1, "the position of the topic before is forgotten");
    topic.check();
    topic.store.stop().unwrap();
}

#[test]
fn a_map_that_is_too_small_for_all_keys_takes_more_passes() {
    let mut options = options();
    options.compaction.as_mut().unwrap().map_bytes_max = 400;
    let mut topic = Compacted::with(options);
    topic.send_many(95);
    topic.store.compaction_follow_step().unwrap();
    let mut passes = 0;
    while topic.store.compaction_step().unwrap() > 0 {
        passes += 1;
        topic.check();
        assert!(passes < 100);
    }
    assert!(passes > 3);
    assert!(topic.all().len() <= 40, "what no map knew at once may stay");
    topic.store.stop().unwrap();
}

#[test]
fn files_of_another_size_are_named_and_left_alone() {
    let mut topic = Compacted::new();
    topic.send_many(25);
    topic.store.stop().unwrap();
    let Compacted { world, store, .. } = topic;
    drop(store);
    let before = world.disk.files();
    let other = Options { compaction: Some(store::CompactionOptions::default()), ..options() };
    let world = World { options: other, ..world };
    let store = world.open();
    let error = store.compact_topic(TOPIC).unwrap_err();
    assert!(matches!(error, StoreError::Compaction { .. }), "{error}");
    assert!(error.to_string().contains("compactionMappedFileSize"), "{error}");
    let of_compaction = |files: std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>| -> Vec<_> {
        files.into_iter().filter(|(path, _)| path.to_string_lossy().contains("/compaction/")).collect()
    };
    assert!(of_compaction(before) == of_compaction(world.disk.files()));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "threads of a real store are waited for")]
fn workers_copy_and_compact_by_themselves() {
    let mut options = options();
    options.flush = store::FlushMode::Async { interval: Duration::from_millis(1) };
    options.compaction.as_mut().unwrap().interval = Duration::from_millis(20);
    let dir = tempfile::tempdir().unwrap();
    options.root = dir.path().join("store");
    options.commit_log_dir = options.root.join("commitlog");
    let clock = Arc::new(store::RealClock::default());
    let store = support::open_on(Arc::new(store::RealDisk), clock, options).unwrap();
    store.compact_topic(TOPIC).unwrap();
    store.start_workers();
    for i in 0..95 {
        send(&store, &letter(TOPIC, 0, &format!("v{i}")).keyed(&format!("k{}", i % 10))).unwrap();
    }
    let queue = store.queue(TOPIC, 0);
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while queue.min_offset() < 80 {
        assert!(std::time::Instant::now() < deadline, "not compacted: {}", queue.min_offset());
        std::thread::yield_now();
    }
    assert_eq!(read_from(&store, 0, 0).len(), 15);
    store.stop().unwrap();
}

/// Wants every record, and does something when it is asked for the first time: what others do while a read is on its
/// way.
struct Meanwhile<'a> {
    act: &'a dyn Fn(),
    done: Cell<bool>,
}

impl MessageFilter for Meanwhile<'_> {
    fn wants_entry(&self, _tags_code: Option<i64>) -> bool {
        true
    }

    fn looks_into_record(&self, _tags_code: Option<i64>) -> bool {
        true
    }

    fn wants_record(&self, _record: &[u8]) -> bool {
        if !self.done.replace(true) {
            (self.act)();
        }
        true
    }
}

/// Reads queue 0 while `act` is done.
fn read_while(store: &Store, offset: i64, act: &dyn Fn()) -> ReadResult {
    let filter = Meanwhile { act, done: Cell::new(false) };
    let limits = ReadLimits { max_count: 100, max_bytes: 1 << 20 };
    let result = store.read_filtered(&store.queue(TOPIC, 0), offset, limits, &filter).unwrap();
    assert!(filter.done.get());
    result
}

#[test]
fn a_message_that_is_copied_while_a_read_is_on_its_way_comes_with_the_next() {
    let mut compacted = Compacted::new();
    compacted.send_many(5);
    compacted.store.compaction_follow_step().unwrap();
    let store = &compacted.store;
    let result = read_while(store, 0, &|| {
        send(store, &Letter { keys: "new".into(), ..letter(TOPIC, 0, "copied meanwhile") }).unwrap();
        store.flush_step().unwrap();
        store.compaction_follow_step().unwrap();
    });
    assert_eq!((result.records.len(), result.next_offset), (5, 5));
    assert_eq!(read_from(store, 0, result.next_offset).len(), 1);
}

#[test]
fn messages_that_move_to_the_compaction_log_while_a_read_is_on_its_way_are_not_passed_over() {
    let mut compacted = Compacted::new();
    compacted.send_many(5);
    compacted.store.compaction_follow_step().unwrap();
    let large = "x".repeat(1500);
    for i in 0..40 {
        compacted.send(&format!("large{i}"), &large);
    }
    let Compacted { world, store, .. } = &compacted;
    store.queue_step(true).unwrap();
    let result = read_while(store, 5, &|| {
        world.disk.set_space(Space { total: 1000, free: 120, available: 120 });
        assert!(store.clean_step().unwrap() > 0);
        world.disk.set_space(Space { total: 1000, free: 900, available: 900 });
    });
    let offsets: Vec<_> = result.records.iter().map(|bytes| bytes.unwrap()).collect();
    let offsets: Vec<_> =
        offsets.iter().map(|bytes| Record::parse(bytes).expect("a record").queue_offset).collect();
    assert_eq!(offsets, (5..result.next_offset).collect::<Vec<_>>());
    assert_eq!(result.next_offset as usize + read_from(store, 0, result.next_offset).len(), 45);
    compacted.check();
}
