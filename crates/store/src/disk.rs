//! The disk as the store sees it: a handful of operations that a simulated disk can fail, tear and forget.
//!
//! Everything the store reads or writes goes through [`Disk`] and [`File`]; [`RealDisk`] is the operating system's, and
//! [`ReadOnlyDisk`] the same for who only looks.
#![allow(clippy::disallowed_methods, reason = "this is the one door to the file system")]

use std::fs;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use rustix::io::{Errno, ReadWriteFlags};

use crate::map::Map;

/// Directory operations.
pub trait Disk: Send + Sync {
    /// Creates `path` with `size` zero bytes, not reserving space for them; what was there before is gone.
    fn create(&self, path: &Path, size: u64) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// What is in a directory, sorted by name; nothing if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Atomically gives `from` the name `to`, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; it is no error if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Creates a directory and those above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes everything below `dir` durable, files and directories, in one go.
    fn sync_tree(&self, dir: &Path) -> io::Result<()>;
    /// How full the file system of `path` is.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Length and time of a file, `None` if there is none.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;
    /// Locks a file so that no other broker, ours or Java's, uses its directory (store.md §7).
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
    /// Changes with every start of the machine: what was written but not synced survives only within one.
    fn boot_id(&self) -> Option<[u8; 16]>;
}

/// One open file.
pub trait File: Send + Sync {
    /// Fills `buffer` from `offset`; an end of file before that is an error.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Fills `buffer` from `offset` if all of it is in memory, and otherwise says false: it never waits for the disk,
    /// but may have it begin. A disk that cannot tell the difference reads.
    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        self.read_at(buffer, offset).map(|()| true)
    }
    /// Begins to bring a range into memory, without waiting until it is there. A hint: it cannot fail.
    fn read_ahead(&self, _from: u64, _until: u64) {}
    /// Says whether whoever reads goes on where a read ended, so that the system may read in advance. Advice only.
    fn expect_streams(&self, _streams: bool) {}
    /// Writes all of `bytes` at `offset`. After an error any part of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reserves space for a range so that writing there cannot run out of it. File systems that cannot do this
    /// succeed without effect.
    fn allocate(&self, from: u64, until: u64) -> io::Result<()>;
    /// Makes a range read as zeros, giving its space back where the file system can.
    fn zero(&self, from: u64, until: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Sets the time of the last change, in whole seconds of Unix time, until the next one. A disk that keeps no times
    /// does nothing.
    fn set_modified(&self, _seconds: i64) -> io::Result<()> {
        Ok(())
    }
    /// Makes what was written durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Current length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether there is nothing in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// A read-only map of the whole file, `None` where there are no maps.
    fn map(&self) -> io::Result<Option<Map>>;
    /// A read-only map of `len` bytes from `from` on, which are in memory when it is there; `None` where there are no
    /// such maps.
    fn map_part(&self, _from: u64, _len: usize) -> io::Result<Option<Map>> {
        Ok(None)
    }
}

/// A held lock; dropping it lets go.
pub trait Lock: Send + Sync {
    /// Whether others are kept out. Not so only where a disk that is merely read could not be locked.
    fn keeps_others_out(&self) -> bool {
        true
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name alone.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Bytes; 0 for directories.
    pub len: u64,
}

/// What [`Disk::stat`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub len: u64,
    /// Last change, Unix milliseconds.
    pub modified_millis: i64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// In all.
    pub total: u64,
    /// Unused, including what is kept for the administrator.
    pub free: u64,
    /// Unused and usable by us.
    pub available: u64,
}

impl Space {
    /// Share in use, rounded up to whole percent as Java does (store.md §13).
    pub fn used_percent(&self) -> u32 {
        let used = self.total.saturating_sub(self.free);
        let whole = used.saturating_add(self.available);
        if whole == 0 { 0 } else { (u128::from(used) * 100).div_ceil(u128::from(whole)) as u32 }
    }
}

/// Whether an error means that the disk or a quota is full: the one kind that passes by itself.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error means that too many files are open in the process or on the machine.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error())
}

/// Creates a directory and those above it, durably.
///
/// A directory that exists may stem from an earlier call that failed before the sync, so its name is synced again.
pub(crate) fn create_dirs(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let mut unsure = Vec::new();
    for dir in dir.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
        unsure.push(dir);
        if disk.stat(dir)?.is_some() {
            break;
        }
    }
    disk.create_dir_all(dir)?;
    for dir in unsure {
        match dir.parent() {
            Some(parent) if parent.as_os_str().is_empty() => disk.sync_dir(Path::new("."))?,
            Some(parent) => disk.sync_dir(parent)?,
            None => {}
        }
    }
    Ok(())
}

/// Makes the entries of a directory durable, if there is one.
pub(crate) fn sync_dir_if_there(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    match disk.sync_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Reads a whole small file, `None` if there is none.
pub(crate) fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    if disk.stat(path)?.is_none() {
        return Ok(None);
    }
    let file = disk.open(path)?;
    let mut bytes = vec![0; file.len()? as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}

/// The operating system's files.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path, size: u64) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(size)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(fs::OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let names = match fs::read_dir(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for name in names {
            let name = name?;
            let is_dir = name.file_type()?.is_dir();
            let len = if is_dir { 0 } else { name.metadata()?.len() };
            entries.push(Entry { name: name.file_name().to_string_lossy().into_owned(), is_dir, len });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        // One syncfs instead of a hundred thousand fdatasyncs; it reports write errors since Linux 5.8.
        Ok(rustix::fs::syncfs(fs::File::open(dir)?)?)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let figures = rustix::fs::statvfs(path)?;
        Ok(Space {
            total: figures.f_blocks * figures.f_frsize,
            free: figures.f_bfree * figures.f_frsize,
            available: figures.f_bavail * figures.f_frsize,
        })
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Some(Stat {
            len: metadata.len(),
            modified_millis: modified.as_millis() as i64,
            is_dir: metadata.is_dir(),
        }))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        Ok(Box::new(RealLock::take(path)?))
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(id)
    }
}

/// The operating system's files for who only looks: nothing is changed, and nothing needs to be writable. Only the file
/// `lock` is written where that can be done.
#[derive(Debug, Default, Clone, Copy)]
pub struct ReadOnlyDisk;

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "these files are only looked at"))
}

impl Disk for ReadOnlyDisk {
    fn create(&self, _path: &Path, _size: u64) -> io::Result<Arc<dyn File>> {
        refused()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(fs::File::open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        refused()
    }

    fn remove_dir(&self, _dir: &Path) -> io::Result<()> {
        refused()
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_tree(&self, _dir: &Path) -> io::Result<()> {
        refused()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        RealDisk.space(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        RealDisk.stat(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        match RealLock::take(path) {
            Err(error) if is_forbidden(&error) || is_full(&error) => lock_to_read(path),
            lock => Ok(Box::new(lock?)),
        }
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        RealDisk.boot_id()
    }
}

/// Whether an error means that something may not be written, by its rights or because nothing may be written there.
fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// A lock that needs no right to write and keeps a broker out all the same; none where even that cannot be had.
fn lock_to_read(path: &Path) -> io::Result<Box<dyn Lock>> {
    match RealLock::share(path) {
        Ok(lock) => Ok(Box::new(lock)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
        Err(error) => {
            tracing::debug!("cannot lock {}: {error}", path.display());
            Ok(Box::new(NoLock))
        }
    }
}

/// Stands where a lock would be.
struct NoLock;

impl Lock for NoLock {
    fn keeps_others_out(&self) -> bool {
        false
    }
}

struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        match rustix::io::preadv2(&self.0, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
            // A short count is the part that is in memory, or the end of the file, which a plain read tells apart.
            Ok(count) => Ok(count == buffer.len()),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            // File systems that do not know the flag.
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                self.read_at(buffer, offset).map(|()| true)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn read_ahead(&self, from: u64, until: u64) {
        let Some(len) = until.checked_sub(from).and_then(NonZeroU64::new) else { return };
        if let Err(errno) = rustix::fs::fadvise(&self.0, from, Some(len), Advice::WillNeed) {
            tracing::debug!("no read-ahead: {errno}");
        }
    }

    fn expect_streams(&self, streams: bool) {
        let advice = if streams { Advice::Normal } else { Advice::Random };
        if let Err(errno) = rustix::fs::fadvise(&self.0, 0, None, advice) {
            tracing::debug!("no advice about reads: {errno}");
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn allocate(&self, from: u64, until: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::KEEP_SIZE, from, until - from) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    fn zero(&self, from: u64, until: u64) -> io::Result<()> {
        if from >= until {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if rustix::fs::fallocate(&self.0, flags, from, until - from).is_ok() {
            return Ok(());
        }
        // No holes here: overwrite, but only where something is, so that a sparse file stays sparse.
        let mut chunk = vec![0; 1 << 20];
        let mut at = from;
        while at < until {
            let len = chunk.len().min((until - at) as usize);
            self.0.read_exact_at(&mut chunk[..len], at)?;
            if chunk[..len].iter().any(|&byte| byte != 0) {
                chunk[..len].fill(0);
                self.0.write_all_at(&chunk[..len], at)?;
            }
            at += len as u64;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn set_modified(&self, seconds: i64) -> io::Result<()> {
        self.0.set_modified(UNIX_EPOCH + Duration::from_secs(seconds.max(0).cast_unsigned()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn map(&self) -> io::Result<Option<Map>> {
        Map::new(&self.0).map(Some)
    }

    fn map_part(&self, from: u64, len: usize) -> io::Result<Option<Map>> {
        match Map::part(&self.0, from, len) {
            // Linux before 5.14 does not bring maps into memory.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(None),
            map => map.map(Some),
        }
    }
}

/// Locks held by this process. A POSIX lock does not exclude its own process, and closing any descriptor of the
/// file drops it (store.md §24 T12), so a second taker must be refused before it opens the file.
static HELD: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

struct RealLock {
    /// Closed while the path is still [`HELD`]: closing it would drop the lock of who has taken it by then.
    file: fs::File,
    _held: Held,
}

/// The place of a path in [`HELD`].
struct Held(PathBuf);

impl RealLock {
    /// Alone, making the file if there is none.
    fn take(path: &Path) -> io::Result<RealLock> {
        let lock = RealLock::with(path, FlockOperation::NonBlockingLockExclusive, |path| {
            fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
        })?;
        lock.file.write_all_at(b"lock", 0)?;
        Ok(lock)
    }

    /// Together with others who only read, of a file that is there.
    fn share(path: &Path) -> io::Result<RealLock> {
        RealLock::with(path, FlockOperation::NonBlockingLockShared, |path| fs::File::open(path))
    }

    fn with(
        path: &Path,
        operation: FlockOperation,
        open: impl FnOnce(&Path) -> io::Result<fs::File>,
    ) -> io::Result<RealLock> {
        let parent = path.parent().unwrap_or(Path::new(".")).canonicalize()?;
        let path = parent.join(path.file_name().unwrap_or_default());
        let mut held = HELD.lock();
        if held.contains(&path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let file = open(&path)?;
        // The whole file, which covers the byte [0, 1) that Java locks.
        rustix::fs::fcntl_lock(&file, operation).map_err(|errno| {
            if matches!(errno, Errno::ACCESS | Errno::AGAIN) {
                io::ErrorKind::WouldBlock.into()
            } else {
                io::Error::from(errno)
            }
        })?;
        held.push(path.clone());
        Ok(RealLock { file, _held: Held(path) })
    }
}

impl Lock for RealLock {}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.lock().retain(|path| *path != self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn is_open(path: &Path) -> bool {
        let mut open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        open.any(|entry| fs::read_link(entry.path()).is_ok_and(|file| file == path))
    }

    #[test]
    fn a_lock_can_be_taken_again_when_its_file_is_closed_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("lock");
        let lock = RealDisk.lock(&path).unwrap();
        assert!(is_open(&path));
        // As long as this is locked nobody gives back a path, nor takes one.
        let held = HELD.lock();
        let giving_back = std::thread::spawn(move || drop(lock));
        let deadline = Instant::now() + PATIENCE;
        while is_open(&path) {
            assert!(Instant::now() < deadline, "it is given back while its file is open");
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(held);
        giving_back.join().unwrap();
        RealDisk.lock(&path).unwrap();
    }
}
