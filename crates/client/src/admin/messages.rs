//! Finding messages, and questions about what members do with them.

use bytes::Bytes;
use serde::Deserialize;
use wire::body::{MessageQueue, MessageStory, SubscriptionData};
use wire::code::{request, response};
use wire::ids::OffsetId;

use super::Admin;
use crate::error::Error;
use crate::fields::Fields;
use crate::received::{Received, read_all};
use crate::shared::number;

/// What a member made of a message that it was told to consume (309).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeResult {
    /// `CR_SUCCESS`, `CR_LATER` and so on.
    pub consume_result: String,
    /// Text for people.
    pub remark: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(rename = "spentTimeMills")]
    pub spent_ms: i64,
    /// Whether the member consumes in order.
    pub order: bool,
    /// Whether the member commits what it has consumed by itself.
    pub auto_commit: bool,
}

/// What indexes of brokers find messages by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// A key of the application's.
    Key,
    /// The key that the producer's client made.
    UniqueKey,
    /// A tag, in brokers that index tags.
    Tag,
}

impl Index {
    fn letter(self) -> &'static str {
        match self {
            Index::Key => "K",
            Index::UniqueKey => "U",
            Index::Tag => "T",
        }
    }
}

/// What to look for in the indexes of brokers.
#[derive(Debug, Clone)]
pub struct Search<'a> {
    /// The topic of the messages.
    pub topic: &'a str,
    /// The topic whose brokers are asked, where it is not the same.
    pub route_topic: Option<&'a str>,
    /// The cluster whose brokers are asked; all without one.
    pub cluster: Option<&'a str>,
    /// The key or tag.
    pub word: &'a str,
    /// What the word is.
    pub index: Index,
    /// Messages that each broker may answer with.
    pub max: u32,
    /// First store time, Unix milliseconds.
    pub from_ms: i64,
    /// Last store time, Unix milliseconds.
    pub until_ms: i64,
    /// Where an earlier search ended, for brokers that can go on there.
    pub after: Option<&'a str>,
}

impl Search<'_> {
    /// Indexes know hashes of words, which several words share.
    fn is_meant(&self, message: &Received) -> bool {
        match self.index {
            Index::Key => message.topic() == self.topic && message.keys().any(|key| key == self.word),
            Index::UniqueKey => message.message_id() == self.word,
            Index::Tag => message.topic() == self.topic && message.tag() == Some(self.word),
        }
    }
}

/// Entries of one queue, as the broker has them (321).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueEntries {
    /// What the group that was named reads of the topic, if it is online.
    pub subscription_data: Option<SubscriptionData>,
    /// What the broker knows of the group's filter, for people.
    pub filter_data: Option<String>,
    /// The entries, in order.
    pub queue_data: Vec<QueueEntry>,
    /// One behind the newest entry.
    pub max_queue_index: i64,
    /// The oldest entry.
    pub min_queue_index: i64,
}

/// One entry of a queue.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueEntry {
    /// Physical offset of the message.
    pub physic_offset: i64,
    /// Bytes of the message.
    pub physic_size: i32,
    /// Hash of the tag.
    pub tags_code: i64,
    /// What brokers keep beside the entry, for people.
    pub extend_data_json: Option<String>,
    /// Which groups' expressions it fits, for people.
    pub bit_map: Option<String>,
    /// Whether the group that was named gets it.
    pub eval: bool,
    /// What went wrong with this entry.
    pub msg: Option<String>,
}

impl Admin {
    /// The message with an offset id, from the broker that the id names.
    ///
    /// # Errors
    /// When the text is no offset id, or the broker does not have the message any more.
    pub async fn view_message(&self, topic: &str, offset_id: &str) -> Result<Received, Error> {
        let Some(id) = OffsetId::parse(offset_id) else {
            return Err(Error::Illegal(format!("\"{offset_id}\" is no offset id")));
        };
        let address = id.store_host.to_string();
        let offset = i64::try_from(id.offset).map_err(Error::illegal)?;
        let fields = Fields::new().text("topic", topic).number("offset", offset);
        let answer = self.shared.ask(&address, request::VIEW_MESSAGE_BY_ID, &fields, &[]).await?;
        let messages = read_all(&Bytes::from(answer.body), &self.name_of(&address), &address)?;
        messages.into_iter().next().ok_or_else(|| Error::malformed(&address, "it has no message"))
    }

    /// What the broker at `address` knows of a message, by its unique key or offset id; it looks in all topics if none
    /// is named. `None` from a broker that tells no stories, as Java's do not.
    ///
    /// # Errors
    /// When the broker does not answer, or does not know the message.
    pub async fn message_story(
        &self,
        address: &str,
        topic: Option<&str>,
        id: &str,
    ) -> Result<Option<MessageStory>, Error> {
        let fields = Fields::new().text("msgId", id).maybe("topic", topic);
        match self.get(address, request::GET_MESSAGE_STORY, fields).await {
            Err(error) if error.broker_code() == Some(response::REQUEST_CODE_NOT_SUPPORTED) => Ok(None),
            told => told.map(Some),
        }
    }

    /// The messages with a unique key, which is the id that producers and consumers see. There is more than one after
    /// a retried send.
    ///
    /// # Errors
    /// When a broker of the topic does not answer or refuses.
    pub async fn messages_by_unique_key(&self, topic: &str, key: &str) -> Result<Vec<Received>, Error> {
        let found = self.query(topic, key, 32, 0, i64::MAX, Index::UniqueKey).await?;
        Ok(found.into_iter().filter(|message| message.message_id() == key).collect())
    }

    /// Up to `max` messages of each broker with a key, stored between two times in Unix milliseconds; newest first.
    ///
    /// # Errors
    /// When a broker of the topic does not answer or refuses.
    pub async fn messages_by_key(
        &self,
        topic: &str,
        key: &str,
        max: u32,
        from_ms: i64,
        until_ms: i64,
    ) -> Result<Vec<Received>, Error> {
        let found = self.query(topic, key, max, from_ms, until_ms, Index::Key).await?;
        // Indexes know hashes of keys, which several keys share.
        let has = |message: &Received| message.keys().any(|one| one == key) || message.message_id() == key;
        Ok(found.into_iter().filter(has).collect())
    }

    async fn query(
        &self,
        topic: &str,
        word: &str,
        max: u32,
        from_ms: i64,
        until_ms: i64,
        index: Index,
    ) -> Result<Vec<Received>, Error> {
        let search = Search {
            topic,
            route_topic: None,
            cluster: None,
            word,
            index,
            max,
            from_ms,
            until_ms,
            after: None,
        };
        let mut found = self.ask_indexes(&search).await?;
        found.sort_by_key(|message| std::cmp::Reverse(message.stored_at_ms));
        Ok(found)
    }

    /// Messages that the indexes of brokers find, in the order in which they give them.
    ///
    /// # Errors
    /// When a broker of the topic does not answer or refuses.
    pub async fn search(&self, search: &Search<'_>) -> Result<Vec<Received>, Error> {
        let found = self.ask_indexes(search).await?;
        Ok(found.into_iter().filter(|message| search.is_meant(message)).collect())
    }

    async fn ask_indexes(&self, search: &Search<'_>) -> Result<Vec<Received>, Error> {
        let route = self.fresh_route(search.route_topic.unwrap_or(search.topic)).await?;
        let mut found: Vec<Received> = Vec::new();
        for broker in route.brokers() {
            if search.cluster.is_some_and(|cluster| cluster != broker.cluster) {
                continue;
            }
            let Some(address) = broker.broker_addrs.values().next() else { continue };
            let fields = Fields::new()
                .text("topic", search.topic)
                .text("key", search.word)
                .number("maxNum", search.max)
                .number("beginTimestamp", search.from_ms)
                .number("endTimestamp", search.until_ms)
                .text("indexType", search.index.letter())
                .maybe("lastKey", search.after)
                .flag("_UNIQUE_KEY_QUERY", search.index == Index::UniqueKey);
            let answer = match self.shared.ask(address, request::QUERY_MESSAGE, &fields, &[]).await {
                Err(Error::Refused { code: response::QUERY_NOT_FOUND, .. }) => continue,
                other => other?,
            };
            found.extend(read_all(&Bytes::from(answer.body), &broker.broker_name, address)?);
        }
        Ok(found)
    }

    /// Entries of a queue from an index on, at one broker, and what a group gets of them.
    ///
    /// # Errors
    /// When the broker does not have the queue.
    pub async fn queue_entries(
        &self,
        address: &str,
        topic: &str,
        queue_id: i32,
        from: i64,
        count: i32,
        group: Option<&str>,
    ) -> Result<QueueEntries, Error> {
        let fields = Fields::new()
            .text("topic", topic)
            .number("queueId", queue_id)
            .number("index", from)
            .number("count", count)
            .maybe("consumerGroup", group);
        let answer = self.shared.ask(address, request::QUERY_CONSUME_QUEUE, &fields, &[]).await?;
        // A broker that has nothing there says so in words beside an empty body.
        if answer.body.is_empty() {
            let remark = answer.remark.clone().unwrap_or_default();
            return Err(Error::Refused { address: address.to_owned(), code: answer.code, remark });
        }
        crate::shared::decode(address, &answer)
    }

    /// The message at a position of a queue.
    ///
    /// # Errors
    /// When the broker does not answer, or there is no message at that position.
    pub async fn message_at(&self, queue: &MessageQueue, offset: i64) -> Result<Received, Error> {
        let reader = crate::reader::QueueReader::of_all_namespaces(
            std::sync::Arc::clone(&self.shared),
            TOOLS.to_owned(),
        );
        let pulled = reader.pull(queue, offset, 1, &crate::filter::Filter::all()).await?;
        let first = pulled.messages.into_iter().next().filter(|message| message.offset == offset);
        first.ok_or_else(|| {
            let (min, max) = (pulled.min_offset, pulled.max_offset);
            Error::Illegal(format!(
                "there is no message at {offset}; the queue has those from {min} to before {max}"
            ))
        })
    }

    /// Has a member consume a message now, and says what it made of it. An empty client id lets the broker choose.
    ///
    /// # Errors
    /// When the member is not there or does not answer.
    pub async fn consume_directly(
        &self,
        group: &str,
        client_id: &str,
        topic: &str,
        offset_id: &str,
    ) -> Result<ConsumeResult, Error> {
        let Some(id) = OffsetId::parse(offset_id) else {
            return Err(Error::Illegal(format!("\"{offset_id}\" is no offset id")));
        };
        let fields = Fields::new()
            .text("consumerGroup", group)
            .text("clientId", client_id)
            .text("topic", topic)
            .text("msgId", offset_id);
        self.get(&id.store_host.to_string(), request::CONSUME_MESSAGE_DIRECTLY, fields).await
    }

    /// What a member tells of itself, as its client writes it; `stacks` asks for stacks of its threads too.
    ///
    /// # Errors
    /// When the member is not there or does not answer.
    pub async fn running_info(
        &self,
        group: &str,
        client_id: &str,
        stacks: bool,
    ) -> Result<serde_json::Value, Error> {
        let mut last = Error::NoBroker { name: group.to_owned() };
        for address in self.brokers_of_group(group).await? {
            let fields = Fields::new()
                .text("consumerGroup", group)
                .text("clientId", client_id)
                .flag("jstackEnable", stacks);
            match self.get(&address, request::GET_CONSUMER_RUNNING_INFO, fields).await {
                Ok(info) => return Ok(info),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Store time of the oldest message of a queue, Unix milliseconds; -1 when there is none.
    ///
    /// # Errors
    /// When the broker does not answer or refuses.
    pub async fn earliest_store_time(&self, queue: &MessageQueue) -> Result<i64, Error> {
        let address = self.shared.master_of(queue).await?;
        let fields = Fields::new().text("topic", queue.topic.as_str()).number("queueId", queue.queue_id);
        let answer = self.shared.ask(&address, request::GET_EARLIEST_MSG_STORETIME, &fields, &[]).await?;
        number(&address, &answer, "timestamp")
    }

    /// Name of the broker at an address, as far as routes tell it.
    fn name_of(&self, address: &str) -> String {
        self.shared.routes.name_of(address).unwrap_or_default()
    }
}

/// Group of tools, which every broker knows.
const TOOLS: &str = "TOOLS_CONSUMER";
