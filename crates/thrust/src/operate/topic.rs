//! `thrust topic`: which topics there are, their settings, their queues.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use thrustmq_client::{Admin, Error, MessageQueue, TopicConfig};
use wire::body::{PERM_READ, PERM_WRITE};
use wire::names::{self, DLQ_PREFIX, RETRY_PREFIX};

use super::cluster::{Member, masters, masters_beside};
use super::each::Each;
use crate::failure::Failure;
use crate::moment::Times;
use crate::output::screen::{cell_of_time, print, print_facts, print_json, print_line, print_table, say};
use crate::output::table::Table;
use crate::output::words::count;
use crate::target::{Target, pair, route};

/// Attribute that says what kind of messages a topic has.
const MESSAGE_TYPE: &str = "message.type";

/// Work on topics.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create a topic at all brokers.
    #[command(after_help = "\
Examples:
  thrust topic create invoices --queues 4
  thrust topic create prices --attribute cleanup.policy=COMPACTION
  thrust topic create reminders --type delay")]
    Create(CreateArgs),
    /// List topics.
    #[command(after_help = "Examples:\n  thrust topic list\n  thrust topic list --all")]
    List(ListArgs),
    /// Show the settings of a topic and where its queues begin and end.
    #[command(after_help = "Examples:\n  thrust topic describe orders")]
    Describe(NameArgs),
    /// Change settings of a topic; prints what changes.
    #[command(after_help = "\
Examples:
  thrust topic update orders --queues 8
  thrust topic update orders --perm rw")]
    Update(UpdateArgs),
    /// Delete a topic with its messages.
    #[command(after_help = "Examples:\n  thrust topic delete old-orders --yes")]
    Delete(DeleteArgs),
    /// Show which brokers have a topic.
    #[command(after_help = "Examples:\n  thrust topic route orders")]
    Route(NameArgs),
}

/// What kind of messages a topic has.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Normal,
    Fifo,
    Delay,
    Transaction,
    Priority,
    Mixed,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Normal => "NORMAL",
            Kind::Fifo => "FIFO",
            Kind::Delay => "DELAY",
            Kind::Transaction => "TRANSACTION",
            Kind::Priority => "PRIORITY",
            Kind::Mixed => "MIXED",
        }
    }
}

/// Settings that `create` and `update` have in common.
#[derive(Debug, Args)]
struct Changes {
    /// Queues for reading and writing.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=65_535))]
    queues: Option<i32>,
    /// Queues that consumers read, if not as many as are written.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=65_535))]
    read_queues: Option<i32>,
    /// Queues that producers write, if not as many as are read.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=65_535))]
    write_queues: Option<i32>,
    /// What is allowed: r, w, rw or none.
    #[arg(long, value_parser = parse_perm)]
    perm: Option<i32>,
    /// Kind of its messages.
    #[arg(long = "type", value_enum)]
    kind: Option<Kind>,
    /// An attribute, such as cleanup.policy=COMPACTION; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    attribute: Vec<(String, String)>,
}

impl Changes {
    fn apply(&self, config: &mut TopicConfig) {
        if let Some(queues) = self.queues {
            (config.read_queue_nums, config.write_queue_nums) = (queues, queues);
        }
        config.read_queue_nums = self.read_queues.unwrap_or(config.read_queue_nums);
        config.write_queue_nums = self.write_queues.unwrap_or(config.write_queue_nums);
        config.perm = self.perm.unwrap_or(config.perm);
        config.attributes.extend(self.attribute.iter().cloned());
        if let Some(kind) = self.kind {
            config.attributes.insert(MESSAGE_TYPE.to_owned(), kind.name().to_owned());
        }
    }
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Name of the topic.
    topic: String,
    #[command(flatten)]
    changes: Changes,
    /// The cluster that gets it [default: all].
    #[arg(long, default_value = "", hide_default_value = true)]
    cluster: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// List retry, dead letter and system topics too.
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct NameArgs {
    /// Name of the topic.
    topic: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Name of the topic.
    topic: String,
    #[command(flatten)]
    changes: Changes,
    /// An attribute to remove; may be repeated.
    #[arg(long, value_name = "NAME")]
    remove_attribute: Vec<String>,
    /// Do not ask whether queues with messages may go.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Name of the topic.
    topic: String,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

pub async fn run(command: &TopicCommand) -> Result<(), Failure> {
    match command {
        TopicCommand::Create(args) => create(args).await,
        TopicCommand::List(args) => list(args).await,
        TopicCommand::Describe(args) => describe(args).await,
        TopicCommand::Update(args) => update(args).await,
        TopicCommand::Delete(args) => delete(args).await,
        TopicCommand::Route(args) => show_route(args).await,
    }
}

async fn create(args: &CreateArgs) -> Result<(), Failure> {
    names::check_topic(&args.topic).map_err(|error| Failure::Arguments(error.to_string()))?;
    let admin = args.target.client().await?.admin();
    let mut config = TopicConfig::new(&args.topic, 8, PERM_READ | PERM_WRITE);
    args.changes.apply(&mut config);
    let masters = masters(&admin, &args.cluster).await?;
    let mut missing = Vec::new();
    for address in &masters {
        // The brokers themselves are asked: what was created a moment ago may not be registered yet.
        if !admin.topic_configs(address).await?.contains_key(&args.topic) {
            missing.push(address.clone());
        }
    }
    if missing.is_empty() {
        return Err(Failure::Arguments(format!(
            "topic \"{0}\" is there already, at {1}; `thrust topic update {0}` changes it",
            args.topic,
            masters.join(", ")
        )));
    }
    let create = async |address: String| {
        admin.update_topic(&address, &config).await?;
        Ok(address)
    };
    let (brokers, end) = Each::of(missing, String::clone, create).await?.split();
    if args.target.json {
        print_json(&json!({ "created": true, "brokers": brokers, "topic": config_json(&config) }))?;
        return end;
    }
    let queues = count(config.write_queue_nums, "queue");
    print_line(&format!("created topic {} with {queues} at {}", args.topic, brokers.join(", ")))?;
    end
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let system: BTreeSet<String> = admin.system_topics().await?.into_iter().collect();
    let mut found: BTreeMap<String, Listed> = BTreeMap::new();
    for address in admin.masters("").await? {
        for (name, config) in admin.topic_configs(&address).await? {
            let listed =
                found.entry(name).or_insert_with(|| Listed { config: config.clone(), brokers: 0, queues: 0 });
            listed.brokers += 1;
            listed.queues += config.write_queue_nums;
        }
    }
    found.retain(|name, _| args.all || class(name, &system) == "topic");
    if args.target.json {
        let all = found.iter().map(|(name, listed)| {
            json!({
                "topic": name,
                "class": class(name, &system),
                "type": message_type(&listed.config),
                "perm": perm_text(listed.config.perm),
                "writeQueues": listed.queues,
                "brokers": listed.brokers,
            })
        });
        return print_json(&all.collect());
    }
    let mut table = Table::new(&["TOPIC", "CLASS", "TYPE", "PERM", ">QUEUES", ">BROKERS"]);
    for (name, listed) in found {
        let class = class(&name, &system).to_owned();
        let kind = message_type(&listed.config).to_owned();
        let (queues, brokers) = (listed.queues.to_string(), listed.brokers.to_string());
        table.row([name, class, kind, perm_text(listed.config.perm), queues, brokers]);
    }
    print_table(&table, "there are no topics; `thrust topic create NAME` makes one")
}

struct Listed {
    config: TopicConfig,
    brokers: u32,
    /// Of all brokers together.
    queues: i32,
}

async fn describe(args: &NameArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let configs = configs(&admin, &args.topic).await?;
    let stats = admin.topic_stats(&args.topic).await?;
    let messages: i64 = stats.offset_table.values().map(|queue| queue.max_offset - queue.min_offset).sum();
    if args.target.json {
        let brokers = configs.iter().map(|(name, _, config)| (name.clone(), config_json(config)));
        let queues = stats.offset_table.iter().map(|(queue, offsets)| {
            json!({
                "broker": queue.broker_name,
                "queueId": queue.queue_id,
                "minOffset": offsets.min_offset,
                "maxOffset": offsets.max_offset,
                "lastStoredMs": offsets.last_update_timestamp,
            })
        });
        return print_json(&json!({
            "topic": args.topic,
            "messages": messages,
            "brokers": Value::Object(brokers.collect()),
            "queues": queues.collect::<Vec<_>>(),
        }));
    }
    for (name, address, config) in &configs {
        let mut facts = vec![("broker", format!("{name} at {address}"))];
        let texts = config_texts(config);
        facts.extend(texts.iter().map(|(name, value)| (name.as_str(), value.clone())));
        print_facts(&facts)?;
    }
    print(&format!("\n{}\n\n", count(messages, "message")))?;
    let times = Times::new();
    let mut table = Table::new(&["BROKER", ">QUEUE", ">MIN", ">MAX", ">MESSAGES", "LAST STORED"]);
    for (queue, offsets) in &stats.offset_table {
        let count = offsets.max_offset - offsets.min_offset;
        table.row([
            queue.broker_name.clone(),
            queue.queue_id.to_string(),
            offsets.min_offset.to_string(),
            offsets.max_offset.to_string(),
            count.to_string(),
            cell_of_time(&times, offsets.last_update_timestamp),
        ]);
    }
    print_table(&table, "it has no queues")
}

async fn update(args: &UpdateArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    look_for_brokers(&admin, &args.topic).await?;
    let mut wanted = Vec::new();
    for (name, address, old) in configs(&admin, &args.topic).await? {
        let mut new = old.clone();
        args.changes.apply(&mut new);
        for attribute in &args.remove_attribute {
            new.attributes.remove(attribute);
        }
        wanted.push((name, address, old, new));
    }
    let left: BTreeMap<&str, i32> = wanted
        .iter()
        .filter(|(_, _, old, new)| new.read_queue_nums < old.read_queue_nums)
        .map(|(name, _, _, new)| (name.as_str(), new.read_queue_nums))
        .collect();
    let unread = unread(&admin, &args.topic, &left).await?;
    if unread > 0 {
        let (topic, held) = (&args.topic, count(unread, "message"));
        args.target.consent(
            &format!("topic \"{topic}\" gets fewer queues: {held} in the others are read no more"),
            args.yes,
        )?;
    }
    let change = async |(name, address, old, new): (String, String, TopicConfig, TopicConfig)| {
        let differences = differences(&old, &new);
        if !differences.is_empty() {
            admin.update_topic_attributes(&address, &new, &attribute_changes(&old, &new)).await?;
        }
        let of_broker = differences.into_iter().map(|difference| (name.clone(), difference));
        Ok(of_broker.collect::<Vec<_>>())
    };
    let (changed, end) = Each::of(wanted, |(name, ..)| name.clone(), change).await?.split();
    print_changes(args, changed.concat())?;
    end
}

/// Makes sure that every broker of a topic has a master, and says which masters do not have the topic.
async fn look_for_brokers(admin: &Admin, topic: &str) -> Result<(), Failure> {
    let route = route(admin, topic).await?;
    // What is changed at some brokers alone would be told as done.
    if let Some(broker) = route.brokers().iter().find(|broker| route.master(&broker.broker_name).is_none()) {
        return Err(Error::NoBroker { name: broker.broker_name.clone() }.into());
    }
    for Member { cluster, broker, address, .. } in masters_beside(admin, &route.masters()).await? {
        say(&format!(
            "thrust: {broker} at {address} does not have topic \"{topic}\"; `thrust topic create {topic} --cluster \
             {cluster}` makes it where it is missing"
        ));
    }
    Ok(())
}

fn print_changes(args: &UpdateArgs, changed: Vec<(String, Difference)>) -> Result<(), Failure> {
    if args.target.json {
        let all = changed.iter().map(|(broker, (setting, from, to))| {
            json!({ "broker": broker, "setting": setting, "from": from, "to": to })
        });
        return print_json(&json!({ "topic": args.topic, "changes": all.collect::<Vec<_>>() }));
    }
    let mut table = Table::new(&["BROKER", "SETTING", "FROM", "TO"]);
    for (broker, (setting, from, to)) in changed {
        table.row([broker, setting, from.unwrap_or("-".to_owned()), to.unwrap_or("-".to_owned())]);
    }
    print_table(&table, "nothing changes: the topic has these settings already")
}

/// Messages in queues that nobody reads any more once brokers have only so many.
async fn unread(admin: &Admin, topic: &str, left: &BTreeMap<&str, i32>) -> Result<i64, Failure> {
    if left.is_empty() {
        return Ok(0);
    }
    let stats = admin.topic_stats(topic).await?;
    let goes = |queue: &MessageQueue| {
        left.get(queue.broker_name.as_str()).is_some_and(|left| queue.queue_id >= *left)
    };
    let going = stats.offset_table.iter().filter(|(queue, _)| goes(queue));
    Ok(going.map(|(_, offsets)| offsets.max_offset - offsets.min_offset).sum())
}

async fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let route = route(&admin, &args.topic).await?;
    let stats = admin.topic_stats(&args.topic).await?;
    let messages: i64 = stats.offset_table.values().map(|queue| queue.max_offset - queue.min_offset).sum();
    let (topic, held) = (&args.topic, count(messages, "message"));
    let brokers = count(route.brokers().len(), "broker");
    args.target
        .consent(&format!("topic \"{topic}\" with {held} is deleted for good at {brokers}"), args.yes)?;
    let clusters: BTreeSet<&String> = route.brokers().iter().map(|broker| &broker.cluster).collect();
    let mut addresses = BTreeSet::new();
    for cluster in &clusters {
        addresses.extend(admin.brokers(cluster).await?);
    }
    let delete = async |address: String| Ok(admin.delete_topic_at(&address, topic).await?);
    let (_, deleted) = Each::of(addresses, String::clone, delete).await?.split();
    // Brokers that still have it register it again.
    let servers = admin.name_servers().into_iter();
    let places: Vec<_> =
        servers.flat_map(|server| clusters.iter().map(move |cluster| (server.clone(), *cluster))).collect();
    let forget = async |(server, cluster): (String, &String)| {
        Ok(admin.forget_topic_at(&server, cluster, topic).await?)
    };
    let (_, forgotten) = Each::of(places, |(server, _)| server.clone(), forget).await?.split();
    deleted.and(forgotten)?;
    if args.target.json {
        return print_json(&json!({ "deleted": true, "topic": topic, "messages": messages }));
    }
    print_line(&format!("deleted topic {topic} with {held}"))
}

async fn show_route(args: &NameArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let route = route(&admin, &args.topic).await?;
    let mut rows = Vec::new();
    for queues in &route.raw().queue_datas {
        let broker = route.brokers().iter().find(|broker| broker.broker_name == queues.broker_name);
        let addresses = broker.map(|broker| broker.broker_addrs.clone()).unwrap_or_default();
        rows.push((queues, broker.map(|broker| broker.cluster.clone()).unwrap_or_default(), addresses));
    }
    if args.target.json {
        let all = rows.iter().map(|(queues, cluster, addresses)| {
            json!({
                "broker": queues.broker_name,
                "cluster": cluster,
                "addresses": addresses,
                "readQueues": queues.read_queue_nums,
                "writeQueues": queues.write_queue_nums,
                "perm": perm_text(queues.perm),
            })
        });
        return print_json(&json!({ "topic": args.topic, "route": all.collect::<Vec<_>>() }));
    }
    let mut table = Table::new(&["BROKER", "CLUSTER", "ADDRESSES", ">READ", ">WRITE", "PERM"]);
    for (queues, cluster, addresses) in rows {
        let addresses: Vec<String> =
            addresses.iter().map(|(id, address)| format!("{id}={address}")).collect();
        table.row([
            queues.broker_name.clone(),
            cluster,
            addresses.join(" "),
            queues.read_queue_nums.to_string(),
            queues.write_queue_nums.to_string(),
            perm_text(queues.perm),
        ]);
    }
    print_table(&table, "no broker has queues of it")
}

/// Settings of a topic at every master: broker name, address, settings.
pub async fn configs(admin: &Admin, topic: &str) -> Result<Vec<(String, String, TopicConfig)>, Failure> {
    let route = route(admin, topic).await?;
    let mut configs = Vec::new();
    for broker in route.brokers() {
        let Some(address) = route.master(&broker.broker_name) else { continue };
        let config = admin.topic_config(address, topic).await?;
        configs.push((broker.broker_name.clone(), address.to_owned(), config));
    }
    Ok(configs)
}

type Difference = (String, Option<String>, Option<String>);

fn differences(old: &TopicConfig, new: &TopicConfig) -> Vec<Difference> {
    let (old, new) = (config_texts(old), config_texts(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    changed.map(|name| (name.clone(), old.get(name).cloned(), new.get(name).cloned())).collect()
}

/// The change of attributes as the protocol writes it; those that stay are not named, since some may never change.
fn attribute_changes(old: &TopicConfig, new: &TopicConfig) -> String {
    let set = new.attributes.iter().filter(|(name, value)| old.attributes.get(*name) != Some(value));
    let set = set.map(|(name, value)| format!("+{name}={value}"));
    let removed = old.attributes.keys().filter(|name| !new.attributes.contains_key(*name));
    set.chain(removed.map(|name| format!("-{name}"))).collect::<Vec<_>>().join(",")
}

fn config_texts(config: &TopicConfig) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::from([
        ("readQueues".to_owned(), config.read_queue_nums.to_string()),
        ("writeQueues".to_owned(), config.write_queue_nums.to_string()),
        ("perm".to_owned(), perm_text(config.perm)),
        ("order".to_owned(), config.order.to_string()),
    ]);
    texts.extend(config.attributes.clone());
    texts
}

fn config_json(config: &TopicConfig) -> Value {
    json!({
        "topic": config.topic_name,
        "readQueues": config.read_queue_nums,
        "writeQueues": config.write_queue_nums,
        "perm": perm_text(config.perm),
        "order": config.order,
        "attributes": config.attributes,
    })
}

/// Kind of the messages, as RocketMQ names it.
pub fn message_type(config: &TopicConfig) -> &str {
    config.attributes.get(MESSAGE_TYPE).map_or("NORMAL", String::as_str)
}

fn class(topic: &str, system: &BTreeSet<String>) -> &'static str {
    match topic {
        _ if topic.starts_with(RETRY_PREFIX) => "retry",
        _ if topic.starts_with(DLQ_PREFIX) => "dead letter",
        _ if names::is_system_topic(topic) || system.contains(topic) => "system",
        // Where replies to requests of a cluster travel.
        _ if topic.ends_with("_REPLY_TOPIC") => "system",
        _ => "topic",
    }
}

/// What is allowed: `r`, `w`, `rw` or `none`.
pub fn perm_text(perm: i32) -> String {
    let letters = [(PERM_READ, 'r'), (PERM_WRITE, 'w')];
    let text: String = letters.iter().filter(|(bit, _)| perm & bit != 0).map(|(_, letter)| letter).collect();
    if text.is_empty() { "none".to_owned() } else { text }
}

fn parse_perm(text: &str) -> Result<i32, String> {
    match text {
        "r" | "4" => Ok(PERM_READ),
        "w" | "2" => Ok(PERM_WRITE),
        "rw" | "6" => Ok(PERM_READ | PERM_WRITE),
        "none" => Ok(0),
        _ => Err("write r, w, rw or none".to_owned()),
    }
}
