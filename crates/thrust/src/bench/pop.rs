//! `thrust bench pop`.
//!
//! Each connection pops for a group of its own, which begins at the start of the topic, and goes on with another one
//! when that has read everything. A message counts when its acknowledgement is answered.

use std::time::{SystemTime, UNIX_EPOCH};

use wire::code::{request, response};
use wire::frame::Frame;
use wire::header::{Dialect, FrameWriter, Head, Header};

use super::admin::{Client, Target};
use super::answer;
use super::args::PopArgs;
use super::error::BenchError;
use super::lane::{Moment, Outbox, Staged, Traffic};
use super::pull;
use super::report::{Report, Setting};
use super::run::{self, Plan};
use super::send;
use super::slots::Slots;
use super::tally::{Tally, Window};

const INFLIGHT: u32 = 1;
/// Longer than any round: what is not acknowledged must not come back within it.
const INVISIBLE_MS: u32 = 300_000;

/// One round of popping.
pub fn run(args: &PopArgs, target: &Target, pids: &[u32]) -> Result<Report, BenchError> {
    let load = &args.load;
    let broker = target.only_broker(&load.topic)?;
    if load.binary {
        return Err(BenchError::Arguments("the binary dialect has no room for the codes of pop".to_owned()));
    }
    let inflight = load.inflight.unwrap_or(INFLIGHT);
    let queues = target.prepare_topic(&load.topic, load.queues, send::dialect(load))?;
    let plan = Plan::of(load);
    pull::filled(load, args.fill, target, broker, queues, plan)?;
    let shape = PopShape {
        topic: load.topic.clone(),
        broker: Client::connect(broker, Dialect::Json)?.broker_name()?,
        batch: args.batch,
        batch_ack: args.batch_ack,
        pops: inflight as usize,
    };
    let round = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let outcome = run::run(target, plan, pids, |conn, window| {
        PopTraffic::new(shape.clone(), format!("thrust_bench_pop_{round}_{conn}"), window)
    })?;
    Report::new(
        target,
        Setting { topics: 1, queues, inflight, batch: args.batch, rate: None, consumers: 0 },
        &outcome,
    )
}

#[derive(Debug, Clone)]
struct PopShape {
    topic: String,
    broker: String,
    batch: u32,
    batch_ack: bool,
    /// Pops under way.
    pops: usize,
}

/// Messages of one queue that one pop gave, to be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Delivery {
    queue: u32,
    start: i64,
    pop_time: i64,
    revive_queue: i32,
    offsets: Vec<i64>,
}

/// What a request under way is.
#[derive(Debug, Clone, Copy, Default)]
enum Asked {
    #[default]
    Pop,
    /// Acknowledges so many messages.
    Ack(u64),
}

/// Pops and acknowledges over one connection.
struct PopTraffic {
    shape: PopShape,
    group: String,
    /// How many groups of this connection have read everything.
    generation: u32,
    slots: Slots,
    asked: Vec<Asked>,
    pops_under_way: usize,
    todo: Vec<Delivery>,
    out: Outbox,
    until_ns: u64,
}

impl PopTraffic {
    fn new(shape: PopShape, group: String, window: Window) -> PopTraffic {
        // Every message of every pop may have its acknowledgement under way.
        let count = shape.pops * (1 + shape.batch as usize);
        PopTraffic {
            group,
            generation: 0,
            slots: Slots::new(count),
            asked: vec![Asked::Pop; count],
            pops_under_way: 0,
            todo: Vec::new(),
            out: Outbox::default(),
            until_ns: window.until_ns,
            shape,
        }
    }

    fn group(&self) -> String {
        format!("{}_{}", self.group, self.generation)
    }

    fn stage_pop(&mut self, now_ns: u64) -> bool {
        let Some((slot, opaque)) = self.slots.take(now_ns) else { return false };
        self.asked[slot] = Asked::Pop;
        self.pops_under_way += 1;
        let group = self.group();
        let mut writer =
            FrameWriter::new(self.out.end(), &Head::request(Dialect::Json, request::POP_MESSAGE, opaque));
        writer
            .field("consumerGroup", &group)
            .field("topic", &self.shape.topic)
            .field("queueId", "-1")
            .number("maxMsgNums", self.shape.batch)
            .number("invisibleTime", INVISIBLE_MS)
            .field("pollTime", "0")
            .field("bornTime", "0")
            .field("initMode", "0")
            .field("order", "false");
        writer.empty();
        true
    }

    /// Stages the acknowledgement of one message, or of all messages of a delivery.
    fn stage_ack(&mut self, now_ns: u64) -> bool {
        let group = self.group();
        let Some(delivery) = self.todo.last_mut() else { return false };
        let Some((slot, opaque)) = self.slots.take(now_ns) else { return false };
        if self.shape.batch_ack {
            self.asked[slot] = Asked::Ack(delivery.offsets.len() as u64);
            let body = batch_body(&self.shape, &group, delivery);
            let head = Head::request(Dialect::Json, request::BATCH_ACK_MESSAGE, opaque);
            FrameWriter::new(self.out.end(), &head).body(body.as_bytes());
            self.todo.pop();
            return true;
        }
        self.asked[slot] = Asked::Ack(1);
        let offset = delivery.offsets.pop().unwrap_or_default();
        let handle = handle(&self.shape, delivery, offset);
        let mut writer =
            FrameWriter::new(self.out.end(), &Head::request(Dialect::Json, request::ACK_MESSAGE, opaque));
        writer
            .field("consumerGroup", &group)
            .field("topic", &self.shape.topic)
            .number("queueId", delivery.queue)
            .field("extraInfo", &handle)
            .number("offset", offset);
        writer.empty();
        if delivery.offsets.is_empty() {
            self.todo.pop();
        }
        true
    }

    fn popped(&mut self, header: &Header<'_>, tally: &mut Tally) -> Result<(), String> {
        self.pops_under_way -= 1;
        match header.code {
            response::SUCCESS => {
                self.todo.extend(deliveries(header).ok_or("a pop answer whose header makes no sense")?);
            }
            // Everything is read: the next group begins again, once this one's acknowledgements are out.
            response::POLLING_TIMEOUT if self.todo.is_empty() && self.slots.taken() == 0 => {
                self.generation += 1
            }
            response::POLLING_TIMEOUT => (),
            code => tally.failure(code, || header.remark.clone().unwrap_or_default().into_owned()),
        }
        Ok(())
    }
}

impl Traffic for PopTraffic {
    fn offer(&mut self, moment: &Moment) {
        if moment.now_ns >= self.until_ns {
            return;
        }
        while self.stage_ack(moment.now_ns) {}
        while self.todo.is_empty() && self.pops_under_way < self.shape.pops && self.stage_pop(moment.now_ns) {
        }
    }

    fn staged(&mut self) -> &mut dyn Staged {
        &mut self.out
    }

    fn answer(&mut self, frame: &Frame<'_>, now_ns: u64, tally: &mut Tally) -> Result<(), String> {
        let header = answer::parse(frame).map_err(|error| error.to_string())?;
        let (slot, since_ns) = self.slots.answered(header.opaque)?;
        match self.asked[slot] {
            Asked::Pop => self.popped(&header, tally)?,
            Asked::Ack(count) if header.code == response::SUCCESS => {
                tally.success(now_ns, now_ns.saturating_sub(since_ns), count, 0);
            }
            Asked::Ack(_) => tally.failure(header.code, || header.remark.unwrap_or_default().into_owned()),
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

/// What a pop gave, from the texts in its header.
fn deliveries(header: &Header<'_>) -> Option<Vec<Delivery>> {
    let pop_time = header.fields.number("popTime")?;
    let revive_queue = header.fields.number("reviveQid")?;
    let starts = header.fields.get("startOffsetInfo")?.split(';');
    let offsets = header.fields.get("msgOffsetInfo")?.split(';');
    starts
        .zip(offsets)
        .map(|(start, offsets)| {
            let mut start = start.split(' ').skip(1);
            let offsets = offsets.split(' ').nth(2)?.split(',');
            Some(Delivery {
                queue: start.next()?.parse().ok()?,
                start: start.next()?.parse().ok()?,
                pop_time,
                revive_queue,
                offsets: offsets.map(|offset| offset.parse().ok()).collect::<Option<_>>()?,
            })
        })
        .collect()
}

fn handle(shape: &PopShape, delivery: &Delivery, offset: i64) -> String {
    let Delivery { queue, start, pop_time, revive_queue, .. } = delivery;
    format!("{start} {pop_time} {INVISIBLE_MS} {revive_queue} 0 {} {queue} {offset}", shape.broker)
}

/// The body of 200151 for one delivery without gaps.
fn batch_body(shape: &PopShape, group: &str, delivery: &Delivery) -> String {
    let mut bits = [0_u8; 8];
    for offset in &delivery.offsets {
        if let Ok(index @ 0..64) = usize::try_from(offset - delivery.start) {
            bits[index / 8] |= 1 << (index % 8);
        }
    }
    let Delivery { queue, start, pop_time, revive_queue, .. } = delivery;
    format!(
        r#"{{"acks":[{{"b":"{}","c":"{group}","it":{INVISIBLE_MS},"pt":{pop_time},"q":{queue},"r":"0","rq":{revive_queue},"so":{start},"t":"{}"}}],"brokerName":"{}"}}"#,
        wire::base64::encode(&bits),
        shape.topic,
        shape.broker
    )
}
