//! Locks of queues: an orderly consumer reads a queue only while the broker says that it is alone (client.md §3.5).

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::body::{LockBatch, LockedQueues, MessageQueue};
use wire::code::request;

use super::member::{Assigned, Member};
use crate::error::Error;
use crate::fields::Fields;
use crate::shared::decode;

impl Member {
    /// Renews the locks of all queues, and goes on with those that had to wait for it.
    pub(super) async fn lock_all(self: &Arc<Self>) {
        let queues = self.assigned();
        for of_broker in by_broker(&queues).into_values() {
            let names = of_broker.iter().map(|assigned| MessageQueue::clone(&assigned.queue)).collect();
            match self.lock(names).await {
                Ok(locked) => {
                    for assigned in of_broker.iter().filter(|assigned| locked.contains(&*assigned.queue)) {
                        assigned.locked();
                        self.next_in_line(assigned);
                    }
                }
                Err(error) => tracing::warn!(group = self.group, "locks are not renewed: {error}"),
            }
        }
    }

    /// Locks one queue; false while another member has it.
    pub(super) async fn lock_one(&self, queue: &MessageQueue) -> Result<bool, Error> {
        Ok(self.lock(vec![queue.clone()]).await?.contains(queue))
    }

    /// Locks queues of one broker, and gives those that this member has now.
    async fn lock(&self, queues: Vec<MessageQueue>) -> Result<Vec<MessageQueue>, Error> {
        let Some(first) = queues.first() else { return Ok(Vec::new()) };
        let address = self.shared.master_of(first).await?;
        let body = self.lock_body(queues)?;
        let answer = self.shared.ask(&address, request::LOCK_BATCH_MQ, &Fields::new(), &body).await?;
        Ok(decode::<LockedQueues>(&address, &answer)?.locked)
    }

    /// Lets other members have these queues.
    pub(super) async fn unlock(&self, queues: &[Arc<Assigned>]) {
        for of_broker in by_broker(queues).into_values() {
            let names: Vec<_> =
                of_broker.iter().map(|assigned| MessageQueue::clone(&assigned.queue)).collect();
            let done = async {
                let address = self.shared.master_of(&names[0]).await?;
                let body = self.lock_body(names.clone())?;
                self.shared.ask(&address, request::UNLOCK_BATCH_MQ, &Fields::new(), &body).await
            };
            if let Err(error) = done.await {
                tracing::debug!(
                    group = self.group,
                    "queues stay locked until the broker loses patience: {error}"
                );
            }
        }
    }

    fn lock_body(&self, queues: Vec<MessageQueue>) -> Result<Vec<u8>, Error> {
        let body = LockBatch {
            client_id: self.shared.client_id.clone(),
            consumer_group: self.group.clone(),
            mq_set: queues,
            only_this_broker: false,
        };
        serde_json::to_vec(&body).map_err(Error::illegal)
    }
}

/// Queues by the names of their brokers.
pub(super) fn by_broker(queues: &[Arc<Assigned>]) -> BTreeMap<&str, Vec<Arc<Assigned>>> {
    let mut brokers: BTreeMap<&str, Vec<Arc<Assigned>>> = BTreeMap::new();
    for assigned in queues {
        brokers.entry(&assigned.queue.broker_name).or_default().push(Arc::clone(assigned));
    }
    brokers
}
