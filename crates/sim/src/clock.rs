//! A clock that stands still until a test moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use store::Clock;

/// Wall clock and monotonic clock in one, in UTC unless told otherwise. Clones show the same time.
#[derive(Debug, Clone)]
pub struct SimClock(Arc<Times>);

#[derive(Debug)]
struct Times {
    wall: AtomicI64,
    monotonic: AtomicI64,
    offset_seconds: i32,
}

impl SimClock {
    /// Shows `millis` after the epoch, in a zone that many seconds ahead of UTC.
    pub fn new(millis: i64, offset_seconds: i32) -> SimClock {
        SimClock(Arc::new(Times {
            wall: AtomicI64::new(millis),
            monotonic: AtomicI64::new(0),
            offset_seconds,
        }))
    }

    /// Lets time pass.
    pub fn advance(&self, duration: Duration) {
        let millis = duration.as_millis() as i64;
        self.0.wall.fetch_add(millis, Ordering::SeqCst);
        self.0.monotonic.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock, as an administrator does.
    pub fn set_wall(&self, millis: i64) {
        self.0.wall.store(millis, Ordering::SeqCst);
    }
}

impl Default for SimClock {
    /// A day in November 2023, UTC.
    fn default() -> Self {
        SimClock::new(1_700_000_000_000, 0)
    }
}

impl Clock for SimClock {
    fn now_millis(&self) -> i64 {
        self.0.wall.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.monotonic.load(Ordering::SeqCst) as u64)
    }

    fn utc_offset_seconds(&self, _at_millis: i64) -> i32 {
        self.0.offset_seconds
    }
}
