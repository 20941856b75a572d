//! Handlers that take several messages at a time, handlers that take too long, and queues that hold no more than their
//! part of what the topic may have.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{PATIENCE, World, eventually};
use thrustmq_client::{
    Client, ConsumeOrderlyStatus, ConsumerBuilder, Filter, Message, Received, StartFrom, Subscribed,
    Unfinished,
};
use tokio::sync::{Mutex, Semaphore};

const SOON: Duration = Duration::from_millis(200);
/// Retries come soon.
const LEVELS: [(&str, &str); 1] = [("messageDelayLevel", "1s 1s 1s 1s 1s 1s")];

/// Bodies and failures before, of each call of a handler.
type Calls = Arc<Mutex<Vec<Vec<(String, i32)>>>>;

async fn send(client: &Client, count: u32) {
    let producer = client.producer("P").build().unwrap();
    let messages = (0..count).map(|number| Message::new("T", number.to_string())).collect();
    producer.send_all(messages).await.unwrap();
}

fn consumer(client: &Client) -> ConsumerBuilder<Subscribed> {
    let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    consumer.rebalance_every(SOON).commit_every(SOON).concurrency(1)
}

fn told(messages: &[Received]) -> Vec<(String, i32)> {
    messages.iter().map(|message| (message.text().into_owned(), message.reconsume_times)).collect()
}

fn call(numbers: &[u32], failures: &[i32]) -> Vec<(String, i32)> {
    numbers.iter().map(u32::to_string).zip(failures.iter().copied()).collect()
}

#[tokio::test]
async fn what_a_handler_has_not_done_comes_again_and_the_rest_does_not() {
    let world = World::with(1, &LEVELS).await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    send(&client, 10).await;
    let calls = Calls::default();
    let noting = Arc::clone(&calls);
    let serving = consumer(&client)
        .serve_batches(4, move |messages| {
            let calls = Arc::clone(&noting);
            async move {
                let first = messages[0].text() == "0";
                calls.lock().await.push(told(&messages));
                if first { Err(Unfinished { done: 3, cause: "the fourth is too much" }) } else { Ok(()) }
            }
        })
        .await
        .unwrap();
    let seen = async || calls.lock().await.iter().map(Vec::len).sum::<usize>();
    eventually("ten came, and one of them again", async || seen().await == 11).await;
    serving.close(PATIENCE).await;
    let calls = calls.lock().await;
    assert_eq!(calls[0], call(&[0, 1, 2, 3], &[0; 4]));
    assert_eq!(calls[1..3], [call(&[4, 5, 6, 7], &[0; 4]), call(&[8, 9], &[0; 2])]);
    assert_eq!(calls[3], call(&[3], &[1]));
    assert_eq!(client.admin().consume_stats("G", None).await.unwrap().behind(), 0);
}

#[tokio::test]
async fn an_orderly_queue_goes_on_with_what_its_handler_has_not_done() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    send(&client, 7).await;
    let calls = Calls::default();
    let noting = Arc::clone(&calls);
    let serving = consumer(&client)
        .orderly()
        .retry_pause(Duration::from_millis(50))
        .serve_batches(3, move |messages| {
            let calls = Arc::clone(&noting);
            async move {
                let mut calls = calls.lock().await;
                calls.push(told(&messages));
                match calls.len() {
                    1 => Err(Unfinished { done: 1, cause: "the second is not ready" }),
                    2 => panic!("neither is this handler"),
                    _ => Ok::<(), Unfinished<&str>>(()),
                }
            }
        })
        .await
        .unwrap();
    eventually("all came", async || calls.lock().await.len() == 4).await;
    serving.close(PATIENCE).await;
    let expected = [
        call(&[0, 1, 2], &[0; 3]),
        call(&[1, 2, 3], &[1, 1, 0]),
        call(&[1, 2, 3], &[2, 2, 1]),
        call(&[4, 5, 6], &[0; 3]),
    ];
    assert_eq!(calls.lock().await[..], expected);
}

#[tokio::test]
async fn a_handler_that_takes_too_long_holds_its_queue_back_no_longer() {
    let world = World::with(1, &LEVELS).await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    send(&client, 3).await;
    let (again, release) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
    let (noting, releasing) = (Arc::clone(&again), Arc::clone(&release));
    let serving = consumer(&client)
        .concurrency(3)
        .consume_timeout(SOON)
        .serve(move |message| {
            let (again, release) = (Arc::clone(&noting), Arc::clone(&releasing));
            async move {
                if message.text() == "1" && message.reconsume_times == 0 {
                    // For ever, as far as the consumer knows.
                    let _ = release.acquire().await;
                    return Err("this is not heard any more");
                }
                again.lock().await.push((message.text().into_owned(), message.reconsume_times));
                Ok(())
            }
        })
        .await
        .unwrap();
    let queue = client.reader("G").queues("T").await.unwrap().remove(0);
    let committed = async || client.admin().committed("G", &queue).await.unwrap() == Some(3);
    eventually("the offset goes on", committed).await;
    eventually("it came again", async || again.lock().await.contains(&("1".to_owned(), 1))).await;
    release.add_permits(1);
    serving.close(PATIENCE).await;
    assert_eq!(again.lock().await.len(), 3, "and it came once");
}

#[tokio::test]
async fn a_handler_that_settles_its_messages_chooses_what_becomes_of_each() {
    let world = World::with(1, &LEVELS).await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    send(&client, 4).await;
    let calls = Calls::default();
    let noting = Arc::clone(&calls);
    let serving = consumer(&client)
        .serve_delivered(move |message| {
            let calls = Arc::clone(&noting);
            async move {
                calls.lock().await.push(told(std::slice::from_ref(&*message)));
                match (message.text().as_ref(), message.reconsume_times) {
                    ("0", _) => message.dead_letter().await,
                    ("1", 0) => message.retry_after_level(1).await,
                    ("2", 0) => drop(message),
                    _ => message.ack(),
                }
            }
        })
        .await
        .unwrap();
    let admin = client.admin();
    let dead = async || {
        let stats = admin.topic_stats("%DLQ%G").await;
        stats.is_ok_and(|stats| stats.offset_table.values().map(|offset| offset.max_offset).sum::<i64>() == 1)
    };
    eventually("one is dead", dead).await;
    eventually("two came again", async || calls.lock().await.len() == 6).await;
    serving.close(PATIENCE).await;
    let calls = calls.lock().await;
    assert_eq!(calls[..4], [call(&[0], &[0]), call(&[1], &[0]), call(&[2], &[0]), call(&[3], &[0])]);
    let mut again = calls[4..].to_vec();
    again.sort();
    assert_eq!(again, [call(&[1], &[1]), call(&[2], &[1])]);
    assert_eq!(admin.consume_stats("G", None).await.unwrap().behind(), 0);
}

#[tokio::test]
async fn queues_divide_what_the_topic_may_have() {
    let world = World::start().await;
    world.create_topic("T", 4).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    for queue in producer.queues("T").await.unwrap() {
        for number in 0..10 {
            producer.send_to(Message::new("T", number.to_string()), &queue).await.unwrap();
        }
    }
    let consumer = consumer(&client).prefetch_max_of_topic(8, 1 << 20).batch(1).stream().await.unwrap();
    let admin = client.admin();
    let held = async || -> Vec<i64> {
        let info = admin.running_info("G", client.id(), false).await.unwrap();
        let queues = info["mqTable"].as_object().unwrap().iter();
        let of_topic = queues.filter(|(name, _)| !name.contains("RETRY"));
        of_topic.map(|(_, queue)| queue["cachedMsgCount"].as_i64().unwrap()).collect()
    };
    eventually("each has its part", async || held().await.iter().all(|count| *count >= 2)).await;
    tokio::time::sleep(SOON).await;
    assert_eq!(held().await, [2; 4]);
    consumer.close(Duration::ZERO).await;
}

#[tokio::test]
async fn who_is_suspended_asks_for_nothing_until_it_is_resumed() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    send(&client, 2).await;
    let mut consumer = consumer(&client).batch(1).prefetch_max(1, 1 << 20).stream().await.unwrap();
    let next = async |consumer: &mut thrustmq_client::Consumer| {
        Some(tokio::time::timeout(SOON * 2, consumer.next()).await.ok()?.unwrap().text().into_owned())
    };
    assert_eq!(next(&mut consumer).await.as_deref(), Some("0"));
    consumer.suspend();
    // The message was dropped without a word; it and the next one come, but not now.
    assert_eq!(next(&mut consumer).await, None);
    consumer.resume();
    let message = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").unwrap();
    assert_eq!(message.text(), "1");
    message.ack();
    consumer.close(PATIENCE).await;
}

#[tokio::test]
async fn an_orderly_handler_commits_and_rolls_back_what_it_did_before() {
    use ConsumeOrderlyStatus::{Commit, Rollback, Success, SuspendCurrentQueueAMoment};
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    send(&client, 6).await;
    let queue = client.reader("G").queues("T").await.unwrap().remove(0);
    let calls = Calls::default();
    let noting = Arc::clone(&calls);
    // Two at a time: 0 1, 2 3, both again, then they are committed, and 4 5 fail once and are never committed.
    let says = [Success, Rollback, Success, Commit, SuspendCurrentQueueAMoment, Success];
    let consumer = consumer(&client).retry_pause(Duration::from_millis(50));
    let serving = consumer
        .serve_orderly(2, move |messages| {
            let calls = Arc::clone(&noting);
            async move {
                let mut calls = calls.lock().await;
                calls.push(told(&messages));
                says.get(calls.len() - 1).copied().ok_or("it came once too often")
            }
        })
        .await
        .unwrap();
    eventually("all came", async || calls.lock().await.len() == says.len()).await;
    let committed = async || client.admin().committed("G", &queue).await.unwrap() == Some(4);
    eventually("four are committed", committed).await;
    tokio::time::sleep(SOON * 2).await;
    assert!(committed().await, "and no more");
    let expected = [
        call(&[0, 1], &[0; 2]),
        call(&[2, 3], &[0; 2]),
        call(&[0, 1], &[0; 2]),
        call(&[2, 3], &[0; 2]),
        call(&[4, 5], &[0; 2]),
        call(&[4, 5], &[1; 2]),
    ];
    assert_eq!(calls.lock().await[..], expected);
    serving.close(PATIENCE).await;
    assert!(committed().await, "what was not committed comes again");
}

#[tokio::test]
async fn a_pull_brings_no_more_bytes_than_it_asks_for_and_rests_as_long_as_it_shall() {
    let world = World::start().await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    for _ in 0..4 {
        producer.send(Message::new("T", "b".repeat(1_000))).await.unwrap();
    }
    let admin = client.admin();
    let slow = consumer(&client).prefetch_max(1, 1 << 20).batch_bytes(1_500).stream().await.unwrap();
    let held = async || {
        let info = admin.running_info("G", client.id(), false).await.unwrap();
        let queues = info["mqTable"].as_object().unwrap().values();
        queues.map(|queue| queue["cachedMsgCount"].as_i64().unwrap()).sum::<i64>()
    };
    eventually("something came", async || held().await > 0).await;
    tokio::time::sleep(SOON).await;
    assert_eq!(held().await, 1, "without the bound all would have come");
    slow.close(Duration::ZERO).await;

    let begun = std::time::Instant::now();
    let mut slow = consumer(&client).batch(1).pull_interval(SOON).stream().await.unwrap();
    for _ in 0..4 {
        tokio::time::timeout(PATIENCE, slow.next()).await.unwrap().unwrap().ack();
    }
    assert!(begun.elapsed() >= SOON * 3);
    slow.close(PATIENCE).await;
}
