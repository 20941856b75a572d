//! What was sent and what was said about it, and the comparison of a store with that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use sim::SimDisk;
use sim::reader::{Log, StoreFiles};
use store::{Appended, KeyKind, Queue, Store};

use super::offsets;
use crate::support::{Got, Letter, ROOT, read_queue, read_tagged};

/// How a life ended, and what had to survive that.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// The log must be there up to here.
    pub promised: u64,
    /// First offset of the log before; what is older has expired and may be there or not.
    pub log_min: u64,
    /// What was not synced may be gone.
    pub power_cut: bool,
}

/// A message that was handed to the store.
#[derive(Clone)]
pub struct Sent {
    letter: Letter,
    fate: Fate,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    /// The store has it.
    Stored(Appended),
    /// The store said that it failed; what was written of it may come to life until something else stands there.
    Failed { at: u64, overwritten: bool },
    /// Its topic was deleted.
    Deleted { surely: bool },
}

pub struct Model {
    pub seed: u64,
    /// By body.
    sent: BTreeMap<Vec<u8>, Sent>,
    counter: u64,
    saved: u64,
    tried_to_save: u64,
    /// The disk has failed at some time. A store whose queues must be built again from the log has the messages of
    /// deleted topics again: the log does not say that they were deleted.
    pub sick: bool,
}

impl Model {
    pub fn new(seed: u64) -> Model {
        Model { seed, sent: BTreeMap::new(), counter: 0, saved: 0, tried_to_save: 0, sick: false }
    }

    pub fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub fn stored(&mut self, letter: Letter, appended: Appended) {
        for sent in self.sent.values_mut() {
            if let Fate::Failed { overwritten, .. } = &mut sent.fate {
                *overwritten = true;
            }
        }
        self.sent.insert(letter.body.clone(), Sent { letter, fate: Fate::Stored(appended) });
    }

    pub fn failed(&mut self, letters: Vec<Letter>, at: u64) {
        for letter in letters {
            let fate = Fate::Failed { at, overwritten: false };
            self.sent.insert(letter.body.clone(), Sent { letter, fate });
        }
    }

    pub fn delete(&mut self, topic: &str, surely: bool) {
        self.sick |= !surely;
        // The first halves of transactions are in no queue and stay as they are.
        for sent in self.sent.values_mut().filter(|sent| sent.letter.topic == topic && sent.is_queued()) {
            sent.fate = Fate::Deleted { surely };
        }
    }

    pub fn begin_to_save(&mut self) -> u64 {
        self.tried_to_save += 1;
        self.tried_to_save
    }

    pub fn has_saved(&mut self, version: u64) {
        self.saved = version;
    }

    /// The offsets are those saved last, or some that were being saved since.
    pub fn check_offsets(&self, found: &Option<Vec<u8>>) {
        let possible =
            (self.saved..=self.tried_to_save).map(|version| (version > 0).then(|| offsets(version)));
        let (saved, tried) = (self.saved, self.tried_to_save);
        let text =
            found.as_deref().map(|bytes| String::from_utf8_lossy(&bytes[..60.min(bytes.len())]).into_owned());
        assert!(
            possible.into_iter().any(|version| version == *found),
            "offsets {saved}..{tried}, found {text:?}"
        );
    }

    /// A living queue as a reader sees it.
    pub fn check_read(&self, topic: &str, queue: u32, got: &[Got], log_min: u64, shown_until: u64) {
        let mut seen = BTreeSet::new();
        for got in got {
            let sent = self.sent.get(&got.body);
            let appended = match sent.map(|sent| sent.fate) {
                Some(Fate::Stored(appended)) => appended,
                // A recovery has brought them back.
                Some(Fate::Deleted { surely }) if !surely || self.sick => continue,
                _ => panic!("a phantom at {} of {topic} {queue}: {sent:?}", got.queue_offset),
            };
            assert!(appended.until <= shown_until, "shown before it is on the disk: {appended:?}");
            seen.insert(appended.offset);
        }
        for sent in self.sent.values().filter(|sent| sent.is_of(topic, queue) && sent.is_queued()) {
            if let Fate::Stored(appended) = sent.fate {
                let readable = appended.offset >= log_min && appended.until <= shown_until;
                assert_eq!(seen.contains(&appended.offset), readable, "{sent:?}");
            }
        }
    }

    /// What the store says it has.
    pub fn check_store(&self, store: &Arc<Store>, end: &End) {
        let mut there = BTreeSet::new();
        let mut in_light = BTreeSet::new();
        for topic in store.topics() {
            if wire::names::is_light(&topic) {
                for got in read_queue(store, &store.queue(&topic, 0)) {
                    self.check_in_light(&topic, &got, end);
                    assert!(in_light.insert((topic.to_string(), got.body)), "twice in {topic}");
                }
                continue;
            }
            for queue in store.queues_of(&topic) {
                let all = read_queue(store, &queue);
                self.check_tags(store, &queue, &all);
                for got in all {
                    let sent = self.sent.get(&got.body).filter(|sent| self.may_be_there(sent, end));
                    let Some(sent) = sent else {
                        panic!(
                            "a phantom at {} of {queue:?}: {:?}",
                            got.queue_offset,
                            self.sent.get(&got.body)
                        );
                    };
                    assert!(sent.is_of(&topic, queue.id()), "in {queue:?}: {sent:?}");
                    if let Fate::Stored(appended) = sent.fate {
                        let place = (appended.queue_offset as i64, appended.offset as i64);
                        assert_eq!(place, (got.queue_offset, got.physical_offset), "{sent:?}");
                    }
                    assert!(there.insert(got.body.clone()), "twice in its queue: {sent:?}");
                }
            }
        }
        for body in &there {
            let sent = &self.sent[body];
            let wanted = sent.light_queues().filter(|_| matches!(sent.fate, Fate::Stored(_)));
            for light in wanted {
                assert!(in_light.contains(&(light.to_owned(), body.clone())), "not in {light}: {sent:?}");
            }
        }
        let log_end = store.log_end();
        assert!(store.flushed_until() <= log_end);
        for sent in self.sent.values().filter(|sent| sent.is_queued()) {
            let Fate::Stored(appended) = sent.fate else { continue };
            let there = there.contains(&sent.letter.body);
            let promised = appended.until <= end.promised;
            if appended.offset >= end.log_min {
                assert!(there || !promised, "promised and gone: {sent:?}");
                // What a failed write left of another record or of a segment's end may stand there after a power cut.
                let explained = self.sick && end.power_cut && !there;
                assert!(
                    explained || there == (appended.until <= log_end),
                    "queue and log disagree: {sent:?}"
                );
            }
            if promised {
                // Also when everything in the queue has expired, its numbers are never used again.
                let queue = store.find_queue(&sent.letter.topic, sent.letter.queue);
                let next = queue.map_or(0, |queue| queue.max_offset());
                let behind = appended.queue_offset + sent.letter.offsets();
                assert!(next >= behind, "next is {next} after {sent:?}");
            }
        }
    }

    /// What a light queue names is there, and belongs there; whether its own topic was deleted makes no difference.
    fn check_in_light(&self, light: &str, got: &Got, end: &End) {
        let sent = self.sent.get(&got.body);
        let Some(sent) =
            sent.filter(|sent| matches!(sent.fate, Fate::Deleted { .. }) || self.may_be_there(sent, end))
        else {
            panic!("a phantom in {light}: {sent:?}");
        };
        assert!(sent.light_queues().any(|name| name == light), "in {light}: {sent:?}");
    }

    /// Whatever entries and extensions say of them, a reader of a tag gets its messages and no others.
    fn check_tags(&self, store: &Store, queue: &Queue, all: &[Got]) {
        for tag in ["a", "b"] {
            let is_tagged = |got: &&Got| self.sent.get(&got.body).is_some_and(|sent| sent.letter.tags == tag);
            let expected: Vec<_> = all.iter().filter(is_tagged).map(|got| got.body.clone()).collect();
            assert!(read_tagged(store, queue, tag) == expected, "messages tagged {tag} of {queue:?}");
        }
    }

    fn may_be_there(&self, sent: &Sent, end: &End) -> bool {
        match sent.fate {
            Fate::Stored(_) => true,
            Fate::Failed { at, overwritten } => !overwritten || (end.power_cut && at >= end.promised),
            Fate::Deleted { surely } => !surely || self.sick,
        }
    }

    /// What somebody else finds in the files, who does not know the store.
    pub fn check_files(&self, disk: &SimDisk, end: &End, stopped: bool, index_slots: u32) {
        let files = StoreFiles::of(&disk.files(), Path::new(ROOT)).expect("files of a store");
        let log = files.log().expect("a log");
        let has_no_queue = |record: &sim::reader::LogRecord| match self.sent.get(&record.body) {
            Some(Sent { fate: Fate::Stored(appended), .. }) => appended.offset < end.log_min,
            _ => true,
        };
        files.compare_queues(&log, has_no_queue).expect("queues and log agree");
        self.check_log(&log, end);
        if stopped {
            files.compare_index(&log, index_slots).expect("index and log agree");
        }
    }

    fn check_log(&self, log: &Log, end: &End) {
        for (offset, record) in &log.records {
            let Some(sent) = self.sent.get(&record.body) else { panic!("a phantom at {offset} of the log") };
            let property = |name: &str| {
                let found = record.properties.iter().find(|(key, _)| key == name);
                found.map_or("", |(_, value)| value.as_str())
            };
            let letter = &sent.letter;
            assert!(sent.is_of(&record.topic, record.queue), "at {offset}: {sent:?}");
            assert_eq!((property("KEYS"), property("TAGS")), (&*letter.keys, &*letter.tags), "{sent:?}");
        }
        for sent in self.sent.values() {
            let Fate::Stored(appended) = sent.fate else { continue };
            if appended.offset >= end.log_min && appended.until <= end.promised {
                let record = log.records.get(&appended.offset);
                let same = record.is_some_and(|record| record.body == sent.letter.body);
                assert!(same, "promised and not in the log: {sent:?}");
            }
        }
    }

    /// Forgets what is gone for good, and learns where what was unsure has come to be.
    pub fn go_on(&mut self, store: &Arc<Store>, disk: &SimDisk, end: &End) {
        let files = StoreFiles::of(&disk.files(), Path::new(ROOT)).expect("files of a store");
        let log = files.log().expect("a log");
        assert_eq!(log.end, store.log_end());
        let places: BTreeMap<_, _> =
            log.records.iter().map(|(offset, record)| (&record.body, (offset, record))).collect();
        self.sent.retain(|body, sent| {
            let place = places.get(body);
            match &mut sent.fate {
                Fate::Stored(appended) => place.is_some() || appended.offset < end.log_min,
                Fate::Deleted { .. } => true,
                Fate::Failed { overwritten, .. } => match place {
                    Some((offset, record)) => {
                        sent.fate = Fate::Stored(Appended {
                            offset: **offset,
                            queue_offset: record.queue_offset,
                            until: *offset + u64::from(record.size),
                            store_timestamp: record.store_time,
                        });
                        true
                    }
                    // After a kill what was cleared of it is zeros in memory, and may still be on the disk: a power cut
                    // brings it back for as long as nothing was flushed there.
                    None => {
                        *overwritten = true;
                        !end.power_cut
                    }
                },
            }
        });
        self.check_keys(store);
    }

    /// Each key leads to its message, and to nothing else.
    fn check_keys(&self, store: &Arc<Store>) {
        for sent in self.sent.values().step_by(7) {
            let Fate::Stored(appended) = sent.fate else { continue };
            let letter = &sent.letter;
            let found = store.query(&letter.topic, &letter.keys, 10, 0, i64::MAX, KeyKind::Key);
            let found = found.expect("queries work").records.len();
            assert_eq!(found, usize::from(appended.offset >= store.log_min()), "by key: {sent:?}");
        }
    }
}

impl Sent {
    fn is_of(&self, topic: &str, queue: u32) -> bool {
        (&*self.letter.topic, self.letter.queue) == (topic, queue)
    }

    /// The light queues that it should be in.
    fn light_queues(&self) -> impl Iterator<Item = &str> {
        let may = self.is_queued() && wire::names::may_name_light_queues(&self.letter.topic);
        self.letter.light.split(',').filter(move |name| may && !name.is_empty())
    }

    fn is_queued(&self) -> bool {
        self.letter.sys_flag & 0xC != 4
    }
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Letter { topic, queue, keys, sys_flag, .. } = &self.letter;
        write!(formatter, "{keys} (flag {sys_flag}) of {topic} {queue}: {:?}", self.fate)
    }
}
