//! Retention (store.md §13).

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{World, bodies, letter, open_on, send, small_options};
use sim::{Fault, Operation, Random, SimDisk};
use store::{Disk, KeyKind, Options, ReadLimits, ReadStatus, RealClock, RealDisk, Space, Store};

const HOUR: Duration = Duration::from_secs(3600);

fn fill(store: &Store) {
    for i in 0..100 {
        send(store, &letter("t", 0, &format!("{i}-{}", "x".repeat(800))).keyed(&format!("k{i}"))).unwrap();
    }
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
}

#[test]
fn at_the_hour_expired_segments_go_but_never_the_last() {
    let world = World::new(small_options());
    let store = world.open();
    fill(&store);
    let segments = store.runtime().segments;
    assert!(segments > 4);
    // It is 22:13; after 73 hours 23:13, and five hours later 04:13.
    assert_eq!(store.clean_step().unwrap(), 0);
    world.clock.advance(HOUR * 73);
    assert_eq!(store.clean_step().unwrap(), 0, "not at this hour");
    world.clock.advance(HOUR * 5);
    assert_eq!(store.clean_step().unwrap() as usize, segments - 1);
    assert_eq!(store.runtime().segments, 1);

    let queue = store.queue("t", 0);
    let min = queue.min_offset();
    assert!(min > 0 && min < 100);
    assert_eq!(bodies(&store, "t", 0).len() as u64, 100 - min);
    let result = store.read(&queue, 0, ReadLimits { max_count: 1, max_bytes: 100 }, &mut |_| true).unwrap();
    assert_eq!((result.status, result.next_offset), (ReadStatus::OffsetTooSmall, min as i64));
    assert!(store.query("t", "k1", 1, 0, i64::MAX, KeyKind::Key).unwrap().records.is_empty());
    let files: Vec<_> =
        world.disk.files().into_keys().filter(|path| path.starts_with(world.path("consumequeue"))).collect();
    assert!(files.len() < 3, "{files:?}");

    store.stop().unwrap();
    drop((store, queue));
    let store = world.open();
    assert_eq!(store.queue("t", 0).min_offset(), min);
    assert_eq!(bodies(&store, "t", 0).len() as u64, 100 - min);
}

#[test]
fn a_damaged_queue_entry_hides_none_of_the_messages_before_it() {
    let world = World::new(Options { delete_batch_max: 1, ..small_options() });
    let store = world.open();
    fill(&store);
    store.stop().unwrap();
    drop(store);
    let ages = |disk: &SimDisk| {
        let store =
            open_on(Arc::new(disk.clone()), Arc::new(world.clock.clone()), world.options.clone()).unwrap();
        let queue = store.queue("t", 0);
        let mut mins = Vec::new();
        for _ in 0..4 {
            store.clean_soon();
            assert_eq!(store.clean_step().unwrap(), 1);
            mins.push(queue.min_offset());
        }
        mins
    };
    world.clock.advance(HOUR * 80);
    let sound = ages(&world.disk.copy());
    assert!(sound.windows(2).all(|pair| pair[0] < pair[1]) && sound[0] > 0, "{sound:?}");
    for place in 0..95_usize {
        // Nothing at all, and an offset that is too low.
        for size in [0, 200_u32] {
            let disk = world.disk.copy();
            disk.damage(&world.path(&format!("consumequeue/t/0/{:020}", place / 40 * 800)), |bytes| {
                let entry = &mut bytes[place % 40 * 20..][..20];
                entry.fill(0);
                entry[8..12].copy_from_slice(&size.to_be_bytes());
            });
            let place = place as u64;
            for (min, sound) in ages(&disk).into_iter().zip(&sound) {
                let off_by_itself = min + 1 == *sound && place == min || min == sound + 1 && place == *sound;
                assert!(min == *sound || off_by_itself, "{place} {size}: {min}, not {sound}");
            }
        }
    }
}

#[test]
fn a_full_disk_takes_segments_before_their_time() {
    let world = World::new(small_options());
    let store = world.open();
    fill(&store);
    let segments = store.runtime().segments;
    world.disk.set_space(Space { total: 100, free: 20, available: 20 });
    assert_eq!(store.clean_step().unwrap(), 0, "over the maximum only what has expired goes");
    world.disk.set_space(Space { total: 100, free: 12, available: 12 });
    assert_eq!(store.clean_step().unwrap() as usize, segments - 1);
}

#[test]
fn a_queue_all_of_whose_messages_expired_keeps_its_numbering() {
    let world = World::new(small_options());
    let store = world.open();
    send(&store, &letter("light", 0, "only")).unwrap();
    fill(&store);
    world.clock.advance(HOUR * 80);
    store.clean_soon();
    assert!(store.clean_step().unwrap() > 0);
    let queue = store.queue("light", 0);
    assert_eq!((queue.min_offset(), queue.max_offset()), (1, 1));
    store.stop().unwrap();
    drop((store, queue));
    let store = world.open();
    let queue = store.queue("light", 0);
    assert_eq!((queue.min_offset(), queue.max_offset()), (1, 1));
    assert_eq!(send(&store, &letter("light", 0, "next")).unwrap().queue_offset, 1);
    assert_eq!(bodies(&store, "light", 0), ["next"]);
}

/// The queue entries were still in memory only, and nothing but them knew the number once the log was deleted.
#[test]
fn numbers_of_expired_messages_are_not_used_again_after_a_crash() {
    for seed in 0..20 {
        let mut world = World::new(small_options());
        let store = world.open();
        send(&store, &letter("light", 0, "only")).unwrap();
        for _ in 0..40 {
            send(&store, &letter("heavy", 0, &"x".repeat(800))).unwrap();
        }
        store.flush_step().unwrap();
        world.clock.advance(HOUR * 80);
        store.clean_soon();
        assert!(store.clean_step().unwrap() > 0);
        drop(store);
        if seed > 0 {
            world.disk = world.disk.crash(&mut Random::new(seed));
        }
        let store = world.open();
        assert_eq!(send(&store, &letter("light", 0, "next")).unwrap().queue_offset, 1, "seed {seed}");
    }
}

/// A queue of three files whose messages have all expired, and the segments with them.
fn with_idle_queue() -> World {
    let world = World::new(small_options());
    let store = world.open();
    for i in 0..100 {
        send(&store, &letter("idle", 0, &format!("{i}"))).unwrap();
    }
    for _ in 0..60 {
        send(&store, &letter("heavy", 0, &"x".repeat(800))).unwrap();
    }
    store.stop().unwrap();
    world.clock.advance(HOUR * 80);
    world
}

fn next_of_idle(store: &Store) -> u64 {
    send(store, &letter("idle", 0, "next")).unwrap().queue_offset
}

/// Of three files of a queue that went, a power cut may bring back the first and the last.
#[test]
fn a_power_cut_while_queue_files_go_leaves_no_hole() {
    for after in 0..60 {
        let world = with_idle_queue();
        let store = world.open();
        store.clean_soon();
        world.disk.inject(Fault { after, ..Fault::from_now(Operation::Any, "", ErrorKind::Other) });
        let _ = store.clean_step();
        drop(store);
        world.disk.heal();
        for seed in after * 20..after * 20 + 20 {
            let disk = world.disk.crash(&mut Random::new(seed));
            let store = World { disk, clock: world.clock.clone(), options: small_options() }.open();
            assert_eq!(next_of_idle(&store), 100, "after {after}, seed {seed}");
        }
    }
}

#[test]
fn a_queue_file_that_cannot_be_removed_goes_before_those_behind_it() {
    let world = with_idle_queue();
    let store = world.open();
    store.clean_soon();
    let first = "consumequeue/idle/0/00000000000000000000";
    world.disk.inject(Fault { times: 1, ..Fault::from_now(Operation::Remove, first, ErrorKind::Other) });
    store.clean_step().unwrap_err();
    let files =
        || world.disk.files().into_keys().filter(|path| path.starts_with(world.path("consumequeue/idle")));
    assert_eq!(files().count(), 3);
    // Segments that expire later have the queues looked at again.
    for _ in 0..60 {
        send(&store, &letter("heavy", 0, &"x".repeat(800))).unwrap();
    }
    store.flush_step().unwrap();
    world.clock.advance(HOUR * 80);
    store.clean_soon();
    assert!(store.clean_step().unwrap() > 0);
    assert_eq!(files().count(), 1);
    store.stop().unwrap();
    drop(store);
    assert_eq!(next_of_idle(&world.open()), 100);
}

/// The message that the newest file of the queue was begun for is lost with that file, which only memory had.
#[test]
fn a_power_cut_keeps_a_file_of_a_queue_whose_newest_was_not_on_the_disk() {
    for seed in 0..200 {
        let world = World::new(small_options());
        let store = world.open();
        for i in 0..40 {
            send(&store, &letter("idle", 0, &format!("{i}"))).unwrap();
        }
        for _ in 0..60 {
            send(&store, &letter("heavy", 0, &"x".repeat(800))).unwrap();
        }
        store.flush_step().unwrap();
        store.queue_step(true).unwrap();
        world.clock.advance(HOUR * 80);
        send(&store, &letter("idle", 0, "in a new file")).unwrap();
        store.queue_step(false).unwrap();
        store.clean_soon();
        assert!(store.clean_step().unwrap() > 0);
        drop(store);
        let disk = world.disk.crash(&mut Random::new(seed));
        let store = World { disk, clock: world.clock.clone(), options: small_options() }.open();
        assert!(next_of_idle(&store) >= 40, "seed {seed}");
    }
}

/// Nothing but the files of a queue tells how far it had come once the log has let go of its messages.
#[test]
fn a_damaged_entry_of_expired_messages_has_no_number_given_again() {
    for options in [small_options(), Options { queue_segment_entries: 400, ..small_options() }] {
        let world = World::new(options.clone());
        let store = world.open();
        for i in 0..100 {
            send(&store, &letter("idle", 0, &format!("{i}"))).unwrap();
        }
        for _ in 0..60 {
            send(&store, &letter("heavy", 0, &"x".repeat(800))).unwrap();
        }
        store.stop().unwrap();
        drop(store);
        world.clock.advance(HOUR * 80);
        let store = world.open();
        store.clean_soon();
        assert!(store.clean_step().unwrap() > 0);
        store.stop().unwrap();
        drop(store);
        let files = world.disk.files().into_keys();
        let name = files.into_iter().find(|path| path.starts_with(world.path("consumequeue/idle"))).unwrap();
        let first = name.file_name().unwrap().to_string_lossy().parse::<usize>().unwrap() / 20;
        for (place, at) in (first..100).flat_map(|place| [0, 3, 5, 6, 7, 8, 11].map(|at| (place, at))) {
            let disk = world.disk.copy();
            disk.damage(&name, |bytes| bytes[(place - first) * 20 + at] ^= 0x41);
            let clock = Arc::new(world.clock.clone());
            let open = || open_on(Arc::new(disk.clone()), clock.clone(), options.clone()).unwrap();
            let store = open();
            assert_eq!(next_of_idle(&store), 100, "entry {place}, byte {at}");
            store.stop().unwrap();
            drop(store);
            let store = open();
            assert_eq!(next_of_idle(&store), 101, "entry {place}, byte {at}");
            assert_eq!(bodies(&store, "idle", 0).len(), 2, "entry {place}, byte {at}");
        }
    }
}

/// Such as what a network file system leaves of a file that was removed while somebody had it open.
#[test]
fn a_stray_file_among_those_of_an_idle_queue_makes_no_start_read_the_log() {
    let world = with_idle_queue();
    let store = world.open();
    store.clean_soon();
    assert!(store.clean_step().unwrap() > 0);
    store.stop().unwrap();
    drop(store);
    let reads_of_log = || {
        (0..100).find(|after| {
            let disk = world.disk.copy();
            let fault = Fault::from_now(Operation::Read, "/commitlog/", ErrorKind::Other);
            disk.inject(Fault { after: *after, ..fault });
            open_on(Arc::new(disk), Arc::new(world.clock.clone()), small_options()).is_ok()
        })
    };
    let without = reads_of_log();
    assert!(without.is_some());
    Disk::create(&world.disk, &world.path("consumequeue/idle/0/.nfs0000000000000001"), 20).unwrap();
    assert_eq!(reads_of_log(), without);
    assert_eq!(next_of_idle(&world.open()), 100);
}

/// Of two names that went, a power cut may bring back the first alone.
#[test]
fn a_power_cut_while_segments_go_leaves_no_hole() {
    for after in 0..12 {
        let world = World::new(small_options());
        let store = world.open();
        fill(&store);
        world.clock.advance(HOUR * 80);
        store.clean_soon();
        world.disk.inject(Fault { after, ..Fault::from_now(Operation::Any, "", ErrorKind::Other) });
        let _ = store.clean_step();
        let end = store.log_end();
        drop(store);
        world.disk.heal();
        for seed in 0..20 {
            let disk = world.disk.crash(&mut Random::new(seed));
            let store = World { disk, clock: world.clock.clone(), options: small_options() }.open();
            assert_eq!(store.log_end(), end, "after {after}, seed {seed}");
        }
    }
}

/// Names of the segments' files, in order.
fn segment_names(world: &World) -> Vec<String> {
    let files = world.disk.files().into_keys().filter(|path| path.starts_with(world.path("commitlog")));
    files.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// A full disk may refuse to remove a file for want of room for its own notes. A hole in the log would keep the next
/// start from opening the store.
#[test]
fn while_the_file_of_a_segment_cannot_be_removed_those_behind_it_stay() {
    for operation in [Operation::Remove, Operation::SyncDir] {
        let world = World::new(small_options());
        let store = world.open();
        fill(&store);
        let all = segment_names(&world);
        assert!(all.len() > 4);
        world.disk.set_space(Space { total: 100, free: 12, available: 12 });
        let path_part =
            if operation == Operation::Remove { "commitlog/00000000000000000000" } else { "commitlog" };
        world.disk.inject(Fault::from_now(operation, path_part, ErrorKind::StorageFull));
        for _ in 0..3 {
            store.clean_step().unwrap_err();
            let left = segment_names(&world);
            assert!(
                all.ends_with(&left) && left.len() + 1 >= all.len(),
                "{operation:?}: {left:?} of {all:?}"
            );
        }
        let end = store.log_end();
        for seed in 0..20 {
            let disk = world.disk.crash(&mut Random::new(seed));
            let after = World { disk, clock: world.clock.clone(), options: small_options() }.open();
            assert_eq!(after.log_end(), end, "{operation:?}, seed {seed}");
        }
        world.disk.heal();
        assert_eq!(store.clean_step().unwrap() as usize, all.len() - 1, "{operation:?}");
        assert_eq!(segment_names(&world), all[all.len() - 1..]);
        assert_eq!(store.clean_step().unwrap(), 0);
        let kept = bodies(&store, "t", 0);
        drop(store);
        assert_eq!(bodies(&world.open(), "t", 0), kept);
    }
}

#[test]
fn a_queue_that_cannot_be_cleaned_keeps_no_other_from_it() {
    let world = World::new(small_options());
    let store = world.open();
    for number in 0..600 {
        let topic = if number % 2 == 0 { "bad" } else { "good" };
        send(&store, &letter(topic, 0, &"x".repeat(100))).unwrap();
    }
    store.flush_step().unwrap();
    store.queue_step(true).unwrap();
    let is_there = |topic: &str| {
        let first = world.path(&format!("consumequeue/{topic}/0/{:020}", 0));
        world.disk.files().contains_key(&first)
    };
    assert!(is_there("bad") && is_there("good"));
    world.disk.set_space(Space { total: 100, free: 12, available: 12 });
    world.disk.inject(Fault::from_now(Operation::Remove, "consumequeue/bad", ErrorKind::Other));
    store.clean_step().unwrap_err();
    assert!(store.log_min() > 0);
    assert_eq!((is_there("bad"), is_there("good")), (true, false));
}

/// Then no segment behind it is old enough to bring it up again.
#[test]
fn the_file_of_the_only_old_segment_goes_when_it_can_be_removed_though_nothing_else_goes() {
    let world = World::new(small_options());
    let store = world.open();
    while store.log_end() <= store.options().segment_bytes {
        send(&store, &letter("t", 0, &"x".repeat(800))).unwrap();
    }
    let first = segment_names(&world)[0].clone();
    store.flush_step().unwrap();
    world.disk.set_space(Space { total: 100, free: 12, available: 12 });
    world.disk.inject(Fault::from_now(Operation::Remove, "commitlog", ErrorKind::StorageFull));
    store.clean_step().unwrap_err();
    store.clean_step().unwrap_err();
    assert!(segment_names(&world).contains(&first));
    world.disk.heal();
    assert_eq!(store.clean_step().unwrap(), 1);
    assert!(!segment_names(&world).contains(&first));
    assert_eq!(store.clean_step().unwrap(), 0);
}

/// All that is left of the log is a segment whose records are lost: the log goes on there and does not begin anew.
#[test]
fn the_last_segment_stays_when_everything_before_it_expired_and_everything_in_it_was_lost() {
    let mut seen = 0;
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let mut world = World::new(small_options());
        let store = world.open();
        let segment = store.options().segment_bytes;
        while store.log_end() < segment {
            store.flush_step().unwrap();
            send(&store, &letter("t", 0, &"x".repeat(800))).unwrap();
        }
        drop(store);
        // The segment's end survives and the record behind it does not, in some of the cases.
        world.disk = world.disk.crash(&mut random);
        let store = world.open();
        if store.log_end() != segment {
            continue;
        }
        let next = send(&store, &letter("t", 0, "lost")).unwrap().queue_offset;
        world.clock.advance(HOUR * 80);
        store.clean_soon();
        let flushed = store.flushed_until();
        assert_eq!(store.clean_step().unwrap(), u32::from(flushed == segment));
        drop(store);
        world.disk = world.disk.crash(&mut random);
        drop(world.open());
        let store = world.open();
        assert!(store.log_min() + segment >= store.log_end());
        seen += u32::from(store.log_end() == segment && store.log_min() == segment);
        assert!(send(&store, &letter("t", 0, "after")).unwrap().queue_offset >= next);
    }
    assert!(seen > 0, "no seed came to the situation");
}

/// A log that has just got its second segment and then rests: the first must go all the same.
#[test]
fn the_cleaner_watches_from_the_second_segment_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        root: dir.path().to_path_buf(),
        commit_log_dir: dir.path().join("commitlog"),
        file_reserved: Duration::ZERO,
        delete_when: (0..24).collect(),
        clean_interval: Duration::from_millis(20),
        ..small_options()
    };
    let store = open_on(Arc::new(RealDisk), Arc::new(RealClock::default()), options).unwrap();
    store.start_workers();
    let pause = || std::thread::park_timeout(Duration::from_millis(50));
    while store.log_end() < store.options().segment_bytes {
        send(&store, &letter("t", 0, &"x".repeat(800))).unwrap();
        pause();
    }
    for _ in 0..200 {
        if store.log_min() > 0 {
            return store.stop().unwrap();
        }
        pause();
    }
    panic!("the first segment is still there");
}
