//! Many messages in few requests (client.md §2.6).

use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::batch::{self, Entry};
use wire::code::request;
use wire::properties as props;

use super::Inner;
use super::send::{Failure, Outgoing, Stored, Target, told};
use crate::error::Error;
use crate::hooks::{SendOutcome, Sent};
use crate::message::{Delivery, Message};
use crate::receipt::Receipt;

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

/// What a message of a batch goes under.
pub(super) struct Mark {
    pub key: String,
    /// Properties that hooks added.
    added: Vec<(String, String)>,
}

/// Messages that go in one request.
struct Part {
    body: Vec<u8>,
    count: usize,
}

impl Inner {
    /// Sends messages, as many in one request as topic and size allow.
    pub(super) async fn send_all(
        &self,
        mut messages: Vec<Message>,
        target: Target<'_>,
    ) -> Result<Vec<Receipt>, BatchError> {
        let begun = Instant::now();
        let marks: Vec<Mark> = messages.iter().map(|message| self.mark(message)).collect();
        let mut receipts = Vec::with_capacity(messages.len());
        while receipts.len() < messages.len() {
            let at = receipts.len();
            let (sent, count) = match self.part(&messages[at..], &marks[at..]) {
                Ok(part) => {
                    let count = part.count;
                    (self.send_part(&messages[at], part, target).await, count)
                }
                Err(error) => (Err(Failure::unsent(error)), 0),
            };
            match sent {
                Ok(whole) => {
                    let part = at..at + count;
                    let keys = marks[part.clone()].iter().map(|mark| mark.key.as_str());
                    let some = divided(&whole.receipt, keys);
                    for (index, receipt) in part.zip(&some) {
                        let outcome = SendOutcome::Stored(receipt);
                        let sent = Sent { outcome, ..told(&Ok(&whole), begun.elapsed(), 0) };
                        self.tell_hooks(&messages[index], &marks[index], &sent);
                    }
                    receipts.extend(some);
                }
                Err(failure) => {
                    self.tell_rest(&messages[at..], &marks[at..], &failure, count, begun.elapsed());
                    // Sent again, those that were sent are still the same messages.
                    for (message, mark) in messages[at..].iter_mut().zip(&marks[at..]).take(count) {
                        message.message_id = Some(mark.key.clone());
                    }
                    let maybe_stored = if failure.maybe_stored { count } else { 0 };
                    let unsent = messages.into_iter().skip(at).collect();
                    return Err(BatchError { source: failure.error, receipts, unsent, maybe_stored });
                }
            }
        }
        Ok(receipts)
    }

    /// Shows a message to the hooks before it is sent.
    pub(super) fn mark<D: Delivery>(&self, message: &Message<D>) -> Mark {
        let key = self.key_of(message);
        let mut sending = self.sending(message, &key, 0);
        self.shared.hooks.sending(&mut sending);
        let added = sending.added;
        Mark { key, added }
    }

    /// Tells the hooks what came of a message.
    pub(super) fn tell_hooks<D: Delivery>(&self, message: &Message<D>, mark: &Mark, sent: &Sent<'_>) {
        let sending = self.sending(message, &mark.key, 0);
        self.shared.hooks.sent(&sending, &Sent { body_bytes: message.body.len(), ..*sent });
    }

    /// Tells the hooks of messages that were not confirmed, of which the first `tried` were sent.
    fn tell_rest(
        &self,
        messages: &[Message],
        marks: &[Mark],
        failure: &Failure,
        tried: usize,
        elapsed: Duration,
    ) {
        for (index, (message, mark)) in messages.iter().zip(marks).enumerate() {
            let maybe_stored = failure.maybe_stored && index < tried;
            let outcome = SendOutcome::Failed { error: &failure.error, maybe_stored };
            let sent = Sent { outcome, ..told(&Err(failure), elapsed, 0) };
            self.tell_hooks(message, mark, &sent);
        }
    }

    /// The first of these messages that can go together: of one topic, all waiting for the disk or none, and not too
    /// large.
    fn part(&self, messages: &[Message], marks: &[Mark]) -> Result<Part, Error> {
        let mut part = Part { body: Vec::new(), count: 0 };
        for (message, mark) in messages.iter().zip(marks) {
            let first = &messages[0];
            if message.topic != first.topic || message.get(props::WAIT) != first.get(props::WAIT) {
                break;
            }
            let properties = self.properties_in_batch(message, mark)?;
            let before = part.body.len();
            let entry = Entry { flag: message.flag, body: &message.body, properties: &properties };
            batch::push(&mut part.body, &entry);
            if part.body.len() > self.options.body_max {
                if part.count == 0 {
                    let length = message.body.len();
                    let what =
                        format!("a message of {length} bytes does not fit into a batch; send it by itself");
                    return Err(Error::Illegal(what));
                }
                part.body.truncate(before);
                break;
            }
            part.count += 1;
        }
        Ok(part)
    }

    /// Checks a message and gives the properties that it has inside of a batch.
    pub(super) fn properties_in_batch<D: Delivery>(
        &self,
        message: &Message<D>,
        mark: &Mark,
    ) -> Result<Vec<u8>, Error> {
        message.check(self.options.body_max)?;
        self.shared.hooks.check(&self.sending(message, &mark.key, 0))?;
        let mut properties = message.encoded_properties(&[]);
        self.push_marks(&mut properties, &mark.added);
        props::push(&mut properties, props::UNIQ_KEY, &mark.key);
        if properties.len() > wire::record::PROPERTIES_MAX {
            let length = properties.len();
            return Err(Error::Illegal(format!("a message has {length} bytes of properties")));
        }
        Ok(properties)
    }

    async fn send_part(&self, first: &Message, part: Part, target: Target<'_>) -> Result<Stored, Failure> {
        let mut properties = Vec::new();
        props::push(&mut properties, props::WAIT, first.get(props::WAIT).unwrap_or("true"));
        let outgoing = Outgoing {
            topic: self.shared.namespace.wrap(&first.topic),
            body: Bytes::from(part.body),
            flag: 0,
            sys_flag: 0,
            properties: String::from_utf8(properties).unwrap_or_default(),
            code: request::SEND_BATCH_MESSAGE,
            unique_key: "",
            failures: None,
        };
        self.attempts(&outgoing, target, None).await
    }
}

/// What the receipt of a request says of each message in it, given their keys.
pub(super) fn divided<'a>(whole: &Receipt, keys: impl Iterator<Item = &'a str>) -> Vec<Receipt> {
    let offset_ids: Vec<&str> = whole.offset_id.split(',').collect();
    let receipt = |(at, key): (usize, &str)| Receipt {
        message_id: key.to_owned(),
        // A broker that keeps batches whole names one place for all.
        offset_id: (*offset_ids.get(at).or(offset_ids.last()).unwrap_or(&"")).to_owned(),
        offset: whole.offset + at as i64,
        ..whole.clone()
    };
    keys.enumerate().map(receipt).collect()
}
