//! The journal of queue entries: all that came since the table of queues was written, one behind the other in one
//! file, so that a start after a kill takes them from there instead of reading the log again.
//!
//! A round over very many queues takes seconds, and on a busy disk a minute; until one ends, no position of the log is
//! known before which all entries are in queue files. What the journal holds is read back at a hundred times the speed
//! of the log. It is written every tenth of a second and never synced: it counts after a kill, while the machine has
//! not restarted, and every other start removes it (`docs/formats.md`).
//!
//! Nothing depends on it. What could not be written, or came while too much was in it, is left out, and recovery reads
//! the log from there on: each block says from where to where it holds every entry.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::{self, Base};
use crate::disk::{self, Disk, File};
use crate::dispatch;
use crate::error::StoreError;
use crate::queue::Queue;
use crate::queue_entry::QueueEntry;
use crate::queue_kind::Unit;
use crate::queues::Queues;
use crate::sealed::{self, Fields};
use crate::segment;
use crate::signal::Signal;

const MAGIC: &[u8; 8] = b"ThrustJ1";
/// Bytes of an entry: the number of its queue, and all that a unit is.
const ENTRY_BYTES: usize = 4 + 8 + 4 + 8 + 8 + 8 + 4;
/// Of the entries that the journal may hold, one part in so many may wait to be written.
const WAITING_SHARE: u64 = 4;
/// Memory that is kept between two blocks.
const KEPT_ENTRIES: usize = 1 << 14;

/// The journal of a store.
pub(crate) struct Journal {
    /// Raised when something was appended.
    pub signal: Signal,
    pub state: Mutex<Pieces>,
}

impl Journal {
    pub fn new(pieces: Pieces) -> Journal {
        Journal { signal: Signal::default(), state: Mutex::new(pieces) }
    }

    /// Writes the entries that came since the last time. `exchange` takes room for those that come next, leaves what
    /// has come, and tells how far that reaches. An error leaves them out of the journal, which makes a start after a
    /// kill slower and nothing else.
    pub fn step(
        &self,
        base: &Base,
        queues: &Queues,
        exchange: impl FnOnce(&mut Fresh) -> base::Moment,
    ) -> Result<(), StoreError> {
        let mut pieces = self.state.lock();
        let mut fresh = std::mem::take(&mut pieces.spare);
        // With few queues a round that writes them ends soon, and no message pays for this.
        let wanted = queues.are_at_least(base.options.queue_journal_queues_min);
        fresh.max = if wanted { pieces.room().max } else { 0 };
        let moment = exchange(&mut fresh);
        let flushed = base.flushed_until();
        let upto = Upto { position: moment.mark.position, timestamp: moment.timestamp, flushed };
        let written = pieces.write(&*base.disk, &mut fresh, upto);
        pieces.spare = fresh;
        written.map_err(StoreError::io("write to", &pieces.dir))
    }

    /// Lets the journal know that the table of queues was written for this position of the log.
    pub fn roll(&self, disk: &dyn Disk, table: u64) {
        if let Err(error) = self.state.lock().roll(disk, table) {
            tracing::warn!(%error, "cannot remove an old journal of queues");
        }
    }

    /// Removes the journal at a clean stop. Should that fail the next start does it.
    pub fn stop(&self, disk: &dyn Disk) {
        let mut pieces = self.state.lock();
        let position = pieces.position;
        let removed = pieces.begin_at(disk, position).and_then(|()| pieces.remove_empty_dir(disk));
        if let Err(error) = removed {
            tracing::warn!(%error, "cannot remove the journal of queues");
        }
    }
}

/// An entry with its queue.
type Entry = (Arc<Queue>, Unit);

/// Takes an entry that the journal has for a queue.
type Take<'a> = dyn FnMut(&Arc<Queue>, &Unit) -> Result<(), StoreError> + 'a;

/// Entries on their way into the journal, in the order of their records. By default there is room for none.
#[derive(Default)]
pub(crate) struct Fresh {
    entries: Vec<Entry>,
    max: usize,
    /// There were more of them.
    overflowed: bool,
}

impl Fresh {
    /// Adds the entry that a queue has got.
    pub fn add(&mut self, queue: &Arc<Queue>, unit: &Unit) {
        if self.overflowed {
            return;
        }
        if self.entries.len() < self.max {
            self.entries.push((queue.clone(), *unit));
        } else {
            self.entries = Vec::new();
            self.overflowed = true;
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.entries.shrink_to(KEPT_ENTRIES);
        self.overflowed = false;
    }
}

/// How far the log had come when a block was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Upto {
    /// The block holds the entries of records before this.
    pub position: u64,
    /// Store time of the last record before it, Unix milliseconds.
    pub timestamp: i64,
    /// The log was durable up to here.
    pub flushed: u64,
}

/// The journal's files. Each holds blocks without a gap between them, and is named by where the first one begins.
pub(crate) struct Pieces {
    dir: PathBuf,
    /// Bytes of all files; above this nothing is written until the queues have been.
    bytes_max: u64,
    /// Oldest first; where each begins, and its bytes.
    pieces: Vec<(u64, u64)>,
    /// The last one, if blocks are added to it.
    open: Option<Open>,
    /// The next block begins here.
    position: u64,
    /// Exchanged for what the appender has collected.
    spare: Fresh,
}

/// The file that is being written.
struct Open {
    file: Arc<dyn File>,
    /// The numbers that queues have in it, by their serial numbers.
    numbers: HashMap<u64, u32>,
}

impl Pieces {
    /// The files below `root`, from whatever time they are.
    pub fn load(disk: &dyn Disk, root: &Path, bytes_max: u64) -> io::Result<Pieces> {
        let dir = root.join("queuejournal");
        let entries = disk.list(&dir)?;
        let named = |entry: &disk::Entry| Some((segment::base_of(&entry.name)?, entry.len));
        let pieces = entries.iter().filter_map(named).collect();
        let mut loaded = Pieces { dir, bytes_max, pieces, open: None, position: 0, spare: Fresh::default() };
        loaded.spare = loaded.room();
        Ok(loaded)
    }

    /// Room for entries that wait for the next block.
    pub fn room(&self) -> Fresh {
        let max = self.bytes_max / (WAITING_SHARE * ENTRY_BYTES as u64);
        Fresh { max: max as usize, ..Fresh::default() }
    }

    /// Removes all files; the next block begins at `position`.
    pub fn begin_at(&mut self, disk: &dyn Disk, position: u64) -> io::Result<()> {
        self.open = None;
        self.position = position;
        self.remove_where(disk, |_| true)
    }

    /// Removes the directory if nothing is in it.
    fn remove_empty_dir(&self, disk: &dyn Disk) -> io::Result<()> {
        let is_empty = disk.stat(&self.dir)?.is_some() && disk.list(&self.dir)?.is_empty();
        if is_empty { disk.remove_dir(&self.dir) } else { Ok(()) }
    }

    /// Calls `each` with the entries behind those that the queues have, which have come to `known`, as far as there are
    /// any without a gap and within the log's files, which end at `files_end`; gives how far they go. The journal goes
    /// on from there. Files whose entries are all of records before `kept_from` are removed.
    pub fn replay(
        &mut self,
        disk: &dyn Disk,
        queues: &Queues,
        known: Upto,
        (kept_from, files_end): (u64, u64),
        each: &mut Take<'_>,
    ) -> Result<Upto, StoreError> {
        let mut upto = known;
        for (begins, _) in &self.pieces {
            if *begins > upto.position {
                break;
            }
            let path = segment::path_of(&self.dir, *begins);
            match disk::read_all(disk, &path) {
                Ok(bytes) => {
                    upto = replay_piece(&bytes.unwrap_or_default(), queues, upto, files_end, each)?;
                }
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "the journal of queues cannot be read; reading the log instead");
                    break;
                }
            }
        }
        self.position = upto.position;
        let removed = self
            .remove_where(disk, |begins| begins >= upto.position)
            .and_then(|()| self.forget(disk, kept_from));
        removed.map_err(StoreError::io("remove files of", &self.dir))?;
        Ok(upto)
    }

    /// Notes that the table of queues counts for this position of the log: older files go, and the next block begins
    /// a new one.
    pub fn roll(&mut self, disk: &dyn Disk, table: u64) -> io::Result<()> {
        self.open = None;
        self.forget(disk, table)
    }

    /// Removes files whose entries are all of records before `position`.
    fn forget(&mut self, disk: &dyn Disk, position: u64) -> io::Result<()> {
        let behind: Vec<u64> = self.pieces.iter().skip(1).map(|(begins, _)| *begins).collect();
        let needed = behind.partition_point(|begins| *begins <= position);
        let keep_from = self.pieces.get(needed).map_or(0, |(begins, _)| *begins);
        self.remove_where(disk, |begins| begins < keep_from)
    }

    fn remove_where(&mut self, disk: &dyn Disk, goes: impl Fn(u64) -> bool) -> io::Result<()> {
        for (begins, _) in self.pieces.iter().filter(|(begins, _)| goes(*begins)) {
            disk.remove(&segment::path_of(&self.dir, *begins))?;
        }
        self.pieces.retain(|(begins, _)| !goes(*begins));
        Ok(())
    }

    /// Writes the fresh entries as a block up to a position, or leaves them out where they have no room.
    pub fn write(&mut self, disk: &dyn Disk, fresh: &mut Fresh, upto: Upto) -> io::Result<()> {
        let from = std::mem::replace(&mut self.position, upto.position);
        if from == upto.position {
            return Ok(());
        }
        let held: u64 = self.pieces.iter().map(|(_, bytes)| bytes).sum();
        let outcome = if fresh.overflowed || held > self.bytes_max {
            self.open = None;
            Ok(())
        } else {
            self.write_block(disk, &fresh.entries, from, upto)
        };
        fresh.clear();
        if outcome.is_err() {
            // What comes next must not stand behind a part of this.
            self.open = None;
        }
        outcome
    }

    fn write_block(&mut self, disk: &dyn Disk, entries: &[Entry], from: u64, upto: Upto) -> io::Result<()> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                disk.create_dir_all(&self.dir)?;
                let file = disk.create(&segment::path_of(&self.dir, from), 0)?;
                // One of that name holds nothing that counts.
                self.pieces.retain(|(begins, _)| *begins != from);
                self.pieces.push((from, 0));
                self.open.insert(Open { file, numbers: HashMap::new() })
            }
        };
        let Some((_, at)) = self.pieces.last_mut() else { return Ok(()) };
        let block = encode(&mut open.numbers, entries, from, upto);
        open.file.write_at(&block, *at)?;
        *at += block.len() as u64;
        Ok(())
    }
}

/// A block: its length, and behind that, sealed, from where to where it holds the entries of the log, the queues that
/// the file has not named before, and the entries.
fn encode(numbers: &mut HashMap<u64, u32>, entries: &[Entry], from: u64, upto: Upto) -> Vec<u8> {
    let mut block = Vec::with_capacity(64 + entries.len() * ENTRY_BYTES);
    let (mut names, mut named) = (Vec::new(), 0u32);
    let mut encoded = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for (queue, unit) in entries {
        let next = numbers.len() as u32;
        let number = *numbers.entry(queue.serial).or_insert(next);
        if number == next {
            named += 1;
            names.extend_from_slice(&(queue.topic().len() as u32).to_be_bytes());
            names.extend_from_slice(queue.topic().as_bytes());
            names.extend_from_slice(&queue.id().to_be_bytes());
        }
        encoded.extend_from_slice(&number.to_be_bytes());
        encoded.extend_from_slice(&unit.entry.encode());
        sealed::put(&mut encoded, &[unit.base, unit.store_timestamp.cast_unsigned()]);
        encoded.extend_from_slice(&(unit.count as u32).to_be_bytes());
    }
    block.extend_from_slice(MAGIC);
    sealed::put(&mut block, &[from, upto.position, upto.timestamp.cast_unsigned(), upto.flushed]);
    block.extend_from_slice(&named.to_be_bytes());
    block.extend_from_slice(&names);
    block.extend_from_slice(&encoded);
    sealed::seal(&mut block);
    let len = block.len() as u32;
    block.splice(0..0, len.to_be_bytes());
    block
}

/// A block as it is read.
struct Block<'a> {
    from: u64,
    upto: Upto,
    /// The queues that are named here first, with topic and number.
    names: Vec<(&'a str, u32)>,
    entries: &'a [u8],
}

impl<'a> Block<'a> {
    /// Takes the block at the front of `bytes`; `None` if there is no sound one.
    fn take(bytes: &mut &'a [u8]) -> Option<Block<'a>> {
        let mut outer = Fields::of(bytes);
        let len = outer.u32()? as usize;
        let block = outer.bytes(len)?;
        let mut fields = Fields::unseal(block, 0, MAGIC)?;
        let from = fields.u64()?;
        let upto = Upto { position: fields.u64()?, timestamp: fields.i64()?, flushed: fields.u64()? };
        let mut names = Vec::new();
        for _ in 0..fields.u32()? {
            let len = fields.u32()? as usize;
            let topic = std::str::from_utf8(fields.bytes(len)?).ok()?;
            names.push((topic, fields.u32()?));
        }
        *bytes = &bytes[4 + len..];
        Some(Block { from, upto, names, entries: fields.rest() })
    }

    /// Its entries, each with the number of its queue.
    fn units(&self) -> impl Iterator<Item = (usize, Unit)> {
        self.entries.chunks_exact(ENTRY_BYTES).map_while(|bytes| {
            let mut fields = Fields::of(bytes);
            let number = fields.u32()? as usize;
            let entry = QueueEntry::decode(fields.bytes(crate::queue_entry::ENTRY_BYTES)?)?;
            let (base, store_timestamp) = (fields.u64()?, fields.i64()?);
            Some((number, Unit { entry, store_timestamp, base, count: u64::from(fields.u32()?) }))
        })
    }
}

/// A queue of a file, looked up when its first entry is met: of a topic that was deleted there may be none that counts.
struct Named<'a> {
    topic: &'a str,
    id: u32,
    queue: Option<Arc<Queue>>,
}

fn replay_piece(
    mut bytes: &[u8],
    queues: &Queues,
    mut upto: Upto,
    files_end: u64,
    each: &mut Take<'_>,
) -> Result<Upto, StoreError> {
    let mut named: Vec<Named<'_>> = Vec::new();
    while let Some(block) = Block::take(&mut bytes) {
        named.extend(block.names.iter().map(|(topic, id)| Named { topic, id: *id, queue: None }));
        let reached = upto.position;
        if block.from > reached || block.upto.position > files_end {
            break;
        }
        if block.upto.position <= reached {
            continue;
        }
        for (number, unit) in block.units().filter(|(_, unit)| unit.entry.physical_offset >= reached) {
            let Some(Named { topic, id, queue }) = named.get_mut(number) else { continue };
            if dispatch::is_safe_topic(topic) {
                each(queue.get_or_insert_with(|| queues.get(topic, *id)), &unit)?;
            }
        }
        upto = block.upto;
    }
    Ok(upto)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::options::Options;
    use crate::queue::Extent;
    use crate::queue_ext_files::ExtFiles;
    use crate::queue_files::QueueFiles;
    use crate::queue_kind::QueueKind;

    fn queues() -> Vec<Arc<Queue>> {
        let disk = Arc::new(RealDisk);
        let ext = ExtFiles::new(disk.clone(), PathBuf::new(), 1, true).unwrap();
        let files = Arc::new(QueueFiles::new(disk, &Options::new(""), Arc::default(), ext));
        let queue = |topic: &str, id| {
            Arc::new(Queue::new(files.clone(), QueueKind::Simple, topic.into(), id, Extent::default()))
        };
        vec![queue("a", 0), queue("a", 3), queue("ä", 1)]
    }

    fn unit(physical_offset: u64, base: u64) -> Unit {
        let entry = QueueEntry { physical_offset, size: 100, tags_code: -7 };
        Unit { entry, store_timestamp: 1_700_000_000_001, base, count: 9 }
    }

    const UPTO: Upto = Upto { position: 700, timestamp: 5, flushed: 600 };

    #[test]
    fn blocks_name_each_queue_once_in_a_file() {
        let (queues, mut numbers) = (queues(), HashMap::new());
        let first = [
            (queues[1].clone(), unit(0, 0)),
            (queues[0].clone(), unit(100, 4)),
            (queues[1].clone(), unit(200, 9)),
        ];
        let second = [(queues[2].clone(), unit(700, 1)), (queues[0].clone(), unit(800, 13))];
        let mut file = encode(&mut numbers, &first, 0, UPTO);
        file.extend(encode(&mut numbers, &second, 700, Upto { position: 900, ..UPTO }));
        let mut rest = &file[..];
        let block = Block::take(&mut rest).unwrap();
        assert_eq!((block.from, block.upto, block.names.clone()), (0, UPTO, vec![("a", 3), ("a", 0)]));
        let units: Vec<_> = block.units().collect();
        assert_eq!(units, [(0, unit(0, 0)), (1, unit(100, 4)), (0, unit(200, 9))]);
        let block = Block::take(&mut rest).unwrap();
        assert_eq!((block.from, block.upto.position, block.names.clone()), (700, 900, vec![("ä", 1)]));
        assert_eq!(block.units().collect::<Vec<_>>(), [(2, unit(700, 1)), (1, unit(800, 13))]);
        assert!(rest.is_empty() && Block::take(&mut rest).is_none());
    }

    #[test]
    fn a_flipped_bit_or_a_missing_end_voids_a_block() {
        let bytes = encode(&mut HashMap::new(), &[(queues()[0].clone(), unit(0, 0))], 0, UPTO);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Block::take(&mut &changed[..]).is_none(), "byte {at}");
            assert!(Block::take(&mut &bytes[..at]).is_none(), "{at} bytes");
        }
    }
}
