//! Deleting old segments of the log, and what queues and index hold of them (store.md §13).

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::LocalTime;
use crate::error::StoreError;
use crate::options::Live;
use crate::queue::Queue;
use crate::store::Store;

/// How full a disk is, as far as deleting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pressure {
    None,
    /// Expired segments go at any hour.
    Expired,
    /// Segments go before their time.
    Forced,
    /// And nothing more is accepted.
    Full,
}

/// Rounds that the administrator's command is good for.
const MANUAL_ROUNDS: u32 = 20;

impl Store {
    /// Sets how long messages of a topic can be read; `None` for as long as the log has them. Acts at once on what is
    /// there if that is another time than before, and then in every round of the cleaner.
    pub fn keep_messages(&self, topic: &str, time: Option<Duration>) {
        self.expiry.keep(&self.base, &self.queues, topic, time);
    }

    /// Whether a message can be read no more because its topic keeps messages for a shorter time than the log.
    pub fn has_expired(&self, topic: &str, queue_id: u32, queue_offset: u64) -> bool {
        self.queues.find(topic, queue_id).is_some_and(|queue| queue_offset < queue.floor().0)
    }

    /// All messages of a topic that were stored before this time (Unix milliseconds) have expired. `i64::MIN` where
    /// that is not known, or the topic keeps its messages for as long as the log.
    pub(crate) fn expired_before(&self, topic: &str) -> i64 {
        let queues = self.queues.of_topic(topic);
        let floors = || queues.iter().map(|queue| (queue.floor(), queue.max_offset()));
        if floors().all(|((floor, _), _)| floor == 0) {
            return i64::MIN;
        }
        // A queue in which everything has expired says nothing of the others.
        let times = floors().filter(|((floor, _), max)| floor < max).map(|((_, time), _)| time);
        times.min().unwrap_or(i64::MAX)
    }

    /// Lets the next rounds delete expired segments at any hour, as the administrator's command does.
    pub fn clean_soon(&self) {
        self.manual_rounds.store(MANUAL_ROUNDS, Ordering::Relaxed);
        self.cleaner.raise();
    }

    /// One round of cleaning: looks at disk and clock, deletes what must go. Tells how many segments that was.
    pub fn clean_step(&self) -> Result<u32, StoreError> {
        // Rounds come one after the other.
        let _one = self.cleaning.lock();
        self.expiry.go_on(&self.base, &self.queues);
        let live = self.base.live.load_full();
        let pressure = self.pressure(&live)?;
        let now = self.base.clock.now_millis();
        let hour = LocalTime::of(now, self.base.clock.utc_offset_seconds(now)).hour;
        let rounds = &self.manual_rounds;
        let manual =
            rounds.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if !manual && pressure == Pressure::None && !live.delete_when.contains(&hour) {
            return Ok(0);
        }
        let forced = pressure >= Pressure::Forced && live.clean_forcibly;
        let deleted = self.delete_segments(&live, now, forced)?;
        if deleted > 0 {
            tracing::info!(
                deleted,
                forced,
                log_min = self.base.log.min(),
                "deleted old segments of the commit log"
            );
            let queues = self.clean_queues();
            let index = self.index.as_ref().map_or(Ok(()), |index| index.clean(&self.base));
            // The table of queues speaks of the log as it began before; a round writes it anew.
            if let Err(error) = self.queue_step(false) {
                tracing::warn!(%error, "writing consume queues failed; their entries stay in memory");
            }
            // What was over the limit may be under it now.
            self.pressure(&live)?;
            queues.and(index)?;
        }
        Ok(deleted)
    }

    /// Looks how full the disks are; above the warning level appends are refused until that changes.
    fn pressure(&self, live: &Live) -> Result<Pressure, StoreError> {
        let warning = live.disk_warning_percent.clamp(35, 90);
        let force = live.disk_clean_forcibly_percent.clamp(30, 85);
        let max = live.disk_max_used_percent.clamp(10, 95);
        let mut worst = Pressure::None;
        let mut full = None;
        for dir in [&self.base.log.dir, &self.base.options.root] {
            let used = self
                .base
                .disk
                .space(dir)
                .map_err(StoreError::io("look at the space of", dir))?
                .used_percent();
            let pressure = if used > warning {
                let mut detail = format!("{used} % used, the limit is {warning} %");
                if let Some(cause) = self.kept_for.cause() {
                    detail.push_str(&format!("; no message can be deleted to make room: {cause}"));
                }
                full = Some((dir.clone(), detail));
                Pressure::Full
            } else if used > force {
                Pressure::Forced
            } else if used > max {
                Pressure::Expired
            } else {
                Pressure::None
            };
            worst = worst.max(pressure);
        }
        let is_full = full.is_some();
        if is_full != self.disk_is_full.load(Ordering::Acquire) {
            tracing::warn!(is_full, ?full, "disk space limit crossed");
        }
        *self.disk_full.lock() = full;
        self.disk_is_full.store(is_full, Ordering::Release);
        Ok(worst)
    }

    /// Deletes segments from the oldest on, never the last, until one has not expired.
    fn delete_segments(&self, live: &Live, now: i64, forced: bool) -> Result<u32, StoreError> {
        let reserved = i64::try_from(live.file_reserved.as_millis()).unwrap_or(i64::MAX);
        let unfinished = self
            .base
            .log
            .finish_removal()
            .map_err(StoreError::io("remove a segment in", &self.base.log.dir))?;
        let mut deleted = u32::from(unfinished);
        while deleted < live.delete_batch_max {
            let segments = self.base.log.segments();
            let [first, second, ..] = segments.as_slice() else { break };
            // The segment that records go to is never deleted, nor one whose records are not durable.
            if second.base > self.flushed_until() || first.until() > self.base.log.end() {
                break;
            }
            if !forced {
                let stat =
                    self.base.disk.stat(&first.path).map_err(StoreError::io("look at", &first.path))?;
                let modified = stat.map_or(i64::MIN / 2, |stat| stat.modified_millis);
                if modified.saturating_add(reserved) > now {
                    break;
                }
            }
            if !self.queues_are_durable(first.until())? {
                break;
            }
            let needs = self.compaction_needs(first.until())?;
            let stays = needs.is_some();
            self.kept_for.note(needs, self.base.clock.monotonic());
            if stays {
                break;
            }
            self.base.log.remove_first().map_err(StoreError::io("remove", &first.path))?;
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Makes the queue entries of records before `until` durable, if they are not; false if they cannot be.
    ///
    /// Once its segment is gone, nothing but the entry says which number a message had. A queue that lost it in a crash
    /// would give that number again, to a message that consumers then take for one they have seen.
    fn queues_are_durable(&self, until: u64) -> Result<bool, StoreError> {
        let durable = || self.base.are_queues_durable(until);
        if !durable() && self.fault().is_none() {
            self.flush_step()?;
            self.queue_step(true)?;
        }
        Ok(durable())
    }

    /// Removes queue segments all of whose entries point to deleted segments; the last one of a queue stays. One queue
    /// where that fails keeps no other waiting.
    fn clean_queues(&self) -> Result<(), StoreError> {
        let queues = self.queues.all();
        let mut expired = Vec::new();
        let mut result = Ok(());
        for queue in &queues {
            match self.expired_until(queue) {
                Ok(Some(until)) => expired.push((queue, until)),
                Ok(None) => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        // What stays must be on the disk before the others go: all that says how far a queue has come may be in there.
        if !expired.is_empty() && self.queues_are_durable(self.base.log.end())? {
            for (queue, until) in expired {
                result = result.and(self.remove_expired(queue, until));
            }
        }
        let extensions = queues.iter().map(|queue| self.clean_extensions(queue));
        extensions.fold(result, Result::and)
    }

    /// Up to which entry the segments of a queue may go, if any may.
    fn expired_until(&self, queue: &Queue) -> Result<Option<u64>, StoreError> {
        let files = &self.queues.files;
        let _no_writes = self.queue_writer.lock();
        let ((first, written), kind) = (queue.span(), queue.kind());
        let last_start = files.segment_start(kind, written.saturating_sub(1));
        let min_place = queue.log_min_place().map_err(StoreError::io("read", &files.dir_of(queue)))?;
        let until = files.segment_start(kind, min_place).min(last_start);
        Ok((until > files.segment_start(kind, first) && !queue.is_deleted()).then_some(until))
    }

    fn remove_expired(&self, queue: &Queue, until: u64) -> Result<(), StoreError> {
        let files = &self.queues.files;
        let _no_writes = self.queue_writer.lock();
        let (mut first, _) = queue.span();
        while first < until && !queue.is_deleted() {
            let next = files.segment_start(queue.kind(), first) + files.segment_entries(queue.kind());
            // Nobody reads there any more when it goes.
            queue.set_first(next);
            if let Err(error) = files.remove(queue, first) {
                queue.set_first(first);
                return Err(StoreError::io("remove segments of", &files.dir_of(queue))(error));
            }
            first = next;
        }
        Ok(())
    }

    fn clean_extensions(&self, queue: &Queue) -> Result<(), StoreError> {
        let files = &self.queues.files;
        let _no_writes = self.queue_writer.lock();
        if !files.ext.are_present() || queue.is_deleted() {
            return Ok(());
        }
        // Extensions stand in the order of their entries.
        let oldest = queue.entry(queue.log_min_offset());
        let oldest = oldest.map_err(StoreError::io("read", &files.dir_of(queue)))?;
        let Some(position) = oldest.and_then(|entry| entry.extension_position()) else { return Ok(()) };
        let path = files.ext.dir_of(queue.topic(), queue.id());
        let removed = files.ext.remove_before(queue, position);
        removed.map_err(StoreError::io("remove segments of", &path))
    }

    /// The thread that cleans. It looks at regular times also when this store does nothing: others fill the disk too.
    pub(crate) fn clean_loop(&self) {
        // Whether the disk has room is known before the first round, which may delete, and so is not the first thing.
        if let Err(error) = self.pressure(&self.base.live.load()) {
            tracing::warn!(%error, "cannot tell how full the disk is");
        }
        loop {
            self.cleaner.wait(Some(self.base.live.load().clean_interval));
            if self.cleaner.is_stopped() {
                return;
            }
            self.cleaner.take();
            if let Err(error) = self.clean_step() {
                tracing::warn!(%error, "cleaning old segments failed; it is tried again");
            }
        }
    }
}
