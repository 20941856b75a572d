//! Asking producers how their transactions ended (broker.md §9.5, §9.6).
//!
//! A round looks at every open half message that was stored before it began. Whatever goes wrong with one of them,
//! it stays open and the next round comes back to it. While no transaction is open nothing here wakes up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use remoting::Channel;
use store::Batch;
use tokio::time::Instant;
use wire::code::request;
use wire::hash;
use wire::ids::OffsetId;
use wire::names;
use wire::prop_crc;
use wire::properties as props;
use wire::record::{self, Message, Record};

use super::table::{Ending, Limits, Positions, Verdict};
use super::{queues, real_place};
use crate::Broker;
use crate::send::share::Share;

/// Longest time between two looks at what has been decided, so that a restart need not read far.
const POSITIONS_PERIOD: Duration = Duration::from_secs(5);
/// Half messages looked at by a thread that may wait for the disk, before it does other work.
const AT_ONCE: usize = 64;
/// Unread bytes of a producer's connection beyond which it is asked nothing more in this round.
const UNREAD_MAX: usize = 1 << 20;

/// Why a half message was not dealt with in this round.
#[derive(Debug, thiserror::Error)]
pub(super) enum Postponed {
    #[error("{0}")]
    Store(#[from] store::StoreError),
    #[error("{0}")]
    Append(#[from] store::AppendError),
    #[error("{0}")]
    Record(#[from] record::RecordError),
    #[error("{0}")]
    Encode(#[from] record::EncodeError),
    #[error("{0}")]
    State(#[from] std::io::Error),
    #[error("all producers of its group are busy reading")]
    Busy,
}

impl Broker {
    /// Checks in rounds, for ever.
    pub(crate) async fn run_transaction_check(&self) {
        let mut round_ended = Instant::now();
        loop {
            if self.transactions.is_idle(|positions| self.keeps(positions)) {
                self.transactions.arrived.notified().await;
                round_ended = Instant::now();
            }
            let due = round_ended + self.settings.load().transaction_check_interval;
            tokio::time::sleep_until(due.min(Instant::now() + POSITIONS_PERIOD)).await;
            self.follow_halves();
            if Instant::now() >= due {
                self.check_transactions().await;
                round_ended = Instant::now();
            }
            self.transactions.keep_positions(&self.store, |positions| self.commit_positions(positions));
        }
    }

    pub(super) fn follow_halves(&self) {
        let transactions = &self.transactions;
        queues::follow(&self.store, &transactions.halves, &mut transactions.table.lock());
    }

    /// Whether a restart would read from here: what the table of consumer offsets says, or the beginning.
    fn keeps(&self, positions: Positions) -> bool {
        let start =
            |queue| queues::start_of(queue, self.offsets.get(names::TRANSACTION_GROUP, queue.topic(), 0));
        start(&self.transactions.halves) == positions.half && start(&self.transactions.ops) == positions.op
    }

    fn commit_positions(&self, positions: Positions) {
        let step = self.settings.load().consumer_offset_update_version_step;
        for (topic, offset) in [(names::HALF_TOPIC, positions.half), (names::OP_HALF_TOPIC, positions.op)] {
            self.offsets.commit(names::TRANSACTION_GROUP, topic, 0, offset as i64, step, self.now_ms());
        }
    }

    /// One round.
    async fn check_transactions(&self) {
        let before = self.transactions.table.lock().checks();
        let until = self.transactions.table.lock().followed();
        let mut next = 0;
        loop {
            let limits = self.limits();
            let candidates = self.transactions.table.lock().candidates(next, until, &limits, AT_ONCE);
            let Some((last, _)) = candidates.last() else { break };
            next = last + 1;
            // Those of long transactions have left memory.
            let looked = self.readers.run_own(move |broker| {
                for (offset, physical) in candidates {
                    broker.look_at(offset, |broker| broker.check_one(offset, physical, &limits));
                }
            });
            if looked.await.is_none() {
                break;
            }
        }
        self.move_stragglers().await;
        self.save_changed_checks(&before);
    }

    async fn move_stragglers(&self) {
        let mut next = 0;
        loop {
            let stragglers = self.transactions.table.lock().stragglers(next, AT_ONCE);
            let Some((last, _)) = stragglers.last() else { return };
            next = last + 1;
            let looked = self.readers.run_own(move |broker| {
                for (offset, physical) in stragglers {
                    broker.look_at(offset, |broker| broker.move_to_end(offset, physical));
                }
            });
            if looked.await.is_none() {
                return;
            }
        }
    }

    fn look_at(&self, offset: u64, work: impl FnOnce(&Broker) -> Result<(), Postponed>) {
        if let Err(error) = work(self) {
            tracing::warn!(offset, "a half message is looked at again in the next round: {error}");
        }
    }

    fn save_changed_checks(&self, before: &BTreeMap<u64, u32>) {
        if *before != self.transactions.table.lock().checks()
            && let Err(error) = self.transactions.save_checks()
        {
            tracing::error!("{error}");
        }
    }

    fn limits(&self) -> Limits {
        let settings = self.settings.load();
        Limits {
            now_ms: self.now_ms(),
            timeout_ms: settings.transaction_time_out.as_millis() as i64,
            check_max: settings.transaction_check_max,
            reserved_ms: i64::try_from(settings.file_reserved_time.as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn check_one(&self, offset: u64, physical: u64, limits: &Limits) -> Result<(), Postponed> {
        let Some(bytes) = self.store.record_at(physical)? else {
            tracing::error!(
                offset,
                physical,
                "a half message is gone from the log; its transaction is closed"
            );
            return self.close(offset, &mut Batch::default(), None).map(drop);
        };
        let record = Record::parse(&bytes)?;
        let verdict = {
            let mut table = self.transactions.table.lock();
            if table.get(offset).is_some_and(|open| open.known.is_none()) {
                table.learn(offset, queues::known(&record));
            }
            table.verdict(offset, limits)
        };
        match verdict {
            Verdict::Wait => Ok(()),
            Verdict::Check => self.ask(offset, &record),
            Verdict::Discard => self.discard(offset, &record),
        }
    }

    /// Asks a producer of the group. If there is none, that counts as an unanswered question, as in Java.
    fn ask(&self, offset: u64, half: &Record<'_>) -> Result<(), Postponed> {
        let Some((topic, queue_id)) = real_place(half) else { return self.discard(offset, half) };
        let checks = self.transactions.table.lock().get(offset).map_or(0, |open| open.checks) + 1;
        let group = half.property(props::PGROUP).unwrap_or_default();
        let Some(channel) = self.producer_to_ask(group)? else {
            tracing::warn!(group, offset, checks, "no producer of the group is there to be asked");
            self.transactions.table.lock().checked(offset);
            return Ok(());
        };
        let properties = with_checks(half, checks);
        let message = Message { topic, queue_id, properties: &properties, ..half.message() };
        let mut body = Vec::new();
        let len = record::encode(&message, &mut body)?;
        record::patch(&mut body[..len], offset, half.physical_offset as u64, half.store_timestamp);
        let id = OffsetId { store_host: half.store_host, offset: half.physical_offset as u64 };
        let unique_key = half.property(props::UNIQ_KEY).unwrap_or_default();
        let fields = [
            ("topic", names::HALF_TOPIC),
            ("tranStateTableOffset", &offset.to_string()),
            ("commitLogOffset", &half.physical_offset.to_string()),
            ("msgId", unique_key),
            ("transactionId", unique_key),
            ("offsetMsgId", &id.to_string()),
            ("bname", &self.settings.load().broker_name),
        ];
        // First, for the answer may come at once.
        self.transactions.table.lock().checked(offset);
        channel.oneway(request::CHECK_TRANSACTION_STATE, &fields, &body);
        Ok(())
    }

    /// A connection of the group, each in turn; `None` when the group has none.
    fn producer_to_ask(&self, group: &str) -> Result<Option<Arc<Channel>>, Postponed> {
        let mut members = self.clients.producers(group);
        members.retain(|member| member.channel.is_open());
        if members.is_empty() {
            return Ok(None);
        }
        members.sort_by_key(|member| member.channel.id());
        let turn = self.transactions.turn.fetch_add(1, Ordering::Relaxed) % members.len();
        members.rotate_left(turn);
        let ready = members.into_iter().find(|member| member.channel.unread() < UNREAD_MAX);
        ready.map(|member| Some(member.channel)).ok_or(Postponed::Busy)
    }

    /// Moves a half message to the discard topic, where administrators find it (323 brings it back).
    fn discard(&self, offset: u64, half: &Record<'_>) -> Result<(), Postponed> {
        let topic = self.topics.ensure(names::TRANS_CHECK_MAX_TIME_TOPIC, 1, 0, self.now_ms())?;
        let checks = self.transactions.table.lock().get(offset).map_or(0, |open| open.checks);
        let properties = with_checks(half, checks);
        let message = Message {
            topic: names::TRANS_CHECK_MAX_TIME_TOPIC,
            queue_id: 0,
            properties: &properties,
            ..half.message()
        };
        let mut batch = Batch::default();
        let queue = self.queue_of(names::TRANS_CHECK_MAX_TIME_TOPIC, 0);
        batch.push(&queue, &message, hash::tags_code(half.property(props::TAGS)))?;
        if self.close(offset, &mut batch, half.property(props::REAL_TOPIC))?.is_some() {
            let id = half.property(props::UNIQ_KEY).unwrap_or_default();
            tracing::warn!(id, checks, "a transaction nobody could decide is in {}", topic.config.topic_name);
        }
        Ok(())
    }

    /// Copies a half message to the end of its queue, so that what a restart reads stays short.
    pub(super) fn move_to_end(&self, offset: u64, physical: u64) -> Result<(), Postponed> {
        let Some(bytes) = self.store.record_at(physical)? else { return Ok(()) };
        let half = Record::parse(&bytes)?;
        let checks = self.transactions.table.lock().get(offset).map_or(0, |open| open.checks);
        let mut properties = with_checks(&half, checks);
        if half.property(queues::PREPARED_OFFSET).is_none() {
            props::push(&mut properties, queues::PREPARED_OFFSET, itoa::Buffer::new().format(offset));
        }
        let mut batch = Batch::default();
        let message = Message { properties: &properties, ..half.message() };
        batch.push(&self.transactions.halves, &message, hash::tags_code(half.property(props::TAGS)))?;
        let Some(ending) = self.begin_close(offset) else { return Ok(()) };
        let written = self.append_with_op(&mut batch, ending, true)?;
        let copy = batch.appended(0);
        let mut table = self.transactions.table.lock();
        table.op_written(written.op_offset, written.half_offset);
        table.moved(ending.offset, copy.queue_offset, copy.offset);
        Ok(())
    }

    /// Stores the batch with an op record that closes the half message; `None` if somebody else decides about it.
    pub(super) fn close(
        &self,
        offset: u64,
        batch: &mut Batch,
        topic: Option<&str>,
    ) -> Result<Option<Ending>, Postponed> {
        let Some(ending) = self.begin_close(offset) else { return Ok(None) };
        let written = self.append_with_op(batch, ending, false)?;
        {
            let mut table = self.transactions.table.lock();
            table.op_written(written.op_offset, written.half_offset);
            table.ended(ending.offset);
        }
        if let Some(topic) = topic {
            self.transactions.counts.add(topic, -1, self.now_ms());
        }
        Ok(Some(ending))
    }

    fn begin_close(&self, offset: u64) -> Option<Ending> {
        self.transactions.table.lock().begin_end(offset)
    }

    fn append_with_op(&self, batch: &mut Batch, ending: Ending, moved: bool) -> Result<Written, Postponed> {
        let mut share = Share { ends: vec![(ending.offset, None)], moved, ..Share::default() };
        self.push_op_records(batch, &mut share);
        if let Err(error) = self.store.append(batch) {
            self.transactions.table.lock().gave_up(ending.offset);
            return Err(error.into());
        }
        self.stats.stored(batch, &self.topics);
        let op_offset = batch.appended(batch.len() - 1).queue_offset;
        Ok(Written { op_offset, half_offset: ending.offset })
    }
}

/// An op record in the log.
struct Written {
    op_offset: u64,
    half_offset: u64,
}

/// The properties of a half message with the number of its checks, if they have room for it: they fitted as they came,
/// and a transaction whose half message does not fit any more would stay open for ever.
fn with_checks(half: &Record<'_>, checks: u32) -> Vec<u8> {
    let mut properties = Vec::with_capacity(half.properties.len() + 64);
    props::copy_without(half.properties, &[queues::CHECK_TIMES, props::CRC32], &mut properties);
    let without = properties.len();
    if checks > 0 {
        props::push(&mut properties, queues::CHECK_TIMES, itoa::Buffer::new().format(checks));
    }
    if properties.len() + prop_crc::SIZE > record::PROPERTIES_MAX {
        properties.truncate(without);
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_that_have_no_room_for_the_number_of_checks_stay_as_they_came() {
        for (len, room) in [(32_730, false), (32_760, false), (32_600, true)] {
            let mut text = Vec::new();
            props::push(&mut text, "long", &"x".repeat(len - 6));
            let half =
                Message { properties: &text, ..Message::of_broker(([0; 4], 0).into(), "t", 0, b"half") };
            let mut bytes = Vec::new();
            record::encode(&half, &mut bytes).unwrap();
            let properties = with_checks(&Record::parse(&bytes).unwrap(), 3);
            assert_eq!(properties != text, room, "{len}");
            assert!(properties.len() <= record::PROPERTIES_MAX);
        }
    }
}
