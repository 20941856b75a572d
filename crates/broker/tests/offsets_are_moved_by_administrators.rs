//! Resets with and without the clients' help, clones, corrections, and what replicas would copy.

use crate::support;
use crate::support::{Peer, World, body, body_text, number, queue_key};
use serde_json::json;
use wire::code::{request, response};

async fn world_with_five_messages(given: &[(&str, &str)]) -> World {
    let world = World::start_with(given).await;
    world.create_topic("Orders", 2).await;
    world.create_group("billing").await;
    for number in 0..5 {
        world.send("Orders", 0, &format!("m{number}")).await;
    }
    world
}

#[tokio::test]
async fn a_reset_reaches_a_consumer_with_its_next_pull() {
    let world = world_with_five_messages(&[]).await;
    world.commit("billing", "Orders", 0, 1).await;
    let fields = [("group", "billing"), ("topic", "Orders"), ("timestamp", "-1"), ("isForce", "true")];
    let answer = world.me.ok(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await;
    assert_eq!(
        body_text(&answer),
        r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"Orders"}:5,{"brokerName":"broker-a","queueId":1,"topic":"Orders"}:0}}"#
    );
    // What the consumer commits of its old position no longer counts.
    assert_eq!(world.commit("billing", "Orders", 0, 2).await.code, response::SUCCESS);
    assert_eq!(world.committed("billing", "Orders", 0).await, Some(5));
    let pulled = world.pull("billing", "Orders", 0, 2).await;
    assert_eq!((pulled.code, pulled.next_offset), (response::PULL_OFFSET_MOVED, 5));
    assert_eq!(world.pull("billing", "Orders", 0, 5).await.code, response::PULL_NOT_FOUND);
    world.commit("billing", "Orders", 0, 4).await;
    assert_eq!(world.committed("billing", "Orders", 0).await, Some(4));
}

#[tokio::test]
async fn one_queue_can_be_set_within_its_bounds() {
    let world = world_with_five_messages(&[]).await;
    let reset = |queue_id: &'static str, offset: &'static str| {
        let fields = [
            ("group", "billing"),
            ("topic", "Orders"),
            ("timestamp", "-1"),
            ("isForce", "true"),
            ("queueId", queue_id),
            ("offset", offset),
        ];
        let me = &world.me;
        async move { me.ask(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await }
    };
    let answer = reset("0", "3").await;
    assert_eq!(body(&answer)["offsetTable"], json!({queue_key("Orders", 0): 3}));
    assert_eq!(world.committed("billing", "Orders", 0).await, Some(3));
    let beyond = reset("0", "7").await;
    assert_eq!(beyond.code, response::SYSTEM_ERROR);
    assert_eq!(beyond.remark.unwrap(), "Target offset 7 not in consume queue range [0-5]");
    assert_eq!(reset("0", "-2").await.code, response::SYSTEM_ERROR);
    assert_eq!(reset("9", "0").await.code, response::INVALID_PARAMETER);
    // What is no number stands neither for all queues nor for the time.
    assert_eq!(reset("0 ", "0").await.code, response::SYSTEM_ERROR);
    assert_eq!(reset("0", "last").await.code, response::SYSTEM_ERROR);
    assert_eq!(world.committed("billing", "Orders", 0).await, Some(3));

    let ask = |group: &'static str, topic: &'static str| {
        let fields = [("group", group), ("topic", topic), ("timestamp", "0"), ("isForce", "true")];
        let me = &world.me;
        async move { me.ask(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await.code }
    };
    assert_eq!(ask("billing", "Nowhere").await, response::TOPIC_NOT_EXIST);
    assert_eq!(ask("nobody", "Orders").await, response::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert_eq!(ask("billing", "Orders").await, response::SUCCESS);
    assert_eq!(world.committed("billing", "Orders", 0).await, Some(0));
}

#[tokio::test]
async fn without_server_side_resets_the_members_are_told() {
    let world = world_with_five_messages(&[("useServerSideResetOffset", "false")]).await;
    let reset = |force: &'static str| {
        let fields = [("group", "billing"), ("topic", "Orders"), ("timestamp", "-1"), ("isForce", force)];
        let me = &world.me;
        async move { me.ask(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await }
    };
    let never_committed = reset("true").await;
    assert_eq!(never_committed.code, response::SYSTEM_ERROR);
    world.commit("billing", "Orders", 0, 2).await;
    world.commit("billing", "Orders", 1, 0).await;
    assert_eq!(reset("true").await.code, response::CONSUMER_NOT_ONLINE);

    let member = world.peer();
    member.consume("c1", "billing", &["Orders"]).await;
    let forced = body(&reset("true").await);
    assert_eq!(forced["offsetTable"][queue_key("Orders", 0)], 5);
    let told = member.hears(request::RESET_CONSUMER_CLIENT_OFFSET).await;
    assert_eq!((told.field("group"), told.field("isForce")), (Some("billing"), Some("true")));
    let text = String::from_utf8(told.body).unwrap();
    assert!(
        text.starts_with(r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"Orders"}:5"#),
        "{text}"
    );
    // Nobody is moved forward unless forced, and the broker itself moves nobody.
    assert_eq!(body(&reset("false").await)["offsetTable"][queue_key("Orders", 0)], 2);
    assert_eq!(world.committed("billing", "Orders", 0).await, Some(2));
}

#[tokio::test]
async fn members_say_where_they_are() {
    let world = world_with_five_messages(&[]).await;
    let at = |offset: i64| {
        let table = format!(
            r#"{{"messageQueueTable":{{{{"brokerName":"broker-a","queueId":0,"topic":"Orders"}}:{offset}}}}}"#
        );
        move |_: &support::Asked| Some((response::SUCCESS, table.clone().into_bytes()))
    };
    let (first, second) = (Peer::answering(world.address(), at(3)), Peer::answering(world.address(), at(4)));
    first.consume("c1", "billing", &["Orders"]).await;
    second.consume("c2", "billing", &["Orders"]).await;
    let fields = [("topic", "Orders"), ("group", "billing")];
    let all = body(&world.me.ok(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &fields).await);
    assert_eq!(all["consumerTable"]["c1"], json!({queue_key("Orders", 0): 3}));
    assert_eq!(all["consumerTable"]["c2"], json!({queue_key("Orders", 0): 4}));
    let fields = [("topic", "Orders"), ("group", "billing"), ("clientAddr", "c2")];
    let one = body(&world.me.ok(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &fields).await);
    assert_eq!(one["consumerTable"].as_object().unwrap().len(), 1);
    let fields = [("topic", "Orders"), ("group", "nobody")];
    let nobody = world.me.ask(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &fields).await;
    assert_eq!(nobody.code, response::SYSTEM_ERROR);
}

#[tokio::test]
async fn a_clone_takes_one_topic_or_all() {
    let world = world_with_five_messages(&[]).await;
    world.create_topic("Returns", 1).await;
    world.commit("billing", "Orders", 0, 3).await;
    world.commit("billing", "Returns", 0, 0).await;
    let clone = |to: &'static str, topic: &'static str, offline: &'static str| {
        let fields = [("srcGroup", "billing"), ("destGroup", to), ("topic", topic), ("offline", offline)];
        let me = &world.me;
        async move { me.ask(request::CLONE_GROUP_OFFSET, &fields).await.code }
    };
    assert_eq!(clone("audit", "Orders", "true").await, response::SUCCESS);
    assert_eq!(world.committed("audit", "Orders", 0).await, Some(3));
    assert_eq!(world.committed("audit", "Returns", 0).await, None);
    assert_eq!(clone("all", "", "true").await, response::SUCCESS);
    assert_eq!(
        (world.committed("all", "Orders", 0).await, world.committed("all", "Returns", 0).await),
        (Some(3), Some(0))
    );
    assert_eq!(clone("not a group!", "Orders", "true").await, response::INVALID_PARAMETER);

    // What an online group has left is not cloned, unless told to act as if it were offline.
    let member = world.peer();
    member.consume("c1", "billing", &["Orders"]).await;
    assert_eq!(clone("live", "", "false").await, response::SUCCESS);
    assert_eq!(
        (world.committed("live", "Orders", 0).await, world.committed("live", "Returns", 0).await),
        (Some(3), None)
    );
}

#[tokio::test]
async fn asking_for_corrections_changes_no_offset() {
    let world = world_with_five_messages(&[]).await;
    for (group, offset) in [("billing", 4), ("audit", 2), ("compared", 3)] {
        world.create_group(group).await;
        world.commit(group, "Orders", 0, offset).await;
    }
    let fields = [("topic", "Orders"), ("compareGroup", "compared"), ("filterGroups", "audit")];
    let answer = world.me.ok(request::QUERY_CORRECTION_OFFSET, &fields).await;
    assert_eq!(body_text(&answer), r#"{"correctionOffsets":{0:3}}"#);
    assert_eq!(
        world.committed("audit", "Orders", 0).await,
        Some(2),
        "Java forgets the groups that are left out"
    );
    let fields = [("topic", "Orders"), ("compareGroup", "compared"), ("filterGroups", "compared,audit")];
    let answer = world.me.ok(request::QUERY_CORRECTION_OFFSET, &fields).await;
    assert_eq!(body_text(&answer), format!(r#"{{"correctionOffsets":{{0:{}}}}}"#, i64::MAX));
}

#[tokio::test]
async fn all_offsets_are_told_in_the_form_that_slaves_read() {
    let world = world_with_five_messages(&[]).await;
    world.commit("billing", "Orders", 0, 3).await;
    world.commit("billing", "Orders", 1, 0).await;
    let answer = world.me.ok(request::GET_ALL_CONSUMER_OFFSET, &[]).await;
    assert!(
        body_text(&answer).ends_with(r#""offsetTable":{"Orders@billing":{0:3,1:0}}}"#),
        "{}",
        body_text(&answer)
    );
    world.send_with("Orders", 0, "later", &[("DELAY", "1")]).await;
    let answer = world.me.ok(request::GET_ALL_DELAY_OFFSET, &[]).await;
    let table = body(&answer);
    assert!(table["offsetTable"].as_object().unwrap().contains_key("1"), "{table}");
    assert!(body_text(&answer).contains(r#""offsetTable":{1:"#), "{}", body_text(&answer));
    let modes = world.me.ok(request::GET_ALL_MESSAGE_REQUEST_MODE, &[]).await;
    assert_eq!(body(&modes), json!({"messageRequestModeMap": {}}));
}

#[tokio::test]
async fn a_reset_survives_a_restart() {
    let world = world_with_five_messages(&[]).await;
    let fields = [("group", "billing"), ("topic", "Orders"), ("timestamp", "-1"), ("isForce", "true")];
    world.me.ok(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await;
    let world = world.restart().await;
    assert_eq!(world.committed("billing", "Orders", 0).await, Some(5));
    let fields = [("topic", "Orders"), ("queueId", "0")];
    assert_eq!(number(&world.me.ok(request::GET_MAX_OFFSET, &fields).await, "offset"), 5);
}
