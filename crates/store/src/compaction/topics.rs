//! The topics that are compacted: their logs come to be, follow their queues, and go with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::load::Loading;
use super::log::{CompactionLog, end_of};
use super::part::{self, Dirs, is_damage};
use crate::disk::{self, Disk};
use crate::dispatch;
use crate::error::StoreError;
use crate::queue::Queue;
use crate::queue_kind::QueueKind;
use crate::store::Store;

/// Messages come together for this long before they are copied.
const GATHER: Duration = Duration::from_millis(200);

impl Store {
    /// From now on, until it is deleted, the topic keeps the last message of each key. What is kept of it on the disk
    /// is opened. To be called at the start for every such topic, before anything is appended.
    pub fn compact_topic(&self, topic: &str) -> Result<(), StoreError> {
        let compaction = &self.compaction;
        if self.base.options.compaction.is_none()
            || !dispatch::is_safe_topic(topic)
            || self.queues.kind_of(topic) != QueueKind::Simple
            || compaction.topics.read().contains_key(topic)
        {
            return Ok(());
        }
        let dir = part::log_root(&self.base.options.root).join(topic);
        let mut logs = BTreeMap::new();
        for entry in self.base.disk.list(&dir).map_err(StoreError::io("list", &dir))? {
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
        let dirs = Dirs::of(&self.base.options.root, topic, id);
        let queue = self.queues.get(topic, id);
        let mut appender = self.appender.lock();
        let next = queue.next.load(Ordering::Acquire);
        let loading = Loading {
            disk: &*self.base.disk,
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
            positions.save(&*self.base.disk).map_err(StoreError::io("write", &positions.path))?;
        }
        drop(positions);
        if next == 0 && end > 0 {
            // The queue's files are gone, and its messages from the commit log. Its numbers go on behind those that are
            // kept here: given again, they would be taken for messages that consumers have seen.
            // The entry of nothing is what the next start knows them by.
            queue.restart_at(end - 1);
            appender.entries += end - 1;
            self.fill_up(&mut appender, &queue, end);
        }
        drop(appender);
        let due = self.next_compaction(topic, id);
        Ok(Arc::new(CompactionLog::new(queue, dirs, parts, due)))
    }

    /// When a queue is compacted next: an interval from now, and a part of one, so that not all come at once.
    fn next_compaction(&self, topic: &str, id: u32) -> Duration {
        let interval =
            self.base.options.compaction.as_ref().map_or(Duration::MAX, |options| options.interval);
        let share = crc32fast::hash(format!("{topic}_{id}").as_bytes()) % 1024;
        self.base.clock.monotonic().saturating_add(interval).saturating_add(interval / 1024 * share)
    }

    /// The compaction log of a queue that has messages in it.
    pub(crate) fn compaction_log_of(&self, queue: &Queue) -> Option<Arc<CompactionLog>> {
        self.compaction.find(queue).filter(|log| end_of(&log.parts()) > 0)
    }

    /// Offset of the first message that the compaction log has from a time on, if it has one.
    pub(crate) fn kept_offset_by_time(&self, queue: &Queue, millis: i64) -> Result<Option<u64>, StoreError> {
        let Some(log) = self.compaction_log_of(queue) else { return Ok(None) };
        let found = match log.offset_by_time(millis) {
            Err(error) if is_damage(&error) && self.mend_all(&log).is_ok_and(|mended| mended) => {
                log.offset_by_time(millis)
            }
            found => found,
        };
        // Without it the search would go on in the commit log, behind everything that is kept.
        found.map_err(StoreError::io("search", &log.dirs.log))
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
                    let dirs = Dirs::of(&self.base.options.root, &topic, queue.id());
                    // Of a deletion that was killed the position may be left. What is copied here is new to it.
                    let mut positions = self.compaction.positions.lock();
                    if positions.get(&topic, queue.id()) >= 0 {
                        positions.set(&topic, queue.id(), -1);
                    }
                    drop(positions);
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
        let (moved, failures) = self.follow_all();
        failures.into_iter().next().map_or(Ok(moved), |(_, error)| Err(error))
    }

    /// The same; tells which logs something could not be copied to. One of them keeps no other from its messages.
    fn follow_all(&self) -> (bool, Vec<(Arc<CompactionLog>, StoreError)>) {
        let (mut moved, mut failures) = (false, Vec::new());
        for log in self.compaction_logs() {
            match self.follow(&log) {
                Ok(some) => moved |= some,
                Err(error) => {
                    self.note_failure(&log, &error);
                    failures.push((log, error));
                }
            }
        }
        (moved, failures)
    }

    fn follow(&self, log: &CompactionLog) -> Result<bool, StoreError> {
        let mut moved = false;
        let mut begun = (self.base.clock.monotonic(), self.log_end());
        while self.follow_some(log)? {
            moved = true;
            begun = self.rest_from_compaction(begun);
        }
        if log.stuck.end() {
            let (topic, queue) = (log.queue.topic(), log.queue.id());
            tracing::info!(topic = %topic, queue, "messages of a compacted topic can be copied again");
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
            self.base.sync_failed(error.to_string());
        }
        if log.stuck.is_due(self.base.clock.monotonic()) {
            tracing::warn!(
                topic = %log.queue.topic(), queue = log.queue.id(), %error,
                "messages of a compacted topic cannot be copied; the segments of the commit log that have them stay"
            );
        }
    }

    /// Makes durable all that is copied from the commit log before a position, for who removes it there; gives the
    /// reason if something has to stay there.
    ///
    /// However full the disk is: a segment that went before its messages were copied would take the last ones of their
    /// keys with it, and nobody would know.
    pub(crate) fn compaction_needs(&self, position: u64) -> Result<Option<String>, StoreError> {
        if !self.compaction.any.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (_, failures) = self.follow_all();
        self.sync_compaction()?;
        let needing = failures.into_iter().find(|(log, _)| !log.has_all_before(position));
        Ok(needing.map(|(log, error)| {
            let (topic, queue) = (log.queue.topic(), log.queue.id());
            format!("messages of queue {queue} of the compacted topic {topic} cannot be copied ({error})")
        }))
    }

    fn sync_compaction(&self) -> Result<(), StoreError> {
        for log in self.compaction_logs() {
            log.sync().map_err(|source| self.base.sync_error(&log.dirs.log, source))?;
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
        positions.save(&*self.base.disk).map_err(StoreError::io("write", &positions.path))
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
        let root = &self.base.options.root;
        for dir in [part::log_root(root).join(topic), part::units_root(root).join(topic)] {
            remove_tree(&*self.base.disk, &dir).map_err(StoreError::io("remove", &dir))?;
        }
        let mut positions = self.compaction.positions.lock();
        positions.forget(topic);
        positions.save(&*self.base.disk).map_err(StoreError::io("write", &positions.path))
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
        Some(due.saturating_sub(self.base.clock.monotonic()))
    }

    fn compact_due(&self) {
        for log in self.compaction_logs() {
            if log.pass.lock().due > self.base.clock.monotonic() || self.compaction.signal.is_stopped() {
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
