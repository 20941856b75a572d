//! Hooks that decide: what may be sent, what is wanted, and what every request has in its header.

mod support;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use support::{PATIENCE, World};
use thrustmq_client::{
    AutoBatch, Client, ConsumeHook, Credentials, Error, Filter, Message, Received, RpcHook, RpcRequest,
    RpcResponse, SendHook, SendOutcome, Sending, Sent, StartFrom,
};

/// Lets nothing pass that has the word in it, and counts what failed.
#[derive(Clone, Default)]
struct Guard(Arc<Mutex<Vec<String>>>);

impl SendHook for Guard {
    fn check(&self, sending: &Sending<'_>) -> Result<(), String> {
        let secret = sending.body.windows(6).any(|part| part == b"secret");
        if secret { Err("it is a secret".to_owned()) } else { Ok(()) }
    }

    fn after(&self, sending: &Sending<'_>, sent: &Sent<'_>) {
        if let SendOutcome::Failed { error: Error::Forbidden(why), maybe_stored: false } = sent.outcome {
            self.0.lock().push(format!("{}: {why}", String::from_utf8_lossy(sending.body)));
        }
    }
}

/// Wants nothing that has the property.
struct Picky;

impl ConsumeHook for Picky {
    fn wants(&self, group: &str, message: &Received) -> bool {
        assert_eq!((group, message.topic()), ("G", "T"));
        message.property("boring").is_none()
    }
}

/// Code of a request, and that of its answer.
type Noted = (i32, Option<i32>);

/// Marks every request, and notes what was answered.
#[derive(Clone, Default)]
struct Noting(Arc<Mutex<Vec<Noted>>>);

impl RpcHook for Noting {
    fn before(&self, request: &mut RpcRequest<'_>) {
        assert!(!request.address.is_empty());
        request.add_field("__ZONE_NAME", "zone-3");
        if request.fields().iter().any(|(name, _)| *name == "b") {
            request.add_field("b", "another topic, which must not be possible");
        }
        if request.oneway {
            self.0.lock().push((request.code, None));
        }
    }

    fn after(&self, request: &RpcRequest<'_>, response: Result<&RpcResponse<'_>, &Error>) {
        assert_eq!(request.fields().iter().filter(|(name, _)| *name == "__ZONE_NAME").count(), 1);
        self.0.lock().push((request.code, response.ok().map(|response| response.code)));
    }
}

#[tokio::test]
async fn what_a_hook_forbids_is_not_sent_in_whichever_way() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let guard = Guard::default();
    let client = Client::builder(world.names()).send_hook(guard.clone()).connect().await.unwrap();
    let producer = client.producer("P").build().unwrap();
    let gathering = client.producer("Q").auto_batch(AutoBatch::default()).build().unwrap();
    for producer in [&producer, &gathering] {
        let error = producer.send(Message::new("T", "secret 1")).await.unwrap_err();
        assert!(matches!(error.cause(), Error::Forbidden(_)) && !error.maybe_stored());
        assert_eq!(error.attempts(), 0);
    }
    assert!(producer.send_oneway(Message::new("T", "secret 2")).await.is_err());
    let batch = vec![Message::new("T", "open"), Message::new("T", "secret 3")];
    let error = producer.send_all(batch).await.unwrap_err();
    assert_eq!((error.unsent.len(), error.maybe_stored), (2 - error.receipts.len(), 0));
    let told = guard.0.lock().clone();
    assert!(told.len() >= 4 && told.iter().all(|told| told.ends_with("it is a secret")), "{told:?}");
    producer.send(Message::new("T", "open")).await.unwrap();
}

#[tokio::test]
async fn what_a_hook_does_not_want_counts_as_read() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = Client::builder(world.names()).consume_hook(Picky).connect().await.unwrap();
    let producer = client.producer("P").build().unwrap();
    for body in ["0", "1", "2"] {
        let message = Message::new("T", body);
        let message = if body == "1" { message.property("boring", "yes") } else { message };
        producer.send(message).await.unwrap();
    }
    let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    let mut consumer = consumer.stream().await.unwrap();
    for expected in ["0", "2"] {
        let message = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
        assert_eq!(message.text(), expected);
        message.ack();
    }
    consumer.close(PATIENCE).await;
    let queue = client.reader("G").queues("T").await.unwrap().remove(0);
    assert_eq!(client.admin().committed("G", &queue).await.unwrap(), Some(3));
}

#[tokio::test]
async fn every_request_is_seen_with_its_answer() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let noting = Noting::default();
    // What is added is signed too; a server that checks would refuse it otherwise.
    let client = Client::builder(world.names()).rpc_hook(noting.clone());
    let client = client.credentials(Credentials::new("key", "secret")).connect().await.unwrap();
    let producer = client.producer("P").timeout(Duration::from_secs(10)).build().unwrap();
    producer.send(Message::new("T", "x")).await.unwrap();
    producer.send_oneway(Message::new("T", "y")).await.unwrap();
    let seen = noting.0.lock().clone();
    let code = wire::code::request::SEND_MESSAGE_V2;
    assert!(seen.contains(&(wire::code::request::GET_ROUTEINFO_BY_TOPIC, Some(0))), "{seen:?}");
    assert!(seen.contains(&(code, Some(0))) && seen.contains(&(code, None)), "{seen:?}");
}
