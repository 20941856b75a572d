//! Making the timer's progress durable.
//!
//! The order is what recovery relies on: first the commit log, of which the timer log and the checkpoint speak; then
//! the timer log; then the slots of the wheel that point into it; then the checkpoint. A checkpoint that is found is
//! therefore complete, and what the wheel has beyond it leads back to it (see `recovery`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::checkpoint::{Checkpoint, CheckpointFile, Own};
use super::wheel::{Slot, Writing};
use super::{State, Timer, metrics};
use crate::disk::File;
use crate::error::StoreError;
use crate::store::Store;

/// A slot that is not over when the commit log has grown by this much since its first delivery gets a new chain, so
/// that recovery need not read all of that.
const SETTLED_BYTES: u64 = 256 << 20;
/// A checkpoint that is behind the commit log by this much is renewed even if nothing else is new.
const STALE_BYTES: u64 = 64 << 20;
/// How often that is looked at.
const STALE_LOOK: Duration = Duration::from_secs(10);

/// The timer at one moment, on its way to the disk.
struct Cut {
    checkpoint: Checkpoint,
    /// The commit log must be durable up to here.
    commit_log_end: u64,
    /// No slot leads to a unit before this, those included that a start would go back to.
    needed_units: u64,
    units: Vec<Arc<dyn File>>,
    slots: Option<(Writing, Arc<dyn File>)>,
}

impl Store {
    /// Makes a checkpoint if anything is new.
    pub fn timer_flush_step(&self) -> Result<(), StoreError> {
        let Some(timer) = &self.timer else { return Ok(()) };
        let mut file = timer.files.lock();
        let settles = {
            let state = timer.state.lock();
            // While the wheel is built anew the checkpoint before says what is left out of it.
            if state.skipped.is_some() || (!state.changed && !state.is_stale(self.base.log.end())) {
                return Ok(());
            }
            state.present.begun.is_some_and(|begun| self.base.log.end().saturating_sub(begun) > SETTLED_BYTES)
        };
        self.timer_save(timer, &mut file)?;
        if settles { self.timer_settle(timer, &mut file) } else { Ok(()) }
    }

    /// Makes everything durable, at a clean stop: Java finds in the present slot only what was not delivered.
    pub(crate) fn timer_stop(&self) -> Result<(), StoreError> {
        let Some(timer) = &self.timer else { return Ok(()) };
        let mut file = timer.files.lock();
        let (is_used, begun) = {
            let state = timer.state.lock();
            (state.is_used() && state.skipped.is_none(), state.present.begun.is_some())
        };
        if is_used {
            self.timer_save(timer, &mut file)?;
            if begun {
                self.timer_settle(timer, &mut file)?;
            }
            self.timer_save(timer, &mut file)?;
        }
        self.timer_save_metrics(timer)
    }

    fn timer_save(&self, timer: &Timer, file: &mut CheckpointFile) -> Result<(), StoreError> {
        if timer.state.lock().rest_is_untold {
            // A try before this one failed in between, see `timer_settle`.
            let cut = self.timer_cut(&mut timer.state.lock(), false)?;
            self.timer_write(timer, file, cut)?;
        }
        let cut = self.timer_cut(&mut timer.state.lock(), true)?;
        self.timer_write(timer, file, cut)
    }

    /// What is to be written now; slots only if asked for.
    fn timer_cut(&self, state: &mut State, with_slots: bool) -> Result<Cut, StoreError> {
        // What can fail comes first: a cut that was not made leaves all there is to save for the next try.
        state.log.write().map_err(StoreError::io("write", &state.log.dir))?;
        let wheel = (with_slots && state.wheel.wants_file())
            .then(|| state.wheel.file().map_err(StoreError::io("open", &state.wheel.path)))
            .transpose()?;
        let commit_log_end = self.base.log.end();
        let log_end = state.log.end();
        let own = Own {
            log_end,
            delivered_from: state.delivered_from(commit_log_end),
            rest: state.present.rest,
            precision: state.precision as u64,
        };
        let [epoch, _, count] = state.checkpoint.version;
        state.checkpoint = Checkpoint {
            read_time: state.read_time,
            log_end: log_end as i64,
            queue_offset: state.queue_offset as i64,
            master_queue_offset: state.queue_offset as i64,
            version: [epoch, self.base.clock.now_millis(), count.saturating_add(1)],
            own: Some(own),
        };
        state.changed = !with_slots;
        let slots = wheel.map(|file| (state.wheel.take_changed(), file));
        // A look at all slots, which are many: only where there is something to gain.
        let needed_units =
            if state.log.has_full_files() { state.wheel.first_unit().unwrap_or(log_end) } else { 0 };
        let units = state.log.take_unsynced();
        Ok(Cut { checkpoint: state.checkpoint, commit_log_end, needed_units, units, slots })
    }

    fn timer_write(&self, timer: &Timer, file: &mut CheckpointFile, cut: Cut) -> Result<(), StoreError> {
        let Cut { checkpoint, commit_log_end, needed_units, units, slots } = cut;
        let written = (|| {
            // After a failed sync no checkpoint may speak of what is behind the one before.
            if let Some(cause) = self.fault() {
                return Err(StoreError::ReadOnly { cause });
            }
            if self.flushed_until() < commit_log_end {
                self.flush_step()?;
            }
            self.sync_units(&units)?;
            // Slots and checkpoint are written again before they are synced again, so another try of theirs proves
            // something.
            if let Some((writing, wheel)) = &slots {
                let path = self.base.options.root.join("timerwheel");
                writing.write(&**wheel).map_err(StoreError::io("write", &path))?;
            }
            file.save(&checkpoint).map_err(StoreError::io("write", &file.path.clone()))
        })();
        let mut state = timer.state.lock();
        timer.shown.tell(state.told());
        if written.is_err() {
            if let Some((writing, _)) = slots {
                state.wheel.keep(writing);
            }
            state.changed = true;
        } else {
            state.rest_is_untold = false;
            let removed = state.log.expire(self.base.log.min(), needed_units);
            let removed = removed.map_err(StoreError::io("remove", &state.log.dir))?;
            if removed > 0 {
                tracing::info!(removed, "deleted old files of the timer log");
            }
        }
        written
    }

    /// Makes units durable. A sync that fails is not tried again: the system takes the units to be written, and the
    /// next one would say so.
    fn sync_units(&self, files: &[Arc<dyn File>]) -> Result<(), StoreError> {
        let path = self.base.options.root.join("timerlog");
        files
            .iter()
            .try_for_each(|file| file.sync_data())
            .map_err(|source| self.base.sync_error(&path, source))
    }

    /// Gives the present slot a chain of what is left in it. The checkpoint tells of the new chain before the wheel
    /// does: should we stop in between, recovery puts the wheel right.
    fn timer_settle(&self, timer: &Timer, file: &mut CheckpointFile) -> Result<(), StoreError> {
        let cut = {
            let mut state = timer.state.lock();
            let dir = state.log.dir.clone();
            if !state.settle().map_err(StoreError::io("write", &dir))? {
                return Ok(());
            }
            self.timer_cut(&mut state, false)?
        };
        self.timer_write(timer, file, cut)
    }

    fn timer_save_metrics(&self, timer: &Timer) -> Result<(), StoreError> {
        let (content, place) = {
            let mut state = timer.state.lock();
            (state.metrics.take_changed(), state.metrics.place())
        };
        match content {
            Some(content) => metrics::save(&place, &content).map_err(StoreError::io("write", &place.1)),
            None => Ok(()),
        }
    }

    /// The thread that makes checkpoints.
    pub(crate) fn timer_flush_loop(&self) {
        /// The counts are for people: saving them costs more than a checkpoint.
        const COUNTS_SAVED_EVERY: u32 = 10;
        let Some(timer) = &self.timer else { return };
        let mut rounds = 0;
        loop {
            let waits = timer.state.lock().wheel.pending() > 0;
            timer.flush_signal.wait(waits.then_some(STALE_LOOK));
            if timer.flush_signal.is_stopped() {
                return;
            }
            timer.flush_signal.pause(timer.options.flush_interval);
            timer.flush_signal.take();
            rounds += 1;
            let counts =
                if rounds % COUNTS_SAVED_EVERY == 0 { self.timer_save_metrics(timer) } else { Ok(()) };
            let saved = self.timer_flush_step().and(counts);
            if self.fault().is_some() {
                if let Err(error) = saved {
                    tracing::error!(%error, "the timer's progress is not saved any more");
                }
                return;
            }
            if let Err(error) = saved {
                tracing::error!(%error, "the timer's progress is not saved; it is tried again");
                timer.flush_signal.raise();
            }
        }
    }
}

impl State {
    /// Where the commit log tells of deliveries that the wheel does not know of.
    fn delivered_from(&self, commit_log_end: u64) -> u64 {
        let begun = self.present.begun.unwrap_or(commit_log_end);
        if self.done.is_empty() { begun } else { begun.min(self.done_from) }
    }

    /// Whether there ever was a timer message here.
    fn is_used(&self) -> bool {
        self.changed || self.queue_offset > 0 || self.checkpoint != Checkpoint::default()
    }

    /// Whether recovery would have to read much of the commit log again.
    fn is_stale(&self, commit_log_end: u64) -> bool {
        let from = self.checkpoint.own.map_or(commit_log_end, |own| own.delivered_from);
        self.queue.next.load(Ordering::Relaxed) > 0 && commit_log_end.saturating_sub(from) > STALE_BYTES
    }

    /// Writes what is left of the present slot to the timer log once more; false if nothing was delivered from it.
    fn settle(&mut self) -> std::io::Result<bool> {
        let left = self.present.left();
        // From the first of them on there is something to save, also if one of them cannot be written.
        self.changed |= !left.is_empty();
        let mut slot: Option<Slot> = None;
        for waiting in left {
            slot = Some(self.append_behind(slot, self.read_time, waiting)?.0);
        }
        let Some(slot) = slot else { return Ok(false) };
        self.log.write()?;
        self.wheel.put(self.read_time, Some(slot));
        self.present.rest = (slot.first, self.log.end());
        self.present.begun = None;
        self.rest_is_untold = true;
        Ok(true)
    }
}
