//! Taking queue entries to where they outlive the process: to their journal at once, to their files in rounds over all
//! queues.

use std::time::Duration;

use crate::error::StoreError;
use crate::queue_writer::{Reached, Round};
use crate::store::Store;

/// The pause after a round over all queues, as a multiple of what the round took.
const ROUND_PAUSE: u32 = 5;
/// The longest pause: what is not in files after a crash must be read again from the log.
const ROUND_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Entries come together for this long before they are written to the journal: about so much of the log is read again
/// after a kill.
const GATHER: Duration = Duration::from_millis(100);

impl Store {
    /// Writes all queue tails to files; with `sync`, also makes all queue files durable. Moves the checkpoint to
    /// what is then true.
    pub fn queue_step(&self, sync: bool) -> Result<(), StoreError> {
        let mut writer = self.queue_writer.lock();
        // Whoever deleted the topic was told already.
        let _ = self.queues.files.finish_deletions();
        // What the log's last flush covered, taken before the queues are written: their entries below it are in the
        // tails or in files by now (since-5.3.md §9.1 S1).
        let durable = *self.base.moment.lock();
        let written = self.appender.lock().moment().mark;
        writer.round(&self.round(), Reached { written, durable }, sync)
    }

    /// Writes the table of queues at a clean stop, when the queues' files hold everything.
    pub(crate) fn save_table(&self) {
        let mut writer = self.queue_writer.lock();
        let mark = self.appender.lock().moment().mark;
        writer.save_table(&self.round(), mark);
    }

    fn round(&self) -> Round<'_> {
        Round { base: &self.base, queues: &self.queues, journal: &self.journal }
    }

    /// Writes the queue entries that came since the last time to their journal. An error leaves them out of it, which
    /// makes a start after a kill slower and nothing else.
    pub fn journal_step(&self) -> Result<(), StoreError> {
        self.journal.step(&self.base, &self.queues, |fresh| {
            let mut appender = self.appender.lock();
            std::mem::swap(&mut appender.fresh, fresh);
            appender.moment()
        })
    }

    /// The thread that writes the journal.
    pub(crate) fn journal_loop(&self) {
        let signal = &self.journal.signal;
        let mut failing = false;
        while signal.wait(None) && !signal.is_stopped() {
            signal.pause(GATHER);
            signal.take();
            let outcome = self.journal_step();
            if let Err(error) = outcome.as_ref()
                && !failing
            {
                tracing::warn!(%error, "the journal of queues has a gap; a start after a kill reads the log instead");
            }
            failing = outcome.is_err();
        }
    }

    /// The thread that writes queues.
    ///
    /// A round over a hundred thousand light queues costs a second or more, so the next one comes after a multiple of
    /// what the last one took: writing queues never takes more than a small share of a core.
    pub(crate) fn queue_loop(&self) {
        let files = self.queues.files.clone();
        let mut last_sync = self.base.clock.monotonic();
        let mut pause = Duration::ZERO;
        loop {
            let (flush_interval, sync_interval) = {
                let live = self.base.live.load();
                (live.queue_flush_interval, live.queue_sync_interval)
            };
            let until_sync = (last_sync + sync_interval)
                .saturating_sub(self.base.clock.monotonic())
                .max(Duration::from_millis(1));
            let raised = files.signal.wait(files.has_unsynced().then_some(until_sync));
            if files.signal.is_stopped() {
                return;
            }
            if raised {
                self.await_round(flush_interval.max(pause));
            }
            let began = self.base.clock.monotonic();
            let sync = began >= last_sync + sync_interval;
            if sync {
                last_sync = began;
            }
            let outcome = self.queue_step(sync);
            if !sync {
                pause = ((self.base.clock.monotonic() - began) * ROUND_PAUSE).min(ROUND_PAUSE_MAX);
            }
            if let Err(error) = outcome {
                tracing::error!(%error, "writing consume queues failed; their entries stay in memory");
                pause = pause.max(Duration::from_secs(1));
            }
        }
    }

    /// Waits until the next round is due, writing long tails meanwhile.
    fn await_round(&self, wait: Duration) {
        let files = &self.queues.files;
        let due = self.base.clock.monotonic() + wait;
        loop {
            let left = due.saturating_sub(self.base.clock.monotonic());
            if left.is_zero() || !files.urgent.wait(Some(left)) {
                return;
            }
            if self.queue_writer.lock().write_long_tails(files).is_err() {
                // The round over all queues meets the same error and reports it.
                files.urgent.pause(due.saturating_sub(self.base.clock.monotonic()));
                return;
            }
        }
    }
}
