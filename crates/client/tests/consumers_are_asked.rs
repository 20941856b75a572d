//! Consumers that are asked for messages: subscribed or assigned, sought, paused, committed.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::{PATIENCE, World, eventually};
use thrustmq_client::{Client, Filter, LitePullConsumer, Message, MessageQueue, Producer, StartFrom};

const SOON: Duration = Duration::from_millis(200);

async fn send(producer: &Producer, numbers: std::ops::Range<u32>) {
    for number in numbers {
        producer.send(Message::new("T", number.to_string())).await.expect("a message is sent");
    }
}

async fn subscribed(client: &Client) -> LitePullConsumer {
    let consumer = client.lite_pull_consumer("G").subscribe("T", Filter::all());
    let consumer = consumer.start_from(StartFrom::Earliest).rebalance_every(SOON).commit_every(SOON);
    consumer.build().await.expect("a consumer")
}

/// Polls until so many came.
async fn polled<S>(consumer: &mut LitePullConsumer<S>, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    let deadline = std::time::Instant::now() + PATIENCE;
    while bodies.len() < count {
        assert!(std::time::Instant::now() < deadline, "only {bodies:?} came");
        bodies.extend(consumer.poll(SOON).await.iter().map(|message| message.text().into_owned()));
    }
    bodies
}

async fn only_queue(client: &Client) -> MessageQueue {
    client.reader("G").queues("T").await.expect("queues").remove(0)
}

#[tokio::test]
async fn what_is_polled_is_committed_by_the_next_poll_and_at_the_end() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    send(&producer, 0..5).await;
    let mut consumer = subscribed(&client).await;
    let queue = only_queue(&client).await;
    assert_eq!(polled(&mut consumer, 5).await, ["0", "1", "2", "3", "4"]);
    assert_eq!(consumer.position(&queue).unwrap(), 5);
    tokio::time::sleep(SOON * 3).await;
    assert_ne!(consumer.committed(&queue).await.unwrap(), Some(5), "the last batch is not done yet");
    assert!(consumer.poll(Duration::ZERO).await.is_empty());
    eventually("it is committed", async || consumer.committed(&queue).await.unwrap() == Some(5)).await;
    send(&producer, 5..7).await;
    assert_eq!(polled(&mut consumer, 2).await, ["5", "6"]);
    consumer.close().await;
    assert_eq!(client.reader("G").committed(&queue).await.unwrap(), Some(7));
}

#[tokio::test]
async fn members_divide_the_queues() {
    let world = World::start().await;
    world.create_topic("T", 4).await;
    let (one, two) = (world.client().await, world.client().await);
    let producer = one.producer("P").build().unwrap();
    let (mut first, mut second) = (subscribed(&one).await, subscribed(&two).await);
    let share = |consumer: &LitePullConsumer| consumer.assignment().len();
    eventually("they share", async || (share(&first), share(&second)) == (2, 2)).await;
    send(&producer, 0..20).await;
    let mut bodies: BTreeSet<String> = polled(&mut first, 10).await.into_iter().collect();
    bodies.extend(polled(&mut second, 10).await);
    assert_eq!(bodies.len(), 20);
    first.close().await;
    eventually("the second has all", async || share(&second) == 4).await;
    second.close().await;
}

#[tokio::test]
async fn an_assigned_queue_is_sought_and_paused() {
    let world = World::start().await;
    world.create_topic("T", 2).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    let queues = client.reader("G").queues("T").await.unwrap();
    for number in 0..6 {
        let message = Message::new("T", number.to_string());
        producer.send_to(message, &queues[number % 2]).await.unwrap();
    }
    let consumer = client.lite_pull_consumer("G").assign([queues[0].clone()]).commit_by_hand();
    let mut consumer = consumer.start_from(StartFrom::Earliest).build().await.unwrap();
    assert_eq!(consumer.assignment(), [queues[0].clone()]);
    assert_eq!(polled(&mut consumer, 3).await, ["0", "2", "4"]);
    consumer.seek(&queues[0], 1).await.unwrap();
    assert_eq!(polled(&mut consumer, 2).await, ["2", "4"]);
    consumer.seek_to_begin(&queues[0]).await.unwrap();
    assert_eq!(polled(&mut consumer, 3).await, ["0", "2", "4"]);
    consumer.seek_to_end(&queues[0]).await.unwrap();
    assert!(consumer.poll(SOON).await.is_empty());
    consumer.seek_to_time(&queues[0], 0).await.unwrap();
    assert_eq!(polled(&mut consumer, 3).await, ["0", "2", "4"]);
    assert!(consumer.seek(&queues[0], 4).await.is_err(), "the queue ends at 3");
    assert!(consumer.seek(&queues[1], 0).await.is_err(), "it is not assigned");

    consumer.assign(queues.clone()).await;
    assert_eq!(consumer.assignment(), queues);
    consumer.pause(&queues[1..]).unwrap();
    assert!(consumer.poll(SOON).await.is_empty());
    consumer.resume(&queues[1..]).unwrap();
    assert_eq!(polled(&mut consumer, 3).await, ["1", "3", "5"]);

    let committed = client.reader("G");
    assert_eq!(committed.committed(&queues[0]).await.unwrap(), None, "nothing is written down by itself");
    consumer.commit().await.unwrap();
    for queue in &queues {
        assert_eq!(committed.committed(queue).await.unwrap(), Some(3));
    }
    consumer.commit_offsets([(queues[1].clone(), 1)]).await.unwrap();
    assert_eq!(consumer.committed(&queues[1]).await.unwrap(), Some(1));
    send(&producer, 6..8).await;
    polled(&mut consumer, 2).await;
    consumer.close().await;
    assert_eq!(committed.committed(&queues[0]).await.unwrap(), Some(3));
}

#[tokio::test]
async fn a_poll_that_is_given_up_loses_nothing() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    let mut consumer = subscribed(&client).await;
    let sending = tokio::spawn(async move { send(&producer, 0..50).await });
    let mut bodies = Vec::new();
    while bodies.len() < 50 {
        let poll = consumer.poll(PATIENCE);
        let some = tokio::time::timeout(Duration::from_millis(1), poll).await.unwrap_or_default();
        bodies.extend(some.iter().map(|message| message.text().parse::<u32>().unwrap()));
    }
    assert_eq!(bodies, (0..50).collect::<Vec<_>>());
    sending.await.unwrap();
    consumer.close().await;
}

#[tokio::test]
async fn all_queues_together_hold_no_more_than_they_may() {
    let world = World::start().await;
    world.create_topic("T", 4).await;
    let client = world.client().await;
    send(&client.producer("P").build().unwrap(), 0..40).await;
    let consumer = client.lite_pull_consumer("G").subscribe("T", Filter::all());
    let consumer = consumer.start_from(StartFrom::Earliest).rebalance_every(SOON).batch(1);
    let mut consumer = consumer.prefetch_max_of_all(6).build().await.unwrap();
    let admin = client.admin();
    let held = async || -> i64 {
        let info = admin.running_info("G", client.id(), false).await.unwrap();
        let queues = info["mqTable"].as_object().unwrap().values();
        queues.map(|queue| queue["cachedMsgCount"].as_i64().unwrap()).sum()
    };
    eventually("it is full", async || held().await >= 6).await;
    tokio::time::sleep(SOON).await;
    // Each queue may have asked for one more before it saw what the others got.
    assert!((6..10).contains(&held().await), "{}", held().await);
    assert_eq!(polled(&mut consumer, 40).await.len(), 40);
    consumer.close().await;
}

#[tokio::test]
async fn who_watches_queues_hears_of_new_ones_and_of_new_members() {
    let world = World::start().await;
    world.create_topic("T", 2).await;
    let client = Client::builder(world.names()).route_refresh(SOON).connect().await.unwrap();
    let mut of_topic = client.reader("R").watch_queues("T").await.unwrap();
    assert_eq!(of_topic.now().len(), 2);
    let first = subscribed(&client).await;
    let mut of_first = first.watch_queues();
    eventually("it has both", async || first.assignment().len() == 2).await;
    assert_eq!(of_first.now().len(), 2);
    world.create_topic("T", 4).await;
    let heard = tokio::time::timeout(PATIENCE, of_topic.changed()).await.expect("in time").unwrap();
    assert_eq!(heard.iter().map(|queue| queue.queue_id).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(heard.len(), 4);
    eventually("it has all", async || first.assignment().len() == 4).await;
    let other = world.client().await;
    let second = subscribed(&other).await;
    let shared =
        async { while of_first.changed().await.unwrap().len() != 2 || first.assignment().len() != 2 {} };
    tokio::time::timeout(PATIENCE, shared).await.expect("they share in time");
    second.close().await;
    first.close().await;
    assert_eq!(of_first.now(), [], "who left has none");
    let end = tokio::time::timeout(PATIENCE, of_first.changed()).await;
    assert_eq!(end.expect("in time"), None);
}
