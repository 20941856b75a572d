//! Figures about a running store, for GET_BROKER_RUNTIME_INFO and metrics.

use crate::store::Store;

/// A snapshot of figures.
#[derive(Debug, Clone, Default)]
pub struct Runtime {
    /// First offset of the log.
    pub log_min: u64,
    /// Offset behind the last record.
    pub log_end: u64,
    /// The log is durable up to here.
    pub flushed_until: u64,
    /// Bytes of the log that are not in the index yet.
    pub dispatch_behind_bytes: u64,
    /// Share of the commit log's disk that is used, 0 to 1, or −1 if unknown.
    pub log_disk_ratio: f64,
    /// Share of the queues' disk that is used, 0 to 1, or −1 if unknown.
    pub queue_disk_ratio: f64,
    /// Bytes of the commit log's disk.
    pub log_disk_total: u64,
    /// Bytes of it that are free.
    pub log_disk_free: u64,
    /// Store time of the oldest message, or −1.
    pub earliest_store_time: i64,
    /// Segments of the log.
    pub segments: usize,
    /// Topics with queues.
    pub topics: usize,
    /// Queues.
    pub queues: usize,
    /// Whether appends are accepted.
    pub writable: bool,
    /// Why not, if a failure is the reason.
    pub fault: Option<String>,
}

impl Store {
    /// Figures as of now.
    pub fn runtime(&self) -> Runtime {
        let log_space = self.base.disk.space(&self.base.log.dir).ok();
        let queue_space = self.base.disk.space(&self.base.options.root).ok();
        let ratio = |percent: Option<u32>| percent.map_or(-1.0, |percent| f64::from(percent) / 100.0);
        Runtime {
            log_min: self.log_min(),
            log_end: self.log_end(),
            flushed_until: self.flushed_until(),
            dispatch_behind_bytes: self.index_behind(),
            log_disk_ratio: ratio(log_space.map(|space| space.used_percent())),
            queue_disk_ratio: ratio(queue_space.map(|space| space.used_percent())),
            log_disk_total: log_space.map_or(0, |space| space.total),
            log_disk_free: log_space.map_or(0, |space| space.free),
            earliest_store_time: self.earliest_store_time().unwrap_or(-1),
            segments: self.base.log.segments().len(),
            topics: self.topics().len(),
            queues: self.queues.count(),
            writable: self.is_writable(),
            fault: self.fault(),
        }
    }
}
