//! Consume queues follow the log: lost ones come back from it.

use std::path::Path;

use crate::support::{World, bodies, letter, send, small_options};
use store::{Disk, ReadLimits, Store};
use wire::record::Record;

fn filled() -> (World, std::sync::Arc<Store>) {
    let world = World::new(small_options());
    let store = world.open();
    for i in 0..200 {
        send(&store, &letter(["a", "b"][i % 2], (i % 3) as u32, &format!("{i}"))).unwrap();
    }
    (world, store)
}

fn expected(topic: usize, queue: usize) -> Vec<String> {
    (0..200).filter(|i| i % 2 == topic && i % 3 == queue).map(|i| i.to_string()).collect()
}

fn remove_below(world: &World, part: &str) {
    for path in world.disk.files().into_keys().filter(|path| path.starts_with(world.path(part))) {
        world.disk.remove(&path).unwrap();
    }
    let dir = world.path(part);
    for entry in world.disk.list(&dir).unwrap() {
        remove_dirs(world, &dir.join(entry.name));
    }
}

fn remove_dirs(world: &World, dir: &Path) {
    for entry in world.disk.list(dir).unwrap() {
        remove_dirs(world, &dir.join(entry.name));
    }
    world.disk.remove_dir(dir).unwrap();
}

fn check(world: &World) {
    let store = world.open();
    for (t, topic) in ["a", "b"].into_iter().enumerate() {
        for queue in 0..3 {
            assert_eq!(bodies(&store, topic, queue as u32), expected(t, queue), "{topic}-{queue}");
        }
    }
    let next = send(&store, &letter("a", 0, "next")).unwrap();
    assert_eq!(next.queue_offset, expected(0, 0).len() as u64);
}

#[test]
fn all_of_them_after_a_clean_stop() {
    let (world, store) = filled();
    store.stop().unwrap();
    drop(store);
    remove_below(&world, "consumequeue");
    check(&world);
}

#[test]
fn one_of_them_after_a_kill() {
    let (world, store) = filled();
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    drop(store);
    remove_below(&world, "consumequeue/a/1");
    check(&world);
}

#[test]
fn one_that_java_would_not_miss() {
    let (world, store) = filled();
    store.stop().unwrap();
    drop(store);
    remove_below(&world, "consumequeue");
    // Our own part of the checkpoint is void once Java has written it.
    world.disk.damage(&world.path("checkpoint"), |bytes| bytes[3] ^= 1);
    check(&world);
}

#[test]
fn damaged_lengths_and_contents_too() {
    for change in [|bytes: &mut Vec<u8>| bytes.truncate(100), |bytes: &mut Vec<u8>| bytes.fill(0)] {
        let (world, store) = filled();
        store.stop().unwrap();
        drop(store);
        world.disk.damage(&world.path("consumequeue/b/2/00000000000000000000"), change);
        check(&world);
    }
}

#[test]
fn a_queue_that_begins_late_is_filled_up_to_its_first_message() {
    let (world, store) = filled();
    store.flush_step().unwrap();
    world.clock.advance(std::time::Duration::from_secs(80 * 3600));
    store.clean_soon();
    assert!(store.clean_step().unwrap() > 0);
    let min = store.queue("a", 0).min_offset();
    let kept = bodies(&store, "a", 0);
    assert!(min > 0 && !kept.is_empty());
    store.stop().unwrap();
    drop(store);
    remove_below(&world, "consumequeue");
    let store = world.open();
    let queue = store.queue("a", 0);
    assert_eq!(queue.min_offset(), min);
    assert_eq!(bodies(&store, "a", 0), kept);
    // The file Java would read: fillers, then entries in their places.
    store.stop().unwrap();
    let start = min / 40 * 40;
    let file = &world.disk.files()[&world.path(&format!("consumequeue/a/0/{:020}", start * 20))];
    if min > start {
        assert_eq!(file[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF]);
    }
    assert_ne!(file[((min - start) * 20) as usize..][..8], [0; 8]);
}

/// What follows it in the segment was given numbers, and is not lost with it.
#[test]
fn all_but_a_damaged_record() {
    // A byte of its size, its magic, its place in the log, the length of its body.
    for at in [3, 6, 35, 87] {
        let world = World::new(small_options());
        let store = world.open();
        for i in 0..30 {
            send(&store, &letter("orders", 0, &format!("message {i:02}"))).unwrap();
        }
        assert!(store.log_end() < world.options.segment_bytes);
        let size = store.log_end() as usize / 30;
        store.stop().unwrap();
        drop(store);
        world.disk.damage(&world.path("commitlog/00000000000000000000"), |bytes| bytes[10 * size + at] ^= 1);
        remove_below(&world, "consumequeue");
        let store = world.open();
        assert_eq!(send(&store, &letter("orders", 0, "next")).unwrap().queue_offset, 30, "byte {at}");
        let queue = store.queue("orders", 0);
        for offset in (0..30).filter(|offset| *offset != 10) {
            let limits = ReadLimits { max_count: 1, max_bytes: 1 << 20 };
            let result = store.read(&queue, offset, limits, &mut |_| true).unwrap();
            let bytes = result.records.iter().next().unwrap().unwrap();
            let record = Record::parse(&bytes).unwrap();
            assert_eq!(record.queue_offset, offset, "byte {at}");
            assert_eq!(record.body, format!("message {offset:02}").as_bytes(), "byte {at}");
        }
    }
}
