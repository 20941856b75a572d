//! Topics, groups, offsets and settings through the administration of the client.

mod support;

use support::{CLUSTER, World, eventually};
use thrustmq_client::{Error, Message, Moment, SubscriptionGroupConfig, TopicConfig};

#[tokio::test]
async fn topics_are_made_seen_and_deleted() {
    let world = World::with(2, &[]).await;
    world.create_topic("T", 3).await;
    let client = world.client().await;
    let admin = client.admin();
    assert!(admin.topics().await.unwrap().contains(&"T".to_owned()));
    assert!(admin.topics_of_cluster(CLUSTER).await.unwrap().contains(&"T".to_owned()));
    let config = admin.topic_config(&world.broker(0), "T").await.unwrap();
    assert_eq!((config.read_queue_nums, config.perm), (3, 6));
    assert!(admin.topic_configs(&world.broker(1)).await.unwrap().contains_key("T"));

    let producer = client.producer("P").build().unwrap();
    for _ in 0..6 {
        producer.send(Message::new("T", "x")).await.unwrap();
    }
    let stats = admin.topic_stats("T").await.unwrap();
    assert_eq!(stats.offset_table.len(), 6);
    assert!(stats.offset_table.values().all(|offset| (offset.min_offset, offset.max_offset) == (0, 1)));

    admin.delete_topic(CLUSTER, "T").await.unwrap();
    let gone = async || matches!(admin.topic_route("T").await, Err(Error::NoRoute { .. }));
    eventually("the topic is gone", gone).await;
}

#[tokio::test]
async fn groups_are_made_moved_and_deleted() {
    let world = World::start().await;
    world.create_topic("T", 2).await;
    let admin = world.client().await.admin();
    let config = SubscriptionGroupConfig { retry_max_times: 3, ..SubscriptionGroupConfig::new("G") };
    admin.create_group(CLUSTER, &config).await.unwrap();
    assert_eq!(admin.group_config(&world.broker(0), "G").await.unwrap().retry_max_times, 3);
    assert!(admin.groups(&world.broker(0)).await.unwrap().contains_key("G"));

    let client = world.client().await;
    let producer = client.producer("P").build().unwrap();
    for _ in 0..10 {
        producer.send(Message::new("T", "x")).await.unwrap();
    }
    let queues = client.reader("G").queues("T").await.unwrap();
    assert_eq!(admin.committed("G", &queues[0]).await.unwrap(), None);
    admin.commit("G", &queues[0], 2).await.unwrap();
    admin.commit("G", &queues[1], 3).await.unwrap();
    assert_eq!(admin.consume_stats("G", Some("T")).await.unwrap().behind(), 5);
    assert_eq!(admin.groups_of_topic("T").await.unwrap(), ["G".to_owned()].into());

    let moved = admin.reset_offsets("G", "T", Moment::Latest, true).await.unwrap();
    assert_eq!(moved.values().sum::<i64>(), 10);
    assert_eq!(admin.consume_stats("G", None).await.unwrap().behind(), 0);
    admin.reset_offsets("G", "T", Moment::Earliest, true).await.unwrap();
    assert_eq!(admin.consume_stats("G", None).await.unwrap().behind(), 10);
    assert_eq!(admin.consumers("G").await.unwrap(), None);

    admin.delete_group(CLUSTER, "G", true).await.unwrap();
    assert_eq!(admin.committed("G", &queues[0]).await.unwrap(), None);
}

#[tokio::test]
async fn brokers_and_name_servers_tell_and_take_settings() {
    let world = World::start().await;
    let admin = world.client().await.admin();
    let broker = world.broker(0);
    assert_eq!(admin.masters(CLUSTER).await.unwrap(), std::slice::from_ref(&broker));
    assert!(matches!(admin.masters("another").await, Err(Error::NoBroker { .. })));
    assert_eq!(admin.broker_config(&broker).await.unwrap()["brokerName"], "broker-a");
    admin.update_broker_config(&broker, &[("transactionCheckMax", "7")]).await.unwrap();
    assert_eq!(admin.broker_config(&broker).await.unwrap()["transactionCheckMax"], "7");
    assert!(admin.runtime_stats(&broker).await.unwrap().contains_key("brokerVersionDesc"));
    let refused = admin.update_broker_config(&broker, &[("transactionCheckMax", "-1")]).await.unwrap_err();
    assert!(refused.broker_code().is_some(), "{refused}");

    admin.put_kv("space", "key", "value").await.unwrap();
    assert_eq!(admin.kv("space", "key").await.unwrap().as_deref(), Some("value"));
    assert_eq!(admin.kv_namespace("space").await.unwrap().len(), 1);
    admin.delete_kv("space", "key").await.unwrap();
    assert_eq!(admin.kv("space", "key").await.unwrap(), None);

    world.create_topic("T", 1).await;
    let names = admin.name_servers().remove(0);
    admin.wipe_write_permission(&names, "broker-a").await.unwrap();
    assert!(admin.topic_route("T").await.unwrap().queues_to_write().is_empty());
    admin.add_write_permission(&names, "broker-a").await.unwrap();
    assert_eq!(admin.topic_route("T").await.unwrap().queues_to_write().len(), 1);
    let unknown = admin.topic_config(&broker, "unknown").await.unwrap_err();
    assert!(unknown.broker_code().is_some() && !unknown.maybe_done());
    admin.update_topic(&broker, &TopicConfig::new("T", 2, 6)).await.unwrap();
    assert_eq!(admin.topic_config(&broker, "T").await.unwrap().write_queue_nums, 2);
}
