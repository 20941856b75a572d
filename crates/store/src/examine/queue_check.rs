//! Consume queues against the log: every record has its entry, and every entry its record.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::names;
use wire::record::Record;
use wire::sys_flag;

use super::finding::{Area, Finding, Findings};
use crate::disk::Disk;
use crate::dispatch;
use crate::error::StoreError;
use crate::options::Options;
use crate::queue::{ENTRY_BYTES, QueueEntry};
use crate::segment;

const REBUILD: &str = "`thrust store repair` rebuilds the queue from the log";
/// Entries that are read at once; fewer when there are many queues, since each keeps what it has read.
const READ_AHEAD: u64 = 204;
const READ_AHEAD_OF_MANY: u64 = 24;
const MANY_QUEUES: usize = 10_000;
/// Queues of this kind name messages of other topics.
const LIGHT_QUEUE: &str = "%LMQ%";

/// The check of all queues, fed with the records of the log in order.
pub(crate) struct QueueCheck<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    segment_entries: u64,
    levels: &'a [Duration],
    read_ahead: u64,
    /// Records from here on get their entries when the store is opened.
    dispatched_from: u64,
    topics: HashMap<String, BTreeMap<u32, QueueState>>,
    /// Entries that have their record.
    pub entries: u64,
}

/// What is known of one queue.
#[derive(Default)]
struct QueueState {
    /// First entries of its files, in order.
    files: Vec<u64>,
    /// Offset of the first record in the log, and the one to follow the last.
    first: Option<u64>,
    next: u64,
    read: Vec<u8>,
    read_from: u64,
    /// Entries that do not fit their record, and the first of them: if the topic turns out to have been deleted and
    /// made again, they were never there.
    wrong: u64,
    first_wrong: Option<Finding>,
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
            dir: options.root.join("consumequeue"),
            segment_entries: u64::from(options.queue_segment_entries),
            levels: &options.delay_levels,
            read_ahead: READ_AHEAD,
            dispatched_from,
            topics: HashMap::new(),
            entries: 0,
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
        let list = |dir: &PathBuf| self.disk.list(dir).map_err(StoreError::io("list", dir));
        let mut topics = HashMap::new();
        for topic in list(&self.dir)?.into_iter().filter(|entry| entry.is_dir) {
            let dir = self.dir.join(&topic.name);
            let mut queues = BTreeMap::new();
            for queue in list(&dir)? {
                if let (true, Ok(id)) = (queue.is_dir, queue.name.parse::<u32>()) {
                    let files = self.load_files(&dir.join(&queue.name), findings)?;
                    queues.insert(id, QueueState { files, ..QueueState::default() });
                }
            }
            topics.insert(topic.name, queues);
        }
        self.topics = topics;
        Ok(())
    }

    fn load_files(&self, dir: &Path, findings: &mut Findings) -> Result<Vec<u64>, StoreError> {
        let segment_bytes = self.segment_entries * ENTRY_BYTES as u64;
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
                let remedy = "give the right mappedFileSizeConsumeQueue if it is another; otherwise `thrust store repair` rebuilds the queue";
                findings.add(Area::Queue, &path, None, what, remedy);
                continue;
            }
            let first = base / ENTRY_BYTES as u64;
            if files.last().is_some_and(|last| last + self.segment_entries != first) {
                findings.add(Area::Queue, &path, first, "does not follow its predecessor", REBUILD);
            }
            files.push(first);
        }
        Ok(files)
    }

    /// Compares the next record of the log with its entry.
    pub fn record(&mut self, record: &Record<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let queued = sys_flag::is_queued(record.sys_flag)
            && dispatch::is_safe_topic(record.topic)
            && record.queue_id <= i32::MAX as u32
            && record.queue_offset >= 0;
        if !queued {
            return Ok(());
        }
        if !self.topics.contains_key(record.topic) {
            self.topics.insert(record.topic.to_owned(), BTreeMap::new());
        }
        let Some(queues) = self.topics.get_mut(record.topic) else { return Ok(()) };
        let state = queues.entry(record.queue_id).or_default();
        let offset = record.queue_offset as u64;
        let dir = || self.dir.join(record.topic).join(record.queue_id.to_string());
        let (expected, first) = (state.next, state.first.is_none());
        if offset == 0 && !first && expected > 0 {
            // The topic was deleted and made again; the files are those of the new one.
            *state = QueueState { files: std::mem::take(&mut state.files), ..QueueState::default() };
            state.read_from = 0;
        } else if !first && offset < expected {
            let what =
                format!("queue offset {offset} is used again by the record at {}", record.physical_offset);
            findings.add(
                Area::Queue,
                &dir(),
                offset,
                what,
                "the later message cannot be consumed; send it again",
            );
            return Ok(());
        }
        let reader =
            Reader { disk: self.disk, segment_entries: self.segment_entries, ahead: self.read_ahead };
        if !first && offset > expected && expected > 0 {
            // A repair that had to leave out a record puts a filler in its place.
            let filled = reader.entry(state, expected, &dir)?.is_some_and(|entry| entry.is_pre_blank());
            if !filled {
                let what = match offset - 1 {
                    last if last == expected => format!("no record of the log has queue offset {expected}"),
                    last => format!("no record of the log has queue offsets {expected} to {last}"),
                };
                findings.add(Area::Queue, &dir(), expected, what, REBUILD);
            }
        }
        state.first.get_or_insert(offset);
        state.next = offset + 1;
        if record.physical_offset as u64 >= self.dispatched_from {
            return Ok(());
        }
        let wanted = QueueEntry {
            physical_offset: record.physical_offset as u64,
            size: record.bytes.len() as u32,
            tags_code: dispatch::tags_code(record, self.levels),
        };
        let found = reader.entry(state, offset, &dir)?;
        self.entries += 1;
        if found != Some(wanted) {
            state.wrong += 1;
            if state.first_wrong.is_none() {
                state.first_wrong = Some(difference(dir(), offset, found, &wanted, record.topic));
            }
        }
        Ok(())
    }

    /// Reports what remained open when all records are through. `topics` are those of the configuration, if it could be
    /// read: queues of others may be gone because they were deleted. Tells how many records belong to such.
    pub fn finish(
        mut self,
        log_min: u64,
        topics: Option<&BTreeSet<String>>,
        findings: &mut Findings,
    ) -> Result<u64, StoreError> {
        let mut deleted = 0;
        let mut all: Vec<_> = std::mem::take(&mut self.topics).into_iter().collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (topic, queues) in all {
            for (id, mut state) in queues {
                let dir = || self.dir.join(&topic).join(id.to_string());
                if state.files.is_empty() {
                    let is_known =
                        topics.is_none_or(|topics| topics.contains(&topic)) || names::is_system_topic(&topic);
                    if state.wrong > 0 && is_known {
                        let what = format!("has no files, but {} messages in the log", state.wrong);
                        findings.add(Area::Queue, &dir(), None, what, REBUILD);
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
                if !topic.starts_with(LIGHT_QUEUE) {
                    self.check_outside(&mut state, log_min, &dir, findings)?;
                }
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
        let reader =
            Reader { disk: self.disk, segment_entries: self.segment_entries, ahead: self.read_ahead };
        let begin = state.files.first().copied().unwrap_or(0);
        let mut index = begin;
        let mut last = None;
        // Without a record in the log all entries are of segments that have expired.
        let until = state.first.unwrap_or(u64::MAX);
        while index < until {
            let Some(entry) = reader.entry(state, index, dir)? else { break };
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
        if state.first.is_some()
            && let Some(entry) = reader.entry(state, state.next, dir)?
            && entry.physical_offset < self.dispatched_from
        {
            let what = format!("points to {}, behind the queue's last record", entry.physical_offset);
            findings.add(Area::Queue, &dir(), state.next, what, REBUILD);
        }
        Ok(())
    }
}

fn difference(
    path: PathBuf,
    index: u64,
    found: Option<QueueEntry>,
    wanted: &QueueEntry,
    topic: &str,
) -> Finding {
    let record = wanted.physical_offset;
    let mut remedy = REBUILD;
    let what = match found {
        None => format!("is missing; its record is at {record}"),
        Some(entry) if entry.physical_offset != wanted.physical_offset => {
            format!("points to {} and not to its record at {record}", entry.physical_offset)
        }
        Some(entry) if entry.size != wanted.size => {
            format!("says that its record at {record} has {} bytes, and it has {}", entry.size, wanted.size)
        }
        Some(entry) => {
            if topic == dispatch::SCHEDULE_TOPIC {
                remedy = "harmless if messageDelayLevel was changed since; otherwise `thrust store repair` rebuilds the queue";
            }
            format!(
                "has tags code {} where its record at {record} gives {}",
                entry.tags_code, wanted.tags_code
            )
        }
    };
    Finding { area: Area::Queue, path, offset: Some(index), what, remedy }
}

/// Reads entries of a queue in pieces.
struct Reader<'a> {
    disk: &'a dyn Disk,
    segment_entries: u64,
    ahead: u64,
}

impl Reader<'_> {
    /// An entry, `None` if it is in no file or nothing was written there.
    fn entry(
        &self,
        state: &mut QueueState,
        index: u64,
        dir: &dyn Fn() -> PathBuf,
    ) -> Result<Option<QueueEntry>, StoreError> {
        let held = (state.read.len() / ENTRY_BYTES) as u64;
        if index < state.read_from || index >= state.read_from + held {
            self.read(state, index, dir)?;
        }
        let at = (index - state.read_from) as usize * ENTRY_BYTES;
        Ok(state.read.get(at..at + ENTRY_BYTES).and_then(QueueEntry::decode))
    }

    fn read(&self, state: &mut QueueState, index: u64, dir: &dyn Fn() -> PathBuf) -> Result<(), StoreError> {
        state.read.clear();
        state.read_from = index;
        let first = index / self.segment_entries * self.segment_entries;
        if state.files.binary_search(&first).is_err() {
            return Ok(());
        }
        let path = segment::path_of(&dir(), first * ENTRY_BYTES as u64);
        let count = self.ahead.min(first + self.segment_entries - index) as usize;
        state.read.resize(count * ENTRY_BYTES, 0);
        let file = self.disk.open(&path).map_err(StoreError::io("open", &path))?;
        file.read_at(&mut state.read, (index - first) * ENTRY_BYTES as u64)
            .map_err(StoreError::io("read", &path))
    }
}
