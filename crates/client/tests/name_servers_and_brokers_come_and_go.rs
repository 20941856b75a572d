//! Servers that are away, and come back.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use remoting::{Channel, Limits, Listener, ReplyTo, Server, Service, Turn};
use support::World;
use thrustmq_client::{
    AutoBatch, Client, Decision, Error, Filter, Message, MessageQueue, RequestError, StartFrom,
};
use wire::body::{LogicQueueMappingItem, TopicQueueMappingDetail};
use wire::code::{request, response};
use wire::header::FrameWriter;
use wire::properties;

#[tokio::test]
async fn one_name_server_that_answers_is_enough() {
    let world = World::start().await;
    let servers = format!("127.0.0.1:1;{};127.0.0.1:2", world.names());
    let client = Client::connect(&servers).await.unwrap();
    for _ in 0..3 {
        assert!(client.admin().cluster().await.unwrap().broker_addr_table.contains_key("broker-a"));
    }
    let nobody = Client::connect("127.0.0.1:1").await.unwrap();
    let error = nobody.admin().topics().await.unwrap_err();
    assert!(matches!(error, Error::NoNameServer { tried: 1, .. }) && !error.maybe_done(), "{error}");
    assert!(Client::connect("").await.is_err() && Client::connect("nonsense").await.is_err());
}

#[tokio::test]
async fn sends_go_to_another_broker_while_one_is_away() {
    let mut world = World::with(2, &[]).await;
    world.create_topic("T", 2).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    for number in 0..4 {
        producer.send(Message::new("T", format!("{number}"))).await.unwrap();
    }
    world.stop_broker(0).await;
    for number in 0..8 {
        let receipt = producer.send(Message::new("T", format!("{number}"))).await.unwrap();
        assert_eq!(receipt.queue.broker_name, "broker-b");
    }
}

#[tokio::test]
async fn a_message_for_a_broker_that_is_away_is_certainly_not_stored() {
    let mut world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = client.producer("P").timeout(Duration::from_millis(500)).build().unwrap();
    producer.send(Message::new("T", "before")).await.unwrap();
    let address = world.stop_broker(0).await;
    // The first call may still find the connection that is about to end, and then cannot be sure.
    let _ = producer.send(Message::new("T", "lost")).await;
    let error = producer.send(Message::new("T", "while away")).await.unwrap_err();
    assert!(!error.maybe_stored() && error.attempts() > 0, "{error}");
    let message = error.into_message();
    world.start_broker(0, address).await;
    let sent = async || producer.send(message.clone()).await.is_ok();
    support::eventually("it is sent after all", sent).await;
}

/// A name server and broker that answers nothing but questions for routes, and remembers under which keys it was sent
/// messages, and over which connections heartbeats.
#[derive(Default)]
struct Silent {
    address: Mutex<String>,
    keys: Mutex<Vec<String>>,
    beats: Mutex<Vec<u64>>,
}

impl Silent {
    /// Its address, what it remembers, and what ends it.
    fn start() -> (String, Arc<Silent>, Server) {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address().to_string();
        let silent = Arc::new(Silent { address: Mutex::new(address.clone()), ..Silent::default() });
        let server = listener.serve(Limits::default(), silent.clone());
        (address, silent, server)
    }
}

impl Service for Silent {
    fn serve(&self, channel: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(asked) = turn.next_request() {
            match asked.header.code {
                request::GET_ROUTEINFO_BY_TOPIC => {
                    let head = asked.reply_to();
                    let route = route_to(&self.address.lock());
                    FrameWriter::new(turn.out, &head.head(response::SUCCESS, None)).body(route.as_bytes());
                }
                request::SEND_MESSAGE_V2 => {
                    let text = asked.field("i").unwrap_or_default().as_bytes();
                    self.keys.lock().extend(properties::find(text, properties::UNIQ_KEY).map(str::to_owned));
                }
                request::SEND_BATCH_MESSAGE => {
                    let sent = wire::batch::entries(asked.body).flatten();
                    let keys =
                        sent.filter_map(|entry| properties::find(entry.properties, properties::UNIQ_KEY));
                    self.keys.lock().extend(keys.map(str::to_owned));
                }
                request::HEART_BEAT => self.beats.lock().push(channel.id()),
                _ => (),
            }
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

/// The route of a topic with one queue at one broker.
fn route_to(address: &str) -> String {
    format!(
        r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{address}"}},"brokerName":"b","cluster":"c"}}],
            "queueDatas":[{{"brokerName":"b","perm":6,"readQueueNums":1,"writeQueueNums":1}}]}}"#
    )
}

#[tokio::test]
async fn a_message_that_may_be_stored_keeps_its_key_when_it_is_sent_again() {
    let (address, silent, server) = Silent::start();
    let client = Client::connect(&address).await.unwrap();
    let patience = Duration::from_millis(300);
    let producer = client.producer("P").timeout(patience).build().unwrap();

    let error = producer.send(Message::new("T", "x")).await.unwrap_err();
    assert!(error.maybe_stored(), "{error}");
    let id = error.message_id().to_owned();
    let message = error.into_message();
    assert_eq!(message.message_id(), Some(id.as_str()));
    let again = producer.send(message.clone()).await.unwrap_err();
    assert_eq!(again.message_id(), id);
    let elsewhere = MessageQueue { topic: "U".to_owned(), broker_name: "b".to_owned(), queue_id: 0 };
    let unsent = producer.send_to(message.clone(), &elsewhere).await.unwrap_err();
    assert_eq!(unsent.into_message().message_id(), Some(id.as_str()));
    let other = producer.send(message.as_new()).await.unwrap_err();
    assert_ne!(other.message_id(), id);
    assert_eq!(*silent.keys.lock(), [id.as_str(), id.as_str(), other.message_id()]);

    silent.keys.lock().clear();
    let batch = vec![Message::new("T", "x"), Message::new("T", "y")];
    let error = producer.send_all(batch).await.unwrap_err();
    assert_eq!((error.maybe_stored, error.unsent.len()), (2, 2));
    let _ = producer.send_all(error.unsent).await;
    let keys = silent.keys.lock().clone();
    assert_eq!((keys.len(), &keys[..2]), (4, &keys[2..]));
    assert_ne!(keys[0], keys[1]);
    server.close(Duration::ZERO).await;
}

#[tokio::test]
async fn a_connection_that_has_answered_others_stays_when_one_call_is_not_answered() {
    let (address, silent, _server) = Silent::start();
    let client = Client::builder(address).heartbeat(Duration::from_millis(100)).connect().await.unwrap();
    let producer = client.producer("P").build().unwrap();
    producer.queues("T").await.unwrap();
    support::eventually("a heartbeat", async || !silent.beats.lock().is_empty()).await;
    // It is waited for 3 s, the last second of which is not silence enough.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    client.admin().topic_route("T").await.unwrap();
    support::eventually("another heartbeat", async || silent.beats.lock().len() > 1).await;
    let beats = silent.beats.lock().clone();
    assert_eq!(beats[0], beats[1], "it was heard while the first heartbeat was under way");
}

#[tokio::test]
async fn no_call_takes_longer_than_its_time_whoever_is_silent() {
    let silent = async |route: bool| {
        let (address, server) = if route {
            let (address, _, server) = Silent::start();
            (address, server)
        } else {
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            (listener.address().to_string(), listener.serve(Limits::default(), Arc::new(NoQuestions)))
        };
        let builder = Client::builder(address).call_timeout(Duration::from_secs(60));
        (server, builder.connect().await.unwrap())
    };
    let begun = std::time::Instant::now();
    let (_names, client) = silent(false).await;
    let producer = client.producer("P").timeout(SOON).build().unwrap();
    let error = producer.send(Message::new("T", "x")).await.unwrap_err();
    assert!(matches!(error.cause(), Error::TooLate { .. }) && !error.maybe_stored(), "{error}");
    let (_broker, client) = silent(true).await;
    let producer = client.producer("P").timeout(Duration::from_secs(60)).build().unwrap();
    let error = producer.request(Message::new("T", "x"), SOON).await.unwrap_err();
    assert!(matches!(error, RequestError::NoReply { after } if after == SOON), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn no_kind_of_send_waits_longer_than_its_time_for_a_silent_name_server() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address().to_string();
    let _server = listener.serve(Limits::default(), Arc::new(NoQuestions));
    let client = Client::builder(address).call_timeout(Duration::from_secs(60)).connect().await.unwrap();
    let begun = std::time::Instant::now();
    let producer = |group: &str| client.producer(group).timeout(SOON);
    let plain = producer("P").build().unwrap();
    let error = plain.send_oneway(Message::new("T", "x")).await.unwrap_err();
    assert!(matches!(error, Error::TooLate { .. }), "{error}");
    let gathering = producer("Q").auto_batch(AutoBatch::default()).build().unwrap();
    let error = gathering.send(Message::new("T", "x").order_by("k")).await.unwrap_err();
    assert!(matches!(error.cause(), Error::TooLate { .. }) && !error.maybe_stored(), "{error}");
    let asking = producer("R").transactional(|_| async { Decision::Unknown }).unwrap();
    let error = asking.begin(Message::new("T", "x")).await.unwrap_err();
    assert!(matches!(error.cause(), Error::TooLate { .. }) && !error.maybe_stored(), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// A name server and broker that wants the first request it gets to go elsewhere, but says so late, and then is silent.
#[derive(Default)]
struct Leaving {
    address: Mutex<String>,
    asked: AtomicBool,
}

impl Service for Leaving {
    fn serve(&self, channel: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(asked) = turn.next_request() {
            let head = asked.reply_to();
            if asked.header.code == request::GET_ROUTEINFO_BY_TOPIC {
                let route = route_to(&self.address.lock());
                FrameWriter::new(turn.out, &head.head(response::SUCCESS, None)).body(route.as_bytes());
            } else if !self.asked.swap(true, Ordering::SeqCst) {
                let channel = Arc::clone(channel);
                tokio::spawn(async move {
                    tokio::time::sleep(LATE).await;
                    let mut out = Vec::new();
                    head.write(&mut out, response::GO_AWAY, None);
                    channel.send(&out);
                });
            }
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

const LATE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_server_that_sends_its_clients_away_late_does_not_give_them_more_time() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address().to_string();
    let leaving = Leaving { address: Mutex::new(address.clone()), ..Leaving::default() };
    let _server = listener.serve(Limits::default(), Arc::new(leaving));
    let client = Client::connect(&address).await.unwrap();
    let limit = LATE + Duration::from_secs(1);
    let producer = client.producer("P").timeout(limit).attempts(1).build().unwrap();
    let begun = std::time::Instant::now();
    let error = producer.send(Message::new("T", "x")).await.unwrap_err();
    assert!(begun.elapsed() >= LATE, "it was sent away: {error}");
    assert!(begun.elapsed() < limit + LATE / 2, "{:?}: {error}", begun.elapsed());
}

/// A broker that sends away who asks over its first connection, when it is told to, and refuses others at once.
#[derive(Default)]
struct Elsewhere {
    /// Those over which something was asked, in their order.
    connections: Mutex<Vec<u64>>,
    /// What the first one asked and has no answer to.
    waiting: Mutex<Vec<(Arc<Channel>, ReplyTo)>>,
}

impl Elsewhere {
    fn send_one_away(&self) {
        let (channel, head) = self.waiting.lock().remove(0);
        let mut out = Vec::new();
        head.write(&mut out, response::GO_AWAY, None);
        channel.send(&out);
    }
}

impl Service for Elsewhere {
    fn serve(&self, channel: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(asked) = turn.next_request() {
            let mut connections = self.connections.lock();
            if !connections.contains(&channel.id()) {
                connections.push(channel.id());
            }
            if connections[0] == channel.id() {
                self.waiting.lock().push((Arc::clone(channel), asked.reply_to()));
            } else {
                asked.reply_to().write(turn.out, response::NO_PERMISSION, None);
            }
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

#[tokio::test]
async fn who_is_sent_away_after_others_follows_them_over_the_connection_that_they_made() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address().to_string();
    let elsewhere = Arc::new(Elsewhere::default());
    let _server = listener.serve(Limits::default(), Arc::<Elsewhere>::clone(&elsewhere));
    let client = Client::connect(&address).await.unwrap();
    let mut asking = Vec::new();
    for number in 1..=2 {
        let (admin, address) = (client.admin(), address.clone());
        asking.push(tokio::spawn(async move { admin.delete_topic_at(&address, "T").await }));
        while elsewhere.waiting.lock().len() < number {
            assert!(!asking[number - 1].is_finished(), "it waits for its answer");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    for asked in asking {
        elsewhere.send_one_away();
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(error.broker_code(), Some(response::NO_PERMISSION), "{error}");
    }
    assert_eq!(elsewhere.connections.lock().len(), 2);
}

const SOON: Duration = Duration::from_millis(200);

struct NoQuestions;

impl Service for NoQuestions {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while turn.next_request().is_some() {}
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

/// Tells both brokers of logical queue 0 of a static topic, as `mqadmin` does: one physical queue on each.
async fn map(world: &World, epoch: i64, items: &[LogicQueueMappingItem]) {
    let client = remoting::Client::new(Limits::default(), Arc::new(NoQuestions));
    for (index, name) in ["broker-a", "broker-b"].into_iter().enumerate() {
        let detail = TopicQueueMappingDetail {
            bname: name.to_owned(),
            epoch,
            hosted_queues: BTreeMap::from([(0, items.to_vec())]),
            topic: "moving".to_owned(),
            total_queues: 1,
            ..TopicQueueMappingDetail::default()
        };
        let fields = [
            ("topic", "moving"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
        ];
        let body = serde_json::to_vec(&detail).unwrap();
        let code = request::UPDATE_AND_CREATE_STATIC_TOPIC;
        let limit = Duration::from_secs(20);
        let answer = client.call(&world.broker(index), code, &fields, &body, limit).await.unwrap();
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }
}

fn item(generation: i32, bname: &str, logic_offset: i64) -> LogicQueueMappingItem {
    LogicQueueMappingItem {
        r#gen: generation,
        bname: bname.to_owned(),
        logic_offset,
        ..LogicQueueMappingItem::default()
    }
}

#[tokio::test]
async fn a_logical_queue_that_brokers_assign_is_read_where_it_is_led() {
    let world = World::with(2, &[]).await;
    map(&world, 1, &[item(0, "broker-a", 0)]).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    let consumer = client.consumer("G").subscribe("moving", Filter::all()).start_from(StartFrom::Earliest);
    let mut consumer = consumer.rebalance_by_brokers().rebalance_every(SOON).stream().await.unwrap();
    producer.send(Message::new("moving", "m0")).await.unwrap();
    let delivered = tokio::time::timeout(Duration::from_secs(30), consumer.next()).await.unwrap().unwrap();
    let queue = &delivered.queue;
    assert_eq!((queue.broker_name.as_str(), queue.queue_id, delivered.offset), ("broker-a", 0, 0));
    delivered.ack();
}

#[tokio::test]
async fn members_and_producers_follow_a_queue_that_moves_to_another_broker() {
    let world = World::with(2, &[]).await;
    let (first, second) = (item(0, "broker-a", 0), item(1, "broker-b", 10_000));
    map(&world, 1, std::slice::from_ref(&first)).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    let consumer = client.consumer("G").subscribe("moving", Filter::all()).start_from(StartFrom::Earliest);
    let mut consumer = consumer.rebalance_every(SOON).commit_every(SOON).stream().await.unwrap();
    let mut next = async || {
        let delivered =
            tokio::time::timeout(Duration::from_secs(30), consumer.next()).await.unwrap().unwrap();
        let seen = (delivered.offset, delivered.queue.queue_id, delivered.text().into_owned());
        delivered.ack();
        seen
    };
    for offset in 0..3 {
        let receipt = producer.send(Message::new("moving", format!("m{offset}"))).await.unwrap();
        assert_eq!((receipt.queue.queue_id, receipt.offset), (0, offset));
        assert_eq!(next().await, (offset, 0, format!("m{offset}")));
    }
    map(&world, 2, &[first, second]).await;
    let receipt = producer.send(Message::new("moving", "m3")).await.unwrap();
    assert_eq!((receipt.queue.broker_name.as_str(), receipt.offset), ("broker-b", 10_000));
    // What was not committed before the move comes again.
    let mut delivered = next().await;
    while delivered.0 < 3 {
        delivered = next().await;
    }
    assert_eq!(delivered, (10_000, 0, "m3".to_owned()));
    // Administrators see the one queue that everybody knows, not the two that it is made of.
    let (admin, queue) = (client.admin(), receipt.queue);
    let progress = async || {
        let stats = admin.consume_stats("G", Some("moving")).await.unwrap();
        let told =
            stats.offset_table.into_iter().map(|(queue, at)| (queue, at.consumer_offset, at.broker_offset));
        told.collect::<Vec<_>>() == [(queue.clone(), 10_001, 10_001)]
    };
    support::eventually("the group is at the end", progress).await;
    let extents = admin.topic_stats("moving").await.unwrap().offset_table;
    assert_eq!(extents.keys().collect::<Vec<_>>(), [&queue]);
    assert_eq!((extents[&queue].min_offset, extents[&queue].max_offset), (0, 10_001));
}
