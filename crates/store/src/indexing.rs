//! Keeping the key index up with the log.

use std::time::Duration;

use crate::error::StoreError;
use crate::index::{Index, Step};
use crate::index_keys::Keys;
use crate::index_mark::Marking;
use crate::store::Store;

/// The index lets records come together for this long: it is read rarely, and a query waits for it anyway.
const GATHER: Duration = Duration::from_millis(50);
/// After this long without records the buffers are written and their memory is given back.
const IDLE: Duration = Duration::from_secs(5);

impl Store {
    /// Indexes some more of the log; false if it has come to the end.
    pub fn index_step(&self) -> Result<bool, StoreError> {
        let Some(index) = &self.index else { return Ok(false) };
        index.receive(|keys| self.exchange_keys(keys));
        loop {
            match index.step(&self.base)? {
                Step::More => return Ok(true),
                Step::AtEnd => return Ok(false),
                Step::BeforeUnflushed => self.flush_step()?,
            }
        }
    }

    /// Has what is indexed survive a crash, if the index has gone on by `index_mark_bytes` of the log since the last
    /// time.
    pub fn index_mark_step(&self) -> Result<(), StoreError> {
        let Some(index) = &self.index else { return Ok(()) };
        let begun = Marking::begin(&self.base, &mut index.state.lock())?;
        let Some(marking) = begun else { return Ok(()) };
        if self.flushed_until() < marking.position() {
            self.flush_step()?;
        }
        marking.sync(&self.base)?;
        marking.end(&self.base, &mut index.state.lock())
    }

    /// Writes what is indexed, without waiting for the disk, and gives the memory of it back: there is nothing to do.
    pub fn index_rest_step(&self) -> Result<(), StoreError> {
        self.index.as_ref().map_or(Ok(()), |index| index.rest(|keys| self.exchange_keys(keys)))
    }

    fn exchange_keys(&self, keys: &mut Keys) {
        std::mem::swap(&mut self.appender.lock().keys, keys);
    }

    /// Bytes of the log that are not indexed yet.
    pub(crate) fn index_behind(&self) -> u64 {
        self.index.as_ref().map_or(0, |index| index.behind(&self.base.log))
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
                self.index_rest_step()
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
}
