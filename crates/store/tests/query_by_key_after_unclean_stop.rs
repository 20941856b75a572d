//! Finding messages by key, unique key and tag, over several index files and lives.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{World, letter, send, send_all, small_options};
use sim::{Fault, Operation, Random};
use store::{KeyKind, Options, QueryResult, Store};
use wire::record::Record;

fn found(result: &QueryResult) -> Vec<String> {
    let body = |bytes: &Vec<u8>| String::from_utf8_lossy(Record::parse(bytes).unwrap().body).into_owned();
    result.records.iter().map(body).collect()
}

fn by_key(store: &Store, key: &str) -> Vec<String> {
    found(&store.query("t", key, 32, 0, i64::MAX, KeyKind::Key).unwrap())
}

fn fill(world: &World, store: &Store) {
    for i in 0..300 {
        world.clock.advance(Duration::from_millis(100));
        let letter = letter("t", 0, &format!("{i}")).keyed(&format!("k{i} even{}", i % 2)).tagged("tag");
        send(store, &letter).unwrap();
    }
}

/// A broker that has the index to make anew from the log.
fn filled_and_killed(world: &World) -> Arc<Store> {
    let store = world.open();
    fill(world, &store);
    drop(store);
    world.open()
}

#[test]
fn every_kind_of_stop_keeps_every_key() {
    for stop in 0..3 {
        let mut world = World::new(small_options());
        let store = world.open();
        fill(&world, &store);
        assert_eq!(by_key(&store, "k7"), ["7"]);
        store.flush_step().unwrap();
        match stop {
            0 => store.stop().unwrap(),
            1 => {}
            _ => world.disk = world.disk.crash(&mut Random::new(5)),
        }
        drop(store);
        let store = world.open();
        for i in (0..300).step_by(11) {
            assert_eq!(by_key(&store, &format!("k{i}")), [i.to_string()], "stop {stop}");
        }
        let index =
            world.disk.files().into_keys().filter(|path| path.starts_with(world.path("index"))).count();
        assert!(index > 3, "900 entries in files of 150");
        send(&store, &letter("t", 0, "new").keyed("k7")).unwrap();
        assert_eq!(by_key(&store, "k7"), ["7", "new"]);
    }
}

#[test]
fn of_an_index_file_that_could_not_be_made_nothing_is_left() {
    let world = World::new(small_options());
    let store = world.open();
    send(&store, &letter("t", 0, "first").keyed("k")).unwrap();
    let half = Fault {
        times: 1,
        bytes_written: 30,
        ..Fault::from_now(Operation::Create, "/index/", ErrorKind::Other)
    };
    world.disk.inject(half);
    store.index_step().unwrap_err();
    let files = || world.disk.files().into_iter().filter(|(path, _)| path.starts_with(world.path("index")));
    assert_eq!(files().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), [30]);
    // The name of the next one is of another second.
    world.clock.advance(std::time::Duration::from_secs(3));
    store.stop().unwrap();
    assert!(
        files().count() == 1 && files().all(|(_, bytes)| bytes.len() > 1000),
        "{:?}",
        files().map(|(path, _)| path)
    );
    drop(store);
    assert_eq!(by_key(&world.open(), "k"), ["first"]);
}

#[test]
fn slots_that_cannot_be_read_are_told_alike_however_many_entries_wait_for_them() {
    for messages in [1, 140] {
        let world = World::new(small_options());
        let store = world.open();
        for i in 0..messages {
            send(&store, &letter("t", 0, "x").keyed(&format!("k{i}"))).unwrap();
        }
        world.disk.inject(Fault::from_now(Operation::Read, "/index/", ErrorKind::Other));
        let error = store.index_step().unwrap_err().to_string();
        assert!(error.starts_with("cannot update ") && error.contains("/index/"), "{error}");
    }
}

#[test]
fn a_part_of_the_log_that_cannot_be_read_does_not_keep_the_rest_from_being_found() {
    let world = World::new(small_options());
    let store = filled_and_killed(&world);
    assert!(store.log_end() > 2 * world.options.segment_bytes);
    let query = |key: &str| store.query("t", key, 32, 0, i64::MAX, KeyKind::Key);
    let second = format!("commitlog/{:020}", world.options.segment_bytes);
    world.disk.inject(Fault::from_now(Operation::Read, &second, ErrorKind::Other));
    query("k299").unwrap_err();
    world.clock.advance(Duration::from_secs(29));
    query("k299").unwrap_err();
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(found(&query("k299").unwrap()), ["299"]);
    assert_eq!(found(&query("k7").unwrap()), ["7"]);
}

#[test]
fn an_error_of_the_disk_that_passes_costs_no_key() {
    let world = World::new(small_options());
    let store = filled_and_killed(&world);
    world.disk.inject(Fault { times: 4, ..Fault::from_now(Operation::Read, "commitlog", ErrorKind::Other) });
    while store.query("t", "k0", 32, 0, i64::MAX, KeyKind::Key).is_err() {}
    for i in (0..300).step_by(7) {
        assert_eq!(by_key(&store, &format!("k{i}")), [i.to_string()]);
    }
}

#[test]
fn the_newest_are_found_first_and_given_in_log_order() {
    let world = World::new(small_options());
    let store = world.open();
    fill(&world, &store);
    let result = store.query("t", "even1", 5, 0, i64::MAX, KeyKind::Key).unwrap();
    assert_eq!(found(&result), ["291", "293", "295", "297", "299"]);
    let tagged = store.query("t", "tag", 3, 0, i64::MAX, KeyKind::Tag).unwrap();
    assert_eq!(found(&tagged), ["297", "298", "299"]);
    assert_eq!(found(&store.query("t", "tag", 3, 0, i64::MAX, KeyKind::Key).unwrap()), Vec::<String>::new());
    assert_eq!(
        found(&store.query("other", "k1", 3, 0, i64::MAX, KeyKind::Key).unwrap()),
        Vec::<String>::new()
    );
}

#[test]
fn the_time_range_counts() {
    let world = World::new(small_options());
    let store = world.open();
    let start = 1_700_000_000_000;
    fill(&world, &store);
    // Message i was stored at start + 100 * (i + 1).
    let result = store.query("t", "even0", 50, start + 10_100, start + 11_000, KeyKind::Key).unwrap();
    assert_eq!(found(&result), ["100", "102", "104", "106", "108"]);
}

#[test]
fn an_index_directory_that_was_deleted_is_built_again() {
    let world = World::new(small_options());
    let store = world.open();
    fill(&world, &store);
    store.stop().unwrap();
    drop(store);
    for path in world.disk.files().into_keys().filter(|path| path.starts_with(world.path("index"))) {
        store::Disk::remove(&world.disk, &path).unwrap();
    }
    let store = world.open();
    assert_eq!(by_key(&store, "k123"), ["123"]);
}

/// End time of each index file, oldest first, and the time of the checkpoint: what Java goes by.
fn index_times(world: &World) -> (Vec<i64>, i64) {
    let time = |bytes: &[u8]| i64::from_be_bytes(bytes[..8].try_into().unwrap());
    let files = world.disk.files();
    let ends = files.iter().filter(|(path, _)| path.starts_with(world.path("index")));
    (ends.map(|(_, bytes)| time(&bytes[8..])).collect(), time(&files[&world.path("checkpoint")][16..]))
}

/// After a kill Java deletes index files that end later than the checkpoint's index time, and with `messageIndexSafe`
/// reads the log from a segment that begins before that time (store.md §8). Were the time that of a file which is not
/// full yet, the file would go and its first part never come back.
#[test]
fn the_checkpoint_tells_java_of_full_files_only() {
    let world = World::new(small_options());
    let store = world.open();
    fill(&world, &store);
    store.stop().unwrap();
    drop(store);
    let (ends, checkpoint) = index_times(&world);
    assert_eq!(checkpoint, ends[ends.len() - 2], "the last file is not full");

    // From the first damaged file on all are built again, so for Java they are not there yet.
    let damaged = world.disk.files().into_keys().filter(|path| path.starts_with(world.path("index"))).nth(3);
    world.disk.damage(&damaged.unwrap(), |bytes| bytes.truncate(100));
    let store = world.open();
    let (ends, checkpoint) = index_times(&world);
    assert_eq!(ends.len(), 3);
    assert_eq!(checkpoint, ends[2]);
    send(&store, &letter("t", 0, "new").keyed("k7")).unwrap();
    assert_eq!(by_key(&store, "k7"), ["7", "new"]);
    let (ends, checkpoint) = index_times(&world);
    assert_eq!(checkpoint, ends[ends.len() - 2]);
}

/// The keys of one record may be in two files: the end of one and the beginning of the next, which a kill takes away.
#[test]
fn a_record_on_the_border_of_two_files_keeps_all_its_keys() {
    // 149 entries fill a file; two keys a message, so that the seventy-fifth has one on each side.
    for count in [75, 76] {
        let world = World::new(small_options());
        let store = world.open();
        for i in 0..count {
            send(&store, &letter("t", 0, &format!("{i}")).keyed(&format!("a{i} b{i}"))).unwrap();
        }
        while store.index_step().unwrap() {}
        store.flush_step().unwrap();
        drop(store);
        let store = world.open();
        for i in 0..count {
            assert_eq!(by_key(&store, &format!("a{i}")), [i.to_string()], "of {count}");
            assert_eq!(by_key(&store, &format!("b{i}")), [i.to_string()], "of {count}");
        }
    }
}

/// Offsets of the records that the entries of all index files speak of.
fn indexed(world: &World) -> Vec<u64> {
    let int = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    let entries_at = 40 + 4 * world.options.index_slots as usize;
    let files = world.disk.files();
    let files = files.iter().filter(|(path, _)| path.starts_with(world.path("index")));
    let offsets = files.flat_map(|(_, bytes)| {
        let entries = bytes[entries_at..].chunks_exact(20).take(int(&bytes[36..])).skip(1);
        entries.map(|entry| u64::from_be_bytes(entry[4..12].try_into().unwrap())).collect::<Vec<_>>()
    });
    offsets.collect()
}

/// What is known of a full file does not tell whether it has all keys of its last record, so after a kill this record
/// is indexed once more, in the next file.
#[test]
fn a_record_that_a_kill_at_the_border_of_two_files_has_indexed_twice_is_found_once() {
    // Each message makes one entry, and 149 fill a file. The message behind them begins the next one.
    for kind in [KeyKind::Key, KeyKind::Tag] {
        let world = World::new(small_options());
        let store = world.open();
        let mut last = 0;
        for i in 0..150 {
            let letter = letter("t", 0, &format!("{i}"));
            let name = format!("n{i}");
            let letter = if kind == KeyKind::Key { letter.keyed(&name) } else { letter.tagged(&name) };
            let appended = send(&store, &letter).unwrap();
            last = if i == 148 { appended.offset } else { last };
        }
        while store.index_step().unwrap() {}
        drop(store);
        let store = world.open();
        let query =
            |i: usize, max| found(&store.query("t", &format!("n{i}"), max, 0, i64::MAX, kind).unwrap());
        for i in 0..150 {
            for max in [1, 2, 32] {
                assert_eq!(query(i, max), [i.to_string()], "{kind:?}, at most {max}");
            }
        }
        store.stop().unwrap();
        let twice = indexed(&world).into_iter().filter(|offset| *offset == last).count();
        assert_eq!(twice, 2, "the situation did not come about");
    }
}

#[test]
fn while_the_index_cannot_go_on_what_it_has_is_found() {
    for operation in [Operation::Create, Operation::Write] {
        let world = World::new(small_options());
        let store = world.open();
        fill(&world, &store);
        assert_eq!(by_key(&store, "k7"), ["7"]);
        world.disk.inject(Fault::from_now(operation, "/index/", ErrorKind::StorageFull));
        for i in 0..300 {
            send(&store, &letter("t", 0, "late").keyed(&format!("late{i}"))).unwrap();
        }
        assert_eq!(by_key(&store, "k7"), ["7"]);
        store.query("t", "late299", 32, 0, i64::MAX, KeyKind::Key).expect_err("there may be such a message");
        assert!(world.disk.failures() > 0);
        world.disk.heal();
        assert_eq!(by_key(&store, "late299"), ["late"]);
        send(&store, &letter("t", 0, "later")).expect("no fault of the log");
    }
}

/// A page of slots is read when the first entry for it comes.
#[test]
fn while_slots_cannot_be_read_queries_fail_and_then_the_index_is_as_if_they_always_could() {
    let index_of = |disturbed: bool| {
        let world = World::new(small_options());
        let store = world.open();
        if disturbed {
            world.disk.inject(Fault::from_now(Operation::Read, "/index/", ErrorKind::Other));
        }
        for i in 0..60 {
            send(&store, &letter("t", 0, &format!("{i}")).keyed(&format!("k{i} all"))).unwrap();
            assert_eq!(store.index_step().is_err(), disturbed);
        }
        if disturbed {
            store.query("t", "k7", 32, 0, i64::MAX, KeyKind::Key).expect_err("there is such a message");
            assert!(world.disk.failures() > 0);
            world.disk.heal();
        }
        assert_eq!(by_key(&store, "k59"), ["59"]);
        store.stop().unwrap();
        let files = world.disk.files().into_iter();
        files.filter(|(path, _)| path.starts_with(world.path("index"))).collect::<Vec<_>>()
    };
    assert_eq!(index_of(true), index_of(false));
}

/// Between the parts of the walk others have the index: each goes on where the one before ended, also in older files.
#[test]
fn a_chain_that_is_longer_than_a_part_of_the_walk_is_walked_to_its_end() {
    for entries in [400, 10_000] {
        let world = World::new(Options { index_slots: 1, index_entries: entries, ..small_options() });
        let store = world.open();
        send(&store, &letter("t", 0, "first").keyed("first many")).unwrap();
        for number in 0..3000 {
            send(&store, &letter("t", 0, &number.to_string()).keyed("many")).unwrap();
        }
        assert_eq!(by_key(&store, "first"), ["first"], "{entries}");
        let all = found(&store.query("t", "many", 5000, 0, i64::MAX, KeyKind::Key).unwrap());
        let sent = std::iter::once("first".to_owned()).chain((0..3000).map(|number| number.to_string()));
        assert!(all.into_iter().eq(sent), "{entries}");
    }
}

/// The unique key of one message is the key of many.
#[test]
fn a_query_that_meets_too_many_messages_which_are_not_wanted_says_so() {
    let world = World::new(Options { segment_bytes: 1 << 20, index_entries: 20_000, ..small_options() });
    let store = world.open();
    let many = vec![letter("t", 0, "").keyed("k"); 1010];
    for _ in 0..10 {
        send_all(&store, &many).unwrap();
    }
    let error = store.query("t", "k", 9, 0, i64::MAX, KeyKind::Unique).unwrap_err().to_string();
    assert!(error.contains("older ones were not looked at"), "{error}");
    assert_eq!(store.query("t", "k", 9, 0, i64::MAX, KeyKind::Key).unwrap().records.len(), 9);
}
