//! Joining a group, its regular work, and leaving it without losing any (client.md §5).

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use wire::body::MessageQueue;

use super::lock::by_broker;
use super::member::Member;
use super::options::{Allocation, Role};
use super::status::SAMPLED;
use crate::error::Error;
use crate::fields::Fields;

/// How often an orderly consumer renews its locks.
const LOCK_PERIOD: Duration = Duration::from_secs(20);
/// How long brokers have at least to hear that the group is left.
const GOODBYE: Duration = Duration::from_secs(1);

impl Member {
    /// Joins the group, divides its queues once and starts what goes on from then.
    pub(super) async fn start(self: &Arc<Self>) -> Result<(), Error> {
        for (topic, filter) in self.subscribed() {
            self.check_subscription(&topic, &filter).await?;
        }
        self.shared.registry.add_consumer(self.clone())?;
        self.shared.heartbeat_all().await;
        if self.options.allocation == Allocation::Application {
            // Its queues are there when this returns.
            self.divide().await;
        }
        self.spawn(|member| async move { member.rebalance_for_ever().await });
        self.spawn(|member| async move { member.note_status_for_ever().await });
        if self.options.auto_commit && self.options.role != Role::Pop {
            self.spawn(|member| async move { member.commit_for_ever().await });
        }
        if self.locks() {
            self.spawn(|member| async move { member.lock_for_ever().await });
        }
        Ok(())
    }

    /// Runs a task until the consumer is closed.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        task: impl FnOnce(Arc<Member>) -> F,
    ) {
        let running = task(Arc::clone(self));
        let member = Arc::clone(self);
        self.runtime.spawn(async move {
            tokio::select! {
                () = running => (),
                () = member.told_to_stop() => (),
            }
        });
    }

    async fn note_status_for_ever(&self) {
        loop {
            tokio::time::sleep(SAMPLED).await;
            let age = self.age();
            self.status.lock().values().for_each(|status| status.sample(age));
        }
    }

    async fn lock_for_ever(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(LOCK_PERIOD).await;
            self.lock_all().await;
        }
    }

    /// Ends all tasks, gives nothing out any more, and brokers are told nothing of it.
    pub(super) fn stop(&self) {
        self.no_more();
        self.shared.registry.remove_consumer(self);
    }

    /// Leaves the group: no message that was settled comes again, and none is lost that was not. Messages in hands have
    /// until the limit, and so have brokers, or a little longer if nothing of it is left.
    pub(super) async fn close(self: &Arc<Self>, limit: Duration) {
        self.no_more();
        let deadline = Instant::now() + limit;
        let call = self.shared.times.call;
        // What a division under way locks or takes away is known when it has ended.
        let _alone = timeout_at(deadline.max(Instant::now() + call), self.dividing.lock()).await;
        tokio::select! {
            () = self.wait_for_hands(deadline) => (),
            // Nobody else may have an orderly queue meanwhile.
            () = self.lock_for_ever(), if self.locks() => (),
        }
        // Those brokers that do not answer have no more than this.
        let end = deadline.max(Instant::now() + call);
        let _ = timeout_at(end, self.settle_up()).await;
        // Not before: brokers would forget who waits long for messages in hands.
        self.left.store(true, Ordering::Release);
        let left = self.shared.unregister(Fields::new().text("consumerGroup", self.group.clone()));
        let _ = timeout_at(end.max(Instant::now() + GOODBYE), left).await;
        // Until here brokers may still ask about this member.
        self.shared.registry.remove_consumer(&**self);
        self.queues.lock().clear();
        self.leaving.lock().clear();
        self.popped.lock().clear();
        self.tell_watchers();
        self.shared.flush_traces().await;
    }

    async fn wait_for_hands(&self, deadline: Instant) {
        for assigned in [self.assigned(), self.leaving()].concat() {
            assigned.hands.wait_until_empty(deadline).await;
        }
        let before: Vec<_> = self.popped_before.lock().iter().filter_map(Weak::upgrade).collect();
        for queue in [self.popping(), before].concat() {
            queue.hands.wait_until_empty(deadline).await;
        }
    }

    /// Writes down how far everything was read and lets others have it, also what was just being given up.
    async fn settle_up(self: &Arc<Self>) {
        let queues = [self.assigned(), self.leaving()].concat();
        let mut brokers = JoinSet::new();
        for queues in by_broker(&queues).into_values() {
            let member = Arc::clone(self);
            brokers.spawn(async move {
                if member.options.auto_commit {
                    // What does not work was logged.
                    let _ = member.commit(&queues).await;
                }
                if member.locks() {
                    let names = queues.iter().map(|assigned| MessageQueue::clone(&assigned.queue));
                    member.unlock(names.collect()).await;
                }
            });
        }
        self.unlock_reserved(|_| true).await;
        while brokers.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::assignment::Share;
    use super::super::member::tests::member;
    use super::super::options::Options;
    use super::*;

    #[tokio::test]
    async fn what_was_popped_of_a_queue_that_went_to_others_is_waited_for_too() {
        let member = member(Options::usual(Role::Pop));
        let queue = MessageQueue { topic: "T".into(), broker_name: "b".into(), queue_id: 0 };
        member.begin_popping(queue.clone());
        let popping = member.popped.lock()[&queue].clone();
        popping.hands.take();
        member.take_over("T", Share::default()).await;
        assert!(popping.is_revoked() && member.popping().is_empty());
        let waits = member.wait_for_hands(Instant::now() + Duration::from_secs(60));
        tokio::pin!(waits);
        let early = tokio::time::timeout(Duration::from_millis(200), &mut waits).await;
        assert!(early.is_err(), "its acknowledgement is not confirmed yet");
        popping.hands.give();
        tokio::time::timeout(Duration::from_secs(30), waits).await.expect("nothing is in hands any more");
        member.no_more();
    }
}
