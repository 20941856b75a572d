//! Figures about the timer, for administrators and metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use wire::body::TimerMetrics;
use wire::properties::TIMER_OUT_MS;
use wire::record::Record;

use super::shown::{Shown, Told};
use super::{State, TimerFigures, due_of};
use crate::store::Store;

impl State {
    /// What is shown of it from now on.
    pub(super) fn shown(&self) -> Shown {
        Shown {
            queue: Arc::clone(&self.queue),
            slots: self.wheel.slots(),
            counts: self.metrics.table(),
            told: Mutex::new(self.told()),
        }
    }

    /// How it is now, to be shown.
    pub(super) fn told(&self) -> Told {
        Told {
            read_time: self.read_time,
            queue_offset: self.queue_offset,
            pending: self.pending(),
            checkpoint: self.checkpoint,
        }
    }

    /// Messages that wait. The present slot keeps its number until it is over.
    fn pending(&self) -> i64 {
        let slot = self.wheel.get(self.read_time).filter(|_| self.present.loaded);
        let (number, waiting) = slot.map_or((0, 0), |slot| (slot.num, self.present.waiting.len()));
        // The number is negative where what takes messages back is all that is left in the slot.
        (self.wheel.pending() - i64::from(number)).max(0) + waiting as i64
    }
}

impl Store {
    /// Whether timer messages are served.
    pub fn has_timer(&self) -> bool {
        self.timer.is_some()
    }

    /// Figures as of now; while a step runs those of its last halt. Waits for nobody.
    pub fn timer_figures(&self) -> TimerFigures {
        let Some(timer) = &self.timer else { return TimerFigures::default() };
        let now = self.base.clock.now_millis();
        let told = timer.shown.told();
        // A slot that has nothing is over with the clock, though nobody has looked at it.
        let first = timer.shown.slots.lock().next_from(told.read_time);
        let behind = if first.is_some_and(|first| first < now) { now - told.read_time } else { 0 };
        TimerFigures {
            behind_ms: behind.max(0),
            queue_behind: timer.shown.queue.max_offset().saturating_sub(told.queue_offset),
            pending: told.pending,
            enqueued: timer.enqueued.load(Ordering::Relaxed),
            delivered: timer.delivered.load(Ordering::Relaxed),
        }
    }

    /// Java's fields of `config/timercheck` as last saved, big-endian; `None` without a timer.
    pub fn timer_checkpoint(&self) -> Option<[u8; 56]> {
        Some(self.timer.as_ref()?.shown.told().checkpoint.java_bytes())
    }

    /// When a message of the timer topic is due, Unix milliseconds; `None` if it says no slot, or without a timer.
    pub fn timer_due(&self, record: &Record<'_>) -> Option<i64> {
        let precision = self.timer.as_ref()?.options.precision();
        let out_ms = record.property(TIMER_OUT_MS)?.parse().ok()?;
        Some(due_of(record, out_ms, precision))
    }

    /// How many messages wait for each topic; `None` without a timer.
    pub fn timer_metrics(&self) -> Option<TimerMetrics> {
        Some(self.timer.as_ref()?.shown.counts.lock().clone())
    }

    /// Messages in the slot that begins at `out_ms`. Waits for nobody: senders ask.
    pub fn timer_slot_count(&self, out_ms: i64) -> i32 {
        let slot = self.timer.as_ref().and_then(|timer| timer.shown.slots.lock().get(out_ms));
        slot.map_or(0, |slot| slot.num)
    }
}
