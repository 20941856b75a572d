//! Bringing back what was delivered and not acknowledged in time: each message goes to its group's retry topic, from
//! where the group pops it again (broker.md §15.5).
//!
//! The copy and the acknowledgement of the original are one append, so a restart does not bring it back twice. How
//! often is too often is for consumers to say: they send such a message back with the request for dead letters.

use std::sync::Arc;
use std::time::Duration;

use store::{Batch, Flushed};
use wire::hash;
use wire::names::REVIVE_GROUP;
use wire::pop::{Origin, normal_topic};
use wire::properties as props;
use wire::record::{Message, Record};
use wire::sys_flag;

use super::outstanding::Checkpoint;
use super::revive_log::Acks;
use crate::Broker;
use crate::exchange::Refusal;

/// Shortest time between two looks at what is due, which come together therefore: what a message may be late by.
const TICK: Duration = Duration::from_millis(100);
/// Longest time between two looks while anything is outstanding: the machine's clock may be set.
const REST_MAX: Duration = Duration::from_secs(10);
/// Checkpoints handled before others have their turn.
const AT_ONCE: usize = 64;
/// Pause of a checkpoint whose messages the store did not take.
const PUT_OFF_MS: i64 = 1_000;

impl Broker {
    /// Brings back what is due, for ever. Sleeps until something is, or until something comes.
    pub(crate) async fn run_revive(self: &Arc<Self>) {
        loop {
            let now_ms = self.now_ms();
            let next_ms = self.pop.log.next_ms(now_ms);
            self.note_revived();
            match next_ms.map(|next_ms| u64::try_from(next_ms.saturating_sub(now_ms)).unwrap_or(0)) {
                None => self.pop.log.arrived.notified().await,
                Some(left_ms) => tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(left_ms).min(REST_MAX)) => (),
                    () = self.pop.log.arrived.notified() => (),
                },
            }
            while self.is_anything_due() {
                // Messages that were given away long ago are read from the disk: not on a thread that others wait for.
                let broker = Arc::clone(self);
                let revived = tokio::task::spawn_blocking(move || broker.revive_due()).await;
                if !revived.unwrap_or(false) {
                    break;
                }
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn is_anything_due(&self) -> bool {
        let now_ms = self.now_ms();
        if let Err(error) = self.pop.log.catch_up(&self.store, now_ms) {
            tracing::warn!("the revive log cannot be read: {error}");
        }
        !self.pop.log.due(now_ms, 1).is_empty()
    }

    /// Waits for what is being brought back, and lets nothing come back any more.
    pub(crate) fn stop_reviving(&self) {
        *self.pop.revives.lock() = false;
    }

    /// Handles some checkpoints that are due; true when there may be more.
    pub(crate) fn revive_due(self: &Arc<Self>) -> bool {
        let revives = self.pop.revives.lock();
        if !*revives {
            return false;
        }
        let now_ms = self.now_ms();
        if let Err(error) = self.pop.log.catch_up(&self.store, now_ms) {
            tracing::warn!("the revive log cannot be read: {error}");
        }
        let due = self.pop.log.due(now_ms, AT_ONCE);
        for (revive_queue, at, checkpoint) in &due {
            if let Err(refusal) = self.revive(*revive_queue, *at, checkpoint, now_ms) {
                let (topic, group) = (&*checkpoint.topic, &*checkpoint.group);
                tracing::warn!(topic, group, "not brought back yet: {}", refusal.remark);
                self.pop.log.put_off(*revive_queue, *at, now_ms + PUT_OFF_MS);
            }
        }
        due.len() == AT_ONCE
    }

    /// Notes up to where the log is done with, in the offsets of the group that Java has for it.
    pub(crate) fn note_revived(&self) {
        let now_ms = self.now_ms();
        for (queue, last) in self.pop.log.done().filter(|(_, last)| *last >= 0) {
            self.offsets.commit(REVIVE_GROUP, self.pop.log.topic(), queue, last, u64::MAX, now_ms);
        }
    }

    fn revive(
        self: &Arc<Self>,
        revive_queue: u32,
        at: u64,
        checkpoint: &Checkpoint,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let Checkpoint { topic, group, .. } = checkpoint;
        let normal = normal_topic(topic, group);
        if self.topics.get(normal).is_none() || self.groups.get(group).is_none() {
            self.pop.log.forget(revive_queue, at);
            return Ok(());
        }
        let mut batch = Batch::default();
        let retry = self.retry_topic_of(checkpoint, normal)?;
        // What the disk does not give comes back when it does; the others of its delivery do not wait for it.
        let (mut offsets, mut unread) = (Vec::new(), None);
        for offset in checkpoint.open_offsets() {
            let pushed = batch.len();
            match self.push_retry(checkpoint, offset, &retry, &mut batch) {
                Ok(()) => offsets.push(offset),
                Err(refusal) => {
                    batch.truncate(pushed);
                    unread = Some((offset, refusal));
                }
            }
        }
        if let Some((offset, refusal)) = unread {
            let pause = self.pop.log.put_off_unread(revive_queue, at, now_ms);
            let (queue, remark) = (checkpoint.queue, &refusal.remark);
            tracing::error!(
                topic = &**topic,
                queue,
                offset,
                group = &**group,
                "a message that was popped and not acknowledged cannot be read; it comes back when the disk gives it, \
                 which is tried again in {pause:?}: {remark}"
            );
            if offsets.is_empty() {
                return Ok(());
            }
        }
        let brought_back = batch.len();
        let acks = Acks {
            topic: topic.to_string(),
            group: group.to_string(),
            queue: checkpoint.queue,
            start: checkpoint.start,
            pop_time: checkpoint.pop_time,
            invisible_ms: checkpoint.due_ms.saturating_sub(checkpoint.pop_time),
            revive_queue,
            offsets,
        };
        self.pop.log.close(&self.store, &mut batch, &acks, now_ms)?;
        self.stats.stored(&batch, &self.topics);
        if brought_back > 0 {
            self.tell_of_retries(normal, group, batch.appended(brought_back - 1).until);
        }
        Ok(())
    }

    /// Wakes one of a group that waits for a topic when what came back to it can be read: with synchronous flush only
    /// when the log is durable up to `until`, however long the disk takes.
    fn tell_of_retries(self: &Arc<Self>, topic: &str, group: &Arc<str>, until: u64) {
        if !self.store.is_sync() {
            return self.pop.waits.arrived_for(topic, group);
        }
        let (broker, topic, group) = (Arc::downgrade(self), topic.to_owned(), Arc::clone(group));
        let tell = move |flushed| match (broker.upgrade(), flushed) {
            (Some(broker), Flushed::Timeout) => broker.tell_of_retries(&topic, &group, until),
            (Some(broker), _) => broker.pop.waits.arrived_for(&topic, &group),
            (None, _) => (),
        };
        self.store.when_flushed(until, Box::new(tell));
    }

    /// The retry topic that a message of the checkpoint comes back in: a retry stays where it is.
    fn retry_topic_of(
        &self,
        checkpoint: &Checkpoint,
        normal: &str,
    ) -> Result<Arc<crate::topics::Topic>, Refusal> {
        let name = match Origin::of(&checkpoint.topic) {
            Origin::Normal if self.settings.load().enable_retry_topic_v2 => {
                Origin::RetryV2.topic(&checkpoint.group, normal)
            }
            Origin::Normal => Origin::RetryV1.topic(&checkpoint.group, normal),
            Origin::RetryV1 | Origin::RetryV2 => checkpoint.topic.to_string(),
        };
        Ok(self.topics.ensure(&name, 1, 0, self.now_ms())?)
    }

    /// Adds the copy of one message. One that has expired from the log does not come back.
    fn push_retry(
        &self,
        checkpoint: &Checkpoint,
        offset: i64,
        retry: &crate::topics::Topic,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        let Some(bytes) = self.message_at(&checkpoint.topic, checkpoint.queue, offset)? else {
            return Ok(());
        };
        let record = Record::parse(&bytes).map_err(Refusal::system)?;
        if record.sys_flag & sys_flag::INNER_BATCH == 0 {
            return self.push_copy(checkpoint, &record.message(), retry, batch);
        }
        // Retry topics have a place for each message, so an inner batch comes back unwrapped.
        for entry in wire::batch::entries(record.body) {
            let Ok(entry) = entry else {
                let topic = &*checkpoint.topic;
                tracing::warn!(
                    topic,
                    offset,
                    "what follows in a batch cannot be read and does not come back"
                );
                break;
            };
            let message = Message {
                flag: entry.flag,
                sys_flag: record.sys_flag & !(sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP),
                body: entry.body,
                properties: entry.properties,
                ..record.message()
            };
            self.push_copy(checkpoint, &message, retry, batch)?;
        }
        Ok(())
    }

    fn push_copy(
        &self,
        checkpoint: &Checkpoint,
        message: &Message<'_>,
        retry: &crate::topics::Topic,
        batch: &mut Batch,
    ) -> Result<(), Refusal> {
        let queue = retry
            .queue(&self.store, 0)
            .ok_or_else(|| Refusal::system(format!("topic {} has no queue 0", retry.config.topic_name)))?;
        let mut properties = Vec::with_capacity(message.properties.len() + 96);
        let is_first =
            message.reconsume_times == 0 || props::find(message.properties, props::FIRST_POP_TIME).is_none();
        let removed: &[&str] = if is_first {
            &[props::POP_CK, props::ORIGIN_GROUP, props::CRC32, props::FIRST_POP_TIME]
        } else {
            &[props::POP_CK, props::ORIGIN_GROUP, props::CRC32]
        };
        props::copy_without(message.properties, removed, &mut properties);
        if is_first {
            props::push(
                &mut properties,
                props::FIRST_POP_TIME,
                itoa::Buffer::new().format(checkpoint.pop_time),
            );
        }
        props::push(&mut properties, props::ORIGIN_GROUP, &checkpoint.group);
        let copy = Message {
            topic: &retry.config.topic_name,
            queue_id: 0,
            born_host: self.address,
            store_host: self.address,
            reconsume_times: message.reconsume_times.saturating_add(i32::from(!checkpoint.suspended)),
            properties: &properties,
            ..*message
        };
        let tags_code = hash::tags_code(props::find(message.properties, props::TAGS));
        if batch.push(queue, &copy, tags_code).is_ok() {
            return Ok(());
        }
        // Properties that leave no room for ours, or that are not taken any more: better without them than never again,
        // with all that were delivered together with it.
        let copy = Message { properties: message.properties, ..copy };
        if batch.push(queue, &copy, tags_code).is_err() {
            let copy = Message { properties: &[], ..copy };
            batch.push(queue, &copy, tags_code).map_err(Refusal::system)?;
        }
        Ok(())
    }

    /// The record at an offset of a queue; `None` when it is gone, or when nothing tells any more where it is because
    /// its entry is damaged. What cannot be read now is not: it is looked for again later.
    fn message_at(&self, topic: &str, queue: i32, offset: i64) -> Result<Option<Vec<u8>>, Refusal> {
        let (Ok(queue), Ok(offset)) = (u32::try_from(queue), u64::try_from(offset)) else { return Ok(None) };
        let Some(queue) = self.store.find_queue(topic, queue) else { return Ok(None) };
        match self.store.read_entries(&queue, offset, 1)?.first() {
            Some(entry) => Ok(self.store.record_at(entry.physical_offset)?),
            None => {
                if (queue.min_offset()..queue.max_offset()).contains(&offset) {
                    tracing::error!(
                        topic,
                        offset,
                        "the entry of a message is damaged; it does not come back"
                    );
                }
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use sim::{Fault, Operation, SimClock, SimDisk};
    use wire::body::{SubscriptionGroupConfig, TopicConfig};

    use super::*;
    use crate::filter::TagFilter;
    use crate::pop::PopRequest;
    use crate::testing;

    const TOPIC: &str = "orders";
    const GROUP: &str = "readers";
    const INVISIBLE: Duration = Duration::from_secs(5);

    fn broker() -> (Arc<Broker>, SimDisk, SimClock) {
        let clock = SimClock::default();
        let disk = SimDisk::new(clock.clone());
        let broker = testing::open(&disk, &clock, |_| ());
        broker.topics.update(vec![TopicConfig::new(TOPIC, 1, 6)], 0).unwrap();
        broker.groups.update(vec![SubscriptionGroupConfig::new(GROUP)], 0).unwrap();
        (broker, disk, clock)
    }

    fn send(broker: &Broker, topic: &str, body: &[u8]) {
        let mut batch = Batch::default();
        let message = Message::of_broker(broker.address, topic, 0, body);
        batch.push(&broker.store.queue(topic, 0), &message, 0).unwrap();
        broker.store.append(&mut batch).unwrap();
    }

    fn pop(broker: &Arc<Broker>) -> usize {
        let request = PopRequest {
            group: GROUP.to_owned(),
            topic: broker.topics.get(TOPIC).unwrap(),
            queue_id: -1,
            max_count: 8,
            invisible_ms: INVISIBLE.as_millis() as i64,
            from_end: false,
            filter: TagFilter::parse(Some("*")).unwrap().into(),
            is_orderly: false,
            attempt: None,
        };
        let popped = broker.pop(&request, store::Reach::Disk).unwrap();
        popped.parts.iter().map(|part| part.records.iter().count()).sum()
    }

    fn brought_back(broker: &Arc<Broker>) -> u64 {
        while broker.revive_due() {}
        let retry = Origin::RetryV1.topic(GROUP, TOPIC);
        broker.store.find_queue(&retry, 0).map_or(0, |queue| queue.max_offset())
    }

    #[tokio::test]
    async fn a_message_that_the_disk_does_not_give_holds_up_none_that_was_popped_with_it() {
        let (broker, disk, clock) = broker();
        send(&broker, TOPIC, b"in the first segment");
        send(&broker, "others", &vec![b'x'; 200 << 10]);
        send(&broker, "others", &vec![b'x'; 200 << 10]);
        send(&broker, TOPIC, b"in the second");
        assert_eq!(pop(&broker), 2);
        disk.inject(Fault::from_now(Operation::Read, "/commitlog/00000000000000000000", ErrorKind::Other));
        clock.advance(INVISIBLE);
        assert_eq!(brought_back(&broker), 1, "the second");
        assert_eq!(broker.pop.log.in_flight(TOPIC, GROUP, 0), 1);
        for pause in [1, 2, 4, 8] {
            let tries = disk.failures();
            clock.advance(Duration::from_millis(pause * 1000 - 1));
            assert_eq!((brought_back(&broker), disk.failures()), (1, tries));
            clock.advance(Duration::from_millis(1));
            assert_eq!((brought_back(&broker), disk.failures()), (1, tries + 1));
        }
        disk.heal();
        clock.advance(Duration::from_secs(16));
        assert_eq!((brought_back(&broker), broker.pop.log.outstanding_count()), (2, 0));
    }

    #[tokio::test]
    async fn what_was_popped_before_the_clock_was_set_back_does_not_wait_for_it_to_catch_up() {
        for restarts in [false, true] {
            let (mut broker, disk, clock) = broker();
            send(&broker, TOPIC, b"hidden");
            assert_eq!(pop(&broker), 1);
            clock.set_wall(broker.now_ms() - 3_600_000);
            if restarts {
                broker.finish().unwrap();
                drop(broker);
                broker = testing::open(&disk, &clock, |_| ());
            }
            assert_eq!(brought_back(&broker), 0);
            clock.advance(INVISIBLE - Duration::from_millis(1));
            assert_eq!(brought_back(&broker), 0, "not early");
            clock.advance(Duration::from_millis(1));
            assert_eq!(brought_back(&broker), 1);
        }
    }
}
