//! Every request names its namespace, and is signed last: the signature covers all other fields.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use remoting::{Channel, Limits, Listener, Service, Turn};
use sha1::Sha1;
use thrustmq_client::{Client, Credentials, Error};

/// A name server that knows nothing and remembers what it was asked.
#[derive(Default)]
struct Asked(Mutex<Vec<Vec<(String, String)>>>);

impl Service for Asked {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(request) = turn.next_request() {
            let fields = request.header.fields.iter();
            let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            self.0.lock().push(fields);
            let not_there = wire::code::response::TOPIC_NOT_EXIST;
            request.reply_to().write(turn.out, not_there, Some("nobody has it"));
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signature_covers_the_namespace_and_everything_else() {
    let asked = Arc::new(Asked::default());
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let servers = listener.address().to_string();
    let _server = listener.serve(Limits::default(), asked.clone());
    let client = Client::builder(servers)
        .credentials(Credentials::new("user", "secret").with_security_token("token"))
        .namespace_v2("shop")
        .call_timeout(Duration::from_secs(20))
        .connect()
        .await
        .unwrap();
    assert!(matches!(client.route("orders").await, Err(Error::NoRoute { .. })));

    let mut fields = asked.0.lock()[0].clone();
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let named = ["nsd", "ns", "AccessKey", "SecurityToken", "topic"].map(|name| field(name).unwrap());
    assert_eq!(named, ["true", "shop", "user", "token", "orders"]);
    let signature = field("Signature").unwrap();
    fields.retain(|(name, _)| name != "Signature");
    fields.sort();
    let mut mac = Hmac::<Sha1>::new_from_slice(b"secret").unwrap();
    fields.iter().for_each(|(_, value)| mac.update(value.as_bytes()));
    assert_eq!(signature, wire::base64::encode(&mac.finalize().into_bytes()));
}
