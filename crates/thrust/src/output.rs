//! Lines on stdout. Whoever has stopped reading wants no more of them: the rest is not printed, and the work goes on.

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
