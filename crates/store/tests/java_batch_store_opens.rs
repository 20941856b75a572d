//! A store of the real Java broker with a topic of batch queues (fixtures/README.md): every message has the offset at
//! which Java's own client read it there, and the queues go on behind the last.
#![allow(clippy::disallowed_methods, reason = "fixtures are real files on a real disk")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::archive;
use crate::support::{letter, open_on, send};
use store::examine::StoreFiles;
use store::{Options, QueueKind, ReadLimits, ReadStatus, RealClock, RealDisk, Store};
use wire::batch;
use wire::properties;
use wire::record::Record;

const TOPIC: &str = "RoundTripBatch";

fn options(root: &Path) -> Options {
    Options {
        segment_bytes: 1 << 20,
        queue_segment_entries: 100,
        batch_queue_segment_entries: 100,
        index_slots: 101,
        index_entries: 400,
        ..Options::new(root)
    }
}

fn open(root: &Path) -> Arc<Store> {
    open_on(Arc::new(RealDisk), Arc::new(RealClock::default()), options(root)).unwrap()
}

fn unpack() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let fixture = "tests/fixtures/java-5.5.0-batch-clean.tar.gz";
    archive::unpack(&Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture), dir.path());
    dir
}

/// What a client makes of a record: offset, body, unique key and offset in the log of each message, as the ledger has
/// it.
fn unwrap(record: &Record<'_>, queue: u32, lines: &mut Vec<String>) {
    let mut line = |offset: i64, body: &[u8], text: &[u8]| {
        let (body, id) = (String::from_utf8_lossy(body), properties::find(text, properties::UNIQ_KEY));
        lines.push(format!("{queue}/{offset} {body} id={} at={}", id.unwrap(), record.physical_offset));
    };
    if record.sys_flag & wire::sys_flag::INNER_BATCH == 0 {
        return line(record.queue_offset, record.body, record.properties);
    }
    for (entry, offset) in batch::entries(record.body).zip(record.queue_offset..) {
        let entry = entry.unwrap();
        line(offset, entry.body, entry.properties);
    }
}

fn read(store: &Store) -> Vec<String> {
    let mut lines = Vec::new();
    for queue in store.queues_of(TOPIC) {
        assert_eq!((queue.kind(), queue.min_offset()), (QueueKind::Batch, 0));
        let mut offset = 0;
        while offset < queue.max_offset() as i64 {
            let limits = ReadLimits { max_count: 32, max_bytes: 1 << 20 };
            let result = store.read(&queue, offset, limits, &mut |_| true).unwrap();
            assert_eq!(result.status, ReadStatus::Found);
            for bytes in result.records.iter() {
                unwrap(&Record::parse(&bytes.unwrap()).unwrap(), queue.id(), &mut lines);
            }
            offset = result.next_offset;
        }
    }
    lines
}

/// Lines of the ledger up to the offset in the log; what follows are times.
fn ledger(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("ledger")).unwrap();
    text.lines().map(|line| line.split(" kept=").next().unwrap().to_owned()).collect()
}

#[test]
fn every_message_is_where_java_s_client_found_it() {
    let dir = unpack();
    let ledger = ledger(dir.path());
    assert_eq!(ledger.len(), 570);
    for life in 0..2 {
        let store = open(dir.path());
        assert_eq!(read(&store), ledger, "in life {life}");
        store.stop().unwrap();
    }
    let store = open(dir.path());
    let next = store.queue(TOPIC, 0).max_offset();
    let appended = send(&store, &letter(TOPIC, 0, "more").inner_batch(3)).unwrap();
    assert_eq!(appended.queue_offset, next);
    store.stop().unwrap();
}

#[test]
fn java_s_entries_and_ours_are_the_same_bytes() {
    let dir = unpack();
    let path = dir.path().join("batchconsumequeue").join(TOPIC).join("1/00000000000000000000");
    let before = fs::read(&path).unwrap();
    fs::remove_dir_all(dir.path().join("batchconsumequeue")).unwrap();
    fs::write(dir.path().join("abort"), b"").unwrap();
    let store = open(dir.path());
    store.stop().unwrap();
    drop(store);
    assert!(fs::read(&path).unwrap() == before);
    let files = StoreFiles::open(Arc::new(RealDisk), options(dir.path())).unwrap();
    let verified = files.verify(&mut |_| {}).unwrap();
    let queues = verified.findings.kept().iter().filter(|finding| finding.path.ends_with(TOPIC)).count();
    assert_eq!(queues, 0, "{:?}", verified.findings.kept());
}
