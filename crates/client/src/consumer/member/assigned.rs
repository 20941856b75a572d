//! A queue that a member pulls, and the line that its messages stand in where one waits for the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use wire::body::MessageQueue;

use crate::consumer::hands::Hands;
use crate::consumer::status::TopicStatus;
use crate::consumer::window::{Bounds, Window};
use crate::identity::now_ms;
use crate::received::Received;

/// How long a lock of a queue is trusted. The broker's own patience is twice that.
const LOCK_LIFE: Duration = Duration::from_secs(30);
/// Offsets that are remembered while a broker does not answer.
const UNANSWERED_MAX: usize = 8;

/// A queue that a member has.
#[derive(Debug)]
pub(in crate::consumer) struct Assigned {
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
    /// It is this member's again before it is given up.
    pub comes_back: AtomicBool,
    /// Something was settled: there may be room.
    pub room: Notify,
    /// A pull under way is of no use any more.
    pub interrupt: Notify,
    /// Messages in the application's hands.
    pub hands: Hands,
    /// What the broker knows of the group's offset.
    pub committed: AtomicI64,
    /// One tells it at a time.
    pub writing: tokio::sync::Mutex<Unanswered>,
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

/// Offsets that a broker was told and has not answered to, since it last answered: it may have each of them, or none.
#[derive(Debug, Default)]
pub(in crate::consumer) struct Unanswered(VecDeque<i64>);

impl Unanswered {
    /// Nothing that was told is open.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    pub fn has(&self, offset: i64) -> bool {
        self.0.contains(&offset)
    }

    /// A broker is about to be told an offset.
    pub fn tell(&mut self, offset: i64) {
        // Who has been silent for so long has most likely not even read the first of them.
        if self.0.len() == UNANSWERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(offset);
    }

    /// The broker cannot have heard of the newest of them.
    pub fn not_told(&mut self) {
        self.0.pop_back();
    }

    /// The broker has the newest of them, and so none of the others counts any more.
    pub fn answered(&mut self) {
        self.0.clear();
    }
}

/// Messages of a queue that are given out one after the other, or as many together as a handler takes.
#[derive(Debug, Default)]
pub(in crate::consumer) struct Line {
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

    /// These were pulled, and stand in line behind the others.
    pub fn pulled(&mut self, generation: u64, messages: Vec<Received>) {
        self.waiting.extend(messages.into_iter().map(|message| (generation, message)));
    }

    /// Takes up to so many of this generation, unless some are out. Those of earlier ones mean nothing any more.
    pub fn next(&mut self, generation: u64, most: usize) -> Vec<Received> {
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
            comes_back: AtomicBool::new(false),
            room: Notify::new(),
            interrupt: Notify::new(),
            hands: Hands::default(),
            committed: AtomicI64::new(committed),
            writing: tokio::sync::Mutex::default(),
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

    pub fn not_locked(&self) {
        *self.locked_until.lock() = None;
    }

    pub fn is_locked(&self) -> bool {
        self.locked_until.lock().is_some_and(|until| Instant::now() < until)
    }

    /// Rises when the queue is read from somewhere else; what was pulled before means nothing then.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Messages are done with; false if that means nothing any more. Wakes who waits for room in this queue, once there
    /// is some: it would look in vain after each of the messages before.
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
        self.restart_within(self.window.lock(), offset);
    }

    /// Does the same, unless that has happened since what was known of it had this generation.
    pub fn restart_since(&self, generation: u64, offset: i64) {
        let window = self.window.lock();
        if window.generation() == generation {
            self.restart_within(window, offset);
        }
    }

    fn restart_within(&self, mut window: MutexGuard<'_, Window>, offset: i64) {
        window.restart(offset);
        self.generation.store(window.generation(), Ordering::Release);
        drop(window);
        self.line.lock().clear();
        self.interrupt.notify_one();
        self.room.notify_one();
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
        line.pulled(0, (0..6).map(at).collect());
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
        line.pulled(0, (0..5).map(at).collect());
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
