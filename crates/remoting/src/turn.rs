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
    /// Where the request begins that was given last.
    given: usize,
    /// The first request was put back before.
    begins_again: bool,
    is_put_back: bool,
}

/// What has become of the bytes of a turn.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    /// Bytes used up.
    pub used: usize,
    /// Complete frames were left for another turn.
    pub starved: bool,
    /// The first of them was put back.
    pub is_put_back: bool,
    /// Why the connection must end.
    pub failure: Option<String>,
}

/// A connection that reads no more requests until this is dropped. The one that was put back is then the first.
#[derive(Debug)]
pub struct Pause(Arc<Channel>);

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.resume();
    }
}

impl<'a> Turn<'a> {
    pub(crate) fn new(
        bytes: &'a [u8],
        channel: &'a Arc<Channel>,
        begins_again: bool,
        out: &'a mut Vec<u8>,
    ) -> Turn<'a> {
        let frame_bytes_max = channel.budget().limits.frame_bytes_max;
        let (at, given, starved, is_put_back) = (0, 0, false, false);
        Turn {
            bytes,
            at,
            frame_bytes_max,
            channel,
            out,
            failure: None,
            starved,
            given,
            begins_again,
            is_put_back,
        }
    }

    /// Whether the request that was given last had been put back before.
    pub fn is_again(&self) -> bool {
        self.begins_again && self.given == 0
    }

    /// Puts the request that was given last back, and ends the turn: for what it needs first, which takes longer than
    /// others of this thread may have to wait. The connection stands still until the pause is dropped.
    pub fn put_back(&mut self) -> Pause {
        self.channel.pause();
        (self.at, self.starved, self.is_put_back) = (self.given, true, true);
        Pause(Arc::clone(self.channel))
    }

    /// The next request; `None` when this read holds no further complete one, or when so many answers have
    /// gathered that they should be written first.
    ///
    /// Answers to our own requests, which share the connection, are delivered on the way.
    pub fn next_request(&mut self) -> Option<Request<'a>> {
        loop {
            if self.failure.is_some() || self.is_put_back {
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
            self.given = self.at;
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

    /// What has become of the bytes.
    pub(crate) fn finish(self) -> Finished {
        let Turn { at: used, starved, is_put_back, failure, .. } = self;
        Finished { used, starved, is_put_back, failure }
    }
}
