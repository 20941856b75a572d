//! The consumer that pops.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use wire::body::MessageQueue;

use super::Popped;
use crate::consumer::delivery::{Delivered, Unfinished};
use crate::consumer::intake::Intake;
use crate::consumer::serving::Serving;
use crate::error::Error;
use crate::filter::Filter;
use crate::received::Received;
use crate::watch::QueueWatch;

/// A member of a group that pops: brokers choose what each member gets, message by message, so that no member waits
/// behind another's queue and a slow message holds up nothing. It is a [`Stream`](futures_core::Stream) too.
///
/// ```no_run
/// # async fn example() -> Result<(), thrustmq_client::Error> {
/// use std::time::Duration;
/// use thrustmq_client::{Client, Filter};
///
/// let client = Client::connect("127.0.0.1:9876").await?;
/// let consumer = client.pop_consumer("thumbnails").subscribe("pictures", Filter::all());
/// let mut consumer = consumer.invisible_for(Duration::from_secs(30)).stream().await?;
/// while let Some(mut picture) = consumer.next().await {
///     if picture.body.len() > 10 << 20 {
///         // It takes longer than others.
///         picture.hide_for(Duration::from_secs(300)).await?;
///     }
///     picture.ack().await?;
/// }
/// consumer.close(Duration::from_secs(10)).await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PopConsumer {
    pub(in crate::consumer) intake: Intake,
}

impl PopConsumer {
    pub(super) fn new(intake: Intake) -> PopConsumer {
        PopConsumer { intake }
    }

    /// The next message; `None` when the consumer was closed. No message is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Popped> {
        loop {
            if let Some(popped) = self.intake.next().await?.into_popped() {
                return Some(popped);
            }
        }
    }

    /// Queues that are popped now; one with the number -1 stands for all of its broker.
    pub fn queues(&self) -> Vec<MessageQueue> {
        self.intake.member.held_queues()
    }

    /// Watches which queues this member has: they change when members come and go, or the topics change.
    pub fn watch_queues(&self) -> QueueWatch {
        self.intake.member.watch_queues()
    }

    /// Adds a topic while the consumer works, or wants other messages of it from now on. All members of a group must do
    /// the same.
    ///
    /// # Errors
    /// When the name is not allowed, no name server answers, or the broker refuses the filter; nothing changes then.
    pub async fn subscribe(&self, topic: &str, filter: Filter) -> Result<(), Error> {
        self.intake.member.subscribe(topic, filter).await
    }

    /// Pops nothing of a topic any more. What was popped before comes all the same, since nobody else gets it yet.
    pub async fn unsubscribe(&self, topic: &str) {
        self.intake.member.unsubscribe(topic).await;
    }

    /// Asks brokers for no more messages until it is [resumed](PopConsumer::resume). What has come before is given
    /// out all the same, and so is what a request brings that is under way. The queues stay this member's.
    pub fn suspend(&self) {
        self.intake.member.suspend();
    }

    /// Goes on after [`suspend`](PopConsumer::suspend).
    pub fn resume(&self) {
        self.intake.member.resume();
    }

    /// Takes no more messages, waits up to `limit` until those in hands are settled and their acknowledgements are
    /// confirmed, and leaves the group. Others get at once what never came into hands. What is in hands still comes
    /// again by itself when its time is over: no work is lost, neither here nor when the process ends without this.
    pub async fn close(mut self, limit: Duration) {
        self.intake.close(limit).await;
    }

    pub(super) fn serve<H, F, E>(self, handler: H) -> Serving
    where
        H: Fn(Received) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let renewed = self.renewed();
        Serving::start(self.intake, move |delivered: Delivered| {
            let handling = handler(delivered.message());
            async move {
                let Some(mut popped) = delivered.into_popped() else { return };
                let handled = match renewed {
                    Some(invisible) => {
                        Box::pin(while_renewed(std::slice::from_mut(&mut popped), invisible, handling)).await
                    }
                    None => handling.await,
                };
                match handled {
                    Ok(()) => popped.acknowledge_later(),
                    Err(error) => Box::pin(failed(popped, error.to_string())).await,
                }
            }
        })
    }

    pub(super) fn serve_batches<H, F, E>(self, handler: H) -> Serving
    where
        H: Fn(Vec<Received>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Unfinished<E>>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        let renewed = self.renewed();
        Serving::start(self.intake, move |some: Vec<Delivered>| {
            let handling = handler(some.iter().map(Delivered::message).collect());
            async move {
                let mut popped: Vec<_> = some.into_iter().filter_map(Delivered::into_popped).collect();
                let handled = match renewed {
                    Some(invisible) => Box::pin(while_renewed(&mut popped, invisible, handling)).await,
                    None => handling.await,
                };
                let (done, cause) = match handled {
                    Ok(()) => (popped.len(), String::new()),
                    Err(Unfinished { done, cause }) => (done.min(popped.len()), cause.to_string()),
                };
                let undone = popped.split_off(done);
                popped.into_iter().for_each(Popped::acknowledge_later);
                if !undone.is_empty() {
                    let failing = undone.into_iter().map(|popped| failed(popped, cause.clone()));
                    Box::pin(side_by_side(failing)).await;
                }
            }
        })
    }

    /// For how long messages in hands are hidden again and again, if they are.
    fn renewed(&self) -> Option<Duration> {
        let options = &self.intake.member.options.pop;
        options.renew.then_some(options.invisible)
    }
}

async fn failed(popped: Popped, error: String) {
    let id = popped.message_id().into_owned();
    tracing::info!(id, "a handler failed: {error}");
    if let Err(error) = popped.retry().await {
        tracing::warn!(id, "a message comes again when its time is over: {error}");
    }
}

/// Hides messages again and again, half their time before others would get them, for as long as their handler works.
async fn while_renewed<F: Future>(popped: &mut [Popped], invisible: Duration, handling: F) -> F::Output {
    let mut handling = pin!(handling);
    // What others may have by now is beyond help.
    while let Some(left) = popped.iter().map(Popped::hidden_for).filter(|left| !left.is_zero()).min() {
        if let Ok(handled) = tokio::time::timeout(left / 2, &mut handling).await {
            return handled;
        }
        let mut handled = None;
        {
            let still = popped.iter_mut().filter(|popped| !popped.hidden_for().is_zero());
            let mut renewing = pin!(side_by_side(still.map(|popped| renew(popped, invisible))));
            // Also when the handler is done meanwhile: only the new receipts settle the messages.
            loop {
                tokio::select! {
                    () = &mut renewing => break,
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

async fn renew(popped: &mut Popped, invisible: Duration) {
    if let Err(error) = popped.hide_for(invisible).await {
        tracing::warn!(id = %popped.message_id(), "a message in hands is not hidden for longer: {error}");
    }
}

/// Runs futures at the same time, until all have ended.
async fn side_by_side<F: Future<Output = ()>>(futures: impl IntoIterator<Item = F>) {
    let mut running: Vec<_> = futures.into_iter().map(Box::pin).collect();
    poll_fn(|context| {
        running.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
