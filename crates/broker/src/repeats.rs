//! Sends that a producer repeats because an answer was lost. On a topic with the attribute `dedup.window.ms` they are
//! known by their unique key, not stored again, and answered with the ids of the first.
//!
//! Off by default: an application may send one `Message` object twice on purpose, and the Java client then repeats the
//! key. Invariant: between the look for a key and the append of its message nobody else looks, so that of two equal
//! sends on two connections exactly one is stored. What a window holds can be read from the log, and is at start.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::{ArcMutexGuard, Mutex, RawMutex};
use store::{Appended, Boundary, Queue, Store};
use wire::properties as props;
use wire::record::Record;

use crate::topics::Topic;

/// Entries of a queue looked at together while a window is read from the log.
const ENTRIES_AT_ONCE: u32 = 1024;

/// Windows of all topics that have one.
#[derive(Default)]
pub(crate) struct Repeats {
    windows: Arc<Mutex<HashMap<Arc<str>, Window>>>,
}

/// Where the first message of a key was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct First {
    pub queue_id: u32,
    pub appended: Appended,
}

/// What the messages of a request are, if none of them is new.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Stored before, by an earlier turn.
    Stored(Vec<First>),
    /// In the batch of this turn, from this number on.
    InBatch { first: usize, queue_id: u32 },
}

/// A unique key, without loss unless it is long. That of the official clients has 32 upper-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Id([u8; 16]),
    Text(Box<str>),
    /// 128 bits that stand for a long one.
    Long([u64; 2]),
}

/// Longer keys are not kept: a window has a million of them, and a key may be all of a message's properties.
const TEXT_MAX: usize = 64;
/// Secret, so that nobody can make two keys that look the same.
static HASHES: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);

/// Keys of one topic's last messages.
#[derive(Default)]
struct Window {
    firsts: HashMap<Key, First>,
    /// By store time, oldest first.
    order: VecDeque<(i64, Key)>,
}

/// What one turn does with windows: it holds them from its first look to its append.
#[derive(Default)]
pub(crate) struct TurnRepeats {
    held: Option<ArcMutexGuard<RawMutex, HashMap<Arc<str>, Window>>>,
    new: Vec<New>,
}

/// A message of the turn's batch.
struct New {
    topic: Arc<Topic>,
    key: Key,
    index: usize,
    queue_id: u32,
}

impl Key {
    fn of(text: &str) -> Key {
        let digits = text.as_bytes();
        let mut id = [0; 16];
        let is_id = digits.len() == 32
            && digits.chunks_exact(2).zip(&mut id).all(|(pair, byte)| {
                match (value(pair[0]), value(pair[1])) {
                    (Some(high), Some(low)) => {
                        *byte = high << 4 | low;
                        true
                    }
                    _ => false,
                }
            });
        match text.len() {
            _ if is_id => Key::Id(id),
            0..=TEXT_MAX => Key::Text(text.into()),
            _ => Key::Long(std::array::from_fn(|half| HASHES[half].hash_one(text))),
        }
    }
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl Window {
    fn insert(&mut self, key: Key, first: First, length: Duration, entries_max: usize) {
        let now = first.appended.store_timestamp;
        let oldest = now.saturating_sub(millis(length));
        while let Some((time, key)) = self.order.front()
            && (*time < oldest || self.order.len() >= entries_max)
        {
            if self.firsts.get(key).is_some_and(|first| first.appended.store_timestamp == *time) {
                self.firsts.remove(key);
            }
            self.order.pop_front();
        }
        self.order.push_back((now, key.clone()));
        self.firsts.insert(key, first);
    }

    fn get(&self, key: &Key, length: Duration, now_ms: i64) -> Option<First> {
        let first = self.firsts.get(key)?;
        (first.appended.store_timestamp >= now_ms.saturating_sub(millis(length))).then_some(*first)
    }
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

impl TurnRepeats {
    /// Whether the messages with these keys were all stored or sent before. A request of which some are new is new.
    pub fn find<'k>(
        &mut self,
        repeats: &Repeats,
        topic: &Topic,
        keys: impl Iterator<Item = &'k str> + Clone,
        now_ms: impl FnOnce() -> i64,
    ) -> Option<Repeat> {
        let length = topic.dedup_window?;
        let now_ms = now_ms();
        let name = topic.config.topic_name.as_str();
        let windows = self.held.get_or_insert_with(|| repeats.windows.lock_arc());
        if let Some(window) = windows.get(name) {
            let stored: Option<Vec<First>> =
                keys.clone().map(|key| window.get(&Key::of(key), length, now_ms)).collect();
            if let Some(stored) = stored.filter(|stored| !stored.is_empty()) {
                return Some(Repeat::Stored(stored));
            }
        }
        let first = keys.clone().next().map(Key::of)?;
        let start =
            self.new.iter().position(|new| new.key == first && new.topic.config.topic_name == name)?;
        let mut rest = self.new[start..].iter();
        keys.into_iter()
            .all(|key| rest.next().is_some_and(|new| new.key == Key::of(key)))
            .then(|| Repeat::InBatch { first: self.new[start].index, queue_id: self.new[start].queue_id })
    }

    /// Notes a message that [`TurnRepeats::find`] did not know and that is number `index` of the batch.
    pub fn note(&mut self, topic: &Arc<Topic>, key: &str, index: usize, queue_id: u32) {
        if topic.dedup_window.is_some() {
            self.new.push(New { topic: Arc::clone(topic), key: Key::of(key), index, queue_id });
        }
    }

    /// Whether the turn has looked at a window, which it holds since.
    pub fn holds_windows(&self) -> bool {
        self.held.is_some()
    }

    /// Lets go of the windows. Messages that were stored are in them from now on; `appended` is `None` if none was.
    pub fn finish(&mut self, entries_max: usize, appended: Option<&dyn Fn(usize) -> Appended>) {
        let held = self.held.take();
        let new = self.new.drain(..);
        if let (Some(mut windows), Some(appended)) = (held, appended) {
            for New { topic, key, index, queue_id } in new {
                let Some(length) = topic.dedup_window else { continue };
                let window = windows.entry(topic.config.topic_name.as_str().into()).or_default();
                let first = First { queue_id, appended: appended(index) };
                window.insert(key, first, length, entries_max);
            }
        }
    }
}

impl Repeats {
    /// Reads the window of a topic from the log, as it was before a restart.
    pub fn load(&self, store: &Store, topic: &Topic, entries_max: usize, now_ms: i64) {
        let Some(length) = topic.dedup_window else { return };
        let since = now_ms.saturating_sub(millis(length));
        let mut found = Vec::new();
        for queue in store.queues_of(&topic.config.topic_name) {
            let from = store.offset_by_time(&queue, since, Boundary::Lower).unwrap_or_else(|error| {
                tracing::warn!(topic = %queue.topic(), queue = queue.id(), %error, "the window of repeats is read from farther back");
                0
            });
            read_keys(
                store,
                &queue,
                (from.max(0) as u64).max(queue.max_offset().saturating_sub(entries_max as u64)),
                &mut found,
            );
        }
        found.sort_by_key(|(_, first)| first.appended.offset);
        let mut windows = self.windows.lock();
        let window = windows.entry(topic.config.topic_name.as_str().into()).or_default();
        for (key, first) in found {
            window.insert(key, first, length, entries_max);
        }
    }

    /// Forgets a topic that was deleted: one of its name begins anew.
    pub fn forget(&self, topic: &str) {
        self.windows.lock().remove(topic);
    }
}

fn read_keys(store: &Store, queue: &Queue, mut from: u64, found: &mut Vec<(Key, First)>) {
    while from < queue.max_offset() {
        let entries = store.entries(queue, from, ENTRIES_AT_ONCE);
        if entries.is_empty() {
            return;
        }
        for entry in &entries {
            let Ok(Some(bytes)) = store.record_at(entry.physical_offset) else { continue };
            let Ok(record) = Record::parse(&bytes) else { continue };
            let Some(key) = record.property(props::UNIQ_KEY) else { continue };
            let appended = Appended {
                offset: entry.physical_offset,
                queue_offset: record.queue_offset.max(0) as u64,
                until: entry.physical_offset + u64::from(entry.size),
                store_timestamp: record.store_timestamp,
            };
            found.push((Key::of(key), First { queue_id: queue.id(), appended }));
        }
        from += entries.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn first(offset: u64, time: i64) -> First {
        First {
            queue_id: 1,
            appended: Appended { offset, queue_offset: offset, until: offset + 1, store_timestamp: time },
        }
    }

    #[test]
    fn a_key_is_kept_whole_whatever_it_is() {
        let id = "7F0000010A2B18B4AAC2123456780001";
        assert!(matches!(Key::of(id), Key::Id(_)));
        // Lower case, other lengths and other letters would not come back as they were.
        for text in [id.to_lowercase().as_str(), &id[1..], "7F0000010A2B18B4AAC212345678000G", ""] {
            assert_eq!(Key::of(text), Key::Text(text.into()));
        }
    }

    #[test]
    fn a_long_key_takes_no_more_room_than_a_short_one() {
        let long = "k".repeat(30_000);
        assert!(matches!(Key::of(&long), Key::Long(_)));
        assert_eq!(Key::of(&long), Key::of(&long.clone()));
        assert_ne!(Key::of(&long), Key::of(&long[1..]));
    }

    #[test]
    fn a_window_forgets_what_is_too_old_or_too_much() {
        let mut window = Window::default();
        for n in 0..10 {
            window.insert(Key::of(&n.to_string()), first(n, 1_000 * n as i64), MINUTE, 5);
        }
        assert_eq!(window.firsts.len(), 5);
        assert_eq!(window.get(&Key::of("4"), MINUTE, 9_000), None);
        assert_eq!(window.get(&Key::of("5"), MINUTE, 9_000), Some(first(5, 5_000)));
        assert_eq!(window.get(&Key::of("5"), MINUTE, 66_000), None, "asked after its time");
        window.insert(Key::of("late"), first(99, 68_500), MINUTE, 5);
        assert_eq!((window.firsts.len(), window.order.len()), (2, 2), "the one of 9,000 and the late one");
    }

    #[test]
    fn a_key_stored_again_after_its_time_is_forgotten_with_its_second_time() {
        let mut window = Window::default();
        window.insert(Key::of("k"), first(0, 0), MINUTE, 100);
        window.insert(Key::of("k"), first(7, 59_000), MINUTE, 100);
        window.insert(Key::of("other"), first(8, 61_000), MINUTE, 100);
        assert_eq!(window.get(&Key::of("k"), MINUTE, 61_000), Some(first(7, 59_000)));
    }
}
