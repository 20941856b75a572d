//! The requests of one read, and the answers to them that are ready at once.

use std::sync::Arc;

use wire::frame;
use wire::header::{self, Dialect, FrameWriter, Head, Header};

use crate::channel::{Answer, Channel};

/// Answers of one turn beyond which the remaining requests wait until these are on their way.
const REPLIES_PER_TURN_MAX: usize = 1 << 20;

/// One request, borrowed from the bytes it arrived in.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its header.
    pub header: Header<'a>,
    /// Its body; empty when absent.
    pub body: &'a [u8],
    /// The dialect it came in and will be answered in.
    pub dialect: Dialect,
}

impl Request<'_> {
    /// What it takes to answer this request, now or later.
    pub fn reply_to(&self) -> ReplyTo {
        ReplyTo { dialect: self.dialect, opaque: self.header.opaque, oneway: self.header.is_oneway() }
    }

    /// Value of an ext field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.header.fields.get(name)
    }
}

/// Which request an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo {
    /// Dialect of the answer.
    pub dialect: Dialect,
    /// Number of the request.
    pub opaque: i32,
    /// Nothing is ever answered to a one-way request.
    pub oneway: bool,
}

impl ReplyTo {
    /// Head of an answer.
    pub fn head<'a>(&self, code: i32, remark: Option<&'a str>) -> Head<'a> {
        Head::response(self.dialect, code, self.opaque).with_remark(remark)
    }

    /// Appends an answer of code and remark alone, unless the request was one-way.
    pub fn write(&self, out: &mut Vec<u8>, code: i32, remark: Option<&str>) {
        if !self.oneway {
            FrameWriter::new(out, &self.head(code, remark)).empty();
        }
    }
}

/// The requests of one read. Answers that are ready at once go to [`Turn::out`].
#[derive(Debug)]
pub struct Turn<'a> {
    bytes: &'a [u8],
    at: usize,
    frame_bytes_max: usize,
    channel: &'a Arc<Channel>,
    /// Frames to write back when the turn is over.
    pub out: &'a mut Vec<u8>,
    failure: Option<String>,
    starved: bool,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(
        bytes: &'a [u8],
        channel: &'a Arc<Channel>,
        limit: usize,
        out: &'a mut Vec<u8>,
    ) -> Turn<'a> {
        Turn { bytes, at: 0, frame_bytes_max: limit, channel, out, failure: None, starved: false }
    }

    /// The next request; `None` when this read holds no further complete one, or when so many answers have
    /// gathered that they should be written first.
    ///
    /// Answers to our own requests, which share the connection, are delivered on the way.
    pub fn next_request(&mut self) -> Option<Request<'a>> {
        loop {
            if self.failure.is_some() {
                return None;
            }
            if self.out.len() > REPLIES_PER_TURN_MAX {
                self.starved = true;
                return None;
            }
            let frame = match frame::split(&self.bytes[self.at..], self.frame_bytes_max) {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(error) => {
                    self.failure = Some(error.to_string());
                    return None;
                }
            };
            self.at += frame.size;
            let header = match header::parse(frame.dialect, frame.header) {
                Ok(header) => header,
                Err(error) => {
                    self.failure = Some(error.to_string());
                    return None;
                }
            };
            if header.is_response() {
                self.channel.answered(Answer::from_frame(&header, frame.body), header.opaque);
                continue;
            }
            return Some(Request { header, body: frame.body, dialect: frame.dialect });
        }
    }

    /// Bytes used up, whether complete frames were left for another turn, and why the connection must end.
    pub(crate) fn finish(self) -> (usize, bool, Option<String>) {
        (self.at, self.starved, self.failure)
    }
}
