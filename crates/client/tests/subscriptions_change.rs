//! Topics come and go while a consumer works.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use support::{CLUSTER, PATIENCE, World, eventually};
use thrustmq_client::{
    Client, Consumer, Delivered, Error, Filter, Message, Producer, StartFrom, TopicConfig,
};

const SOON: Duration = Duration::from_millis(200);

async fn world() -> (World, Client, Producer) {
    let world = World::start().await;
    world.create_topic("T", 2).await;
    world.create_topic("U", 1).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    (world, client, producer)
}

async fn next(consumer: &mut Consumer) -> Delivered {
    let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
    next.expect("a message in time").expect("an open consumer")
}

fn topics<'a>(queues: impl IntoIterator<Item = &'a thrustmq_client::MessageQueue>) -> BTreeSet<String> {
    queues.into_iter().map(|queue| queue.topic.clone()).filter(|topic| !topic.contains("RETRY")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_gets_topics_and_loses_them_and_goes_on_where_it_was() {
    let (world, client, producer) = world().await;
    let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    let mut consumer = consumer.commit_every(Duration::from_secs(60)).stream().await.unwrap();
    producer.send(Message::new("U", "u0")).await.unwrap();
    producer.send(Message::new("T", "t0")).await.unwrap();
    let first = next(&mut consumer).await;
    assert_eq!(first.text(), "t0");
    first.ack();
    consumer.subscribe("U", Filter::all()).await.unwrap();
    let other = next(&mut consumer).await;
    assert_eq!((other.text().as_ref(), other.topic()), ("u0", "U"));
    other.ack();
    let admin = client.admin();
    let told = admin.consumers("G").await.unwrap().expect("a member").subscription_table;
    assert!(told.contains_key("T") && told.contains_key("U"), "{told:?}");

    consumer.unsubscribe("T").await;
    assert_eq!(topics(&consumer.queues()), ["U".to_owned()].into());
    let told = admin.consumers("G").await.unwrap().expect("a member").subscription_table;
    assert!(!told.contains_key("T") && told.contains_key("%RETRY%G"), "{told:?}");
    consumer.unsubscribe("%RETRY%G").await;
    assert!(consumer.queues().iter().any(|queue| queue.topic == "%RETRY%G"), "that is the group's own");
    let queues = client.reader("R").queues("T").await.unwrap();
    let committed = async || {
        let mut sum = 0;
        for queue in &queues {
            sum += admin.committed("G", queue).await.unwrap().unwrap_or(0);
        }
        sum == 1
    };
    eventually("how far it came is written down", committed).await;
    producer.send(Message::new("T", "t1")).await.unwrap();
    producer.send(Message::new("U", "u1")).await.unwrap();
    let only = next(&mut consumer).await;
    assert_eq!(only.text(), "u1");
    only.ack();
    assert!(tokio::time::timeout(SOON, consumer.next()).await.is_err(), "nobody wants it");
    consumer.subscribe("T", Filter::all()).await.unwrap();
    let later = next(&mut consumer).await;
    assert_eq!(later.text(), "t1");
    later.ack();
    assert!(matches!(consumer.subscribe("a topic", Filter::all()).await, Err(Error::Illegal(_))));
    consumer.close(PATIENCE).await;
    drop(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_gets_what_another_filter_selects() {
    let (_world, client, producer) = world().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noting = Arc::clone(&seen);
    let consumer = client.consumer("G").subscribe("U", Filter::tags(["a"])).start_from(StartFrom::Earliest);
    let serving = consumer
        .serve(move |message| {
            noting.lock().push(message.text().into_owned());
            async { Ok::<(), Error>(()) }
        })
        .await
        .unwrap();
    let send = async |round: u32| {
        for tag in ["b", "a"] {
            producer.send(Message::new("U", format!("{tag}{round}")).tag(tag)).await.unwrap();
        }
    };
    send(0).await;
    eventually("one came", async || *seen.lock() == ["a0"]).await;
    // The pull that waits at the broker still has the first filter.
    serving.subscribe("U", Filter::tags(["b"])).await.unwrap();
    send(1).await;
    eventually("the other came", async || seen.lock().len() == 2).await;
    assert_eq!(*seen.lock(), ["a0", "b1"]);
    serving.subscribe("T", Filter::all()).await.unwrap();
    producer.send(Message::new("T", "t")).await.unwrap();
    eventually("that of the other topic", async || seen.lock().last().is_some_and(|last| last == "t")).await;
    serving.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pops_and_who_polls_can_change_their_topics_too() {
    let (_world, client, producer) = world().await;
    let consumer = client.pop_consumer("G").subscribe("T", Filter::all()).start_from_earliest();
    let mut popping = consumer.stream().await.unwrap();
    producer.send(Message::new("U", "u0")).await.unwrap();
    popping.subscribe("U", Filter::all()).await.unwrap();
    let popped = tokio::time::timeout(PATIENCE, popping.next()).await.unwrap().unwrap();
    assert_eq!(popped.topic(), "U");
    popped.ack().await.unwrap();
    popping.unsubscribe("T").await;
    assert_eq!(topics(&popping.queues()), ["U".to_owned()].into());
    popping.close(PATIENCE).await;

    let consumer = client.lite_pull_consumer("L").subscribe("T", Filter::all());
    let mut polling = consumer.start_from(StartFrom::Earliest).build().await.unwrap();
    polling.subscribe("U", Filter::all()).await.unwrap();
    let mut bodies = Vec::new();
    while bodies.is_empty() {
        bodies.extend(polling.poll(PATIENCE).await.iter().map(|message| message.text().into_owned()));
    }
    assert_eq!(bodies, ["u0"]);
    polling.unsubscribe("U").await;
    assert_eq!(topics(&polling.assignment()), ["T".to_owned()].into());
    polling.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_that_are_assigned_no_more_are_given_up_in_a_namespace_too() {
    let world = World::start().await;
    let client = Client::builder(world.names()).namespace("MQ_INST_1_a").connect().await.unwrap();
    for topic in ["T", "U"] {
        let complete = format!("MQ_INST_1_a%{topic}");
        client.admin().create_topic(CLUSTER, &TopicConfig::new(&complete, 1, 6)).await.unwrap();
        eventually("the topic is known", async || client.admin().topic_route(&complete).await.is_ok()).await;
    }
    let reader = client.reader("R");
    let (of_t, of_u) = (reader.queues("T").await.unwrap(), reader.queues("U").await.unwrap());
    let mut polling = client.lite_pull_consumer("L").assign(of_t).build().await.unwrap();
    polling.assign(of_u.clone()).await;
    assert_eq!(polling.assignment(), of_u);
    polling.close().await;
}
