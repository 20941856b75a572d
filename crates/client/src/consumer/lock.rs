//! Locks of queues: an orderly consumer reads a queue only while the broker says that it is alone (client.md §3.5).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use wire::body::{LockBatch, LockedQueues, MessageQueue};
use wire::code::request;

use super::member::{Assigned, Member};
use crate::at_once::all_at_once;
use crate::error::Error;
use crate::fields::Fields;
use crate::shared::decode;

impl Member {
    /// Whether this member reads only what it has locked.
    pub(super) fn locks(&self) -> bool {
        self.options.orderly && !self.is_broadcast()
    }

    /// Renews the locks of all queues at all brokers at a time, and goes on with those that had to wait for it.
    pub(super) async fn lock_all(self: &Arc<Self>) {
        // Also of those that are given up, which nobody else may have while a handler is at work on them.
        let queues = [self.assigned(), self.leaving()].concat();
        let asked = by_broker(&queues).into_values().map(|of_broker| self.renew_at_broker(of_broker));
        all_at_once(asked).await;
    }

    async fn renew_at_broker(self: &Arc<Self>, queues: Vec<Arc<Assigned>>) {
        let names = queues.iter().map(|assigned| MessageQueue::clone(&assigned.queue)).collect();
        match self.lock(names).await {
            Ok(locked) => self.note_locks(queues, &locked).await,
            Err(error) => tracing::warn!(group = self.group, "locks are not renewed: {error}"),
        }
    }

    /// A broker was asked for the locks of these queues, and gave some.
    async fn note_locks(self: &Arc<Self>, asked: Vec<Arc<Assigned>>, locked: &[MessageQueue]) {
        let (given, refused): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|assigned| locked.contains(&assigned.queue));
        let (held, gone): (Vec<_>, Vec<_>) =
            given.into_iter().partition(|assigned| self.may_hold(&assigned.queue));
        for assigned in &held {
            assigned.locked();
            self.next_in_line(assigned);
        }
        // They were given up while the broker was asked.
        self.unlock(gone.iter().map(|assigned| MessageQueue::clone(&assigned.queue)).collect()).await;
        self.lose(&refused).await;
    }

    /// Gives up queues that another member has locked: it has read on, and what is known of them here is old.
    async fn lose(self: &Arc<Self>, refused: &[Arc<Assigned>]) {
        for assigned in refused {
            assigned.not_locked();
            tracing::warn!(group = self.group, queue = ?assigned.queue, "another member has the lock");
        }
        let gone = self.take_away(|one| refused.iter().any(|assigned| std::ptr::eq(one, &**assigned)));
        if !gone.is_empty() {
            self.give_up(gone).await;
            self.rebalance.notify_one();
        }
    }

    /// Whether a lock of this queue is of any use.
    fn may_hold(&self, queue: &MessageQueue) -> bool {
        self.queues.lock().contains_key(queue)
            || self.leaving.lock().contains_key(queue)
            || self.reserved.lock().contains(queue)
    }

    /// Locks a queue that is not read yet; false while another member has it.
    pub(super) async fn reserve(&self, queue: &MessageQueue) -> Result<bool, Error> {
        // Before it is asked for: whatever happens then, it is not forgotten that the broker may have given it.
        self.reserved.lock().insert(queue.clone());
        let locked = self.lock(vec![queue.clone()]).await?.contains(queue);
        if !locked {
            self.reserved.lock().remove(queue);
        }
        Ok(locked)
    }

    /// Lets other members have what was reserved for nothing.
    pub(super) async fn unlock_reserved(self: &Arc<Self>, in_vain: impl Fn(&MessageQueue) -> bool) {
        let gone: Vec<_> = self.reserved.lock().iter().filter(|queue| in_vain(queue)).cloned().collect();
        self.unlock(gone.clone()).await;
        self.reserved.lock().retain(|queue| !gone.contains(queue));
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
    pub(super) async fn unlock(self: &Arc<Self>, queues: Vec<MessageQueue>) {
        let mut tasks = JoinSet::new();
        for queues in named_by_broker(queues).into_values() {
            let member = Arc::clone(self);
            tasks.spawn(async move {
                if let Err(error) = member.unlock_at_broker(queues).await {
                    let group = &member.group;
                    tracing::debug!(group, "queues stay locked until the broker loses patience: {error}");
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn unlock_at_broker(&self, queues: Vec<MessageQueue>) -> Result<(), Error> {
        let Some(first) = queues.first() else { return Ok(()) };
        let address = self.shared.master_of(first).await?;
        let body = self.lock_body(queues)?;
        self.shared.ask(&address, request::UNLOCK_BATCH_MQ, &Fields::new(), &body).await?;
        Ok(())
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

/// The same of queues that are not read.
pub(super) fn named_by_broker(queues: Vec<MessageQueue>) -> BTreeMap<String, Vec<MessageQueue>> {
    let mut brokers: BTreeMap<String, Vec<MessageQueue>> = BTreeMap::new();
    for queue in queues {
        brokers.entry(queue.broker_name.clone()).or_default().push(queue);
    }
    brokers
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::super::member::tests::{knows, member, queue, queue_at};
    use super::super::options::{Options, Role};
    use super::*;
    use crate::pretended::{Said, pretend};

    #[tokio::test]
    async fn a_queue_whose_lock_another_has_is_not_trusted_any_more() {
        let member = member(Options { orderly: true, ..Options::usual(Role::Push) });
        let (kept, lost) = (queue(&member, 0), queue(&member, 1));
        kept.locked();
        lost.locked();
        lost.hands.take();
        let locked = [MessageQueue::clone(&kept.queue)];
        member.note_locks(vec![Arc::clone(&kept), Arc::clone(&lost)], &locked).await;
        assert!(kept.is_locked() && !kept.is_revoked());
        assert!(!lost.is_locked() && lost.is_revoked());
        assert_eq!(member.queues.lock().keys().cloned().collect::<Vec<_>>(), locked);
        assert!(member.still_leaves(&lost.queue), "it is in hands, and not begun again before it is not");
        lost.hands.give();
        tokio::time::timeout(Duration::from_secs(30), member.rebalance.notified()).await.expect("in time");
        while member.still_leaves(&lost.queue) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn brokers_that_are_silent_do_not_keep_others_from_renewing_their_locks() {
        let member = member(Options { orderly: true, ..Options::usual(Role::Push) });
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        // A call takes 1 s: one after the other they would need all the patience there is.
        for broker_name in (0..30).map(|number| format!("a{number}")) {
            knows(&member, &broker_name, &silent.local_addr().unwrap().to_string());
            queue_at(&member, &broker_name, 0);
        }
        let (address, _server) = pretend(|asked| Some(Said::locked(asked)));
        knows(&member, "b", &address);
        let other = queue(&member, 0);
        tokio::time::timeout(Duration::from_secs(20), member.lock_all()).await.expect("all are asked");
        assert!(other.is_locked());
    }
}
