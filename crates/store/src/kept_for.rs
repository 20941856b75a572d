//! Why a segment of the log stays whose time has come.

use std::time::Duration;

use parking_lot::Mutex;

use crate::seldom::Seldom;

/// What keeps the first segment, if anything does.
#[derive(Default)]
pub(crate) struct KeptFor {
    cause: Mutex<Option<String>>,
    said: Seldom,
}

impl KeptFor {
    /// What keeps it.
    pub fn cause(&self) -> Option<String> {
        self.cause.lock().clone()
    }

    /// Notes what keeps it or that nothing does, and says so; `now` is monotonic.
    pub fn note(&self, cause: Option<String>, now: Duration) {
        match &cause {
            Some(cause) if self.said.is_due(now) => tracing::error!(
                cause,
                "no segment of the commit log is deleted, and the disk may become full; if a restart does not mend it, deleting the topic does"
            ),
            None if self.said.end() => tracing::info!("segments of the commit log are deleted again"),
            _ => {}
        }
        *self.cause.lock() = cause;
    }
}
