//! `docs/commands.md`, written from the definitions of the commands so that it cannot lag behind them.

use std::fmt::Write;

use clap::{Arg, Command};

use super::fields;

const OPENING: &str = "\
# Commands

<!-- Written by `cargo run -p thrust -- commands > docs/commands.md`; a test compares. -->

Commands that speak to running servers work with Java servers of 4.9 and 5.x too. They print tables for people, and with
`--json` documents with stable fields for machines: fields are added, never renamed; `[]` stands for each of a list and
`*` for each name of a table. Times are local, with their zone and age; in JSON they are Unix milliseconds. A terminal
gets tables that fit it (rows line by line where columns cannot), colours (not with `NO_COLOR`), and after a second of
waiting a line that says what for; files and pipes get none of that. What would be lost is asked about, at a terminal.

| exit code | meaning |
|---|---|
| 0 | done; also when the reader of a pipe has closed it, unless `thrust produce` had more to send |
| 1 | failed, or done in part |
| 2 | wrong arguments, or no consent to what would be lost: `--yes` gives it in scripts |
| 3 | what was named is not there |
| 4 | nobody answered |

A server that cannot start ends with 1. `thrust store` has codes of its own: [store-tools.md](store-tools.md). So has
`thrust doctor`, for monitoring: 0 nothing is wrong, 1 there are warnings, 2 there are errors.

Where commands go: to the name servers of `-n`, or of the context that `--context` names; else to those of
`NAMESRV_ADDR`; else to those of the context that `thrust context use` chose; else to 127.0.0.1:9876. Requests are
signed with the keys of the context, or else with `THRUST_ACCESS_KEY` and `THRUST_SECRET_KEY` (and perhaps
`THRUST_SECURITY_TOKEN`) of the environment; no argument takes a secret, since every user of a machine can read
arguments. They are encrypted if the context names authorities to trust, or else `THRUST_TLS_CA` of the environment
does (with it perhaps `THRUST_TLS_SERVER_NAME`, `THRUST_TLS_CERTIFICATE` and `THRUST_TLS_KEY`).
";

/// The text of the page.
pub fn text(mut root: Command) -> String {
    root.build();
    let mut text = OPENING.to_owned();
    for command in root.get_subcommands().filter(|command| is_shown(command)) {
        section(command, "thrust", &mut text);
    }
    text
}

fn is_shown(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

fn section(command: &Command, before: &str, text: &mut String) {
    let name = format!("{before} {}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    // Writing to a text cannot fail.
    let _ = write!(text, "\n## {name}\n\n{about}.\n", about = about.trim_end_matches('.'));
    let own: Vec<&Arg> = command.get_arguments().filter(|arg| !is_everywhere(arg)).collect();
    if !own.is_empty() {
        text.push_str("\n| | |\n|---|---|\n");
        for arg in own {
            let _ = writeln!(text, "| `{}` | {} |", form(arg), meaning(arg));
        }
    }
    examples(command, text);
    json_fields(name.trim_start_matches("thrust "), text);
    for inner in command.get_subcommands().filter(|inner| is_shown(inner)) {
        section(inner, &name, text);
    }
}

/// Examples as they are in the help, and what stands below them.
fn examples(command: &Command, text: &mut String) {
    let Some(after) = command.get_after_help().map(ToString::to_string) else { return };
    let Some(rest) = after.strip_prefix("Examples:\n") else { return };
    let (lines, remark) = rest.split_once("\n\n").unwrap_or((rest, ""));
    let lines: Vec<&str> = lines.lines().map(str::trim).collect();
    let _ = write!(text, "\n```sh\n{}\n```\n", lines.join("\n"));
    if !remark.is_empty() {
        let _ = writeln!(text, "\n{}", remark.trim_end());
    }
}

fn json_fields(command: &str, text: &mut String) {
    let fields = fields::of(command);
    if fields.is_empty() {
        return;
    }
    text.push_str("\n| JSON | |\n|---|---|\n");
    for (path, meaning) in fields {
        let _ = writeln!(text, "| `{path}` | {meaning} |");
    }
}

fn is_everywhere(arg: &Arg) -> bool {
    arg.is_hide_set() || matches!(arg.get_id().as_str(), "help" | "version" | "log_format")
}

/// The argument as it is written.
fn form(arg: &Arg) -> String {
    let names: Vec<&str> = arg.get_value_names().into_iter().flatten().map(|name| name.as_str()).collect();
    let takes_values = arg.get_action().takes_values();
    let value = if takes_values { format!("<{}>", names.join(" ")) } else { String::new() };
    if arg.is_positional() {
        return value;
    }
    let short = arg.get_short().map(|letter| format!("-{letter}"));
    let long = arg.get_long().map(|word| format!("--{word}"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    format!("{} {value}", names.join(", ")).trim_end().to_owned()
}

fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
    let allowed = arg.get_possible_values();
    if arg.get_action().takes_values() && !allowed.is_empty() {
        let names: Vec<&str> = allowed.iter().map(|value| value.get_name()).collect();
        let _ = write!(text, "; one of {}", names.join(", "));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if arg.get_action().takes_values() && !defaults.is_empty() && !arg.is_hide_default_value_set() {
        let _ = write!(text, "; {} by default", defaults.join(" "));
    }
    text
}
