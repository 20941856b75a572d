//! Many messages in few requests (client.md §2.6).

use bytes::Bytes;
use wire::batch::{self, Entry};
use wire::code::request;
use wire::properties as props;

use super::Inner;
use super::receipt::Receipt;
use super::send::{Outgoing, Target};
use crate::error::Error;
use crate::message::Message;

/// Sends of many messages of which not all were confirmed.
#[derive(Debug, thiserror::Error)]
#[error("{} of {} messages were stored: {source}", receipts.len(), receipts.len() + unsent.len())]
#[non_exhaustive]
pub struct BatchError {
    /// Why the rest was not.
    pub source: Error,
    /// What was stored, in order.
    pub receipts: Vec<Receipt>,
    /// What was not confirmed, in order. What may have been stored keeps its key.
    pub unsent: Vec<Message>,
    /// How many of the first of `unsent` may have been stored all the same.
    pub maybe_stored: usize,
}

/// Messages that go in one request.
struct Part {
    body: Vec<u8>,
    keys: Vec<String>,
}

impl Inner {
    /// Sends messages, as many in one request as topic and size allow.
    pub async fn send_all(&self, mut messages: Vec<Message>) -> Result<Vec<Receipt>, BatchError> {
        let mut receipts = Vec::with_capacity(messages.len());
        let mut at = 0;
        while at < messages.len() {
            let sent = match self.part(&messages[at..]) {
                Ok(part) => {
                    let keys = part.keys.clone();
                    let sent = self.send_part(&messages[at], part).await;
                    sent.map_err(|(error, maybe)| {
                        let count = if maybe { keys.len() } else { 0 };
                        // Sent again, they are still the same messages.
                        for (message, key) in messages[at..].iter_mut().zip(keys) {
                            message.message_id = Some(key);
                        }
                        (error, count)
                    })
                }
                Err(error) => Err((error, 0)),
            };
            match sent {
                Ok(some) => {
                    at += some.len();
                    receipts.extend(some);
                }
                Err((source, maybe_stored)) => {
                    let unsent = messages.into_iter().skip(at).collect();
                    return Err(BatchError { source, receipts, unsent, maybe_stored });
                }
            }
        }
        Ok(receipts)
    }

    /// The first of these messages that can go together: of one topic, all waiting for the disk or none, and not too
    /// large.
    fn part(&self, messages: &[Message]) -> Result<Part, Error> {
        let mut part = Part { body: Vec::new(), keys: Vec::new() };
        for message in messages {
            let first = &messages[0];
            if message.topic != first.topic || message.get(props::WAIT) != first.get(props::WAIT) {
                break;
            }
            message.check(self.options.body_max)?;
            let key = self.key_of(message);
            let mut properties = message.encoded_properties(&[]);
            props::push(&mut properties, props::UNIQ_KEY, &key);
            if properties.len() > wire::record::PROPERTIES_MAX {
                return Err(Error::Illegal(format!(
                    "a message has {} bytes of properties",
                    properties.len()
                )));
            }
            let before = part.body.len();
            let entry = Entry { flag: message.flag, body: &message.body, properties: &properties };
            batch::push(&mut part.body, &entry);
            if part.body.len() > self.options.body_max {
                if part.keys.is_empty() {
                    let length = message.body.len();
                    let what =
                        format!("a message of {length} bytes does not fit into a batch; send it by itself");
                    return Err(Error::Illegal(what));
                }
                part.body.truncate(before);
                break;
            }
            part.keys.push(key);
        }
        Ok(part)
    }

    async fn send_part(&self, first: &Message, part: Part) -> Result<Vec<Receipt>, (Error, bool)> {
        let mut properties = Vec::new();
        props::push(&mut properties, props::WAIT, first.get(props::WAIT).unwrap_or("true"));
        let outgoing = Outgoing {
            topic: &first.topic,
            body: Bytes::from(part.body),
            flag: 0,
            sys_flag: 0,
            properties: String::from_utf8(properties).unwrap_or_default(),
            code: request::SEND_BATCH_MESSAGE,
            unique_key: "",
        };
        let sent = self.attempts(&outgoing, Target::Any, None).await;
        let whole = sent.map_err(|failure| (failure.error, failure.maybe_stored))?;
        let offset_ids: Vec<&str> = whole.offset_id.split(',').collect();
        let receipt = |(at, message_id): (usize, String)| Receipt {
            message_id,
            // A broker that keeps batches whole names one place for all.
            offset_id: (*offset_ids.get(at).or(offset_ids.last()).unwrap_or(&"")).to_owned(),
            offset: whole.offset + at as i64,
            ..whole.clone()
        };
        Ok(part.keys.into_iter().enumerate().map(receipt).collect())
    }
}
