//! What is in a store, without reading all of it.

use std::path::PathBuf;

use super::compaction_check::CompactedView;
use super::config_check::{ConfigState, is_json};
use super::finding::Findings;
use super::log_files::LogFiles;
use super::store_files::StoreFiles;
use super::verify::{Progress, TOLD_BYTES};
use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::commit_log::{Look, Window, look_in};
use crate::config_file;
use crate::disk;
use crate::error::StoreError;
use crate::index_file::{IndexFile, Shape};
use crate::segment::Segment;

/// A store at a glance.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// Content of the `abort` file; `None` if the store was stopped cleanly.
    pub abort: Option<String>,
    /// Files of the commit log.
    pub segments: Vec<SegmentView>,
    /// Consume queues by topic and number.
    pub queues: Vec<QueueView>,
    /// Compaction logs by topic and number.
    pub compacted: Vec<CompactedView>,
    /// Files of the key index.
    pub index: Vec<IndexView>,
    /// The checkpoint; `None` if there is no file.
    pub checkpoint: Option<Checkpoint>,
    /// Files below `config/`.
    pub config: Vec<ConfigView>,
    /// What does not look as it should.
    pub findings: Findings,
}

/// One file of the commit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentView {
    /// Physical offset of its first byte.
    pub base: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Bytes of records, `None` if its records were not counted.
    pub used: Option<u64>,
    /// Records, `None` if they were not counted.
    pub records: Option<u64>,
    /// Store time of the first record, Unix milliseconds.
    pub first_time: Option<i64>,
    /// Store time of the last record, if the records were counted.
    pub last_time: Option<i64>,
}

/// One consume queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub id: u32,
    /// Offset of the first message that is still in the log.
    pub min: u64,
    /// Offset behind the last message.
    pub max: u64,
    /// Files.
    pub files: usize,
    /// Files of extensions.
    pub ext_files: usize,
}

/// One file of the key index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexView {
    /// The file.
    pub path: PathBuf,
    /// `None` if its length is not that of an index file of this store.
    pub header: Option<IndexHeader>,
}

/// What an index file says of itself, with Java's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexHeader {
    /// Store time of the first record, Unix milliseconds.
    pub begin_timestamp: i64,
    /// Store time of the last record, Unix milliseconds.
    pub end_timestamp: i64,
    /// Offset of the first record.
    pub begin_phy_offset: i64,
    /// Offset of the last record.
    pub end_phy_offset: i64,
    /// Slots in use.
    pub hash_slot_count: i32,
    /// One more than there are entries.
    pub index_count: i32,
}

/// One file below `config/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigView {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Whether it can be read; `None` if it is none of the JSON files.
    pub state: Option<&'static str>,
}

impl StoreFiles {
    /// What is in the store. With `count` the records of all segments are counted, which reads them; without it only
    /// those of the last one. `progress` is told how much of them was read.
    pub fn overview(&self, count: bool, progress: &mut dyn FnMut(Progress)) -> Result<Overview, StoreError> {
        let root = &self.options.root;
        let mut overview = Overview::default();
        let abort = root.join("abort");
        let text = disk::read_all(&*self.disk, &abort).map_err(StoreError::io("read", &abort))?;
        overview.abort = text.map(|text| String::from_utf8_lossy(&text).into_owned());
        let checkpoint = root.join("checkpoint");
        let read = CheckpointFile::read(&*self.disk, root).map_err(StoreError::io("read", &checkpoint))?;
        overview.checkpoint = read.map(|(content, _)| content);
        let log = LogFiles::load(&*self.disk, &self.options, &mut overview.findings)?;
        let is_counted = |segment: &Segment| count || segment.until() == log.files_end();
        let counted = log.segments.iter().filter(|segment| is_counted(segment));
        let (mut done, total) = (0, counted.map(|segment| segment.size).sum());
        for segment in &log.segments {
            let error = StoreError::io("read", &segment.path);
            let is_counted = is_counted(segment);
            let told = &mut |read| progress(Progress { done: done + read, total });
            overview.segments.push(view_segment(segment, is_counted, told).map_err(error)?);
            done += if is_counted { segment.size } else { 0 };
        }
        progress(Progress { done, total });
        overview.queues = self.view_queues()?;
        overview.compacted = self.view_compacted()?;
        overview.index = self.view_index()?;
        overview.config = self.view_config()?;
        Ok(overview)
    }

    fn view_queues(&self) -> Result<Vec<QueueView>, StoreError> {
        let queues = self.queues()?;
        queues.load(u64::MAX)?;
        let mut views = Vec::new();
        for queue in queues.topics().iter().flat_map(|topic| queues.of_topic(topic)) {
            let count = |dir: PathBuf| {
                let files = self.disk.list(&dir).map_err(StoreError::io("list", &dir))?;
                Ok::<_, StoreError>(files.len())
            };
            let files = count(queues.files.dir_of(&queue))?;
            let ext_files = count(queues.files.ext.dir_of(queue.topic(), queue.id()))?;
            views.push(QueueView {
                topic: queue.topic().to_string(),
                id: queue.id(),
                min: queue.min_offset(),
                max: queue.max_offset(),
                files,
                ext_files,
            });
        }
        Ok(views)
    }

    fn view_index(&self) -> Result<Vec<IndexView>, StoreError> {
        let dir = self.index_dir();
        let shape = Shape::of(&self.options);
        let mut views = Vec::new();
        for entry in self.disk.list(&dir).map_err(StoreError::io("list", &dir))? {
            let path = dir.join(&entry.name);
            let mut header = None;
            if entry.len == shape.bytes() {
                let file = IndexFile::open(&*self.disk, path.clone(), shape)
                    .map_err(StoreError::io("open", &path))?;
                header = Some(IndexHeader {
                    begin_timestamp: file.header.begin_timestamp,
                    end_timestamp: file.header.end_timestamp,
                    begin_phy_offset: file.header.begin_offset,
                    end_phy_offset: file.header.end_offset,
                    hash_slot_count: file.header.slots_used,
                    index_count: file.header.count,
                });
            }
            views.push(IndexView { path, header });
        }
        Ok(views)
    }

    fn view_config(&self) -> Result<Vec<ConfigView>, StoreError> {
        let dir = self.options.root.join("config");
        let mut views = Vec::new();
        for entry in self.disk.list(&dir).map_err(StoreError::io("list", &dir))? {
            if entry.is_dir {
                continue;
            }
            let path = dir.join(&entry.name);
            let mut state = None;
            if is_json(&entry.name) {
                let text = config_file::read(&*self.disk, &path).map_err(StoreError::io("read", &path))?;
                state = Some(ConfigState::of(text.as_ref()).says());
            }
            views.push(ConfigView { name: entry.name, bytes: entry.len, state });
        }
        Ok(views)
    }
}

fn view_segment(
    segment: &Segment,
    count: bool,
    progress: &mut dyn FnMut(u64),
) -> std::io::Result<SegmentView> {
    let mut window = Window::new(u64::MAX);
    let (mut at, mut records, mut told) = (segment.base, 0, segment.base);
    let (mut first_time, mut last_time) = (None, None);
    while at < segment.until()
        && let Look::Record(record) = look_in(segment, at, &mut window)?
    {
        first_time.get_or_insert(record.store_timestamp);
        if !count {
            break;
        }
        last_time = Some(record.store_timestamp);
        records += 1;
        at += record.bytes.len() as u64;
        if at >= told + TOLD_BYTES {
            told = at;
            progress(told - segment.base);
        }
    }
    Ok(SegmentView {
        base: segment.base,
        bytes: segment.size,
        used: count.then_some(at - segment.base),
        records: count.then_some(records),
        first_time,
        last_time,
    })
}
