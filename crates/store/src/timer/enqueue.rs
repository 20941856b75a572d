//! From the timer topic's queue to the wheel (store.md §15.5).

use std::io;
use std::sync::atomic::Ordering;

use wire::hash;
use wire::properties as props;
use wire::record::Record;

use super::log::{MAGIC_DEFAULT, MAGIC_DELETE, MAGIC_ROLL, Unit};
use super::slot::Waiting;
use super::wheel::Slot;
use super::{State, Timer, due_of, read_record};
use crate::error::StoreError;
use crate::queue_entry::{ENTRY_BYTES, QueueEntry};
use crate::store::Store;

/// Messages read at a time.
const READ_AT_ONCE: usize = 1000;
/// Messages taken in before what is due is delivered. All that has come, if possible: a message that takes another back
/// counts only if it is taken in before that is due.
const TAKEN_AT_ONCE: usize = 20_000;

/// A message of the timer topic, as far as the wheel goes.
pub(super) struct Timed<'a> {
    pub record: Record<'a>,
    /// Beginning of its slot.
    out_ms: i64,
    pub topic: &'a str,
    takes_back: Option<&'a str>,
}

impl<'a> Timed<'a> {
    pub fn of(record: Record<'a>) -> Option<Timed<'a>> {
        let (mut out_ms, mut topic, mut takes_back) = (None, "", None);
        for (name, value) in props::iter(record.properties) {
            match name {
                props::TIMER_OUT_MS => out_ms = value.parse().ok(),
                props::REAL_TOPIC => topic = value,
                props::TIMER_DEL_UNIQKEY => takes_back = Some(value),
                _ => (),
            }
        }
        Some(Timed { out_ms: out_ms.filter(|out| *out >= 0)?, record, topic, takes_back })
    }

    /// What its unit says, if it is written now.
    pub fn waiting(&self, timer: &Timer, rolls: bool, now: i64) -> Waiting {
        let mut magic = MAGIC_DEFAULT;
        if rolls {
            magic |= MAGIC_ROLL;
        }
        if self.takes_back.is_some() {
            magic |= MAGIC_DELETE;
        }
        Waiting {
            offset: self.record.physical_offset as u64,
            size: self.record.bytes.len() as u32,
            magic,
            write_time: timer.options.slot_of(now),
            topic_hash: if self.topic.is_empty() { 0 } else { hash::java_hash(self.topic) },
        }
    }
}

impl Timer {
    /// The slot of a message that is taken in now, and whether it is only parked there.
    pub(super) fn target(&self, read_time: i64, timed: &Timed<'_>, now: i64) -> (i64, bool) {
        let options = &self.options;
        let (precision, slots) = (options.precision(), i64::from(options.roll_window()));
        let window = slots * precision;
        let slot = options.slot_of(timed.out_ms);
        let write_time = options.slot_of(now);
        let excess = slot - write_time - window;
        if excess < 0 {
            return (slot.max(read_time), false);
        }
        // What is left for the last turn shall not be short (store.md §15.5).
        let turn = if excess < slots / 3 * precision { slots / 2 * precision } else { window };
        let target = (write_time + turn).max(read_time + precision);
        if target >= slot { (slot.max(read_time), false) } else { (target, true) }
    }
}

impl Store {
    /// Takes in what has come; tells whether there is more than was done at once.
    pub(super) fn timer_enqueue(
        &self,
        timer: &Timer,
        state: &mut State,
        now: i64,
    ) -> Result<bool, StoreError> {
        let until = state.queue_offset.saturating_add(TAKEN_AT_ONCE as u64);
        while state.queue_offset < until {
            if !self.timer_take_some(timer, state, now)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes in as much as is read at a time; false if there is no more.
    fn timer_take_some(&self, timer: &Timer, state: &mut State, now: i64) -> Result<bool, StoreError> {
        let queue = state.queue.clone();
        state.queue_offset = state.queue_offset.max(queue.min_offset());
        let count = (queue.max_offset().saturating_sub(state.queue_offset) as usize).min(READ_AT_ONCE);
        if count == 0 {
            return Ok(false);
        }
        let error = |source| StoreError::Io { what: "write", path: state_dir(self), source };
        // What an earlier call could not write comes first.
        state.log.write().map_err(error)?;
        let mut bytes = vec![0; count * ENTRY_BYTES];
        let read = queue
            .raw_entries(state.queue_offset, &mut bytes)
            .map_err(StoreError::io("read", &self.queues.files.dir_of(&queue)))?;
        if read == 0 {
            tracing::error!(offset = state.queue_offset, "the timer topic's queue has a gap; it is skipped");
            state.queue_offset += 1;
            return Ok(true);
        }
        let mut scratch = Vec::new();
        let mut held = false;
        for bytes in bytes[..read * ENTRY_BYTES].chunks_exact(ENTRY_BYTES) {
            if let Some(entry) = QueueEntry::decode(bytes).filter(|entry| !entry.is_pre_blank()) {
                held = !self.timer_take(timer, state, now, &entry, &mut scratch)?;
            }
            if held {
                break;
            }
            state.queue_offset += 1;
        }
        state.changed = true;
        state.log.write().map_err(error)?;
        Ok(!held && state.queue_offset < queue.max_offset())
    }

    /// Takes in one message; false if the wheel has no place for it before it has turned.
    fn timer_take(
        &self,
        timer: &Timer,
        state: &mut State,
        now: i64,
        entry: &QueueEntry,
        scratch: &mut Vec<u8>,
    ) -> Result<bool, StoreError> {
        let at = entry.physical_offset;
        if state.done.remove(&at) {
            return Ok(true);
        }
        let record = match read_record(&self.base.log, at, entry.size, scratch) {
            Ok(record) => record,
            Err(source) => {
                let error = self.base.log.error_at("read", at, source);
                let taken_in = state.take_in_unread(timer, entry, now, &error);
                let taken_in = taken_in.map_err(StoreError::io("write", &state_dir(self)))?;
                return if taken_in { Ok(true) } else { Err(error) };
            }
        };
        state.unread.answered(at);
        let Some(timed) = record.and_then(Timed::of) else {
            tracing::warn!(offset = at, "a timer message is gone or names no time; it is skipped");
            return Ok(true);
        };
        let over =
            state.skipped.is_some_and(|(until, before)| state.queue_offset < until && timed.out_ms < before);
        if over {
            return Ok(true);
        }
        let (target, rolls) = timer.target(state.read_time, &timed, now);
        if target - state.read_time >= 2 * state.wheel.reach() {
            return Ok(false);
        }
        self.timer_place(timer, state, &timed, now, target, rolls)?;
        timer.enqueued.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Writes the unit and chains it to its slot.
    fn timer_place(
        &self,
        timer: &Timer,
        state: &mut State,
        timed: &Timed<'_>,
        now: i64,
        target: i64,
        rolls: bool,
    ) -> Result<(), StoreError> {
        let unit = state
            .chain_to(target, timed.waiting(timer, rolls, now))
            .map_err(StoreError::io("write", &state_dir(self)))?;
        state.metrics.add(timed.topic, i64::from(unit.count()), now);
        if target == state.read_time && state.present.loaded {
            state.admit(timer, &unit, &timed.record);
        }
        Ok(())
    }
}

impl State {
    /// Writes a unit and chains it to its slot.
    pub(super) fn chain_to(&mut self, time: i64, waiting: Waiting) -> io::Result<Unit> {
        let (slot, unit) = self.append_behind(self.wheel.get(time), time, waiting)?;
        self.wheel.put(time, Some(slot));
        self.changed = true;
        Ok(unit)
    }

    /// Writes a unit behind those of a slot's chain, or as the first of a new one. The wheel does not know of it yet.
    pub(super) fn append_behind(
        &mut self,
        chain: Option<Slot>,
        time: i64,
        waiting: Waiting,
    ) -> io::Result<(Slot, Unit)> {
        let unit = waiting.unit(time, chain.map(|slot| slot.last));
        let at = self.log.append(&unit)?;
        let (first, num) = chain.map_or((at, 0), |slot| (slot.first, slot.num));
        Ok((Slot { first, last: at, num: num.saturating_add(unit.count()) }, unit))
    }

    /// Adds a unit of the present slot to what waits in it.
    pub(super) fn admit(&mut self, timer: &Timer, unit: &Unit, record: &Record<'_>) {
        let waiting = Waiting::of(unit);
        if unit.deletes() {
            if let Some(key) = record.property(props::TIMER_DEL_UNIQKEY) {
                self.present.taken_back.insert(key.to_owned());
            }
            self.present.markers.push(waiting);
            return;
        }
        let precision = timer.options.precision();
        let due = if unit.rolls() {
            unit.slot_time()
        } else {
            let out_ms = record.property(props::TIMER_OUT_MS).and_then(|out| out.parse().ok());
            due_of(record, out_ms.unwrap_or(unit.slot_time()), precision)
        };
        self.present.waiting.insert((due, unit.offset), waiting);
    }
}

/// The timer log's directory, for errors.
fn state_dir(store: &Store) -> std::path::PathBuf {
    store.base.options.root.join("timerlog")
}
