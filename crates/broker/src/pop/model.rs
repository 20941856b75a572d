//! Random histories of sending, popping, acknowledging, waiting and crashing against a model that only knows what was
//! promised: each message is delivered until it is acknowledged, none after that, none twice at a time, none lost.
//!
//! A failing seed is printed: run it alone with `POP_SEED=<seed>`; `POP_SEEDS=<count>` tries more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sim::{Fault, Operation, Random, SimClock, SimDisk};
use store::Batch;
use wire::body::{SubscriptionGroupConfig, TopicConfig};
use wire::hash;
use wire::properties as props;
use wire::record::{Message, Record};

use super::outstanding::Checkpoint;
use super::revive_log::Acks;
use super::{Part, PopRequest, Popped};
use crate::Broker;
use crate::filter::TagFilter;

const SEEDS: u64 = 60;
const STEPS: u64 = 120;
const TOPIC: &str = "orders";
const QUEUES: u32 = 3;
/// The second group wants half of the messages.
const GROUPS: [(&str, &str); 2] = [("readers", "*"), ("pickers", "red")];

/// How a broker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stop,
    Kill,
    PowerLoss,
}

/// What is known of a message from the point of view of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be delivered, but not before this time.
    Open { hidden_until: i64 },
    /// Never to be delivered again.
    Done,
    /// It may be delivered again, and need not: what decides it was not promised.
    Either,
}

/// A delivery that the model still holds the handle of.
#[derive(Debug, Clone)]
struct Held {
    id: u64,
    group: usize,
    acks: Acks,
    due_ms: i64,
}

struct World {
    disk: SimDisk,
    clock: SimClock,
    keys: Vec<(String, String)>,
}

impl World {
    fn open(&self) -> Arc<Broker> {
        let settings = settings::load_broker("", &self.keys).unwrap().settings;
        let address = SocketAddr::from(([127, 0, 0, 1], 10911));
        let broker =
            Broker::open(settings, address, Arc::new(self.disk.clone()), Arc::new(self.clock.clone()))
                .unwrap();
        if broker.topics.get(TOPIC).is_none() {
            broker.topics.update(vec![TopicConfig::new(TOPIC, QUEUES as i32, 6)], 0).unwrap();
            let groups = GROUPS.map(|(group, _)| SubscriptionGroupConfig::new(group));
            broker.groups.update(groups.to_vec(), 0).unwrap();
        }
        broker
    }
}

struct History {
    random: Random,
    world: World,
    broker: Arc<Broker>,
    /// By number: the log must be flushed up to there, and whether it is red.
    sent: BTreeMap<u64, (u64, bool)>,
    states: BTreeMap<(usize, u64), State>,
    held: Vec<Held>,
    /// Messages of which two copies may be under way: a power loss may part the copy that comes back from the
    /// acknowledgement of the original. They must come, and may come once more.
    doubled: BTreeSet<(usize, u64)>,
    /// Acknowledgements that a power loss may take: how far the log must be flushed.
    unsafe_acks: Vec<(u64, usize, u64)>,
    /// How far the log was flushed when a broker ended: one that starts after a kill need not know of it, but what the
    /// disk has it keeps.
    flushed: u64,
    trace: Vec<String>,
}

#[test]
fn each_message_is_delivered_until_it_is_acknowledged() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let seeds = match std::env::var("POP_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("POP_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..std::env::var("POP_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS),
    };
    for seed in seeds {
        let mut history = History::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.run()));
        if let Err(panic) = outcome {
            eprintln!("failed with POP_SEED={seed}; the last steps:\n{}", history.last_steps());
            std::panic::resume_unwind(panic);
        }
    }
}

/// Runs one situation with what each of some seeds makes of the settings and of the power cut.
fn for_some_seeds(situation: impl Fn(&mut History)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    for seed in 0..40 {
        let mut history = History::new(seed);
        // A store that was never stopped is flushed as a whole when it is opened after a kill.
        history.end(End::Stop);
        situation(&mut history);
        history.trace.push(format!("that was seed {seed}"));
        history.finish();
    }
}

/// After the kill the checkpoint is in the log, not on the disk, and the group stands behind it. The offset that a
/// start took from there must not outlive it.
#[test]
fn offsets_saved_after_a_kill_do_not_outlive_their_checkpoints() {
    for_some_seeds(|history| {
        history.send();
        history.broker.store.flush_step().unwrap();
        history.pop(0, 12, 500);
        history.end(End::Kill);
        history.save_offsets();
        history.end(End::PowerLoss);
    });
}

/// A message that is brought back leaves a copy and the end of its checkpoint. That the checkpoint is done with must
/// not be noted while a power cut may take the copy.
#[test]
fn a_checkpoint_is_not_done_with_before_the_copies_are_on_the_disk() {
    for_some_seeds(|history| {
        history.send();
        history.pop(0, 12, 500);
        history.broker.store.flush_step().unwrap();
        history.end(End::Kill);
        history.world.clock.advance(Duration::from_secs(5));
        history.revive();
        history.save_offsets();
        history.end(End::PowerLoss);
    });
}

/// A group that passes over what it does not want has no checkpoint for that; other messages may stand there later.
#[test]
fn offsets_do_not_outlive_the_messages_that_were_passed_over() {
    for_some_seeds(|history| {
        for _ in 0..6 {
            history.send_one(false);
        }
        assert_eq!(history.pop(1, 12, 500), 0);
        history.save_offsets();
        history.end(End::PowerLoss);
        for _ in 0..12 {
            history.send_one(true);
        }
    });
}

/// An administrator has moved a group back, and the file of offsets knows only where it was before.
#[test]
fn a_reset_outlives_a_kill_after_the_next_pop() {
    for_some_seeds(|history| {
        for _ in 0..5 {
            history.send();
        }
        let (group, broker) = (GROUPS[0].0, Arc::clone(&history.broker));
        for queue in 0..QUEUES {
            let end = broker.store.find_queue(TOPIC, queue).map_or(0, |queue| queue.max_offset());
            broker.offsets.commit(group, TOPIC, queue as i32, end as i64, 1, 0);
        }
        drop(broker);
        history.save_offsets();
        for queue in 0..QUEUES as i32 {
            history.broker.reset_group(group, TOPIC, queue, 0).unwrap();
        }
        assert!(history.pop(0, 3, 500) > 0);
        history.end(End::Kill);
    });
}

/// A disk that cannot read the queue when a message is due says nothing of whether that is still there.
#[test]
fn what_cannot_be_read_when_it_is_due_comes_back_later() {
    for_some_seeds(|history| {
        history.send();
        history.broker.store.queue_step(true).unwrap();
        history.pop(0, 12, 500);
        let unreadable = Fault::from_now(Operation::Read, "consumequeue", ErrorKind::Other);
        history.world.disk.inject(unreadable);
        history.world.clock.advance(Duration::from_secs(5));
        history.revive();
        assert!(history.world.disk.failures() > 0, "nothing was looked for");
        history.world.disk.heal();
        history.world.clock.advance(Duration::from_secs(5));
        history.revive();
    });
}

/// The times in the log do not go back with the clock. What is found there at a start must not wait for them.
#[test]
fn a_clock_that_was_set_back_does_not_keep_messages_away_after_a_start() {
    for_some_seeds(|history| {
        let now_ms = history.now_ms();
        history.world.clock.set_wall(now_ms + 3_600_000);
        history.send();
        history.world.clock.set_wall(now_ms);
        history.pop(0, 12, 500);
        history.end(End::Kill);
    });
}

impl History {
    fn new(seed: u64) -> History {
        let mut random = Random::new(seed);
        let clock = SimClock::default();
        let v2 = if random.chance(30) { "true" } else { "false" };
        let flush = if random.chance(30) { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
        // Sometimes there is room for few checkpoints, and most wait in the log.
        let room = if random.chance(30) { "1" } else { "200000" };
        let keys = [
            ("storePathRootDir", "/store"),
            ("mappedFileSizeCommitLog", "262144"),
            ("mappedFileSizeConsumeQueue", "4000"),
            ("messageIndexEnable", "false"),
            ("reviveQueueNum", "2"),
            ("enableRetryTopicV2", v2),
            ("flushDiskType", flush),
            ("popCkMaxBufferSize", room),
        ];
        let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let world = World { disk: SimDisk::new(clock.clone()), clock, keys };
        let broker = world.open();
        History {
            random,
            world,
            broker,
            sent: BTreeMap::new(),
            states: BTreeMap::new(),
            held: Vec::new(),
            doubled: BTreeSet::new(),
            unsafe_acks: Vec::new(),
            flushed: 0,
            trace: Vec::new(),
        }
    }

    fn last_steps(&self) -> String {
        self.trace[self.trace.len().saturating_sub(400)..].join("\n")
    }

    fn now_ms(&self) -> i64 {
        self.broker.now_ms()
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.act();
        }
        self.finish();
    }

    /// Takes everything that is to come, also after one more crash, and checks that nothing is missing.
    fn finish(&mut self) {
        self.drain();
        self.end(End::Kill);
        self.drain();
        for ((group, id), state) in &self.states {
            let is_promised = matches!(state, State::Open { .. });
            assert!(!is_promised, "message {id} never came to {} again", GROUPS[*group].0);
        }
    }

    fn act(&mut self) {
        match self.random.below(100) {
            0..25 => self.send(),
            25..50 => self.pop_some(),
            50..65 => self.ack_some(),
            65..72 => self.change_one(),
            72..88 => self.pass_time(),
            88..91 => drop(self.broker.store.flush_step()),
            91..93 => drop(self.broker.store.queue_step(true)),
            93..96 => self.save_offsets(),
            96 => self.end(End::Stop),
            97..99 => self.end(End::Kill),
            _ => self.end(End::PowerLoss),
        }
    }

    fn send(&mut self) {
        for _ in 0..1 + self.random.below(6) {
            let is_red = self.random.chance(50);
            self.send_one(is_red);
        }
    }

    fn send_one(&mut self, is_red: bool) {
        let topic = self.broker.topics.get(TOPIC).unwrap();
        let id = self.sent.len() as u64;
        let body = id.to_string();
        let queue = topic.queue(&self.broker.store, self.random.below(u64::from(QUEUES)) as u32).unwrap();
        let tag = if is_red { "red" } else { "blue" };
        let mut properties = Vec::new();
        props::push(&mut properties, props::TAGS, tag);
        let message = Message {
            properties: &properties,
            ..Message::of_broker(self.broker.address, TOPIC, queue.id(), body.as_bytes())
        };
        let mut batch = Batch::default();
        batch.push(queue, &message, hash::tags_code(Some(tag))).unwrap();
        self.broker.store.append(&mut batch).unwrap();
        self.sent.insert(id, (batch.until(), is_red));
        for group in 0..GROUPS.len() {
            if group == 0 || is_red {
                self.states.insert((group, id), State::Open { hidden_until: 0 });
            }
        }
        if self.broker.store.is_sync() {
            self.broker.store.flush_step().unwrap();
        }
    }

    fn pop_some(&mut self) {
        let group = self.random.below(GROUPS.len() as u64) as usize;
        let invisible_ms = [500, 3_000, 20_000][self.random.below(3) as usize];
        let count = 1 + self.random.below(12) as usize;
        self.pop(group, count, invisible_ms);
    }

    /// Pops once and checks what comes; gives the number of messages.
    fn pop(&mut self, group: usize, max_count: usize, invisible_ms: i64) -> usize {
        let (name, tags) = GROUPS[group];
        let request = PopRequest {
            group: name.to_owned(),
            topic: self.broker.topics.get(TOPIC).unwrap(),
            queue_id: -1,
            max_count,
            invisible_ms,
            from_end: false,
            filter: TagFilter::parse(Some(tags)).unwrap().into(),
            is_orderly: false,
            attempt: None,
        };
        let popped = self.broker.pop(&request, store::Reach::Disk).unwrap();
        let mut ids = Vec::new();
        for part in &popped.parts {
            for (index, bytes) in part.records.iter().enumerate() {
                let bytes = bytes.unwrap();
                let record = Record::parse(&bytes).unwrap();
                let id: u64 = std::str::from_utf8(record.body).unwrap().parse().unwrap();
                ids.push(id);
                self.delivered(group, id, part, index, &popped);
            }
        }
        if !ids.is_empty() {
            self.trace.push(format!("{} {name} pops {ids:?} for {invisible_ms}", self.now_ms()));
        }
        ids.len()
    }

    fn delivered(&mut self, group: usize, id: u64, part: &Part, index: usize, popped: &Popped) {
        let now_ms = self.now_ms();
        let name = GROUPS[group].0;
        let due_ms = popped.pop_time + popped.invisible_ms;
        let state = self.states.get_mut(&(group, id)).expect("a message that the group wants");
        match *state {
            State::Open { hidden_until } => {
                let is_early = hidden_until > now_ms && !self.doubled.contains(&(group, id));
                assert!(!is_early, "{id} came to {name} before {hidden_until}, at {now_ms}");
                *state = State::Open { hidden_until: due_ms };
            }
            State::Done if !self.doubled.contains(&(group, id)) => {
                panic!("{id} came to {name} after it was acknowledged")
            }
            State::Done | State::Either => (),
        }
        self.held.retain(|held| (held.group, held.id) != (group, id));
        let acks = Acks {
            topic: part.queue.topic().to_string(),
            group: name.to_owned(),
            queue: part.queue.id() as i32,
            start: part.start,
            pop_time: popped.pop_time,
            invisible_ms: popped.invisible_ms,
            revive_queue: popped.revive_queue as u32,
            offsets: vec![part.offsets[index]],
        };
        self.held.push(Held { id, group, acks, due_ms });
    }

    fn take_held(&mut self) -> Option<Held> {
        let count = self.held.len() as u64;
        (count > 0).then(|| self.held.swap_remove(self.random.below(count) as usize))
    }

    fn ack_some(&mut self) {
        let count = 1 + self.random.below(8);
        let held: Vec<Held> = (0..count).map_while(|_| self.take_held()).collect();
        self.ack(held);
    }

    /// Acknowledges with one append; messages of one delivery with one record.
    fn ack(&mut self, held: Vec<Held>) {
        let mut acks: Vec<Acks> = Vec::new();
        for one in &held {
            let same = |other: &&mut Acks| {
                Acks { offsets: Vec::new(), ..(**other).clone() }
                    == Acks { offsets: Vec::new(), ..one.acks.clone() }
            };
            match acks.iter_mut().find(same) {
                Some(acks) => acks.offsets.extend(&one.acks.offsets),
                None => acks.push(one.acks.clone()),
            }
        }
        if acks.is_empty() {
            return;
        }
        let now_ms = self.now_ms();
        let until = self.broker.pop.log.ack(&self.broker.store, &acks, now_ms).unwrap();
        if self.broker.store.is_sync() {
            // The answer comes when the disk has it.
            self.broker.store.flush_step().unwrap();
        }
        for one in held {
            self.trace.push(format!("{now_ms} {} acks {}", GROUPS[one.group].0, one.id));
            self.settle(&one, until, State::Done);
        }
    }

    /// What a handle does that is used before its time is over is certain; later somebody else may have the message.
    fn settle(&mut self, held: &Held, until: u64, state: State) {
        let now_ms = self.now_ms();
        let known = self.states.get_mut(&(held.group, held.id)).unwrap();
        if *known == State::Either || held.due_ms <= now_ms {
            *known = State::Either;
        } else {
            *known = state;
        }
        self.unsafe_acks.push((until, held.group, held.id));
    }

    fn change_one(&mut self) {
        let Some(held) = self.take_held() else { return };
        let now_ms = self.now_ms();
        let invisible_ms = [0, 2_000, 30_000][self.random.below(3) as usize];
        let pop_time = held.acks.replaced_at(now_ms);
        let due_ms = pop_time + invisible_ms;
        let checkpoint = Checkpoint {
            topic: held.acks.topic.as_str().into(),
            group: held.acks.group.as_str().into(),
            queue: held.acks.queue,
            start: held.acks.offsets[0],
            pop_time,
            due_ms,
            offsets: held.acks.offsets.as_slice().into(),
            acked: 0,
            suspended: false,
        };
        let until = self.broker.pop.log.replace(&self.broker.store, &held.acks, checkpoint, now_ms).unwrap();
        self.trace.push(format!("{now_ms} {} hides {} for {invisible_ms}", held.acks.group, held.id));
        if held.due_ms <= now_ms {
            // Two deliveries of one message may be under way now. It is not held any more, and comes back.
            self.states.insert((held.group, held.id), State::Either);
            return;
        }
        self.settle(&held, until, State::Open { hidden_until: due_ms });
        let acks = Acks { start: held.acks.offsets[0], pop_time, invisible_ms, ..held.acks.clone() };
        self.held.push(Held { acks, due_ms, ..held });
    }

    fn pass_time(&mut self) {
        let millis = [50, 700, 2_500, 9_000][self.random.below(4) as usize];
        self.world.clock.advance(Duration::from_millis(millis));
        self.trace.push(format!("{} after {millis} ms", self.now_ms()));
        self.revive();
    }

    fn revive(&mut self) {
        // A record that nobody enters is found the second time.
        for _ in 0..2 {
            while self.broker.revive_due() {}
            if self.broker.store.is_sync() {
                self.broker.store.flush_step().unwrap();
            }
        }
    }

    fn save_offsets(&mut self) {
        self.trace.push(format!("{} saves offsets", self.now_ms()));
        self.broker.note_revived();
        self.broker.save_offsets().unwrap();
    }

    fn end(&mut self, end: End) {
        self.trace.push(format!("{} {end:?}", self.now_ms()));
        if end == End::Stop {
            self.broker.finish().unwrap();
        }
        self.flushed = self.flushed.max(self.broker.store.flushed_until());
        match end {
            End::Stop | End::Kill => (),
            End::PowerLoss => {
                self.world.disk = self.world.disk.crash(&mut self.random);
                self.forget_what_was_not_flushed();
            }
        }
        if end != End::PowerLoss {
            // Everything written stays, but the lock belongs to a process that is no more.
            self.world.disk = self.world.disk.copy();
        }
        self.broker = self.world.open();
    }

    fn forget_what_was_not_flushed(&mut self) {
        let flushed = self.flushed;
        let lost: BTreeSet<u64> =
            self.sent.iter().filter(|(_, (until, _))| *until > flushed).map(|(id, _)| *id).collect();
        for ((group, id), state) in &mut self.states {
            match state {
                _ if lost.contains(id) => *state = State::Either,
                // The delivery may be gone from the log, and then the message is in its queue.
                State::Open { hidden_until } if *hidden_until > 0 => {
                    *hidden_until = 0;
                    self.doubled.insert((*group, *id));
                }
                State::Open { .. } => (),
                State::Done | State::Either => (),
            }
        }
        for (until, group, id) in std::mem::take(&mut self.unsafe_acks) {
            if until > flushed {
                self.states.insert((group, id), State::Either);
            }
        }
        // What a handle of before does now depends on whether its delivery is still known.
        self.held.clear();
    }

    /// Takes and acknowledges everything until nothing comes any more.
    fn drain(&mut self) {
        let mut quiet = 0;
        let mut rounds = 0;
        while quiet < 3 {
            rounds += 1;
            assert!(rounds < 200, "messages come and come");
            self.world.clock.advance(Duration::from_secs(40));
            self.revive();
            self.held.clear();
            let mut count = 0;
            for group in 0..GROUPS.len() {
                // A pop looks for retries at different moments.
                for _ in 0..30 {
                    count += self.pop(group, 32, 20_000);
                }
            }
            let held = std::mem::take(&mut self.held);
            self.ack(held);
            quiet = if count == 0 { quiet + 1 } else { 0 };
        }
        assert_eq!(self.broker.pop.log.outstanding_count(), 0);
    }
}
