//! What of a turn's batch belongs to transactions.

use std::sync::Arc;

use crate::topics::Topic;

/// What of a turn's batch belongs to transactions.
#[derive(Default)]
pub(crate) struct Share {
    /// Topics of half messages.
    pub(crate) halves: Vec<Arc<Topic>>,
    /// Decided half messages, with their topics if these still exist.
    pub(crate) ends: Vec<(u64, Option<Arc<Topic>>)>,
    /// Op records by their number in the batch, with the highest half offset that each names.
    pub(crate) ops: Vec<(usize, u64)>,
    /// The ends are no decisions: copies of the half messages go on.
    pub(crate) moved: bool,
}

impl Share {
    /// Whether op records must follow.
    pub fn has_ends(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.halves.is_empty() && self.ends.is_empty()
    }

    pub fn add_half(&mut self, topic: &Arc<Topic>) {
        self.halves.push(Arc::clone(topic));
    }
}
