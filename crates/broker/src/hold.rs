//! Pulls that found nothing and wait: woken by an arrival in exactly their queue, or answered at their deadline
//! (broker.md §10.5).
//!
//! Whom the sends of a moment wake is answered together, by a task that lets everybody go first who is ready to be
//! served: what these send goes into the same answers. On an idle broker that takes no time; on a busy one it is the
//! difference between an answer for a message and one for many.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use store::{Queue, Watcher};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Broker;
use crate::pull::Waiter;

/// A queue by name: it may be deleted and come back while somebody waits.
type QueueKey = (Arc<str>, u32);

/// All pulls that wait.
pub(crate) struct Hold {
    waiting: Mutex<Waiting>,
    woken: Mutex<Woken>,
    next_id: AtomicU64,
    /// Tells the deadline task that an earlier deadline has come in.
    earlier: Notify,
    broker: OnceLock<Weak<Broker>>,
    runtime: Handle,
}

#[derive(Default)]
struct Waiting {
    queues: HashMap<QueueKey, Vec<(Instant, u64, Waiter)>>,
    /// Which queue to look in for the waiter of a deadline.
    deadlines: BTreeMap<(Instant, u64), QueueKey>,
    closed: bool,
}

/// Those that were woken and are not answered yet.
#[derive(Default)]
struct Woken {
    waiters: Vec<Waiter>,
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
            next_id: AtomicU64::new(0),
            earlier: Notify::new(),
            broker: OnceLock::new(),
            runtime,
        }
    }

    /// Who answers those that are woken.
    pub fn attach(&self, broker: Weak<Broker>) {
        let _ = self.broker.set(broker);
    }

    /// Lets `waiter` wait for messages of `queue` from `offset` on. Gives it back if there are some already, or if
    /// the broker is stopping.
    pub fn park(&self, queue: &Arc<Queue>, offset: u64, waiter: Waiter) -> Option<Waiter> {
        let deadline = waiter.deadline;
        let key = (Arc::clone(queue.topic()), queue.id());
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let first = {
            let mut waiting = self.waiting.lock();
            if waiting.closed {
                return Some(waiter);
            }
            waiting.queues.entry(key.clone()).or_default().push((deadline, id, waiter));
            waiting.deadlines.insert((deadline, id), key.clone());
            queue.watchers.watch(Watcher::Pull);
            waiting.deadlines.first_key_value().is_some_and(|((_, first), _)| *first == id)
        };
        if first {
            self.earlier.notify_one();
        }
        // An append between our read and the watching told nobody; look again now that it would.
        if queue.max_offset() > offset { self.waiting.lock().remove(&key, id) } else { None }
    }

    /// Something new is readable in `queue`: those who wait for it are answered from another thread.
    pub fn arrived(&self, queue: &Arc<Queue>) {
        let woken = self.waiting.lock().take(&(Arc::clone(queue.topic()), queue.id()));
        self.answer(woken);
    }

    /// Answers all who wait and lets nobody wait any more.
    pub fn close(&self) {
        let woken = {
            let mut waiting = self.waiting.lock();
            waiting.closed = true;
            waiting.deadlines.clear();
            std::mem::take(&mut waiting.queues).into_values().flatten().map(|(_, _, waiter)| waiter).collect()
        };
        self.answer(woken);
    }

    /// Answers waiters at their deadlines. Sleeps while nobody waits.
    pub async fn run(&self) {
        loop {
            let next = self.waiting.lock().deadlines.first_key_value().map(|((deadline, _), _)| *deadline);
            match next {
                None => self.earlier.notified().await,
                Some(deadline) => tokio::select! {
                    () = tokio::time::sleep_until(deadline) => self.expire(),
                    () = self.earlier.notified() => (),
                },
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

    fn answer(&self, waiters: Vec<Waiter>) {
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
    fn take_woken(&self, broker: &Arc<Broker>) -> Vec<Waiter> {
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

impl Waiting {
    fn remove(&mut self, key: &QueueKey, id: u64) -> Option<Waiter> {
        let waiters = self.queues.get_mut(key)?;
        let at = waiters.iter().position(|(_, candidate, _)| *candidate == id)?;
        let (deadline, _, waiter) = waiters.swap_remove(at);
        if waiters.is_empty() {
            self.queues.remove(key);
        }
        self.deadlines.remove(&(deadline, id));
        Some(waiter)
    }

    fn take(&mut self, key: &QueueKey) -> Vec<Waiter> {
        let waiters = self.queues.remove(key).unwrap_or_default();
        for (deadline, id, _) in &waiters {
            self.deadlines.remove(&(*deadline, *id));
        }
        waiters.into_iter().map(|(_, _, waiter)| waiter).collect()
    }
}
