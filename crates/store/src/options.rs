//! What shapes a store: sizes that are part of the file format, times of flushing, and limits.

use std::path::PathBuf;
use std::time::Duration;

/// When appended bytes become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// Every `interval`; messages are readable at once.
    Async {
        /// Longest time that accepted bytes stay unsynced (`flushIntervalCommitLog`).
        interval: Duration,
    },
    /// As soon as possible, many waiters at once; messages are readable when durable.
    Sync {
        /// How long a waiter waits (`syncFlushTimeout`).
        timeout: Duration,
    },
}

/// How much one answer of [`read`](crate::Store::read) may hold, besides what the reader asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes.
    pub bytes: u64,
    /// Messages.
    pub count: u32,
}

/// Options of a store. The sizes of segments and index files are not recorded on disk: they must be what the
/// store was written with (store.md §23).
#[derive(Debug, Clone)]
pub struct Options {
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// `storePathCommitLog`; empty means `commitlog` below the root.
    pub commit_log_dir: PathBuf,
    /// `mappedFileSizeCommitLog`.
    pub segment_bytes: u64,
    /// Entries per consume queue segment, `mappedFileSizeConsumeQueue` / 20.
    pub queue_segment_entries: u32,
    /// Entries per segment of a batch queue, `mapperFileSizeBatchConsumeQueue` / 46.
    pub batch_queue_segment_entries: u32,
    /// `enableConsumeQueueExt`: new queue entries get extensions.
    pub queue_ext_enabled: bool,
    /// `mappedFileSizeConsumeQueueExt`.
    pub queue_ext_segment_bytes: u64,
    /// `maxHashSlotNum`.
    pub index_slots: u32,
    /// `maxIndexNum`.
    pub index_entries: u32,
    /// `messageIndexEnable`.
    pub index_enabled: bool,
    /// Bytes of the log between two marks of the index: so much of it is read again at most for the index after a
    /// kill.
    pub index_mark_bytes: u64,
    /// How long a clean stop waits for the index to come to the end of the log. If it does not, the next start goes on
    /// where it stands.
    pub index_stop_wait: Duration,
    /// `flushDiskType` with its time.
    pub flush: FlushMode,
    /// Longest time that queue entries stay in memory only (`flushIntervalConsumeQueue`).
    pub queue_flush_interval: Duration,
    /// Between two syncs of the queue files (`flushConsumeQueueThoroughInterval`).
    pub queue_sync_interval: Duration,
    /// `checkCRCOnRecover`.
    pub check_crc_on_recover: bool,
    /// `enabledAppendPropCRC`: every record ends with a CRC over all of it, twenty bytes.
    pub append_prop_crc: bool,
    /// `forceVerifyPropCRC`: a record without that CRC, or with a wrong one, is damaged.
    pub force_verify_prop_crc: bool,
    /// `enableLmq` and `enableMultiDispatch`: messages are put into the light queues that they name.
    pub multi_dispatch: bool,
    /// `fileReservedTime`.
    pub file_reserved: Duration,
    /// Local hours at which old segments are deleted (`deleteWhen`).
    pub delete_when: Vec<u32>,
    /// Above this share of the disk old segments go at any hour (`diskMaxUsedSpaceRatio`).
    pub disk_max_used_percent: u32,
    /// Above this share segments go before their time (`diskSpaceCleanForciblyRatio`).
    pub disk_clean_forcibly_percent: u32,
    /// Above this share writing stops (`diskSpaceWarningLevelRatio`).
    pub disk_warning_percent: u32,
    /// `cleanFileForciblyEnable`.
    pub clean_forcibly: bool,
    /// Most segments deleted by one round (`deleteFileBatchMax`).
    pub delete_batch_max: u32,
    /// Between two looks for something to delete (`cleanResourceInterval`).
    pub clean_interval: Duration,
    /// Entries that one read examines at least, matching or not (`maxFilterMessageSize` / 20).
    pub examined_entries_min: u64,
    /// Delays of levels 1, 2, … (`messageDelayLevel`).
    pub delay_levels: Vec<Duration>,
    /// Log bytes counted from its end that are taken to be in memory: 40 % of the machine's by default in Java
    /// (`accessMessageInMemoryMaxRatio`). The caller knows the machine.
    pub in_memory_bytes: u64,
    /// Limit of an answer from memory (`maxTransfer…OnMessageInMemory`).
    pub transfer_in_memory: Transfer,
    /// Limit of an answer from disk (`maxTransfer…OnMessageInDisk`).
    pub transfer_on_disk: Transfer,
    /// Have the disk read more than a reader asks for, if it passes over the log.
    pub read_ahead: bool,
    /// Queue files kept open at most.
    pub open_queue_files_max: usize,
    /// Bytes of queue entries that may wait in memory for their files, 20 for each message; above this nothing is
    /// accepted.
    pub queue_tail_bytes_max: u64,
    /// From this many queues or topics on a start takes them from the table of queues; with fewer it looks into their
    /// files, and notices each one that is missing.
    pub queue_table_rows_min: usize,
    /// Bytes by which the log grows between two tables of queues.
    pub queue_table_bytes: u64,
    /// From this many queues on there is a journal of queue entries; with fewer a round that writes them ends soon.
    pub queue_journal_queues_min: usize,
    /// Bytes that the journal of queue entries may hold, 44 for each message since the last table; what comes while it
    /// is full a start after a kill reads from the log.
    pub queue_journal_bytes_max: u64,
    /// How timer messages are served (`timerWheelEnable`); `None` leaves those that wait alone.
    pub timer: Option<TimerOptions>,
    /// How topics are compacted that [`Store::compact_topic`](crate::Store::compact_topic) names (`enableCompaction`);
    /// `None` serves them as others.
    pub compaction: Option<CompactionOptions>,
}

/// The part of [`Options`] that may change while the store is open, see [`Store::adjust`](crate::Store::adjust).
/// What is in here is never read from the options that the store was opened with.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    /// With the times of today; the mode is that of the beginning.
    pub flush: FlushMode,
    pub queue_flush_interval: Duration,
    pub queue_sync_interval: Duration,
    pub file_reserved: Duration,
    pub delete_when: Vec<u32>,
    pub disk_max_used_percent: u32,
    pub disk_clean_forcibly_percent: u32,
    pub disk_warning_percent: u32,
    pub clean_forcibly: bool,
    pub delete_batch_max: u32,
    pub clean_interval: Duration,
    pub examined_entries_min: u64,
    pub in_memory_bytes: u64,
    pub transfer_in_memory: Transfer,
    pub transfer_on_disk: Transfer,
    pub read_ahead: bool,
}

impl From<&Options> for Live {
    fn from(options: &Options) -> Live {
        Live {
            flush: options.flush,
            queue_flush_interval: options.queue_flush_interval,
            queue_sync_interval: options.queue_sync_interval,
            file_reserved: options.file_reserved,
            delete_when: options.delete_when.clone(),
            disk_max_used_percent: options.disk_max_used_percent,
            disk_clean_forcibly_percent: options.disk_clean_forcibly_percent,
            disk_warning_percent: options.disk_warning_percent,
            clean_forcibly: options.clean_forcibly,
            delete_batch_max: options.delete_batch_max,
            clean_interval: options.clean_interval,
            examined_entries_min: options.examined_entries_min,
            in_memory_bytes: options.in_memory_bytes,
            transfer_in_memory: options.transfer_in_memory,
            transfer_on_disk: options.transfer_on_disk,
            read_ahead: options.read_ahead,
        }
    }
}

impl Options {
    /// Java's defaults below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Options {
        let root = root.into();
        Options { commit_log_dir: root.join("commitlog"), root, ..Options::default() }
    }

    /// The commit log's directory.
    pub(crate) fn log_dir(&self) -> PathBuf {
        if self.commit_log_dir.as_os_str().is_empty() {
            self.root.join("commitlog")
        } else {
            self.commit_log_dir.clone()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            root: PathBuf::from("store"),
            commit_log_dir: PathBuf::new(),
            segment_bytes: 1 << 30,
            queue_segment_entries: 300_000,
            batch_queue_segment_entries: 300_000,
            queue_ext_enabled: false,
            queue_ext_segment_bytes: 48 << 20,
            index_slots: 5_000_000,
            index_entries: 20_000_000,
            index_enabled: true,
            index_mark_bytes: 256 << 20,
            index_stop_wait: Duration::from_secs(10),
            flush: FlushMode::Async { interval: Duration::from_millis(500) },
            queue_flush_interval: Duration::from_secs(1),
            queue_sync_interval: Duration::from_secs(60),
            check_crc_on_recover: true,
            append_prop_crc: false,
            force_verify_prop_crc: false,
            multi_dispatch: false,
            file_reserved: Duration::from_secs(72 * 3600),
            delete_when: vec![4],
            disk_max_used_percent: 75,
            disk_clean_forcibly_percent: 85,
            disk_warning_percent: 90,
            clean_forcibly: true,
            delete_batch_max: 10,
            clean_interval: Duration::from_secs(10),
            examined_entries_min: 800,
            delay_levels: default_delay_levels(),
            in_memory_bytes: 4 << 30,
            transfer_in_memory: Transfer { bytes: 262_144, count: 32 },
            transfer_on_disk: Transfer { bytes: 65_536, count: 8 },
            read_ahead: true,
            open_queue_files_max: 512,
            queue_tail_bytes_max: 256 << 20,
            queue_table_rows_min: 1000,
            queue_table_bytes: 64 << 20,
            queue_journal_queues_min: 1000,
            queue_journal_bytes_max: 128 << 20,
            timer: Some(TimerOptions::default()),
            compaction: Some(CompactionOptions::default()),
        }
    }
}

/// `1s 5s 10s 30s 1m … 10m 20m 30m 1h 2h` (store.md §14).
fn default_delay_levels() -> Vec<Duration> {
    let seconds = [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
    seconds.map(Duration::from_secs).to_vec()
}

/// What shapes the timer; the sizes are not recorded on disk (store.md §23).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerOptions {
    /// Milliseconds of a slot (`timerPrecisionMs`).
    pub precision_ms: u32,
    /// Slots that the wheel turns through: seven days of seconds in Java, whatever the precision.
    pub slots: u32,
    /// A message due later than this many slots from now is put back into the timer topic on the way
    /// (`timerRollWindowSlot`).
    pub roll_window_slots: u32,
    /// Bytes of one file of the timer log (`mappedFileSizeTimerLog`).
    pub log_file_bytes: u64,
    /// Between two checkpoints while something changes (`timerFlushIntervalMs`).
    pub flush_interval: Duration,
}

impl Default for TimerOptions {
    fn default() -> Self {
        TimerOptions {
            precision_ms: 1000,
            slots: 7 * 86_400,
            roll_window_slots: 172_800,
            log_file_bytes: 100 << 20,
            flush_interval: Duration::from_secs(1),
        }
    }
}

/// What shapes the compaction of topics; the sizes are not recorded on disk (store.md §23).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionOptions {
    /// Bytes of one file of records (`compactionMappedFileSize`); rounded to a multiple of the other, five of them at
    /// least.
    pub log_file_bytes: u64,
    /// Bytes of one file of entries (`compactionCqMappedFileSize`), rounded down to whole entries of 46.
    pub units_file_bytes: u64,
    /// Between two compactions of a queue (`compactionScheduleInternal`).
    pub interval: Duration,
    /// Bytes of keys in memory while one queue is compacted (`maxOffsetMapSize`).
    pub map_bytes_max: u64,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        CompactionOptions {
            log_file_bytes: 100 << 20,
            units_file_bytes: 10 << 20,
            interval: Duration::from_secs(15 * 60),
            map_bytes_max: 100 << 20,
        }
    }
}
