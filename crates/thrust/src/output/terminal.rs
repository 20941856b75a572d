//! What a terminal can show: how wide it is, whether it has colours, and what must not reach it.

use std::borrow::Cow;
use std::io::IsTerminal;

use super::words::wrapped;

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

/// Text that somebody else has written, without what a terminal would act on; into a file or a pipe it goes as it is.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if std::io::stdout().is_terminal() { without_controls(text).into() } else { text.into() }
}

/// The same wherever it goes.
pub fn without_controls(text: &str) -> String {
    let is_harmless = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\t');
    text.chars().map(|letter| if is_harmless(letter) { letter } else { '.' }).collect()
}

fn is_coloured() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_do_nothing_to_the_terminal() {
        assert_eq!(without_controls("gr\u{fc}\u{df}e\x1b[2J\tx\n\0"), "gr\u{fc}\u{df}e.[2J\tx\n.");
    }
}
