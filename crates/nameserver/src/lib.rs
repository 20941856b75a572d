//! Who has which topic: brokers register here, clients ask where to send and from where to read.
//!
//! Nameservers do not know each other; every broker registers with each of them. All tables are in memory and
//! come back by themselves, only the key-value table is kept in a file.
//!
//! Invariant: no message passes through here, and a failing nameserver never stops clients and brokers that have
//! found each other.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod brokers;
mod config;
mod error;
mod expiry;
mod file;
mod kv;
mod notice;
mod registration;
mod reply;
mod route;
mod tables;
mod topics;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use remoting::{Channel, Request, Service, Turn};
use serde::Serialize;
use tokio::sync::{Notify, Semaphore};
use wire::code::request::*;
use wire::code::response;

pub use error::NameserverError;

use brokers::ADMITTED_KIB;
use kv::Kv;
use notice::Notices;
use reply::Reply;
use tables::{Departure, Tables};

/// A nameserver without its socket: give it to [`remoting::Server::start`].
pub struct Nameserver {
    settings: ArcSwap<settings::Nameserver>,
    /// Held while settings change.
    settings_writing: Mutex<()>,
    tables: RwLock<Tables>,
    kv: Kv,
    /// Connections of brokers, to end those of brokers that fell silent.
    broker_channels: Mutex<HashMap<u64, Weak<Channel>>>,
    /// Departures that wait for the write lock; whoever gets it takes all of them along.
    departures: Mutex<Vec<Departure>>,
    notices: Notices,
    started: Instant,
    /// Until when the expiry task sleeps; a broker that may be gone earlier wakes it.
    asleep_until_ms: AtomicI64,
    wake_expiry: Notify,
    /// KiB of large registrations that may wait to be read.
    admitted: Arc<Semaphore>,
    /// Large registrations that are read at a time.
    decoding: Arc<Semaphore>,
    me: Weak<Nameserver>,
}

impl Nameserver {
    /// A nameserver that knows no broker yet. `kv_path` is the file of the key-value table, read now and written
    /// with each change.
    pub fn new(settings: settings::Nameserver, kv_path: PathBuf) -> Result<Arc<Nameserver>, NameserverError> {
        let kv = Kv::open(kv_path)?;
        Ok(Arc::new_cyclic(|me| Nameserver {
            settings: ArcSwap::from_pointee(settings),
            settings_writing: Mutex::new(()),
            tables: RwLock::default(),
            kv,
            broker_channels: Mutex::default(),
            departures: Mutex::default(),
            notices: Notices::new(),
            started: Instant::now(),
            asleep_until_ms: AtomicI64::new(i64::MIN),
            wake_expiry: Notify::new(),
            admitted: Arc::new(Semaphore::new(ADMITTED_KIB as usize)),
            decoding: Arc::new(Semaphore::new(2)),
            me: me.clone(),
        }))
    }

    /// Milliseconds since the start. Counting from there, a corrected wall clock does not expire every broker.
    fn now_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Answers with what the tables say, which is written when others may have them again.
    fn read<T: Serialize>(&self, what: impl FnOnce(&Tables) -> T) -> Reply {
        let said = what(&self.tables.read());
        Reply::json(&said)
    }

    /// Answers a request; `None` when the answer comes later.
    fn answer(&self, channel: &Arc<Channel>, request: &Request<'_>) -> Option<Reply> {
        Some(match request.header.code {
            GET_ROUTEINFO_BY_TOPIC => self.route(request),
            REGISTER_BROKER => return self.register_broker(channel, request),
            UNREGISTER_BROKER => self.unregister_broker(request),
            BROKER_HEARTBEAT => self.broker_heartbeat(request),
            QUERY_DATA_VERSION => self.query_data_version(request),
            GET_BROKER_MEMBER_GROUP => self.broker_member_group(request),
            GET_BROKER_CLUSTER_INFO => self.read(Tables::cluster_info),
            WIPE_WRITE_PERM_OF_BROKER => self.wipe_write_permission(request),
            ADD_WRITE_PERM_OF_BROKER => self.add_write_permission(request),

            GET_ALL_TOPIC_LIST_FROM_NAMESERVER => self.all_topics(),
            GET_SYSTEM_TOPIC_LIST_FROM_NS => self.read(Tables::system_topics),
            GET_TOPICS_BY_CLUSTER => self.topics_by_cluster(request),
            GET_UNIT_TOPIC_LIST | GET_HAS_UNIT_SUB_TOPIC_LIST | GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                self.unit_topics(request.header.code)
            }
            DELETE_TOPIC_IN_NAMESRV => self.delete_topic(request),
            REGISTER_TOPIC_IN_NAMESRV => self.register_topic(request),

            PUT_KV_CONFIG => self.put_kv(request),
            GET_KV_CONFIG => self.get_kv(request),
            DELETE_KV_CONFIG => self.delete_kv(request),
            GET_KVLIST_BY_NAMESPACE => self.kv_namespace(request),
            UPDATE_NAMESRV_CONFIG => self.update_config(request),
            GET_NAMESRV_CONFIG => self.get_config(),

            code => {
                let remark = format!(" request type {code} not supported");
                Reply::failure(response::REQUEST_CODE_NOT_SUPPORTED, remark)
            }
        })
    }
}

impl Service for Nameserver {
    fn serve(&self, channel: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(request) = turn.next_request() {
            if let Some(reply) = self.answer(channel, &request) {
                reply.write(request.reply_to(), turn.out);
            }
        }
    }

    fn closed(&self, channel: &Arc<Channel>) {
        self.channel_closed(channel.id());
    }
}

/// The answer to a request without a field that it needs.
fn missing(field: &str) -> Reply {
    Reply::failure(response::SYSTEM_ERROR, format!("the request has no {field}"))
}
