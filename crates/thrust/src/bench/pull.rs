//! `thrust bench pull`.

use std::time::{Duration, Instant};

use wire::code::{request, response};
use wire::frame::Frame;
use wire::header::{Dialect, FrameWriter, Head};
use wire::pull_flag::SUBSCRIPTION;
use wire::record::Record;

use super::admin::{Client, Target};
use super::answer;
use super::args::{DEFAULT_TOPIC, Load, PullArgs};
use super::error::BenchError;
use super::lane::{Moment, Outbox, Staged, Traffic};
use super::pace::Start;
use super::report::{Report, Setting};
use super::run::{self, Plan};
use super::send;
use super::slots::Slots;
use super::tally::{Tally, Window};
use super::template::Shape;

const INFLIGHT: u32 = 1;
pub const GROUP: &str = "thrust_bench_consumer";
const FILL_TIMEOUT: Duration = Duration::from_secs(300);
/// Time for what was sent to show up in the queues.
const DISPATCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Messages that a queue held when the round began.
#[derive(Debug, Clone, Copy)]
pub struct Backlog {
    queue: u32,
    min: u64,
    max: u64,
}

/// One round of pulling.
pub fn run(args: &PullArgs, target: &Target, pids: &[u32]) -> Result<Report, BenchError> {
    let load = &args.load;
    let broker = target.only_broker(&load.topic)?;
    let inflight = load.inflight.unwrap_or(INFLIGHT);
    let dialect = send::dialect(load);
    let queues = target.prepare_topic(&load.topic, load.queues, dialect)?;
    let plan = Plan::of(load);
    let mut backlogs = filled(load, args.fill, target, broker, queues, plan)?;
    backlogs.retain(|backlog| backlog.max > backlog.min);
    let (expression, kind) = match (&args.tags, &args.sql) {
        (_, Some(sql)) => (sql.as_str(), "SQL92"),
        (tags, None) => (tags.as_deref().unwrap_or("*"), "TAG"),
    };
    let (topic, batch, expression) = (load.topic.clone(), args.batch, expression.to_owned());
    let shape = PullShape { topic, dialect, batch, expression, kind };
    let requests_per_second = args.rate.map(|rate| rate as f64 / f64::from(args.batch));
    let outcome = run::run(target, plan, pids, |conn, window| {
        let start = Start::new(requests_per_second, conn, plan.conns, window.until_ns);
        let cursors = cursors(&backlogs, conn, plan.conns, inflight as usize);
        PullTraffic::new(shape.clone(), cursors, start, window)
    })?;
    let setting = Setting { topics: 1, queues, inflight, batch: args.batch, rate: args.rate, consumers: 0 };
    Report::new(target, setting, &outcome)
}

/// Sees to it that the topic holds as many messages as are wanted.
pub fn filled(
    load: &Load,
    wanted: u64,
    target: &Target,
    broker: &str,
    queues: u32,
    plan: Plan,
) -> Result<Vec<Backlog>, BenchError> {
    let mut client = Client::connect(broker, send::dialect(load))?;
    let backlogs = backlogs(&mut client, &load.topic, queues)?;
    let missing = wanted.saturating_sub(messages(&backlogs));
    if missing == 0 {
        return Ok(backlogs);
    }
    let topic = &load.topic;
    if topic != DEFAULT_TOPIC && !load.yes {
        return Err(BenchError::Arguments(format!(
            "topic {topic} on {target} has {missing} messages too few; nothing was sent, since the topic may be somebody \
             else's: a smaller --fill takes what is there, and --yes sends what is missing"
        )));
    }
    eprintln!("note: sending {missing} messages to {target} first");
    let filling = Plan { warmup: Duration::ZERO, length: FILL_TIMEOUT, live: false, ..plan };
    send::fill(&Shape { marked: true, ..send::shape(load, queues) }, target, filling, missing)?;
    wait_for(&mut client, &load.topic, wanted, queues)
}

fn backlogs(client: &mut Client, topic: &str, queues: u32) -> Result<Vec<Backlog>, BenchError> {
    (0..queues)
        .map(|queue| client.queue_range(topic, queue).map(|(min, max)| Backlog { queue, min, max }))
        .collect()
}

fn messages(backlogs: &[Backlog]) -> u64 {
    backlogs.iter().map(|backlog| backlog.max.saturating_sub(backlog.min)).sum()
}

/// Waits until the queues show what was sent: brokers may build them behind the log.
fn wait_for(client: &mut Client, topic: &str, wanted: u64, queues: u32) -> Result<Vec<Backlog>, BenchError> {
    let deadline = Instant::now() + DISPATCH_TIMEOUT;
    loop {
        let now = backlogs(client, topic, queues)?;
        let found = messages(&now);
        if found >= wanted {
            return Ok(now);
        }
        if Instant::now() >= deadline {
            return Err(BenchError::Backlog {
                addr: client.addr().to_owned(),
                topic: topic.to_owned(),
                found,
                wanted,
            });
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Shares the queues among all the requests under way of all connections.
///
/// Each request under way walks its own queues. With fewer queues than requests several walk one queue, each
/// starting at another place, so that they do not read the same pages in step.
fn cursors(backlogs: &[Backlog], conn: usize, conns: usize, inflight: usize) -> Vec<Cursor> {
    let walkers = conns * inflight;
    (0..inflight)
        .map(|slot| {
            let walker = slot * conns + conn;
            let mut places: Vec<Place> = backlogs
                .iter()
                .skip(walker % backlogs.len())
                .step_by(walkers)
                .map(|backlog| Place { backlog: *backlog, next: backlog.min })
                .collect();
            let sharing = walkers.div_ceil(backlogs.len()) as u64;
            let rank = (walker / backlogs.len()) as u64;
            for place in &mut places {
                place.next += (place.backlog.max - place.backlog.min) * rank / sharing;
            }
            Cursor { places, at: 0 }
        })
        .collect()
}

#[derive(Debug, Clone)]
struct PullShape {
    topic: String,
    dialect: Dialect,
    batch: u32,
    expression: String,
    kind: &'static str,
}

impl PullShape {
    fn is_filtered(&self) -> bool {
        self.expression != "*"
    }
}

#[derive(Debug, Clone)]
struct Place {
    backlog: Backlog,
    next: u64,
}

/// The queues that one request under way walks in turn.
#[derive(Debug, Clone)]
struct Cursor {
    places: Vec<Place>,
    at: usize,
}

impl Cursor {
    fn place(&mut self) -> &mut Place {
        &mut self.places[self.at]
    }

    /// The current queue goes on at `next`, from its start when that is its end; then comes the next queue.
    fn advance(&mut self, next: Option<u64>) {
        let place = &mut self.places[self.at];
        place.next = next.filter(|next| *next < place.backlog.max).unwrap_or(place.backlog.min);
        self.at = (self.at + 1) % self.places.len();
    }
}

/// Pulls over one connection.
struct PullTraffic {
    shape: PullShape,
    cursors: Vec<Cursor>,
    slots: Slots,
    out: Outbox,
    start: Start,
    until_ns: u64,
}

impl PullTraffic {
    fn new(shape: PullShape, cursors: Vec<Cursor>, start: Start, window: Window) -> PullTraffic {
        let slots = Slots::new(cursors.len());
        PullTraffic { shape, cursors, slots, out: Outbox::default(), start, until_ns: window.until_ns }
    }
}

impl Traffic for PullTraffic {
    fn offer(&mut self, moment: &Moment) {
        while self.slots.has_free() {
            let Some(since_ns) = self.start.take(moment.now_ns) else { return };
            let Some((slot, opaque)) = self.slots.take(since_ns) else { return };
            let place = self.cursors[slot].place();
            let head = Head::request(self.shape.dialect, request::PULL_MESSAGE, opaque);
            let mut writer = FrameWriter::new(self.out.end(), &head);
            writer
                .field("consumerGroup", GROUP)
                .field("topic", &self.shape.topic)
                .number("queueId", place.backlog.queue)
                .number("queueOffset", place.next)
                .number("maxMsgNums", self.shape.batch)
                .number("sysFlag", SUBSCRIPTION)
                .field("commitOffset", "0")
                .field("suspendTimeoutMillis", "0")
                .field("subscription", &self.shape.expression)
                .field("subVersion", "0")
                .field("expressionType", self.shape.kind);
            writer.empty();
        }
    }

    fn staged(&mut self) -> &mut dyn Staged {
        &mut self.out
    }

    fn answer(&mut self, frame: &Frame<'_>, now_ns: u64, tally: &mut Tally) -> Result<(), String> {
        let header = answer::parse(frame).map_err(|error| error.to_string())?;
        let (slot, since_ns) = self.slots.answered(header.opaque)?;
        let cursor = &mut self.cursors[slot];
        let next: Option<u64> = header.fields.number("nextBeginOffset");
        if header.code == response::SUCCESS {
            let place = cursor.place();
            let count = count_records(frame.body, place.backlog.queue, place.next)?;
            if next.is_none_or(|next| next <= place.next) {
                return Err(format!("{count} records but nextBeginOffset {next:?} after {}", place.next));
            }
            // With a filter, what it did not want counts too: the server has looked at it.
            let passed = next.unwrap_or_default() - place.next;
            let count = if self.shape.is_filtered() { passed } else { count };
            let at_ns = self.start.moment_of(since_ns, now_ns);
            tally.success(at_ns, now_ns.saturating_sub(since_ns), count, frame.body.len() as u64);
            cursor.advance(next);
            return Ok(());
        }
        if header.code == response::PULL_RETRY_IMMEDIATELY
            && let Some(passed) =
                next.and_then(|next| next.checked_sub(cursor.place().next)).filter(|passed| *passed > 0)
        {
            tally.success(self.start.moment_of(since_ns, now_ns), now_ns.saturating_sub(since_ns), passed, 0);
            cursor.advance(next);
            return Ok(());
        }
        tally.failure(header.code, || header.remark.unwrap_or_default().into_owned());
        match header.code {
            // Retention took the start of the queue away: it begins later from now on.
            response::PULL_OFFSET_MOVED => {
                if let Some(next) = next {
                    let backlog = &mut cursor.place().backlog;
                    backlog.min = next.min(backlog.max);
                }
                cursor.advance(next);
            }
            _ => cursor.advance(None),
        }
        Ok(())
    }

    fn slots(&self) -> &Slots {
        &self.slots
    }

    fn until_ns(&self) -> u64 {
        self.until_ns
    }

    fn due_ns(&self) -> Option<u64> {
        (self.slots.has_free() && self.out.outgoing().is_empty()).then(|| self.start.due_ns()).flatten()
    }

    fn exhausted(&self, now_ns: u64) -> bool {
        self.start.is_over(now_ns)
    }

    fn unsent(&self) -> u64 {
        self.start.left()
    }
}

/// Counts the records of a pull body by their length fields, and reads the first one in full.
fn count_records(body: &[u8], queue: u32, from: u64) -> Result<u64, String> {
    let first =
        Record::parse(body).map_err(|error| format!("a pull body whose first record is broken: {error}"))?;
    if first.queue_id != queue || first.queue_offset < from as i64 {
        return Err(format!(
            "record {} of queue {} where {from} of queue {queue} was asked for",
            first.queue_offset, first.queue_id
        ));
    }
    let count: Result<u64, &str> = answer::records(body).map(|record| record.map(|_| 1)).sum();
    Ok(count?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::record::{self, Message};

    fn backlog(queue: u32) -> Backlog {
        Backlog { queue, min: 100, max: 1100 }
    }

    #[test]
    fn every_queue_is_walked_and_sharers_start_apart() {
        let backlogs: Vec<_> = (0..4).map(backlog).collect();
        let mut walked: Vec<(u32, u64)> = Vec::new();
        for conn in 0..4 {
            for cursor in cursors(&backlogs, conn, 4, 2) {
                walked.extend(cursor.places.iter().map(|place| (place.backlog.queue, place.next)));
            }
        }
        walked.sort_unstable();
        assert_eq!(walked, [(0, 100), (0, 600), (1, 100), (1, 600), (2, 100), (2, 600), (3, 100), (3, 600)]);

        let few = cursors(&backlogs, 1, 2, 1);
        let queues: Vec<_> = few[0].places.iter().map(|place| place.backlog.queue).collect();
        assert_eq!(queues, [1, 3]);
    }

    #[test]
    fn a_cursor_takes_turns_and_starts_over_at_the_end() {
        let places = vec![Place { backlog: backlog(0), next: 100 }, Place { backlog: backlog(1), next: 100 }];
        let mut cursor = Cursor { places, at: 0 };
        cursor.advance(Some(132));
        assert_eq!(cursor.place().backlog.queue, 1);
        cursor.advance(Some(1100));
        assert_eq!((cursor.place().backlog.queue, cursor.place().next), (0, 132));
        cursor.advance(None);
        assert_eq!((cursor.place().backlog.queue, cursor.place().next), (1, 100));
    }

    #[test]
    fn bodies_are_counted_and_broken_ones_refused() {
        let host = "127.0.0.1:1".parse().unwrap();
        let message = Message::of_broker(host, "T", 3, b"body");
        let mut body = Vec::new();
        for offset in 7..10 {
            let start = body.len();
            record::encode(&message, &mut body).unwrap();
            record::patch(&mut body[start..], offset, 0, 0);
        }
        assert_eq!(count_records(&body, 3, 7), Ok(3));
        assert!(count_records(&body, 2, 7).is_err());
        assert!(count_records(&body, 3, 8).is_err());
        assert!(count_records(&body[..body.len() - 1], 3, 7).is_err());
        assert!(count_records(b"", 3, 7).is_err());
        body.extend_from_slice(&[0; 8]);
        assert!(count_records(&body, 3, 7).is_err());
    }
}
