//! `thrust bench roundtrip`: each connection sends one message, waits until it has received it, and sends the next.

use wire::code::response;
use wire::frame::Frame;

use super::RoundtripArgs;
use super::admin::Target;
use super::answer;
use super::error::BenchError;
use super::lane::{Moment, Outbox, Staged, Traffic};
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
    let outcome = run::run(target, Plan::of(load), pids, |_, window| RoundtripTraffic {
        template: Template::new(&shape),
        tail: tails.next().expect("there is one for each connection"),
        slots: Slots::new(REQUESTS),
        out: Outbox::default(),
        polling: None,
        waiting: None,
        until_ns: window.until_ns,
    })?;
    let setting = Setting { topics: 1, queues, inflight: 1, batch: 1, rate: None, consumers: load.conns };
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
    /// When the message was sent that has not come back.
    waiting: Option<u64>,
    until_ns: u64,
}

impl Traffic for RoundtripTraffic {
    fn offer(&mut self, moment: &Moment) {
        if self.polling.is_none()
            && let Some((slot, opaque)) = self.slots.take(moment.now_ns)
        {
            self.tail.ask(self.out.end(), opaque);
            self.polling = Some(slot);
        }
        if self.waiting.is_none()
            && moment.now_ns < self.until_ns
            && let Some((_, opaque)) = self.slots.take(moment.now_ns)
        {
            let place = (0, self.tail.queue());
            self.template.append(self.out.end(), opaque, place, &moment.born, || moment.now_ns);
            self.waiting = Some(moment.now_ns);
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
            let waiting = &mut self.waiting;
            self.tail.take(&header, frame.body, |sent_ns, bytes| {
                if waiting.take_if(|waiting| *waiting == sent_ns).is_some() {
                    tally.success(now_ns, now_ns.saturating_sub(sent_ns), 1, bytes);
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

    fn is_done(&mut self, now_ns: u64) -> bool {
        now_ns >= self.until_ns && self.waiting.is_none()
    }

    fn unanswered(&self) -> u64 {
        u64::from(self.waiting.is_some())
    }
}
