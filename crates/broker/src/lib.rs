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
mod attempts;
mod attributes;
mod broadcast;
mod claims;
mod clients;
mod cold;
mod durable;
mod exchange;
pub mod filter;
mod groups;
mod heartbeat;
mod hold;
mod invisible;
mod locks;
mod logical_queue;
mod notification;
mod offset_requests;
mod offsets;
mod opening;
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
#[cfg(test)]
mod testing;
mod timer;
mod together;
mod topics;
mod transaction;
mod unique_key;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use store::{Clock, Store, StoreError};
use tokio::sync::watch;
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
use crate::readers::Readers;
use crate::registration::Registration;
use crate::repeats::Repeats;
use crate::routes::Routes;
use crate::schedule::Schedule;
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
    waiting_for_flush: durable::Waiting,
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
    /// Whether tasks may save; locked while one does.
    saves: Mutex<bool>,
}

impl Broker {
    /// Names the file that settings changed by clients are written to. Without it they end with the process.
    pub fn keep_settings_in(&self, file: SettingsFile) {
        self.configuration.keep_in(file);
    }

    /// Lets the store keep those messages of a topic, and for as long, as its attributes say.
    fn keep_messages_of(&self, config: &TopicConfig) -> Result<(), StoreError> {
        self.store.keep_messages(&config.topic_name, attributes::retention(&config.attributes));
        if attributes::is_compacted(&config.attributes) {
            if attributes::retention(&config.attributes).is_some() {
                tracing::warn!(
                    topic = config.topic_name,
                    "this topic has cleanup.policy=COMPACTION and retention.ms: the last message of each key stays, \
                     however old it is; take retention.ms away"
                );
            }
            self.store.compact_topic(&config.topic_name)?;
        }
        Ok(())
    }

    /// How many pulls wait for messages.
    pub fn waiting_pulls(&self) -> usize {
        self.hold.len()
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
