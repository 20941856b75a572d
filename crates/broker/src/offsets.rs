//! How far each consumer group has come: offsets per topic, group and queue.
//!
//! Memory is the truth while the broker runs; the file follows within `flushConsumerOffsetInterval`. After a crash a
//! group may see the messages of that interval again, never miss one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use wire::body::DataVersion;
use wire::names;

use crate::state_file::{StateFile, Unsaved};

/// Offsets of one group: topic, queue, next offset to consume.
type GroupOffsets = HashMap<String, BTreeMap<i32, i64>>;

/// The same for where pulls are: each is noted there, so that they share the table.
type GroupPulls = HashMap<String, BTreeMap<i32, AtomicI64>>;

/// `config/consumerOffset.json`, and the answer to 43.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OffsetsBody {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Offsets by `topic@group` and queue.
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
    /// How far pulls have come: in files of Java's broker from 5.5 on, and then in ours too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_offset_table: Option<BTreeMap<String, BTreeMap<i32, i64>>>,
    /// Offsets of groups named like light queues, by `topic@group`: each such topic has one queue. In
    /// `config/lmqConsumerOffset.json` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lmq_offset_table: Option<BTreeMap<String, i64>>,
    /// Whatever else the file holds, kept as it is.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

/// All offsets, kept in `config/consumerOffset.json`; with light queues in `config/lmqConsumerOffset.json`, as Java has
/// it.
pub struct ConsumerOffsets {
    groups: RwLock<HashMap<String, GroupOffsets>>,
    /// Where pulls have come to, ahead of what is committed.
    pulled: RwLock<HashMap<String, GroupPulls>>,
    /// Whether those are in the file too, because they were when it was read.
    keeps_pulled: bool,
    /// Whether groups of light queues stand in a table of their own in the file.
    light: bool,
    /// Members of the file that mean nothing here.
    rest: BTreeMap<String, serde_json::Value>,
    /// Offsets that an administrator has set and the group has not yet taken over (broker.md §12.4).
    resets: RwLock<HashMap<String, GroupOffsets>>,
    any_reset: AtomicBool,
    version: Mutex<DataVersion>,
    commits: AtomicU64,
    /// What the file does not have yet.
    pub unsaved: Unsaved,
    file: StateFile,
}

impl ConsumerOffsets {
    /// Reads the file.
    pub fn load(file: StateFile) -> Result<ConsumerOffsets, io::Error> {
        let stored: OffsetsBody = file.load()?;
        Ok(ConsumerOffsets::of(stored, false, file))
    }

    /// Reads the file of a broker with light queues. Before there is one the offsets are in the `usual` file.
    pub fn load_with_light(file: StateFile, usual: StateFile) -> Result<ConsumerOffsets, io::Error> {
        let stored: OffsetsBody = if file.exists()? { file.load()? } else { usual.load()? };
        Ok(ConsumerOffsets::of(stored, true, file))
    }

    fn of(stored: OffsetsBody, light: bool, file: StateFile) -> ConsumerOffsets {
        let keeps_pulled = stored.pull_offset_table.is_some();
        let mut groups = by_group(stored.offset_table);
        for (key, offset) in stored.lmq_offset_table.unwrap_or_default() {
            if let Some((topic, group)) = key.split_once('@') {
                put(&mut groups, group, topic, 0, offset);
            }
        }
        ConsumerOffsets {
            groups: RwLock::new(groups),
            pulled: RwLock::new(shared(by_group(stored.pull_offset_table.unwrap_or_default()))),
            keeps_pulled,
            light,
            rest: stored.rest,
            resets: RwLock::default(),
            any_reset: AtomicBool::new(false),
            version: Mutex::new(stored.data_version),
            commits: AtomicU64::new(0),
            unsaved: Unsaved::default(),
            file,
        }
    }

    /// The committed offset.
    pub fn get(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        find(&self.groups.read(), group, topic, queue).copied()
    }

    /// Commits an offset: the last writer wins, lower values included (broker.md §12.1).
    ///
    /// While a reset waits for the group, the value is dropped and `false` is returned.
    pub fn commit(
        &self,
        group: &str,
        topic: &str,
        queue: i32,
        offset: i64,
        version_step: u64,
        now_ms: i64,
    ) -> bool {
        {
            let mut groups = self.groups.write();
            // Looked at under the lock: what an administrator sets in between must not be overwritten.
            if self.pending_reset(group, topic, queue).is_some() {
                return false;
            }
            if !put(&mut groups, group, topic, queue, offset) {
                return true;
            }
        }
        if self.commits.fetch_add(1, Ordering::Relaxed).is_multiple_of(version_step.max(1)) {
            self.version.lock().next(now_ms);
        }
        self.unsaved.note();
        true
    }

    /// Sets an offset that says something of the others: it is no change by itself, and saved with the next one.
    pub fn mark(&self, group: &str, topic: &str, queue: i32, offset: i64) {
        put(&mut self.groups.write(), group, topic, queue, offset);
    }

    /// Notes how far a pull has come.
    pub fn pulled(&self, group: &str, topic: &str, queue: i32, offset: i64) {
        if let Some(place) = find(&self.pulled.read(), group, topic, queue) {
            return place.store(offset, Ordering::Relaxed);
        }
        let mut pulled = self.pulled.write();
        let queues = pulled.entry(group.to_owned()).or_default().entry(topic.to_owned()).or_default();
        queues.entry(queue).or_default().store(offset, Ordering::Relaxed);
    }

    /// How far pulls have come.
    pub fn get_pulled(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        find(&self.pulled.read(), group, topic, queue).map(|offset| offset.load(Ordering::Relaxed))
    }

    /// Sets an offset that the group's next pull will be told to jump to.
    pub fn reset(&self, group: &str, topic: &str, queue: i32, offset: i64) {
        // In this order: who commits from here on sees it, and whose commit came before it is overwritten.
        put(&mut self.resets.write(), group, topic, queue, offset);
        self.any_reset.store(true, Ordering::Release);
        put(&mut self.groups.write(), group, topic, queue, offset);
        self.unsaved.note();
    }

    /// The reset that waits for this queue.
    pub fn pending_reset(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        if !self.any_reset.load(Ordering::Acquire) {
            return None;
        }
        find(&self.resets.read(), group, topic, queue).copied()
    }

    /// Hands the reset over to a pull; it waits no longer.
    pub fn take_reset(&self, group: &str, topic: &str, queue: i32) -> Option<i64> {
        self.pending_reset(group, topic, queue)?;
        let mut resets = self.resets.write();
        let taken = resets.get_mut(group).and_then(|topics| topics.get_mut(topic))?.remove(&queue);
        resets.retain(|_, topics| {
            topics.retain(|_, queues| !queues.is_empty());
            !topics.is_empty()
        });
        self.any_reset.store(!resets.is_empty(), Ordering::Release);
        taken
    }

    /// Offsets of one group on one topic.
    pub fn queues(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        self.groups.read().get(group).and_then(|topics| topics.get(topic)).cloned().unwrap_or_default()
    }

    /// Replaces the offsets of one group on one topic.
    pub fn set_queues(&self, group: &str, topic: &str, queues: BTreeMap<i32, i64>) {
        self.groups.write().entry(group.to_owned()).or_default().insert(topic.to_owned(), queues);
        self.unsaved.note();
    }

    /// Topics that a group has offsets on.
    pub fn topics_of(&self, group: &str) -> HashSet<String> {
        self.groups.read().get(group).map(|topics| topics.keys().cloned().collect()).unwrap_or_default()
    }

    /// Groups that have offsets on a topic, without the names that common offsets of broadcast groups stand under.
    pub fn groups_of(&self, topic: &str) -> HashSet<String> {
        let groups = self.groups.read();
        groups
            .iter()
            .filter(|(group, topics)| topics.contains_key(topic) && !group.contains('@'))
            .map(|(group, _)| group.clone())
            .collect()
    }

    /// Forgets a group.
    pub fn remove_group(&self, group: &str) {
        self.groups.write().remove(group);
        self.pulled.write().remove(group);
        self.resets.write().remove(group);
        self.unsaved.note();
    }

    /// Forgets a topic.
    pub fn remove_topic(&self, topic: &str) {
        forget_topic(&mut self.groups.write(), topic);
        forget_topic(&mut self.pulled.write(), topic);
        forget_topic(&mut self.resets.write(), topic);
        self.unsaved.note();
    }

    /// The whole table.
    pub fn body(&self) -> OffsetsBody {
        let mut offset_table = by_topic_and_group(&self.groups.read(), |offset| *offset);
        let lmq_offset_table = self.light.then(|| take_light(&mut offset_table));
        OffsetsBody {
            data_version: *self.version.lock(),
            offset_table,
            lmq_offset_table,
            pull_offset_table: self
                .keeps_pulled
                .then(|| by_topic_and_group(&self.pulled.read(), |offset| offset.load(Ordering::Relaxed))),
            rest: self.rest.clone(),
        }
    }

    /// Writes the file if anything has changed since the last time. `take` gives what is written, and makes durable
    /// what that relies on.
    pub fn save(&self, take: impl FnOnce() -> Result<OffsetsBody, io::Error>) -> Result<(), io::Error> {
        self.unsaved.save(|| take().and_then(|body| self.file.save(&body)))
    }
}

/// From keys `topic@group`.
fn by_group(table: BTreeMap<String, BTreeMap<i32, i64>>) -> HashMap<String, GroupOffsets> {
    let mut groups: HashMap<String, GroupOffsets> = HashMap::new();
    for (key, queues) in table {
        if let Some((topic, group)) = key.split_once('@') {
            groups.entry(group.to_owned()).or_default().insert(topic.to_owned(), queues);
        }
    }
    groups
}

/// To keys `topic@group`.
fn by_topic_and_group<T>(
    groups: &HashMap<String, HashMap<String, BTreeMap<i32, T>>>,
    offset_of: impl Fn(&T) -> i64,
) -> BTreeMap<String, BTreeMap<i32, i64>> {
    let mut table = BTreeMap::new();
    for (group, topics) in groups {
        for (topic, queues) in topics {
            let offsets = queues.iter().map(|(queue, offset)| (*queue, offset_of(offset)));
            table.insert(format!("{topic}@{group}"), offsets.collect());
        }
    }
    table
}

/// Offsets that can be changed by who shares the table.
fn shared(groups: HashMap<String, GroupOffsets>) -> HashMap<String, GroupPulls> {
    let queues =
        |queues: BTreeMap<i32, i64>| queues.into_iter().map(|(queue, at)| (queue, at.into())).collect();
    let topics = |topics: GroupOffsets| topics.into_iter().map(|(topic, at)| (topic, queues(at))).collect();
    groups.into_iter().map(|(group, at)| (group, topics(at))).collect()
}

fn forget_topic<T>(groups: &mut HashMap<String, HashMap<String, T>>, topic: &str) {
    groups.retain(|_, topics| {
        topics.remove(topic);
        !topics.is_empty()
    });
}

/// Takes the offsets of groups named like light queues out of a table.
fn take_light(table: &mut BTreeMap<String, BTreeMap<i32, i64>>) -> BTreeMap<String, i64> {
    let is_of_light = |key: &str| key.split_once('@').is_some_and(|(_, group)| names::is_light(group));
    let (light, usual): (BTreeMap<_, _>, BTreeMap<_, _>) =
        std::mem::take(table).into_iter().partition(|(key, _)| is_of_light(key));
    *table = usual;
    light.into_iter().filter_map(|(key, queues)| Some((key, *queues.get(&0)?))).collect()
}

fn find<'a, T>(
    table: &'a HashMap<String, HashMap<String, BTreeMap<i32, T>>>,
    group: &str,
    topic: &str,
    queue: i32,
) -> Option<&'a T> {
    table.get(group)?.get(topic)?.get(&queue)
}

/// Sets a value without allocating when its place exists; false when it was there already.
fn put(table: &mut HashMap<String, GroupOffsets>, group: &str, topic: &str, queue: i32, offset: i64) -> bool {
    let queues = match table.get_mut(group) {
        Some(topics) if topics.contains_key(topic) => topics.get_mut(topic),
        Some(topics) => Some(topics.entry(topic.to_owned()).or_default()),
        None => Some(table.entry(group.to_owned()).or_default().entry(topic.to_owned()).or_default()),
    };
    queues.is_some_and(|queues| queues.insert(queue, offset) != Some(offset))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, Barrier};

    use sim::{SimClock, SimDisk};

    use super::*;

    #[test]
    fn a_commit_at_the_moment_of_a_reset_does_not_undo_it() {
        let disk = Arc::new(SimDisk::new(SimClock::default()));
        let file = StateFile::new(disk, Path::new("/store/config"), "consumerOffset.json");
        let offsets = ConsumerOffsets::load(file).unwrap();
        for queue in 0..500 {
            let start = Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    // Until one is dropped because of the reset.
                    let mut committed = 100..;
                    while offsets.commit("readers", "orders", queue, committed.next().unwrap(), 1, 0) {}
                });
                start.wait();
                offsets.reset("readers", "orders", queue, 7);
            });
            assert_eq!(offsets.get("readers", "orders", queue), Some(7));
            assert_eq!(offsets.take_reset("readers", "orders", queue), Some(7));
        }
    }
}
