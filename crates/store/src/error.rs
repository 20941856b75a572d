//! What can go wrong in the store, said so that an operator can act on it.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk;

/// Opening, reading or maintaining the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process works on this directory.
    #[error("store {} is in use by another broker (its lock file is held); stop that one, or choose another directory", root.display())]
    Locked {
        /// Directory of the store.
        root: PathBuf,
    },
    /// There is nothing to look at.
    #[error("{} is no store: {} does not exist; give the directory that broker.conf calls storePathRootDir", root.display(), log_dir.display())]
    NoStore {
        /// Directory that was given.
        root: PathBuf,
        /// Where the commit log would be.
        log_dir: PathBuf,
    },
    /// A repair that needs a decision, or cannot be made.
    #[error("{what}; nothing was changed: {remedy}")]
    Unrepairable {
        /// Why.
        what: String,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// A kind of store that cannot be served.
    #[error("{} holds {what}, which cannot be served yet; nothing was touched: {remedy}", path.display())]
    Unsupported {
        /// Where it was found.
        path: PathBuf,
        /// What it is.
        what: &'static str,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// Queues of a topic are of another kind than its configuration says.
    #[error("{} holds queues of a topic that has queue.type={other} in config/topics.json; nothing was touched: restore the topics.json that belongs to this store, or move this directory away to have the queues built from the log", dir.display())]
    OtherKind {
        /// Directory of the topic.
        dir: PathBuf,
        /// The kind that the topic should have.
        other: &'static str,
    },
    /// A segment whose length is not the configured one.
    #[error("commit log segment {} has {found} bytes but segments are configured to have {expected}; set mappedFileSizeCommitLog to what the store was written with", path.display())]
    SegmentLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The configured length.
        expected: u64,
    },
    /// A file that is no segment where only segments may be.
    #[error("{} is no commit log segment (twenty digits, a multiple of the segment size); move it out of the directory", path.display())]
    StrayFile {
        /// The file.
        path: PathBuf,
    },
    /// A hole in the sequence of segments.
    #[error("commit log segment {missing:020} is missing between {} and its successor; restore it, or move the segments before it away", before.display())]
    MissingSegment {
        /// First byte that is missing.
        missing: u64,
        /// The last segment before the hole.
        before: PathBuf,
    },
    /// Bytes that were promised to be there are damaged.
    #[error("commit log segment {}: {reason} at offset {at}, and {promised}; nothing was changed: restore the segment from a replica or a backup, or see with `thrust store repair` what is left without it: `--log skip` gives up the damaged messages alone", segment.display())]
    Damaged {
        /// The file.
        segment: PathBuf,
        /// Physical offset of the first bad byte.
        at: u64,
        /// What is wrong with the bytes.
        reason: String,
        /// Why this is no torn tail.
        promised: String,
    },
    /// A file of a compaction log is not what it should be.
    #[error("{} {what}; {remedy}", path.display())]
    Compaction {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// A verb.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A query was given up before its end, and had found nothing.
    #[error(
        "none of the newest {records} messages that may have this key has it, and older ones were not looked at ({entries} index entries); ask for an earlier time"
    )]
    QueryGivenUp {
        /// Records that the index named.
        records: usize,
        /// Entries of the index.
        entries: u64,
    },
    /// The store turned read-only.
    #[error("store is read-only: {cause}; restart the broker when the disk is sound again")]
    ReadOnly {
        /// First failure.
        cause: String,
    },
}

impl StoreError {
    /// Whether it is that the disk or a quota is full, which passes by itself.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if disk::is_full(source))
    }

    /// For `map_err`: names the operation and the file.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        move |source| StoreError::Io { what, path: path.to_path_buf(), source }
    }
}

/// Messages were not stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The store is stopping or stopped.
    #[error("store is stopped")]
    Stopped,
    /// A flush failed earlier; what is durable is unknown, so nothing more is accepted.
    #[error("store is read-only: {cause}; restart the broker when the disk is sound again")]
    ReadOnly {
        /// First failure.
        cause: String,
    },
    /// No space for more.
    #[error("disk of {} is full ({detail}); free some space, writing resumes by itself", path.display())]
    DiskFull {
        /// Directory on that disk.
        path: PathBuf,
        /// The system's words or the ratio.
        detail: String,
    },
    /// More queue entries than memory is meant for wait for their files.
    #[error("{waiting} bytes of queue entries wait to be written below {} ({cause}); writing resumes by itself when they are written", path.display())]
    QueuesBehind {
        /// Directory of the queues.
        path: PathBuf,
        /// Bytes that wait.
        waiting: u64,
        /// Why they do.
        cause: String,
    },
    /// The next segment could not be created.
    #[error("cannot create the next commit log segment {}: {source}", path.display())]
    NoSegment {
        /// The file that was to be.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Writing failed; the messages are not stored, later ones may be.
    #[error("cannot write to commit log segment {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A message, or a group that must stay together, is larger than a segment.
    #[error(
        "{bytes} bytes that belong together do not fit into a commit log segment of {segment_bytes}; raise mappedFileSizeCommitLog or send less at once"
    )]
    TooLarge {
        /// Bytes of the message or group.
        bytes: u64,
        /// Bytes of a segment.
        segment_bytes: u64,
    },
}
