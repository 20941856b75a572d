//! JSON files of the broker's state, replaced so that a crash at any point leaves the old or the new one: as with
//! Java (store.md §2.1) the file before stays as `.bak`, and for a moment there may be only that.
//!
//! Java writes the new content straight to its place. If that fails half way, its next save makes the half-written
//! file the backup and the last good one is gone; so here it is written beside and takes its place when it is durable.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{self, Disk};

/// Replaces the content of `path` durably.
pub fn save(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    disk::create_dirs(disk, dir)?;
    let new = with_ending(path, ".tmp");
    let file = disk.create(&new, 0)?;
    file.write_at(content, 0)?;
    file.sync_data()?;
    // The new file's name must be durable before the old one gives up its own.
    disk.sync_dir(dir)?;
    if disk.stat(path)?.is_some_and(|stat| stat.len > 0) {
        disk.rename(path, &with_ending(path, ".bak"))?;
    }
    disk.rename(&new, path)?;
    disk.sync_dir(dir)
}

/// Content of `path`, or of its backup if `decode` can make nothing of it; `None` if neither says anything.
pub fn load<T>(
    disk: &dyn Disk,
    path: &Path,
    mut decode: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    for path in [path, &with_ending(path, ".bak")] {
        let Some(bytes) = disk::read_all(disk, path)? else { continue };
        if let Some(value) = Some(&bytes).filter(|bytes| !bytes.is_empty()).and_then(|bytes| decode(bytes)) {
            return Ok(Some(value));
        }
        tracing::warn!(path = %path.display(), bytes = bytes.len(), "configuration file says nothing; trying its backup");
        // It must not take the place of a good backup at the next save.
        disk.remove(path)?;
    }
    Ok(None)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
