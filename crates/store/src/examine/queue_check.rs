//! Consume queues against the log: every record has its entry, and every entry its record.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::names;
use wire::record::Record;

use super::ext_check::ExtCheck;
use super::finding::{Area, Finding, Findings};
use crate::disk::Disk;
use crate::dispatch;
use crate::error::StoreError;
use crate::options::Options;
use crate::queue_kind::{self, QueueKind, Unit};
use crate::segment;

const REBUILD: &str = "`thrust store repair` rebuilds the queue from the log";
const REBUILD_UNLESS_DELETED: &str = "`thrust store repair` rebuilds the queue from the log; leave it if the topic was deleted before it was made again: they are of the one before";
/// Entries that are read at once; fewer when there are many queues, since each keeps what it has read.
const READ_AHEAD: u64 = 204;
const READ_AHEAD_OF_MANY: u64 = 24;
const MANY_QUEUES: usize = 10_000;

/// The check of all queues, fed with the records of the log in order.
pub(crate) struct QueueCheck<'a> {
    disk: &'a dyn Disk,
    root: PathBuf,
    /// Of simple queues and of batch queues.
    segment_entries: [u64; 2],
    levels: &'a [Duration],
    read_ahead: u64,
    /// Records from here on get their entries when the store is opened.
    dispatched_from: u64,
    topics: HashMap<String, BTreeMap<u32, QueueState>>,
    /// Topics with batch queues.
    batch_topics: BTreeSet<String>,
    /// Entries that have their record.
    pub entries: u64,
    /// Entries that records have in light queues, whether these are there or not.
    pub light_entries: u64,
    /// Entries of delayed messages that do not fit their record.
    pub other_delays: u64,
    ext: ExtCheck<'a>,
}

/// What is known of one queue.
#[derive(Default)]
struct QueueState {
    kind: QueueKind,
    /// Places of the first entries of its files, in order.
    files: Vec<u64>,
    /// Where its next entry should be: in a batch queue places say nothing about offsets.
    place: Option<u64>,
    /// Place of the entry of the first record in the log, and the offset to follow the last message.
    first: Option<u64>,
    next: u64,
    read: Vec<u8>,
    read_from: u64,
    /// Entries that do not fit their record, and the first of them: if the topic turns out to have been deleted and
    /// made again, they were never there.
    wrong: u64,
    first_wrong: Option<Finding>,
}

impl QueueState {
    /// The topic was deleted and made again; the files are those of the new one.
    fn begin_anew(&mut self, kind: QueueKind) {
        let files = std::mem::take(&mut self.files);
        *self = QueueState { kind, files, ..QueueState::default() };
    }

    /// Goes on behind the entry at `place`, whatever stands there.
    fn pass(&mut self, place: u64, unit: &Unit) {
        self.place = Some(place + 1);
        self.first.get_or_insert(place);
        self.next = unit.until();
    }
}

/// The entry that a record has in a queue.
struct Wanted<'a> {
    topic: &'a str,
    queue_id: u32,
    kind: QueueKind,
    unit: Unit,
    /// Store time of the record, Unix milliseconds; entries of simple queues do not say it.
    stored_at: i64,
}

impl<'a> QueueCheck<'a> {
    pub fn new(
        disk: &'a dyn Disk,
        options: &'a Options,
        dispatched_from: u64,
        findings: &mut Findings,
    ) -> Result<QueueCheck<'a>, StoreError> {
        let mut check = QueueCheck {
            disk,
            root: options.root.clone(),
            segment_entries: [options.queue_segment_entries, options.batch_queue_segment_entries]
                .map(u64::from),
            levels: &options.delay_levels,
            read_ahead: READ_AHEAD,
            dispatched_from,
            topics: HashMap::new(),
            batch_topics: queue_kind::topics_on_disk(disk, &options.root).batch,
            entries: 0,
            light_entries: 0,
            other_delays: 0,
            ext: ExtCheck::new(disk, options),
        };
        check.load(findings)?;
        if check.count() > MANY_QUEUES {
            check.read_ahead = READ_AHEAD_OF_MANY;
        }
        Ok(check)
    }

    /// Number of queues that have files.
    pub fn count(&self) -> usize {
        self.topics.values().flat_map(BTreeMap::values).filter(|state| !state.files.is_empty()).count()
    }

    fn load(&mut self, findings: &mut Findings) -> Result<(), StoreError> {
        let list = |dir: &Path| self.disk.list(dir).map_err(StoreError::io("list", dir));
        let mut topics: HashMap<String, BTreeMap<u32, QueueState>> = HashMap::new();
        let mut batch_topics = std::mem::take(&mut self.batch_topics);
        for kind in QueueKind::ALL {
            let root = self.root.join(kind.dir());
            for topic in list(&root)?.into_iter().filter(|entry| entry.is_dir) {
                let dir = root.join(&topic.name);
                if kind == QueueKind::Batch {
                    batch_topics.insert(topic.name.clone());
                }
                let queues = topics.entry(topic.name).or_default();
                for queue in list(&dir)? {
                    if let (true, Ok(id)) = (queue.is_dir, queue.name.parse::<u32>()) {
                        let files = self.load_files(kind, &dir.join(&queue.name), findings)?;
                        queues.insert(id, QueueState { kind, files, ..QueueState::default() });
                    }
                }
            }
        }
        (self.topics, self.batch_topics) = (topics, batch_topics);
        Ok(())
    }

    /// What the queues of a topic are, by its configuration and its files.
    fn kind_of(&self, topic: &str) -> QueueKind {
        if self.batch_topics.contains(topic) { QueueKind::Batch } else { QueueKind::Simple }
    }

    fn reader(&self, kind: QueueKind) -> Reader<'a> {
        let segment_entries = self.segment_entries[kind as usize];
        Reader { disk: self.disk, kind, segment_entries, ahead: self.read_ahead }
    }

    fn load_files(
        &self,
        kind: QueueKind,
        dir: &Path,
        findings: &mut Findings,
    ) -> Result<Vec<u64>, StoreError> {
        let segment_entries = self.segment_entries[kind as usize];
        let segment_bytes = segment_entries * kind.entry_bytes() as u64;
        let mut files: Vec<u64> = Vec::new();
        let entries = self.disk.list(dir).map_err(StoreError::io("list", dir))?;
        let count = entries.len();
        for (i, entry) in entries.into_iter().enumerate().filter(|(_, entry)| !entry.is_dir) {
            // What a crash left of a file that was being made goes when the store is opened.
            if entry.len == 0 && i + 1 == count {
                continue;
            }
            let path = dir.join(&entry.name);
            let Some(base) = segment::base_of(&entry.name).filter(|base| base % segment_bytes == 0) else {
                findings.add(Area::Queue, &path, None, "is no segment of a queue", REBUILD);
                continue;
            };
            if entry.len != segment_bytes {
                let what = format!("has {} bytes where segments have {segment_bytes}", entry.len);
                let remedy = match kind {
                    QueueKind::Simple => {
                        "give the right mappedFileSizeConsumeQueue if it is another; otherwise `thrust store repair` rebuilds the queue"
                    }
                    QueueKind::Batch => {
                        "give the right mapperFileSizeBatchConsumeQueue if it is another; otherwise `thrust store repair` rebuilds the queue"
                    }
                };
                findings.add(Area::Queue, &path, None, what, remedy);
                continue;
            }
            let first = base / kind.entry_bytes() as u64;
            if files.last().is_some_and(|last| last + segment_entries != first) {
                findings.add(Area::Queue, &path, first, "does not follow its predecessor", REBUILD);
            }
            files.push(first);
        }
        Ok(files)
    }

    /// Compares the next record of the log with its entry.
    pub fn record(&mut self, record: &Record<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let kind = self.kind_of(record.topic);
        if !dispatch::has_place(record, || kind) {
            return Ok(());
        }
        let stored_at = record.store_timestamp;
        let unit = Unit {
            entry: dispatch::entry(record, self.levels),
            store_timestamp: if kind == QueueKind::Batch { stored_at } else { 0 },
            base: record.queue_offset as u64,
            count: queue_kind::message_count(kind, record),
        };
        let own = Wanted { topic: record.topic, queue_id: record.queue_id, kind, unit, stored_at };
        self.compare(&own, findings)?;
        for (name, base) in dispatch::light_places(record) {
            self.light_entries += 1;
            // With multiple dispatch switched off there are none.
            if self.topics.contains_key(&*name) {
                let unit = Unit { base, store_timestamp: 0, count: 1, ..unit };
                let kind = QueueKind::Simple;
                self.compare(&Wanted { topic: &name, queue_id: 0, kind, unit, stored_at }, findings)?;
            }
        }
        Ok(())
    }

    /// Compares the entry that a queue should have next with the one it has.
    fn compare(&mut self, wanted: &Wanted<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let Wanted { topic, queue_id, kind, unit, stored_at } = *wanted;
        let reader = self.reader(kind);
        // Most records are as they should be and need no path.
        let root = &self.root;
        let dir = || root.join(kind.dir()).join(topic).join(queue_id.to_string());
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.to_owned(), BTreeMap::new());
        }
        let Some(queues) = self.topics.get_mut(topic) else { return Ok(()) };
        let new = || QueueState { kind, ..QueueState::default() };
        let state = queues.entry(queue_id).or_insert_with(new);
        match unit.base.cmp(&state.next) {
            _ if state.first.is_none() => {}
            Ordering::Less if unit.base == 0 => state.begin_anew(kind),
            Ordering::Less => {
                findings.add_finding(used_again(dir(), &unit));
                return Ok(());
            }
            Ordering::Greater if state.next > 0 && !reader.was_repaired(state, &unit, &dir)? => {
                findings.add_finding(gap(dir(), state.next, unit.base));
            }
            _ => {}
        }
        let place = reader.place_of(state, &unit, &dir)?;
        state.pass(place, &unit);
        if unit.entry.physical_offset >= self.dispatched_from {
            return Ok(());
        }
        let mut found = reader.unit(state, place, &dir)?;
        self.entries += 1;
        if let Some(found) = &mut found {
            self.ext.resolve(found, (topic, queue_id), unit.entry.tags_code, stored_at)?;
        }
        if found != Some(unit) {
            state.wrong += 1;
            let is_same_record = found.is_some_and(|found| leads_to_same_record(&found, &unit));
            // Other delay levels make another time, and the same of everything else.
            self.other_delays += u64::from(topic == dispatch::SCHEDULE_TOPIC && is_same_record);
            state.first_wrong.get_or_insert_with(|| difference(dir(), found, &unit, topic));
        }
        Ok(())
    }

    /// Extensions that were compared with their records.
    pub fn extensions(&self) -> u64 {
        self.ext.count
    }

    /// Reports what remained open when all records are through. `topics` are those of the configuration, if it could be
    /// read: queues of others may be gone because they were deleted. Tells how many records belong to such.
    pub fn finish(
        mut self,
        log_min: u64,
        topics: Option<&BTreeSet<String>>,
        findings: &mut Findings,
    ) -> Result<u64, StoreError> {
        self.ext.report(findings);
        let mut deleted = 0;
        let mut all: Vec<_> = std::mem::take(&mut self.topics).into_iter().collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (topic, queues) in all {
            for (id, mut state) in queues {
                let path = self.root.join(state.kind.dir()).join(&topic).join(id.to_string());
                let dir = || path.clone();
                if state.files.is_empty() {
                    let is_known =
                        topics.is_none_or(|topics| topics.contains(&topic)) || names::is_system_topic(&topic);
                    if state.wrong > 0 && is_known {
                        let what = format!("has no files, but {} messages in the log", state.wrong);
                        findings.add(Area::Queue, &dir(), None, what, REBUILD_UNLESS_DELETED);
                    } else {
                        deleted += state.wrong;
                    }
                    continue;
                }
                if let Some(mut finding) = state.first_wrong.take() {
                    if state.wrong > 1 {
                        finding.what +=
                            &format!(", and {} more entries of this queue are wrong", state.wrong - 1);
                    }
                    findings.add_finding(finding);
                }
                self.check_outside(&mut state, log_min, &dir, findings)?;
            }
        }
        Ok(deleted)
    }

    /// Entries before the first record of the log and behind the last one.
    fn check_outside(
        &self,
        state: &mut QueueState,
        log_min: u64,
        dir: &dyn Fn() -> PathBuf,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        let reader = self.reader(state.kind);
        let begin = state.files.first().copied().unwrap_or(0);
        let mut index = begin;
        let mut last = None;
        // Without a record in the log all entries are of segments that have expired.
        let until = state.first.unwrap_or(u64::MAX);
        while index < until {
            let Some(Unit { entry, .. }) = reader.unit(state, index, dir)? else { break };
            let follows = last.is_none_or(|last| entry.physical_offset > last);
            if !entry.is_pre_blank() {
                if entry.physical_offset >= log_min && entry.physical_offset < self.dispatched_from
                    || !follows
                {
                    let what =
                        format!("points to {}, where no record of this queue is", entry.physical_offset);
                    findings.add(Area::Queue, &dir(), index, what, REBUILD);
                    return Ok(());
                }
                last = Some(entry.physical_offset);
            }
            index += 1;
        }
        if index < until && state.first.is_some() {
            findings.add(Area::Queue, &dir(), index, "is empty, before entries that are not", REBUILD);
        }
        let Some(mut behind) = state.place else { return Ok(()) };
        // Those of messages that a repair had to leave out keep their numbers.
        while let Some(Unit { entry, .. }) = reader.unit(state, behind, dir)? {
            if !entry.is_pre_blank() && entry.physical_offset < self.dispatched_from {
                let what = format!("points to {}, behind the queue's last record", entry.physical_offset);
                findings.add(Area::Queue, &dir(), behind, what, REBUILD);
            }
            if !entry.is_pre_blank() {
                break;
            }
            behind += 1;
        }
        Ok(())
    }
}

fn leads_to_same_record(found: &Unit, wanted: &Unit) -> bool {
    let (found, wanted) = (found.entry, wanted.entry);
    (found.physical_offset, found.size) == (wanted.physical_offset, wanted.size)
}

/// A record has an offset that came before.
fn used_again(path: PathBuf, unit: &Unit) -> Finding {
    let (offset, at) = (unit.base, unit.entry.physical_offset);
    let what = format!("queue offset {offset} is used again by the record at {at}");
    let remedy = "the later message cannot be consumed; send it again";
    Finding { area: Area::Queue, path, offset: Some(offset), what, remedy }
}

/// No record has the offsets from `from` to before `until`.
fn gap(path: PathBuf, from: u64, until: u64) -> Finding {
    let what = match until - 1 {
        last if last == from => format!("no record of the log has queue offset {from}"),
        last => format!("no record of the log has queue offsets {from} to {last}"),
    };
    Finding { area: Area::Queue, path, offset: Some(from), what, remedy: REBUILD }
}

/// An entry is not as its record wants it.
fn difference(path: PathBuf, found: Option<Unit>, wanted: &Unit, topic: &str) -> Finding {
    let index = wanted.base;
    let record = wanted.entry.physical_offset;
    let mut remedy = REBUILD;
    let what = match found.map(|unit| (unit.entry, unit)) {
        None => format!("is missing; its record is at {record}"),
        Some((entry, _)) if entry.physical_offset != record => {
            format!("points to {} and not to its record at {record}", entry.physical_offset)
        }
        Some((entry, _)) if entry.size != wanted.entry.size => {
            let (says, has) = (entry.size, wanted.entry.size);
            format!("says that its record at {record} has {says} bytes, and it has {has}")
        }
        Some((_, unit)) if (unit.base, unit.count) != (wanted.base, wanted.count) => {
            format!(
                "says that its record at {record} has {} messages from offset {} on, and it has {} from {} on",
                unit.count, unit.base, wanted.count, wanted.base
            )
        }
        Some((_, unit)) if unit.store_timestamp != wanted.store_timestamp => {
            let (says, was) = (unit.store_timestamp, wanted.store_timestamp);
            format!("says that its record at {record} was stored at {says}, and it was at {was}")
        }
        Some((entry, _)) => {
            if topic == dispatch::SCHEDULE_TOPIC {
                remedy = "harmless if messageDelayLevel was changed since; otherwise `thrust store repair` rebuilds the queue";
            }
            format!(
                "has tags code {} where its record at {record} gives {}",
                entry.tags_code, wanted.entry.tags_code
            )
        }
    };
    Finding { area: Area::Queue, path, offset: Some(index), what, remedy }
}

/// Reads entries of a queue in pieces.
struct Reader<'a> {
    disk: &'a dyn Disk,
    kind: QueueKind,
    segment_entries: u64,
    ahead: u64,
}

impl Reader<'_> {
    /// The entry at a place, `None` if it is in no file or nothing was written there.
    fn unit(
        &self,
        state: &mut QueueState,
        place: u64,
        dir: &dyn Fn() -> PathBuf,
    ) -> Result<Option<Unit>, StoreError> {
        let entry_bytes = self.kind.entry_bytes();
        let held = (state.read.len() / entry_bytes) as u64;
        if place < state.read_from || place >= state.read_from + held {
            self.read(state, place, dir)?;
        }
        let at = (place - state.read_from) as usize * entry_bytes;
        let bytes = state.read.get(at..at + entry_bytes);
        Ok(bytes.and_then(|bytes| Unit::decode(self.kind, place, bytes)))
    }

    /// Whether a queue whose next record has a later offset than it should have shows why: a repair that had to leave
    /// out a record puts a filler in its place, and in a batch queue nothing, so that the next entry follows.
    fn was_repaired(
        &self,
        state: &mut QueueState,
        next: &Unit,
        dir: &dyn Fn() -> PathBuf,
    ) -> Result<bool, StoreError> {
        Ok(match (self.kind, state.place) {
            (QueueKind::Batch, Some(place)) => self.unit(state, place, dir)? == Some(*next),
            _ => self.unit(state, state.next, dir)?.is_some_and(|unit| unit.entry.is_pre_blank()),
        })
    }

    /// Where the entry should stand: in a simple queue its offset says that, in a batch queue it is behind the last.
    fn place_of(
        &self,
        state: &mut QueueState,
        unit: &Unit,
        dir: &dyn Fn() -> PathBuf,
    ) -> Result<u64, StoreError> {
        match (self.kind, state.place) {
            (QueueKind::Simple, _) => Ok(unit.base),
            (QueueKind::Batch, Some(place)) => Ok(place),
            (QueueKind::Batch, None) => self.first_place(state, unit.entry.physical_offset, dir),
        }
    }

    /// Place of the first entry of a batch queue that leads to `physical_offset` or farther: those before it are of
    /// records that have expired.
    fn first_place(
        &self,
        state: &mut QueueState,
        physical_offset: u64,
        dir: &dyn Fn() -> PathBuf,
    ) -> Result<u64, StoreError> {
        let mut place = state.files.first().copied().unwrap_or(0);
        while let Some(unit) = self.unit(state, place, dir)?
            && unit.entry.physical_offset < physical_offset
        {
            place += 1;
        }
        Ok(place)
    }

    fn read(&self, state: &mut QueueState, place: u64, dir: &dyn Fn() -> PathBuf) -> Result<(), StoreError> {
        state.read.clear();
        state.read_from = place;
        let first = place / self.segment_entries * self.segment_entries;
        if state.files.binary_search(&first).is_err() {
            return Ok(());
        }
        let entry_bytes = self.kind.entry_bytes();
        let path = segment::path_of(&dir(), first * entry_bytes as u64);
        let count = self.ahead.min(first + self.segment_entries - place) as usize;
        state.read.resize(count * entry_bytes, 0);
        let file = self.disk.open(&path).map_err(StoreError::io("open", &path))?;
        file.read_at(&mut state.read, (place - first) * entry_bytes as u64)
            .map_err(StoreError::io("read", &path))
    }
}
