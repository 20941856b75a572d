//! The way through the log that brings the queues up to it: as it is read at each start, or all of it again to build
//! queues anew.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wire::prop_crc;
use wire::record::Record;

use crate::commit_log::{CommitLog, Look, Walk};
use crate::disk::Disk;
use crate::dispatch;
use crate::error::StoreError;
use crate::progress::Progress;
use crate::queue::Queue;
use crate::queue_entry::{FILLED_MAX, QueueEntry};
use crate::queue_ext::Extension;
use crate::queue_journal::{Fresh, Pieces, Upto};
use crate::queue_kind::{self, QueueKind, Unit};
use crate::queue_table::Moment;
use crate::queues::Queues;
use crate::sound_place;
use crate::torn;

/// A walk over the log that dispatches to the queues.
pub(super) struct Scan<'a> {
    pub log: &'a CommitLog,
    pub queues: &'a Queues,
    pub levels: &'a [Duration],
    pub check_crc: bool,
    pub force_prop_crc: bool,
    /// Records from here on may be torn, so more of them is looked at.
    pub strict_from: u64,
    /// No power was lost since they were written: no more can be missing than the end of the last of them, and pages
    /// that the kernel could not write to the disk.
    pub same_run: bool,
    /// Java had flushed the records that were stored before this time, Unix milliseconds.
    pub flushed_before: i64,
    /// The scan begins where the log begins: queues may begin at any offset.
    pub begins_at_min: bool,
    /// Queues that do not continue where their files end, by serial number.
    pub damaged: HashSet<u64>,
    /// The store had been stopped cleanly.
    pub was_stopped: bool,
    pub last_timestamp: i64,
    pub progress: Progress<'a>,
    /// Entries since tails were written, and how many of them may be.
    pub pushed: u64,
    pub pushed_max: u64,
    /// Entries that are not in the journal of queues yet.
    pub fresh: Fresh,
    /// How far the queues have come.
    pub upto: Upto,
}

/// Tails are written each time this many records were dispatched, or half of what may wait in memory; the last ones
/// are left to the store's worker. After a kill that is all of them, so that nobody waits for a hundred thousand files.
pub(super) const PUSHED_BETWEEN_WRITES: u64 = 1 << 22;
/// So many entries are written to the journal of queues together: what follows a start that is killed is to go on with
/// them.
const JOURNALED_TOGETHER: usize = 1 << 16;

impl Scan<'_> {
    /// Takes over the entries that the journal of queues has; tells how many those were.
    pub fn replay(
        &mut self,
        disk: &dyn Disk,
        journal: &mut Pieces,
        table: Option<Moment>,
    ) -> Result<u64, StoreError> {
        let files_end = self.log.segments().last().map_or(0, |last| last.until());
        let kept_from = table.map_or(self.upto.position, |table| table.mark.position.min(self.upto.position));
        let (queues, known) = (self.queues, self.upto);
        let mut replayed = 0;
        // They are in the journal already.
        self.fresh = Fresh::default();
        let upto = journal.replay(disk, queues, known, (kept_from, files_end), &mut |queue, unit| {
            replayed += 1;
            // An inner batch of a topic that was deleted and made again as another kind has no place.
            let has_place = unit.count == 1 || queue.kind() == QueueKind::Batch;
            if has_place && self.goes_on_with(queue, unit.base) {
                self.push_unit(queue, unit);
            }
            if self.pushed >= self.pushed_max { self.write_tails() } else { Ok(()) }
        })?;
        self.upto = upto;
        self.last_timestamp = self.last_timestamp.max(upto.timestamp);
        self.fresh = journal.room();
        Ok(replayed)
    }

    /// Dispatches all records from where the queues have come to; gives the end of the log and why it is there.
    pub fn forward(
        &mut self,
        disk: &dyn Disk,
        journal: &mut Pieces,
        only_look: bool,
    ) -> Result<(u64, String), StoreError> {
        let mut walk = Walk::new(self.log, u64::MAX);
        let mut at = self.upto.position;
        loop {
            if self.fresh.len() >= JOURNALED_TOGETHER {
                self.upto = Upto { position: at, timestamp: self.last_timestamp, ..self.upto };
                if let Err(error) = journal.write(disk, &mut self.fresh, self.upto) {
                    tracing::warn!(%error, "the journal of queues has a gap");
                }
            }
            match walk.look(at).map_err(|source| self.log.error_at("read", at, source))? {
                Look::Blank { next } => at = next,
                Look::Bad(reason) => return Ok((at, reason)),
                Look::Nothing => return Ok((at, "the log's files end".into())),
                Look::Record(record) => {
                    self.progress.reached(at);
                    if let Some(reason) = self.refuse(&record, at) {
                        return Ok((at, reason));
                    }
                    if !only_look {
                        self.dispatch(&record);
                    }
                    self.last_timestamp = self.last_timestamp.max(record.store_timestamp);
                    at += record.bytes.len() as u64;
                    if self.pushed >= self.pushed_max {
                        self.write_tails()?;
                    }
                }
            }
        }
    }

    fn refuse(&self, record: &Record<'_>, at: u64) -> Option<String> {
        let verified = match (self.check_crc, self.force_prop_crc) {
            (false, _) => Ok(()),
            (true, false) => record.verify_crc(),
            (true, true) => prop_crc::verify(record.bytes),
        };
        if let Err(error) = verified {
            return Some(error.to_string());
        }
        (at >= self.strict_from && self.is_torn(record, at))
            .then(|| "record has zeros where its topic or properties should be".into())
    }

    /// Whether a record that may be torn is.
    ///
    /// Stores of Java, and of versions that took such properties, may have zeros there that belong there.
    fn is_torn(&self, record: &Record<'_>, at: u64) -> bool {
        if record.store_timestamp == 0 {
            return true;
        }
        let (in_file, next) = (at % self.log.segment_bytes, at + record.bytes.len() as u64);
        if self.same_run {
            // Either the last write was cut short, or the kernel gave up a page that it could not write to the disk.
            let is_cut_short = torn::ends_in_zeros(record) && !self.goes_on_at(next);
            return is_cut_short || torn::lacks_a_page(record, in_file);
        }
        record.store_timestamp >= self.flushed_before && torn::is_torn(record, in_file)
    }

    /// Whether more was written behind a record, so that its own write had come to its end.
    fn goes_on_at(&self, at: u64) -> bool {
        match Walk::new(self.log, u64::MAX).look(at) {
            Ok(Look::Blank { .. }) => true,
            Ok(Look::Record(next)) => next.verify_crc().is_ok(),
            _ => false,
        }
    }

    /// The queue a record belongs to, if it gets an entry.
    fn queue_of(&self, record: &Record<'_>) -> Option<Arc<Queue>> {
        let wanted = dispatch::has_place(record, || self.queues.kind_of(record.topic));
        wanted.then(|| self.queues.get(record.topic, record.queue_id))
    }

    /// The places of a record: in its own queue, and in light ones.
    fn places_of(&self, record: &Record<'_>) -> impl Iterator<Item = (Arc<Queue>, u64)> + use<> {
        let queues = self.queues;
        let own = self.queue_of(record).map(|queue| (queue, record.queue_offset as u64));
        let light = if queues.files.multi_dispatch { dispatch::light_places(record) } else { Vec::new() };
        let light: Vec<_> = light.into_iter().map(|(name, offset)| (queues.get(&name, 0), offset)).collect();
        own.into_iter().chain(light)
    }

    fn dispatch(&mut self, record: &Record<'_>) {
        for (queue, offset) in self.places_of(record) {
            self.dispatch_to(&queue, offset, record);
        }
    }

    fn dispatch_to(&mut self, queue: &Arc<Queue>, offset: u64, record: &Record<'_>) {
        if self.goes_on_with(queue, offset) {
            self.push(queue, record);
        }
    }

    /// Whether the next message of a queue may have this offset; if not, the queue is to be built anew.
    fn goes_on_with(&mut self, queue: &Arc<Queue>, offset: u64) -> bool {
        if self.damaged.contains(&queue.serial) {
            return false;
        }
        let next = queue.next.load(Ordering::Relaxed);
        if offset != next {
            if next > 0 || !self.begins_at_min {
                self.damaged.insert(queue.serial);
                return false;
            }
            queue.restart_at(offset);
        }
        true
    }

    fn push(&mut self, queue: &Arc<Queue>, record: &Record<'_>) {
        let entry = dispatch::entry(record, self.levels);
        let count = queue_kind::message_count(queue.kind(), record);
        self.push_entry(queue, entry, record.store_timestamp, count);
    }

    fn push_entry(&mut self, queue: &Arc<Queue>, entry: QueueEntry, store_timestamp: i64, count: u64) {
        let base = queue.next.load(Ordering::Relaxed);
        self.push_unit(queue, &Unit { entry, store_timestamp, base, count });
    }

    fn push_unit(&mut self, queue: &Arc<Queue>, unit: &Unit) {
        queue.next.store(unit.until(), Ordering::Relaxed);
        // Which filters want the message is not worked out again; readers look into it.
        let extension =
            Extension { tags_code: unit.entry.tags_code, store_timestamp: unit.store_timestamp, bitmap: &[] };
        let extended = !unit.entry.is_pre_blank() && self.queues.has_extensions(queue.topic());
        queue.push(unit, extended.then_some(&extension));
        queue.show(unit.until());
        self.fresh.add(queue, unit);
        self.pushed += 1;
    }

    /// Builds queues anew from the whole log: those that are damaged, or all. The files of those `with_more` hold
    /// something behind the entries that loading took.
    pub fn rebuild(&mut self, end: u64, all: bool, with_more: &[Arc<Queue>]) -> Result<(), StoreError> {
        self.progress = Progress::new(self.progress.clock, self.log.min(), self.log);
        let mut begun = HashSet::new();
        let mut walk = Walk::new(self.log, end);
        let mut at = self.log.min();
        while at < end {
            match walk.look(at).map_err(|source| self.log.error_at("read", at, source))? {
                Look::Blank { next } => at = next,
                Look::Record(record) => {
                    self.progress.reached(at);
                    at += record.bytes.len() as u64;
                    self.place_again(&record, all, &mut begun)?;
                }
                Look::Bad(reason) => {
                    let next = self.behind_damage(at, end)?;
                    tracing::error!(
                        offset = at,
                        next,
                        reason,
                        "damaged record; what is before the next sound one gets no queue entries"
                    );
                    at = next;
                }
                Look::Nothing => break,
            }
            if self.pushed >= self.pushed_max {
                self.write_tails()?;
            }
        }
        let damaged = |queue: &Arc<Queue>| self.damaged.contains(&queue.serial);
        let mut ends = self.queues.all();
        ends.retain(damaged);
        ends.extend(with_more.iter().filter(|queue| all && !damaged(queue)).cloned());
        ends.retain(|queue| !begun.contains(&queue.serial));
        ends.iter().try_for_each(|queue| self.keep_numbers(queue))
    }

    /// Where the log goes on behind a damaged record: what follows in its segment has numbers that were given.
    fn behind_damage(&self, at: u64, end: u64) -> Result<u64, StoreError> {
        let next_segment = (at / self.log.segment_bytes + 1) * self.log.segment_bytes;
        let Some(segment) = self.log.segment_at(at) else { return Ok(next_segment) };
        let is_sound =
            |record: &Record<'_>| (record.physical_offset as u64) < end && record.verify_crc().is_ok();
        let next = sound_place::next_in(&segment, at + 1, &is_sound, &|next| next < end);
        let next = next.map_err(|source| self.log.error_at("read", at, source))?;
        Ok(next.unwrap_or(next_segment))
    }

    /// Lets a queue that the log has no message of go on behind all entries of its files, of which loading took those
    /// before the first damaged one. Nothing else tells how far it had come, and an offset is never given twice.
    fn keep_numbers(&mut self, queue: &Arc<Queue>) -> Result<(), StoreError> {
        let path = self.queues.files.dir_of(queue);
        // After a crash what leads into the log, or behind it, may be a rest of a message that was lost.
        let position = if self.was_stopped { u64::MAX } else { self.log.min() };
        let end = self.queues.files.end_before(queue, position);
        let end = end.map_err(StoreError::io("read", &path))?;
        let next = queue.next.load(Ordering::Relaxed);
        if end <= next {
            return Ok(());
        }
        tracing::warn!(
            ?queue,
            from = next,
            until = end,
            "entries of expired messages are damaged; the queue goes on behind them"
        );
        if queue.kind() == QueueKind::Batch || end - next > FILLED_MAX {
            self.queues.files.remove_all(queue).map_err(StoreError::io("remove", &path))?;
            queue.restart_at(end - 1);
            queue.skip_to(end - 1);
        }
        for _ in queue.next.load(Ordering::Relaxed)..end {
            self.push_entry(queue, QueueEntry::PRE_BLANK, 0, 1);
            if self.pushed >= self.pushed_max {
                self.write_tails()?;
            }
        }
        Ok(())
    }

    /// Gives a record its places in those of its queues that are built anew; `begun` are those that have one already.
    fn place_again(
        &mut self,
        record: &Record<'_>,
        all: bool,
        begun: &mut HashSet<u64>,
    ) -> Result<(), StoreError> {
        for (queue, offset) in self.places_of(record) {
            if all || self.damaged.contains(&queue.serial) {
                self.place(&queue, offset, record, begun.insert(queue.serial))?;
            }
        }
        Ok(())
    }

    /// Gives a record its place in a queue that is built anew.
    fn place(
        &mut self,
        queue: &Arc<Queue>,
        offset: u64,
        record: &Record<'_>,
        first: bool,
    ) -> Result<(), StoreError> {
        let next = queue.next.load(Ordering::Relaxed);
        // Offset 0 again: the topic was deleted and created anew.
        if first || (offset == 0 && next > 0) {
            let path = self.queues.files.dir_of(queue);
            self.queues.files.remove_all(queue).map_err(StoreError::io("remove", &path))?;
            queue.restart_at(offset);
        } else if offset < next {
            tracing::warn!(
                ?queue,
                offset,
                at = record.physical_offset,
                "queue offset used twice; dropped as Java does"
            );
            return Ok(());
        } else if offset > next && queue.kind() == QueueKind::Batch {
            // Its entries say themselves which offsets they have.
            queue.skip_to(offset);
        } else if offset > next && offset - next <= FILLED_MAX {
            for _ in next..offset {
                self.push_entry(queue, QueueEntry::PRE_BLANK, 0, 1);
            }
        }
        self.push(queue, record);
        Ok(())
    }

    fn write_tails(&mut self) -> Result<(), StoreError> {
        let mut scratch = Vec::new();
        for queue in self.queues.files.take_dirty() {
            queue.unlist();
            let path = self.queues.files.dir_of(&queue);
            queue.write_tail(&mut scratch, Some(u64::MAX)).map_err(StoreError::io("write", &path))?;
        }
        self.pushed = 0;
        Ok(())
    }
}
