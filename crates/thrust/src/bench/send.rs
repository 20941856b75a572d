//! `thrust bench send`.

use wire::code::response;
use wire::frame::{self, Frame};
use wire::header::Dialect;

use std::time::{SystemTime, UNIX_EPOCH};

use super::admin::Target;
use super::answer::{self, Scanner};
use super::args::{Load, SendArgs};
use super::error::BenchError;
use super::lane::{Moment, Staged, Traffic};
use super::pace::Start;
use super::report::{Report, Setting};
use super::run::{self, Plan};
use super::slots::Slots;
use super::tally::{Tally, Window};
use super::template::{Ring, Shape, Template};

const INFLIGHT: u32 = 64;
/// Requests under way over all connections; bounds the memory of both sides.
const INFLIGHT_MAX: u64 = 1 << 20;

/// One round of sending.
pub fn run(args: &SendArgs, target: &Target, pids: &[u32]) -> Result<Report, BenchError> {
    let load = &args.load;
    let inflight = load.inflight.unwrap_or(INFLIGHT);
    check_inflight(load, inflight)?;
    let queues = match args.topics {
        1 => target.prepare_topic(&load.topic, load.queues, dialect(load))?,
        topics => target.prepare_topics(&load.topic, topics, load.queues, dialect(load))?,
    };
    let shape = Shape {
        topics: args.topics,
        batch: args.batch as usize,
        unique_key: !args.no_unique_key,
        wait: !args.no_wait,
        keyed: args.keyed,
        ..shape(load, queues)
    };
    if shape.size * shape.batch > frame::FRAME_MAX / 2 {
        return Err(BenchError::Arguments("--size times --batch may be 8 MiB at most".to_owned()));
    }
    let requests_per_second = args.rate.map(|rate| rate as f64 / f64::from(args.batch));
    let plan = Plan::of(load).at_rate(requests_per_second);
    let outcome = run::run(target, plan, pids, |conn, window| {
        SendTraffic::new(&shape, inflight, conn, plan.conns, window).paced(
            requests_per_second,
            conn,
            plan.conns,
        )
    })?;
    let setting =
        Setting { topics: args.topics, queues, inflight, batch: args.batch, rate: args.rate, consumers: 0 };
    Report::new(target, setting, &outcome)
}

/// Refuses more requests under way than both sides should hold.
pub fn check_inflight(load: &Load, inflight: u32) -> Result<(), BenchError> {
    if u64::from(inflight) * u64::from(load.conns) > INFLIGHT_MAX {
        return Err(BenchError::Arguments(format!("--conns times --inflight may be {INFLIGHT_MAX} at most")));
    }
    Ok(())
}

/// Where the unique keys of a connection begin.
fn first_key(conn: usize) -> u64 {
    // Milliseconds above a counter, as in keys of clients: rounds that follow each other never meet, since
    // no millisecond sees 65,536 messages.
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    (millis << 16) + conn as u64
}

pub fn dialect(load: &Load) -> Dialect {
    if load.binary { Dialect::Binary } else { Dialect::Json }
}

/// The message of this load, one a request.
pub fn shape(load: &Load, queues: u32) -> Shape {
    Shape {
        topic: load.topic.clone(),
        topics: 1,
        queues,
        size: load.size as usize,
        batch: 1,
        dialect: dialect(load),
        unique_key: true,
        wait: true,
        half: false,
        marked: false,
        keyed: false,
    }
}

/// Sends `count` messages as fast as it goes, for at most `plan.length`.
pub fn fill(shape: &Shape, target: &Target, plan: Plan, count: u64) -> Result<(), BenchError> {
    let share = count.div_ceil(plan.conns as u64);
    let outcome = run::run(target, plan, &[], |conn, window| SendTraffic {
        left: Some(share),
        ..SendTraffic::new(shape, INFLIGHT, conn, plan.conns, window)
    })?;
    Report::new(
        target,
        Setting { topics: 1, queues: shape.queues, inflight: INFLIGHT, batch: 1, rate: None, consumers: 0 },
        &outcome,
    )
    .map(|_| ())
}

/// Sends over one connection.
pub struct SendTraffic {
    slots: Slots,
    ring: Ring,
    scanner: Scanner,
    start: Start,
    until_ns: u64,
    topic: u32,
    topics: u32,
    queue: u32,
    queues: u32,
    keys: Keys,
    /// Requests left to send.
    left: Option<u64>,
    messages: u64,
    bytes: u64,
}

impl SendTraffic {
    pub fn new(shape: &Shape, inflight: u32, conn: usize, conns: usize, window: Window) -> SendTraffic {
        let inflight = inflight as usize;
        SendTraffic {
            slots: Slots::new(inflight),
            ring: Ring::new(Template::new(shape), inflight),
            scanner: Scanner::default(),
            start: Start::new(None, conn, conns, window.until_ns),
            until_ns: window.until_ns,
            topic: conn as u32 % shape.topics,
            topics: shape.topics,
            queue: conn as u32 % shape.queues,
            queues: shape.queues,
            keys: Keys::counted(conn, conns),
            left: None,
            messages: shape.batch as u64,
            bytes: (shape.batch * shape.size) as u64,
        }
    }

    /// By the clock, if there is a rate: requests a second of all `lanes`, of which this is one.
    pub fn paced(self, requests_per_second: Option<f64>, lane: usize, lanes: usize) -> SendTraffic {
        SendTraffic { start: Start::new(requests_per_second, lane, lanes, self.until_ns), ..self }
    }

    /// With keys that end in the moment from which each message counts, in nanoseconds of the run's clock.
    pub fn stamped(self) -> SendTraffic {
        SendTraffic { keys: Keys::Moments { last: 0 }, ..self }
    }

    /// Finds the request of an answer: its code, and since when the request counts.
    pub fn settle(&mut self, frame: &Frame<'_>) -> Result<(i32, u64), String> {
        let (code, opaque) = self.scanner.scan(frame).map_err(|error| error.to_string())?;
        let (_, since_ns) = self.slots.answered(opaque)?;
        Ok((code, since_ns))
    }
}

/// The numbers at the end of unique keys.
pub enum Keys {
    Counted {
        next: u64,
        stride: u64,
    },
    /// The moment, or a nanosecond more where one was given already.
    Moments {
        last: u64,
    },
}

impl Keys {
    /// Those of connection number `conn` among `conns`.
    pub fn counted(conn: usize, conns: usize) -> Keys {
        Keys::Counted { next: first_key(conn), stride: conns as u64 }
    }

    /// The number for a message that counts from `since_ns`.
    pub fn next(&mut self, since_ns: u64) -> u64 {
        match self {
            Keys::Counted { next, stride } => {
                *next += *stride;
                *next
            }
            Keys::Moments { last } => {
                *last = since_ns.max(*last + 1);
                *last
            }
        }
    }
}

impl Traffic for SendTraffic {
    fn offer(&mut self, moment: &Moment) {
        while self.left != Some(0) && self.slots.has_free() && !self.ring.is_full() {
            let Some(since_ns) = self.start.take(moment.now_ns) else { return };
            let Some((_, opaque)) = self.slots.take(since_ns) else { return };
            let keys = &mut self.keys;
            self.ring.stage(opaque, (self.topic, self.queue), &moment.born, || keys.next(since_ns));
            self.topic = (self.topic + 1) % self.topics;
            if self.topic == 0 {
                self.queue = (self.queue + 1) % self.queues;
            }
            self.left = self.left.map(|left| left - 1);
        }
    }

    fn staged(&mut self) -> &mut dyn Staged {
        &mut self.ring
    }

    fn answer(&mut self, frame: &Frame<'_>, now_ns: u64, tally: &mut Tally) -> Result<(), String> {
        let (code, since_ns) = self.settle(frame)?;
        if code == response::SUCCESS {
            let at_ns = self.start.moment_of(since_ns, now_ns);
            tally.success(at_ns, now_ns.saturating_sub(since_ns), self.messages, self.bytes);
        } else {
            tally.failure(code, || answer::remark(frame));
        }
        Ok(())
    }

    fn due_ns(&self) -> Option<u64> {
        (self.slots.has_free() && self.ring.outgoing().is_empty()).then(|| self.start.due_ns()).flatten()
    }

    fn slots(&self) -> &Slots {
        &self.slots
    }

    fn until_ns(&self) -> u64 {
        self.until_ns
    }

    fn exhausted(&self, now_ns: u64) -> bool {
        self.left == Some(0) || self.start.is_over(now_ns)
    }

    fn unsent(&self) -> u64 {
        self.start.left()
    }
}
