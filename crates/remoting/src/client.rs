//! The calling side: one connection per address, made when needed, requests pipelined over it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpStream;
use wire::header::FrameWriter;

use crate::budget::{Budget, Limits};
use crate::channel::{Answer, CallError, Channel, Patience};
use crate::server::next_channel_id;
use crate::stream::Stream;
use crate::{Service, connection};

/// Time to connect, as the official clients have it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Connections to other servers.
pub struct Client {
    service: Arc<dyn Service>,
    budget: Arc<Budget>,
    channels: Mutex<HashMap<String, Arc<Channel>>>,
    #[cfg(feature = "tls")]
    encrypted: Option<crate::tls::Connector>,
}

impl Client {
    /// A client that hands requests coming the other way to `service`.
    pub fn new(limits: Limits, service: Arc<dyn Service>) -> Client {
        Client {
            service,
            budget: Budget::new(limits),
            channels: Mutex::new(HashMap::new()),
            #[cfg(feature = "tls")]
            encrypted: None,
        }
    }

    /// Encrypts all connections from now on.
    ///
    /// # Errors
    /// When certificate and key of the client cannot be used.
    #[cfg(feature = "tls")]
    pub fn encrypted(mut self, tls: &crate::Tls) -> Result<Client, crate::TlsError> {
        self.encrypted = Some(tls.connector()?);
        Ok(self)
    }

    /// Sends a request to `address` (`host:port`) and waits for the answer; `timeout` covers connecting too.
    pub async fn call(
        &self,
        address: &str,
        code: i32,
        fields: &[(&str, &str)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        let write = |writer: &mut FrameWriter<'_>| {
            for (name, value) in fields {
                writer.field(name, value);
            }
        };
        self.call_with(address, code, write, body, timeout).await
    }

    /// Does the same with the header fields that `write` writes.
    pub async fn call_with(
        &self,
        address: &str,
        code: i32,
        write: impl FnOnce(&mut FrameWriter<'_>),
        body: &[u8],
        patience: impl Into<Patience>,
    ) -> Result<Answer, CallError> {
        let mut patience = patience.into();
        let channel = match self.open(address) {
            Some(channel) => channel,
            None => Box::pin(self.connected(address, &mut patience)).await?,
        };
        channel.call_with(code, write, body, patience).await
    }

    /// A new connection, and the time that it took is over for the call that needs it.
    async fn connected(&self, address: &str, patience: &mut Patience) -> Result<Arc<Channel>, CallError> {
        let begun = Instant::now();
        let channel = self.new_channel(address, patience.timeout.min(CONNECT_TIMEOUT)).await?;
        patience.timeout = patience.timeout.saturating_sub(begun.elapsed());
        Ok(channel)
    }

    /// The open connection to `address`, made if there is none.
    pub async fn channel(&self, address: &str, timeout: Duration) -> Result<Arc<Channel>, CallError> {
        match self.open(address) {
            Some(channel) => Ok(channel),
            // Boxed, since it happens once and would make the future of every call large.
            None => Box::pin(self.new_channel(address, timeout)).await,
        }
    }

    fn open(&self, address: &str) -> Option<Arc<Channel>> {
        self.channels.lock().get(address).filter(|channel| channel.is_open()).cloned()
    }

    async fn new_channel(&self, address: &str, timeout: Duration) -> Result<Arc<Channel>, CallError> {
        let failed = |cause: String| CallError::Connect { address: address.to_owned(), cause };
        let (stream, peer, local) = tokio::time::timeout(timeout, self.connect(address))
            .await
            .map_err(|_| failed("timed out".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        let channel = Channel::new(next_channel_id(), peer, local, Arc::clone(&self.budget));
        {
            let mut channels = self.channels.lock();
            if let Some(other) = channels.get(address)
                && other.is_open()
            {
                // Somebody else connected meanwhile; one connection per address is enough.
                return Ok(Arc::clone(other));
            }
            channels.insert(address.to_owned(), Arc::clone(&channel));
        }
        let (of_task, service) = (Arc::clone(&channel), Arc::clone(&self.service));
        tokio::spawn(connection::run(connection::End::Connecting, stream, of_task, service));
        Ok(channel)
    }

    /// A new connection with the addresses of both ends, the other's first.
    async fn connect(&self, address: &str) -> io::Result<(Stream, SocketAddr, SocketAddr)> {
        let socket = TcpStream::connect(address).await?;
        let _ = socket.set_nodelay(true);
        let (peer, local) = (socket.peer_addr()?, socket.local_addr()?);
        #[cfg(feature = "tls")]
        if let Some(connector) = &self.encrypted {
            let session = connector.agree(socket, address).await?;
            return Ok((Stream::Tls(Box::new(session)), peer, local));
        }
        Ok((Stream::Plain(socket), peer, local))
    }

    /// The next call to `address` makes a new connection; calls under way on the present one still get their answers.
    pub fn abandon(&self, address: &str) {
        self.channels.lock().remove(address);
    }

    /// Number of the open connection to `address`, unique within this process.
    pub fn connection(&self, address: &str) -> Option<u64> {
        self.open(address).map(|channel| channel.id())
    }

    /// Closes the connection to `address` if nothing has come over it for so long, and so also ends the calls that wait
    /// for answers there. The next call makes a new one.
    pub fn close_if_silent(&self, address: &str, silence: Duration) {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(address).filter(|channel| channel.silent_for() >= silence) {
            channel.close(&format!("nothing has come over it for {} ms", channel.silent_for().as_millis()));
            channels.remove(address);
        }
    }

    /// Closes all connections.
    pub fn close(&self) {
        for (_, channel) in self.channels.lock().drain() {
            channel.close("");
        }
    }
}
