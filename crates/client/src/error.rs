//! Why something could not be done, and whether a message may have been stored all the same.

use std::time::Duration;

use remoting::{Answer, CallError};
use wire::code::response;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for makes no sense; nothing was sent.
    #[error("{0}")]
    Illegal(String),
    /// A hook did not let it happen; nothing was sent.
    #[error("a hook of this client forbids it: {0}")]
    Forbidden(String),
    /// No name server gave an answer.
    #[error("no name server answered ({tried} tried), the last because {last}")]
    NoNameServer {
        /// Name servers that were tried.
        tried: usize,
        /// What the last one said.
        last: String,
    },
    /// The page that lists the name servers gave no list.
    #[error("the list of name servers at {page} cannot be had: {what}")]
    NoList {
        /// Address of the page.
        page: String,
        /// What was wrong.
        what: String,
    },
    /// No name server knows the topic.
    #[error(
        "no broker has topic \"{topic}\"; create it, or let brokers create topics (autoCreateTopicEnable)"
    )]
    NoRoute {
        /// The topic.
        topic: String,
    },
    /// Nobody serves what was asked for: the broker is not registered, or is there without a master.
    #[error("broker \"{name}\" is not registered with the name servers")]
    NoBroker {
        /// Name of the broker or of the cluster.
        name: String,
    },
    /// There is no connection and none could be made; nothing was sent.
    #[error("cannot connect to {address}: {cause}; is the server running and is the address right?")]
    Connect {
        /// Where to.
        address: String,
        /// What the system said.
        cause: String,
    },
    /// The connection ended before the answer came.
    #[error("the connection to {address} closed before the answer came")]
    Closed {
        /// Where to.
        address: String,
    },
    /// No answer in time.
    #[error("no answer from {address} within {} ms", after.as_millis())]
    Timeout {
        /// Where to.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// The time given for the whole call was over before anything could be sent.
    #[error("{what} could not begin within {} ms", after.as_millis())]
    TooLate {
        /// What should have been done.
        what: &'static str,
        /// The time given.
        after: Duration,
    },
    /// The server said no.
    #[error("{address} refused: {} ({code}): {remark}", response::name(*code).unwrap_or("unknown code"))]
    Refused {
        /// Who refused.
        address: String,
        /// Its response code; names are in [`wire::code::response`].
        code: i32,
        /// Its reason.
        remark: String,
    },
    /// The server's answer cannot be understood.
    #[error("{address} gave an answer that makes no sense: {what}")]
    Malformed {
        /// Who answered.
        address: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file of ours cannot be read or written.
    #[error("cannot {what}: {cause}")]
    File {
        /// A verb and the file.
        what: String,
        /// What the system said.
        cause: String,
    },
    /// The client, producer or consumer has been closed.
    #[error("{0} is closed")]
    Stopped(&'static str),
}

impl Error {
    /// The server's response code, when it was the server that refused.
    pub fn broker_code(&self) -> Option<i32> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the request may have been acted on although no answer says so: a message may be stored, an offset
    /// moved. `false` is a promise that nothing happened.
    pub fn maybe_done(&self) -> bool {
        matches!(self, Error::Closed { .. } | Error::Timeout { .. } | Error::Malformed { .. })
    }

    /// The same of a message that was sent. A server that says that it failed may have done so when the message was
    /// stored already: other codes are given before that.
    pub(crate) fn maybe_stored(&self) -> bool {
        self.maybe_done() || self.broker_code() == Some(response::SYSTEM_ERROR)
    }

    /// Whether a call used up its time or found nobody, rather than somebody who said no.
    pub(crate) fn nobody_answered(&self) -> bool {
        let silent = matches!(self, Error::Timeout { .. } | Error::TooLate { .. });
        silent || matches!(self, Error::Connect { .. } | Error::NoNameServer { .. })
    }

    /// Whether the same call may succeed later, or with another broker.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Refused { code, .. } => matches!(
                *code,
                response::SYSTEM_ERROR
                    | response::SYSTEM_BUSY
                    | response::SERVICE_NOT_AVAILABLE
                    | response::TOPIC_NOT_EXIST
                    | response::NO_BUYER_ID
                    | response::NOT_IN_CURRENT_UNIT
                    | response::GO_AWAY
                    | response::FLOW_CONTROL
                    | response::NOT_LEADER_FOR_QUEUE
            ),
            Error::Illegal(_)
            | Error::Forbidden(_)
            | Error::Stopped(_)
            | Error::Malformed { .. }
            | Error::File { .. } => false,
            _ => true,
        }
    }

    pub(crate) fn illegal(what: impl std::fmt::Display) -> Error {
        Error::Illegal(what.to_string())
    }

    pub(crate) fn refused(address: &str, answer: &Answer) -> Error {
        let remark = answer.remark.clone().unwrap_or_default();
        Error::Refused { address: address.to_owned(), code: answer.code, remark }
    }

    pub(crate) fn malformed(address: &str, what: impl std::fmt::Display) -> Error {
        Error::Malformed { address: address.to_owned(), what: what.to_string() }
    }
}

#[cfg(feature = "tls")]
impl From<remoting::TlsError> for Error {
    fn from(error: remoting::TlsError) -> Error {
        Error::illegal(error)
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Error {
        match error {
            CallError::Connect { address, cause } => Error::Connect { address, cause },
            CallError::Closed { address } => Error::Closed { address },
            CallError::Timeout { address, after } => Error::Timeout { address, after },
        }
    }
}
