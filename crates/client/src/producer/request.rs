//! Requests and replies over topics (client.md §2.8).

use std::time::Duration;

use bytes::Bytes;
use wire::body::MessageQueue;
use wire::code::request;
use wire::properties as props;

use super::send::{Outgoing, Target};
use super::{Inner, Producer};
use crate::body::pack;
use crate::error::Error;
use crate::identity::random;
use crate::message::{Message, Now};
use crate::receipt::{Receipt, SendError};
use crate::received::Received;
use crate::reply::Reply;

const TTL: &str = "TTL";
/// Kind of a reply.
const REPLY: &str = "reply";

/// Why a request has no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It was sent, or its broker has not confirmed that in time, and nobody replied in time.
    #[error("nobody replied within {} ms", after.as_millis())]
    NoReply {
        /// How long was waited.
        after: Duration,
    },
}

/// Forgets a reply that nobody waits for any more.
struct Expected<'a> {
    inner: &'a Inner,
    correlation_id: &'a str,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.inner.shared.registry.forget_reply(self.correlation_id);
    }
}

impl Producer {
    /// Sends a message and waits for what one of its consumers replies.
    ///
    /// ```no_run
    /// # async fn example(client: thrustmq_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use thrustmq_client::{Filter, Message};
    ///
    /// // Who answers:
    /// let replies = client.producer("quote-replies").build()?;
    /// let quotes = client.consumer("quotes").subscribe("quotes", Filter::all());
    /// let serving = quotes
    ///     .serve(move |question| {
    ///         let replies = replies.clone();
    ///         async move { replies.reply(&question, "12.50").await.map(drop) }
    ///     })
    ///     .await?;
    /// // Who asks:
    /// let producer = client.producer("shop").build()?;
    /// let quote = producer.request(Message::new("quotes", "apples"), Duration::from_secs(2)).await?;
    /// println!("{:?}", quote.body);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the message could not be sent, or nobody replied in time.
    pub async fn request(&self, message: Message<Now>, timeout: Duration) -> Result<Reply, RequestError> {
        self.ask(message, Target::Any, timeout).await
    }

    /// Does the same with one queue, which must be of the message's topic: whoever has that queue answers.
    ///
    /// # Errors
    /// As [`request`](Producer::request).
    pub async fn request_to(
        &self,
        message: Message<Now>,
        queue: &MessageQueue,
        timeout: Duration,
    ) -> Result<Reply, RequestError> {
        if let Err(error) = self.check_queue(queue, &message) {
            return Err(SendError::new(error, message, String::new(), 0, false).into());
        }
        self.ask(message, Target::Queue(queue), timeout).await
    }

    async fn ask(
        &self,
        message: Message<Now>,
        target: Target<'_>,
        timeout: Duration,
    ) -> Result<Reply, RequestError> {
        let inner = &*self.inner;
        let deadline = tokio::time::Instant::now() + timeout;
        let topic = inner.shared.namespace.wrap(&message.topic);
        let greeted = async {
            if let Ok(route) = inner.shared.route_to_send(&topic).await {
                // Any broker of the cluster may have to push the reply, and knows us only by a heartbeat.
                inner.shared.greet(&route.masters(), timeout / 4).await;
            }
        };
        let _ = tokio::time::timeout_at(deadline, greeted).await;
        let correlation_id = format!("{:016x}{:016x}", random(), random());
        let reply = inner.shared.registry.expect_reply(&correlation_id);
        let _expected = Expected { inner, correlation_id: &correlation_id };
        let ttl = timeout.as_millis().to_string();
        let client_id = inner.shared.client_id.as_str();
        let more = [
            (props::CORRELATION_ID, correlation_id.as_str()),
            (props::REPLY_TO_CLIENT, client_id),
            (TTL, ttl.as_str()),
        ];
        let no_reply = || RequestError::NoReply { after: timeout };
        let sent = tokio::time::timeout_at(deadline, inner.send(message, target, 0, &more)).await;
        sent.map_err(|_| no_reply())??;
        let reply = tokio::time::timeout_at(deadline, reply).await;
        reply.ok().and_then(Result::ok).ok_or_else(no_reply)
    }

    /// Replies to a message that was sent as a request.
    ///
    /// # Errors
    /// When the message was no request, or the broker could not hand the reply on.
    pub async fn reply(&self, to: &Received, body: impl Into<Bytes>) -> Result<Receipt, Error> {
        let asked = |name| {
            let missing = || Error::Illegal(format!("the message is no request: it has no {name}"));
            to.property(name).ok_or_else(missing)
        };
        let topic = format!("{}_REPLY_TOPIC", asked(props::CLUSTER)?);
        let mut properties = Vec::new();
        for name in [props::CORRELATION_ID, props::REPLY_TO_CLIENT, TTL] {
            props::push(&mut properties, name, asked(name)?);
        }
        props::push(&mut properties, props::MSG_TYPE, REPLY);
        let key = self.inner.shared.keys.next(crate::identity::now_ms());
        props::push(&mut properties, props::UNIQ_KEY, &key);
        let options = &self.inner.options;
        let (body, sys_flag) = pack(&body.into(), options.compress_from, options.compression);
        let outgoing = Outgoing {
            code: request::SEND_REPLY_MESSAGE_V2,
            topic: topic.into(),
            body,
            flag: 0,
            sys_flag,
            properties: String::from_utf8(properties).unwrap_or_default(),
            unique_key: &key,
            failures: None,
        };
        let sent = self.inner.attempts(&outgoing, Target::Any, None).await;
        sent.map(|stored| stored.receipt).map_err(|failure| failure.error)
    }
}
