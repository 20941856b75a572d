//! Making the log durable, and telling those who wait for that.
//!
//! One `fdatasync` serves everybody whose records were written before it began. A failed one is never tried again:
//! the kernel may have dropped the pages, so a second try that succeeds would prove nothing. The store turns
//! read-only instead and keeps the cause.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::append::Moment;
use crate::batch::BatchEntry;
use crate::error::StoreError;
use crate::options::FlushMode;
use crate::queue::Queue;
use crate::signal::Signal;
use crate::store::Store;

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
    /// The log is durable up to here.
    pub until: AtomicU64,
    /// The state of the log that the last flush of this process covered.
    pub moment: Mutex<Option<Moment>>,
    /// Only one flush runs at a time.
    running: Mutex<()>,
    /// Raised when something was appended.
    pub dirty: Signal,
    waiters: Mutex<VecDeque<Waiting>>,
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

struct UnseenEntry {
    queue: Arc<Queue>,
    /// Offset behind the last message of the entry.
    shown_until: u64,
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

    fn take(&mut self, until: u64) -> Vec<UnseenEntry> {
        let count = self.0.partition_point(|entry| entry.until <= until);
        self.0.drain(..count).collect()
    }
}

impl Store {
    /// Calls `waiter` once the log is durable up to `until`, or when that did not happen in time.
    pub fn when_flushed(&self, until: u64, waiter: Waiter) {
        if self.flushed_until() >= until {
            return waiter(Flushed::Done);
        }
        if self.fault().is_some() {
            return waiter(Flushed::Failed);
        }
        let timeout = match self.live.load().flush {
            FlushMode::Sync { timeout } => timeout,
            FlushMode::Async { interval } => interval + Duration::from_secs(5),
        };
        let deadline = self.clock.monotonic() + timeout;
        self.flush.waiters.lock().push_back(Waiting { until, deadline, waiter });
        // The flush that covers it may have ended between the look and the push.
        if self.flushed_until() >= until || self.fault().is_some() {
            self.answer_waiters();
        }
        self.flush.dirty.raise();
        self.flush.deadlines.raise();
    }

    /// Makes everything appended so far durable.
    pub fn flush_step(&self) -> Result<(), StoreError> {
        let _one = self.flush.running.lock();
        if let Some(cause) = self.fault() {
            self.answer_waiters();
            return Err(StoreError::ReadOnly { cause });
        }
        let moment = self.appender.lock().moment();
        let from = self.flush.until.load(Ordering::Acquire);
        if moment.mark.position > from {
            for segment in self.log.segments().iter() {
                if segment.until() <= from || segment.base >= moment.mark.position {
                    continue;
                }
                if let Err(source) = segment.file.sync_data() {
                    let error = StoreError::Io { what: "sync", path: segment.path.clone(), source };
                    self.sync_failed(error.to_string());
                    self.answer_waiters();
                    return Err(error);
                }
            }
            self.flush.until.store(moment.mark.position, Ordering::Release);
        }
        *self.flush.moment.lock() = Some(moment);
        self.show_flushed(moment.mark.position);
        self.answer_waiters();
        self.compaction.flushed();
        Ok(())
    }

    fn show_flushed(&self, until: u64) {
        if !self.is_sync() {
            return;
        }
        let seen = self.unseen.lock().take(until);
        for entry in &seen {
            entry.queue.show(entry.shown_until);
        }
        self.tell(seen.iter().map(|entry| &entry.queue));
    }

    /// Answers all waiters whose fate is known.
    pub(crate) fn answer_waiters(&self) {
        let failed = self.fault().is_some();
        let now = self.clock.monotonic();
        let flushed = self.flushed_until();
        let mut answered = Vec::new();
        {
            let mut waiters = self.flush.waiters.lock();
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
        for (waiter, outcome) in answered {
            waiter(outcome);
        }
    }

    /// Tells waiters that have waited too long so, without flushing.
    pub fn deadline_step(&self) {
        self.answer_waiters();
    }

    /// Time until the first waiter has waited too long.
    fn next_deadline(&self) -> Option<Duration> {
        let first = self.flush.waiters.lock().iter().map(|waiting| waiting.deadline).min()?;
        Some(first.saturating_sub(self.clock.monotonic()))
    }

    /// The thread that flushes.
    pub(crate) fn flush_loop(&self) {
        loop {
            let raised = self.flush.dirty.wait(None);
            if !raised || self.flush.dirty.is_stopped() {
                return;
            }
            if let FlushMode::Async { interval } = self.live.load().flush {
                self.flush.dirty.pause(interval);
            }
            self.flush.dirty.take();
            if let Err(error) = self.flush_step() {
                tracing::error!(%error, "flushing the commit log failed; the store is read-only now");
                return;
            }
        }
    }

    /// The thread that tells waiters that their time is over while a flush hangs.
    pub(crate) fn deadline_loop(&self) {
        while !self.flush.deadlines.is_stopped() {
            match self.next_deadline() {
                None => {
                    self.flush.deadlines.wait(None);
                    self.flush.deadlines.take();
                }
                Some(left) => {
                    self.flush.deadlines.pause(left.max(Duration::from_millis(1)));
                    self.deadline_step();
                }
            }
        }
    }
}
