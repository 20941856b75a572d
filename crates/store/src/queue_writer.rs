//! Takes queue tails to their files, syncs these now and then, and moves the checkpoint.

use crate::base::{self, Base};
use crate::checkpoint::Mark;
use crate::disk;
use crate::error::StoreError;
use crate::queue_files::{NotSynced, QueueFiles};
use crate::queue_journal::Journal;
use crate::queue_table::{self, Moment, Row, Table};
use crate::queues::Queues;

/// State of the writer; its lock keeps two rounds from running at once.
pub(crate) struct QueueWriter {
    scratch: Vec<u8>,
    /// What the table of queues that is there was written for.
    table: Option<Moment>,
}

/// What a round works on.
pub(crate) struct Round<'a> {
    pub base: &'a Base,
    pub queues: &'a Queues,
    pub journal: &'a Journal,
}

/// How far the log had come when a round began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    /// All entries of records before this are in the tails or in files.
    pub written: Mark,
    /// The same, of records that are durable.
    pub durable: Option<base::Moment>,
}

impl QueueWriter {
    /// For a store that recovery has left with this table of queues.
    pub fn new(table: Option<Moment>) -> QueueWriter {
        QueueWriter { scratch: Vec::new(), table }
    }

    /// Writes all queue tails to files; with `sync`, also makes all queue files durable. Moves the checkpoint to
    /// what is then true.
    pub fn round(&mut self, round: &Round<'_>, reached: Reached, sync: bool) -> Result<(), StoreError> {
        let Round { base, queues, .. } = round;
        let Reached { written, durable } = reached;
        let files = &queues.files;
        let outcome = self.write_tails(files, written.position);
        if files.are_odd() && self.table.is_some() {
            self.drop_table(base)?;
        }
        outcome?;
        if !sync {
            base.move_checkpoint(false, |_, own| own.written = written)?;
            self.renew_table(round, written);
            return Ok(());
        }
        let unsynced = files.take_unsynced();
        match files.sync(&unsynced) {
            Ok(()) => {}
            Err(NotSynced::Unopened(source)) => {
                files.put_back(unsynced);
                return Err(StoreError::io("open files of queues, to sync them, in", &base.options.root)(
                    source,
                ));
            }
            // As with the log, what a failed sync has left is unknown. Queues can be rebuilt, so the store goes on
            // being readable, but nothing may ever count on them again in this run.
            Err(NotSynced::Failed(source)) => return Err(base.sync_error(&base.options.root, source)),
        }
        base.move_checkpoint(true, |checkpoint, own| {
            own.written = written;
            if let Some(durable) = durable {
                own.durable = durable.mark;
                checkpoint.logics_timestamp = durable.timestamp;
            }
        })?;
        self.renew_table(round, written);
        Ok(())
    }

    /// Writes the table of queues after a round for `mark`, unless the one that is there is not far behind.
    fn renew_table(&mut self, round: &Round<'_>, mark: Mark) {
        let base = round.base;
        let moment = Moment { mark, log_min: base.log.min() };
        let near = self.table.is_some_and(|table| {
            let behind = mark.position - table.mark.position;
            table.log_min == moment.log_min && behind < base.options.queue_table_bytes
        });
        if !near && base.fault().is_none() && !round.queues.files.are_odd() {
            self.write_table(round, moment, false);
        }
    }

    /// Writes the table of queues as the last round has left them. Without it the next start is slower and nothing
    /// else.
    fn write_table(&mut self, round: &Round<'_>, moment: Moment, sync: bool) {
        let (base, all) = (round.base, round.queues.all());
        let rows = all.iter().filter_map(|queue| Row::of(queue, moment.mark.position)).collect();
        match (Table { moment, rows }).save(&*base.disk, &base.options.root, sync) {
            Ok(()) => {
                self.table = Some(moment);
                round.journal.roll(&*base.disk, moment.mark.position);
            }
            // The one before stays: it is as true as it was.
            Err(error) => tracing::warn!(%error, "cannot write the table of queues"),
        }
    }

    /// Writes the table of queues at a clean stop for `mark`, when the queues' files hold everything.
    pub fn save_table(&mut self, round: &Round<'_>, mark: Mark) {
        if !round.queues.files.are_odd() {
            self.write_table(round, Moment { mark, log_min: round.base.log.min() }, true);
        }
    }

    /// Removes the table of queues: queue files are going to be removed, or one is missing.
    pub fn drop_table(&mut self, base: &Base) -> Result<(), StoreError> {
        let root = &base.options.root;
        self.table = None;
        queue_table::remove(&*base.disk, root).map_err(StoreError::io("remove the table of queues in", root))
    }

    /// One queue that cannot be written keeps no other waiting, whose entries would fill the memory there is for all of
    /// them. A full disk does: it has no room for the others either.
    fn write_tails(&mut self, files: &QueueFiles, position: u64) -> Result<(), StoreError> {
        let mut first = None;
        let mut dirty = files.take_dirty();
        while let Some(queue) = dirty.next() {
            queue.unlist();
            let Err(source) = queue.write_tail(&mut self.scratch, Some(position)) else { continue };
            let path = files.dir_of(&queue);
            queue.relist();
            if disk::is_full(&source) {
                dirty.by_ref().for_each(|queue| queue.keep_listed());
            }
            first.get_or_insert(StoreError::Io { what: "write", path, source });
        }
        files.set_failure(first.as_ref().map(StoreError::to_string));
        first.map_or(Ok(()), Err)
    }

    /// Writes the tails that have become long, so that a few busy queues do not make a round over all of them.
    pub fn write_long_tails(&mut self, files: &QueueFiles) -> Result<(), StoreError> {
        for queue in files.take_long() {
            let path = files.dir_of(&queue);
            queue.write_tail(&mut self.scratch, None).map_err(StoreError::io("write", &path))?;
        }
        Ok(())
    }
}
