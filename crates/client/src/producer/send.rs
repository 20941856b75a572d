//! One send: its attempts, their time, and the request itself (client.md §2.3, §2.5).

use std::time::{Duration, Instant};

use bytes::Bytes;
use remoting::Answer;
use wire::body::MessageQueue;
use wire::code::request;
use wire::names::AUTO_CREATE_TOPIC;
use wire::properties as props;

use super::choice::by_key;
use super::receipt::{Receipt, SendError, SendStatus};
use super::{Inner, Options};
use crate::body::pack;
use crate::error::Error;
use crate::fields::Fields;
use crate::identity::{now_ms, random};
use crate::message::{Delivery, Message, SHARDING_KEY};
use crate::route::{DEFAULT_TOPIC_QUEUES, Route};
use crate::shared::number;

/// Pause before the second attempt; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(10);

/// Where a message shall go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// To any queue of its topic; another attempt takes another broker.
    Any,
    /// To this queue and no other.
    Queue(&'a MessageQueue),
}

/// A message as it travels.
pub(super) struct Outgoing<'a> {
    pub topic: &'a str,
    pub body: Bytes,
    pub flag: i32,
    pub sys_flag: i32,
    pub properties: String,
    /// Which of the requests that send messages.
    pub code: i32,
    pub unique_key: &'a str,
}

/// Why a send failed, without the message.
pub(super) struct Failure {
    pub error: Error,
    pub attempts: u32,
    pub maybe_stored: bool,
}

impl Inner {
    /// Sends a message with further properties, and gives it back when that fails.
    pub(super) async fn send<D: Delivery>(
        &self,
        message: Message<D>,
        target: Target<'_>,
        sys_flag: i32,
        more: &[(&str, &str)],
    ) -> Result<Receipt, SendError<D>> {
        let key = self.key_of(&message);
        let sent = match self.prepare(&message, sys_flag, &key, more) {
            Ok(outgoing) => self.attempts(&outgoing, target, message.get(SHARDING_KEY)).await,
            Err(error) => Err(Failure { error, attempts: 0, maybe_stored: false }),
        };
        sent.map_err(|failure| {
            SendError::new(failure.error, message, key, failure.attempts, failure.maybe_stored)
        })
    }

    /// The key that a message was sent under before, else a new one.
    pub(super) fn key_of<D: Delivery>(&self, message: &Message<D>) -> String {
        message.message_id.clone().unwrap_or_else(|| self.shared.keys.next(now_ms()))
    }

    /// Checks a message and puts it into the form in which it travels.
    pub(super) fn prepare<'a, D: Delivery>(
        &self,
        message: &'a Message<D>,
        sys_flag: i32,
        key: &'a str,
        more: &[(&str, &str)],
    ) -> Result<Outgoing<'a>, Error> {
        message.check(self.options.body_max)?;
        let mut properties = message.encoded_properties(more);
        props::push(&mut properties, props::UNIQ_KEY, key);
        if message.get(props::WAIT).is_none() {
            props::push(&mut properties, props::WAIT, "true");
        }
        if properties.len() > wire::record::PROPERTIES_MAX {
            let (length, max) = (properties.len(), wire::record::PROPERTIES_MAX);
            return Err(Error::Illegal(format!("the properties have {length} bytes, the most is {max}")));
        }
        let (body, packed) = pack(&message.body, self.options.compress_from);
        Ok(Outgoing {
            topic: &message.topic,
            body,
            flag: message.flag,
            sys_flag: sys_flag | packed,
            // They were made of texts.
            properties: String::from_utf8(properties).unwrap_or_default(),
            code: request::SEND_MESSAGE_V2,
            unique_key: key,
        })
    }

    /// Tries until a broker has the message, attempts or time are used up, or another attempt would be of no use.
    pub(super) async fn attempts(
        &self,
        outgoing: &Outgoing<'_>,
        target: Target<'_>,
        ordering_key: Option<&str>,
    ) -> Result<Receipt, Failure> {
        let options = &self.options;
        let deadline = Instant::now() + options.timeout;
        let mut failure = Failure {
            error: Error::TooLate { what: "the send", after: options.timeout },
            attempts: 0,
            maybe_stored: false,
        };
        let mut failed_broker: Option<String> = None;
        while failure.attempts < options.attempts {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let route = match self.shared.route_to_send(outgoing.topic).await {
                Ok(route) => route,
                Err(error) => return Err(Failure { error, ..failure }),
            };
            let queue = match self.choose(&route, target, ordering_key, failed_broker.as_deref()) {
                Ok(queue) => queue,
                Err(error) => return Err(Failure { error, ..failure }),
            };
            failure.attempts += 1;
            match self.attempt(outgoing, &queue, self.time_of_attempt(left, failure.attempts)).await {
                Ok(receipt) => return Ok(Receipt { attempts: failure.attempts, ..receipt }),
                Err(error) => {
                    failure.maybe_stored |= error.maybe_done();
                    let fixed = matches!(target, Target::Queue(_)) || ordering_key.is_some();
                    // A second copy behind others would break the order that a fixed queue is chosen for.
                    let again = error.is_retryable() && !(fixed && error.maybe_done());
                    failure.error = error;
                    if !again {
                        break;
                    }
                    failed_broker = Some(queue.broker_name);
                }
            }
            pause(failure.attempts, deadline).await;
        }
        Err(failure)
    }

    fn time_of_attempt(&self, left: Duration, attempt: u32) -> Duration {
        match self.options.attempt_timeout {
            Some(most) if attempt < self.options.attempts => left.min(most),
            _ => left,
        }
    }

    fn choose(
        &self,
        route: &Route,
        target: Target<'_>,
        ordering_key: Option<&str>,
        failed: Option<&str>,
    ) -> Result<MessageQueue, Error> {
        if let Target::Queue(queue) = target {
            return Ok(queue.clone());
        }
        let queues = route.queues_to_write();
        let chosen = match ordering_key {
            Some(key) => by_key(&queues, key),
            None => self.choice.next(&queues, failed),
        };
        chosen.cloned().ok_or_else(|| Error::NoRoute { topic: route.topic().to_owned() })
    }

    /// One request to one queue.
    async fn attempt(
        &self,
        outgoing: &Outgoing<'_>,
        queue: &MessageQueue,
        timeout: Duration,
    ) -> Result<Receipt, Error> {
        let address = self.shared.master_of(queue).await?;
        let fields = fields(&self.group, outgoing, queue);
        let begun = Instant::now();
        let answer = self.shared.call(&address, outgoing.code, &fields, &outgoing.body, timeout).await;
        let sent = answer.and_then(|answer| receipt(&address, &answer, outgoing, queue));
        let mut faults = self.choice.faults.lock();
        match &sent {
            Ok(_) if self.options.avoid_slow => {
                faults.answered(&queue.broker_name, begun.elapsed(), Instant::now());
            }
            Ok(_) => (),
            Err(_) => faults.failed(&queue.broker_name, Instant::now()),
        }
        sent
    }

    /// One request that nobody answers.
    pub(super) async fn tell(
        &self,
        outgoing: &Outgoing<'_>,
        ordering_key: Option<&str>,
    ) -> Result<(), Error> {
        let route = self.shared.route_to_send(outgoing.topic).await?;
        let queue = self.choose(&route, Target::Any, ordering_key, None)?;
        let address = self.shared.master_of(&queue).await?;
        let fields = fields(&self.group, outgoing, &queue);
        self.shared.tell(&address, request::SEND_MESSAGE_V2, &fields, &outgoing.body).await
    }
}

impl Options {
    /// As the official clients have them.
    pub fn usual() -> Options {
        Options {
            timeout: Duration::from_secs(3),
            attempt_timeout: None,
            attempts: 3,
            compress_from: 4_096,
            body_max: crate::message::BODY_MAX,
            in_flight: 1_024,
            in_flight_bytes: 100 << 20,
            avoid_slow: false,
        }
    }
}

fn fields<'a>(group: &'a str, outgoing: &'a Outgoing<'_>, queue: &'a MessageQueue) -> Fields<'a> {
    Fields::new()
        .text("a", group)
        .text("b", outgoing.topic)
        .text("c", AUTO_CREATE_TOPIC)
        .number("d", DEFAULT_TOPIC_QUEUES)
        .number("e", queue.queue_id)
        .number("f", outgoing.sys_flag)
        .number("g", now_ms())
        .number("h", outgoing.flag)
        .text("i", outgoing.properties.as_str())
        .number("j", 0)
        .flag("k", false)
        .flag("m", outgoing.code == request::SEND_BATCH_MESSAGE)
        .text("n", queue.broker_name.as_str())
}

fn receipt(
    address: &str,
    answer: &Answer,
    outgoing: &Outgoing<'_>,
    queue: &MessageQueue,
) -> Result<Receipt, Error> {
    let status = SendStatus::of(answer.code).ok_or_else(|| Error::refused(address, answer))?;
    Ok(Receipt {
        message_id: outgoing.unique_key.to_owned(),
        offset_id: answer.field("msgId").unwrap_or_default().to_owned(),
        queue: MessageQueue { queue_id: number(address, answer, "queueId")?, ..queue.clone() },
        offset: number(address, answer, "queueOffset")?,
        status,
        recall_handle: answer.field("recallHandle").map(str::to_owned),
        attempts: 1,
    })
}

/// Waits before another attempt, each time longer, and not the same time as everybody else who failed.
async fn pause(attempts: u32, deadline: Instant) {
    let longest = PAUSE * 2_u32.saturating_pow(attempts.min(8));
    let chosen = longest / 2 + longest.mul_f64((random() % 1_000) as f64 / 2_000.0);
    let left = deadline.saturating_duration_since(Instant::now());
    tokio::time::sleep(chosen.min(left)).await;
}
