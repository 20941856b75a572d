//! A terminal of some width, as commands see it that people type.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::PATIENCE;

/// What a person has seen, and how it ended.
pub struct Seen {
    /// With everything that moves the cursor or colours letters.
    pub raw: String,
    pub status: ExitStatus,
}

impl Seen {
    /// Lines as they look, without those that were wiped away.
    pub fn lines(&self) -> Vec<String> {
        self.raw
            .lines()
            .map(|line| without_colours(line.rsplit("\x1b[K").next().unwrap_or_default()))
            .collect()
    }
}

/// Runs a command at a terminal with so many columns, at which somebody has typed something.
pub fn run(mut command: Command, columns: u16, typed: &[u8]) -> Seen {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let side = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    tcsetwinsize(&side, Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    // Typed letters would show up at any time among those of the command.
    let mut modes = tcgetattr(&side).unwrap();
    modes.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&side, OptionalActions::Now, &modes).unwrap();
    let side = File::from(side);
    let stream = || Stdio::from(side.try_clone().unwrap());
    command.stdin(stream()).stdout(stream()).stderr(stream());
    let mut child = command.spawn().unwrap();
    // The terminal ends when nobody has the other side any more.
    drop((command, side));
    let mut terminal = File::from(terminal);
    terminal.write_all(typed).unwrap();
    let reader = std::thread::spawn(move || {
        let (mut seen, mut some) = (Vec::new(), [0; 4096]);
        while let Ok(read @ 1..) = terminal.read(&mut some) {
            seen.extend_from_slice(&some[..read]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    });
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::park_timeout(Duration::from_millis(10)),
            None => {
                child.kill().unwrap();
                break child.wait().unwrap();
            }
        }
    };
    Seen { raw: reader.join().unwrap().replace("\r\n", "\n"), status }
}

/// Without what stands between an escape and an `m`.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    first + &parts.map(|part| part.split_once('m').map_or("", |(_, rest)| rest)).collect::<String>()
}
