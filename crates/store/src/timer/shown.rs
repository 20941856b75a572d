//! What others see of the timer without waiting for its state, which is held while the disk is read and written: a disk
//! that hangs must not take along the threads that serve senders and administrators.

use std::sync::Arc;

use parking_lot::Mutex;
use wire::body::TimerMetrics;

use super::checkpoint::Checkpoint;
use super::wheel::Slots;
use crate::queue::Queue;

/// What is shown. None of these locks is held while the disk is waited for.
pub(crate) struct Shown {
    pub queue: Arc<Queue>,
    pub slots: Arc<Mutex<Slots>>,
    /// How many messages wait for each topic.
    pub counts: Arc<Mutex<TimerMetrics>>,
    pub told: Mutex<Told>,
}

/// What was told of the state the last time.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    pub read_time: i64,
    pub queue_offset: u64,
    /// Messages that wait.
    pub pending: i64,
    pub checkpoint: Checkpoint,
}

impl Shown {
    /// Tells how the state is now.
    pub fn tell(&self, told: Told) {
        *self.told.lock() = told;
    }

    /// How the state was when it was told last.
    pub fn told(&self) -> Told {
        *self.told.lock()
    }
}
