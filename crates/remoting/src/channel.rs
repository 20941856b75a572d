//! A connection as everybody but its own task sees it: a place to send frames to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Notify, oneshot};
use wire::header::{Dialect, FrameWriter, Head, Header};

use crate::budget::Budget;
use crate::outbox::{self, Outbox};

/// The handle of a connection.
#[derive(Debug)]
pub struct Channel {
    id: u64,
    peer: SocketAddr,
    local: SocketAddr,
    budget: Arc<Budget>,
    made: Instant,
    /// When something came last, in milliseconds since it was made.
    heard_ms: AtomicU64,
    pub(crate) outbox: Outbox,
    /// Bytes in the outbox and in the task's own buffer, not yet taken by the kernel.
    unread: AtomicUsize,
    held: AtomicU32,
    /// Wakes the task: there is something to write, or the connection shall end.
    pub(crate) wake: Notify,
    /// Why the connection is to end; looked at in every round of its task.
    closing: OnceLock<String>,
    /// Ends only when nobody owes an answer any more.
    finishing: AtomicBool,
    /// A request waits for something before it can be served, and what comes behind it waits with it.
    paused: AtomicBool,
    closed: AtomicBool,
    next_opaque: AtomicI32,
    calls: Mutex<HashMap<i32, oneshot::Sender<Answer>>>,
}

/// Calls under way up to which another one is written by its caller at once, rather than by the connection's task
/// together with others.
const FEW_CALLS: usize = 8;

/// How long a caller waits for its answer, and in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// In all.
    pub timeout: Duration,
    /// For so long it looks for the answer again and again: a thread that sleeps is woken in a time in which some
    /// servers have answered. Other tasks run meanwhile, but the thread does not rest.
    pub awake: Duration,
}

impl From<Duration> for Patience {
    fn from(timeout: Duration) -> Patience {
        Patience { timeout, awake: Duration::ZERO }
    }
}

/// An answer to one of our requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Response code.
    pub code: i32,
    /// Text for people.
    pub remark: Option<String>,
    /// Version number of the peer.
    pub version: i32,
    fields: Texts,
    /// Body; empty when absent.
    pub body: Vec<u8>,
}

impl Answer {
    /// From a frame that is an answer.
    pub fn from_frame(header: &Header<'_>, body: &[u8]) -> Answer {
        Answer {
            code: header.code,
            remark: header.remark.as_deref().map(str::to_owned),
            version: header.version,
            fields: Texts::of(header.fields.iter()),
            body: body.to_vec(),
        }
    }

    /// Ext fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter()
    }

    /// Value of an ext field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }
}

/// Names and values in one text, since most of them are never looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Texts {
    text: String,
    /// Where each name ends, and its value behind it.
    ends: Vec<(usize, usize)>,
}

impl Texts {
    fn of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Texts {
        let mut texts = Texts { text: String::with_capacity(256), ends: Vec::with_capacity(12) };
        for (name, value) in pairs {
            texts.text.push_str(name);
            let name_end = texts.text.len();
            texts.text.push_str(value);
            texts.ends.push((name_end, texts.text.len()));
        }
        texts
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.ends.iter().enumerate().map(|(at, &(name_end, end))| {
            let start = if at == 0 { 0 } else { self.ends[at - 1].1 };
            (&self.text[start..name_end], &self.text[name_end..end])
        })
    }

    /// The last value of this name.
    fn get(&self, name: &str) -> Option<&str> {
        self.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// Why a request of ours has no answer. The peer may have acted on it all the same, except when unsent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was sent.
    #[error("cannot connect to {address}: {cause}; is the server running and is the address right?")]
    Connect {
        /// Where to.
        address: String,
        /// What the system said.
        cause: String,
    },
    /// The connection ended first.
    #[error("the connection to {address} closed before the answer came")]
    Closed {
        /// Where to.
        address: String,
    },
    /// No answer in time.
    #[error("no answer from {address} within {} ms", after.as_millis())]
    Timeout {
        /// Where to.
        address: String,
        /// How long was waited.
        after: Duration,
    },
}

impl Channel {
    pub(crate) fn new(id: u64, peer: SocketAddr, local: SocketAddr, budget: Arc<Budget>) -> Arc<Channel> {
        Arc::new(Channel {
            id,
            peer,
            local,
            budget,
            made: Instant::now(),
            heard_ms: AtomicU64::new(0),
            outbox: Outbox::default(),
            unread: AtomicUsize::new(0),
            held: AtomicU32::new(0),
            wake: Notify::new(),
            closing: OnceLock::new(),
            finishing: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            next_opaque: AtomicI32::new(0),
            calls: Mutex::new(HashMap::new()),
        })
    }

    /// Unique within this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Address of the other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Address of our end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether the connection is still there.
    pub fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    /// For how long nothing has come.
    pub fn silent_for(&self) -> Duration {
        self.made.elapsed().saturating_sub(Duration::from_millis(self.heard_ms.load(Ordering::Relaxed)))
    }

    /// Something came.
    pub(crate) fn heard(&self, now: Instant) {
        let since = now.saturating_duration_since(self.made).as_millis();
        self.heard_ms.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Queues whole frames for writing. Nothing happens on a closed connection. A peer that leaves more than
    /// twice its limit unread loses the connection, since pushed frames cannot be held back by not reading.
    pub fn send(&self, frames: &[u8]) {
        if frames.is_empty() || !self.is_open() {
            return;
        }
        // Counted first: the task may write and subtract them as soon as they are in the outbox.
        self.grew(frames.len());
        self.outbox.queue(frames);
        self.queued();
    }

    /// Does the same, but this thread writes to the socket by itself, as far as nobody else is about to and the kernel
    /// takes it: for threads that nobody waits for, whose frames would keep the connection's task from serving others.
    pub fn send_directly(&self, frames: &[u8]) {
        if frames.is_empty() || !self.is_open() {
            return;
        }
        let Some(stream) = self.outbox.begin() else { return self.send(frames) };
        let rest = &frames[outbox::write_some(&stream, frames)..];
        self.grew(rest.len());
        // What others queued meanwhile was left to us to mention, as is what an encrypted stream could not write yet.
        if self.outbox.end(rest) || stream.is_behind() {
            self.queued();
        }
    }

    /// Follows the queueing of frames.
    fn queued(&self) {
        if !self.is_open() {
            // It ended in between: what was just counted is taken back by whoever comes last.
            self.forget_unread();
            return;
        }
        if self.unread() > self.budget.limits.outbound_bytes_max.saturating_mul(2) {
            self.close("it leaves too many answers unread");
        }
        self.wake.notify_one();
    }

    /// Ends the connection once what is queued has been written, or at once if the peer does not read.
    pub fn close(&self, reason: &str) {
        self.closing.get_or_init(|| reason.to_owned());
        self.wake.notify_one();
    }

    /// Reads no more, and ends the connection once every request that was accepted has its answer, or after a while.
    pub fn finish(&self) {
        self.finishing.store(true, Ordering::SeqCst);
        self.close("");
    }

    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::Release);
    }

    pub(crate) fn resume(&self) {
        self.paused.store(false, Ordering::Release);
        self.wake.notify_one();
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Whether an end must still wait for answers.
    pub(crate) fn owes_answers(&self) -> bool {
        self.finishing.load(Ordering::SeqCst) && self.held.load(Ordering::SeqCst) > 0
    }

    /// Takes one of the places for requests that wait for their answer; `None` when all are taken.
    pub fn hold(self: &Arc<Self>) -> Option<Held> {
        if self.held.fetch_add(1, Ordering::Relaxed) >= self.budget.limits.held_max {
            self.held.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Held { channel: Arc::clone(self) })
    }

    /// Sends a request that wants no answer.
    pub fn oneway(&self, code: i32, fields: &[(&str, &str)], body: &[u8]) {
        self.oneway_with(code, |writer| write_pairs(writer, fields), body);
    }

    /// Does the same with the header fields that `write` writes.
    pub fn oneway_with(&self, code: i32, write: impl FnOnce(&mut FrameWriter<'_>), body: &[u8]) {
        let opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        self.queue_frame(|out| encode(out, &Head::oneway(Dialect::Json, code, opaque), write, body));
    }

    /// Queues a frame, made where it is written from.
    fn queue_frame(&self, make: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_open() {
            return;
        }
        self.outbox.queue_with(make, |bytes| self.grew(bytes));
        self.queued();
    }

    /// Sends a request and waits for its answer.
    pub async fn call(
        &self,
        code: i32,
        fields: &[(&str, &str)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        self.call_with(code, |writer| write_pairs(writer, fields), body, timeout).await
    }

    /// Does the same with the header fields that `write` writes.
    pub async fn call_with(
        &self,
        code: i32,
        write: impl FnOnce(&mut FrameWriter<'_>),
        body: &[u8],
        patience: impl Into<Patience>,
    ) -> Result<Answer, CallError> {
        let Patience { timeout, awake } = patience.into();
        let opaque = self.next_opaque.fetch_add(1, Ordering::Relaxed);
        let (sender, mut receiver) = oneshot::channel();
        let few = {
            let mut calls = self.calls.lock();
            calls.insert(opaque, sender);
            calls.len() <= FEW_CALLS
        };
        let _waiting = Waiting { channel: self, opaque };
        let closed = || CallError::Closed { address: self.peer.to_string() };
        if !self.is_open() {
            return Err(closed());
        }
        let head = Head::request(Dialect::Json, code, opaque);
        if few {
            let mut frame = Vec::with_capacity(512 + body.len());
            encode(&mut frame, &head, write, body);
            self.send_directly(&frame);
        } else {
            self.queue_frame(|out| encode(out, &head, write, body));
        }
        let awake = awake.min(timeout);
        if !awake.is_zero()
            && let Some(answer) = soon(&mut receiver, awake).await
        {
            return Ok(answer);
        }
        match tokio::time::timeout(timeout - awake, receiver).await {
            Ok(answer) => answer.map_err(|_| closed()),
            Err(_) => Err(CallError::Timeout { address: self.peer.to_string(), after: timeout }),
        }
    }

    /// Delivers an answer; one that nobody waits for is dropped.
    pub(crate) fn answered(&self, answer: Answer, opaque: i32) {
        if let Some(waiting) = self.calls.lock().remove(&opaque) {
            let _ = waiting.send(answer);
        }
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Bytes that the peer has not taken yet.
    pub fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }

    /// Whether its peer has read enough of what it was sent for answers that can wait to follow.
    pub fn takes_answers(&self) -> bool {
        self.budget.may_read(self.unread())
    }

    /// So many bytes more wait for the peer.
    pub(crate) fn grew(&self, bytes: usize) {
        self.budget.outbound_grew(bytes);
        self.unread.fetch_add(bytes, Ordering::AcqRel);
    }

    /// The peer's kernel took so many bytes.
    pub(crate) fn shrank(&self, bytes: usize) {
        self.unread.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.outbound_shrank(bytes);
    }

    /// Why the connection is to end, once somebody has said so.
    pub(crate) fn closing(&self) -> Option<String> {
        self.closing.get().cloned()
    }

    /// The socket is gone: nothing is sent any more, and calls end without an answer.
    pub(crate) fn mark_closed(&self) {
        self.closed.store(true, Ordering::Release);
        self.outbox.close();
        self.calls.lock().clear();
        self.forget_unread();
    }

    fn forget_unread(&self) {
        let unread = self.unread.swap(0, Ordering::AcqRel);
        self.budget.outbound_shrank(unread);
    }
}

/// What comes within a time in which the thread does not sleep.
async fn soon(receiver: &mut oneshot::Receiver<Answer>, awake: Duration) -> Option<Answer> {
    let begun = Instant::now();
    while begun.elapsed() < awake {
        match receiver.try_recv() {
            Ok(answer) => return Some(answer),
            Err(TryRecvError::Closed) => return None,
            Err(TryRecvError::Empty) => tokio::task::yield_now().await,
        }
    }
    None
}

/// A call in flight; gone when its caller has the answer, gave up or was cancelled.
struct Waiting<'a> {
    channel: &'a Channel,
    opaque: i32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.channel.calls.lock().remove(&self.opaque);
    }
}

/// A request that waits for its answer; dropping it gives its place back.
#[derive(Debug)]
pub struct Held {
    channel: Arc<Channel>,
}

impl Held {
    /// Where the answer goes.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let before = self.channel.held.fetch_sub(1, Ordering::SeqCst);
        if before == 1 && self.channel.finishing.load(Ordering::SeqCst) {
            self.channel.wake.notify_one();
        }
    }
}

fn encode(out: &mut Vec<u8>, head: &Head<'_>, write: impl FnOnce(&mut FrameWriter<'_>), body: &[u8]) {
    let mut writer = FrameWriter::new(out, head);
    write(&mut writer);
    writer.body(body);
}

fn write_pairs(writer: &mut FrameWriter<'_>, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        writer.field(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_names_wins_and_names_are_whole() {
        let texts = Texts::of([("a", "1"), ("ab", "2"), ("a", "3"), ("", "4"), ("b", "")].into_iter());
        let got = |name| texts.get(name);
        assert_eq!((got("a"), got("ab"), got(""), got("b")), (Some("3"), Some("2"), Some("4"), Some("")));
        assert_eq!((got("c"), Texts::default().get("a")), (None, None));
    }
}
