//! What a message costs in allocations: sends in steady state over a socket, with all that the broker does about them,
//! on whatever thread. A program of its own, since all allocations of the process are counted.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, MainPort};
use remoting::{Limits, Listener};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use store::{RealClock, RealDisk};
use wire::code::{request, response};
use wire::frame::{FRAME_MAX, split};
use wire::header::{self, Dialect, FrameWriter, Head};
use wire::properties;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Buffers have their size by then, and every thread has done once what it does once.
const WARM_UP: usize = 16_384;
const MESSAGES: usize = 16_384;

/// Allocations of the process so far; a buffer that grows in its place counts too.
fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

/// A client that allocates nothing while it sends.
struct Sender {
    stream: TcpStream,
    requests: Vec<u8>,
    answers: Vec<u8>,
    in_flight: usize,
}

impl Sender {
    /// One that has `in_flight` requests under way, all of which it writes at once.
    fn connect(address: SocketAddr, dialect: Dialect, in_flight: usize) -> Sender {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut requests = Vec::new();
        for number in 0..in_flight {
            write_send(&mut requests, dialect, number);
        }
        Sender { stream, requests, answers: vec![0; 1 << 20], in_flight }
    }

    /// Sends so many messages, each of which must be stored.
    fn send(&mut self, count: usize) {
        for _ in 0..count / self.in_flight {
            self.stream.write_all(&self.requests).unwrap();
            let (mut filled, mut taken, mut answered) = (0, 0, 0);
            while answered < self.in_flight {
                let read = self.stream.read(&mut self.answers[filled..]).unwrap();
                assert!(read > 0, "the broker has ended the connection");
                filled += read;
                while let Some(frame) = split(&self.answers[taken..filled], FRAME_MAX).unwrap() {
                    taken += frame.size;
                    answered += 1;
                }
            }
        }
        // That they say yes is looked at once, since reading a header may allocate.
        let frame = split(&self.answers, FRAME_MAX).unwrap().unwrap();
        let header = header::parse(frame.dialect, frame.header).unwrap();
        assert_eq!(header.code, response::SUCCESS, "{:?}", header.remark);
    }
}

/// A send as official clients write it: 1 KiB, a unique key, WAIT, a tag and a key.
fn write_send(out: &mut Vec<u8>, dialect: Dialect, number: usize) {
    let mut text = Vec::new();
    properties::push(&mut text, properties::UNIQ_KEY, &format!("7F000001{number:024X}"));
    properties::push(&mut text, properties::WAIT, "true");
    properties::push(&mut text, properties::TAGS, "blue");
    properties::push(&mut text, properties::KEYS, &format!("order{number}"));
    let mut writer = FrameWriter::new(out, &Head::request(dialect, request::SEND_MESSAGE_V2, number as i32));
    writer
        .field("a", "senders")
        .field("b", "orders")
        .field("c", "TBW102")
        .field("d", "4")
        .number("e", number % 4)
        .field("f", "0")
        .field("g", "1700000000000")
        .field("h", "0")
        .field("i", std::str::from_utf8(&text).unwrap())
        .field("j", "0")
        .field("k", "false")
        .field("m", "false");
    writer.body(&[b'x'; 1024]);
}

#[test]
fn a_send_takes_no_more_than_one_allocation() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = ("storePathRootDir".to_owned(), dir.path().display().to_string());
    let settings = settings::load_broker("", &[root]).unwrap().settings;
    let _inside = runtime.enter();
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.address();
    let broker = Broker::open(settings, address, Arc::new(RealDisk), Arc::new(RealClock::default())).unwrap();
    runtime.block_on(broker.start());
    let server = listener.serve(Limits::default(), Arc::new(MainPort(Arc::clone(&broker))));

    for (dialect, in_flight) in [(Dialect::Json, 32), (Dialect::Binary, 32), (Dialect::Json, 1)] {
        let mut sender = Sender::connect(address, dialect, in_flight);
        sender.send(WARM_UP);
        let before = allocations();
        sender.send(MESSAGES);
        let each = (allocations() - before) as f64 / MESSAGES as f64;
        println!("{dialect:?}, {in_flight} under way: {each:.3} allocations a message");
        assert!(each <= 1.0, "{dialect:?}, {in_flight} under way: {each:.3} allocations a message");
    }

    runtime.block_on(async {
        broker.retire().await;
        server.close(Duration::from_secs(2)).await;
    });
    broker.finish().unwrap();
}
