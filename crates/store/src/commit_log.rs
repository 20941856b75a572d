//! The commit log's files: every message of this broker, in the order in which it was accepted.
//!
//! Invariant: bytes below [`CommitLog::end`] never change while the store is open. Only recovery cuts the log, and
//! it makes the cut durable before anything is appended again. This module writes no record: see `append`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use wire::record::{self, Prefix, Record};

use crate::disk::Disk;
use crate::error::StoreError;
use crate::map::Map;
use crate::records::TAIL_BYTES;
use crate::segment::{self, Segment};

/// The list of segments, shared with readers that keep it while it changes.
pub(crate) type Segments = Arc<Vec<Arc<Segment>>>;

/// Segments and the two ends of the log.
pub(crate) struct CommitLog {
    disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub segment_bytes: u64,
    segments: RwLock<Segments>,
    /// First offset that is still there; queues look at it to find their own first entry.
    min: Arc<AtomicU64>,
    end: AtomicU64,
    /// The segment that follows the last one, made ahead of need. The lock also keeps two threads from making it.
    ready: Mutex<Option<Arc<Segment>>>,
    /// File of a segment that is out of service and could not be removed: what is behind it must not go before it.
    stuck: Mutex<Option<PathBuf>>,
    /// Whether the system may read in advance in segments that are full.
    streams: AtomicBool,
}

impl CommitLog {
    /// Opens the segments of a directory. The end is unknown until recovery sets it. Also tells which files are
    /// leftovers of a crash during creation; they are removed when recovery is sure of the rest.
    pub fn load(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        segment_bytes: u64,
        min: Arc<AtomicU64>,
    ) -> Result<(CommitLog, Vec<PathBuf>), StoreError> {
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        let mut leftovers = Vec::new();
        let entries = disk.list(&dir).map_err(StoreError::io("list", &dir))?;
        let names: Vec<_> = entries.into_iter().filter(|entry| !entry.is_dir).collect();
        for (i, entry) in names.iter().enumerate() {
            let path = dir.join(&entry.name);
            let Some(base) = segment::base_of(&entry.name).filter(|base| base % segment_bytes == 0) else {
                return Err(StoreError::StrayFile { path });
            };
            if entry.len != segment_bytes {
                if i + 1 == names.len() && starts_with_zeros(&*disk, &path, entry.len)? {
                    leftovers.push(path);
                    continue;
                }
                return Err(StoreError::SegmentLength { path, found: entry.len, expected: segment_bytes });
            }
            if let Some(last) = segments.last().filter(|last| last.until() != base) {
                return Err(StoreError::MissingSegment { missing: last.until(), before: last.path.clone() });
            }
            let file = disk.open(&path).map_err(StoreError::io("open", &path))?;
            segments.push(Arc::new(Segment::new(base, segment_bytes, path, file)));
        }
        let first = segments.first().map_or(0, |segment| segment.base);
        min.store(first, Ordering::Release);
        let log = CommitLog {
            disk,
            dir,
            segment_bytes,
            segments: RwLock::new(Arc::new(segments)),
            min,
            end: AtomicU64::new(first),
            ready: Mutex::new(None),
            stuck: Mutex::new(None),
            streams: AtomicBool::new(true),
        };
        Ok((log, leftovers))
    }

    /// First offset that is still there.
    pub fn min(&self) -> u64 {
        self.min.load(Ordering::Acquire)
    }

    /// First offset behind the last record: what is below it can be read.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Says where the log ends that was opened; where there is no segment that is where it begins. Recovery only.
    pub fn begin_at(&self, end: u64) {
        self.set_end(end);
        if self.segments.read().is_empty() {
            self.min.store(end, Ordering::Release);
        }
    }

    /// Publishes a new end; only the appender does.
    pub fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// The present list of segments.
    pub fn segments(&self) -> Segments {
        self.segments.read().clone()
    }

    /// The segment that holds an offset.
    pub fn segment_at(&self, offset: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let first = segments.first()?.base;
        let place = offset.checked_sub(first)? / self.segment_bytes;
        segments.get(usize::try_from(place).ok()?).cloned()
    }

    /// The segment to append to at `base`, which is where the log ends: the one made ahead, or a new one.
    pub fn next_segment(&self, base: u64) -> io::Result<Arc<Segment>> {
        let mut ready = self.ready.lock();
        let segment = match ready.take() {
            Some(segment) if segment.base == base => segment,
            _ => self.create(base)?,
        };
        let mut segments = self.segments.write();
        let mut list = segments.to_vec();
        match list.last() {
            Some(full) => full.file.expect_streams(self.streams.load(Ordering::Relaxed)),
            None => self.min.store(base, Ordering::Release),
        }
        segment.file.expect_streams(false);
        list.push(segment.clone());
        *segments = Arc::new(list);
        Ok(segment)
    }

    /// Says whether the system may read in advance where somebody reads one stretch behind the other. It never may in
    /// the segment that is written: behind the end of the log it would make pages for what nobody has written yet, by
    /// default 8 MiB of them at a time on some disks, which keeps a processor from everybody else for 25 ms.
    pub fn expect_streams(&self, streams: bool) {
        let segments = self.segments.write();
        self.streams.store(streams, Ordering::Relaxed);
        if let Some((last, full)) = segments.split_last() {
            last.file.expect_streams(false);
            for segment in full {
                segment.file.expect_streams(streams);
            }
        }
    }

    /// Makes the segment behind the last one, if there is one to follow and it is not there yet.
    ///
    /// `prepare` is given the segment before anybody else sees it.
    pub fn prepare_next(&self, prepare: &dyn Fn(&Segment) -> io::Result<()>) -> io::Result<()> {
        let mut ready = self.ready.lock();
        let next = match self.segments.read().last() {
            Some(last) => last.until(),
            None => return Ok(()),
        };
        if ready.as_ref().is_none_or(|segment| segment.base != next) {
            let segment = self.create(next)?;
            if let Err(error) = prepare(&segment) {
                let _ = self.disk.remove(&segment.path);
                return Err(error);
            }
            *ready = Some(segment);
        }
        Ok(())
    }

    /// Whether appending has come far enough into the last segment to want the next one.
    pub fn wants_next(&self) -> bool {
        let last = self.segments.read().last().map(|last| last.base);
        last.is_some_and(|base| self.end() >= base + self.segment_bytes / 2)
            && self.ready.try_lock().is_some_and(|ready| ready.is_none())
    }

    /// Removes the segment that was made ahead but never used, so that a clean stop leaves none (store.md §10).
    pub fn drop_ready(&self) -> io::Result<()> {
        if let Some(segment) = self.ready.lock().take() {
            self.disk.remove(&segment.path)?;
        }
        Ok(())
    }

    fn create(&self, base: u64) -> io::Result<Arc<Segment>> {
        let path = segment::path_of(&self.dir, base);
        let file = self.disk.create(&path, self.segment_bytes)?;
        let made = file
            .allocate(0, self.segment_bytes)
            .and_then(|()| file.sync_data())
            .and_then(|()| self.disk.sync_dir(&self.dir));
        if let Err(error) = made {
            // Half a segment must not stay: its length alone would stop Java's broker.
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        Ok(Arc::new(Segment::new(base, self.segment_bytes, path, file)))
    }

    /// Takes the first segment out of service and removes its file. Readers that hold it keep reading.
    ///
    /// While the file of an earlier one cannot be removed no other goes, or the next start would find a hole behind it.
    pub fn remove_first(&self) -> io::Result<()> {
        let mut stuck = self.stuck.lock();
        self.remove_stuck(&mut stuck)?;
        {
            let mut segments = self.segments.write();
            let mut list = segments.to_vec();
            if list.len() < 2 {
                return Ok(());
            }
            let first = list.remove(0);
            self.min.store(first.until(), Ordering::Release);
            *segments = Arc::new(list);
            *stuck = Some(first.path.clone());
        }
        self.remove_stuck(&mut stuck).map(|_| ())
    }

    /// Removes the file of a segment that is out of service, if an earlier try has failed; tells whether there was one.
    pub fn finish_removal(&self) -> io::Result<bool> {
        self.remove_stuck(&mut self.stuck.lock())
    }

    fn remove_stuck(&self, stuck: &mut Option<PathBuf>) -> io::Result<bool> {
        let Some(path) = stuck.as_ref() else { return Ok(false) };
        self.remove(path)?;
        *stuck = None;
        Ok(true)
    }

    /// Removes a segment's file durably. One at a time: a power cut may keep later changes of a directory and lose
    /// earlier ones, and what is left must not have a hole.
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)?;
        self.disk.sync_dir(&self.dir)
    }

    /// Forgets and removes all segments from `base` on. Recovery only.
    pub fn remove_from(&self, base: u64) -> io::Result<()> {
        let removed: Vec<_> = {
            let mut segments = self.segments.write();
            let (kept, removed) = segments.iter().cloned().partition(|segment| segment.base < base);
            *segments = Arc::new(kept);
            removed
        };
        for segment in removed.iter().rev() {
            self.remove(&segment.path)?;
        }
        Ok(())
    }

    /// The error for a failure in the segment of `offset`.
    pub fn error_at(&self, what: &'static str, offset: u64, source: io::Error) -> StoreError {
        let path = segment::path_of(&self.dir, offset / self.segment_bytes * self.segment_bytes);
        StoreError::Io { what, path, source }
    }
}

fn starts_with_zeros(disk: &dyn Disk, path: &Path, len: u64) -> Result<bool, StoreError> {
    let mut head = vec![0; len.min(8) as usize];
    let file = disk.open(path).map_err(StoreError::io("open", path))?;
    file.read_at(&mut head, 0).map_err(StoreError::io("read", path))?;
    Ok(head.iter().all(|&byte| byte == 0))
}

/// What stands at an offset of the log.
pub(crate) enum Look<'a> {
    /// A record of this position, its shape checked (not its CRC).
    Record(Record<'a>),
    /// The end of a segment; the log goes on at `next`.
    Blank { next: u64 },
    /// Neither.
    Bad(String),
    /// No segment holds this offset.
    Nothing,
}

/// Bytes that a walk reads at once.
const WINDOW_BYTES: usize = 256 << 10;

/// Walks over the log. Keeps the segment it stands in, so that it may be removed meanwhile.
///
/// It reads and does not map whole segments: what a walk over the log has seen would count as the process's memory, and
/// a page that the disk cannot give would end the process.
pub(crate) struct Walk<'a> {
    log: &'a CommitLog,
    segment: Option<Arc<Segment>>,
    window: Window,
}

/// A stretch of a segment in memory.
pub(crate) struct Window {
    bytes: Vec<u8>,
    /// Stands for `bytes` where that is the end of the log.
    map: Option<Map>,
    from: u64,
    /// Nothing behind this is read ahead: it may still be changing.
    limit: u64,
    /// From here to the limit the log is mapped and not read.
    mapped_from: u64,
}

impl Window {
    /// A window in which nothing is yet.
    pub fn new(limit: u64) -> Window {
        Window { bytes: Vec::new(), map: None, from: 0, limit, mapped_from: u64::MAX }
    }

    /// `len` bytes from `at` on, which must all be in the segment.
    pub fn bytes(&mut self, segment: &Segment, at: u64, len: usize) -> io::Result<&[u8]> {
        if at < self.from || at + len as u64 > self.from + self.held().len() as u64 {
            let ahead = self.limit.min(segment.until()).saturating_sub(at).min(WINDOW_BYTES as u64) as usize;
            // A bad spot of the disk further on is no reason to miss what is before it.
            if ahead <= len || self.read(segment, at, ahead).is_err() {
                self.read(segment, at, len)?;
            }
        }
        let start = (at - self.from) as usize;
        Ok(&self.held()[start..start + len])
    }

    fn held(&self) -> &[u8] {
        self.map.as_ref().map_or(&self.bytes, Map::all)
    }

    fn read(&mut self, segment: &Segment, at: u64, len: usize) -> io::Result<()> {
        self.from = at;
        self.map = match at >= self.mapped_from && at + len as u64 <= self.limit {
            // What cannot be mapped can perhaps be read.
            true => segment.file.map_part(at - segment.base, len).unwrap_or_default(),
            false => None,
        };
        if self.map.is_some() {
            return Ok(());
        }
        self.bytes.resize(len, 0);
        let read = segment.file.read_at(&mut self.bytes, at - segment.base);
        if read.is_err() {
            self.bytes.clear();
        }
        read
    }
}

impl<'a> Walk<'a> {
    /// Over records that begin below `limit`.
    pub fn new(log: &'a CommitLog, limit: u64) -> Walk<'a> {
        Walk { log, segment: None, window: Window::new(limit) }
    }

    /// Over records that begin below `end`, the end of the log at this moment. The last of them are in memory, and not
    /// read but mapped, a stretch at a time: when a page is read that the system has picked for giving its memory
    /// back, as soon as it is on the disk, the system takes that for a sign to read on behind it. It does so without
    /// regard for the advice not to (both are one flag of a page in Linux), and behind the end of the log.
    pub fn to_end(log: &'a CommitLog, end: u64) -> Walk<'a> {
        let mut walk = Walk::new(log, end);
        walk.window.mapped_from = end.saturating_sub(TAIL_BYTES);
        walk
    }

    /// What stands at `at`.
    pub fn look(&mut self, at: u64) -> io::Result<Look<'_>> {
        if self.segment.as_ref().is_none_or(|segment| at < segment.base || at >= segment.until()) {
            self.segment = self.log.segment_at(at);
        }
        let Some(segment) = self.segment.as_deref() else { return Ok(Look::Nothing) };
        look_in(segment, at, &mut self.window)
    }
}

/// What stands at `at`, which is in `segment`.
pub(crate) fn look_in<'w>(segment: &Segment, at: u64, window: &'w mut Window) -> io::Result<Look<'w>> {
    let remaining = segment.until() - at;
    if remaining < record::BLANK_SIZE as u64 {
        return Ok(Look::Bad("fewer than eight bytes are left in the segment".into()));
    }
    let Some(prefix) = Prefix::parse(window.bytes(segment, at, 8)?) else {
        return Ok(Look::Bad("no record prefix".into()));
    };
    if prefix.magic == record::MAGIC_BLANK {
        if u64::from(prefix.size) == remaining {
            return Ok(Look::Blank { next: segment.until() });
        }
        return Ok(Look::Bad(format!("blank of {} bytes where {remaining} are left", prefix.size)));
    }
    if prefix.size == 0 && prefix.magic == 0 {
        return Ok(Look::Bad("nothing was written".into()));
    }
    if u64::from(prefix.size) + record::BLANK_SIZE as u64 > remaining {
        return Ok(Look::Bad(format!("record of {} bytes where {remaining} are left", prefix.size)));
    }
    let bytes = window.bytes(segment, at, prefix.size as usize)?;
    Ok(match Record::parse(bytes) {
        Ok(record) if record.physical_offset as u64 == at => Look::Record(record),
        // A record that lost its place is a leftover of an earlier life of this file (store.md §24 T1).
        Ok(record) => Look::Bad(format!("record says it stands at {}", record.physical_offset)),
        Err(error) => Look::Bad(error.to_string()),
    })
}
