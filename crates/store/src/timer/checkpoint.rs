//! `config/timercheck`: how far the timer has come (store.md §15.4).
//!
//! Java's seven numbers come first; behind them, at byte 64, our own, which make recovery exact. They carry a CRC over
//! everything before, so a checkpoint that Java has written since is recognised and its own rules apply. All of it
//! stands in one sector: a crash leaves the old one or the new one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{self, Disk, File};
use crate::sealed::{self, Fields};

/// Java maps this many bytes.
const FILE_BYTES: u64 = 4096;
/// Bytes of Java's fields, and of the answer to 60.
pub(crate) const JAVA_BYTES: usize = 56;
const OWN_AT: usize = 64;
const OWN_MAGIC: &[u8; 8] = b"ThrustT1";
/// Bytes up to the end of our own fields and their CRC.
const OWN_END: usize = OWN_AT + 8 + 5 * 8 + 4;

/// The file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Checkpoint {
    /// Beginning of the first slot that is not delivered.
    pub read_time: i64,
    /// The timer log is durable up to here.
    pub log_end: i64,
    /// First message of the timer topic that is not in the timer log.
    pub queue_offset: i64,
    /// The same, of a master.
    pub master_queue_offset: i64,
    /// Version of the content: state, time of the last change in Unix milliseconds, number of changes.
    pub version: [i64; 3],
    /// Our own fields; `None` if Java wrote last.
    pub own: Option<Own>,
}

/// What only we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Own {
    /// Units of the timer log before this are what the other fields speak of.
    pub log_end: u64,
    /// What was delivered of slots that are not over stands in the commit log from here on.
    pub delivered_from: u64,
    /// If not empty: all that is left of the first slot are the units of this range.
    pub rest: (u64, u64),
    /// Milliseconds of a slot.
    pub precision: u64,
}

impl Checkpoint {
    pub fn decode(bytes: &[u8]) -> Checkpoint {
        let mut fields = Fields::of(bytes);
        let mut next = || fields.i64().unwrap_or(0);
        Checkpoint {
            read_time: next(),
            log_end: next(),
            queue_offset: next(),
            master_queue_offset: next(),
            version: [next(), next(), next()],
            own: Own::decode(bytes),
        }
    }

    /// Java's fields, as the answer to 60 carries them.
    pub fn java_bytes(&self) -> [u8; JAVA_BYTES] {
        let mut bytes = [0; JAVA_BYTES];
        let [state, changed, count] = self.version;
        let fields = [
            self.read_time,
            self.log_end,
            self.queue_offset,
            self.master_queue_offset,
            state,
            changed,
            count,
        ];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.java_bytes().to_vec();
        bytes.resize(OWN_AT, 0);
        if let Some(own) = &self.own {
            bytes.extend_from_slice(OWN_MAGIC);
            let fields = [own.log_end, own.delivered_from, own.rest.0, own.rest.1, own.precision];
            sealed::put(&mut bytes, &fields);
            sealed::seal(&mut bytes);
        }
        bytes
    }
}

impl Own {
    fn decode(bytes: &[u8]) -> Option<Own> {
        let mut fields = Fields::unseal(bytes.get(..OWN_END)?, OWN_AT, OWN_MAGIC)?;
        Some(Own {
            log_end: fields.u64()?,
            delivered_from: fields.u64()?,
            rest: (fields.u64()?, fields.u64()?),
            precision: fields.u64()?,
        })
    }
}

/// The file; made when it is first written.
pub(crate) struct CheckpointFile {
    disk: Arc<dyn Disk>,
    pub path: PathBuf,
    file: Option<Arc<dyn File>>,
}

impl CheckpointFile {
    /// The file and what it says, if it is there.
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf) -> io::Result<(CheckpointFile, Option<Checkpoint>)> {
        // Nothing but zeros is what a crash leaves of a file that was just made.
        let bytes = disk::read_all(&*disk, &path)?.filter(|bytes| bytes.iter().any(|&byte| byte != 0));
        let content = bytes.as_deref().map(Checkpoint::decode);
        Ok((CheckpointFile { disk, path, file: None }, content))
    }

    /// Writes the content durably.
    pub fn save(&mut self, content: &Checkpoint) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => self.make()?,
        };
        file.write_at(&content.encode(), 0)?;
        file.sync_data()?;
        self.file = Some(file);
        Ok(())
    }

    fn make(&self) -> io::Result<Arc<dyn File>> {
        if self.disk.stat(&self.path)?.is_some_and(|stat| stat.len >= FILE_BYTES) {
            return self.disk.open(&self.path);
        }
        let dir = self.path.parent().unwrap_or(std::path::Path::new("."));
        disk::create_dirs(&*self.disk, dir)?;
        let file = self.disk.create(&self.path, FILE_BYTES)?;
        file.sync_data()?;
        self.disk.sync_dir(dir)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_by_java_or_by_a_flipped_bit_voids_our_own_fields() {
        let own = Own { log_end: 8, delivered_from: 9, rest: (10, 11), precision: 1000 };
        let sample = Checkpoint {
            read_time: 1,
            log_end: 2,
            queue_offset: 3,
            master_queue_offset: 4,
            version: [5, 6, 7],
            own: Some(own),
        };
        let bytes = sample.encode();
        assert!(bytes.len() <= 512, "one sector");
        assert_eq!(bytes[24..32], 4i64.to_be_bytes());
        assert_eq!(Checkpoint::decode(&bytes), sample);
        assert_eq!(Checkpoint::decode(&[]), Checkpoint::default());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Checkpoint::decode(&changed).own, None, "byte {at}");
        }
    }
}
