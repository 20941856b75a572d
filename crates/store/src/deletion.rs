//! Files of deleted topics: all of them go. What the disk refuses to give up goes later, with a round of the queue
//! writer or at the stop.
//!
//! Invariant: while files of a deleted topic are left, no queue of a new topic of that name has files. So entries of
//! the two never stand in one file, and what is left can go as a whole. Nor is there a table of queues as long: a store
//! that is killed then looks into the files, finds more than the checkpoint says, and builds the queues from the log.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use parking_lot::Mutex;

use crate::disk::{self, Disk};
use crate::error::StoreError;
use crate::queue_files::QueueFiles;
use crate::queue_kind::QueueKind;

/// Topics that were deleted and of which files are left.
#[derive(Default)]
pub(crate) struct Deletions(Mutex<BTreeSet<String>>);

impl Deletions {
    /// From now on files of this topic are those of a deleted one.
    pub fn add(&self, topic: &str) {
        self.0.lock().insert(topic.to_owned());
    }

    /// Whether files of a deleted topic of this name are left.
    pub fn include(&self, topic: &str) -> bool {
        self.0.lock().contains(topic)
    }

    /// Whether files of any deleted topic are left.
    pub fn are_unfinished(&self) -> bool {
        !self.0.lock().is_empty()
    }
}

impl QueueFiles {
    /// Removes what is left of deleted topics, durably. Only for who holds the lock of the queue writer.
    pub fn finish_deletions(&self) -> Result<(), StoreError> {
        let topics = self.deletions.0.lock().clone();
        topics.iter().map(|topic| self.finish_deletion(topic)).fold(Ok(()), Result::and)
    }

    /// Removes what is left of a deleted topic, durably. Only for who holds the lock of the queue writer.
    pub fn finish_deletion(&self, topic: &str) -> Result<(), StoreError> {
        for root in QueueKind::ALL.map(|kind| self.root(kind)) {
            self.remove_queues(&root, topic)?;
        }
        // After the entries that point to them: as long as these could come back, so must their extensions.
        if self.ext.are_present() {
            self.remove_queues(&self.ext.root, topic)?;
        }
        self.deletions.0.lock().remove(topic);
        Ok(())
    }

    /// Removes the directories of a topic's queues below `root`. What others have put there stays.
    fn remove_queues(&self, root: &Path, topic: &str) -> Result<(), StoreError> {
        let dir = root.join(topic);
        self.try_remove_queues(root, &dir).map_err(StoreError::io("remove the queues in", &dir))
    }

    fn try_remove_queues(&self, root: &Path, dir: &Path) -> io::Result<()> {
        let disk = &*self.disk;
        if disk.stat(dir)?.is_some() {
            for queue in disk.list(dir)? {
                if queue.is_dir && queue.name.parse::<u32>().is_ok() {
                    remove_queue(disk, &dir.join(&queue.name))?;
                }
            }
            disk.sync_dir(dir)?;
            if disk.list(dir)?.is_empty() {
                disk.remove_dir(dir)?;
            }
        }
        // Also if it is gone: the attempt that removed it may have failed here. Queues that come back after a power cut
        // would be too many for the checkpoint, and all queues would be built from the log again.
        disk::sync_dir_if_there(disk, root)
    }
}

/// Removes the files of a queue and its directory, unless there are others in it.
pub(crate) fn remove_queue(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let (dirs, files): (Vec<_>, Vec<_>) = disk.list(dir)?.into_iter().partition(|entry| entry.is_dir);
    for file in files {
        disk.remove(&dir.join(&file.name))?;
    }
    if !dirs.is_empty() {
        return disk.sync_dir(dir);
    }
    match disk.remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
