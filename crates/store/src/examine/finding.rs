//! What is wrong with a store, said so that an operator can act on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The kind of file that a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// Segments of the commit log.
    Log,
    /// Consume queues.
    Queue,
    /// Compaction logs.
    Compaction,
    /// The key index.
    Index,
    /// The checkpoint.
    Checkpoint,
    /// Files below `config/`.
    Config,
}

impl Area {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Area::Log => "log",
            Area::Queue => "queue",
            Area::Compaction => "compaction",
            Area::Index => "index",
            Area::Checkpoint => "checkpoint",
            Area::Config => "config",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Kind of file.
    pub area: Area,
    /// The file or directory.
    pub path: PathBuf,
    /// Where in it: a physical offset in the log, an entry's number in a queue or index, a byte elsewhere.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// Findings of each area that are kept; the others are counted.
const KEPT_PER_AREA: u64 = 50;

/// All findings of one look: the first ones of each area, and how many there are.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    counts: BTreeMap<Area, u64>,
}

impl Findings {
    /// The first findings of each area, in the order in which they were made.
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// How many there are of each area.
    pub fn counts(&self) -> &BTreeMap<Area, u64> {
        &self.counts
    }

    /// How many there are of one area.
    pub fn count(&self, area: Area) -> u64 {
        self.counts.get(&area).copied().unwrap_or(0)
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub(crate) fn add(
        &mut self,
        area: Area,
        path: &Path,
        offset: impl Into<Option<u64>>,
        what: impl Into<String>,
        remedy: &'static str,
    ) {
        self.add_finding(Finding {
            area,
            path: path.to_path_buf(),
            offset: offset.into(),
            what: what.into(),
            remedy,
        });
    }

    pub(crate) fn add_finding(&mut self, finding: Finding) {
        let count = self.counts.entry(finding.area).or_default();
        *count += 1;
        if *count <= KEPT_PER_AREA {
            self.kept.push(finding);
        }
    }
}
