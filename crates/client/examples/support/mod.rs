//! What examples that check a server have in common.

use std::error::Error;
use std::time::Duration;

/// Done, or why not.
pub type Outcome = Result<(), Box<dyn Error>>;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something holds.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) -> Outcome {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        if tokio::time::Instant::now() > deadline {
            return Err(format!("not in time: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
