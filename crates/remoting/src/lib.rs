//! Connections that carry frames, for servers and clients alike.
//!
//! One task owns a socket. It reads what is there, hands all complete frames of that read to a [`Service`] as one
//! [`Turn`], and writes all answers with one call. Whoever answers later keeps the [`Channel`] and the
//! [`ReplyTo`] of the request; the task writes for them too, or they do if they have the time
//! ([`Channel::send_directly`]). Memory is bounded: a peer that does not read its answers is not read from.
//!
//! Invariant: nothing here knows what a code means; a malformed frame ends its connection, never the process.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod budget;
mod channel;
mod client;
mod connection;
mod inbound;
mod outbox;
mod server;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod turn;

pub use budget::{Limits, Places};
pub use channel::{Answer, CallError, Channel, Held, Patience};
pub use client::Client;
pub use server::{Listener, Server, ServerError};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};
pub use turn::{Pause, ReplyTo, Request, Turn};

use std::sync::Arc;

/// What a server, or the other end of a client's connection, does with requests.
pub trait Service: Send + Sync + 'static {
    /// Serves the requests of one read. Must not block: what takes long is answered later over `channel`, or put back
    /// until it can be served.
    fn serve(&self, channel: &Arc<Channel>, turn: &mut Turn<'_>);

    /// The connection has ended; nothing sent over `channel` will arrive any more.
    fn closed(&self, channel: &Arc<Channel>);
}
