//! What is delivered and not yet acknowledged, as one queue of the revive log tells it.
//!
//! The log is the truth and this table follows it: every change here is the content of a record there. The pop that
//! writes a checkpoint enters it at once; whatever else is written to the log (by a Java broker before us, by the
//! timer) is read from it. Entering the same record twice changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::attempts::Attempts;

/// Offsets in acknowledgements of checkpoints that have not shown up yet, kept at most.
const EARLY_OFFSETS_MAX: usize = 100_000;
/// How long after its checkpoint is due such an acknowledgement is kept.
const EARLY_SLACK_MS: i64 = 5_000;
/// How far beyond the first record that is missing others are marked as entered. What lies farther is entered again
/// when the log is read on.
const AHEAD_MAX: u64 = 4096;

/// A clock that shows less than before by at least this was set back. By less, two threads have looked in turn.
const SET_BACK_MIN_MS: i64 = 1_000;

/// Messages of one queue that one pop has delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Topic, a retry topic included.
    pub topic: Arc<str>,
    /// Consumer group.
    pub group: Arc<str>,
    /// Queue of the topic.
    pub queue: i32,
    /// Where the pop began.
    pub start: i64,
    /// When it was, Unix milliseconds.
    pub pop_time: i64,
    /// When its messages come back, Unix milliseconds.
    pub due_ms: i64,
    /// Offsets of its messages; at most 64.
    pub offsets: Box<[i64]>,
    /// Bit by bit, which of them are acknowledged.
    pub acked: u64,
    /// The coming back does not count as a failed consumption.
    pub suspended: bool,
}

impl Checkpoint {
    /// Offsets that are not acknowledged.
    pub fn open_offsets(&self) -> impl Iterator<Item = i64> {
        let open = |index: &usize| self.acked & (1 << index) == 0;
        (0..self.offsets.len()).filter(open).map(|index| self.offsets[index])
    }

    /// Number of messages that are not acknowledged.
    fn open_count(&self) -> i64 {
        self.offsets.len() as i64 - i64::from(self.acked.count_ones())
    }

    /// Counts what it is hidden for from now on if it was popped later than that, as far as clocks have told since
    /// `before_ms`.
    pub fn hide_from(&mut self, now_ms: i64, before_ms: i64) {
        let ahead_ms = self.pop_time.min(before_ms).saturating_sub(now_ms);
        self.due_ms = self.due_ms.saturating_sub(ahead_ms.max(0));
    }

    fn ack(&mut self, offsets: &[i64]) {
        for offset in offsets {
            if let Some(index) = self.offsets.iter().position(|candidate| candidate == offset) {
                self.acked |= 1 << index;
            }
        }
    }
}

/// A delivery of one message that is not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// When it was popped, Unix milliseconds.
    pub pop_time: i64,
    /// When it comes back, Unix milliseconds.
    pub due_ms: i64,
    /// It was popped in order.
    pub is_orderly: bool,
}

/// What names a checkpoint in an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// Topic, a retry topic included.
    pub topic: &'a str,
    /// Consumer group.
    pub group: &'a str,
    /// Queue of the topic.
    pub queue: i32,
    /// Where the pop began.
    pub start: i64,
    /// When it was.
    pub pop_time: i64,
}

/// A topic and a group as a number.
type Subject = u32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    subject: Subject,
    queue: i32,
    start: i64,
    pop_time: i64,
}

/// An acknowledgement whose checkpoint has not shown up.
#[derive(Debug)]
struct Early {
    key: Key,
    offsets: Box<[i64]>,
    until_ms: i64,
}

/// All checkpoints of one revive queue that are not done with. Offsets named `at` are places in that queue.
#[derive(Debug, Default)]
pub struct Outstanding {
    subjects: HashMap<Arc<str>, HashMap<Arc<str>, Subject>>,
    subject_count: Subject,
    checkpoints: BTreeMap<u64, Checkpoint>,
    by_key: HashMap<Key, u64>,
    due: BTreeSet<(i64, u64)>,
    in_flight: HashMap<(Subject, i32), i64>,
    /// Those of which the disk does not give a message.
    unread: HashMap<u64, Attempts>,
    early: BTreeMap<u64, Early>,
    early_by_key: HashMap<Key, Vec<u64>>,
    /// How many offsets those have.
    early_offsets: usize,
    /// Every record below is entered.
    next: u64,
    /// Records above that are entered.
    ahead: BTreeSet<u64>,
    /// The latest that the clock has shown since it was set back, Unix milliseconds.
    clock_ms: i64,
}

impl Outstanding {
    /// Nothing yet; the records below `next` are of no concern.
    pub fn from(next: u64) -> Outstanding {
        Outstanding { next, ..Outstanding::default() }
    }

    /// Enters a checkpoint. One that is there already stays as it is, and one that is done with stays done with.
    pub fn open(&mut self, at: u64, mut checkpoint: Checkpoint) {
        if self.is_entered(at) {
            return;
        }
        let key = self.key_of(&checkpoint);
        if self.by_key.contains_key(&key) || self.checkpoints.contains_key(&at) {
            return self.entered(at);
        }
        for early in self.early_by_key.remove(&key).unwrap_or_default() {
            if let Some(early) = self.early.remove(&early) {
                self.early_offsets -= early.offsets.len();
                checkpoint.ack(&early.offsets);
            }
        }
        if checkpoint.open_count() > 0 {
            self.due.insert((checkpoint.due_ms, at));
            self.by_key.insert(key, at);
            *self.in_flight.entry((key.subject, key.queue)).or_default() += checkpoint.open_count();
            self.checkpoints.insert(at, checkpoint);
        }
        self.entered(at);
    }

    /// Enters an acknowledgement. If its checkpoint is not there and may still come, by way of a timer that was filled
    /// before us, it is kept for a while; `due_ms` is when that checkpoint is due, if that is known.
    pub fn ack(&mut self, at: u64, named: &Named<'_>, offsets: &[i64], due_ms: Option<i64>, now_ms: i64) {
        if self.is_entered(at) {
            return;
        }
        let is_done = match self.find(named) {
            Some((key, checkpoint_at)) => {
                self.ack_found(key, checkpoint_at, offsets);
                true
            }
            None => self.keep_early(at, named, offsets, due_ms, now_ms),
        };
        // Else it is read again, with its checkpoint before it if that waits in the log.
        if is_done {
            self.entered(at);
        }
    }

    fn ack_found(&mut self, key: Key, at: u64, offsets: &[i64]) {
        let Some(checkpoint) = self.checkpoints.get_mut(&at) else { return };
        let before = checkpoint.open_count();
        checkpoint.ack(offsets);
        let after = checkpoint.open_count();
        self.left_flight(key, before - after);
        if after == 0 {
            self.remove(at);
        }
    }

    /// Keeps an acknowledgement whose checkpoint may still come; false when there is no room for it.
    fn keep_early(
        &mut self,
        at: u64,
        named: &Named<'_>,
        offsets: &[i64],
        due_ms: Option<i64>,
        now_ms: i64,
    ) -> bool {
        let until_ms = due_ms.map(|due_ms| due_ms.saturating_add(EARLY_SLACK_MS));
        let Some(until_ms) = until_ms.filter(|until_ms| *until_ms > now_ms) else { return true };
        if self.early_offsets + offsets.len() > EARLY_OFFSETS_MAX {
            return false;
        }
        let subject = self.subject(named.topic, named.group);
        let Named { queue, start, pop_time, .. } = *named;
        let key = Key { subject, queue, start, pop_time };
        self.early_offsets += offsets.len();
        match self.early.insert(at, Early { key, offsets: offsets.into(), until_ms }) {
            Some(same) => self.early_offsets -= same.offsets.len(),
            None => self.early_by_key.entry(key).or_default().push(at),
        }
        true
    }

    /// Enters a record that changes nothing.
    pub fn skip(&mut self, at: u64) {
        self.entered(at);
    }

    fn is_entered(&self, at: u64) -> bool {
        at < self.next || self.ahead.contains(&at)
    }

    fn entered(&mut self, at: u64) {
        if at > self.next {
            if at - self.next < AHEAD_MAX {
                self.ahead.insert(at);
            }
            return;
        }
        self.next = self.next.max(at + 1);
        while self.ahead.first() == Some(&self.next) {
            self.ahead.pop_first();
            self.next += 1;
        }
    }

    /// Every record below was entered, or is gone from the log and never will be.
    pub fn entered_until(&mut self, next: u64) {
        self.next = self.next.max(next);
        self.ahead = self.ahead.split_off(&self.next);
    }

    /// The first record that was not entered.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Every record below is done with: a start from here finds the same state.
    pub fn done_until(&self) -> u64 {
        let checkpoint = self.checkpoints.first_key_value().map(|(at, _)| *at);
        let early = self.early.first_key_value().map(|(at, _)| *at);
        self.next.min(checkpoint.unwrap_or(u64::MAX)).min(early.unwrap_or(u64::MAX))
    }

    /// Up to `count` checkpoints whose time has come, with their places.
    pub fn due(&self, now_ms: i64, count: usize) -> Vec<(u64, Checkpoint)> {
        let due = self.due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms).take(count);
        due.filter_map(|(_, at)| Some((*at, self.checkpoints.get(at)?.clone()))).collect()
    }

    /// When there is something to do about what is waited for, Unix milliseconds: a checkpoint is due, or the oldest
    /// acknowledgement without one can be forgotten. `None` when nothing is waited for.
    pub fn next_ms(&self) -> Option<i64> {
        let due = self.due.first().map(|(due_ms, _)| *due_ms);
        let early = self.early.first_key_value().map(|(_, early)| early.until_ms);
        due.into_iter().chain(early).min()
    }

    /// Notes what the clock shows. If it was set back, what was delivered at a time that is now to come is hidden from
    /// now on, for as long as it was to be: not until the clock has caught up with that time.
    pub fn look_at_clock(&mut self, now_ms: i64) {
        if now_ms > self.clock_ms.saturating_sub(SET_BACK_MIN_MS) {
            self.clock_ms = self.clock_ms.max(now_ms);
            return;
        }
        let before_ms = std::mem::replace(&mut self.clock_ms, now_ms);
        self.due.clear();
        for (at, checkpoint) in &mut self.checkpoints {
            checkpoint.hide_from(now_ms, before_ms);
            self.due.insert((checkpoint.due_ms, *at));
        }
    }

    /// Puts a checkpoint off.
    pub fn put_off(&mut self, at: u64, due_ms: i64) {
        if let Some(checkpoint) = self.checkpoints.get_mut(&at) {
            self.due.remove(&(checkpoint.due_ms, at));
            checkpoint.due_ms = due_ms;
            self.due.insert((due_ms, at));
        }
    }

    /// Puts a checkpoint off of which the disk does not give a message: for longer each time. Says for how long.
    pub fn put_off_unread(&mut self, at: u64, now_ms: i64) -> Duration {
        let pause = self.unread.entry(at).or_default().fail(Duration::ZERO);
        self.put_off(at, now_ms.saturating_add(pause.as_millis() as i64));
        pause
    }

    /// Forgets a checkpoint: its messages have been put where they are delivered again, or nobody wants them.
    pub fn close(&mut self, at: u64) {
        let Some(checkpoint) = self.checkpoints.get(&at).cloned() else { return };
        let key = self.key_of(&checkpoint);
        self.left_flight(key, checkpoint.open_count());
        self.remove(at);
    }

    /// Forgets acknowledgements whose checkpoint will not come any more.
    pub fn expire(&mut self, now_ms: i64) {
        let Outstanding { early, early_by_key, early_offsets, ahead, .. } = self;
        early.retain(|at, early| {
            let kept = early.until_ms > now_ms;
            if !kept {
                early_by_key.remove(&early.key);
                *early_offsets -= early.offsets.len();
                // If its checkpoint is still to be read, it counts behind that.
                ahead.remove(at);
            }
            kept
        });
    }

    /// Messages of a group on a queue that are delivered and not acknowledged.
    pub fn in_flight(&self, topic: &str, group: &str, queue: i32) -> i64 {
        let subject = self.subjects.get(topic).and_then(|groups| groups.get(group));
        subject.and_then(|subject| self.in_flight.get(&(*subject, queue))).copied().unwrap_or(0)
    }

    /// The checkpoints of a group on a queue that have messages from `offset` on that are not acknowledged, with those.
    pub fn open_from<'a>(
        &'a self,
        topic: &'a str,
        group: &'a str,
        queue: i32,
        offset: i64,
    ) -> impl Iterator<Item = (&'a Checkpoint, Vec<i64>)> {
        let with_open = move |checkpoint: &'a Checkpoint| {
            (checkpoint, checkpoint.open_offsets().filter(|open| *open >= offset).collect::<Vec<_>>())
        };
        let all = self.checkpoints_of(topic, group, queue).map(with_open);
        all.filter(|(_, open)| !open.is_empty())
    }

    /// The checkpoints of a group on a queue. Looks at all if there are any.
    fn checkpoints_of<'a>(
        &'a self,
        topic: &'a str,
        group: &'a str,
        queue: i32,
    ) -> impl Iterator<Item = &'a Checkpoint> + 'a {
        let is_of = move |checkpoint: &&Checkpoint| {
            checkpoint.queue == queue && &*checkpoint.topic == topic && &*checkpoint.group == group
        };
        let some = (self.in_flight(topic, group, queue) > 0).then(|| self.checkpoints.values());
        some.into_iter().flatten().filter(is_of)
    }

    /// Deliveries of one message to a group that are not acknowledged. Looks at all checkpoints if the group has any
    /// in that queue.
    pub fn deliveries_of<'a>(
        &'a self,
        topic: &'a str,
        group: &'a str,
        queue: i32,
        offset: i64,
    ) -> impl Iterator<Item = Delivered> + 'a {
        let holds = move |checkpoint: &&Checkpoint| checkpoint.open_offsets().any(|open| open == offset);
        self.checkpoints_of(topic, group, queue).filter(holds).map(|checkpoint| Delivered {
            pop_time: checkpoint.pop_time,
            due_ms: checkpoint.due_ms,
            is_orderly: false,
        })
    }

    /// Number of checkpoints.
    pub fn len(&self) -> usize {
        self.checkpoints.len()
    }

    fn left_flight(&mut self, key: Key, count: i64) {
        if let Some(in_flight) = self.in_flight.get_mut(&(key.subject, key.queue)) {
            *in_flight -= count;
            if *in_flight <= 0 {
                self.in_flight.remove(&(key.subject, key.queue));
            }
        }
    }

    fn remove(&mut self, at: u64) {
        self.unread.remove(&at);
        if let Some(checkpoint) = self.checkpoints.remove(&at) {
            let key = self.key_of(&checkpoint);
            self.by_key.remove(&key);
            self.due.remove(&(checkpoint.due_ms, at));
        }
    }

    fn find(&self, named: &Named<'_>) -> Option<(Key, u64)> {
        let subject = *self.subjects.get(named.topic)?.get(named.group)?;
        let key = Key { subject, queue: named.queue, start: named.start, pop_time: named.pop_time };
        Some((key, *self.by_key.get(&key)?))
    }

    fn key_of(&mut self, checkpoint: &Checkpoint) -> Key {
        let subject = self.subject(&checkpoint.topic, &checkpoint.group);
        Key { subject, queue: checkpoint.queue, start: checkpoint.start, pop_time: checkpoint.pop_time }
    }

    fn subject(&mut self, topic: &str, group: &str) -> Subject {
        if let Some(subject) = self.subjects.get(topic).and_then(|groups| groups.get(group)) {
            return *subject;
        }
        let subject = self.subject_count;
        self.subject_count += 1;
        self.subjects.entry(topic.into()).or_default().insert(group.into(), subject);
        subject
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(start: i64, count: i64, due_ms: i64) -> Checkpoint {
        Checkpoint {
            topic: "orders".into(),
            group: "readers".into(),
            queue: 1,
            start,
            pop_time: 50,
            due_ms,
            offsets: (start..start + count).collect(),
            acked: 0,
            suspended: false,
        }
    }

    fn named(start: i64) -> Named<'static> {
        Named { topic: "orders", group: "readers", queue: 1, start, pop_time: 50 }
    }

    #[test]
    fn a_checkpoint_is_done_with_when_its_last_message_is_acknowledged() {
        let mut table = Outstanding::from(0);
        table.open(0, checkpoint(10, 3, 100));
        table.ack(1, &named(10), &[10, 12], None, 60);
        assert_eq!((table.len(), table.done_until(), table.next()), (1, 0, 2));
        assert_eq!(table.in_flight("orders", "readers", 1), 1);
        let (at, left) = table.due(100, 9).remove(0);
        assert_eq!((at, left.open_offsets().collect::<Vec<_>>()), (0, vec![11]));
        table.ack(2, &named(10), &[11], None, 60);
        assert!(table.next_ms().is_none() && table.due(1000, 9).is_empty());
        assert_eq!((table.done_until(), table.in_flight("orders", "readers", 1)), (3, 0));
    }

    #[test]
    fn records_entered_out_of_order_and_twice_change_nothing_more() {
        let mut table = Outstanding::from(4);
        table.open(6, checkpoint(20, 1, 100));
        assert_eq!(table.next(), 4);
        table.open(4, checkpoint(10, 1, 100));
        table.open(4, checkpoint(10, 1, 100));
        table.skip(5);
        assert_eq!((table.next(), table.len(), table.done_until()), (7, 2, 4));
        table.close(4);
        assert_eq!((table.done_until(), table.in_flight("orders", "readers", 1)), (6, 1));
    }

    #[test]
    fn an_acknowledgement_waits_for_a_checkpoint_that_comes_later() {
        let mut table = Outstanding::from(0);
        table.ack(0, &named(10), &[10], Some(100), 60);
        assert_eq!((table.next_ms().is_none(), table.done_until()), (false, 0));
        table.open(1, checkpoint(10, 2, 100));
        assert_eq!(table.due(100, 9)[0].1.open_offsets().collect::<Vec<_>>(), [11]);
        table.ack(2, &named(10), &[11], Some(100), 60);
        assert_eq!((table.next_ms().is_none(), table.done_until()), (true, 3));
        // One that nothing comes for does not hold up the rest for ever.
        table.ack(3, &named(30), &[30], Some(100), 60);
        table.expire(100 + EARLY_SLACK_MS);
        assert_eq!((table.next_ms().is_none(), table.done_until()), (true, 4));
        // Too late, or of unknown time: nothing can come of it.
        table.ack(4, &named(30), &[30], Some(100), 100 + EARLY_SLACK_MS);
        table.ack(5, &named(30), &[30], None, 60);
        assert!(table.next_ms().is_none());
    }

    #[test]
    fn what_is_done_with_is_not_opened_when_the_log_is_read_on() {
        let mut table = Outstanding::from(0);
        table.open(1, checkpoint(10, 1, 100));
        for at in 2..300 {
            table.ack(at, &named(1000), &[at as i64], None, 60);
        }
        table.ack(300, &named(10), &[10], None, 60);
        assert_eq!((table.len(), table.next()), (0, 0));
        // As it is read from the log, a part at a time: the acknowledgement is not among this one.
        table.open(0, checkpoint(20, 1, 100));
        table.open(1, checkpoint(10, 1, 100));
        for at in 2..256 {
            table.ack(at, &named(1000), &[at as i64], None, 60);
        }
        assert_eq!((table.len(), table.next()), (1, 301));
    }

    #[test]
    fn an_acknowledgement_that_there_was_no_room_for_is_read_again() {
        let mut table = Outstanding::from(0);
        let many: Vec<i64> = (0..EARLY_OFFSETS_MAX as i64 - 1).collect();
        table.ack(0, &named(500), &many, Some(100), 60);
        table.ack(1, &named(10), &[10, 11], Some(100), 60);
        assert_eq!((table.next(), table.done_until()), (1, 0));
        table.expire(100 + EARLY_SLACK_MS);
        table.open(2, checkpoint(10, 2, 100));
        table.ack(1, &named(10), &[10, 11], Some(100), 60);
        assert_eq!((table.len(), table.next(), table.done_until()), (0, 3, 3));
        // What came with the acknowledgements that are forgotten counts no longer.
        table.ack(3, &named(500), &many, Some(100), 60);
        assert_eq!(table.next(), 4);
    }

    #[test]
    fn an_acknowledgement_that_was_forgotten_counts_when_it_is_read_with_its_checkpoint() {
        let mut table = Outstanding::from(0);
        table.ack(1, &named(10), &[10], Some(100), 60);
        table.expire(100 + EARLY_SLACK_MS);
        table.open(0, checkpoint(10, 1, 100));
        table.ack(1, &named(10), &[10], Some(100), 100 + EARLY_SLACK_MS);
        assert_eq!((table.len(), table.next(), table.done_until()), (0, 2, 2));
    }

    #[test]
    fn what_is_put_off_is_due_later() {
        let mut table = Outstanding::from(0);
        table.open(0, checkpoint(10, 1, 100));
        table.open(1, checkpoint(20, 1, 100));
        table.put_off(0, 300);
        assert_eq!(table.due(299, 9).len(), 1);
        table.close(1);
        assert_eq!(table.due(300, 9).iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn a_clock_that_is_set_back_hides_nothing_for_longer_than_it_was_to_be() {
        const HOUR_MS: i64 = 3_600_000;
        let mut table = Outstanding::from(0);
        let popped = |start, pop_time| Checkpoint { pop_time, ..checkpoint(start, 1, pop_time + 5_000) };
        table.look_at_clock(10 * HOUR_MS);
        table.open(0, popped(10, 9 * HOUR_MS - 1_000));
        table.open(1, popped(20, 10 * HOUR_MS));
        let now_ms = 9 * HOUR_MS;
        table.look_at_clock(now_ms);
        // What is popped from then on has its own time.
        table.open(2, popped(30, now_ms + 200));
        let due =
            |table: &Outstanding, now_ms| table.due(now_ms, 9).iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!((due(&table, now_ms + 3_999), due(&table, now_ms + 4_000)), (vec![], vec![0]));
        assert_eq!((due(&table, now_ms + 5_000), due(&table, now_ms + 5_200)), (vec![0, 1], vec![0, 1, 2]));
        // Threads that look in turn change nothing, and a second step back is counted by itself.
        table.look_at_clock(now_ms + 2_000);
        table.look_at_clock(now_ms + 1_500);
        assert_eq!(due(&table, now_ms + 5_200), [0, 1, 2]);
        let again_ms = 8 * HOUR_MS;
        table.look_at_clock(again_ms);
        let latest_ms = again_ms + 5_000;
        assert_eq!((due(&table, again_ms + 2_999), due(&table, again_ms + 3_000)), (vec![], vec![1]));
        assert_eq!(due(&table, latest_ms).len(), 3);
        // Nor does it matter when it goes on.
        table.look_at_clock(11 * HOUR_MS);
        assert_eq!(due(&table, latest_ms).len(), 3);
    }

    #[test]
    fn what_is_open_from_an_offset_on_may_be_a_part_of_a_checkpoint() {
        let mut table = Outstanding::from(0);
        for (at, start) in [(0, 5), (1, 10), (2, 20), (3, 30)] {
            table.open(at, checkpoint(start, 4, 100));
        }
        table.ack(4, &named(20), &[20, 22], None, 60);
        table.ack(5, &named(30), &[30, 31, 32, 33], None, 60);
        let open: Vec<_> =
            table.open_from("orders", "readers", 1, 12).map(|(found, open)| (found.start, open)).collect();
        assert_eq!(open, [(10, vec![12, 13]), (20, vec![21, 23])]);
        assert_eq!(table.open_from("orders", "readers", 2, 12).count(), 0);
    }
}
