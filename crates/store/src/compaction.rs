//! Topics that keep the last message of each key (`cleanup.policy=COMPACTION`, store.md §16), in Java's files.
//!
//! Each queue of such a topic is a queue like any other, and beside it has a compaction log: copies of its messages
//! with their queue offsets, in files of their own, which stay when the commit log's segments expire. Now and then all
//! files of it but the last are written anew, without the messages that are not the last of their key; a message
//! without a body deletes its key.
//!
//! Invariants: a compaction log holds nothing that the commit log could still lose; no segment of the commit log goes
//! before its messages are durable there; a crash while files are replaced leaves the old ones or the new ones.

mod follow;
mod load;
mod log;
mod part;
mod pass;
mod positions;
mod read;
mod replace;
mod unit;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::disk::{self, Disk};
use crate::dispatch;
use crate::error::StoreError;
use crate::options::{CompactionOptions, Options};
use crate::queue::Queue;
use crate::queue_kind::{QueueKind, UNIT_BYTES};
use crate::signal::Signal;
use crate::store::Store;

use load::Loading;
use log::{CompactionLog, end_of};
use part::{Dirs, Sizes};
use positions::Positions;

pub(crate) use part::{log_root, units_root};
pub(crate) use unit::Unit;

impl CompactionOptions {
    /// Java's rounding: a file of records is a multiple of a file of entries, so that both can have the same name.
    fn sizes(&self) -> Sizes {
        let unit = UNIT_BYTES as u64;
        let units = (self.units_file_bytes / unit).max(2) * unit;
        let (whole, rest) = (self.log_file_bytes / units, self.log_file_bytes % units);
        let log = match whole {
            ..5 => 5 * units,
            _ if rest > 0 && rest < units / 2 => whole * units,
            _ => (whole + 1) * units,
        };
        Sizes { log, units }
    }
}

/// The compaction logs of a topic by queue.
type Logs = BTreeMap<u32, Arc<CompactionLog>>;

/// The compaction logs of a store.
pub(crate) struct Compaction {
    sizes: Sizes,
    /// By topic and number, for every topic that is compacted.
    topics: RwLock<HashMap<Arc<str>, Logs>>,
    /// Whether there is any, so that others pay nothing.
    any: AtomicBool,
    positions: Mutex<Positions>,
    /// Raised when something was flushed that may be copied.
    pub signal: Signal,
    /// Whether the store was stopped cleanly before it was opened.
    clean: bool,
}

/// Messages come together for this long before they are copied.
const GATHER: Duration = Duration::from_millis(200);

impl Compaction {
    pub fn open(disk: &dyn Disk, options: &Options, clean: bool) -> Compaction {
        let sizes = options.compaction.clone().unwrap_or_default().sizes();
        Compaction {
            sizes,
            topics: RwLock::default(),
            any: AtomicBool::new(false),
            positions: Mutex::new(Positions::load(disk, &options.root)),
            signal: Signal::default(),
            clean,
        }
    }

    /// The compaction log of a queue, if its topic has them.
    fn find(&self, queue: &Queue) -> Option<Arc<CompactionLog>> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let log = self.topics.read().get(queue.topic())?.get(&queue.id()).cloned()?;
        (log.queue.serial == queue.serial).then_some(log)
    }

    /// Tells the worker that messages were flushed.
    pub fn flushed(&self) {
        if self.any.load(Ordering::Relaxed) {
            self.signal.raise();
        }
    }
}

impl Store {
    /// From now on, until it is deleted, the topic keeps the last message of each key. What is kept of it on the disk
    /// is opened. To be called at the start for every such topic, before anything is appended.
    pub fn compact_topic(&self, topic: &str) -> Result<(), StoreError> {
        let compaction = &self.compaction;
        if self.options.compaction.is_none()
            || !dispatch::is_safe_topic(topic)
            || self.queues.kind_of(topic) != QueueKind::Simple
            || compaction.topics.read().contains_key(topic)
        {
            return Ok(());
        }
        let dir = part::log_root(&self.options.root).join(topic);
        let mut logs = BTreeMap::new();
        for entry in self.disk.list(&dir).map_err(StoreError::io("list", &dir))? {
            if let (true, Ok(id)) = (entry.is_dir, entry.name.parse::<u32>()) {
                logs.insert(id, self.open_compaction_log(topic, id)?);
            }
        }
        compaction.topics.write().insert(Arc::from(topic), logs);
        compaction.any.store(true, Ordering::Release);
        compaction.signal.raise();
        Ok(())
    }

    fn open_compaction_log(&self, topic: &str, id: u32) -> Result<Arc<CompactionLog>, StoreError> {
        let dirs = Dirs::of(&self.options.root, topic, id);
        let queue = self.queues.get(topic, id);
        let mut appender = self.appender.lock();
        let next = queue.next.load(Ordering::Acquire);
        let loading = Loading {
            disk: &*self.disk,
            dirs: &dirs,
            topic,
            id,
            sizes: self.compaction.sizes,
            clean: self.compaction.clean,
            again_from: if next > 0 { queue.log_min_offset() } else { u64::MAX },
        };
        let parts = loading.load((next > 0).then_some(next))?;
        let end = end_of(&parts);
        // What a power cut took from the last part is copied again, and with it messages that were compacted away. They
        // are new to the next pass: taken for compacted, a deletion would go alone and leave the value it deletes.
        let mut positions = self.compaction.positions.lock();
        if positions.get(topic, id) >= end as i64 {
            positions.set(topic, id, end as i64 - 1);
            positions.save(&*self.disk).map_err(StoreError::io("write", &positions.path))?;
        }
        drop(positions);
        if next == 0 && end > 0 {
            // The queue's files are gone, and its messages from the commit log. Its numbers go on behind those that are
            // kept here: given again, they would be taken for messages that consumers have seen.
            queue.restart_at(end);
            appender.entries += end;
        }
        drop(appender);
        let due = self.next_compaction(topic, id);
        Ok(Arc::new(CompactionLog::new(queue, dirs, parts, due)))
    }

    /// When a queue is compacted next: an interval from now, and a part of one, so that not all come at once.
    fn next_compaction(&self, topic: &str, id: u32) -> Duration {
        let interval = self.options.compaction.as_ref().map_or(Duration::MAX, |options| options.interval);
        let share = crc32fast::hash(format!("{topic}_{id}").as_bytes()) % 1024;
        self.clock.monotonic().saturating_add(interval).saturating_add(interval / 1024 * share)
    }

    /// The compaction log of a queue that has messages in it.
    pub(crate) fn compaction_log_of(&self, queue: &Queue) -> Option<Arc<CompactionLog>> {
        self.compaction.find(queue).filter(|log| end_of(&log.parts()) > 0)
    }

    /// Offset of the first message that the compaction log has from a time on, if it has one.
    pub(crate) fn kept_offset_by_time(&self, queue: &Queue, millis: i64) -> Option<u64> {
        let log = self.compaction_log_of(queue)?;
        let found = match log.offset_by_time(millis) {
            Err(error) if read::is_damage(&error) && self.mend_all(&log).is_ok_and(|mended| mended) => {
                log.offset_by_time(millis)
            }
            found => found,
        };
        found.unwrap_or_else(|error| {
            tracing::warn!(topic = %queue.topic(), queue = queue.id(), %error, "cannot search a compaction log");
            None
        })
    }

    /// The compaction logs of all queues that have messages, in order.
    fn compaction_logs(&self) -> Vec<Arc<CompactionLog>> {
        let mut topics: Vec<_> = self.compaction.topics.read().keys().cloned().collect();
        topics.sort();
        let mut logs = Vec::new();
        for topic in topics {
            for queue in self.queues.of_topic(&topic).into_iter().filter(|queue| has_messages(queue)) {
                let mut table = self.compaction.topics.write();
                let Some(known) = table.get_mut(&topic) else { break };
                let log = known.entry(queue.id()).or_insert_with(|| {
                    let dirs = Dirs::of(&self.options.root, &topic, queue.id());
                    let due = self.next_compaction(&topic, queue.id());
                    Arc::new(CompactionLog::new(Arc::clone(&queue), dirs, Vec::new(), due))
                });
                logs.push(Arc::clone(log));
            }
        }
        logs
    }

    /// Copies all that is durable to the compaction logs; tells whether there was anything.
    pub fn compaction_follow_step(&self) -> Result<bool, StoreError> {
        let mut moved = false;
        for log in self.compaction_logs() {
            let mut begun = (self.clock.monotonic(), self.log_end());
            while self.follow_some(&log).inspect_err(|error| self.note_failure(&log, error))? {
                moved = true;
                begun = self.rest_from_compaction(begun);
            }
        }
        Ok(moved)
    }

    /// Compacts every queue that has something to compact, due or not; tells how many those were.
    pub fn compaction_step(&self) -> Result<u64, StoreError> {
        let mut compacted = 0;
        for log in self.compaction_logs() {
            compacted += u64::from(self.compact_log(&log)?);
        }
        Ok(compacted)
    }

    /// Copying failed. It is tried again, unless it was a sync.
    fn note_failure(&self, log: &CompactionLog, error: &StoreError) {
        if log.parts().iter().any(|part| part.has_failed()) {
            self.sync_failed(error.to_string());
        }
        tracing::warn!(%error, "messages of a compacted topic stay in the commit log until they can be copied");
    }

    /// Makes all that is copied durable, for who removes what it was copied from; false if that cannot be.
    pub(crate) fn compaction_is_durable(&self) -> Result<bool, StoreError> {
        if !self.compaction.any.load(Ordering::Relaxed) {
            return Ok(true);
        }
        if self.compaction_follow_step().is_err() {
            return Ok(false);
        }
        self.sync_compaction().map(|()| true)
    }

    fn sync_compaction(&self) -> Result<(), StoreError> {
        for log in self.compaction_logs() {
            if let Err(source) = log.sync() {
                let error = StoreError::Io { what: "sync", path: log.dirs.log.clone(), source };
                self.sync_failed(error.to_string());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Makes everything durable, at a clean stop.
    pub(crate) fn compaction_stop(&self) -> Result<(), StoreError> {
        if !self.compaction.any.load(Ordering::Relaxed) {
            return Ok(());
        }
        // What cannot be copied now is copied after the next start.
        let _ = self.compaction_follow_step();
        self.sync_compaction()?;
        for log in self.compaction_logs() {
            self.finish_pass(&log, &mut log.pass.lock())?;
        }
        let mut positions = self.compaction.positions.lock();
        positions.save(&*self.disk).map_err(StoreError::io("write", &positions.path))
    }

    /// Removes what is kept of a topic that is deleted.
    pub(crate) fn delete_compacted(&self, topic: &str) -> Result<(), StoreError> {
        // Whether it is known or not: an earlier attempt may have failed on the way.
        let logs = self.compaction.topics.write().remove(topic).unwrap_or_default();
        for log in logs.values() {
            log.gone.store(true, Ordering::Release);
            let _pass = log.pass.lock();
            let _followed = log.followed.lock();
            log.publish(Vec::new());
        }
        let root = &self.options.root;
        for dir in [part::log_root(root).join(topic), part::units_root(root).join(topic)] {
            remove_tree(&*self.disk, &dir).map_err(StoreError::io("remove", &dir))?;
        }
        let mut positions = self.compaction.positions.lock();
        positions.forget(topic);
        positions.save(&*self.disk).map_err(StoreError::io("write", &positions.path))
    }

    /// The thread that copies and compacts.
    pub(crate) fn compaction_loop(&self) {
        let signal = &self.compaction.signal;
        loop {
            let raised = signal.wait(self.compaction_due());
            if signal.is_stopped() {
                return;
            }
            if raised {
                signal.pause(GATHER);
                signal.take();
                if self.compaction_follow_step().is_err() {
                    signal.pause(Duration::from_secs(1));
                }
            }
            self.compact_due();
        }
    }

    /// Time until the next compaction; `None` without compacted topics.
    fn compaction_due(&self) -> Option<Duration> {
        if !self.compaction.any.load(Ordering::Relaxed) {
            return None;
        }
        let due = self.compaction_logs().iter().map(|log| log.pass.lock().due).min()?;
        Some(due.saturating_sub(self.clock.monotonic()))
    }

    fn compact_due(&self) {
        for log in self.compaction_logs() {
            if log.pass.lock().due > self.clock.monotonic() || self.compaction.signal.is_stopped() {
                continue;
            }
            let (topic, id) = (log.queue.topic(), log.queue.id());
            match self.compact_log(&log) {
                Ok(true) => tracing::info!(topic = %topic, queue = id, "compacted"),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(topic = %topic, queue = id, %error, "not compacted; it is tried again")
                }
            }
            log.pass.lock().due = self.next_compaction(topic, id);
        }
    }
}

/// Whether there is something to copy from a queue, and its entries are of single messages.
fn has_messages(queue: &Queue) -> bool {
    queue.kind() == QueueKind::Simple && queue.max_offset() > 0
}

/// Removes a directory with all that is in it, durably.
fn remove_tree(disk: &dyn Disk, dir: &Path) -> std::io::Result<()> {
    if disk.stat(dir)?.is_some() {
        for entry in disk.list(dir)? {
            let path = dir.join(&entry.name);
            if entry.is_dir { remove_tree(disk, &path)? } else { disk.remove(&path)? }
        }
        disk.sync_dir(dir)?;
        disk.remove_dir(dir)?;
    }
    dir.parent().map_or(Ok(()), |parent| disk::sync_dir_if_there(disk, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_sizes_that_java_gives_them() {
        let sizes = |log, units| {
            let sizes =
                CompactionOptions { log_file_bytes: log, units_file_bytes: units, ..Default::default() }
                    .sizes();
            (sizes.log, sizes.units)
        };
        assert_eq!(sizes(100 << 20, 10 << 20), (104_857_460, 10_485_746));
        assert_eq!(sizes(1, 4600), (23_000, 4600));
        assert_eq!(sizes(23_000, 4650), (5 * 4646, 4646));
        assert_eq!(sizes(46_000, 4600), (50_600, 4600));
        assert_eq!(sizes(47_000, 4600), (46_000, 4600));
        assert_eq!(sizes(0, 0), (460, 92));
    }
}
