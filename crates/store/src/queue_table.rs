//! The table of all queues as a clean stop leaves it, so that the next start need not look into a hundred thousand
//! directories (`docs/formats.md`).
//!
//! It counts only for the state it was written for: log position and number of entries must be those of a valid
//! checkpoint, which Java voids by writing its own. Whoever removes queue files to have them built anew removes the
//! directory of a topic or all of them, which is noticed at the start; a single file that is missing is noticed when
//! it is read or written, and the start after that looks into all files again.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::checkpoint::Mark;
use crate::disk::{self, Disk};
use crate::queue::Queue;
use crate::queue_kind::QueueKind;

const MAGIC: &[u8; 8] = b"ThrustQ1";
const HEAD_BYTES: usize = 8 + 8 + 8 + 4;
const CRC_BYTES: usize = 4;

/// Which entries a queue's files hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub topic: Arc<str>,
    pub id: u32,
    /// First entry of the first file.
    pub first: u64,
    /// Entry behind the last.
    pub next: u64,
}

impl Row {
    /// The row of a queue all of whose entries are in files; `None` if it never had any, and so has no file. The
    /// files of batch queues are always looked into.
    pub fn of(queue: &Queue) -> Option<Row> {
        if queue.kind() != QueueKind::Simple {
            return None;
        }
        let (first, next) = (queue.span().0, queue.next.load(Ordering::Acquire));
        (next > 0).then(|| Row { topic: queue.topic().clone(), id: queue.id(), first, next })
    }
}

fn path_in(root: &Path) -> PathBuf {
    root.join("queuetable")
}

/// Writes the table for a log that ends at `mark`, durably; with fewer than `rows_min` rows there is none.
pub(crate) fn save(
    disk: &dyn Disk,
    root: &Path,
    mark: Mark,
    rows: Vec<Row>,
    rows_min: usize,
) -> io::Result<()> {
    let path = path_in(root);
    if rows.len() < rows_min {
        return disk.remove(&path);
    }
    let new = root.join("queuetable.tmp");
    let file = disk.create(&new, 0)?;
    file.write_at(&encode(mark, rows), 0)?;
    file.sync_data()?;
    disk.rename(&new, &path)
}

/// The rows for a log that ends at `mark`, if they are there and `queues_dir` holds the directories of exactly their
/// topics. Whatever is wrong with the table is no error: the queues' files say the same, more slowly.
pub(crate) fn load(disk: &dyn Disk, root: &Path, mark: Mark, queues_dir: &Path) -> Option<Vec<Row>> {
    let path = path_in(root);
    let bytes = match disk::read_all(disk, &path) {
        Ok(bytes) => bytes?,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the table of queues cannot be read; looking into their files");
            return None;
        }
    };
    let (written_for, rows) = decode(&bytes)?;
    if written_for != mark {
        return None;
    }
    let listed = disk.list(queues_dir).ok()?;
    let there: HashSet<&str> =
        listed.iter().filter(|entry| entry.is_dir).map(|entry| entry.name.as_str()).collect();
    let wanted: HashSet<&str> = rows.iter().map(|row| &*row.topic).collect();
    (there == wanted).then_some(rows)
}

fn encode(mark: Mark, rows: Vec<Row>) -> Vec<u8> {
    let mut topics: BTreeMap<Arc<str>, Vec<Row>> = BTreeMap::new();
    for row in rows {
        topics.entry(row.topic.clone()).or_default().push(row);
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&mark.position.to_be_bytes());
    bytes.extend_from_slice(&mark.entries.to_be_bytes());
    bytes.extend_from_slice(&(topics.len() as u32).to_be_bytes());
    for (topic, rows) in topics {
        bytes.extend_from_slice(&(topic.len() as u32).to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
        bytes.extend_from_slice(&(rows.len() as u32).to_be_bytes());
        for row in rows {
            bytes.extend_from_slice(&row.id.to_be_bytes());
            bytes.extend_from_slice(&row.first.to_be_bytes());
            bytes.extend_from_slice(&row.next.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<(Mark, Vec<Row>)> {
    if bytes.len() < HEAD_BYTES + CRC_BYTES || !bytes.starts_with(MAGIC) {
        return None;
    }
    let (content, crc) = bytes.split_at(bytes.len() - CRC_BYTES);
    if crc != crc32fast::hash(content).to_be_bytes() {
        return None;
    }
    let mut rest = Rest(&content[MAGIC.len()..]);
    let mark = Mark { position: rest.u64()?, entries: rest.u64()? };
    let mut rows = Vec::new();
    for _ in 0..rest.u32()? {
        let len = rest.u32()? as usize;
        let topic: Arc<str> = std::str::from_utf8(rest.take(len)?).ok()?.into();
        for _ in 0..rest.u32()? {
            rows.push(Row { topic: topic.clone(), id: rest.u32()?, first: rest.u64()?, next: rest.u64()? });
        }
    }
    rest.0.is_empty().then_some((mark, rows))
}

/// Bytes not yet decoded.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(*self.take(4)?.first_chunk()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(*self.take(8)?.first_chunk()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |topic: &str, id, first, next| Row { topic: topic.into(), id, first, next };
        vec![row("a", 0, 0, 5), row("a", 3, 300_000, 300_000), row("ä", 1, 7, u64::MAX)]
    }

    #[test]
    fn what_was_written_is_read_back() {
        let mark = Mark { position: 4096, entries: 17 };
        assert_eq!(decode(&encode(mark, rows())), Some((mark, rows())));
        assert_eq!(decode(&encode(mark, Vec::new())), Some((mark, Vec::new())));
    }

    #[test]
    fn a_flipped_bit_or_a_missing_end_voids_it() {
        let bytes = encode(Mark { position: 1, entries: 2 }, rows());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_eq!(decode(&changed), None, "byte {at}");
            assert_eq!(decode(&bytes[..at]), None, "{at} bytes");
        }
    }
}
