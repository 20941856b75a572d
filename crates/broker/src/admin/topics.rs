//! Creating, changing, deleting and listing topics (17, 18, 215, 21, 351, 305).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use store::{AppendError, QueueKind};
use wire::body::{TopicConfig, TopicConfigAndMappingWrapper, TopicConfigAndQueueMapping, TopicList};
use wire::code::response;
use wire::names;

use crate::Broker;
use crate::attributes::{self, Attributes};
use crate::exchange::{Exchange, Outcome, Refusal};
use crate::pull::no_topic;
use crate::topics::QUEUES_MAX;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TopicConfigList {
    topic_config_list: Vec<TopicConfig>,
}

/// The topic that a request describes, without attributes.
pub(super) fn topic_of(exchange: &Exchange<'_, '_>, name: &str) -> Result<TopicConfig, Refusal> {
    Ok(TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: exchange.number("readQueueNums")?,
        write_queue_nums: exchange.number("writeQueueNums")?,
        perm: exchange.number("perm")?,
        topic_filter_type: exchange.request.field("topicFilterType").unwrap_or("SINGLE_TAG").to_owned(),
        topic_sys_flag: exchange.number_or("topicSysFlag", 0),
        order: exchange.flag("order"),
        attributes: BTreeMap::new(),
    })
}

impl Broker {
    pub(crate) fn update_topic(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        // A missing name is refused as a blank one, with the code that says so.
        let name = exchange.request.field("topic").unwrap_or_default();
        names::check_topic(name)
            .map_err(|error| Refusal::new(response::INVALID_PARAMETER, error.to_string()))?;
        let mut config = topic_of(exchange, name)?;
        let edits = exchange.request.field("attributes").unwrap_or_default().to_owned();
        self.ok_when_registered(exchange, move |broker| {
            let _claim = broker.topics.claims.take([config.topic_name.clone()]);
            broker.edit_attributes(&mut config, attributes::edits_of(&edits))?;
            broker.check_new_topic(&config)?;
            broker.store_topics(vec![config])
        })
    }

    pub(crate) fn update_topics(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let mut list: TopicConfigList = exchange.body()?;
        self.ok_when_registered(exchange, move |broker| {
            let names = list.topic_config_list.iter().map(|config| config.topic_name.clone());
            let _claim = broker.topics.claims.take(names);
            for config in &mut list.topic_config_list {
                let edits = std::mem::take(&mut config.attributes);
                let edits = edits.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                broker.edit_attributes(config, edits)?;
                broker.check_new_topic(config)?;
            }
            broker.store_topics(list.topic_config_list)
        })
    }

    /// Gives a topic the attributes it has already, changed by edits.
    fn edit_attributes<'a>(
        &self,
        config: &mut TopicConfig,
        edits: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Outcome {
        let old = self.topics.get(&config.topic_name);
        let old = old.as_ref().map(|topic| &topic.config.attributes);
        config.attributes = attributes::edit(attributes::OF_TOPICS, old, edits)?;
        attributes::check_together(old, &config.attributes)?;
        let settings = self.settings.load();
        // What was accepted once does not stand in the way of other changes.
        let changed = |name| config.attributes.get(name) != old.and_then(|old| old.get(name));
        if changed(attributes::RETENTION) {
            check_retention(&config.attributes, settings.file_reserved_time)?;
        }
        let mixed = config.attributes.get(attributes::MESSAGE_TYPE).is_some_and(|kind| kind == "MIXED");
        if mixed && changed(attributes::MESSAGE_TYPE) && !settings.enable_mixed_message_type {
            let remark = "MIXED message type is not supported. (enableMixedMessageType=false)";
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        Ok(())
    }

    fn store_topics(&self, configs: Vec<TopicConfig>) -> Outcome {
        for config in &configs {
            let kind = QueueKind::of_attributes(&config.attributes);
            self.store.set_queue_kind(&config.topic_name, kind)?;
        }
        let stored = self.topics.update(configs.clone(), self.now_ms());
        if stored.is_err() {
            // Else the next topic of such a name would have queues of a kind that its configuration does not say, which
            // the next start refuses.
            for config in &configs {
                let kind = self.topics.get(&config.topic_name).map_or(QueueKind::Simple, |topic| topic.kind);
                self.store.set_queue_kind(&config.topic_name, kind)?;
            }
        }
        stored?;
        configs.iter().try_for_each(|config| self.keep_messages_of(config))?;
        Ok(())
    }

    pub(super) fn check_new_topic(&self, config: &TopicConfig) -> Outcome {
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

    pub(crate) fn delete_topic(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let name = exchange.text("topic")?.to_owned();
        if self.topics.is_system(&name) {
            let remark = format!("The topic[{name}] is conflict with system topic.");
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        self.ok_when_done(exchange, move |broker| {
            broker.forget_topic_with_retries(&name)?;
            // Else a topic of this name could come back after a kill with offsets of the one before.
            Ok(broker.save_offsets()?)
        })
    }

    pub(crate) fn forget_topic_with_retries(&self, name: &str) -> Outcome {
        // Pop retry topics of groups that read this topic go with it (broker.md §18).
        let mut doomed = vec![name.to_owned()];
        for group in self.offsets.groups_of(name) {
            for queue in self.offsets.queues(&group, name).into_keys() {
                // A topic of this name that comes later begins at 0, whatever was popped from this one.
                match self.note_move(&group, name, queue, 0) {
                    // Who deletes topics of a full disk makes room. Only a kill before the offsets are saved, which
                    // happens below, would have needed the note.
                    Ok(()) | Err(AppendError::DiskFull { .. }) => (),
                    Err(error) => return Err(error.into()),
                }
            }
            doomed.push(format!("{}{group}_{name}", names::RETRY_PREFIX));
            doomed.push(format!("{}{group}+{name}", names::RETRY_PREFIX));
        }
        let _claim = self.topics.claims.take(doomed.iter().cloned());
        self.forget_topics(&doomed.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Removes topics with all that speaks of them, also what is left of one whose deletion was killed.
    fn forget_topics(&self, names: &[&str]) -> Outcome {
        self.try_to_forget(names).inspect_err(|_| {
            // Those that stay keep their messages as before, as the store may have been told not to any more.
            for topic in names.iter().filter_map(|name| self.topics.get(name)) {
                if let Err(error) = self.keep_messages_of(&topic.config) {
                    let topic = &topic.config.topic_name;
                    tracing::error!(topic, %error, "the messages of a topic that could not be deleted are not kept as it says");
                }
            }
        })
    }

    fn try_to_forget(&self, names: &[&str]) -> Outcome {
        for name in names {
            if self.topics.get(name).is_some_and(|topic| topic.kind == QueueKind::Batch) {
                // The next start would not know what to do with batch queues of a topic that nothing names: they go
                // first, and once more below with what was sent meanwhile.
                self.store.delete_topic(name)?;
            }
        }
        let has_queues = |name: &&str| self.topics.has(name) || self.store.has_topic(name);
        let with_queues: Vec<&str> = names.iter().copied().filter(has_queues).collect();
        let mut deletion = self.store.begin_deletion(&with_queues)?;
        let removed = self.remove_topics(names, || with_queues.iter().for_each(|name| deletion.take(name)));
        if removed.is_ok() {
            // The topic itself last: by who reads it a deletion after a kill finds the retry topics.
            names.iter().rev().for_each(|name| self.forget_what_speaks_of(name));
        }
        // What was taken goes whatever else has failed.
        let finished = deletion.finish();
        removed?;
        finished?;
        for name in with_queues.into_iter().rev() {
            // Who had begun to send before it was gone has made its queue anew.
            self.delete_unnamed(name)?;
            // Who still read the old queues may have noted where they were.
            self.forget_places(name);
        }
        Ok(())
    }

    fn forget_what_speaks_of(&self, name: &str) {
        self.forget_places(name);
        self.repeats.forget(name);
        self.transactions.remove_topic(name);
        self.stats.forget_topic(name);
        self.store.keep_messages(name, None);
    }

    /// Deletes the queues of a name that no topic has. If one is created meanwhile, what it is sent stays.
    pub(super) fn delete_unnamed(&self, name: &str) -> Outcome {
        if self.topics.has(name) || !self.store.has_topic(name) {
            return Ok(());
        }
        let mut deletion = self.store.begin_deletion(&[name])?;
        self.topics.while_absent(name, || deletion.take(name));
        Ok(deletion.finish()?)
    }

    /// Takes topics out of both tables. `gone` is called before anybody can create one of them anew.
    fn remove_topics(&self, names: &[&str], gone: impl FnOnce()) -> io::Result<()> {
        // Who changes a static topic meanwhile would have its mapping removed and the topic left, as an ordinary one
        // after the next start.
        let _one_at_a_time = self.static_topics.changing.lock();
        self.topics.remove(names, self.now_ms(), gone)?;
        names.iter().try_for_each(|name| self.static_topics.remove(name, self.now_ms()))
    }

    /// Forgets where groups are in a topic.
    fn forget_places(&self, name: &str) {
        // First what may become an offset.
        self.broadcast.remove_topic(name);
        self.offsets.remove_topic(name);
        self.pop.orders.remove_topic(name);
    }

    /// The store has deleted the queues of a name: who waits for something in them is told. If there is a topic of it
    /// by then, it finds new ones.
    pub(crate) fn queues_deleted(&self, name: &str) {
        self.topics.renew(name);
        self.hold.deleted(name);
        self.pop.waits.deleted(name);
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
        let (version, mut mappings) = self.static_topics.all();
        mappings.retain(|name, _| wrapper.topic_config_table.contains_key(name));
        let body = TopicConfigAndMappingWrapper {
            data_version: wrapper.data_version,
            mapping_data_version: Some(version),
            topic_config_table: wrapper.topic_config_table,
            topic_queue_mapping_detail_map: mappings,
            topic_queue_mapping_info_map: BTreeMap::new(),
        };
        let body = serde_json::to_vec(&body).map_err(Refusal::system)?;
        exchange.answer(response::SUCCESS, None, |mut writer| {
            writer.number("totalTopicNum", total);
            writer.body(&body);
        })
    }

    pub(crate) fn topic_config(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let name = exchange.text("topic")?;
        let topic = self.topics.get(name).ok_or_else(|| no_topic(name))?;
        let mapping = topic.mapping.as_ref().filter(|_| exchange.flag("lo"));
        exchange.ok_json(&TopicConfigAndQueueMapping {
            config: topic.config.clone(),
            mapping_detail: mapping.map(|mapping| mapping.detail.clone()),
        })
    }

    pub(crate) fn system_topics(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let mut topic_list = self.topics.system().to_vec();
        topic_list.sort();
        topic_list.dedup();
        exchange.ok_json(&TopicList { broker_addr: None, topic_list })
    }
}

/// A topic may keep its messages for a shorter time than the log, never for a longer one: the log is shared.
fn check_retention(attributes: &Attributes, log: Duration) -> Outcome {
    let Some(wanted) = attributes::retention(attributes) else { return Ok(()) };
    if wanted.is_zero() {
        return Err(Refusal::system("retention.ms=0 would keep nothing; -1 keeps what the log keeps"));
    }
    if wanted > log {
        return Err(Refusal::system(format!(
            "retention.ms={} is longer than this broker keeps its log (fileReservedTime, {} hours, {} ms): all topics \
             share the log, so one alone cannot be kept longer; raise fileReservedTime",
            wanted.as_millis(),
            log.as_secs() / 3600,
            log.as_millis()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sim::{Fault, Operation, SimClock, SimDisk};
    use store::{Appended, Batch, Queue};
    use wire::record::Message;

    use super::*;
    use crate::broadcast::{Place, Reader};
    use crate::testing;

    #[tokio::test]
    async fn what_a_deletion_that_was_killed_has_left_goes_with_the_next_one() {
        let broker = testing::broker();
        let queue = broker.store.queue("gone", 0);
        let mut batch = Batch::default();
        batch.push(&queue, &Message::of_broker(broker.address, "gone", 0, b"old"), 0).unwrap();
        broker.store.append(&mut batch).unwrap();
        broker.offsets.commit("readers", "gone", 0, 1, 1, broker.now_ms());
        assert!(broker.topics.get("gone").is_none());
        broker.forget_topics(&["gone"]).unwrap();
        assert!(broker.store.find_queue("gone", 0).is_none());
        assert_eq!(broker.offsets.get("readers", "gone", 0), None);
    }

    #[tokio::test]
    async fn who_still_reads_a_topic_while_its_queues_are_deleted_has_no_place_in_the_next_one() {
        let broker = testing::broker();
        let place = Place { topic: "orders", group: "screens", queue: 0 };
        let reader = Reader { client_id: "c".to_owned(), from_proxy: true };
        broker.broadcast.note(place, &reader, 3, broker.clock.monotonic());
        broker.offsets.commit("readers", "orders", 0, 3, 1, broker.now_ms());
        broker.forget_places("orders");
        assert!(broker.broadcast.is_empty());
        assert_eq!(broker.offsets.get("readers", "orders", 0), None);
    }

    #[tokio::test]
    async fn as_long_as_a_place_in_a_retry_topic_is_known_the_next_deletion_finds_it() {
        let broker = testing::broker();
        let retry = format!("{}readers_orders", names::RETRY_PREFIX);
        for round in 0..500 {
            broker.offsets.mark("readers", "orders", 0, 5);
            broker.offsets.mark("readers", &retry, 0, 5);
            std::thread::scope(|scope| {
                let deleted = scope.spawn(|| broker.forget_topic_with_retries("orders").unwrap());
                while !deleted.is_finished() {
                    // What a kill at this moment would leave, if it were saved before.
                    let known = broker.offsets.topics_of("readers");
                    assert!(known.contains("orders") || !known.contains(&retry), "round {round}: {known:?}");
                }
            });
        }
    }

    #[tokio::test]
    async fn a_topic_that_comes_back_while_it_is_deleted_knows_its_new_queues() {
        let broker = testing::broker();
        let sent = || {
            let topic = broker.topics.ensure("orders", 1, 0, broker.now_ms()).unwrap();
            topic.queue(&broker.store, 0).unwrap().clone()
        };
        sent();
        broker.topics.remove(&["orders"], broker.now_ms(), || ()).unwrap();
        sent();
        broker.store.delete_topic("orders").unwrap();
        assert!(Arc::ptr_eq(&sent(), &broker.store.queue("orders", 0)));
    }

    /// Creates the topic as soon as there is none, as a producer does that has no luck, and sends to it.
    fn send_to_the_next_one(broker: &Broker) -> (Arc<Queue>, Appended) {
        testing::wait_until(|| !broker.topics.has("orders"));
        let topic = broker.topics.ensure("orders", 1, 0, broker.now_ms()).unwrap();
        let queue = topic.queue(&broker.store, 0).unwrap();
        let mut batch = Batch::default();
        batch.push(queue, &Message::of_broker(broker.address, "orders", 0, b"new"), 0).unwrap();
        broker.store.append(&mut batch).unwrap();
        (broker.store.queue("orders", 0), batch.appended(0))
    }

    fn delete_while_another_sends(broker: &Broker) -> (Arc<Queue>, Appended) {
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| send_to_the_next_one(broker));
            broker.forget_topics(&["orders"]).unwrap();
            sent.join().unwrap()
        })
    }

    #[tokio::test]
    async fn what_a_topic_is_sent_that_comes_back_while_it_is_deleted_stays() {
        let broker = testing::broker();
        broker.topics.ensure("orders", 1, 0, broker.now_ms()).unwrap();
        for round in 0..300 {
            let (_, sent) = delete_while_another_sends(&broker);
            assert_eq!(sent.queue_offset, 0, "round {round}: it begins anew");
            let found = broker.store.entries(&broker.store.queue("orders", 0), 0, 1);
            assert_eq!(found.first().map(|entry| entry.physical_offset), Some(sent.offset), "round {round}");
        }
    }

    #[tokio::test]
    async fn a_topic_that_comes_back_while_one_for_batches_is_deleted_has_queues_of_its_own_kind() {
        let broker = testing::broker();
        let mut config = TopicConfig::new("orders", 1, 6);
        config.attributes.insert("queue.type".to_owned(), "BatchCQ".to_owned());
        for round in 0..300 {
            broker.forget_topics(&["orders"]).unwrap();
            broker.store_topics(vec![config.clone()]).unwrap();
            assert_eq!(broker.store.queue("orders", 0).kind(), QueueKind::Batch, "round {round}");
            let (queue, _) = delete_while_another_sends(&broker);
            assert_eq!(broker.topics.get("orders").unwrap().kind, QueueKind::Simple);
            assert_eq!(queue.kind(), QueueKind::Simple, "round {round}");
            assert_eq!(broker.store.queue("orders", 0).kind(), QueueKind::Simple, "round {round}: later");
        }
    }

    #[tokio::test]
    async fn a_topic_for_batches_that_could_not_be_written_leaves_its_name_to_an_ordinary_one() {
        let clock = SimClock::default();
        let disk = SimDisk::new(clock.clone());
        let broker = testing::open(&disk, &clock, |_| ());
        let mut config = TopicConfig::new("orders", 1, 6);
        config.attributes.insert("queue.type".to_owned(), "BatchCQ".to_owned());
        disk.inject(Fault::from_now(Operation::Create, "topics.json", io::ErrorKind::StorageFull));
        broker.store_topics(vec![config]).unwrap_err();
        disk.heal();
        assert_eq!(send_to_the_next_one(&broker).0.kind(), QueueKind::Simple);
    }

    #[tokio::test]
    async fn topics_that_a_deletion_of_another_waits_for_the_disk_with_are_created_meanwhile() {
        let clock = SimClock::default();
        let disk = SimDisk::new(clock.clone());
        let broker = testing::open(&disk, &clock, |_| ());
        let sent = send_to_the_next_one(&broker).1;
        assert_eq!(sent.queue_offset, 0);
        let is_created_while = |name: &str, delete: &(dyn Fn() + Sync)| {
            disk.hold_syncs_of(Some("commitlog"));
            let created = std::thread::scope(|scope| {
                scope.spawn(delete);
                testing::wait_until(|| disk.held_syncs() > 0);
                let create = scope.spawn(|| broker.topics.ensure(name, 1, 0, 0).map(drop).unwrap());
                testing::wait_until(|| create.is_finished());
                let created = create.is_finished();
                disk.hold_syncs(false);
                created
            });
            assert!(created, "{name} has waited for the disk");
        };
        is_created_while("meanwhile", &|| broker.forget_topics(&["orders"]).unwrap());
        send_to_the_next_one(&broker);
        broker.topics.remove(&["orders"], 0, || ()).unwrap();
        is_created_while("later", &|| broker.delete_unused_topics().unwrap());
    }

    #[tokio::test]
    async fn a_topic_whose_queues_were_of_the_other_kind_knows_its_new_ones() {
        let broker = testing::broker();
        let queue = || {
            let topic = broker.topics.ensure("orders", 1, 0, broker.now_ms()).unwrap();
            topic.queue(&broker.store, 0).unwrap().clone()
        };
        broker.store.set_queue_kind("orders", QueueKind::Batch).unwrap();
        assert_eq!(queue().kind(), QueueKind::Batch);
        broker.store.set_queue_kind("orders", QueueKind::Simple).unwrap();
        assert_eq!(queue().kind(), QueueKind::Simple);
        assert!(!queue().is_deleted());
    }
}
