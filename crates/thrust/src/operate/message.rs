//! `thrust message`: single messages, found by whatever is known of them.

mod facts;
mod resend;
pub mod search;
pub mod track;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use thrustmq_client::{Admin, Received};

use crate::failure::{Failure, did_you_mean};
use crate::output::message::message_json;
use crate::output::screen::{print, print_json, print_line, say};
use crate::output::words::count;
use crate::target::{Target, route};
use facts::print_message;
use search::{Form, Found, find, forms_of_id, must_find, not_there};

/// Work on single messages.
#[derive(Debug, Subcommand)]
pub enum MessageCommand {
    /// Find messages by an id of any form, a key, or a unique key.
    #[command(after_help = "\
Examples:
  thrust message find 7
  thrust message find --topic orders --key 7 --count 5 --json")]
    Find(FindArgs),
    /// Show one message: by its id, or at a position of a queue.
    #[command(after_help = "\
Examples:
  thrust message show 7
  thrust message show --topic orders --queue 0 --offset 0")]
    Show(ShowArgs),
    /// Show what became of a message in every group.
    #[command(after_help = "\
Examples:
  thrust message track 7

States are: read, filtered (passed over by the filter), not yet, and broadcast (every member keeps its own offsets).
`thrust explain message` tells the same in words, and what to do.")]
    Track(track::TrackArgs),
    /// Send a copy of a message, or let one group consume it once more.
    #[command(after_help = "\
Examples:
  thrust message resend 7 --topic orders --yes
  thrust message resend 8 --to copies --yes")]
    Resend(resend::ResendArgs),
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
    /// Id of the message, of any form, or a key of it.
    #[arg(conflicts_with_all = ["broker", "queue", "offset"])]
    id: Option<String>,
    /// The topic [default: for an id all topics are asked].
    #[arg(short, long, required_unless_present = "id")]
    topic: Option<String>,
    /// Name of the broker [default: the only one that has the topic].
    #[arg(short, long)]
    broker: Option<String>,
    /// Number of the queue.
    #[arg(short, long, required_unless_present = "id")]
    queue: Option<i32>,
    /// Position in the queue.
    #[arg(short, long, required_unless_present = "id")]
    offset: Option<i64>,
    #[command(flatten)]
    target: Target,
}

pub async fn run(command: &MessageCommand) -> Result<(), Failure> {
    match command {
        MessageCommand::Find(args) => find_all(args).await,
        MessageCommand::Show(args) => show(args).await,
        MessageCommand::Track(args) => track::run(args).await,
        MessageCommand::Resend(args) => resend::run(args).await,
    }
}

async fn find_all(args: &FindArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let (text, forms) = wanted(args);
    let topic = args.topic.as_deref();
    let found = find(&admin, text, &forms, topic, args.count).await?;
    let Found { form, messages } = found.ok_or_else(|| not_there(text, topic))?;
    if args.target.json {
        let messages: Vec<Value> = messages.iter().map(message_json).collect();
        return print_json(&json!({ "foundBy": form.name(), "messages": messages }));
    }
    print_line(&format!("{text} is the {} of {}", form.name(), count(messages.len(), "message")))?;
    messages.iter().try_for_each(|message| {
        print("\n")?;
        print_message(message)
    })
}

/// The text, and what it may be, likeliest first.
fn wanted(args: &FindArgs) -> (&str, Vec<Form>) {
    match (&args.id, &args.key, &args.unique_key) {
        (_, Some(key), _) => (key, vec![Form::Key]),
        (_, _, Some(key)) => (key, vec![Form::UniqueKey]),
        (Some(id), ..) => (id, forms_of_id(id)),
        // Refused by the command line already.
        (None, None, None) => ("", Vec::new()),
    }
}

async fn show(args: &ShowArgs) -> Result<(), Failure> {
    let admin = args.target.client().await?.admin();
    let message = match (&args.id, &args.topic, args.queue, args.offset) {
        (Some(id), topic, ..) => newest(&admin, id, topic.as_deref()).await?,
        (None, Some(topic), Some(queue), Some(offset)) => {
            at_position(&admin, (topic, args.broker.as_deref()), queue, offset).await?
        }
        // Refused by the command line already.
        _ => return Ok(()),
    };
    if args.target.json { print_json(&message_json(&message)) } else { print_message(&message) }
}

/// The newest message with an id; others with the same are named on stderr.
async fn newest(admin: &Admin, id: &str, topic: Option<&str>) -> Result<Received, Failure> {
    let messages = must_find(admin, id, topic).await?.originals();
    if messages.len() > 1 {
        let all = count(messages.len(), "message");
        say(&format!(
            "thrust: {all} have this id, and the newest is shown; `thrust message find {id}` shows all"
        ));
    }
    let newest = messages.into_iter().max_by_key(|message| message.stored_at_ms);
    newest.ok_or_else(|| not_there(id, topic))
}

async fn at_position(
    admin: &Admin,
    (topic, broker): (&str, Option<&str>),
    id: i32,
    offset: i64,
) -> Result<Received, Failure> {
    let mut queues = route(admin, topic).await?.queues_to_read();
    if let Some(broker) = broker.filter(|broker| queues.iter().all(|queue| queue.broker_name != **broker)) {
        let hint = did_you_mean(broker, queues.iter().map(|queue| queue.broker_name.as_str()));
        return Err(Failure::NotFound(format!(
            "topic \"{topic}\" has no queues at broker \"{broker}\"{hint}; `thrust topic route {topic}` shows all"
        )));
    }
    queues.retain(|queue| queue.queue_id == id && broker.is_none_or(|broker| *broker == queue.broker_name));
    let queue = match &queues[..] {
        [one] => one,
        [] => {
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
    admin.message_at(queue, offset).await.map_err(|error| match error {
        thrustmq_client::Error::Illegal(what) => Failure::NotFound(what),
        other => other.into(),
    })
}
