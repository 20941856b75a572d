//! Compaction logs: whether each entry leads to its message.

use std::path::Path;
use std::sync::Arc;

use super::finding::{Area, Findings};
use super::store_files::StoreFiles;
use crate::commit_log::{Look, Window, look_in};
use crate::compaction::{Unit, log_root, units_root};
use crate::disk::File;
use crate::error::StoreError;
use crate::queue_kind::UNIT_BYTES;
use crate::segment::{self, Segment};

/// The compaction log of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactedView {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub id: u32,
    /// Files of records.
    pub files: usize,
    /// Messages that are kept.
    pub messages: u64,
    /// Queue offset of the first of them; 0 if there is none.
    pub first: u64,
    /// Queue offset of the last of them; 0 if there is none.
    pub last: u64,
}

const REBUILT: &str =
    "the next start of the broker makes the entries anew of the records; or restore the file from a backup";
const RESTORE: &str = "the message is not served; restore the file from a backup";
const LEFT: &str = "a replacement of files was interrupted; the next start of the broker ends it";

impl StoreFiles {
    /// What is in the compaction logs, by their entries.
    pub(super) fn view_compacted(&self) -> Result<Vec<CompactedView>, StoreError> {
        self.each_compaction_log(None)
    }

    /// Compares the entries of all compaction logs with their records.
    pub(super) fn check_compacted(&self, findings: &mut Findings) -> Result<Vec<CompactedView>, StoreError> {
        self.each_compaction_log(Some(findings))
    }

    fn each_compaction_log(
        &self,
        mut findings: Option<&mut Findings>,
    ) -> Result<Vec<CompactedView>, StoreError> {
        let root = log_root(&self.options.root);
        let list = |dir: &Path| self.disk.list(dir).map_err(StoreError::io("list", dir));
        let mut views = Vec::new();
        for topic in list(&root)?.into_iter().filter(|entry| entry.is_dir) {
            for queue in list(&root.join(&topic.name))?.into_iter().filter(|entry| entry.is_dir) {
                let Ok(id) = queue.name.parse::<u32>() else { continue };
                let log = root.join(&topic.name).join(&queue.name);
                let units = units_root(&self.options.root).join(&topic.name).join(&queue.name);
                let topic = topic.name.clone();
                let mut view = CompactedView { topic, id, files: 0, messages: 0, first: 0, last: 0 };
                self.look_at_compaction_log(&log, &units, &mut view, &mut findings)?;
                views.push(view);
            }
        }
        Ok(views)
    }

    fn look_at_compaction_log(
        &self,
        log: &Path,
        units: &Path,
        view: &mut CompactedView,
        findings: &mut Option<&mut Findings>,
    ) -> Result<(), StoreError> {
        let mut add = |path: &Path, at: Option<u64>, what: String, remedy: &'static str| {
            if let Some(findings) = findings {
                findings.add(Area::Compaction, path, at, what, remedy);
            }
        };
        let clean = self.is_clean()?;
        for entry in self.disk.list(log).map_err(StoreError::io("list", log))? {
            let path = log.join(&entry.name);
            if entry.is_dir {
                let left = self.disk.list(&path).map_err(StoreError::io("list", &path))?;
                if !left.is_empty() {
                    add(&path, None, format!("holds {} files", left.len()), LEFT);
                }
                continue;
            }
            let Some(base) = segment::base_of(&entry.name) else {
                add(&path, None, "is no file of a compaction log".into(), LEFT);
                continue;
            };
            let units_path = units.join(&entry.name);
            view.files += 1;
            let Some(units) = self.open_units(&units_path)? else {
                add(&units_path, None, "is missing".into(), REBUILT);
                continue;
            };
            let file = self.disk.open(&path).map_err(StoreError::io("open", &path))?;
            let part = Segment::new(base, entry.len, path, file);
            compare(&part, &*units, clean, view, &mut add).map_err(StoreError::io("read", &units_path))?;
        }
        Ok(())
    }

    fn open_units(&self, path: &Path) -> Result<Option<Arc<dyn File>>, StoreError> {
        if self.disk.stat(path).map_err(StoreError::io("look at", path))?.is_none() {
            return Ok(None);
        }
        self.disk.open(path).map(Some).map_err(StoreError::io("open", path))
    }
}

/// Takes a file, a position in it, what is wrong there, and the remedy.
type AddFinding<'a> = dyn FnMut(&Path, Option<u64>, String, &'static str) + 'a;

/// Walks over the entries of a part to the first that is none, behind which there may be no more.
fn compare(
    part: &Segment,
    units: &dyn File,
    clean: bool,
    view: &mut CompactedView,
    add: &mut AddFinding<'_>,
) -> std::io::Result<()> {
    let mut window = Window::new(u64::MAX);
    let mut bytes = vec![0; units.len()? as usize / UNIT_BYTES * UNIT_BYTES];
    units.read_at(&mut bytes, 0)?;
    let mut end = part.base;
    let mut slots = bytes.chunks_exact(UNIT_BYTES);
    for unit in slots.by_ref().map_while(Unit::decode) {
        let lies_within = unit.position >= part.base && unit.until() <= part.until();
        if lies_within {
            end = unit.until();
        }
        if view.messages > 0 && unit.queue_offset <= view.last {
            let what = format!("queue offset {} comes behind {}", unit.queue_offset, view.last);
            add(&part.path, Some(unit.position), what, REBUILT);
        }
        if view.messages == 0 {
            view.first = unit.queue_offset;
        }
        view.messages += 1;
        view.last = unit.queue_offset;
        let look = if lies_within { look_in(part, unit.position, &mut window)? } else { Look::Nothing };
        if let Some(what) = misfit(look, &unit, view) {
            add(&part.path, Some(unit.position), what, RESTORE);
        }
    }
    let goes_on = slots.any(|slot| Unit::decode(slot).is_some() || slot == Unit::end_marker());
    // A broker that was killed may have come as far as the record.
    let mut has_record = || -> std::io::Result<bool> {
        Ok(end < part.until() && matches!(look_in(part, end, &mut window)?, Look::Record(_)))
    };
    if goes_on || clean && has_record()? {
        add(&part.path, Some(end), "the entry of what is there is damaged".into(), REBUILT);
    }
    Ok(())
}

/// Why what stands where an entry leads is not its message, if it is not.
fn misfit(look: Look<'_>, unit: &Unit, view: &CompactedView) -> Option<String> {
    let record = match look {
        Look::Record(record) if record.verify_crc().is_ok() => record,
        Look::Record(_) => return Some("the record's CRC does not fit".to_owned()),
        Look::Bad(reason) => return Some(reason),
        Look::Blank { .. } | Look::Nothing => return Some("no record is there".to_owned()),
    };
    let fits = record.bytes.len() == unit.size as usize
        && record.queue_offset == unit.queue_offset as i64
        && record.topic == view.topic
        && record.queue_id == view.id;
    (!fits).then(|| format!("the record is not the one of queue offset {}", unit.queue_offset))
}
