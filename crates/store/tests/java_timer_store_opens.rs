//! A store in which the real Java broker was killed with timer messages waiting (fixtures/README.md): each is
//! delivered once and at its own millisecond, and what Java had delivered does not come again.
#![allow(clippy::disallowed_methods, reason = "fixtures are real files on a real disk")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::archive;
use crate::support::open_on;
use crate::timer::{arrived, run};
use sim::SimClock;
use store::{Options, RealDisk, TimerOptions};

/// A line of `pending`: body, when it is due, whether that is exact: a delay began a little later than was noted.
fn pending(text: &str) -> Vec<(String, i64, bool)> {
    let lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines.map(|words| (words[0].to_owned(), words[1].parse().unwrap(), words[2] == "1")).collect()
}

#[test]
fn what_waits_in_a_killed_java_broker_comes_at_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    archive::unpack(&fixtures.join("java-5.5.0-timer-kill.tar.gz"), dir.path());
    let pending = pending(&fs::read_to_string(dir.path().join("pending")).unwrap());
    let first = pending.iter().map(|(_, due, _)| *due).min().unwrap();
    let last = pending.iter().map(|(_, due, _)| *due).max().unwrap();
    let clock = SimClock::new(first - 10_000, 0);
    let open = || {
        let options = Options {
            // As in the broker.conf when the fixture was made.
            segment_bytes: 32 * 1024,
            queue_segment_entries: 100,
            index_enabled: false,
            delay_levels: [1, 2].map(Duration::from_secs).to_vec(),
            timer: Some(TimerOptions { log_file_bytes: 1056, ..TimerOptions::default() }),
            ..Options::new(dir.path())
        };
        open_on(Arc::new(RealDisk), Arc::new(clock.clone()), options).unwrap()
    };
    let mut store = open();
    assert_eq!(store.timer_figures().pending, pending.len() as i64 + 1, "one is due days later");
    let mut now = first - 10_000;
    for step in 0.. {
        run(&store);
        if step == 300 {
            store.timer_flush_step().unwrap();
        }
        if step == 900 {
            // A kill in the middle: nothing is forgotten and nothing repeated.
            drop(store);
            store = open();
        }
        if now > last + 1500 {
            break;
        }
        let millis = if now < first - 20 { 500 } else { 1 };
        clock.advance(Duration::from_millis(millis));
        now += millis as i64;
    }
    let got = arrived(&store, "Later", 0);
    let bodies = |body: &str| got.iter().filter(|arrived| arrived.body.starts_with(body)).count();
    assert_eq!((bodies("soon"), bodies("far")), (1, 0));
    assert_eq!(got.len(), pending.len() + 1);
    for (body, due, exact) in pending {
        let came =
            got.iter().find(|arrived| arrived.body.starts_with(&format!("{body}-"))).unwrap().delivered_ms;
        if exact {
            assert_eq!(came, due, "{body}");
        } else {
            assert!((due..due + 1000).contains(&came), "{body} came at {came}, due {due}");
        }
    }
    assert_eq!(store.timer_figures().pending, 1);
}
