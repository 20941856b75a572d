//! What only somebody at a terminal sees: tables that fit, colours, questions, and that something goes on.

use std::net::TcpListener;
use std::process::Command;

use super::Server;
use crate::process::terminal::{Seen, run};
use crate::process::{Thrust, piped};

const COLUMNS: u16 = 80;

fn thrust(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thrust"));
    command.args(args).env("TERM", "xterm");
    piped(command)
}

fn on(server: &Server, line: &str, typed: &[u8]) -> Seen {
    let words: Vec<&str> = line.split(' ').chain(["-n", &server.names]).collect();
    run(thrust(&words), COLUMNS, typed)
}

fn fits(line: &str, seen: &Seen) {
    assert!(seen.status.success(), "{line}: {}", seen.raw);
    for shown in seen.lines() {
        assert!(shown.chars().count() <= usize::from(COLUMNS), "`thrust {line}` shows {shown:?}");
    }
}

/// Names as long as people give them, and a message of many fields.
fn world() -> Server {
    // However full the disk of this machine is, the doctor finds nothing to say of it.
    let keys = ["brokerName=broker-of-the-eastern-region-a", "diskMaxUsedSpaceRatio=95"];
    let server = Server::start_with(&keys);
    let topic = "orders-of-all-customers-in-the-eastern-region";
    let group = "billing-of-all-customers-in-the-eastern-region";
    server.prints(&["topic", "create", topic, "-q", "2"]);
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    let keys: Vec<String> = (0..12).map(|number| format!("--key=order-number-{number}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let sent = ["produce", "-t", topic, "--tag", "paid-in-full", "--property=amount=1200", "an order"];
    server.prints(&[&sent[..], &keys].concat());
    server.prints(&["produce", "-t", "orders", "-k", "7", "an order"]);
    server.prints(&["consume", "-t", topic, "-g", group, "--until-end"]);
    server.prints(&["group", "create", "billing"]);
    server
}

#[test]
fn what_is_shown_fits() {
    let server = world();
    let topic = "orders-of-all-customers-in-the-eastern-region";
    let group = "billing-of-all-customers-in-the-eastern-region";
    for line in [
        "topic list",
        "topic list --all",
        &format!("topic describe {topic}"),
        &format!("topic route {topic}"),
        &format!("topic update {topic} --queues 3"),
        "group list --all",
        &format!("group describe {group}"),
        &format!("group lag {group}"),
        "group update billing --retries 3",
        "group reset billing -t orders --to first --yes",
        "message find order-number-3",
        "message show order-number-3",
        "message track order-number-3",
        "message resend 7 -t orders --yes",
        "cluster list",
        "cluster stats",
        "broker config get",
        "broker config set fileReservedTime=47",
        "broker status",
        "produce -t orders another",
        "explain message order-number-3",
        &format!("explain group {group}"),
        &format!("explain topic {topic}"),
        "topic delete orders --yes",
        "group delete billing --yes",
    ] {
        fits(line, &on(&server, line, b""));
    }
    let doctor = on(&server, "doctor", b"");
    assert!(doctor.lines().iter().all(|line| line.chars().count() <= usize::from(COLUMNS)), "{}", doctor.raw);
}

#[test]
fn pages_of_help_fit() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md")).unwrap();
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## thrust ")).collect();
    assert!(commands.len() > 50, "{commands:?}");
    for command in commands.into_iter().filter(|command| *command != "mqadmin").chain([""]) {
        let words: Vec<&str> = command.split(' ').filter(|word| !word.is_empty()).chain(["--help"]).collect();
        let seen = run(thrust(&words), COLUMNS, b"");
        let (examples, other): (Vec<String>, Vec<String>) = seen
            .lines()
            .into_iter()
            .partition(|line| line.starts_with("  thrust ") || line.contains("| thrust "));
        assert!(seen.status.success() && !other.is_empty(), "{command}: {examples:?}");
        for line in other {
            assert!(line.chars().count() <= usize::from(COLUMNS), "`thrust {command} --help` shows {line:?}");
        }
    }
}

#[test]
fn a_store_fits() {
    let dir = tempfile::tempdir().unwrap();
    let (data, topic) = (dir.path().join("data"), "orders-of-all-customers-in-the-eastern-region");
    let mut left = Thrust::serve(&data, &["--set", "mappedFileSizeCommitLog=1048576"]);
    let names = left.nameserver().to_string();
    let sent = ["produce", "-t", topic, "-k", "order-number-7", "--tag", "paid-in-full", "a", "-n", &names];
    assert!(thrust(&sent).status().unwrap().success());
    left.stop();
    let data = data.to_str().unwrap();
    for line in ["inspect", "inspect --records", &format!("inspect --topic {topic}"), "verify", "repair"] {
        let words: Vec<&str> = ["store"].into_iter().chain(line.split(' ')).chain([data]).collect();
        fits(line, &run(thrust(&words), COLUMNS, b""));
    }
}

#[test]
fn headings_stand_out_where_colours_are_wanted() {
    let server = Server::start();
    let bold = "\x1b[1mCLUSTER";
    assert!(on(&server, "cluster list", b"").raw.starts_with(bold));
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut plain = thrust(&["cluster", "list", "-n", &server.names]);
        plain.env(name, value);
        assert!(run(plain, COLUMNS, b"").raw.starts_with("CLUSTER"), "{name}");
    }
    assert!(!server.prints(&["cluster", "list"]).contains('\x1b'));
}

#[test]
fn what_is_lost_is_asked_about() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    let what = "topic \"orders\" with 0 messages is deleted for good at 1 broker";
    let question = format!("{what} (at {}). Go on? [y/N] ", server.names);
    // The end of the input is as good as a no.
    for (typed, before) in [(&b"n\n"[..], ""), (b"\n", ""), (b"yesterday\n", ""), (b"\x04", "\n")] {
        let seen = on(&server, "topic delete orders", typed);
        assert_eq!(seen.status.code(), Some(2), "{}", seen.raw);
        let told = format!("[y/N] {before}thrust: nothing was done\n");
        assert!(seen.raw.ends_with(&told), "{}", seen.raw);
        // It takes more than a line.
        assert!(seen.raw.replace('\n', " ").contains(&question), "{}", seen.raw);
    }
    let seen = on(&server, "topic delete orders", b"y\n");
    assert!(seen.status.success() && seen.raw.contains("deleted topic orders"), "{}", seen.raw);
}

#[test]
fn whoever_waits_sees_for_whom() {
    // Connections are taken, and nothing is answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let names = silent.local_addr().unwrap().to_string();
    let seen = run(thrust(&["topic", "list", "-n", &names]), COLUMNS, b"");
    assert_eq!(seen.status.code(), Some(4), "{}", seen.raw);
    assert!(seen.raw.contains(&format!("\rasking {names}: 1 s\x1b[K")), "{:?}", seen.raw);
    // It is gone before anything else is said.
    let (_, last) = seen.raw.rsplit_once("\r\x1b[K").unwrap();
    assert!(last.starts_with("thrust: no name server answered"), "{last:?}");
}

#[test]
fn whoever_types_is_told_how_to_end() {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    let seen = on(&server, "produce -t orders", b"first\nsecond\n\x04");
    assert!(seen.status.success() && seen.raw.contains("Ctrl-D ends"), "{}", seen.raw);
    assert!(seen.raw.contains("2 of 2 messages stored in "), "{}", seen.raw);
}

#[test]
fn a_bench_shows_each_second() {
    let server = Server::start();
    let short =
        ["bench", "send", "--secs", "2.5", "--warmup", "0", "--conns", "1", "--queues", "1", "--rate", "200"];
    let seen = run(thrust(&[&short[..], &["-n", &server.names]].concat()), COLUMNS, b"");
    assert!(seen.status.success() && seen.raw.contains(" msg/s  p50 "), "{}", seen.raw);
    // What stays is the report alone.
    assert!(seen.lines().iter().all(|line| !line.contains('\r')), "{:?}", seen.raw);
}
