//! Small files that are written whole. One that the nameserver keeps for itself leaves a backup: the new content is
//! made durable as `X.tmp`, the old one becomes `X.bak`, and the new one takes its place (store.md §2). One of the
//! user's stays the file that it was.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where the content before the last change is.
pub(crate) fn backup_of(path: &Path) -> PathBuf {
    with_ending(path, ".bak")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// Gives the file new content that survives a power cut. When that fails, the file is as it was.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let (new, backup) = (with_ending(path, ".tmp"), backup_of(path));
    create(&new, content)?;
    // The new file's name must be durable before the old one gives up its own.
    sync(folder)?;
    let existed = move_away(path, &backup)?;
    let placed = fs::rename(&new, path);
    if placed.is_err() && existed {
        // Should this fail too, readers find the backup.
        let _ = fs::rename(&backup, path);
    }
    placed.and_then(|()| sync(folder))
}

/// Moves a damaged file out of the way, so that the next change does not make it the backup.
pub(crate) fn keep_broken(path: &Path) -> io::Result<()> {
    move_away(path, &with_ending(path, ".broken")).map(drop)
}

/// False if there is none.
fn move_away(path: &Path, to: &Path) -> io::Result<bool> {
    match fs::rename(path, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives a file of the user other content at one moment, without a backup. A link stays a link to the file that it
/// names, and who may read it stays the same.
pub(crate) fn rewrite(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return replace(path, content),
        Err(error) => return Err(error),
    };
    settings::replace_file(&path, content)
}

/// Reads the file, or `None` when there is none.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
