//! `thrust bench` against `thrust serve`: what it counts has happened.

mod process;

use std::process::Command;

use process::Thrust;
use serde_json::Value;

/// The report of one round in which nothing failed.
fn report(args: &[&str], more: &[&str]) -> Value {
    let output =
        Command::new(env!("CARGO_BIN_EXE_thrust")).arg("bench").args(args).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["work"], args[0]);
    let round = &report["servers"][0]["rounds"][0];
    assert!(round["messages"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(
        (&round["errors"], &round["unanswered"]),
        (&Value::Array(Vec::new()), &Value::from(0)),
        "{report}"
    );
    report
}

#[test]
fn transactions_that_are_counted_are_committed() {
    let dir = tempfile::tempdir().unwrap();
    let thrust = Thrust::serve(dir.path(), &[]);
    let address = thrust.broker().to_string();
    let fixed = ["transact", &address, "--secs", "1.5", "--warmup", "0", "--size", "100", "--json"];
    for more in [&["--conns", "2", "--inflight", "8"][..], &["--binary", "--queues", "1"]] {
        report(&fixed, more);
    }
}

#[test]
fn messages_that_are_counted_from_end_to_end_were_received() {
    let dir = tempfile::tempdir().unwrap();
    let thrust = Thrust::serve(dir.path(), &[]);
    let address = thrust.broker().to_string();
    let fixed = ["mixed", &address, "--secs", "1", "--warmup", "0.2", "--size", "100", "--json"];
    let free = report(&fixed, &["--conns", "2", "--inflight", "8", "--consumers", "3", "--binary"]);
    assert_eq!((&free["consumers"], &free["queues"]), (&Value::from(3), &Value::from(4)));
    // By the clock all that was due in the window is received, however slow this machine is.
    let paced = report(&fixed, &["--rate", "1000", "--conns", "2", "--batch", "4"]);
    let received = paced["servers"][0]["median"]["messages"].as_u64().unwrap();
    assert!((999..=1001).contains(&received), "{paced}");
}

#[test]
fn a_roundtrip_ends_with_the_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let thrust = Thrust::serve(dir.path(), &[]);
    let address = thrust.broker().to_string();
    let file = dir.path().join("latency.hgrm");
    let fixed = ["roundtrip", &address, "--secs", "1", "--warmup", "0.2", "--size", "100", "--json"];
    let report = report(&fixed, &["--conns", "3", "--histogram", file.to_str().unwrap()]);
    let text = std::fs::read_to_string(&file).unwrap();
    let messages = report["servers"][0]["rounds"][0]["messages"].as_u64().unwrap();
    assert!(text.lines().any(|line| line.ends_with(&format!("= {messages:>12}]"))), "{messages}: {text}");
}

#[test]
fn pulls_by_the_clock_take_as_much_as_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let thrust = Thrust::serve(dir.path(), &[]);
    let address = thrust.broker().to_string();
    let fixed = ["pull", &address, "--secs", "1", "--warmup", "0.2", "--size", "100", "--json"];
    let report = report(&fixed, &["--fill", "1000", "--rate", "2000", "--batch", "10"]);
    let pulled = report["servers"][0]["median"]["messages"].as_u64().unwrap();
    // The last pull of a queue may give less than it asks for.
    assert!((1500..=2010).contains(&pulled), "{report}");
}

#[test]
fn pops_that_are_counted_were_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let thrust = Thrust::serve(dir.path(), &[]);
    let address = thrust.broker().to_string();
    let fixed =
        ["pop", &address, "--secs", "1", "--warmup", "0.2", "--size", "100", "--json", "--fill", "2000"];
    for more in [&["--batch", "8"][..], &["--batch-ack", "--conns", "2"]] {
        report(&fixed, more);
    }
}

#[test]
fn consumers_with_nothing_to_consume_are_answered_at_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let thrust = Thrust::serve(dir.path(), &[]);
    let (address, pid) = (thrust.broker().to_string(), thrust.pid().to_string());
    let output = Command::new(env!("CARGO_BIN_EXE_thrust"))
        .args(["bench", "idle", &address, "--conns", "30", "--suspend", "0.5", "--heartbeat", "1"])
        .args(["--warmup", "0.5", "--secs", "1.5", "--json", "--pid", &pid])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("no {name} in {report}"));
    assert!(number("pulls") > 0.0 && number("heartbeats") > 0.0, "{report}");
    assert_eq!((number("unexpected"), number("consumers")), (0.0, 30.0), "{report}");
    assert!(number("server_resident_bytes_per_consumer") > 0.0, "{report}");
}
