//! A bit of an entry of a compaction log flips on the disk while the store works with it. Readers get what was sent,
//! all of it but one message at most, whichever entry they come to first; the entries are made anew of the records, and
//! the queue is compacted as before.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::compaction::{Kept, TOPIC, options};
use crate::support::{Letter, World, letter, open_on, send};
use sim::{Fault, Operation, SimDisk};
use store::examine::{Area, StoreFiles};
use store::{MessageFilter, Options, Reach, ReadLimits, ReadStatus, Store};
use wire::hash;
use wire::properties;
use wire::record::Record;

const ENTRIES: &str = "/store/compaction/compactionCq";
const ENTRY_BYTES: usize = 46;
/// Messages that were sent.
const SENT: usize = 23;
/// Every third message has this tag.
const TAG: &str = "third";

/// What a byte of an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Place,
    Tags,
    Time,
    QueueOffset,
    Rest,
}

impl Field {
    fn at(byte: usize) -> Field {
        match byte % ENTRY_BYTES {
            0..12 => Field::Place,
            12..20 => Field::Tags,
            20..28 => Field::Time,
            28..36 => Field::QueueOffset,
            _ => Field::Rest,
        }
    }
}

/// A stopped store with several parts of a compacted topic, the first of them compacted.
fn stopped() -> World {
    let mut options = Options { segment_bytes: 4096, ..options() };
    // Parts of four messages.
    options.compaction.as_mut().unwrap().units_file_bytes = 46 * 5;
    let world = World::new(options);
    let store = open(&world, &world.disk);
    for number in 0..SENT {
        let tags = if number % 3 == 0 { TAG } else { "" };
        let body = format!("v{number}");
        let letter =
            Letter { keys: format!("k{}", number % 6), tags: tags.into(), ..letter(TOPIC, 0, &body) };
        send(&store, &letter).unwrap();
        store.flush_step().unwrap();
        if number == 14 {
            store.compaction_follow_step().unwrap();
            assert_eq!(store.compaction_step().unwrap(), 1);
        }
    }
    store.stop().unwrap();
    world
}

fn open(world: &World, disk: &SimDisk) -> Arc<Store> {
    let disk = Arc::new(disk.clone());
    let store = open_on(disk, Arc::new(world.clock.clone()), world.options.clone()).unwrap();
    store.compact_topic(TOPIC).unwrap();
    store
}

/// The files of entries.
fn entries(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    disk.files().into_iter().filter(|(path, _)| path.starts_with(ENTRIES)).collect()
}

/// Whether a byte is one of a message's entry, and not behind the last of these.
fn is_entry(bytes: &[u8], at: usize) -> bool {
    let size = at / ENTRY_BYTES * ENTRY_BYTES + 8;
    i32::from_be_bytes(bytes[size..size + 4].try_into().unwrap()) > 0
}

/// Wants one tag, or everything.
struct ByTag(Option<i64>);

impl MessageFilter for ByTag {
    fn wants_entry(&self, tags_code: Option<i64>) -> bool {
        self.0.is_none() || tags_code == self.0
    }

    fn looks_into_record(&self, _tags_code: Option<i64>) -> bool {
        false
    }

    fn wants_record(&self, _record: &[u8]) -> bool {
        true
    }
}

const EVERYTHING: ByTag = ByTag(None);

fn third() -> ByTag {
    ByTag(Some(hash::tags_code(Some(TAG))))
}

/// What a consumer gets from an offset on, so many messages at a time.
fn read(store: &Store, from: i64, count: u32, filter: &ByTag) -> Vec<Kept> {
    let queue = store.queue(TOPIC, 0);
    let limits = ReadLimits { max_count: count, max_bytes: 1 << 20 };
    let (mut got, mut next) = (Vec::new(), from);
    loop {
        let result = store.read_filtered(&queue, next, limits, filter).expect("reading works");
        match result.status {
            ReadStatus::Found | ReadStatus::NoMatchedMessage => {}
            ReadStatus::OffsetOverflowOne => return got,
            other => panic!("{other:?} at {next}"),
        }
        for bytes in result.records.iter() {
            let bytes = bytes.unwrap();
            let record = Record::parse(&bytes).unwrap();
            record.verify_crc().unwrap();
            got.push(Kept {
                queue_offset: record.queue_offset,
                key: record.property(properties::KEYS).unwrap_or_default().to_owned(),
                body: String::from_utf8_lossy(record.body).into_owned(),
            });
        }
        assert!(result.next_offset > next, "{next} to {}", result.next_offset);
        next = result.next_offset;
    }
}

fn keys(kept: &[Kept]) -> BTreeSet<&str> {
    kept.iter().map(|kept| kept.key.as_str()).collect()
}

/// Flips a bit of an entry of an open store, then reads and compacts.
fn check(world: &World, (path, at, bit): (&Path, usize, usize)) {
    let place = format!("bit {bit} of byte {at} of {}", path.display());
    let disk = world.disk.copy();
    let before = entries(&disk);
    let store = open(world, &disk);
    // Whoever comes first meets the damage: a consumer somewhere in the queue, one with a filter, or the next pass.
    let from = (at % SENT) as i64;
    let filter = if at % 2 == 0 { third() } else { EVERYTHING };
    let expected = [read(&store, from, 2, &filter), read(&store, 0, 7, &EVERYTHING)];
    disk.damage(path, |bytes| bytes[at] ^= 1 << bit);
    let field = Field::at(at);
    let is_compacted_first = at % 5 == 0;
    if is_compacted_first {
        let compacted = store.compaction_step();
        assert!(compacted.is_ok() || field == Field::QueueOffset, "{place}: {compacted:?}");
    }
    let got = [read(&store, from, 2, &filter), read(&store, 0, 7, &EVERYTHING)];
    for (got, expected) in got.iter().zip(&expected) {
        assert!(got.is_sorted_by(|a, b| a.queue_offset < b.queue_offset), "{place}: {got:?}");
        for kept in got {
            assert_eq!(kept.body, format!("v{}", kept.queue_offset), "{place}");
            assert!(
                is_compacted_first || field == Field::Tags || expected.contains(kept),
                "{place}: {kept:?}"
            );
        }
        let missing: Vec<_> = expected.iter().filter(|kept| !got.contains(kept)).collect();
        let may_be_missing = match field {
            _ if is_compacted_first => continue,
            Field::QueueOffset | Field::Tags => 1,
            Field::Place | Field::Time | Field::Rest => 0,
        };
        assert!(missing.len() <= may_be_missing, "{place}: {missing:?} are missing");
    }
    if field == Field::Place && is_entry(&before[path], at) && !is_compacted_first {
        assert!(entries(&disk) == before, "{place}: it is not mended");
    }
    let compacted = store.compaction_step();
    assert!(compacted.is_ok() || field == Field::QueueOffset, "{place}: {compacted:?}");
    let last = read(&store, 0, 7, &EVERYTHING);
    assert!(field == Field::QueueOffset || keys(&last) == keys(&expected[1]), "{place}: a key has no value");
}

#[test]
fn every_message_but_one_at_most_is_read_and_compaction_goes_on() {
    let world = stopped();
    let mut tried = 0;
    for (path, bytes) in entries(&world.disk) {
        for (at, byte) in bytes.iter().enumerate() {
            // Leading zeros of numbers too, one in a few.
            if *byte != 0 || at % 3 == 0 {
                let is_begin = (at % ENTRY_BYTES).is_multiple_of(4);
                let bits = if is_begin { vec![at / 8 % 7, 7] } else { vec![at * 5 % 8] };
                for bit in bits {
                    check(&world, (&path, at, bit));
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 300, "only {tried} bits were tried");
}

#[test]
fn whole_files_of_entries_that_become_zeros_are_made_anew() {
    let world = stopped();
    for path in entries(&world.disk).into_keys() {
        let disk = world.disk.copy();
        let before = entries(&disk);
        let store = open(&world, &disk);
        let expected = read(&store, 0, 7, &EVERYTHING);
        let end_marker = |bytes: &[u8]| bytes[4 * ENTRY_BYTES..].to_vec();
        disk.damage(&path, |bytes| bytes[..4 * ENTRY_BYTES].fill(0));
        assert_eq!(read(&store, 0, 7, &EVERYTHING), expected);
        assert_eq!(entries(&disk), before);
        assert_eq!(end_marker(&entries(&disk)[&path]), end_marker(&before[&path]));
    }
}

#[test]
fn a_reader_that_must_not_wait_leaves_mending_to_one_that_may() {
    let world = stopped();
    let store = open(&world, &world.disk);
    let path = entries(&world.disk).into_keys().next().unwrap();
    let limits = ReadLimits { max_count: 7, max_bytes: 1 << 20 };
    let near = || store.read_within(Reach::MEMORY, &store.queue(TOPIC, 0), 0, limits, &EVERYTHING).unwrap();
    let expected = near().expect("all is in memory").records.len();
    world.disk.damage(&path, |bytes| bytes[ENTRY_BYTES..2 * ENTRY_BYTES].fill(0));
    assert!(near().is_none());
    assert_eq!(read(&store, 0, 7, &EVERYTHING)[..expected].len(), expected);
    assert_eq!(near().expect("it is mended").records.len(), expected);
}

#[test]
fn a_search_by_time_that_meets_a_damaged_entry_has_it_mended() {
    let world = stopped();
    let store = open(&world, &world.disk);
    let queue = store.queue(TOPIC, 0);
    let before = entries(&world.disk);
    let expected = store.offset_by_time(&queue, 0, store::Boundary::Lower).unwrap();
    for path in before.keys() {
        world.disk.damage(path, |bytes| bytes[..2 * ENTRY_BYTES].fill(0));
    }
    assert_eq!(store.offset_by_time(&queue, 0, store::Boundary::Lower).unwrap(), expected);
    assert_eq!(entries(&world.disk), before);
    // Nor does it go on behind all that is kept when the disk fails.
    world.disk.inject(Fault::from_now(Operation::Read, "compactionCq", ErrorKind::Other));
    store.offset_by_time(&queue, 0, store::Boundary::Lower).unwrap_err();
}

#[test]
fn an_examination_finds_the_entry_and_the_next_start_mends_it_as_it_says() {
    let world = stopped();
    let verify = || {
        let files = StoreFiles::open(Arc::new(world.disk.clone()), world.options.clone()).unwrap();
        files.verify(&mut |_| {}).unwrap()
    };
    assert_eq!(verify().findings.kept(), []);
    let before = entries(&world.disk);
    for path in before.keys() {
        world.disk.damage(path, |bytes| bytes[ENTRY_BYTES..2 * ENTRY_BYTES].fill(0));
        let found = verify();
        assert_eq!(found.findings.count(Area::Compaction), 1, "{path:?}");
        assert!(found.findings.kept()[0].remedy.contains("next start"));
        open(&world, &world.disk).stop().unwrap();
        assert!(entries(&world.disk)[path].starts_with(&before[path][..2 * ENTRY_BYTES]), "{path:?}");
        assert_eq!(verify().findings.kept(), []);
    }
}
