//! Looking at a whole store: nothing is found where nothing is wrong, and what a flipped bit did is found.
#![allow(clippy::disallowed_methods, reason = "fixtures are real files on a real disk")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::archive;
use crate::support::{Letter, World, letter, send, small_options};
use sim::SimDisk;
use store::examine::{Area, Found, StoreFiles, Verified};
use store::{Options, RealDisk, config_file};
use wire::record::{Prefix, Record};

const QUEUES: [(&str, u32); 3] = [("orders", 0), ("orders", 1), ("other", 0)];

fn options(prop_crc: bool) -> Options {
    Options {
        segment_bytes: 768,
        queue_segment_entries: 8,
        index_slots: 12,
        index_entries: 20,
        index_mark_bytes: 1,
        append_prop_crc: prop_crc,
        force_verify_prop_crc: prop_crc,
        ..small_options()
    }
}

/// A store with a few segments of everything, stopped or killed.
fn filled(prop_crc: bool, stopped: bool) -> World {
    let world = World::new(options(prop_crc));
    config_file::save(&world.disk, Path::new("/store/config/consumerOffset.json"), b"{\"offsetTable\":{}}")
        .unwrap();
    let store = world.open();
    for i in 0..20 {
        let (topic, queue) = QUEUES[i % 3];
        let letter = letter(topic, queue, &format!("body {i}")).keyed(&format!("key{i} all")).tagged("blue");
        send(&store, &letter).unwrap();
        world.clock.advance(Duration::from_millis(700));
    }
    send(&store, &Letter { delay: "3".into(), ..letter("SCHEDULE_TOPIC_XXXX", 2, "later") }).unwrap();
    send(&store, &Letter { sys_flag: 0xC, ..letter("orders", 0, "rolled back") }).unwrap();
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    while store.index_step().unwrap() {}
    store.index_mark_step().unwrap();
    if stopped {
        store.stop().unwrap();
    }
    world
}

fn verify(disk: &SimDisk, options: &Options) -> Verified {
    let files = StoreFiles::open(Arc::new(disk.clone()), options.clone()).unwrap();
    let mut last = 0;
    let verified = files
        .verify(&mut |progress| {
            assert!(progress.done >= last && progress.done <= progress.total);
            last = progress.done;
        })
        .unwrap();
    assert!(last > 0, "progress was told");
    verified
}

/// Where bits are flipped, and what they mean.
fn flipped(world: &World, path: &Path, at: usize) -> Verified {
    let disk = world.disk.copy();
    disk.damage(path, |bytes| bytes[at] ^= 1 << ((at * 5 + at / 8) % 8));
    verify(&disk, &world.options)
}

#[test]
fn of_which_nothing_is_wrong() {
    for (prop_crc, stopped) in [(false, true), (false, false), (true, true), (true, false)] {
        let world = filled(prop_crc, stopped);
        let verified = verify(&world.disk, &world.options);
        assert_eq!(verified.findings.kept(), []);
        assert_eq!(verified.notes, Vec::<String>::new());
        assert_eq!((verified.clean, verified.records, verified.queues), (stopped, 22, 4));
        if stopped {
            assert_eq!(verified.queue_entries, 21);
        }
        // Of the killed one the last file counts up to its mark.
        assert_eq!(verified.index_entries, 60);
        assert!(verified.index_files > 2);
    }
}

#[test]
fn of_a_java_broker() {
    for fixture in ["java-4.9.7-clean", "java-4.9.7-kill", "java-5.5.0-clean", "java-5.5.0-kill"] {
        let dir = tempfile::tempdir().unwrap();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        archive::unpack(&fixtures.join(format!("{fixture}.tar.gz")), dir.path());
        // As in the broker.conf of interop/store-roundtrip when the fixtures were made.
        let options = Options {
            segment_bytes: 32 * 1024,
            queue_segment_entries: 100,
            index_slots: 101,
            index_entries: 400,
            delay_levels: [1, 2, 8, 10, 30, 60].map(Duration::from_secs).to_vec(),
            ..Options::new(dir.path())
        };
        let files = StoreFiles::open(Arc::new(RealDisk), options).unwrap();
        let verified = files.verify(&mut |_| {}).unwrap();
        assert_eq!(verified.findings.kept(), [], "{fixture}");
        assert!(verified.records > 200 && verified.queues > 5, "{fixture}: {verified:?}");
        if fixture.ends_with("clean") {
            assert!(verified.queue_entries > 200 && verified.index_entries > 200, "{fixture}: {verified:?}");
        }
    }
}

#[test]
fn of_which_a_bit_of_the_log_has_flipped() {
    // Fields that nothing else in the store repeats or sums up, unless records end with a CRC over all of them.
    let silent = BTreeSet::from([16..20, 36..40, 40..56, 56..64, 64..84].map(|range| range.start));
    for prop_crc in [true, false] {
        let world = filled(prop_crc, true);
        let path = PathBuf::from("/store/commitlog/00000000000000000000");
        let bytes = world.disk.files()[&path].clone();
        let mut at = 0;
        let mut unseen = BTreeSet::new();
        while let Some(prefix) = Prefix::parse(&bytes[at..]) {
            let is_record = prefix.is_record();
            let size = if is_record { prefix.size as usize } else { 8 };
            for place in 0..size {
                let verified = flipped(&world, &path, at + place);
                if verified.findings.is_empty() {
                    unseen.insert(place);
                } else {
                    let first = &verified.findings.kept()[0];
                    assert!(!first.what.is_empty() && !first.remedy.is_empty());
                }
            }
            at += size;
            if !is_record {
                break;
            }
        }
        assert!(at > 500, "several records and the blank were tried");
        let fields: BTreeSet<usize> = unseen
            .iter()
            .map(|place| match place {
                16..20 => 16,
                36..40 => 36,
                40..56 => 40,
                56..64 => 56,
                64..84 => 64,
                other => *other,
            })
            .collect();
        if prop_crc {
            assert_eq!(fields, BTreeSet::new());
        } else {
            assert!(fields.is_subset(&silent), "{unseen:?}");
        }
    }
}

#[test]
fn of_which_a_bit_of_a_queue_or_of_the_index_has_flipped() {
    let world = filled(false, true);
    for (path, bytes) in world.disk.files() {
        let area = match path.strip_prefix("/store").unwrap() {
            name if name.starts_with("consumequeue") => Area::Queue,
            name if name.starts_with("index") => Area::Index,
            _ => continue,
        };
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        for at in 0..used {
            // Entry 0 of an index file is never used, and the time of entry 1 counts from a file that may have expired.
            if area == Area::Index && ((88..108).contains(&at) || (120..124).contains(&at)) {
                continue;
            }
            let verified = flipped(&world, &path, at);
            let count = verified.findings.count(area);
            assert!(count > 0, "byte {at} of {}: {:?}", path.display(), verified.findings.kept());
        }
    }
}

#[test]
fn of_which_a_bit_of_an_entry_before_the_mark_of_the_index_has_flipped() {
    let world = filled(false, false);
    let (path, bytes) =
        world.disk.files().into_iter().rfind(|(path, _)| path.starts_with("/store/index")).unwrap();
    let used = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    // From entry 1 on; the time of that one counts from a file that may have expired.
    for at in (108..used).filter(|at| !(120..124).contains(at)) {
        let verified = flipped(&world, &path, at);
        assert!(verified.findings.count(Area::Index) > 0, "byte {at}: {:?}", verified.findings.kept());
    }
    assert!(flipped(&world, &path, 41).findings.is_empty(), "slots are made anew");
}

#[test]
fn of_which_a_bit_of_the_checkpoint_or_of_a_configuration_file_has_flipped() {
    let world = filled(false, true);
    for at in (0..48).chain(64..140) {
        let verified = flipped(&world, Path::new("/store/checkpoint"), at);
        assert_eq!(verified.notes.len(), 1, "byte {at}: {:?}", verified.notes);
    }
    let path = Path::new("/store/config/consumerOffset.json");
    let unseen = (0..world.disk.files()[path].len())
        .filter(|at| flipped(&world, path, *at).findings.count(Area::Config) == 0)
        .count();
    // The letters of the two entries' own names: they are others then, which mean nothing. And the digits of the time:
    // a file that has another time was edited by somebody.
    assert!(unseen <= 22, "{unseen}");
}

#[test]
fn of_which_the_end_or_a_queue_is_lost() {
    let world = filled(false, true);
    let disk = world.disk.copy();
    let last = world.disk.files().keys().rfind(|path| path.starts_with("/store/commitlog")).unwrap().clone();
    store::Disk::remove(&disk, &last).unwrap();
    let verified = verify(&disk, &world.options);
    assert!(verified.findings.count(Area::Checkpoint) > 0, "{:?}", verified.findings.kept());

    let disk = world.disk.copy();
    let queue =
        world.disk.files().keys().find(|path| path.starts_with("/store/consumequeue/other")).unwrap().clone();
    store::Disk::remove(&disk, &queue).unwrap();
    let verified = verify(&disk, &world.options);
    let first = &verified.findings.kept()[0];
    assert!(first.area == Area::Queue && first.what.contains("has no files, but 6 messages"), "{first:?}");
}

#[test]
fn that_a_broker_works_on_or_that_is_none() {
    let world = filled(false, true);
    let store = world.open();
    let open = |options: &Options| {
        StoreFiles::open(Arc::new(world.disk.clone()), options.clone()).err().map(|error| error.to_string())
    };
    assert!(open(&world.options).unwrap().contains("in use by another broker"));
    drop(store);
    assert_eq!(open(&world.options), None);
    let nowhere = Options::new("/nowhere");
    assert!(open(&nowhere).unwrap().contains("/nowhere is no store"));
    assert!(!world.disk.files().keys().any(|path| path.starts_with("/nowhere")), "nothing is made");
}

#[test]
fn at_one_offset_and_in_one_queue() {
    let world = filled(false, true);
    let files = StoreFiles::open(Arc::new(world.disk.clone()), world.options.clone()).unwrap();
    let Found::Record(bytes) = files.look_at(0).unwrap() else { panic!("a record begins the log") };
    assert_eq!(Record::parse(&bytes).unwrap().body, b"body 0");
    assert!(matches!(files.look_at(1).unwrap(), Found::Bad(_)));
    assert_eq!(files.look_at(1 << 40).unwrap(), Found::Nothing);
    let entries = files.entries("orders", 1, Some(2), 3).unwrap().unwrap();
    assert_eq!(entries.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(entries.iter().all(|(_, entry)| entry.is_some()));
    assert_eq!(files.entries("orders", 9, None, 3).unwrap(), None);

    let mut told = Vec::new();
    let overview = files.overview(true, &mut |progress| told.push(progress)).unwrap();
    let bytes = overview.segments.iter().map(|segment| segment.bytes).sum::<u64>();
    assert_eq!(told.last().map(|last| (last.done, last.total)), Some((bytes, bytes)));
    assert_eq!(overview.segments.iter().map(|segment| segment.records.unwrap()).sum::<u64>(), 22);
    assert_eq!(overview.abort, None);
    let queues: Vec<_> =
        overview.queues.iter().map(|queue| (queue.topic.as_str(), queue.id, queue.max)).collect();
    assert_eq!(queues, [("SCHEDULE_TOPIC_XXXX", 2, 1), ("orders", 0, 7), ("orders", 1, 7), ("other", 0, 6)]);
    assert_eq!(overview.config[0].state, Some("sound"));
    assert!(overview.checkpoint.unwrap().own.is_some());
}
