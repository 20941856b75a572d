//! Brokers: their settings, their state, their housekeeping.

use std::collections::BTreeMap;

use serde_json::Value;
use thrustmq_client::{Admin, Error, HaStatus};

use super::call::{Call, Failure, NO_MASTER};
use super::command::Command;
use super::java::{self, Times};
use super::line::{Flag, flag, one_of, required};
use super::names::settings;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "updateBrokerConfig",
        about: "Change a setting of running brokers.",
        flags: &[
            flag("b", "brokerAddr", "the broker to change"),
            flag("c", "clusterName", "the cluster whose masters are changed"),
            flag("a", "updateAllBroker", "any value: slaves of the cluster too"),
            required("k", "key", "the setting"),
            required("v", "value", "its value"),
        ],
        differs: "a value that makes no sense is refused by the broker, where Java's keeps the old one and says nothing",
        run: |call| Box::pin(update_config(call)),
    },
    Command {
        name: "getBrokerConfig",
        about: "Show settings of brokers.",
        flags: &[
            one_of("b", "brokerAddr", "the broker to ask"),
            one_of("c", "clusterName", "the cluster to ask"),
        ],
        differs: "sorted by key",
        run: |call| Box::pin(config(call)),
    },
    Command {
        name: "brokerStatus",
        about: "Show what brokers tell of their state.",
        flags: &[
            one_of("b", "brokerAddr", "the broker to ask"),
            one_of("c", "clusterName", "the cluster to ask"),
        ],
        differs: "",
        run: |call| Box::pin(status(call)),
    },
    Command {
        name: "haStatus",
        about: "Show how brokers stand with their replicas.",
        flags: &[
            flag("c", "clusterName", "the cluster whose masters are asked"),
            flag("b", "brokerAddr", "the broker to ask"),
            flag("i", "interval", "ask again after so many seconds, without end"),
        ],
        differs: "",
        run: |call| Box::pin(ha_status(call)),
    },
    Command {
        name: "cleanExpiredCQ",
        about: "Remove queue files that point to deleted messages.",
        flags: HOUSEKEEPING,
        differs: "",
        run: |call| Box::pin(clean(call, Housework::Queues)),
    },
    Command {
        name: "cleanUnusedTopic",
        about: "Remove queues of topics that are gone.",
        flags: HOUSEKEEPING,
        differs: "",
        run: |call| Box::pin(clean(call, Housework::Topics)),
    },
    Command {
        name: "deleteExpiredCommitLog",
        about: "Remove files of messages that are old enough.",
        flags: HOUSEKEEPING,
        differs: "",
        run: |call| Box::pin(clean(call, Housework::Log)),
    },
    Command {
        name: "switchTimerEngine",
        about: "Say what brokers keep their timers in.",
        flags: &[
            one_of("b", "brokerAddr", "the broker to say it to"),
            one_of("c", "clusterName", "the cluster to say it to"),
            required("e", "engineType", "F for files, R for RocksDB"),
        ],
        differs: REFUSED_HERE,
        run: |call| Box::pin(switch_timer(call)),
    },
    Command {
        name: "resetMasterFlushOffset",
        about: "Tell a slave up to where its master has flushed.",
        flags: &[flag("b", "brokerAddr", "the slave"), flag("o", "offset", "bytes of the log")],
        differs: REFUSED_HERE,
        run: |call| Box::pin(reset_flush_offset(call)),
    },
    Command {
        name: "setCommitLogReadAheadMode",
        about: "Say how brokers read their logs.",
        flags: &[
            flag("b", "brokerAddr", "the broker to say it to"),
            flag("c", "clusterName", "the cluster to say it to"),
            required("m", "commitLogReadAheadMode", "0 as usual, 1 here and there"),
        ],
        differs: "",
        run: |call| Box::pin(read_ahead(call)),
    },
    Command {
        name: "getColdDataFlowCtrInfo",
        about: "Show which groups read cold data.",
        flags: &[
            flag("b", "brokerAddr", "the broker to ask"),
            flag("c", "clusterName", "the cluster to ask"),
        ],
        differs: "",
        run: |call| Box::pin(cold_readers(call)),
    },
    Command {
        name: "updateColdDataFlowCtrGroupConfig",
        about: "Limit how much cold data a group reads.",
        flags: &[
            flag("b", "brokerAddr", "the broker to say it to"),
            flag("c", "clusterName", "the cluster to say it to"),
            required("g", "consumerGroup", "name of the group"),
            required("v", "threshold", "bytes in five seconds"),
        ],
        differs: "",
        run: |call| Box::pin(limit_cold_reader(call)),
    },
    Command {
        name: "removeColdDataFlowCtrGroupConfig",
        about: "End a limit of reading cold data.",
        flags: &[
            flag("b", "brokerAddr", "the broker to say it to"),
            flag("c", "clusterName", "the cluster to say it to"),
            required("g", "consumerGroup", "name of the group"),
        ],
        differs: "",
        run: |call| Box::pin(free_cold_reader(call)),
    },
];

const REFUSED_HERE: &str = "for Java's brokers; ours refuses the request and says why";

const HOUSEKEEPING: &[Flag] = &[
    flag("b", "brokerAddr", "the broker to clean"),
    flag("c", "cluster", "the cluster to clean [default: all]"),
];

async fn update_config(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let all = line.has("a") && !line.has("b");
    let addresses = match line.value("c") {
        Some(cluster) if all => call.cluster().await?.members(cluster)?,
        _ => call.masters().await?,
    };
    let change = [(line.text("k"), line.text("v"))];
    call.each(&addresses, |address| async move {
        // Java's brokers have no words for it; ours say what is not in force, or not for long.
        if let Some(words) = call.admin.update_broker_config(&address, &change).await? {
            eprintln!("mqadmin: {address}: {words}");
        }
        call.say(&format!("update broker config success, {address}\n"))
    })
    .await
}

/// The banner of each broker that the line means, with its address; a cluster without a master has none.
async fn banners(call: &Call) -> Result<Vec<(String, String)>, Failure> {
    if let Some(address) = call.line.value("b") {
        return Ok(vec![(format!("============{address}============"), address.to_owned())]);
    }
    let Some(cluster) = call.line.value("c") else { return Err(Failure::Incomplete) };
    let mut all = Vec::new();
    for (master, slaves) in call.cluster().await?.with_slaves(cluster)? {
        all.push((format!("============Master: {master}============"), master.clone()));
        for slave in slaves {
            all.push((format!("============My Master: {master}=====Slave: {slave}============"), slave));
        }
    }
    Ok(all)
}

async fn config(call: &Call) -> Result<(), Failure> {
    for (banner, address) in banners(call).await? {
        let values =
            if address == NO_MASTER { BTreeMap::new() } else { call.admin.broker_config(&address).await? };
        call.say(&format!("{}\n", settings(&banner, &values)))?;
    }
    Ok(())
}

async fn status(call: &Call) -> Result<(), Failure> {
    if let Some(address) = call.line.value("b") {
        return call.say(&status_rows(&call.admin.runtime_stats(address).await?, ""));
    }
    let addresses = call.cluster().await?.members(call.line.text("c"))?;
    call.each(&addresses, |address| async move {
        let stats = call.admin.runtime_stats(&address).await?;
        call.say(&status_rows(&stats, &format!("{address:<24} ")))
    })
    .await
}

fn status_rows(stats: &BTreeMap<String, String>, before: &str) -> String {
    stats.iter().map(|(name, value)| format!("{before}{name:<32}: {value}\n")).collect()
}

async fn ha_status(call: &Call) -> Result<(), Failure> {
    let interval = call.line.number::<u64>("i")?;
    loop {
        for address in call.masters().await? {
            let status = call.admin.ha_status(&address).await?;
            call.say(&ha_text(&address, &status, &call.times))?;
        }
        let Some(seconds) = interval else { return Ok(()) };
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    }
}

fn ha_text(address: &str, status: &HaStatus, times: &Times) -> String {
    if !status.master {
        let own = &status.ha_client_runtime_info;
        return format!(
            "\n#MasterAddr\t{}\n#CommitLogMaxOffset\t{}\n#TransferSpeed(KB/s)\t{:.2}\n#LastReadTime\t{}\n\
             #LastWriteTime\t{}\n#MasterFlushOffset\t{}\n",
            own.master_addr.as_deref().unwrap_or("null"),
            own.max_offset,
            own.transferred_byte_in_second as f64 / 1024.0,
            times.to_millis(own.last_read_timestamp),
            times.to_millis(own.last_write_timestamp),
            own.master_flush_offset
        );
    }
    let mut text = format!(
        "\n#MasterAddr\t{address}\n#MasterCommitLogMaxOffset\t{}\n#SlaveNum\t{}\n#InSyncSlaveNum\t{}\n\
         {:<32}  {:<16} {:>16} {:>16} {:>16} {:>16}\n",
        status.master_commit_log_max_offset,
        status.ha_connection_info.len(),
        status.in_sync_slave_nums,
        "#SlaveAddr",
        "#SlaveAckOffset",
        "#Diff",
        "#TransferSpeed(KB/s)",
        "#Status",
        "#TransferFromWhere"
    );
    for slave in &status.ha_connection_info {
        text += &format!(
            "{:<32}  {:<16} {:>16} {:>16.2} {:>16} {:>16}\n",
            slave.addr,
            slave.slave_ack_offset,
            slave.diff,
            slave.transferred_byte_in_second as f64 / 1024.0,
            if slave.in_sync { "OK" } else { "Fall Behind" },
            slave.transfer_from_where
        );
    }
    text
}

#[derive(Clone, Copy)]
enum Housework {
    Queues,
    Topics,
    Log,
}

impl Housework {
    async fn at(self, admin: &Admin, address: &str) -> Result<(), Error> {
        match self {
            Housework::Queues => admin.clean_expired_queues(address).await,
            Housework::Topics => admin.clean_unused_topics(address).await,
            Housework::Log => admin.delete_expired_log(address).await,
        }
    }
}

async fn clean(call: &Call, work: Housework) -> Result<(), Failure> {
    let addresses = match (call.line.value("b"), call.line.value("c")) {
        (Some(address), _) => vec![address.to_owned()],
        (None, Some(cluster)) if !cluster.is_empty() => call.cluster().await?.members(cluster)?,
        _ => call.admin.brokers("").await?,
    };
    let done =
        call.each(&addresses, |address| async move { Ok(work.at(&call.admin, &address).await?) }).await;
    // One word without an end of line, as scripts compare it.
    call.say(if done.is_ok() { "success" } else { "false" })?;
    done
}

async fn switch_timer(call: &Call) -> Result<(), Failure> {
    let engine = call.line.text("e");
    let name = match engine {
        "R" => "ROCKSDB_TIMELINE",
        "F" => "FILE_TIME_WHEEL",
        _ => return Err(Failure::Usage("switchTimerEngine engineType must be R or F".to_owned())),
    };
    let addresses = call.masters().await?;
    call.each(&addresses, |address| async move {
        call.admin.switch_timer_engine(&address, engine).await?;
        call.say(&format!("switchTimerEngine to {name} success, {address}\n"))
    })
    .await
}

async fn reset_flush_offset(call: &Call) -> Result<(), Failure> {
    let missing = || Failure::Incomplete;
    let offset: i64 = call.line.number("o")?.ok_or_else(missing)?;
    call.admin.reset_master_flush_offset(call.line.value("b").ok_or_else(missing)?, offset).await?;
    call.say(&format!("reset master flush offset to {offset} success\n"))
}

async fn read_ahead(call: &Call) -> Result<(), Failure> {
    let mode = call.line.text("m");
    if !["0", "1"].contains(&mode) {
        return Err(Failure::Usage("set the read mode error; 0 is default, 1 random read".to_owned()));
    }
    at_each(call, |banner, address| async move {
        let words = call.admin.set_read_ahead(&address, mode).await?;
        let words = words.as_deref().unwrap_or("null");
        call.say(&format!(" {banner}\ncommitLog set readAhead mode rstStr{words}\n"))
    })
    .await
}

/// Does something at each broker that the line means, below its banner; a master that is not there has not done it.
async fn at_each<F: Future<Output = Result<(), Failure>>>(
    call: &Call,
    work: impl Fn(String, String) -> F,
) -> Result<(), Failure> {
    let banners = banners(call).await?;
    let addresses: Vec<String> = banners.iter().map(|(_, address)| address.clone()).collect();
    let banners: BTreeMap<String, String> =
        banners.into_iter().map(|(banner, address)| (address, banner)).collect();
    call.each(&addresses, |address| {
        let work = (address != NO_MASTER)
            .then(|| work(banners.get(&address).cloned().unwrap_or_default(), address.clone()));
        async {
            let absent = || Failure::NotThere("no master is registered".to_owned());
            work.ok_or_else(absent)?.await
        }
    })
    .await
}

async fn cold_readers(call: &Call) -> Result<(), Failure> {
    at_each(call, |banner, address| async move {
        let text = match call.admin.cold_readers(&address).await? {
            Some(mut table) => {
                write_times(&mut table, &call.times);
                java::json(&table)
            }
            None => format!("Broker[{address}] has no cold ctr table !"),
        };
        call.say(&format!(" {banner}\n{text}\n"))
    })
    .await
}

/// Writes the times of a table of cold readers so that people can read them.
fn write_times(table: &mut Value, times: &Times) {
    let rows = table.get_mut("runtimeTable").and_then(Value::as_object_mut).into_iter().flatten();
    for row in rows.filter_map(|(_, row)| row.as_object_mut()) {
        for name in ["lastColdReadTime", "createTime"] {
            let at = row.remove(&format!("{name}Mills"));
            let at = at.and_then(|at| at.as_i64().or_else(|| at.as_str()?.parse().ok()));
            if let Some(at) = at {
                row.insert(format!("{name}Format"), times.to_second(at).into());
            }
        }
    }
}

async fn limit_cold_reader(call: &Call) -> Result<(), Failure> {
    let (group, limit) = (call.line.text("g"), call.line.text("v"));
    let addresses = call.masters().await?;
    call.each(&addresses, |address| async move {
        call.admin.limit_cold_reader(&address, group, limit).await?;
        call.say(&format!("updateColdDataFlowCtrGroupConfig success, {address}\n"))
    })
    .await
}

async fn free_cold_reader(call: &Call) -> Result<(), Failure> {
    let group = call.line.text("g");
    let addresses = call.masters().await?;
    call.each(&addresses, |address| async move {
        call.admin.free_cold_reader(&address, group).await?;
        call.say(&format!("remove broker cold read threshold success, {address}\n"))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use thrustmq_client::HaSlave;

    #[test]
    fn a_master_is_told_of_with_its_slaves() {
        let slave = HaSlave {
            addr: "10.0.0.2:40000".into(),
            slave_ack_offset: 100,
            diff: 5,
            in_sync: true,
            transferred_byte_in_second: 2048,
            transfer_from_where: 100,
        };
        let status = HaStatus {
            master: true,
            master_commit_log_max_offset: 105,
            in_sync_slave_nums: 1,
            ha_connection_info: vec![slave],
            ..HaStatus::default()
        };
        assert_eq!(ha_text("10.0.0.1:10911", &status, &Times::new()), include_str!("layouts/haStatus.txt"));
    }

    #[test]
    fn states_have_their_broker_before_them_in_a_cluster() {
        let stats = [("putTps".to_owned(), "1.0 2.0 3.0".to_owned())].into();
        assert_eq!(status_rows(&stats, ""), format!("{:<32}: 1.0 2.0 3.0\n", "putTps"));
        assert!(status_rows(&stats, "a:1 ").starts_with("a:1 putTps "));
    }
}
