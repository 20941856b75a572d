//! Three bugs on purpose, to see that the histories would find them.
//!
//! They are planted below the store, in the disk that it is given: what a store does that answers before it flushes,
//! forgets to sync a directory, or lets its checkpoint run ahead, a disk can do behind the back of one that does not.
//! So the code that ships has no switch for them, and what the histories look at is exactly what ships.

use std::io;
use std::path::Path;
use std::sync::Arc;

use sim::SimDisk;
use sim::reader::crc32;
use store::{Disk, Entry, File, Lock, Map, Space, Stat};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Syncing the log says that it is done and has not begun.
    AnswerBeforeFlush,
    /// The directory of the log is not synced.
    ForgottenLogDirectorySync,
    /// Directories of configuration files are not synced.
    ForgottenConfigDirectorySync,
    /// The checkpoint calls durable what was only written.
    CheckpointAheadOfLog,
}

/// The disk with the bug, if there is to be one.
pub fn disk_with(bug: Option<Bug>, disk: SimDisk) -> Arc<dyn Disk> {
    match bug {
        None => Arc::new(disk),
        Some(bug) => Arc::new(Planted { disk, bug }),
    }
}

struct Planted {
    disk: SimDisk,
    bug: Bug,
}

struct PlantedFile {
    file: Arc<dyn File>,
    answers_before_flush: bool,
    runs_ahead: bool,
}

impl Planted {
    fn file(&self, path: &Path, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(PlantedFile {
            file,
            answers_before_flush: self.bug == Bug::AnswerBeforeFlush && is_in(path, "commitlog"),
            runs_ahead: self.bug == Bug::CheckpointAheadOfLog && path.ends_with("checkpoint"),
        })
    }
}

fn is_in(path: &Path, dir: &str) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with(dir))
}

impl Disk for Planted {
    fn create(&self, path: &Path, size: u64) -> io::Result<Arc<dyn File>> {
        Ok(self.file(path, self.disk.create(path, size)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(path, self.disk.open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match self.bug {
            Bug::ForgottenLogDirectorySync if dir.ends_with("commitlog") => Ok(()),
            Bug::ForgottenConfigDirectorySync if dir.ends_with("config") => Ok(()),
            _ => self.disk.sync_dir(dir),
        }
    }

    fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_tree(dir)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.disk.stat(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }

    fn boot_id(&self) -> Option<[u8; 16]> {
        self.disk.boot_id()
    }
}

impl File for PlantedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.runs_ahead && offset == 0 && bytes.len() == 140 {
            return self.file.write_at(&run_ahead(bytes), 0);
        }
        self.file.write_at(bytes, offset)
    }

    fn allocate(&self, from: u64, until: u64) -> io::Result<()> {
        self.file.allocate(from, until)
    }

    fn zero(&self, from: u64, until: u64) -> io::Result<()> {
        self.file.zero(from, until)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.answers_before_flush { Ok(()) } else { self.file.sync_data() }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn map(&self) -> io::Result<Option<Map>> {
        self.file.map()
    }
}

/// The checkpoint of `docs/formats.md` with `written` in the place of `flushed` and `durable`, and a CRC that fits.
fn run_ahead(bytes: &[u8]) -> Vec<u8> {
    let mut ahead = bytes.to_vec();
    ahead.copy_within(96..104, 88);
    ahead.copy_within(96..112, 112);
    let crc = crc32(&ahead[..136]);
    ahead[136..].copy_from_slice(&crc.to_be_bytes());
    ahead
}
