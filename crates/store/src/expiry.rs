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

use parking_lot::Mutex;

use crate::base::Base;
use crate::commit_log::CommitLog;
use crate::queue::Queue;
use crate::queues::Queues;
use crate::store_time;

/// The topics in question. Never locked while the disk is waited for: a topic is changed on threads that serve others.
#[derive(Default)]
pub(crate) struct Expiry(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Milliseconds that messages are kept.
    topics: HashMap<Arc<str>, i64>,
    /// The latest time that floors were moved for.
    looked_at: i64,
    /// One of them could not be found.
    has_failed: bool,
}

impl Expiry {
    /// Sets how long messages of a topic can be read; `None` for as long as the log has them. Acts at once on what is
    /// there if that is another time than before.
    pub fn keep(&self, base: &Base, queues: &Queues, topic: &str, time: Option<Duration>) {
        let millis = time.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let now = base.clock.now_millis();
        {
            let mut kept = self.0.lock();
            let before = match millis {
                Some(millis) => kept.topics.insert(Arc::from(topic), millis),
                None => kept.topics.remove(topic),
            };
            if before == millis {
                return;
            }
            if millis.is_none() {
                queues.of_topic(topic).iter().for_each(|queue| queue.set_floor(0, i64::MIN));
                return;
            }
            kept.looked_at = kept.looked_at.max(now);
        }
        if let Some(millis) = millis {
            self.move_floors(base, queues, topic, millis, now, true);
        }
    }

    /// Moves the floors of all queues that have one to where they belong now.
    pub fn go_on(&self, base: &Base, queues: &Queues) {
        let now = base.clock.now_millis();
        let (anew, topics) = {
            let mut kept = self.0.lock();
            // A clock that was ahead and has been corrected must not leave messages hidden.
            let anew = now < kept.looked_at || kept.has_failed;
            (kept.looked_at, kept.has_failed) = (now, false);
            (anew, kept.topics.clone())
        };
        for (topic, millis) in &topics {
            self.move_floors(base, queues, topic, *millis, now, anew);
        }
    }

    /// Hides the messages of a topic that are older at `now` than it keeps them. `anew` looks also below the present
    /// floors.
    fn move_floors(&self, base: &Base, queues: &Queues, topic: &str, millis: i64, now: i64, anew: bool) {
        let oldest = now.saturating_sub(millis);
        for queue in queues.of_topic(topic) {
            let (floor, time) = if anew { (0, i64::MIN) } else { queue.floor() };
            if time >= oldest {
                continue;
            }
            match find_floor(&base.log, &queue, floor, oldest) {
                Ok((floor, time)) => self.set_floor(&queue, millis, floor, time),
                Err(error) => {
                    self.0.lock().has_failed = true;
                    let (topic, queue) = (queue.topic(), queue.id());
                    tracing::warn!(%topic, queue, %error, "cannot find the oldest message to keep");
                }
            }
        }
    }

    /// Sets a floor that was looked for while the topic kept its messages for so long, if it still does: who has
    /// changed that meanwhile looks for another.
    fn set_floor(&self, queue: &Queue, millis: i64, floor: u64, time: i64) {
        let kept = self.0.lock();
        if kept.topics.get(queue.topic()) == Some(&millis) {
            queue.set_floor(floor, time);
        }
    }
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
