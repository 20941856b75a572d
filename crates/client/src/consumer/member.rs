//! A member of a group, and the queues that it has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc, watch};
use wire::body::MessageQueue;
use wire::names::{check_group, check_topic, retry_topic};

use super::hands::Hands;
use super::intake::{Batch, Given};
use super::local::OffsetFile;
use super::options::{Options, Role};
use super::pop::PopQueue;
use super::status::TopicStatus;
use super::window::{Bounds, Window};
use crate::error::Error;
use crate::filter::Filter;
use crate::hooks::{ConsumeOutcome, Watched};
use crate::identity::now_ms;
use crate::received::Received;
use crate::shared::Shared;
use crate::watch::{QueueWatch, tell};

/// Failures after which a message is a dead letter, unless the consumer says otherwise.
const RETRIES: i32 = 16;
/// How long a lock of a queue is trusted. The broker's own patience is twice that.
const LOCK_LIFE: Duration = Duration::from_secs(30);

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
    /// Queues that are popped; one with the number -1 stands for all of its broker.
    pub(super) popped: Mutex<BTreeMap<MessageQueue, Arc<PopQueue>>>,
    /// Queues that the application has chosen, where it chooses.
    pub(super) chosen: Mutex<BTreeSet<MessageQueue>>,
    /// How it does with each topic.
    pub(super) status: Mutex<BTreeMap<String, Arc<TopicStatus>>>,
    pub(super) file: Option<OffsetFile>,
    /// What the file says, and then what it will say.
    pub(super) in_file: Mutex<BTreeMap<MessageQueue, i64>>,
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
    /// Asks for no more messages for now.
    suspended: AtomicBool,
    /// Takes no more messages.
    stopped: AtomicBool,
    /// Tells so to those who wait.
    stopping: watch::Sender<bool>,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) started_ms: i64,
    started: Instant,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Member").field("group", &self.group).finish_non_exhaustive()
    }
}

/// A queue that a member has.
#[derive(Debug)]
pub(super) struct Assigned {
    pub queue: Arc<MessageQueue>,
    pub window: Mutex<Window>,
    /// That of the window, for those who would take its lock for nothing else.
    generation: AtomicU64,
    /// How many queues of its topic this member has, itself among them.
    pub of_topic: AtomicUsize,
    /// Pulled and not given out yet, which only orderly consumers have.
    pub line: Mutex<Line>,
    /// The queue went to another member.
    pub revoked: AtomicBool,
    /// Something was settled: there may be room.
    pub room: Notify,
    /// A pull under way is of no use any more.
    pub interrupt: Notify,
    /// Messages in the application's hands.
    pub hands: Hands,
    /// What the broker knows of the group's offset.
    pub committed: AtomicI64,
    pub locked_until: Mutex<Option<Instant>>,
    pub last_lock_ms: AtomicI64,
    pub last_pull_ms: AtomicI64,
    pub last_consume_ms: AtomicI64,
    pub status: Arc<TopicStatus>,
    /// The application wants nothing of it for now.
    pub paused: AtomicBool,
    /// It stands for one message that an administrator wants consumed; nothing of it is sent back.
    pub direct: bool,
}

/// Messages of a queue that are given out one after the other, or as many together as a handler takes.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// In the order of their offsets, each with the generation that it was pulled in.
    waiting: VecDeque<(u64, Received)>,
    /// Given out and not settled; none is given out before there are none.
    out: usize,
    /// Given out and done, but to be written down only with a commit.
    kept: Vec<(u64, Received)>,
}

impl Line {
    /// Nothing of it means anything any more.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.out = 0;
        self.kept.clear();
    }

    /// Nothing more of it is given out.
    pub fn end(&mut self) {
        self.waiting.clear();
    }

    /// One that was given out is done, and written down with the next commit.
    pub fn keep(&mut self, generation: u64, message: Received) {
        self.kept.push((generation, message));
        self.settled();
    }

    /// What was done since the last commit, and is in nobody's hands.
    pub fn take_kept(&mut self, generation: u64) -> Vec<Received> {
        let kept = std::mem::take(&mut self.kept).into_iter();
        kept.filter(|(of, _)| *of == generation).map(|(_, message)| message).collect()
    }

    /// What was done since the last commit stands in line again.
    pub fn kept_again(&mut self, generation: u64) {
        for message in self.take_kept(generation) {
            self.stand(generation, message);
        }
    }

    /// One that was given out is settled.
    pub fn settled(&mut self) {
        self.out = self.out.saturating_sub(1);
    }

    /// One that was given out stands in line again, before all that come after it.
    pub fn again(&mut self, generation: u64, message: Received) {
        self.stand(generation, message);
        self.settled();
    }

    fn stand(&mut self, generation: u64, message: Received) {
        let at = self.waiting.partition_point(|(_, later)| later.offset < message.offset);
        self.waiting.insert(at, (generation, message));
    }

    /// Takes up to so many of this generation, unless some are out. Those of earlier ones mean nothing any more.
    fn next(&mut self, generation: u64, most: usize) -> Vec<Received> {
        if self.out > 0 {
            return Vec::new();
        }
        while self.waiting.front().is_some_and(|(of, _)| *of != generation) {
            self.waiting.pop_front();
        }
        let current = self.waiting.iter().take(most).take_while(|(of, _)| *of == generation);
        self.out = current.count();
        self.waiting.drain(..self.out).map(|(_, message)| message).collect()
    }
}

impl Assigned {
    pub fn new(queue: Arc<MessageQueue>, offset: i64, committed: i64) -> Assigned {
        Assigned {
            queue,
            window: Mutex::new(Window::at(offset)),
            generation: AtomicU64::new(0),
            of_topic: AtomicUsize::new(1),
            line: Mutex::default(),
            revoked: AtomicBool::new(false),
            room: Notify::new(),
            interrupt: Notify::new(),
            hands: Hands::default(),
            committed: AtomicI64::new(committed),
            locked_until: Mutex::new(None),
            last_lock_ms: AtomicI64::new(0),
            last_pull_ms: AtomicI64::new(now_ms()),
            last_consume_ms: AtomicI64::new(0),
            status: Arc::default(),
            paused: AtomicBool::new(false),
            direct: false,
        }
    }

    /// A queue of one message that belongs to no queue.
    pub fn direct(message: &Received) -> Assigned {
        let assigned = Assigned::new(Arc::clone(&message.queue), message.offset, message.offset);
        assigned.window.lock().pulled(0, [(message.offset, message.weight())], message.offset + 1);
        Assigned { direct: true, ..assigned }
    }

    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    pub fn locked(&self) {
        *self.locked_until.lock() = Some(Instant::now() + LOCK_LIFE);
        self.last_lock_ms.store(now_ms(), Ordering::Relaxed);
    }

    pub fn is_locked(&self) -> bool {
        self.locked_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// Rises when the queue is read from somewhere else; what was pulled before means nothing then.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Messages are done with; false if that means nothing any more. Wakes who waits for room, once there is some: it
    /// would look in vain after each of the messages before.
    pub fn settle(&self, generation: u64, offsets: impl IntoIterator<Item = i64>, bounds: &Bounds) -> bool {
        let mut window = self.window.lock();
        let was_full = !window.has_room(bounds);
        let settled =
            offsets.into_iter().fold(false, |some, offset| window.settled(generation, offset) | some);
        let has_room = window.has_room(bounds);
        drop(window);
        if was_full && has_room {
            self.room.notify_one();
        }
        settled
    }

    /// Reads on from somewhere else; what is in hands means nothing any more.
    pub fn restart(&self, offset: i64) {
        let mut window = self.window.lock();
        window.restart(offset);
        self.generation.store(window.generation(), Ordering::Release);
        drop(window);
        self.line.lock().clear();
        self.interrupt.notify_one();
        self.room.notify_one();
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
            popped: Mutex::default(),
            chosen: Mutex::default(),
            status: Mutex::default(),
            file,
            in_file: Mutex::new(in_file),
            intake,
            held: watch::Sender::new(Vec::new()),
            pulls_as_of_old: AtomicBool::new(false),
            version: AtomicI64::new(now_ms()),
            rebalance: Notify::new(),
            dividing: tokio::sync::Mutex::default(),
            suspended: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            stopping: watch::Sender::new(false),
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
            assigned.line.lock().waiting.extend(messages.into_iter().map(|message| (generation, message)));
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
        let alone = self.is_broadcast() || !self.options.orderly || assigned.is_locked();
        self.reads(assigned) && alone && !assigned.is_paused()
    }

    pub(super) fn offer(&self, assigned: &Arc<Assigned>, generation: u64, messages: Vec<Received>) {
        if !messages.is_empty() {
            self.give(Given::Pulled(Batch { assigned: Arc::clone(assigned), generation, messages }));
        }
    }

    pub(super) fn give(&self, given: Given) {
        // Who receives is gone when this fails, and the messages are not settled then.
        let _ = self.intake.send(given);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::received::tests::message;

    fn at(offset: i64) -> Received {
        let mut message = message("T", "id");
        message.offset = offset;
        message
    }

    fn offsets(messages: Vec<Received>) -> Vec<i64> {
        messages.iter().map(|message| message.offset).collect()
    }

    #[test]
    fn what_failed_stands_in_line_before_all_that_come_after_it() {
        let mut line = Line::default();
        line.waiting.extend((0..6).map(|offset| (0, at(offset))));
        assert_eq!(offsets(line.next(0, 4)), [0, 1, 2, 3]);
        assert!(line.next(0, 4).is_empty(), "they are in hands");
        line.settled();
        line.again(0, at(3));
        line.again(0, at(1));
        assert!(line.next(0, 4).is_empty(), "one still is");
        line.again(0, at(2));
        assert_eq!(offsets(line.next(0, 4)), [1, 2, 3, 4]);
    }

    #[test]
    fn what_is_done_and_not_committed_holds_nothing_up_and_can_come_again() {
        let mut line = Line::default();
        line.waiting.extend((0..5).map(|offset| (0, at(offset))));
        for offset in line.next(0, 2).into_iter().map(|message| message.offset) {
            line.keep(0, at(offset));
        }
        assert_eq!(offsets(line.next(0, 1)), [2]);
        line.again(0, at(2));
        line.kept_again(0);
        assert_eq!(offsets(line.next(0, 9)), [0, 1, 2, 3, 4]);
        line.keep(0, at(0));
        line.keep(1, at(1));
        assert_eq!(offsets(line.take_kept(1)), [1], "the other was read before a restart");
        assert!(line.take_kept(0).is_empty());
    }

    #[test]
    fn what_was_pulled_before_a_restart_holds_nothing_up() {
        let mut line = Line::default();
        line.waiting.extend([(0, at(0)), (0, at(1)), (1, at(7)), (0, at(8)), (1, at(9))]);
        assert_eq!(offsets(line.next(1, 9)), [7]);
        line.settled();
        assert_eq!(offsets(line.next(1, 9)), [9]);
    }
}
