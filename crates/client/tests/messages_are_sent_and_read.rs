//! What producers send is what readers and administrators find.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::World;
use thrustmq_client::{Error, Filter, Message, SendStatus};

#[tokio::test]
async fn a_message_keeps_everything_that_it_was_sent_with() {
    let world = World::start().await;
    world.create_topic("T", 2).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    let body = "long ".repeat(2_000);
    let message =
        Message::new("T", body.clone()).tag("a").key("k1").key("k2").property("color", "blue").flag(9);
    let receipt = producer.send(message).await.unwrap();
    assert_eq!((receipt.status, receipt.attempts, receipt.offset), (SendStatus::Stored, 1, 0));

    let reader = client.reader("R");
    let pulled = reader.pull(&receipt.queue, 0, 32, &Filter::all()).await.unwrap();
    assert_eq!((pulled.messages.len(), pulled.next_offset, pulled.max_offset), (1, 1, 1));
    let got = &pulled.messages[0];
    assert_eq!((got.topic(), got.text().as_ref(), got.flag), ("T", body.as_str(), 9));
    assert_eq!((got.tag(), got.property("color")), (Some("a"), Some("blue")));
    assert_eq!(got.keys().collect::<Vec<_>>(), ["k1", "k2"]);
    assert_eq!((&*got.message_id(), &got.offset_id()), (receipt.message_id.as_str(), &receipt.offset_id));
    assert!(got.stored_bytes < 2_000, "it travelled compressed");

    let admin = client.admin();
    assert_eq!(admin.view_message("T", &receipt.offset_id).await.unwrap().body, got.body);
    let by_id = async || admin.messages_by_unique_key("T", &receipt.message_id).await.unwrap().len() == 1;
    support::eventually("the index has it", by_id).await;
    let found = admin.messages_by_key("T", "k2", 10, 0, i64::MAX).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].message_id(), receipt.message_id);
}

#[tokio::test]
async fn sends_go_to_all_queues_of_all_brokers_and_filters_select() {
    let world = World::with(2, &[]).await;
    world.create_topic("T", 2).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    let mut queues = BTreeSet::new();
    for number in 0..8 {
        let tag = if number < 4 { "low" } else { "high" };
        let receipt = producer.send(Message::new("T", format!("{number}")).tag(tag)).await.unwrap();
        queues.insert(receipt.queue);
    }
    assert_eq!(queues.len(), 4);
    let reader = client.reader("R");
    let mut low = Vec::new();
    for queue in reader.queues("T").await.unwrap() {
        let pulled = reader.pull(&queue, 0, 32, &Filter::tags(["low"])).await.unwrap();
        low.extend(pulled.messages.iter().map(|message| message.text().into_owned()));
        assert_eq!(pulled.next_offset, 2);
    }
    low.sort();
    assert_eq!(low, ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn batches_enqueued_and_one_way_messages_arrive_once_each() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = client.producer("P").body_max(1_000).build().unwrap();
    let batch: Vec<_> = (0..20).map(|number| Message::new("T", format!("batch {number:0>200}"))).collect();
    let receipts = producer.send_all(batch).await.unwrap();
    assert_eq!(
        receipts.iter().map(|receipt| receipt.offset).collect::<Vec<_>>(),
        (0..20).collect::<Vec<_>>()
    );
    let ids: BTreeSet<_> = receipts.iter().map(|receipt| &receipt.message_id).collect();
    let places: BTreeSet<_> = receipts.iter().map(|receipt| &receipt.offset_id).collect();
    assert_eq!((ids.len(), places.len()), (20, 20));

    let mut pending = Vec::new();
    for number in 0..20 {
        pending.push(producer.enqueue(Message::new("T", format!("enqueued {number}"))).await.unwrap());
    }
    for one in pending {
        one.await.unwrap();
    }
    producer.send_oneway(Message::new("T", "one-way")).await.unwrap();
    let reader = client.reader("R");
    let queue = reader.queues("T").await.unwrap().remove(0);
    support::eventually("all are there", async || reader.max_offset(&queue).await.unwrap() == 41).await;

    producer.close().await;
    let late = producer.enqueue(Message::new("T", "late")).await.unwrap_err();
    assert!(matches!(late.cause(), Error::Stopped(_)) && !late.maybe_stored());
    assert_eq!(late.into_message().body(), "late");
}

#[tokio::test]
async fn keys_keep_to_their_queue_and_delays_are_kept() {
    let world = World::start().await;
    world.create_topic("T", 4).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    for _ in 0..3 {
        // "TagA" has the hash 2598919 in Java, which is 3 modulo 4.
        let receipt = producer.send(Message::new("T", "x").order_by("TagA")).await.unwrap();
        assert_eq!(receipt.queue.queue_id, 3);
    }
    let begun = std::time::Instant::now();
    producer.send(Message::new("T", "by level").delay_level(1)).await.unwrap();
    producer.send(Message::new("T", "by time").delay(Duration::from_millis(900))).await.unwrap();
    let reader = client.reader("R");
    let queues = reader.queues("T").await.unwrap();
    let count = async || {
        let mut count = 0;
        for queue in &queues {
            count += reader.max_offset(queue).await.unwrap();
        }
        count
    };
    assert!(count().await == 3 || begun.elapsed() >= Duration::from_millis(900));
    support::eventually("both came", async || count().await == 5).await;
    assert!(begun.elapsed() >= Duration::from_millis(900));
}

#[tokio::test]
async fn nothing_is_sent_that_brokers_would_refuse_and_errors_promise_that() {
    let world = World::with(1, &[("autoCreateTopicEnable", "false")]).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    let illegal = producer.send(Message::new("a topic", "x")).await.unwrap_err();
    assert!(matches!(illegal.cause(), Error::Illegal(_)) && !illegal.maybe_stored());
    let nowhere = producer.send(Message::new("nowhere", "x")).await.unwrap_err();
    assert!(matches!(nowhere.cause(), Error::NoRoute { .. }) && !nowhere.maybe_stored());
    assert!(client.producer("P").build().is_err(), "the group is taken");
    drop(producer);
    assert!(client.producer("P").build().is_ok());
}

#[tokio::test]
async fn a_topic_that_nobody_has_is_made_by_sending_to_it() {
    let world = World::start().await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    producer.send(Message::new("new", "x")).await.unwrap();
    let route = async || client.route("new").await.is_ok();
    support::eventually("the name server hears of it", route).await;
}

#[tokio::test]
async fn a_queue_can_be_named_in_whichever_way_messages_are_sent() {
    let world = World::start().await;
    world.create_topic("T", 4).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    let queue = producer.queues("T").await.unwrap().remove(2);
    let batch = (0..5).map(|number| Message::new("T", number.to_string())).collect();
    let receipts = producer.send_all_to(batch, &queue).await.unwrap();
    assert!(receipts.iter().enumerate().all(|(at, one)| one.queue == queue && one.offset == at as i64));
    producer.send_oneway_to(Message::new("T", "5"), &queue).await.unwrap();
    let reader = client.reader("R");
    support::eventually("it is there", async || reader.max_offset(&queue).await.unwrap() == 6).await;
    let other = vec![Message::new("T", "6"), Message::new("U", "7")];
    let error = producer.send_all_to(other, &queue).await.unwrap_err();
    assert_eq!((error.receipts.len(), error.unsent.len(), error.maybe_stored), (0, 2, 0));
    assert!(producer.send_oneway_to(Message::new("U", "8"), &queue).await.is_err());
    let urgent = producer.send(Message::new("T", "9").priority(3)).await.unwrap();
    assert_eq!(urgent.queue.queue_id, 3, "the broker chooses the queue by it");
}
