//! Messages that go to a handler, many at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::body::MessageQueue;

use super::delivery::Delivered;
use super::intake::Intake;
use super::member::Member;

/// How long what was popped and not handled may take to be given back.
const GIVING_BACK: Duration = Duration::from_secs(1);

/// A member of a group whose messages go to a handler.
#[derive(Debug)]
#[must_use = "dropping it stops the consumer without waiting for handlers"]
pub struct Serving {
    member: Arc<Member>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Runs `handle` for every message, so many at a time.
    pub(super) fn start<H, F>(mut intake: Intake, concurrency: usize, handle: H) -> Serving
    where
        H: Fn(Delivered) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let member = Arc::clone(&intake.member);
        let permits = Arc::new(Semaphore::new(concurrency));
        let task = tokio::spawn(async move {
            // A permit first: what waits for a handler is not in hands, and may go to another member.
            while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
                let Some(delivered) = intake.next().await else { break };
                let handling = handle(delivered);
                tokio::spawn(async move {
                    handling.await;
                    drop(permit);
                });
            }
            intake.give_back(GIVING_BACK).await;
        });
        Serving { member, task }
    }

    /// Queues that this member has now. One with the number -1 stands for all of its broker, and is popped.
    pub fn queues(&self) -> Vec<MessageQueue> {
        self.member.held_queues()
    }

    /// Takes no more messages, waits up to `limit` for handlers, writes offsets down and leaves the group. What is not
    /// finished comes again, here or at another member.
    pub async fn close(mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.member.close(limit).await;
        // It ends with the last handler that it has to wait for; one that takes longer is left alone.
        let _ = tokio::time::timeout_at(deadline, &mut self.task).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.member.stop();
        self.task.abort();
    }
}
