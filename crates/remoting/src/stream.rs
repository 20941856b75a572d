//! The socket of a connection, plain or encrypted.
//!
//! Which of the two it is stands in a tag beside the socket: a plain connection pays a branch that always goes the
//! same way before each system call, and nothing else.

use std::io;

use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;

/// What a connection reads from and writes to, without ever waiting itself.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<crate::tls::Session>),
}

impl Stream {
    /// Waits until it may be read or written.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Stream::Plain(socket) => socket.ready(interest).await,
            #[cfg(feature = "tls")]
            Stream::Tls(session) => session.ready(interest).await,
        }
    }

    /// Reads what is there; 0 at the end, `WouldBlock` when nothing is there yet.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.try_read(buffer),
            #[cfg(feature = "tls")]
            Stream::Tls(session) => session.try_read(buffer),
        }
    }

    /// Takes as many bytes as it can without waiting; `WouldBlock` when that is none.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.try_write(bytes),
            #[cfg(feature = "tls")]
            Stream::Tls(session) => session.try_write(bytes),
        }
    }

    /// Writes what it took before and could not write, and says whether some of it still waits for room.
    pub fn is_behind(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            #[cfg(feature = "tls")]
            Stream::Tls(session) => session.is_behind(),
        }
    }

    /// Tells the other end that nothing more comes, where that is more than closing the socket.
    pub fn say_goodbye(&self) {
        match self {
            Stream::Plain(_) => (),
            #[cfg(feature = "tls")]
            Stream::Tls(session) => session.say_goodbye(),
        }
    }
}
