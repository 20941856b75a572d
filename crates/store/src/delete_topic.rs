//! Deleting a topic: its queues and what was compacted of it go, its messages stay in the log until they expire.

use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use crate::dispatch;
use crate::error::StoreError;
use crate::queue_kind::QueueKind;
use crate::queue_writer::QueueWriter;
use crate::store::{OnDeletion, Store};

impl Store {
    /// Removes the queues of a topic. Its messages stay in the log until they expire; a topic of this name begins
    /// anew at offset 0.
    ///
    /// After an error the topic may be there as before, or gone for everybody who asks for it. In that case it comes
    /// back if the process ends before the disk gives its files up, which is tried again.
    pub fn delete_topic(&self, topic: &str) -> Result<(), StoreError> {
        self.delete_queues(topic, None)
    }

    /// Says what the queues of a topic are that come to be from now on. If it has queues of the other kind, which a
    /// topic of the same name has left behind, they are removed. The broker's `topics.json` must say the same before
    /// the first message is stored: the next start goes by that.
    pub fn set_queue_kind(&self, topic: &str, kind: QueueKind) -> Result<(), StoreError> {
        if self.queues.of_topic(topic).iter().all(|queue| queue.kind() == kind) {
            self.queues.set_kind(topic, kind);
            return Ok(());
        }
        let before = self.queues.kind_of(topic);
        self.delete_queues(topic, Some(kind)).inspect_err(|_| self.queues.set_kind(topic, before))
    }

    /// From now on `told` hears of topics whose queues are deleted, as soon as nothing comes to these any more: their
    /// files go after that. Only the first call counts.
    pub fn tell_of_deletions(&self, told: OnDeletion) {
        let _ = self.on_deletion.set(told);
    }

    /// Begins to delete topics, of which what was compacted goes now. Until the deletion has ended no queue is written
    /// to its files, so it shall not last.
    pub fn begin_deletion(&self, topics: &[&str]) -> Result<Deletion<'_>, StoreError> {
        // First what would otherwise be all that is left of a topic after a crash.
        for topic in topics.iter().filter(|topic| dispatch::is_safe_topic(topic)) {
            self.delete_compacted(topic)?;
        }
        let mut no_writes = self.queue_writer.lock();
        no_writes.drop_table(&self.base)?;
        Ok(Deletion { store: self, no_writes, taken: Vec::new() })
    }

    /// Removes the queues of a topic; those that come to be behind them are of `kind`.
    fn delete_queues(&self, topic: &str, kind: Option<QueueKind>) -> Result<(), StoreError> {
        if !dispatch::is_safe_topic(topic) {
            return Ok(());
        }
        let mut deletion = self.begin_deletion(&[topic])?;
        deletion.take_queues(topic, kind);
        deletion.finish()
    }
}

/// Topics that are being deleted. What waits for the disk is before this and in [`Deletion::finish`], so that others
/// may be kept from making a topic anew for just as long as its queues are taken.
pub struct Deletion<'s> {
    store: &'s Store,
    no_writes: MutexGuard<'s, QueueWriter>,
    taken: Vec<String>,
}

impl Deletion<'_> {
    /// Takes the queues of a topic out of memory. Whoever asks for one from now on has a new and simple one, which the
    /// deletion leaves alone.
    pub fn take(&mut self, topic: &str) {
        self.take_queues(topic, Some(QueueKind::Simple));
    }

    fn take_queues(&mut self, topic: &str, kind: Option<QueueKind>) {
        if !dispatch::is_safe_topic(topic) {
            return;
        }
        let queues = &self.store.queues;
        queues.files.deletions.add(topic);
        self.taken.push(topic.to_owned());
        let mut appender = self.store.appender.lock();
        // Before they are gone: whoever misses one makes it anew.
        if let Some(kind) = kind {
            queues.set_kind(topic, kind);
        }
        for queue in queues.remove_topic(topic) {
            queue.delete();
            queues.files.close(&queue);
            appender.entries -= queue.next.load(Ordering::Relaxed);
        }
    }

    /// Removes the files of what was taken. Those that the disk does not give up are tried again later; an error says
    /// that there are such.
    pub fn finish(self) -> Result<(), StoreError> {
        let Deletion { store, no_writes, taken } = self;
        if taken.is_empty() {
            return Ok(());
        }
        // The disk may take its time; nobody need wait for queues until then to which nothing comes.
        if let Some(told) = store.on_deletion.get() {
            taken.iter().for_each(|topic| told(topic));
        }
        let files = &store.queues.files;
        let removed = taken.iter().map(|topic| files.finish_deletion(topic));
        removed.fold(Ok(()), Result::and).inspect_err(|_| files.signal.raise())?;
        drop(no_writes);
        // From here on recovery must not dispatch the topics' old messages again.
        store.flush_step()?;
        store.queue_step(true)
    }
}
