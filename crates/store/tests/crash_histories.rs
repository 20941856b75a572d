//! Random histories of sending, flushing, stopping and crashing; after every crash the store must hold what it
//! promised, nothing that was not sent, and nothing out of place. A failing seed is printed: run it alone with
//! `CRASH_SEED=<seed> cargo test -p store --test crash_histories`. `CRASH_SEEDS=<count>` tries more of them.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use sim::Random;
use store::{Batch, KeyKind, Store};
use support::{Letter, World, letter, read_queue, small_options, sync_options};

const SEEDS: u64 = 300;

/// A message that was handed to the store.
#[derive(Debug, Clone)]
struct Sent {
    letter: Letter,
    queue_offset: u64,
    until: u64,
}

struct History {
    seed: u64,
    random: Random,
    world: World,
    store: Arc<Store>,
    /// By body.
    sent: BTreeMap<Vec<u8>, Sent>,
    counter: u64,
}

#[test]
fn whatever_happens_promises_are_kept() {
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

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [3, 77] {
        let mut first = History::new(seed);
        let mut second = History::new(seed);
        first.run();
        second.run();
        assert_eq!(first.world.disk.operations(), second.world.disk.operations());
        assert_eq!(without_process_id(&first), without_process_id(&second));
    }
}

fn without_process_id(history: &History) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut files = history.world.disk.files();
    files.retain(|path, _| !path.ends_with("abort"));
    files
}

impl History {
    fn new(seed: u64) -> History {
        let mut random = Random::new(seed);
        let options = if random.chance(50) { sync_options() } else { small_options() };
        let world = World::new(options);
        let store = world.open();
        History { seed, random, world, store, sent: BTreeMap::new(), counter: 0 }
    }

    fn run(&mut self) {
        for _ in 0..3 {
            for _ in 0..self.random.below(60) {
                self.act();
            }
            self.end_of_life();
            self.check_all();
        }
    }

    fn act(&mut self) {
        match self.random.below(21) {
            0..12 => self.send_some(),
            12..14 => self.store.flush_step().expect("flushing works"),
            14..16 => self.store.queue_step(false).expect("queues are written"),
            16 => self.store.queue_step(true).expect("queues are synced"),
            17 => while self.store.index_step().expect("indexing works") {},
            18 => self.store.allocate_step().expect("segments are made"),
            19 if self.store.is_sync() => drop(self.store.zero_step().expect("zeros are written")),
            _ => self.world.clock.advance(std::time::Duration::from_secs(7)),
        }
    }

    fn send_some(&mut self) {
        let mut batch = Batch::default();
        let count = 1 + self.random.below(8);
        let grouped = self.random.chance(30);
        if grouped {
            batch.begin_group();
        }
        let mut letters = Vec::new();
        for _ in 0..count {
            self.counter += 1;
            let mut body = format!("{}-{}-", self.seed, self.counter).into_bytes();
            let len = if self.random.chance(10) { 1500 } else { self.random.below(300) } as usize;
            body.resize(body.len() + len, b'x');
            let topic = ["orders", "payments", "%RETRY%group"][self.random.below(3) as usize];
            let letter = Letter { body, ..letter(topic, self.random.below(3) as u32, "") }
                .keyed(&format!("k{}", self.counter))
                .tagged("tag");
            letter.push_to(&self.store, &mut batch);
            letters.push(letter);
        }
        batch.end_group();
        self.store.append(&mut batch).expect("appending works");
        for (i, letter) in letters.into_iter().enumerate() {
            let appended = batch.appended(i);
            let sent = Sent { letter, queue_offset: appended.queue_offset, until: appended.until };
            self.sent.insert(sent.letter.body.clone(), sent);
        }
    }

    /// Stops cleanly, is killed, or loses power: then opens again. Forgets what was not promised and is not there.
    fn end_of_life(&mut self) {
        let flushed = self.store.flushed_until();
        let mut stopped = false;
        let mut promised_until = match self.random.below(4) {
            0 => {
                stopped = true;
                self.store.stop().expect("stopping works");
                u64::MAX
            }
            1 => u64::MAX,
            _ => {
                self.world.disk = self.world.disk.crash(&mut self.random);
                flushed
            }
        };
        self.drop_store();
        if self.random.chance(30) {
            self.crash_while_opening();
            if !stopped {
                promised_until = flushed;
            }
        }
        self.store = self.world.open();
        let (end, store) = (self.store.log_end(), &self.store);
        self.sent.retain(|_, sent| {
            let kept = store
                .find_queue(&sent.letter.topic, sent.letter.queue)
                .is_some_and(|queue| queue.max_offset() > sent.queue_offset);
            assert!(kept || sent.until > promised_until, "promised and gone: {sent:?}");
            assert_eq!(kept, sent.until <= end, "queue and log disagree about {sent:?}");
            kept
        });
        self.check_that_recovery_is_finished();
    }

    fn drop_store(&mut self) {
        // The store's lock must go before the next one opens.
        let other = World::new(small_options());
        self.store = other.open();
    }

    /// A first recovery that itself loses power at some point.
    fn crash_while_opening(&mut self) {
        let before = self.world.disk.copy();
        drop(self.world.open());
        let operations = self.world.disk.operations();
        self.world.disk = before;
        let after = self.random.below(operations + 1);
        self.world.disk.inject(sim::Fault {
            after,
            ..sim::Fault::from_now(sim::Operation::Any, "", std::io::ErrorKind::Other)
        });
        let _ = self.world.try_open();
        self.world.disk.heal();
        self.world.disk = self.world.disk.crash(&mut self.random);
    }

    /// Opening once more, as after a kill, changes no file.
    fn check_that_recovery_is_finished(&mut self) {
        self.drop_store();
        let before = self.world.disk.files();
        self.store = self.world.open();
        let after = self.world.disk.files();
        assert!(before.keys().eq(after.keys()), "{:?} became {:?}", before.keys(), after.keys());
        for (path, bytes) in &before {
            let differs = bytes.iter().zip(&after[path]).position(|(a, b)| a != b);
            let (was, is) = (bytes.len(), after[path].len());
            assert!(
                *bytes == after[path],
                "a second recovery changed {} at {differs:?}; {was} bytes became {is}",
                path.display()
            );
        }
    }

    fn check_all(&self) {
        let mut seen = 0;
        for topic in self.store.topics() {
            for queue in self.store.queues_of(&topic) {
                for got in read_queue(&self.store, &queue) {
                    let sent = self.sent.get(&got.body).unwrap_or_else(|| {
                        panic!("a phantom at {} of {queue:?}", got.queue_offset);
                    });
                    assert_eq!(sent.queue_offset, got.queue_offset as u64);
                    assert_eq!((&*sent.letter.topic, sent.letter.queue), (&**queue.topic(), queue.id()));
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, self.sent.len(), "every message is in its queue once");
        for sent in self.sent.values().step_by(7) {
            let found = self
                .store
                .query(&sent.letter.topic, &sent.letter.keys, 10, 0, i64::MAX, KeyKind::Key)
                .expect("queries work");
            assert_eq!(found.records.len(), 1, "by key: {sent:?}");
        }
    }
}
