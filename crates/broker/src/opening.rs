//! Opening a broker: its store first, then what the files below `config/` say, then what follows from both together.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use store::{Arrival, Bitmaps, Clock, Disk, OnArrival, OnDeletion, Store, Watcher};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

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
use crate::{Broker, BrokerError, send, store_options};

impl Broker {
    /// Opens the store below the settings' root, recovers it and reads the broker's state. Needs a tokio runtime.
    pub fn open(
        settings: settings::Broker,
        address: SocketAddr,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Broker>, BrokerError> {
        store_options::check(&settings)?;
        let arrivals = Arrivals::new(&Handle::current());
        let options = store_options::of(&settings);
        let heard = on_arrival(arrivals.clone());
        let store = Store::open(Arc::clone(&disk), Arc::clone(&clock), options, heard)?;
        // Read behind the store's lock, so that two brokers never share these files.
        let state = State::load(&settings, address, &disk, &store, &arrivals, clock.now_millis())?;
        let broker = Arc::new(Broker::new(settings, address, store, clock, arrivals, state));
        broker.hold.attach(Arc::downgrade(&broker));
        broker.pop.waits.attach(Arc::downgrade(&broker));
        broker.store.tell_of_deletions(on_deletion(Arc::downgrade(&broker)));
        broker.follow_store()?;
        Ok(broker)
    }

    fn new(
        settings: settings::Broker,
        address: SocketAddr,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        arrivals: Arrivals,
        state: State,
    ) -> Broker {
        Broker {
            unique_keys: UniqueKeys::new(address.ip()),
            stamp: ArcSwap::from_pointee(send::stamp(&settings)),
            configuration: Configuration::new(&settings, clock.now_millis()),
            stats: Stats::new(Arc::clone(&clock)),
            started_ms: clock.now_millis(),
            settings: ArcSwap::from_pointee(settings),
            address,
            store,
            waiting_for_flush: Default::default(),
            clock,
            topics: state.topics,
            static_topics: state.static_topics,
            neighbours: Neighbours::default(),
            groups: state.groups,
            offsets: state.offsets,
            broadcast: BroadcastOffsets::default(),
            pop: state.pop,
            request_modes: state.request_modes,
            routes: Routes::default(),
            clients: Clients::default(),
            cold_reads: ColdReads::default(),
            filters: state.filters,
            locks: QueueLocks::default(),
            hold: arrivals.hold,
            readers: Arc::new(Readers::new()),
            schedule: arrivals.schedule,
            transactions: state.transactions,
            timer_rates: TimerRates::default(),
            registration: state.registration,
            repeats: Repeats::default(),
            stopping: watch::Sender::new(false),
            saves: Mutex::new(true),
        }
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
}

/// What a broker knew when it was stopped, and who tells name servers when topics change.
struct State {
    topics: Topics,
    static_topics: StaticTopics,
    groups: Groups,
    offsets: ConsumerOffsets,
    filters: Arc<ConsumerFilters>,
    transactions: Transactions,
    pop: Pop,
    request_modes: RequestModes,
    registration: Arc<Registration>,
}

impl State {
    /// Reads the files below `config/`; where delayed messages stand is kept with those who hear of them.
    fn load(
        settings: &settings::Broker,
        address: SocketAddr,
        disk: &Arc<dyn Disk>,
        store: &Store,
        arrivals: &Arrivals,
        now_ms: i64,
    ) -> Result<State, BrokerError> {
        let config_dir = settings.store_path_root_dir.join("config");
        let file = |name: &str| StateFile::new(Arc::clone(disk), &config_dir, name);
        let registration = Arc::new(Registration::new(&settings.namesrv_addr));
        let changed = Arc::clone(&registration);
        let on_change = Box::new(move |names: &[String], version| changed.topics_changed(names, version));
        let offsets = load_offsets(file, settings)?;
        let halves = Arc::clone(&arrivals.halves);
        let transactions = Transactions::load(store, &offsets, file, halves, now_ms)?;
        let log = ReviveLog::new(settings, address, store, Arc::clone(&arrivals.revive));
        let orders = Orders::load(file("consumerOrderInfo.json"))?;
        arrivals.schedule.load(file("delayOffset.json"), settings, store)?;
        Ok(State {
            topics: Topics::load(file("topics.json"), settings, on_change)?,
            static_topics: StaticTopics::load(file("topicQueueMapping.json"))?,
            groups: Groups::load(file("subscriptionGroup.json"), settings)?,
            offsets,
            filters: load_filters(file("consumerFilter.json"), settings, store, now_ms)?,
            transactions,
            pop: Pop::new(log, orders, Arc::clone(&arrivals.waits)),
            request_modes: RequestModes::load(file("messageRequestMode.json"))?,
            registration,
        })
    }
}

/// Offsets of groups, and those in light queues where there are such.
fn load_offsets(
    file: impl Fn(&str) -> StateFile,
    settings: &settings::Broker,
) -> io::Result<ConsumerOffsets> {
    if settings.enable_lmq {
        ConsumerOffsets::load_with_light(file("lmqConsumerOffset.json"), file("consumerOffset.json"))
    } else {
        ConsumerOffsets::load(file("consumerOffset.json"))
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
        store.set_bitmaps(Arc::clone(&filters) as Arc<dyn Bitmaps>);
    }
    Ok(filters)
}

/// Who hears of what arrives.
#[derive(Clone)]
struct Arrivals {
    hold: Arc<Hold>,
    schedule: Arc<Schedule>,
    halves: Arc<Notify>,
    waits: Arc<Waits>,
    revive: Arc<Notify>,
}

impl Arrivals {
    fn new(runtime: &Handle) -> Arrivals {
        Arrivals {
            hold: Arc::new(Hold::new(runtime.clone())),
            schedule: Arc::new(Schedule::new()),
            halves: Arc::default(),
            waits: Arc::new(Waits::new(runtime.clone())),
            revive: Arc::default(),
        }
    }
}

/// What the store calls when a watched queue has something new: whoever watches it hears of it.
fn on_arrival(arrivals: Arrivals) -> OnArrival {
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

/// What the store calls when the queues of a topic are deleted.
fn on_deletion(broker: Weak<Broker>) -> OnDeletion {
    Box::new(move |topic| {
        if let Some(broker) = broker.upgrade() {
            broker.queues_deleted(topic);
        }
    })
}
