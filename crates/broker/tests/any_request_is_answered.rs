//! Requests of every code with fields and bodies at random: each is answered, the connection stays, what others have
//! stored stays as it is, and the broker serves on, stops and starts again.
//!
//! `REQUEST_SEEDS=1000 cargo test --release -p broker --test situations any_request_is_answered` tries many more;
//! `REQUEST_SEED=7` repeats one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use nameserver::Nameserver;
use remoting::{Answer, Limits, Listener, Server};
use store::examine::{Finding, StoreFiles};
use store::{Options, RealDisk};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::code::{request as code, response};
use wire::frame::{FRAME_MAX, split};
use wire::header::{self, Dialect, FrameWriter, Head};

use crate::catalogue::{Fate, fates, root};
use crate::support::frames::frame;
use crate::support::requests::{Made, Requests};
use crate::support::{PATIENCE, World};

const REQUESTS: i32 = 1500;
/// Requests that wait have places of their connection, of which there are not many.
const REQUESTS_PER_CONNECTION: i32 = 100;

fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("REQUEST_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("REQUEST_SEEDS").unwrap_or(2)).collect(),
    }
}

/// Requests with the codes that a server serves.
fn requests(seed: u64, server: &str) -> Requests {
    let is_served = |fates: &[Fate]| matches!(&fates[0], Fate::Served(by) if by.starts_with(server));
    let codes = fates().into_iter().filter(|(_, fates)| is_served(fates)).map(|(code, _)| code).collect();
    let sources = root().join("crates").join(server).join("src");
    Requests::new(seed, codes, &root().join("crates/wire/tests/golden"), &sources)
}

/// Sends a request after the other, and something behind each that is answered at once.
async fn storm(address: SocketAddr, probe: &[(&str, &str)], probe_code: i32, requests: &mut Requests) {
    let mut line = Line::connect(address).await;
    for number in 1..=REQUESTS {
        if number % REQUESTS_PER_CONNECTION == 0 {
            line = Line::connect(address).await;
        }
        let made = requests.next();
        let head = Head::request(Dialect::Json, probe_code, -number);
        line.write(&made.frame(number)).await;
        line.write(&frame(&head, probe, &[])).await;
        let (mut answered, mut probed) = (made.may_wait(), false);
        while !(answered && probed) {
            let (opaque, answer) = line.next(&made).await;
            if opaque == number {
                requests.learn(&made, &answer);
                answered = true;
            }
            probed |= opaque == -number;
        }
    }
}

/// A connection that answers "no" to whatever it is asked.
struct Line {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Line {
    async fn connect(address: SocketAddr) -> Line {
        Line { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next answer to a request of ours. `made` is the last of them.
    async fn next(&mut self, made: &Made) -> (i32, Answer) {
        loop {
            if let Some((bytes, told)) = self.take() {
                match told {
                    Told::Answer(opaque, answer) => return (opaque, answer),
                    Told::Asked => self.write(&bytes).await,
                }
                continue;
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
            let read = read.unwrap_or_else(|_| panic!("not answered: {made:?}"));
            assert!(read.is_ok_and(|count| count > 0), "the connection ended at {made:?}");
        }
    }

    /// What a frame says, and what is to be said to it.
    fn take(&mut self) -> Option<(Vec<u8>, Told)> {
        let frame = split(&self.read, FRAME_MAX).unwrap()?;
        let header = header::parse(frame.dialect, frame.header).unwrap();
        let mut no = Vec::new();
        let told = if header.is_response() {
            Told::Answer(header.opaque, Answer::from_frame(&header, frame.body))
        } else {
            if !header.is_oneway() {
                let head = Head::response(frame.dialect, response::SYSTEM_ERROR, header.opaque);
                FrameWriter::new(&mut no, &head).empty();
            }
            Told::Asked
        };
        let size = frame.size;
        self.read.drain(..size);
        Some((no, told))
    }
}

enum Told {
    Answer(i32, Answer),
    Asked,
}

/// Reads all files of the broker's store and compares them. What is left in the log of a topic that was deleted and
/// made again is no damage.
fn verify(root: &Path) {
    let options =
        Options { segment_bytes: 8 << 20, index_slots: 1000, index_entries: 4000, ..Options::new(root) };
    let files = StoreFiles::open(Arc::new(RealDisk), options).unwrap();
    let verified = files.verify(&mut |_| {}).unwrap();
    let is_damage = |finding: &&Finding| !finding.remedy.contains("of the one before");
    let damage: Vec<_> = verified.findings.kept().iter().filter(is_damage).collect();
    assert!(damage.is_empty(), "{damage:?}");
}

async fn bodies(world: &World, topic: &str) -> Vec<String> {
    let all = world.me.read_all(topic, 0).await;
    all.into_iter().map(|got| got.body).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_broker() {
    for seed in seeds() {
        println!("REQUEST_SEED={seed}");
        let world = World::start().await;
        for (topic, attributes) in [("orders", ""), ("letters", "+queue.type=BatchCQ"), ("kept", "")] {
            world.create_topic_with(topic, 2, attributes).await;
        }
        let kept: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        for body in &kept {
            world.send("orders", 0, body).await;
            world.send("kept", 0, body).await;
        }
        let probe = [("topic", "nowhere"), ("queueId", "0")];
        storm(world.address(), &probe, code::GET_MAX_OFFSET, &mut requests(seed, "broker")).await;

        world.create_topic("after", 1).await;
        world.send("after", 0, "served").await;
        assert_eq!(bodies(&world, "kept").await, kept);
        let world = world.restart().await;
        assert_eq!(bodies(&world, "kept").await, kept);
        assert_eq!(bodies(&world, "after").await, ["served"]);
        verify(world.stop().await.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_nameserver() {
    for seed in seeds() {
        println!("REQUEST_SEED={seed}");
        let dir = tempfile::tempdir().unwrap();
        let (_server, address) = nameserver(dir.path());
        storm(address, &[], code::GET_BROKER_CLUSTER_INFO, &mut requests(seed, "nameserver")).await;
        // It can read what it has written.
        nameserver(dir.path());
    }
}

fn nameserver(dir: &Path) -> (Server, SocketAddr) {
    let settings = settings::load_nameserver("", &[]).unwrap().settings;
    let nameserver = Nameserver::new(settings, dir.join("kvConfig.json")).unwrap();
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.address();
    (listener.serve(Limits::default(), nameserver), address)
}
