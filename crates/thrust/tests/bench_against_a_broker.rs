//! `thrust bench` against `thrust serve`: what it counts has happened.

mod process;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use process::{Socket, Thrust, stub, thrust};
use serde_json::Value;
use wire::code::{request, response};

/// What a run prints that must succeed.
fn json(args: &[&str], more: &[&str]) -> Value {
    let done = thrust(&[&["bench"], args, more].concat()).assert().success();
    serde_json::from_slice(&done.get_output().stdout).unwrap()
}

/// The report of one round in which nothing failed.
fn report(args: &[&str], more: &[&str]) -> Value {
    let report = json(args, more);
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
fn roundtrips_by_the_clock_are_as_many_as_were_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let thrust = Thrust::serve(dir.path(), &[]);
    let address = thrust.broker().to_string();
    let fixed = ["roundtrip", &address, "--secs", "1", "--warmup", "0.2", "--size", "100", "--json"];
    // What was due in the window comes back within it or after it: it counts all the same.
    let report = report(&fixed, &["--conns", "2", "--rate", "100"]);
    let messages = report["servers"][0]["median"]["messages"].as_u64().unwrap();
    assert!((99..=101).contains(&messages), "{report}");
    assert_eq!(report["rate_asked"], 100);
}

#[test]
fn every_work_tells_people_what_it_has_measured() {
    let dir = tempfile::tempdir().unwrap();
    let server = Thrust::serve(dir.path(), &[]);
    let address = server.broker().to_string();
    let short = ["--secs", "0.3", "--warmup", "0.1", "--queues", "1", "--conns", "1", "--size", "100"];
    for work in ["send", "pull --fill 300", "roundtrip", "mixed", "transact", "pop --fill 300"] {
        let words: Vec<&str> = work.split(' ').collect();
        let args = [&["bench"], &words[..], &[&address], &short].concat();
        let told = contains("msg/s").and(contains("p99.9")).and(contains("errors     none"));
        thrust(&args).assert().success().stdout(starts_with(format!("{}  {address}", words[0])).and(told));
    }
    let idle =
        ["bench", "idle", &address, "--secs", "0.3", "--warmup", "0.1", "--conns", "1", "--suspend", "0.1"];
    thrust(&idle).assert().success().stdout(starts_with(format!("idle  {address}")));
}

#[test]
fn two_servers_take_turns_and_their_ratio_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Thrust::serve(dir.path(), &[]);
    let address = server.broker().to_string();
    let file = dir.path().join("latency.hgrm");
    let fixed =
        ["send", &address, "--compare", &address, "--rounds", "2", "--secs", "0.3", "--warmup", "0.1"];
    let rounds = contains(format!("1 of 2  {address}")).count(2).and(contains("2 of 2").count(2));
    let ratio = contains(format!("{address} / {address}\n  rate ")).and(contains("p99.9"));
    let histogram = ["--histogram", file.to_str().unwrap()];
    thrust(&[&["bench"], &fixed[..], &histogram].concat()).assert().success().stdout(rounds.and(ratio));
    for name in ["latency.hgrm", "latency-2.hgrm"] {
        let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(text.contains("#[Max"), "{name}: {text}");
    }
    let report = json(&fixed, &["--json"]);
    assert_eq!(report["servers"].as_array().unwrap().len(), 2, "{report}");
    assert!(report["ratio"]["messages_per_second"].as_f64().is_some_and(|ratio| ratio > 0.0), "{report}");
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
    let crowd = ["idle", &address, "--conns", "30", "--suspend", "0.5", "--heartbeat", "1"];
    let report = json(&crowd, &["--warmup", "0.5", "--secs", "1.5", "--json", "--pid", &pid]);
    let number = |name: &str| report[name].as_f64().unwrap_or_else(|| panic!("no {name} in {report}"));
    assert!(number("pulls") > 0.0 && number("heartbeats") > 0.0, "{report}");
    assert_eq!((number("unexpected"), number("consumers")), (0.0, 30.0), "{report}");
    assert!(number("server_resident_bytes_per_consumer") > 0.0, "{report}");
}

#[test]
fn load_goes_nowhere_that_nobody_named() {
    // A cluster of another machine, as the environment or a context may name it. Nobody listens there.
    let master = "192.0.2.1:10911";
    let names = stub(move |asked, _| match asked {
        request::GET_BROKER_CLUSTER_INFO => {
            let data =
                format!("{{\"brokerName\":\"a\",\"cluster\":\"c\",\"brokerAddrs\":{{\"0\":\"{master}\"}}}}");
            (
                0,
                &[],
                format!("{{\"brokerAddrTable\":{{\"a\":{data}}},\"clusterAddrTable\":{{\"c\":[\"a\"]}}}}"),
            )
        }
        _ => (response::TOPIC_NOT_EXIST, &[], String::new()),
    });
    for work in ["send", "pull", "idle"] {
        let refused = thrust(&["bench", work]).env("NAMESRV_ADDR", names.to_string()).assert().code(2);
        refused.stderr(contains("the load would go to 192.0.2.1:10911").and(contains("nothing was sent")));
    }
}

#[test]
fn a_topic_of_others_is_not_filled_without_consent() {
    let dir = tempfile::tempdir().unwrap();
    let server = Thrust::serve(dir.path(), &[]);
    let (address, names) = (server.broker().to_string(), server.nameserver().to_string());
    thrust(&["topic", "create", "orders", "-q", "1", "-n", &names]).assert().success();
    let fixed = [
        "--topic", "orders", "--fill", "50", "--queues", "1", "--conns", "1", "--secs", "0.2", "--warmup",
        "0",
    ];
    for work in ["pull", "pop"] {
        let line = [&["bench", work, &address][..], &fixed].concat();
        let refused = thrust(&line).assert().code(2);
        refused.stderr(contains("topic orders").and(contains("nothing was sent")));
    }
    let mut socket = Socket::connect(server.broker());
    assert_eq!(socket.max_offset("orders", 0), 0);
    thrust(&[&["bench", "pull", &address, "--yes"][..], &fixed].concat()).assert().success();
    assert_eq!(socket.max_offset("orders", 0), 50);
}
