//! `thrust --help`: the commands by what they are for, each with the sentence of its definition. Pages, manuals and
//! completions come from the same definitions.

pub mod fields;
mod manual;
mod page;

use std::path::Path;
use std::process::ExitCode;

use clap::Command;

use crate::failure::Failure;
use crate::output::screen::{ended, print, print_bytes};
use crate::output::terminal::columns;
use crate::output::words::wrapped;

/// What commands are for, and their names.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Run servers", &["serve", "nameserver", "broker"]),
    ("Send and read", &["produce", "consume", "message"]),
    ("Administer", &["topic", "group", "cluster", "context"]),
    ("Find out why", &["explain", "doctor"]),
    ("Files and measurements", &["store", "bench"]),
    ("Habits and help", &["mqadmin", "completions", "man", "help"]),
];
/// Columns before the sentences.
const INDENT: usize = 15;
/// Lines are no longer than this, however wide the terminal is, as those that clap writes.
const COLUMNS_MAX: usize = 100;
/// As clap has its headings; it takes them away where no terminal is.
const HEADING: &str = "\x1b[1m\x1b[4m";
const PLAIN: &str = "\x1b[0m";

/// The command with a page of help that has its commands in groups.
pub fn grouped(root: Command) -> Command {
    let room = columns().min(COLUMNS_MAX);
    let groups: String = GROUPS.iter().map(|(title, names)| group(&root, title, names, room)).collect();
    let after = root.get_after_help().map(ToString::to_string).unwrap_or_default();
    let after = wrapped(&after, room, 0);
    root.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}{HEADING}Options:{PLAIN}\n{{options}}\n\n\
         {after}"
    ))
}

fn group(root: &Command, title: &str, names: &[&str], room: usize) -> String {
    let mut text = format!("{HEADING}{title}:{PLAIN}\n");
    for name in names {
        let about = match root.find_subcommand(name).and_then(Command::get_about) {
            Some(about) => about.to_string(),
            // What clap adds when it reads the line.
            None => "Print this page or that of a command".to_owned(),
        };
        text += &wrapped(&format!("  {name:<11}  {}", about.trim_end_matches('.')), room, INDENT);
        text.push('\n');
    }
    text + "\n"
}

/// Prints the page of all commands.
pub fn print_page(root: Command) -> ExitCode {
    ended_well(print(&page::text(root)))
}

/// Prints the manual page of `thrust`, or writes those of all commands into a directory.
pub fn print_manual(dir: Option<&Path>, root: Command) -> ExitCode {
    ended_well(manual::write(dir, root))
}

/// Prints what a shell needs to complete commands.
pub fn print_completions(shell: clap_complete::Shell, mut root: Command) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut root, "thrust", &mut script);
    ended_well(print_bytes(&script))
}

fn ended_well(result: Result<(), Failure>) -> ExitCode {
    ended(result.map(|()| ExitCode::SUCCESS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    #[test]
    fn every_command_is_in_one_group() {
        let root = crate::Cli::command();
        let shown = root.get_subcommands().filter(|command| !command.is_hide_set()).map(Command::get_name);
        let shown: BTreeSet<&str> = shown.chain(["help"]).collect();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(grouped.iter().copied().collect::<BTreeSet<_>>(), shown);
        assert_eq!(grouped.len(), shown.len(), "none is there twice");
    }

    #[test]
    fn the_page_has_headings_and_sentences_within_its_columns() {
        let text = group(&crate::Cli::command(), "Find out why", &["explain", "doctor"], 60);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("Find out why:"), "{text}");
        assert!(lines[1].starts_with("  explain      Tell the whole story"), "{text}");
        assert!(lines.iter().all(|line| line.len() <= 60), "{text}");
        assert!(lines[2].starts_with(&" ".repeat(INDENT)), "{text}");
    }
}
