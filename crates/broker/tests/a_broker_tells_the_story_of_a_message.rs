//! The broker is asked what it knows of a message: its records, its transaction, what it waits for, and what each group
//! made of it.

use remoting::Answer;
use serde_json::Value;
use wire::body::{MessageStory, StoryGroup, StoryRole, StoryTransactionState};
use wire::code::{request, response};
use wire::ids::OffsetId;

use crate::support::pops::{POP, Pop, ack, deliveries, hide};
use crate::support::{Sent, World, body, eventually, number, remark};

async fn ask(world: &World, topic: &str, id: &str) -> Answer {
    world.me.ask(request::GET_MESSAGE_STORY, &[("msgId", id), ("topic", topic)]).await
}

async fn story(world: &World, sent: &Sent) -> MessageStory {
    read(&ask(world, "orders", &sent.unique_key).await)
}

fn read(answer: &Answer) -> MessageStory {
    serde_json::from_value(body(answer)).unwrap()
}

fn roles(story: &MessageStory) -> Vec<StoryRole> {
    story.records.iter().map(|record| record.role).collect()
}

fn group<'a>(story: &'a MessageStory, name: &str) -> &'a StoryGroup {
    story.groups.iter().find(|group| group.group == name).unwrap_or_else(|| panic!("no {name} in {story:?}"))
}

async fn world_with(given: &[(&str, &str)]) -> World {
    let world = World::start_with(given).await;
    world.create_topic("orders", 2).await;
    for name in ["readers", "others"] {
        world.create_group(name).await;
    }
    world
}

fn physical(sent: &Sent) -> u64 {
    OffsetId::parse(&sent.offset_id).expect("an offset id").offset
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_stored_and_who_has_read_past_it() {
    let world = world_with(&[]).await;
    world.send("orders", 1, "before").await;
    let sent = world.send_with("orders", 1, "it", &[("TAGS", "red")]).await;
    world.commit("readers", "orders", 1, 2).await;
    world.commit("others", "orders", 1, 1).await;
    world.me.join("c", "blue-readers", "orders", "blue").await;
    world.commit("blue-readers", "orders", 1, 2).await;
    let told = story(&world, &sent).await;
    assert!(told.complete && told.transaction.is_none(), "{told:?}");
    assert_eq!((told.unique_key.as_str(), told.broker_name.as_str()), (sent.unique_key.as_str(), "broker-a"));
    let record = &told.records[0];
    assert_eq!(roles(&told), [StoryRole::Message]);
    assert_eq!((record.topic.as_str(), record.queue_id, record.queue_offset), ("orders", 1, 1));
    assert_eq!(record.physical_offset as u64, physical(&sent));
    assert!(record.offset_id == sent.offset_id && record.size > 0 && record.store_timestamp > 0);
    let position = |name: &str| group(&told, name).positions[0].clone();
    assert_eq!((position("readers").passed, position("readers").consumer_offset), (true, Some(2)));
    assert_eq!((position("others").passed, position("others").consumer_offset), (false, Some(1)));
    assert_eq!((position("blue-readers").passed, position("blue-readers").wanted), (true, Some(false)));
    assert_eq!((group(&told, "blue-readers").members, group(&told, "readers").members), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_either_id_and_with_no_topic_named() {
    let world = world_with(&[]).await;
    let sent = world.send("orders", 0, "it").await;
    for (topic, id) in [
        ("", sent.unique_key.as_str()),
        ("", &sent.offset_id),
        ("orders", &sent.offset_id),
        ("orders", &sent.unique_key),
    ] {
        let told = read(&ask(&world, topic, id).await);
        assert_eq!(told.records[0].physical_offset as u64, physical(&sent), "{topic} {id}");
    }
    for id in ["7F000001000000000000000000000000", "nothing"] {
        let unknown = ask(&world, "", id).await;
        assert_eq!(unknown.code, response::QUERY_NOT_FOUND, "{unknown:?}");
        assert!(remark(&unknown).contains("knows no message"), "{unknown:?}");
    }
    let without = world.me.ask(request::GET_MESSAGE_STORY, &[]).await;
    assert_eq!((without.code, remark(&without)), (response::SYSTEM_ERROR, "the field msgId is missing"));
}

async fn half(world: &World, text: &str) -> Sent {
    world.send_with("orders", 1, text, &[("TRAN_MSG", "true"), ("PGROUP", "payers")]).await
}

async fn end(world: &World, half: &Sent, how: &str) {
    let (offset, physical) = (half.queue_offset.to_string(), physical(half).to_string());
    let fields = [
        ("producerGroup", "payers"),
        ("tranStateTableOffset", offset.as_str()),
        ("commitLogOffset", physical.as_str()),
        ("commitOrRollback", how),
    ];
    world.me.ok(request::END_TRANSACTION, &fields).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_its_transaction_went_also_after_a_restart() {
    let world = world_with(&[]).await;
    let (kept, gone, open) = (half(&world, "a").await, half(&world, "b").await, half(&world, "c").await);
    let told = story(&world, &kept).await;
    assert_eq!(roles(&told), [StoryRole::Half]);
    assert!(told.records[0].waits && told.records[0].real_topic.as_deref() == Some("orders"));
    assert_eq!(told.transaction.unwrap().state, StoryTransactionState::Open);
    end(&world, &gone, "12").await;
    end(&world, &kept, "8").await;
    let world = world.restart().await;

    let told = story(&world, &kept).await;
    assert_eq!(roles(&told), [StoryRole::Half, StoryRole::Message]);
    let transaction = told.transaction.unwrap();
    assert_eq!(transaction.state, StoryTransactionState::Committed);
    assert_eq!((transaction.producer_group.as_str(), transaction.half_offset), ("payers", 0));
    assert_eq!((transaction.op_offset, transaction.ended_timestamp.is_some()), (Some(1), true));
    assert!(!told.records[0].waits);
    let transaction = story(&world, &gone).await.transaction.unwrap();
    assert_eq!((transaction.state, transaction.op_offset), (StoryTransactionState::RolledBack, Some(0)));
    let transaction = story(&world, &open).await.transaction.unwrap();
    assert_eq!((transaction.state, transaction.checks), (StoryTransactionState::Open, Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_given_up_says_so() {
    let world = world_with(&[
        ("transactionCheckInterval", "30"),
        ("transactionTimeOut", "10"),
        ("transactionCheckMax", "1"),
    ])
    .await;
    world.me.produce("p1", "payers").await;
    let sent = half(&world, "a").await;
    let mut last = None;
    eventually("the half message is discarded", async || {
        let told = story(&world, &sent).await;
        let state = told.transaction.as_ref().map(|transaction| transaction.state);
        last = Some(told);
        state == Some(StoryTransactionState::Discarded)
    })
    .await;
    assert_eq!(roles(&last.unwrap()), [StoryRole::Half, StoryRole::Discarded]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_waits_for_and_what_it_waited_for() {
    let world = world_with(&[("messageDelayLevel", "1s 1h"), ("recallMessageEnable", "true")]).await;
    let parked = world.send_with("orders", 0, "parked", &[("DELAY", "2")]).await;
    let told = story(&world, &parked).await;
    let record = &told.records[0];
    assert!(record.role == StoryRole::Delayed && record.waits, "{told:?}");
    assert_eq!(record.due_timestamp, Some(record.store_timestamp + 3_600_000));

    let brief = world.send_with("orders", 0, "brief", &[("DELAY", "1")]).await;
    let timed = world.send_with("orders", 0, "timed", &[("TIMER_DELAY_MS", "50")]).await;
    for (sent, role) in [(&brief, StoryRole::Delayed), (&timed, StoryRole::Timed)] {
        let mut told = MessageStory::default();
        eventually("it comes to its topic", async || {
            told = story(&world, sent).await;
            told.records.len() == 2
        })
        .await;
        assert_eq!(roles(&told), [role, StoryRole::Message]);
        assert!(!told.records[0].waits && told.records[0].due_timestamp.is_some(), "{told:?}");
        assert!(told.records[1].store_timestamp >= told.records[0].due_timestamp.unwrap(), "{told:?}");
    }

    let answer = world.me.try_send("orders", 0, b"taken back", &[("TIMER_DELAY_SEC", "3600")]).await;
    let (id, handle) = (answer.field("transactionId").unwrap(), answer.field("recallHandle").unwrap());
    assert!(read(&ask(&world, "orders", id).await).records[0].waits);
    let fields = [("producerGroup", "p"), ("topic", "orders"), ("recallHandle", handle)];
    world.me.ok(request::RECALL_MESSAGE, &fields).await;
    let told = read(&ask(&world, "orders", id).await);
    assert_eq!((roles(&told), told.records[0].waits), (vec![StoryRole::Timed, StoryRole::Recall], false));
}

async fn fail(world: &World, offset: u64, level: &str) {
    let offset = offset.to_string();
    let fields = [
        ("offset", offset.as_str()),
        ("group", "readers"),
        ("delayLevel", level),
        ("originTopic", "orders"),
        ("maxReconsumeTimes", "16"),
    ];
    world.me.ok(request::CONSUMER_SEND_MSG_BACK, &fields).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_failures_its_next_attempt_and_its_dead_letter() {
    let world = world_with(&[("messageDelayLevel", "1s 1h")]).await;
    world.commit("others", "orders", 0, 1).await;
    let sent = world.send("orders", 0, "poison").await;
    world.commit("readers", "orders", 0, 1).await;
    fail(&world, physical(&sent), "1").await;
    let mut told = MessageStory::default();
    eventually("the retry comes", async || {
        told = story(&world, &sent).await;
        told.records.last().unwrap().role == StoryRole::Retry
    })
    .await;
    assert_eq!(roles(&told), [StoryRole::Message, StoryRole::Delayed, StoryRole::Retry]);
    let retry = told.records[2].clone();
    assert_eq!((retry.group.as_deref(), retry.reconsume_times), (Some("readers"), 1));
    assert_eq!(told.records[1].group.as_deref(), Some("readers"));
    // The group reads its own retries, and the other group none of them.
    assert_eq!((group(&told, "readers").positions.len(), group(&told, "others").positions.len()), (2, 1));
    assert!(!group(&told, "readers").positions[1].passed);
    world.commit("readers", "%RETRY%readers", retry.queue_id, retry.queue_offset + 1).await;
    fail(&world, retry.physical_offset as u64, "2").await;
    let told = story(&world, &sent).await;
    assert!(group(&told, "readers").positions[1].passed);
    let next = told.records.last().unwrap();
    assert!(next.waits && next.role == StoryRole::Delayed && next.reconsume_times == 2, "{told:?}");
    fail(&world, retry.physical_offset as u64, "-1").await;
    // The retry's own id leads to the whole story too.
    let told = read(&ask(&world, "", &retry.offset_id).await);
    let dead = told.records.last().unwrap();
    assert_eq!((dead.role, dead.topic.as_str()), (StoryRole::DeadLetter, "%DLQ%readers"));
    assert_eq!(told.records[0].physical_offset as u64, physical(&sent));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_popped_it_until_it_is_acknowledged() {
    for order in ["false", "true"] {
        let world = world_with(&[]).await;
        let sent = world.send("orders", 0, "it").await;
        let other = world.send("orders", 1, "not popped").await;
        let answer = Pop { queue: "0", order, ..POP }.of(&world.me).await;
        let popped_at = number(&answer, "popTime");
        let told = story(&world, &sent).await;
        let delivery = group(&told, "readers").positions[0].popped[0];
        assert_eq!((delivery.pop_timestamp, delivery.due_timestamp), (popped_at, popped_at + 60_000));
        assert_eq!(delivery.orderly, order == "true");
        assert!(group(&story(&world, &other).await, "readers").positions[0].popped.is_empty());

        assert_eq!(ack(&world, &deliveries(&answer)[0]).await.code, response::SUCCESS);
        assert!(group(&story(&world, &sent).await, "readers").positions[0].popped.is_empty(), "{order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_failed_in_a_pop_is_found_in_its_retry_topic() {
    for version in ["true", "false"] {
        let world = world_with(&[("enableRetryTopicV2", version)]).await;
        let sent = world.send("orders", 0, "it").await;
        let popped = deliveries(&POP.of(&world.me).await);
        assert_eq!(hide(&world, &popped[0], "1").await.code, response::SUCCESS);
        let mut told = MessageStory::default();
        eventually("it comes back", async || {
            told = story(&world, &sent).await;
            told.records.len() == 2
        })
        .await;
        assert_eq!(roles(&told), [StoryRole::Message, StoryRole::Retry]);
        let retry = &told.records[1];
        let name = if version == "true" { "%RETRY%readers+orders" } else { "%RETRY%readers_orders" };
        assert_eq!((retry.topic.as_str(), retry.group.as_deref()), (name, Some("readers")));
        let by_retry = read(&ask(&world, "", &retry.offset_id).await);
        assert_eq!(by_retry.records, told.records);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_says_in_words_what_is_what() {
    let world = world_with(&[]).await;
    let sent = half(&world, "a").await;
    let told: Value = body(&ask(&world, "orders", &sent.unique_key).await);
    assert_eq!(told["records"][0]["role"], "half");
    assert_eq!(told["transaction"]["state"], "open");
    // What a later broker adds does not hinder who reads it.
    let mut later = told.clone();
    later["records"][0]["role"] = "somethingNew".into();
    later["transaction"]["state"] = "somethingNew".into();
    let later: MessageStory = serde_json::from_value(later).unwrap();
    assert_eq!(later.records[0].role, StoryRole::Other);
    assert_eq!(later.transaction.unwrap().state, StoryTransactionState::Decided);
}
