//! Sends (10, 310, 320): from a request to a record in the log, and back to an answer (broker.md §5).
//!
//! All sends of one read are checked and encoded into one [`Outgoing`] batch, appended together and answered
//! together; with synchronous flush the answers follow when the disk has the whole batch.

mod answer;
mod header;
mod inner_batch;
mod light;
pub(crate) mod outgoing;
mod seen;
pub(crate) mod share;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use remoting::{Channel, Held, ReplyTo};
use settings::Broker as Settings;
use store::{Appended, Flushed, FoundBy, Queue, QueueKind};
use wire::body::TopicConfig;
use wire::code::{request as code, response};
use wire::header::FrameWriter;
use wire::names;
use wire::properties as props;
use wire::recall;
use wire::record::{self, Message};
use wire::sys_flag;

use self::answer::{Answer, AnswerWriter};
pub(crate) use self::header::SendHeader;
use self::outgoing::{Outgoing, with_outgoing};
use self::seen::Seen;
use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal, too_many_wait};
use crate::groups::max_reconsume;
use crate::repeats::Repeat;
use crate::schedule::push_parking;
use crate::timer;
use crate::topics::{self, Topic, Wanted};

/// Bytes of records after which a batch is appended before more is added.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Properties that the broker itself sets, and that a client's are dropped for.
pub(crate) const BROKER_PROPERTIES: [&str; 6] = [
    props::POP_CK,
    props::MSG_REGION,
    props::TRACE_ON,
    props::CLUSTER,
    props::CRC32,
    props::INNER_MULTI_QUEUE_OFFSET,
];

/// The properties that every message gets from this broker (broker.md §5.1, §5.3).
pub(crate) fn stamp(settings: &Settings) -> Vec<u8> {
    let mut stamp = Vec::new();
    props::push(&mut stamp, props::MSG_REGION, &settings.region_id);
    props::push(&mut stamp, props::TRACE_ON, if settings.trace_on { "true" } else { "false" });
    props::push(&mut stamp, props::CLUSTER, &settings.broker_cluster_name);
    stamp
}

/// Where a message goes and as what.
struct Target {
    topic: Arc<Topic>,
    queue_id: u32,
    /// Redirected to the dead letters: no delay any more.
    dead: bool,
}

/// Where a message waits before it goes to its queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Nowhere,
    /// Among the half messages, until its transaction ends; a delay counts from there.
    Half,
    /// At a delay level.
    Level(i32),
    /// In a slot of the timer wheel.
    Timer(i64),
}

/// What was sent, as its request tells it.
struct Sent<'s> {
    exchange: &'s Exchange<'s, 's>,
    header: &'s SendHeader<'s>,
    /// What the properties in the header say. Those of a batch request speak of all its messages.
    seen: Seen<'s>,
}

impl Sent<'_> {
    /// Whether its sender wants to know that it is on the disk.
    fn waits_for_disk(&self) -> bool {
        !self.seen.no_wait
    }
}

impl Broker {
    /// Takes a send into the batch of this turn; [`Broker::flush_sends`] stores and answers it. Gives the topic that is
    /// to be created first, and has done nothing then, unless it is sent `again` after that.
    pub(crate) fn send(&self, exchange: &mut Exchange<'_, '_>, again: bool) -> Option<TopicConfig> {
        with_outgoing(|outgoing| {
            let mark = outgoing.batch.len();
            let mut taken = self.prepare(exchange, outgoing);
            if again {
                taken = self.created_first(taken, || self.prepare(exchange, outgoing));
            }
            if let Err(mut refusal) = taken {
                outgoing.batch.truncate(mark);
                if let Some(topic) = refusal.before.take().filter(|_| !again) {
                    return Some(*topic);
                }
                self.refuse_send(exchange.request.reply_to(), &refusal, exchange.out);
            }
            self.append_if_large(exchange.channel, outgoing, exchange.out);
            None
        })
    }

    /// Tries once more with the topic that was missing, on a thread that waits until it is there.
    fn created_first<T>(
        &self,
        tried: Result<T, Refusal>,
        retry: impl FnOnce() -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        match tried {
            Err(Refusal { before: Some(topic), .. }) => {
                self.create_wanted(*topic)?;
                retry()
            }
            tried => tried,
        }
    }

    /// Creates a topic that is sent to, unless there is one by now. What a deletion that was killed has left of another
    /// of its name goes if it is of another kind, which the next start would refuse to open.
    pub(crate) fn create_wanted(&self, config: TopicConfig) -> Outcome {
        let _claim = self.topics.claims.take([config.topic_name.clone()]);
        if self.topics.get(&config.topic_name).is_none() {
            self.store.set_queue_kind(&config.topic_name, QueueKind::of_attributes(&config.attributes))?;
            self.topics.create(config, self.now_ms())?;
        }
        Ok(())
    }

    /// Appends a batch that is large enough.
    pub(crate) fn append_if_large(&self, channel: &Arc<Channel>, outgoing: &mut Outgoing, out: &mut Vec<u8>) {
        if outgoing.batch.bytes_len() > BATCH_BYTES_MAX {
            self.append_outgoing(channel, outgoing, out);
        }
    }

    /// Stores and answers what [`Broker::send`] gathered.
    pub(crate) fn flush_sends(&self, channel: &Arc<Channel>, out: &mut Vec<u8>) {
        with_outgoing(|outgoing| {
            if !outgoing.answers.is_empty() || !outgoing.batch.is_empty() || !outgoing.share.is_empty() {
                self.append_outgoing(channel, outgoing, out);
            } else if outgoing.repeats.holds_windows() {
                // Every send of the turn was refused, one of them after its look for a repeat.
                outgoing.repeats.finish(0, None);
            }
            outgoing.topic = None;
        });
    }

    /// Forgets what a turn gathered that did not come to its end.
    pub(crate) fn forget_sends(&self) {
        with_outgoing(|outgoing| {
            self.transactions_not_stored(&mut outgoing.share);
            *outgoing = Outgoing::default();
        });
    }

    fn prepare(&self, exchange: &Exchange<'_, '_>, outgoing: &mut Outgoing) -> Outcome {
        let request = exchange.request;
        let mut header = SendHeader::of(request)?;
        let settings = self.settings.load();
        let topic = self.check_send(&mut header, request.body, &settings, &mut outgoing.topic)?;
        let seen = Seen::of(header.properties.as_bytes());
        let sent = Sent { exchange, header: &header, seen };
        if header.batch {
            self.prepare_batch(&sent, &topic, outgoing)?;
            outgoing.topic = Some(topic);
            return Ok(());
        }
        let target = self.target(&sent, topic)?;
        let wait = self.wait(&sent, &target, &settings)?;
        self.prepare_one(&sent, &target, wait, outgoing)?;
        // Dead letters are in another topic than the next send, which has to be looked up.
        outgoing.topic = (!target.dead).then_some(target.topic);
        Ok(())
    }

    /// Takes a message whose target is known into the batch, unless it is there or in the log already.
    fn prepare_one(&self, sent: &Sent<'_>, target: &Target, wait: Wait, outgoing: &mut Outgoing) -> Outcome {
        let Sent { exchange, header, seen } = sent;
        let key = self.fill_properties(sent, target, wait, outgoing);
        let recall = self.recall_handle(sent, target, wait, &key, outgoing);
        let waiting_in = self.waiting_place(target, wait, &key, outgoing)?;
        let unique = seen.unique_key.filter(|_| waiting_in.is_none());
        let (topic, queue_id_stored) = waiting_in
            .as_ref()
            .map_or((&target.topic, target.queue_id), |(topic, queue_id)| (topic, *queue_id));
        if let Some(repeat) =
            outgoing.repeats.find(&self.repeats, topic, unique.into_iter(), || self.now_ms())
        {
            return self.answer_repeat(sent, topic, repeat, 1, key, outgoing);
        }
        let queue = self.queue_to_write(topic, queue_id_stored)?;
        let body = exchange.request.body;
        let message = self.message(sent, topic, queue_id_stored, body, &outgoing.properties);
        let unique_key = seen.unique_key.or_else(|| str::from_utf8(outgoing.keys.get(key.clone())?).ok());
        let first = outgoing.batch.push_found(queue, &message, FoundBy { unique_key, ..seen.found_by() })?;
        let held = self.place(exchange.channel, sent.waits_for_disk())?;
        if wait == Wait::Half {
            outgoing.share.add_half(&target.topic);
        }
        if let Some(unique) = unique {
            outgoing.repeats.note(topic, unique, first, target.queue_id);
        }
        outgoing.waits |= sent.waits_for_disk();
        let answer = Answer::new(exchange.request.reply_to(), first, 1, target.queue_id);
        outgoing.answers.push(Answer { key, recall, logical: header.logical.clone(), held, ..answer });
        Ok(())
    }

    /// Answers what was sent before: with the ids of the first, as soon as those are as safe as this sender wants.
    fn answer_repeat(
        &self,
        sent: &Sent<'_>,
        topic: &Topic,
        repeat: Repeat,
        count: usize,
        key: Range<usize>,
        outgoing: &mut Outgoing,
    ) -> Outcome {
        let held = self.place(sent.exchange.channel, sent.waits_for_disk())?;
        let (first, queue_id, stored) = match repeat {
            Repeat::Stored(stored) => (0, stored[0].queue_id, stored),
            Repeat::InBatch { first, queue_id } => (first, queue_id, Vec::new()),
        };
        outgoing.waits |= sent.waits_for_disk();
        let logical = sent.header.logical_of(topic, queue_id);
        let answer = Answer::new(sent.exchange.request.reply_to(), first, count, queue_id);
        outgoing.answers.push(Answer { key, stored, logical, held, ..answer });
        Ok(())
    }

    /// Checks of broker.md §5.2 in their order, and those of §5.5 that need no encoding.
    ///
    /// Takes the topic from `last` if it is that one; who has stored the message puts it back. All threads count who
    /// holds a topic in one place, which costs more than to compare its name.
    fn check_send(
        &self,
        header: &mut SendHeader<'_>,
        body: &[u8],
        settings: &Settings,
        last: &mut Option<Arc<Topic>>,
    ) -> Result<Arc<Topic>, Refusal> {
        if settings.start_accept_send_request_time_stamp > 0
            && self.now_ms() < settings.start_accept_send_request_time_stamp
        {
            let until = settings.start_accept_send_request_time_stamp;
            return Err(Refusal::system(format!(
                "broker unable to service, until {until} (Unix milliseconds)"
            )));
        }
        let topic = match last.take() {
            Some(topic) if topic.config.topic_name == header.topic => topic,
            _ => self.topic_for_send(header, settings)?,
        };
        if let Some(mapping) = &topic.mapping {
            header.go_to_leader(mapping)?;
        }
        if settings.broker_permission & wire::body::PERM_WRITE == 0 && topic.config.order {
            let remark = format!("the broker[{}] sending message is forbidden", self.address);
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        if !topic.is_writable() {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!(
                    "topic \"{}\" does not allow writing (perm {}); set its perm to 6 to open it",
                    header.topic, topic.config.perm
                ),
            ));
        }
        if header.queue_id >= topic.queue_count() as i32 {
            let remark = format!(
                "request queueId[{}] is illegal, topic {} has {} read and {} write queues",
                header.queue_id, header.topic, topic.config.read_queue_nums, topic.config.write_queue_nums
            );
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        check_sizes(header, body, &topic, settings)?;
        Ok(topic)
    }

    /// The same checks for what is no part of a turn's batch.
    pub(crate) fn check_send_alone(
        &self,
        header: &mut SendHeader<'_>,
        body: &[u8],
        settings: &Settings,
    ) -> Result<Arc<Topic>, Refusal> {
        let tried = self.check_send(header, body, settings, &mut None);
        self.created_first(tried, || self.check_send(header, body, settings, &mut None))
    }

    /// Refuses what may not be stored in a topic as it is: of a kind that is not served, or without its key.
    pub(crate) fn check_kind(&self, header: &SendHeader<'_>, topic: &Topic) -> Outcome {
        self.check_seen(&Seen::of(header.properties.as_bytes()), header, topic)
    }

    fn check_seen(&self, seen: &Seen<'_>, header: &SendHeader<'_>, topic: &Topic) -> Outcome {
        refuse_unserved(seen, header)?;
        self.check_light_queues(topic, seen.light)?;
        seen.check_key(topic)
    }

    /// The topic of a send; that of a first one is to be created before.
    fn topic_for_send(&self, header: &SendHeader<'_>, settings: &Settings) -> Result<Arc<Topic>, Refusal> {
        check_sent_topic(header.topic)?;
        if names::is_send_forbidden(header.topic) {
            let remark = format!("Sending message to topic[{}] is forbidden.", header.topic);
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        if let Some(topic) = self.topics.get(header.topic) {
            return Ok(topic);
        }
        let wanted = Wanted {
            topic: header.topic,
            template: header.default_topic,
            queues: header.default_queues,
            unit: header.unit,
        };
        Err(self.topics.planned(&wanted, settings).map_or_else(|| {
            let remark = format!(
                "topic[{}] not exist, apply first please! It was not created either: autoCreateTopicEnable is {} and the \
                 template {} must exist with the inherit permission",
                header.topic, settings.auto_create_topic_enable, header.default_topic
            );
            Refusal::new(response::TOPIC_NOT_EXIST, remark)
        }, Refusal::until_created))
    }

    /// Chooses topic and queue (broker.md §5.3), and refuses what may not be stored there as it is.
    fn target(&self, sent: &Sent<'_>, topic: Arc<Topic>) -> Result<Target, Refusal> {
        let Sent { exchange, header, seen } = sent;
        let dead_letters = self.dead_letters(header, exchange.request.header.version)?;
        let dead = dead_letters.is_some();
        let topic = dead_letters.unwrap_or(topic);
        self.check_seen(seen, header, &topic)?;
        // In a static topic another physical queue would be another logical one, or one that is read no more.
        let urgent = seen.urgent_queue(&topic).filter(|_| header.logical.is_none());
        let queue_id = match (urgent, u32::try_from(header.queue_id)) {
            (Some(queue_id), _) => queue_id,
            _ if dead => 0,
            (None, Ok(queue_id)) => queue_id,
            (None, Err(_)) => topic.any_write_queue(),
        };
        Ok(Target { topic, queue_id, dead })
    }

    /// The dead letter topic, if that is where a retry goes: it has failed too often, or its group has locked a queue.
    fn dead_letters(&self, header: &SendHeader<'_>, version: i32) -> Result<Option<Arc<Topic>>, Refusal> {
        let Some(group_name) = header.topic.strip_prefix(names::RETRY_PREFIX) else { return Ok(None) };
        let group_name = group_name.split('+').next().unwrap_or(group_name);
        let group = self.groups.get(group_name).ok_or_else(|| {
            let remark = format!("subscription group not exist, {group_name}");
            Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        })?;
        let max = max_reconsume(header.max_reconsume_times, version, &group);
        if header.reconsume_times <= max && !self.locks.any(group_name, self.clock.monotonic()) {
            return Ok(None);
        }
        let dead = names::dlq_topic(group_name);
        let missing = || Refusal::until_created(topics::own(&dead, 1, 0));
        self.topics.get(&dead).ok_or_else(missing).map(Some)
    }

    /// A queue that must be there.
    fn queue_to_write<'t>(&self, topic: &'t Topic, queue_id: u32) -> Result<&'t Arc<Queue>, Refusal> {
        let absent = || format!("topic {} has no queue {queue_id}", topic.config.topic_name);
        topic.queue(&self.store, queue_id).ok_or_else(|| Refusal::system(absent()))
    }

    /// The topic and queue that a message of this delay level waits in, if it has to.
    pub(crate) fn parked(&self, delay: i32) -> Option<(Arc<Topic>, u32)> {
        let level = self.schedule.level(delay)?;
        Some((self.topics.get(names::SCHEDULE_TOPIC)?, level as u32 - 1))
    }

    /// Decides where a message waits before it goes to its queue.
    fn wait(&self, sent: &Sent<'_>, target: &Target, settings: &Settings) -> Result<Wait, Refusal> {
        let Sent { header, seen, .. } = sent;
        let properties = header.properties.as_bytes();
        // Clients before 4.6.1 leave TRAN_MSG on the retry of a message that was in a transaction.
        let half = seen.half && !(header.reconsume_times > 0 && seen.delay > 0);
        if half {
            self.check_half_send(properties, settings)?;
        } else if let Some(level) = self.schedule.level(seen.delay).filter(|_| !target.dead) {
            return Ok(Wait::Level(level));
        }
        // A half message is refused at once too if the timer would not take it after its commit.
        let slot = if seen.timer && !target.dead { self.timer_slot(properties, settings)? } else { None };
        Ok(match slot {
            _ if half => Wait::Half,
            Some(out_ms) => Wait::Timer(out_ms),
            None => Wait::Nowhere,
        })
    }

    /// The topic and queue that a message waits in, if it has to. Makes the properties in `outgoing` those of a half
    /// message if it is one; `key` is the place of its unique key there.
    fn waiting_place(
        &self,
        target: &Target,
        wait: Wait,
        key: &Range<usize>,
        outgoing: &mut Outgoing,
    ) -> Result<Option<(Arc<Topic>, u32)>, Refusal> {
        Ok(match wait {
            Wait::Nowhere => None,
            Wait::Half => {
                let unique_key = std::str::from_utf8(&outgoing.keys[key.clone()]).unwrap_or_default();
                let properties = &mut outgoing.properties;
                Some((self.make_half(&target.topic, target.queue_id, unique_key, properties)?, 0))
            }
            Wait::Level(level) => self.parked(level),
            Wait::Timer(_) => self.topics.get(names::TIMER_TOPIC).map(|timer| (timer, 0)),
        })
    }

    /// Writes the handle that takes a timer message back into `outgoing.keys` (broker.md §8.5).
    fn recall_handle(
        &self,
        sent: &Sent<'_>,
        target: &Target,
        wait: Wait,
        key: &Range<usize>,
        outgoing: &mut Outgoing,
    ) -> Range<usize> {
        let start = outgoing.keys.len();
        let topic = &target.topic.config.topic_name;
        if let Wait::Timer(out_ms) = wait
            && sent.exchange.request.header.code != code::SEND_BATCH_MESSAGE
            && !topic.starts_with(names::RETRY_PREFIX)
        {
            let unique_key = String::from_utf8_lossy(&outgoing.keys[key.clone()]).into_owned();
            let broker_name = &self.settings.load().broker_name;
            recall::write(topic, broker_name, out_ms, &unique_key, &mut outgoing.keys);
        }
        start..outgoing.keys.len()
    }

    /// Writes the properties to store into `outgoing.properties`; returns where the unique key stands in `keys`.
    fn fill_properties(
        &self,
        sent: &Sent<'_>,
        target: &Target,
        wait: Wait,
        outgoing: &mut Outgoing,
    ) -> Range<usize> {
        let Sent { header, seen, .. } = sent;
        let mut text = header.properties.as_bytes();
        let mut without = Vec::new();
        if seen.drops_priority() {
            props::copy_without(text, &[props::PRIORITY], &mut without);
            text = &without;
        }
        let out = &mut outgoing.properties;
        out.clear();
        if target.dead {
            // The dead letter says that it waits for nothing (broker.md §5.3).
            let removed = [&BROKER_PROPERTIES[..], &[props::DELAY]].concat();
            props::copy_without(text, &removed, out);
            props::push(out, props::DELAY, "-1");
        } else if let Wait::Level(level) = wait {
            let removed =
                [&BROKER_PROPERTIES[..], &[props::DELAY, props::REAL_TOPIC, props::REAL_QID], &props::TIMER]
                    .concat();
            props::copy_without(text, &removed, out);
            push_parking(out, level, &target.topic.config.topic_name, target.queue_id);
        } else if let Wait::Timer(out_ms) = wait {
            let removed = [&BROKER_PROPERTIES[..], &[props::REAL_TOPIC, props::REAL_QID]].concat();
            props::copy_without(text, &removed, out);
            timer::push_timed(out, out_ms, &target.topic.config.topic_name, target.queue_id);
        } else if seen.rewrite {
            props::copy_without(text, &BROKER_PROPERTIES, out);
        } else {
            out.extend_from_slice(text);
            if text.last().is_some_and(|last| *last != props::END) {
                out.push(props::END);
            }
        }
        out.extend_from_slice(&self.stamp.load());
        match seen.unique_key {
            Some(key) => outgoing.keep_key(key),
            None => self.give_key(outgoing),
        }
    }

    /// Gives a unique key to the message at hand, which came without one.
    fn give_key(&self, outgoing: &mut Outgoing) -> Range<usize> {
        let start = outgoing.keys.len();
        self.unique_keys.write(self.now_ms(), &mut outgoing.keys);
        let properties = &mut outgoing.properties;
        properties.extend_from_slice(props::UNIQ_KEY.as_bytes());
        properties.push(props::NAME_VALUE);
        properties.extend_from_slice(&outgoing.keys[start..]);
        properties.push(props::END);
        start..outgoing.keys.len()
    }

    /// What is stored of a send: the header tells of all that its body holds.
    fn message<'a>(
        &self,
        sent: &Sent<'_>,
        topic: &'a Topic,
        queue_id: u32,
        body: &'a [u8],
        properties: &'a [u8],
    ) -> Message<'a> {
        let Sent { exchange, header, .. } = sent;
        let multi = if topic.config.topic_filter_type == "MULTI_TAG" { sys_flag::MULTI_TAGS } else { 0 };
        Message {
            topic: &topic.config.topic_name,
            queue_id,
            flag: header.flag,
            sys_flag: header.sys_flag & !sys_flag::TRANSACTION_MASK | multi,
            born_timestamp: header.born_timestamp,
            born_host: exchange.channel.peer(),
            store_host: self.address,
            reconsume_times: header.reconsume_times,
            prepared_transaction_offset: 0,
            body,
            properties,
        }
    }

    /// A batch request: each entry becomes a message of its own, all in one segment (broker.md §5.7).
    fn prepare_batch(&self, sent: &Sent<'_>, topic: &Arc<Topic>, outgoing: &mut Outgoing) -> Outcome {
        let Sent { exchange, header, seen } = sent;
        check_batch(seen, header)?;
        let queue_id = u32::try_from(header.queue_id).unwrap_or_else(|_| topic.any_write_queue());
        let queue = Arc::clone(self.queue_to_write(topic, queue_id)?);
        if topic.kind == QueueKind::Batch
            && let Some(unique_key) = seen.unique_key
        {
            return self.prepare_inner_batch(sent, topic, &queue, unique_key, outgoing);
        }
        let unique = unique_keys_of(topic, exchange.request.body);
        if let Some(repeat) =
            outgoing.repeats.find(&self.repeats, topic, unique.iter().copied(), || self.now_ms())
        {
            let key = outgoing.keep_key(seen.unique_key.unwrap_or_default());
            return self.answer_repeat(sent, topic, repeat, unique.len(), key, outgoing);
        }
        let first = outgoing.batch.len();
        outgoing.batch.begin_group();
        let pushed = self.push_entries(sent, topic, &queue, outgoing);
        outgoing.batch.end_group();
        let count = pushed?;
        if count == 0 {
            return Err(illegal("the batch holds no message"));
        }
        let key = outgoing.keep_key(seen.unique_key.unwrap_or_default());
        let held = self.place(exchange.channel, sent.waits_for_disk())?;
        for (number, unique) in unique.into_iter().enumerate() {
            outgoing.repeats.note(topic, unique, first + number, queue_id);
        }
        outgoing.waits |= sent.waits_for_disk();
        let answer = Answer::new(exchange.request.reply_to(), first, count, queue_id);
        outgoing.answers.push(Answer { key, logical: header.logical.clone(), held, ..answer });
        Ok(())
    }

    fn push_entries(
        &self,
        sent: &Sent<'_>,
        topic: &Topic,
        queue: &Arc<Queue>,
        outgoing: &mut Outgoing,
    ) -> Result<usize, Refusal> {
        let mut count = 0;
        for entry in wire::batch::entries(sent.exchange.request.body) {
            let entry = entry.map_err(|error| illegal(error.to_string()))?;
            let seen = Seen::of(entry.properties);
            self.check_light_queues(topic, seen.light)?;
            seen.check_key(topic)?;
            let properties = &mut outgoing.properties;
            properties.clear();
            props::copy_without(entry.properties, &BROKER_PROPERTIES, properties);
            properties.extend_from_slice(&self.stamp.load());
            let message = self.message(sent, topic, queue.id(), entry.body, properties);
            let message = Message { flag: entry.flag, ..message };
            outgoing.batch.push_found(queue, &message, seen.found_by())?;
            count += 1;
        }
        Ok(count)
    }

    /// With synchronous flush what `waits` for the disk is answered later and takes a place for that.
    pub(crate) fn place(&self, channel: &Arc<Channel>, waits: bool) -> Result<Option<Held>, Refusal> {
        if !waits || !self.store.is_sync() {
            return Ok(None);
        }
        channel.hold().map(Some).ok_or_else(|| too_many_wait("the disk"))
    }

    fn append_outgoing(&self, channel: &Arc<Channel>, outgoing: &mut Outgoing, out: &mut Vec<u8>) {
        if outgoing.share.has_ends() {
            self.push_op_records(&mut outgoing.batch, &mut outgoing.share);
        }
        self.readers.note_send(outgoing.batch.bytes_len() as u64);
        let appended = self.store.append(&mut outgoing.batch);
        if appended.is_ok() {
            self.stats.stored(&outgoing.batch, &self.topics);
        }
        if outgoing.repeats.holds_windows() {
            let place = |index| outgoing.batch.appended(index);
            let stored = appended.is_ok().then_some(&place as &dyn Fn(usize) -> Appended);
            outgoing.repeats.finish(self.settings.load().dedup_entries_max, stored);
        }
        if !outgoing.share.is_empty() {
            match appended {
                Ok(()) => {
                    self.transactions_stored(&mut outgoing.share, |index| outgoing.batch.appended(index))
                }
                Err(_) => self.transactions_not_stored(&mut outgoing.share),
            }
        }
        match appended {
            Err(error) => {
                let refusal = Refusal::from(&error);
                tracing::warn!(messages = outgoing.batch.len(), "not stored: {error}");
                for answer in outgoing.answers.drain(..) {
                    self.refuse_send(answer.reply_to, &refusal, out);
                }
            }
            Ok(()) if outgoing.waits && self.store.is_sync() => {
                self.answer_sends_when_flushed(channel, outgoing)
            }
            Ok(()) => {
                let writer = AnswerWriter::of(self);
                for answer in outgoing.answers.drain(..) {
                    let batch = &outgoing.batch;
                    let ids = answer.places(|index| batch.appended(index));
                    writer.write(&answer, ids, &outgoing.keys, response::SUCCESS, out);
                }
            }
        }
        outgoing.batch.clear();
        outgoing.answers.clear();
        outgoing.keys.clear();
        outgoing.waits = false;
    }

    fn answer_sends_when_flushed(&self, channel: &Arc<Channel>, outgoing: &mut Outgoing) {
        let mut answers = std::mem::take(&mut outgoing.answers);
        let places: Vec<Held> = answers.iter_mut().filter_map(|answer| answer.held.take()).collect();
        let keys = std::mem::take(&mut outgoing.keys);
        let offsets: Vec<Appended> =
            (0..outgoing.batch.len()).map(|index| outgoing.batch.appended(index)).collect();
        let before = answers.iter().flat_map(|answer| &answer.stored).map(|first| first.appended.until);
        let until = before.fold(outgoing.batch.until(), u64::max);
        let writer = AnswerWriter::of(self);
        self.answer_when_flushed(until, channel, places, move |flushed, out| {
            let code = match flushed {
                Flushed::Done => response::SUCCESS,
                // Stored, not known to be durable: clients see SEND_OK's lesser brother, not an error.
                Flushed::Timeout | Flushed::Failed => response::FLUSH_DISK_TIMEOUT,
            };
            out.reserve(answers.len() * 256);
            for answer in &answers {
                let ids = answer.places(|index| offsets[index]);
                writer.write(answer, ids, &keys, code, out);
            }
        });
    }

    /// Refusals of sends carry region and trace flag too (broker.md §5.2, row 0).
    fn refuse_send(&self, reply_to: ReplyTo, refusal: &Refusal, out: &mut Vec<u8>) {
        if reply_to.oneway {
            return;
        }
        let settings = self.settings.load();
        let mut writer = FrameWriter::new(out, &reply_to.head(refusal.code, Some(&refusal.remark)));
        writer.field("MSG_REGION", &settings.region_id);
        writer.field("TRACE_ON", if settings.trace_on { "true" } else { "false" });
        writer.empty();
    }
}

fn illegal(remark: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(response::MESSAGE_ILLEGAL, remark)
}

/// Refuses a batch request that may not be one.
fn check_batch(seen: &Seen<'_>, header: &SendHeader<'_>) -> Outcome {
    if header.topic.len() > record::TOPIC_V1_MAX || header.topic.starts_with(names::RETRY_PREFIX) {
        return Err(illegal(format!("batches may not be sent to topic {}", header.topic)));
    }
    refuse_unserved(seen, header)?;
    let in_transaction = seen.half || header.sys_flag & sys_flag::TRANSACTION_MASK != 0;
    if in_transaction || seen.delay > 0 || seen.timer {
        return Err(illegal("a batch can be neither delayed nor part of a transaction"));
    }
    Ok(())
}

/// Kinds of messages that are not served yet are refused, never stored as something else.
fn refuse_unserved(seen: &Seen<'_>, header: &SendHeader<'_>) -> Outcome {
    if !seen.half && header.sys_flag & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_PREPARED {
        let remark = "a message whose sysFlag says it is a half message must have the property TRAN_MSG=true";
        return Err(illegal(remark));
    }
    if seen.inner_batch || header.sys_flag & sys_flag::INNER_BATCH != 0 {
        // Brokers make them of batch requests; Java's clients never send them.
        let remark = "a message that says it is an inner batch (INNER_NUM, or sysFlag 0x80) must come as a batch request";
        return Err(illegal(remark));
    }
    Ok(())
}

/// Keys of all messages of a batch request, if the topic knows keys again and each message has one.
fn unique_keys_of<'b>(topic: &Topic, body: &'b [u8]) -> Vec<&'b str> {
    if topic.dedup_window.is_none() {
        return Vec::new();
    }
    let keys = wire::batch::entries(body).map(|entry| props::find(entry.ok()?.properties, props::UNIQ_KEY));
    keys.collect::<Option<_>>().unwrap_or_default()
}

/// Pop retry topics have one character that no other topic may have (wire.md §15.1).
fn check_sent_topic(topic: &str) -> Outcome {
    let checked = if topic.starts_with(names::RETRY_PREFIX) {
        names::check_topic(&topic.replacen('+', "_", 1))
    } else {
        names::check_topic(topic)
    };
    checked.map_err(|error| Refusal::new(response::INVALID_PARAMETER, error.to_string()))
}

fn check_sizes(header: &SendHeader<'_>, body: &[u8], topic: &Topic, settings: &Settings) -> Outcome {
    let unfit = |what: String| {
        Err(illegal(format!(
            "the message is illegal, maybe msg body or properties length not matched. {what}"
        )))
    };
    // In a compacted topic that is how a key is deleted. Java takes such messages in batches only.
    if body.is_empty() && !topic.is_compacted {
        return unfit("The body is empty".to_owned());
    }
    if body.len() > settings.max_message_size {
        return unfit(format!(
            "msg body length limit {}B, this one has {}B; raise maxMessageSize on broker and client or send less",
            settings.max_message_size,
            body.len()
        ));
    }
    if header.properties.len() > record::PROPERTIES_MAX {
        return unfit(format!(
            "msg properties length limit {}B, these have {}B",
            record::PROPERTIES_MAX,
            header.properties.len()
        ));
    }
    Ok(())
}
