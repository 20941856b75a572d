//! Transactions: half messages, decisions about them (37), and what the rest of the broker asks about both
//! (broker.md §9).
//!
//! A half message is stored in the half topic, where no consumer looks. A commit stores a copy in the real topic; both
//! commit and rollback store an op record that names the half message by its offset in the half queue. The op record
//! goes into the same write as the copies it speaks of, so that a killed broker never forgets one of them alone: what
//! Java gathers for up to three seconds is here at most what one read of a connection brought.
//!
//! Java's check service copies each undecided half message to the end of its queue at every check, so that its
//! position in the queue can move on. Here [`table::Table`] remembers which ones are open, and the position simply
//! waits at the first of them; only one that lags so far behind that a restart would have to read too much is copied.
//! On disk both look alike: between the positions of `CID_RMQ_SYS_TRANS` and the ends of the two queues stand all open
//! half messages, and an op record for each decided one. So either broker can take over from the other.

mod check;
mod counts;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod moving;
pub(crate) mod queues;
mod table;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use remoting::{Channel, Held, ReplyTo};
use serde::{Deserialize, Serialize};
use store::{Appended, Batch, Queue, Store};
use tokio::sync::Notify;
use wire::code::response;
use wire::hash;
use wire::names;
use wire::properties as props;
use wire::record::{Message, Record};
use wire::sys_flag;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal, Reply};
use crate::offsets::ConsumerOffsets;
use crate::schedule::{self, may_leave_for, push_parking};
use crate::send::outgoing::{Outgoing, with_outgoing};
use crate::send::share::Share;
use crate::service::Gathered;
use crate::state_file::{StateFile, Unsaved};
use crate::timer;
use crate::topics::Topic;

use counts::Counts;
use table::{Ending, Positions, Table};

/// Properties of a half message that are the broker's alone.
const OWN_PROPERTIES: [&str; 5] =
    [props::REAL_TOPIC, props::REAL_QID, props::TRANSACTION_ID, queues::CHECK_TIMES, queues::PREPARED_OFFSET];

/// `config/transactionChecks.json`: how often producers were asked, by half offset. Java keeps this on the copies that
/// it makes; a file that it does not know leaves its queues alone.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Checks {
    checks: BTreeMap<u64, u32>,
}

/// State of all transactions.
pub(crate) struct Transactions {
    table: Mutex<Table>,
    halves: Arc<Queue>,
    ops: Arc<Queue>,
    counts: Counts,
    checks_file: StateFile,
    /// Half messages have come while none was open.
    arrived: Arc<Notify>,
    /// Whose turn among the producers of a group it is to be asked.
    turn: AtomicUsize,
    /// Positions that count once the log is durable up to the second value.
    pending: Mutex<Option<(Positions, u64)>>,
}

impl Transactions {
    /// Reads the queues from the positions on. `file` gives a file below `config/` by its name.
    pub fn load(
        store: &Store,
        offsets: &ConsumerOffsets,
        file: impl Fn(&str) -> StateFile,
        arrived: Arc<Notify>,
        now_ms: i64,
    ) -> io::Result<Transactions> {
        let halves = store.queue(names::HALF_TOPIC, 0);
        let ops = store.queue(names::OP_HALF_TOPIC, 0);
        let from = Positions {
            half: queues::start_of(&halves, offsets.get(names::TRANSACTION_GROUP, names::HALF_TOPIC, 0)),
            op: queues::start_of(&ops, offsets.get(names::TRANSACTION_GROUP, names::OP_HALF_TOPIC, 0)),
        };
        let checks_file = file("transactionChecks.json");
        let checks: Checks = checks_file.load()?;
        let (table, topics) =
            queues::load(store, &halves, &ops, from, &checks.checks).map_err(io::Error::other)?;
        if table.open_count() > 0 {
            tracing::info!(
                open = table.open_count(),
                "transactions that are neither committed nor rolled back"
            );
        }
        Ok(Transactions {
            table: Mutex::new(table),
            halves,
            ops,
            counts: Counts::load(file("transactionMetrics"), topics, now_ms)?,
            checks_file,
            arrived,
            turn: AtomicUsize::new(0),
            pending: Mutex::default(),
        })
    }

    /// Half messages that may be open, those included that were not looked at yet.
    fn open_at_most(&self) -> u64 {
        let table = self.table.lock();
        table.open_count() as u64 + self.halves.max_offset().saturating_sub(table.followed())
    }

    /// How often the producer was asked about a half message, which has or had this offset; `None` if it is decided.
    pub fn open_checks(&self, store: &Store, offset: u64) -> Option<u32> {
        let mut table = self.table.lock();
        if offset >= table.followed() {
            queues::follow(store, &self.halves, &mut table);
        }
        table.find(offset).map(|open| open.checks)
    }

    /// The decision about a half message that was stored at a time in Unix milliseconds, if it is not too far behind
    /// that.
    pub fn decision_about(&self, store: &Store, offset: u64, stored_ms: i64) -> Option<queues::Op> {
        queues::find_op(store, &self.ops, offset, stored_ms)
    }

    fn begin_end(&self, store: &Store, offset: u64) -> Option<Ending> {
        let mut table = self.table.lock();
        if offset >= table.followed() {
            queues::follow(store, &self.halves, &mut table);
        }
        table.begin_end(offset)
    }

    /// Takes over the positions that have become durable; remembers those of now.
    fn keep_positions(&self, store: &Store, keep: impl FnOnce(Positions)) {
        let mut pending = self.pending.lock();
        if pending.is_none_or(|(_, until)| store.flushed_until() >= until) {
            if let Some((positions, _)) = pending.take() {
                keep(positions);
            }
            let positions = self.table.lock().positions();
            // Read after the positions: every decision that they rest on is before it.
            *pending = Some((positions, store.log_end()));
        }
    }

    /// Whether there is nothing to do before [`Transactions::arrived`] says so.
    fn is_idle(&self, is_kept: impl FnOnce(Positions) -> bool) -> bool {
        self.halves.watchers.watch(store::Watcher::Transactions);
        let mut table = self.table.lock();
        table.open_count() == 0 && table.followed() >= self.halves.max_offset() && is_kept(table.positions())
    }

    /// Writes the files that have changed.
    pub fn save_counts(&self) -> io::Result<()> {
        self.counts.save()
    }

    /// Counts that their file does not have yet.
    pub fn unsaved_counts(&self) -> &Unsaved {
        &self.counts.unsaved
    }

    /// Forgets the count of a deleted topic.
    pub fn remove_topic(&self, topic: &str) {
        self.counts.remove_topic(topic);
    }

    fn save_checks(&self) -> io::Result<()> {
        let checks = self.table.lock().checks();
        self.checks_file.save(&Checks { checks })
    }
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Commit,
    Rollback,
}

/// What a request says of the end of a transaction.
struct End<'r> {
    decision: Decision,
    /// Where the half message stands in the log.
    physical: u64,
    /// Its number in the half queue.
    half_offset: u64,
    group: Option<Cow<'r, str>>,
    /// Whether this answers a question of ours.
    from_check: bool,
    reply_to: ReplyTo,
}

impl<'r> End<'r> {
    /// Reads a request; `None` if the producer does not know yet.
    fn of(exchange: &Exchange<'r, '_>) -> Result<Option<End<'r>>, Refusal> {
        let decision = match exchange.number::<i32>("commitOrRollback")? {
            sys_flag::TRANSACTION_COMMIT => Decision::Commit,
            sys_flag::TRANSACTION_ROLLBACK => Decision::Rollback,
            0 => {
                let id = exchange.request.field("msgId").unwrap_or_default();
                tracing::debug!(id, "a producer does not know yet how its transaction ends");
                return Ok(None);
            }
            other => {
                let remark =
                    format!("commitOrRollback is {other}, and must be 8 (commit), 12 (rollback) or 0");
                return Err(Refusal::system(remark));
            }
        };
        Ok(Some(End {
            decision,
            physical: exchange.number("commitLogOffset")?,
            half_offset: exchange.number("tranStateTableOffset")?,
            group: exchange.request.field("producerGroup").map(Cow::Borrowed),
            from_check: exchange.flag("fromTransactionCheck"),
            reply_to: exchange.request.reply_to(),
        }))
    }

    /// The same without what it came in.
    fn owned(self) -> End<'static> {
        let End { decision, physical, half_offset, group, from_check, reply_to } = self;
        let group = group.map(|group| Cow::Owned(group.into_owned()));
        End { decision, physical, half_offset, group, from_check, reply_to }
    }
}

impl Broker {
    /// Checks that a half message may be stored.
    pub(crate) fn check_half_send(&self, properties: &[u8], settings: &settings::Broker) -> Outcome {
        if settings.reject_transaction_message {
            let remark = format!("the broker[{}] sending transaction message is forbidden", self.address);
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        if props::find(properties, props::PGROUP).is_none() {
            let remark = "a transactional message must name its producer group in PGROUP; nobody could be asked about it";
            return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
        }
        if self.transactions.open_at_most() >= settings.max_open_transactions {
            let remark = format!(
                "[OVERLOAD]{} transactions are neither committed nor rolled back (thrust.maxOpenTransactions)",
                settings.max_open_transactions
            );
            return Err(Refusal::new(response::SYSTEM_BUSY, remark));
        }
        Ok(())
    }

    /// Turns the properties to store of a message for `topic` into those of a half message (broker.md §9.1), and
    /// gives the topic it is stored in.
    pub(crate) fn make_half(
        &self,
        topic: &Topic,
        queue_id: u32,
        unique_key: &str,
        properties: &mut Vec<u8>,
    ) -> Result<Arc<Topic>, Refusal> {
        if props::iter(properties).any(|(name, _)| OWN_PROPERTIES.contains(&name)) {
            let mut kept = Vec::with_capacity(properties.len() + 160);
            props::copy_without(properties, &OWN_PROPERTIES, &mut kept);
            *properties = kept;
        }
        props::push(properties, props::TRANSACTION_ID, unique_key);
        props::push(properties, props::REAL_TOPIC, &topic.config.topic_name);
        props::push(properties, props::REAL_QID, itoa::Buffer::new().format(queue_id));
        self.topics
            .get(names::HALF_TOPIC)
            .ok_or_else(|| Refusal::system(format!("topic {} is gone", names::HALF_TOPIC)))
    }

    /// Serves the end of a transaction (broker.md §9.2): it is taken into the batch of this turn, or, if the half
    /// message is not in memory, into one of its own on a thread that may wait for the disk.
    pub(crate) fn end_transaction(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) {
        let end = match End::of(exchange) {
            Ok(Some(end)) => end,
            Ok(None) => return,
            Err(refusal) => return exchange.refuse(&refusal),
        };
        if self.store.is_record_in_memory(end.physical) {
            return self.end(&end, exchange.channel, exchange.out);
        }
        // Most clients expect no answer, so a refusal for want of a place would lose the decision.
        let Some(held) = exchange.channel.hold() else {
            return self.end(&end, exchange.channel, exchange.out);
        };
        if let Err(refusal) = self.end_from_disk(end.owned(), held) {
            exchange.refuse(&refusal);
        }
    }

    fn end_from_disk(&self, end: End<'static>, held: Held) -> Outcome {
        let (channel, reply_to) = (Arc::clone(held.channel()), end.reply_to);
        let work = move |broker: &Arc<Broker>| {
            let _gathered = Gathered(broker);
            let mut out = Vec::new();
            broker.end(&end, held.channel(), &mut out);
            broker.flush_sends(held.channel(), &mut out);
            held.channel().send_directly(&out);
        };
        self.readers.submit_decision(channel, reply_to, Box::new(work))
    }

    fn end(&self, end: &End<'_>, channel: &Arc<Channel>, out: &mut Vec<u8>) {
        with_outgoing(|outgoing| {
            let mark = outgoing.batch.len();
            if let Err(refusal) = self.prepare_end(end, outgoing) {
                outgoing.batch.truncate(mark);
                Reply { to: end.reply_to, out }.refuse(&refusal);
            }
            self.append_if_large(channel, outgoing, out);
        });
    }

    fn prepare_end(&self, end: &End<'_>, outgoing: &mut Outgoing) -> Outcome {
        let bytes = self.store.record_at(end.physical)?;
        let bytes = bytes.ok_or_else(|| Refusal::system("Find prepared transaction message failed"))?;
        let record = Record::parse(&bytes).map_err(Refusal::system)?;
        self.check_end(end, &record)?;
        let half_offset = end.half_offset;
        let ending = self.transactions.begin_end(&self.store, half_offset).ok_or_else(|| {
            Refusal::system(format!(
                "the transaction of half message {half_offset} is committed or rolled back"
            ))
        })?;
        let prepared = match end.decision {
            Decision::Commit => self.push_final(&record, &ending, &mut outgoing.batch),
            Decision::Rollback => Ok(()),
        };
        if let Err(refusal) = prepared {
            self.transactions.table.lock().gave_up(ending.offset);
            return Err(refusal);
        }
        let topic = record.property(props::REAL_TOPIC).and_then(|topic| self.topics.get(topic));
        outgoing.share.ends.push((ending.offset, topic));
        outgoing.answer_plainly(end.reply_to);
        Ok(())
    }

    /// Checks that a decision is about this half message and comes in time.
    fn check_end(&self, end: &End<'_>, record: &Record<'_>) -> Outcome {
        if record.topic != names::HALF_TOPIC {
            return Err(Refusal::system("Find prepared transaction message failed: it is no half message"));
        }
        let known = queues::known(record);
        if !end.from_check && record.property(queues::IMMUNITY).is_some() {
            let timeout_ms = self.settings.load().transaction_time_out.as_millis() as i64;
            if self.now_ms() - record.born_timestamp > known.immunity_ms.unwrap_or(timeout_ms) {
                let remark = "the time before the first check is over; answer the check that follows";
                return Err(Refusal::new(response::ILLEGAL_OPERATION, remark));
            }
        }
        if record.property(props::PGROUP) != end.group.as_deref() {
            return Err(Refusal::system("The producer group wrong"));
        }
        if record.queue_offset != end.half_offset as i64 {
            return Err(Refusal::system("The transaction state table offset wrong"));
        }
        Ok(())
    }

    /// Adds the message that consumers will see (broker.md §9.4). A delay level on it begins to count now.
    fn push_final(&self, half: &Record<'_>, ending: &Ending, batch: &mut Batch) -> Outcome {
        let (topic_name, queue_id) = real_place(half).ok_or_else(|| {
            Refusal::system("the half message does not say which topic and queue it is for")
        })?;
        let wait = self.wait_of_final(half)?;
        let properties = final_properties(half, ending, wait, (topic_name, queue_id));
        let (stored_topic, stored_queue) = match wait {
            Wait::Nowhere => (topic_name, queue_id),
            Wait::Level(level) => (names::SCHEDULE_TOPIC, level as u32 - 1),
            Wait::Timer(_) => (names::TIMER_TOPIC, 0),
        };
        let message = Message {
            topic: stored_topic,
            queue_id: stored_queue,
            sys_flag: half.sys_flag & !sys_flag::TRANSACTION_MASK | sys_flag::TRANSACTION_COMMIT,
            prepared_transaction_offset: half.physical_offset,
            properties: &properties,
            ..half.message()
        };
        let queue = self.queue_of(stored_topic, stored_queue);
        batch.push(&queue, &message, hash::tags_code(half.property(props::TAGS)))?;
        Ok(())
    }

    /// Where a committed message waits until consumers see it; a delay counts from its commit.
    fn wait_of_final(&self, half: &Record<'_>) -> Result<Wait, Refusal> {
        let delay = half.property(props::DELAY).and_then(|level| level.parse().ok()).unwrap_or(0);
        if let Some(level) = self.schedule.level(delay) {
            return Ok(Wait::Level(level));
        }
        Ok(self.timer_slot_of_final(half)?.map_or(Wait::Nowhere, Wait::Timer))
    }

    /// The slot of the timer wheel that a committed message waits in.
    fn timer_slot_of_final(&self, half: &Record<'_>) -> Result<Option<i64>, Refusal> {
        let has = |name: &&str| half.property(name).is_some();
        if half.property(props::TIMER_OUT_MS).is_some() || !props::TIMER.iter().any(has) {
            return Ok(None);
        }
        self.timer_slot(half.properties, &self.settings.load())
    }

    /// A queue of a topic that may have been deleted in the meantime.
    fn queue_of(&self, topic: &str, queue_id: u32) -> Arc<Queue> {
        let known = self.topics.get(topic);
        let queue = known.as_ref().and_then(|topic| topic.queue(&self.store, queue_id)).map(Arc::clone);
        queue.unwrap_or_else(|| self.store.queue(topic, queue_id))
    }

    /// Adds the op records for everything that ends with this batch.
    pub(crate) fn push_op_records(&self, batch: &mut Batch, share: &mut Share) {
        let text_max = self.settings.load().transaction_op_msg_max_size;
        let mut body = Vec::new();
        let mut highest = 0;
        for (offset, _) in &share.ends {
            queues::name(&mut body, *offset);
            highest = highest.max(*offset);
            if body.len() >= text_max {
                share.ops.push((self.push_op_record(batch, &body, share.moved), highest));
                body.clear();
                highest = 0;
            }
        }
        if !body.is_empty() {
            share.ops.push((self.push_op_record(batch, &body, share.moved), highest));
        }
    }

    fn push_op_record(&self, batch: &mut Batch, body: &[u8], moved: bool) -> usize {
        let mut properties = Vec::with_capacity(8);
        props::push(&mut properties, props::TAGS, queues::REMOVE_TAG);
        if moved {
            props::push(&mut properties, queues::MOVED, "true");
        }
        let message = Message {
            topic: names::OP_HALF_TOPIC,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: self.now_ms(),
            born_host: self.address,
            store_host: self.address,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: &properties,
        };
        let tags_code = hash::tags_code(Some(queues::REMOVE_TAG));
        let pushed = batch.push(&self.transactions.ops, &message, tags_code);
        // Its topic and properties are short, and its body is bounded by the setting.
        pushed.unwrap_or_else(|error| unreachable!("an op record of {} bytes: {error}", body.len()))
    }

    /// The batch is stored: what it decided is decided.
    pub(crate) fn transactions_stored(&self, share: &mut Share, appended: impl Fn(usize) -> Appended) {
        let now_ms = self.now_ms();
        for topic in share.halves.drain(..) {
            self.transactions.counts.add(&topic.config.topic_name, 1, now_ms);
        }
        if share.ends.is_empty() {
            return;
        }
        {
            let mut table = self.transactions.table.lock();
            for (number, highest) in share.ops.drain(..) {
                table.op_written(appended(number).queue_offset, highest);
            }
            for (offset, _) in &share.ends {
                table.ended(*offset);
            }
        }
        for (_, topic) in share.ends.drain(..) {
            if let Some(topic) = topic {
                self.transactions.counts.add(&topic.config.topic_name, -1, now_ms);
            }
        }
    }

    /// The batch is not stored: what it was to decide stays open, and the check will come back to it.
    pub(crate) fn transactions_not_stored(&self, share: &mut Share) {
        let mut table = self.transactions.table.lock();
        for (offset, _) in share.ends.drain(..) {
            table.gave_up(offset);
        }
        share.halves.clear();
        share.ops.clear();
    }

    /// Puts a half message that was given up back among the open ones, with its checks counted anew (323).
    pub(crate) fn resume_check(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let message_id = exchange.text("msgId")?.to_owned();
        let id = wire::ids::OffsetId::parse(&message_id)
            .ok_or_else(|| Refusal::system(format!("msgId {message_id} is no offset message id")))?;
        self.answer_with_record(exchange, id.offset, move |broker, reply| {
            broker.open_again(&message_id, id.offset)?;
            reply.ok()
        })
    }

    fn open_again(&self, message_id: &str, physical_offset: u64) -> Outcome {
        let bytes = self.store.record_at(physical_offset)?;
        let bytes =
            bytes.ok_or_else(|| Refusal::system(format!("no message at offset {physical_offset}")))?;
        let record = Record::parse(&bytes).map_err(Refusal::system)?;
        if real_place(&record).is_none() || record.property(props::PGROUP).is_none() {
            return Err(Refusal::system(format!("the message {message_id} was never a half message")));
        }
        let mut properties = Vec::with_capacity(record.properties.len() + 32);
        let removed = [queues::CHECK_TIMES, queues::PREPARED_OFFSET, props::CRC32];
        props::copy_without(record.properties, &removed, &mut properties);
        props::push(&mut properties, queues::CHECK_TIMES, "0");
        let message =
            Message { topic: names::HALF_TOPIC, queue_id: 0, properties: &properties, ..record.message() };
        let mut batch = Batch::default();
        let tags_code = hash::tags_code(record.property(props::TAGS));
        batch.push(&self.transactions.halves, &message, tags_code)?;
        self.store.append(&mut batch)?;
        self.stats.stored(&batch, &self.topics);
        if let Some(topic) = record.property(props::REAL_TOPIC) {
            self.transactions.counts.add(topic, 1, self.now_ms());
        }
        Ok(())
    }
}

/// The topic and queue that a half message is for, if it may go there.
fn real_place<'a>(half: &Record<'a>) -> Option<(&'a str, u32)> {
    schedule::real_place(half).filter(|(topic, _)| may_leave_for(topic))
}

/// Where a committed message waits until consumers see it.
#[derive(Clone, Copy)]
enum Wait {
    Nowhere,
    /// With the other messages of its delay level.
    Level(i32),
    /// In the timer wheel, in the slot of this time, Unix milliseconds.
    Timer(i64),
}

/// The properties of a committed message, which is for this topic and queue.
fn final_properties(
    half: &Record<'_>,
    ending: &Ending,
    wait: Wait,
    (topic, queue_id): (&str, u32),
) -> Vec<u8> {
    let mut removed = vec![props::REAL_TOPIC, props::REAL_QID, queues::PREPARED_OFFSET, props::CRC32];
    if let Wait::Level(_) = wait {
        removed.push(props::DELAY);
    }
    if ending.checks > 0 {
        removed.push(queues::CHECK_TIMES);
    }
    let mut properties = Vec::with_capacity(half.properties.len() + 160);
    props::copy_without(half.properties, &removed, &mut properties);
    match wait {
        Wait::Nowhere => {}
        Wait::Level(level) => push_parking(&mut properties, level, topic, queue_id),
        Wait::Timer(out_ms) => timer::push_timed(&mut properties, out_ms, topic, queue_id),
    }
    if ending.checks > 0 {
        props::push(&mut properties, queues::CHECK_TIMES, itoa::Buffer::new().format(ending.checks));
    }
    properties
}
