//! Random histories of sending, flushing, expiring, stopping, failing and crashing; after every crash the store must
//! hold what it promised, nothing that was not sent, and nothing out of place. A failing seed is printed: run it alone
//! with `CRASH_SEED=<seed> cargo test -p store --test situations crash_histories::`. Ten thousand of them, in a few
//! minutes: `CRASH_SEEDS=10000 cargo test --release -p store --test situations crash_histories:: -- --nocapture`.

use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::histories::History;
use crate::histories::planted::Bug;

/// Histories of a normal run.
const SEEDS: u64 = 150;
/// A planted bug must be found by one of so many.
const SEEDS_TO_FIND: u64 = 1000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn whatever_happens_promises_are_kept() {
    let seeds = match number("CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CRASH_SEEDS").unwrap_or(SEEDS),
    };
    let (next, states, failed) = (AtomicU64::new(seeds.start), AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = catch_unwind(|| {
                let mut history = History::new(seed, None);
                history.aloud = number("CRASH_SEED").is_some();
                history.run();
                history.states
            });
            match outcome {
                Ok(count) => {
                    states.fetch_add(count, Ordering::Relaxed);
                }
                Err(_) => {
                    eprintln!("failed with CRASH_SEED={seed}");
                    failed.lock().unwrap().push(seed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
    println!("{} histories, {} recoveries", seeds.end - seeds.start, states.into_inner());
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut traces = Vec::new();
    for seed in 0..20 {
        let mut one = History::new(seed, None);
        let mut other = History::new(seed, None);
        one.run();
        other.run();
        assert_eq!(one.trace(), other.trace(), "seed {seed}: not the same operations in the same order");
        assert_eq!(one.disk().files(), other.disk().files());
        assert!(!traces.contains(&one.trace()), "two seeds gave one trace: it says nothing");
        traces.push(one.trace());
    }
}

/// The seed whose history finds the bug, which is fine without it.
fn finds(bug: Bug) -> u64 {
    let found =
        (0..SEEDS_TO_FIND).find(|seed| catch_unwind(|| History::new(*seed, Some(bug)).run()).is_err());
    let seed = found.unwrap_or_else(|| panic!("{bug:?} is not found by {SEEDS_TO_FIND} histories"));
    for seed in 0..=seed {
        History::new(seed, None).run();
    }
    seed
}

#[test]
fn an_answer_before_the_flush_is_found() {
    println!("found with seed {}", finds(Bug::AnswerBeforeFlush));
}

#[test]
fn a_forgotten_directory_sync_is_found() {
    println!("found with seed {} (log)", finds(Bug::ForgottenLogDirectorySync));
    println!("found with seed {} (configuration)", finds(Bug::ForgottenConfigDirectorySync));
}

#[test]
fn a_checkpoint_ahead_of_the_log_is_found() {
    println!("found with seed {}", finds(Bug::CheckpointAheadOfLog));
}

#[test]
fn a_mark_ahead_of_the_index_is_found() {
    println!("found with seed {}", finds(Bug::IndexMarkAhead));
}

#[test]
fn an_entry_that_the_journal_leaves_out_is_found() {
    println!("found with seed {}", finds(Bug::JournalLeavesOut));
}
