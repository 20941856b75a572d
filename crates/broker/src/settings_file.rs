//! The file that the broker was started with, as far as clients may change it (code 25): values of single keys, in
//! place of the old ones. What may be changed is decided in `settings::update`; which file it is, on the command line
//! alone.

use std::fs;
use std::io;
use std::path::PathBuf;

use settings::properties;

/// A `broker.conf`.
#[derive(Debug, Clone)]
pub struct SettingsFile {
    /// Where it is.
    pub path: PathBuf,
    /// Keys that the command line gives too, which wins at the next start.
    pub overridden: Vec<&'static str>,
}

impl SettingsFile {
    /// Its name for people.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    /// Writes values into the file, all or none; comments, order and all other lines stay as they are.
    pub(crate) fn write(&self, changes: &[(&str, &str)]) -> io::Result<()> {
        // A link stays a link to the file that it names.
        let path = fs::canonicalize(&self.path)?;
        let before = fs::read(&path)?;
        let revised = properties::revise(&properties::decode(&before), changes).map_err(io::Error::other)?;
        let content = match std::str::from_utf8(&before) {
            Ok(_) => revised.into_bytes(),
            // It was Latin-1 and stays so; what is new is ASCII.
            Err(_) => revised.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect(),
        };
        settings::replace_file(&path, &content)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(path: PathBuf) -> SettingsFile {
        SettingsFile { path, overridden: Vec::new() }
    }

    #[test]
    fn only_the_values_change_and_the_file_keeps_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real.conf");
        fs::write(
            &real,
            "# ours\nbrokerName = a\n\n! fileReservedTime=1\nfileReservedTime = \\\n  48\nunknown=x",
        )
        .unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("broker.conf");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        file(link.clone()).write(&[("fileReservedTime", "12"), ("traceOn", "false")]).unwrap();
        let expected =
            "# ours\nbrokerName = a\n\n! fileReservedTime=1\nfileReservedTime=12\nunknown=x\ntraceOn=false\n";
        assert_eq!(fs::read_to_string(&real).unwrap(), expected);
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn a_latin_1_file_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.conf");
        fs::write(&path, b"# caf\xe9\nregionId=z\xfcrich\n").unwrap();
        file(path.clone()).write(&[("traceOn", "false")]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"# caf\xe9\nregionId=z\xfcrich\ntraceOn=false\n");
    }

    #[test]
    fn a_file_that_is_gone_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker.conf");
        file(path.clone()).write(&[("traceOn", "false")]).unwrap_err();
        assert!(!path.exists());
    }
}
