//! Tries what the client does against any server, 4.9 or 5.x, Java's or ours, and says what failed:
//! cargo run -p thrustmq-client --example every_way -- 127.0.0.1:9876

mod support;

use std::sync::Arc;
use std::time::Duration;

use thrustmq_client::{
    Admin, AutoBatch, Client, ConsumeOrderlyStatus, Decision, Filter, Message, Moment, StartFrom,
    TopicConfig, Unfinished,
};
use tokio::sync::Mutex;

use support::{Outcome, PATIENCE, until};

#[tokio::main]
async fn main() -> Outcome {
    let servers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let client = Client::connect(&servers).await?;
    let run = format!("every-way-{}", std::process::id());
    let admin = client.admin();
    let cluster = admin.cluster().await?.cluster_addr_table.into_keys().next().ok_or("no cluster")?;
    admin.create_topic(&cluster, &TopicConfig::new(&run, 2, 6)).await?;
    until("the topic is known", async || admin.topic_route(&run).await.is_ok()).await?;

    send_and_consume(&client, &run).await.map_err(|error| format!("sending and consuming: {error}"))?;
    send_and_consume_together(&client, &run).await.map_err(|error| format!("several at a time: {error}"))?;
    change_and_roll_back(&client, &run).await.map_err(|error| format!("changes at run time: {error}"))?;
    transact(&client, &run).await.map_err(|error| format!("transactions: {error}"))?;
    ask(&client, &run).await.map_err(|error| format!("request and reply: {error}"))?;
    administer(&admin, &run).await.map_err(|error| format!("administration: {error}"))?;
    admin.delete_topic(&cluster, &run).await?;
    println!("every way works");
    Ok(())
}

async fn send_and_consume(client: &Client, topic: &str) -> Outcome {
    let producer = client.producer(format!("{topic}-p")).build()?;
    let long = "long ".repeat(2_000);
    producer.send(Message::new(topic, long.clone()).tag("a").key("k")).await?;
    producer.send(Message::new(topic, "passed over").tag("b")).await?;
    let batch = (0..5).map(|number| Message::new(topic, format!("batch {number}")).tag("a")).collect();
    producer.send_all(batch).await?;
    producer.enqueue(Message::new(topic, "enqueued").tag("a")).await?.await?;
    producer.send_oneway(Message::new(topic, "one-way").tag("a")).await?;
    producer.send(Message::new(topic, "ordered").tag("a").order_by("key")).await?;
    producer.send(Message::new(topic, "later").tag("a").delay_level(1)).await?;
    let consumer = client.consumer(format!("{topic}-c")).subscribe(topic, Filter::tags(["a"]));
    let mut consumer = consumer.start_from(StartFrom::Earliest).stream().await?;
    let mut bodies = std::collections::BTreeSet::new();
    while bodies.len() < 10 {
        let message = tokio::time::timeout(PATIENCE, consumer.next()).await?.ok_or("closed")?;
        let again = message.text() == "ordered" && message.reconsume_times == 0;
        if again {
            message.retry().await;
        } else {
            bodies.insert(message.text().into_owned());
            message.ack();
        }
    }
    consumer.close(PATIENCE).await;
    if !bodies.contains(&long) || bodies.contains("passed over") {
        return Err(format!("other messages came: {:?}", bodies.iter().map(String::len)).into());
    }
    producer.close().await;
    Ok(())
}

/// Messages wait for each other on their way out, and a handler takes several of them and does not do the last.
async fn send_and_consume_together(client: &Client, topic: &str) -> Outcome {
    let producer = client.producer(format!("{topic}-g")).auto_batch(AutoBatch::default()).build()?;
    let message = |number: u32| Message::new(topic, format!("together {number}")).tag("together");
    let (one, two, three) =
        tokio::join!(producer.send(message(1)), producer.send(message(2)), producer.send(message(3)));
    let [one, two, three] = [one?, two?, three?];
    if [(&two.queue, two.offset), (&three.queue, three.offset)]
        != [(&one.queue, one.offset + 1), (&one.queue, one.offset + 2)]
    {
        return Err(format!("they went apart: {one:?}, {two:?}, {three:?}").into());
    }
    let (seen, group) = (Arc::new(Mutex::new(Vec::new())), format!("{topic}-b"));
    let noting = Arc::clone(&seen);
    let consumer = client.consumer(&group).subscribe(topic, Filter::tags(["together"]));
    let serving = consumer
        .start_from(StartFrom::Earliest)
        .serve_batches(3, move |messages| {
            let seen = Arc::clone(&noting);
            async move {
                let mut seen = seen.lock().await;
                seen.extend(messages.iter().map(|one| (one.text().into_owned(), one.reconsume_times)));
                if seen.len() == 3 { Err(Unfinished { done: 2, cause: "not yet" }) } else { Ok(()) }
            }
        })
        .await?;
    let again = ("together 3".to_owned(), 1);
    until("what was not done comes again", async || seen.lock().await.contains(&again)).await?;
    let info = client.admin().running_info(&group, client.id(), true).await?;
    serving.close(PATIENCE).await;
    if info["statusTable"][topic]["consumeFailedMsgs"] != 1 || info["jstack"].is_null() {
        return Err(format!("a failure is not told: {info}").into());
    }
    Ok(())
}

/// A filter changes while the consumer works, and its handler takes back what it did before it writes anything down.
async fn change_and_roll_back(client: &Client, topic: &str) -> Outcome {
    let producer = client.producer(format!("{topic}-i")).build()?;
    let (seen, group) = (Arc::new(Mutex::new(Vec::new())), format!("{topic}-o"));
    let noting = Arc::clone(&seen);
    let consumer = client.consumer(&group).subscribe(topic, Filter::tags(["nobody has this"]));
    let serving = consumer
        .start_from(StartFrom::Earliest)
        .retry_pause(Duration::from_millis(100))
        .serve_orderly(1, move |messages| {
            let seen = Arc::clone(&noting);
            async move {
                let mut seen = seen.lock().await;
                seen.extend(messages.iter().map(|one| one.text().into_owned()));
                Ok::<_, String>(match seen.len() {
                    1 => ConsumeOrderlyStatus::Success,
                    2 => ConsumeOrderlyStatus::Rollback,
                    _ => ConsumeOrderlyStatus::Commit,
                })
            }
        })
        .await?;
    until("it has all queues", async || !serving.queues().is_empty()).await?;
    serving.subscribe(topic, Filter::tags(["in order"])).await?;
    for number in 0..3 {
        let message = Message::new(topic, number.to_string()).tag("in order").order_by("key");
        producer.send(message).await?;
    }
    until("all came", async || seen.lock().await.len() >= 5).await?;
    serving.close(PATIENCE).await;
    let seen = seen.lock().await.join(" ");
    if seen == "0 1 0 1 2" { Ok(()) } else { Err(format!("they came as {seen}").into()) }
}

async fn transact(client: &Client, topic: &str) -> Outcome {
    let producer = client.producer(format!("{topic}-t")).transactional(|_| async { Decision::Unknown })?;
    let before = count(&client.admin(), topic).await?;
    producer.begin(Message::new(topic, "undone")).await?.rollback().await?;
    producer.begin(Message::new(topic, "done")).await?.commit().await?;
    until("the committed message is seen", async || {
        count(&client.admin(), topic).await.is_ok_and(|count| count == before + 1)
    })
    .await
}

async fn count(admin: &Admin, topic: &str) -> Result<i64, thrustmq_client::Error> {
    Ok(admin.topic_stats(topic).await?.offset_table.values().map(|offset| offset.max_offset).sum())
}

async fn ask(client: &Client, topic: &str) -> Outcome {
    let producer = client.producer(format!("{topic}-q")).build()?;
    let replier = producer.clone();
    let consumer = client.consumer(format!("{topic}-r")).subscribe(topic, Filter::tags(["question"]));
    let serving = consumer
        .start_from(StartFrom::Earliest)
        .serve(move |question| {
            let replier = replier.clone();
            async move { replier.reply(&question, format!("{}!", question.text())).await.map(drop) }
        })
        .await?;
    let reply = producer.request(Message::new(topic, "well").tag("question"), PATIENCE).await?;
    let queue = producer.queues(topic).await?.remove(0);
    let named = producer.request_to(Message::new(topic, "well").tag("question"), &queue, PATIENCE).await?;
    serving.close(PATIENCE).await;
    if reply.body == "well!" && named.body == reply.body {
        Ok(())
    } else {
        Err(format!("{:?} was replied", reply.body).into())
    }
}

async fn administer(admin: &Admin, topic: &str) -> Outcome {
    let group = format!("{topic}-c");
    until("the index has it", async || {
        let found = admin.messages_by_key(topic, "k", 10, 0, i64::MAX).await;
        found.is_ok_and(|found| found.len() == 1)
    })
    .await?;
    let found = admin.messages_by_key(topic, "k", 10, 0, i64::MAX).await?.remove(0);
    admin.view_message(topic, &found.offset_id()).await?;
    admin.messages_by_unique_key(topic, &found.message_id()).await?.first().ok_or("not found by its id")?;
    let stats = admin.consume_stats(&group, Some(topic)).await?;
    admin.reset_offsets(&group, topic, Moment::Earliest, true).await?;
    if admin.consume_stats(&group, Some(topic)).await?.behind() <= stats.behind() {
        return Err("the reset moved nothing".into());
    }
    let master = admin.masters("").await?.remove(0);
    admin.runtime_stats(&master).await?;
    admin.broker_config(&master).await?.get("brokerName").ok_or("the broker has no name")?;
    admin.topic_config(&master, topic).await?;
    admin.groups(&master).await?;
    Ok(())
}
