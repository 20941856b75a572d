//! Listening: accepts connections and gives each its task.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::budget::{Budget, Limits};
use crate::channel::Channel;
use crate::stream::Stream;
use crate::{Service, connection};

/// Connections that may wait to be accepted, if the system allows so many: all clients of a broker that has restarted
/// come back at once.
const BACKLOG: i32 = 4096;
/// Pause after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

static NEXT_CHANNEL: AtomicU64 = AtomicU64::new(1);

/// The next channel id of this process.
pub(crate) fn next_channel_id() -> u64 {
    NEXT_CHANNEL.fetch_add(1, Ordering::Relaxed)
}

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Somebody else has the port.
    #[error("port {} on {} is in use; stop the program that has it or choose another port", .0.port(), .0.ip())]
    InUse(SocketAddr),
    /// Any other failure.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
}

/// A port that is taken but not served yet: connections wait in its backlog.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    listener: TcpListener,
}

impl Listener {
    /// Takes the port; 0 takes any free one. Needs a tokio runtime.
    pub fn bind(address: SocketAddr) -> Result<Listener, ServerError> {
        let listener = listen(address)?;
        let address = listener.local_addr().map_err(|cause| ServerError::Listen { address, cause })?;
        Ok(Listener { address, listener })
    }

    /// Where it listens; the port is the real one even if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves every connection until [`Server::close`].
    pub fn serve(self, limits: Limits, service: Arc<dyn Service>) -> Server {
        let open = Arc::new(Open { channels: Mutex::new(HashMap::new()), budget: Budget::new(limits) });
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(accept(self.listener, Arc::clone(&open), service, stopped));
        Server { address: self.address, open, stop }
    }
}

/// One port that is served.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    open: Arc<Open>,
    stop: watch::Sender<bool>,
}

/// Connections that are open.
#[derive(Debug)]
struct Open {
    channels: Mutex<HashMap<u64, Arc<Channel>>>,
    budget: Arc<Budget>,
}

impl Server {
    /// Listens on `address` and serves every connection until [`Server::close`]. Needs a tokio runtime.
    pub fn start(
        address: SocketAddr,
        limits: Limits,
        service: Arc<dyn Service>,
    ) -> Result<Server, ServerError> {
        Ok(Listener::bind(address)?.serve(limits, service))
    }

    /// Where it listens; the port is the real one even if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.open.budget.connections.load(Ordering::Relaxed)
    }

    /// Accepts no more.
    pub fn stop_accepting(&self) {
        let _ = self.stop.send(true);
    }

    /// Ends every connection once what it asked is answered; returns when all have ended or after `limit`.
    pub async fn close(&self, limit: Duration) {
        self.stop_accepting();
        let channels: Vec<_> = self.open.channels.lock().values().cloned().collect();
        for channel in channels {
            channel.finish();
        }
        let deadline = tokio::time::Instant::now() + limit;
        while self.connections() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::AddrInUse => ServerError::InUse(address),
        _ => ServerError::Listen { address, cause },
    };
    let bind = || -> io::Result<TcpListener> {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bind().map_err(failed)
}

async fn accept(
    listener: TcpListener,
    open: Arc<Open>,
    service: Arc<dyn Service>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer, &open, &service),
            Err(error) => {
                // Out of descriptors or memory: those that are connected go on, new ones wait.
                tracing::warn!("cannot accept a connection: {error}; raise the open-file limit if it stays");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(stream: TcpStream, peer: SocketAddr, open: &Arc<Open>, service: &Arc<dyn Service>) {
    // Who has gone already has no address here.
    let Ok(local) = stream.local_addr() else { return };
    if let Err(why) = open.budget.connect() {
        tracing::warn!(%peer, "connection refused: {why}");
        return;
    }
    // Failing to set it only costs latency.
    let _ = stream.set_nodelay(true);
    let channel = Channel::new(next_channel_id(), peer, local, Arc::clone(&open.budget));
    open.channels.lock().insert(channel.id(), Arc::clone(&channel));
    let admitted = Admitted { open: Arc::clone(open), id: channel.id() };
    let service = Arc::clone(service);
    tokio::spawn(async move {
        let _admitted = admitted;
        connection::run(connection::End::Accepting, Stream::Plain(stream), channel, service).await;
    });
}

/// The place of a connection among those that are open, given back however its task ends.
struct Admitted {
    open: Arc<Open>,
    id: u64,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.open.channels.lock().remove(&self.id);
        self.open.budget.disconnect();
    }
}
