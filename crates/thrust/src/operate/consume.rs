//! `thrust consume`: reads messages as a member of a consumer group, and leaves it with its offsets written down.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, ValueEnum};
use thrustmq_client::{
    Admin, Consumer, Delivered, Filter, MessageQueue, Received, StartFrom, SubscriptionGroupConfig,
};

use super::interrupt::Interrupt;
use crate::failure::Failure;
use crate::moment::{Times, duration};
use crate::output::message::message_json;
use crate::output::progress::Bar;
use crate::output::screen::{print_bytes, say};
use crate::output::terminal::harmless;
use crate::output::words::count;
use crate::target::{Target, route};

/// Time to write offsets down and leave the group.
const LEAVE_MAX: Duration = Duration::from_secs(5);
/// How long nothing must come before it is looked whether there is anything left.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub struct ConsumeArgs {
    /// The topic.
    #[arg(short, long)]
    topic: String,
    /// The consumer group; it goes on where it was.
    #[arg(short, long)]
    group: String,
    /// Where the group starts in queues it has never read: first, last, an offset, or a time: 10m (ago),
    /// 2026-01-31T12:30, @1700000000000 (Unix milliseconds).
    #[arg(long, value_name = "PLACE", default_value = "first")]
    from: String,
    /// Tags to select, such as "paid || created".
    #[arg(long, value_name = "TAGS", conflicts_with = "sql")]
    filter: Option<String>,
    /// A condition on properties to select by, such as "amount > 100".
    #[arg(long, value_name = "CONDITION")]
    sql: Option<String>,
    /// Stop after so many messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Wait for messages without end, until Ctrl-C or --count.
    #[arg(short, long)]
    follow: bool,
    /// Stop behind the messages that are there at the start: those that come later are left.
    #[arg(long, conflicts_with = "follow")]
    until_end: bool,
    /// Without --follow and --until-end: stop when nothing has come for so long.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s", conflicts_with = "until_end")]
    wait: Duration,
    /// How messages are printed: text has one line each (an end of line within a body is told as \\n), json one object
    /// each, raw the bodies alone.
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    #[command(flatten)]
    target: Target,
}

/// How messages are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
    Raw,
}

pub async fn run(args: &ConsumeArgs) -> Result<(), Failure> {
    let start = start(&args.from)?;
    let client = args.target.client().await?;
    let admin = client.admin();
    route(&admin, &args.topic).await?;
    let start = match start {
        Start::From(start) => start,
        Start::Offset(offset) => {
            begin_at(&admin, args, offset).await?;
            StartFrom::Latest
        }
    };
    let interrupt = Interrupt::listen()?;
    let goal = match args.until_end {
        true => Some(Goal::now(admin.clone(), args).await?),
        false => None,
    };
    let builder = client.consumer(&args.group).subscribe(&args.topic, filter(args));
    let consumer = builder.start_from(start).stream().await?;
    let mut reading = Reading { args, admin, interrupt, consumer, goal, read: 0 };
    let ended = reading.print_all().await;
    let Reading { consumer, read, .. } = reading;
    consumer.close(LEAVE_MAX).await;
    let (topic, group) = (&args.topic, &args.group);
    // Nobody is there to be told when the pipe was closed.
    if ended.is_ok() || (read > 0 && !matches!(ended, Err(Failure::PipeClosed))) {
        say(&format!("{} read from topic {topic} by group {group}", count(read, "message")));
    }
    ended
}

/// A member of the group at work.
struct Reading<'a> {
    args: &'a ConsumeArgs,
    admin: Admin,
    interrupt: Interrupt,
    consumer: Consumer,
    /// Where it ends, if the topic's end at the start is where.
    goal: Option<Goal>,
    /// Messages so far.
    read: u64,
}

impl Reading<'_> {
    /// Prints messages until there is a reason to stop.
    async fn print_all(&mut self) -> Result<(), Failure> {
        let form = if self.args.target.json { Form::Json } else { self.args.format };
        let times = Times::new();
        let mut bar = Bar::beside_output("messages read", self.args.count);
        while self.args.count.is_none_or(|wanted| self.read < wanted) {
            let Some(message) = self.next().await? else { break };
            // What could not be printed comes again: it is not acknowledged.
            print_bytes(&printed(&message, form, &times))?;
            message.ack();
            self.read += 1;
            bar.step();
            // Where messages come without a pause there is never time to look.
            if self.goal.as_mut().is_some_and(|goal| goal.is_passed(&self.consumer)) {
                break;
            }
        }
        Ok(())
    }

    /// The next message, unless it is time to stop.
    async fn next(&mut self) -> Result<Option<Delivered>, Failure> {
        let waits = !self.args.follow && !self.args.until_end;
        loop {
            tokio::select! {
                biased;
                () = self.interrupt.came() => return Ok(None),
                next = self.consumer.next() => return Ok(next),
                () = tokio::time::sleep(self.args.wait), if waits => {
                    all_answer(&self.admin, self.args).await?;
                    return Ok(None);
                }
                () = tokio::time::sleep(LOOK), if self.goal.is_some() => {
                    if reached(&mut self.goal, &self.consumer).await? {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

/// Makes sure that the brokers of all queues answer. Readers go on trying for as long as they live, and where they end
/// because nothing comes, a broker that is silent must not look like one that has nothing.
async fn all_answer(admin: &Admin, args: &ConsumeArgs) -> Result<(), Failure> {
    for queue in admin.topic_route(&args.topic).await?.queues_to_read() {
        // Where the group is, is told by slaves too.
        admin.committed(&args.group, &queue).await?;
    }
    Ok(())
}

/// Where the queues of the topic ended when the reading began.
struct Goal {
    admin: Admin,
    group: String,
    ends: BTreeMap<MessageQueue, i64>,
}

impl Goal {
    async fn now(admin: Admin, args: &ConsumeArgs) -> Result<Goal, Failure> {
        let mut ends = BTreeMap::new();
        for queue in admin.topic_route(&args.topic).await?.queues_to_read() {
            let end = admin.max_offset(&queue).await?;
            ends.insert(queue, end);
        }
        Ok(Goal { admin, group: args.group.clone(), ends })
    }

    /// Whether this member alone has read everything that was there.
    fn is_passed(&mut self, consumer: &Consumer) -> bool {
        let own = consumer.positions();
        self.ends.retain(|queue, end| own.get(queue).is_none_or(|position| position < end));
        self.ends.is_empty()
    }

    /// Whether the group has. Queues that another member has are asked about at their broker, which knows what that
    /// member has written down.
    async fn is_reached(&mut self, consumer: &Consumer) -> Result<bool, Failure> {
        if self.is_passed(consumer) {
            return Ok(true);
        }
        let own = consumer.queues();
        let others: Vec<MessageQueue> =
            self.ends.keys().filter(|queue| !own.contains(queue)).cloned().collect();
        for queue in others {
            let committed = self.admin.committed(&self.group, &queue).await?;
            self.ends.retain(|one, end| *one != queue || committed.is_none_or(|committed| committed < *end));
        }
        Ok(self.ends.is_empty())
    }
}

async fn reached(goal: &mut Option<Goal>, consumer: &Consumer) -> Result<bool, Failure> {
    match goal {
        Some(goal) => goal.is_reached(consumer).await,
        None => Ok(false),
    }
}

enum Start {
    From(StartFrom),
    Offset(i64),
}

fn start(text: &str) -> Result<Start, Failure> {
    Ok(match text {
        "first" => Start::From(StartFrom::Earliest),
        // Brokers would let the group start at the beginning of a young queue.
        "last" => Start::Offset(i64::MAX),
        _ => match text.parse() {
            Ok(offset @ 0..) => Start::Offset(offset),
            _ => Start::From(StartFrom::AtMs(Times::new().parse(text).ok_or_else(|| {
                Failure::Arguments(format!(
                    "\"{text}\" is no place; write first, last, an offset, 10m, 2026-01-31T12:30 or @MILLIS"
                ))
            })?)),
        },
    })
}

/// Writes down an offset for every queue that the group has never read.
async fn begin_at(admin: &Admin, args: &ConsumeArgs, offset: i64) -> Result<(), Failure> {
    let route = admin.topic_route(&args.topic).await?;
    for address in route.masters() {
        // Brokers take offsets only of groups that they know.
        if !admin.groups(address).await?.contains_key(&args.group) {
            let config = SubscriptionGroupConfig { group_name: args.group.clone(), ..Default::default() };
            admin.update_group(address, &config).await?;
        }
    }
    for queue in route.queues_to_read() {
        if admin.committed(&args.group, &queue).await?.is_none() {
            let (min, max) = (admin.min_offset(&queue).await?, admin.max_offset(&queue).await?);
            admin.commit(&args.group, &queue, offset.clamp(min, max.max(min))).await?;
        }
    }
    Ok(())
}

fn filter(args: &ConsumeArgs) -> Filter {
    match (&args.sql, &args.filter) {
        (Some(condition), _) => Filter::sql(condition),
        (None, Some(tags)) => Filter::tags([tags.as_str()]),
        (None, None) => Filter::all(),
    }
}

fn printed(message: &Received, form: Form, times: &Times) -> Vec<u8> {
    match form {
        Form::Raw => [&message.body[..], b"\n"].concat(),
        Form::Json => format!("{}\n", message_json(message)).into_bytes(),
        Form::Text => {
            let (queue, tag) =
                (&message.queue, message.tag().map(|tag| format!(" [{tag}]")).unwrap_or_default());
            let (broker, id, offset) = (&queue.broker_name, queue.queue_id, message.offset);
            let stored = times.told(message.stored_at_ms);
            let text = format!("{stored} {broker}/{id}@{offset}{tag} {}", on_one_line(&message.text()));
            format!("{}\n", harmless(&text)).into_bytes()
        }
    }
}

/// A text whose ends of lines are told and not made.
fn on_one_line(text: &str) -> String {
    text.replace('\r', "\\r").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_many_lines_takes_one() {
        assert_eq!(on_one_line("a\r\nb\n"), "a\\r\\nb\\n");
    }
}
