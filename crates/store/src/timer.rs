//! Timer messages: they wait in one queue of the timer topic and are put into their real queue when they are due
//! (store.md §15).
//!
//! The timer is a follower of that queue. For each message it writes a unit to the timer log and chains it to a slot of
//! the wheel, in Java's files; of what waits, memory holds the messages of the present slot alone. Java delivers a slot
//! when it is over; here each message of it is delivered at its own millisecond, never before.
//!
//! Nothing is lost and nothing is delivered twice, whenever the process or the machine stops: a checkpoint names a
//! state of queue, wheel and timer log that is durable, and what was delivered after it stands in the commit log,
//! each copy with the position of the message it was made of. Recovery goes back to the checkpoint, looks for those
//! copies and goes on without them (see `recovery`).

mod checkpoint;
mod deliver;
mod enqueue;
mod figures;
mod flush;
mod late;
mod log;
mod metrics;
mod recovery;
mod shown;
mod slot;
mod unread;
mod wheel;
mod work;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use wire::names;
use wire::properties;
use wire::record::Record;

use crate::commit_log::CommitLog;
use crate::options::TimerOptions;
use crate::queue::Queue;
use crate::signal::Signal;

use checkpoint::{Checkpoint, CheckpointFile};
use log::UnitLog;
use metrics::Metrics;
use shown::Shown;
use slot::Present;
use unread::Unread;
use wheel::Wheel;

/// Told of what was delivered: topic, messages, bytes.
pub type OnDelivered = Box<dyn Fn(&str, u64, u64) + Send + Sync>;

/// Slots that Java keeps free between the end of the wheel and its beginning.
const BLANK_SLOTS: u32 = 60;

impl TimerOptions {
    fn precision(&self) -> i64 {
        i64::from(self.precision_ms.max(1))
    }

    /// The beginning of the slot that holds a moment.
    fn slot_of(&self, millis: i64) -> i64 {
        millis.div_euclid(self.precision()) * self.precision()
    }

    /// Java's bounds of the window (store.md §15.5).
    fn roll_window(&self) -> u32 {
        let most = self.slots.saturating_sub(BLANK_SLOTS).max(2);
        if (2..=most).contains(&self.roll_window_slots) { self.roll_window_slots } else { most }
    }
}

/// When the timer wants to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerNext {
    /// There is more to do.
    AtOnce,
    /// After this time, or when a message comes.
    After(Duration),
    /// When a message comes.
    OnArrival,
}

/// A snapshot of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimerFigures {
    /// How far the present slot is behind the clock.
    pub behind_ms: i64,
    /// Messages of the timer topic that are not in the wheel yet.
    pub queue_behind: u64,
    /// Messages in the wheel.
    pub pending: i64,
    /// Messages put into the wheel since the start.
    pub enqueued: u64,
    /// Messages taken out of it since the start.
    pub delivered: u64,
}

/// The timer of a store.
pub(crate) struct Timer {
    pub options: TimerOptions,
    /// Raised when a message has come.
    pub signal: Signal,
    /// Raised when there is something to checkpoint.
    pub flush_signal: Signal,
    /// Held while the disk is waited for: what threads that serve others may look at is in `shown`.
    pub state: Mutex<State>,
    shown: Shown,
    /// Held by the one flush that runs.
    files: Mutex<CheckpointFile>,
    pub on_delivered: OnceLock<OnDelivered>,
    enqueued: AtomicU64,
    delivered: AtomicU64,
}

/// How far the timer has come.
pub(crate) struct State {
    queue: Arc<Queue>,
    wheel: Wheel,
    log: UnitLog,
    metrics: Metrics,
    /// Milliseconds of a slot.
    precision: i64,
    /// First message of the timer topic that is not in the timer log.
    queue_offset: u64,
    /// Beginning of the present slot; everything before it is delivered. It never goes back: while the clock is behind
    /// it, what is due earlier waits in this slot.
    read_time: i64,
    present: Present,
    /// Messages that the disk does not give.
    unread: Unread,
    /// Messages, by position, that recovery found delivered already and that are still to be met.
    done: HashSet<u64>,
    /// Where the copies of those stand in the commit log, from here on.
    done_from: u64,
    /// Of messages before this offset of the queue, those of slots before this time were delivered: the wheel is
    /// being built anew.
    skipped: Option<(u64, i64)>,
    /// Nothing is delivered before the queue is read up to here: what takes messages back may stand there.
    catch_up: u64,
    /// The present slot is not left before the queue is read up to here.
    rolled_until: u64,
    /// Whether anything is not in the checkpoint.
    changed: bool,
    /// No checkpoint that was written tells of the chain that the present slot got when it was settled.
    rest_is_untold: bool,
    checkpoint: Checkpoint,
}

/// What a copy says of the message it was made of, in a field that only transactions use otherwise: recovery knows by
/// it what was delivered. 0 is what every other message has there.
fn source_mark(offset: u64) -> i64 {
    offset as i64 + 1
}

/// The offset that a mark stands for.
fn source_of(mark: i64) -> Option<u64> {
    u64::try_from(mark).ok()?.checked_sub(1)
}

/// A timer message of the commit log, read beside its map: what waits for days shall not fill memory. `None` if it is
/// gone, such as from the end that a repair cut off: another message may stand there by now.
fn read_record<'a>(
    log: &CommitLog,
    at: u64,
    size: u32,
    scratch: &'a mut Vec<u8>,
) -> io::Result<Option<Record<'a>>> {
    let Some(segment) = log.segment_at(at) else { return Ok(None) };
    if at + u64::from(size) > log.end().min(segment.until()) {
        return Ok(None);
    }
    scratch.resize(size as usize, 0);
    segment.file.read_at(scratch, at - segment.base)?;
    Ok(Record::parse(scratch).ok().filter(|record| {
        let is_there = record.physical_offset as u64 == at && record.bytes.len() == size as usize;
        is_there && record.topic == names::TIMER_TOPIC
    }))
}

/// The millisecond at which a message is due, given its slot (`TIMER_OUT_MS`), which begins before that.
///
/// A delay counts from when the message was stored; the copy of a rolled one says when that was.
fn due_of(record: &Record<'_>, out_ms: i64, precision: i64) -> i64 {
    let [mut seconds, mut millis, mut at] = [None; 3];
    let mut rolled = false;
    for (name, value) in properties::iter(record.properties) {
        match name {
            properties::TIMER_DELAY_SEC => seconds = value.parse::<i64>().ok(),
            properties::TIMER_DELAY_MS => millis = value.parse::<i64>().ok(),
            properties::TIMER_DELIVER_MS => at = value.parse::<i64>().ok(),
            properties::TIMER_ROLL_TIMES => rolled = true,
            _ => (),
        }
    }
    let delay = seconds.map(|seconds| seconds.saturating_mul(1000)).or(millis);
    let due = match delay {
        Some(delay) if !rolled => Some(record.store_timestamp.saturating_add(delay)),
        _ => at,
    };
    let last = out_ms.saturating_add(precision);
    due.map_or(last, |due| due.clamp(out_ms.saturating_add(1), last))
}
