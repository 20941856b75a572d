//! Request-reply: a reply is pushed over the connection of the client that asked, and stored beside that.

use crate::support::{Peer, World, number};
use remoting::Answer;
use wire::code::{request, response};

const REPLIES: &str = "DefaultCluster_REPLY_TOPIC";

async fn reply(peer: &Peer, to: &str, body: &str) -> Answer {
    reply_with(peer, to, body, "1", "").await
}

async fn reply_with(peer: &Peer, to: &str, body: &str, sys_flag: &str, more: &str) -> Answer {
    let properties = format!(
        "MSG_TYPE\u{1}reply\u{2}CORRELATION_ID\u{1}c-1\u{2}REPLY_TO_CLIENT\u{1}{to}\u{2}TTL\u{1}3000\u{2}{more}"
    );
    let fields = [
        ("a", "repliers"),
        ("b", REPLIES),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", sys_flag),
        ("g", "1700000000000"),
        ("h", "7"),
        ("i", &properties),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
    ];
    peer.ask_with(request::SEND_REPLY_MESSAGE_V2, &fields, body.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pushed_to_the_client_and_stored() {
    let world = World::start().await;
    let asker = Peer::answering(world.address(), |_| Some((response::SUCCESS, Vec::new())));
    asker.produce("asker@1", "askers").await;
    let answer = reply(&world.me, "asker@1", "pong").await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!(number(&answer, "queueOffset"), 0);
    assert_eq!(answer.field("msgId").map(str::len), Some(32));
    let pushed = asker.hears(request::PUSH_REPLY_MESSAGE_TO_CLIENT).await;
    assert_eq!(pushed.body, b"pong");
    for (name, value) in [
        ("producerGroup", "repliers"),
        ("topic", REPLIES),
        ("sysFlag", "1"),
        ("flag", "7"),
        ("bornTimestamp", "1700000000000"),
        ("unitMode", "false"),
    ] {
        assert_eq!(pushed.field(name), Some(value), "{name}");
    }
    let properties = pushed.field("properties").unwrap();
    assert!(
        properties.contains("CORRELATION_ID\u{1}c-1\u{2}") && properties.contains("PUSH_REPLY_TIME\u{1}")
    );
    for name in
        ["bornHost", "storeHost", "storeTimestamp", "defaultTopic", "defaultTopicQueueNums", "queueId"]
    {
        assert!(pushed.field(name).is_some(), "{name}");
    }
    assert_eq!(world.pull("readers", REPLIES, 0, 0).await.bodies(), ["pong"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_to_take_it() {
    let world = World::start_with(&[("storeReplyMessageEnable", "false")]).await;
    let asker = Peer::answering(world.address(), |_| Some((response::SYSTEM_ERROR, Vec::new())));
    asker.produce("unwilling@1", "askers").await;
    for to in ["nobody@1", "unwilling@1", ""] {
        let answer = reply(&world.me, to, "pong").await;
        assert_eq!(answer.code, response::SYSTEM_ERROR, "{to}: {answer:?}");
        assert!(answer.remark.is_some_and(|remark| remark.contains(to)));
    }
    asker.produce("leaver@1", "askers").await;
    asker.close();
    // Whether the broker has noticed or not: nobody takes it.
    assert_eq!(reply(&world.me, "leaver@1", "pong").await.code, response::SYSTEM_ERROR);
    assert_eq!(world.pull("readers", REPLIES, 0, 0).await.messages, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_did_not_arrive_is_stored_all_the_same() {
    let world = World::start().await;
    assert_eq!(reply(&world.me, "nobody@1", "pong").await.code, response::SYSTEM_ERROR);
    assert_eq!(world.pull("readers", REPLIES, 0, 0).await.bodies(), ["pong"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_sender_may_store_no_replier_may() {
    let world = World::start_with(&[("enableLmq", "true"), ("enableMultiDispatch", "true")]).await;
    let asker = Peer::answering(world.address(), |_| Some((response::SUCCESS, Vec::new())));
    asker.produce("asker@1", "askers").await;
    for (sys_flag, more) in [
        ("128", ""),
        ("192", "INNER_NUM\u{1}1000\u{2}"),
        ("4", ""),
        ("0", "INNER_MULTI_DISPATCH\u{1}%LMQ%a,no-light-queue\u{2}"),
    ] {
        let answer = reply_with(&world.me, "asker@1", "pong", sys_flag, more).await;
        assert_eq!(answer.code, response::MESSAGE_ILLEGAL, "{sys_flag} {more}: {answer:?}");
    }
    let forged = "CLUSTER\u{1}another\u{2}INNER_MULTI_QUEUE_OFFSET\u{1}7\u{2}KEYS\u{1}k\u{2}";
    assert_eq!(reply_with(&world.me, "asker@1", "pong", "0", forged).await.code, response::SUCCESS);
    // Zeros that a crash could have left are not stored; who asked has its answer none the less.
    let zero =
        reply_with(&world.me, "asker@1", "zeros", "0", &format!("KEYS\u{1}{}k", "\0".repeat(511))).await;
    assert_eq!((zero.code, number(&zero, "queueOffset")), (response::SUCCESS, 0));
    let stored = world.pull("readers", REPLIES, 0, 0).await;
    assert_eq!(stored.bodies(), ["pong"]);
    let names: Vec<_> = stored.messages[0].properties.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"KEYS") && !names.contains(&"CLUSTER"), "{names:?}");
}
