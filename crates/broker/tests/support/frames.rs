//! Frames over a bare socket, for what no client would send.

use std::net::SocketAddr;

use remoting::Answer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::code::request as code;
use wire::frame::{FRAME_MAX, split};
use wire::header::{self, Dialect, FrameWriter, Head};

use super::PATIENCE;
use super::peer::{Ask, borrowed};

pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer with what the header says about itself.
#[derive(Debug)]
pub struct Framed {
    pub dialect: Dialect,
    pub opaque: i32,
    pub answer: Answer,
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Wire {
        Wire { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends a pull that must wait: what is asked behind it is answered before it.
    pub async fn park(&mut self, opaque: i32, ask: &Ask<'_>) {
        self.ask(opaque, ask).await;
        self.hears_nothing().await;
    }

    /// Sends a pull.
    pub async fn ask(&mut self, opaque: i32, ask: &Ask<'_>) {
        let head = Head::request(Dialect::Json, code::PULL_MESSAGE, opaque);
        self.write(&frame(&head, &borrowed(&ask.fields()), &[])).await;
    }

    /// Sees to it that no answer has come, by asking something else, which is answered first.
    pub async fn hears_nothing(&mut self) {
        const PROBE: i32 = -77;
        let head = Head::request(Dialect::Json, code::GET_MAX_OFFSET, PROBE);
        self.write(&frame(&head, &[("topic", "nowhere"), ("queueId", "0")], &[])).await;
        let framed = self.next().await.expect("an answer to the probe");
        assert_eq!(framed.opaque, PROBE, "{framed:?}");
    }

    /// Waits until there is something to read, and leaves it there.
    pub async fn is_answered(&self) {
        tokio::time::timeout(PATIENCE, self.stream.readable()).await.expect("an answer").unwrap();
    }

    /// The next frame; `None` when the broker has ended the connection.
    pub async fn next(&mut self) -> Option<Framed> {
        loop {
            if let Some(framed) = self.take() {
                return Some(framed);
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
            match read.expect("an answer or an end") {
                Ok(count) if count > 0 => (),
                _ => return None,
            }
        }
    }

    fn take(&mut self) -> Option<Framed> {
        let (framed, size) = self.first()?;
        self.read.drain(..size);
        Some(framed)
    }

    fn first(&self) -> Option<(Framed, usize)> {
        let frame = split(&self.read, FRAME_MAX).unwrap()?;
        let header = header::parse(frame.dialect, frame.header).unwrap();
        let answer = Answer::from_frame(&header, frame.body);
        Some((Framed { dialect: frame.dialect, opaque: header.opaque, answer }, frame.size))
    }
}

pub fn frame(head: &Head<'_>, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::new(&mut bytes, head);
    for (name, value) in fields {
        writer.field(name, value);
    }
    writer.body(body);
    bytes
}
