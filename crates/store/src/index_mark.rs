//! What of the index outlives a crash: the full files, and of the one being written the part that the checkpoint has a
//! mark for.
//!
//! A mark is set after the entries that it counts were synced, and after the log was synced up to its position. Entries
//! before it are never written again, so each mark that was ever set for a file holds for as long as the file is there,
//! whichever of them a power cut leaves. When a file is full, or goes, so does its mark, durably before a next file can
//! have entries that are durable.

use crate::checkpoint::IndexMark;
use crate::error::StoreError;
use crate::index::{Index, State};
use crate::store::Store;

impl Store {
    /// Has what is indexed survive a crash, if the index has gone on by `index_mark_bytes` of the log since the last
    /// time.
    pub fn index_mark_step(&self) -> Result<(), StoreError> {
        let Some(index) = &self.index else { return Ok(()) };
        // What a failed sync has left is unknown, and a later one would not tell.
        if self.fault().is_some() {
            return Ok(());
        }
        let (path, file, mark) = {
            let mut state = index.state.lock();
            let position = state.position;
            if state.unlinked || position.saturating_sub(state.marked) < self.options.index_mark_bytes {
                return Ok(());
            }
            let Some(last) = state.files.last_mut() else { return Ok(()) };
            let file = last.write_entries().map_err(StoreError::io("write", &last.path))?;
            (last.path.clone(), file, IndexMark { position, header: last.header })
        };
        // Without the lock, so that no query waits for the disk.
        self.flush_log_until(mark.position)?;
        if let Err(source) = file.sync_data() {
            return Err(self.index_sync_failed(StoreError::Io { what: "sync", path, source }));
        }
        let mut state = index.state.lock();
        // A query may have had the index go on to the next file.
        if state.files.last().is_some_and(|last| last.path == path) {
            self.move_checkpoint(false, |_, own| own.index_mark = Some(mark))?;
            state.marked = mark.position;
        }
        Ok(())
    }

    /// Notes durably that the last file is being written, before it is, and that what is in it by now holds. Where that
    /// cannot be noted any more, what the file says on the disk stays as it is.
    pub(crate) fn index_distrust(&self, state: &mut State) -> Result<(), StoreError> {
        let position = state.position;
        if let Some(last) = state.files.last().filter(|_| self.fault().is_none()) {
            self.flush_log_until(position)?;
            // Java may have written it.
            if let Err(source) = last.sync() {
                let error = StoreError::Io { what: "sync", path: last.path.clone(), source };
                return Err(self.index_sync_failed(error));
            }
            let mark = IndexMark { position, header: last.header };
            self.move_checkpoint(true, |_, own| {
                own.index = mark.header.begin_offset.max(0) as u64;
                own.index_mark = Some(mark);
            })?;
        }
        // After a failed sync the checkpoint is told nothing: it goes on to say that all of this file is durable.
        if let Some(last) = state.files.last_mut().filter(|_| self.fault().is_some()) {
            last.hold();
        }
        (state.last_is_trusted, state.marked) = (false, position);
        Ok(())
    }

    /// Makes the slots of a file that was kept up to its mark, or drops it if its entries do not hold together.
    pub(crate) fn index_link(&self, state: &mut State) -> Result<(), StoreError> {
        if !state.unlinked {
            return Ok(());
        }
        if let Some(last) = state.files.last_mut() {
            if last.link().map_err(StoreError::io("make the slots of", &last.path))? {
                state.unlinked = false;
                tracing::info!(
                    entries = last.header.count - 1,
                    behind_mib = self.log.end().saturating_sub(state.position) >> 20,
                    "the last index file is kept up to its mark; it goes on from there"
                );
                return Ok(());
            }
            tracing::warn!(path = %last.path.display(), "index entries do not hold together; their part of the log is read again");
            self.move_checkpoint(true, |_, own| own.index_mark = None)?;
            // Then the checkpoint was told nothing, and its mark would be taken for that of the next file.
            if let Some(cause) = self.fault() {
                return Err(StoreError::ReadOnly { cause });
            }
            self.disk.remove(&last.path).map_err(StoreError::io("remove", &last.path))?;
        }
        state.files.pop();
        (state.unlinked, state.last_is_trusted) = (false, !state.files.is_empty());
        state.go_on_from(None);
        Ok(())
    }

    /// Brings the index to the end of the log, if that does not take too long, and makes it durable, at a clean stop.
    pub(crate) fn index_stop(&self) -> Result<(), StoreError> {
        let Some(index) = &self.index else { return Ok(()) };
        let mut state = index.state.lock();
        self.index_catch_up(index, &mut state)?;
        self.remove_half_made(&mut state)?;
        let position = state.position;
        let mark = match state.files.last_mut() {
            Some(file) => {
                file.flush().and_then(|()| file.sync()).map_err(StoreError::io("sync", &file.path))?;
                Some(IndexMark { position, header: file.header })
            }
            None => None,
        };
        // Java's index time stays: it speaks of full files only.
        self.move_checkpoint(true, |_, own| (own.index, own.index_mark) = (position, mark))
    }

    fn index_catch_up(&self, index: &Index, state: &mut State) -> Result<(), StoreError> {
        // Headers count at the next start, so slots must be right, however long that takes.
        self.index_link(state)?;
        let until = self.clock.monotonic() + self.options.index_stop_wait;
        while state.position < self.log.end() {
            if self.clock.monotonic() >= until {
                tracing::warn!(
                    behind_mib = (self.log.end() - state.position) >> 20,
                    "stopping before the key index has come to the end of the log; the next start goes on with it (a Java broker would not, and never find these messages by key)"
                );
                break;
            }
            self.index_some(index, state)?;
        }
        Ok(())
    }

    /// Marks and headers may speak of durable records only.
    fn flush_log_until(&self, position: u64) -> Result<(), StoreError> {
        if self.flushed_until() < position { self.flush_step() } else { Ok(()) }
    }

    pub(crate) fn index_sync_failed(&self, error: StoreError) -> StoreError {
        self.sync_failed(error.to_string());
        error
    }
}
