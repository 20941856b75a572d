//! A server with a small service, and a bare socket that speaks frames to it.
#![allow(dead_code, reason = "each test uses a part of this")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use remoting::{Channel, Held, Limits, ReplyTo, Server, Service, Turn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use wire::frame::{self, FRAME_MAX};
use wire::header::{self, Dialect, FrameWriter, Head};

/// Longest wait for anything in these tests; the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Answers with the request's body.
pub const ECHO: i32 = 1;
/// Answers with as many bytes as the field `bytes` says.
pub const PRODUCE: i32 = 2;
/// Keeps the request until [`Lab::answer_held`]; answers 2 when no place is left.
pub const HOLD: i32 = 3;
/// Panics.
pub const PANIC: i32 = 4;

/// Serves the codes above and remembers what happened.
#[derive(Default)]
pub struct Lab {
    /// Requests of each turn.
    pub turns: Mutex<Vec<usize>>,
    pub served: AtomicUsize,
    pub closed: AtomicUsize,
    pub channels: Mutex<Vec<Arc<Channel>>>,
    pub held: Mutex<Vec<(Held, ReplyTo)>>,
}

impl Lab {
    pub fn answer_held(&self) {
        for (held, reply) in self.held.lock().drain(..) {
            let mut out = Vec::new();
            reply.write(&mut out, 0, Some("held"));
            held.channel().send(&out);
        }
    }

    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    pub fn closed(&self) -> usize {
        self.closed.load(Ordering::Relaxed)
    }
}

impl Service for Lab {
    fn serve(&self, channel: &Arc<Channel>, turn: &mut Turn<'_>) {
        {
            let mut channels = self.channels.lock();
            if !channels.iter().any(|known| known.id() == channel.id()) {
                channels.push(Arc::clone(channel));
            }
        }
        let mut requests = 0;
        while let Some(request) = turn.next_request() {
            requests += 1;
            self.served.fetch_add(1, Ordering::Relaxed);
            let reply = request.reply_to();
            let body = match request.header.code {
                ECHO => request.body.to_vec(),
                PRODUCE => vec![7; request.header.fields.number("bytes").unwrap_or(0)],
                HOLD => {
                    match channel.hold() {
                        Some(held) => self.held.lock().push((held, reply)),
                        None => reply.write(turn.out, 2, Some("too many requests wait")),
                    }
                    continue;
                }
                PANIC => {
                    turn.out.extend_from_slice(b"left behind");
                    panic!("a service that panics, as the test asked");
                }
                code => {
                    reply.write(turn.out, 3, Some(&format!(" request type {code} not supported")));
                    continue;
                }
            };
            if !reply.oneway {
                FrameWriter::new(turn.out, &reply.head(0, None)).body(&body);
            }
        }
        if requests > 0 {
            self.turns.lock().push(requests);
        }
    }

    fn closed(&self, _: &Arc<Channel>) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

pub fn start(limits: Limits) -> (Server, Arc<Lab>) {
    let lab = Arc::new(Lab::default());
    let service: Arc<dyn Service> = Arc::clone(&lab) as _;
    let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), limits, service).unwrap();
    (server, lab)
}

/// A frame as a client writes it.
pub fn frame_of(code: i32, opaque: i32, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    written(&Head::request(Dialect::Json, code, opaque), fields, body)
}

pub fn oneway_of(code: i32, opaque: i32) -> Vec<u8> {
    written(&Head::oneway(Dialect::Binary, code, opaque), &[], b"")
}

pub fn written(head: &Head<'_>, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = FrameWriter::new(&mut out, head);
    for (name, value) in fields {
        writer.field(name, value);
    }
    writer.body(body);
    out
}

/// What a peer received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub code: i32,
    pub opaque: i32,
    pub flag: i32,
    pub remark: Option<String>,
    pub body: Vec<u8>,
}

fn first_of(bytes: &[u8]) -> Option<(Received, usize)> {
    let frame = frame::split(bytes, FRAME_MAX * 2).unwrap()?;
    let header = header::parse(frame.dialect, frame.header).unwrap();
    let received = Received {
        code: header.code,
        opaque: header.opaque,
        flag: header.flag,
        remark: header.remark.as_deref().map(str::to_owned),
        body: frame.body.to_vec(),
    };
    Some((received, frame.size))
}

/// One socket.
pub struct Peer {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    pub async fn connect(server: &Server) -> Peer {
        Peer { stream: TcpStream::connect(server.address()).await.unwrap(), buffer: Vec::new() }
    }

    /// With a small receive buffer, so that little is under way in the kernel.
    pub async fn connect_small(server: &Server) -> Peer {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        Peer { stream: socket.connect(server.address()).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes))
            .await
            .expect("the server reads")
            .unwrap();
    }

    /// The next frame; `None` when the server has closed.
    pub async fn receive(&mut self) -> Option<Received> {
        loop {
            if let Some((received, size)) = first_of(&self.buffer) {
                self.buffer.drain(..size);
                return Some(received);
            }
            let read = self.stream.read_buf(&mut self.buffer);
            match tokio::time::timeout(PATIENCE, read).await.expect("an answer or an end in time") {
                Ok(0) => {
                    assert!(self.buffer.is_empty(), "the server ended inside a frame");
                    return None;
                }
                Ok(_) => (),
                Err(_) => return None,
            }
        }
    }

    pub async fn answer(&mut self) -> Received {
        self.receive().await.expect("the connection is open")
    }

    /// Whether this connection is served.
    pub async fn works(&mut self) -> bool {
        self.send(&frame_of(ECHO, 4711, &[], b"still there?")).await;
        matches!(self.receive().await, Some(answer) if answer.opaque == 4711 && answer.body == b"still there?")
    }

    /// Asserts that nothing arrives for a moment.
    pub async fn hears_nothing(&mut self) {
        assert!(self.buffer.is_empty());
        let moment = Duration::from_millis(150);
        let read = tokio::time::timeout(moment, self.stream.read_buf(&mut self.buffer)).await;
        assert!(read.is_err(), "unexpected {:?}", String::from_utf8_lossy(&self.buffer));
    }
}

/// Waits until `condition` holds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not happen in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Resident memory of this process, which is server and client in one.
pub fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
