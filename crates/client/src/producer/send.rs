//! One send: its attempts, their time, and the request itself (client.md §2.3, §2.5).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use remoting::{Answer, Patience};
use wire::body::MessageQueue;
use wire::code::{request, response};
use wire::names::AUTO_CREATE_TOPIC;
use wire::properties as props;

use super::choice::by_key;
use super::{Inner, Options};
use crate::body::{Compression, pack};
use crate::error::Error;
use crate::fields::Fields;
use crate::hooks::{SendKind, SendOutcome, Sending, Sent};
use crate::identity::{now_ms, random};
use crate::message::{Delivery, Message, SHARDING_KEY};
use crate::receipt::{Receipt, SendError, SendStatus};
use crate::route::{DEFAULT_TOPIC_QUEUES, Route};
use crate::shared::number;

/// Pause before the second attempt; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(10);

/// Codes of brokers after which another attempt is made: Java's, and two that say when and where to ask again.
const RETRY_CODES: [i32; 10] = [
    response::SYSTEM_ERROR,
    response::SYSTEM_BUSY,
    response::SERVICE_NOT_AVAILABLE,
    response::NO_PERMISSION,
    response::TOPIC_NOT_EXIST,
    response::NO_BUYER_ID,
    response::NOT_IN_CURRENT_UNIT,
    response::GO_AWAY,
    response::FLOW_CONTROL,
    response::NOT_LEADER_FOR_QUEUE,
];
/// Property with the namespace of a message.
const INSTANCE_ID: &str = "INSTANCE_ID";
/// Field of an answer with the broker's region, and whether it wants traces.
const REGION: &str = "MSG_REGION";
const TRACE_ON: &str = "TRACE_ON";

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
    /// Its complete name.
    pub topic: Cow<'a, str>,
    pub body: Bytes,
    pub flag: i32,
    pub sys_flag: i32,
    pub properties: String,
    /// Which of the requests that send messages.
    pub code: i32,
    pub unique_key: &'a str,
    /// How often its consumption failed, and how often it may, for a retry topic.
    pub failures: Option<(i32, i32)>,
}

/// A message that was stored, and what the broker said besides.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub receipt: Receipt,
    pub broker: String,
    pub region: Option<String>,
    pub untraced: bool,
}

/// Why a send failed, without the message.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub error: Error,
    pub attempts: u32,
    pub maybe_stored: bool,
    /// Who was asked last.
    pub broker: Option<String>,
}

impl Failure {
    /// Nothing was sent.
    pub fn unsent(error: Error) -> Failure {
        Failure { error, attempts: 0, maybe_stored: false, broker: None }
    }
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
        let sent = self.send_watched(&message, &key, target, sys_flag, more).await;
        sent.map_err(|failure| {
            SendError::new(failure.error, message, key, failure.attempts, failure.maybe_stored)
        })
    }

    /// The key that a message was sent under before, else a new one.
    pub(super) fn key_of<D: Delivery>(&self, message: &Message<D>) -> String {
        message.message_id.clone().unwrap_or_else(|| self.shared.keys.next(now_ms()))
    }

    /// Sends a message under a key, and tells the hooks.
    async fn send_watched<D: Delivery>(
        &self,
        message: &Message<D>,
        key: &str,
        target: Target<'_>,
        sys_flag: i32,
        more: &[(&str, &str)],
    ) -> Result<Receipt, Failure> {
        let begun = Instant::now();
        let mut sending = self.sending(message, key, sys_flag);
        self.shared.hooks.sending(&mut sending);
        let (sent, body_bytes) = match self.prepare(message, sys_flag, key, more, &sending.added) {
            Ok(outgoing) => {
                let sent = self.attempts(&outgoing, target, message.get(SHARDING_KEY)).await;
                (sent, outgoing.body.len())
            }
            Err(error) => (Err(Failure::unsent(error)), message.body.len()),
        };
        self.shared.hooks.sent(&sending, &told(&sent.as_ref(), begun.elapsed(), body_bytes));
        sent.map(|stored| stored.receipt)
    }

    /// What hooks see of a message.
    pub(super) fn sending<'a, D: Delivery>(
        &'a self,
        message: &'a Message<D>,
        key: &'a str,
        sys_flag: i32,
    ) -> Sending<'a> {
        let kind = match sys_flag & wire::sys_flag::TRANSACTION_MASK {
            wire::sys_flag::TRANSACTION_PREPARED => SendKind::Half,
            _ if message.is_delayed() => SendKind::Delayed,
            _ => SendKind::Normal,
        };
        Sending {
            group: &self.group,
            topic: &message.topic,
            message_id: key,
            tag: message.get(props::TAGS),
            keys: message.get(props::KEYS),
            body: &message.body,
            kind,
            added: Vec::new(),
        }
    }

    /// Checks a message and puts it into the form in which it travels.
    pub(super) fn prepare<'a, D: Delivery>(
        &self,
        message: &'a Message<D>,
        sys_flag: i32,
        key: &'a str,
        more: &[(&str, &str)],
        added: &[(String, String)],
    ) -> Result<Outgoing<'a>, Error> {
        message.check(self.options.body_max)?;
        self.shared.hooks.check(&self.sending(message, key, sys_flag))?;
        let mut properties = message.encoded_properties(more);
        self.push_marks(&mut properties, added);
        props::push(&mut properties, props::UNIQ_KEY, key);
        if message.get(props::WAIT).is_none() {
            props::push(&mut properties, props::WAIT, "true");
        }
        if properties.len() > wire::record::PROPERTIES_MAX {
            let (length, max) = (properties.len(), wire::record::PROPERTIES_MAX);
            return Err(Error::Illegal(format!("the properties have {length} bytes, the most is {max}")));
        }
        let (body, packed) = pack(&message.body, self.options.compress_from, self.options.compression);
        Ok(Outgoing {
            topic: self.shared.namespace.wrap(&message.topic),
            body,
            flag: message.flag,
            sys_flag: sys_flag | packed,
            // They were made of texts.
            properties: String::from_utf8(properties).unwrap_or_default(),
            code: request::SEND_MESSAGE_V2,
            unique_key: key,
            failures: None,
        })
    }

    /// Adds the properties that hooks want, and that of the namespace.
    pub(super) fn push_marks(&self, properties: &mut Vec<u8>, added: &[(String, String)]) {
        for (name, value) in added {
            props::push(properties, name, value);
        }
        if let Some(prefix) = &self.shared.namespace.prefix {
            props::push(properties, INSTANCE_ID, prefix);
        }
    }

    /// Tries until a broker has the message, attempts or time are used up, or another attempt would be of no use.
    pub(super) async fn attempts(
        &self,
        outgoing: &Outgoing<'_>,
        target: Target<'_>,
        ordering_key: Option<&str>,
    ) -> Result<Stored, Failure> {
        let deadline = Instant::now() + self.options.timeout;
        let fixed = matches!(target, Target::Queue(_)) || ordering_key.is_some();
        let mut failure = Failure::unsent(Error::TooLate { what: "the send", after: self.options.timeout });
        let mut failed_broker: Option<String> = None;
        // Stored, but not as safely as it should be.
        let mut unsafely: Option<Stored> = None;
        while failure.attempts < self.options.attempts {
            if failure.attempts > 0 {
                // Boxed, since it is rare and would make the future of every send large.
                Box::pin(pause(failure.attempts, deadline)).await;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Name servers may take longer than there is time.
            let asked = self.shared.route_to_send(&outgoing.topic);
            let Ok(route) = tokio::time::timeout_at(deadline.into(), asked).await else { break };
            let chosen = route.and_then(|route| {
                let queue = self.choose(&route, target, ordering_key, failed_broker.as_deref())?;
                Ok((route, queue))
            });
            let (route, queue) = match chosen {
                Ok(chosen) => chosen,
                Err(error) => {
                    failure.error = error;
                    break;
                }
            };
            failure.attempts += 1;
            let timeout = self.time_of_attempt(left, failure.attempts);
            match self.attempt(outgoing, &queue, timeout, &mut failure.broker).await {
                Ok(mut stored) => {
                    stored.receipt.attempts = failure.attempts;
                    let elsewhere =
                        || route.writable().iter().any(|other| other.broker_name != queue.broker_name);
                    if fixed || !self.wants_another(&stored.receipt, outgoing) || !elsewhere() {
                        return Ok(stored);
                    }
                    unsafely = Some(stored);
                }
                Err(error) => {
                    failure.maybe_stored |= error.maybe_stored();
                    let noted = self.shared.note_moved(&outgoing.topic, &error);
                    let _ = tokio::time::timeout_at(deadline.into(), noted).await;
                    // A second copy behind others would break the order that a fixed queue is chosen for.
                    let again = self.retries_after(&error) && !(fixed && error.maybe_stored());
                    failure.error = error;
                    if !again {
                        break;
                    }
                }
            }
            failed_broker = Some(queue.broker_name);
        }
        let Some(mut stored) = unsafely else { return Err(failure) };
        stored.receipt.attempts = failure.attempts;
        Ok(stored)
    }

    /// The route to send along, unless it takes longer than a whole send may: name servers may be silent, and those who
    /// asked before ask one after the other.
    pub(super) async fn route_in_time(&self, topic: &str) -> Result<Arc<Route>, Error> {
        let after = self.options.timeout;
        let route = tokio::time::timeout(after, self.shared.route_to_send(topic)).await;
        route.unwrap_or(Err(Error::TooLate { what: "the send", after }))
    }

    /// Whether another attempt may do better than one that failed.
    fn retries_after(&self, error: &Error) -> bool {
        match error.broker_code() {
            Some(code) => self.options.retry_codes.contains(&code),
            None => error.is_retryable(),
        }
    }

    /// Whether a message that is stored less safely than it should be shall be stored elsewhere too. A half message
    /// elsewhere would be a second transaction.
    fn wants_another(&self, receipt: &Receipt, outgoing: &Outgoing<'_>) -> bool {
        let half = outgoing.sys_flag & wire::sys_flag::TRANSACTION_MASK != 0;
        self.options.retry_not_store_ok && receipt.status != SendStatus::Stored && !half
    }

    fn time_of_attempt(&self, left: Duration, attempt: u32) -> Duration {
        match self.options.attempt_timeout {
            Some(most) if attempt < self.options.attempts => left.min(most),
            _ => left,
        }
    }

    /// The queue for an attempt.
    pub(super) fn choose(
        &self,
        route: &Route,
        target: Target<'_>,
        ordering_key: Option<&str>,
        failed: Option<&str>,
    ) -> Result<MessageQueue, Error> {
        if let Target::Queue(queue) = target {
            return Ok(MessageQueue { topic: route.topic().to_owned(), ..queue.clone() });
        }
        let queues = route.writable();
        let chosen = match ordering_key {
            Some(key) => by_key(queues, key),
            None => self.choice.next(queues, failed),
        };
        chosen.cloned().ok_or_else(|| Error::NoRoute { topic: route.topic().to_owned() })
    }

    /// One request to one queue; leaves behind who was `asked`.
    async fn attempt(
        &self,
        outgoing: &Outgoing<'_>,
        queue: &MessageQueue,
        timeout: Duration,
        asked: &mut Option<String>,
    ) -> Result<Stored, Error> {
        let address: &str = asked.insert(self.shared.master_of(queue).await?);
        let fields = fields(&self.wire_group, outgoing, queue);
        let begun = Instant::now();
        let patience = Patience { timeout, awake: self.options.awake };
        let answer = self.shared.call(address, outgoing.code, &fields, &outgoing.body, patience).await;
        let sent = answer.and_then(|answer| self.stored(address, &answer, outgoing, queue));
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

    fn stored(
        &self,
        address: &str,
        answer: &Answer,
        outgoing: &Outgoing<'_>,
        queue: &MessageQueue,
    ) -> Result<Stored, Error> {
        let mut receipt = receipt(address, answer, outgoing, queue)?;
        receipt.queue = self.shared.namespace.unwrap_queue(receipt.queue);
        Ok(Stored {
            receipt,
            broker: address.to_owned(),
            region: answer.field(REGION).map(str::to_owned),
            untraced: answer.field(TRACE_ON) == Some("false"),
        })
    }

    /// Sends a message in one request that nobody answers.
    pub(super) async fn send_oneway<D: Delivery>(
        &self,
        message: &Message<D>,
        target: Target<'_>,
    ) -> Result<(), Error> {
        let begun = Instant::now();
        let key = self.key_of(message);
        let mut sending = self.sending(message, &key, 0);
        self.shared.hooks.sending(&mut sending);
        let told = match self.prepare(message, 0, &key, &[], &sending.added) {
            Ok(outgoing) => self.tell(&outgoing, target, message.get(SHARDING_KEY)).await,
            Err(error) => Err(error),
        };
        let outcome = match &told {
            Ok(_) => SendOutcome::Unanswered,
            Err(error) => SendOutcome::Failed { error, maybe_stored: false },
        };
        let (broker, body_bytes) = told
            .as_ref()
            .map_or((None, message.body.len()), |(broker, bytes)| (Some(broker.as_str()), *bytes));
        let elapsed = begun.elapsed();
        let sent = Sent { outcome, elapsed, broker, body_bytes, region: None, untraced: false };
        self.shared.hooks.sent(&sending, &sent);
        told.map(drop)
    }

    /// One request that nobody answers: whom it went to, and bytes of the body.
    async fn tell(
        &self,
        outgoing: &Outgoing<'_>,
        target: Target<'_>,
        ordering_key: Option<&str>,
    ) -> Result<(String, usize), Error> {
        let route = self.route_in_time(&outgoing.topic).await?;
        let queue = self.choose(&route, target, ordering_key, None)?;
        let address = self.shared.master_of(&queue).await?;
        let fields = fields(&self.wire_group, outgoing, &queue);
        self.shared.tell(&address, request::SEND_MESSAGE_V2, &fields, &outgoing.body).await?;
        Ok((address, outgoing.body.len()))
    }
}

/// What hooks hear of a send that is over.
pub(super) fn told<'a>(
    sent: &Result<&'a Stored, &'a Failure>,
    elapsed: Duration,
    body_bytes: usize,
) -> Sent<'a> {
    match sent {
        Ok(stored) => Sent {
            outcome: SendOutcome::Stored(&stored.receipt),
            elapsed,
            broker: Some(&stored.broker),
            body_bytes,
            region: stored.region.as_deref(),
            untraced: stored.untraced,
        },
        Err(Failure { error, maybe_stored, broker, .. }) => Sent {
            outcome: SendOutcome::Failed { error, maybe_stored: *maybe_stored },
            elapsed,
            broker: broker.as_deref(),
            body_bytes,
            region: None,
            untraced: false,
        },
    }
}

impl Options {
    /// As the official clients have them.
    pub fn usual() -> Options {
        Options {
            timeout: Duration::from_secs(3),
            attempt_timeout: None,
            attempts: 3,
            retry_not_store_ok: false,
            retry_codes: BTreeSet::from(RETRY_CODES),
            compress_from: 4_096,
            compression: Compression::default(),
            body_max: crate::message::BODY_MAX,
            in_flight: 1_024,
            in_flight_bytes: 100 << 20,
            avoid_slow: false,
            awake: Duration::ZERO,
            auto_batch: None,
        }
    }
}

fn fields<'a>(group: &'a str, outgoing: &'a Outgoing<'_>, queue: &'a MessageQueue) -> Fields<'a> {
    Fields::new()
        .text("a", group)
        .text("b", outgoing.topic.as_ref())
        .text("c", AUTO_CREATE_TOPIC)
        .number("d", DEFAULT_TOPIC_QUEUES)
        .number("e", queue.queue_id)
        .number("f", outgoing.sys_flag)
        .number("g", now_ms())
        .number("h", outgoing.flag)
        .text("i", outgoing.properties.as_str())
        .number("j", outgoing.failures.map_or(0, |(failures, _)| failures))
        .flag("k", false)
        .maybe("l", outgoing.failures.map(|(_, most)| most.to_string()))
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
