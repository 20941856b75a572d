//! Looking for a hash in the key index, from new to old, a part at a time: between two parts others have the index, and
//! so while the records are read that it names.

use std::io;
use std::path::PathBuf;

use crate::error::StoreError;
use crate::index_file::{Block, IndexFile};
use crate::index_state::State;

/// Entries of one part: the lock of the index is held while they are read.
const ENTRIES_AT_ONCE: u32 = 1024;
/// Offsets of one part.
const OFFSETS_AT_ONCE: usize = 64;

/// A search on its way.
pub(crate) struct IndexSearch {
    hash: u32,
    /// Store times that are wanted, Unix milliseconds, both included.
    begin: i64,
    end: i64,
    /// File and entry to go on with; at first the newest. What is in a file never changes, and files come at one end
    /// and go at the other.
    next: Option<(PathBuf, u32)>,
    block: Block,
    entries: u64,
    is_over: bool,
}

/// How a file was left.
enum Left {
    /// The part is full; this entry is the next.
    Paused(u32),
    /// There are no more in this file.
    File,
    /// All that come are too old.
    Search,
}

impl IndexSearch {
    /// For records with a hash that were stored between `begin` and `end`.
    pub fn new(hash: u32, begin: i64, end: i64) -> IndexSearch {
        IndexSearch { hash, begin, end, next: None, block: Block::default(), entries: 0, is_over: false }
    }

    /// Entries looked at so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Physical offsets of some more records that may be wanted, of those that the log still has; `None` if there are
    /// no more, while an empty part says nothing.
    pub fn some_more(&mut self, state: &State, log_min: u64) -> Result<Option<Vec<u64>>, StoreError> {
        if self.is_over {
            return Ok(None);
        }
        let mut offsets = Vec::new();
        let last_entry = self.entries + u64::from(ENTRIES_AT_ONCE);
        let (path, mut entry) = self.next.take().unzip();
        for file in state.files.iter().rev() {
            if path.as_ref().is_some_and(|path| file.path > *path) {
                continue;
            }
            let resumed = entry.take().filter(|_| path.as_ref() == Some(&file.path));
            let left = self.look_into(file, resumed, last_entry, &mut offsets);
            match left.map_err(StoreError::io("read", &file.path))? {
                Left::Paused(entry) => {
                    self.next = Some((file.path.clone(), entry));
                    offsets.retain(|offset| *offset >= log_min);
                    return Ok(Some(offsets));
                }
                Left::File if file.header.begin_timestamp >= self.begin => {}
                Left::File | Left::Search => break,
            }
        }
        self.is_over = true;
        offsets.retain(|offset| *offset >= log_min);
        Ok(Some(offsets))
    }

    /// Goes on in a file, from `resumed` or its newest entry on.
    fn look_into(
        &mut self,
        file: &IndexFile,
        resumed: Option<u32>,
        last_entry: u64,
        offsets: &mut Vec<u64>,
    ) -> io::Result<Left> {
        let header = &file.header;
        let mut index = match resumed {
            Some(entry) => entry,
            None if header.begin_timestamp > self.end || header.end_timestamp < self.begin => 0,
            None => file.newest(self.hash)?,
        };
        while index > 0 {
            if self.entries >= last_entry || offsets.len() >= OFFSETS_AT_ONCE {
                return Ok(Left::Paused(index));
            }
            self.entries += 1;
            let entry = file.entry(index, &mut self.block)?;
            if entry.seconds < 0 {
                break;
            }
            if entry.hash == self.hash && entry.offset >= 0 {
                let time = header.begin_timestamp.saturating_add(i64::from(entry.seconds) * 1000);
                // Times in the index are rounded down to seconds after the file's first.
                if time.saturating_add(1000) < self.begin {
                    return Ok(Left::Search);
                }
                if time <= self.end {
                    offsets.push(entry.offset as u64);
                }
            }
            // Chains lead to ever smaller numbers; anything else is damage and ends the chain.
            index = u32::try_from(entry.previous).ok().filter(|previous| *previous < index).unwrap_or(0);
        }
        Ok(Left::File)
    }
}
