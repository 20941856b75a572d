//! A broker takes connections and answers nothing: members do with the others as ever, and can be closed.

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use support::{PATIENCE, World, eventually};
use thrustmq_client::{Client, Consumer, Delivered, Filter, Message, MessageQueue, StartFrom};

const SOON: Duration = Duration::from_millis(200);
/// Queues at each broker: asked about one after the other, a silent broker would take longer than [`PATIENCE`].
const QUEUES: i32 = 16;

/// A message of each queue, in hands.
async fn one_of_each(client: &Client, consumer: &mut Consumer) -> Vec<Delivered> {
    let producer = client.producer("P").build().unwrap();
    for queue in producer.queues("T").await.unwrap() {
        producer.send_to(Message::new("T", "in hands"), &queue).await.unwrap();
    }
    let mut messages = Vec::new();
    while messages.len() < 2 * QUEUES as usize {
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
        messages.push(next.expect("a message in time").expect("an open consumer"));
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_written_down_at_the_other_broker_and_the_consumer_closes() {
    let mut world = World::with(2, &[]).await;
    world.create_topic("T", QUEUES).await;
    let (client, watcher) = (world.client().await, world.client().await);
    let reader = watcher.reader("G");
    let queues = reader.queues("T").await.unwrap();
    let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    let mut consumer = consumer.commit_every(SOON).stream().await.unwrap();
    let messages = one_of_each(&client, &mut consumer).await;
    let address = world.stop_broker(0).await;
    let _silent = TcpListener::bind(address).expect("the broker's port");
    messages.into_iter().for_each(Delivered::ack);

    let other: Vec<MessageQueue> =
        queues.into_iter().filter(|queue| queue.broker_name == "broker-b").collect();
    eventually("the other broker knows", async || {
        for queue in &other {
            if reader.committed(queue).await.unwrap() != Some(1) {
                return false;
            }
        }
        true
    })
    .await;
    tokio::time::timeout(PATIENCE, consumer.close(SOON)).await.expect("a close that ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_of_the_other_begin_while_one_at_the_silent_broker_is_given_up() {
    let mut world = World::with(2, &[]).await;
    world.create_topic("T", 1).await;
    let call = Duration::from_secs(6);
    let client = Client::builder(world.names()).call_timeout(call).connect().await.unwrap();
    let producer = client.producer("P").timeout(PATIENCE).build().unwrap();
    let queues = producer.queues("T").await.unwrap();
    let of = |broker: &str| queues.iter().find(|queue| queue.broker_name == broker).unwrap().clone();
    let (first, other) = (of("broker-a"), of("broker-b"));
    for queue in &queues {
        producer.send_to(Message::new("T", "x"), queue).await.unwrap();
    }
    let polling = client.lite_pull_consumer("G").assign([first]).start_from(StartFrom::Earliest);
    let mut polling = polling.commit_every(Duration::from_secs(3_600)).build().await.unwrap();
    assert_eq!(polling.poll(PATIENCE).await.len(), 1);
    let address = world.stop_broker(0).await;
    let _silent = TcpListener::bind(address).expect("the broker's port");

    let begun = Instant::now();
    polling.assign([other.clone()]).await;
    // One call and the heartbeat of 3 s take 9 s, two calls would take 15 s.
    assert!(begun.elapsed() < Duration::from_millis(12_500), "{:?}", begun.elapsed());
    assert_eq!(polling.assignment(), [other]);
    assert_eq!(polling.poll(PATIENCE).await.len(), 1);
}
