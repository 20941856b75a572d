//! Load for any RocketMQ-compatible address: raw pipelined frames, and what they cost both sides.
//!
//! Invariant: the generator never allocates per message and never waits for one answer before it writes the
//! next request that is due, so that it measures the server and not itself. `bench echo` is its own limit.

mod admin;
mod answer;
mod draw;
mod echo;
mod error;
mod histogram;
mod idle;
mod lane;
mod live;
mod mixed;
mod pace;
mod pop;
mod process;
mod pull;
mod report;
mod roundtrip;
mod run;
mod send;
mod slots;
mod tail;
mod tally;
mod template;
mod transact;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use error::BenchError;
use report::{Report, Side};

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Send messages: as fast as the in-flight limit allows, or at a fixed rate.
    #[command(after_help = "\
Examples:
  thrust bench send --secs 5
  thrust bench send 127.0.0.1:10911 --rate 2000 --secs 5 --histogram send.hgrm
  thrust bench send 127.0.0.1:10911 --compare 127.0.0.1:20911 --rounds 3 --secs 5")]
    Send(SendArgs),
    /// Pull a backlog from its start to its end, over and over; fills it first when there is too little.
    #[command(after_help = "Examples:\n  thrust bench pull --fill 10000 --secs 5 --json")]
    Pull(PullArgs),
    /// Send one message per connection, wait until it is received, send the next: the latency of one message.
    #[command(after_help = "\
Examples:
  thrust bench roundtrip --conns 1 --secs 5
  thrust bench roundtrip --rate 100 --secs 5")]
    Roundtrip(RoundtripArgs),
    /// Send and receive at once, over connections of their own: latency from a send to the receipt.
    #[command(after_help = "Examples:\n  thrust bench mixed --rate 2000 --secs 5")]
    Mixed(MixedArgs),
    /// Send half messages and commit each: transactions, with both requests answered.
    #[command(after_help = "Examples:\n  thrust bench transact --secs 5")]
    Transact(TransactArgs),
    /// Pop a backlog and acknowledge every message; fills it first when there is too little.
    #[command(after_help = "Examples:\n  thrust bench pop --fill 10000 --batch-ack --secs 5")]
    Pop(PopArgs),
    /// Hold thousands of consumers that have nothing to consume: what each costs the server while nothing happens.
    #[command(after_help = "Examples:\n  thrust bench idle --conns 1 --secs 5")]
    Idle(IdleArgs),
    /// Serve a bare echo that answers each frame as a send: what this machine can do at most.
    #[command(after_help = "Examples:\n  thrust bench echo --port 10920 --secs 5")]
    Echo(EchoArgs),
    /// Draw the curves that `scripts/curves` has measured.
    #[command(after_help = "Examples:\n  thrust bench draw curves.csv --dir pictures")]
    Draw(DrawArgs),
}

/// What both kinds of load need to know.
#[derive(Debug, Clone, Args)]
struct Load {
    /// Broker to load, host:port [default: the masters of the topic, over which connections are spread].
    #[arg(value_name = "ADDR")]
    addr: Option<String>,
    /// Name servers that know the masters [default: NAMESRV_ADDR of the environment, or those of the chosen context, or
    /// 127.0.0.1:9876]. A context that encrypts is refused: the bench speaks plain connections.
    #[arg(short = 'n', long, value_name = "HOST:PORT;HOST:PORT", conflicts_with_all = ["addr", "compare"])]
    nameserver: Option<String>,
    /// Topic; created when it is missing.
    #[arg(long, default_value = DEFAULT_TOPIC)]
    topic: String,
    /// Bytes in the body of a message.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=4 << 20))]
    size: u32,
    /// Queues to use.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    queues: u32,
    /// Connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    conns: u32,
    /// Requests under way per connection; 64 for send, mixed and transact, 1 for the others.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    inflight: Option<u32>,
    /// Seconds measured.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    secs: f64,
    /// Seconds of the same load before that.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    warmup: f64,
    /// Threads of the generator; as many as there are cores when not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: Option<u32>,
    /// Process of the server, for its CPU time and memory; several are added up.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pid: Vec<u32>,
    /// Write headers in the binary dialect.
    #[arg(long)]
    binary: bool,
    /// A second server: rounds alternate between the two, and the ratio is printed.
    #[arg(long, value_name = "ADDR", requires = "addr")]
    compare: Option<String>,
    /// Process of the second server.
    #[arg(long, value_name = "PID", value_delimiter = ',', requires = "compare")]
    pid2: Vec<u32>,
    /// Rounds whose median is printed; 5 with --compare, else 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Write the latencies of all rounds to this file, as HdrHistogram's tools plot them; with --compare those of the
    /// second server to one beside it, whose name ends in -2.
    #[arg(long, value_name = "FILE")]
    histogram: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Print a row of a Markdown table under this name; `scripts/side-by-side` puts them together.
    #[arg(long, value_name = "NAME", requires = "compare", conflicts_with = "json")]
    row: Option<String>,
}

/// `thrust bench send`
#[derive(Debug, Clone, Args)]
pub struct SendArgs {
    #[command(flatten)]
    load: Load,
    /// Messages a second in all, sent when due whatever was answered; latency counts from the due time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    rate: Option<u64>,
    /// Messages per request; above 1 as a batch (code 320).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// Topics to spread the messages over, each with --queues queues; above 1 their names are --topic and a number.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    topics: u32,
    /// Send without the unique key that every official client adds.
    #[arg(long)]
    no_unique_key: bool,
    /// Ask that the answer does not wait for flush and replication (property WAIT=false).
    #[arg(long)]
    no_wait: bool,
    /// Give each message one of ten keys in turn, without which topics with cleanup.policy=COMPACTION take none.
    #[arg(long, conflicts_with = "batch")]
    keyed: bool,
}

/// `thrust bench pull`
#[derive(Debug, Clone, Args)]
pub struct PullArgs {
    #[command(flatten)]
    load: Load,
    /// Messages asked for per request.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// Messages a second in all: pulls of --batch go out when due, and latency counts from then.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    rate: Option<u64>,
    /// Messages that must be there; what is missing is sent before.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    fill: u64,
    /// Pull by tags. What is sent before has the tag `bench`. Messages that the filter passes over count too.
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "sql")]
    tags: Option<String>,
    /// Pull by properties, if the broker has enablePropertyFilter=true. What is sent before has a property `n`, from 0
    /// to 9 in turn.
    #[arg(long, value_name = "EXPRESSION")]
    sql: Option<String>,
}

/// `thrust bench roundtrip`
#[derive(Debug, Clone, Args)]
pub struct RoundtripArgs {
    #[command(flatten)]
    load: Load,
    /// Messages a second in all, sent when due unless the one before has not come back; latency counts from the due
    /// time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    rate: Option<u64>,
}

/// `thrust bench mixed`
#[derive(Debug, Clone, Args)]
pub struct MixedArgs {
    #[command(flatten)]
    load: Load,
    /// Connections that receive; as many as send when not given. The topic has at least one queue for each.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    consumers: Option<u32>,
    /// Messages a second in all, sent when due whatever was answered; latency counts from the due time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    rate: Option<u64>,
    /// Messages asked for per pull.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
}

/// `thrust bench transact`
#[derive(Debug, Clone, Args)]
pub struct TransactArgs {
    #[command(flatten)]
    load: Load,
}

/// `thrust bench pop`
#[derive(Debug, Clone, Args)]
pub struct PopArgs {
    #[command(flatten)]
    load: Load,
    /// Messages asked for per pop.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=32))]
    batch: u32,
    /// Acknowledge all messages of a pop with one request (code 200151) instead of each with its own.
    #[arg(long)]
    batch_ack: bool,
    /// Messages that must be there; what is missing is sent before.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    fill: u64,
}

/// `thrust bench idle`
#[derive(Debug, Clone, Args)]
pub struct IdleArgs {
    /// Broker to load, host:port [default: a master of the topic].
    #[arg(value_name = "ADDR")]
    addr: Option<String>,
    /// Name servers that know the master, as for the other works.
    #[arg(short = 'n', long, value_name = "HOST:PORT;HOST:PORT", conflicts_with = "addr")]
    nameserver: Option<String>,
    /// Consumers, each with a connection of its own; ten make a group.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=28_000))]
    conns: u32,
    /// Topic; created when it is missing. Nobody may send to it meanwhile.
    #[arg(long, default_value = "BenchIdle")]
    topic: String,
    /// Queues to spread the consumers over.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    queues: u32,
    /// Seconds that each pull waits at the broker.
    #[arg(long, default_value_t = 15.0, value_parser = seconds)]
    suspend: f64,
    /// Seconds between two heartbeats of a consumer; 0 for none.
    #[arg(long, default_value_t = 30.0, value_parser = seconds)]
    heartbeat: f64,
    /// Seconds measured.
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    secs: f64,
    /// Seconds before that, in which all consumers connect and have had answers.
    #[arg(long, default_value_t = 45.0, value_parser = seconds)]
    warmup: f64,
    /// Process of the server, for its CPU time and memory; several are added up.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pid: Vec<u32>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// `thrust bench echo`
#[derive(Debug, Clone, Args)]
pub struct EchoArgs {
    /// Loopback port; 0 lets the system choose.
    #[arg(long, default_value_t = 10_920)]
    port: u16,
    /// End after this many seconds; runs until it is stopped when not given.
    #[arg(long, value_parser = seconds)]
    secs: Option<f64>,
}

/// `thrust bench draw`
#[derive(Debug, Clone, Args)]
pub struct DrawArgs {
    /// Table of points, as the script writes it: comma-separated, with names of columns.
    #[arg(value_name = "CSV")]
    file: PathBuf,
    /// Directory of the pictures, which are named after their curves.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// The topic that belongs to the bench, whose queues it may therefore add to.
const DEFAULT_TOPIC: &str = "BenchT";

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("not a number of seconds between 0 and 86400".to_owned()),
    }
}

/// Runs one measurement.
pub fn run(bench: &Bench) -> ExitCode {
    let outcome = match bench {
        Bench::Send(args) => measure(&args.load, "send", |target, pids| send::run(args, target, pids)),
        Bench::Pull(args) => measure(&args.load, "pull", |target, pids| pull::run(args, target, pids)),
        Bench::Roundtrip(args) => {
            measure(&args.load, "roundtrip", |target, pids| roundtrip::run(args, target, pids))
        }
        Bench::Mixed(args) => measure(&args.load, "mixed", |target, pids| mixed::run(args, target, pids)),
        Bench::Transact(args) => {
            measure(&args.load, "transact", |target, pids| transact::run(args, target, pids))
        }
        Bench::Pop(args) => measure(&args.load, "pop", |target, pids| pop::run(args, target, pids)),
        Bench::Idle(args) => idle::run(args),
        Bench::Echo(args) => echo::run(args),
        Bench::Draw(args) => draw::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::output::screen::say(&format!("thrust bench: {error}"));
            error.exit_code()
        }
    }
}

/// The name servers, found as all commands find theirs.
fn name_servers(named: Option<&str>) -> Result<String, BenchError> {
    let found = crate::target::destination(named);
    let found = found.map_err(|failure| BenchError::Arguments(failure.to_string()))?;
    if found.tls.is_some() {
        let why = "the bench does not encrypt, as the context or THRUST_TLS_CA asks for; name the address of a broker \
                   that takes plain connections";
        return Err(BenchError::Arguments(why.to_owned()));
    }
    if found.keys.is_some() {
        crate::output::screen::say(
            "note: the bench signs nothing; brokers that ask for it refuse its requests",
        );
    }
    Ok(found.servers)
}

/// All rounds of one kind of load, alternating when there are two servers.
///
/// Every second round begins with the second server, so that neither always finds the warmer machine.
fn measure(
    load: &Load,
    work: &'static str,
    mut round: impl FnMut(&admin::Target, &[u32]) -> Result<Report, BenchError>,
) -> Result<(), BenchError> {
    if load.secs <= 0.0 {
        return Err(BenchError::Arguments("--secs must be above 0".to_owned()));
    }
    let first = match &load.addr {
        Some(addr) => admin::Target::broker(addr),
        None => admin::Target::through(&name_servers(load.nameserver.as_deref())?, &load.topic)?,
    };
    // A file that cannot be written is told before the time is spent.
    for path in files(load) {
        histogram::try_to_write(&path)?;
    }
    let mut sides = vec![Side::new(first, load.pid.clone())];
    if let Some(second) = &load.compare {
        sides.push(Side::new(admin::Target::broker(second), load.pid2.clone()));
    }
    let rounds = load.rounds.unwrap_or(if sides.len() > 1 { 5 } else { 1 });
    for number in 0..rounds {
        for turn in 0..sides.len() {
            let side = if number % 2 == 0 { turn } else { sides.len() - 1 - turn };
            let side = &mut sides[side];
            let report = round(&side.target, &side.pids)?;
            if rounds > 1 && !load.json && load.row.is_none() {
                tell!("{} of {rounds}  {}  {}", number + 1, side.target, report.line());
            }
            side.rounds.push(report);
        }
    }
    report::print(&sides, work, load);
    for (path, side) in files(load).zip(&sides) {
        histogram::write(&path, &side.latency())?;
    }
    Ok(())
}

/// Files of latencies, one for each server.
fn files(load: &Load) -> impl Iterator<Item = PathBuf> {
    let first = load.histogram.clone();
    let second = first.as_deref().filter(|_| load.compare.is_some()).map(histogram::second);
    first.into_iter().chain(second)
}
