//! A JSON file of broker state below `config/`, in the shapes that Java reads and writes (store.md §2), and whether it
//! is behind.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{Disk, config_file};
use tokio::sync::Notify;

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

    /// Whether there is one, or a backup of it.
    pub fn exists(&self) -> io::Result<bool> {
        let mut backup = self.path.clone().into_os_string();
        backup.push(".bak");
        let backup = PathBuf::from(backup);
        Ok(self.disk.stat(&self.path)?.is_some() || self.disk.stat(&backup)?.is_some())
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

/// Whether state has changed since its file was written, and the one who is told so.
#[derive(Debug, Default)]
pub struct Unsaved {
    any: AtomicBool,
    noted: Notify,
    saving: Mutex<()>,
}

impl Unsaved {
    /// Notes a change, after it was made.
    pub fn note(&self) {
        if !self.any.swap(true, Ordering::AcqRel) {
            self.noted.notify_one();
        }
    }

    /// Waits until something is noted. For one who saves.
    pub async fn noted(&self) {
        self.noted.notified().await;
    }

    /// Runs `save` if anything was noted since the last time, one at a time. If it fails it has saved nothing.
    pub fn save(&self, save: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let _one_at_a_time = self.saving.lock();
        if !self.any.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        save().inspect_err(|_| self.note())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_could_not_be_saved_is_saved_the_next_time() {
        let unsaved = Unsaved::default();
        unsaved.save(|| panic!("nothing has changed")).unwrap();
        unsaved.note();
        unsaved.noted().await;
        unsaved.save(|| Err(io::Error::other("the disk is full"))).unwrap_err();
        unsaved.noted().await;
        let mut saved = false;
        let save = || {
            saved = true;
            Ok(())
        };
        unsaved.save(save).unwrap();
        assert!(saved);
        unsaved.save(|| panic!("it is saved")).unwrap();
    }

    #[test]
    fn a_change_while_saving_is_not_taken_for_saved() {
        let unsaved = Unsaved::default();
        unsaved.note();
        let save = || {
            unsaved.note();
            Ok(())
        };
        unsaved.save(save).unwrap();
        unsaved.save(|| Err(io::Error::other("asked again"))).unwrap_err();
    }
}
