//! Who reads what, and what stands in a queue (300, 343, 345, 321, 308; broker.md §12.3, §17).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use store::{MessageFilter, QueueEntry};
use wire::body::{SubscriptionData, TopicList};
use wire::code::response;

use super::json::{bare_keyed, object};
use super::statistics::sorted;
use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};
use crate::filter::{Filter, is_tag_type};

/// Most rows of a queue in one answer.
const ROWS_MAX: i32 = 10_000;

/// One row of a consume queue.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    /// Whether the group's filter wants it; false without a group.
    eval: bool,
    physic_offset: u64,
    physic_size: u32,
    tags_code: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rows {
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_data: Option<String>,
    max_queue_index: u64,
    min_queue_index: u64,
    queue_data: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_data: Option<SubscriptionData>,
}

impl Broker {
    pub(super) fn groups_of_topic(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let topic = exchange.text("topic")?;
        let online = self.clients.groups_subscribed(topic);
        let group_list = sorted(online.into_iter().chain(self.offsets.groups_of(topic)));
        exchange.ok_json(&json!({ "groupList": group_list }))
    }

    pub(super) fn topics_of_group(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let topic_list = sorted(self.offsets.topics_of(exchange.text("group")?));
        exchange.ok_json(&TopicList { broker_addr: Some(self.address.to_string()), topic_list })
    }

    pub(super) fn subscription_of_group(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let (group, topic) = (exchange.text("group")?, exchange.text("topic")?);
        let mut body = json!({"group": group, "topic": topic});
        if let Some(data) = self.subscription(group, topic) {
            body["subscriptionData"] = serde_json::to_value(data).map_err(Refusal::system)?;
        }
        exchange.ok_json(&body)
    }

    fn subscription(&self, group: &str, topic: &str) -> Option<SubscriptionData> {
        self.clients.with_consumer_group(group, |group| {
            group
                .and_then(|group| group.subscriptions.get(topic))
                .map(|subscription| subscription.data.clone())
        })
    }

    pub(super) fn queue_rows(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let topic = exchange.text("topic")?;
        let queue_id: i32 = exchange.number("queueId")?;
        let index: i64 = exchange.number("index")?;
        let count = exchange.number_or("count", 10).clamp(0, ROWS_MAX);
        let queue = u32::try_from(queue_id).ok().and_then(|id| self.store.find_queue(topic, id));
        let queue = queue.ok_or_else(|| Refusal::system(format!("{queue_id}@{topic} is not exist!")))?;
        let (min, max) = (queue.min_offset(), queue.max_offset());
        let Some(from) = u64::try_from(index).ok().filter(|from| (min..max).contains(from)) else {
            let remark = format!("Index {index} of {queue_id}@{topic} is not exist!");
            return exchange.answer(response::SUCCESS, Some(&remark), |writer| writer.empty());
        };
        let group = exchange.request.field("consumerGroup").filter(|group| !group.is_empty());
        let subscription_data = group.and_then(|group| self.subscription(group, topic));
        let filter = group.and_then(|group| self.filter_of(group, topic));
        let filter_data = match (group, &subscription_data) {
            (Some(group), None) => Some(format!("{group}@{topic} is not online!")),
            _ => None,
        };
        self.answer_from_disk(exchange, move |broker, reply| {
            let entries = broker.store.entries(&queue, from, count as u32);
            let queue_data = entries.iter().map(|entry| Row {
                eval: filter.as_ref().is_some_and(|filter| broker.is_wanted(filter, entry)),
                physic_offset: entry.physical_offset,
                physic_size: entry.size,
                tags_code: entry.tags_code,
            });
            reply.ok_json(&Rows {
                filter_data,
                max_queue_index: max,
                min_queue_index: min,
                queue_data: queue_data.collect(),
                subscription_data,
            })
        })
    }

    pub(super) fn filter_of(&self, group: &str, topic: &str) -> Option<Filter> {
        let by_tags = self.clients.with_consumer_group(group, |group| {
            let subscription = group?.subscriptions.get(topic)?;
            is_tag_type(&subscription.data.expression_type).then(|| Arc::clone(&subscription.filter))
        });
        match by_tags {
            Some(tags) => Some(Filter::Tags(tags)),
            None => self.filters.find(topic, group).map(Filter::from),
        }
    }

    pub(super) fn is_wanted(&self, filter: &Filter, entry: &QueueEntry) -> bool {
        let tags_code = entry.known_tags_code();
        let in_record = || match self.store.record_at(entry.physical_offset) {
            Ok(Some(record)) => filter.wants_record(&record),
            _ => false,
        };
        filter.wants_entry(tags_code) && (!filter.looks_into_record(tags_code) || in_record())
    }

    /// Where a message has been read by every group. Java *deletes* the offsets of the groups to leave out; a question
    /// changes nothing here.
    pub(super) fn correction_offsets(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let (topic, compared) = (exchange.text("topic")?, exchange.text("compareGroup")?);
        let left_out: HashSet<&str> =
            exchange.request.field("filterGroups").unwrap_or_default().split(',').collect();
        let groups = self.offsets.groups_of(topic);
        let counted = groups.iter().filter(|group| !left_out.contains(group.as_str()));
        let tables: Vec<_> = counted.map(|group| self.offsets.queues(group, topic)).collect();
        let min_of = |queue_id: i32| {
            let queue = u32::try_from(queue_id).ok().and_then(|id| self.store.find_queue(topic, id));
            queue.map_or(0, |queue| queue.min_offset() as i64)
        };
        let corrected = correct(&tables, &self.offsets.queues(compared, topic), min_of);
        let body = object([("correctionOffsets", bare_keyed(corrected)?)]);
        exchange.ok_body(body.as_bytes())
    }
}

/// The lowest offset of each queue over all groups that still point into the log; `i64::MAX` where the compared group
/// is behind all of them, or nobody else reads.
fn correct(
    tables: &[BTreeMap<i32, i64>],
    compared: &BTreeMap<i32, i64>,
    min_of: impl Fn(i32) -> i64,
) -> BTreeMap<i32, i64> {
    let mut lowest: BTreeMap<i32, i64> = BTreeMap::new();
    for (&queue_id, &offset) in tables.iter().flatten() {
        if offset >= min_of(queue_id) {
            let entry = lowest.entry(queue_id).or_insert(offset);
            *entry = offset.min(*entry);
        }
    }
    for (&queue_id, &offset) in compared {
        let entry = lowest.entry(queue_id).or_insert(i64::MAX);
        if *entry > offset {
            *entry = i64::MAX;
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table<const N: usize>(offsets: [(i32, i64); N]) -> BTreeMap<i32, i64> {
        BTreeMap::from(offsets)
    }

    #[test]
    fn a_queue_is_corrected_to_its_slowest_group() {
        let tables = [table([(0, 50), (1, 7)]), table([(0, 40), (1, 3), (2, 9)])];
        let corrected = correct(&tables, &table([(0, 45), (1, 2)]), |queue| if queue == 1 { 5 } else { 0 });
        // Queue 0: the slowest is behind the compared group. Queue 1: an offset below the log's beginning does not
        // count, and the compared group is behind the other one.
        assert_eq!(corrected, table([(0, 40), (1, i64::MAX), (2, 9)]));
        assert_eq!(correct(&[], &table([(3, 1)]), |_| 0), table([(3, i64::MAX)]));
    }
}
