//! The properties of a message that is sent, as far as the broker acts on them.

use store::FoundBy;
use wire::properties as props;

use super::{BROKER_PROPERTIES, illegal};
use crate::exchange::Outcome;
use crate::topics::Topic;

/// What one look over the properties of a message finds.
#[derive(Default)]
pub(super) struct Seen<'a> {
    pub tags: Option<&'a str>,
    pub unique_key: Option<&'a str>,
    /// Delay level; 0 or less is none.
    pub delay: i32,
    /// Its sender does not wait for the disk.
    pub no_wait: bool,
    /// Says that a transaction will tell whether it counts.
    pub half: bool,
    /// Is for the timer wheel, and was not in it yet.
    pub timer: bool,
    /// Was in the timer wheel before.
    timed: bool,
    pub inner_batch: bool,
    /// Light queues that the message is to be put into.
    pub light: Option<&'a str>,
    keys: Option<&'a str>,
    /// How urgent it is, if it says so.
    priority: Option<i32>,
    /// Delayed, in order or in a transaction: of what is more than one of these, the priority comes last.
    is_special: bool,
    /// Something is there that must not be stored as it came.
    pub rewrite: bool,
}

impl<'a> Seen<'a> {
    pub fn of(properties: &'a [u8]) -> Seen<'a> {
        let mut seen = Seen::default();
        for (name, value) in props::iter(properties) {
            match name {
                props::TAGS => seen.tags = Some(value),
                props::UNIQ_KEY => seen.unique_key = Some(value),
                props::KEYS => seen.keys = Some(value),
                props::PRIORITY => seen.priority = value.parse().ok().filter(|priority: &i32| *priority >= 0),
                props::SHARDING_KEY => seen.is_special = true,
                props::DELAY => {
                    seen.delay = value.parse().unwrap_or(0);
                    seen.is_special = true;
                }
                props::WAIT => seen.no_wait = value == "false",
                props::TRAN_MSG => seen.half = value.eq_ignore_ascii_case("true"),
                props::INNER_NUM => seen.inner_batch = true,
                props::INNER_MULTI_DISPATCH => seen.light = Some(value),
                name if BROKER_PROPERTIES.contains(&name) => seen.rewrite = true,
                props::TIMER_OUT_MS => seen.timed = true,
                name if props::TIMER.contains(&name) => seen.timer = true,
                _ => (),
            }
        }
        seen.is_special |= seen.half || seen.timer;
        seen.timer &= !seen.timed;
        seen
    }

    /// What the message is found by.
    pub fn found_by(&self) -> FoundBy<'a> {
        FoundBy { unique_key: self.unique_key, keys: self.keys, tags: self.tags }
    }

    /// The queue that a priority stands for (since-5.3.md §3).
    pub fn urgent_queue(&self, topic: &Topic) -> Option<u32> {
        let priority = self.priority.filter(|_| !self.is_special)?;
        Some(priority.min(topic.config.write_queue_nums - 1).max(0) as u32)
    }

    /// A priority that does not count is not stored either.
    pub fn drops_priority(&self) -> bool {
        self.is_special && self.priority.is_some()
    }

    /// What a compacted topic keeps is the last message of each key.
    pub fn check_key(&self, topic: &Topic) -> Outcome {
        if topic.is_compacted && self.keys.is_none_or(|keys| keys.trim().is_empty()) {
            return Err(illegal("Required message key is missing"));
        }
        Ok(())
    }
}
