//! Consumers that are asked for messages, rather than handing them over (client.md §4).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use wire::body::MessageQueue;
use wire::code::request;

use super::builder::{Subscribed, Unsubscribed};
use super::intake::Intake;
use super::member::{Assigned, Batch, Given, Member};
use super::options::{Allocation, Options, Role, StartFrom};
use super::strategy::Strategy;
use crate::error::Error;
use crate::fields::Fields;
use crate::filter::Filter;
use crate::hooks::ConsumeOutcome;
use crate::received::Received;
use crate::shared::Shared;
use crate::watch::QueueWatch;

/// Marks a consumer whose queues the application has chosen.
#[derive(Debug, Clone, Copy)]
pub enum ByHand {}

/// How a consumer that is asked for messages is made. It either subscribes to topics, and shares their queues with the
/// other members of its group, or is assigned queues; both at once does not compile:
///
/// ```compile_fail
/// # async fn example(client: thrustmq_client::Client, queues: Vec<thrustmq_client::MessageQueue>) {
/// use thrustmq_client::Filter;
/// client.lite_pull_consumer("audit").subscribe("orders", Filter::all()).assign(queues);
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "build makes the consumer"]
pub struct LitePullConsumerBuilder<S = Unsubscribed> {
    shared: Arc<Shared>,
    group: String,
    subscriptions: BTreeMap<String, Filter>,
    chosen: BTreeSet<MessageQueue>,
    options: Options,
    state: PhantomData<S>,
}

impl LitePullConsumerBuilder {
    pub(crate) fn new(shared: Arc<Shared>, group: String) -> LitePullConsumerBuilder {
        LitePullConsumerBuilder {
            shared,
            group,
            subscriptions: BTreeMap::new(),
            chosen: BTreeSet::new(),
            options: Options { batch: 10, all_messages_max: Some(10_000), ..Options::usual(Role::LitePull) },
            state: PhantomData,
        }
    }

    /// Reads these queues, whatever other members of the group read. They can be changed later, with
    /// [`LitePullConsumer::assign`].
    pub fn assign(
        mut self,
        queues: impl IntoIterator<Item = MessageQueue>,
    ) -> LitePullConsumerBuilder<ByHand> {
        self.chosen.extend(queues);
        self.options.allocation = Allocation::Application;
        self.in_state()
    }
}

impl<S> LitePullConsumerBuilder<S> {
    fn in_state<T>(self) -> LitePullConsumerBuilder<T> {
        let LitePullConsumerBuilder { shared, group, subscriptions, chosen, options, .. } = self;
        LitePullConsumerBuilder { shared, group, subscriptions, chosen, options, state: PhantomData }
    }

    /// Where the group starts in a queue that it has never been in.
    pub fn start_from(mut self, start: StartFrom) -> Self {
        self.options.start = start;
        self
    }

    /// Writes offsets down only with [`LitePullConsumer::commit`]; by default every 5 s, and at the end.
    pub fn commit_by_hand(mut self) -> Self {
        self.options.auto_commit = false;
        self
    }

    /// How often offsets are written down by themselves; 5 s by default.
    pub fn commit_every(mut self, period: Duration) -> Self {
        self.options.commit = period;
        self
    }

    /// Most messages of one batch; 10 by default. Brokers give 32 of memory at most.
    pub fn batch(mut self, messages: u32) -> Self {
        self.options.batch = messages.clamp(1, 1_024);
        self
    }

    /// Messages and bytes of one queue that are pulled and not polled before pulling waits; 1,000 and 100 MiB by
    /// default. One pull more may come in.
    pub fn prefetch_max(mut self, messages: usize, bytes: usize) -> Self {
        self.options.messages_max = messages.max(1);
        self.options.bytes_max = bytes.max(1);
        self
    }

    /// Messages of all queues together that are pulled and not polled before pulling waits; 10,000 by default.
    pub fn prefetch_max_of_all(mut self, messages: usize) -> Self {
        self.options.all_messages_max = Some(messages.max(1));
        self
    }

    /// How far apart the oldest and the newest message of one queue may be that are not polled; 2,000 by default.
    pub fn span_max(mut self, offsets: u32) -> Self {
        self.options.span_max = i64::from(offsets.max(1));
        self
    }

    /// How often queues are divided again without an occasion; 20 s by default.
    pub fn rebalance_every(mut self, period: Duration) -> Self {
        self.options.rebalance = period;
        self
    }

    async fn begin(self) -> Result<LitePullConsumer<S>, Error> {
        let (member, given) = Member::new(self.shared, self.group, self.subscriptions, self.options)?;
        member.choose(self.chosen);
        let intake = Intake::joined(member, given).await?;
        Ok(LitePullConsumer { intake, ready: VecDeque::new(), polled: None, state: PhantomData })
    }
}

impl LitePullConsumerBuilder<Unsubscribed> {
    /// Adds a topic. All members of a group must have the same topics and filters.
    pub fn subscribe(
        mut self,
        topic: impl Into<String>,
        filter: Filter,
    ) -> LitePullConsumerBuilder<Subscribed> {
        self.subscriptions.insert(topic.into(), filter);
        self.in_state()
    }
}

impl LitePullConsumerBuilder<Subscribed> {
    /// Adds a topic. All members of a group must have the same topics and filters.
    pub fn subscribe(mut self, topic: impl Into<String>, filter: Filter) -> Self {
        self.subscriptions.insert(topic.into(), filter);
        self
    }

    /// How queues are divided; all members of a group must do the same.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.options.strategy = strategy;
        self
    }

    /// Joins the group.
    ///
    /// # Errors
    /// When names are not allowed, this client is in the group already, no name server answers, or the broker refuses a
    /// filter.
    pub async fn build(self) -> Result<LitePullConsumer<Subscribed>, Error> {
        self.begin().await
    }
}

impl LitePullConsumerBuilder<ByHand> {
    /// Which messages of a topic are wanted of its queues; all by default.
    pub fn filter(mut self, topic: impl Into<String>, filter: Filter) -> Self {
        self.subscriptions.insert(topic.into(), filter);
        self
    }

    /// Starts to read. The queues that can be read are [assigned](LitePullConsumer::assignment) when this returns.
    ///
    /// # Errors
    /// As with a subscription.
    pub async fn build(self) -> Result<LitePullConsumer<ByHand>, Error> {
        self.begin().await
    }
}

/// What the last poll gave.
#[derive(Debug)]
struct Polled {
    assigned: Arc<Assigned>,
    generation: u64,
    offsets: Vec<i64>,
}

/// A consumer that is asked for messages.
///
/// A poll says that what the poll before it gave is done, and so does [`commit`](LitePullConsumer::commit). What was
/// done is written down every few seconds and by [`close`](LitePullConsumer::close): a process that dies sees again
/// what it polled last, and loses nothing.
///
/// ```no_run
/// # async fn example() -> Result<(), thrustmq_client::Error> {
/// use std::time::Duration;
/// use thrustmq_client::{Client, Filter, StartFrom};
///
/// let client = Client::connect("127.0.0.1:9876").await?;
/// let consumer = client.lite_pull_consumer("audit").subscribe("orders", Filter::all());
/// let mut consumer = consumer.start_from(StartFrom::Earliest).build().await?;
/// for _ in 0..100 {
///     for order in consumer.poll(Duration::from_secs(5)).await {
///         println!("{}", order.text());
///     }
/// }
/// consumer.close().await;
/// # Ok(()) }
/// ```
///
/// With queues of one's own choice, from a moment on:
///
/// ```no_run
/// # async fn example() -> Result<(), thrustmq_client::Error> {
/// # use std::time::Duration;
/// # use thrustmq_client::Client;
/// # let client = Client::connect("127.0.0.1:9876").await?;
/// let queues = client.reader("audit").queues("orders").await?;
/// let mut consumer = client.lite_pull_consumer("audit").assign(queues).commit_by_hand().build().await?;
/// for queue in consumer.assignment() {
///     consumer.seek_to_time(&queue, 1_767_225_600_000).await?;
/// }
/// let orders = consumer.poll(Duration::from_secs(5)).await;
/// consumer.commit().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct LitePullConsumer<S = Subscribed> {
    intake: Intake,
    /// Pulled and not polled.
    ready: VecDeque<Batch>,
    polled: Option<Polled>,
    state: PhantomData<S>,
}

impl<S> LitePullConsumer<S> {
    /// The next messages, all of one queue and in its order; none when there are none within `wait`. Says that what the
    /// last poll gave is done. No message is lost when the future is dropped.
    pub async fn poll(&mut self, wait: Duration) -> Vec<Received> {
        self.settle();
        let deadline = Instant::now() + wait;
        loop {
            if let Some(batch) = self.next_ready() {
                return self.hand_over(batch);
            }
            match tokio::time::timeout_at(deadline, self.intake.next_given()).await {
                Ok(Some(Given::Pulled(batch))) => self.ready.push_back(batch),
                Ok(Some(Given::Popped(_))) => (),
                Ok(None) | Err(_) => return Vec::new(),
            }
        }
    }

    /// The oldest batch of a queue that is not paused; those that mean nothing any more are dropped.
    fn next_ready(&mut self) -> Option<Batch> {
        self.ready.retain(Batch::is_current);
        let next = self.ready.iter().position(|batch| !batch.assigned.is_paused())?;
        self.ready.remove(next)
    }

    fn hand_over(&mut self, batch: Batch) -> Vec<Received> {
        let Batch { assigned, generation, messages } = batch;
        let member = self.member();
        for message in &messages {
            // As with the official clients, whoever watches hears of both ends now.
            let watched = member.consuming(message);
            member.consumed(watched, message, ConsumeOutcome::Done);
        }
        let offsets = messages.iter().map(|message| message.offset).collect();
        self.polled = Some(Polled { assigned, generation, offsets });
        messages
    }

    /// What was polled last is done.
    fn settle(&mut self) {
        let Some(Polled { assigned, generation, offsets }) = self.polled.take() else { return };
        self.member().settle(&assigned, generation, offsets);
    }

    fn member(&self) -> &Arc<Member> {
        &self.intake.member
    }

    /// The queues that are read now.
    pub fn assignment(&self) -> Vec<MessageQueue> {
        self.member().held_queues()
    }

    /// Watches which queues this member has: they change when members come and go, or the topics change.
    pub fn watch_queues(&self) -> QueueWatch {
        self.member().watch_queues()
    }

    fn assigned(&self, queue: &MessageQueue) -> Result<Arc<Assigned>, Error> {
        let complete = self.member().shared.namespace.wrap_queue(queue);
        let assigned = self.member().queues.lock().get(&complete).cloned();
        assigned.ok_or_else(|| {
            let MessageQueue { topic, broker_name, queue_id } = queue;
            Error::Illegal(format!("queue {queue_id} of \"{topic}\" at {broker_name} is not assigned"))
        })
    }

    /// The offset that the next message of a queue has at least: behind what was polled last.
    ///
    /// # Errors
    /// When the queue is not assigned.
    pub fn position(&self, queue: &MessageQueue) -> Result<i64, Error> {
        let assigned = self.assigned(queue)?;
        let of_queue = |polled: &&Polled| Arc::ptr_eq(&polled.assigned, &assigned);
        let mut window = assigned.window.lock().clone();
        if let Some(polled) = self.polled.as_ref().filter(of_queue) {
            for offset in &polled.offsets {
                window.settled(polled.generation, *offset);
            }
        }
        Ok(window.committable())
    }

    /// Goes on with a queue at an offset.
    ///
    /// # Errors
    /// When the queue is not assigned, the offset is outside of it, or the broker cannot be asked for its bounds.
    pub async fn seek(&self, queue: &MessageQueue, offset: i64) -> Result<(), Error> {
        let assigned = self.assigned(queue)?;
        let shared = &self.member().shared;
        let oldest = shared.offset(&assigned.queue, request::GET_MIN_OFFSET, |fields| fields).await?;
        let end = shared.offset(&assigned.queue, request::GET_MAX_OFFSET, |fields| fields).await?;
        if !(oldest..=end).contains(&offset) {
            let what = format!("offset {offset} is outside of the queue, which has {oldest} to {end}");
            return Err(Error::Illegal(what));
        }
        assigned.restart(offset);
        Ok(())
    }

    /// Goes on with the oldest message of a queue.
    ///
    /// # Errors
    /// When the queue is not assigned, or the broker cannot be asked.
    pub async fn seek_to_begin(&self, queue: &MessageQueue) -> Result<(), Error> {
        self.seek_by(queue, request::GET_MIN_OFFSET, |fields| fields).await
    }

    /// Goes on behind the newest message of a queue.
    ///
    /// # Errors
    /// When the queue is not assigned, or the broker cannot be asked.
    pub async fn seek_to_end(&self, queue: &MessageQueue) -> Result<(), Error> {
        self.seek_by(queue, request::GET_MAX_OFFSET, |fields| fields).await
    }

    /// Goes on with the first message of a queue that was stored at or after a moment, given as Unix milliseconds.
    ///
    /// # Errors
    /// When the queue is not assigned, or the broker cannot be asked.
    pub async fn seek_to_time(&self, queue: &MessageQueue, at_ms: i64) -> Result<(), Error> {
        let at = |fields: Fields<'static>| fields.number("timestamp", at_ms);
        self.seek_by(queue, request::SEARCH_OFFSET_BY_TIMESTAMP, at).await
    }

    async fn seek_by(
        &self,
        queue: &MessageQueue,
        code: i32,
        more: impl FnOnce(Fields<'static>) -> Fields<'static>,
    ) -> Result<(), Error> {
        let assigned = self.assigned(queue)?;
        let offset = self.member().shared.offset(&assigned.queue, code, more).await?;
        assigned.restart(offset);
        Ok(())
    }

    /// Gives nothing of these queues until they are [resumed](LitePullConsumer::resume).
    ///
    /// # Errors
    /// When one is not assigned; those before it are paused.
    pub fn pause(&self, queues: &[MessageQueue]) -> Result<(), Error> {
        self.set_paused(queues, true)
    }

    /// Goes on with queues that were paused.
    ///
    /// # Errors
    /// When one is not assigned; those before it are resumed.
    pub fn resume(&self, queues: &[MessageQueue]) -> Result<(), Error> {
        self.set_paused(queues, false)
    }

    fn set_paused(&self, queues: &[MessageQueue], paused: bool) -> Result<(), Error> {
        for queue in queues {
            let assigned = self.assigned(queue)?;
            assigned.paused.store(paused, Ordering::Release);
            assigned.room.notify_one();
        }
        Ok(())
    }

    /// Writes down how far everything was polled, and waits until the brokers know.
    ///
    /// # Errors
    /// Why one of them could not be told. The others know; one that does not answer is asked only once.
    pub async fn commit(&mut self) -> Result<(), Error> {
        self.settle();
        let member = self.member();
        member.commit(&member.assigned()).await
    }

    /// Writes down other offsets than those that were polled. What comes next does not change by it. Unless all is
    /// [written down by hand](LitePullConsumerBuilder::commit_by_hand), the next time is soon that of what was polled.
    ///
    /// # Errors
    /// At the first queue that cannot be told; those before it are.
    pub async fn commit_offsets(
        &self,
        offsets: impl IntoIterator<Item = (MessageQueue, i64)>,
    ) -> Result<(), Error> {
        let member = self.member();
        for (queue, offset) in offsets {
            let complete = member.shared.namespace.wrap_queue(&queue);
            member.shared.commit(&member.group, &complete, offset).await?;
            if let Ok(assigned) = self.assigned(&queue) {
                assigned.committed.store(offset, Ordering::Release);
            }
        }
        Ok(())
    }

    /// How far the group has come in a queue, as the broker knows it; `None` when it has never been there.
    ///
    /// # Errors
    /// When the broker cannot be asked.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, Error> {
        let member = self.member();
        member.stored(&member.shared.namespace.wrap_queue(queue)).await
    }

    /// Says that what was polled last is done, writes offsets down unless that is done by hand, and leaves the group.
    pub async fn close(mut self) {
        self.settle();
        self.intake.close(Duration::ZERO).await;
    }
}

impl LitePullConsumer<Subscribed> {
    /// Adds a topic while the consumer works, or wants other messages of it from now on. What was pulled before comes
    /// as it was. All members of a group must do the same.
    ///
    /// # Errors
    /// When the name is not allowed, no name server answers, or the broker refuses the filter; nothing changes then.
    pub async fn subscribe(&self, topic: &str, filter: Filter) -> Result<(), Error> {
        self.member().subscribe(topic, filter).await
    }

    /// Wants nothing of a topic any more: when this returns, no poll gives any of it.
    pub async fn unsubscribe(&self, topic: &str) {
        self.member().unsubscribe(topic).await;
    }
}

impl LitePullConsumer<ByHand> {
    /// Reads these queues from now on, and no others. Those that can be read are
    /// [assigned](LitePullConsumer::assignment) when this returns; the others follow when they can.
    pub async fn assign(&mut self, queues: impl IntoIterator<Item = MessageQueue>) {
        self.settle();
        self.member().choose(queues.into_iter().collect());
        self.member().divide().await;
    }
}

impl Member {
    /// Takes the queues that the application wants.
    fn choose(&self, queues: BTreeSet<MessageQueue>) {
        let complete = queues.iter().map(|queue| self.shared.namespace.wrap_queue(queue));
        *self.chosen.lock() = complete.collect();
    }
}
