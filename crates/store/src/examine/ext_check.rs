//! Extensions of queue entries against the log: each says what its message says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::finding::{Area, Findings};
use crate::disk::{Disk, File};
use crate::error::StoreError;
use crate::options::Options;
use crate::queue_ext::{Decoded, Extension};
use crate::queue_kind::Unit;
use crate::segment;

/// Bytes that are read at once.
const READ_AHEAD: u64 = 16 << 10;
/// Files that are held at once; when there are more, all are let go.
const HELD_MAX: usize = 256;

/// Looks up the extensions of entries, which come in the order of the log.
pub(crate) struct ExtCheck<'a> {
    disk: &'a dyn Disk,
    root: PathBuf,
    segment_bytes: u64,
    /// By queue directory.
    held: BTreeMap<PathBuf, Held>,
    /// Extensions that agree with their records.
    pub count: u64,
    /// By queue directory: the first entry whose extension is not there, and how many.
    missing: BTreeMap<PathBuf, (u64, u64)>,
    wrong: BTreeMap<PathBuf, (u64, u64)>,
}

/// A piece of a file.
#[derive(Default)]
struct Held {
    file: Option<(u64, Arc<dyn File>)>,
    bytes: Vec<u8>,
    from: u64,
}

impl<'a> ExtCheck<'a> {
    pub fn new(disk: &'a dyn Disk, options: &Options) -> ExtCheck<'a> {
        ExtCheck {
            disk,
            root: options.root.join("consumequeue_ext"),
            segment_bytes: options.queue_ext_segment_bytes.max(1),
            held: BTreeMap::new(),
            count: 0,
            missing: BTreeMap::new(),
            wrong: BTreeMap::new(),
        }
    }

    /// Puts the right tags code into an entry that has the address of an extension, so that what is left to compare is
    /// the entry itself, and notes if the extension says something else: it should have this code and time.
    pub fn resolve(
        &mut self,
        unit: &mut Unit,
        (topic, queue_id): (&str, u32),
        tags_code: i64,
        stored_at: i64,
    ) -> Result<(), StoreError> {
        let Some(position) = unit.entry.extension_position() else { return Ok(()) };
        unit.entry.tags_code = tags_code;
        let dir = self.root.join(topic).join(queue_id.to_string());
        if self.held.len() >= HELD_MAX && !self.held.contains_key(&dir) {
            self.held.clear();
        }
        let held = self.held.entry(dir.clone()).or_default();
        let read = held.read(self.disk, &dir, self.segment_bytes, position);
        let found = match read.map_err(StoreError::io("read", &dir))? {
            Decoded::Unit(found) => {
                if (found.tags_code, found.store_timestamp) == (tags_code, stored_at) {
                    self.count += 1;
                    return Ok(());
                }
                &mut self.wrong
            }
            _ => &mut self.missing,
        };
        found.entry(dir).or_insert((unit.base, 0)).1 += 1;
        Ok(())
    }

    /// Reports what was noted.
    pub fn report(&mut self, findings: &mut Findings) {
        for (dir, (first, count)) in std::mem::take(&mut self.missing) {
            let what = format!("{count} entries from this one on name extensions that are not there");
            let remedy = "readers with filters look into the messages instead; `thrust store repair` rebuilds the queue";
            findings.add(Area::Queue, &dir, first, what, remedy);
        }
        for (dir, (first, count)) in std::mem::take(&mut self.wrong) {
            let what = format!("{count} entries from this one on have extensions of other messages");
            let remedy = "readers with filters may miss them; `thrust store repair` rebuilds the queue";
            findings.add(Area::Queue, &dir, first, what, remedy);
        }
    }
}

impl Held {
    fn read(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        segment_bytes: u64,
        position: u64,
    ) -> std::io::Result<Decoded<'_>> {
        let mut wanted = READ_AHEAD;
        for _ in 0..2 {
            match Extension::decode(self.at(position)) {
                Decoded::Short(needed) => wanted = wanted.max(needed as u64),
                _ => break,
            }
            self.fetch(disk, dir, segment_bytes, position, wanted)?;
        }
        Ok(Extension::decode(self.at(position)))
    }

    fn at(&self, position: u64) -> &[u8] {
        let at = position.checked_sub(self.from).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.bytes.get(at..)).unwrap_or_default()
    }

    fn fetch(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        segment_bytes: u64,
        position: u64,
        wanted: u64,
    ) -> std::io::Result<()> {
        (self.from, self.bytes) = (position, Vec::new());
        let start = position / segment_bytes * segment_bytes;
        if self.file.as_ref().is_none_or(|(held, _)| *held != start) {
            let path = segment::path_of(dir, start);
            self.file = match disk.stat(&path)? {
                Some(_) => Some((start, disk.open(&path)?)),
                None => None,
            };
        }
        let Some((_, file)) = &self.file else { return Ok(()) };
        let len = file.len()?.saturating_sub(position - start).min(wanted);
        self.bytes.resize(len as usize, 0);
        file.read_at(&mut self.bytes, position - start)
    }
}
