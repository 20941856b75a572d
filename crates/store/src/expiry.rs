//! Messages that their topic keeps for a shorter time than the log does.
//!
//! A shared log cannot give back the bytes of one topic: they go with their segment, when all of it expires. What can
//! end earlier is reading, so a queue gets a floor that moves up with time. Nothing is written down for it: the store
//! times in the log tell after every start where each queue begins, the queue files stay what Java expects, and a
//! longer time brings back what is still there.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::queue::Queue;
use crate::store::Store;

/// The topics in question.
#[derive(Default)]
pub(crate) struct Expiry {
    /// Milliseconds that messages are kept.
    topics: HashMap<Arc<str>, i64>,
    /// When the floors were last looked at.
    looked_at: i64,
}

impl Store {
    /// Sets how long messages of a topic can be read; `None` for as long as the log has them. Acts at once on what is
    /// there, and then in every round of the cleaner.
    pub fn keep_messages(&self, topic: &str, time: Option<Duration>) {
        let mut expiry = self.expiry.lock();
        let before = expiry.topics.remove(topic);
        let Some(time) = time else {
            if before.is_some() {
                self.queues.of_topic(topic).iter().for_each(|queue| queue.set_floor(0, i64::MIN));
            }
            return;
        };
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        expiry.topics.insert(Arc::from(topic), millis);
        self.move_floors(topic, self.clock.now_millis().saturating_sub(millis), true);
    }

    /// Whether a message can be read no more because its topic keeps messages for a shorter time than the log.
    pub fn has_expired(&self, topic: &str, queue_id: u32, queue_offset: u64) -> bool {
        self.queues.find(topic, queue_id).is_some_and(|queue| queue_offset < queue.floor().0)
    }

    /// Moves the floors of all queues that have one to where they belong now.
    pub(crate) fn expire_messages(&self) {
        let mut expiry = self.expiry.lock();
        let now = self.clock.now_millis();
        // A clock that was ahead and has been corrected must not leave messages hidden.
        let anew = now < expiry.looked_at;
        expiry.looked_at = now;
        for (topic, millis) in &expiry.topics {
            self.move_floors(topic, now.saturating_sub(*millis), anew);
        }
    }

    /// Hides the messages of a topic that were stored before `oldest`. `anew` looks also below the present floors.
    fn move_floors(&self, topic: &str, oldest: i64, anew: bool) {
        for queue in self.queues.of_topic(topic) {
            let (floor, time) = if anew { (0, i64::MIN) } else { queue.floor() };
            if time >= oldest {
                continue;
            }
            match self.find_floor(&queue, floor, oldest) {
                Ok((floor, time)) => queue.set_floor(floor, time),
                Err(error) => {
                    tracing::warn!(topic, queue = queue.id(), %error, "cannot find the oldest message to keep");
                }
            }
        }
    }

    /// First message of a queue, from `floor` on, that was stored at `oldest` or later, with its store time.
    fn find_floor(&self, queue: &Queue, floor: u64, oldest: i64) -> io::Result<(u64, i64)> {
        let (mut low, max) = (queue.log_min_offset().max(floor), queue.max_offset());
        let mut high = max;
        let mut time_at_high = i64::MIN;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.stored_at(queue, middle)? {
                Some(time) if time < oldest => low = middle + 1,
                // A message without a time is damaged: rather show too many messages than hide one.
                time => (high, time_at_high) = (middle, time.unwrap_or(i64::MIN)),
            }
        }
        Ok((low, if low < max { time_at_high } else { i64::MIN }))
    }
}
