//! Records that a read has found: where in their segments they are, whether they are in memory, and their bytes.
//!
//! Two ways lead to the bytes. What is in memory is copied from the segment's map, behind the answer's header, at the
//! moment it is sent. What is not is fetched before, with positional reads: touching it through the map would hold up
//! the thread for as long as the disk takes, and an error of the disk would be a signal instead of a value.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use crate::disk::File;
use crate::error::StoreError;
use crate::queue_kind::Unit;
use crate::segment::Segment;

/// Bytes at the end of the log that are taken to be in memory without looking: they were written a moment ago, and most
/// of them wait for the disk themselves.
pub(crate) const TAIL_BYTES: u64 = 8 << 20;
/// Records closer to each other than this are looked up, and read ahead, as one stretch of the log: passing over a gap
/// takes the disk less than beginning anew.
const GAP_BYTES_MAX: u64 = 32 << 10;
/// Longest stretch.
const STRETCH_BYTES_MAX: u64 = 4 << 20;
/// Bytes that are read at once for a reader that passes over the log: it finds what it wants next in memory.
const READ_AHEAD_BYTES: u64 = 2 << 20;
/// A reader that wants less than one part in so many of the log it passes over gets nothing read in advance.
const READ_AHEAD_SHARE_MIN: u64 = 32;
/// Copying this much of the log that nobody wants takes as long as one more call of the system.
const COPIED_PER_CALL: u64 = 8 << 10;

thread_local! {
    /// Where stretches of the log are read to, from which records are taken: at most [`READ_AHEAD_BYTES`].
    static STRETCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How far a read goes for the bytes of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// To what is in memory, and no more than so many bytes before the end of the log. It never waits for the disk.
    Memory {
        /// Bytes.
        behind_max: u64,
    },
    /// To the disk, for as long as that takes.
    Disk,
}

impl Reach {
    /// To all that is in memory.
    pub const MEMORY: Reach = Reach::Memory { behind_max: u64::MAX };

    /// Fills `buffer` from `offset` of a file; false if that takes the disk, which is too far.
    pub(crate) fn read(self, file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        match self {
            Reach::Memory { .. } => file.read_cached_at(buffer, offset),
            Reach::Disk => file.read_at(buffer, offset).map(|()| true),
        }
    }
}

/// Records in their segments, which they keep from being unmapped.
#[derive(Default)]
pub struct Records {
    segments: Vec<Arc<Segment>>,
    parts: Vec<Part>,
    bytes: usize,
    messages: u64,
    /// All records one behind the other, when they were read instead of being mapped.
    fetched: Option<Vec<u8>>,
}

struct Part {
    /// Place in `segments`.
    segment: u32,
    size: u32,
    at: u64,
    /// Offset in its queue.
    index: u64,
    /// Messages that it holds.
    messages: u32,
}

impl Part {
    fn until(&self) -> u64 {
        self.at + u64::from(self.size)
    }
}

impl Records {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Number of messages: a record of a batch queue may hold many.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Bytes of all records.
    pub fn byte_len(&self) -> usize {
        self.bytes
    }

    /// Appends all records to `out`, one behind the other, as a pull answer's body has them.
    pub fn copy_to(&self, out: &mut Vec<u8>) -> Result<(), StoreError> {
        if let Some(bytes) = &self.fetched {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        out.reserve(self.bytes);
        for part in &self.parts {
            let segment = &self.segments[part.segment as usize];
            if let Some(bytes) = segment.mapped(part.at, part.size as usize) {
                out.extend_from_slice(bytes);
            } else {
                let start = out.len();
                out.resize(start + part.size as usize, 0);
                let read = segment.file.read_at(&mut out[start..], part.at - segment.base);
                read.map_err(StoreError::io("read", &segment.path))?;
            }
        }
        Ok(())
    }

    /// The bytes of each record in turn.
    pub fn iter(&self) -> impl Iterator<Item = Result<Cow<'_, [u8]>, StoreError>> {
        let mut passed = 0;
        self.parts.iter().map(move |part| {
            let from = passed;
            passed += part.size as usize;
            self.bytes_of(part, from)
        })
    }

    /// The bytes of a record that stands behind `from` bytes of others.
    fn bytes_of(&self, part: &Part, from: usize) -> Result<Cow<'_, [u8]>, StoreError> {
        let size = part.size as usize;
        if let Some(bytes) = self.fetched.as_ref().and_then(|bytes| bytes.get(from..from + size)) {
            return Ok(Cow::Borrowed(bytes));
        }
        let segment = &self.segments[part.segment as usize];
        if let Some(bytes) = segment.mapped(part.at, size) {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut bytes = vec![0; size];
        let read = segment.file.read_at(&mut bytes, part.at - segment.base);
        read.map_err(StoreError::io("read", &segment.path))?;
        Ok(Cow::Owned(bytes))
    }

    /// Adds the record of an entry, which lies within `segment`.
    pub(crate) fn push(&mut self, segment: &Arc<Segment>, unit: &Unit) {
        let entry = &unit.entry;
        if self.segments.last().is_none_or(|last| !Arc::ptr_eq(last, segment)) {
            self.segments.push(Arc::clone(segment));
        }
        self.parts.push(Part {
            segment: self.segments.len() as u32 - 1,
            size: entry.size,
            at: entry.physical_offset,
            index: unit.base,
            messages: unit.count as u32,
        });
        self.messages += unit.count;
        self.bytes += entry.size as usize;
    }

    /// Sees to it that the bytes can be had without waiting; false if they cannot within `reach`. With `read_ahead` the
    /// disk reads what is likely to be wanted next, too.
    pub(crate) fn settle(
        &mut self,
        reach: Reach,
        log_end: u64,
        read_ahead: bool,
    ) -> Result<bool, StoreError> {
        let all_from = |from: u64| self.parts.iter().all(|part| part.at >= from);
        if let Reach::Memory { behind_max } = reach
            && !all_from(log_end.saturating_sub(behind_max))
        {
            return Ok(false);
        }
        let mapped = self.segments.iter().all(|segment| segment.is_mapped());
        if mapped && all_from(log_end.saturating_sub(TAIL_BYTES)) {
            return Ok(true);
        }
        match reach {
            Reach::Memory { .. } if mapped => Ok(self.is_in_memory()),
            Reach::Memory { .. } => self.fetch(|segment, buffer, at| segment.file.read_cached_at(buffer, at)),
            Reach::Disk => {
                let in_memory = mapped && self.is_in_memory();
                self.fetch_from_disk(in_memory, log_end, read_ahead).map(|()| true)
            }
        }
    }

    fn is_in_memory(&self) -> bool {
        self.stretches().all(|stretch| stretch.segment.is_in_memory(stretch.from, stretch.until))
    }

    fn fetch_from_disk(&mut self, in_memory: bool, log_end: u64, read_ahead: bool) -> Result<(), StoreError> {
        if let Some((from, until)) = self.one_read(in_memory, read_ahead) {
            return self.fetch_at_once(from, until.min(log_end));
        }
        if !in_memory {
            // The disk begins with all of it before the first is waited for.
            for stretch in self.stretches() {
                stretch.segment.read_ahead(stretch.from, stretch.until);
            }
        }
        self.fetch(|segment, buffer, at| segment.file.read_at(buffer, at).map(|()| true)).map(|_| ())
    }

    /// The stretch of the log to read in one go, if the records lie so that this is best: with what will be wanted
    /// next, when the disk has to be waited for anyway and the reader passes over the log.
    fn one_read(&self, in_memory: bool, read_ahead: bool) -> Option<(u64, u64)> {
        let (first, last) = (self.parts.first()?, self.parts.last()?);
        let span = last.until().checked_sub(first.at).filter(|span| *span <= READ_AHEAD_BYTES)?;
        let ordered = self.parts.is_sorted_by_key(|part| part.at) && first.segment == last.segment;
        if in_memory || !read_ahead {
            let near = self.parts.len() > 1 && span <= self.parts.len() as u64 * COPIED_PER_CALL;
            return (ordered && near).then_some((first.at, first.at + span));
        }
        // One message alone says nothing about the next, unless it is large enough to be worth it either way.
        let many = self.parts.len() > 1 || span * READ_AHEAD_SHARE_MIN >= READ_AHEAD_BYTES;
        let dense = span <= self.bytes as u64 * READ_AHEAD_SHARE_MIN;
        let segment = &self.segments[first.segment as usize];
        let until = (first.at + READ_AHEAD_BYTES).min(segment.until());
        (ordered && many && dense).then_some((first.at, until))
    }

    /// Reads from one physical offset to another and takes the records from there.
    fn fetch_at_once(&mut self, from: u64, until: u64) -> Result<(), StoreError> {
        let Some(first) = self.parts.first() else { return Ok(()) };
        let segment = &self.segments[first.segment as usize];
        // The log may have been asked for its end before the last of the records was there. And the last need not be
        // the one that reaches farthest: the size in a damaged entry may be any within the segment.
        let until = self.parts.iter().map(Part::until).fold(until, u64::max);
        let fetched = STRETCH.with_borrow_mut(|stretch| {
            let len = (until - from) as usize;
            if stretch.len() < len {
                stretch.resize(len, 0);
            }
            let stretch = &mut stretch[..len];
            segment
                .file
                .read_at(stretch, from - segment.base)
                .map_err(StoreError::io("read", &segment.path))?;
            let mut bytes = Vec::with_capacity(self.bytes);
            for part in &self.parts {
                let at = (part.at - from) as usize;
                bytes.extend_from_slice(&stretch[at..at + part.size as usize]);
            }
            Ok(bytes)
        });
        self.fetched = Some(fetched?);
        Ok(())
    }

    /// Reads each record by itself with `read`; false if that says so of one.
    fn fetch(
        &mut self,
        read: impl Fn(&Segment, &mut [u8], u64) -> io::Result<bool>,
    ) -> Result<bool, StoreError> {
        let mut bytes = vec![0; self.bytes];
        let mut rest = &mut bytes[..];
        for part in &self.parts {
            let segment = &self.segments[part.segment as usize];
            let (buffer, behind) = rest.split_at_mut(part.size as usize);
            let there = read(segment, buffer, part.at - segment.base);
            if !there.map_err(StoreError::io("read", &segment.path))? {
                return Ok(false);
            }
            rest = behind;
        }
        self.fetched = Some(bytes);
        Ok(true)
    }

    /// Keeps the records of which `sound` says yes; it gets the bytes, the queue offset and the physical offset.
    pub(crate) fn retain(
        &mut self,
        mut sound: impl FnMut(&[u8], u64, u64) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut dropped = Vec::new();
        let mut from = 0;
        for (place, part) in self.parts.iter().enumerate() {
            if !sound(&self.bytes_of(part, from)?, part.index, part.at)? {
                dropped.push((place, from));
            }
            from += part.size as usize;
        }
        for (place, from) in dropped.into_iter().rev() {
            let part = self.parts.remove(place);
            let size = part.size as usize;
            self.bytes -= size;
            self.messages -= u64::from(part.messages);
            if let Some(bytes) = &mut self.fetched {
                bytes.drain(from..from + size);
            }
        }
        Ok(())
    }

    /// The stretches of the log that the records lie in, in their order.
    fn stretches(&self) -> impl Iterator<Item = Stretch<'_>> {
        let mut rest = &self.parts[..];
        std::iter::from_fn(move || {
            let (first, others) = rest.split_first()?;
            let (from, mut until) = (first.at, first.until());
            let belongs = |part: &&Part| {
                let near = part.at >= from
                    && part.at <= until + GAP_BYTES_MAX
                    && part.until() - from <= STRETCH_BYTES_MAX
                    && part.segment == first.segment;
                if near {
                    until = until.max(part.until());
                }
                near
            };
            let count = others.iter().take_while(belongs).count();
            rest = &others[count..];
            Some(Stretch { segment: &self.segments[first.segment as usize], from, until })
        })
    }
}

/// A part of the log that holds records close to each other.
struct Stretch<'a> {
    segment: &'a Segment,
    from: u64,
    until: u64,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} records, {} bytes", self.parts.len(), self.bytes)
    }
}
