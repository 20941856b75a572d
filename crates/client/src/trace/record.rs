//! Records of a trace, byte for byte as Java's `TraceDataEncoder` writes them (trace.md §2).

use std::fmt::{Display, Write};
use std::time::Duration;

use wire::properties as props;

use crate::decision::Decision;
use crate::hooks::{ConsumeOutcome, Consumed, Consuming, Ended, SendKind, SendOutcome, Sending, Sent};
use crate::identity::now_ms;
use crate::receipt::SendStatus;

/// Between fields.
const FIELD: char = '\u{1}';
/// Behind every record.
const END: char = '\u{2}';
/// What stands for a value that is not there: an empty last field breaks Java's reader.
const NOTHING: &str = "null";
/// Region of brokers that name none.
const REGION: &str = "DefaultRegion";
/// The protocol's number of a transaction's end, as a kind of message.
const TRANSACTION_END: i32 = 2;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// What it is about.
    pub topic: String,
    pub text: String,
    /// What it is found by: ids and keys of its message.
    pub keys: Vec<String>,
}

impl Record {
    /// `Pub`: a message was sent. Failed ones are recorded too, which Java does not do.
    pub fn sent(sending: &Sending<'_>, sent: &Sent<'_>) -> Record {
        let kind = match sending.kind {
            SendKind::Normal => 0,
            SendKind::Half => 1,
            SendKind::Delayed => 3,
        };
        let (offset_id, stored) = match sent.outcome {
            SendOutcome::Stored(receipt) => {
                (Some(receipt.offset_id.as_str()), receipt.status == SendStatus::Stored)
            }
            SendOutcome::Unanswered => (None, true),
            SendOutcome::Failed { .. } => (None, false),
        };
        let cost = millis(sent.elapsed);
        let line = Line::new("Pub")
            .field(now_ms() - cost)
            .text(Some(sent.region.unwrap_or(REGION)))
            .text(Some(sending.group))
            .text(Some(sending.topic))
            .text(Some(sending.message_id))
            .text(sending.tag)
            .text(sending.keys)
            .text(sent.broker)
            .field(sent.body_bytes)
            .field(cost)
            .field(kind)
            .text(offset_id)
            .field(stored);
        line.about(sending.topic, sending.message_id, sending.keys)
    }

    /// `SubBefore`: a message is handed to the application.
    pub fn consuming(consuming: &Consuming<'_>) -> Record {
        let message = consuming.message;
        let (id, keys) = (message.message_id(), message.property(props::KEYS));
        let line = Line::new("SubBefore")
            .field(now_ms())
            .text(Some(message.property(props::MSG_REGION).unwrap_or(REGION)))
            .text(Some(consuming.group))
            .text(Some(consuming.consumption_id))
            .text(Some(&id))
            .field(message.reconsume_times)
            .text(keys);
        line.about(message.topic(), &id, keys)
    }

    /// `SubAfter`: the application has settled it.
    pub fn consumed(consuming: &Consuming<'_>, consumed: &Consumed) -> Record {
        let message = consuming.message;
        let (id, keys) = (message.message_id(), message.property(props::KEYS));
        // SUCCESS, TIME_OUT, EXCEPTION and FAILED of Java's return types.
        let code = match consumed.outcome {
            ConsumeOutcome::Done => 0,
            ConsumeOutcome::TimedOut => 1,
            ConsumeOutcome::Dropped => 2,
            ConsumeOutcome::Failed | ConsumeOutcome::Dead => 4,
        };
        let line = Line::new("SubAfter")
            .text(Some(consuming.consumption_id))
            .text(Some(&id))
            .field(millis(consumed.elapsed))
            .field(consumed.outcome == ConsumeOutcome::Done)
            .text(keys)
            .field(code)
            .field(now_ms())
            .text(Some(consuming.group));
        line.about(message.topic(), &id, keys)
    }

    /// `EndTransaction`: a broker was told how a transaction ended.
    pub fn ended(ended: &Ended<'_>) -> Record {
        let state = match ended.decision {
            Decision::Commit => "COMMIT_MESSAGE",
            Decision::Rollback => "ROLLBACK_MESSAGE",
            // Java's spelling.
            Decision::Unknown => "UNKNOW",
        };
        let line = Line::new("EndTransaction")
            .field(now_ms())
            .text(Some(REGION))
            .text(Some(ended.group))
            .text(Some(ended.topic))
            .text(Some(ended.message_id))
            .text(ended.tag)
            .text(ended.keys)
            .text(Some(ended.broker))
            .field(TRANSACTION_END)
            .text(Some(ended.transaction_id))
            .text(Some(state))
            .field(ended.asked);
        line.about(ended.topic, ended.message_id, ended.keys)
    }
}

fn millis(time: Duration) -> i64 {
    // Java reads it as an int.
    i64::from(i32::try_from(time.as_millis()).unwrap_or(i32::MAX))
}

/// A record in the making.
struct Line(String);

impl Line {
    fn new(kind: &str) -> Line {
        let mut text = String::with_capacity(256);
        text.push_str(kind);
        Line(text)
    }

    fn field(mut self, value: impl Display) -> Line {
        // Writing to a text cannot fail.
        let _ = write!(self.0, "{FIELD}{value}");
        self
    }

    /// Text from outside must not end a field or a record.
    fn text(mut self, value: Option<&str>) -> Line {
        self.0.push(FIELD);
        let value = value.filter(|value| !value.is_empty()).unwrap_or(NOTHING);
        self.0.extend(value.chars().map(|one| if matches!(one, FIELD | END) { ' ' } else { one }));
        self
    }

    fn about(mut self, topic: &str, message_id: &str, keys: Option<&str>) -> Record {
        self.0.push(END);
        let keys = keys.unwrap_or_default().split(' ').filter(|key| !key.is_empty());
        let found_by = std::iter::once(message_id).chain(keys).map(str::to_owned);
        Record { topic: topic.to_owned(), text: self.0, keys: found_by.collect() }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wire::body::MessageQueue;

    use super::*;
    use crate::receipt::Receipt;

    /// Made by `TraceDataEncoder` of Java 5.5.0; see `interop/trace`.
    const TABLE: &str = include_str!("../../tests/golden/traces_java550.tsv");

    fn receipt(offset_id: &str, status: SendStatus) -> Receipt {
        Receipt {
            message_id: String::new(),
            offset_id: offset_id.to_owned(),
            queue: MessageQueue { topic: String::new(), broker_name: String::new(), queue_id: 0 },
            offset: 0,
            status,
            recall_handle: None,
            attempts: 1,
        }
    }

    /// Fields that are clocks, by kind of record.
    fn without_clock(text: &str) -> String {
        let mut fields: Vec<&str> = text.split(FIELD).collect();
        let clock = if fields[0] == "SubAfter" { 7 } else { 1 };
        assert!(fields[clock].parse::<i64>().is_ok(), "{text:?}");
        fields[clock] = "T";
        fields.join("\u{1}")
    }

    fn made(columns: &[&str]) -> Record {
        let maybe = |at: usize| Some(columns[at]).filter(|text| *text != "-");
        let text = |at: usize| maybe(at).unwrap_or_default();
        let number = |at: usize| columns[at].parse::<u64>().unwrap();
        match columns[0] {
            "Pub" => {
                let kinds = [SendKind::Normal, SendKind::Half, SendKind::Normal, SendKind::Delayed];
                let status =
                    if columns[11] == "true" { SendStatus::Stored } else { SendStatus::FlushDiskTimeout };
                let receipt = receipt(text(10), status);
                let sending = Sending {
                    group: text(2),
                    topic: text(3),
                    message_id: text(4),
                    tag: maybe(5),
                    keys: maybe(6),
                    body: &Bytes::new(),
                    kind: kinds[number(12) as usize],
                    added: Vec::new(),
                };
                let sent = Sent {
                    outcome: SendOutcome::Stored(&receipt),
                    elapsed: Duration::from_millis(number(9)),
                    broker: maybe(7),
                    body_bytes: number(8) as usize,
                    region: maybe(1),
                    untraced: false,
                };
                Record::sent(&sending, &sent)
            }
            "EndTransaction" => Record::ended(&Ended {
                group: text(2),
                topic: text(3),
                message_id: text(4),
                tag: maybe(5),
                keys: maybe(6),
                broker: text(7),
                transaction_id: text(8),
                decision: match columns[9] {
                    "COMMIT_MESSAGE" => Decision::Commit,
                    "ROLLBACK_MESSAGE" => Decision::Rollback,
                    _ => Decision::Unknown,
                },
                asked: columns[10] == "true",
            }),
            kind => consumption(kind, &maybe),
        }
    }

    fn consumption<'a>(kind: &str, maybe: &impl Fn(usize) -> Option<&'a str>) -> Record {
        let text = |at: usize| maybe(at).unwrap_or_default();
        let mut message = crate::received::tests::message(text(3), text(5));
        for (name, at) in [(props::MSG_REGION, 1), (props::KEYS, 7)] {
            message.add_property(name, text(at));
        }
        message.reconsume_times = text(6).parse().unwrap();
        let consuming = Consuming { group: text(2), message: &message, consumption_id: text(4) };
        if kind == "SubBefore" {
            return Record::consuming(&consuming);
        }
        let outcome = match text(9) {
            "0" => ConsumeOutcome::Done,
            "2" => ConsumeOutcome::Dropped,
            _ => ConsumeOutcome::Failed,
        };
        let elapsed = Duration::from_millis(text(8).parse().unwrap());
        Record::consumed(&consuming, &Consumed { outcome, elapsed })
    }

    #[test]
    fn records_are_those_of_java_but_for_the_clock() {
        let mut kinds = std::collections::BTreeMap::<&str, usize>::new();
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let columns: Vec<&str> = line.split('\t').collect();
            let [inputs @ .., keys, expected] = &columns[..] else { panic!("{line}") };
            let record = made(inputs);
            let expected = expected.replace("\\1", "\u{1}").replace("\\2", "\u{2}");
            assert_eq!(without_clock(&record.text), without_clock(&expected), "{line}");
            let mut found_by = record.keys.clone();
            found_by.sort();
            found_by.dedup();
            assert_eq!(found_by.join(" "), *keys, "{line}");
            *kinds.entry(columns[0]).or_default() += 1;
        }
        assert!(kinds.len() == 4 && kinds.values().all(|count| *count >= 20), "{kinds:?}");
    }

    #[test]
    fn texts_of_users_end_no_field() {
        let record = Line::new("Pub").text(Some("a\u{1}b\u{2}c")).about("T", "id", None);
        assert_eq!(record.text, "Pub\u{1}a b c\u{2}");
    }
}
