//! `kill -9` again and again while timer messages come and go: each is delivered once, none before its time.
#![allow(
    clippy::disallowed_methods,
    reason = "time passes for another process; this one has nothing else to do"
)]

mod process;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use process::{PATIENCE, Socket, Thrust};

fn unix_ms() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

#[test]
fn each_message_is_delivered_once_though_the_broker_is_killed_meanwhile() {
    const LIVES: usize = 3;
    let dir = tempfile::tempdir().unwrap();
    let mut due = BTreeMap::new();
    for life in 0..LIVES {
        let thrust = Thrust::serve(dir.path(), &[]);
        let mut socket = Socket::connect(thrust.broker());
        for number in 0..60 {
            // Some are delivered in this life, some while no broker runs, some in a later life.
            let at_ms = unix_ms() + 40 + number * 23;
            let body = format!("{life}-{number}");
            let properties = format!("TIMER_DELIVER_MS\u{1}{at_ms}\u{2}");
            assert_eq!(socket.send("orders", "0", &body, &properties).code, 0);
            due.insert(body, at_ms);
        }
        std::thread::sleep(Duration::from_millis(150 + 130 * life as u64));
        thrust.kill();
    }
    let mut thrust = Thrust::serve(dir.path(), &[]);
    let mut socket = Socket::connect(thrust.broker());
    let since = Instant::now();
    while socket.max_offset("orders", 0) < due.len() as i64 && since.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    // What came twice would have come by now, with what is due last.
    let last = due.values().max().unwrap();
    let more = (last + 1500 - unix_ms()).max(500) as u64;
    std::thread::sleep(Duration::from_millis(more));
    let mut got: Vec<String> = socket.read_all("orders", 0).into_iter().map(|got| got.body).collect();
    got.sort();
    assert_eq!(got, due.keys().cloned().collect::<Vec<_>>());
    thrust.stop();
}
