//! The revive log: every delivery and every acknowledgement, as messages of `rmq_sys_REVIVE_LOG_<cluster>`.
//!
//! A checkpoint is in the log before the answer that gives its messages away, and an acknowledgement before its own
//! answer. So a message is either still in its queue, or outstanding here, or acknowledged: whatever ends the process,
//! none is lost. A Java broker parks these records with its timer until they are due and reads them in that order; here
//! they go to the log at once and [`Outstanding`] knows the times. Their delivery time says "now", so that a Java
//! broker that takes over handles each when it is due by its own clock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use store::{AppendError, Batch, Queue, ReadLimits, Store, StoreError};
use tokio::sync::Notify;
use wire::hash;
use wire::properties as props;
use wire::record::{Message, Record};

use super::outstanding::{Checkpoint, Delivered, Named, Outstanding};
use super::record::{ACK_TAG, AckBody, BATCH_ACK_TAG, CHECKPOINT_TAG, CheckpointBody};
use crate::topics::REVIVE_TOPIC_PREFIX;

/// Records read at a time.
const READ_LIMITS: ReadLimits = ReadLimits { max_count: 256, max_bytes: 1 << 20 };
/// Deliveries that a move ends with one append.
const ENDED_AT_ONCE: usize = 256;
/// A checkpoint that is found in the log may have come by way of a timer, and its acknowledgements behind it: it is
/// not due before this long after it was stored.
const FOUND_SLACK_MS: i64 = 2_000;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Buffers of one thread.
#[derive(Default)]
struct Scratch {
    batch: Batch,
    body: Vec<u8>,
    properties: Vec<u8>,
}

/// Acknowledgements of one checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acks {
    /// Topic, a retry topic included.
    pub topic: String,
    /// Consumer group.
    pub group: String,
    /// Queue of the topic.
    pub queue: i32,
    /// Where the pop began.
    pub start: i64,
    /// When it was, Unix milliseconds.
    pub pop_time: i64,
    /// For how many milliseconds its messages are hidden.
    pub invisible_ms: i64,
    /// Queue of the revive log.
    pub revive_queue: u32,
    /// Offsets of the messages.
    pub offsets: Vec<i64>,
}

impl Acks {
    fn named(&self) -> Named<'_> {
        let Acks { topic, group, queue, start, pop_time, .. } = self;
        Named { topic, group, queue: *queue, start: *start, pop_time: *pop_time }
    }

    /// The time that a delivery in place of this one counts from. It is another one even within a millisecond: place
    /// and time are all that tells two deliveries apart.
    pub fn replaced_at(&self, now_ms: i64) -> i64 {
        now_ms.max(self.pop_time.saturating_add(1))
    }

    fn due_ms(&self) -> i64 {
        self.pop_time.saturating_add(self.invisible_ms)
    }
}

/// Where a group goes on in a queue, found in the log when the broker starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Where it goes on.
    pub next: i64,
    /// An administrator put it there, or where it went on from since: it counts even if it is lower than what is known
    /// elsewhere.
    pub forced: bool,
    /// Place of the record in the commit log, which tells earlier from later.
    physical_offset: i64,
}

/// Positions by topic, group and queue.
pub type Positions = HashMap<(String, String, i32), Position>;

struct ReviveQueue {
    queue: Arc<Queue>,
    outstanding: Mutex<Outstanding>,
    /// Where the follower stood when it last looked.
    seen: Mutex<u64>,
}

/// All queues of the log with what is outstanding in them.
pub struct ReviveLog {
    topic: String,
    queues: Box<[ReviveQueue]>,
    /// Queues that new checkpoints go to.
    used: u32,
    turn: AtomicU32,
    /// Checkpoints of one queue that are held in memory at most; the rest waits in the log.
    held_max: usize,
    broker_name: String,
    address: SocketAddr,
    /// Something has come into the log.
    pub arrived: Arc<Notify>,
    /// Whoever brings back what is due counts on being told.
    resting: AtomicBool,
    written: AtomicBool,
}

impl ReviveLog {
    /// The log in `store`, read by nobody yet.
    pub fn new(
        settings: &settings::Broker,
        address: SocketAddr,
        store: &Store,
        arrived: Arc<Notify>,
    ) -> ReviveLog {
        let topic = format!("{REVIVE_TOPIC_PREFIX}{}", settings.broker_cluster_name);
        let used = settings.revive_queue_num;
        // A store may come from a time when there were more.
        let there = store.queues_of(&topic).last().map_or(0, |queue| queue.id() + 1);
        let queues = (0..used.max(there)).map(|id| {
            let queue = store.queue(&topic, id);
            ReviveQueue { queue, outstanding: Mutex::default(), seen: Mutex::new(0) }
        });
        let queues: Box<[ReviveQueue]> = queues.collect();
        let written = queues.iter().any(|revive| revive.queue.max_offset() > 0);
        ReviveLog {
            queues,
            used,
            turn: AtomicU32::new(0),
            held_max: (settings.pop_ck_max_buffer_size / used.max(1) as usize).max(64),
            broker_name: settings.broker_name.clone(),
            address,
            arrived,
            resting: AtomicBool::new(false),
            written: AtomicBool::new(written),
            topic,
        }
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Number of its queues.
    pub fn queue_count(&self) -> u32 {
        self.queues.len() as u32
    }

    /// The queue for the checkpoints of the next pop.
    pub fn next_queue(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::Relaxed) % self.used.max(1)
    }

    /// Reads everything from where `done` says the log of a queue is done with, and gives the positions found behind
    /// `mark` in the commit log.
    ///
    /// Pops of one queue by one group follow each other in the log, so the last of them is the one that counts.
    pub fn recover(
        &self,
        store: &Store,
        now_ms: i64,
        mark: i64,
        done: impl Fn(i32) -> Option<i64>,
    ) -> Result<Positions, StoreError> {
        let mut positions = Positions::new();
        for (id, revive) in self.queues.iter().enumerate() {
            let last = done(id as i32).unwrap_or(-1);
            let from = u64::try_from(last.saturating_add(1)).unwrap_or(0);
            let mut next = from.max(revive.queue.min_offset()).min(revive.queue.max_offset());
            *revive.outstanding.lock() = Outstanding::from(next);
            self.read_on(store, revive, now_ms)?;
            while let Some(read) = self.read_some(store, revive, next, &mut |record| {
                if record.physical_offset >= mark {
                    note_position(record, &mut positions);
                }
            })? {
                next = read;
            }
        }
        Ok(positions)
    }

    /// Stores a checkpoint and enters it. `next` is where the group goes on after a pop; `None` when the checkpoint
    /// is not that of a pop.
    pub fn open(
        &self,
        store: &Store,
        revive_queue: u32,
        checkpoint: Checkpoint,
        next: Option<i64>,
        now_ms: i64,
    ) -> Result<(), AppendError> {
        let revive = &self.queues[revive_queue as usize];
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.batch.clear();
            self.push_checkpoint(revive, &checkpoint, next, now_ms, scratch)?;
            store.append(&mut scratch.batch)?;
            self.enter(revive, scratch.batch.appended(0).queue_offset, checkpoint, now_ms);
            Ok(())
        })
    }

    /// Stores that an administrator has moved a group, and acknowledgements of what it has in hand from there on: all
    /// of that is delivered again.
    pub fn moved(&self, store: &Store, named: &Named<'_>, now_ms: i64) -> Result<(), AppendError> {
        let ended = self.open_from(named);
        let (first, rest) = ended.split_at(ended.len().min(ENDED_AT_ONCE));
        let revive = &self.queues[self.next_queue() as usize];
        let checkpoint = Checkpoint {
            topic: named.topic.into(),
            group: named.group.into(),
            queue: named.queue,
            start: named.start,
            pop_time: named.pop_time,
            due_ms: named.pop_time,
            offsets: Box::default(),
            acked: 0,
            suspended: false,
        };
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.batch.clear();
            // In this order: what is torn between the two is delivered once too often, never too seldom.
            self.push_checkpoint(revive, &checkpoint, None, now_ms, scratch)?;
            for acks in first {
                self.push_acks(acks, now_ms, scratch)?;
            }
            store.append(&mut scratch.batch)?;
            self.enter(revive, scratch.batch.appended(0).queue_offset, checkpoint, now_ms);
            for (index, acks) in first.iter().enumerate() {
                self.enter_acks(acks, scratch.batch.appended(index + 1).queue_offset, now_ms);
            }
            Ok(())
        })?;
        for acks in rest.chunks(ENDED_AT_ONCE) {
            if let Err(error) = self.ack(store, acks, now_ms) {
                let (topic, group) = (named.topic, named.group);
                tracing::warn!(topic, group, "what was delivered before the move may come twice: {error}");
                break;
            }
        }
        Ok(())
    }

    /// What is delivered to a group from `start` on and not acknowledged, as acknowledgements.
    fn open_from(&self, named: &Named<'_>) -> Vec<Acks> {
        let Named { topic, group, queue, start, .. } = *named;
        let mut all = Vec::new();
        for (id, revive) in self.queues.iter().enumerate() {
            let outstanding = revive.outstanding.lock();
            all.extend(outstanding.open_from(topic, group, queue, start).map(|(checkpoint, offsets)| Acks {
                topic: topic.to_owned(),
                group: group.to_owned(),
                queue,
                start: checkpoint.start,
                pop_time: checkpoint.pop_time,
                invisible_ms: checkpoint.due_ms.saturating_sub(checkpoint.pop_time),
                revive_queue: id as u32,
                offsets,
            }));
        }
        all
    }

    /// Stores acknowledgements with one append, and enters them; tells how far the log must be flushed for them to be
    /// on the disk.
    pub fn ack(&self, store: &Store, acks: &[Acks], now_ms: i64) -> Result<u64, AppendError> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.batch.clear();
            for group in acks {
                self.push_acks(group, now_ms, scratch)?;
            }
            store.append(&mut scratch.batch)?;
            for (index, group) in acks.iter().enumerate() {
                self.enter_acks(group, scratch.batch.appended(index).queue_offset, now_ms);
            }
            Ok(scratch.batch.until())
        })
    }

    /// Stores a checkpoint for one message in place of the one it was delivered under, with one append.
    pub fn replace(
        &self,
        store: &Store,
        old: &Acks,
        checkpoint: Checkpoint,
        now_ms: i64,
    ) -> Result<u64, AppendError> {
        let revive = &self.queues[old.revive_queue as usize];
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.batch.clear();
            // In this order: what is torn between the two is delivered once too often, never too seldom.
            self.push_checkpoint(revive, &checkpoint, None, now_ms, scratch)?;
            self.push_acks(old, now_ms, scratch)?;
            store.append(&mut scratch.batch)?;
            self.enter(revive, scratch.batch.appended(0).queue_offset, checkpoint, now_ms);
            self.enter_acks(old, scratch.batch.appended(1).queue_offset, now_ms);
            Ok(scratch.batch.until())
        })
    }

    /// Stores the messages in `batch`, which replace those of a checkpoint, together with their acknowledgement.
    pub fn close(
        &self,
        store: &Store,
        batch: &mut Batch,
        acks: &Acks,
        now_ms: i64,
    ) -> Result<(), AppendError> {
        SCRATCH.with_borrow_mut(|scratch| {
            std::mem::swap(batch, &mut scratch.batch);
            let pushed = self.push_acks(acks, now_ms, scratch);
            std::mem::swap(batch, &mut scratch.batch);
            pushed?;
            store.append(batch)?;
            self.enter_acks(acks, batch.appended(batch.len() - 1).queue_offset, now_ms);
            Ok(())
        })
    }

    fn push_checkpoint(
        &self,
        revive: &ReviveQueue,
        checkpoint: &Checkpoint,
        next: Option<i64>,
        now_ms: i64,
        scratch: &mut Scratch,
    ) -> Result<(), AppendError> {
        let Checkpoint { start, pop_time, .. } = *checkpoint;
        // Pops read no farther than a queue file reaches, so a distance never exceeds an `int`.
        let distance = |offset: &i64| i32::try_from(offset - start).unwrap_or(i32::MAX);
        let body = CheckpointBody {
            start,
            pop_time,
            invisible_ms: checkpoint.due_ms.saturating_sub(pop_time),
            acked: 0,
            count: checkpoint.offsets.len() as i32,
            queue: checkpoint.queue,
            topic: (&*checkpoint.topic).into(),
            group: (&*checkpoint.group).into(),
            revive_offset: -1,
            distances: checkpoint.offsets.iter().map(distance).collect(),
            broker: self.broker_name.as_str().into(),
            put_off: None,
            suspended: checkpoint.suspended,
            next,
        };
        scratch.body.clear();
        // Plain structs into memory: this cannot fail.
        let _ = serde_json::to_writer(&mut scratch.body, &body);
        self.push(revive, CHECKPOINT_TAG, now_ms, scratch)
    }

    fn push_acks(&self, acks: &Acks, now_ms: i64, scratch: &mut Scratch) -> Result<(), AppendError> {
        let (tag, offset, offsets) = match acks.offsets.as_slice() {
            [offset] => (ACK_TAG, *offset, Vec::new()),
            offsets => (BATCH_ACK_TAG, -1, offsets.to_vec()),
        };
        let body = AckBody {
            offset,
            start: acks.start,
            group: acks.group.as_str().into(),
            topic: acks.topic.as_str().into(),
            queue: acks.queue,
            pop_time: acks.pop_time,
            broker: self.broker_name.as_str().into(),
            offsets,
            invisible_ms: Some(acks.invisible_ms),
        };
        scratch.body.clear();
        let _ = serde_json::to_writer(&mut scratch.body, &body);
        self.push(&self.queues[acks.revive_queue as usize], tag, now_ms, scratch)
    }

    fn push(
        &self,
        revive: &ReviveQueue,
        tag: &str,
        now_ms: i64,
        scratch: &mut Scratch,
    ) -> Result<(), AppendError> {
        scratch.properties.clear();
        props::push(&mut scratch.properties, props::TAGS, tag);
        props::push(&mut scratch.properties, DELIVER_TIME, itoa::Buffer::new().format(now_ms));
        let message = Message {
            born_timestamp: now_ms,
            properties: &scratch.properties,
            ..Message::of_broker(self.address, &self.topic, revive.queue.id(), &scratch.body)
        };
        let pushed = scratch.batch.push(&revive.queue, &message, hash::tags_code(Some(tag)));
        // Names and numbers of bounded length: only a cluster with an impossible name gets here.
        pushed
            .map(drop)
            .map_err(|_| AppendError::TooLarge { bytes: scratch.body.len() as u64, segment_bytes: 0 })
    }

    fn enter(&self, revive: &ReviveQueue, at: u64, mut checkpoint: Checkpoint, now_ms: i64) {
        // One that takes the place of another counts from that one's time, which the clock may not have reached.
        checkpoint.hide_from(now_ms, i64::MAX);
        {
            let mut outstanding = revive.outstanding.lock();
            outstanding.look_at_clock(now_ms);
            // For want of room it waits in the log.
            if outstanding.len() < self.held_max {
                outstanding.open(at, checkpoint);
            }
        }
        self.written.store(true, Ordering::Release);
        if self.resting.swap(false, Ordering::AcqRel) {
            self.arrived.notify_one();
        }
    }

    /// Whether there ever was a checkpoint, before this start or since.
    pub fn is_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }

    fn enter_acks(&self, acks: &Acks, at: u64, now_ms: i64) {
        let mut outstanding = self.queues[acks.revive_queue as usize].outstanding.lock();
        outstanding.ack(at, &acks.named(), &acks.offsets, Some(acks.due_ms()), now_ms);
    }

    /// Reads what has come into the log by other hands, or was left there for want of room. A queue that cannot be read
    /// holds up no other.
    pub fn catch_up(&self, store: &Store, now_ms: i64) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for revive in &self.queues {
            let next = {
                let mut outstanding = revive.outstanding.lock();
                outstanding.look_at_clock(now_ms);
                outstanding.expire(now_ms);
                outstanding.next()
            };
            // Whoever appends also enters, a moment later. Only what nobody enters is for us.
            let stuck = std::mem::replace(&mut *revive.seen.lock(), next) == next;
            if stuck && next < revive.queue.max_offset() {
                outcome = outcome.and(self.read_on(store, revive, now_ms));
            }
        }
        outcome
    }

    /// Enters what stands in the log from the first record that is not entered, until its end or until there is no
    /// more room.
    fn read_on(&self, store: &Store, revive: &ReviveQueue, now_ms: i64) -> Result<(), StoreError> {
        loop {
            let from = {
                let outstanding = revive.outstanding.lock();
                if outstanding.len() >= self.held_max {
                    return Ok(());
                }
                outstanding.next()
            };
            let read = self.read_some(store, revive, from, &mut |record| {
                enter_record(&mut revive.outstanding.lock(), record, now_ms);
            })?;
            let Some(next) = read else { return Ok(()) };
            revive.outstanding.lock().entered_until(next);
        }
    }

    /// Hands over some records from `from` on; gives where to go on, or `None` at the end.
    fn read_some(
        &self,
        store: &Store,
        revive: &ReviveQueue,
        from: u64,
        each: &mut dyn FnMut(&Record<'_>),
    ) -> Result<Option<u64>, StoreError> {
        let offset = i64::try_from(from).unwrap_or(i64::MAX);
        let result = store.read(&revive.queue, offset, READ_LIMITS, &mut |_| true)?;
        for bytes in result.records.iter() {
            if let Ok(record) = Record::parse(&bytes?) {
                each(&record);
            }
        }
        let next = u64::try_from(result.next_offset).unwrap_or(0);
        Ok((next > from).then_some(next))
    }

    /// Up to `count` checkpoints of any queue whose time has come, with queue and place.
    pub fn due(&self, now_ms: i64, count: usize) -> Vec<(u32, u64, Checkpoint)> {
        let mut due = Vec::new();
        for (id, revive) in self.queues.iter().enumerate() {
            let left = count - due.len();
            let found = revive.outstanding.lock().due(now_ms, left);
            due.extend(found.into_iter().map(|(at, checkpoint)| (id as u32, at, checkpoint)));
        }
        due
    }

    /// Forgets a checkpoint that nobody wants any more.
    pub fn forget(&self, revive_queue: u32, at: u64) {
        self.queues[revive_queue as usize].outstanding.lock().close(at);
    }

    /// Puts a checkpoint off until `due_ms`.
    pub fn put_off(&self, revive_queue: u32, at: u64, due_ms: i64) {
        self.queues[revive_queue as usize].outstanding.lock().put_off(at, due_ms);
    }

    /// Puts a checkpoint off of which the disk does not give a message; says for how long.
    pub fn put_off_unread(&self, revive_queue: u32, at: u64, now_ms: i64) -> Duration {
        self.queues[revive_queue as usize].outstanding.lock().put_off_unread(at, now_ms)
    }

    /// For each queue the last record that is done with; -1 if none is.
    pub fn done(&self) -> impl Iterator<Item = (i32, i64)> {
        self.queues
            .iter()
            .enumerate()
            .map(|(id, revive)| (id as i32, revive.outstanding.lock().done_until() as i64 - 1))
    }

    /// Deliveries of one message to a group that are not acknowledged.
    pub fn deliveries_of(&self, topic: &str, group: &str, queue: i32, offset: i64) -> Vec<Delivered> {
        let mut all = Vec::new();
        for revive in &self.queues {
            all.extend(revive.outstanding.lock().deliveries_of(topic, group, queue, offset));
        }
        all
    }

    /// Messages of a group on a queue that are delivered and not acknowledged.
    pub fn in_flight(&self, topic: &str, group: &str, queue: i32) -> i64 {
        self.queues.iter().map(|revive| revive.outstanding.lock().in_flight(topic, group, queue)).sum()
    }

    /// When there is something to do, Unix milliseconds; `None` while nothing is outstanding. Whatever comes from here
    /// on, [`ReviveLog::arrived`] tells of it once.
    pub fn next_ms(&self, now_ms: i64) -> Option<i64> {
        self.resting.store(true, Ordering::SeqCst);
        for revive in &self.queues {
            revive.queue.watchers.watch(store::Watcher::Revive);
        }
        // In this order: what comes in from here on clears the mark or is told of.
        let next_of = |revive: &ReviveQueue| {
            let outstanding = revive.outstanding.lock();
            let is_entered = outstanding.next() >= revive.queue.max_offset();
            // Whoever appends is about to enter it; or nobody does, and it is to be read.
            if is_entered { outstanding.next_ms() } else { Some(now_ms) }
        };
        self.queues.iter().filter_map(next_of).min()
    }

    /// Checkpoints held in memory.
    #[cfg(test)]
    pub fn outstanding_count(&self) -> usize {
        self.queues.iter().map(|revive| revive.outstanding.lock().len()).sum()
    }
}

/// When Java's timer would deliver a record.
const DELIVER_TIME: &str = "TIMER_DELIVER_MS";

/// Enters one record of the log. What makes no sense is passed over, as it is by Java.
fn enter_record(outstanding: &mut Outstanding, record: &Record<'_>, now_ms: i64) {
    let Ok(at) = u64::try_from(record.queue_offset) else { return };
    match record.property(props::TAGS) {
        Some(CHECKPOINT_TAG) => match serde_json::from_slice::<CheckpointBody<'_>>(record.body) {
            // The log's time is ahead of the clock after that was set back.
            Ok(body) => {
                let mut checkpoint = checkpoint_of(&body, record.store_timestamp.min(now_ms));
                checkpoint.hide_from(now_ms, i64::MAX);
                outstanding.open(at, checkpoint);
            }
            Err(_) => outstanding.skip(at),
        },
        Some(ACK_TAG | BATCH_ACK_TAG) => match serde_json::from_slice::<AckBody<'_>>(record.body) {
            Ok(body) => enter_ack(outstanding, at, &body, now_ms),
            Err(_) => outstanding.skip(at),
        },
        _ => outstanding.skip(at),
    }
}

fn enter_ack(outstanding: &mut Outstanding, at: u64, body: &AckBody<'_>, now_ms: i64) {
    let AckBody { queue, start, pop_time, .. } = *body;
    let named = Named { topic: &body.topic, group: &body.group, queue, start, pop_time };
    let one = [body.offset];
    let offsets = if body.offsets.is_empty() { &one[..] } else { &body.offsets };
    let due_ms = body.invisible_ms.map(|invisible_ms| pop_time.saturating_add(invisible_ms));
    outstanding.ack(at, &named, offsets, due_ms, now_ms);
}

fn note_position(record: &Record<'_>, positions: &mut Positions) {
    if record.property(props::TAGS) != Some(CHECKPOINT_TAG) {
        return;
    }
    let Ok(body) = serde_json::from_slice::<CheckpointBody<'_>>(record.body) else { return };
    let forced = body.count == 0;
    let next = if forced { Some(body.start) } else { body.next };
    let Some(next) = next else { return };
    let position = Position { next, forced, physical_offset: record.physical_offset };
    let key = (body.topic.into_owned(), body.group.into_owned(), body.queue);
    let known = positions.entry(key).or_insert(position);
    // What a pop behind the move went on from is where the move put it.
    let forced = forced || known.forced;
    if known.physical_offset < position.physical_offset {
        *known = position;
    }
    known.forced = forced;
}

fn checkpoint_of(body: &CheckpointBody<'_>, store_timestamp: i64) -> Checkpoint {
    let due_ms = body.pop_time.saturating_add(body.invisible_ms);
    Checkpoint {
        topic: (&*body.topic).into(),
        group: (&*body.group).into(),
        queue: body.queue,
        start: body.start,
        pop_time: body.pop_time,
        due_ms: due_ms.max(store_timestamp.saturating_add(FOUND_SLACK_MS)),
        offsets: body.offsets().into(),
        acked: u64::from(body.acked as u32),
        suspended: body.suspended,
    }
}
