//! Running info and direct consumption, relayed to a member over its own connection; who is connected at all.

use crate::support::{Asked, Peer, World, body, body_text, records};
use serde_json::json;
use wire::code::{request, response};

#[tokio::test]
async fn a_member_tells_what_it_does() {
    let world = World::start().await;
    let answers = |asked: &Asked| {
        (asked.code == request::GET_CONSUMER_RUNNING_INFO)
            .then(|| (response::SUCCESS, br#"{"properties":{},"mqTable":{{"topic":"T"}:{}}}"#.to_vec()))
    };
    let member = Peer::answering(world.address(), answers);
    member.consume("c1", "billing", &["Orders"]).await;
    let fields = [
        ("consumerGroup", "billing"),
        ("clientId", "c1"),
        ("jstackEnable", "true"),
        ("AccessKey", "admin"),
        ("Signature", "secret"),
    ];
    let answer = world.me.ok(request::GET_CONSUMER_RUNNING_INFO, &fields).await;
    assert_eq!(body_text(&answer), r#"{"properties":{},"mqTable":{{"topic":"T"}:{}}}"#);
    let asked = member.hears(request::GET_CONSUMER_RUNNING_INFO).await;
    assert_eq!((asked.field("consumerGroup"), asked.field("jstackEnable")), (Some("billing"), Some("true")));
    assert_eq!((asked.field("AccessKey"), asked.field("Signature")), (None, None), "credentials stay here");
}

#[tokio::test]
async fn a_message_is_consumed_at_once_and_the_outcome_comes_back() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    let sent = world.send("Orders", 0, "look at this").await;
    let member = Peer::answering(world.address(), |asked: &Asked| {
        (asked.code == request::CONSUME_MESSAGE_DIRECTLY)
            .then(|| (response::SUCCESS, br#"{"consumeResult":"CR_LATER"}"#.to_vec()))
    });
    member.consume("c1", "billing", &["Orders"]).await;
    let fields = [
        ("consumerGroup", "billing"),
        ("clientId", "c1"),
        ("msgId", sent.offset_id.as_str()),
        ("brokerName", "whatever the tool believes"),
        ("topic", "Orders"),
    ];
    let answer = world.me.ok(request::CONSUME_MESSAGE_DIRECTLY, &fields).await;
    assert_eq!(body(&answer), json!({"consumeResult": "CR_LATER"}));
    let asked = member.hears(request::CONSUME_MESSAGE_DIRECTLY).await;
    assert_eq!(records(&asked.body)[0].body, "look at this");
    assert_eq!((asked.field("brokerName"), asked.field("topicSysFlag")), (Some("broker-a"), Some("0")));
    assert_eq!(asked.field("groupSysFlag"), Some("0"));

    for id in ["zz", "", "7F00000100002A9F0000000000FFFFFF"] {
        let fields = [("consumerGroup", "billing"), ("clientId", "c1"), ("msgId", id), ("topic", "Orders")];
        let refused = world.me.ask(request::CONSUME_MESSAGE_DIRECTLY, &fields).await;
        assert_eq!(refused.code, response::SYSTEM_ERROR, "{id}: {refused:?}");
    }
}

#[tokio::test]
async fn members_that_are_absent_silent_or_gone_are_told_apart() {
    let world = World::start().await;
    let ask = |client_id: &'static str| {
        let fields = [("consumerGroup", "billing"), ("clientId", client_id), ("jstackEnable", "false")];
        let me = &world.me;
        async move { me.ask(request::GET_CONSUMER_RUNNING_INFO, &fields).await }
    };
    let absent = ask("c1").await;
    assert_eq!(absent.code, response::SYSTEM_ERROR);
    assert_eq!(absent.remark.unwrap(), "The Consumer <billing> <c1> not online");

    let gone = world.peer();
    gone.consume("c1", "billing", &["Orders"]).await;
    let silent = world.peer();
    silent.consume("c2", "billing", &["Orders"]).await;
    let leaves = async {
        gone.hears(request::GET_CONSUMER_RUNNING_INFO).await;
        gone.close();
    };
    let (answer, timed_out, ()) = tokio::join!(ask("c1"), ask("c2"), leaves);
    assert_eq!(answer.code, response::SYSTEM_ERROR);
    assert!(
        answer.remark.as_ref().unwrap().starts_with("invoke consumer <billing> <c1> Exception:"),
        "{answer:?}"
    );
    assert_eq!(timed_out.code, response::CONSUME_MSG_TIMEOUT);
}

#[tokio::test]
async fn connections_are_listed_by_group() {
    let world = World::start().await;
    let (consumer, producer) = (world.peer(), world.peer());
    consumer.consume("c1", "billing", &["Orders"]).await;
    producer.produce("p1", "shop").await;

    let consumers =
        body(&world.me.ok(request::GET_CONSUMER_CONNECTION_LIST, &[("consumerGroup", "billing")]).await);
    assert_eq!(consumers["connectionSet"].as_array().unwrap().len(), 1);
    let connection = &consumers["connectionSet"][0];
    assert_eq!((&connection["clientId"], &connection["language"]), (&json!("c1"), &json!("JAVA")));
    assert!(connection["clientAddr"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(consumers["consumeType"], "CONSUME_PASSIVELY");
    assert_eq!(consumers["messageModel"], "CLUSTERING");
    assert_eq!(consumers["subscriptionTable"]["Orders"]["subString"], "*");
    let producers =
        body(&world.me.ok(request::GET_PRODUCER_CONNECTION_LIST, &[("producerGroup", "shop")]).await);
    assert_eq!(producers["connectionSet"][0]["clientId"], "p1");
    let all = body(&world.me.ok(request::GET_ALL_PRODUCER_INFO, &[]).await);
    assert_eq!(all["data"]["shop"][0]["clientId"], "p1");
    assert!(all["data"]["shop"][0]["remoteIP"].as_str().unwrap().starts_with("/127.0.0.1:"), "{all}");

    let nobody = world.me.ask(request::GET_CONSUMER_CONNECTION_LIST, &[("consumerGroup", "x")]).await;
    assert_eq!(nobody.code, response::CONSUMER_NOT_ONLINE);
    let nobody = world.me.ask(request::GET_PRODUCER_CONNECTION_LIST, &[("producerGroup", "x")]).await;
    assert_eq!(nobody.code, response::SYSTEM_ERROR);
}
