//! Following the queues of compacted topics: what was appended to the commit log is copied to their compaction logs.
//!
//! Only what is durable is copied, so that a compaction log never holds what the commit log can still lose. Readers do
//! not wait for this: what is not copied yet they get from the commit log.

use wire::record::Record;

use super::log::{CompactionLog, end_of};
use super::part::Writer;
use super::pass::key_of;
use crate::disk;
use crate::error::StoreError;
use crate::queue_entry::QueueEntry;
use crate::store::Store;

/// Bytes of records that are copied before other work comes in between.
const STEP_BYTES: u64 = 1 << 20;

impl Store {
    /// Copies some more messages of a queue; false if there is nothing to copy now.
    pub(crate) fn follow_some(&self, log: &CompactionLog) -> Result<bool, StoreError> {
        let mut followed = log.followed.lock();
        let queue = &log.queue;
        let parts = log.parts();
        let had = (*followed).max(end_of(&parts));
        let from = had.max(queue.log_min_offset());
        let until = queue.max_offset();
        if from >= until || log.is_gone() {
            return Ok(false);
        }
        if from > had && had > 0 {
            tracing::warn!(
                topic = %queue.topic(), queue = queue.id(), from = had, until = from,
                "messages left the commit log before they were in the compaction log"
            );
        }
        let failed = |source| StoreError::Io { what: "append to", path: log.dirs.log.clone(), source };
        if parts.is_empty() {
            let made =
                log.dirs.both().into_iter().try_for_each(|dir| disk::create_dirs(&*self.base.disk, dir));
            made.map_err(failed)?;
        }
        let mut writer =
            Writer::new(&*self.base.disk, &log.dirs, &log.dirs, self.compaction.sizes, parts.to_vec());
        let copied = self.copy_between(log, from, until, &mut writer);
        // Also after a failure: a part that was begun is one, though the next could not be. Begun anew it would be
        // emptied while a later one may stand on the disk, and a power cut then leaves a hole that nobody fills.
        // What is here now is not copied again when it is compacted away.
        *followed = (*followed).max(end_of(&writer.parts));
        log.publish(writer.parts);
        let next = copied?;
        *followed = next;
        Ok(next > from)
    }

    /// Copies messages from one queue offset on, not all up to the other if those are many; tells how far it came.
    fn copy_between(
        &self,
        log: &CompactionLog,
        from: u64,
        until: u64,
        writer: &mut Writer<'_>,
    ) -> Result<u64, StoreError> {
        let queue = &log.queue;
        let failed = |source| StoreError::Io { what: "append to", path: log.dirs.log.clone(), source };
        let flushed = self.flushed_until();
        let (mut next, mut copied) = (from, 0);
        while next < until && copied < STEP_BYTES {
            let entry = queue.entry(next).map_err(StoreError::io("read the queue of", &log.dirs.log))?;
            let number = next;
            if entry.as_ref().is_some_and(QueueEntry::is_pre_blank) {
                next += 1;
                continue;
            }
            let ends_at = |entry: &QueueEntry| entry.physical_offset.saturating_add(u64::from(entry.size));
            let bytes = match &entry {
                Some(entry) if ends_at(entry) <= flushed => self.record_at(entry.physical_offset)?,
                // What a queue names is in the log, for who has the lock of its end.
                Some(entry) if ends_at(entry) <= self.appender.lock().end => break,
                _ => None,
            };
            next += 1;
            let Some(bytes) = bytes else {
                tracing::warn!(?queue, offset = number, "a damaged queue entry; its message is not kept");
                continue;
            };
            copied += bytes.len() as u64;
            copy(log, number, &bytes, writer).map_err(failed)?;
        }
        writer.write().map_err(failed)?;
        Ok(next)
    }
}

/// Appends one record, if it is one to keep.
fn copy(
    log: &CompactionLog,
    queue_offset: u64,
    bytes: &[u8],
    writer: &mut Writer<'_>,
) -> std::io::Result<()> {
    let queue = &log.queue;
    let skip = |reason: &str| {
        tracing::warn!(topic = %queue.topic(), queue = queue.id(), queue_offset, reason, "a message is not kept");
        Ok(())
    };
    let Ok(record) = Record::parse(bytes) else { return skip("it is damaged") };
    if record.topic != &**queue.topic() || record.queue_id != queue.id() {
        return skip("it is of another queue");
    }
    if record.queue_offset != queue_offset as i64 {
        return skip("it says that it has another queue offset");
    }
    if key_of(&record).is_none() {
        return skip("it has no key");
    }
    if !writer.fits(&record) {
        return skip("it is larger than a file of the compaction log");
    }
    writer.push(&record)
}
