//! `thrust message`: finding single messages, whatever is known of them.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use thrustmq_client::{Admin, Received};
use wire::ids::OffsetId;
use wire::names::is_system_topic;

use super::consume::message_json;
use super::failure::Failure;
use super::moment::Times;
use super::screen::{print, print_facts, print_json};
use super::target::{Target, route};

/// Work on single messages.
#[derive(Debug, Subcommand)]
pub enum MessageCommand {
    /// Find messages by an id of any form, a key, or a unique key.
    Find(FindArgs),
    /// Show the message at a position of a queue.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub struct FindArgs {
    /// Id as a producer, a consumer or a log tells it: a unique key or an offset id.
    #[arg(required_unless_present_any = ["key", "unique_key"])]
    id: Option<String>,
    /// Key that the producer gave it.
    #[arg(short, long, conflicts_with = "id")]
    key: Option<String>,
    /// Unique key, and no other form of id.
    #[arg(long, conflicts_with_all = ["id", "key"])]
    unique_key: Option<String>,
    /// The topic [default: for an id all topics are asked].
    #[arg(short, long)]
    topic: Option<String>,
    /// With a key: so many messages of each broker.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The topic.
    #[arg(short, long)]
    topic: String,
    /// Name of the broker [default: the only one that has the topic].
    #[arg(short, long)]
    broker: Option<String>,
    /// Number of the queue.
    #[arg(short, long)]
    queue: i32,
    /// Position in the queue.
    #[arg(short, long)]
    offset: i64,
    #[command(flatten)]
    target: Target,
}

pub async fn run(command: &MessageCommand) -> Result<(), Failure> {
    match command {
        MessageCommand::Find(args) => find(args).await,
        MessageCommand::Show(args) => show(args).await,
    }
}

/// What a text was that messages were found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    OffsetId,
    UniqueKey,
    Key,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Form::OffsetId => "offset id",
            Form::UniqueKey => "unique key",
            Form::Key => "key",
        }
    }
}

async fn find(args: &FindArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let topics = match &args.topic {
        Some(topic) => {
            route(&admin, topic).await?;
            vec![topic.clone()]
        }
        None => all_topics(&admin).await?,
    };
    let (text, forms) = wanted(args);
    for form in forms {
        let found = search(&admin, &topics, text, form, args.count).await?;
        if found.is_empty() {
            continue;
        }
        if args.target.json {
            let messages: Vec<Value> = found.iter().map(message_json).collect();
            return print_json(&json!({ "foundBy": form.name(), "messages": messages }));
        }
        print(&format!("{text} is the {} of {} message(s)\n", form.name(), found.len()))?;
        return found.iter().try_for_each(print_message);
    }
    let whereabouts =
        args.topic.as_ref().map_or("any topic".to_owned(), |topic| format!("topic \"{topic}\""));
    Err(Failure::NotFound(format!(
        "no message \"{text}\" in {whereabouts}; it may be deleted by age, or the servers are others"
    )))
}

/// The text, and what it may be, likeliest first.
fn wanted(args: &FindArgs) -> (&str, Vec<Form>) {
    match (&args.id, &args.key, &args.unique_key) {
        (_, Some(key), _) => (key, vec![Form::Key]),
        (_, _, Some(key)) => (key, vec![Form::UniqueKey]),
        // The two ids have the same letters and may have the same length: only the broker knows.
        (Some(id), ..) if is_offset_id(id) => (id, vec![Form::UniqueKey, Form::OffsetId, Form::Key]),
        (Some(id), ..) => (id, vec![Form::UniqueKey, Form::Key]),
        // Refused by the command line already.
        (None, None, None) => ("", Vec::new()),
    }
}

fn is_offset_id(text: &str) -> bool {
    OffsetId::parse(text).is_some_and(|id| id.store_host.port() != 0)
}

async fn search(
    admin: &Admin,
    topics: &[String],
    text: &str,
    form: Form,
    count: u32,
) -> Result<Vec<Received>, Failure> {
    if form == Form::OffsetId {
        return by_offset_id(admin, topics, text).await;
    }
    let mut found = Vec::new();
    for topic in topics {
        let messages = match form {
            Form::Key => admin.messages_by_key(topic, text, count, 0, i64::MAX).await,
            _ => admin.messages_by_unique_key(topic, text).await,
        };
        match messages {
            Ok(messages) => found.extend(messages),
            // A topic that was deleted since the list was made has none.
            Err(thrustmq_client::Error::NoRoute { .. }) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// An id that names a broker which is none of the cluster's is not asked: it may be any machine.
async fn by_offset_id(admin: &Admin, topics: &[String], text: &str) -> Result<Vec<Received>, Failure> {
    let Some(id) = OffsetId::parse(text) else { return Ok(Vec::new()) };
    let brokers: BTreeSet<String> = admin.brokers("").await?.into_iter().collect();
    if !brokers.contains(&id.store_host.to_string()) {
        return Ok(Vec::new());
    }
    let topic = topics.first().map(String::as_str).unwrap_or_default();
    match admin.view_message(topic, text).await {
        Ok(message) => Ok(vec![message]),
        Err(error) if error.broker_code().is_some() => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

async fn all_topics(admin: &Admin) -> Result<Vec<String>, Failure> {
    let system: BTreeSet<String> = admin.system_topics().await?.into_iter().collect();
    let topics = admin.topics().await?.into_iter();
    Ok(topics.filter(|topic| !system.contains(topic) && !is_system_topic(topic)).collect())
}

async fn show(args: &ShowArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let mut queues = route(&admin, &args.topic).await?.queues_to_read();
    queues.retain(|queue| {
        queue.queue_id == args.queue && args.broker.as_ref().is_none_or(|broker| *broker == queue.broker_name)
    });
    let queue = match &queues[..] {
        [one] => one,
        [] => {
            let (id, topic) = (args.queue, &args.topic);
            return Err(Failure::NotFound(format!(
                "topic \"{topic}\" has no such queue {id}; `thrust topic describe {topic}` shows all"
            )));
        }
        _ => {
            return Err(Failure::Arguments(
                "several brokers have this queue; name one with --broker".to_owned(),
            ));
        }
    };
    let message = admin.message_at(queue, args.offset).await.map_err(|error| match error {
        thrustmq_client::Error::Illegal(what) => Failure::NotFound(what),
        other => other.into(),
    })?;
    if args.target.json { print_json(&message_json(&message)) } else { print_message(&message) }
}

fn print_message(message: &Received) -> Result<(), Failure> {
    let times = Times::new();
    let queue = &message.queue;
    let keys: Vec<&str> = message.keys().collect();
    let properties: Vec<String> =
        message.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
    print_facts(&[
        ("message id", message.message_id.clone()),
        ("offset id", message.offset_id.clone()),
        ("topic", message.topic.clone()),
        ("queue", format!("{} of {}, at {}", queue.queue_id, queue.broker_name, message.offset)),
        ("stored", times.told(message.stored_at_ms)),
        ("born", format!("{} at {}", times.told(message.born_at_ms), message.born_host)),
        ("tag", message.tag().unwrap_or("-").to_owned()),
        ("keys", keys.join(" ")),
        ("retries", message.reconsume_times.to_string()),
        ("properties", properties.join(" ")),
        ("body", format!("{} bytes", message.body.len())),
    ])?;
    print(&format!("\n{}\n\n", message.text()))
}
