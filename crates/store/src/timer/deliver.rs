//! From the present slot to the real queues.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wire::hash;
use wire::names;
use wire::properties as props;
use wire::record::{EncodeError, Message, Record};

use super::log::{MAGIC_ROLL, Reader, Unit};
use super::slot::{Present, Waiting};
use super::unread::UNKNOWN_TOPIC;
use super::{State, Timer, TimerNext, due_of, read_record, source_mark};
use crate::batch::Batch;
use crate::dispatch;
use crate::error::{AppendError, StoreError};
use crate::store::Store;

/// Messages of one append.
const TOGETHER_MAX: usize = 500;
/// Bytes of one append.
const BYTES_MAX: u64 = 1 << 20;
/// More than the properties that a delivery adds.
const ADDED_BYTES: u64 = 256;
/// Messages delivered before what has come is taken in.
const DELIVERED_AT_ONCE: usize = 4000;
/// Pause after an append that the store refused.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// While something waits the wall clock is looked at this often: it may have been set.
const LOOK: Duration = Duration::from_millis(500);

/// What became of those who were due.
enum Round {
    /// This many are done.
    Done(usize),
    /// The store takes nothing now.
    Refused,
}

/// Copies on their way into the log.
#[derive(Default)]
struct Outgoing {
    batch: Batch,
    /// Those that are done once the batch is in the log.
    keys: Vec<(i64, u64)>,
    /// Number in the batch of the last message that goes back into the timer topic.
    rolled: Option<usize>,
    /// Messages and bytes by topic.
    put: BTreeMap<String, (u64, u64)>,
    /// By how much the count of a topic changes.
    counts: BTreeMap<String, i64>,
}

impl Store {
    /// Delivers what is due and moves on through slots that are over.
    pub(super) fn timer_deliver(
        &self,
        timer: &Timer,
        state: &mut State,
        now: i64,
    ) -> Result<TimerNext, StoreError> {
        let precision = timer.options.precision();
        let mut budget = DELIVERED_AT_ONCE;
        loop {
            if !state.present.loaded {
                self.timer_load(timer, state, now)?;
            }
            loop {
                match self.timer_round(timer, state, now)? {
                    Round::Done(0) => break,
                    Round::Refused => return Ok(TimerNext::After(REFUSED_PAUSE)),
                    Round::Done(count) => budget = budget.saturating_sub(count),
                }
                if budget == 0 {
                    return Ok(TimerNext::AtOnce);
                }
            }
            let is_over = now >= state.read_time.saturating_add(precision);
            // What was rolled is taken in first: its slot may be among the next, with what takes it back.
            if !is_over || !state.present.waiting.is_empty() || state.queue_offset < state.rolled_until {
                let unread = state.queue_offset < state.queue.max_offset();
                return Ok(if unread { TimerNext::AtOnce } else { state.next(timer, now) });
            }
            let used = state.wheel.get(state.read_time).is_some();
            state.move_put_off(timer).map_err(StoreError::io("write", &state.log.dir))?;
            state.finish(timer, now);
            budget = budget.saturating_sub(usize::from(used));
            if budget == 0 {
                return Ok(TimerNext::AtOnce);
            }
        }
    }

    /// Reads what waits in the present slot. After an error nothing is known of it, and it is read again.
    fn timer_load(&self, timer: &Timer, state: &mut State, now: i64) -> Result<(), StoreError> {
        let rest = state.present.rest;
        state.present = Present { rest, ..Present::default() };
        let units = state.chain(state.read_time).map_err(StoreError::io("read", &state.log.dir))?;
        let mut counts = Vec::new();
        let mut scratch = Vec::new();
        for unit in units.iter().rev() {
            if !state.done.contains(&unit.offset) {
                counts.extend(self.timer_load_unit(timer, state, unit, now, &mut scratch)?);
            }
        }
        // Nothing can fail any more.
        counts.iter().for_each(|(topic, count)| state.metrics.add(topic, *count, now));
        for unit in &units {
            if state.done.remove(&unit.offset) {
                // From now on only their copies tell of them, as long as this slot lasts.
                state.present.begun = Some(state.done_from);
                state.present.last = Some(Waiting::of(unit));
            }
        }
        state.present.loaded = true;
        Ok(())
    }

    /// Reads what waits as one unit of the present slot. Tells by how much the count of a topic changes.
    fn timer_load_unit(
        &self,
        timer: &Timer,
        state: &mut State,
        unit: &Unit,
        now: i64,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<(String, i64)>, StoreError> {
        let at = unit.offset;
        let record = match read_record(&self.base.log, at, unit.size, scratch) {
            Ok(record) => record,
            Err(source) => {
                let error = self.base.log.error_at("read", at, source);
                let passed = state.put_off_unread(timer, Waiting::of(unit), now, &error);
                return if passed { Ok(None) } else { Err(error) };
            }
        };
        state.unread.answered(at);
        let Some(record) = record else {
            tracing::warn!(offset = at, "a timer message is gone from the log");
            return Ok(None);
        };
        if unit.topic_hash == UNKNOWN_TOPIC {
            return Ok(state.take_in_late(timer, unit, record, now));
        }
        state.admit(timer, unit, &record);
        let topic = || record.property(props::REAL_TOPIC).unwrap_or_default().to_owned();
        Ok(unit.deletes().then(|| (topic(), 1)))
    }

    /// Delivers some of what is due, all with one append.
    fn timer_round(&self, timer: &Timer, state: &mut State, now: i64) -> Result<Round, StoreError> {
        let mut outgoing = Outgoing::default();
        let segment_bytes = self.base.options.segment_bytes;
        // One write, and so all or nothing: a part that is stored and not known of would be delivered again.
        let bytes_max = BYTES_MAX.min(segment_bytes / 4);
        let mut scratch = Vec::new();
        for (key, waiting) in state.present.waiting.range(..=(now, u64::MAX)) {
            let bytes = outgoing.batch.bytes_len() as u64 + u64::from(waiting.size) + ADDED_BYTES;
            if outgoing.keys.len() >= TOGETHER_MAX || (!outgoing.batch.is_empty() && bytes > bytes_max) {
                break;
            }
            let at = waiting.offset;
            let record = match read_record(&self.base.log, at, waiting.size, &mut scratch) {
                Ok(record) => record,
                // Those before it go first. Then it is met again.
                Err(_) if !outgoing.keys.is_empty() => break,
                Err(source) => {
                    let (key, waiting, error) = (*key, *waiting, self.base.log.error_at("read", at, source));
                    return state.pass_unread(timer, key, waiting, now, error);
                }
            };
            match record.map(|record| self.sound_record(record.bytes, at)) {
                Some(Ok(record)) => {
                    self.timer_copy(timer, &state.present, waiting, &record, now, &mut outgoing)
                }
                Some(Err(reason)) => {
                    tracing::error!(offset = at, reason, "damaged timer message; it is dropped")
                }
                None => tracing::warn!(offset = at, "a timer message is gone from the log"),
            }
            outgoing.keys.push(*key);
        }
        if outgoing.keys.is_empty() {
            return Ok(Round::Done(0));
        }
        state.present.begun.get_or_insert(self.base.log.end());
        match self.append(&mut outgoing.batch) {
            Ok(()) => {}
            Err(AppendError::TooLarge { bytes, .. }) => {
                tracing::error!(bytes, segment_bytes, "a timer message fits into no segment; it is dropped");
                outgoing.put.clear();
                outgoing.rolled = None;
            }
            Err(error) => {
                tracing::warn!(%error, "timer messages are not delivered yet");
                return Ok(Round::Refused);
            }
        }
        if let Some(index) = outgoing.rolled {
            state.rolled_until = outgoing.batch.appended(index).queue_offset + 1;
        }
        for key in &outgoing.keys {
            state.present.last = state.present.waiting.remove(key);
        }
        for (topic, count) in &outgoing.counts {
            state.metrics.add(topic, *count, now);
        }
        state.changed = true;
        timer.delivered.fetch_add(outgoing.keys.len() as u64, Ordering::Relaxed);
        if let Some(told) = timer.on_delivered.get() {
            for (topic, (messages, bytes)) in &outgoing.put {
                told(topic, *messages, *bytes);
            }
        }
        Ok(Round::Done(outgoing.keys.len()))
    }

    /// Adds the copy that a message is delivered as; nothing if it was taken back or leads nowhere.
    fn timer_copy(
        &self,
        timer: &Timer,
        present: &Present,
        waiting: &Waiting,
        record: &Record<'_>,
        now: i64,
        outgoing: &mut Outgoing,
    ) {
        let real_topic = record.property(props::REAL_TOPIC).unwrap_or_default();
        *outgoing.counts.entry(real_topic.to_owned()).or_default() -= waiting.count();
        let rolls = waiting.magic & MAGIC_ROLL != 0;
        if !rolls && present.is_taken_back(real_topic, record.property(props::UNIQ_KEY)) {
            return;
        }
        let (topic, queue_id) = if rolls {
            (record.topic, record.queue_id)
        } else {
            let id = record.property(props::REAL_QID).and_then(|id| id.parse::<u32>().ok());
            (real_topic, id.unwrap_or(u32::MAX))
        };
        // The name becomes a directory, and one of a place where messages wait would have it go round for ever: a
        // store from elsewhere may say anything.
        let waits_again = !rolls && names::is_send_forbidden(topic);
        if !dispatch::is_safe_topic(topic) || waits_again || queue_id > i32::MAX as u32 {
            tracing::warn!(
                offset = waiting.offset,
                topic,
                "a timer message names no real queue; it is dropped"
            );
            return;
        }
        let properties = delivered_properties(record, waiting, rolls, now, timer.options.precision());
        let message = Message {
            topic,
            queue_id,
            prepared_transaction_offset: source_mark(waiting.offset),
            properties: &properties,
            ..record.message()
        };
        let queue = self.queue(topic, queue_id);
        let tags_code = hash::tags_code(record.property(props::TAGS));
        let pushed = outgoing.batch.push(&queue, &message, tags_code).or_else(|error| match error {
            // Without what we would add it fits, as it did when it came.
            EncodeError::PropertiesTooLong(_) => {
                outgoing.batch.push(&queue, &Message { properties: record.properties, ..message }, tags_code)
            }
            other => Err(other),
        });
        match pushed {
            Ok(index) => {
                if rolls {
                    outgoing.rolled = Some(index);
                }
                let put = outgoing.put.entry(topic.to_owned()).or_default();
                put.0 += 1;
                put.1 += record.bytes.len() as u64;
            }
            Err(error) => {
                tracing::error!(offset = waiting.offset, %error, "a timer message is dropped");
            }
        }
    }
}

/// The properties of a copy: all that were there, and when it was put into the wheel and taken out (store.md §15.5).
fn delivered_properties(
    record: &Record<'_>,
    waiting: &Waiting,
    rolls: bool,
    now: i64,
    precision: i64,
) -> Vec<u8> {
    let mut text = Vec::with_capacity(record.properties.len() + ADDED_BYTES as usize);
    let replaced = [props::CRC32, props::TIMER_ENQUEUE_MS, props::TIMER_DEQUEUE_MS, props::TIMER_ROLL_TIMES];
    let removed = if rolls { &replaced[..] } else { &replaced[..3] };
    props::copy_without(record.properties, removed, &mut text);
    props::push(&mut text, props::TIMER_ENQUEUE_MS, &waiting.write_time.to_string());
    props::push(&mut text, props::TIMER_DEQUEUE_MS, &now.to_string());
    if rolls {
        let times: i64 =
            record.property(props::TIMER_ROLL_TIMES).and_then(|times| times.parse().ok()).unwrap_or(0);
        props::push(&mut text, props::TIMER_ROLL_TIMES, &times.saturating_add(1).to_string());
        // A delay counts from when the message was stored first, which the copy does not know.
        let out_ms = record.property(props::TIMER_OUT_MS).and_then(|out| out.parse().ok());
        if let (None, Some(out_ms)) = (record.property(props::TIMER_DELIVER_MS), out_ms) {
            props::push(&mut text, props::TIMER_DELIVER_MS, &due_of(record, out_ms, precision).to_string());
        }
    }
    text
}

impl State {
    /// The round of a message that could not be read, alone.
    fn pass_unread(
        &mut self,
        timer: &Timer,
        key: (i64, u64),
        waiting: Waiting,
        now: i64,
        error: StoreError,
    ) -> Result<Round, StoreError> {
        if !self.put_off_unread(timer, waiting, now, &error) {
            return Err(error);
        }
        self.present.waiting.remove(&key);
        Ok(Round::Done(1))
    }

    /// Units of a slot, from its last on.
    fn chain(&self, time: i64) -> io::Result<Vec<Unit>> {
        let mut at = self.wheel.get(time).map(|slot| slot.last);
        let mut units = Vec::new();
        let mut reader = Reader::default();
        while let Some(position) = at {
            let Some(unit) = reader.unit(&self.log, position)? else {
                tracing::error!(position, "the timer log lacks a unit of a chain; those before it are lost");
                break;
            };
            // A chain leads back, whatever a damaged file says.
            at = unit.previous.filter(|previous| *previous < position);
            units.push(unit);
        }
        Ok(units)
    }

    /// Leaves the present slot, which is over and empty, for the next that has something, or that of now.
    fn finish(&mut self, timer: &Timer, now: i64) {
        if self.wheel.get(self.read_time).is_some() {
            self.wheel.forget(self.read_time);
            self.changed = true;
        }
        let today = timer.options.slot_of(now);
        self.read_time = self.wheel.next_from(self.read_time).map_or(today, |next| next.min(today));
        self.present = Present::default();
    }

    /// When there is something to do again.
    fn next(&self, timer: &Timer, now: i64) -> TimerNext {
        let due = self.present.waiting.keys().next().map(|(due, _)| *due);
        let slot = self.wheel.next_from(self.read_time.saturating_add(timer.options.precision()));
        let Some(at) = due.into_iter().chain(slot).min() else { return TimerNext::OnArrival };
        let pause = Duration::from_millis(at.saturating_sub(now).max(0) as u64);
        TimerNext::After(pause.clamp(Duration::from_millis(1), LOOK))
    }
}
