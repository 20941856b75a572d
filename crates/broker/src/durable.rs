//! Answers that wait until the disk has what they speak of (synchronous flush).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use remoting::Channel;
use store::Flushed;

use crate::Broker;

/// While no more answers than these wait, the thread that flushes writes them to their sockets by itself: that takes
/// less than waking somebody else to do it. With more of them the next flush would have to wait for it.
const WRITTEN_BY_FLUSH: usize = 4;

/// How many answers wait.
pub(crate) type Waiting = Arc<AtomicUsize>;

impl Broker {
    /// Has `write` make an answer once the log is durable up to `until`, or when the disk has failed or did not get
    /// there in time, and sends it. `place`, that of a request that waits, is given up after that.
    pub(crate) fn answer_when_flushed(
        &self,
        until: u64,
        channel: &Arc<Channel>,
        place: impl Send + 'static,
        write: impl FnOnce(Flushed, &mut Vec<u8>) + Send + 'static,
    ) {
        let (channel, waiting) = (Arc::clone(channel), Arc::clone(&self.waiting_for_flush));
        waiting.fetch_add(1, Ordering::Relaxed);
        let answer = move |flushed: Flushed| {
            let mut out = Vec::new();
            write(flushed, &mut out);
            if waiting.fetch_sub(1, Ordering::Relaxed) <= WRITTEN_BY_FLUSH {
                channel.send_directly(&out);
            } else {
                channel.send(&out);
            }
            drop(place);
        };
        self.store.when_flushed(until, Box::new(answer));
    }
}
