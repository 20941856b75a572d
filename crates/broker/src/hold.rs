//! Pulls that found nothing and wait: woken by an arrival in exactly their queue, or answered at their deadline
//! (broker.md §10.5).
//!
//! Whom the sends of a moment wake is answered together, by a task that lets everybody go first who is ready to be
//! served: what these send goes into the same answers. On an idle broker that takes no time; on a busy one it is the
//! difference between an answer for a message and one for many.
//!
//! Most pulls of most consumers end by their deadline. So those that end at about the same time end together, at one
//! tick of a clock that is the coarser the longer a pull waits. What one of them costs is a place in a queue's list,
//! one among the deadlines, and its own bytes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use store::{Queue, Watcher};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Broker;
use crate::pull::BoxedWaiter;

/// A pull is answered later than it asks for by one part in so many at most.
const LATE_SHARE: u128 = 64;

/// Time between two looks through all that wait for those whose connections have ended: ten thousand clients that go
/// together cost one.
const LOOKS_FOR_CLOSED: Duration = Duration::from_secs(1);

/// A queue by name. Whoever waits for one that is deleted is answered then ([`Hold::deleted`]), so that nobody waits
/// for a queue that has another of its name behind it.
type QueueKey = (Arc<str>, u32);

/// All pulls that wait.
pub(crate) struct Hold {
    waiting: Mutex<Waiting>,
    woken: Mutex<Woken>,
    /// Deadlines are counted from here.
    began: Instant,
    /// Tells the deadline task that an earlier deadline has come in, or that connections have ended.
    earlier: Notify,
    /// Connections have ended since their pulls were last looked for.
    has_closed: AtomicBool,
    broker: OnceLock<Weak<Broker>>,
    runtime: Handle,
}

#[derive(Default)]
struct Waiting {
    next_id: u64,
    /// Those who wait for each queue, by rising id: the first to come is mostly the first whose time is over.
    queues: HashMap<QueueKey, VecDeque<Parked>>,
    /// Which queue to look in for the waiter of a deadline.
    deadlines: BTreeMap<(Instant, u64), QueueKey>,
    closed: bool,
}

struct Parked {
    id: u64,
    waiter: BoxedWaiter,
}

/// Those that were woken and are not answered yet.
#[derive(Default)]
struct Woken {
    waiters: Vec<BoxedWaiter>,
    /// A task is going to take them.
    has_task: bool,
}

/// Most waiters that one task answers; another one takes the rest, at the same time if there is a thread for it.
const ANSWERED_AT_ONCE: usize = 32;

impl Hold {
    pub fn new(runtime: Handle) -> Hold {
        Hold {
            waiting: Mutex::default(),
            woken: Mutex::default(),
            began: Instant::now(),
            earlier: Notify::new(),
            has_closed: AtomicBool::new(false),
            broker: OnceLock::new(),
            runtime,
        }
    }

    /// Who answers those that are woken.
    pub fn attach(&self, broker: Weak<Broker>) {
        let _ = self.broker.set(broker);
    }

    /// When a pull that comes now and may wait for `suspend` is answered at the latest: at a tick behind that.
    pub fn deadline(&self, suspend: Duration) -> Instant {
        let until = Instant::now() + suspend;
        let tick_ms = tick_ms(suspend);
        let elapsed_ms = until.duration_since(self.began).as_millis() as u64;
        self.began + Duration::from_millis((elapsed_ms / tick_ms + 1) * tick_ms)
    }

    /// Lets `waiter` wait for messages of `queue` from `offset` on. Gives it back if there are some already, if none
    /// will come since the queue `is_gone`, or if the broker is stopping.
    pub fn park(
        &self,
        queue: &Arc<Queue>,
        offset: u64,
        waiter: BoxedWaiter,
        is_gone: impl FnOnce() -> bool,
    ) -> Option<BoxedWaiter> {
        let deadline = waiter.deadline;
        let key = (Arc::clone(queue.topic()), queue.id());
        let (id, first) = {
            let mut waiting = self.waiting.lock();
            if waiting.closed {
                return Some(waiter);
            }
            let id = waiting.next_id;
            waiting.next_id += 1;
            waiting.queues.entry(key.clone()).or_default().push_back(Parked { id, waiter });
            waiting.deadlines.insert((deadline, id), key.clone());
            queue.watchers.watch(Watcher::Pull);
            let first = waiting.deadlines.first_key_value();
            (id, first.is_some_and(|((_, first), _)| *first == id))
        };
        if first {
            self.earlier.notify_one();
        }
        // An append between our read and the watching told nobody; look again now that it would. So with a deletion.
        let is_over = queue.max_offset() > offset || is_gone();
        if is_over { self.waiting.lock().remove(&key, id) } else { None }
    }

    /// Something new is readable in `queue`: those who wait for it are answered from another thread.
    pub fn arrived(&self, queue: &Arc<Queue>) {
        let woken = self.waiting.lock().take(&(Arc::clone(queue.topic()), queue.id()));
        self.answer(woken);
    }

    /// The queues of a topic were deleted: nothing will come for those who wait for them, who are answered.
    pub fn deleted(&self, topic: &str) {
        let woken = self.waiting.lock().take_of(topic);
        self.answer(woken);
    }

    /// Answers all who wait and lets nobody wait any more.
    pub fn close(&self) {
        let woken = {
            let mut waiting = self.waiting.lock();
            waiting.closed = true;
            waiting.deadlines.clear();
            std::mem::take(&mut waiting.queues).into_values().flatten().map(|parked| parked.waiter).collect()
        };
        self.answer(woken);
    }

    /// A connection has ended: what waits for it is let go of within [`LOOKS_FOR_CLOSED`].
    pub fn channel_closed(&self) {
        if !self.has_closed.swap(true, Ordering::Relaxed) {
            self.earlier.notify_one();
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.lock().deadlines.len()
    }

    /// Answers waiters at their deadlines, and drops those whose connections have ended. Sleeps while nobody waits.
    pub async fn run(&self) {
        let mut looked = self.began;
        loop {
            let next = self.waiting.lock().deadlines.first_key_value().map(|((deadline, _), _)| *deadline);
            let look = self.has_closed.load(Ordering::Relaxed).then(|| looked + LOOKS_FOR_CLOSED);
            let Some(until) = next.into_iter().chain(look).min() else {
                self.earlier.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => (),
                () = self.earlier.notified() => continue,
            }
            self.expire();
            if look.is_some_and(|look| look <= until) {
                self.has_closed.store(false, Ordering::Relaxed);
                let gone = self.waiting.lock().take_closed();
                drop(gone);
                looked = Instant::now();
            }
        }
    }

    fn expire(&self) {
        let now = Instant::now();
        let expired = {
            let mut waiting = self.waiting.lock();
            let mut expired = Vec::new();
            while let Some(entry) = waiting.deadlines.first_entry()
                && entry.key().0 <= now
            {
                let ((_, id), key) = entry.remove_entry();
                expired.extend(waiting.remove(&key, id));
            }
            expired
        };
        self.answer(expired);
    }

    fn answer(&self, waiters: Vec<BoxedWaiter>) {
        if waiters.is_empty() {
            return;
        }
        let Some(broker) = self.broker.get().and_then(Weak::upgrade) else { return };
        let mut woken = self.woken.lock();
        woken.waiters.extend(waiters);
        if !std::mem::replace(&mut woken.has_task, true) {
            self.runtime.spawn(answer_woken(broker));
        }
    }

    /// Some of those that were woken; a further task takes the others.
    fn take_woken(&self, broker: &Arc<Broker>) -> Vec<BoxedWaiter> {
        let mut woken = self.woken.lock();
        let count = woken.waiters.len().min(ANSWERED_AT_ONCE);
        let taken = woken.waiters.drain(..count).collect();
        woken.has_task = !woken.waiters.is_empty();
        if woken.has_task {
            self.runtime.spawn(answer_woken(Arc::clone(broker)));
        }
        taken
    }
}

async fn answer_woken(broker: Arc<Broker>) {
    tokio::task::yield_now().await;
    let waiters = broker.hold.take_woken(&broker);
    broker.resume_pulls(waiters);
}

/// The time between two ticks for pulls that wait for `suspend`. A power of two: so the ticks of long waits are ticks
/// of short ones too.
fn tick_ms(suspend: Duration) -> u64 {
    let late_ms = u64::try_from(suspend.as_millis() / LATE_SHARE).unwrap_or(u64::MAX);
    1 << late_ms.max(1).ilog2()
}

impl Waiting {
    fn remove(&mut self, key: &QueueKey, id: u64) -> Option<BoxedWaiter> {
        let waiters = self.queues.get_mut(key)?;
        let at = waiters.binary_search_by_key(&id, |parked| parked.id).ok()?;
        let Parked { waiter, .. } = waiters.remove(at)?;
        if waiters.is_empty() {
            self.queues.remove(key);
        }
        self.deadlines.remove(&(waiter.deadline, id));
        Some(waiter)
    }

    /// Those whose connections have ended.
    fn take_closed(&mut self) -> Vec<BoxedWaiter> {
        let Waiting { queues, deadlines, .. } = self;
        let mut closed = Vec::new();
        queues.retain(|_, waiters| {
            if waiters.iter().any(|parked| parked.waiter.is_gone()) {
                let (gone, kept): (Vec<_>, _) = waiters.drain(..).partition(|parked| parked.waiter.is_gone());
                *waiters = kept.into();
                for Parked { id, waiter } in gone {
                    deadlines.remove(&(waiter.deadline, id));
                    closed.push(waiter);
                }
            }
            !waiters.is_empty()
        });
        closed
    }

    fn take_of(&mut self, topic: &str) -> Vec<BoxedWaiter> {
        let keys: Vec<_> = self.queues.keys().filter(|(name, _)| **name == *topic).cloned().collect();
        keys.iter().flat_map(|key| self.take(key)).collect()
    }

    fn take(&mut self, key: &QueueKey) -> Vec<BoxedWaiter> {
        let waiters = self.queues.remove(key).unwrap_or_default();
        for Parked { id, waiter } in &waiters {
            self.deadlines.remove(&(waiter.deadline, *id));
        }
        waiters.into_iter().map(|parked| parked.waiter).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pulls_that_end_at_about_the_same_time_end_together_and_never_early() {
        let hold = Hold::new(Handle::current());
        for (suspend_ms, late_ms) in [(1, 1), (60, 1), (128, 2), (1_000, 8), (15_000, 128), (30_000, 256)] {
            let suspend = Duration::from_millis(suspend_ms);
            assert_eq!(tick_ms(suspend), late_ms, "{suspend:?}");
            let before = Instant::now();
            let deadline = hold.deadline(suspend);
            assert!(deadline >= before + suspend, "{suspend:?}");
            let tick_ns = Duration::from_millis(late_ms).as_nanos();
            assert_eq!(deadline.duration_since(hold.began).as_nanos() % tick_ns, 0, "{suspend:?}");
            assert!(deadline <= Instant::now() + suspend + Duration::from_millis(late_ms), "{suspend:?}");
        }
    }
}
