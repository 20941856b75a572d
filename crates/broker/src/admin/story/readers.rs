//! What groups made of a message.

use std::collections::BTreeSet;

use wire::body::{StoryGroup, StoryPop, StoryPosition, StoryRecord, StoryRole};

use super::{Found, GROUPS_MAX};
use crate::Broker;
use crate::pop::order::OrderKey;

impl Broker {
    /// Groups that have read one of the topics, or are online for it.
    pub(super) fn groups_reading(&self, topics: &BTreeSet<String>, is_cut: &mut bool) -> BTreeSet<String> {
        let of_topic = |topic: &String| {
            self.clients.groups_subscribed(topic).into_iter().chain(self.offsets.groups_of(topic))
        };
        let mut groups: BTreeSet<String> = topics.iter().flat_map(of_topic).collect();
        while groups.len() > GROUPS_MAX {
            *is_cut = true;
            groups.pop_last();
        }
        groups
    }

    pub(super) fn tell_group(&self, group: &str, found: &[Found]) -> StoryGroup {
        let (members, broadcast) = self.clients.with_consumer_group(group, |online| {
            online.map_or((0, false), |online| (online.members.len() as u32, online.is_broadcast()))
        });
        let is_read = |record: &&StoryRecord| match record.role {
            StoryRole::Message => true,
            StoryRole::Retry => record.group.as_deref() == Some(group),
            _ => false,
        };
        let read = found.iter().map(|found| &found.told).filter(is_read);
        let positions = read.map(|record| self.tell_position(group, record)).collect();
        StoryGroup { broadcast, group: group.to_owned(), members, positions }
    }

    fn tell_position(&self, group: &str, record: &StoryRecord) -> StoryPosition {
        let consumer_offset = self.offsets.get(group, &record.topic, record.queue_id);
        StoryPosition {
            consumer_offset,
            passed: consumer_offset.is_some_and(|offset| offset > record.queue_offset),
            physical_offset: record.physical_offset,
            popped: self.who_has(group, record),
            wanted: (record.role == StoryRole::Message).then(|| self.is_wanted_by(group, record)).flatten(),
        }
    }

    /// Deliveries by pop that are not acknowledged.
    fn who_has(&self, group: &str, record: &StoryRecord) -> Vec<StoryPop> {
        let StoryRecord { topic, queue_id, queue_offset, .. } = record;
        let mut popped = self.pop.log.deliveries_of(topic, group, *queue_id, *queue_offset);
        let key = OrderKey { topic, group, queue: *queue_id };
        popped.extend(self.pop.orders.delivery_of(&key, *queue_offset, self.now_ms()));
        let told = |delivery: crate::pop::outstanding::Delivered| StoryPop {
            due_timestamp: delivery.due_ms,
            orderly: delivery.is_orderly,
            pop_timestamp: delivery.pop_time,
        };
        popped.into_iter().map(told).collect()
    }

    fn is_wanted_by(&self, group: &str, record: &StoryRecord) -> Option<bool> {
        let filter = self.filter_of(group, &record.topic)?;
        let queue = self.store.find_queue(&record.topic, u32::try_from(record.queue_id).ok()?)?;
        let entries = self.store.entries(&queue, u64::try_from(record.queue_offset).ok()?, 1);
        entries.first().map(|entry| self.is_wanted(&filter, entry))
    }
}
