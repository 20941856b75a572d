//! Compacted topics through power cuts, kills and failures of the disk, compared with a model: what a key's last
//! message is, is never lost. A failing seed is printed: run it alone with `CRASH_SEED=<seed>`, and more with
//! `CRASH_SEEDS=<n>`.

use std::io::ErrorKind;
use std::panic::catch_unwind;
use std::sync::Arc;

use crate::compaction::{Model, TOPIC, options};
use crate::support::{World, open_on};
use sim::{Fault, Operation, Random, SimClock, SimDisk};
use store::{Options, Space, Store};

/// Histories of a normal run.
const SEEDS: u64 = 50;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn open(disk: &SimDisk, clock: &SimClock, options: &Options) -> Arc<Store> {
    let store = open_on(Arc::new(disk.clone()), Arc::new(clock.clone()), options.clone());
    let store = store.expect("the store opens");
    store.compact_topic(TOPIC).expect("the compaction logs open");
    store
}

struct History {
    random: Random,
    disk: SimDisk,
    clock: SimClock,
    options: Options,
    store: Option<Arc<Store>>,
    model: Model,
    sent: u64,
}

impl History {
    fn new(seed: u64) -> History {
        let mut random = Random::new(seed);
        let clock = SimClock::default();
        let disk = SimDisk::new(clock.clone());
        let mut options = options();
        if random.chance(30) {
            options.compaction.as_mut().unwrap().map_bytes_max = 300;
        }
        let store = Some(open(&disk, &clock, &options));
        History { random, disk, clock, options, store, model: Model::default(), sent: 0 }
    }

    fn run(&mut self) {
        for _ in 0..40 {
            let store = Arc::clone(self.store.as_ref().unwrap());
            match self.random.below(10) {
                0..=3 => self.send(&store),
                4 => drop(store.compaction_follow_step()),
                5..=6 => drop(store.compaction_step()),
                7 => self.expire(&store),
                8 => self.fail_once(&store),
                _ => {
                    drop(store);
                    self.end_life();
                }
            }
        }
        self.end_life();
    }

    fn send(&mut self, store: &Store) {
        if !store.is_writable() {
            return self.end_life();
        }
        for _ in 0..self.random.below(25) {
            let (queue, key) = (self.random.below(2) as u32, self.random.below(12));
            self.sent += 1;
            let body = if self.random.chance(10) { String::new() } else { format!("v{}", self.sent) };
            let body = if self.random.chance(3) && !body.is_empty() { body + &"x".repeat(600) } else { body };
            self.model.send(store, queue, &format!("key {key}"), &body);
        }
        self.model.check(store);
    }

    fn expire(&mut self, store: &Store) {
        self.disk.set_space(Space { total: 1000, free: 120, available: 120 });
        let _ = store.clean_step();
        self.disk.set_space(Space { total: 1000, free: 900, available: 900 });
        let _ = store.clean_step();
    }

    /// The disk fails somewhere in the files of the compaction, for a while or until the power is cut.
    fn fail_once(&mut self, store: &Store) {
        let kinds = [Operation::Any, Operation::Write, Operation::Sync, Operation::Rename, Operation::Remove];
        let fault = Fault {
            on: kinds[self.random.below(5) as usize],
            path_part: "/compaction".into(),
            after: self.random.below(60),
            times: 1 + self.random.below(4),
            error: ErrorKind::Other,
            bytes_written: self.random.below(200) as usize,
        };
        self.disk.inject(fault);
        for _ in 0..3 {
            let _ = store.compaction_follow_step();
            let _ = store.compaction_step();
        }
        if self.random.chance(50) {
            self.disk = self.disk.crash(&mut self.random);
            self.reopen();
        } else {
            self.disk.heal();
            self.model.check(store);
        }
    }

    fn end_life(&mut self) {
        let store = self.store.take().unwrap();
        self.model.check(&store);
        match self.random.below(3) {
            0 => drop(store.stop()),
            1 => {}
            _ => self.disk = self.disk.crash(&mut self.random),
        }
        drop(store);
        self.reopen();
    }

    fn reopen(&mut self) {
        self.disk.heal();
        self.store = None;
        // What was locked by a process that is gone is free again.
        self.disk = self.disk.copy();
        let store = open(&self.disk, &self.clock, &self.options);
        self.model.check(&store);
        self.store = Some(store);
    }
}

#[test]
fn the_last_message_of_a_key_survives_whatever_happens() {
    let seeds = match number("CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CRASH_SEEDS").unwrap_or(SEEDS),
    };
    let failed: Vec<_> = seeds.filter(|seed| catch_unwind(|| History::new(*seed).run()).is_err()).collect();
    assert!(failed.is_empty(), "failed with CRASH_SEED={failed:?}");
}

#[test]
fn a_crash_at_any_step_of_a_replacement_leaves_the_old_files_or_the_new() {
    let world = World::new(options());
    let store = open(&world.disk, &world.clock, &world.options);
    let mut model = Model::default();
    for i in 0..57 {
        model.send(&store, 0, &format!("k{}", i % 7), &format!("v{i}"));
    }
    store.compaction_follow_step().unwrap();
    store.compaction_step().unwrap();
    for i in 0..31 {
        model.send(&store, 0, &format!("k{}", i % 9), &format!("w{i}"));
    }
    store.compaction_follow_step().unwrap();
    store.stop().unwrap();
    drop(store);
    for step in 0.. {
        let disk = world.disk.copy();
        let store = open(&disk, &world.clock, &world.options);
        let fault = Fault { after: step, ..Fault::from_now(Operation::Any, "/compaction", ErrorKind::Other) };
        disk.inject(fault);
        let done = store.compaction_step().is_ok();
        model.check(&store);
        for seed in 0..3 {
            let after = disk.crash(&mut Random::new(seed));
            let store = open(&after, &world.clock, &world.options);
            model.check(&store);
            let _ = store.compaction_step().unwrap();
            model.check(&store);
        }
        // Without a crash the next round ends what this one began.
        disk.heal();
        store.compaction_step().unwrap();
        model.check(&store);
        let killed = open(&disk.copy(), &world.clock, &world.options);
        model.check(&killed);
        if done {
            assert!(step > 20, "only {step} steps were tried");
            return;
        }
    }
}
