//! The files of the key index: which of them can be gone on with after a start, and how far the log has been read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::checkpoint::{Checkpoint, CheckpointFile, IndexMark};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::index_file::{self, Header, IndexFile, Shape};
use crate::index_keys::Keys;

/// A place of the log that cannot be read for this long is taken for damaged: until then the error may be a passing
/// one, but the index stands still meanwhile, and queries by key find nothing newer.
const UNREADABLE_MAX: Duration = Duration::from_secs(30);

/// What is known of the files, and how far the log has been read.
pub(crate) struct State {
    /// Oldest first; only the last is written.
    pub files: Vec<IndexFile>,
    pub position: u64,
    /// What the append has left of the keys of records.
    pub keys: Keys,
    /// A record before this is in the index already.
    pub skip_until: u64,
    /// The checkpoint still says that all of the last file is durable.
    pub last_is_trusted: bool,
    /// Of the last file only the entries are right; its slots are to be made from them.
    pub unlinked: bool,
    /// How far the log had been read when the checkpoint was told last.
    pub marked: u64,
    /// A file whose making failed: a part of it may be there.
    pub half_made: Option<PathBuf>,
    /// Where the log could not be read, and when that was first tried.
    pub unreadable: Option<(u64, Duration)>,
}

/// The files that can be gone on with, and the others.
struct Found {
    files: Vec<IndexFile>,
    /// The checkpoint's mark, if it is of the last of these files.
    mark: Option<IndexMark>,
    /// The last file is what it was at that mark, but for its slots.
    unlinked: bool,
    dropped: Vec<PathBuf>,
}

impl State {
    /// Whether to go on behind a place of the log that cannot be read, after another failure there.
    pub fn is_given_up(&mut self, at: u64, now: Duration) -> bool {
        match self.unreadable {
            Some((place, since)) if place == at => now.saturating_sub(since) >= UNREADABLE_MAX,
            _ => {
                self.unreadable = Some((at, now));
                false
            }
        }
    }

    /// Takes keys from the append once those that are here are used up.
    pub fn receive(&mut self, exchange: impl FnOnce(&mut Keys)) {
        if self.position >= self.keys.stretch().end {
            self.keys.clear();
            exchange(&mut self.keys);
        }
    }

    /// Opens the files that can be trusted and removes the others.
    pub fn open(
        disk: &dyn Disk,
        dir: &Path,
        shape: Shape,
        checkpoint: &mut CheckpointFile,
        clean: bool,
        log_end: u64,
    ) -> Result<State, StoreError> {
        let found = find_files(disk, dir, shape, (&checkpoint.content, clean), log_end)?;
        let Found { files, mark, unlinked, dropped } = found;
        settle_checkpoint(checkpoint, &files, mark, unlinked)?;
        for path in &dropped {
            disk.remove(path).map_err(StoreError::io("remove", path))?;
        }
        let mut state = State {
            last_is_trusted: !files.is_empty() && !unlinked,
            files,
            position: 0,
            keys: Keys::with_room(),
            skip_until: 0,
            unlinked,
            marked: 0,
            half_made: None,
            unreadable: None,
        };
        state.go_on_from(mark);
        Ok(state)
    }

    /// Removes what is left of a file whose making failed; the next one may have another name.
    pub fn remove_half_made(&mut self, disk: &dyn Disk) -> Result<(), StoreError> {
        if let Some(path) = &self.half_made {
            disk.remove(path).map_err(StoreError::io("remove", path))?;
            self.half_made = None;
        }
        Ok(())
    }

    /// Goes on from the mark of the last file, or from what that file says itself.
    pub fn go_on_from(&mut self, mark: Option<IndexMark>) {
        (self.position, self.skip_until) = match (mark, self.files.last()) {
            (Some(mark), _) => (mark.position, 0),
            (None, None) => (0, 0),
            // The record that the file ends with is done, unless the file was full before all of its keys were in:
            // those that were are then there twice, which queries see through.
            (None, Some(last)) => {
                let indexed = last.header.end_offset.max(0) as u64;
                (indexed, if last.is_full() { 0 } else { indexed + 1 })
            }
        };
        self.marked = self.position;
    }
}

/// Whether the checkpoint says that all of a file is durable; `before` is the header of the file before it.
///
/// While a file is being written the checkpoint's position stands right behind the last entry of the file before.
/// Such a file may begin with other keys of the very record that the file before ends with.
pub(crate) fn is_durable(
    header: &Header,
    before: Option<Header>,
    checkpoint: &Checkpoint,
    clean: bool,
) -> bool {
    let Some(own) = &checkpoint.own else {
        return clean || header.end_timestamp <= checkpoint.index_timestamp;
    };
    let index = own.index as i64;
    header.end_offset < index && before.is_none_or(|before| before.end_offset.checked_add(1) != Some(index))
}

/// Up to where the checkpoint says that index files are durable while a file is written that follows `full`.
pub(crate) fn durable_before(file: &IndexFile, full: &[IndexFile]) -> u64 {
    // The last of them may end with the record that the file begins with.
    let ends_before = full.last().map_or(0, |before| before.header.end_offset.saturating_add(1));
    file.header.begin_offset.max(ends_before).max(0) as u64
}

/// Looks at the files one after the other, until there is one that the index cannot go on behind.
fn find_files(
    disk: &dyn Disk,
    dir: &Path,
    shape: Shape,
    (checkpoint, clean): (&Checkpoint, bool),
    log_end: u64,
) -> Result<Found, StoreError> {
    let mark = checkpoint.own.and_then(|own| own.index_mark).filter(|mark| mark.position <= log_end);
    let mut found = Found { files: Vec::new(), mark: None, unlinked: false, dropped: Vec::new() };
    for entry in disk.list(dir).map_err(StoreError::io("list", dir))? {
        let path = dir.join(&entry.name);
        if entry.is_dir || !index_file::is_name(&entry.name) {
            tracing::warn!(path = %path.display(), "no index file; ignored");
            continue;
        }
        // Later files continue this one: they go with it.
        if found.unlinked || !found.dropped.is_empty() || entry.len != shape.bytes() {
            found.dropped.push(path);
            continue;
        }
        let mut file = IndexFile::open(disk, path.clone(), shape).map_err(StoreError::io("open", &path))?;
        // A header that says nothing may belong to a file that was being written; one that counts more than there is
        // room for, or ends before it begins, is damaged; and an index may have been more durable than the log that it
        // speaks of.
        let speaks_of_log = |header: &Header| {
            (2..=shape.entries).contains(&(header.count as u32))
                && (0..=header.end_offset).contains(&header.begin_offset)
                && header.end_offset < log_end as i64
        };
        let before = found.files.last().map(|before| before.header);
        if is_durable(&file.header, before, checkpoint, clean) && speaks_of_log(&file.header) {
            found.mark = mark.filter(|mark| mark.header == file.header);
            found.files.push(file);
            continue;
        }
        let marked = mark.filter(|mark| speaks_of_log(&mark.header));
        if let Some(mark) = marked
            && file.go_back_to(mark.header).map_err(StoreError::io("read", &path))?
        {
            (found.mark, found.unlinked) = (Some(mark), true);
            found.files.push(file);
            continue;
        }
        found.dropped.push(path);
    }
    Ok(found)
}

/// Has the checkpoint say durably what holds for the files that stay, before any other goes or is made. A mark that is
/// of none of them must not be taken for that of a later one, nor may a file that is made anew, or goes on from a mark,
/// count as durable because another had come as far.
///
/// Java's index time must not be later than the last full file: after a kill Java deletes what ends later, and with
/// `messageIndexSafe` reads the log again from there.
fn settle_checkpoint(
    checkpoint: &mut CheckpointFile,
    files: &[IndexFile],
    mark: Option<IndexMark>,
    unlinked: bool,
) -> Result<(), StoreError> {
    let full = files.iter().rfind(|file| file.is_full()).map_or(0, |file| file.header.end_timestamp);
    let before = checkpoint.content;
    if let Some(own) = &mut checkpoint.content.own {
        own.index_mark = mark;
        match files {
            [] => own.index = 0,
            [full @ .., last] if unlinked => own.index = own.index.min(durable_before(last, full)),
            // Who goes on with it says so first, see `distrust`.
            _ => {}
        }
    }
    let content = &mut checkpoint.content;
    content.index_timestamp = content.index_timestamp.min(full);
    if checkpoint.content != before {
        checkpoint.save().map_err(StoreError::io("write", &checkpoint.path))?;
    }
    Ok(())
}
