//! Orderly pops: what each group has in hand of each queue, and until when nobody else gets any of that queue
//! (broker.md §15.6). Kept in `config/consumerOrderInfo.json`.

use std::collections::BTreeMap;
use std::io;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::outstanding::Delivered;
use crate::state_file::{StateFile, Unsaved};

/// What nobody has touched for this long, and hides nothing for as long, is forgotten.
const FORGOTTEN_AFTER_MS: i64 = 24 * 3_600_000;
/// Most messages of one delivery: each has a bit.
const DELIVERY_MAX: usize = 64;

/// The last delivery from one queue to one group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    #[serde(rename = "popTime", default)]
    pop_time: i64,
    #[serde(rename = "i", default)]
    invisible_ms: Option<i64>,
    /// The first offset, then distances from it.
    #[serde(rename = "o", default)]
    offsets: Vec<i64>,
    /// When single messages come back, if not with the rest.
    #[serde(rename = "ot", default, skip_serializing_if = "Option::is_none")]
    visible_at: Option<BTreeMap<i64, i64>>,
    /// How often single messages have failed before.
    #[serde(rename = "oc", default, skip_serializing_if = "Option::is_none")]
    failed: Option<BTreeMap<i64, i32>>,
    #[serde(rename = "l", default)]
    touched_ms: i64,
    /// Bit by bit, which messages are acknowledged. A signed number in Java.
    #[serde(rename = "cm", default)]
    acked: i64,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    attempt: Option<String>,
}

/// What becomes of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acked {
    /// The group goes on here.
    Next(i64),
    /// It is of another delivery than the last one, and counts for nothing.
    Stale,
    /// That message was not delivered.
    Unknown,
}

impl Delivery {
    fn new(attempt: Option<&str>, pop_time: i64, invisible_ms: i64, offsets: &[i64]) -> Delivery {
        let first = offsets.first().copied().unwrap_or(0);
        let mut stored: Vec<i64> = offsets.iter().take(DELIVERY_MAX).map(|offset| offset - first).collect();
        if let Some(base) = stored.first_mut() {
            *base = first;
        }
        Delivery {
            pop_time,
            invisible_ms: Some(invisible_ms),
            offsets: stored,
            touched_ms: pop_time,
            attempt: attempt.map(str::to_owned),
            ..Delivery::default()
        }
    }

    fn offsets(&self) -> impl Iterator<Item = i64> {
        let first = self.offsets.first().copied().unwrap_or(0);
        self.offsets
            .iter()
            .take(DELIVERY_MAX)
            .enumerate()
            .map(move |(index, offset)| if index == 0 { first } else { first.saturating_add(*offset) })
    }

    fn is_acked(&self, index: usize) -> bool {
        self.acked & (1 << index) != 0
    }

    /// When the last of the messages that are not acknowledged may be delivered to others; `None` for now.
    fn blocked_until(&self, invisible_ms: i64, now_ms: i64) -> Option<i64> {
        let hidden_ms = self.invisible_ms.filter(|invisible_ms| *invisible_ms > 0).unwrap_or(invisible_ms);
        let open = self.offsets().enumerate().filter(|(index, _)| !self.is_acked(*index));
        open.map(|(_, offset)| self.shows_at(offset, hidden_ms)).filter(|until| *until > now_ms).max()
    }

    /// When it was touched, or when the last of its messages that are not acknowledged comes back, if that is later.
    fn matters_until(&self) -> i64 {
        self.touched_ms.max(self.blocked_until(0, i64::MIN).unwrap_or(i64::MIN))
    }

    /// Until when a message is in somebody's hands; `None` if it was acknowledged, or is of another delivery.
    fn held_until(&self, offset: i64) -> Option<i64> {
        let (index, _) = self.offsets().enumerate().find(|(_, candidate)| *candidate == offset)?;
        (!self.is_acked(index)).then(|| self.shows_at(offset, self.invisible_ms.unwrap_or(0)))
    }

    /// When a message comes back: at a time of its own, or with the rest, which is hidden for `hidden_ms`.
    fn shows_at(&self, offset: i64, hidden_ms: i64) -> i64 {
        let own = self.visible_at.as_ref().and_then(|times| times.get(&offset)).copied();
        own.unwrap_or(self.pop_time.saturating_add(hidden_ms))
    }

    /// A message that was in the last delivery too has failed once more, unless this is the same attempt again.
    fn count_failures(&mut self, before: &Delivery) {
        if self.attempt.is_some() && self.attempt == before.attempt {
            self.failed.clone_from(&before.failed);
            return;
        }
        let again = self.offsets().filter(|offset| before.offsets().any(|old| old == *offset));
        let count =
            |offset: i64| before.failed.as_ref().and_then(|failed| failed.get(&offset)).unwrap_or(&0) + 1;
        self.failed = Some(again.map(|offset| (offset, count(offset))).collect());
    }

    /// Failures of each message in turn.
    fn failures(&self) -> Vec<(i64, i32)> {
        let count =
            |offset| self.failed.as_ref().and_then(|failed| failed.get(&offset)).copied().unwrap_or(0);
        self.offsets().map(|offset| (offset, count(offset))).collect()
    }

    fn ack(&mut self, offset: i64, pop_time: i64) -> Acked {
        if self.pop_time != pop_time {
            return Acked::Stale;
        }
        let Some(index) = self.offsets().position(|candidate| candidate == offset) else {
            return Acked::Unknown;
        };
        self.acked |= 1 << index;
        let open = self.offsets().enumerate().find(|(index, _)| !self.is_acked(*index));
        Acked::Next(match open {
            Some((_, offset)) => offset,
            None => self.offsets().last().unwrap_or(offset) + 1,
        })
    }
}

/// `config/consumerOrderInfo.json`: by `topic@group` and queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderBody {
    #[serde(default)]
    table: BTreeMap<String, BTreeMap<i32, Delivery>>,
}

/// One queue as one group reads it.
#[derive(Debug, Clone, Copy)]
pub struct OrderKey<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Consumer group.
    pub group: &'a str,
    /// Queue.
    pub queue: i32,
}

/// All deliveries of orderly pops that are not done with.
pub struct Orders {
    table: Mutex<OrderBody>,
    /// What the file does not have yet.
    pub unsaved: Unsaved,
    file: StateFile,
}

impl Orders {
    /// Reads the file.
    pub fn load(file: StateFile) -> io::Result<Orders> {
        let table = Mutex::new(file.load()?);
        Ok(Orders { table, unsaved: Unsaved::default(), file })
    }

    /// Until when a pop of this attempt gets nothing from the queue; `None` if it may have something now.
    pub fn blocked_until(
        &self,
        key: &OrderKey<'_>,
        attempt: Option<&str>,
        invisible_ms: i64,
        now_ms: i64,
    ) -> Option<i64> {
        let table = self.table.lock();
        let delivery = table.table.get(&key.text())?.get(&key.queue)?;
        if delivery.attempt.is_some() && delivery.attempt.as_deref() == attempt {
            return None;
        }
        delivery.blocked_until(invisible_ms, now_ms)
    }

    /// The delivery of one message that is neither acknowledged nor over.
    pub fn delivery_of(&self, key: &OrderKey<'_>, offset: i64, now_ms: i64) -> Option<Delivered> {
        let table = self.table.lock();
        let delivery = table.table.get(&key.text())?.get(&key.queue)?;
        let due_ms = delivery.held_until(offset)?;
        (due_ms > now_ms).then_some(Delivered { pop_time: delivery.pop_time, due_ms, is_orderly: true })
    }

    /// Notes a delivery; gives for each message how often it has failed before.
    pub fn delivered(
        &self,
        key: &OrderKey<'_>,
        attempt: Option<&str>,
        pop_time: i64,
        invisible_ms: i64,
        offsets: &[i64],
    ) -> Vec<(i64, i32)> {
        let mut delivery = Delivery::new(attempt, pop_time, invisible_ms, offsets);
        let mut table = self.table.lock();
        let queues = table.table.entry(key.text()).or_default();
        if let Some(before) = queues.get(&key.queue) {
            delivery.count_failures(before);
        }
        let failures = delivery.failures();
        queues.insert(key.queue, delivery);
        drop(table);
        self.unsaved.note();
        failures
    }

    /// Notes that a message was consumed by a group that goes on at `committed` so far. `commit` is called with where
    /// the group goes on, before anybody else can look at the queue.
    pub fn ack(
        &self,
        key: &OrderKey<'_>,
        offset: i64,
        pop_time: i64,
        committed: i64,
        commit: impl FnOnce(i64),
    ) -> Acked {
        let mut table = self.table.lock();
        let delivery = table.table.get_mut(&key.text()).and_then(|queues| queues.get_mut(&key.queue));
        let acked = match delivery {
            Some(delivery) => delivery.ack(offset, pop_time),
            // Nothing is known of it any more, nor of what else was delivered with it and may be open before it: that
            // all comes again, unless this is where the group goes on anyway.
            None if offset == committed => Acked::Next(offset + 1),
            None => Acked::Stale,
        };
        if let Acked::Next(next) = acked {
            commit(next);
        }
        drop(table);
        self.unsaved.note();
        acked
    }

    /// Sets when a message comes back if it is not acknowledged.
    pub fn show_at(&self, key: &OrderKey<'_>, offset: i64, pop_time: i64, visible_ms: i64) {
        let mut table = self.table.lock();
        let delivery = table.table.get_mut(&key.text()).and_then(|queues| queues.get_mut(&key.queue));
        let Some(delivery) = delivery.filter(|delivery| delivery.pop_time == pop_time) else { return };
        if delivery.offsets().any(|candidate| candidate == offset) {
            delivery.visible_at.get_or_insert_default().insert(offset, visible_ms);
        }
        drop(table);
        self.unsaved.note();
    }

    /// Forgets what is known of a queue: an administrator has moved the group.
    pub fn clear(&self, key: &OrderKey<'_>) {
        if let Some(queues) = self.table.lock().table.get_mut(&key.text()) {
            queues.remove(&key.queue);
        }
        self.unsaved.note();
    }

    /// Forgets a topic that was deleted: one of its name begins anew.
    pub fn remove_topic(&self, topic: &str) {
        self.retain(|of, _| of != topic);
    }

    /// Forgets a group that was deleted.
    pub fn remove_group(&self, group: &str) {
        self.retain(|_, of| of != group);
    }

    fn retain(&self, stays: impl Fn(&str, &str) -> bool) {
        let mut table = self.table.lock();
        table.table.retain(|key, _| key.split_once('@').is_none_or(|(topic, group)| stays(topic, group)));
        drop(table);
        self.unsaved.note();
    }

    /// Writes the file if anything has changed, without what is old or of topics and groups that `exists` denies.
    pub fn save(&self, now_ms: i64, exists: impl Fn(&str, &str) -> bool) -> io::Result<()> {
        self.unsaved.save(|| self.file.save(&self.kept(now_ms, exists)))
    }

    fn kept(&self, now_ms: i64, exists: impl Fn(&str, &str) -> bool) -> OrderBody {
        let mut table = self.table.lock();
        table.table.retain(|key, queues| {
            queues
                .retain(|_, delivery| now_ms.saturating_sub(delivery.matters_until()) <= FORGOTTEN_AFTER_MS);
            !queues.is_empty() && key.split_once('@').is_some_and(|(topic, group)| exists(topic, group))
        });
        table.clone()
    }
}

impl OrderKey<'_> {
    fn text(&self) -> String {
        format!("{}@{}", self.topic, self.group)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use sim::{SimClock, SimDisk};

    use super::*;

    #[test]
    fn a_queue_is_blocked_until_all_is_acknowledged_or_visible() {
        let mut delivery = Delivery::new(Some("try 1"), 1000, 500, &[7, 9, 10]);
        assert_eq!(delivery.blocked_until(0, 1499), Some(1500));
        assert_eq!(delivery.blocked_until(0, 1500), None);
        assert_eq!(delivery.ack(9, 999), Acked::Stale);
        assert_eq!(delivery.ack(8, 1000), Acked::Unknown);
        assert_eq!(delivery.ack(9, 1000), Acked::Next(7));
        assert_eq!(delivery.ack(7, 1000), Acked::Next(10));
        assert_eq!(delivery.ack(10, 1000), Acked::Next(11));
        assert_eq!(delivery.blocked_until(0, 1001), None);
    }

    #[test]
    fn failures_are_counted_for_messages_that_come_again() {
        let first = Delivery::new(Some("1"), 1000, 500, &[7, 8]);
        let mut second = Delivery::new(Some("2"), 2000, 500, &[8, 9]);
        second.count_failures(&first);
        assert_eq!(second.failures(), [(8, 1), (9, 0)]);
        let mut same = Delivery::new(Some("2"), 2001, 500, &[8, 9]);
        same.count_failures(&second);
        assert_eq!(same.failures(), [(8, 1), (9, 0)]);
        let mut third = Delivery::new(Some("3"), 3000, 500, &[8]);
        third.count_failures(&same);
        assert_eq!(third.failures(), [(8, 2)]);
    }

    fn orders() -> Orders {
        let disk = Arc::new(SimDisk::new(SimClock::default()));
        Orders::load(StateFile::new(disk, Path::new("/store/config"), "consumerOrderInfo.json")).unwrap()
    }

    const KEY: OrderKey<'_> = OrderKey { topic: "orders", group: "readers", queue: 0 };

    /// The process was killed before the file had the delivery of 5, 6 and 7.
    #[test]
    fn an_acknowledgement_of_an_unknown_delivery_does_not_pass_over_messages() {
        let orders = orders();
        let nothing = |next: i64| panic!("nothing is known of what is before {next}");
        assert_eq!(orders.ack(&KEY, 7, 1000, 5, nothing), Acked::Stale);
        let mut committed = 5;
        assert_eq!(orders.ack(&KEY, 5, 1000, 5, |next| committed = next), Acked::Next(6));
        assert_eq!(committed, 6);
    }

    #[test]
    fn a_delivery_is_not_forgotten_while_its_messages_are_hidden() {
        let orders = orders();
        let (day, exists) = (24 * 3_600_000, |_: &str, _: &str| true);
        orders.delivered(&KEY, None, 0, 1000, &[7, 8]);
        orders.show_at(&KEY, 8, 0, 3 * day);
        assert_eq!(orders.kept(2 * day, exists).table.len(), 1);
        assert_eq!(orders.blocked_until(&KEY, None, 1000, 2 * day), Some(3 * day));
        assert_eq!(orders.kept(4 * day, exists).table.len(), 1);
        assert!(orders.kept(4 * day + 1, exists).table.is_empty());
    }

    #[test]
    fn the_file_of_java_is_read() {
        let text = r#"{"table":{"orders@readers":{"2":{"a":"x","cm":1,"i":60000,"l":5,"o":[100,1,2],"oc":{"100":1},"ot":{"101":9},"popTime":4}}}}"#;
        let body: OrderBody = serde_json::from_str(text).unwrap();
        let delivery = &body.table["orders@readers"][&2];
        assert_eq!(delivery.offsets().collect::<Vec<_>>(), [100, 101, 102]);
        assert_eq!(delivery.blocked_until(0, 0), Some(60_004));
        assert_eq!(serde_json::to_string(&body).unwrap().len(), text.len());
    }
}
