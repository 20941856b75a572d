//! The segments of a log as they are found, and a walk over them that goes on behind damage.

use std::sync::Arc;

use wire::prop_crc;
use wire::record::Record;

use super::finding::{Area, Findings};
use crate::commit_log::{Look, Window, look_in};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::options::Options;
use crate::segment::{self, Segment};
use crate::sound_place;

/// Segments of the right name and length, in order; there may be holes between them.
pub(crate) struct LogFiles {
    pub segments: Vec<Arc<Segment>>,
    segment_bytes: u64,
    force_prop_crc: bool,
}

/// What the walk comes to.
pub(crate) enum Event<'a> {
    /// A sound record.
    Record(&'a Record<'a>),
    /// The end of a segment.
    Blank,
    /// Bytes that are no sound record, up to where the next sound one or the next segment begins; `None` where nothing
    /// sound follows at all.
    Damage { from: u64, until: Option<u64>, reason: String },
}

impl LogFiles {
    pub fn load(disk: &dyn Disk, options: &Options, findings: &mut Findings) -> Result<LogFiles, StoreError> {
        const STRAY: &str = "move it out of the directory; neither Java's broker nor this one starts with it";
        const LENGTH: &str =
            "restore the file from a backup, or give the right mappedFileSizeCommitLog if it is another";
        let dir = options.log_dir();
        let segment_bytes = options.segment_bytes;
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        let entries = disk.list(&dir).map_err(StoreError::io("list", &dir))?;
        let files: Vec<_> = entries.into_iter().filter(|entry| !entry.is_dir).collect();
        for (i, entry) in files.iter().enumerate() {
            let path = dir.join(&entry.name);
            let Some(base) = segment::base_of(&entry.name).filter(|base| base % segment_bytes == 0) else {
                findings.add(Area::Log, &path, None, "is no commit log segment", STRAY);
                continue;
            };
            if entry.len != segment_bytes {
                // The last file may have been cut off from the moment of its creation; opening removes such a one.
                if entry.len > 0 || i + 1 < files.len() {
                    let what = format!("has {} bytes where segments have {segment_bytes}", entry.len);
                    findings.add(Area::Log, &path, None, what, LENGTH);
                }
                continue;
            }
            if let Some(last) = segments.last().filter(|last| last.until() != base) {
                let what = format!("does not follow its predecessor, which ends at {}", last.until());
                let remedy = "restore the segments between them, or move the older ones away";
                findings.add(Area::Log, &path, base, what, remedy);
            }
            let file = disk.open(&path).map_err(StoreError::io("open", &path))?;
            segments.push(Arc::new(Segment::new(base, segment_bytes, path, file)));
        }
        Ok(LogFiles { segments, segment_bytes, force_prop_crc: options.force_verify_prop_crc })
    }

    /// First offset.
    pub fn min(&self) -> u64 {
        self.segments.first().map_or(0, |segment| segment.base)
    }

    /// Offset behind the last file.
    pub fn files_end(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.until())
    }

    pub fn segment_at(&self, offset: u64) -> Option<&Arc<Segment>> {
        let base = offset / self.segment_bytes * self.segment_bytes;
        let place = self.segments.binary_search_by_key(&base, |segment| segment.base).ok()?;
        self.segments.get(place)
    }

    /// Reads everything from the first segment on, up to the offset behind the last sound record or blank, which it
    /// gives. `promised` is up to where the log was durable, if that is known.
    pub fn walk(
        &self,
        promised: Option<u64>,
        visit: &mut dyn FnMut(&Segment, Event<'_>) -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        let mut at = self.min();
        let mut window = Window::new(u64::MAX);
        while let Some(segment) = self.next_segment(at) {
            at = at.max(segment.base);
            let look = look_in(segment, at, &mut window).map_err(StoreError::io("read", &segment.path))?;
            let reason = match look {
                Look::Record(record) => match self.unsound(&record) {
                    None => {
                        at += record.bytes.len() as u64;
                        visit(segment, Event::Record(&record))?;
                        continue;
                    }
                    Some(reason) => reason,
                },
                Look::Blank { next } => {
                    visit(segment, Event::Blank)?;
                    at = next;
                    continue;
                }
                Look::Bad(reason) => reason,
                Look::Nothing => break,
            };
            // Here the log ends, unless it is known or seen to go on.
            let next = match promised {
                Some(promised) if at >= promised => return Ok(at),
                Some(_) => self.next_sound(at)?,
                None => self.next_unpromised(segment, at)?,
            };
            if next.is_none() && promised.is_none() {
                return Ok(at);
            }
            visit(segment, Event::Damage { from: at, until: next, reason })?;
            match next {
                Some(next) => at = next,
                None => return Ok(at),
            }
        }
        Ok(at)
    }

    /// The segment that holds an offset, or the next one behind a hole.
    fn next_segment(&self, at: u64) -> Option<&Arc<Segment>> {
        let place = self.segments.partition_point(|segment| segment.until() <= at);
        self.segments.get(place)
    }

    fn unsound(&self, record: &Record<'_>) -> Option<String> {
        let verified = if self.force_prop_crc { prop_crc::verify(record.bytes) } else { record.verify_crc() };
        verified.err().map(|error| error.to_string())
    }

    /// Where the log goes on behind unsound bytes, without a word on what was flushed. A segment that begins soundly
    /// was begun when the one before was full. Within one segment there may be rests from before a truncation (store.md
    /// §24 T1), but not right behind garbage.
    fn next_unpromised(&self, segment: &Segment, at: u64) -> Result<Option<u64>, StoreError> {
        let mut window = Window::new(0);
        let len = (segment.until() - at).min(8) as usize;
        let head = window.bytes(segment, at, len).map_err(StoreError::io("read", &segment.path))?;
        if head.iter().any(|&byte| byte != 0) {
            return self.next_sound(at);
        }
        for later in self.segments.iter().filter(|later| later.base > at) {
            let look =
                look_in(later, later.base, &mut window).map_err(StoreError::io("read", &later.path))?;
            if let Look::Record(_) = look {
                return self.next_sound(at);
            }
        }
        Ok(None)
    }

    /// Where the first sound record or blank behind `at` begins.
    fn next_sound(&self, at: u64) -> Result<Option<u64>, StoreError> {
        let mut from = at + 1;
        while let Some(segment) = self.next_segment(from) {
            from = from.max(segment.base);
            let is_sound = |record: &Record<'_>| self.unsound(record).is_none();
            let goes_on = |next| self.next_segment(next).is_some();
            let found = sound_place::next_in(segment, from, &is_sound, &goes_on);
            if let Some(found) = found.map_err(StoreError::io("read", &segment.path))? {
                return Ok(Some(found));
            }
            from = segment.until();
        }
        Ok(None)
    }
}
