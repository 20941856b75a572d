//! Archives of stores that the real Java broker wrote.
#![allow(clippy::disallowed_methods, reason = "fixtures are real files on a real disk")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// Unpacks a gzipped ustar archive of files and directories into `to`.
pub fn unpack(path: &Path, to: &Path) {
    let mut archive = Vec::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut archive).unwrap();
    let mut rest = &archive[..];
    while rest[0] != 0 {
        let (head, body) = rest.split_at(512);
        let text = |at: usize, len: usize| {
            std::str::from_utf8(&head[at..at + len]).unwrap().trim_end_matches(['\0', ' ']).to_owned()
        };
        let len = usize::from_str_radix(&text(124, 12), 8).unwrap();
        let path: PathBuf = to.join(text(0, 100));
        match head[156] {
            b'5' => fs::create_dir_all(&path).unwrap(),
            b'0' => fs::write(&path, &body[..len]).unwrap(),
            other => panic!("{} is of type {other}", path.display()),
        }
        rest = &body[len.next_multiple_of(512)..];
    }
}
