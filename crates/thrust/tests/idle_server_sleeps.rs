//! A server to which nothing happens does nothing: its threads sleep until something is due or somebody comes.

#![cfg(target_os = "linux")]

mod process;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use process::socket::pull_frame;
use process::{Socket, Thrust, eventually};

/// How long it must be quiet for.
const WINDOW: Duration = Duration::from_secs(1);
/// How often threads may wake up meanwhile: a look at the disk, a registration, a count. A loop that looks ten times a
/// second whether there is something to do wakes up more often than that.
const WAKES_MAX: u64 = 4;

/// How often all threads of a process have waited for something and gone on.
fn wakes(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let waits = |status: String| -> Option<u64> {
        status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
    };
    // A thread may have ended since the list was made.
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
        .filter_map(waits)
        .sum()
}

/// Waits for a quiet window: what came before may take some seconds to be settled, and a timer that is due now and then
/// may fall into the first one.
fn is_quiet(thrust: &Thrust, what: &str) {
    eventually(what, || {
        let before = wakes(thrust.pid());
        std::thread::park_timeout(WINDOW);
        // A thread that has ended takes its count along.
        (before..=before + WAKES_MAX).contains(&wakes(thrust.pid()))
    });
}

#[test]
fn while_nobody_is_connected_to_an_empty_server_nothing_wakes_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut thrust = Thrust::serve(dir.path(), &[]);
    is_quiet(&thrust, "an empty server rests");
    thrust.stop();
}

/// What is due in an hour costs nothing until then: messages that are delayed, timed, open or popped, and who waits.
#[test]
fn what_is_not_due_wakes_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut thrust = Thrust::serve(dir.path(), &[]);
    let mut socket = Socket::connect(thrust.broker());
    let in_an_hour = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(3600);
    let timed = format!("TIMER_DELIVER_MS\u{1}{}\u{2}", in_an_hour.as_millis());
    for properties in ["", "DELAY\u{1}17\u{2}", &timed] {
        assert_eq!(socket.send("orders", "0", "a message", properties).code, 0, "{properties:?}");
    }
    let popped = socket.call(
        200_050,
        &[
            ("consumerGroup", "workers"),
            ("topic", "orders"),
            ("queueId", "0"),
            ("maxMsgNums", "1"),
            ("invisibleTime", "3600000"),
            ("pollTime", "0"),
            ("bornTime", "0"),
            ("initMode", "0"),
            ("expType", "TAG"),
            ("exp", "*"),
            ("order", "false"),
        ],
        b"",
    );
    assert_eq!(popped.code, 0, "{popped:?}");
    assert!(socket.write(&pull_frame(1, "orders", 1, 0, 60_000)));
    is_quiet(&thrust, "a server that waits for what is due later rests");
    thrust.stop();
}
