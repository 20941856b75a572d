//! What is to be written to a socket, and whose turn it is to write: one at a time, so that frames stay whole.
//!
//! The connection's task writes most of it. A thread that nobody waits for may write its own frames instead, when
//! nothing is queued before them, and so keeps that work from the threads that serve everybody.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::stream::Stream;

/// The bytes that a socket has yet to take, and the right to write them.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What waits: whole frames, but for the first, which may be the rest of one.
    queued: Vec<u8>,
    /// Somebody writes, or holds what must be written next. Everybody else queues.
    taken: bool,
    /// While the connection lasts.
    stream: Option<Arc<Stream>>,
}

impl Outbox {
    /// Frames can be written from now on.
    pub fn open(&self, stream: Arc<Stream>) {
        self.0.lock().stream = Some(stream);
    }

    /// Lets go of the socket; nobody begins to write any more.
    pub fn close(&self) {
        self.0.lock().stream = None;
    }

    /// Adds frames behind what is queued.
    pub fn queue(&self, frames: &[u8]) {
        self.0.lock().queued.extend_from_slice(frames);
    }

    /// Adds what `make` appends behind what is queued, and tells its length before anybody else sees it.
    pub fn queue_with(&self, make: impl FnOnce(&mut Vec<u8>), told: impl FnOnce(usize)) {
        let mut state = self.0.lock();
        let before = state.queued.len();
        make(&mut state.queued);
        told(state.queued.len() - before);
    }

    /// Takes the turn to write, if nothing is queued and nobody has it.
    pub fn begin(&self) -> Option<Arc<Stream>> {
        self.0.lock().take_turn().cloned()
    }

    /// The same, for who has the socket.
    pub fn take_turn(&self) -> bool {
        self.0.lock().take_turn().is_some()
    }

    /// Gives the turn back, with what is left to write of one's own. Says whether anything is queued now.
    pub fn end(&self, rest: &[u8]) -> bool {
        let mut state = self.0.lock();
        state.taken = false;
        if !rest.is_empty() {
            state.queued.splice(..0, rest.iter().copied());
        }
        !state.queued.is_empty()
    }

    /// Moves what is queued into an empty `buffer` and takes the turn to write it, which may be one's own (`mine`)
    /// already. Without anything to write the turn is given back. Says whether it is one's own now.
    /// A buffer of more than `kept` bytes is given back.
    pub fn refill(&self, mine: bool, buffer: &mut Vec<u8>, kept: usize) -> bool {
        let mut state = self.0.lock();
        if state.taken && !mine {
            return false;
        }
        state.taken = !state.queued.is_empty();
        if state.taken {
            std::mem::swap(&mut state.queued, buffer);
        } else {
            shrink(&mut state.queued, kept);
        }
        state.taken
    }

    /// Moves what is queued behind the rest in `buffer`, of somebody whose turn it is.
    pub fn append_to(&self, buffer: &mut Vec<u8>) {
        buffer.append(&mut self.0.lock().queued);
    }
}

impl State {
    fn take_turn(&mut self) -> Option<&Arc<Stream>> {
        if self.taken || !self.queued.is_empty() {
            return None;
        }
        self.taken = self.stream.is_some();
        self.stream.as_ref()
    }
}

/// Gives back the memory of a buffer that is empty and larger than an idle connection should keep.
pub(crate) fn shrink(buffer: &mut Vec<u8>, kept: usize) {
    if buffer.is_empty() && buffer.capacity() > kept {
        *buffer = Vec::new();
    }
}

/// Writes as much as the kernel takes at once. An error shows again at the task's next read or write.
pub(crate) fn write_some(stream: &Stream, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match stream.try_write(&bytes[written..]) {
            Ok(count) if count > 0 => written += count,
            _ => break,
        }
    }
    written
}
