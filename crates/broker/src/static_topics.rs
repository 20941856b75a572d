//! Static topics: their queues keep numbers and offsets when they move to another broker (broker.md §19.1).
//!
//! Clients know logical queues. Each is led by one broker, which stores what is sent to it in a physical queue of its
//! own and translates every number and offset that comes or goes ([`logical_queue`](crate::logical_queue),
//! [`pulled`]). What earlier leaders hold they still hold: the leader asks them ([`forward`]) with `lo=false`, which
//! says that a request speaks of physical queues already. Invariant: nothing here waits for another broker on a thread
//! that serves connections.
//!
//! Other topics pay nothing: whether a topic is static stands in the [`Topic`](crate::topics::Topic) that every send
//! and pull has in hand, and requests that look for no topic ask one flag.

mod expiry;
mod forward;
mod offsets;
mod pull;
mod pulled;
mod rules;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use wire::body::{DataVersion, TopicQueueMappingDetail, TopicQueueMappingInfo, TopicQueueMappingTable};

use crate::Broker;
use crate::exchange::{Exchange, Refusal};
use crate::logical_queue::{LogicalQueue, Mapping};
use crate::state_file::StateFile;

pub(crate) use self::forward::Neighbours;
pub(crate) use self::pull::{LogicalRead, PullPlace};
pub(crate) use self::pulled::Told;

/// The static topics of this broker, kept in `config/topicQueueMapping.json`. Each is also in its topic's
/// [`Topic`](crate::topics::Topic), from which requests take it.
pub(crate) struct StaticTopics {
    table: Mutex<TopicQueueMappingTable>,
    any: AtomicBool,
    /// Held by who changes or removes a mapping here and its topic in the table of topics, so that both have the same.
    pub changing: Mutex<()>,
    file: StateFile,
}

impl StaticTopics {
    /// Reads the file.
    pub fn load(file: StateFile) -> Result<StaticTopics, io::Error> {
        let table: TopicQueueMappingTable = file.load()?;
        let any = AtomicBool::new(!table.topic_queue_mapping_info_map.is_empty());
        Ok(StaticTopics { table: Mutex::new(table), any, changing: Mutex::new(()), file })
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// All of them by name, with the version of the table.
    pub fn all(&self) -> (DataVersion, BTreeMap<String, TopicQueueMappingDetail>) {
        let table = self.table.lock();
        (table.data_version, table.topic_queue_mapping_info_map.clone())
    }

    /// Takes what an administrator says of a topic, checked against what was known; it is in the file when this
    /// returns. `force` skips the comparison.
    pub fn update(
        &self,
        detail: TopicQueueMappingDetail,
        force: bool,
        now_ms: i64,
    ) -> Result<Arc<Mapping>, Refusal> {
        let mut table = self.table.lock();
        let known = table.topic_queue_mapping_info_map.get(&detail.topic);
        let detail = rules::merge(known, detail, force).map_err(Refusal::system)?;
        let mapping = Arc::new(Mapping::new(detail.clone()));
        self.save(&mut table, now_ms, |topics| drop(topics.insert(detail.topic.clone(), detail)))?;
        Ok(mapping)
    }

    /// Takes generations out of a topic that nobody needs any more; `None` if the topic is not what it was when
    /// `without` was made.
    pub fn thin_out(
        &self,
        was: &TopicQueueMappingDetail,
        without: TopicQueueMappingDetail,
        now_ms: i64,
    ) -> Result<Option<Arc<Mapping>>, io::Error> {
        let mut table = self.table.lock();
        if table.topic_queue_mapping_info_map.get(&was.topic) != Some(was) {
            return Ok(None);
        }
        let mapping = Arc::new(Mapping::new(without.clone()));
        self.save(&mut table, now_ms, |topics| drop(topics.insert(without.topic.clone(), without)))?;
        Ok(Some(mapping))
    }

    /// Forgets a topic.
    pub fn remove(&self, topic: &str, now_ms: i64) -> Result<(), io::Error> {
        let mut table = self.table.lock();
        if !table.topic_queue_mapping_info_map.contains_key(topic) {
            return Ok(());
        }
        self.save(&mut table, now_ms, |topics| drop(topics.remove(topic)))
    }

    /// First the file, then memory, so that nobody sees what a restart would forget.
    fn save(
        &self,
        table: &mut TopicQueueMappingTable,
        now_ms: i64,
        change: impl FnOnce(&mut BTreeMap<String, TopicQueueMappingDetail>),
    ) -> Result<(), io::Error> {
        let mut changed = table.clone();
        changed.data_version.next(now_ms);
        change(&mut changed.topic_queue_mapping_info_map);
        self.file.save(&changed)?;
        self.any.store(!changed.topic_queue_mapping_info_map.is_empty(), Ordering::Release);
        *table = changed;
        Ok(())
    }
}

impl Broker {
    /// Gives the topics their mappings, at start. One whose topic is gone was left behind by a crash between two
    /// files; a topic of that name that comes later is another one.
    pub(crate) fn attach_static_topics(&self) -> Result<(), io::Error> {
        for (name, detail) in self.static_topics.all().1 {
            if detail.bname != self.settings.load().broker_name {
                tracing::warn!(
                    topic = name,
                    bname = detail.bname,
                    "the logical queues of this topic were made for a broker of another name; none is led here"
                );
            }
            if !self.topics.set_mapping(&name, Arc::new(Mapping::new(detail))) {
                self.static_topics.remove(&name, self.now_ms())?;
            }
        }
        Ok(())
    }

    /// The logical queue that a request speaks of, if it speaks of one; this broker leads it, or the request is
    /// refused.
    pub(crate) fn logical_queue(
        &self,
        exchange: &Exchange<'_, '_>,
    ) -> Result<Option<Arc<LogicalQueue>>, Refusal> {
        if !self.static_topics.any() || is_physical(exchange) {
            return Ok(None);
        }
        let topic = self.topics.get(exchange.text("topic")?);
        let Some(mapping) = topic.as_ref().and_then(|topic| topic.mapping.as_ref()) else { return Ok(None) };
        mapping.led(exchange.number("queueId")?).map(Some)
    }
}

/// Whether a request was translated by another broker: it speaks of physical queues although its topic is static.
pub(crate) fn is_physical(exchange: &Exchange<'_, '_>) -> bool {
    exchange.request.header.fields.flag("lo") == Some(false)
}

/// What the nameservers are told of static topics among some topics.
pub(crate) fn infos<'a>(
    topics: impl Iterator<Item = &'a Arc<crate::topics::Topic>>,
) -> BTreeMap<String, TopicQueueMappingInfo> {
    let mapped = topics.filter_map(|topic| Some((topic, topic.mapping.as_ref()?)));
    mapped.map(|(topic, mapping)| (topic.config.topic_name.clone(), mapping.detail.info())).collect()
}

#[cfg(test)]
mod tests;
