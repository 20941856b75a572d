//! One line on stderr for whoever waits at a terminal for more than a second; nobody else sees anything of it.
//!
//! A thread of its own writes the line, so that it is there too while a single step takes long.

use std::io::{IsTerminal, Write};
use std::sync::Once;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::terminal::columns_of;

/// Nobody waits yet.
const PATIENCE: Duration = Duration::from_secs(1);
const BETWEEN: Duration = Duration::from_millis(100);
const WIDTH: u64 = 24;

/// The line of this process: whoever waits, waits for one thing at a time.
static LINE: Mutex<Option<Line>> = Mutex::new(None);
/// Never notified: the painter wakes up by itself.
static TICK: Condvar = Condvar::new();
static PAINTER: Once = Once::new();

#[derive(Debug)]
struct Line {
    what: String,
    kind: Kind,
    begun: Instant,
    /// The terminal has it now.
    shown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An answer is waited for.
    Answer,
    /// Steps that are done, of so many if that is known.
    Steps {
        done: u64,
        total: Option<u64>,
    },
    Bytes {
        done: u64,
        total: u64,
    },
}

/// Says what is waited for until something is printed.
pub fn asks(servers: &str) {
    begin(format!("asking {servers}"), Kind::Answer);
}

/// Something is going to be printed: nobody waits for an answer any more.
pub fn answered() {
    let mut line = LINE.lock();
    if line.as_ref().is_some_and(|line| line.kind == Kind::Answer) {
        wipe(line.take());
    }
}

/// Takes the line away, whatever it says.
pub fn end() {
    wipe(LINE.lock().take());
}

/// Runs what writes to the terminal where the line would be; afterwards the line is shown again when its time comes.
pub fn beside<T>(write: impl FnOnce() -> T) -> T {
    let before = LINE.lock().take().map(|line| Line { shown: wiped(&line), ..line });
    let done = write();
    *LINE.lock() = before;
    done
}

/// The line of one piece of work, until this is dropped.
pub struct Bar {
    shown: bool,
    begun: Instant,
    /// What was there, and is again afterwards.
    before: Option<Line>,
}

impl Bar {
    /// A line that says what is being done.
    pub fn new(what: &str) -> Bar {
        Bar::begin(what, Kind::Steps { done: 0, total: None })
    }

    /// The same with as many steps as there will be.
    pub fn of(what: &str, total: u64) -> Bar {
        Bar::begin(what, Kind::Steps { done: 0, total: Some(total) })
    }

    /// The same for bytes that are read; [`Bar::set`] says how many.
    pub fn of_bytes(what: &str) -> Bar {
        Bar::begin(what, Kind::Bytes { done: 0, total: 0 })
    }

    /// For a command whose output goes to the same terminal as it comes: that is progress enough.
    pub fn beside_output(what: &str, total: Option<u64>) -> Bar {
        answered();
        match std::io::stdout().is_terminal() {
            true => Bar { shown: false, begun: Instant::now(), before: None },
            false => Bar::begin(what, Kind::Steps { done: 0, total }),
        }
    }

    fn begin(what: &str, kind: Kind) -> Bar {
        let (shown, before) = begin(what.to_owned(), kind);
        Bar { shown, begun: Instant::now(), before }
    }

    /// One more step is done.
    pub fn step(&mut self) {
        self.change(|kind| {
            if let Kind::Steps { done, .. } = kind {
                *done += 1;
            }
        });
    }

    /// So many bytes are done.
    pub fn set(&mut self, done: u64, total: u64) {
        self.change(|kind| *kind = Kind::Bytes { done, total });
    }

    fn change(&self, change: impl FnOnce(&mut Kind)) {
        if self.shown
            && let Some(line) = &mut *LINE.lock()
        {
            change(&mut line.kind);
        }
    }

    /// Takes the line away; tells how long the work took.
    pub fn end(self) -> Duration {
        self.begun.elapsed()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown {
            let mut line = LINE.lock();
            wipe(line.take());
            *line = self.before.take();
        }
    }
}

/// Gives whether somebody may see it, and what it replaces.
fn begin(what: String, kind: Kind) -> (bool, Option<Line>) {
    if !std::io::stderr().is_terminal() {
        return (false, None);
    }
    let begun = Line { what, kind, begun: Instant::now(), shown: false };
    let before = LINE.lock().replace(begun).map(|line| Line { shown: wiped(&line), ..line });
    PAINTER.call_once(|| {
        // Without the thread there is no line, and everything else goes on.
        let _ = std::thread::Builder::new().name("progress".to_owned()).spawn(paint);
    });
    (true, before)
}

fn paint() {
    let mut line = LINE.lock();
    loop {
        TICK.wait_for(&mut line, BETWEEN);
        let Some(line) = &mut *line else { continue };
        let passed = line.begun.elapsed();
        if passed < PATIENCE {
            continue;
        }
        // The last column stays free: some terminals begin a new line behind it.
        let room = columns_of(std::io::stderr()).saturating_sub(1);
        let text: String = line.text(passed).chars().take(room).collect();
        line.shown = true;
        // A terminal that is gone is no reason to stop.
        let _ = write!(std::io::stderr(), "\r{text}\x1b[K");
    }
}

fn wipe(line: Option<Line>) {
    line.as_ref().map(wiped);
}

/// Takes a line off the terminal: it is not shown any more.
fn wiped(line: &Line) -> bool {
    if line.shown {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    false
}

impl Line {
    fn text(&self, passed: Duration) -> String {
        let (what, seconds) = (&self.what, passed.as_secs_f64().max(1e-3));
        match self.kind {
            Kind::Answer => format!("{what}: {seconds:.0} s"),
            Kind::Steps { done, total: None } => format!("{what} {done}, {:.0}/s", done as f64 / seconds),
            Kind::Steps { done, total: Some(total) } => {
                format!("{what} {}  {done} of {total}, {:.0}/s", full(done, total), done as f64 / seconds)
            }
            Kind::Bytes { done, total } => {
                let mb = |bytes: u64| bytes / 1_000_000;
                let rate = done as f64 / 1e6 / seconds;
                format!("{what} {}  {} of {} MB, {rate:.0} MB/s", full(done, total), mb(done), mb(total))
            }
        }
    }
}

/// `[######      ]  50 %`
fn full(done: u64, total: u64) -> String {
    let share = |of: u64| done.saturating_mul(of).checked_div(total).unwrap_or(of).min(of);
    format!("[{:<24}] {:>3} %", "#".repeat(share(WIDTH) as usize), share(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(what: &str, kind: Kind) -> String {
        let line = Line { what: what.to_owned(), kind, begun: Instant::now(), shown: false };
        line.text(Duration::from_secs(2))
    }

    #[test]
    fn a_line_says_how_far_it_is_and_how_fast() {
        let steps = |done, total| text("sending", Kind::Steps { done, total });
        assert_eq!(steps(50, Some(200)), format!("sending [{:<24}]  25 %  50 of 200, 25/s", "######"));
        assert_eq!(steps(50, None), "sending 50, 25/s");
        assert!(steps(9, Some(0)).contains("100 %"));
        assert_eq!(text("asking a:1", Kind::Answer), "asking a:1: 2 s");
    }

    #[test]
    fn bytes_are_full_at_the_end_and_when_there_is_nothing_to_do() {
        let bytes = |done, total| text("verify", Kind::Bytes { done, total });
        assert_eq!(bytes(0, 4_000_000), format!("verify [{:<24}]   0 %  0 of 4 MB, 0 MB/s", ""));
        let half = format!("verify [{:<24}]  50 %  2 of 4 MB, 1 MB/s", "#".repeat(12));
        assert_eq!(bytes(2_000_000, 4_000_000), half);
        assert!(bytes(4_000_000, 4_000_000).contains("100 %") && bytes(0, 0).contains("100 %"));
    }
}
