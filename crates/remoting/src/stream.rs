//! The socket of a connection, plain or encrypted.
//!
//! Which of the two it is stands in a tag beside the socket: a plain connection pays a branch that always goes the
//! same way before each system call, and nothing else.

use std::io::{self, Read};

use socket2::SockRef;
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
            Stream::Plain(socket) => read_plain(socket, buffer),
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

/// Reads what is there. What leaves room in the buffer has emptied the socket: the next wait is for more then, and not
/// for a read that finds nothing.
fn read_plain(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    let outcome = socket.try_io(Interest::READABLE, || {
        let reference = SockRef::from(socket);
        let mut raw: &socket2::Socket = &reference;
        count = raw.read(buffer)?;
        let emptied = 0 < count && count < buffer.len();
        if emptied { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && count > 0 => Ok(count),
        other => other.map(|()| count),
    }
}
