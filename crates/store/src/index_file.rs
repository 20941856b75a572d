//! One key index file in Java's layout (store.md §6): a header, a table of slots, entries chained per slot.
//!
//! Entries are collected in memory and written in order; changed slots are kept by page and written when the file
//! is flushed. After a crash in between, slots and header mean nothing. Entries, once written, never change, and each
//! names the one before it in its slot: from the first so many that are known to be durable the file is made whole.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::options::Options;

pub(crate) const HEADER_BYTES: u64 = 40;
const SLOT_BYTES: u64 = 4;
pub(crate) const ENTRY_BYTES: usize = 20;
const PAGE_SLOTS: usize = 1024;
/// Entries are written when this many bytes of them are waiting.
const PENDING_BYTES: usize = 64 * 1024;
/// Entries that are read together when slots are made from them.
const LINKED_TOGETHER: usize = 4096;
/// Entries that are chained together. Each slot lies anywhere in 20 MB, mostly in no cache: asked for one behind the
/// other, each would be waited for; asked for together, the processor waits for several at once.
const CHAINED_TOGETHER: usize = 64;
/// Entries that are read together where a chain is followed: about a page.
const WALKED_TOGETHER: u32 = 200;

/// Whether a file is named as index files are: by the seventeen digits of when it was made.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() == 17 && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// The first forty bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Header {
    pub begin_timestamp: i64,
    pub end_timestamp: i64,
    pub begin_offset: i64,
    pub end_offset: i64,
    pub slots_used: i32,
    /// Index of the next entry; entry 0 is never used.
    pub count: i32,
}

impl Header {
    pub fn decode(bytes: &[u8; HEADER_BYTES as usize]) -> Header {
        let long = |at: usize| bytes[at..].first_chunk().map_or(0, |chunk| i64::from_be_bytes(*chunk));
        let int = |at: usize| bytes[at..].first_chunk().map_or(0, |chunk| i32::from_be_bytes(*chunk));
        Header {
            begin_timestamp: long(0),
            end_timestamp: long(8),
            begin_offset: long(16),
            end_offset: long(24),
            slots_used: int(32),
            count: int(36).max(1),
        }
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        let longs = [self.begin_timestamp, self.end_timestamp, self.begin_offset, self.end_offset];
        for (place, value) in bytes.chunks_exact_mut(8).zip(longs) {
            place.copy_from_slice(&value.to_be_bytes());
        }
        bytes[32..36].copy_from_slice(&self.slots_used.to_be_bytes());
        bytes[36..].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }
}

/// What an entry says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub hash: u32,
    /// Physical offset of the record.
    pub offset: i64,
    /// Store time of the record, seconds after the header's first.
    pub seconds: i32,
    /// The entry before this one in its slot, 0 for none.
    pub previous: i32,
}

/// Where an entry names the one before it.
const PREVIOUS: std::ops::Range<usize> = 16..20;

impl Entry {
    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..4].copy_from_slice(&self.hash.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[PREVIOUS].copy_from_slice(&self.previous.to_be_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; ENTRY_BYTES]) -> Entry {
        let int = |at: usize| bytes[at..].first_chunk().map_or(0, |chunk| i32::from_be_bytes(*chunk));
        let offset = bytes[4..].first_chunk().map_or(0, |chunk| i64::from_be_bytes(*chunk));
        Entry { hash: int(0) as u32, offset, seconds: int(12), previous: int(16) }
    }
}

/// Numbers that shape index files; they are not recorded in them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub slots: u32,
    pub entries: u32,
}

impl Shape {
    /// The shape of a store's index files.
    pub fn of(options: &Options) -> Shape {
        Shape { slots: options.index_slots.max(1), entries: options.index_entries.max(2) }
    }

    /// Length of a file.
    pub fn bytes(&self) -> u64 {
        HEADER_BYTES + u64::from(self.slots) * SLOT_BYTES + u64::from(self.entries) * ENTRY_BYTES as u64
    }

    pub fn entry_at(&self, index: u32) -> u64 {
        HEADER_BYTES + u64::from(self.slots) * SLOT_BYTES + u64::from(index) * ENTRY_BYTES as u64
    }
}

/// An index file; reading needs no more than this, writing fills the buffers.
pub(crate) struct IndexFile {
    pub path: PathBuf,
    file: Arc<dyn File>,
    shape: Shape,
    pub header: Header,
    pages: Vec<Option<Box<Page>>>,
    pending: Vec<u8>,
    /// Index of the first pending entry.
    pending_from: u32,
    /// So many of the pending entries are in the chains of their slots.
    chained: usize,
    changed: bool,
    /// Header and slots stay as they are in the file; what is new of them is in memory only.
    held: bool,
}

struct Page {
    slots: [u32; PAGE_SLOTS],
    changed: bool,
}

impl IndexFile {
    pub fn create(disk: &dyn Disk, path: PathBuf, shape: Shape) -> io::Result<IndexFile> {
        let file = disk.create(&path, shape.bytes())?;
        Ok(IndexFile::new(file, path, shape, Header { count: 1, ..Header::default() }))
    }

    pub fn open(disk: &dyn Disk, path: PathBuf, shape: Shape) -> io::Result<IndexFile> {
        let file = disk.open(&path)?;
        let mut bytes = [0; HEADER_BYTES as usize];
        file.read_at(&mut bytes, 0)?;
        Ok(IndexFile::new(file, path, shape, Header::decode(&bytes)))
    }

    fn new(file: Arc<dyn File>, path: PathBuf, shape: Shape, header: Header) -> IndexFile {
        let pages = Vec::new();
        let pending_from = header.count as u32;
        IndexFile {
            path,
            file,
            shape,
            header,
            pages,
            pending: Vec::new(),
            pending_from,
            chained: 0,
            changed: false,
            held: false,
        }
    }

    /// Whether no entry can be added.
    pub fn is_full(&self) -> bool {
        self.header.count as u32 >= self.shape.entries
    }

    /// Adds an entry, which queries find after [`IndexFile::chain`]. The caller has looked that there is room.
    pub fn put(&mut self, hash: u32, offset: u64, timestamp: i64) -> io::Result<()> {
        if self.pending.len() >= PENDING_BYTES {
            self.write_pending()?;
        } else if self.pending.len() >= (self.chained + CHAINED_TOGETHER) * ENTRY_BYTES {
            self.chain()?;
        }
        let header = &mut self.header;
        if header.count <= 1 {
            header.begin_offset = offset as i64;
            header.begin_timestamp = timestamp;
        }
        let age = timestamp.saturating_sub(header.begin_timestamp);
        let seconds = if header.begin_timestamp > 0 { age / 1000 } else { 0 };
        let seconds = seconds.clamp(0, i64::from(i32::MAX)) as i32;
        header.count += 1;
        header.end_offset = offset as i64;
        header.end_timestamp = timestamp;
        let entry = Entry { hash, offset: offset as i64, seconds, previous: 0 };
        self.pending.extend_from_slice(&entry.encode());
        self.changed = true;
        Ok(())
    }

    /// Puts the entries that were added since the last time at the heads of the chains of their slots. After an error
    /// those that are left are tried again by the next call.
    pub fn chain(&mut self) -> io::Result<()> {
        let end = self.pending.len() / ENTRY_BYTES;
        for at in self.chained..end {
            // Only so that the slot is on its way here.
            std::hint::black_box(*self.slot(self.pending_hash(at))?);
        }
        for at in self.chained..end {
            let number = self.pending_from + at as u32;
            let slot = self.slot(self.pending_hash(at))?;
            // A number that no entry before this one has is left from before a crash.
            let previous = Some(std::mem::replace(slot, number)).filter(|previous| *previous < number);
            let previous = previous.unwrap_or(0);
            // A header that was damaged may say any number.
            self.header.slots_used = self.header.slots_used.saturating_add(i32::from(previous == 0));
            self.pending[at * ENTRY_BYTES..][PREVIOUS].copy_from_slice(&previous.to_be_bytes());
            self.chained = at + 1;
        }
        Ok(())
    }

    fn pending_hash(&self, at: usize) -> u32 {
        self.pending[at * ENTRY_BYTES..].first_chunk().map_or(0, |hash| u32::from_be_bytes(*hash))
    }

    /// The page of a slot, read from the file at its first use.
    fn page(&mut self, slot: u32) -> io::Result<&mut Page> {
        let number = slot as usize / PAGE_SLOTS;
        if self.pages.is_empty() {
            self.pages.resize_with((self.shape.slots as usize).div_ceil(PAGE_SLOTS), || None);
        }
        let place = &mut self.pages[number];
        if place.is_none() {
            let first = number * PAGE_SLOTS;
            let len = PAGE_SLOTS.min(self.shape.slots as usize - first);
            let mut bytes = [0; PAGE_SLOTS * SLOT_BYTES as usize];
            let bytes = &mut bytes[..len * SLOT_BYTES as usize];
            self.file.read_at(bytes, HEADER_BYTES + first as u64 * SLOT_BYTES)?;
            let mut page = Box::new(Page { slots: [0; PAGE_SLOTS], changed: false });
            for (slot, bytes) in page.slots.iter_mut().zip(bytes.chunks_exact(4)) {
                // Negative numbers in the file count as nothing.
                let value = bytes.first_chunk().map_or(0, |chunk| i32::from_be_bytes(*chunk));
                *slot = value.max(0) as u32;
            }
            *place = Some(page);
        }
        place.as_deref_mut().ok_or_else(|| io::ErrorKind::Other.into())
    }

    /// The slot of a hash, to be written.
    fn slot(&mut self, hash: u32) -> io::Result<&mut u32> {
        let slot = hash % self.shape.slots;
        let page = self.page(slot)?;
        page.changed = true;
        Ok(&mut page.slots[slot as usize % PAGE_SLOTS])
    }

    fn write_pending(&mut self) -> io::Result<()> {
        self.chain()?;
        self.file.write_at(&self.pending, self.shape.entry_at(self.pending_from))?;
        self.pending_from += (self.pending.len() / ENTRY_BYTES) as u32;
        self.pending.clear();
        self.chained = 0;
        Ok(())
    }

    /// From now on nothing is written that counts by the header as it is on the disk: whoever finds the file finds it
    /// as it is now. Its changed slots stay in memory for as long as it is open.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Writes everything to the file and gives the memory back.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.held {
            return self.write_pending();
        }
        if self.changed {
            self.write_pending()?;
            let mut bytes = [0; PAGE_SLOTS * SLOT_BYTES as usize];
            for (number, page) in self.pages.iter_mut().enumerate() {
                let Some(page) = page.as_deref_mut().filter(|page| page.changed) else { continue };
                let first = number * PAGE_SLOTS;
                let len = PAGE_SLOTS.min(self.shape.slots as usize - first);
                for (place, slot) in bytes.chunks_exact_mut(4).zip(&page.slots) {
                    place.copy_from_slice(&slot.to_be_bytes());
                }
                let at = HEADER_BYTES + first as u64 * SLOT_BYTES;
                self.file.write_at(&bytes[..len * SLOT_BYTES as usize], at)?;
                page.changed = false;
            }
            self.file.write_at(&self.header.encode(), 0)?;
            self.changed = false;
        }
        self.pages = Vec::new();
        self.pending = Vec::new();
        Ok(())
    }

    /// Writes the entries that wait and gives the file, whose next sync makes them durable.
    pub fn write_entries(&mut self) -> io::Result<Arc<dyn File>> {
        if !self.pending.is_empty() {
            self.write_pending()?;
        }
        Ok(self.file.clone())
    }

    /// Goes back to when the file had this header, if the first and the last of its entries say so too. False leaves
    /// it as it was. Queries find nothing before [`IndexFile::link`].
    pub fn go_back_to(&mut self, header: Header) -> io::Result<bool> {
        let count = header.count as u32;
        if count <= 1 || count > self.shape.entries {
            return Ok(false);
        }
        let fits = self.entry_in_file(1)?.offset == header.begin_offset
            && self.entry_in_file(count - 1)?.offset == header.end_offset;
        if fits {
            (self.header, self.pending_from) = (header, count);
        }
        Ok(fits)
    }

    /// Makes all slots anew from the entries that the header counts, and clears what was written behind these. False,
    /// and nothing is changed, if the entries do not hold together. Takes the memory of all slots meanwhile.
    pub fn link(&mut self) -> io::Result<bool> {
        let Some(slots) = self.slots_of_entries()? else { return Ok(false) };
        self.write_slots(&slots)?;
        self.file.zero(self.shape.entry_at(self.header.count as u32), self.shape.bytes())?;
        self.file.write_at(&self.header.encode(), 0)?;
        Ok(true)
    }

    /// The slots as the entries make them, `None` if an entry names another one before it than there is, or the header
    /// other sums.
    fn slots_of_entries(&self) -> io::Result<Option<Vec<u32>>> {
        let count = self.header.count as u32;
        let mut slots = vec![0; self.shape.slots as usize];
        let (mut used, mut last) = (0, self.header.begin_offset);
        let mut bytes = vec![0; LINKED_TOGETHER * ENTRY_BYTES];
        let mut next = 1;
        while next < count {
            let together = (count - next).min(LINKED_TOGETHER as u32);
            let bytes = &mut bytes[..together as usize * ENTRY_BYTES];
            self.file.read_at(bytes, self.shape.entry_at(next))?;
            for (index, bytes) in (next..).zip(bytes.as_chunks::<ENTRY_BYTES>().0) {
                let entry = Entry::decode(bytes);
                let slot = &mut slots[(entry.hash % self.shape.slots) as usize];
                if entry.previous as u32 != *slot || entry.offset < last {
                    return Ok(None);
                }
                used += i32::from(*slot == 0);
                (*slot, last) = (index, entry.offset);
            }
            next += together;
        }
        Ok((used == self.header.slots_used && last == self.header.end_offset).then_some(slots))
    }

    /// Writes those pages of slots that are others in the file.
    fn write_slots(&self, slots: &[u32]) -> io::Result<()> {
        let mut new = Vec::with_capacity(PAGE_SLOTS * SLOT_BYTES as usize);
        let mut old = Vec::new();
        for (number, page) in slots.chunks(PAGE_SLOTS).enumerate() {
            new.clear();
            new.extend(page.iter().flat_map(|slot| slot.to_be_bytes()));
            old.resize(new.len(), 0);
            let at = HEADER_BYTES + (number * PAGE_SLOTS) as u64 * SLOT_BYTES;
            self.file.read_at(&mut old, at)?;
            if old != new {
                self.file.write_at(&new, at)?;
            }
        }
        Ok(())
    }

    fn entry_in_file(&self, index: u32) -> io::Result<Entry> {
        let mut bytes = [0; ENTRY_BYTES];
        self.file.read_at(&mut bytes, self.shape.entry_at(index))?;
        Ok(Entry::decode(&bytes))
    }

    /// Whether memory holds what the file does not.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Number of the newest entry in the slot of a hash, 0 if there is none.
    pub fn newest(&self, hash: u32) -> io::Result<u32> {
        let index = self.slot_for_reading(hash % self.shape.slots)?;
        Ok(if index < self.header.count as u32 { index } else { 0 })
    }

    /// A slot without keeping its page in memory, unless it is there.
    fn slot_for_reading(&self, slot: u32) -> io::Result<u32> {
        if let Some(Some(page)) = self.pages.get(slot as usize / PAGE_SLOTS) {
            return Ok(page.slots[slot as usize % PAGE_SLOTS]);
        }
        let mut bytes = [0; 4];
        self.file.read_at(&mut bytes, HEADER_BYTES + u64::from(slot) * SLOT_BYTES)?;
        Ok(i32::from_be_bytes(bytes).max(0) as u32)
    }

    /// An entry that the header counts. `block` keeps what was read with the one before.
    pub fn entry(&self, index: u32, block: &mut Block) -> io::Result<Entry> {
        if index < self.pending_from {
            return block.entry(self, index);
        }
        let mut bytes = [0; ENTRY_BYTES];
        let at = (index - self.pending_from) as usize * ENTRY_BYTES;
        if let Some(pending) = self.pending.get(at..at + ENTRY_BYTES) {
            bytes.copy_from_slice(pending);
        }
        Ok(Entry::decode(&bytes))
    }
}

/// Entries of a file that were read together. Who goes along the chain of a key that many messages have meets most of
/// the entries before the one that was asked for.
#[derive(Default)]
pub(crate) struct Block {
    /// Which file they are of, and the number of the first.
    path: PathBuf,
    first: u32,
    bytes: Vec<u8>,
}

impl Block {
    fn entry(&mut self, file: &IndexFile, index: u32) -> io::Result<Entry> {
        if let Some(entry) = self.known(file, index) {
            return Ok(entry);
        }
        let first = (index + 1).saturating_sub(WALKED_TOGETHER).max(1);
        self.bytes.resize((index + 1 - first) as usize * ENTRY_BYTES, 0);
        // Whatever a failed read has left belongs to no file.
        self.path = PathBuf::new();
        file.file.read_at(&mut self.bytes, file.shape.entry_at(first))?;
        (self.path, self.first) = (file.path.clone(), first);
        self.known(file, index).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn known(&self, file: &IndexFile, index: u32) -> Option<Entry> {
        let at = index.checked_sub(self.first)? as usize * ENTRY_BYTES;
        let bytes =
            self.bytes.get(at..)?.first_chunk().filter(|_| self.path.as_os_str() == file.path.as_os_str())?;
        Some(Entry::decode(bytes))
    }
}
