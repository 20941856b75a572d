//! The key index: a follower of the log that reads it from its own position and remembers which record has which
//! key, unique key or tag (store.md §6, since-5.3.md §4.5).
//!
//! Files that are full are complete and durable; of the one being written so much is as the checkpoint has a mark for
//! (`index_mark`). After a crash that part is kept, and what the log has behind it is read again in the background.

use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use wire::hash::JavaHash;
use wire::properties;
use wire::record::Record;
use wire::sys_flag;

use crate::checkpoint::IndexMark;
use crate::clock::LocalTime;
use crate::commit_log::{Look, Walk};
use crate::disk::{self, Disk};
use crate::error::StoreError;
use crate::index_file::{Header, IndexFile, Shape};
use crate::options::Options;
use crate::recovery::Recovered;
use crate::signal::Signal;
use crate::store::Store;

/// The index of a store.
pub(crate) struct Index {
    pub signal: Signal,
    pub state: Mutex<State>,
    pub dir: PathBuf,
    shape: Shape,
}

/// What is known of the files, and how far the log has been read.
pub(crate) struct State {
    /// Oldest first; only the last is written.
    pub files: Vec<IndexFile>,
    pub position: u64,
    /// A record before this is in the index already.
    pub skip_until: u64,
    /// The checkpoint still says that all of the last file is durable.
    pub last_is_trusted: bool,
    /// Of the last file only the entries are right; its slots are to be made from them.
    pub unlinked: bool,
    /// How far the log had been read when the checkpoint was told last.
    pub marked: u64,
    /// A file whose making failed: a part of it may be there.
    half_made: Option<PathBuf>,
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

/// Log bytes that one step indexes at most, so that queries come in between.
const STEP_BYTES: u64 = 4 << 20;
/// The index lets records come together for this long: it is read rarely, and a query waits for it anyway.
const GATHER: Duration = Duration::from_millis(50);
/// After this long without records the buffers are written and their memory is given back.
const IDLE: Duration = Duration::from_secs(5);

impl Index {
    /// Opens the files that can be trusted and removes the others.
    pub fn open(
        disk: &dyn Disk,
        options: &Options,
        recovered: &mut Recovered,
        log_end: u64,
    ) -> Result<Option<Index>, StoreError> {
        if !options.index_enabled {
            return Ok(None);
        }
        let dir = options.root.join("index");
        let shape = Shape { slots: options.index_slots.max(1), entries: options.index_entries.max(2) };
        let Found { files, mark, unlinked, dropped } = find_files(disk, &dir, shape, recovered, log_end)?;
        settle_checkpoint(recovered, &files, mark)?;
        for path in &dropped {
            disk.remove(path).map_err(StoreError::io("remove", path))?;
        }
        let mut state = State {
            last_is_trusted: !files.is_empty() && !unlinked,
            files,
            position: 0,
            skip_until: 0,
            unlinked,
            marked: 0,
            half_made: None,
        };
        state.go_on_from(mark);
        Ok(Some(Index { signal: Signal::default(), state: Mutex::new(state), dir, shape }))
    }
}

impl State {
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

/// Looks at the files one after the other, until there is one that the index cannot go on behind.
fn find_files(
    disk: &dyn Disk,
    dir: &Path,
    shape: Shape,
    recovered: &Recovered,
    log_end: u64,
) -> Result<Found, StoreError> {
    let checkpoint = &recovered.checkpoint.content;
    let mark = checkpoint.own.and_then(|own| own.index_mark).filter(|mark| mark.position <= log_end);
    let mut found = Found { files: Vec::new(), mark: None, unlinked: false, dropped: Vec::new() };
    for entry in disk.list(dir).map_err(StoreError::io("list", dir))? {
        let path = dir.join(&entry.name);
        if entry.is_dir || entry.name.len() != 17 || !entry.name.bytes().all(|b| b.is_ascii_digit()) {
            tracing::warn!(path = %path.display(), "no index file; ignored");
            continue;
        }
        // Later files continue this one: they go with it.
        if found.unlinked || !found.dropped.is_empty() || entry.len != shape.bytes() {
            found.dropped.push(path);
            continue;
        }
        let mut file = IndexFile::open(disk, path.clone(), shape).map_err(StoreError::io("open", &path))?;
        // A header that says nothing may belong to a file that was being written; and an index may have been more
        // durable than the log that it speaks of.
        let speaks_of_log = |header: &Header| header.count > 1 && header.end_offset < log_end as i64;
        let trusted = match &checkpoint.own {
            Some(own) => file.header.end_offset < own.index as i64,
            None => recovered.clean || file.header.end_timestamp <= checkpoint.index_timestamp,
        };
        if trusted && speaks_of_log(&file.header) {
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
/// of none of them must not be taken for that of a later one.
///
/// Java's index time must not be later than the last full file: after a kill Java deletes what ends later, and with
/// `messageIndexSafe` reads the log again from there.
fn settle_checkpoint(
    recovered: &mut Recovered,
    files: &[IndexFile],
    mark: Option<IndexMark>,
) -> Result<(), StoreError> {
    let full = files.iter().rfind(|file| file.is_full()).map_or(0, |file| file.header.end_timestamp);
    let checkpoint = &mut recovered.checkpoint;
    let before = checkpoint.content;
    if let Some(own) = &mut checkpoint.content.own {
        own.index_mark = mark;
    }
    let content = &mut checkpoint.content;
    content.index_timestamp = content.index_timestamp.min(full);
    if checkpoint.content != before {
        checkpoint.save().map_err(StoreError::io("write", &checkpoint.path))?;
    }
    Ok(())
}

impl Store {
    /// Indexes some more of the log; false if it has come to the end.
    pub fn index_step(&self) -> Result<bool, StoreError> {
        let Some(index) = &self.index else { return Ok(false) };
        let mut state = index.state.lock();
        self.index_some(index, &mut state)
    }

    pub(crate) fn index_some(&self, index: &Index, state: &mut State) -> Result<bool, StoreError> {
        self.index_link(state)?;
        let end = self.log.end();
        let until = end.min(state.position.max(self.log.min()) + STEP_BYTES);
        let mut walk = Walk::to_end(&self.log, end);
        state.position = state.position.max(self.log.min());
        while state.position < until {
            let at = state.position;
            match walk.look(at).map_err(|source| self.log.error_at("read", at, source))? {
                Look::Record(record) => {
                    if at >= state.skip_until {
                        self.index_record(index, state, &record)?;
                    }
                    state.position = at + record.bytes.len() as u64;
                }
                Look::Blank { next } => state.position = next,
                Look::Bad(reason) => {
                    state.position = (at / self.log.segment_bytes + 1) * self.log.segment_bytes;
                    tracing::error!(
                        offset = at,
                        reason,
                        "damaged record; the rest of its segment is not indexed"
                    );
                }
                // The segment expired meanwhile.
                Look::Nothing => state.position = self.log.min().max(at + 1),
            }
        }
        Ok(state.position < end)
    }

    fn index_record(&self, index: &Index, state: &mut State, record: &Record<'_>) -> Result<(), StoreError> {
        for (hash, _) in hashes_of(record) {
            self.index_put(index, state, hash, record)?;
        }
        Ok(())
    }

    fn index_put(
        &self,
        index: &Index,
        state: &mut State,
        hash: u32,
        record: &Record<'_>,
    ) -> Result<(), StoreError> {
        if state.files.last().is_none_or(IndexFile::is_full) {
            self.index_roll(index, state)?;
        } else if state.last_is_trusted {
            self.index_distrust(state)?;
        }
        let Some(file) = state.files.last_mut() else { return Ok(()) };
        file.put(hash, record.physical_offset as u64, record.store_timestamp)
            .map_err(StoreError::io("write", &file.path))
    }

    /// Completes the full file and begins the next.
    fn index_roll(&self, index: &Index, state: &mut State) -> Result<(), StoreError> {
        if let Some(full) = state.files.last_mut() {
            let synced =
                full.flush().and_then(|()| full.sync()).and_then(|()| self.disk.sync_dir(&index.dir));
            if let Err(source) = synced {
                let path = full.path.clone();
                return Err(self.index_sync_failed(StoreError::Io { what: "sync", path, source }));
            }
            let (end_offset, timestamp) = (full.header.end_offset as u64, full.header.end_timestamp);
            self.move_checkpoint(false, |checkpoint, own| {
                own.index = end_offset + 1;
                own.index_mark = None;
                checkpoint.index_timestamp = timestamp;
            })?;
        }
        self.remove_half_made(state)?;
        let now = self.clock.now_millis();
        let name = LocalTime::of(now, self.clock.utc_offset_seconds(now)).digits();
        // Names must rise even when the clock does not.
        let last = state.files.last().and_then(|file| file.path.file_name()?.to_str()?.parse::<u64>().ok());
        let number = name.parse::<u64>().unwrap_or(0).max(last.map_or(0, |last| last + 1));
        let path = index.dir.join(format!("{number:017}"));
        state.half_made = Some(path.clone());
        let created = disk::create_dirs(&*self.disk, &index.dir).and_then(|()| {
            let file = IndexFile::create(&*self.disk, path.clone(), index.shape)?;
            self.disk.sync_dir(&index.dir)?;
            Ok(file)
        });
        state.files.push(created.map_err(StoreError::io("create", &path))?);
        (state.half_made, state.last_is_trusted, state.marked) = (None, false, state.position);
        Ok(())
    }

    /// Removes what is left of a file whose making failed; the next one may have another name.
    pub(crate) fn remove_half_made(&self, state: &mut State) -> Result<(), StoreError> {
        if let Some(path) = &state.half_made {
            self.disk.remove(path).map_err(StoreError::io("remove", path))?;
            state.half_made = None;
        }
        Ok(())
    }

    /// Bytes of the log that are not indexed yet.
    pub(crate) fn index_behind(&self) -> u64 {
        self.index.as_ref().map_or(0, |index| self.log.end().saturating_sub(index.state.lock().position))
    }

    /// Removes index files that speak only of deleted segments; the last one stays.
    pub(crate) fn index_clean(&self) -> Result<(), StoreError> {
        let Some(index) = &self.index else { return Ok(()) };
        let mut state = index.state.lock();
        while state.files.len() > 1 && state.files[0].header.end_offset < self.log.min() as i64 {
            let path = state.files.remove(0).path;
            self.disk.remove(&path).map_err(StoreError::io("remove", &path))?;
        }
        Ok(())
    }

    /// The thread that indexes.
    pub(crate) fn index_loop(&self) {
        let Some(index) = &self.index else { return };
        if let Err(error) = self.index_all(index) {
            tracing::error!(%error, "indexing failed; it is tried again with the next messages");
        }
        let mut changed = true;
        loop {
            let raised = index.signal.wait(changed.then_some(IDLE));
            if index.signal.is_stopped() {
                return;
            }
            let done = if raised {
                index.signal.pause(GATHER);
                index.signal.take();
                changed = true;
                self.index_all(index)
            } else {
                changed = false;
                self.index_idle(index)
            };
            if let Err(error) = done {
                tracing::error!(%error, "indexing failed; it is tried again with the next messages");
                index.signal.pause(Duration::from_secs(1));
            }
        }
    }

    fn index_all(&self, index: &Index) -> Result<(), StoreError> {
        while !index.signal.is_stopped() {
            let has_more = self.index_step()?;
            self.index_mark_step()?;
            if !has_more {
                break;
            }
        }
        Ok(())
    }

    fn index_idle(&self, index: &Index) -> Result<(), StoreError> {
        let mut state = index.state.lock();
        match state.files.last_mut() {
            Some(file) if file.has_changed() => file.flush().map_err(StoreError::io("write", &file.path)),
            _ => Ok(()),
        }
    }
}

/// The hashes under which a record is indexed, in order; the flag marks the one of its tags, which Java's broker does
/// not index before 5.4.
pub(crate) fn hashes_of<'a>(record: &Record<'a>) -> impl Iterator<Item = (u32, bool)> + use<'a> {
    let (mut unique, mut keys, mut tags) = (None, None, None);
    let rolled_back = record.sys_flag & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_ROLLBACK;
    let properties = if rolled_back { &[] } else { record.properties };
    for (name, value) in properties::iter(properties) {
        match name {
            properties::UNIQ_KEY => unique = Some(value),
            properties::KEYS => keys = Some(value),
            properties::TAGS => tags = Some(value),
            _ => {}
        }
    }
    let topic = JavaHash::default().update(record.topic).update("#");
    let tag = tags.map(|tags| (topic.update("T#").update(tags), true));
    let keys = keys.unwrap_or_default().split(' ').filter(|key| !key.is_empty());
    let hashes = unique.into_iter().chain(keys).map(move |key| (topic.update(key), false)).chain(tag);
    hashes.map(|(hash, is_tag)| (fold(hash), is_tag))
}

/// Java's index hash: the absolute value, with the one number that has none becoming 0.
pub(crate) fn fold(hash: JavaHash) -> u32 {
    hash.0.checked_abs().unwrap_or(0) as u32
}
