//! `thrust explain topic`.

use clap::Args;
use serde_json::json;
use thrustmq_client::{Admin, TopicConfig};
use wire::body::{PERM_READ, PERM_WRITE};

use super::story::{Story, online};
use crate::failure::Failure;
use crate::moment::Times;
use crate::operate::group::lookup::stats;
use crate::operate::topic::{configs, message_type, perm_text};
use crate::output::words::{count, list};
use crate::target::Target;

/// A group that reads the topic.
struct Reader {
    group: String,
    members: usize,
    behind: i64,
}

#[derive(Debug, Args)]
pub struct TopicArgs {
    /// Name of the topic.
    topic: String,
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: &TopicArgs) -> Result<(), Failure> {
    let topic = &args.topic;
    let admin = args.target.client().await?.admin();
    let configs = configs(&admin, topic).await?;
    let stats = admin.topic_stats(topic).await?;
    let offsets = stats.offset_table.values();
    let messages: i64 = offsets.clone().map(|queue| queue.max_offset - queue.min_offset).sum();
    let newest = offsets.map(|queue| queue.last_update_timestamp).max().unwrap_or(0);
    let mut story = Story::default();
    tell_place(topic, &configs, &mut story);
    let (held, times) = (count(messages, "message"), Times::new());
    match newest {
        ..=0 => story.tell(format!("It holds {held}.")),
        _ => story.tell(format!("It holds {held}; the newest was stored at {}.", times.told(newest))),
    }
    if stats.topic_put_tps > 0.0 {
        story.tell(format!("{:.1} messages come in per second.", stats.topic_put_tps));
    }
    tell_retention(&admin, &configs, &mut story).await;
    let readers = readers(&admin, topic).await?;
    tell_readers(topic, &readers, &mut story);
    let groups = readers
        .iter()
        .map(|reader| json!({ "group": reader.group, "members": reader.members, "behind": reader.behind }));
    let facts = json!({
        "topic": topic,
        "messages": messages,
        "lastStoredMs": newest,
        "inPerSecond": stats.topic_put_tps,
        "brokers": configs.iter().map(|(name, ..)| name).collect::<Vec<_>>(),
        "groups": groups.collect::<Vec<_>>(),
    });
    story.print(facts, args.target.json)
}

fn tell_place(topic: &str, configs: &[(String, String, TopicConfig)], story: &mut Story) {
    for (name, address, config) in configs {
        let (read, write) = (config.read_queue_nums, config.write_queue_nums);
        let queues = match read == write {
            true => count(read, "queue"),
            false => format!("{} to write and {read} to read", count(write, "queue")),
        };
        let (kind, perm) = (message_type(config), perm_text(config.perm));
        story.tell(format!(
            "Topic {topic} has {queues} at broker {name}, {address}: messages of type {kind}, permission {perm}."
        ));
        if config.perm & PERM_WRITE == 0 || config.perm & PERM_READ == 0 {
            story.advise(format!("`thrust topic update {topic} --perm rw` opens it to everybody"));
        }
        if read > write {
            story.tell("More queues are read than written, as while a topic is made smaller.");
            story.advise(format!(
                "`thrust topic update {topic} --read-queues {write}` once all groups have read to the end"
            ));
        }
        if read < write {
            story.tell(format!("Nobody reads {} of its queues.", write - read));
            story.advise(format!("`thrust topic update {topic} --read-queues {write}`"));
        }
    }
}

async fn tell_retention(admin: &Admin, configs: &[(String, String, TopicConfig)], story: &mut Story) {
    for (name, address, config) in configs {
        if config.attributes.get("cleanup.policy").is_some_and(|policy| policy == "COMPACTION") {
            story.tell(format!("Broker {name} keeps the last message of each key for good."));
            continue;
        }
        // What cannot be had is not told.
        let settings = admin.broker_config(address).await.unwrap_or_default();
        if let Some(hours) = settings.get("fileReservedTime") {
            let hours = count(hours, "hour");
            story.tell(format!("Broker {name} keeps messages for at least {hours}, if the disk has room."));
        }
    }
}

async fn readers(admin: &Admin, topic: &str) -> Result<Vec<Reader>, Failure> {
    let mut readers = Vec::new();
    for group in admin.groups_of_topic(topic).await? {
        let members = admin.consumers(&group).await?.map_or(0, |online| online.connection_set.len());
        let behind = stats(admin, &group, Some(topic)).await?.behind();
        readers.push(Reader { group, members, behind });
    }
    Ok(readers)
}

fn tell_readers(topic: &str, readers: &[Reader], story: &mut Story) {
    if readers.is_empty() {
        story.tell("No group has read it, and none is online for it.");
        story.advise(format!("`thrust consume --topic {topic} --group NAME` reads it"));
        return;
    }
    let told: Vec<String> = readers.iter().map(reader_text).collect();
    story.tell(format!("It is read by {}: {}.", count(readers.len(), "group"), list(&told)));
    for Reader { group, .. } in readers.iter().filter(|reader| reader.behind > 0) {
        story.advise(format!("`thrust explain group {group}` says why it is behind"));
    }
}

fn reader_text(Reader { group, members, behind }: &Reader) -> String {
    let online = online(*members);
    match behind {
        0 => format!("{group} ({online}, has read everything)"),
        _ => format!("{group} ({online}, {} behind)", count(behind, "message")),
    }
}
