//! The header of a send: fields under long or short names, and the queue it is meant for.

use std::sync::Arc;

use remoting::Request;
use wire::code::request as code;

use crate::exchange::{self, Outcome, Refusal};
use crate::logical_queue::{LogicalQueue, Mapping};
use crate::topics::Topic;

/// The header of a send under one set of names (wire.md §11.1).
#[derive(Default)]
pub(crate) struct SendHeader<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) default_topic: &'a str,
    pub(crate) default_queues: i32,
    pub(crate) queue_id: i32,
    pub(crate) sys_flag: i32,
    pub(crate) born_timestamp: i64,
    pub(crate) flag: i32,
    pub(crate) properties: &'a str,
    pub(crate) reconsume_times: i32,
    pub(super) max_reconsume_times: Option<i32>,
    pub(crate) unit: bool,
    pub(super) batch: bool,
    /// The queue is a physical one although the topic may be static.
    physical: bool,
    /// The queue that it was sent to in a static topic, once `queue_id` is that of the leader's physical one.
    pub(super) logical: Option<Arc<LogicalQueue>>,
}

impl<'a> SendHeader<'a> {
    /// A number that is none is refused and not taken for 0, which would be another queue or another kind of body.
    pub(crate) fn of(request: &'a Request<'_>) -> Result<SendHeader<'a>, Refusal> {
        let long_names = matches!(request.header.code, code::SEND_MESSAGE | code::SEND_REPLY_MESSAGE);
        let mut header = SendHeader::default();
        let mut queue_id = None;
        for (name, value) in request.header.fields.iter() {
            let name = if long_names { short_name(name) } else { name };
            match name {
                "a" => header.group = value,
                "b" => header.topic = value,
                "c" => header.default_topic = value,
                "d" => header.default_queues = exchange::number("defaultTopicQueueNums", value)?,
                "e" => queue_id = Some(exchange::number("queueId", value)?),
                "f" => header.sys_flag = exchange::number("sysFlag", value)?,
                "g" => header.born_timestamp = exchange::number("bornTimestamp", value)?,
                "h" => header.flag = exchange::number("flag", value)?,
                "i" => header.properties = value,
                "j" => header.reconsume_times = exchange::number("reconsumeTimes", value)?,
                "k" => header.unit = value.eq_ignore_ascii_case("true"),
                "l" => header.max_reconsume_times = value.parse().ok(),
                "m" => header.batch = value.eq_ignore_ascii_case("true"),
                "lo" => header.physical = value.eq_ignore_ascii_case("false"),
                _ => (),
            }
        }
        header.queue_id = queue_id.ok_or_else(|| exchange::missing("queueId"))?;
        Ok(header)
    }

    /// In a static topic the message goes to the physical queue of whoever leads its logical one, which must be here.
    pub(super) fn go_to_leader(&mut self, mapping: &Mapping) -> Outcome {
        if self.physical {
            return Ok(());
        }
        let queue = if self.queue_id < 0 { mapping.any_led()? } else { mapping.led(self.queue_id)? };
        self.queue_id = queue.leader.queue_id;
        self.logical = Some(queue);
        Ok(())
    }

    /// What the sender shall see of a message that stands in a physical queue, maybe since an earlier send to another.
    pub(super) fn logical_of(&self, topic: &Topic, queue_id: u32) -> Option<Arc<LogicalQueue>> {
        self.logical.as_ref()?;
        topic.mapping.as_ref()?.led_into(queue_id)
    }
}

fn short_name(name: &str) -> &str {
    match name {
        "producerGroup" => "a",
        "topic" => "b",
        "defaultTopic" => "c",
        "defaultTopicQueueNums" => "d",
        "queueId" => "e",
        "sysFlag" => "f",
        "bornTimestamp" => "g",
        "flag" => "h",
        "properties" => "i",
        "reconsumeTimes" => "j",
        "unitMode" => "k",
        "maxReconsumeTimes" => "l",
        "batch" => "m",
        "lo" => "lo",
        _ => "",
    }
}
