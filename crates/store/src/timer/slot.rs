//! The present slot: its messages, in memory, in the order in which they are due.

use std::collections::{BTreeMap, HashSet};

use super::log::{MAGIC_DEFAULT, MAGIC_DELETE, Unit};

/// A message of the present slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Where it stands in the commit log.
    pub offset: u64,
    /// Bytes of its record.
    pub size: u32,
    /// That of its unit.
    pub magic: i32,
    /// When its unit was written.
    pub write_time: i64,
    /// Java's hash of its real topic.
    pub topic_hash: i32,
}

impl Waiting {
    pub fn of(unit: &Unit) -> Waiting {
        Waiting {
            offset: unit.offset,
            size: unit.size,
            magic: unit.magic,
            write_time: unit.write_time,
            topic_hash: unit.topic_hash,
        }
    }

    /// What it counts as among those that wait for its topic.
    pub fn count(&self) -> i64 {
        if self.magic & MAGIC_DELETE != 0 { -1 } else { 1 }
    }

    /// The unit that stands for it once more in the slot that begins at `time`.
    pub fn unit(&self, time: i64, previous: Option<u64>) -> Unit {
        let (write_time, delay) = distance(time, self.write_time);
        Unit {
            previous,
            magic: self.magic,
            write_time,
            delay,
            offset: self.offset,
            size: self.size,
            topic_hash: self.topic_hash,
        }
    }
}

/// Write time and delay that add up to a slot's time. Where Java's `int` cannot hold the distance, as with a clock
/// that has stepped by weeks, the slot's own time is the write time.
pub(crate) fn distance(time: i64, write_time: i64) -> (i64, i32) {
    match i32::try_from(time.saturating_sub(write_time)) {
        Ok(delay) => (write_time, delay),
        Err(_) => (time, 0),
    }
}

/// A message of the present slot that goes into a later one when this is left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PutOff {
    /// As the chain of the present slot has it.
    pub waiting: Waiting,
    /// As the chain of the later slot will have it.
    pub moved: Waiting,
    /// Beginning of that slot.
    pub to: i64,
}

/// The slot that is being delivered.
#[derive(Default)]
pub(crate) struct Present {
    /// Whether its chain has been read.
    pub loaded: bool,
    /// By due time, then position.
    pub waiting: BTreeMap<(i64, u64), Waiting>,
    /// Those that are not for this slot after all, or cannot be read now.
    pub put_off: Vec<PutOff>,
    /// Unique keys of messages that were taken back, as their markers name them.
    pub taken_back: HashSet<String>,
    /// Those markers.
    pub markers: Vec<Waiting>,
    /// Where the commit log ended before the first delivery from this slot.
    pub begun: Option<u64>,
    /// The message that was delivered last.
    pub last: Option<Waiting>,
    /// Units that replace the chain of the slot; empty if the chain stands.
    pub rest: (u64, u64),
}

impl Present {
    /// Whether a message was taken back; Java's brokers name it with its topic or without (since-5.3.md T4).
    pub fn is_taken_back(&self, topic: &str, unique_key: Option<&str>) -> bool {
        let Some(key) = unique_key.filter(|_| !self.taken_back.is_empty()) else { return false };
        self.taken_back.contains(key) || self.taken_back.contains(&format!("{topic}+{key}"))
    }

    /// Units that are all that is left of the slot. If nothing is, one stands in that does nothing: without any, Java
    /// would find the old chain again.
    pub fn left(&self) -> Vec<Waiting> {
        let put_off = self.put_off.iter().map(|put_off| &put_off.waiting);
        let mut left: Vec<Waiting> =
            self.markers.iter().chain(put_off).chain(self.waiting.values()).copied().collect();
        if left.is_empty()
            && let Some(last) = self.last
        {
            left.push(Waiting { magic: MAGIC_DEFAULT | MAGIC_DELETE, ..last });
        }
        left
    }
}
