//! Creating and changing static topics (513): what a broker is told of the logical queues of a topic, its own and those
//! that it led before.

use std::sync::Arc;

use wire::body::{TopicConfig, TopicQueueMappingDetail};
use wire::code::response;

use super::topics::topic_of;
use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal};

impl Broker {
    pub(super) fn update_static_topic(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        // A missing name is refused as a blank one, with the code that says so.
        let name = exchange.request.field("topic").unwrap_or_default();
        let config = TopicConfig { order: false, ..topic_of(exchange, name)? };
        self.check_new_topic(&config)?;
        if self.topics.is_light(name) {
            let remark = format!("{name} is a light queue, which cannot be a static topic");
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        let detail: TopicQueueMappingDetail = exchange.body()?;
        self.check_mapping(&detail, &config)?;
        let force = exchange.flag("force");
        self.ok_when_registered(exchange, move |broker| broker.change_static_topic(config, detail, force))
    }

    /// Creates or changes a static topic, which keeps its attributes. Both tables have it then.
    pub(crate) fn change_static_topic(
        &self,
        mut config: TopicConfig,
        detail: TopicQueueMappingDetail,
        force: bool,
    ) -> Outcome {
        let name = config.topic_name.clone();
        let _claim = self.topics.claims.take([name.clone()]);
        tracing::info!(topic = name, epoch = detail.epoch, "static topic {:?}", detail.hosted_queues);
        if let Some(old) = self.topics.get(&name) {
            config.attributes.clone_from(&old.config.attributes);
        }
        {
            let _one_at_a_time = self.static_topics.changing.lock();
            // First the mapping: until the configuration follows there is no such topic, and never an ordinary one.
            let mapping = self.static_topics.update(detail, force, self.now_ms())?;
            self.topics.update_static(config, mapping, self.now_ms())?;
        }
        self.wake_readers_of(&name);
        Ok(())
    }

    /// What a mapping must be to be one of this topic and of this broker.
    fn check_mapping(&self, detail: &TopicQueueMappingDetail, config: &TopicConfig) -> Outcome {
        let invalid = |remark: String| Err(Refusal::new(response::INVALID_PARAMETER, remark));
        let own_name = &self.settings.load().broker_name;
        if detail.topic != config.topic_name {
            return invalid(format!(
                "the mapping is of topic {}, not of {}",
                detail.topic, config.topic_name
            ));
        }
        if detail.bname != *own_name {
            return invalid(format!("the mapping is of broker {}, this one is {own_name}", detail.bname));
        }
        let here = detail.hosted_queues.values().flatten().filter(|item| item.bname == *own_name);
        let queues = config.read_queue_nums.min(config.write_queue_nums);
        if let Some(item) = here.into_iter().find(|item| item.queue_id >= queues) {
            return invalid(format!(
                "a logical queue stands for physical queue {}, but the topic has only {queues} here",
                item.queue_id
            ));
        }
        Ok(())
    }

    /// Who waits for messages of a queue that has moved asks again.
    fn wake_readers_of(&self, topic: &str) {
        let count = self.topics.get(topic).map_or(0, |topic| topic.queue_count());
        for queue in (0..count).filter_map(|id| self.store.find_queue(topic, id)) {
            self.hold.arrived(&queue);
        }
    }
}
