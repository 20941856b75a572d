//! The broker's state files (store.md §2.1): after a crash at any operation one of the two versions is read.

use std::path::Path;

use crate::support::{World, small_options};
use sim::{Fault, Operation, Random};
use store::{Disk, RealDisk, config_file};

fn load(disk: &sim::SimDisk) -> Option<String> {
    let decode = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?;
        (text.starts_with('{') && text.ends_with('}')).then(|| text.to_owned())
    };
    config_file::load(disk, Path::new("/config/topics.json"), decode).unwrap()
}

#[test]
fn the_old_or_the_new_content_is_there() {
    let path = Path::new("/config/topics.json");
    let version = |n: usize| format!("{{{}}}", n.to_string().repeat(600));
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut disk = World::new(small_options()).disk;
        let mut saved_last = 0;
        for n in 1..8 {
            let after = random.below(8);
            disk.inject(Fault { after, ..Fault::from_now(Operation::Any, "", std::io::ErrorKind::Other) });
            let saved = config_file::save(&disk, path, version(n).as_bytes());
            disk.heal();
            let found = if random.chance(50) {
                disk = disk.crash(&mut random);
                load(&disk)
            } else {
                load(&disk)
            };
            if saved.is_ok() {
                saved_last = n;
            }
            // The last one saved, or one that was being saved since.
            let one_of =
                (saved_last..=n).map(|n| (n > 0).then(|| version(n))).any(|version| version == found);
            assert!(one_of, "seed {seed}: saved {saved_last}, found {found:?}");
        }
    }
}

#[test]
fn what_was_edited_by_hand_is_taken_and_what_has_changed_by_itself_is_not() {
    let world = World::new(small_options());
    let (disk, path) = (&world.disk, Path::new("/config/topics.json"));
    for text in [&b"{\"perm\":2}"[..], b"{\"perm\":4}"] {
        config_file::save(disk, path, text).unwrap();
    }
    let sealed = String::from_utf8(disk.files()[path].clone()).unwrap();
    let changed = sealed.replace("\"perm\":4", "\"perm\":6");
    assert_ne!(sealed, changed);
    // As `sed -i` does it, a moment later: the wrong CRC stays in it.
    world.clock.advance(std::time::Duration::from_millis(1300));
    let beside = Path::new("/config/sedAbCd");
    disk.create(beside, 0).unwrap().write_at(changed.as_bytes(), 0).unwrap();
    disk.rename(beside, path).unwrap();
    assert_eq!(load(disk).as_deref(), Some("{\"perm\":6}"));

    config_file::save(disk, path, b"{\"perm\":4}").unwrap();
    disk.damage(path, |bytes| bytes[8] ^= 2);
    assert_eq!(load(disk).as_deref(), Some("{\"perm\":6}"), "the edited one is the backup");
}

#[test]
fn a_real_file_has_the_time_that_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("topics.json");
    config_file::save(&RealDisk, &path, b"{\"perm\":2}").unwrap();
    let mut text = vec![0; 52];
    RealDisk.open(&path).unwrap().read_at(&mut text, 0).unwrap();
    let text = String::from_utf8(text).unwrap();
    let seconds = RealDisk.stat(&path).unwrap().unwrap().modified_millis / 1000;
    assert!(text.starts_with(&format!("{{\"perm\":2,\"savedAt\":\"{seconds}\",\"crc32\":\"")), "{text}");
    assert_eq!(RealDisk.stat(&path).unwrap().unwrap().modified_millis, seconds * 1000);
}

#[test]
fn a_damaged_file_is_kept_aside_and_two_damaged_files_stop_the_start() {
    let disk = World::new(small_options()).disk;
    let path = Path::new("/config/topics.json");
    config_file::save(&disk, path, b"{1}").unwrap();
    config_file::save(&disk, path, b"{2}").unwrap();
    let overwrite = |path: &str, content: &[u8]| {
        let file = disk.create(Path::new(path), 0).unwrap();
        file.write_at(content, 0).unwrap();
    };
    overwrite("/config/topics.json", b"{2");
    assert_eq!(load(&disk).as_deref(), Some("{1}"));
    assert_eq!(
        disk.files().get(Path::new("/config/topics.json.broken")).map(Vec::as_slice),
        Some(&b"{2"[..])
    );

    overwrite("/config/topics.json", b"?");
    overwrite("/config/topics.json.bak", b"?");
    let text = |bytes: &[u8]| bytes.starts_with(b"{").then_some(());
    let error = config_file::load(&disk, path, text).unwrap_err();
    assert!(error.to_string().contains("restore one of them"), "{error}");
    assert_eq!(disk.files().get(path).map(Vec::as_slice), Some(&b"?"[..]), "nothing is touched");
}
