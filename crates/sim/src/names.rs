//! Names of files and directories, and which of their changes survive a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::random::Random;

/// Which names there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Names {
    pub files: BTreeMap<PathBuf, u64>,
    pub dirs: BTreeSet<PathBuf>,
}

/// One change of a directory.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A file got a name, or its name was taken away.
    File { path: PathBuf, inode: Option<u64> },
    /// A file changed its name; both names change together or not at all.
    Rename { from: PathBuf, to: PathBuf, inode: u64 },
    /// A directory was made or removed.
    Dir { path: PathBuf, there: bool },
}

impl Change {
    /// The directory whose sync makes it durable.
    pub fn dir(&self) -> &Path {
        let (Change::File { path, .. } | Change::Rename { to: path, .. } | Change::Dir { path, .. }) = self;
        path.parent().unwrap_or(Path::new(""))
    }

    /// What is left of this change once a directory is gone.
    pub fn without(self, gone: &Path) -> Option<Change> {
        match self {
            change if !change.dir().starts_with(gone) => Some(change),
            Change::Rename { from, .. } if !from.starts_with(gone) => {
                Some(Change::File { path: from, inode: None })
            }
            _ => None,
        }
    }

    fn names(&self) -> impl Iterator<Item = &PathBuf> {
        let (one, other) = match self {
            Change::File { path, .. } | Change::Dir { path, .. } => (path, None),
            Change::Rename { from, to, .. } => (from, Some(to)),
        };
        std::iter::once(one).chain(other)
    }

    pub fn apply(&self, names: &mut Names) {
        match self {
            Change::File { path, inode: Some(inode) } => {
                names.files.insert(path.clone(), *inode);
            }
            Change::File { path, inode: None } => {
                names.files.remove(path);
            }
            Change::Rename { from, to, inode } => {
                names.files.remove(from);
                names.files.insert(to.clone(), *inode);
            }
            Change::Dir { path, there: true } => {
                names.dirs.insert(path.clone());
            }
            Change::Dir { path, there: false } => {
                // It was empty: what was in it does not come back with a new directory of that name.
                names.files.retain(|name, _| !name.starts_with(path));
                names.dirs.retain(|name| !name.starts_with(path));
            }
        }
    }
}

/// The names after a power cut, when `changes` were made since their directories were synced.
///
/// Of each directory the first changes survive, as with a journal, or any of them, as far as one name's changes
/// stay in order: POSIX promises no more.
pub(crate) fn crash(durable: &Names, changes: &[Change], random: &mut Random, kept: u64) -> Names {
    let mut names = durable.clone();
    if random.chance(50) {
        first_of_each_directory(&mut names, changes, random);
    } else {
        any_of_them(&mut names, changes, random, kept);
    }
    // What stands in a directory that did not survive is gone.
    let dirs = names.dirs.clone();
    let reachable = |path: &Path| {
        let mut above = path.ancestors().skip(1);
        above.all(|dir| dir.parent().is_none() || dir.as_os_str().is_empty() || dirs.contains(dir))
    };
    names.files.retain(|path, _| reachable(path));
    names.dirs.retain(|path| reachable(path));
    names
}

fn first_of_each_directory(names: &mut Names, changes: &[Change], random: &mut Random) {
    let mut left: BTreeMap<&Path, u64> = BTreeMap::new();
    for change in changes {
        *left.entry(change.dir()).or_default() += 1;
    }
    for count in left.values_mut() {
        *count = random.below(*count + 1);
    }
    for change in changes {
        if let Some(count) = left.get_mut(change.dir()).filter(|count| **count > 0) {
            *count -= 1;
            change.apply(names);
        }
    }
}

fn any_of_them(names: &mut Names, changes: &[Change], random: &mut Random, kept: u64) {
    let mut lost: BTreeSet<&PathBuf> = BTreeSet::new();
    for change in changes {
        if change.names().all(|name| !lost.contains(name)) && random.chance(kept) {
            change.apply(names);
        } else {
            lost.extend(change.names());
        }
    }
}
