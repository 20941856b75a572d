//! Reading a compacted queue: what is kept of it from its compaction log, and from there on from the commit log
//! (store.md §16).
//!
//! An entry that is damaged on the disk while the store is open must not hide the messages behind it. So a read looks
//! whether entries follow each other and lead to what they say; where they do not it has those of the part made anew of
//! the records, and begins again.

use std::sync::Arc;

use wire::hash;
use wire::properties;
use wire::record::Record;

use super::load::Loading;
use super::log::{CompactionLog, Parts, end_of};
use super::part::{Extent, Part, is_damage};
use super::unit::Unit;
use crate::error::StoreError;
use crate::options::Live;
use crate::queue::Queue;
use crate::queue_kind::UNIT_BYTES;
use crate::read::{self, MessageFilter, ReadLimits, ReadResult, ReadStatus};
use crate::records::{Reach, Records};
use crate::store::Store;

/// Entries fetched at a time.
const FETCHED: u64 = 64;

/// What a reader wants of a compaction log.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    reach: Reach,
    queue: &'a Queue,
    /// Queue offset of the first message.
    from: u64,
    limits: ReadLimits,
    filter: &'a dyn MessageFilter,
}

/// A read of a compaction log on its way.
struct Collecting<'a> {
    wanted: Wanted<'a>,
    live: &'a Live,
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
    /// An entry is not what was written.
    Damaged,
}

/// What a read of a compaction log came to.
enum Collected {
    /// These messages, and where to read next.
    Found(Records, u64),
    /// More is farther away than the reader goes.
    TooFar,
    /// The entries of this part have to be mended first.
    Damaged(Arc<Part>),
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
        let wanted = Wanted { reach, queue, from, limits, filter };
        let found = if from < end {
            self.collect_kept(log, &parts, wanted, &mut result)?
        } else {
            self.collect_unless_moved(log, wanted, &mut result)?
        };
        let Some(found) = found else { return Ok(None) };
        (result.status, result.next_offset) = found;
        Ok(Some(result))
    }

    /// Reads from the commit log on what the compaction log had not a moment ago.
    ///
    /// Meanwhile it may have got these messages, and their segments may be gone. The read has passed over them then,
    /// and begins again where they are now.
    fn collect_unless_moved(
        &self,
        log: &CompactionLog,
        wanted: Wanted<'_>,
        result: &mut ReadResult,
    ) -> Result<Option<(ReadStatus, i64)>, StoreError> {
        let Wanted { reach, queue, from, limits, filter } = wanted;
        let Some(first) = queue.log_min_offset_within(reach) else { return Ok(None) };
        let found = self.collect(reach, queue, from.max(first), limits, filter, result)?;
        let Some(first) = queue.log_min_offset_within(reach) else { return Ok(None) };
        if from >= first {
            return Ok(found);
        }
        // Their segments go after they were copied, so now the parts have all that are kept.
        let parts = log.parts();
        if from >= end_of(&parts) {
            return Ok(found);
        }
        *result = ReadResult::begin(result.next_offset, result.min_offset, result.max_offset);
        self.collect_kept(log, &parts, wanted, result)
    }

    fn collect_kept(
        &self,
        log: &CompactionLog,
        parts: &Parts,
        wanted: Wanted<'_>,
        result: &mut ReadResult,
    ) -> Result<Option<(ReadStatus, i64)>, StoreError> {
        let live = self.base.live.load();
        // Each part is mended once, should several be damaged.
        for _ in 0..=parts.len() {
            match collect_from(parts, wanted, &live)? {
                Collected::Found(records, next) => {
                    let status =
                        if records.is_empty() { ReadStatus::NoMatchedMessage } else { ReadStatus::Found };
                    result.records = records;
                    return Ok(Some((status, next as i64)));
                }
                Collected::TooFar => return Ok(None),
                // Comparing entries with records takes the disk, and time.
                Collected::Damaged(_) if wanted.reach != Reach::Disk => return Ok(None),
                Collected::Damaged(part) => {
                    self.mend(log, &part)?;
                }
            }
        }
        let source =
            std::io::Error::new(std::io::ErrorKind::InvalidData, "its entries do not stay as they are");
        Err(StoreError::Io { what: "read", path: log.dirs.units.clone(), source })
    }

    /// Compares the entries of a part with its records and makes anew what differs; tells whether anything did.
    fn mend(&self, log: &CompactionLog, part: &Part) -> Result<bool, StoreError> {
        // After a failed sync nothing is written any more.
        let is_mended = part.can_be_mended() && self.fault().is_none() && {
            let loading = Loading {
                disk: &*self.base.disk,
                dirs: &log.dirs,
                topic: log.queue.topic(),
                id: log.queue.id(),
                sizes: self.compaction.sizes,
                clean: self.compaction.clean,
                again_from: u64::MAX,
            };
            loading.mend(part).map_err(StoreError::io("mend", &log.dirs.units))?
        };
        if !is_mended {
            part.note_compared();
        }
        Ok(is_mended)
    }

    /// The same for all parts of a log.
    pub(super) fn mend_all(&self, log: &CompactionLog) -> Result<bool, StoreError> {
        let mut is_mended = false;
        for part in log.parts().iter() {
            is_mended |= self.mend(log, part)?;
        }
        Ok(is_mended)
    }
}

/// Reads from the parts of a log on; the first message lies before their end.
fn collect_from(parts: &Parts, wanted: Wanted<'_>, live: &Live) -> Result<Collected, StoreError> {
    let Wanted { from, reach, .. } = wanted;
    // Before the parts are walked over: the last one grows, and what comes to it later was not looked at.
    let end = end_of(parts);
    let mut collecting = Collecting::new(parts, wanted, live);
    let mut full = false;
    for part in parts.iter().filter(|part| part.extent().count > 0 && part.extent().last >= from) {
        match collecting.part(part).map_err(StoreError::io("read", &part.log.path))? {
            Left::AtItsEnd => {}
            Left::TooFar => return Ok(Collected::TooFar),
            Left::Damaged => return Ok(Collected::Damaged(Arc::clone(part))),
            Left::Full => {
                full = true;
                break;
            }
        }
    }
    let Collecting { mut records, next, .. } = collecting;
    // Nothing here was written a moment ago: whether it is in memory is always looked at.
    if !records.settle(reach, u64::MAX, true)? {
        return Ok(Collected::TooFar);
    }
    let mut damaged = None;
    records.retain(|bytes, index, at| {
        let Some(record) = sound(bytes, index, at, wanted.queue) else {
            match parts.iter().find(|part| part.contains(at) && part.can_be_mended()) {
                Some(part) => damaged = Some(Arc::clone(part)),
                None => {
                    read::report(wanted.queue, index, Some(at), "it is no sound record of the compaction log")
                }
            }
            return Ok(false);
        };
        Ok(wanted.wants(&record))
    })?;
    Ok(match damaged {
        Some(part) => Collected::Damaged(part),
        None => Collected::Found(records, if full { next } else { next.max(end) }),
    })
}

impl Wanted<'_> {
    /// Asks the filter about a whole record, if it looks into those.
    fn wants(&self, record: &Record<'_>) -> bool {
        let tags_code = hash::tags_code(record.property(properties::TAGS));
        !self.filter.looks_into_record(Some(tags_code)) || self.filter.wants_record(record.bytes)
    }
}

impl<'a> Collecting<'a> {
    /// Nothing yet.
    fn new(parts: &Parts, wanted: Wanted<'a>, live: &'a Live) -> Collecting<'a> {
        let limits = read::bounded(wanted.limits);
        Collecting {
            wanted: Wanted { limits, ..wanted },
            live,
            left: live.examined_entries_min.max(u64::from(limits.max_count)),
            next: wanted.from,
            log_end: parts.last().map_or(0, |part| part.extent().end),
            records: Records::default(),
        }
    }

    /// Takes what is wanted of a part.
    fn part(&mut self, part: &Arc<Part>) -> std::io::Result<Left> {
        let (extent, reach, from) = (part.extent(), self.wanted.reach, self.next);
        let first = match part.first_where(reach, &extent, |unit| unit.queue_offset >= from) {
            Err(error) if is_damage(&error) && part.can_be_mended() => return Ok(Left::Damaged),
            first => first?,
        };
        let Some(slot) = first else { return Ok(Left::TooFar) };
        if !part.can_be_mended() {
            return self.entries(part, &extent, slot, false);
        }
        // The part has such a message.
        if slot >= extent.count {
            return Ok(Left::Damaged);
        }
        match part.can_begin_at(reach, slot) {
            Ok(Some(true)) => self.entries(part, &extent, slot, true),
            Ok(None) => Ok(Left::TooFar),
            Ok(Some(false)) => Ok(Left::Damaged),
            Err(error) if is_damage(&error) => Ok(Left::Damaged),
            Err(error) => Err(error),
        }
    }

    /// Takes what is wanted from an entry of a part on. `strict` leaves it at the first entry that is not one which
    /// was written; otherwise such an entry has no message to give.
    fn entries(
        &mut self,
        part: &Arc<Part>,
        extent: &Extent,
        mut slot: u64,
        strict: bool,
    ) -> std::io::Result<Left> {
        let mut buffer = [0; FETCHED as usize * UNIT_BYTES];
        let mut before: Option<Unit> = None;
        while slot < extent.count {
            let count = FETCHED.min(extent.count - slot).min(u64::from(self.wanted.limits.max_count.max(8)));
            let bytes = &mut buffer[..count as usize * UNIT_BYTES];
            if part.read_units(self.wanted.reach, slot, bytes)?.is_none() {
                return Ok(Left::TooFar);
            }
            for bytes in bytes.chunks_exact(UNIT_BYTES) {
                let unit = Unit::decode(bytes).filter(|unit| extent.holds(unit));
                let follows = |unit: &Unit| before.is_none_or(|before| unit.follows(&before));
                let Some(unit) = unit.filter(|unit| !strict || follows(unit)) else {
                    if strict {
                        return Ok(Left::Damaged);
                    }
                    continue;
                };
                // Parts overlap where files were replaced.
                if unit.queue_offset >= self.next && !self.take(part, &unit) {
                    return self.stop_behind(part, before.filter(|_| strict));
                }
                before = Some(unit);
            }
            slot += count;
        }
        Ok(Left::AtItsEnd)
    }

    /// The answer is full. Where the next one begins says the last entry that was looked at: with a wrong queue offset
    /// it would hide messages.
    fn stop_behind(&self, part: &Part, last: Option<Unit>) -> std::io::Result<Left> {
        let Some(last) = last else { return Ok(Left::Full) };
        Ok(match part.names_its_record(self.wanted.reach, &last)? {
            Some(true) => Left::Full,
            Some(false) => Left::Damaged,
            None => Left::TooFar,
        })
    }

    /// Takes one message, or leaves it out; false if the answer is full.
    fn take(&mut self, part: &Arc<Part>, unit: &Unit) -> bool {
        let (records, limits) = (&self.records, self.wanted.limits);
        let enough = records.len() >= limits.max_count as usize
            || records.byte_len() as u64 >= limits.max_bytes
            || self.left == 0;
        if enough {
            return false;
        }
        self.left -= 1;
        if self.wanted.filter.wants_entry(Some(unit.tags_code)) {
            let found = unit.as_queue_unit();
            if read::is_full(self.live, records, &found, limits, self.log_end) {
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

/// The record that the bytes at a place of a compaction log are, if it is the message that its entry speaks of.
fn sound<'a>(bytes: &'a [u8], index: u64, at: u64, queue: &Queue) -> Option<Record<'a>> {
    Record::parse(bytes).ok().filter(|record| {
        record.bytes.len() == bytes.len()
            && record.physical_offset == at as i64
            && record.queue_offset == index as i64
            && record.queue_id == queue.id()
            && record.topic == &**queue.topic()
            && record.verify_crc().is_ok()
    })
}
