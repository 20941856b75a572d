//! Settings and numbers of a cluster, written to files.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use thrustmq_client::{BrokerStatsData, SubscriptionGroupConfig, TopicConfig};
use wire::names::{BUILT_IN_GROUPS, HALF_TOPIC, SCHEDULE_TOPIC, is_system_group, is_system_topic};

use super::call::{Call, Failure, MASTER, NO_MASTER};
use super::command::Command;
use super::java;
use super::line::{bare, flag, required};
use super::topic::is_of_group;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "exportMetadata",
        about: "Write topics and consumer groups to a file.",
        flags: &[
            flag("c", "clusterName", "the cluster to export"),
            flag("b", "brokerAddr", "the broker to export; with -t or -g"),
            flag("f", "filePath", "directory of the file [default: /tmp/rocketmq/export]"),
            bare("t", "topic", "topics alone"),
            bare("g", "subscriptionGroup", "groups alone"),
            bare("s", "specialTopic", "retry and dead letter topics too"),
        ],
        differs: "files of one broker have no version of their data",
        run: |call| Box::pin(metadata(call)),
    },
    Command {
        name: "exportConfigs",
        about: "Write settings of a cluster to a file.",
        flags: &[
            required("c", "clusterName", "the cluster to export"),
            flag("f", "filePath", "directory of the file [default: /tmp/rocketmq/export]"),
        ],
        differs: "",
        run: |call| Box::pin(configs(call)),
    },
    Command {
        name: "exportMetrics",
        about: "Write numbers of a cluster to a file.",
        flags: &[
            required("c", "clusterName", "the cluster to export"),
            flag("f", "filePath", "directory of the file [default: /tmp/rocketmq/export]"),
        ],
        differs: "",
        run: |call| Box::pin(metrics(call)),
    },
    Command {
        name: "exportPopRecord",
        about: "Have brokers write down what is popped in the form of older versions.",
        flags: &[
            flag("c", "clusterName", "the cluster to export"),
            flag("b", "brokerAddr", "the broker to export"),
            flag("d", "dryRun", "true: change nothing"),
        ],
        differs: "`-d true` changes nothing; with the official tool only `-d false` does not. For Java's brokers; \
                  ours refuses the request and says why",
        run: |call| Box::pin(pop_records(call)),
    },
];

/// Settings that the export of a broker has.
const CONFIG_KEYS: [&str; 16] = [
    "brokerClusterName",
    "brokerId",
    "brokerName",
    "brokerRole",
    "fileReservedTime",
    "filterServerNums",
    "flushDiskType",
    "maxMessageSize",
    "messageDelayLevel",
    "msgTraceTopicName",
    "slaveReadEnable",
    "traceOn",
    "traceTopicEnable",
    "useTLS",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
];

/// Writes a file of the directory that the line names; gives its path.
fn write(call: &Call, name: &str, content: &Value) -> Result<String, Failure> {
    let directory = call.line.value("f").unwrap_or("/tmp/rocketmq/export");
    let path = format!("{directory}/{name}");
    let written =
        std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&path, java::json(content)));
    written.map_err(|cause| Failure::File { what: "write", path: path.clone(), cause })?;
    Ok(path)
}

/// Topics that people have made, at one broker.
async fn topics(call: &Call, address: &str) -> Result<BTreeMap<String, TopicConfig>, Failure> {
    let system: BTreeSet<String> = call.admin.system_topics_at(address).await?.into_iter().collect();
    let mut topics = call.admin.topic_configs(address).await?;
    let special = call.line.has("s");
    topics.retain(|name, config| {
        let own = !system.contains(name) && !is_system_topic(name);
        own && (special || !is_of_group(name)) && (0..8).contains(&config.perm)
    });
    Ok(topics)
}

/// Consumer groups that people have made, at one broker.
async fn groups(call: &Call, address: &str) -> Result<BTreeMap<String, SubscriptionGroupConfig>, Failure> {
    let mut groups = call.admin.groups(address).await?;
    groups.retain(|name, _| !is_system_group(name) && !BUILT_IN_GROUPS.contains(&name.as_str()));
    Ok(groups)
}

async fn metadata(call: &Call) -> Result<(), Failure> {
    if let Some(address) = call.line.value("b") {
        return metadata_of_broker(call, address).await;
    }
    let (only_topics, only_groups) = (call.line.has("t"), call.line.has("g"));
    let (mut all_topics, mut all_groups) = (BTreeMap::new(), BTreeMap::new());
    for address in call.masters().await? {
        for (name, mut config) in topics(call, &address).await? {
            if let Some(old) = all_topics.get(&name) {
                let old: &TopicConfig = old;
                config.write_queue_nums += old.write_queue_nums;
                config.read_queue_nums += old.read_queue_nums;
            }
            all_topics.insert(name, config);
        }
        for (name, mut config) in groups(call, &address).await? {
            if let Some(old) = all_groups.get(&name) {
                let old: &SubscriptionGroupConfig = old;
                config.retry_queue_nums += old.retry_queue_nums;
            }
            all_groups.insert(name, config);
        }
    }
    let mut content = json!({ "exportTime": call.times.now_ms() });
    if only_topics || !only_groups {
        content["topicConfigTable"] = json!(all_topics);
    }
    if !only_topics {
        content["subscriptionGroupTable"] = json!(all_groups);
    }
    let name = match (only_topics, only_groups) {
        (true, _) => "topic.json",
        (false, true) => "subscriptionGroup.json",
        (false, false) => "metadata.json",
    };
    let path = write(call, name, &content)?;
    call.say(&format!("export {path} success\n"))
}

async fn metadata_of_broker(call: &Call, address: &str) -> Result<(), Failure> {
    let path = if call.line.has("t") {
        write(call, "topic.json", &json!({ "topicConfigTable": topics(call, address).await? }))?
    } else if call.line.has("g") {
        let table = groups(call, address).await?;
        write(call, "subscriptionGroup.json", &json!({ "subscriptionGroupTable": table }))?
    } else {
        return Err(Failure::Usage("with -b, -t or -g says what to export".to_owned()));
    };
    call.say(&format!("export {path} success"))
}

async fn configs(call: &Call) -> Result<(), Failure> {
    let members = call.cluster().await?.with_slaves(call.line.text("c"))?;
    let mut brokers = BTreeMap::new();
    for master in members.keys().filter(|master| *master != NO_MASTER) {
        let mut values = call.admin.broker_config(master).await?;
        values.retain(|key, _| CONFIG_KEYS.contains(&key.as_str()));
        brokers.insert(values.get("brokerName").cloned().unwrap_or_else(|| master.clone()), values);
    }
    let content = json!({
        "brokerConfigs": brokers,
        "clusterScale": {
            "namesrvSize": call.admin.name_servers().len(),
            "masterBrokerSize": members.len(),
            "slaveBrokerSize": members.values().map(Vec::len).sum::<usize>(),
        },
    });
    let path = write(call, "configs.json", &content)?;
    call.say(&format!("export {path} success"))
}

/// What one broker adds to the sums of its cluster.
#[derive(Default)]
struct Sums {
    rates: BTreeMap<&'static str, f64>,
    days: BTreeMap<&'static str, i64>,
}

async fn metrics(call: &Call) -> Result<(), Failure> {
    let cluster = call.cluster().await?;
    let mut report = serde_json::Map::new();
    let mut sums = Sums::default();
    for name in cluster.brokers(call.line.text("c"))? {
        let data = cluster.0.broker_addr_table.get(name);
        let Some(address) = data.and_then(|data| data.broker_addrs.get(&MASTER)) else { continue };
        report.insert(name.clone(), broker_metrics(call, address, &mut sums).await?);
    }
    let total = |name: &str| format!("total{}{}", name[..1].to_uppercase(), &name[1..]);
    let rates: BTreeMap<String, f64> =
        sums.rates.into_iter().map(|(name, rate)| (total(name), rate)).collect();
    let content = json!({
        "evaluateReport": report,
        "totalData": { "totalTps": rates, "totalOneDayNum": sums.days },
    });
    let path = write(call, "metrics.json", &content)?;
    call.say(&format!("export {path} success"))
}

async fn broker_metrics(call: &Call, address: &str, sums: &mut Sums) -> Result<Value, Failure> {
    let facts = call.admin.runtime_stats(address).await?;
    let settings = call.admin.broker_config(address).await?;
    let (topics, groups) = (topics(call, address).await?, groups(call, address).await?);
    // Brokers refuse to tell of topics that never had a message.
    let half = call.admin.broker_stats(address, "TOPIC_PUT_NUMS", HALF_TOPIC).await.ok();
    let delayed = call.admin.broker_stats(address, "TOPIC_PUT_NUMS", SCHEDULE_TOPIC).await.ok();
    let rate = |name: &str| -> f64 {
        let first = facts.get(name).and_then(|text| text.split(' ').next());
        first.and_then(|text| text.parse().ok()).unwrap_or_default()
    };
    let at = |name: &str| -> i64 { facts.get(name).and_then(|text| text.parse().ok()).unwrap_or_default() };
    let of = |stats: &Option<BrokerStatsData>| stats.map_or(0.0, |stats| stats.stats_minute.tps);
    let day = |stats: &Option<BrokerStatsData>| {
        let sums = stats.map(|stats| [stats.stats_day.sum, stats.stats_hour.sum, stats.stats_minute.sum]);
        sums.into_iter().flatten().find(|sum| *sum != 0).unwrap_or(0)
    };
    let rates = BTreeMap::from([
        ("normalInTps", rate("putTps")),
        ("normalOutTps", rate("getTransferredTps")),
        ("transInTps", of(&half)),
        ("scheduleInTps", of(&delayed)),
    ]);
    let days = BTreeMap::from([
        ("normalOneDayInNum", at("msgPutTotalTodayMorning") - at("msgPutTotalYesterdayMorning")),
        ("normalOneDayOutNum", at("msgGetTotalTodayMorning") - at("msgGetTotalYesterdayMorning")),
        ("transOneDayInNum", day(&half)),
        ("scheduleOneDayInNum", day(&delayed)),
    ]);
    rates.iter().for_each(|(name, rate)| *sums.rates.entry(name).or_default() += rate);
    days.iter().for_each(|(name, number)| *sums.days.entry(name).or_default() += number);
    let mut clients = BTreeSet::new();
    for group in groups.keys() {
        // Groups without members have nobody to tell of.
        let members = call.admin.consumers_at(address, group).await.unwrap_or_default().connection_set;
        clients.extend(members.iter().map(|one| format!("{}%{}", one.language, java::version(one.version))));
    }
    Ok(json!({
        // What the official tool calls the number of processors.
        "runtimeEnv": { "cpuNum": settings.get("clientCallbackExecutorThreads") },
        "runtimeQuota": {
            "diskRatio": {
                "commitLogDiskRatio": facts.get("commitLogDiskRatio"),
                "consumeQueueDiskRatio": facts.get("consumeQueueDiskRatio"),
            },
            "tps": rates,
            "oneDayNum": days,
            "messageAverageSize": facts.get("putMessageAverageSize"),
            "topicSize": topics.len(),
            "groupSize": groups.len(),
        },
        "runtimeVersion": { "rocketmqVersion": "V5_5_0", "clientInfo": clients },
    }))
}

async fn pop_records(call: &Call) -> Result<(), Failure> {
    let dry_run = call.line.truth("d").unwrap_or(false);
    let cluster = call.cluster().await?;
    let addresses = match (call.line.value("b"), call.line.value("c")) {
        (Some(address), _) => vec![address.to_owned()],
        (None, Some(name)) => cluster.members(name)?,
        (None, None) => return Err(Failure::Incomplete),
    };
    call.each(&addresses, |address| {
        let broker = cluster.name_at(&address).unwrap_or("null").to_owned();
        async move {
            if !dry_run {
                call.admin.export_pop_records(&address).await?;
            }
            call.say(&format!(
                "Export broker records, brokerName={broker}, brokerAddr={address}, dryRun={dry_run}\n"
            ))
        }
    })
    .await
}
