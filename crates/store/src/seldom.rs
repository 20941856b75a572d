//! What goes wrong again and again: it is said at once, and then now and then.

use std::time::Duration;

use parking_lot::Mutex;

/// Time between two mentions.
const PAUSE: Duration = Duration::from_secs(600);

/// When something was mentioned, by the monotonic clock.
#[derive(Default)]
pub(crate) struct Seldom(Mutex<Option<Duration>>);

impl Seldom {
    /// It happens: whether it is to be mentioned now.
    pub fn is_due(&self, now: Duration) -> bool {
        let mut mentioned = self.0.lock();
        let is_due = mentioned.is_none_or(|at| now.saturating_sub(at) >= PAUSE);
        if is_due {
            *mentioned = Some(now);
        }
        is_due
    }

    /// It does not happen any more; tells whether it was mentioned before.
    pub fn end(&self) -> bool {
        self.0.lock().take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_mentioned_at_once_and_then_once_in_ten_minutes() {
        let (seldom, second) = (Seldom::default(), Duration::from_secs(1));
        let mentioned = |seldom: &Seldom, seconds: std::ops::Range<u32>| {
            seconds.filter(|second_of| seldom.is_due(second * *second_of)).collect::<Vec<_>>()
        };
        assert!(!seldom.end());
        assert_eq!(mentioned(&seldom, 5..1300), [5, 605, 1205]);
        assert!(seldom.end());
        assert!(!seldom.end());
        assert_eq!(mentioned(&seldom, 1300..1400), [1300]);
    }
}
