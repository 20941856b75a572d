//! Static topics: made, made larger, moved from broker to broker.
//!
//! What was there and what shall be is written to files first, as the official tool does it: nobody but the one who
//! reads them can undo a change that some brokers took and some did not.

mod plan;

use std::collections::{BTreeMap, BTreeSet};

use thrustmq_client::MessageQueue;

use super::call::{Call, Cluster, Failure, MASTER, told};
use super::command::Command;
use super::line::{flag, one_of, parts, required};
use plan::{Holdings, Plan};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "updateStaticTopic",
        about: "Create a static topic, or give it more queues.",
        flags: &[
            one_of("b", "brokers", "names of brokers, with commas between them"),
            one_of("c", "clusters", "names of clusters, with commas between them"),
            required("t", "topic", "name of the topic"),
            required("qn", "totalQueueNum", "logical queues that it shall have"),
            flag("mf", "mapFile", "has no effect"),
            flag("fr", "forceReplace", "has no effect"),
        ],
        differs: "of brokers with equally few queues the first by name gets the next, where the official tool throws dice",
        run: |call| Box::pin(update(call)),
    },
    Command {
        name: "remappingStaticTopic",
        about: "Move the queues of a static topic to other brokers.",
        flags: &[
            one_of("b", "brokers", "names of brokers, with commas between them"),
            one_of("c", "clusters", "names of clusters, with commas between them"),
            required("t", "topic", "name of the topic"),
            flag("mf", "mapFile", "has no effect"),
            flag("fr", "forceReplace", "has no effect"),
        ],
        differs: "which of several queues moves goes by their numbers, where the official tool follows a hash table",
        run: |call| Box::pin(remap(call)),
    },
];

/// Brokers that the line means.
fn targets(call: &Call, cluster: &Cluster) -> Result<BTreeSet<String>, Failure> {
    let names: BTreeSet<String> = match (call.line.value("b"), call.line.value("c")) {
        (Some(brokers), _) => parts(brokers).map(str::to_owned).collect(),
        (None, Some(clusters)) => {
            let known = parts(clusters).filter_map(|name| cluster.0.cluster_addr_table.get(name));
            known.flatten().cloned().collect()
        }
        (None, None) => return Err(Failure::Incomplete),
    };
    match names.is_empty() {
        true => Err(Failure::NotThere("Find none brokers, do nothing".to_owned())),
        false => Ok(names),
    }
}

/// The name of the topic, which becomes that of files.
fn topic(call: &Call) -> Result<&str, Failure> {
    let topic = call.line.text("t");
    wire::names::check_topic(topic).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(topic)
}

fn master<'a>(cluster: &'a Cluster, broker: &str) -> Result<&'a str, Failure> {
    let data = cluster.0.broker_addr_table.get(broker);
    let address = data.and_then(|data| data.broker_addrs.get(&MASTER));
    address
        .map(String::as_str)
        .ok_or_else(|| Failure::NotThere(format!("Can't find addr for broker {broker}")))
}

/// What every master has of a topic.
async fn holdings(call: &Call, cluster: &Cluster, topic: &str) -> Result<Holdings, Failure> {
    let mut all = Holdings::new();
    for broker in cluster.0.broker_addr_table.keys() {
        let Ok(address) = master(cluster, broker) else { continue };
        if let Some(holding) = call.admin.topic_with_mapping(address, topic).await? {
            all.insert(broker.clone(), holding);
        }
    }
    Ok(all)
}

/// Writes a plan where the official tool does; gives the path.
fn write(plan: &Plan, suffix: &str) -> Result<String, Failure> {
    let path = std::env::temp_dir().join(format!("{}-{}.{suffix}", plan.topic, plan.epoch));
    let shown = path.display().to_string();
    let text = serde_json::to_vec(plan).map_err(|error| Failure::Other(error.to_string()))?;
    std::fs::write(&path, text).map_err(|cause| Failure::File {
        what: "write",
        path: shown.clone(),
        cause,
    })?;
    Ok(shown)
}

/// Lets the other brokers of the clusters know of the topic too, and makes sure that all can be reached.
fn complete(plan: &mut Plan, cluster: &Cluster) -> Result<(), Failure> {
    let own: BTreeSet<String> = plan.brokers.keys().cloned().collect();
    let clusters = cluster.0.cluster_addr_table.values();
    let touched = clusters.filter(|brokers| !brokers.is_disjoint(&own));
    plan.add_others(touched.flatten().cloned().collect::<Vec<_>>());
    plan.brokers.keys().try_for_each(|broker| master(cluster, broker).map(drop))
}

/// Tells one broker what it shall have.
async fn tell(call: &Call, cluster: &Cluster, plan: &Plan, broker: &str) -> Result<(), Failure> {
    let Some(holding) = plan.brokers.get(broker) else { return Ok(()) };
    let answer = call.admin.update_static_topic(master(cluster, broker)?, holding, false).await;
    answer.map_err(|error| {
        Failure::Other(format!(
            "{}; brokers may have parts of the change now: the files named above tell what was and what shall be",
            told(&error)
        ))
    })
}

async fn update(call: &Call) -> Result<(), Failure> {
    let topic = topic(call)?;
    let cluster = call.cluster().await?;
    let mut targets = targets(call, &cluster)?;
    let total: i32 = call.line.number("qn")?.ok_or(Failure::Incomplete)?;
    let now_ms = call.times.now_ms();
    let old = holdings(call, &cluster, topic).await?;
    let before = Plan::before(topic, &old, now_ms).map_err(Failure::Other)?;
    call.say(&format!("The old mapping data is written to file {}\n", write(&before, "before")?))?;
    targets.extend(old.keys().cloned());
    let mut plan = Plan::grown(topic, old, &targets, total, now_ms).map_err(Failure::Other)?;
    call.say(&format!("The new mapping data is written to file {}\n", write(&plan, "after")?))?;
    complete(&mut plan, &cluster)?;
    for broker in plan.brokers.keys() {
        tell(call, &cluster, &plan, broker).await?;
    }
    Ok(())
}

async fn remap(call: &Call) -> Result<(), Failure> {
    let topic = topic(call)?;
    let cluster = call.cluster().await?;
    let targets = targets(call, &cluster)?;
    targets.iter().try_for_each(|broker| master(&cluster, broker).map(drop))?;
    let now_ms = call.times.now_ms();
    let old = holdings(call, &cluster, topic).await?;
    if old.is_empty() {
        return Err(Failure::NotThere("No topic route to do the remapping".to_owned()));
    }
    let before = Plan::before(topic, &old, now_ms).map_err(Failure::Other)?;
    call.say(&format!("The old mapping data is written to file {}\n", write(&before, "before")?))?;
    let mut plan = Plan::moved(topic, old, &targets, now_ms).map_err(Failure::Other)?;
    // The official tool calls this file old, too.
    call.say(&format!("The old mapping data is written to file {}\n", write(&plan, "after")?))?;
    complete(&mut plan, &cluster)?;
    carry_out(call, &cluster, plan).await
}

/// New leaders take messages before old ones stop, and know where they begin only afterwards: nothing is refused for
/// longer than clients need to hear of it, and no offset is given twice.
async fn carry_out(call: &Call, cluster: &Cluster, mut plan: Plan) -> Result<(), Failure> {
    let (into, out) = (plan.into.clone(), plan.out.clone());
    for broker in into.iter().chain(&out) {
        tell(call, cluster, &plan, broker).await?;
    }
    for broker in &out {
        let stats = call.admin.topic_stats_at(master(cluster, broker)?, &plan.topic).await?;
        let ends: BTreeMap<&MessageQueue, i64> =
            stats.offset_table.iter().map(|(queue, offsets)| (queue, offsets.max_offset)).collect();
        let topic = plan.topic.clone();
        let end = |queue_id: i32| {
            ends.get(&MessageQueue { topic: topic.clone(), broker_name: broker.clone(), queue_id }).copied()
        };
        plan.decide(broker, end).map_err(Failure::Other)?;
    }
    let others: Vec<&String> =
        plan.brokers.keys().filter(|broker| !into.contains(*broker) && !out.contains(*broker)).collect();
    for broker in into.iter().chain(others) {
        tell(call, cluster, &plan, broker).await?;
    }
    Ok(())
}
