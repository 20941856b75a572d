//! `thrust bench idle`: consumers with nothing to consume, and what each of them costs a broker.
//!
//! Each has a connection of its own, pulls from the end of a queue that stays empty, is answered when the broker has
//! let it wait for as long as it asked, and pulls again; every now and then it sends a heartbeat. Pulls and heartbeats
//! are spread evenly over time, as those of consumers that were not started together are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use remoting::{CallError, Channel, Client, Limits, Service, Turn};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use wire::body::{ConsumerData, HeartbeatData, SubscriptionData};
use wire::code::{request, response};
use wire::header::{Dialect, FrameWriter};
use wire::pull_flag::{SUBSCRIPTION, SUSPEND};

use super::admin::{self, Target};
use super::args::IdleArgs;
use super::error::BenchError;
use super::process::{self, Usage};
use super::words::thousands;
use crate::output::progress::Bar;

/// How much longer than the broker may take a consumer waits for an answer. Official clients wait 15 s longer, but here
/// all of them share one machine.
const ANSWER_SLACK: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that are made at once.
const CONNECTING_MAX: usize = 64;
/// Members of a consumer group, each of which is told of every other that joins.
const GROUP_MEMBERS: u32 = 10;

/// What all consumers have in common.
struct Shared {
    broker: String,
    topic: String,
    queues: u32,
    /// Where each queue ends.
    ends: Vec<u64>,
    suspend: Duration,
    heartbeat: Option<Duration>,
    /// Counts belong to the measured part.
    measuring: AtomicBool,
    pulls: AtomicU64,
    heartbeats: AtomicU64,
    /// Pulls that were answered with messages or before their time, and whatever was refused.
    unexpected: AtomicU64,
}

/// Measures, and prints what it found.
pub fn run(args: &IdleArgs) -> Result<(), BenchError> {
    if args.secs <= 0.0 {
        return Err(BenchError::Arguments("--secs must be above 0".to_owned()));
    }
    crate::serve::raise_open_file_limit();
    let target = match &args.addr {
        Some(addr) => Target::broker(addr),
        None => Target::found(args.nameserver.as_deref(), &args.topic, args.yes)?.first(),
    };
    let broker = target.to_string();
    let queues = target.prepare_topic(&args.topic, args.queues, Dialect::Json)?;
    let mut asker = admin::Client::connect(&broker, Dialect::Json)?;
    let ends = (0..queues).map(|queue| asker.queue_range(&args.topic, queue).map(|(_, end)| end));
    let shared = Arc::new(Shared {
        broker,
        topic: args.topic.clone(),
        queues,
        ends: ends.collect::<Result<_, _>>()?,
        suspend: Duration::from_secs_f64(args.suspend),
        heartbeat: (args.heartbeat > 0.0).then(|| Duration::from_secs_f64(args.heartbeat)),
        measuring: AtomicBool::new(false),
        pulls: AtomicU64::new(0),
        heartbeats: AtomicU64::new(0),
        unexpected: AtomicU64::new(0),
    });
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::Thread)?;
    let figures = runtime.block_on(measure(args, &shared))?;
    figures.print(args, &shared.broker);
    Ok(())
}

async fn measure(args: &IdleArgs, shared: &Arc<Shared>) -> Result<Figures, BenchError> {
    let before = process::usage(&args.pid)?;
    let mut consumers = JoinSet::new();
    let gate = Arc::new(Semaphore::new(CONNECTING_MAX));
    for number in 0..args.conns {
        let consumer = Consumer::of(Arc::clone(shared), number, args.conns);
        consumers.spawn(consumer.run(Arc::clone(&gate)));
    }
    let mut bar = Bar::of("seconds", (args.warmup + args.secs) as u64);
    until(&mut consumers, Duration::from_secs_f64(args.warmup), &mut bar).await?;
    shared.measuring.store(true, Ordering::Relaxed);
    let start = process::usage(&args.pid)?;
    until(&mut consumers, Duration::from_secs_f64(args.secs), &mut bar).await?;
    bar.end();
    let end = process::usage(&args.pid)?;
    shared.measuring.store(false, Ordering::Relaxed);
    consumers.abort_all();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Figures {
        before,
        end,
        cpu_us: end.cpu_us.saturating_sub(start.cpu_us),
        pulls: count(&shared.pulls),
        heartbeats: count(&shared.heartbeats),
        unexpected: count(&shared.unexpected),
    })
}

/// Waits for so long, or for the first consumer that fails.
async fn until(
    consumers: &mut JoinSet<Result<(), CallError>>,
    time: Duration,
    bar: &mut Bar,
) -> Result<(), BenchError> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let next = end.min(Instant::now() + Duration::from_secs(1));
        tokio::select! {
            () = sleep_until(next) => bar.step(),
            Some(Ok(Err(error))) = consumers.join_next() => return Err(BenchError::Consumer(error)),
        }
    }
    Ok(())
}

struct Consumer {
    shared: Arc<Shared>,
    client: Client,
    /// Which share of the time between two requests passes before the first.
    phase: f64,
    queue: u32,
    group: String,
    heartbeat: Vec<u8>,
}

impl Consumer {
    fn of(shared: Arc<Shared>, number: u32, all: u32) -> Consumer {
        let group = format!("thrust_bench_idle_{}", number / GROUP_MEMBERS);
        let client_id = format!("127.0.0.1@{}#{number}", std::process::id());
        Consumer {
            client: Client::new(Limits::default(), Arc::new(NoRequests)),
            phase: f64::from(number) / f64::from(all),
            queue: number % shared.queues,
            heartbeat: heartbeat(&client_id, &group, &shared.topic),
            group,
            shared,
        }
    }

    /// Pulls for ever.
    async fn run(self, gate: Arc<Semaphore>) -> Result<(), CallError> {
        let channel = {
            // It is never closed.
            let _one_of_few = gate.acquire().await;
            let channel = self.client.channel(&self.shared.broker, CONNECT_TIMEOUT).await?;
            // Until it is answered the connection may wait to be accepted, and there is not room for many to wait.
            let queue = self.queue.to_string();
            let asked = [("topic", self.shared.topic.as_str()), ("queueId", &queue)];
            channel.call(request::GET_MAX_OFFSET, &asked, &[], ANSWER_SLACK).await?;
            channel
        };
        match self.shared.heartbeat {
            None => self.pull(&channel).await,
            Some(period) => tokio::select! {
                ended = self.pull(&channel) => ended,
                ended = self.beat(&channel, period) => ended,
            },
        }
    }

    async fn pull(&self, channel: &Channel) -> Result<(), CallError> {
        sleep(self.shared.suspend.mul_f64(self.phase)).await;
        loop {
            let since = Instant::now();
            let timeout = self.shared.suspend + ANSWER_SLACK;
            let write = |writer: &mut FrameWriter<'_>| self.write_pull(writer);
            let answer = channel.call_with(request::PULL_MESSAGE, write, &[], timeout).await?;
            let waited = since.elapsed() >= self.shared.suspend;
            self.shared.tell(&self.shared.pulls, waited && answer.code == response::PULL_NOT_FOUND);
            if !waited {
                // A broker that does not let it wait shall not be asked in a tight loop.
                sleep(self.shared.suspend).await;
            }
        }
    }

    fn write_pull(&self, writer: &mut FrameWriter<'_>) {
        writer
            .field("consumerGroup", &self.group)
            .field("topic", &self.shared.topic)
            .number("queueId", self.queue)
            .number("queueOffset", self.shared.ends[self.queue as usize])
            .field("maxMsgNums", "32")
            .number("sysFlag", SUBSCRIPTION | SUSPEND)
            .field("commitOffset", "0")
            .number("suspendTimeoutMillis", self.shared.suspend.as_millis() as u64)
            .field("subscription", "*")
            .field("subVersion", "0")
            .field("expressionType", "TAG");
    }

    async fn beat(&self, channel: &Channel, period: Duration) -> Result<(), CallError> {
        sleep(period.mul_f64(self.phase)).await;
        loop {
            let answer = channel.call(request::HEART_BEAT, &[], &self.heartbeat, ANSWER_SLACK).await?;
            self.shared.tell(&self.shared.heartbeats, answer.code == response::SUCCESS);
            sleep(period).await;
        }
    }
}

impl Shared {
    /// Counts an answer.
    fn tell(&self, counter: &AtomicU64, is_expected: bool) {
        if self.measuring.load(Ordering::Relaxed) {
            let counter = if is_expected { counter } else { &self.unexpected };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn heartbeat(client_id: &str, group: &str, topic: &str) -> Vec<u8> {
    let subscription = SubscriptionData {
        topic: topic.to_owned(),
        sub_string: "*".to_owned(),
        expression_type: "TAG".to_owned(),
        ..SubscriptionData::default()
    };
    let consumer = ConsumerData {
        group_name: group.to_owned(),
        consume_type: "CONSUME_PASSIVELY".to_owned(),
        message_model: "CLUSTERING".to_owned(),
        consume_from_where: "CONSUME_FROM_LAST_OFFSET".to_owned(),
        subscription_data_set: vec![subscription],
        unit_mode: false,
    };
    let data = HeartbeatData {
        client_id: client_id.to_owned(),
        consumer_data_set: vec![consumer],
        ..HeartbeatData::default()
    };
    serde_json::to_vec(&data).expect("plain structs become JSON")
}

/// Brokers tell consumers of new members, which these do not care about.
struct NoRequests;

impl Service for NoRequests {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while turn.next_request().is_some() {}
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

struct Figures {
    before: Usage,
    end: Usage,
    /// Of the server, in the measured part.
    cpu_us: u64,
    pulls: u64,
    heartbeats: u64,
    unexpected: u64,
}

impl Figures {
    /// Share of one core, in percent.
    fn cpu_percent(&self, args: &IdleArgs) -> f64 {
        self.cpu_us as f64 / args.secs / 1e4
    }

    /// How much each consumer has added, in bytes.
    fn each(&self, args: &IdleArgs, of: fn(&Usage) -> u64) -> f64 {
        of(&self.end).saturating_sub(of(&self.before)) as f64 / f64::from(args.conns)
    }

    fn print(&self, args: &IdleArgs, broker: &str) {
        if args.json {
            tell!("{}", self.json(args));
        } else {
            tell_part!("{}", self.block(args, broker));
        }
    }

    fn json(&self, args: &IdleArgs) -> serde_json::Value {
        let of_server = |value: f64| (!args.pid.is_empty()).then(|| (value * 1e3).round() / 1e3);
        json!({
            "work": "idle",
            "topic": args.topic,
            "queues": args.queues,
            "consumers": args.conns,
            "suspend_seconds": args.suspend,
            "heartbeat_seconds": args.heartbeat,
            "seconds": args.secs,
            "warmup_seconds": args.warmup,
            "pulls": self.pulls,
            "heartbeats": self.heartbeats,
            "unexpected": self.unexpected,
            "server_cpu_percent": of_server(self.cpu_percent(args)),
            "server_resident_bytes_per_consumer": of_server(self.each(args, |usage| usage.resident_bytes)),
            "server_anonymous_bytes_per_consumer": of_server(self.each(args, |usage| usage.anonymous_bytes)),
        })
    }

    fn block(&self, args: &IdleArgs, broker: &str) -> String {
        let beats = match args.heartbeat {
            0.0 => "no heartbeats".to_owned(),
            period => format!("a heartbeat every {period} s"),
        };
        let mut text = format!(
            "idle  {broker}  topic {}, {} consumers, each with a pull that waits for {} s, {beats}, {} s after {} s\n",
            args.topic,
            thousands(f64::from(args.conns)),
            args.suspend,
            args.secs,
            args.warmup,
        );
        if !args.pid.is_empty() {
            text += &format!(
                "  server     {:.2} % of a core   {:.1} KiB resident per consumer, {:.1} KiB of it not files; {:.1} MiB in all\n",
                self.cpu_percent(args),
                self.each(args, |usage| usage.resident_bytes) / 1024.0,
                self.each(args, |usage| usage.anonymous_bytes) / 1024.0,
                self.end.resident_bytes as f64 / f64::from(1 << 20),
            );
        }
        text += &format!(
            "  answered   {} pulls at their time, {} heartbeats\n  errors     {}\n",
            thousands(self.pulls as f64),
            thousands(self.heartbeats as f64),
            match self.unexpected {
                0 => "none".to_owned(),
                unexpected => format!(
                    "{} answers with messages, with another code or before their time; is the topic used by others?",
                    thousands(unexpected as f64)
                ),
            },
        );
        text
    }
}
