//! Flushing the log, and what follows from it: messages are shown, and those who wait are told.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use crate::error::StoreError;
use crate::flush::{UnseenEntry, Waiter};
use crate::gathering::Gathering;
use crate::options::FlushMode;
use crate::queue::Queue;
use crate::store::{Arrival, Store};
use crate::watch::Watcher;

impl Store {
    /// Calls `waiter` once the log is durable up to `until`, or when that did not happen in time.
    pub fn when_flushed(&self, until: u64, waiter: Waiter) {
        self.flush.wait(&self.base, until, waiter);
    }

    /// Makes everything appended so far durable.
    pub fn flush_step(&self) -> Result<(), StoreError> {
        self.flush_once().map(|_| ())
    }

    /// The same; gives how many were answered.
    fn flush_once(&self) -> Result<usize, StoreError> {
        let _one = self.flush.running.lock();
        if let Some(cause) = self.fault() {
            self.flush.answer(&self.base);
            return Err(StoreError::ReadOnly { cause });
        }
        let moment = self.appender.lock().moment();
        let until = moment.mark.position;
        self.flush.sync(&self.base, until).inspect_err(|_| {
            self.flush.answer(&self.base);
        })?;
        // Who is told that a message is durable, by us or by having asked at this moment, can read it.
        let shown = self.show_flushed(until);
        self.base.flushed.fetch_max(until, Ordering::Release);
        *self.base.moment.lock() = Some(moment);
        self.tell(shown.iter().map(|entry| &entry.queue));
        let answered = self.flush.answer(&self.base);
        self.compaction.flushed();
        Ok(answered)
    }

    /// Lets readers see what is durable now.
    fn show_flushed(&self, until: u64) -> Vec<UnseenEntry> {
        if !self.is_sync() {
            return Vec::new();
        }
        let shown = self.unseen.lock().take(until);
        for entry in &shown {
            entry.queue.show(entry.shown_until);
        }
        shown
    }

    /// Tells those who watch these queues, each of which has shown something new.
    pub(crate) fn tell<'a>(&self, queues: impl Iterator<Item = &'a Arc<Queue>>) {
        // Pairs with the fence of `Watchers::watch`: one of us sees the other.
        fence(Ordering::SeqCst);
        let mut last: Option<&Arc<Queue>> = None;
        for queue in queues {
            // A batch has mostly one queue, or runs of one.
            if last.replace(queue).is_some_and(|last| Arc::ptr_eq(last, queue)) {
                continue;
            }
            let mut told = queue.watchers.take();
            if told.includes(Watcher::Timer) {
                self.timer.iter().for_each(|timer| timer.signal.raise());
                told = told.without(Watcher::Timer);
            }
            if !told.is_empty() {
                (self.on_arrival)(&Arrival { queue, told });
            }
        }
    }

    /// Tells waiters that have waited too long so, without flushing.
    pub fn deadline_step(&self) {
        self.flush.answer(&self.base);
    }

    /// The thread that flushes.
    pub(crate) fn flush_loop(&self) {
        let mut gathering = Gathering::default();
        loop {
            let raised = self.flush.dirty.wait(None);
            if !raised || self.flush.dirty.is_stopped() {
                return;
            }
            match self.base.live.load().flush {
                FlushMode::Async { interval } => self.flush.dirty.pause(interval),
                FlushMode::Sync { .. } => self.flush.gather(&mut gathering),
            }
            self.flush.dirty.take();
            let (began, from) = (self.base.clock.monotonic(), self.flushed_until());
            match self.flush_once() {
                Ok(answered) => {
                    let took = self.base.clock.monotonic().saturating_sub(began);
                    let bytes = self.flushed_until() - from;
                    gathering.flushed(bytes, answered + self.flush.waiting(), took);
                }
                Err(error) => {
                    tracing::error!(%error, "flushing the commit log failed; the store is read-only now");
                    return;
                }
            }
        }
    }

    /// The thread that tells waiters that their time is over while a flush hangs.
    pub(crate) fn deadline_loop(&self) {
        while !self.flush.deadlines.is_stopped() {
            match self.flush.next_deadline(self.base.clock.monotonic()) {
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
