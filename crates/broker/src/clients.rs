//! Who is connected: producer and consumer groups with their members, as heartbeats tell (broker.md §13).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use remoting::Channel;
use wire::body::{ConsumerData, SubscriptionData};
use wire::code::request;
use wire::header::Language;

use crate::filter::TagFilter;

/// Consume type of a consumer that is given its messages, by a client that asks for them all the time.
const PUSHED: &str = "CONSUME_PASSIVELY";
/// Consume type of a consumer that asks for messages itself.
pub(crate) const PULLED: &str = "CONSUME_ACTIVELY";

/// One connection of a client in a group.
#[derive(Debug, Clone)]
pub struct Member {
    /// The connection.
    pub channel: Arc<Channel>,
    /// Id of the client instance.
    pub client_id: String,
    /// Its language.
    pub language: Language,
    /// Its version number.
    pub version: i32,
    /// Unix milliseconds of its last heartbeat.
    pub last_heartbeat_ms: i64,
}

/// A subscription as members have sent it, ready for use.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// As it came.
    pub data: SubscriptionData,
    /// Its tags, hashed.
    pub filter: Arc<TagFilter>,
}

/// A consumer group that has members.
#[derive(Debug, Clone, Default)]
pub struct ConsumerGroup {
    /// `CONSUME_ACTIVELY`, `CONSUME_PASSIVELY` or `CONSUME_POP`, of the latest heartbeat.
    pub consume_type: String,
    /// `CLUSTERING` or `BROADCASTING`, likewise.
    pub message_model: String,
    /// Where a new group starts, likewise.
    pub consume_from_where: String,
    /// Members by connection.
    pub members: HashMap<u64, Member>,
    /// Subscriptions by topic.
    pub subscriptions: BTreeMap<String, Subscription>,
    fingerprint: Option<i32>,
}

impl ConsumerGroup {
    /// Whether every member gets every message.
    pub fn is_broadcast(&self) -> bool {
        self.message_model == "BROADCASTING"
    }

    /// Whether its clients ask for messages by themselves and hand them to a listener.
    pub fn is_pushed(&self) -> bool {
        self.consume_type == PUSHED
    }
}

/// All groups that have members.
#[derive(Debug, Default)]
pub struct Clients {
    consumers: RwLock<HashMap<String, ConsumerGroup>>,
    producers: RwLock<HashMap<String, HashMap<u64, Member>>>,
    /// Connections of producers by client id, for replies.
    producer_channels: RwLock<HashMap<String, Arc<Channel>>>,
}

/// What a heartbeat did to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// Members or subscriptions are other ones now; the members should hear of it.
    pub changed: bool,
    /// Second heartbeat version: the fingerprint differs from the one before.
    pub subscription_changed: bool,
}

impl Clients {
    /// Enters or refreshes a consumer (broker.md §13.1). With `light` the subscriptions stay as they are.
    pub fn register_consumer(
        &self,
        member: Member,
        data: &ConsumerData,
        fingerprint: i32,
        light: bool,
    ) -> Registered {
        let mut groups = self.consumers.write();
        let group = groups.entry(data.group_name.clone()).or_default();
        group.consume_type.clone_from(&data.consume_type);
        group.message_model.clone_from(&data.message_model);
        group.consume_from_where.clone_from(&data.consume_from_where);
        let mut changed = group.members.insert(member.channel.id(), member).is_none();
        let before = group.fingerprint.replace(fingerprint);
        let subscription_changed = before.is_some_and(|before| before != fingerprint);
        if !light {
            changed |= update_subscriptions(&mut group.subscriptions, &data.subscription_data_set);
        }
        Registered { changed, subscription_changed }
    }

    /// Enters or refreshes a producer.
    pub fn register_producer(&self, group: &str, member: Member) {
        self.note_producer(&member);
        let mut groups = self.producers.write();
        let id = member.channel.id();
        match groups.get_mut(group) {
            Some(members) => drop(members.insert(id, member)),
            None => drop(groups.insert(group.to_owned(), HashMap::from([(id, member)]))),
        }
    }

    fn note_producer(&self, member: &Member) {
        let id = member.channel.id();
        if self.producer_channels.read().get(&member.client_id).is_some_and(|known| known.id() == id) {
            return;
        }
        self.producer_channels.write().insert(member.client_id.clone(), Arc::clone(&member.channel));
    }

    /// The latest connection of a producer with this client id.
    pub fn producer_channel(&self, client_id: &str) -> Option<Arc<Channel>> {
        self.producer_channels.read().get(client_id).map(Arc::clone)
    }

    /// Removes a connection from one consumer group; true when it was a member.
    pub fn unregister_consumer(&self, group: &str, channel: u64) -> bool {
        let mut groups = self.consumers.write();
        let Some(members) = groups.get_mut(group) else { return false };
        let removed = members.members.remove(&channel).is_some();
        if members.members.is_empty() {
            groups.remove(group);
        }
        removed
    }

    /// Removes a connection from one producer group.
    pub fn unregister_producer(&self, group: &str, channel: u64) {
        let mut groups = self.producers.write();
        if let Some(members) = groups.get_mut(group) {
            members.remove(&channel);
            if members.is_empty() {
                groups.remove(group);
            }
        }
    }

    /// Removes a connection everywhere; returns the consumer groups that lost a member.
    pub fn channel_closed(&self, channel: u64) -> Vec<String> {
        self.producer_channels.write().retain(|_, known| known.id() != channel);
        self.producers.write().retain(|_, members| {
            members.remove(&channel);
            !members.is_empty()
        });
        let mut left = Vec::new();
        self.consumers.write().retain(|name, group| {
            if group.members.remove(&channel).is_some() {
                left.push(name.clone());
            }
            !group.members.is_empty()
        });
        left
    }

    /// Connections whose client has been silent for longer than `limit`.
    pub fn silent(&self, now_ms: i64, limit: Duration) -> Vec<Arc<Channel>> {
        let oldest = now_ms - limit.as_millis() as i64;
        let expired = |member: &&Member| member.last_heartbeat_ms < oldest;
        let consumers = self.consumers.read();
        let producers = self.producers.read();
        let members = consumers.values().flat_map(|group| group.members.values());
        let members = members.chain(producers.values().flat_map(|members| members.values()));
        members.filter(expired).map(|member| Arc::clone(&member.channel)).collect()
    }

    /// Whether anybody is registered.
    pub fn is_empty(&self) -> bool {
        self.consumers.read().is_empty() && self.producers.read().is_empty()
    }

    /// A copy of a consumer group.
    pub fn consumer_group(&self, name: &str) -> Option<ConsumerGroup> {
        self.consumers.read().get(name).cloned()
    }

    /// Looks at a consumer group without copying it.
    pub fn with_consumer_group<T>(&self, name: &str, look: impl FnOnce(Option<&ConsumerGroup>) -> T) -> T {
        look(self.consumers.read().get(name))
    }

    /// Consumer groups whose members subscribe to a topic.
    pub fn groups_subscribed(&self, topic: &str) -> Vec<String> {
        let groups = self.consumers.read();
        let subscribed = |group: &&ConsumerGroup| group.subscriptions.contains_key(topic);
        groups.iter().filter(|(_, group)| subscribed(group)).map(|(name, _)| name.clone()).collect()
    }

    /// Ids of the members of a consumer group, sorted, one for each connection.
    pub fn consumer_ids(&self, group: &str) -> Vec<String> {
        let groups = self.consumers.read();
        let mut ids: Vec<_> = groups
            .get(group)
            .map(|group| group.members.values().map(|member| member.client_id.clone()).collect())
            .unwrap_or_default();
        ids.sort();
        ids
    }

    /// The connection of a consumer.
    pub fn find_consumer(&self, group: &str, client_id: &str) -> Option<Member> {
        let groups = self.consumers.read();
        groups.get(group)?.members.values().find(|member| member.client_id == client_id).cloned()
    }

    /// Members of a producer group.
    pub fn producers(&self, group: &str) -> Vec<Member> {
        self.producers
            .read()
            .get(group)
            .map(|members| members.values().cloned().collect())
            .unwrap_or_default()
    }

    /// All producers by group.
    pub fn all_producers(&self) -> BTreeMap<String, Vec<Member>> {
        let groups = self.producers.read();
        groups.iter().map(|(name, members)| (name.clone(), members.values().cloned().collect())).collect()
    }

    /// Tells the members of a group that it has changed (broker.md §13.3). Broadcast groups need not know.
    pub fn notify_members(&self, group: &str) {
        let groups = self.consumers.read();
        let Some(members) = groups.get(group).filter(|group| !group.is_broadcast()) else { return };
        for member in members.members.values() {
            member.channel.oneway(request::NOTIFY_CONSUMER_IDS_CHANGED, &[("consumerGroup", group)], &[]);
        }
    }
}

/// The last heartbeat wins (broker.md §13.1, step 4): topics it does not name are gone.
fn update_subscriptions(table: &mut BTreeMap<String, Subscription>, sent: &[SubscriptionData]) -> bool {
    let before = table.len();
    table.retain(|topic, _| sent.iter().any(|data| data.topic == *topic));
    let mut changed = table.len() != before;
    for data in sent {
        let newer = match table.get(&data.topic) {
            Some(old) => data.sub_version > old.data.sub_version,
            None => {
                changed = true;
                true
            }
        };
        if newer {
            let filter = Arc::new(TagFilter::from_subscription(data));
            table.insert(data.topic.clone(), Subscription { data: data.clone(), filter });
        }
    }
    changed
}
