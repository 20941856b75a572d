//! Topics with `cleanup.policy=COMPACTION`: what is kept, where reading leads, and what outlives the commit log.

use std::time::Duration;

use crate::compaction::{Kept, Model, TOPIC, options, read_from};
use crate::support;
use crate::support::{Letter, World, letter, send};
use store::{Disk, Options, ReadLimits, ReadStatus, Space, Store, StoreError};

fn open(world: &World) -> std::sync::Arc<Store> {
    let store = world.open();
    store.compact_topic(TOPIC).unwrap();
    store
}

/// Sends `count` messages over ten keys to queue 0.
fn send_many(model: &mut Model, store: &Store, count: usize) {
    for i in 0..count {
        let number = model.last(0).values().map(|kept| kept.queue_offset + 1).max().unwrap_or(0);
        model.send(store, 0, &format!("k{}", i % 10), &format!("v{number}"));
    }
}

fn compact(store: &Store) -> u64 {
    store.compaction_follow_step().unwrap();
    store.compaction_step().unwrap()
}

#[test]
fn older_messages_of_a_key_go_and_offsets_stay() {
    let world = World::new(options());
    let store = open(&world);
    let mut model = Model::default();
    send_many(&mut model, &store, 95);
    assert_eq!(read_from(&store, 0, 0).len(), 95, "all can be read before anything is copied");
    store.compaction_follow_step().unwrap();
    assert_eq!(read_from(&store, 0, 0).len(), 95);
    assert_eq!(store.compaction_step().unwrap(), 1);
    model.check(&store);
    let got = read_from(&store, 0, 0);
    // All but the last file of five messages is compacted to one of ten.
    let offsets: Vec<_> = got.iter().map(|kept| kept.queue_offset).collect();
    assert_eq!(offsets, (80..95).collect::<Vec<_>>());
    let queue = store.queue(TOPIC, 0);
    assert_eq!((queue.min_offset(), queue.max_offset()), (80, 95));
    assert_eq!(read_from(&store, 0, 83), got[3..]);
    assert_eq!(read_from(&store, 0, -5), got);
    assert_eq!(store.compaction_step().unwrap(), 0, "there is nothing new");
    send_many(&mut model, &store, 20);
    assert_eq!(compact(&store), 1);
    model.check(&store);
    store.stop().unwrap();
}

#[test]
fn a_message_without_a_body_deletes_its_key() {
    let world = World::new(options());
    let store = open(&world);
    let mut model = Model::default();
    send_many(&mut model, &store, 20);
    model.send(&store, 0, "k3", "");
    model.send(&store, 0, "k4", "");
    model.send(&store, 0, "k4", "back");
    for i in 0..12 {
        model.send(&store, 0, "other", &format!("o{i}"));
    }
    assert_eq!(compact(&store), 1);
    model.check(&store);
    let keys: Vec<_> = read_from(&store, 0, 0).into_iter().map(|kept| kept.key).collect();
    assert!(!keys.contains(&"k3".to_owned()) && keys.contains(&"k4".to_owned()), "{keys:?}");
    store.stop().unwrap();
}

#[test]
fn what_is_kept_outlives_the_segments_of_the_log() {
    let world = World::new(options());
    let store = open(&world);
    let mut model = Model::default();
    model.send(&store, 0, "rare", "still here");
    let filler = "x".repeat(900);
    for i in 0..60 {
        model.send(&store, 0, "often", &format!("{i} {filler}"));
    }
    // The disk is so full that segments go before their time; nothing was copied before.
    world.disk.set_space(Space { total: 1000, free: 120, available: 120 });
    assert!(store.clean_step().unwrap() >= 2);
    assert!(store.log_min() > 0);
    world.disk.set_space(Space { total: 1000, free: 900, available: 900 });
    model.check(&store);
    assert_eq!(compact(&store), 1);
    model.check(&store);
    let first = Kept { queue_offset: 0, key: "rare".into(), body: "still here".into() };
    assert_eq!(read_from(&store, 0, 0)[0], first);
    let queue = store.queue(TOPIC, 0);
    assert_eq!(queue.min_offset(), 0);
    assert_eq!(store.offset_by_time(&queue, 0, store::Boundary::Lower), 0);
    store.stop().unwrap();
    drop(queue);
    drop(store);
    let store = open(&world);
    model.check(&store);
    assert_eq!(read_from(&store, 0, 0)[0], first);
    send_many(&mut model, &store, 3);
    model.check(&store);
    store.stop().unwrap();
}

#[test]
fn a_queue_without_files_goes_on_behind_what_is_kept() {
    let world = World::new(options());
    let store = open(&world);
    let mut model = Model::default();
    send_many(&mut model, &store, 25);
    store.stop().unwrap();
    drop(store);
    for (path, _) in world.disk.files() {
        let path_text = path.to_string_lossy();
        if path_text.contains("/commitlog/")
            || path_text.contains("/consumequeue/")
            || path_text.ends_with("/checkpoint")
        {
            world.disk.remove(&path).unwrap();
        }
    }
    let store = open(&world);
    model.check(&store);
    send_many(&mut model, &store, 2);
    model.check(&store);
    store.stop().unwrap();
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
    let world = World::new(options());
    let store = open(&world);
    let mut model = Model::default();
    send_many(&mut model, &store, 40);
    compact(&store);
    store.delete_topic(TOPIC).unwrap();
    let left: Vec<_> = world.disk.files().into_keys().collect();
    let left: Vec<_> =
        left.iter().filter(|path| path.to_string_lossy().contains("/compactionLog/")).collect();
    assert!(left.is_empty(), "{left:?}");
    store.compact_topic(TOPIC).unwrap();
    let mut model = Model::default();
    send_many(&mut model, &store, 40);
    assert_eq!(compact(&store), 1, "the position of the topic before is forgotten");
    model.check(&store);
    store.stop().unwrap();
}

#[test]
fn a_map_that_is_too_small_for_all_keys_takes_more_passes() {
    let mut options = options();
    options.compaction.as_mut().unwrap().map_bytes_max = 400;
    let world = World::new(options);
    let store = open(&world);
    let mut model = Model::default();
    send_many(&mut model, &store, 95);
    store.compaction_follow_step().unwrap();
    let mut passes = 0;
    while store.compaction_step().unwrap() > 0 {
        passes += 1;
        model.check(&store);
        assert!(passes < 100);
    }
    assert!(passes > 3);
    assert!(read_from(&store, 0, 0).len() <= 40, "what no map knew at once may stay");
    store.stop().unwrap();
}

#[test]
fn files_of_another_size_are_named_and_left_alone() {
    let world = World::new(options());
    let store = open(&world);
    let mut model = Model::default();
    send_many(&mut model, &store, 25);
    store.stop().unwrap();
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
    let clock = std::sync::Arc::new(store::RealClock::default());
    let store = support::open_on(std::sync::Arc::new(store::RealDisk), clock, options).unwrap();
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
