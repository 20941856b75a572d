//! What of the index outlives a crash: the full files, and of the one being written the part that the checkpoint has a
//! mark for.
//!
//! A mark is set after the entries that it counts were synced, and after the log was synced up to its position. Entries
//! before it are never written again, so each mark that was ever set for a file holds for as long as the file is there,
//! whichever of them a power cut leaves. When a file is full, or goes, so does its mark, durably before a next file can
//! have entries that are durable.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::Base;
use crate::checkpoint::IndexMark;
use crate::disk::File;
use crate::error::StoreError;
use crate::index_state::{State, durable_before};

/// A mark on its way: what it counts is written and not synced yet.
pub(crate) struct Marking {
    path: PathBuf,
    file: Arc<dyn File>,
    mark: IndexMark,
}

impl Marking {
    /// Writes what is to survive a crash, if the index has gone on by `index_mark_bytes` of the log since the last
    /// time.
    pub fn begin(base: &Base, state: &mut State) -> Result<Option<Marking>, StoreError> {
        let position = state.position;
        // What a failed sync has left is unknown, and a later one would not tell.
        if base.fault().is_some()
            || state.unlinked
            || position.saturating_sub(state.marked) < base.options.index_mark_bytes
        {
            return Ok(None);
        }
        let Some(last) = state.files.last_mut() else { return Ok(None) };
        let file = last.write_entries().map_err(StoreError::io("write", &last.path))?;
        let mark = IndexMark { position, header: last.header };
        Ok(Some(Marking { path: last.path.clone(), file, mark }))
    }

    /// The log must be durable up to here first: marks and headers may speak of durable records only.
    pub fn position(&self) -> u64 {
        self.mark.position
    }

    /// Makes what was written durable. Not under the lock of the state, so that no query waits for the disk.
    pub fn sync(&self, base: &Base) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|source| base.sync_error(&self.path, source))
    }

    /// Sets the mark.
    pub fn end(self, base: &Base, state: &mut State) -> Result<(), StoreError> {
        // A query may have had the index go on to the next file.
        if state.files.last().is_some_and(|last| last.path == self.path) {
            base.move_checkpoint(false, |_, own| own.index_mark = Some(self.mark))?;
            state.marked = self.mark.position;
        }
        Ok(())
    }
}

/// Notes durably that the last file is being written, before it is, and that what is in it by now holds. The log is
/// durable up to the position of the index. Where that cannot be noted any more, what the file says on the disk stays
/// as it is.
pub(crate) fn distrust(base: &Base, state: &mut State) -> Result<(), StoreError> {
    let position = state.position;
    if let Some((last, full)) = state.files.split_last().filter(|_| base.fault().is_none()) {
        // Java may have written it.
        last.sync().map_err(|source| base.sync_error(&last.path, source))?;
        let mark = IndexMark { position, header: last.header };
        let durable_until = durable_before(last, full);
        base.move_checkpoint(true, |_, own| (own.index, own.index_mark) = (durable_until, Some(mark)))?;
    }
    // After a failed sync the checkpoint is told nothing: it goes on to say that all of this file is durable.
    if let Some(last) = state.files.last_mut().filter(|_| base.fault().is_some()) {
        last.hold();
    }
    (state.last_is_trusted, state.marked) = (false, position);
    Ok(())
}

/// Makes the slots of a file that was kept up to its mark, or drops it if its entries do not hold together.
pub(crate) fn link(base: &Base, state: &mut State) -> Result<(), StoreError> {
    if !state.unlinked {
        return Ok(());
    }
    if let Some((last, full)) = state.files.split_last_mut() {
        if last.link().map_err(StoreError::io("make the slots of", &last.path))? {
            state.unlinked = false;
            tracing::info!(
                entries = last.header.count - 1,
                behind_mib = base.log.end().saturating_sub(state.position) >> 20,
                "the last index file is kept up to its mark; it goes on from there"
            );
            return Ok(());
        }
        tracing::warn!(path = %last.path.display(), "index entries do not hold together; their part of the log is read again");
        let is_first = full.is_empty();
        base.move_checkpoint(true, |_, own| {
            own.index = if is_first { 0 } else { own.index };
            own.index_mark = None;
        })?;
        // Then the checkpoint was told nothing, and its mark would be taken for that of the next file.
        if let Some(cause) = base.fault() {
            return Err(StoreError::ReadOnly { cause });
        }
        base.disk.remove(&last.path).map_err(StoreError::io("remove", &last.path))?;
    }
    state.files.pop();
    (state.unlinked, state.last_is_trusted) = (false, !state.files.is_empty());
    state.go_on_from(None);
    Ok(())
}
