//! What a broker does, request by request, as unmodified clients see it (broker.md).
//!
//! One file per request family; [`service`] says which code goes where. The hot path is [`send`] and [`pull`];
//! everything they need is in memory or in the store. Invariant: no handler waits for the network or for a read from
//! disk; what takes its time (long polls, flushes, relays, reads of [`readers`], questions to other brokers) keeps its
//! channel and answers later.
#![forbid(unsafe_code)]

mod ack;
mod admin;
mod assignment;
mod attributes;
mod broadcast;
mod clients;
mod cold;
mod exchange;
pub mod filter;
mod groups;
mod heartbeat;
mod hold;
mod invisible;
mod locks;
mod notification;
mod offset_requests;
mod offsets;
mod owed;
mod peek;
mod pop;
mod pull;
mod query;
mod readers;
mod registration;
mod repeats;
mod reply;
mod retry;
mod routes;
mod schedule;
mod send;
mod service;
mod settings_file;
mod state_file;
mod static_topics;
mod stats;
mod store_options;
mod tasks;
mod timer;
mod topics;
mod transaction;
mod unique_key;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use store::{Arrival, Clock, Disk, Store, StoreError, Watcher};
use tokio::sync::{Notify, watch};
use wire::body::TopicConfig;

use crate::admin::Configuration;
use crate::assignment::RequestModes;
use crate::broadcast::BroadcastOffsets;
use crate::clients::Clients;
use crate::cold::ColdReads;
use crate::filter::ConsumerFilters;
use crate::groups::Groups;
use crate::hold::Hold;
use crate::locks::QueueLocks;
use crate::offsets::ConsumerOffsets;
use crate::pop::Pop;
use crate::pop::order::Orders;
use crate::pop::revive_log::ReviveLog;
use crate::pop::waits::Waits;
use crate::readers::Readers;
use crate::registration::Registration;
use crate::repeats::Repeats;
use crate::routes::Routes;
use crate::schedule::Schedule;
use crate::state_file::StateFile;
use crate::static_topics::{Neighbours, StaticTopics};
use crate::stats::Stats;
use crate::timer::TimerRates;
use crate::topics::Topics;
use crate::transaction::Transactions;
use crate::unique_key::UniqueKeys;

pub use crate::service::{FastPort, MainPort};
pub use crate::settings_file::SettingsFile;
pub use crate::store_options::of as store_options;

/// Why a broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file below `config/` cannot be read.
    #[error("{0}")]
    State(#[from] io::Error),
    /// A setting asks for what is not there yet.
    #[error("{key}={value} is not served yet: {remedy}")]
    Setting {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// A broker: its state and its store. Sockets are given to it through [`MainPort`] and [`FastPort`].
pub struct Broker {
    settings: ArcSwap<settings::Broker>,
    configuration: Configuration,
    /// Advertised address; part of every offset id.
    address: SocketAddr,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    topics: Topics,
    static_topics: StaticTopics,
    neighbours: Neighbours,
    groups: Groups,
    offsets: ConsumerOffsets,
    broadcast: BroadcastOffsets,
    pop: Pop,
    request_modes: RequestModes,
    routes: Routes,
    clients: Clients,
    cold_reads: ColdReads,
    filters: Arc<ConsumerFilters>,
    locks: QueueLocks,
    hold: Arc<Hold>,
    readers: Arc<Readers>,
    schedule: Arc<Schedule>,
    transactions: Transactions,
    timer_rates: TimerRates,
    registration: Arc<Registration>,
    repeats: Repeats,
    unique_keys: UniqueKeys,
    stats: Stats,
    /// Properties that every stored message gets behind its own.
    stamp: ArcSwap<Vec<u8>>,
    started_ms: i64,
    stopping: watch::Sender<bool>,
}

impl Broker {
    /// Opens the store below the settings' root, recovers it and reads the broker's state. Needs a tokio runtime.
    pub fn open(
        settings: settings::Broker,
        address: SocketAddr,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Broker>, BrokerError> {
        store_options::check(&settings)?;
        let config_dir = settings.store_path_root_dir.join("config");
        let file = |name: &str| StateFile::new(Arc::clone(&disk), &config_dir, name);
        let hold = Arc::new(Hold::new(tokio::runtime::Handle::current()));
        let waits = Arc::new(Waits::new(tokio::runtime::Handle::current()));
        let revive_arrived = Arc::new(Notify::new());
        let schedule = Arc::new(Schedule::new());
        let halves_arrived = Arc::new(Notify::new());
        let registration = Arc::new(Registration::default());
        let changed = Arc::clone(&registration);
        let on_change = Box::new(move |names| changed.topics_changed(names));
        let store = Store::open(
            Arc::clone(&disk),
            Arc::clone(&clock),
            store_options::of(&settings),
            on_arrival(Arrivals {
                hold: Arc::clone(&hold),
                schedule: Arc::clone(&schedule),
                halves: Arc::clone(&halves_arrived),
                waits: Arc::clone(&waits),
                revive: Arc::clone(&revive_arrived),
            }),
        )?;
        // Topics and groups are read behind the store's lock, so that two brokers never share them.
        let topics = Topics::load(file("topics.json"), &settings, on_change)?;
        let static_topics = StaticTopics::load(file("topicQueueMapping.json"))?;
        let groups = Groups::load(file("subscriptionGroup.json"), &settings)?;
        let offsets = if settings.enable_lmq {
            ConsumerOffsets::load_with_light(file("lmqConsumerOffset.json"), file("consumerOffset.json"))?
        } else {
            ConsumerOffsets::load(file("consumerOffset.json"))?
        };
        let filters = load_filters(file("consumerFilter.json"), &settings, &store, clock.now_millis())?;
        schedule.load(file("delayOffset.json"), &settings, &store)?;
        let transactions = Transactions::load(&store, &offsets, file, halves_arrived, clock.now_millis())?;
        let orders = Orders::load(file("consumerOrderInfo.json"))?;
        let log = ReviveLog::new(&settings, address, &store, revive_arrived);
        let pop = Pop::new(log, orders, waits);
        let request_modes = RequestModes::load(file("messageRequestMode.json"))?;
        let broker = Arc::new(Broker {
            unique_keys: UniqueKeys::new(address.ip()),
            stamp: ArcSwap::from_pointee(send::stamp(&settings)),
            configuration: Configuration::new(&settings, clock.now_millis()),
            stats: Stats::new(Arc::clone(&clock)),
            started_ms: clock.now_millis(),
            settings: ArcSwap::from_pointee(settings),
            address,
            store,
            clock,
            topics,
            static_topics,
            neighbours: Neighbours::default(),
            groups,
            offsets,
            broadcast: BroadcastOffsets::default(),
            pop,
            request_modes,
            routes: Routes::default(),
            clients: Clients::default(),
            cold_reads: ColdReads::default(),
            filters,
            locks: QueueLocks::default(),
            hold,
            readers: Arc::new(Readers::new()),
            schedule,
            transactions,
            timer_rates: TimerRates::default(),
            registration,
            repeats: Repeats::default(),
            stopping: watch::Sender::new(false),
        });
        broker.hold.attach(Arc::downgrade(&broker));
        broker.pop.waits.attach(Arc::downgrade(&broker));
        broker.follow_store()?;
        Ok(broker)
    }

    /// Brings to mind what follows from the topics and the log together, and tells the store what to keep.
    fn follow_store(self: &Arc<Self>) -> Result<(), BrokerError> {
        self.attach_static_topics()?;
        self.recover_pop()?;
        let entries_max = self.settings.load().dedup_entries_max;
        for topic in self.topics.all() {
            self.keep_messages_of(&topic.config)?;
            self.repeats.load(&self.store, &topic, entries_max, self.now_ms());
        }
        self.count_timer_deliveries();
        Ok(())
    }

    /// Names the file that settings changed by clients are written to. Without it they end with the process.
    pub fn keep_settings_in(&self, file: SettingsFile) {
        self.configuration.keep_in(file);
    }

    /// Lets the store keep those messages of a topic, and for as long, as its attributes say.
    fn keep_messages_of(&self, config: &TopicConfig) -> Result<(), StoreError> {
        self.store.keep_messages(&config.topic_name, attributes::retention(&config.attributes));
        if attributes::is_compacted(&config.attributes) {
            self.store.compact_topic(&config.topic_name)?;
        }
        Ok(())
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<settings::Broker> {
        self.settings.load_full()
    }

    /// Flush mode in words, for people.
    pub fn flush_in_words(&self) -> String {
        let settings = self.settings.load();
        if self.store.is_sync() {
            "synchronous flush (an answer means the disk has it)".to_owned()
        } else {
            format!(
                "asynchronous flush (an answer means the page cache has it, the disk within {} ms)",
                settings.flush_interval_commit_log.as_millis()
            )
        }
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_millis()
    }
}

/// Filters that groups have registered. If queues carry answers to them, the store asks them from now on.
fn load_filters(
    file: StateFile,
    settings: &settings::Broker,
    store: &Store,
    now_ms: i64,
) -> Result<Arc<ConsumerFilters>, BrokerError> {
    let filters = Arc::new(ConsumerFilters::load(file, settings, now_ms)?);
    if settings.enable_consume_queue_ext && settings.enable_calc_filter_bit_map {
        filters.begin_bits(store.was_stopped_cleanly(), store.last_timestamp());
        store.set_bitmaps(Arc::clone(&filters) as Arc<dyn store::Bitmaps>);
    }
    Ok(filters)
}

/// Who hears of what arrives.
struct Arrivals {
    hold: Arc<Hold>,
    schedule: Arc<Schedule>,
    halves: Arc<Notify>,
    waits: Arc<Waits>,
    revive: Arc<Notify>,
}

/// What the store calls when a watched queue has something new: whoever watches it hears of it.
fn on_arrival(arrivals: Arrivals) -> store::OnArrival {
    let Arrivals { hold, schedule, halves, waits, revive } = arrivals;
    Arc::new(move |arrival| {
        let Arrival { queue, told } = *arrival;
        if told.includes(Watcher::Pull) {
            hold.arrived(queue);
        }
        if told.includes(Watcher::Pop) {
            waits.arrived(queue);
        }
        if told.includes(Watcher::Schedule) {
            schedule.arrived.notify_one();
        }
        if told.includes(Watcher::Transactions) {
            halves.notify_one();
        }
        if told.includes(Watcher::Revive) {
            revive.notify_one();
        }
    })
}
