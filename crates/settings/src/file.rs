//! Giving a settings file other content.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// Gives a file that is there other content at one moment: after a crash it has the old or the new one. Its mode stays
/// the same, and so do its owner and group if this process may choose them. A link would become a file: `path` names
/// what it leads to.
///
/// # Errors
/// When it cannot be done; the file is as it was, unless the last step alone failed, that the change survives a power
/// cut.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let new = PathBuf::from(name);
    let written = write_beside(path, &new, content);
    if written.is_err() {
        // The error that counts is the first one.
        let _ = fs::remove_file(&new);
    }
    written
}

fn write_beside(path: &Path, new: &Path, content: &[u8]) -> io::Result<()> {
    let old = fs::metadata(path)?;
    // Whatever stands under that name was left behind by a crash, or is a trap: it is not written through.
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // What is in it may be secret: nobody else opens it before it is known who may.
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(new)?;
    keep_owner(&file, &old);
    file.set_permissions(old.permissions())?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Only root may give files away; others may at least choose among their own groups.
fn keep_owner(file: &File, old: &fs::Metadata) {
    if fchown(file, Some(old.uid()), Some(old.gid())).is_err() {
        let _ = fchown(file, None, Some(old.gid()));
    }
}
