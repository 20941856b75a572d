//! Servers that are away, and come back.

mod support;

use std::time::Duration;

use support::World;
use thrustmq_client::{Client, Error, Message};

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
