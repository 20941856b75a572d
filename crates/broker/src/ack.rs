//! Acknowledgements (200051, 200151): what a consumer is done with is never delivered to its group again
//! (broker.md §15.4).
//!
//! All of one read are gathered, those of one delivery become one record of the revive log, and all records are
//! appended together before the first answer. With synchronous flush the answers follow when the disk has them.

use std::cell::RefCell;
use std::sync::Arc;

use remoting::{Channel, Held, ReplyTo};
use serde::Deserialize;
use store::{Flushed, Queue};
use wire::base64;
use wire::code::{request as code, response};
use wire::pop::{Handle, Origin};

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};
use crate::offset_requests::check_not_own;
use crate::pop::order::Acked;
use crate::pop::record::CHECKPOINT_MAX;
use crate::pop::revive_log::Acks;
use crate::pop::{INVISIBLE_MAX_MS, order_key};
use crate::pull::{no_topic, not_readable};
use crate::topics::Topic;

/// Deliveries gathered before they are written.
const GATHERED_MAX: usize = 256;
/// Most deliveries that one batch may speak of. A proxy sends one batch for what one of its clients acknowledges with
/// one request, which is what that has received at once: some dozens of messages.
const BATCH_MAX: usize = 4096;

thread_local! {
    static INCOMING: RefCell<Incoming> = RefCell::default();
}

/// Acknowledgements of one turn. One for each thread, lent to one connection at a time.
#[derive(Default)]
struct Incoming {
    acks: Vec<Acks>,
    answers: Vec<(ReplyTo, Option<Held>)>,
    /// Topic of the last one, which is most often that of the next.
    topic: Option<Arc<Topic>>,
}

/// Body of 200151.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchAckBody {
    #[serde(default)]
    acks: Vec<BatchAck>,
}

/// Messages of one delivery.
#[derive(Deserialize)]
struct BatchAck {
    #[serde(rename = "c", alias = "consumerGroup")]
    group: String,
    /// The topic itself; `retry` says whether a retry topic is meant.
    #[serde(rename = "t", alias = "topic")]
    topic: String,
    #[serde(rename = "r", alias = "retry")]
    retry: String,
    #[serde(rename = "so", alias = "startOffset")]
    start: i64,
    #[serde(rename = "q", alias = "queueId")]
    queue: i32,
    #[serde(rename = "rq", alias = "reviveQueueId")]
    revive_queue: i32,
    #[serde(rename = "pt", alias = "popTime")]
    pop_time: i64,
    #[serde(rename = "it", alias = "invisibleTime")]
    invisible_ms: i64,
    /// Bits in Base64: bit i stands for offset `start` + i.
    #[serde(rename = "b", alias = "bitSet", default)]
    bits: String,
}

impl BatchAck {
    /// Offsets within a queue that are meant. No delivery has more messages than a checkpoint, and what else is set
    /// would be kept until the delivery is due.
    fn offsets(&self, queue: &Queue) -> Result<Vec<i64>, Refusal> {
        let bytes = base64::decode(&self.bits)
            .ok_or_else(|| Refusal::system("the bits of a batch ack are no Base64"))?;
        let known = queue.min_offset() as i64..=queue.max_offset() as i64;
        let set = (0..bytes.len() * 8).filter(|index| bytes[index / 8] & (1 << (index % 8)) != 0);
        let offsets = set.take(CHECKPOINT_MAX).map(|index| self.start.saturating_add(index as i64));
        Ok(offsets.filter(|offset| known.contains(offset)).collect())
    }
}

impl Broker {
    /// Takes the acknowledgements of a request; [`Broker::flush_acks`] stores and answers them.
    pub(crate) fn ack(&self, exchange: &mut Exchange<'_, '_>) {
        INCOMING.with_borrow_mut(|incoming| {
            // The place first: what is gathered is also answered.
            let gathered = self.place(exchange.channel, true).and_then(|held| {
                match exchange.request.header.code {
                    code::BATCH_ACK_MESSAGE => self.gather_batch(exchange, incoming)?,
                    _ => self.gather_one(exchange, incoming)?,
                }
                Ok(held)
            });
            match gathered {
                Ok(held) => incoming.answers.push((exchange.request.reply_to(), held)),
                Err(refusal) => exchange.refuse(&refusal),
            }
            if incoming.acks.len() > GATHERED_MAX {
                self.append_acks(exchange.channel, incoming, exchange.out);
            }
        });
    }

    /// Stores and answers what [`Broker::ack`] gathered.
    pub(crate) fn flush_acks(&self, channel: &Arc<Channel>, out: &mut Vec<u8>) {
        INCOMING.with_borrow_mut(|incoming| {
            if !incoming.answers.is_empty() {
                self.append_acks(channel, incoming, out);
            }
            incoming.topic = None;
        });
    }

    /// Forgets what a turn gathered that did not come to its end.
    pub(crate) fn forget_acks(&self) {
        drop(INCOMING.take());
    }

    /// To a group that there is not nothing is delivered, and nothing is kept of what it is said to have consumed.
    fn gather_one(&self, exchange: &Exchange<'_, '_>, incoming: &mut Incoming) -> Outcome {
        let name = exchange.text("topic")?;
        let topic = match &incoming.topic {
            Some(topic) if topic.config.topic_name == name => Arc::clone(topic),
            _ => {
                let topic = self.topics.get(name).ok_or_else(|| no_topic(name))?;
                incoming.topic = Some(Arc::clone(&topic));
                topic
            }
        };
        let queue = self.popped_queue(exchange, &topic)?;
        let offset: i64 = exchange.number("offset")?;
        if offset < queue.min_offset() as i64 || offset > queue.max_offset() as i64 {
            return Err(illegal_offset(&queue, offset));
        }
        let group = exchange.text("consumerGroup")?;
        check_not_own(group)?;
        let handle = parse_handle(exchange, self.now_ms())?;
        if self.groups.get(group).is_none() {
            return Ok(());
        }
        if handle.is_orderly() {
            return self.ack_orderly(group, &queue, offset, handle.pop_time);
        }
        let acks = self.acks_under(incoming, &handle, group, &queue)?;
        acks.offsets.push(offset);
        Ok(())
    }

    fn gather_batch(&self, exchange: &Exchange<'_, '_>, incoming: &mut Incoming) -> Outcome {
        let nothing = || Refusal::new(response::NO_MESSAGE, "the batch acknowledges nothing");
        if exchange.request.body.is_empty() {
            return Err(nothing());
        }
        let body: BatchAckBody = exchange.body()?;
        if body.acks.is_empty() {
            return Err(nothing());
        }
        if body.acks.len() > BATCH_MAX {
            let remark = format!(
                "the batch acknowledges messages of {} deliveries; up to {BATCH_MAX} are possible in one request",
                body.acks.len()
            );
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        // All of it is looked at before any of it counts.
        let mut acks = Vec::with_capacity(body.acks.len());
        for batch in &body.acks {
            acks.extend(self.batch_acks(batch)?);
        }
        incoming.acks.extend(acks);
        Ok(())
    }

    /// The acknowledgements of one delivery in a batch; `None` when none is left to store.
    fn batch_acks(&self, batch: &BatchAck) -> Result<Option<Acks>, Refusal> {
        check_not_own(&batch.group)?;
        let origin = Origin::from_mark(&batch.retry)
            .ok_or_else(|| Refusal::system("the retry mark of a batch ack is none of 0, 1, 2"))?;
        let topic = self.topics.get(&origin.topic(&batch.group, &batch.topic));
        let queue = topic.and_then(|topic| {
            let id = u32::try_from(batch.queue).ok()?;
            topic.queue(&self.store, id).cloned()
        });
        // Like Java: what is not here cannot be delivered again either.
        let Some(queue) = queue.filter(|_| self.groups.get(&batch.group).is_some()) else { return Ok(None) };
        let offsets = batch.offsets(&queue)?;
        let handle = batch_handle(batch, origin);
        check_end(&handle, self.now_ms())?;
        if handle.is_orderly() {
            for offset in offsets {
                // One that is of no delivery does not keep the others from counting.
                let _ = self.ack_orderly(&batch.group, &queue, offset, batch.pop_time);
            }
            return Ok(None);
        }
        let revive_queue = self.checked_revive_queue(&handle)?;
        let acks = Acks { offsets, ..acks_of(&handle, &batch.group, &queue, revive_queue) };
        Ok(Some(acks).filter(|acks| !acks.offsets.is_empty()))
    }

    /// The queue that a request names, of a topic it was popped from.
    pub(crate) fn popped_queue(
        &self,
        exchange: &Exchange<'_, '_>,
        topic: &Topic,
    ) -> Result<Arc<Queue>, Refusal> {
        let queue_id: i32 = exchange.number("queueId")?;
        let is_readable = queue_id < topic.config.read_queue_nums;
        let queue = u32::try_from(queue_id).ok().filter(|_| is_readable);
        let queue = queue.and_then(|id| topic.queue(&self.store, id)).cloned();
        queue.ok_or_else(|| Refusal::new(response::MESSAGE_ILLEGAL, not_readable(exchange, topic, queue_id)))
    }

    /// The gathered acknowledgements of one delivery.
    fn acks_under<'i>(
        &self,
        incoming: &'i mut Incoming,
        handle: &Handle<'_>,
        group: &str,
        queue: &Queue,
    ) -> Result<&'i mut Acks, Refusal> {
        let revive_queue = self.checked_revive_queue(handle)?;
        let is_same = |acks: &Acks| {
            (acks.start, acks.pop_time, acks.queue) == (handle.start, handle.pop_time, queue.id() as i32)
                && acks.revive_queue == revive_queue
                && acks.group == group
                && acks.topic == **queue.topic()
        };
        // Those of one delivery come together, and most often last.
        let index = incoming.acks.iter().rposition(is_same).unwrap_or_else(|| {
            incoming.acks.push(acks_of(handle, group, queue, revive_queue));
            incoming.acks.len() - 1
        });
        Ok(&mut incoming.acks[index])
    }

    /// The queue of the revive log in a handle, which a client may have made up.
    pub(crate) fn checked_revive_queue(&self, handle: &Handle<'_>) -> Result<u32, Refusal> {
        let queue = u32::try_from(handle.revive_queue).ok().filter(|id| *id < self.pop.log.queue_count());
        queue.ok_or_else(|| {
            let remark = format!("the handle names revive queue {}, which there is not", handle.revive_queue);
            Refusal::new(response::MESSAGE_ILLEGAL, remark)
        })
    }

    fn append_acks(&self, channel: &Arc<Channel>, incoming: &mut Incoming, out: &mut Vec<u8>) {
        let answers = std::mem::take(&mut incoming.answers);
        let appended = match incoming.acks.as_slice() {
            [] => Ok(0),
            acks => {
                for acks in acks {
                    self.stats.acknowledged(&acks.group, &acks.topic, acks.offsets.len() as u64);
                }
                self.pop.log.ack(&self.store, acks, self.now_ms())
            }
        };
        incoming.acks.clear();
        match appended {
            Err(error) => {
                let refusal = Refusal::from(&error);
                tracing::warn!(requests = answers.len(), "acknowledgements not stored: {error}");
                for (reply_to, _) in answers {
                    reply_to.write(out, refusal.code, Some(&refusal.remark));
                }
            }
            Ok(until) if self.store.is_sync() => {
                self.answer_acks_when_flushed(channel, answers, until);
            }
            Ok(_) => {
                for (reply_to, _) in answers {
                    reply_to.write(out, response::SUCCESS, None);
                }
            }
        }
    }

    fn answer_acks_when_flushed(
        &self,
        channel: &Arc<Channel>,
        answers: Vec<(ReplyTo, Option<Held>)>,
        until: u64,
    ) {
        let (askers, places): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
        self.answer_when_flushed(until, channel, places, move |flushed, out| {
            let (code, remark) = match flushed {
                Flushed::Done => (response::SUCCESS, None),
                // It counts from here on, but not after power loss: that message may come once more.
                Flushed::Timeout | Flushed::Failed => {
                    (response::SYSTEM_ERROR, Some("acknowledged, but the disk has not confirmed it"))
                }
            };
            for reply_to in &askers {
                reply_to.write(out, code, remark);
            }
        });
    }

    /// An acknowledgement of an orderly delivery moves the group's offset.
    pub(crate) fn ack_orderly(&self, group: &str, queue: &Queue, offset: i64, pop_time: i64) -> Outcome {
        let key = order_key(group, queue);
        let committed = self.offsets.get(group, key.topic, key.queue).unwrap_or(-1);
        if offset < committed {
            return Ok(());
        }
        let step = self.settings.load().consumer_offset_update_version_step;
        let commit = |next| {
            self.offsets.commit(group, key.topic, key.queue, next, step, self.now_ms());
        };
        match self.pop.orders.ack(&key, offset, pop_time, committed, commit) {
            Acked::Unknown => {
                let remark = format!("offset {offset} is not in the last delivery of this queue");
                return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
            }
            Acked::Stale => (),
            Acked::Next(_) => {
                if self.pop.orders.blocked_until(&key, None, 0, self.now_ms()).is_none() {
                    self.pop.waits.arrived_in(key.topic, group, &[key.queue]);
                }
            }
        }
        Ok(())
    }
}

/// Acknowledgements under a handle, none yet.
pub(crate) fn acks_of(handle: &Handle<'_>, group: &str, queue: &Queue, revive_queue: u32) -> Acks {
    Acks {
        topic: queue.topic().to_string(),
        group: group.to_owned(),
        queue: queue.id() as i32,
        start: handle.start,
        pop_time: handle.pop_time,
        invisible_ms: handle.invisible_ms,
        revive_queue,
        offsets: Vec::new(),
    }
}

fn batch_handle(batch: &BatchAck, origin: Origin) -> Handle<'static> {
    Handle {
        start: batch.start,
        pop_time: batch.pop_time,
        invisible_ms: batch.invisible_ms,
        revive_queue: batch.revive_queue,
        origin,
        broker: "",
        queue: batch.queue,
        offset: -1,
    }
}

/// The handle in a request.
pub(crate) fn parse_handle<'a>(exchange: &'a Exchange<'_, '_>, now_ms: i64) -> Result<Handle<'a>, Refusal> {
    let text = exchange.text("extraInfo")?;
    let handle = Handle::parse(text).ok_or_else(|| {
        let remark = format!("extraInfo is \"{text}\", which is no receipt handle");
        Refusal::new(response::MESSAGE_ILLEGAL, remark)
    })?;
    check_end(&handle, now_ms)?;
    Ok(handle)
}

/// Refuses the handle of a delivery that would end later than any can, even if the clock was set back since by as much
/// again: what is noted under it would be kept for ever.
fn check_end(handle: &Handle<'_>, now_ms: i64) -> Outcome {
    let end_ms = handle.pop_time.saturating_add(handle.invisible_ms);
    if end_ms.saturating_sub(now_ms) <= 2 * INVISIBLE_MAX_MS {
        return Ok(());
    }
    Err(Refusal::new(response::MESSAGE_ILLEGAL, "the handle is of a delivery that ends later than any can"))
}

pub(crate) fn illegal_offset(queue: &Queue, offset: i64) -> Refusal {
    let remark = format!(
        "offset is illegal, key:{}@{}, commit:{offset}, store:{}~{}",
        queue.topic(),
        queue.id(),
        queue.min_offset(),
        queue.max_offset()
    );
    Refusal::new(response::NO_MESSAGE, remark)
}

#[cfg(test)]
mod tests {
    use store::Batch;
    use wire::record::Message;

    use super::*;

    #[tokio::test]
    async fn bits_beyond_what_one_delivery_holds_are_passed_over() {
        let broker = crate::testing::broker();
        let queue = broker.store.queue("orders", 0);
        let mut batch = Batch::default();
        for _ in 0..100 {
            batch.push(&queue, &Message::of_broker(broker.address, "orders", 0, b"x"), 0).unwrap();
        }
        broker.store.append(&mut batch).unwrap();
        let bits = wire::base64::encode(&[0xFF; 4096 / 8]);
        let text = format!(
            r#"{{"c":"readers","t":"orders","r":"0","so":5,"q":0,"rq":0,"pt":1,"it":1,"b":"{bits}"}}"#
        );
        let ack: BatchAck = serde_json::from_str(&text).unwrap();
        let last = 5 + CHECKPOINT_MAX as i64;
        assert_eq!(ack.offsets(&queue).unwrap(), (5..last).collect::<Vec<_>>());
    }
}
