//! Killed in the middle of a stream, again and again: every acknowledged message is there, once, where it was said to
//! be, with either flush mode.
//!
//! `THRUST_KILL_CYCLES` sets the number of kills.

mod process;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};

use process::socket::{Answer, send_frame};
use process::{PATIENCE, Socket, Thrust};
use wire::ids::OffsetId;

const QUEUES: u32 = 4;
const SENDERS: usize = 4;
const IN_FLIGHT: usize = 32;

/// What an acknowledgement said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Acknowledged {
    queue: u32,
    queue_offset: i64,
    physical_offset: i64,
    body: String,
}

#[test]
fn with_asynchronous_flush() {
    kill_again_and_again("flushDiskType=ASYNC_FLUSH", cycles(5), &[2_000, 150, 5_000, 700, 3]);
}

#[test]
fn with_synchronous_flush() {
    kill_again_and_again("flushDiskType=SYNC_FLUSH", cycles(3), &[800, 3, 200]);
}

fn cycles(default: usize) -> usize {
    std::env::var("THRUST_KILL_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Kills after as many acknowledgements as `counts` says in turn.
fn kill_again_and_again(flush: &str, cycles: usize, counts: &[usize]) {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for cycle in 0..cycles {
        // Small segments, so that some kills hit the change from one to the next.
        let thrust = Thrust::serve(dir.path(), &["--set", flush, "--set", "mappedFileSizeCommitLog=1048576"]);
        verify(thrust.broker(), &acknowledged);
        acknowledged.extend(send_until_killed(thrust, cycle, counts[cycle % counts.len()]));
        assert!(dir.path().join("abort").exists());
    }
    let mut thrust = Thrust::serve(dir.path(), &["--set", flush, "--set", "mappedFileSizeCommitLog=1048576"]);
    verify(thrust.broker(), &acknowledged);
    thrust.stop();
    verify_after_clean_stop(dir.path(), &acknowledged);
}

fn send_until_killed(thrust: Thrust, cycle: usize, count: usize) -> Vec<Acknowledged> {
    let address = thrust.broker();
    let (heard, hears) = channel();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let heard = heard.clone();
            let socket = Socket::connect(address);
            std::thread::spawn(move || send(socket, &format!("{cycle}/{sender}"), &heard))
        })
        .collect();
    drop(heard);
    let mut acknowledged = Vec::new();
    while acknowledged.len() < count {
        acknowledged.push(hears.recv_timeout(PATIENCE).expect("sends are answered"));
    }
    thrust.kill();
    for sender in senders {
        sender.join().unwrap();
    }
    // Answers that were on their way are acknowledgements too.
    acknowledged.extend(hears.try_iter());
    acknowledged
}

/// Keeps [`IN_FLIGHT`] sends in flight until the connection breaks.
fn send(mut socket: Socket, name: &str, heard: &Sender<Acknowledged>) {
    let (mut sent, mut answered) = (0, 0);
    loop {
        while sent < answered + IN_FLIGHT {
            let queue = (sent as u32 % QUEUES).to_string();
            if !socket.write(&send_frame(sent as i32, "orders", &queue, body(name, sent).as_bytes(), "")) {
                break;
            }
            sent += 1;
        }
        let Some(answer) = socket.next() else { return };
        answered += 1;
        if heard.send(acknowledgement(name, &answer)).is_err() {
            return;
        }
    }
}

/// Bodies of many lengths, each unlike all others.
fn body(name: &str, number: usize) -> String {
    format!("{name}/{number}/{}", "x".repeat(number * 37 % 600))
}

fn acknowledgement(name: &str, answer: &Answer) -> Acknowledged {
    assert_eq!(answer.code, 0, "{answer:?}");
    let id = OffsetId::parse(answer.field("msgId")).unwrap();
    Acknowledged {
        queue: answer.number("queueId") as u32,
        queue_offset: answer.number("queueOffset"),
        physical_offset: id.offset as i64,
        body: body(name, answer.opaque as usize),
    }
}

fn verify(address: SocketAddr, acknowledged: &[Acknowledged]) {
    let mut stored = HashMap::new();
    let mut bodies = HashSet::new();
    if acknowledged.is_empty() {
        return;
    }
    let mut socket = Socket::connect(address);
    for queue in 0..QUEUES {
        for (index, message) in socket.read_all("orders", queue).into_iter().enumerate() {
            assert_eq!(message.queue_offset, index as i64, "queue {queue} has a hole");
            assert!(bodies.insert(message.body.clone()), "stored twice: {}", message.body);
            stored.insert((queue, message.queue_offset), (message.physical_offset, message.body));
        }
    }
    for message in acknowledged {
        let found = stored.get(&(message.queue, message.queue_offset));
        let expected = (message.physical_offset, message.body.clone());
        assert_eq!(found, Some(&expected), "an acknowledged message is not where it was said to be");
    }
}

fn verify_after_clean_stop(data: &Path, acknowledged: &[Acknowledged]) {
    let mut thrust = Thrust::serve(data, &["--set", "mappedFileSizeCommitLog=1048576"]);
    verify(thrust.broker(), acknowledged);
    thrust.stop();
}
