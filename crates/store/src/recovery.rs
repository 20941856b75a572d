//! Opening a store: where the log ends, and what the queues lack of it.
//!
//! Recovery reads the log from a position of the checkpoint and dispatches every record again; what the queue files
//! hold of later records is not trusted and written anew. Nothing of the log is touched before the whole picture is
//! known, and valid records are never cut off silently (store.md §24 T5): if damage is not explained by a crash, the
//! store does not open. Doing it twice changes nothing.

mod scan;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wire::names;
use wire::record;

use self::scan::{PUSHED_BETWEEN_WRITES, Scan};
use crate::checkpoint::{Checkpoint, CheckpointFile, Mark, NO_RUN};
use crate::clock::Clock;
use crate::commit_log::{CommitLog, Look, Walk};
use crate::disk::{self, Disk};
use crate::error::StoreError;
use crate::options::Options;
use crate::progress::Progress;
use crate::queue::Queue;
use crate::queue_entry::ENTRY_BYTES;
use crate::queue_journal::{Fresh, Pieces, Upto};
use crate::queue_kind::QueueKind;
use crate::queue_table::{self, Moment, Row, Table};
use crate::queues::{Loaded, Queues};
use crate::segment;

/// What recovery hands to the store.
pub(crate) struct Recovered {
    pub checkpoint: CheckpointFile,
    /// The log is known to be durable up to here.
    pub flushed: u64,
    pub last_timestamp: i64,
    /// Queue entries of the whole log.
    pub entries: u64,
    /// What recovery wrote must become durable, with a new checkpoint, before the store is used.
    pub settle: bool,
    /// The store had been stopped cleanly.
    pub clean: bool,
    /// What the table of queues that is there was written for.
    pub table: Option<Moment>,
    /// The journal of queue entries.
    pub journal: Pieces,
    /// Entries that recovery has found in the log and that are not in the journal yet.
    pub fresh: Fresh,
}

/// Where to begin, and what is known about it.
struct Start {
    position: u64,
    /// Queue entries that the records before `position` made, if known.
    entries: Option<u64>,
    /// The log was durable up to here, if known.
    promised: Option<u64>,
    /// The machine has not restarted since: everything that was written is there.
    same_run: bool,
    /// Records from here on are written again. Within one run of the machine they may be there to read and still never
    /// come to the disk: if a sync failed, the kernel takes its pages to be clean.
    write_again_from: u64,
    /// The store had been stopped by this program, cleanly.
    ours_clean: bool,
}

impl Start {
    /// Whether the queues may be taken from a table that was written for this moment.
    fn accepts(&self, table: Moment, log: &CommitLog) -> bool {
        let Mark { position, entries } = table.mark;
        let files_end = log.segments().last().map_or(0, |last| last.until());
        let is_of_this_log = if self.ours_clean {
            (position, Some(entries)) == (self.position, self.entries)
        } else {
            self.same_run && position <= files_end
        };
        is_of_this_log && table.log_min == log.min() && position >= table.log_min
    }

    /// The journal of queues tells more than the checkpoint.
    fn go_on_from(&mut self, upto: Upto) {
        self.position = upto.position;
        self.promised = self.promised.max(Some(upto.flushed));
        if self.write_again_from != u64::MAX {
            self.write_again_from = self.write_again_from.max(upto.flushed);
        }
    }
}

/// Recovers log and queues. `leftovers` are files of segments that were never completed.
pub(crate) fn recover(
    disk: &dyn Disk,
    clock: &dyn Clock,
    options: &Options,
    log: &CommitLog,
    queues: &Queues,
    leftovers: Vec<PathBuf>,
) -> Result<Recovered, StoreError> {
    let root = &options.root;
    let (abort, began) = (root.join("abort"), clock.monotonic());
    let clean = disk.stat(&abort).map_err(StoreError::io("look at", &abort))?.is_none();
    let (checkpoint, _) =
        CheckpointFile::open(disk, root).map_err(StoreError::io("open", &root.join("checkpoint")))?;
    let recovery = Recovery { disk, clock, options, log, queues, clean };
    let mut start = choose_start(disk, log, &checkpoint.content, clean)?;
    let mut journal = recovery.journal(&start)?;
    if clean {
        mark_running(disk, &abort)?;
    }
    let mut loading = recovery.load_queues(&mut start)?;
    let mut scan = recovery.scan(&start, &checkpoint.content, &loading, journal.room());
    let from_journal = recovery.take_from_journal(&mut scan, &mut journal, &mut start, &loading)?;
    let end = recovery.read_log(&mut scan, &mut journal, &start, &loading)?;
    recovery.load_strays(&mut scan, &mut loading, end)?;
    if loading.incomplete || !scan.damaged.is_empty() {
        recovery.rebuild(&mut scan, &mut journal, end, &loading)?;
        loading.table = None;
    }
    let was_longer = checkpoint.content.own.is_some_and(|own| end < own.written.position);
    let lost = cut_log(disk, log, &start, end, &leftovers)? || was_longer;
    write_again(log, start.write_again_from, end)?;
    recovery.trim_queues(&start, loading.with_more, lost)?;
    if !start.ours_clean {
        settle_extensions(queues)?;
        // Also what the killed process wrote and did not sync is ours to sync now.
        queues.files.note_all();
    }
    recovery.tell_of_unread_timers();
    log.begin_at(end);
    if !clean {
        tracing::info!(
            queues = queues.count(),
            from_table = loading.from_table,
            from_journal,
            records = scan.progress.records,
            read_mib = end.saturating_sub(start.position) >> 20,
            millis = (clock.monotonic() - began).as_millis() as u64,
            "recovered from an unclean stop"
        );
    }
    let flushed = if start.ours_clean { end } else { start.promised.unwrap_or(log.min()).min(end) };
    Ok(Recovered {
        checkpoint,
        flushed,
        last_timestamp: scan.last_timestamp,
        entries: queues.entries(),
        settle: !start.ours_clean && !start.same_run,
        clean,
        table: loading.table,
        journal,
        fresh: scan.fresh,
    })
}

/// The queues as they are when the scan begins, and what is known about them.
struct Loading {
    /// Files hold something behind the entries that count.
    with_more: Vec<Arc<Queue>>,
    /// Files do not form a queue.
    damaged: Vec<Arc<Queue>>,
    /// Directories of topics that were not looked into.
    unknown: Vec<String>,
    /// Files that should be there are not.
    incomplete: bool,
    /// Nobody looked into their files.
    from_table: bool,
    /// What the table of queues that is there was written for.
    table: Option<Moment>,
}

/// What recovery works on.
struct Recovery<'a> {
    disk: &'a dyn Disk,
    clock: &'a dyn Clock,
    options: &'a Options,
    log: &'a CommitLog,
    queues: &'a Queues,
    /// The store had been stopped cleanly, by this program or by Java's broker.
    clean: bool,
}

impl<'a> Recovery<'a> {
    /// The journal of queues; one that says nothing about this start is begun anew.
    fn journal(&self, start: &Start) -> Result<Pieces, StoreError> {
        let Options { root, queue_journal_bytes_max, .. } = self.options;
        let mut journal = Pieces::load(self.disk, root, *queue_journal_bytes_max)
            .map_err(StoreError::io("list the journal of queues in", root))?;
        if self.clean || !start.same_run {
            self.begin_journal(&mut journal, start.position)?;
        }
        Ok(journal)
    }

    /// Forgets what the journal of queues holds; what comes from `at` on may go there.
    fn begin_journal(&self, journal: &mut Pieces, at: u64) -> Result<(), StoreError> {
        let error = StoreError::io("remove the journal of queues in", &self.options.root);
        journal.begin_at(self.disk, at).map_err(error)
    }

    /// The queues as their table gives them, or as their files say. In the first case the log is read from the table's
    /// position on; in the second a table is left for the next start, unless there is a good one.
    fn load_queues(&self, start: &mut Start) -> Result<Loading, StoreError> {
        let Recovery { disk, options, log, queues, .. } = *self;
        let dirs = queues.topic_dirs(QueueKind::Simple)?;
        // Entries of later records than the table's may be durable, and with them the addresses of their extensions. If
        // they were dispatched again, others would come to stand there, and a power cut could bring the old entries
        // back.
        let counts = start.ours_clean || !queues.files.ext.are_present();
        let enough =
            |table: &Table| counts && table.rows.len().max(dirs.len()) >= options.queue_table_rows_min;
        let table = Table::load(disk, &options.root).filter(|table| start.accepts(table.moment, log));
        let mut moment = table.as_ref().map(|table| table.moment);
        if let Some(table) = table.filter(enough)
            && let Some(unknown) = table.unknown(dirs.clone())
        {
            let Mark { position, entries } = table.moment.mark;
            let batch = queues.topic_dirs(QueueKind::Batch)?;
            let Loaded { with_more, damaged } = queues.load_topics(QueueKind::Batch, batch, position)?;
            if queues.entries().wrapping_add(table.entries()) == entries {
                start.position = position;
                queues.fill(table.rows);
                let (incomplete, from_table) = (false, true);
                return Ok(Loading { with_more, damaged, unknown, incomplete, from_table, table: moment });
            }
            tracing::warn!("the table of queues does not add up; looking into their files");
            moment = None;
        }
        let Loaded { with_more, damaged } = queues.load(start.position)?;
        let incomplete = queues_are_incomplete(queues, start, log);
        let sound = damaged.is_empty() && !incomplete;
        let table = if sound && moment.is_some() { moment } else { self.replace_table(start, sound)? };
        Ok(Loading { with_more, damaged, unknown: Vec::new(), incomplete, from_table: false, table })
    }

    /// Removes the table of queues, which does not fit.
    fn remove_table(&self) -> Result<(), StoreError> {
        let root = &self.options.root;
        queue_table::remove(self.disk, root).map_err(StoreError::io("remove the table of queues in", root))
    }

    /// Removes the table of queues, and writes one for where the scan begins if that `is_known`.
    fn replace_table(&self, start: &Start, is_known: bool) -> Result<Option<Moment>, StoreError> {
        self.remove_table()?;
        if !is_known {
            return Ok(None);
        }
        let mark = Mark { position: start.position, entries: self.queues.entries() };
        let moment = Moment { mark, log_min: self.log.min() };
        let rows = self.queues.all().iter().filter_map(|queue| Row::of(queue, start.position)).collect();
        Ok(match (Table { moment, rows }).save(self.disk, &self.options.root, false) {
            Ok(()) => Some(moment),
            Err(error) => {
                tracing::warn!(%error, "cannot write the table of queues");
                None
            }
        })
    }

    /// A scan that has read nothing yet. Entries that it finds go to the journal by way of `fresh`.
    fn scan(&self, start: &Start, checkpoint: &Checkpoint, loading: &Loading, fresh: Fresh) -> Scan<'a> {
        let Recovery { clock, options, log, queues, .. } = *self;
        Scan {
            log,
            queues,
            levels: &options.delay_levels,
            check_crc: options.check_crc_on_recover,
            force_prop_crc: options.force_verify_prop_crc,
            strict_from: if self.clean { u64::MAX } else { start.promised.unwrap_or(0) },
            same_run: start.same_run,
            flushed_before: match checkpoint.own {
                Some(_) => i64::MIN,
                None => checkpoint.physic_timestamp.saturating_sub(JAVA_CLOCK_MS),
            },
            begins_at_min: start.position == log.min(),
            damaged: loading.damaged.iter().map(|queue| queue.serial).collect(),
            was_stopped: self.clean,
            // Without our own fields nothing vouches for Java's; the scan begins before the newest record then.
            last_timestamp: checkpoint.own.map_or(0, |_| checkpoint.physic_timestamp),
            progress: Progress::new(clock, start.position, log),
            pushed: 0,
            pushed_max: PUSHED_BETWEEN_WRITES.min(options.queue_tail_bytes_max / 2 / ENTRY_BYTES as u64),
            fresh,
            upto: Upto { position: start.position, timestamp: 0, flushed: start.promised.unwrap_or(0) },
        }
    }

    /// Takes the entries that the journal has, if it goes on from the queues that were loaded; tells how many those
    /// were. The log is read from behind them then.
    fn take_from_journal(
        &self,
        scan: &mut Scan<'_>,
        journal: &mut Pieces,
        start: &mut Start,
        loading: &Loading,
    ) -> Result<u64, StoreError> {
        if loading.incomplete || !loading.damaged.is_empty() {
            self.begin_journal(journal, start.position)?;
            return Ok(0);
        }
        if self.clean || !start.same_run {
            return Ok(0);
        }
        let replayed = scan.replay(self.disk, journal, loading.table)?;
        start.go_on_from(scan.upto);
        Ok(replayed)
    }

    /// Reads the log to its end, which it gives, and brings the queues up to it; if any is incomplete, that is left to
    /// rebuilding all.
    fn read_log(
        &self,
        scan: &mut Scan<'a>,
        journal: &mut Pieces,
        start: &Start,
        loading: &Loading,
    ) -> Result<u64, StoreError> {
        scan.progress = Progress::new(self.clock, start.position, self.log);
        if loading.incomplete {
            tracing::warn!("consume queue files are missing or damaged; rebuilding all queues from the log");
        }
        let (end, reason) = scan.forward(self.disk, journal, loading.incomplete)?;
        check_end(self.log, start, end, &reason)?;
        Ok(end)
    }

    /// Looks into the directories of topics that neither the table of queues nor the log has named.
    fn load_strays(&self, scan: &mut Scan<'_>, loading: &mut Loading, end: u64) -> Result<(), StoreError> {
        let unknown = std::mem::take(&mut loading.unknown);
        let strays = unknown.into_iter().filter(|topic| !self.queues.has_topic(topic)).collect();
        let strays = self.queues.load_topics(QueueKind::Simple, strays, end)?;
        scan.damaged.extend(strays.damaged.iter().map(|queue| queue.serial));
        loading.with_more.extend(strays.with_more);
        Ok(())
    }

    /// Builds queues anew from the whole log: those that are damaged, or all. What was noted about them beside their
    /// files is worth nothing then.
    fn rebuild(
        &self,
        scan: &mut Scan<'_>,
        journal: &mut Pieces,
        end: u64,
        loading: &Loading,
    ) -> Result<(), StoreError> {
        self.remove_table()?;
        self.begin_journal(journal, end)?;
        scan.fresh = Fresh::default();
        scan.rebuild(end, loading.incomplete, &loading.with_more)?;
        scan.fresh = journal.room();
        Ok(())
    }

    /// Clears what stands behind the last entries of queues: of those `with_more` than counts, or of all if something
    /// may be there that loading could not see.
    fn trim_queues(&self, start: &Start, with_more: Vec<Arc<Queue>>, lost: bool) -> Result<(), StoreError> {
        // After a power cut there may be rests behind holes.
        let is_seen = (start.same_run && !lost) || start.ours_clean;
        let queues = if is_seen { with_more } else { self.queues.all() };
        let files = &self.queues.files;
        for queue in queues {
            let (end, path) = (queue.end_place(), files.dir_of(&queue));
            // What one run of the machine wrote has no holes: where it ends there is nothing behind it.
            let ends =
                start.same_run && files.is_blank_at(&queue, end).map_err(StoreError::io("read", &path))?;
            if !ends {
                files.trim(&queue, end).map_err(StoreError::io("trim", &path))?;
            }
        }
        Ok(())
    }

    fn tell_of_unread_timers(&self) {
        let timed = self.queues.find(names::TIMER_TOPIC, 0);
        let timed = timed.is_some_and(|queue| queue.next.load(Ordering::Acquire) > 0);
        if timed && self.options.timer.is_none() {
            tracing::warn!(
                "there are timer messages in this store; they wait until timerWheelEnable is true"
            );
        }
    }
}

/// From where recovery would read the log.
pub(crate) fn start_position(
    disk: &dyn Disk,
    log: &CommitLog,
    checkpoint: &Checkpoint,
    clean: bool,
) -> Result<u64, StoreError> {
    Ok(choose_start(disk, log, checkpoint, clean)?.position)
}

fn choose_start(
    disk: &dyn Disk,
    log: &CommitLog,
    checkpoint: &Checkpoint,
    clean: bool,
) -> Result<Start, StoreError> {
    let segments = log.segments();
    let Some(own) = &checkpoint.own else {
        let position = if clean { last_started(log)? } else { java_start(log, checkpoint)? };
        // Java notes times as soon as it has flushed; without them this is the first run of a store of our own.
        let is_new = !clean && checkpoint.physic_timestamp == 0;
        return Ok(Start {
            position,
            entries: None,
            promised: None,
            same_run: false,
            write_again_from: if is_new { position } else { u64::MAX },
            ours_clean: false,
        });
    };
    let same_run = disk.boot_id().is_some_and(|id| id == own.boot_id);
    let mark = if same_run && !clean { own.written } else { own.durable };
    let files_end = segments.last().map_or(0, |last| last.until());
    if mark.position > files_end || own.flushed > files_end {
        return Err(StoreError::Damaged {
            segment: segment::path_of(&log.dir, files_end),
            at: files_end,
            reason: "the log's files end".into(),
            promised: format!(
                "the checkpoint says that it was written up to {}",
                own.flushed.max(mark.position)
            ),
        });
    }
    let before_min = mark.position < log.min();
    Ok(Start {
        position: mark.position.max(log.min()),
        entries: (!before_min).then_some(mark.entries),
        promised: Some(own.flushed),
        same_run,
        write_again_from: if !clean && (same_run || own.boot_id == NO_RUN) { own.flushed } else { u64::MAX },
        ours_clean: clean,
    })
}

/// The newest segment that has a record, of a store that Java stopped cleanly.
fn last_started(log: &CommitLog) -> Result<u64, StoreError> {
    for segment in log.segments().iter().rev() {
        if first_record_time(log, segment.base)?.is_some() {
            return Ok(segment.base);
        }
    }
    Ok(log.min())
}

/// So much earlier than the times of its checkpoint Java takes what it stored to be on the disk.
const JAVA_CLOCK_MS: i64 = 3000;

/// Java's rule after an unclean stop (since-5.3.md §4.2): the newest segment whose first record's queue entries are
/// sure to be durable.
fn java_start(log: &CommitLog, checkpoint: &Checkpoint) -> Result<u64, StoreError> {
    let times = checkpoint.physic_timestamp.min(checkpoint.logics_timestamp).saturating_sub(JAVA_CLOCK_MS);
    for segment in log.segments().iter().rev() {
        let Some(time) = first_record_time(log, segment.base)? else { continue };
        // No field alone may bring it forward: nothing vouches for them, and too early is only slow.
        let offset = u64::try_from(checkpoint.logics_offset).unwrap_or(0);
        if time <= times && (offset == 0 || segment.base <= offset) {
            return Ok(segment.base);
        }
    }
    Ok(log.min())
}

/// Store time of the record at the beginning of a segment, if a valid one is there.
fn first_record_time(log: &CommitLog, base: u64) -> Result<Option<i64>, StoreError> {
    let mut walk = Walk::new(log, base);
    let look = walk.look(base).map_err(|source| log.error_at("read", base, source))?;
    Ok(match look {
        Look::Record(record) if record.verify_crc().is_ok() && record.store_timestamp != 0 => {
            Some(record.store_timestamp)
        }
        _ => None,
    })
}

/// From here on, until a clean stop, the store counts as not stopped cleanly.
fn mark_running(disk: &dyn Disk, abort: &Path) -> Result<(), StoreError> {
    let pid = std::process::id().to_string();
    let dir = abort.parent().unwrap_or(Path::new("."));
    let mark = || -> io::Result<()> {
        let file = disk.create(abort, 0)?;
        match file.write_at(pid.as_bytes(), 0) {
            // That it is there is what counts, and only an open store removes what has expired.
            Err(error) if disk::is_full(&error) => tracing::warn!(%error, "{} stays empty", abort.display()),
            written => written?,
        }
        file.sync_data()?;
        disk.sync_dir(dir)
    };
    mark().map_err(StoreError::io("write", abort))
}

/// Whether queue files that should be there are not.
fn queues_are_incomplete(queues: &Queues, start: &Start, log: &CommitLog) -> bool {
    let entries =
        queues.all().iter().map(|queue| queue.next.load(Ordering::Acquire)).fold(0, u64::wrapping_add);
    match start.entries {
        Some(expected) => entries != expected,
        // Java's store: only a queue directory that is gone altogether can be told from the outside.
        None => queues.count() == 0 && start.position > log.min(),
    }
}

/// Clears what stands behind the extensions of the queues' last entries, and those of queues that are gone.
fn settle_extensions(queues: &Queues) -> Result<(), StoreError> {
    let ext = &queues.files.ext;
    if !ext.are_present() {
        return Ok(());
    }
    for (topic, id) in ext.queues().map_err(StoreError::io("list", &ext.root))? {
        match queues.find(&topic, id) {
            Some(queue) => queue.settle_ext(),
            None => {
                ext.remove_queue(&topic, id).map_err(StoreError::io("remove", &ext.dir_of(&topic, id)))?;
            }
        }
    }
    Ok(())
}

/// Refuses to go on if the end that was found is not one that a crash explains.
fn check_end(log: &CommitLog, start: &Start, end: u64, reason: &str) -> Result<(), StoreError> {
    let damaged = |promised: String| StoreError::Damaged {
        segment: segment::path_of(&log.dir, end / log.segment_bytes * log.segment_bytes),
        at: end,
        reason: reason.to_owned(),
        promised,
    };
    if let Some(promised) = start.promised.filter(|promised| end < *promised) {
        return Err(damaged(format!("the log had been flushed up to {promised}")));
    }
    // Without a word on what was flushed, or if nothing written can have been lost, later records say that this is
    // damage and no torn tail.
    let explained = start.promised.is_some() && !start.same_run;
    for segment in log.segments().iter().filter(|segment| segment.base > end) {
        if first_record_time(log, segment.base)?.is_some() {
            if !explained {
                return Err(damaged(format!("there are valid records later, at {}", segment.base)));
            }
            tracing::warn!(segment = %segment.path.display(), end, "dropping unflushed records behind the end of the log");
        }
    }
    Ok(())
}

/// How far behind the end rests are looked for when nothing written can be lost: more than any one write.
const RESTS_LOOKED_FOR: u64 = 8 << 20;

/// Removes what is behind the end of the log, so that it cannot come back to life (store.md §24 T1). Tells whether
/// there were records in it.
fn cut_log(
    disk: &dyn Disk,
    log: &CommitLog,
    start: &Start,
    end: u64,
    leftovers: &[PathBuf],
) -> Result<bool, StoreError> {
    for path in leftovers {
        disk.remove(path).map_err(StoreError::io("remove", path))?;
        disk.sync_dir(&log.dir).map_err(StoreError::io("sync", &log.dir))?;
    }
    // An unused segment at exactly the end stays only if it is the first one of all: without any, the log would begin
    // anew at 0.
    let first_unused = end.div_ceil(log.segment_bytes) * log.segment_bytes;
    let keeps_first = log.segments().first().is_some_and(|first| first.base == first_unused);
    let from = if keeps_first { first_unused + log.segment_bytes } else { first_unused };
    log.remove_from(from).map_err(StoreError::io("remove segments of", &log.dir))?;
    let Some(segment) = log.segment_at(end) else { return Ok(false) };
    if start.ours_clean {
        return Ok(false);
    }
    let error = |what| move |source| log.error_at(what, end, source);
    let (from, until) = (end - segment.base, segment.size);
    let mut lost = false;
    if start.same_run {
        let mut rest = vec![0; (until - from).min(RESTS_LOOKED_FOR) as usize];
        segment.file.read_at(&mut rest, from).map_err(error("read"))?;
        if rest.iter().all(|&byte| byte == 0) {
            return Ok(false);
        }
        // A write that the kill cut short leaves the beginning of one record; more than that, and records that had
        // been accepted are damaged.
        lost = rest.get(record::BLANK_SIZE..).is_some_and(holds_records);
    }
    segment.file.zero(from, until).map_err(error("clear"))?;
    // Without the space reserved a full disk shows only at an append; that is no reason not to open.
    if let Err(error) = segment.file.allocate(from, until) {
        tracing::warn!(%error, "cannot reserve the rest of the last segment");
    }
    segment.file.sync_data().map_err(error("sync"))?;
    Ok(lost)
}

/// Whether the magic of a record stands anywhere in these bytes.
fn holds_records(bytes: &[u8]) -> bool {
    let magics = [record::MAGIC_V1, record::MAGIC_V2].map(u32::to_be_bytes);
    bytes.windows(4).any(|window| magics.iter().any(|magic| window == magic))
}

/// Bytes that are written again at a time.
const WRITTEN_AGAIN: u64 = 1 << 20;

/// Writes records again as they are, so that the sync to come includes them.
fn write_again(log: &CommitLog, from: u64, end: u64) -> Result<(), StoreError> {
    let mut piece = Vec::new();
    for segment in log.segments().iter() {
        let (mut at, until) = (from.max(segment.base), end.min(segment.until()));
        while at < until {
            let count = WRITTEN_AGAIN.min(until - at);
            piece.resize(count as usize, 0);
            let copied = segment
                .file
                .read_at(&mut piece, at - segment.base)
                .and_then(|()| segment.file.write_at(&piece, at - segment.base));
            copied.map_err(StoreError::io("write again", &segment.path))?;
            at += count;
        }
    }
    Ok(())
}
