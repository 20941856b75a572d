//! The table of all queues by topic and number.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use wire::names;

use crate::disk::Disk;
use crate::dispatch;
use crate::error::StoreError;
use crate::options::Options;
use crate::queue::{Extent, Queue};
use crate::queue_ext_files::ExtFiles;
use crate::queue_files::{self, Found, QueueFiles};
use crate::queue_kind::{KnownTopics, QueueKind};
use crate::queue_table::Row;

type TopicQueues = BTreeMap<u32, Arc<Queue>>;
type QueueName = (QueueKind, Arc<str>, u32);
type FoundQueue = (QueueName, Found);

/// From this many queues on, loading them uses all cores.
const PARALLEL_MIN: usize = 1000;

/// All queues of the store.
pub(crate) struct Queues {
    pub files: Arc<QueueFiles>,
    topics: RwLock<HashMap<Arc<str>, TopicQueues>>,
    /// Topics whose queues are batch queues; those of all others are simple.
    batch_topics: RwLock<HashSet<Arc<str>>>,
    /// Light queues in the table.
    light: AtomicUsize,
}

/// Queues that loading found something about which recovery must act on.
#[derive(Default)]
pub(crate) struct Loaded {
    /// Files hold something behind the entries that count.
    pub with_more: Vec<Arc<Queue>>,
    /// Files that do not form a queue.
    pub damaged: Vec<Arc<Queue>>,
}

impl Loaded {
    /// Adds what was found elsewhere.
    pub fn extend(&mut self, other: Loaded) {
        self.with_more.extend(other.with_more);
        self.damaged.extend(other.damaged);
    }
}

impl Queues {
    /// Those of the store below `options.root`, not loaded yet. The log's first offset is followed in `log_min`.
    pub fn of_store(
        disk: &Arc<dyn Disk>,
        options: &Options,
        log_min: Arc<AtomicU64>,
        ext_enabled: bool,
    ) -> Result<Queues, StoreError> {
        let ext_root = options.root.join("consumequeue_ext");
        let ext_bytes = options.queue_ext_segment_bytes;
        let ext = ExtFiles::new(disk.clone(), ext_root.clone(), ext_bytes, ext_enabled)
            .map_err(StoreError::io("look at", &ext_root))?;
        Ok(Queues {
            files: Arc::new(QueueFiles::new(disk.clone(), options, log_min, ext)),
            topics: RwLock::default(),
            batch_topics: RwLock::default(),
            light: AtomicUsize::new(0),
        })
    }

    /// How many light queues there are.
    pub fn light_count(&self) -> usize {
        self.light.load(Ordering::Relaxed)
    }

    fn insert(&self, topics: &mut HashMap<Arc<str>, TopicQueues>, queue: Arc<Queue>) {
        if names::is_light(queue.topic()) {
            self.light.fetch_add(1, Ordering::Relaxed);
        }
        topics.entry(queue.topic().clone()).or_default().insert(queue.id(), queue);
    }

    /// Notes which topics have batch queues: those that are known to, and those that have files of such.
    pub fn learn_kinds(&self, known: KnownTopics) -> Result<(), StoreError> {
        for kind in QueueKind::ALL {
            for topic in self.topic_dirs(kind)? {
                match known.kind_of(&topic) {
                    Some(wanted) if wanted != kind => {
                        return Err(StoreError::OtherKind {
                            dir: self.files.root(kind).join(topic),
                            other: wanted.name(),
                        });
                    }
                    None if kind == QueueKind::Batch => self.set_kind(&topic, kind),
                    _ => {}
                }
            }
        }
        known.batch.iter().for_each(|topic| self.set_kind(topic, QueueKind::Batch));
        Ok(())
    }

    /// What the queues of a topic are.
    pub fn kind_of(&self, topic: &str) -> QueueKind {
        if self.batch_topics.read().contains(topic) { QueueKind::Batch } else { QueueKind::Simple }
    }

    /// Says what the queues of a topic are that come to be from now on.
    pub fn set_kind(&self, topic: &str, kind: QueueKind) {
        match kind {
            QueueKind::Batch => self.batch_topics.write().insert(Arc::from(topic)),
            QueueKind::Simple => self.batch_topics.write().remove(topic),
        };
    }

    /// Names of the topics that have a directory for queues of a kind.
    pub fn topic_dirs(&self, kind: QueueKind) -> Result<Vec<String>, StoreError> {
        let root = self.files.root(kind);
        let entries = self.files.disk.list(&root).map_err(StoreError::io("list", &root))?;
        // Plain files here are those of a RocksDB and not ours to judge (store.md §24 T34).
        Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect())
    }

    /// Finds the queues that are on disk, with their entries that point below `position` of the log.
    pub fn load(&self, position: u64) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        for kind in QueueKind::ALL {
            loaded.extend(self.load_topics(kind, self.topic_dirs(kind)?, position)?);
        }
        Ok(loaded)
    }

    /// The same for the queues of one kind in the directories of these topics.
    pub fn load_topics(
        &self,
        kind: QueueKind,
        names: Vec<String>,
        position: u64,
    ) -> Result<Loaded, StoreError> {
        let files = &self.files;
        let mut found = Vec::new();
        for name in names {
            let dir = files.root(kind).join(&name);
            let name: Arc<str> = Arc::from(name);
            for queue in files.disk.list(&dir).map_err(StoreError::io("list", &dir))? {
                if let (true, Ok(id)) = (queue.is_dir, queue.name.parse::<u32>()) {
                    found.push((kind, name.clone(), id));
                }
            }
        }
        let mut loaded = Loaded::default();
        let found = self.find_all(found, position)?;
        let mut topics = self.topics.write();
        for ((kind, topic, id), entries) in found {
            let queue = Arc::new(Queue::new(files.clone(), kind, topic, id, entries.extent));
            if entries.has_more {
                loaded.with_more.push(queue.clone());
            }
            if entries.damaged {
                loaded.damaged.push(queue.clone());
            }
            self.insert(&mut topics, queue);
        }
        Ok(loaded)
    }

    /// Takes the queues as a table says they are. Those of batch topics are not in it.
    pub fn fill(&self, rows: Vec<Row>) {
        let mut topics = self.topics.write();
        for Row { topic, id, first, next } in rows {
            let extent = Extent::simple(first, next);
            let queue = Queue::new(self.files.clone(), QueueKind::Simple, topic, id, extent);
            self.insert(&mut topics, Arc::new(queue));
        }
    }

    /// Looks into the files of queues, on several threads if there are many.
    fn find_all(&self, names: Vec<QueueName>, position: u64) -> Result<Vec<FoundQueue>, StoreError> {
        let files = &self.files;
        let look = |names: &[QueueName]| -> Result<Vec<FoundQueue>, StoreError> {
            let mut found = Vec::with_capacity(names.len());
            for (kind, topic, id) in names {
                let dir = files.dir_named(*kind, topic, *id);
                let entries =
                    queue_files::find(files, *kind, &dir, position).map_err(StoreError::io("read", &dir))?;
                found.push(((*kind, topic.clone(), *id), entries));
            }
            Ok(found)
        };
        if names.len() < PARALLEL_MIN {
            return look(&names);
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let parts: Vec<_> = std::thread::scope(|scope| {
            let chunks = names.chunks(names.len().div_ceil(threads));
            let workers: Vec<_> = chunks.map(|names| scope.spawn(move || look(names))).collect();
            workers.into_iter().map(|worker| worker.join()).collect()
        });
        let mut found = Vec::with_capacity(names.len());
        for part in parts {
            found.extend(part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(found)
    }

    pub fn find(&self, topic: &str, id: u32) -> Option<Arc<Queue>> {
        self.topics.read().get(topic)?.get(&id).cloned()
    }

    pub fn get(&self, topic: &str, id: u32) -> Arc<Queue> {
        if let Some(queue) = self.find(topic, id) {
            return queue;
        }
        let mut topics = self.topics.write();
        let name = match topics.get_key_value(topic) {
            Some((name, _)) => name.clone(),
            None => Arc::from(topic),
        };
        // Somebody else may have made it meanwhile.
        if let Some(queue) = topics.get(topic).and_then(|queues| queues.get(&id)) {
            return queue.clone();
        }
        let kind = self.kind_of(topic);
        let queue = Arc::new(Queue::new(self.files.clone(), kind, name, id, Extent::default()));
        self.insert(&mut topics, queue.clone());
        queue
    }

    pub fn of_topic(&self, topic: &str) -> Vec<Arc<Queue>> {
        self.topics.read().get(topic).map(|queues| queues.values().cloned().collect()).unwrap_or_default()
    }

    pub fn topics(&self) -> Vec<Arc<str>> {
        let mut topics: Vec<_> = self.topics.read().keys().cloned().collect();
        topics.sort();
        topics
    }

    /// All queues, by topic and number: what is done to all of them is done in an order that a test can repeat.
    pub fn all(&self) -> Vec<Arc<Queue>> {
        let topics = self.topics.read();
        let mut queues: Vec<_> = topics.values().flat_map(|queues| queues.values().cloned()).collect();
        queues.sort_by(|a, b| (a.topic(), a.id()).cmp(&(b.topic(), b.id())));
        queues
    }

    /// Whether there are so many, without counting them all.
    pub fn are_at_least(&self, count: usize) -> bool {
        let topics = self.topics.read();
        let mut found = 0;
        count == 0
            || topics.values().any(|queues| {
                found += queues.len();
                found >= count
            })
    }

    pub fn count(&self) -> usize {
        self.topics.read().values().map(BTreeMap::len).sum()
    }

    /// Entries that all queues have ever had.
    pub fn entries(&self) -> u64 {
        let topics = self.topics.read();
        let next = topics.values().flat_map(BTreeMap::values).map(|queue| queue.next.load(Ordering::Acquire));
        next.fold(0, u64::wrapping_add)
    }

    /// Whether new entries of a topic get extensions. Those of the schedule topic do without: no consumer reads there.
    /// So do light queues, as in Java.
    pub fn has_extensions(&self, topic: &str) -> bool {
        self.files.ext.enabled && topic != dispatch::SCHEDULE_TOPIC && !names::is_light(topic)
    }

    /// Whether a topic has queues.
    pub fn has_topic(&self, topic: &str) -> bool {
        self.topics.read().contains_key(topic)
    }

    /// Takes the queues of a topic out of the table.
    pub fn remove_topic(&self, topic: &str) -> Vec<Arc<Queue>> {
        let removed: Vec<_> = self
            .topics
            .write()
            .remove(topic)
            .map(|queues| queues.into_values().collect())
            .unwrap_or_default();
        if names::is_light(topic) {
            self.light.fetch_sub(removed.len(), Ordering::Relaxed);
        }
        removed
    }
}
