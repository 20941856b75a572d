//! Applications that share a cluster and have namespaces of their own do not see each other's topics and groups, and
//! do not see their own namespace either.

mod support;

use std::time::{Duration, Instant};

use support::{CLUSTER, PATIENCE, World, eventually};
use thrustmq_client::{Admin, Client, Filter, Message, StartFrom, TopicConfig};

async fn client(world: &World, namespace: &str) -> Client {
    Client::builder(world.names()).namespace(namespace).connect().await.unwrap()
}

async fn orders_of(world: &World, namespace: &str) -> Client {
    let client = client(world, namespace).await;
    let complete = format!("{namespace}%orders");
    client.admin().create_topic(CLUSTER, &TopicConfig::new(&complete, 1, 6)).await.unwrap();
    eventually("the topic is known", async || client.admin().topic_route(&complete).await.is_ok()).await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_names_mean_different_topics_and_groups() {
    let world = World::start().await;
    for namespace in ["MQ_INST_1_a", "MQ_INST_1_b"] {
        let client = orders_of(&world, namespace).await;
        let producer = client.producer("shop").build().unwrap();
        assert_eq!(producer.group(), "shop");
        let receipt = producer.send(Message::new("orders", namespace)).await.unwrap();
        assert_eq!(receipt.queue.topic, "orders");
        let queues = producer.queues("orders").await.unwrap();
        assert_eq!((queues.len(), queues[0].topic.as_str()), (1, "orders"));
        producer.send_to(Message::new("orders", namespace), &queues[0]).await.unwrap();
        let batch = vec![Message::new("orders", namespace), Message::new("orders", namespace)];
        assert_eq!(producer.send_all(batch).await.unwrap()[1].queue.topic, "orders");
    }
    for namespace in ["MQ_INST_1_a", "MQ_INST_1_b"] {
        let client = client(&world, namespace).await;
        let reader = client.reader("tools");
        let queue = reader.queues("orders").await.unwrap().remove(0);
        let pulled = reader.pull(&queue, 0, 32, &Filter::all()).await.unwrap();
        assert_eq!(pulled.messages.len(), 4);
        for message in &pulled.messages {
            assert_eq!((message.topic(), message.queue.topic.as_str()), ("orders", "orders"));
            assert_eq!(message.text(), namespace);
            assert_eq!(message.property("INSTANCE_ID"), Some(namespace));
        }
        // Administrators see what is really there.
        let complete = format!("{namespace}%orders");
        let route = client.admin().topic_route(&complete).await.unwrap();
        let at = client.admin().message_at(&route.queues_to_read()[0], 0).await.unwrap();
        assert_eq!(at.topic(), complete);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_comes_again_to_the_group_of_the_namespace() {
    let world = World::start().await;
    let client = orders_of(&world, "MQ_INST_1_a").await;
    client.producer("shop").build().unwrap().send(Message::new("orders", "7")).await.unwrap();
    let consumer = client.consumer("service").subscribe("orders", Filter::all());
    let mut consumer = consumer.start_from(StartFrom::Earliest).stream().await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let order = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
        seen.push((order.topic().to_owned(), order.queue.topic.clone(), order.reconsume_times));
        if seen.len() == 1 {
            order.retry_after_level(1).await;
        } else {
            order.ack();
        }
    }
    let expected = [("orders", "orders", 0), ("orders", "%RETRY%service", 1)];
    assert_eq!(seen, expected.map(|(topic, queue, times)| (topic.to_owned(), queue.to_owned(), times)));
    let queues = consumer.queues();
    assert!(queues.iter().any(|queue| queue.topic == "orders"), "{queues:?}");
    consumer.close(Duration::from_secs(5)).await;
    let known = world.client().await.admin();
    becomes_known(&known, "%RETRY%MQ_INST_1_a%service").await;
}

/// Waits for a topic that a broker has just made: it tells the name server a moment later.
async fn becomes_known(admin: &Admin, topic: &str) {
    let deadline = Instant::now() + PATIENCE;
    while admin.topic_route(topic).await.is_err() {
        assert!(Instant::now() < deadline, "nobody knows {topic}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pops_and_who_polls_sees_bare_names_too() {
    let world = World::start().await;
    let client = orders_of(&world, "MQ_INST_1_a").await;
    let producer = client.producer("shop").build().unwrap();
    for body in ["1", "2", "3"] {
        producer.send(Message::new("orders", body)).await.unwrap();
    }

    let popping = client.pop_consumer("poppers").subscribe("orders", Filter::all()).start_from_earliest();
    let mut popping = popping.stream().await.unwrap();
    for number in 0..3 {
        let order = tokio::time::timeout(PATIENCE, popping.next()).await.unwrap().unwrap();
        assert_eq!((order.topic(), order.queue.topic.as_str()), ("orders", "orders"));
        if number == 0 { order.dead_letter().await.unwrap() } else { order.ack().await.unwrap() }
    }
    assert!(popping.queues().iter().all(|queue| queue.topic == "orders"));
    popping.close(Duration::from_secs(5)).await;
    let admin = world.client().await.admin();
    becomes_known(&admin, "%DLQ%MQ_INST_1_a%poppers").await;

    let queues = client.reader("tools").queues("orders").await.unwrap();
    let polling = client.lite_pull_consumer("pollers").assign(queues.clone()).start_from(StartFrom::Earliest);
    let mut polling = polling.build().await.unwrap();
    assert_eq!(polling.assignment(), queues);
    let mut polled = Vec::new();
    while polled.len() < 3 {
        polled.extend(polling.poll(PATIENCE).await);
    }
    assert!(polled.iter().all(|order| order.topic() == "orders" && *order.queue == queues[0]));
    polling.commit().await.unwrap();
    assert_eq!(polling.committed(&queues[0]).await.unwrap(), Some(3));
    polling.seek(&queues[0], 1).await.unwrap();
    assert_eq!(polling.poll(PATIENCE).await[0].text(), "2");
    polling.close().await;
}
