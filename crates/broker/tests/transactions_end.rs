//! Half messages end: by commit, by rollback, by the answer to a check, or among the discarded; across restarts too.

use std::time::Duration;

use crate::support::{Asked, PATIENCE, Peer, Sent, World, number, records};
use remoting::Answer;
use wire::code::{request, response};
use wire::ids::OffsetId;

const COMMIT: &str = "8";
const ROLLBACK: &str = "12";
const HALVES: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const OPS: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
const DISCARDED: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

/// Checks come quickly, but not at once.
const QUICK: [(&str, &str); 2] = [("transactionCheckInterval", "50"), ("transactionTimeOut", "20")];

/// Sends a half message of group `payers` with further properties.
async fn half(world: &World, body: &str, more: &[(&str, &str)]) -> Sent {
    let mut properties = vec![("TRAN_MSG", "true"), ("PGROUP", "payers"), ("TAGS", "paid")];
    properties.extend(more);
    world.send_with("orders", 1, body, &properties).await
}

async fn end(peer: &Peer, half: &Sent, how: &str) -> Answer {
    let physical = OffsetId::parse(&half.offset_id).expect("an offset id").offset.to_string();
    end_at(peer, &half.queue_offset.to_string(), &physical, how, "false").await
}

async fn end_at(peer: &Peer, offset: &str, physical: &str, how: &str, from_check: &str) -> Answer {
    let fields = [
        ("producerGroup", "payers"),
        ("tranStateTableOffset", offset),
        ("commitLogOffset", physical),
        ("commitOrRollback", how),
        ("fromTransactionCheck", from_check),
        ("msgId", "id"),
        ("transactionId", "id"),
    ];
    peer.ask(request::END_TRANSACTION, &fields).await
}

/// Answers the question as clients do: with its own numbers.
async fn answer_check(peer: &Peer, asked: &Asked, how: &str) -> Answer {
    let field = |name| asked.field(name).expect("a field of every check");
    end_at(peer, field("tranStateTableOffset"), field("commitLogOffset"), how, "true").await
}

async fn bodies(world: &World, topic: &str, queue_id: i32) -> Vec<String> {
    let pulled = world.pull("readers", topic, queue_id, 0).await;
    pulled.bodies().into_iter().map(str::to_owned).collect()
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_once_and_seen_only_then() {
    let world = World::start().await;
    world.create_topic("orders", 2).await;
    let sent = half(&world, "a", &[("own", "value"), ("REAL_TOPIC", "elsewhere")]).await;
    assert_eq!((sent.queue_id, sent.queue_offset), (1, 0));
    assert!(bodies(&world, "orders", 1).await.is_empty(), "half messages are not for consumers");
    let parked = world.pull("readers", HALVES, 0, 0).await.messages.remove(0);
    for (name, value) in
        [("REAL_TOPIC", "orders"), ("REAL_QID", "1"), ("__transactionId__", sent.unique_key.as_str())]
    {
        assert_eq!(parked.property(name), Some(value));
    }
    assert_eq!(end(&world.me, &sent, COMMIT).await.code, response::SUCCESS);
    let got = world.pull("readers", "orders", 1, 0).await.messages;
    assert_eq!(got.len(), 1);
    assert_eq!((got[0].body.as_str(), got[0].topic.as_str()), ("a", "orders"));
    assert_eq!(got[0].property("UNIQ_KEY"), Some(sent.unique_key.as_str()));
    assert_eq!((got[0].property("own"), got[0].property("TRAN_MSG")), (Some("value"), Some("true")));
    assert_eq!((got[0].property("REAL_TOPIC"), got[0].property("REAL_QID")), (None, None));
    let op = world.pull("readers", OPS, 0, 0).await.messages.remove(0);
    assert_eq!((op.body.as_str(), op.property("TAGS")), ("0", Some("d")), "as every Java reads it");
    for how in [COMMIT, ROLLBACK] {
        assert_eq!(end(&world.me, &sent, how).await.code, response::SYSTEM_ERROR);
    }
    assert_eq!(bodies(&world, "orders", 1).await, ["a"], "a second answer changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_transactions_nothing_is_written_about_them() {
    let world = World::start_with(&QUICK).await;
    world.create_topic("orders", 2).await;
    world.send("orders", 0, "x").await;
    // Some rounds of checks, if there were any.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.committed("CID_RMQ_SYS_TRANS", HALVES, 0).await, None);
    assert!(!world.directory().join("config/transactionChecks.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_and_never_seen() {
    let world = World::start_with(&QUICK).await;
    world.create_topic("orders", 2).await;
    world.me.produce("p1", "payers").await;
    let sent = half(&world, "a", &[]).await;
    assert_eq!(end(&world.me, &sent, ROLLBACK).await.code, response::SUCCESS);
    assert_eq!(end(&world.me, &sent, COMMIT).await.code, response::SYSTEM_ERROR);
    let other = half(&world, "b", &[]).await;
    let asked = world.me.hears(request::CHECK_TRANSACTION_STATE).await;
    assert_eq!(asked.field("msgId"), Some(other.unique_key.as_str()), "only the open one is asked about");
    assert!(bodies(&world, "orders", 1).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_did_not_know_is_asked_and_commits() {
    let world = World::start_with(&QUICK).await;
    world.create_topic("orders", 2).await;
    world.me.produce("p1", "payers").await;
    let sent = half(&world, "a", &[]).await;
    let asked = world.me.hears(request::CHECK_TRANSACTION_STATE).await;
    for (name, value) in [
        ("topic", HALVES),
        ("msgId", &sent.unique_key),
        ("transactionId", &sent.unique_key),
        ("offsetMsgId", &sent.offset_id),
        ("tranStateTableOffset", "0"),
    ] {
        assert_eq!(asked.field(name), Some(value), "{name}");
    }
    let shown = records(&asked.body).remove(0);
    assert_eq!((shown.topic.as_str(), shown.body.as_str(), shown.queue_offset), ("orders", "a", 0));
    assert_eq!(shown.property("PGROUP"), Some("payers"));
    assert_eq!(shown.property("TRANSACTION_CHECK_TIMES"), Some("1"));
    assert_eq!(answer_check(&world.me, &asked, COMMIT).await.code, response::SUCCESS);
    let got = world.pull("readers", "orders", 1, 0).await.messages;
    assert_eq!(got.len(), 1);
    assert!(got[0].property("TRANSACTION_CHECK_TIMES").is_some());
    // Nobody needs to read the half message again.
    eventually("the positions follow", async || {
        world.committed("CID_RMQ_SYS_TRANS", HALVES, 0).await == Some(1)
            && world.committed("CID_RMQ_SYS_TRANS", OPS, 0).await == Some(1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_producer_of_the_group_answers_for_one_that_is_gone() {
    let world = World::start_with(&QUICK).await;
    world.create_topic("orders", 2).await;
    let dying = world.peer();
    dying.produce("p1", "payers").await;
    let properties = [("TRAN_MSG", "true"), ("PGROUP", "payers")];
    assert_eq!(dying.try_send("orders", 1, b"a", &properties).await.code, response::SUCCESS);
    dying.close();
    let other = world.peer();
    other.produce("p2", "payers").await;
    let asked = other.hears(request::CHECK_TRANSACTION_STATE).await;
    assert_eq!(answer_check(&other, &asked, COMMIT).await.code, response::SUCCESS);
    assert_eq!(bodies(&world, "orders", 1).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_ones_are_asked_about_after_a_restart_and_ended_ones_are_not() {
    let world = World::start_with(&QUICK).await;
    world.create_topic("orders", 2).await;
    let committed = half(&world, "committed", &[]).await;
    let open = half(&world, "open", &[]).await;
    let rolled_back = half(&world, "rolled back", &[]).await;
    end(&world.me, &committed, COMMIT).await;
    end(&world.me, &rolled_back, ROLLBACK).await;
    let world = world.restart().await;
    let metrics = std::fs::read_to_string(world.directory().join("config/transactionMetrics")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!(metrics["transactionCount"]["orders"]["count"], 1);
    world.me.produce("p1", "payers").await;
    let asked = world.me.hears(request::CHECK_TRANSACTION_STATE).await;
    assert_eq!(asked.field("msgId"), Some(open.unique_key.as_str()));
    for ended in [&committed, &rolled_back] {
        assert_eq!(end(&world.me, ended, COMMIT).await.code, response::SYSTEM_ERROR);
    }
    assert_eq!(answer_check(&world.me, &asked, COMMIT).await.code, response::SUCCESS);
    assert_eq!(bodies(&world, "orders", 1).await, ["committed", "open"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_until_it_is_discarded_and_an_administrator_brings_it_back() {
    let mut keys = QUICK.to_vec();
    keys.push(("transactionCheckMax", "2"));
    let world = World::start_with(&keys).await;
    world.create_topic("orders", 2).await;
    // Nobody has sent a heartbeat: each round counts all the same.
    half(&world, "a", &[]).await;
    eventually("it is discarded", async || bodies(&world, DISCARDED, 0).await == ["a"]).await;
    let discarded = world.pull("readers", DISCARDED, 0, 0).await.messages.remove(0);
    assert_eq!(discarded.property("TRANSACTION_CHECK_TIMES"), Some("2"));
    assert_eq!(discarded.property("REAL_TOPIC"), Some("orders"));
    world.me.produce("p1", "payers").await;
    let OffsetId { store_host, .. } = OffsetId::parse(&half(&world, "b", &[]).await.offset_id).unwrap();
    let id = OffsetId { store_host, offset: discarded.physical_offset as u64 }.to_string();
    world.me.ok(request::RESUME_CHECK_HALF_MESSAGE, &[("msgId", &id)]).await;
    loop {
        let asked = world.me.hears(request::CHECK_TRANSACTION_STATE).await;
        if records(&asked.body)[0].body == "a" {
            assert_eq!(answer_check(&world.me, &asked, COMMIT).await.code, response::SUCCESS);
            break;
        }
    }
    assert_eq!(bodies(&world, "orders", 1).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_delay_begins_at_the_commit() {
    let world = World::start_with(&[("messageDelayLevel", "1s")]).await;
    world.create_topic("orders", 2).await;
    let sent = half(&world, "later", &[("DELAY", "1")]).await;
    let committed = std::time::Instant::now();
    assert_eq!(end(&world.me, &sent, COMMIT).await.code, response::SUCCESS);
    eventually("it comes", async || bodies(&world, "orders", 1).await == ["later"]).await;
    assert!(committed.elapsed() > Duration::from_millis(950), "{:?}", committed.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decided_is_refused() {
    let world = World::start().await;
    world.create_topic("orders", 2).await;
    let sent = half(&world, "a", &[]).await;
    let ordinary = world.send("orders", 0, "x").await;
    let physical = |sent: &Sent| OffsetId::parse(&sent.offset_id).unwrap().offset.to_string();
    let cases = [
        ("1".to_owned(), physical(&sent), "another offset in the half queue"),
        ("0".to_owned(), physical(&ordinary), "no half message"),
        ("0".to_owned(), "123456789".to_owned(), "nothing there"),
        ("0".to_owned(), "-1".to_owned(), "no offset"),
    ];
    for (offset, physical, what) in cases {
        let answer = end_at(&world.me, &offset, &physical, COMMIT, "false").await;
        assert_eq!(answer.code, response::SYSTEM_ERROR, "{what}");
    }
    assert_eq!(end(&world.me, &sent, "4").await.code, response::SYSTEM_ERROR, "neither commit nor rollback");
    let mut fields = vec![("producerGroup", "thieves"), ("tranStateTableOffset", "0")];
    let at = physical(&sent);
    fields.extend([("commitLogOffset", at.as_str()), ("commitOrRollback", COMMIT)]);
    assert_eq!(world.me.ask(request::END_TRANSACTION, &fields).await.code, response::SYSTEM_ERROR);
    let late = half(&world, "b", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "1")]).await;
    // The helper's messages were born in 2023.
    assert_eq!(end(&world.me, &late, COMMIT).await.code, response::ILLEGAL_OPERATION);
    assert_eq!(
        end(&world.me, &sent, COMMIT).await.code,
        response::SUCCESS,
        "and this one was open all along"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn half_messages_that_nobody_could_end_are_not_taken() {
    let world = World::start_with(&[("thrust.maxOpenTransactions", "1")]).await;
    world.create_topic("orders", 2).await;
    let orphan = world.me.try_send("orders", 0, b"x", &[("TRAN_MSG", "true")]).await;
    assert_eq!(orphan.code, response::MESSAGE_ILLEGAL);
    let first = half(&world, "a", &[]).await;
    let properties = [("TRAN_MSG", "true"), ("PGROUP", "payers")];
    let second = world.me.try_send("orders", 0, b"x", &properties).await;
    assert_eq!(second.code, response::SYSTEM_BUSY, "{second:?}");
    end(&world.me, &first, ROLLBACK).await;
    assert_eq!(number(&world.me.try_send("orders", 0, b"x", &properties).await, "queueOffset"), 1);
    let world = World::start_with(&[("rejectTransactionMessage", "true")]).await;
    let refused = world.me.try_send("orders", 0, b"x", &properties).await;
    assert_eq!(refused.code, response::NO_PERMISSION);
}
