//! Requests that brokers send to us (client.md §1.6).

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use remoting::{Channel, Request, Service, Turn};
use wire::body::ResetOffsetBody;
use wire::code::{request, response};
use wire::header::FrameWriter;
use wire::loose_json;

use crate::producer::check_transaction;
use crate::registry::ConsumerInner;
use crate::reply::Reply;
use crate::shared::Shared;

/// Serves the other direction of every connection.
#[derive(Default)]
pub(crate) struct Inbound {
    shared: OnceLock<Weak<Shared>>,
}

/// What is answered to a broker.
enum Outcome {
    Answer(Vec<u8>),
    Failed(i32, String),
    /// The answer comes later, or none is wanted.
    Later,
}

impl Inbound {
    /// Names the client that requests are for.
    pub fn belongs_to(&self, shared: &Arc<Shared>) {
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    fn answer(&self, channel: &Arc<Channel>, asked: &Request<'_>) -> Outcome {
        let Some(shared) = self.shared.get().and_then(Weak::upgrade) else {
            return Outcome::Failed(response::SYSTEM_ERROR, "the client is closed".to_owned());
        };
        match asked.header.code {
            request::CHECK_TRANSACTION_STATE => {
                check_transaction(&shared, channel, asked);
                Outcome::Later
            }
            request::PUSH_REPLY_MESSAGE_TO_CLIENT => match Reply::read(asked) {
                Some((correlation_id, reply)) => {
                    shared.registry.replied(&correlation_id, reply);
                    Outcome::Answer(Vec::new())
                }
                None => Outcome::Failed(response::SYSTEM_ERROR, "the reply cannot be read".to_owned()),
            },
            request::NOTIFY_CONSUMER_IDS_CHANGED => {
                if let Some(member) = member(&shared, asked, "consumerGroup") {
                    member.rebalance_soon();
                }
                Outcome::Answer(Vec::new())
            }
            request::RESET_CONSUMER_CLIENT_OFFSET => reset(&shared, asked),
            request::GET_CONSUMER_STATUS_FROM_CLIENT => match member(&shared, asked, "group") {
                Some(member) => json(member.status(asked.field("topic").unwrap_or_default())),
                None => nobody(),
            },
            request::GET_CONSUMER_RUNNING_INFO => match member(&shared, asked, "consumerGroup") {
                Some(member) => json(member.running_info(asked.field("jstackEnable") == Some("true"))),
                None => nobody(),
            },
            request::CONSUME_MESSAGE_DIRECTLY => consume_directly(&shared, channel, asked),
            code => {
                let remark = format!(" request type {code} not supported");
                Outcome::Failed(response::REQUEST_CODE_NOT_SUPPORTED, remark)
            }
        }
    }
}

impl Service for Inbound {
    fn serve(&self, channel: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(asked) = turn.next_request() {
            let reply_to = asked.reply_to();
            match self.answer(channel, &asked) {
                Outcome::Answer(_) if reply_to.oneway => (),
                Outcome::Answer(body) => {
                    FrameWriter::new(turn.out, &reply_to.head(response::SUCCESS, None)).body(&body);
                }
                Outcome::Failed(code, remark) => reply_to.write(turn.out, code, Some(&remark)),
                Outcome::Later => (),
            }
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

fn member(shared: &Shared, asked: &Request<'_>, field: &str) -> Option<Arc<dyn ConsumerInner>> {
    shared.registry.consumer(asked.field(field)?)
}

fn nobody() -> Outcome {
    Outcome::Failed(response::SYSTEM_ERROR, "this client has no consumer of the group".to_owned())
}

fn json(text: Result<String, serde_json::Error>) -> Outcome {
    match text {
        Ok(text) => Outcome::Answer(text.into_bytes()),
        Err(error) => Outcome::Failed(response::SYSTEM_ERROR, error.to_string()),
    }
}

fn reset(shared: &Shared, asked: &Request<'_>) -> Outcome {
    let Some(member) = member(shared, asked, "group") else { return nobody() };
    match loose_json::read::<ResetOffsetBody>(asked.body) {
        Ok(body) => {
            member.reset(&body.offset_table);
            Outcome::Answer(Vec::new())
        }
        Err(error) => Outcome::Failed(response::SYSTEM_ERROR, error.to_string()),
    }
}

/// Gives a message to the application and answers with what it made of it.
fn consume_directly(shared: &Arc<Shared>, channel: &Arc<Channel>, asked: &Request<'_>) -> Outcome {
    let Some(member) = member(shared, asked, "consumerGroup") else { return nobody() };
    let Some(held) = channel.hold() else {
        return Outcome::Failed(response::SYSTEM_BUSY, "too many requests wait".to_owned());
    };
    let broker_name = asked.field("brokerName").unwrap_or_default().to_owned();
    let (body, reply_to) = (Bytes::copy_from_slice(asked.body), asked.reply_to());
    tokio::spawn(async move {
        let mut out = Vec::new();
        match member.consume_directly(body, broker_name).await {
            Ok(text) => {
                FrameWriter::new(&mut out, &reply_to.head(response::SUCCESS, None)).body(text.as_bytes())
            }
            Err(error) => reply_to.write(&mut out, response::SYSTEM_ERROR, Some(&error.to_string())),
        }
        held.channel().send(&out);
    });
    Outcome::Later
}
