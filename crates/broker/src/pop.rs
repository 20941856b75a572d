//! Pops (200050): the broker chooses the messages, and delivers each again unless it is acknowledged in time
//! (broker.md §15).
//!
//! What was delivered and not acknowledged is in the revive log ([`revive_log`]), which is written before the answer;
//! [`revive`] puts what is due into the group's retry topic. A pop that finds nothing waits in [`polling`]; one that
//! comes to a queue whose messages are not in memory gives what it has, or goes to [`crate::readers`].

mod busy;
#[cfg(test)]
mod model;
pub(crate) mod order;
pub(crate) mod outstanding;
pub(crate) mod polling;
mod priority;
pub(crate) mod record;
mod revive;
pub(crate) mod revive_log;
pub(crate) mod waits;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use store::{AppendError, Queue, QueueKind, Reach, ReadLimits, ReadResult, ReadStatus, Records};
use tokio::time::Instant;
use wire::code::response;
use wire::names::REVIVE_GROUP;
use wire::pop::{ORDER_QUEUE, Origin};

use self::busy::BusyQueues;
use self::order::{OrderKey, Orders};
use self::outstanding::{Checkpoint, Named};
use self::polling::{NoRoom, Place, Room};
use self::record::CHECKPOINT_MAX;
use self::revive_log::ReviveLog;
use self::waits::{PopWaiter, Waits};
use crate::exchange::{self, Exchange, Outcome, Refusal};
use crate::filter::Filter;
use crate::offset_requests::check_not_own;
use crate::offsets::OffsetsBody;
use crate::pull::{no_group, no_topic, not_readable};
use crate::topics::Topic;
use crate::{Broker, BrokerError};

/// How long after its time a request is answered that it came too late.
const LATE_MS: i64 = 500;
/// A request that has no more than this left does not wait.
const HARDLY_WORTH_WAITING_MS: i64 = 50;
/// Longest time that a client may ask to wait.
const POLL_MAX_MS: i64 = 120_000;
/// Longest time that messages can be hidden for: the reach of Java's timer, which a Java broker would need to take
/// over.
pub(crate) const INVISIBLE_MAX_MS: i64 = 3 * 86_400_000;
/// The entry, among the offsets of the group of the revive log, that is the place in the commit log up to which the
/// file of offsets reflects the revive log. Java asks for queues that exist, and passes over it.
const MARK_QUEUE: i32 = -1;
/// How often a pop that moves on without finding anything looks again at once.
const LOOKS_MAX: u32 = 16;

/// State of pop consumption.
pub(crate) struct Pop {
    pub log: ReviveLog,
    pub orders: Orders,
    pub waits: Arc<Waits>,
    busy: BusyQueues,
    /// Whether anything comes back still. Locked while something does.
    revives: Mutex<bool>,
    /// Held, shared, by who appends to the revive log and moves an offset accordingly; alone by an administrator who
    /// does.
    moving: RwLock<()>,
    dice: AtomicU64,
}

impl Pop {
    pub fn new(log: ReviveLog, orders: Orders, waits: Arc<Waits>) -> Pop {
        Pop {
            log,
            orders,
            waits,
            busy: BusyQueues::default(),
            revives: Mutex::new(true),
            moving: RwLock::default(),
            dice: AtomicU64::new(0),
        }
    }

    /// A number below 100.
    fn roll(&self) -> u32 {
        // The step of the golden ratio spreads consecutive values evenly, which is all that is wanted.
        let value = self.dice.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        ((u128::from(value) * 100) >> 64) as u32
    }
}

/// What a pop asks for, independent of its connection.
#[derive(Debug, Clone)]
pub(crate) struct PopRequest {
    pub group: String,
    pub topic: Arc<Topic>,
    /// Queue, or below 0 for any.
    pub queue_id: i32,
    pub max_count: usize,
    pub invisible_ms: i64,
    /// A group without an offset starts at the end.
    pub from_end: bool,
    pub filter: Filter,
    pub is_orderly: bool,
    pub attempt: Option<String>,
}

/// What a pop found.
#[derive(Debug)]
pub(crate) struct Popped {
    pub pop_time: i64,
    pub invisible_ms: i64,
    /// Queue of the revive log, or [`ORDER_QUEUE`].
    pub revive_queue: i32,
    pub parts: Vec<Part>,
    /// Messages that are left in the queues that were looked at.
    pub rest: i64,
    /// Queues of the topic that they are in.
    left_in: Vec<i32>,
    /// Some of them are retries.
    has_retries_left: bool,
    /// When the first queue that is blocked by an orderly delivery is free.
    free_at_ms: Option<i64>,
    /// Something was passed over that the filter does not want.
    has_moved: bool,
    /// Ended before a queue whose messages are farther away than the pop may go.
    is_cut: bool,
}

/// The messages of one queue.
#[derive(Debug)]
pub(crate) struct Part {
    pub origin: Origin,
    pub queue: Arc<Queue>,
    pub start: i64,
    pub offsets: Vec<i64>,
    pub records: Records,
    /// For orderly pops, how often each has failed before.
    pub failures: Vec<(i64, i32)>,
}

impl Popped {
    /// No message.
    fn nothing(pop_time: i64, invisible_ms: i64, revive_queue: i32) -> Popped {
        Popped {
            pop_time,
            invisible_ms,
            revive_queue,
            parts: Vec::new(),
            rest: 0,
            left_in: Vec::new(),
            has_retries_left: false,
            free_at_ms: None,
            has_moved: false,
            is_cut: false,
        }
    }

    /// Number of messages.
    pub fn count(&self) -> usize {
        self.parts.iter().map(|part| part.offsets.len()).sum()
    }

    /// Notes that so many messages are left in a queue.
    fn leave(&mut self, origin: Origin, queue: &Queue, count: i64) {
        self.rest += count;
        match origin {
            _ if count == 0 => (),
            Origin::Normal => self.left_in.push(queue.id() as i32),
            Origin::RetryV1 | Origin::RetryV2 => self.has_retries_left = true,
        }
    }

    /// Whether there is something, but not in memory.
    fn must_wait_for_disk(&self) -> bool {
        self.is_cut && self.parts.is_empty()
    }

    /// Whether the last of a turn's looks has found nothing yet, and moved on.
    fn goes_on_after(&self, look: u32) -> bool {
        look + 1 == LOOKS_MAX && self.has_moved && self.parts.is_empty()
    }
}

impl Broker {
    pub(crate) fn pop_message(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let poll_ms: i64 = exchange.number("pollTime")?;
        let left_ms = poll_left_ms(exchange, poll_ms, self.now_ms());
        if left_ms < -LATE_MS {
            let remark = format!("the broker[{}] pop message is timeout too much", self.address);
            return Err(Refusal::new(response::POLLING_TIMEOUT, remark));
        }
        let request = self.check_pop(exchange)?;
        let popped = self.pop(&request, self.reach())?;
        let reply_to = exchange.request.reply_to();
        let deadline = || Instant::now() + Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        if popped.must_wait_for_disk() {
            let held = exchange::hold(exchange.channel)?;
            let deadline = if poll_ms > 0 { deadline() } else { Instant::now() };
            self.pop_later(PopWaiter { request, reply_to, deadline, held });
            return Ok(());
        }
        if !popped.parts.is_empty() {
            self.write_popped(&request, &popped, reply_to, response::SUCCESS, exchange.out);
            self.pass_on(&request, &popped);
            return Ok(());
        }
        let refused = if poll_ms <= 0 || left_ms <= HARDLY_WORTH_WAITING_MS {
            response::POLLING_TIMEOUT
        } else if let Some(held) = exchange.channel.hold() {
            let waiter = PopWaiter { request: request.clone(), reply_to, deadline: deadline(), held };
            match self.wait_for_pop(waiter, popped.free_at_ms) {
                Ok(()) => return Ok(()),
                Err(NoRoom::Full) => response::POLLING_FULL,
                Err(NoRoom::Closed) => response::POLLING_TIMEOUT,
            }
        } else {
            response::POLLING_FULL
        };
        self.write_popped(&request, &popped, reply_to, refused, exchange.out);
        Ok(())
    }

    /// Checks of broker.md §15.2, in their order.
    fn check_pop(&self, exchange: &Exchange<'_, '_>) -> Result<PopRequest, Refusal> {
        let max_count: i64 = exchange.number("maxMsgNums")?;
        if max_count > CHECKPOINT_MAX as i64 {
            let remark = format!("the broker[{}] pop message's num is greater than 32", self.address);
            self.check_readable("pop message")?;
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        let (topic, group) = self.check_reader(exchange, "pop message")?;
        let is_orderly = exchange.flag("order");
        if topic.kind == QueueKind::Batch && is_orderly {
            // A batch is acknowledged by its first offset, and an orderly group would go on at the second, which leads
            // to the same batch again, for ever, as it does at a Java broker.
            let remark = format!(
                "the topic[{}] has queue.type=BatchCQ, whose batches cannot be popped in order",
                topic.config.topic_name
            );
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        let invisible_ms: i64 = exchange.number("invisibleTime")?;
        check_invisible(invisible_ms)?;
        let kind = exchange.request.field("expType");
        let expression = exchange.request.field("exp").filter(|text| !text.is_empty());
        let filter = self
            .filters
            .of_request(expression, kind.filter(|_| expression.is_some()))
            .map_err(|error| Refusal::new(response::SUBSCRIPTION_PARSE_FAILED, error.to_string()))?;
        let filter = self.filters.with_known_bits(filter, &topic.config.topic_name, &group);
        Ok(PopRequest {
            group,
            topic,
            queue_id: exchange.number("queueId")?,
            max_count: max_count.clamp(1, CHECKPOINT_MAX as i64) as usize,
            invisible_ms,
            from_end: exchange.number_or("initMode", 0) == 1,
            filter,
            is_orderly,
            attempt: exchange.request.field("attemptId").filter(|id| !id.is_empty()).map(str::to_owned),
        })
    }

    fn check_readable(&self, verb: &str) -> Outcome {
        if self.settings.load().broker_permission & wire::body::PERM_READ == 0 {
            let remark = format!("the broker[{}] {verb} is forbidden", self.address);
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        Ok(())
    }

    /// What pop, peek and notification ask first: broker, topic, queue and group may be read.
    pub(crate) fn check_reader(
        &self,
        exchange: &Exchange<'_, '_>,
        verb: &str,
    ) -> Result<(Arc<Topic>, String), Refusal> {
        let forbidden = |remark: String| Refusal::new(response::NO_PERMISSION, remark);
        self.check_readable(verb)?;
        let topic_name = exchange.text("topic")?;
        let topic = self.topics.get(topic_name).ok_or_else(|| no_topic(topic_name))?;
        if !topic.is_readable() {
            return Err(forbidden(format!("the topic[{topic_name}] peeking message is forbidden")));
        }
        let queue_id: i32 = exchange.number("queueId")?;
        if queue_id >= topic.config.read_queue_nums {
            let remark = not_readable(exchange, &topic, queue_id);
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        let group_name = exchange.text("consumerGroup")?;
        check_not_own(group_name)?;
        let group = self.groups.find_or_create(group_name, &self.settings.load(), self.now_ms())?;
        let group = group.ok_or_else(|| no_group(group_name))?;
        if !group.consume_enable {
            return Err(forbidden(format!("subscription group no permission, {group_name}")));
        }
        Ok((topic, group_name.to_owned()))
    }

    /// Pops once, and goes no farther than `reach` for messages. What a part holds is delivered from here on, whether
    /// the answer arrives or not.
    pub(crate) fn pop(&self, request: &PopRequest, reach: Reach) -> Result<Popped, Refusal> {
        let roll = self.pop.roll();
        let settings = self.settings.load();
        let revive_queue = if request.is_orderly { ORDER_QUEUE } else { self.pop.log.next_queue() as i32 };
        let mut popped = Popped::nothing(self.now_ms(), request.invisible_ms, revive_queue);
        let retries = (!request.is_orderly).then(|| self.retry_origin(roll));
        let by_priority = self.pops_by_priority(request, roll);
        let retries_first = roll < priority::retry_probability(&settings, by_priority);
        let turned = if by_priority { 0 } else { roll };
        let found = (|| {
            if let Some(origin) = retries.filter(|_| retries_first) {
                self.pop_retries(request, reach, origin, turned, &mut popped)?;
            }
            self.pop_topic(request, reach, &request.topic, Origin::Normal, turned, &mut popped)?;
            match retries.filter(|_| !retries_first && popped.count() < request.max_count) {
                Some(origin) => self.pop_retries(request, reach, origin, turned, &mut popped),
                None => Ok(()),
            }
        })();
        match found {
            // What was found before the failure is delivered already.
            Err(refusal) if popped.parts.is_empty() => Err(refusal),
            _ => Ok(popped),
        }
    }

    /// Which of the retry topics this pop looks into. The older one is emptied while the newer one is used.
    fn retry_origin(&self, roll: u32) -> Origin {
        let settings = self.settings.load();
        let both = settings.enable_retry_topic_v2 && settings.retrieve_message_from_pop_retry_topic_v1;
        match settings.enable_retry_topic_v2 {
            true if both && roll.is_multiple_of(2) => Origin::RetryV1,
            true => Origin::RetryV2,
            false => Origin::RetryV1,
        }
    }

    fn pop_retries(
        &self,
        request: &PopRequest,
        reach: Reach,
        origin: Origin,
        turned: u32,
        popped: &mut Popped,
    ) -> Outcome {
        let name = origin.topic(&request.group, &request.topic.config.topic_name);
        match self.topics.get(&name) {
            Some(topic) => {
                let any = PopRequest { queue_id: -1, ..request.clone() };
                self.pop_topic(&any, reach, &topic, origin, turned, popped)
            }
            None => Ok(()),
        }
    }

    fn pop_topic(
        &self,
        request: &PopRequest,
        reach: Reach,
        topic: &Topic,
        origin: Origin,
        turned: u32,
        popped: &mut Popped,
    ) -> Outcome {
        let queues = u32::try_from(topic.config.read_queue_nums).unwrap_or(0);
        if let Ok(queue_id) = u32::try_from(request.queue_id) {
            return self.pop_queue(request, reach, topic, origin, queue_id, popped);
        }
        for queue_id in priority::order(queues, turned, self.settings.load().priority_order_asc) {
            self.pop_queue(request, reach, topic, origin, queue_id, popped)?;
        }
        Ok(())
    }

    fn pop_queue(
        &self,
        request: &PopRequest,
        reach: Reach,
        topic: &Topic,
        origin: Origin,
        queue_id: u32,
        popped: &mut Popped,
    ) -> Outcome {
        let Some(queue) = topic.queue(&self.store, queue_id) else { return Ok(()) };
        let group = &request.group;
        let behind = |from: i64| (queue.max_offset() as i64 - from).max(0);
        let busy = self.pop.busy.take(group, queue.topic(), queue_id);
        if busy.is_none() || self.has_too_many_in_flight(group, queue) {
            if !request.is_orderly {
                let from = self.offsets.get(group, queue.topic(), queue_id as i32).unwrap_or(0);
                popped.leave(origin, queue, behind(from));
            }
            return Ok(());
        }
        // Before the position is read: an acknowledgement that frees the queue moves that first.
        if request.is_orderly && self.is_blocked(request, queue, popped) {
            return Ok(());
        }
        let Some(start) = self.pop_position(request, reach, queue, origin)? else {
            popped.is_cut = true;
            return Ok(());
        };
        let wanted = request.max_count - popped.count();
        if wanted == 0 || popped.is_cut {
            popped.leave(origin, queue, behind(start));
            return Ok(());
        }
        let Some((start, result)) = self.read_from(request, reach, queue, start, wanted)? else {
            popped.is_cut = true;
            popped.leave(origin, queue, behind(start));
            return Ok(());
        };
        let next = result.next_offset;
        match result.status {
            ReadStatus::Found => self.give_out(request, queue, origin, start, result, popped)?,
            ReadStatus::NoMatchedMessage | ReadStatus::OffsetFoundNull | ReadStatus::MessageWasRemoving
                if next > start =>
            {
                popped.has_moved = true;
                self.commit_pop(group, queue, next);
            }
            _ => (),
        }
        popped.leave(origin, queue, behind(next.max(start)));
        Ok(())
    }

    fn has_too_many_in_flight(&self, group: &str, queue: &Queue) -> bool {
        let settings = self.settings.load();
        settings.enable_pop_message_threshold
            && self.pop.log.in_flight(queue.topic(), group, queue.id() as i32)
                > settings.pop_inflight_message_threshold
    }

    /// Whether an orderly delivery from the queue is not done with. None counts once an administrator has moved the
    /// group.
    fn is_blocked(&self, request: &PopRequest, queue: &Queue, popped: &mut Popped) -> bool {
        if self.offsets.pending_reset(&request.group, queue.topic(), queue.id() as i32).is_some() {
            return false;
        }
        let until = self.pop.orders.blocked_until(
            &order_key(&request.group, queue),
            request.attempt.as_deref(),
            request.invisible_ms,
            popped.pop_time,
        );
        if let Some(until) = until {
            popped.free_at_ms = Some(popped.free_at_ms.map_or(until, |earlier| earlier.min(until)));
        }
        until.is_some()
    }

    /// Reads from the queue; from its nearest end when `start` is outside of it. `None` when that is farther away
    /// than `reach`.
    fn read_from(
        &self,
        request: &PopRequest,
        reach: Reach,
        queue: &Queue,
        start: i64,
        wanted: usize,
    ) -> Result<Option<(i64, ReadResult)>, Refusal> {
        let limits = ReadLimits { max_count: wanted as u32, max_bytes: u64::MAX };
        let read = |start| self.read_within(reach, queue, start, limits, &request.filter);
        let Some(result) = read(start)? else { return Ok(None) };
        if !matches!(
            result.status,
            ReadStatus::OffsetTooSmall | ReadStatus::OffsetOverflowBadly | ReadStatus::OffsetFoundNull
        ) {
            return Ok(Some((start, result)));
        }
        let start = result.next_offset;
        self.commit_pop(&request.group, queue, start);
        Ok(read(start)?.map(|result| (start, result)))
    }

    /// Notes that the messages of `result` are given away, durably, and adds them to what was found.
    fn give_out(
        &self,
        request: &PopRequest,
        queue: &Arc<Queue>,
        origin: Origin,
        start: i64,
        result: ReadResult,
        popped: &mut Popped,
    ) -> Outcome {
        let offsets = queue_offsets(&result.records)?;
        let mut failures = Vec::new();
        if request.is_orderly {
            failures = self.pop.orders.delivered(
                &order_key(&request.group, queue),
                request.attempt.as_deref(),
                popped.pop_time,
                request.invisible_ms,
                &offsets,
            );
            self.commit_pop(&request.group, queue, start);
        } else {
            let checkpoint = Checkpoint {
                topic: Arc::clone(queue.topic()),
                group: request.group.as_str().into(),
                queue: queue.id() as i32,
                start,
                pop_time: popped.pop_time,
                due_ms: popped.pop_time + request.invisible_ms,
                offsets: offsets.as_slice().into(),
                acked: 0,
                suspended: false,
            };
            let revive_queue = popped.revive_queue as u32;
            let _both = self.pop.moving.read();
            // A move that came while this read is the last word of the log on where the group goes on.
            let is_moved =
                self.offsets.pending_reset(&request.group, queue.topic(), queue.id() as i32).is_some();
            let next = (!is_moved).then_some(result.next_offset);
            self.pop.log.open(&self.store, revive_queue, checkpoint, next, popped.pop_time)?;
            self.commit_pop(&request.group, queue, result.next_offset);
            self.stats.opened(&request.group, &request.topic.config.topic_name);
        }
        let records = result.records;
        let part = Part { origin, queue: Arc::clone(queue), start, offsets, records, failures };
        popped.parts.push(part);
        Ok(())
    }

    /// Where the group goes on in the queue. For who has the queue. `None` when the disk must say where a new group
    /// begins, and `reach` does not go there.
    fn pop_position(
        &self,
        request: &PopRequest,
        reach: Reach,
        queue: &Queue,
        origin: Origin,
    ) -> Result<Option<i64>, Refusal> {
        let (group, topic, queue_id) = (request.group.as_str(), queue.topic(), queue.id() as i32);
        if let Some(offset) = self.offsets.take_reset(group, topic, queue_id) {
            self.pop.orders.clear(&order_key(group, queue));
            let _both = self.pop.moving.read();
            self.note_move(group, topic, queue_id, offset)?;
            self.commit_pop(group, queue, offset);
            return Ok(Some(offset));
        }
        let known = self.offsets.get(group, topic, queue_id).filter(|offset| *offset >= 0);
        if known.is_some() || reach != Reach::Disk {
            return Ok(known);
        }
        let offset = self.first_pop_position(request, queue, origin);
        self.commit_pop(group, queue, offset);
        Ok(Some(offset))
    }

    fn first_pop_position(&self, request: &PopRequest, queue: &Queue, origin: Origin) -> i64 {
        if !request.from_end || origin != Origin::Normal {
            return queue.min_offset() as i64;
        }
        let from_first = self.settings.load().init_pop_offset_by_check_msg_in_mem
            && self.begins_young(queue.topic(), queue.id() as i32);
        if from_first { 0 } else { (queue.max_offset() as i64 - 1).max(0) }
    }

    /// Tells the revive log that an administrator has moved a group, so that a replay does not move it back.
    pub(crate) fn note_move(
        &self,
        group: &str,
        topic: &str,
        queue: i32,
        offset: i64,
    ) -> Result<(), AppendError> {
        let now_ms = self.now_ms();
        let named = Named { topic, group, queue, start: offset, pop_time: now_ms };
        self.pop.log.moved(&self.store, &named, now_ms)
    }

    /// An administrator moves a group: what it has in hand of the queue from there on is given to it again.
    pub(crate) fn reset_group(
        &self,
        group: &str,
        topic: &str,
        queue: i32,
        offset: i64,
    ) -> Result<(), AppendError> {
        {
            let _nobody_between = self.pop.moving.write();
            self.note_move(group, topic, queue, offset)?;
            self.offsets.reset(group, topic, queue, offset);
        }
        // Nothing new comes for those who wait at the end, but what is there is theirs again.
        self.pop.waits.arrived_in(topic, group, &[queue]);
        Ok(())
    }

    /// The offsets of all groups and, where anything was ever popped, up to where in the commit log the revive log is
    /// reflected in them.
    pub(crate) fn offsets_with_mark(&self) -> OffsetsBody {
        let _nobody_between = self.pop.moving.write();
        if self.pop.log.is_written() {
            let log_end = i64::try_from(self.store.log_end()).unwrap_or(i64::MAX);
            let topic = self.pop.log.topic();
            self.offsets.mark(REVIVE_GROUP, topic, MARK_QUEUE, log_end);
        }
        self.offsets.body()
    }

    /// Notes how far a group has come. Not in a deleted queue: another topic may have its name by then.
    fn commit_pop(&self, group: &str, queue: &Queue, offset: i64) {
        if queue.is_deleted() {
            return;
        }
        let step = self.settings.load().consumer_offset_update_version_step;
        let (topic, queue_id) = (queue.topic(), queue.id() as i32);
        self.offsets.commit(group, topic, queue_id, offset, step, self.now_ms());
    }

    /// Others of those who wait have something to take.
    pub(crate) fn pass_on(&self, request: &PopRequest, popped: &Popped) {
        let (topic, waits) = (&request.topic.config.topic_name, &self.pop.waits);
        if !popped.left_in.is_empty() {
            waits.arrived_in(topic, &request.group, &popped.left_in);
        }
        if popped.has_retries_left {
            waits.arrived_for(topic, &request.group);
        }
    }

    /// Lets a pop wait for something new, unless there is something already, which it then gets. Nobody wakes one that
    /// passes over what it does not want, so it goes on until it has come to the end, in turns with others.
    fn wait_for_pop(&self, mut waiter: PopWaiter, mut free_at_ms: Option<i64>) -> Result<(), NoRoom> {
        for look in 0.. {
            let Some((again, popped)) = self.park_pop(waiter, free_at_ms, look < LOOKS_MAX)? else {
                return Ok(());
            };
            waiter = again;
            match popped {
                Ok(popped) if popped.must_wait_for_disk() || popped.goes_on_after(look) => {
                    self.pop_later(waiter);
                    return Ok(());
                }
                Ok(popped) if popped.parts.is_empty() && !self.is_of_deleted(&waiter.request) => {
                    free_at_ms = popped.free_at_ms;
                }
                popped => {
                    self.answer_pop(waiter, popped);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Parks a pop and looks once more, since what came between the last look and now told nobody. Gives the waiter
    /// back with what it found, or with nothing when it should look again.
    #[allow(clippy::type_complexity, reason = "used in one place")]
    fn park_pop(
        &self,
        waiter: PopWaiter,
        free_at_ms: Option<i64>,
        may_look: bool,
    ) -> Result<Option<(PopWaiter, Result<Popped, Refusal>)>, NoRoom> {
        let request = waiter.request.clone();
        let place = Place {
            topic: request.topic.config.topic_name.as_str().into(),
            group: request.group.as_str().into(),
            queue: request.queue_id.max(-1),
        };
        let until = waiter.deadline.min(self.instant_of(free_at_ms).unwrap_or(waiter.deadline));
        let ticket = match self.pop.waits.pops.add(place, until, self.polling_room(), waiter) {
            Ok(ticket) => ticket,
            // Nobody hears of this one any more; the answer is the caller's.
            Err((no_room, _)) => return Err(no_room),
        };
        waits::watch(self.queues_to_watch(&request));
        if !self.is_of_deleted(&request) && (!may_look || !self.has_something(&request)) {
            return Ok(None);
        }
        let Some(waiter) = self.pop.waits.pops.take(ticket) else { return Ok(None) };
        let popped = self.pop_again(&request, self.reach());
        Ok(Some((waiter, popped)))
    }

    /// How many pops, or notifications, may wait.
    pub(crate) fn polling_room(&self) -> Room {
        let settings = self.settings.load();
        Room { all: settings.max_pop_polling_size, place: settings.pop_polling_size }
    }

    /// The moment of a wall clock time.
    pub(crate) fn instant_of(&self, at_ms: Option<i64>) -> Option<Instant> {
        let left_ms = u64::try_from(at_ms? - self.now_ms()).unwrap_or(0);
        // A moment later, so that what is free then is free.
        Some(Instant::now() + Duration::from_millis(left_ms + 1))
    }

    /// Queues whose messages a pop waits for. Retries are told of by who puts them there.
    pub(crate) fn queues_to_watch<'a>(
        &'a self,
        request: &'a PopRequest,
    ) -> impl Iterator<Item = &'a Arc<Queue>> {
        let all = u32::try_from(request.topic.config.read_queue_nums).unwrap_or(0);
        let ids = match u32::try_from(request.queue_id) {
            Ok(one) => one..one + 1,
            Err(_) => 0..all,
        };
        ids.filter_map(|id| request.topic.queue(&self.store, id))
    }

    /// Whether any queue that a pop looks at holds messages behind the group's offset that nothing blocks.
    pub(crate) fn has_something(&self, request: &PopRequest) -> bool {
        let has_more = |queue: &Arc<Queue>| {
            let (topic, id) = (queue.topic(), queue.id() as i32);
            let from = self.offsets.get(&request.group, topic, id).unwrap_or(queue.min_offset() as i64);
            queue.max_offset() as i64 > from && !self.is_order_blocked(request, queue)
        };
        if self.queues_to_watch(request).any(has_more) {
            return true;
        }
        if request.is_orderly {
            return false;
        }
        let settings = self.settings.load();
        let (v2, v1_too) =
            (settings.enable_retry_topic_v2, settings.retrieve_message_from_pop_retry_topic_v1);
        let origins = [(Origin::RetryV2, v2), (Origin::RetryV1, !v2 || v1_too)];
        origins.into_iter().filter(|(_, is_read)| *is_read).any(|(origin, _)| {
            let topic = self.topics.get(&origin.topic(&request.group, &request.topic.config.topic_name));
            topic.is_some_and(|topic| {
                (0..topic.queue_count()).filter_map(|id| topic.queue(&self.store, id)).any(has_more)
            })
        })
    }

    fn is_order_blocked(&self, request: &PopRequest, queue: &Queue) -> bool {
        let (key, attempt) = (order_key(&request.group, queue), request.attempt.as_deref());
        request.is_orderly
            && self.pop.orders.blocked_until(&key, attempt, request.invisible_ms, self.now_ms()).is_some()
    }

    /// Whether what a request asks for was deleted since it came.
    pub(crate) fn is_of_deleted(&self, request: &PopRequest) -> bool {
        let is_there = self.topics.has(&request.topic.config.topic_name);
        // Not asked where there is no topic: that would make the queues anew.
        !is_there || self.queues_to_watch(request).any(|queue| queue.is_deleted())
    }

    /// A pop by one who has waited. If its queues were deleted it gets nothing, and asks again; what it would read, and
    /// note of it, belongs to a topic that may have another of its name behind it.
    fn pop_again(&self, request: &PopRequest, reach: Reach) -> Result<Popped, Refusal> {
        if !self.is_of_deleted(request) {
            return self.pop(request, reach);
        }
        self.check_still(&request.topic.config.topic_name)?;
        Ok(Popped::nothing(self.now_ms(), request.invisible_ms, 0))
    }

    /// Answers a pop that was woken, or lets it wait on.
    pub(crate) fn resume_pop(&self, waiter: PopWaiter) {
        self.resume_pop_within(self.reach(), waiter);
    }

    /// Has a pop done on a thread that may wait for the disk, and answered from there.
    fn pop_later(&self, waiter: PopWaiter) {
        let (channel, reply_to) = (Arc::clone(waiter.held.channel()), waiter.reply_to);
        let work = |broker: &Arc<Broker>| broker.resume_pop_within(Reach::Disk, waiter);
        self.readers.submit_late(&channel, reply_to, Box::new(work));
    }

    fn resume_pop_within(&self, reach: Reach, waiter: PopWaiter) {
        if !waiter.held.channel().is_open() {
            return self.pop.waits.instead_of(&waiter.request);
        }
        let popped = self.pop_again(&waiter.request, reach);
        let is_over = waiter.deadline <= Instant::now()
            || self.is_of_deleted(&waiter.request)
            || *self.stopping.borrow();
        match popped {
            Ok(popped) if popped.must_wait_for_disk() => self.pop_later(waiter),
            Ok(popped) if popped.parts.is_empty() && !is_over => {
                let (request, reply_to) = (waiter.request.clone(), waiter.reply_to);
                let channel = Arc::clone(waiter.held.channel());
                if self.wait_for_pop(waiter, popped.free_at_ms).is_err() {
                    let mut out = Vec::new();
                    self.write_popped(&request, &popped, reply_to, response::POLLING_FULL, &mut out);
                    channel.send(&out);
                }
            }
            popped => self.answer_pop(waiter, popped),
        }
    }

    fn answer_pop(&self, waiter: PopWaiter, popped: Result<Popped, Refusal>) {
        let mut out = Vec::new();
        match popped {
            Ok(popped) => {
                let found = !popped.parts.is_empty();
                let code = if found { response::SUCCESS } else { response::POLLING_TIMEOUT };
                self.write_popped(&waiter.request, &popped, waiter.reply_to, code, &mut out);
                self.pass_on(&waiter.request, &popped);
            }
            Err(refusal) => waiter.reply_to.write(&mut out, refusal.code, Some(&refusal.remark)),
        }
        waiter.held.channel().send(&out);
    }

    /// Puts the state right that a start finds: what the revive log knows and the file of offsets does not yet.
    pub(crate) fn recover_pop(&self) -> Result<(), BrokerError> {
        let now_ms = self.now_ms();
        let topic = self.pop.log.topic();
        let done = |queue| self.offsets.get(REVIVE_GROUP, topic, queue);
        let mark = self.offsets.get(REVIVE_GROUP, topic, MARK_QUEUE).unwrap_or(0);
        let positions = self.pop.log.recover(&self.store, now_ms, mark, done)?;
        for ((topic, group, queue), position) in positions {
            let known = self.offsets.get(&group, &topic, queue).unwrap_or(-1);
            let is_there = self.topics.get(&topic).is_some() && self.groups.get(&group).is_some();
            if is_there && (position.forced || position.next > known) {
                self.offsets.commit(&group, &topic, queue, position.next, 1, now_ms);
            }
        }
        Ok(())
    }
}

/// What is left of the time that a client wants to wait, which began when it asked. If its clock is ahead, it began
/// now: a request that waits on when its client has given up takes a message from it.
pub(crate) fn poll_left_ms(exchange: &Exchange<'_, '_>, poll_ms: i64, now_ms: i64) -> i64 {
    let born_ms = Some(exchange.number_or("bornTime", 0)).filter(|born| *born > 0);
    let born_ms = born_ms.map_or(now_ms, |born_ms| born_ms.min(now_ms));
    born_ms.saturating_add(poll_ms.min(POLL_MAX_MS)).saturating_sub(now_ms)
}

/// How long messages may be hidden (client and administrator would wait for ever beyond that).
pub(crate) fn check_invisible(invisible_ms: i64) -> Outcome {
    if (0..=INVISIBLE_MAX_MS).contains(&invisible_ms) {
        return Ok(());
    }
    let remark = format!("invisibleTime is {invisible_ms} ms; from 0 to {INVISIBLE_MAX_MS} is possible");
    Err(Refusal::new(response::INVALID_PARAMETER, remark))
}

pub(crate) fn order_key<'a>(group: &'a str, queue: &'a Queue) -> OrderKey<'a> {
    OrderKey { topic: queue.topic(), group, queue: queue.id() as i32 }
}

/// The queue offset of each record, which stands at a fixed place in it.
fn queue_offsets(records: &Records) -> Result<Vec<i64>, Refusal> {
    let mut offsets = Vec::with_capacity(records.len());
    for bytes in records.iter() {
        let bytes = bytes?;
        let offset = wire::record::queue_offset(&bytes);
        offsets.push(offset.ok_or_else(|| Refusal::system("a record in the log is too short"))?);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use store::Batch;
    use wire::body::{SubscriptionGroupConfig, TopicConfig};
    use wire::record::Message;

    use super::*;
    use crate::filter::TagFilter;

    const COUNT: usize = 2000;

    fn orderly(broker: &Broker) -> PopRequest {
        PopRequest {
            group: "readers".to_owned(),
            topic: broker.topics.get("orders").unwrap(),
            queue_id: 0,
            max_count: 1,
            invisible_ms: 60_000,
            from_end: false,
            filter: TagFilter::All.into(),
            is_orderly: true,
            attempt: None,
        }
    }

    /// The queue it would wait for is made behind the deletion, which did not see it.
    #[tokio::test]
    async fn a_request_that_has_its_topic_from_before_a_deletion_does_not_wait() {
        let broker = crate::testing::broker();
        broker.topics.update(vec![TopicConfig::new("orders", 1, 6)], 0).unwrap();
        let request = orderly(&broker);
        broker.topics.remove(&["orders"], 0, || ()).unwrap();
        broker.store.delete_topic("orders").unwrap();
        assert!(broker.is_of_deleted(&request));
        assert_eq!(broker.pop_again(&request, Reach::Disk).unwrap_err().code, response::TOPIC_NOT_EXIST);
        // With a topic of that name, what it would wait for is a queue of that one.
        broker.topics.update(vec![TopicConfig::new("orders", 1, 6)], 0).unwrap();
        assert!(!broker.is_of_deleted(&request));
    }

    /// One pops again and again while the other acknowledges what blocks the queue.
    #[tokio::test]
    async fn an_orderly_pop_never_gets_what_was_acknowledged() {
        let broker = crate::testing::broker();
        broker.topics.update(vec![TopicConfig::new("orders", 1, 6)], 0).unwrap();
        broker.groups.update(vec![SubscriptionGroupConfig::new("readers")], 0).unwrap();
        let queue = broker.store.queue("orders", 0);
        let mut batch = Batch::default();
        for _ in 0..=COUNT {
            batch.push(&queue, &Message::of_broker(broker.address, "orders", 0, b"x"), 0).unwrap();
        }
        broker.store.append(&mut batch).unwrap();
        let request = orderly(&broker);
        let mut popped = broker.pop(&request, Reach::Disk).unwrap();
        for offset in 0..COUNT as i64 {
            assert_eq!(popped.parts[0].offsets, [offset]);
            let start = Barrier::new(2);
            let pop_time = popped.pop_time;
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    broker.ack_orderly("readers", &queue, offset, pop_time).unwrap();
                });
                start.wait();
                popped = loop {
                    let popped = broker.pop(&request, Reach::Disk).unwrap();
                    if !popped.parts.is_empty() {
                        break popped;
                    }
                };
            });
        }
    }
}
