//! Contexts whose connections are encrypted. Servers do not encrypt yet: before each stands a door that does nothing
//! but decrypt.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use predicates::str::contains;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::Server;
use super::contexts::User;

/// Where the doors are: another loopback address than the servers', with the same ports.
const DOORS: &str = "127.0.0.2";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../remoting/tests/certificates").join(name)
}

fn path(name: &str) -> String {
    file(name).to_str().unwrap().to_owned()
}

fn chain(name: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file(name)).unwrap().map(Result::unwrap).collect()
}

/// A server that tells clients the address of its door.
struct Guarded {
    _server: Server,
    /// Whose commands find the server with contexts, or with what the environment says.
    user: User,
    names: String,
    _doors: Runtime,
}

impl Guarded {
    fn start(wants_certificates: bool) -> Guarded {
        let server = Server::start_as(&["--advertise", DOORS]);
        let doors = Runtime::new().unwrap();
        let acceptor = acceptor(wants_certificates);
        let door_of = |address: &str| {
            let port = address.parse::<SocketAddr>().unwrap().port();
            doors.block_on(open_door(acceptor.clone(), port))
        };
        let (names, _) = (door_of(&server.names), door_of(&server.broker));
        Guarded { _server: server, user: User::new(), names: names.to_string(), _doors: doors }
    }

    /// Adds a context of this name with these arguments.
    fn add(&self, name: &str, args: &[&str]) {
        self.user.prints(&[&["context", "add", name, "-n", &self.names], args].concat());
    }
}

fn acceptor(wants_certificates: bool) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let begun = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let begun = if wants_certificates {
        let mut roots = RootCertStore::empty();
        roots.add(chain("authority.pem").remove(0)).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        begun.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        begun.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    TlsAcceptor::from(Arc::new(begun.with_single_cert(chain("server.pem"), key).unwrap()))
}

/// A door before the server at this port of the first loopback address.
async fn open_door(acceptor: TlsAcceptor, port: u16) -> SocketAddr {
    let listener = TcpListener::bind((DOORS, port)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (outside, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut opened) = acceptor.accept(outside).await else { return };
                let mut inside = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                // It ends with an error when the client does not say goodbye, which is as good an end.
                let _ = tokio::io::copy_bidirectional(&mut opened, &mut inside).await;
            });
        }
    });
    address
}

#[test]
fn commands_of_a_context_with_authorities_are_encrypted() {
    let guarded = Guarded::start(false);
    guarded.add("guarded", &["--tls-ca", &path("authority.pem"), "--tls-server-name", "brokers.example"]);
    guarded.user.prints(&["topic", "create", "orders", "-q", "1"]);
    guarded.user.prints(&["produce", "-t", "orders", "order 7"]);
    let read = guarded.user.prints(&["consume", "-t", "orders", "-g", "g", "--until-end", "--format", "raw"]);
    assert_eq!(read, "order 7");
    guarded.user.run(&["context", "show"]).stdout(contains("authority.pem, servers are brokers.example"));

    guarded.add("strangers", &["--tls-ca", &path("stranger.pem"), "--tls-server-name", "brokers.example"]);
    let stranger = guarded.user.run(&["topic", "list", "--context", "strangers"]);
    stranger.code(4).stderr(contains("UnknownIssuer"));
    // The certificate is for another address than that of the door.
    guarded.add("nameless", &["--tls-ca", &path("authority.pem")]);
    guarded.user.run(&["topic", "list", "--context", "nameless"]).code(4).stderr(contains(DOORS));
    // The bench never speaks in plain to servers of a context that is to be encrypted.
    guarded.user.run(&["bench", "send", "--secs", "1"]).code(2).stderr(contains("does not encrypt"));
}

#[test]
fn the_environment_can_say_whom_to_trust() {
    let guarded = Guarded::start(false);
    let (ca, name) = (path("authority.pem"), "brokers.example");
    let names = guarded.names.as_str();
    let trust = [("THRUST_TLS_CA", ca.as_str()), ("THRUST_TLS_SERVER_NAME", name), ("NAMESRV_ADDR", names)];
    guarded.user.run_with(&["cluster", "list"], &trust).success().stdout(contains(DOORS));
    guarded.user.run_with(&["mqadmin", "clusterList"], &trust).success().stdout(contains(DOORS));
    let half = guarded.user.run_with(&["cluster", "list"], &[("THRUST_TLS_KEY", "client.key")]);
    half.code(2).stderr(contains("without THRUST_TLS_CA"));
}

#[test]
fn a_server_that_asks_who_its_clients_are_is_told() {
    let guarded = Guarded::start(true);
    let trust = ["--tls-ca", &path("authority.pem"), "--tls-server-name", "brokers.example"];
    let (chain, key) = (path("client.pem"), path("client.key"));
    guarded.add("known", &[&trust[..], &["--tls-certificate", &chain, "--tls-key", &key]].concat());
    guarded.user.prints(&["topic", "list", "--context", "known"]);
    guarded.add("unknown", &trust);
    guarded.user.run(&["topic", "list", "--context", "unknown"]).code(4);
    let missing = guarded.user.run(&["context", "add", "x", "-n", "a:1", "--tls-ca", "nowhere.pem"]);
    missing.code(2).stderr(contains("nowhere.pem"));
    guarded.user.run(&["context", "add", "x", "-n", "a:1", "--tls-certificate", &chain]).code(2);
}
