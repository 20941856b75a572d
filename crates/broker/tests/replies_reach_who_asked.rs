//! Request-reply: a reply is pushed over the connection of the client that asked, and stored beside that.

use crate::support::{Peer, World, number};
use remoting::Answer;
use wire::code::{request, response};

const REPLIES: &str = "DefaultCluster_REPLY_TOPIC";

async fn reply(peer: &Peer, to: &str, body: &str) -> Answer {
    let properties = format!(
        "MSG_TYPE\u{1}reply\u{2}CORRELATION_ID\u{1}c-1\u{2}REPLY_TO_CLIENT\u{1}{to}\u{2}TTL\u{1}3000\u{2}"
    );
    let fields = [
        ("a", "repliers"),
        ("b", REPLIES),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "1"),
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
