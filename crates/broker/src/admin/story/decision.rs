//! How the transaction of a message went.

use wire::body::{StoryRole, StoryTransaction, StoryTransactionState as State};

use super::Found;
use crate::Broker;

impl Broker {
    /// `None` for a message that was not sent in a transaction. Records are in the log's order.
    pub(super) fn tell_transaction(&self, found: &[Found]) -> Option<StoryTransaction> {
        let halves = || found.iter().filter(|found| found.told.role == StoryRole::Half);
        // Checks and restarts may have copied it to the end of its queue; the last copy is the one that counts.
        let half = halves().next_back()?;
        let half_offset = half.told.queue_offset;
        let transaction = StoryTransaction {
            half_offset,
            producer_group: half.producer_group.clone().unwrap_or_default(),
            ..StoryTransaction::default()
        };
        let number = u64::try_from(half_offset).ok()?;
        if let Some(checks) = self.transactions.open_checks(&self.store, number) {
            return Some(StoryTransaction { checks: Some(checks), state: State::Open, ..transaction });
        }
        let op = self.transactions.decision_about(&self.store, number, half.told.store_timestamp);
        let is_of_it = |from: i64| halves().any(|half| half.told.physical_offset == from);
        let committed = found.iter().find(|found| found.committed_from.is_some_and(is_of_it));
        let discarded = found.iter().find(|found| found.told.role == StoryRole::Discarded);
        let (state, copy) = match (committed, discarded) {
            (Some(copy), _) => (State::Committed, Some(copy)),
            (None, Some(copy)) => (State::Discarded, Some(copy)),
            // Nothing else is written of a rollback than the decision itself.
            (None, None) if op.is_some() => (State::RolledBack, None),
            (None, None) => (State::Decided, None),
        };
        let ended = copy.map(|copy| copy.told.store_timestamp).or(op.map(|op| op.stored_ms));
        Some(StoryTransaction {
            ended_timestamp: ended,
            op_offset: op.map(|op| op.offset as i64),
            state,
            ..transaction
        })
    }
}
