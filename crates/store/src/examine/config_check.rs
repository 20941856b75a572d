//! The checkpoint and the files below `config/`, as far as they can be told sound.

use std::collections::BTreeSet;
use std::path::Path;

use super::finding::{Area, Findings};
use crate::checkpoint::Checkpoint;
use crate::config_file::{self, Text};
use crate::disk::Disk;
use crate::error::StoreError;

/// What one file below `config/` is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConfigState {
    /// It can be read.
    Sound,
    /// Nothing is in it.
    Empty,
    /// It is no JSON.
    NoJson,
    /// Its bytes have changed since they were written.
    Changed,
}

impl ConfigState {
    pub fn of(text: Option<&Text>) -> ConfigState {
        let Some(text) = text else { return ConfigState::Empty };
        match text.content() {
            None => ConfigState::Changed,
            Some(content) if wire::loose_json::strict(&content).is_err() => ConfigState::NoJson,
            Some(_) => ConfigState::Sound,
        }
    }

    pub fn says(self) -> &'static str {
        match self {
            ConfigState::Sound => "sound",
            ConfigState::Empty => "empty",
            ConfigState::NoJson => "is no JSON",
            ConfigState::Changed => "is damaged: its crc32 entry does not fit, and nobody has edited it",
        }
    }
}

/// Whether the broker reads a file of this name as JSON.
pub(crate) fn is_json(name: &str) -> bool {
    name.ends_with(".json") || name.ends_with(".json.bak")
}

/// Parses every JSON file below `config/`; gives the names of the topics, if they can be read.
pub(crate) fn check_config(
    disk: &dyn Disk,
    root: &Path,
    findings: &mut Findings,
) -> Result<Option<BTreeSet<String>>, StoreError> {
    const BACKUP: &str = "the broker uses the backup and keeps this file as .broken";
    const IS_BACKUP: &str =
        "the broker needs it only if the file itself is lost; it is replaced at the next save";
    let dir = root.join("config");
    for entry in disk.list(&dir).map_err(StoreError::io("list", &dir))? {
        if entry.is_dir || !is_json(&entry.name) {
            continue;
        }
        let path = dir.join(&entry.name);
        let text = config_file::read(disk, &path).map_err(StoreError::io("read", &path))?;
        let state = ConfigState::of(text.as_ref());
        if matches!(state, ConfigState::NoJson | ConfigState::Changed) {
            let remedy = if entry.name.ends_with(".bak") { IS_BACKUP } else { BACKUP };
            findings.add(Area::Config, &path, None, state.says(), remedy);
        }
    }
    let path = dir.join("topics.json");
    let text = config_file::read(disk, &path).map_err(StoreError::io("read", &path))?;
    Ok(text.and_then(|text| topic_names(&text.content()?)))
}

/// The keys of `topicConfigTable`. Names of topics have no quotes and no escapes.
fn topic_names(bytes: &[u8]) -> Option<BTreeSet<String>> {
    let text = wire::loose_json::strict(bytes).ok()?;
    let text = std::str::from_utf8(&text).ok()?;
    let names = text.split("\"topicName\"").skip(1).filter_map(|rest| {
        let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
        rest.split('"').next().map(str::to_owned)
    });
    Some(names.collect())
}

/// The checkpoint must not be ahead of the log.
pub(crate) fn check_checkpoint(
    checkpoint: &Checkpoint,
    path: &Path,
    log_end: u64,
    last_timestamp: i64,
    findings: &mut Findings,
) {
    const REMEDY: &str = "if the log's end was lost, restore it; `thrust store repair` writes a checkpoint that fits what is there";
    let times = [
        (0, "physicMsgTimestamp", checkpoint.physic_timestamp),
        (8, "logicsMsgTimestamp", checkpoint.logics_timestamp),
        (16, "indexMsgTimestamp", checkpoint.index_timestamp),
    ];
    for (at, name, time) in times {
        if time > last_timestamp {
            let what = format!("{name} {time} is later than the last record, stored at {last_timestamp}");
            findings.add(Area::Checkpoint, path, at, what, REMEDY);
        }
    }
    let mut offsets = vec![
        (24, "masterFlushedOffset", checkpoint.master_flushed),
        (32, "confirmPhyOffset", checkpoint.confirm),
        (40, "logicsPhysicalOffset", checkpoint.logics_offset),
    ];
    if let Some(own) = &checkpoint.own {
        offsets.push((88, "flushed", own.flushed as i64));
        offsets.push((96, "written", own.written.position as i64));
        offsets.push((112, "durable", own.durable.position as i64));
    }
    for (at, name, offset) in offsets {
        if offset > log_end as i64 {
            let what = format!("{name} {offset} is behind the end of the log at {log_end}");
            findings.add(Area::Checkpoint, path, at, what, REMEDY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_topics_are_read_from_java_s_form() {
        let text = br#"{"dataVersion":{"counter":1},"topicConfigTable":{"a":{"perm":6,"topicName":"a"},"b-c":{"topicName" : "b-c"}}}"#;
        let names = topic_names(text).unwrap();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a", "b-c"]);
    }
}
