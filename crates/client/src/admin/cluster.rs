//! Brokers: their settings, their state, their housekeeping.

use std::collections::BTreeMap;

use wire::body::{BrokerStatsData, KvTable};
use wire::code::request;

use super::Admin;
use crate::error::Error;
use crate::fields::Fields;

impl Admin {
    /// Settings of a broker, by key.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn broker_config(&self, address: &str) -> Result<BTreeMap<String, String>, Error> {
        let answer = self.shared.ask(address, request::GET_BROKER_CONFIG, &Fields::new(), &[]).await?;
        Ok(read_properties(&answer.body))
    }

    /// Changes settings of a running broker.
    ///
    /// # Errors
    /// When the broker does not answer, or refuses a key or a value.
    pub async fn update_broker_config(&self, address: &str, changes: &[(&str, &str)]) -> Result<(), Error> {
        let body = write_properties(changes);
        self.shared
            .ask(address, request::UPDATE_BROKER_CONFIG, &Fields::new(), body.as_bytes())
            .await
            .map(drop)
    }

    /// What a broker tells of its state, by name.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn runtime_stats(&self, address: &str) -> Result<BTreeMap<String, String>, Error> {
        let table: KvTable = self.get(address, request::GET_BROKER_RUNTIME_INFO, Fields::new()).await?;
        Ok(table.table)
    }

    /// One statistic of a broker, such as `TOPIC_PUT_NUMS` of a topic.
    ///
    /// # Errors
    /// When the broker does not count this.
    pub async fn broker_stats(&self, address: &str, name: &str, key: &str) -> Result<BrokerStatsData, Error> {
        let fields = Fields::new().text("statsName", name).text("statsKey", key);
        self.get(address, request::VIEW_BROKER_STATS_DATA, fields).await
    }

    /// Removes queue files that point to deleted messages.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn clean_expired_queues(&self, address: &str) -> Result<(), Error> {
        self.ask(address, request::CLEAN_EXPIRED_CONSUMEQUEUE, Fields::new()).await
    }

    /// Removes queues of topics that are gone.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn clean_unused_topics(&self, address: &str) -> Result<(), Error> {
        self.ask(address, request::CLEAN_UNUSED_TOPIC, Fields::new()).await
    }

    /// Removes files of messages that are old enough, now rather than at the usual hour.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn delete_expired_log(&self, address: &str) -> Result<(), Error> {
        self.ask(address, request::DELETE_EXPIRED_COMMITLOG, Fields::new()).await
    }
}

/// Reads `key=value` lines as servers write them.
pub(super) fn read_properties(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

/// Writes `key=value` lines as Java's `Properties` reads them.
pub(super) fn write_properties(pairs: &[(&str, &str)]) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    pairs.iter().map(|(key, value)| format!("{}={}\n", escaped(key), escaped(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_and_written_as_java_does() {
        let read = read_properties(b"# a remark\na=1\nb = x=y \nnothing\n");
        assert_eq!(read, [("a", "1"), ("b", "x=y")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(write_properties(&[("a", "1"), ("path", "c:\\d")]), "a=1\npath=c:\\\\d\n");
    }
}
