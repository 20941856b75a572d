//! Making a store sound again: queues and index are rebuilt from the log by the same recovery that opens a store, and
//! a damaged log is cut, or its damaged parts are filled, only when that is asked for and after every byte that goes
//! was copied elsewhere.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wire::names;
use wire::prop_crc;
use wire::record::{self, BLANK_SIZE, MAGIC_BLANK, Message};
use wire::sys_flag;

use super::config_check::check_config;
use super::finding::{Area, Findings};
use super::log_files::LogFiles;
use super::store_files::StoreFiles;
use super::verify::{Progress, Stretch, Verified};
use crate::checkpoint::{Checkpoint, CheckpointFile, Mark, Own};
use crate::clock::{Clock, LocalTime};
use crate::commit_log::{CommitLog, Window};
use crate::disk::{self, Disk, File};
use crate::dispatch;
use crate::error::StoreError;
use crate::queue_entry::FILLED_MAX;
use crate::queue_kind::QueueKind;
use crate::queues::Queues;
use crate::segment::Segment;
use crate::store::Store;

/// What becomes of a damaged log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogChoice {
    /// The log ends where the first damage begins; everything behind it goes.
    Cut,
    /// Only the damaged bytes go. In their place comes a record of a rolled back transaction, which no queue and no
    /// index names, or the rest of the segment is left out. The messages in there are lost, and their queue offsets
    /// stay empty.
    Skip,
}

/// What a repair does to the log's files, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LogStep {
    /// Bytes get replaced by a record that stands for nothing.
    Fill { from: u64, until: u64, timestamp: i64 },
    /// From here to the end of the segment nothing counts.
    Blank { from: u64, until: u64 },
    /// From here to the end of the segment there is nothing.
    Clear { from: u64, until: u64 },
    /// The whole segment goes.
    Remove { base: u64, until: u64 },
}

/// What a repair would do.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// One line for each thing that is done, in order; none if there is nothing to do.
    pub steps: Vec<String>,
    log_steps: Vec<LogStep>,
    /// No offset of a message that is lost is given again.
    keeps_numbers: bool,
    /// Where the log ends afterwards.
    log_end: u64,
}

/// What a repair has done.
#[derive(Debug, Clone, Default)]
pub struct Repaired {
    /// Where the bytes that were taken out of the log are, if there were any.
    pub kept: Option<PathBuf>,
    /// Queue entries that the log makes now.
    pub queue_entries: u64,
}

impl StoreFiles {
    /// What must be done about what [`StoreFiles::verify`] found. `everything` rebuilds queues and index even if
    /// nothing is wrong with them.
    pub fn plan(
        &self,
        verified: &Verified,
        choice: Option<LogChoice>,
        everything: bool,
    ) -> Result<Plan, StoreError> {
        let options = &self.options;
        // Stray files and holes keep the store from opening; they are for the operator to put right.
        CommitLog::load(self.disk.clone(), options.log_dir(), options.segment_bytes, Arc::default())?;
        let followers = [Area::Queue, Area::Index, Area::Checkpoint];
        let wrong = followers.iter().any(|area| verified.findings.count(*area) > 0);
        if verified.damage.is_empty() && !wrong && !everything {
            return Ok(Plan::default());
        }
        let log = LogFiles::load(&*self.disk, options, &mut Findings::default())?;
        let mut plan = Plan { log_end: verified.log_end, ..Plan::default() };
        if let Some(first) = verified.damage.first() {
            match choice {
                None => return Err(undecided(verified, first)),
                Some(LogChoice::Cut) => plan.log_end = first.from,
                Some(LogChoice::Skip) => {
                    plan.keeps_numbers = true;
                    for stretch in &verified.damage {
                        self.plan_skip(&log, stretch, &mut plan)?;
                    }
                }
            }
        }
        plan_end(&log, &mut plan)?;
        let queues = "rebuild all consume queues from the log, with the numbers that its records have";
        let index = "rebuild the key index from the log";
        plan.steps.push(queues.into());
        plan.steps.push(index.into());
        plan.steps.push("write a checkpoint that fits the log".into());
        Ok(plan)
    }

    fn plan_skip(&self, log: &LogFiles, stretch: &Stretch, plan: &mut Plan) -> Result<(), StoreError> {
        let Some(until) = stretch.until else {
            plan.log_end = stretch.from;
            return Ok(());
        };
        let mut from = stretch.from;
        while from < until {
            let Some(segment) = log.segment_at(from) else { break };
            let stop = until.min(segment.until());
            let step = if stop < segment.until() {
                if stop - from < self.filler_min() {
                    return Err(StoreError::Unrepairable {
                        what: format!(
                            "the {} damaged bytes at {from} are too few for a record that fills them",
                            stop - from
                        ),
                        remedy: "`--log cut` ends the log there",
                    });
                }
                LogStep::Fill { from, until: stop, timestamp: stretch.stored_before.max(1) }
            } else {
                LogStep::Blank { from, until: stop }
            };
            plan.steps.push(match &step {
                LogStep::Fill { .. } => format!("copy the damaged bytes {from} to {stop} and put a record without a message in their place"),
                _ => format!("copy the damaged bytes {from} to {stop} and end the segment at {from}"),
            });
            plan.log_steps.push(step);
            from = stop;
        }
        Ok(())
    }

    /// Fewest bytes that a record can fill: one letter as its topic, and a CRC of its own if records must have one.
    fn filler_min(&self) -> u64 {
        if self.options.force_verify_prop_crc { 92 + prop_crc::SIZE as u64 } else { 92 }
    }

    /// Does what was planned. The lock is let go when the store, sound again, has been closed.
    pub fn repair(
        self,
        plan: &Plan,
        clock: Arc<dyn Clock>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Repaired, StoreError> {
        if plan.steps.is_empty() {
            return Ok(Repaired::default());
        }
        let before = self.topic_dirs()?;
        let topics = check_config(&*self.disk, &self.options.root, &mut Findings::default())?;
        let ends = self.queue_ends(plan)?;
        let kept = self.keep(plan, &*clock)?;
        self.write_abort()?;
        self.change_log(plan)?;
        self.write_checkpoint(plan)?;
        let StoreFiles { disk, options, lock } = self;
        // The store takes the lock itself; it excludes whoever came in between.
        drop(lock);
        let store = Store::open(disk, clock, options, Arc::new(|_| {}))?;
        for topic in store.topics() {
            // The log still has messages of deleted topics; their queues are not to come back.
            let was_deleted = topics.as_ref().is_some_and(|topics| !topics.contains(&*topic))
                && !names::is_system_topic(&topic)
                // They have no configuration.
                && !names::is_light(&topic);
            if was_deleted && !before.contains(&*topic) {
                store.delete_topic(&topic)?;
            }
        }
        for (topic, id, next) in ends {
            let queue = store.queue(&topic, id);
            let lost = next.saturating_sub(queue.max_offset());
            if lost <= FILLED_MAX {
                store.fill_up(&mut store.appender.lock(), &queue, next);
            }
        }
        let total = store.log_end() - store.log_min();
        while store.index_step()? {
            progress(Progress { done: total - store.index_behind().min(total), total });
        }
        let queue_entries = store.appender.lock().entries;
        store.stop()?;
        progress(Progress { done: total, total });
        Ok(Repaired { kept, queue_entries })
    }

    /// How far simple queues have come by their files, if they are to go on from there: no message says that of a queue
    /// that ends with one of those that are given up.
    fn queue_ends(&self, plan: &Plan) -> Result<Vec<(Arc<str>, u32, u64)>, StoreError> {
        if !plan.keeps_numbers {
            return Ok(Vec::new());
        }
        let queues = Queues::of_store(&self.disk, &self.options, Arc::default(), false)?;
        queues.load(u64::MAX)?;
        let simple = queues.all().into_iter().filter(|queue| queue.kind() == QueueKind::Simple);
        Ok(simple.map(|queue| (queue.topic().clone(), queue.id(), queue.max_offset())).collect())
    }

    fn topic_dirs(&self) -> Result<std::collections::BTreeSet<String>, StoreError> {
        let mut topics = std::collections::BTreeSet::new();
        for kind in QueueKind::ALL {
            let dir = self.queue_dir(kind);
            let entries = self.disk.list(&dir).map_err(StoreError::io("list", &dir))?;
            topics.extend(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name));
        }
        Ok(topics)
    }

    /// Copies every byte of the log that will change, durably, with a text that says what they are.
    fn keep(&self, plan: &Plan, clock: &dyn Clock) -> Result<Option<PathBuf>, StoreError> {
        let log = LogFiles::load(&*self.disk, &self.options, &mut Findings::default())?;
        if plan.log_steps.is_empty() {
            return Ok(None);
        }
        let dir = self.kept_dir(clock);
        disk::create_dirs(&*self.disk, &dir).map_err(StoreError::io("create", &dir))?;
        let mut text = String::from(
            "Bytes that `thrust store repair` took out of a commit log, and how to put them back: in this directory, while no broker runs.\n\n",
        );
        for step in &plan.log_steps {
            let (from, until) = step.range();
            let Some(segment) = log.segment_at(from) else { continue };
            let name = if until - from == segment.size {
                format!("{:020}", segment.base)
            } else {
                format!("{:020}.bytes-{}-{}", segment.base, from - segment.base, until - segment.base)
            };
            let copy = dir.join(&name);
            copy_bytes(&*self.disk, segment, from, until, &copy).map_err(StoreError::io("copy to", &copy))?;
            let place = segment.path.display();
            text += &if until - from == segment.size {
                format!("{name}: the whole segment.\n  cp {name} {place}\n")
            } else {
                format!(
                    "{name}: offsets {from} to {until} of the log.\n  dd if={name} of={place} bs=1M conv=notrunc oflag=seek_bytes seek={}\n",
                    from - segment.base
                )
            };
        }
        text += "\nThen remove the checkpoint file and create an empty file named abort beside it: the next start reads all of the log.\n";
        let path = dir.join("README.txt");
        let written = self.disk.create(&path, 0).and_then(|file| {
            file.write_at(text.as_bytes(), 0)?;
            file.sync_data()
        });
        written.and_then(|()| self.disk.sync_dir(&dir)).map_err(StoreError::io("write", &path))?;
        Ok(Some(dir))
    }

    /// Beside the store, so that nothing that reads the store meets it.
    fn kept_dir(&self, clock: &dyn Clock) -> PathBuf {
        let now = clock.now_millis();
        let time = LocalTime::of(now, clock.utc_offset_seconds(now)).digits();
        let root = &self.options.root;
        let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        root.with_file_name(format!("{name}-repair-{time}"))
    }

    /// Whatever happens from here on, the next start reads the log again.
    fn write_abort(&self) -> Result<(), StoreError> {
        let path = self.options.root.join("abort");
        let made = self.disk.create(&path, 0).and_then(|file| file.sync_data());
        made.and_then(|()| self.disk.sync_dir(&self.options.root)).map_err(StoreError::io("write", &path))
    }

    fn change_log(&self, plan: &Plan) -> Result<(), StoreError> {
        let log = LogFiles::load(&*self.disk, &self.options, &mut Findings::default())?;
        for step in plan.log_steps.iter().rev() {
            let (from, until) = step.range();
            let Some(segment) = log.segment_at(from) else { continue };
            let error = || StoreError::io("change", &segment.path);
            let at = from - segment.base;
            match step {
                LogStep::Fill { timestamp, .. } => {
                    let filler = self.filler(from, until - from, *timestamp);
                    segment.file.write_at(&filler, at).map_err(error())?;
                }
                LogStep::Blank { .. } => {
                    let mut blank = [0; BLANK_SIZE];
                    blank[..4].copy_from_slice(&((until - from) as u32).to_be_bytes());
                    blank[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
                    segment.file.write_at(&blank, at).map_err(error())?;
                }
                LogStep::Clear { .. } => segment.file.zero(at, until - segment.base).map_err(error())?,
                LogStep::Remove { .. } => {
                    self.disk.remove(&segment.path).map_err(error())?;
                    continue;
                }
            }
            segment.file.sync_data().map_err(error())?;
        }
        let dir = self.options.log_dir();
        self.disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
        if plan.log_steps.iter().any(|step| matches!(step, LogStep::Clear { .. } | LogStep::Remove { .. })) {
            self.forget_wheel()?;
        }
        Ok(())
    }

    /// Has the next start build the timer wheel anew: it leads to messages that are cut off, where others will stand.
    fn forget_wheel(&self) -> Result<(), StoreError> {
        let root = &self.options.root;
        let path = root.join("timerwheel");
        let removed = self.disk.remove(&path).and_then(|()| self.disk.sync_dir(root));
        removed.map_err(StoreError::io("remove", &path))
    }

    /// A record of `len` bytes that belongs at `at` and stands for no message.
    fn filler(&self, at: u64, len: u64, timestamp: i64) -> Vec<u8> {
        let sealed = self.options.force_verify_prop_crc;
        let properties = if sealed { prop_crc::reserve(b"") } else { Vec::new() };
        let rest = (len as usize).saturating_sub(91 + properties.len());
        let topic = &dispatch::REPAIR_TOPIC[..dispatch::REPAIR_TOPIC.len().min(rest)];
        let nobody = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let body = vec![0; rest - topic.len()];
        let message = Message {
            sys_flag: sys_flag::TRANSACTION_ROLLBACK,
            born_timestamp: timestamp,
            properties: &properties,
            ..Message::of_broker(nobody, topic, 0, &body)
        };
        let mut bytes = Vec::with_capacity(len as usize);
        if record::encode(&message, &mut bytes).is_ok() {
            record::patch(&mut bytes, 0, at, timestamp);
            if sealed {
                prop_crc::seal(&mut bytes);
            }
        }
        bytes
    }

    /// A checkpoint that makes recovery read the whole log, trust no follower, and refuse to end before `log_end`.
    fn write_checkpoint(&self, plan: &Plan) -> Result<(), StoreError> {
        let root = &self.options.root;
        let path = root.join("checkpoint");
        // No queues ever hold this many entries: all of them are made anew.
        let nothing = Mark { position: 0, entries: u64::MAX };
        let own = Own { flushed: plan.log_end, written: nothing, durable: nothing, ..Own::default() };
        let (mut checkpoint, _) =
            CheckpointFile::open(&*self.disk, root).map_err(StoreError::io("open", &path))?;
        checkpoint.content = Checkpoint { own: Some(own), ..Checkpoint::default() };
        checkpoint.save().map_err(StoreError::io("write", &path))
    }
}

impl LogStep {
    fn range(&self) -> (u64, u64) {
        match *self {
            LogStep::Fill { from, until, .. }
            | LogStep::Blank { from, until }
            | LogStep::Clear { from, until }
            | LogStep::Remove { base: from, until } => (from, until),
        }
    }
}

fn undecided(verified: &Verified, first: &Stretch) -> StoreError {
    StoreError::Unrepairable {
        what: format!(
            "the log is damaged at {}{}",
            first.from,
            if verified.damage.len() > 1 {
                format!(" and at {} more places", verified.damage.len() - 1)
            } else {
                String::new()
            }
        ),
        remedy: "restore the segment from a backup if there is one; otherwise `--log skip` gives up the messages in the damaged bytes, and `--log cut` everything from there on",
    }
}

/// What stands behind the end of the log goes too, as it does whenever a store is opened after an unclean stop; here it
/// is kept.
fn plan_end(log: &LogFiles, plan: &mut Plan) -> Result<(), StoreError> {
    let end = plan.log_end;
    plan.log_steps.retain(|step| step.range().0 < end);
    for segment in log.segments.iter().filter(|segment| segment.until() > end) {
        let from = end.max(segment.base);
        let error = StoreError::io("read", &segment.path);
        let is_empty = is_zero(segment, from).map_err(error)?;
        let until = segment.until();
        if from > segment.base && !is_empty {
            plan.steps
                .push(format!("copy what stands behind the end of the log, {from} to {until}, and clear it"));
            plan.log_steps.push(LogStep::Clear { from, until });
        } else if from == segment.base && !is_empty {
            plan.steps.push(format!(
                "copy the segment {from:020}, which is behind the end of the log, and remove it"
            ));
            plan.log_steps.push(LogStep::Remove { base: from, until });
        }
    }
    Ok(())
}

const PIECE: u64 = 1 << 20;

fn is_zero(segment: &Segment, from: u64) -> io::Result<bool> {
    let mut window = Window::new(0);
    let mut at = from;
    while at < segment.until() {
        let len = PIECE.min(segment.until() - at);
        if window.bytes(segment, at, len as usize)?.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += len;
    }
    Ok(true)
}

/// Copies a range of the log into a file of its own, durably; zeros take no space.
fn copy_bytes(disk: &dyn Disk, segment: &Segment, from: u64, until: u64, to: &Path) -> io::Result<()> {
    let file: Arc<dyn File> = disk.create(to, until - from)?;
    let mut window = Window::new(0);
    let mut at = from;
    while at < until {
        let len = PIECE.min(until - at);
        let bytes = window.bytes(segment, at, len as usize)?;
        if bytes.iter().any(|&byte| byte != 0) {
            file.write_at(bytes, at - from)?;
        }
        at += len;
    }
    file.sync_data()
}
