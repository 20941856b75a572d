//! Waking those who wait for something to pop, and those who wait to hear that there is something.

use std::sync::{Arc, OnceLock, Weak};

use remoting::{Held, ReplyTo};
use store::{Queue, Watcher};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::PopRequest;
use super::polling::Polling;
use crate::Broker;

/// A pop that waits.
#[derive(Debug)]
pub(crate) struct PopWaiter {
    pub request: PopRequest,
    pub reply_to: ReplyTo,
    pub deadline: Instant,
    /// Its place among what its connection may leave unanswered.
    pub held: Held,
}

/// One who waits to hear that there is something.
#[derive(Debug)]
pub(crate) struct NotificationWaiter {
    pub request: PopRequest,
    pub reply_to: ReplyTo,
    pub deadline: Instant,
    /// Its place among what its connection may leave unanswered.
    pub held: Held,
}

/// Both kinds of waiters. The store tells of arrivals.
pub(crate) struct Waits {
    /// Pops.
    pub pops: Polling<PopWaiter>,
    /// Notifications.
    pub notifications: Polling<NotificationWaiter>,
    broker: OnceLock<Weak<Broker>>,
    runtime: Handle,
}

impl Waits {
    pub fn new(runtime: Handle) -> Waits {
        Waits {
            pops: Polling::default(),
            notifications: Polling::default(),
            broker: OnceLock::new(),
            runtime,
        }
    }

    /// Who answers those that are woken.
    pub fn attach(&self, broker: Weak<Broker>) {
        let _ = self.broker.set(broker);
    }

    /// Something new is readable in a queue.
    pub fn arrived(&self, queue: &Queue) {
        let (topic, id) = (queue.topic(), queue.id() as i32);
        let pops = self.pops.arrived(topic, id);
        let notifications = self.notifications.arrived(topic, id);
        // Before anybody reads: what comes in from here on is told of again, what came before is read by them.
        if self.pops.is_watching(topic, id) || self.notifications.is_watching(topic, id) {
            queue.watchers.watch(Watcher::Pop);
        }
        self.answer(pops, notifications);
    }

    /// There is something for a group in some queues of a topic.
    pub fn arrived_in(&self, topic: &str, group: &str, queues: &[i32]) {
        let pops = self.pops.arrived_in(topic, group, queues);
        self.answer(pops, self.notifications.arrived_in(topic, group, queues));
    }

    /// What one of a group was woken for that is gone is there for another.
    pub fn instead_of(&self, gone: &PopRequest) {
        let (topic, queue) = (&gone.topic.config.topic_name, gone.queue_id.max(-1));
        let pops = self.pops.instead_of(topic, &gone.group, queue);
        self.answer(pops, self.notifications.instead_of(topic, &gone.group, queue));
    }

    /// There is something for a group on a topic that everybody may have, whichever queue is asked for.
    pub fn arrived_for(&self, topic: &str, group: &str) {
        let pop = self.pops.arrived_for(topic, group);
        let notification = self.notifications.arrived_for(topic, group);
        self.answer(pop.into_iter().collect(), notification.into_iter().collect());
    }

    /// The queues of a topic were deleted: nothing comes to them any more.
    pub fn deleted(&self, topic: &str) {
        self.answer(self.pops.take_of(topic), self.notifications.take_of(topic));
    }

    /// Answers all and lets nobody wait any more.
    pub fn close(&self) {
        self.answer(self.pops.close(), self.notifications.close());
    }

    /// Wakes those whose time is over. Sleeps while nobody waits.
    pub async fn run(&self) {
        tokio::join!(
            watch_ends(&self.pops, |pops| self.answer(pops, Vec::new())),
            watch_ends(&self.notifications, |notifications| self.answer(Vec::new(), notifications)),
        );
    }

    fn answer(&self, pops: Vec<PopWaiter>, notifications: Vec<NotificationWaiter>) {
        if pops.is_empty() && notifications.is_empty() {
            return;
        }
        let Some(broker) = self.broker.get().and_then(Weak::upgrade) else { return };
        self.runtime.spawn(async move {
            for waiter in pops {
                broker.resume_pop(waiter);
            }
            for waiter in notifications {
                broker.resume_notification(waiter);
            }
        });
    }
}

async fn watch_ends<W>(polling: &Polling<W>, wake: impl Fn(Vec<W>)) {
    loop {
        match polling.next_end() {
            None => polling.earlier.notified().await,
            Some(end) => tokio::select! {
                () = tokio::time::sleep_until(end) => wake(polling.expired(Instant::now())),
                () = polling.earlier.notified() => (),
            },
        }
    }
}

/// The queues of a topic shall tell of arrivals.
pub(crate) fn watch<'a>(queues: impl Iterator<Item = &'a Arc<Queue>>) {
    for queue in queues {
        queue.watchers.watch(Watcher::Pop);
    }
}
