//! One file of the commit log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

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
    /// Held shared by each sync that is under way.
    syncs: RwLock<()>,
    sync_failed: AtomicBool,
}

impl Segment {
    pub fn new(base: u64, size: u64, path: PathBuf, file: Arc<dyn File>) -> Segment {
        Segment {
            base,
            size,
            path,
            file,
            zeroed: AtomicU64::new(base),
            map: OnceLock::new(),
            syncs: RwLock::new(()),
            sync_failed: AtomicBool::new(false),
        }
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

    /// Bytes at a physical offset without copying, `None` if this disk has no maps or they are not all here. Who
    /// touches those that are not in memory waits for the disk, and gets a signal that ends the process if it cannot
    /// give them.
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

    /// Makes durable what was written before. Whoever else syncs the segment at the same time, all succeed or all fail.
    ///
    /// Linux tells each opening of a file once that writing it back has failed: of several threads in `fdatasync` on
    /// one descriptor, or one behind the other, the first to ask is told of the pages of all, and the success of the
    /// others proves nothing. So a success counts when those who were under way have ended, too, and none has ever
    /// failed. A descriptor for each thread would have it told to each without waiting, but not what is told to one
    /// caller alone: that the disk could not empty its cache, or any error on file systems without such a memory.
    ///
    /// The wait costs little. A flush that begins beside the zeros ahead waits for their pages and for the file
    /// system's journal in the kernel anyway; now it is the one before that waits, and the next one finds them done.
    pub fn sync_data(&self) -> io::Result<()> {
        let under_way = self.syncs.read();
        let synced = self.file.sync_data();
        if synced.is_err() {
            self.sync_failed.store(true, Ordering::Release);
        }
        drop(under_way);
        synced?;
        // Nobody begins while somebody waits here, so this ends with the last of those under way.
        drop(self.syncs.write());
        if self.sync_failed.load(Ordering::Acquire) {
            return Err(io::Error::other("another sync of the same file has failed"));
        }
        Ok(())
    }

    /// Bytes at a physical offset, read into `scratch` if they are not in memory: an error of the disk is then one of
    /// this call. To ask costs a microsecond, what reading a short record would; but a record at the end of the log,
    /// read, may have the system read on behind it (see `Walk::to_end`).
    pub fn bytes<'a>(&'a self, at: u64, len: usize, scratch: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        if at < self.base || at + len as u64 > self.until() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.is_in_memory(at, at + len as u64)
            && let Some(bytes) = self.mapped(at, len)
        {
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

/// Offsets are below this. Java's broker counts them in 63 bits; half of these leave room for every sum.
const OFFSET_MAX: u64 = 1 << 62;

/// The base a segment's name stands for; `None` for what no segment is named.
pub(crate) fn base_of(name: &str) -> Option<u64> {
    let base = is_name(name).then(|| name.parse().ok())?;
    base.filter(|base| *base <= OFFSET_MAX)
}

/// Whether a file is called as a segment is, be it of an offset that there cannot be.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())
}
