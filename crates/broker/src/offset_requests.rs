//! Consumer offsets and the ends of queues (14, 15, 29–32; broker.md §12).

use std::sync::Arc;

use store::{Boundary, Queue, QueueEntry};
use wire::code::response;
use wire::names;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};
use crate::pull::{no_group, no_topic};
use crate::topics::Topic;

/// Refuses to touch the places in queues that the broker keeps for itself: where they stand says what a start reads.
pub(crate) fn check_not_own(group: &str) -> Outcome {
    if names::is_own_group(group) {
        let remark = format!("the offsets of {group} are the broker's own");
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    Ok(())
}

impl Broker {
    pub(crate) fn query_consumer_offset(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let mut queue_id: i32 = exchange.number("queueId")?;
        let may_be_zero = exchange.request.header.fields.flag("setZeroIfNotFound").unwrap_or(true);
        if let Some(queue) = self.logical_queue(exchange)? {
            if !queue.is_plain() {
                return self.logical_committed(exchange, queue, may_be_zero);
            }
            queue_id = queue.leader.queue_id;
        }
        let group = exchange.text("consumerGroup")?;
        let topic = exchange.text("topic")?;
        if let Some(offset) = self.committed_offset(group, topic, queue_id) {
            return exchange.ok_number("offset", offset);
        }
        if may_be_zero && self.begins_young(topic, queue_id) {
            return exchange.ok_number("offset", 0);
        }
        let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
        Err(Refusal::new(response::QUERY_NOT_FOUND, remark))
    }

    /// What a group has committed, or is to go back to.
    pub(crate) fn committed_offset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let reset = self.offsets.pending_reset(group, topic, queue_id);
        reset.or_else(|| self.offsets.get(group, topic, queue_id))
    }

    /// A new group on a young topic starts at 0 whatever it is set to: when nothing has been deleted and the first
    /// message is still in memory, in Java by the page cache, here by its distance from the end of the log.
    ///
    /// A queue that nothing was ever sent to is young too. Java says of it that there is no offset, whereupon a client
    /// that begins at the end asks where that is, and what is sent between its two questions is never consumed.
    pub(crate) fn begins_young(&self, topic: &str, queue_id: i32) -> bool {
        let Ok(id) = u32::try_from(queue_id) else { return false };
        let Some(queue) = self.store.find_queue(topic, id) else {
            return self.topics.get(topic).is_some_and(|topic| id < topic.queue_count());
        };
        if queue.max_offset() == 0 {
            return true;
        }
        let first = self.store.entries(&queue, 0, 1);
        let is_near = |entry: &QueueEntry| self.store.is_in_memory(entry.physical_offset);
        queue.min_offset() == 0 && first.first().is_some_and(is_near)
    }

    pub(crate) fn update_consumer_offset(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        if let Some(queue) = self.logical_queue(exchange)? {
            return self.logical_commit(exchange, &queue);
        }
        let group = exchange.text("consumerGroup")?.to_owned();
        let topic = exchange.text("topic")?.to_owned();
        let found = self.check_commit(&group, &topic)?;
        let invalid = |name: &str| {
            Refusal::new(
                response::INVALID_PARAMETER,
                format!("{name} is missing or no number, consumer group {group}"),
            )
        };
        let queue_id: i32 = exchange.number("queueId").map_err(|_| invalid("queueId"))?;
        let offset: i64 = exchange.number("commitOffset").map_err(|_| invalid("commitOffset"))?;
        self.commit_for(exchange, &group, &found, queue_id, offset)
    }

    /// Whether a client may commit for such a group on such a topic.
    pub(crate) fn check_commit(&self, group: &str, topic: &str) -> Result<Arc<Topic>, Refusal> {
        check_not_own(group)?;
        if self.groups.get(group).is_none() {
            return Err(no_group(group));
        }
        self.topics.get(topic).ok_or_else(|| no_topic(topic))
    }

    /// Commits an offset of a physical queue, and answers. For who has checked that the client may.
    pub(crate) fn commit_for(
        &self,
        exchange: &mut Exchange<'_, '_>,
        group: &str,
        topic: &Topic,
        queue_id: i32,
        offset: i64,
    ) -> Outcome {
        let name = &topic.config.topic_name;
        // One that was taken away is read to its end.
        let is_there = |id: u32| id < topic.queue_count() || self.store.find_queue(name, id).is_some();
        if !u32::try_from(queue_id).is_ok_and(is_there) {
            return Err(no_queue(topic, queue_id));
        }
        let step = self.settings.load().consumer_offset_update_version_step;
        if self.offsets.commit(group, name, queue_id, offset, step, self.now_ms()) {
            return exchange.ok();
        }
        let remark = Some("Offset has been previously reset");
        exchange.answer(response::SUCCESS, remark, |writer| writer.empty())
    }

    fn asked_queue(&self, exchange: &Exchange<'_, '_>) -> Result<Option<Arc<Queue>>, Refusal> {
        let topic = exchange.text("topic")?;
        let queue_id: i32 = exchange.number("queueId")?;
        Ok(u32::try_from(queue_id).ok().and_then(|id| self.store.find_queue(topic, id)))
    }

    pub(crate) fn max_offset(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        if let Some(queue) = self.logical_queue(exchange)? {
            return self.logical_max_offset(exchange, &queue);
        }
        let queue = self.asked_queue(exchange)?;
        exchange.ok_number("offset", queue.map_or(0, |queue| queue.max_offset() as i64))
    }

    pub(crate) fn min_offset(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        if let Some(queue) = self.logical_queue(exchange)? {
            return self.logical_min_offset(exchange, &queue);
        }
        let queue = self.asked_queue(exchange)?;
        exchange.ok_number("offset", queue.map_or(0, |queue| queue.min_offset() as i64))
    }

    pub(crate) fn search_offset(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let timestamp: i64 = exchange.number("timestamp")?;
        let boundary = match exchange.request.field("boundaryType") {
            Some(name) if name.eq_ignore_ascii_case("upper") => Boundary::Upper,
            _ => Boundary::Lower,
        };
        if let Some(queue) = self.logical_queue(exchange)? {
            return self.logical_search_offset(exchange, queue, timestamp, boundary);
        }
        let queue = self.asked_queue(exchange)?;
        self.answer_from_disk(exchange, move |broker, reply| {
            let search = |queue: Arc<Queue>| broker.store.offset_by_time(&queue, timestamp, boundary);
            let offset = queue.map_or(Ok(0), search)?;
            reply.ok_number("offset", offset)
        })
    }

    pub(crate) fn earliest_store_time(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        if let Some(queue) = self.logical_queue(exchange)? {
            return self.logical_earliest_time(exchange, &queue);
        }
        let topic = exchange.text("topic")?.to_owned();
        let queue_id: i32 = exchange.number("queueId")?;
        self.answer_from_disk(exchange, move |broker, reply| {
            reply.ok_number("timestamp", broker.earliest_time_of(&topic, queue_id))
        })
    }

    /// When the oldest message of a physical queue was stored; -1 if it has none. May wait for the disk.
    pub(crate) fn earliest_time_of(&self, topic: &str, queue_id: i32) -> i64 {
        let queue = u32::try_from(queue_id).ok().and_then(|id| self.store.find_queue(topic, id));
        let time = queue.and_then(|queue| self.store.store_time_of(&queue, queue.min_offset()));
        time.unwrap_or(-1)
    }
}

/// The topic never had a queue of that number.
pub(crate) fn no_queue(topic: &Topic, queue_id: i32) -> Refusal {
    let (name, count) = (&topic.config.topic_name, topic.queue_count());
    let remark = format!("queueId[{queue_id}] is illegal, topic {name} has {count} queues");
    Refusal::new(response::INVALID_PARAMETER, remark)
}
