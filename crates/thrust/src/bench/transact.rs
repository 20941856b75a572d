//! `thrust bench transact`: half messages, each committed as soon as it is answered.
//!
//! One transaction is two requests, and it counts when both were answered. Official clients want no answer to the
//! second; here it is asked for, since a decision that nobody confirms could be counted without being carried out.

use wire::code::{request, response};
use wire::frame::{self, Frame};
use wire::header::{Dialect, FrameWriter, Head};
use wire::ids::OffsetId;
use wire::sys_flag;

use super::admin::Target;
use super::answer::{self, Scanner};
use super::args::{Load, TransactArgs};
use super::error::BenchError;
use super::lane::{Moment, Outbox, Staged, Traffic};
use super::report::{Report, Setting};
use super::run::{self, Plan};
use super::send::{self, Keys};
use super::slots::Slots;
use super::tally::{Tally, Window};
use super::template::{GROUP, Shape, Template};

const INFLIGHT: u32 = 64;

/// One round of transactions.
pub fn run(args: &TransactArgs, target: &Target, pids: &[u32]) -> Result<Report, BenchError> {
    let load = &args.load;
    let inflight = load.inflight.unwrap_or(INFLIGHT);
    send::check_inflight(load, inflight)?;
    if load.size as usize > frame::FRAME_MAX / 2 {
        return Err(BenchError::Arguments("--size may be 8 MiB at most".to_owned()));
    }
    let queues = target.prepare_topic(&load.topic, load.queues, send::dialect(load))?;
    let shape = Shape { half: true, ..send::shape(load, queues) };
    let plan = Plan::of(load);
    let outcome = run::run(target, plan, pids, |conn, window| {
        TransactTraffic::new(load, &shape, inflight, conn, plan.conns, window)
    })?;
    Report::new(target, Setting { topics: 1, queues, inflight, batch: 1, rate: None, consumers: 0 }, &outcome)
}

/// Transactions over one connection.
struct TransactTraffic {
    template: Template,
    topic: String,
    dialect: Dialect,
    slots: Slots,
    /// By slot: the half message is answered, and its end is under way.
    ending: Vec<bool>,
    scanner: Scanner,
    out: Outbox,
    until_ns: u64,
    queue: u32,
    queues: u32,
    keys: Keys,
    bytes: u64,
}

impl TransactTraffic {
    fn new(
        load: &Load,
        shape: &Shape,
        inflight: u32,
        conn: usize,
        conns: usize,
        window: Window,
    ) -> TransactTraffic {
        TransactTraffic {
            template: Template::new(shape),
            topic: load.topic.clone(),
            dialect: shape.dialect,
            slots: Slots::new(inflight as usize),
            ending: vec![false; inflight as usize],
            scanner: Scanner::default(),
            out: Outbox::default(),
            until_ns: window.until_ns,
            queue: conn as u32 % shape.queues,
            queues: shape.queues,
            keys: Keys::counted(conn, conns),
            bytes: shape.size as u64,
        }
    }

    /// Stages the commit of the half message that `frame` answers.
    fn commit(&mut self, frame: &Frame<'_>, since_ns: u64) -> Result<(), String> {
        let header = answer::parse(frame).map_err(|error| error.to_string())?;
        let field = |name| header.fields.get(name).ok_or_else(|| format!("an answer without {name}"));
        let id = field("msgId")?;
        let physical = OffsetId::parse(id).ok_or_else(|| format!("msgId {id} is no offset id"))?.offset;
        let half_offset = field("queueOffset")?;
        let unique_key = header.fields.get("transactionId").unwrap_or_default();
        let (slot, opaque) = self.slots.take(since_ns).ok_or("no slot where one was just given back")?;
        self.ending[slot] = true;
        let head = Head::request(self.dialect, request::END_TRANSACTION, opaque);
        let mut writer = FrameWriter::new(self.out.end(), &head);
        writer
            .field("producerGroup", GROUP)
            .field("topic", &self.topic)
            .field("tranStateTableOffset", half_offset)
            .number("commitLogOffset", physical)
            .number("commitOrRollback", sys_flag::TRANSACTION_COMMIT)
            .field("fromTransactionCheck", "false")
            .field("msgId", unique_key)
            .field("transactionId", unique_key);
        writer.empty();
        Ok(())
    }
}

impl Traffic for TransactTraffic {
    fn offer(&mut self, moment: &Moment) {
        if moment.now_ns >= self.until_ns {
            return;
        }
        while let Some((slot, opaque)) = self.slots.take(moment.now_ns) {
            self.ending[slot] = false;
            let keys = &mut self.keys;
            self.template
                .append(self.out.end(), opaque, (0, self.queue), &moment.born, || keys.next(moment.now_ns));
            self.queue = (self.queue + 1) % self.queues;
        }
    }

    fn staged(&mut self) -> &mut dyn Staged {
        &mut self.out
    }

    fn answer(&mut self, frame: &Frame<'_>, now_ns: u64, tally: &mut Tally) -> Result<(), String> {
        let (code, opaque) = self.scanner.scan(frame).map_err(|error| error.to_string())?;
        let (slot, since_ns) = self.slots.answered(opaque)?;
        if code != response::SUCCESS {
            tally.failure(code, || answer::remark(frame));
        } else if self.ending[slot] {
            tally.success(now_ns, now_ns.saturating_sub(since_ns), 1, self.bytes);
        } else {
            self.commit(frame, since_ns)?;
        }
        Ok(())
    }

    fn slots(&self) -> &Slots {
        &self.slots
    }

    fn until_ns(&self) -> u64 {
        self.until_ns
    }
}
