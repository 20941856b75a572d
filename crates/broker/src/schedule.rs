//! Delay levels: parked messages are put into their real queue when they are due (broker.md §8.1, §8.2).
//!
//! One task serves all levels. It sleeps until the next message is due or a new one is parked, so a broker without
//! delayed messages does not wake up.

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::{Batch, Queue, QueueEntry, Reach, Store};
use tokio::sync::Notify;
use wire::body::DataVersion;
use wire::hash;
use wire::names;
use wire::properties as props;
use wire::record::{Message, Record};
use wire::sys_flag;

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
}

/// Progress of all delay levels.
pub(crate) struct Schedule {
    levels: OnceLock<Vec<Duration>>,
    file: OnceLock<StateFile>,
    offsets: Mutex<DelayOffsets>,
    since_version: AtomicI32,
    /// Something was parked.
    pub arrived: Notify,
    /// What the file does not have yet.
    pub unsaved: Unsaved,
}

impl Schedule {
    pub fn new() -> Schedule {
        Schedule {
            levels: OnceLock::new(),
            file: OnceLock::new(),
            offsets: Mutex::default(),
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
        }
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

    /// Writes the file if anything has changed.
    pub fn save(&self) -> io::Result<()> {
        self.unsaved.save(|| self.file.get().map_or(Ok(()), |file| file.save(&self.offsets())))
    }

    /// When a message in a queue of the schedule topic is due that was stored then; both in Unix milliseconds.
    pub fn due_ms(&self, queue_id: u32, stored_ms: i64) -> Option<i64> {
        let level = i32::try_from(queue_id).ok()?.checked_add(1)?;
        (level <= self.level_count()).then(|| stored_ms.saturating_add(self.delay(level).as_millis() as i64))
    }

    /// Whether a message in a queue of the schedule topic has not gone to its own topic yet.
    pub fn is_parked(&self, queue_id: i32, queue_offset: i64) -> bool {
        let offsets = self.offsets.lock();
        offsets.offset_table.get(&(queue_id.saturating_add(1))).is_none_or(|next| *next <= queue_offset)
    }

    fn delay(&self, level: i32) -> Duration {
        let levels = self.levels.get().map_or(&[][..], Vec::as_slice);
        levels.get(level as usize - 1).copied().unwrap_or_default()
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

/// When a level wants to be looked at again.
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

    /// Delivers some of what is due and no farther away than `reach`.
    fn deliver_level(&self, level: i32, reach: Reach) -> Next {
        let queue = self.store.queue(names::SCHEDULE_TOPIC, level as u32 - 1);
        let stored = self.schedule.offsets.lock().offset_table.get(&level).copied().unwrap_or(0);
        let min = queue.min_offset();
        let offset = u64::try_from(stored).unwrap_or(0).max(min);
        queue.watchers.watch(store::Watcher::Schedule);
        let entries = self.store.entries(&queue, offset, DELIVERED_AT_ONCE);
        if entries.is_empty() {
            return Next::OnArrival;
        }
        let now_ms = self.now_ms();
        let longest = self.schedule.delay(level).as_millis() as i64;
        let mut delivered = 0;
        let mut next = Next::After(Duration::ZERO);
        for entry in &entries {
            let is_far = || reach != Reach::Disk && !self.store.is_record_in_memory(entry.physical_offset);
            if entry.known_tags_code().is_none() && is_far() {
                next = Next::FromDisk;
                break;
            }
            // A time beyond the level's delay can only come from a clock that has stepped back.
            let due_ms = self.due_ms(entry, longest);
            let due_ms = if due_ms > now_ms + longest { now_ms } else { due_ms };
            if due_ms > now_ms {
                next = Next::After(Duration::from_millis((due_ms - now_ms) as u64));
                break;
            }
            if is_far() {
                next = Next::FromDisk;
                break;
            }
            if let Err(error) = self.deliver(entry, &queue) {
                tracing::warn!(
                    level,
                    offset = offset + delivered,
                    "a delayed message is not delivered yet: {error}"
                );
                next = Next::After(RETRY_PAUSE);
                break;
            }
            delivered += 1;
        }
        if delivered > 0 {
            self.schedule.advance(level, (offset + delivered) as i64, now_ms);
        }
        next
    }

    /// When a parked message is due. Where a Java broker has put an address into the entry, the record tells.
    fn due_ms(&self, entry: &QueueEntry, delay_ms: i64) -> i64 {
        entry.known_tags_code().unwrap_or_else(|| {
            let bytes = self.store.record_at(entry.physical_offset).ok().flatten().unwrap_or_default();
            Record::parse(&bytes).map_or(0, |record| record.store_timestamp.saturating_add(delay_ms))
        })
    }

    /// Puts one parked message into its real queue. One that cannot be read any more is skipped.
    fn deliver(&self, entry: &QueueEntry, queue: &Queue) -> Result<(), String> {
        let bytes = self.store.record_at(entry.physical_offset).map_err(|error| error.to_string())?;
        let Some(bytes) = bytes else {
            tracing::warn!(
                queue = queue.id(),
                offset = entry.physical_offset,
                "a delayed message is gone from the log"
            );
            return Ok(());
        };
        let record = Record::parse(&bytes).map_err(|error| error.to_string())?;
        let (Some(topic_name), Some(queue_id)) = (
            record.property(props::REAL_TOPIC),
            record.property(props::REAL_QID).and_then(|id| id.parse::<u32>().ok()),
        ) else {
            tracing::warn!(
                offset = entry.physical_offset,
                "a delayed message names no real topic; it is skipped"
            );
            return Ok(());
        };
        // The name becomes a directory: a store from elsewhere may say anything.
        if topic_name == names::HALF_TOPIC || names::check_topic(&topic_name.replacen('+', "_", 1)).is_err() {
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
        batch.push(&real, &message, tags_code).map_err(|error| error.to_string())?;
        self.store.append(&mut batch).map_err(|error| error.to_string())?;
        self.stats.put(1, bytes.len() as u64);
        if let Some(topic) = self.topics.get(topic_name) {
            topic.put.add(1, bytes.len() as u64);
        }
        Ok(())
    }
}

/// Adds what a parked message needs to find its way back.
pub(crate) fn push_parking(properties: &mut Vec<u8>, level: i32, topic: &str, queue_id: u32) {
    props::push(properties, props::DELAY, itoa::Buffer::new().format(level));
    props::push(properties, props::REAL_TOPIC, topic);
    props::push(properties, props::REAL_QID, itoa::Buffer::new().format(queue_id));
}
