//! Making the log durable, and telling those who wait for that.
//!
//! One `fdatasync` serves everybody whose records were written before it began. A failed one is never tried again:
//! the kernel may have dropped the pages, so a second try that succeeds would prove nothing. The store turns
//! read-only instead and keeps the cause.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::Base;
use crate::batch::BatchEntry;
use crate::error::StoreError;
use crate::gathering::Gathering;
use crate::options::FlushMode;
use crate::queue::Queue;
use crate::signal::Signal;

/// How waiting for durability ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// The bytes are durable.
    Done,
    /// Not in time; they may become durable later, and the messages are in the log.
    Timeout,
    /// The disk failed; the store is read-only now.
    Failed,
}

/// Called once with the outcome.
pub type Waiter = Box<dyn FnOnce(Flushed) + Send>;

/// State of flushing.
#[derive(Default)]
pub(crate) struct Flush {
    /// Only one flush runs at a time.
    pub running: Mutex<()>,
    /// Raised when something was appended.
    pub dirty: Signal,
    waiters: Mutex<VecDeque<Waiting>>,
    /// While a flush gathers those it is for: how many must wait for it to begin at once. Otherwise 0.
    awaited: AtomicUsize,
    /// Wakes the thread that watches the deadlines.
    pub deadlines: Signal,
}

struct Waiting {
    until: u64,
    deadline: Duration,
    waiter: Waiter,
}

/// Entries that are appended but not durable, and so not visible yet in synchronous mode.
#[derive(Default)]
pub(crate) struct Unseen(VecDeque<UnseenEntry>);

/// One of them.
pub(crate) struct UnseenEntry {
    pub queue: Arc<Queue>,
    /// Offset behind the last message of the entry.
    pub shown_until: u64,
    until: u64,
}

impl Unseen {
    pub fn extend(&mut self, entries: &[BatchEntry]) {
        for entry in entries {
            let until = entry.appended.until;
            let placed = entry.placed().map(|(queue, shown_until)| (queue.clone(), shown_until));
            self.0.extend(placed.map(|(queue, shown_until)| UnseenEntry { queue, shown_until, until }));
        }
    }

    /// Takes out those whose records end before `until`.
    pub fn take(&mut self, until: u64) -> Vec<UnseenEntry> {
        let count = self.0.partition_point(|entry| entry.until <= until);
        self.0.drain(..count).collect()
    }
}

impl Flush {
    /// Has `waiter` called once the log is durable up to `until`, or when that did not happen in time.
    pub fn wait(&self, base: &Base, until: u64, waiter: Waiter) {
        if base.flushed_until() >= until {
            return waiter(Flushed::Done);
        }
        if base.fault().is_some() {
            return waiter(Flushed::Failed);
        }
        let timeout = match base.live.load().flush {
            FlushMode::Sync { timeout } => timeout,
            FlushMode::Async { interval } => interval + Duration::from_secs(5),
        };
        let deadline = base.clock.monotonic() + timeout;
        let waiting = {
            let mut waiters = self.waiters.lock();
            waiters.push_back(Waiting { until, deadline, waiter });
            waiters.len()
        };
        // The flush that covers it may have ended between the look and the push.
        if base.flushed_until() >= until || base.fault().is_some() {
            self.answer(base);
        }
        if waiting >= self.awaited.load(Ordering::Relaxed) {
            self.dirty.raise();
        }
        self.deadlines.raise();
    }

    /// Something was appended: it is flushed soon, or with what a flush gathers at the moment.
    pub fn appended(&self) {
        // Who reads an old value here has appended before the flush took the end of the log, both under the
        // appender's lock: it is flushed all the same.
        if self.awaited.load(Ordering::Relaxed) == 0 {
            self.dirty.raise();
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiters.lock().len()
    }

    /// Waits for those who are expected to wait for the next flush, no longer than is worth it.
    pub fn gather(&self, gathering: &mut Gathering) {
        let Some((count, patience)) = gathering.next() else { return };
        self.awaited.store(count, Ordering::Relaxed);
        // What was raised until here is flushed in any case; now it is for the last of those awaited to raise it.
        self.dirty.take();
        let all_came = self.waiting() >= count || self.dirty.wait(Some(patience));
        self.awaited.store(0, Ordering::Relaxed);
        gathering.ended(all_came);
    }

    /// Makes the log durable up to a position, which the caller notes in [`Base::flushed`]. Only for who holds
    /// `running`.
    pub fn sync(&self, base: &Base, until: u64) -> Result<(), StoreError> {
        let from = base.flushed_until();
        if until <= from {
            return Ok(());
        }
        for segment in base.log.segments().iter() {
            if segment.until() <= from || segment.base >= until {
                continue;
            }
            segment.sync_data().map_err(|source| base.sync_error(&segment.path, source))?;
        }
        Ok(())
    }

    /// Answers all waiters whose fate is known; tells how many these are.
    pub fn answer(&self, base: &Base) -> usize {
        let failed = base.fault().is_some();
        let now = base.clock.monotonic();
        let flushed = base.flushed_until();
        let mut answered = Vec::new();
        {
            let mut waiters = self.waiters.lock();
            let mut kept = VecDeque::with_capacity(waiters.len());
            for waiting in waiters.drain(..) {
                if waiting.until <= flushed {
                    answered.push((waiting.waiter, Flushed::Done));
                } else if failed {
                    answered.push((waiting.waiter, Flushed::Failed));
                } else if waiting.deadline <= now {
                    answered.push((waiting.waiter, Flushed::Timeout));
                } else {
                    kept.push_back(waiting);
                }
            }
            *waiters = kept;
        }
        let count = answered.len();
        for (waiter, outcome) in answered {
            waiter(outcome);
        }
        count
    }

    /// Time until the first waiter has waited too long.
    pub fn next_deadline(&self, now: Duration) -> Option<Duration> {
        let first = self.waiters.lock().iter().map(|waiting| waiting.deadline).min()?;
        Some(first.saturating_sub(now))
    }
}
