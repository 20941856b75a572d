//! What happened in the second that has just passed, for a person who watches.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::tally::Tally;
use super::words::{thousands, time};

/// Time between two lines.
pub const STEP: Duration = Duration::from_secs(1);

/// The counts of all threads since the last line.
pub struct Live {
    interval: Mutex<Interval>,
    shown: Mutex<Instant>,
}

/// Counts since some moment.
struct Interval {
    messages: u64,
    failures: u64,
    latency: Histogram<u64>,
}

/// What one thread has told so far.
pub struct Told {
    next_ns: u64,
    messages: u64,
    failures: u64,
    latency: Histogram<u64>,
}

impl Live {
    /// Nothing unless somebody watches: lines go to stderr, and only to a terminal.
    pub fn for_terminal() -> Option<Live> {
        std::io::stderr().is_terminal().then(Live::new)
    }

    fn new() -> Live {
        let interval = Interval { messages: 0, failures: 0, latency: Tally::histogram() };
        Live { interval: Mutex::new(interval), shown: Mutex::new(Instant::now()) }
    }

    /// Adds what a thread has counted since it was last here, if a second has passed.
    pub fn tell(&self, told: &mut Told, now_ns: u64, tally: &mut Tally) {
        if now_ns < told.next_ns {
            return;
        }
        told.next_ns = now_ns + STEP.as_nanos() as u64;
        tally.settle();
        let failures = tally.failures.values().map(|failures| failures.count).sum();
        let mut since = tally.latency.clone();
        since.subtract(&told.latency).expect("a count never goes back");
        let mut interval = self.interval.lock();
        interval.messages += tally.messages - told.messages;
        interval.failures += failures - told.failures;
        interval.latency.add(&since).expect("both histograms have the same bounds");
        drop(interval);
        told.latency.clone_from(&tally.latency);
        (told.messages, told.failures) = (tally.messages, failures);
    }

    /// Writes the line of the last second over the one before.
    pub fn show(&self, phase: &str) {
        let line = self.line(phase, Instant::now());
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K{line}");
    }

    /// Takes the line away.
    pub fn clear(&self) {
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
    }

    fn line(&self, phase: &str, now: Instant) -> String {
        let mut interval = self.interval.lock();
        let seconds = now.duration_since(std::mem::replace(&mut *self.shown.lock(), now)).as_secs_f64();
        let latency = |quantile| time(interval.latency.value_at_quantile(quantile) as f64 / 1e3);
        let mut line = format!("{phase}  {} msg/s", thousands(interval.messages as f64 / seconds.max(1e-3)));
        if !interval.latency.is_empty() {
            let (p50, p99, max) = (latency(0.5), latency(0.99), latency(1.0));
            line += &format!("  p50 {p50}  p99 {p99}  max {max}");
        }
        if interval.failures > 0 {
            line += &format!("  {} errors", thousands(interval.failures as f64));
        }
        *interval = Interval { messages: 0, failures: 0, latency: Tally::histogram() };
        line
    }
}

impl Told {
    pub fn new() -> Told {
        Told { next_ns: 0, messages: 0, failures: 0, latency: Tally::histogram() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tally::Window;

    #[test]
    fn each_line_has_what_came_since_the_one_before() {
        let live = Live::new();
        let mut told = Told::new();
        let mut tally = Tally::new(Window { from_ns: 0, until_ns: u64::MAX });
        let start = *live.shown.lock();
        tally.success(1, 2_000_000, 10, 100);
        live.tell(&mut told, 1, &mut tally);
        // Too early: it waits for the next second.
        tally.success(2, 9_000_000, 5, 100);
        live.tell(&mut told, 2, &mut tally);
        let first = live.line("1 s", start + STEP);
        assert!(first.starts_with("1 s  10 msg/s  p50 2.00 ms") && !first.contains("errors"), "{first}");
        tally.failure(2, || "busy".to_owned());
        live.tell(&mut told, 1_500_000_000, &mut tally);
        let second = live.line("2 s", start + 2 * STEP);
        assert!(second.starts_with("2 s  5 msg/s") && second.contains("max 9.0"), "{second}");
        assert!(second.ends_with("1 errors"), "{second}");
        assert_eq!(live.line("3 s", start + 3 * STEP), "3 s  0 msg/s");
    }
}
