//! The end of the log: where the next record goes, and how it is written there.
//!
//! Invariant: what a failed write may have left behind the end is cleared before the next one, so that it cannot come
//! to life in a crash.

use std::io;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use wire::record::{BLANK_SIZE, MAGIC_BLANK};

use crate::base::{Base, Moment};
use crate::checkpoint::Mark;
use crate::commit_log::CommitLog;
use crate::disk;
use crate::error::AppendError;
use crate::index_keys::Keys;
use crate::queue_journal::Fresh;
use crate::segment::{self, Segment};
use crate::zeros::Zeros;

/// What the append lock guards.
pub(crate) struct Appender {
    /// The segment that holds `end`, once it exists.
    segment: Option<Arc<Segment>>,
    /// Where the next record goes.
    pub end: u64,
    /// Zeros are being written there.
    pub zeroing: Option<Range<u64>>,
    /// A failed write may have reached up to here.
    dirty_until: u64,
    /// Store time of the last record: it never goes back along the log (store.md §3.1).
    pub last_timestamp: i64,
    /// Messages that got a place in a queue so far, those of deleted topics not counted.
    pub entries: u64,
    /// Queue entries that are to be written to their journal.
    pub fresh: Fresh,
    /// Keys that are to be indexed.
    pub keys: Keys,
}

impl Appender {
    pub fn new(end: u64, last_timestamp: i64, entries: u64, fresh: Fresh, keys: Keys) -> Appender {
        Appender { segment: None, end, zeroing: None, dirty_until: 0, last_timestamp, entries, fresh, keys }
    }

    /// The segment that the next record probably goes to.
    pub fn segment(&self) -> Option<&Arc<Segment>> {
        self.segment.as_ref()
    }

    pub fn moment(&self) -> Moment {
        Moment { mark: Mark { position: self.end, entries: self.entries }, timestamp: self.last_timestamp }
    }

    /// Bytes left in the segment of the end, which is created if need be.
    pub fn room(&mut self, log: &CommitLog) -> Result<u64, AppendError> {
        let end = self.end;
        if let Some(segment) = self.segment.as_ref().filter(|segment| end < segment.until()) {
            return Ok(segment.until() - end);
        }
        let segment = match log.segment_at(end) {
            Some(segment) => segment,
            None => log.next_segment(end).map_err(|source| {
                let path = segment::path_of(&log.dir, end);
                if disk::is_full(&source) {
                    AppendError::DiskFull { path, detail: source.to_string() }
                } else {
                    AppendError::NoSegment { path, source }
                }
            })?,
        };
        let room = segment.until() - end;
        self.segment = Some(segment);
        Ok(room)
    }

    /// Ends the current segment with a blank. This stands whatever becomes of the batch that caused it.
    pub fn roll(&mut self, base: &Base, zeros: &Zeros) -> Result<(), AppendError> {
        let Some(until) = self.segment.as_ref().map(|segment| segment.until()) else { return Ok(()) };
        let remaining = until - self.end;
        let mut blank = [0; BLANK_SIZE];
        blank[..4].copy_from_slice(&(remaining as u32).to_be_bytes());
        blank[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
        self.write(base, zeros, &blank)?;
        self.keys.add(self.end..until, iter::empty());
        self.end = until;
        self.segment = None;
        base.log.set_end(until);
        Ok(())
    }

    /// Writes at the end of the log, where nothing is left of an earlier failure and [`Appender::room`] has found a
    /// segment. The end stays where it is.
    pub fn write(&mut self, base: &Base, zeros: &Zeros, bytes: &[u8]) -> Result<(), AppendError> {
        self.clear_rests(base, zeros)?;
        let Some(segment) = &self.segment else {
            let path = segment::path_of(&base.log.dir, self.end);
            return Err(AppendError::NoSegment { path, source: io::ErrorKind::NotFound.into() });
        };
        let until = self.end + bytes.len() as u64;
        zeros.wait_for_range(&mut self.zeroing, until);
        segment.file.write_at(bytes, self.end - segment.base).map_err(|source| {
            self.dirty_until = until;
            write_error(segment, source)
        })
    }

    /// Clears what a failed write may have left behind the end, durably. Were it only overwritten, a power cut could
    /// still bring back parts of it among the records that are written now, and the CRC covers no more than bodies.
    /// Done before a clean stop too: the next start would count it as a record.
    pub fn clear_rests(&mut self, base: &Base, zeros: &Zeros) -> Result<(), AppendError> {
        let Some(segment) = &self.segment else { return Ok(()) };
        let until = self.dirty_until.min(segment.until());
        if until <= self.end {
            return Ok(());
        }
        zeros.wait_for_range(&mut self.zeroing, until);
        let rests = vec![0; (until - self.end) as usize];
        let cleared = segment.file.write_at(&rests, self.end - segment.base);
        cleared.map_err(|source| write_error(segment, source))?;
        segment.sync_data().map_err(|source| {
            let cause = format!("cannot sync {}: {source}", segment.path.display());
            base.sync_failed(cause.clone());
            AppendError::ReadOnly { cause }
        })?;
        self.dirty_until = 0;
        Ok(())
    }
}

fn write_error(segment: &Segment, source: io::Error) -> AppendError {
    let path = segment.path.clone();
    if disk::is_full(&source) {
        AppendError::DiskFull { path, detail: source.to_string() }
    } else {
        AppendError::Io { path, source }
    }
}
