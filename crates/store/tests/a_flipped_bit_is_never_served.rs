//! One bit of one file flips while the store is closed: what the store serves afterwards is what was stored, or the
//! store says what is wrong. Every region of every file is tried, in a store that was stopped and in one that was
//! killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::{Letter, World, letter, open_on, send, small_options};
use sim::SimDisk;
use store::{KeyKind, Options, ReadLimits, ReadStatus, Store, config_file};
use wire::properties;
use wire::record::{Prefix, Record};

/// What Java's record has no checksum for: with `enabledAppendPropCRC` off a change of these is served.
const UNPROTECTED: [&str; 9] = [
    "flag",
    "sysFlag",
    "bornTimestamp",
    "bornHost",
    "storeTimestamp",
    "storeHost",
    "reconsumeTimes",
    "preparedTransactionOffset",
    "properties",
];

const QUEUES: [(&str, u32); 4] = [("orders", 0), ("orders", 1), ("other", 0), ("SCHEDULE_TOPIC_XXXX", 2)];
const CONFIG: &str = "/store/config/consumerOffset.json";
const OFFSETS_BEFORE: &[u8] = b"{\"offsetTable\":{\"orders@group\":{\"0\":3}}}";
const OFFSETS: &[u8] = b"{\"offsetTable\":{\"orders@group\":{\"0\":4,\"1\":2}}}";

/// Queue, queue offset and the record's bytes.
type Served = BTreeMap<(usize, u64), Vec<u8>>;

/// A closed store and what it held.
struct Original {
    world: World,
    served: Served,
    log_end: u64,
    keys: usize,
}

impl Original {
    fn new(prop_crc: bool, stopped: bool) -> Original {
        let options = Options {
            segment_bytes: 768,
            queue_segment_entries: 8,
            index_slots: 12,
            index_entries: 20,
            index_mark_bytes: 1,
            queue_table_rows_min: 1,
            queue_table_bytes: 1,
            append_prop_crc: prop_crc,
            force_verify_prop_crc: prop_crc,
            ..small_options()
        };
        let world = World::new(options);
        for content in [OFFSETS_BEFORE, OFFSETS] {
            config_file::save(&world.disk, Path::new(CONFIG), content).unwrap();
        }
        let store = world.open();
        for i in 0..10 {
            let (topic, queue) = QUEUES[i % 3];
            let letter = letter(topic, queue, &format!("body {i}")).keyed(&format!("key{i}")).tagged("blue");
            send(&store, &letter).unwrap();
        }
        let later = Letter { delay: "3".into(), ..letter("SCHEDULE_TOPIC_XXXX", 2, "later") };
        send(&store, &later).unwrap();
        let served = serve(&store);
        assert_eq!(served.len(), 11);
        store.flush_step().unwrap();
        store.queue_step(true).unwrap();
        while store.index_step().unwrap() {}
        store.index_mark_step().unwrap();
        let log_end = store.log_end();
        let keys = found(&store);
        assert_eq!(keys, 10);
        if stopped {
            store.stop().unwrap();
        }
        Original { world, served, log_end, keys }
    }

    fn file(&self, path: &Path) -> Vec<u8> {
        self.world.disk.files()[path].clone()
    }

    /// Flips one bit and opens the store again; `None` if it refuses.
    fn open_flipped(&self, path: &Path, at: usize) -> (SimDisk, Option<Arc<Store>>) {
        let disk = self.world.disk.copy();
        // Not always the same bit: a low one makes another small number, a high one another sign.
        disk.damage(path, |bytes| bytes[at] ^= 1 << ((at * 5 + at / 8) % 8));
        let clock = Arc::new(self.world.clock.clone());
        let opened = open_on(Arc::new(disk.clone()), clock, self.world.options.clone());
        (disk, opened.ok())
    }

    /// Checks that nothing but what was stored is served; tells what was served although it had changed.
    fn check(&self, path: &Path, at: usize) -> Outcome {
        let place = format!("byte {at} of {}", path.display());
        let (_, store) = self.open_flipped(path, at);
        let Some(store) = store else { return Outcome::Refused };
        let mut changed = None;
        let served = serve(&store);
        for (name, bytes) in &served {
            let original = self.served.get(name).unwrap_or_else(|| panic!("{place}: {name:?} is made up"));
            if bytes != original {
                assert_eq!(bytes.len(), original.len(), "{place}");
                let first = bytes.iter().zip(original).position(|(a, b)| a != b).unwrap();
                changed = Some(field_of(original, first));
            }
        }
        assert!(served.len() + 1 >= self.served.len(), "{place}: {} are served", served.len());
        let keys = found(&store);
        assert!(keys <= self.keys, "{place}");
        // What comes next goes on where the queues ended, at the present time.
        for (number, (topic, queue)) in QUEUES.iter().enumerate() {
            let count = self.served.keys().filter(|(queue, _)| *queue == number).count() as u64;
            let appended = send(&store, &letter(topic, *queue, "new")).unwrap();
            assert_eq!((appended.queue_offset, appended.offset >= self.log_end), (count, true), "{place}");
            let bytes = store.record_at(appended.offset).unwrap().unwrap();
            let year = std::time::Duration::from_secs(365 * 86400).as_millis() as i64;
            let now = store::Clock::now_millis(&self.world.clock);
            let ahead = Record::parse(&bytes).unwrap().store_timestamp - now;
            assert!(ahead < year || changed == Some("storeTimestamp"), "{place}: {ahead} ms ahead");
        }
        match changed {
            Some(field) => Outcome::Changed(field),
            None if served.len() < self.served.len() => Outcome::Missing,
            None if keys < self.keys => Outcome::NotFound,
            None => Outcome::Same,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Everything is served as it was.
    Same,
    /// One message is not served.
    Missing,
    /// A query by key does not find a message that is there.
    NotFound,
    /// The store does not open.
    Refused,
    /// A message is served with a change in this field.
    Changed(&'static str),
}

/// Everything that consumers get.
fn serve(store: &Store) -> Served {
    let mut served = Served::new();
    for (number, (topic, id)) in QUEUES.iter().enumerate() {
        let queue = store.queue(topic, *id);
        let mut offset = 0;
        loop {
            let limits = ReadLimits { max_count: 1, max_bytes: 1 << 20 };
            let result = store.read(&queue, offset, limits, &mut |_| true).unwrap();
            for bytes in result.records.iter() {
                let bytes = bytes.unwrap().into_owned();
                served.insert((number, result.next_offset as u64 - 1), bytes);
            }
            match result.status {
                ReadStatus::OffsetOverflowOne | ReadStatus::NoMessageInQueue => break,
                _ => assert!(result.next_offset > offset, "{topic}-{id}: {result:?}"),
            }
            offset = result.next_offset;
        }
    }
    served
}

/// How many messages are found by their keys; what is found has the key.
fn found(store: &Store) -> usize {
    let one = |i: usize| {
        let (topic, _) = QUEUES[i % 3];
        let key = format!("key{i}");
        let result = store.query(topic, &key, 8, 0, i64::MAX, KeyKind::Key).unwrap();
        for bytes in &result.records {
            assert_eq!(Record::parse(bytes).unwrap().property(properties::KEYS), Some(key.as_str()));
        }
        result.records.len()
    };
    (0..10).map(one).sum()
}

/// The field of a record, with IPv4 hosts, that a byte belongs to.
fn field_of(record: &[u8], at: usize) -> &'static str {
    let record = Record::parse(record).unwrap();
    let topic = 88 + record.body.len();
    let properties = topic + 1 + record.topic.len();
    match at {
        0..4 => "totalSize",
        4..8 => "magic",
        8..12 => "bodyCRC",
        12..16 => "queueId",
        16..20 => "flag",
        20..28 => "queueOffset",
        28..36 => "physicalOffset",
        36..40 => "sysFlag",
        40..48 => "bornTimestamp",
        48..56 => "bornHost",
        56..64 => "storeTimestamp",
        64..72 => "storeHost",
        72..76 => "reconsumeTimes",
        76..84 => "preparedTransactionOffset",
        84..88 => "bodyLength",
        _ if at < topic => "body",
        _ if at < properties => "topic",
        _ if at < properties + 2 => "propertiesLength",
        _ => "properties",
    }
}

/// Flips a bit of every `step`th byte of the log; tells what was served with a change.
fn flip_the_log(original: &Original, step: usize) -> BTreeSet<&'static str> {
    let mut changed = BTreeSet::new();
    let mut refused = 0;
    for (path, bytes) in original.world.disk.files() {
        if !path.starts_with("/store/commitlog") {
            continue;
        }
        for at in (0..bytes.len()).step_by(step) {
            match original.check(&path, at) {
                Outcome::Changed(field) => {
                    changed.insert(field);
                }
                Outcome::Refused => refused += 1,
                Outcome::Missing | Outcome::NotFound | Outcome::Same => {}
            }
        }
    }
    assert!(refused < 1000, "{refused} flips keep the store from opening");
    changed
}

#[test]
fn in_the_log_where_java_has_a_checksum_or_says_a_thing_twice() {
    let changed = flip_the_log(&Original::new(false, true), 1);
    assert_eq!(changed, BTreeSet::from(UNPROTECTED));
}

#[test]
fn in_the_log_of_a_killed_broker() {
    let changed = flip_the_log(&Original::new(false, false), 3);
    assert!(changed.is_subset(&BTreeSet::from(UNPROTECTED)), "{changed:?}");
}

#[test]
fn anywhere_in_the_log_with_a_crc_over_the_whole_record() {
    assert_eq!(flip_the_log(&Original::new(true, true), 1), BTreeSet::new());
}

#[test]
fn in_a_record_that_ends_with_a_crc_each_bit() {
    let original = Original::new(true, true);
    let path = PathBuf::from("/store/commitlog/00000000000000000000");
    let size = Prefix::parse(&original.file(&path)).unwrap().size as usize;
    for bit in 0..size * 8 {
        let disk = original.world.disk.copy();
        disk.damage(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let clock = Arc::new(original.world.clock.clone());
        let store = open_on(Arc::new(disk), clock, original.world.options.clone()).unwrap();
        let result = store
            .read(&store.queue("orders", 0), 0, ReadLimits { max_count: 1, max_bytes: 1 }, &mut |_| true)
            .unwrap();
        let got: Vec<_> = result.records.iter().map(|bytes| bytes.unwrap().into_owned()).collect();
        assert!(
            !got.iter().any(|bytes| bytes != &original.served[&(0, result.next_offset as u64 - 1)]),
            "{bit}"
        );
        assert_eq!(store.record_at(0).unwrap(), None, "{bit}");
    }
}

#[test]
fn in_the_files_that_follow_the_log() {
    for stopped in [true, false] {
        let original = Original::new(false, stopped);
        let mut tried: BTreeMap<&str, BTreeSet<Outcome>> = BTreeMap::new();
        for (path, bytes) in original.world.disk.files() {
            let kinds = ["consumequeue", "queuetable", "index", "checkpoint", "abort"];
            let name = path.strip_prefix("/store").unwrap();
            let Some(kind) = kinds.into_iter().find(|kind| name.starts_with(kind)) else { continue };
            // Behind its fields the checkpoint is never read.
            let used = if kind == "checkpoint" { 220 } else { bytes.len() };
            for at in 0..used {
                let outcome = original.check(&path, at);
                assert!(
                    !matches!(outcome, Outcome::Changed(_)),
                    "byte {at} of {}: {outcome:?}",
                    path.display()
                );
                tried.entry(kind).or_default().insert(outcome);
            }
        }
        let only = |kind: &str, allowed: &[Outcome]| {
            let outcomes = &tried[kind];
            assert!(outcomes.iter().all(|outcome| allowed.contains(outcome)), "{kind}: {outcomes:?}");
        };
        only("consumequeue", &[Outcome::Same, Outcome::Missing]);
        only("index", &[Outcome::Same, Outcome::NotFound]);
        only("checkpoint", &[Outcome::Same]);
        assert_eq!(tried.contains_key("abort"), !stopped);
        only("queuetable", &[Outcome::Same]);
    }
}

#[test]
fn in_a_configuration_file() {
    let original = Original::new(false, true);
    let path = Path::new(CONFIG);
    let length = original.file(path).len();
    assert!(length > OFFSETS.len());
    for bit in 0..length * 8 {
        let disk = original.world.disk.copy();
        disk.damage(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let parse = |bytes: &[u8]| wire::loose_json::strict(bytes).ok();
        let read = config_file::load(&disk, path, parse).unwrap().unwrap();
        // Where the CRC's own name is hit it is one more entry, which readers pass over.
        let same = read.starts_with(&OFFSETS[..OFFSETS.len() - 1]);
        assert!(same || read == OFFSETS_BEFORE, "{bit}: {}", String::from_utf8_lossy(&read));
    }
}

/// The records of one answer are taken from one read of the log. A size that lets one of them reach over the end of the
/// log, yet not over that of its segment, must not lead out of what was read.
#[test]
fn a_size_that_reaches_over_the_end_of_the_log_hides_its_message_alone() {
    let world = World::new(small_options());
    let store = world.open();
    for body in ["a", "b", "c"] {
        send(&store, &letter("t", 0, body)).unwrap();
    }
    store.queue_step(true).unwrap();
    let file = world.path("consumequeue/t/0/00000000000000000000");
    // Behind twenty bytes of the first entry and eight of the second, which is that of b: its size, of some hundred.
    world.disk.damage(&file, |bytes| bytes[28..32].copy_from_slice(&8000u32.to_be_bytes()));
    assert!(store.log_end() < 8000);
    let limits = ReadLimits { max_count: 32, max_bytes: 1 << 20 };
    let result = store.read(&store.queue("t", 0), 0, limits, &mut |_| true).unwrap();
    let body = |bytes: &[u8]| Record::parse(bytes).unwrap().body.to_vec();
    let bodies: Vec<_> = result.records.iter().map(|bytes| body(&bytes.unwrap())).collect();
    assert_eq!((bodies, result.next_offset), (vec![b"a".to_vec(), b"c".to_vec()], 3));
}
