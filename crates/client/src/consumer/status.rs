//! How a member does, topic by topic: what `mqadmin consumerStatus` shows of it (client.md §3.10).
//!
//! Plain types: they are told what happened, and when.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

/// How often the counters are looked at.
pub(super) const SAMPLED: Duration = Duration::from_secs(10);
/// Samples of the last minute and the one before them.
const OF_MINUTE: usize = 7;
/// How far the samples of the last hour are apart.
const SELDOM: Duration = Duration::from_secs(600);
/// Samples of the last hour and the one before them.
const OF_HOUR: usize = 7;

/// What happened to messages of one topic since the member is there.
#[derive(Debug, Default)]
pub(super) struct TopicStatus {
    pulls: AtomicU64,
    pull_us: AtomicU64,
    pulled: AtomicU64,
    consumed_us: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    history: Mutex<History>,
}

/// All counters at one moment, or what came to them between two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    pulls: u64,
    pull_us: u64,
    pulled: u64,
    consumed_us: u64,
    done: u64,
    failed: u64,
}

/// What the counters were, each time with how long the member was there by then.
#[derive(Debug, Default)]
struct History {
    minute: VecDeque<(Duration, Totals)>,
    hour: VecDeque<(Duration, Totals)>,
}

impl TopicStatus {
    /// Counters that begin when the member is so old.
    pub fn since(age: Duration) -> TopicStatus {
        let status = TopicStatus::default();
        status.sample(age);
        status
    }

    /// A request took so long and brought so many messages.
    pub fn pulled(&self, elapsed: Duration, messages: usize) {
        self.pulls.fetch_add(1, Ordering::Relaxed);
        self.pull_us.fetch_add(micros(elapsed), Ordering::Relaxed);
        self.pulled.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// The application had a message for so long, and is done with it or not.
    pub fn consumed(&self, elapsed: Duration, done: bool) {
        self.consumed_us.fetch_add(micros(elapsed), Ordering::Relaxed);
        let outcome = if done { &self.done } else { &self.failed };
        outcome.fetch_add(1, Ordering::Relaxed);
    }

    fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            pulls: read(&self.pulls),
            pull_us: read(&self.pull_us),
            pulled: read(&self.pulled),
            consumed_us: read(&self.consumed_us),
            done: read(&self.done),
            failed: read(&self.failed),
        }
    }

    /// Notes the counters, at the age that the member has now.
    pub fn sample(&self, age: Duration) {
        let totals = self.totals();
        let History { minute, hour } = &mut *self.history.lock();
        if hour.back().is_none_or(|(last, _)| age.saturating_sub(*last) >= SELDOM) {
            note(hour, OF_HOUR, (age, totals));
        }
        note(minute, OF_MINUTE, (age, totals));
    }

    /// `ConsumeStatus` at the age that the member has now: rates per second and milliseconds over the last minute, and
    /// over the last hour what failed, and how long handlers took if none ran in the last minute.
    pub fn describe(&self, age: Duration) -> Value {
        let (now, history) = (self.totals(), self.history.lock());
        let (minute, span) = lately(&history.minute, age, now);
        let (hour, _) = lately(&history.hour, age, now);
        let recent = if minute.done + minute.failed > 0 { minute } else { hour };
        json!({
            "consumeFailedMsgs": hour.failed,
            "consumeFailedTPS": per_second(minute.failed, span),
            "consumeOKTPS": per_second(minute.done, span),
            "consumeRT": mean_ms(recent.consumed_us, recent.done + recent.failed),
            "pullRT": mean_ms(minute.pull_us, minute.pulls),
            "pullTPS": per_second(minute.pulled, span),
        })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn note(samples: &mut VecDeque<(Duration, Totals)>, most: usize, sample: (Duration, Totals)) {
    samples.push_back(sample);
    if samples.len() > most {
        samples.pop_front();
    }
}

/// What came to the counters since the oldest sample, and how long ago that was.
fn lately(samples: &VecDeque<(Duration, Totals)>, age: Duration, now: Totals) -> (Totals, Duration) {
    let (since, before) = samples.front().copied().unwrap_or_default();
    let more = Totals {
        pulls: now.pulls - before.pulls,
        pull_us: now.pull_us.wrapping_sub(before.pull_us),
        pulled: now.pulled - before.pulled,
        consumed_us: now.consumed_us.wrapping_sub(before.consumed_us),
        done: now.done - before.done,
        failed: now.failed - before.failed,
    };
    (more, age.saturating_sub(since))
}

fn per_second(count: u64, span: Duration) -> f64 {
    if span.is_zero() { 0.0 } else { count as f64 / span.as_secs_f64() }
}

fn mean_ms(sum_us: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum_us as f64 / 1_000.0 / count as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn rates_are_those_of_the_last_minute() {
        let status = TopicStatus::since(at(5));
        status.pulled(4 * MS, 30);
        status.pulled(2 * MS, 10);
        for number in 0..40 {
            status.consumed(3 * MS, number % 4 > 0);
        }
        let expected = json!({
            "consumeFailedMsgs": 10, "consumeFailedTPS": 1.0, "consumeOKTPS": 3.0, "consumeRT": 3.0,
            "pullRT": 3.0, "pullTPS": 4.0,
        });
        assert_eq!(status.describe(at(15)), expected);
        // A minute and more without any: the hour still knows what failed, and how long handlers took.
        (15..100).step_by(10).for_each(|age| status.sample(at(age)));
        let expected = json!({
            "consumeFailedMsgs": 10, "consumeFailedTPS": 0.0, "consumeOKTPS": 0.0, "consumeRT": 3.0,
            "pullRT": 0.0, "pullTPS": 0.0,
        });
        assert_eq!(status.describe(at(100)), expected);
        (100..4_600).step_by(10).for_each(|age| status.sample(at(age)));
        assert_eq!(status.describe(at(4_600))["consumeFailedMsgs"], 0, "that was more than an hour ago");
    }

    #[test]
    fn what_has_only_begun_has_no_rates() {
        let status = TopicStatus::since(at(5));
        status.pulled(MS, 1);
        assert_eq!(status.describe(at(5))["pullTPS"], 0.0);
    }
}
