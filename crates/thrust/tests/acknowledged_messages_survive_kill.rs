//! Killed in the middle of a stream, again and again: every acknowledged message is there, once, where it was said to
//! be, with either flush mode. So says the broker, and so says a reader of its files that shares no line with it.
//!
//! `THRUST_KILL_CYCLES` sets the number of kills:
//! `THRUST_KILL_CYCLES=200 cargo test --release -p thrust --test acknowledged_messages_survive_kill -- --nocapture`

mod process;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};

use process::socket::{Answer, Got, messages, send_frame};
use process::{PATIENCE, Socket, Thrust};
use sim::reader::{LogRecord, StoreFiles};
use wire::ids::OffsetId;

const QUEUES: u32 = 4;
const SENDERS: usize = 4;
const IN_FLIGHT: usize = 32;
/// So often everything is looked at, and otherwise what is new.
const CYCLES_BETWEEN_FULL_CHECKS: usize = 20;

/// What an acknowledgement said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Acknowledged {
    queue: u32,
    queue_offset: i64,
    physical_offset: i64,
    sender: String,
    number: usize,
}

/// What a life of the broker ended with.
#[derive(Default)]
struct Life {
    acknowledged: Vec<Acknowledged>,
    /// What a reader had got meanwhile, of the first queue.
    read: Vec<Got>,
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
    // Small segments, so that some kills hit the change from one to the next.
    let serve = || Thrust::serve(dir.path(), &["--set", flush, "--set", "mappedFileSizeCommitLog=1048576"]);
    let mut all = Vec::new();
    for cycle in 0..cycles {
        let life = send_until_killed(serve(), cycle, counts[cycle % counts.len()]);
        assert!(dir.path().join("abort").exists());
        check_files(dir.path(), &life);
        let first_new = all.len();
        all.extend(life.acknowledged);
        let thrust = serve();
        let is_full_check = cycle % CYCLES_BETWEEN_FULL_CHECKS == CYCLES_BETWEEN_FULL_CHECKS - 1;
        check_broker(thrust.broker(), if is_full_check { &all } else { &all[first_new..] });
        // A kill without load is one more start after an unclean stop, and so one more recovery.
        thrust.kill();
    }
    let mut thrust = serve();
    check_broker(thrust.broker(), &all);
    thrust.stop();
    check_stopped_files(dir.path(), &all);
    let mut thrust = serve();
    check_broker(thrust.broker(), &all);
    thrust.stop();
    println!("{flush}: {cycles} kills under load, {} messages acknowledged, 0 lost", all.len());
}

fn send_until_killed(thrust: Thrust, cycle: usize, count: usize) -> Life {
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
    let mut life = Life::default();
    while life.acknowledged.len() < count {
        life.acknowledged.push(hears.recv_timeout(PATIENCE).expect("sends are answered"));
    }
    let first = life.acknowledged.iter().filter(|message| message.queue == 0);
    let from = first.map(|message| message.queue_offset).min();
    let reader = from.map(|from| {
        let socket = Socket::connect(address);
        std::thread::spawn(move || read(socket, from))
    });
    // Some kills come while there is reading, some before it has begun.
    while life.acknowledged.len() < count + count / 4 {
        life.acknowledged.push(hears.recv_timeout(PATIENCE).expect("sends are answered"));
    }
    thrust.kill();
    for sender in senders {
        sender.join().unwrap();
    }
    life.read = reader.map(|reader| reader.join().unwrap()).unwrap_or_default();
    // Answers that were on their way are acknowledgements too.
    life.acknowledged.extend(hears.try_iter());
    life
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

/// Reads the first queue until the connection breaks.
fn read(mut socket: Socket, mut offset: i64) -> Vec<Got> {
    let mut read = Vec::new();
    while let Some(answer) = socket.try_pull("orders", 0, offset, 1_000) {
        if answer.code == 0 {
            read.extend(messages(&answer.body));
            offset = answer.number("nextBeginOffset");
        }
    }
    read
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
        sender: name.to_owned(),
        number: answer.opaque as usize,
    }
}

/// The files as the killed process left them, before anybody has recovered anything.
fn check_files(root: &Path, life: &Life) {
    let offsets = life.acknowledged.iter().map(|message| message.physical_offset);
    let from = offsets.min().expect("something was acknowledged") as u64;
    let files = StoreFiles::read(root, from).unwrap();
    let log = files.log().unwrap();
    for message in &life.acknowledged {
        check_record(log.records.get(&(message.physical_offset as u64)), message);
    }
    for got in &life.read {
        let record = log.records.get(&(got.physical_offset as u64)).expect("what was read is there");
        assert_eq!((record.queue_offset as i64, &record.body[..]), (got.queue_offset, got.body.as_bytes()));
    }
}

/// Log and queues agree, and hold everything.
fn check_stopped_files(root: &Path, all: &[Acknowledged]) {
    let files = StoreFiles::read(root, 0).unwrap();
    let log = files.log().unwrap();
    files.compare_queues(&log, |_| false).unwrap();
    for message in all {
        check_record(log.records.get(&(message.physical_offset as u64)), message);
    }
    let bodies: HashSet<_> = log.records.values().map(|record| &record.body).collect();
    assert_eq!(bodies.len(), log.records.len(), "something is stored twice");
}

fn check_record(record: Option<&LogRecord>, message: &Acknowledged) {
    let record = record.unwrap_or_else(|| panic!("not in the log: {message:?}"));
    assert_eq!((&*record.topic, record.queue), ("orders", message.queue));
    assert_eq!(record.queue_offset as i64, message.queue_offset);
    assert_eq!(record.body, body(&message.sender, message.number).as_bytes());
}

/// What the broker gives from the first of these messages on: queues without holes, each message once and where it was
/// said to be.
fn check_broker(address: SocketAddr, acknowledged: &[Acknowledged]) {
    let mut stored = HashMap::new();
    let mut bodies = HashSet::new();
    let mut socket = Socket::connect(address);
    for queue in 0..QUEUES {
        let of_queue = acknowledged.iter().filter(|message| message.queue == queue);
        let Some(first) = of_queue.map(|message| message.queue_offset).min() else { continue };
        for (message, offset) in socket.read_from("orders", queue, first).into_iter().zip(first..) {
            assert_eq!(message.queue_offset, offset, "queue {queue} has a hole");
            assert!(bodies.insert(message.body.clone()), "stored twice: {}", message.body);
            stored.insert((queue, message.queue_offset), (message.physical_offset, message.body));
        }
    }
    for message in acknowledged {
        let found = stored.get(&(message.queue, message.queue_offset));
        let expected = (message.physical_offset, body(&message.sender, message.number));
        assert_eq!(found, Some(&expected), "an acknowledged message is not where it was said to be");
    }
}
