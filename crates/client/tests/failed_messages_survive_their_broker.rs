//! A message that fails while its broker is away is not lost: another broker takes it.

mod support;

use std::time::Duration;

use support::{PATIENCE, World, eventually};
use thrustmq_client::{Client, Consumer, Delivered, Filter, Message, StartFrom, SubscriptionGroupConfig};

const SOON: Duration = Duration::from_millis(200);

async fn next(consumer: &mut Consumer) -> Delivered {
    let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
    next.expect("a message in time").expect("an open consumer")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_while_its_broker_is_away_comes_again_from_another() {
    let levels = [("messageDelayLevel", "1s 1s 1s 1s 1s 1s")];
    let mut world = World::with(2, &levels).await;
    world.create_topic("T", 1).await;
    world.create_group(&SubscriptionGroupConfig::new("G")).await;
    // Each broker makes the topic of retries when it hears of the group, and the first route may have only one of them.
    let client = Client::builder(world.names()).route_refresh(SOON).connect().await.unwrap();
    let consumer = client.consumer("G").subscribe("T", Filter::all()).start_from(StartFrom::Earliest);
    let mut consumer = consumer.rebalance_every(SOON).stream().await.unwrap();
    let retried = |consumer: &Consumer| {
        let queues = consumer.queues();
        queues.iter().any(|queue| queue.topic == "%RETRY%G" && queue.broker_name == "broker-b")
    };
    eventually("it reads the retries of the other broker", async || retried(&consumer)).await;
    let producer = client.producer("P").build().unwrap();
    let queue = producer.queues("T").await.unwrap().remove(0);
    assert_eq!(queue.broker_name, "broker-a");
    let failing = producer.send_to(Message::new("T", "fails").tag("t").key("k"), &queue).await.unwrap();
    producer.send_to(Message::new("T", "is hopeless"), &queue).await.unwrap();
    let (fails, hopeless) = (next(&mut consumer).await, next(&mut consumer).await);
    world.stop_broker(0).await;
    fails.retry().await;
    hopeless.dead_letter().await;

    let again = next(&mut consumer).await;
    assert_eq!((again.text().as_ref(), again.topic(), again.reconsume_times), ("fails", "T", 1));
    assert_eq!((again.tag(), again.keys().collect::<Vec<_>>()), (Some("t"), vec!["k"]));
    assert_eq!((&*again.message_id(), again.queue.broker_name.as_str()), (&*failing.message_id, "broker-b"));
    again.ack();
    let admin = client.admin();
    let dead = async || {
        let stats = admin.topic_stats("%DLQ%G").await;
        stats.is_ok_and(|stats| stats.offset_table.values().map(|offset| offset.max_offset).sum::<i64>() == 1)
    };
    eventually("the other is dead", dead).await;
    consumer.close(PATIENCE).await;
}
