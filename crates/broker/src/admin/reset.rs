//! Moving the offsets of groups: reset (222, 220), what clients say theirs are (223, 221), clone (314)
//! (broker.md §12.3, §12.4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use remoting::{CallError, Channel};
use serde::Deserialize;
use serde_json::json;
use store::StoreError;
use wire::body::MessageQueue;
use wire::code::{request, response};
use wire::header::Language;
use wire::loose_json;

use super::json::{bare_keyed, object, text};
use super::statistics::sorted;
use crate::Broker;
use crate::clients::Member;
use crate::exchange::{Exchange, Outcome, Refusal, send_refusal, too_many_wait};
use crate::offset_requests::{check_not_own, no_queue};
use crate::topics::Topic;

/// First client version that understands 220 and 221: V3_0_7_SNAPSHOT (wire.md §5.2).
const VERSION_RESET: i32 = 28;
/// How long a client may take to say where it is.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

type Offsets = Vec<(MessageQueue, i64)>;

/// What a client answers to 221. Keys are queues, written as objects.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ConsumerStatus {
    message_queue_table: BTreeMap<String, i64>,
}

impl ConsumerStatus {
    fn offsets(self) -> Offsets {
        let queues = self.message_queue_table.into_iter();
        queues.filter_map(|(queue, offset)| Some((serde_json::from_str(&queue).ok()?, offset))).collect()
    }
}

impl Broker {
    pub(super) fn reset_offset(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let group = exchange.text("group")?.to_owned();
        check_not_own(&group)?;
        let name = exchange.text("topic")?;
        let topic = self
            .topics
            .get(name)
            .ok_or_else(|| Refusal::new(response::TOPIC_NOT_EXIST, format!("Topic {name} does not exist")))?;
        if !self.settings.load().use_server_side_reset_offset {
            return self.reset_in_clients(exchange, topic);
        }
        if self.groups.get(&group).is_none() {
            let remark = format!("Group {group} does not exist");
            return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
        }
        let timestamp: i64 = exchange.number("timestamp")?;
        let one: i32 = exchange.optional_number("queueId")?.unwrap_or(-1);
        let asked: i64 = exchange.optional_number("offset")?.unwrap_or(-1);
        let peer = exchange.channel.peer();
        // Which offsets a time means is searched in the log.
        self.answer_from_disk(exchange, move |broker, reply| {
            let name = topic.config.topic_name.as_str();
            let targets = broker.reset_targets(&topic, timestamp, one, asked)?;
            for (queue, offset) in &targets {
                broker.reset_group(&group, name, queue.queue_id, *offset)?;
            }
            tracing::info!(group, topic = name, queues = targets.len(), %peer, "offsets reset");
            reply.ok_body(object([("offsetTable", bare_keyed(targets)?)]).as_bytes())
        })
    }

    /// Where each queue that is meant shall go: queue `one`, if that is not below 0, to `asked`, if that is not -1.
    fn reset_targets(&self, topic: &Topic, timestamp: i64, one: i32, asked: i64) -> Result<Offsets, Refusal> {
        let name = topic.config.topic_name.as_str();
        if one < 0 {
            let queues = 0..topic.config.read_queue_nums;
            return queues
                .map(|id| Ok((self.message_queue(name, id), self.offset_at(name, id, timestamp)?)))
                .collect();
        }
        if one as u32 >= topic.queue_count() {
            return Err(no_queue(topic, one));
        }
        if asked == -1 {
            return Ok(vec![(self.message_queue(name, one), self.offset_at(name, one, timestamp)?)]);
        }
        let queue = self.store.find_queue(name, one as u32);
        let (min, max) = queue.map_or((0, 0), |queue| (queue.min_offset() as i64, queue.max_offset() as i64));
        // One behind the end is taken, as Java does.
        if !(min..=max + 1).contains(&asked) {
            return Err(Refusal::system(format!(
                "Target offset {asked} not in consume queue range [{min}-{max}]"
            )));
        }
        Ok(vec![(self.message_queue(name, one), asked)])
    }

    /// The offset that a time means; before the epoch stands for the end.
    fn offset_at(&self, topic: &str, queue_id: i32, timestamp: i64) -> Result<i64, StoreError> {
        let queue = u32::try_from(queue_id).ok().and_then(|id| self.store.find_queue(topic, id));
        queue.map_or(Ok(0), |queue| match timestamp {
            ..0 => Ok(queue.max_offset() as i64),
            _ => self.store.offset_by_time(&queue, timestamp, store::Boundary::Lower),
        })
    }

    /// The way of old: every member is told, and moves by itself.
    fn reset_in_clients(&self, exchange: &Exchange<'_, '_>, topic: Arc<Topic>) -> Outcome {
        let group = exchange.text("group")?.to_owned();
        let timestamp: i64 = exchange.number("timestamp")?;
        let forced = exchange.flag("isForce");
        let as_list = exchange.request.header.language == Language::CPP;
        // Which offsets a time means is searched in the log.
        self.answer_from_disk(exchange, move |broker, reply| {
            let targets = broker.client_targets(&group, &topic, timestamp, forced)?;
            let table =
                object([("offsetTable", bare_keyed(targets.iter().map(|(queue, offset)| (queue, offset)))?)]);
            let pushed = if as_list { listed(&targets)? } else { table.clone() };
            let (name, timestamp) = (topic.config.topic_name.as_str(), timestamp.to_string());
            let is_force = if forced { "true" } else { "false" };
            let fields =
                [("topic", name), ("isForce", is_force), ("group", &group), ("timestamp", &timestamp)];
            for member in &broker.members_to_reset(&group, name, &timestamp)? {
                member.channel.oneway(request::RESET_CONSUMER_CLIENT_OFFSET, &fields, pushed.as_bytes());
            }
            reply.ok_body(table.as_bytes())
        })
    }

    /// Where the clients of a group shall go: not ahead, unless they are forced to.
    fn client_targets(
        &self,
        group: &str,
        topic: &Topic,
        timestamp: i64,
        forced: bool,
    ) -> Result<Offsets, Refusal> {
        let name = topic.config.topic_name.as_str();
        let mut targets = Offsets::new();
        for queue_id in 0..topic.config.write_queue_nums {
            let stored = self.offsets.get(group, name, queue_id);
            let current =
                stored.ok_or_else(|| Refusal::system(format!("THe consumer group <{group}> not exist")))?;
            let target = self.offset_at(name, queue_id, timestamp)?;
            targets.push((
                self.message_queue(name, queue_id),
                if forced { target } else { target.min(current) },
            ));
        }
        Ok(targets)
    }

    fn members_to_reset(&self, group: &str, topic: &str, timestamp: &str) -> Result<Vec<Member>, Refusal> {
        let members = self.members_of(group);
        if members.is_empty() {
            let remark = format!(
                "Consumer not online, so can not reset online. Group: {group}, Topic: {topic}, Timestamp: {timestamp}"
            );
            return Err(Refusal::new(response::CONSUMER_NOT_ONLINE, remark));
        }
        check_versions(&members)?;
        Ok(members)
    }

    fn members_of(&self, group: &str) -> Vec<Member> {
        self.clients.with_consumer_group(group, |group| {
            group.map(|group| group.members.values().cloned().collect()).unwrap_or_default()
        })
    }

    /// Asks the members of a group, or one of them, where they are. Answered from a task once all have said.
    pub(super) fn consumer_status(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let (group, topic) = (exchange.text("group")?.to_owned(), exchange.text("topic")?.to_owned());
        let wanted = exchange.request.field("clientAddr").filter(|id| !id.is_empty());
        let mut members = self.members_of(&group);
        if members.is_empty() {
            return Err(Refusal::system(format!("No Any Consumer online in the consumer group: [{group}]")));
        }
        members.retain(|member| wanted.is_none_or(|id| member.client_id == id));
        check_versions(&members)?;
        let Some(held) = exchange.channel.hold() else { return Err(too_many_wait("clients")) };
        let reply_to = exchange.request.reply_to();
        tokio::spawn(async move {
            match statuses(&members, &group, &topic).await {
                Ok(body) => {
                    let mut out = Vec::new();
                    let head = reply_to.head(response::SUCCESS, None);
                    if !reply_to.oneway {
                        wire::header::FrameWriter::new(&mut out, &head).body(body.as_bytes());
                    }
                    held.channel().send(&out);
                }
                Err(refusal) => send_refusal(held.channel(), reply_to, &refusal),
            }
        });
        Ok(())
    }

    /// Copies offsets from one group to another: of one topic, or of all. In Java the latter copies nothing, because
    /// the loop uses the topic of the header.
    pub(super) fn clone_offsets(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let (from, to) = (exchange.text("srcGroup")?, exchange.text("destGroup")?);
        wire::names::check_group(to)
            .map_err(|error| Refusal::new(response::INVALID_PARAMETER, error.to_string()))?;
        check_not_own(to)?;
        let offline = exchange.flag("offline");
        let topics = match exchange.request.field("topic").filter(|topic| !topic.trim().is_empty()) {
            Some(topic) => vec![topic.to_owned()],
            None => sorted(self.offsets.topics_of(from)),
        };
        for topic in topics {
            let offsets = self.offsets.queues(from, &topic);
            let wanted = self.topics.get(&topic).is_some() && (offline || !self.has_left(from, &topic));
            if wanted && !offsets.is_empty() {
                self.offsets.set_queues(to, &topic, offsets);
            }
        }
        exchange.ok()
    }
}

fn check_versions(members: &[Member]) -> Outcome {
    match members.iter().find(|member| member.version < VERSION_RESET) {
        Some(old) => {
            let remark = format!("the client does not support this feature. version={}", old.version);
            Err(Refusal::system(remark))
        }
        None => Ok(()),
    }
}

/// The list form, for C++ (wire.md §11.10).
fn listed(targets: &Offsets) -> Result<String, Refusal> {
    let entries = targets.iter().map(|(queue, offset)| {
        let MessageQueue { broker_name, queue_id, topic } = queue;
        json!({"brokerName": broker_name, "offset": offset, "queueId": queue_id, "topic": topic})
    });
    Ok(object([("offsetTable", text(&entries.collect::<Vec<_>>())?)]))
}

/// The answers of all members, asked at the same time.
async fn statuses(members: &[Member], group: &str, topic: &str) -> Result<String, Refusal> {
    let mut asked = tokio::task::JoinSet::new();
    for member in members {
        let (channel, client_id) = (Arc::clone(&member.channel), member.client_id.clone());
        let (group, topic) = (group.to_owned(), topic.to_owned());
        asked.spawn(async move { (client_id, status(&channel, &group, &topic).await) });
    }
    let mut tables = BTreeMap::new();
    while let Some(joined) = asked.join_next().await {
        let Ok((client_id, answered)) = joined else { continue };
        match answered {
            Ok(offsets) => drop(tables.insert(client_id, offsets)),
            // One client that is slow or gone does not hide the others.
            Err(error) => tracing::warn!(client_id, "does not say where it is: {error}"),
        }
    }
    let mut texts = Vec::new();
    for (client_id, offsets) in tables {
        texts.push(format!("{}:{}", text(&client_id)?, bare_keyed(offsets)?));
    }
    let consumers = format!("{{{}}}", texts.join(","));
    Ok(object([("consumerTable", consumers), ("messageQueueTable", "{}".to_owned())]))
}

async fn status(channel: &Channel, group: &str, topic: &str) -> Result<Offsets, CallError> {
    let fields = [("topic", topic), ("group", group)];
    let answer = channel.call(request::GET_CONSUMER_STATUS_FROM_CLIENT, &fields, &[], STATUS_TIMEOUT).await?;
    let status: ConsumerStatus = match answer.code {
        response::SUCCESS => loose_json::read(&answer.body).unwrap_or_default(),
        _ => ConsumerStatus::default(),
    };
    Ok(status.offsets())
}
