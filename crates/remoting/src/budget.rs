//! Limits on what connections may take, and the counters that enforce the limits shared by all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Limits of one server or client.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest frame accepted, length field included.
    pub frame_bytes_max: usize,
    /// Open connections; further ones are closed at once.
    pub connections_max: usize,
    /// Requests of one connection that wait for their answer (long polls, flushes, relays).
    pub held_max: u32,
    /// Unread answers of one connection beyond which it is not read from.
    pub outbound_bytes_max: usize,
    /// Unread answers of all connections beyond which those that have any are not read from.
    pub outbound_bytes_total_max: usize,
    /// Incomplete frames of all connections beyond which a connection that adds to them is closed.
    pub inbound_bytes_total_max: usize,
    /// Silence after which a connection is closed.
    pub idle: Duration,
    /// Memory of buffers that a connection keeps while there is nothing to write.
    pub buffer_kept_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            frame_bytes_max: wire::frame::FRAME_MAX,
            connections_max: 20_000,
            held_max: 4_096,
            outbound_bytes_max: 64 << 20,
            outbound_bytes_total_max: 512 << 20,
            inbound_bytes_total_max: 512 << 20,
            idle: Duration::from_secs(120),
            buffer_kept_bytes: 4 << 10,
        }
    }
}

/// Limits and what is in use of them, shared by all connections of one server or client.
#[derive(Debug)]
pub(crate) struct Budget {
    pub limits: Limits,
    pub connections: AtomicUsize,
    outbound: AtomicUsize,
    inbound: AtomicUsize,
}

impl Budget {
    pub fn new(limits: Limits) -> Arc<Budget> {
        Arc::new(Budget {
            limits,
            connections: AtomicUsize::new(0),
            outbound: AtomicUsize::new(0),
            inbound: AtomicUsize::new(0),
        })
    }

    /// Answers of so many bytes wait for peers to read them.
    pub fn outbound_grew(&self, bytes: usize) {
        self.outbound.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Peers have read so many bytes of what waited, or never will.
    pub fn outbound_shrank(&self, bytes: usize) {
        self.outbound.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether a connection with `unread` bytes of answers may be read from.
    pub fn may_read(&self, unread: usize) -> bool {
        unread == 0
            || (unread <= self.limits.outbound_bytes_max
                && self.outbound.load(Ordering::Relaxed) <= self.limits.outbound_bytes_total_max)
    }

    /// Notes that incomplete frames went from `before` to `after` bytes; false when that is too much in all.
    pub fn inbound_changed(&self, before: usize, after: usize) -> bool {
        if after >= before {
            let total = self.inbound.fetch_add(after - before, Ordering::Relaxed) + (after - before);
            total <= self.limits.inbound_bytes_total_max
        } else {
            self.inbound.fetch_sub(before - after, Ordering::Relaxed);
            true
        }
    }
}
