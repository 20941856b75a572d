//! Static topics: brokers tell of their physical queues, and everybody else knows logical ones.

use std::collections::{BTreeMap, BTreeSet};

use wire::body::{
    ConsumeStats, LogicQueueMappingItem, MessageQueue, OffsetWrapper, TopicOffset, TopicQueueMappingDetail,
    TopicStatsTable,
};

use super::Admin;
use crate::error::Error;
use crate::route::Route;

/// A logical queue, and the physical ones that it was and is made of, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LogicalQueue {
    queue: MessageQueue,
    generations: Vec<LogicQueueMappingItem>,
}

impl LogicalQueue {
    /// The physical queue of a generation.
    fn physical(&self, generation: &LogicQueueMappingItem) -> MessageQueue {
        let LogicQueueMappingItem { bname, queue_id, .. } = generation;
        MessageQueue { topic: self.queue.topic.clone(), broker_name: bname.clone(), queue_id: *queue_id }
    }

    /// How far a group has come, given that for physical queues: the newest generation that it has been in counts.
    fn progress(&self, physical: &BTreeMap<MessageQueue, OffsetWrapper>) -> Option<OffsetWrapper> {
        let known: Vec<_> = self
            .generations
            .iter()
            .rev()
            .filter_map(|generation| Some((generation, physical.get(&self.physical(generation))?)))
            .collect();
        let (newest, at_broker) = known.iter().find(|(generation, _)| generation.has_begun())?;
        let read = known.iter().find(|(generation, at)| generation.has_begun() && at.consumer_offset >= 0);
        let (consumer_offset, last_timestamp) = read
            .map_or((-1, at_broker.last_timestamp), |(generation, at)| {
                (generation.logical_within(at.consumer_offset), at.last_timestamp)
            });
        let [broker_offset, pull_offset] =
            [at_broker.broker_offset, at_broker.pull_offset].map(|at| newest.logical_within(at));
        Some(OffsetWrapper { broker_offset, consumer_offset, last_timestamp, pull_offset })
    }

    /// What it holds, given that of physical queues.
    fn extent(&self, physical: &BTreeMap<MessageQueue, TopicOffset>) -> Option<TopicOffset> {
        let known: Vec<_> = self
            .generations
            .iter()
            .filter(|generation| generation.has_begun())
            .filter_map(|generation| Some((generation, physical.get(&self.physical(generation))?)))
            .collect();
        let ((oldest, first), (newest, last)) = (known.first()?, known.last()?);
        Some(TopicOffset {
            min_offset: oldest.logical(first.min_offset),
            max_offset: newest.logical_within(last.max_offset),
            last_update_timestamp: last.last_update_timestamp,
        })
    }
}

/// The logical queues that a route tells of, as the broker with the latest epoch knows each.
fn logical_queues(route: &Route, details: &[TopicQueueMappingDetail]) -> Vec<LogicalQueue> {
    let known = |queue: MessageQueue| {
        let of_queue = details.iter().filter(|detail| detail.hosted_queues.contains_key(&queue.queue_id));
        let generations = of_queue.max_by_key(|detail| detail.epoch)?.hosted_queues.get(&queue.queue_id)?;
        Some(LogicalQueue { generations: generations.clone(), queue })
    };
    route.queues_to_read().into_iter().filter_map(known).collect()
}

impl Admin {
    /// What every broker of a static topic says of the queues that it leads or has led, in the order of the route;
    /// `None` if the topic is not static.
    ///
    /// # Errors
    /// When a broker does not answer or refuses.
    pub async fn queue_mappings(&self, route: &Route) -> Result<Option<Vec<TopicQueueMappingDetail>>, Error> {
        if route.raw().topic_queue_mapping_by_broker.as_ref().is_none_or(BTreeMap::is_empty) {
            return Ok(None);
        }
        let mut details = Vec::new();
        for address in route.addresses() {
            let known = self.topic_with_mapping(address, route.topic()).await?;
            details.extend(known.and_then(|known| known.mapping_detail));
        }
        Ok(Some(details))
    }

    /// The queues of a topic, if it is a static one.
    async fn logical_queues(&self, route: &Route) -> Result<Option<Vec<LogicalQueue>>, Error> {
        let details = self.queue_mappings(route).await?;
        Ok(details.map(|details| logical_queues(route, &details)))
    }

    /// Tells of logical queues where brokers told of the physical ones of static topics.
    pub(super) async fn logical_progress(&self, stats: &mut ConsumeStats) -> Result<(), Error> {
        let topics: BTreeSet<String> = stats.offset_table.keys().map(|queue| queue.topic.clone()).collect();
        for topic in topics {
            let route = match self.fresh_route(&topic).await {
                // Groups outlive topics.
                Err(Error::NoRoute { .. }) => continue,
                route => route?,
            };
            let Some(queues) = self.logical_queues(&route).await? else { continue };
            let told =
                queues.iter().filter_map(|one| Some((one.queue.clone(), one.progress(&stats.offset_table)?)));
            let told: Vec<_> = told.collect();
            stats.offset_table.retain(|queue, _| queue.topic != topic);
            stats.offset_table.extend(told);
        }
        Ok(())
    }

    /// Does the same with what the queues of the topic of a route hold.
    pub(super) async fn logical_extents(
        &self,
        route: &Route,
        stats: &mut TopicStatsTable,
    ) -> Result<(), Error> {
        let Some(queues) = self.logical_queues(route).await? else { return Ok(()) };
        let told =
            queues.iter().filter_map(|one| Some((one.queue.clone(), one.extent(&stats.offset_table)?)));
        stats.offset_table = told.collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn physical(broker_name: &str, queue_id: i32) -> MessageQueue {
        MessageQueue { topic: "T".to_owned(), broker_name: broker_name.to_owned(), queue_id }
    }

    /// Moved from a, where it had 5 messages, to b, where it goes on with 1,000.
    fn moved() -> LogicalQueue {
        let item = |bname: &str, queue_id, logic_offset, end_offset| LogicQueueMappingItem {
            bname: bname.to_owned(),
            queue_id,
            logic_offset,
            end_offset,
            ..LogicQueueMappingItem::default()
        };
        let generations = vec![item("a", 0, 0, 5), item("b", 3, 1_000, -1)];
        LogicalQueue { queue: physical("b", 7), generations }
    }

    fn at(broker_offset: i64, consumer_offset: i64) -> OffsetWrapper {
        OffsetWrapper { broker_offset, consumer_offset, ..OffsetWrapper::default() }
    }

    #[test]
    fn a_group_is_where_it_was_last_and_the_queue_ends_where_it_is_now() {
        let progress = |a: OffsetWrapper, b: OffsetWrapper| {
            let physical = BTreeMap::from([(physical("a", 0), a), (physical("b", 3), b)]);
            moved().progress(&physical).map(|at| (at.consumer_offset, at.broker_offset))
        };
        assert_eq!(progress(at(5, 4), at(20, -1)), Some((4, 1_020)));
        assert_eq!(progress(at(5, 5), at(20, 7)), Some((1_007, 1_020)));
        assert_eq!(progress(at(5, -1), at(20, -1)), Some((-1, 1_020)));
        assert!(moved().progress(&BTreeMap::new()).is_none());
    }

    #[test]
    fn a_queue_begins_in_its_oldest_generation_and_ends_in_its_newest() {
        let extent =
            |min_offset, max_offset| TopicOffset { min_offset, max_offset, last_update_timestamp: 9 };
        let mut table = BTreeMap::from([(physical("a", 0), extent(2, 5)), (physical("b", 3), extent(0, 20))]);
        assert_eq!(moved().extent(&table), Some(extent(2, 1_020)));
        // What the first broker held is gone, and so is the broker.
        table.remove(&physical("a", 0));
        assert_eq!(moved().extent(&table), Some(extent(1_000, 1_020)));
    }
}
