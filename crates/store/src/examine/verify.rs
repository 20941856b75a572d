//! Reading a whole store and comparing all of it with the log.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use wire::record::Record;

use super::config_check::{check_checkpoint, check_config};
use super::finding::{Area, Findings};
use super::index_check::IndexCheck;
use super::log_files::{Event, LogFiles};
use super::queue_check::QueueCheck;
use super::store_files::StoreFiles;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::CheckpointFile;
use crate::commit_log::CommitLog;
use crate::dispatch;
use crate::error::StoreError;
use crate::index_file::Header;
use crate::index_state::is_durable;
use crate::options::Options;
use crate::recovery;

/// How far a look at a store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the log that were read.
    pub done: u64,
    /// Bytes of the log in all; what is behind its end is not read.
    pub total: u64,
}

/// Progress is told each time this many bytes were read.
pub(super) const TOLD_BYTES: u64 = 16 << 20;

/// Bytes of the log that are no sound records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Where they begin.
    pub from: u64,
    /// Where the next sound record, blank or segment begins; `None` if there is none, and the log's end was lost.
    pub until: Option<u64>,
    /// Store time of the last sound record before them, Unix milliseconds; 0 if there is none.
    pub stored_before: i64,
}

/// What a look at the whole store gave.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// What is wrong.
    pub findings: Findings,
    /// What is worth knowing and is not wrong.
    pub notes: Vec<String>,
    /// Whether the store was stopped cleanly; otherwise what follows the log is brought up to it when it is opened.
    pub clean: bool,
    /// First offset of the log.
    pub log_min: u64,
    /// Offset behind its last sound record.
    pub log_end: u64,
    /// Sound records.
    pub records: u64,
    /// Damaged parts of the log, in order.
    pub damage: Vec<Stretch>,
    /// Queues that have files.
    pub queues: usize,
    /// Queue entries that were compared with their records.
    pub queue_entries: u64,
    /// Entries that records have in light queues.
    pub light_entries: u64,
    /// Entries of delayed messages that are not as the delay levels of the options make them.
    pub other_delays: u64,
    /// Compaction logs that were compared.
    pub compacted: usize,
    /// Messages in them.
    pub compacted_messages: u64,
    /// Extensions of queue entries that were compared with their records.
    pub extensions: u64,
    /// Index files that were compared.
    pub index_files: usize,
    /// Index entries that were compared.
    pub index_entries: u64,
}

impl Verified {
    /// What of this store a repair would make wrong if these options, which nobody has confirmed, are not those of its
    /// broker.
    pub fn guessed(&self, options: &Options) -> Option<StoreError> {
        let what = if self.light_entries > 0 && !options.multi_dispatch {
            format!(
                "messages have {} places in light queues (%LMQ%), which are kept only with enableLmq and enableMultiDispatch",
                self.light_entries
            )
        } else if self.other_delays > 0 {
            format!(
                "the times of {} delayed messages are not those of this messageDelayLevel, so that they would come early or late",
                self.other_delays
            )
        } else {
            return None;
        };
        Some(StoreError::Unrepairable { what, remedy: "give the broker.conf of the store with -c" })
    }
}

impl StoreFiles {
    /// Reads everything and compares it; changes nothing. `progress` is called now and then.
    pub fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<Verified, StoreError> {
        let (disk, options) = (&*self.disk, &self.options);
        let mut findings = Findings::default();
        let log = LogFiles::load(disk, options, &mut findings)?;
        let (clean, log_min) = (self.is_clean()?, log.min());
        let mut verified = Verified { findings, clean, log_min, ..Verified::default() };
        let checkpoint_path = options.root.join("checkpoint");
        let checkpoint = self.checkpoint(&checkpoint_path, &mut verified.notes)?;
        let topics = check_config(disk, &options.root, &mut verified.findings)?;
        let mut pass = self.begin(&checkpoint, verified)?;

        let total = log.files_end() - log_min;
        let mut told = 0;
        let promised = checkpoint.own.map(|own| own.flushed);
        let end = log.walk(promised, &mut |segment, event| {
            match event {
                Event::Blank => {}
                Event::Damage { from, until, reason } => pass.damage(&segment.path, from, until, &reason),
                Event::Record(record) => {
                    pass.record(&segment.path, record)?;
                    let done = record.physical_offset as u64 - log_min;
                    if done >= told + TOLD_BYTES {
                        told = done;
                        progress(Progress { done, total });
                    }
                }
            }
            Ok(())
        })?;
        progress(Progress { done: total, total });

        let last_timestamp = pass.last_timestamp;
        let mut verified = pass.finish(end, topics.as_ref())?;
        for view in self.check_compacted(&mut verified.findings)? {
            verified.compacted += 1;
            verified.compacted_messages += view.messages;
        }
        check_checkpoint(&checkpoint, &checkpoint_path, end, last_timestamp, &mut verified.findings);
        Ok(verified)
    }

    fn checkpoint(&self, path: &Path, notes: &mut Vec<String>) -> Result<Checkpoint, StoreError> {
        let read =
            CheckpointFile::read(&*self.disk, &self.options.root).map_err(StoreError::io("read", path))?;
        let (checkpoint, unsure) = read.unwrap_or_default();
        if unsure {
            notes.push(
                "the checkpoint was last written by Java's broker, or is damaged; the log is read from an older place at the next start".into(),
            );
        }
        Ok(checkpoint)
    }

    /// Lays out queues and index beside the log. `verified` is what is known before its first record.
    fn begin(&self, checkpoint: &Checkpoint, mut verified: Verified) -> Result<Pass<'_>, StoreError> {
        let (disk, options, clean) = (&*self.disk, &self.options, verified.clean);
        let findings = &mut verified.findings;
        let dispatched_from =
            if clean { u64::MAX } else { self.dispatched_from(checkpoint, verified.log_min) };
        let queues = QueueCheck::new(disk, options, dispatched_from, findings)?;
        let trusted = |header: &Header, before: Option<Header>| is_trusted(header, before, checkpoint, clean);
        let mark = checkpoint.own.filter(|_| !clean).and_then(|own| own.index_mark);
        let mark = mark.map(|mark| mark.header);
        let index = IndexCheck::new(disk, options, clean, &trusted, mark, findings)?;
        Ok(Pass { queues, index, verified, last_timestamp: 0 })
    }

    /// From where on queue entries are made anew when this store, not stopped cleanly, is opened.
    fn dispatched_from(&self, checkpoint: &Checkpoint, log_min: u64) -> u64 {
        let options = &self.options;
        let log = CommitLog::load(
            self.disk.clone(),
            options.log_dir(),
            options.segment_bytes,
            Arc::new(AtomicU64::new(0)),
        );
        let start = log.and_then(|(log, _)| recovery::start_position(&*self.disk, &log, checkpoint, false));
        // Where it does not open there are findings about the log, and its followers come second.
        start.unwrap_or(log_min)
    }
}

/// A way through the log, and what is compared with its records on it.
struct Pass<'a> {
    queues: QueueCheck<'a>,
    index: IndexCheck,
    verified: Verified,
    /// Store time of the last sound record, Unix milliseconds; 0 before the first.
    last_timestamp: i64,
}

impl Pass<'_> {
    fn damage(&mut self, segment: &Path, from: u64, until: Option<u64>, reason: &str) {
        let what = match until {
            Some(until) => format!("{reason}; the next sound record or segment is at {until}"),
            None => format!("{reason}; nothing sound follows, but the log had been flushed further"),
        };
        let remedy = "restore the segment from a backup, or see what `thrust store repair` offers";
        self.verified.findings.add(Area::Log, segment, from, what, remedy);
        self.verified.damage.push(Stretch { from, until, stored_before: self.last_timestamp });
    }

    fn record(&mut self, segment: &Path, record: &Record<'_>) -> Result<(), StoreError> {
        let (at, stored, before) =
            (record.physical_offset as u64, record.store_timestamp, self.last_timestamp);
        let findings = &mut self.verified.findings;
        self.verified.records += 1;
        if stored < before {
            let what = format!("record was stored at {stored}, the one before it at {before}");
            let remedy = "harmless if the clock was set back; searching by time is not exact here";
            findings.add(Area::Log, segment, at, what, remedy);
        }
        self.last_timestamp = stored;
        if !dispatch::is_safe_topic(record.topic) {
            let what = format!("topic {:?} is none", record.topic);
            let remedy = "the message cannot be consumed; nothing else is touched by this";
            findings.add(Area::Log, segment, at, what, remedy);
        }
        self.queues.record(record, findings)?;
        self.index.record(record, findings)
    }

    /// What was found, when all records up to `end` are through. `topics` are those of the configuration, if it could
    /// be read.
    fn finish(self, end: u64, topics: Option<&BTreeSet<String>>) -> Result<Verified, StoreError> {
        let Pass { queues, mut index, mut verified, .. } = self;
        verified.log_end = end;
        verified.queues = queues.count();
        verified.queue_entries = queues.entries;
        (verified.light_entries, verified.other_delays) = (queues.light_entries, queues.other_delays);
        verified.extensions = queues.extensions();
        let deleted = queues.finish(verified.log_min, topics, &mut verified.findings)?;
        if deleted > 0 {
            verified.notes.push(format!("{deleted} messages in the log belong to topics that were deleted"));
        }
        index.finish(end, &mut verified.findings)?;
        (verified.index_files, verified.index_entries) = (index.files, index.entries);
        Ok(verified)
    }
}

/// The rule by which opening keeps all of an index file.
fn is_trusted(header: &Header, before: Option<Header>, checkpoint: &Checkpoint, clean: bool) -> bool {
    // That of a file which was being written may say nothing yet.
    let says_something = checkpoint.own.is_none() || clean || header.count > 1;
    says_something && is_durable(header, before, checkpoint, clean)
}
