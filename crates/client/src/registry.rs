//! Groups that this client is a member of, as its heartbeats say.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use wire::body::{HeartbeatData, ProducerData};

use crate::error::Error;

/// Producers and consumers of one client. A group is there once as producer and once as consumer.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    producers: Mutex<BTreeSet<String>>,
}

impl Registry {
    /// Adds a producer group.
    pub fn add_producer(&self, group: &str) -> Result<(), Error> {
        if self.producers.lock().insert(group.to_owned()) {
            Ok(())
        } else {
            Err(Error::Illegal(format!(
                "this client already has a producer of group \"{group}\"; clone that one"
            )))
        }
    }

    /// Removes a producer group.
    pub fn remove_producer(&self, group: &str) {
        self.producers.lock().remove(group);
    }

    /// What a heartbeat says; `None` when there is nobody to speak for.
    pub fn heartbeat(&self, client_id: &str) -> Option<HeartbeatData> {
        let producers = self.producers.lock();
        if producers.is_empty() {
            return None;
        }
        let producer = |group: &String| ProducerData { group_name: group.clone() };
        Some(HeartbeatData {
            client_id: client_id.to_owned(),
            producer_data_set: producers.iter().map(producer).collect(),
            ..HeartbeatData::default()
        })
    }
}
