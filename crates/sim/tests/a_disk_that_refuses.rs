//! Failures that a test asks for: which operation, how often, how far it comes before.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;

use sim::{Fault, Operation, Random, SimClock, SimDisk};
use store::Disk;

type Act = fn(&SimDisk) -> io::Result<()>;

/// Every operation once, by the name under which it can fail.
const OPERATIONS: [(Operation, Act); 14] = [
    (Operation::Create, |disk| disk.create(Path::new("/d/new"), 1).map(drop)),
    (Operation::Write, |disk| disk.open(Path::new("/d/f"))?.write_at(b"x", 0)),
    (Operation::Write, |disk| disk.open(Path::new("/d/f"))?.zero(0, 3)),
    (Operation::Truncate, |disk| disk.open(Path::new("/d/f"))?.set_len(3)),
    (Operation::Allocate, |disk| disk.open(Path::new("/d/f"))?.allocate(0, 3)),
    (Operation::Sync, |disk| disk.open(Path::new("/d/f"))?.sync_data()),
    (Operation::Sync, |disk| disk.sync_tree(Path::new("/d"))),
    (Operation::SyncDir, |disk| disk.sync_dir(Path::new("/d"))),
    (Operation::Rename, |disk| disk.rename(Path::new("/d/f"), Path::new("/d/g"))),
    (Operation::Remove, |disk| disk.remove(Path::new("/d/f"))),
    (Operation::Remove, |disk| disk.remove_dir(Path::new("/d/empty"))),
    (Operation::CreateDir, |disk| disk.create_dir_all(Path::new("/d/new"))),
    (Operation::Read, |disk| disk.list(Path::new("/d")).map(drop)),
    (Operation::Read, |disk| disk.open(Path::new("/d/f"))?.read_at(&mut [0; 3], 0)),
];

fn disk() -> SimDisk {
    let disk = SimDisk::new(SimClock::default());
    disk.create_dir_all(Path::new("/d/empty")).unwrap();
    disk.create(Path::new("/d/f"), 0).unwrap().write_at(b"abcd", 0).unwrap();
    disk
}

#[test]
fn every_operation_can_fail_with_any_error_and_then_changes_nothing() {
    for error in [ErrorKind::Other, ErrorKind::StorageFull] {
        for (number, (on, act)) in OPERATIONS.iter().enumerate() {
            let disk = disk();
            let (files, live_dirs) = (disk.files(), disk.list(Path::new("/d")).unwrap());
            disk.inject(Fault { times: 1, ..Fault::from_now(*on, "/d", error) });
            assert_eq!(act(&disk).unwrap_err().kind(), error, "{number}: {on:?}");
            disk.heal();
            assert_eq!(disk.failures(), 1);
            assert_eq!(disk.files(), files, "{number}: {on:?}");
            assert_eq!(disk.list(Path::new("/d")).unwrap(), live_dirs, "{number}: {on:?}");
            act(&disk).unwrap_or_else(|error| panic!("{number}: {on:?} goes on failing: {error}"));
        }
    }
}

#[test]
fn any_means_all_that_change_or_sync_and_no_reading() {
    for (number, (on, act)) in OPERATIONS.iter().enumerate() {
        let disk = disk();
        let before = disk.operations();
        disk.inject(Fault::from_now(Operation::Any, "", ErrorKind::Other));
        assert_eq!(act(&disk).is_ok(), *on == Operation::Read, "{number}: {on:?}");
        assert_eq!(disk.operations() - before, u64::from(*on != Operation::Read), "{number}: {on:?}");
    }
}

#[test]
fn a_fault_waits_for_its_turn_and_ends() {
    let disk = disk();
    let file = disk.open(Path::new("/d/f")).unwrap();
    disk.inject(Fault { after: 1, times: 2, ..Fault::from_now(Operation::Write, "/f", ErrorKind::Other) });
    disk.create(Path::new("/d/other"), 0).unwrap().write_at(b"x", 0).unwrap();
    let outcomes: Vec<_> = (0..4).map(|_| file.write_at(b"x", 0).is_ok()).collect();
    assert_eq!(outcomes, [true, false, false, true]);
}

#[test]
fn a_short_write_writes_its_beginning_and_a_short_create_leaves_a_short_file() {
    let disk = disk();
    let full = Fault::from_now(Operation::Any, "", ErrorKind::StorageFull);
    disk.inject(Fault { bytes_written: 2, ..full });
    disk.open(Path::new("/d/f")).unwrap().write_at(b"WXYZ", 0).unwrap_err();
    assert!(disk.create(Path::new("/d/g"), 10).is_err());
    let files = disk.files();
    assert_eq!(files[Path::new("/d/f")], b"WXcd");
    assert_eq!(files[Path::new("/d/g")], [0, 0]);
}

#[test]
fn a_failed_sync_may_have_lost_everything_and_the_next_one_does_not_bring_it_back() {
    let disk = disk();
    let file = disk.open(Path::new("/d/f")).unwrap();
    disk.sync_tree(Path::new("/")).unwrap();
    file.write_at(b"WXYZ", 0).unwrap();
    disk.inject(Fault { times: 1, ..Fault::from_now(Operation::Sync, "", ErrorKind::Other) });
    file.sync_data().unwrap_err();
    // As on Linux: programs read it, the kernel takes it to be clean, the medium does not have it.
    file.sync_data().unwrap();
    let after = |seed| disk.crash(&mut Random::new(seed)).files()[Path::new("/d/f")].clone();
    let outcomes: BTreeSet<_> = (0..100).map(after).collect();
    assert_eq!(outcomes, BTreeSet::from([b"abcd".to_vec(), b"WXYZ".to_vec()]));
    file.write_at(b"WX", 0).unwrap();
    file.sync_data().unwrap();
    assert!((0..100).all(|seed| after(seed) == b"WXYZ"), "written again, it is synced again");
    file.write_at(b"1", 0).unwrap();
    file.sync_data().unwrap();
    assert!((0..100).all(|seed| after(seed) == b"1XYZ"));
}
