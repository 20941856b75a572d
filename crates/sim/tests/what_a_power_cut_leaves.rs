//! The simulated disk itself: a test that relies on it is worth as much as what it does at a power cut.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use sim::{Random, SimClock, SimDisk};
use store::{Disk, File};

const SEEDS: u64 = 400;

fn disk() -> SimDisk {
    let disk = SimDisk::new(SimClock::default());
    disk.create_dir_all(Path::new("/d")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// A file whose name, length and zeros are durable.
fn durable_file(disk: &SimDisk, path: &str, len: u64) -> Arc<dyn File> {
    let file = disk.create(Path::new(path), len).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file
}

fn content(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    disk.files().get(Path::new(path)).cloned()
}

/// What a file may hold after a power cut, over many of them.
fn outcomes(disk: &SimDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..SEEDS).map(|seed| content(&disk.crash(&mut Random::new(seed)), path)).collect()
}

/// The names that may be there after a power cut.
fn names(disk: &SimDisk) -> BTreeSet<Vec<String>> {
    let names = |disk: SimDisk| -> Vec<String> {
        disk.files().keys().map(|path| path.to_string_lossy().into_owned()).collect()
    };
    (0..SEEDS).map(|seed| names(disk.crash(&mut Random::new(seed)))).collect()
}

fn set(names: &[&[&str]]) -> BTreeSet<Vec<String>> {
    names.iter().map(|names| names.iter().map(|name| (*name).to_owned()).collect()).collect()
}

#[test]
fn what_was_synced_is_there_and_the_living_disk_goes_on() {
    let disk = disk();
    let file = durable_file(&disk, "/d/f", 2048);
    file.write_at(&[1; 700], 600).unwrap();
    file.sync_data().unwrap();
    let mut expected = vec![0; 2048];
    expected[600..1300].fill(1);
    assert_eq!(outcomes(&disk, "/d/f"), BTreeSet::from([Some(expected.clone())]));
    file.write_at(&[2], 0).unwrap();
    disk.crash(&mut Random::new(1));
    expected[0] = 2;
    assert_eq!(content(&disk, "/d/f"), Some(expected));
}

#[test]
fn any_subset_of_unsynced_sectors_survives_whatever_their_order() {
    let disk = disk();
    let file = durable_file(&disk, "/d/f", 3 * 512);
    // One write over three sectors, so that it can be torn as well.
    file.write_at(&[7; 3 * 512], 0).unwrap();
    let subsets: BTreeSet<[u8; 3]> = outcomes(&disk, "/d/f")
        .into_iter()
        .map(|bytes| {
            let bytes = bytes.unwrap();
            assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
            [bytes[0], bytes[512], bytes[1024]]
        })
        .collect();
    assert_eq!(subsets.len(), 8, "{subsets:?}");
}

#[test]
fn a_sector_written_again_may_be_there_in_an_earlier_state() {
    let disk = disk();
    let file = durable_file(&disk, "/d/f", 512);
    for byte in 1..=3 {
        file.write_at(&[byte], 0).unwrap();
    }
    let states: BTreeSet<u8> = outcomes(&disk, "/d/f").into_iter().map(|bytes| bytes.unwrap()[0]).collect();
    assert_eq!(states, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn a_cut_file_may_be_long_again_and_never_shows_what_was_cut_off_twice() {
    let disk = disk();
    let file = durable_file(&disk, "/d/f", 0);
    file.write_at(&[1; 1024], 0).unwrap();
    file.sync_data().unwrap();
    file.set_len(100).unwrap();
    let lengths: BTreeSet<usize> =
        outcomes(&disk, "/d/f").into_iter().map(|bytes| bytes.unwrap().len()).collect();
    assert_eq!(lengths, BTreeSet::from([100, 1024]), "with and without the cut");
    file.set_len(1024).unwrap();
    file.sync_data().unwrap();
    let mut expected = vec![0; 1024];
    expected[..100].fill(1);
    assert_eq!(outcomes(&disk, "/d/f"), BTreeSet::from([Some(expected)]), "zeros, once that was synced");
}

#[test]
fn a_longer_file_may_have_its_length_and_not_its_bytes() {
    let disk = disk();
    let file = durable_file(&disk, "/d/f", 0);
    file.write_at(&[1; 512], 0).unwrap();
    let found = outcomes(&disk, "/d/f");
    assert_eq!(found, BTreeSet::from([Some(vec![]), Some(vec![0; 512]), Some(vec![1; 512])]));
}

#[test]
fn a_name_needs_the_sync_of_its_directory_and_content_its_own() {
    let disk = disk();
    let file = disk.create(Path::new("/d/f"), 0).unwrap();
    file.write_at(&[1], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, "/d/f"), BTreeSet::from([None, Some(vec![1])]));
    disk.sync_dir(Path::new("/")).unwrap();
    assert!(outcomes(&disk, "/d/f").contains(&None), "another directory's sync does not help");
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(outcomes(&disk, "/d/f"), BTreeSet::from([Some(vec![1])]));
}

#[test]
fn a_file_in_a_directory_that_is_lost_is_lost() {
    let disk = disk();
    disk.create_dir_all(Path::new("/d/sub")).unwrap();
    disk.create(Path::new("/d/sub/f"), 0).unwrap();
    disk.sync_dir(Path::new("/d/sub")).unwrap();
    assert!(outcomes(&disk, "/d/sub/f").contains(&None));
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(outcomes(&disk, "/d/sub/f"), BTreeSet::from([Some(vec![])]));
}

#[test]
fn changes_of_one_name_stay_in_order_and_those_of_different_names_do_not() {
    let disk = disk();
    for name in ["/d/a", "/d/b"] {
        disk.create(Path::new(name), 0).unwrap();
    }
    assert_eq!(names(&disk), set(&[&[], &["/d/a"], &["/d/b"], &["/d/a", "/d/b"]]));
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.remove(Path::new("/d/a")).unwrap();
    disk.create(Path::new("/d/a"), 5).unwrap();
    let lengths: BTreeSet<_> =
        outcomes(&disk, "/d/a").into_iter().map(|bytes| bytes.map(|bytes| bytes.len())).collect();
    assert_eq!(lengths, BTreeSet::from([Some(0), None, Some(5)]), "the old file, none, the new one");
}

#[test]
fn a_rename_replaces_at_once() {
    let disk = disk();
    for (name, byte) in [("/d/old", 1), ("/d/new", 2)] {
        let file = disk.create(Path::new(name), 0).unwrap();
        file.write_at(&[byte], 0).unwrap();
        file.sync_data().unwrap();
    }
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.rename(Path::new("/d/new"), Path::new("/d/old")).unwrap();
    assert_eq!(outcomes(&disk, "/d/old"), BTreeSet::from([Some(vec![1]), Some(vec![2])]));
    assert_eq!(names(&disk), set(&[&["/d/old"], &["/d/new", "/d/old"]]));
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(names(&disk), set(&[&["/d/old"]]));
}

#[test]
fn a_directory_that_is_made_again_is_empty() {
    let disk = disk();
    disk.create_dir_all(Path::new("/d/sub")).unwrap();
    disk.create(Path::new("/d/sub/f"), 0).unwrap();
    disk.sync_tree(Path::new("/d")).unwrap();
    disk.create(Path::new("/d/sub/g"), 0).unwrap();
    disk.remove(Path::new("/d/sub/f")).unwrap();
    disk.remove(Path::new("/d/sub/g")).unwrap();
    disk.remove_dir(Path::new("/d/sub")).unwrap();
    assert_eq!(outcomes(&disk, "/d/sub/f").len(), 2, "until that is synced the old one may be there");
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.create_dir_all(Path::new("/d/sub")).unwrap();
    assert_eq!(names(&disk), set(&[&[]]));
}

#[test]
fn a_sync_of_the_tree_makes_everything_durable() {
    let disk = disk();
    disk.create_dir_all(Path::new("/d/sub")).unwrap();
    let file = disk.create(Path::new("/d/sub/f"), 0).unwrap();
    file.write_at(&[1], 0).unwrap();
    assert_eq!(disk.durable_files().get(Path::new("/d/sub/f")), None);
    disk.sync_tree(Path::new("/d")).unwrap();
    assert_eq!(outcomes(&disk, "/d/sub/f"), BTreeSet::from([Some(vec![1])]));
    assert_eq!(disk.durable_files(), disk.files());
}

#[test]
fn the_same_seed_makes_the_same_disk_and_a_power_cut_is_another_run_of_the_machine() {
    let disk = disk();
    let file = durable_file(&disk, "/d/f", 4096);
    file.write_at(&[3; 4096], 0).unwrap();
    for seed in 0..50 {
        let (one, other) = (disk.crash(&mut Random::new(seed)), disk.crash(&mut Random::new(seed)));
        assert_eq!(one.files(), other.files());
        assert_eq!(one.boot_id(), other.boot_id());
        assert_ne!(one.boot_id(), disk.boot_id());
        assert_eq!(one.files(), one.durable_files(), "what is found after a power cut is on the medium");
    }
}
