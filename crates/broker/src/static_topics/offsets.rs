//! Offsets of logical queues: where they begin and end, and how far groups have come (14, 15, 29–32).

use std::sync::Arc;

use store::{Boundary, StoreError};
use wire::body::LogicQueueMappingItem;
use wire::code::{request as code, response};

use super::LogicalQueue;
use super::forward::{answer_number_later, number_in};
use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal, Reply, answer_later};

/// A physical queue of another broker, in the fields of a request.
struct Elsewhere {
    topic: String,
    queue_id: String,
    bname: String,
}

impl Elsewhere {
    fn new(topic: &str, item: &LogicQueueMappingItem) -> Elsewhere {
        Elsewhere { topic: topic.to_owned(), queue_id: item.queue_id.to_string(), bname: item.bname.clone() }
    }

    fn fields<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = [
            ("topic", self.topic.as_str()),
            ("queueId", &self.queue_id),
            ("lo", "false"),
            ("bname", &self.bname),
        ];
        [&own, more].concat()
    }
}

/// What a search by time has found in one generation, in physical offsets.
struct Found {
    /// The first message that is not older; `max` if all are.
    at: i64,
    min: i64,
    max: i64,
}

impl Broker {
    pub(crate) fn logical_max_offset(
        self: &Arc<Self>,
        exchange: &mut Exchange<'_, '_>,
        queue: &LogicalQueue,
    ) -> Outcome {
        let (topic, item) = (exchange.text("topic")?.to_owned(), queue.newest()?.clone());
        if queue.is_here(&item) {
            return exchange.ok_number("offset", item.logical(self.physical_ends(&topic, &item).1));
        }
        let broker = Arc::clone(self);
        answer_number_later(exchange, "offset", async move {
            Ok(item.logical(broker.ask_end(&topic, &item, code::GET_MAX_OFFSET).await?))
        })
    }

    pub(crate) fn logical_min_offset(
        self: &Arc<Self>,
        exchange: &mut Exchange<'_, '_>,
        queue: &LogicalQueue,
    ) -> Outcome {
        let (topic, item) = (exchange.text("topic")?.to_owned(), queue.oldest()?.clone());
        if queue.is_here(&item) {
            return exchange.ok_number("offset", item.logical_within(self.physical_ends(&topic, &item).0));
        }
        let broker = Arc::clone(self);
        answer_number_later(exchange, "offset", async move {
            Ok(item.logical_within(broker.ask_end(&topic, &item, code::GET_MIN_OFFSET).await?))
        })
    }

    pub(crate) fn logical_earliest_time(
        self: &Arc<Self>,
        exchange: &mut Exchange<'_, '_>,
        queue: &LogicalQueue,
    ) -> Outcome {
        let (topic, item) = (exchange.text("topic")?.to_owned(), queue.oldest()?.clone());
        let (broker, here) = (Arc::clone(self), queue.is_here(&item));
        answer_number_later(exchange, "timestamp", async move {
            if here {
                let earliest = move |broker: &Arc<Broker>| broker.earliest_time_of(&topic, item.queue_id);
                return broker.on_reader(earliest).await;
            }
            let elsewhere = Elsewhere::new(&topic, &item);
            let fields = elsewhere.fields(&[]);
            broker.ask_number(&item.bname, code::GET_EARLIEST_MSG_STORETIME, &fields, "timestamp").await
        })
    }

    /// Answers with the first message over all generations that is as young as asked for. Java's takes the last
    /// generation that has any answer, and never the first message of one that it holds itself.
    pub(crate) fn logical_search_offset(
        self: &Arc<Self>,
        exchange: &mut Exchange<'_, '_>,
        queue: Arc<LogicalQueue>,
        timestamp: i64,
        boundary: Boundary,
    ) -> Outcome {
        let topic = exchange.text("topic")?.to_owned();
        let broker = Arc::clone(self);
        answer_number_later(exchange, "offset", async move {
            match boundary {
                Boundary::Lower => Ok(broker.search(&topic, &queue, timestamp).await?.0),
                Boundary::Upper => {
                    let (first_younger, last_before) =
                        broker.search(&topic, &queue, timestamp.saturating_add(1)).await?;
                    Ok(last_before.unwrap_or(first_younger))
                }
            }
        })
    }

    /// The logical offset of the first message stored at `timestamp` or later, the end if there is none, and that of
    /// the last message before it.
    async fn search(
        self: &Arc<Self>,
        topic: &str,
        queue: &LogicalQueue,
        timestamp: i64,
    ) -> Result<(i64, Option<i64>), Refusal> {
        let newest = queue.newest()?;
        let mut before = None;
        for item in queue.begun() {
            let found = if queue.is_here(item) {
                self.search_here(topic, item, timestamp).await?
            } else {
                self.search_elsewhere(topic, item, timestamp).await?
            };
            let max = if item.has_end() { found.max.min(item.end_offset) } else { found.max };
            let at = found.at.min(max);
            if at > found.min {
                before = Some(item.logical(at - 1));
            }
            if at < max || item.r#gen == newest.r#gen {
                return Ok((item.logical(at), before));
            }
        }
        Ok((newest.logical_end(), before))
    }

    async fn search_here(
        self: &Arc<Self>,
        topic: &str,
        item: &LogicQueueMappingItem,
        timestamp: i64,
    ) -> Result<Found, Refusal> {
        let (topic, item) = (topic.to_owned(), item.clone());
        let search = move |broker: &Arc<Broker>| -> Result<Found, StoreError> {
            let (min, max) = broker.physical_ends(&topic, &item);
            let queue = u32::try_from(item.queue_id).ok().and_then(|id| broker.store.find_queue(&topic, id));
            let search =
                |queue: Arc<store::Queue>| broker.store.offset_by_time(&queue, timestamp, Boundary::Lower);
            Ok(Found { at: queue.map_or(Ok(0), search)?, min, max })
        };
        Ok(self.on_reader(search).await??)
    }

    async fn search_elsewhere(
        &self,
        topic: &str,
        item: &LogicQueueMappingItem,
        timestamp: i64,
    ) -> Result<Found, Refusal> {
        let (elsewhere, timestamp) = (Elsewhere::new(topic, item), timestamp.to_string());
        let fields = elsewhere.fields(&[("timestamp", &timestamp), ("boundaryType", "LOWER")]);
        let at = self.ask_number(&item.bname, code::SEARCH_OFFSET_BY_TIMESTAMP, &fields, "offset").await?;
        let min = self.ask_end(topic, item, code::GET_MIN_OFFSET).await?;
        let max = self.ask_end(topic, item, code::GET_MAX_OFFSET).await?;
        Ok(Found { at, min, max })
    }

    /// Begin and end of a generation that is here, in physical offsets.
    fn physical_ends(&self, topic: &str, item: &LogicQueueMappingItem) -> (i64, i64) {
        let queue = u32::try_from(item.queue_id).ok().and_then(|id| self.store.find_queue(topic, id));
        queue.map_or((0, 0), |queue| (queue.min_offset() as i64, queue.max_offset() as i64))
    }

    async fn ask_end(&self, topic: &str, item: &LogicQueueMappingItem, code: i32) -> Result<i64, Refusal> {
        let elsewhere = Elsewhere::new(topic, item);
        self.ask_number(&item.bname, code, &elsewhere.fields(&[]), "offset").await
    }

    /// Commits where the message is that comes next for the group.
    pub(crate) fn logical_commit(
        self: &Arc<Self>,
        exchange: &mut Exchange<'_, '_>,
        queue: &LogicalQueue,
    ) -> Outcome {
        let (group, topic) = (exchange.text("consumerGroup")?, exchange.text("topic")?);
        let offset: i64 = exchange.number("commitOffset")?;
        let item = queue.item_at(offset)?;
        let physical = item.physical(offset);
        if queue.is_here(item) {
            let (group, found) = (group.to_owned(), self.check_commit(group, topic)?);
            return self.commit_for(exchange, &group, &found, item.queue_id, physical);
        }
        let (elsewhere, group, physical) =
            (Elsewhere::new(topic, item), group.to_owned(), physical.to_string());
        let broker = Arc::clone(self);
        answer_later(exchange, async move {
            let fields = elsewhere.fields(&[("consumerGroup", &group), ("commitOffset", &physical)]);
            let expected = [response::SUCCESS];
            broker.ask_neighbour(&elsewhere.bname, code::UPDATE_CONSUMER_OFFSET, &fields, &expected).await?;
            Ok(|mut reply: Reply<'_>| reply.ok())
        })
    }

    /// Commits the offset that comes with a pull, if it is one of a generation that is here. What belongs elsewhere
    /// comes in a request of its own too.
    pub(crate) fn commit_with_logical_pull(
        &self,
        group: &str,
        topic: &str,
        queue: &LogicalQueue,
        offset: i64,
    ) {
        let Ok(item) = queue.item_at(offset) else { return };
        if queue.is_here(item) {
            let step = self.settings.load().consumer_offset_update_version_step;
            let physical = item.physical(offset);
            self.offsets.commit(group, topic, item.queue_id, physical, step, self.now_ms());
        }
    }

    /// Answers how far a group has come: what it has committed in the latest generation that it has come to. A new one
    /// may begin at the first message of a queue that nothing was ever sent to, as in other topics
    /// ([`Broker::begins_young`]).
    pub(crate) fn logical_committed(
        self: &Arc<Self>,
        exchange: &mut Exchange<'_, '_>,
        queue: Arc<LogicalQueue>,
        may_begin: bool,
    ) -> Outcome {
        let (group, topic) = (exchange.text("consumerGroup")?.to_owned(), exchange.text("topic")?.to_owned());
        let broker = Arc::clone(self);
        answer_number_later(exchange, "offset", async move {
            for item in queue.begun().rev() {
                let committed = if queue.is_here(item) {
                    broker.committed_offset(&group, &topic, item.queue_id)
                } else {
                    broker.committed_elsewhere(&group, &topic, item).await?
                };
                if let Some(offset) = committed.filter(|offset| *offset >= 0) {
                    return Ok(item.logical(offset));
                }
            }
            if may_begin
                && let Ok(newest) = queue.newest()
                && broker.is_unused(&topic, &queue).await?
            {
                return Ok(newest.logic_offset);
            }
            let remark = "Not found, maybe this group consumer boot first";
            Err(Refusal::new(response::QUERY_NOT_FOUND, remark))
        })
    }

    /// Whether no generation of a queue ever had a message.
    async fn is_unused(&self, topic: &str, queue: &LogicalQueue) -> Result<bool, Refusal> {
        for item in queue.begun().rev() {
            let max = if queue.is_here(item) {
                self.physical_ends(topic, item).1
            } else {
                self.ask_end(topic, item, code::GET_MAX_OFFSET).await?
            };
            if max > item.start_offset {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn committed_elsewhere(
        &self,
        group: &str,
        topic: &str,
        item: &LogicQueueMappingItem,
    ) -> Result<Option<i64>, Refusal> {
        let elsewhere = Elsewhere::new(topic, item);
        let fields = elsewhere.fields(&[("consumerGroup", group), ("setZeroIfNotFound", "false")]);
        let expected = [response::SUCCESS, response::QUERY_NOT_FOUND];
        let answer = self.ask_neighbour(&item.bname, code::QUERY_CONSUMER_OFFSET, &fields, &expected).await?;
        if answer.code == response::QUERY_NOT_FOUND {
            return Ok(None);
        }
        number_in(&answer, "offset").map(Some)
    }
}
