//! What a member of a group is, and how it behaves.

use std::path::PathBuf;
use std::time::Duration;

use wire::code::request;

use super::strategy::Strategy;
use super::window::Bounds;

/// Where a group starts that has never been in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartFrom {
    /// Behind what is there. In a young queue, of which nothing was deleted and whose first message brokers still have
    /// in memory, they let a group start at the beginning, as for the official clients: else it would never see what is
    /// sent to a queue that was added to the topic until its members hear of that.
    #[default]
    Latest,
    /// With everything that is there.
    Earliest,
    /// With what was stored at this time or later, Unix milliseconds.
    AtMs(i64),
}

impl StartFrom {
    pub(super) fn name(self) -> &'static str {
        match self {
            StartFrom::Latest => "CONSUME_FROM_LAST_OFFSET",
            StartFrom::Earliest => "CONSUME_FROM_FIRST_OFFSET",
            StartFrom::AtMs(_) => "CONSUME_FROM_TIMESTAMP",
        }
    }
}

/// What the application does with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It settles each.
    Push,
    /// It polls them and says how far it has come.
    LitePull,
    /// It acknowledges each to the broker, which has chosen it.
    Pop,
}

impl Role {
    /// As heartbeats say it.
    pub fn consume_type(self) -> &'static str {
        match self {
            Role::LitePull => "CONSUME_ACTIVELY",
            Role::Push | Role::Pop => "CONSUME_PASSIVELY",
        }
    }

    /// With which request it pulls. Brokers can forbid each by itself.
    pub fn pull_code(self) -> i32 {
        match self {
            Role::LitePull => request::LITE_PULL_MESSAGE,
            Role::Push | Role::Pop => request::PULL_MESSAGE,
        }
    }
}

/// Who says which queues a member has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allocation {
    /// The members, each for itself, by the same rule.
    Members,
    /// The brokers, which also say whether to pull or to pop.
    Brokers,
    /// The application.
    Application,
}

/// Settings of a member.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub role: Role,
    pub allocation: Allocation,
    /// Folder of the file of offsets, which only a broadcast consumer has.
    pub broadcast: Option<PathBuf>,
    pub orderly: bool,
    pub start: StartFrom,
    pub strategy: Strategy,
    /// Of one queue, pulled and not settled.
    pub messages_max: usize,
    pub bytes_max: usize,
    pub span_max: i64,
    /// The same of all queues of a topic that a member has, which divide it and then know no bound of their own.
    pub topic_messages_max: Option<usize>,
    pub topic_bytes_max: Option<usize>,
    /// Messages of all queues together.
    pub all_messages_max: Option<usize>,
    /// Messages that a pull asks for, and their bytes; as many bytes as brokers give without the latter.
    pub batch: u32,
    pub batch_bytes: Option<u32>,
    /// Pause after a pull that brought something.
    pub pull_interval: Duration,
    pub retries: Option<u32>,
    pub pause: Duration,
    pub concurrency: usize,
    /// Messages that a handler takes at a time.
    pub together: usize,
    /// How long a handler may take.
    pub consume_timeout: Duration,
    pub rebalance: Duration,
    pub commit: Duration,
    /// Offsets are written down by themselves.
    pub auto_commit: bool,
    pub pop: PopOptions,
}

/// Settings of a member that pops.
#[derive(Debug, Clone)]
pub(super) struct PopOptions {
    /// For how long nobody else gets what was popped.
    pub invisible: Duration,
    /// Messages that a pop asks for.
    pub batch: u32,
    /// Of one queue, popped and not acknowledged.
    pub messages_max: usize,
    /// Whether it stays hidden for as long as a handler works on it.
    pub renew: bool,
    /// One after the other of each queue.
    pub orderly: bool,
}

/// Most messages that brokers give with one pop.
pub(super) const POP_BATCH_MAX: u32 = 32;

impl Options {
    /// What may be pulled and not settled of one queue, of a topic that a member has so many of.
    pub fn bounds(&self, queues: usize) -> Bounds {
        // In order, nothing is settled before what is older.
        let span = if self.orderly { i64::MAX } else { self.span_max };
        let part = |all: usize| (all / queues.max(1)).max(1);
        Bounds {
            messages: self.topic_messages_max.map_or(self.messages_max, part),
            bytes: self.topic_bytes_max.map_or(self.bytes_max, part),
            span,
        }
    }

    /// As the official clients have them.
    pub fn usual(role: Role) -> Options {
        Options {
            role,
            allocation: Allocation::Members,
            broadcast: None,
            orderly: false,
            start: StartFrom::default(),
            strategy: Strategy::default(),
            messages_max: 1_000,
            bytes_max: 100 << 20,
            span_max: 2_000,
            topic_messages_max: None,
            topic_bytes_max: None,
            all_messages_max: None,
            batch: 32,
            batch_bytes: None,
            pull_interval: Duration::ZERO,
            retries: None,
            pause: Duration::from_secs(1),
            concurrency: 20,
            together: 1,
            consume_timeout: Duration::from_secs(15 * 60),
            rebalance: Duration::from_secs(20),
            commit: Duration::from_secs(5),
            auto_commit: true,
            pop: PopOptions {
                invisible: Duration::from_secs(60),
                batch: POP_BATCH_MAX,
                messages_max: 96,
                renew: false,
                orderly: false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_of_a_topic_divide_what_it_may_have() {
        let usual = Options::usual(Role::Push);
        assert_eq!(usual.bounds(7), Bounds { messages: 1_000, bytes: 100 << 20, span: 2_000 });
        let of_topic =
            Options { topic_messages_max: Some(10), topic_bytes_max: Some(2), orderly: true, ..usual };
        assert_eq!(of_topic.bounds(3), Bounds { messages: 3, bytes: 1, span: i64::MAX });
        assert_eq!(of_topic.bounds(0), Bounds { messages: 10, bytes: 2, span: i64::MAX });
    }
}
