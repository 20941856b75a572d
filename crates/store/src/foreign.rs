//! Stores that are not ours to open: those of kinds that are not served, recognised by what lies in their directories,
//! and those that another process has.

use std::io::ErrorKind;
use std::path::Path;

use crate::disk::{Disk, Lock};
use crate::error::StoreError;

/// Takes the lock of the store below `root`, if it is of a kind that is served and nobody else has it.
pub(crate) fn claim(disk: &dyn Disk, root: &Path) -> Result<Box<dyn Lock>, StoreError> {
    refuse(disk, root)?;
    let path = root.join("lock");
    disk.lock(&path).map_err(|source| match source.kind() {
        ErrorKind::WouldBlock => StoreError::Locked { root: root.to_path_buf() },
        _ => StoreError::Io { what: "lock", path, source },
    })
}

/// Refuses stores of kinds that would be served wrongly, before anything is touched.
fn refuse(disk: &dyn Disk, root: &Path) -> Result<(), StoreError> {
    const TO_FILES: &str =
        "start it with Java's broker, or move this directory away if its content is not needed";
    let rocksdb = [
        ("consumequeue", "consume queues in RocksDB (storeType=defaultRocksDB)"),
        ("consumequeue_rocksdb", "consume queues in RocksDB (useSeparateStorePathForRocksdbCQ)"),
        ("kvStore", "POP state in RocksDB (popConsumerKVServiceEnable)"),
        ("config/topics", "topics in RocksDB (storeType=defaultRocksDB)"),
        ("config/rdb", "configuration in RocksDB (configManagerVersion=v2)"),
        ("config/metadata", "configuration in RocksDB (useSingleRocksDBForAllConfigs)"),
    ];
    for (dir, what) in rocksdb {
        let path = root.join(dir);
        if disk.stat(&path.join("CURRENT")).map_err(StoreError::io("look at", &path))?.is_some() {
            return Err(StoreError::Unsupported { path, what, remedy: TO_FILES });
        }
    }
    let directories = [("tiered_index_file", "tiered storage (messageStorePlugIn=…TieredMessageStore)")];
    for (dir, what) in directories {
        let path = root.join(dir);
        if !disk.list(&path).map_err(StoreError::io("list", &path))?.is_empty() {
            return Err(StoreError::Unsupported { path, what, remedy: TO_FILES });
        }
    }
    for entry in disk.list(root).map_err(StoreError::io("list", root))? {
        if entry.is_dir && entry.name.starts_with("dledger-") {
            return Err(StoreError::Unsupported {
                path: root.join(entry.name),
                what: "a DLedger log (enableDLegerCommitLog)",
                remedy: TO_FILES,
            });
        }
    }
    Ok(())
}
