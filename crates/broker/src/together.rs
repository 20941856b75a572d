//! Changes of one file that are written together.
//!
//! A file of all topics, or of all groups, is written as a whole. If each of many who create one wrote it for himself,
//! they would write as many bytes as their number squared. While one writes the changes of the others gather, and who
//! is next writes them all.

use std::io;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};

/// Who changes a file one after the other, and what waits to be changed with the next write.
pub(crate) struct Together<C> {
    changing: Mutex<()>,
    waiting: Mutex<Vec<Waiting<C>>>,
}

/// Changes that somebody waits for, and how they ended: with an error if there is one.
struct Waiting<C> {
    changes: Vec<C>,
    outcome: Arc<OnceLock<Option<(io::ErrorKind, String)>>>,
}

impl<C> Default for Together<C> {
    fn default() -> Self {
        Together { changing: Mutex::default(), waiting: Mutex::default() }
    }
}

impl<C> Together<C> {
    /// Nobody else changes anything while this is held.
    pub fn alone(&self) -> MutexGuard<'_, ()> {
        self.changing.lock()
    }

    /// Has `make` make these changes, in one call with those of others who wait for their turn as well; with its error
    /// all of them have failed.
    pub fn change(&self, changes: Vec<C>, make: impl FnOnce(Vec<C>) -> io::Result<()>) -> io::Result<()> {
        let outcome = Arc::default();
        self.waiting.lock().push(Waiting { changes, outcome: Arc::clone(&outcome) });
        let _one_at_a_time = self.changing.lock();
        if outcome.get().is_none() {
            let waiting = std::mem::take(&mut *self.waiting.lock());
            let (changes, outcomes): (Vec<_>, Vec<_>) =
                waiting.into_iter().map(|waiting| (waiting.changes, waiting.outcome)).unzip();
            let made = make(changes.into_iter().flatten().collect());
            let failed = made.err().map(|error| (error.kind(), error.to_string()));
            outcomes.iter().for_each(|outcome| drop(outcome.set(failed.clone())));
        }
        match outcome.get() {
            Some(None) => Ok(()),
            Some(Some((kind, text))) => Err(io::Error::new(*kind, text.clone())),
            None => Err(io::Error::other("who was to write the changes of several has failed at it")),
        }
    }

    /// How many wait for their turn.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }
}
