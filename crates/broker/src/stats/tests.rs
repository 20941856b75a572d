//! Rates against a model that remembers everything.

use std::sync::atomic::AtomicU64;

use super::*;

const MINUTE: Duration = Duration::from_millis(MINUTE_MS);
const HOUR: Duration = Duration::from_millis(HOUR_MS);
const DAY: Duration = Duration::from_millis(DAY_MS);

/// A clock that stands until it is moved.
#[derive(Default)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now_millis(&self) -> i64 {
        self.0.load(Ordering::Relaxed) as i64
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn utc_offset_seconds(&self, _: i64) -> i32 {
        7200
    }
}

struct Past {
    flow: Flow,
    now_ms: u64,
    before_ms: u64,
    /// Every moment at which something was counted, with the total after it.
    log: Vec<(u64, u64)>,
}

impl Past {
    fn new() -> Past {
        Past { flow: Flow::new(Arc::default(), FINE_MS), now_ms: 0, before_ms: 0, log: vec![(0, 0)] }
    }

    /// Ten seconds with one addition each second, then a sample.
    fn tick(&mut self, per_second: u64) {
        for _ in 0..10 {
            self.now_ms += 1000;
            self.flow.total.add(per_second, per_second * 100);
            let total = self.log.last().map_or(0, |(_, total)| *total);
            self.log.push((self.now_ms, total + per_second));
        }
        self.flow.sample(self.before_ms, self.now_ms);
        self.before_ms = self.now_ms;
    }

    fn messages(&self, window: Duration) -> u64 {
        self.flow.over(window, self.before_ms, self.now_ms).messages
    }

    fn counted_before(&self, at_ms: u64) -> u64 {
        let end = self.log.partition_point(|(time, _)| *time <= at_ms);
        self.log[end - 1].1
    }

    /// What a window must hold when its beginning may be off by `slack`.
    fn expected(&self, window: Duration, slack: Duration) -> std::ops::RangeInclusive<u64> {
        let from = self.now_ms.saturating_sub(window.as_millis() as u64);
        let slack = slack.as_millis() as u64;
        let total = self.counted_before(self.now_ms);
        total - self.counted_before(from + slack)..=total - self.counted_before(from.saturating_sub(slack))
    }
}

#[test]
fn a_steady_flow_has_one_rate_in_every_window() {
    let mut past = Past::new();
    for _ in 0..3 * 360 {
        past.tick(100);
    }
    for window in [Duration::from_secs(10), MINUTE, 10 * MINUTE, HOUR] {
        let moved = past.flow.over(window, past.before_ms, past.now_ms);
        assert!((moved.messages_rate() - 100.0).abs() < 0.1, "{window:?}: {moved:?}");
        assert!((moved.bytes_rate() - 10_000.0).abs() < 10.0, "{window:?}: {moved:?}");
    }
}

#[test]
fn windows_of_an_uneven_flow_hold_what_moved_in_them() {
    let mut past = Past::new();
    let mut seed = 7u64;
    for _ in 0..30 * 360 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Long rests, when no sample is taken, between bursts.
        let burst = (seed >> 60) < 3;
        if burst {
            past.tick(seed >> 54);
        } else {
            past.now_ms += 10_000;
            past.flow.sample(past.before_ms, past.now_ms);
            past.before_ms = past.now_ms;
        }
        let ten = Duration::from_secs(10);
        for (window, slack) in [(ten, ten), (MINUTE, ten), (HOUR, 10 * MINUTE), (DAY, HOUR)] {
            let (held, wanted) = (past.messages(window), past.expected(window, slack));
            assert!(wanted.contains(&held), "{window:?} at {} ms: {held}, wanted {wanted:?}", past.now_ms);
        }
    }
    let kept = past.flow.samples.lock().len();
    assert!(kept < 64, "{kept} samples are kept");
}

#[test]
fn a_burst_after_a_rest_counts_from_its_beginning() {
    let clock = Arc::new(HandClock::default());
    let stats = Stats::new(clock.clone());
    stats.put(500, 5000);
    clock.0.store(HOUR_MS, Ordering::Relaxed);
    // The task has slept since the first sample; it notes when it wakes.
    stats.put.sample(0, 10_000);
    stats.ticked_ms.store(HOUR_MS, Ordering::Relaxed);
    assert_eq!(stats.put_over(MINUTE).messages, 0);
    stats.put(60, 600);
    clock.0.store(HOUR_MS + 5000, Ordering::Relaxed);
    assert_eq!(stats.put_over(MINUTE).messages, 60);
    assert_eq!(stats.put_over(Duration::from_secs(10)).messages_rate(), 6.0);
    assert_eq!(stats.put_over(2 * HOUR).messages, 560);
    assert_eq!(
        stats.put_over(2 * HOUR).window,
        HOUR + Duration::from_secs(5),
        "no window begins before the start"
    );
}

#[test]
fn groups_are_counted_apart_and_forgotten() {
    let stats = Stats::new(Arc::new(HandClock::default()));
    stats.got("a", "t", 3, 30);
    stats.got("a", "t", 0, 0);
    stats.got("b", "t", 4, 40);
    stats.got("b", "u", 5, 50);
    assert_eq!(stats.totals(), (0, 12));
    assert_eq!(stats.group_got_over("b", "t", MINUTE).unwrap().messages, 4);
    assert_eq!(stats.group_got_over("c", "t", MINUTE), None);
    stats.forget_topic("t");
    assert_eq!(stats.group_got_over("b", "t", MINUTE), None);
    assert_eq!(stats.group_got_over("b", "u", MINUTE).unwrap().messages, 5);
    stats.forget_group("b");
    assert_eq!(stats.group_got_over("b", "u", MINUTE), None);
    let (found, missed) = stats.pull_rates();
    assert_eq!((found[0], missed[0]), (3.0, 1.0));
}

#[test]
fn mornings_are_those_of_local_time() {
    let clock = Arc::new(HandClock::default());
    let stats = Stats::new(clock.clone());
    stats.put(10, 0);
    // 21:59:59 UTC is one second before midnight at UTC+2.
    clock.0.store(22 * HOUR_MS - 1000, Ordering::Relaxed);
    assert_eq!(stats.mornings().today, (0, 0));
    clock.0.store(22 * HOUR_MS, Ordering::Relaxed);
    assert_eq!(stats.mornings().today, (10, 0));
    stats.put(5, 0);
    clock.0.store(22 * HOUR_MS + DAY_MS, Ordering::Relaxed);
    assert_eq!((stats.mornings().yesterday, stats.mornings().today), ((10, 0), (15, 0)));
    clock.0.store(22 * HOUR_MS + 5 * DAY_MS, Ordering::Relaxed);
    assert_eq!((stats.mornings().yesterday, stats.mornings().today), ((15, 0), (15, 0)));
}

#[test]
fn light_queues_and_their_groups_are_counted_together() {
    let stats = Stats::new(Arc::new(HandClock::default()));
    for number in 0..1000 {
        let name = format!("%LMQ%client-{number}");
        stats.got(&name, &name, 1, 10);
        stats.opened(&name, &name);
        stats.acknowledged(&name, &name, 1);
    }
    for by_group in [&stats.got, &stats.checkpoints, &stats.acks] {
        assert_eq!(by_group.groups.read().values().map(HashMap::len).sum::<usize>(), 1);
    }
    let got = stats.group_got_over("%LMQ%client-7", "%LMQ%client-7", MINUTE).unwrap();
    assert_eq!((got.messages, got.bytes), (1000, 10_000));
}
