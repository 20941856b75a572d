//! Traces of messages: what happened to each, sent to a topic of its own, where `mqadmin queryMsgTraceById` and the
//! dashboard look it up (trace.md).
//!
//! Invariant: nothing waits for a trace. What comes faster than it can be sent is dropped and counted.

mod record;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use wire::names::TRACE_TOPIC;
use wire::properties as props;

use crate::hooks::{ConsumeHook, Consumed, Consuming, Ended, SendHook, Sending, Sent};
use crate::producer;
use crate::shared::Shared;
use record::Record;

/// Records that wait to be sent; further ones are dropped.
const WAITING_MAX: usize = 2_048;
/// Records that go in one message, at most.
const BATCH_MAX: usize = 100;
/// How long a record waits for others.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of a message of records, and of its keys.
const BODY_MAX: usize = 128_000;
const KEYS_MAX: usize = 16_000;
/// How long closing a producer or consumer waits for what is left.
const FLUSH: Duration = Duration::from_secs(5);

/// Where traces go; see [`ClientBuilder::trace`](crate::ClientBuilder::trace).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    topic: String,
}

impl Default for Trace {
    /// To `RMQ_SYS_TRACE_TOPIC`, which brokers with `traceTopicEnable` have and the tools know.
    fn default() -> Trace {
        Trace { topic: TRACE_TOPIC.to_owned() }
    }
}

impl Trace {
    /// To a topic of one's own, which must be there.
    pub fn to_topic(topic: impl Into<String>) -> Trace {
        Trace { topic: topic.into() }
    }
}

enum Item {
    Record(Record),
    /// Send what is there, and say when it is done.
    Flush(oneshot::Sender<()>),
}

/// Turns what hooks see into records.
pub(crate) struct Tracer {
    topic: String,
    queue: mpsc::Sender<Item>,
    dropped: Arc<AtomicU64>,
}

/// Records on their way out.
pub(crate) struct Outlet {
    topic: String,
    queue: mpsc::Receiver<Item>,
    dropped: Arc<AtomicU64>,
}

impl Tracer {
    pub fn new(trace: Trace) -> (Arc<Tracer>, Outlet) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let outlet = Outlet { topic: trace.topic.clone(), queue: receiver, dropped: Arc::clone(&dropped) };
        (Arc::new(Tracer { topic: trace.topic, queue: sender, dropped }), outlet)
    }

    /// Traces of traces would never end.
    fn is_own(&self, topic: &str) -> bool {
        topic.starts_with(&self.topic)
    }

    fn record(&self, record: Record) {
        if self.queue.try_send(Item::Record(record)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything so far is sent, for a bounded time.
    pub async fn flush(&self) {
        let (done, told) = oneshot::channel();
        let flushed = async {
            if self.queue.send(Item::Flush(done)).await.is_ok() {
                // It fails when the outlet is gone, and nothing is sent then.
                let _ = told.await;
            }
        };
        if timeout(FLUSH, flushed).await.is_err() {
            tracing::warn!("traces of messages were not sent within {} s", FLUSH.as_secs());
        }
    }
}

impl SendHook for Tracer {
    fn after(&self, sending: &Sending<'_>, sent: &Sent<'_>) {
        if !self.is_own(sending.topic) && !sent.untraced {
            self.record(Record::sent(sending, sent));
        }
    }

    fn transaction_ended(&self, ended: &Ended<'_>) {
        self.record(Record::ended(ended));
    }
}

impl ConsumeHook for Tracer {
    fn before(&self, consuming: &Consuming<'_>) {
        if self.concerns(consuming) {
            self.record(Record::consuming(consuming));
        }
    }

    fn after(&self, consuming: &Consuming<'_>, consumed: &Consumed) {
        if self.concerns(consuming) {
            self.record(Record::consumed(consuming, consumed));
        }
    }
}

impl Tracer {
    fn concerns(&self, consuming: &Consuming<'_>) -> bool {
        let message = consuming.message;
        !self.is_own(message.topic()) && message.property(props::TRACE_ON) != Some("false")
    }
}

impl Outlet {
    /// Sends records until the client is gone.
    pub async fn run(mut self, shared: Weak<Shared>) {
        while let Some(first) = self.queue.recv().await {
            let (records, told) = self.gather(first).await;
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!("{dropped} traces of messages were dropped, since they came too fast");
            }
            let Some(shared) = shared.upgrade() else { return };
            for (keys, body) in messages(records) {
                if let Err(error) = producer::send_trace(&shared, &self.topic, keys, body).await {
                    tracing::warn!(topic = self.topic, "traces of messages are lost: {error}");
                }
            }
            if let Some(told) = told {
                // Who wanted to know may have lost patience.
                let _ = told.send(());
            }
        }
    }

    /// What comes within a while, and who waits for it.
    async fn gather(&mut self, first: Item) -> (Vec<Record>, Option<oneshot::Sender<()>>) {
        let deadline = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        let mut next = Some(first);
        loop {
            match next {
                Some(Item::Record(record)) => records.push(record),
                Some(Item::Flush(told)) => return (records, Some(told)),
                None => return (records, None),
            }
            if records.len() >= BATCH_MAX {
                return (records, None);
            }
            match timeout_at(deadline, self.queue.recv()).await {
                Ok(item) => next = item,
                Err(_) => return (records, None),
            }
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

    #[tokio::test]
    async fn what_comes_too_fast_is_dropped_and_counted() {
        let (tracer, outlet) = Tracer::new(Trace::to_topic("traces"));
        for _ in 0..WAITING_MAX + 7 {
            tracer.record(record("a", "x".to_owned(), &[]));
        }
        assert_eq!(outlet.dropped.load(Ordering::Relaxed), 7);
        assert!(tracer.is_own("traces") && !tracer.is_own("orders"));
    }
}
