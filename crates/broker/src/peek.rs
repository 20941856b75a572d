//! Looking at what a pop would give, without taking it (200052; broker.md §15.3). Always on a thread that may wait
//! for the disk: few ask for it.

use std::sync::Arc;

use store::{Queue, ReadLimits, ReadResult, ReadStatus, Records};
use wire::code::response;
use wire::pop::Origin;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal, Reply};
use crate::topics::Topic;

/// Most messages of one answer.
const PEEKED_MAX: i32 = 32;

/// What was seen.
#[derive(Default)]
struct Peeked {
    records: Vec<Records>,
    rest: i64,
}

/// What is asked for.
struct Peek {
    group: String,
    topic: Arc<Topic>,
    /// Queue, or below 0 for all.
    queue_id: i32,
    wanted: usize,
}

impl Peeked {
    fn count(&self) -> usize {
        self.records.iter().map(Records::len).sum()
    }
}

impl Broker {
    pub(crate) fn peek_message(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let (topic, group) = self.check_reader(exchange, "peeking message")?;
        let queue_id: i32 = exchange.number("queueId")?;
        let wanted = exchange.number::<i32>("maxMsgNums")?.clamp(1, PEEKED_MAX) as usize;
        let peek = Peek { group, topic, queue_id, wanted };
        self.answer_from_disk(exchange, move |broker, reply| answer(reply, &broker.peek(&peek)?))
    }

    fn peek(&self, peek: &Peek) -> Result<Peeked, Refusal> {
        let Peek { group, topic, queue_id, wanted } = peek;
        let mut peeked = Peeked::default();
        let queues = match u32::try_from(*queue_id) {
            Ok(one) => one..one + 1,
            Err(_) => 0..u32::try_from(topic.config.read_queue_nums).unwrap_or(0),
        };
        for queue_id in queues {
            self.peek_queue(group, topic, queue_id, *wanted, &mut peeked)?;
        }
        for origin in [Origin::RetryV1, Origin::RetryV2] {
            let Some(retries) = self.topics.get(&origin.topic(group, &topic.config.topic_name)) else {
                continue;
            };
            for queue_id in 0..retries.queue_count() {
                self.peek_queue(group, &retries, queue_id, *wanted, &mut peeked)?;
            }
        }
        Ok(peeked)
    }

    fn peek_queue(
        &self,
        group: &str,
        topic: &Topic,
        queue_id: u32,
        wanted: usize,
        peeked: &mut Peeked,
    ) -> Outcome {
        let Some(queue) = topic.queue(&self.store, queue_id) else { return Ok(()) };
        let known = self.offsets.get(group, queue.topic(), queue_id as i32);
        let from = known.unwrap_or(queue.min_offset() as i64);
        peeked.rest += (queue.max_offset() as i64 - from).max(0);
        let wanted = wanted.saturating_sub(peeked.count());
        if wanted == 0 {
            return Ok(());
        }
        let result = self.peek_from(queue, from, wanted)?;
        if !result.records.is_empty() {
            // Like Java's, which takes a look for a delivery.
            let (count, bytes) = (result.records.len() as u64, result.records.byte_len() as u64);
            self.stats.got(group, queue.topic(), count, bytes);
            peeked.records.push(result.records);
        }
        Ok(())
    }

    fn peek_from(&self, queue: &Arc<Queue>, from: i64, wanted: usize) -> Result<ReadResult, Refusal> {
        let limits = ReadLimits { max_count: wanted as u32, max_bytes: u64::MAX };
        let result = self.store.read(queue, from, limits, &mut |_| true)?;
        if matches!(result.status, ReadStatus::OffsetTooSmall | ReadStatus::OffsetOverflowBadly) {
            return Ok(self.store.read(queue, result.next_offset, limits, &mut |_| true)?);
        }
        Ok(result)
    }
}

/// The client's header class asks for all of these, though only `restNum` says anything.
fn answer(reply: &mut Reply<'_>, peeked: &Peeked) -> Outcome {
    if peeked.records.is_empty() {
        return reply.answer(response::PULL_NOT_FOUND, Some("NO_MESSAGE_IN_QUEUE"), |mut writer| {
            writer.number("restNum", peeked.rest);
            writer.empty();
        });
    }
    let mut body = Vec::new();
    for records in &peeked.records {
        records.copy_to(&mut body)?;
    }
    reply.answer(response::SUCCESS, Some("FOUND"), |mut writer| {
        writer.number("invisibleTime", 0);
        writer.number("popTime", 0);
        writer.number("restNum", peeked.rest);
        writer.number("reviveQid", 0);
        writer.body(&body);
    })
}
