//! Every example of the help pages and of README is run.

use std::process::Command;

use predicates::prelude::predicate;

use super::{Server, run};
use crate::process::{Thrust, ending, piped};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../remoting/tests/certificates");
/// Ports, numbers and times of the examples, and what a test has instead.
const SMALLER: [(&str, &str); 7] = [
    ("--follow", "--follow --count 1"),
    ("--port 10920 --secs 5", "--port 0 --secs 0.2"),
    ("--secs 5", "--secs 0.2 --warmup 0 --queues 1 --conns 1"),
    ("--conns 1 --secs 0.2 --warmup 0 --queues 1 --conns 1", "--conns 1 --secs 0.2 --warmup 0"),
    ("--fill 10000", "--fill 300"),
    ("--rounds 3", "--rounds 1"),
    ("--port 9876", "--port 0"),
];
/// Small files instead of those that a broker of many has.
const SMALL_LOG: [&str; 2] = ["--set", "mappedFileSizeCommitLog=1048576"];

/// What the examples speak of.
fn world() -> Server {
    let server = Server::start();
    for topic in ["orders", "old-orders", "copies"] {
        server.prints(&["topic", "create", topic, "-q", "1"]);
    }
    for key in ["7", "8"] {
        server.prints(&["produce", "-t", "orders", "--tag", "paid", "-k", key, "an order"]);
    }
    for group in ["billing", "old-billing"] {
        server.prints(&["consume", "-t", "orders", "-g", group, "--count", "1"]);
    }
    server.file("keys.yml", "accessKey: me\nsecretKey: deep\n");
    server.file("broker.conf", "flushDiskType=SYNC_FLUSH\nmappedFileSizeCommitLog=1048576\n");
    let points =
        "curve,x,server,messages_per_second,p50_us,p99_us,cpu_us\nsize,64,thrust,200000,500,900,4.5\n";
    server.file("curves.csv", points);
    for (name, file) in
        [("ca.pem", "authority.pem"), ("client.pem", "client.pem"), ("client.key", "client.key")]
    {
        std::fs::copy(format!("{CERTIFICATES}/{file}"), server.dir.path().join(name)).unwrap();
    }
    let mut left = Thrust::serve(&server.dir.path().join("thrust-data"), &SMALL_LOG);
    let names = left.nameserver().to_string();
    for words in [["topic", "create", "orders", "--queues=1"], ["produce", "-t", "orders", "first"]] {
        run(&[&words[..], &["-n", &names]].concat()).success();
    }
    left.stop();
    server
}

/// Starts a server as an example does, on free ports and with small files, until it is ready, and stops it.
fn serves(server: &Server, line: &str) {
    let mut words: Vec<&str> = line.split(' ').skip(1).collect();
    let more: &[&str] = match words[0] {
        "serve" => &["--nameserver-port", "0", "--broker-port", "0"],
        "broker" => &["--set", "listenPort=0"],
        _ => &[],
    };
    words.extend(more);
    if words[0] != "nameserver" {
        words.extend(SMALL_LOG);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_thrust"));
    command.args(words).current_dir(server.dir.path());
    Thrust::start_with(piped(command)).stop();
}

/// Runs a line as a shell does, in a directory and with settings of its own.
fn runs(server: &Server, line: &str) {
    let mut line = line.replace("127.0.0.1:10911", &server.broker).replace("127.0.0.1:20911", &server.broker);
    for (as_told, here) in SMALLER {
        line = line.replace(as_told, here);
    }
    let is_server =
        ["thrust serve", "thrust nameserver", "thrust broker -"].iter().any(|one| line.starts_with(one));
    if is_server && !line.ends_with("--help") {
        // One name server is enough for the topics of the other examples.
        return serves(server, &line.replace("127.0.0.1:9876", "127.0.0.1:1"));
    }
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_thrust")).parent().unwrap().to_str().unwrap();
    let path = format!("{binary}:{}", std::env::var("PATH").unwrap_or_default());
    let mut shell = piped(Command::new("sh"));
    shell.args(["-c", &line]).current_dir(server.dir.path());
    shell.env("PATH", path).env("NAMESRV_ADDR", &server.names).env("XDG_CONFIG_HOME", server.dir.path());
    // The disk of this machine may be full.
    let allowed: &[i32] = if line.starts_with("thrust doctor") { &[0, 1, 2] } else { &[0] };
    ending(shell).assert().code(predicate::in_iter(allowed.to_vec()));
}

#[test]
fn of_the_help_pages() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let blocks = page.split("\n```sh\n").skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0));
    let lines: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(lines.len() > 60, "only {} examples are found", lines.len());
    let server = world();
    for line in lines {
        if line == "thrust context remove old" {
            runs(&server, "thrust context add old -n 127.0.0.1:1");
        }
        runs(&server, line);
    }
}

#[test]
fn of_the_readme() {
    let page = std::fs::read_to_string(README).unwrap();
    let lines: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let lines = lines.into_iter().map(|line| line.split_once("  #").map_or(line, |(line, _)| line).trim());
    let shown: Vec<String> = lines
        .filter(|line| !line.contains(" is ready"))
        .map(|line| line.replace("cargo run --release --", "thrust"))
        .filter(|line| line.starts_with("thrust "))
        .collect();
    assert!(shown.len() >= 6, "only {shown:?}");
    // Those within sentences, but for those that only name a command.
    let told = page.split('`').filter(|text| text.starts_with("thrust ") && !text.contains('\n'));
    let is_whole =
        |text: &&str| text.contains(" --") || ["thrust man", "thrust completions bash"].contains(text);
    let told: Vec<&str> = told.filter(is_whole).collect();
    assert!(told.len() >= 6, "only {told:?}");
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    shown.iter().for_each(|line| runs(&server, line));
    told.into_iter().for_each(|line| runs(&server, line));
}
