//! Random histories of timer messages: sending, taking back, waiting, clocks that are set, places that cannot be read
//! for a while, checkpoints, clean stops, kills and power cuts, also in the middle of opening. At the end every message
//! that the log kept was delivered once, none before its time, and none that was taken back in time. A failing seed is
//! printed: run it alone with `CRASH_SEED=<seed> cargo test -p store --test situations timer_crash_histories::`.
//! `CRASH_SEEDS=<count>` tries more of them.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{World, letter, send, small_options, sync_options};
use crate::timer;
use crate::timer::{Timed, arrived, at, now, park, run, try_run, with_small_timer};
use sim::{Fault, Operation, Random};
use store::{Store, TimerNext};

const SEEDS: u64 = 50;
const PRECISION: i64 = 1000;
const TOPICS: [&str; 2] = ["orders", "payments"];

/// A message that was parked.
#[derive(Debug, Clone)]
struct Parked {
    timed: Timed,
    offset: u64,
    until: u64,
}

struct History {
    seed: u64,
    random: Random,
    world: World,
    store: Arc<Store>,
    /// By body.
    parked: BTreeMap<String, Parked>,
    counter: u64,
    /// Whether a recall may have been read too late.
    had_bad_place: bool,
}

#[test]
fn every_message_is_delivered_once_whatever_happens() {
    let seeds = match std::env::var("CRASH_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("CRASH_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..std::env::var("CRASH_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| History::new(seed).run());
        if let Err(panic) = outcome {
            eprintln!("failed with CRASH_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

impl History {
    fn new(seed: u64) -> History {
        let mut random = Random::new(seed);
        let options = if random.chance(50) { sync_options() } else { small_options() };
        let world = World::new(with_small_timer(options));
        let store = world.open();
        History { seed, random, world, store, parked: BTreeMap::new(), counter: 0, had_bad_place: false }
    }

    fn run(&mut self) {
        for _ in 0..4 {
            for _ in 0..self.random.below(50) {
                self.act();
            }
            self.end_of_life();
        }
        self.let_all_be_due();
        self.check();
    }

    fn act(&mut self) {
        match self.random.below(24) {
            0..7 => self.park_some(),
            7..9 => self.take_one_back(),
            9..13 => self.step(),
            13..15 => self.store.timer_flush_step().expect("checkpoints are made"),
            15 => self.store.flush_step().expect("flushing works"),
            16 => self.store.queue_step(self.random.chance(50)).expect("queues are written"),
            17 => drop(send(&self.store, &letter("orders", 1, "ordinary")).expect("sending works")),
            18 if self.random.chance(20) => self.set_clock(),
            19 if self.random.chance(20) => self.spoil_a_place(),
            _ => {
                let millis = self.random.below(2500);
                self.world.clock.advance(Duration::from_millis(millis));
                // Only now and then does the worker come in time.
                if self.random.chance(60) {
                    self.work();
                }
            }
        }
    }

    /// One step of the timer, which fails only where the disk does.
    fn step(&mut self) {
        let stepped = self.store.timer_step();
        assert!(self.had_bad_place || stepped.is_ok(), "{stepped:?}");
    }

    /// Lets the timer do all there is to do now, as far as the disk lets it.
    fn work(&mut self) {
        let worked = try_run(&self.store);
        assert!(self.had_bad_place || worked.is_ok(), "{worked:?}");
    }

    /// A segment of the log cannot be read for a while.
    fn spoil_a_place(&mut self) {
        let segments = self.store.log_end() / small_options().segment_bytes + 1;
        let base = self.random.below(segments) * small_options().segment_bytes;
        let place = format!("commitlog/{base:020}");
        let fault = Fault::from_now(Operation::Read, &place, ErrorKind::Other);
        self.world.disk.inject(Fault { times: 1 + self.random.below(60), ..fault });
        self.had_bad_place = true;
    }

    fn park_some(&mut self) {
        let count = 1 + self.random.below(12);
        let now = now(&self.world.clock);
        // Some together in one slot, some beyond the window of the wheel.
        let near = self.random.chance(50);
        let batch: Vec<Timed> = (0..count)
            .map(|_| {
                self.counter += 1;
                let body =
                    format!("{}-{}-{}", self.seed, self.counter, "x".repeat(self.random.below(90) as usize));
                let delay = 1 + self.random.below(if near { 1500 } else { 90_000 }) as i64;
                let topic = TOPICS[self.random.below(2) as usize];
                if self.random.chance(50) {
                    timer::after(topic, &body, now, delay)
                } else {
                    at(topic, &body, now + delay)
                }
            })
            .collect();
        let appended = park(&self.store, &batch);
        for (timed, appended) in batch.into_iter().zip(appended) {
            let parked = Parked { timed, offset: appended.offset, until: appended.until };
            self.parked.insert(parked.timed.body.clone(), parked);
        }
    }

    /// Takes a message back while a broker would still accept that.
    fn take_one_back(&mut self) {
        let now = now(&self.world.clock);
        let still: Vec<&Parked> = self
            .parked
            .values()
            .filter(|parked| parked.timed.takes_back.is_empty() && now <= parked.timed.out_ms(PRECISION))
            .collect();
        if still.is_empty() {
            return;
        }
        let timed = still[self.random.below(still.len() as u64) as usize].timed.recall(PRECISION);
        if self.parked.contains_key(&timed.body) {
            return;
        }
        let appended = park(&self.store, std::slice::from_ref(&timed));
        if self.store.is_sync() {
            // The answer waits for this; without an answer nothing is taken back.
            self.store.flush_step().expect("flushing works");
        }
        let parked = Parked { timed, offset: appended[0].offset, until: appended[0].until };
        self.parked.insert(parked.timed.body.clone(), parked);
    }

    fn set_clock(&mut self) {
        let by = self.random.below(20_000) as i64 - 10_000;
        self.world.clock.set_wall(now(&self.world.clock) + by);
    }

    fn end_of_life(&mut self) {
        self.world.disk.heal();
        let flushed = self.store.flushed_until();
        let mut stopped = false;
        let promised_until = match self.random.below(5) {
            0 => {
                stopped = true;
                self.store.stop().expect("stopping works");
                u64::MAX
            }
            1..3 => u64::MAX,
            _ => {
                self.world.disk = self.world.disk.crash(&mut self.random);
                flushed
            }
        };
        self.drop_store();
        let mut promised_until = promised_until;
        if self.random.chance(30) {
            self.crash_while_opening();
            if !stopped {
                promised_until = flushed;
            }
        }
        self.store = self.world.open();
        let end = self.store.log_end();
        self.parked.retain(|_, parked| {
            assert!(parked.until <= end || parked.until > promised_until, "promised and gone: {parked:?}");
            parked.until <= end
        });
    }

    fn drop_store(&mut self) {
        // The store's lock must go before the next one opens.
        self.store = World::new(small_options()).open();
    }

    /// A first recovery that itself loses power at some point.
    fn crash_while_opening(&mut self) {
        let before = self.world.disk.copy();
        drop(self.world.open());
        let operations = self.world.disk.operations();
        self.world.disk = before;
        let after = self.random.below(operations + 1);
        self.world.disk.inject(Fault { after, ..Fault::from_now(Operation::Any, "", ErrorKind::Other) });
        let _ = self.world.try_open();
        self.world.disk.heal();
        self.world.disk = self.world.disk.crash(&mut self.random);
    }

    fn let_all_be_due(&mut self) {
        self.world.disk.heal();
        for _ in 0..400 {
            let mut next = run(&self.store);
            if self.store.is_sync() {
                self.store.flush_step().expect("flushing works");
                next = run(&self.store);
            }
            if next == TimerNext::OnArrival && self.store.timer_figures().queue_behind == 0 {
                break;
            }
            self.world.clock.advance(Duration::from_millis(500));
        }
        self.store.flush_step().expect("flushing works");
    }

    fn check(&self) {
        let figures = self.store.timer_figures();
        assert_eq!((figures.pending, figures.queue_behind), (0, 0), "{figures:?}");
        let mut found: HashMap<String, Vec<(u64, i64)>> = HashMap::new();
        for topic in TOPICS {
            for arrived in arrived(&self.store, topic, 0) {
                assert_eq!(arrived.properties["REAL_TOPIC"], topic);
                found.entry(arrived.body).or_default().push((arrived.at, arrived.delivered_ms));
            }
        }
        for parked in self.parked.values().filter(|parked| parked.timed.takes_back.is_empty()) {
            let timed = &parked.timed;
            let got = found.remove(&timed.body).unwrap_or_default();
            let recall = self.parked.get(&format!("recall of {}", timed.body));
            match (recall, &got[..]) {
                (Some(_), []) => continue,
                // Taken back too late: the clock had been ahead when it was delivered.
                (Some(recall), [(at, _)]) => {
                    assert!(self.had_bad_place || *at < recall.offset, "{timed:?} was taken back");
                }
                (None, [_]) => {}
                (_, got) => panic!("{timed:?} was delivered {} times: {got:?}", got.len()),
            }
            assert!(got[0].1 >= timed.due_ms, "{timed:?} came early, at {}", got[0].1);
        }
        assert_eq!(found.len(), 0, "phantoms: {found:?}");
    }
}
