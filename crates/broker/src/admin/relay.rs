//! Questions to one consumer, passed on over its connection: what it does (307), and to consume a message now (309)
//! (broker.md §16).

use std::sync::Arc;
use std::time::Duration;

use remoting::CallError;
use wire::code::response;
use wire::ids::OffsetId;

use crate::Broker;
use crate::clients::Member;
use crate::exchange::{Exchange, Outcome, Refusal, Reply, answer_later, passed_on};

/// First client version that can be asked: V3_1_8_SNAPSHOT (wire.md §5.2).
const VERSION_RELAY: i32 = 62;
/// How long the client may take.
const RELAY_TIMEOUT: Duration = Duration::from_secs(10);

impl Broker {
    pub(super) fn running_info(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let asked = self.asked(exchange)?;
        let body = exchange.request.body.to_vec();
        answer_later(exchange, async move { asked.of(body).await })
    }

    /// The message may be anywhere, so the disk is asked; its consumer after that.
    pub(super) fn consume_directly(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let message_id = exchange.text("msgId")?;
        let id = OffsetId::parse(message_id).ok_or_else(|| {
            Refusal::system(format!("msgId {message_id} is no offset message id of this broker"))
        })?;
        let mut asked = self.asked(exchange)?;
        asked.set("brokerName", self.settings.load().broker_name.clone());
        if let Some(topic) = exchange.request.field("topic").and_then(|topic| self.topics.get(topic)) {
            asked.set("topicSysFlag", topic.config.topic_sys_flag.to_string());
        }
        if let Some(group) = self.groups.get(&asked.group) {
            asked.set("groupSysFlag", group.group_sys_flag.to_string());
        }
        let broker = Arc::clone(self);
        answer_later(exchange, async move {
            let found = broker.readers.run_own(move |broker| broker.store.shown_record_at(id.offset)).await;
            let record = found.ok_or_else(|| {
                let remark = "the message is not read: the broker stops, or too many reads wait for the disk";
                Refusal::new(response::SYSTEM_BUSY, remark)
            })??;
            let record = record.ok_or_else(|| {
                Refusal::system(format!(
                    "no message at offset {} of the log: it has expired, or msgId is wrong",
                    id.offset
                ))
            })?;
            asked.of(record).await
        })
    }

    /// The question that a request asks of a member, which must be there.
    fn asked(&self, exchange: &Exchange<'_, '_>) -> Result<Asked, Refusal> {
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
        let code = exchange.request.header.code;
        Ok(Asked { code, group, client_id, member, fields: passed_on(exchange) })
    }
}

/// A question to one member of a group.
struct Asked {
    code: i32,
    group: String,
    client_id: String,
    member: Member,
    fields: Vec<(String, String)>,
}

impl Asked {
    /// Sets a field, whatever the one who asked us says there.
    fn set(&mut self, name: &str, value: String) {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.to_owned(), value));
    }

    /// Asks it of this body; the member's whole answer is ours.
    async fn of(self, body: Vec<u8>) -> Result<impl FnOnce(Reply<'_>) -> Outcome + Send, Refusal> {
        let fields: Vec<_> = self.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let answer = self.member.channel.call(self.code, &fields, &body, RELAY_TIMEOUT).await;
        let answer = answer.map_err(|error| unanswered(&self.group, &self.client_id, &error))?;
        Ok(move |mut reply: Reply<'_>| {
            reply.answer(answer.code, answer.remark.as_deref(), |mut writer| {
                for (name, value) in answer.fields() {
                    writer.field(name, value);
                }
                writer.body(&answer.body);
            })
        })
    }
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
