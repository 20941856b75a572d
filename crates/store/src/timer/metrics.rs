//! `config/timermetrics`: how many messages wait for each topic.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use wire::body::TimerMetrics;
use wire::loose_json;

use crate::config_file;
use crate::disk::Disk;

/// The table and its file.
pub(crate) struct Metrics {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// Never locked while the disk is waited for: administrators ask for it.
    table: Arc<Mutex<TimerMetrics>>,
    changed: bool,
}

impl Metrics {
    /// Reads the file. These are figures for people: a file that cannot be read is begun anew.
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf) -> Metrics {
        let read = config_file::load(&*disk, &path, |bytes| loose_json::read(bytes).ok());
        let table = read.unwrap_or_else(|error| {
            tracing::warn!(%error, "the counts of waiting timer messages begin anew");
            None
        });
        Metrics { disk, path, table: Arc::new(Mutex::new(table.unwrap_or_default())), changed: false }
    }

    /// The table, for who looks at it without holding the timer.
    pub fn table(&self) -> Arc<Mutex<TimerMetrics>> {
        Arc::clone(&self.table)
    }

    /// Counts messages of a topic.
    pub fn add(&mut self, topic: &str, count: i64, now: i64) {
        let mut table = self.table.lock();
        match table.timing_count.get_mut(topic) {
            Some(metric) => {
                metric.count += count;
                metric.time_stamp = now;
            }
            None => {
                table
                    .timing_count
                    .insert(topic.to_owned(), wire::body::TimerMetric { count, time_stamp: now });
            }
        }
        table.data_version.next(now);
        self.changed = true;
    }

    /// Sets all counts to 0.
    pub fn reset(&mut self, now: i64) {
        for metric in self.table.lock().timing_count.values_mut().filter(|metric| metric.count != 0) {
            metric.count = 0;
            metric.time_stamp = now;
            self.changed = true;
        }
    }

    /// What the file is to hold, if that has changed.
    pub fn take_changed(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.changed).then(|| self.table.lock().to_json())
    }

    /// Disk and path, to write without holding the table.
    pub fn place(&self) -> (Arc<dyn Disk>, PathBuf) {
        (Arc::clone(&self.disk), self.path.clone())
    }
}

/// Replaces the file.
pub(crate) fn save((disk, path): &(Arc<dyn Disk>, PathBuf), content: &[u8]) -> io::Result<()> {
    config_file::save(&**disk, path, content)
}
