//! Deleting a topic: its queues and what was compacted of it go, its messages stay in the log until they expire.

use std::sync::atomic::Ordering;

use crate::dispatch;
use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// Removes the queues of a topic. Its messages stay in the log until they expire; a topic of this name begins
    /// anew at offset 0.
    ///
    /// After an error the topic may be there as before, or gone for everybody who asks for it. In that case it comes
    /// back if the process ends before the disk gives its files up, which is tried again.
    pub fn delete_topic(&self, topic: &str) -> Result<(), StoreError> {
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
            for queue in self.queues.remove_topic(topic) {
                queue.delete();
                files.close(&queue);
                appender.entries -= queue.next.load(Ordering::Relaxed);
            }
        }
        files.finish_deletion(topic).inspect_err(|_| files.signal.raise())?;
        drop(no_writes);
        // From here on recovery must not dispatch the topic's old messages again.
        self.flush_step()?;
        self.queue_step(true)
    }
}
