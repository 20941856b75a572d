//! Being asked to stop: with Ctrl-C, or by whoever ends processes.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Waits for somebody to say stop.
pub struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    /// From now on the process does not end by itself when it is asked to.
    ///
    /// # Errors
    /// When the system does not let it listen.
    pub fn listen() -> Result<Interrupt, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|cause| Failure::File { what: "listen to signals".to_owned(), cause })
        };
        Ok(Interrupt {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Ends when it is asked to stop. May be dropped and called again.
    pub async fn came(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }
}
