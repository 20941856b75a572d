//! The files of a compaction log: parts of it in order, each a file of records and one of entries with the same name.
//!
//! Invariant: of a part that is followed by another everything was synced before that other was created, so after a
//! crash only the last one can be torn. Its entries stand in the order of their records, without a gap, and their queue
//! offsets rise: what does not is no entry that was written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use wire::record::{self, BLANK_SIZE, MAGIC_BLANK, Prefix, Record};

use super::unit::Unit;
use crate::disk::{Disk, File};
use crate::queue_kind::UNIT_BYTES;
use crate::records::Reach;
use crate::segment::{self, Segment};

/// Where the files of one queue are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dirs {
    /// Records: `compaction/compactionLog/<topic>/<queue>`.
    pub log: PathBuf,
    /// Entries: `compaction/compactionCq/<topic>/<queue>`.
    pub units: PathBuf,
}

impl Dirs {
    pub fn of(root: &Path, topic: &str, id: u32) -> Dirs {
        let id = id.to_string();
        Dirs { log: log_root(root).join(topic).join(&id), units: units_root(root).join(topic).join(id) }
    }

    /// The directories of this name below both.
    pub fn below(&self, name: &str) -> Dirs {
        Dirs { log: self.log.join(name), units: self.units.join(name) }
    }

    pub fn both(&self) -> [&Path; 2] {
        [&self.log, &self.units]
    }
}

pub(crate) fn log_root(root: &Path) -> PathBuf {
    root.join("compaction").join("compactionLog")
}

pub(crate) fn units_root(root: &Path) -> PathBuf {
    root.join("compaction").join("compactionCq")
}

/// Bytes of the two files of a part; no file tells them (store.md §16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub log: u64,
    pub units: u64,
}

/// How far a part is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Messages.
    pub count: u64,
    /// Where the next record goes, in the compaction log.
    pub end: u64,
    /// Queue offset of the first message.
    pub first: u64,
    /// Queue offset of the last message.
    pub last: u64,
    /// Store time of the last message, Unix milliseconds.
    pub last_time: i64,
}

impl Extent {
    pub fn empty(base: u64) -> Extent {
        Extent { count: 0, end: base, first: 0, last: 0, last_time: 0 }
    }

    /// Takes in one more message.
    pub fn add(&mut self, unit: &Unit) {
        if self.count == 0 {
            self.first = unit.queue_offset;
        }
        self.count += 1;
        self.end = unit.until();
        self.last = unit.queue_offset;
        self.last_time = unit.store_timestamp;
    }

    /// Whether an entry can be one of the messages in here.
    pub fn holds(&self, unit: &Unit) -> bool {
        (self.first..=self.last).contains(&unit.queue_offset) && unit.until() <= self.end
    }
}

/// A file of records with its file of entries.
pub(crate) struct Part {
    pub log: Arc<Segment>,
    pub units: Arc<dyn File>,
    units_bytes: u64,
    extent: Mutex<Extent>,
    /// Something was written that is not known to be on the disk.
    unsynced: AtomicBool,
    /// Held by who syncs: what is being synced is no more durable than what is not.
    syncing: Mutex<()>,
    /// A sync failed. What the kernel shows since may never come to the disk, so none is tried again.
    failed: AtomicBool,
    /// Entries that seem damaged are what the records give: it is these that are. Nobody compares them again.
    compared: AtomicBool,
}

/// Bytes of a record up to and with its physical offset.
const PLACE_BYTES: usize = 36;

impl Part {
    pub fn new(log: Segment, units: Arc<dyn File>, units_bytes: u64, extent: Extent) -> Part {
        Part {
            log: Arc::new(log),
            units,
            units_bytes,
            extent: Mutex::new(extent),
            unsynced: AtomicBool::new(false),
            syncing: Mutex::new(()),
            failed: AtomicBool::new(false),
            compared: AtomicBool::new(false),
        }
    }

    /// Makes the files of a part in `dirs`, durably. `named` is where they belong in the end.
    fn create(disk: &dyn Disk, dirs: &Dirs, named: &Dirs, base: u64, sizes: Sizes) -> io::Result<Part> {
        let units = disk.create(&segment::path_of(&dirs.units, base), sizes.units)?;
        let log = disk.create(&segment::path_of(&dirs.log, base), sizes.log)?;
        for (file, dir) in [(&units, &dirs.units), (&log, &dirs.log)] {
            file.sync_data()?;
            disk.sync_dir(dir)?;
        }
        let log = Segment::new(base, sizes.log, segment::path_of(&named.log, base), log);
        Ok(Part::new(log, units, sizes.units, Extent::empty(base)))
    }

    pub fn extent(&self) -> Extent {
        *self.extent.lock()
    }

    /// Whether a place of the compaction log is in here.
    pub fn contains(&self, at: u64) -> bool {
        (self.log.base..self.log.until()).contains(&at)
    }

    /// The name that both files have.
    pub fn name(&self) -> String {
        format!("{:020}", self.log.base)
    }

    /// Its entries from the first on.
    pub fn walk_units(&self) -> Units<'_> {
        Units { part: self, slot: 0, bytes: Vec::new() }
    }

    /// Fills `out` with entries from number `slot` on; `None` if that takes the disk and `reach` is not so far.
    pub fn read_units(&self, reach: Reach, slot: u64, out: &mut [u8]) -> io::Result<Option<()>> {
        let at = slot * UNIT_BYTES as u64;
        Ok(reach.read(&*self.units, out, at)?.then_some(()))
    }

    fn read_unit(&self, reach: Reach, slot: u64) -> io::Result<Option<Unit>> {
        let mut bytes = [0; UNIT_BYTES];
        let Some(()) = self.read_units(reach, slot, &mut bytes)? else { return Ok(None) };
        let damaged =
            || io::Error::new(io::ErrorKind::InvalidData, format!("entry {slot} of {} is none", self.name()));
        Unit::decode(&bytes).ok_or_else(damaged).map(Some)
    }

    /// Number of the first entry of which `holds` is true, which it is for all that follow; `None` if looking takes
    /// the disk and `reach` is not so far.
    pub fn first_where(
        &self,
        reach: Reach,
        extent: &Extent,
        holds: impl Fn(&Unit) -> bool,
    ) -> io::Result<Option<u64>> {
        let (mut low, mut high) = (0, extent.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(unit) = self.read_unit(reach, middle)? else { return Ok(None) };
            if holds(&unit) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(Some(low))
    }

    /// Whether entry `slot` is that of a record and the one before it is too, so that a search which has led there has
    /// not been led astray; `None` if looking takes the disk and `reach` is not so far.
    pub fn can_begin_at(&self, reach: Reach, slot: u64) -> io::Result<Option<bool>> {
        for slot in [slot.checked_sub(1), Some(slot)].into_iter().flatten() {
            let Some(unit) = self.read_unit(reach, slot)? else { return Ok(None) };
            match self.names_its_record(reach, &unit)? {
                Some(true) => {}
                otherwise => return Ok(otherwise),
            }
        }
        Ok(Some(true))
    }

    /// Whether an entry says of its record what that says itself; `None` if looking takes the disk and `reach` is not
    /// so far.
    pub fn names_its_record(&self, reach: Reach, unit: &Unit) -> io::Result<Option<bool>> {
        let is_inside = unit.position >= self.log.base && unit.until() <= self.log.until();
        if !is_inside || (unit.size as usize) < PLACE_BYTES {
            return Ok(Some(false));
        }
        let mut head = [0; PLACE_BYTES];
        if !reach.read(&*self.log.file, &mut head, unit.position - self.log.base)? {
            return Ok(None);
        }
        let has = |at: usize, number: u64| head[at..at + 8] == number.to_be_bytes();
        let has_size = Prefix::parse(&head).is_some_and(|prefix| prefix.size == unit.size);
        Ok(Some(has_size && has(20, unit.queue_offset) && has(28, unit.position)))
    }

    /// Whether entries that seem damaged may be better after they were compared with the records.
    pub fn can_be_mended(&self) -> bool {
        !self.compared.load(Ordering::Acquire)
    }

    /// Entries and records were compared, and nothing can be made better.
    pub fn note_compared(&self) {
        self.compared.store(true, Ordering::Release);
    }

    /// Writes the first entries anew, while others may read them.
    pub fn rewrite_units(&self, bytes: &[u8]) -> io::Result<()> {
        self.unsynced.store(true, Ordering::Release);
        self.units.write_at(bytes, 0)
    }

    /// Queue offset of the message that entry `slot` speaks of.
    pub fn queue_offset_of(&self, slot: u64) -> io::Result<Option<u64>> {
        Ok(self.read_unit(Reach::Disk, slot)?.map(|unit| unit.queue_offset))
    }

    /// Makes durable what was written. If another thread is at it, that comes to its end first.
    pub fn sync(&self) -> io::Result<()> {
        let _one = self.syncing.lock();
        if self.has_failed() {
            return Err(io::Error::other("an earlier sync failed"));
        }
        if !self.unsynced.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let synced = self.log.file.sync_data().and_then(|()| self.units.sync_data());
        synced.inspect_err(|_| self.failed.store(true, Ordering::Release))
    }

    /// Whether a sync has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Takes back all that is behind `extent`, durably.
    pub fn cut(&self, extent: Extent) -> io::Result<()> {
        self.log.file.zero(extent.end - self.log.base, self.log.size)?;
        self.units.zero(extent.count * UNIT_BYTES as u64, self.units_bytes)?;
        self.unsynced.store(true, Ordering::Release);
        *self.extent.lock() = extent;
        self.sync()
    }
}

/// Whether an error is that of entries whose bytes are none.
pub(crate) fn is_damage(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidData
}

/// Entries that a walk reads at once.
const WALKED: u64 = 1024;

/// A walk over the entries of a part.
pub(crate) struct Units<'a> {
    part: &'a Part,
    /// Number of the next entry.
    slot: u64,
    bytes: Vec<u8>,
}

impl Units<'_> {
    /// The next entry; `None` if no message's entry stands there.
    pub fn next(&mut self) -> io::Result<Option<Unit>> {
        let in_bytes = (self.slot % WALKED) as usize * UNIT_BYTES;
        if in_bytes == 0 {
            let slots = self.part.units_bytes / UNIT_BYTES as u64;
            self.bytes.resize(WALKED.min(slots.saturating_sub(self.slot)) as usize * UNIT_BYTES, 0);
            self.part.units.read_at(&mut self.bytes, self.slot * UNIT_BYTES as u64)?;
        }
        self.slot += 1;
        Ok(self.bytes.get(in_bytes..in_bytes + UNIT_BYTES).and_then(Unit::decode))
    }
}

/// Records gathered before they are written.
const GATHERED_BYTES: usize = 256 << 10;
/// Bytes of a new part that are written between two syncs, so that no sync takes the disk away from senders for long.
const SYNCED_BYTES: u64 = 4 << 20;

/// Appends records to a row of parts, beginning a new part where one is full as Java does.
pub(crate) struct Writer<'a> {
    disk: &'a dyn Disk,
    /// Where new files are made, and where they belong in the end.
    dirs: &'a Dirs,
    named: &'a Dirs,
    sizes: Sizes,
    pub parts: Vec<Arc<Part>>,
    bytes: Vec<u8>,
    units: Vec<u8>,
    /// Of the last part, with what is gathered.
    extent: Extent,
    unsynced: u64,
}

impl<'a> Writer<'a> {
    pub fn new(
        disk: &'a dyn Disk,
        dirs: &'a Dirs,
        named: &'a Dirs,
        sizes: Sizes,
        parts: Vec<Arc<Part>>,
    ) -> Writer<'a> {
        let extent = parts.last().map_or(Extent::empty(0), |part| part.extent());
        Writer { disk, dirs, named, sizes, parts, bytes: Vec::new(), units: Vec::new(), extent, unsynced: 0 }
    }

    /// Whether a record fits into a part at all.
    pub fn fits(&self, record: &Record<'_>) -> bool {
        (record.bytes.len() + BLANK_SIZE) as u64 <= self.sizes.log
    }

    /// Takes in one record that [`Writer::fits`]: all of it stays as it is but for its place.
    pub fn push(&mut self, record: &Record<'_>) -> io::Result<()> {
        if !self.has_room(record.bytes.len() as u64) {
            self.roll()?;
        }
        let unit = Unit::of(record, self.extent.end);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record.bytes);
        record::patch(&mut self.bytes[start..], unit.queue_offset, unit.position, unit.store_timestamp);
        self.units.extend_from_slice(&unit.encode());
        self.extent.add(&unit);
        if self.bytes.len() >= GATHERED_BYTES { self.write() } else { Ok(()) }
    }

    /// The last slot of the entries is kept for the end marker, and room for a blank behind the records.
    fn has_room(&self, size: u64) -> bool {
        let Some(part) = self.parts.last() else { return false };
        (self.extent.count + 2) * UNIT_BYTES as u64 <= self.sizes.units
            && self.extent.end + size + BLANK_SIZE as u64 <= part.log.until()
    }

    /// Hands what is gathered to the operating system, and lets readers see it.
    pub fn write(&mut self) -> io::Result<()> {
        let Some(part) = self.parts.last().filter(|_| !self.bytes.is_empty()) else { return Ok(()) };
        let before = part.extent();
        part.unsynced.store(true, Ordering::Release);
        part.log.file.write_at(&self.bytes, before.end - part.log.base)?;
        part.units.write_at(&self.units, before.count * UNIT_BYTES as u64)?;
        *part.extent.lock() = self.extent;
        self.unsynced += self.bytes.len() as u64;
        self.bytes.clear();
        self.units.clear();
        if self.unsynced >= SYNCED_BYTES {
            self.unsynced = 0;
            part.sync()?;
        }
        Ok(())
    }

    /// Completes the last part and begins the next.
    fn roll(&mut self) -> io::Result<()> {
        self.write()?;
        if let Some(full) = self.parts.last() {
            let Extent { count, end, .. } = self.extent;
            let mut blank = [0; BLANK_SIZE];
            blank[..4].copy_from_slice(&((full.log.until() - end) as u32).to_be_bytes());
            blank[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
            full.unsynced.store(true, Ordering::Release);
            full.log.file.write_at(&blank, end - full.log.base)?;
            full.units.write_at(&Unit::end_marker(), count * UNIT_BYTES as u64)?;
            full.sync()?;
            self.unsynced = 0;
        }
        let base = self.parts.last().map_or(0, |full| full.log.until());
        let part = Part::create(self.disk, self.dirs, self.named, base, self.sizes)?;
        self.extent = part.extent();
        self.parts.push(Arc::new(part));
        Ok(())
    }
}
