//! Which brokers live and which topics they hold (cluster.md §1.2 to §1.6).
//!
//! Everything is soft state: brokers bring it again within half a minute. Time comes in as `now_ms`, counted from
//! any origin; connections are numbers.
//!
//! Invariant: no socket, no clock, no file. A group has at least one address, a topic at least one holder, and
//! an address stands under at most one id of its group.

mod departure;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use wire::body::{BrokerData, DataVersion, PERM_READ, PERM_WRITE, QueueData, TopicQueueMappingInfo};

pub(crate) use departure::Departure;

/// Silence after which a broker that names no time of its own is gone.
const HEARTBEAT_TIMEOUT_MS: i64 = 120_000;
/// The broker id of a master.
pub(crate) const MASTER_ID: i64 = 0;
/// Most brokers that may be registered at a time.
const BROKERS_MAX: usize = 100_000;
/// Most topics of all brokers.
const TOPICS_MAX: usize = 8_000_000;

/// All that the nameserver knows.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    groups: BTreeMap<Arc<str>, Group>,
    topics: HashMap<Box<str>, Vec<Holder>>,
    live: HashMap<BrokerKey, Live>,
    /// The brokers that registered over a connection; most connections are clients and not in here.
    by_channel: HashMap<u64, Vec<BrokerKey>>,
}

/// The brokers of one name.
#[derive(Debug)]
pub(crate) struct Group {
    pub cluster: String,
    pub addresses: BTreeMap<i64, String>,
    zone: Option<String>,
    acting_master: bool,
}

/// A broker group that holds a topic. The holders of a topic are sorted by name.
#[derive(Debug)]
pub(crate) struct Holder {
    pub broker: Arc<str>,
    pub queues: Queues,
    /// The logical queues that it leads, if the topic is a static one.
    pub mapping: Option<Box<TopicQueueMappingInfo>>,
}

/// What a route says about a topic on one broker group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queues {
    pub read: i32,
    pub write: i32,
    pub perm: i32,
    pub sys_flag: i32,
}

/// One broker process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct BrokerKey {
    pub cluster: String,
    pub address: String,
}

#[derive(Debug)]
struct Live {
    group: Arc<str>,
    last_heard_ms: i64,
    timeout_ms: i64,
    version: DataVersion,
    channel: u64,
    ha_address: Option<String>,
}

impl Live {
    fn expires_ms(&self) -> i64 {
        self.last_heard_ms.saturating_add(self.timeout_ms)
    }
}

/// A topic as a broker registers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicQueues {
    pub name: Box<str>,
    pub queues: Queues,
}

/// What a broker says of itself (103).
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub broker: BrokerKey,
    pub group: String,
    pub id: i64,
    pub ha_address: Option<String>,
    pub zone: Option<String>,
    pub heartbeat_timeout_ms: Option<i64>,
    /// Whoever sends it says that it is a part of its table only.
    pub partial: bool,
    /// Absent from brokers before 5.0, which never act for a master.
    pub acting_master: Option<bool>,
    pub version: DataVersion,
    pub topics: Vec<TopicQueues>,
    /// What of the topics is static. Their absence from the topics says nothing.
    pub mappings: Vec<TopicQueueMappingInfo>,
    pub channel: u64,
}

/// Why a registration, or a topic that is added by hand, is refused. The text is the remark.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Java's guard against a lone topic that would pass for the whole table; brokers know this text.
    #[error("register broker failed")]
    OneTopicFirst,
    #[error("{BROKERS_MAX} brokers are registered, which is the limit of one nameserver")]
    Brokers,
    #[error("the topics of all brokers would be more than {TOPICS_MAX}, the limit of one nameserver")]
    Topics,
    #[error("its broker {0} is not registered")]
    UnknownBroker(String),
}

/// What came of a registration.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Registered {
    /// The live master, for everybody else of its group.
    pub master: Option<Master>,
    /// When the broker is gone unless it is heard of again; `None` for one that was fenced off.
    pub expires_ms: Option<i64>,
    pub min_id_changes: Vec<MinIdChange>,
}

/// Where a slave finds its master.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Master {
    pub address: String,
    pub ha_address: Option<String>,
}

/// The lowest broker id of a group is another one now (905).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MinIdChange {
    pub min_id: i64,
    pub min_address: String,
    pub offline_address: Option<String>,
    pub ha_address: Option<String>,
    /// Who should know.
    pub tell: Vec<String>,
}

impl Tables {
    /// Takes what a broker says of itself. `drop_missing` removes topics of the broker that it does not name.
    pub fn register(
        &mut self,
        mut registration: Registration,
        drop_missing: bool,
        now_ms: i64,
    ) -> Result<Registered, Refused> {
        let said = &mut registration;
        let group = self.groups.get(&*said.group);
        let holder_of_id = group.and_then(|group| group.addresses.get(&said.id)).cloned();
        let min_id_before = group.and_then(|group| group.addresses.keys().next()).copied();
        if holder_of_id.is_none() && said.topics.len() == 1 {
            return Err(Refused::OneTopicFirst);
        }
        self.check_room(said)?;

        let mut registered = Registered::default();
        if self.live.get(&said.broker).is_some_and(|live| *live.group != *said.group) {
            // The process came back under another name before anybody noticed that it was gone.
            registered.min_id_changes = self.leave(&[Departure::Broker(said.broker.clone(), String::new())]);
        }
        // A role change: one address never has two ids.
        if let Some(group) = self.groups.get_mut(&*said.group) {
            group.addresses.retain(|id, address| *id == said.id || *address != said.broker.address);
        }
        if self.is_fenced_off(said, holder_of_id.as_deref()) {
            self.forget(&said.broker);
            return Ok(registered);
        }

        let name = self.join(said);
        let group = &self.groups[&name];
        let is_min = group.addresses.keys().next() == Some(&said.id);
        let is_prime_slave = said.acting_master.is_some() && said.id != MASTER_ID && is_min;
        let acting = is_prime_slave && group.acting_master;
        if said.id == MASTER_ID || is_prime_slave {
            if drop_missing && is_whole(said) && said.mappings.is_empty() {
                self.drop_missing(&name, &said.topics);
            }
            let topics = std::mem::take(&mut said.topics);
            let all = holder_of_id.is_none() || self.version_of(&said.broker) != Some(said.version);
            self.publish(&name, topics, all, acting);
            self.map_queues(&name, std::mem::take(&mut said.mappings), all);
        }
        registered.expires_ms = Some(self.hear_of(said, Arc::clone(&name), now_ms));

        let group = &self.groups[&name];
        if said.id != MASTER_ID {
            registered.master = self.master_of(group, &said.broker.cluster);
        }
        if min_id_before.is_some_and(|before| said.id < before) {
            registered.min_id_changes.push(group.led_by(said));
        }
        Ok(registered)
    }

    /// A broker was heard of; one that never registered stays unknown.
    pub fn touch(&mut self, broker: &BrokerKey, now_ms: i64) {
        if let Some(live) = self.live.get_mut(broker) {
            live.last_heard_ms = now_ms;
        }
    }

    /// The version of the topics that a broker registered.
    pub fn version_of(&self, broker: &BrokerKey) -> Option<DataVersion> {
        self.live.get(broker).map(|live| live.version)
    }

    /// Gives all topics of a broker group another permission; the number of topics.
    pub fn change_write_permission(&mut self, broker: &str, allowed: bool) -> usize {
        let mut count = 0;
        for holders in self.topics.values_mut() {
            if let Some(holder) = holders.iter_mut().find(|holder| *holder.broker == *broker) {
                let perm = &mut holder.queues.perm;
                *perm = if allowed { PERM_READ | PERM_WRITE } else { *perm & !PERM_WRITE };
                count += 1;
            }
        }
        count
    }

    /// Adds a topic by hand (217), at all of its brokers or at none.
    pub fn add_topic(&mut self, topic: &str, queues: &[QueueData]) -> Result<(), Refused> {
        let mut holders = Vec::with_capacity(queues.len());
        for data in queues {
            let Some((name, _)) = self.groups.get_key_value(&*data.broker_name) else {
                return Err(Refused::UnknownBroker(data.broker_name.clone()));
            };
            let (read, write) = (data.read_queue_nums, data.write_queue_nums);
            let queues = Queues { read, write, perm: data.perm, sys_flag: data.topic_sys_flag };
            holders.push((Arc::clone(name), queues));
        }
        if !self.topics.contains_key(topic) && self.topics.len() >= TOPICS_MAX {
            return Err(Refused::Topics);
        }
        for (name, queues) in holders {
            self.hold(topic.into(), &name, queues);
        }
        Ok(())
    }

    /// Forgets a topic, of one cluster or of all.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(cluster) = cluster else {
            self.topics.remove(topic);
            return;
        };
        if let Some(holders) = self.topics.get_mut(topic) {
            let groups = &self.groups;
            holders.retain(|holder| groups.get(&holder.broker).is_none_or(|group| group.cluster != cluster));
            if holders.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// All broker groups by name.
    pub fn groups(&self) -> &BTreeMap<Arc<str>, Group> {
        &self.groups
    }

    /// The holders of a topic, sorted by name; empty for an unknown topic.
    pub fn holders(&self, topic: &str) -> &[Holder] {
        self.topics.get(topic).map_or(&[], |holders| holders)
    }

    /// All topics with their holders, in no order.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &[Holder])> {
        self.topics.iter().map(|(topic, holders)| (&**topic, &**holders))
    }

    fn check_room(&self, said: &Registration) -> Result<(), Refused> {
        if self.live.len() >= BROKERS_MAX && !self.live.contains_key(&said.broker) {
            return Err(Refused::Brokers);
        }
        if self.topics.len() + said.topics.len() > TOPICS_MAX {
            let new = said.topics.iter().filter(|topic| !self.topics.contains_key(&topic.name)).count();
            if self.topics.len() + new > TOPICS_MAX {
                return Err(Refused::Topics);
            }
        }
        Ok(())
    }

    /// Whether the id belongs to another live broker of a later epoch: the newcomer is a master that was deposed
    /// and does not know it yet.
    fn is_fenced_off(&self, said: &Registration, holder_of_id: Option<&str>) -> bool {
        let Some(address) = holder_of_id.filter(|address| *address != said.broker.address) else {
            return false;
        };
        let holder = BrokerKey { cluster: said.broker.cluster.clone(), address: address.to_owned() };
        let Some(live) = self.live.get(&holder) else { return false };
        let (theirs, ours) = (live.version.state_version, said.version.state_version);
        if theirs > ours {
            tracing::warn!(
                broker = %said.group, id = said.id, newcomer = %said.broker.address, holder = address,
                "registration ignored: the holder's epoch {theirs} is later than {ours}"
            );
        }
        theirs > ours
    }

    /// Puts the address into its group. Returns the group's name.
    fn join(&mut self, said: &Registration) -> Arc<str> {
        let known = self.groups.get_key_value(&*said.group).map(|(name, _)| Arc::clone(name));
        let name = known.unwrap_or_else(|| Arc::from(&*said.group));
        let group = self.groups.entry(Arc::clone(&name)).or_insert_with(|| Group {
            cluster: said.broker.cluster.clone(),
            addresses: BTreeMap::new(),
            zone: None,
            acting_master: false,
        });
        if group.cluster != said.broker.cluster {
            tracing::warn!(
                broker = %name, cluster = %group.cluster, address = %said.broker.address,
                "a broker of this name belongs to cluster {} as well; rename one of them", said.broker.cluster
            );
        }
        group.acting_master = said.acting_master.unwrap_or(false);
        group.zone.clone_from(&said.zone);
        group.addresses.insert(said.id, said.broker.address.clone());
        name
    }

    fn publish(&mut self, broker: &Arc<str>, topics: Vec<TopicQueues>, all: bool, acting: bool) {
        for TopicQueues { name, mut queues } in topics {
            if !all && self.holders(&name).iter().any(|holder| holder.broker == *broker) {
                continue;
            }
            if acting {
                // A slave that stands in for its master serves readers only.
                queues.perm &= !PERM_WRITE;
            }
            self.hold(name, broker, queues);
        }
    }

    /// Notes which logical queues of static topics a broker leads. Who else leads one by an earlier epoch is for
    /// clients to see: only the broker itself takes back what it has said. Unless they are to be `all` new, those that
    /// are known stay.
    fn map_queues(&mut self, broker: &Arc<str>, mappings: Vec<TopicQueueMappingInfo>, all: bool) {
        for mapping in mappings {
            let mut holders = self.topics.get_mut(&*mapping.topic).into_iter().flatten();
            let holder = holders.find(|holder| holder.broker == *broker);
            match holder.filter(|_| mapping.bname == **broker) {
                Some(holder) if all || holder.mapping.is_none() => holder.mapping = Some(Box::new(mapping)),
                Some(_) => {}
                None => tracing::warn!(
                    %broker, topic = mapping.topic, bname = mapping.bname,
                    "logical queues left out: the broker does not hold the topic, or speaks for another"
                ),
            }
        }
    }

    fn hold(&mut self, topic: Box<str>, broker: &Arc<str>, queues: Queues) {
        let holders = self.topics.entry(topic).or_default();
        match holders.binary_search_by(|holder| holder.broker.cmp(broker)) {
            Ok(at) => holders[at].queues = queues,
            Err(at) => {
                holders.reserve_exact(1);
                holders.insert(at, Holder { broker: Arc::clone(broker), queues, mapping: None });
            }
        }
    }

    fn drop_missing(&mut self, broker: &Arc<str>, named: &[TopicQueues]) {
        let named: HashSet<&str> = named.iter().map(|topic| &*topic.name).collect();
        self.topics.retain(|topic, holders| {
            if !named.contains(&**topic) {
                holders.retain(|holder| holder.broker != *broker);
            }
            !holders.is_empty()
        });
    }

    fn hear_of(&mut self, said: &mut Registration, group: Arc<str>, now_ms: i64) -> i64 {
        let live = Live {
            group,
            last_heard_ms: now_ms,
            timeout_ms: said.heartbeat_timeout_ms.filter(|ms| *ms > 0).unwrap_or(HEARTBEAT_TIMEOUT_MS),
            version: said.version,
            channel: said.channel,
            ha_address: said.ha_address.clone(),
        };
        let expires_ms = live.expires_ms();
        if self.forget(&said.broker).is_none() {
            tracing::info!(
                broker = %live.group, id = said.id, address = %said.broker.address, cluster = %said.broker.cluster,
                "broker registered"
            );
        }
        self.by_channel.entry(said.channel).or_default().push(said.broker.clone());
        self.live.insert(said.broker.clone(), live);
        expires_ms
    }

    fn master_of(&self, group: &Group, cluster: &str) -> Option<Master> {
        let address = group.addresses.get(&MASTER_ID)?;
        let key = BrokerKey { cluster: cluster.to_owned(), address: address.clone() };
        let live = self.live.get(&key)?;
        Some(Master { address: key.address, ha_address: live.ha_address.clone() })
    }
}

/// Brokers also send new topics alone, and those of ours say so, as well as of a table in parts. A whole table has the
/// topic named after the broker, which every broker makes at its start; upstream drops all other topics when a new one
/// is announced.
fn is_whole(registration: &Registration) -> bool {
    !registration.partial && registration.topics.iter().any(|topic| *topic.name == *registration.group)
}

impl Group {
    /// What the others are told when a broker with the lowest id has joined them; one that is alone is told itself.
    fn led_by(&self, newcomer: &Registration) -> MinIdChange {
        let alone = self.addresses.len() == 1;
        let others = self.addresses.iter().filter(|(id, _)| alone || **id != newcomer.id);
        MinIdChange {
            min_id: newcomer.id,
            min_address: newcomer.broker.address.clone(),
            offline_address: None,
            ha_address: newcomer.ha_address.clone(),
            tell: others.map(|(_, address)| address.clone()).collect(),
        }
    }

    /// As clients see it.
    pub fn broker_data(&self, name: &str) -> BrokerData {
        BrokerData {
            broker_addrs: self.addresses.clone(),
            broker_name: name.to_owned(),
            cluster: self.cluster.clone(),
            enable_acting_master: self.acting_master,
            zone_name: self.zone.clone(),
        }
    }
}

impl Holder {
    /// As clients see it.
    pub fn queue_data(&self) -> QueueData {
        QueueData {
            broker_name: self.broker.to_string(),
            perm: self.queues.perm,
            read_queue_nums: self.queues.read,
            topic_sys_flag: self.queues.sys_flag,
            write_queue_nums: self.queues.write,
        }
    }
}

#[cfg(test)]
mod tests;
