//! `thrust group`: consumer groups, how far they are behind, moving them.

pub mod lookup;
mod settings;

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use thrustmq_client::{MessageQueue, Moment, OffsetWrapper};
use wire::names::{dlq_topic, is_system_group, retry_topic};

use super::each::Each;
use crate::failure::Failure;
use crate::moment::Times;
use crate::output::progress::Bar;
use crate::output::screen::{cell_of_time, print, print_facts, print_json, print_line, print_table};
use crate::output::table::Table;
use crate::output::words::count;
use crate::target::{Target, route};
use lookup::{groups, known, stats};

/// Work on consumer groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Create a group at all brokers; consumers make theirs themselves where brokers let them.
    #[command(after_help = "Examples:\n  thrust group create audit --retries 3")]
    Create(settings::CreateArgs),
    /// List consumer groups with their members and how far they are behind.
    #[command(after_help = "Examples:\n  thrust group list\n  thrust group list --json")]
    List(ListArgs),
    /// Show settings and members of a group.
    #[command(after_help = "Examples:\n  thrust group describe billing")]
    Describe(NameArgs),
    /// Show how far a group is behind, queue by queue.
    #[command(
        after_help = "Examples:\n  thrust group lag billing\n  thrust group lag billing --topic orders"
    )]
    Lag(LagArgs),
    /// Change settings of a group; prints what changes.
    #[command(after_help = "\
Examples:
  thrust group update billing --consume forbid
  thrust group update billing --consume allow --retries 5")]
    Update(settings::UpdateArgs),
    /// Move a group to another place in a topic.
    #[command(after_help = "\
Examples:
  thrust group reset billing --topic orders --to first --yes
  thrust group reset billing --topic orders --to 10m --yes")]
    Reset(ResetArgs),
    /// Delete a group with its offsets.
    #[command(after_help = "Examples:\n  thrust group delete old-billing --yes")]
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// List groups of the system too.
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct NameArgs {
    /// Name of the group.
    group: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct LagArgs {
    /// Name of the group.
    group: String,
    /// One topic alone.
    #[arg(short, long)]
    topic: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct ResetArgs {
    /// Name of the group.
    group: String,
    /// The topic.
    #[arg(short, long)]
    topic: String,
    /// Where to: first, last, or a time: 10m (ago), 2026-01-31T12:30, @1700000000000 (Unix milliseconds).
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Name of the group.
    group: String,
    /// Keep its offsets, for a group of the same name.
    #[arg(long)]
    keep_offsets: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

pub async fn run(command: &GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::Create(args) => settings::create(args).await,
        GroupCommand::Update(args) => settings::update(args).await,
        GroupCommand::List(args) => list(args).await,
        GroupCommand::Describe(args) => describe(args).await,
        GroupCommand::Lag(args) => lag(args).await,
        GroupCommand::Reset(args) => reset(args).await,
        GroupCommand::Delete(args) => delete(args).await,
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let mut names: Vec<String> = groups(&admin).await?.into_keys().collect();
    names.retain(|name| args.all || !is_system_group(name));
    let mut rows = Vec::new();
    let mut bar = Bar::of("groups asked about", names.len() as u64);
    for name in names {
        bar.step();
        let members = admin.consumers(&name).await?.map_or(0, |members| members.connection_set.len());
        let stats = stats(&admin, &name, None).await?;
        let topics: BTreeSet<String> = stats.offset_table.keys().map(|queue| queue.topic.clone()).collect();
        rows.push((retry_topic(&name), name, members, topics, stats.behind()));
    }
    bar.end();
    if args.target.json {
        let all = rows.iter().map(|(_, name, members, topics, behind)| {
            json!({ "group": name, "members": members, "topics": topics, "behind": behind })
        });
        return print_json(&all.collect());
    }
    let mut table = Table::new(&["GROUP", ">MEMBERS", ">BEHIND", "TOPICS"]);
    for (retry, name, members, mut topics, behind) in rows {
        topics.remove(&retry);
        let topics: Vec<String> = topics.into_iter().collect();
        table.row([name, members.to_string(), behind.to_string(), topics.join(" ")]);
    }
    print_table(&table, "there are no groups; a consumer makes one when it starts")
}

async fn describe(args: &NameArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let configs = known(&admin, &args.group).await?;
    let members = admin.consumers(&args.group).await?;
    let behind = stats(&admin, &args.group, None).await?.behind();
    if args.target.json {
        return print_json(&json!({
            "group": args.group,
            "behind": behind,
            "brokers": configs,
            "online": members,
        }));
    }
    print_facts(&[("group", args.group.clone()), ("behind", count(behind, "message"))])?;
    for (address, config) in &configs {
        print("\n")?;
        print_facts(&[
            ("broker", address.clone()),
            ("consume", allowed(config.consume_enable).to_owned()),
            ("broadcast", allowed(config.consume_broadcast_enable).to_owned()),
            ("retries", format!("{} before the dead letter topic", config.retry_max_times)),
            ("orderly", config.consume_message_orderly.to_string()),
        ])?;
    }
    print("\n")?;
    let Some(members) = members else { return print("no member is online\n") };
    print_facts(&[("model", members.message_model), ("type", members.consume_type)])?;
    let mut table = Table::new(&["MEMBER", "ADDRESS", "LANGUAGE", ">VERSION"]);
    for member in members.connection_set {
        table.row([member.client_id, member.client_addr, member.language, member.version.to_string()]);
    }
    print("\n")?;
    print_table(&table, "no member is online")?;
    let mut table = Table::new(&["SUBSCRIBED", "BY", "FILTER"]);
    for (topic, subscription) in members.subscription_table {
        table.row([topic, subscription.expression_type, subscription.sub_string]);
    }
    print("\n")?;
    print_table(&table, "they subscribe to nothing")
}

fn allowed(is: bool) -> &'static str {
    if is { "allowed" } else { "forbidden" }
}

/// How far a group is in a queue.
pub fn lag_json(queue: &MessageQueue, offsets: &OffsetWrapper) -> Value {
    json!({
        "topic": queue.topic,
        "broker": queue.broker_name,
        "queueId": queue.queue_id,
        "brokerOffset": offsets.broker_offset,
        "consumerOffset": offsets.consumer_offset,
        "behind": offsets.broker_offset - offsets.consumer_offset,
    })
}

async fn lag(args: &LagArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    known(&admin, &args.group).await?;
    let stats = stats(&admin, &args.group, args.topic.as_deref()).await?;
    if let (true, Some(topic)) = (stats.offset_table.is_empty(), &args.topic) {
        // The topic may be a slip of the hand.
        route(&admin, topic).await?;
    }
    if args.target.json {
        let queues = stats.offset_table.iter().map(|(queue, offsets)| {
            let mut value = lag_json(queue, offsets);
            value["lastConsumedMs"] = json!(offsets.last_timestamp);
            value
        });
        let queues: Vec<Value> = queues.collect();
        return print_json(&json!({ "group": args.group, "behind": stats.behind(), "queues": queues }));
    }
    let times = Times::new();
    let mut table =
        Table::new(&["TOPIC", "BROKER", ">QUEUE", ">BROKER AT", ">GROUP AT", ">BEHIND", "LAST CONSUMED"]);
    for (queue, offsets) in &stats.offset_table {
        table.row([
            queue.topic.clone(),
            queue.broker_name.clone(),
            queue.queue_id.to_string(),
            offsets.broker_offset.to_string(),
            offsets.consumer_offset.to_string(),
            (offsets.broker_offset - offsets.consumer_offset).to_string(),
            cell_of_time(&times, offsets.last_timestamp),
        ]);
    }
    print_table(&table, "the group has no offsets yet")?;
    print(&format!("\n{} behind\n", count(stats.behind(), "message")))
}

async fn reset(args: &ResetArgs) -> Result<(), Failure> {
    let times = Times::new();
    let to = match args.to.as_str() {
        "first" => Moment::Earliest,
        "last" => Moment::Latest,
        text => Moment::AtMs(times.parse(text).ok_or_else(|| {
            Failure::Arguments(format!(
                "\"{text}\" is no place; write first, last, 10m, 2026-01-31T12:30 or @MILLIS"
            ))
        })?),
    };
    let admin = args.target.client().await?.admin();
    route(&admin, &args.topic).await?;
    known(&admin, &args.group).await?;
    let place = match to {
        Moment::AtMs(at) => times.told(at),
        _ => format!("its {} message", args.to),
    };
    let (group, topic) = (&args.group, &args.topic);
    args.target
        .consent(&format!("group \"{group}\" goes on reading topic \"{topic}\" from {place}"), args.yes)?;
    let brokers = admin.brokers_to_move(topic).await?;
    let work = async |broker: String| Ok(admin.reset_offsets_at(&broker, group, topic, to, true).await?);
    let (moved, end) = Each::of(brokers, String::clone, work).await?.split();
    print_moved(args, moved.into_iter().flatten().collect())?;
    end
}

fn print_moved(args: &ResetArgs, moved: BTreeMap<MessageQueue, i64>) -> Result<(), Failure> {
    let (group, topic) = (&args.group, &args.topic);
    if args.target.json {
        let queues = moved.iter().map(|(queue, offset)| {
            json!({ "broker": queue.broker_name, "queueId": queue.queue_id, "offset": offset })
        });
        return print_json(&json!({ "group": group, "topic": topic, "queues": queues.collect::<Vec<_>>() }));
    }
    let mut table = Table::new(&["BROKER", ">QUEUE", ">NOW AT"]);
    for (queue, offset) in moved {
        table.row([queue.broker_name, queue.queue_id.to_string(), offset.to_string()]);
    }
    print_table(&table, "no queue was moved")
}

async fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let brokers = known(&admin, &args.group).await?;
    let members = admin.consumers(&args.group).await?.map_or(0, |members| members.connection_set.len());
    let offsets = if args.keep_offsets { "its offsets stay" } else { "its offsets are lost" };
    let group = &args.group;
    let members = count(members, "member");
    args.target
        .consent(&format!("group \"{group}\" with {members} online is deleted; {offsets}"), args.yes)?;
    let delete = async |address: String| {
        admin.delete_group_at(&address, group, !args.keep_offsets).await?;
        Ok(address)
    };
    let (brokers, end) = Each::of(brokers.into_keys(), String::clone, delete).await?.split();
    if args.target.json {
        print_json(&json!({ "deleted": end.is_ok(), "group": group, "brokers": brokers }))?;
        return end;
    }
    end?;
    print_line(&format!(
        "deleted group {group}; if there are topics {} and {}, they stay",
        retry_topic(group),
        dlq_topic(group)
    ))
}
