//! Stores that the real Java broker wrote (fixtures/README.md): every message is served as Java's own client read it
//! there, is found by its keys, and the queues go on without a gap.
#![allow(clippy::disallowed_methods, reason = "fixtures are real files on a real disk")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::archive;
use crate::support::{letter, open_on, send};
use store::{KeyKind, Options, ReadLimits, ReadStatus, RealClock, RealDisk, Store};
use wire::properties;
use wire::record::Record;

#[test]
fn of_java_4_9_7_stopped() {
    opens("java-4.9.7-clean", true);
}

#[test]
fn of_java_4_9_7_killed() {
    opens("java-4.9.7-kill", false);
}

#[test]
fn of_java_5_5_0_stopped() {
    opens("java-5.5.0-clean", true);
}

#[test]
fn of_java_5_5_0_killed() {
    opens("java-5.5.0-kill", false);
}

#[test]
fn of_which_the_first_segments_have_expired() {
    for fixture in ["java-4.9.7-clean", "java-4.9.7-kill", "java-5.5.0-clean", "java-5.5.0-kill"] {
        let dir = tempfile::tempdir().unwrap();
        unpack(fixture, dir.path());
        let segments = 3;
        for i in 0..segments {
            fs::remove_file(dir.path().join(format!("commitlog/{:020}", i * SEGMENT_BYTES))).unwrap();
        }
        let ledger = read_ledger(&dir.path().join("ledger"));
        for life in 0..2 {
            let store = open(dir.path());
            for ((topic, queue), all) in &ledger {
                let left: Vec<_> = all
                    .iter()
                    .filter(|seen| seen.offset as u64 >= segments * SEGMENT_BYTES)
                    .cloned()
                    .collect();
                let found = read(&store, topic, *queue);
                assert_eq!(found[..left.len()], left[..], "{fixture}: {topic}/{queue} in life {life}");
                assert!(store.queue(topic, *queue).max_offset() >= all.len() as u64);
                for seen in left {
                    check_found(&store, topic, &seen, &seen.key, KeyKind::Key);
                }
            }
            store.stop().unwrap();
        }
    }
}

/// What Java's client saw of a message: queue offset, offset in the log, size, CRC of the stored body, unique key, key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    queue_offset: i64,
    offset: i64,
    size: usize,
    crc: u32,
    unique: String,
    key: String,
}

/// As in the broker.conf of interop/store-roundtrip when the fixtures were made.
const SEGMENT_BYTES: u64 = 32 * 1024;

type Ledger = BTreeMap<(String, u32), Vec<Seen>>;

fn opens(fixture: &str, clean: bool) {
    let dir = tempfile::tempdir().unwrap();
    unpack(fixture, dir.path());
    assert_eq!(dir.path().join("abort").exists(), !clean);
    let mut ledger = read_ledger(&dir.path().join("ledger"));
    assert!(ledger.values().map(Vec::len).sum::<usize>() > 200);
    assert!(fs::read_dir(dir.path().join("commitlog")).unwrap().count() > 3, "several segments");

    for life in 0..4 {
        let store = open(dir.path());
        for ((topic, queue), expected) in &ledger {
            let found = read(&store, topic, *queue);
            assert!(found.len() >= expected.len(), "{topic}/{queue}: {} of {}", found.len(), expected.len());
            assert_eq!(found[..expected.len()], expected[..], "{topic}/{queue} in life {life}");
            // What came after the client had looked: deliveries that were due, and the last messages before the kill.
            let later = ["RoundTripLate", "RoundTripBurst", "RMQ_SYS_TRANS_OP_HALF_TOPIC"];
            assert!(found.len() == expected.len() || later.contains(&topic.as_str()), "{topic}/{queue}");
        }
        for ((topic, _), expected) in &ledger {
            for seen in expected {
                check_found(&store, topic, seen, &seen.unique, KeyKind::Unique);
                check_found(&store, topic, seen, &seen.key, KeyKind::Key);
            }
        }
        if !clean {
            check_acknowledged(&store, dir.path());
        }
        for ((topic, queue), seen) in &mut ledger {
            let next = store.queue(topic, *queue).max_offset();
            let body = "y".repeat(9000);
            let appended = send(&store, &letter(topic, *queue, &body).keyed(&format!("new{life}"))).unwrap();
            assert_eq!(appended.queue_offset, next);
            *seen = read(&store, topic, *queue);
            assert_eq!(seen.last().unwrap().offset as u64, appended.offset);
        }
        if life % 2 == 0 {
            store.stop().unwrap();
        }
    }
}

/// A message is among those that a key finds. Those of a batch may share a unique key.
fn check_found(store: &Store, topic: &str, seen: &Seen, key: &str, kind: KeyKind) {
    if key.is_empty() {
        return;
    }
    let result = store.query(topic, key, 64, 0, i64::MAX, kind).unwrap();
    let offsets: Vec<_> =
        result.records.iter().map(|record| Record::parse(record).unwrap().physical_offset).collect();
    assert!(offsets.contains(&seen.offset), "{topic}: {seen:?} is not among {offsets:?} by {kind:?} {key}");
}

/// Every message that Java had acknowledged before it was killed is in its place.
fn check_acknowledged(store: &Store, dir: &Path) {
    let text = fs::read_to_string(dir.join("ledger.acknowledged")).unwrap();
    let mut found: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    for line in text.lines() {
        let (place, unique) = line.split_once(' ').unwrap();
        let (queue, offset) = place.rsplit_once('/').unwrap();
        let (topic, id) = queue.rsplit_once('/').unwrap();
        let seen = found.entry(queue.to_owned()).or_insert_with(|| read(store, topic, id.parse().unwrap()));
        let offset: i64 = offset.parse().unwrap();
        assert!(seen.iter().any(|seen| seen.queue_offset == offset && seen.unique == unique), "{line}");
    }
    assert!(!found.is_empty(), "something was acknowledged");
}

fn open(root: &Path) -> Arc<Store> {
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        queue_segment_entries: 100,
        index_slots: 101,
        index_entries: 400,
        delay_levels: [1, 2, 8, 10, 30, 60].map(Duration::from_secs).to_vec(),
        ..Options::new(root)
    };
    open_on(Arc::new(RealDisk), Arc::new(RealClock::default()), options).unwrap()
}

fn read(store: &Store, topic: &str, id: u32) -> Vec<Seen> {
    let queue = store.find_queue(topic, id).unwrap_or_else(|| panic!("no queue {topic}/{id}"));
    let mut seen = Vec::new();
    let mut offset = queue.min_offset() as i64;
    while offset < queue.max_offset() as i64 {
        let limits = ReadLimits { max_count: 32, max_bytes: 1 << 20 };
        let result = store.read(&queue, offset, limits, &mut |_| true).unwrap();
        assert!(result.status == ReadStatus::Found, "{topic}/{id} at {offset}: {:?}", result.status);
        let mut bytes = Vec::new();
        result.records.copy_to(&mut bytes).unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let record = Record::parse(rest).unwrap();
            record.verify_crc().unwrap();
            let property = |name| record.property(name).unwrap_or_default();
            seen.push(Seen {
                queue_offset: record.queue_offset,
                offset: record.physical_offset,
                size: record.bytes.len(),
                crc: crc32fast::hash(record.body) & 0x7fff_ffff,
                unique: property(properties::UNIQ_KEY).to_owned(),
                key: property(properties::KEYS).split(' ').next().unwrap_or_default().to_owned(),
            });
            rest = &rest[record.bytes.len()..];
        }
        offset = result.next_offset;
    }
    seen
}

/// Lines `topic/queue offset at=… size=… crc=… id=… key=…`, written by interop/java's StoreLeg.
fn read_ledger(path: &Path) -> Ledger {
    let mut ledger = Ledger::new();
    for line in fs::read_to_string(path).unwrap().lines().filter(|line| !line.starts_with("committed ")) {
        let mut fields = line.split(' ');
        let (topic, id) = fields.next().unwrap().rsplit_once('/').unwrap();
        let queue_offset = fields.next().unwrap().parse().unwrap();
        let fields: BTreeMap<&str, &str> = fields.filter_map(|field| field.split_once('=')).collect();
        ledger.entry((topic.to_owned(), id.parse().unwrap())).or_default().push(Seen {
            queue_offset,
            offset: fields["at"].parse().unwrap(),
            size: fields["size"].parse().unwrap(),
            crc: fields["crc"].parse().unwrap(),
            unique: fields["id"].to_owned(),
            key: fields["key"].to_owned(),
        });
    }
    ledger
}

fn unpack(name: &str, to: &Path) {
    archive::unpack(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.tar.gz")), to);
}
