//! Reads queues by offset: no membership, no commits, the caller says where (client.md §4).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use remoting::Answer;
use wire::body::MessageQueue;
use wire::code::{request, response};
use wire::pull_flag::{SUBSCRIPTION, SUSPEND};

use crate::error::Error;
use crate::fields::Fields;
use crate::filter::Filter;
use crate::namespace::Namespace;
use crate::received::{Received, read_queue};
use crate::route::MASTER_ID;
use crate::shared::{Shared, number};
use crate::watch::{QueueWatch, watch_topic};

/// What a pull brought.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Pulled {
    /// The messages, in order; empty when none were there or none were selected.
    pub messages: Vec<Received>,
    /// Where to go on.
    pub next_offset: i64,
    /// The oldest message of the queue.
    pub min_offset: i64,
    /// One behind the newest message of the queue.
    pub max_offset: i64,
    /// The offset asked for was outside of the queue; `next_offset` says what is inside.
    pub out_of_range: bool,
    /// Member of the broker group to ask next.
    pub suggested_broker_id: i64,
}

/// Reads queues by offset.
///
/// ```no_run
/// # async fn example() -> Result<(), thrustmq_client::Error> {
/// use thrustmq_client::{Client, Filter};
///
/// let client = Client::connect("127.0.0.1:9876").await?;
/// let reader = client.reader("inspectors");
/// for queue in reader.queues("orders").await? {
///     let mut offset = reader.min_offset(&queue).await?;
///     loop {
///         let pulled = reader.pull(&queue, offset, 32, &Filter::all()).await?;
///         if pulled.messages.is_empty() && pulled.next_offset == offset {
///             break;
///         }
///         offset = pulled.next_offset;
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct QueueReader {
    shared: Arc<Shared>,
    group: String,
    /// What the names that the application uses are in.
    namespace: Namespace,
}

impl std::fmt::Debug for QueueReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("QueueReader").field("group", &self.group).finish_non_exhaustive()
    }
}

impl QueueReader {
    pub(crate) fn new(shared: Arc<Shared>, group: String) -> QueueReader {
        let namespace = shared.namespace.clone();
        QueueReader { group: namespace.wrap(&group).into_owned(), shared, namespace }
    }

    /// A reader that takes names as servers have them.
    pub(crate) fn of_all_namespaces(shared: Arc<Shared>, group: String) -> QueueReader {
        QueueReader { shared, group, namespace: Namespace::default() }
    }

    /// Queues of a topic that can be read.
    ///
    /// # Errors
    /// When the topic's route cannot be had.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, Error> {
        let route = self.shared.route(&self.namespace.wrap(topic)).await?;
        Ok(route.queues_to_read().into_iter().map(|queue| self.namespace.unwrap_queue(queue)).collect())
    }

    /// Watches which queues of a topic can be read: they change when an administrator changes the topic, or brokers
    /// come and go. The client looks as often as it asks for [routes](crate::ClientBuilder::route_refresh).
    ///
    /// # Errors
    /// When the topic's route cannot be had.
    pub async fn watch_queues(&self, topic: &str) -> Result<QueueWatch, Error> {
        let complete = self.namespace.wrap(topic).into_owned();
        watch_topic(&self.shared, self.namespace.clone(), complete).await
    }

    /// Pulls up to `max` messages from `offset` on, or none at once when none are there. The broker may give fewer.
    ///
    /// # Errors
    /// When the broker cannot be asked or refuses.
    pub async fn pull(
        &self,
        queue: &MessageQueue,
        offset: i64,
        max: u32,
        filter: &Filter,
    ) -> Result<Pulled, Error> {
        self.pull_waiting(queue, offset, max, filter, Duration::ZERO).await
    }

    /// Pulls, and waits up to `wait` at the broker for a message when none is there.
    ///
    /// # Errors
    /// When the broker cannot be asked or refuses.
    pub async fn pull_waiting(
        &self,
        queue: &MessageQueue,
        offset: i64,
        max: u32,
        filter: &Filter,
        wait: Duration,
    ) -> Result<Pulled, Error> {
        let queue = &Arc::new(self.namespace.wrap_queue(queue));
        let address = self.shared.address_to_read(queue, MASTER_ID).await?;
        let suspend = if wait.is_zero() { 0 } else { SUSPEND };
        let fields = Fields::new()
            .text("consumerGroup", self.group.as_str())
            .text("topic", queue.topic.as_str())
            .number("queueId", queue.queue_id)
            .number("queueOffset", offset)
            .number("maxMsgNums", max)
            .number("sysFlag", SUBSCRIPTION | suspend)
            .number("commitOffset", 0)
            .number("suspendTimeoutMillis", i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
            .text("subscription", filter.expression())
            .number("subVersion", 0)
            .text("expressionType", filter.kind());
        let timeout = wait + self.shared.times.call;
        let answer = self.shared.call(&address, request::PULL_MESSAGE, &fields, &[], timeout).await?;
        let mut pulled = pulled(answer, &address, queue, filter)?;
        self.namespace.unwrap_messages(&mut pulled.messages);
        Ok(pulled)
    }

    /// The oldest message of a queue.
    ///
    /// # Errors
    /// When the broker cannot be asked or refuses.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, Error> {
        self.shared.offset(&self.namespace.wrap_queue(queue), request::GET_MIN_OFFSET, |fields| fields).await
    }

    /// One behind the newest message of a queue.
    ///
    /// # Errors
    /// When the broker cannot be asked or refuses.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, Error> {
        self.shared.offset(&self.namespace.wrap_queue(queue), request::GET_MAX_OFFSET, |fields| fields).await
    }

    /// The first message that was stored at or after a moment, given as Unix milliseconds.
    ///
    /// # Errors
    /// When the broker cannot be asked or refuses.
    pub async fn offset_at(&self, queue: &MessageQueue, at_ms: i64) -> Result<i64, Error> {
        let at = |fields: Fields<'static>| fields.number("timestamp", at_ms);
        let queue = &self.namespace.wrap_queue(queue);
        self.shared.offset(queue, request::SEARCH_OFFSET_BY_TIMESTAMP, at).await
    }

    /// Where the group has come to, if it has been anywhere.
    ///
    /// # Errors
    /// When the broker cannot be asked or refuses.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, Error> {
        self.shared.committed(&self.group, &self.namespace.wrap_queue(queue)).await
    }

    /// Writes down where the group has come to, and waits for the broker to know.
    ///
    /// # Errors
    /// When the broker cannot be asked or refuses.
    pub async fn commit(&self, queue: &MessageQueue, offset: i64) -> Result<(), Error> {
        self.shared.commit(&self.group, &self.namespace.wrap_queue(queue), offset).await
    }
}

/// What an answer to a pull says.
pub(crate) fn pulled(
    answer: Answer,
    address: &str,
    queue: &Arc<MessageQueue>,
    filter: &Filter,
) -> Result<Pulled, Error> {
    let known = [
        response::SUCCESS,
        response::PULL_NOT_FOUND,
        response::PULL_RETRY_IMMEDIATELY,
        response::PULL_OFFSET_MOVED,
    ];
    if !known.contains(&answer.code) {
        return Err(Error::refused(address, &answer));
    }
    let mut pulled = Pulled {
        messages: Vec::new(),
        next_offset: number(address, &answer, "nextBeginOffset")?,
        min_offset: number(address, &answer, "minOffset")?,
        max_offset: number(address, &answer, "maxOffset")?,
        out_of_range: answer.code == response::PULL_OFFSET_MOVED,
        suggested_broker_id: number(address, &answer, "suggestWhichBrokerId").unwrap_or(MASTER_ID),
    };
    if answer.code == response::SUCCESS {
        let delta: i64 = number(address, &answer, "offsetDelta").unwrap_or(0);
        pulled.messages = read_queue(&Bytes::from(answer.body), queue, address)?;
        // Brokers select by the hash of a tag, which several tags share.
        pulled.messages.retain(|message| filter.selects(message));
        if delta != 0 {
            pulled.messages.iter_mut().for_each(|message| message.offset += delta);
        }
    }
    Ok(pulled)
}

impl Shared {
    /// Address of the member of a broker group to read from.
    pub async fn address_to_read(&self, queue: &MessageQueue, id: i64) -> Result<String, Error> {
        if let Some(address) = self.routes.reader(&queue.broker_name, id) {
            return Ok(address);
        }
        self.route(&queue.topic).await?;
        let address = self.routes.reader(&queue.broker_name, id);
        address.ok_or_else(|| Error::NoBroker { name: queue.broker_name.clone() })
    }

    /// Address of the master that holds a queue.
    pub async fn master_of(&self, queue: &MessageQueue) -> Result<String, Error> {
        if let Some(address) = self.routes.master(&queue.broker_name) {
            return Ok(address);
        }
        self.route(&queue.topic).await?;
        let address = self.routes.master(&queue.broker_name);
        address.ok_or_else(|| Error::NoBroker { name: queue.broker_name.clone() })
    }

    /// Asks for an offset of a queue.
    pub async fn offset(
        &self,
        queue: &MessageQueue,
        code: i32,
        more: impl FnOnce(Fields<'static>) -> Fields<'static>,
    ) -> Result<i64, Error> {
        let address = self.master_of(queue).await?;
        let fields = Fields::new().text("topic", queue.topic.clone()).number("queueId", queue.queue_id);
        let answer = self.ask(&address, code, &more(fields), &[]).await?;
        number(&address, &answer, "offset")
    }

    /// Where a group has come to in a queue.
    pub async fn committed(&self, group: &str, queue: &MessageQueue) -> Result<Option<i64>, Error> {
        self.committed_or_else(group, queue, Some("false")).await
    }

    /// The same as the official clients ask for it. Of a group that has never been there, brokers say the beginning if
    /// the queue is young: nothing of it was deleted, and its first message is still in memory (broker.md §12.2).
    pub async fn committed_or_young(&self, group: &str, queue: &MessageQueue) -> Result<Option<i64>, Error> {
        self.committed_or_else(group, queue, None).await
    }

    async fn committed_or_else(
        &self,
        group: &str,
        queue: &MessageQueue,
        zero: Option<&'static str>,
    ) -> Result<Option<i64>, Error> {
        let address = self.address_to_read(queue, MASTER_ID).await?;
        let fields = Fields::new()
            .text("consumerGroup", group)
            .text("topic", queue.topic.as_str())
            .number("queueId", queue.queue_id)
            .maybe("setZeroIfNotFound", zero);
        match self.ask(&address, request::QUERY_CONSUMER_OFFSET, &fields, &[]).await {
            Ok(answer) => number(&address, &answer, "offset").map(Some),
            Err(Error::Refused { code: response::QUERY_NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes down where a group has come to in a queue.
    pub async fn commit(&self, group: &str, queue: &MessageQueue, offset: i64) -> Result<(), Error> {
        let address = self.address_to_read(queue, MASTER_ID).await?;
        let fields = Fields::new()
            .text("consumerGroup", group)
            .text("topic", queue.topic.as_str())
            .number("queueId", queue.queue_id)
            .number("commitOffset", offset);
        self.ask(&address, request::UPDATE_CONSUMER_OFFSET, &fields, &[]).await?;
        Ok(())
    }
}
