//! Messages that are sent at about the same time go together, and each has a result of its own.

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use remoting::{Channel, Limits, Listener, Service, Turn};
use support::{PATIENCE, World};
use thrustmq_client::{AutoBatch, Client, Error, Filter, Message, Producer, Received};
use tokio::task::JoinSet;
use wire::code::{request, response};
use wire::header::FrameWriter;

/// Longer than sending a hundred messages takes on a loaded machine, and shorter than anybody's patience.
const WHILE: Duration = Duration::from_millis(700);

fn producer(client: &Client, batches: AutoBatch) -> Producer {
    client.producer("P").auto_batch(batches).timeout(PATIENCE).build().unwrap()
}

/// All messages of a topic, queue by queue.
async fn all(client: &Client, topic: &str) -> Vec<Received> {
    let reader = client.reader("R");
    let mut messages = Vec::new();
    for queue in reader.queues(topic).await.unwrap() {
        let mut offset = 0;
        loop {
            let pulled = reader.pull(&queue, offset, 32, &Filter::all()).await.unwrap();
            if pulled.messages.is_empty() {
                break;
            }
            offset = pulled.next_offset;
            messages.extend(pulled.messages);
        }
    }
    messages
}

#[tokio::test]
async fn one_batch_goes_to_one_queue_and_everybody_learns_where_his_message_is() {
    let world = World::start().await;
    world.create_topic("T", 8).await;
    let client = world.client().await;
    let producer = producer(&client, AutoBatch::default().wait(WHILE));
    let mut sends = JoinSet::new();
    for number in 0..100 {
        let producer = producer.clone();
        let message = Message::new("T", number.to_string()).tag(format!("t{number}")).flag(number);
        sends.spawn(async move { (number, producer.send(message).await.unwrap()) });
    }
    let receipts = sends.join_all().await;
    let queues: BTreeSet<_> = receipts.iter().map(|(_, receipt)| receipt.queue.clone()).collect();
    assert_eq!(queues.len(), 1, "one request has one queue; a hundred would have taken turns at eight");
    let stored = all(&client, "T").await;
    assert_eq!(stored.len(), 100);
    for (number, receipt) in receipts {
        let at = &stored[usize::try_from(receipt.offset).unwrap()];
        assert_eq!((at.text().into_owned(), at.flag), (number.to_string(), number));
        assert_eq!(at.tag().map(str::to_owned), Some(format!("t{number}")));
        assert_eq!((&*at.message_id(), at.offset_id()), (receipt.message_id.as_str(), receipt.offset_id));
    }
}

#[tokio::test]
async fn a_batch_that_is_large_enough_does_not_wait() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    // Nothing would ever be sent if only time ended the wait.
    let producer = producer(&client, AutoBatch::default().wait(PATIENCE * 2).bytes(40));
    let mut sends = JoinSet::new();
    for _ in 0..8 {
        let producer = producer.clone();
        sends.spawn(async move { producer.send(Message::new("T", "ten bytes.")).await.unwrap().offset });
    }
    let offsets = tokio::time::timeout(PATIENCE, sends.join_all()).await.expect("they are sent at once");
    assert_eq!(offsets.into_iter().collect::<BTreeSet<_>>(), (0..8).collect());
    let large = producer.send(Message::new("T", "this alone has forty bytes, or even some more"));
    let by_key = producer.send(Message::new("T", "later").delay_level(1));
    tokio::time::timeout(PATIENCE, large).await.expect("it goes by itself").unwrap();
    tokio::time::timeout(PATIENCE, by_key).await.expect("it goes by itself").unwrap();
}

#[tokio::test]
async fn ordered_messages_go_to_the_queues_of_their_keys_and_close_waits_for_all() {
    let world = World::start().await;
    world.create_topic("T", 4).await;
    let client = world.client().await;
    let plain = client.producer("Plain").build().unwrap();
    let producer = producer(&client, AutoBatch::default().wait(PATIENCE));
    let mut pending = Vec::new();
    for number in 0..20 {
        let key = format!("key {}", number % 5);
        let alone = plain.send(Message::new("T", "alone").order_by(&key)).await.unwrap();
        let (producer, together) = (producer.clone(), Message::new("T", "together").order_by(key));
        pending.push((alone.queue, tokio::spawn(async move { producer.send(together).await })));
    }
    // Let them join their batches, which nothing but the end of the producer sends in time.
    tokio::time::sleep(WHILE).await;
    tokio::time::timeout(PATIENCE / 2, producer.close()).await.expect("it sends what waits");
    for (queue, sent) in pending {
        assert_eq!(sent.await.unwrap().unwrap().queue, queue);
    }
}

#[tokio::test]
async fn one_that_is_wrong_fails_alone_and_one_that_nobody_waits_for_is_not_sent() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = producer(&client, AutoBatch::default().wait(WHILE));
    let wrong = Message::new("T", "wrong").property("UNIQ_KEY", "mine");
    let given_up = tokio::time::timeout(WHILE / 10, producer.send(Message::new("T", "given up")));
    let (right, wrong, also_right, given_up) = tokio::join!(
        producer.send(Message::new("T", "right")),
        producer.send(wrong),
        producer.send(Message::new("T", "also right")),
        given_up,
    );
    assert_eq!((right.unwrap().offset, also_right.unwrap().offset), (0, 1));
    let error = wrong.unwrap_err();
    assert!(matches!(error.cause(), Error::Illegal(_)) && !error.maybe_stored(), "{error}");
    assert_eq!(error.into_message().body(), "wrong");
    assert!(given_up.is_err(), "its time was over first");
    assert_eq!(all(&client, "T").await.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_sent_comes_back_to_each() {
    let mut world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let batches = AutoBatch::default().wait(Duration::from_millis(50));
    let producer = client.producer("P").auto_batch(batches).timeout(Duration::from_secs(1)).build().unwrap();
    producer.send(Message::new("T", "the way is known")).await.unwrap();
    let address = world.stop_broker(0).await;
    let (one, two) =
        tokio::join!(producer.send(Message::new("T", "1")), producer.send(Message::new("T", "2")));
    let [one, two] = [one.unwrap_err(), two.unwrap_err()];
    assert_eq!((one.attempts() > 0, one.attempts()), (true, two.attempts()), "they shared requests");
    assert_ne!(one.message_id(), two.message_id());
    let [one, two] = [one.into_message(), two.into_message()];
    assert_eq!((&one.body()[..], &two.body()[..]), (&b"1"[..], &b"2"[..]));
    world.start_broker(0, address).await;
    let (mut again, deadline) = (Some(one), tokio::time::Instant::now() + PATIENCE);
    while let Some(message) = again.take() {
        assert!(tokio::time::Instant::now() < deadline, "the broker is back");
        again = producer.send(message).await.err().map(|error| error.into_message());
    }
}

/// A name server and broker that finds fault with every batch, and does not answer when it is sent messages one by one.
#[derive(Default)]
struct Particular {
    address: OnceLock<String>,
}

impl Service for Particular {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(asked) = turn.next_request() {
            let head = asked.reply_to();
            match asked.header.code {
                request::GET_ROUTEINFO_BY_TOPIC => {
                    let address = self.address.get().expect("an address");
                    let route = format!(
                        r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{address}"}},"brokerName":"b","cluster":"c"}}],
                            "queueDatas":[{{"brokerName":"b","perm":6,"readQueueNums":1,"writeQueueNums":1}}]}}"#
                    );
                    FrameWriter::new(turn.out, &head.head(response::SUCCESS, None)).body(route.as_bytes());
                }
                request::SEND_BATCH_MESSAGE => head.write(turn.out, response::MESSAGE_ILLEGAL, None),
                _ => (),
            }
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

#[tokio::test]
async fn messages_of_a_batch_do_not_wait_for_a_silent_broker_one_after_the_other() {
    let particular = Arc::new(Particular::default());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = particular.address.get_or_init(|| listener.address().to_string()).clone();
    let _server = listener.serve(Limits::default(), particular);
    let client = Client::connect(&address).await.unwrap();
    let batches = AutoBatch::default().wait(WHILE);
    let producer = client.producer("P").auto_batch(batches).timeout(Duration::from_secs(1)).build().unwrap();
    let mut sends = JoinSet::new();
    for number in 0..40 {
        let (producer, message) = (producer.clone(), Message::new("T", number.to_string()));
        sends.spawn(async move { producer.send(message).await.unwrap_err() });
    }
    let errors = tokio::time::timeout(PATIENCE, sends.join_all()).await.expect("not 40 s");
    let sent: Vec<_> = errors.iter().filter(|error| error.maybe_stored()).collect();
    assert!(errors.len() == 40 && sent.len() == 1, "{} may be stored", sent.len());
}
