//! Requests that found nothing and wait for messages of a topic for their group (broker.md §15.3).
//!
//! Unlike a pull ([`crate::hold`]), of which all who wait for a queue are woken, one message wakes one pop of each
//! group: the others would find nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Topic that was asked for; its retries count as its own.
    pub topic: Arc<str>,
    /// Consumer group.
    pub group: Arc<str>,
    /// Queue, or -1 for any.
    pub queue: i32,
}

/// Names one who waits.
pub type Ticket = (Instant, u64);

/// Why nobody may wait here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// As many wait as may.
    Full,
    /// The broker is stopping.
    Closed,
}

/// How many may wait.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// In all.
    pub all: usize,
    /// At one place.
    pub place: usize,
}

/// Those who wait, `W` being what it takes to answer one.
#[derive(Debug)]
pub struct Polling<W> {
    waiting: Mutex<Waiting<W>>,
    /// Tells that the earliest time to wake somebody has changed.
    pub earlier: Notify,
}

type Line<W> = BTreeMap<Ticket, W>;
/// By group and queue.
type Lines<W> = HashMap<Arc<str>, HashMap<i32, Line<W>>>;

#[derive(Debug)]
struct Waiting<W> {
    topics: HashMap<Arc<str>, Lines<W>>,
    places: BTreeMap<Ticket, Place>,
    next_id: u64,
    closed: bool,
}

impl<W> Default for Polling<W> {
    fn default() -> Self {
        let waiting = Waiting { topics: HashMap::new(), places: BTreeMap::new(), next_id: 0, closed: false };
        Polling { waiting: Mutex::new(waiting), earlier: Notify::new() }
    }
}

impl<W> Polling<W> {
    /// Lets one wait at `place` until `until` at the longest; gives it back when it may not.
    pub fn add(&self, place: Place, until: Instant, room: Room, waiter: W) -> Result<Ticket, (NoRoom, W)> {
        let (ticket, first) = {
            let mut waiting = self.waiting.lock();
            if waiting.closed {
                return Err((NoRoom::Closed, waiter));
            }
            if waiting.places.len() >= room.all || waiting.count(&place) >= room.place {
                return Err((NoRoom::Full, waiter));
            }
            let ticket = (until, waiting.next_id);
            waiting.next_id += 1;
            let groups = waiting.topics.entry(Arc::clone(&place.topic)).or_default();
            let queues = groups.entry(Arc::clone(&place.group)).or_default();
            queues.entry(place.queue).or_default().insert(ticket, waiter);
            waiting.places.insert(ticket, place);
            (ticket, waiting.places.first_key_value().is_some_and(|(first, _)| *first == ticket))
        };
        if first {
            self.earlier.notify_one();
        }
        Ok(ticket)
    }

    /// Takes one back; `None` when it has been woken.
    pub fn take(&self, ticket: Ticket) -> Option<W> {
        self.waiting.lock().take(ticket)
    }

    /// Something new is in a queue of a topic: the first of each group that waits for the queue, and the first that
    /// waits for any queue.
    pub fn arrived(&self, topic: &str, queue: i32) -> Vec<W> {
        let mut waiting = self.waiting.lock();
        let Some(groups) = waiting.topics.get(topic) else { return Vec::new() };
        let first = |queues: &HashMap<i32, Line<W>>, queue: i32| {
            queues.get(&queue).and_then(|line| line.first_key_value()).map(|(ticket, _)| *ticket)
        };
        let tickets: Vec<Ticket> =
            groups.values().flat_map(|queues| [first(queues, -1), first(queues, queue)]).flatten().collect();
        tickets.into_iter().filter_map(|ticket| waiting.take(ticket)).collect()
    }

    /// There is something for a group in some queues of a topic: the first that waits for each of them, and the first
    /// that waits for any queue. Nobody else, who would find nothing and use up the only wake.
    pub fn arrived_in(&self, topic: &str, group: &str, queues: &[i32]) -> Vec<W> {
        let mut waiting = self.waiting.lock();
        let Some(lines) = waiting.topics.get(topic).and_then(|groups| groups.get(group)) else {
            return Vec::new();
        };
        let first = |queue: &i32| lines.get(queue).and_then(|line| line.first_key_value());
        let tickets: Vec<Ticket> =
            queues.iter().chain(&[-1]).filter_map(first).map(|(ticket, _)| *ticket).collect();
        tickets.into_iter().filter_map(|ticket| waiting.take(ticket)).collect()
    }

    /// There is something for a group that everybody may have, whichever queue is asked for, as retries are: the one
    /// whose time is over first.
    pub fn arrived_for(&self, topic: &str, group: &str) -> Option<W> {
        let mut waiting = self.waiting.lock();
        let queues = waiting.topics.get(topic)?.get(group)?;
        let first =
            queues.values().filter_map(|line| line.first_key_value().map(|(ticket, _)| *ticket)).min()?;
        waiting.take(first)
    }

    /// One who waited at a place was woken and is gone: who gets what that was for. If nobody waits for the same, it
    /// may have been a retry.
    pub fn instead_of(&self, topic: &str, group: &str, queue: i32) -> Vec<W> {
        let woken = self.arrived_in(topic, group, &[queue]);
        if woken.is_empty() { self.arrived_for(topic, group).into_iter().collect() } else { woken }
    }

    /// Takes back all who wait for a topic.
    pub fn take_of(&self, topic: &str) -> Vec<W> {
        let mut waiting = self.waiting.lock();
        let lines = waiting.topics.get(topic).into_iter().flat_map(HashMap::values).flat_map(HashMap::values);
        let tickets: Vec<Ticket> = lines.flat_map(BTreeMap::keys).copied().collect();
        tickets.into_iter().filter_map(|ticket| waiting.take(ticket)).collect()
    }

    /// Whether anybody waits for a queue of a topic, or for any of its queues.
    pub fn is_watching(&self, topic: &str, queue: i32) -> bool {
        let waiting = self.waiting.lock();
        let watches =
            |queues: &HashMap<i32, Line<W>>| queues.contains_key(&-1) || queues.contains_key(&queue);
        waiting.topics.get(topic).is_some_and(|groups| groups.values().any(watches))
    }

    /// Those whose time is over.
    pub fn expired(&self, now: Instant) -> Vec<W> {
        let mut waiting = self.waiting.lock();
        let mut expired = Vec::new();
        while let Some((ticket, _)) = waiting.places.first_key_value()
            && ticket.0 <= now
        {
            let ticket = *ticket;
            expired.extend(waiting.take(ticket));
        }
        expired
    }

    /// When the next one's time is over.
    pub fn next_end(&self) -> Option<Instant> {
        self.waiting.lock().places.first_key_value().map(|((until, _), _)| *until)
    }

    /// How many wait at a place.
    pub fn count(&self, place: &Place) -> usize {
        self.waiting.lock().count(place)
    }

    /// Gives all and takes nobody any more.
    pub fn close(&self) -> Vec<W> {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        let tickets: Vec<Ticket> = waiting.places.keys().copied().collect();
        tickets.into_iter().filter_map(|ticket| waiting.take(ticket)).collect()
    }
}

impl<W> Waiting<W> {
    fn count(&self, place: &Place) -> usize {
        let line = self.topics.get(&place.topic).and_then(|groups| groups.get(&place.group));
        line.and_then(|queues| queues.get(&place.queue)).map_or(0, BTreeMap::len)
    }

    fn take(&mut self, ticket: Ticket) -> Option<W> {
        let Place { topic, group, queue } = self.places.remove(&ticket)?;
        let groups = self.topics.get_mut(&topic)?;
        let queues = groups.get_mut(&group)?;
        let line = queues.get_mut(&queue)?;
        let waiter = line.remove(&ticket);
        if line.is_empty() {
            queues.remove(&queue);
        }
        if queues.is_empty() {
            groups.remove(&group);
        }
        if groups.is_empty() {
            self.topics.remove(&topic);
        }
        waiter
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ROOM: Room = Room { all: 5, place: 2 };

    fn place(group: &str, queue: i32) -> Place {
        Place { topic: "orders".into(), group: group.into(), queue }
    }

    fn soon(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    #[tokio::test]
    async fn one_of_each_group_is_woken_oldest_first() {
        let polling = Polling::default();
        polling.add(place("a", -1), soon(2000), ROOM, "a late").unwrap();
        polling.add(place("a", -1), soon(1000), ROOM, "a early").unwrap();
        polling.add(place("a", 3), soon(1000), ROOM, "a of 3").unwrap();
        polling.add(place("b", 4), soon(1000), ROOM, "b of 4").unwrap();
        assert!(polling.is_watching("orders", 0) && !polling.is_watching("other", 0));
        let mut woken = polling.arrived("orders", 3);
        woken.sort_unstable();
        assert_eq!(woken, ["a early", "a of 3"]);
        assert_eq!(polling.arrived("orders", 5), ["a late"]);
        assert!(polling.arrived("orders", 5).is_empty() && !polling.is_watching("orders", 5));
        assert_eq!(polling.arrived_for("orders", "b"), Some("b of 4"));
        assert_eq!(polling.arrived_for("orders", "b"), None);
        assert_eq!(polling.next_end(), None);
    }

    #[tokio::test]
    async fn what_is_in_one_queue_wakes_who_waits_for_it_or_for_any() {
        let polling = Polling::default();
        polling.add(place("a", 1), soon(1000), ROOM, "of 1").unwrap();
        polling.add(place("a", 0), soon(2000), ROOM, "of 0").unwrap();
        polling.add(place("b", 0), soon(1000), ROOM, "of another group").unwrap();
        assert_eq!(polling.arrived_in("orders", "a", &[0]), ["of 0"]);
        assert!(polling.arrived_in("orders", "a", &[0, -1]).is_empty());
        polling.add(place("a", -1), soon(3000), ROOM, "of any").unwrap();
        assert_eq!(polling.arrived_in("orders", "a", &[0, 1]), ["of 1", "of any"]);
    }

    #[tokio::test]
    async fn what_one_was_woken_for_that_is_gone_goes_to_another() {
        let polling = Polling::default();
        for (queue, name) in [(1, "of 1"), (0, "of 0")] {
            polling.add(place("a", queue), soon(1000), ROOM, name).unwrap();
        }
        assert_eq!(polling.instead_of("orders", "a", 0), ["of 0"]);
        // A retry is as good for this one.
        assert_eq!(polling.instead_of("orders", "a", 0), ["of 1"]);
        assert!(polling.instead_of("orders", "a", 0).is_empty());
    }

    #[tokio::test]
    async fn there_is_room_for_so_many() {
        let polling = Polling::default();
        for number in 0..2 {
            polling.add(place("a", 0), soon(1000), ROOM, number).unwrap();
        }
        assert_eq!(polling.add(place("a", 0), soon(1000), ROOM, 9).unwrap_err(), (NoRoom::Full, 9));
        for number in 2..5 {
            polling.add(place("b", number), soon(1000), ROOM, number).unwrap();
        }
        assert_eq!(polling.add(place("c", 0), soon(1000), ROOM, 9).unwrap_err(), (NoRoom::Full, 9));
        assert_eq!(polling.count(&place("a", 0)), 2);
        assert_eq!(polling.close().len(), 5);
        assert_eq!(polling.add(place("c", 0), soon(1000), ROOM, 9).unwrap_err(), (NoRoom::Closed, 9));
    }

    #[tokio::test]
    async fn whose_time_is_over_is_given_once() {
        let polling = Polling::default();
        let now = Instant::now();
        let ticket = polling.add(place("a", 0), now, ROOM, "over").unwrap();
        polling.add(place("a", 0), now + Duration::from_secs(9), ROOM, "not yet").unwrap();
        assert_eq!(polling.expired(now), ["over"]);
        assert_eq!(polling.take(ticket), None);
        assert_eq!(polling.next_end(), Some(now + Duration::from_secs(9)));
    }
}
