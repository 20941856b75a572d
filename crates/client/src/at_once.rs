//! Running several futures at the same time, such as questions to brokers.

use std::pin::Pin;
use std::task::Poll;

/// Runs all of these at the same time, and returns when the last one has ended, with what came of each, in the order in
/// which they ended. No tasks: whoever drops this has ended all of them.
pub(crate) async fn all_at_once<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outcomes = Vec::with_capacity(running.len());
    std::future::poll_fn(|context| {
        running.retain_mut(|future| match future.as_mut().poll(context) {
            Poll::Ready(outcome) => {
                outcomes.push(outcome);
                false
            }
            Poll::Pending => true,
        });
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outcomes
}
