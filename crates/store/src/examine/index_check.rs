//! The key index against the log: every entry leads to a record with such a key, every record is found by its keys, and
//! the chains hold together.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wire::record::Record;

use super::finding::{Area, Findings};
use crate::disk::{Disk, File};
use crate::error::StoreError;
use crate::index_file::{self, ENTRY_BYTES, Entry, HEADER_BYTES, Header, Shape};
use crate::index_keys;
use crate::options::Options;

const REBUILD: &str = "`thrust store repair` rebuilds the index from the log";
const SHAPE: &str = "give the right maxHashSlotNum and maxIndexNum if they are others; otherwise `thrust store repair` rebuilds the index";
const READ_AHEAD: u32 = 4096;

/// The check of all index files, fed with the records of the log in order.
pub(crate) struct IndexCheck {
    shape: Shape,
    waiting: VecDeque<Waiting>,
    current: Option<Walk>,
    previous_end: Option<i64>,
    /// Records from `.0` up to before `.1` must be in the index with all their keys.
    covered: Option<(u64, u64)>,
    hashes: Vec<Wanted>,
    pub files: usize,
    pub entries: u64,
}

/// A file whose turn has not come.
struct Waiting {
    path: PathBuf,
    file: Arc<dyn File>,
    header: Header,
    /// The header is a mark: the next start makes the slots anew and clears what stands behind its entries.
    is_marked: bool,
}

/// One index file, read from its first entry to its last.
struct Walk {
    path: PathBuf,
    file: Arc<dyn File>,
    header: Header,
    is_marked: bool,
    /// The slots as the entries so far make them.
    slots: Vec<u32>,
    slots_used: i32,
    /// Where the file before ended, in Unix milliseconds, if it is there.
    previous_end: Option<i64>,
    next: u32,
    last_offset: u64,
    /// Store time of the record that the last entry leads to, if it leads to one.
    last_timestamp: Option<i64>,
    read: Vec<u8>,
    read_from: u32,
}

/// A hash under which a record is to be found.
struct Wanted {
    hash: u32,
    is_tag: bool,
    found: bool,
}

impl IndexCheck {
    /// `trusted` tells of a header, and that of the file before, whether the file counts when the store is opened next.
    /// Of the first file that does not, a part does if there is a `mark`.
    pub fn new(
        disk: &dyn Disk,
        options: &Options,
        clean: bool,
        trusted: &dyn Fn(&Header, Option<Header>) -> bool,
        mut mark: Option<Header>,
        findings: &mut Findings,
    ) -> Result<IndexCheck, StoreError> {
        let dir = options.root.join("index");
        let shape = Shape::of(options);
        let mut waiting = VecDeque::<Waiting>::new();
        for entry in disk.list(&dir).map_err(StoreError::io("list", &dir))? {
            if entry.is_dir || !index_file::is_name(&entry.name) {
                continue;
            }
            let path = dir.join(&entry.name);
            let Some(file) = open_file(disk, path, entry.len, shape, findings)? else { continue };
            if trusted(&file.header, waiting.back().map(|before| before.header)) {
                mark = mark.filter(|mark| *mark != file.header);
                waiting.push_back(file);
            } else if let Some(header) = mark.take().filter(|mark| mark.count as u32 <= shape.entries) {
                waiting.push_back(Waiting { header, is_marked: true, ..file });
            } else if clean {
                let end = file.header.end_offset;
                let what = format!("header ends at {end}, where the index did not come to");
                findings.add(Area::Index, &file.path, 24, what, REBUILD);
            }
        }
        let ends = waiting.front().zip(waiting.back());
        let covered = ends.map(|(first, last)| {
            (first.header.begin_offset.max(0) as u64, last.header.end_offset.max(0) as u64)
        });
        let files = waiting.len();
        Ok(IndexCheck {
            shape,
            waiting,
            current: None,
            previous_end: None,
            covered,
            hashes: Vec::new(),
            files,
            entries: 0,
        })
    }

    /// Compares the next record of the log with its entries.
    pub fn record(&mut self, record: &Record<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let at = record.physical_offset as u64;
        let Some((from, until)) = self.covered else { return Ok(()) };
        if at < from {
            return Ok(());
        }
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.clear();
        let wanted = |(hash, is_tag)| Wanted { hash, is_tag, found: false };
        hashes.extend(index_keys::hashes_of(record).map(wanted));
        while let Some(entry) = self.next_until(at, findings)? {
            let Some(walk) = &mut self.current else { break };
            self.entries += 1;
            walk.compare(entry, record, &mut hashes, findings);
        }
        let missing = hashes.iter().filter(|wanted| !wanted.is_tag && !wanted.found).count();
        self.hashes = hashes;
        // A file may have become full between two keys of its last record.
        if missing > 0
            && at < until
            && let Some(path) = self.present_path()
        {
            let what = format!("the record at {at} is not found by {missing} of its keys");
            findings.add(Area::Index, path, None, what, REBUILD);
        }
        Ok(())
    }

    /// The file that the next entry is in.
    fn present_path(&self) -> Option<&Path> {
        let current = self.current.as_ref().map(|walk| &walk.path);
        let path = current.or_else(|| self.waiting.front().map(|waiting| &waiting.path));
        path.map(PathBuf::as_path)
    }

    /// Reports what is left when all records are through.
    pub fn finish(&mut self, log_end: u64, findings: &mut Findings) -> Result<(), StoreError> {
        let mut left = 0;
        let mut place = None;
        while let Some((entry, number)) = self.next_until(u64::MAX, findings)? {
            left += 1;
            let path = self.current.as_ref().map(|walk| walk.path.clone());
            place = place.or(path.map(|path| (path, number, entry.offset)));
        }
        if let Some((path, number, offset)) = place {
            let what = format!(
                "leads to {offset}, no record up to the end at {log_end} is there ({left} such entries)"
            );
            findings.add(Area::Index, &path, u64::from(number), what, REBUILD);
        }
        Ok(())
    }

    /// The next entry, if it leads to `at` or before. One that is followed by such an entry is out of its order and
    /// comes too.
    fn next_until(&mut self, at: u64, findings: &mut Findings) -> Result<Option<(Entry, u32)>, StoreError> {
        loop {
            if self.current.is_none() {
                let Some(waiting) = self.waiting.pop_front() else { return Ok(None) };
                let previous_end = self.previous_end;
                self.current = Some(Walk { previous_end, ..Walk::new(waiting, self.shape) });
            }
            let Some(walk) = &mut self.current else { return Ok(None) };
            if walk.next >= walk.header.count as u32 {
                walk.check_end(self.shape, findings)?;
                self.previous_end = Some(walk.header.end_timestamp);
                self.current = None;
                continue;
            }
            let number = walk.next;
            let entry = walk.entry(self.shape, number)?;
            if entry.offset > at as i64 && at < i64::MAX as u64 {
                let follows = number + 1 < walk.header.count as u32;
                if !follows || walk.entry(self.shape, number + 1)?.offset > at as i64 {
                    return Ok(None);
                }
            }
            walk.take(entry, self.shape, findings);
            return Ok(Some((entry, number)));
        }
    }
}

/// Opens an index file of `len` bytes. One whose size or count cannot be is a finding, and goes no further.
fn open_file(
    disk: &dyn Disk,
    path: PathBuf,
    len: u64,
    shape: Shape,
    findings: &mut Findings,
) -> Result<Option<Waiting>, StoreError> {
    if len != shape.bytes() {
        let what = format!("has {len} bytes where index files have {}", shape.bytes());
        findings.add(Area::Index, &path, None, what, SHAPE);
        return Ok(None);
    }
    let file = disk.open(&path).map_err(StoreError::io("open", &path))?;
    let mut bytes = [0; HEADER_BYTES as usize];
    file.read_at(&mut bytes, 0).map_err(StoreError::io("read", &path))?;
    let header = Header::decode(&bytes);
    if header.count as u32 > shape.entries {
        let what = format!("says that it has {} entries, at most {} fit", header.count, shape.entries);
        findings.add(Area::Index, &path, 36, what, REBUILD);
        return Ok(None);
    }
    Ok(Some(Waiting { path, file, header, is_marked: false }))
}

impl Walk {
    fn new(waiting: Waiting, shape: Shape) -> Walk {
        let Waiting { path, file, header, is_marked } = waiting;
        Walk {
            path,
            file,
            header,
            is_marked,
            slots: vec![0; shape.slots as usize],
            slots_used: 0,
            previous_end: None,
            next: 1,
            last_offset: 0,
            last_timestamp: None,
            read: Vec::new(),
            read_from: 0,
        }
    }

    fn entry(&mut self, shape: Shape, number: u32) -> Result<Entry, StoreError> {
        let held = (self.read.len() / ENTRY_BYTES) as u32;
        if number < self.read_from || number >= self.read_from + held {
            let count = READ_AHEAD.min(shape.entries - number) as usize;
            self.read.resize(count * ENTRY_BYTES, 0);
            self.file
                .read_at(&mut self.read, shape.entry_at(number))
                .map_err(StoreError::io("read", &self.path))?;
            self.read_from = number;
        }
        let at = (number - self.read_from) as usize * ENTRY_BYTES;
        let bytes = self.read.get(at..).and_then(|rest| rest.first_chunk());
        Ok(Entry::decode(bytes.unwrap_or(&[0; ENTRY_BYTES])))
    }

    /// Compares an entry with the record whose turn it is. Of the record's `hashes` it may be one.
    fn compare(
        &mut self,
        (entry, number): (Entry, u32),
        record: &Record<'_>,
        hashes: &mut [Wanted],
        findings: &mut Findings,
    ) {
        let (at, stored) = (record.physical_offset as u64, record.store_timestamp);
        let leads_there = entry.offset == at as i64;
        self.last_timestamp = leads_there.then_some(stored);
        let place = u64::from(number);
        let mut add = |place: u64, what: String| findings.add(Area::Index, &self.path, place, what, REBUILD);
        if !leads_there {
            return add(place, format!("leads to {}, where no record is in its turn", entry.offset));
        }
        let mut known = false;
        for wanted in hashes.iter_mut().filter(|wanted| wanted.hash == entry.hash) {
            (known, wanted.found) = (true, true);
        }
        if !known {
            add(place, format!("leads to the record at {at}, which has no key with hash {}", entry.hash));
        }
        let (begin, seconds) = (self.header.begin_timestamp, entry.seconds);
        if number == 1 && begin != stored {
            add(0, format!("header begins at time {begin} and its first record was stored at {stored}"));
        }
        if !self.is_time_of(&entry, number, stored) {
            let what =
                format!("says that the record at {at} was stored {seconds} s after {begin}, not at {stored}");
            add(place, what);
        }
    }

    /// Whether an entry has the time of its record.
    fn is_time_of(&self, entry: &Entry, number: u32, stored: i64) -> bool {
        let fits = |begin: i64| {
            i64::from(entry.seconds) == (stored.saturating_sub(begin) / 1000).clamp(0, i64::from(i32::MAX))
        };
        // Java counts the first entry of a file from the end of the file before, which may have expired.
        fits(self.header.begin_timestamp) || number == 1 && self.previous_end.is_none_or(fits)
    }

    /// Follows an entry: its chain must lead to the one before it in its slot.
    fn take(&mut self, entry: Entry, shape: Shape, findings: &mut Findings) {
        let number = self.next;
        self.next += 1;
        self.last_offset = entry.offset.max(0) as u64;
        let slot = &mut self.slots[(entry.hash % shape.slots) as usize];
        if entry.previous as u32 != *slot {
            let what = format!("its chain goes on at {} and not at {slot}", entry.previous);
            findings.add(Area::Index, &self.path, u64::from(number), what, REBUILD);
        }
        if *slot == 0 {
            self.slots_used += 1;
        }
        *slot = number;
    }

    /// The header and the slots must say what the entries say.
    fn check_end(&mut self, shape: Shape, findings: &mut Findings) -> Result<(), StoreError> {
        let header = self.header;
        if self.next > 1 && header.end_offset != self.last_offset as i64 {
            let what =
                format!("header ends at {} and the entries at {}", header.end_offset, self.last_offset);
            findings.add(Area::Index, &self.path, 24, what, REBUILD);
        }
        if let Some(last) = self.last_timestamp.filter(|last| *last != header.end_timestamp) {
            let what = format!(
                "header ends at time {} and its last record was stored at {last}",
                header.end_timestamp
            );
            findings.add(Area::Index, &self.path, 8, what, REBUILD);
        }
        if self.next > 1 {
            let first = self.entry(shape, 1)?;
            if header.begin_offset != first.offset {
                let what =
                    format!("header begins at {} and the entries at {}", header.begin_offset, first.offset);
                findings.add(Area::Index, &self.path, 16, what, REBUILD);
            }
        }
        if header.slots_used != self.slots_used {
            let what =
                format!("header counts {} slots in use, there are {}", header.slots_used, self.slots_used);
            findings.add(Area::Index, &self.path, 32, what, REBUILD);
        }
        if self.is_marked {
            return Ok(());
        }
        if self.next < shape.entries && self.entry(shape, self.next)?.offset != 0 {
            let what = format!("header counts {} entries, and there are more", header.count - 1);
            findings.add(Area::Index, &self.path, 36, what, REBUILD);
        }
        self.check_slots(findings)
    }

    fn check_slots(&self, findings: &mut Findings) -> Result<(), StoreError> {
        let mut bytes = vec![0; 4 * 65_536.min(self.slots.len())];
        for (piece, slots) in self.slots.chunks(65_536).enumerate() {
            let bytes = &mut bytes[..slots.len() * 4];
            let at = HEADER_BYTES + piece as u64 * 4 * 65_536;
            self.file.read_at(bytes, at).map_err(StoreError::io("read", &self.path))?;
            for (i, (stored, expected)) in bytes.chunks_exact(4).zip(slots).enumerate() {
                let stored = stored.first_chunk().map_or(0, |chunk| i32::from_be_bytes(*chunk));
                if stored as u32 != *expected {
                    let what = format!("slot leads to entry {stored} and not to {expected}");
                    findings.add(Area::Index, &self.path, at + 4 * i as u64, what, REBUILD);
                }
            }
        }
        Ok(())
    }
}
