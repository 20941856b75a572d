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

use crate::base::Base;
use crate::commit_log::CommitLog;
use crate::queue::Queue;
use crate::queues::Queues;
use crate::store_time;

/// The topics in question.
#[derive(Default)]
pub(crate) struct Expiry {
    /// Milliseconds that messages are kept.
    topics: HashMap<Arc<str>, i64>,
    /// The latest time that floors were moved for; `i64::MAX` when one of them could not be found.
    looked_at: i64,
}

impl Expiry {
    /// Sets how long messages of a topic can be read; `None` for as long as the log has them. Acts at once on what is
    /// there.
    pub fn keep(&mut self, base: &Base, queues: &Queues, topic: &str, time: Option<Duration>) {
        let before = self.topics.remove(topic);
        let Some(time) = time else {
            if before.is_some() {
                queues.of_topic(topic).iter().for_each(|queue| queue.set_floor(0, i64::MIN));
            }
            return;
        };
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.topics.insert(Arc::from(topic), millis);
        let now = base.clock.now_millis();
        let moved = move_floors(&base.log, &queues.of_topic(topic), now.saturating_sub(millis), true);
        self.looked_at = if moved { self.looked_at.max(now) } else { i64::MAX };
    }

    /// Moves the floors of all queues that have one to where they belong now.
    pub fn go_on(&mut self, base: &Base, queues: &Queues) {
        let now = base.clock.now_millis();
        // A clock that was ahead and has been corrected must not leave messages hidden.
        let anew = now < self.looked_at;
        let mut moved = true;
        for (topic, millis) in &self.topics {
            moved &= move_floors(&base.log, &queues.of_topic(topic), now.saturating_sub(*millis), anew);
        }
        self.looked_at = if moved { now } else { i64::MAX };
    }
}

/// Hides the messages of some queues that were stored before `oldest`. `anew` looks also below the present floors.
/// False if a queue could not be read.
fn move_floors(log: &CommitLog, queues: &[Arc<Queue>], oldest: i64, anew: bool) -> bool {
    let mut moved = true;
    for queue in queues {
        let (floor, time) = if anew { (0, i64::MIN) } else { queue.floor() };
        if time >= oldest {
            continue;
        }
        match find_floor(log, queue, floor, oldest) {
            Ok((floor, time)) => queue.set_floor(floor, time),
            Err(error) => {
                let (topic, queue) = (queue.topic(), queue.id());
                tracing::warn!(%topic, queue, %error, "cannot find the oldest message to keep");
                moved = false;
            }
        }
    }
    moved
}

/// First message of a queue, from `floor` on, that was stored at `oldest` or later, with its store time.
fn find_floor(log: &CommitLog, queue: &Queue, floor: u64, oldest: i64) -> io::Result<(u64, i64)> {
    let (mut low, max) = (queue.log_min_offset().max(floor), queue.max_offset());
    let mut high = max;
    let mut time_at_high = i64::MIN;
    while low < high {
        let middle = low + (high - low) / 2;
        match store_time::of_message(log, queue, middle)? {
            Some(time) if time < oldest => low = middle + 1,
            // A message without a time is damaged: rather show too many messages than hide one.
            time => (high, time_at_high) = (middle, time.unwrap_or(i64::MIN)),
        }
    }
    Ok((low, if low < max { time_at_high } else { i64::MIN }))
}
