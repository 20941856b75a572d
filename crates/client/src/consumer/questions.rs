//! What brokers hear of a member, and what they ask it on behalf of administrators (client.md §3.10).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use wire::body::{ConsumerData, MessageQueue};
use wire::loose_json::write_object_keyed;

use super::member::{Assigned, Member, PopQueue};
use super::options::Role;
use crate::error::Error;
use crate::received::read_all;
use crate::registry::{ConsumerInner, Direct};

/// How long the application may take for a message that an administrator sends it; brokers wait 10 s.
const DIRECT: Duration = Duration::from_secs(9);
/// What is said to who asks for stacks of threads.
const NO_STACKS: &str =
    "This consumer is written in Rust: its handlers are tasks, which have no stacks to show.";
/// What a pull brings of memory unless brokers are set otherwise.
const BATCH_BYTES: u32 = 256 << 10;
/// How often its fate is looked at.
const LOOK: Duration = Duration::from_millis(5);

impl ConsumerInner for Member {
    fn group(&self) -> &str {
        &self.group
    }

    fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    fn heartbeat(&self) -> ConsumerData {
        let version = self.version.load(Ordering::Relaxed);
        let subscriptions = self.subscribed().into_iter();
        ConsumerData {
            group_name: self.group.clone(),
            consume_type: self.options.role.consume_type().to_owned(),
            message_model: self.message_model().to_owned(),
            consume_from_where: self.options.start.name().to_owned(),
            subscription_data_set: subscriptions
                .map(|(topic, filter)| filter.subscription(&topic, version))
                .collect(),
            unit_mode: false,
        }
    }

    fn rebalance_soon(&self) {
        self.rebalance.notify_one();
    }

    fn reset(self: Arc<Self>, offsets: &BTreeMap<MessageQueue, i64>) {
        for assigned in self.assigned() {
            if let Some(offset) = offsets.get(&*assigned.queue) {
                assigned.restart(*offset);
            }
        }
        self.spawn(|member| async move { member.commit_all().await });
    }

    fn status(&self, topic: &str) -> Result<String, serde_json::Error> {
        let queues = self.assigned();
        let of_topic = queues.iter().filter(|assigned| assigned.queue.topic == topic);
        let table = write_object_keyed(
            of_topic.map(|assigned| (&*assigned.queue, assigned.window.lock().committable())),
        )?;
        Ok(format!("{{\"messageQueueTable\":{table}}}"))
    }

    fn running_info(&self, stacks: bool) -> Result<String, serde_json::Error> {
        let (queues, popping) = (self.assigned(), self.popping());
        let table =
            write_object_keyed(queues.iter().map(|assigned| (&*assigned.queue, queue_info(assigned))))?;
        let pop_table =
            write_object_keyed(popping.iter().map(|queue| (&queue.queue, pop_queue_info(queue))))?;
        let (properties, status) = (json!(self.properties()), json!(self.status_table()));
        let subscriptions = json!(self.heartbeat().subscription_data_set);
        let stacks = if stacks { format!("\"jstack\":{},", json!(NO_STACKS)) } else { String::new() };
        Ok(format!(
            "{{{stacks}\"mqPopTable\":{pop_table},\"mqTable\":{table},\"properties\":{properties},\
             \"statusTable\":{status},\"subscriptionSet\":{subscriptions},\"userConsumerInfo\":{{}}}}"
        ))
    }

    fn consume_directly(self: Arc<Self>, record: Bytes, broker_name: String) -> Direct {
        Box::pin(async move { self.give_directly(&record, &broker_name).await })
    }
}

impl Member {
    /// Settings, under the names that Java's consumers have for them.
    fn properties(&self) -> BTreeMap<&'static str, String> {
        let options = &self.options;
        let of_topic =
            |bound: Option<usize>| bound.map_or_else(|| "-1".to_owned(), |bound| bound.to_string());
        BTreeMap::from([
            ("PROP_CLIENT_VERSION", "V5_5_0".to_owned()),
            ("PROP_CONSUMEORDERLY", options.orderly.to_string()),
            ("PROP_CONSUMER_START_TIMESTAMP", self.started_ms.to_string()),
            ("PROP_CONSUME_TYPE", options.role.consume_type().to_owned()),
            ("PROP_NAMESERVER_ADDR", self.shared.names.in_order().join(";")),
            ("PROP_THREADPOOL_CORE_SIZE", options.concurrency.to_string()),
            ("allocateMessageQueueStrategy", options.strategy.name().into_owned()),
            ("consumeConcurrentlyMaxSpan", options.span_max.to_string()),
            ("consumeFromWhere", options.start.name().to_owned()),
            ("consumeMessageBatchMaxSize", options.together.to_string()),
            ("consumeTimeout", (options.consume_timeout.as_secs() / 60).to_string()),
            ("consumerGroup", self.group.clone()),
            ("maxReconsumeTimes", options.retries.map_or(-1, i64::from).to_string()),
            ("messageModel", self.message_model().to_owned()),
            ("popBatchNums", options.pop.batch.to_string()),
            ("popInvisibleTime", options.pop.invisible.as_millis().to_string()),
            ("popThresholdForQueue", options.pop.messages_max.to_string()),
            ("pullBatchSize", options.batch.to_string()),
            ("pullBatchSizeInBytes", options.batch_bytes.unwrap_or(BATCH_BYTES).to_string()),
            ("pullInterval", options.pull_interval.as_millis().to_string()),
            ("pullThresholdForQueue", options.messages_max.to_string()),
            ("pullThresholdForTopic", of_topic(options.topic_messages_max)),
            ("pullThresholdSizeForQueue", (options.bytes_max >> 20).to_string()),
            ("pullThresholdSizeForTopic", of_topic(options.topic_bytes_max.map(|bytes| bytes >> 20))),
            ("suspendCurrentQueueTimeMillis", options.pause.as_millis().to_string()),
        ])
    }

    fn message_model(&self) -> &'static str {
        if self.is_broadcast() { "BROADCASTING" } else { "CLUSTERING" }
    }

    fn status_table(&self) -> BTreeMap<String, Value> {
        for topic in self.subscribed_topics() {
            // Also of those that no queue was had of yet.
            self.status_of(&topic);
        }
        let age = self.age();
        let status = self.status.lock();
        status.iter().map(|(topic, status)| (topic.clone(), status.describe(age))).collect()
    }

    async fn give_directly(&self, record: &Bytes, broker_name: &str) -> Result<String, Error> {
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

fn pop_queue_info(popping: &PopQueue) -> Value {
    json!({
        "droped": popping.is_revoked(),
        "lastPopTimestamp": popping.last_pop_ms.load(Ordering::Relaxed),
        "waitAckCount": popping.unsettled(),
    })
}

fn queue_info(assigned: &Assigned) -> Value {
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
        "lastConsumeTimestamp": assigned.last_consume_ms.load(Ordering::Relaxed),
        "lastLockTimestamp": assigned.last_lock_ms.load(Ordering::Relaxed),
        "lastPullTimestamp": assigned.last_pull_ms.load(Ordering::Relaxed),
        "locked": assigned.is_locked(),
        "transactionMsgCount": 0,
        "transactionMsgMaxOffset": 0,
        "transactionMsgMinOffset": 0,
        "tryUnlockTimes": 0,
    })
}
