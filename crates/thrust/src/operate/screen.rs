//! What commands print: to stdout what was asked for, to stderr everything else.

use std::borrow::Cow;
use std::io::{BufRead, IsTerminal, Write};

use serde_json::Value;

use super::failure::Failure;
use super::moment::Times;
use super::words::wrapped;
use crate::progress;
use crate::table::Table;

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

/// How a word stands out on a terminal.
#[derive(Debug, Clone, Copy)]
pub enum Colour {
    Bold,
    Green,
    Yellow,
    Red,
}

/// A text in a colour, where there are colours.
pub fn painted(text: &str, colour: Colour) -> String {
    let code = match colour {
        Colour::Bold => 1,
        Colour::Red => 31,
        Colour::Green => 32,
        Colour::Yellow => 33,
    };
    if is_coloured() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Letters that fit into a line; without end where no terminal is.
pub fn columns() -> usize {
    columns_of(std::io::stdout())
}

/// The same for any stream.
pub fn columns_of(stream: impl std::os::fd::AsFd) -> usize {
    match rustix::termios::tcgetwinsize(stream) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => usize::MAX,
    }
}

/// A line of text, wrapped where the terminal is narrower; what follows is indented.
pub fn fitted(line: &str) -> String {
    wrapped(line, columns(), 2)
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

/// Text that somebody else has written, without what a terminal would act on; into a file or a pipe it goes as it is.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if std::io::stdout().is_terminal() { without_controls(text).into() } else { text.into() }
}

fn without_controls(text: &str) -> String {
    let is_harmless = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\t');
    text.chars().map(|letter| if is_harmless(letter) { letter } else { '.' }).collect()
}

fn is_coloured() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_do_nothing_to_the_terminal() {
        assert_eq!(without_controls("gr\u{fc}\u{df}e\x1b[2J\tx\n\0"), "gr\u{fc}\u{df}e.[2J\tx\n.");
    }
}
