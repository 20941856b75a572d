//! Commands that speak to running servers: topics, groups, sending and reading. They work with Java servers too.
//!
//! Tables for people, `--json` for machines. Exit codes: 0 done, 1 failed, 2 wrong arguments or no consent, 3 not
//! there, 4 nobody answered. A pipe that is closed by its reader is a quiet end.

pub mod broker;
mod cluster;
mod consume;
mod context;
mod doctor;
mod each;
mod explain;
mod group;
mod interrupt;
mod message;
mod produce;
mod topic;

use std::process::ExitCode;

use clap::Subcommand;

use crate::failure::Failure;
use crate::output::screen::ended;

/// What can be asked of running servers.
#[derive(Debug, Subcommand)]
pub enum OperateCommand {
    /// Create topics, look at them, change them, delete them.
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Create consumer groups, see how far they are behind, change them, move them, delete them.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Find single messages, show them, see what became of them, send them again.
    #[command(subcommand)]
    Message(message::MessageCommand),
    /// Look at clusters: their brokers, what goes in and out.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Keep names for clusters, so that commands need no addresses and no keys.
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Tell the whole story of a message, a group or a topic in words, and what to do.
    #[command(subcommand)]
    Explain(explain::ExplainCommand),
    /// Look for what is wrong with a cluster, and say what to do. Exit code 0: nothing; 1: warnings; 2: errors.
    #[command(after_help = "\
Examples:
  thrust doctor
  thrust doctor --json
  thrust doctor --max-behind 100000 --data ./thrust-data
  thrust doctor --remote

Exit codes are those that monitoring expects: 0 nothing is wrong, 1 there are warnings, 2 there are errors.")]
    Doctor(doctor::DoctorArgs),
    /// Send messages: from arguments, a file or a pipe.
    #[command(after_help = "\
Examples:
  thrust produce --topic orders --tag paid --key 7 'order 7 is paid'
  thrust produce --topic orders --shard customer-3 'first' 'second'
  seq 100 | thrust produce --topic orders --rate 50")]
    Produce(produce::ProduceArgs),
    /// Read messages as a member of a consumer group.
    #[command(after_help = "\
Examples:
  thrust consume --topic orders --group billing --count 1
  thrust consume --topic orders --group audit --filter 'paid || created' --until-end
  thrust consume --topic orders --group copy --format raw --until-end")]
    Consume(consume::ConsumeArgs),
}

/// Runs a command to its exit code.
pub fn run(command: &OperateCommand) -> ExitCode {
    exit(work(command))
}

/// The same for commands on running brokers.
pub fn ask_brokers(command: &broker::BrokerCommand) -> ExitCode {
    exit(async { broker::run(command).await.map(|()| ExitCode::SUCCESS) })
}

/// Waits for the end of a command.
fn exit(work: impl Future<Output = Result<ExitCode, Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    ended(match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(cause) => Err(Failure::File { what: "start".to_owned(), cause }),
    })
}

async fn work(command: &OperateCommand) -> Result<ExitCode, Failure> {
    let done = match command {
        OperateCommand::Doctor(args) => return doctor::run(args).await,
        OperateCommand::Topic(command) => topic::run(command).await,
        OperateCommand::Group(command) => group::run(command).await,
        OperateCommand::Message(command) => message::run(command).await,
        OperateCommand::Cluster(command) => cluster::run(command).await,
        OperateCommand::Explain(command) => explain::run(command).await,
        OperateCommand::Context(command) => context::run(command).await,
        OperateCommand::Produce(args) => produce::run(args).await,
        OperateCommand::Consume(args) => consume::run(args).await,
    };
    done.map(|()| ExitCode::SUCCESS)
}
