//! The half queue and the op queue on disk: reading them at start, following the half queue afterwards, and the form
//! of op records.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use store::{Boundary, Queue, QueueEntry, Store, StoreError};
use wire::names;
use wire::properties as props;
use wire::record::Record;

use super::table::{Known, Open, Positions, Table};

/// Tag of an op record whose body names decided half messages.
pub(crate) const REMOVE_TAG: &str = "d";
/// How often the producer of a half message was asked, on copies of it.
pub(crate) const CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// Offset that a half message had before it was copied to the end of its queue.
pub(crate) const PREPARED_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
/// On op records that name a half message because it was copied, not because it was decided. Java does not ask.
pub(crate) const MOVED: &str = "THRUST_MOVED";
/// Seconds that a producer wants before the first check.
pub(crate) const IMMUNITY: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";

/// Entries read at a time.
const READ_AT_ONCE: u32 = 64;
/// Decisions that are looked at for the one about a half message.
const DECISIONS_MAX: u64 = 1024;
/// Size field of entries that stand for no message.
const FILLER_SIZE: u32 = 0x7FFF_FFFF;

/// The transactions that the queues say are open, and how many they are by topic. An error if one of the queues cannot
/// be read: what stands there must not pass for decided, nor what is decided for open.
pub(crate) fn load(
    store: &Store,
    halves: &Queue,
    ops: &Queue,
    from: Positions,
    checks: &BTreeMap<u64, u32>,
) -> Result<(Table, HashMap<String, i64>), StoreError> {
    let (table, topics) = (Table::new(from), HashMap::new());
    let mut loading = Loading { store, checks, table, topics };
    for_each_entry(store, ops, from.op, |offset, entry| loading.op(offset, entry))?;
    for_each_entry(store, halves, from.half, |offset, entry| loading.half(offset, entry))?;
    loading.table.restored();
    Ok((loading.table, loading.topics))
}

/// What was read of the two queues so far: first of all decisions, then of half messages.
struct Loading<'a> {
    store: &'a Store,
    /// How often the producers of half messages were asked, by offset, where that is known from before.
    checks: &'a BTreeMap<u64, u32>,
    table: Table,
    /// Open transactions by topic.
    topics: HashMap<String, i64>,
}

impl Loading<'_> {
    /// Notes which half messages are decided, or copied, by what stands at an offset of the op queue.
    fn op(&mut self, offset: u64, entry: Option<&QueueEntry>) {
        let Some(physical) = entry.map(|entry| entry.physical_offset) else {
            return self.table.found_op(offset, &[], false);
        };
        let bytes = read(self.store, physical);
        match bytes.as_deref().and_then(|bytes| Record::parse(bytes).ok()) {
            Some(record) => self.table.found_op(offset, &named(&record), record.property(MOVED).is_some()),
            None => {
                tracing::error!(
                    topic = names::OP_HALF_TOPIC,
                    queue_offset = offset,
                    physical,
                    "decisions about transactions cannot be read: their producers are asked again, and what was \
                     committed is delivered again if they say so"
                );
                self.table.found_op(offset, &[], false);
            }
        }
    }

    /// Takes what stands at an offset of the half queue for open, unless an op record has named it.
    fn half(&mut self, offset: u64, entry: Option<&QueueEntry>) {
        if self.table.found_half(offset) {
            return;
        }
        let Some(physical) = entry.map(|entry| entry.physical_offset) else { return };
        match self.store.record_at(physical) {
            Ok(bytes) => match bytes.as_deref().and_then(|bytes| Record::parse(bytes).ok()) {
                Some(record) => self.restore(offset, physical, &record),
                None => log_lost_half(offset, physical),
            },
            Err(error) => {
                // It is read again in each round of checks, until the disk gives it.
                tracing::error!(offset, "a half message cannot be read and stays open: {error}");
                let checks = self.checks.get(&offset).copied().unwrap_or(0);
                self.table.restore(offset, Open::asked(physical, checks, None), None);
            }
        }
    }

    /// Opens the transaction of a half message again.
    fn restore(&mut self, offset: u64, physical: u64, record: &Record<'_>) {
        let counted = record.property(CHECK_TIMES).and_then(|times| times.parse().ok());
        let checks = self.checks.get(&offset).copied().or(counted).unwrap_or(0);
        let open = Open::asked(physical, checks, Some(known(record)));
        let before = record.property(PREPARED_OFFSET).and_then(|offset| offset.parse().ok());
        if self.table.restore(offset, open, before)
            && let Some(topic) = record.property(props::REAL_TOPIC)
        {
            *self.topics.entry(topic.to_owned()).or_default() += 1;
        }
    }
}

/// Tells of a half message whose record is damaged or gone, and which is not open therefore.
fn log_lost_half(queue_offset: u64, physical: u64) {
    tracing::error!(
        topic = names::HALF_TOPIC,
        queue_offset,
        physical,
        "no sound half message stands there: if its transaction was open, it is lost"
    );
}

/// Brings the table up to the end of the half queue, or to where that cannot be read.
pub(crate) fn follow(store: &Store, halves: &Queue, table: &mut Table) {
    let from = table.followed();
    let followed = for_each_entry(store, halves, from, |offset, entry| {
        table.follow(offset, entry.map(|entry| entry.physical_offset));
    });
    if let Err(error) = followed {
        tracing::error!(offset = table.followed(), "half messages are looked at again later: {error}");
    }
}

/// What the record of a half message says about its checks.
pub(crate) fn known(record: &Record<'_>) -> Known {
    let stored_ms = record.store_timestamp;
    // Java takes what is no number for the default.
    let seconds = record.property(IMMUNITY).map(|text| text.parse::<i64>().unwrap_or(-1));
    let immunity_ms = seconds.filter(|seconds| *seconds != -1).map(|seconds| seconds.saturating_mul(1000));
    Known { born_ms: record.born_timestamp.min(stored_ms), stored_ms, immunity_ms }
}

/// Adds a half offset to the body of an op record. Java puts a comma behind each; brokers before 5.0 know of one number
/// only, and of none with a comma: for them there is none behind the last.
pub(crate) fn name(body: &mut Vec<u8>, offset: u64) {
    if !body.is_empty() {
        body.push(b',');
    }
    body.extend_from_slice(itoa::Buffer::new().format(offset).as_bytes());
}

/// The half offsets that an op record names: one, as brokers before 5.0 wrote, or many.
fn named(record: &Record<'_>) -> Vec<u64> {
    if record.property(props::TAGS) != Some(REMOVE_TAG) {
        return Vec::new();
    }
    let offsets = record.body.split(|byte| *byte == b',');
    offsets.filter_map(|offset| std::str::from_utf8(offset).ok()?.trim().parse().ok()).collect()
}

/// A decision about half messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Op {
    /// Its offset in the op queue.
    pub offset: u64,
    /// When it was stored, Unix milliseconds.
    pub stored_ms: i64,
}

/// The decision about the half message at an offset, among the first that were stored after it.
pub(crate) fn find_op(store: &Store, ops: &Queue, half: u64, half_stored_ms: i64) -> Option<Op> {
    let from = store.offset_by_time(ops, half_stored_ms, Boundary::Lower).inspect_err(|error| {
        tracing::error!(half, "the decision about a transaction cannot be searched: {error}")
    });
    let from = u64::try_from(from.ok()?).ok()?;
    let until = ops.max_offset().min(from.saturating_add(DECISIONS_MAX));
    let mut next = from;
    while next < until {
        let entries = store.entries(ops, next, READ_AT_ONCE);
        for (entry, offset) in entries.iter().zip(next..).filter(|(entry, _)| entry.size != FILLER_SIZE) {
            let Some(bytes) = read(store, entry.physical_offset) else { continue };
            let Ok(record) = Record::parse(&bytes) else { continue };
            if record.property(MOVED).is_none() && named(&record).contains(&half) {
                return Some(Op { offset, stored_ms: record.store_timestamp });
            }
        }
        next += (entries.len() as u64).max(1);
    }
    None
}

fn read(store: &Store, physical: u64) -> Option<Vec<u8>> {
    match store.record_at(physical) {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(offset = physical, "a message of a transaction cannot be read: {error}");
            None
        }
    }
}

/// Every offset from `from` to the end of the queue, with its entry if one stands for a message there.
fn for_each_entry(
    store: &Store,
    queue: &Queue,
    from: u64,
    mut each: impl FnMut(u64, Option<&QueueEntry>),
) -> Result<(), StoreError> {
    let until = queue.max_offset();
    let mut next = from.max(queue.min_offset());
    while next < until {
        let entries = store.read_entries(queue, next, READ_AT_ONCE)?;
        if entries.is_empty() {
            // A hole; the entries behind it count all the same.
            each(next, None);
            next += 1;
        }
        for entry in &entries {
            each(next, Some(entry).filter(|entry| entry.size != FILLER_SIZE));
            next += 1;
        }
    }
    Ok(())
}

/// Where reading begins, brought into the range of a queue.
pub(crate) fn start_of(queue: &Arc<Queue>, committed: Option<i64>) -> u64 {
    let committed = committed.and_then(|offset| u64::try_from(offset).ok());
    let max = queue.max_offset();
    let min = queue.min_offset().min(max);
    committed.unwrap_or(min).clamp(min, max)
}
