//! Commands end as their surroundings want it: quietly when nobody reads, cleanly when they are interrupted.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::Server;

fn follow(server: &Server, group: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thrust"));
    command.args(["consume", "-t", "orders", "-g", group, "--follow", "--format", "raw"]);
    // The environment names the servers here.
    command.env("NAMESRV_ADDR", &server.names).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn with_a_topic() -> Server {
    let server = Server::start();
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    server.prints(&["produce", "-t", "orders", "a", "b"]);
    server
}

#[test]
fn an_interrupted_reader_has_written_its_offsets_down() {
    let server = with_a_topic();
    let mut reader = follow(&server, "g");
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    assert_eq!([lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap()], ["a", "b"]);
    kill_process(Pid::from_child(&reader), Signal::INT).unwrap();
    let end = reader.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&end.stderr);
    assert!(end.status.success(), "{told}");
    assert_eq!(told.trim(), "2 messages read from topic orders by group g");
    assert_eq!(server.json(&["group", "lag", "g"])["behind"], 0);
}

#[test]
fn a_reader_whose_pipe_is_closed_ends_quietly() {
    let server = with_a_topic();
    let mut reader = follow(&server, "g");
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "a");
    drop(lines);
    server.prints(&["produce", "-t", "orders", "c"]);
    let end = reader.wait_with_output().unwrap();
    assert!(end.status.success());
    assert_eq!(String::from_utf8_lossy(&end.stderr), "");
}

#[test]
fn an_interrupted_writer_says_what_was_stored() {
    let server = with_a_topic();
    for signal in [Signal::INT, Signal::TERM] {
        writer_ends_on(signal, &server);
    }
}

fn writer_ends_on(signal: Signal, server: &Server) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thrust"));
    command.args(["produce", "-t", "orders", "--json", "-n", &server.names]);
    let mut writer =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = writer.stdin.take().unwrap();
    pipe.write_all(b"c\n").unwrap();
    let mut receipts = BufReader::new(writer.stdout.take().unwrap()).lines();
    let receipt = receipts.next().unwrap().unwrap();
    assert!(receipt.contains("\"Stored\""), "it is told while the pipe is open: {receipt}");
    kill_process(Pid::from_child(&writer), signal).unwrap();
    let end = writer.wait_with_output().unwrap();
    drop(pipe);
    assert_eq!(end.status.code(), Some(1), "the pipe is open, and may have held more");
    let told = String::from_utf8_lossy(&end.stderr);
    assert!(told.starts_with("1 of 1 message stored in "), "{told}");
    assert!(told.contains("interrupted before the end of the input"), "{told}");
}

#[test]
fn a_writer_that_is_ended_before_its_file_is_has_not_done_its_work() {
    let server = with_a_topic();
    let file = server.file("lines", &"line\n".repeat(1_000));
    let mut command = Command::new(env!("CARGO_BIN_EXE_thrust"));
    command.args(["produce", "-t", "orders", "--from", &file, "--rate", "1", "--json", "-n", &server.names]);
    let mut writer = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut receipts = BufReader::new(writer.stdout.take().unwrap()).lines();
    assert!(receipts.next().unwrap().unwrap().contains("\"Stored\""));
    kill_process(Pid::from_child(&writer), Signal::TERM).unwrap();
    let end = writer.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&end.stderr);
    assert_eq!(end.status.code(), Some(1), "{told}");
    assert!(told.contains("interrupted before the end of the input"), "{told}");
}

#[test]
fn a_writer_whose_receipts_nobody_reads_says_that_it_has_not_sent_everything() {
    let server = with_a_topic();
    // More than a pipe and everything under way can hold, so that it cannot be through before it notices.
    let file = server.file("lines", &"line\n".repeat(20_000));
    let mut command = Command::new(env!("CARGO_BIN_EXE_thrust"));
    command.args(["produce", "-t", "orders", "--from", &file, "--json", "-n", &server.names]);
    let mut writer = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut receipts = BufReader::new(writer.stdout.take().unwrap()).lines();
    receipts.next().unwrap().unwrap();
    drop(receipts);
    let end = writer.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&end.stderr);
    assert_eq!(end.status.code(), Some(1), "{told}");
    assert!(told.contains("the reader of the output was gone"), "{told}");
}
