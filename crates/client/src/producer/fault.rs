//! Brokers that were slow or failed are left alone for a while (client.md §2.4).

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// From this latency on, in milliseconds, a broker is avoided for so many milliseconds.
const AVOIDED: [(u64, u64); 7] =
    [(50, 0), (100, 0), (550, 2_000), (1_800, 5_000), (3_000, 6_000), (5_000, 10_000), (15_000, 30_000)];
/// A failure counts like this latency.
const FAILURE: Duration = Duration::from_millis(10_000);

/// How long brokers are avoided.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    avoided_until: HashMap<String, Instant>,
}

impl Faults {
    /// A broker answered after so long.
    pub fn answered(&mut self, broker_name: &str, latency: Duration, now: Instant) {
        self.avoid(broker_name, avoided_for(latency), now);
    }

    /// A broker did not answer, or refused.
    pub fn failed(&mut self, broker_name: &str, now: Instant) {
        self.avoid(broker_name, avoided_for(FAILURE), now);
    }

    /// Whether a broker may be chosen first.
    pub fn is_available(&self, broker_name: &str, now: Instant) -> bool {
        self.avoided_until.get(broker_name).is_none_or(|until| *until <= now)
    }

    fn avoid(&mut self, broker_name: &str, time: Duration, now: Instant) {
        if time.is_zero() {
            return;
        }
        let until = self.avoided_until.entry(broker_name.to_owned()).or_insert(now);
        *until = (*until).max(now + time);
    }
}

fn avoided_for(latency: Duration) -> Duration {
    let latency = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
    let level = AVOIDED.iter().rev().find(|(from, _)| latency >= *from);
    Duration::from_millis(level.map_or(0, |(_, avoided)| *avoided))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_brokers_are_avoided_for_a_while_and_failed_ones_longer() {
        let start = Instant::now();
        let mut faults = Faults::default();
        let after = |ms| start + Duration::from_millis(ms);
        faults.answered("quick", Duration::from_millis(549), start);
        faults.answered("slow", Duration::from_millis(550), start);
        faults.failed("gone", start);
        assert!(faults.is_available("quick", start) && faults.is_available("unknown", start));
        assert!(!faults.is_available("slow", after(1_999)) && faults.is_available("slow", after(2_000)));
        assert!(!faults.is_available("gone", after(9_999)) && faults.is_available("gone", after(10_000)));
        // A quick answer does not end the wait.
        faults.answered("gone", Duration::from_millis(1), after(5_000));
        assert!(!faults.is_available("gone", after(9_999)));
    }
}
