//! Members of a group join, leave, fail and stop; every message is consumed.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::{CLUSTER, PATIENCE, World, eventually};
use thrustmq_client::{
    Client, Consumer, Filter, Message, Producer, Received, Serving, StartFrom, SubscriptionGroupConfig,
};
use tokio::sync::{Barrier, Mutex};

const SOON: Duration = Duration::from_millis(200);

/// What handlers have seen.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Received>>>);

impl Seen {
    async fn add(&self, message: Received) {
        self.0.lock().await.push(message);
    }

    async fn bodies(&self) -> Vec<String> {
        self.0.lock().await.iter().map(|message| message.text().into_owned()).collect()
    }

    async fn distinct(&self) -> usize {
        self.bodies().await.into_iter().collect::<BTreeSet<_>>().len()
    }
}

async fn serve(client: &Client, seen: &Seen) -> Serving {
    let seen = seen.clone();
    let consumer = client.consumer("G").subscribe("T", Filter::all());
    let consumer = consumer.start_from(StartFrom::Earliest).rebalance_every(SOON).commit_every(SOON);
    consumer
        .serve(move |message| {
            let seen = seen.clone();
            async move {
                seen.add(message).await;
                Ok::<(), String>(())
            }
        })
        .await
        .expect("a consumer")
}

async fn stream(client: &Client) -> Consumer {
    let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    consumer.rebalance_every(SOON).commit_every(SOON).stream().await.expect("a consumer")
}

async fn send(producer: &Producer, numbers: std::ops::Range<u32>) {
    for number in numbers {
        while producer.send(Message::new("T", number.to_string())).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn next(consumer: &mut Consumer) -> thrustmq_client::Delivered {
    tokio::time::timeout(PATIENCE, consumer.next())
        .await
        .expect("a message in time")
        .expect("an open consumer")
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_move_when_members_join_and_leave_and_nothing_is_lost() {
    let world = World::start().await;
    world.create_topic("T", 4).await;
    let (one, two, sender) = (world.client().await, world.client().await, world.client().await);
    let producer = sender.producer("P").build().unwrap();
    let seen = Seen::default();
    let first = serve(&one, &seen).await;
    send(&producer, 0..20).await;
    eventually("the first has all queues", async || of_topic(&first) == 4).await;
    let second = serve(&two, &seen).await;
    eventually("they share", async || (of_topic(&first), of_topic(&second)) == (2, 2)).await;
    send(&producer, 20..40).await;
    eventually("all came", async || seen.distinct().await == 40).await;
    first.close(PATIENCE).await;
    send(&producer, 40..60).await;
    eventually("the second has all queues", async || of_topic(&second) == 4).await;
    eventually("all came", async || seen.distinct().await == 60).await;
    second.close(PATIENCE).await;
    let admin = sender.admin();
    assert_eq!(admin.consume_stats("G", Some("T")).await.unwrap().behind(), 0);
    assert_eq!(admin.consumers("G").await.unwrap(), None);
}

fn of_topic(serving: &Serving) -> usize {
    serving.queues().iter().filter(|queue| queue.topic == "T").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_interrupts_nothing_for_long() {
    let mut world = World::start().await;
    world.create_topic("T", 2).await;
    let client = world.client().await;
    let seen = Seen::default();
    let serving = serve(&client, &seen).await;
    let producer = client.producer("P").build().unwrap();
    send(&producer, 0..10).await;
    eventually("the first came", async || seen.distinct().await == 10).await;
    let address = world.stop_broker(0).await;
    world.start_broker(0, address).await;
    send(&producer, 10..20).await;
    eventually("the others too", async || seen.distinct().await == 20).await;
    serving.close(PATIENCE).await;
}

#[tokio::test]
async fn what_is_in_hands_at_the_end_is_finished_or_comes_again() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    send(&producer, 0..5).await;
    let mut consumer = stream(&client).await;
    let (a, b, c) = (next(&mut consumer).await, next(&mut consumer).await, next(&mut consumer).await);
    let closing = tokio::spawn(consumer.close(PATIENCE));
    tokio::time::sleep(SOON).await;
    assert!(!closing.is_finished(), "it waits for what is in hands");
    b.ack();
    a.ack();
    c.ack();
    closing.await.unwrap();
    let queue = client.reader("G").queues("T").await.unwrap().remove(0);
    assert_eq!(client.admin().committed("G", &queue).await.unwrap(), Some(3));

    let again = world.client().await;
    let mut consumer = stream(&again).await;
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let message = next(&mut consumer).await;
        bodies.push(message.text().into_owned());
        message.ack();
    }
    assert_eq!(bodies, ["3", "4"]);
    consumer.close(PATIENCE).await;
}

#[tokio::test]
async fn what_fails_comes_again_and_ends_as_a_dead_letter() {
    let levels = [("messageDelayLevel", "1s 1s 1s 1s 1s 1s")];
    let world = World::with(1, &levels).await;
    world.create_topic("T", 1).await;
    world
        .create_group(&SubscriptionGroupConfig { retry_max_times: 2, ..SubscriptionGroupConfig::new("G") })
        .await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    producer.send(Message::new("T", "bad").key("k").tag("t")).await.unwrap();
    let consumer = client.consumer("G").subscribe("T", Filter::tags(["t"])).start_from(StartFrom::Earliest);
    let mut consumer = consumer.rebalance_every(SOON).retries_max(2).stream().await.unwrap();
    for attempt in 0..3 {
        let message = next(&mut consumer).await;
        assert_eq!((message.reconsume_times, message.topic()), (attempt, "T"));
        assert_eq!((message.text().as_ref(), message.tag()), ("bad", Some("t")));
        match attempt {
            0 => message.retry_after_level(1).await,
            // Dropping means that it failed.
            1 => drop(message),
            _ => message.retry().await,
        }
    }
    let admin = client.admin();
    let dead = async || {
        let stats = admin.topic_stats("%DLQ%G").await;
        stats.is_ok_and(|stats| stats.offset_table.values().map(|offset| offset.max_offset).sum::<i64>() == 1)
    };
    eventually("it is dead", dead).await;
    consumer.close(PATIENCE).await;
}

#[tokio::test]
async fn an_orderly_queue_waits_for_the_message_that_failed() {
    let world = World::start().await;
    world.create_topic("T", 2).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    for number in 0..6 {
        let key = if number % 2 == 0 { "TagA" } else { "TagB" };
        producer.send(Message::new("T", format!("{key} {number}")).order_by(key)).await.unwrap();
    }
    let consumer =
        client.consumer("G").subscribe("T", Filter::all()).orderly().start_from(StartFrom::Earliest);
    let mut consumer = consumer.retry_pause(SOON).rebalance_every(SOON).stream().await.unwrap();
    let mut order: BTreeMap<String, Vec<(String, i32)>> = BTreeMap::new();
    let mut failed = false;
    while order.values().map(Vec::len).sum::<usize>() < 7 {
        let message = next(&mut consumer).await;
        let key = message.text().split(' ').next().unwrap().to_owned();
        order.entry(key).or_default().push((message.text().into_owned(), message.reconsume_times));
        if !failed && message.text() == "TagA 2" {
            failed = true;
            message.retry().await;
        } else {
            message.ack();
        }
    }
    let seen = |key: &str| -> Vec<(&str, i32)> {
        order[key].iter().map(|(body, times)| (body.as_str(), *times)).collect()
    };
    assert_eq!(seen("TagA"), [("TagA 0", 0), ("TagA 2", 0), ("TagA 2", 1), ("TagA 4", 0)]);
    assert_eq!(seen("TagB"), [("TagB 1", 0), ("TagB 3", 0), ("TagB 5", 0)]);
    consumer.close(PATIENCE).await;
}

#[tokio::test]
async fn in_broadcast_every_member_gets_everything_and_goes_on_from_its_file() {
    let world = World::start().await;
    world.create_topic("T", 2).await;
    let sender = world.client().await;
    let producer = sender.producer("P").build().unwrap();
    send(&producer, 0..4).await;
    let folder = world.folder().join("offsets");
    for (name, round) in [("one", 0), ("two", 0), ("one", 1)] {
        let client = Client::builder(world.names()).instance(name).connect().await.unwrap();
        let consumer = client.consumer("B").subscribe("T", Filter::all()).broadcast(&folder);
        let mut consumer = consumer.start_from(StartFrom::Earliest).stream().await.unwrap();
        if round == 1 {
            send(&producer, 4..6).await;
        }
        let mut bodies = Vec::new();
        for _ in 0..(if round == 0 { 4 } else { 2 }) {
            let message = next(&mut consumer).await;
            bodies.push(message.text().into_owned());
            message.ack();
        }
        bodies.sort();
        let expected: &[&str] = if round == 0 { &["0", "1", "2", "3"] } else { &["4", "5"] };
        assert_eq!(bodies, expected, "{name} {round}");
        consumer.close(PATIENCE).await;
        client.close();
    }
}

#[tokio::test]
async fn members_answer_administrators() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    let receipt = producer.send(Message::new("T", "x")).await.unwrap();
    let seen = Seen::default();
    let serving = serve(&client, &seen).await;
    eventually("it came", async || seen.distinct().await == 1).await;
    let admin = world.client().await.admin();
    let members = admin.consumers("G").await.unwrap().expect("a member");
    assert_eq!(members.connection_set.len(), 1);
    assert_eq!(members.connection_set[0].client_id, client.id());
    assert!(members.subscription_table.contains_key("T"));
    let info = admin.running_info("G", client.id(), false).await.unwrap();
    assert_eq!(info["properties"]["PROP_CONSUME_TYPE"], "CONSUME_PASSIVELY");
    assert!(info["statusTable"]["T"]["pullTPS"].as_f64() > Some(0.0), "{info}");
    assert!(info["statusTable"]["T"]["consumeOKTPS"].as_f64() > Some(0.0), "{info}");
    assert_eq!(info["statusTable"]["%RETRY%G"]["consumeFailedMsgs"], 0);
    let queue =
        info["mqTable"].as_object().unwrap().iter().find(|(name, _)| !name.contains("RETRY")).unwrap();
    assert!(queue.1["lastConsumeTimestamp"].as_i64() > Some(1_600_000_000_000), "milliseconds of our days");
    assert!(info.get("jstack").is_none(), "nobody asked for it");
    let info = admin.running_info("G", client.id(), true).await.unwrap();
    assert!(info["jstack"].as_str().is_some_and(|text| text.contains("Rust")));
    let result = admin.consume_directly("G", client.id(), "T", &receipt.offset_id).await.unwrap();
    assert_eq!(result.consume_result, "CR_SUCCESS");
    assert_eq!(seen.bodies().await.len(), 2);
    assert!(client.consumer("G").subscribe("T", Filter::all()).stream().await.is_err(), "it is in the group");
    serving.close(PATIENCE).await;
    assert!(admin.group_config(&world.broker(0), "G").await.is_ok());
    assert!(admin.delete_group(CLUSTER, "G", true).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_handlers_wait_at_a_time_as_may() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    send(&client.producer("P").build().unwrap(), 0..12).await;
    let (seen, inside, most) =
        (Seen::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // Each waits for three others, and none goes on if fewer run at a time.
    let four = Arc::new(Barrier::new(4));
    let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    let (all, peak) = (seen.clone(), Arc::clone(&most));
    let serving = consumer
        .concurrency(4)
        .serve(move |message| {
            let (seen, inside, most, four) = (seen.clone(), inside.clone(), most.clone(), four.clone());
            async move {
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                four.wait().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                seen.add(message).await;
                Ok::<(), String>(())
            }
        })
        .await
        .unwrap();
    eventually("all came", async || all.distinct().await == 12).await;
    assert_eq!(peak.load(Ordering::SeqCst), 4);
    serving.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_has_failed_and_the_others_go_on() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    send(&client.producer("P").build().unwrap(), 0..3).await;
    let seen = Seen::default();
    let all = seen.clone();
    let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    let serving = consumer
        .orderly()
        .retry_pause(Duration::from_millis(10))
        .concurrency(1)
        .serve(move |message| {
            assert!(message.text() != "1" || message.reconsume_times > 1, "before it returns a future");
            let seen = seen.clone();
            async move {
                assert!(message.text() != "2" || message.reconsume_times > 1, "inside of the future");
                seen.add(message).await;
                Ok::<(), String>(())
            }
        })
        .await
        .unwrap();
    eventually("all came", async || all.bodies().await == ["0", "1", "2"]).await;
    serving.close(PATIENCE).await;
}

#[tokio::test]
async fn what_was_sent_to_a_new_queue_before_the_group_heard_of_it_is_consumed() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let consumer = async |client: &Client| {
        let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Latest);
        consumer.rebalance_every(SOON).commit_every(SOON).stream().await.unwrap()
    };
    let client = world.client().await;
    let mut before = consumer(&client).await;
    eventually("it has the queue", async || before.queues().iter().any(|queue| queue.topic == "T")).await;
    send(&client.producer("P").build().unwrap(), 0..1).await;
    next(&mut before).await.ack();
    before.close(PATIENCE).await;

    world.create_topic("T", 2).await;
    let later = world.client().await;
    let producer = later.producer("P").build().unwrap();
    let added = producer.queues("T").await.unwrap().remove(1);
    producer.send_to(Message::new("T", "to the new queue"), &added).await.unwrap();
    let mut after = consumer(&later).await;
    let message = next(&mut after).await;
    assert_eq!((message.text().as_ref(), message.queue.queue_id), ("to the new queue", 1));
    message.ack();
    after.close(PATIENCE).await;
}

#[tokio::test]
async fn a_group_whose_first_member_dies_at_once_goes_on_where_that_one_started() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let sender = world.client().await;
    let producer = sender.producer("P").build().unwrap();
    send(&producer, 0..3).await;
    let consumer = async |client: &Client| {
        // Behind what is there: no message is as late as this.
        let start = StartFrom::AtMs(i64::MAX / 2);
        let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(start);
        consumer.rebalance_every(SOON).commit_every(10 * PATIENCE).stream().await.unwrap()
    };
    let client = world.client().await;
    let first = consumer(&client).await;
    eventually("it has the queue", async || first.queues().iter().any(|queue| queue.topic == "T")).await;
    send(&producer, 3..6).await;
    drop(first);
    client.close();

    let client = world.client().await;
    let mut second = consumer(&client).await;
    let message = next(&mut second).await;
    assert_eq!(message.text(), "3");
    message.ack();
    second.close(PATIENCE).await;
}
