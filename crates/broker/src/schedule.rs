//! Delay levels: parked messages are put into their real queue when they are due (broker.md §8.1, §8.2).
//!
//! One task serves all levels. It sleeps until the next message is due or a new one is parked, so a broker without
//! delayed messages does not wake up.

mod unread;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::{Batch, Queue, QueueEntry, Reach, Store, StoreError};
use tokio::sync::Notify;
use wire::body::DataVersion;
use wire::hash;
use wire::names;
use wire::properties as props;
use wire::record::{EncodeError, Message, Record};
use wire::sys_flag;

use self::unread::Unread;
use crate::Broker;
use crate::state_file::{StateFile, Unsaved};
use crate::store_options;

/// Messages delivered before the next level gets its turn.
const DELIVERED_AT_ONCE: u32 = 64;
/// Pause after a delivery that the store refused.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Deliveries after which the version of the table moves on.
const VERSION_STEP: i64 = 200;

/// `config/delayOffset.json`, and the answer to 45.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DelayOffsets {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Next offset to deliver, by level.
    pub offset_table: BTreeMap<i32, i64>,
    /// Offsets below it, by level, that the disk has not given yet. Ours: Java's broker leaves it out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unread_table: BTreeMap<i32, BTreeSet<i64>>,
}

/// Progress of all delay levels.
pub(crate) struct Schedule {
    levels: OnceLock<Vec<Duration>>,
    file: OnceLock<StateFile>,
    offsets: Mutex<DelayOffsets>,
    /// By level.
    ahead: Mutex<HashMap<i32, Ahead>>,
    /// By level.
    unread: Mutex<HashMap<i32, Unread>>,
    since_version: AtomicI32,
    /// Something was parked.
    pub arrived: Notify,
    /// What the file does not have yet.
    pub unsaved: Unsaved,
}

/// When messages of a level were parked whose store time is ahead of the clock. It is after the clock was set back: the
/// log's time never goes back. Their entries do not tell when they are due, and to deliver them at once would have a
/// message whose consumption fails go through all its attempts within a moment.
#[derive(Debug, Default)]
struct Ahead {
    /// Messages before these offsets were there at these times, in Unix milliseconds.
    seen: VecDeque<(u64, i64)>,
}

/// Times are told apart by this much, and taken for the later one.
const SEEN_GRAIN_MS: i64 = 100;

impl Ahead {
    /// When the message at `offset`, which is the next one, was there first. Its queue goes up to `end` now.
    fn seen_ms(&mut self, offset: u64, end: u64, now_ms: i64) -> i64 {
        while self.seen.front().is_some_and(|(until, _)| *until <= offset) {
            self.seen.pop_front();
        }
        let latest_ms = (now_ms.div_euclid(SEEN_GRAIN_MS) + 1) * SEEN_GRAIN_MS;
        match self.seen.back_mut() {
            Some((until, _)) if *until >= end => (),
            Some((until, seen_ms)) if *seen_ms == latest_ms => *until = end,
            _ => self.seen.push_back((end, latest_ms)),
        }
        // The clock may be set back once more.
        self.seen.front().map_or(latest_ms, |(_, seen_ms)| latest_ms.min(*seen_ms))
    }
}

impl Schedule {
    pub fn new() -> Schedule {
        Schedule {
            levels: OnceLock::new(),
            file: OnceLock::new(),
            offsets: Mutex::default(),
            ahead: Mutex::default(),
            unread: Mutex::default(),
            since_version: AtomicI32::new(0),
            arrived: Notify::new(),
            unsaved: Unsaved::default(),
        }
    }

    /// Reads the file and brings its offsets into the range of the queues.
    pub fn load(&self, file: StateFile, settings: &settings::Broker, store: &Store) -> io::Result<()> {
        let levels = self.levels.get_or_init(|| store_options::delay_levels(settings));
        let mut offsets: DelayOffsets = file.load()?;
        for level in 1..=levels.len() as i32 {
            let queue = store.queue(names::SCHEDULE_TOPIC, level as u32 - 1);
            let offset = offsets.offset_table.entry(level).or_insert(0);
            *offset = (*offset).clamp(queue.min_offset() as i64, queue.max_offset() as i64);
            if let Some(unread) = offsets.unread_table.get_mut(&level) {
                unread.retain(|passed| passed < offset);
            }
        }
        offsets.unread_table.retain(|level, unread| *level <= levels.len() as i32 && !unread.is_empty());
        *self.offsets.lock() = offsets;
        let _ = self.file.set(file);
        Ok(())
    }

    /// The level that `delay` means: the highest there is if it is beyond; `None` for no delay.
    pub fn level(&self, delay: i32) -> Option<i32> {
        let max = self.levels.get().map_or(0, |levels| levels.len() as i32);
        (delay > 0 && max > 0).then(|| delay.min(max))
    }

    /// Number of levels.
    pub fn level_count(&self) -> i32 {
        self.levels.get().map_or(0, |levels| levels.len() as i32)
    }

    /// A copy of the progress.
    pub fn offsets(&self) -> DelayOffsets {
        self.offsets.lock().clone()
    }

    /// Writes the file if anything has changed. `flush` makes the log durable before: the file says of what is parked
    /// that it is in its queue, and after a power cut nobody would deliver it again.
    fn save(&self, flush: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.unsaved.save(|| {
            let Some(file) = self.file.get() else { return Ok(()) };
            let offsets = self.offsets();
            flush()?;
            file.save(&offsets)
        })
    }

    /// When a message in a queue of the schedule topic is due that was stored then; both in Unix milliseconds.
    pub fn due_ms(&self, queue_id: u32, stored_ms: i64) -> Option<i64> {
        let level = i32::try_from(queue_id).ok()?.checked_add(1)?;
        (level <= self.level_count()).then(|| stored_ms.saturating_add(self.delay(level).as_millis() as i64))
    }

    /// Whether a message in a queue of the schedule topic has not gone to its own topic yet.
    pub fn is_parked(&self, queue_id: i32, queue_offset: i64) -> bool {
        let (level, offsets) = (queue_id.saturating_add(1), self.offsets.lock());
        offsets.offset_table.get(&level).is_none_or(|next| *next <= queue_offset)
            || offsets.unread_table.get(&level).is_some_and(|unread| unread.contains(&queue_offset))
    }

    fn delay(&self, level: i32) -> Duration {
        let levels = self.levels.get().map_or(&[][..], Vec::as_slice);
        levels.get(level as usize - 1).copied().unwrap_or_default()
    }

    /// When a message was parked whose entry tells a time that is too far ahead, as far as anybody has seen.
    fn seen_ms(&self, level: i32, offset: u64, end: u64, now_ms: i64) -> i64 {
        self.ahead.lock().entry(level).or_default().seen_ms(offset, end, now_ms)
    }

    fn advance(&self, level: i32, offset: i64, now_ms: i64) {
        let mut offsets = self.offsets.lock();
        let delivered = offset - offsets.offset_table.insert(level, offset).unwrap_or(0);
        let count = self.since_version.fetch_add(delivered.max(0) as i32, Ordering::Relaxed);
        if i64::from(count) + delivered >= VERSION_STEP {
            self.since_version.store(0, Ordering::Relaxed);
            offsets.data_version.next(now_ms);
        }
        drop(offsets);
        self.unsaved.note();
    }
}

/// Why a message was not put into its queue.
enum Undelivered {
    /// The disk does not give it.
    Unread(String),
    /// The store does not take it now.
    Refused(String),
}

/// When a level wants to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// When the next message is parked.
    OnArrival,
    /// After this time.
    After(Duration),
    /// At once, by a thread that may wait for the disk: the next message is not in memory.
    FromDisk,
}

impl Broker {
    /// Delivers what is due, for ever.
    pub(crate) async fn run_schedule(&self) {
        loop {
            let mut pause: Option<Duration> = None;
            for level in 1..=self.schedule.level_count() {
                if let Some(after) = self.serve_level(level).await {
                    pause = Some(pause.map_or(after, |pause| pause.min(after)));
                }
            }
            match pause {
                Some(Duration::ZERO) => tokio::task::yield_now().await,
                Some(pause) => tokio::select! {
                    () = tokio::time::sleep(pause) => (),
                    () = self.schedule.arrived.notified() => (),
                },
                None => self.schedule.arrived.notified().await,
            }
        }
    }

    /// Delivers what of a level is due, from wherever it is; says after which time there is more, if there is.
    async fn serve_level(&self, level: i32) -> Option<Duration> {
        let again = self.retry_unread(level).await;
        let next = self.serve_next(level).await;
        again.into_iter().chain(next).min()
    }

    /// Delivers what of a level is due and has not had its turn.
    async fn serve_next(&self, level: i32) -> Option<Duration> {
        let next = match self.deliver_level(level, Reach::MEMORY) {
            Next::FromDisk => {
                let delivered =
                    self.readers.run_own(move |broker| broker.deliver_level(level, Reach::Disk)).await;
                delivered.unwrap_or(Next::After(RETRY_PAUSE))
            }
            next => next,
        };
        match next {
            Next::OnArrival => None,
            Next::After(after) => Some(after),
            Next::FromDisk => Some(Duration::ZERO),
        }
    }

    /// Saves how far each level is delivered.
    pub(crate) fn save_delays(&self) -> io::Result<()> {
        self.schedule.save(|| self.store.flush_step().map_err(io::Error::other))
    }

    /// Delivers some of what is due and no farther away than `reach`.
    fn deliver_level(&self, level: i32, reach: Reach) -> Next {
        let queue = self.store.queue(names::SCHEDULE_TOPIC, level as u32 - 1);
        queue.watchers.watch(store::Watcher::Schedule);
        let held = self.held_up(level);
        if !held.is_zero() {
            return Next::After(held);
        }
        let stored = self.schedule.offsets.lock().offset_table.get(&level).copied().unwrap_or(0);
        let offset = u64::try_from(stored).unwrap_or(0).max(queue.min_offset());
        // Before the look: what comes after it is another's.
        let end = queue.max_offset();
        let entries = match self.level_entries(&queue, offset) {
            Ok(entries) => entries,
            Err(error) => return self.wait_or_pass(level, offset, &error.to_string()),
        };
        if entries.is_empty() {
            return if offset < end {
                self.pass_damaged(level, &queue, offset, end)
            } else {
                Next::OnArrival
            };
        }
        let now_ms = self.now_ms();
        let (delivered, next) = self.deliver_entries(level, &queue, offset, &entries, now_ms, reach);
        if delivered > 0 {
            self.schedule.advance(level, (offset + delivered) as i64, now_ms);
            self.schedule.goes_on(level);
        }
        next.unwrap_or_else(|error| self.wait_or_pass(level, offset + delivered, &error))
    }

    /// The next entries of a level. One that can be read is not kept back by others beside it.
    fn level_entries(&self, queue: &Queue, offset: u64) -> Result<Vec<QueueEntry>, StoreError> {
        let some = self.store.read_entries(queue, offset, DELIVERED_AT_ONCE);
        some.or_else(|_| self.store.read_entries(queue, offset, 1))
    }

    /// Delivers the messages of entries that are due and no farther away than `reach`. Says how many, and when to go
    /// on, or why the next one cannot be read.
    fn deliver_entries(
        &self,
        level: i32,
        queue: &Queue,
        offset: u64,
        entries: &[QueueEntry],
        now_ms: i64,
        reach: Reach,
    ) -> (u64, Result<Next, String>) {
        let longest = self.schedule.delay(level).as_millis() as i64;
        for (delivered, entry) in (0..).zip(entries) {
            let is_far = || reach != Reach::Disk && !self.store.is_record_in_memory(entry.physical_offset);
            if entry.known_tags_code().is_none() && is_far() {
                return (delivered, Ok(Next::FromDisk));
            }
            let mut due_ms = match self.due_ms(entry, longest) {
                Ok(due_ms) => due_ms,
                Err(error) => return (delivered, Err(error.to_string())),
            };
            if due_ms > now_ms + longest {
                let end = queue.max_offset();
                due_ms = self.schedule.seen_ms(level, offset + delivered, end, now_ms) + longest;
            }
            if due_ms > now_ms {
                return (delivered, Ok(Next::After(Duration::from_millis((due_ms - now_ms) as u64))));
            }
            if is_far() {
                return (delivered, Ok(Next::FromDisk));
            }
            match self.deliver(entry, queue) {
                Ok(()) => (),
                Err(Undelivered::Unread(error)) => return (delivered, Err(error)),
                Err(Undelivered::Refused(error)) => {
                    let offset = offset + delivered;
                    tracing::warn!(level, offset, "a delayed message is not delivered yet: {error}");
                    return (delivered, Ok(Next::After(RETRY_PAUSE)));
                }
            }
        }
        (entries.len() as u64, Ok(Next::After(Duration::ZERO)))
    }

    /// Passes over the entries from `offset` on that are none, some at once. Nothing tells any more what they stood
    /// for, and those behind them are not to wait for ever.
    fn pass_damaged(&self, level: i32, queue: &Queue, offset: u64, end: u64) -> Next {
        let end = end.min(offset + u64::from(DELIVERED_AT_ONCE));
        let is_none =
            |at: u64| matches!(self.store.read_entries(queue, at, 1), Ok(entries) if entries.is_empty());
        let next = (offset + 1..end).find(|at| !is_none(*at)).unwrap_or(end);
        tracing::error!(level, offset, next, "entries of delayed messages are damaged; they are passed over");
        self.schedule.advance(level, next as i64, self.now_ms());
        Next::After(Duration::ZERO)
    }

    /// When a parked message is due. Where a Java broker has put an address into the entry, the record tells.
    fn due_ms(&self, entry: &QueueEntry, delay_ms: i64) -> Result<i64, StoreError> {
        if let Some(due_ms) = entry.known_tags_code() {
            return Ok(due_ms);
        }
        let bytes = self.store.record_at(entry.physical_offset)?.unwrap_or_default();
        // One that is no record is passed over at once.
        Ok(Record::parse(&bytes).map_or(0, |record| record.store_timestamp.saturating_add(delay_ms)))
    }

    /// Puts one parked message into its real queue. One that cannot be read any more is skipped.
    fn deliver(&self, entry: &QueueEntry, queue: &Queue) -> Result<(), Undelivered> {
        let offset = entry.physical_offset;
        let bytes = self.store.record_at(offset);
        let bytes = bytes.map_err(|error| Undelivered::Unread(format!("{error}, at {offset} of the log")))?;
        let Some(bytes) = bytes else {
            tracing::warn!(queue = queue.id(), offset, "a delayed message is gone from the log");
            return Ok(());
        };
        match Record::parse(&bytes) {
            Ok(record) => self.deliver_record(&record, offset),
            Err(error) => {
                tracing::error!(offset, "a delayed message makes no sense; it is skipped: {error}");
                Ok(())
            }
        }
    }

    /// Puts the parked message at `offset` of the log into its real queue. One that can never get there is skipped.
    fn deliver_record(&self, record: &Record<'_>, offset: u64) -> Result<(), Undelivered> {
        let Some((topic_name, queue_id)) = real_place(record) else {
            tracing::warn!(offset, "a delayed message names no real topic; it is skipped");
            return Ok(());
        };
        if !may_leave_for(topic_name) {
            tracing::warn!(
                offset,
                topic_name,
                "a delayed message is for no topic that takes any; it is skipped"
            );
            return Ok(());
        }
        // The stored text keeps DELAY and REAL_* as Java's does (broker.md §8.2, step 6); clients show them.
        let message = Message {
            topic: topic_name,
            queue_id,
            sys_flag: record.sys_flag & !sys_flag::TRANSACTION_MASK,
            ..record.message()
        };
        let real = self.store.queue(topic_name, queue_id);
        let mut batch = Batch::default();
        let tags_code = hash::tags_code(record.property(props::TAGS));
        if let Err(error) = push_smaller(&mut batch, &real, &message, tags_code) {
            // It will not fit later either, and those behind it wait.
            tracing::error!(offset, topic_name, "a delayed message is dropped: {error}");
            return Ok(());
        }
        self.store.append(&mut batch).map_err(|error| Undelivered::Refused(error.to_string()))?;
        self.stats.stored(&batch, &self.topics);
        Ok(())
    }
}

/// The topic and queue that a message which waits is for, as it says itself.
pub(crate) fn real_place<'a>(waiting: &Record<'a>) -> Option<(&'a str, u32)> {
    let topic = waiting.property(props::REAL_TOPIC)?;
    let queue_id = waiting.property(props::REAL_QID)?.parse().ok()?;
    Some((topic, queue_id))
}

/// Whether a message that waits may go to the topic that is stored with it. The name becomes a directory, and one of a
/// place where messages wait would have it go round for ever: a store from elsewhere may say anything.
pub(crate) fn may_leave_for(topic: &str) -> bool {
    // The retry topics of pops have one, which no other name may have.
    names::check_topic(&topic.replacen('+', "_", 1)).is_ok() && !names::is_send_forbidden(topic)
}

/// Adds a message to a batch. If that does not fit with its offsets in light queues, what it was parked with goes, and
/// then its light queues.
fn push_smaller(
    batch: &mut Batch,
    queue: &Arc<Queue>,
    message: &Message<'_>,
    tags_code: i64,
) -> Result<(), EncodeError> {
    let mut pushed = batch.push(queue, message, tags_code);
    let spared = [props::DELAY, props::REAL_TOPIC, props::REAL_QID, props::INNER_MULTI_DISPATCH];
    for removed in [&spared[..3], &spared] {
        if let Err(EncodeError::PropertiesTooLong(_)) = pushed {
            let mut properties = Vec::with_capacity(message.properties.len());
            props::copy_without(message.properties, removed, &mut properties);
            pushed = batch.push(queue, &Message { properties: &properties, ..*message }, tags_code);
        }
    }
    pushed.map(drop)
}

/// Adds what a parked message needs to find its way back.
pub(crate) fn push_parking(properties: &mut Vec<u8>, level: i32, topic: &str, queue_id: u32) {
    props::push(properties, props::DELAY, itoa::Buffer::new().format(level));
    props::push(properties, props::REAL_TOPIC, topic);
    props::push(properties, props::REAL_QID, itoa::Buffer::new().format(queue_id));
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::Path;

    use sim::{Fault, Operation, Random, SimClock, SimDisk};
    use store::Clock;

    use super::*;
    use crate::testing;

    const LEVEL: i32 = 1;
    const ENTRY_BYTES: usize = 20;

    fn park(broker: &Broker) {
        park_with(broker, Vec::new());
    }

    fn park_with(broker: &Broker, mut properties: Vec<u8>) {
        push_parking(&mut properties, LEVEL, "orders", 0);
        let message = Message {
            properties: &properties,
            ..Message::of_broker(broker.address, names::SCHEDULE_TOPIC, LEVEL as u32 - 1, b"later")
        };
        let queue = broker.store.queue(names::SCHEDULE_TOPIC, LEVEL as u32 - 1);
        let mut batch = Batch::default();
        batch.push(&queue, &message, 0).unwrap();
        broker.store.append(&mut batch).unwrap();
    }

    fn broker() -> (Arc<Broker>, SimDisk, SimClock) {
        let clock = SimClock::default();
        let disk = SimDisk::new(clock.clone());
        (testing::open(&disk, &clock, |_| ()), disk, clock)
    }

    fn delivered(broker: &Broker) -> u64 {
        broker.store.queue("orders", 0).max_offset()
    }

    #[tokio::test]
    async fn a_power_cut_takes_no_message_that_was_delivered_when_the_progress_was_saved() {
        let (broker, disk, clock) = broker();
        park(&broker);
        broker.store.flush_step().unwrap();
        clock.advance(broker.schedule.delay(LEVEL));
        broker.deliver_level(LEVEL, Reach::Disk);
        assert_eq!(delivered(&broker), 1);
        broker.save_delays().unwrap();
        for seed in 0..50 {
            let disk = disk.crash(&mut Random::new(seed));
            let broker = testing::open(&disk, &clock, |_| ());
            broker.deliver_level(LEVEL, Reach::Disk);
            assert!(delivered(&broker) >= 1, "seed {seed}");
        }
    }

    #[tokio::test]
    async fn messages_that_are_delayed_after_the_clock_was_set_back_wait_all_the_same() {
        let (broker, _, clock) = broker();
        let delay = broker.schedule.delay(LEVEL);
        let grain = Duration::from_millis(SEEN_GRAIN_MS as u64);
        clock.set_wall(broker.now_ms() + 3_600_000);
        park(&broker);
        clock.set_wall(broker.now_ms() - 3_600_000);
        let look = broker.deliver_level(LEVEL, Reach::Disk);
        assert!(matches!(look, Next::After(after) if after >= delay), "{look:?}");
        clock.advance(delay / 2);
        park(&broker);
        broker.deliver_level(LEVEL, Reach::Disk);
        assert_eq!(delivered(&broker), 0, "none is early");
        clock.advance(delay / 2 + grain);
        broker.deliver_level(LEVEL, Reach::Disk);
        assert_eq!(delivered(&broker), 1, "each has its own time");
        clock.advance(delay / 2);
        broker.deliver_level(LEVEL, Reach::Disk);
        assert_eq!(delivered(&broker), 2);
        assert_eq!(broker.deliver_level(LEVEL, Reach::Disk), Next::OnArrival);
    }

    #[tokio::test]
    async fn a_message_that_does_not_fit_any_more_holds_up_nobody() {
        let clock = SimClock::default();
        let broker = testing::open(&SimDisk::new(clock.clone()), &clock, |settings| {
            (settings.enable_lmq, settings.enable_multi_dispatch) = (true, true);
        });
        let light = |count: usize| (0..count).map(|i| format!("%LMQ%{i}")).collect::<Vec<_>>().join(",");
        for count in [2, 40] {
            let mut properties = Vec::new();
            props::push(&mut properties, props::INNER_MULTI_DISPATCH, &light(count));
            let rest = 32_700 - properties.len() - "long\u{1}\u{2}".len();
            props::push(&mut properties, "long", &"x".repeat(rest));
            park_with(&broker, properties);
        }
        park(&broker);
        clock.advance(broker.schedule.delay(LEVEL));
        broker.deliver_level(LEVEL, Reach::Disk);
        assert_eq!(delivered(&broker), 3);
        assert_eq!(broker.deliver_level(LEVEL, Reach::Disk), Next::OnArrival);
        assert_eq!(broker.store.queue("%LMQ%1", 0).max_offset(), 1, "where two names fit");
    }

    /// It must not pass for one that has nothing: nobody would look at it before something else is delayed as long.
    #[tokio::test]
    async fn a_level_whose_queue_cannot_be_read_is_looked_at_again() {
        let (broker, disk, clock) = broker();
        park(&broker);
        broker.store.queue_step(true).unwrap();
        clock.advance(broker.schedule.delay(LEVEL));
        disk.inject(Fault::from_now(Operation::Read, "consumequeue", ErrorKind::Other));
        let pause = Duration::from_secs(1);
        assert_eq!(broker.deliver_level(LEVEL, Reach::Disk), Next::After(pause));
        disk.heal();
        clock.advance(pause);
        assert_eq!(broker.deliver_level(LEVEL, Reach::Disk), Next::After(Duration::ZERO));
        assert_eq!(delivered(&broker), 1);
        assert_eq!(broker.deliver_level(LEVEL, Reach::Disk), Next::OnArrival);
    }

    #[tokio::test]
    async fn a_damaged_entry_holds_up_none_behind_it() {
        let (broker, disk, clock) = broker();
        for _ in 0..3 {
            park(&broker);
        }
        broker.store.queue_step(true).unwrap();
        let file = format!("/store/consumequeue/{}/{}/{:020}", names::SCHEDULE_TOPIC, LEVEL - 1, 0);
        disk.damage(Path::new(&file), |bytes| bytes[ENTRY_BYTES..2 * ENTRY_BYTES].fill(0));
        clock.advance(broker.schedule.delay(LEVEL));
        for _ in 0..3 {
            assert_eq!(broker.deliver_level(LEVEL, Reach::Disk), Next::After(Duration::ZERO));
        }
        assert_eq!(delivered(&broker), 2);
        assert_eq!(broker.deliver_level(LEVEL, Reach::Disk), Next::OnArrival);
    }

    /// A level with a message in the first segment and two in the second, all of them due.
    fn level_over_two_segments() -> (Arc<Broker>, SimDisk, SimClock) {
        let (broker, disk, clock) = broker();
        park(&broker);
        let mut batch = Batch::default();
        let queue = broker.store.queue("others", 0);
        let filler = vec![b'x'; 240 << 10];
        batch.push(&queue, &Message::of_broker(broker.address, "others", 0, &filler), 0).unwrap();
        batch.push(&queue, &Message::of_broker(broker.address, "others", 0, &filler), 0).unwrap();
        broker.store.append(&mut batch).unwrap();
        park(&broker);
        park(&broker);
        broker.store.queue_step(true).unwrap();
        clock.advance(broker.schedule.delay(LEVEL));
        disk.inject(Fault::from_now(Operation::Read, "/commitlog/00000000000000000000", ErrorKind::Other));
        (broker, disk, clock)
    }

    /// Looks at the level whenever it wants to be looked at, for a minute.
    fn serve(broker: &Broker, clock: &SimClock) {
        for _ in 0..60 {
            while broker.deliver_level(LEVEL, Reach::Disk) == Next::After(Duration::ZERO) {}
            clock.advance(Duration::from_secs(1));
        }
    }

    #[tokio::test]
    async fn a_message_that_the_disk_does_not_give_is_waited_for_and_then_passed() {
        let (broker, disk, clock) = level_over_two_segments();
        let wait = |seconds| Next::After(Duration::from_secs(seconds));
        for seconds in [1, 2, 4] {
            assert_eq!(broker.deliver_level(LEVEL, Reach::Disk), wait(seconds));
            // Others that come do not have it tried earlier.
            assert_eq!(broker.deliver_level(LEVEL, Reach::Disk), wait(seconds));
            clock.advance(Duration::from_secs(seconds));
        }
        assert_eq!(delivered(&broker), 0);
        serve(&broker, &clock);
        assert_eq!(delivered(&broker), 2, "those behind it");
        assert!(broker.schedule.is_parked(LEVEL - 1, 0) && !broker.schedule.is_parked(LEVEL - 1, 1));
        broker.deliver_unread(LEVEL);
        assert_eq!(delivered(&broker), 2);
        let pause = broker.schedule.unread_left(LEVEL, clock.monotonic());
        assert_eq!(pause, Some(Duration::from_secs(1)));
        disk.heal();
        broker.deliver_unread(LEVEL);
        assert_eq!(delivered(&broker), 3, "as soon as the disk gives it");
        assert_eq!(broker.schedule.unread_left(LEVEL, clock.monotonic()), None);
        broker.deliver_unread(LEVEL);
        assert_eq!(delivered(&broker), 3);
    }

    #[tokio::test]
    async fn a_message_that_others_have_passed_is_known_after_a_restart() {
        let (broker, disk, clock) = level_over_two_segments();
        serve(&broker, &clock);
        assert_eq!(delivered(&broker), 2);
        broker.save_delays().unwrap();
        disk.heal();
        let broker = testing::open(&disk.crash(&mut Random::new(1)), &clock, |_| ());
        assert_eq!(broker.deliver_level(LEVEL, Reach::Disk), Next::OnArrival);
        broker.deliver_unread(LEVEL);
        assert_eq!(delivered(&broker), 3);
        broker.save_delays().unwrap();
        let stored: DelayOffsets = broker.schedule.file.get().unwrap().load().unwrap();
        assert!(stored.unread_table.is_empty());
    }
}
