//! Timer messages as a broker parks them, and what became of them.
#![allow(dead_code, reason = "each test uses a part of this")]

use std::collections::BTreeMap;

use store::{
    Appended, Batch, Clock, Options, ReadLimits, ReadStatus, Store, StoreError, TimerNext, TimerOptions,
};
use wire::hash;
use wire::properties as props;
use wire::record::{Message, Record};

pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";

/// A wheel that a test sees turn: slots of a second, rolled after twenty of them, ten units a file.
pub fn small_timer() -> TimerOptions {
    TimerOptions {
        slots: 200,
        roll_window_slots: 20,
        log_file_bytes: 52 * 10 + 16 + 7,
        ..TimerOptions::default()
    }
}

pub fn with_small_timer(options: Options) -> Options {
    Options { timer: Some(small_timer()), ..options }
}

/// A message to be delivered later.
#[derive(Debug, Clone)]
pub struct Timed {
    pub topic: String,
    pub queue: u32,
    pub body: String,
    /// The property that says when, and its value.
    pub when: (&'static str, i64),
    /// The millisecond that means.
    pub due_ms: i64,
    /// Key of the message that this one takes back.
    pub takes_back: String,
}

/// Delivered at a moment.
pub fn at(topic: &str, body: &str, due_ms: i64) -> Timed {
    Timed {
        topic: topic.into(),
        queue: 0,
        body: body.into(),
        when: (props::TIMER_DELIVER_MS, due_ms),
        due_ms,
        takes_back: String::new(),
    }
}

/// Delivered after a delay.
pub fn after(topic: &str, body: &str, now_ms: i64, delay_ms: i64) -> Timed {
    Timed { when: (props::TIMER_DELAY_MS, delay_ms), ..at(topic, body, now_ms + delay_ms) }
}

impl Timed {
    /// Beginning of its slot, as every broker computes it.
    pub fn out_ms(&self, precision: i64) -> i64 {
        (self.due_ms - 1).div_euclid(precision) * precision
    }

    /// What takes this message back.
    pub fn recall(&self, precision: i64) -> Timed {
        Timed {
            takes_back: self.body.clone(),
            ..at(&self.topic, &format!("recall of {}", self.body), self.out_ms(precision) + 1)
        }
    }
}

/// Parks messages; the unique key of each is its body.
pub fn park(store: &Store, messages: &[Timed]) -> Vec<Appended> {
    let precision = store.options().timer.as_ref().map_or(1000, |timer| i64::from(timer.precision_ms));
    let mut batch = Batch::default();
    for timed in messages {
        let mut text = Vec::new();
        props::push(&mut text, timed.when.0, &timed.when.1.to_string());
        props::push(&mut text, props::TIMER_DEL_UNIQKEY, &timed.takes_back);
        props::push(&mut text, props::UNIQ_KEY, &timed.body);
        props::push(&mut text, props::TAGS, "tag");
        props::push(&mut text, props::REAL_TOPIC, &timed.topic);
        props::push(&mut text, props::REAL_QID, &timed.queue.to_string());
        props::push(&mut text, props::TIMER_OUT_MS, &timed.out_ms(precision).to_string());
        let message = Message {
            topic: TIMER_TOPIC,
            queue_id: 0,
            flag: 7,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: "127.0.0.1:1000".parse().unwrap(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: timed.body.as_bytes(),
            properties: &text,
        };
        let queue = store.queue(TIMER_TOPIC, 0);
        batch.push(&queue, &message, hash::tags_code(Some("tag"))).unwrap();
    }
    store.append(&mut batch).unwrap();
    (0..messages.len()).map(|i| batch.appended(i)).collect()
}

/// Lets the timer do all there is to do now.
pub fn run(store: &Store) -> TimerNext {
    try_run(store).expect("the timer works")
}

/// Does the same, until an error if there is one.
pub fn try_run(store: &Store) -> Result<TimerNext, StoreError> {
    for _ in 0..100_000 {
        match store.timer_step()? {
            TimerNext::AtOnce => {}
            next => return Ok(next),
        }
    }
    panic!("the timer does not come to rest");
}

/// A message as it stands in its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    pub body: String,
    pub at: u64,
    /// Wall clock at its delivery, 0 for one that was sent there.
    pub delivered_ms: i64,
    pub properties: BTreeMap<String, String>,
}

/// All messages of a queue, in order.
pub fn arrived(store: &Store, topic: &str, id: u32) -> Vec<Arrived> {
    let Some(queue) = store.find_queue(topic, id) else { return Vec::new() };
    let mut all = Vec::new();
    let mut offset = queue.min_offset() as i64;
    loop {
        let limits = ReadLimits { max_count: 32, max_bytes: 1 << 20 };
        let result = store.read(&queue, offset, limits, &mut |_| true).expect("reading works");
        match result.status {
            ReadStatus::Found => {}
            ReadStatus::OffsetOverflowOne | ReadStatus::NoMessageInQueue => return all,
            other => panic!("{queue:?}: {other:?} at {offset}"),
        }
        for bytes in result.records.iter() {
            let bytes = bytes.unwrap();
            let record = Record::parse(&bytes).expect("a record");
            record.verify_crc().expect("its CRC");
            let properties: BTreeMap<String, String> = props::iter(record.properties)
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let delivered = properties.get(props::TIMER_DEQUEUE_MS);
            all.push(Arrived {
                body: String::from_utf8_lossy(record.body).into_owned(),
                at: record.physical_offset as u64,
                delivered_ms: delivered.map_or(0, |millis| millis.parse().unwrap()),
                properties,
            });
        }
        offset = result.next_offset;
    }
}

/// Bodies in a queue.
pub fn bodies(store: &Store, topic: &str) -> Vec<String> {
    arrived(store, topic, 0).into_iter().map(|arrived| arrived.body).collect()
}

/// What the clock shows.
pub fn now(clock: &dyn Clock) -> i64 {
    clock.now_millis()
}
