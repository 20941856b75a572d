//! What a send comes to.

use wire::body::MessageQueue;
use wire::code::response;

use crate::error::Error;
use crate::message::{Delivery, Message, Now};

/// What the broker has done for the message when it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendStatus {
    /// Everything that its settings promise.
    Stored,
    /// It is stored, but the disk has not confirmed in time.
    FlushDiskTimeout,
    /// It is stored, but a replica has not confirmed in time.
    FlushSlaveTimeout,
    /// It is stored, but there is no replica.
    SlaveNotAvailable,
}

impl SendStatus {
    pub(crate) fn of(code: i32) -> Option<SendStatus> {
        Some(match code {
            response::SUCCESS => SendStatus::Stored,
            response::FLUSH_DISK_TIMEOUT => SendStatus::FlushDiskTimeout,
            response::FLUSH_SLAVE_TIMEOUT => SendStatus::FlushSlaveTimeout,
            response::SLAVE_NOT_AVAILABLE => SendStatus::SlaveNotAvailable,
            _ => return None,
        })
    }
}

/// A message that a broker has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// Key that the message was given: the same over all attempts, and what its consumers see.
    pub message_id: String,
    /// Where it is stored.
    pub offset_id: String,
    /// Queue that it is in; a delayed message is there only when it is due.
    pub queue: MessageQueue,
    /// Position in the queue.
    pub offset: i64,
    /// What was confirmed.
    pub status: SendStatus,
    /// Takes a delayed message back, where the broker allows that; see
    /// [`Producer::recall`](crate::Producer::recall).
    pub recall_handle: Option<String>,
    /// Requests that it took. With more than one, consumers may see the message twice.
    pub attempts: u32,
}

/// A message that was not confirmed. Gives the message back.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}{}", self.told(), if self.maybe_stored() { "; it may have been stored all the same" } else { "" })]
pub struct SendError<D: Delivery = Now> {
    source: Error,
    inner: Box<Inner<D>>,
}

#[derive(Debug)]
struct Inner<D: Delivery> {
    message: Message<D>,
    message_id: String,
    attempts: u32,
    maybe_stored: bool,
}

impl<D: Delivery> SendError<D> {
    pub(crate) fn new(
        source: Error,
        message: Message<D>,
        message_id: String,
        attempts: u32,
        maybe_stored: bool,
    ) -> SendError<D> {
        SendError { source, inner: Box::new(Inner { message, message_id, attempts, maybe_stored }) }
    }

    fn told(&self) -> String {
        match self.inner.attempts {
            0 => "the message was not sent".to_owned(),
            1 => "the message was sent once without success".to_owned(),
            more => format!("the message was sent {more} times without success"),
        }
    }

    /// Whether a broker may have stored the message although nobody confirmed it. `false` is a promise that none did.
    pub fn maybe_stored(&self) -> bool {
        self.inner.maybe_stored
    }

    /// Why the last attempt failed.
    pub fn cause(&self) -> &Error {
        &self.source
    }

    /// The key that the message went under.
    pub fn message_id(&self) -> &str {
        &self.inner.message_id
    }

    /// Requests that were made.
    pub fn attempts(&self) -> u32 {
        self.inner.attempts
    }

    /// The message, to be sent again or kept. It keeps its key: sent again, it is stored once by a broker whose topic
    /// knows repeated sends (`dedup.window.ms`), and consumers elsewhere can tell by the key that it is the same.
    ///
    /// ```no_run
    /// # async fn example(producer: thrustmq_client::Producer) {
    /// use std::time::Duration;
    /// use thrustmq_client::Message;
    ///
    /// let mut message = Message::new("orders", "order 7 is paid");
    /// while let Err(error) = producer.send(message).await {
    ///     tokio::time::sleep(Duration::from_secs(1)).await;
    ///     message = error.into_message();
    /// }
    /// # }
    /// ```
    pub fn into_message(self) -> Message<D> {
        let Inner { mut message, message_id, .. } = *self.inner;
        // One that failed before it was given a key may have one from an earlier send.
        if !message_id.is_empty() {
            message.message_id = Some(message_id);
        }
        message
    }
}

impl<D: Delivery> From<SendError<D>> for Error {
    fn from(error: SendError<D>) -> Error {
        error.source
    }
}
