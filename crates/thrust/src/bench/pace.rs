//! When requests are due at a fixed rate.

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The schedule of one connection: request `k` is due at `(k * lanes + lane) / rate` after the run's start.
///
/// It ends with the window: what is due before the end is still sent after it when the server was too slow, since
/// leaving it out would hide the slowness. Computed from `k` and not by adding intervals, so that no rounding error
/// accumulates.
pub struct Pace {
    next: u64,
    until_ns: u64,
    lane: u64,
    lanes: u64,
    requests_per_second: f64,
}

impl Pace {
    /// `requests_per_second` over all `lanes`; this is the schedule of number `lane`.
    pub fn new(requests_per_second: f64, lane: usize, lanes: usize, until_ns: u64) -> Pace {
        assert!(requests_per_second > 0.0 && lane < lanes);
        Pace { next: 0, until_ns, lane: lane as u64, lanes: lanes as u64, requests_per_second }
    }

    /// When the next request should go out, in nanoseconds of the run's clock; `None` when it was the last.
    fn due_ns(&self) -> Option<u64> {
        let due_ns = self.due_of(self.next);
        (due_ns < self.until_ns).then_some(due_ns)
    }

    fn due_of(&self, k: u64) -> u64 {
        let number = u128::from(k) * u128::from(self.lanes) + u128::from(self.lane);
        // Millionths of a request per second keep the division in integers.
        let micro_rate = (self.requests_per_second * 1e6).max(1.0) as u128;
        (number * NANOS_PER_SECOND * 1_000_000 / micro_rate) as u64
    }

    /// Requests that are due before the end and were not sent.
    fn left(&self) -> u64 {
        let per_lane = self.until_ns as f64 / 1e9 * self.requests_per_second / self.lanes as f64;
        (per_lane.round() as u64).saturating_sub(self.next)
    }

    /// The next request was sent.
    fn advance(&mut self) {
        self.next += 1;
    }
}

/// When the requests of a connection may go out, as long as there is room for one.
pub enum Start {
    /// At once: each answer makes room for the next request, until the window ends.
    AtOnce { until_ns: u64 },
    /// When it is due.
    Paced(Pace),
}

impl Start {
    /// By the clock, if there is a rate: requests a second of all `lanes`, of which this is number `lane`.
    pub fn new(requests_per_second: Option<f64>, lane: usize, lanes: usize, until_ns: u64) -> Start {
        match requests_per_second {
            Some(rate) => Start::Paced(Pace::new(rate, lane, lanes, until_ns)),
            None => Start::AtOnce { until_ns },
        }
    }

    /// Lets the next request go, if it may; gives the moment from which it counts.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        match self {
            Start::AtOnce { until_ns } => (now_ns < *until_ns).then_some(now_ns),
            Start::Paced(pace) => {
                let due_ns = pace.due_ns().filter(|due_ns| *due_ns <= now_ns)?;
                pace.advance();
                Some(due_ns)
            }
        }
    }

    /// The moment to which an answered request belongs. By the clock that is when it was due; else a stall would hide
    /// what it delayed.
    pub fn moment_of(&self, since_ns: u64, now_ns: u64) -> u64 {
        match self {
            Start::AtOnce { .. } => now_ns,
            Start::Paced(_) => since_ns,
        }
    }

    /// When the next one is due, by the clock.
    pub fn due_ns(&self) -> Option<u64> {
        match self {
            Start::AtOnce { .. } => None,
            Start::Paced(pace) => pace.due_ns(),
        }
    }

    /// Whether none will go any more.
    pub fn is_over(&self, now_ns: u64) -> bool {
        match self {
            Start::AtOnce { until_ns } => now_ns >= *until_ns,
            Start::Paced(pace) => pace.due_ns().is_none(),
        }
    }

    /// Requests that were due and did not go.
    pub fn left(&self) -> u64 {
        match self {
            Start::AtOnce { .. } => 0,
            Start::Paced(pace) => pace.left(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_interleave_evenly_and_never_drift() {
        let mut lanes: Vec<Pace> = (0..4).map(|lane| Pace::new(10_000.0, lane, 4, 4_000_000_000)).collect();
        for k in 0..40_000u64 {
            let lane = &mut lanes[(k % 4) as usize];
            assert_eq!(lane.due_ns(), Some(k * 100_000));
            lane.advance();
        }
        assert!(lanes.iter().all(|lane| lane.due_ns().is_none() && lane.left() == 0));
    }

    #[test]
    fn rates_that_do_not_divide_a_second_keep_their_average() {
        let mut pace = Pace::new(3.0, 0, 1, u64::MAX);
        for _ in 0..3_000_000 {
            pace.advance();
        }
        assert_eq!(pace.due_ns(), Some(1_000_000_000_000_000));
    }

    #[test]
    fn what_was_not_sent_is_known() {
        let mut pace = Pace::new(1000.0, 1, 2, 3_000_000_000);
        pace.advance();
        assert_eq!(pace.left(), 1499);
    }
}
