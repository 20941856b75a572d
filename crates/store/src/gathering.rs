//! Whom a flush waits for before it begins.
//!
//! Senders of whom each waits for its answer before it sends again meet the flush in two halves: those who come while
//! it runs for the others are too late for it, and wait for the rest of it and for one of their own. Had it begun a
//! little later, one flush would have served them all. So a flush waits for as many as were under way when the last
//! one ended, for no longer than a flush takes: that is what each of them would lose. Where they do not come, since
//! they are no such senders, it is tried more and more seldom.
//!
//! Those who send much at a time need none of this: while the disk works for some, the processors work for others.

use std::time::Duration;

/// More senders than these are not waited for, nor those who sent more than this.
const GATHERED_MAX: usize = 32;
const GATHERED_BYTES_MAX: u64 = 32 << 10;
/// A flush is put off for no longer than this, however slow the disk is.
const PATIENCE_MAX: Duration = Duration::from_millis(1);
/// Up to two to the power of this many flushes begin at once after waiting was in vain.
const VAIN_MAX: u32 = 8;

/// What is known of the flushes before.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// How many were answered by the last flush or waited when it ended.
    under_way: usize,
    /// What the last flush brought to the disk.
    bytes: u64,
    /// What a flush takes, a moving mean.
    takes: Duration,
    /// How often in a row waiting was in vain.
    vain: u32,
    /// Flushes that still begin at once.
    skips: u32,
}

impl Gathering {
    /// How many to wait for before the next flush, and how long; `None` if it had better begin at once.
    pub fn next(&mut self) -> Option<(usize, Duration)> {
        if !(2..=GATHERED_MAX).contains(&self.under_way) || self.bytes > GATHERED_BYTES_MAX {
            return None;
        }
        if self.skips > 0 {
            self.skips -= 1;
            return None;
        }
        Some((self.under_way, self.takes.min(PATIENCE_MAX)))
    }

    /// Waiting has ended, with all or without some.
    pub fn ended(&mut self, all_came: bool) {
        self.vain = if all_came { 0 } else { (self.vain + 1).min(VAIN_MAX) };
        self.skips = if all_came { 0 } else { 1 << self.vain };
    }

    /// A flush of so many bytes has ended, in so long; so many were answered or wait for the next one.
    pub fn flushed(&mut self, bytes: u64, under_way: usize, took: Duration) {
        self.under_way = under_way;
        self.bytes = bytes;
        self.takes = (self.takes * 7 + took) / 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLUSH: Duration = Duration::from_micros(200);

    fn after_flushes_for(under_way: usize) -> Gathering {
        let mut gathering = Gathering::default();
        for _ in 0..100 {
            gathering.flushed(under_way as u64 * 1_200, under_way, FLUSH);
        }
        gathering
    }

    #[test]
    fn a_few_senders_are_waited_for_as_long_as_a_flush_takes_and_one_or_many_are_not() {
        let (count, patience) = after_flushes_for(4).next().unwrap();
        assert_eq!(count, 4);
        assert!(patience > FLUSH * 9 / 10 && patience <= FLUSH, "{patience:?}");
        assert_eq!(after_flushes_for(1).next(), None);
        assert_eq!(after_flushes_for(GATHERED_MAX + 1).next(), None);
        let mut slow = Gathering::default();
        slow.flushed(4_800, 4, Duration::from_secs(9));
        assert_eq!(slow.next(), Some((4, PATIENCE_MAX)), "a slow disk is not made slower for long");
    }

    #[test]
    fn senders_of_much_are_not_waited_for() {
        let mut gathering = after_flushes_for(4);
        gathering.flushed(GATHERED_BYTES_MAX + 1, 4, FLUSH);
        assert_eq!(gathering.next(), None);
    }

    #[test]
    fn senders_that_do_not_come_back_are_waited_for_more_and_more_seldom() {
        let mut gathering = after_flushes_for(4);
        let waited = (0..10_000)
            .filter(|_| {
                let waits = gathering.next().is_some();
                if waits {
                    gathering.ended(false);
                }
                gathering.flushed(4_800, 4, FLUSH);
                waits
            })
            .count();
        assert!((10..60).contains(&waited), "{waited} of 10,000");
        gathering.ended(true);
        assert!(gathering.next().is_some(), "once they come they are waited for again");
    }
}
