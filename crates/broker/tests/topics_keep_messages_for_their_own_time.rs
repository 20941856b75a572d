//! `retention.ms`: what clients see of a topic that keeps its messages for a shorter time than the log.

use std::time::Duration;

use crate::support::messages::bodies;
use crate::support::peer::topic_fields;
use crate::support::{Ask, House, Peer, Situation, eventually, number, records, remark};
use remoting::Answer;
use wire::code::request as code;

const HOUR: Duration = Duration::from_secs(3600);

async fn update(peer: &Peer, topic: &str, attributes: &str) -> Answer {
    peer.ask(code::UPDATE_AND_CREATE_TOPIC, &topic_fields(topic, "1", attributes)).await
}

async fn updated(peer: &Peer, topic: &str, attributes: &str) {
    let answer = update(peer, topic, attributes).await;
    assert_eq!(answer.code, 0, "{answer:?}");
}

async fn min(peer: &Peer, topic: &str) -> i64 {
    let queue = [("topic", topic), ("queueId", "0")];
    number(&peer.ask_with(code::GET_MIN_OFFSET, &queue, &[]).await, "offset")
}

/// Ten messages to each of two topics, an hour apart.
async fn ten_hours(situation: &Situation) -> House {
    let house = situation.start_in_its_time().await;
    let peer = house.peer();
    for topic in ["short", "long"] {
        updated(&peer, topic, "").await;
    }
    for hour in 0..10 {
        for topic in ["short", "long"] {
            peer.store(topic, 0, &hour.to_string()).await;
        }
        situation.clock.advance(HOUR);
    }
    house
}

fn situation() -> Situation {
    Situation::new(&[("cleanResourceInterval", "100"), ("messageIndexEnable", "true")])
}

#[tokio::test(flavor = "multi_thread")]
async fn all_answers_begin_behind_what_is_too_old() {
    let situation = situation();
    let house = ten_hours(&situation).await;
    let peer = house.peer();
    let oldest = peer.read_all("short", 0).await.remove(0);
    // Three hours and a half.
    updated(&peer, "short", "+retention.ms=12600000").await;
    assert_eq!((min(&peer, "short").await, min(&peer, "long").await), (7, 0));
    let moved = peer.pull(&Ask::new("short", 0, 2)).await;
    assert_eq!((moved.code, number(&moved, "nextBeginOffset")), (21, 7), "{moved:?}");
    assert_eq!(number(&moved, "minOffset"), 7);
    let rest = peer.pull(&Ask::new("short", 0, 7)).await;
    assert_eq!(bodies(&records(&rest.body)), ["7", "8", "9"]);
    let early = [("topic", "short"), ("queueId", "0"), ("timestamp", "0")];
    assert_eq!(number(&peer.ask_with(code::SEARCH_OFFSET_BY_TIMESTAMP, &early, &[]).await, "offset"), 7);
    let stats = peer.ask_with(code::GET_TOPIC_STATS_INFO, &[("topic", "short")], &[]).await;
    let stats = String::from_utf8(stats.body.to_vec()).unwrap();
    assert!(stats.contains("\"maxOffset\":10,\"minOffset\":7"), "{stats}");
    let by_id = [("offset", oldest.physical_offset.to_string())];
    let by_id: Vec<_> = by_id.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_ne!(peer.ask_with(code::VIEW_MESSAGE_BY_ID, &by_id, &[]).await.code, 0);
    // Time goes on; the cleaner moves the beginning, nobody else.
    situation.clock.advance(HOUR);
    eventually("the eighth goes too", async || min(&peer, "short").await == 8).await;
    assert_eq!(min(&peer, "long").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_the_same_beginning_and_taking_it_back_shows_what_is_there() {
    let situation = situation();
    let house = ten_hours(&situation).await;
    updated(&house.peer(), "short", "+retention.ms=12600000").await;
    house.stop().await.unwrap();
    let house = situation.start_in_its_time().await;
    let peer = house.peer();
    assert_eq!(min(&peer, "short").await, 7, "before the first round of the cleaner");
    updated(&peer, "short", "+message.type=FIFO").await;
    assert_eq!(min(&peer, "short").await, 7, "other changes leave it alone");
    updated(&peer, "short", "+retention.ms=-1").await;
    assert_eq!(min(&peer, "short").await, 0);
    updated(&peer, "short", "+retention.ms=12600000").await;
    assert_eq!(min(&peer, "short").await, 7);
    updated(&peer, "short", "-retention.ms").await;
    assert_eq!(peer.read_all("short", 0).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_leaves_nothing_to_its_namesake() {
    let situation = situation();
    let house = ten_hours(&situation).await;
    let peer = house.peer();
    updated(&peer, "short", "+retention.ms=12600000").await;
    assert_eq!(peer.ask_with(code::DELETE_TOPIC_IN_BROKER, &[("topic", "short")], &[]).await.code, 0);
    updated(&peer, "short", "").await;
    peer.store("short", 0, "new").await;
    situation.clock.advance(HOUR * 10);
    peer.store("short", 0, "newer").await;
    assert_eq!(bodies(&peer.read_all("short", 0).await), ["new", "newer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shared_log_cannot_keep_is_not_promised() {
    let situation = Situation::new(&[("fileReservedTime", "48")]);
    let house = situation.start_in_its_time().await;
    let peer = house.peer();
    updated(&peer, "orders", "+retention.ms=172800000").await;
    let refused = update(&peer, "orders", "+retention.ms=172800001").await;
    assert_eq!(refused.code, 1);
    assert!(remark(&refused).contains("longer than this broker keeps its log"), "{refused:?}");
    for value in ["0", "-2", "1h", ""] {
        let refused = update(&peer, "orders", &format!("+retention.ms={value}")).await;
        assert_eq!(refused.code, 1, "{value}: {refused:?}");
    }
    let refused = update(&peer, "orders", "+reserve.time=24").await;
    assert!(remark(&refused).contains("tiered storage"), "{refused:?}");
    // A log that is kept for a shorter time from now on does not stand in the way of other changes.
    let changed = peer.ask_with(code::UPDATE_BROKER_CONFIG, &[], b"fileReservedTime=24").await;
    assert_eq!(changed.code, 0, "{changed:?}");
    updated(&peer, "orders", "+message.type=NORMAL").await;
    assert_eq!(update(&peer, "orders", "+retention.ms=172800000").await.code, 0, "it is that already");
    assert_eq!(update(&peer, "others", "+retention.ms=172800000").await.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_compacted_topic_cannot_keep_is_not_promised() {
    let situation = Situation::new(&[]);
    let house = situation.start_in_its_time().await;
    let peer = house.peer();
    let refused = update(&peer, "prices", "+cleanup.policy=COMPACTION,+retention.ms=3600000").await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(remark(&refused).contains("stays however old it is; leave retention.ms away"), "{refused:?}");
    updated(&peer, "prices", "+cleanup.policy=COMPACTION,+retention.ms=-1").await;
    assert_eq!(update(&peer, "prices", "+retention.ms=3600000").await.code, 1);
    updated(&peer, "prices", "+cleanup.policy=COMPACTION,-retention.ms").await;
    updated(&peer, "orders", "+cleanup.policy=DELETE,+retention.ms=3600000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_of_mixed_types_need_a_setting() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    let refused = update(&peer, "orders", "+message.type=MIXED").await;
    assert_eq!(refused.code, 29);
    assert!(remark(&refused).starts_with("MIXED message type is not supported."), "{refused:?}");
    peer.ask_with(code::UPDATE_BROKER_CONFIG, &[], b"enableMixedMessageType=true").await;
    updated(&peer, "orders", "+message.type=MIXED").await;
}
