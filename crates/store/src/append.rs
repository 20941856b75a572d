//! Appending: records to the log under one lock, queue entries to the tails in memory, one write for a batch.
//!
//! Invariant: nothing of a batch is visible, and no counter has moved, unless its write succeeded.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wire::prop_crc;
use wire::record::{self, BLANK_SIZE};

use crate::appender::Appender;
use crate::batch::{Appended, Batch, BatchEntry};
use crate::dispatch;
use crate::error::AppendError;
use crate::queue::Queue;
use crate::queue_entry::QueueEntry;
use crate::queue_ext::Extension;
use crate::queue_journal::Fresh;
use crate::queue_kind::{QueueKind, Unit};
use crate::store::Store;

impl Store {
    /// Appends all messages of the batch, or none of them if that fails.
    ///
    /// The one exception: a batch larger than a segment is appended in parts, and a failure leaves the parts before
    /// it stored; to their senders they are messages of unknown fate, as after a lost connection.
    pub fn append(&self, batch: &mut Batch) -> Result<(), AppendError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.check_sizes(batch)?;
        self.make_bitmaps(batch);
        let until = {
            let mut appender = self.appender.lock();
            self.check_writable()?;
            self.append_locked(&mut appender, batch)?;
            appender.end
        };
        self.after_append(batch, until);
        Ok(())
    }

    /// Works out the bitmaps of the messages, before the lock: that takes much longer than what is done under it.
    fn make_bitmaps(&self, batch: &mut Batch) {
        batch.bitmaps.clear();
        batch.edition = None;
        let Some(bitmaps) = self.bitmaps.get().filter(|_| self.queues.files.ext.enabled) else { return };
        batch.edition = Some(bitmaps.edition());
        for entry in batch.entries.iter_mut().filter(|entry| entry.queued) {
            let from = batch.bitmaps.len();
            let record = &batch.bytes[entry.start..entry.start + entry.len];
            bitmaps.push(entry.queue.topic(), record, &mut batch.bitmaps);
            entry.bitmap = from..batch.bitmaps.len();
        }
    }

    /// Every group must fit into an empty segment (store.md §3.7); looked at before anything is written.
    fn check_sizes(&self, batch: &Batch) -> Result<(), AppendError> {
        let segment_bytes = self.base.log.segment_bytes;
        let room = segment_bytes - BLANK_SIZE as u64;
        if batch.bytes.len() as u64 <= room {
            return Ok(());
        }
        let mut from = 0;
        while from < batch.entries.len() {
            let until = group_end(&batch.entries, from);
            let bytes = bytes_of(&batch.entries, from, until);
            if bytes > room {
                return Err(AppendError::TooLarge { bytes, segment_bytes });
            }
            from = until;
        }
        Ok(())
    }

    fn append_locked(&self, appender: &mut Appender, batch: &mut Batch) -> Result<(), AppendError> {
        appender.last_timestamp = appender.last_timestamp.max(self.base.clock.now_millis());
        // After the time is taken: whoever changes the meaning of bitmaps reads that time behind the change.
        if batch.edition.is_some() && batch.edition != self.bitmaps.get().map(|bitmaps| bitmaps.edition()) {
            batch.entries.iter_mut().for_each(|entry| entry.bitmap = 0..0);
        }
        let count = batch.entries.len();
        let mut from = 0;
        while from < count {
            let room = appender.room(&self.base.log)?.saturating_sub(BLANK_SIZE as u64);
            let rest = bytes_of(&batch.entries, from, count);
            let until = if rest <= room {
                count
            } else if rest <= self.base.log.segment_bytes - BLANK_SIZE as u64 {
                // All of it fits into the next segment: one write, and so all or nothing.
                from
            } else {
                prefix_end(&batch.entries, from, room)
            };
            if until == from {
                appender.roll(&self.base, &self.zeros)?;
            } else {
                self.write_run(appender, batch, from, until)?;
                from = until;
            }
        }
        Ok(())
    }

    /// Writes messages that stand together in one segment, then lets the state follow.
    fn write_run(
        &self,
        appender: &mut Appender,
        batch: &mut Batch,
        from: usize,
        until: usize,
    ) -> Result<(), AppendError> {
        let Batch { bytes, entries, bitmaps, hashes, .. } = batch;
        let entries = &mut entries[from..until];
        let base = entries[0].start;
        let bytes = &mut bytes[base..base + bytes_of(entries, 0, until - from) as usize];
        self.number(entries, bytes, appender);
        if let Err(error) = appender.write(&self.base, &self.zeros, bytes) {
            entries.iter().for_each(give_back);
            return Err(error);
        }
        let begin = appender.end;
        appender.end += bytes.len() as u64;
        appender.keys.add(begin..appender.end, entries.iter().flat_map(|entry| entry.keys(hashes)));
        appender.entries += self.push_entries(entries, bitmaps, &mut appender.fresh);
        if self.is_sync() {
            self.unseen.lock().extend(entries);
        }
        // Behind the entries: whoever follows the log finds them. Before they are shown: whoever comes by one of them
        // finds its record.
        self.base.log.set_end(appender.end);
        if !self.is_sync() {
            let placed = entries.iter().flat_map(BatchEntry::placed);
            placed.for_each(|(queue, until)| queue.show(until));
        }
        Ok(())
    }

    /// Gives messages their places in log and queues, and writes these into their records, which `bytes` are.
    fn number(&self, entries: &mut [BatchEntry], bytes: &mut [u8], appender: &Appender) {
        let timestamp = appender.last_timestamp;
        let base = entries[0].start;
        for entry in entries {
            let start = entry.start - base;
            let offset = appender.end + start as u64;
            if entry.queued && entry.queue.is_deleted() {
                self.place_anew(entry);
            }
            let queue_offset = if entry.queued { take_offset(&entry.queue, entry.count) } else { 0 };
            let record = &mut bytes[start..start + entry.len];
            record::patch(record, queue_offset, offset, timestamp);
            if let Some(late) = &mut entry.late {
                for light in &mut late.light {
                    let queue = light.queue.insert(self.queues.get(&light.name, 0));
                    light.offset = take_offset(queue, 1);
                }
                late.write(record, queue_offset);
            }
            if self.base.options.append_prop_crc {
                prop_crc::seal(record);
            }
            let until = offset + entry.len as u64;
            entry.appended = Appended { offset, queue_offset, until, store_timestamp: timestamp };
        }
    }

    /// Puts entries into the tails of queues, where readers do not see them yet, and tells how many those are.
    fn push_entries(&self, entries: &[BatchEntry], bitmaps: &[u8], fresh: &mut Fresh) -> u64 {
        let mut pushed = 0;
        for entry in entries.iter().filter(|entry| entry.queued) {
            let unit = self.unit_of(entry);
            let extension = self.extension(entry, bitmaps);
            entry.queue.push(&unit, extension.as_ref());
            fresh.add(&entry.queue, &unit);
            pushed += u64::from(entry.count);
            for light in entry.late.iter().flat_map(|late| &late.light) {
                if let Some(queue) = &light.queue {
                    let unit = Unit { base: light.offset, count: 1, ..unit };
                    queue.push(&unit, None);
                    fresh.add(queue, &unit);
                    pushed += 1;
                }
            }
        }
        pushed
    }

    /// Gives a message to the successor of its queue, whose topic was deleted since the batch was begun. It has no
    /// place in a queue if that is of another kind, as [`dispatch::has_place`] has it at the next start.
    fn place_anew(&self, entry: &mut BatchEntry) {
        entry.queue = self.queues.get(&entry.queue.topic().clone(), entry.queue.id());
        entry.queued = !entry.is_inner_batch() || entry.queue.kind() == QueueKind::Batch;
    }

    /// Gives a queue entries of nothing up to offset `next`, so that these offsets are not given again.
    pub(crate) fn fill_up(&self, appender: &mut Appender, queue: &Arc<Queue>, next: u64) {
        for base in queue.next.load(Ordering::Acquire)..next {
            let unit = Unit { entry: QueueEntry::PRE_BLANK, store_timestamp: 0, base, count: 1 };
            queue.next.store(base + 1, Ordering::Release);
            queue.push(&unit, None);
            queue.show(base + 1);
            appender.fresh.add(queue, &unit);
            appender.entries += 1;
        }
    }

    fn unit_of(&self, entry: &BatchEntry) -> Unit {
        Unit {
            entry: self.queue_entry(entry),
            store_timestamp: entry.appended.store_timestamp,
            base: entry.appended.queue_offset,
            count: u64::from(entry.count),
        }
    }

    fn queue_entry(&self, entry: &BatchEntry) -> QueueEntry {
        let due = entry.delay_level.and_then(|level| {
            dispatch::due_time(level, entry.appended.store_timestamp, &self.base.options.delay_levels)
        });
        QueueEntry {
            physical_offset: entry.appended.offset,
            size: entry.len as u32,
            tags_code: due.unwrap_or(entry.tags_code),
        }
    }

    /// The extension of an entry, if those of its topic have them.
    fn extension<'a>(&self, entry: &BatchEntry, bitmaps: &'a [u8]) -> Option<Extension<'a>> {
        self.queues.has_extensions(entry.queue.topic()).then(|| Extension {
            tags_code: entry.tags_code,
            store_timestamp: entry.appended.store_timestamp,
            bitmap: &bitmaps[entry.bitmap.clone()],
        })
    }

    /// What follows an append outside its lock: waking those who wait for it.
    fn after_append(&self, batch: &Batch, until: u64) {
        self.flush.appended();
        self.journal.signal.raise();
        if let Some(index) = &self.index {
            index.signal.raise();
        }
        if self.base.log.wants_next() {
            self.allocate.raise();
        }
        if self.is_sync() {
            self.zeros.appended(until);
            return;
        }
        debug_assert!(until <= self.base.log.end());
        self.tell(batch.entries.iter().flat_map(BatchEntry::placed).map(|(queue, _)| queue));
    }
}

/// The next offset of a queue, of which `count` are taken.
fn take_offset(queue: &Queue, count: u16) -> u64 {
    queue.next.fetch_add(u64::from(count), Ordering::Relaxed)
}

/// Takes back the offsets that an entry was given.
fn give_back(entry: &BatchEntry) {
    if entry.queued {
        entry.queue.next.fetch_sub(u64::from(entry.count), Ordering::Relaxed);
    }
    for light in entry.late.iter().flat_map(|late| &late.light) {
        if let Some(queue) = &light.queue {
            queue.next.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn bytes_of(entries: &[BatchEntry], from: usize, until: usize) -> u64 {
    let last = &entries[until - 1];
    (last.start + last.len - entries[from].start) as u64
}

/// First entry behind the group that begins at `from`.
fn group_end(entries: &[BatchEntry], from: usize) -> usize {
    let rest = &entries[from + 1..];
    from + 1 + rest.iter().position(|entry| !entry.joined).unwrap_or(rest.len())
}

/// First entry behind as many whole groups as fit into `room`.
fn prefix_end(entries: &[BatchEntry], from: usize, room: u64) -> usize {
    let mut until = from;
    while until < entries.len() {
        let next = group_end(entries, until);
        if bytes_of(entries, from, next) > room {
            break;
        }
        until = next;
    }
    until
}
