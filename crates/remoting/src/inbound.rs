//! Bytes read from a socket, until they are whole frames.
//!
//! An idle connection keeps no buffer: reads go to a buffer of the thread, and only an incomplete frame is kept.
//! A large frame is gathered in a buffer of its own, which grows with what has arrived, not with what was announced.

use std::cell::RefCell;
use std::io;

use wire::frame;

use crate::stream::Stream;

/// One read of small frames takes at most this much, since all that came is served before others get their turn: some
/// forty messages of 1 KiB. With 256 KiB a few senders with 64 messages under way were served twice as many as their
/// consumers, who asked for 32 at a time, could be given.
const TURN_BYTES: usize = 48 << 10;
/// One read of a part of a large frame takes at most this much.
const PART_BYTES: usize = 256 << 10;
/// An incomplete frame larger than this is read into its own buffer.
const LARGE_BYTES: usize = 64 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The incomplete frame at the end of what has been read.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    partial: Vec<u8>,
}

/// What one read brought.
pub(crate) enum Read {
    /// The peer has closed its side.
    End,
    /// Nothing is there any more.
    Nothing,
    /// A part of a large frame, which is not complete yet or just is.
    Part,
    /// Bytes were handed over; true when the socket may hold more.
    Some(bool),
}

impl Inbound {
    /// Bytes kept.
    pub fn len(&self) -> usize {
        self.partial.len()
    }

    /// Reads once and gives `consume` the bytes; it returns how many it has used up.
    pub fn read(&mut self, stream: &Stream, consume: impl FnOnce(&[u8]) -> usize) -> io::Result<Read> {
        let announced = frame::announced(&self.partial).unwrap_or(0);
        if announced > LARGE_BYTES && self.partial.len() < announced {
            self.read_large(stream, announced, consume)
        } else {
            BUFFER.with_borrow_mut(|buffer| self.read_small(stream, buffer, consume))
        }
    }

    /// Gives `consume` what is kept, without reading: frames were left over from a turn that had to end early.
    pub fn again(&mut self, consume: impl FnOnce(&[u8]) -> usize) {
        let used = consume(&self.partial);
        self.keep_from(used);
    }

    fn read_small(
        &mut self,
        stream: &Stream,
        buffer: &mut Vec<u8>,
        consume: impl FnOnce(&[u8]) -> usize,
    ) -> io::Result<Read> {
        let kept = self.partial.len();
        if buffer.len() < kept + TURN_BYTES {
            buffer.resize(kept + TURN_BYTES, 0);
        }
        let count = match stream.try_read(&mut buffer[kept..kept + TURN_BYTES]) {
            Ok(0) => return Ok(Read::End),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Nothing),
            Err(error) => return Err(error),
        };
        buffer[..kept].copy_from_slice(&self.partial);
        let bytes = &buffer[..kept + count];
        let used = consume(bytes);
        self.partial.clear();
        self.partial.extend_from_slice(&bytes[used..]);
        self.release();
        Ok(Read::Some(count == TURN_BYTES))
    }

    fn read_large(
        &mut self,
        stream: &Stream,
        announced: usize,
        consume: impl FnOnce(&[u8]) -> usize,
    ) -> io::Result<Read> {
        let kept = self.partial.len();
        // No more than one read can bring, so that a peer that sends byte by byte does not make us clear megabytes.
        let room = (announced - kept).min(PART_BYTES);
        self.partial.resize(kept + room, 0);
        let result = stream.try_read(&mut self.partial[kept..]);
        self.partial.truncate(kept + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => return Ok(Read::End),
            Ok(_) => (),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Nothing),
            Err(error) => return Err(error),
        }
        if self.partial.len() == announced {
            let used = consume(&self.partial);
            self.keep_from(used);
        }
        Ok(Read::Part)
    }

    fn keep_from(&mut self, used: usize) {
        self.partial.drain(..used);
        self.release();
    }

    fn release(&mut self) {
        if self.partial.is_empty() {
            self.partial = Vec::new();
        } else if self.partial.capacity() > 4 * self.partial.len().max(LARGE_BYTES) {
            self.partial.shrink_to_fit();
        }
    }
}
