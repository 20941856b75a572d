//! One consume queue: where in the log the messages of a topic's queue are, in order.
//!
//! A queue is a follower of the log. New entries live in its tail in memory until a worker writes them to files of
//! Java's layout (store.md §4.1); a queue with nothing to do holds no file, no buffer and no thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::queue_files::QueueFiles;
use crate::records::Reach;

/// Bytes of an entry on disk.
pub(crate) const ENTRY_BYTES: usize = 20;
/// Size field of the filler before the first entry of a queue that does not begin at a segment's start.
const PRE_BLANK_SIZE: u32 = 0x7FFF_FFFF;
/// A tail of this many bytes is written at once instead of with the next round over all queues.
const TAIL_BYTES_MAX: usize = 256 * 1024;

/// Highest tags code that is not one but the address of an extension (store.md §4.2).
const EXTENSION_ADDRESS_MAX: i64 = i32::MIN as i64 - 1;

/// One entry: a message's place in the log, and what readers filter by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueEntry {
    /// Offset of the record in the commit log.
    pub physical_offset: u64,
    /// Bytes of the record.
    pub size: u32,
    /// Hash of the tags, or the time of delivery in the schedule topic; see [`QueueEntry::known_tags_code`].
    pub tags_code: i64,
}

impl QueueEntry {
    /// Filler that stands for no message.
    pub(crate) const PRE_BLANK: QueueEntry =
        QueueEntry { physical_offset: 0, size: PRE_BLANK_SIZE, tags_code: 0 };

    /// From the bytes of a queue file, `None` if nothing valid was written there.
    pub(crate) fn decode(bytes: &[u8]) -> Option<QueueEntry> {
        let physical_offset = i64::from_be_bytes(*bytes.first_chunk()?);
        let size = i32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
        let tags_code = i64::from_be_bytes(*bytes.get(12..)?.first_chunk()?);
        if physical_offset < 0 || size <= 0 {
            return None;
        }
        Some(QueueEntry { physical_offset: physical_offset as u64, size: size as u32, tags_code })
    }

    pub(crate) fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.physical_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// The tags code, unless a Java broker with `enableConsumeQueueExt` has put an address in its place: then only the
    /// record itself can tell.
    pub fn known_tags_code(&self) -> Option<i64> {
        (self.tags_code > EXTENSION_ADDRESS_MAX).then_some(self.tags_code)
    }

    /// Whether it stands for no message.
    pub(crate) fn is_pre_blank(&self) -> bool {
        self.physical_offset == 0 && self.size == PRE_BLANK_SIZE
    }
}

/// A queue of a topic. Cheap to hold; looked up through [`Store::queue`](crate::Store::queue).
pub struct Queue {
    topic: Arc<str>,
    id: u32,
    /// Number of this object within the process, a key for open files.
    pub(crate) serial: u64,
    pub(crate) files: Arc<QueueFiles>,
    /// Set by the broker while someone waits for new messages here; the store then tells of arrivals.
    pub watched: AtomicBool,
    /// Set while the timer reads this queue; it is told of arrivals.
    pub(crate) followed: AtomicBool,
    /// Offset of the next message. Changed only under the append lock.
    pub(crate) next: AtomicU64,
    visible: AtomicU64,
    min: AtomicU64,
    /// The log minimum for which `min` was computed; `u64::MAX` before the first time.
    min_for: AtomicU64,
    /// Messages before this are older than their topic keeps them, though the log may still have them.
    floor: AtomicU64,
    /// Store time of the message at `floor`; `i64::MIN` while nobody has looked.
    floor_time: AtomicI64,
    deleted: AtomicBool,
    tail: Mutex<Tail>,
}

/// Which entries are in files and which only in memory.
struct Tail {
    /// First entry that the files hold.
    first: u64,
    /// First entry that only memory holds: that of `bytes`.
    written: u64,
    bytes: Vec<u8>,
    /// Whether the queue stands in the list of those with something to write.
    listed: bool,
    /// Whether the queue stands in the list of those whose tail is long.
    urged: bool,
}

impl Queue {
    /// A queue whose files hold entries `first..next`.
    pub(crate) fn new(files: Arc<QueueFiles>, topic: Arc<str>, id: u32, first: u64, next: u64) -> Queue {
        Queue {
            topic,
            id,
            serial: files.next_serial(),
            files,
            watched: AtomicBool::new(false),
            followed: AtomicBool::new(false),
            next: AtomicU64::new(next),
            visible: AtomicU64::new(next),
            min: AtomicU64::new(first),
            min_for: AtomicU64::new(u64::MAX),
            floor: AtomicU64::new(0),
            floor_time: AtomicI64::new(i64::MIN),
            deleted: AtomicBool::new(false),
            tail: Mutex::new(Tail { first, written: next, bytes: Vec::new(), listed: false, urged: false }),
        }
    }

    /// Its topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Its number within the topic.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Offset behind the last message that may be read.
    pub fn max_offset(&self) -> u64 {
        self.visible.load(Ordering::Acquire)
    }

    /// Offset of the first message that may be read; equals [`Queue::max_offset`] if there is none.
    pub fn min_offset(&self) -> u64 {
        self.log_min_offset().max(self.floor.load(Ordering::Acquire))
    }

    /// As [`Queue::min_offset`]; `None` if finding it takes what is farther away than `reach`.
    pub(crate) fn min_offset_within(&self, reach: Reach) -> Option<u64> {
        let floor = self.floor.load(Ordering::Acquire);
        self.log_min_offset_within(reach).map(|min| min.max(floor))
    }

    /// Offset of the first message that is still in the log, whether its topic keeps it or not.
    ///
    /// Found again, lazily, when the log's beginning has moved since.
    pub(crate) fn log_min_offset(&self) -> u64 {
        let found = self.log_min_offset_within(Reach::Disk);
        found.unwrap_or_else(|| self.min.load(Ordering::Acquire))
    }

    fn log_min_offset_within(&self, reach: Reach) -> Option<u64> {
        let log_min = self.files.log_min();
        if self.min_for.load(Ordering::Acquire) == log_min {
            return Some(self.min.load(Ordering::Acquire));
        }
        match self.find_min(reach, log_min) {
            Ok(min) => {
                self.min.store(min, Ordering::Release);
                self.min_for.store(log_min, Ordering::Release);
                Some(min)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => {
                tracing::warn!(topic = %self.topic, queue = self.id, %error, "cannot find a queue's first entry");
                Some(self.min.load(Ordering::Acquire))
            }
        }
    }

    fn find_min(&self, reach: Reach, log_min: u64) -> io::Result<u64> {
        let first = self.tail.lock().first;
        let (mut low, mut high) =
            (first.max(self.min.load(Ordering::Acquire)), self.next.load(Ordering::Acquire));
        let alive = |index| -> io::Result<bool> {
            let mut bytes = [0; ENTRY_BYTES];
            let count = self.raw_entries_within(reach, index, &mut bytes)?;
            let count = count.ok_or(io::ErrorKind::WouldBlock)?;
            let entry = QueueEntry::decode(&bytes).filter(|entry| !entry.is_pre_blank());
            Ok(count == 1 && entry.is_some_and(|entry| entry.physical_offset >= log_min))
        };
        if low < high && alive(low)? {
            return Ok(low);
        }
        // Entries ascend by physical offset, fillers stand before all of them.
        while low < high {
            let middle = low + (high - low) / 2;
            if alive(middle)? {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// First message that its topic keeps, with its store time: `i64::MIN` before [`Queue::set_floor`].
    pub(crate) fn floor(&self) -> (u64, i64) {
        (self.floor.load(Ordering::Acquire), self.floor_time.load(Ordering::Acquire))
    }

    /// Hides the messages before `offset`. For who holds the lock of the expiry.
    pub(crate) fn set_floor(&self, offset: u64, store_time: i64) {
        self.floor.store(offset, Ordering::Release);
        self.floor_time.store(store_time, Ordering::Release);
    }

    /// Lets readers see entries below `until`.
    pub(crate) fn show(&self, until: u64) {
        self.visible.fetch_max(until, Ordering::AcqRel);
    }

    /// Whether the topic was deleted; such a queue takes no more entries.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Adds the entry of offset `self.next - 1` or, in a batch, an earlier one: always the next in the tail.
    /// Tells how many bytes wait to be written.
    pub(crate) fn push(self: &Arc<Self>, entry: &QueueEntry) -> usize {
        let mut tail = self.tail.lock();
        tail.bytes.extend_from_slice(&entry.encode());
        self.files.add_waiting(ENTRY_BYTES as u64);
        if !tail.listed {
            tail.listed = true;
            self.files.list_dirty(self.clone());
        }
        if tail.bytes.len() >= TAIL_BYTES_MAX && !tail.urged {
            tail.urged = true;
            self.files.urge(self.clone());
        }
        tail.bytes.len()
    }

    /// One entry, `None` if it is not there.
    pub(crate) fn entry(&self, index: u64) -> io::Result<Option<QueueEntry>> {
        let mut bytes = [0; ENTRY_BYTES];
        let count = self.raw_entries(index, &mut bytes)?;
        Ok(if count == 1 { QueueEntry::decode(&bytes) } else { None })
    }

    /// Fills `out` with the entries from `from` on as far as they are together in memory or in one file; tells how
    /// many entries that was.
    pub(crate) fn raw_entries(&self, from: u64, out: &mut [u8]) -> io::Result<usize> {
        Ok(self.raw_entries_within(Reach::Disk, from, out)?.unwrap_or(0))
    }

    /// As [`Queue::raw_entries`], but `None` if the disk would have to be waited for and `reach` is not so far.
    pub(crate) fn raw_entries_within(
        &self,
        reach: Reach,
        from: u64,
        out: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let (first, written) = {
            let tail = self.tail.lock();
            if from >= tail.written {
                let Ok(at) = usize::try_from((from - tail.written).saturating_mul(ENTRY_BYTES as u64)) else {
                    return Ok(Some(0));
                };
                let bytes = tail.bytes.get(at..).unwrap_or_default();
                let len = bytes.len().min(out.len()) / ENTRY_BYTES * ENTRY_BYTES;
                out[..len].copy_from_slice(&bytes[..len]);
                return Ok(Some(len / ENTRY_BYTES));
            }
            (tail.first, tail.written)
        };
        if from < first {
            return Ok(Some(0));
        }
        let wanted = ((out.len() / ENTRY_BYTES) as u64).min(written - from);
        let count = self.files.read(reach, self, from, wanted, out)?;
        if count == Some(0) && wanted > 0 && self.tail.lock().first <= from && !self.is_deleted() {
            // It is not that old entries have expired meanwhile.
            return Err(self.files.missing(self, self.files.segment_start(from)));
        }
        Ok(count)
    }

    /// Notes that the queue was taken off the list of those with something to write.
    pub(crate) fn unlist(&self) {
        self.tail.lock().listed = false;
    }

    /// Writes the tail to files; `scratch` is the caller's to reuse. Entries stay readable all the while.
    pub(crate) fn write_tail(&self, scratch: &mut Vec<u8>) -> io::Result<()> {
        let from = {
            let mut tail = self.tail.lock();
            tail.urged = false;
            scratch.clear();
            scratch.extend_from_slice(&tail.bytes);
            tail.written
        };
        if scratch.is_empty() || self.is_deleted() {
            return Ok(());
        }
        self.files.write(self, from, scratch)?;
        let mut tail = self.tail.lock();
        // The topic may have been deleted meanwhile, and the tail with it.
        if tail.bytes.len() < scratch.len() {
            return Ok(());
        }
        self.files.take_waiting(scratch.len() as u64);
        tail.written += (scratch.len() / ENTRY_BYTES) as u64;
        if tail.bytes.len() == scratch.len() {
            // Most queues of many are light: give the buffer back unless it is small.
            tail.bytes.clear();
            tail.bytes.shrink_to(256);
        } else {
            tail.bytes.drain(..scratch.len());
        }
        Ok(())
    }

    /// Puts the queue back on the list of those with something to write, after a failure.
    pub(crate) fn relist(self: &Arc<Self>) {
        let mut tail = self.tail.lock();
        if !tail.listed && !tail.bytes.is_empty() {
            tail.listed = true;
            self.files.list_dirty(self.clone());
        }
    }

    /// Puts a queue back on the list after its turn did not come.
    pub(crate) fn keep_listed(self: &Arc<Self>) {
        self.files.list_dirty(self.clone());
    }

    /// Makes this an empty queue whose first message will have offset `first`. Recovery only.
    pub(crate) fn restart_at(&self, first: u64) {
        let mut tail = self.tail.lock();
        tail.first = first;
        tail.written = first;
        self.files.take_waiting(tail.bytes.len() as u64);
        tail.bytes.clear();
        self.next.store(first, Ordering::Release);
        self.visible.store(first, Ordering::Release);
        self.min.store(first, Ordering::Release);
        self.min_for.store(u64::MAX, Ordering::Release);
    }

    /// First entry of the first file, and the first entry that is in no file.
    pub(crate) fn span(&self) -> (u64, u64) {
        let tail = self.tail.lock();
        (tail.first, tail.written)
    }

    /// Notes that files before the one of entry `first` are gone.
    pub(crate) fn set_first(&self, first: u64) {
        self.tail.lock().first = first;
    }

    /// Marks the queue as that of a deleted topic.
    pub(crate) fn delete(&self) {
        self.deleted.store(true, Ordering::Release);
        let mut tail = self.tail.lock();
        self.files.take_waiting(tail.bytes.len() as u64);
        tail.bytes = Vec::new();
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{} [..{})", self.topic, self.id, self.max_offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_bytes_of_the_specification() {
        let entry = QueueEntry { physical_offset: 4096, size: 123, tags_code: 2_598_919 };
        let bytes = entry.encode();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0x7B, 0, 0, 0, 0, 0, 0x27, 0xA8, 0x07]);
        assert_eq!(QueueEntry::decode(&bytes), Some(entry));
        assert_eq!(QueueEntry::decode(&[0; 20]), None);
        assert_eq!(QueueEntry::decode(&[0xFF; 20]), None);
        assert_eq!(QueueEntry::decode(&bytes[..19]), None);
        assert!(QueueEntry::PRE_BLANK.is_pre_blank());
    }
}
