//! Writing down how far a group has come: at the broker, or for broadcast in a file (client.md §3.7).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wire::body::MessageQueue;

use super::member::{Assigned, Member};
use crate::error::Error;

impl Member {
    /// How far the group has come in a queue, if it has ever been there.
    pub(super) async fn stored(&self, queue: &MessageQueue) -> Result<Option<i64>, Error> {
        if self.is_broadcast() {
            return Ok(self.in_file.lock().get(queue).copied());
        }
        self.shared.committed(&self.group, queue).await
    }

    /// Writes down all queues whose offset has changed, as far as that works.
    pub(super) async fn commit_all(&self) {
        // What did not work was logged, and is tried again.
        let _ = self.commit(&self.assigned()).await;
    }

    /// Writes down those of these queues whose offset has changed, and gives the first error.
    pub(super) async fn commit(&self, queues: &[Arc<Assigned>]) -> Result<(), Error> {
        let mut in_file_changed = false;
        let mut outcome = Ok(());
        for assigned in queues {
            let offset = assigned.window.lock().committable();
            if assigned.committed.load(Ordering::Acquire) == offset {
                continue;
            }
            if self.is_broadcast() {
                self.in_file.lock().insert(MessageQueue::clone(&assigned.queue), offset);
                in_file_changed = true;
            } else if let Err(error) = self.shared.commit(&self.group, &assigned.queue, offset).await {
                tracing::warn!(group = self.group, queue = ?assigned.queue, "the offset is not written down: {error}");
                outcome = outcome.and(Err(error));
                continue;
            }
            assigned.committed.store(offset, Ordering::Release);
        }
        if in_file_changed {
            self.write_file();
        }
        outcome
    }

    fn write_file(&self) {
        let Some(file) = &self.file else { return };
        let offsets = self.in_file.lock().clone();
        // A few hundred bytes: not worth a thread of its own.
        if let Err(error) = file.write(&offsets) {
            tracing::warn!(group = self.group, "{error}");
        }
    }
}
