//! How fast the store takes messages: batches of 64 x 1 KiB for five seconds in each flush mode, on a real disk.
//!
//!     cargo run --release -p store --example append_rate [directory] [seconds] [body bytes] [batch] [threads]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark measures with the real clock and makes its own directory"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use store::{Batch, FlushMode, Flushed, Options, RealClock, RealDisk, Store};
use wire::record::Message;

struct Load {
    seconds: u64,
    body: usize,
    batch: usize,
    threads: usize,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from).join("append_rate");
    let mut number = |default: usize| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let load = Load { seconds: number(5) as u64, body: number(1024), batch: number(64), threads: number(1) };
    let sync = FlushMode::Sync { timeout: Duration::from_secs(5) };
    for (name, flush) in [("asynchronous", Options::default().flush), ("synchronous", sync)] {
        let _ = std::fs::remove_dir_all(&dir);
        run(name, flush, &dir, &load);
        let _ = std::fs::remove_dir_all(&dir);
    }
}

fn run(name: &str, flush: FlushMode, dir: &Path, load: &Load) {
    let options = Options { flush, ..Options::new(dir) };
    let clock = Arc::new(RealClock::default());
    let store = Store::open(Arc::new(RealDisk), clock, options, Arc::new(|_| {})).expect("the store opens");
    store.start_workers();
    let sent = AtomicU64::new(0);
    let start = Instant::now();
    let mut slowest: Vec<Duration> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..load.threads)
            .map(|thread| {
                scope.spawn({
                    let (store, sent) = (&store, &sent);
                    move || work(store, load, thread, start, sent)
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    let elapsed = start.elapsed();
    slowest.sort();
    let sent = sent.load(Ordering::Relaxed);
    let rate = sent as f64 / elapsed.as_secs_f64();
    let at = |share: f64| slowest[((slowest.len() - 1) as f64 * share) as usize];
    println!(
        "{name}: {rate:.0} messages/s ({} x {} B, {} threads); per batch p50 {:?} p99 {:?} p99.9 {:?} max {:?}",
        load.batch,
        load.body,
        load.threads,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    store.stop().expect("the store stops");
}

fn work(store: &Store, load: &Load, thread: usize, start: Instant, sent: &AtomicU64) -> Vec<Duration> {
    let queues: Vec<_> = (0..4).map(|id| store.queue("bench", id)).collect();
    let body = vec![b'x'; load.body];
    let mut batch = Batch::default();
    let mut times = Vec::new();
    let mut turn = thread;
    while start.elapsed() < Duration::from_secs(load.seconds) {
        let begin = Instant::now();
        batch.clear();
        for _ in 0..load.batch {
            turn += 1;
            let queue = &queues[turn % queues.len()];
            let message = Message {
                topic: "bench",
                queue_id: queue.id(),
                flag: 0,
                sys_flag: 0,
                born_timestamp: 1_700_000_000_000,
                born_host: ([127, 0, 0, 1], 1000).into(),
                store_host: ([127, 0, 0, 1], 10911).into(),
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: &body,
                properties: b"UNIQ_KEY\x017F00000100002A9F0000000000001000\x02TAGS\x01TagA\x02",
            };
            batch.push(queue, &message, 2_598_919).expect("a message");
        }
        store.append(&mut batch).expect("an append");
        if store.is_sync() {
            let (done, wait) = mpsc::channel();
            store.when_flushed(batch.until(), Box::new(move |flushed| done.send(flushed).expect("a waiter")));
            assert_eq!(wait.recv(), Ok(Flushed::Done));
        }
        times.push(begin.elapsed());
        sent.fetch_add(load.batch as u64, Ordering::Relaxed);
    }
    times
}
