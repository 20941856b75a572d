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

/// Content of `path`, or of its backup if `decode` can make nothing of it; `None` if there is neither.
///
/// A file that cannot be read is kept as `.broken`, so that it does not become the backup at the next save. If the
/// backup does not help either, that is an error and nothing is touched: a broker that starts with empty offsets or
/// topics loses more than one that does not start.
pub fn load<T>(
    disk: &dyn Disk,
    path: &Path,
    mut decode: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    let backup = with_ending(path, ".bak");
    // An empty file is what a crash can leave of one that was being made; it says as much as none.
    let read =
        |path: &Path| Ok::<_, io::Error>(disk::read_all(disk, path)?.filter(|bytes| !bytes.is_empty()));
    let (present, before) = (read(path)?, read(&backup)?);
    if let Some(value) = present.as_deref().and_then(&mut decode) {
        return Ok(Some(value));
    }
    if let Some(value) = before.as_deref().and_then(&mut decode) {
        if present.is_some() {
            let broken = with_ending(path, ".broken");
            tracing::error!(kept = %broken.display(), "{} is damaged; its backup is used", path.display());
            disk.rename(path, &broken)?;
        }
        return Ok(Some(value));
    }
    if present.is_none() && before.is_none() {
        return Ok(None);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{} and its backup are damaged; restore one of them, or move both away to start without what they held",
            path.display()
        ),
    ))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
