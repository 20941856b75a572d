//! One consume queue: where in the log the messages of a topic's queue are, in order.
//!
//! Entries are found by their place. In a simple queue that is the offset of a message; a batch queue is searched for
//! the entry that holds an offset (`queue_kind.rs`).
//!
//! A queue is a follower of the log. New entries live in its tail in memory until a worker writes them to files of
//! Java's layout (store.md §4.1); a queue with nothing to do holds no file, no buffer and no thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::queue_entry::{ENTRY_BYTES, QueueEntry};
use crate::queue_ext::{self, ExtTail, Extension};
use crate::queue_files::QueueFiles;
use crate::queue_kind::{QueueKind, UNIT_BYTES, Unit};
use crate::records::Reach;
use crate::watch::Watchers;

/// A tail of this many bytes is written at once instead of with the next round over all queues.
const TAIL_BYTES_MAX: usize = 256 * 1024;

/// So many damaged entries are passed over to find one that tells whether those before it have expired.
const DAMAGED_MAX: u64 = 4096;

/// A queue of a topic. Cheap to hold; looked up through [`Store::queue`](crate::Store::queue).
pub struct Queue {
    topic: Arc<str>,
    id: u32,
    kind: QueueKind,
    /// Number of this object within the process, a key for open files.
    pub(crate) serial: u64,
    pub(crate) files: Arc<QueueFiles>,
    /// Who wants to hear of new messages here.
    pub watchers: Watchers,
    /// Offset of the next message. Changed only under the append lock.
    pub(crate) next: AtomicU64,
    visible: AtomicU64,
    min: AtomicU64,
    /// The log minimum for which `min` was computed; `u64::MAX` before the first time.
    min_for: AtomicU64,
    /// Messages before this are older than their topic keeps them, though the log may still have them.
    floor: AtomicU64,
    /// Store time of the message at `floor`; `i64::MIN` while nobody has looked.
    floor_time: AtomicI64,
    /// First message that the compaction log keeps, whether the commit log still has it or not; `u64::MAX` if there is
    /// no such log.
    kept_from: AtomicU64,
    deleted: AtomicBool,
    tail: Mutex<Tail>,
}

/// What the files of a queue hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Place of the first entry of the first file.
    pub first: u64,
    /// Place behind the last entry.
    pub written: u64,
    /// Offset behind the last message.
    pub next: u64,
}

impl Extent {
    /// Of a simple queue, whose places are offsets.
    pub fn simple(first: u64, next: u64) -> Extent {
        Extent { first, written: next, next }
    }
}

/// Which entries are in files and which only in memory.
struct Tail {
    /// Place of the first entry that the files hold.
    first: u64,
    /// Place of the first entry that only memory holds: that of `bytes`.
    written: u64,
    /// Entries before this are those of records before the position of the last round of writing that met the queue;
    /// not kept for batch queues.
    settled: u64,
    /// Physical offset of the last entry that was written to files; 0 before that.
    last_written: u64,
    bytes: Vec<u8>,
    /// Offset behind the last message of the last entry.
    until: u64,
    ext: Ext,
    /// Whether the queue stands in the list of those with something to write.
    listed: bool,
    /// Whether the queue stands in the list of those whose tail is long.
    urged: bool,
}

/// The extensions of a queue.
enum Ext {
    /// Nobody has looked for their end.
    Unknown,
    /// Their files cannot be written; entries do without.
    Unusable,
    Open(Box<ExtTail>),
}

impl Tail {
    fn new(extent: Extent) -> Tail {
        let Extent { first, written, next } = extent;
        let (bytes, until, settled, ext) = (Vec::new(), next, written, Ext::Unknown);
        Tail { first, written, settled, last_written: 0, bytes, until, ext, listed: false, urged: false }
    }

    /// Bytes that only memory holds.
    fn waiting(&self) -> usize {
        self.bytes.len() + self.ext_tail().map_or(0, |ext| ext.bytes.len())
    }

    fn ext_tail(&self) -> Option<&ExtTail> {
        match &self.ext {
            Ext::Open(ext) => Some(ext),
            Ext::Unknown | Ext::Unusable => None,
        }
    }

    /// Drops what is not written.
    fn clear(&mut self) {
        self.bytes = Vec::new();
        if let Ext::Open(ext) = &mut self.ext {
            ext.bytes = Vec::new();
        }
    }
}

impl Queue {
    /// A queue whose files hold these entries.
    pub(crate) fn new(
        files: Arc<QueueFiles>,
        kind: QueueKind,
        topic: Arc<str>,
        id: u32,
        extent: Extent,
    ) -> Queue {
        let Extent { first, next, .. } = extent;
        // A batch queue looks for its minimum when it is asked.
        let min = if kind == QueueKind::Simple { first } else { 0 };
        Queue {
            topic,
            id,
            kind,
            serial: files.next_serial(),
            files,
            watchers: Watchers::default(),
            next: AtomicU64::new(next),
            visible: AtomicU64::new(next),
            min: AtomicU64::new(min),
            min_for: AtomicU64::new(u64::MAX),
            floor: AtomicU64::new(0),
            floor_time: AtomicI64::new(i64::MIN),
            kept_from: AtomicU64::new(u64::MAX),
            deleted: AtomicBool::new(false),
            tail: Mutex::new(Tail::new(extent)),
        }
    }

    /// Its topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Its number within the topic.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What its entries are.
    pub fn kind(&self) -> QueueKind {
        self.kind
    }

    /// Offset behind the last message that may be read.
    pub fn max_offset(&self) -> u64 {
        self.visible.load(Ordering::Acquire)
    }

    /// Offset of the first message that may be read; equals [`Queue::max_offset`] if there is none.
    pub fn min_offset(&self) -> u64 {
        let kept = self.kept_from();
        kept.unwrap_or_else(|| self.log_min_offset().max(self.floor.load(Ordering::Acquire)))
    }

    fn kept_from(&self) -> Option<u64> {
        Some(self.kept_from.load(Ordering::Acquire)).filter(|kept| *kept != u64::MAX)
    }

    /// Tells which message is the first in the compaction log.
    pub(crate) fn set_kept_from(&self, offset: Option<u64>) {
        self.kept_from.store(offset.unwrap_or(u64::MAX), Ordering::Release);
    }

    /// As [`Queue::min_offset`]; `None` if finding it takes what is farther away than `reach`.
    pub(crate) fn min_offset_within(&self, reach: Reach) -> Option<u64> {
        if let Some(kept) = self.kept_from() {
            return Some(kept);
        }
        let floor = self.floor.load(Ordering::Acquire);
        self.log_min_offset_within(reach).map(|min| min.max(floor))
    }

    /// Offset of the first message that is still in the log, whether its topic keeps it or not.
    ///
    /// Found again, lazily, when the log's beginning has moved since.
    pub(crate) fn log_min_offset(&self) -> u64 {
        let found = self.log_min_offset_within(Reach::Disk);
        found.unwrap_or_else(|| self.min.load(Ordering::Acquire))
    }

    pub(crate) fn log_min_offset_within(&self, reach: Reach) -> Option<u64> {
        let log_min = self.files.log_min();
        if self.min_for.load(Ordering::Acquire) == log_min {
            return Some(self.min.load(Ordering::Acquire));
        }
        match self.find_min(reach, log_min) {
            Ok(min) => {
                self.min.store(min, Ordering::Release);
                self.min_for.store(log_min, Ordering::Release);
                Some(min)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => {
                tracing::warn!(topic = %self.topic, queue = self.id, %error, "cannot find a queue's first entry");
                Some(self.min.load(Ordering::Acquire))
            }
        }
    }

    fn find_min(&self, reach: Reach, log_min: u64) -> io::Result<u64> {
        let Places { first, end, until } = self.places();
        // In a simple queue the minimum of before is a place, and none before it can be right.
        let before = if self.kind == QueueKind::Simple { self.min.load(Ordering::Acquire) } else { 0 };
        let (mut low, mut high) = (first.max(before), end);
        let alive = |place| self.is_alive(reach, place, end, log_min);
        if low < high && alive(low)? {
            high = low;
        }
        // Entries ascend by physical offset, fillers stand before all of them. One that is damaged must not hide those
        // before it, so what seems to have expired is believed if the one before says the same.
        while low < high {
            let middle = low + (high - low) / 2;
            if alive(middle)? || (middle > low && alive(middle - 1)?) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        if self.kind == QueueKind::Simple {
            return Ok(low);
        }
        Ok(if low < end { self.unit_at(reach, low)?.map_or(until, |unit| unit.base) } else { until })
    }

    /// Whether the record of an entry is still in the log; of the next that is whole, if this one is damaged.
    fn is_alive(&self, reach: Reach, place: u64, end: u64, log_min: u64) -> io::Result<bool> {
        for place in place..end.min(place + DAMAGED_MAX) {
            if let Some(unit) = self.unit_at(reach, place)? {
                return Ok(!unit.entry.is_pre_blank() && unit.entry.physical_offset >= log_min);
            }
        }
        // Rather show what is gone than hide what is there.
        Ok(true)
    }

    /// First message that its topic keeps, with its store time: `i64::MIN` before [`Queue::set_floor`].
    pub(crate) fn floor(&self) -> (u64, i64) {
        (self.floor.load(Ordering::Acquire), self.floor_time.load(Ordering::Acquire))
    }

    /// Hides the messages before `offset`. For who holds the lock of the expiry.
    pub(crate) fn set_floor(&self, offset: u64, store_time: i64) {
        self.floor.store(offset, Ordering::Release);
        self.floor_time.store(store_time, Ordering::Release);
    }

    /// Lets readers see entries below `until`.
    pub(crate) fn show(&self, until: u64) {
        self.visible.fetch_max(until, Ordering::AcqRel);
    }

    /// Whether the topic was deleted; such a queue takes no more entries.
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Adds an entry behind the last one; in a simple queue it is that of one message. With an extension its tags code
    /// becomes the address of that.
    pub(crate) fn push(self: &Arc<Self>, unit: &Unit, extension: Option<&Extension<'_>>) {
        let mut tail = self.tail.lock();
        let before = tail.waiting();
        match self.kind {
            QueueKind::Simple => {
                let address = extension.and_then(|extension| self.push_extension(&mut tail, extension));
                let tags_code = address.unwrap_or(unit.entry.tags_code);
                tail.bytes.extend_from_slice(&QueueEntry { tags_code, ..unit.entry }.encode());
            }
            QueueKind::Batch => tail.bytes.extend_from_slice(&unit.encode()),
        }
        tail.until = unit.until();
        self.files.add_waiting((tail.waiting() - before) as u64);
        if !tail.listed {
            tail.listed = true;
            self.files.list_dirty(self);
        }
        if tail.bytes.len() >= TAIL_BYTES_MAX && !tail.urged {
            tail.urged = true;
            self.files.urge(self);
        }
    }

    /// Which places have entries, and the offset behind the last of them.
    fn places(&self) -> Places {
        let tail = self.tail.lock();
        let waiting = (tail.bytes.len() / self.kind.entry_bytes()) as u64;
        Places { first: tail.first, end: tail.written + waiting, until: tail.until }
    }

    /// Adds an extension and gives its address, if it can have one.
    fn push_extension(&self, tail: &mut Tail, extension: &Extension<'_>) -> Option<i64> {
        self.open_ext(tail);
        match &mut tail.ext {
            Ext::Open(ext) => ext.push(extension, self.files.ext.segment_bytes),
            Ext::Unknown | Ext::Unusable => None,
        }
    }

    /// Finds the end of the extensions, if nobody has.
    fn open_ext(&self, tail: &mut Tail) {
        if !matches!(tail.ext, Ext::Unknown) {
            return;
        }
        let end = self.find_ext_end(tail);
        tail.ext = match end {
            Ok(written) => Ext::Open(Box::new(ExtTail { written, bytes: Vec::new() })),
            Err(error) => {
                tracing::error!(queue = ?self, %error, "the extensions of a queue cannot be used: readers with filters look into messages");
                Ext::Unusable
            }
        };
    }

    fn find_ext_end(&self, tail: &Tail) -> io::Result<u64> {
        // What is there is of another, and goes before this is written.
        if self.files.deletions.include(&self.topic) {
            return Ok(0);
        }
        let next = tail.written + (tail.bytes.len() / ENTRY_BYTES) as u64;
        let (first, last) = (self.entry_in(tail, tail.first)?, self.entry_in(tail, next.wrapping_sub(1))?);
        let has_position = |entry: &QueueEntry| entry.extension_position().is_some();
        let lived = first.iter().chain(&last).any(has_position);
        let unused_from = if lived { queue_ext::unused_from(next) } else { 0 };
        let note = |path, created| self.files.note_write(path, created);
        self.files.ext.prepare_end(self, last, unused_from, &note)
    }

    /// As [`Queue::entry`], for who holds the tail.
    fn entry_in(&self, tail: &Tail, index: u64) -> io::Result<Option<QueueEntry>> {
        if let Some(at) = index.checked_sub(tail.written) {
            let at = usize::try_from(at).ok().and_then(|at| at.checked_mul(ENTRY_BYTES));
            return Ok(at.and_then(|at| tail.bytes.get(at..)).and_then(QueueEntry::decode));
        }
        if index < tail.first {
            return Ok(None);
        }
        let mut bytes = [0; ENTRY_BYTES];
        self.files.read(Reach::Disk, self, index, 1, &mut bytes)?;
        Ok(QueueEntry::decode(&bytes))
    }

    /// Finds the end of the extensions and clears what a crash has left behind it. Recovery only.
    pub(crate) fn settle_ext(&self) {
        self.open_ext(&mut self.tail.lock());
    }

    /// Fills the beginning of `out` with the bytes of extensions from `position` on, as far as they are together in
    /// memory or in one file; tells how many that was, or `None` if they are farther away than `reach`.
    pub(crate) fn ext_bytes_within(
        &self,
        reach: Reach,
        position: u64,
        out: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let mut wanted = out.len();
        if let Some(ext) = self.tail.lock().ext_tail() {
            if let Some(at) = position.checked_sub(ext.written) {
                let bytes = usize::try_from(at).ok().and_then(|at| ext.bytes.get(at..)).unwrap_or_default();
                let len = bytes.len().min(out.len());
                out[..len].copy_from_slice(&bytes[..len]);
                return Ok(Some(len));
            }
            wanted = wanted.min((ext.written - position) as usize);
        }
        self.files.ext.read(reach, self, position, &mut out[..wanted])
    }

    /// Place behind the last entry.
    pub(crate) fn end_place(&self) -> u64 {
        self.places().end
    }

    /// The entry that holds the message of an offset, `None` if it is not there.
    pub(crate) fn entry(&self, offset: u64) -> io::Result<Option<QueueEntry>> {
        Ok(self.unit(offset)?.map(|unit| unit.entry))
    }

    /// The same, with the offsets that the entry stands for.
    pub(crate) fn unit(&self, offset: u64) -> io::Result<Option<Unit>> {
        let unit = self.unit_at(Reach::Disk, self.place_of(Reach::Disk, offset)?)?;
        Ok(unit.filter(|unit| (unit.base..unit.until()).contains(&offset)))
    }

    /// The entry at a place. An error of the kind `WouldBlock` says that it is farther away than `reach`.
    pub(crate) fn unit_at(&self, reach: Reach, place: u64) -> io::Result<Option<Unit>> {
        let mut bytes = [0; UNIT_BYTES];
        let bytes = &mut bytes[..self.kind.entry_bytes()];
        let count = self.raw_entries_within(reach, place, bytes)?.ok_or(io::ErrorKind::WouldBlock)?;
        Ok(if count == 1 { Unit::decode(self.kind, place, bytes) } else { None })
    }

    /// The place to look for a message at: of the last entry that begins at its offset or before. Fails as
    /// [`Queue::unit_at`] does.
    pub(crate) fn place_of(&self, reach: Reach, offset: u64) -> io::Result<u64> {
        if self.kind == QueueKind::Simple {
            return Ok(offset);
        }
        let Places { first, end, .. } = self.places();
        let (mut low, mut high) = (first, end);
        while low < high {
            let middle = low + (high - low) / 2;
            // What is gone has expired, and so stood before.
            if self.unit_at(reach, middle)?.is_none_or(|unit| unit.base <= offset) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.saturating_sub(1).max(first))
    }

    /// Place of the entry that the first message still in the log belongs to.
    pub(crate) fn log_min_place(&self) -> io::Result<u64> {
        self.place_of(Reach::Disk, self.log_min_offset())
    }

    /// Fills `out` with the entries from place `from` on as far as they are together in memory or in one file; tells
    /// how many entries that was.
    pub(crate) fn raw_entries(&self, from: u64, out: &mut [u8]) -> io::Result<usize> {
        Ok(self.raw_entries_within(Reach::Disk, from, out)?.unwrap_or(0))
    }

    /// As [`Queue::raw_entries`], but `None` if the disk would have to be waited for and `reach` is not so far.
    pub(crate) fn raw_entries_within(
        &self,
        reach: Reach,
        from: u64,
        out: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let entry_bytes = self.kind.entry_bytes();
        let (first, written) = {
            let tail = self.tail.lock();
            if from >= tail.written {
                let Ok(at) = usize::try_from((from - tail.written).saturating_mul(entry_bytes as u64)) else {
                    return Ok(Some(0));
                };
                let bytes = tail.bytes.get(at..).unwrap_or_default();
                let len = bytes.len().min(out.len()) / entry_bytes * entry_bytes;
                out[..len].copy_from_slice(&bytes[..len]);
                return Ok(Some(len / entry_bytes));
            }
            (tail.first, tail.written)
        };
        if from < first {
            return Ok(Some(0));
        }
        let wanted = ((out.len() / entry_bytes) as u64).min(written - from);
        let count = self.files.read(reach, self, from, wanted, out)?;
        if count == Some(0) && wanted > 0 && self.tail.lock().first <= from && !self.is_deleted() {
            // It is not that old entries have expired meanwhile.
            return Err(self.files.missing(self, self.files.segment_start(self.kind, from)));
        }
        Ok(count)
    }

    /// Notes that the queue was taken off the list of those with something to write.
    pub(crate) fn unlist(&self) {
        self.tail.lock().listed = false;
    }

    /// Writes the tail to files; `scratch` is the caller's to reuse. Entries stay readable all the while. A round over
    /// all queues says for which position of the log it is made: all entries of records before it are in the tail.
    pub(crate) fn write_tail(&self, scratch: &mut Vec<u8>, round: Option<u64>) -> io::Result<()> {
        let (from, entries, ext_from) = {
            let mut tail = self.tail.lock();
            tail.urged = false;
            scratch.clear();
            scratch.extend_from_slice(&tail.bytes);
            let ext = tail.ext_tail();
            scratch.extend_from_slice(ext.map_or(&[], |ext| &ext.bytes));
            (tail.written, tail.bytes.len(), ext.map_or(0, |ext| ext.written))
        };
        if self.is_deleted() {
            return Ok(());
        }
        if self.files.deletions.include(&self.topic) {
            let why = "files of the deleted topic of this name cannot be removed";
            return Err(io::Error::other(why));
        }
        let (entries, extensions) = scratch.split_at(entries);
        if !entries.is_empty() {
            // Before the entries that point to them.
            let note = |path, created| self.files.note_write(path, created);
            self.files.ext.write(self, ext_from, extensions, &note)?;
            self.files.write(self, from, entries)?;
        }
        let mut tail = self.tail.lock();
        // The topic may have been deleted meanwhile, and the tail with it.
        if tail.bytes.len() < entries.len() {
            return Ok(());
        }
        if let Some(position) = round.filter(|_| self.kind == QueueKind::Simple) {
            tail.settled = from + count_before(entries, position);
        }
        self.files.take_waiting(scratch.len() as u64);
        tail.written += (entries.len() / self.kind.entry_bytes()) as u64;
        let last = entries.rchunks_exact(self.kind.entry_bytes()).next().and_then(QueueEntry::decode);
        tail.last_written = last.map_or(tail.last_written, |entry| entry.physical_offset);
        drop_front(&mut tail.bytes, entries.len());
        if let Ext::Open(ext) = &mut tail.ext {
            ext.written += extensions.len() as u64;
            drop_front(&mut ext.bytes, extensions.len());
        }
        Ok(())
    }

    /// Puts the queue back on the list of those with something to write, after a failure.
    pub(crate) fn relist(self: &Arc<Self>) {
        let mut tail = self.tail.lock();
        if !tail.listed && !tail.bytes.is_empty() {
            tail.listed = true;
            self.files.list_dirty(self);
        }
    }

    /// Puts a queue back on the list after its turn did not come.
    pub(crate) fn keep_listed(self: &Arc<Self>) {
        self.files.list_dirty(self);
    }

    /// Makes this an empty queue whose first message will have offset `first`. Recovery only.
    pub(crate) fn restart_at(&self, first: u64) {
        let place = if self.kind == QueueKind::Simple { first } else { 0 };
        let mut tail = self.tail.lock();
        tail.first = place;
        tail.written = place;
        tail.until = first;
        tail.settled = place;
        tail.last_written = 0;
        self.files.take_waiting(tail.waiting() as u64);
        tail.clear();
        self.next.store(first, Ordering::Release);
        self.visible.store(first, Ordering::Release);
        self.min.store(first, Ordering::Release);
        self.min_for.store(u64::MAX, Ordering::Release);
    }

    /// Lets the next message of a batch queue have this offset, which is not below the present one. Recovery only.
    pub(crate) fn skip_to(&self, offset: u64) {
        self.next.store(offset, Ordering::Release);
    }

    /// Place of the first entry of the first file, and of the first entry that is in no file.
    pub(crate) fn span(&self) -> (u64, u64) {
        let tail = self.tail.lock();
        (tail.first, tail.written)
    }

    /// First entry of the first file, and the first entry that the files may not hold, or that is not of a record
    /// before `position`: that of the last round of writing.
    ///
    /// A round leaves out a queue that got nothing since the one before. What that one wrote of records behind its own
    /// position is before this one's.
    pub(crate) fn settled(&self, position: u64) -> (u64, u64) {
        let tail = self.tail.lock();
        (tail.first, if tail.last_written < position { tail.written } else { tail.settled })
    }

    /// Notes that files before the one of entry `first` are gone.
    pub(crate) fn set_first(&self, first: u64) {
        self.tail.lock().first = first;
    }

    /// Marks the queue as that of a deleted topic.
    pub(crate) fn delete(&self) {
        self.deleted.store(true, Ordering::Release);
        let mut tail = self.tail.lock();
        self.files.take_waiting(tail.waiting() as u64);
        tail.clear();
    }
}

/// Takes what was written out of a tail. Most queues of many are light: their buffers are given back unless they are
/// small.
fn drop_front(bytes: &mut Vec<u8>, count: usize) {
    if bytes.len() == count {
        bytes.clear();
        bytes.shrink_to(256);
    } else {
        bytes.drain(..count);
    }
}

/// Where a queue has entries.
struct Places {
    first: u64,
    end: u64,
    until: u64,
}

/// How many of these entries of a simple queue, which ascend, are of records before `position`.
fn count_before(entries: &[u8], position: u64) -> u64 {
    let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
    let is_before = |entry: &[u8; ENTRY_BYTES]| {
        QueueEntry::decode(entry).is_some_and(|entry| entry.physical_offset < position)
    };
    entries.partition_point(is_before) as u64
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{} [..{})", self.topic, self.id, self.max_offset())
    }
}
