//! What consumers have committed and what waits for its time is still there after a stop and after a kill.

mod process;

use std::time::{Duration, Instant, SystemTime};

use process::{Socket, Thrust, eventually};

fn unix_ms() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

#[test]
fn committed_offsets_after_a_clean_stop_are_the_last_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut thrust = Thrust::serve(dir.path(), &[]);
    let mut socket = Socket::connect(thrust.broker());
    assert_eq!(socket.send("orders", "0", "x", "").code, 0);
    socket.join("readers");
    for offset in 1..=100 {
        socket.commit("readers", "orders", "0", offset);
    }
    thrust.stop();
    let mut thrust = Thrust::serve(dir.path(), &[]);
    assert_eq!(Socket::connect(thrust.broker()).committed("readers", "orders", "0"), Some(100));
    thrust.stop();
}

/// The default interval is 5 s: what was committed longer ago than that is never forgotten.
#[test]
fn committed_offsets_after_a_kill_are_at_most_one_interval_old() {
    const INTERVAL: Duration = Duration::from_secs(5);
    let dir = tempfile::tempdir().unwrap();
    let thrust = Thrust::serve(dir.path(), &[]);
    let mut socket = Socket::connect(thrust.broker());
    assert_eq!(socket.send("orders", "0", "x", "").code, 0);
    socket.join("readers");
    let mut committed = Vec::new();
    let since = Instant::now();
    eventually("an interval is over", || {
        let offset = committed.len() as i64 + 1;
        socket.commit("readers", "orders", "0", offset);
        committed.push((Instant::now(), offset));
        since.elapsed() > INTERVAL + Duration::from_millis(1_500)
    });
    let killed = Instant::now();
    thrust.kill();
    let mut thrust = Thrust::serve(dir.path(), &[]);
    let found = Socket::connect(thrust.broker()).committed("readers", "orders", "0").unwrap_or(0);
    // A second for a machine that is busy with other things.
    let old = INTERVAL + Duration::from_secs(1);
    let safe = committed.iter().rev().find(|(when, _)| killed.duration_since(*when) > old).unwrap();
    assert!(
        found >= safe.1,
        "{found} is older than {}, committed {:?} before the kill",
        safe.1,
        killed - safe.0
    );
    assert!(found <= committed.len() as i64);
    thrust.stop();
}

#[test]
fn a_delayed_message_comes_once_and_in_time_whatever_happens_to_the_process_meanwhile() {
    const DELAY_MS: i64 = 3_000;
    let keys = ["--set", "messageDelayLevel=1s 3s"];
    let delayed = "DELAY\u{1}2\u{2}";
    let dir = tempfile::tempdir().unwrap();
    let thrust = Thrust::serve(dir.path(), &keys);
    let mut socket = Socket::connect(thrust.broker());
    let sent_ms = unix_ms();
    assert_eq!(socket.send("orders", "3", "later", delayed).code, 0);
    thrust.kill();
    let mut thrust = Thrust::serve(dir.path(), &keys);
    let mut socket = Socket::connect(thrust.broker());
    assert_eq!(socket.send("orders", "2", "later too", delayed).code, 0);
    thrust.stop();
    let mut thrust = Thrust::serve(dir.path(), &keys);
    let mut socket = Socket::connect(thrust.broker());
    assert_eq!(socket.max_offset("orders", 3), 0, "it is early");
    for (queue, body) in [(3, "later"), (2, "later too")] {
        let answer = socket.pull("orders", queue, 0, 20_000);
        assert!(unix_ms() - sent_ms >= DELAY_MS, "{body} came after {} ms", unix_ms() - sent_ms);
        let messages = process::socket::messages(&answer.body);
        assert_eq!((messages.len(), messages[0].body.as_str()), (1, body));
    }
    assert_eq!((socket.max_offset("orders", 2), socket.max_offset("orders", 3)), (1, 1));
    // Nor does it come again after the next start: how far deliveries have come is written down.
    thrust.stop();
    let mut thrust = Thrust::serve(dir.path(), &keys);
    let mut socket = Socket::connect(thrust.broker());
    assert_eq!(socket.send("orders", "1", "after them", "DELAY\u{1}1\u{2}").code, 0);
    assert_eq!(process::socket::messages(&socket.pull("orders", 1, 0, 20_000).body).len(), 1);
    assert_eq!((socket.max_offset("orders", 2), socket.max_offset("orders", 3)), (1, 1));
    thrust.stop();
}
