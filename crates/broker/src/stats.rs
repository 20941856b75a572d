//! What went in and out since the start, and how fast: totals of the broker, of each topic, of each group on a topic.
//!
//! Counting is a few atomic additions. Rates come from samples of the counters, taken every ten seconds while
//! messages move. While nothing does no timer runs, and the samples still know every moment's value: the last one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use store::{Batch, Clock};
use tokio::sync::Notify;
use wire::names;

use crate::topics::{Counter, REVIVE_TOPIC_PREFIX, Topic, Topics};

/// Time between two samples.
const TICK: Duration = Duration::from_secs(10);
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Every sample of the broker's totals is kept for this long: their windows reach back ten minutes.
const TOTALS_FINE_MS: u64 = 11 * MINUTE_MS;
/// Every sample of one topic or group is kept for this long.
const FINE_MS: u64 = MINUTE_MS + 20_000;

/// Windows of the rates in GET_BROKER_RUNTIME_INFO.
const WINDOWS: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)];

/// A counter's values at a moment, in milliseconds since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sample {
    at_ms: u64,
    messages: u64,
    bytes: u64,
}

/// What moved within a window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moved {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
    /// Length of the window, which never reaches back before the start.
    pub window: Duration,
}

impl Moved {
    /// Messages per second.
    pub fn messages_rate(&self) -> f64 {
        rate(self.messages, self.window)
    }

    /// Bytes per second.
    pub fn bytes_rate(&self) -> f64 {
        rate(self.bytes, self.window)
    }
}

fn rate(count: u64, window: Duration) -> f64 {
    // A window of less than a second is one at the very start; a burst then is no rate yet.
    count as f64 / window.as_secs_f64().max(1.0)
}

/// A counter with enough of its past to tell rates.
#[derive(Debug)]
pub struct Flow {
    total: Arc<Counter>,
    fine_ms: u64,
    /// Ascending in time; the first is that of the start, or the last before the horizon of a day.
    samples: Mutex<Vec<Sample>>,
}

impl Flow {
    fn new(total: Arc<Counter>, fine_ms: u64) -> Flow {
        Flow { total, fine_ms, samples: Mutex::new(vec![Sample::default()]) }
    }

    fn now(&self, at_ms: u64) -> Sample {
        let messages = self.total.messages.load(Ordering::Relaxed);
        Sample { at_ms, messages, bytes: self.total.bytes.load(Ordering::Relaxed) }
    }

    /// Takes a sample if anything moved since the last one, which then still held at `before_ms`.
    fn sample(&self, before_ms: u64, now_ms: u64) -> bool {
        let mut samples = self.samples.lock();
        let now = self.now(now_ms);
        let last = samples.last().copied().unwrap_or_default();
        if now.messages == last.messages {
            return false;
        }
        if last.at_ms < before_ms {
            samples.push(Sample { at_ms: before_ms, ..last });
        }
        samples.push(now);
        thin(&mut samples, now_ms, self.fine_ms);
        true
    }

    /// What moved in the `window` that ends now. Up to `before_ms` the last sample still held.
    fn over(&self, window: Duration, before_ms: u64, now_ms: u64) -> Moved {
        let from_ms = now_ms.saturating_sub(window.as_millis() as u64);
        let now = self.now(now_ms);
        let then = {
            let samples = self.samples.lock();
            let last = samples.last().copied().unwrap_or_default();
            let held = Sample { at_ms: before_ms.max(last.at_ms), ..last };
            value_at(&samples, [held, now], from_ms)
        };
        Moved {
            messages: now.messages.saturating_sub(then.messages),
            bytes: now.bytes.saturating_sub(then.bytes),
            window: Duration::from_millis(now_ms - from_ms),
        }
    }
}

/// The value at a moment, on the straight line between the samples around it.
fn value_at(samples: &[Sample], newest: [Sample; 2], at_ms: u64) -> Sample {
    let mut left = samples.first().copied().unwrap_or_default();
    for right in samples.iter().chain(&newest).copied() {
        if right.at_ms >= at_ms {
            let span = right.at_ms.saturating_sub(left.at_ms).max(1);
            let part = at_ms.saturating_sub(left.at_ms).min(span);
            let between = |from: u64, until: u64| {
                from + (u128::from(until.saturating_sub(from)) * u128::from(part) / u128::from(span)) as u64
            };
            return Sample {
                at_ms,
                messages: between(left.messages, right.messages),
                bytes: between(left.bytes, right.bytes),
            };
        }
        left = right;
    }
    left
}

/// Drops samples that no window needs: the older one is, the wider may the gap be that it leaves.
fn thin(samples: &mut Vec<Sample>, now_ms: u64, fine_ms: u64) {
    let horizon_ms = now_ms.saturating_sub(DAY_MS);
    let gone = samples.iter().rposition(|sample| sample.at_ms <= horizon_ms).unwrap_or(0);
    samples.drain(..gone);
    let gap_ms = |age_ms: u64| match age_ms {
        age if age <= fine_ms => 0,
        age if age <= HOUR_MS => HOUR_MS / 6,
        _ => HOUR_MS,
    };
    let mut index = 1;
    while index + 1 < samples.len() {
        let (before, after) = (samples[index - 1].at_ms, samples[index + 1].at_ms);
        // The youngest moment in the gap decides: a narrow window may begin there.
        if after - before <= gap_ms(now_ms.saturating_sub(after)) {
            samples.remove(index);
        } else {
            index += 1;
        }
    }
}

/// Totals at the beginning of a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mornings {
    day: i64,
    /// Messages put and got until yesterday morning.
    pub yesterday: (u64, u64),
    /// Messages put and got until this morning.
    pub today: (u64, u64),
}

/// What one group did with one topic, counted for all of them and for each.
#[derive(Debug)]
pub struct ByGroup {
    total: Flow,
    groups: RwLock<HashMap<String, HashMap<String, Arc<Flow>>>>,
}

impl ByGroup {
    fn new() -> ByGroup {
        ByGroup { total: Flow::new(Arc::default(), TOTALS_FINE_MS), groups: RwLock::default() }
    }

    fn add(&self, group: &str, topic: &str, messages: u64, bytes: u64) {
        let (group, topic) = (counted_as(group), counted_as(topic));
        self.total.total.add(messages, bytes);
        let known = self.groups.read().get(group).and_then(|topics| topics.get(topic)).map(|flow| {
            flow.total.add(messages, bytes);
        });
        if known.is_none() {
            let mut groups = self.groups.write();
            let topics = groups.entry(group.to_owned()).or_default();
            let flow = topics
                .entry(topic.to_owned())
                .or_insert_with(|| Arc::new(Flow::new(Arc::default(), FINE_MS)));
            flow.total.add(messages, bytes);
        }
    }

    fn sample(&self, before_ms: u64, now_ms: u64) -> bool {
        let mut moved = self.total.sample(before_ms, now_ms);
        for flow in self.groups.read().values().flat_map(HashMap::values) {
            moved |= flow.sample(before_ms, now_ms);
        }
        moved
    }

    fn of(&self, group: &str, topic: &str) -> Option<Arc<Flow>> {
        self.groups.read().get(counted_as(group))?.get(counted_as(topic)).cloned()
    }

    fn forget_topic(&self, topic: &str) {
        self.groups.write().retain(|_, topics| {
            topics.remove(topic);
            !topics.is_empty()
        });
    }

    fn forget_group(&self, group: &str) {
        self.groups.write().remove(group);
    }
}

/// Light queues, and groups named like them, are counted together: there may be very many, one for each client.
fn counted_as(name: &str) -> &str {
    if names::is_light(name) { names::LMQ_PREFIX } else { name }
}

/// All counters of this broker.
pub struct Stats {
    clock: Arc<dyn Clock>,
    started: Duration,
    put: Flow,
    got: ByGroup,
    /// Deliveries by pop, each of some messages of one queue.
    checkpoints: ByGroup,
    /// Acknowledged messages.
    acks: ByGroup,
    /// Pulls that found something and that did not.
    found: Flow,
    missed: Flow,
    topics: RwLock<HashMap<String, Arc<Flow>>>,
    /// When the last sample was taken, or when the first message moved after a rest.
    ticked_ms: AtomicU64,
    resting: AtomicBool,
    awoken: Notify,
    mornings: Mutex<Mornings>,
}

impl Stats {
    /// Counters at zero.
    pub fn new(clock: Arc<dyn Clock>) -> Stats {
        let total = || Flow::new(Arc::default(), TOTALS_FINE_MS);
        let stats = Stats {
            started: clock.monotonic(),
            clock,
            put: total(),
            got: ByGroup::new(),
            checkpoints: ByGroup::new(),
            acks: ByGroup::new(),
            found: total(),
            missed: total(),
            topics: RwLock::default(),
            ticked_ms: AtomicU64::new(0),
            resting: AtomicBool::new(true),
            awoken: Notify::new(),
            mornings: Mutex::default(),
        };
        stats.mornings.lock().day = stats.local_day();
        stats
    }

    /// A batch was stored. Each of its messages counts where it is: one that waits for its time or for a commit in the
    /// topic that it waits in, and in its own when it comes there (as with Java 5.5.0).
    pub fn stored(&self, batch: &Batch, topics: &Topics) {
        let (mut messages, mut bytes) = (0, 0);
        for (topic, count, size) in batch.by_topic() {
            // The broker's own notes, of decided transactions and of pops, are nobody's messages.
            if topic == names::OP_HALF_TOPIC || topic.starts_with(REVIVE_TOPIC_PREFIX) {
                continue;
            }
            topics.count(topic, count, size);
            (messages, bytes) = (messages + count, bytes + size);
        }
        self.put(messages, bytes);
    }

    /// Messages of a topic were stored by the store's timer.
    pub fn delivered(&self, topic: &str, messages: u64, bytes: u64, topics: &Topics) {
        topics.count(topic, messages, bytes);
        self.put(messages, bytes);
    }

    fn put(&self, messages: u64, bytes: u64) {
        self.put.total.add(messages, bytes);
        self.wake();
    }

    /// A pull, or a part of a pop, of `group` was answered with this many messages; none is a miss.
    pub fn got(&self, group: &str, topic: &str, messages: u64, bytes: u64) {
        if messages == 0 {
            // Idle consumers ask every few seconds; that is no reason to take samples.
            self.missed.total.add(1, 0);
            return;
        }
        self.found.total.add(1, 0);
        self.got.add(group, topic, messages, bytes);
        self.wake();
    }

    /// Messages were given to `group`, to be acknowledged.
    pub fn opened(&self, group: &str, topic: &str) {
        self.checkpoints.add(group, topic, 1, 0);
        self.wake();
    }

    /// `group` acknowledged this many messages.
    pub fn acknowledged(&self, group: &str, topic: &str, messages: u64) {
        self.acks.add(group, topic, messages, 0);
        self.wake();
    }

    /// A wake-up that is lost to a race is made up for by the next message.
    fn wake(&self) {
        if self.resting.load(Ordering::Relaxed) && self.resting.swap(false, Ordering::AcqRel) {
            self.awoken.notify_one();
        }
    }

    /// Takes samples while messages move, for ever.
    pub async fn run(&self, topics: &Topics) {
        loop {
            self.awoken.notified().await;
            self.ticked_ms.store(self.now_ms(), Ordering::Relaxed);
            loop {
                tokio::time::sleep(TICK).await;
                if !self.tick(topics) {
                    break;
                }
            }
            self.resting.store(true, Ordering::Release);
        }
    }

    /// One sample of everything that moved; false when nothing did.
    fn tick(&self, topics: &Topics) -> bool {
        let now_ms = self.now_ms();
        let before_ms = self.ticked_ms.swap(now_ms, Ordering::Relaxed);
        self.roll_day();
        self.missed.sample(before_ms, now_ms);
        let mut moved = false;
        for flow in [&self.put, &self.found] {
            moved |= flow.sample(before_ms, now_ms);
        }
        for by_group in [&self.got, &self.checkpoints, &self.acks] {
            moved |= by_group.sample(before_ms, now_ms);
        }
        for topic in topics.all() {
            if topic.put.messages.load(Ordering::Relaxed) > 0 {
                moved |= self.flow_of(&topic).sample(before_ms, now_ms);
            }
        }
        moved
    }

    /// The past of a topic's own counter. A topic that was deleted and made again has another one.
    fn flow_of(&self, topic: &Topic) -> Arc<Flow> {
        let name = topic.config.topic_name.as_str();
        let is_its = |flow: &&Arc<Flow>| Arc::ptr_eq(&flow.total, &topic.put);
        if let Some(flow) = self.topics.read().get(name).filter(is_its) {
            return Arc::clone(flow);
        }
        let flow = Arc::new(Flow::new(Arc::clone(&topic.put), FINE_MS));
        self.topics.write().insert(name.to_owned(), Arc::clone(&flow));
        flow
    }

    /// Forgets a deleted topic.
    pub fn forget_topic(&self, topic: &str) {
        self.topics.write().remove(topic);
        for by_group in [&self.got, &self.checkpoints, &self.acks] {
            by_group.forget_topic(topic);
        }
    }

    /// Forgets a deleted group.
    pub fn forget_group(&self, group: &str) {
        for by_group in [&self.got, &self.checkpoints, &self.acks] {
            by_group.forget_group(group);
        }
    }

    /// Messages stored and messages handed out since the start.
    pub fn totals(&self) -> (u64, u64) {
        let messages = |flow: &Flow| flow.total.messages.load(Ordering::Relaxed);
        (messages(&self.put), messages(&self.got.total))
    }

    /// Bytes of the messages stored since the start.
    pub fn put_bytes(&self) -> u64 {
        self.put.total.bytes.load(Ordering::Relaxed)
    }

    /// Stored messages within a window.
    pub fn put_over(&self, window: Duration) -> Moved {
        self.over(&self.put, window)
    }

    /// Handed out messages within a window.
    pub fn got_over(&self, window: Duration) -> Moved {
        self.over(&self.got.total, window)
    }

    /// Messages stored in a topic within a window; `None` when there never were any.
    pub fn topic_put_over(&self, topic: &Topic, window: Duration) -> Option<Moved> {
        let any = topic.put.messages.load(Ordering::Relaxed) > 0;
        any.then(|| self.over(&self.flow_of(topic), window))
    }

    /// Messages that a group got of a topic within a window; `None` when there never were any.
    pub fn group_got_over(&self, group: &str, topic: &str, window: Duration) -> Option<Moved> {
        Some(self.over(&*self.got.of(group, topic)?, window))
    }

    /// Deliveries by pop within a window, each counted as one message: to one group from one topic, else to all.
    pub fn opened_over(&self, of: Option<(&str, &str)>, window: Duration) -> Option<Moved> {
        self.by_group_over(&self.checkpoints, of, window)
    }

    /// Acknowledged messages within a window: by one group from one topic, else by all.
    pub fn acknowledged_over(&self, of: Option<(&str, &str)>, window: Duration) -> Option<Moved> {
        self.by_group_over(&self.acks, of, window)
    }

    fn by_group_over(&self, flows: &ByGroup, of: Option<(&str, &str)>, window: Duration) -> Option<Moved> {
        match of {
            None => Some(self.over(&flows.total, window)),
            Some((group, topic)) => Some(self.over(&*flows.of(group, topic)?, window)),
        }
    }

    /// Messages per second over 10 s, 60 s and 600 s: stored and handed out.
    pub fn message_rates(&self) -> ([f64; 3], [f64; 3]) {
        let rates = |flow| WINDOWS.map(|window| self.over(flow, window).messages_rate());
        (rates(&self.put), rates(&self.got.total))
    }

    /// Pulls per second over 10 s, 60 s and 600 s: with and without messages.
    pub fn pull_rates(&self) -> ([f64; 3], [f64; 3]) {
        let rates = |flow| WINDOWS.map(|window| self.over(flow, window).messages_rate());
        (rates(&self.found), rates(&self.missed))
    }

    /// Totals at the last two midnights of local time.
    pub fn mornings(&self) -> Mornings {
        self.roll_day();
        *self.mornings.lock()
    }

    fn over(&self, flow: &Flow, window: Duration) -> Moved {
        flow.over(window, self.ticked_ms.load(Ordering::Relaxed), self.now_ms())
    }

    /// Notes the totals when the day has changed. While nothing moves nobody needs to look: they stay the same.
    fn roll_day(&self) {
        let day = self.local_day();
        let mut mornings = self.mornings.lock();
        if day == mornings.day {
            return;
        }
        let now = self.totals();
        let yesterday = if day == mornings.day + 1 { mornings.today } else { now };
        *mornings = Mornings { day, yesterday, today: now };
    }

    fn local_day(&self) -> i64 {
        let now_ms = self.clock.now_millis();
        let local_ms = now_ms + i64::from(self.clock.utc_offset_seconds(now_ms)) * 1000;
        local_ms.div_euclid(DAY_MS as i64)
    }

    fn now_ms(&self) -> u64 {
        self.clock.monotonic().saturating_sub(self.started).as_millis() as u64
    }
}

#[cfg(test)]
mod tests;
