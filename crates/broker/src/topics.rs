//! Topics of this broker: their configuration, and the way from a name to a queue.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use settings::Broker as Settings;
use store::{Queue, QueueKind, Store};
use wire::body::{DataVersion, PERM_INHERIT, PERM_READ, PERM_WRITE, TopicConfig, TopicConfigWrapper};
use wire::names;

use crate::attributes;
use crate::claims::Claims;
use crate::logical_queue::Mapping;
use crate::state_file::StateFile;
use crate::together::Together;

/// What the name of the revive log's topic begins with; the cluster follows.
pub const REVIVE_TOPIC_PREFIX: &str = "rmq_sys_REVIVE_LOG_";
/// Unit flag of a retry topic (wire.md §13.5).
pub const SYS_FLAG_UNIT_SUB: i32 = 2;
/// Unit flag of any other topic.
const SYS_FLAG_UNIT: i32 = 1;
/// More queues than any topic has: what a request may ask for.
pub const QUEUES_MAX: i32 = 65_536;

/// One topic: a snapshot of its configuration, its queues, its counters.
#[derive(Debug)]
pub struct Topic {
    /// Configuration; a change makes a new `Topic`.
    pub config: TopicConfig,
    /// Messages that were stored in it since start, and bytes of their records.
    pub put: Arc<Counter>,
    /// How long a unique key is known again; `None` if it is not.
    pub dedup_window: Option<Duration>,
    /// What its queues are.
    pub kind: QueueKind,
    /// It keeps the last message of each key, so that every message must have one.
    pub is_compacted: bool,
    /// What its logical queues stand for, if it is a static topic.
    pub mapping: Option<Arc<Mapping>>,
    /// Requests that left the choice of a queue to the broker.
    chosen: AtomicU64,
    queues: Box<[OnceLock<Arc<Queue>>]>,
}

/// Messages and bytes.
#[derive(Debug, Default)]
pub struct Counter {
    /// Messages.
    pub messages: AtomicU64,
    /// Bytes.
    pub bytes: AtomicU64,
}

impl Counter {
    /// Adds to both.
    pub fn add(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Topic {
    fn new(config: TopicConfig, put: Arc<Counter>, mapping: Option<Arc<Mapping>>) -> Topic {
        let count = config.read_queue_nums.max(config.write_queue_nums).clamp(0, QUEUES_MAX) as usize;
        let dedup_window = attributes::dedup_window(&config.attributes);
        let kind = QueueKind::of_attributes(&config.attributes);
        let is_compacted = attributes::is_compacted(&config.attributes);
        let queues = (0..count).map(|_| OnceLock::new()).collect();
        let chosen = AtomicU64::new(0);
        Topic { config, put, dedup_window, kind, is_compacted, mapping, chosen, queues }
    }

    /// A write queue for a request that leaves the choice to us: each in turn, however many messages it brings.
    pub fn any_write_queue(&self) -> u32 {
        let count = self.config.write_queue_nums.max(1) as u64;
        (self.chosen.fetch_add(1, Ordering::Relaxed) % count) as u32
    }

    /// Queue `id`, or `None` beyond the larger of read and write queues.
    pub fn queue(&self, store: &Store, id: u32) -> Option<&Arc<Queue>> {
        let slot = self.queues.get(id as usize)?;
        Some(slot.get_or_init(|| store.queue(&self.config.topic_name, id)))
    }

    /// Number of queues that exist for readers or writers.
    pub fn queue_count(&self) -> u32 {
        self.queues.len() as u32
    }

    /// Whether producers may write.
    pub fn is_writable(&self) -> bool {
        self.config.perm & PERM_WRITE != 0
    }

    /// Whether consumers may read.
    pub fn is_readable(&self) -> bool {
        self.config.perm & PERM_READ != 0
    }
}

/// What a send knows about a topic that does not exist yet.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Template topic named by the client.
    pub template: &'a str,
    /// Queues the client would like.
    pub queues: i32,
    /// Unit mode.
    pub unit: bool,
}

/// Hears of topics that are created or changed, and of the version of the table that has them. It is called in the
/// order of the versions.
type OnChange = Box<dyn Fn(&[String], DataVersion) + Send + Sync>;

/// All topics, kept in `config/topics.json`.
pub struct Topics {
    table: RwLock<Table>,
    version: Mutex<DataVersion>,
    /// Held by who changes the table: first the file, then memory, so that nobody sees what a restart would forget.
    together: Together<Change>,
    /// Held for its names by who changes a topic in more steps than one of them.
    pub(crate) claims: Claims,
    system: Vec<String>,
    /// Light queues are served: topics with their names need no configuration.
    light: bool,
    file: StateFile,
    on_change: OnChange,
}

impl Topics {
    /// Reads `topics.json` over the built-in topics (broker.md §2.1).
    pub fn load(file: StateFile, settings: &Settings, on_change: OnChange) -> Result<Topics, io::Error> {
        let stored: TopicConfigWrapper = file.load()?;
        let built_in = built_in(settings);
        let mut system: Vec<String> = built_in.iter().map(|config| config.topic_name.clone()).collect();
        system.push(names::TRANS_CHECK_MAX_TIME_TOPIC.to_owned());
        let mut table = HashMap::new();
        for config in built_in.into_iter().chain(stored.topic_config_table.into_values()) {
            let name: Arc<str> = config.topic_name.as_str().into();
            table.insert(name, Arc::new(Topic::new(config, Arc::default(), None)));
        }
        Ok(Topics {
            table: RwLock::new(table),
            version: Mutex::new(stored.data_version),
            together: Together::default(),
            claims: Claims::default(),
            system,
            light: settings.enable_lmq,
            file,
            on_change,
        })
    }

    /// The topic of that name. Each light queue is one, of one queue.
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        if self.is_light(name) {
            let config = TopicConfig::new(name, 1, PERM_READ | PERM_WRITE);
            return names::check_topic(name)
                .is_ok()
                .then(|| Arc::new(Topic::new(config, Arc::default(), None)));
        }
        self.table.read().get(name).cloned()
    }

    /// Whether there is a topic of that name.
    pub fn has(&self, name: &str) -> bool {
        if self.is_light(name) {
            names::check_topic(name).is_ok()
        } else {
            self.table.read().contains_key(name)
        }
    }

    /// Counts messages that were stored in a topic. Light queues have no counters.
    pub fn count(&self, name: &str, messages: u64, bytes: u64) {
        if let Some(topic) = self.table.read().get(name) {
            topic.put.add(messages, bytes);
        }
    }

    /// Whether the name is that of a light queue, and such are served.
    pub fn is_light(&self, name: &str) -> bool {
        self.light && names::is_light(name)
    }

    /// All topics, in no order.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.table.read().values().cloned().collect()
    }

    /// Topics that belong to the system, among them those named after broker and cluster.
    pub fn system(&self) -> &[String] {
        &self.system
    }

    /// Whether administrators may neither create nor delete it.
    pub fn is_system(&self, name: &str) -> bool {
        names::is_system_topic(name) || self.system.iter().any(|system| system == name)
    }

    /// Version of the table.
    pub fn version(&self) -> DataVersion {
        *self.version.lock()
    }

    /// A new version of an unchanged table: what others are told of it is another thing now.
    pub fn bump_version(&self, now_ms: i64) -> Result<(), io::Error> {
        let _one_at_a_time = self.together.alone();
        let version = self.write(&mut self.wrapper(), now_ms)?;
        *self.version.lock() = version;
        Ok(())
    }

    /// The whole table with its version.
    pub fn wrapper(&self) -> TopicConfigWrapper {
        let data_version = self.version();
        let table = self.table.read();
        let topic_config_table: BTreeMap<_, _> =
            table.iter().map(|(name, topic)| (name.to_string(), topic.config.clone())).collect();
        TopicConfigWrapper { data_version, topic_config_table }
    }

    /// Creates or replaces topics; they are in the file when this returns. Equal configurations change nothing.
    pub fn update(&self, configs: Vec<TopicConfig>, now_ms: i64) -> Result<(), io::Error> {
        self.change_together(configs.into_iter().map(Change::Put).collect(), now_ms)
    }

    /// Notes that topics are order topics, those of them that there are.
    pub fn make_ordered<'a>(
        &self,
        names: impl Iterator<Item = &'a String>,
        now_ms: i64,
    ) -> Result<(), io::Error> {
        let _one_at_a_time = self.together.alone();
        let topics = names.filter_map(|name| self.get(name));
        let ordered = |topic: Arc<Topic>| TopicConfig { order: true, ..topic.config.clone() };
        self.change(topics.map(ordered).map(Change::Put).collect(), now_ms)
    }

    /// Creates a topic unless there is one by now: of two who miss it at the same time the second must not replace
    /// what the first has made, least of all an administrator's.
    pub fn create(&self, config: TopicConfig, now_ms: i64) -> Result<(), io::Error> {
        self.change_together(vec![Change::Create(config)], now_ms)
    }

    /// Makes changes with those of others in one write of the file.
    fn change_together(&self, changes: Vec<Change>, now_ms: i64) -> Result<(), io::Error> {
        self.together.change(changes, |changes| self.change(changes, now_ms))
    }

    /// Whether the table is what it would be with a change.
    fn is_made(&self, change: &Change) -> bool {
        let (Change::Put(config) | Change::Create(config)) = change;
        let same = |old: Arc<Topic>| matches!(change, Change::Create(_)) || old.config == *config;
        self.is_light(&config.topic_name) || self.get(&config.topic_name).is_some_and(same)
    }

    /// Makes changes in their order with one write of the file, for who is alone.
    fn change(&self, changes: Vec<Change>, now_ms: i64) -> Result<(), io::Error> {
        if changes.iter().all(|change| self.is_made(change)) {
            return Ok(());
        }
        let mut wrapper = self.wrapper();
        let mut changed = BTreeSet::new();
        for change in changes {
            let table = &mut wrapper.topic_config_table;
            let (Change::Put(config) | Change::Create(config)) = &change;
            let known = table.get(&config.topic_name);
            let same = known.is_some_and(|old| old == config || matches!(change, Change::Create(_)));
            if !same && !self.is_light(&config.topic_name) {
                changed.insert(config.topic_name.clone());
                let (Change::Put(config) | Change::Create(config)) = change;
                table.insert(config.topic_name.clone(), config);
            }
        }
        let version = self.write(&mut wrapper, now_ms)?;
        {
            let mut table = self.table.write();
            for config in changed.iter().filter_map(|name| wrapper.topic_config_table.remove(name)) {
                put_config(&mut table, config);
            }
        }
        *self.version.lock() = version;
        (self.on_change)(&Vec::from_iter(changed), version);
        Ok(())
    }

    /// Creates or changes a static topic; the mapping is in its own file already. Nameservers take a mapping only with
    /// a new version of the table, so there is one even if the configuration is the same.
    pub fn update_static(
        &self,
        config: TopicConfig,
        mapping: Arc<Mapping>,
        now_ms: i64,
    ) -> Result<(), io::Error> {
        let _one_at_a_time = self.together.alone();
        let name = config.topic_name.clone();
        let mut wrapper = self.wrapper();
        wrapper.topic_config_table.insert(name.clone(), config.clone());
        let version = self.write(&mut wrapper, now_ms)?;
        {
            let mut table = self.table.write();
            put_config(&mut table, config);
            put_mapping(&mut table, &name, mapping);
        }
        *self.version.lock() = version;
        (self.on_change)(&[name], version);
        Ok(())
    }

    /// Gives a topic another mapping, of which the nameservers need not hear; false if there is no such topic.
    pub fn set_mapping(&self, name: &str, mapping: Arc<Mapping>) -> bool {
        let _one_at_a_time = self.together.alone();
        put_mapping(&mut self.table.write(), name, mapping)
    }

    /// Removes topics with one write of the file; gives those that there were. `gone` is called when none of the names
    /// is in the table and before anybody can create one anew.
    pub fn remove<'n>(
        &self,
        names: &[&'n str],
        now_ms: i64,
        gone: impl FnOnce(),
    ) -> Result<Vec<&'n str>, io::Error> {
        let _one_at_a_time = self.together.alone();
        let is_known = |name: &&str| self.table.read().contains_key(*name);
        let known: Vec<_> = names.iter().copied().filter(is_known).collect();
        if !known.is_empty() {
            let mut wrapper = self.wrapper();
            known.iter().for_each(|name| drop(wrapper.topic_config_table.remove(*name)));
            let version = self.write(&mut wrapper, now_ms)?;
            {
                let mut table = self.table.write();
                known.iter().for_each(|name| drop(table.remove(*name)));
            }
            *self.version.lock() = version;
        }
        gone();
        Ok(known)
    }

    /// Does something while there is no topic of that name, which nobody creates meanwhile; nothing if there is one.
    /// Others wait for that who create any, so it shall not last.
    pub fn while_absent(&self, name: &str, act: impl FnOnce()) {
        let _one_at_a_time = self.together.alone();
        if self.get(name).is_none() {
            act();
        }
    }

    /// Has a topic look for its queues anew, whose queues in the store were deleted. One that a send creates while the
    /// topic before it is being deleted may know queues of that one, whose messages nobody would be given. Nothing
    /// that the file has changes, so this waits for nobody who writes that.
    pub fn renew(&self, name: &str) {
        let mut table = self.table.write();
        if let Some(config) = table.get(name).map(|topic| topic.config.clone()) {
            put_config(&mut table, config);
        }
    }

    /// What a topic that there is not would be, by its template (broker.md §2.3). `None` is TOPIC_NOT_EXIST.
    pub fn planned(&self, wanted: &Wanted<'_>, settings: &Settings) -> Option<TopicConfig> {
        let retry = || {
            let is_retry = wanted.topic.starts_with(names::RETRY_PREFIX);
            is_retry.then(|| TopicConfig::new(wanted.topic, 1, PERM_READ | PERM_WRITE))
        };
        self.config_by_template(wanted, settings).or_else(retry)
    }

    /// Finds a topic of the broker's own making (retry, dead letters) or creates it.
    pub fn ensure(
        &self,
        name: &str,
        queues: i32,
        sys_flag: i32,
        now_ms: i64,
    ) -> Result<Arc<Topic>, io::Error> {
        if let Some(topic) = self.get(name) {
            return Ok(topic);
        }
        let config = own(name, queues, sys_flag);
        let topic = Arc::new(Topic::new(config.clone(), Arc::default(), None));
        self.create(config, now_ms)?;
        Ok(self.get(name).unwrap_or(topic))
    }

    fn config_by_template(&self, wanted: &Wanted<'_>, settings: &Settings) -> Option<TopicConfig> {
        let template = self.get(wanted.template)?;
        let inherits = template.config.perm & PERM_INHERIT != 0;
        let allowed = wanted.template != names::AUTO_CREATE_TOPIC || settings.auto_create_topic_enable;
        if !inherits || !allowed {
            return None;
        }
        let queues = wanted.queues.min(template.config.write_queue_nums).clamp(0, QUEUES_MAX);
        let mut config = TopicConfig::new(wanted.topic, queues, template.config.perm & !PERM_INHERIT);
        config.topic_filter_type = template.config.topic_filter_type.clone();
        if wanted.unit {
            let retry = wanted.topic.starts_with(names::RETRY_PREFIX);
            config.topic_sys_flag = if retry { SYS_FLAG_UNIT_SUB } else { SYS_FLAG_UNIT };
        }
        Some(config)
    }

    /// Writes the file as the table will be, with the version that it has then, which this gives. For who
    /// is alone.
    fn write(&self, wrapper: &mut TopicConfigWrapper, now_ms: i64) -> Result<DataVersion, io::Error> {
        wrapper.data_version.next(now_ms);
        self.file.save(wrapper)?;
        Ok(wrapper.data_version)
    }
}

/// A topic of the broker's own making: for retries, dead letters.
pub(crate) fn own(name: &str, queues: i32, sys_flag: i32) -> TopicConfig {
    // A file of groups from elsewhere may say anything.
    let queues = queues.clamp(0, QUEUES_MAX);
    TopicConfig { topic_sys_flag: sys_flag, ..TopicConfig::new(name, queues, PERM_READ | PERM_WRITE) }
}

/// A change of the table that is to be written.
enum Change {
    /// Creates a topic or replaces it.
    Put(TopicConfig),
    /// Creates a topic unless there is one.
    Create(TopicConfig),
}

type Table = HashMap<Arc<str>, Arc<Topic>>;

/// Creates a topic, or gives it another configuration.
fn put_config(table: &mut Table, config: TopicConfig) {
    let name: Arc<str> = config.topic_name.as_str().into();
    let old = table.get(&name);
    let put = old.map(|old| Arc::clone(&old.put)).unwrap_or_default();
    let mapping = old.and_then(|old| old.mapping.clone());
    table.insert(name, Arc::new(Topic::new(config, put, mapping)));
}

fn put_mapping(table: &mut Table, name: &str, mapping: Arc<Mapping>) -> bool {
    let Some(topic) = table.get_mut(name) else { return false };
    *topic = Arc::new(Topic::new(topic.config.clone(), Arc::clone(&topic.put), Some(mapping)));
    true
}

/// Topics that exist from the first start (broker.md §2.1).
fn built_in(settings: &Settings) -> Vec<TopicConfig> {
    let both = PERM_READ | PERM_WRITE;
    let cluster = &settings.broker_cluster_name;
    let named = |enabled: bool| if enabled { both | PERM_INHERIT } else { PERM_INHERIT };
    let mut topics = vec![
        TopicConfig::new(names::SELF_TEST_TOPIC, 1, both),
        TopicConfig::new(names::BENCHMARK_TOPIC, 1024, both),
        TopicConfig::new(cluster, 16, named(settings.cluster_topic_enable)),
        TopicConfig::new(&settings.broker_name, 1, named(settings.broker_topic_enable)),
        TopicConfig::new(names::OFFSET_MOVED_EVENT, 1, both),
        TopicConfig::new(
            names::SCHEDULE_TOPIC,
            18.max(settings.message_delay_level.delays().len() as i32),
            both,
        ),
        TopicConfig::new(&format!("{cluster}_REPLY_TOPIC"), 1, both),
        TopicConfig::new(&format!("{REVIVE_TOPIC_PREFIX}{cluster}"), settings.revive_queue_num as i32, both),
        TopicConfig::new(&format!("rmq_sys_SYNC_BROKER_MEMBER_{}", settings.broker_name), 1, PERM_INHERIT),
        TopicConfig::new(names::HALF_TOPIC, 1, both),
        TopicConfig::new(names::OP_HALF_TOPIC, 1, both),
        TopicConfig::new(names::TIMER_TOPIC, 1, both),
    ];
    if settings.auto_create_topic_enable {
        let queues = settings.default_topic_queue_nums;
        topics.push(TopicConfig::new(names::AUTO_CREATE_TOPIC, queues, both | PERM_INHERIT));
    }
    if settings.trace_topic_enable {
        topics.push(TopicConfig::new(&settings.msg_trace_topic_name, 1, both));
    }
    topics
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Barrier;

    use sim::{Fault, Operation, SimClock, SimDisk};

    use super::*;
    use crate::testing::wait_until;

    fn topics() -> (Topics, Settings) {
        topics_on(&SimDisk::new(SimClock::default()))
    }

    fn topics_on(disk: &SimDisk) -> (Topics, Settings) {
        let disk = Arc::new(disk.clone());
        let settings = settings::load_broker("", &[]).unwrap().settings;
        let file = StateFile::new(disk, Path::new("/store/config"), "topics.json");
        (Topics::load(file, &settings, Box::new(|_, _| ())).unwrap(), settings)
    }

    /// As many queues as the client would like, if the template has so many.
    fn wanted(topic: &str, queues: i32) -> Wanted<'_> {
        Wanted { topic, template: names::AUTO_CREATE_TOPIC, queues, unit: false }
    }

    /// The topic that the first who sends to it finds.
    fn first_sent(topics: &Topics, wanted: &Wanted<'_>, settings: &Settings) -> io::Result<Arc<Topic>> {
        topics.create(topics.planned(wanted, settings).unwrap(), 0)?;
        Ok(topics.get(wanted.topic).unwrap())
    }

    #[test]
    fn producers_that_miss_a_topic_at_the_same_time_get_the_same_one() {
        let (topics, settings) = topics();
        for round in 0..50 {
            let name = format!("orders-{round}");
            let start = Barrier::new(2);
            let send = |queues| {
                start.wait();
                first_sent(&topics, &wanted(&name, queues), &settings).unwrap()
            };
            let (first, second) = std::thread::scope(|scope| {
                let first = scope.spawn(|| send(5));
                (send(3), first.join().unwrap())
            });
            let queues = topics.get(&name).unwrap().queue_count();
            assert_eq!((first.queue_count(), second.queue_count()), (queues, queues), "{name}");
        }
    }

    fn stored(disk: &SimDisk) -> BTreeMap<String, TopicConfig> {
        let text = &disk.durable_files()[Path::new("/store/config/topics.json")];
        serde_json::from_slice::<TopicConfigWrapper>(text).unwrap().topic_config_table
    }

    #[test]
    fn topics_that_are_created_while_the_file_is_written_are_in_the_next_one_together() {
        let disk = SimDisk::new(SimClock::default());
        let (topics, settings) = topics_on(&disk);
        let create = |name: &str| {
            first_sent(&topics, &wanted(name, 1), &settings).unwrap();
            assert!(stored(&disk).contains_key(name), "{name} was promised and is not on disk");
        };
        disk.hold_syncs(true);
        std::thread::scope(|scope| {
            scope.spawn(|| create("orders"));
            wait_until(|| disk.held_syncs() == 1);
            for number in 0..19 {
                let create = &create;
                scope.spawn(move || create(&format!("orders-{number}")));
            }
            wait_until(|| topics.together.waiting() == 19);
            disk.hold_syncs(false);
        });
        assert_eq!(disk.syncs(), 2, "the one that was being written, and one for all others");
        assert_eq!(topics.version().counter, 2);
    }

    #[test]
    fn who_shares_a_write_that_fails_is_told_so_and_no_topic_is_there() {
        let disk = SimDisk::new(SimClock::default());
        let (topics, settings) = topics_on(&disk);
        disk.inject(Fault::from_now(Operation::Create, "topics.json", io::ErrorKind::StorageFull));
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (topics, settings) = (&topics, &settings);
                scope.spawn(move || {
                    let name = format!("orders-{number}");
                    let error = first_sent(topics, &wanted(&name, 1), settings).unwrap_err();
                    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
                    assert!(!topics.has(&name));
                });
            }
        });
    }

    #[test]
    fn topics_that_go_together_go_with_one_write() {
        let disk = SimDisk::new(SimClock::default());
        let (topics, _) = topics_on(&disk);
        let names: Vec<_> = (0..9).map(|number| format!("%RETRY%group-{number}_orders")).collect();
        topics.update(names.iter().map(|name| TopicConfig::new(name, 1, 6)).collect(), 0).unwrap();
        let before = disk.syncs();
        let mut doomed: Vec<_> = names.iter().map(String::as_str).collect();
        doomed.push("unknown");
        assert_eq!(topics.remove(&doomed, 0, || ()).unwrap(), names);
        assert_eq!(disk.syncs() - before, 1);
        assert!(names.iter().all(|name| !topics.has(name) && !stored(&disk).contains_key(name)));
        assert!(topics.remove(&doomed, 0, || ()).unwrap().is_empty());
        assert_eq!(disk.syncs() - before, 1, "nothing has changed");
    }

    #[test]
    fn batches_that_leave_the_choice_of_a_queue_to_the_broker_go_to_all_of_them() {
        let (topics, settings) = topics();
        let topic = first_sent(&topics, &wanted("orders", 4), &settings).unwrap();
        let chosen: Vec<u32> = (0..5)
            .map(|_| {
                topic.put.add(4, 100);
                topic.any_write_queue()
            })
            .collect();
        assert_eq!(chosen, [0, 1, 2, 3, 0]);
    }

    #[test]
    fn a_topic_that_an_administrator_makes_meanwhile_stays_as_it_is() {
        let (topics, _) = topics();
        let mut config = TopicConfig::new("orders", 16, PERM_READ | PERM_WRITE);
        config.attributes.insert("message.type".to_owned(), "FIFO".to_owned());
        topics.update(vec![config.clone()], 0).unwrap();
        // A producer had looked before that, and found nothing.
        topics.create(TopicConfig::new("orders", 4, PERM_READ | PERM_WRITE), 0).unwrap();
        assert_eq!(topics.get("orders").unwrap().config, config);
    }
}
