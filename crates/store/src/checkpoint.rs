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

/// Java maps this many bytes.
const FILE_BYTES: u64 = 4096;
const OWN_AT: usize = 64;
const OWN_MAGIC: &[u8; 8] = b"ThrustM1";
const CRC_AT: usize = OWN_AT + 8 + 16 + 6 * 8;

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
}

impl Checkpoint {
    fn decode(bytes: &[u8]) -> Checkpoint {
        let field = |at: usize| {
            bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| i64::from_be_bytes(*chunk))
        };
        Checkpoint {
            physic_timestamp: field(0),
            logics_timestamp: field(8),
            index_timestamp: field(16),
            master_flushed: field(24),
            confirm: field(32),
            logics_offset: field(40),
            own: Own::decode(bytes),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CRC_AT + 4);
        for field in [
            self.physic_timestamp,
            self.logics_timestamp,
            self.index_timestamp,
            self.master_flushed,
            self.confirm,
            self.logics_offset,
        ] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.resize(OWN_AT, 0);
        if let Some(own) = &self.own {
            bytes.extend_from_slice(OWN_MAGIC);
            bytes.extend_from_slice(&own.boot_id);
            let (written, durable) = (own.written, own.durable);
            for field in
                [own.flushed, written.position, written.entries, durable.position, durable.entries, own.index]
            {
                bytes.extend_from_slice(&field.to_be_bytes());
            }
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        }
        bytes
    }
}

impl Own {
    fn decode(bytes: &[u8]) -> Option<Own> {
        let own = bytes.get(OWN_AT..CRC_AT + 4)?;
        let stored = u32::from_be_bytes(*bytes.get(CRC_AT..)?.first_chunk()?);
        if !own.starts_with(OWN_MAGIC) || crc32fast::hash(&bytes[..CRC_AT]) != stored {
            return None;
        }
        let field = |at: usize| {
            own.get(at..).and_then(|rest| rest.first_chunk()).map(|chunk| u64::from_be_bytes(*chunk))
        };
        Some(Own {
            boot_id: *own.get(8..)?.first_chunk()?,
            flushed: field(24)?,
            written: Mark { position: field(32)?, entries: field(40)? },
            durable: Mark { position: field(48)?, entries: field(56)? },
            index: field(64)?,
        })
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
        let has_own = bytes.get(OWN_AT..CRC_AT + 4).is_some_and(|own| own.iter().any(|&byte| byte != 0));
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
            assert_eq!(Checkpoint::decode(&changed).own, None, "byte {at}");
        }
    }
}
