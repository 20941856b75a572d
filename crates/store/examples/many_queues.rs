//! What many light queues cost: memory, open files, time to open again.
//!
//!     cargo run --release -p store --example many_queues [directory] [queues]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures with the real clock and makes its own directory"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use store::{Batch, Options, RealClock, RealDisk, Store};
use wire::record::Message;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from).join("many_queues");
    let queues: u32 = args.next().and_then(|arg| arg.parse().ok()).unwrap_or(100_000);
    let _ = std::fs::remove_dir_all(&dir);
    let store = open(&dir);
    store.start_workers();
    let mut batch = Batch::default();
    for (round, name) in ["first message to each", "second", "third"].into_iter().enumerate() {
        let begin = Instant::now();
        for n in 0..queues {
            let topic = format!("topic{}", n / 100);
            let queue = store.queue(&topic, n % 100);
            let message = Message {
                topic: &topic,
                queue_id: n % 100,
                flag: 0,
                sys_flag: 0,
                born_timestamp: 0,
                born_host: ([127, 0, 0, 1], 1).into(),
                store_host: ([127, 0, 0, 1], 2).into(),
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: &[round as u8; 100],
                properties: b"",
            };
            batch.push(&queue, &message, 0).expect("a message");
            if batch.len() == 64 || n + 1 == queues {
                store.append(&mut batch).expect("an append");
                batch.clear();
            }
        }
        println!("{name}: {:?}; {}", begin.elapsed(), memory());
    }
    let begin = Instant::now();
    store.stop().expect("a clean stop");
    println!("clean stop: {:?}; {}", begin.elapsed(), memory());
    drop(store);
    let begin = Instant::now();
    let store = open(&dir);
    println!("open after clean stop: {:?}; {}", begin.elapsed(), memory());
    drop(store);
    let begin = Instant::now();
    let store = open(&dir);
    println!("open after kill: {:?}; {}", begin.elapsed(), memory());
    store.stop().expect("a clean stop");
    let _ = std::fs::remove_dir_all(&dir);
}

fn open(dir: &std::path::Path) -> Arc<Store> {
    let clock = Arc::new(RealClock::default());
    Store::open(Arc::new(RealDisk), clock, Options::new(dir), Arc::new(|_| {})).expect("the store opens")
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let kept = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("RssAnon"));
    format!("{} open files, {}", files, kept.collect::<Vec<_>>().join(" ").replace('\t', " "))
}
