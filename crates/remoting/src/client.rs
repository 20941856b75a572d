//! The calling side: one connection per address, made when needed, requests pipelined over it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use wire::header::FrameWriter;

use crate::budget::{Budget, Limits};
use crate::channel::{Answer, CallError, Channel, Patience};
use crate::server::next_channel_id;
use crate::stream::Stream;
use crate::{Service, connection};

/// Time to connect, as the official clients have it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What a call is told that finds the client closed, or is waiting for a connection then.
const CLIENT_CLOSED: &str = "this client has been closed";

/// Connections to other servers.
pub struct Client {
    connector: Connector,
    table: Arc<Mutex<Table>>,
}

/// What it takes to make a connection.
#[derive(Clone)]
struct Connector {
    service: Arc<dyn Service>,
    budget: Arc<Budget>,
    #[cfg(feature = "tls")]
    encrypted: Option<Arc<crate::tls::Connector>>,
}

/// Connections by address.
#[derive(Default)]
struct Table {
    open: HashMap<String, Arc<Channel>>,
    /// Connections that are being made, each by a task of its own: whoever wants one meanwhile waits for it, and who
    /// gives up waiting takes it from nobody else.
    connecting: HashMap<String, Connecting>,
    /// Nothing is connected any more.
    closed: bool,
}

/// A connection that is being made.
struct Connecting {
    outcome: watch::Receiver<Option<Outcome>>,
    task: AbortHandle,
}

/// A connection, or why there is none.
type Outcome = Result<Arc<Channel>, String>;

impl Client {
    /// A client that hands requests coming the other way to `service`.
    pub fn new(limits: Limits, service: Arc<dyn Service>) -> Client {
        let connector = Connector {
            service,
            budget: Budget::new(limits),
            #[cfg(feature = "tls")]
            encrypted: None,
        };
        Client { connector, table: Arc::default() }
    }

    /// Encrypts all connections from now on.
    ///
    /// # Errors
    /// When certificate and key of the client cannot be used.
    #[cfg(feature = "tls")]
    pub fn encrypted(mut self, tls: &crate::Tls) -> Result<Client, crate::TlsError> {
        self.connector.encrypted = Some(Arc::new(tls.connector()?));
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
        let channel = self.channel_for(address, &mut patience).await?;
        channel.call_with(code, write, body, patience).await
    }

    /// The open connection to `address` for a call, made if there is none; what that takes is over for the call then.
    pub async fn channel_for(
        &self,
        address: &str,
        patience: &mut Patience,
    ) -> Result<Arc<Channel>, CallError> {
        if let Some(channel) = self.open(address) {
            return Ok(channel);
        }
        let begun = Instant::now();
        let channel = self.channel(address, patience.timeout).await?;
        patience.timeout = patience.timeout.saturating_sub(begun.elapsed());
        Ok(channel)
    }

    /// The open connection to `address`, made if there is none.
    pub async fn channel(&self, address: &str, timeout: Duration) -> Result<Arc<Channel>, CallError> {
        match self.open(address) {
            Some(channel) => Ok(channel),
            // Boxed, since it happens once and would make the future of every call large.
            None => Box::pin(self.connected(address, timeout)).await,
        }
    }

    fn open(&self, address: &str) -> Option<Arc<Channel>> {
        self.table.lock().open(address).cloned()
    }

    /// Waits for the connection to `address` that somebody is making, or makes it.
    async fn connected(&self, address: &str, timeout: Duration) -> Result<Arc<Channel>, CallError> {
        let mut outcome = {
            let mut table = self.table.lock();
            match table.open(address) {
                Some(channel) => return Ok(Arc::clone(channel)),
                None => self.connecting(&mut table, address),
            }
        };
        let outcome = match &mut outcome {
            None => Err(CLIENT_CLOSED.to_owned()),
            Some(outcome) => match tokio::time::timeout(timeout, outcome.wait_for(Option::is_some)).await {
                Ok(Ok(outcome)) => outcome.clone().unwrap_or_else(|| Err(CLIENT_CLOSED.to_owned())),
                Ok(Err(_)) => Err(CLIENT_CLOSED.to_owned()),
                Err(_) => Err("timed out".to_owned()),
            },
        };
        outcome.map_err(|cause| CallError::Connect { address: address.to_owned(), cause })
    }

    /// Where to learn of the connection to `address` that is being made from now on, if not before; `None` once the
    /// client is closed.
    fn connecting(&self, table: &mut Table, address: &str) -> Option<watch::Receiver<Option<Outcome>>> {
        if table.closed {
            return None;
        }
        // A task that is gone without a word, with its runtime, will never say how it went.
        let under_way = table.connecting.get(address).filter(|known| known.outcome.has_changed().is_ok());
        if let Some(known) = under_way {
            return Some(known.outcome.clone());
        }
        let (tell, outcome) = watch::channel(None);
        let (connector, of_task, to) = (self.connector.clone(), Arc::clone(&self.table), address.to_owned());
        let task = tokio::spawn(async move { connector.make(&of_task, to, &tell).await }).abort_handle();
        table.connecting.insert(address.to_owned(), Connecting { outcome: outcome.clone(), task });
        Some(outcome)
    }

    /// The next call to `address` makes a new connection; calls under way on the present one still get their answers.
    pub fn abandon(&self, address: &str) {
        self.table.lock().open.remove(address);
    }

    /// Does the same if `channel` is the present connection to `address`: another one may have followed it meanwhile.
    pub fn abandon_channel(&self, address: &str, channel: &Channel) {
        let mut table = self.table.lock();
        if table.open.get(address).is_some_and(|present| present.id() == channel.id()) {
            table.open.remove(address);
        }
    }

    /// Number of the open connection to `address`, unique within this process.
    pub fn connection(&self, address: &str) -> Option<u64> {
        self.open(address).map(|channel| channel.id())
    }

    /// Closes the connection to `address` if nothing has come over it for so long, and so also ends the calls that wait
    /// for answers there. The next call makes a new one.
    pub fn close_if_silent(&self, address: &str, silence: Duration) {
        let mut table = self.table.lock();
        if let Some(channel) = table.open.get(address).filter(|channel| channel.silent_for() >= silence) {
            channel.close(&format!("nothing has come over it for {} ms", channel.silent_for().as_millis()));
            table.open.remove(address);
        }
    }

    /// Closes all connections and makes no more: calls fail from now on.
    pub fn close(&self) {
        let mut table = self.table.lock();
        table.end_connecting();
        for (_, channel) in table.open.drain() {
            channel.close("");
        }
    }
}

/// Nobody waits for what is still being made. What is made stays open as long as somebody has it and its peer speaks.
impl Drop for Client {
    fn drop(&mut self) {
        self.table.lock().end_connecting();
    }
}

impl Table {
    fn open(&self, address: &str) -> Option<&Arc<Channel>> {
        self.open.get(address).filter(|channel| channel.is_open())
    }

    /// Who waits for a connection hears at once that there will be none.
    fn end_connecting(&mut self) {
        self.closed = true;
        for (_, Connecting { task, .. }) in self.connecting.drain() {
            task.abort();
        }
    }
}

impl Connector {
    /// Makes a connection, enters it in the table and tells those who wait for it, also when it cannot be made.
    async fn make(self, table: &Mutex<Table>, address: String, tell: &watch::Sender<Option<Outcome>>) {
        let made = match tokio::time::timeout(CONNECT_TIMEOUT, self.connect(&address)).await {
            Ok(made) => made.map_err(|error| error.to_string()),
            Err(_) => Err("timed out".to_owned()),
        };
        let mut table = table.lock();
        if table.closed {
            return;
        }
        table.connecting.remove(&address);
        let outcome = made.map(|(stream, peer, local)| {
            let channel = Channel::new(next_channel_id(), peer, local, Arc::clone(&self.budget));
            // Nobody else would ever look for those of servers that are gone.
            table.open.retain(|_, other| other.is_open());
            table.open.insert(address, Arc::clone(&channel));
            let of_task = Arc::clone(&channel);
            tokio::spawn(connection::run(connection::End::Connecting, stream, of_task, self.service));
            channel
        });
        drop(table);
        tell.send_replace(Some(outcome));
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
}
