//! How far consumer groups have come, and what members tell of themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use thrustmq_client::{ConsumeStats, ConsumeStatsList, ConsumerConnection, Error, MessageQueue};
use wire::loose_json;
use wire::names::{RETRY_PREFIX, retry_topic};

use super::call::{Call, Failure, Missed, told};
use super::command::Command;
use super::group::members;
use super::java::{self, Times, front};
use super::line::{bare, flag, required};
use super::logical::Logical;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "consumerProgress",
        about: "Show how far consumer groups have come.",
        flags: &[
            flag("g", "groupName", "name of the group [default: a line for each group]"),
            flag("t", "topicName", "one topic of the group"),
            flag("s", "showClientIP", "which member reads a queue: true or false"),
            flag("c", "cluster", "a topic whose brokers are asked, for light queues"),
        ],
        differs: "groups are sorted; of a queue of a static topic that has moved the group's offset is the logical \
                  one, as the broker's is, and what is in flight is told of all queues",
        run: |call| Box::pin(progress(call)),
    },
    Command {
        name: "consumerStatus",
        about: "Show what members of a consumer group tell of themselves.",
        flags: &[
            required("g", "consumerGroup", "name of the group"),
            flag("i", "clientId", "one member, whose words are printed [default: all, into files]"),
            flag("b", "brokerAddr", "the broker to ask"),
            bare("s", "jstack", "stacks of threads too"),
        ],
        differs: "members and their properties are sorted; files are written below the directory of the moment, as \
                  the official tool does",
        run: |call| Box::pin(status(call)),
    },
    Command {
        name: "brokerConsumeStats",
        about: "Show how far all groups of a broker have come.",
        flags: &[
            required("b", "brokerAddr", "address of the broker"),
            flag("t", "timeoutMillis", "time for the answer, in milliseconds [default: 50000]"),
            flag("l", "level", "leave out what is less behind [default: 0]"),
            flag("o", "order", "order topics alone: true or false"),
        ],
        differs: "groups are sorted",
        run: |call| Box::pin(of_broker(call)),
    },
];

async fn progress(call: &Call) -> Result<(), Failure> {
    let Some(group) = call.line.value("g") else { return overview(call).await };
    let stats = stats(call, group, call.line.value("t")).await?;
    if stats.offset_table.is_empty() {
        let what = "Not found the consumer group consume stats, because return offset table is empty, maybe the \
                    consumer not online";
        return Err(Failure::NotThere(format!("CODE: 206  DESC: {what}")));
    }
    let owners = match call.line.truth("s") {
        Some(true) => Some(owners(call, group).await),
        _ => None,
    };
    call.say(&table(&stats, owners.as_ref(), &call.times))
}

/// How far a group has come, asked at the brokers of its retry topic, or of the topic where it never had one.
async fn stats(call: &Call, group: &str, topic: Option<&str>) -> Result<ConsumeStats, Failure> {
    let mut route = call.admin.topic_route(&retry_topic(group)).await;
    if let (Err(_), Some(topic)) = (&route, topic) {
        route = Ok(call.route(topic, "c").await?);
    }
    let mut all = ConsumeStats::default();
    for address in route?.addresses() {
        let one = call.admin.consume_stats_at(address, group, topic).await?;
        all.offset_table.extend(one.offset_table);
        all.consume_tps += one.consume_tps;
    }
    if topic.is_none() || !call.line.has("c") {
        join_static_topics(call, &mut all).await?;
    }
    Ok(all)
}

/// Puts the logical queues of static topics in the place of the physical ones.
async fn join_static_topics(call: &Call, stats: &mut ConsumeStats) -> Result<(), Failure> {
    let topics: BTreeSet<String> = stats.offset_table.keys().map(|queue| queue.topic.clone()).collect();
    for topic in topics {
        match call.admin.topic_route(&topic).await {
            Ok(route) => {
                if let Some(logical) = Logical::of(call, &route).await? {
                    logical.replace_in(stats);
                }
            }
            // What is left of a topic that is gone has no logical queues.
            Err(Error::NoRoute { .. }) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Which member reads which queue, as the members say. Who does not answer has none.
async fn owners(call: &Call, group: &str) -> BTreeMap<MessageQueue, String> {
    let mut owners = BTreeMap::new();
    let Ok(found) = members(call, group, None).await else { return owners };
    for member in found.connection_set {
        let Ok(info) = call.admin.running_info(group, &member.client_id, false).await else { continue };
        let ip = member.client_id.split('@').next().unwrap_or_default();
        owners.extend(queues(&info, "mqTable").map(|(queue, _)| (queue, ip.to_owned())));
    }
    owners
}

/// Entries of a table that is keyed by queues.
fn queues<'a>(info: &'a Value, table: &str) -> impl Iterator<Item = (MessageQueue, &'a Value)> {
    let entries = info.get(table).and_then(Value::as_object).into_iter().flatten();
    let mut all: Vec<_> = entries
        .filter_map(|(key, value)| Some((loose_json::read::<MessageQueue>(key.as_bytes()).ok()?, value)))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.into_iter()
}

fn table(stats: &ConsumeStats, owners: Option<&BTreeMap<MessageQueue, String>>, times: &Times) -> String {
    let owner_column = |text: &str| owners.map(|_| format!("{text:<20} ")).unwrap_or_default();
    let mut text = format!(
        "{:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {}{:<20} {:<20}#LastTime\n",
        "#Topic",
        "#Broker Name",
        "#QID",
        "#Broker Offset",
        "#Consumer Offset",
        owner_column("#Client IP"),
        "#Diff",
        "#Inflight"
    );
    let (mut diffs, mut inflights) = (0, 0);
    for (queue, at) in &stats.offset_table {
        let diff = at.broker_offset - at.consumer_offset;
        let inflight = at.pull_offset - at.consumer_offset;
        (diffs, inflights) = (diffs + diff, inflights + inflight);
        let time = if at.last_timestamp == 0 { "N/A".to_owned() } else { times.to_second(at.last_timestamp) };
        let owner = owners.and_then(|owners| owners.get(queue)).map_or("N/A", String::as_str);
        text += &format!(
            "{:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {}{diff:<20} {inflight:<20} {time}\n",
            front(&queue.topic, 64),
            front(&queue.broker_name, 32),
            queue.queue_id,
            at.broker_offset,
            at.consumer_offset,
            owner_column(owner),
        );
    }
    text + &format!(
        "\nConsume TPS: {:.2}\nConsume Diff Total: {diffs}\nConsume Inflight Total: {inflights}\n",
        stats.consume_tps
    )
}

async fn overview(call: &Call) -> Result<(), Failure> {
    call.say(&format!(
        "{:<64}  {:<6}  {:<24} {:<5}  {:<14}  {:<7}  #Diff Total\n",
        "#Group", "#Count", "#Version", "#Type", "#Model", "#TPS"
    ))?;
    let topics = call.admin.topics().await?;
    let groups: Vec<&str> = topics.iter().filter_map(|topic| topic.strip_prefix(RETRY_PREFIX)).collect();
    let missed = Missed::default();
    for group in &groups {
        // What cannot be learned of a group stays 0, and the others are still told of.
        let stats = stats(call, group, None).await.map_err(|failure| missed.note(group, &failure));
        let members = members(call, group, None).await.map_err(|failure| missed.note(group, &failure)).ok();
        call.say(&overview_row(group, &stats.unwrap_or_default(), members.as_ref()))?;
    }
    missed.end(groups.len())
}

fn overview_row(group: &str, stats: &ConsumeStats, members: Option<&ConsumerConnection>) -> String {
    let (mut kind, mut model) = ("", "");
    if let Some(members) = members {
        kind = if members.consume_type == "CONSUME_ACTIVELY" { "PULL" } else { "PUSH" };
        model = if kind == "PUSH" { &members.message_model } else { "" };
    }
    let count = members.map_or(0, |members| members.connection_set.len());
    let oldest = members.and_then(|members| members.connection_set.iter().map(|member| member.version).min());
    let version = oldest.map_or("OFFLINE".to_owned(), java::version);
    let group = front(group, 64);
    format!(
        "{group:<64}  {count:<6}  {version:<24} {kind:<5}  {model:<14}  {:<7}  {}\n",
        stats.consume_tps as i64,
        stats.behind()
    )
}

async fn of_broker(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let timeout = std::time::Duration::from_millis(line.number("t")?.unwrap_or(50_000));
    let least = line.number("l")?.unwrap_or(0);
    let admin = call.patient(timeout).await?;
    let stats = admin.broker_consume_stats(line.text("b"), line.truth("o").unwrap_or(false)).await?;
    call.say(&broker_table(&stats, least, &call.times))
}

fn broker_table(stats: &ConsumeStatsList, least: i64, times: &Times) -> String {
    let mut text = format!(
        "{:<64}  {:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {:<20}  #LastTime\n",
        "#Topic", "#Group", "#Broker Name", "#QID", "#Broker Offset", "#Consumer Offset", "#Diff"
    );
    let mut groups: Vec<_> = stats.consume_stats_list.iter().flatten().collect();
    groups.sort_by_key(|(group, _)| *group);
    for (group, tables) in groups {
        for (queue, at) in tables.iter().flat_map(|table| &table.offset_table) {
            let diff = at.broker_offset - at.consumer_offset;
            // Java leaves out queues of which nothing was ever read.
            if diff < least || at.last_timestamp <= 0 {
                continue;
            }
            text += &format!(
                "{:<64}  {group:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {diff:<20}  {}\n",
                front(&queue.topic, 64),
                front(&queue.broker_name, 32),
                queue.queue_id,
                at.broker_offset,
                at.consumer_offset,
                times.to_second(at.last_timestamp)
            );
        }
    }
    text + &format!("\nDiff Total: {}\n", stats.total_diff)
}

async fn status(call: &Call) -> Result<(), Failure> {
    let (group, stacks) = (call.line.text("g"), call.line.has("s"));
    if let Some(client) = call.line.value("i") {
        let info = call.admin.running_info(group, client, stacks).await?;
        return call.say(&running_info(&info, &call.times));
    }
    let found = members(call, group, call.line.value("b")).await?;
    let now = call.times.now_ms();
    let directory = std::path::PathBuf::from(now.to_string());
    call.say(&format!("{:<10} {:<40} {:<20} #ConsumerRunningInfoFile\n", "#Index", "#ClientId", "#Version"))?;
    let mut infos = Vec::new();
    let mut failed = 0;
    for member in &found.connection_set {
        let info = match call.admin.running_info(group, &member.client_id, stacks).await {
            Ok(info) => info,
            Err(error) => {
                failed += 1;
                eprintln!("mqadmin: {}: {}", member.client_id, told(&error));
                continue;
            }
        };
        // Ids come from clients: only the last part may name a file.
        let name = member.client_id.replace(['/', '\\'], "_");
        let path = directory.join(name);
        let written = std::fs::create_dir_all(&directory)
            .and_then(|()| std::fs::write(&path, running_info(&info, &call.times)));
        let path = path.display().to_string();
        written.map_err(|cause| Failure::File { what: "write", path: path.clone(), cause })?;
        let (index, version) = (infos.len() + 1, java::version(member.version));
        call.say(&format!("{index:<10} {:<40} {version:<20} {path}\n", member.client_id))?;
        infos.push((member.client_id.clone(), info));
    }
    if !infos.is_empty() {
        call.say(&verdict(&infos, now))?;
    }
    let all = found.connection_set.len();
    if failed > 0 { Err(Failure::Partly { failed, all }) } else { Ok(()) }
}

fn property<'a>(info: &'a Value, name: &str) -> &'a str {
    info.get("properties").and_then(|all| all.get(name)).and_then(Value::as_str).unwrap_or_default()
}

fn subscriptions(info: &Value) -> BTreeSet<(&str, &str)> {
    let all = info.get("subscriptionSet").and_then(Value::as_array).into_iter().flatten();
    all.map(|data| (string(data, "topic"), string(data, "subString"))).collect()
}

fn string<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn integer(value: &Value, name: &str) -> i64 {
    value.get(name).and_then(Value::as_i64).unwrap_or_default()
}

/// Whether members that have run for two minutes subscribe to the same, and whose queues stand still.
fn verdict(told: &[(String, Value)], now: i64) -> String {
    let first = &told[0].1;
    let push = property(first, "PROP_CONSUME_TYPE") == "CONSUME_PASSIVELY";
    let start: i64 = property(first, "PROP_CONSUMER_START_TIMESTAMP").parse().unwrap_or(now);
    let same = told.iter().all(|(_, info)| subscriptions(info) == subscriptions(first));
    if push && now - start > 120_000 && !same {
        return "\n\nWARN: Different subscription in the same group of consumer!!!".to_owned();
    }
    let mut text = "\n\nSame subscription in the same group of consumer\n\nRebalance OK\n".to_owned();
    for (client, info) in
        told.iter().filter(|(_, info)| property(info, "PROP_CONSUME_TYPE") == "CONSUME_PASSIVELY")
    {
        let ordered = property(info, "PROP_CONSUMEORDERLY") == "true";
        for (queue, own) in queues(info, "mqTable") {
            text += &standstill(client, &queue, own, ordered, now);
        }
    }
    text
}

fn standstill(client: &str, queue: &MessageQueue, own: &Value, ordered: bool, now: i64) -> String {
    let queue = java::queue(queue);
    let is = |name: &str| own.get(name).and_then(Value::as_bool).unwrap_or_default();
    let since = now - integer(own, if ordered { "lastLockTimestamp" } else { "lastConsumeTimestamp" });
    let tries = integer(own, "tryUnlockTimes");
    match ordered {
        true if !is("locked") => format!("{client} {queue} can't lock for a while, {since}ms\n"),
        true if is("droped") && tries > 0 => format!("{client} {queue} unlock {tries} times, still failed\n"),
        false if since > 60_000 && integer(own, "cachedMsgCount") > 0 => {
            format!("{client} {queue} can't consume for a while, maybe blocked, {since}ms\n")
        }
        _ => String::new(),
    }
}

/// What a member tells of itself, in the layout of the official tool.
fn running_info(info: &Value, times: &Times) -> String {
    let info = &java::sorted(info);
    let mut text = "#Consumer Properties#\n".to_owned();
    for (name, value) in info.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text += &format!("{name:<40}: {value}\n");
    }
    text += "\n\n#Consumer Subscription#\n";
    let all = info.get("subscriptionSet").and_then(Value::as_array).into_iter().flatten();
    for (at, data) in all.enumerate() {
        let class_filter =
            data.get("classFilterMode").and_then(Value::as_bool).unwrap_or_default().to_string();
        let (topic, expression) = (string(data, "topic"), string(data, "subString"));
        text += &format!(
            "{:03} Topic: {topic:<40} ClassFilter: {class_filter:<8} SubExpression: {expression}\n",
            at + 1
        );
    }
    let heading = |name: &str, first: usize, last: &str| {
        format!("\n\n{name}\n{:<first$}  {:<32}  {:<4}  {last:<20}\n", "#Topic", "#Broker Name", "#QID")
    };
    text += &heading("#Consumer Offset#", 64, "#Consumer Offset");
    for (queue, own) in queues(info, "mqTable") {
        let (broker, id, offset) = (&queue.broker_name, queue.queue_id, integer(own, "commitOffset"));
        text += &format!("{:<32}  {broker:<32}  {id:<4}  {offset:<20}\n", queue.topic);
    }
    text += &heading("#Consumer MQ Detail#", 64, "#ProcessQueueInfo");
    for (queue, own) in queues(info, "mqTable") {
        let told = fields("ProcessQueueInfo", '=', own, QUEUE_FIELDS, times);
        text += &format!("{:<64}  {:<32}  {:<4}  {told}\n", queue.topic, queue.broker_name, queue.queue_id);
    }
    text += &heading("#Consumer Pop Detail#", 32, "#ProcessQueueInfo");
    for (queue, own) in queues(info, "mqPopTable") {
        let told = fields("PopProcessQueueInfo", ':', own, POP_FIELDS, times);
        text += &format!("{:<32}  {:<32}  {:<4}  {told}\n", queue.topic, queue.broker_name, queue.queue_id);
    }
    text += &rates(info);
    if let Some(Value::Object(own)) = info.get("userConsumerInfo") {
        text += "\n\n#User Consume Info#\n";
        for (name, value) in own {
            text += &format!("{name:<40}: {}\n", value.as_str().unwrap_or_default());
        }
    }
    match info.get("jstack").and_then(Value::as_str) {
        Some(stacks) => text + "\n\n#Consumer jstack#\n" + stacks,
        None => text,
    }
}

const QUEUE_FIELDS: &[&str] = &[
    "commitOffset",
    "cachedMsgMinOffset",
    "cachedMsgMaxOffset",
    "cachedMsgCount",
    "cachedMsgSizeInMiB",
    "transactionMsgMinOffset",
    "transactionMsgMaxOffset",
    "transactionMsgCount",
    "locked",
    "tryUnlockTimes",
    "lastLockTimestamp",
    "droped",
    "lastPullTimestamp",
    "lastConsumeTimestamp",
];

const POP_FIELDS: &[&str] = &["waitAckCount", "droped", "lastPopTimestamp"];

/// An object of Java's in one line; times are written as digits, but for those of pop.
fn fields(class: &str, between: char, own: &Value, names: &[&str], times: &Times) -> String {
    let told = names.iter().map(|name| {
        let value = own.get(*name).cloned().unwrap_or(Value::Null);
        let is_time = name.ends_with("Timestamp") && *name != "lastPopTimestamp";
        match value.as_i64().filter(|_| is_time) {
            Some(at) => format!("{name}{between}{}", times.digits(at)),
            None => format!("{name}{between}{value}"),
        }
    });
    format!("{class} [{}]", told.collect::<Vec<_>>().join(", "))
}

fn rates(info: &Value) -> String {
    let mut text = format!(
        "\n\n#Consumer RT&TPS#\n{:<64}  {:>14} {:>14} {:>14} {:>14} {:>18} {:>25}\n",
        "#Topic",
        "#Pull RT",
        "#Pull TPS",
        "#Consume RT",
        "#ConsumeOK TPS",
        "#ConsumeFailed TPS",
        "#ConsumeFailedMsgsInHour"
    );
    for (topic, own) in info.get("statusTable").and_then(Value::as_object).into_iter().flatten() {
        let rate = |name: &str| own.get(name).and_then(Value::as_f64).unwrap_or_default();
        text += &format!(
            "{topic:<32}  {:>14.2} {:>14.2} {:>14.2} {:>14.2} {:>18.2} {:>25}\n",
            rate("pullRT"),
            rate("pullTPS"),
            rate("consumeRT"),
            rate("consumeOKTPS"),
            rate("consumeFailedTPS"),
            integer(own, "consumeFailedMsgs")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use thrustmq_client::OffsetWrapper;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue { topic: "orders".into(), broker_name: "broker-a".into(), queue_id: id }
    }

    fn stats() -> ConsumeStats {
        let at = |broker, consumer| OffsetWrapper {
            broker_offset: broker,
            consumer_offset: consumer,
            pull_offset: consumer + 1,
            last_timestamp: 0,
        };
        ConsumeStats {
            consume_tps: 1.5,
            offset_table: [(queue(0), at(10, 10)), (queue(1), at(12, 5))].into(),
        }
    }

    #[test]
    fn queues_of_a_group_stand_above_their_sums() {
        let times = Times::new();
        assert_eq!(table(&stats(), None, &times), include_str!("layouts/consumerProgress.txt"));
        let owners = [(queue(0), "10.0.0.7".to_owned())].into();
        assert_eq!(table(&stats(), Some(&owners), &times), include_str!("layouts/consumerProgress-s.txt"));
        let row = overview_row("readers", &stats(), None);
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["readers", "0", "OFFLINE", "1", "7"]);
    }

    #[test]
    fn a_member_is_told_of_in_sections() {
        let info = json!({
            "properties": {"PROP_CONSUME_TYPE": "CONSUME_PASSIVELY", "PROP_CLIENT_VERSION": "V5_5_0"},
            "subscriptionSet": [{"topic": "orders", "subString": "*", "classFilterMode": false}],
            "mqTable": {
                "{\"brokerName\":\"broker-a\",\"queueId\":1,\"topic\":\"orders\"}": {"commitOffset": 7, "locked": false},
            },
            "statusTable": {"orders": {"pullRT": 1.5, "consumeFailedMsgs": 2}},
            "jstack": "thread 1\n",
        });
        assert_eq!(running_info(&info, &Times::new()), include_str!("layouts/consumerStatus.txt"));
        assert!(verdict(&[("c".into(), info)], 0).ends_with("\n\nRebalance OK\n"));
    }

    #[test]
    fn members_that_subscribe_differently_are_warned_of() {
        let info = |topic: &str| {
            json!({
                "properties": {"PROP_CONSUME_TYPE": "CONSUME_PASSIVELY", "PROP_CONSUMER_START_TIMESTAMP": "0"},
                "subscriptionSet": [{"topic": topic, "subString": "*"}],
            })
        };
        let told = [("a".to_owned(), info("x")), ("b".to_owned(), info("y"))];
        assert!(verdict(&told, 200_000).contains("WARN: Different subscription"));
        assert!(verdict(&told, 1_000).contains("Same subscription"), "they have just begun");
    }
}
