//! `thrust` as a process: started on free ports, spoken to over plain sockets, stopped or killed.
#![allow(dead_code, reason = "each test uses a part of this")]

pub mod socket;
pub mod stub;
pub mod terminal;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use assert_cmd::assert::Assert;
use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, kill_process};

#[allow(unused_imports, reason = "each test uses a part of this")]
pub use socket::Socket;
#[allow(unused_imports, reason = "each test uses a part of this")]
pub use stub::stub;

/// Longest wait for anything that must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running process; killed when it is dropped.
pub struct Thrust {
    pid: Pid,
    exit: Receiver<ExitStatus>,
    exited: Option<ExitStatus>,
    pub out: Lines,
    pub err: Lines,
    pub ready: Ready,
}

/// What the line on stdout says.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    pub line: String,
    pub nameserver: Option<SocketAddr>,
    pub broker: Option<SocketAddr>,
    pub fast: Option<SocketAddr>,
}

impl Ready {
    fn of(line: &str) -> Ready {
        let address = |name: &str| {
            let rest = &line[line.find(&format!("{name} "))? + name.len() + 1..];
            rest.split([',', ' ']).next()?.parse().ok()
        };
        let broker: Option<SocketAddr> = address("broker");
        let fast = line.split_once("(fast ").and_then(|(_, rest)| rest.split_once(')')?.0.parse().ok());
        let fast = broker.zip(fast).map(|(broker, port)| SocketAddr::new(broker.ip(), port));
        Ready { line: line.to_owned(), nameserver: address("nameserver"), broker, fast }
    }
}

impl Thrust {
    /// `thrust serve` on any free ports, with `data` and `more` arguments; ready when this returns.
    pub fn serve(data: &Path, more: &[&str]) -> Thrust {
        let data = data.to_str().unwrap();
        let free: &[&str] = if more.contains(&"--broker-port") { &[] } else { &["--broker-port", "0"] };
        Thrust::start(&[&["serve", "--data", data, "--nameserver-port", "0"], free, more].concat())
    }

    /// Runs the binary and waits for its line.
    pub fn start(args: &[&str]) -> Thrust {
        Thrust::start_with(command(args))
    }

    /// The same for a link to the binary, whose name counts.
    pub fn start_program(program: &Path, args: &[&str]) -> Thrust {
        Thrust::start_with(of_program(program, args))
    }

    /// The same with no more than `limit` files open at a time.
    pub fn start_with_open_files(limit: u64, args: &[&str]) -> Thrust {
        let plain = command(args);
        let mut limited = Command::new("sh");
        limited.arg("-c").arg(format!("ulimit -n {limit} && exec \"$0\" \"$@\""));
        limited.arg(plain.get_program()).args(plain.get_args());
        Thrust::start_with(piped(limited))
    }

    /// The same for a command that its caller has made.
    pub fn start_with(mut command: Command) -> Thrust {
        let mut child = command.spawn().unwrap();
        let out = Lines::of(child.stdout.take().unwrap());
        let err = Lines::of(child.stderr.take().unwrap());
        let pid = Pid::from_child(&child);
        let exit = wait(child);
        let mut thrust = Thrust { pid, exit, exited: None, out, err, ready: Ready::default() };
        let line = thrust.out.wait_for(|lines, ended| match lines.first() {
            Some(line) => Some(Some(line.clone())),
            None => ended.then_some(None),
        });
        let Some(line) = line else { panic!("it ended before it was ready:\n{}", thrust.err.text()) };
        thrust.ready = Ready::of(&line);
        thrust
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub fn broker(&self) -> SocketAddr {
        self.ready.broker.unwrap()
    }

    pub fn nameserver(&self) -> SocketAddr {
        self.ready.nameserver.unwrap()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits for the end.
    pub fn exit(&mut self) -> ExitStatus {
        match self.exited {
            Some(status) => status,
            None => {
                let status = self.exit.recv_timeout(PATIENCE).expect("the process ends");
                *self.exited.insert(status)
            }
        }
    }

    /// SIGTERM; it must end with 0. Gives the time it took.
    pub fn stop(&mut self) -> Duration {
        let since = Instant::now();
        self.signal(Signal::TERM);
        let status = self.exit();
        let took = since.elapsed();
        assert!(status.success(), "{status}:\n{}", self.err.text());
        took
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.exit();
    }
}

impl Drop for Thrust {
    fn drop(&mut self) {
        if self.exited.is_none() && self.exit.try_recv().is_err() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}

/// The binary with these arguments, which must end by itself.
pub fn thrust(args: &[&str]) -> assert_cmd::Command {
    ending(command(args))
}

/// The same for a link to the binary, whose name counts.
pub fn program(program: &Path, args: &[&str]) -> assert_cmd::Command {
    ending(of_program(program, args))
}

/// A command of any kind that must end by itself, and is killed if it does not.
pub fn ending(command: Command) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::from_std(command);
    command.timeout(PATIENCE);
    command
}

/// What a command has printed, without the last end of line.
pub fn printed(done: &Assert) -> String {
    text_of(&done.get_output().stdout)
}

/// What it has said on stderr, likewise.
pub fn said(done: &Assert) -> String {
    text_of(&done.get_output().stderr)
}

fn text_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}

pub fn command(args: &[&str]) -> Command {
    of_program(Path::new(env!("CARGO_BIN_EXE_thrust")), args)
}

fn of_program(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    piped(command)
}

pub fn piped(mut command: Command) -> Command {
    // Whatever the caller's shell says about logs, nameservers and keys must not change what is tested.
    for name in
        ["RUST_LOG", "NAMESRV_ADDR", "ROCKETMQ_HOME", "NO_COLOR", "THRUST_ACCESS_KEY", "THRUST_SECRET_KEY"]
    {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", "/nowhere");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn wait(mut child: Child) -> Receiver<ExitStatus> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(child.wait().unwrap()));
    receiver
}

/// Lines of a stream, as they come.
#[derive(Clone)]
pub struct Lines(Arc<(Mutex<Gathered>, Condvar)>);

#[derive(Default)]
struct Gathered {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Lines {
        let lines = Lines(Arc::default());
        let shared = lines.clone();
        std::thread::spawn(move || {
            let (read, changed) = &*shared.0;
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                read.lock().lines.push(line);
                changed.notify_all();
            }
            read.lock().ended = true;
            changed.notify_all();
        });
        lines
    }

    /// Waits until `look` finds something in the lines, which may have ended.
    pub fn wait_for<T>(&self, mut look: impl FnMut(&[String], bool) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let (read, changed) = &*self.0;
        let mut read = read.lock();
        loop {
            if let Some(found) = look(&read.lines, read.ended) {
                return found;
            }
            let timed_out = changed.wait_until(&mut read, deadline).timed_out();
            assert!(!timed_out, "it did not come:\n{}", read.lines.join("\n"));
        }
    }

    /// Waits for a line that contains all of `words`.
    pub fn hears(&self, words: &[&str]) -> String {
        self.wait_for(|lines, _| {
            lines.iter().find(|line| words.iter().all(|word| line.contains(word))).cloned()
        })
    }

    pub fn text(&self) -> String {
        self.0.0.lock().lines.join("\n")
    }
}

/// Looks again until the answer is yes.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
