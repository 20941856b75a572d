//! Makes a store with a log of any size in seconds, to measure how long it takes to open.
//!
//! `cargo run --release -p store --example large_store -- DIR GIB QUEUES` appends, through the store itself, messages
//! whose bodies are 1 MiB of zeros. Pages of zeros are not written, so that the log's files are sparse: a log of
//! 100 GiB takes some hundred MiB. Everything else (records, CRCs, queues, index, checkpoint) is as always.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use sim::{Layer, Layered};
use store::{Batch, Clock, File, Options, RealClock, RealDisk, Store};
use wire::hash;
use wire::properties;
use wire::record::Message;

const BODY_BYTES: usize = 1 << 20;
const PAGE: usize = 4096;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let root = PathBuf::from(args.next().ok_or("usage: large_store DIR GIB QUEUES")?);
    let gib: u64 = args.next().map_or(Ok(100), |gib| gib.parse())?;
    let queues: u64 = args.next().map_or(Ok(10_000), |queues| queues.parse())?;
    let clock = Arc::new(RealClock::default());
    let began = clock.monotonic();
    let disk = Arc::new(Layered::new(Arc::new(RealDisk), Sparse::default()));
    let store = Store::open(disk, clock.clone(), Options::new(&root), Arc::new(|_| {}))?;
    store.start_workers();
    let body = vec![0; BODY_BYTES];
    let mut batch = Batch::default();
    let count = (gib << 30) / BODY_BYTES as u64;
    // Many small messages first, so that each queue has some whatever the size of the log.
    let small = queues * 10;
    for number in 0..small + count {
        let large = number >= small;
        push(&store, &mut batch, number, number % queues, if large { &body } else { b"small" })?;
        if batch.bytes_len() > 4 << 20 || number + 1 == small + count {
            store.append(&mut batch)?;
            batch.clear();
        }
    }
    store.stop()?;
    let seconds = (clock.monotonic() - began).as_secs_f64();
    println!("{} messages, log of {} bytes, in {seconds:.1} s", small + count, store.log_end());
    Ok(())
}

fn push(store: &Store, batch: &mut Batch, number: u64, queue: u64, body: &[u8]) -> Result<(), io::Error> {
    let topic = format!("large_{:05}", queue / 4);
    let mut text = Vec::new();
    properties::push(&mut text, properties::UNIQ_KEY, &format!("{number:032X}"));
    let message = Message {
        topic: &topic,
        queue_id: (queue % 4) as u32,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: ([127, 0, 0, 1], 1000).into(),
        store_host: ([127, 0, 0, 1], 10_911).into(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: &text,
    };
    let queue = store.queue(&topic, message.queue_id);
    batch.push(&queue, &message, hash::tags_code(None)).map(|_| ()).map_err(io::Error::other)
}

/// Leaves the pages of zeros of the log out, which a new file reads as, and remembers the others: so the index, which
/// reads all of the log, reads no hole either.
#[derive(Default)]
struct Sparse {
    /// Of each segment that was made here, the pages that something was written to.
    written: Mutex<HashMap<PathBuf, HashSet<u64>>>,
}

const ZEROS: [u8; PAGE] = [0; PAGE];

fn is_of_log(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.ends_with("commitlog"))
}

/// Calls `each` with stretches of the `len` bytes from `offset` on, each of pages for which `is_wanted` says the same:
/// where it begins and ends, counted from `offset`, and what that is.
fn stretches(
    offset: u64,
    len: usize,
    is_wanted: impl Fn(u64, usize, usize) -> bool,
    mut each: impl FnMut(usize, usize, bool) -> io::Result<()>,
) -> io::Result<()> {
    let (mut from, mut at, mut wanted) = (0, 0, false);
    while at < len {
        let page = (offset + at as u64) / PAGE as u64;
        let until = len.min(at + PAGE - (offset as usize + at) % PAGE);
        let is_wanted = is_wanted(page, at, until);
        if is_wanted != wanted && from < at {
            each(from, at, wanted)?;
            from = at;
        }
        (wanted, at) = (is_wanted, until);
    }
    if from < len { each(from, len, wanted) } else { Ok(()) }
}

impl Layer for Sparse {
    fn read_at(&self, below: &dyn File, path: &Path, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let all = self.written.lock();
        let Some(pages) = all.get(path) else {
            drop(all);
            return below.read_at(buffer, offset);
        };
        let is_written = |page, _, _| pages.contains(&page);
        stretches(offset, buffer.len(), is_written, |from, until, written| {
            if written {
                return below.read_at(&mut buffer[from..until], offset + from as u64);
            }
            buffer[from..until].fill(0);
            Ok(())
        })
    }

    fn write_at(&self, below: &dyn File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut all = self.written.lock();
        let Some(pages) = all.get_mut(path) else {
            drop(all);
            return below.write_at(bytes, offset);
        };
        let holds_some = |_, from: usize, until: usize| bytes[from..until] != ZEROS[..until - from];
        stretches(offset, bytes.len(), holds_some, |from, until, holds_some| {
            if holds_some {
                let first = (offset + from as u64) / PAGE as u64;
                pages.extend(first..(offset + until as u64).div_ceil(PAGE as u64));
                below.write_at(&bytes[from..until], offset + from as u64)?;
            }
            Ok(())
        })
    }

    fn allocate(&self, below: &dyn File, path: &Path, from: u64, until: u64) -> io::Result<()> {
        if !is_of_log(path) {
            return below.allocate(from, until);
        }
        // A new segment.
        if from == 0 {
            self.written.lock().insert(path.to_owned(), HashSet::new());
        }
        Ok(())
    }
}
