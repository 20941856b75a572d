//! Light queues: a message names those that it is to be put into besides its own (broker.md §19.2).
//!
//! A light queue comes to be with its first message. Nothing else limits how many there are, so here is a limit.

use wire::code::response;
use wire::names;

use crate::Broker;
use crate::exchange::{Outcome, Refusal};
use crate::topics::Topic;

impl Broker {
    /// Refuses a message that names light queues which cannot be, or too many of them. `names` is what it says.
    pub(super) fn check_light_queues(&self, topic: &Topic, names: Option<&str>) -> Outcome {
        let name = &topic.config.topic_name;
        if self.topics.is_light(name) {
            self.check_light_room(name)?;
        }
        let Some(list) = names.filter(|_| self.store.options().multi_dispatch) else { return Ok(()) };
        if !names::may_name_light_queues(name) {
            return Ok(());
        }
        for light in list.split(',') {
            if !names::is_light(light) || names::check_topic(light).is_err() {
                let remark = format!(
                    "INNER_MULTI_DISPATCH names \"{light}\"; light queues begin with %LMQ% and have names of topics"
                );
                return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
            }
            self.check_light_room(light)?;
        }
        Ok(())
    }

    /// Refuses what would make one light queue more than there may be.
    pub(crate) fn check_light_room(&self, name: &str) -> Outcome {
        let max = self.settings.load().max_lmq_consume_queue_num;
        if self.store.light_queue_count() < max || self.store.find_queue(name, 0).is_some() {
            return Ok(());
        }
        let remark = format!(
            "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]lmq consume queue num exceeded. There are {max} light queues (maxLmqConsumeQueueNum), and {name} is none of them"
        );
        Err(Refusal::new(response::LMQ_QUOTA_EXCEEDED, remark))
    }
}
