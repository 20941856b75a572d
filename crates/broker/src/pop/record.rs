//! Bodies of the revive log: checkpoints and acknowledgements in the JSON of a Java broker (broker.md §15.4).
//!
//! Two members are ours, and Java passes over them: `nx`, where the group goes on after a pop, and `it` in an
//! acknowledgement, from which follows how long it matters. With them the log alone gives the state back.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Tag of a checkpoint.
pub const CHECKPOINT_TAG: &str = "ck";
/// Tag of the acknowledgement of one message.
pub const ACK_TAG: &str = "ack";
/// Tag of the acknowledgement of several messages of one checkpoint.
pub const BATCH_ACK_TAG: &str = "bAck";

/// Most messages of one checkpoint: the acknowledged ones are bits of a Java `int`.
pub const CHECKPOINT_MAX: usize = 32;

/// Some messages of one queue were given to a consumer, and come back unless they are acknowledged.
///
/// One without messages says that an administrator has moved the group to `start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointBody<'a> {
    /// Where the pop began.
    #[serde(rename = "so")]
    pub start: i64,
    /// When it was, Unix milliseconds.
    #[serde(rename = "pt")]
    pub pop_time: i64,
    /// For how many milliseconds its messages are hidden.
    #[serde(rename = "it")]
    pub invisible_ms: i64,
    /// Messages acknowledged before this was written.
    #[serde(rename = "bm", default)]
    pub acked: i32,
    /// Number of messages.
    #[serde(rename = "n")]
    pub count: i32,
    /// Queue of the topic.
    #[serde(rename = "q")]
    pub queue: i32,
    /// Topic, a retry topic included.
    #[serde(rename = "t", borrow)]
    pub topic: Cow<'a, str>,
    /// Consumer group.
    #[serde(rename = "c", borrow)]
    pub group: Cow<'a, str>,
    /// Place in the revive log; written before that is known.
    #[serde(rename = "ro", default)]
    pub revive_offset: i64,
    /// Offsets of the messages, counted from `start`. Old brokers leave it out when there are no gaps.
    #[serde(rename = "d", default)]
    pub distances: Vec<i32>,
    /// Broker that holds the messages.
    #[serde(rename = "bn", borrow, default)]
    pub broker: Cow<'a, str>,
    /// How often a Java broker has put it off.
    #[serde(rename = "rp", default, skip_serializing_if = "Option::is_none")]
    pub put_off: Option<String>,
    /// The coming back does not count as a failed consumption.
    #[serde(rename = "sp", default)]
    pub suspended: bool,
    /// Where the group goes on in the queue after this pop. Ours alone.
    #[serde(rename = "nx", default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

impl CheckpointBody<'_> {
    /// Offsets of its messages; none beyond [`CHECKPOINT_MAX`], whatever was read.
    pub fn offsets(&self) -> Vec<i64> {
        let count = usize::try_from(self.count).unwrap_or(0).min(CHECKPOINT_MAX);
        if self.distances.is_empty() {
            return (0..count as i64).map(|index| self.start.saturating_add(index)).collect();
        }
        let distances = self.distances.iter().take(count);
        distances.map(|distance| self.start.saturating_add(i64::from(*distance))).collect()
    }
}

/// Messages of a checkpoint were consumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckBody<'a> {
    /// Offset of the message; -1 when there are several.
    #[serde(rename = "ao", alias = "ackOffset", default)]
    pub offset: i64,
    /// `start` of the checkpoint.
    #[serde(rename = "so", alias = "startOffset")]
    pub start: i64,
    /// Consumer group.
    #[serde(rename = "c", alias = "consumerGroup", borrow)]
    pub group: Cow<'a, str>,
    /// Topic of the checkpoint.
    #[serde(rename = "t", alias = "topic", borrow)]
    pub topic: Cow<'a, str>,
    /// Queue of the checkpoint.
    #[serde(rename = "q", alias = "queueId")]
    pub queue: i32,
    /// `pop_time` of the checkpoint.
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time: i64,
    /// Broker that holds the messages.
    #[serde(rename = "bn", alias = "brokerName", borrow, default)]
    pub broker: Cow<'a, str>,
    /// Offsets of the messages when there are several.
    #[serde(rename = "aol", alias = "ackOffsetList", default, skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<i64>,
    /// `invisible_ms` of the checkpoint. Ours alone.
    #[serde(rename = "it", default, skip_serializing_if = "Option::is_none")]
    pub invisible_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a Java broker 5.5.0 writes it.
    const JAVA_CHECKPOINT: &str = r#"{"bm":0,"bn":"broker-a","c":"readers","d":[0,2,3],"it":60000,"n":3,"pt":1700000000000,"q":2,"ro":-1,"so":100,"sp":false,"t":"orders"}"#;

    #[test]
    fn what_java_writes_is_read() {
        let read: CheckpointBody<'_> = serde_json::from_str(JAVA_CHECKPOINT).unwrap();
        assert_eq!(read.offsets(), [100, 102, 103]);
        assert_eq!((read.next, read.put_off.as_deref()), (None, None));
        let old: CheckpointBody<'_> =
            serde_json::from_str(r#"{"so":7,"pt":1,"it":2,"n":2,"q":0,"t":"t","c":"c"}"#).unwrap();
        assert_eq!(old.offsets(), [7, 8]);
        let ack: AckBody<'_> = serde_json::from_str(
            r#"{"ackOffset":5,"startOffset":3,"consumerGroup":"c","topic":"t","queueId":1,"popTime":9}"#,
        )
        .unwrap();
        assert_eq!((ack.offset, ack.start, ack.queue, ack.pop_time), (5, 3, 1, 9));
        let batch: AckBody<'_> = serde_json::from_str(
            r#"{"ao":-1,"aol":[4,5],"bn":"b","c":"c","pt":9,"q":1,"so":3,"t":"%RETRY%c_t"}"#,
        )
        .unwrap();
        assert_eq!(batch.offsets, [4, 5]);
    }

    #[test]
    fn more_messages_than_a_checkpoint_has_are_not_believed() {
        let read: CheckpointBody<'_> =
            serde_json::from_str(r#"{"so":0,"pt":1,"it":2,"n":127,"q":0,"t":"t","c":"c"}"#).unwrap();
        assert_eq!(read.offsets().len(), CHECKPOINT_MAX);
        let negative = CheckpointBody { count: -1, ..read };
        assert!(negative.offsets().is_empty());
    }
}
