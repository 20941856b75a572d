//! The checkpoint file: from where recovery must read the log again.
//!
//! Java's fields come first (store.md §7, since-5.3.md §4.2); behind them, at byte 64, our own, which know positions
//! where Java knows times. They carry a CRC over everything before, so a checkpoint that Java has written since is
//! recognised and its own fields are used. Invariant: no field is ahead of what is durable (our `written` fields: of
//! what was handed to the operating system during one run of the machine).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{self, Disk, File};
use crate::index_file::{HEADER_BYTES, Header};
use crate::sealed::{self, Fields};

/// Java maps this many bytes.
const FILE_BYTES: u64 = 4096;
const OWN_AT: usize = 64;
const OWN_MAGIC: &[u8; 8] = b"ThrustM1";
/// Bytes up to the end of our own fields and their CRC.
const OWN_END: usize = OWN_AT + 8 + 16 + 6 * 8 + 4;
const INDEX_MARK_AT: usize = 144;
const INDEX_MARK_MAGIC: &[u8; 8] = b"ThrustI1";
/// Bytes up to the end of the mark of the index and its CRC, which covers everything before: all within one sector.
const INDEX_MARK_END: usize = INDEX_MARK_AT + 8 + 8 + HEADER_BYTES as usize + 4;

/// Stands for no run of the machine, so that nothing that was only written is counted on.
pub(crate) const NO_RUN: [u8; 16] = [0; 16];

/// A position of the log, with the number of queue entries that all records before it made. The number tells
/// whether the queue files that are there are all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// Offset in the log.
    pub position: u64,
    /// Queue entries that the records before it made.
    pub entries: u64,
}

/// The file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// Store time of the newest durable message.
    pub physic_timestamp: i64,
    /// Store time of the newest message whose queue entry is durable.
    pub logics_timestamp: i64,
    /// End time of the newest durable, complete index file.
    pub index_timestamp: i64,
    /// Kept for replication.
    pub master_flushed: i64,
    /// Kept for replication too.
    pub confirm: i64,
    /// Queue entries of records before this offset are durable.
    pub logics_offset: i64,
    /// Our own fields; `None` if Java wrote last.
    pub own: Option<Own>,
}

/// What only we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Own {
    /// Run of the machine in which `written` counts; all zeros after a failed sync.
    pub boot_id: [u8; 16],
    /// The log is durable up to here.
    pub flushed: u64,
    /// Queue entries of records before this are in files.
    pub written: Mark,
    /// Queue entries of records before this are in files and durable.
    pub durable: Mark,
    /// Index files that speak only of records before this are complete and durable.
    pub index: u64,
    /// What is durable of the index file that follows those.
    pub index_mark: Option<IndexMark>,
}

/// The part of the last index file that is durable, its slots excepted: these follow from its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexMark {
    /// The keys of all records before this offset, which are durable too, are in the index files.
    pub position: u64,
    /// What the file's header says of the entries that these keys made.
    pub(crate) header: Header,
}

impl Checkpoint {
    fn decode(bytes: &[u8]) -> Checkpoint {
        let mut fields = Fields::of(bytes);
        let mut next = || fields.i64().unwrap_or(0);
        Checkpoint {
            physic_timestamp: next(),
            logics_timestamp: next(),
            index_timestamp: next(),
            master_flushed: next(),
            confirm: next(),
            logics_offset: next(),
            own: Own::decode(bytes),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(OWN_END);
        let java = [
            self.physic_timestamp,
            self.logics_timestamp,
            self.index_timestamp,
            self.master_flushed,
            self.confirm,
            self.logics_offset,
        ];
        sealed::put(&mut bytes, &java.map(i64::cast_unsigned));
        bytes.resize(OWN_AT, 0);
        if let Some(own) = &self.own {
            bytes.extend_from_slice(OWN_MAGIC);
            bytes.extend_from_slice(&own.boot_id);
            let (written, durable) = (own.written, own.durable);
            let marks = [written.position, written.entries, durable.position, durable.entries];
            sealed::put(&mut bytes, &[own.flushed]);
            sealed::put(&mut bytes, &marks);
            sealed::put(&mut bytes, &[own.index]);
            sealed::seal(&mut bytes);
            bytes.resize(INDEX_MARK_AT, 0);
            if let Some(mark) = &own.index_mark {
                bytes.extend_from_slice(INDEX_MARK_MAGIC);
                sealed::put(&mut bytes, &[mark.position]);
                bytes.extend_from_slice(&mark.header.encode());
                sealed::seal(&mut bytes);
            }
            // Without a mark no earlier one may stay.
            bytes.resize(INDEX_MARK_END, 0);
        }
        bytes
    }
}

impl Own {
    fn decode(bytes: &[u8]) -> Option<Own> {
        let mut fields = Fields::unseal(bytes.get(..OWN_END)?, OWN_AT, OWN_MAGIC)?;
        Some(Own {
            boot_id: fields.array()?,
            flushed: fields.u64()?,
            written: Mark { position: fields.u64()?, entries: fields.u64()? },
            durable: Mark { position: fields.u64()?, entries: fields.u64()? },
            index: fields.u64()?,
            index_mark: IndexMark::decode(bytes),
        })
    }
}

impl IndexMark {
    fn decode(bytes: &[u8]) -> Option<IndexMark> {
        let mut fields = Fields::unseal(bytes.get(..INDEX_MARK_END)?, INDEX_MARK_AT, INDEX_MARK_MAGIC)?;
        Some(IndexMark { position: fields.u64()?, header: Header::decode(&fields.array()?) })
    }
}

/// The open file with what was last written to it.
pub(crate) struct CheckpointFile {
    file: Arc<dyn File>,
    pub path: PathBuf,
    pub content: Checkpoint,
}

impl CheckpointFile {
    /// Only reads the file: its content, and whether something stands in our own fields that does not fit to the rest.
    pub fn read(disk: &dyn Disk, root: &Path) -> io::Result<Option<(Checkpoint, bool)>> {
        let Some(bytes) = disk::read_all(disk, &root.join("checkpoint"))? else { return Ok(None) };
        let content = Checkpoint::decode(&bytes);
        let has_own = bytes.get(OWN_AT..OWN_END).is_some_and(|own| own.iter().any(|&byte| byte != 0));
        let unsure = has_own && content.own.is_none();
        Ok(Some((content, unsure)))
    }

    /// Opens or creates the file; a missing one reads as all zeros. The second result tells whether it was there.
    pub fn open(disk: &dyn Disk, root: &Path) -> io::Result<(CheckpointFile, bool)> {
        let path = root.join("checkpoint");
        let bytes = disk::read_all(disk, &path)?;
        let file = match &bytes {
            Some(bytes) if bytes.len() as u64 >= FILE_BYTES => disk.open(&path)?,
            Some(_) => {
                let file = disk.open(&path)?;
                file.set_len(FILE_BYTES)?;
                file
            }
            None => {
                let file = disk.create(&path, FILE_BYTES)?;
                file.sync_data()?;
                disk.sync_dir(root)?;
                file
            }
        };
        let was_there = bytes.is_some();
        let content = Checkpoint::decode(&bytes.unwrap_or_default());
        Ok((CheckpointFile { file, path, content }, was_there))
    }

    /// Hands the content to the operating system.
    pub fn write(&self) -> io::Result<()> {
        self.file.write_at(&self.content.encode(), 0)
    }

    /// Writes the content durably.
    pub fn save(&self) -> io::Result<()> {
        self.write()?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        Checkpoint {
            physic_timestamp: 1,
            logics_timestamp: 2,
            index_timestamp: 3,
            master_flushed: 4,
            confirm: 5,
            logics_offset: 6,
            own: Some(Own {
                boot_id: [7; 16],
                flushed: 8,
                written: Mark { position: 9, entries: 10 },
                durable: Mark { position: 11, entries: 12 },
                index: 13,
                index_mark: Some(IndexMark {
                    position: 14,
                    header: Header { count: 15, ..Header::default() },
                }),
            }),
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let bytes = sample().encode();
        assert_eq!(bytes[40..48], 6i64.to_be_bytes());
        assert_eq!(Checkpoint::decode(&bytes), sample());
        assert_eq!(Checkpoint::decode(&[]), Checkpoint::default());
    }

    #[test]
    fn a_change_by_java_or_by_a_flipped_bit_voids_our_own_fields() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let own = Checkpoint::decode(&changed).own;
            assert_eq!(own.is_some(), at >= OWN_END, "byte {at}");
            assert_eq!(own.and_then(|own| own.index_mark), None, "byte {at}");
        }
    }

    #[test]
    fn what_an_older_version_wrote_has_no_mark_of_the_index_and_one_without_leaves_none_behind() {
        let bytes = sample().encode();
        let without = |own: Own| Some(Own { index_mark: None, ..own });
        let expected = Checkpoint { own: sample().own.and_then(without), ..sample() };
        assert_eq!(Checkpoint::decode(&bytes[..OWN_END]), expected);
        let mut file = bytes;
        let new = expected.encode();
        file[..new.len()].copy_from_slice(&new);
        assert_eq!(Checkpoint::decode(&file), expected);
    }
}
