//! What commands print: to stdout what was asked for, to stderr everything else.

use std::borrow::Cow;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use serde_json::Value;

use super::progress;
use super::table::Table;
use super::terminal::{Colour, columns, columns_of, fitted, harmless, painted, without_controls};
use super::words::wrapped;
use crate::failure::Failure;
use crate::moment::Times;

/// Letters of a line from which on tables have room for dates.
const WIDE: usize = 110;

/// Prints text as it is.
pub fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Prints a sentence as a line, on a terminal so that it fits.
pub fn print_line(line: &str) -> Result<(), Failure> {
    print(&format!("{}\n", fitted(line)))
}

/// Prints bytes as they are, and hands them over at once.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    progress::answered();
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::of_output)
}

/// Prints one JSON document over several lines.
pub fn print_json(value: &Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

/// Prints one JSON document as one line.
pub fn print_json_line(value: &Value) -> Result<(), Failure> {
    print(&format!("{value}\n"))
}

/// Prints a table, or `otherwise` when it has no rows. On a terminal it is made to fit, with bold headings.
pub fn print_table(table: &Table, otherwise: &str) -> Result<(), Failure> {
    if table.is_empty() {
        return print(&format!("{}\n", wrapped(otherwise, columns(), 0)));
    }
    let text = table.text_within(columns());
    match text.split_once('\n').filter(|_| table.has_room(columns())) {
        Some((headings, rows)) => print(&format!("{}\n{rows}", painted(headings, Colour::Bold))),
        None => print(&text),
    }
}

/// Says something on stderr.
pub fn say(what: &str) {
    let stream = std::io::stderr();
    let what = if stream.is_terminal() { Cow::from(without_controls(what)) } else { Cow::from(what) };
    let line = wrapped(&what, columns_of(&stream), 2);
    progress::beside(|| {
        // Nobody reads any more.
        let _ = writeln!(std::io::stderr(), "{line}");
    });
}

/// A moment for a table: in a narrow terminal its age alone.
pub fn cell_of_time(times: &Times, at_ms: i64) -> String {
    if columns() < WIDE { times.age_told(at_ms) } else { times.told(at_ms) }
}

/// Prints facts below each other, their names in one column.
pub fn print_facts(facts: &[(&str, String)]) -> Result<(), Failure> {
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        format!("{}\n", wrapped(&format!("{name:<width$}  {}", harmless(value)), columns(), width + 2))
    };
    print(&facts.iter().map(line).collect::<String>())
}

/// Asks, and gives what is answered; nothing where the input ends.
fn answer(question: &str) -> Option<String> {
    eprint!("{}", wrapped(question, columns_of(std::io::stderr()), 0));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if !answer.ends_with('\n') {
        // What is said next begins a line of its own.
        eprintln!();
    }
    read.is_ok().then(|| answer.trim().to_owned())
}

/// Goes on only with consent: that of `--yes`, or that of a person who reads what is going to happen.
pub fn consent(what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    // Who does not see the question cannot answer it.
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::Arguments(format!(
            "{what}; nothing was done, since nobody can be asked: add --yes"
        )));
    }
    match progress::beside(|| answer(&format!("{what}. Go on? [y/N] "))).as_deref() {
        Some("y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::Arguments("nothing was done".to_owned())),
    }
}

/// The exit code of a command that has come to its end; if it failed, stderr is told why.
pub fn ended(result: Result<ExitCode, Failure>) -> ExitCode {
    progress::end();
    match result {
        Ok(code) => code,
        Err(Failure::PipeClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("thrust: {}", failure.told()));
            failure.exit_code()
        }
    }
}
