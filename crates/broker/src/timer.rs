//! Timer messages: accepting them, taking them back, and what administrators ask about them (broker.md §8.3–8.5).
//!
//! The store's timer delivers them; here it is decided whether a message is one, and in which slot of the wheel it
//! waits. That slot is Java's: rounded down to `timerPrecisionMs`, the exact time being left to the properties.

use std::sync::Arc;

use parking_lot::Mutex;
use settings::Broker as Settings;
use store::{Batch, Flushed};
use wire::code::response;
use wire::hash;
use wire::header::FrameWriter;
use wire::names;
use wire::properties as props;
use wire::recall::RecallHandle;
use wire::record::Message;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};

/// Tag of the message that takes another back.
const RECALL_TAG: &str = "_RECALL_TAG_";

/// Rates between two looks of an administrator.
#[derive(Default)]
pub(crate) struct TimerRates(Mutex<Sample>);

#[derive(Default, Clone, Copy)]
struct Sample {
    at_ms: i64,
    enqueued: u64,
    delivered: u64,
    rates: (f64, f64),
}

/// The slot of a delivery time: rounded down, and an exact multiple belongs to the slot before (broker.md §8.3).
fn slot_of(deliver_ms: i64, precision_ms: i64) -> i64 {
    (deliver_ms - 1).div_euclid(precision_ms) * precision_ms
}

/// When a message with timer properties wants to be delivered; the first of the three that is there counts.
fn deliver_at(properties: &[u8], now_ms: i64) -> Option<i64> {
    let value = |name| props::find(properties, name).map(str::parse::<i64>);
    if let Some(seconds) = value(props::TIMER_DELAY_SEC) {
        return seconds.ok()?.checked_mul(1000)?.checked_add(now_ms);
    }
    if let Some(millis) = value(props::TIMER_DELAY_MS) {
        return millis.ok()?.checked_add(now_ms);
    }
    value(props::TIMER_DELIVER_MS)?.ok()
}

/// Adds what a message in the timer topic needs to find its way.
pub(crate) fn push_timed(properties: &mut Vec<u8>, out_ms: i64, topic: &str, queue_id: u32) {
    props::push(properties, props::TIMER_OUT_MS, itoa::Buffer::new().format(out_ms));
    props::push(properties, props::REAL_TOPIC, topic);
    props::push(properties, props::REAL_QID, itoa::Buffer::new().format(queue_id));
}

impl Broker {
    /// The slot in which a message with timer properties waits; `None` if it is due already.
    pub(crate) fn timer_slot(&self, properties: &[u8], settings: &Settings) -> Result<Option<i64>, Refusal> {
        let Some(timer) = &self.store.options().timer else {
            let remark = "accurate timer message is not enabled, timerWheelEnable is false";
            return Err(Refusal::new(response::SYSTEM_ERROR, remark));
        };
        let now_ms = self.now_ms();
        let max_ms = settings.timer_max_delay_sec.as_millis() as i64;
        let illegal = || {
            let remark = format!(
                "timer message illegal, the delay time should not be bigger than the max delay {max_ms}ms; \
                 or if set del msg, the delay time should be bigger than the current time"
            );
            Err(Refusal::new(response::MESSAGE_ILLEGAL, remark))
        };
        let Some(deliver_ms) = deliver_at(properties, now_ms) else { return illegal() };
        if deliver_ms <= now_ms {
            let takes_back = props::find(properties, props::TIMER_DEL_UNIQKEY).is_some();
            return if takes_back { illegal() } else { Ok(None) };
        }
        if deliver_ms - now_ms > max_ms {
            return illegal();
        }
        let out_ms = slot_of(deliver_ms, i64::from(timer.precision_ms));
        self.check_congestion(out_ms, settings.timer_congest_num_each_slot)?;
        Ok(Some(out_ms))
    }

    /// Refuses the more of the messages for a slot the further it is over its limit, and all from twice that on.
    fn check_congestion(&self, out_ms: i64, limit: i32) -> Outcome {
        if limit == i32::MAX {
            return Ok(());
        }
        let (count, limit) = (i64::from(self.store.timer_slot_count(out_ms)), i64::from(limit));
        let over = (count - limit).max(0);
        // Digits of the clock and the count are as good as a die here.
        let die = (self.now_ms().wrapping_mul(7919) + count).rem_euclid(limit.max(1));
        if over == 0 || (over < limit && die >= over) {
            return Ok(());
        }
        let remark = format!(
            "timer message is under flow control, max num limit is {} or the current value is greater than {limit} \
             and less than {}, trigger random flow control",
            limit * 2,
            limit * 2
        );
        Err(Refusal::new(response::SYSTEM_ERROR, remark))
    }

    /// Takes back a timer message that is not due yet (370).
    pub(crate) fn recall_message(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let settings = self.settings.load();
        let held = self.place(exchange.channel, true)?;
        let done = self.check_recall(exchange, &settings).and_then(|(handle, out_ms)| {
            let until = self.store_recall(exchange, &handle, out_ms)?;
            Ok((handle.unique_key, until))
        });
        let region = settings.region_id.clone();
        let reply_to = exchange.request.reply_to();
        match done {
            Err(refusal) => {
                if !reply_to.oneway {
                    let head = reply_to.head(refusal.code, Some(&refusal.remark));
                    let mut writer = FrameWriter::new(exchange.out, &head);
                    writer.field("MSG_REGION", &region);
                    writer.empty();
                }
            }
            Ok((key, until)) if self.store.is_sync() => {
                self.answer_when_flushed(until, exchange.channel, held, move |flushed, out| match flushed {
                    // One that takes too long has stored the message all the same.
                    Flushed::Done | Flushed::Timeout => answer_recall(out, &reply_to, &region, &key),
                    Flushed::Failed => {
                        let remark = "recall failed, the disk has not confirmed it";
                        reply_to.write(out, response::SYSTEM_ERROR, Some(remark));
                    }
                });
            }
            Ok((key, _)) => answer_recall(exchange.out, &reply_to, &region, &key),
        }
        Ok(())
    }

    /// Checks of broker.md §8.5 in their order; gives the handle with the slot of its message.
    fn check_recall(
        &self,
        exchange: &Exchange<'_, '_>,
        settings: &Settings,
    ) -> Result<(RecallHandle, i64), Refusal> {
        let refused = |code, what: String| Err(Refusal::new(code, what));
        if !settings.recall_message_enable {
            return refused(response::NO_PERMISSION, "recall failed, operation is forbidden".into());
        }
        let unavailable = "recall failed, broker service not available";
        if !settings.is_master() {
            return refused(response::SLAVE_NOT_AVAILABLE, unavailable.into());
        }
        let now_ms = self.now_ms();
        let writable = settings.broker_permission & wire::body::PERM_WRITE != 0;
        if now_ms < settings.start_accept_send_request_time_stamp
            || (!writable && !settings.allow_recall_when_broker_not_writeable)
        {
            return refused(response::SERVICE_NOT_AVAILABLE, unavailable.into());
        }
        let topic = exchange.text("topic")?;
        if self.topics.get(topic).is_none() {
            return refused(
                response::TOPIC_NOT_EXIST,
                format!("recall failed, the topic[{topic}] not exist"),
            );
        }
        let illegal = |what: &'static str| Refusal::new(response::ILLEGAL_OPERATION, what);
        let handle = RecallHandle::parse(exchange.text("recallHandle")?)
            .ok_or_else(|| illegal("recall handle is invalid"))?;
        if handle.topic != topic {
            return Err(illegal("recall failed, topic not match"));
        }
        if handle.broker_name != settings.broker_name {
            return Err(illegal(unavailable));
        }
        let millis = handle.millis.parse::<i64>().unwrap_or(-1);
        let left = millis.saturating_sub(now_ms);
        if left <= 0 || left >= settings.timer_max_delay_sec.as_millis() as i64 {
            return Err(illegal("recall failed, timestamp invalid"));
        }
        let precision = self.store.options().timer.as_ref().map(|timer| i64::from(timer.precision_ms));
        let precision = precision.ok_or_else(|| Refusal::system("recall failed, execute error"))?;
        Ok((handle, slot_of(millis, precision)))
    }

    /// Stores what takes the message back; gives what must be flushed for it.
    fn store_recall(
        &self,
        exchange: &Exchange<'_, '_>,
        handle: &RecallHandle,
        out_ms: i64,
    ) -> Result<u64, Refusal> {
        let now_ms = self.now_ms();
        let key = if self.settings.load().append_topic_for_timer_delete_key {
            format!("{}+{}", handle.topic, handle.unique_key)
        } else {
            handle.unique_key.clone()
        };
        let mut properties = Vec::with_capacity(256);
        props::push(&mut properties, props::TAGS, RECALL_TAG);
        props::push(&mut properties, props::TIMER_DEL_UNIQKEY, &key);
        props::push(&mut properties, props::UNIQ_KEY, &handle.unique_key);
        props::push(&mut properties, props::TIMER_DELIVER_MS, &handle.millis);
        props::push(&mut properties, props::BORN_TIMESTAMP, itoa::Buffer::new().format(now_ms));
        props::push(
            &mut properties,
            props::PGROUP,
            exchange.request.field("producerGroup").unwrap_or_default(),
        );
        push_timed(&mut properties, out_ms, &handle.topic, 0);
        let message = Message {
            topic: names::TIMER_TOPIC,
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: now_ms,
            born_host: exchange.channel.peer(),
            store_host: self.address,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"0",
            properties: &properties,
        };
        let failed = |error: String| {
            tracing::warn!(error, "a recall is not stored");
            Refusal::system("recall failed, execute error")
        };
        let queue = self.store.queue(names::TIMER_TOPIC, 0);
        let mut batch = Batch::default();
        batch
            .push(&queue, &message, hash::tags_code(Some(RECALL_TAG)))
            .map_err(|error| failed(error.to_string()))?;
        self.store.append(&mut batch).map_err(|error| failed(error.to_string()))?;
        self.stats.stored(&batch, &self.topics);
        Ok(batch.until())
    }

    /// How far the timer has come (60): seven big-endian numbers.
    pub(crate) fn timer_check_point(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let bytes = self.store.timer_checkpoint().ok_or_else(|| Refusal::system("The checkpoint is null"))?;
        exchange.ok_body(&bytes)
    }

    /// How many timer messages wait for each topic (61).
    pub(crate) fn timer_metrics(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let metrics = self.store.timer_metrics();
        exchange.ok_json(&metrics.ok_or_else(|| Refusal::system("The timer message store is null"))?)
    }

    /// What the timer delivers counts like what is sent.
    pub(crate) fn count_timer_deliveries(self: &Arc<Self>) {
        let broker = Arc::downgrade(self);
        self.store.on_timer_delivered(Box::new(move |topic, messages, bytes| {
            let Some(broker) = broker.upgrade() else { return };
            broker.stats.delivered(topic, messages, bytes, &broker.topics);
        }));
    }

    /// Rows of GET_BROKER_RUNTIME_INFO.
    pub(crate) fn timer_rows(&self) -> [(&'static str, String); 5] {
        let figures = self.store.timer_figures();
        let (enqueued, delivered) =
            self.timer_rates.since(self.now_ms(), figures.enqueued, figures.delivered);
        [
            ("timerReadBehind", (figures.behind_ms / 1000).to_string()),
            ("timerOffsetBehind", figures.queue_behind.to_string()),
            ("timerCongestNum", figures.pending.to_string()),
            ("timerEnqueueTps", format!("{enqueued:?}")),
            ("timerDequeueTps", format!("{delivered:?}")),
        ]
    }
}

fn answer_recall(out: &mut Vec<u8>, reply_to: &remoting::ReplyTo, region: &str, unique_key: &str) {
    if reply_to.oneway {
        return;
    }
    let mut writer = FrameWriter::new(out, &reply_to.head(response::SUCCESS, None));
    writer.field("msgId", unique_key);
    writer.field("MSG_REGION", region);
    writer.empty();
}

impl TimerRates {
    /// Messages per second since the last look that is at least a second ago.
    fn since(&self, now_ms: i64, enqueued: u64, delivered: u64) -> (f64, f64) {
        let mut last = self.0.lock();
        let elapsed_ms = now_ms - last.at_ms;
        if last.at_ms == 0 || !(0..1000).contains(&elapsed_ms) {
            let rate = |count: u64| count as f64 * 1000.0 / elapsed_ms.max(1) as f64;
            let rates = if last.at_ms == 0 || elapsed_ms < 0 {
                (0.0, 0.0)
            } else {
                (rate(enqueued - last.enqueued), rate(delivered - last.delivered))
            };
            *last = Sample { at_ms: now_ms, enqueued, delivered, rates };
        }
        last.rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_belongs_to_the_slot_that_begins_before_it() {
        assert_eq!(slot_of(10_500, 1000), 10_000);
        assert_eq!(slot_of(11_000, 1000), 10_000);
        assert_eq!(slot_of(11_001, 1000), 11_000);
        assert_eq!(slot_of(11_001, 200), 11_000);
        assert_eq!(slot_of(11_000, 100), 10_900);
    }

    #[test]
    fn the_first_timer_property_counts() {
        let text = |pairs: &[(&str, &str)]| {
            let mut text = Vec::new();
            pairs.iter().for_each(|(name, value)| props::push(&mut text, name, value));
            text
        };
        let all =
            [(props::TIMER_DELIVER_MS, "99"), (props::TIMER_DELAY_MS, "7"), (props::TIMER_DELAY_SEC, "2")];
        assert_eq!(deliver_at(&text(&all), 1000), Some(3000));
        assert_eq!(deliver_at(&text(&all[..2]), 1000), Some(1007));
        assert_eq!(deliver_at(&text(&all[..1]), 1000), Some(99));
        assert_eq!(deliver_at(&text(&[(props::TIMER_DELAY_SEC, "soon")]), 1000), None);
        assert_eq!(deliver_at(&text(&[(props::TIMER_DELAY_SEC, "9223372036854775807")]), 1000), None);
        assert_eq!(deliver_at(&[], 1000), None);
    }
}
