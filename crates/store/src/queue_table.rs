//! The table of all queues: what their files held when the log had come to one position, so that a start need not look
//! into a hundred thousand directories (`docs/formats.md`).
//!
//! It is written when a store is opened, behind the rounds of the queue writer each time the log has grown by
//! `queue_table_bytes`, and at a clean stop. The next start takes the queues from it and reads the log from its
//! position on. It counts after a clean stop, for exactly the log that ended there, and after a kill as long as the
//! machine has not restarted: records and queue entries that were written before its position can then not have gone.
//! Where queue entries have extensions it does not count after a kill: entries whose extensions are in files must not
//! be dispatched again.
//! Every other start removes it before it changes anything. So does whoever takes entries out of queue files; Java does
//! so, like us, when segments of the log have expired, which is why the table names the log's first offset.
//!
//! Whoever removes queue files to have them built anew removes the directory of a topic or all of them, which is
//! noticed at the start; a single file that is missing is noticed when it is read or written, and the start after that
//! looks into all files again.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::Mark;
use crate::disk::{self, Disk};
use crate::queue::Queue;
use crate::queue_kind::QueueKind;
use crate::sealed::{self, Fields};

const MAGIC: &[u8; 8] = b"ThrustQ2";

/// Which entries a queue's files hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub topic: Arc<str>,
    pub id: u32,
    /// First entry of the first file.
    pub first: u64,
    /// Entry behind the last one of a record before the table's position.
    pub next: u64,
}

impl Row {
    /// The row of a queue as the last round of writing, which was made for `position`, left it; `None` if it had no
    /// entry by then. The files of batch queues are always looked into.
    pub fn of(queue: &Queue, position: u64) -> Option<Row> {
        if queue.kind() != QueueKind::Simple {
            return None;
        }
        let (first, next) = queue.settled(position);
        (next > 0).then(|| Row { topic: queue.topic().clone(), id: queue.id(), first, next })
    }
}

/// What the log was like when the rows were true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// All entries of records before this position are in files, and the rows count these and no others. The number of
    /// entries is that of all queues, also of batch queues, which have no row.
    pub mark: Mark,
    /// First offset of the log.
    pub log_min: u64,
}

/// The content of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub moment: Moment,
    /// By topic.
    pub rows: Vec<Row>,
}

fn path_in(root: &Path) -> PathBuf {
    root.join("queuetable")
}

impl Table {
    /// Writes the table in the place of the one before. After a power cut only that of a clean stop counts, so only
    /// that one is synced; its name is durable when the directory is.
    pub fn save(&self, disk: &dyn Disk, root: &Path, sync: bool) -> io::Result<()> {
        let new = root.join("queuetable.tmp");
        let file = disk.create(&new, 0)?;
        file.write_at(&self.encode(), 0)?;
        if sync {
            file.sync_data()?;
        }
        disk.rename(&new, &path_in(root))
    }

    /// The table, if it is there and sound. Whatever is wrong with it is no error: the queues' files say the same,
    /// more slowly.
    pub fn load(disk: &dyn Disk, root: &Path) -> Option<Table> {
        let path = path_in(root);
        match disk::read_all(disk, &path) {
            Ok(bytes) => Table::decode(&bytes?),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the table of queues cannot be read; looking into their files");
                None
            }
        }
    }

    /// The names among `dirs`, the directories of topics, of which the table knows nothing; `None` if the directory of
    /// a topic that it knows is missing.
    pub fn unknown(&self, dirs: Vec<String>) -> Option<Vec<String>> {
        let mut known: HashSet<&str> = self.rows.iter().map(|row| &*row.topic).collect();
        let unknown = dirs.into_iter().filter(|name| !known.remove(name.as_str())).collect();
        known.is_empty().then_some(unknown)
    }

    /// Entries of all rows.
    pub fn entries(&self) -> u64 {
        self.rows.iter().map(|row| row.next).fold(0, u64::wrapping_add)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let Moment { mark, log_min } = self.moment;
        sealed::put(&mut bytes, &[mark.position, mark.entries, log_min]);
        for rows in self.rows.chunk_by(|a, b| a.topic == b.topic) {
            let topic = &rows[0].topic;
            bytes.extend_from_slice(&(topic.len() as u32).to_be_bytes());
            bytes.extend_from_slice(topic.as_bytes());
            bytes.extend_from_slice(&(rows.len() as u32).to_be_bytes());
            for row in rows {
                bytes.extend_from_slice(&row.id.to_be_bytes());
                sealed::put(&mut bytes, &[row.first, row.next]);
            }
        }
        sealed::seal(&mut bytes);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Table> {
        let mut fields = Fields::unseal(bytes, 0, MAGIC)?;
        let mark = Mark { position: fields.u64()?, entries: fields.u64()? };
        let moment = Moment { mark, log_min: fields.u64()? };
        let mut rows = Vec::new();
        while !fields.is_empty() {
            let len = fields.u32()? as usize;
            let topic: Arc<str> = std::str::from_utf8(fields.bytes(len)?).ok()?.into();
            for _ in 0..fields.u32()? {
                rows.push(Row {
                    topic: topic.clone(),
                    id: fields.u32()?,
                    first: fields.u64()?,
                    next: fields.u64()?,
                });
            }
        }
        Some(Table { moment, rows })
    }
}

/// Removes the table, if there is one.
pub(crate) fn remove(disk: &dyn Disk, root: &Path) -> io::Result<()> {
    disk.remove(&path_in(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: Vec<Row>) -> Table {
        let entries = rows.iter().map(|row| row.next).sum();
        Table { moment: Moment { mark: Mark { position: 4096, entries }, log_min: 1024 }, rows }
    }

    fn rows() -> Vec<Row> {
        let row = |topic: &str, id, first, next| Row { topic: topic.into(), id, first, next };
        vec![row("a", 0, 0, 5), row("a", 3, 300_000, 300_000), row("ä", 1, 7, u64::MAX >> 1)]
    }

    #[test]
    fn what_was_written_is_read_back() {
        for rows in [rows(), Vec::new()] {
            assert_eq!(Table::decode(&table(rows.clone()).encode()), Some(table(rows)));
        }
    }

    #[test]
    fn a_flipped_bit_or_a_missing_end_voids_it() {
        let bytes = table(rows()).encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_eq!(Table::decode(&changed), None, "byte {at}");
            assert_eq!(Table::decode(&bytes[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn directories_of_topics_may_be_more_and_not_fewer() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(table(rows()).unknown(names(&["a", "b", "ä"])), Some(names(&["b"])));
        assert_eq!(table(rows()).unknown(names(&["a", "b"])), None);
    }
}
