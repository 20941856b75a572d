//! Commands that speak to running servers: topics, groups, sending and reading. They work with Java servers too.
//!
//! Tables for people, `--json` for machines. Exit codes: 0 done, 1 failed, 2 wrong arguments or no consent, 3 not
//! there, 4 nobody answered. A pipe that is closed by its reader is a quiet end.

pub mod broker;
mod cluster;
mod consume;
mod failure;
mod group;
mod message;
mod moment;
pub mod page;
mod produce;
mod screen;
mod target;
mod topic;

use std::process::ExitCode;

use clap::Subcommand;

use failure::Failure;

/// What can be asked of running servers.
#[derive(Debug, Subcommand)]
pub enum OperateCommand {
    /// Create topics, look at them, change them, delete them.
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Look at consumer groups, see how far they are behind, move them, delete them.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Find single messages and show them.
    #[command(subcommand)]
    Message(message::MessageCommand),
    /// Look at clusters: their brokers, what goes in and out.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Send messages: from arguments, a file or a pipe.
    Produce(produce::ProduceArgs),
    /// Read messages as a member of a consumer group.
    Consume(consume::ConsumeArgs),
}

/// Runs a command to its exit code.
pub fn run(command: &OperateCommand) -> ExitCode {
    exit(work(command))
}

/// The same for commands on running brokers.
pub fn ask_brokers(command: &broker::BrokerCommand) -> ExitCode {
    exit(broker::run(command))
}

/// Prints the page of all commands.
pub fn print_page(root: clap::Command) -> ExitCode {
    exit(async { screen::print(&page::text(root)) })
}

/// Prints what a shell needs to complete commands.
pub fn print_completions(shell: clap_complete::Shell, mut root: clap::Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut root, "thrust", &mut script);
    exit(async { screen::print_bytes(&script) })
}

fn exit(work: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(cause) => Err(Failure::File { what: "start".to_owned(), cause }),
    };
    match result {
        Ok(()) | Err(Failure::PipeClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("thrust: {failure}{}", failure.remedy());
            failure.exit_code()
        }
    }
}

async fn work(command: &OperateCommand) -> Result<(), Failure> {
    match command {
        OperateCommand::Topic(command) => topic::run(command).await,
        OperateCommand::Group(command) => group::run(command).await,
        OperateCommand::Message(command) => message::run(command).await,
        OperateCommand::Cluster(command) => cluster::run(command).await,
        OperateCommand::Produce(args) => produce::run(args).await,
        OperateCommand::Consume(args) => consume::run(args).await,
    }
}
