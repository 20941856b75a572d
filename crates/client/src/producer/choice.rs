//! Which queue a message goes to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use wire::body::MessageQueue;
use wire::hash::java_hash;

use super::fault::Faults;
use crate::identity::random;

/// Takes turns between queues, and leaves out brokers that failed.
#[derive(Debug)]
pub(crate) struct Choice {
    next: AtomicUsize,
    pub faults: Mutex<Faults>,
}

impl Choice {
    pub fn new() -> Choice {
        // Producers that start together should not begin with the same queue.
        Choice { next: AtomicUsize::new(random() as usize >> 1), faults: Mutex::default() }
    }

    /// The next queue: not on the broker that just failed and not on one that is avoided, if there is another.
    pub fn next<'q>(&self, queues: &'q [MessageQueue], failed: Option<&str>) -> Option<&'q MessageQueue> {
        if queues.is_empty() {
            return None;
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = || (0..queues.len()).map(|step| &queues[start.wrapping_add(step) % queues.len()]);
        let (faults, now) = (self.faults.lock(), Instant::now());
        let other = |queue: &&MessageQueue| Some(queue.broker_name.as_str()) != failed;
        turn()
            .find(|queue| other(queue) && faults.is_available(&queue.broker_name, now))
            .or_else(|| turn().find(other))
            .or_else(|| turn().next())
    }
}

/// The queue of a key, the same in every official client: the key's hash without its sign, modulo the queues.
pub(crate) fn by_key<'q>(queues: &'q [MessageQueue], key: &str) -> Option<&'q MessageQueue> {
    // Java's Math.abs leaves the smallest integer negative, and its selector takes 0 then.
    let hash = java_hash(key).checked_abs().unwrap_or(0);
    queues.get(usize::try_from(hash).ok()? % queues.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(brokers: &[&str]) -> Vec<MessageQueue> {
        let queue = |(id, name): (usize, &&str)| MessageQueue {
            topic: "T".into(),
            broker_name: (*name).to_owned(),
            queue_id: id as i32,
        };
        brokers.iter().enumerate().map(queue).collect()
    }

    #[test]
    fn queues_take_turns() {
        let (choice, queues) = (Choice::new(), queues(&["a", "a", "b"]));
        let chosen: Vec<i32> = (0..6).map(|_| choice.next(&queues, None).unwrap().queue_id).collect();
        let mut once = chosen[..3].to_vec();
        once.sort_unstable();
        assert_eq!((once.as_slice(), &chosen[..3]), (&[0, 1, 2][..], &chosen[3..]));
    }

    #[test]
    fn a_broker_that_failed_is_chosen_only_when_there_is_no_other() {
        let (choice, two) = (Choice::new(), queues(&["a", "b", "a"]));
        assert!((0..9).all(|_| choice.next(&two, Some("a")).unwrap().broker_name == "b"));
        choice.faults.lock().failed("b", Instant::now());
        assert!((0..9).all(|_| choice.next(&two, None).unwrap().broker_name == "a"));
        assert_eq!(choice.next(&two, Some("a")).unwrap().broker_name, "b");
        assert_eq!(choice.next(&queues(&["a"]), Some("a")).unwrap().broker_name, "a");
        assert!(choice.next(&[], None).is_none());
    }

    #[test]
    fn keys_go_where_java_sends_them() {
        let queues = queues(&["a"; 4]);
        // "TagA".hashCode() is 2598919; "polygenelubricants".hashCode() is the smallest integer.
        assert_eq!(by_key(&queues, "TagA").unwrap().queue_id, 3);
        assert_eq!(by_key(&queues, "polygenelubricants").unwrap().queue_id, 0);
        assert!(by_key(&[], "x").is_none());
    }
}
