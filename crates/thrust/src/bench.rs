//! Load for any RocketMQ-compatible address: raw pipelined frames, and what they cost both sides.
//!
//! Invariant: the generator never allocates per message and never waits for one answer before it writes the
//! next request that is due, so that it measures the server and not itself. `bench echo` is its own limit.

mod admin;
mod answer;
mod args;
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

use clap::Subcommand;

use crate::output::screen::say;
use args::{
    DrawArgs, EchoArgs, IdleArgs, Load, MixedArgs, PopArgs, PullArgs, RoundtripArgs, SendArgs, TransactArgs,
};
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
            say(&format!("thrust bench: {error}"));
            error.exit_code()
        }
    }
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
        None => admin::Target::found(load.nameserver.as_deref(), &load.topic, load.yes)?,
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
