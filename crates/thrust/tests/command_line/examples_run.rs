//! Every example of the help pages and of README is run.

use std::process::Command;

use super::Server;
use crate::process::{piped, to_end};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");

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
    std::fs::create_dir_all(server.dir.path().join("thrust-data")).unwrap();
    server
}

/// Runs a line as a shell does, in a directory and with settings of its own.
fn runs(server: &Server, line: &str) {
    // An end is told apart from a hang by a number.
    let line = line.replace("--follow", "--follow --count 1");
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_thrust")).parent().unwrap().to_str().unwrap();
    let path = format!("{binary}:{}", std::env::var("PATH").unwrap_or_default());
    let mut shell = piped(Command::new("sh"));
    shell.args(["-c", &line]).current_dir(server.dir.path());
    shell.env("PATH", path).env("NAMESRV_ADDR", &server.names).env("XDG_CONFIG_HOME", server.dir.path());
    let (code, out, err) = to_end(shell);
    // The disk of this machine may be full.
    let allowed: &[i32] = if line.starts_with("thrust doctor") { &[0, 1, 2] } else { &[0] };
    assert!(code.is_some_and(|code| allowed.contains(&code)), "{line}: {code:?}\n{out}\n{}", err.join("\n"));
}

#[test]
fn of_the_help_pages() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let blocks = page.split("\n```sh\n").skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0));
    let lines: Vec<&str> =
        blocks.flat_map(str::lines).filter(|line| !line.starts_with("thrust mqadmin")).collect();
    assert!(lines.len() > 40, "only {} examples are found", lines.len());
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
    let lines: Vec<&str> =
        lines.into_iter().filter(|line| line.starts_with("thrust ") && !line.contains(" is ready")).collect();
    assert!(lines.len() >= 5, "only {lines:?}");
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    lines.into_iter().for_each(|line| runs(&server, line));
}
