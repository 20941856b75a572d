//! Dividing queues: which are mine now, giving up those that are not, starting with those that are new
//! (client.md §3.8).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use wire::body::{ConsumerIdList, MessageQueue};
use wire::code::request;
use wire::names::RETRY_PREFIX;

use super::builder::StartFrom;
use super::member::{Assigned, Member};
use crate::error::Error;
use crate::fields::Fields;
use crate::shared::decode;

/// Pause before a division that did not work out is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Divisions in a row that are repeated after [`AGAIN`]; then the usual period is soon enough.
const EAGER_MAX: u32 = 10;
/// How long messages in hands hold a queue that goes to another member: settling them later would make that member
/// repeat them.
const HANDS: Duration = Duration::from_secs(5);

impl Member {
    pub(super) async fn rebalance_for_ever(self: &Arc<Self>) {
        let mut failures = 0;
        loop {
            let balanced = self.divide().await;
            failures = if balanced { 0 } else { failures + 1 };
            let eager = !balanced && failures < EAGER_MAX;
            let pause = if eager { AGAIN.min(self.options.rebalance) } else { self.options.rebalance };
            let _ = tokio::time::timeout(pause, self.rebalance.notified()).await;
        }
    }

    /// One division of all topics; false if it should soon be tried again.
    async fn divide(self: &Arc<Self>) -> bool {
        let mut balanced = true;
        let mut changed = false;
        for topic in self.subscriptions.keys() {
            match self.mine(topic).await {
                Ok(mine) => {
                    let (all, some) = self.take_over(topic, mine).await;
                    balanced &= all;
                    changed |= some;
                }
                Err(Error::NoRoute { .. }) => balanced = false,
                Err(error) => {
                    tracing::warn!(group = self.group, topic, "queues are not divided: {error}");
                    balanced = false;
                }
            }
        }
        if changed {
            // Brokers drop what they know of subscriptions with older versions.
            self.newer_version();
            self.shared.heartbeat_all().await;
        }
        balanced
    }

    async fn mine(&self, topic: &str) -> Result<BTreeSet<MessageQueue>, Error> {
        let route = self.shared.route(topic).await?;
        let mut queues = route.queues_to_read();
        // Java sorts so, and all members must.
        queues.sort_by(|a, b| (&a.broker_name, a.queue_id).cmp(&(&b.broker_name, b.queue_id)));
        if self.is_broadcast() {
            return Ok(queues.into_iter().collect());
        }
        let members = self.members(&route.addresses()).await?;
        if !members.contains(&self.shared.client_id) {
            // The broker has not heard of this member, or has forgotten it.
            self.shared.heartbeat_all().await;
            return Err(Error::Illegal("the broker does not know this member yet".to_owned()));
        }
        Ok(self.options.strategy.allocate(&self.shared.client_id, &queues, &members).into_iter().collect())
    }

    /// Ids of all members in order, from the first broker that can say.
    async fn members(&self, addresses: &[&str]) -> Result<Vec<String>, Error> {
        let mut last = Error::NoBroker { name: self.group.clone() };
        for address in addresses {
            let fields = Fields::new().text("consumerGroup", self.group.as_str());
            match self.shared.ask(address, request::GET_CONSUMER_LIST_BY_GROUP, &fields, &[]).await {
                Ok(answer) => {
                    let mut members = decode::<ConsumerIdList>(address, &answer)?.consumer_id_list;
                    members.sort();
                    return Ok(members);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Gives up queues of a topic that are not mine, and starts with those that are. Says whether all could be started,
    /// and whether something changed.
    async fn take_over(self: &Arc<Self>, topic: &str, mine: BTreeSet<MessageQueue>) -> (bool, bool) {
        let mut revoked = Vec::new();
        let mut new = Vec::new();
        {
            let mut queues = self.queues.lock();
            let gone = queues.keys().filter(|queue| queue.topic == topic && !mine.contains(*queue));
            for queue in gone.cloned().collect::<Vec<_>>() {
                revoked.extend(queues.remove(&queue));
            }
            new.extend(mine.into_iter().filter(|queue| !queues.contains_key(queue)));
        }
        let changed = !revoked.is_empty() || !new.is_empty();
        for assigned in revoked {
            assigned.revoked.store(true, Ordering::Release);
            assigned.interrupt.notify_one();
            assigned.line.lock().waiting.clear();
            self.spawn(|member| async move { member.give_up(assigned).await });
        }
        let mut all = true;
        for queue in new {
            if let Err(error) = self.begin(&queue).await {
                tracing::debug!(group = self.group, ?queue, "a queue is not started yet: {error}");
                all = false;
            }
        }
        (all, changed)
    }

    /// Writes down how far a queue was read, once nothing of it is in hands.
    async fn give_up(&self, assigned: Arc<Assigned>) {
        assigned.wait_for_hands(Instant::now() + HANDS).await;
        self.commit(std::slice::from_ref(&assigned)).await;
        if self.options.orderly && !self.is_broadcast() {
            self.unlock(std::slice::from_ref(&assigned)).await;
        }
    }

    async fn begin(self: &Arc<Self>, queue: &MessageQueue) -> Result<(), Error> {
        let locks = self.options.orderly && !self.is_broadcast();
        if locks && !self.lock_one(queue).await? {
            return Err(Error::Illegal("another member still has its lock".to_owned()));
        }
        let stored = self.stored(queue).await?;
        let offset = match stored {
            Some(offset) => offset,
            None => self.first_offset(queue).await?,
        };
        // -1: the broker knows of no offset, and shall soon.
        let assigned = Arc::new(Assigned::new(queue.clone(), offset, stored.unwrap_or(-1)));
        if locks {
            assigned.locked();
        }
        self.queues.lock().insert(queue.clone(), Arc::clone(&assigned));
        self.spawn(|member| async move { member.pull_for_ever(assigned).await });
        Ok(())
    }

    async fn first_offset(&self, queue: &MessageQueue) -> Result<i64, Error> {
        let retried = queue.topic.starts_with(RETRY_PREFIX);
        match self.options.start {
            // Whatever failed belongs to this group and was never consumed.
            StartFrom::Latest if retried => Ok(0),
            StartFrom::Latest => self.shared.offset(queue, request::GET_MAX_OFFSET, |fields| fields).await,
            StartFrom::Earliest => self.shared.offset(queue, request::GET_MIN_OFFSET, |fields| fields).await,
            StartFrom::AtMs(_) if retried => Ok(0),
            StartFrom::AtMs(at) => {
                let more = |fields: Fields<'static>| fields.number("timestamp", at);
                self.shared.offset(queue, request::SEARCH_OFFSET_BY_TIMESTAMP, more).await
            }
        }
    }

    /// Moves to other offsets, as an administrator wants it.
    pub fn reset(self: &Arc<Self>, offsets: &BTreeMap<MessageQueue, i64>) {
        for assigned in self.assigned() {
            if let Some(offset) = offsets.get(&assigned.queue) {
                assigned.restart(*offset);
            }
        }
        self.spawn(|member| async move { member.commit_all().await });
    }
}
