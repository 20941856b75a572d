//! The consumer that pops.

use std::pin::pin;
use std::time::Duration;

use wire::body::MessageQueue;

use super::Popped;
use crate::consumer::delivery::Delivered;
use crate::consumer::intake::Intake;
use crate::consumer::serving::Serving;
use crate::error::Error;
use crate::received::Received;
use crate::watch::QueueWatch;

/// A member of a group that pops: brokers choose what each member gets, message by message, so that no member waits
/// behind another's queue and a slow message holds up nothing.
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
    intake: Intake,
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
        let options = &self.intake.member.options.pop;
        let renewed = options.renew.then_some(options.invisible);
        Serving::start(self.intake, move |delivered: Delivered| {
            let handling = handler(delivered.message());
            async move {
                let Some(mut popped) = delivered.into_popped() else { return };
                let handled = match renewed {
                    Some(invisible) => Box::pin(while_renewed(&mut popped, invisible, handling)).await,
                    None => handling.await,
                };
                match handled {
                    Ok(()) => popped.acknowledge_later(),
                    Err(error) => Box::pin(failed(popped, error.to_string())).await,
                }
            }
        })
    }
}

async fn failed(popped: Popped, error: String) {
    let id = popped.message_id().into_owned();
    tracing::info!(id, "a handler failed: {error}");
    if let Err(error) = popped.retry().await {
        tracing::warn!(id, "a message comes again when its time is over: {error}");
    }
}

/// Hides the message again and again, half its time before others would get it, for as long as its handler works.
async fn while_renewed<F: Future>(popped: &mut Popped, invisible: Duration, handling: F) -> F::Output {
    let mut handling = pin!(handling);
    loop {
        let half = popped.hidden_for() / 2;
        if let Ok(handled) = tokio::time::timeout(half, &mut handling).await {
            return handled;
        }
        let mut handled = None;
        let renewed: Result<(), Error> = {
            let mut renewing = pin!(popped.hide_for(invisible));
            // Also when the handler is done meanwhile: only the new receipt settles the message.
            loop {
                tokio::select! {
                    renewed = &mut renewing => break renewed,
                    done = &mut handling, if handled.is_none() => handled = Some(done),
                }
            }
        };
        if let Err(error) = renewed {
            tracing::warn!(id = %popped.message_id(), "a message in hands is not hidden for longer: {error}");
            if popped.hidden_for().is_zero() {
                return match handled {
                    Some(handled) => handled,
                    None => handling.await,
                };
            }
        }
        if let Some(handled) = handled {
            return handled;
        }
    }
}
