//! `thrust bench mixed`: producers and consumers at once; the latency is that from a send to the receipt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use wire::code::response;
use wire::frame::Frame;

use super::admin::Target;
use super::answer;
use super::args::{Load, MixedArgs};
use super::error::BenchError;
use super::lane::{Moment, Outbox, Staged, Traffic};
use super::report::{Report, Setting};
use super::run::{self, Plan};
use super::send::{self, SendTraffic};
use super::slots::Slots;
use super::tail::{self, Tail};
use super::tally::{Tally, Window};
use super::template::Shape;

const INFLIGHT: u32 = 64;

/// One round.
pub fn run(args: &MixedArgs, target: &Target, pids: &[u32]) -> Result<Report, BenchError> {
    let load = &args.load;
    let inflight = load.inflight.unwrap_or(INFLIGHT);
    send::check_inflight(load, inflight)?;
    let consumers = args.consumers.unwrap_or(load.conns);
    let dialect = send::dialect(load);
    let queues = target.prepare_topic(&load.topic, load.queues.max(consumers), dialect)?;
    if queues < consumers {
        return Err(BenchError::Arguments(format!(
            "topic {} has {queues} queues for {consumers} consumers; --consumers may be {queues} at most",
            load.topic
        )));
    }
    let mut shares: Vec<Vec<Tail>> = (0..consumers).map(|_| Vec::new()).collect();
    for tail in tail::tails(target, &load.topic, queues, dialect, args.batch)? {
        shares[(tail.queue() % consumers) as usize].push(tail);
    }
    let shape = send::shape(load, queues);
    let producers = load.conns as usize;
    let flow = Arc::new(Flow { producing: AtomicUsize::new(producers), ..Flow::default() });
    let plan = Plan::of(&Load { conns: load.conns + consumers, ..load.clone() })
        .at_rate(args.rate.map(|rate| rate as f64));
    let mut shares = shares.into_iter();
    let outcome = run::run(target, plan, pids, |conn, window| {
        if conn < producers {
            MixedTraffic::producer(&shape, args.rate, inflight, (conn, producers), window, &flow)
        } else {
            MixedTraffic::consumer(shares.next().unwrap_or_default(), args.rate.is_some(), window, &flow)
        }
    })?;
    let setting = Setting { topics: 1, queues, inflight, batch: 1, rate: args.rate, consumers };
    Report::new(target, setting, &outcome)
}

/// What is on its way between all producers and all consumers.
#[derive(Debug, Default)]
struct Flow {
    /// Messages that were sent, and did not fail.
    sent: AtomicU64,
    received: AtomicU64,
    /// Producers that are not done.
    producing: AtomicUsize,
}

impl Flow {
    fn is_over(&self) -> bool {
        self.producing.load(Ordering::Acquire) == 0 && self.missing() == 0
    }

    fn missing(&self) -> u64 {
        self.sent.load(Ordering::Relaxed).saturating_sub(self.received.load(Ordering::Relaxed))
    }
}

/// One connection, of either kind.
enum MixedTraffic {
    Producer(Box<Producer>),
    Consumer(Consumer),
}

struct Producer {
    send: SendTraffic,
    flow: Arc<Flow>,
    is_done: bool,
}

struct Consumer {
    /// Each with the slot of its number.
    tails: Vec<Tail>,
    slots: Slots,
    out: Outbox,
    /// Whether messages count at the moment when they were due.
    by_clock: bool,
    until_ns: u64,
    flow: Arc<Flow>,
}

impl MixedTraffic {
    fn producer(
        shape: &Shape,
        rate: Option<u64>,
        inflight: u32,
        (number, producers): (usize, usize),
        window: Window,
        flow: &Arc<Flow>,
    ) -> MixedTraffic {
        let send = SendTraffic::new(shape, inflight, number, producers, window)
            .paced(rate.map(|rate| rate as f64), number, producers)
            .stamped();
        MixedTraffic::Producer(Box::new(Producer { send, flow: Arc::clone(flow), is_done: false }))
    }

    fn consumer(tails: Vec<Tail>, by_clock: bool, window: Window, flow: &Arc<Flow>) -> MixedTraffic {
        MixedTraffic::Consumer(Consumer {
            slots: Slots::new(tails.len()),
            tails,
            out: Outbox::default(),
            by_clock,
            until_ns: window.until_ns,
            flow: Arc::clone(flow),
        })
    }
}

impl Traffic for MixedTraffic {
    fn offer(&mut self, moment: &Moment) {
        match self {
            MixedTraffic::Producer(producer) => producer.offer(moment),
            MixedTraffic::Consumer(consumer) => consumer.offer(moment),
        }
    }

    fn staged(&mut self) -> &mut dyn Staged {
        match self {
            MixedTraffic::Producer(producer) => producer.send.staged(),
            MixedTraffic::Consumer(consumer) => &mut consumer.out,
        }
    }

    fn answer(&mut self, frame: &Frame<'_>, now_ns: u64, tally: &mut Tally) -> Result<(), String> {
        match self {
            MixedTraffic::Producer(producer) => producer.answer(frame, tally),
            MixedTraffic::Consumer(consumer) => consumer.answer(frame, now_ns, tally),
        }
    }

    fn slots(&self) -> &Slots {
        match self {
            MixedTraffic::Producer(producer) => producer.send.slots(),
            MixedTraffic::Consumer(consumer) => &consumer.slots,
        }
    }

    fn until_ns(&self) -> u64 {
        match self {
            MixedTraffic::Producer(producer) => producer.send.until_ns(),
            MixedTraffic::Consumer(consumer) => consumer.until_ns,
        }
    }

    fn due_ns(&self) -> Option<u64> {
        match self {
            MixedTraffic::Producer(producer) => producer.send.due_ns(),
            MixedTraffic::Consumer(_) => None,
        }
    }

    fn is_done(&mut self, now_ns: u64) -> bool {
        match self {
            MixedTraffic::Producer(producer) => producer.is_done(now_ns),
            MixedTraffic::Consumer(consumer) => now_ns >= consumer.until_ns && consumer.flow.is_over(),
        }
    }

    fn unanswered(&self) -> u64 {
        match self {
            MixedTraffic::Producer(producer) => producer.send.unanswered(),
            // What nobody received counts once, whoever finds it missing.
            MixedTraffic::Consumer(consumer) => {
                let missing = consumer.flow.missing();
                consumer.flow.received.fetch_add(missing, Ordering::Relaxed);
                missing
            }
        }
    }
}

impl Producer {
    fn offer(&mut self, moment: &Moment) {
        let before = self.send.slots().taken();
        self.send.offer(moment);
        let staged = self.send.slots().taken() - before;
        self.flow.sent.fetch_add(staged as u64, Ordering::Relaxed);
    }

    fn answer(&mut self, frame: &Frame<'_>, tally: &mut Tally) -> Result<(), String> {
        let (code, _) = self.send.settle(frame)?;
        if code == response::SUCCESS {
            tally.answers += 1;
        } else {
            self.flow.sent.fetch_sub(1, Ordering::Relaxed);
            tally.failure(code, || answer::remark(frame));
        }
        Ok(())
    }

    fn is_done(&mut self, now_ns: u64) -> bool {
        if !self.is_done && self.send.is_done(now_ns) {
            self.is_done = true;
            self.flow.producing.fetch_sub(1, Ordering::Release);
        }
        self.is_done
    }
}

impl Consumer {
    fn offer(&mut self, moment: &Moment) {
        while let Some((slot, opaque)) = self.slots.take(moment.now_ns) {
            self.tails[slot].ask(self.out.end(), opaque);
        }
    }

    fn answer(&mut self, frame: &Frame<'_>, now_ns: u64, tally: &mut Tally) -> Result<(), String> {
        let header = answer::parse(frame).map_err(|error| error.to_string())?;
        let (slot, _) = self.slots.answered(header.opaque)?;
        let mut received = 0;
        let expected = self.tails[slot].take(&header, frame.body, |sent_ns, bytes| {
            received += 1;
            let at_ns = if self.by_clock { sent_ns } else { now_ns };
            tally.success(at_ns, now_ns.saturating_sub(sent_ns), 1, bytes);
        })?;
        self.flow.received.fetch_add(received, Ordering::Relaxed);
        if !expected {
            tally.failure(header.code, || header.remark.unwrap_or_default().into_owned());
        }
        Ok(())
    }
}
