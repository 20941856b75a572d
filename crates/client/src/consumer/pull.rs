//! Reading one queue for as long as this member has it (client.md §3.2).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wire::code::{request, response};
use wire::pull_flag::{SUBSCRIPTION, SUSPEND};

use super::member::{Assigned, Member};
use crate::error::Error;
use crate::fields::Fields;
use crate::identity::now_ms;
use crate::reader::{Pulled, pulled};
use crate::route::MASTER_ID;

/// How long the broker keeps a pull that finds nothing.
const SUSPENDED: Duration = Duration::from_secs(15);
/// How long an answer may take beyond that.
const GRACE: Duration = Duration::from_secs(15);
/// Pause after a pull that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Pause when the broker asks for it.
const FLOW_CONTROL: Duration = Duration::from_millis(20);
/// How long at most until a full queue is looked at again.
const FULL: Duration = Duration::from_millis(50);

impl Member {
    pub(super) async fn pull_for_ever(self: Arc<Self>, assigned: Arc<Assigned>) {
        let mut broker_id = MASTER_ID;
        while self.reads(&assigned) {
            if self.is_suspended() || !self.has_room(&assigned) || !self.may_go_on(&assigned) {
                let _ = tokio::time::timeout(FULL, assigned.room.notified()).await;
                continue;
            }
            let (generation, offset) = {
                let window = assigned.window.lock();
                (window.generation(), window.next_pull())
            };
            let begun = Instant::now();
            let pulled = tokio::select! {
                // What comes at the same moment was asked for in vain.
                biased;
                () = assigned.interrupt.notified() => continue,
                pulled = self.pull(&assigned, offset, broker_id) => pulled,
            };
            match pulled {
                Ok(pulled) => {
                    broker_id = pulled.suggested_broker_id;
                    let found = pulled.messages.len();
                    if found > 0 {
                        assigned.status.pulled(begun.elapsed(), found);
                    }
                    self.took(&assigned, generation, pulled);
                    if found > 0 && !self.options.pull_interval.is_zero() {
                        tokio::time::sleep(self.options.pull_interval).await;
                    }
                }
                Err(error) => self.rest(&assigned, &error).await,
            }
        }
    }

    fn has_room(&self, assigned: &Assigned) -> bool {
        assigned.window.lock().has_room(&self.bounds(assigned)) && self.have_room()
    }

    /// Whether all queues together may hold more. If not, whoever settles so much that they may wakes all of them.
    fn have_room(&self) -> bool {
        let Some(most) = self.options.all_messages_max else { return true };
        if self.held_messages() < most {
            return true;
        }
        self.full.store(true, Ordering::SeqCst);
        // What was settled in between was settled by somebody who did not know yet.
        self.held_messages() < most
    }

    fn held_messages(&self) -> usize {
        self.queues.lock().values().map(|assigned| assigned.window.lock().held().0).sum()
    }

    /// Messages of a queue are done with; see [`Assigned::settle`].
    pub(super) fn settle(
        &self,
        assigned: &Assigned,
        generation: u64,
        offsets: impl IntoIterator<Item = i64>,
    ) -> bool {
        let settled = assigned.settle(generation, offsets, &self.bounds(assigned));
        // Looked at before it is changed: threads that settle would take its cache line from each other.
        if self.full.load(Ordering::SeqCst) && self.full.swap(false, Ordering::SeqCst) && self.have_room() {
            self.assigned().iter().for_each(|assigned| assigned.room.notify_one());
        }
        settled
    }

    async fn pull(&self, assigned: &Assigned, offset: i64, broker_id: i64) -> Result<Pulled, Error> {
        let queue = &assigned.queue;
        assigned.last_pull_ms.store(now_ms(), Ordering::Relaxed);
        let filter = self.filter_of(&queue.topic);
        let address = self.shared.address_to_read(queue, broker_id).await?;
        let fields = Fields::new()
            .text("consumerGroup", self.group.as_str())
            .text("topic", queue.topic.as_str())
            .number("queueId", queue.queue_id)
            .number("queueOffset", offset)
            .number("maxMsgNums", self.options.batch)
            .maybe("maxMsgBytes", self.options.batch_bytes.map(|bytes| bytes.to_string()))
            .number("sysFlag", SUSPEND | SUBSCRIPTION)
            .number("commitOffset", 0)
            .number("suspendTimeoutMillis", SUSPENDED.as_millis() as i64)
            .text("subscription", filter.expression())
            .number("subVersion", self.started_ms)
            .text("expressionType", filter.kind());
        let timeout = SUSPENDED + GRACE;
        let code = if self.pulls_as_of_old.load(Ordering::Relaxed) {
            request::PULL_MESSAGE
        } else {
            self.options.role.pull_code()
        };
        let mut answer = self.shared.call(&address, code, &fields, &[], timeout).await?;
        if answer.code == response::REQUEST_CODE_NOT_SUPPORTED && code != request::PULL_MESSAGE {
            // Brokers of 4.9 have one request for all who pull.
            self.pulls_as_of_old.store(true, Ordering::Relaxed);
            answer = self.shared.call(&address, request::PULL_MESSAGE, &fields, &[], timeout).await?;
        }
        pulled(answer, &address, queue, &filter)
    }

    fn took(self: &Arc<Self>, assigned: &Arc<Assigned>, generation: u64, mut pulled: Pulled) {
        if pulled.out_of_range {
            let (group, queue, offset) = (&self.group, &assigned.queue, pulled.next_offset);
            tracing::warn!(
                group,
                ?queue,
                offset,
                "the queue does not have the offset any more, or was reset; going on"
            );
            assigned.restart_since(generation, offset);
            return;
        }
        for message in &mut pulled.messages {
            message.set_topic_before_pops_of(&self.group);
        }
        self.shared.namespace.unwrap_messages(&mut pulled.messages);
        pulled.messages.retain(|message| self.wants(message));
        let sizes = pulled.messages.iter().map(|message| (message.offset, message.weight()));
        // A lock of its own, since giving out what came takes it too.
        let current = assigned.window.lock().pulled(generation, sizes, pulled.next_offset);
        if current {
            self.give_out(assigned, generation, pulled.messages);
        }
    }

    /// Waits after a pull that failed, for as long as the reason suggests.
    async fn rest(&self, assigned: &Assigned, error: &Error) {
        if error.broker_code() == Some(response::FLOW_CONTROL) {
            tokio::time::sleep(FLOW_CONTROL).await;
            return;
        }
        tracing::debug!(group = self.group, queue = ?assigned.queue, "a pull failed: {error}");
        tokio::time::sleep(AFTER_FAILURE).await;
        self.shared.note_moved(&assigned.queue.topic, error).await;
        // A broker that was away, or that this connection is new to, knows nothing of this member.
        if let Some(address) = self.shared.routes.master(&assigned.queue.broker_name) {
            self.shared.heartbeat(&address).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::tests::{member, queue};
    use super::super::options::{Options, Role};
    use super::Pulled;

    #[tokio::test]
    async fn a_pull_that_was_outside_of_the_queue_does_not_undo_a_seek() {
        let member = member(Options::usual(Role::LitePull));
        let assigned = queue(&member, 0);
        let generation = assigned.generation();
        let outside = || Pulled {
            messages: Vec::new(),
            next_offset: 50,
            min_offset: 50,
            max_offset: 90,
            suggested_broker_id: 0,
            out_of_range: true,
        };
        assigned.restart(70);
        member.took(&assigned, generation, outside());
        assert_eq!(assigned.window.lock().next_pull(), 70);
        member.took(&assigned, assigned.generation(), outside());
        assert_eq!(assigned.window.lock().next_pull(), 50);
    }

    #[tokio::test]
    async fn queues_without_room_for_all_together_are_woken_when_there_is_some() {
        let member = member(Options { all_messages_max: Some(4), ..Options::usual(Role::LitePull) });
        let (some, other) = (queue(&member, 0), queue(&member, 1));
        assert!(some.window.lock().pulled(0, (0..5).map(|offset| (offset, 1)), 5));
        assert!(!member.has_room(&other));
        let woken = other.room.notified();
        tokio::pin!(woken);
        assert!(!woken.as_mut().enable());
        member.settle(&some, 0, [0]);
        assert!(!woken.as_mut().enable(), "there is none yet");
        member.settle(&some, 0, [2]);
        assert!(woken.as_mut().enable() && member.has_room(&other));
        let woken = other.room.notified();
        tokio::pin!(woken);
        member.settle(&some, 0, [3]);
        assert!(!woken.as_mut().enable(), "nobody waits");
    }
}
