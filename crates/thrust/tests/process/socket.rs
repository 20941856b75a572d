//! A client of the barest kind: frames over a blocking socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use wire::code::request as code;
use wire::frame::{FRAME_MAX, split};
use wire::header::{self, Dialect, FrameWriter, Head};
use wire::record::{Prefix, Record};

use super::PATIENCE;

pub struct Socket {
    pub stream: TcpStream,
    read: Vec<u8>,
    at: usize,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: i32,
    pub opaque: i32,
    pub remark: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(key, _)| key == name);
        found.map_or_else(|| panic!("no {name} in {self:?}"), |(_, value)| value.as_str())
    }

    pub fn number(&self, name: &str) -> i64 {
        self.field(name).parse().unwrap()
    }
}

/// One message of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub queue_offset: i64,
    pub physical_offset: i64,
    pub body: String,
}

impl Socket {
    pub fn connect(address: SocketAddr) -> Socket {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Socket { stream, read: Vec::new(), at: 0 }
    }

    /// Writes bytes; false when the other end is gone.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next answer; `None` when the other end is gone. Panics when nothing comes.
    pub fn next(&mut self) -> Option<Answer> {
        loop {
            if let Some(answer) = self.take() {
                return Some(answer);
            }
            self.read.drain(..std::mem::take(&mut self.at));
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.read.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("no answer within {PATIENCE:?}")
                }
                Err(_) => return None,
            }
        }
    }

    fn take(&mut self) -> Option<Answer> {
        let frame = split(&self.read[self.at..], FRAME_MAX).unwrap()?;
        let header = header::parse(frame.dialect, frame.header).unwrap();
        let fields = header.fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let answer = Answer {
            code: header.code,
            opaque: header.opaque,
            remark: header.remark.as_deref().unwrap_or_default().to_owned(),
            fields: fields.collect(),
            body: frame.body.to_vec(),
        };
        self.at += frame.size;
        Some(answer)
    }

    /// Asks and waits for the answer.
    pub fn call(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        assert!(self.write(&frame(code, 0, fields, body)), "the connection is gone");
        self.next().expect("an answer")
    }

    /// Sends one message.
    pub fn send(&mut self, topic: &str, queue: &str, body: &str, properties: &str) -> Answer {
        assert!(self.write(&send_frame(0, topic, queue, body.as_bytes(), properties)));
        self.next().expect("an answer")
    }

    /// Pulls; waits at the broker for `suspend` milliseconds if there is nothing.
    pub fn pull(&mut self, topic: &str, queue: u32, offset: i64, suspend_ms: u32) -> Answer {
        assert!(self.write(&pull_frame(0, topic, queue, offset, suspend_ms)));
        self.next().expect("an answer")
    }

    /// The same, `None` when the other end is gone.
    pub fn try_pull(&mut self, topic: &str, queue: u32, offset: i64, suspend_ms: u32) -> Option<Answer> {
        self.write(&pull_frame(0, topic, queue, offset, suspend_ms)).then(|| self.next())?
    }

    /// Everything in a queue, by following offsets from 0.
    pub fn read_all(&mut self, topic: &str, queue: u32) -> Vec<Got> {
        self.read_from(topic, queue, 0)
    }

    /// Everything in a queue from an offset on.
    pub fn read_from(&mut self, topic: &str, queue: u32, mut offset: i64) -> Vec<Got> {
        let mut all = Vec::new();
        loop {
            let answer = self.pull(topic, queue, offset, 0);
            match answer.code {
                0 => all.extend(messages(&answer.body)),
                19 => return all,
                _ => panic!("{topic} {queue} {offset}: {answer:?}"),
            }
            offset = answer.number("nextBeginOffset");
        }
    }

    pub fn max_offset(&mut self, topic: &str, queue: u32) -> i64 {
        let fields = [("topic", topic), ("queueId", &queue.to_string())];
        self.call(code::GET_MAX_OFFSET, &fields, &[]).number("offset")
    }

    /// Makes a consumer group known.
    pub fn join(&mut self, group: &str) {
        let body = format!(
            "{{\"clientID\":\"c\",\"consumerDataSet\":[{{\"groupName\":\"{group}\",\"consumeType\":\"CONSUME_PASSIVELY\",\
             \"messageModel\":\"CLUSTERING\",\"subscriptionDataSet\":[]}}],\"producerDataSet\":[]}}"
        );
        assert!(self.write(&frame(code::HEART_BEAT, 0, &[], body.as_bytes())));
        // The newcomer hears of itself, before or after its answer.
        let first = self.next().unwrap();
        let second = self.next().unwrap();
        assert!(
            first.code == code::NOTIFY_CONSUMER_IDS_CHANGED
                || second.code == code::NOTIFY_CONSUMER_IDS_CHANGED
        );
    }

    pub fn commit(&mut self, group: &str, topic: &str, queue: &str, offset: i64) {
        let offset = offset.to_string();
        let fields =
            [("consumerGroup", group), ("topic", topic), ("queueId", queue), ("commitOffset", &offset)];
        let answer = self.call(code::UPDATE_CONSUMER_OFFSET, &fields, &[]);
        assert_eq!(answer.code, 0, "{answer:?}");
    }

    pub fn committed(&mut self, group: &str, topic: &str, queue: &str) -> Option<i64> {
        let fields =
            [("consumerGroup", group), ("topic", topic), ("queueId", queue), ("setZeroIfNotFound", "false")];
        let answer = self.call(code::QUERY_CONSUMER_OFFSET, &fields, &[]);
        (answer.code == 0).then(|| answer.number("offset"))
    }
}

pub fn frame(code: i32, opaque: i32, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::new(&mut bytes, &Head::request(Dialect::Json, code, opaque));
    for (name, value) in fields {
        writer.field(name, value);
    }
    writer.body(body);
    bytes
}

/// A send to a topic of four queues.
pub fn send_frame(opaque: i32, topic: &str, queue: &str, body: &[u8], properties: &str) -> Vec<u8> {
    let fields = [
        ("a", "senders"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", queue),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
    ];
    frame(code::SEND_MESSAGE_V2, opaque, &fields, body)
}

pub fn pull_frame(opaque: i32, topic: &str, queue: u32, offset: i64, suspend_ms: u32) -> Vec<u8> {
    // A subscription comes along, and the pull may wait.
    let flags = if suspend_ms > 0 { "6" } else { "4" };
    let fields = [
        ("consumerGroup", "readers"),
        ("topic", topic),
        ("queueId", &queue.to_string()),
        ("queueOffset", &offset.to_string()),
        ("maxMsgNums", "32"),
        ("sysFlag", flags),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", &suspend_ms.to_string()),
        ("subscription", "*"),
        ("subVersion", "0"),
    ];
    frame(code::PULL_MESSAGE, opaque, &fields, &[])
}

/// The messages in a pull's body.
pub fn messages(body: &[u8]) -> Vec<Got> {
    let mut rest = body;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (bytes, tail) = rest.split_at(Prefix::parse(rest).unwrap().size as usize);
        let record = Record::parse(bytes).unwrap();
        record.verify_crc().unwrap();
        all.push(Got {
            queue_offset: record.queue_offset,
            physical_offset: record.physical_offset,
            body: String::from_utf8(record.body.to_vec()).unwrap(),
        });
        rest = tail;
    }
    all
}
