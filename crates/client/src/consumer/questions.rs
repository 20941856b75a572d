//! What brokers ask about a member on behalf of administrators (client.md §3.10).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use wire::loose_json::write_object_keyed;

use super::member::{Assigned, Member};
use super::options::Role;
use super::pop::PopQueue;
use crate::error::Error;
use crate::received::read_all;

/// How long the application may take for a message that an administrator sends it; brokers wait 10 s.
const DIRECT: Duration = Duration::from_secs(9);
/// How often its fate is looked at.
const LOOK: Duration = Duration::from_millis(5);

impl Member {
    /// Offsets of the queues of a topic that this member has (221).
    pub fn status(&self, topic: &str) -> Result<String, serde_json::Error> {
        let queues = self.assigned();
        let of_topic = queues.iter().filter(|assigned| assigned.queue.topic == topic);
        let table = write_object_keyed(
            of_topic.map(|assigned| (&*assigned.queue, assigned.window.lock().committable())),
        )?;
        Ok(format!("{{\"messageQueueTable\":{table}}}"))
    }

    /// What this member is, and how it does (307).
    pub fn running_info(&self) -> Result<String, serde_json::Error> {
        let queues = self.assigned();
        let table =
            write_object_keyed(queues.iter().map(|assigned| (&*assigned.queue, queue_info(assigned))))?;
        let properties: BTreeMap<&str, String> = BTreeMap::from([
            ("PROP_CLIENT_VERSION", "V5_5_0".to_owned()),
            ("PROP_CONSUMEORDERLY", self.options.orderly.to_string()),
            ("PROP_CONSUMER_START_TIMESTAMP", self.started_ms.to_string()),
            ("PROP_CONSUME_TYPE", self.options.role.consume_type().to_owned()),
            ("PROP_NAMESERVER_ADDR", self.shared.names.in_order().join(";")),
            ("PROP_THREADPOOL_CORE_SIZE", self.options.concurrency.to_string()),
            ("consumerGroup", self.group.clone()),
            ("pullBatchSize", self.options.batch.to_string()),
            ("pullThresholdForQueue", self.options.messages_max.to_string()),
        ]);
        let subscriptions = self.heartbeat().subscription_data_set;
        let (properties, subscriptions) = (json!(properties), json!(subscriptions));
        let popping = self.popping();
        let pop_table =
            write_object_keyed(popping.iter().map(|queue| (&queue.queue, pop_queue_info(queue))))?;
        Ok(format!(
            "{{\"mqPopTable\":{pop_table},\"mqTable\":{table},\"properties\":{properties},\"statusTable\":{{}},\
             \"subscriptionSet\":{subscriptions},\"userConsumerInfo\":{{}}}}"
        ))
    }

    /// Gives one message to the application, outside of any queue, and says what became of it (309).
    pub async fn consume_directly(
        self: &Arc<Self>,
        record: &Bytes,
        broker_name: &str,
    ) -> Result<String, Error> {
        let message = read_all(record, broker_name, "the broker")?.into_iter().next();
        let mut message = message.ok_or_else(|| Error::Illegal("there is no message".to_owned()))?;
        self.shared.namespace.unwrap_messages(std::slice::from_mut(&mut message));
        if self.options.role != Role::Push {
            let what = "this consumer asks for its messages, and is not handed any".to_owned();
            return Err(Error::Illegal(what));
        }
        let (queue, begun) = (Arc::new(Assigned::direct(&message)), Instant::now());
        self.offer(&queue, 0, vec![message]);
        // A message that failed restarts the queue, and one that is done leaves nothing open.
        let state = || {
            let window = queue.window.lock();
            (window.generation() == 0, window.held().0 == 0)
        };
        while state() == (true, false) && begun.elapsed() < DIRECT {
            tokio::time::sleep(LOOK).await;
        }
        let result = if state() == (true, true) { "CR_SUCCESS" } else { "CR_LATER" };
        // What is settled from now on means nothing.
        queue.restart(0);
        let spent = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        Ok(json!({
            "autoCommit": true, "consumeResult": result, "order": self.options.orderly, "spentTimeMills": spent,
        })
        .to_string())
    }
}

fn pop_queue_info(popping: &PopQueue) -> serde_json::Value {
    json!({
        "droped": popping.is_revoked(),
        "lastPopTimestamp": popping.last_pop_ms.load(Ordering::Relaxed),
        "waitAckCount": popping.unsettled(),
    })
}

fn queue_info(assigned: &Assigned) -> serde_json::Value {
    let window = assigned.window.lock();
    let (messages, bytes) = window.held();
    let (oldest, next) = (window.committable(), window.next_pull());
    json!({
        "cachedMsgCount": messages,
        "cachedMsgMaxOffset": if messages == 0 { 0 } else { next - 1 },
        "cachedMsgMinOffset": if messages == 0 { 0 } else { oldest },
        "cachedMsgSizeInMiB": bytes >> 20,
        "commitOffset": assigned.committed.load(Ordering::Relaxed).max(0),
        "droped": assigned.is_revoked(),
        "lastConsumeTimestamp": 0,
        "lastLockTimestamp": 0,
        "lastPullTimestamp": assigned.last_pull_ms.load(Ordering::Relaxed),
        "locked": assigned.is_locked(),
        "transactionMsgCount": 0,
        "transactionMsgMaxOffset": 0,
        "transactionMsgMinOffset": 0,
        "tryUnlockTimes": 0,
    })
}
