//! What the timer costs, and how exact it is, on the real disk and clock:
//!
//! - `cargo run --release -p store --example timer -- memory /tmp/dir [messages]`: a million messages that wait;
//! - `cargo run --release -p store --example timer -- lateness /tmp/dir [per second] [seconds]`: a thousand due each
//!   second, and how much later than due each stands in the log.
#![allow(clippy::disallowed_methods, reason = "a measurement on the real disk and clock")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{Batch, Clock, Options, RealClock, RealDisk, Store};
use wire::properties as props;
use wire::record::{Message, Record};

const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
const TOPIC: &str = "orders";

fn open(root: &str) -> Arc<Store> {
    let clock = Arc::new(RealClock::default());
    let store =
        Store::open(Arc::new(RealDisk), clock, Options::new(root), Arc::new(|_| {})).expect("a store");
    store.start_workers();
    store
}

/// Lines of `/proc/self/status` that say what memory is in use.
fn memory() -> String {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("RssAnon") || line.starts_with("VmRSS"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}

/// Sends messages of which each is due when `due_of` says.
fn send(store: &Store, numbers: std::ops::Range<u64>, due_of: &dyn Fn(u64) -> i64) {
    let queue = store.queue(TIMER_TOPIC, 0);
    let mut batch = Batch::default();
    for number in numbers {
        let due = due_of(number);
        let mut text = Vec::new();
        props::push(&mut text, props::TIMER_DELIVER_MS, &due.to_string());
        props::push(&mut text, props::UNIQ_KEY, &format!("{number:032X}"));
        props::push(&mut text, props::TIMER_OUT_MS, &((due - 1) / 1000 * 1000).to_string());
        props::push(&mut text, props::REAL_TOPIC, TOPIC);
        props::push(&mut text, props::REAL_QID, "0");
        let message = Message {
            topic: TIMER_TOPIC,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: due,
            born_host: "127.0.0.1:1000".parse().expect("an address"),
            store_host: "127.0.0.1:10911".parse().expect("an address"),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &[b'x'; 200],
            properties: &text,
        };
        batch.push(&queue, &message, 0).expect("a message that fits");
    }
    store.append(&mut batch).expect("appending works");
}

fn measure_memory(root: &str, count: u64) {
    let clock = RealClock::default();
    let store = open(root);
    println!("empty: {}", memory());
    let begin = Instant::now();
    for from in (0..count).step_by(500) {
        // Spread over the hour that begins in ten minutes.
        let first = clock.now_millis() + 600_000;
        send(&store, from..count.min(from + 500), &|number| first + (number * 7919 % 3_600_000) as i64);
    }
    println!("sent in {:?}: {}", begin.elapsed(), memory());
    while store.timer_figures().pending < count as i64 {
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("taken in after {:?}: {}", begin.elapsed(), memory());
    std::thread::sleep(Duration::from_secs(3));
    println!("three seconds later: {}", memory());
    store.stop().expect("a clean stop");
    drop(store);
    let begin = Instant::now();
    let store = open(root);
    println!("opened again in {:?}, {} wait: {}", begin.elapsed(), store.timer_figures().pending, memory());
    store.stop().expect("a clean stop");
}

fn measure_lateness(root: &str, rate: u64, seconds: u64) {
    let clock = RealClock::default();
    let store = open(root);
    // The first is due in three seconds; all are evenly spread.
    let first = clock.now_millis() + 3000;
    let count = rate * seconds;
    for from in (0..count).step_by(500) {
        send(&store, from..count.min(from + 500), &|number| first + (number * 1000 / rate) as i64);
    }
    let queue = store.queue(TOPIC, 0);
    while queue.max_offset() < count {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut late: Vec<i64> = Vec::new();
    for offset in 0..count {
        let entry = store.entries(&queue, offset, 1)[0];
        let bytes = store.record_at(entry.physical_offset).expect("reading works").expect("a record");
        let record = Record::parse(&bytes).expect("a record");
        let due = record.property(props::TIMER_DELIVER_MS).and_then(|due| due.parse::<i64>().ok());
        late.push(record.store_timestamp - due.expect("a time"));
    }
    late.sort_unstable();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    println!(
        "{count} messages, {rate} due per second: late by ms: min {}, p50 {}, p99 {}, p99.9 {}, max {}; {}",
        at(0.0),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        memory()
    );
    store.stop().expect("a clean stop");
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().expect("memory or lateness");
    let root = arguments.next().expect("a directory");
    let mut number = |default| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    match what.as_str() {
        "memory" => measure_memory(&root, number(1_000_000)),
        "lateness" => measure_lateness(&root, number(1000), number(20)),
        other => panic!("{other} is neither memory nor lateness"),
    }
}
