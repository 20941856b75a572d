//! Namespaces of both kinds. The older kind makes longer names (`shop%Orders`), which a broker must carry through
//! retries and dead letters; the newer kind stands in two header fields and changes no name.

use crate::support::messages::text;
use crate::support::peer::{borrowed, short_fields};
use crate::support::{Ask, Peer, Situation, eventually, stored};
use wire::code::request as code;
use wire::names;

const TOPIC: &str = "shop%Orders";
const GROUP: &str = "shop%billing";

async fn commit(peer: &Peer, group: &str, topic: &str, offset: &str, extra: &[(&str, &str)]) -> i32 {
    let mut fields =
        vec![("consumerGroup", group), ("topic", topic), ("queueId", "0"), ("commitOffset", offset)];
    fields.extend(extra);
    peer.ask_with(code::UPDATE_CONSUMER_OFFSET, &fields, &[]).await.code
}

async fn committed(peer: &Peer, group: &str, topic: &str) -> Option<String> {
    let fields =
        [("consumerGroup", group), ("topic", topic), ("queueId", "0"), ("setZeroIfNotFound", "false")];
    let answer = peer.ask_with(code::QUERY_CONSUMER_OFFSET, &fields, &[]).await;
    (answer.code == 0).then(|| answer.field("offset").unwrap().to_owned())
}

async fn send_back(peer: &Peer, physical_offset: i64, level: &str) -> i32 {
    let offset = physical_offset.to_string();
    let fields =
        [("offset", offset.as_str()), ("group", GROUP), ("delayLevel", level), ("originTopic", TOPIC)];
    peer.ask_with(code::CONSUMER_SEND_MSG_BACK, &fields, &[]).await.code
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_a_namespace_go_through_retries_and_dead_letters() {
    let situation = Situation::new(&[("messageDelayLevel", "1s 1s")]);
    let house = situation.start().await;
    let peer = house.peer();
    peer.join("c", GROUP, TOPIC, "*").await;
    let properties = text(&[("INSTANCE_ID", "shop")]);
    stored(peer.send_with(TOPIC, 0, b"bought", &properties).await);
    stored(peer.send("mall%Orders", 0, "elsewhere").await);

    let got = peer.read_all(TOPIC, 0).await.remove(0);
    assert_eq!((got.topic.as_str(), got.body.as_str()), (TOPIC, "bought"));
    assert_eq!(got.property("INSTANCE_ID"), Some("shop"));
    assert_eq!(commit(&peer, GROUP, TOPIC, "1", &[]).await, 0);
    assert_eq!(committed(&peer, GROUP, TOPIC).await.as_deref(), Some("1"));
    assert_eq!(committed(&peer, "mall%billing", TOPIC).await, None);

    // The prefix stays in front of the namespace.
    let (retry, dead) = (names::retry_topic(GROUP), names::dlq_topic(GROUP));
    assert_eq!((retry.as_str(), dead.as_str()), ("%RETRY%shop%billing", "%DLQ%shop%billing"));
    assert_eq!(send_back(&peer, got.physical_offset, "1").await, 0);
    eventually("it comes again", async || !peer.read_all(&retry, 0).await.is_empty()).await;
    let again = peer.read_all(&retry, 0).await.remove(0);
    assert_eq!((again.topic.as_str(), again.property("RETRY_TOPIC")), (retry.as_str(), Some(TOPIC)));
    assert_eq!(send_back(&peer, again.physical_offset, "-1").await, 0);
    let buried = peer.read_all(&dead, 0).await.remove(0);
    assert_eq!((buried.body.as_str(), buried.property("RETRY_TOPIC")), ("bought", Some(TOPIC)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_in_header_fields_changes_no_name() {
    const NAMESPACE: [(&str, &str); 2] = [("nsd", "true"), ("ns", "shop")];
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    peer.join("c", "readers", "orders", "*").await;
    // In the short dialect `n` is the broker's name; the namespace keeps its name.
    let mut fields = short_fields("orders", "0", "").to_vec();
    fields.extend(NAMESPACE);
    stored(peer.ask_with(code::SEND_MESSAGE_V2, &fields, b"bought").await);
    let pull = Ask::new("orders", 0, 0).fields();
    let mut fields = borrowed(&pull);
    fields.extend(NAMESPACE);
    let pulled = peer.ask_with(code::PULL_MESSAGE, &fields, &[]).await;
    assert_eq!(pulled.code, 0);
    assert_eq!(commit(&peer, "readers", "orders", "1", &NAMESPACE).await, 0);
    // A client without it sees the same topic and the same group.
    let got = peer.read_all("orders", 0).await;
    assert_eq!(
        got.iter().map(|got| (got.topic.as_str(), got.body.as_str())).collect::<Vec<_>>(),
        [("orders", "bought")]
    );
    assert!(got[0].property("ns").is_none() && got[0].property("INSTANCE_ID").is_none());
    assert_eq!(committed(&peer, "readers", "orders").await.as_deref(), Some("1"));
}
