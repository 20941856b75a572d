//! How far a long recovery has come, for those who wait for it.

use std::time::Duration;

use crate::clock::Clock;
use crate::commit_log::CommitLog;

/// Tells people how far a long recovery has come: once a second, after the first.
pub(crate) struct Progress<'a> {
    pub clock: &'a dyn Clock,
    from: u64,
    /// Where the log's files end; the log itself most often ends earlier.
    until: u64,
    /// Records so far.
    pub records: u64,
    told: Duration,
}

impl Progress<'_> {
    /// Begins to count at `from`.
    pub fn new<'a>(clock: &'a dyn Clock, from: u64, log: &CommitLog) -> Progress<'a> {
        let until = log.segments().last().map_or(from, |last| last.until());
        Progress { clock, from, until, records: 0, told: clock.monotonic() }
    }

    /// Recovery has come to the record at `at`.
    pub fn reached(&mut self, at: u64) {
        self.records += 1;
        if self.records.is_multiple_of(4096) {
            let now = self.clock.monotonic();
            if now >= self.told + Duration::from_secs(1) {
                self.told = now;
                let (done, all) =
                    (at.saturating_sub(self.from) >> 20, self.until.saturating_sub(self.from) >> 20);
                tracing::info!(
                    records = self.records,
                    read_mib = done,
                    of_mib = all,
                    "recovering: reading the log; requests are answered after that"
                );
            }
        }
    }
}
