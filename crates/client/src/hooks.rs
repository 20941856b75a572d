//! Who watches sends and consumption: traces of messages, measurements, contexts of other tracing systems
//! (client.md §3.10).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use remoting::Answer;

use crate::decision::Decision;
use crate::error::Error;
use crate::fields::Fields;
use crate::receipt::Receipt;
use crate::received::Received;

/// Watches messages on their way to brokers; see [`ClientBuilder::send_hook`](crate::ClientBuilder::send_hook).
///
/// Hooks run on the task that sends, which waits for them: they must not block, and what takes long belongs on a task
/// of its own.
///
/// ```
/// use thrustmq_client::{SendHook, Sending, Sent};
///
/// struct Slow;
///
/// impl SendHook for Slow {
///     fn before(&self, sending: &mut Sending<'_>) {
///         sending.property("origin", "shop-3");
///     }
///
///     fn after(&self, sending: &Sending<'_>, sent: &Sent<'_>) {
///         if sent.elapsed.as_millis() > 100 {
///             println!("{} took {:?}", sending.message_id, sent.elapsed);
///         }
///     }
/// }
/// ```
pub trait SendHook: Send + Sync + 'static {
    /// Whether a message may be sent. One that may not fails with [`Error::Forbidden`] and the text that is given here;
    /// hooks hear of it as of any other failure.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, sending: &Sending<'_>) -> Result<(), String> {
        let _ = sending;
        Ok(())
    }

    /// A message is about to be sent, for the first time if there are several attempts. Properties can be added to it.
    fn before(&self, sending: &mut Sending<'_>) {
        let _ = sending;
    }

    /// The send is over. A send that is cancelled is not heard of.
    fn after(&self, sending: &Sending<'_>, sent: &Sent<'_>) {
        let _ = (sending, sent);
    }

    /// A broker was told how a transaction ended.
    fn transaction_ended(&self, ended: &Ended<'_>) {
        let _ = ended;
    }
}

/// Watches messages in the application's hands; see
/// [`ClientBuilder::consume_hook`](crate::ClientBuilder::consume_hook).
///
/// Hooks run on the task that consumes: they must not block.
pub trait ConsumeHook: Send + Sync + 'static {
    /// Whether the application wants a message, beyond what its filter says. One that it does not want counts as read.
    /// Names are those that the application uses.
    fn wants(&self, group: &str, message: &Received) -> bool {
        let _ = (group, message);
        true
    }

    /// A message is handed to the application.
    fn before(&self, consuming: &Consuming<'_>) {
        let _ = consuming;
    }

    /// The application has settled it, or dropped it.
    fn after(&self, consuming: &Consuming<'_>, consumed: &Consumed) {
        let _ = (consuming, consumed);
    }
}

/// What kind of message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendKind {
    /// An ordinary message.
    Normal,
    /// The half message of a transaction.
    Half,
    /// A message with a delay level.
    Delayed,
}

/// A message that is sent.
#[derive(Debug)]
#[non_exhaustive]
pub struct Sending<'a> {
    /// Group of the producer.
    pub group: &'a str,
    /// Topic.
    pub topic: &'a str,
    /// The key that the message has over all attempts.
    pub message_id: &'a str,
    /// The word that consumers can select by.
    pub tag: Option<&'a str>,
    /// Keys that it can be found by, with spaces between them.
    pub keys: Option<&'a str>,
    /// The body, before it is compressed.
    pub body: &'a Bytes,
    /// What kind of message it is.
    pub kind: SendKind,
    pub(crate) added: Vec<(String, String)>,
}

impl Sending<'_> {
    /// Adds a property to the message. A name or value that is empty or has U+0001 or U+0002 in it is left out.
    pub fn property(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        if crate::message::is_property(&name, &value) {
            self.added.push((name, value));
        }
    }
}

/// How a send ended.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Sent<'a> {
    /// What came of it.
    pub outcome: SendOutcome<'a>,
    /// Over all attempts.
    pub elapsed: Duration,
    /// Address of the broker that was asked last, if one was.
    pub broker: Option<&'a str>,
    /// Bytes of the body as they travelled.
    pub body_bytes: usize,
    /// Region of the broker that stored it.
    pub region: Option<&'a str>,
    /// The broker does not want this message to be traced.
    pub untraced: bool,
}

/// What came of a send.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum SendOutcome<'a> {
    /// A broker stored it.
    Stored(&'a Receipt),
    /// It was sent without an answer.
    Unanswered,
    /// It was not confirmed.
    Failed {
        /// Why the last attempt failed.
        error: &'a Error,
        /// Whether it may have been stored all the same.
        maybe_stored: bool,
    },
}

/// A transaction whose end a broker was told.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Ended<'a> {
    /// Group of the producer.
    pub group: &'a str,
    /// Topic.
    pub topic: &'a str,
    /// Key of the half message.
    pub message_id: &'a str,
    /// Its tag.
    pub tag: Option<&'a str>,
    /// Its keys, with spaces between them.
    pub keys: Option<&'a str>,
    /// The protocol's id of the transaction.
    pub transaction_id: &'a str,
    /// How it ended.
    pub decision: Decision,
    /// Whether the broker had to ask.
    pub asked: bool,
    /// Address of the broker.
    pub broker: &'a str,
}

/// A message in the application's hands.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Consuming<'a> {
    /// Group of the consumer.
    pub group: &'a str,
    /// The message.
    pub message: &'a Received,
    /// Names this consumption: the same before and after, and no other's.
    pub consumption_id: &'a str,
}

/// What became of a message in the application's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Consumed {
    /// How it was settled.
    pub outcome: ConsumeOutcome,
    /// How long the application had it.
    pub elapsed: Duration,
}

/// How a message was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumeOutcome {
    /// It is done.
    Done,
    /// It failed and comes again.
    Failed,
    /// It failed for good and becomes a dead letter.
    Dead,
    /// Its handler took too long; it comes again.
    TimedOut,
    /// It was dropped without a word, as by a handler that panics, and comes again.
    Dropped,
}

/// Watches the requests of a client and their answers, whatever they are about; see
/// [`ClientBuilder::rpc_hook`](crate::ClientBuilder::rpc_hook).
///
/// Hooks run on the task that asks, which waits for them: they must not block.
///
/// ```
/// use thrustmq_client::{Error, RpcHook, RpcRequest, RpcResponse};
///
/// struct Zone;
///
/// impl RpcHook for Zone {
///     fn before(&self, request: &mut RpcRequest<'_>) {
///         request.add_field("__ZONE_NAME", "zone-3");
///     }
///
///     fn after(&self, request: &RpcRequest<'_>, response: Result<&RpcResponse<'_>, &Error>) {
///         if let Ok(response) = response {
///             println!("{} answered {} with {}", request.address, request.code, response.code);
///         }
///     }
/// }
/// ```
pub trait RpcHook: Send + Sync + 'static {
    /// A request is about to be sent. Header fields can be added to it, which are signed as all others are.
    fn before(&self, request: &mut RpcRequest<'_>) {
        let _ = request;
    }

    /// It was answered, or it is known that it was not. Of one that wants no answer nothing more is heard.
    fn after(&self, request: &RpcRequest<'_>, response: Result<&RpcResponse<'_>, &Error>) {
        let _ = (request, response);
    }
}

/// A request to a server.
#[derive(Debug)]
#[non_exhaustive]
pub struct RpcRequest<'a> {
    /// Address of the server.
    pub address: &'a str,
    /// What is asked for; names are in [`wire::code::request`].
    pub code: i32,
    /// The body; empty when there is none.
    pub body: &'a [u8],
    /// No answer is wanted.
    pub oneway: bool,
    pub(crate) fields: &'a Fields<'a>,
    pub(crate) added: Vec<(String, String)>,
}

impl RpcRequest<'_> {
    /// Its header fields, also those that were added. The namespace and the signature come later.
    pub fn fields(&self) -> Vec<(&str, Cow<'_, str>)> {
        let added = self.added.iter().map(|(name, value)| (name.as_str(), Cow::Borrowed(value.as_str())));
        self.fields.texts().into_iter().chain(added).collect()
    }

    /// Adds a header field. One that the request has already is left as it is.
    pub fn add_field(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        if !self.fields().iter().any(|(known, _)| *known == name) {
            self.added.push((name, value.into()));
        }
    }
}

/// An answer of a server.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RpcResponse<'a> {
    /// Its response code; names are in [`wire::code::response`].
    pub code: i32,
    /// Text for people.
    pub remark: Option<&'a str>,
    /// The body; empty when there is none.
    pub body: &'a [u8],
    answer: &'a Answer,
}

impl RpcResponse<'_> {
    /// Value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.answer.field(name)
    }
}

/// All who watch a client.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub rpc: Vec<Arc<dyn RpcHook>>,
    pub send: Vec<Arc<dyn SendHook>>,
    pub consume: Vec<Arc<dyn ConsumeHook>>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (send, consume, rpc) = (self.send.len(), self.consume.len(), self.rpc.len());
        let mut hooks = formatter.debug_struct("Hooks");
        hooks.field("send", &send).field("consume", &consume).field("rpc", &rpc).finish()
    }
}

impl Hooks {
    /// Before a request.
    pub fn asking(&self, request: &mut RpcRequest<'_>) {
        for hook in &self.rpc {
            hook.before(request);
        }
    }

    /// After a request.
    pub fn asked(&self, request: &RpcRequest<'_>, answer: &Result<Answer, Error>) {
        let response = answer.as_ref().map(|answer| RpcResponse {
            code: answer.code,
            remark: answer.remark.as_deref(),
            body: &answer.body,
            answer,
        });
        for hook in &self.rpc {
            hook.after(request, response.as_ref().map_err(|error| *error));
        }
    }

    /// Whether a message may be sent.
    pub fn check(&self, sending: &Sending<'_>) -> Result<(), Error> {
        self.send.iter().try_for_each(|hook| hook.check(sending).map_err(Error::Forbidden))
    }

    /// Whether a message that was read is wanted.
    pub fn want(&self, group: &str, message: &Received) -> bool {
        self.consume.iter().all(|hook| hook.wants(group, message))
    }

    /// Before a send.
    pub fn sending(&self, sending: &mut Sending<'_>) {
        for hook in &self.send {
            hook.before(sending);
        }
    }

    /// After a send.
    pub fn sent(&self, sending: &Sending<'_>, sent: &Sent<'_>) {
        for hook in &self.send {
            hook.after(sending, sent);
        }
    }

    /// After a transaction.
    pub fn ended(&self, ended: &Ended<'_>) {
        for hook in &self.send {
            hook.transaction_ended(ended);
        }
    }
}

/// One message in the application's hands, as the hooks watch it.
#[derive(Debug)]
pub(crate) struct Watched {
    consumption_id: String,
    begun: Instant,
}

impl Hooks {
    /// Before a consumption that somebody watches.
    pub fn consuming(&self, group: &str, message: &Received, id: impl FnOnce() -> String) -> Option<Watched> {
        if self.consume.is_empty() {
            return None;
        }
        let watched = Watched { consumption_id: id(), begun: Instant::now() };
        let consuming = Consuming { group, message, consumption_id: &watched.consumption_id };
        self.consume.iter().for_each(|hook| hook.before(&consuming));
        Some(watched)
    }

    /// After a consumption.
    pub fn consumed(&self, watched: &Watched, group: &str, message: &Received, outcome: ConsumeOutcome) {
        let consuming = Consuming { group, message, consumption_id: &watched.consumption_id };
        let consumed = Consumed { outcome, elapsed: watched.begun.elapsed() };
        self.consume.iter().for_each(|hook| hook.after(&consuming, &consumed));
    }
}
