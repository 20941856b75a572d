//! Queues that somebody is popping from. Two pops of one group never read one queue at the same time.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use parking_lot::Mutex;

const SHARDS: usize = 16;

/// All of them, as hashes of group, topic and queue. Two that collide keep each other waiting for a moment.
#[derive(Debug, Default)]
pub struct BusyQueues {
    shards: [Mutex<HashSet<u64>>; SHARDS],
}

/// A queue that is being popped from until this is dropped.
#[derive(Debug)]
pub struct Busy<'a> {
    shard: &'a Mutex<HashSet<u64>>,
    key: u64,
}

impl BusyQueues {
    /// Takes a queue; `None` while another has it.
    pub fn take(&self, group: &str, topic: &str, queue: u32) -> Option<Busy<'_>> {
        let mut hasher = DefaultHasher::new();
        (group, topic, queue).hash(&mut hasher);
        let key = hasher.finish();
        let shard = &self.shards[key as usize % SHARDS];
        let is_new = shard.lock().insert(key);
        // Made only by who has the queue: its drop gives the queue back.
        is_new.then(|| Busy { shard, key })
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.shard.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_free_again_when_its_pop_is_over() {
        let queues = BusyQueues::default();
        let first = queues.take("readers", "orders", 0);
        assert!(first.is_some() && queues.take("readers", "orders", 0).is_none());
        assert!(
            queues.take("readers", "orders", 1).is_some() && queues.take("others", "orders", 0).is_some()
        );
        drop(first);
        assert!(queues.take("readers", "orders", 0).is_some());
    }
}
