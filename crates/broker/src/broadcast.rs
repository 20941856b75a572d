//! How far each member of a broadcast group has come, for members that move between the broker and a proxy
//! (broker.md §11.6).
//!
//! A member keeps its own offsets as long as it stays on one side, and is asked to move only when it comes from the
//! other, or begins through a proxy without any offset. What all live members have read is committed as the offset
//! of `<group>@broadcast`, where those begin that nothing is known of. Memory only: a restart forgets who had come
//! how far and keeps the committed offsets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::Broker;
use crate::exchange::Exchange;

/// `requestSource` of a pull that a proxy makes for a member of a broadcast group.
const PROXY_FOR_BROADCAST: i32 = 1;
/// How often offsets are committed while there are members.
const COMMIT_PERIOD: Duration = Duration::from_secs(5);
/// Most members whose offsets are kept at a time. Further ones go by the offsets that they ask for.
const MEMBERS_MAX: usize = 100_000;

/// A member of a broadcast group, as one of its pulls shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reader {
    pub client_id: String,
    /// Whether a proxy pulls for it.
    pub from_proxy: bool,
}

/// One queue, as one group reads it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub topic: &'a str,
    pub group: &'a str,
    pub queue: i32,
}

/// Where a pull begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Where it asks to.
    AsAsked,
    /// Where its reader has come to on the other side.
    At(i64),
    /// Where the group is: nothing is known of its reader in this queue.
    OfGroup,
}

/// How long members are remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Without a pull and without a connection.
    pub offline: Duration,
    /// Without a pull, yet connected.
    pub online: Duration,
}

#[derive(Debug)]
struct Progress {
    /// When it pulled last, by a clock that nobody sets.
    seen: Duration,
    from_proxy: bool,
    queues: BTreeMap<i32, i64>,
}

/// Members of one group on one topic, by client id.
type Members = HashMap<String, Progress>;

#[derive(Debug, Default)]
struct Table {
    /// By group and topic.
    groups: HashMap<String, HashMap<String, Members>>,
    member_count: usize,
}

/// The offsets of all members of all broadcast groups.
#[derive(Debug, Default)]
pub(crate) struct BroadcastOffsets {
    table: Mutex<Table>,
    /// Tells who commits that there is somebody.
    pub occupied: Notify,
}

/// Name under which the common offset of a broadcast group is kept.
pub(crate) fn committed_group(group: &str) -> String {
    format!("{group}@broadcast")
}

impl BroadcastOffsets {
    /// Where a pull that asks for `asked` begins.
    pub fn start(&self, place: Place<'_>, reader: &Reader, asked: i64) -> Start {
        let table = self.table.lock();
        let members = table.groups.get(place.group).and_then(|topics| topics.get(place.topic));
        let Some(known) = members.and_then(|members| members.get(&reader.client_id)) else {
            return if reader.from_proxy && asked < 0 { Start::OfGroup } else { Start::AsAsked };
        };
        if known.from_proxy == reader.from_proxy && !(known.from_proxy && asked < 0) {
            return Start::AsAsked;
        }
        known.queues.get(&place.queue).map_or(Start::OfGroup, |offset| Start::At(*offset))
    }

    /// Notes that a reader has everything below an offset. It never goes back.
    pub fn note(&self, place: Place<'_>, reader: &Reader, offset: i64, now: Duration) {
        let mut table = self.table.lock();
        let Table { groups, member_count } = &mut *table;
        let members = match groups.get_mut(place.group).and_then(|topics| topics.get_mut(place.topic)) {
            Some(members) => members,
            None if *member_count >= MEMBERS_MAX => return,
            None => {
                let topics = groups.entry(place.group.to_owned()).or_default();
                topics.entry(place.topic.to_owned()).or_default()
            }
        };
        if !members.contains_key(&reader.client_id) {
            if *member_count >= MEMBERS_MAX {
                return;
            }
            *member_count += 1;
            if *member_count == 1 {
                self.occupied.notify_one();
            }
        }
        let fresh = || Progress { seen: now, from_proxy: reader.from_proxy, queues: BTreeMap::new() };
        let progress = members.entry(reader.client_id.clone()).or_insert_with(fresh);
        progress.seen = now;
        progress.from_proxy = reader.from_proxy;
        if offset >= 0 {
            let known = progress.queues.entry(place.queue).or_insert(offset);
            *known = offset.max(*known);
        }
    }

    /// Has `keep` take what all live members have read, and forgets members that are gone, and topics. `online` gives
    /// the client ids of a group that are connected, and `exists` tells whether there is a topic.
    ///
    /// Who forgets a topic or a group waits for that, and so can forget what was kept afterwards.
    pub fn commit(
        &self,
        now: Duration,
        patience: Patience,
        online: impl Fn(&str) -> HashSet<String>,
        exists: impl Fn(&str) -> bool,
        mut keep: impl FnMut(Place<'_>, i64),
    ) {
        let mut table = self.table.lock();
        for (group, topics) in &mut table.groups {
            let connected = online(group);
            // Who still read its queues when it was deleted may have noted where it was.
            topics.retain(|topic, _| exists(topic));
            for (topic, members) in topics.iter_mut() {
                let mut queues: BTreeMap<i32, i64> = BTreeMap::new();
                members.retain(|client_id, progress| {
                    let silent = now.saturating_sub(progress.seen);
                    let is_online = connected.contains(client_id);
                    if is_online || silent < patience.offline {
                        for (queue, offset) in &progress.queues {
                            let least = queues.entry(*queue).or_insert(*offset);
                            *least = (*least).min(*offset);
                        }
                    }
                    silent < if is_online { patience.online } else { patience.offline }
                });
                for (queue, offset) in queues {
                    keep(Place { topic, group, queue }, offset);
                }
            }
        }
        table.tidy();
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.table.lock().member_count == 0
    }

    /// Forgets a group.
    pub fn remove_group(&self, group: &str) {
        let mut table = self.table.lock();
        table.groups.remove(group);
        table.tidy();
    }

    /// Forgets a topic.
    pub fn remove_topic(&self, topic: &str) {
        let mut table = self.table.lock();
        for topics in table.groups.values_mut() {
            topics.remove(topic);
        }
        table.tidy();
    }
}

impl Table {
    /// Drops what is empty and counts the rest.
    fn tidy(&mut self) {
        self.groups.retain(|_, topics| {
            topics.retain(|_, members| !members.is_empty());
            !topics.is_empty()
        });
        self.member_count = self.groups.values().flat_map(HashMap::values).map(HashMap::len).sum();
    }
}

impl Broker {
    /// Who pulls, if it is a member of a broadcast group whose offsets are kept here.
    pub(crate) fn broadcast_reader(&self, exchange: &Exchange<'_, '_>, group: &str) -> Option<Reader> {
        if !self.settings.load().enable_broadcast_offset_store {
            return None;
        }
        if exchange.number_or("requestSource", -1) == PROXY_FOR_BROADCAST {
            // The name is misspelt in every proxy.
            let client_id = exchange.request.field("proxyFrowardClientId").filter(|id| !id.is_empty())?;
            return Some(Reader { client_id: client_id.to_owned(), from_proxy: true });
        }
        self.clients.with_consumer_group(group, |group| {
            let group = group?;
            if !group.is_broadcast() || !group.is_pushed() {
                return None;
            }
            let member = group.members.get(&exchange.channel.id())?;
            Some(Reader { client_id: member.client_id.clone(), from_proxy: false })
        })
    }

    /// Where a reader that pulls at `asked` has to go first; `None` lets it read there.
    pub(crate) fn broadcast_start(&self, place: Place<'_>, reader: &Reader, asked: i64) -> Option<i64> {
        match self.broadcast.start(place, reader, asked) {
            Start::AsAsked => None,
            Start::At(offset) => Some(offset),
            Start::OfGroup => Some(self.broadcast_group_offset(place)),
        }
    }

    /// Where a member begins that nothing is known of: where the group is, or at the first message of a young queue,
    /// or at the end.
    fn broadcast_group_offset(&self, place: Place<'_>) -> i64 {
        let Place { topic, group, queue } = place;
        if let Some(offset) = self.offsets.get(&committed_group(group), topic, queue) {
            return offset;
        }
        if self.begins_young(topic, queue) {
            return 0;
        }
        let queue = u32::try_from(queue).ok().and_then(|id| self.store.find_queue(topic, id));
        queue.map_or(0, |queue| queue.max_offset() as i64)
    }

    /// Commits what all live members of broadcast groups have read.
    pub(crate) fn commit_broadcast_offsets(&self) {
        let settings = self.settings.load();
        let patience = Patience {
            offline: settings.broadcast_offset_expire_second,
            online: settings.broadcast_offset_expire_max_second,
        };
        let online = |group: &str| self.clients.consumer_ids(group).into_iter().collect();
        let step = settings.consumer_offset_update_version_step;
        let exists = |topic: &str| self.topics.get(topic).is_some();
        self.broadcast.commit(self.clock.monotonic(), patience, online, exists, |place, offset| {
            let Place { topic, group, queue } = place;
            self.offsets.commit(&committed_group(group), topic, queue, offset, step, self.now_ms());
        });
    }

    /// Does that again and again while there are members.
    pub(crate) async fn run_broadcast_commits(&self) {
        loop {
            if self.broadcast.is_empty() {
                self.broadcast.occupied.notified().await;
            }
            tokio::time::sleep(COMMIT_PERIOD).await;
            self.commit_broadcast_offsets();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const PATIENCE: Patience =
        Patience { offline: Duration::from_secs(120), online: Duration::from_secs(300) };
    const PLACE: Place<'_> = Place { topic: "Orders", group: "screens", queue: 0 };

    fn reader(client_id: &str, from_proxy: bool) -> Reader {
        Reader { client_id: client_id.to_owned(), from_proxy }
    }

    #[test]
    fn only_who_changes_sides_or_has_nothing_is_moved() {
        let offsets = BroadcastOffsets::default();
        let (direct, proxied) = (reader("c", false), reader("c", true));
        assert_eq!(offsets.start(PLACE, &direct, -1), Start::AsAsked);
        assert_eq!(offsets.start(PLACE, &proxied, 0), Start::AsAsked);
        assert_eq!(offsets.start(PLACE, &proxied, -1), Start::OfGroup);
        offsets.note(PLACE, &proxied, 7, Duration::ZERO);
        offsets.note(PLACE, &proxied, 5, Duration::ZERO);
        assert_eq!(offsets.start(PLACE, &proxied, 3), Start::AsAsked);
        assert_eq!(offsets.start(PLACE, &proxied, -1), Start::At(7));
        assert_eq!(offsets.start(PLACE, &direct, 3), Start::At(7));
        assert_eq!(offsets.start(Place { queue: 1, ..PLACE }, &direct, 3), Start::OfGroup);
        offsets.note(PLACE, &direct, 8, Duration::ZERO);
        assert_eq!(offsets.start(PLACE, &direct, 3), Start::AsAsked);
        assert_eq!(offsets.start(PLACE, &proxied, 3), Start::At(8));
    }

    #[test]
    fn the_slowest_live_member_is_where_the_group_is() {
        let offsets = BroadcastOffsets::default();
        let commit = |seconds, online: bool| {
            let connected = || HashSet::from_iter(online.then(|| "slow".to_owned()));
            let mut lowest = Vec::new();
            let keep = |place: Place<'_>, offset| lowest.push((place.queue, offset));
            offsets.commit(Duration::from_secs(seconds), PATIENCE, |_| connected(), |_| true, keep);
            lowest
        };
        offsets.note(PLACE, &reader("slow", false), 3, Duration::ZERO);
        offsets.note(PLACE, &reader("fast", false), 9, Duration::from_secs(100));
        offsets.note(Place { queue: 1, ..PLACE }, &reader("fast", false), 4, Duration::from_secs(100));
        assert_eq!(commit(100, false), [(0, 3), (1, 4)]);
        assert_eq!(commit(120, true), [(0, 3), (1, 4)], "connected and silent counts");
        assert_eq!(commit(120, false), [(0, 9), (1, 4)], "gone for two minutes does not");
        assert!(!offsets.is_empty());
        assert_eq!(commit(220, false), []);
        assert!(offsets.is_empty());
        offsets.note(PLACE, &reader("slow", false), 3, Duration::ZERO);
        assert_eq!(commit(299, true), [(0, 3)]);
        assert_eq!((commit(300, true), offsets.is_empty()), (vec![(0, 3)], true));
    }

    #[test]
    fn deleted_topics_and_groups_are_forgotten() {
        let offsets = BroadcastOffsets::default();
        let other = Place { topic: "Returns", ..PLACE };
        offsets.note(PLACE, &reader("c", true), 3, Duration::ZERO);
        offsets.note(other, &reader("c", true), 4, Duration::ZERO);
        offsets.remove_topic("Orders");
        assert_eq!(offsets.start(PLACE, &reader("c", false), 0), Start::AsAsked);
        assert_eq!(offsets.start(other, &reader("c", false), 0), Start::At(4));
        offsets.remove_group("screens");
        assert!(offsets.is_empty());
    }

    /// Who still reads the queues of a topic while it is deleted may note where it is after all was forgotten.
    #[tokio::test]
    async fn the_place_in_a_topic_that_is_gone_is_committed_nowhere() {
        let broker = testing::broker();
        let committed = || broker.offsets.get(&committed_group("screens"), "Orders", 0);
        let note = || broker.broadcast.note(PLACE, &reader("c", false), 3, broker.clock.monotonic());
        note();
        broker.commit_broadcast_offsets();
        assert_eq!((committed(), broker.broadcast.is_empty()), (None, true));
        broker.topics.ensure("Orders", 1, 0, broker.now_ms()).unwrap();
        broker.commit_broadcast_offsets();
        assert_eq!(committed(), None);
        note();
        broker.commit_broadcast_offsets();
        assert_eq!(committed(), Some(3));
    }
}
