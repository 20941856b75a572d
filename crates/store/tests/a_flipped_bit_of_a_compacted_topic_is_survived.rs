//! A bit of a compaction log, of its entries, of the positions or of a plan flips while no broker runs. The store
//! opens, gives out what was sent and nothing else, and misses one message at most: also where the commit log has let
//! go of the segments, and after what was kept is compacted again.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::compaction::{Kept, Model, TOPIC, options, read_from};
use crate::support::{self, World, letter, open_on};
use sim::{Fault, Operation, SimDisk};
use store::examine::{Area, StoreFiles};
use store::{Options, Space, Store};

/// Of bytes that are zero, one in so many is tried.
const ZEROS_PASSED: usize = 37;
const FILES: &str = "/store/compaction/";

/// How the store was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Stopped,
    Killed,
    /// And the segments of the commit log are gone that hold what was compacted.
    StoppedWithoutLog,
    KilledWithoutLog,
}

impl Left {
    const ALL: [Left; 4] = [Left::Stopped, Left::Killed, Left::StoppedWithoutLog, Left::KilledWithoutLog];

    /// One byte in so many is tried, of the hardest most.
    fn one_in(self) -> usize {
        if self == Left::KilledWithoutLog { 3 } else { 11 }
    }

    fn without_log(self) -> bool {
        matches!(self, Left::StoppedWithoutLog | Left::KilledWithoutLog)
    }
}

/// A closed store with three parts of a compacted topic, the first of them compacted.
struct Original {
    world: World,
    left: Left,
    sent: Vec<Kept>,
    served: Vec<Kept>,
}

impl Original {
    fn new(left: Left) -> Original {
        let mut options = Options { segment_bytes: 4096, ..options() };
        // Parts of four messages.
        options.compaction.as_mut().unwrap().units_file_bytes = 46 * 5;
        let world = World::new(options);
        let store = open(&world, &world.disk).unwrap();
        let mut sent = Vec::new();
        let mut model = Model::default();
        let mut send = |count: usize| {
            for _ in 0..count {
                let number = sent.len();
                let (key, body) = (format!("k{}", number % 6), format!("v{number}"));
                model.send(&store, 0, &key, &body);
                sent.push(Kept { queue_offset: number as i64, key, body });
            }
        };
        send(15);
        store.compaction_follow_step().unwrap();
        assert_eq!(store.compaction_step().unwrap(), 1);
        send(8);
        store.compaction_follow_step().unwrap();
        store.queue_step(true).unwrap();
        if left.without_log() {
            let end = store.log_end();
            for _ in 0..3 {
                support::send(&store, &letter("other", 0, &"x".repeat(3000))).unwrap();
            }
            store.flush_step().unwrap();
            world.disk.set_space(Space { total: 1000, free: 120, available: 120 });
            store.clean_step().unwrap();
            assert!(store.log_min() >= end);
            world.disk.set_space(Space { total: 1000, free: 900, available: 900 });
        }
        let served = read_from(&store, 0, 0);
        if matches!(left, Left::Stopped | Left::StoppedWithoutLog) {
            store.stop().unwrap();
        }
        Original { world, left, sent, served }
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = self.world.disk.files();
        files.into_iter().filter(|(path, _)| path.starts_with(FILES)).collect()
    }

    /// Flips a bit, opens the store, and looks at what consumers get, twice; then goes on with it.
    fn check(&self, path: &Path, at: usize) -> Outcome {
        let place = format!("byte {at} of {}, {:?}", path.display(), self.left);
        let disk = self.world.disk.copy();
        disk.damage(path, |bytes| bytes[at] ^= 1 << ((at * 5 + at / 8) % 8));
        let store = open(&self.world, &disk).unwrap_or_else(|error| panic!("{place}: {error}"));
        let first = self.compare(&store, &place);
        // Whatever is copied again, thrown away or compacted because of it is no other message either.
        store.compaction_follow_step().unwrap();
        let second = self.compare(&store, &place);
        assert!(second <= first, "{place}: {first:?}, then {second:?}");
        let number = self.sent.len();
        let mut model = Model::following(0, &self.sent);
        for i in 0..15 {
            model.send(&store, 0, &format!("new{i}"), &format!("v{}", number + i));
        }
        store.compaction_follow_step().unwrap();
        // Damage is a reason not to compact.
        let _ = store.compaction_step();
        let got = read_from(&store, 0, 0);
        let behind = got.iter().filter(|kept| kept.queue_offset >= number as i64).count();
        assert_eq!(behind, 15, "{place}: messages that came later are missing");
        let before = got.iter().filter(|kept| kept.queue_offset < number as i64);
        for kept in before {
            let known = &self.sent[kept.queue_offset as usize];
            assert!(
                kept == known || (second == Outcome::Changed && kept.body == known.body),
                "{place}: {kept:?}"
            );
        }
        // Nor does the next start take anything away.
        store.stop().unwrap();
        drop(store);
        let store = open(&self.world, &disk).unwrap_or_else(|error| panic!("{place}, again: {error}"));
        let again = read_from(&store, 0, 0);
        assert!(got.iter().all(|kept| again.contains(kept)), "{place}: {got:?} became {again:?}");
        second
    }

    fn compare(&self, store: &Store, place: &str) -> Outcome {
        let got = read_from(store, 0, 0);
        assert!(got.is_sorted_by(|a, b| a.queue_offset < b.queue_offset), "{place}: {got:?}");
        let mut changed = 0;
        for kept in &got {
            let known = usize::try_from(kept.queue_offset).ok().and_then(|number| self.sent.get(number));
            let known = known.unwrap_or_else(|| panic!("{place}: {kept:?} is made up"));
            assert_eq!(kept.body, known.body, "{place}");
            changed += usize::from(kept != known);
        }
        let missing =
            self.served.iter().filter(|kept| got.iter().all(|got| got.queue_offset != kept.queue_offset));
        let missing: Vec<_> = missing.collect();
        assert!(missing.len() + changed <= 1, "{place}: {missing:?} are missing");
        match (missing.len(), changed) {
            (0, 0) => Outcome::Same,
            (0, _) => Outcome::Changed,
            _ => Outcome::Missing,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Everything is served as it was.
    Same,
    /// The key of one message is another: nothing in Java's record protects it.
    Changed,
    /// One message is not served.
    Missing,
}

fn open(world: &World, disk: &SimDisk) -> Result<Arc<Store>, store::StoreError> {
    let store = open_on(Arc::new(disk.clone()), Arc::new(world.clock.clone()), world.options.clone())?;
    store.compact_topic(TOPIC)?;
    Ok(store)
}

#[test]
fn every_other_message_is_served_as_it_was_sent() {
    for left in Left::ALL {
        let original = Original::new(left);
        let mut tried: BTreeMap<&str, Vec<Outcome>> = BTreeMap::new();
        for (path, bytes) in original.files() {
            let kinds = ["compactionLog", "compactionCq", "position-checkpoint"];
            let name = path.strip_prefix(FILES).unwrap();
            let kind = kinds.into_iter().find(|kind| name.to_string_lossy().starts_with(kind)).unwrap();
            for (at, byte) in bytes.iter().enumerate() {
                if (*byte != 0 && at % left.one_in() == 0) || at % ZEROS_PASSED == 0 {
                    tried.entry(kind).or_default().push(original.check(&path, at));
                }
            }
        }
        let none = |kind: &str, outcome: Outcome| {
            assert!(!tried[kind].contains(&outcome), "{left:?}: {outcome:?} by a bit in {kind}");
        };
        none("compactionCq", Outcome::Changed);
        none("position-checkpoint", Outcome::Changed);
        none("position-checkpoint", Outcome::Missing);
        for (kind, outcome) in [("compactionLog", Outcome::Changed), ("compactionLog", Outcome::Missing)] {
            assert!(tried[kind].contains(&outcome), "{left:?}: a bit in {kind} never leads to {outcome:?}");
        }
    }
}

/// The pass has made some of its files when it comes to the damage, and the start after it finds what it has left.
#[test]
fn an_entry_that_leads_out_of_its_file_is_a_finding() {
    let original = Original::new(Left::Stopped);
    let entries: Vec<_> =
        original.files().into_keys().filter(|path| path.to_string_lossy().contains("compactionCq")).collect();
    assert!(entries.len() > 2, "{entries:?}");
    for path in entries {
        // The last one may be the mark that a file is full.
        let findings = [1, 2].map(|from_end| {
            let disk = original.world.disk.copy();
            disk.damage(&path, |bytes| {
                let is_used = |unit: &[u8]| unit.iter().any(|&byte| byte != 0);
                let used = bytes.chunks_exact(46).take_while(|unit| is_used(unit)).count();
                // The bit by which the second file of records stands behind the first.
                bytes[(used - from_end) * 46 + 6] ^= 1 << 4;
            });
            let files = StoreFiles::open(Arc::new(disk), original.world.options.clone()).unwrap();
            files.verify(&mut |_| {}).unwrap().findings.count(Area::Compaction)
        });
        assert!(findings.iter().any(|count| *count > 0), "{}: {findings:?}", path.display());
    }
}

#[test]
fn a_pass_that_damage_has_ended_takes_nothing_away() {
    for killed in [false, true] {
        let mut options = options();
        // Parts of four messages.
        options.compaction.as_mut().unwrap().units_file_bytes = 46 * 5;
        let world = World::new(options);
        let store = open(&world, &world.disk).unwrap();
        let mut model = Model::default();
        let mut send = |numbers: std::ops::Range<u32>| {
            numbers.for_each(|i| model.send(&store, 0, &format!("k{i}"), &format!("body {i:03}")));
            store.compaction_follow_step().unwrap();
        };
        send(0..24);
        assert_eq!(store.compaction_step().unwrap(), 1);
        send(24..32);
        let damaged = "body 013";
        let is_it = |bytes: &[u8]| bytes.windows(8).position(|bytes| bytes == damaged.as_bytes());
        let in_compacted = |path: &Path| path.starts_with(format!("{FILES}compactionLog"));
        let found =
            world.disk.files().into_iter().find(|(path, bytes)| in_compacted(path) && is_it(bytes).is_some());
        let (path, bytes) = found.unwrap();
        world.disk.damage(&path, |damaged| damaged[is_it(&bytes).unwrap()] ^= 4);
        let _ = store.compaction_step();
        if !killed {
            store.stop().unwrap();
        }
        drop(store);
        let store = open(&world, &world.disk).unwrap();
        let got: Vec<_> = read_from(&store, 0, 0).into_iter().map(|kept| kept.body).collect();
        let wanted: Vec<_> = (0..32).map(|i| format!("body {i:03}")).filter(|body| body != damaged).collect();
        assert_eq!(got, wanted, "killed: {killed}");
    }
}

/// A flipped bit has an entry lead behind the end of the log, where nothing is that could be waited for.
#[test]
fn an_entry_that_leads_behind_the_log_keeps_no_other_message_from_being_kept() {
    let world = World::new(Options { segment_bytes: 4096, ..options() });
    // It becomes a compacted topic later.
    let store = world.open();
    let mut model = Model::default();
    (0..100).for_each(|i| model.send(&store, 0, &format!("k{i}"), &format!("v{i}")));
    store.queue_step(true).unwrap();
    store.stop().unwrap();
    drop(store);
    let entries = world.path(&format!("consumequeue/{TOPIC}/0/{:020}", 0));
    world.disk.damage(&entries, |bytes| bytes[5 * 20] ^= 0x40);
    let store = open(&world, &world.disk).unwrap();
    while store.compaction_follow_step().unwrap() {}
    let end = store.log_end();
    for _ in 0..3 {
        support::send(&store, &letter("other", 0, &"x".repeat(3000))).unwrap();
    }
    store.flush_step().unwrap();
    world.disk.set_space(Space { total: 1000, free: 120, available: 120 });
    store.clean_step().unwrap();
    assert!(store.log_min() >= end);
    let got: Vec<_> = read_from(&store, 0, 0).into_iter().map(|kept| kept.body).collect();
    let wanted: Vec<_> = (0..100).filter(|i| *i != 5).map(|i| format!("v{i}")).collect();
    assert_eq!(got, wanted);
}

/// The files that replace others are made and decided on, and the broker is killed at some step of putting them there.
#[test]
fn a_plan_is_carried_out_or_none() {
    for step in 0.. {
        let world = World::new(options());
        let store = open(&world, &world.disk).unwrap();
        let mut model = Model::default();
        for number in 0..55 {
            model.send(&store, 0, &format!("k{}", number % 14), &format!("v{number}"));
        }
        store.compaction_follow_step().unwrap();
        let fault = Fault::from_now(Operation::Any, "/compaction", ErrorKind::Other);
        world.disk.inject(Fault { after: step, ..fault });
        let done = store.compaction_step().is_ok();
        drop(store);
        world.disk.heal();
        let plan = world.path("compaction/compactionLog/state/0/compacting/plan");
        let length = world.disk.files().get(&plan).map_or(0, Vec::len);
        // The bytes are shared out among the steps.
        for at in (step as usize % 11..length).step_by(11) {
            let disk = world.disk.copy();
            disk.damage(&plan, |bytes| bytes[at] ^= 1 << (at % 8));
            let store = open(&world, &disk).unwrap();
            model.check(&store);
            store.compaction_follow_step().unwrap();
            store.compaction_step().unwrap();
            model.check(&store);
        }
        if done {
            assert!(step > 20, "only {step} steps were tried");
            return;
        }
    }
}
