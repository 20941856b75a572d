//! Opening the timer: back to its checkpoint, and past what was delivered since.
//!
//! - **Our checkpoint**: units behind it are taken out of the wheel and the timer log; the queue is read again from the
//!   checkpoint's offset. Each delivered copy in the commit log names the message it was made of, so reading the
//!   log from the checkpoint's position tells what must not be delivered again.
//! - **Java's checkpoint**: Java's own rules (store.md §15.6), then a checkpoint of ours.
//! - **Wheel or timer log missing**, or of another precision: both are built anew from the timer topic, without what
//!   the checkpoint says was delivered.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use wire::hash;
use wire::names;
use wire::properties as props;
use wire::record::Record;

use super::checkpoint::{Checkpoint, CheckpointFile, Own};
use super::log::{Reader, Unit, UnitLog};
use super::metrics::Metrics;
use super::slot::Present;
use super::unread::{UNKNOWN_TOPIC, Unread};
use super::wheel::{Slot, Wheel};
use super::{State, Timer, read_record, source_of};
use crate::commit_log::{CommitLog, Look, Walk};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::options::TimerOptions;
use crate::queue::Queue;
use crate::queue_entry::{ENTRY_BYTES, QueueEntry};
use crate::queues::Queues;
use crate::signal::Signal;
use crate::watch::Watcher;

/// What recovery works with.
struct Opening<'a> {
    disk: &'a dyn Disk,
    options: &'a TimerOptions,
    commit_log: &'a CommitLog,
    queue: Arc<Queue>,
    wheel: Wheel,
    log: UnitLog,
    file: CheckpointFile,
    now: i64,
}

/// Where the timer goes on.
struct Resumed {
    read_time: i64,
    queue_offset: u64,
    /// Copies delivered since the checkpoint stand in the commit log from here on.
    delivered_from: u64,
    rest: (u64, u64),
    skipped: Option<(u64, i64)>,
    /// A checkpoint is to be made before anything is delivered.
    settle: bool,
}

impl Timer {
    /// Opens the timer's files below `root` and recovers them.
    pub fn open(
        disk: &Arc<dyn Disk>,
        root: &Path,
        options: &TimerOptions,
        now: i64,
        queues: &Queues,
        commit_log: &CommitLog,
    ) -> Result<Timer, StoreError> {
        let queue = queues.get(names::TIMER_TOPIC, 0);
        queue.watchers.watch(Watcher::Timer);
        let config = root.join("config");
        let check_path = config.join("timercheck");
        let (file, found) = CheckpointFile::open(Arc::clone(disk), check_path.clone())
            .map_err(StoreError::io("read", &check_path))?;
        let log_dir = root.join("timerlog");
        let precision = options.precision();
        let mut opening = Opening {
            disk: &**disk,
            options,
            commit_log,
            queue: Arc::clone(&queue),
            wheel: Wheel::empty(
                Arc::clone(disk),
                root.join("timerwheel"),
                precision,
                u64::from(options.slots.max(1)),
            ),
            log: UnitLog::open(Arc::clone(disk), log_dir.clone(), options.log_file_bytes)
                .map_err(StoreError::io("open", &log_dir))?,
            file,
            now,
        };
        let resumed = opening.resume(found.as_ref())?;
        let mut done = opening.delivered_since(&resumed)?;
        let mut metrics = Metrics::open(Arc::clone(disk), config.join("timermetrics"));
        opening.count(&mut metrics, queues, &resumed, &mut done)?;
        let Opening { wheel, log, file, .. } = opening;
        let state = State {
            catch_up: queue.max_offset(),
            queue,
            wheel,
            log,
            metrics,
            precision,
            queue_offset: resumed.queue_offset,
            read_time: resumed.read_time,
            present: Present { rest: resumed.rest, ..Present::default() },
            unread: Unread::default(),
            done,
            done_from: resumed.delivered_from,
            skipped: resumed.skipped,
            rolled_until: 0,
            changed: resumed.settle,
            rest_is_untold: false,
            checkpoint: found.unwrap_or_default(),
        };
        Ok(Timer {
            options: options.clone(),
            signal: Signal::default(),
            flush_signal: Signal::default(),
            shown: state.shown(),
            state: Mutex::new(state),
            files: Mutex::new(file),
            on_delivered: OnceLock::new(),
            enqueued: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
        })
    }
}

impl Opening<'_> {
    fn resume(&mut self, found: Option<&Checkpoint>) -> Result<Resumed, StoreError> {
        let unused = self.queue.next.load(Ordering::Acquire) == 0;
        let precision = self.options.precision();
        match found {
            None if unused => {
                self.forget_files()?;
                Ok(self.fresh())
            }
            None => self.rebuild(&Checkpoint::default()),
            Some(check) => match &check.own {
                Some(own) if own.precision != precision as u64 => self.rebuild(check),
                Some(own) => self.back_to(check, own),
                None => self.after_java(check),
            },
        }
    }

    fn fresh(&self) -> Resumed {
        Resumed {
            read_time: self.options.slot_of(self.now),
            queue_offset: 0,
            delivered_from: self.commit_log.end(),
            rest: (0, 0),
            skipped: None,
            settle: false,
        }
    }

    /// Units without any message are those of another store.
    fn forget_files(&mut self) -> Result<(), StoreError> {
        if self.log.is_empty() {
            return Ok(());
        }
        self.log.remove_all().map_err(StoreError::io("remove the timer log in", &self.log.dir))
    }

    /// Everything behind our checkpoint is undone.
    fn back_to(&mut self, check: &Checkpoint, own: &Own) -> Result<Resumed, StoreError> {
        let there = self.load_wheel(check.read_time)?;
        let covered = own.log_end == 0 || (own.log_end <= self.log.files_end() && there);
        if !covered {
            return self.rebuild(check);
        }
        self.undo_units(own)?;
        self.restore_rest(check.read_time, own)?;
        if there && self.wheel.wants_file() {
            let write = |wheel: &mut Wheel| {
                let file = wheel.file()?;
                wheel.take_changed().write(&*file)
            };
            write(&mut self.wheel).map_err(StoreError::io("write", &self.wheel.path.clone()))?;
        }
        self.log.cut(own.log_end).map_err(StoreError::io("cut the timer log in", &self.log.dir.clone()))?;
        Ok(Resumed {
            read_time: check.read_time,
            queue_offset: self.in_queue(check.queue_offset),
            delivered_from: own.delivered_from,
            rest: own.rest,
            skipped: None,
            settle: false,
        })
    }

    fn load_wheel(&mut self, from: i64) -> Result<bool, StoreError> {
        self.wheel.load(from).map_err(StoreError::io("read", &self.wheel.path.clone()))
    }

    /// Leads slots that have units behind the checkpoint back to those before it.
    fn undo_units(&mut self, own: &Own) -> Result<(), StoreError> {
        let mut times = HashSet::new();
        let error = StoreError::io("read the timer log in", &self.log.dir);
        self.log
            .scan(own.log_end, &mut |_, unit| {
                times.insert(unit.slot_time());
            })
            .map_err(error)?;
        let mut reader = Reader::default();
        for time in times {
            let Some(slot) = self.wheel.get(time).filter(|slot| slot.last >= own.log_end) else { continue };
            let mut left = Some(slot);
            while let Some(slot) = left.filter(|slot| slot.last >= own.log_end) {
                let unit = reader
                    .unit(&self.log, slot.last)
                    .map_err(StoreError::io("read the timer log in", &self.log.dir))?;
                left = unit.and_then(|unit| {
                    let last = unit.previous.filter(|previous| *previous < slot.last)?;
                    Some(Slot { first: slot.first.min(last), last, num: slot.num - unit.count() })
                });
            }
            self.wheel.put(time, left);
        }
        Ok(())
    }

    /// The chain that the checkpoint names stands in the timer log, in the wheel perhaps not yet.
    fn restore_rest(&mut self, read_time: i64, own: &Own) -> Result<(), StoreError> {
        let (from, until) = own.rest;
        let in_wheel = self.wheel.get(read_time).is_some_and(|slot| slot.last >= from);
        if from == until || in_wheel {
            return Ok(());
        }
        let mut slot: Option<Slot> = None;
        let error = StoreError::io("read the timer log in", &self.log.dir);
        self.log
            .scan(from, &mut |at, unit| {
                if at < until && unit.slot_time() == read_time {
                    let (first, num) = slot.map_or((at, 0), |slot| (slot.first, slot.num));
                    slot = Some(Slot { first, last: at, num: num + unit.count() });
                }
            })
            .map_err(error)?;
        self.wheel.put(read_time, slot);
        Ok(())
    }

    /// Java's recovery: all units of the last two files set the ends of their slots.
    fn after_java(&mut self, check: &Checkpoint) -> Result<Resumed, StoreError> {
        let precision = self.options.precision();
        let read_time = if check.read_time > 0 {
            self.options.slot_of(check.read_time)
        } else {
            self.options.slot_of(self.now)
        };
        // With snapshots the plain file is as old as the day they were turned on (since-5.3.md S12).
        let stale = self.has_snapshots()?;
        let there = stale || self.load_wheel(read_time)?;
        let lost = self.log.is_empty() || !there;
        if lost && check.queue_offset.max(check.master_queue_offset) > 0 {
            return self.rebuild(check);
        }
        // A damaged one may name a place where no file is.
        let known_end = (check.log_end.max(0) as u64).min(self.log.files_end());
        let from = known_end.saturating_sub(self.options.log_file_bytes);
        let from = if stale { 0 } else { self.log.base_of(from) }.max(self.log.min());
        let (end, last) = self.revise(from, read_time, precision)?;
        let beyond: Vec<i64> =
            self.wheel.all().filter(|(_, slot)| slot.last >= end).map(|(time, _)| time).collect();
        if !beyond.is_empty() {
            tracing::warn!(
                slots = beyond.len(),
                "slots of the timer wheel point behind the timer log; they are read from it again"
            );
            for time in beyond {
                self.wheel.put(time, None);
            }
            self.revise(self.log.min(), read_time, precision)?;
        }
        self.log.cut(end).map_err(StoreError::io("cut the timer log in", &self.log.dir.clone()))?;
        let known = match last {
            Some(unit) => self.behind(&unit)?,
            None => None,
        };
        let offset = known.map_or(check.queue_offset, |offset| offset as i64);
        Ok(Resumed {
            read_time,
            queue_offset: self.in_queue(offset.min(check.master_queue_offset)),
            delivered_from: self.commit_log.end(),
            rest: (0, 0),
            skipped: None,
            settle: true,
        })
    }

    /// Whether Java kept its wheel as snapshots (`timerWheelSnapshotFlush`).
    fn has_snapshots(&self) -> Result<bool, StoreError> {
        let root = self.wheel.path.parent().unwrap_or(Path::new("."));
        let entries = self.disk.list(root).map_err(StoreError::io("list", root))?;
        Ok(entries.iter().any(|entry| entry.name.starts_with("timerwheel.")))
    }

    /// Lets every unit from a position on be the last of its slot; tells where they end, and the last one.
    fn revise(
        &mut self,
        from: u64,
        read_time: i64,
        precision: i64,
    ) -> Result<(u64, Option<Unit>), StoreError> {
        let mut last = None;
        let mut ends: BTreeMap<i64, (u64, i32)> = BTreeMap::new();
        let error = StoreError::io("read the timer log in", &self.log.dir);
        let end = self
            .log
            .scan(from, &mut |at, unit| {
                last = Some(unit);
                let time = unit.slot_time();
                if time >= read_time && time.rem_euclid(precision) == 0 {
                    let entry = ends.entry(time).or_insert((at, 0));
                    *entry = (at, entry.1.saturating_add(unit.count()));
                }
            })
            .map_err(error)?;
        for (time, (at, num)) in ends {
            let slot = match self.wheel.get(time) {
                Some(slot) if slot.last == at => continue,
                Some(slot) => Slot { last: at, ..slot },
                None => Slot { first: at, last: at, num },
            };
            self.wheel.put(time, Some(slot));
        }
        Ok((end, last))
    }

    /// The offset behind the message of a unit, if its record says so and the queue agrees.
    fn behind(&self, unit: &Unit) -> Result<Option<u64>, StoreError> {
        let mut scratch = Vec::new();
        let record = read_record(self.commit_log, unit.offset, unit.size, &mut scratch)
            .map_err(|source| self.commit_log.error_at("read", unit.offset, source))?;
        let Some(offset) = record.and_then(|record| u64::try_from(record.queue_offset).ok()) else {
            return Ok(None);
        };
        let entry = self.queue.entry(offset).ok().flatten();
        Ok(entry.filter(|entry| entry.physical_offset == unit.offset).map(|_| offset + 1))
    }

    /// Wheel and timer log are made anew from the timer topic.
    fn rebuild(&mut self, check: &Checkpoint) -> Result<Resumed, StoreError> {
        tracing::warn!(
            "the timer wheel or its log is missing or of another precision; both are built anew from the timer topic"
        );
        let path = self.wheel.path.clone();
        let options = self.options;
        let until = u64::try_from(check.queue_offset.max(check.master_queue_offset)).unwrap_or(0);
        let known = check.read_time > 0;
        let delivered_from = match (&check.own, known) {
            (Some(own), _) => own.delivered_from,
            (None, true) => self.commit_log.end(),
            (None, false) => self.commit_log.min(),
        };
        if known {
            self.mark_rebuilding(check, delivered_from)?;
        }
        self.wheel.clear();
        self.wheel.create().map_err(StoreError::io("create", &path))?;
        self.forget_files()?;
        Ok(Resumed {
            read_time: options.slot_of(if known { check.read_time } else { self.now }),
            queue_offset: self.queue.min_offset(),
            delivered_from,
            rest: (0, 0),
            skipped: known.then_some((until, check.read_time)),
            settle: false,
        })
    }

    /// Notes that wheel and timer log do not hold what the checkpoint speaks of, so that a start that follows before
    /// the next checkpoint builds them anew as well. No wheel has slots of 0 ms.
    fn mark_rebuilding(&mut self, check: &Checkpoint, delivered_from: u64) -> Result<(), StoreError> {
        let own = Own { delivered_from, precision: 0, ..Own::default() };
        let path = self.file.path.clone();
        self.file.save(&Checkpoint { own: Some(own), ..*check }).map_err(StoreError::io("write", &path))
    }

    fn in_queue(&self, offset: i64) -> u64 {
        u64::try_from(offset).unwrap_or(0).clamp(self.queue.min_offset(), self.queue.max_offset())
    }

    /// Messages that were delivered, or rolled, since the checkpoint.
    fn delivered_since(&self, resumed: &Resumed) -> Result<HashSet<u64>, StoreError> {
        let mut done = HashSet::new();
        if resumed.skipped.is_some() {
            self.rolled(&mut done)?;
        }
        let waits = self.wheel.next_from(i64::MIN).is_some();
        if !waits && resumed.queue_offset >= self.queue.next.load(Ordering::Acquire) {
            return Ok(done);
        }
        let end = self.commit_log.end();
        let mut walk = Walk::new(self.commit_log, end);
        let mut at = resumed.delivered_from.max(self.commit_log.min());
        while at < end {
            match walk.look(at).map_err(|source| self.commit_log.error_at("read", at, source))? {
                Look::Record(record) => {
                    note_copy(&record, &mut done);
                    at += record.bytes.len() as u64;
                }
                Look::Blank { next } => at = next,
                Look::Bad(_) | Look::Nothing => {
                    at = (at / self.commit_log.segment_bytes + 1) * self.commit_log.segment_bytes;
                }
            }
        }
        Ok(done)
    }

    /// Messages that have been put back into the timer topic: their copies wait there.
    fn rolled(&self, done: &mut HashSet<u64>) -> Result<(), StoreError> {
        let mut scratch = Vec::new();
        let mut offset = self.queue.min_offset();
        let mut bytes = vec![0; 1000 * ENTRY_BYTES];
        while offset < self.queue.next.load(Ordering::Acquire) {
            let read = self
                .queue
                .raw_entries(offset, &mut bytes)
                .map_err(StoreError::io("read the timer topic's queue at", self.wheel.path.as_path()))?;
            for entry in bytes[..read * ENTRY_BYTES].chunks_exact(ENTRY_BYTES).filter_map(QueueEntry::decode)
            {
                let at = entry.physical_offset;
                let record = read_record(self.commit_log, at, entry.size, &mut scratch)
                    .map_err(|source| self.commit_log.error_at("read", at, source))?;
                if let Some(record) = record {
                    note_copy(&record, done);
                }
            }
            offset += read.max(1) as u64;
        }
        Ok(())
    }

    /// Counts anew what waits for each topic; the file is as old as the last save. Of what is done only that is kept
    /// which will be met again.
    fn count(
        &self,
        metrics: &mut Metrics,
        queues: &Queues,
        resumed: &Resumed,
        done: &mut HashSet<u64>,
    ) -> Result<(), StoreError> {
        let error = StoreError::io("read the timer topic's queue at", self.wheel.path.as_path());
        let unread = match self.queue.entry(resumed.queue_offset).map_err(error)? {
            Some(entry) => entry.physical_offset,
            None if resumed.queue_offset >= self.queue.max_offset() => u64::MAX,
            // It is damaged and tells nothing: any of them may be read again.
            None => 0,
        };
        let mut met: HashSet<u64> = done.iter().copied().filter(|offset| *offset >= unread).collect();
        let Some(from) = self.wheel.all().map(|(_, slot)| slot.first).min() else {
            metrics.reset(self.now);
            *done = met;
            return Ok(());
        };
        metrics.reset(self.now);
        let mut counts: HashMap<i32, (i64, Unit)> = HashMap::new();
        let error = StoreError::io("read the timer log in", &self.log.dir);
        let (rest_from, rest_until) = resumed.rest;
        self.log
            .scan(from.max(self.log.min()), &mut |at, unit| {
                let time = unit.slot_time();
                let replaced = time == resumed.read_time && rest_from < rest_until && at < rest_from;
                if time < resumed.read_time || replaced || at >= self.log.end() {
                    return;
                }
                if done.contains(&unit.offset) {
                    met.insert(unit.offset);
                } else if unit.topic_hash != UNKNOWN_TOPIC {
                    counts.entry(unit.topic_hash).or_insert((0, unit)).0 += i64::from(unit.count());
                }
            })
            .map_err(error)?;
        let known: HashMap<i32, Arc<str>> =
            queues.topics().into_iter().map(|topic| (hash::java_hash(&topic), topic)).collect();
        for (topic_hash, (count, unit)) in counts {
            match known.get(&topic_hash) {
                Some(topic) => metrics.add(topic, count, self.now),
                None => self.count_unknown(metrics, count, &unit),
            }
        }
        *done = met;
        Ok(())
    }

    /// Counts for a topic that has had no message yet: one that waits for it names it. If the disk does not give that
    /// one, the count lacks: it is for people, and no reason not to start.
    fn count_unknown(&self, metrics: &mut Metrics, count: i64, unit: &Unit) {
        let mut scratch = Vec::new();
        match read_record(self.commit_log, unit.offset, unit.size, &mut scratch) {
            Ok(record) => {
                if let Some(topic) = record.and_then(|record| record.property(props::REAL_TOPIC)) {
                    metrics.add(topic, count, self.now);
                }
            }
            Err(error) => tracing::warn!(
                offset = unit.offset,
                "a timer message cannot be read: {count} that wait for its topic are not counted: {error}"
            ),
        }
    }
}

/// Notes of which message a delivered or rolled copy was made.
fn note_copy(record: &Record<'_>, done: &mut HashSet<u64>) {
    let (mut timed, mut taken) = (false, false);
    for (name, _) in props::iter(record.properties) {
        timed |= name == props::TIMER_OUT_MS;
        taken |= name == props::TIMER_DEQUEUE_MS;
    }
    if let Some(source) = source_of(record.prepared_transaction_offset).filter(|_| timed && taken) {
        done.insert(source);
    }
}
