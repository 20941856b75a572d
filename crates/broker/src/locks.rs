//! Queue locks of orderly consumers (broker.md §13.5): in memory only, each held for at most a minute unrenewed.
//!
//! Times are those of a clock that nobody sets: by the wall clock, a lock of a client that is gone would be held for as
//! long as that was set back.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use wire::body::MessageQueue;

/// A lock that was not renewed for this long is free.
const LEASE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Lock {
    client_id: String,
    renewed: Duration,
}

impl Lock {
    fn is_over(&self, now: Duration) -> bool {
        self.renewed + LEASE < now
    }
}

/// Who holds which queue, by group.
#[derive(Debug, Default)]
pub struct QueueLocks {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    groups: HashMap<String, HashMap<MessageQueue, Lock>>,
    /// When what is over was last forgotten.
    swept: Duration,
}

impl Table {
    /// Forgets, once in a while, what nobody has renewed: most clients that are gone have unlocked nothing.
    fn sweep(&mut self, now: Duration) {
        if self.swept + LEASE > now {
            return;
        }
        self.swept = now;
        self.groups.retain(|_, locks| {
            locks.retain(|_, lock| !lock.is_over(now));
            !locks.is_empty()
        });
    }
}

impl QueueLocks {
    /// Locks what is free, own or expired; returns all that the client now holds of `wanted`.
    pub fn lock(
        &self,
        group: &str,
        client_id: &str,
        wanted: Vec<MessageQueue>,
        now: Duration,
    ) -> Vec<MessageQueue> {
        let mut table = self.table.lock();
        table.sweep(now);
        let locks = table.groups.entry(group.to_owned()).or_default();
        let take = |queue: &MessageQueue| {
            let lock = locks
                .entry(queue.clone())
                .or_insert_with(|| Lock { client_id: client_id.to_owned(), renewed: now });
            let free = lock.client_id == client_id || lock.is_over(now);
            if free {
                *lock = Lock { client_id: client_id.to_owned(), renewed: now };
            }
            free
        };
        wanted.into_iter().filter(take).collect()
    }

    /// Frees the client's locks on these queues.
    pub fn unlock(&self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let groups = &mut self.table.lock().groups;
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
    pub fn any(&self, group: &str, now: Duration) -> bool {
        let groups = &self.table.lock().groups;
        groups.get(group).is_some_and(|locks| locks.values().any(|lock| !lock.is_over(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    fn queue(queue_id: i32) -> MessageQueue {
        MessageQueue { broker_name: "b".to_owned(), queue_id, topic: "t".to_owned() }
    }

    #[test]
    fn a_lock_is_refused_to_others_until_it_expires_or_is_given_back() {
        let locks = QueueLocks::default();
        assert_eq!(locks.lock("g", "a", vec![queue(0), queue(1)], Duration::ZERO).len(), 2);
        assert_eq!(locks.lock("g", "b", vec![queue(0), queue(2)], MOMENT), [queue(2)]);
        assert_eq!(locks.lock("other", "b", vec![queue(0)], MOMENT), [queue(0)]);
        locks.unlock("g", "b", &[queue(1)]);
        assert!(locks.lock("g", "b", vec![queue(1)], 2 * MOMENT).is_empty());
        locks.unlock("g", "a", &[queue(1)]);
        assert_eq!(locks.lock("g", "b", vec![queue(1)], 3 * MOMENT), [queue(1)]);
        assert_eq!(locks.lock("g", "b", vec![queue(0)], LEASE), []);
        assert_eq!(locks.lock("g", "b", vec![queue(0)], LEASE + MOMENT), [queue(0)]);
        assert!(locks.any("g", LEASE));
        assert!(!locks.any("g", 3 * LEASE));
    }

    #[test]
    fn locks_of_clients_that_are_gone_are_forgotten() {
        let locks = QueueLocks::default();
        for number in 0..100 {
            locks.lock(&format!("group-{number}"), "gone", vec![queue(0), queue(1)], MOMENT);
        }
        locks.lock("g", "here", vec![queue(0)], LEASE);
        assert_eq!(locks.table.lock().groups.len(), 101, "they may still be renewed");
        locks.lock("g", "here", vec![queue(0)], 2 * LEASE + MOMENT);
        assert_eq!(locks.table.lock().groups.keys().collect::<Vec<_>>(), ["g"]);
        assert!(locks.any("g", 2 * LEASE));
    }
}
