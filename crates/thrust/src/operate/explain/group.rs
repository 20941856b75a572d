//! `thrust explain group`: which queues a group is behind in, and why.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde_json::{Value, json};
use thrustmq_client::{
    Admin, ConsumeStats, ConsumerConnection, MessageQueue, OffsetWrapper, SubscriptionData,
};
use wire::names::{RETRY_PREFIX, dlq_topic};

use super::story::Story;
use crate::failure::Failure;
use crate::moment::{Times, span};
use crate::operate::cluster::members;
use crate::operate::group::lag_json;
use crate::operate::group::lookup::{known, stats};
use crate::operate::message::track::wants;
use crate::output::words::{count, list};
use crate::target::Target;

/// Members that are asked which queues they have; the rest is not known.
const ASKED_MAX: usize = 32;
/// Queues that are told one by one.
const TOLD_MAX: usize = 12;

/// Why a group is behind in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    /// The broker gives the group nothing.
    Paused,
    NobodyOnline,
    /// Members are online, and none of them subscribes to the topic.
    NotSubscribed,
    /// The next message is not one that the members want.
    Filtered {
        filter: String,
    },
    /// Members are online, and none of those that could be asked has the queue.
    NoHolder,
    /// A member has messages that it has not finished.
    Slow {
        member: String,
        in_hand: i64,
    },
    /// A member has the queue and has taken none of its messages.
    Idle {
        member: String,
    },
    /// Members did not say which queues they have.
    Unknown,
}

impl Cause {
    /// The name that JSON has.
    fn name(&self) -> &'static str {
        match self {
            Cause::Paused => "paused",
            Cause::NobodyOnline => "nobody online",
            Cause::NotSubscribed => "not subscribed",
            Cause::Filtered { .. } => "filter",
            Cause::NoHolder => "no member has the queue",
            Cause::Slow { .. } => "slow",
            Cause::Idle { .. } => "idle",
            Cause::Unknown => "unknown",
        }
    }

    fn text(&self) -> String {
        match self {
            Cause::Paused => "the group may not consume there".to_owned(),
            Cause::NobodyOnline => "no member is online".to_owned(),
            Cause::NotSubscribed => "no member that is online subscribes to the topic".to_owned(),
            Cause::Filtered { filter } => format!("its filter \"{filter}\" passes over the next message"),
            Cause::NoHolder => "no member has taken this queue".to_owned(),
            Cause::Slow { member, in_hand } => {
                format!("member {member} has {} that it has not finished", count(in_hand, "message"))
            }
            Cause::Idle { member } => {
                format!("member {member} has the queue and takes nothing from it: it is paused, or full")
            }
            Cause::Unknown => "members do not say which queues they have".to_owned(),
        }
    }

    fn advice(&self, group: &str, topic: &str) -> String {
        match self {
            Cause::Paused => format!("`thrust group update {group} --consume allow` lets the group go on"),
            Cause::NobodyOnline => format!(
                "start its consumers, such as `thrust consume --topic {topic} --group {group}`; \
                 `thrust group reset {group} --topic {topic} --to last` gives up what is there"
            ),
            Cause::NotSubscribed | Cause::NoHolder => {
                "let all members of the group subscribe to the same topics with the same filters, and look at their \
                 logs"
                    .to_owned()
            }
            Cause::Filtered { .. } => format!(
                "messages that the filter passes over count until members have moved on; if that takes minutes, \
                 compare the filters of all members: `thrust group describe {group}`"
            ),
            Cause::Slow { .. } => {
                "make what members do with a message faster, let each do more at a time, or start more members, up \
                 to one for each queue"
                    .to_owned()
            }
            Cause::Idle { member } => format!("look at the log of member {member}"),
            Cause::Unknown => "look at the logs of its members".to_owned(),
        }
    }
}

/// What is known of a group.
struct Facts {
    /// Names of the brokers that give it nothing.
    paused_at: BTreeSet<String>,
    online: Option<ConsumerConnection>,
    /// Which member has which queue.
    holders: BTreeMap<MessageQueue, String>,
    /// Every member has said what it has.
    holders_are_known: bool,
    /// Queues whose next message the members do not want, with the filter that says so.
    passed_over: BTreeMap<MessageQueue, String>,
}

impl Facts {
    fn cause(&self, queue: &MessageQueue, offsets: &OffsetWrapper) -> Cause {
        if self.paused_at.contains(&queue.broker_name) {
            return Cause::Paused;
        }
        let Some(online) = &self.online else { return Cause::NobodyOnline };
        if !online.subscription_table.contains_key(&queue.topic) {
            return Cause::NotSubscribed;
        }
        if let Some(filter) = self.passed_over.get(queue) {
            return Cause::Filtered { filter: filter.clone() };
        }
        let Some(member) = self.holders.get(queue).cloned() else {
            return if self.holders_are_known { Cause::NoHolder } else { Cause::Unknown };
        };
        match offsets.pull_offset - offsets.consumer_offset {
            in_hand @ 1.. => Cause::Slow { member, in_hand },
            _ => Cause::Idle { member },
        }
    }

    fn members(&self) -> usize {
        self.online.as_ref().map_or(0, |online| online.connection_set.len())
    }
}

#[derive(Debug, Args)]
pub struct GroupArgs {
    /// Name of the group.
    group: String,
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: &GroupArgs) -> Result<(), Failure> {
    let group = &args.group;
    let admin = args.target.client().await?.admin();
    let stats = stats(&admin, group, None).await?;
    let facts = facts(&admin, group, &stats).await?;
    let mut story = Story::default();
    tell_members(group, &facts, &mut story);
    let queues = tell_queues(group, &facts, &stats, &mut story);
    let dead = dead_letters(&admin, group).await?;
    if dead > 0 {
        let (letters, topic) = (count(dead, "dead letter"), dlq_topic(group));
        story.tell(format!("It has {letters} in topic {topic}."));
        story.advise(format!(
            "`thrust message show --topic {topic} --queue 0 --offset 0` shows the first dead letter"
        ));
    }
    let value = json!({
        "group": group,
        "members": facts.members(),
        "behind": stats.behind(),
        "deadLetters": dead,
        "queues": queues,
    });
    story.print(value, args.target.json)
}

async fn facts(admin: &Admin, group: &str, stats: &ConsumeStats) -> Result<Facts, Failure> {
    let configs = known(admin, group).await?;
    let mut paused_at = BTreeSet::new();
    for member in members(admin).await? {
        if configs.get(&member.address).is_some_and(|config| !config.consume_enable) {
            paused_at.insert(member.broker);
        }
    }
    let online = admin.consumers(group).await?;
    let clients = online.iter().flat_map(|online| &online.connection_set);
    let (mut holders, mut holders_are_known) = (BTreeMap::new(), true);
    for (i, client) in clients.enumerate() {
        // What does not answer, or is one too many, may have any queue.
        let info = match i < ASKED_MAX {
            true => admin.running_info(group, &client.client_id, false).await.ok(),
            false => None,
        };
        let Some(queues) = info.as_ref().and_then(|info| info["mqTable"].as_object()) else {
            holders_are_known = false;
            continue;
        };
        for queue in queues.keys().filter_map(|key| serde_json::from_str::<MessageQueue>(key).ok()) {
            holders.insert(queue, client.client_id.clone());
        }
    }
    let passed_over = match &online {
        Some(online) => passed_over(admin, online, stats).await,
        None => BTreeMap::new(),
    };
    Ok(Facts { paused_at, online, holders, holders_are_known, passed_over })
}

/// Looks at the next message of the queues that the group is behind in, where it filters by tags. Of conditions on
/// properties only the broker knows, and what cannot be read is not passed over.
async fn passed_over(
    admin: &Admin,
    online: &ConsumerConnection,
    stats: &ConsumeStats,
) -> BTreeMap<MessageQueue, String> {
    let mut found = BTreeMap::new();
    let behind = stats.offset_table.iter().filter(|(_, at)| at.broker_offset > at.consumer_offset);
    for (queue, at) in behind.take(TOLD_MAX) {
        let Some(filter) = online.subscription_table.get(&queue.topic).filter(|filter| is_narrow(filter))
        else {
            continue;
        };
        if let Ok(next) = admin.message_at(queue, at.consumer_offset).await
            && !wants(filter, next.tag())
        {
            found.insert(queue.clone(), filter.sub_string.clone());
        }
    }
    found
}

/// Whether a filter by tags leaves anything out.
fn is_narrow(filter: &SubscriptionData) -> bool {
    filter.expression_type == "TAG" && !matches!(filter.sub_string.trim(), "" | "*")
}

fn tell_members(group: &str, facts: &Facts, story: &mut Story) {
    let Some(online) = &facts.online else {
        story.tell(format!("Nobody of group {group} is online."));
        return;
    };
    let clients: Vec<String> = online
        .connection_set
        .iter()
        .map(|client| format!("{} at {} ({})", client.client_id, client.client_addr, client.language))
        .collect();
    let model = match online.message_model.as_str() {
        "BROADCASTING" => "every member reads everything",
        _ => "they share the queues",
    };
    let members = count(clients.len(), "member");
    story.tell(format!("Group {group} has {members} online, and {model}: {}.", list(&clients)));
    let topics: Vec<String> = online
        .subscription_table
        .iter()
        .filter(|(topic, _)| !topic.starts_with(RETRY_PREFIX))
        .map(|(topic, subscription)| match subscription.sub_string.as_str() {
            "*" | "" => format!("{topic} (everything)"),
            filter => format!("{topic} ({filter})"),
        })
        .collect();
    story.tell(format!("It subscribes to {}.", list(&topics)));
    if online.message_model == "BROADCASTING" {
        story.tell(
            "In broadcast its members keep their offsets themselves, so brokers cannot say how far they are.",
        );
    }
}

/// Tells of the queues that the group is behind in, topic by topic; gives all of them for machines.
fn tell_queues(group: &str, facts: &Facts, stats: &ConsumeStats, story: &mut Story) -> Vec<Value> {
    let times = Times::new();
    let mut values = Vec::new();
    let mut told = 0;
    let behind = stats.behind();
    if behind <= 0 {
        story.tell(match stats.offset_table.is_empty() {
            true => "It has no offsets: it has finished nothing yet.",
            false => "It has read everything.",
        });
    } else {
        let speed = if facts.online.is_some() { speed(stats, behind) } else { String::new() };
        story.tell(format!("It is {} behind{speed}.", count(behind, "message")));
    }
    for (queue, offsets) in &stats.offset_table {
        let behind = offsets.broker_offset - offsets.consumer_offset;
        let cause = (behind > 0).then(|| facts.cause(queue, offsets));
        values.push(queue_json(queue, offsets, cause.as_ref()));
        let Some(cause) = cause else { continue };
        story.advise(cause.advice(group, &queue.topic));
        told += 1;
        if told > TOLD_MAX {
            continue;
        }
        let since = match offsets.last_timestamp {
            ..=0 => String::new(),
            at => format!(" The last one it finished was stored {} ago.", span((times.now_ms() - at).max(0))),
        };
        let (far, at, end) = (count(behind, "message"), offsets.consumer_offset, offsets.broker_offset);
        let (topic, broker, id, why) = (&queue.topic, &queue.broker_name, queue.queue_id, cause.text());
        story.tell(format!(
            "Queue {id} of {topic} at {broker}: {far} behind, at {at} of {end}: {why}.{since}"
        ));
    }
    if told > TOLD_MAX {
        let more = count(told - TOLD_MAX, "more queue");
        story.tell(format!("And {more}; `thrust group lag {group}` shows all."));
    }
    values
}

/// How fast it reads, and how long it will take if nothing comes in.
fn speed(stats: &ConsumeStats, behind: i64) -> String {
    if stats.consume_tps < 0.1 {
        return String::new();
    }
    let left = (behind as f64 / stats.consume_tps * 1_000.0) as i64;
    let (pace, left) = (stats.consume_tps, span(left));
    format!(" and reads {pace:.1} per second: it needs {left} if nothing comes in")
}

fn queue_json(queue: &MessageQueue, offsets: &OffsetWrapper, cause: Option<&Cause>) -> Value {
    let mut value = lag_json(queue, offsets);
    value["cause"] = json!(cause.map(Cause::name));
    value
}

async fn dead_letters(admin: &Admin, group: &str) -> Result<i64, Failure> {
    match admin.topic_stats(&dlq_topic(group)).await {
        Ok(stats) => Ok(stats.offset_table.values().map(|queue| queue.max_offset - queue.min_offset).sum()),
        Err(thrustmq_client::Error::NoRoute { .. }) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> MessageQueue {
        MessageQueue { topic: "t".into(), broker_name: "a".into(), queue_id: 0 }
    }

    fn facts() -> Facts {
        let subscription_table = BTreeMap::from([("t".to_owned(), Default::default())]);
        Facts {
            paused_at: BTreeSet::new(),
            online: Some(ConsumerConnection { subscription_table, ..Default::default() }),
            holders: BTreeMap::from([(queue(), "me".to_owned())]),
            holders_are_known: true,
            passed_over: BTreeMap::new(),
        }
    }

    fn cause(facts: &Facts, pulled: i64) -> Cause {
        let offsets =
            OffsetWrapper { broker_offset: 9, consumer_offset: 4, pull_offset: pulled, ..Default::default() };
        facts.cause(&queue(), &offsets)
    }

    #[test]
    fn the_first_cause_that_holds_is_told() {
        assert_eq!(cause(&facts(), 7), Cause::Slow { member: "me".into(), in_hand: 3 });
        assert_eq!(cause(&facts(), 4), Cause::Idle { member: "me".into() });
        let paused = Facts { paused_at: BTreeSet::from(["a".to_owned()]), online: None, ..facts() };
        assert_eq!(cause(&paused, 7), Cause::Paused);
        assert_eq!(cause(&Facts { online: None, ..facts() }, 7), Cause::NobodyOnline);
        let elsewhere = Facts { online: Some(ConsumerConnection::default()), ..facts() };
        assert_eq!(cause(&elsewhere, 7), Cause::NotSubscribed);
        let passed_over = BTreeMap::from([(queue(), "paid".to_owned())]);
        let filtered = Facts { passed_over, ..facts() };
        assert_eq!(cause(&filtered, 4), Cause::Filtered { filter: "paid".into() });
        let free = Facts { holders: BTreeMap::new(), ..facts() };
        assert_eq!(cause(&free, 7), Cause::NoHolder);
        assert_eq!(cause(&Facts { holders_are_known: false, ..free }, 7), Cause::Unknown);
    }

    #[test]
    fn speed_is_told_where_there_is_some() {
        let stats = ConsumeStats { consume_tps: 10.0, ..ConsumeStats::default() };
        assert_eq!(speed(&stats, 50), " and reads 10.0 per second: it needs 5 s if nothing comes in");
        assert_eq!(speed(&ConsumeStats::default(), 50), "");
    }
}
