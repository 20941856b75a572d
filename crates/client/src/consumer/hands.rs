//! How many messages of a queue are in the application's hands.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How long who waits may lag behind the occasion for it.
const LOOK: Duration = Duration::from_millis(20);

/// A count of messages that somebody may wait for to become zero.
#[derive(Debug, Default)]
pub(super) struct Hands {
    count: AtomicUsize,
    fewer: Notify,
}

impl Hands {
    pub fn take(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub fn give(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.fewer.notify_waiters();
        }
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until nothing is in hands.
    pub async fn wait_until_empty(&self, deadline: Instant) {
        while self.count() > 0 && Instant::now() < deadline {
            let _ = tokio::time::timeout(LOOK, self.fewer.notified()).await;
        }
    }
}
