//! JSON files of the broker's state, replaced so that a crash at any point leaves the old or the new one
//! (store.md §2.1): the present file becomes `.bak`, then the new one is written.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{self, Disk};

/// Replaces the content of `path` durably.
pub fn save(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    disk::create_dirs(disk, dir)?;
    // Only a file that says something may take the backup's place.
    if disk.stat(path)?.is_some_and(|stat| stat.len > 0) {
        disk.rename(path, &backup_of(path))?;
        disk.sync_dir(dir)?;
    }
    let file = disk.create(path, 0)?;
    file.write_at(content, 0)?;
    file.sync_data()?;
    disk.sync_dir(dir)
}

/// Content of `path`, or of its backup if `decode` can make nothing of it; `None` if neither says anything.
pub fn load<T>(
    disk: &dyn Disk,
    path: &Path,
    mut decode: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    for path in [path, &backup_of(path)] {
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

fn backup_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bak");
    PathBuf::from(name)
}
