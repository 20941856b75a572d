//! One file of the commit log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use crate::disk::File;
use crate::map::Map;

/// A segment: `size` bytes of the log from `base` on.
pub(crate) struct Segment {
    pub base: u64,
    pub size: u64,
    pub path: PathBuf,
    pub file: Arc<dyn File>,
    /// Up to here, at least, its blocks were written once: with records or with zeros.
    pub zeroed: AtomicU64,
    map: OnceLock<Option<Map>>,
}

impl Segment {
    pub fn new(base: u64, size: u64, path: PathBuf, file: Arc<dyn File>) -> Segment {
        Segment { base, size, path, file, zeroed: AtomicU64::new(base), map: OnceLock::new() }
    }

    /// First offset behind this segment.
    pub fn until(&self) -> u64 {
        self.base + self.size
    }

    fn map(&self) -> Option<&Map> {
        let map = self.map.get_or_init(|| {
            self.file.map().unwrap_or_else(|error| {
                tracing::warn!(segment = %self.path.display(), %error, "cannot map a segment; reading it instead");
                None
            })
        });
        map.as_ref()
    }

    /// Whether its bytes can be had without copying.
    pub fn is_mapped(&self) -> bool {
        self.map().is_some()
    }

    /// Bytes at a physical offset without copying, `None` if this disk has no maps or they are not all here.
    pub fn mapped(&self, at: u64, len: usize) -> Option<&[u8]> {
        self.map()?.bytes(at.checked_sub(self.base)?, len)
    }

    /// Whether the bytes from one physical offset to another are in memory now: they can be had through the map
    /// without waiting for the disk.
    pub fn is_in_memory(&self, from: u64, until: u64) -> bool {
        let Some(at) = from.checked_sub(self.base) else { return false };
        self.map().is_some_and(|map| map.is_in_memory(at, until.saturating_sub(from) as usize))
    }

    /// Has the disk read from one physical offset to another, as far as they are in this segment.
    pub fn read_ahead(&self, from: u64, until: u64) {
        let from = from.max(self.base);
        let until = until.min(self.until());
        if from < until {
            self.file.read_ahead(from - self.base, until - self.base);
        }
    }

    /// Bytes at a physical offset, read into `scratch` if they are not mapped.
    pub fn bytes<'a>(&'a self, at: u64, len: usize, scratch: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        if at < self.base || at + len as u64 > self.until() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(bytes) = self.mapped(at, len) {
            return Ok(bytes);
        }
        scratch.resize(len, 0);
        self.file.read_at(scratch, at - self.base)?;
        Ok(scratch)
    }
}

/// The twenty-digit name of the segment that begins at `base`.
pub(crate) fn path_of(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}"))
}

/// The base a segment's name stands for.
pub(crate) fn base_of(name: &str) -> Option<u64> {
    if name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()) { name.parse().ok() } else { None }
}
