//! Reading a compacted queue: what is kept of it from its compaction log, and from there on from the commit log
//! (store.md §16).

use std::sync::Arc;

use wire::hash;
use wire::properties;
use wire::record::Record;

use super::log::{CompactionLog, Parts, end_of};
use super::part::Part;
use super::unit::Unit;
use crate::error::StoreError;
use crate::queue::Queue;
use crate::queue_kind::UNIT_BYTES;
use crate::read::{self, MessageFilter, ReadLimits, ReadResult, ReadStatus};
use crate::records::{Reach, Records};
use crate::store::Store;

/// Entries fetched at a time.
const FETCHED: u64 = 64;

/// A read of a compaction log on its way.
struct Collecting<'a> {
    reach: Reach,
    limits: ReadLimits,
    filter: &'a dyn MessageFilter,
    /// Entries that are looked at.
    left: u64,
    /// Queue offset behind the last entry that was looked at.
    next: u64,
    log_end: u64,
    records: Records,
}

/// How a part was left.
enum Left {
    AtItsEnd,
    /// The answer is full.
    Full,
    /// More is farther away than the reader goes.
    TooFar,
}

impl Store {
    /// As [`Store::read_within`], of a queue with a compaction log. An offset whose message is not kept leads to the
    /// next that is.
    pub(crate) fn read_compacted(
        &self,
        log: &CompactionLog,
        reach: Reach,
        queue: &Queue,
        offset: i64,
        limits: ReadLimits,
        filter: &dyn MessageFilter,
    ) -> Result<Option<ReadResult>, StoreError> {
        let max = queue.max_offset() as i64;
        let parts = log.parts();
        let end = end_of(&parts);
        let Some(min) = queue.min_offset_within(reach) else { return Ok(None) };
        let mut result = ReadResult::begin(offset, (min as i64).min(max), max);
        if offset >= max {
            (result.status, result.next_offset) = match offset {
                _ if max == 0 => (ReadStatus::NoMessageInQueue, 0),
                _ if offset == max => (ReadStatus::OffsetOverflowOne, offset),
                // Java's rule: whoever is beyond a log that was never compacted begins anew.
                _ if min == 0 => (ReadStatus::OffsetOverflowBadly, 0),
                _ => (ReadStatus::OffsetOverflowBadly, max),
            };
            return Ok(Some(result));
        }
        let from = offset.max(0) as u64;
        let found = if from < end {
            self.collect_kept(&parts, reach, queue, from, limits, filter, &mut result)?
        } else {
            let Some(first) = queue.log_min_offset_within(reach) else { return Ok(None) };
            self.collect(reach, queue, from.max(first), limits, filter, &mut result)?
        };
        let Some(found) = found else { return Ok(None) };
        (result.status, result.next_offset) = found;
        Ok(Some(result))
    }

    #[expect(clippy::too_many_arguments, reason = "what `collect` has, for a compaction log")]
    fn collect_kept(
        &self,
        parts: &Parts,
        reach: Reach,
        queue: &Queue,
        from: u64,
        limits: ReadLimits,
        filter: &dyn MessageFilter,
        result: &mut ReadResult,
    ) -> Result<Option<(ReadStatus, i64)>, StoreError> {
        let max_count = limits.max_count.max(1);
        let live = self.live.load();
        let mut collecting = Collecting {
            reach,
            limits: ReadLimits { max_count, max_bytes: read::bytes_max(limits) },
            filter,
            left: live.examined_entries_min.max(u64::from(max_count)),
            next: from,
            log_end: parts.last().map_or(0, |part| part.extent().end),
            records: Records::default(),
        };
        let mut full = false;
        for part in parts.iter().filter(|part| part.extent().count > 0 && part.extent().last >= from) {
            let left = collecting.part(part, &live);
            match left.map_err(StoreError::io("read", &part.log.path))? {
                Left::AtItsEnd => {}
                Left::TooFar => return Ok(None),
                Left::Full => {
                    full = true;
                    break;
                }
            }
        }
        let Collecting { mut records, next, .. } = collecting;
        // Nothing here was written a moment ago: whether it is in memory is always looked at.
        if !records.settle(reach, u64::MAX, true)? {
            return Ok(None);
        }
        records.retain(|bytes, index, at| Ok(is_wanted(bytes, index, at, queue, filter)))?;
        let next = if full { next } else { next.max(end_of(parts)) };
        let status = if records.is_empty() { ReadStatus::NoMatchedMessage } else { ReadStatus::Found };
        result.records = records;
        Ok(Some((status, next as i64)))
    }
}

impl Collecting<'_> {
    /// Takes what is wanted of a part.
    fn part(&mut self, part: &Arc<Part>, live: &crate::options::Live) -> std::io::Result<Left> {
        let extent = part.extent();
        let wanted_from = self.next;
        let first = part.first_where(self.reach, &extent, |unit| unit.queue_offset >= wanted_from)?;
        let Some(mut slot) = first else { return Ok(Left::TooFar) };
        let mut buffer = [0; FETCHED as usize * UNIT_BYTES];
        while slot < extent.count {
            let count = FETCHED.min(extent.count - slot).min(u64::from(self.limits.max_count.max(8)));
            let bytes = &mut buffer[..count as usize * UNIT_BYTES];
            if part.read_units(self.reach, slot, bytes)?.is_none() {
                return Ok(Left::TooFar);
            }
            for bytes in bytes.chunks_exact(UNIT_BYTES) {
                // Damaged entries, and those of parts that overlap, have no message to give.
                let unit = Unit::decode(bytes).filter(|unit| unit.queue_offset >= self.next);
                if let Some(unit) = unit
                    && !self.take(part, &unit, live)
                {
                    return Ok(Left::Full);
                }
            }
            slot += count;
        }
        Ok(Left::AtItsEnd)
    }

    /// Takes one message, or leaves it out; false if the answer is full.
    fn take(&mut self, part: &Arc<Part>, unit: &Unit, live: &crate::options::Live) -> bool {
        let records = &self.records;
        let enough = records.len() >= self.limits.max_count as usize
            || records.byte_len() as u64 >= self.limits.max_bytes
            || self.left == 0;
        if enough {
            return false;
        }
        self.left -= 1;
        if self.filter.wants_entry(Some(unit.tags_code)) {
            let found = unit.as_queue_unit();
            if read::is_full(live, records, &found, self.limits, self.log_end) {
                return false;
            }
            if unit.position >= part.log.base && read::fits(&part.log, &found.entry) {
                self.records.push(&part.log, &found);
            }
        }
        self.next = unit.queue_offset + 1;
        true
    }
}

/// Whether the bytes at a place of a compaction log are the message that its entry speaks of, and asked for.
fn is_wanted(bytes: &[u8], index: u64, at: u64, queue: &Queue, filter: &dyn MessageFilter) -> bool {
    let sound = Record::parse(bytes).ok().filter(|record| {
        record.bytes.len() == bytes.len()
            && record.physical_offset == at as i64
            && record.queue_offset == index as i64
            && record.queue_id == queue.id()
            && record.topic == &**queue.topic()
            && record.verify_crc().is_ok()
    });
    let Some(record) = sound else {
        read::report(queue, index, Some(at), "it is no sound record of the compaction log");
        return false;
    };
    let tags_code = hash::tags_code(record.property(properties::TAGS));
    !filter.looks_into_record(Some(tags_code)) || filter.wants_record(bytes)
}
