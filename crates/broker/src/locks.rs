//! Queue locks of orderly consumers (broker.md §13.5): in memory only, each held for at most a minute unrenewed.

use std::collections::HashMap;

use parking_lot::Mutex;
use wire::body::MessageQueue;

/// A lock that was not renewed for this long is free.
const LEASE_MS: i64 = 60_000;

#[derive(Debug)]
struct Lock {
    client_id: String,
    renewed_ms: i64,
}

/// Who holds which queue, by group.
#[derive(Debug, Default)]
pub struct QueueLocks {
    groups: Mutex<HashMap<String, HashMap<MessageQueue, Lock>>>,
}

impl QueueLocks {
    /// Locks what is free, own or expired; returns all that the client now holds of `wanted`.
    pub fn lock(
        &self,
        group: &str,
        client_id: &str,
        wanted: Vec<MessageQueue>,
        now_ms: i64,
    ) -> Vec<MessageQueue> {
        let mut groups = self.groups.lock();
        let locks = groups.entry(group.to_owned()).or_default();
        let take = |queue: &MessageQueue| {
            let lock = locks
                .entry(queue.clone())
                .or_insert_with(|| Lock { client_id: client_id.to_owned(), renewed_ms: now_ms });
            let free = lock.client_id == client_id || lock.renewed_ms + LEASE_MS < now_ms;
            if free {
                *lock = Lock { client_id: client_id.to_owned(), renewed_ms: now_ms };
            }
            free
        };
        wanted.into_iter().filter(take).collect()
    }

    /// Frees the client's locks on these queues.
    pub fn unlock(&self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let mut groups = self.groups.lock();
        if let Some(locks) = groups.get_mut(group) {
            for queue in queues {
                if locks.get(queue).is_some_and(|lock| lock.client_id == client_id) {
                    locks.remove(queue);
                }
            }
            if locks.is_empty() {
                groups.remove(group);
            }
        }
    }

    /// Whether any queue of the group is locked; its retries then go to the dead letters (broker.md §5.3).
    pub fn any(&self, group: &str, now_ms: i64) -> bool {
        let groups = self.groups.lock();
        groups.get(group).is_some_and(|locks| locks.values().any(|lock| lock.renewed_ms + LEASE_MS >= now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue { broker_name: "b".to_owned(), queue_id, topic: "t".to_owned() }
    }

    #[test]
    fn a_lock_is_refused_to_others_until_it_expires_or_is_given_back() {
        let locks = QueueLocks::default();
        assert_eq!(locks.lock("g", "a", vec![queue(0), queue(1)], 0).len(), 2);
        assert_eq!(locks.lock("g", "b", vec![queue(0), queue(2)], 1), [queue(2)]);
        assert_eq!(locks.lock("other", "b", vec![queue(0)], 1), [queue(0)]);
        locks.unlock("g", "b", &[queue(1)]);
        assert!(locks.lock("g", "b", vec![queue(1)], 2).is_empty());
        locks.unlock("g", "a", &[queue(1)]);
        assert_eq!(locks.lock("g", "b", vec![queue(1)], 3), [queue(1)]);
        assert_eq!(locks.lock("g", "b", vec![queue(0)], LEASE_MS + 1), [queue(0)]);
        assert!(locks.any("g", LEASE_MS));
        assert!(!locks.any("g", 3 * LEASE_MS));
    }
}
