//! Messages that go to a handler, many at a time.
//!
//! Workers take turns at the messages. One whose handler returns at once goes on with the next message, so that
//! handing a message over costs neither a task nor memory. One whose handler has to wait leaves its turn to another
//! worker; a new one is hired if all wait. There are as many turns as the runtime has threads.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use wire::body::MessageQueue;

use super::delivery::Delivered;
use super::intake::Intake;
use super::member::Member;
use crate::error::Error;
use crate::filter::Filter;
use crate::watch::QueueWatch;

/// How long what was popped and not handled may take to be given back.
const GIVING_BACK: Duration = Duration::from_secs(1);
/// How long a worker goes on before it lets other tasks of its thread run.
const STINT: Duration = Duration::from_micros(200);

/// What a handler takes at a time: a message, or several.
pub(super) trait Portion: Send + Sized + 'static {
    /// Takes up to so many messages from the front of what is ready; `None` when nothing is.
    fn take(ready: &mut VecDeque<Delivered>, most: usize) -> Option<Self>;

    /// Counts it as in the application's hands; false when nothing of it is this member's any more.
    fn hand_over(&mut self) -> bool;
}

impl Portion for Delivered {
    fn take(ready: &mut VecDeque<Delivered>, _: usize) -> Option<Delivered> {
        ready.pop_front()
    }

    fn hand_over(&mut self) -> bool {
        Delivered::hand_over(self)
    }
}

impl Portion for Vec<Delivered> {
    fn take(ready: &mut VecDeque<Delivered>, most: usize) -> Option<Vec<Delivered>> {
        let first = ready.front()?;
        let count = ready.iter().take(most).take_while(|next| next.goes_with(first)).count();
        Some(ready.drain(..count).collect())
    }

    fn hand_over(&mut self) -> bool {
        self.retain_mut(Delivered::hand_over);
        !self.is_empty()
    }
}

/// A member of a group whose messages go to a handler.
#[derive(Debug)]
#[must_use = "dropping it stops the consumer without waiting for handlers"]
pub struct Serving {
    member: Arc<Member>,
    /// Closed when the last worker has ended.
    workers: mpsc::Receiver<Infallible>,
}

impl Serving {
    /// Runs `handle` for all messages, as many at a time as the member's options say.
    pub(super) fn start<P, H, F>(intake: Intake, handle: H) -> Serving
    where
        P: Portion,
        H: Fn(P) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let member = Arc::clone(&intake.member);
        let concurrency = member.options.concurrency;
        let turns = Handle::current().metrics().num_workers().clamp(1, concurrency);
        let crew = Arc::new(Crew {
            member: Arc::clone(&member),
            handle,
            intake: tokio::sync::Mutex::new(intake),
            ready: Mutex::default(),
            turns: Semaphore::new(turns),
            hired: AtomicUsize::new(0),
            concurrency,
            portion: PhantomData,
        });
        let (working, workers) = mpsc::channel(1);
        for _ in 0..turns {
            crew.hire(&working);
        }
        Serving { member, workers }
    }

    /// Queues that this member has now. One with the number -1 stands for all of its broker, and is popped.
    pub fn queues(&self) -> Vec<MessageQueue> {
        self.member.held_queues()
    }

    /// Watches which queues this member has: they change when members come and go, or the topics change.
    pub fn watch_queues(&self) -> QueueWatch {
        self.member.watch_queues()
    }

    /// Adds a topic while the consumer works, or wants other messages of it from now on. What was pulled before comes
    /// as it was. All members of a group must do the same.
    ///
    /// # Errors
    /// When the name is not allowed, no name server answers, or the broker refuses the filter; nothing changes then.
    pub async fn subscribe(&self, topic: &str, filter: Filter) -> Result<(), Error> {
        self.member.subscribe(topic, filter).await
    }

    /// Wants nothing of a topic any more. When this returns, no handler begins with any of its messages, unless it was
    /// popped; those in hands can be settled, for a few seconds with effect on the group's offsets.
    pub async fn unsubscribe(&self, topic: &str) {
        self.member.unsubscribe(topic).await;
    }

    /// Asks brokers for no more messages until it is [resumed](Serving::resume). What has come before is given
    /// out all the same, and so is what a request brings that is under way. The queues stay this member's.
    pub fn suspend(&self) {
        self.member.suspend();
    }

    /// Goes on after [`suspend`](Serving::suspend).
    pub fn resume(&self) {
        self.member.resume();
    }

    /// Takes no more messages, waits up to `limit` for handlers, writes offsets down and leaves the group. What is not
    /// finished comes again, here or at another member. Brokers that do not answer can make it a few seconds more.
    pub async fn close(mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.member.close(limit).await;
        // A handler that takes longer is left alone.
        let _ = tokio::time::timeout_at(deadline, self.workers.recv()).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Workers end when they look for their next message.
        self.member.stop();
    }
}

/// Workers, and the messages that wait for them.
struct Crew<P, H> {
    member: Arc<Member>,
    handle: H,
    intake: tokio::sync::Mutex<Intake>,
    /// Out of the intake, and in nobody's hands.
    ready: Mutex<VecDeque<Delivered>>,
    turns: Semaphore,
    /// Workers so far. None is dismissed before the end.
    hired: AtomicUsize,
    concurrency: usize,
    portion: PhantomData<fn() -> P>,
}

impl<P, H, F> Crew<P, H>
where
    P: Portion,
    H: Fn(P) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    /// One worker more, unless there are as many as may be.
    fn hire(self: &Arc<Self>, working: &mpsc::Sender<Infallible>) {
        let more = |hired| (hired < self.concurrency).then_some(hired + 1);
        if self.hired.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok() {
            tokio::spawn(Box::pin(Arc::clone(self).work(working.clone())));
        }
    }

    async fn work(self: Arc<Self>, working: mpsc::Sender<Infallible>) {
        // It fails when turns are no more, which is never.
        let Ok(mut turn) = self.turns.acquire().await else { return };
        let mut since = Instant::now();
        while let Some(portion) = self.next().await {
            let mut handling = pin!(unwound(async { (self.handle)(portion).await }));
            if is_pending(handling.as_mut()).await {
                drop(turn);
                if self.turns.available_permits() > 0 {
                    // Nobody waited for it.
                    self.hire(&working);
                }
                handling.await;
                let Ok(next) = self.turns.acquire().await else { return };
                turn = next;
                since = Instant::now();
            } else if since.elapsed() > STINT {
                tokio::task::yield_now().await;
                since = Instant::now();
            }
        }
        let unread = std::mem::take(&mut *self.ready.lock());
        self.intake.lock().await.give_back(unread, GIVING_BACK).await;
    }

    /// The next messages, in hands now; `None` when the consumer was closed.
    async fn next(&self) -> Option<P> {
        loop {
            if self.member.is_stopping() {
                return None;
            }
            let next = P::take(&mut self.ready.lock(), self.member.options.together);
            if let Some(mut portion) = next {
                if portion.hand_over() {
                    return Some(portion);
                }
                continue;
            }
            let mut intake = self.intake.lock().await;
            // While one waits for messages, another waits for that one, and finds what it leaves.
            if self.ready.lock().is_empty() {
                let given = intake.next_given().await?;
                intake.unpack(given, &mut self.ready.lock());
            }
        }
    }
}

/// Whether a future is not ready after a first look.
async fn is_pending<F: Future<Output = ()>>(mut future: Pin<&mut F>) -> bool {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

/// A future that ends when it panics: what it owned is dropped, and its message comes again.
async fn unwound<F: Future<Output = ()>>(future: F) {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        // The panic was reported where it happened.
        polled.unwrap_or(Poll::Ready(()))
    })
    .await;
}
