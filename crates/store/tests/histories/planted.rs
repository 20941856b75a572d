//! Bugs on purpose, to see that the histories would find them.
//!
//! They are planted below the store, in the disk that it is given: what a store does that answers before it flushes,
//! forgets to sync a directory, lets its checkpoint run ahead, or loses an entry on its way into the journal, a disk
//! can do behind the back of one that does not. So the code that ships has no switch for them, and what the histories
//! look at is exactly what ships.

use std::io;
use std::path::Path;
use std::sync::Arc;

use sim::reader::crc32;
use sim::{Layer, Layered, SimDisk};
use store::{Disk, File};

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
    /// The mark of the index says that the index has come as far as the queues.
    IndexMarkAhead,
    /// A block of the journal of queue entries lacks the last of the entries that it says it has.
    JournalLeavesOut,
}

/// The disk with the bug, if there is to be one.
pub fn disk_with(bug: Option<Bug>, disk: SimDisk) -> Arc<dyn Disk> {
    match bug {
        None => Arc::new(disk),
        Some(bug) => Arc::new(Layered::new(Arc::new(disk), bug)),
    }
}

impl Layer for Bug {
    fn sync_dir(&self, below: &dyn Disk, dir: &Path) -> io::Result<()> {
        match self {
            Bug::ForgottenLogDirectorySync if dir.ends_with("commitlog") => Ok(()),
            Bug::ForgottenConfigDirectorySync if dir.ends_with("config") => Ok(()),
            _ => below.sync_dir(dir),
        }
    }

    fn write_at(&self, below: &dyn File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Bug::CheckpointAheadOfLog if path.ends_with("checkpoint") && offset == 0 && bytes.len() > 140 => {
                below.write_at(&run_ahead(bytes), 0)
            }
            Bug::IndexMarkAhead if path.ends_with("checkpoint") && is_index_marked(bytes) => {
                below.write_at(&mark_ahead(bytes), offset)
            }
            Bug::JournalLeavesOut if is_in(path, "queuejournal") => below.write_at(&leave_out(bytes), offset),
            _ => below.write_at(bytes, offset),
        }
    }

    fn sync_data(&self, below: &dyn File, path: &Path) -> io::Result<()> {
        match self {
            Bug::AnswerBeforeFlush if is_in(path, "commitlog") => Ok(()),
            _ => below.sync_data(),
        }
    }
}

fn is_in(path: &Path, dir: &str) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with(dir))
}

/// The checkpoint of `docs/formats.md` with `written` in the place of `flushed` and `durable`, and CRCs that fit.
fn run_ahead(bytes: &[u8]) -> Vec<u8> {
    let mut ahead = bytes.to_vec();
    ahead.copy_within(96..104, 88);
    ahead.copy_within(96..112, 112);
    sealed(ahead)
}

fn is_index_marked(checkpoint: &[u8]) -> bool {
    checkpoint.get(144..).is_some_and(|mark| mark.starts_with(b"ThrustI1"))
}

/// The checkpoint with `written` in the place of the mark's position, and CRCs that fit.
fn mark_ahead(bytes: &[u8]) -> Vec<u8> {
    let mut ahead = bytes.to_vec();
    ahead.copy_within(96..104, 152);
    sealed(ahead)
}

fn sealed(mut checkpoint: Vec<u8>) -> Vec<u8> {
    let seals: &[usize] = if is_index_marked(&checkpoint) { &[136, 200] } else { &[136] };
    for &at in seals {
        let crc = crc32(&checkpoint[..at]);
        checkpoint[at..at + 4].copy_from_slice(&crc.to_be_bytes());
    }
    checkpoint
}

/// A block of the journal of `docs/formats.md` whose last entry is of a queue that nobody has named, so that it does
/// not count, and a CRC that fits.
fn leave_out(block: &[u8]) -> Vec<u8> {
    const ENTRY_BYTES: usize = 44;
    let number = |at: usize| u32::from_be_bytes(*block[at..].first_chunk().unwrap()) as usize;
    let mut entries = 48;
    for _ in 0..number(44) {
        entries += 4 + number(entries) + 4;
    }
    let end = block.len() - 4;
    let mut changed = block.to_vec();
    if end >= entries + ENTRY_BYTES {
        changed[end - ENTRY_BYTES..][..4].fill(0xFF);
        let crc = crc32(&changed[4..end]);
        changed[end..].copy_from_slice(&crc.to_be_bytes());
    }
    changed
}
