//! How a consumer is made.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::delivery::{ConsumeOrderlyStatus, Delivered};
use super::handlers::{self, Unfinished};
use super::intake::Intake;
use super::member::Member;
use super::options::{Allocation, Options, Role, StartFrom};
use super::serving::Serving;
use super::strategy::Strategy;
use super::stream::Consumer;
use crate::error::Error;
use crate::filter::Filter;
use crate::received::Received;
use crate::shared::Shared;

/// Marks a builder that has no subscription yet.
#[derive(Debug, Clone, Copy)]
pub enum Unsubscribed {}

/// Marks a builder that can make a consumer.
#[derive(Debug, Clone, Copy)]
pub enum Subscribed {}

/// How a consumer is made. Nothing can be consumed without a subscription, which the compiler checks:
///
/// ```compile_fail
/// # async fn example(client: thrustmq_client::Client) {
/// client.consumer("order-service").stream().await.unwrap();
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "stream or serve makes the consumer"]
pub struct ConsumerBuilder<S = Unsubscribed> {
    shared: Arc<Shared>,
    group: String,
    subscriptions: BTreeMap<String, Filter>,
    options: Options,
    state: PhantomData<S>,
}

impl ConsumerBuilder {
    pub(crate) fn new(shared: Arc<Shared>, group: String) -> ConsumerBuilder {
        let options = Options::usual(Role::Push);
        ConsumerBuilder { shared, group, subscriptions: BTreeMap::new(), options, state: PhantomData }
    }
}

impl<S> ConsumerBuilder<S> {
    /// Adds a topic. All members of a group must have the same topics and filters.
    pub fn subscribe(mut self, topic: impl Into<String>, filter: Filter) -> ConsumerBuilder<Subscribed> {
        self.subscriptions.insert(topic.into(), filter);
        let ConsumerBuilder { shared, group, subscriptions, options, .. } = self;
        ConsumerBuilder { shared, group, subscriptions, options, state: PhantomData }
    }

    /// Gives out the next message of a queue only after the one before it is settled. A queue belongs to one member at
    /// a time, by a lock at the broker: one that goes to another member goes when nothing of it is in hands, or after a
    /// minute.
    pub fn orderly(mut self) -> Self {
        self.options.orderly = true;
        self
    }

    /// Gives every message to every member. Offsets are in a file below `folder`, under the client's id: give the
    /// client a [name that stays](crate::ClientBuilder::instance). A message that fails is not repeated.
    pub fn broadcast(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options.broadcast = Some(folder.into());
        self
    }

    /// Lets brokers say which queues each member has, and whether the group pulls them or pops (`clientRebalance` of
    /// Java's client, off): administrators change that while the group works, with
    /// [`Admin::set_request_mode`](crate::Admin::set_request_mode). What was popped and is not settled when the
    /// consumer ends comes again by itself, a minute after it was popped.
    ///
    /// Orderly and broadcast consumers divide queues themselves all the same, as Java's do.
    pub fn rebalance_by_brokers(mut self) -> Self {
        self.options.allocation = Allocation::Brokers;
        self
    }

    /// Where the group starts in a queue that it has never been in.
    pub fn start_from(mut self, start: StartFrom) -> Self {
        self.options.start = start;
        self
    }

    /// How queues are divided; all members of a group must do the same.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.options.strategy = strategy;
        self
    }

    /// Messages and bytes of one queue that are pulled and not settled before pulling waits; 1,000 and 100 MiB by
    /// default. One pull more may come in.
    pub fn prefetch_max(mut self, messages: usize, bytes: usize) -> Self {
        self.options.messages_max = messages.max(1);
        self.options.bytes_max = bytes.max(1);
        self
    }

    /// The same for all queues of a topic that this member has: they divide it evenly, and then have no bound of their
    /// own. Without this a member that gets more queues holds more.
    pub fn prefetch_max_of_topic(mut self, messages: usize, bytes: usize) -> Self {
        self.options.topic_messages_max = Some(messages.max(1));
        self.options.topic_bytes_max = Some(bytes.max(1));
        self
    }

    /// How far apart the oldest and the newest message of one queue may be that are not settled; 2,000 by default.
    pub fn span_max(mut self, offsets: u32) -> Self {
        self.options.span_max = i64::from(offsets.max(1));
        self
    }

    /// Messages that one pull asks for; 32 by default, which is the most that brokers give of memory.
    pub fn batch(mut self, messages: u32) -> Self {
        self.options.batch = messages.clamp(1, 1_024);
        self
    }

    /// Bytes that one pull asks for (`pullBatchSizeInBytes`); by default as many as brokers give, which is 256 KiB of
    /// memory. A pull brings one message at least.
    pub fn batch_bytes(mut self, bytes: u32) -> Self {
        self.options.batch_bytes = Some(bytes.max(1));
        self
    }

    /// How long each queue rests after a pull that brought something (`pullInterval`); not at all by default. With
    /// [`batch`](ConsumerBuilder::batch) it bounds how much a member reads in a time.
    pub fn pull_interval(mut self, pause: Duration) -> Self {
        self.options.pull_interval = pause;
        self
    }

    /// How often a message may fail before it is a dead letter: by default 16 times, and without end for orderly
    /// consumers.
    pub fn retries_max(mut self, retries: u32) -> Self {
        self.options.retries = Some(retries);
        self
    }

    /// How long an orderly queue rests after a message failed; 1 s by default.
    pub fn retry_pause(mut self, pause: Duration) -> Self {
        self.options.pause = pause;
        self
    }

    /// Handlers of [`serve`](ConsumerBuilder::serve) that run at a time; 20 by default.
    ///
    /// One that blocks its thread instead of awaiting holds up the others of that thread: such work belongs into
    /// `tokio::task::spawn_blocking`.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.options.concurrency = handlers.max(1);
        self
    }

    /// How long a handler of [`serve`](ConsumerBuilder::serve) may take before its message comes again, here or at
    /// another member, and holds its queue back no longer; 15 minutes by default. The handler is not interrupted, but
    /// what it says then means nothing. Orderly queues wait for as long as it takes.
    ///
    /// One that blocks its thread does not get to hear of it: such work belongs into `tokio::task::spawn_blocking`.
    pub fn consume_timeout(mut self, limit: Duration) -> Self {
        self.options.consume_timeout = limit;
        self
    }

    /// How often queues are divided again without an occasion; 20 s by default.
    pub fn rebalance_every(mut self, period: Duration) -> Self {
        self.options.rebalance = period;
        self
    }

    /// How often offsets are written down; 5 s by default, and always at the end.
    pub fn commit_every(mut self, period: Duration) -> Self {
        self.options.commit = period;
        self
    }
}

impl ConsumerBuilder<Subscribed> {
    /// Joins the group and gives messages one by one.
    ///
    /// # Errors
    /// When names are not allowed, this client is in the group already, no name server answers, or the broker refuses a
    /// filter.
    pub async fn stream(self) -> Result<Consumer, Error> {
        Ok(Consumer::new(self.join().await?))
    }

    /// Joins the group.
    async fn join(self) -> Result<Intake, Error> {
        let (member, given) = Member::new(self.shared, self.group, self.subscriptions, self.options)?;
        Intake::joined(member, given).await
    }

    /// Joins the group and hands every message to `handler`, many at a time. A message whose handler fails comes again
    /// later, and is a dead letter after failing too often.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), thrustmq_client::Error> {
    /// use std::time::Duration;
    /// use thrustmq_client::{Client, Filter};
    ///
    /// let client = Client::connect("127.0.0.1:9876").await?;
    /// let serving = client
    ///     .consumer("order-service")
    ///     .subscribe("orders", Filter::tags(["paid"]))
    ///     .serve(|order| async move {
    ///         println!("{}", order.text());
    ///         Ok::<(), std::io::Error>(())
    ///     })
    ///     .await?;
    /// // … until it is time to stop:
    /// serving.close(Duration::from_secs(10)).await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`stream`](ConsumerBuilder::stream).
    pub async fn serve<H, F, E>(self, handler: H) -> Result<Serving, Error>
    where
        H: Fn(Received) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        Ok(handlers::serve(self.join().await?, handler))
    }

    /// Joins the group and hands every message to `handler`, many at a time, which settles it itself: with a delay of
    /// its own choice (`delayLevelWhenNextConsume`), or as a dead letter at once. What it drops has failed. It may take
    /// as long as it likes, and an orderly queue waits for it.
    ///
    /// ```no_run
    /// # async fn book(order: &thrustmq_client::Received) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn example(client: thrustmq_client::Client) -> Result<(), thrustmq_client::Error> {
    /// use std::io::ErrorKind;
    /// use thrustmq_client::Filter;
    ///
    /// let consumer = client.consumer("order-service").subscribe("orders", Filter::all());
    /// let serving = consumer
    ///     .serve_delivered(|order| async move {
    ///         match book(&order).await {
    ///             Ok(()) => order.ack(),
    ///             Err(error) if error.kind() == ErrorKind::InvalidData => order.dead_letter().await,
    ///             // A minute later, with the delays that brokers have by default.
    ///             Err(_) => order.retry_after_level(5).await,
    ///         }
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`stream`](ConsumerBuilder::stream).
    pub async fn serve_delivered<H, F>(self, handler: H) -> Result<Serving, Error>
    where
        H: Fn(Delivered) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Ok(Serving::start(self.join().await?, handler))
    }

    /// Joins the group and hands messages to `handler`, up to so many at a time of one queue, or of what was popped
    /// together. A handler that has done only the first of them says so with [`Unfinished`]; the others come again
    /// later, as does everything when it panics. It gets what is there and waits for no more.
    ///
    /// ```no_run
    /// # async fn write(orders: &[thrustmq_client::Received]) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn example(client: thrustmq_client::Client) -> Result<(), thrustmq_client::Error> {
    /// use thrustmq_client::Filter;
    ///
    /// let consumer = client.consumer("order-service").subscribe("orders", Filter::all());
    /// let serving = consumer.serve_batches(100, |orders| async move { Ok(write(&orders).await?) }).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`stream`](ConsumerBuilder::stream).
    pub async fn serve_batches<H, F, E>(mut self, messages_max: usize, handler: H) -> Result<Serving, Error>
    where
        H: Fn(Vec<Received>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Unfinished<E>>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        self.options.together = messages_max.max(1);
        Ok(handlers::serve_batches(self.join().await?, handler))
    }

    /// Joins the group and hands messages to `handler` in the order of their queue, up to so many of one queue at a
    /// time, as an [orderly](ConsumerBuilder::orderly) consumer that writes nothing down by itself: the handler says
    /// with [`ConsumeOrderlyStatus`] when everything so far is done, or comes again. An error is a failure of these
    /// messages alone.
    ///
    /// What is done and not committed comes again when the queue goes to another member or the consumer is closed. It
    /// counts as pulled and not settled: a handler that commits less often than the
    /// [bounds](ConsumerBuilder::prefetch_max) allow waits for ever for the next message.
    ///
    /// ```no_run
    /// # async fn write(orders: &[thrustmq_client::Received]) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn example(client: thrustmq_client::Client) -> Result<(), thrustmq_client::Error> {
    /// use thrustmq_client::{ConsumeOrderlyStatus, Filter};
    ///
    /// let consumer = client.consumer("ledger").subscribe("bookings", Filter::all());
    /// let serving = consumer
    ///     .serve_orderly(100, |bookings| async move {
    ///         write(&bookings).await?;
    ///         // The last of a day closes it.
    ///         let closes = bookings.iter().any(|booking| booking.tag() == Some("last"));
    ///         let status = if closes { ConsumeOrderlyStatus::Commit } else { ConsumeOrderlyStatus::Success };
    ///         Ok::<_, std::io::Error>(status)
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`stream`](ConsumerBuilder::stream).
    pub async fn serve_orderly<H, F, E>(mut self, messages_max: usize, handler: H) -> Result<Serving, Error>
    where
        H: Fn(Vec<Received>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<ConsumeOrderlyStatus, E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        self.options.orderly = true;
        self.options.together = messages_max.max(1);
        Ok(handlers::serve_orderly(self.join().await?, handler))
    }
}
