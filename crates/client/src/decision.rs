//! How a transaction ended, and who is asked about it.

use std::pin::Pin;
use std::sync::Arc;

use wire::sys_flag;

use crate::received::Received;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Consumers shall see the message.
    Commit,
    /// Nobody shall ever see it.
    Rollback,
    /// It is not known yet; the broker asks again.
    Unknown,
}

impl Decision {
    /// As the protocol has it.
    pub(crate) fn code(self) -> i32 {
        match self {
            Decision::Commit => sys_flag::TRANSACTION_COMMIT,
            Decision::Rollback => sys_flag::TRANSACTION_ROLLBACK,
            Decision::Unknown => 0,
        }
    }
}

/// Answers for open transactions.
pub(crate) type Checker =
    Arc<dyn Fn(Received) -> Pin<Box<dyn Future<Output = Decision> + Send>> + Send + Sync>;
