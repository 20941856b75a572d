//! Deleting a topic: its queues and what was compacted of it go, its messages stay in the log until they expire.

use std::sync::atomic::Ordering;

use crate::dispatch;
use crate::error::StoreError;
use crate::queue_kind::QueueKind;
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

    /// Removes the queues of a topic; those that come to be behind them are of `kind`.
    fn delete_queues(&self, topic: &str, kind: Option<QueueKind>) -> Result<(), StoreError> {
        if !dispatch::is_safe_topic(topic) {
            return Ok(());
        }
        // First what would otherwise be all that is left of it after a crash.
        self.delete_compacted(topic)?;
        let mut no_writes = self.queue_writer.lock();
        no_writes.drop_table(&self.base)?;
        let files = &self.queues.files;
        files.deletions.add(topic);
        {
            let mut appender = self.appender.lock();
            // Before they are gone: whoever misses one makes it anew.
            if let Some(kind) = kind {
                self.queues.set_kind(topic, kind);
            }
            for queue in self.queues.remove_topic(topic) {
                queue.delete();
                files.close(&queue);
                appender.entries -= queue.next.load(Ordering::Relaxed);
            }
        }
        // The disk may take its time; nobody need wait for queues until then to which nothing comes.
        if let Some(told) = self.on_deletion.get() {
            told(topic);
        }
        files.finish_deletion(topic).inspect_err(|_| files.signal.raise())?;
        drop(no_writes);
        // From here on recovery must not dispatch the topic's old messages again.
        self.flush_step()?;
        self.queue_step(true)
    }
}
