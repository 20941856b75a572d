//! Clients encrypt what they send, to servers that prove who they are. The server of the other tests stands behind a
//! door that does nothing but decrypt.

mod peer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use peer::*;
use remoting::{CallError, Client, Limits, Server, Tls, TlsError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates").join(name)
}

fn chain(name: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(file(name)).unwrap().map(Result::unwrap).collect()
}

/// What the door asks of clients and offers them.
struct Door {
    wants_certificates: bool,
    versions: &'static [&'static SupportedProtocolVersion],
    /// How long it lets everybody wait.
    opens_after: Duration,
}

static ONLY_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

const USUAL: Door =
    Door { wants_certificates: false, versions: rustls::ALL_VERSIONS, opens_after: Duration::ZERO };

/// A server behind a door, and the address of the door.
struct House {
    _server: Server,
    lab: Arc<Lab>,
    address: String,
}

async fn house(door: Door) -> House {
    let (server, lab) = start(Limits::default());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let begun = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(door.versions)
        .unwrap();
    let begun = if door.wants_certificates {
        let mut roots = RootCertStore::empty();
        roots.add(chain("authority.pem").remove(0)).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        begun.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        begun.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(begun.with_single_cert(chain("server.pem"), key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let behind = server.address();
    tokio::spawn(async move {
        loop {
            let (outside, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                tokio::time::sleep(door.opens_after).await;
                let Ok(mut opened) = acceptor.accept(outside).await else { return };
                let mut inside = TcpStream::connect(behind).await.unwrap();
                // It ends with an error when the client does not say goodbye, which is as good an end.
                let _ = tokio::io::copy_bidirectional(&mut opened, &mut inside).await;
            });
        }
    });
    House { _server: server, lab, address }
}

fn client(tls: &Tls) -> Client {
    Client::new(Limits::default(), Arc::new(Lab::default())).encrypted(tls).unwrap()
}

async fn echo(client: &Client, address: &str, body: &[u8]) -> Result<Vec<u8>, CallError> {
    client.call(address, ECHO, &[], body, PATIENCE).await.map(|answer| answer.body)
}

fn trusting() -> Tls {
    Tls::trusting(file("authority.pem")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_comes_back_however_large_it_is() {
    let house = house(USUAL).await;
    let client = Arc::new(client(&trusting()));
    assert_eq!(echo(&client, &house.address, b"small").await.unwrap(), b"small");
    // More than the session and the socket hold, in both directions at once, over one connection.
    let calls: Vec<_> = (0..16_u8)
        .map(|number| {
            let (client, address) = (Arc::clone(&client), house.address.clone());
            tokio::spawn(async move {
                let body: Vec<u8> = (0..400_000 + usize::from(number)).map(|at| at as u8 ^ number).collect();
                assert!(echo(&client, &address, &body).await.unwrap() == body, "call {number}");
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(house.lab.served(), 17);
    assert_eq!(house.lab.channels.lock().len(), 1, "one connection carries all");
    // An end at our side reaches the other.
    client.close();
    until("the server sees the end", || house.lab.closed() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_tls_1_2_is_spoken_to() {
    let house = house(Door { versions: ONLY_1_2, ..USUAL }).await;
    assert_eq!(echo(&client(&trusting()), &house.address, b"older").await.unwrap(), b"older");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_prove_who_it_is_gets_nothing() {
    let house = house(USUAL).await;
    let stranger = Tls::trusting(file("stranger.pem")).unwrap();
    let elsewhere = trusting().server_name("elsewhere.example").unwrap();
    for (tls, why) in [(stranger, "UnknownIssuer"), (elsewhere, "elsewhere.example")] {
        let error = echo(&client(&tls), &house.address, b"secret").await.unwrap_err();
        let CallError::Connect { cause, .. } = &error else { panic!("{error:?}") };
        assert!(cause.contains(why), "{cause}");
    }
    assert_eq!(house.lab.served(), 0);
    let named = trusting().server_name("brokers.example").unwrap();
    assert_eq!(echo(&client(&named), &house.address, b"known").await.unwrap(), b"known");
    let any = Tls::dangerously_believing_any_server();
    assert_eq!(echo(&client(&any), &house.address, b"anybody").await.unwrap(), b"anybody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_want_to_know_who_its_clients_are() {
    let house = house(Door { wants_certificates: true, ..USUAL }).await;
    // With TLS 1.3 a client hears only behind its handshake that it was not enough.
    assert!(echo(&client(&trusting()), &house.address, b"nobody").await.is_err());
    assert_eq!(house.lab.served(), 0);
    let known = trusting().client_certificate(file("client.pem"), file("client.key")).unwrap();
    assert_eq!(echo(&client(&known), &house.address, b"me").await.unwrap(), b"me");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_encrypt_gets_nothing() {
    let (server, lab) = start(Limits::default());
    let address = server.address().to_string();
    let error = echo(&client(&trusting()), &address, b"secret").await.unwrap_err();
    assert!(matches!(error, CallError::Connect { .. }), "{error:?}");
    assert_eq!(lab.served(), 0);
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let text = |error: TlsError| error.to_string();
    assert!(text(Tls::trusting(file("nothing.pem")).unwrap_err()).contains("nothing.pem"));
    assert!(text(Tls::trusting(file("server.key")).unwrap_err()).contains("no certificate"));
    let key = trusting().client_certificate(file("client.pem"), file("client.pem"));
    assert!(text(key.unwrap_err()).contains("client.pem"));
    let foreign = trusting().client_certificate(file("client.pem"), file("server.key"));
    assert!(matches!(foreign.unwrap_err(), TlsError::Certificate(_)));
    assert_eq!(trusting().server_name("a b").unwrap_err(), TlsError::Name("a b".to_owned()));
}

#[tokio::test]
async fn a_call_takes_no_longer_than_it_may_when_connecting_took_most_of_the_time() {
    let most = Duration::from_millis(2_400);
    let house = house(Door { opens_after: most, ..USUAL }).await;
    let begun = Instant::now();
    let limit = Duration::from_secs(3);
    let tls = Tls::trusting(file("authority.pem")).unwrap();
    let error = client(&tls).call(&house.address, HOLD, &[], b"", limit).await.unwrap_err();
    assert!(begun.elapsed() < limit + most / 2, "{:?}: {error}", begun.elapsed());
}
