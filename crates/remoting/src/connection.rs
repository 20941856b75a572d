//! The task that owns a socket.
//!
//! It waits for one of four things: bytes to read, room to write, somebody who queued frames or wants an end, or
//! silence for too long. While answers lie unread beyond the limit a server does not read, so a peer that stops reading
//! stops being served instead of filling our memory.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::time::Instant;

use crate::Service;
use crate::channel::Channel;
use crate::inbound::{Inbound, Read};
use crate::outbox::{self, write_some};
use crate::stream::Stream;
use crate::turn::{Finished, Turn};

/// Reads of one connection's large frame before others get their turn.
const PARTS_IN_A_ROW_MAX: usize = 8;
/// How long a closing connection may take to write what is queued.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);

thread_local! {
    /// Answers of the current turn; lent to one connection at a time.
    static OUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The one that was connected to. A peer that takes its answers is alive.
    Accepting,
    /// The one that connected. It waits for answers, and only what comes shows that its peer is alive: where a device
    /// in between has forgotten the connection, the kernel takes what is written for a quarter of an hour.
    Connecting,
}

struct Connection {
    end: End,
    stream: Arc<Stream>,
    channel: Arc<Channel>,
    service: Arc<dyn Service>,
    inbound: Inbound,
    /// Bytes of `inbound` that the shared budget knows of.
    counted: usize,
    /// Written up to `sent`. While there is more it is our turn to write.
    sending: Vec<u8>,
    sent: usize,
    /// Complete frames wait in `inbound` for the answers before them to be written, or for a pause to end.
    starved: bool,
    /// The first of them was put back.
    begins_again: bool,
    /// The peer takes no more answers, but what it sent before is still read: a Go client commits its offsets and
    /// closes at once, and the unread answers turn its close into a reset.
    deaf: bool,
    /// The last reads took as much as a turn may, so that there is probably more.
    full: bool,
    last_activity: Instant,
}

/// Why a connection ended.
enum Ended {
    /// Closed by the peer or by us, as usual.
    Quiet,
    /// Worth a line in the log.
    Loud(String),
}

/// Serves a connection until it ends.
pub(crate) async fn run(end: End, stream: Stream, channel: Arc<Channel>, service: Arc<dyn Service>) {
    let stream = Arc::new(stream);
    channel.outbox.open(Arc::clone(&stream));
    let mut connection = Connection {
        end,
        stream,
        channel,
        service,
        inbound: Inbound::default(),
        counted: 0,
        sending: Vec::new(),
        sent: 0,
        starved: false,
        begins_again: false,
        deaf: false,
        full: false,
        last_activity: Instant::now(),
    };
    if let Ended::Loud(reason) = connection.serve().await {
        tracing::warn!(peer = %connection.channel.peer(), "connection closed: {reason}");
    }
}

/// Also when the service panics, so that a mistake there costs one connection and none of the shared budget.
impl Drop for Connection {
    fn drop(&mut self) {
        self.channel.budget().inbound_changed(self.counted, 0);
        self.channel.mark_closed();
        self.service.closed(&self.channel);
    }
}

impl Connection {
    async fn serve(&mut self) -> Ended {
        let idle = self.channel.budget().limits.idle;
        let timer = tokio::time::sleep(idle);
        tokio::pin!(timer);
        loop {
            self.write_queued();
            if let Some(reason) = self.channel.closing() {
                return self.linger(reason).await;
            }
            let may_read = self.may_read();
            if self.starved && may_read {
                self.turn_again();
                tokio::task::yield_now().await;
                continue;
            }
            if std::mem::take(&mut self.full) {
                // Its turn is over: who has less to say comes next, and those whose bytes have just come.
                tokio::task::yield_now().await;
            }
            let is_writing = self.is_writing() || self.stream.is_behind();
            let interest = match (may_read, is_writing) {
                (true, true) => Interest::READABLE | Interest::WRITABLE,
                (true, false) => Interest::READABLE,
                (false, _) => Interest::WRITABLE,
            };
            tokio::select! {
                ready = self.stream.ready(interest), if is_writing || !self.channel.is_paused() => match ready {
                    Ok(ready) if ready.is_readable() && may_read => {
                        if let Err(end) = self.read_some() {
                            return end;
                        }
                    }
                    Ok(_) => (),
                    Err(error) => return Ended::Loud(error.to_string()),
                },
                () = self.channel.wake.notified() => (),
                () = &mut timer => {
                    if self.last_activity.elapsed() >= idle {
                        return Ended::Loud(format!("silent for {} s", idle.as_secs()));
                    }
                    timer.as_mut().reset(self.last_activity + idle);
                }
            }
        }
    }

    /// Whether what comes need not wait until the peer has read. Answers to the end that connected make nothing more to
    /// write, and its peer may be waiting for them to be read before it reads itself.
    fn may_read(&self) -> bool {
        let takes_more = || self.channel.budget().may_read(self.channel.unread());
        !self.channel.is_paused() && (self.end == End::Connecting || takes_more())
    }

    fn is_writing(&self) -> bool {
        self.sent < self.sending.len()
    }

    fn read_some(&mut self) -> Result<(), Ended> {
        for _ in 0..PARTS_IN_A_ROW_MAX {
            let mut finished = Finished::default();
            let read = OUT.with_borrow_mut(|out| {
                // A service that panicked may have left its answers to somebody else here.
                out.clear();
                let (channel, service, stream) = (&self.channel, &self.service, &self.stream);
                let read = self.inbound.read(stream, |bytes| {
                    finished = turn(service, channel, bytes, false, out);
                    finished.used
                });
                Self::write_out(stream, channel, &mut self.sending, self.sent, out);
                read
            });
            let Finished { starved, is_put_back, failure, .. } = finished;
            (self.starved, self.begins_again) = (starved, is_put_back);
            if !self.count_inbound() {
                return Err(Ended::Loud(
                    "incomplete frames of all connections take too much memory".to_owned(),
                ));
            }
            if let Some(reason) = failure {
                // What was accepted before the malformed frame is still answered.
                self.channel.close(&reason);
                return Ok(());
            }
            match read {
                Ok(Read::End) => {
                    // It may have closed only its own side and still wait for what is queued.
                    self.channel.close(if self.counted > 0 { "it ended inside a frame" } else { "" });
                    return Ok(());
                }
                Ok(Read::Nothing) => return Ok(()),
                Ok(Read::Part) => {
                    self.heard();
                    if starved || self.is_writing() {
                        return Ok(());
                    }
                }
                Ok(Read::Some(more)) => {
                    self.heard();
                    self.full = more;
                    return Ok(());
                }
                Err(error) => return Err(quiet_reset(error)),
            }
        }
        self.full = true;
        Ok(())
    }

    /// Something came.
    fn heard(&mut self) {
        self.last_activity = Instant::now();
        self.channel.heard(self.last_activity.into_std());
    }

    /// Tells the shared budget of a change; false when incomplete frames take too much in all.
    fn count_inbound(&mut self) -> bool {
        let before = std::mem::replace(&mut self.counted, self.inbound.len());
        self.channel.budget().inbound_changed(before, self.counted)
    }

    /// Serves complete frames that an earlier turn left over.
    fn turn_again(&mut self) {
        let mut finished = Finished::default();
        let begins_again = std::mem::take(&mut self.begins_again);
        OUT.with_borrow_mut(|out| {
            out.clear();
            let (channel, service) = (&self.channel, &self.service);
            self.inbound.again(|bytes| {
                finished = turn(service, channel, bytes, begins_again, out);
                finished.used
            });
            Self::write_out(&self.stream, channel, &mut self.sending, self.sent, out);
        });
        // It can only have shrunk.
        self.count_inbound();
        (self.starved, self.begins_again) = (finished.starved, finished.is_put_back);
        if let Some(reason) = finished.failure {
            self.channel.close(&reason);
        }
    }

    /// Writes the answers of a turn at once; what the kernel does not take waits behind what waits already.
    fn write_out(stream: &Stream, channel: &Channel, sending: &mut Vec<u8>, sent: usize, out: &mut Vec<u8>) {
        if out.is_empty() {
            return;
        }
        if sent < sending.len() {
            sending.extend_from_slice(out);
            channel.grew(out.len());
        } else if channel.outbox.take_turn() {
            let rest = &out[write_some(stream, out)..];
            sending.extend_from_slice(rest);
            channel.grew(rest.len());
            if rest.is_empty() {
                // What others queued meanwhile is written before we wait for anything.
                channel.outbox.end(&[]);
            }
        } else {
            channel.grew(out.len());
            channel.outbox.queue(out);
        }
        out.clear();
        if out.capacity() > 4 << 20 {
            out.shrink_to(1 << 20);
        }
    }

    /// Writes what others queued, as far as the kernel takes it.
    fn write_queued(&mut self) {
        loop {
            if !self.is_writing() {
                let was_writing = !self.sending.is_empty();
                self.sending.clear();
                self.sent = 0;
                let kept = self.channel.budget().limits.buffer_kept_bytes;
                if !self.channel.outbox.refill(was_writing, &mut self.sending, kept) {
                    outbox::shrink(&mut self.sending, kept);
                    return;
                }
            }
            if self.deaf {
                self.took(self.sending.len() - self.sent);
                continue;
            }
            match self.stream.try_write(&self.sending[self.sent..]) {
                Ok(count) if count > 0 => {
                    self.took(count);
                    if self.end == End::Accepting {
                        self.last_activity = Instant::now();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.queue_behind();
                    return;
                }
                _ => self.deaf = true,
            }
        }
    }

    /// While a slow reader keeps us busy: forgets what was sent, and takes in what others queued meanwhile, which
    /// would otherwise wait for a moment with nothing to send.
    fn queue_behind(&mut self) {
        if self.sent > self.sending.len() / 2 {
            self.sending.drain(..self.sent);
            self.sent = 0;
        }
        self.channel.outbox.append_to(&mut self.sending);
    }

    fn took(&mut self, count: usize) {
        self.sent += count;
        self.channel.shrank(count);
    }

    /// Writes what is queued, and what is still owed, before an end that we chose, for a bounded time.
    async fn linger(&mut self, reason: String) -> Ended {
        let deadline = Instant::now() + LINGER;
        loop {
            let owing = self.channel.owes_answers();
            self.write_queued();
            if !self.is_writing() && !self.stream.is_behind() && !owing {
                break;
            }
            let writing = self.is_writing() || self.stream.is_behind();
            let ended = tokio::select! {
                ready = self.stream.ready(Interest::WRITABLE), if writing => ready.is_err(),
                () = self.channel.wake.notified() => false,
                () = tokio::time::sleep_until(deadline) => true,
            };
            if ended {
                break;
            }
        }
        self.stream.say_goodbye();
        if reason.is_empty() { Ended::Quiet } else { Ended::Loud(reason) }
    }
}

fn turn(
    service: &Arc<dyn Service>,
    channel: &Arc<Channel>,
    bytes: &[u8],
    begins_again: bool,
    out: &mut Vec<u8>,
) -> Finished {
    let mut turn = Turn::new(bytes, channel, begins_again, out);
    service.serve(channel, &mut turn);
    turn.finish()
}

/// A reset by the peer is an ordinary end.
fn quiet_reset(error: io::Error) -> Ended {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Ended::Quiet,
        _ => Ended::Loud(error.to_string()),
    }
}
