//! Reads that are told how far they may go, on a real disk whose pages the kernel was asked to drop.

#![allow(clippy::disallowed_methods, reason = "pages are dropped behind the store's back")]

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::support;
use crate::support::{letter, open_on, read_queue, send};
use rustix::fs::{Advice, fadvise};
use store::{
    FlushMode, Map, MessageFilter, Options, Queue, Reach, ReadLimits, ReadStatus, RealClock, RealDisk, Store,
};

const LIMITS: ReadLimits = ReadLimits { max_count: 32, max_bytes: 1 << 20 };
/// More than the tail that is taken to be in memory without looking.
const MESSAGES: usize = 700;
const BODY_BYTES: usize = 32 << 10;

/// A filter that wants everything.
struct All;

impl MessageFilter for All {
    fn wants_entry(&self, _tags_code: Option<i64>) -> bool {
        true
    }

    fn looks_into_record(&self, _tags_code: Option<i64>) -> bool {
        false
    }

    fn wants_record(&self, _record: &[u8]) -> bool {
        true
    }
}

fn options(root: &Path) -> Options {
    let interval = std::time::Duration::from_millis(500);
    Options {
        root: root.to_path_buf(),
        commit_log_dir: root.join("commitlog"),
        segment_bytes: 64 << 20,
        index_enabled: false,
        flush: FlushMode::Async { interval },
        ..Options::default()
    }
}

fn open(root: &Path) -> Arc<Store> {
    open_on(Arc::new(RealDisk), Arc::new(RealClock::default()), options(root)).unwrap()
}

fn fill(store: &Store) {
    for number in 0..MESSAGES {
        send(store, &letter("t", 0, &format!("{number:0>BODY_BYTES$}"))).unwrap();
    }
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
}

/// Asks the kernel to drop a file's pages; tells whether it did. File systems in memory do not.
fn evict(path: &Path) -> bool {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let map = Map::new(&file).unwrap();
    !map.is_in_memory(0, 4096)
}

fn status(store: &Store, reach: Reach, queue: &Queue, offset: i64) -> Option<(ReadStatus, usize)> {
    let result = store.read_within(reach, queue, offset, LIMITS, &All).unwrap()?;
    let mut bytes = Vec::new();
    result.records.copy_to(&mut bytes).unwrap();
    assert_eq!(bytes.len(), result.records.byte_len());
    Some((result.status, result.records.len()))
}

#[test]
fn the_end_of_the_log_is_at_hand_and_what_is_before_it_is_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store);
    let queue = store.queue("t", 0);
    let (old, new) = (Some((ReadStatus::Found, 7)), Some((ReadStatus::Found, 5)));
    for reach in [Reach::MEMORY, Reach::Disk] {
        assert_eq!(status(&store, reach, &queue, 0), old, "just written, so in memory: {reach:?}");
        assert_eq!(status(&store, reach, &queue, MESSAGES as i64 - 5), new, "{reach:?}");
    }
    let near = Reach::Memory { behind_max: 1 << 20 };
    assert_eq!(status(&store, near, &queue, MESSAGES as i64 - 5), new);
    assert_eq!(status(&store, near, &queue, 0), None, "it is far behind");
    let end = Some((ReadStatus::OffsetOverflowOne, 0));
    assert_eq!(status(&store, near, &queue, MESSAGES as i64), end);
}

#[test]
fn what_the_kernel_has_dropped_is_not_in_memory_until_the_disk_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store);
    store.stop().unwrap();
    drop(store);
    let segment = dir.path().join("commitlog/00000000000000000000");
    if !evict(&segment) {
        return;
    }
    // Opened again over a log that the recovery of a clean stop does not read.
    let store = open(dir.path());
    if !evict(&segment) {
        return;
    }
    let queue = store.queue("t", 0);
    assert_eq!(status(&store, Reach::MEMORY, &queue, 0), None, "its pages are gone");
    assert_eq!(status(&store, Reach::Disk, &queue, 0), Some((ReadStatus::Found, 7)));
    assert_eq!(status(&store, Reach::MEMORY, &queue, 0), Some((ReadStatus::Found, 7)), "now they are there");
    let all = read_queue(&store, &queue);
    assert_eq!(all.len(), MESSAGES);
    for (number, got) in all.iter().enumerate() {
        assert_eq!(got.body, format!("{number:0>BODY_BYTES$}").as_bytes());
    }
}

#[test]
fn a_reader_of_the_whole_log_finds_what_follows_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fill(&store);
    let queue = store.queue("t", 0);
    if !evict(&dir.path().join("commitlog/00000000000000000000")) {
        return;
    }
    let (mut next, mut waits, mut reads) = (0, 0, 0);
    while next < 256 {
        let read = match store.read_within(Reach::MEMORY, &queue, next, LIMITS, &All).unwrap() {
            Some(read) => read,
            None => {
                waits += 1;
                store.read(&queue, next, LIMITS, &mut |_| true).unwrap()
            }
        };
        next = read.next_offset;
        reads += 1;
    }
    assert!(waits * 2 < reads, "{waits} of {reads} reads waited for the disk");
}

/// Where the process that may die finds its store.
const STORE: &str = "STORE_WHOSE_DISK_CANNOT_BE_READ";

/// As where the disk has a bad sector: who touches it through a map gets SIGBUS, which ends the process.
#[test]
fn what_the_disk_cannot_give_is_an_error_and_no_signal() {
    if let Some(dir) = std::env::var_os(STORE) {
        return read_behind_the_end_of_the_file(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "reading_what_is_not_in_memory::what_the_disk_cannot_give_is_an_error_and_no_signal";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", name, "--nocapture"]).env(STORE, dir.path()).output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

fn read_behind_the_end_of_the_file(dir: &Path) {
    let store = open(dir);
    let offset = send(&store, &letter("t", 0, "hello")).unwrap().offset;
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    let queue = store.queue("t", 0);
    assert!(store.record_at(offset).unwrap().is_some());
    assert!(store.store_time_of(&queue, 0).is_some());
    OpenOptions::new()
        .write(true)
        .open(dir.join("commitlog/00000000000000000000"))
        .unwrap()
        .set_len(0)
        .unwrap();
    store.record_at(offset).unwrap_err();
    assert_eq!(store.store_time_of(&queue, 0), None);
    assert_eq!(store.earliest_store_time(), None);
}

#[test]
fn an_entry_that_points_to_no_message_is_passed_over_however_it_is_read() {
    let world = support::World::new(support::small_options());
    let store = world.open();
    let mut places = Vec::new();
    for number in 0..10 {
        places.push(send(&store, &letter("t", 0, &format!("message {number}"))).unwrap().offset as usize);
    }
    world.disk.damage(&world.path("commitlog/00000000000000000000"), |bytes| bytes[places[4] + 4] ^= 0xFF);
    let queue = store.queue("t", 0);
    for reach in [Reach::MEMORY, Reach::Disk] {
        let result = store.read_within(reach, &queue, 0, LIMITS, &All).unwrap().unwrap();
        assert_eq!((result.records.len(), result.next_offset), (9, 10));
        let bytes: Vec<_> = result.records.iter().map(|record| record.unwrap().into_owned()).collect();
        let mut joined = Vec::new();
        result.records.copy_to(&mut joined).unwrap();
        assert_eq!(joined, bytes.concat());
        assert!(bytes.iter().all(|bytes| wire::record::Record::parse(bytes).unwrap().verify_crc().is_ok()));
        assert!(!String::from_utf8_lossy(&joined).contains("message 4"));
    }
}
