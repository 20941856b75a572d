//! One compaction of a log: of all parts but the last, the messages that are not the last of their key are left out.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use wire::properties;
use wire::record::Record;

use super::log::{CompactionLog, Parts, Pass};
use super::part::{Part, Writer};
use super::replace::{self, COMPACTING, Plan};
use super::unit::Unit;
use crate::commit_log::{Look, Window, look_in};
use crate::disk;
use crate::error::StoreError;
use crate::store::Store;

/// What one entry of the map takes beside its key, about.
const ENTRY_BYTES: u64 = 64;
/// Records are read for this long before the disk is left to others.
const SLICE_BYTES: u64 = 1 << 20;

/// The last message of each key among those that are compacted for the first time.
struct Latest {
    by_key: HashMap<Box<str>, u64>,
    bytes: u64,
    bytes_max: u64,
    /// Queue offset up to which the messages are in the map; later ones are all kept.
    last: u64,
}

impl Latest {
    fn new(bytes_max: u64) -> Latest {
        Latest { by_key: HashMap::new(), bytes: 0, bytes_max, last: 0 }
    }

    /// Notes one more message; false if the map has no room for its key. It always has for one key.
    fn note(&mut self, key: &str, queue_offset: u64) -> bool {
        let is_empty = self.by_key.is_empty();
        let needed = key.len() as u64 + ENTRY_BYTES;
        match self.by_key.entry(key.into()) {
            Entry::Occupied(mut known) => {
                known.insert(queue_offset);
            }
            Entry::Vacant(_) if !is_empty && self.bytes + needed > self.bytes_max => return false,
            Entry::Vacant(new) => {
                new.insert(queue_offset);
                self.bytes += needed;
            }
        }
        self.last = queue_offset;
        true
    }

    /// Java's rule (store.md §16). A message without a body deletes its key, and then itself.
    fn keeps(&self, record: &Record<'_>) -> bool {
        let queue_offset = record.queue_offset as u64;
        if queue_offset > self.last {
            return true;
        }
        let Some(key) = key_of(record) else { return false };
        let is_last = self.by_key.get(key).is_none_or(|last| queue_offset >= *last);
        is_last && !record.body.is_empty()
    }
}

/// What a message is the value of: all of its keys as one text.
pub(crate) fn key_of<'a>(record: &Record<'a>) -> Option<&'a str> {
    record.property(properties::KEYS).filter(|keys| !keys.trim().is_empty())
}

impl Store {
    /// Compacts one log if there is something to compact; tells whether there was.
    pub(crate) fn compact_log(&self, log: &CompactionLog) -> Result<bool, StoreError> {
        match self.try_to_compact(log) {
            // Only the entries may be, which can be mended.
            Err(StoreError::Compaction { .. }) if self.mend_all(log)? => self.try_to_compact(log),
            done => done,
        }
    }

    fn try_to_compact(&self, log: &CompactionLog) -> Result<bool, StoreError> {
        let Some(options) = &self.base.options.compaction else { return Ok(false) };
        let mut pass = log.pass.lock();
        self.finish_pass(log, &mut pass)?;
        let parts = log.parts();
        let Some((_, old)) = parts.split_last() else { return Ok(false) };
        let position = self.compaction.positions.lock().get(log.queue.topic(), log.queue.id());
        let is_new = |part: &&Arc<Part>| {
            let extent = part.extent();
            extent.count > 0 && extent.last as i64 > position
        };
        let new: Vec<_> = old.iter().filter(is_new).cloned().collect();
        if new.is_empty() || log.is_gone() {
            return Ok(false);
        }
        let mut latest = Latest::new(options.map_bytes_max);
        let complete = self.each_record(log, &new, &mut |record| {
            let queue_offset = record.queue_offset as u64;
            let wanted = record.queue_offset > position;
            Ok(!wanted || key_of(record).is_none_or(|key| latest.note(key, queue_offset)))
        })?;
        if !complete || latest.by_key.is_empty() {
            return Ok(false);
        }
        let placed = match self.write_kept(log, old, &latest) {
            Ok(Some(placed)) => placed,
            ended => {
                // What was written so far takes room, of a disk that may be full for it.
                let cleared = replace::clear(&*self.base.disk, &log.dirs);
                ended?;
                cleared.map_err(StoreError::io("clear", &log.dirs.below(COMPACTING).log))?;
                return Ok(false);
            }
        };
        if !self.replace_parts(log, &mut pass, &parts, placed)? {
            return Ok(false);
        }
        let mut positions = self.compaction.positions.lock();
        positions.set(log.queue.topic(), log.queue.id(), latest.last as i64);
        let saved = positions.save(&*self.base.disk);
        saved.map_err(StoreError::io("write", &positions.path))?;
        Ok(true)
    }

    /// Writes what is kept of old parts into new ones, durably; `None` if the store stops or the topic goes.
    fn write_kept(
        &self,
        log: &CompactionLog,
        old: &[Arc<Part>],
        latest: &Latest,
    ) -> Result<Option<Vec<Arc<Part>>>, StoreError> {
        let making = log.dirs.below(COMPACTING);
        let failed = |source| StoreError::Io { what: "write", path: making.log.clone(), source };
        replace::clear(&*self.base.disk, &log.dirs).map_err(failed)?;
        making
            .both()
            .into_iter()
            .try_for_each(|dir| disk::create_dirs(&*self.base.disk, dir))
            .map_err(failed)?;
        let sizes = self.compaction.sizes;
        let mut writer = Writer::new(&*self.base.disk, &making, &log.dirs, sizes, Vec::new());
        let complete = self.each_record(log, old, &mut |record| {
            if latest.keeps(record) {
                writer.push(record).map_err(failed)?;
            }
            Ok(true)
        })?;
        if !complete {
            return Ok(None);
        }
        writer.write().map_err(failed)?;
        let placed = writer.parts;
        placed.iter().try_for_each(|part| part.sync()).map_err(failed)?;
        Ok(Some(placed))
    }

    /// Puts the new parts into the place of all but the last of `before`; false if the topic is gone.
    fn replace_parts(
        &self,
        log: &CompactionLog,
        pass: &mut Pass,
        before: &Parts,
        placed: Vec<Arc<Part>>,
    ) -> Result<bool, StoreError> {
        let failed = |source| StoreError::Io { what: "replace files in", path: log.dirs.log.clone(), source };
        let _no_appends = log.followed.lock();
        if log.is_gone() {
            return Ok(false);
        }
        let now = log.parts();
        let (old, kept) = now.split_at(before.len() - 1);
        let names = |parts: &[Arc<Part>]| parts.iter().map(|part| part.name()).collect();
        let plan = Plan { removed: names(old), placed: names(&placed) };
        // Fewer messages need no more files, so that no new one has the name of one that stays.
        if placed.len() > old.len() {
            let source = std::io::Error::other("a compacted log is longer than before");
            return Err(failed(source));
        }
        replace::decide(&*self.base.disk, &log.dirs, &plan).map_err(failed)?;
        log.publish(placed.into_iter().chain(kept.iter().cloned()).collect());
        pass.unfinished = Some(plan);
        self.finish_pass(log, pass)?;
        Ok(true)
    }

    /// Carries out what an earlier pass has decided.
    pub(crate) fn finish_pass(&self, log: &CompactionLog, pass: &mut Pass) -> Result<(), StoreError> {
        if let Some(plan) = &pass.unfinished {
            let done = replace::carry_out(&*self.base.disk, &log.dirs, plan);
            done.map_err(StoreError::io("replace files in", &log.dirs.log))?;
            pass.unfinished = None;
        }
        Ok(())
    }

    /// Walks over the records of some parts until `take` says false; false if the store stops or the topic goes. While
    /// others append, it rests for as long as it has worked.
    fn each_record(
        &self,
        log: &CompactionLog,
        parts: &[Arc<Part>],
        take: &mut dyn FnMut(&Record<'_>) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let mut begun = (self.base.clock.monotonic(), self.log_end());
        let mut slice = 0;
        for part in parts {
            let extent = part.extent();
            let mut window = Window::new(extent.end);
            let mut units = part.walk_units();
            let mut at = part.log.base;
            while at < extent.end {
                let look =
                    look_in(&part.log, at, &mut window).map_err(StoreError::io("read", &part.log.path))?;
                let unit = units.next().map_err(StoreError::io("read the entries of", &part.log.path))?;
                let record = match look {
                    Look::Record(record) if is_sound(&record, unit, at, log) => record,
                    _ => return Err(damaged(part, at)),
                };
                at += record.bytes.len() as u64;
                slice += record.bytes.len() as u64;
                if !take(&record)? {
                    return Ok(true);
                }
                if slice >= SLICE_BYTES {
                    if log.is_gone() || self.compaction.signal.is_stopped() {
                        return Ok(false);
                    }
                    begun = self.rest_from_compaction(begun);
                    slice = 0;
                }
            }
        }
        Ok(true)
    }

    /// Rests for as long as was worked `since`, if somebody has appended meanwhile.
    pub(super) fn rest_from_compaction(&self, (since, log_end): (Duration, u64)) -> (Duration, u64) {
        let worked = self.base.clock.monotonic().saturating_sub(since);
        if self.log_end() != log_end && !worked.is_zero() {
            self.compaction.signal.pause(worked);
        }
        (self.base.clock.monotonic(), self.log_end())
    }
}

/// Whether a record is what its entry says, of this queue, and whole: what is copied is taken for that ever after.
fn is_sound(record: &Record<'_>, unit: Option<Unit>, at: u64, log: &CompactionLog) -> bool {
    let is_named = |unit: Unit| {
        (unit.position, unit.size as usize) == (at, record.bytes.len())
            && i64::try_from(unit.queue_offset) == Ok(record.queue_offset)
    };
    unit.is_some_and(is_named)
        && record.topic == &**log.queue.topic()
        && record.queue_id == log.queue.id()
        && record.verify_crc().is_ok()
}

/// A part with a damaged record stays as it is, with all others: what stands behind the damage would be lost.
fn damaged(part: &Part, at: u64) -> StoreError {
    StoreError::Compaction {
        path: part.log.path.clone(),
        what: format!("has a damaged record at {at}; nothing of this queue is compacted"),
        remedy: "restore the file from a backup; `thrust store verify` tells more",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_takes_what_it_knows_and_says_how_far_it_came() {
        let mut latest = Latest::new(2 * (ENTRY_BYTES + 1));
        assert!(latest.note("a", 0) && latest.note("b", 1) && latest.note("a", 2));
        assert!(!latest.note("c", 3));
        assert_eq!((latest.last, latest.by_key["a"], latest.by_key["b"]), (2, 2, 1));
        let mut tiny = Latest::new(0);
        assert!(tiny.note("a", 7) && !tiny.note("b", 8) && tiny.note("a", 9), "one key always fits");
    }
}
