//! Failed consumption (36): the message goes to the group's retry topic by way of a delay level, or to its dead
//! letters (broker.md §7).

use std::sync::Arc;

use store::Batch;
use wire::code::response;
use wire::hash;
use wire::header::Language;
use wire::ids::OffsetId;
use wire::names;
use wire::properties as props;
use wire::record::{Message, Record};
use wire::sys_flag;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};
use crate::groups::max_reconsume;
use crate::pull::no_group;
use crate::schedule::push_parking;
use crate::topics::{SYS_FLAG_UNIT_SUB, Topic};

/// Delay level of a message that failed for the first time, 10 s by default; each further failure is one level more.
const FIRST_RETRY_LEVEL: i32 = 3;

/// A message whose consumption failed.
struct Failed {
    /// Where it stands in the log.
    offset: u64,
    group: String,
    /// How often it may fail.
    max: i32,
    /// Delay level that the consumer asks for: 0 leaves it to us, below 0 means a dead letter.
    level: i32,
    retry: Arc<Topic>,
    /// Who asks sends the message anew if it is refused here, as Java's clients do. Go's take every answer for a
    /// success.
    sends_anew: bool,
}

impl Broker {
    pub(crate) fn send_back(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let settings = self.settings.load();
        let group_name = exchange.text("group")?;
        let group = self.groups.find_or_create(group_name, &settings, self.now_ms())?;
        let group = group.ok_or_else(|| no_group(group_name))?;
        if settings.broker_permission & wire::body::PERM_WRITE == 0 {
            let remark = format!("the broker[{}] sending message is forbidden", self.address);
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        if group.retry_queue_nums <= 0 {
            return exchange.ok();
        }
        let sys_flag = if exchange.flag("unitMode") { SYS_FLAG_UNIT_SUB } else { 0 };
        let retry_name = names::retry_topic(group_name);
        let retry = self.topics.ensure(&retry_name, group.retry_queue_nums, sys_flag, self.now_ms())?;
        if !retry.is_writable() {
            let remark = format!("the topic[{retry_name}] sending message is forbidden");
            return Err(Refusal::new(response::NO_PERMISSION, remark));
        }
        let offset: u64 = exchange.number("offset")?;
        let header = &exchange.request.header;
        let failed = Failed {
            offset,
            group: group_name.to_owned(),
            max: max_reconsume(header.fields.number("maxReconsumeTimes"), header.version, &group),
            level: exchange.number_or("delayLevel", 0),
            retry,
            sends_anew: header.language == Language::JAVA,
        };
        self.answer_with_record(exchange, offset, move |broker, reply| {
            broker.try_again_later(&failed)?;
            reply.ok()
        })
    }

    /// Stores a failed message for its next attempt, or as a dead letter.
    fn try_again_later(&self, failed: &Failed) -> Outcome {
        let Failed { offset, group, max, level, retry, sends_anew } = failed;
        let bytes = self.store.record_at(*offset)?;
        let bytes =
            bytes.ok_or_else(|| Refusal::system(format!("look message by offset failed, {offset}")))?;
        let record = Record::parse(&bytes).map_err(Refusal::system)?;
        if *sends_anew && record.sys_flag & sys_flag::INNER_BATCH != 0 {
            // All its messages would come back, as a batch in a queue that has none, instead of the one that failed.
            return Err(Refusal::system(format!(
                "the record at {offset} is a batch; send the message that failed"
            )));
        }
        if record.reconsume_times >= *max || *level < 0 {
            let dead = self.topics.ensure(&names::dlq_topic(group), 1, 0, self.now_ms())?;
            return self.store_again(&record, &dead.config.topic_name, 0, 0);
        }
        let level = match level {
            0 => FIRST_RETRY_LEVEL.saturating_add(record.reconsume_times),
            level => *level,
        };
        let queue_id = retry.any_write_queue();
        self.store_again(&record, &retry.config.topic_name, queue_id, level)
    }

    /// Appends a copy of a failed message for `topic`, parked at `level` if that is above 0.
    fn store_again(&self, record: &Record<'_>, topic: &str, queue_id: u32, level: i32) -> Outcome {
        let target =
            self.topics.get(topic).ok_or_else(|| Refusal::system(format!("topic {topic} is gone")))?;
        let mut properties = Vec::with_capacity(record.properties.len() + 160);
        let removed = [props::DELAY, props::REAL_TOPIC, props::REAL_QID, props::WAIT, props::CRC32];
        props::copy_without(record.properties, &removed, &mut properties);
        if record.property(props::RETRY_TOPIC).is_none() {
            props::push(&mut properties, props::RETRY_TOPIC, record.topic);
        }
        if record.property(props::ORIGIN_MESSAGE_ID).is_none() {
            let id = OffsetId { store_host: record.store_host, offset: record.physical_offset as u64 };
            props::push(&mut properties, props::ORIGIN_MESSAGE_ID, &id.to_string());
        }
        props::push(&mut properties, props::WAIT, "false");
        if let Some(level) = self.schedule.level(level) {
            push_parking(&mut properties, level, topic, queue_id);
        }
        let (parked, queue_id) = self.parked(level).unwrap_or((target, queue_id));
        let message = Message {
            topic: &parked.config.topic_name,
            queue_id,
            store_host: self.address,
            reconsume_times: record.reconsume_times.saturating_add(1),
            properties: &properties,
            ..record.message()
        };
        let queue = parked
            .queue(&self.store, queue_id)
            .ok_or_else(|| Refusal::system(format!("topic {} has no queue {queue_id}", message.topic)))?;
        let mut batch = Batch::default();
        let tags_code = hash::tags_code(record.property(props::TAGS));
        batch.push(queue, &message, tags_code).map_err(Refusal::system)?;
        self.store.append(&mut batch)?;
        self.stats.stored(&batch, &self.topics);
        Ok(())
    }
}
