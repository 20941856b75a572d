//! The timer log: one unit for each message that waits, chained backwards within its slot of the wheel
//! (store.md §15.3).

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use wire::record::MAGIC_BLANK;

use crate::disk::{self, Disk, File};
use crate::segment;

/// Bytes of a unit.
pub(crate) const UNIT_BYTES: u64 = 52;
/// Bytes of what ends a file.
const BLANK_BYTES: u64 = 16;
/// Bytes that are read at a time.
const READ_BYTES: u64 = 64 * 1024;

/// Set on every unit.
pub(crate) const MAGIC_DEFAULT: i32 = 1;
/// Due later than the wheel reaches: it is put back into the timer topic then.
pub(crate) const MAGIC_ROLL: i32 = 2;
/// Takes back another message of its slot.
pub(crate) const MAGIC_DELETE: i32 = 4;

/// One entry of the timer log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    /// The unit before it in the same slot.
    pub previous: Option<u64>,
    /// The bits above.
    pub magic: i32,
    /// Wall clock when it was written, rounded down to a slot.
    pub write_time: i64,
    /// The slot's time minus `write_time`.
    pub delay: i32,
    /// Where its message stands in the commit log.
    pub offset: u64,
    /// Bytes of its message.
    pub size: u32,
    /// Java's hash of the real topic.
    pub topic_hash: i32,
}

impl Unit {
    /// Beginning of the slot it belongs to.
    pub fn slot_time(&self) -> i64 {
        self.write_time.saturating_add(i64::from(self.delay))
    }

    /// Whether it takes back another message; one that is to be rolled does so later.
    pub fn deletes(&self) -> bool {
        self.magic & MAGIC_DELETE != 0 && !self.rolls()
    }

    /// Whether it goes back into the timer topic.
    pub fn rolls(&self) -> bool {
        self.magic & MAGIC_ROLL != 0
    }

    /// What it adds to the number of its slot.
    pub fn count(&self) -> i32 {
        if self.magic & MAGIC_DELETE != 0 { -1 } else { 1 }
    }

    fn encode(&self) -> [u8; UNIT_BYTES as usize] {
        let mut bytes = [0; UNIT_BYTES as usize];
        bytes[..4].copy_from_slice(&(UNIT_BYTES as i32).to_be_bytes());
        bytes[4..12].copy_from_slice(&self.previous.map_or(-1, |at| at as i64).to_be_bytes());
        bytes[12..16].copy_from_slice(&self.magic.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.write_time.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.delay.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.offset.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.size.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.topic_hash.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Unit> {
        let long = |at: usize| bytes.get(at..)?.first_chunk().map(|chunk| i64::from_be_bytes(*chunk));
        let int = |at: usize| bytes.get(at..)?.first_chunk().map(|chunk| i32::from_be_bytes(*chunk));
        let magic = int(12)?;
        // Java's own rule; it takes a magic of 0 for valid too.
        if int(0)? != UNIT_BYTES as i32 || magic | 0xF != 0xF {
            return None;
        }
        Some(Unit {
            previous: u64::try_from(long(4)?).ok(),
            magic,
            write_time: long(16)?,
            delay: int(24)?,
            offset: u64::try_from(long(28)?).ok()?,
            size: u32::try_from(int(36)?).ok()?,
            topic_hash: int(40)?,
        })
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.get(12..16).is_some_and(|magic| magic == MAGIC_BLANK.to_be_bytes())
}

struct Piece {
    base: u64,
    file: Arc<dyn File>,
}

/// The files, and where they end.
pub(crate) struct UnitLog {
    disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    file_bytes: u64,
    pieces: VecDeque<Piece>,
    /// Behind the last unit.
    end: u64,
    /// Units that are in no file yet; the first of them belongs at `end - unwritten.len()`.
    unwritten: Vec<u8>,
    /// Files that have units since the last sync.
    unsynced: Vec<Arc<dyn File>>,
}

impl UnitLog {
    /// Opens the files of a directory; where they end is for [`UnitLog::cut`] to say.
    pub fn open(disk: Arc<dyn Disk>, dir: PathBuf, file_bytes: u64) -> io::Result<UnitLog> {
        let mut pieces = VecDeque::new();
        for entry in disk.list(&dir)?.into_iter().filter(|entry| !entry.is_dir) {
            let base = segment::base_of(&entry.name).filter(|base| base % file_bytes == 0);
            let follows = |base: u64| pieces.back().is_none_or(|last: &Piece| last.base + file_bytes == base);
            // What a crash left of a file that was being made, or what follows a gap, holds nothing.
            let Some(base) = base.filter(|base| entry.len == file_bytes && follows(*base)) else {
                tracing::warn!(path = %dir.join(&entry.name).display(), "no file of the timer log; ignored");
                continue;
            };
            pieces.push_back(Piece { base, file: disk.open(&dir.join(&entry.name))? });
        }
        let end = pieces.front().map_or(0, |first: &Piece| first.base);
        Ok(UnitLog { disk, dir, file_bytes, pieces, end, unwritten: Vec::new(), unsynced: Vec::new() })
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// First position that is still there.
    pub fn min(&self) -> u64 {
        self.pieces.front().map_or(self.end, |first| first.base)
    }

    /// Behind the last file.
    pub fn files_end(&self) -> u64 {
        self.pieces.back().map_or(0, |last| last.base + self.file_bytes)
    }

    /// Behind the last unit.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Base of the file that holds a position.
    pub fn base_of(&self, at: u64) -> u64 {
        at / self.file_bytes * self.file_bytes
    }

    /// Everything from `end` on goes: later files, and bytes behind it in its own, durably.
    pub fn cut(&mut self, end: u64) -> io::Result<()> {
        self.unwritten.clear();
        self.end = end;
        let mut removed = false;
        while let Some(last) = self.pieces.back().filter(|last| last.base >= end && last.base > 0) {
            self.disk.remove(&segment::path_of(&self.dir, last.base))?;
            self.pieces.pop_back();
            removed = true;
        }
        if removed {
            self.disk.sync_dir(&self.dir)?;
        }
        match self.piece_at(end) {
            Some(piece) => {
                let from = end - piece.base;
                if !self.is_zero(&*piece.file, from)? {
                    piece.file.zero(from, self.file_bytes)?;
                }
                piece.file.sync_data()
            }
            None => Ok(()),
        }
    }

    /// Whether nothing stands behind a position, as far as a flush may have reached.
    fn is_zero(&self, file: &dyn File, from: u64) -> io::Result<bool> {
        let mut buffer = vec![0; READ_BYTES as usize];
        let mut at = from;
        while at < self.file_bytes {
            let len = buffer.len().min((self.file_bytes - at) as usize);
            file.read_at(&mut buffer[..len], at)?;
            if buffer[..len].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += len as u64;
        }
        Ok(true)
    }

    fn piece_at(&self, at: u64) -> Option<&Piece> {
        let place = at.checked_sub(self.pieces.front()?.base)? / self.file_bytes;
        self.pieces.get(usize::try_from(place).ok()?)
    }

    /// Adds a unit; gives its position. It is in memory until [`UnitLog::write`].
    pub fn append(&mut self, unit: &Unit) -> io::Result<u64> {
        let room = match self.piece_at(self.end) {
            Some(piece) => piece.base + self.file_bytes - self.end,
            None => 0,
        };
        if room < UNIT_BYTES + BLANK_BYTES {
            self.roll(room)?;
        }
        let at = self.end;
        self.unwritten.extend_from_slice(&unit.encode());
        self.end += UNIT_BYTES;
        Ok(at)
    }

    /// Ends the present file, of which `room` bytes are left, and begins the next.
    fn roll(&mut self, room: u64) -> io::Result<()> {
        self.write()?;
        if let Some(piece) = self.piece_at(self.end) {
            let mut blank = [0; BLANK_BYTES as usize];
            blank[..4].copy_from_slice(&(room as u32).to_be_bytes());
            blank[12..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
            piece.file.write_at(&blank, self.end - piece.base)?;
            self.unsynced.push(Arc::clone(&piece.file));
        }
        let base = match self.pieces.back() {
            Some(last) => last.base + self.file_bytes,
            None => self.base_of(self.end),
        };
        disk::create_dirs(&*self.disk, &self.dir)?;
        let file = self.disk.create(&segment::path_of(&self.dir, base), self.file_bytes)?;
        file.sync_data()?;
        self.disk.sync_dir(&self.dir)?;
        self.pieces.push_back(Piece { base, file });
        self.end = self.end.max(base);
        Ok(())
    }

    /// Hands the units to the operating system.
    pub fn write(&mut self) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let from = self.end - self.unwritten.len() as u64;
        let Some(piece) = self.piece_at(from) else { return Err(io::ErrorKind::NotFound.into()) };
        let file = Arc::clone(&piece.file);
        file.write_at(&self.unwritten, from - piece.base)?;
        self.unwritten.clear();
        if self.unsynced.last().is_none_or(|last| !Arc::ptr_eq(last, &file)) {
            self.unsynced.push(file);
        }
        Ok(())
    }

    /// Files to sync so that everything written is durable.
    pub fn take_unsynced(&mut self) -> Vec<Arc<dyn File>> {
        std::mem::take(&mut self.unsynced)
    }

    /// Calls `each` with every unit from `from` on; gives the position of what is none.
    pub fn scan(&self, from: u64, each: &mut dyn FnMut(u64, Unit)) -> io::Result<u64> {
        let mut at = from;
        let mut reader = Reader::default();
        while let Some(piece) = self.piece_at(at) {
            let until = piece.base + self.file_bytes;
            // Where no unit fits there is a blank.
            let over = until - at < UNIT_BYTES;
            let bytes = if over { &[] } else { reader.forward(self, at)? };
            if over || is_blank(bytes) {
                if self.piece_at(until).is_none() {
                    return Ok(at);
                }
                at = until;
                continue;
            }
            let Some(unit) = Unit::decode(bytes) else { return Ok(at) };
            each(at, unit);
            at += UNIT_BYTES;
        }
        Ok(at)
    }

    /// Whether there are files of which all but the last might go.
    pub fn has_full_files(&self) -> bool {
        self.pieces.len() > 1
    }

    /// Removes files whose messages are gone from the commit log (store.md §15.5) and that hold nothing from unit
    /// `needed` on; the last one stays. Only both together say that nobody reads there any more: a message that had to
    /// wait again stands behind those that came long after it.
    pub fn expire(&mut self, log_min: u64, needed: u64) -> io::Result<u32> {
        let mut removed = 0;
        let last_unit =
            self.file_bytes - (self.file_bytes - BLANK_BYTES) % UNIT_BYTES - BLANK_BYTES - UNIT_BYTES;
        while self.pieces.len() > 1 && self.pieces[1].base <= needed {
            let base = self.pieces[0].base;
            let unit = Reader::default().unit(self, base + last_unit)?;
            if unit.is_none_or(|unit| unit.offset >= log_min) {
                break;
            }
            self.disk.remove(&segment::path_of(&self.dir, base))?;
            self.pieces.pop_front();
            removed += 1;
        }
        if removed > 0 {
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(removed)
    }

    /// Removes everything.
    pub fn remove_all(&mut self) -> io::Result<()> {
        while let Some(last) = self.pieces.pop_back() {
            self.disk.remove(&segment::path_of(&self.dir, last.base))?;
        }
        self.end = 0;
        self.unwritten.clear();
        self.disk.sync_dir(&self.dir)
    }
}

/// Reads units block by block.
#[derive(Default)]
pub(crate) struct Reader {
    block: Vec<u8>,
    from: u64,
}

impl Reader {
    /// The unit at a position, on a way that leads back; `None` if there is none.
    pub fn unit(&mut self, log: &UnitLog, at: u64) -> io::Result<Option<Unit>> {
        if at >= log.end.max(log.files_end()) {
            return Ok(None);
        }
        let written = log.end - log.unwritten.len() as u64;
        if at >= written {
            let from = (at - written) as usize;
            return Ok(log.unwritten.get(from..).and_then(Unit::decode));
        }
        let Some(piece) = log.piece_at(at) else { return Ok(None) };
        let until = (at + UNIT_BYTES).min(piece.base + log.file_bytes);
        if !self.holds(at, until) {
            let from = until.saturating_sub(READ_BYTES).max(piece.base);
            self.fill(piece, from, until)?;
        }
        Ok(Unit::decode(&self.block[(at - self.from) as usize..]))
    }

    /// The bytes of the unit at a position, on a way that leads forward.
    fn forward(&mut self, log: &UnitLog, at: u64) -> io::Result<&[u8]> {
        let Some(piece) = log.piece_at(at) else { return Ok(&[]) };
        if !self.holds(at, at + UNIT_BYTES) {
            self.fill(piece, at, (at + READ_BYTES).min(piece.base + log.file_bytes))?;
        }
        let from = (at - self.from) as usize;
        Ok(&self.block[from..from + UNIT_BYTES as usize])
    }

    fn holds(&self, from: u64, until: u64) -> bool {
        from >= self.from && until <= self.from + self.block.len() as u64
    }

    fn fill(&mut self, piece: &Piece, from: u64, until: u64) -> io::Result<()> {
        self.block.resize((until - from) as usize, 0);
        self.from = from;
        let read = piece.file.read_at(&mut self.block, from - piece.base);
        if read.is_err() {
            self.block.clear();
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_the_bytes_of_the_specification() {
        let unit = Unit {
            previous: None,
            magic: MAGIC_DEFAULT | MAGIC_ROLL,
            write_time: 1_700_000_000_000,
            delay: 5000,
            offset: 4096,
            size: 123,
            topic_hash: 2_598_919,
        };
        let bytes = unit.encode();
        assert_eq!(bytes[..16], [0, 0, 0, 52, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 3]);
        assert_eq!(bytes[16..28], [0, 0, 1, 0x8B, 0xCF, 0xE5, 0x68, 0, 0, 0, 0x13, 0x88]);
        assert_eq!(bytes[28..44], [0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 123, 0, 0x27, 0xA8, 0x07]);
        assert_eq!(bytes[44..], [0; 8]);
        assert_eq!(Unit::decode(&bytes), Some(unit));
        assert_eq!(unit.slot_time(), 1_700_000_005_000);
        assert_eq!(Unit::decode(&[0; 52]), None);
        assert_eq!(Unit::decode(&bytes[..40]), None);
    }
}
