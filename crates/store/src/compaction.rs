//! Topics that keep the last message of each key (`cleanup.policy=COMPACTION`, store.md §16), in Java's files.
//!
//! Each queue of such a topic is a queue like any other, and beside it has a compaction log: copies of its messages
//! with their queue offsets, in files of their own, which stay when the commit log's segments expire. Now and then all
//! files of it but the last are written anew, without the messages that are not the last of their key; a message
//! without a body deletes its key.
//!
//! Invariants: a compaction log holds nothing that the commit log could still lose; no segment of the commit log goes
//! before its messages are durable there; a crash while files are replaced leaves the old ones or the new ones.

mod follow;
mod load;
mod log;
mod part;
mod pass;
mod positions;
mod read;
mod replace;
mod topics;
mod unit;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::disk::Disk;
use crate::options::{CompactionOptions, Options};
use crate::queue::Queue;
use crate::queue_kind::UNIT_BYTES;
use crate::signal::Signal;

use log::CompactionLog;
use part::Sizes;
use positions::Positions;

pub(crate) use part::{log_root, units_root};
pub(crate) use unit::Unit;

impl CompactionOptions {
    /// Java's rounding: a file of records is a multiple of a file of entries, so that both can have the same name.
    fn sizes(&self) -> Sizes {
        let unit = UNIT_BYTES as u64;
        let units = (self.units_file_bytes / unit).max(2) * unit;
        let (whole, rest) = (self.log_file_bytes / units, self.log_file_bytes % units);
        let log = match whole {
            ..5 => 5 * units,
            _ if rest > 0 && rest < units / 2 => whole * units,
            _ => (whole + 1) * units,
        };
        Sizes { log, units }
    }
}

/// The compaction logs of a topic by queue.
type Logs = BTreeMap<u32, Arc<CompactionLog>>;

/// The compaction logs of a store.
pub(crate) struct Compaction {
    sizes: Sizes,
    /// By topic and number, for every topic that is compacted.
    topics: RwLock<HashMap<Arc<str>, Logs>>,
    /// Whether there is any, so that others pay nothing.
    any: AtomicBool,
    positions: Mutex<Positions>,
    /// Raised when something was flushed that may be copied.
    pub signal: Signal,
    /// Whether the store was stopped cleanly before it was opened.
    clean: bool,
}

impl Compaction {
    pub fn open(disk: &dyn Disk, options: &Options, clean: bool) -> Compaction {
        let sizes = options.compaction.clone().unwrap_or_default().sizes();
        Compaction {
            sizes,
            topics: RwLock::default(),
            any: AtomicBool::new(false),
            positions: Mutex::new(Positions::load(disk, &options.root)),
            signal: Signal::default(),
            clean,
        }
    }

    /// The compaction log of a queue, if its topic has them.
    fn find(&self, queue: &Queue) -> Option<Arc<CompactionLog>> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let log = self.topics.read().get(queue.topic())?.get(&queue.id()).cloned()?;
        (log.queue.serial == queue.serial).then_some(log)
    }

    /// Tells the worker that messages were flushed.
    pub fn flushed(&self) {
        if self.any.load(Ordering::Relaxed) {
            self.signal.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_sizes_that_java_gives_them() {
        let sizes = |log, units| {
            let sizes =
                CompactionOptions { log_file_bytes: log, units_file_bytes: units, ..Default::default() }
                    .sizes();
            (sizes.log, sizes.units)
        };
        assert_eq!(sizes(100 << 20, 10 << 20), (104_857_460, 10_485_746));
        assert_eq!(sizes(1, 4600), (23_000, 4600));
        assert_eq!(sizes(23_000, 4650), (5 * 4646, 4646));
        assert_eq!(sizes(46_000, 4600), (50_600, 4600));
        assert_eq!(sizes(47_000, 4600), (46_000, 4600));
        assert_eq!(sizes(0, 0), (460, 92));
    }
}
