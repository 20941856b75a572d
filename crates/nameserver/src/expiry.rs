//! The task that notices silent brokers.
//!
//! It sleeps until the first broker could be gone, which with brokers that talk is at most once per timeout, and
//! without brokers it sleeps for good.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::Nameserver;

impl Nameserver {
    /// Starts to notice silent brokers, until the task is aborted. Needs a tokio runtime.
    pub fn spawn_expiry(self: &Arc<Self>) -> JoinHandle<()> {
        tokio::spawn(Arc::clone(self).expire_for_good())
    }

    async fn expire_for_good(self: Arc<Self>) {
        let interval = self.settings.load().scan_not_active_broker_interval;
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        let mut next_scan_ms = 0;
        loop {
            let wake_ms = self.fall_asleep(next_scan_ms);
            self.sleep_until(wake_ms).await;
            let now_ms = self.now_ms();
            if now_ms >= wake_ms {
                self.expire(now_ms);
                next_scan_ms = now_ms.saturating_add(interval_ms);
            }
        }
    }

    /// When there is something to do, not before `earliest_ms`. Known to registrations from here on.
    fn fall_asleep(&self, earliest_ms: i64) -> i64 {
        // Until the tables have been looked at, every registration wakes us.
        self.asleep_until_ms.store(i64::MAX, Ordering::Release);
        let wake_ms = match self.tables.read().next_expiry_ms() {
            Some(expiry_ms) => expiry_ms.saturating_add(1).max(earliest_ms),
            None => i64::MAX,
        };
        self.asleep_until_ms.store(wake_ms, Ordering::Release);
        wake_ms
    }

    async fn sleep_until(&self, wake_ms: i64) {
        if wake_ms == i64::MAX {
            self.wake_expiry.notified().await;
            return;
        }
        let rest = Duration::from_millis(u64::try_from(wake_ms - self.now_ms()).unwrap_or(0));
        let _ = tokio::time::timeout(rest, self.wake_expiry.notified()).await;
    }

    fn expire(&self, now_ms: i64) {
        let expired = self.tables.write().expire(now_ms);
        for id in expired.channels {
            let channel = self.broker_channels.lock().remove(&id);
            if let Some(channel) = channel.and_then(|channel| channel.upgrade()) {
                channel.close("its broker sent no heartbeat in time");
            }
        }
        self.tell(expired.min_id_changes);
    }
}
