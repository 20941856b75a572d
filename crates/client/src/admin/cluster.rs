//! Brokers: their settings, their state, their housekeeping.

use std::collections::BTreeMap;

use serde::Deserialize;
use wire::body::{BrokerStatsData, KvTable};
use wire::code::request;

use super::Admin;
use crate::error::Error;
use crate::fields::Fields;

/// How a broker stands with its replicas (907).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaStatus {
    /// Whether it is a master, which has `ha_connection_info`, or a slave, which has `ha_client_runtime_info`.
    pub master: bool,
    /// End of its log, in bytes.
    pub master_commit_log_max_offset: i64,
    /// Slaves that are up to date.
    pub in_sync_slave_nums: i32,
    /// Slaves that are connected.
    pub ha_connection_info: Vec<HaSlave>,
    /// Connection to its master.
    pub ha_client_runtime_info: HaMaster,
}

/// A slave that is connected to a master.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaSlave {
    /// Its address.
    pub addr: String,
    /// What it has confirmed, in bytes of the log.
    pub slave_ack_offset: i64,
    /// Bytes that it lacks.
    pub diff: i64,
    /// Whether it is up to date.
    pub in_sync: bool,
    /// Bytes that went there in the last second.
    pub transferred_byte_in_second: i64,
    /// Where the transfer stands, in bytes of the log.
    pub transfer_from_where: i64,
}

/// A slave's connection to its master.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaMaster {
    /// Address of the master.
    pub master_addr: Option<String>,
    /// Bytes that came in the last second.
    pub transferred_byte_in_second: i64,
    /// End of the slave's log, in bytes.
    pub max_offset: i64,
    /// When something came last, Unix milliseconds.
    pub last_read_timestamp: i64,
    /// When something was sent last, Unix milliseconds.
    pub last_write_timestamp: i64,
    /// What the master has flushed, in bytes of the log.
    pub master_flush_offset: i64,
}

impl Admin {
    /// Settings of a broker, by key.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn broker_config(&self, address: &str) -> Result<BTreeMap<String, String>, Error> {
        let answer = self.shared.ask(address, request::GET_BROKER_CONFIG, &Fields::new(), &[]).await?;
        Ok(read_properties(&answer.body))
    }

    /// Changes settings of a running broker. Gives the broker's words, if it has some: whether what changed is in
    /// force, and for how long.
    ///
    /// # Errors
    /// When the broker does not answer, or refuses a key or a value.
    pub async fn update_broker_config(
        &self,
        address: &str,
        changes: &[(&str, &str)],
    ) -> Result<Option<String>, Error> {
        let body = write_properties(changes);
        let code = request::UPDATE_BROKER_CONFIG;
        let answer = self.shared.ask(address, code, &Fields::new(), body.as_bytes()).await?;
        Ok(answer.remark.filter(|words| !words.is_empty()))
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

    /// How a broker stands with its replicas.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn ha_status(&self, address: &str) -> Result<HaStatus, Error> {
        self.get(address, request::GET_BROKER_HA_STATUS, Fields::new()).await
    }

    /// Tells a slave up to where its master has flushed, in bytes of the log.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn reset_master_flush_offset(&self, address: &str, offset: i64) -> Result<(), Error> {
        let fields = Fields::new().number("masterFlushOffset", offset);
        self.ask(address, request::RESET_MASTER_FLUSH_OFFSET, fields).await
    }

    /// Has a broker keep its timers in files (`F`) or in RocksDB (`R`).
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn switch_timer_engine(&self, address: &str, engine: &str) -> Result<(), Error> {
        self.ask(address, request::SWITCH_TIMER_ENGINE, Fields::new().text("E_T", engine)).await
    }

    /// Has a broker write down what is popped in the form of older versions.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn export_pop_records(&self, address: &str) -> Result<(), Error> {
        self.ask(address, request::POP_ROLLBACK, Fields::new()).await
    }

    /// Has a broker tell the system how its log is read: `0` as usual, `1` here and there. Gives the broker's words.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn set_read_ahead(&self, address: &str, mode: &str) -> Result<Option<String>, Error> {
        let fields = Fields::new().text("READ_AHEAD_MODE", mode);
        Ok(self.shared.ask(address, request::SET_COMMITLOG_READ_MODE, &fields, &[]).await?.remark)
    }

    /// What a broker knows of groups that read cold data, as it writes it.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn cold_readers(&self, address: &str) -> Result<Option<serde_json::Value>, Error> {
        let answer =
            self.shared.ask(address, request::GET_COLD_DATA_FLOW_CTR_INFO, &Fields::new(), &[]).await?;
        if answer.body.is_empty() { Ok(None) } else { crate::shared::decode(address, &answer).map(Some) }
    }

    /// Limits how much cold data a group may read, in bytes of five seconds.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn limit_cold_reader(&self, address: &str, group: &str, limit: &str) -> Result<(), Error> {
        let body = write_properties(&[(group, limit)]);
        let code = request::UPDATE_COLD_DATA_FLOW_CTR_CONFIG;
        self.shared.ask(address, code, &Fields::new(), body.as_bytes()).await.map(drop)
    }

    /// Ends such a limit.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn free_cold_reader(&self, address: &str, group: &str) -> Result<(), Error> {
        let code = request::REMOVE_COLD_DATA_FLOW_CTR_CONFIG;
        self.shared.ask(address, code, &Fields::new(), group.as_bytes()).await.map(drop)
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
