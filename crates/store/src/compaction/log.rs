//! The compaction log of one queue.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::part::{Dirs, Part};
use super::replace::Plan;
use crate::queue::Queue;
use crate::records::Reach;
use crate::seldom::Seldom;

/// The parts of a log, shared with readers that keep them while they change.
pub(crate) type Parts = Arc<Vec<Arc<Part>>>;

/// What is kept of a queue's messages, and how far the queue was followed.
pub(crate) struct CompactionLog {
    pub queue: Arc<Queue>,
    pub dirs: Dirs,
    parts: RwLock<Parts>,
    /// Messages of the queue before this are here or are none to keep. Held by who appends.
    pub followed: Mutex<u64>,
    /// Held by who compacts.
    pub pass: Mutex<Pass>,
    /// The topic was deleted, and the files with it.
    pub gone: AtomicBool,
    /// Its messages cannot be copied.
    pub stuck: Seldom,
}

/// What one compaction leaves to the next.
pub(crate) struct Pass {
    /// When the next one is due, by the monotonic clock.
    pub due: Duration,
    /// A replacement of files that is decided and could not be carried out.
    pub unfinished: Option<Plan>,
}

impl CompactionLog {
    pub fn new(queue: Arc<Queue>, dirs: Dirs, parts: Vec<Arc<Part>>, due: Duration) -> CompactionLog {
        let log = CompactionLog {
            queue,
            dirs,
            parts: RwLock::default(),
            followed: Mutex::new(0),
            pass: Mutex::new(Pass { due, unfinished: None }),
            gone: AtomicBool::new(false),
            stuck: Seldom::default(),
        };
        log.publish(parts);
        log
    }

    pub fn parts(&self) -> Parts {
        self.parts.read().clone()
    }

    /// Shows readers a new list of parts, and the queue where its first message is now.
    pub fn publish(&self, parts: Vec<Arc<Part>>) {
        let first = first_of(&parts);
        *self.parts.write() = Arc::new(parts);
        self.queue.set_kept_from(first);
    }

    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether all messages of the queue that stand in the commit log before a position are here, or are none to keep.
    pub fn has_all_before(&self, position: u64) -> bool {
        let followed = (*self.followed.lock()).max(end_of(&self.parts()));
        let next = followed.max(self.queue.log_min_offset());
        next >= self.queue.max_offset()
            || matches!(self.queue.entry(next), Ok(Some(entry)) if entry.physical_offset >= position)
    }

    /// Makes durable what was appended.
    pub fn sync(&self) -> io::Result<()> {
        self.parts().iter().try_for_each(|part| part.sync())
    }

    /// Queue offset of the first message that was stored at a time or later; `None` if none was.
    pub fn offset_by_time(&self, millis: i64) -> io::Result<Option<u64>> {
        for part in self.parts().iter() {
            let extent = part.extent();
            if extent.count == 0 || extent.last_time < millis {
                continue;
            }
            let slot = part.first_where(Reach::Disk, &extent, |unit| unit.store_timestamp >= millis)?;
            return slot.map_or(Ok(None), |slot| part.queue_offset_of(slot));
        }
        Ok(None)
    }
}

/// Queue offset of the first message of a row of parts.
fn first_of(parts: &[Arc<Part>]) -> Option<u64> {
    parts.iter().map(|part| part.extent()).find(|extent| extent.count > 0).map(|extent| extent.first)
}

/// Queue offset behind the last message of a row of parts; 0 if there is none.
pub(crate) fn end_of(parts: &[Arc<Part>]) -> u64 {
    let last = parts.iter().rev().map(|part| part.extent()).find(|extent| extent.count > 0);
    last.map_or(0, |extent| extent.last + 1)
}
