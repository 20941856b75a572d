//! A bar on stderr for whoever waits at a terminal; nobody else sees anything of it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use ::store::examine::Progress;

const WIDTH: u64 = 32;
const BETWEEN: Duration = Duration::from_millis(100);

/// The bar of one piece of work.
pub struct Bar {
    what: &'static str,
    shown: bool,
    begun: Instant,
    last: Option<Instant>,
}

impl Bar {
    /// A bar that says what is being done.
    pub fn new(what: &'static str) -> Bar {
        Bar { what, shown: std::io::stderr().is_terminal(), begun: Instant::now(), last: None }
    }

    /// Shows how far it is.
    pub fn set(&mut self, progress: Progress) {
        let now = Instant::now();
        if !self.shown || self.last.is_some_and(|last| now - last < BETWEEN) {
            return;
        }
        self.last = Some(now);
        let line = line(self.what, progress, now - self.begun);
        // A terminal that is gone is no reason to stop.
        let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
    }

    /// Takes the bar away; tells how long it was there.
    pub fn end(self) -> Duration {
        if self.last.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        self.begun.elapsed()
    }
}

fn line(what: &str, Progress { done, total }: Progress, passed: Duration) -> String {
    let share = |of: u64| done.saturating_mul(of).checked_div(total).unwrap_or(of).min(of);
    let full = "#".repeat(share(WIDTH) as usize);
    let rate = (done as f64 / 1e6 / passed.as_secs_f64().max(1e-3)) as u64;
    format!(
        "{what} [{full:<32}] {:>3} %  {} of {} MB, {rate} MB/s",
        share(100),
        done / 1_000_000,
        total / 1_000_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_at_the_end_and_when_there_is_nothing_to_do() {
        let at = |done, total| line("verify", Progress { done, total }, Duration::from_secs(2));
        assert_eq!(at(0, 4_000_000), format!("verify [{}]   0 %  0 of 4 MB, 0 MB/s", " ".repeat(32)));
        assert_eq!(
            at(2_000_000, 4_000_000),
            format!("verify [{:<32}]  50 %  2 of 4 MB, 1 MB/s", "#".repeat(16))
        );
        assert!(at(4_000_000, 4_000_000).contains("100 %"));
        assert!(at(0, 0).contains("100 %"));
    }
}
