//! The timer wheel: for each slot of time, which units of the timer log are due in it (store.md §15.2).
//!
//! What is pending is kept in memory, one small entry for each slot that has something; the file is read when the
//! store opens and written by flushes alone. A slot is written only after the units that it points to are durable.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{self, Disk, File};

/// Bytes of a slot in the file.
const SLOT_BYTES: usize = 32;
/// Bytes that are read at a time.
const READ_BYTES: u64 = 1 << 20;

/// A slot that has something: the ends of its chain of units in the timer log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Position of its first unit.
    pub first: u64,
    /// Position of its last unit, from which the chain leads back.
    pub last: u64,
    /// Messages in it; a unit that deletes another counts as minus one.
    pub num: i32,
}

/// The slots that have something. Never locked while the disk is waited for: senders ask how much is in a slot.
#[derive(Default)]
pub(crate) struct Slots {
    /// By the time at which a slot begins.
    by_time: BTreeMap<i64, Slot>,
    /// Messages in all slots.
    pending: i64,
}

impl Slots {
    /// The slot that begins at `time`.
    pub fn get(&self, time: i64) -> Option<Slot> {
        self.by_time.get(&time).copied()
    }

    /// The first slot from `from` on that has something.
    pub fn next_from(&self, from: i64) -> Option<i64> {
        self.by_time.range(from..).next().map(|(time, _)| *time)
    }

    fn put(&mut self, time: i64, slot: Slot) {
        self.remove(time);
        self.pending += i64::from(slot.num);
        self.by_time.insert(time, slot);
    }

    fn remove(&mut self, time: i64) {
        if let Some(slot) = self.by_time.remove(&time) {
            self.pending -= i64::from(slot.num);
        }
    }
}

/// The slots that are not over yet.
pub(crate) struct Wheel {
    disk: Arc<dyn Disk>,
    pub path: PathBuf,
    /// Milliseconds of a slot.
    precision: i64,
    /// Slots in the file: twice as many as the wheel turns through.
    ring: u64,
    slots: Arc<Mutex<Slots>>,
    /// What the file does not have yet.
    changed: BTreeSet<i64>,
    /// Whether the file is there.
    made: bool,
}

/// Slots on their way to the file.
pub(crate) struct Writing {
    times: Vec<i64>,
    slots: BTreeMap<u64, [u8; SLOT_BYTES]>,
}

impl Wheel {
    /// A wheel without content, whatever the file holds.
    pub fn empty(disk: Arc<dyn Disk>, path: PathBuf, precision: i64, slots: u64) -> Wheel {
        Wheel {
            disk,
            path,
            precision,
            ring: slots * 2,
            slots: Arc::default(),
            changed: BTreeSet::new(),
            made: false,
        }
    }

    /// Reads the slots from time `from` on. False if there is no file; one of another length is an error.
    pub fn load(&mut self, from: i64) -> io::Result<bool> {
        let Some(stat) = self.disk.stat(&self.path)? else { return Ok(false) };
        if stat.len == 0 {
            return Ok(false);
        }
        if stat.len != self.file_bytes() {
            let text = format!("it has {} bytes, a timer wheel has {}", stat.len, self.file_bytes());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let file = self.disk.open(&self.path)?;
        let mut buffer = vec![0; READ_BYTES.min(stat.len) as usize];
        let mut at = 0;
        while at < stat.len {
            let len = buffer.len().min((stat.len - at) as usize);
            file.read_at(&mut buffer[..len], at)?;
            for (number, bytes) in buffer[..len].chunks_exact(SLOT_BYTES).enumerate() {
                let index = at / SLOT_BYTES as u64 + number as u64;
                if let Some((time, slot)) = self.decode(bytes, index).filter(|(time, _)| *time >= from) {
                    self.slots.lock().put(time, slot);
                }
            }
            at += len as u64;
        }
        self.made = true;
        Ok(true)
    }

    fn file_bytes(&self) -> u64 {
        self.ring * SLOT_BYTES as u64
    }

    fn index_of(&self, time: i64) -> u64 {
        (time / self.precision) as u64 % self.ring
    }

    /// A slot of the file, `None` if it says nothing or stands where it cannot.
    fn decode(&self, bytes: &[u8], index: u64) -> Option<(i64, Slot)> {
        let long = |at: usize| bytes.get(at..)?.first_chunk().map(|chunk| i64::from_be_bytes(*chunk));
        let time = long(0)?.checked_mul(self.precision).filter(|time| *time > 0)?;
        let (first, last) = (u64::try_from(long(8)?).ok()?, u64::try_from(long(16)?).ok()?);
        let num = i32::from_be_bytes(*bytes.get(24..)?.first_chunk()?);
        (self.index_of(time) == index).then_some((time, Slot { first, last, num }))
    }

    fn encode(&self, time: i64) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        if let Some(slot) = self.get(time) {
            bytes[..8].copy_from_slice(&(time / self.precision).to_be_bytes());
            bytes[8..16].copy_from_slice(&slot.first.to_be_bytes());
            bytes[16..24].copy_from_slice(&slot.last.to_be_bytes());
            bytes[24..28].copy_from_slice(&slot.num.to_be_bytes());
        }
        bytes
    }

    /// The slot that begins at `time`.
    pub fn get(&self, time: i64) -> Option<Slot> {
        self.slots.lock().get(time)
    }

    /// Sets a slot; `None` empties it.
    pub fn put(&mut self, time: i64, slot: Option<Slot>) {
        let mut slots = self.slots.lock();
        match slot {
            Some(slot) => slots.put(time, slot),
            None => slots.remove(time),
        }
        self.changed.insert(time);
    }

    /// Drops a slot that is over. The file keeps it: what was not checkpointed may need it again.
    pub fn forget(&mut self, time: i64) {
        self.slots.lock().remove(time);
        self.changed.remove(&time);
    }

    /// The first slot from `from` on that has something.
    pub fn next_from(&self, from: i64) -> Option<i64> {
        self.slots.lock().next_from(from)
    }

    /// Forgets all slots.
    pub fn clear(&mut self) {
        *self.slots.lock() = Slots::default();
        self.changed.clear();
    }

    /// All slots that have something, in order, as they are now.
    pub fn all(&self) -> impl Iterator<Item = (i64, Slot)> + use<> {
        self.slots.lock().by_time.clone().into_iter()
    }

    /// The slots, for who looks at them without holding the wheel.
    pub fn slots(&self) -> Arc<Mutex<Slots>> {
        Arc::clone(&self.slots)
    }

    /// The numbers of all slots together: messages, less what takes messages back.
    pub fn pending(&self) -> i64 {
        self.slots.lock().pending
    }

    /// The first unit that a slot leads to.
    pub fn first_unit(&self) -> Option<u64> {
        self.slots.lock().by_time.values().map(|slot| slot.first).min()
    }

    /// Whether the file lacks slots, or is not there: without it a checkpoint would be taken for a lost wheel.
    pub fn wants_file(&self) -> bool {
        !self.changed.is_empty() || !self.made
    }

    /// How far ahead of the first slot that is not over another may be: the ring must not run into itself.
    pub fn reach(&self) -> i64 {
        self.ring as i64 / 2 * self.precision
    }

    /// Takes what the file does not have yet.
    pub fn take_changed(&mut self) -> Writing {
        let times: Vec<i64> = std::mem::take(&mut self.changed).into_iter().collect();
        let slots = times.iter().map(|time| (self.index_of(*time), self.encode(*time))).collect();
        Writing { times, slots }
    }

    /// Puts back what could not be written.
    pub fn keep(&mut self, writing: Writing) {
        self.changed.extend(writing.times);
    }

    /// The wheel's file, made if there is none of the right length.
    pub fn file(&mut self) -> io::Result<Arc<dyn File>> {
        let file = match self.disk.stat(&self.path)? {
            Some(stat) if stat.len == self.file_bytes() => self.disk.open(&self.path)?,
            _ => self.create()?,
        };
        self.made = true;
        Ok(file)
    }

    /// Makes an empty file, in place of one that may be there.
    pub fn create(&self) -> io::Result<Arc<dyn File>> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        disk::create_dirs(&*self.disk, dir)?;
        let file = self.disk.create(&self.path, self.file_bytes())?;
        file.sync_data()?;
        self.disk.sync_dir(dir)?;
        Ok(file)
    }
}

impl Writing {
    /// Writes the slots durably, neighbours together.
    pub fn write(&self, file: &dyn File) -> io::Result<()> {
        let mut run: Vec<u8> = Vec::new();
        let mut start = 0;
        for (index, bytes) in &self.slots {
            if start + (run.len() / SLOT_BYTES) as u64 != *index {
                write_run(file, start, &run)?;
                run.clear();
                start = *index;
            }
            run.extend_from_slice(bytes);
        }
        write_run(file, start, &run)?;
        file.sync_data()
    }
}

fn write_run(file: &dyn File, start: u64, run: &[u8]) -> io::Result<()> {
    if run.is_empty() { Ok(()) } else { file.write_at(run, start * SLOT_BYTES as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn a_slot_has_the_bytes_of_the_specification() {
        let mut wheel = Wheel::empty(Arc::new(RealDisk), PathBuf::new(), 1000, 604_800);
        let time = 1_700_000_000_000;
        let slot = Slot { first: 52, last: 104, num: 2 };
        wheel.put(time, Some(slot));
        let bytes = wheel.encode(time);
        assert_eq!(bytes[..8], 1_700_000_000i64.to_be_bytes());
        assert_eq!(bytes[8..28], [0, 0, 0, 0, 0, 0, 0, 52, 0, 0, 0, 0, 0, 0, 0, 104, 0, 0, 0, 2]);
        assert_eq!(wheel.index_of(time), 1_700_000_000 % 1_209_600);
        assert_eq!(wheel.decode(&bytes, wheel.index_of(time)), Some((time, slot)));
        assert_eq!(wheel.decode(&bytes, 7), None, "a slot in another's place");
        assert_eq!(wheel.decode(&[0; 32], 0), None);
        assert_eq!(wheel.decode(&[0xFF; 32], 0), None);
        assert_eq!(wheel.file_bytes(), 38_707_200);
        wheel.put(time, None);
        assert_eq!((wheel.encode(time), wheel.pending()), ([0; 32], 0));
    }
}
