//! One request and the place for its answer: what every handler gets.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

use remoting::{Channel, Held, ReplyTo, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{AppendError, StoreError};
use wire::body::TopicConfig;
use wire::code::response;
use wire::header::FrameWriter;
use wire::loose_json;
use wire::record::EncodeError;

use crate::Broker;

/// Fields that speak of who asks us; Java passes them on to the client.
const CREDENTIALS: [&str; 3] = ["AccessKey", "Signature", "SecurityToken"];

/// A request being served.
pub(crate) struct Exchange<'t, 'r> {
    /// Where it came from.
    pub channel: &'t Arc<Channel>,
    /// What was asked.
    pub request: &'t Request<'r>,
    /// Where answers that are ready at once go.
    pub out: &'t mut Vec<u8>,
}

/// Why a request is not served: the code a client acts on, and a remark for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub code: i32,
    pub remark: Cow<'static, str>,
    /// The topic that is to be created before the request is served.
    pub before: Option<Box<TopicConfig>>,
}

impl Refusal {
    pub fn new(code: i32, remark: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code, remark: remark.into(), before: None }
    }

    /// Not before this topic is created.
    pub fn until_created(topic: TopicConfig) -> Refusal {
        let remark = format!("topic[{}] was created and is not there any more", topic.topic_name);
        Refusal { before: Some(Box::new(topic)), ..Refusal::new(response::TOPIC_NOT_EXIST, remark) }
    }

    /// SYSTEM_ERROR with the text of an error.
    pub fn system(error: impl Display) -> Refusal {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Refusal {
        Refusal::system(error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal::system(error)
    }
}

impl From<EncodeError> for Refusal {
    fn from(error: EncodeError) -> Refusal {
        let remark =
            format!("the message is illegal, maybe msg body or properties length not matched. {error}");
        Refusal::new(response::MESSAGE_ILLEGAL, remark)
    }
}

/// What a client is told when the store did not take a message (broker.md §5.6).
impl From<&AppendError> for Refusal {
    fn from(error: &AppendError) -> Refusal {
        let (code, prefix) = match error {
            AppendError::Stopped
            | AppendError::ReadOnly { .. }
            | AppendError::DiskFull { .. }
            | AppendError::QueuesBehind { .. } => {
                (response::SERVICE_NOT_AVAILABLE, "service not available now. ")
            }
            AppendError::NoSegment { .. } => (response::SYSTEM_ERROR, "create mapped file failed, "),
            AppendError::TooLarge { .. } => (response::MESSAGE_ILLEGAL, "the message is illegal, "),
            AppendError::Io { .. } => (response::SYSTEM_ERROR, "UNKNOWN_ERROR "),
        };
        Refusal::new(code, format!("{prefix}{error}"))
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Refusal {
        Refusal::from(&error)
    }
}

/// What handlers return: the answer is written, or will be, or is refused.
pub(crate) type Outcome = Result<(), Refusal>;

impl Exchange<'_, '_> {
    /// A field that must be there.
    pub fn text(&self, name: &str) -> Result<&str, Refusal> {
        self.request.field(name).filter(|text| !text.is_empty()).ok_or_else(|| missing(name))
    }

    /// A number that must be there.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, Refusal> {
        number(name, self.text(name)?)
    }

    /// A number that may be missing, but not be anything else.
    pub fn optional_number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let text = self.request.field(name).filter(|text| !text.is_empty());
        text.map(|text| number(name, text)).transpose()
    }

    /// A number with a default, which also stands for what is none.
    pub fn number_or<T: std::str::FromStr>(&self, name: &str, default: T) -> T {
        self.request.header.fields.number(name).unwrap_or(default)
    }

    /// A boolean; absent is false.
    pub fn flag(&self, name: &str) -> bool {
        self.request.header.fields.flag(name).unwrap_or(false)
    }

    /// The body as JSON, in either form.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        loose_json::read(self.request.body).map_err(Refusal::system)
    }

    /// Where the answer goes.
    pub fn reply(&mut self) -> Reply<'_> {
        Reply { to: self.request.reply_to(), out: self.out }
    }

    /// Answers with a code and what `fill` adds; nothing for a one-way request.
    pub fn answer(&mut self, code: i32, remark: Option<&str>, fill: impl FnOnce(FrameWriter<'_>)) -> Outcome {
        self.reply().answer(code, remark, fill)
    }

    /// Answers SUCCESS and nothing else.
    pub fn ok(&mut self) -> Outcome {
        self.reply().ok()
    }

    /// Answers SUCCESS with one number.
    pub fn ok_number(&mut self, name: &str, value: i64) -> Outcome {
        self.reply().ok_number(name, value)
    }

    /// Answers SUCCESS with a JSON body.
    pub fn ok_json(&mut self, value: &impl Serialize) -> Outcome {
        self.reply().ok_json(value)
    }

    /// Answers SUCCESS with a body as it is.
    pub fn ok_body(&mut self, body: &[u8]) -> Outcome {
        self.reply().ok_body(body)
    }

    /// Writes a refusal.
    pub fn refuse(&mut self, refusal: &Refusal) {
        self.reply().refuse(refusal);
    }
}

/// The place for one answer, from the handler itself or from somewhere else later.
pub(crate) struct Reply<'a> {
    /// Which request is answered.
    pub to: ReplyTo,
    /// Where the frame goes.
    pub out: &'a mut Vec<u8>,
}

impl Reply<'_> {
    /// Answers with a code and what `fill` adds; nothing for a one-way request.
    pub fn answer(&mut self, code: i32, remark: Option<&str>, fill: impl FnOnce(FrameWriter<'_>)) -> Outcome {
        if !self.to.oneway {
            fill(FrameWriter::new(self.out, &self.to.head(code, remark)));
        }
        Ok(())
    }

    /// Answers SUCCESS and nothing else.
    pub fn ok(&mut self) -> Outcome {
        self.answer(response::SUCCESS, None, |writer| writer.empty())
    }

    /// Answers SUCCESS with one number.
    pub fn ok_number(&mut self, name: &str, value: i64) -> Outcome {
        self.answer(response::SUCCESS, None, |mut writer| {
            writer.number(name, value);
            writer.empty();
        })
    }

    /// Answers SUCCESS with a JSON body.
    pub fn ok_json(&mut self, value: &impl Serialize) -> Outcome {
        self.answer(response::SUCCESS, None, |writer| loose_json::body_of(writer, value))
    }

    /// Answers SUCCESS with a body as it is.
    pub fn ok_body(&mut self, body: &[u8]) -> Outcome {
        self.answer(response::SUCCESS, None, |writer| writer.body(body))
    }

    /// Writes a refusal.
    pub fn refuse(&mut self, refusal: &Refusal) {
        self.to.write(self.out, refusal.code, Some(&refusal.remark));
    }
}

/// A place for a request that waits.
pub(crate) fn hold(channel: &Arc<Channel>) -> Result<Held, Refusal> {
    channel.hold().ok_or_else(|| too_many_wait("messages, the disk or others"))
}

/// The connection has too many requests under way that wait for something.
pub(crate) fn too_many_wait(for_what: &str) -> Refusal {
    let remark = format!(
        "[OVERLOAD]too many requests of this connection wait for {for_what} (thrust.maxInFlightPerConnection)"
    );
    Refusal::new(response::SYSTEM_BUSY, remark)
}

/// The fields of the request, without those that prove who sent it.
pub(crate) fn passed_on(exchange: &Exchange<'_, '_>) -> Vec<(String, String)> {
    let fields = exchange.request.header.fields.iter().filter(|(name, _)| !CREDENTIALS.contains(name));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Answers a request from a task of its own, which has a place of its connection meanwhile.
pub(crate) fn answer_later<A>(
    exchange: &Exchange<'_, '_>,
    work: impl Future<Output = Result<A, Refusal>> + Send + 'static,
) -> Outcome
where
    A: FnOnce(Reply<'_>) -> Outcome + Send,
{
    let held = hold(exchange.channel)?;
    let to = exchange.request.reply_to();
    tokio::spawn(async move {
        let done = work.await;
        let mut out = Vec::new();
        let answered = done.and_then(|answer| answer(Reply { to, out: &mut out }));
        if let Err(refusal) = answered {
            out.clear();
            Reply { to, out: &mut out }.refuse(&refusal);
        }
        held.channel().send(&out);
    });
    Ok(())
}

impl Broker {
    /// Does what takes the disk its time on a thread that may wait for it.
    pub(crate) async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Broker) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let broker = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&broker)).await.map_err(Refusal::system)?
    }
}

/// For handlers that answer from another task.
pub(crate) fn send_refusal(channel: &Channel, reply_to: ReplyTo, refusal: &Refusal) {
    let mut out = Vec::new();
    reply_to.write(&mut out, refusal.code, Some(&refusal.remark));
    channel.send(&out);
}

/// The number that a field's text must be.
pub(crate) fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| {
        let remark = format!("the field {name} is \"{text}\", which is no number in range");
        Refusal::new(response::SYSTEM_ERROR, remark)
    })
}

pub(crate) fn missing(name: &str) -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, format!("the field {name} is missing"))
}
