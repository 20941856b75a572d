//! Topics and groups that administrators create in lists, look at and delete.

use crate::support::{Situation, World, body, number, stored};
use serde_json::{Value, json};
use wire::code::{request, response};

fn topic(name: &str, queues: i32) -> Value {
    json!({"attributes": {}, "order": false, "perm": 6, "readQueueNums": queues, "topicFilterType": "SINGLE_TAG",
           "topicName": name, "topicSysFlag": 0, "writeQueueNums": queues})
}

#[tokio::test]
async fn topics_come_and_go() {
    let world = World::start().await;
    let before = number(&world.me.ok(request::GET_ALL_TOPIC_CONFIG, &[]).await, "totalTopicNum");
    let list = json!({"topicConfigList": [topic("Orders", 2), topic("Returns", 3)]}).to_string();
    let answer = world.me.ask_with(request::UPDATE_AND_CREATE_TOPIC_LIST, &[], list.as_bytes()).await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");

    let returns = body(&world.me.ok(request::GET_TOPIC_CONFIG, &[("topic", "Returns")]).await);
    assert_eq!((&returns["topicName"], &returns["readQueueNums"]), (&json!("Returns"), &json!(3)));
    let nowhere = world.me.ask(request::GET_TOPIC_CONFIG, &[("topic", "Nowhere")]).await;
    assert_eq!(nowhere.code, response::TOPIC_NOT_EXIST);
    let all = world.me.ok(request::GET_ALL_TOPIC_CONFIG, &[]).await;
    assert_eq!(number(&all, "totalTopicNum"), before + 2);
    assert_eq!(body(&all)["topicConfigTable"]["Orders"]["writeQueueNums"], 2);

    world.me.ok(request::DELETE_TOPIC_IN_BROKER, &[("topic", "Returns")]).await;
    let gone = world.me.ask(request::GET_TOPIC_CONFIG, &[("topic", "Returns")]).await;
    assert_eq!(gone.code, response::TOPIC_NOT_EXIST);

    let system = body(&world.me.ok(request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, &[]).await);
    let system = system["topicList"].as_array().unwrap();
    assert!(system.contains(&json!("TBW102")) && !system.contains(&json!("Orders")), "{system:?}");
    let kept = world.me.ask(request::DELETE_TOPIC_IN_BROKER, &[("topic", "TBW102")]).await;
    assert_eq!(kept.code, response::INVALID_PARAMETER);
}

#[tokio::test]
async fn groups_come_and_go_with_their_offsets_or_without() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    let list = json!({"groupConfigList": [
        {"groupName": "billing"}, {"groupName": "audit", "consumeEnable": false}, {"groupName": "third"}
    ]});
    let answer = world
        .me
        .ask_with(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, &[], list.to_string().as_bytes())
        .await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let audit = body(&world.me.ok(request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "audit")]).await);
    assert_eq!(audit["consumeEnable"], false);
    assert_eq!(world.pull("audit", "Orders", 0, 0).await.code, response::NO_PERMISSION);
    let allowed = json!({"groupName": "audit", "consumeEnable": true}).to_string();
    world.me.ask_with(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], allowed.as_bytes()).await;
    assert_ne!(world.pull("audit", "Orders", 0, 0).await.code, response::NO_PERMISSION);

    for group in ["billing", "audit"] {
        assert_eq!(world.commit(group, "Orders", 0, 7).await.code, response::SUCCESS);
    }
    world.me.ok(request::DELETE_SUBSCRIPTIONGROUP, &[("groupName", "billing")]).await;
    let fields = [("groupName", "audit"), ("cleanOffset", "true")];
    world.me.ok(request::DELETE_SUBSCRIPTIONGROUP, &fields).await;
    let all = body(&world.me.ok(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[]).await);
    let table = all["subscriptionGroupTable"].as_object().unwrap();
    assert!(table.contains_key("third") && !table.contains_key("billing") && !table.contains_key("audit"));
    assert_eq!(world.committed("billing", "Orders", 0).await, Some(7));
    assert_eq!(world.committed("audit", "Orders", 0).await, None);
}

#[tokio::test]
async fn a_group_has_no_more_retry_queues_than_a_topic_may_have() {
    let world = World::start().await;
    for (queues, code) in [
        (-1, response::INVALID_PARAMETER),
        (65_537, response::INVALID_PARAMETER),
        (0, response::SUCCESS),
        (65_536, response::SUCCESS),
    ] {
        let group = json!({"groupName": "audit", "retryQueueNums": queues}).to_string();
        let request = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
        let answer = world.me.ask_with(request, &[], group.as_bytes()).await;
        assert_eq!(answer.code, code, "{queues}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_deleted_with_its_offsets_begins_anew_after_a_kill() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    stored(house.peer().send("orders", 0, "one").await);
    assert_eq!(house.peer().join("c", "audit", "orders", "*").await.code, response::SUCCESS);
    let offset = [("consumerGroup", "audit"), ("topic", "orders"), ("queueId", "0"), ("commitOffset", "1")];
    house.peer().ok(request::UPDATE_CONSUMER_OFFSET, &offset).await;
    house.stop().await.unwrap();
    let house = situation.start().await;
    let fields = [("groupName", "audit"), ("cleanOffset", "true")];
    house.peer().ok(request::DELETE_SUBSCRIPTIONGROUP, &fields).await;
    let killed = situation.after_kill();
    let house = killed.start().await;
    assert_eq!(house.peer().join("c", "audit", "orders", "*").await.code, response::SUCCESS);
    let asked =
        [("consumerGroup", "audit"), ("topic", "orders"), ("queueId", "0"), ("setZeroIfNotFound", "false")];
    let answer = house.peer().ask(request::QUERY_CONSUMER_OFFSET, &asked).await;
    assert_ne!(answer.field("offset"), Some("1"), "{answer:?}");
}

#[tokio::test]
async fn a_group_is_forbidden_one_topic() {
    let world = World::start().await;
    let ask = async |readable: Option<&str>| {
        let mut fields = vec![("group", "billing"), ("topic", "Orders")];
        fields.extend(readable.map(|readable| ("readable", readable)));
        body(&world.me.ok(request::UPDATE_AND_GET_GROUP_FORBIDDEN, &fields).await)["readable"] == true
    };
    assert!(ask(None).await);
    assert!(!ask(Some("false")).await);
    assert!(!ask(None).await);
    assert!(ask(Some("true")).await);
}
