//! A history: lives of one store, one after the other, each ended by a clean stop, a kill or a power cut, with whatever
//! a disk can do in between. Everything is drawn from one seed.

pub mod model;
pub mod planted;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sim::{Fault, Operation, Random, SimClock, SimDisk, Trace};
use store::{AppendError, Batch, Flushed, Options, Store, StoreError, config_file};

use crate::support::{
    Letter, TagBits, configure_batch_topics, letter, open_on, read_queue, small_options, sync_options,
};
use model::{End, Model};
use planted::{Bug, disk_with};

/// The last of them has batch queues.
const TOPICS: [&str; 4] = ["orders", "payments", "%RETRY%group", "letters"];
const BATCH_TOPIC: usize = 3;
const CONFIG: &str = "/store/config/consumerOffset.json";
/// Of a short write so much is written at least, or nothing: the checkpoint is one write within one sector, which no
/// disk and no kernel cuts in half. The mark of the index, which stands behind these bytes, has a CRC of its own.
const WHOLE_CHECKPOINT: usize = 140;

type Files = std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>;

/// Power cuts that are looked at where one happens; the history goes on after the last of them.
const CUTS: u64 = 3;

pub struct History {
    random: Random,
    disk: SimDisk,
    clock: SimClock,
    options: Options,
    bug: Option<Bug>,
    store: Option<Arc<Store>>,
    model: Model,
    /// Up to here the store said that the log is on the disk.
    confirmed: Arc<AtomicU64>,
    /// This life has a disk that fails at times.
    sick: bool,
    /// The disk fails for good at some point of this life, which then ends with a power cut.
    power_fails: bool,
    /// Operations of this disk that failed in earlier lives.
    failures_before: u64,
    /// Recoveries that were looked at.
    pub states: u64,
    /// Tells what happens, for somebody who looks into one seed.
    pub aloud: bool,
}

impl History {
    pub fn new(seed: u64, bug: Option<Bug>) -> History {
        let mut random = Random::new(seed);
        let options = if random.chance(50) { sync_options() } else { small_options() };
        // One half takes the queues from their table wherever it counts, the other looks into the files.
        let queue_table_rows_min = if random.chance(50) { 0 } else { 1000 };
        // There are two to a few dozen queues, so in a third of the histories the journal of entries begins on the way.
        let queue_journal_queues_min = if random.chance(33) { 8 } else { 0 };
        // In one half it is full now and then.
        let queue_journal_bytes_max = if random.chance(50) { 3000 } else { 1 << 20 };
        let queue_ext_enabled = random.chance(50);
        // In a third no stop waits for the index.
        let index_stop_wait = if random.chance(33) { Duration::ZERO } else { options.index_stop_wait };
        // In half of them many files of the index become full, mostly between two keys of a message.
        let index_entries = if random.chance(50) { 8 } else { options.index_entries };
        // In half of them slots and entries of one file are in different sectors.
        let index_slots = if random.chance(50) { 500 } else { options.index_slots };
        let options = Options {
            index_entries,
            index_slots,
            queue_table_rows_min,
            queue_table_bytes: 3000,
            queue_journal_queues_min,
            queue_journal_bytes_max,
            multi_dispatch: true,
            queue_ext_enabled,
            queue_ext_segment_bytes: 700,
            index_stop_wait,
            ..options
        };
        let clock = SimClock::default();
        let mut history = History {
            random,
            disk: SimDisk::new(clock.clone()),
            clock,
            options,
            bug,
            store: None,
            model: Model::new(seed),
            confirmed: Arc::default(),
            sick: false,
            power_fails: false,
            failures_before: 0,
            states: 0,
            aloud: false,
        };
        configure_batch_topics(&history.disk, &[TOPICS[BATCH_TOPIC]]);
        history.store = Some(history.open());
        history
    }

    pub fn run(&mut self) {
        for _ in 0..3 {
            self.fall_sick();
            for _ in 0..self.random.below(60) {
                self.act();
                if self.power_fails && self.has_failed() {
                    break;
                }
            }
            self.end_of_life();
        }
    }

    /// Everything that was done to the disk, as one number.
    pub fn trace(&self) -> Trace {
        self.disk.trace()
    }

    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    fn store(&self) -> &Arc<Store> {
        self.store.as_ref().expect("a life has a store")
    }

    fn try_open(&self) -> Result<Arc<Store>, StoreError> {
        let disk = disk_with(self.bug, self.disk.clone());
        let store = open_on(disk, Arc::new(self.clock.clone()), self.options.clone())?;
        store.set_bitmaps(Arc::new(TagBits));
        Ok(store)
    }

    fn open(&self) -> Arc<Store> {
        self.try_open().expect("the store opens")
    }

    /// Decides whether the disk fails in the life to come, and how.
    fn fall_sick(&mut self) {
        let random = &mut self.random;
        (self.sick, self.power_fails) = (false, false);
        self.failures_before = self.disk.failures();
        match random.below(10) {
            0 | 1 => {
                let bytes_written = WHOLE_CHECKPOINT + random.below(3000) as usize;
                let after = random.below(300);
                let fault = Fault::from_now(Operation::Any, "", ErrorKind::Other);
                self.disk.inject(Fault { after, bytes_written, ..fault });
                (self.sick, self.power_fails) = (true, true);
            }
            2 | 3 => {
                for _ in 0..=random.below(3) {
                    self.disk.inject(any_fault(random));
                }
                self.sick = true;
            }
            _ => {}
        }
    }

    fn tell(&self, what: std::fmt::Arguments<'_>) {
        if self.aloud {
            println!("{what}");
        }
    }

    fn has_failed(&self) -> bool {
        self.disk.failures() > self.failures_before
    }

    /// Takes notice of how something ended: only a sick disk lets it fail.
    fn ended<T>(&self, outcome: Result<T, impl std::fmt::Display>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(_) if self.sick => None,
            Err(error) => panic!("it failed on a sound disk: {error}"),
        }
    }

    fn did<T: std::fmt::Debug>(
        &self,
        what: &str,
        outcome: Result<T, impl std::fmt::Display + std::fmt::Debug>,
    ) -> Option<T> {
        self.tell(format_args!("{what}: {outcome:?}"));
        self.ended(outcome)
    }

    fn act(&mut self) {
        let store = self.store().clone();
        match self.random.below(52) {
            0..24 => self.send_some(&store),
            24..28 => drop(self.did("flush", store.flush_step())),
            28..32 => drop(self.did("write queues", store.queue_step(false))),
            32..34 => drop(self.did("sync queues", store.queue_step(true))),
            34 => while self.did("index", store.index_step()) == Some(true) {},
            35 => {
                while self.did("index", store.index_step()) == Some(true) {}
                let _ = self.did("mark the index", store.index_mark_step());
            }
            36 | 37 => drop(self.did("allocate", store.allocate_step())),
            38 | 39 if store.is_sync() => drop(self.did("zero", store.zero_step())),
            40 | 41 => self.read_some(&store),
            42..45 => self.save_offsets(),
            45 => self.expire_some(&store),
            46 if self.random.chance(40) => self.delete_topic(&store),
            48..52 => drop(self.did("journal", store.journal_step())),
            47 => drop(self.did("rest the index", store.index_rest_step())),
            _ => self.clock.advance(Duration::from_secs(7)),
        }
    }

    fn send_some(&mut self, store: &Arc<Store>) {
        let mut batch = Batch::default();
        let count = 1 + self.random.below(8);
        if self.random.chance(30) {
            batch.begin_group();
        }
        let letters: Vec<_> = (0..count).map(|_| self.letter()).collect();
        for letter in &letters {
            letter.push_to(store, &mut batch);
        }
        batch.end_group();
        let at = store.log_end();
        let outcome = store.append(&mut batch);
        let (first, last) = (&letters[0].keys, &letters[letters.len() - 1].keys);
        self.tell(format_args!("send {first}..={last} at {at}: {outcome:?}"));
        if matches!(outcome, Err(AppendError::TooLarge { .. } | AppendError::Stopped)) {
            panic!("refused without a reason: {outcome:?}");
        }
        if self.ended(outcome).is_none() {
            return self.model.failed(letters, at);
        }
        for (i, letter) in letters.into_iter().enumerate() {
            self.model.stored(letter, batch.appended(i));
        }
        let (until, confirmed) = (batch.until(), self.confirmed.clone());
        let note = move |outcome| {
            if outcome == Flushed::Done {
                confirmed.fetch_max(until, Ordering::SeqCst);
            }
        };
        store.when_flushed(until, Box::new(note));
    }

    fn letter(&mut self) -> Letter {
        let number = self.model.next_number();
        let random = &mut self.random;
        let mut body = format!("{}-{number}-", self.model.seed).into_bytes();
        let len = if random.chance(10) { 1500 } else { random.below(300) } as usize;
        body.resize(body.len() + len, b'x');
        let place = random.below(4) as usize;
        let topic = TOPICS[place];
        let inner = if place == BATCH_TOPIC && random.chance(60) { 1 + random.below(9) as u16 } else { 0 };
        // One in twenty is the first half of a transaction: in the log, in the index, in no queue.
        let sys_flag = if inner == 0 && random.chance(5) { 4 } else { 0 };
        // One in five is in one light queue or two besides its own.
        let light = ["%LMQ%a", "%LMQ%b", "%LMQ%b,%LMQ%a"][random.below(3) as usize];
        let light = if inner == 0 && random.chance(20) { light.to_owned() } else { String::new() };
        let letter = Letter { body, sys_flag, inner, light, ..letter(topic, random.below(3) as u32, "") };
        letter.keyed(&format!("k{number}")).tagged(["a", "b"][random.below(2) as usize])
    }

    /// What readers see is what was sent; with synchronous flush, what is on the disk.
    fn read_some(&mut self, store: &Arc<Store>) {
        let topic = TOPICS[self.random.below(4) as usize];
        let Some(queue) = store.find_queue(topic, self.random.below(3) as u32) else { return };
        if self.sick {
            return;
        }
        let got = read_queue(store, &queue);
        let shown = if store.is_sync() { store.flushed_until() } else { u64::MAX };
        self.model.check_read(topic, queue.id(), &got, store.log_min(), shown);
    }

    fn save_offsets(&mut self) {
        let version = self.model.begin_to_save();
        let disk = disk_with(self.bug, self.disk.clone());
        let saved = config_file::save(&*disk, Path::new(CONFIG), &offsets(version));
        if self.ended(saved).is_some() {
            self.model.has_saved(version);
        }
    }

    fn expire_some(&mut self, store: &Arc<Store>) {
        let hours = [1, 30, 80][self.random.below(3) as usize];
        self.clock.advance(Duration::from_secs(hours * 3600));
        store.clean_soon();
        let _ = self.did("expire", store.clean_step());
    }

    fn delete_topic(&mut self, store: &Arc<Store>) {
        let topic = TOPICS[self.random.below(4) as usize];
        let deleted = self.did(&format!("delete {topic}"), store.delete_topic(topic)).is_some();
        self.model.delete(topic, deleted);
    }

    /// Stops cleanly, is killed, or loses power; looks at what is left and goes on with it.
    fn end_of_life(&mut self) {
        let store = self.store.take().expect("a life has a store");
        let flushed = store.flushed_until();
        let confirmed = self.confirmed.swap(0, Ordering::SeqCst);
        assert!(confirmed <= flushed, "{confirmed} is confirmed and {flushed} flushed");
        let mut end = End { promised: flushed, log_min: store.log_min(), power_cut: true };
        let mut stopped = false;
        if !self.power_fails {
            if self.random.chance(50) {
                self.disk.heal();
            }
            match self.random.below(4) {
                0 => stopped = self.did("stop", store.stop()).is_some(),
                1 => end = End { promised: u64::MAX, power_cut: false, ..end },
                _ => {}
            }
        }
        if stopped {
            end = End { promised: u64::MAX, power_cut: false, log_min: store.log_min() };
        }
        self.tell(format_args!("end: {end:?}, stopped {stopped}, log end {}", store.log_end()));
        self.model.sick |= self.has_failed();
        self.disk.heal();
        let is_indexed = store.runtime().dispatch_behind_bytes == 0;
        drop(store);
        if stopped {
            self.model.check_files(&self.disk, &end, is_indexed, self.options.index_slots);
        } else if end.power_cut {
            let whole = self.disk.copy();
            for _ in 1..CUTS {
                self.disk = whole.crash(&mut self.random);
                self.check_recovery(&end);
            }
            self.disk = whole.crash(&mut self.random);
        }
        if self.random.chance(20) {
            self.options.queue_ext_enabled ^= true;
        }
        while self.random.chance(30) {
            self.crash_while_opening();
            if !stopped {
                end = End { promised: flushed, power_cut: true, ..end };
            }
            self.tell(format_args!("crashed while opening"));
        }
        let store = self.check_recovery(&end);
        self.model.go_on(&store, &self.disk, &end);
        self.store = Some(store);
    }

    /// A recovery that is killed or loses power at some point.
    fn crash_while_opening(&mut self) {
        let before = self.disk.copy();
        drop(self.open());
        let operations = self.disk.operations();
        self.disk = before;
        let fault = Fault::from_now(Operation::Any, "", ErrorKind::Other);
        let after = self.random.below(operations + 1);
        let bytes_written = WHOLE_CHECKPOINT + self.random.below(1000) as usize;
        self.disk.inject(Fault { after, bytes_written, ..fault });
        drop(self.try_open());
        self.disk.heal();
        self.disk = self.disk.crash(&mut self.random);
    }

    /// Opens the store and compares everything with what was sent; opens it once more, which must change nothing.
    fn check_recovery(&mut self, end: &End) -> Arc<Store> {
        self.states += 1;
        let store = self.open();
        self.tell(format_args!("open: log {}..{}", store.log_min(), store.log_end()));
        self.model.check_store(&store, end);
        // Entries that the recovery found in the log are in memory until a round of the queue writer.
        store.queue_step(false).expect("queues are written");
        self.model.check_files(&self.disk, end, false, self.options.index_slots);
        self.model.check_offsets(&self.load_offsets());
        // Queries let the index follow the log, so they come after the look at the files.
        let before = self.disk.files();
        drop(store);
        let store = self.open();
        store.queue_step(false).expect("queues are written");
        let after = self.disk.files();
        let only = |one: &Files, other: &Files| -> Vec<_> {
            one.keys().filter(|path| !other.contains_key(*path)).cloned().collect()
        };
        let (gone, new) = (only(&before, &after), only(&after, &before));
        assert!(gone.is_empty() && new.is_empty(), "a second recovery removed {gone:?} and made {new:?}");
        for (path, bytes) in &before {
            let differs = bytes.iter().zip(&after[path]).position(|(a, b)| a != b);
            assert!(*bytes == after[path], "a second recovery changed {} at {differs:?}", path.display());
        }
        self.model.check_store(&store, end);
        store
    }

    fn load_offsets(&self) -> Option<Vec<u8>> {
        let whole = |bytes: &[u8]| {
            (bytes.first() == Some(&b'{') && bytes.last() == Some(&b'}')).then(|| bytes.to_vec())
        };
        let loaded = config_file::load(&self.disk, Path::new(CONFIG), whole);
        let broken = Path::new(CONFIG).with_extension("json.broken");
        assert!(!self.disk.files().contains_key(&broken), "a configuration file was found damaged");
        loaded.expect("configuration files are never damaged")
    }
}

/// Offsets of some version, as long as a few sectors, so that half of them would be noticed.
pub fn offsets(version: u64) -> Vec<u8> {
    format!("{{\"offsetTable\":{{\"orders@group\":{{{}}}}}}}", format!("0:{version},").repeat(150))
        .into_bytes()
}

fn any_fault(random: &mut Random) -> Fault {
    const WHAT: [Operation; 12] = [
        Operation::Any,
        Operation::Write,
        Operation::Write,
        Operation::Write,
        Operation::Sync,
        Operation::Create,
        Operation::Allocate,
        Operation::Truncate,
        Operation::Rename,
        Operation::Remove,
        Operation::CreateDir,
        Operation::SyncDir,
    ];
    const WHERE: [&str; 8] =
        ["", "", "commitlog", "consumequeue", "queuejournal", "index", "checkpoint", "config"];
    let on = WHAT[random.below(12) as usize];
    let path_part = WHERE[random.below(8) as usize].to_owned();
    let error = [ErrorKind::Other, ErrorKind::StorageFull][random.below(2) as usize];
    let times = [1, 2, 5, u64::MAX][random.below(4) as usize];
    let bytes_written = [0, WHOLE_CHECKPOINT, 700, usize::MAX][random.below(4) as usize];
    Fault { on, path_part, after: random.below(60), times, error, bytes_written }
}
