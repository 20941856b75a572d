//! Static topics as those who use them see them: logical queues, whose offsets go on when a queue moves to another
//! broker. Brokers tell of physical queues alone.

use std::collections::BTreeMap;

use thrustmq_client::{
    ConsumeStats, LogicQueueMappingItem, MessageQueue, OffsetWrapper, Route, TopicOffset,
    TopicQueueMappingDetail, TopicStatsTable,
};
use wire::body::logical_broker;

use super::call::{Call, Failure};

/// The logical queues of a static topic.
#[derive(Debug, PartialEq)]
pub struct Logical {
    topic: String,
    /// What stands in the place of a broker's name.
    broker: String,
    /// Generations by queue, oldest first, as the queue's leader has them.
    queues: BTreeMap<i32, Vec<LogicQueueMappingItem>>,
}

impl Logical {
    /// Asks the brokers of a topic; `None` for one that is not static.
    ///
    /// # Errors
    /// When a broker does not answer.
    pub async fn of(call: &Call, route: &Route) -> Result<Option<Logical>, Failure> {
        let details = call.admin.queue_mappings(route).await?;
        Ok(details.and_then(|details| Logical::led(route.topic(), details)))
    }

    /// What leaders say of their queues. Of two that claim a queue the later epoch is right.
    fn led(topic: &str, mut details: Vec<TopicQueueMappingDetail>) -> Option<Logical> {
        details.sort_by_key(|detail| std::cmp::Reverse(detail.epoch));
        let broker = logical_broker(&details.first()?.scope);
        let mut queues = BTreeMap::new();
        for TopicQueueMappingDetail { bname, hosted_queues, .. } in details {
            let led = hosted_queues.into_iter();
            for (id, items) in led.filter(|(_, items)| items.last().is_some_and(|last| last.bname == bname)) {
                queues.entry(id).or_insert(items);
            }
        }
        Some(Logical { topic: topic.to_owned(), broker, queues })
    }

    /// Adds to what brokers tell of physical queues where the logical ones begin and end.
    pub fn add_to(&self, stats: &mut TopicStatsTable) {
        for (id, items) in &self.queues {
            let begun: Vec<_> = items.iter().filter(|item| item.has_begun()).collect();
            let oldest = begun.iter().rfind(|item| item.logic_offset == 0).or(begun.first());
            let told = |item: &LogicQueueMappingItem| stats.offset_table.get(&self.physical(item)).copied();
            let Some((oldest, newest)) = oldest.zip(begun.last()) else { continue };
            let (Some(first), Some(last)) = (told(oldest), told(newest)) else { continue };
            let offsets = TopicOffset {
                min_offset: oldest.logical_within(first.min_offset),
                max_offset: newest.logical(last.max_offset),
                last_update_timestamp: last.last_update_timestamp,
            };
            stats.offset_table.insert(self.queue(*id), offsets);
        }
    }

    /// Puts logical queues in the place of the physical ones. A queue that the group has not read is left out.
    pub fn replace_in(&self, stats: &mut ConsumeStats) {
        let logical: Vec<_> = self
            .queues
            .iter()
            .filter_map(|(id, items)| Some((self.queue(*id), self.joined(items, stats)?)))
            .collect();
        stats.offset_table.retain(|queue, _| queue.topic != self.topic);
        stats.offset_table.extend(logical);
    }

    /// What is known of a queue from its generations: the end from the newest that has begun, the group's place from
    /// the newest that it has read.
    fn joined(&self, items: &[LogicQueueMappingItem], stats: &ConsumeStats) -> Option<OffsetWrapper> {
        let begun = items.iter().rev().filter(|item| item.has_begun());
        let told = begun.filter_map(|item| Some((item, stats.offset_table.get(&self.physical(item))?)));
        let (newest, end) = told.clone().next()?;
        let (read, place) = told.into_iter().find(|(_, offsets)| offsets.consumer_offset >= 0)?;
        let consumer_offset = read.logical(place.consumer_offset);
        Some(OffsetWrapper {
            broker_offset: newest.logical(end.broker_offset),
            consumer_offset,
            last_timestamp: place.last_timestamp,
            pull_offset: consumer_offset + (place.pull_offset - place.consumer_offset).max(0),
        })
    }

    fn queue(&self, queue_id: i32) -> MessageQueue {
        MessageQueue { topic: self.topic.clone(), broker_name: self.broker.clone(), queue_id }
    }

    fn physical(&self, item: &LogicQueueMappingItem) -> MessageQueue {
        let broker_name = item.bname.clone();
        MessageQueue { topic: self.topic.clone(), broker_name, queue_id: item.queue_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(broker: &str, queue_id: i32, logic_offset: i64) -> LogicQueueMappingItem {
        LogicQueueMappingItem { bname: broker.to_owned(), queue_id, logic_offset, ..Default::default() }
    }

    /// Queue 0 has moved from a to b and goes on at 10,000 there; queue 1 has stayed; queue 2 is about to move.
    fn logical() -> Logical {
        let detail = |broker: &str, queues: &[(i32, Vec<LogicQueueMappingItem>)]| TopicQueueMappingDetail {
            bname: broker.to_owned(),
            topic: "T".to_owned(),
            hosted_queues: queues.iter().cloned().collect(),
            ..Default::default()
        };
        let moved = vec![item("a", 0, 0), item("b", 0, 10_000)];
        let moving = vec![item("a", 2, 0), item("b", 1, -1)];
        let details = vec![
            detail("a", &[(0, moved.clone()), (1, vec![item("a", 1, 0)])]),
            detail("b", &[(0, moved), (2, moving)]),
        ];
        Logical::led("T", details).unwrap()
    }

    fn queue(broker: &str, queue_id: i32) -> MessageQueue {
        MessageQueue { topic: "T".to_owned(), broker_name: broker.to_owned(), queue_id }
    }

    #[test]
    fn logical_queues_begin_where_their_oldest_generation_does_and_end_where_the_newest_does() {
        let offsets =
            |min_offset, max_offset| TopicOffset { min_offset, max_offset, last_update_timestamp: 7 };
        let mut stats = TopicStatsTable::default();
        for (queue, offsets) in [
            (queue("a", 0), offsets(3, 40)),
            (queue("b", 0), offsets(0, 5)),
            (queue("a", 1), offsets(0, 2)),
            (queue("a", 2), offsets(0, 9)),
            (queue("b", 1), offsets(0, 0)),
        ] {
            stats.offset_table.insert(queue, offsets);
        }
        logical().add_to(&mut stats);
        let of = |id| stats.offset_table[&queue("__syslo__global__", id)];
        assert_eq!([of(0), of(1), of(2)], [offsets(3, 10_005), offsets(0, 2), offsets(0, 9)]);
        assert_eq!(stats.offset_table.len(), 8, "the physical ones stay");
    }

    #[test]
    fn how_far_a_group_is_comes_from_the_newest_generation_that_it_has_read() {
        let at = |broker_offset, consumer_offset| OffsetWrapper {
            broker_offset,
            consumer_offset,
            pull_offset: consumer_offset + 1,
            last_timestamp: 7,
        };
        let mut stats = ConsumeStats::default();
        for (queue, offsets) in [
            (queue("a", 0), at(40, 38)),
            (queue("b", 0), at(5, -1)),
            (queue("a", 1), at(2, 1)),
            (queue("a", 2), at(9, -1)),
        ] {
            stats.offset_table.insert(queue, offsets);
        }
        let other = MessageQueue { topic: "other".to_owned(), ..queue("a", 0) };
        stats.offset_table.insert(other.clone(), at(1, 1));
        logical().replace_in(&mut stats);
        let told: Vec<_> = stats
            .offset_table
            .iter()
            .map(|(queue, at)| (queue.clone(), at.broker_offset, at.consumer_offset))
            .collect();
        let of = |id| queue("__syslo__global__", id);
        assert_eq!(told, [(of(0), 10_005, 38), (of(1), 2, 1), (other, 1, 1)]);

        stats.offset_table.clear();
        stats.offset_table.extend([(queue("a", 0), at(40, 40)), (queue("b", 0), at(5, 2))]);
        logical().replace_in(&mut stats);
        let read = &stats.offset_table[&of(0)];
        assert_eq!((read.consumer_offset, read.pull_offset), (10_002, 10_003));
    }
}
