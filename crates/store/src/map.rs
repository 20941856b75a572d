//! Read-only maps of files: the only unsafe code of the store.
//!
//! Invariants that make [`Map::bytes`] sound in practice:
//! - segment files are written by this process only (the lock file sees to it) and never cut while mapped;
//! - callers ask only for bytes below the published end of the log, which no later write touches;
//! - recovery, which does change bytes, runs before any reader exists.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

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
}
