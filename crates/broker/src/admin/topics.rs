//! Creating, changing, deleting and listing topics (17, 18, 215, 21, 351, 305).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use wire::body::{TopicConfig, TopicList};
use wire::code::response;
use wire::header::FrameWriter;
use wire::names;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};
use crate::pull::no_topic;
use crate::topics::QUEUES_MAX;

/// How long the answer to a new topic waits for the nameservers, so that a route asked for next is there.
const SETTLE: Duration = Duration::from_secs(3);

/// Attributes of a topic: name, whether it can change later, accepted values (broker.md §2.2; since-5.3.md §1.5).
const ATTRIBUTES: [(&str, bool, &[&str]); 4] = [
    ("queue.type", false, &["SimpleCQ", "BatchCQ"]),
    ("cleanup.policy", false, &["DELETE", "COMPACTION"]),
    (
        "message.type",
        true,
        &["UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED", "PRIORITY", "LITE"],
    ),
    ("reserve.time", true, &[]),
];
/// Values that stand for a kind of topic that is not served yet.
const UNSERVED: [(&str, &str); 2] = [("queue.type", "BatchCQ"), ("cleanup.policy", "COMPACTION")];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TopicConfigList {
    topic_config_list: Vec<TopicConfig>,
}

impl Broker {
    pub(crate) fn update_topic(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        // A missing name is refused as a blank one, with the code that says so.
        let name = exchange.request.field("topic").unwrap_or_default();
        names::check_topic(name)
            .map_err(|error| Refusal::new(response::INVALID_PARAMETER, error.to_string()))?;
        let mut config = TopicConfig {
            topic_name: name.to_owned(),
            read_queue_nums: exchange.number("readQueueNums")?,
            write_queue_nums: exchange.number("writeQueueNums")?,
            perm: exchange.number("perm")?,
            topic_filter_type: exchange.request.field("topicFilterType").unwrap_or("SINGLE_TAG").to_owned(),
            topic_sys_flag: exchange.number_or("topicSysFlag", 0),
            order: exchange.flag("order"),
            attributes: BTreeMap::new(),
        };
        let old = self.topics.get(name);
        let old = old.as_ref().map(|topic| &topic.config);
        config.attributes = edit_attributes(old, exchange.request.field("attributes").unwrap_or_default())?;
        self.check_new_topic(&config)?;
        self.topics.update(vec![config], self.now_ms())?;
        self.ok_when_registered(exchange)
    }

    pub(crate) fn update_topics(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let mut list: TopicConfigList = exchange.body()?;
        for config in &mut list.topic_config_list {
            let edits: Vec<_> =
                config.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let old = self.topics.get(&config.topic_name);
            config.attributes = edit_attributes(old.as_ref().map(|topic| &topic.config), &edits.join(","))?;
            self.check_new_topic(config)?;
        }
        self.topics.update(list.topic_config_list, self.now_ms())?;
        self.ok_when_registered(exchange)
    }

    fn check_new_topic(&self, config: &TopicConfig) -> Outcome {
        let invalid = |remark: String| Refusal::new(response::INVALID_PARAMETER, remark);
        let name = &config.topic_name;
        names::check_topic(name).map_err(|error| invalid(error.to_string()))?;
        if self.settings.load().validate_system_topic_when_update_topic && self.topics.is_system(name) {
            return Err(invalid(format!("The topic[{name}] is conflict with system topic.")));
        }
        if !matches!(config.topic_filter_type.as_str(), "SINGLE_TAG" | "MULTI_TAG") {
            let remark = format!("topicFilterType = [{}] value invalid", config.topic_filter_type);
            return Err(Refusal::system(remark));
        }
        let queues = [("readQueueNums", config.read_queue_nums), ("writeQueueNums", config.write_queue_nums)];
        for (what, count) in queues {
            if !(0..=QUEUES_MAX).contains(&count) {
                return Err(invalid(format!("{what} is {count}, it must be 0 to {QUEUES_MAX}")));
            }
        }
        if !(0..=15).contains(&config.perm) {
            return Err(invalid(format!(
                "perm is {}, it must be 2 (write), 4 (read) or 6 (both)",
                config.perm
            )));
        }
        Ok(())
    }

    /// Answers once the nameservers know: a route asked for right after the answer must be there.
    fn ok_when_registered(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let reply_to = exchange.request.reply_to();
        if reply_to.oneway {
            return Ok(());
        }
        let (broker, channel) = (Arc::clone(self), Arc::clone(exchange.channel));
        tokio::spawn(async move {
            broker.registration.settled(SETTLE).await;
            let mut out = Vec::new();
            FrameWriter::new(&mut out, &reply_to.head(response::SUCCESS, None)).empty();
            channel.send(&out);
        });
        Ok(())
    }

    pub(crate) fn delete_topic(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let name = exchange.text("topic")?;
        if self.topics.is_system(name) {
            let remark = format!("The topic[{name}] is conflict with system topic.");
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        // Pop retry topics of groups that read this topic go with it (broker.md §18).
        let mut doomed = vec![name.to_owned()];
        for group in self.offsets.groups_of(name) {
            doomed.push(format!("{}{group}_{name}", names::RETRY_PREFIX));
            doomed.push(format!("{}{group}+{name}", names::RETRY_PREFIX));
        }
        for name in doomed {
            if self.topics.remove(&name, self.now_ms())? {
                self.offsets.remove_topic(&name);
                self.transactions.remove_topic(&name);
                self.store.delete_topic(&name)?;
                self.stats.forget_topic(&name);
            }
        }
        exchange.ok()
    }

    pub(crate) fn all_topics(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let mut wrapper = self.topics.wrapper();
        let total = wrapper.topic_config_table.len();
        // Without paging fields everything is answered at once.
        if let Some(first) = exchange.request.header.fields.number::<usize>("topicSeq") {
            let count = exchange.number_or("maxTopicNum", usize::MAX).min(2000);
            let table = std::mem::take(&mut wrapper.topic_config_table);
            wrapper.topic_config_table = table.into_iter().skip(first).take(count).collect();
        }
        let body = serde_json::to_vec(&wrapper).map_err(Refusal::system)?;
        exchange.answer(response::SUCCESS, None, |mut writer| {
            writer.number("totalTopicNum", total);
            writer.body(&body);
        })
    }

    pub(crate) fn topic_config(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let name = exchange.text("topic")?;
        let topic = self.topics.get(name).ok_or_else(|| no_topic(name))?;
        exchange.ok_json(&topic.config)
    }

    pub(crate) fn system_topics(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let mut topic_list = self.topics.system().to_vec();
        topic_list.sort();
        topic_list.dedup();
        exchange.ok_json(&TopicList { broker_addr: None, topic_list })
    }
}

/// Applies `+key=value,-key` to the attributes of a topic, or refuses all of it (broker.md §2.2).
fn edit_attributes(old: Option<&TopicConfig>, edits: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let mut attributes = old.map(|config| config.attributes.clone()).unwrap_or_default();
    let mut touched = Vec::new();
    for edit in edits.split(',').map(str::trim).filter(|edit| !edit.is_empty()) {
        let (key, value) = match edit.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (edit, None),
        };
        let (adds, key) = match (key.strip_prefix('+'), key.strip_prefix('-')) {
            (Some(key), _) => (true, key),
            (_, Some(key)) => (false, key),
            _ => return Err(Refusal::system(format!("attribute {key} must begin with + or -"))),
        };
        let Some((_, mutable, accepted)) = ATTRIBUTES.iter().find(|(known, ..)| *known == key) else {
            return Err(Refusal::system(format!("unsupported key: {key}")));
        };
        if touched.contains(&key) {
            return Err(Refusal::system(format!("key duplication: {key}")));
        }
        touched.push(key);
        if old.is_some() && !mutable && attributes.get(key).map(String::as_str) != value {
            return Err(Refusal::system(format!("attempt to update an unchangeable attribute. key: {key}")));
        }
        match (adds, value) {
            (true, Some(value)) => {
                if UNSERVED.contains(&(key, value)) {
                    return Err(Refusal::system(format!("topics with {key}={value} are not served yet")));
                }
                let number_wanted = accepted.is_empty();
                let legal = if number_wanted {
                    value.parse::<i64>().is_ok_and(|time| time >= -1)
                } else {
                    accepted.contains(&value)
                };
                if !legal {
                    return Err(Refusal::system(format!(
                        "value {value} of attribute {key} is invalid, accepted: {accepted:?}"
                    )));
                }
                attributes.insert(key.to_owned(), value.to_owned());
            }
            (false, None) if attributes.contains_key(key) => drop(attributes.remove(key)),
            (false, _) => return Err(Refusal::system(format!("attempt to delete a nonexistent key: {key}"))),
            (true, None) => return Err(Refusal::system(format!("attribute {key} has no value"))),
        }
    }
    Ok(attributes)
}
