//! Queue extensions that the real Java broker wrote (fixtures/README.md): tags and bits in them are those of the
//! messages, and what we write goes on behind them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use store::examine::StoreFiles;
use store::{Options, ReadLimits, RealClock, RealDisk, Store, Transfer};

use crate::archive;

const TOPIC: &str = "ExtTopic";
/// Messages that were sent when both filters had been registered have these numbers.
const ASKED_ABOUT: std::ops::Range<usize> = 20..80;

/// The bitmaps of a queue's messages, as they stand in its files.
fn bitmaps(root: &Path) -> Vec<Vec<u8>> {
    let dir = root.join("consumequeue_ext").join(TOPIC).join("0");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut bitmaps = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).unwrap();
        let mut rest = &bytes[..];
        while rest[0] == 0 && rest[1] >= 20 {
            let (unit, next) = rest.split_at(usize::from(rest[1]));
            bitmaps.push(unit[20..].to_vec());
            rest = next;
        }
    }
    bitmaps
}

fn options(root: &Path) -> Options {
    Options {
        segment_bytes: 65_536,
        queue_segment_entries: 100,
        queue_ext_enabled: true,
        queue_ext_segment_bytes: 1024,
        index_enabled: false,
        transfer_in_memory: Transfer { bytes: 1 << 20, count: 200 },
        ..Options::new(root)
    }
}

fn open(root: &Path) -> Arc<Store> {
    Store::open(Arc::new(RealDisk), Arc::new(RealClock::default()), options(root), Arc::new(|_| {})).unwrap()
}

fn limits() -> ReadLimits {
    ReadLimits { max_count: 200, max_bytes: 1 << 20 }
}

/// Bits of a group, by Java's own file.
fn bits(filters: &Value, group: &str) -> Vec<usize> {
    let data = &filters["filterDataByTopic"][TOPIC]["groupFilterData"][group]["bloomFilterData"];
    data["bitPos"].as_array().unwrap().iter().map(|bit| bit.as_u64().unwrap() as usize).collect()
}

#[test]
fn what_they_say_is_what_javas_consumers_got() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/java-5.5.0-extensions.tar.gz");
    archive::unpack(&fixture, dir.path());
    // Java was killed a second after its last message, with all of them in the files.
    std::fs::remove_file(dir.path().join("abort")).unwrap();
    let verify = || {
        let files = StoreFiles::open(Arc::new(RealDisk), options(dir.path())).unwrap();
        let verified = files.verify(&mut |_| {}).unwrap();
        assert!(verified.findings.is_empty(), "{:?}", verified.findings);
        verified.extensions
    };
    assert_eq!(verify(), 80);

    let text = std::fs::read(dir.path().join("config/consumerFilter.json")).unwrap();
    let filters: Value = wire::loose_json::read(&text).unwrap();
    let expected = std::fs::read_to_string(dir.path().join("expected")).unwrap();
    let expected: BTreeMap<&str, Vec<&str>> = expected
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(group, bodies)| (group, bodies.split(' ').collect()))
        .collect();
    let bitmaps = bitmaps(dir.path());
    assert_eq!((bitmaps.len(), expected.len()), (80, 2));
    for (group, received) in &expected {
        let bits = bits(&filters, group);
        for number in ASKED_ABOUT {
            let bitmap = &bitmaps[number];
            let hit = bits.iter().all(|bit| bitmap[bit / 8] & 1 << (bit % 8) != 0);
            // The other group's bits are others: none of this one's are set by chance.
            assert_eq!(hit, received.contains(&&*format!("{number:03}")), "{group}: {number}");
        }
    }

    // By tags, from extensions alone.
    let store = open(dir.path());
    let queue = store.queue(TOPIC, 0);
    for tag in ["even", "odd"] {
        let code = i64::from(wire::hash::java_hash(tag));
        let read = store.read(&queue, 0, limits(), &mut |tags_code| tags_code == code).unwrap();
        assert_eq!(read.records.len(), 40, "{tag}");
    }
    store.stop().unwrap();
    drop((queue, store));
    assert_eq!(verify(), 80);
}
