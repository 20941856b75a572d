//! What is made ready ahead of the end of the log, so that no append waits for it: the next segment, and zeros.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::StoreError;
use crate::segment::Segment;
use crate::store::Store;
use crate::zeros;

/// Pause after a failure. Appends report by themselves what is wrong.
const AFTER_ERROR: Duration = Duration::from_secs(1);

impl Store {
    /// Makes the next segment if the present one is half full; the appender then finds it ready.
    pub fn allocate_step(&self) -> Result<(), StoreError> {
        let log = &self.base.log;
        if log.wants_next() {
            let prepare =
                |segment: &Segment| if self.is_sync() { zeros::write_beginning(segment) } else { Ok(()) };
            log.prepare_next(&prepare).map_err(StoreError::io("create a segment in", &log.dir))?;
        }
        Ok(())
    }

    /// The thread that makes segments.
    pub(crate) fn allocate_loop(&self) {
        while self.allocate.wait(None) && !self.allocate.is_stopped() {
            if let Err(error) = self.allocate_step() {
                // The appender will try itself and report; do not spin meanwhile.
                tracing::warn!(%error, "cannot make the next segment ahead of need");
                self.allocate.pause(AFTER_ERROR);
            }
            self.allocate.take();
        }
    }

    /// Writes the next zeros, if the log has come near enough; tells whether more are wanted at once.
    pub fn zero_step(&self) -> Result<bool, StoreError> {
        let mut appender = self.appender.lock();
        let Some(segment) = appender.segment().cloned() else { return Ok(false) };
        let Some(range) = self.zeros.next(&segment, appender.end) else { return Ok(false) };
        appender.zeroing = Some(range.clone());
        let writing = self.zeros.begin();
        drop(appender);
        let written = zeros::write_zeros(&segment, &range);
        // Whoever waits for the range must not wait for the disk as well, which may hang.
        drop(writing);
        // This also syncs records before the range. If it fails, the system has told us and will not tell the flush, so
        // the failure counts here as it would there.
        let synced = if written.is_ok() { segment.sync_data() } else { Ok(()) };
        self.appender.lock().zeroing = None;
        if let Err(source) = synced {
            let error = self.base.sync_error(&segment.path, source);
            self.flush.answer(&self.base);
            return Err(error);
        }
        written.map_err(StoreError::io("write zeros to", &segment.path))?;
        segment.zeroed.store(range.end, Ordering::Release);
        Ok(true)
    }

    /// The thread that writes zeros.
    pub(crate) fn zero_loop(&self) {
        while self.zeros.wanted.wait(None) && !self.zeros.wanted.is_stopped() {
            self.zeros.wanted.take();
            loop {
                match self.zero_step() {
                    Ok(true) if !self.zeros.wanted.is_stopped() => (),
                    Ok(_) => break,
                    Err(error) => {
                        // If writing failed only speed is lost.
                        tracing::warn!(%error, "cannot prepare the log ahead of its end");
                        self.zeros.wanted.pause(AFTER_ERROR);
                        break;
                    }
                }
            }
        }
    }
}
