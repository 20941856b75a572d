//! Single messages: by key (12) and by offset id (33) (broker.md §16). They may be anywhere, so the disk is asked.

use store::KeyKind;
use wire::code::response;
use wire::record::Record;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};

impl Broker {
    pub(crate) fn query_message(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let settings = self.settings.load();
        let topic = exchange.text("topic")?.to_owned();
        let key = exchange.text("key")?.to_owned();
        let unique = exchange.flag("_UNIQUE_KEY_QUERY");
        let kind = match exchange.request.field("indexType") {
            Some("T") => KeyKind::Tag,
            Some("U") => KeyKind::Unique,
            _ if unique => KeyKind::Unique,
            _ => KeyKind::Key,
        };
        let asked = if unique { settings.default_query_max_num } else { exchange.number_or("maxNum", 32) };
        let max = asked.clamp(1, settings.max_msgs_num_batch);
        let begin = exchange.number_or("beginTimestamp", 0);
        let end = exchange.number_or("endTimestamp", i64::MAX);
        self.answer_from_disk(exchange, move |broker, reply| {
            let found = broker.store.query(&topic, &key, max, begin, end, kind)?;
            if found.records.is_empty() {
                let remark = "can not find message, maybe time range not correct";
                return Err(Refusal::new(response::QUERY_NOT_FOUND, remark));
            }
            reply.answer(response::SUCCESS, None, |mut writer| {
                writer.number("indexLastUpdatePhyoffset", found.index_last_offset);
                writer.number("indexLastUpdateTimestamp", found.index_last_timestamp);
                writer.body_with(|out| found.records.iter().for_each(|record| out.extend_from_slice(record)));
            })
        })
    }

    pub(crate) fn view_message(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let offset: u64 = exchange.number("offset")?;
        self.answer_from_disk(exchange, move |broker, reply| {
            let record = broker.store.shown_record_at(offset)?;
            match record.filter(|record| !broker.has_expired(record)) {
                Some(record) => reply.ok_body(&record),
                None => Err(Refusal::system(format!("can not find message by the offset, {offset}"))),
            }
        })
    }

    /// Whether the message is older than its topic keeps messages.
    pub(crate) fn has_expired(&self, record: &[u8]) -> bool {
        Record::parse(record).is_ok_and(|record| {
            let queue_offset = u64::try_from(record.queue_offset).unwrap_or(0);
            self.store.has_expired(record.topic, record.queue_id, queue_offset)
        })
    }
}
