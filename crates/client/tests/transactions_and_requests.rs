//! Messages that are seen only when their sender says so, and messages that are replied to.

mod support;

use std::time::Duration;

use support::{PATIENCE, World, eventually};
use thrustmq_client::{Decision, Filter, Message, RequestError, StartFrom};

const CHECKS: [(&str, &str); 3] =
    [("transactionTimeOut", "300"), ("transactionCheckInterval", "200"), ("transactionCheckMax", "1000")];

#[tokio::test]
async fn only_committed_messages_are_seen() {
    let world = World::with(1, &CHECKS).await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let producer = client
        .producer("P")
        .transactional(|half| async move {
            match half.text().as_ref() {
                "forgotten, done" => Decision::Commit,
                "forgotten, undone" => Decision::Rollback,
                _ => Decision::Unknown,
            }
        })
        .unwrap();
    let reader = client.reader("R");
    let queue = reader.queues("T").await.unwrap().remove(0);
    let open = producer.begin(Message::new("T", "open")).await.unwrap();
    let back = producer.begin(Message::new("T", "rolled back")).await.unwrap();
    let done = producer.begin(Message::new("T", "committed").key("k")).await.unwrap();
    assert_eq!(reader.max_offset(&queue).await.unwrap(), 0);
    let id = done.message_id().to_owned();
    done.commit().await.unwrap();
    back.rollback().await.unwrap();
    eventually("it is seen", async || reader.max_offset(&queue).await.unwrap() == 1).await;
    let seen = reader.pull(&queue, 0, 32, &Filter::all()).await.unwrap().messages;
    assert_eq!((seen[0].text().as_ref(), &*seen[0].message_id()), ("committed", id.as_str()));

    drop(producer.begin(Message::new("T", "forgotten, undone")).await.unwrap());
    drop(producer.begin(Message::new("T", "forgotten, done")).await.unwrap());
    eventually("the checker was asked", async || reader.max_offset(&queue).await.unwrap() == 2).await;
    let seen = reader.pull(&queue, 1, 32, &Filter::all()).await.unwrap().messages;
    assert_eq!(seen[0].text(), "forgotten, done");
    open.commit().await.unwrap();
    producer.close().await;
}

#[tokio::test]
async fn a_producer_that_has_left_takes_nothing_from_the_next_one_of_its_group() {
    let world = World::with(1, &CHECKS).await;
    world.create_topic("T", 1).await;
    let client = world.client().await;
    let first = client.producer("P").build().unwrap();
    let clone = first.clone();
    first.send(Message::new("T", "before")).await.unwrap();
    first.close().await;
    let second = client.producer("P").transactional(|_| async { Decision::Commit }).unwrap();
    let forgotten = second.begin(Message::new("T", "forgotten")).await.unwrap();
    clone.close().await;
    drop((first, clone, forgotten));
    let reader = client.reader("R");
    let queue = reader.queues("T").await.unwrap().remove(0);
    eventually("the checker was asked", async || reader.max_offset(&queue).await.unwrap() == 2).await;
    assert!(client.producer("P").build().is_err(), "it is still there");
    second.close().await;
    client.producer("P").build().unwrap();
}

#[tokio::test]
async fn requests_are_replied_to() {
    let world = World::start().await;
    world.create_topic("T", 2).await;
    let (asker, replier) = (world.client().await, world.client().await);
    let replies = replier.producer("replies").build().unwrap();
    let answering = replies.clone();
    let consumer = replier.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    let serving = consumer
        .serve(move |question| {
            let answering = answering.clone();
            async move {
                if question.text() == "silence" {
                    return Ok(());
                }
                let answer = format!("{}! from {}", question.text(), question.queue.queue_id);
                answering.reply(&question, answer).await.map(drop)
            }
        })
        .await
        .unwrap();
    let producer = asker.producer("asks").build().unwrap();
    let reply = producer.request(Message::new("T", "hello"), PATIENCE).await.unwrap();
    assert!(reply.body.starts_with(b"hello! from"), "{reply:?}");
    let queues = producer.queues("T").await.unwrap();
    for (number, queue) in queues.iter().enumerate() {
        let reply = producer.request_to(Message::new("T", "you"), queue, PATIENCE).await.unwrap();
        assert_eq!(reply.body, format!("you! from {number}"));
    }
    let elsewhere = producer.request_to(Message::new("U", "you"), &queues[0], PATIENCE).await;
    assert!(matches!(elsewhere, Err(RequestError::Send(error)) if !error.maybe_stored()));
    let silence = producer.request(Message::new("T", "silence"), Duration::from_millis(300)).await;
    assert!(matches!(silence, Err(RequestError::NoReply { .. })));
    let plain = producer.send(Message::new("T", "silence")).await.unwrap();
    let message = asker.admin().view_message("T", &plain.offset_id).await.unwrap();
    assert!(replies.reply(&message, "to nobody").await.is_err());
    serving.close(PATIENCE).await;
}
