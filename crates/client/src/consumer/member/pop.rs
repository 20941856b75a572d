//! Popping: brokers choose the messages, and give each to somebody else unless it is acknowledged in time
//! (client.md §3.9).
//!
//! A member keeps one pop under way for each of its queues ([`queue`]); what it brings has a receipt for each message
//! ([`receipt`]), which acknowledges it, hides it for longer or gives it back. Acknowledgements of one queue go
//! together ([`acknowledge`]).

mod acknowledge;
mod message;
mod queue;
mod receipt;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use wire::body::MessageQueue;

pub use message::Popped;
pub(in crate::consumer) use message::give_back;
pub(in crate::consumer) use receipt::Receipt;

use crate::consumer::hands::Hands;
use crate::consumer::status::TopicStatus;
use crate::received::Received;
use receipt::Ack;

/// A queue that a member pops; the number -1 stands for all of its broker.
#[derive(Debug)]
pub(in crate::consumer) struct PopQueue {
    pub queue: MessageQueue,
    /// It went to others.
    pub revoked: AtomicBool,
    /// Messages popped and not settled, whether in hands or not.
    pub unsettled: AtomicUsize,
    pub hands: Hands,
    /// Something was settled: there may be room.
    pub room: Notify,
    pub last_pop_ms: AtomicI64,
    pub status: Arc<TopicStatus>,
    /// For each queue that is popped in order, the message that failed last and how often it did so here.
    failing: Mutex<BTreeMap<MessageQueue, (i64, i32)>>,
    pub acks: mpsc::UnboundedSender<Ack>,
}

impl PopQueue {
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// A message that was popped in order failed; how often it had done so here before. What brokers say of it counts
    /// how often it was popped, also behind another that failed.
    pub fn failed_before(&self, message: &Received) -> i32 {
        let mut failing = self.failing.lock();
        let before = failing.get(&*message.queue).filter(|(offset, _)| *offset == message.offset);
        let count = before.map_or(0, |(_, count)| *count);
        failing.insert(MessageQueue::clone(&message.queue), (message.offset, count + 1));
        count
    }

    pub fn unsettled(&self) -> usize {
        self.unsettled.load(Ordering::Acquire)
    }
}
