//! The story of a message as the broker that stored it tells it: the answer to GET_MESSAGE_STORY, a request of ours.

use serde::{Deserialize, Serialize};

/// Everything that one broker knows of one message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageStory {
    /// Broker that tells it.
    pub broker_name: String,
    /// False if the broker stopped looking at its bounds: there may be more.
    pub complete: bool,
    /// Groups that have read the topic or are online for it, by name.
    pub groups: Vec<StoryGroup>,
    /// Every record of the message in the log, in the log's order.
    pub records: Vec<StoryRecord>,
    /// When it is told, Unix milliseconds of the broker's clock.
    pub told_timestamp: i64,
    /// How the transaction went that it was sent in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<StoryTransaction>,
    /// Unique key, by which the records were found.
    pub unique_key: String,
}

/// What a record of a message is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StoryRole {
    /// Consumers of its topic read it.
    Message,
    /// A transaction is open for it, or was.
    Half,
    /// A half message whose producer never said how its transaction ends.
    Discarded,
    /// It waits, or waited, for the end of a delay level.
    Delayed,
    /// It waits, or waited, in the timer.
    Timed,
    /// It takes a timer message back.
    Recall,
    /// One group gets it once more.
    Retry,
    /// One group has given it up.
    DeadLetter,
    /// Something that a later broker knows.
    #[default]
    #[serde(other)]
    Other,
}

impl StoryRole {
    /// Whether it is stored in a topic of the system instead of the one it is meant for.
    pub fn is_elsewhere(self) -> bool {
        matches!(
            self,
            StoryRole::Half
                | StoryRole::Discarded
                | StoryRole::Delayed
                | StoryRole::Timed
                | StoryRole::Recall
        )
    }
}

/// One record of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StoryRecord {
    /// Producer clock, Unix milliseconds.
    pub born_timestamp: i64,
    /// When what waits is due, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_timestamp: Option<i64>,
    /// Group of a retry or dead letter, and of a delayed message that will be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Offset message id.
    pub offset_id: String,
    /// Where it stands in the commit log.
    pub physical_offset: i64,
    /// Queue of the topic.
    pub queue_id: i32,
    /// Position in the queue.
    pub queue_offset: i64,
    /// Topic that it is meant for while it is stored in another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real_topic: Option<String>,
    /// How often consumption failed before.
    pub reconsume_times: i32,
    /// What it is there for.
    pub role: StoryRole,
    /// Bytes in the log.
    pub size: u32,
    /// Broker clock, Unix milliseconds.
    pub store_timestamp: i64,
    /// Topic that it is stored in.
    pub topic: String,
    /// Whether it has not gone on to its topic yet. False for what nobody waits with.
    pub waits: bool,
}

/// How far a transaction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StoryTransactionState {
    /// Neither committed nor rolled back.
    Open,
    /// Committed: a copy was stored for consumers.
    Committed,
    /// Rolled back.
    RolledBack,
    /// Given up, since its producer never said.
    Discarded,
    /// Decided, and how cannot be told from the log any more.
    #[default]
    #[serde(other)]
    Decided,
}

/// The transaction of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StoryTransaction {
    /// How often the producer was asked; unknown once it is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<u32>,
    /// When it was decided, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_timestamp: Option<i64>,
    /// Offset of the half message in its queue.
    pub half_offset: i64,
    /// Offset, in the queue of decisions, of the one that names the half message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op_offset: Option<i64>,
    /// Group of the producer.
    pub producer_group: String,
    /// How far it has come.
    pub state: StoryTransactionState,
}

/// What one group made of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StoryGroup {
    /// Whether every member reads for itself, so that the group has no offsets.
    pub broadcast: bool,
    /// Its name.
    pub group: String,
    /// Members that are online at this broker.
    pub members: u32,
    /// How it stands to each record that it reads: the message itself and its own retries.
    pub positions: Vec<StoryPosition>,
}

/// How a group stands to one record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StoryPosition {
    /// Where the group goes on in the queue of the record; absent if it was never there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_offset: Option<i64>,
    /// Whether the group has gone past it.
    pub passed: bool,
    /// Where the record stands in the commit log, which names it among the records.
    pub physical_offset: i64,
    /// Who has it in hand: delivered by a pop and not acknowledged.
    pub popped: Vec<StoryPop>,
    /// Whether the group's filter lets it through; absent while no member is online and nothing is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<bool>,
}

/// A delivery by pop that is not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StoryPop {
    /// When it comes back unless it is acknowledged, Unix milliseconds.
    pub due_timestamp: i64,
    /// Whether it was popped in order, so that its queue is held up meanwhile.
    pub orderly: bool,
    /// When it was popped, Unix milliseconds.
    pub pop_timestamp: i64,
}
