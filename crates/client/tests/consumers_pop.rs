//! Consumers that pop: what is acknowledged never comes again, everything else does.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{CLUSTER, PATIENCE, World, eventually};
use thrustmq_client::{
    Client, Filter, Message, PopConsumer, Popped, Producer, RequestMode, StartFrom, SubscriptionGroupConfig,
    Unfinished,
};
use tokio::sync::Mutex;

const SOON: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(60);

async fn send(producer: &Producer, numbers: std::ops::Range<u32>) {
    for number in numbers {
        producer.send(Message::new("T", number.to_string())).await.expect("a message is sent");
    }
}

async fn popping(client: &Client, invisible: Duration) -> PopConsumer {
    let consumer = client.pop_consumer("G").subscribe("T", Filter::all()).start_from_earliest();
    consumer.invisible_for(invisible).rebalance_every(SOON).stream().await.expect("a consumer")
}

async fn next(consumer: &mut PopConsumer) -> Popped {
    let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
    next.expect("a message in time").expect("an open consumer")
}

/// Nothing comes for a while.
async fn silent(consumer: &mut PopConsumer, time: Duration) {
    if let Ok(popped) = tokio::time::timeout(time, consumer.next()).await {
        panic!("{popped:?} came");
    }
}

#[tokio::test]
async fn what_is_acknowledged_never_comes_again_and_the_rest_does() {
    let world = World::start().await;
    world.create_topic("T", 2).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    send(&producer, 0..6).await;
    let mut consumer = popping(&client, Duration::from_millis(1_500)).await;
    let mut dropped = BTreeSet::new();
    for _ in 0..6 {
        let message = next(&mut consumer).await;
        assert_eq!((message.topic(), message.reconsume_times), ("T", 0));
        let number: u32 = message.text().parse().unwrap();
        if number.is_multiple_of(2) {
            message.ack().await.unwrap();
        } else {
            assert!(message.hidden_for() <= Duration::from_millis(1_500));
            dropped.insert(number);
            drop(message);
        }
    }
    for _ in 0..3 {
        let message = next(&mut consumer).await;
        assert_eq!((message.topic(), message.reconsume_times), ("T", 1));
        assert!(dropped.remove(&message.text().parse().unwrap()));
        message.ack().await.unwrap();
    }
    silent(&mut consumer, Duration::from_secs(2)).await;
    consumer.close(PATIENCE).await;
}

#[tokio::test]
async fn a_message_can_be_hidden_for_longer_and_given_back_early() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    send(&producer, 0..2).await;
    let mut consumer = popping(&client, Duration::from_millis(1_000)).await;
    let (mut slow, early) = (next(&mut consumer).await, next(&mut consumer).await);
    let before = slow.receipt_handle();
    slow.hide_for(LONG).await.unwrap();
    assert!(slow.hidden_for() > LONG / 2);
    assert_ne!(slow.receipt_handle(), before);
    early.retry_after(Duration::from_millis(1)).await.unwrap();
    let again = next(&mut consumer).await;
    assert_eq!((again.text().as_ref(), again.reconsume_times), ("1", 1));
    again.ack().await.unwrap();
    // Longer than it would have been hidden for.
    silent(&mut consumer, Duration::from_millis(1_500)).await;
    slow.ack().await.unwrap();
    consumer.close(PATIENCE).await;
}

#[tokio::test]
async fn two_members_share_one_queue() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let (one, two) = (world.client().await, world.client().await);
    let producer = one.producer("P").build().unwrap();
    let (mut first, mut second) = (popping(&one, LONG).await, popping(&two, LONG).await);
    eventually("both pop", async || first.queues().len() == 1 && second.queues().len() == 1).await;
    let mut came = (0, 0);
    for number in 0..200 {
        send(&producer, number..number + 1).await;
        tokio::select! {
            message = next(&mut first) => { came.0 += 1; message.ack().await.unwrap() }
            message = next(&mut second) => { came.1 += 1; message.ack().await.unwrap() }
        }
        if came.0 > 2 && came.1 > 2 {
            break;
        }
    }
    assert!(came.0 > 2 && came.1 > 2, "{came:?}");
    first.close(PATIENCE).await;
    second.close(PATIENCE).await;
}

#[tokio::test]
async fn tags_are_compared_and_not_only_their_hashes() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    // Java hashes both tags to the same number.
    producer.send(Message::new("T", "other").tag("BB")).await.unwrap();
    producer.send(Message::new("T", "wanted").tag("Aa")).await.unwrap();
    let consumer = client.pop_consumer("G").subscribe("T", Filter::tags(["Aa"])).start_from_earliest();
    let mut consumer = consumer.invisible_for(Duration::from_millis(500)).stream().await.unwrap();
    let message = next(&mut consumer).await;
    assert_eq!(message.text(), "wanted");
    message.ack().await.unwrap();
    silent(&mut consumer, Duration::from_millis(1_500)).await;
    consumer.close(PATIENCE).await;
}

#[tokio::test]
async fn what_fails_too_often_is_a_dead_letter() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    world.create_group(&SubscriptionGroupConfig::new("G")).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    send(&producer, 0..2).await;
    let consumer = client.pop_consumer("G").subscribe("T", Filter::all()).start_from_earliest();
    let consumer = consumer.retries_max(1).invisible_for(Duration::from_millis(500));
    let mut consumer = consumer.stream().await.unwrap();
    next(&mut consumer).await.dead_letter().await.unwrap();
    next(&mut consumer).await.retry_after(Duration::ZERO).await.unwrap();
    let failed = next(&mut consumer).await;
    assert_eq!(failed.reconsume_times, 1);
    failed.retry().await.unwrap();
    let admin = client.admin();
    let dead = async || {
        let stats = admin.topic_stats("%DLQ%G").await;
        stats.is_ok_and(|stats| stats.offset_table.values().map(|offset| offset.max_offset).sum::<i64>() == 2)
    };
    eventually("both are dead", dead).await;
    silent(&mut consumer, Duration::from_millis(1_500)).await;
    consumer.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_handler_keeps_its_message_while_it_is_renewed() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    let handled = Arc::new(AtomicUsize::new(0));
    let begun = Arc::clone(&handled);
    let consumer = client.pop_consumer("G").subscribe("T", Filter::all()).start_from_earliest();
    let serving = consumer
        .invisible_for(Duration::from_millis(800))
        .renew()
        .serve(move |_| {
            begun.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(Duration::from_millis(2_500)).await;
                Ok::<(), String>(())
            }
        })
        .await
        .unwrap();
    send(&producer, 0..1).await;
    eventually("it is handled", async || handled.load(Ordering::SeqCst) == 1).await;
    serving.close(PATIENCE).await;
    let mut consumer = popping(&client, LONG).await;
    silent(&mut consumer, Duration::from_millis(1_500)).await;
    assert_eq!(handled.load(Ordering::SeqCst), 1);
    consumer.close(PATIENCE).await;
}

#[tokio::test]
async fn who_closes_gives_back_at_once_what_nobody_had_in_hands() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    send(&producer, 0..5).await;
    let begun = Instant::now();
    let mut consumer = popping(&client, LONG).await;
    let in_hands = next(&mut consumer).await;
    let closing = tokio::spawn(consumer.close(PATIENCE));
    tokio::time::sleep(SOON).await;
    assert!(!closing.is_finished(), "it waits for what is in hands");
    in_hands.ack().await.unwrap();
    closing.await.unwrap();

    let other = world.client().await;
    let mut consumer = popping(&other, LONG).await;
    // A message that comes while nobody waits any more is not lost to a pop of the consumer that was closed.
    send(&producer, 5..6).await;
    let mut bodies = BTreeSet::new();
    while bodies.len() < 5 {
        let message = next(&mut consumer).await;
        bodies.insert(message.text().into_owned());
        message.ack().await.unwrap();
    }
    assert!(begun.elapsed() < LONG, "they came before their time was over");
    assert!(bodies.contains("5") && !bodies.contains("0"));
    consumer.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_moves_between_pulling_and_popping_while_it_works() {
    let world = World::start().await;
    world.create_topic("T", 2).await;
    world.create_group(&SubscriptionGroupConfig::new("G")).await;
    let client = world.client().await;
    let (admin, producer) = (client.admin(), client.producer("P").build().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seeing = Arc::clone(&seen);
    let consumer = client.consumer("G").subscribe("T", Filter::all()).rebalance_by_brokers();
    let consumer = consumer.start_from(StartFrom::Earliest).rebalance_every(SOON).commit_every(SOON);
    let serving = consumer
        .serve(move |message| {
            let seen = Arc::clone(&seeing);
            async move {
                seen.lock().await.push(message.text().into_owned());
                Ok::<(), String>(())
            }
        })
        .await
        .unwrap();
    let queues = |serving: &thrustmq_client::Serving| -> Vec<i32> {
        serving.queues().iter().filter(|queue| queue.topic == "T").map(|queue| queue.queue_id).collect()
    };
    eventually("it pulls", async || queues(&serving) == [0, 1]).await;
    send(&producer, 0..10).await;
    eventually("ten came", async || seen.lock().await.len() == 10).await;
    admin.set_request_mode(CLUSTER, "T", "G", RequestMode::Pop { share: 0 }).await.unwrap();
    eventually("it pops", async || queues(&serving) == [-1]).await;
    send(&producer, 10..20).await;
    eventually("twenty came", async || seen.lock().await.len() >= 20).await;
    admin.set_request_mode(CLUSTER, "T", "G", RequestMode::Pull).await.unwrap();
    eventually("it pulls again", async || queues(&serving) == [0, 1]).await;
    send(&producer, 20..30).await;
    let distinct = async || seen.lock().await.iter().collect::<BTreeSet<_>>().len();
    eventually("all came", async || distinct().await == 30).await;
    serving.close(PATIENCE).await;
}

#[tokio::test]
async fn an_orderly_queue_is_popped_one_after_the_other_and_waits_for_what_failed() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let (one, two) = (world.client().await, world.client().await);
    send(&one.producer("P").build().unwrap(), 0..8).await;
    let orderly = async |client: &Client| {
        let consumer = client.pop_consumer("G").subscribe("T", Filter::all()).start_from_earliest();
        consumer.orderly().retry_pause(SOON).invisible_for(LONG).batch(4).stream().await.unwrap()
    };
    let begun = Instant::now();
    let mut first = orderly(&one).await;
    let zero = next(&mut first).await;
    assert_eq!(zero.text(), "0");
    let mut second = orderly(&two).await;
    let others = async |consumer: &mut PopConsumer| tokio::time::timeout(SOON, consumer.next()).await.is_ok();
    assert!(!others(&mut first).await && !others(&mut second).await, "the first is not done");
    zero.ack().await.unwrap();
    let failing = next(&mut first).await;
    assert_eq!(failing.text(), "1");
    failing.retry().await.unwrap();
    let (mut seen, mut consumers) = (Vec::new(), [first, second]);
    while seen.len() < 7 {
        assert!(begun.elapsed() < LONG, "only {seen:?} came, and the rest only when its time is over");
        // Whoever comes first pops what is left of the queue.
        for consumer in &mut consumers {
            if let Ok(Some(message)) = tokio::time::timeout(SOON, consumer.next()).await {
                seen.push((message.text().into_owned(), message.reconsume_times));
                message.ack().await.unwrap();
            }
        }
    }
    let numbers: Vec<_> = seen.iter().map(|(body, _)| body.as_str()).collect();
    assert_eq!((numbers, seen[0].1), (vec!["1", "2", "3", "4", "5", "6", "7"], 1));
    for consumer in consumers {
        consumer.close(PATIENCE).await;
    }
}

#[tokio::test]
async fn what_fails_too_often_in_order_is_dead_and_the_queue_goes_on() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    send(&client.producer("P").build().unwrap(), 0..3).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noting = Arc::clone(&seen);
    let consumer = client.pop_consumer("G").subscribe("T", Filter::all()).start_from_earliest().orderly();
    let serving = consumer
        .retry_pause(Duration::from_millis(20))
        .retries_max(2)
        .serve(move |message| {
            let seen = Arc::clone(&noting);
            async move {
                let mut seen = seen.lock().await;
                seen.push(message.text().into_owned());
                // The last fails once, which is not too often, although it was popped behind the other each time.
                let again = seen.iter().filter(|body| *body == "2").count() > 1;
                if message.text() == "1" || (message.text() == "2" && !again) { Err("no") } else { Ok(()) }
            }
        })
        .await
        .unwrap();
    eventually("all came", async || seen.lock().await.len() == 6).await;
    serving.close(PATIENCE).await;
    assert_eq!(*seen.lock().await, ["0", "1", "1", "1", "2", "2"]);
    let dead = client.admin().topic_stats("%DLQ%G").await.unwrap();
    assert_eq!(dead.offset_table.values().map(|at| at.max_offset).sum::<i64>(), 1);
}

#[tokio::test]
async fn handlers_take_several_that_were_popped_together_and_give_back_what_they_have_not_done() {
    let world = World::start().await;
    world.create_topic("T", 2).await;
    let client = world.client().await;
    send(&client.producer("P").build().unwrap(), 0..8).await;
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noting = Arc::clone(&calls);
    let consumer = client.pop_consumer("G").subscribe("T", Filter::all()).start_from_earliest().batch(4);
    let serving = consumer
        .invisible_for(Duration::from_millis(1_500))
        .concurrency(2)
        .renew()
        .serve_batches(3, move |messages| {
            let calls = Arc::clone(&noting);
            async move {
                let bodies: Vec<_> = messages.iter().map(|message| message.text().into_owned()).collect();
                let first = {
                    let mut calls = calls.lock().await;
                    calls.push(bodies);
                    calls.len() == 1
                };
                if first {
                    // Longer than they would be hidden for.
                    tokio::time::sleep(Duration::from_millis(2_500)).await;
                    return Err(Unfinished { done: 1, cause: "one was enough" });
                }
                Ok(())
            }
        })
        .await
        .unwrap();
    let distinct = async || {
        let calls = calls.lock().await;
        calls.iter().flatten().cloned().collect::<BTreeSet<_>>().len()
    };
    eventually("all came", async || distinct().await == 8).await;
    // To the end of the first handler, at least.
    tokio::time::sleep(Duration::from_millis(2_600)).await;
    serving.close(PATIENCE).await;
    let calls = calls.lock().await;
    let first = &calls[0];
    assert!(first.len() > 1 && calls.iter().all(|bodies| bodies.len() <= 3), "{calls:?}");
    // What failed comes again 10 s later; what was not hidden for longer would have come to the other handler.
    assert!(calls[1..].iter().flatten().all(|body| !first.contains(body)), "{calls:?}");
}
