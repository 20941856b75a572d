//! Opening the compaction log of a queue: which parts there are, and how far they are filled.
//!
//! The records are the truth. Entries are believed after a clean stop if they end where the records do; otherwise those
//! of the last part, the only one that can be torn, are compared with the records and made anew where they differ, and
//! so are the entries of all parts where Java's broker was interrupted while it replaced them.
//!
//! What a power cut took is cut off and copied again from the commit log, which keeps its segments until that is done.
//! What the commit log has no more was no power cut's to take: a record that is no longer sound there is damage, stays
//! where it is, and hides nothing that stands behind it.
//!
//! The same comparison mends entries that are found damaged while the store is open.

use std::io;
use std::path::Path;
use std::sync::Arc;

use wire::record::Record;

use super::part::{Dirs, Extent, Part, Sizes};
use super::replace;
use super::unit::Unit;
use crate::commit_log::{Look, Window, look_in};
use crate::disk::{self, Disk, File};
use crate::error::StoreError;
use crate::queue_kind::UNIT_BYTES;
use crate::records::Reach;
use crate::segment::{self, Segment};
use crate::torn;

/// Bytes of a file that are looked at or copied at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// Entries that are read at once.
const READ_UNITS: u64 = 1424;

/// What opening needs to know.
pub(crate) struct Loading<'a> {
    pub disk: &'a dyn Disk,
    pub dirs: &'a Dirs,
    pub topic: &'a str,
    pub id: u32,
    pub sizes: Sizes,
    /// The store was stopped cleanly.
    pub clean: bool,
    /// Queue offset from which on the commit log has the messages of the queue.
    pub again_from: u64,
}

/// How far the entries of a part are to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belief {
    /// To where they end, if that is where the records end.
    Whole,
    /// As far as the records bear them out: a crash may have torn both.
    Torn,
    /// Not at all: they may be of other records.
    None,
}

impl Loading<'_> {
    /// The parts that hold messages, in order, with only messages of queue offsets below `next`: what is above it the
    /// commit log has lost, and its numbers are given again.
    pub fn load(&self, next: Option<u64>) -> Result<Vec<Arc<Part>>, StoreError> {
        let failed =
            |what: &'static str| move |source| StoreError::Io { what, path: self.dirs.log.clone(), source };
        let distrusted = replace::resume(self.disk, self.dirs).map_err(failed("tidy"))?;
        let names = self.names()?;
        let mut parts = Vec::new();
        for (i, base) in names.iter().enumerate() {
            let belief = match distrusted {
                true => Belief::None,
                false if !self.clean && i + 1 == names.len() => Belief::Torn,
                false => Belief::Whole,
            };
            let is_last = i + 1 == names.len();
            let part = self.part(*base, belief, is_last).map_err(failed("read"))?;
            if part.extent().count == 0 {
                self.remove(*base).map_err(failed("remove an empty file of"))?;
            } else {
                parts.push(Arc::new(part));
            }
        }
        if let Some(next) = next {
            self.cut(&mut parts, next).map_err(failed("cut"))?;
        }
        Ok(parts)
    }

    /// Bases of the parts; what is no part is refused, but for rests of a creation that was interrupted.
    fn names(&self) -> Result<Vec<u64>, StoreError> {
        let Dirs { log, units } = self.dirs;
        let entries = self.disk.list(log).map_err(StoreError::io("list", log))?;
        let files: Vec<_> = entries.into_iter().filter(|entry| !entry.is_dir).collect();
        let mut bases = Vec::new();
        for (i, entry) in files.iter().enumerate() {
            let path = log.join(&entry.name);
            let base = segment::base_of(&entry.name).filter(|base| base % self.sizes.log == 0);
            let Some(base) = base else {
                return Err(refused(&path, "is no file of a compaction log of this size".into()));
            };
            if entry.len == self.sizes.log {
                bases.push(base);
            } else if i + 1 == files.len() && self.is_rest_of_creation(&path, entry.len)? {
                self.remove(base).map_err(StoreError::io("remove", &path))?;
            } else {
                return Err(refused(
                    &path,
                    format!("has {} bytes and not the {} of the configuration", entry.len, self.sizes.log),
                ));
            }
        }
        for entry in self.disk.list(units).map_err(StoreError::io("list", units))? {
            let path = units.join(&entry.name);
            if !entry.is_dir && !segment::base_of(&entry.name).is_some_and(|base| bases.contains(&base)) {
                self.disk.remove(&path).map_err(StoreError::io("remove", &path))?;
            }
        }
        Ok(bases)
    }

    /// Whether a file of another size was never completed, so that nothing was written to it. One with records is of
    /// another configuration. A creation can have failed before a clean stop as well as before a crash.
    fn is_rest_of_creation(&self, path: &Path, len: u64) -> Result<bool, StoreError> {
        if len > self.sizes.log {
            return Ok(false);
        }
        let is_zero = || {
            let file = self.disk.open(path)?;
            let mut piece = Vec::new();
            for at in (0..len).step_by(PIECE_BYTES as usize) {
                piece.resize(PIECE_BYTES.min(len - at) as usize, 0);
                file.read_at(&mut piece, at)?;
                if piece.iter().any(|byte| *byte != 0) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        is_zero().map_err(StoreError::io("read", path))
    }

    fn remove(&self, base: u64) -> io::Result<()> {
        for dir in self.dirs.both() {
            if self.disk.stat(dir)?.is_some() {
                self.disk.remove(&segment::path_of(dir, base))?;
                self.disk.sync_dir(dir)?;
            }
        }
        Ok(())
    }

    fn part(&self, base: u64, belief: Belief, is_last: bool) -> io::Result<Part> {
        let path = segment::path_of(&self.dirs.log, base);
        let log = Segment::new(base, self.sizes.log, path.clone(), self.disk.open(&path)?);
        let (units, was_there) = self.units(base)?;
        let by_units = self.extent_of_units(base, &*units)?;
        if was_there && belief == Belief::Whole && self.ends_with_its_records(&log, &*units, &by_units)? {
            return Ok(Part::new(log, units, self.sizes.units, by_units));
        }
        let mut found = vec![0; self.sizes.units as usize];
        units.read_at(&mut found, 0)?;
        let known = if belief == Belief::None { &[] } else { found.as_slice() };
        let (expected, extent) = self.extent_of_records(&log, known, is_last)?;
        let differs = found[..expected.len()] != expected;
        let part = Part::new(log, units, self.sizes.units, extent);
        if differs || by_units.count > extent.count {
            tracing::warn!(
                topic = self.topic,
                queue = self.id,
                part = part.name(),
                "entries of a compaction log are made anew of its records"
            );
        }
        part.units.write_at(&expected, 0)?;
        if !is_last {
            // What ends the records of a part that is full stays: nothing will be appended to it.
            part.units.write_at(&Unit::end_marker(), expected.len() as u64)?;
            if belief == Belief::None {
                write_again(&part.log, extent.end)?;
                part.log.file.sync_data()?;
            }
            part.units.sync_data()?;
            return Ok(part);
        }
        // All of it is written again. If a sync of a broker that was killed has failed, this can be read and yet no
        // sync writes it, and the commit log's segments go because it is taken to be durable.
        write_again(&part.log, extent.end)?;
        // Torn records must not stand behind those that will be appended.
        part.cut(extent)?;
        Ok(part)
    }

    /// Makes the entries of a part that is in use anew where they are not what its records give; tells whether there
    /// were any. What is appended meanwhile stays.
    pub fn mend(&self, part: &Part) -> io::Result<bool> {
        let before = part.extent();
        let mut found = vec![0; before.count as usize * UNIT_BYTES];
        part.units.read_at(&mut found, 0)?;
        // As for a part that others follow: what was taken for a record once stays one.
        let (mut expected, extent) = self.extent_of_records(&part.log, &found, false)?;
        expected.truncate(found.len());
        if extent.count < before.count || expected == found {
            return Ok(false);
        }
        tracing::warn!(
            topic = self.topic,
            queue = self.id,
            part = part.name(),
            "entries of a compaction log were damaged; they are made anew of its records"
        );
        part.rewrite_units(&expected)?;
        Ok(true)
    }

    /// The file of entries of a part, and whether it was there: else it is made.
    fn units(&self, base: u64) -> io::Result<(Arc<dyn File>, bool)> {
        let path = segment::path_of(&self.dirs.units, base);
        if self.disk.stat(&path)?.is_some_and(|stat| stat.len == self.sizes.units) {
            return Ok((self.disk.open(&path)?, true));
        }
        disk::create_dirs(self.disk, &self.dirs.units)?;
        let units = self.disk.create(&path, self.sizes.units)?;
        units.sync_data()?;
        self.disk.sync_dir(&self.dirs.units)?;
        Ok((units, false))
    }

    /// Whether the last entry speaks of the record that stands there, and no further record stands behind it. Else a
    /// flipped bit has ended the row of entries early, or moved its end.
    fn ends_with_its_records(&self, log: &Segment, units: &dyn File, extent: &Extent) -> io::Result<bool> {
        let mut window = Window::new(u64::MAX);
        if extent.count > 0 {
            let mut bytes = [0; UNIT_BYTES];
            units.read_at(&mut bytes, (extent.count - 1) * UNIT_BYTES as u64)?;
            let Some(unit) = Unit::decode(&bytes) else { return Ok(false) };
            match look_in(log, unit.position, &mut window)? {
                Look::Record(record)
                    if record.queue_offset >= 0 && Unit::of(&record, unit.position) == unit => {}
                _ => return Ok(false),
            }
        }
        Ok(extent.end >= log.until() || !matches!(look_in(log, extent.end, &mut window)?, Look::Record(_)))
    }

    /// How far a part is filled by its entries: to the first that does not continue the one before.
    fn extent_of_units(&self, base: u64, units: &dyn File) -> io::Result<Extent> {
        let mut extent = Extent::empty(base);
        let slots = self.sizes.units / UNIT_BYTES as u64;
        let mut bytes = vec![0; READ_UNITS.min(slots) as usize * UNIT_BYTES];
        while extent.count < slots {
            let count = READ_UNITS.min(slots - extent.count) as usize;
            let read = &mut bytes[..count * UNIT_BYTES];
            units.read_at(read, extent.count * UNIT_BYTES as u64)?;
            for slot in read.chunks_exact(UNIT_BYTES) {
                let unit = Unit::decode(slot).filter(|unit| {
                    unit.position == extent.end
                        && unit.until() <= base + self.sizes.log
                        && (extent.count == 0 || unit.queue_offset > extent.last)
                });
                let Some(unit) = unit else { return Ok(extent) };
                extent.add(&unit);
            }
        }
        Ok(extent)
    }

    /// How far a part is filled by its records, and the entries that belong to them. `known` are those that are there.
    fn extent_of_records(&self, log: &Segment, known: &[u8], is_last: bool) -> io::Result<(Vec<u8>, Extent)> {
        let mut extent = Extent::empty(log.base);
        let mut units = Vec::new();
        let mut window = Window::new(u64::MAX);
        let room = (self.sizes.units / UNIT_BYTES as u64).saturating_sub(1);
        while extent.count < room && extent.end < log.until() {
            let follows = |unit: &Unit| extent.count == 0 || unit.queue_offset > extent.last;
            let continues =
                |unit: &Unit| unit.position == extent.end && unit.until() <= log.until() && follows(unit);
            let known = unit_in(known, extent.count).filter(continues);
            let found = match look_in(log, extent.end, &mut window)? {
                Look::Record(record) if self.is_whole(&record, extent.end - log.base, is_last) => {
                    Some(Unit::of(&record, extent.end)).filter(follows)
                }
                _ => None,
            };
            let unit = match (found, known) {
                // Where they say different queue offsets one of them is damaged. The lower one hides no message that
                // follows; if it is not that of the record, the record is not served.
                (Some(found), Some(known)) if found.size == known.size => {
                    Unit { queue_offset: found.queue_offset.min(known.queue_offset), ..found }
                }
                (Some(found), _) => found,
                (None, Some(known)) if !is_last || known.queue_offset < self.again_from => {
                    tracing::error!(
                        path = %log.path.display(), at = extent.end, queue_offset = known.queue_offset,
                        "a record of a compaction log is damaged; it is not served"
                    );
                    known
                }
                (None, _) => break,
            };
            units.extend_from_slice(&unit.encode());
            extent.add(&unit);
        }
        Ok((units, extent))
    }

    /// Whether a record, which stands at `at` in its file, is one of this queue and all there.
    fn is_whole(&self, record: &Record<'_>, at: u64, is_last: bool) -> bool {
        // What cannot be copied again was durable: zeros in it are its own.
        let may_be_torn = is_last && record.queue_offset as u64 >= self.again_from;
        record.verify_crc().is_ok()
            // Copied with the key that a lost sector leaves it, it would be the last message of a wrong one.
            && !(may_be_torn && torn::is_torn(record, at))
            && record.topic == self.topic
            && record.queue_id == self.id
            && record.queue_offset >= 0
    }

    /// Takes away the messages from queue offset `next` on.
    fn cut(&self, parts: &mut Vec<Arc<Part>>, next: u64) -> io::Result<()> {
        while let Some(part) = parts.last().filter(|part| part.extent().last >= next) {
            let extent = part.extent();
            let kept = part.first_where(Reach::Disk, &extent, |unit| unit.queue_offset >= next)?.unwrap_or(0);
            tracing::warn!(
                topic = self.topic,
                queue = self.id,
                from = next,
                messages = extent.count - kept,
                "a compaction log holds messages that the commit log has lost; they are taken out of it"
            );
            if kept == 0 {
                self.remove(part.log.base)?;
                parts.pop();
                continue;
            }
            let mut cut = Extent::empty(part.log.base);
            cut.first = extent.first;
            let mut bytes = [0; UNIT_BYTES];
            part.units.read_at(&mut bytes, (kept - 1) * UNIT_BYTES as u64)?;
            if let Some(last) = Unit::decode(&bytes) {
                cut.add(&last);
                cut.first = extent.first;
                cut.count = kept;
            }
            part.cut(cut)?;
        }
        Ok(())
    }
}

/// The entry of this number among the bytes of some; `None` if there is none.
fn unit_in(units: &[u8], slot: u64) -> Option<Unit> {
    let at = usize::try_from(slot).ok()?.checked_mul(UNIT_BYTES)?;
    Unit::decode(units.get(at..at + UNIT_BYTES)?)
}

/// Writes the records before `end` again as they are, so that the sync to come includes them.
fn write_again(log: &Segment, end: u64) -> io::Result<()> {
    let mut piece = Vec::new();
    for at in (0..end - log.base).step_by(PIECE_BYTES as usize) {
        piece.resize(PIECE_BYTES.min(end - log.base - at) as usize, 0);
        log.file.read_at(&mut piece, at)?;
        log.file.write_at(&piece, at)?;
    }
    Ok(())
}

fn refused(path: &Path, what: String) -> StoreError {
    let remedy = "set compactionMappedFileSize and compactionCqMappedFileSize to what it was written with, or move the file away";
    StoreError::Compaction { path: path.to_path_buf(), what, remedy }
}
