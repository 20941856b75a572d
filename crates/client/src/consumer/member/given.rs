//! What requests brought, as a member gives it out.

use std::sync::Arc;

use super::Member;
use super::assigned::Assigned;
use super::pop::Popped;
use crate::received::Received;

/// What one request brought.
#[derive(Debug)]
pub(in crate::consumer) enum Given {
    Pulled(Batch),
    Popped(Vec<Popped>),
}

/// Messages of one pull.
#[derive(Debug)]
pub(in crate::consumer) struct Batch {
    pub assigned: Arc<Assigned>,
    /// Of the queue's window when they were asked for.
    pub generation: u64,
    pub messages: Vec<Received>,
}

impl Batch {
    /// Whether it still means something: the queue is this member's and was not read from elsewhere since.
    pub fn is_current(&self) -> bool {
        !self.assigned.is_revoked() && self.assigned.generation() == self.generation
    }
}

impl Member {
    /// Gives out what was pulled of a queue.
    pub(in crate::consumer) fn offer(
        &self,
        assigned: &Arc<Assigned>,
        generation: u64,
        messages: Vec<Received>,
    ) {
        if !messages.is_empty() {
            self.give(Given::Pulled(Batch { assigned: Arc::clone(assigned), generation, messages }));
        }
    }

    /// Gives out what was popped.
    pub(super) fn give_popped(&self, messages: Vec<Popped>) {
        self.give(Given::Popped(messages));
    }

    fn give(&self, given: Given) {
        // Who receives is gone when this fails, and the messages are not settled then.
        let _ = self.intake.send(given);
    }
}
