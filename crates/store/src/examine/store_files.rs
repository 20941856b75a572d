//! The files of a store that is looked at, under its lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::finding::Findings;
use super::log_files::LogFiles;
use crate::commit_log::{self, Look, Window};
use crate::disk::{Disk, Lock};
use crate::error::StoreError;
use crate::foreign;
use crate::options::Options;
use crate::queue_entry::QueueEntry;
use crate::queue_kind::QueueKind;
use crate::queues::Queues;
use crate::segment;

/// The files of a store, held by its lock so that no broker starts on them meanwhile.
pub struct StoreFiles {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: Options,
    pub(super) lock: Box<dyn Lock>,
}

/// An entry of a queue with its number; `None` where nothing was written.
pub type NumberedEntry = (u64, Option<QueueEntry>);

/// What stands at an offset of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A record of a sound shape that belongs there; its checksums are for the caller to compare.
    Record(Vec<u8>),
    /// The rest of a segment; the log goes on at `next`.
    Blank {
        /// Where the next segment begins.
        next: u64,
    },
    /// Nothing that could be read, with the reason.
    Bad(String),
    /// No segment holds the offset.
    Nothing,
}

/// How large the files of a store are, as far as they tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of a segment of the commit log; `None` if there is none.
    pub segment_bytes: Option<u64>,
    /// Entries of a file of a consume queue; `None` if there is none.
    pub queue_segment_entries: Option<u32>,
    /// The same for batch queues.
    pub batch_queue_segment_entries: Option<u32>,
    /// Bytes of a file of queue extensions; `None` if there is none.
    pub queue_ext_segment_bytes: Option<u64>,
}

/// Reads the sizes of files off their names and lengths.
pub fn sizes(disk: &dyn Disk, root: &Path, log_dir: &Path) -> Result<Sizes, StoreError> {
    Ok(Sizes {
        segment_bytes: size_in(disk, log_dir)?,
        queue_segment_entries: queue_entries(disk, root, QueueKind::Simple)?,
        batch_queue_segment_entries: queue_entries(disk, root, QueueKind::Batch)?,
        queue_ext_segment_bytes: size_below(disk, &root.join("consumequeue_ext"))?,
    })
}

fn queue_entries(disk: &dyn Disk, root: &Path, kind: QueueKind) -> Result<Option<u32>, StoreError> {
    let bytes = size_below(disk, &root.join(kind.dir()))?;
    let entries = bytes.map(|bytes| bytes / kind.entry_bytes() as u64);
    Ok(entries.and_then(|entries| u32::try_from(entries).ok()).filter(|entries| *entries > 0))
}

/// Size of the files of queues below their topics' directories in `root`.
fn size_below(disk: &dyn Disk, root: &Path) -> Result<Option<u64>, StoreError> {
    for topic in dirs_in(disk, root)? {
        for queue in dirs_in(disk, &topic)? {
            if let Some(bytes) = size_in(disk, &queue)? {
                return Ok(Some(bytes));
            }
        }
    }
    Ok(None)
}

fn dirs_in(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = disk.list(dir).map_err(StoreError::io("list", dir))?;
    Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| dir.join(entry.name)).collect())
}

fn size_in(disk: &dyn Disk, dir: &Path) -> Result<Option<u64>, StoreError> {
    let entries = disk.list(dir).map_err(StoreError::io("list", dir))?;
    let named: Vec<_> = entries
        .iter()
        .filter(|entry| !entry.is_dir)
        .filter_map(|entry| Some((segment::base_of(&entry.name)?, entry.len)))
        .collect();
    // The distance of two names says more than a length, which may be the damaged one.
    Ok(match named.as_slice() {
        [] => None,
        [(first, _), (second, _), ..] => Some(second - first),
        [(_, len)] => Some(*len).filter(|len| *len > 0),
    })
}

impl StoreFiles {
    /// Takes the lock of the store below `options.root`, which must be there.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<StoreFiles, StoreError> {
        let root = &options.root;
        let log_dir = options.log_dir();
        let is_there = |dir: &Path| disk.stat(dir).map_err(StoreError::io("look at", dir));
        if !is_there(root)?.is_some_and(|stat| stat.is_dir) || is_there(&log_dir)?.is_none() {
            return Err(StoreError::NoStore { root: root.clone(), log_dir });
        }
        let lock = foreign::claim(&*disk, root)?;
        Ok(StoreFiles { disk, options, lock })
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether a broker that starts meanwhile is kept out. Not so if the files are opened with
    /// [`ReadOnlyDisk`](crate::ReadOnlyDisk) and can neither be written nor locked.
    pub fn is_locked(&self) -> bool {
        self.lock.keeps_others_out()
    }

    /// What stands at an offset of the log.
    pub fn look_at(&self, offset: u64) -> Result<Found, StoreError> {
        let log = LogFiles::load(&*self.disk, &self.options, &mut Findings::default())?;
        let Some(segment) = log.segment_at(offset) else { return Ok(Found::Nothing) };
        let mut window = Window::new(0);
        let look = commit_log::look_in(segment, offset, &mut window)
            .map_err(StoreError::io("read", &segment.path))?;
        Ok(match look {
            Look::Record(record) => Found::Record(record.bytes.to_vec()),
            Look::Blank { next } => Found::Blank { next },
            Look::Bad(reason) => Found::Bad(reason),
            Look::Nothing => Found::Nothing,
        })
    }

    /// At most `count` entries of a queue from `from` on (or from its first one that counts), with their numbers.
    /// `None` if there is no such queue.
    pub fn entries(
        &self,
        topic: &str,
        id: u32,
        from: Option<u64>,
        count: u64,
    ) -> Result<Option<Vec<NumberedEntry>>, StoreError> {
        let queues = self.queues()?;
        queues.load(u64::MAX)?;
        let Some(queue) = queues.find(topic, id) else { return Ok(None) };
        let from = from.unwrap_or_else(|| queue.min_offset());
        let dir = queues.files.dir_of(&queue);
        let mut entries = Vec::new();
        let mut number = from;
        while number < queue.max_offset() && (entries.len() as u64) < count {
            let unit = queue.unit(number).map_err(StoreError::io("read", &dir))?;
            entries.push((unit.map_or(number, |unit| unit.base), unit.map(|unit| unit.entry)));
            number = unit.map_or(number + 1, |unit| unit.until());
        }
        Ok(Some(entries))
    }

    /// The queues below the root; not loaded yet.
    pub(super) fn queues(&self) -> Result<Queues, StoreError> {
        let log = LogFiles::load(&*self.disk, &self.options, &mut Findings::default())?;
        let log_min = Arc::new(AtomicU64::new(log.min()));
        Queues::of_store(&self.disk, &self.options, log_min, false)
    }

    pub(super) fn queue_dir(&self, kind: QueueKind) -> PathBuf {
        self.options.root.join(kind.dir())
    }

    pub(super) fn index_dir(&self) -> PathBuf {
        self.options.root.join("index")
    }

    /// Whether the store was stopped cleanly.
    pub(super) fn is_clean(&self) -> Result<bool, StoreError> {
        let abort = self.options.root.join("abort");
        Ok(self.disk.stat(&abort).map_err(StoreError::io("look at", &abort))?.is_none())
    }
}
