//! What came back: counts, latencies and errors of the measured window.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

/// Longest latency told apart; longer ones count as this.
const LATENCY_MAX_NS: u64 = 120_000_000_000;

/// The measured part of a run, in nanoseconds of the run's clock.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub from_ns: u64,
    pub until_ns: u64,
}

impl Window {
    fn contains(&self, at_ns: u64) -> bool {
        (self.from_ns..self.until_ns).contains(&at_ns)
    }
}

/// Answers of one code.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    pub count: u64,
    pub first_remark: String,
}

/// Counts of one thread, or of all after [`Tally::add`].
pub struct Tally {
    window: Window,
    /// Answers of the whole run, warm-up included.
    pub answers: u64,
    /// Successful requests of the window.
    pub requests: u64,
    /// Messages in them.
    pub messages: u64,
    /// Bytes in those: bodies when sending, whole records when receiving.
    pub bytes: u64,
    /// Answers of the whole run that were no success, by code.
    pub failures: BTreeMap<i32, Failures>,
    /// Requests that were never answered.
    pub unanswered: u64,
    /// Nanoseconds.
    pub latency: Histogram<u64>,
    /// Equal latencies in a row are recorded together: answers come in bunches that went out together.
    run: (u64, u64),
}

impl Tally {
    pub fn new(window: Window) -> Tally {
        Tally {
            window,
            answers: 0,
            requests: 0,
            messages: 0,
            bytes: 0,
            failures: BTreeMap::new(),
            unanswered: 0,
            latency: Tally::histogram(),
            run: (0, 0),
        }
    }

    /// An empty histogram of latencies, in nanoseconds.
    pub fn histogram() -> Histogram<u64> {
        Histogram::new_with_bounds(64, LATENCY_MAX_NS, 3).expect("the bounds are constants that fit")
    }

    /// A success that belongs to the moment `at_ns`.
    pub fn success(&mut self, at_ns: u64, latency_ns: u64, messages: u64, bytes: u64) {
        self.answers += 1;
        if !self.window.contains(at_ns) {
            return;
        }
        self.requests += 1;
        self.messages += messages;
        self.bytes += bytes;
        if self.run.0 == latency_ns {
            self.run.1 += 1;
        } else {
            self.settle();
            self.run = (latency_ns, 1);
        }
    }

    /// An answer with another code.
    pub fn failure(&mut self, code: i32, remark: impl FnOnce() -> String) {
        self.answers += 1;
        let failures = self.failures.entry(code).or_default();
        if failures.count == 0 {
            failures.first_remark = remark();
        }
        failures.count += 1;
    }

    /// Writes the pending run of equal latencies to the histogram.
    pub fn settle(&mut self) {
        let (latency_ns, count) = std::mem::take(&mut self.run);
        if count > 0 {
            self.latency.saturating_record_n(latency_ns, count);
        }
    }

    /// Adds the counts of another thread.
    pub fn add(&mut self, mut other: Tally) {
        self.settle();
        other.settle();
        self.answers += other.answers;
        self.requests += other.requests;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.unanswered += other.unanswered;
        self.latency.add(&other.latency).expect("both histograms have the same bounds");
        for (code, theirs) in other.failures {
            let ours = self.failures.entry(code).or_default();
            if ours.count == 0 {
                ours.first_remark = theirs.first_remark;
            }
            ours.count += theirs.count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { from_ns: 100, until_ns: 200 };

    #[test]
    fn only_the_window_counts_and_runs_of_equal_latency_lose_nothing() {
        let mut tally = Tally::new(WINDOW);
        tally.success(99, 1_000, 1, 10);
        tally.success(200, 1_000, 1, 10);
        let latencies = [5_000, 5_000, 5_000, 70_000, 5_000, 900_000_000_000];
        for latency in latencies {
            tally.success(150, latency, 2, 10);
        }
        let mut all = Tally::new(WINDOW);
        all.add(tally);
        assert_eq!((all.answers, all.requests, all.messages, all.bytes), (8, 6, 12, 60));
        assert_eq!(all.latency.len(), 6);
        assert!(all.latency.value_at_quantile(0.5).abs_diff(5_000) < 64);
        assert!(all.latency.max() >= LATENCY_MAX_NS);
    }

    #[test]
    fn failures_keep_the_first_remark_of_each_code() {
        let mut one = Tally::new(WINDOW);
        one.failure(2, || "busy".to_owned());
        one.failure(2, || unreachable!("only the first is asked"));
        let mut other = Tally::new(WINDOW);
        other.failure(2, || "later".to_owned());
        other.failure(13, || "illegal".to_owned());
        one.add(other);
        assert_eq!(one.failures[&2].count, 3);
        assert_eq!(one.failures[&2].first_remark, "busy");
        assert_eq!(one.failures[&13].first_remark, "illegal");
    }
}
