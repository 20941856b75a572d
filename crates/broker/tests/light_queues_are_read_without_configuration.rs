//! Light queues (`enableLmq`, `enableMultiDispatch`): a message names them, and they are read like topics of one queue
//! that nobody has to make.

use crate::support::{World, body, number};
use serde_json::Value;
use wire::code::{request, response};
use wire::properties as props;

const LIGHT: [(&str, &str); 2] = [("enableLmq", "true"), ("enableMultiDispatch", "true")];

async fn send(world: &World, body: &str, light: &str) {
    world.send_with("Orders", 0, body, &[(props::INNER_MULTI_DISPATCH, light)]).await;
}

#[tokio::test]
async fn each_reader_gets_what_names_its_queue() {
    let world = World::start_with(&LIGHT).await;
    world.create_topic("Orders", 1).await;
    world.create_group("readers").await;
    send(&world, "one", "%LMQ%a,%LMQ%b").await;
    send(&world, "two", "%LMQ%b").await;
    world.send("Orders", 0, "three").await;
    assert_eq!(world.pull("readers", "Orders", 0, 0).await.bodies(), ["one", "two", "three"]);
    let pulled = world.pull("readers", "%LMQ%b", 0, 0).await;
    assert_eq!((pulled.bodies(), pulled.next_offset, pulled.max_offset), (vec!["one", "two"], 2, 2));
    assert_eq!(pulled.messages[0].topic, "Orders");
    let offsets = pulled.messages[0].property(props::INNER_MULTI_QUEUE_OFFSET).unwrap();
    assert_eq!(offsets.split(',').map(|offset| offset.parse().unwrap()).collect::<Vec<i64>>(), [0, 0]);
    assert_eq!(world.pull("readers", "%LMQ%a", 0, 0).await.bodies(), ["one"]);
    let fields = [("topic", "%LMQ%b"), ("queueId", "0")];
    assert_eq!(number(&world.me.ok(request::GET_MAX_OFFSET, &fields).await, "offset"), 2);
    assert_eq!(number(&world.me.ok(request::GET_MIN_OFFSET, &fields).await, "offset"), 0);
    // Only that one queue is there.
    assert_eq!(world.pull("readers", "%LMQ%b", 1, 0).await.code, response::INVALID_PARAMETER);

    let world = world.restart().await;
    assert_eq!(world.pull("readers", "%LMQ%b", 0, 1).await.bodies(), ["two"]);
    let topics = body(&world.me.ok(request::GET_ALL_TOPIC_CONFIG, &[]).await);
    let table = topics["topicConfigTable"].as_object().unwrap();
    assert!(table.keys().all(|name| !name.starts_with("%LMQ%")));
}

#[tokio::test]
async fn offsets_are_kept_as_java_keeps_them() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    world.create_group("readers").await;
    world.commit("readers", "Orders", 0, 5).await;
    let world = world.restart_with(&LIGHT).await;
    assert_eq!(world.committed("readers", "Orders", 0).await, Some(5), "from the file of before");
    send(&world, "one", "%LMQ%a").await;
    world.commit("readers", "%LMQ%a", 0, 1).await;
    world.commit("%LMQ%group", "%LMQ%a", 0, 7).await;
    let world = world.restart().await;
    assert_eq!(world.committed("readers", "%LMQ%a", 0).await, Some(1));
    assert_eq!(world.committed("%LMQ%group", "%LMQ%a", 0).await, Some(7));
    let text = std::fs::read(world.directory().join("config/lmqConsumerOffset.json")).unwrap();
    let file: Value = wire::loose_json::read(&text).unwrap();
    assert_eq!(file["lmqOffsetTable"], serde_json::json!({"%LMQ%a@%LMQ%group": 7}));
    assert_eq!(file["offsetTable"]["%LMQ%a@readers"]["0"], 1);
}

#[tokio::test]
async fn there_are_no_more_of_them_than_allowed() {
    let world = World::start_with(&[LIGHT[0], LIGHT[1], ("maxLmqConsumeQueueNum", "2")]).await;
    world.create_topic("Orders", 1).await;
    world.create_group("readers").await;
    send(&world, "one", "%LMQ%a,%LMQ%b").await;
    let refused = world.me.try_send("Orders", 0, b"two", &[(props::INNER_MULTI_DISPATCH, "%LMQ%c")]).await;
    assert_eq!(refused.code, response::LMQ_QUOTA_EXCEEDED, "{refused:?}");
    assert!(refused.remark.unwrap_or_default().starts_with("[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]"));
    assert_eq!(world.pull("readers", "%LMQ%c", 0, 0).await.code, response::LMQ_QUOTA_EXCEEDED);
    send(&world, "three", "%LMQ%a").await;
    let refused = world.me.try_send("Orders", 0, b"four", &[(props::INNER_MULTI_DISPATCH, "plain")]).await;
    assert_eq!(refused.code, response::MESSAGE_ILLEGAL, "{refused:?}");
}

#[tokio::test]
async fn nobody_gets_them_unasked() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    world.create_group("readers").await;
    send(&world, "one", "%LMQ%a").await;
    assert_eq!(world.pull("readers", "%LMQ%a", 0, 0).await.code, response::TOPIC_NOT_EXIST);
}
