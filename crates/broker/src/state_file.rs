//! A JSON file of broker state below `config/`, in the shapes that Java reads and writes (store.md §2).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{Disk, config_file};

/// One file with its backup.
pub struct StateFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl StateFile {
    /// The file called `name` in the directory `config` of the store.
    pub fn new(disk: Arc<dyn Disk>, config_dir: &Path, name: &str) -> StateFile {
        StateFile { disk, path: config_dir.join(name) }
    }

    /// Reads the file, or its backup; the default value when neither exists.
    pub fn load<T: DeserializeOwned + Default>(&self) -> io::Result<T> {
        let value = config_file::load(&*self.disk, &self.path, |bytes| {
            wire::loose_json::read(bytes)
                .inspect_err(|error| tracing::warn!(file = %self.path.display(), "cannot be read: {error}"))
                .ok()
        });
        value.map(Option::unwrap_or_default).map_err(|error| self.named("read", &error))
    }

    /// Replaces the file durably.
    pub fn save<T: Serialize>(&self, value: &T) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(value)?;
        config_file::save(&*self.disk, &self.path, &text).map_err(|error| self.named("write", &error))
    }

    fn named(&self, verb: &str, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("cannot {verb} {}: {error}", self.path.display()))
    }
}
