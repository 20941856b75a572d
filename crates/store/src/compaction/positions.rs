//! `compaction/position-checkpoint`: up to which queue offset each queue was compacted. In Java's form, and only an
//! advice: where it is missing or behind, more is compacted again.

use std::io;
use std::path::{Path, PathBuf};

use wire::body::CompactionPositions;

use crate::config_file;
use crate::disk::Disk;

/// The file and what is in it.
pub(crate) struct Positions {
    pub path: PathBuf,
    content: CompactionPositions,
    changed: bool,
}

impl Positions {
    /// Reads the file; what cannot be read counts as nothing.
    pub fn load(disk: &dyn Disk, root: &Path) -> Positions {
        let path = root.join("compaction").join("position-checkpoint");
        let read = config_file::load(disk, &path, |bytes| wire::loose_json::read(bytes).ok());
        let content = read.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "compaction begins anew: how far it had come cannot be read");
            None
        });
        Positions { path, content: content.unwrap_or_default(), changed: false }
    }

    /// −1 if the queue was never compacted.
    pub fn get(&self, topic: &str, id: u32) -> i64 {
        self.content.queue_offset_map.get(&name(topic, id)).copied().unwrap_or(-1)
    }

    pub fn set(&mut self, topic: &str, id: u32, queue_offset: i64) {
        let before = self.content.queue_offset_map.insert(name(topic, id), queue_offset);
        self.changed |= before != Some(queue_offset);
    }

    /// Forgets the queues of a topic that was deleted.
    pub fn forget(&mut self, topic: &str) {
        let is_of_topic = |name: &str| {
            let id = name.strip_prefix(topic).and_then(|rest| rest.strip_prefix('_'));
            id.is_some_and(|id| id.parse::<u32>().is_ok())
        };
        let before = self.content.queue_offset_map.len();
        self.content.queue_offset_map.retain(|name, _| !is_of_topic(name));
        self.changed |= self.content.queue_offset_map.len() != before;
    }

    /// Replaces the file durably if anything is new.
    pub fn save(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if self.changed {
            config_file::save(disk, &self.path, &self.content.to_json())?;
            self.changed = false;
        }
        Ok(())
    }
}

fn name(topic: &str, id: u32) -> String {
    format!("{topic}_{id}")
}
