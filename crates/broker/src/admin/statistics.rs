//! How much there is and how far consumers have come (202, 208, 317, 303, 315; broker.md §17).

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use wire::body::MessageQueue;

use super::json::{array, bare_keyed, object, text};
use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};
use crate::pull::no_topic;
use crate::stats::Moved;
use crate::topics::Topic;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicOffset {
    last_update_timestamp: i64,
    max_offset: u64,
    min_offset: u64,
}

/// Where a group is in one queue.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupOffset {
    broker_offset: i64,
    consumer_offset: i64,
    last_timestamp: i64,
    pull_offset: i64,
}

/// What 208 tells of one group on some topics.
#[derive(Default)]
struct ConsumeStats {
    tps: f64,
    offsets: Vec<(MessageQueue, GroupOffset)>,
}

impl ConsumeStats {
    fn json(&self) -> Result<String, Refusal> {
        let table = bare_keyed(self.offsets.iter().map(|(queue, offset)| (queue, offset)))?;
        Ok(object([("consumeTps", text(&self.tps)?), ("offsetTable", table)]))
    }

    fn behind(&self) -> i64 {
        self.offsets.iter().map(|(_, offset)| offset.broker_offset - offset.consumer_offset).sum()
    }

    fn in_flight(&self) -> i64 {
        self.offsets.iter().map(|(_, offset)| offset.pull_offset - offset.consumer_offset).sum()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TimeSpan {
    consume_time_stamp: i64,
    delay_time: i64,
    max_time_stamp: i64,
    message_queue: MessageQueue,
    min_time_stamp: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TimeSpans {
    consume_time_span_set: Vec<TimeSpan>,
}

/// What 315 tells of one window.
#[derive(Serialize)]
struct WindowStats {
    avgpt: f64,
    sum: u64,
    tps: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WindowsStats {
    stats_day: WindowStats,
    stats_hour: WindowStats,
    stats_minute: WindowStats,
}

impl Broker {
    pub(super) fn message_queue(&self, topic: &str, queue_id: i32) -> MessageQueue {
        let broker_name = self.settings.load().broker_name.clone();
        MessageQueue { broker_name, queue_id, topic: topic.to_owned() }
    }

    pub(super) fn known_topic(&self, name: &str) -> Result<Arc<Topic>, Refusal> {
        self.topics.get(name).ok_or_else(|| no_topic(name))
    }

    pub(super) fn topic_stats(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let topic = self.known_topic(exchange.text("topic")?)?;
        self.answer_from_disk(exchange, move |broker, reply| {
            reply.ok_body(broker.topic_stats_of(&topic)?.as_bytes())
        })
    }

    fn topic_stats_of(&self, topic: &Topic) -> Result<String, Refusal> {
        let name = topic.config.topic_name.as_str();
        let mut offsets = Vec::new();
        for queue_id in 0..topic.queue_count() {
            let queue = self.store.find_queue(name, queue_id);
            let offset = queue.map_or(
                TopicOffset { last_update_timestamp: 0, max_offset: 0, min_offset: 0 },
                |queue| {
                    let max_offset = queue.max_offset();
                    let newest =
                        max_offset.checked_sub(1).and_then(|newest| self.store.store_time_of(&queue, newest));
                    let last_update_timestamp = newest.unwrap_or(0);
                    TopicOffset { last_update_timestamp, max_offset, min_offset: queue.min_offset() }
                },
            );
            offsets.push((self.message_queue(name, queue_id as i32), offset));
        }
        let rate = self.stats.topic_put_over(topic, MINUTE).unwrap_or_default().messages_rate();
        Ok(object([("offsetTable", bare_keyed(offsets)?), ("topicPutTps", text(&rate)?)]))
    }

    pub(super) fn consume_stats(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let group = exchange.text("consumerGroup")?.to_owned();
        let field = |name| exchange.request.field(name).filter(|text| !text.trim().is_empty());
        let topics: Vec<String> = match (field("topicList"), field("topic")) {
            (Some(list), _) => list.split(';').filter(|topic| !topic.is_empty()).map(str::to_owned).collect(),
            (None, Some(topic)) => vec![topic.to_owned()],
            (None, None) => sorted(self.offsets.topics_of(&group)),
        };
        let named = field("topicList").is_some();
        self.answer_from_disk(exchange, move |broker, reply| {
            let mut stats = ConsumeStats::default();
            for name in topics {
                let Some(topic) = broker.topics.get(&name) else { continue };
                if !named && broker.has_left(&group, &name) {
                    continue;
                }
                broker.add_consume_stats(&mut stats, &group, &topic, topic.config.read_queue_nums);
            }
            reply.ok_body(stats.json()?.as_bytes())
        })
    }

    /// Whether the group is online and reads this topic no more; its old offsets then say nothing.
    pub(super) fn has_left(&self, group: &str, topic: &str) -> bool {
        self.clients.with_consumer_group(group, |group| {
            group.is_some_and(|group| {
                !group.subscriptions.is_empty() && !group.subscriptions.contains_key(topic)
            })
        })
    }

    fn add_consume_stats(&self, stats: &mut ConsumeStats, group: &str, topic: &Topic, queues: i32) {
        let name = topic.config.topic_name.as_str();
        for queue_id in 0..queues {
            let queue = self.store.find_queue(name, queue_id as u32);
            let committed = self.offsets.get(group, name, queue_id).unwrap_or(-1);
            // In a static topic it may be another broker that knows how far the group has come: tools join them.
            let consumer_offset = if topic.mapping.is_some() { committed } else { committed.max(0) };
            let pulled = self.offsets.get_pulled(group, name, queue_id).unwrap_or(-1);
            let last = consumer_offset.checked_sub(1).and_then(|last| u64::try_from(last).ok());
            let last_time =
                queue.as_ref().zip(last).and_then(|(queue, last)| self.store.store_time_of(queue, last));
            let offset = GroupOffset {
                broker_offset: queue.map_or(0, |queue| queue.max_offset() as i64),
                consumer_offset,
                last_timestamp: last_time.unwrap_or(0),
                pull_offset: pulled.max(consumer_offset),
            };
            stats.offsets.push((self.message_queue(name, queue_id), offset));
        }
        stats.tps += self.stats.group_got_over(group, name, MINUTE).unwrap_or_default().messages_rate();
    }

    pub(super) fn all_consume_stats(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let order_only = exchange.flag("isOrder");
        self.answer_from_disk(exchange, move |broker, reply| {
            reply.ok_body(broker.consume_stats_of_all(order_only)?.as_bytes())
        })
    }

    fn consume_stats_of_all(&self, order_only: bool) -> Result<String, Refusal> {
        let (mut behind, mut in_flight) = (0, 0);
        let mut list = Vec::new();
        for group in self.groups.body().subscription_group_table.keys() {
            let mut of_group = Vec::new();
            for name in sorted(self.offsets.topics_of(group)) {
                let Some(topic) = self.topics.get(&name) else { continue };
                if (order_only && !topic.config.order) || self.has_left(group, &name) {
                    continue;
                }
                let mut stats = ConsumeStats::default();
                self.add_consume_stats(&mut stats, group, &topic, topic.config.write_queue_nums);
                behind += stats.behind();
                in_flight += stats.in_flight();
                of_group.push(stats.json()?);
            }
            list.push(format!("{{{}:{}}}", text(group)?, array(&of_group)));
        }
        Ok(object([
            ("brokerAddr", text(&self.address.to_string())?),
            ("consumeStatsList", array(&list)),
            ("totalDiff", text(&behind)?),
            ("totalInflightDiff", text(&in_flight)?),
        ]))
    }

    pub(super) fn consume_time_span(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let group = exchange.text("group")?.to_owned();
        let topic = self.known_topic(exchange.text("topic")?)?;
        self.answer_from_disk(exchange, move |broker, reply| {
            reply.ok_json(&broker.time_spans_of(&topic, &group))
        })
    }

    fn time_spans_of(&self, topic: &Topic, group: &str) -> TimeSpans {
        let name = topic.config.topic_name.as_str();
        let mut spans = Vec::new();
        for queue_id in 0..topic.config.write_queue_nums {
            let queue = self.store.find_queue(name, queue_id as u32);
            let time_of = |offset: i64| {
                let offset = u64::try_from(offset).ok();
                queue.as_ref().zip(offset).and_then(|(queue, offset)| self.store.store_time_of(queue, offset))
            };
            let (min, max) =
                queue.as_ref().map_or((0, 0), |queue| (queue.min_offset() as i64, queue.max_offset() as i64));
            let consumed = self.offsets.get(group, name, queue_id).unwrap_or(-1);
            let min_time = time_of(min).unwrap_or(-1);
            spans.push(TimeSpan {
                consume_time_stamp: if consumed > 0 { time_of(consumed - 1).unwrap_or(-1) } else { min_time },
                // How long the next message has been waiting. Java gives the whole age of the epoch when there is none.
                delay_time: time_of(consumed.max(min)).map_or(0, |next| self.now_ms() - next),
                max_time_stamp: time_of(max - 1).unwrap_or(-1),
                message_queue: self.message_queue(name, queue_id),
                min_time_stamp: min_time,
            });
        }
        TimeSpans { consume_time_span_set: spans }
    }

    /// One statistic by name and key, as far as it is counted here.
    pub(super) fn view_stats(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let (name, key) = (exchange.text("statsName")?, exchange.text("statsKey")?);
        let over = |window| self.stats_over(name, key, window);
        let windows = over(MINUTE).zip(over(HOUR)).zip(over(DAY));
        let Some(((minute, hour), day)) = windows else {
            return Err(Refusal::system(format!("The stats <{name}> <{key}> not exist")));
        };
        let in_bytes = name.ends_with("_SIZE");
        let window = |moved: Moved| {
            let sum = if in_bytes { moved.bytes } else { moved.messages };
            let tps = if in_bytes { moved.bytes_rate() } else { moved.messages_rate() };
            let avgpt = if moved.messages == 0 { 0.0 } else { sum as f64 / moved.messages as f64 };
            WindowStats { avgpt, sum, tps }
        };
        exchange.ok_json(&WindowsStats {
            stats_day: window(day),
            stats_hour: window(hour),
            stats_minute: window(minute),
        })
    }

    fn stats_over(&self, name: &str, key: &str, window: Duration) -> Option<Moved> {
        match name {
            "TOPIC_PUT_NUMS" | "TOPIC_PUT_SIZE" => self.stats.topic_put_over(&*self.topics.get(key)?, window),
            "GROUP_GET_NUMS" | "GROUP_GET_SIZE" => {
                let (topic, group) = key.split_once('@')?;
                self.stats.group_got_over(group, topic, window)
            }
            "GROUP_CK_NUMS" => {
                let (topic, group) = key.split_once('@')?;
                self.stats.opened_over(Some((group, topic)), window)
            }
            "GROUP_ACK_NUMS" => {
                let (topic, group) = key.split_once('@')?;
                self.stats.acknowledged_over(Some((group, topic)), window)
            }
            // Keyed by the cluster, of which this broker can only speak for itself.
            "BROKER_PUT_NUMS" if key == self.settings.load().broker_cluster_name => {
                Some(self.stats.put_over(window))
            }
            "BROKER_GET_NUMS" if key == self.settings.load().broker_cluster_name => {
                Some(self.stats.got_over(window))
            }
            "BROKER_CK_NUMS" if key == self.settings.load().broker_cluster_name => {
                self.stats.opened_over(None, window)
            }
            "BROKER_ACK_NUMS" if key == self.settings.load().broker_cluster_name => {
                self.stats.acknowledged_over(None, window)
            }
            _ => None,
        }
    }
}

pub(super) fn sorted(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    names.dedup();
    names
}
