//! How a consumer that pops is made.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::builder::{Subscribed, Unsubscribed};
use super::handlers::{self, Unfinished};
use super::intake::Intake;
use super::member::Member;
use super::options::{Options, POP_BATCH_MAX, Role, StartFrom};
use super::pop_consumer::PopConsumer;
use super::serving::Serving;
use crate::error::Error;
use crate::filter::Filter;
use crate::received::Received;
use crate::shared::Shared;

/// How a consumer that pops is made. Nothing can be popped without a subscription, which the compiler checks:
///
/// ```compile_fail
/// # async fn example(client: thrustmq_client::Client) {
/// client.pop_consumer("thumbnails").stream().await.unwrap();
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "stream or serve makes the consumer"]
pub struct PopConsumerBuilder<S = Unsubscribed> {
    shared: Arc<Shared>,
    group: String,
    subscriptions: BTreeMap<String, Filter>,
    options: Options,
    state: PhantomData<S>,
}

impl PopConsumerBuilder {
    pub(crate) fn new(shared: Arc<Shared>, group: String) -> PopConsumerBuilder {
        let options = Options::usual(Role::Pop);
        PopConsumerBuilder { shared, group, subscriptions: BTreeMap::new(), options, state: PhantomData }
    }
}

impl<S> PopConsumerBuilder<S> {
    /// Adds a topic. All members of a group must have the same topics and filters.
    pub fn subscribe(mut self, topic: impl Into<String>, filter: Filter) -> PopConsumerBuilder<Subscribed> {
        self.subscriptions.insert(topic.into(), filter);
        let PopConsumerBuilder { shared, group, subscriptions, options, .. } = self;
        PopConsumerBuilder { shared, group, subscriptions, options, state: PhantomData }
    }

    /// For how long nobody else gets a message that was popped; 60 s by default, to the millisecond. Brokers allow
    /// three days at most.
    pub fn invisible_for(mut self, invisible: Duration) -> Self {
        self.options.pop.invisible = invisible.max(Duration::from_millis(1));
        self
    }

    /// Keeps a message hidden for as long as a handler of [`serve`](PopConsumerBuilder::serve) works on it, however
    /// long that takes; it comes again soon after the process died. By default a handler that takes longer than a
    /// message is hidden shares it with another member.
    pub fn renew(mut self) -> Self {
        self.options.pop.renew = true;
        self
    }

    /// Gives out the next message of a queue only after the one before it is done. Nobody else gets a message of that
    /// queue meanwhile, and so producers that send what belongs together [with one key](crate::Message::order_by) have
    /// it consumed in their order. One that fails comes again after a short [pause](PopConsumerBuilder::retry_pause),
    /// before all others of its queue. The queue waits, too, for the time of a message that nobody settles to be over.
    pub fn orderly(mut self) -> Self {
        self.options.pop.orderly = true;
        self
    }

    /// How long an [orderly](PopConsumerBuilder::orderly) queue rests after a message failed; 1 s by default.
    pub fn retry_pause(mut self, pause: Duration) -> Self {
        self.options.pause = pause;
        self
    }

    /// Messages that one pop asks for; 32 by default, which is the most that brokers give.
    pub fn batch(mut self, messages: u32) -> Self {
        self.options.pop.batch = messages.clamp(1, POP_BATCH_MAX);
        self
    }

    /// Messages of one queue that are popped and not acknowledged before popping waits; 96 by default. One pop more may
    /// come in. What waits here is hidden from others: fewer share slow work better.
    pub fn unacknowledged_max(mut self, messages: usize) -> Self {
        self.options.pop.messages_max = messages.max(1);
        self
    }

    /// Starts with everything that is there, in queues that the group has never popped; by default with what comes from
    /// now on.
    pub fn start_from_earliest(mut self) -> Self {
        self.options.start = StartFrom::Earliest;
        self
    }

    /// How often a message may fail before it is a dead letter; 16 times by default.
    pub fn retries_max(mut self, retries: u32) -> Self {
        self.options.retries = Some(retries);
        self
    }

    /// Handlers of [`serve`](PopConsumerBuilder::serve) that run at a time; 20 by default.
    ///
    /// One that blocks its thread instead of awaiting holds up the others of that thread: such work belongs into
    /// `tokio::task::spawn_blocking`.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.options.concurrency = handlers.max(1);
        self
    }

    /// How often brokers are asked which queues to pop without an occasion; 20 s by default.
    pub fn rebalance_every(mut self, period: Duration) -> Self {
        self.options.rebalance = period;
        self
    }
}

impl PopConsumerBuilder<Subscribed> {
    /// Joins the group and gives messages one by one.
    ///
    /// Where an administrator has set how many members share a queue
    /// ([`Admin::set_request_mode`](crate::Admin::set_request_mode)), brokers say which queues this member pops;
    /// elsewhere all members pop all queues.
    ///
    /// # Errors
    /// When names are not allowed, this client is in the group already, no name server answers, or the broker refuses a
    /// filter.
    pub async fn stream(self) -> Result<PopConsumer, Error> {
        Ok(PopConsumer::new(self.join().await?))
    }

    /// Joins the group.
    async fn join(self) -> Result<Intake, Error> {
        let (member, given) = Member::new(self.shared, self.group, self.subscriptions, self.options)?;
        Intake::joined(member, given).await
    }

    /// Joins the group and hands every message to `handler`, many at a time. It is acknowledged when the handler is
    /// done; a message whose handler fails comes again later, and is a dead letter after failing too often.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), thrustmq_client::Error> {
    /// use std::time::Duration;
    /// use thrustmq_client::{Client, Filter};
    ///
    /// let client = Client::connect("127.0.0.1:9876").await?;
    /// let serving = client
    ///     .pop_consumer("thumbnails")
    ///     .subscribe("pictures", Filter::all())
    ///     .renew()
    ///     .serve(|picture| async move {
    ///         println!("{} bytes", picture.body.len());
    ///         Ok::<(), std::io::Error>(())
    ///     })
    ///     .await?;
    /// // … until it is time to stop:
    /// serving.close(Duration::from_secs(10)).await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`stream`](PopConsumerBuilder::stream).
    pub async fn serve<H, F, E>(self, handler: H) -> Result<Serving, Error>
    where
        H: Fn(Received) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        Ok(handlers::serve(self.join().await?, handler))
    }

    /// Joins the group and hands messages to `handler`, up to so many at a time that were popped together; it gets what
    /// is there and waits for no more. Each is acknowledged by itself. A handler that has done only the first of them
    /// says so with [`Unfinished`]; the others come again later.
    ///
    /// ```no_run
    /// # async fn draw(pictures: &[thrustmq_client::Received]) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn example(client: thrustmq_client::Client) -> Result<(), thrustmq_client::Error> {
    /// use thrustmq_client::Filter;
    ///
    /// let consumer = client.pop_consumer("thumbnails").subscribe("pictures", Filter::all());
    /// let serving = consumer.serve_batches(16, |pictures| async move { Ok(draw(&pictures).await?) }).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`stream`](PopConsumerBuilder::stream).
    pub async fn serve_batches<H, F, E>(mut self, messages_max: usize, handler: H) -> Result<Serving, Error>
    where
        H: Fn(Vec<Received>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Unfinished<E>>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        self.options.together = messages_max.max(1);
        Ok(handlers::serve_batches(self.join().await?, handler))
    }
}
