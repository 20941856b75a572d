//! A consumer that fails sends messages back: they come again later, and in the end to the dead letters.

use std::time::{Duration, Instant};

use crate::support::messages::{Got, bodies, text};
use crate::support::peer::{borrowed, short_fields};
use crate::support::{Peer, Situation, eventually, remark, stored};
use wire::code::request as code;
use wire::ids::OffsetId;
use wire::properties as props;

const RETRY: &str = "%RETRY%readers";
const DEAD: &str = "%DLQ%readers";

/// Two levels, so that the third retry's level is beyond them and means the last.
fn situation() -> Situation {
    Situation::new(&[("messageDelayLevel", "1s 1s")])
}

async fn send_back(peer: &Peer, message: &Got, level: i32, max: i32) -> i32 {
    let fields = [
        ("offset", message.physical_offset.to_string()),
        ("group", "readers".to_owned()),
        ("delayLevel", level.to_string()),
        ("originTopic", message.topic.clone()),
        ("maxReconsumeTimes", max.to_string()),
    ];
    peer.ask_with(code::CONSUMER_SEND_MSG_BACK, &borrowed(&fields), &[]).await.code
}

/// The message at `index` of a topic's first queue, once it is there.
async fn comes(peer: &Peer, topic: &str, index: usize) -> Got {
    let mut found = None;
    eventually("the message comes", async || {
        found = peer.read_all(topic, 0).await.into_iter().nth(index);
        found.is_some()
    })
    .await;
    found.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_retried_and_then_dead() {
    let situation = situation();
    let house = situation.start().await;
    let peer = house.peer();
    peer.join("c", "readers", "orders", "*").await;
    let properties = text(&[("TAGS", "red"), ("KEYS", "k1"), ("user", "value")]);
    let sent = stored(peer.send_with("orders", 2, b"poison", &properties).await);
    let origin = sent.field("msgId").unwrap().to_owned();
    let unique_key = sent.field("transactionId").unwrap().to_owned();
    let mut message = peer.read_all("orders", 2).await.remove(0);
    assert_eq!(OffsetId::parse(&origin).unwrap().offset, message.physical_offset as u64);
    for times in 1..=2 {
        let since = Instant::now();
        assert_eq!(send_back(&peer, &message, 0, 2).await, 0);
        assert_eq!(peer.read_all(RETRY, 0).await.len(), times - 1, "it must wait first");
        message = comes(&peer, RETRY, times - 1).await;
        // The clock of the store has milliseconds; the sender's watch has more.
        assert!(since.elapsed() > Duration::from_millis(990), "early, after {:?}", since.elapsed());
        assert_eq!((message.reconsume_times, message.body.as_str()), (times as i32, "poison"));
        for (name, value) in [
            (props::RETRY_TOPIC, "orders"),
            (props::ORIGIN_MESSAGE_ID, &origin),
            (props::UNIQ_KEY, &unique_key),
            ("TAGS", "red"),
            ("KEYS", "k1"),
            ("user", "value"),
        ] {
            assert_eq!(message.property(name), Some(value), "{name} after {times}");
        }
    }
    assert_eq!(send_back(&peer, &message, 0, 2).await, 0);
    // Dead letters wait for nothing.
    let dead = peer.read_all(DEAD, 0).await.remove(0);
    assert_eq!((dead.body.as_str(), dead.reconsume_times), ("poison", 3));
    assert_eq!(dead.property(props::RETRY_TOPIC), Some("orders"));
    assert_eq!(dead.property(props::ORIGIN_MESSAGE_ID), Some(origin.as_str()));
    assert_eq!(dead.property(props::UNIQ_KEY), Some(unique_key.as_str()));
    assert_eq!(peer.read_all("orders", 2).await.len(), 1, "the original stays alone in its queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_negative_level_is_dead_at_once_and_other_groups_are_not_concerned() {
    let situation = situation();
    let house = situation.start().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "hopeless").await);
    let message = peer.read_all("orders", 0).await.remove(0);
    assert_eq!(send_back(&peer, &message, -1, 16).await, 0);
    assert_eq!(bodies(&peer.read_all(DEAD, 0).await), ["hopeless"]);
    for topic in ["%DLQ%others", "%RETRY%others"] {
        let fields = [("topic", topic), ("queueId", "0")];
        assert_eq!(peer.ask_with(code::GET_MAX_OFFSET, &fields, &[]).await.field("offset"), Some("0"));
    }
}

/// What clients do when the broker cannot be asked to take a message back: they send it to the retry topic themselves.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_retries_by_itself_ends_in_the_dead_letters_too() {
    let situation = situation();
    let house = situation.start().await;
    let peer = house.peer();
    peer.join("c", "readers", "orders", "*").await;
    let properties = text(&[("DELAY", "1"), (props::RETRY_TOPIC, "orders")]);
    let mut fields = short_fields(RETRY, "0", &properties).to_vec();
    fields.push(("l", "2"));
    for (times, topic) in [("1", RETRY), ("3", DEAD)] {
        fields[9].1 = times;
        stored(peer.ask_with(code::SEND_MESSAGE_V2, &fields, times.as_bytes()).await);
        let message = comes(&peer, topic, 0).await;
        assert_eq!((message.body.as_str(), message.reconsume_times.to_string().as_str()), (times, times));
    }
    let dead = comes(&peer, DEAD, 0).await;
    assert_eq!(dead.property(props::DELAY), Some("-1"));
    // Of a group that nobody knows there is no retry topic.
    let mut fields = short_fields("%RETRY%strangers", "0", "").to_vec();
    fields.push(("l", "2"));
    assert_eq!(peer.ask_with(code::SEND_MESSAGE_V2, &fields, b"x").await.code, 26);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_the_log_cannot_be_sent_back() {
    let situation = situation();
    let house = situation.start().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "there").await);
    let message = peer.read_all("orders", 0).await.remove(0);
    for offset in ["1", "17", "100000", "9223372036854775807", "-1", "x", ""] {
        let fields = [("offset", offset), ("group", "readers"), ("delayLevel", "0")];
        let answer = peer.ask_with(code::CONSUMER_SEND_MSG_BACK, &fields, &[]).await;
        assert_eq!(answer.code, 1, "{offset}: {answer:?}");
        assert!(!remark(&answer).is_empty());
    }
    let offset = message.physical_offset.to_string();
    let fields = [("offset", offset.as_str()), ("group", "a/b"), ("delayLevel", "0")];
    assert_eq!(peer.ask_with(code::CONSUMER_SEND_MSG_BACK, &fields, &[]).await.code, 26);
}
