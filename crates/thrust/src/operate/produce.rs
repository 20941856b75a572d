//! `thrust produce`: sends messages from arguments, a file or a pipe.

mod lines;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;
use thrustmq_client::{Admin, Delivery, Error, Message, Producer, Receipt, SendStatus};
use tokio::time::Instant;
use wire::names::{AUTO_CREATE_TOPIC, check_topic};

use super::interrupt::Interrupt;
use crate::failure::{Failure, did_you_mean};
use crate::moment::duration;
use crate::output::progress::Bar;
use crate::output::screen::{print_json_line, print_line, say};
use crate::output::words::{count, list};
use crate::target::{Target, pair, route};
use lines::{Line, Lines};

/// Messages under way at a time; ordered ones go one by one.
const IN_FLIGHT_MAX: usize = 256;
/// Failures that are told one by one.
const TOLD_MAX: u64 = 5;

#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// Bodies, a message each; without them lines of --from are sent, each a message.
    body: Vec<String>,
    /// The topic.
    #[arg(short, long)]
    topic: String,
    /// Tag, a word that consumers select by.
    #[arg(long)]
    tag: Option<String>,
    /// Key that messages can be found by; may be repeated.
    #[arg(short, long)]
    key: Vec<String>,
    /// A property of your own; may be repeated.
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = pair)]
    property: Vec<(String, String)>,
    /// Deliver after a time, such as 500ms, 5s, 10m, 2h.
    #[arg(long, value_parser = duration, conflicts_with = "shard")]
    delay: Option<Duration>,
    /// Keep the order among messages of this shard: they go to one queue, one by one.
    #[arg(long)]
    shard: Option<String>,
    /// File of messages, a line each, `-` for stdin; empty lines are passed over. Many are under way at a time: --shard
    /// keeps their order.
    #[arg(long, value_name = "FILE", default_value = "-", conflicts_with = "body")]
    from: PathBuf,
    /// What lines are: text is a body as it is, json an object with "body" and perhaps "tag", "keys", "properties", as
    /// `thrust consume --format json` prints it.
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    /// Messages per second at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// With bodies: send them so many times. With --from: stop after so many lines.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Group of the producer.
    #[arg(long, default_value = "thrust-produce")]
    group: String,
    #[command(flatten)]
    target: Target,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
}

pub async fn run(args: &ProduceArgs) -> Result<(), Failure> {
    check_topic(&args.topic).map_err(|error| Failure::Arguments(error.to_string()))?;
    let mut interrupt = Interrupt::listen()?;
    let client = args.target.client().await?;
    look_for_topic(&client.admin(), &args.topic).await?;
    let producer = client.producer(&args.group).build()?;
    let mut work = Work {
        args,
        producer: producer.clone(),
        under_way: VecDeque::new(),
        tally: Tally::default(),
        started: Instant::now(),
        bar: bar(args),
    };
    let done = tokio::select! {
        done = work.all() => done.map(|()| End::OfInput),
        () = interrupt.came() => Ok(End::Interrupt),
    };
    let is_at_end = matches!(done, Ok(End::OfInput));
    let done = work.settle_all(done).await;
    producer.close().await;
    work.finish(done, is_at_end)
}

/// Why no more is sent.
enum End {
    OfInput,
    Interrupt,
}

/// Lines of a file are sent without a word on each, so that somebody who waits at a terminal sees how far they are.
fn bar(args: &ProduceArgs) -> Bar {
    const WHAT: &str = "messages stored";
    match args.body.is_empty() && !args.target.json {
        true => args.count.map_or_else(|| Bar::new(WHAT), |count| Bar::of(WHAT, count)),
        false => Bar::beside_output(WHAT, None),
    }
}

/// A topic that is not there is made by the first message, if brokers do that; if not, it may be a slip of the hand.
async fn look_for_topic(admin: &Admin, topic: &str) -> Result<(), Failure> {
    if !matches!(admin.topic_route(topic).await, Err(Error::NoRoute { .. })) {
        // Whatever else is wrong shows when messages are sent.
        return Ok(());
    }
    let known = admin.topics().await?;
    if !known.iter().any(|one| one == AUTO_CREATE_TOPIC) {
        return route(admin, topic).await.map(drop);
    }
    let hint = did_you_mean(topic, known.iter().map(String::as_str));
    say(&format!("thrust: topic \"{topic}\" is new and is made by the brokers{hint}"));
    Ok(())
}

type Sending = Pin<Box<dyn Future<Output = Result<Receipt, String>> + Send>>;

struct Work<'a> {
    args: &'a ProduceArgs,
    producer: Producer,
    under_way: VecDeque<Sending>,
    tally: Tally,
    started: Instant,
    bar: Bar,
}

#[derive(Default)]
struct Tally {
    begun: u64,
    stored: u64,
    failed: u64,
    bytes: u64,
    /// Of those that are stored, how many are not as safe as the settings of their broker promise, by status.
    doubtful: BTreeMap<String, u64>,
}

impl Work<'_> {
    async fn all(&mut self) -> Result<(), Failure> {
        if !self.args.body.is_empty() {
            for _ in 0..self.args.count.unwrap_or(1) {
                for (body, number) in self.args.body.iter().zip(1..) {
                    let message = self.message(body.as_bytes(), || format!("body {number}"))?;
                    self.send(message).await?;
                }
            }
            return Ok(());
        }
        let from = &self.args.from;
        if lines::is_typed(from) {
            say("a message is sent for each line that you type; Ctrl-D ends");
        }
        let mut lines = lines::open(from)?;
        while self.args.count.is_none_or(|count| self.tally.begun < count) {
            match self.next_line(&mut lines).await? {
                Some(Ok(Line { number, bytes })) => {
                    let message =
                        self.message(&bytes, || format!("line {number} of {}", lines::name(from)))?;
                    self.send(message).await?;
                }
                Some(Err(cause)) => {
                    return Err(Failure::File { what: format!("read {}", lines::name(from)), cause });
                }
                None => break,
            }
        }
        Ok(())
    }

    /// The next line; while it has not come, what is under way is counted and told.
    async fn next_line(&mut self, lines: &mut Lines) -> Result<Option<std::io::Result<Line>>, Failure> {
        loop {
            let Some(sending) = self.under_way.front_mut() else { return Ok(lines.recv().await) };
            let sent = tokio::select! {
                biased;
                line = lines.recv() => return Ok(line),
                sent = sending => sent,
            };
            self.under_way.pop_front();
            self.count(sent)?;
        }
    }

    /// A line or an argument as a message, with what the options add. `place` says where it stands.
    fn message(&self, text: &[u8], place: impl FnOnce() -> String) -> Result<Message, Failure> {
        let args = self.args;
        let mut message = match args.format {
            Form::Text => Message::new(&args.topic, text.to_vec()),
            Form::Json => lines::from_json(&args.topic, text).map_err(|what| {
                Failure::Arguments(format!("{} is not what --format json needs: {what}", place()))
            })?,
        };
        if let Some(tag) = &args.tag {
            message = message.tag(tag);
        }
        for key in &args.key {
            message = message.key(key);
        }
        for (name, value) in &args.property {
            message = message.property(name, value);
        }
        Ok(message)
    }

    async fn send(&mut self, message: Message) -> Result<(), Failure> {
        if let Some(rate) = self.args.rate {
            let due = Duration::from_secs_f64(self.tally.begun as f64 / f64::from(rate));
            self.wait_until(self.started + due).await?;
        }
        self.tally.begun += 1;
        self.tally.bytes += message.body().len() as u64;
        match (&self.args.shard, self.args.delay) {
            (Some(shard), _) => {
                let sent = self.producer.send(message.order_by(shard)).await;
                self.count(sent.map_err(|error| error.to_string()))
            }
            (None, Some(delay)) => self.enqueue(message.delay(delay)).await,
            (None, None) => self.enqueue(message).await,
        }
    }

    /// Waits for a moment; meanwhile what is under way is counted and told.
    async fn wait_until(&mut self, due: Instant) -> Result<(), Failure> {
        loop {
            let Some(sending) = self.under_way.front_mut() else {
                tokio::time::sleep_until(due).await;
                return Ok(());
            };
            let sent = tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => return Ok(()),
                sent = sending => sent,
            };
            self.under_way.pop_front();
            self.count(sent)?;
        }
    }

    async fn enqueue<D: Delivery>(&mut self, message: Message<D>) -> Result<(), Failure> {
        match self.producer.enqueue(message).await {
            Ok(pending) => {
                self.under_way
                    .push_back(Box::pin(async { pending.await.map_err(|error| error.to_string()) }));
                self.settle(self.in_flight_max()).await
            }
            Err(error) => self.count(Err(error.to_string())),
        }
    }

    /// Those of the command line are few, and whoever wrote them expects their order.
    fn in_flight_max(&self) -> usize {
        if self.args.body.is_empty() || self.args.count.is_some() { IN_FLIGHT_MAX } else { 0 }
    }

    /// Waits until no more than `left` messages are under way.
    async fn settle(&mut self, left: usize) -> Result<(), Failure> {
        while self.under_way.len() > left {
            let Some(sending) = self.under_way.front_mut() else { break };
            // It stays in line until it is counted: an interrupt may end this wait.
            let sent = sending.await;
            self.under_way.pop_front();
            self.count(sent)?;
        }
        Ok(())
    }

    /// Waits for everything that is under way, also when nobody reads what became of it.
    async fn settle_all(&mut self, mut done: Result<End, Failure>) -> Result<End, Failure> {
        while let Err(failure) = self.settle(0).await {
            done = done.and(Err(failure));
        }
        done
    }

    fn count(&mut self, sent: Result<Receipt, String>) -> Result<(), Failure> {
        match sent {
            Ok(receipt) => {
                self.tally.stored += 1;
                if receipt.status != SendStatus::Stored {
                    *self.tally.doubtful.entry(format!("{:?}", receipt.status)).or_default() += 1;
                }
                self.bar.step();
                self.tell(&receipt)
            }
            Err(what) => {
                self.tally.failed += 1;
                if self.tally.failed <= TOLD_MAX {
                    say(&format!("thrust: {what}"));
                }
                Ok(())
            }
        }
    }

    fn tell(&self, receipt: &Receipt) -> Result<(), Failure> {
        let queue = &receipt.queue;
        if self.args.target.json {
            return print_json_line(&json!({
                "messageId": receipt.message_id,
                "offsetId": receipt.offset_id,
                "broker": queue.broker_name,
                "queueId": queue.queue_id,
                "offset": receipt.offset,
                "status": format!("{:?}", receipt.status),
                "recallHandle": receipt.recall_handle,
            }));
        }
        // Lines of a file may be many.
        if self.args.body.is_empty() {
            return Ok(());
        }
        let (broker, id, offset) = (&queue.broker_name, queue.queue_id, receipt.offset);
        let (key, place) = (&receipt.message_id, &receipt.offset_id);
        let doubt = match receipt.status {
            SendStatus::Stored => String::new(),
            status => format!(" ({status:?})"),
        };
        print_line(&format!("{key} stored as {place} in queue {id} of {broker} at {offset}{doubt}"))
    }

    /// Whether everything that was there to send is stored, and this is known without another look at the input.
    fn is_all_stored(&self, is_end: bool) -> bool {
        let Tally { begun, stored, .. } = self.tally;
        let bodies = self.args.body.len() as u64;
        let wanted = match bodies {
            0 => self.args.count,
            _ => Some(self.args.count.unwrap_or(1).saturating_mul(bodies)),
        };
        stored == begun && (is_end || wanted == Some(begun))
    }

    /// Says what was stored, and how it ended; `is_at_end` if all of the input was begun.
    fn finish(self, done: Result<End, Failure>, is_at_end: bool) -> Result<(), Failure> {
        let is_complete = self.is_all_stored(is_at_end);
        let Tally { begun, stored, failed, bytes, doubtful } = self.tally;
        self.bar.end();
        let of_all = count(begun, "message");
        match done {
            Err(Failure::PipeClosed) if is_complete => return Err(Failure::PipeClosed),
            Err(Failure::PipeClosed) => {
                return Err(Failure::Partly(format!(
                    "{stored} of {of_all} stored, and then the reader of the output was gone: what else there was to \
                     send was not sent"
                )));
            }
            Err(failure) if begun == 0 => return Err(failure),
            _ => (),
        }
        let took = self.started.elapsed();
        let per_second = stored as f64 / took.as_secs_f64().max(0.001);
        say(&format!(
            "{stored} of {of_all} stored in {:.3} s, {per_second:.0} per second, {}",
            took.as_secs_f64(),
            count(bytes, "byte")
        ));
        match done {
            // What is wrong with a later line does not undo what was stored.
            Err(Failure::Arguments(what)) => Err(Failure::Partly(what)),
            Err(failure) => Err(failure),
            Ok(_) if failed > 0 => Err(Failure::Partly(format!("{failed} of {of_all} not confirmed"))),
            Ok(End::Interrupt) if !is_complete => {
                let what = "interrupted before the end of the input: what was left of it was not sent";
                Err(Failure::Partly(what.to_owned()))
            }
            Ok(_) if !doubtful.is_empty() => {
                let all: Vec<String> =
                    doubtful.iter().map(|(status, messages)| format!("{messages} with {status}")).collect();
                let what = "stored, but not as safely as the settings of the broker promise";
                Err(Failure::Partly(format!("{} of {of_all} {what}", list(&all))))
            }
            Ok(_) => Ok(()),
        }
    }
}
