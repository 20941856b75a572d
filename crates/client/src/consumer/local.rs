//! Offsets of a broadcast consumer: a file of its own, as Java writes it (client.md §3.7).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use wire::body::MessageQueue;
use wire::loose_json;

use crate::error::Error;

/// The file of one client and group: `<folder>/<client id>/<group>/offsets.json`.
#[derive(Debug)]
pub(super) struct OffsetFile {
    path: PathBuf,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Table {
    offset_table: BTreeMap<String, i64>,
}

impl OffsetFile {
    pub fn new(folder: &Path, client_id: &str, group: &str) -> OffsetFile {
        OffsetFile { path: folder.join(client_id).join(group).join("offsets.json") }
    }

    /// What was written last; the copy before it if the file is damaged; nothing if there is none.
    pub fn read(&self) -> Result<BTreeMap<MessageQueue, i64>, Error> {
        match read(&self.path) {
            Ok(table) => Ok(table),
            Err(error) => read(&self.backup()).ok().filter(|table| !table.is_empty()).ok_or(error),
        }
    }

    /// Writes all offsets. Whatever happens, the file or its copy is whole.
    pub fn write(&self, offsets: &BTreeMap<MessageQueue, i64>) -> Result<(), Error> {
        let failed = |cause: std::io::Error| Error::File {
            what: format!("write the offsets to {}", self.path.display()),
            cause: cause.to_string(),
        };
        let table = loose_json::write_object_keyed(offsets).map_err(Error::illegal)?;
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let new = self.path.with_extension("json.tmp");
        std::fs::write(&new, format!("{{\"offsetTable\":{table}}}")).map_err(failed)?;
        if self.path.exists() {
            std::fs::copy(&self.path, self.backup()).map_err(failed)?;
        }
        std::fs::rename(&new, &self.path).map_err(failed)
    }

    fn backup(&self) -> PathBuf {
        self.path.with_extension("json.bak")
    }
}

fn read(path: &Path) -> Result<BTreeMap<MessageQueue, i64>, Error> {
    let failed = |cause: String| Error::File { what: format!("read offsets from {}", path.display()), cause };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(cause) => return Err(failed(cause.to_string())),
    };
    let table: Table = loose_json::read(&text).map_err(|error| failed(error.to_string()))?;
    let queue = |(key, offset): (String, i64)| Ok((serde_json::from_str(&key)?, offset));
    let read: Result<_, serde_json::Error> = table.offset_table.into_iter().map(queue).collect();
    read.map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue { topic: "T".into(), broker_name: "b".into(), queue_id: id }
    }

    #[test]
    fn offsets_are_written_as_java_does_and_read_also_from_the_copy() {
        let folder = tempfile::tempdir().unwrap();
        let file = OffsetFile::new(folder.path(), "10.0.0.1@stable", "G");
        assert!(file.read().unwrap().is_empty());
        file.write(&[(queue(0), 5)].into()).unwrap();
        let path = folder.path().join("10.0.0.1@stable/G/offsets.json");
        let expected = r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:5}}"#;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        file.write(&[(queue(0), 6), (queue(1), 7)].into()).unwrap();
        assert_eq!(file.read().unwrap().len(), 2);
        std::fs::write(&path, "{\"offsetTa").unwrap();
        assert_eq!(file.read().unwrap(), [(queue(0), 5)].into());
        // Java's own file is spread over lines.
        let java = "{\n\t\"offsetTable\":{{\n\t\t\t\"brokerName\":\"b\",\n\t\t\t\"queueId\":3,\n\t\t\t\"topic\":\"T\"\n\t\t}:9\n\t}\n}";
        std::fs::write(&path, java).unwrap();
        assert_eq!(file.read().unwrap(), [(queue(3), 9)].into());
    }
}
