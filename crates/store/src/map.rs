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
        Ok(Map(map))
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
