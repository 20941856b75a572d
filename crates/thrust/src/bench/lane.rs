//! One thread of the generator: some connections, one `poll` for all of them.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use wire::frame::{Frame, FrameError};

use super::answer::Inbox;
use super::error::BenchError;
use super::live::{Live, Told};
use super::slots::Slots;
use super::tally::{Tally, Window};

/// Digits of a birth time in milliseconds; holds until the year 2286.
pub const BORN_DIGITS: usize = 13;
/// Time for the last answers after the window, in nanoseconds.
const DRAIN_NS: u64 = 5_000_000_000;
/// Time within which a server must have answered something.
const SILENCE_NS: u64 = 5_000_000_000;
/// Longest wait in `poll`: how late another thread's failure may be noticed.
const WAIT_MAX_NS: u64 = 100_000_000;

/// What goes over one connection.
pub trait Traffic: Send {
    /// Stages the requests that may go out now. Called again after each write until nothing is outgoing.
    fn offer(&mut self, moment: &Moment);
    /// Where `offer` stages.
    fn staged(&mut self) -> &mut dyn Staged;
    /// An answer came. An error text means that it makes no sense.
    fn answer(&mut self, frame: &Frame<'_>, now_ns: u64, tally: &mut Tally) -> Result<(), String>;
    /// Requests without an answer.
    fn slots(&self) -> &Slots;
    /// End of the window, when nothing more is offered.
    fn until_ns(&self) -> u64;
    /// When the next request is due, for traffic that runs by the clock and has room for one.
    fn due_ns(&self) -> Option<u64> {
        None
    }
    /// Whether it will offer nothing from `now_ns` on.
    fn exhausted(&self, now_ns: u64) -> bool {
        now_ns >= self.until_ns()
    }
    /// Requests that were due and could not be sent.
    fn unsent(&self) -> u64 {
        0
    }
    /// Whether the run need not wait for this connection any longer.
    fn is_done(&mut self, now_ns: u64) -> bool {
        self.slots().taken() == 0 && self.exhausted(now_ns)
    }
    /// Requests that were left without an answer when the run's patience ended.
    fn unanswered(&self) -> u64 {
        self.slots().taken() as u64 + self.unsent()
    }
}

/// Requests in the bytes that go over the wire.
pub trait Staged {
    /// What is not written yet.
    fn outgoing(&self) -> &[u8];
    /// The first `count` bytes of it were.
    fn written(&mut self, count: usize);
}

/// Requests one behind the other; the buffer is used again when all of it is written.
#[derive(Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    /// Where the next request is appended.
    pub fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Staged for Outbox {
    fn outgoing(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    fn written(&mut self, count: usize) {
        self.written += count;
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        }
    }
}

/// A connection with its traffic.
pub struct Lane<T> {
    pub addr: String,
    pub traffic: T,
    inbox: Inbox,
}

impl<T: Traffic> Lane<T> {
    pub fn new(addr: String, traffic: T) -> Lane<T> {
        Lane { addr, traffic, inbox: Inbox::new() }
    }

    fn under_way(&self) -> usize {
        self.traffic.slots().taken()
    }
}

/// The run's clock: nanoseconds since its start, and the wall clock's milliseconds as digits.
pub struct Moment {
    start: Instant,
    pub now_ns: u64,
    pub born: [u8; BORN_DIGITS],
    born_at_ns: u64,
}

impl Moment {
    pub fn new(start: Instant) -> Moment {
        let mut moment = Moment { start, now_ns: 0, born: [b'0'; BORN_DIGITS], born_at_ns: 0 };
        moment.read_wall_clock();
        moment
    }

    fn update(&mut self) {
        self.now_ns = self.start.elapsed().as_nanos() as u64;
        if self.now_ns - self.born_at_ns >= 1_000_000 {
            self.read_wall_clock();
        }
    }

    fn read_wall_clock(&mut self) {
        self.born_at_ns = self.now_ns;
        let mut millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        for digit in self.born.iter_mut().rev() {
            *digit = b'0' + (millis % 10) as u8;
            millis /= 10;
        }
    }
}

/// What all threads of a round know.
pub struct Round<'a> {
    pub start: Instant,
    pub window: Window,
    /// Raised when a thread has failed: the others end too.
    pub stop: &'a AtomicBool,
    /// Where a person is shown what goes on.
    pub live: Option<&'a Live>,
    /// What becomes due and what is answered waits for so long after each look at all lanes.
    pub gather: Duration,
}

impl Round<'_> {
    /// Drives the lanes of one thread until the window is over and the last answers are in.
    pub fn drive<T: Traffic>(
        &self,
        streams: &[TcpStream],
        lanes: &mut [Lane<T>],
    ) -> Result<Tally, BenchError> {
        let mut tally = Tally::new(self.window);
        let mut told = Told::new();
        let mut moment = Moment::new(self.start);
        let mut polled: Vec<PollFd<'_>> =
            streams.iter().map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
        moment.update();
        for at in 0..lanes.len() {
            polled[at] = pump(&streams[at], &mut lanes[at], &moment)?;
        }
        let gather_ns = self.gather.as_nanos() as u64;
        let mut looked_ns = 0;
        let mut silence = Silence::default();
        loop {
            moment.update();
            rest_until(looked_ns + gather_ns, &mut moment);
            looked_ns = moment.now_ns;
            if let Some(live) = self.live {
                live.tell(&mut told, moment.now_ns, &mut tally);
            }
            if all_done(lanes, moment.now_ns) || self.stop.load(Ordering::Relaxed) {
                break;
            }
            silence.check(lanes, &tally, moment.now_ns)?;
            if moment.now_ns > self.window.until_ns + DRAIN_NS {
                tally.unanswered = lanes.iter().map(|lane| lane.traffic.unanswered()).sum();
                break;
            }
            let due_ns = lanes.iter().filter_map(|lane| lane.traffic.due_ns()).min();
            let wait_ns = due_ns.unwrap_or(u64::MAX).saturating_sub(moment.now_ns).min(WAIT_MAX_NS);
            wait(&mut polled, wait_ns, &lanes[0].addr)?;
            for at in 0..lanes.len() {
                let ready = polled[at].revents();
                if ready.is_empty() && due_ns.is_none() {
                    continue;
                }
                moment.update();
                if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    receive(&streams[at], &mut lanes[at], moment.now_ns, &mut tally)?;
                }
                polled[at] = pump(&streams[at], &mut lanes[at], &moment)?;
            }
        }
        Ok(tally)
    }
}

/// Since when a server owes its first answer.
#[derive(Default)]
struct Silence {
    asked_ns: Option<u64>,
}

impl Silence {
    /// Ends the run when nothing has come for too long.
    fn check<T: Traffic>(&mut self, lanes: &[Lane<T>], tally: &Tally, now_ns: u64) -> Result<(), BenchError> {
        if self.asked_ns.is_none() && lanes.iter().any(|lane| lane.under_way() > 0) {
            self.asked_ns = Some(now_ns);
        }
        if tally.answers == 0 && self.asked_ns.is_some_and(|asked_ns| now_ns > asked_ns + SILENCE_NS) {
            let (addr, seconds) = (lanes[0].addr.clone(), SILENCE_NS / 1_000_000_000);
            return Err(BenchError::Silent { addr, seconds });
        }
        Ok(())
    }
}

fn rest_until(until_ns: u64, moment: &mut Moment) {
    if moment.now_ns < until_ns {
        #[expect(clippy::disallowed_methods, reason = "a thread of the generator, which serves nobody else")]
        std::thread::sleep(Duration::from_nanos(until_ns - moment.now_ns));
        moment.update();
    }
}

/// Whether all are done. Each is asked, not just those before the first that goes on: they may count on it.
fn all_done<T: Traffic>(lanes: &mut [Lane<T>], now_ns: u64) -> bool {
    lanes.iter_mut().fold(true, |done, lane| lane.traffic.is_done(now_ns) & done)
}

fn wait(polled: &mut [PollFd<'_>], nanos: u64, addr: &str) -> Result<(), BenchError> {
    let timeout = Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as _ };
    match poll(polled, Some(&timeout)) {
        Ok(_) => Ok(()),
        Err(Errno::INTR) => {
            polled.iter_mut().for_each(PollFd::clear_revents);
            Ok(())
        }
        Err(cause) => {
            Err(BenchError::Io { addr: addr.to_owned(), doing: "cannot wait", cause: cause.into() })
        }
    }
}

/// Stages and writes until there is nothing to stage or the socket is full; says what to wait for next.
fn pump<'s, T: Traffic>(
    mut stream: &'s TcpStream,
    lane: &mut Lane<T>,
    moment: &Moment,
) -> Result<PollFd<'s>, BenchError> {
    let interest = loop {
        lane.traffic.offer(moment);
        let staged = lane.traffic.staged();
        if staged.outgoing().is_empty() {
            break PollFlags::IN;
        }
        match stream.write(staged.outgoing()) {
            Ok(count) => staged.written(count),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break PollFlags::IN | PollFlags::OUT,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => {
                return Err(BenchError::Io { addr: lane.addr.clone(), doing: "cannot send", cause });
            }
        }
    };
    Ok(PollFd::new(stream, interest))
}

fn receive<T: Traffic>(
    stream: &TcpStream,
    lane: &mut Lane<T>,
    now_ns: u64,
    tally: &mut Tally,
) -> Result<(), BenchError> {
    match lane.inbox.read(stream) {
        Ok(0) => return Err(BenchError::Closed { addr: lane.addr.clone(), answers: tally.answers }),
        Ok(_) => {}
        Err(cause) if matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            return Ok(());
        }
        Err(cause) => return Err(BenchError::Io { addr: lane.addr.clone(), doing: "cannot receive", cause }),
    }
    let traffic = &mut lane.traffic;
    let outcome = lane.inbox.frames(|frame| traffic.answer(frame, now_ns, tally).map_err(Nonsense));
    outcome.map_err(|Nonsense(cause)| BenchError::Malformed { addr: lane.addr.clone(), cause })
}

struct Nonsense(String);

impl From<FrameError> for Nonsense {
    fn from(error: FrameError) -> Nonsense {
        Nonsense(error.to_string())
    }
}
