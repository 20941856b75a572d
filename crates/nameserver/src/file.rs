//! Small files that are written whole. One that the nameserver keeps for itself leaves a backup: the old content
//! becomes `X.bak`, then `X` is made anew (store.md §2). One of the user's stays the file that it was.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where the content before the last change is.
pub(crate) fn backup_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".bak");
    PathBuf::from(name)
}

/// Gives the file new content that survives a power cut. When that fails, the file is as it was.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let backup = backup_of(path);
    let existed = match fs::rename(path, &backup) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    let written = sync(folder).and_then(|()| create(path, content)).and_then(|()| sync(folder));
    if written.is_err() && existed {
        // Should this fail too, readers find the backup.
        let _ = fs::rename(&backup, path);
    }
    written
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
