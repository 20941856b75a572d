//! A member of a group, and the queues that it has.
//!
//! What is made of its queues knows its member, and so the modules below are parts of this one: a queue that is pulled
//! ([`assigned`]) or popped ([`pop`]), and what they give ([`given`]).

mod assigned;
mod given;
mod pop;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc, watch};
use wire::body::MessageQueue;
use wire::names::{check_group, check_topic, retry_topic};

pub(super) use assigned::{Assigned, Unanswered};
pub(super) use given::{Batch, Given};
pub use pop::Popped;
pub(super) use pop::{PopQueue, Receipt, give_back};

use super::local::OffsetFile;
use super::options::{Options, Role};
use super::status::TopicStatus;
use super::window::Bounds;
use crate::error::Error;
use crate::filter::Filter;
use crate::hooks::{ConsumeOutcome, Watched};
use crate::identity::now_ms;
use crate::received::Received;
use crate::shared::Shared;
use crate::watch::{QueueWatch, tell};

/// Failures after which a message is a dead letter, unless the consumer says otherwise.
const RETRIES: i32 = 16;
/// Delay level of a message that shall be a dead letter at once.
pub(super) const DEAD: i32 = -1;

/// A member of a consumer group.
pub(super) struct Member {
    pub(super) shared: Arc<Shared>,
    /// As servers know it.
    pub(super) group: String,
    /// As the application knows it.
    named: String,
    pub(super) options: Options,
    /// Topics and filters, which change at run time; see `subscriptions.rs`.
    pub(super) subscriptions: RwLock<BTreeMap<String, Filter>>,
    /// Queues that are pulled.
    pub(super) queues: Mutex<BTreeMap<MessageQueue, Arc<Assigned>>>,
    /// Queues that went to other members, or may, and are being given up; none of them is pulled too.
    pub(super) leaving: Mutex<BTreeMap<MessageQueue, Arc<Assigned>>>,
    /// Queues that may be locked for this member, and are not pulled yet.
    pub(super) reserved: Mutex<BTreeSet<MessageQueue>>,
    /// Queues that are popped; one with the number -1 stands for all of its broker.
    pub(super) popped: Mutex<BTreeMap<MessageQueue, Arc<PopQueue>>>,
    /// Queues that were popped, for as long as something of them is not settled.
    pub(super) popped_before: Mutex<Vec<Weak<PopQueue>>>,
    /// Queues that the application has chosen, where it chooses.
    pub(super) chosen: Mutex<BTreeSet<MessageQueue>>,
    /// How it does with each topic.
    pub(super) status: Mutex<BTreeMap<String, Arc<TopicStatus>>>,
    pub(super) file: Option<OffsetFile>,
    /// What the file says, and then what it will say.
    pub(super) in_file: Mutex<BTreeMap<MessageQueue, i64>>,
    /// The file could not be written, and does not say it yet.
    pub(super) file_is_behind: AtomicBool,
    intake: mpsc::UnboundedSender<Given>,
    /// Who watches which queues this member has.
    held: watch::Sender<Vec<MessageQueue>>,
    /// A broker does not know the pull of lite consumers.
    pub(super) pulls_as_of_old: AtomicBool,
    /// When the subscriptions were made, which rises when queues change hands.
    pub(super) version: AtomicI64,
    /// Wakes who divides the queues.
    pub(super) rebalance: Notify,
    /// One division of queues at a time.
    pub(super) dividing: tokio::sync::Mutex<()>,
    /// Addresses that did not answer in the present one.
    pub(super) silent: Mutex<BTreeMap<String, Error>>,
    /// Queues wait for all of them to hold fewer messages.
    pub(super) full: AtomicBool,
    /// Asks for no more messages for now.
    suspended: AtomicBool,
    /// Takes no more messages.
    stopped: AtomicBool,
    /// Tells so to those who wait.
    stopping: watch::Sender<bool>,
    /// Brokers hear that it is a member no more.
    pub(super) left: AtomicBool,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) started_ms: i64,
    started: Instant,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Member").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Member {
    pub(super) fn new(
        shared: Arc<Shared>,
        group: String,
        subscriptions: BTreeMap<String, Filter>,
        options: Options,
    ) -> Result<(Arc<Member>, mpsc::UnboundedReceiver<Given>), Error> {
        let group = shared.namespace.wrap(&group).into_owned();
        let complete = |(topic, filter): (String, _)| (shared.namespace.wrap(&topic).into_owned(), filter);
        let mut subscriptions: BTreeMap<_, _> = subscriptions.into_iter().map(complete).collect();
        check_group(&group).map_err(Error::illegal)?;
        for topic in subscriptions.keys() {
            check_topic(topic).map_err(Error::illegal)?;
        }
        let file =
            options.broadcast.as_ref().map(|folder| OffsetFile::new(folder, &shared.client_id, &group));
        let in_file = file.as_ref().map(OffsetFile::read).transpose()?.unwrap_or_default();
        if file.is_none() && options.role == Role::Push {
            // What failed comes again through a topic of the group's own.
            subscriptions.insert(retry_topic(&group), Filter::all());
        }
        // How much there may be in it is bounded by what each queue may have open.
        let (intake, outlet) = mpsc::unbounded_channel();
        let member = Arc::new(Member {
            named: shared.namespace.unwrap(&group).into_owned(),
            shared,
            group,
            options,
            subscriptions: RwLock::new(subscriptions),
            queues: Mutex::default(),
            leaving: Mutex::default(),
            reserved: Mutex::default(),
            popped: Mutex::default(),
            popped_before: Mutex::default(),
            chosen: Mutex::default(),
            status: Mutex::default(),
            file,
            in_file: Mutex::new(in_file),
            file_is_behind: AtomicBool::new(false),
            intake,
            held: watch::Sender::new(Vec::new()),
            pulls_as_of_old: AtomicBool::new(false),
            version: AtomicI64::new(now_ms()),
            rebalance: Notify::new(),
            dividing: tokio::sync::Mutex::default(),
            silent: Mutex::default(),
            full: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            stopping: watch::Sender::new(false),
            left: AtomicBool::new(false),
            runtime: tokio::runtime::Handle::current(),
            started_ms: now_ms(),
            started: Instant::now(),
        });
        Ok((member, outlet))
    }

    /// How long it is there.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// How it does with a topic.
    pub(super) fn status_of(&self, topic: &str) -> Arc<TopicStatus> {
        let mut status = self.status.lock();
        if let Some(known) = status.get(topic) {
            return Arc::clone(known);
        }
        let new = Arc::new(TopicStatus::since(self.age()));
        status.insert(topic.to_owned(), Arc::clone(&new));
        new
    }

    /// A moment in Unix milliseconds, without a look at the clock.
    pub(super) fn unix_ms(&self, at: Instant) -> i64 {
        let since = at.saturating_duration_since(self.started).as_millis();
        self.started_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// Whether no hook sorts a message out.
    pub(super) fn wants(&self, message: &Received) -> bool {
        self.shared.hooks.want(&self.named, message)
    }

    /// A message comes into the application's hands, and hooks hear of it.
    pub(super) fn consuming(&self, message: &Received) -> Option<Watched> {
        self.shared.hooks.consuming(&self.named, message, || self.shared.keys.next(now_ms()))
    }

    /// A message that somebody may have `watched` is out of the application's hands.
    pub(super) fn consumed(&self, watched: Option<Watched>, message: &Received, outcome: ConsumeOutcome) {
        if let Some(watched) = watched {
            self.shared.hooks.consumed(&watched, &self.named, message, outcome);
        }
    }

    pub fn is_broadcast(&self) -> bool {
        self.file.is_some()
    }

    pub fn is_stopping(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Asks for no more messages, until it is resumed.
    pub(super) fn suspend(&self) {
        self.suspended.store(true, Ordering::Release);
    }

    /// Asks for messages again.
    pub(super) fn resume(&self) {
        self.suspended.store(false, Ordering::Release);
        self.assigned().iter().for_each(|assigned| assigned.room.notify_one());
        self.popping().iter().for_each(|popping| popping.room.notify_one());
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
    }

    /// Ends all tasks and gives nothing out any more.
    pub(super) fn no_more(&self) {
        self.stopped.store(true, Ordering::Release);
        self.stopping.send_replace(true);
    }

    /// Returns when the consumer is being closed.
    pub async fn told_to_stop(&self) {
        // It fails when the sender is gone, and the sender is ours.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Queues changed hands: what brokers have heard so far is old.
    pub(super) fn newer_version(&self) {
        // Brokers take only what is newer than what they know, also when both are of one millisecond.
        let newer = |known: i64| Some(now_ms().max(known + 1));
        let _ = self.version.fetch_update(Ordering::Relaxed, Ordering::Relaxed, newer);
    }

    /// Whether a queue is still this member's to read.
    pub(super) fn reads(&self, assigned: &Assigned) -> bool {
        !self.is_stopping() && !assigned.is_revoked()
    }

    pub(super) fn retries_max(&self) -> i32 {
        let usual = if self.options.orderly { i32::MAX } else { RETRIES };
        self.options.retries.map_or(usual, |retries| i32::try_from(retries).unwrap_or(i32::MAX))
    }

    /// What may be pulled of a queue and not settled.
    pub(super) fn bounds(&self, assigned: &Assigned) -> Bounds {
        self.options.bounds(assigned.of_topic.load(Ordering::Relaxed))
    }

    pub(super) fn assigned(&self) -> Vec<Arc<Assigned>> {
        self.queues.lock().values().cloned().collect()
    }

    pub(super) fn popping(&self) -> Vec<Arc<PopQueue>> {
        self.popped.lock().values().cloned().collect()
    }

    /// Queues that this member reads now, in whichever way, with the names that the application knows.
    pub(super) fn held_queues(&self) -> Vec<MessageQueue> {
        let mut held: Vec<_> = self.queues.lock().keys().cloned().collect();
        held.extend(self.popped.lock().keys().cloned());
        held.into_iter().map(|queue| self.shared.namespace.unwrap_queue(queue)).collect()
    }

    /// Watches which queues this member has.
    pub(super) fn watch_queues(&self) -> QueueWatch {
        QueueWatch::of(&self.held)
    }

    /// Tells who watches which queues this member has now.
    pub(super) fn tell_watchers(&self) {
        tell(&self.held, self.held_queues());
    }

    /// Gives out messages that a pull brought: all at once, or in an orderly consumer one after the other.
    pub(super) fn give_out(
        self: &Arc<Self>,
        assigned: &Arc<Assigned>,
        generation: u64,
        messages: Vec<Received>,
    ) {
        if self.options.orderly {
            assigned.line.lock().pulled(generation, messages);
            self.next_in_line(assigned);
            return;
        }
        self.offer(assigned, generation, messages);
    }

    /// Gives out the next messages of a queue, unless some are in hands or the queue is not locked.
    pub(super) fn next_in_line(self: &Arc<Self>, assigned: &Arc<Assigned>) {
        if !self.may_go_on(assigned) {
            return;
        }
        let mut line = assigned.line.lock();
        // Under the lock, which a restart takes after it has changed the generation.
        let generation = assigned.generation();
        let next = line.next(generation, self.options.together);
        drop(line);
        self.offer(assigned, generation, next);
    }

    pub(super) fn may_go_on(&self, assigned: &Assigned) -> bool {
        let alone = !self.locks() || assigned.is_locked();
        self.reads(assigned) && alone && !assigned.is_paused()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use wire::body::{BrokerData, TopicRoute};

    use super::*;
    use crate::pretended::client_of;
    use crate::route::{MASTER_ID, Route};

    /// A member that knows no server.
    pub fn member(options: Options) -> Arc<Member> {
        Member::new(client_of(Vec::new()), "G".to_owned(), BTreeMap::new(), options).unwrap().0
    }

    /// The member hears of a broker with the topic of its queues.
    pub fn knows(member: &Member, broker_name: &str, address: &str) {
        let broker_addrs = [(MASTER_ID, address.to_owned())].into();
        let broker_name = broker_name.to_owned();
        let broker = BrokerData { broker_name, broker_addrs, ..BrokerData::default() };
        let raw = TopicRoute { broker_datas: vec![broker], ..TopicRoute::default() };
        member.shared.routes.learn(Route::new("T", raw));
    }

    /// A queue at broker `b` that the member has.
    pub fn queue(member: &Member, id: i32) -> Arc<Assigned> {
        queue_at(member, "b", id)
    }

    /// A queue that the member has.
    pub fn queue_at(member: &Member, broker_name: &str, id: i32) -> Arc<Assigned> {
        let broker_name = broker_name.to_owned();
        let queue = MessageQueue { topic: "T".to_owned(), broker_name, queue_id: id };
        let assigned = Arc::new(Assigned::new(Arc::new(queue.clone()), 0, 0));
        member.queues.lock().insert(queue, Arc::clone(&assigned));
        assigned
    }
}
