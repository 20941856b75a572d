//! The story of a message (GET_MESSAGE_STORY, a request of ours): where it is stored and since when, how its
//! transaction went, what it waited for, who has read it, has it in hand, failed it or gave it up.
//!
//! All of it comes from the log, by way of the index of unique keys, and from the state of this broker. The work is
//! bounded by [`TOPICS_MAX`], [`GROUPS_MAX`] and [`RECORDS_MAX`], and a story that came to one of them says so. It may
//! have to read anywhere in the log, so the threads that wait for the disk tell it.

mod decision;
mod readers;

use std::collections::BTreeSet;

use store::KeyKind;
use wire::body::{MessageStory, StoryRecord, StoryRole};
use wire::code::response;
use wire::ids::OffsetId;
use wire::loose_json;
use wire::names;
use wire::pop::normal_topic;
use wire::properties as props;
use wire::record::Record;
use wire::sys_flag;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};

/// Topics that are searched when the request names none.
const TOPICS_MAX: usize = 4096;
/// Groups that are told of.
const GROUPS_MAX: usize = 512;
/// Records that are told of.
const RECORDS_MAX: usize = 256;
/// Records of one topic: a send that is tried again is stored more than once.
const SAME_KEY_MAX: usize = 32;

/// Where messages are that have not come to their topic yet, or never will.
const WAITING_PLACES: [&str; 4] =
    [names::HALF_TOPIC, names::SCHEDULE_TOPIC, names::TIMER_TOPIC, names::TRANS_CHECK_MAX_TIME_TOPIC];

/// A record of the message, with what the story needs of it beyond what is told.
struct Found {
    told: StoryRecord,
    unique_key: Option<String>,
    /// Topic that it was sent to.
    own_topic: Option<String>,
    producer_group: Option<String>,
    /// Half message that it is the committed copy of, as a physical offset.
    committed_from: Option<i64>,
}

/// What was found so far, and whether something was left out.
#[derive(Default)]
struct Search {
    key: String,
    found: Vec<Found>,
    is_cut: bool,
}

impl Broker {
    pub(super) fn message_story(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let id = exchange.text("msgId")?.to_owned();
        let topic = exchange.request.field("topic").filter(|topic| !topic.is_empty()).map(str::to_owned);
        self.answer_from_disk(exchange, move |broker, reply| {
            let story = broker.tell_story(&id, topic.as_deref())?;
            reply.answer(response::SUCCESS, None, |writer| loose_json::body_of(writer, &story))
        })
    }

    fn tell_story(&self, id: &str, topic: Option<&str>) -> Result<MessageStory, Refusal> {
        let mut search = self.begin_search(id)?;
        let mut topics: BTreeSet<String> = topic.into_iter().map(str::to_owned).collect();
        for place in WAITING_PLACES {
            self.search_topic(&mut search, place, None)?;
        }
        topics.extend(search.own_topics());
        if topics.is_empty() {
            topics = self.topics_to_search(&mut search.is_cut);
        }
        for topic in &topics {
            self.search_topic(&mut search, topic, None)?;
        }
        if search.found.is_empty() {
            let remark = format!(
                "broker {} knows no message {id}: it is another's, or was deleted by age, or the id is none",
                self.settings.load().broker_name
            );
            return Err(Refusal::new(response::QUERY_NOT_FOUND, remark));
        }
        let own_topics: BTreeSet<String> = search.own_topics().collect();
        let groups = self.groups_reading(&own_topics, &mut search.is_cut);
        for group in &groups {
            self.search_failures(&mut search, group, &own_topics)?;
        }
        search.found.sort_by_key(|found| found.told.physical_offset);
        self.note_who_waits(&mut search.found);
        Ok(MessageStory {
            broker_name: self.settings.load().broker_name.clone(),
            complete: !search.is_cut,
            groups: groups.iter().map(|group| self.tell_group(group, &search.found)).collect(),
            transaction: self.tell_transaction(&search.found),
            told_timestamp: self.now_ms(),
            unique_key: search.key,
            records: search.found.into_iter().map(|found| found.told).collect(),
        })
    }

    /// Begins with the record that an offset id names, if the id is one of this broker's; else with a unique key.
    fn begin_search(&self, id: &str) -> Result<Search, Refusal> {
        let offset = OffsetId::parse(id).filter(|id| id.store_host == self.address).map(|id| id.offset);
        let bytes = match offset {
            Some(offset) => self.store.shown_record_at(offset)?.filter(|bytes| !self.has_expired(bytes)),
            None => None,
        };
        let Some(found) = bytes.and_then(|bytes| self.found_in(&bytes, None)) else {
            return Ok(Search { key: id.to_owned(), ..Search::default() });
        };
        // One that never had a key stands for itself alone.
        let key = found.unique_key.clone().unwrap_or_default();
        Ok(Search { key, found: vec![found], is_cut: false })
    }

    fn topics_to_search(&self, is_cut: &mut bool) -> BTreeSet<String> {
        let all = self.topics.all();
        let is_usual = |name: &str| {
            !name.starts_with(names::RETRY_PREFIX)
                && !name.starts_with(names::DLQ_PREFIX)
                && !self.topics.is_system(name)
        };
        let mut usual: BTreeSet<String> = all
            .iter()
            .map(|topic| topic.config.topic_name.as_str())
            .filter(|name| is_usual(name))
            .map(str::to_owned)
            .collect();
        while usual.len() > TOPICS_MAX {
            *is_cut = true;
            usual.pop_last();
        }
        usual
    }

    /// Adds the records of a topic, which are those of one group if it is a topic of retries or dead letters.
    fn search_topic(&self, search: &mut Search, topic: &str, group: Option<&str>) -> Outcome {
        if search.key.is_empty() || self.topics.get(topic).is_none() {
            return Ok(());
        }
        let room = RECORDS_MAX.saturating_sub(search.found.len()).min(SAME_KEY_MAX);
        if room == 0 {
            search.is_cut = true;
            return Ok(());
        }
        let result = self.store.query(topic, &search.key, room, 0, i64::MAX, KeyKind::Unique)?;
        search.is_cut |= result.records.len() == room;
        for found in result.records.iter().filter_map(|bytes| self.found_in(bytes, group)) {
            search.add(found);
        }
        Ok(())
    }

    /// Adds what a group failed in: its retries, by either name that pop has for them too, and its dead letters.
    fn search_failures(&self, search: &mut Search, group: &str, own_topics: &BTreeSet<String>) -> Outcome {
        self.search_topic(search, &names::retry_topic(group), Some(group))?;
        self.search_topic(search, &names::dlq_topic(group), Some(group))?;
        for topic in own_topics {
            for origin in [wire::pop::Origin::RetryV1, wire::pop::Origin::RetryV2] {
                self.search_topic(search, &origin.topic(group, topic), Some(group))?;
            }
        }
        Ok(())
    }

    fn found_in(&self, bytes: &[u8], group: Option<&str>) -> Option<Found> {
        let record = Record::parse(bytes).ok()?;
        let role = role_of(&record);
        let real_topic = record.property(props::REAL_TOPIC).filter(|_| role.is_elsewhere());
        let parked_for = real_topic.and_then(|topic| topic.strip_prefix(names::RETRY_PREFIX));
        let origin_group = record.property(props::ORIGIN_GROUP).filter(|_| role == StoryRole::Retry);
        let group = group.or(parked_for).or(origin_group);
        let offset = OffsetId { store_host: record.store_host, offset: record.physical_offset as u64 };
        let is_committed = record.sys_flag & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_COMMIT;
        Some(Found {
            unique_key: record.property(props::UNIQ_KEY).map(str::to_owned),
            own_topic: own_topic(&record, role, group).map(str::to_owned),
            producer_group: record.property(props::PGROUP).map(str::to_owned),
            committed_from: is_committed.then_some(record.prepared_transaction_offset),
            told: StoryRecord {
                born_timestamp: record.born_timestamp,
                due_timestamp: self.due_of(&record, role),
                group: group.map(str::to_owned),
                offset_id: offset.to_string(),
                physical_offset: record.physical_offset,
                queue_id: record.queue_id as i32,
                queue_offset: record.queue_offset,
                real_topic: real_topic.map(str::to_owned),
                reconsume_times: record.reconsume_times,
                role,
                size: bytes.len() as u32,
                store_timestamp: record.store_timestamp,
                topic: record.topic.to_owned(),
                waits: false,
            },
        })
    }

    /// When a record that waits is due.
    fn due_of(&self, record: &Record<'_>, role: StoryRole) -> Option<i64> {
        match role {
            StoryRole::Delayed => self.schedule.due_ms(record.queue_id, record.store_timestamp),
            StoryRole::Timed => self.store.timer_due(record),
            _ => None,
        }
    }

    /// Tells what still waits from what has gone on. Records are in the log's order.
    fn note_who_waits(&self, found: &mut [Found]) {
        for index in 0..found.len() {
            let told = &found[index].told;
            let offset = u64::try_from(told.queue_offset).unwrap_or(0);
            let has_gone_on = |found: &Found| {
                matches!(found.told.role, StoryRole::Message | StoryRole::Timed | StoryRole::Recall)
            };
            let waits = match told.role {
                StoryRole::Delayed => self.schedule.is_parked(told.queue_id, told.queue_offset),
                StoryRole::Timed => !found[index + 1..].iter().any(has_gone_on),
                StoryRole::Half => self.transactions.open_checks(&self.store, offset).is_some(),
                _ => false,
            };
            found[index].told.waits = waits;
        }
    }
}

impl Search {
    fn add(&mut self, found: Found) {
        let is_same = |known: &Found| known.told.physical_offset == found.told.physical_offset;
        match self.found.iter_mut().find(|known| is_same(known)) {
            // It was named by its offset id, and now it is known whose it is.
            Some(known) => known.told.group = found.told.group.or(known.told.group.take()),
            None => self.found.push(found),
        }
    }

    /// Topics that the records were sent to.
    fn own_topics(&self) -> impl Iterator<Item = String> + '_ {
        self.found.iter().filter_map(|found| found.own_topic.clone())
    }
}

fn role_of(record: &Record<'_>) -> StoryRole {
    match record.topic {
        names::HALF_TOPIC => StoryRole::Half,
        names::TRANS_CHECK_MAX_TIME_TOPIC => StoryRole::Discarded,
        names::SCHEDULE_TOPIC => StoryRole::Delayed,
        names::TIMER_TOPIC if record.property(props::TIMER_DEL_UNIQKEY).is_some() => StoryRole::Recall,
        names::TIMER_TOPIC => StoryRole::Timed,
        topic if topic.starts_with(names::RETRY_PREFIX) => StoryRole::Retry,
        topic if topic.starts_with(names::DLQ_PREFIX) => StoryRole::DeadLetter,
        _ => StoryRole::Message,
    }
}

/// The topic that a message was sent to, whatever became of it since.
fn own_topic<'a>(record: &Record<'a>, role: StoryRole, group: Option<&str>) -> Option<&'a str> {
    let first = record.property(props::RETRY_TOPIC);
    match role {
        StoryRole::Message => Some(record.topic),
        StoryRole::Retry => first.or(Some(normal_topic(record.topic, group?))),
        StoryRole::DeadLetter => first,
        _ => match record.property(props::REAL_TOPIC) {
            Some(topic) if topic.starts_with(names::RETRY_PREFIX) => first,
            topic => topic,
        },
    }
}
