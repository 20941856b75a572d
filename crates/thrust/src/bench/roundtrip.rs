//! `thrust bench roundtrip`: each connection sends one message, waits until it has received it, and sends the next.

use wire::code::response;
use wire::frame::Frame;

use super::admin::Target;
use super::answer;
use super::args::RoundtripArgs;
use super::error::BenchError;
use super::lane::{Moment, Outbox, Staged, Traffic};
use super::pace::Start;
use super::report::{Report, Setting};
use super::run::{self, Plan};
use super::send;
use super::slots::Slots;
use super::tail::{self, Tail};
use super::tally::Tally;
use super::template::Template;

/// The long poll, a send, and the one before it, whose answer may come after its message.
const REQUESTS: usize = 3;

/// One round.
pub fn run(args: &RoundtripArgs, target: &Target, pids: &[u32]) -> Result<Report, BenchError> {
    let load = &args.load;
    if load.inflight.is_some_and(|inflight| inflight != 1) {
        let why = "a roundtrip has one message under way per connection; --conns makes it more";
        return Err(BenchError::Arguments(why.to_owned()));
    }
    let dialect = send::dialect(load);
    let queues = target.prepare_topic(&load.topic, load.queues.max(load.conns), dialect)?;
    if queues < load.conns {
        return Err(BenchError::Arguments(format!(
            "topic {} has {queues} queues, and each connection needs its own; --conns may be {queues} at most",
            load.topic
        )));
    }
    let shape = send::shape(load, queues);
    let mut tails = tail::tails(target, &load.topic, load.conns, dialect, 1)?.into_iter();
    let rate = args.rate.map(|rate| rate as f64);
    let plan = Plan::of(load).at_rate(rate);
    let outcome = run::run(target, plan, pids, |conn, window| RoundtripTraffic {
        template: Template::new(&shape),
        tail: tails.next().expect("there is one for each connection"),
        slots: Slots::new(REQUESTS),
        out: Outbox::default(),
        polling: None,
        waiting: None,
        start: Start::new(rate, conn, plan.conns, window.until_ns),
        until_ns: window.until_ns,
    })?;
    let setting =
        Setting { topics: 1, queues, inflight: 1, batch: 1, rate: args.rate, consumers: load.conns };
    Report::new(target, setting, &outcome)
}

/// One connection with a queue of its own.
struct RoundtripTraffic {
    template: Template,
    tail: Tail,
    slots: Slots,
    out: Outbox,
    /// Slot of the long poll.
    polling: Option<usize>,
    /// From when the message counts that has not come back: when it was sent, or by the clock when it was due.
    waiting: Option<u64>,
    start: Start,
    until_ns: u64,
}

impl RoundtripTraffic {
    /// Whether the next message may go: the one before has come back.
    fn has_room(&self) -> bool {
        self.waiting.is_none() && self.slots.has_free()
    }
}

impl Traffic for RoundtripTraffic {
    fn offer(&mut self, moment: &Moment) {
        if self.polling.is_none()
            && let Some((slot, opaque)) = self.slots.take(moment.now_ns)
        {
            self.tail.ask(self.out.end(), opaque);
            self.polling = Some(slot);
        }
        if self.has_room()
            && let Some(since_ns) = self.start.take(moment.now_ns)
            && let Some((_, opaque)) = self.slots.take(since_ns)
        {
            let place = (0, self.tail.queue());
            self.template.append(self.out.end(), opaque, place, &moment.born, || since_ns);
            self.waiting = Some(since_ns);
        }
    }

    fn staged(&mut self) -> &mut dyn Staged {
        &mut self.out
    }

    fn answer(&mut self, frame: &Frame<'_>, now_ns: u64, tally: &mut Tally) -> Result<(), String> {
        let header = answer::parse(frame).map_err(|error| error.to_string())?;
        let (slot, since_ns) = self.slots.answered(header.opaque)?;
        let expected = if self.polling == Some(slot) {
            self.polling = None;
            let (waiting, start) = (&mut self.waiting, &self.start);
            self.tail.take(&header, frame.body, |sent_ns, bytes| {
                if waiting.take_if(|waiting| *waiting == sent_ns).is_some() {
                    let at_ns = start.moment_of(sent_ns, now_ns);
                    tally.success(at_ns, now_ns.saturating_sub(sent_ns), 1, bytes);
                }
            })?
        } else {
            let stored = header.code == response::SUCCESS;
            if !stored {
                self.waiting.take_if(|waiting| *waiting == since_ns);
            }
            stored
        };
        if !expected {
            tally.failure(header.code, || header.remark.unwrap_or_default().into_owned());
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
        (self.has_room() && self.out.outgoing().is_empty()).then(|| self.start.due_ns()).flatten()
    }

    fn is_done(&mut self, now_ns: u64) -> bool {
        self.start.is_over(now_ns) && self.waiting.is_none()
    }

    fn unsent(&self) -> u64 {
        self.start.left()
    }

    fn unanswered(&self) -> u64 {
        u64::from(self.waiting.is_some()) + self.unsent()
    }
}
