//! The official administration tool's habits: `thrust mqadmin updateTopic -n … -t …`, or a link to the binary named
//! `mqadmin`, takes the lines of a runbook as they are and prints what `mqadmin` 5.5.0 prints.
//!
//! [`commands`] is the table: adding a command is one entry in its family's file. What differs from the official tool
//! is told in the entry, and from there in `docs/mqadmin.md`. Invariant: no command fails silently or with exit code
//! 0, and none asks a question, since runbooks have nobody to answer.

mod broker;
mod call;
mod cluster;
mod command;
mod export;
mod find;
mod group;
mod java;
mod line;
mod logical;
mod message;
mod names;
mod offsets;
mod page;
mod permissions;
mod progress;
mod refused;
mod rehearsal;
pub mod servers;
mod static_topic;
mod topic;

use std::process::ExitCode;

use crate::failure::did_you_mean;
use command::{Command, fail, say};
use line::LineError;
use refused::REFUSED;

/// All commands that are offered, family by family.
fn commands() -> impl Iterator<Item = (&'static str, &'static Command)> {
    let families = [
        ("Topics and routes", topic::COMMANDS),
        ("Topics and routes", static_topic::COMMANDS),
        ("Groups, producers, consumers", group::COMMANDS),
        ("Groups, producers, consumers", progress::COMMANDS),
        ("Brokers, clusters, statistics", broker::COMMANDS),
        ("Brokers, clusters, statistics", cluster::COMMANDS),
        ("Name servers", names::COMMANDS),
        ("Messages", find::COMMANDS),
        ("Messages", message::COMMANDS),
        ("Messages", rehearsal::COMMANDS),
        ("Offsets", offsets::COMMANDS),
        ("Export", export::COMMANDS),
        ("Users and permissions", permissions::COMMANDS),
    ];
    families.into_iter().flat_map(|(family, commands)| commands.iter().map(move |command| (family, command)))
}

fn find_command(name: &str) -> Option<&'static Command> {
    commands().map(|(_, command)| command).find(|command| command.name.eq_ignore_ascii_case(name))
}

/// Runs the words behind `mqadmin` to an exit code.
pub fn run(words: &[String]) -> ExitCode {
    let Some((name, rest)) = words.split_first() else { return say(&list()) };
    let (name, rest, help) = match (name.as_str(), rest) {
        ("-h" | "--help" | "help", []) => return say(&list()),
        ("help", [name, ..]) => (name, &[][..], true),
        _ => (name, rest, false),
    };
    if name == "page" && rest.is_empty() {
        return say(&page::text(commands()));
    }
    let Some(command) = find_command(name) else {
        return fail(&absent(name), 3);
    };
    let program = format!("mqadmin {}", command.name);
    if help {
        return say(&line::usage(&program, command.flags));
    }
    match line::parse(command.flags, rest) {
        Ok(line) => command.perform(line),
        Err(LineError::Help) => say(&line::usage(&program, command.flags)),
        Err(error) => {
            // Both where the official tool puts them.
            eprintln!("{error}");
            say(&line::usage(&program, command.flags));
            ExitCode::from(1)
        }
    }
}

/// Why there is no such command.
fn absent(name: &str) -> String {
    if let Some((name, why)) = REFUSED.iter().find(|(refused, _)| refused.eq_ignore_ascii_case(name)) {
        return format!("mqadmin: {name} is not offered: {why}");
    }
    let hint = did_you_mean(name, commands().map(|(_, command)| command.name));
    format!("The sub command {name} not exist.{hint}")
}

/// The list of all commands.
fn list() -> String {
    let mut text = "The most commonly used mqadmin commands are:\n".to_owned();
    for (_, command) in commands() {
        text += &format!("   {:<35} {}\n", command.name, command.about);
    }
    text += "\nNot offered, and why:\n";
    for (name, why) in REFUSED {
        text += &format!("   {name:<35} {why}\n");
    }
    text + "\nSee 'mqadmin help <command>' for more information on a specific command.\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Names of all subcommands of the official tool 5.5.0, as its own list gives them.
    const OFFICIAL: &str = include_str!("mqadmin/layouts/official.txt");

    #[test]
    fn every_official_command_is_offered_or_has_a_reason_why_not() {
        let official: BTreeSet<&str> =
            OFFICIAL.lines().map(|line| line.split(' ').next().unwrap_or("")).collect();
        let offered: Vec<&str> = commands().map(|(_, command)| command.name).collect();
        let all = offered.iter().copied().chain(REFUSED.iter().map(|(name, _)| *name));
        assert_eq!(all.clone().collect::<BTreeSet<_>>(), official);
        assert_eq!(all.count(), official.len(), "none is there twice");
        assert!(offered.len() >= 77, "{}", offered.len());
    }

    #[test]
    fn flags_are_those_of_the_official_tool() {
        for row in OFFICIAL.lines() {
            let (name, flags) = row.split_once(' ').unwrap_or((row, ""));
            let Some(command) = find_command(name) else { continue };
            let told = command.flags.iter().map(|flag| {
                let value = if flag.takes_value { "=" } else { "" };
                let must = if flag.required {
                    "!"
                } else if flag.group.is_some() {
                    "?"
                } else {
                    ""
                };
                format!("{}/{}{value}{must}", flag.letter, flag.word)
            });
            assert_eq!(
                told.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" "),
                flags,
                "{name}"
            );
        }
    }

    #[test]
    fn names_match_in_any_case_and_wrong_ones_are_told() {
        assert_eq!(find_command("TOPICROUTE").map(|command| command.name), Some("topicRoute"));
        assert_eq!(
            absent("topicRouet"),
            "The sub command topicRouet not exist. (did you mean \"topicRoute\"?)"
        );
        assert!(absent("electmaster").starts_with("mqadmin: electMaster is not offered: "));
    }
}
