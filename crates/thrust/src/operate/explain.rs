//! `thrust explain`: the whole story of a message, a group or a topic in words, with what to do about it.

mod group;
mod message;
mod told;
mod topic;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::Failure;
use super::screen::{Colour, columns, harmless, painted, print, print_json};
use super::target::Target;
use super::words::wrapped;

/// Explain something.
#[derive(Debug, Subcommand)]
pub enum ExplainCommand {
    /// Tell the story of a message: where it is, since when, and what every group made of it.
    #[command(
        after_help = "Examples:\n  thrust explain message 7\n  thrust explain message 7 --topic orders --json"
    )]
    Message(MessageArgs),
    /// Tell how a group is doing: which queues it is behind in, and why.
    #[command(after_help = "Examples:\n  thrust explain group billing")]
    Group(GroupArgs),
    /// Tell what is in a topic, who has it and who reads it.
    #[command(after_help = "Examples:\n  thrust explain topic orders")]
    Topic(TopicArgs),
}

#[derive(Debug, Args)]
pub struct MessageArgs {
    /// Id of the message, of any form, or a key of it.
    id: String,
    /// Its topic [default: all are asked].
    #[arg(short, long)]
    topic: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct GroupArgs {
    /// Name of the group.
    group: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct TopicArgs {
    /// Name of the topic.
    topic: String,
    #[command(flatten)]
    target: Target,
}

pub async fn run(command: &ExplainCommand) -> Result<(), Failure> {
    match command {
        ExplainCommand::Message(args) => message::run(args).await,
        ExplainCommand::Group(args) => group::run(args).await,
        ExplainCommand::Topic(args) => topic::run(args).await,
    }
}

/// What is told: paragraphs, and what to do.
#[derive(Debug, Default)]
struct Story {
    paragraphs: Vec<String>,
    advice: Vec<String>,
}

impl Story {
    fn tell(&mut self, paragraph: impl Into<String>) {
        self.paragraphs.push(paragraph.into());
    }

    /// Something to do; told once however often it is said.
    fn advise(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.advice.contains(&what) {
            self.advice.push(what);
        }
    }

    /// Prints the story, or the facts with the story beside them.
    fn print(self, facts: Value, as_json: bool) -> Result<(), Failure> {
        if as_json {
            let mut value = facts;
            value["story"] = json!(self.paragraphs);
            value["advice"] = json!(self.advice);
            return print_json(&value);
        }
        let room = columns();
        let mut text = String::new();
        for paragraph in &self.paragraphs {
            text += &format!("{}\n", wrapped(&harmless(paragraph), room, 0));
        }
        if !self.advice.is_empty() {
            text += &format!("\n{}\n", painted("What to do", Colour::Bold));
            for advice in &self.advice {
                text += &format!("{}\n", wrapped(&harmless(&format!("- {advice}")), room, 2));
            }
        }
        print(&text)
    }
}
