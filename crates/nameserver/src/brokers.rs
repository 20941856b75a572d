//! Requests of and about brokers: registration, departure, heartbeat, versions, members, write permission.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use remoting::{Channel, Request};
use serde::Serialize;
use wire::body::{BrokerMemberGroup, DataVersion};
use wire::code::response::{SYSTEM_BUSY, SYSTEM_ERROR};
use wire::loose_json;

use crate::kv::ORDER_TOPICS;
use crate::registration::{self, PayloadError};
use crate::reply::Reply;
use crate::tables::{BrokerKey, Departure, MinIdChange, Refused, Registered, Registration};
use crate::{Nameserver, missing};

/// A larger body takes long enough to hold up the other connections of a thread.
const LARGE_BODY_BYTES: usize = 256 << 10;
/// Likewise a compressed one, which may be a thousand times as large when it is unfolded.
const LARGE_COMPRESSED_BYTES: usize = 4 << 10;
/// Large bodies that may wait to be read, in KiB. Beyond, brokers are asked to come again.
pub(crate) const ADMITTED_KIB: u32 = 256 << 10;
/// Longest cluster, broker name, address or zone.
const NAME_BYTES_MAX: usize = 1024;

/// Zone of a broker, and the one that a client wants.
pub(crate) const ZONE_NAME: &str = "__ZONE_NAME";

/// A registration of which the body is not read yet.
struct Announced {
    registration: Registration,
    compressed: bool,
    body_crc32: i32,
    version: i32,
}

impl Nameserver {
    pub(crate) fn register_broker(&self, channel: &Arc<Channel>, request: &Request<'_>) -> Option<Reply> {
        let announced = match announced(channel, request) {
            Ok(announced) => announced,
            Err(reply) => return Some(reply),
        };
        let large = if announced.compressed { LARGE_COMPRESSED_BYTES } else { LARGE_BODY_BYTES };
        if request.body.len() < large {
            return Some(self.register(channel, announced, request.body));
        }
        self.register_later(channel, request, announced).err()
    }

    /// Reads a large body away from the threads of the connections.
    fn register_later(
        &self,
        channel: &Arc<Channel>,
        request: &Request<'_>,
        announced: Announced,
    ) -> Result<(), Reply> {
        let busy =
            || Reply::failure(SYSTEM_BUSY, "too many large registrations at a time, register again later");
        let nameserver = self.me.upgrade().ok_or_else(busy)?;
        let kib = u32::try_from(request.body.len() >> 10).map_err(|_| busy())?;
        let admitted = Arc::clone(&self.admitted).try_acquire_many_owned(kib).map_err(|_| busy())?;
        let held = channel.hold().ok_or_else(busy)?;
        let (reply_to, body, decoding) =
            (request.reply_to(), request.body.to_vec(), Arc::clone(&self.decoding));
        tokio::spawn(async move {
            let turn = decoding.acquire_owned().await;
            tokio::task::spawn_blocking(move || {
                let reply = nameserver.register(held.channel(), announced, &body);
                let mut out = Vec::new();
                reply.write(reply_to, &mut out);
                held.channel().send(&out);
                if !held.channel().is_open() {
                    // It closed meanwhile, perhaps before the tables knew whose it was.
                    nameserver.channel_closed(held.channel().id());
                }
                drop((turn, admitted));
            });
        });
        Ok(())
    }

    fn register(&self, channel: &Arc<Channel>, announced: Announced, body: &[u8]) -> Reply {
        let Announced { mut registration, compressed, body_crc32, version } = announced;
        let crc32 = (crc32fast::hash(body) & 0x7FFF_FFFF) as i32;
        let address = registration.broker.address.clone();
        if body_crc32 != 0 && body_crc32 != crc32 {
            tracing::warn!(%address, "registration refused: its body does not have the announced checksum");
            return Reply::failure(SYSTEM_ERROR, "crc32 not match");
        }
        let payload = match registration::decode(body, compressed, version) {
            Ok(payload) => payload,
            Err(error) => return refused_body(&address, &error),
        };
        registration.version = payload.version;
        registration.topics = payload.topics;
        registration.mappings = payload.mappings;

        self.broker_channels.lock().insert(channel.id(), Arc::downgrade(channel));
        let drop_missing = self.settings.load().delete_topic_with_broker_registration;
        let registered = self.tables.write().register(registration, drop_missing, self.now_ms());
        match registered {
            Ok(registered) => self.registered(registered),
            Err(refused) => {
                if refused != Refused::OneTopicFirst {
                    tracing::error!(%address, "registration refused: {refused}");
                }
                Reply::failure(SYSTEM_ERROR, refused)
            }
        }
    }

    fn registered(&self, registered: Registered) -> Reply {
        if let Some(expires_ms) = registered.expires_ms
            && expires_ms < self.asleep_until_ms.load(Ordering::Acquire)
        {
            self.wake_expiry.notify_one();
        }
        self.tell(registered.min_id_changes);
        let mut reply = Reply::success();
        if let Some(master) = registered.master {
            reply = reply.with_field("masterAddr", master.address);
            if let Some(ha_address) = master.ha_address {
                reply = reply.with_field("haServerAddr", ha_address);
            }
        }
        if self.settings.load().return_order_topic_config_to_broker
            && let Some(table) = self.kv.namespace(ORDER_TOPICS)
        {
            reply = reply.with_json(&table);
        }
        reply
    }

    pub(crate) fn unregister_broker(&self, request: &Request<'_>) -> Reply {
        let Some(broker) = broker_key(request) else { return missing("clusterName or brokerAddr") };
        let Some(group) = request.field("brokerName") else { return missing("brokerName") };
        self.depart(Departure::Broker(broker, group.to_owned()));
        Reply::success()
    }

    /// Forgets whoever registered over a connection that has ended.
    pub(crate) fn channel_closed(&self, channel: u64) {
        self.broker_channels.lock().remove(&channel);
        // Clients come and go all the time; they shall not stop those who read the tables.
        if self.tables.read().has_channel(channel) {
            self.depart(Departure::Channel(channel));
        }
    }

    /// Forgets brokers. When many leave at once, the first to get the lock takes the others along, so that the
    /// topics are gone through once and not once for each.
    pub(crate) fn depart(&self, departure: Departure) {
        self.departures.lock().push(departure);
        let mut tables = self.tables.write();
        let departures = std::mem::take(&mut *self.departures.lock());
        if departures.is_empty() {
            return;
        }
        let changes = tables.leave(&departures);
        drop(tables);
        self.tell(changes);
    }

    /// Tells brokers of another lowest id, if they shall know.
    pub(crate) fn tell(&self, changes: Vec<MinIdChange>) {
        if !changes.is_empty() && self.settings.load().notify_min_broker_id_changed {
            self.notices.send(changes);
        }
    }

    pub(crate) fn broker_heartbeat(&self, request: &Request<'_>) -> Reply {
        let Some(broker) = broker_key(request) else { return missing("clusterName or brokerAddr") };
        self.tables.write().touch(&broker, self.now_ms());
        Reply::success()
    }

    /// Whether a broker's topics differ from what is known here (322); the question is a sign of life too.
    pub(crate) fn query_data_version(&self, request: &Request<'_>) -> Reply {
        let Some(broker) = broker_key(request) else { return missing("clusterName or brokerAddr") };
        let theirs: Option<DataVersion> = match request.body {
            [] => None,
            body => match loose_json::read(body) {
                Ok(version) => Some(version),
                Err(error) => return Reply::failure(SYSTEM_ERROR, error),
            },
        };
        let mut tables = self.tables.write();
        tables.touch(&broker, self.now_ms());
        let ours = tables.version_of(&broker);
        drop(tables);
        let reply = Reply::success().with_field("changed", ours.is_none() || ours != theirs);
        match ours {
            Some(version) => reply.with_json(&version),
            None => reply,
        }
    }

    pub(crate) fn broker_member_group(&self, request: &Request<'_>) -> Reply {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Members {
            broker_member_group: BrokerMemberGroup,
        }
        let Some(broker) = request.field("brokerName") else { return missing("brokerName") };
        let cluster = request.field("clusterName").unwrap_or_default();
        self.read(|tables| Members { broker_member_group: tables.members(cluster, broker) })
    }

    pub(crate) fn wipe_write_permission(&self, request: &Request<'_>) -> Reply {
        let Some(broker) = request.field("brokerName") else { return missing("brokerName") };
        let count = self.tables.write().change_write_permission(broker, false);
        tracing::info!(broker, count, "write permission wiped");
        Reply::success().with_field("wipeTopicCount", count)
    }

    pub(crate) fn add_write_permission(&self, request: &Request<'_>) -> Reply {
        let Some(broker) = request.field("brokerName") else { return missing("brokerName") };
        let count = self.tables.write().change_write_permission(broker, true);
        tracing::info!(broker, count, "write permission added");
        Reply::success().with_field("addTopicCount", count)
    }
}

fn refused_body(address: &str, error: &PayloadError) -> Reply {
    tracing::warn!(address, "registration refused: {error}");
    Reply::failure(SYSTEM_ERROR, error)
}

fn broker_key(request: &Request<'_>) -> Option<BrokerKey> {
    let cluster = request.field("clusterName")?.to_owned();
    Some(BrokerKey { cluster, address: request.field("brokerAddr")?.to_owned() })
}

/// Reads the header of a registration. Without its names a broker cannot be found again.
fn announced(channel: &Arc<Channel>, request: &Request<'_>) -> Result<Announced, Reply> {
    let fields = &request.header.fields;
    let longest = fields.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
    if longest > NAME_BYTES_MAX {
        let remark = format!("a name or address has {longest} bytes, the limit is {NAME_BYTES_MAX}");
        return Err(Reply::failure(SYSTEM_ERROR, remark));
    }
    let text = |name: &str| request.field(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let required = |name: &str| text(name).ok_or_else(|| missing(name));
    let broker = BrokerKey { cluster: required("clusterName")?, address: required("brokerAddr")? };
    Ok(Announced {
        registration: Registration {
            broker,
            group: required("brokerName")?,
            id: fields.number("brokerId").ok_or_else(|| missing("brokerId"))?,
            ha_address: text("haServerAddr"),
            zone: text(ZONE_NAME),
            heartbeat_timeout_ms: fields.number("heartbeatTimeoutMillis"),
            partial: fields.flag("partial").unwrap_or(false),
            acting_master: fields.flag("enableActingMaster"),
            version: DataVersion::default(),
            topics: Vec::new(),
            mappings: Vec::new(),
            channel: channel.id(),
        },
        compressed: fields.flag("compressed").unwrap_or(false),
        body_crc32: fields.number("bodyCrc32").unwrap_or(0),
        version: request.header.version,
    })
}
