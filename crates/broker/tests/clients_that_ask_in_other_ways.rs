//! Requests in the forms that the usual client does not use: long field names, lite pulls, queries by key, assignment.

use crate::support;
use crate::support::{PATIENCE, World, body, number, records};
use serde_json::json;
use wire::code::{request, response};

const REPLIES: &str = "DefaultCluster_REPLY_TOPIC";

/// A send under the names that 4.x clients used before short ones.
fn long_fields<'a>(topic: &'a str, properties: &'a str) -> [(&'a str, &'a str); 12] {
    [
        ("producerGroup", "producers"),
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "0"),
        ("sysFlag", "0"),
        ("bornTimestamp", "1700000000000"),
        ("flag", "0"),
        ("properties", properties),
        ("reconsumeTimes", "0"),
        ("unitMode", "false"),
        ("batch", "false"),
    ]
}

#[tokio::test]
async fn sends_with_long_names_are_read_by_lite_pulls() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    let sent = world.me.ask_with(request::SEND_MESSAGE, &long_fields("Orders", ""), b"old").await;
    assert_eq!((sent.code, number(&sent, "queueOffset")), (response::SUCCESS, 0));
    let fields = [
        ("consumerGroup", "billing"),
        ("topic", "Orders"),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
        ("sysFlag", "20"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "0"),
    ];
    let pulled = world.me.ok(request::LITE_PULL_MESSAGE, &fields).await;
    assert_eq!(records(&pulled.body)[0].body, "old");
    let fields = [("topic", "Orders"), ("queueId", "0")];
    let earliest = world.me.ok(request::GET_EARLIEST_MSG_STORETIME, &fields).await;
    assert!(number(&earliest, "timestamp") > 0);
}

#[tokio::test]
async fn a_reply_with_long_names_reaches_who_asked() {
    let world = World::start().await;
    let asker = support::Peer::answering(world.address(), |_| Some((response::SUCCESS, Vec::new())));
    asker.produce("asker@1", "askers").await;
    let properties = "MSG_TYPE\u{1}reply\u{2}CORRELATION_ID\u{1}c-1\u{2}REPLY_TO_CLIENT\u{1}asker@1\u{2}";
    let answer =
        world.me.ask_with(request::SEND_REPLY_MESSAGE, &long_fields(REPLIES, properties), b"pong").await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!(asker.hears(request::PUSH_REPLY_MESSAGE_TO_CLIENT).await.body, b"pong");
}

#[tokio::test]
async fn a_message_is_found_by_its_key() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    world.send_with("Orders", 0, "wanted", &[("KEYS", "k1 k2")]).await;
    world.send_with("Orders", 0, "other", &[("KEYS", "k3")]).await;
    let far = i64::MAX.to_string();
    let fields = |key: &'static str| {
        [("topic", "Orders"), ("key", key), ("maxNum", "8"), ("beginTimestamp", "0"), ("endTimestamp", &far)]
            .map(|(name, value)| (name, value.to_owned()))
    };
    let ask = async |key| {
        let fields = fields(key);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        world.me.ask(request::QUERY_MESSAGE, &fields).await
    };
    // The index follows the log.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut found = ask("k2").await;
    while found.code != response::SUCCESS {
        assert!(tokio::time::Instant::now() < deadline, "{found:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        found = ask("k2").await;
    }
    assert_eq!(records(&found.body).iter().map(|got| got.body.as_str()).collect::<Vec<_>>(), ["wanted"]);
    assert_eq!(ask("k4").await.code, response::QUERY_NOT_FOUND);
}

#[tokio::test]
async fn the_only_member_is_assigned_every_queue() {
    let world = World::start().await;
    world.create_topic("Orders", 2).await;
    let member = world.peer();
    member.consume("c1", "billing", &["Orders"]).await;
    let asked = json!({"clientId": "c1", "consumerGroup": "billing", "messageModel": "CLUSTERING",
                       "strategyName": "AVG", "topic": "Orders"});
    let answer = member.ask_with(request::QUERY_ASSIGNMENT, &[], asked.to_string().as_bytes()).await;
    let assigned = body(&answer);
    let assigned = assigned["messageQueueAssignments"].as_array().unwrap();
    let mut queues: Vec<_> =
        assigned.iter().map(|assigned| assigned["messageQueue"]["queueId"].as_i64().unwrap()).collect();
    queues.sort();
    assert_eq!(queues, [0, 1]);
}
