//! Replies of request-reply (324, 325): pushed over the connection of the client that asked (326), and stored
//! (broker.md §6).

use std::sync::Arc;
use std::time::Duration;

use remoting::{CallError, Channel, ReplyTo};
use settings::Broker as Settings;
use store::{Appended, Batch};
use wire::code::{request as code, response};
use wire::hash;
use wire::header::FrameWriter;
use wire::ids::OffsetId;
use wire::properties as props;
use wire::record::Message;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal, too_many_wait};
use crate::send::{BROKER_PROPERTIES, SendHeader};
use crate::topics::Topic;

/// How long the client that asked may take to accept the reply.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// When the broker pushed a reply, Unix milliseconds.
const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";

/// A reply on its way, independent of the request that brought it.
struct Reply {
    /// Fields of the pushed request.
    fields: Vec<(&'static str, String)>,
    topic: Arc<Topic>,
    queue_id: u32,
    flag: i32,
    sys_flag: i32,
    born_timestamp: i64,
    reconsume_times: i32,
    /// As they are stored.
    properties: Vec<u8>,
    body: Vec<u8>,
}

impl Broker {
    pub(crate) fn reply(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let settings = self.settings.load_full();
        let reply = self.take_reply(exchange, &settings)?;
        let held = exchange.channel.hold().ok_or_else(|| too_many_wait("clients"))?;
        let reply_to = exchange.request.reply_to();
        let broker = Arc::clone(self);
        tokio::spawn(async move {
            let pushed = broker.push_reply(&reply).await;
            let stored = match settings.store_reply_message_enable {
                true => broker.store_reply(held.channel(), &reply),
                false => None,
            };
            let mut out = Vec::new();
            broker.answer_reply(reply_to, &reply, pushed, stored, &mut out);
            held.channel().send(&out);
        });
        Ok(())
    }

    /// Checks a reply as any send and takes it out of its request.
    fn take_reply(&self, exchange: &Exchange<'_, '_>, settings: &Settings) -> Result<Reply, Refusal> {
        let request = exchange.request;
        let mut header = SendHeader::of(request)?;
        let topic = self.check_send_alone(&mut header, request.body, settings)?;
        self.check_kind(&header, &topic)?;
        let queue_id = u32::try_from(header.queue_id).unwrap_or_else(|_| topic.any_write_queue());
        let mut pushed = header.properties.as_bytes().to_vec();
        if header.properties.contains(props::REPLY_TO_CLIENT) {
            if pushed.last().is_some_and(|last| *last != props::END) {
                pushed.push(props::END);
            }
            props::push(&mut pushed, PUSH_REPLY_TIME, itoa::Buffer::new().format(self.now_ms()));
        }
        let mut stored = Vec::with_capacity(header.properties.len());
        props::copy_without(header.properties.as_bytes(), &BROKER_PROPERTIES, &mut stored);
        let fields = vec![
            ("producerGroup", header.group.to_owned()),
            ("topic", header.topic.to_owned()),
            ("defaultTopic", header.default_topic.to_owned()),
            ("defaultTopicQueueNums", header.default_queues.to_string()),
            ("queueId", header.queue_id.to_string()),
            ("sysFlag", header.sys_flag.to_string()),
            ("bornTimestamp", header.born_timestamp.to_string()),
            ("flag", header.flag.to_string()),
            ("properties", String::from_utf8_lossy(&pushed).into_owned()),
            ("reconsumeTimes", header.reconsume_times.to_string()),
            ("unitMode", header.unit.to_string()),
            ("bornHost", exchange.channel.peer().to_string()),
            ("storeHost", self.address.to_string()),
            ("storeTimestamp", self.now_ms().to_string()),
        ];
        Ok(Reply {
            fields,
            topic,
            queue_id,
            flag: header.flag,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            reconsume_times: header.reconsume_times,
            properties: stored,
            body: request.body.to_vec(),
        })
    }

    /// Gives the reply to the client that asked; the error is for the one that replied.
    async fn push_reply(&self, reply: &Reply) -> Result<(), String> {
        let Some(client_id) = props::find(&reply.properties, props::REPLY_TO_CLIENT) else {
            return Err(format!("reply message properties[{}] is null", props::REPLY_TO_CLIENT));
        };
        let Some(channel) = self.clients.producer_channel(client_id) else {
            return Err(format!("push reply message fail, channel of <{client_id}> not found."));
        };
        let fields: Vec<_> = reply.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let call = channel.call(code::PUSH_REPLY_MESSAGE_TO_CLIENT, &fields, &reply.body, PUSH_TIMEOUT);
        let failed = |cause: String| format!("push reply message to {client_id}fail. {cause}");
        match call.await {
            Ok(answer) if answer.code == response::SUCCESS => Ok(()),
            Ok(answer) => {
                Err(failed(answer.remark.unwrap_or_else(|| format!("it answered {}", answer.code))))
            }
            Err(
                error @ (CallError::Connect { .. } | CallError::Closed { .. } | CallError::Timeout { .. }),
            ) => Err(failed(error.to_string())),
        }
    }

    /// Stores a reply. What goes wrong here is not the replier's concern: the client has its answer.
    fn store_reply(&self, from: &Channel, reply: &Reply) -> Option<Appended> {
        let message = Message {
            topic: &reply.topic.config.topic_name,
            queue_id: reply.queue_id,
            flag: reply.flag,
            sys_flag: reply.sys_flag & !wire::sys_flag::TRANSACTION_MASK,
            born_timestamp: reply.born_timestamp,
            born_host: from.peer(),
            store_host: self.address,
            reconsume_times: reply.reconsume_times,
            prepared_transaction_offset: 0,
            body: &reply.body,
            properties: &reply.properties,
        };
        let mut batch = Batch::default();
        let tags_code = hash::tags_code(props::find(&reply.properties, props::TAGS));
        let queue = reply.topic.queue(&self.store, reply.queue_id)?;
        let stored = match batch.push(queue, &message, tags_code) {
            Ok(_) => self.store.append(&mut batch).map_err(|error| error.to_string()),
            Err(error) => Err(Refusal::from(error).remark.into_owned()),
        };
        if let Err(error) = stored {
            tracing::warn!(topic = message.topic, "a reply is not stored: {error}");
            return None;
        }
        self.stats.stored(&batch, &self.topics);
        Some(batch.appended(0))
    }

    fn answer_reply(
        &self,
        reply_to: ReplyTo,
        reply: &Reply,
        pushed: Result<(), String>,
        stored: Option<Appended>,
        out: &mut Vec<u8>,
    ) {
        if reply_to.oneway {
            return;
        }
        let settings = self.settings.load();
        let (code, remark) = match &pushed {
            Ok(()) => (response::SUCCESS, None),
            Err(remark) => (response::SYSTEM_ERROR, Some(remark.as_str())),
        };
        let mut writer = FrameWriter::new(out, &reply_to.head(code, remark));
        writer.field("MSG_REGION", &settings.region_id);
        writer.field("TRACE_ON", if settings.trace_on { "true" } else { "false" });
        if pushed.is_ok() || stored.is_some() {
            // Clients want numbers here, also when nothing is stored.
            let id = stored.map(|stored| OffsetId { store_host: self.address, offset: stored.offset });
            writer.field("msgId", &id.map_or_else(|| "0".to_owned(), |id| id.to_string()));
            writer.number("queueId", reply.queue_id);
            writer.number("queueOffset", stored.map_or(0, |stored| stored.queue_offset));
        }
        writer.empty();
    }
}
