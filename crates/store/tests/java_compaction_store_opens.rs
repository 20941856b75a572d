//! A store of the real Java broker with a compacted topic (fixtures/README.md): what Java has kept is read here, and
//! compacting goes on from its files.
#![allow(clippy::disallowed_methods, reason = "fixtures are real files on a real disk")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::archive;
use crate::support::{Letter, letter, open_on, send};
use store::examine::StoreFiles;
use store::{CompactionOptions, Options, ReadLimits, ReadStatus, RealClock, RealDisk, Store};
use wire::properties;
use wire::record::Record;

const TOPIC: &str = "CompactedTopicKeepsTheLastOfEachKey-mwrip1wo-topic1";
/// The message at offset `n` has the key of `n` modulo this, and says so in its body.
const KEYS: i64 = 50;
const SENT_BY_JAVA: i64 = 1000;

fn options(root: &Path) -> Options {
    let compaction =
        CompactionOptions { log_file_bytes: 40_000, units_file_bytes: 4600, ..CompactionOptions::default() };
    Options {
        segment_bytes: 262_144,
        queue_segment_entries: 300,
        index_enabled: false,
        compaction: Some(compaction),
        ..Options::new(root)
    }
}

fn open(root: &Path) -> Arc<Store> {
    let store = open_on(Arc::new(RealDisk), Arc::new(RealClock::default()), options(root)).unwrap();
    store.compact_topic(TOPIC).unwrap();
    store
}

fn unpack() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let fixture = "tests/fixtures/java-5.5.0-compaction-clean.tar.gz";
    archive::unpack(&Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture), dir.path());
    dir
}

fn key_of(offset: i64) -> String {
    format!("key{}", offset % KEYS)
}

/// Offsets of all that a reader gets who begins at 0, each checked to be the message that was sent there.
fn read(store: &Store) -> BTreeSet<i64> {
    let queue = store.find_queue(TOPIC, 0).expect("the queue");
    let (mut next, mut offsets) = (0, BTreeSet::new());
    while next < queue.max_offset() as i64 {
        let limits = ReadLimits { max_count: 32, max_bytes: 1 << 20 };
        let result = store.read(&queue, next, limits, &mut |_| true).unwrap();
        assert_eq!(result.status, ReadStatus::Found, "at {next}");
        for bytes in result.records.iter() {
            let bytes = bytes.unwrap();
            let record = Record::parse(&bytes).unwrap();
            let offset = record.queue_offset;
            assert!(offset >= next && offsets.insert(offset), "{offset} comes behind {next}");
            assert_eq!(record.property(properties::KEYS), Some(&*key_of(offset)));
            assert_eq!(String::from_utf8_lossy(record.body), format!("{} {offset}", key_of(offset)));
        }
        next = result.next_offset;
    }
    offsets
}

/// The last message of each key, up to an offset.
fn last_of_each_key(end: i64) -> BTreeSet<i64> {
    (end - KEYS..end).collect()
}

#[test]
fn what_java_has_kept_is_read_without_the_rest() {
    let dir = unpack();
    let store = open(dir.path());
    let kept = read(&store);
    assert!(kept.is_superset(&last_of_each_key(SENT_BY_JAVA)), "{kept:?}");
    // Java left the older ones out of its files; the commit log has them all.
    assert!(kept.len() < SENT_BY_JAVA as usize / 2, "{} are left", kept.len());
    store.stop().unwrap();
}

#[test]
fn compacting_goes_on_from_javas_files() {
    let dir = unpack();
    let store = open(dir.path());
    let before = read(&store);
    let end = SENT_BY_JAVA + 3 * KEYS;
    for offset in SENT_BY_JAVA..end {
        let letter =
            Letter { keys: key_of(offset), ..letter(TOPIC, 0, &format!("{} {offset}", key_of(offset))) };
        assert_eq!(send(&store, &letter).unwrap().queue_offset, offset as u64);
    }
    store.flush_step().unwrap();
    store.compaction_follow_step().unwrap();
    assert!(read(&store).is_superset(&before), "copying takes nothing away");
    assert!(store.compaction_step().unwrap() > 0, "there is something to leave out");
    let after = read(&store);
    assert!(after.is_superset(&last_of_each_key(end)), "{after:?}");
    assert!(after.len() < before.len() + 3 * KEYS as usize, "{} of {}", after.len(), before.len());
    store.stop().unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(read(&store), after);
    store.stop().unwrap();
    drop(store);
    let files = StoreFiles::open(Arc::new(RealDisk), options(dir.path())).unwrap();
    let verified = files.verify(&mut |_| {}).unwrap();
    let found: Vec<String> = verified.findings.kept().iter().map(|finding| format!("{finding:?}")).collect();
    assert!(found.iter().all(|finding| !finding.contains("compaction")), "{found:?}");
}
