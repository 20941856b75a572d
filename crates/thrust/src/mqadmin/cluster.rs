//! Clusters: their brokers, what goes in and out.

use std::collections::BTreeMap;

use thrustmq_client::{BrokerData, BrokerStatsData, Error};
use wire::code::response;

use super::call::{Call, Cluster, Failure, MASTER, Missed};
use super::command::Command;
use super::java::front;
use super::line::{bare, flag};
use super::topic::is_of_group;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "clusterList",
        about: "List clusters with their brokers.",
        flags: &[
            bare("m", "moreStats", "messages of yesterday and today"),
            flag("i", "interval", "list again after so many seconds, without end"),
            flag("c", "clusterName", "one cluster [default: all]"),
        ],
        differs: "",
        run: |call| Box::pin(list(call)),
    },
    Command {
        name: "statsAll",
        about: "Show what goes in and out of topics, by group.",
        flags: &[
            bare("a", "activeTopic", "only what had messages within a day"),
            flag("t", "topic", "one topic [default: all]"),
        ],
        differs: "topics and groups are sorted",
        run: |call| Box::pin(stats_all(call)),
    },
];

type Facts = BTreeMap<String, String>;

async fn list(call: &Call) -> Result<(), Failure> {
    let interval = call.line.number::<u64>("i")?;
    loop {
        let cluster = call.cluster().await?;
        let chosen = call.line.value("c").filter(|name| !name.is_empty());
        let names =
            cluster.0.cluster_addr_table.keys().filter(|name| chosen.is_none_or(|chosen| chosen == *name));
        let names: Vec<&String> = names.collect();
        call.say(&if call.line.has("m") { totals_headings() } else { headings() })?;
        let (missed, mut rows) = (Missed::default(), 0);
        for name in &names {
            rows += brokers(call, &cluster, name, &missed).await?;
        }
        if let (Some(chosen), true) = (chosen, names.is_empty()) {
            cluster.brokers(chosen)?;
        }
        let Some(seconds) = interval else { return missed.end(rows) };
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
    }
}

/// Lists the brokers of a cluster, and gives how many rows these are.
async fn brokers(call: &Call, cluster: &Cluster, name: &str, missed: &Missed) -> Result<usize, Failure> {
    let mut rows = 0;
    for broker in cluster.brokers(name)? {
        let Some(data) = cluster.0.broker_addr_table.get(broker) else { continue };
        for (id, address) in &data.broker_addrs {
            // A broker that does not answer is listed all the same.
            let facts = call.admin.runtime_stats(address).await.unwrap_or_else(|error| {
                missed.note(&format!("{broker}/{id}"), &error.into());
                Facts::new()
            });
            rows += 1;
            call.say(&if call.line.has("m") {
                totals_row(name, broker, &facts)
            } else {
                row([name, broker], *id, address, &facts, call.times.now_ms())
            })?;
        }
    }
    Ok(rows)
}

fn totals_headings() -> String {
    format!(
        "{:<16}  {:<32} {:>14} {:>14} {:>14} {:>14}\n",
        "#Cluster Name", "#Broker Name", "#InTotalYest", "#OutTotalYest", "#InTotalToday", "#OutTotalToday"
    )
}

fn number<T: std::str::FromStr + Default>(facts: &Facts, name: &str) -> T {
    facts.get(name).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn totals_row(cluster: &str, broker: &str, facts: &Facts) -> String {
    let at = |name: &str| number::<i64>(facts, name);
    let in_yesterday = at("msgPutTotalTodayMorning") - at("msgPutTotalYesterdayMorning");
    let out_yesterday = at("msgGetTotalTodayMorning") - at("msgGetTotalYesterdayMorning");
    let in_today = at("msgPutTotalTodayNow") - at("msgPutTotalTodayMorning");
    let out_today = at("msgGetTotalTodayNow") - at("msgGetTotalTodayMorning");
    format!(
        "{cluster:<16}  {broker:<32} {in_yesterday:>14} {out_yesterday:>14} {in_today:>14} {out_today:>14}\n"
    )
}

fn headings() -> String {
    format!(
        "{:<22}  {:<22}  {:<4}  {:<22} {:<16}  {:>16}  {:>30}  {:<22}  {:<11}  {:<12}  {:<8}  {:<10}\n",
        "#Cluster Name",
        "#Broker Name",
        "#BID",
        "#Addr",
        "#Version",
        "#InTPS(LOAD)",
        "#OutTPS(LOAD)",
        "#Timer(Progress)",
        "#PCWait(ms)",
        "#Hour",
        "#SPACE",
        "#ACTIVATED"
    )
}

fn row([cluster, broker]: [&str; 2], id: i64, address: &str, facts: &Facts, now_ms: i64) -> String {
    let text = |name: &str| facts.get(name).map_or("", String::as_str);
    let or_n = |name: &str| facts.get(name).map_or(if facts.is_empty() { "" } else { "N" }, String::as_str);
    // The first of three rates is that of the last seconds.
    let rate =
        |name: &str| text(name).split(' ').next().and_then(|rate| rate.parse().ok()).unwrap_or(0.0_f64);
    let load_in = format!(
        "{:9.2}({},{}ms)",
        rate("putTps"),
        text("sendThreadPoolQueueSize"),
        text("sendThreadPoolQueueHeadWaitTimeMills")
    );
    let load_out = format!(
        "{:9.2}({},{}ms|{},{}ms)",
        rate("getTransferredTps"),
        text("pullThreadPoolQueueSize"),
        text("pullThreadPoolQueueHeadWaitTimeMills"),
        or_n("ackThreadPoolQueueSize"),
        or_n("ackThreadPoolQueueHeadWaitTimeMills")
    );
    let timer = format!(
        "{}-{}({:.1}w, {:.1}, {:.1})",
        number::<i64>(facts, "timerReadBehind"),
        number::<i64>(facts, "timerOffsetBehind"),
        number::<i64>(facts, "timerCongestNum") as f64 / 10_000.0,
        number::<f64>(facts, "timerEnqueueTps"),
        number::<f64>(facts, "timerDequeueTps")
    );
    let earliest: Option<i64> = text("earliestMessageTimeStamp").parse().ok();
    let hours = format!("{:.2}", earliest.map_or(0.0, |earliest| (now_ms - earliest) as f64 / 3_600_000.0));
    let space = format!("{:.4}", number::<f64>(facts, "commitLogDiskRatio"));
    let active = text("brokerActive") == "true";
    format!(
        "{cluster:<22}  {broker:<22}  {id:<4}  {address:<22} {:<16}  {load_in:>16}  {load_out:>30}  {timer:<22}  \
         {:>11}  {hours:<12}  {space:<8}  {active:>10}\n",
        text("brokerVersionDesc"),
        text("pageCacheLockTimeMills")
    )
}

async fn stats_all(call: &Call) -> Result<(), Failure> {
    call.say(&format!(
        "{:<64}  {:<64} {:>12} {:>11} {:>11} {:>14} {:>14}\n",
        "#Topic", "#Consumer Group", "#Accumulation", "#InTPS", "#OutTPS", "#InMsg24Hour", "#OutMsg24Hour"
    ))?;
    let chosen = call.line.value("t").filter(|topic| !topic.is_empty());
    let mut topics = call.admin.topics().await?;
    topics.retain(|topic| !is_of_group(topic) && chosen.is_none_or(|chosen| chosen == topic));
    let missed = Missed::default();
    for topic in &topics {
        match topic_rows(call, topic, &missed).await {
            Ok(text) => call.say(&text)?,
            // A topic that goes while the list is made is left out.
            Err(failure) => missed.note(topic, &failure),
        }
    }
    missed.end(topics.len())
}

/// Messages per second and within a day.
#[derive(Default)]
struct Flow {
    rate: f64,
    day: i64,
}

impl Flow {
    fn add(&mut self, stats: &BrokerStatsData) {
        self.rate += stats.stats_minute.tps;
        // A young broker has counted no day yet.
        let sums = [stats.stats_day.sum, stats.stats_hour.sum, stats.stats_minute.sum];
        self.day += sums.into_iter().find(|sum| *sum != 0).unwrap_or(0);
    }
}

async fn flow(call: &Call, brokers: &[BrokerData], [name, key]: [&str; 2], missed: &Missed) -> Flow {
    let mut flow = Flow::default();
    for address in brokers.iter().filter_map(|data| data.broker_addrs.get(&MASTER)) {
        match call.admin.broker_stats(address, name, key).await {
            Ok(stats) => flow.add(&stats),
            // Brokers refuse to tell of what they have never counted.
            Err(Error::Refused { code: response::SYSTEM_ERROR, .. }) => (),
            // The key begins with the topic.
            Err(error) => missed.note(key.split('@').next().unwrap_or(key), &error.into()),
        }
    }
    flow
}

async fn topic_rows(call: &Call, topic: &str, missed: &Missed) -> Result<String, Failure> {
    let route = call.admin.topic_route(topic).await?;
    let groups = call.admin.groups_of_topic(topic).await?;
    let active = call.line.has("a");
    let into = flow(call, route.brokers(), ["TOPIC_PUT_NUMS", topic], missed).await;
    if groups.is_empty() && (!active || into.day > 0) {
        let (topic, rate) = (front(topic, 64), into.rate);
        return Ok(format!(
            "{topic:<64}  {:<64} {:>12} {rate:>11.2} {:>11} {:>14} {:>14}\n",
            "", 0, "", into.day, "NO_CONSUMER"
        ));
    }
    let mut text = String::new();
    for group in groups {
        let out = flow(call, route.brokers(), ["GROUP_GET_NUMS", &format!("{topic}@{group}")], missed).await;
        let stats = call.admin.consume_stats(&group, Some(topic)).await;
        let stats = stats.map_err(|error| missed.note(topic, &error.into()));
        let behind = stats.map_or(0, |stats| stats.behind().max(0));
        if !active || into.day > 0 || out.day > 0 {
            text += &format!(
                "{:<64}  {:<64} {behind:>12} {:>11.2} {:>11.2} {:>14} {:>14}\n",
                front(topic, 64),
                front(&group, 64),
                into.rate,
                out.rate,
                into.day,
                out.day
            );
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let facts = [
            ("putTps", "12.345 2.0 3.0"),
            ("getTransferredTps", "1.0 2.0 3.0"),
            ("sendThreadPoolQueueSize", "0"),
            ("sendThreadPoolQueueHeadWaitTimeMills", "0"),
            ("pullThreadPoolQueueSize", "0"),
            ("pullThreadPoolQueueHeadWaitTimeMills", "0"),
            ("timerCongestNum", "15000"),
            ("pageCacheLockTimeMills", "0"),
            ("earliestMessageTimeStamp", "0"),
            ("commitLogDiskRatio", "0.25"),
            ("brokerVersionDesc", "V5_5_0"),
            ("brokerActive", "true"),
            ("msgPutTotalTodayMorning", "5"),
            ("msgPutTotalTodayNow", "12"),
        ];
        facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn brokers_are_listed_in_columns() {
        let names = ["DefaultCluster", "broker-a"];
        let text = headings() + &row(names, 0, "10.0.0.1:10911", &facts(), 7_200_000);
        assert_eq!(text, include_str!("layouts/clusterList.txt"));
        let silent = row(names, 1, "10.0.0.2:10911", &Facts::new(), 0);
        assert!(silent.trim_end().ends_with("0.0000         false"), "{silent}");
    }

    #[test]
    fn totals_of_two_days_are_listed_in_columns() {
        let text = totals_headings() + &totals_row("DefaultCluster", "broker-a", &facts());
        assert_eq!(text, include_str!("layouts/clusterList-m.txt"));
    }
}
