//! Giving up queues that go to other members: what was done is written down, and nobody else has what is in hands here
//! if that matters (client.md §3.5, §3.8).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::body::MessageQueue;

use super::member::{Assigned, Member};

/// How long messages in hands hold a queue that goes to another member: settling them later would make that member
/// repeat them.
const HANDS: Duration = Duration::from_secs(5);
/// The same of an orderly queue, whose next member has to wait: for as long as it would if this one died.
const ORDERLY_HANDS: Duration = Duration::from_secs(60);

impl Member {
    /// Queues that are being given up.
    pub(super) fn leaving(&self) -> Vec<Arc<Assigned>> {
        self.leaving.lock().values().cloned().collect()
    }

    /// Takes those queues away from this member that `goes` says, and returns them. They are [given up](Self::give_up)
    /// from now on.
    pub(super) fn take_away(&self, goes: impl Fn(&Assigned) -> bool) -> Vec<Arc<Assigned>> {
        let (mut queues, mut leaving) = (self.queues.lock(), self.leaving.lock());
        let gone: Vec<_> = queues.values().filter(|assigned| goes(assigned)).cloned().collect();
        for assigned in &gone {
            queues.remove(&*assigned.queue);
            leaving.insert(MessageQueue::clone(&assigned.queue), Arc::clone(assigned));
            assigned.revoked.store(true, Ordering::Release);
            assigned.interrupt.notify_one();
            // What is done and in nobody's hands is still written down if a handler commits it in time.
            assigned.line.lock().end();
        }
        gone
    }

    /// Gives up queues that were taken away. Returns when brokers know how far they were read, since their next members
    /// may ask at any moment, or after the time of a call: a broker that is silent holds up no queues of others. Only
    /// queues with something in hands, and those of such a broker, end later.
    pub(super) async fn give_up(self: &Arc<Self>, gone: Vec<Arc<Assigned>>) {
        // Nothing is ever said there: who waits hears the last sender go.
        let (writing, mut written) = mpsc::channel::<Infallible>(1);
        for assigned in gone {
            let writing = writing.clone();
            // Tasks of their own: who waits here may be cancelled.
            self.spawn(|member| async move {
                member.commit_before_it_goes(&assigned).await;
                let idle = assigned.hands.count() == 0;
                let writing = idle.then_some(writing);
                member.let_go(&assigned).await;
                drop(writing);
            });
        }
        drop(writing);
        // The tasks go on by themselves.
        let _ = tokio::time::timeout(self.shared.times.call, written.recv()).await;
    }

    async fn let_go(self: &Arc<Self>, assigned: &Arc<Assigned>) {
        let patience = if self.locks() { ORDERLY_HANDS } else { HANDS };
        assigned.hands.wait_until_empty(Instant::now() + patience).await;
        self.commit_before_it_goes(assigned).await;
        if self.locks() {
            self.unlock(vec![MessageQueue::clone(&assigned.queue)]).await;
        }
        self.leaving.lock().remove(&*assigned.queue);
        if assigned.comes_back.load(Ordering::Acquire) {
            self.rebalance.notify_one();
        }
    }

    async fn commit_before_it_goes(self: &Arc<Self>, assigned: &Arc<Assigned>) {
        if self.options.auto_commit {
            // What does not work was logged; the messages come again at the next member.
            let _ = self.commit(std::slice::from_ref(assigned)).await;
        }
    }

    /// Whether a queue is still being given up. If so, queues are divided again when it is.
    pub(super) fn still_leaves(&self, queue: &MessageQueue) -> bool {
        let leaving = self.leaving.lock();
        let Some(assigned) = leaving.get(queue) else { return false };
        assigned.comes_back.store(true, Ordering::Release);
        true
    }
}
