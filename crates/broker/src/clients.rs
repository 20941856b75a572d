//! Who is connected: producer and consumer groups with their members, as heartbeats tell (broker.md §13).

use std::collections::{BTreeMap, HashMap, HashSet};
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
    /// The same moment on a clock that nobody sets: it decides who is silent.
    pub heard: Duration,
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
    tables: RwLock<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    consumers: HashMap<String, ConsumerGroup>,
    producers: HashMap<String, HashMap<u64, Member>>,
    /// Connections of producers by client id, for replies.
    producer_channels: HashMap<String, Arc<Channel>>,
    /// Where each connection stands in the tables above: one that closes costs what it has there, and not a look at
    /// all that others have. Thousands may close at once.
    seats: HashMap<u64, HashSet<Seat>>,
}

/// A place of one connection.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Seat {
    /// Member of this consumer group.
    Consumer(Box<str>),
    /// Member of this producer group.
    Producer(Box<str>),
    /// Gets the replies for this client id.
    Replies(Box<str>),
}

/// What a heartbeat did to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// Members or subscriptions are other ones now; the members should hear of it.
    pub changed: bool,
    /// Second heartbeat version: the client must send its subscriptions, because the fingerprint differs from the one
    /// before, or because the group has none.
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
        let tables = &mut *self.tables.write();
        let group = tables.consumers.entry(data.group_name.clone()).or_default();
        group.consume_type.clone_from(&data.consume_type);
        group.message_model.clone_from(&data.message_model);
        group.consume_from_where.clone_from(&data.consume_from_where);
        let channel = member.channel.id();
        let mut changed = group.members.insert(channel, member).is_none();
        if changed {
            let seat = Seat::Consumer(data.group_name.as_str().into());
            tables.seats.entry(channel).or_default().insert(seat);
        }
        let before = group.fingerprint.replace(fingerprint);
        // Who connects anew does not know that the group has left with its last connection, and its subscriptions too.
        let unknown = light && group.subscriptions.is_empty();
        let subscription_changed = unknown || before.is_some_and(|before| before != fingerprint);
        if !light {
            changed |= update_subscriptions(&mut group.subscriptions, &data.subscription_data_set);
        }
        Registered { changed, subscription_changed }
    }

    /// Enters or refreshes a producer.
    pub fn register_producer(&self, group: &str, member: Member) {
        let tables = &mut *self.tables.write();
        tables.note_producer(&member);
        let channel = member.channel.id();
        let members = match tables.producers.get_mut(group) {
            Some(members) => members,
            None => tables.producers.entry(group.to_owned()).or_default(),
        };
        if members.insert(channel, member).is_none() {
            tables.seats.entry(channel).or_default().insert(Seat::Producer(group.into()));
        }
    }

    /// The latest connection of a producer with this client id.
    pub fn producer_channel(&self, client_id: &str) -> Option<Arc<Channel>> {
        self.tables.read().producer_channels.get(client_id).map(Arc::clone)
    }

    /// Removes a connection from one consumer group; true when it was a member.
    pub fn unregister_consumer(&self, group: &str, channel: u64) -> bool {
        let mut tables = self.tables.write();
        tables.leave(channel, &Seat::Consumer(group.into()));
        tables.remove_consumer(group, channel)
    }

    /// Removes a connection from one producer group.
    pub fn unregister_producer(&self, group: &str, channel: u64) {
        let mut tables = self.tables.write();
        tables.leave(channel, &Seat::Producer(group.into()));
        tables.remove_producer(group, channel);
    }

    /// Removes a connection everywhere; returns the consumer groups that lost a member.
    pub fn channel_closed(&self, channel: u64) -> Vec<String> {
        let mut tables = self.tables.write();
        let mut left = Vec::new();
        for seat in tables.seats.remove(&channel).unwrap_or_default() {
            match seat {
                Seat::Consumer(group) => {
                    tables.remove_consumer(&group, channel);
                    left.push(group.into());
                }
                Seat::Producer(group) => tables.remove_producer(&group, channel),
                Seat::Replies(client_id) => drop(tables.producer_channels.remove(&*client_id)),
            }
        }
        left
    }

    /// Connections whose client has been silent for longer than `limit`; `now` is on the clock that nobody sets.
    pub fn silent(&self, now: Duration, limit: Duration) -> Vec<Arc<Channel>> {
        let expired = |member: &&Member| now.saturating_sub(member.heard) > limit;
        let tables = self.tables.read();
        let members = tables.consumers.values().flat_map(|group| group.members.values());
        let members = members.chain(tables.producers.values().flat_map(|members| members.values()));
        members.filter(expired).map(|member| Arc::clone(&member.channel)).collect()
    }

    /// Whether anybody is registered.
    pub fn is_empty(&self) -> bool {
        let tables = self.tables.read();
        tables.consumers.is_empty() && tables.producers.is_empty()
    }

    /// A copy of a consumer group.
    pub fn consumer_group(&self, name: &str) -> Option<ConsumerGroup> {
        self.tables.read().consumers.get(name).cloned()
    }

    /// Looks at a consumer group without copying it.
    pub fn with_consumer_group<T>(&self, name: &str, look: impl FnOnce(Option<&ConsumerGroup>) -> T) -> T {
        look(self.tables.read().consumers.get(name))
    }

    /// Consumer groups whose members subscribe to a topic.
    pub fn groups_subscribed(&self, topic: &str) -> Vec<String> {
        let groups = &self.tables.read().consumers;
        let subscribed = |group: &&ConsumerGroup| group.subscriptions.contains_key(topic);
        groups.iter().filter(|(_, group)| subscribed(group)).map(|(name, _)| name.clone()).collect()
    }

    /// Ids of the members of a consumer group, sorted, one for each connection.
    pub fn consumer_ids(&self, group: &str) -> Vec<String> {
        let tables = self.tables.read();
        let group = tables.consumers.get(group);
        let mut ids: Vec<_> = group
            .map(|group| group.members.values().map(|member| member.client_id.clone()).collect())
            .unwrap_or_default();
        ids.sort();
        ids
    }

    /// The connection of a consumer.
    pub fn find_consumer(&self, group: &str, client_id: &str) -> Option<Member> {
        let tables = self.tables.read();
        tables.consumers.get(group)?.members.values().find(|member| member.client_id == client_id).cloned()
    }

    /// Members of a producer group.
    pub fn producers(&self, group: &str) -> Vec<Member> {
        let tables = self.tables.read();
        let members = tables.producers.get(group);
        members.map(|members| members.values().cloned().collect()).unwrap_or_default()
    }

    /// All producers by group.
    pub fn all_producers(&self) -> BTreeMap<String, Vec<Member>> {
        let groups = &self.tables.read().producers;
        groups.iter().map(|(name, members)| (name.clone(), members.values().cloned().collect())).collect()
    }

    /// Tells the members of a group that it has changed (broker.md §13.3). Broadcast groups need not know.
    pub fn notify_members(&self, group: &str) {
        let tables = self.tables.read();
        let Some(members) = tables.consumers.get(group).filter(|group| !group.is_broadcast()) else { return };
        for member in members.members.values() {
            member.channel.oneway(request::NOTIFY_CONSUMER_IDS_CHANGED, &[("consumerGroup", group)], &[]);
        }
    }
}

impl Tables {
    fn note_producer(&mut self, member: &Member) {
        let channel = member.channel.id();
        let known = self.producer_channels.get_mut(&member.client_id);
        let seat = || Seat::Replies(member.client_id.as_str().into());
        match known {
            Some(known) if known.id() == channel => return,
            Some(known) => {
                let before = std::mem::replace(known, Arc::clone(&member.channel));
                self.leave(before.id(), &seat());
            }
            None => {
                drop(self.producer_channels.insert(member.client_id.clone(), Arc::clone(&member.channel)))
            }
        }
        self.seats.entry(channel).or_default().insert(seat());
    }

    fn leave(&mut self, channel: u64, seat: &Seat) {
        if let Some(seats) = self.seats.get_mut(&channel) {
            seats.remove(seat);
            if seats.is_empty() {
                self.seats.remove(&channel);
            }
        }
    }

    /// True when it was a member.
    fn remove_consumer(&mut self, group: &str, channel: u64) -> bool {
        let Some(left) = self.consumers.get_mut(group) else { return false };
        let removed = left.members.remove(&channel).is_some();
        if left.members.is_empty() {
            self.consumers.remove(group);
        }
        removed
    }

    fn remove_producer(&mut self, group: &str, channel: u64) {
        if let Some(members) = self.producers.get_mut(group) {
            members.remove(&channel);
            if members.is_empty() {
                self.producers.remove(group);
            }
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use parking_lot::Mutex;
    use remoting::{Client, Limits, Server, Service, Turn};

    use super::*;

    /// Keeps the server's side of each connection, in the order in which they first ask.
    #[derive(Default)]
    struct Seen(Mutex<Vec<Arc<Channel>>>);

    impl Service for Seen {
        fn serve(&self, channel: &Arc<Channel>, turn: &mut Turn<'_>) {
            self.0.lock().push(Arc::clone(channel));
            while let Some(request) = turn.next_request() {
                request.reply_to().write(turn.out, 0, None);
            }
        }

        fn closed(&self, _: &Arc<Channel>) {}
    }

    /// Connections, as a broker has them; they last as long as the server.
    async fn connections(count: usize) -> (Server, Vec<Arc<Channel>>) {
        let seen = Arc::new(Seen::default());
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start(here, Limits::default(), Arc::<Seen>::clone(&seen)).unwrap();
        for _ in 0..count {
            let client = Client::new(Limits::default(), Arc::new(Seen::default()));
            let address = server.address().to_string();
            client.call(&address, 1, &[], &[], Duration::from_secs(20)).await.unwrap();
        }
        let channels = seen.0.lock().clone();
        (server, channels)
    }

    fn member(channel: &Arc<Channel>, client_id: &str) -> Member {
        Member {
            channel: Arc::clone(channel),
            client_id: client_id.to_owned(),
            language: Language::JAVA,
            version: 0,
            last_heartbeat_ms: 0,
            heard: Duration::ZERO,
        }
    }

    fn join(clients: &Clients, channel: &Arc<Channel>, group: &str) {
        let data = ConsumerData { group_name: group.to_owned(), ..ConsumerData::default() };
        clients.register_consumer(member(channel, "c"), &data, 0, false);
    }

    /// Seats of all connections; each stands for something in another table.
    fn seats(clients: &Clients) -> usize {
        let tables = clients.tables.read();
        let seats = tables.seats.values().map(HashSet::len).sum();
        let consumers: usize = tables.consumers.values().map(|group| group.members.len()).sum();
        let producers: usize = tables.producers.values().map(HashMap::len).sum();
        assert_eq!(seats, consumers + producers + tables.producer_channels.len(), "{tables:?}");
        assert!(tables.seats.values().all(|seats| !seats.is_empty()), "{tables:?}");
        seats
    }

    #[tokio::test]
    async fn a_connection_that_closes_leaves_its_own_places_and_no_others() {
        let (_server, channels) = connections(2).await;
        let [one, two] = &channels[..] else { panic!("{} connections", channels.len()) };
        let clients = Clients::default();
        for group in ["a", "b", "b"] {
            join(&clients, one, group);
        }
        join(&clients, two, "b");
        for (channel, client_id) in [(one, "p"), (two, "q")] {
            clients.register_producer("senders", member(channel, client_id));
        }
        assert_eq!(seats(&clients), 7);
        let mut left = clients.channel_closed(one.id());
        left.sort();
        assert_eq!(left, ["a", "b"]);
        assert_eq!(seats(&clients), 3);
        assert!(clients.consumer_group("a").is_none() && clients.producer_channel("p").is_none());
        assert_eq!((clients.consumer_ids("b").len(), clients.producers("senders").len()), (1, 1));
        assert_eq!(clients.channel_closed(one.id()), [""; 0], "once is enough");
        assert_eq!(clients.channel_closed(two.id()), ["b"]);
        assert!(clients.is_empty() && seats(&clients) == 0);
    }

    #[tokio::test]
    async fn who_has_left_a_group_is_not_missed_there_when_its_connection_closes() {
        let (_server, channels) = connections(1).await;
        let clients = Clients::default();
        let channel = &channels[0];
        join(&clients, channel, "a");
        join(&clients, channel, "b");
        clients.register_producer("senders", member(channel, "p"));
        assert!(clients.unregister_consumer("a", channel.id()));
        assert!(!clients.unregister_consumer("a", channel.id()) && !clients.unregister_consumer("x", 7));
        clients.unregister_producer("senders", channel.id());
        assert_eq!(seats(&clients), 2, "the other group, and replies");
        assert_eq!(clients.channel_closed(channel.id()), ["b"]);
        assert_eq!(seats(&clients), 0);
    }

    #[tokio::test]
    async fn a_producer_that_connects_anew_gets_its_replies_there_also_when_the_old_connection_closes() {
        let (_server, channels) = connections(2).await;
        let [old, new] = &channels[..] else { panic!("{} connections", channels.len()) };
        let clients = Clients::default();
        for channel in [old, new, new] {
            clients.register_producer("senders", member(channel, "p"));
        }
        assert_eq!(seats(&clients), 3);
        clients.channel_closed(old.id());
        assert_eq!(clients.producer_channel("p").map(|channel| channel.id()), Some(new.id()));
        clients.channel_closed(new.id());
        assert!(clients.producer_channel("p").is_none() && seats(&clients) == 0);
    }
}
