//! Reading a queue: from a consumer's offset to records, which are not copied until they are sent.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use wire::record::Prefix;

use crate::error::StoreError;
use crate::ext_reader::{ExtReader, Found};
use crate::options::Live;
use crate::queue::Queue;
use crate::queue_entry::QueueEntry;
use crate::queue_ext::Extension;
use crate::queue_kind::{QueueKind, UNIT_BYTES, Unit};
use crate::records::{Reach, Records};
use crate::segment::Segment;
use crate::store::Store;

/// What a reader asks for at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Messages.
    pub max_count: u32,
    /// Bytes; the first message is given whatever its size.
    pub max_bytes: u64,
}

/// How a read ended (store.md §12.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadStatus {
    /// At least one message.
    Found,
    /// Messages, but none that the filter lets through.
    NoMatchedMessage,
    /// The log part is being deleted.
    MessageWasRemoving,
    /// The queue has no entry where it should.
    OffsetFoundNull,
    /// Behind the end.
    OffsetOverflowBadly,
    /// Exactly at the end: wait for the next message.
    OffsetOverflowOne,
    /// Before the first message that is still there.
    OffsetTooSmall,
    /// There is no such queue. Queues come to be when they are asked for, so the broker alone can say this.
    NoMatchedLogicQueue,
    /// Nothing was ever stored in it.
    NoMessageInQueue,
}

impl ReadStatus {
    /// Java's name of it.
    pub fn name(self) -> &'static str {
        match self {
            ReadStatus::Found => "FOUND",
            ReadStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            ReadStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            ReadStatus::OffsetFoundNull => "OFFSET_FOUND_NULL",
            ReadStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            ReadStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            ReadStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
            ReadStatus::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
            ReadStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        }
    }
}

/// What a read gave.
#[derive(Debug)]
pub struct ReadResult {
    /// How it ended.
    pub status: ReadStatus,
    /// Where to read next.
    pub next_offset: i64,
    /// First offset of the queue.
    pub min_offset: i64,
    /// Offset behind the last message of the queue.
    pub max_offset: i64,
    /// The messages.
    pub records: Records,
    /// How far before the end of the log the last message that was looked at begins, in bytes; 0 if none was.
    pub behind_bytes: u64,
    /// The reader is so far behind that its data is probably not in memory.
    pub suggest_slave: bool,
}

impl ReadResult {
    /// Nothing yet, read from `offset` on of a queue with these bounds.
    pub(crate) fn begin(offset: i64, min: i64, max: i64) -> ReadResult {
        ReadResult {
            status: ReadStatus::Found,
            next_offset: offset,
            min_offset: min,
            max_offset: max,
            records: Records::default(),
            behind_bytes: 0,
            suggest_slave: false,
        }
    }
}

/// Which messages a reader wants. Asked by the queue's entry first, and of those that are left by the record.
pub trait MessageFilter {
    /// Whether the message of an entry may be wanted; `tags_code` is `None` where the entry does not tell it.
    fn wants_entry(&self, tags_code: Option<i64>) -> bool;

    /// Whether the message of an entry with an extension may be wanted. No is a saving and nothing more: only for what
    /// [`MessageFilter::wants_record`] would not want either.
    fn wants_extended(&self, _extension: &Extension<'_>) -> bool {
        true
    }

    /// Whether a record is asked for. Reading one costs more than its entry, so this is `false` where the entry tells
    /// all.
    fn looks_into_record(&self, tags_code: Option<i64>) -> bool;

    /// Whether the message is wanted, by its whole record as it is stored.
    fn wants_record(&self, record: &[u8]) -> bool;
}

/// A question about tags codes as a filter. Unknown codes pass.
struct ByTagsCode<'a>(RefCell<&'a mut dyn FnMut(i64) -> bool>);

impl MessageFilter for ByTagsCode<'_> {
    fn wants_entry(&self, tags_code: Option<i64>) -> bool {
        tags_code.is_none_or(|tags_code| (self.0.borrow_mut())(tags_code))
    }

    fn looks_into_record(&self, _tags_code: Option<i64>) -> bool {
        false
    }

    fn wants_record(&self, _record: &[u8]) -> bool {
        true
    }
}

/// Entries fetched from a queue at a time.
const FETCHED: usize = 64;
/// Bytes of the log that are looked up at once, whether they are in memory, for a filter that looks into records.
const LOOKED_AT_ONCE: u64 = 256 << 10;
/// Bounds of `ReadLimits::max_bytes` (store.md §12.1).
const BYTES_MIN: u64 = 100;
const BYTES_MAX: u64 = 128 << 20;

impl Store {
    /// Reads messages of a queue from `offset` on whose tags code `matches` lets through. Waits for the disk if need
    /// be: not for threads that others wait for.
    pub fn read(
        &self,
        queue: &Queue,
        offset: i64,
        limits: ReadLimits,
        matches: &mut dyn FnMut(i64) -> bool,
    ) -> Result<ReadResult, StoreError> {
        self.read_filtered(queue, offset, limits, &ByTagsCode(RefCell::new(matches)))
    }

    /// Reads messages of a queue from `offset` on that `filter` wants. Waits for the disk if need be: not for threads
    /// that others wait for.
    pub fn read_filtered(
        &self,
        queue: &Queue,
        offset: i64,
        limits: ReadLimits,
        filter: &dyn MessageFilter,
    ) -> Result<ReadResult, StoreError> {
        let read = self.read_within(Reach::Disk, queue, offset, limits, filter)?;
        // With that reach nothing is too far.
        read.ok_or_else(|| StoreError::Io {
            what: "read",
            path: self.base.log.dir.clone(),
            source: std::io::ErrorKind::WouldBlock.into(),
        })
    }

    /// Reads as [`Store::read_filtered`] does, but goes no farther than `reach` for it; `None` if it would have to.
    /// The filter may have been asked all the same.
    pub fn read_within(
        &self,
        reach: Reach,
        queue: &Queue,
        offset: i64,
        limits: ReadLimits,
        filter: &dyn MessageFilter,
    ) -> Result<Option<ReadResult>, StoreError> {
        if let Some(log) = self.compaction_log_of(queue) {
            return self.read_compacted(&log, reach, queue, offset, limits, filter);
        }
        // The maximum first: a minimum read later may only be too high, and then says so.
        let max = queue.max_offset() as i64;
        let Some(min) = queue.min_offset_within(reach) else { return Ok(None) };
        let min = (min as i64).min(max);
        let mut result = ReadResult::begin(offset, min, max);
        (result.status, result.next_offset) = if max == 0 {
            (ReadStatus::NoMessageInQueue, 0)
        } else if offset < min {
            (ReadStatus::OffsetTooSmall, min)
        } else if offset == max {
            (ReadStatus::OffsetOverflowOne, offset)
        } else if offset > max {
            (ReadStatus::OffsetOverflowBadly, max)
        } else {
            match self.collect(reach, queue, offset as u64, limits, filter, &mut result)? {
                Some(found) => found,
                None => return Ok(None),
            }
        };
        Ok(Some(result))
    }

    /// Reads from the commit log on; the offset lies within the queue. Gives how it ended and where to go on.
    pub(crate) fn collect(
        &self,
        reach: Reach,
        queue: &Queue,
        offset: u64,
        limits: ReadLimits,
        filter: &dyn MessageFilter,
        result: &mut ReadResult,
    ) -> Result<Option<(ReadStatus, i64)>, StoreError> {
        let live = self.base.live.load();
        let max = result.max_offset as u64;
        let mut collecting = Collecting::new(self, &live, reach, queue, offset..max, limits, filter);
        let Some(place) = self.place_of(reach, queue, offset)? else { return Ok(None) };
        if collecting.walk(place)? == Left::TooFar {
            return Ok(None);
        }
        let Collecting { mut records, next, farthest, removing, log_end, .. } = collecting;
        if !records.settle(reach, log_end, live.read_ahead)? {
            return Ok(None);
        }
        self.drop_unsound(queue, &mut records)?;
        result.behind_bytes = log_end.saturating_sub(farthest);
        result.suggest_slave = result.behind_bytes > live.in_memory_bytes;
        let status = if next == offset {
            ReadStatus::OffsetFoundNull
        } else if !records.is_empty() {
            ReadStatus::Found
        } else if removing {
            ReadStatus::MessageWasRemoving
        } else {
            ReadStatus::NoMatchedMessage
        };
        let next = if next == offset { self.behind_gap(queue, offset).min(max) } else { next };
        result.records = records;
        Ok(Some((status, next as i64)))
    }

    /// Where to go on behind an offset at which a queue has nothing though it should.
    fn behind_gap(&self, queue: &Queue, offset: u64) -> u64 {
        let (kind, files) = (queue.kind(), &self.queues.files);
        match kind {
            QueueKind::Simple => files.segment_start(kind, offset) + files.segment_entries(kind),
            QueueKind::Batch => u64::MAX,
        }
    }

    /// Place of the entry to begin with for a message; `None` if finding it takes what is farther away than `reach`.
    fn place_of(&self, reach: Reach, queue: &Queue, offset: u64) -> Result<Option<u64>, StoreError> {
        match queue.place_of(reach, offset) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            found => found.map(Some).map_err(|source| self.queue_error(queue, source)),
        }
    }

    /// Whether a filter that looks into records wants this one; `None` if it is farther away than `reach`. `known` are
    /// the physical offsets between which the log was found in memory a moment ago.
    fn is_wanted(
        &self,
        known: &mut Range<u64>,
        reach: Reach,
        segment: &Arc<Segment>,
        queue: &Queue,
        unit: &Unit,
        filter: &dyn MessageFilter,
    ) -> Result<Option<bool>, StoreError> {
        let (entry, index) = (&unit.entry, unit.base);
        let (at, until) = (entry.physical_offset, entry.physical_offset + u64::from(entry.size));
        let near = match reach {
            Reach::Memory { behind_max } => at >= self.base.log.end().saturating_sub(behind_max),
            Reach::Disk => true,
        };
        if near && !(known.contains(&at) && until <= known.end) {
            let looked = until.max(at + LOOKED_AT_ONCE).min(segment.until());
            *known = if segment.is_in_memory(at, looked) { at..looked } else { 0..0 };
        }
        if near
            && known.contains(&at)
            && let Some(bytes) = segment.mapped(at, entry.size as usize)
        {
            let reason = self.unsound(bytes, queue, index, at);
            return Ok(match reason.map_err(|source| self.queue_error(queue, source))? {
                None => Some(filter.wants_record(bytes)),
                Some(reason) => {
                    report(queue, index, Some(at), &reason);
                    Some(false)
                }
            });
        }
        let mut one = Records::default();
        one.push(segment, unit);
        if !one.settle(reach, self.base.log.end(), false)? {
            return Ok(None);
        }
        self.drop_unsound(queue, &mut one)?;
        Ok(Some(match one.iter().next() {
            Some(record) => filter.wants_record(&record?),
            None => false,
        }))
    }

    /// Takes out what is not the message that its queue entry speaks of.
    fn drop_unsound(&self, queue: &Queue, records: &mut Records) -> Result<(), StoreError> {
        records.retain(|bytes, index, at| {
            let found = self.unsound(bytes, queue, index, at);
            let reason = found.map_err(|source| self.queue_error(queue, source))?;
            if let Some(reason) = &reason {
                report(queue, index, Some(at), reason);
            }
            Ok(reason.is_none())
        })
    }

    /// The error for a failure in the files of a queue.
    pub(crate) fn queue_error(&self, queue: &Queue, source: std::io::Error) -> StoreError {
        StoreError::Io { what: "read", path: self.queues.files.dir_of(queue), source }
    }

    /// Whether [`Store::record_at`] would answer at this moment without waiting for the disk. False where the disk does
    /// not tell what is in memory.
    pub fn is_record_in_memory(&self, physical_offset: u64) -> bool {
        let Some(segment) = self.base.log.segment_at(physical_offset) else { return true };
        let known_end = self.base.log.end().min(segment.until());
        if physical_offset.saturating_add(8) > known_end {
            return true;
        }
        if !segment.is_in_memory(physical_offset, physical_offset + 8) {
            return false;
        }
        let Some(prefix) = segment.mapped(physical_offset, 8).and_then(Prefix::parse) else { return true };
        let until = physical_offset + u64::from(prefix.size);
        until > known_end || segment.is_in_memory(physical_offset, until)
    }

    /// The record that begins at a physical offset, checked with its CRC; `None` if none does. With synchronous flush
    /// also one that no consumer sees yet: who asks for a client takes [`Store::shown_record_at`].
    pub fn record_at(&self, physical_offset: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.record_before(self.base.log.end(), physical_offset)
    }

    /// The same for clients: with synchronous flush `None` until the disk has the record. Who was told that it is
    /// there shall find it after power loss.
    pub fn shown_record_at(&self, physical_offset: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.record_before(self.base.shown_until(), physical_offset)
    }

    /// The record at a physical offset, if it ends at `end` of the log or before.
    fn record_before(&self, end: u64, physical_offset: u64) -> Result<Option<Vec<u8>>, StoreError> {
        if physical_offset >= end {
            return Ok(None);
        }
        let Some(segment) = self.base.log.segment_at(physical_offset) else { return Ok(None) };
        let error = |source| StoreError::Io { what: "read", path: segment.path.clone(), source };
        if segment.until() - physical_offset < 8 {
            return Ok(None);
        }
        let mut scratch = Vec::new();
        let head = segment.bytes(physical_offset, 8, &mut scratch).map_err(error)?;
        let Some(prefix) = Prefix::parse(head).filter(Prefix::is_record) else { return Ok(None) };
        if physical_offset + u64::from(prefix.size) > end.min(segment.until()) {
            return Ok(None);
        }
        let bytes = segment.bytes(physical_offset, prefix.size as usize, &mut scratch).map_err(error)?;
        Ok(match self.sound_record(bytes, physical_offset) {
            Ok(record) => Some(record.bytes.to_vec()),
            Err(reason) => {
                tracing::error!(offset = physical_offset, reason, "damaged message; it is not served");
                None
            }
        })
    }

    /// Entries of a queue from that of offset `from` on, at most `count`; fewer at the end of the queue or of a gap in
    /// it. In a batch queue an entry stands for all messages of its record.
    ///
    /// Entries that stand for no message (fillers before a queue's first one) are among them, with size 0x7FFFFFFF.
    /// None where they cannot be read: for who may take that for the end of the queue.
    pub fn entries(&self, queue: &Queue, from: u64, count: u32) -> Vec<QueueEntry> {
        self.read_entries(queue, from, count).unwrap_or_default()
    }

    /// The same, with an error where the first of them cannot be read.
    pub fn read_entries(&self, queue: &Queue, from: u64, count: u32) -> Result<Vec<QueueEntry>, StoreError> {
        let (kind, entry_bytes) = (queue.kind(), queue.kind().entry_bytes());
        let (max, count) = (queue.max_offset(), count as usize);
        let place = queue.place_of(Reach::Disk, from);
        let mut place = place.map_err(|source| self.queue_error(queue, source))?;
        let mut entries = Vec::new();
        let mut buffer = [0; FETCHED * UNIT_BYTES];
        let mut next = from;
        while next < max && entries.len() < count {
            let wanted = FETCHED.min(count - entries.len());
            let read = match queue.raw_entries(place, &mut buffer[..wanted * entry_bytes]) {
                Ok(read) => read,
                Err(source) if entries.is_empty() => return Err(self.queue_error(queue, source)),
                Err(_) => break,
            };
            let before = entries.len();
            for bytes in buffer[..read * entry_bytes].chunks_exact(entry_bytes) {
                let Some(unit) = Unit::decode(kind, place, bytes).filter(|unit| unit.base < max) else {
                    break;
                };
                entries.push(unit.entry);
                (place, next) = (place + 1, unit.until());
            }
            if entries.len() == before {
                break;
            }
        }
        Ok(entries)
    }
}

/// A read of a queue on its way.
struct Collecting<'a> {
    store: &'a Store,
    live: &'a Live,
    reach: Reach,
    queue: &'a Queue,
    limits: ReadLimits,
    filter: &'a dyn MessageFilter,
    /// Messages from this offset on are not looked at.
    examined_until: u64,
    log_end: u64,
    /// Offset behind the last message that was looked at.
    next: u64,
    /// Where the record of the last entry that was looked at begins.
    farthest: u64,
    /// A segment with a message that is wanted has gone meanwhile.
    removing: bool,
    /// Where the last record was.
    segment: Option<Arc<Segment>>,
    /// Physical offsets between which the log was found in memory a moment ago.
    known: Range<u64>,
    extensions: ExtReader,
    records: Records,
}

/// How an entry, or a walk over entries, was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// There may be room for more.
    GoesOn,
    /// The answer is full, or there is nothing more to look at.
    Enough,
    /// More is farther away than the reader goes.
    TooFar,
}

/// What a filter says of a message by its entry.
enum ByEntry {
    Wanted { tags_code: Option<i64> },
    Unwanted,
    TooFar,
}

impl<'a> Collecting<'a> {
    /// Nothing yet, of these messages.
    fn new(
        store: &'a Store,
        live: &'a Live,
        reach: Reach,
        queue: &'a Queue,
        offsets: Range<u64>,
        limits: ReadLimits,
        filter: &'a dyn MessageFilter,
    ) -> Collecting<'a> {
        let limits = bounded(limits);
        let examined = live.examined_entries_min.max(u64::from(limits.max_count));
        Collecting {
            store,
            live,
            reach,
            queue,
            limits,
            filter,
            examined_until: offsets.end.min(offsets.start.saturating_add(examined)),
            log_end: store.base.log.end(),
            next: offsets.start,
            farthest: 0,
            removing: false,
            segment: None,
            known: 0..0,
            extensions: ExtReader::default(),
            records: Records::default(),
        }
    }

    /// Looks at the entries from a place on, as many as are examined.
    fn walk(&mut self, mut place: u64) -> Result<Left, StoreError> {
        let (kind, entry_bytes) = (self.queue.kind(), self.queue.kind().entry_bytes());
        let mut buffer = [0; FETCHED * UNIT_BYTES];
        while self.next < self.examined_until {
            let left = (self.examined_until - self.next) as usize;
            let wanted = FETCHED.min(left).min(self.limits.max_count.max(8) as usize);
            let read = self.queue.raw_entries_within(self.reach, place, &mut buffer[..wanted * entry_bytes]);
            let count = match read.map_err(|source| self.store.queue_error(self.queue, source))? {
                None => return Ok(Left::TooFar),
                Some(0) => return Ok(Left::Enough),
                Some(count) => count,
            };
            for bytes in buffer[..count * entry_bytes].chunks_exact(entry_bytes) {
                let left = self.look_at(Unit::decode(kind, place, bytes))?;
                if left != Left::GoesOn {
                    return Ok(left);
                }
                place += 1;
            }
        }
        Ok(Left::Enough)
    }

    /// Looks at one entry; `None` stands for bytes that are none.
    fn look_at(&mut self, unit: Option<Unit>) -> Result<Left, StoreError> {
        let (messages, bytes) = (self.records.messages(), self.records.byte_len() as u64);
        if messages >= u64::from(self.limits.max_count) || bytes >= self.limits.max_bytes {
            return Ok(Left::Enough);
        }
        let Some(unit) = unit else {
            // Entries below the maximum were all written.
            report(self.queue, self.next, None, "the entry's bytes are none");
            self.next += 1;
            return Ok(Left::GoesOn);
        };
        if unit.until() <= self.next {
            return Ok(Left::GoesOn);
        }
        if unit.base >= self.examined_until {
            // What stands between was passed over: messages that have no entry.
            self.next = self.next.max(self.examined_until);
            return Ok(Left::Enough);
        }
        self.farthest = unit.entry.physical_offset;
        match self.by_entry(&unit.entry) {
            ByEntry::TooFar => return Ok(Left::TooFar),
            ByEntry::Unwanted => {}
            ByEntry::Wanted { tags_code } => {
                if is_full(self.live, &self.records, &unit, self.limits, self.log_end) {
                    return Ok(Left::Enough);
                }
                if !self.take(&unit, tags_code)? {
                    return Ok(Left::TooFar);
                }
            }
        }
        self.next = unit.until().max(self.next + 1);
        Ok(Left::GoesOn)
    }

    /// Asks the filter about a message by its entry, and by the extension of that if it has one.
    fn by_entry(&mut self, entry: &QueueEntry) -> ByEntry {
        let tags_code = match entry.known_tags_code() {
            Some(tags_code) => Some(tags_code),
            None => match self.extensions.find(self.reach, self.queue, entry) {
                Found::Unit(unit) if !self.filter.wants_extended(&unit) => return ByEntry::Unwanted,
                Found::Unit(unit) => Some(unit.tags_code),
                Found::Nothing => None,
                Found::Far => return ByEntry::TooFar,
            },
        };
        if entry.is_pre_blank() || !self.filter.wants_entry(tags_code) {
            return ByEntry::Unwanted;
        }
        ByEntry::Wanted { tags_code }
    }

    /// Takes a message unless the filter looks into its record and does not want it; false if that is farther away
    /// than the reader goes.
    fn take(&mut self, unit: &Unit, tags_code: Option<i64>) -> Result<bool, StoreError> {
        let at = unit.entry.physical_offset;
        if self.segment.as_ref().is_none_or(|segment| at < segment.base || at >= segment.until()) {
            self.segment = self.store.base.log.segment_at(at);
        }
        let Some(segment) = &self.segment else {
            self.removing = true;
            return Ok(true);
        };
        if !fits(segment, &unit.entry) {
            report(self.queue, unit.base, Some(at), "it reaches over the segment's end");
            return Ok(true);
        }
        if self.filter.looks_into_record(tags_code) {
            let wanted =
                self.store.is_wanted(&mut self.known, self.reach, segment, self.queue, unit, self.filter)?;
            match wanted {
                None => return Ok(false),
                Some(false) => return Ok(true),
                Some(true) => {}
            }
        }
        self.records.push(segment, unit);
        Ok(true)
    }
}

/// What a reader asks for, as Java bounds it.
pub(crate) fn bounded(limits: ReadLimits) -> ReadLimits {
    let max_bytes = limits.max_bytes.clamp(BYTES_MIN, BYTES_MAX);
    ReadLimits { max_count: limits.max_count.max(1), max_bytes }
}

/// A message that a reader does not get.
pub(crate) fn report(queue: &Queue, queue_offset: u64, offset: Option<u64>, reason: &str) {
    tracing::error!(
        topic = %queue.topic(), queue = queue.id(), queue_offset, offset, reason,
        "damaged message or queue entry; it is skipped, `thrust store verify` tells more"
    );
}

/// Whether one more message would exceed what an answer may hold; never for the first. The limits are within bounds.
pub(crate) fn is_full(live: &Live, records: &Records, unit: &Unit, limits: ReadLimits, log_end: u64) -> bool {
    if records.is_empty() {
        return false;
    }
    let entry = &unit.entry;
    let bytes = records.byte_len() as u64 + u64::from(entry.size);
    let in_memory = log_end.saturating_sub(entry.physical_offset) <= live.in_memory_bytes;
    let limit = if in_memory { live.transfer_in_memory } else { live.transfer_on_disk };
    bytes > limits.max_bytes
        || bytes > limit.bytes
        || records.messages() >= u64::from(limit.count)
        || records.messages() + unit.count > u64::from(limits.max_count)
}

/// Whether an entry can stand for a record of the segment its offset lies in.
pub(crate) fn fits(segment: &Segment, entry: &QueueEntry) -> bool {
    entry.size >= 8 && entry.physical_offset + u64::from(entry.size) <= segment.until()
}
