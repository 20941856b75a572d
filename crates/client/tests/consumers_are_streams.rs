//! Consumers are streams: what combines streams combines them.

mod support;

use std::pin::pin;
use std::time::Duration;

use support::{PATIENCE, World};
use thrustmq_client::{Client, Consumer, Filter, Message, Received, StartFrom};
use tokio_stream::StreamExt;

const SOON: Duration = Duration::from_millis(200);

async fn send(client: &Client, group: &str, numbers: std::ops::Range<u32>) {
    let producer = client.producer(group).build().unwrap();
    for number in numbers {
        producer.send(Message::new("T", number.to_string())).await.unwrap();
    }
}

async fn consumer(client: &Client, group: &str) -> Consumer {
    let consumer = client.consumer(group).subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    consumer.rebalance_every(SOON).commit_every(SOON).stream().await.unwrap()
}

fn number(message: &Received) -> u32 {
    message.text().parse().unwrap()
}

#[tokio::test]
async fn messages_of_a_stream_are_those_of_the_consumer() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    send(&client, "P", 0..7).await;
    let mut consumer = consumer(&client, "G").await;
    let mut batches = Vec::new();
    {
        let mut some = pin!((&mut consumer).take(6).chunks_timeout(3, PATIENCE));
        while let Some(batch) = tokio::time::timeout(PATIENCE, some.next()).await.unwrap() {
            batches.push(batch.iter().map(|message| number(message)).collect::<Vec<_>>());
            batch.into_iter().for_each(|message| message.ack());
        }
    }
    assert_eq!(batches, [[0, 1, 2], [3, 4, 5]]);
    let last = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
    assert_eq!(number(&last), 6);
    last.ack();
    consumer.close(PATIENCE).await;
    assert_eq!(client.admin().consume_stats("G", Some("T")).await.unwrap().behind(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_at_two_streams_is_woken_by_either() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let (client, other) = (world.client().await, world.client().await);
    let pulled = consumer(&client, "G").await.map(|message| {
        let body = message.text().into_owned();
        message.ack();
        ("pulled", body)
    });
    let popping = other.pop_consumer("H").subscribe("T", Filter::all()).start_from_earliest();
    let popped = popping.rebalance_every(SOON).stream().await.unwrap();
    let popped = popped.map(|message| {
        let body = message.text().into_owned();
        tokio::spawn(message.ack());
        ("popped", body)
    });
    let merged = tokio::spawn(pulled.merge(popped).take(4).collect::<Vec<_>>());
    tokio::time::sleep(SOON).await;
    send(&client, "P", 0..2).await;
    let mut seen = tokio::time::timeout(PATIENCE, merged).await.expect("in time").unwrap();
    seen.sort();
    let expected = [("popped", "0"), ("popped", "1"), ("pulled", "0"), ("pulled", "1")];
    assert_eq!(seen, expected.map(|(how, body)| (how, body.to_owned())));
}
