//! The answers of SQL92 filters, kept as bits beside the queues so that readers pass over messages unread
//! (`enableCalcFilterBitMap`, broker.md §11.5).
//!
//! Invariant: bits never change what a reader gets. They count only for messages that were stored while this very
//! filter was registered, which is known because a filter is born with the store time of the last message before it,
//! and all bitmaps that were being made meanwhile are dropped ([`store::Bitmaps::edition`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use store::Extension;

use super::bloom::BloomFilterData;

/// The bits of a registered filter, as its readers know them.
#[derive(Debug)]
pub struct Bits {
    data: BloomFilterData,
    /// Messages stored later than this were asked about.
    born: i64,
    /// Until another filter takes its place.
    valid: AtomicBool,
}

impl Bits {
    /// Bits that count for messages stored after `born`, Unix milliseconds.
    pub fn new(data: BloomFilterData, born: i64) -> Arc<Bits> {
        Arc::new(Bits { data, born, valid: AtomicBool::new(true) })
    }

    /// From now on messages are asked about something else.
    pub fn void(&self) {
        self.valid.store(false, Ordering::Release);
    }

    /// Whether the message of an extension may be wanted. When in doubt, yes.
    pub fn may_want(&self, extension: &Extension<'_>) -> bool {
        extension.store_timestamp <= self.born
            || self.data.are_in(extension.bitmap)
            || !self.valid.load(Ordering::Acquire)
    }
}

/// Counts the changes of the registered filters.
#[derive(Debug, Default)]
pub struct Edition(AtomicU64);

impl Edition {
    /// To be called by who changes filters, behind the lock of their table and before the time of birth is taken.
    pub fn next(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// How many there were.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
