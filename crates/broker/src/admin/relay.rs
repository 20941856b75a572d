//! Questions to one consumer, passed on over its connection: what it does (307), and to consume a message now (309)
//! (broker.md §16).

use std::time::Duration;

use remoting::{Answer, CallError, ReplyTo};
use wire::code::response;
use wire::header::FrameWriter;
use wire::ids::OffsetId;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal, passed_on, send_refusal, too_many_wait};

/// First client version that can be asked: V3_1_8_SNAPSHOT (wire.md §5.2).
const VERSION_RELAY: i32 = 62;
/// How long the client may take.
const RELAY_TIMEOUT: Duration = Duration::from_secs(10);

impl Broker {
    pub(super) fn running_info(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let fields = passed_on(exchange);
        self.relay(exchange, fields, exchange.request.body.to_vec())
    }

    pub(super) fn consume_directly(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let message_id = exchange.text("msgId")?;
        let id = OffsetId::parse(message_id).ok_or_else(|| {
            Refusal::system(format!("msgId {message_id} is no offset message id of this broker"))
        })?;
        let record = self.store.shown_record_at(id.offset)?;
        let record = record.ok_or_else(|| {
            Refusal::system(format!(
                "no message at offset {} of the log: it has expired, or msgId is wrong",
                id.offset
            ))
        })?;
        let mut fields = passed_on(exchange);
        let mut set = |name: &str, value: String| {
            fields.retain(|(known, _)| known != name);
            fields.push((name.to_owned(), value));
        };
        set("brokerName", self.settings.load().broker_name.clone());
        if let Some(topic) = exchange.request.field("topic").and_then(|topic| self.topics.get(topic)) {
            set("topicSysFlag", topic.config.topic_sys_flag.to_string());
        }
        if let Some(group) = exchange.request.field("consumerGroup").and_then(|group| self.groups.get(group))
        {
            set("groupSysFlag", group.group_sys_flag.to_string());
        }
        self.relay(exchange, fields, record)
    }

    fn relay(&self, exchange: &Exchange<'_, '_>, fields: Vec<(String, String)>, body: Vec<u8>) -> Outcome {
        let code = exchange.request.header.code;
        let group = exchange.text("consumerGroup")?.to_owned();
        let client_id = exchange.request.field("clientId").unwrap_or_default().to_owned();
        let member = self
            .clients
            .find_consumer(&group, &client_id)
            .ok_or_else(|| Refusal::system(format!("The Consumer <{group}> <{client_id}> not online")))?;
        if member.version < VERSION_RELAY {
            let remark = format!(
                "The Consumer <{client_id}> Version <{}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT",
                member.version
            );
            return Err(Refusal::system(remark));
        }
        let held = exchange.channel.hold().ok_or_else(|| too_many_wait("clients"))?;
        let reply_to = exchange.request.reply_to();
        tokio::spawn(async move {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            match member.channel.call(code, &fields, &body, RELAY_TIMEOUT).await {
                Ok(answer) => held.channel().send(&pass_back(&answer, reply_to)),
                Err(error) => send_refusal(held.channel(), reply_to, &unanswered(&group, &client_id, &error)),
            }
        });
        Ok(())
    }
}

/// The client's whole answer, under the number of the one who asked us.
fn pass_back(answer: &Answer, reply_to: ReplyTo) -> Vec<u8> {
    let mut out = Vec::new();
    if !reply_to.oneway {
        let mut writer = FrameWriter::new(&mut out, &reply_to.head(answer.code, answer.remark.as_deref()));
        for (name, value) in answer.fields() {
            writer.field(name, value);
        }
        writer.body(&answer.body);
    }
    out
}

fn unanswered(group: &str, client_id: &str, error: &CallError) -> Refusal {
    match error {
        CallError::Timeout { .. } => {
            let remark = format!("consumer <{group}> <{client_id}> Timeout: {error}");
            Refusal::new(response::CONSUME_MSG_TIMEOUT, remark)
        }
        CallError::Closed { .. } | CallError::Connect { .. } => {
            Refusal::system(format!("invoke consumer <{group}> <{client_id}> Exception: {error}"))
        }
    }
}
