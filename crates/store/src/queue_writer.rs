//! The worker that takes queue tails to their files, syncs these now and then, and moves the checkpoint.

use std::time::Duration;

use crate::checkpoint::{Checkpoint, Mark, Own};
use crate::error::StoreError;
use crate::queue_table::{self, Moment, Row, Table};
use crate::store::Store;

/// The pause after a round over all queues, as a multiple of what the round took.
const ROUND_PAUSE: u32 = 5;
/// The longest pause: what is not in files after a crash must be read again from the log.
const ROUND_PAUSE_MAX: Duration = Duration::from_secs(10);

/// State of the worker; its lock keeps two rounds from running at once.
pub(crate) struct QueueWriter {
    scratch: Vec<u8>,
    /// What the table of queues that is there was written for.
    table: Option<Moment>,
}

impl QueueWriter {
    /// For a store that recovery has left with this table of queues.
    pub fn new(table: Option<Moment>) -> QueueWriter {
        QueueWriter { scratch: Vec::new(), table }
    }
}

impl Store {
    /// Writes all queue tails to files; with `sync`, also makes all queue files durable. Moves the checkpoint to
    /// what is then true.
    pub fn queue_step(&self, sync: bool) -> Result<(), StoreError> {
        let mut writer = self.queue_writer.lock();
        // Whoever deleted the topic was told already.
        let _ = self.queues.files.finish_deletions();
        // What the log's last flush covered, taken before the queues are written: their entries below it are in the
        // tails or in files by now (since-5.3.md §9.1 S1).
        let durable = *self.flush.moment.lock();
        let written = self.appender.lock().moment().mark;
        let outcome = self.write_tails(&mut writer, written.position);
        let files = &self.queues.files;
        if files.are_odd() && writer.table.is_some() {
            self.drop_table(&mut writer)?;
        }
        outcome?;
        if !sync {
            self.move_checkpoint(false, |_, own| own.written = written)?;
            self.renew_table(&mut writer, written);
            return Ok(());
        }
        let unsynced = files.take_unsynced();
        if let Err(source) = files.sync(&unsynced) {
            // As with the log, what a failed sync has left is unknown. Queues can be rebuilt, so the store goes on
            // being readable, but nothing may ever count on them again in this run.
            let error = StoreError::Io { what: "sync", path: self.options.root.clone(), source };
            self.sync_failed(error.to_string());
            return Err(error);
        }
        self.move_checkpoint(true, |checkpoint, own| {
            own.written = written;
            if let Some(durable) = durable {
                own.durable = durable.mark;
                checkpoint.logics_timestamp = durable.timestamp;
            }
        })?;
        self.renew_table(&mut writer, written);
        Ok(())
    }

    /// Writes the table of queues after a round for `mark`, unless the one that is there is not far behind.
    fn renew_table(&self, writer: &mut QueueWriter, mark: Mark) {
        let moment = Moment { mark, log_min: self.log.min() };
        let near = writer.table.is_some_and(|table| {
            let behind = mark.position - table.mark.position;
            table.log_min == moment.log_min && behind < self.options.queue_table_bytes
        });
        if !near && self.fault().is_none() && !self.queues.files.are_odd() {
            self.write_table(writer, moment, false);
        }
    }

    /// Writes the table of queues as the last round has left them. Without it the next start is slower and nothing
    /// else.
    fn write_table(&self, writer: &mut QueueWriter, moment: Moment, sync: bool) {
        let root = &self.options.root;
        let rows =
            self.queues.all().iter().filter_map(|queue| Row::of(queue, moment.mark.position)).collect();
        match (Table { moment, rows }).save(&*self.disk, root, sync) {
            Ok(()) => {
                writer.table = Some(moment);
                self.journal_roll(moment.mark.position);
            }
            // The one before stays: it is as true as it was.
            Err(error) => tracing::warn!(%error, "cannot write the table of queues"),
        }
    }

    /// Writes the table of queues at a clean stop, when the queues' files hold everything.
    pub(crate) fn save_table(&self) {
        let mut writer = self.queue_writer.lock();
        if self.queues.files.are_odd() {
            return;
        }
        let mark = self.appender.lock().moment().mark;
        self.write_table(&mut writer, Moment { mark, log_min: self.log.min() }, true);
    }

    /// Removes the table of queues: queue files are going to be removed, or one is missing.
    pub(crate) fn drop_table(&self, writer: &mut QueueWriter) -> Result<(), StoreError> {
        let root = &self.options.root;
        writer.table = None;
        queue_table::remove(&*self.disk, root).map_err(StoreError::io("remove the table of queues in", root))
    }

    fn write_tails(&self, writer: &mut QueueWriter, position: u64) -> Result<(), StoreError> {
        let files = &self.queues.files;
        let mut dirty = files.take_dirty();
        while let Some(queue) = dirty.next() {
            queue.unlist();
            if let Err(source) = queue.write_tail(&mut writer.scratch, Some(position)) {
                let path = files.dir_of(&queue);
                queue.relist();
                dirty.for_each(|queue| queue.keep_listed());
                let error = StoreError::Io { what: "write", path, source };
                files.set_failure(Some(error.to_string()));
                return Err(error);
            }
        }
        files.set_failure(None);
        Ok(())
    }

    /// Writes the tails that have become long, so that a few busy queues do not make a round over all of them.
    fn write_long_tails(&self) -> Result<(), StoreError> {
        let mut writer = self.queue_writer.lock();
        let files = &self.queues.files;
        for queue in files.take_long() {
            let path = files.dir_of(&queue);
            queue.write_tail(&mut writer.scratch, None).map_err(StoreError::io("write", &path))?;
        }
        Ok(())
    }

    /// Writes the checkpoint with changed fields of our own, and Java's as they follow from them.
    pub(crate) fn move_checkpoint(
        &self,
        sync: bool,
        change: impl FnOnce(&mut Checkpoint, &mut Own),
    ) -> Result<(), StoreError> {
        let moment = *self.flush.moment.lock();
        let mut checkpoint = self.checkpoint.lock();
        // Looked at under the lock: what a failed sync has written there must stay.
        if self.fault().is_some() {
            return Ok(());
        }
        let mut own = checkpoint.content.own.unwrap_or_default();
        own.boot_id = self.disk.boot_id().unwrap_or_default();
        own.flushed = self.flushed_until();
        change(&mut checkpoint.content, &mut own);
        if let Some(moment) = moment {
            checkpoint.content.physic_timestamp = moment.timestamp;
        }
        checkpoint.content.logics_offset = own.durable.position as i64;
        checkpoint.content.own = Some(own);
        let written = if sync { checkpoint.save() } else { checkpoint.write() };
        written.map_err(StoreError::io("write", &checkpoint.path))
    }

    /// The thread that writes queues.
    ///
    /// A round over a hundred thousand light queues costs a second or more, so the next one comes after a multiple of
    /// what the last one took: writing queues never takes more than a small share of a core.
    pub(crate) fn queue_loop(&self) {
        let files = self.queues.files.clone();
        let mut last_sync = self.clock.monotonic();
        let mut pause = Duration::ZERO;
        loop {
            let (flush_interval, sync_interval) = {
                let live = self.live.load();
                (live.queue_flush_interval, live.queue_sync_interval)
            };
            let until_sync = (last_sync + sync_interval)
                .saturating_sub(self.clock.monotonic())
                .max(Duration::from_millis(1));
            let raised = files.signal.wait(files.has_unsynced().then_some(until_sync));
            if files.signal.is_stopped() {
                return;
            }
            if raised {
                self.await_round(flush_interval.max(pause));
            }
            let began = self.clock.monotonic();
            let sync = began >= last_sync + sync_interval;
            if sync {
                last_sync = began;
            }
            let outcome = self.queue_step(sync);
            if !sync {
                pause = ((self.clock.monotonic() - began) * ROUND_PAUSE).min(ROUND_PAUSE_MAX);
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
        let due = self.clock.monotonic() + wait;
        loop {
            let left = due.saturating_sub(self.clock.monotonic());
            if left.is_zero() || !files.urgent.wait(Some(left)) {
                return;
            }
            if self.write_long_tails().is_err() {
                // The round over all queues meets the same error and reports it.
                files.urgent.pause(due.saturating_sub(self.clock.monotonic()));
                return;
            }
        }
    }
}
