//! The key index: a follower of the log that goes along it from its own position and remembers which record has which
//! key, unique key or tag (store.md §6, since-5.3.md §4.5). The append leaves it the keys of what it has just written
//! (`index_keys`); all others are read from the log.
//!
//! Files that are full are complete and durable; of the one being written so much is as the checkpoint has a mark for
//! (`index_mark`). After a crash that part is kept, and what the log has behind it is read again in the background.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::base::Base;
use crate::checkpoint::{CheckpointFile, IndexMark};
use crate::clock::LocalTime;
use crate::commit_log::{CommitLog, Look, Walk};
use crate::disk::{self, Disk};
use crate::error::StoreError;
use crate::index_file::{IndexFile, Shape};
use crate::index_keys::{self, Key, Keys};
use crate::index_mark::{distrust, link};
use crate::index_state::State;
use crate::options::Options;
use crate::signal::Signal;

/// The index of a store.
pub(crate) struct Index {
    pub signal: Signal,
    /// Held while the disk is waited for.
    pub state: Mutex<State>,
    /// How far the log had been read when the last step ended: for who must not wait for the one that runs.
    position: AtomicU64,
    pub dir: PathBuf,
    shape: Shape,
}

/// How a step of indexing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to index.
    More,
    /// Before a record up to which the log must be durable first.
    BeforeUnflushed,
    /// At the end of the log.
    AtEnd,
}

/// Log bytes that one step indexes at most, so that queries come in between.
const STEP_BYTES: u64 = 4 << 20;

/// What failed when entries could not be added: slots are read for it, and entries are written now and then.
const UPDATE: &str = "update";

impl Index {
    /// Opens the files that can be trusted and removes the others. `clean` tells whether the store had been stopped
    /// cleanly.
    pub fn open(
        disk: &dyn Disk,
        options: &Options,
        checkpoint: &mut CheckpointFile,
        clean: bool,
        log_end: u64,
    ) -> Result<Option<Index>, StoreError> {
        if !options.index_enabled {
            return Ok(None);
        }
        let dir = options.root.join("index");
        let shape = Shape::of(options);
        let state = State::open(disk, &dir, shape, checkpoint, clean, log_end)?;
        let position = AtomicU64::new(state.position);
        Ok(Some(Index { signal: Signal::default(), state: Mutex::new(state), position, dir, shape }))
    }

    /// Takes the keys that the append has left, once those of the last time are used up. `exchange` gives them and
    /// takes room for those that come.
    pub fn receive(&self, exchange: impl FnOnce(&mut Keys)) {
        self.state.lock().receive(exchange);
    }

    /// Indexes some more of the log.
    pub fn step(&self, base: &Base) -> Result<Step, StoreError> {
        self.index_some(base, &mut self.state.lock())
    }

    fn index_some(&self, base: &Base, state: &mut State) -> Result<Step, StoreError> {
        let step = self.read_on(base, state);
        if let Some(last) = state.files.last_mut() {
            // Queries come between steps.
            last.chain().map_err(StoreError::io(UPDATE, &last.path))?;
        }
        self.position.store(state.position, Ordering::Release);
        step
    }

    fn read_on(&self, base: &Base, state: &mut State) -> Result<Step, StoreError> {
        link(base, state)?;
        let end = base.log.end();
        let until = end.min(state.position.max(base.log.min()) + STEP_BYTES);
        let mut walk = Walk::to_end(&base.log, end);
        state.position = state.position.max(base.log.min());
        while state.position < until {
            let goes_on = if state.keys.stretch().contains(&state.position) {
                self.put_known(base, state, until)?
            } else {
                self.put_next(base, state, &mut walk)?
            };
            if !goes_on {
                return Ok(Step::BeforeUnflushed);
            }
        }
        Ok(if state.position < end { Step::More } else { Step::AtEnd })
    }

    /// Adds the keys of records below `until` that the append has left; false if the log must be durable first.
    fn put_known(&self, base: &Base, state: &mut State, until: u64) -> Result<bool, StoreError> {
        let known = std::mem::take(&mut state.keys);
        let put = self.put_keys(base, state, &known, until);
        state.keys = known;
        put
    }

    fn put_keys(&self, base: &Base, state: &mut State, known: &Keys, until: u64) -> Result<bool, StoreError> {
        for record in known.from(state.position).chunk_by(|one, next| one.offset == next.offset) {
            state.position = record[0].offset;
            if state.position >= until {
                return Ok(true);
            }
            if state.position >= state.skip_until && !self.put_record(base, state, record.iter().copied())? {
                return Ok(false);
            }
        }
        state.position = known.stretch().end;
        Ok(true)
    }

    /// Adds the keys of the next record, which is read from the log; false if the log must be durable first.
    fn put_next(&self, base: &Base, state: &mut State, walk: &mut Walk<'_>) -> Result<bool, StoreError> {
        let at = state.position;
        let look = match walk.look(at) {
            Err(error) if state.is_given_up(at, base.clock.monotonic()) => Look::Bad(error.to_string()),
            look => look.map_err(|source| base.log.error_at("read", at, source))?,
        };
        match look {
            Look::Record(record) => {
                if at >= state.skip_until && !self.put_record(base, state, index_keys::of(&record))? {
                    return Ok(false);
                }
                state.position = at + record.bytes.len() as u64;
            }
            Look::Blank { next } => state.position = next,
            Look::Bad(reason) => {
                state.position = (at / base.log.segment_bytes + 1) * base.log.segment_bytes;
                tracing::error!(
                    offset = at,
                    reason,
                    "record that is damaged or cannot be read; the rest of its segment is not indexed"
                );
            }
            // The segment expired meanwhile.
            Look::Nothing => state.position = base.log.min().max(at + 1),
        }
        Ok(true)
    }

    /// Adds the keys of the record at the position; false if the log must be durable up to it first.
    fn put_record(
        &self,
        base: &Base,
        state: &mut State,
        keys: impl Iterator<Item = Key>,
    ) -> Result<bool, StoreError> {
        for key in keys {
            if state.files.last().is_none_or(IndexFile::is_full) {
                self.roll(base, state)?;
            } else if state.last_is_trusted {
                if base.fault().is_none() && base.flushed_until() < state.position {
                    return Ok(false);
                }
                distrust(base, state)?;
            }
            let Some(file) = state.files.last_mut() else { continue };
            file.put(key.hash, key.offset, key.timestamp).map_err(StoreError::io(UPDATE, &file.path))?;
        }
        Ok(true)
    }

    /// Completes the full file and begins the next.
    fn roll(&self, base: &Base, state: &mut State) -> Result<(), StoreError> {
        if let Some(full) = state.files.last_mut() {
            // What could not be written is written again, such as when a full disk has room once more.
            full.flush().map_err(StoreError::io("write", &full.path))?;
            let synced = full.sync().and_then(|()| base.disk.sync_dir(&self.dir));
            synced.map_err(|source| base.sync_error(&full.path, source))?;
            let (end_offset, timestamp) = (full.header.end_offset as u64, full.header.end_timestamp);
            base.move_checkpoint(false, |checkpoint, own| {
                own.index = end_offset + 1;
                own.index_mark = None;
                checkpoint.index_timestamp = timestamp;
            })?;
        }
        state.remove_half_made(&*base.disk)?;
        let now = base.clock.now_millis();
        let name = LocalTime::of(now, base.clock.utc_offset_seconds(now)).digits();
        // Names must rise even when the clock does not.
        let last = state.files.last().and_then(|file| file.path.file_name()?.to_str()?.parse::<u64>().ok());
        let number = name.parse::<u64>().unwrap_or(0).max(last.map_or(0, |last| last + 1));
        let path = self.dir.join(format!("{number:017}"));
        state.half_made = Some(path.clone());
        let created = disk::create_dirs(&*base.disk, &self.dir).and_then(|()| {
            let file = IndexFile::create(&*base.disk, path.clone(), self.shape)?;
            base.disk.sync_dir(&self.dir)?;
            Ok(file)
        });
        state.files.push(created.map_err(StoreError::io("create", &path))?);
        (state.half_made, state.last_is_trusted, state.marked) = (None, false, state.position);
        Ok(())
    }

    /// Bytes of the log that were not indexed yet when the last step ended. Waits for nobody.
    pub fn behind(&self, log: &CommitLog) -> u64 {
        log.end().saturating_sub(self.position.load(Ordering::Acquire))
    }

    /// Removes index files that speak only of deleted segments; the last one stays.
    pub fn clean(&self, base: &Base) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        while state.files.len() > 1 && state.files[0].header.end_offset < base.log.min() as i64 {
            let path = state.files.remove(0).path;
            base.disk.remove(&path).map_err(StoreError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Brings the index to the end of the log, if that does not take too long, and makes it durable, at a clean stop:
    /// the log is durable and grows no more.
    pub fn stop(&self, base: &Base) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        self.catch_up(base, &mut state)?;
        state.remove_half_made(&*base.disk)?;
        let position = state.position;
        let mark = match state.files.last_mut() {
            Some(file) => {
                file.flush().and_then(|()| file.sync()).map_err(StoreError::io("sync", &file.path))?;
                Some(IndexMark { position, header: file.header })
            }
            None => None,
        };
        // Java's index time stays: it speaks of full files only.
        base.move_checkpoint(true, |_, own| (own.index, own.index_mark) = (position, mark))
    }

    fn catch_up(&self, base: &Base, state: &mut State) -> Result<(), StoreError> {
        // Headers count at the next start, so slots must be right, however long that takes.
        link(base, state)?;
        let until = base.clock.monotonic() + base.options.index_stop_wait;
        while state.position < base.log.end() {
            if base.clock.monotonic() >= until {
                tracing::warn!(
                    behind_mib = (base.log.end() - state.position) >> 20,
                    "stopping before the key index has come to the end of the log; the next start goes on with it (a Java broker would not, and never find these messages by key)"
                );
                break;
            }
            if self.index_some(base, state)? == Step::BeforeUnflushed {
                break;
            }
        }
        Ok(())
    }

    /// Writes the buffers and gives their memory back, and that of keys that wait; `exchange` as for
    /// [`Index::receive`].
    pub fn rest(&self, exchange: impl FnOnce(&mut Keys)) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        state.keys.give_back();
        state.receive(exchange);
        state.keys.give_back();
        match state.files.last_mut() {
            Some(file) if file.has_changed() => file.flush().map_err(StoreError::io("write", &file.path)),
            _ => Ok(()),
        }
    }
}
