//! Random histories of transactions against a model of the log: producers that commit, roll back, fall silent or die,
//! rounds of checks, and crashes that take the end of the log away. In the end every half message that was not lost
//! with the log is committed once, rolled back or discarded, as its producer decided.

use std::collections::{BTreeMap, BTreeSet};

use sim::Random;

use super::table::{Known, Limits, Open, Positions, Table, Verdict};

const CHECK_MAX: u32 = 4;
const TIMEOUT_MS: i64 = 100;

/// What the log holds, in order.
#[derive(Debug, Clone)]
enum Stored {
    Half { id: u32, checks: u32, before: Option<u64>, at_ms: i64 },
    Final { id: u32 },
    Discarded { id: u32 },
    Op { named: Vec<u64>, moved: bool },
}

/// What a producer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Commit,
    Rollback,
    /// It never knows.
    Nothing,
}

struct Model {
    random: Random,
    now_ms: i64,
    log: Vec<Stored>,
    /// Bytes that a crash does not take, counted in records. A batch is written whole.
    flushed: usize,
    batch_ends: BTreeSet<usize>,
    table: Table,
    positions: Positions,
    pending: Option<(Positions, usize)>,
    /// The file of checks, which may be older than anything else.
    checks: BTreeMap<u64, u32>,
    wishes: BTreeMap<u32, Wish>,
    next_id: u32,
}

impl Model {
    fn new(seed: u64) -> Model {
        let start = Positions { half: 0, op: 0 };
        Model {
            random: Random::new(seed),
            now_ms: 1_000_000,
            log: Vec::new(),
            flushed: 0,
            batch_ends: BTreeSet::from([0]),
            table: Table::new(start),
            positions: start,
            pending: None,
            checks: BTreeMap::new(),
            wishes: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// Half messages by offset, with their places in the log.
    fn halves(&self) -> Vec<usize> {
        self.places(|stored| matches!(stored, Stored::Half { .. }))
    }

    fn ops(&self) -> Vec<usize> {
        self.places(|stored| matches!(stored, Stored::Op { .. }))
    }

    fn places(&self, wanted: impl Fn(&Stored) -> bool) -> Vec<usize> {
        (0..self.log.len()).filter(|place| wanted(&self.log[*place])).collect()
    }

    fn append(&mut self, batch: Vec<Stored>) {
        self.log.extend(batch);
        self.batch_ends.insert(self.log.len());
    }

    fn send(&mut self) {
        let wish = match self.random.below(5) {
            0 => Wish::Rollback,
            1 => Wish::Nothing,
            _ => Wish::Commit,
        };
        let id = self.next_id;
        self.next_id += 1;
        self.wishes.insert(id, wish);
        self.append(vec![Stored::Half { id, checks: 0, before: None, at_ms: self.now_ms }]);
    }

    fn follow(&mut self) {
        let halves = self.halves();
        while self.table.followed() < halves.len() as u64 {
            let offset = self.table.followed();
            self.table.follow(offset, Some(halves[offset as usize] as u64));
        }
    }

    /// A producer decides about the half message at `offset`, which may long be decided.
    fn decide(&mut self, offset: u64) {
        let Some(place) = self.halves().get(offset as usize).copied() else { return };
        let Stored::Half { id, .. } = self.log[place] else { return };
        let wish = self.wishes[&id];
        if wish == Wish::Nothing {
            return;
        }
        if offset >= self.table.followed() {
            self.follow();
        }
        let Some(ending) = self.table.begin_end(offset) else { return };
        if self.random.below(10) == 0 {
            self.table.gave_up(ending.offset);
            return;
        }
        let copy = (wish == Wish::Commit).then_some(Stored::Final { id });
        self.close(ending.offset, copy);
    }

    /// Stores the op record, behind what it stands for, in one write.
    fn close(&mut self, offset: u64, copy: Option<Stored>) {
        let op_offset = self.ops().len() as u64;
        self.append(copy.into_iter().chain([Stored::Op { named: vec![offset], moved: false }]).collect());
        self.table.op_written(op_offset, offset);
        self.table.ended(offset);
    }

    fn round(&mut self) {
        self.follow();
        let limits = Limits {
            now_ms: self.now_ms,
            timeout_ms: TIMEOUT_MS,
            check_max: CHECK_MAX,
            reserved_ms: i64::MAX,
        };
        let until = self.table.followed();
        for (offset, physical) in self.table.candidates(0, until, &limits, usize::MAX) {
            let Stored::Half { id, at_ms, .. } = self.log[physical as usize] else {
                panic!("no half message")
            };
            self.table.learn(offset, Known { born_ms: at_ms, stored_ms: at_ms, immunity_ms: None });
            match self.table.verdict(offset, &limits) {
                Verdict::Wait => (),
                Verdict::Check => {
                    self.table.checked(offset);
                    // The question or the answer may be lost.
                    if self.random.below(3) > 0 {
                        self.decide(offset);
                    }
                }
                Verdict::Discard => {
                    let ending = self.table.begin_end(offset).expect("open");
                    self.close(ending.offset, Some(Stored::Discarded { id }));
                }
            }
        }
        if self.random.below(2) == 0 {
            self.checks = self.table.checks();
        }
        self.keep_positions();
    }

    fn keep_positions(&mut self) {
        if self.pending.is_none_or(|(_, until)| until <= self.flushed) {
            if let Some((positions, _)) = self.pending {
                self.positions = positions;
            }
            self.pending = Some((self.table.positions(), self.log.len()));
        }
    }

    /// What the check does with one that holds the window open.
    fn move_one(&mut self) {
        let halves = self.halves();
        let offset = self.random.below(halves.len().max(1) as u64);
        let Some(open) = self.table.get(offset).cloned() else { return };
        let Some(ending) = self.table.begin_end(offset) else { return };
        let Stored::Half { id, before, at_ms, .. } = self.log[open.physical as usize] else {
            panic!("no half")
        };
        let copy = Stored::Half { id, checks: open.checks, before: before.or(Some(offset)), at_ms };
        let place = self.log.len();
        let op_offset = self.ops().len() as u64;
        self.append(vec![copy, Stored::Op { named: vec![ending.offset], moved: true }]);
        self.table.op_written(op_offset, ending.offset);
        self.table.moved(ending.offset, halves.len() as u64, place as u64);
    }

    fn flush(&mut self) {
        self.flushed = self.log.len();
    }

    /// The process or the machine ends; a new one reads the queues.
    fn crash(&mut self, tears_batches: bool) {
        let lost = self.random.below((self.log.len() - self.flushed + 1) as u64) as usize;
        let mut end = self.log.len() - lost;
        if !tears_batches {
            end = *self.batch_ends.range(..=end).next_back().expect("the beginning");
        }
        self.log.truncate(end.max(self.flushed));
        self.batch_ends.retain(|end| *end <= self.log.len());
        self.flush();
        self.pending = None;
        let halves = self.halves();
        let from = Positions {
            half: self.positions.half.min(halves.len() as u64),
            op: self.positions.op.min(self.ops().len() as u64),
        };
        assert_eq!(from, self.positions, "positions are kept only when the log is durable");
        let mut table = Table::new(from);
        for (op_offset, place) in self.ops().into_iter().enumerate().skip(from.op as usize) {
            let Stored::Op { named, moved } = &self.log[place] else { panic!("no op") };
            table.found_op(op_offset as u64, named, *moved);
        }
        for (offset, place) in halves.into_iter().enumerate().skip(from.half as usize) {
            let offset = offset as u64;
            let Stored::Half { checks, before, .. } = self.log[place] else { panic!("no half") };
            if !table.found_half(offset) {
                let checks = self.checks.get(&offset).copied().unwrap_or(checks);
                table.restore(offset, Open::asked(place as u64, checks, None), before);
            }
        }
        table.restored();
        self.table = table;
    }

    fn step(&mut self, tears_batches: bool) {
        self.now_ms += self.random.below(60) as i64;
        match self.random.below(40) {
            0 => self.crash(tears_batches),
            1..=3 => self.flush(),
            4..=6 => self.round(),
            7..=8 => self.move_one(),
            9..=19 => self.send(),
            _ => {
                let offset = self.random.below(self.halves().len().max(1) as u64);
                self.decide(offset);
            }
        }
    }

    /// Rounds until nothing is open any more.
    fn settle(&mut self) {
        for _ in 0..=CHECK_MAX + 1 {
            self.now_ms += TIMEOUT_MS + 1;
            self.round();
        }
        self.follow();
        assert_eq!(self.table.open_count(), 0, "stuck");
        self.flush();
        self.keep_positions();
        self.keep_positions();
        let all = Positions { half: self.halves().len() as u64, op: self.ops().len() as u64 };
        assert_eq!(self.positions, all, "everything is decided, and a restart reads nothing");
    }

    /// How often each transaction that is in the log was committed and discarded.
    fn verify(&self, tears_batches: bool) {
        let mut ends: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        for stored in &self.log {
            match stored {
                Stored::Half { id, .. } => drop(ends.entry(*id).or_default()),
                Stored::Final { id } => ends.entry(*id).or_default().0 += 1,
                Stored::Discarded { id } => ends.entry(*id).or_default().1 += 1,
                Stored::Op { .. } => (),
            }
        }
        for (id, (committed, discarded)) in ends {
            let ended = committed + discarded;
            match self.wishes[&id] {
                // A power failure between a message and the op record beside it is the one case left, as in Java.
                Wish::Commit if tears_batches => assert!(ended >= 1, "{id} is lost"),
                Wish::Commit => assert_eq!(ended, 1, "{id}: {committed} committed, {discarded} discarded"),
                Wish::Rollback => assert_eq!(committed, 0, "{id} was rolled back"),
                Wish::Nothing => assert!(committed == 0 && discarded >= 1, "{id} was never decided"),
            }
        }
    }
}

fn run(seed: u64, tears_batches: bool) {
    let mut model = Model::new(seed);
    for _ in 0..400 {
        model.step(tears_batches);
    }
    model.settle();
    model.verify(tears_batches);
    model.crash(tears_batches);
    assert_eq!(model.table.open_count(), 0, "a restart brings something decided back");
}

#[test]
fn every_transaction_ends_once_whenever_the_broker_is_killed() {
    for seed in 0..60 {
        let outcome = std::panic::catch_unwind(|| run(seed, false));
        assert!(outcome.is_ok(), "history of seed {seed}");
    }
}

#[test]
fn every_transaction_ends_even_when_a_write_is_torn() {
    for seed in 1000..1060 {
        let outcome = std::panic::catch_unwind(|| run(seed, true));
        assert!(outcome.is_ok(), "history of seed {seed}");
    }
}
