//! Records of traces on their way out: those that come within a while go to their topic together.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::producer;
use crate::shared::Shared;
use crate::trace::{Record, Traced, Waiting};

/// Records that go in one message, at most.
const BATCH_MAX: usize = 100;
/// How long a record waits for others.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of a message of records, and of its keys.
const BODY_MAX: usize = 128_000;
const KEYS_MAX: usize = 16_000;

/// Sends the records that wait until the client is gone.
pub(crate) async fn send_traces(mut waiting: Waiting, shared: Weak<Shared>) {
    while let Some(first) = waiting.queue.recv().await {
        let (records, told) = gather(&mut waiting.queue, first).await;
        let dropped = waiting.take_dropped();
        if dropped > 0 {
            tracing::warn!("{dropped} traces of messages were dropped, since they came too fast");
        }
        let Some(shared) = shared.upgrade() else { return };
        for (keys, body) in messages(records) {
            if let Err(error) = producer::send_trace(&shared, &waiting.topic, keys, body).await {
                tracing::warn!(topic = waiting.topic, "traces of messages are lost: {error}");
            }
        }
        if let Some(told) = told {
            // Who wanted to know may have lost patience.
            let _ = told.send(());
        }
    }
}

/// What comes within a while, and who waits for it.
async fn gather(queue: &mut Receiver<Traced>, first: Traced) -> (Vec<Record>, Option<oneshot::Sender<()>>) {
    let deadline = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    let mut next = Some(first);
    loop {
        match next {
            Some(Traced::Record(record)) => records.push(record),
            Some(Traced::Flush(told)) => return (records, Some(told)),
            None => return (records, None),
        }
        if records.len() >= BATCH_MAX {
            return (records, None);
        }
        match timeout_at(deadline, queue.recv()).await {
            Ok(item) => next = item,
            Err(_) => return (records, None),
        }
    }
}

/// Keys and bodies of the messages that carry these records: one for each topic that they are about, or more where one
/// would be too large.
fn messages(records: Vec<Record>) -> Vec<(String, String)> {
    let mut by_topic: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for record in records {
        by_topic.entry(record.topic.clone()).or_default().push(record);
    }
    let mut messages = Vec::new();
    for records in by_topic.into_values() {
        let (mut keys, mut body): (Vec<String>, String) = Default::default();
        let mut keys_bytes = 0;
        for record in records {
            let more: usize = record.keys.iter().map(|key| key.len() + 1).sum();
            let full = body.len() + record.text.len() > BODY_MAX || keys_bytes + more > KEYS_MAX;
            if full && !body.is_empty() {
                messages.push((keys.join(" "), std::mem::take(&mut body)));
                keys.clear();
                keys_bytes = 0;
            }
            body.push_str(&record.text);
            for key in record.keys {
                if !keys.contains(&key) {
                    keys_bytes += key.len() + 1;
                    keys.push(key);
                }
            }
        }
        messages.push((keys.join(" "), body));
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(topic: &str, text: String, keys: &[&str]) -> Record {
        Record { topic: topic.to_owned(), text, keys: keys.iter().map(|key| (*key).to_owned()).collect() }
    }

    #[test]
    fn records_of_one_topic_go_together_until_they_are_too_many_bytes() {
        let small = |topic: &str, key: &str| record(topic, format!("{key};"), &[key, "shared"]);
        let made = messages(vec![small("a", "1"), small("b", "2"), small("a", "3")]);
        let expected = [("1 shared 3", "1;3;"), ("2 shared", "2;")];
        assert_eq!(made, expected.map(|(keys, body)| (keys.to_owned(), body.to_owned())));
        let large = |key: &str| record("a", "x".repeat(BODY_MAX / 2), &[key]);
        let made = messages(vec![large("1"), large("2"), large("3")]);
        assert_eq!(made.iter().map(|(keys, _)| keys.as_str()).collect::<Vec<_>>(), ["1 2", "3"]);
        let keyed = |key: &str| record("a", "x".to_owned(), &[&key.repeat(KEYS_MAX / 2)]);
        assert_eq!(messages(vec![keyed("1"), keyed("2"), keyed("1")]).len(), 3);
    }
}
