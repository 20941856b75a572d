//! What commands print, in words, tables, bars and JSON, for terminals and for pipes.
//!
//! `tell!` and `tell_part!` are for reports: whoever has stopped reading wants no more of them, so the rest is not
//! printed, and the work goes on. What must not be lost goes through [`screen`], which says that the reader is gone.

/// Prints a line.
macro_rules! tell {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        // Nobody reads any more.
        let _ = writeln!(std::io::stdout().lock(), $($part)*);
    }};
}

/// The same without an end of line.
macro_rules! tell_part {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        // Nobody reads any more.
        let _ = write!(std::io::stdout().lock(), $($part)*);
    }};
}

pub mod cells;
pub mod message;
pub mod progress;
pub mod screen;
pub mod table;
pub mod terminal;
pub mod words;
