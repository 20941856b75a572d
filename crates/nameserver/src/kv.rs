//! The key-value table: order topics and whatever else administrators keep here (cluster.md §1.8).
//!
//! It is the only thing a nameserver remembers over a restart: `{"configTable":{"namespace":{"key":"value"}}}` in
//! `kvConfigPath`, written whole with each change. Readers never wait for the disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use wire::body::KvTable;
use wire::loose_json;

use crate::NameserverError;
use crate::file;

/// Namespace of the queue numbers of order topics.
pub(crate) const ORDER_TOPICS: &str = "ORDER_TOPIC_CONFIG";

/// Longest namespace or key.
const KEY_BYTES_MAX: usize = 1024;
/// Longest value.
const VALUE_BYTES_MAX: usize = 64 << 10;
/// All namespaces, keys and values together; the file is written whole each time.
const TABLE_BYTES_MAX: usize = 16 << 20;

type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Content {
    config_table: Namespaces,
}

/// Why a change of the table is refused. The text is the remark.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KvError {
    #[error("namespace or key has {0} bytes, the limit is {KEY_BYTES_MAX}")]
    KeyTooLong(usize),
    #[error("value has {0} bytes, the limit is {VALUE_BYTES_MAX}")]
    ValueTooLong(usize),
    #[error("the key-value table would have {0} bytes, the limit is {TABLE_BYTES_MAX}; delete entries first")]
    Full(usize),
    #[error("nothing changed: cannot write {}: {cause}", path.display())]
    Write { path: PathBuf, cause: std::io::Error },
}

/// The table and its file.
#[derive(Debug)]
pub(crate) struct Kv {
    path: PathBuf,
    table: ArcSwap<Namespaces>,
    /// Held while the file is written.
    writing: Mutex<()>,
}

impl Kv {
    /// Reads the file, or its backup when a crash came between the two.
    pub fn open(path: PathBuf) -> Result<Kv, NameserverError> {
        let table = load(&path)?;
        Ok(Kv { path, table: ArcSwap::from_pointee(table), writing: Mutex::new(()) })
    }

    /// A value.
    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.table.load().get(namespace)?.get(key).cloned()
    }

    /// A whole namespace.
    pub fn namespace(&self, namespace: &str) -> Option<KvTable> {
        self.table.load().get(namespace).map(|table| KvTable { table: table.clone() })
    }

    /// Sets a value, durably.
    pub fn put(&self, namespace: &str, key: &str, value: &str) -> Result<(), KvError> {
        let longest = namespace.len().max(key.len());
        if longest > KEY_BYTES_MAX {
            return Err(KvError::KeyTooLong(longest));
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(KvError::ValueTooLong(value.len()));
        }
        self.change(|table| {
            let entries = table.entry(namespace.to_owned()).or_default();
            entries.insert(key.to_owned(), value.to_owned()).as_deref() != Some(value)
        })
    }

    /// Removes a value, durably. The namespace stays, as in Java.
    pub fn delete(&self, namespace: &str, key: &str) -> Result<(), KvError> {
        self.change(|table| table.get_mut(namespace).is_some_and(|entries| entries.remove(key).is_some()))
    }

    fn change(&self, change: impl FnOnce(&mut Namespaces) -> bool) -> Result<(), KvError> {
        let _writing = self.writing.lock();
        let mut table = Namespaces::clone(&self.table.load());
        if !change(&mut table) {
            return Ok(());
        }
        let bytes = size(&table);
        if bytes > TABLE_BYTES_MAX {
            return Err(KvError::Full(bytes));
        }
        let failed = |cause| KvError::Write { path: self.path.clone(), cause };
        let content = serde_json::to_vec(&Content { config_table: table.clone() })
            .map_err(|error| failed(error.into()))?;
        file::replace(&self.path, &content).map_err(failed)?;
        self.table.store(Arc::new(table));
        Ok(())
    }
}

fn size(table: &Namespaces) -> usize {
    let entries = |entries: &BTreeMap<String, String>| {
        entries.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
    };
    table.iter().map(|(namespace, table)| namespace.len() + entries(table)).sum()
}

fn load(path: &Path) -> Result<Namespaces, NameserverError> {
    let first = match load_one(path) {
        Ok(Some(table)) => return Ok(table),
        Ok(None) => None,
        Err(error @ NameserverError::Malformed { .. }) => Some(error),
        Err(error) => return Err(error),
    };
    let backup = file::backup_of(path);
    match (load_one(&backup), first) {
        (Ok(Some(table)), _) => {
            tracing::warn!("{} is missing or damaged, {} is used", path.display(), backup.display());
            file::keep_broken(path)
                .map_err(|cause| NameserverError::Read { path: path.to_owned(), cause })?;
            Ok(table)
        }
        (Ok(None), None) => Ok(Namespaces::new()),
        (_, Some(error)) | (Err(error), None) => Err(error),
    }
}

fn load_one(path: &Path) -> Result<Option<Namespaces>, NameserverError> {
    let content = file::read(path).map_err(|cause| NameserverError::Read { path: path.to_owned(), cause })?;
    let Some(content) = content else { return Ok(None) };
    let malformed = |cause: String| Err(NameserverError::Malformed { path: path.to_owned(), cause });
    match loose_json::read::<Content>(&content) {
        Ok(content) => Ok(Some(content.config_table)),
        Err(error) => malformed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Kv {
        Kv::open(path.to_owned()).unwrap()
    }

    #[test]
    fn entries_are_there_after_a_restart_in_the_shape_that_java_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/kvConfig.json");
        let kv = open(&path);
        kv.put(ORDER_TOPICS, "T", "broker-a:4").unwrap();
        kv.put("other", "k", "v").unwrap();
        kv.delete("other", "k").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:4"},"other":{}}}"#);
        let again = open(&path);
        assert_eq!(again.get(ORDER_TOPICS, "T").as_deref(), Some("broker-a:4"));
        assert_eq!(again.namespace("other").unwrap().table.len(), 0);
        assert!(again.namespace("absent").is_none());
    }

    #[test]
    fn crash_between_rename_and_create_falls_back_to_the_backup() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvConfig.json");
        let kv = open(&path);
        kv.put("n", "k", "first").unwrap();
        kv.put("n", "k", "second").unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(open(&path).get("n", "k").as_deref(), Some("first"));
        std::fs::write(&path, "").unwrap();
        let kv = open(&path);
        assert_eq!(kv.get("n", "k").as_deref(), Some("first"));
        // What was torn does not become the backup of what is written next.
        kv.put("n", "k", "third").unwrap();
        std::fs::write(&path, "{").unwrap();
        assert_eq!(open(&path).get("n", "k").as_deref(), Some("first"));
    }

    #[test]
    fn damaged_file_without_a_backup_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvConfig.json");
        std::fs::write(&path, "{\"configTable\":[").unwrap();
        let error = Kv::open(path).unwrap_err().to_string();
        assert!(error.contains("repair it, or move it away"), "{error}");
    }

    #[test]
    fn unwritable_file_changes_nothing_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let kv = Kv {
            path: folder.path().join("file/kvConfig.json"),
            table: ArcSwap::default(),
            writing: Mutex::new(()),
        };
        let error = kv.put("n", "k", "v").unwrap_err().to_string();
        assert!(error.starts_with("nothing changed: cannot write"), "{error}");
        assert_eq!(kv.get("n", "k"), None);
    }

    #[test]
    fn oversized_entries_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let kv = open(&folder.path().join("kvConfig.json"));
        assert!(matches!(kv.put("n", &"k".repeat(1025), "v"), Err(KvError::KeyTooLong(1025))));
        assert!(matches!(kv.put("n", "k", &"v".repeat(65_537)), Err(KvError::ValueTooLong(65_537))));
    }
}
