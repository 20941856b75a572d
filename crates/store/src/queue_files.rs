//! The files of all consume queues: `consumequeue/<topic>/<queueId>/<twenty digits>`, twenty bytes per entry, and
//! `batchconsumequeue/…` with 46 bytes per entry. Entries are counted by their place, from the first that ever was.
//!
//! Only a bounded number of them is open at a time. A segment is created when its first entry is written and never
//! before: Java takes an all-zero segment for one entry (store.md §24 T3).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::deletion::{self, Deletions};
use crate::disk::{self, Disk, File};
use crate::options::Options;
use crate::queue::{Extent, Queue};
use crate::queue_entry::QueueEntry;
use crate::queue_ext_files::ExtFiles;
use crate::queue_kind::{QueueKind, Unit};
use crate::records::Reach;
use crate::segment;
use crate::signal::Signal;

/// What all queues share.
pub(crate) struct QueueFiles {
    pub disk: Arc<dyn Disk>,
    /// Root of the store.
    root: PathBuf,
    /// Entries per segment, of simple queues and of batch queues.
    segment_entries: [u64; 2],
    /// Whether the records of all queues end with a CRC over all of them.
    pub append_prop_crc: bool,
    /// Whether messages are put into the light queues that they name.
    pub multi_dispatch: bool,
    /// Whether records are to be found by their keys.
    pub indexed: bool,
    /// What entries have no room for.
    pub ext: ExtFiles,
    /// Topics that were deleted and of which files are left.
    pub deletions: Deletions,
    log_min: Arc<AtomicU64>,
    serial: AtomicU64,
    open: Mutex<OpenFiles>,
    /// Queues with something to write. Queues hold this, so what holds them here would keep both for ever.
    dirty: Mutex<Vec<Weak<Queue>>>,
    /// Queues whose tail is long.
    long: Mutex<Vec<Weak<Queue>>>,
    unsynced: Mutex<Unsynced>,
    /// Bytes of all tails.
    waiting: AtomicU64,
    /// Why tails were not written the last time that was tried.
    failure: Mutex<Option<String>>,
    /// A file that should be there was missed.
    incomplete: AtomicBool,
    /// Raised when a queue has something to write.
    pub signal: Signal,
    /// Raised when the tail of a queue has become too long to wait for the next round.
    pub urgent: Signal,
}

/// Open files by queue and first entry, least recently used ones closed first.
pub(crate) struct OpenFiles {
    files: HashMap<(u64, u64), (Arc<dyn File>, u64)>,
    tick: u64,
    max: usize,
}

/// Files written since the last sync.
#[derive(Default)]
pub(crate) struct Unsynced {
    /// By path, with whether it is new; in an order that a test can repeat.
    files: BTreeMap<PathBuf, bool>,
    /// More than are worth syncing one by one.
    many: bool,
}

/// Why files are not durable.
pub(crate) enum NotSynced {
    /// One could not be opened for it, such as when there are too many open files: nothing has failed that would not be
    /// told to who asks again.
    Unopened(io::Error),
    /// A sync failed: what is on the disk is unknown.
    Failed(io::Error),
}

impl From<io::Error> for NotSynced {
    fn from(error: io::Error) -> NotSynced {
        // To be synced, a directory is opened.
        if disk::is_out_of_files(&error) { NotSynced::Unopened(error) } else { NotSynced::Failed(error) }
    }
}

/// Bytes of a file that are looked at together.
const CHUNK_BYTES: u64 = 4096;

/// Above this many files one sync of the whole file system is cheaper.
const UNSYNCED_FILES_MAX: usize = 64;

/// Where a segment is made, among the directories of topics: Java passes over plain files there, and no topic has a
/// dot in its name.
const BEGINNING: &str = "segment.new";

impl QueueFiles {
    pub fn new(disk: Arc<dyn Disk>, options: &Options, log_min: Arc<AtomicU64>, ext: ExtFiles) -> QueueFiles {
        let Options { queue_segment_entries, batch_queue_segment_entries, .. } = *options;
        QueueFiles {
            disk,
            root: options.root.clone(),
            segment_entries: [queue_segment_entries, batch_queue_segment_entries].map(u64::from),
            append_prop_crc: options.append_prop_crc,
            multi_dispatch: options.multi_dispatch,
            indexed: options.index_enabled,
            ext,
            deletions: Deletions::default(),
            log_min,
            serial: AtomicU64::new(0),
            open: Mutex::new(OpenFiles::new(options.open_queue_files_max)),
            dirty: Mutex::new(Vec::new()),
            long: Mutex::new(Vec::new()),
            unsynced: Mutex::new(Unsynced::default()),
            waiting: AtomicU64::new(0),
            failure: Mutex::new(None),
            incomplete: AtomicBool::new(false),
            signal: Signal::default(),
            urgent: Signal::default(),
        }
    }

    pub fn log_min(&self) -> u64 {
        self.log_min.load(Ordering::Acquire)
    }

    pub fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    pub fn list_dirty(&self, queue: &Arc<Queue>) {
        self.dirty.lock().push(Arc::downgrade(queue));
        self.signal.raise();
    }

    /// Has the tail of this queue written soon.
    pub fn urge(&self, queue: &Arc<Queue>) {
        self.long.lock().push(Arc::downgrade(queue));
        self.urgent.raise();
    }

    /// Bytes of queue entries that only memory holds.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Counts bytes that a tail has got.
    pub fn add_waiting(&self, bytes: u64) {
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that have left a tail.
    pub fn take_waiting(&self, bytes: u64) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Why tails could not be written, as long as they cannot.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// Notes whether tails could be written.
    pub fn set_failure(&self, failure: Option<String>) {
        *self.failure.lock() = failure;
    }

    /// The queues whose tail is long, taken off their list.
    pub fn take_long(&self) -> impl Iterator<Item = Arc<Queue>> + use<> {
        self.urgent.take();
        alive(&self.long)
    }

    /// The queues that have something to write, taken off the list; each is to be unlisted before it is written.
    pub fn take_dirty(&self) -> impl Iterator<Item = Arc<Queue>> + use<> {
        self.signal.take();
        alive(&self.dirty)
    }

    /// Directory of all queues of a kind.
    pub fn root(&self, kind: QueueKind) -> PathBuf {
        self.root.join(kind.dir())
    }

    /// Entries of a segment.
    pub fn segment_entries(&self, kind: QueueKind) -> u64 {
        self.segment_entries[kind as usize]
    }

    /// Bytes of a segment.
    fn segment_bytes(&self, kind: QueueKind) -> u64 {
        self.segment_entries(kind) * kind.entry_bytes() as u64
    }

    /// Directory of one queue.
    pub fn dir_of(&self, queue: &Queue) -> PathBuf {
        self.dir_named(queue.kind(), queue.topic(), queue.id())
    }

    /// Directory of the queue of that name.
    pub fn dir_named(&self, kind: QueueKind, topic: &str, id: u32) -> PathBuf {
        self.root(kind).join(topic).join(id.to_string())
    }

    /// First entry of the segment that holds the entry of a place.
    pub fn segment_start(&self, kind: QueueKind, place: u64) -> u64 {
        let entries = self.segment_entries(kind);
        place / entries * entries
    }

    fn path_of(&self, queue: &Queue, start: u64) -> PathBuf {
        segment::path_of(&self.dir_of(queue), start * queue.kind().entry_bytes() as u64)
    }

    /// Whether a file was missed, or one is left that should not be there; then the next start must look into all of
    /// them.
    pub fn are_odd(&self) -> bool {
        self.incomplete.load(Ordering::Acquire) || self.deletions.are_unfinished()
    }

    /// The error for a file that should hold entries and is not there.
    pub fn missing(&self, queue: &Queue, start: u64) -> io::Error {
        if !self.incomplete.swap(true, Ordering::AcqRel) {
            // The next round takes the table of queues away.
            self.signal.raise();
        }
        let path = self.path_of(queue, start);
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} is missing; restart the broker, which rebuilds it from the log", path.display()),
        )
    }

    /// Reads at most `wanted` entries from `from` on, not going over the end of a segment; 0 if the file is gone,
    /// `None` if they are on disk and `reach` is not so far.
    pub fn read(
        &self,
        reach: Reach,
        queue: &Queue,
        from: u64,
        wanted: u64,
        out: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let (kind, entry_bytes) = (queue.kind(), queue.kind().entry_bytes());
        let start = self.segment_start(kind, from);
        let count = wanted.min(start + self.segment_entries(kind) - from) as usize;
        let Some(file) = self.file(queue, start)? else { return Ok(Some(0)) };
        let (out, at) = (&mut out[..count * entry_bytes], (from - start) * entry_bytes as u64);
        Ok(reach.read(&*file, out, at)?.then_some(count))
    }

    /// Writes entries from `from` on, creating segments as they begin.
    pub fn write(&self, queue: &Queue, from: u64, entries: &[u8]) -> io::Result<()> {
        let (kind, entry_bytes) = (queue.kind(), queue.kind().entry_bytes());
        let (mut at, mut rest) = (from, entries);
        while !rest.is_empty() {
            let start = self.segment_start(kind, at);
            let room = (start + self.segment_entries(kind) - at) as usize * entry_bytes;
            let (now, later) = rest.split_at(room.min(rest.len()));
            match self.file(queue, start)? {
                Some(file) => {
                    file.write_at(now, (at - start) * entry_bytes as u64)?;
                    self.note_write(self.path_of(queue, start), false);
                }
                None if at > start && queue.span().0 < at => return Err(self.missing(queue, start)),
                None => self.create(queue, start, at, now)?,
            }
            at += (now.len() / entry_bytes) as u64;
            rest = later;
        }
        Ok(())
    }

    /// Creates a segment with its first entries; those before entry `first` stand for nothing.
    ///
    /// It gets its name when the entries are in it: a crash, or a disk without space, must not leave a segment of
    /// zeros. Nor can it be made under another name beside the others, where Java knows numbers only.
    fn create(&self, queue: &Queue, start: u64, first: u64, entries: &[u8]) -> io::Result<()> {
        let (kind, path) = (queue.kind(), self.path_of(queue, start));
        self.disk.create_dir_all(&self.dir_of(queue))?;
        let beginning = self.root(kind).join(BEGINNING);
        // After a power cut the name may stand beside the one that the last segment got.
        self.disk.remove(&beginning)?;
        let file = self.disk.create(&beginning, self.segment_bytes(kind))?;
        // Only a simple queue can begin within a segment.
        if first > start && kind == QueueKind::Simple {
            let filler = QueueEntry::PRE_BLANK.encode().repeat((first - start) as usize);
            file.write_at(&filler, 0)?;
        }
        file.write_at(entries, (first - start) * kind.entry_bytes() as u64)?;
        self.disk.rename(&beginning, &path)?;
        self.note_write(path, true);
        self.open.lock().insert((queue.serial, start), file);
        Ok(())
    }

    fn file(&self, queue: &Queue, start: u64) -> io::Result<Option<Arc<dyn File>>> {
        OpenFiles::find(&self.open, (queue.serial, start), || {
            let file = self.disk.open(&self.path_of(queue, start))?;
            // A crash may have kept the name of a new file and not its length.
            let bytes = self.segment_bytes(queue.kind());
            if file.len()? < bytes {
                file.set_len(bytes)?;
            }
            Ok(file)
        })
    }

    /// Notes a file that must be synced before the entries written so far count as durable.
    pub fn note_write(&self, path: PathBuf, created: bool) {
        let mut unsynced = self.unsynced.lock();
        if unsynced.files.len() >= UNSYNCED_FILES_MAX && !unsynced.files.contains_key(&path) {
            unsynced.many = true;
        } else {
            *unsynced.files.entry(path).or_default() |= created;
        }
    }

    /// What was written since the last call of this.
    pub fn take_unsynced(&self) -> Unsynced {
        std::mem::take(&mut *self.unsynced.lock())
    }

    /// Whether anything written is not synced.
    pub fn has_unsynced(&self) -> bool {
        let unsynced = self.unsynced.lock();
        unsynced.many || !unsynced.files.is_empty()
    }

    /// Notes again what could not be synced.
    pub fn put_back(&self, unsynced: Unsynced) {
        self.unsynced.lock().many |= unsynced.many;
        unsynced.files.into_iter().for_each(|(path, created)| self.note_write(path, created));
    }

    /// Makes what `take_unsynced` gave durable.
    pub fn sync(&self, unsynced: &Unsynced) -> Result<(), NotSynced> {
        if unsynced.many {
            for kind in QueueKind::ALL {
                self.sync_tree(&self.root(kind))?;
            }
            if self.ext.are_present() {
                self.sync_tree(&self.ext.root)?;
            }
            return Ok(());
        }
        for (path, created) in &unsynced.files {
            match self.disk.open(path) {
                Ok(file) => file.sync_data()?,
                // The topic was deleted, or the segment expired.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(NotSynced::Unopened(error)),
            }
            if *created {
                // The queue's directory and the three above it may be as new as the file.
                for dir in path.ancestors().skip(1).take(4) {
                    disk::sync_dir_if_there(&*self.disk, dir)?;
                }
            }
        }
        Ok(())
    }

    fn sync_tree(&self, root: &Path) -> io::Result<()> {
        match self.disk.sync_tree(root) {
            // A store without a single queue has no directory of queues.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Notes that all files may have changed: recovery trimmed them.
    pub fn note_all(&self) {
        self.unsynced.lock().many = true;
    }

    /// Removes the segment with entry `place` durably. One at a time: a power cut may keep later changes of a directory
    /// and lose earlier ones, and what is left must not have a hole.
    pub fn remove(&self, queue: &Queue, place: u64) -> io::Result<()> {
        let start = self.segment_start(queue.kind(), place);
        self.open.lock().remove((queue.serial, start));
        self.disk.remove(&self.path_of(queue, start))?;
        self.disk.sync_dir(&self.dir_of(queue))
    }

    /// The offset behind the last entry in the files of a queue, be it damaged, that does not lead to `position` of the
    /// log or behind; 0 if there is none. What damaged entries of a batch queue stand for nothing tells.
    pub fn end_before(&self, queue: &Queue, position: u64) -> io::Result<u64> {
        let (kind, dir) = (queue.kind(), self.dir_of(queue));
        let entry_bytes = kind.entry_bytes() as u64;
        let end_of = |place: u64, bytes: &[u8]| match Unit::decode(kind, place, bytes) {
            Some(unit) => (unit.entry.physical_offset < position).then(|| unit.until()),
            None => (kind == QueueKind::Simple && bytes.iter().any(|&byte| byte != 0)).then_some(place + 1),
        };
        let names = self.disk.list(&dir)?;
        let of_segments = names.iter().filter(|entry| !entry.is_dir && entry.len == self.segment_bytes(kind));
        let bases: Vec<u64> = of_segments.filter_map(|entry| segment::base_of(&entry.name)).collect();
        for base in bases.into_iter().rev() {
            let file = self.disk.open(&segment::path_of(&dir, base))?;
            let mut until = self.segment_entries(kind);
            while until > 0 {
                let from = until.saturating_sub(CHUNK_BYTES / entry_bytes);
                let mut chunk = vec![0; ((until - from) * entry_bytes) as usize];
                file.read_at(&mut chunk, from * entry_bytes)?;
                let places = (base / entry_bytes + from)..;
                let mut entries = places.zip(chunk.chunks_exact(kind.entry_bytes())).collect::<Vec<_>>();
                entries.reverse();
                if let Some(end) = entries.into_iter().find_map(|(place, bytes)| end_of(place, bytes)) {
                    return Ok(end);
                }
                until = from;
            }
        }
        Ok(0)
    }

    /// Closes the files of a queue that is deleted.
    pub fn close(&self, queue: &Queue) {
        self.open.lock().remove_all_of(queue.serial);
        self.ext.close(queue);
    }

    /// Removes all files of a queue and its directory.
    pub fn remove_all(&self, queue: &Queue) -> io::Result<()> {
        self.open.lock().remove_all_of(queue.serial);
        deletion::remove_queue(&*self.disk, &self.dir_of(queue))
    }

    /// Whether no entry stands at a place.
    pub fn is_blank_at(&self, queue: &Queue, place: u64) -> io::Result<bool> {
        let mut entry = vec![0; queue.kind().entry_bytes()];
        let count = self.read(Reach::Disk, queue, place, 1, &mut entry)?;
        Ok(count == Some(0) || entry.iter().all(|&byte| byte == 0))
    }

    /// Clears whatever the files of a queue hold from the entry of place `from` on.
    pub fn trim(&self, queue: &Queue, from: u64) -> io::Result<()> {
        let (dir, entry_bytes) = (self.dir_of(queue), queue.kind().entry_bytes() as u64);
        let start = self.segment_start(queue.kind(), from);
        for entry in self.disk.list(&dir)?.iter().rev() {
            let Some(base) = segment::base_of(&entry.name) else { continue };
            let first = base / entry_bytes;
            // A segment without a single entry would count as one for Java, so it goes as a whole.
            if first > start || (first == start && from == start) {
                self.open.lock().remove((queue.serial, first));
                self.disk.remove(&dir.join(&entry.name))?;
            } else if first == start
                && let Some(file) = self.file(queue, start)?
            {
                file.zero((from - start) * entry_bytes, self.segment_bytes(queue.kind()))?;
            }
        }
        Ok(())
    }
}

/// Empties a list of queues; gives those that are still there. Of a deleted topic there may be none left.
fn alive(list: &Mutex<Vec<Weak<Queue>>>) -> impl Iterator<Item = Arc<Queue>> + use<> {
    std::mem::take(&mut *list.lock()).into_iter().filter_map(|queue| queue.upgrade())
}

impl OpenFiles {
    /// Room for `max` files, at least one.
    pub fn new(max: usize) -> OpenFiles {
        OpenFiles { files: HashMap::new(), tick: 0, max: max.max(1) }
    }

    pub fn remove(&mut self, key: (u64, u64)) {
        self.files.remove(&key);
    }

    pub fn remove_all_of(&mut self, queue_serial: u64) {
        self.files.retain(|(serial, _), _| *serial != queue_serial);
    }

    /// The file of that key, which `open` opens if it is not open yet; `None` if there is none.
    pub fn find(
        files: &Mutex<OpenFiles>,
        key: (u64, u64),
        open: impl FnOnce() -> io::Result<Arc<dyn File>>,
    ) -> io::Result<Option<Arc<dyn File>>> {
        if let Some(file) = files.lock().get(key) {
            return Ok(Some(file));
        }
        match open() {
            Ok(file) => {
                files.lock().insert(key, file.clone());
                Ok(Some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn get(&mut self, key: (u64, u64)) -> Option<Arc<dyn File>> {
        self.tick += 1;
        let (file, used) = self.files.get_mut(&key)?;
        *used = self.tick;
        Some(file.clone())
    }

    pub fn insert(&mut self, key: (u64, u64), file: Arc<dyn File>) {
        if self.files.len() >= self.max && !self.files.contains_key(&key) {
            // Close the older half at once: one pass over the table per max / 2 openings.
            let mut ticks: Vec<u64> = self.files.values().map(|(_, used)| *used).collect();
            let middle = ticks.len() / 2;
            let (_, median, _) = ticks.select_nth_unstable(middle);
            let median = *median;
            self.files.retain(|_, (_, used)| *used > median);
        }
        self.tick += 1;
        self.files.insert(key, (file, self.tick));
    }
}

/// What loading a queue's directory found.
pub(crate) struct Found {
    /// Entries that are in files and point below the position asked for.
    pub extent: Extent,
    /// There is something in the files behind them.
    pub has_more: bool,
    /// The files do not form a queue: it must be rebuilt.
    pub damaged: bool,
}

/// Looks which entries of a queue's files point below `position` in the log; nothing is changed.
///
/// Everything below a durable position is in the files in order; what is behind may have holes and rests, so
/// it is not looked at further and dispatched again.
pub(crate) fn find(files: &QueueFiles, kind: QueueKind, dir: &Path, position: u64) -> io::Result<Found> {
    let mut found = Found { extent: Extent::default(), has_more: false, damaged: false };
    let (entry_bytes, segment_bytes) = (kind.entry_bytes() as u64, files.segment_bytes(kind));
    let segment_entries = files.segment_entries(kind);
    let entries: Vec<_> = files.disk.list(dir)?.into_iter().filter(|entry| !entry.is_dir).collect();
    let mut starts: Vec<u64> = Vec::with_capacity(entries.len());
    for (i, entry) in entries.iter().enumerate() {
        if entry.len == 0 && i + 1 == entries.len() {
            found.has_more = true;
            continue;
        }
        if !segment::is_name(&entry.name) {
            tracing::warn!(path = %dir.join(&entry.name).display(), "no segment of a queue; ignored");
            continue;
        }
        let base = segment::base_of(&entry.name).filter(|base| base % segment_bytes == 0);
        let start = base.map(|base| base / entry_bytes);
        let follows = |start: u64| starts.last().is_none_or(|last| last + segment_entries == start);
        match start.filter(|start| follows(*start) && entry.len == segment_bytes) {
            Some(start) => starts.push(start),
            None => found.damaged = true,
        }
    }
    let extent = &mut found.extent;
    extent.first = starts.first().copied().unwrap_or(0);
    *extent = Extent::simple(extent.first, extent.first);
    for start in starts.into_iter().rev() {
        let file = files.disk.open(&segment::path_of(dir, start * entry_bytes))?;
        let (count, more) = count_below(&*file, kind, segment_entries, position)?;
        found.has_more |= more;
        if count > 0 {
            *extent = Extent::simple(extent.first, start + count);
            if kind == QueueKind::Batch {
                let mut last = vec![0; kind.entry_bytes()];
                file.read_at(&mut last, (count - 1) * entry_bytes)?;
                extent.next = Unit::decode(kind, 0, &last).map_or(0, |unit| unit.until());
            }
            return Ok(found);
        }
        found.has_more = true;
    }
    if kind == QueueKind::Batch {
        // Nothing says where the numbers of a batch queue without an entry begin.
        extent.next = 0;
    }
    Ok(found)
}

/// How many entries at the front of a chunk point below `position`. Entries ascend: one that goes back was torn while
/// it was overwritten with zeros, and its place is a part of what it was.
fn count_ascending(chunk: &[u8], kind: QueueKind, position: u64) -> u64 {
    let (mut count, mut last) = (0, 0);
    for unit in chunk.chunks_exact(kind.entry_bytes()).map_while(|entry| Unit::decode(kind, 0, entry)) {
        let place = unit.entry.physical_offset;
        if !unit.entry.is_pre_blank() {
            if !(last..position).contains(&place) {
                break;
            }
            last = place;
        }
        count += 1;
    }
    count
}

/// How many entries at the front of a segment point below `position`, and whether something stands behind them.
fn count_below(file: &dyn File, kind: QueueKind, entries: u64, position: u64) -> io::Result<(u64, bool)> {
    let entry_bytes = kind.entry_bytes();
    let chunk_entries = CHUNK_BYTES / entry_bytes as u64;
    let mut buffer = [0; CHUNK_BYTES as usize];
    let mut chunk = |from: u64| -> io::Result<(u64, bool, bool)> {
        let len = chunk_entries.min(entries - from) as usize * entry_bytes;
        file.read_at(&mut buffer[..len], from * entry_bytes as u64)?;
        let below = count_ascending(&buffer[..len], kind, position);
        let rest = &buffer[below as usize * entry_bytes..len];
        Ok((below, rest.is_empty(), rest.iter().any(|&byte| byte != 0)))
    };
    // Most queues are light: their first chunk tells all.
    let (below, full, more) = chunk(0)?;
    if !full {
        return Ok((below, more));
    }
    // Whole chunks from `low` on are not known to be below; `high` is known to hold one that is not.
    let (mut low, mut high) = (1, entries.div_ceil(chunk_entries));
    while low < high {
        let middle = low + (high - low) / 2;
        let (below, full, _) = chunk(middle * chunk_entries)?;
        if full {
            low = middle + 1;
        } else if below > 0 {
            low = middle;
            break;
        } else {
            high = middle;
        }
    }
    if low * chunk_entries >= entries {
        return Ok((entries, false));
    }
    let (below, _, more) = chunk(low * chunk_entries)?;
    Ok((low * chunk_entries + below, more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue_entry::ENTRY_BYTES;

    #[test]
    fn an_entry_that_was_torn_while_it_was_cleared_is_none() {
        let entry = |physical_offset| QueueEntry { physical_offset, size: 200, tags_code: 7 }.encode();
        let mut chunk =
            [QueueEntry::PRE_BLANK.encode(), entry(68_000), entry(68_200), entry(70_000)].concat();
        assert_eq!(count_ascending(&chunk, QueueKind::Simple, 70_001), 4);
        assert_eq!(count_ascending(&chunk, QueueKind::Simple, 70_000), 3);
        // 70,000 is 01 11 70: without its first six bytes an entry of the beginning of the log.
        chunk[3 * ENTRY_BYTES..3 * ENTRY_BYTES + 6].fill(0);
        assert_eq!(count_ascending(&chunk, QueueKind::Simple, 70_000), 3);
    }
}
