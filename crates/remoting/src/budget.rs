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
    /// Connections of several servers together, beside what each may have.
    pub places: Option<Arc<Places>>,
    /// Requests of one connection that wait for their answer (long polls, flushes, relays).
    pub held_max: u32,
    /// Unread answers of one connection beyond which a server does not read from it.
    pub outbound_bytes_max: usize,
    /// Unread answers of all connections beyond which a server does not read from those that have any.
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
            places: None,
            held_max: 4_096,
            outbound_bytes_max: 64 << 20,
            outbound_bytes_total_max: 512 << 20,
            inbound_bytes_total_max: 512 << 20,
            idle: Duration::from_secs(120),
            buffer_kept_bytes: 4 << 10,
        }
    }
}

/// Connections that several servers of a process may have together: what they have in common is its open files.
#[derive(Debug)]
pub struct Places {
    max: usize,
    taken: AtomicUsize,
}

impl Places {
    /// So many.
    pub fn new(max: usize) -> Arc<Places> {
        Arc::new(Places { max, taken: AtomicUsize::new(0) })
    }

    /// How many.
    pub fn max(&self) -> usize {
        self.max
    }

    fn take(&self) -> bool {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        let is_free = taken < self.max;
        if !is_free {
            self.give_back();
        }
        is_free
    }

    fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
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

    /// Takes the place of a connection; says why there is none.
    pub fn connect(&self) -> Result<(), String> {
        let open = self.connections.fetch_add(1, Ordering::Relaxed);
        let refused = match &self.limits.places {
            _ if open >= self.limits.connections_max => {
                format!("{open} are open, the limit is {}", self.limits.connections_max)
            }
            Some(places) if !places.take() => {
                format!("all servers of this process have {} together, which is the limit", places.max)
            }
            _ => return Ok(()),
        };
        self.connections.fetch_sub(1, Ordering::Relaxed);
        Err(refused)
    }

    /// Gives the place of a connection back.
    pub fn disconnect(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(places) = &self.limits.places {
            places.give_back();
        }
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
