//! The load generator against its own echo: that it runs and prints, never how fast it is.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

struct Echo {
    child: Child,
    addr: String,
}

impl Echo {
    fn start() -> Echo {
        // It ends by itself should this test die before it can end it.
        let mut child =
            thrust(&["echo", "--port", "0", "--secs", "60"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr =
            line.split_whitespace().nth(3).unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        Echo { child, addr }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn thrust(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thrust"));
    command.arg("bench").args(args);
    command
}

fn send(addr: &str, more: &[&str]) -> Output {
    thrust(&["send", addr, "--secs", "1", "--warmup", "0.2"]).args(more).output().unwrap()
}

fn printed(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn a_block_tells_rate_latency_and_cost() {
    let echo = Echo::start();
    let pid = echo.child.id().to_string();
    let pids: &[&str] = if cfg!(target_os = "linux") { &["--pid", &pid] } else { &[] };
    let text = printed(&send(&echo.addr, pids));
    for part in ["msg/s", "p50", "p99.9", "max", "generator", "errors     none"] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    assert_eq!(text.contains("CPU per message   "), cfg!(target_os = "linux"), "{text}");
}

#[test]
fn json_counts_what_was_asked_for() {
    let echo = Echo::start();
    let text = printed(&send(&echo.addr, &["--rate", "2000", "--json", "--binary", "--conns", "3"]));
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
    let text = printed(&send(
        &echo.addr,
        &["--batch", "8", "--compare", &echo.addr, "--rounds", "1", "--row", "name"],
    ));
    assert!(text.starts_with("| name | ") && text.lines().count() == 1, "{text}");
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
    let text = printed(&thrust(&["draw", table, "--dir", pictures.to_str().unwrap()]).output().unwrap());
    assert_eq!(text.lines().count(), 2, "{text}");
    for curve in ["size", "topics"] {
        let svg = std::fs::read_to_string(pictures.join(format!("{curve}.svg"))).unwrap();
        assert!(svg.starts_with("<svg"), "{svg}");
    }
}

#[test]
fn nobody_listening_is_said_with_a_remedy() {
    let output = send("127.0.0.1:1", &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("cannot connect to 127.0.0.1:1") && text.contains("thrust serve"), "{text}");
}
