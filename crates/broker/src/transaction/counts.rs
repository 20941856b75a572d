//! Open half messages by topic, kept in `config/transactionMetrics` as Java keeps them.

use std::collections::{BTreeMap, HashMap};
use std::io;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use wire::body::DataVersion;

use crate::state_file::{StateFile, Unsaved};

/// One topic's count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Count {
    /// Open half messages.
    pub count: i64,
    /// When it last changed, Unix milliseconds.
    pub time_stamp: i64,
}

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CountsBody {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Counts by topic.
    pub transaction_count: BTreeMap<String, Count>,
}

/// All counts.
pub(crate) struct Counts {
    state: Mutex<State>,
    file: StateFile,
    /// What the file does not have yet.
    pub unsaved: Unsaved,
}

#[derive(Default)]
struct State {
    version: DataVersion,
    topics: HashMap<String, Count>,
}

impl Counts {
    /// Reads the version; the counts themselves are made anew from what is found open, since the file may be older
    /// than the queues.
    pub fn load(file: StateFile, open: HashMap<String, i64>, now_ms: i64) -> io::Result<Counts> {
        let stored: CountsBody = file.load()?;
        let mut topics: HashMap<String, Count> = HashMap::new();
        for (topic, old) in stored.transaction_count {
            topics.insert(topic, Count { count: 0, time_stamp: old.time_stamp });
        }
        for (topic, count) in open {
            topics.insert(topic, Count { count, time_stamp: now_ms });
        }
        let state = State { version: stored.data_version, topics };
        Ok(Counts { state: Mutex::new(state), file, unsaved: Unsaved::default() })
    }

    /// Adds to the count of a topic.
    pub fn add(&self, topic: &str, change: i64, now_ms: i64) {
        let mut state = self.state.lock();
        match state.topics.get_mut(topic) {
            Some(count) => {
                count.count += change;
                count.time_stamp = now_ms;
            }
            None => drop(state.topics.insert(topic.to_owned(), Count { count: change, time_stamp: now_ms })),
        }
        state.version.next(now_ms);
        drop(state);
        self.unsaved.note();
    }

    /// Forgets a topic.
    pub fn remove_topic(&self, topic: &str) {
        if self.state.lock().topics.remove(topic).is_some() {
            self.unsaved.note();
        }
    }

    /// Writes the file if anything has changed.
    pub fn save(&self) -> io::Result<()> {
        self.unsaved.save(|| self.file.save(&self.body()))
    }

    fn body(&self) -> CountsBody {
        let state = self.state.lock();
        let transaction_count = state.topics.iter().map(|(topic, count)| (topic.clone(), *count)).collect();
        CountsBody { data_version: state.version, transaction_count }
    }
}
