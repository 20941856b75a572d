//! The steps of the timer, one behind the other.

use std::time::Duration;

use super::{OnDelivered, TimerNext};
use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// Tells of deliveries from now on; the first caller is told.
    pub fn on_timer_delivered(&self, told: OnDelivered) {
        if let Some(timer) = &self.timer {
            // A second listener would count twice what the first has counted.
            let _ = timer.on_delivered.set(told);
        }
    }

    /// Takes in what has come and delivers what is due.
    pub fn timer_step(&self) -> Result<TimerNext, StoreError> {
        let Some(timer) = &self.timer else { return Ok(TimerNext::OnArrival) };
        // Before the queue is looked at: what takes a message back was there before that message is due.
        let now = self.base.clock.now_millis();
        let mut state = timer.state.lock();
        let more = self.timer_enqueue(timer, &mut state, now);
        timer.shown.tell(state.told());
        let more = more?;
        if state.queue_offset >= state.catch_up {
            state.skipped = None;
        } else if more {
            return Ok(TimerNext::AtOnce);
        }
        let next = self.timer_deliver(timer, &mut state, now);
        timer.shown.tell(state.told());
        let next = next?;
        if state.changed {
            timer.flush_signal.raise();
        }
        Ok(if more { TimerNext::AtOnce } else { next })
    }

    /// The thread that takes in and delivers.
    pub(crate) fn timer_loop(&self) {
        /// Messages that come or are due within this time are handled together.
        const GATHER: Duration = Duration::from_millis(5);
        const AFTER_ERROR: Duration = Duration::from_secs(1);
        let Some(timer) = &self.timer else { return };
        while !timer.signal.is_stopped() {
            timer.signal.take();
            let next = self.timer_step().unwrap_or_else(|error| {
                tracing::error!(%error, "timer messages wait");
                TimerNext::After(AFTER_ERROR)
            });
            match next {
                TimerNext::AtOnce => continue,
                TimerNext::After(pause) => timer.signal.wait(Some(pause)),
                TimerNext::OnArrival => timer.signal.wait(None),
            };
            timer.signal.pause(GATHER);
        }
    }
}
