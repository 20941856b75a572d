//! Pauses between attempts to read what the disk does not give: each is twice as long as the one before.
//!
//! An error of the disk may pass, so what cannot be read is not lost yet; but each attempt may take a failing disk
//! seconds, and is a line in the log.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Attempts that failed one behind the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    failed: u32,
    /// Time of the next one, by the monotonic clock.
    again: Duration,
}

impl Attempts {
    /// Another one failed; gives the pause until the next.
    pub fn fail(&mut self, now: Duration) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.failed.min(16)).min(LONGEST);
        self.failed = self.failed.saturating_add(1);
        self.again = now + pause;
        pause
    }

    /// How many failed.
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// How long to wait until the next; nothing if it may be now.
    pub fn left(&self, now: Duration) -> Duration {
        self.again.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.left(Duration::ZERO), Duration::ZERO);
        let pauses: Vec<_> = (0..8).map(|_| attempts.fail(Duration::from_secs(9)).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(attempts.left(Duration::from_secs(10)), Duration::from_secs(59));
        for _ in 0..100 {
            attempts.fail(Duration::ZERO);
        }
        assert_eq!((attempts.failed(), attempts.left(Duration::ZERO)), (108, LONGEST));
    }
}
