//! Producers: they send messages (client.md §2).

mod batch;
mod choice;
mod fault;
mod gather;
mod own;
mod request;
mod send;
mod transaction;
mod turns;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use wire::body::MessageQueue;
use wire::code::request::RECALL_MESSAGE;
use wire::names::check_group;
use wire::recall::RecallHandle;

pub use batch::BatchError;
pub use gather::AutoBatch;
pub(crate) use own::{SentBack, send_back, send_trace};
pub use request::RequestError;
pub(crate) use transaction::check_transaction;
pub use transaction::{Transaction, TransactionProducer};

use crate::body::Compression;
use crate::decision::{Checker, Decision};
use crate::error::Error;
use crate::fields::Fields;
use crate::message::{Delivery, Later, Message, Now, SHARDING_KEY};
use crate::receipt::{Receipt, SendError};
use crate::received::Received;
use crate::shared::Shared;
use choice::Choice;
use gather::Gatherer;
use send::Target;
use turns::{Turn, Turns};

/// Bytes that one permit of [`Inner::bytes`] stands for.
const PERMIT_BYTES: usize = 1_024;

/// Settings of a producer.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    timeout: Duration,
    attempt_timeout: Option<Duration>,
    attempts: u32,
    /// Tries another broker with what was stored less safely than it should be.
    retry_not_store_ok: bool,
    /// Codes of brokers after which another attempt is made.
    retry_codes: BTreeSet<i32>,
    compress_from: usize,
    compression: Compression,
    body_max: usize,
    in_flight: usize,
    in_flight_bytes: usize,
    avoid_slow: bool,
    awake: Duration,
    auto_batch: Option<AutoBatch>,
}

/// How a producer is made.
#[derive(Debug)]
#[must_use = "build makes the producer"]
pub struct ProducerBuilder {
    shared: Arc<Shared>,
    group: String,
    options: Options,
}

impl ProducerBuilder {
    pub(crate) fn new(shared: Arc<Shared>, group: String) -> ProducerBuilder {
        let group = shared.namespace.wrap(&group).into_owned();
        ProducerBuilder { shared, group, options: Options::usual() }
    }

    /// Time for a whole send, all attempts together; 3 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// Time for one attempt while there are further ones; by default one may take all the time there is.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.options.attempt_timeout = Some(timeout);
        self
    }

    /// Requests that one send may take, 3 by default. Further ones go to other brokers where there are any.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.options.attempts = attempts.max(1);
        self
    }

    /// Sends a message to another broker, if there is one, when the first has stored it but not as safely as it should
    /// be, with another [status](crate::SendStatus) than `Stored` (`retryAnotherBrokerWhenNotStoreOK`); off by default,
    /// since consumers then see it twice. Where no other broker does better either, the receipt is that of the last one
    /// that stored it. What keeps an order, has its queue named or belongs to a transaction stays with its broker.
    pub fn retry_another_broker_when_not_store_ok(mut self, retry: bool) -> Self {
        self.options.retry_not_store_ok = retry;
        self
    }

    /// Adds a code of brokers after which a send makes another attempt (`addRetryResponseCode`). By default these are
    /// Java's, SYSTEM_ERROR, SYSTEM_BUSY, SERVICE_NOT_AVAILABLE, NO_PERMISSION, TOPIC_NOT_EXIST, NO_BUYER_ID,
    /// NOT_IN_CURRENT_UNIT and GO_AWAY, and FLOW_CONTROL and NOT_LEADER_FOR_QUEUE. The names are in
    /// [`wire::code::response`].
    pub fn add_retry_response_code(mut self, code: i32) -> Self {
        self.options.retry_codes.insert(code);
        self
    }

    /// Compresses bodies from so many bytes on; 4,096 by default.
    pub fn compress_from(mut self, bytes: usize) -> Self {
        self.options.compress_from = bytes;
        self
    }

    /// How bodies are compressed; as zlib streams by default, which all consumers can read.
    pub fn compression(mut self, how: Compression) -> Self {
        self.options.compression = how;
        self
    }

    /// Largest body, in bytes; 4 MiB by default, as brokers have it.
    pub fn body_max(mut self, bytes: usize) -> Self {
        self.options.body_max = bytes;
        self
    }

    /// Messages and bytes that [`Producer::enqueue`] has under way before it waits; 1,024 and 100 MiB by default.
    pub fn in_flight_max(mut self, messages: usize, bytes: usize) -> Self {
        self.options.in_flight = messages.clamp(1, Semaphore::MAX_PERMITS);
        self.options.in_flight_bytes = bytes.max(PERMIT_BYTES);
        self
    }

    /// Leaves brokers alone for a while not only when they failed but also when they answered late, from 550 ms on; off
    /// by default.
    pub fn avoid_slow_brokers(mut self, avoid: bool) -> Self {
        self.options.avoid_slow = avoid;
        self
    }

    /// For so long a send looks for its answer again and again, rather than letting its thread sleep; not at all by
    /// default. Where a broker answers within some tens of microseconds, waking a thread may take as long. Sends one
    /// after the other get quicker by that, and keep a processor busy. Other tasks run meanwhile.
    pub fn stay_awake(mut self, limit: Duration) -> Self {
        self.options.awake = limit;
        self
    }

    /// Lets messages wait a little for others, to go with them in one request; not at all by default. Every message has
    /// its own result all the same.
    ///
    /// Many tasks that send at the same time store more in less time by this; one that sends a message after the other
    /// only waits longer. Together go messages of a topic to any of its queues, and those to one queue: ordered ones
    /// too, unless they are enqueued. What is delivered later, compressed, large or part of a transaction goes by
    /// itself. The wait does not count as part of the [timeout](ProducerBuilder::timeout).
    ///
    /// ```no_run
    /// # async fn example(client: thrustmq_client::Client) -> Result<(), thrustmq_client::Error> {
    /// use std::time::Duration;
    /// use thrustmq_client::{AutoBatch, Message};
    ///
    /// let batches = AutoBatch::default().wait(Duration::from_millis(2));
    /// let producer = client.producer("clicks").auto_batch(batches).build()?;
    /// let (one, two) = tokio::join!(
    ///     producer.send(Message::new("clicks", "left")),
    ///     producer.send(Message::new("clicks", "right")),
    /// );
    /// println!("stored at {} and {}", one?.offset, two?.offset);
    /// # Ok(()) }
    /// ```
    pub fn auto_batch(mut self, batches: AutoBatch) -> Self {
        self.options.auto_batch = Some(batches);
        self
    }

    /// Makes the producer.
    ///
    /// # Errors
    /// When the group's name is not allowed, or this client has a producer of the group already.
    pub fn build(self) -> Result<Producer, Error> {
        self.build_with(None)
    }

    /// Makes a producer of transactions. `checker` answers for those that were neither committed nor rolled back, also
    /// for those of other members of the group: it looks up, by the message, how the work ended that belongs to it.
    ///
    /// ```no_run
    /// # async fn example(client: thrustmq_client::Client) -> Result<(), thrustmq_client::Error> {
    /// use thrustmq_client::{Decision, Message};
    ///
    /// let producer = client.producer("orders").transactional(|half| async move {
    ///     // Was the order written that this message tells of?
    ///     if half.text().starts_with("order") { Decision::Commit } else { Decision::Rollback }
    /// })?;
    /// let transaction = producer.begin(Message::new("orders", "order 7")).await?;
    /// // … write the order, then:
    /// transaction.commit().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// An ordinary producer begins no transactions:
    ///
    /// ```compile_fail
    /// # async fn example(client: thrustmq_client::Client) {
    /// use thrustmq_client::Message;
    /// let producer = client.producer("orders").build().unwrap();
    /// producer.begin(Message::new("orders", "order 7")).await.unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`build`](ProducerBuilder::build).
    pub fn transactional<C, F>(self, checker: C) -> Result<TransactionProducer, Error>
    where
        C: Fn(Received) -> F + Send + Sync + 'static,
        F: Future<Output = Decision> + Send + 'static,
    {
        let checker: Checker = Arc::new(move |half| Box::pin(checker(half)));
        Ok(TransactionProducer { producer: self.build_with(Some(checker))? })
    }

    fn build_with(self, checker: Option<Checker>) -> Result<Producer, Error> {
        check_group(&self.group).map_err(Error::illegal)?;
        let number = self.shared.registry.add_producer(&self.group, checker)?;
        let mut inner = Inner::new(self.shared, self.group, self.options);
        inner.number = Some(number);
        Ok(Producer { inner: Arc::new(inner) })
    }
}

/// What a producer and its clones share.
pub(crate) struct Inner {
    shared: Arc<Shared>,
    /// As servers know it.
    wire_group: String,
    /// As the application knows it.
    group: String,
    /// Its number among the members of the client, which those that send for the client itself are not.
    number: Option<u64>,
    options: Options,
    choice: Choice,
    gatherer: Option<Gatherer>,
    /// Enqueued messages that keep an order.
    turns: Arc<Turns>,
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    byte_permits: u32,
}

impl Inner {
    fn new(shared: Arc<Shared>, group: String, options: Options) -> Inner {
        let byte_permits = (options.in_flight_bytes / PERMIT_BYTES).min(u32::MAX as usize >> 4);
        Inner {
            messages: Arc::new(Semaphore::new(options.in_flight)),
            bytes: Arc::new(Semaphore::new(byte_permits)),
            byte_permits: byte_permits as u32,
            group: shared.namespace.unwrap(&group).into_owned(),
            shared,
            wire_group: group,
            number: None,
            gatherer: options.auto_batch.as_ref().map(|limits| Gatherer::new(limits, options.body_max)),
            options,
            choice: Choice::new(),
            turns: Arc::default(),
        }
    }
}

impl Inner {
    /// Whether it was a member of its group until now.
    fn leave(&self) -> bool {
        self.number.is_some_and(|number| self.shared.registry.remove_producer(&self.wire_group, number))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Sends messages. Clones are cheap and mean the same producer.
///
/// ```no_run
/// # async fn example() -> Result<(), thrustmq_client::Error> {
/// use thrustmq_client::{Client, Message};
///
/// let client = Client::connect("127.0.0.1:9876").await?;
/// let producer = client.producer("order-service").build()?;
/// let receipt = producer.send(Message::new("orders", "order 7 is paid").tag("paid").key("7")).await?;
/// println!("stored at {} of {:?}", receipt.offset, receipt.queue);
/// producer.close().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Producer").field("group", &self.inner.group).finish_non_exhaustive()
    }
}

impl Producer {
    /// The group.
    pub fn group(&self) -> &str {
        &self.inner.group
    }

    /// Queues of a topic that can be written.
    ///
    /// # Errors
    /// When the topic's route cannot be had.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, Error> {
        let namespace = &self.inner.shared.namespace;
        let route = self.inner.shared.route_to_send(&namespace.wrap(topic)).await?;
        Ok(route.queues_to_write().into_iter().map(|queue| namespace.unwrap_queue(queue)).collect())
    }

    /// Sends a message and waits until a broker has stored it. All attempts carry the same id, and so does a message
    /// that comes back with an error and is sent again.
    ///
    /// One [of a key](Message::order_by) waits for those that are enqueued, and fails unsent when they take longer than
    /// the [timeout](ProducerBuilder::timeout). A future that is dropped may or may not have sent the message.
    ///
    /// # Errors
    /// [`SendError`] gives the message back and says whether it may have been stored.
    pub async fn send<D: Delivery>(&self, message: Message<D>) -> Result<Receipt, SendError<D>> {
        self.send_towards(message, Target::Any).await
    }

    async fn send_towards<D: Delivery>(
        &self,
        message: Message<D>,
        target: Target<'_>,
    ) -> Result<Receipt, SendError<D>> {
        if let (Target::Any, Some(key)) = (target, message.get(SHARDING_KEY)) {
            let wait = self.inner.turns.wait(&message.topic, key);
            // Boxed, as below.
            if Box::pin(tokio::time::timeout(self.inner.options.timeout, wait)).await.is_err() {
                return Err(self.too_late(message));
            }
        }
        match &self.inner.gatherer {
            None => self.inner.send(message, target, 0, &[]).await,
            // Boxed, since it would make the future of every send large.
            Some(gatherer) => Box::pin(self.inner.send_gathered(gatherer, message, target)).await,
        }
    }

    /// Gives back a message that was not sent, since those before it took all the time.
    fn too_late<D: Delivery>(&self, message: Message<D>) -> SendError<D> {
        let error = Error::TooLate { what: "the send", after: self.inner.options.timeout };
        SendError::new(error, message, String::new(), 0, false)
    }

    /// Sends a message to one queue, which must be of its topic.
    ///
    /// # Errors
    /// As [`send`](Producer::send); nothing is sent twice that may have been stored.
    pub async fn send_to<D: Delivery>(
        &self,
        message: Message<D>,
        queue: &MessageQueue,
    ) -> Result<Receipt, SendError<D>> {
        if let Err(error) = self.check_queue(queue, &message) {
            return Err(SendError::new(error, message, String::new(), 0, false));
        }
        self.send_towards(message, Target::Queue(queue)).await
    }

    /// Refuses a queue that is not of the topic of a message.
    fn check_queue<D: Delivery>(&self, queue: &MessageQueue, message: &Message<D>) -> Result<(), Error> {
        let namespace = &self.inner.shared.namespace;
        if namespace.wrap(&queue.topic) == namespace.wrap(&message.topic) {
            return Ok(());
        }
        let (of_queue, of_message) = (&queue.topic, &message.topic);
        let what = format!("the queue is of topic \"{of_queue}\", the message of \"{of_message}\"");
        Err(Error::Illegal(what))
    }

    /// Sends a message and goes on: the result is that of the returned [`Pending`], which need not be waited for. Waits
    /// itself only while too much is under way.
    ///
    /// Messages [of one key](Message::order_by) are sent one after the other, in the order in which they were enqueued,
    /// and each by itself. One that fails for good does not keep those behind it from being sent, unless nobody
    /// answered and they have waited longer than the [timeout](ProducerBuilder::timeout) by then: those fail unsent.
    ///
    /// # Errors
    /// When the producer is closed.
    pub async fn enqueue<D: Delivery>(&self, message: Message<D>) -> Result<Pending<D>, SendError<D>> {
        let permits = match self.permits(message.body.len()).await {
            Some(permits) => permits,
            None => {
                return Err(SendError::new(Error::Stopped("the producer"), message, String::new(), 0, false));
            }
        };
        let turn = message.get(SHARDING_KEY).map(|key| self.inner.turns.join(&message.topic, key));
        let producer = self.clone();
        // Boxed, since a task is moved several times before it runs, and a send is large.
        let task = tokio::spawn(Box::pin(async move {
            let sent = match turn {
                None => producer.send(message).await,
                Some(turn) => producer.send_in_turn(message, turn).await,
            };
            drop(permits);
            sent
        }));
        Ok(Pending(task))
    }

    /// Sends a message when those before it are gone.
    async fn send_in_turn<D: Delivery>(
        &self,
        message: Message<D>,
        mut turn: Turn,
    ) -> Result<Receipt, SendError<D>> {
        let in_vain = turn.come().await;
        let sent = if in_vain && turn.waited() >= self.inner.options.timeout {
            // Each would wait for a silent broker as long as the one before did.
            Err(self.too_late(message))
        } else {
            // In a batch it would only wait for others that wait for it.
            self.inner.send(message, Target::Any, 0, &[]).await
        };
        if sent.as_ref().is_err_and(|error| error.cause().nobody_answered()) {
            turn.was_in_vain();
        }
        sent
    }

    async fn permits(&self, length: usize) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let inner = &self.inner;
        // One message that is larger than everything that may be under way goes alone.
        let wanted =
            u32::try_from(length.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).clamp(1, inner.byte_permits);
        let message = Arc::clone(&inner.messages).acquire_owned().await.ok()?;
        let bytes = Arc::clone(&inner.bytes).acquire_many_owned(wanted).await.ok()?;
        Some((message, bytes))
    }

    /// Sends a message without an answer: nobody learns whether it arrived.
    ///
    /// # Errors
    /// When there is no connection to send it over, or no broker would take it.
    pub async fn send_oneway<D: Delivery>(&self, message: Message<D>) -> Result<(), Error> {
        self.inner.send_oneway(&message, Target::Any).await
    }

    /// Sends a message to one queue, which must be of its topic, without an answer.
    ///
    /// # Errors
    /// As [`send_oneway`](Producer::send_oneway).
    pub async fn send_oneway_to<D: Delivery>(
        &self,
        message: Message<D>,
        queue: &MessageQueue,
    ) -> Result<(), Error> {
        self.check_queue(queue, &message)?;
        self.inner.send_oneway(&message, Target::Queue(queue)).await
    }

    /// Sends many messages in few requests: neighbours of one topic go together, up to the largest body.
    ///
    /// Messages that are delivered later cannot go in batches, and do not compile:
    ///
    /// ```compile_fail
    /// # async fn example(producer: thrustmq_client::Producer) {
    /// use thrustmq_client::Message;
    /// producer.send_all(vec![Message::new("orders", "x").delay_level(3)]).await.unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BatchError`] says what was stored, and gives the rest back.
    pub async fn send_all(&self, messages: Vec<Message<Now>>) -> Result<Vec<Receipt>, BatchError> {
        self.inner.send_all(messages, Target::Any).await
    }

    /// Sends many messages to one queue, which must be of the topic of all, and keeps their order there.
    ///
    /// # Errors
    /// As [`send_all`](Producer::send_all); nothing is sent twice that may have been stored.
    pub async fn send_all_to(
        &self,
        messages: Vec<Message<Now>>,
        queue: &MessageQueue,
    ) -> Result<Vec<Receipt>, BatchError> {
        match messages.iter().try_for_each(|message| self.check_queue(queue, message)) {
            Ok(()) => self.inner.send_all(messages, Target::Queue(queue)).await,
            Err(source) => {
                Err(BatchError { source, receipts: Vec::new(), unsent: messages, maybe_stored: 0 })
            }
        }
    }

    /// Takes back a message that is delivered later, by the handle of its receipt. Brokers refuse this unless their
    /// settings allow it (`recallMessageEnable`).
    ///
    /// # Errors
    /// When the handle is none, the message is due already, or the broker does not do this.
    pub async fn recall(&self, handle: &str) -> Result<(), Error> {
        let Some(place) = RecallHandle::parse(handle) else {
            return Err(Error::Illegal("the text is no recall handle".to_owned()));
        };
        let queue =
            MessageQueue { topic: place.topic.clone(), broker_name: place.broker_name.clone(), queue_id: 0 };
        let address = self.inner.shared.master_of(&queue).await?;
        let fields = Fields::new()
            .text("producerGroup", self.inner.wire_group.as_str())
            .text("topic", place.topic)
            .text("recallHandle", handle)
            .text("bname", place.broker_name);
        self.inner.shared.ask(&address, RECALL_MESSAGE, &fields, &[]).await?;
        Ok(())
    }

    /// Waits for everything that is under way, then leaves the group. What is enqueued from now on fails.
    pub async fn close(&self) {
        let inner = &self.inner;
        inner.send_gathered_now().await;
        let all = u32::try_from(inner.options.in_flight).unwrap_or(u32::MAX);
        // Closed already when it fails.
        if let Ok(permits) = inner.messages.acquire_many(all).await {
            inner.messages.close();
            drop(permits);
        }
        // A second time another producer of the group may be there, which brokers must go on to know.
        if inner.leave() {
            inner.shared.unregister(Fields::new().text("producerGroup", inner.wire_group.clone())).await;
        }
        inner.shared.flush_traces().await;
    }
}

/// A message under way; resolves when it is stored or given up.
///
/// Dropping it changes nothing: the message is sent all the same.
#[derive(Debug)]
#[must_use = "without a look at it nobody learns whether the message was stored"]
pub struct Pending<D: Delivery = Now>(JoinHandle<Result<Receipt, SendError<D>>>);

impl<D: Delivery> Future for Pending<D> {
    type Output = Result<Receipt, SendFailed<D>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|joined| match joined {
            Ok(sent) => sent.map_err(SendFailed::Send),
            Err(_) => Err(SendFailed::Aborted),
        })
    }
}

/// Why an enqueued message was not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum SendFailed<D: Delivery = Now> {
    /// As [`Producer::send`] would say it.
    #[error(transparent)]
    Send(SendError<D>),
    /// The runtime was stopped meanwhile; the message may have been stored.
    #[error("the runtime stopped before the message was confirmed; it may have been stored all the same")]
    Aborted,
}

impl Message<Later> {
    /// Whether it names a moment or a time rather than one of the broker's levels; only such messages can be recalled.
    pub fn is_recallable(&self) -> bool {
        self.get(wire::properties::DELAY).is_none()
    }
}
