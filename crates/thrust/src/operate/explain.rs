//! `thrust explain`: the whole story of a message, a group or a topic in words, with what to do about it.

mod group;
mod message;
mod story;
mod told;
mod topic;

use clap::Subcommand;

use crate::failure::Failure;

/// Explain something.
#[derive(Debug, Subcommand)]
pub enum ExplainCommand {
    /// Tell the story of a message: where it is, since when, and what every group made of it.
    #[command(
        after_help = "Examples:\n  thrust explain message 7\n  thrust explain message 7 --topic orders --json"
    )]
    Message(message::MessageArgs),
    /// Tell how a group is doing: which queues it is behind in, and why.
    #[command(after_help = "Examples:\n  thrust explain group billing")]
    Group(group::GroupArgs),
    /// Tell what is in a topic, who has it and who reads it.
    #[command(after_help = "Examples:\n  thrust explain topic orders")]
    Topic(topic::TopicArgs),
}

pub async fn run(command: &ExplainCommand) -> Result<(), Failure> {
    match command {
        ExplainCommand::Message(args) => message::run(args).await,
        ExplainCommand::Group(args) => group::run(args).await,
        ExplainCommand::Topic(args) => topic::run(args).await,
    }
}
