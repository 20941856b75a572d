//! A line on stderr for whoever waits at a terminal for more than a second; nobody else sees anything of it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Nobody waits yet.
const PATIENCE: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(100);
const WIDTH: u64 = 24;

/// The line of one piece of work.
pub struct Bar {
    what: &'static str,
    /// Steps in all, if that is known.
    total: Option<u64>,
    done: u64,
    shown: bool,
    begun: Instant,
    last: Option<Instant>,
}

impl Bar {
    /// A line that says what is being done.
    pub fn new(what: &'static str) -> Bar {
        let shown = std::io::stderr().is_terminal();
        Bar { what, total: None, done: 0, shown, begun: Instant::now(), last: None }
    }

    /// The same with as many steps as there will be.
    pub fn of(what: &'static str, total: u64) -> Bar {
        Bar { total: Some(total), ..Bar::new(what) }
    }

    /// The same for a command whose output goes to the same terminal as it comes: that is progress enough.
    pub fn beside_output(what: &'static str, total: Option<u64>) -> Bar {
        let bar = Bar { total, ..Bar::new(what) };
        Bar { shown: bar.shown && !std::io::stdout().is_terminal(), ..bar }
    }

    /// One more step is done.
    pub fn step(&mut self) {
        self.done += 1;
        if !self.shown {
            return;
        }
        let now = Instant::now();
        let is_early = now - self.begun < PATIENCE || self.last.is_some_and(|last| now - last < BETWEEN);
        if is_early {
            return;
        }
        self.last = Some(now);
        let line = line(self.what, self.done, self.total, now - self.begun);
        // A terminal that is gone is no reason to stop.
        let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
    }

    /// Takes the line away.
    pub fn end(self) {}
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.last.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(what: &str, done: u64, total: Option<u64>, passed: Duration) -> String {
    let rate = (done as f64 / passed.as_secs_f64().max(1e-3)) as u64;
    match total {
        Some(total) => {
            let share = |of: u64| done.saturating_mul(of).checked_div(total).unwrap_or(of).min(of);
            let full = "#".repeat(share(WIDTH) as usize);
            format!("{what} [{full:<24}] {:>3} %  {done} of {total}, {rate}/s", share(100))
        }
        None => format!("{what} {done}, {rate}/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_how_fast() {
        let passed = Duration::from_secs(2);
        assert_eq!(
            line("sending", 50, Some(200), passed),
            format!("sending [{:<24}]  25 %  50 of 200, 25/s", "######")
        );
        assert_eq!(line("reading", 50, None, passed), "reading 50, 25/s");
        assert!(line("sending", 9, Some(0), Duration::ZERO).contains("100 %"));
    }
}
