//! What a measurement can be told on its line.

use std::path::PathBuf;

use clap::Args;

/// What both kinds of load need to know.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// Broker to load, host:port [default: the masters of the topic, over which connections are spread].
    #[arg(value_name = "ADDR")]
    pub addr: Option<String>,
    /// Name servers that know the masters [default: NAMESRV_ADDR of the environment, or those of the chosen context, or
    /// 127.0.0.1:9876]. A context that encrypts is refused: the bench speaks plain connections.
    #[arg(short = 'n', long, value_name = "HOST:PORT;HOST:PORT", conflicts_with_all = ["addr", "compare"])]
    pub nameserver: Option<String>,
    /// Topic; created when it is missing.
    #[arg(long, default_value = DEFAULT_TOPIC)]
    pub topic: String,
    /// Load brokers of other machines that neither ADDR nor --nameserver names, and fill a topic that is not the
    /// bench's own.
    #[arg(short, long)]
    pub yes: bool,
    /// Bytes in the body of a message.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=4 << 20))]
    pub size: u32,
    /// Queues to use.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub queues: u32,
    /// Connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub conns: u32,
    /// Requests under way per connection; 64 for send, mixed and transact, 1 for the others.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub inflight: Option<u32>,
    /// Seconds measured.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub secs: f64,
    /// Seconds of the same load before that.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub warmup: f64,
    /// Threads of the generator; as many as there are cores when not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: Option<u32>,
    /// Process of the server, for its CPU time and memory; several are added up.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// Write headers in the binary dialect.
    #[arg(long)]
    pub binary: bool,
    /// A second server: rounds alternate between the two, and the ratio is printed.
    #[arg(long, value_name = "ADDR", requires = "addr")]
    pub compare: Option<String>,
    /// Process of the second server.
    #[arg(long, value_name = "PID", value_delimiter = ',', requires = "compare")]
    pub pid2: Vec<u32>,
    /// Rounds whose median is printed; 5 with --compare, else 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: Option<u32>,
    /// Write the latencies of all rounds to this file, as HdrHistogram's tools plot them; with --compare those of the
    /// second server to one beside it, whose name ends in -2.
    #[arg(long, value_name = "FILE")]
    pub histogram: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Print a row of a Markdown table under this name; `scripts/side-by-side` puts them together.
    #[arg(long, value_name = "NAME", requires = "compare", conflicts_with = "json")]
    pub row: Option<String>,
}

/// `thrust bench send`
#[derive(Debug, Clone, Args)]
pub struct SendArgs {
    #[command(flatten)]
    pub load: Load,
    /// Messages a second in all, sent when due whatever was answered; latency counts from the due time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub rate: Option<u64>,
    /// Messages per request; above 1 as a batch (code 320).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// Topics to spread the messages over, each with --queues queues; above 1 their names are --topic and a number.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub topics: u32,
    /// Send without the unique key that every official client adds.
    #[arg(long)]
    pub no_unique_key: bool,
    /// Ask that the answer does not wait for flush and replication (property WAIT=false).
    #[arg(long)]
    pub no_wait: bool,
    /// Give each message one of ten keys in turn, without which topics with cleanup.policy=COMPACTION take none.
    #[arg(long, conflicts_with = "batch")]
    pub keyed: bool,
}

/// `thrust bench pull`
#[derive(Debug, Clone, Args)]
pub struct PullArgs {
    #[command(flatten)]
    pub load: Load,
    /// Messages asked for per request.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: u32,
    /// Messages a second in all: pulls of --batch go out when due, and latency counts from then.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub rate: Option<u64>,
    /// Messages that must be there; what is missing is sent before.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub fill: u64,
    /// Pull by tags. What is sent before has the tag `bench`. Messages that the filter passes over count too.
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "sql")]
    pub tags: Option<String>,
    /// Pull by properties, if the broker has enablePropertyFilter=true. What is sent before has a property `n`, from 0
    /// to 9 in turn.
    #[arg(long, value_name = "EXPRESSION")]
    pub sql: Option<String>,
}

/// `thrust bench roundtrip`
#[derive(Debug, Clone, Args)]
pub struct RoundtripArgs {
    #[command(flatten)]
    pub load: Load,
    /// Messages a second in all, sent when due unless the one before has not come back; latency counts from the due
    /// time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub rate: Option<u64>,
}

/// `thrust bench mixed`
#[derive(Debug, Clone, Args)]
pub struct MixedArgs {
    #[command(flatten)]
    pub load: Load,
    /// Connections that receive; as many as send when not given. The topic has at least one queue for each.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub consumers: Option<u32>,
    /// Messages a second in all, sent when due whatever was answered; latency counts from the due time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub rate: Option<u64>,
    /// Messages asked for per pull.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: u32,
}

/// `thrust bench transact`
#[derive(Debug, Clone, Args)]
pub struct TransactArgs {
    #[command(flatten)]
    pub load: Load,
}

/// `thrust bench pop`
#[derive(Debug, Clone, Args)]
pub struct PopArgs {
    #[command(flatten)]
    pub load: Load,
    /// Messages asked for per pop.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub batch: u32,
    /// Acknowledge all messages of a pop with one request (code 200151) instead of each with its own.
    #[arg(long)]
    pub batch_ack: bool,
    /// Messages that must be there; what is missing is sent before.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub fill: u64,
}

/// `thrust bench idle`
#[derive(Debug, Clone, Args)]
pub struct IdleArgs {
    /// Broker to load, host:port [default: a master of the topic].
    #[arg(value_name = "ADDR")]
    pub addr: Option<String>,
    /// Name servers that know the master, as for the other works.
    #[arg(short = 'n', long, value_name = "HOST:PORT;HOST:PORT", conflicts_with = "addr")]
    pub nameserver: Option<String>,
    /// Load a broker of another machine that neither ADDR nor --nameserver names.
    #[arg(short, long)]
    pub yes: bool,
    /// Consumers, each with a connection of its own; ten make a group.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=28_000))]
    pub conns: u32,
    /// Topic; created when it is missing. Nobody may send to it meanwhile.
    #[arg(long, default_value = "BenchIdle")]
    pub topic: String,
    /// Queues to spread the consumers over.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub queues: u32,
    /// Seconds that each pull waits at the broker.
    #[arg(long, default_value_t = 15.0, value_parser = seconds)]
    pub suspend: f64,
    /// Seconds between two heartbeats of a consumer; 0 for none.
    #[arg(long, default_value_t = 30.0, value_parser = seconds)]
    pub heartbeat: f64,
    /// Seconds measured.
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    pub secs: f64,
    /// Seconds before that, in which all consumers connect and have had answers.
    #[arg(long, default_value_t = 45.0, value_parser = seconds)]
    pub warmup: f64,
    /// Process of the server, for its CPU time and memory; several are added up.
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `thrust bench echo`
#[derive(Debug, Clone, Args)]
pub struct EchoArgs {
    /// Loopback port; 0 lets the system choose.
    #[arg(long, default_value_t = 10_920)]
    pub port: u16,
    /// End after this many seconds; runs until it is stopped when not given.
    #[arg(long, value_parser = seconds)]
    pub secs: Option<f64>,
}

/// `thrust bench draw`
#[derive(Debug, Clone, Args)]
pub struct DrawArgs {
    /// Table of points, as the script writes it: comma-separated, with names of columns.
    #[arg(value_name = "CSV")]
    pub file: PathBuf,
    /// Directory of the pictures, which are named after their curves.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// The topic that belongs to the bench, whose queues it may therefore add to.
pub const DEFAULT_TOPIC: &str = "BenchT";

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("not a number of seconds between 0 and 86400".to_owned()),
    }
}
