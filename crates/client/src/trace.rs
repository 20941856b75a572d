//! Traces of messages: what happened to each, sent to a topic of its own, where `mqadmin queryMsgTraceById` and the
//! dashboard look it up (trace.md).
//!
//! Invariant: nothing waits for a trace. What comes faster than it can be sent is dropped and counted.

mod record;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wire::names::TRACE_TOPIC;
use wire::properties as props;

use crate::hooks::{ConsumeHook, Consumed, Consuming, Ended, SendHook, Sending, Sent};
pub(crate) use record::Record;

/// Records that wait to be sent; further ones are dropped.
const WAITING_MAX: usize = 2_048;
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

/// What waits in the queue between those who see something and who sends it.
pub(crate) enum Traced {
    Record(Record),
    /// Send what is there, and say when it is done.
    Flush(oneshot::Sender<()>),
}

/// Turns what hooks see into records.
pub(crate) struct Tracer {
    topic: String,
    queue: mpsc::Sender<Traced>,
    dropped: Arc<AtomicU64>,
}

/// Records on their way out, as who sends them gets them.
pub(crate) struct Waiting {
    pub topic: String,
    pub queue: mpsc::Receiver<Traced>,
    dropped: Arc<AtomicU64>,
}

impl Waiting {
    /// How many records were dropped since this was asked last.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

impl Tracer {
    pub fn new(trace: Trace) -> (Arc<Tracer>, Waiting) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let waiting = Waiting { topic: trace.topic.clone(), queue: receiver, dropped: Arc::clone(&dropped) };
        (Arc::new(Tracer { topic: trace.topic, queue: sender, dropped }), waiting)
    }

    /// Traces of traces would never end.
    fn is_own(&self, topic: &str) -> bool {
        topic.starts_with(&self.topic)
    }

    fn record(&self, record: Record) {
        if self.queue.try_send(Traced::Record(record)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything so far is sent, for a bounded time.
    pub async fn flush(&self) {
        let (done, told) = oneshot::channel();
        let flushed = async {
            if self.queue.send(Traced::Flush(done)).await.is_ok() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_too_fast_is_dropped_and_counted() {
        let (tracer, waiting) = Tracer::new(Trace::to_topic("traces"));
        for _ in 0..WAITING_MAX + 7 {
            tracer.record(Record { topic: "a".to_owned(), text: "x".to_owned(), keys: Vec::new() });
        }
        assert_eq!(waiting.take_dropped(), 7);
        assert!(tracer.is_own("traces") && !tracer.is_own("orders"));
    }
}
