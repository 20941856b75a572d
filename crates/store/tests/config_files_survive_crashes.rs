//! The broker's state files (store.md §2.1): after a crash at any operation one of the two versions is read.

mod support;

use std::path::Path;

use sim::{Fault, Operation, Random};
use store::config_file;
use support::{World, small_options};

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
