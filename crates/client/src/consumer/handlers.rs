//! Handlers of messages: what becomes of a message follows from what its handler says.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use super::delivery::{ConsumeOrderlyStatus, Delivered, settle_orderly};
use super::intake::Intake;
use super::serving::Serving;
use crate::at_once::all_at_once;
use crate::received::Received;

/// Hands every message to `handler`.
pub(super) fn serve<H, F, E>(intake: Intake, handler: H) -> Serving
where
    H: Fn(Received) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let renewed = renewed(&intake);
    Serving::start(intake, move |mut delivered: Delivered| {
        let handling = handler(delivered.message());
        async move {
            let mut handling = pin!(handling);
            let handled = match renewed {
                Some(hidden) => {
                    let one = std::slice::from_mut(&mut delivered);
                    Some(Box::pin(while_renewed(one, hidden, handling.as_mut())).await)
                }
                None => in_time(handling.as_mut(), delivered.time_limit()).await,
            };
            match handled {
                Some(Ok(())) => delivered.ack(),
                Some(Err(error)) => {
                    tracing::info!(id = %delivered.message_id(), "a handler failed: {error}");
                    delivered.retry().await;
                }
                None => Box::pin(too_late(vec![delivered], handling)).await,
            }
        }
    })
}

/// Hands several messages at a time to `handler`, of one queue or popped together.
pub(super) fn serve_batches<H, F, E>(intake: Intake, handler: H) -> Serving
where
    H: Fn(Vec<Received>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Unfinished<E>>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let renewed = renewed(&intake);
    Serving::start(intake, move |mut some: Vec<Delivered>| {
        let handling = handler(some.iter().map(Delivered::message).collect());
        async move {
            let mut handling = pin!(handling);
            let limit = some.first().and_then(Delivered::time_limit);
            let handled = match renewed {
                Some(hidden) => Some(Box::pin(while_renewed(&mut some, hidden, handling.as_mut())).await),
                None => in_time(handling.as_mut(), limit).await,
            };
            let Some(handled) = handled else {
                Box::pin(too_late(some, handling)).await;
                return;
            };
            let done = match handled {
                Ok(()) => some.len(),
                Err(Unfinished { done, cause }) => {
                    let done = done.min(some.len());
                    tracing::info!(done, failed = some.len() - done, "a handler failed: {cause}");
                    done
                }
            };
            let undone = some.split_off(done);
            some.into_iter().for_each(Delivered::ack);
            if !undone.is_empty() {
                Box::pin(all_at_once(undone.into_iter().map(Delivered::retry))).await;
            }
        }
    })
}

/// Hands messages of a queue to `handler`, which says what is written down.
pub(super) fn serve_orderly<H, F, E>(intake: Intake, handler: H) -> Serving
where
    H: Fn(Vec<Received>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<ConsumeOrderlyStatus, E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    Serving::start(intake, move |some: Vec<Delivered>| {
        let handling = handler(some.iter().map(Delivered::message).collect());
        async move {
            let status = handling.await.unwrap_or_else(|error| {
                tracing::info!("a handler failed: {error}");
                ConsumeOrderlyStatus::SuspendCurrentQueueAMoment
            });
            settle_orderly(some, status).await;
        }
    })
}

/// What a handler of several messages says when it has not done all of them: the first are done, and the others come
/// again later. An error by itself becomes one where none is done, so that `?` can be used.
///
/// ```no_run
/// # async fn book(order: &thrustmq_client::Received) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn example(client: thrustmq_client::Client) -> Result<(), thrustmq_client::Error> {
/// use thrustmq_client::{Filter, Unfinished};
///
/// let consumer = client.consumer("order-service").subscribe("orders", Filter::all());
/// let serving = consumer
///     .serve_batches(16, |orders| async move {
///         for (done, order) in orders.iter().enumerate() {
///             if let Err(cause) = book(order).await {
///                 return Err(Unfinished { done, cause });
///             }
///         }
///         Ok(())
///     })
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished<E> {
    /// How many of the first messages are done.
    pub done: usize,
    /// Why the others are not.
    pub cause: E,
}

impl<E> From<E> for Unfinished<E> {
    fn from(cause: E) -> Unfinished<E> {
        Unfinished { done: 0, cause }
    }
}

/// What a handler comes to; `None` when its time is over first. A timer is set only for one that has to wait.
async fn in_time<F: Future>(mut handling: Pin<&mut F>, limit: Option<Duration>) -> Option<F::Output> {
    let looked = poll_fn(|context| Poll::Ready(handling.as_mut().poll(context))).await;
    match (looked, limit) {
        (Poll::Ready(handled), _) => Some(handled),
        (Poll::Pending, Some(limit)) => tokio::time::timeout(limit, handling).await.ok(),
        (Poll::Pending, None) => Some(handling.await),
    }
}

/// Messages come again whose handler takes too long. It goes on to its end, also while brokers take their time to take
/// them back; what it says then means nothing.
async fn too_late<F: Future>(some: Vec<Delivered>, handling: Pin<&mut F>) {
    let returned = all_at_once(some.into_iter().map(Delivered::late));
    tokio::join!(returned, async { drop(handling.await) });
}

/// For how long messages in hands are hidden again and again, if they are.
fn renewed(intake: &Intake) -> Option<Duration> {
    let options = &intake.member.options.pop;
    options.renew.then_some(options.invisible)
}

/// Hides messages again and again, half their time before others would get them, for as long as their handler works.
async fn while_renewed<F: Future>(
    some: &mut [Delivered],
    hidden: Duration,
    mut handling: Pin<&mut F>,
) -> F::Output {
    // What others may have by now is beyond help.
    while let Some(left) = some.iter().filter_map(Delivered::hidden_for).min() {
        if let Ok(handled) = tokio::time::timeout(left / 2, &mut handling).await {
            return handled;
        }
        let mut handled = None;
        {
            let still = some.iter_mut().filter(|one| one.hidden_for().is_some());
            let mut renewing = pin!(all_at_once(still.map(|one| one.hide_for(hidden))));
            // Also when the handler is done meanwhile: only the new receipts settle the messages.
            loop {
                tokio::select! {
                    _ = &mut renewing => break,
                    done = &mut handling, if handled.is_none() => handled = Some(done),
                }
            }
        }
        if let Some(handled) = handled {
            return handled;
        }
    }
    handling.await
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use super::*;
    use crate::consumer::member::tests::{knows, member, queue};
    use crate::consumer::member::{Assigned, Batch};
    use crate::consumer::options::{Options, Role};
    use crate::received::tests::message;

    #[tokio::test]
    async fn messages_of_a_late_handler_do_not_wait_for_a_silent_broker_one_after_the_other() {
        let member = member(Options::usual(Role::Push));
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        knows(&member, "b", &silent.local_addr().unwrap().to_string());
        let assigned: Arc<Assigned> = queue(&member, 0);
        let messages = (0..30).map(|offset| {
            let mut message = message("T", "id");
            message.offset = offset;
            message
        });
        let batch = Batch { assigned: Arc::clone(&assigned), generation: 0, messages: messages.collect() };
        let mut some: Vec<_> = Delivered::of(&member, batch).collect();
        assert!(some.iter_mut().all(Delivered::hand_over));
        // A call takes 1 s: one after the other they would need all the patience there is.
        let handling = pin!(tokio::task::yield_now());
        tokio::time::timeout(Duration::from_secs(20), too_late(some, handling)).await.expect("in time");
        assert_eq!(assigned.hands.count(), 0);
        member.no_more();
    }
}
