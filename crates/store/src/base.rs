//! What all parts of a store stand on: disk, clock and options, the files of the log and how far they are durable, the
//! checkpoint, and whether a failure has ended all writing.
//!
//! A part (the index, the journal, the writer of queues …) knows this and what else it is given, never the store. The
//! store stands above all parts and puts them together.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::checkpoint::{Checkpoint, CheckpointFile, Mark, NO_RUN, Own};
use crate::clock::Clock;
use crate::commit_log::CommitLog;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::options::{FlushMode, Live, Options};

/// The state of the log at one moment: what a flush that starts now makes durable.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moment {
    pub mark: Mark,
    pub timestamp: i64,
}

/// What all parts share.
pub(crate) struct Base {
    pub options: Options,
    pub live: ArcSwap<Live>,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub log: CommitLog,
    /// The log is durable up to here.
    pub flushed: AtomicU64,
    /// The state of the log that the last flush of this process covered.
    pub moment: Mutex<Option<Moment>>,
    checkpoint: Mutex<CheckpointFile>,
    /// Why nothing more may be written; the first failure stays.
    fault: Mutex<Option<String>>,
    read_only: AtomicBool,
}

impl Base {
    /// For a log that recovery has left with this checkpoint, durable up to `flushed`.
    pub fn new(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: Options,
        log: CommitLog,
        checkpoint: CheckpointFile,
        flushed: u64,
    ) -> Base {
        Base {
            live: ArcSwap::from_pointee(Live::from(&options)),
            options,
            disk,
            clock,
            log,
            flushed: AtomicU64::new(flushed),
            moment: Mutex::new(None),
            checkpoint: Mutex::new(checkpoint),
            fault: Mutex::new(None),
            read_only: AtomicBool::new(false),
        }
    }

    /// Whether answers wait for the disk.
    pub fn is_sync(&self) -> bool {
        matches!(self.options.flush, FlushMode::Sync { .. })
    }

    /// The log is durable up to here.
    pub fn flushed_until(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// Clients are shown the log up to here: with synchronous flush no message that the disk does not have.
    pub fn shown_until(&self) -> u64 {
        if self.is_sync() { self.flushed_until() } else { self.log.end() }
    }

    /// Whether the checkpoint says that the queue entries of all records before `until` are durable.
    pub fn are_queues_durable(&self, until: u64) -> bool {
        self.checkpoint.lock().content.own.is_some_and(|own| own.durable.position >= until)
    }

    /// Writes the checkpoint with changed fields of our own, and Java's as they follow from them.
    pub fn move_checkpoint(
        &self,
        sync: bool,
        change: impl FnOnce(&mut Checkpoint, &mut Own),
    ) -> Result<(), StoreError> {
        let moment = *self.moment.lock();
        let mut checkpoint = self.checkpoint.lock();
        // Looked at under the lock: what a failed sync has written there must stay.
        if self.fault().is_some() {
            return Ok(());
        }
        let mut own = checkpoint.content.own.unwrap_or_default();
        own.boot_id = self.disk.boot_id().unwrap_or_default();
        own.flushed = self.flushed_until();
        change(&mut checkpoint.content, &mut own);
        if let Some(moment) = moment {
            checkpoint.content.physic_timestamp = moment.timestamp;
        }
        checkpoint.content.logics_offset = own.durable.position as i64;
        checkpoint.content.own = Some(own);
        let written = if sync { checkpoint.save() } else { checkpoint.write() };
        written.map_err(StoreError::io("write", &checkpoint.path))
    }

    /// Why the store is read-only, if it is.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    /// Whether it is. Costs one atomic read.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// Ends all writing.
    pub fn set_fault(&self, cause: String) {
        self.fault.lock().get_or_insert(cause);
        self.read_only.store(true, Ordering::Release);
    }

    /// A sync failed. It is not tried again and nothing more is written: the kernel may hold what it was given, show
    /// it to everybody who reads, and never write it (it takes the pages to be clean). So the next start, if the
    /// machine still runs, must not count on what was not synced either, but write it again.
    ///
    /// Gives the error of a sync of the file at `path`, which has this cause.
    pub fn sync_error(&self, path: &Path, source: io::Error) -> StoreError {
        let error = StoreError::Io { what: "sync", path: path.to_owned(), source };
        self.sync_failed(error.to_string());
        error
    }

    /// The same for who has an error of its own.
    pub fn sync_failed(&self, cause: String) {
        self.set_fault(cause);
        let mut checkpoint = self.checkpoint.lock();
        checkpoint.content.own.get_or_insert_default().boot_id = NO_RUN;
        if let Err(error) = checkpoint.write() {
            tracing::error!(%error, "the checkpoint cannot be told that a sync failed");
        }
    }
}
