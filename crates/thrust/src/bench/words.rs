//! Numbers as people read them.

use crate::output::words::grouped;

/// A number with its thousands set apart and nothing behind the point.
pub fn thousands(value: f64) -> String {
    grouped(format_args!("{value:.0}"))
}

/// A time in the unit that suits it, with three digits or so.
pub fn time(micros: f64) -> String {
    match micros {
        us if us < 10.0 => format!("{us:.2} us"),
        us if us < 1000.0 => format!("{us:.0} us"),
        us if us < 10_000.0 => format!("{:.2} ms", us / 1e3),
        us if us < 1_000_000.0 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"].map(str::to_owned),
            [0.0, 999.4, 1000.0, 1_234_567.0].map(thousands)
        );
        assert_eq!(time(0.312), "0.31 us");
        assert_eq!(time(189.2), "189 us");
        assert_eq!(time(3_500.0), "3.50 ms");
        assert_eq!(time(25_000.0), "25.0 ms");
        assert_eq!(time(2_500_000.0), "2.50 s");
    }
}
