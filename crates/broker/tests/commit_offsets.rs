//! How far a group has come: committed, asked for, and still known after a restart.

use std::time::SystemTime;

use crate::support::peer::borrowed;
use crate::support::pops::{POP, Pop};
use crate::support::{Ask, Peer, Situation, World, eventually, number, stored};
use wire::code::request as code;

fn asked(group: &str, topic: &str, queue: i32) -> [(&'static str, String); 3] {
    [("consumerGroup", group.to_owned()), ("topic", topic.to_owned()), ("queueId", queue.to_string())]
}

/// The committed offset; `None` is QUERY_NOT_FOUND.
async fn committed(peer: &Peer, group: &str, queue: i32, zero_if_not_found: bool) -> Option<i64> {
    let mut fields = asked(group, "orders", queue).to_vec();
    fields.push(("setZeroIfNotFound", zero_if_not_found.to_string()));
    let answer = peer.ask_with(code::QUERY_CONSUMER_OFFSET, &borrowed(&fields), &[]).await;
    match answer.code {
        0 => Some(number(&answer, "offset")),
        22 => None,
        _ => panic!("{answer:?}"),
    }
}

async fn commit(peer: &Peer, group: &str, topic: &str, queue: i32, offset: i64) -> i32 {
    let mut fields = asked(group, topic, queue).to_vec();
    fields.push(("commitOffset", offset.to_string()));
    peer.ask_with(code::UPDATE_CONSUMER_OFFSET, &borrowed(&fields), &[]).await.code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_is_not_found_unless_the_whole_queue_is_young() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    assert_eq!(committed(&peer, "readers", 0, true).await, None, "there is no such topic");
    stored(peer.send("orders", 0, "x").await);
    assert_eq!(committed(&peer, "readers", 0, true).await, Some(0));
    assert_eq!(committed(&peer, "readers", 0, false).await, None);
    assert_eq!(committed(&peer, "readers", 4, true).await, None, "there is no such queue");
}

/// "Not found" would have a client ask for the end next, and go past what was sent in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_begins_at_the_first_message_that_comes_to_an_empty_queue() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "x").await);
    assert_eq!(committed(&peer, "readers", 1, true).await, Some(0), "nothing was ever sent to it");
    assert_eq!(committed(&peer, "readers", 1, false).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_commit_wins_and_belongs_to_its_group_and_queue() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "x").await);
    for group in ["readers", "others"] {
        peer.join("c", group, "orders", "*").await;
    }
    assert_eq!(commit(&peer, "readers", "orders", 0, 5).await, 0);
    assert_eq!(commit(&peer, "readers", "orders", 1, 7).await, 0);
    assert_eq!(committed(&peer, "readers", 0, false).await, Some(5));
    assert_eq!(commit(&peer, "readers", "orders", 0, 3).await, 0, "going back is allowed");
    assert_eq!(committed(&peer, "readers", 0, false).await, Some(3));
    assert_eq!(committed(&peer, "readers", 1, false).await, Some(7));
    assert_eq!(committed(&peer, "others", 0, false).await, None);
    // Consumers most often commit with their pulls.
    peer.pull(&Ask::new("orders", 0, 1).committing(9)).await;
    assert_eq!(committed(&peer, "readers", 0, false).await, Some(9));
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_make_no_sense_are_refused() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "x").await);
    peer.join("c", "readers", "orders", "*").await;
    assert_eq!(commit(&peer, "strangers", "orders", 0, 1).await, 26);
    assert_eq!(commit(&peer, "readers", "nowhere", 0, 1).await, 17);
    let fields = asked("readers", "orders", 0);
    assert_eq!(peer.ask_with(code::UPDATE_CONSUMER_OFFSET, &borrowed(&fields), &[]).await.code, 29);
    let fields = [("consumerGroup", "readers"), ("topic", "orders"), ("commitOffset", "1")];
    assert_eq!(peer.ask_with(code::UPDATE_CONSUMER_OFFSET, &fields, &[]).await.code, 29);
    assert_eq!(committed(&peer, "readers", 0, false).await, None);
}

/// Each would be an entry more in the table, which is saved every few seconds.
#[tokio::test(flavor = "multi_thread")]
async fn commits_of_queues_that_there_are_not_are_refused() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "x").await);
    peer.join("c", "readers", "orders", "*").await;
    for queue in [-1, 4, 100, i32::MAX] {
        assert_eq!(commit(&peer, "readers", "orders", queue, 1).await, 29, "{queue}");
        assert_eq!(committed(&peer, "readers", queue, false).await, None);
    }
    assert_eq!(commit(&peer, "readers", "orders", 3, 1).await, 0);
    // Where these stand says what a start reads.
    for group in ["CID_RMQ_SYS_REVIVE_GROUP", "CID_RMQ_SYS_TRANS"] {
        peer.join("c", group, "orders", "*").await;
        assert_eq!(commit(&peer, group, "orders", 0, 1).await, 29, "{group}");
    }
}

/// Where these stand says what a start reads.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_moves_the_places_that_the_broker_keeps_for_itself() {
    let world = World::start().await;
    world.create_topic("orders", 1).await;
    world.send("orders", 0, "x").await;
    for own in ["CID_RMQ_SYS_REVIVE_GROUP", "CID_RMQ_SYS_TRANS"] {
        world.me.join("c", own, "orders", "*").await;
        let reset = [("group", own), ("topic", "orders"), ("timestamp", "0"), ("isForce", "true")];
        let clone = [("srcGroup", "readers"), ("destGroup", own), ("topic", "orders"), ("offline", "true")];
        let delete = [("groupName", own), ("cleanOffset", "true")];
        let pop = Pop { group: own, ..POP }.fields();
        let now_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        // As of an orderly delivery, whose acknowledgement moves the group.
        let handle = format!("0 {now_ms} 60000 999 0 broker-a 0 0");
        let ack = [
            ("consumerGroup", own),
            ("topic", "orders"),
            ("queueId", "0"),
            ("extraInfo", handle.as_str()),
            ("offset", "0"),
            ("invisibleTime", "1000"),
        ];
        for (code, fields) in [
            (code::INVOKE_BROKER_TO_RESET_OFFSET, &reset[..]),
            (code::CLONE_GROUP_OFFSET, &clone),
            (code::DELETE_SUBSCRIPTIONGROUP, &delete),
            (code::POP_MESSAGE, &pop),
            (code::ACK_MESSAGE, &ack),
            (code::CHANGE_MESSAGE_INVISIBLETIME, &ack),
        ] {
            let answer = world.me.ask(code, fields).await;
            assert_eq!(answer.code, 29, "{own}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_was_taken_away_is_read_to_its_end() {
    let world = World::start().await;
    world.create_topic("orders", 4).await;
    world.create_group("readers").await;
    world.send("orders", 3, "x").await;
    world.create_topic("orders", 2).await;
    assert_eq!(world.commit("readers", "orders", 3, 1).await.code, 0);
    assert_eq!(world.committed("readers", "orders", 3).await, Some(1));
    assert_eq!(world.commit("readers", "orders", 2, 1).await.code, 29, "nothing was ever in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_there_after_a_stop_and_after_a_kill() {
    let keys = [("flushConsumerOffsetInterval", "20")];
    let situation = Situation::new(&keys);
    let house = situation.start().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "x").await);
    peer.join("c", "readers", "orders", "*").await;
    commit(&peer, "readers", "orders", 0, 11).await;
    let path = situation.path("config/consumerOffset.json");
    eventually("the offset is in the file", async || {
        let files = situation.disk.files();
        files.get(&path).is_some_and(|bytes| String::from_utf8_lossy(bytes).contains("11"))
    })
    .await;
    let killed = situation.after_kill();
    let restarted = killed.start().await;
    let peer = restarted.peer();
    assert_eq!(committed(&peer, "readers", 0, false).await, Some(11));
    commit(&peer, "readers", "orders", 0, 12).await;
    commit(&peer, "readers", "orders", 3, 1).await;
    restarted.stop().await.unwrap();
    let restarted = killed.after_kill().start().await;
    let peer = restarted.peer();
    assert_eq!(committed(&peer, "readers", 0, false).await, Some(12));
    assert_eq!(committed(&peer, "readers", 3, false).await, Some(1));
}

/// Taken for 0 it would have the group read all of its queue again.
#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_commits_no_number_moves_nothing() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "x").await);
    peer.pull(&Ask::new("orders", 0, 1).committing(1)).await;
    for text in ["", "one", "9223372036854775808"] {
        let mut fields = Ask::new("orders", 0, 1).committing(7).fields().to_vec();
        fields.retain(|(name, _)| *name != "commitOffset" || !text.is_empty());
        for (_, value) in fields.iter_mut().filter(|(name, _)| *name == "commitOffset") {
            *value = text.to_owned();
        }
        let answer = peer.ask(code::PULL_MESSAGE, &borrowed(&fields)).await;
        assert_eq!(answer.code, 1, "{text:?}: {answer:?}");
        assert_eq!(committed(&peer, "readers", 0, false).await, Some(1), "{text:?}");
    }
}
