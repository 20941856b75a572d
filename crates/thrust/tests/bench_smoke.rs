//! The load generator against its own echo: that it runs and prints, never how fast it is.

mod process;

use assert_cmd::assert::Assert;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use process::{Thrust, printed, thrust};
use serde_json::Value;

struct Echo {
    process: Thrust,
    addr: String,
}

impl Echo {
    fn start() -> Echo {
        // It ends by itself should this test die before it can end it.
        let process = Thrust::start(&["bench", "echo", "--port", "0", "--secs", "60"]);
        let line = &process.ready.line;
        let addr =
            line.split_whitespace().nth(3).unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        Echo { process, addr }
    }
}

fn send(addr: &str, more: &[&str]) -> Assert {
    thrust(&["bench", "send", addr, "--secs", "1", "--warmup", "0.2"]).args(more).assert()
}

#[test]
fn a_block_tells_rate_latency_and_cost() {
    let echo = Echo::start();
    let pid = echo.process.pid().to_string();
    let pids: &[&str] = if cfg!(target_os = "linux") { &["--pid", &pid] } else { &[] };
    let mut told = send(&echo.addr, pids).success();
    for part in ["msg/s", "p50", "p99.9", "max", "generator", "errors     none"] {
        told = told.stdout(contains(part));
    }
    told.stdout(contains("CPU per message   ").count(usize::from(cfg!(target_os = "linux"))));
}

#[test]
fn json_counts_what_was_asked_for() {
    let echo = Echo::start();
    let done = send(&echo.addr, &["--rate", "2000", "--json", "--binary", "--conns", "3"]).success();
    let text = printed(&done);
    let report: Value = serde_json::from_str(&text).unwrap();
    let server = &report["servers"][0];
    assert_eq!(report["rate_asked"], 2000);
    assert_eq!(server["address"], echo.addr.as_str());
    // By the clock the count is exact, however slow this machine is, as long as all were answered in the end.
    assert_eq!(server["rounds"][0]["unanswered"], 0, "{text}");
    let messages = server["median"]["messages"].as_u64().unwrap();
    assert!((1999..=2001).contains(&messages), "{text}");
}

#[test]
fn batches_count_their_messages_and_two_servers_make_a_row() {
    let echo = Echo::start();
    let two = ["--batch", "8", "--compare", &echo.addr, "--rounds", "1", "--row", "name"];
    let row = starts_with("| name | ").and(contains("\n").count(1));
    send(&echo.addr, &two).success().stdout(row);
}

#[test]
fn measured_points_become_a_picture_of_each_curve() {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("curves.csv");
    let head = "curve,x,server,messages_per_second,bytes_per_second,p50_us,p99_us,p999_us,cpu_us";
    let rows = [
        "size,64,thrust,200000,12800000,500,900,1500,4.5",
        "topics,1,thrust,180000,184320000,550,990,1600,5",
    ];
    std::fs::write(&table, [&[head], &rows[..]].concat().join("\n")).unwrap();
    let (table, pictures) = (table.to_str().unwrap(), dir.path().join("pictures"));
    let drawn = thrust(&["bench", "draw", table, "--dir", pictures.to_str().unwrap()]).assert().success();
    drawn.stdout(contains("\n").count(2));
    for curve in ["size", "topics"] {
        let svg = std::fs::read_to_string(pictures.join(format!("{curve}.svg"))).unwrap();
        assert!(svg.starts_with("<svg"), "{svg}");
    }
}

#[test]
fn nobody_listening_is_said_with_a_remedy() {
    let told = contains("cannot connect to 127.0.0.1:1").and(contains("thrust serve"));
    send("127.0.0.1:1", &[]).code(4).stderr(told);
    send("nowhere", &[]).code(2).stderr(contains("an address is host:port"));
}

#[test]
fn a_file_of_latencies_that_cannot_be_written_is_told_before_the_time_is_spent() {
    let refused = send("127.0.0.1:1", &["--histogram", "/nowhere/latency.hgrm"]);
    refused.code(1).stderr(contains("cannot write the latencies to /nowhere/latency.hgrm"));
}
