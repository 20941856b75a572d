//! Read-only maps of files: the only unsafe code of the store.
//!
//! A map hands out bytes whether or not they are in memory; touching those that are not stops the thread until the
//! disk has read them. [`Map::is_in_memory`] tells before.
//!
//! Invariants that make [`Map::bytes`] sound in practice:
//! - segment files are written by this process only (the lock file sees to it) and never cut while mapped;
//! - callers ask only for bytes below the published end of the log, which no later write touches;
//! - recovery, which does change bytes, runs before any reader exists.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::{Advice, MmapOptions};

/// Pages that the system is asked about at once.
const PAGES_ASKED: usize = 256;

/// A file's bytes, mapped read-only.
pub struct Map(memmap2::Mmap);

impl Map {
    /// Maps the whole of `file` at its present length.
    pub fn new(file: &File) -> io::Result<Map> {
        // SAFETY: the file is not cut while the map lives and mapped bytes that are handed out do not change,
        // by the invariants at the head of this module.
        let map = unsafe { memmap2::Mmap::map(file)? };
        expect_jumps(&map);
        Ok(Map(map))
    }

    /// Maps `len` bytes of `file` from `from` on, all of which are brought into memory here and now: what the disk
    /// cannot give is an error of this call.
    pub fn part(file: &File, from: u64, len: usize) -> io::Result<Map> {
        // SAFETY: as for the whole file.
        let map = unsafe { MmapOptions::new().offset(from).len(len).map(file)? };
        expect_jumps(&map);
        map.advise(Advice::PopulateRead)?;
        Ok(Map(map))
    }

    /// All bytes.
    pub fn all(&self) -> &[u8] {
        &self.0
    }

    /// `len` bytes from `at`, `None` beyond the end of the file.
    pub fn bytes(&self, at: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(at).ok()?;
        self.0.get(at..at.checked_add(len)?)
    }

    /// Whether `len` bytes from `at` are in memory at this moment. False where the system does not tell.
    pub fn is_in_memory(&self, at: u64, len: usize) -> bool {
        let page = rustix::param::page_size();
        let Some(bytes) = self.bytes(at, len) else { return false };
        // Maps begin at a page, and the system is asked in whole pages.
        let from = bytes.as_ptr().addr() - self.0.as_ptr().addr();
        let (first, until) = (from / page, (from + len).div_ceil(page));
        let mut residency = [0; PAGES_ASKED];
        (first..until).step_by(PAGES_ASKED).all(|at| {
            let asked = &mut residency[..PAGES_ASKED.min(until - at)];
            let address = self.0.as_ptr().wrapping_add(at * page).cast_mut().cast();
            // SAFETY: the pages lie within the map, and there is one byte of `asked` for each of them; nothing but
            // those bytes is written.
            let answer = unsafe { libc::mincore(address, asked.len() * page, asked.as_mut_ptr()) };
            answer == 0 && asked.iter().all(|state| state & 1 == 1)
        })
    }
}

/// Has the system read nothing in advance where a map is touched. What maps are for is in memory, and the segment that
/// is written would get pages behind the end of the log (see `CommitLog::expect_streams`).
fn expect_jumps(map: &memmap2::Mmap) {
    if let Err(error) = map.advise(Advice::Random) {
        tracing::debug!(%error, "no advice about a map");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_part_begins_and_ends_anywhere_in_its_file() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..20_000_u32).map(|at| at as u8).collect();
        file.write_all(&bytes).unwrap();
        for (from, len) in [(0, 20_000), (1, 8), (4095, 2), (4096, 4096), (8191, 11_809)] {
            let map = Map::part(&file, from, len).unwrap();
            assert_eq!(map.all(), &bytes[from as usize..][..len]);
        }
    }

    #[test]
    fn what_is_behind_the_end_of_the_file_is_an_error_and_no_signal() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 5000]).unwrap();
        assert!(Map::part(&file, 8192, 4096).is_err());
    }
}
