//! Topics and routes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::{Value, json};
use thrustmq_client::{Error, TopicConfig, TopicRoute, TopicStatsTable};
use wire::names::{DLQ_PREFIX, RETRY_PREFIX};

use super::call::{Call, Cluster, Failure, MASTER};
use super::command::Command;
use super::java::{self, Times, front};
use super::line::{bare, flag, one_of, required};
use super::logical::Logical;

/// Namespace of the name servers' table that order topics stand in.
const ORDER_NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

pub const COMMANDS: &[Command] = &[
    Command {
        name: "updateTopic",
        about: "Create a topic, or replace its settings.",
        flags: &[
            one_of("b", "brokerAddr", "the broker that gets it"),
            one_of("c", "clusterName", "the cluster whose masters get it"),
            flag("a", "attributes", "attributes to add and remove: +a=b,+c=d,-e"),
            required("t", "topic", "name of the topic"),
            flag("r", "readQueueNums", "queues that are read [default: 8]"),
            flag("w", "writeQueueNums", "queues that are written [default: 8]"),
            flag("p", "perm", "what is allowed: 2 writing, 4 reading, 6 both [default: 6]"),
            flag("o", "order", "whether it is an order topic: true or false"),
            flag("u", "unit", "whether it is a unit topic: true or false"),
            flag("s", "hasUnitSub", "whether units subscribe to it: true or false"),
        ],
        differs: "",
        run: |call| Box::pin(update(call)),
    },
    Command {
        name: "updateTopicList",
        about: "Create or replace topics from a file.",
        flags: &[
            one_of("b", "brokerAddr", "the broker that gets them"),
            one_of("c", "clusterName", "the cluster whose masters get them"),
            required("f", "filename", "a JSON list of TopicConfig"),
        ],
        differs: "with `-c` the official tool prints its usage behind its success; this one does not",
        run: |call| Box::pin(update_list(call)),
    },
    Command {
        name: "deleteTopic",
        about: "Delete a topic with its messages.",
        flags: &[
            required("t", "topic", "name of the topic"),
            required("c", "clusterName", "the cluster to delete it from"),
        ],
        differs: "",
        run: |call| Box::pin(delete(call)),
    },
    Command {
        name: "updateTopicPerm",
        about: "Change what is allowed on a topic.",
        flags: &[
            flag("b", "brokerAddr", "the broker to change it at"),
            flag("c", "clusterName", "the cluster to change it in"),
            required("t", "topic", "name of the topic"),
            required("p", "perm", "what is allowed: 2 writing, 4 reading, 6 both"),
        ],
        differs: "",
        run: |call| Box::pin(update_perm(call)),
    },
    Command {
        name: "topicRoute",
        about: "Show which brokers have a topic.",
        flags: &[
            required("t", "topic", "name of the topic"),
            bare("l", "list", "print a table and not JSON"),
        ],
        differs: "",
        run: |call| Box::pin(route(call)),
    },
    Command {
        name: "topicStatus",
        about: "Show where the queues of a topic begin and end.",
        flags: &[
            required("t", "topic", "name of the topic"),
            flag("c", "cluster", "a topic whose brokers are asked, for light queues"),
        ],
        differs: "the rate of messages is the brokers', where the official tool always prints 0.0",
        run: |call| Box::pin(status(call)),
    },
    Command {
        name: "topicClusterList",
        about: "Show which clusters have a topic.",
        flags: &[required("t", "topic", "name of the topic")],
        differs: "",
        run: |call| Box::pin(clusters(call)),
    },
    Command {
        name: "topicList",
        about: "List topics.",
        flags: &[bare("c", "clusterModel", "with their clusters and the groups that read them")],
        differs: "sorted, where the official tool prints in the order of a hash table",
        run: |call| Box::pin(list(call)),
    },
    Command {
        name: "allocateMQ",
        about: "Show which consumer would read which queue.",
        flags: &[
            required("t", "topic", "name of the topic"),
            required("i", "ipList", "the consumers, with commas between them"),
        ],
        differs: "queues are given out in order; the official tool's follow a hash table",
        run: |call| Box::pin(allocate(call)),
    },
    Command {
        name: "updateOrderConf",
        about: "Show, set or remove the queues of an order topic.",
        flags: &[
            required("t", "topic", "name of the topic"),
            flag("v", "orderConf", "broker1:queues;broker2:queues"),
            required("m", "method", "get, put or delete"),
        ],
        differs: "",
        run: |call| Box::pin(order(call)),
    },
];

/// Changes of attributes with their signs; a removal has an empty value.
pub fn attributes(text: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (sign, form) = if part.contains('=') { ('+', "add/alter") } else { ('-', "delete") };
        if !key.starts_with(sign) {
            return Err(Failure::Usage(format!("{form} attribute format is wrong: {key}")));
        }
        if all.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::Usage(format!("key duplication: {key}")));
        }
    }
    Ok(all.into_iter().collect())
}

async fn update(call: &Call) -> Result<(), Failure> {
    let line = &call.line;
    let mut config = TopicConfig::new(line.text("t"), 8, 6);
    config.read_queue_nums = line.number("r")?.unwrap_or(8);
    config.write_queue_nums = line.number("w")?.unwrap_or(8);
    config.perm = line.number("p")?.unwrap_or(6);
    config.order = line.truth("o").unwrap_or(false);
    let flags = [(line.truth("u"), 1), (line.truth("s"), 2)];
    config.topic_sys_flag = flags.iter().filter(|(set, _)| *set == Some(true)).map(|(_, bit)| bit).sum();
    let changes = line.value("a").unwrap_or_default();
    let told = java::topic_config(&config, &attributes(changes)?);
    let addresses = call.masters().await?;
    let one = line.has("b");
    call.each(&addresses, |address| {
        let (config, changes) = (&config, changes);
        async move {
            call.admin.update_topic_attributes(&address, config, changes).await?;
            if one && config.order {
                order_of_broker(call, &address, config).await?;
            }
            call.say(&format!("create topic to {address} success.\n"))
        }
    })
    .await?;
    if config.order && !one {
        let cluster = call.cluster().await?;
        let brokers = cluster.brokers(line.text("c"))?.iter();
        let parts = brokers.map(|broker| format!("{broker}:{}", config.write_queue_nums)).collect::<Vec<_>>();
        let order = parts.join(";");
        call.put_kv(ORDER_NAMESPACE, &config.topic_name, &order).await?;
        call.say(&format!("set cluster orderConf. isOrder=true, orderConf=[{order}]\n"))?;
    }
    call.say(&format!("{told}\n"))
}

/// Adds one broker to the queues of an order topic.
async fn order_of_broker(call: &Call, address: &str, config: &TopicConfig) -> Result<(), Failure> {
    let cluster = call.cluster().await?;
    let broker = cluster.name_at(address);
    let broker =
        broker.ok_or_else(|| Failure::NotThere(format!("no broker is registered with {address}")))?;
    let own = format!("{broker}:{}", config.write_queue_nums);
    let old = call.admin.kv(ORDER_NAMESPACE, &config.topic_name).await?.unwrap_or_default();
    let others = old.split(';').filter(|part| !part.is_empty() && part.split(':').next() != Some(broker));
    let all: Vec<&str> = others.chain([own.as_str()]).collect();
    call.put_kv(ORDER_NAMESPACE, &config.topic_name, &all.join(";")).await?;
    call.say(&format!("set broker orderConf. isOrder=true, orderConf=[{own}]\n"))
}

/// Reads a file with a JSON list; `None` for a list without entries.
pub fn read_list<T>(
    path: &str,
    read: impl Fn(&[u8]) -> Result<Vec<T>, wire::loose_json::LooseJsonError>,
) -> Result<Option<Vec<T>>, Failure> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::NotThere(format!("the file path {path} does not exists")));
        }
        Err(cause) => return Err(Failure::File { what: "read", path: path.to_owned(), cause }),
    };
    let list = read(&bytes)
        .map_err(|error| Failure::Usage(format!("{path} is not a JSON list of settings: {error}")))?;
    Ok(Some(list).filter(|list| !list.is_empty()))
}

async fn update_list(call: &Call) -> Result<(), Failure> {
    let Some(configs) = read_list::<TopicConfig>(call.line.text("f"), wire::loose_json::read)? else {
        return Ok(());
    };
    let addresses = call.masters().await?;
    call.each(&addresses, |address| {
        let configs = &configs;
        async move {
            call.admin.update_topics(&address, configs).await?;
            call.say(&format!(
                "submit batch of topic config to {address} success, please check the result later.\n"
            ))
        }
    })
    .await
}

async fn delete(call: &Call) -> Result<(), Failure> {
    let (topic, cluster) = (call.line.text("t"), call.line.text("c"));
    let masters = call.cluster().await?.masters(cluster)?;
    let [deleted, forgotten] = call.delete_topic(cluster, topic, &masters).await?;
    if deleted.is_ok() {
        call.say(&format!("delete topic [{topic}] from cluster [{cluster}] success.\n"))?;
    }
    if forgotten.is_ok() {
        call.say(&format!("delete topic [{topic}] from NameServer success.\n"))?;
    }
    deleted.and(forgotten)
}

async fn update_perm(call: &Call) -> Result<(), Failure> {
    let topic = call.line.text("t");
    let perm: i32 = call.line.number("p")?.unwrap_or(6);
    let route = call.admin.topic_route(topic).await?.raw().clone();
    let first = route.queue_datas.first().ok_or_else(|| Error::NoRoute { topic: topic.to_owned() })?;
    let mut config = TopicConfig::new(topic, first.read_queue_nums, perm);
    config.write_queue_nums = first.write_queue_nums;
    config.topic_sys_flag = first.topic_sys_flag;
    let told =
        |from: i32, address: &str| format!("update topic perm from {from} to {perm} in {address} success.\n");
    let Some(address) = call.line.value("b") else {
        let addresses = call.masters().await?;
        let (config, told) = (&config, &told);
        return call
            .each(&addresses, |address| async move {
                call.admin.update_topic(&address, config).await?;
                call.say(&told(first.perm, &address))
            })
            .await;
    };
    let own = |data: &&thrustmq_client::BrokerData| {
        data.broker_addrs.get(&MASTER).is_some_and(|own| own == address)
    };
    let Some(broker) = route.broker_datas.iter().find(own) else {
        return Err(Failure::NotThere(
            "updateTopicPerm error broker not exit or broker is not master!.".into(),
        ));
    };
    let queues = route.queue_datas.iter().find(|data| data.broker_name == broker.broker_name);
    let old = queues.map_or(0, |data| data.perm);
    if old == perm {
        return call.say("new perm equals to the old one!\n");
    }
    call.admin.update_topic(address, &config).await?;
    call.say(&format!("{}{}.\n", told(old, address), java::topic_config(&config, &[])))
}

async fn route(call: &Call) -> Result<(), Failure> {
    let route = call.admin.topic_route(call.line.text("t")).await?;
    let text = if call.line.has("l") { route_table(route.raw()) } else { route_json(route.raw()) };
    call.say(&text)
}

fn route_json(route: &TopicRoute) -> String {
    format!("{}\n", java::json(&json!(route)))
}

fn route_table(route: &TopicRoute) -> String {
    let row = |cells: [String; 6]| {
        let [cluster, broker, addresses, read, write, perm] = cells;
        format!("{cluster:<45} {broker:<32} {addresses:<50} {read:<10} {write:<11} {perm:<5}\n")
    };
    let headings = ["#ClusterName", "#BrokerName", "#BrokerAddrs", "#ReadQueue", "#WriteQueue", "#Perm"];
    let mut text = row(headings.map(str::to_owned));
    let mut brokers: Vec<_> = route.broker_datas.iter().collect();
    brokers.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    let (mut read, mut write) = (0, 0);
    let names: BTreeSet<&str> = route.queue_datas.iter().map(|data| data.broker_name.as_str()).collect();
    for broker in brokers {
        let Some(queues) = route.queue_datas.iter().find(|data| data.broker_name == broker.broker_name)
        else {
            continue;
        };
        (read, write) = (read + queues.read_queue_nums, write + queues.write_queue_nums);
        let addresses = broker.broker_addrs.iter().map(|(id, address)| (id.to_string(), address));
        let addresses: Vec<(String, &String)> = addresses.collect();
        text += &row([
            broker.cluster.clone(),
            broker.broker_name.clone(),
            java::map(addresses.iter().map(|(id, address)| (id.as_str(), address.as_str()))),
            queues.read_queue_nums.to_string(),
            queues.write_queue_nums.to_string(),
            queues.perm.to_string(),
        ]);
    }
    text += &"-".repeat(158);
    text.push('\n');
    let total =
        ["Total:".into(), names.len().to_string(), String::new(), read.to_string(), write.to_string()];
    let [a, b, c, d, e] = total;
    text + &row([a, b, c, d, e, String::new()])
}

async fn status(call: &Call) -> Result<(), Failure> {
    let topic = call.line.text("t");
    let mut all = TopicStatsTable::default();
    let route = call.admin.topic_route(call.line.value("c").unwrap_or(topic)).await?;
    for address in route.addresses() {
        let one = call.admin.topic_stats_at(address, topic).await?;
        all.offset_table.extend(one.offset_table);
        all.topic_put_tps += one.topic_put_tps;
    }
    if !call.line.has("c")
        && let Some(logical) = Logical::of(call, &route).await?
    {
        logical.add_to(&mut all);
    }
    if all.offset_table.is_empty() {
        return Err(Failure::NotThere("Not found the topic stats info".to_owned()));
    }
    call.say(&status_table(&all, &call.times))
}

fn status_table(stats: &TopicStatsTable, times: &Times) -> String {
    let mut text = format!(
        "{:<32}  {:<4}  {:<20}  {:<20}    {}\n",
        "#Broker Name", "#QID", "#Min Offset", "#Max Offset", "#Last Updated"
    );
    for (queue, offsets) in &stats.offset_table {
        let at = offsets.last_update_timestamp;
        let at = if at > 0 { times.to_millis(at) } else { String::new() };
        let broker = front(&queue.broker_name, 32);
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "{broker:<32}  {:<4}  {:<20}  {:<20}    {at}",
            queue.queue_id, offsets.min_offset, offsets.max_offset
        );
    }
    text + &format!("\nTopic Put TPS: {:?}\n", stats.topic_put_tps)
}

async fn clusters(call: &Call) -> Result<(), Failure> {
    let cluster = call.cluster().await?;
    let route = call.admin.topic_route(call.line.text("t")).await?;
    let first = route.brokers().first().map(|data| data.broker_name.clone()).unwrap_or_default();
    let all = cluster.0.cluster_addr_table.iter().filter(|(_, brokers)| brokers.contains(&first));
    call.say(&all.map(|(name, _)| format!("{name}\n")).collect::<String>())
}

/// Whether a topic belongs to a group, which lists of topics leave out.
pub fn is_of_group(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX)
}

async fn list(call: &Call) -> Result<(), Failure> {
    let topics = call.admin.topics().await?;
    if !call.line.has("c") {
        return call.say(&topics.iter().map(|topic| format!("{topic}\n")).collect::<String>());
    }
    let cluster = call.cluster().await?;
    call.say(&format!("{:<20}  {:<48}  {:<48}\n", "#Cluster Name", "#Topic", "#Consumer Group"))?;
    for topic in topics.iter().filter(|topic| !is_of_group(topic)) {
        let (name, groups) = readers(call, &cluster, topic).await;
        for group in if groups.is_empty() { BTreeSet::from([String::new()]) } else { groups } {
            let (name, topic, group) = (front(&name, 20), front(topic, 64), front(&group, 64));
            call.say(&format!("{name:<20}  {topic:<64}  {group:<64}\n"))?;
        }
    }
    Ok(())
}

/// The cluster of a topic and the groups that read it. What cannot be learned stays empty, since a topic may go while
/// the list is made.
async fn readers(call: &Call, cluster: &Cluster, topic: &str) -> (String, BTreeSet<String>) {
    let Ok(route) = call.admin.topic_route(topic).await else { return Default::default() };
    let first = route.brokers().first().and_then(|data| cluster.of_broker(&data.broker_name));
    let groups = call.admin.groups_of_topic(topic).await.unwrap_or_default();
    (first.unwrap_or_default().to_owned(), groups)
}

async fn allocate(call: &Call) -> Result<(), Failure> {
    let route = call.admin.topic_route(call.line.text("t")).await?;
    let queues = route.queues_to_read();
    let ips: Vec<&str> = call.line.text("i").split(',').collect();
    let result: BTreeMap<&str, Vec<Value>> = ips
        .iter()
        .enumerate()
        .map(|(at, ip)| {
            (*ip, share(queues.len(), ips.len(), at).map(|index| queue_json(&queues[index])).collect())
        })
        .collect();
    call.say(&format!("{}\n", java::json_line(&json!({ "result": result }))))
}

/// Which of so many queues one of so many members gets: equal runs, the first members one more.
fn share(queues: usize, members: usize, at: usize) -> std::ops::Range<usize> {
    let (each, more) = (queues / members.max(1), queues % members.max(1));
    let from = at * each + at.min(more);
    from..(from + each + usize::from(at < more)).min(queues)
}

fn queue_json(queue: &thrustmq_client::MessageQueue) -> Value {
    json!({ "brokerName": queue.broker_name, "queueId": queue.queue_id, "topic": queue.topic })
}

async fn order(call: &Call) -> Result<(), Failure> {
    let topic = call.line.text("t");
    match call.line.text("m") {
        "get" => {
            let order = call.admin.kv(ORDER_NAMESPACE, topic).await?.ok_or_else(|| {
                Failure::NotThere(format!(
                    "CODE: 22  DESC: No config item, Namespace: {ORDER_NAMESPACE} Key: {topic}"
                ))
            })?;
            call.say(&format!("get orderConf success. topic=[{topic}], orderConf=[{order}] "))
        }
        "put" => {
            let order = call.line.value("v").filter(|order| !order.is_empty());
            let order = order.ok_or_else(|| Failure::Usage("please set orderConf with option -v.".into()))?;
            call.put_kv(ORDER_NAMESPACE, topic, order).await?;
            call.say(&format!("update orderConf success. topic=[{topic}], orderConf=[{order}]"))
        }
        "delete" => {
            call.each_name_server(|server| async move {
                call.admin.delete_kv_at(&server, ORDER_NAMESPACE, topic).await
            })
            .await?;
            call.say(&format!("delete orderConf success. topic=[{topic}]"))
        }
        _ => Err(Failure::Incomplete),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thrustmq_client::{BrokerData, MessageQueue, QueueData, TopicOffset};

    fn two_brokers() -> TopicRoute {
        let data = |name: &str, port: u16| BrokerData {
            broker_name: name.into(),
            broker_addrs: [(0, format!("10.0.0.1:{port}"))].into(),
            cluster: "DefaultCluster".into(),
            ..BrokerData::default()
        };
        let queues = |name: &str, read| QueueData {
            broker_name: name.into(),
            perm: 6,
            read_queue_nums: read,
            write_queue_nums: 4,
            topic_sys_flag: 0,
        };
        TopicRoute {
            broker_datas: vec![data("broker-b", 10_911), data("broker-a", 10_921)],
            queue_datas: vec![queues("broker-b", 8), queues("broker-a", 4)],
            ..TopicRoute::default()
        }
    }

    #[test]
    fn a_route_is_laid_out_as_a_table_and_as_json() {
        assert_eq!(route_table(&two_brokers()), include_str!("layouts/topicRoute-l.txt"));
        assert_eq!(route_json(&two_brokers()), include_str!("layouts/topicRoute.txt"));
    }

    #[test]
    fn the_state_of_queues_is_laid_out_in_columns() {
        let queue = |id| MessageQueue { topic: "T".into(), broker_name: "broker-a".into(), queue_id: id };
        let offsets = |max| TopicOffset { min_offset: 3, max_offset: max, last_update_timestamp: 0 };
        let stats = TopicStatsTable {
            offset_table: [(queue(1), offsets(5)), (queue(0), offsets(1_000_000))].into(),
            topic_put_tps: 0.0,
        };
        assert_eq!(status_table(&stats, &Times::new()), include_str!("layouts/topicStatus.txt"));
    }

    #[test]
    fn attributes_keep_their_signs_and_wrong_ones_are_refused() {
        let pairs = attributes("+message.type=FIFO,-old").unwrap();
        assert_eq!(pairs, [("+message.type".into(), "FIFO".into()), ("-old".into(), String::new())]);
        for wrong in ["a=b", "a", "+a=1,+a=2"] {
            assert!(attributes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn queues_are_shared_in_equal_runs() {
        let shares = |queues, members| (0..members).map(|at| share(queues, members, at)).collect::<Vec<_>>();
        assert_eq!(shares(4, 2), [0..2, 2..4]);
        assert_eq!(shares(5, 3), [0..2, 2..4, 4..5]);
        assert_eq!(shares(1, 2), [0..1, 1..1]);
    }
}
