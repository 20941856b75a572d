//! Encrypted connections to servers: whom a client trusts, who it says that it is, and the session over a socket
//! (security.md §8).
//!
//! A server in permissive mode serves both kinds on one port: the first byte of an encrypted connection is that of a
//! handshake (0x16), which no frame begins with.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;

/// Encrypted bytes that may wait in a session for room in the socket.
const WAITING_BYTES_MAX: usize = 64 << 10;

/// Why encryption cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or does not hold what it should.
    #[error("{}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A name that no certificate can be for.
    #[error("\"{0}\" is no host name and no address")]
    Name(String),
    /// Certificate and key do not go together, or are of a kind that is not supported.
    #[error("the client certificate cannot be used: {0}")]
    Certificate(String),
}

/// How connections to servers are encrypted: TLS 1.2 or 1.3, and by default no server is trusted that does not prove
/// who it is.
///
/// ```no_run
/// # fn example() -> Result<(), remoting::TlsError> {
/// use remoting::Tls;
///
/// let tls = Tls::trusting("ca.pem")?.server_name("brokers.example")?;
/// # Ok(()) }
/// ```
///
/// There is no `Tls` without a decision about trust:
///
/// ```compile_fail
/// let tls = remoting::Tls::default();
/// ```
#[derive(Clone)]
pub struct Tls {
    trust: Trust,
    name: Option<ServerName<'static>>,
    identity: Option<Arc<Identity>>,
}

/// Whose word counts for who a server is.
#[derive(Clone)]
enum Trust {
    Roots(Arc<RootCertStore>),
    Anybody,
}

/// What a client shows to servers that ask who it is.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let trust = match &self.trust {
            Trust::Roots(roots) => format!("{} roots", roots.len()),
            Trust::Anybody => "anybody".to_owned(),
        };
        let identified = self.identity.is_some();
        formatter
            .debug_struct("Tls")
            .field("trust", &trust)
            .field("server_name", &self.name)
            .field("has_certificate", &identified)
            .finish()
    }
}

impl Tls {
    /// Trusts servers whose certificates come from one of the authorities in a PEM file, and no others.
    ///
    /// # Errors
    /// When the file cannot be read, or has no certificate that can be an authority.
    pub fn trusting(authorities: impl AsRef<Path>) -> Result<Tls, TlsError> {
        let path = authorities.as_ref();
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| unusable(path, error))?;
        }
        Ok(Tls { trust: Trust::Roots(Arc::new(roots)), name: None, identity: None })
    }

    /// Believes any server to be the one that was meant: whoever stands between can read and change everything,
    /// passwords and messages alike. For trials with servers that made up their certificates themselves, as Java
    /// servers do in test mode.
    pub fn dangerously_believing_any_server() -> Tls {
        Tls { trust: Trust::Anybody, name: None, identity: None }
    }

    /// The name that certificates of all servers must be for. Without it that is the host or address which is
    /// connected to, and so every address that a name server gives out must be in the certificates.
    ///
    /// # Errors
    /// When it is neither a host name nor an address.
    pub fn server_name(mut self, name: &str) -> Result<Tls, TlsError> {
        self.name = Some(name_of(name)?);
        Ok(self)
    }

    /// Shows a certificate to servers that ask for one: PEM files of its chain, own certificate first, and of its key,
    /// which must not be encrypted.
    ///
    /// # Errors
    /// When a file cannot be read or has nothing of the kind, or key and certificate do not go together.
    pub fn client_certificate(
        mut self,
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Tls, TlsError> {
        let chain = certificates(chain.as_ref())?;
        let path = key.as_ref();
        let key = PrivateKeyDer::from_pem_file(path).map_err(|error| unusable(path, error))?;
        self.identity = Some(Arc::new(Identity { chain, key }));
        self.connector().map(drop)?;
        Ok(self)
    }

    /// What connections are made with.
    pub(crate) fn connector(&self) -> Result<Connector, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let refused = |error: rustls::Error| TlsError::Certificate(error.to_string());
        let versions = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(refused)?;
        let trusting = match &self.trust {
            Trust::Roots(roots) => versions.with_root_certificates(Arc::clone(roots)),
            Trust::Anybody => {
                versions.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            }
        };
        let config = match &self.identity {
            None => trusting.with_no_client_auth(),
            Some(identity) => trusting
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(refused)?,
        };
        Ok(Connector { config: Arc::new(config), name: self.name.clone() })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, error))?;
    let found: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| unusable(path, error))?;
    if found.is_empty() {
        return Err(unusable(path, "it holds no certificate"));
    }
    Ok(found)
}

fn unusable(path: &Path, what: impl std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), what: what.to_string() }
}

fn name_of(host: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}

/// Makes sessions.
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl Connector {
    /// Agrees with the server at the other end of `socket` on how to encrypt. `address` is `host:port`.
    pub async fn agree(&self, socket: TcpStream, address: &str) -> io::Result<Session> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                name_of(host).map_err(io::Error::other)?
            }
        };
        let client = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        let session = Session::new(socket, client.into());
        session.shake_hands().await?;
        Ok(session)
    }
}

/// Says yes to everybody.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    // That a server has the key to a certificate that nobody looks at proves nothing.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A socket and what encrypts it, of a client or a server. Nothing here waits, but for the handshake and
/// [`ready`](Session::ready).
///
/// The lock is held while bytes are encrypted: the connection's task and a thread that sends by itself write to one
/// session.
#[derive(Debug)]
pub(crate) struct Session {
    socket: TcpStream,
    state: Mutex<Connection>,
    /// The last read filled its buffer: more may be here already that the socket does not know of.
    more: AtomicBool,
}

impl Session {
    fn new(socket: TcpStream, mut state: Connection) -> Session {
        state.set_buffer_limit(Some(WAITING_BYTES_MAX));
        Session { socket, state: Mutex::new(state), more: AtomicBool::new(false) }
    }

    async fn shake_hands(&self) -> io::Result<()> {
        loop {
            let (done, interest) = {
                let mut state = self.state.lock();
                if state.is_handshaking() {
                    unless_waiting(self.receive(&mut state).map(drop))?;
                }
                unless_waiting(self.flush(&mut state))?;
                let interest = if state.wants_write() { Interest::WRITABLE } else { Interest::READABLE };
                (!state.is_handshaking() && !state.wants_write(), interest)
            };
            if done {
                return Ok(());
            }
            self.socket.ready(interest).await?;
        }
    }

    /// Waits as a socket does, but for bytes that are decrypted already.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        if interest.is_readable() && self.more.load(Ordering::Acquire) {
            return Ok(Ready::READABLE);
        }
        self.socket.ready(interest).await
    }

    /// Reads what is there without waiting; 0 when the peer has ended the connection.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        let mut filled = 0;
        let end = loop {
            match state.reader().read(&mut buffer[filled..]) {
                // It said goodbye, or was cut off, which no frame is long enough to hide.
                Ok(0) => break Ok(0),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = self.receive(&mut state) {
                        break Err(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Ok(0),
                Err(error) => break Err(error),
            }
            if filled == buffer.len() {
                self.more.store(true, Ordering::Release);
                return Ok(filled);
            }
        };
        self.more.store(false, Ordering::Release);
        if filled > 0 { Ok(filled) } else { end }
    }

    /// Takes in encrypted bytes once.
    fn receive(&self, state: &mut Connection) -> io::Result<usize> {
        let count = state.read_tls(&mut Socket(&self.socket))?;
        if let Err(error) = state.process_new_packets() {
            // The other end learns why, if it can be told.
            let _ = self.flush(state);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        if count == 0 && state.is_handshaking() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed during the handshake"));
        }
        Ok(count)
    }

    /// Encrypts and writes what the socket takes; what it does not take yet is kept ([`Session::is_behind`]).
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        self.flush(&mut state)?;
        let count = state.writer().write(bytes)?;
        unless_waiting(self.flush(&mut state)).map(|()| count)
    }

    fn flush(&self, state: &mut Connection) -> io::Result<()> {
        while state.wants_write() {
            if state.write_tls(&mut Socket(&self.socket))? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Whether encrypted bytes still wait for the socket, after another try.
    pub fn is_behind(&self) -> bool {
        let mut state = self.state.lock();
        // An error shows again at the next read.
        matches!(self.flush(&mut state), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Tells the peer that nothing follows, as far as the socket takes it.
    pub fn say_goodbye(&self) {
        let mut state = self.state.lock();
        state.send_close_notify();
        let _ = self.flush(&mut state);
    }
}

/// A socket that is not ready is no failure: it will be.
fn unless_waiting(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

/// The socket as the session reads and writes it.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
