//! How a worker sleeps: until something is raised, a time has passed, or the store stops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// A flag that one thread waits for. Raising it again while it is up costs one atomic read.
#[derive(Default)]
pub(crate) struct Signal {
    up: AtomicBool,
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Wakes the worker, unless it has been woken and has not taken notice yet.
    pub fn raise(&self) {
        if !self.up.load(Ordering::Relaxed) && !self.up.swap(true, Ordering::AcqRel) {
            // The lock orders this after the waiter's last look at the flag.
            drop(self.stopped.lock());
            self.changed.notify_all();
        }
    }

    /// Takes the flag down; whatever is raised from now on is seen by the next wait.
    pub fn take(&self) -> bool {
        self.up.swap(false, Ordering::AcqRel)
    }

    /// Ends all waiting for good.
    pub fn stop(&self) {
        *self.stopped.lock() = true;
        self.changed.notify_all();
    }

    /// Whether [`Signal::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        *self.stopped.lock()
    }

    /// Waits until the flag is up; false after `timeout` or on stop.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let mut stopped = self.stopped.lock();
        loop {
            if self.up.load(Ordering::Acquire) {
                return true;
            }
            if *stopped {
                return false;
            }
            match timeout {
                None => self.changed.wait(&mut stopped),
                Some(timeout) => {
                    if self.changed.wait_for(&mut stopped, timeout).timed_out() {
                        return self.up.load(Ordering::Acquire);
                    }
                }
            }
        }
    }

    /// Sleeps, whatever is raised meanwhile; less if the store stops.
    pub fn pause(&self, duration: Duration) {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.changed.wait_while_for(&mut stopped, |stopped| !*stopped, duration);
        }
    }
}
