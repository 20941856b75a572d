//! Servers that were started again, or are behind a connection that was lost without a word: clients go on.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use remoting::{Channel, Limits, Listener, Server, Service, Turn};
use support::{PATIENCE, World, eventually};
use thrustmq_client::{Client, Filter, Message, Received, Serving, StartFrom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use wire::code::{request, response};
use wire::header::FrameWriter;

const SOON: Duration = Duration::from_millis(100);

/// A name server that knows the same brokers for every topic, or none while it is `empty`.
struct Names {
    queues: usize,
    /// Addresses of `broker-a` and so on.
    brokers: Vec<String>,
    empty: AtomicBool,
    missed: AtomicUsize,
}

impl Names {
    fn of(brokers: &[String], queues: usize) -> (Arc<Names>, Server, String) {
        let names = Names {
            queues,
            brokers: brokers.to_vec(),
            empty: AtomicBool::new(false),
            missed: AtomicUsize::new(0),
        };
        let names = Arc::new(names);
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address().to_string();
        let server = listener.serve(Limits::default(), names.clone());
        (names, server, address)
    }

    fn route(&self, topic: &str) -> String {
        // Topics of failed messages have one queue.
        let count = if topic.starts_with('%') { 1 } else { self.queues };
        let named = || self.brokers.iter().zip('a'..);
        let datas: Vec<_> = named()
            .map(|(address, name)| {
                format!(
                    r#"{{"brokerAddrs":{{"0":"{address}"}},"brokerName":"broker-{name}","cluster":"{}"}}"#,
                    support::CLUSTER
                )
            })
            .collect();
        let queues: Vec<_> = named()
            .map(|(_, name)| {
                format!(
                    r#"{{"brokerName":"broker-{name}","perm":6,"readQueueNums":{count},"writeQueueNums":{count}}}"#
                )
            })
            .collect();
        format!(r#"{{"brokerDatas":[{}],"queueDatas":[{}]}}"#, datas.join(","), queues.join(","))
    }
}

impl Service for Names {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(asked) = turn.next_request() {
            if asked.header.code != request::GET_ROUTEINFO_BY_TOPIC {
                continue;
            }
            let head = asked.reply_to();
            if self.empty.load(Ordering::SeqCst) {
                head.write(turn.out, response::TOPIC_NOT_EXIST, Some("no route"));
                self.missed.fetch_add(1, Ordering::SeqCst);
            } else {
                let head = head.head(response::SUCCESS, None);
                let route = self.route(asked.field("topic").unwrap_or_default());
                FrameWriter::new(turn.out, &head).body(route.as_bytes());
            }
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

/// Stands between clients and a server. Connections that it forgets stay open, and nothing comes through them any more.
struct Proxy {
    address: String,
    forgotten: Arc<AtomicUsize>,
}

impl Proxy {
    async fn towards(server: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let forgotten = Arc::new(AtomicUsize::new(0));
        let now = Arc::clone(&forgotten);
        tokio::spawn(async move {
            loop {
                let (outside, _) = listener.accept().await.unwrap();
                let Ok(inside) = TcpStream::connect(&server).await else { continue };
                let ((asks, is_answered), (answers, is_asked)) = (outside.into_split(), inside.into_split());
                let begun = now.load(Ordering::SeqCst);
                tokio::spawn(pass(asks, is_asked, begun, Arc::clone(&now)));
                tokio::spawn(pass(answers, is_answered, begun, Arc::clone(&now)));
            }
        });
        Proxy { address, forgotten }
    }

    /// Forgets all connections that there are.
    fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
    }
}

/// Passes bytes on while nothing is forgotten, and then takes them all the same.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, begun: usize, now: Arc<AtomicUsize>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if now.load(Ordering::SeqCst) == begun && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    if now.load(Ordering::SeqCst) != begun {
        // The other side is not told of the end either.
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn a_connection_that_was_forgotten_on_the_way_is_left_after_one_heartbeat() {
    let world = World::start().await;
    world.create_topic("T", 10).await;
    let proxy = Proxy::towards(world.broker(0)).await;
    let (_names, _server, address) = Names::of(std::slice::from_ref(&proxy.address), 10);
    let client = Client::builder(address).heartbeat(SOON).connect().await.unwrap();
    let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    let mut consumer = consumer.stream().await.unwrap();
    let near = world.client().await;
    let producer = near.producer("P").build().unwrap();
    let queues = producer.queues("T").await.unwrap();
    for queue in &queues {
        producer.send_to(Message::new("T", "before"), queue).await.unwrap();
    }
    for _ in &queues {
        let delivered = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
        delivered.ack();
    }

    proxy.forget();
    for queue in &queues {
        producer.send_to(Message::new("T", "after"), queue).await.unwrap();
    }
    let mut left = queues.len();
    while left > 0 {
        let delivered = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").unwrap();
        // What was not committed in time comes again.
        left -= usize::from(delivered.text() == "after");
        delivered.ack();
    }
    consumer.close(PATIENCE).await;
}

#[tokio::test]
async fn a_name_server_that_was_started_again_stops_nobody() {
    let world = World::start().await;
    world.create_topic("T", 2).await;
    let (names, _server, address) = Names::of(&[world.broker(0)], 2);
    let client = Client::builder(address).route_refresh(SOON).connect().await.unwrap();
    let producer = client.producer("P").build().unwrap();
    let reader = client.reader("R");
    let mut queues = reader.watch_queues("T").await.unwrap();
    let queue = queues.now().remove(0);
    producer.send_to(Message::new("T", "before"), &queue).await.unwrap();

    names.empty.store(true, Ordering::SeqCst);
    eventually("it was asked again", async || names.missed.load(Ordering::SeqCst) >= 3).await;
    producer.send_to(Message::new("T", "while it knows nothing"), &queue).await.unwrap();
    producer.send(Message::new("T", "anywhere")).await.unwrap();
    let pulled = reader.pull(&queue, 0, 32, &Filter::all()).await.unwrap();
    assert_eq!(pulled.messages[1].text(), "while it knows nothing");
    let changed = tokio::time::timeout(5 * SOON, queues.changed()).await;
    assert!(changed.is_err(), "who watches is not told that all queues are gone: {changed:?}");
}

#[tokio::test]
async fn a_name_server_that_knows_no_route_is_believed_when_the_others_know_none_either() {
    let world = World::start().await;
    world.create_topic("T", 2).await;
    let (full, _first, knowing) = Names::of(&[world.broker(0)], 2);
    let (empty, _second, ignorant) = Names::of(&[world.broker(0)], 2);
    empty.empty.store(true, Ordering::SeqCst);
    let servers = format!("{ignorant};{knowing};127.0.0.1:1");
    // Each client asks another one first.
    while empty.missed.load(Ordering::SeqCst) < 3 {
        let client = Client::connect(&servers).await.unwrap();
        assert_eq!(client.route("T").await.unwrap().queues_to_write().len(), 2);
    }
    full.empty.store(true, Ordering::SeqCst);
    let client = Client::builder(servers).call_timeout(PATIENCE).connect().await.unwrap();
    let error = client.route("T").await.unwrap_err();
    assert!(matches!(error, thrustmq_client::Error::NoRoute { .. }), "{error}");
}

/// Answers every message of topic `T` with its text.
async fn answering(client: &Client) -> Serving {
    let replies = client.producer("replies").build().unwrap();
    let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    let answer = move |question: Received| {
        let replies = replies.clone();
        async move { replies.reply(&question, question.body.clone()).await.map(drop) }
    };
    consumer.serve(answer).await.unwrap()
}

#[tokio::test]
async fn a_reply_comes_from_a_broker_that_was_started_again_just_now() {
    let mut world = World::start().await;
    world.create_topic("T", 1).await;
    let replier = world.client().await;
    let serving = answering(&replier).await;
    let asker = Client::builder(world.names()).heartbeat(Duration::from_secs(3_600)).connect().await.unwrap();
    let producer = asker.producer("asks").timeout(PATIENCE).attempts(100).build().unwrap();
    let reply = producer.request(Message::new("T", "before"), PATIENCE).await.unwrap();
    assert_eq!(reply.body, "before");
    let address = world.stop_broker(0).await;
    world.start_broker(0, address).await;
    let reply = producer.request(Message::new("T", "after"), PATIENCE).await.unwrap();
    assert_eq!(reply.body, "after");
    serving.close(PATIENCE).await;
}

#[tokio::test]
async fn a_silent_broker_does_not_use_up_the_time_of_requests_to_others() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let replier = world.client().await;
    let serving = answering(&replier).await;
    // It lets everybody in and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let brokers = [world.broker(0), silent.local_addr().unwrap().to_string()];
    let (_names, _server, address) = Names::of(&brokers, 1);
    let asker = Client::connect(&address).await.unwrap();
    let producer = asker.producer("asks").build().unwrap();
    let queue = producer.queues("T").await.unwrap().remove(0);
    assert_eq!(queue.broker_name, "broker-a");
    let second = Duration::from_secs(1);
    let asked = async || producer.request_to(Message::new("T", "hello"), &queue, 2 * second).await;
    let mut replied = 0;
    for _ in 0..3 {
        replied += usize::from(asked().await.is_ok());
    }
    // The machine may be busy.
    assert!(replied > 0, "the silent broker takes all the time of every request");
    serving.close(PATIENCE).await;
}
