//! The store as a whole: what it is made of, how it opens, works and stops.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::appender::Appender;
use crate::base::Base;
use crate::clock::Clock;
use crate::commit_log::CommitLog;
use crate::compaction::Compaction;
use crate::disk::{self, Disk, Lock};
use crate::error::{AppendError, StoreError};
use crate::expiry::Expiry;
use crate::flush::{Flush, Unseen};
use crate::foreign;
use crate::index::Index;
use crate::index_keys::Keys;
use crate::kept_for::KeptFor;
use crate::options::{FlushMode, Live, Options};
use crate::queue::Queue;
use crate::queue_ext::Bitmaps;
use crate::queue_journal::Journal;
use crate::queue_kind;
use crate::queue_writer::QueueWriter;
use crate::queues::Queues;
use crate::recovery;
use crate::seldom::Seldom;
use crate::signal::Signal;
use crate::timer::Timer;
use crate::watch::Told;
use crate::zeros::Zeros;

/// New messages that can be read in a queue.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Where they are.
    pub queue: &'a Arc<Queue>,
    /// Who wanted to hear of it.
    pub told: Told,
}

/// Called when new messages of a watched queue can be read; must not block.
pub type OnArrival = Arc<dyn Fn(&Arrival<'_>) + Send + Sync>;

/// Called with the name of a topic whose queues were deleted; must neither block nor delete another.
pub type OnDeletion = Box<dyn Fn(&str) + Send + Sync>;

/// An open store.
pub struct Store {
    pub(crate) base: Base,
    pub(crate) on_arrival: OnArrival,
    pub(crate) on_deletion: OnceLock<OnDeletion>,
    /// Records before this were on the disk when the store was opened.
    pub(crate) opened_end: u64,
    pub(crate) appender: Mutex<Appender>,
    pub(crate) queues: Queues,
    pub(crate) queue_writer: Mutex<QueueWriter>,
    pub(crate) journal: Journal,
    pub(crate) unseen: Mutex<Unseen>,
    pub(crate) flush: Flush,
    pub(crate) index: Option<Index>,
    /// A query found that the index cannot go on.
    pub(crate) index_stuck: Seldom,
    pub(crate) bitmaps: OnceLock<Arc<dyn Bitmaps>>,
    /// The store had been stopped cleanly before it was opened.
    stopped_cleanly: bool,
    pub(crate) timer: Option<Timer>,
    pub(crate) compaction: Compaction,
    /// Rounds of the cleaner in which segments go regardless of the hour.
    pub(crate) manual_rounds: AtomicU32,
    /// Held by the round of the cleaner that runs, which waits for the disk.
    pub(crate) cleaning: Mutex<()>,
    /// What keeps segments from being deleted.
    pub(crate) kept_for: KeptFor,
    /// Topics that keep their messages for a shorter time than the log.
    pub(crate) expiry: Expiry,
    /// Raised when the next segment should be made.
    pub(crate) allocate: Signal,
    pub(crate) zeros: Zeros,
    /// Lets the thread that deletes old segments look at once.
    pub(crate) cleaner: Signal,
    /// The disk is over its warning level; cleared by the cleaner.
    pub(crate) disk_full: Mutex<Option<(PathBuf, String)>>,
    pub(crate) disk_is_full: AtomicBool,
    stopped: AtomicBool,
    workers: Mutex<Vec<JoinHandle<()>>>,
    _lock: Box<dyn Lock>,
}

impl Store {
    /// Locks, loads and recovers the store below `options.root`, creating what is missing.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: Options,
        on_arrival: OnArrival,
    ) -> Result<Arc<Store>, StoreError> {
        let root = options.root.clone();
        disk::create_dirs(&*disk, &root).map_err(StoreError::io("create", &root))?;
        let lock = foreign::claim(&*disk, &root)?;
        let log_dir = options.log_dir();
        disk::create_dirs(&*disk, &log_dir).map_err(StoreError::io("create", &log_dir))?;
        let log_min = Arc::new(AtomicU64::new(0));
        let (log, leftovers) =
            CommitLog::load(disk.clone(), log_dir, options.segment_bytes, log_min.clone())?;
        let queues = Queues::of_store(&disk, &options, log_min, options.queue_ext_enabled)?;
        queues.learn_kinds(queue_kind::topics_on_disk(&*disk, &root))?;
        let mut recovered = recovery::recover(&*disk, &*clock, &options, &log, &queues, leftovers)?;
        log.expect_streams(options.read_ahead);
        let index = Index::open(&*disk, &options, &mut recovered.checkpoint, recovered.clean, log.end())?;
        let timer = match &options.timer {
            Some(timer) => Some(Timer::open(&disk, &root, timer, clock.now_millis(), &queues, &log)?),
            None => None,
        };
        let compaction = Compaction::open(&*disk, &options, recovered.clean);
        let keys = index.as_ref().map_or_else(Keys::default, |_| Keys::with_room());
        let appender =
            Appender::new(log.end(), recovered.last_timestamp, recovered.entries, recovered.fresh, keys);
        let opened_end = log.end();
        let checkpoint = recovered.checkpoint;
        let store = Arc::new(Store {
            opened_end,
            base: Base::new(disk, clock, options, log, checkpoint, recovered.flushed),
            appender: Mutex::new(appender),
            queues,
            queue_writer: Mutex::new(QueueWriter::new(recovered.table)),
            journal: Journal::new(recovered.journal),
            unseen: Mutex::default(),
            flush: Flush::default(),
            index,
            index_stuck: Seldom::default(),
            bitmaps: OnceLock::new(),
            stopped_cleanly: recovered.clean,
            timer,
            compaction,
            manual_rounds: AtomicU32::new(0),
            cleaning: Mutex::default(),
            kept_for: KeptFor::default(),
            expiry: Expiry::default(),
            allocate: Signal::default(),
            zeros: Zeros::default(),
            cleaner: Signal::default(),
            disk_full: Mutex::new(None),
            disk_is_full: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            workers: Mutex::default(),
            _lock: lock,
            on_arrival,
            on_deletion: OnceLock::new(),
        });
        store.settle(recovered.settle)?;
        Ok(store)
    }

    /// Makes durable what recovery has left: all of it if it `must_be`, else what readers wait for. The rest is the
    /// workers' when they start.
    fn settle(&self, must_be: bool) -> Result<(), StoreError> {
        // In synchronous mode readers see what recovery found only once it is durable; otherwise it can wait.
        if self.is_sync() || must_be {
            self.flush_step()?;
        }
        if must_be {
            match self.queue_step(true) {
                // They stay in memory, and the checkpoint where it is, until the cleaner has made room.
                Err(error) if error.is_full() => {
                    tracing::warn!(%error, "what recovery found is not in the files of queues yet");
                }
                written => written?,
            }
        }
        if self.stopped_cleanly {
            // Everything is durable, so it also counts in this run of the machine.
            self.base.move_checkpoint(false, |_, _| {})?;
        }
        self.timer_flush_step()?;
        if self.flushed_until() < self.log_end() {
            self.flush.dirty.raise();
        }
        // What recovery found in the log is to be found faster the next time.
        self.journal.signal.raise();
        Ok(())
    }

    /// Starts the threads that flush, write queues and index, make segments and delete old ones. Each sleeps until
    /// there is something to do.
    pub fn start_workers(self: &Arc<Self>) {
        type Work = fn(&Store);
        let mut work: Vec<(&str, Work)> = vec![
            ("store-flush", Store::flush_loop),
            ("store-queues", Store::queue_loop),
            ("store-journal", Store::journal_loop),
            ("store-segments", Store::allocate_loop),
            ("store-cleaner", Store::clean_loop),
        ];
        if self.is_sync() {
            work.push(("store-deadlines", Store::deadline_loop));
            work.push(("store-zeros", Store::zero_loop));
        }
        if self.index.is_some() {
            work.push(("store-index", Store::index_loop));
        }
        if self.timer.is_some() {
            work.push(("store-timer", Store::timer_loop));
            work.push(("store-timer-disk", Store::timer_flush_loop));
        }
        if self.base.options.compaction.is_some() {
            work.push(("store-compact", Store::compaction_loop));
        }
        let mut workers = self.workers.lock();
        for (name, run) in work {
            let store = self.clone();
            let work = move || {
                if catch_unwind(AssertUnwindSafe(|| run(&store))).is_err() {
                    store.worker_panicked(name);
                }
            };
            let spawned = std::thread::Builder::new().name(name.into()).spawn(work);
            match spawned {
                Ok(worker) => workers.push(worker),
                Err(error) => self.base.set_fault(format!("cannot start thread {name}: {error}")),
            }
        }
    }

    /// What the worker was for is done by nobody from now on, so nothing more is promised.
    fn worker_panicked(&self, name: &str) {
        tracing::error!(worker = name, "a thread of the store panicked; the store is read-only now");
        self.base.set_fault(format!("its thread {name} panicked"));
        self.flush.answer(&self.base);
    }

    /// Stops cleanly: everything accepted is flushed, dispatched and checkpointed. Appends are refused from now on.
    pub fn stop(&self) -> Result<(), StoreError> {
        {
            // Whoever holds the lock finishes; nobody comes after.
            let _appender = self.appender.lock();
            if self.stopped.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
        }
        self.stop_workers();
        if let Some(cause) = self.fault() {
            self.flush.answer(&self.base);
            return Err(StoreError::ReadOnly { cause });
        }
        if let Err(error) = self.appender.lock().clear_rests(&self.base, &self.zeros) {
            return Err(StoreError::ReadOnly { cause: error.to_string() });
        }
        self.flush_step()?;
        self.queue_step(true)?;
        self.queues.files.finish_deletions()?;
        self.compaction_stop()?;
        if let Some(index) = &self.index {
            index.stop(&self.base)?;
        }
        self.save_table();
        self.journal.stop(&*self.base.disk);
        self.timer_stop()?;
        self.base.log.drop_ready().map_err(StoreError::io("tidy", &self.base.log.dir))?;
        self.base.disk.sync_dir(&self.base.log.dir).map_err(StoreError::io("sync", &self.base.log.dir))?;
        let abort = self.base.options.root.join("abort");
        self.base.disk.remove(&abort).map_err(StoreError::io("remove", &abort))?;
        self.base
            .disk
            .sync_dir(&self.base.options.root)
            .map_err(StoreError::io("sync", &self.base.options.root))
    }

    fn stop_workers(&self) {
        let files = &self.queues.files;
        for signal in [
            &self.flush.dirty,
            &self.flush.deadlines,
            &files.signal,
            &files.urgent,
            &self.journal.signal,
            &self.allocate,
            &self.cleaner,
            &self.zeros.wanted,
            &self.compaction.signal,
        ] {
            signal.stop();
        }
        if let Some(index) = &self.index {
            index.signal.stop();
        }
        if let Some(timer) = &self.timer {
            timer.signal.stop();
            timer.flush_signal.stop();
        }
        for worker in self.workers.lock().drain(..) {
            if worker.join().is_err() {
                self.base.set_fault("a worker of the store panicked".into());
            }
        }
    }

    /// From now on the extensions of queue entries, if there are any, get bitmaps. Only the first call counts.
    pub fn set_bitmaps(&self, bitmaps: Arc<dyn Bitmaps>) {
        let _ = self.bitmaps.set(bitmaps);
    }

    /// Whether the store had been stopped cleanly before it was opened.
    pub fn was_stopped_cleanly(&self) -> bool {
        self.stopped_cleanly
    }

    /// Store time of the last record, Unix milliseconds: that of the next one is not less.
    pub fn last_timestamp(&self) -> i64 {
        self.appender.lock().last_timestamp
    }

    /// Whether answers wait for the disk.
    pub fn is_sync(&self) -> bool {
        self.base.is_sync()
    }

    /// The options it was opened with. Those that [`Store::adjust`] changes have other values by now.
    pub fn options(&self) -> &Options {
        &self.base.options
    }

    /// Takes over the options for retention and reading and the times of flushing from `options`; those that shape
    /// files or threads, the flush mode among them, stay as they were when the store was opened.
    pub fn adjust(&self, options: &Options) {
        let mut live = Live::from(options);
        if matches!(live.flush, FlushMode::Sync { .. }) != self.is_sync() {
            live.flush = self.base.live.load().flush;
        }
        let streams = live.read_ahead;
        let before = self.base.live.swap(Arc::new(live));
        if before.read_ahead != streams {
            self.base.log.expect_streams(streams);
        }
        self.cleaner.raise();
    }

    /// Whether a record is among those that are taken to be in memory, by its distance from the end of the log.
    pub fn is_in_memory(&self, physical_offset: u64) -> bool {
        self.log_end().saturating_sub(physical_offset) <= self.base.live.load().in_memory_bytes
    }

    /// The log is durable up to here.
    pub fn flushed_until(&self) -> u64 {
        self.base.flushed_until()
    }

    /// First offset of the log.
    pub fn log_min(&self) -> u64 {
        self.base.log.min()
    }

    /// Offset behind the last record.
    pub fn log_end(&self) -> u64 {
        self.base.log.end()
    }

    /// The queue of a topic, made if there is none: that costs no file until its first message. The topic's name must
    /// have been checked; it becomes a directory.
    pub fn queue(&self, topic: &str, id: u32) -> Arc<Queue> {
        self.queues.get(topic, id)
    }

    /// The queue of a topic if there is one.
    pub fn find_queue(&self, topic: &str, id: u32) -> Option<Arc<Queue>> {
        self.queues.find(topic, id)
    }

    /// All queues of a topic, by number.
    pub fn queues_of(&self, topic: &str) -> Vec<Arc<Queue>> {
        self.queues.of_topic(topic)
    }

    /// How many light queues there are.
    pub fn light_queue_count(&self) -> usize {
        self.queues.light_count()
    }

    /// All topics that have queues, sorted.
    pub fn topics(&self) -> Vec<Arc<str>> {
        self.queues.topics()
    }

    /// Whether there is a queue of this topic.
    pub fn has_topic(&self, topic: &str) -> bool {
        self.queues.has_topic(topic)
    }

    /// Refuses when the store is stopped, read-only or out of space.
    pub(crate) fn check_writable(&self) -> Result<(), AppendError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(AppendError::Stopped);
        }
        if self.base.is_read_only() {
            return Err(AppendError::ReadOnly { cause: self.fault().unwrap_or_default() });
        }
        if self.disk_is_full.load(Ordering::Acquire)
            && let Some((path, detail)) = self.disk_full.lock().clone()
        {
            return Err(AppendError::DiskFull { path, detail });
        }
        let waiting = self.queues.files.waiting_bytes();
        if waiting > self.base.options.queue_tail_bytes_max {
            return Err(self.queues_behind(waiting));
        }
        Ok(())
    }

    /// Queue entries wait in memory for files that cannot be written, or not fast enough. The log could go on, but a
    /// log whose queues nobody has room for is read by nobody.
    fn queues_behind(&self, waiting: u64) -> AppendError {
        let cause = self.queues.files.failure();
        let cause = cause.unwrap_or_else(|| "the disk does not keep up".to_owned());
        AppendError::QueuesBehind { path: self.base.options.root.clone(), waiting, cause }
    }

    /// Whether an append would be accepted now.
    pub fn is_writable(&self) -> bool {
        self.check_writable().is_ok()
    }

    /// Why the store is read-only, if it is.
    pub fn fault(&self) -> Option<String> {
        self.base.fault()
    }
}
