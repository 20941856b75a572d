//! Directories that hold what we cannot serve, or do not know, are told from those that we can.

use std::path::Path;

use crate::support::{World, bodies, letter, send, small_options};
use store::{Disk, StoreError};

fn put(world: &World, path: &str, len: u64) {
    let path = world.path(path);
    world.disk.create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
    world.disk.create(&path, len).unwrap();
}

#[test]
fn kinds_that_cannot_be_served_are_refused_and_left_alone() {
    for file in [
        "consumequeue/CURRENT",
        "config/rdb/CURRENT",
        "dledger-n0/data/00000000000000000000",
        "tiered_index_file/1700000000000",
    ] {
        let world = World::new(small_options());
        put(&world, file, 10);
        let before = world.disk.files();
        let error = world.try_open().map(|_| ()).unwrap_err();
        assert!(matches!(error, StoreError::Unsupported { .. }), "{file}: {error}");
        assert!(before == world.disk.files(), "{file}");
    }
}

#[test]
fn what_java_creates_anyway_is_ignored() {
    let world = World::new(small_options());
    put(&world, "rocksdbstore/CURRENT", 10);
    put(&world, "timerwheel", 10);
    put(&world, "abort.bak", 10);
    let store = world.open();
    send(&store, &letter("t", 0, "x")).unwrap();
}

#[test]
fn stray_and_wrongly_sized_segments_are_named() {
    // The last would end behind the largest number.
    let files = ["notes.txt", "00000000000000000007", "18446744073709535232"];
    for (file, len) in files.map(|name| format!("commitlog/{name}")).iter().zip([10, 16384, 16384]) {
        let world = World::new(small_options());
        put(&world, file, len);
        let error = world.try_open().map(|_| ()).unwrap_err();
        assert!(matches!(error, StoreError::StrayFile { .. }), "{error}");
        assert!(error.to_string().contains(file.as_str()), "{error}");
    }
    let world = World::new(small_options());
    let store = world.open();
    send(&store, &letter("t", 0, "x")).unwrap();
    store.stop().unwrap();
    drop(store);
    let other = store::Options { segment_bytes: 32 * 1024, ..small_options() };
    let world = World { options: other, ..world };
    let error = world.try_open().map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::SegmentLength { found: 16384, expected: 32768, .. }), "{error}");
}

#[test]
fn a_store_that_java_stopped_or_was_killed_in_opens_from_its_checkpoint() {
    for clean in [true, false] {
        let world = World::new(small_options());
        let store = world.open();
        for i in 0..200 {
            send(&store, &letter("t", i % 2, &format!("{i}-{}", "x".repeat(300)))).unwrap();
        }
        if clean {
            store.stop().unwrap();
        } else {
            store.flush_step().unwrap();
            store.queue_step(true).unwrap();
        }
        drop(store);
        // Java keeps our bytes in place when it writes its own, and leaves rests behind the end.
        world.disk.damage(&world.path("checkpoint"), |bytes| {
            bytes[..8].copy_from_slice(&1_700_000_100_000i64.to_be_bytes());
        });
        let last =
            world.disk.files().into_keys().rfind(|path| path.starts_with(world.path("commitlog"))).unwrap();
        world.disk.damage(&last, |bytes| {
            let len = bytes.len();
            bytes[len - 100..].fill(0x55);
        });
        let store = world.open();
        assert_eq!(bodies(&store, "t", 0).len(), 100, "clean {clean}");
        assert_eq!(bodies(&store, "t", 1).len(), 100, "clean {clean}");
        assert!(world.disk.files()[&last].ends_with(&[0; 100]), "rests are cleared");
        assert_eq!(send(&store, &letter("t", 0, "next")).unwrap().queue_offset, 100);
    }
}
