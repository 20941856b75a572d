//! The broker about itself: figures, positions, clean-ups (28, 43, 45, 402, 306, 316, 329, 907; broker.md §18).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use wire::body::KvTable;
use wire::names;

use super::json::{bare_keyed, object, text};
use crate::Broker;
use crate::exchange::{Exchange, Outcome};

/// Names of what stands for Java's thread pools. There are no pools here and nothing queues: requests are served as
/// they are read.
const POOLS: [&str; 5] = ["send", "pull", "litePull", "query", "ack"];
/// Classes of put times, which are not measured here; exporters want to find the text.
const PUT_TIMES: &str = "[<=0ms]:0 [0~10ms]:0 [10~50ms]:0 [50~100ms]:0 [100~200ms]:0 [200~500ms]:0 [500ms~1s]:0 \
                         [1~2s]:0 [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:0 ";

impl Broker {
    /// All keys that official tools, the dashboard and the exporter look for (operations.md §4.4).
    pub(super) fn runtime_info(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        // When the oldest message was stored is read from the log; the other figures wait for nobody.
        self.answer_with_record(exchange, self.store.log_min(), |broker, reply| {
            let mut table = BTreeMap::new();
            broker.describe_broker(&mut table);
            broker.describe_traffic(&mut table);
            broker.describe_store(&mut table);
            reply.ok_json(&KvTable { table })
        })
    }

    /// A master that no slave copies (907): what the tools show of replication.
    pub(super) fn ha_status(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        exchange.ok_json(&json!({
            "haClientRuntimeInfo": {
                "activated": false,
                "lastReadTimestamp": 0,
                "lastWriteTimestamp": 0,
                "masterFlushOffset": 0,
                "maxOffset": 0,
                "transferredByteInSecond": 0,
            },
            "haConnectionInfo": [],
            "inSyncSlaveNums": 0,
            "master": true,
            "masterCommitLogMaxOffset": self.store.log_end(),
        }))
    }

    fn describe_broker(&self, table: &mut BTreeMap<String, String>) {
        let settings = self.settings.load();
        let mut put = |name: &str, value: String| drop(table.insert(name.to_owned(), value));
        put("brokerActive", "true".to_owned());
        put("brokerVersionDesc", "V5_5_0".to_owned());
        put("brokerVersion", wire::header::OUR_VERSION.to_string());
        put("bootTimestamp", self.started_ms.to_string());
        put("runtime", uptime(self.now_ms() - self.started_ms));
        put("startAcceptSendRequestTimeStamp", settings.start_accept_send_request_time_stamp.to_string());
        put("pageCacheLockTimeMills", "0".to_owned());
        let capacity = settings.max_in_flight_per_connection;
        for pool in POOLS {
            put(&format!("{pool}ThreadPoolQueueSize"), "0".to_owned());
            put(&format!("{pool}ThreadPoolQueueCapacity"), capacity.to_string());
            put(&format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), "0".to_owned());
        }
        put("EndTransactionQueueSize", "0".to_owned());
        put("EndTransactionThreadPoolQueueCapacity", capacity.to_string());
        for (name, value) in self.timer_rows() {
            put(name, value);
        }
    }

    fn describe_traffic(&self, table: &mut BTreeMap<String, String>) {
        let mut put = |name: &str, value: String| drop(table.insert(name.to_owned(), value));
        let (puts, gets) = self.stats.totals();
        let mornings = self.stats.mornings();
        put("msgPutTotalYesterdayMorning", mornings.yesterday.0.to_string());
        put("msgPutTotalTodayMorning", mornings.today.0.to_string());
        put("msgPutTotalTodayNow", puts.to_string());
        put("msgGetTotalYesterdayMorning", mornings.yesterday.1.to_string());
        put("msgGetTotalTodayMorning", mornings.today.1.to_string());
        put("msgGetTotalTodayNow", gets.to_string());
        let (put_rates, got_rates) = self.stats.message_rates();
        let (found, missed) = self.stats.pull_rates();
        put("putTps", three(put_rates));
        put("getTransferredTps", three(got_rates));
        // As 4.9 spells it; its clusterList fails without.
        put("getTransferedTps", three(got_rates));
        put("getFoundTps", three(found));
        put("getMissTps", three(missed));
        put("getTotalTps", three([found[0] + missed[0], found[1] + missed[1], found[2] + missed[2]]));
        let bytes = self.stats.put_bytes();
        put("putMessageTimesTotal", puts.to_string());
        put("putMessageSizeTotal", bytes.to_string());
        put(
            "putMessageAverageSize",
            format!("{:.1}", if puts == 0 { 0.0 } else { bytes as f64 / puts as f64 }),
        );
        // Not measured here.
        put("putMessageDistributeTime", PUT_TIMES.to_owned());
        for name in ["putMessageEntireTimeMax", "getMessageEntireTimeMax", "putMessageFailedTimes"] {
            put(name, "0".to_owned());
        }
        for name in ["putLatency99", "putLatency999"] {
            put(name, "0.00".to_owned());
        }
    }

    fn describe_store(&self, table: &mut BTreeMap<String, String>) {
        let mut put = |name: &str, value: String| drop(table.insert(name.to_owned(), value));
        let store = self.store.runtime();
        let directory = self.settings.load().commit_log_directory();
        put("commitLogMinOffset", store.log_min.to_string());
        put("commitLogMaxOffset", store.log_end.to_string());
        put("commitLogDiskRatio", store.log_disk_ratio.to_string());
        put(&format!("commitLogDiskRatio_{}", directory.display()), store.log_disk_ratio.to_string());
        put("consumeQueueDiskRatio", store.queue_disk_ratio.to_string());
        let (total, free) = (in_units(store.log_disk_total), in_units(store.log_disk_free));
        put("commitLogDirCapacity", format!("Total : {total}, Free : {free}."));
        put("earliestMessageTimeStamp", store.earliest_store_time.to_string());
        put("dispatchBehindBytes", store.dispatch_behind_bytes.to_string());
        put("dispatchMaxBuffer", "0".to_owned());
        put("remainHowManyDataToFlush", in_units(store.log_end.saturating_sub(store.flushed_until)));
        put("remainHowManyDataToCommit", in_units(0));
        // What Java says without a transient pool: there is always room.
        put("remainTransientStoreBufferNumbs", i32::MAX.to_string());
        for (level, offset) in self.schedule.offsets().offset_table {
            let queue =
                u32::try_from(level - 1).ok().and_then(|id| self.store.find_queue(names::SCHEDULE_TOPIC, id));
            let max = queue.map_or(0, |queue| queue.max_offset());
            if max > 0 {
                put(&format!("scheduleMessageOffset_{level}"), format!("{offset},{max}"));
            }
        }
    }

    pub(super) fn all_delay_offsets(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let offsets = self.schedule.offsets();
        let table = bare_keyed(offsets.offset_table)?;
        let body = object([("dataVersion", text(&offsets.data_version)?), ("offsetTable", table)]);
        exchange.ok_body(body.as_bytes())
    }

    /// Without `pullOffsetTable`, which Java's own slaves cannot read (since-5.3.md §1.6).
    pub(super) fn all_consumer_offsets(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let offsets = self.offsets.body();
        let mut tables = Vec::with_capacity(offsets.offset_table.len());
        for (key, queues) in offsets.offset_table {
            tables.push(format!("{}:{}", text(&key)?, bare_keyed(queues)?));
        }
        let table = format!("{{{}}}", tables.join(","));
        let body = object([("dataVersion", text(&offsets.data_version)?), ("offsetTable", table)]);
        exchange.ok_body(body.as_bytes())
    }

    /// Queues are trimmed with the log they point into; there is never anything left to do.
    pub(super) fn clean_queues(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        exchange.ok()
    }

    pub(super) fn delete_expired_log(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        self.store.clean_soon();
        exchange.ok()
    }

    /// Deletes the queues of topics that have no configuration.
    pub(super) fn clean_unused_topics(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        self.ok_when_done(exchange, Broker::delete_unused_topics)
    }

    pub(super) fn delete_unused_topics(&self) -> Outcome {
        for topic in self.store.topics() {
            if self.topics.is_system(&topic) || topic.starts_with(names::LMQ_PREFIX) {
                continue;
            }
            // Whoever creates or deletes it has its queues to care for.
            let _claim = self.topics.claims.take([topic.to_string()]);
            if self.topics.has(&topic) {
                continue;
            }
            tracing::info!(%topic, "deleting the queues of a topic that has no configuration");
            self.stats.forget_topic(&topic);
            self.delete_unnamed(&topic)?;
        }
        Ok(())
    }
}

/// Rates over 10 s, 60 s and 600 s, as tools split them.
fn three(rates: [f64; 3]) -> String {
    format!("{:?} {:?} {:?}", rates[0], rates[1], rates[2])
}

fn uptime(ms: i64) -> String {
    let seconds = Duration::from_millis(ms.max(0) as u64).as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]", seconds % 60)
}

/// Bytes as the tools show them: `512 B`, `1.5 KiB`.
fn in_units(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let exponent = bytes.ilog2() / 10;
    let unit = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][exponent as usize - 1];
    format!("{:.1} {unit}B", bytes as f64 / (1u64 << (10 * exponent)) as f64)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use store::Batch;
    use wire::record::Message;

    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn a_topic_that_is_created_while_unused_ones_are_deleted_keeps_what_is_sent_to_it() {
        let broker = testing::broker();
        let send = || {
            let topic = broker.topics.ensure("orders", 1, 0, 0).unwrap();
            let message = Message::of_broker(broker.address, "orders", 0, b"body");
            let mut batch = Batch::default();
            batch.push(topic.queue(&broker.store, 0).unwrap(), &message, 0).unwrap();
            broker.store.append(&mut batch).unwrap();
            batch.appended(0)
        };
        send();
        for round in 0..300 {
            assert!(!broker.topics.remove(&["orders"], 0, || ()).unwrap().is_empty());
            let start = Barrier::new(2);
            let sent = std::thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    broker.delete_unused_topics().unwrap();
                });
                start.wait();
                send()
            });
            let queue = broker.store.queue("orders", 0);
            let found = broker.store.entries(&queue, sent.queue_offset, 1);
            assert_eq!(found.first().map(|entry| entry.physical_offset), Some(sent.offset), "round {round}");
        }
    }

    #[test]
    fn figures_are_written_as_java_writes_them() {
        assert_eq!(in_units(0), "0 B");
        assert_eq!(in_units(1023), "1023 B");
        assert_eq!(in_units(1024), "1.0 KiB");
        assert_eq!(in_units(1536 << 20), "1.5 GiB");
        assert_eq!(in_units(u64::MAX), "16.0 EiB");
        assert_eq!(uptime(90_061_000), "[ 1 days, 1 hours, 1 minutes, 1 seconds ]");
        assert_eq!(three([0.0, 1.5, 100.0]), "0.0 1.5 100.0");
    }
}
