//! Messages are popped, acknowledged, hidden for longer, forgotten by their consumer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::support::frames::{Wire, frame};
use crate::support::messages::bodies;
use crate::support::pops::{Delivery, POP, Pop, ack, deliveries, hide};
use crate::support::{PATIENCE, Situation, World, body, eventually, number, records};
use remoting::Limits;
use serde_json::json;
use tokio::time::Instant;
use wire::code::{request, response};
use wire::header::{Dialect, Head};

const GROUP: &str = "readers";
const DEAD: &str = "%DLQ%readers";

async fn world_with(given: &[(&str, &str)], queues: i32, bodies: &[&str]) -> World {
    let world = World::start_with(given).await;
    world.create_topic("orders", queues).await;
    world.create_group(GROUP).await;
    for (index, body) in bodies.iter().enumerate() {
        world.send_with("orders", index as i32 % queues, body, &[("TAGS", body)]).await;
    }
    world
}

/// What comes within a few seconds, with the time it took.
async fn comes_back(world: &World) -> (Vec<Delivery>, Duration) {
    let since = Instant::now();
    let answer = Pop { poll: "15000", ..POP }.of(&world.me).await;
    (deliveries(&answer), since.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_not_acknowledged_comes_back_with_its_count() {
    let world = world_with(&[], 4, &["a", "b", "c", "d", "e"]).await;
    let answer = Pop { invisible: "700", ..POP }.of(&world.me).await;
    let first = deliveries(&answer);
    assert_eq!(first.len(), 5);
    assert_eq!(number(&answer, "restNum"), 0);
    for delivery in first.iter().filter(|delivery| delivery.got.body != "c") {
        assert_eq!(ack(&world, delivery).await.code, response::SUCCESS);
    }
    assert!(POP.bodies(&world).await.is_empty());
    let (again, took) = comes_back(&world).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!((again.len(), again[0].got.body.as_str(), again[0].got.topic.as_str()), (1, "c", "orders"));
    assert_eq!(again[0].got.property("ORIGIN_GROUP"), Some(GROUP));
    assert_eq!(again[0].got.property("TAGS"), Some("c"));
    let first_pop = again[0].got.property("1ST_POP_TIME").unwrap();
    assert_eq!(Some(first_pop), answer.field("popTime"));
    assert_eq!(ack(&world, &again[0]).await.code, response::SUCCESS);
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(POP.bodies(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_popped_and_acknowledged_is_known_after_a_restart() {
    let world = world_with(&[], 1, &["a", "b", "c"]).await;
    let first = deliveries(&Pop { invisible: "1000", ..POP }.of(&world.me).await);
    assert_eq!(ack(&world, &first[1]).await.code, response::SUCCESS);
    let world = world.restart().await;
    let mut again = Vec::new();
    while again.len() < 2 {
        again.extend(comes_back(&world).await.0.into_iter().map(|delivery| delivery.got.body));
    }
    assert_eq!(again, ["a", "c"]);
    assert!(POP.bodies(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_acknowledged_at_once() {
    let world = world_with(&[], 1, &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]).await;
    let answer = Pop { invisible: "1000", ..POP }.of(&world.me).await;
    assert_eq!(deliveries(&answer).len(), 10);
    let acks = |bits: &str| {
        json!({"brokerName": "broker-a", "acks": [{
            "c": GROUP, "t": "orders", "r": "0", "so": 0, "q": 0, "b": bits,
            "rq": number(&answer, "reviveQid"),
            "pt": number(&answer, "popTime"), "it": 1000
        }]})
        .to_string()
    };
    // Bits 0 to 7 and 9: all but "i". Bits beyond the queue are passed over.
    let done = world.me.ask_with(request::BATCH_ACK_MESSAGE, &[], acks("/7I=").as_bytes()).await;
    assert_eq!(done.code, response::SUCCESS, "{done:?}");
    let bodies: Vec<String> =
        comes_back(&world).await.0.into_iter().map(|delivery| delivery.got.body).collect();
    assert_eq!(bodies, ["i"]);
    let one: serde_json::Value = serde_json::from_str(&acks("AQ==")).unwrap();
    let many = json!({ "acks": vec![&one["acks"][0]; 20_000] }).to_string();
    for (bad, code) in [
        ("", response::NO_MESSAGE),
        ("{}", response::NO_MESSAGE),
        (r#"{"acks":[]}"#, response::NO_MESSAGE),
        ("[", response::SYSTEM_ERROR),
        (&acks("?"), response::SYSTEM_ERROR),
        (&many, response::INVALID_PARAMETER),
    ] {
        let refused = world.me.ask_with(request::BATCH_ACK_MESSAGE, &[], bad.as_bytes()).await;
        assert_eq!(refused.code, code, "{}: {refused:?}", &bad[..bad.len().min(200)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_hidden_for_as_long_as_its_consumer_asks() {
    let world = world_with(&[], 1, &["a"]).await;
    let first = deliveries(&Pop { invisible: "600", ..POP }.of(&world.me).await);
    let changed = hide(&world, &first[0], "60000").await;
    assert_eq!(changed.code, response::SUCCESS, "{changed:?}");
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(POP.bodies(&world).await.is_empty());
    // A new handle from the answer; now at once.
    let mut second = first;
    second[0].handle = format!(
        "0 {} {} {} 0 broker-a 0 0",
        number(&changed, "popTime"),
        number(&changed, "invisibleTime"),
        number(&changed, "reviveQid")
    );
    assert_eq!(hide(&world, &second[0], "0").await.code, response::SUCCESS);
    let (again, _) = comes_back(&world).await;
    assert_eq!(again[0].got.body, "a");
    // The handle of before says nothing any more, and does no harm.
    assert_eq!(ack(&world, &second[0]).await.code, response::SUCCESS);
    assert_eq!(hide(&world, &again[0], "300").await.code, response::SUCCESS);
    assert_eq!(comes_back(&world).await.0[0].got.body, "a");
}

/// The maximum of a group counts for messages that its consumers send back. Whoever pops sees how often a message came,
/// and what is too often for him goes to the dead letters when he says so.
#[tokio::test(flavor = "multi_thread")]
async fn how_often_is_too_often_is_decided_by_the_consumer() {
    let world = World::start().await;
    world.create_topic("orders", 1).await;
    let group = json!({ "groupName": GROUP, "retryMaxTimes": 1 }).to_string();
    let made = world.me.ask_with(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], group.as_bytes()).await;
    assert_eq!(made.code, response::SUCCESS, "{made:?}");
    world.send("orders", 0, "poison").await;
    let mut delivery = deliveries(&POP.of(&world.me).await).remove(0);
    for times in 1..=5 {
        assert_eq!(hide(&world, &delivery, "0").await.code, response::SUCCESS);
        delivery = comes_back(&world).await.0.remove(0);
        assert_eq!((delivery.got.body.as_str(), delivery.got.reconsume_times), ("poison", times));
        assert!(world.pull(GROUP, DEAD, 0, 0).await.messages.is_empty(), "it came {times} times");
    }
    let offset = delivery.got.physical_offset.to_string();
    let enough =
        [("offset", offset.as_str()), ("group", GROUP), ("delayLevel", "-1"), ("originTopic", "orders")];
    world.me.ok(request::CONSUMER_SEND_MSG_BACK, &enough).await;
    assert_eq!(ack(&world, &delivery).await.code, response::SUCCESS);
    assert_eq!(bodies(&world.me.read_all(DEAD, 0).await), ["poison"]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(POP.bodies(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_have_the_name_that_is_set_and_both_are_read() {
    let world = world_with(&[("enableRetryTopicV2", "true")], 1, &["a"]).await;
    Pop { invisible: "0", ..POP }.of(&world.me).await;
    let (again, _) = comes_back(&world).await;
    assert_eq!(again[0].handle.split(' ').nth(4), Some("2"));
    assert_eq!(ack(&world, &again[0]).await.code, response::SUCCESS);
    let world = world_with(&[], 1, &["b"]).await;
    Pop { invisible: "0", ..POP }.of(&world.me).await;
    let (again, _) = comes_back(&world).await;
    assert_eq!(again[0].handle.split(' ').nth(4), Some("1"));
    assert_eq!(hide(&world, &again[0], "0").await.code, response::SUCCESS);
    // A retry of a retry stays in its topic.
    assert_eq!(comes_back(&world).await.0[0].handle.split(' ').nth(4), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_messages_with_the_tag_are_popped_and_the_others_are_passed() {
    let world = world_with(&[], 1, &["a", "b", "a", "c"]).await;
    assert_eq!(Pop { expression: "a || c", ..POP }.bodies(&world).await, ["a", "a", "c"]);
    assert!(POP.bodies(&world).await.is_empty());
    assert_eq!(world.committed(GROUP, "orders", 0).await, Some(4));
    let refused = Pop { expression: "||", ..POP }.of(&world.me).await;
    assert_eq!(refused.code, response::SUBSCRIPTION_PARSE_FAILED, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_wakes_a_pop_that_waits_at_the_end() {
    let world = world_with(&[], 1, &["a", "b"]).await;
    for delivery in deliveries(&POP.of(&world.me).await) {
        assert_eq!(ack(&world, &delivery).await.code, response::SUCCESS);
    }
    let (waiting, since) = (world.peer(), Instant::now());
    let waiter = tokio::spawn(async move { Pop { poll: "15000", ..POP }.of(&waiting).await });
    // One that comes later finds the messages at once, and tells nothing of those who wait.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let fields = [("group", GROUP), ("topic", "orders"), ("timestamp", "0"), ("isForce", "true")];
    world.me.ok(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await;
    assert_eq!(deliveries(&waiter.await.unwrap()).len(), 2);
    assert!(since.elapsed() < Duration::from_secs(10), "it waited for news");
}

/// What comes back can be read only when the disk has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_back_wakes_a_waiting_pop_with_synchronous_flush() {
    let world = world_with(&[("flushDiskType", "SYNC_FLUSH")], 1, &["a"]).await;
    assert_eq!(deliveries(&Pop { invisible: "700", ..POP }.of(&world.me).await).len(), 1);
    let (came, after) = comes_back(&world).await;
    assert_eq!(came.len(), 1);
    assert!(after < Duration::from_secs(10), "it waited for news, {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pop_finds_the_one_message_it_wants_behind_many_others() {
    let mut tags = ["a"; 1000];
    tags[999] = "b";
    // A look passes over as many entries as it may give out, 32 at a time.
    let world = world_with(&[("maxFilterMessageSize", "20")], 1, &tags).await;
    let since = Instant::now();
    let answer = Pop { expression: "b", poll: "15000", ..POP }.of(&world.me).await;
    assert_eq!(deliveries(&answer).len(), 1, "{answer:?}");
    assert!(since.elapsed() < Duration::from_secs(10), "it waited for news");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_pop_is_answered_when_a_message_comes_and_only_one_of_its_group() {
    let world = world_with(&[], 4, &[]).await;
    let (one, two) = (world.peer(), world.peer());
    // One at a time: who is woken for the first may get to it when the second is there too.
    let ask = Pop { poll: "15000", count: "1", ..POP };
    let place = [("consumerGroup", GROUP), ("topic", "orders"), ("queueId", "-1")];
    let waiting = async {
        while number(&world.me.ok(request::POLLING_INFO, &place).await, "pollingNum") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.send("orders", 3, "first").await;
        let left = async {
            while number(&world.me.ok(request::POLLING_INFO, &place).await, "pollingNum") > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        left.await;
        world.send("orders", 1, "second").await;
    };
    let since = Instant::now();
    let (first, second, ()) = tokio::join!(ask.of(&one), ask.of(&two), waiting);
    assert!(since.elapsed() < Duration::from_secs(12), "woken, not timed out");
    let mut bodies: Vec<String> =
        [first, second].iter().flat_map(deliveries).map(|one| one.got.body).collect();
    bodies.sort();
    assert_eq!(bodies, ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pop_that_finds_nothing_ends_at_its_time() {
    let world = world_with(&[("popPollingSize", "1")], 1, &[]).await;
    let since = Instant::now();
    let peer = world.peer();
    let short = Pop { poll: "400", ..POP };
    let full = async {
        let place = [("consumerGroup", GROUP), ("topic", "orders"), ("queueId", "-1")];
        while number(&world.me.ok(request::POLLING_INFO, &place).await, "pollingNum") < 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        short.of(&world.me).await.code
    };
    let (answer, full) = tokio::join!(short.of(&peer), full);
    assert_eq!(answer.code, response::POLLING_TIMEOUT, "{answer:?}");
    assert!(since.elapsed() >= Duration::from_millis(390));
    assert_eq!(number(&answer, "restNum"), 0);
    assert!(full == response::POLLING_FULL || full == response::POLLING_TIMEOUT);
}

/// Without a place to wait in it would have to be answered before it is on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_hidden_for_longer_when_too_many_requests_of_the_connection_wait() {
    let situation = Situation::new(&[("flushDiskType", "SYNC_FLUSH"), ("syncFlushTimeout", "60000")]);
    let limits = Limits { held_max: 1, ..Limits::default() };
    let house = situation.start_on(Arc::new(situation.disk.clone()), limits).await;
    house.peer().store("orders", 0, "a").await;
    assert_eq!(house.peer().join("c", GROUP, "orders", "*").await.code, response::SUCCESS);
    let popped = deliveries(&POP.of(&house.peer()).await);
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", "orders"),
        ("queueId", popped[0].queue.as_str()),
        ("extraInfo", popped[0].handle.as_str()),
        ("offset", "0"),
        ("invisibleTime", "60000"),
    ];
    let peer = house.peer();
    peer.ok(request::GET_TOPIC_CONFIG, &[("topic", "orders")]).await;
    situation.disk.hold_syncs(true);
    let change = async {
        let answer = peer.ask(request::CHANGE_MESSAGE_INVISIBLETIME, &fields).await;
        situation.disk.hold_syncs(false);
        answer
    };
    let (sent, refused) = tokio::join!(peer.send("orders", 0, "b"), change);
    assert_eq!((sent.code, refused.code), (response::SUCCESS, response::SYSTEM_BUSY), "{refused:?}");
    let changed = house.peer().ask(request::CHANGE_MESSAGE_INVISIBLETIME, &fields).await;
    assert_eq!(changed.code, response::SUCCESS, "{changed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_pop_blocks_its_queue_until_all_is_acknowledged() {
    let world = world_with(&[], 1, &["a", "b", "c"]).await;
    let ask = Pop { order: "true", count: "2", attempt: "one", ..POP };
    let answer = ask.of(&world.me).await;
    let first = deliveries(&answer);
    assert_eq!(number(&answer, "reviveQid"), 999);
    assert_eq!(answer.field("orderCountInfo"), Some("0 0 0"));
    assert_eq!(first.iter().map(|one| one.got.body.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let other = Pop { attempt: "two", ..ask };
    assert!(other.bodies(&world).await.is_empty());
    // The same attempt again is a client that did not hear the answer.
    assert_eq!(ask.bodies(&world).await, ["a", "b"]);
    let again = deliveries(&ask.of(&world.me).await);
    assert_eq!(ack(&world, &again[0]).await.code, response::SUCCESS);
    assert_eq!(world.committed(GROUP, "orders", 0).await, Some(1));
    assert!(other.bodies(&world).await.is_empty());
    // The second fails: it is free at once, and counted.
    assert_eq!(hide(&world, &again[1], "0").await.code, response::SUCCESS);
    let answer = Pop { poll: "10000", ..other }.of(&world.me).await;
    let third = deliveries(&answer);
    assert_eq!(third.iter().map(|one| one.got.body.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(answer.field("orderCountInfo"), Some("0 qo0%1 1;0 0 0"));
    for delivery in &third {
        assert_eq!(ack(&world, delivery).await.code, response::SUCCESS);
    }
    assert_eq!(world.committed(GROUP, "orders", 0).await, Some(3));
    let world = world.restart().await;
    assert!(other.bodies(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_or_group_that_was_deleted_blocks_no_queue_of_its_successor() {
    let world = world_with(&[], 1, &["a"]).await;
    let ask = Pop { order: "true", attempt: "one", ..POP };
    assert_eq!(ask.bodies(&world).await, ["a"]);
    let ask = Pop { attempt: "two", ..ask };
    assert!(ask.bodies(&world).await.is_empty());
    world.me.ok(request::DELETE_SUBSCRIPTIONGROUP, &[("groupName", GROUP)]).await;
    world.create_group(GROUP).await;
    assert_eq!(ask.bodies(&world).await, ["a"]);
    world.me.ok(request::DELETE_TOPIC_IN_BROKER, &[("topic", "orders")]).await;
    world.create_topic("orders", 1).await;
    world.send_with("orders", 0, "b", &[]).await;
    assert_eq!(Pop { attempt: "three", ..ask }.bodies(&world).await, ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_to_pop_from_a_topic_that_is_deleted_is_told_at_once() {
    let world = world_with(&[], 1, &[]).await;
    let mut wire = Wire::connect(world.address()).await;
    let poll = (3 * PATIENCE).as_millis().to_string();
    let pop = Pop { poll: &poll, ..POP };
    let notification = [
        ("consumerGroup", GROUP),
        ("topic", "orders"),
        ("queueId", "-1"),
        ("pollTime", &poll),
        ("bornTime", "0"),
    ];
    let head = |code, opaque| Head::request(Dialect::Json, code, opaque);
    wire.write(&frame(&head(request::NOTIFICATION, 1), &notification, &[])).await;
    wire.write(&frame(&head(request::POP_MESSAGE, 2), &pop.fields(), &[])).await;
    wire.hears_nothing().await;
    // The disk was asked where a new group begins; only then does its pop wait.
    let place = [("consumerGroup", GROUP), ("topic", "orders"), ("queueId", "-1")];
    let waiting = async || number(&world.me.ok(request::POLLING_INFO, &place).await, "pollingNum");
    eventually("the pop waits", async || waiting().await == 1).await;
    world.me.ok(request::DELETE_TOPIC_IN_BROKER, &[("topic", "orders")]).await;
    let told = [wire.next().await.unwrap(), wire.next().await.unwrap()];
    let mut told = told.map(|framed| (framed.opaque, framed.answer.code));
    told.sort();
    assert_eq!(told, [(1, response::TOPIC_NOT_EXIST), (2, response::TOPIC_NOT_EXIST)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_orderly_pop_is_answered_when_the_queue_is_free() {
    let world = world_with(&[], 1, &["a", "b"]).await;
    let ask = Pop { order: "true", count: "1", invisible: "900", ..POP };
    assert_eq!(ask.bodies(&world).await, ["a"]);
    let since = Instant::now();
    let ask = Pop { invisible: "60000", ..ask };
    let answer = Pop { poll: "15000", ..ask }.of(&world.me).await;
    assert_eq!(deliveries(&answer)[0].got.body, "a");
    assert!(since.elapsed() < Duration::from_secs(10));
    let waiter = world.peer();
    let acked = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ack(&world, &deliveries(&answer)[0]).await
    };
    let since = Instant::now();
    let patient = Pop { poll: "15000", ..ask };
    let (answer, acked) = tokio::join!(patient.of(&waiter), acked);
    assert_eq!(acked.code, response::SUCCESS);
    assert_eq!(deliveries(&answer)[0].got.body, "b");
    assert!(since.elapsed() < Duration::from_secs(10));
}

/// Another one of the group, which waits for a queue without messages and has less patience, must not be woken instead.
#[tokio::test(flavor = "multi_thread")]
async fn the_orderly_pop_that_is_woken_is_one_that_waits_for_the_queue() {
    let world = world_with(&[], 2, &[]).await;
    for body in ["a", "b"] {
        world.send("orders", 0, body).await;
    }
    let ask = Pop { order: "true", count: "1", queue: "0", ..POP };
    let first = deliveries(&ask.of(&world.me).await).remove(0);
    let (waiter, other) = (world.peer(), world.peer());
    let acked = async {
        for queue in ["0", "1"] {
            let place = [("consumerGroup", GROUP), ("topic", "orders"), ("queueId", queue)];
            while number(&world.me.ok(request::POLLING_INFO, &place).await, "pollingNum") < 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        assert_eq!(ack(&world, &first).await.code, response::SUCCESS);
    };
    let (patient, impatient) = (Pop { poll: "20000", ..ask }, Pop { poll: "14000", queue: "1", ..ask });
    let answer = tokio::select! {
        (answer, ()) = async { tokio::join!(patient.of(&waiter), acked) } => answer,
        _ = impatient.of(&other) => panic!("who waits for the queue was not woken"),
    };
    assert_eq!(deliveries(&answer)[0].got.body, "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn news_for_one_who_has_left_are_told_to_another() {
    let world = world_with(&[], 1, &[]).await;
    let (left, stays) = (world.peer(), world.peer());
    left.consume("c1", GROUP, &["orders"]).await;
    let notify = |poll: &'static str| {
        let place = [("consumerGroup", GROUP), ("topic", "orders"), ("queueId", "-1")];
        [place[0], place[1], place[2], ("pollTime", poll), ("bornTime", "0")]
    };
    // In the order of their ends, the first of which is woken first.
    let (gone, later) = (notify("12000"), notify("16000"));
    let leaves = tokio::time::timeout(Duration::from_millis(300), left.ask(request::NOTIFICATION, &gone));
    assert!(leaves.await.is_err(), "there is nothing to tell");
    left.close();
    while world.me.ask(request::GET_CONSUMER_CONNECTION_LIST, &[("consumerGroup", GROUP)]).await.code
        == response::SUCCESS
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let send = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.send("orders", 0, "news").await;
    };
    let since = Instant::now();
    let (told, _) = tokio::join!(stays.ok(request::NOTIFICATION, &later), send);
    assert_eq!(told.field("hasMsg"), Some("true"));
    assert!(since.elapsed() < Duration::from_secs(10), "told when it asked, not when its time was over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_orderly_pop_hears_that_what_blocks_it_comes_back_sooner() {
    let world = world_with(&[], 1, &["a", "b"]).await;
    let ask = Pop { order: "true", count: "1", invisible: "60000", ..POP };
    let first = deliveries(&ask.of(&world.me).await);
    let waiter = world.peer();
    let hidden = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        hide(&world, &first[0], "200").await
    };
    let since = Instant::now();
    let patient = Pop { poll: "15000", ..ask };
    let (answer, hidden) = tokio::join!(patient.of(&waiter), hidden);
    assert_eq!(hidden.code, response::SUCCESS);
    assert_eq!(deliveries(&answer)[0].got.body, "a");
    assert!(since.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn peeking_takes_nothing_and_a_notification_tells_of_news() {
    let world = world_with(&[], 2, &["a", "b"]).await;
    let fields = [("consumerGroup", GROUP), ("topic", "orders"), ("queueId", "-1"), ("maxMsgNums", "32")];
    for _ in 0..2 {
        let peeked = world.me.ok(request::PEEK_MESSAGE, &fields).await;
        assert_eq!(records(&peeked.body).len(), 2);
        assert_eq!(number(&peeked, "restNum"), 2);
    }
    let notify = [
        ("consumerGroup", GROUP),
        ("topic", "orders"),
        ("queueId", "-1"),
        ("pollTime", "15000"),
        ("bornTime", "0"),
    ];
    let told = world.me.ok(request::NOTIFICATION, &notify).await;
    assert_eq!(told.field("hasMsg"), Some("true"));
    assert_eq!(POP.bodies(&world).await.len(), 2);
    assert_eq!(world.me.ask(request::PEEK_MESSAGE, &fields).await.code, response::PULL_NOT_FOUND);
    let peer = world.peer();
    let send = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.send("orders", 1, "news").await;
    };
    let (told, ()) = tokio::join!(peer.ok(request::NOTIFICATION, &notify), send);
    assert_eq!(told.field("hasMsg"), Some("true"));
    assert_eq!(POP.bodies(&world).await, ["news"]);
    let mut short = notify;
    short[3].1 = "1";
    let told = world.me.ok(request::NOTIFICATION, &short).await;
    assert_eq!(told.field("hasMsg"), Some("false"));
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_and_acknowledgements_are_counted_as_java_counts_them() {
    let world = world_with(&[], 1, &["a", "b", "c"]).await;
    let popped = deliveries(&POP.of(&world.me).await);
    assert_eq!(ack(&world, &popped[0]).await.code, response::SUCCESS);
    assert_eq!(ack(&world, &popped[1]).await.code, response::SUCCESS);
    // A new delivery of one message, in place of the old one.
    assert_eq!(hide(&world, &popped[2], "60000").await.code, response::SUCCESS);
    let fields = [("consumerGroup", GROUP), ("topic", "orders"), ("queueId", "0"), ("maxMsgNums", "1")];
    assert_eq!(world.me.ask(request::PEEK_MESSAGE, &fields).await.code, response::PULL_NOT_FOUND);
    for (name, key, count) in [
        ("GROUP_GET_NUMS", "orders@readers", 3),
        ("GROUP_CK_NUMS", "orders@readers", 2),
        ("GROUP_ACK_NUMS", "orders@readers", 3),
        ("BROKER_CK_NUMS", "DefaultCluster", 2),
        ("BROKER_ACK_NUMS", "DefaultCluster", 3),
    ] {
        let told =
            world.me.ok(request::VIEW_BROKER_STATS_DATA, &[("statsName", name), ("statsKey", key)]).await;
        assert_eq!(body(&told)["statsDay"]["sum"], count, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reset_moves_back_is_popped_again_and_once() {
    let world = world_with(&[], 1, &["a", "b", "c"]).await;
    assert_eq!(Pop { invisible: "800", ..POP }.bodies(&world).await, ["a", "b", "c"]);
    let fields =
        [("group", GROUP), ("topic", "orders"), ("timestamp", "0"), ("queueId", "0"), ("offset", "1")];
    world.me.ok(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await;
    let world = world.restart().await;
    // The one before the target comes back by itself when its time is over.
    assert_eq!(all_of(&world, 3).await, ["a", "b", "c"]);
}

/// A delivery of another group keeps the revive log from being done with, and a start reads all of it again.
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_a_reset_ended_stay_ended_after_a_restart() {
    let world = world_with(&[("reviveQueueNum", "1")], 1, &["a", "b", "c"]).await;
    world.create_group("others").await;
    assert_eq!(Pop { group: "others", ..POP }.bodies(&world).await.len(), 3);
    assert_eq!(Pop { invisible: "800", ..POP }.bodies(&world).await, ["a", "b", "c"]);
    let fields =
        [("group", GROUP), ("topic", "orders"), ("timestamp", "0"), ("queueId", "0"), ("offset", "0")];
    world.me.ok(request::INVOKE_BROKER_TO_RESET_OFFSET, &fields).await;
    let world = world.restart().await;
    assert_eq!(all_of(&world, 3).await, ["a", "b", "c"]);
}

/// Pops until there are so many, and until nothing more comes; sorted.
async fn all_of(world: &World, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(comes_back(world).await.0.into_iter().map(|delivery| delivery.got.body));
    }
    // What a start finds in the log is due two seconds after it was stored.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    all.extend(POP.bodies(world).await);
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_are_refused() {
    let world = world_with(&[], 1, &["a"]).await;
    for (ask, code) in [
        (Pop { count: "33", ..POP }, response::INVALID_PARAMETER),
        (Pop { topic: "nowhere", ..POP }, response::TOPIC_NOT_EXIST),
        (Pop { queue: "1", ..POP }, response::INVALID_PARAMETER),
        (Pop { invisible: "-1", ..POP }, response::INVALID_PARAMETER),
        (Pop { invisible: "9223372036854775807", ..POP }, response::INVALID_PARAMETER),
        (Pop { queue: "x", ..POP }, response::SYSTEM_ERROR),
    ] {
        let answer = ask.of(&world.me).await;
        assert_eq!(answer.code, code, "{answer:?}");
    }
    let first = deliveries(&POP.of(&world.me).await).remove(0);
    let offset = first.got.queue_offset.to_string();
    for (topic, queue, handle, offset, code) in [
        ("nowhere", "0", first.handle.as_str(), offset.as_str(), response::TOPIC_NOT_EXIST),
        ("orders", "1", &first.handle, &offset, response::MESSAGE_ILLEGAL),
        ("orders", "-1", &first.handle, &offset, response::MESSAGE_ILLEGAL),
        ("orders", "0", &first.handle, "7", response::NO_MESSAGE),
        ("orders", "0", "nonsense", &offset, response::MESSAGE_ILLEGAL),
        ("orders", "0", "0 1 2 77 0 broker-a 0 0", &offset, response::MESSAGE_ILLEGAL),
        ("orders", "0", "0 1 2 -1 0 broker-a 0 0", &offset, response::MESSAGE_ILLEGAL),
    ] {
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", topic),
            ("queueId", queue),
            ("extraInfo", handle),
            ("offset", offset),
            ("invisibleTime", "1000"),
        ];
        for request in [request::ACK_MESSAGE, request::CHANGE_MESSAGE_INVISIBLETIME] {
            let answer = world.me.ask(request, &fields).await;
            assert_eq!(answer.code, code, "{request} {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_a_group_consumes_is_set_for_all_its_members() {
    let world = world_with(&[], 4, &[]).await;
    let set = |mode: &str, topic: &str| {
        json!({"consumerGroup": GROUP, "topic": topic, "mode": mode, "popShareQueueNum": -1}).to_string()
    };
    for (body, code) in [
        (set("POP", "%RETRY%readers"), response::NO_PERMISSION),
        (set("POP", "nowhere"), response::TOPIC_NOT_EXIST),
        (set("PUSH", "orders"), response::INVALID_PARAMETER),
        (set("POP", "orders"), response::SUCCESS),
    ] {
        let answer = world.me.ask_with(request::SET_MESSAGE_REQUEST_MODE, &[], body.as_bytes()).await;
        assert_eq!(answer.code, code, "{body}: {answer:?}");
    }
    let world = world.restart().await;
    let heartbeat = json!({"clientID": "c1", "heartbeatFingerprint": 0, "producerDataSet": [], "consumerDataSet": [{
        "groupName": GROUP, "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
        "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "subscriptionDataSet": [], "unitMode": false
    }]});
    let joined = world.me.ask_with(request::HEART_BEAT, &[], heartbeat.to_string().as_bytes()).await;
    assert_eq!(joined.code, response::SUCCESS, "{joined:?}");
    let asked = json!({"topic": "orders", "consumerGroup": GROUP, "clientId": "c1", "strategyName": "AVG",
        "messageModel": "CLUSTERING"});
    let answer = world.me.ask_with(request::QUERY_ASSIGNMENT, &[], asked.to_string().as_bytes()).await;
    let expected = json!({"messageQueueAssignments": [{"mode": "POP",
        "messageQueue": {"brokerName": "broker-a", "queueId": -1, "topic": "orders"}}]});
    assert_eq!(body(&answer), expected);
    let all = world.me.ok(request::GET_ALL_MESSAGE_REQUEST_MODE, &[]).await;
    assert_eq!(body(&all)["messageRequestModeMap"]["orders"][GROUP]["mode"], "POP");
}

/// Else it would wait on after its client has given up, and a message would go where nobody is.
#[tokio::test]
async fn a_client_whose_clock_is_ahead_waits_no_longer_than_it_wants_to() {
    let world = world_with(&[], 1, &[]).await;
    let tomorrow = SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(86_400);
    let tomorrow = tomorrow.as_millis().to_string();
    for code in [request::POP_MESSAGE, request::NOTIFICATION] {
        let mut fields = Pop { poll: "200", ..POP }.fields();
        let born = fields.iter_mut().find(|(name, _)| *name == "bornTime").unwrap();
        born.1 = &tomorrow;
        let answer = world.me.ask(code, &fields).await;
        assert_ne!(answer.code, response::POLLING_FULL, "{answer:?}");
    }
    world.send("orders", 0, "for whoever comes next").await;
    assert_eq!(POP.bodies(&world).await, ["for whoever comes next"]);
}

/// Whatever a client makes up must not stay in the tables, which are saved.
#[tokio::test]
async fn nothing_is_kept_of_a_group_that_there_is_not() {
    let world = world_with(&[], 1, &["a"]).await;
    let now_ms = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    // As of an orderly delivery, whose acknowledgement moves the group.
    let handle = format!("0 {now_ms} 60000 999 0 broker-a 0 0");
    let fields = [
        ("consumerGroup", "made-up"),
        ("topic", "orders"),
        ("queueId", "0"),
        ("extraInfo", handle.as_str()),
        ("offset", "0"),
        ("invisibleTime", "1000"),
    ];
    assert_eq!(world.me.ask(request::ACK_MESSAGE, &fields).await.code, response::SUCCESS);
    let changed = world.me.ask(request::CHANGE_MESSAGE_INVISIBLETIME, &fields).await;
    assert_eq!(changed.code, response::SUBSCRIPTION_GROUP_NOT_EXIST, "{changed:?}");
    assert_eq!(world.committed("made-up", "orders", 0).await, None);
    assert_eq!(world.committed("readers", "orders", 0).await, None);
}

#[tokio::test]
async fn handles_with_impossible_times_are_answered() {
    let world = world_with(&[], 1, &["a"]).await;
    for revive_queue in [0, 999] {
        for pop_time in [i64::MIN, i64::MAX] {
            let handle = format!("0 {pop_time} {} {revive_queue} 0 broker-a 0 0", i64::MAX);
            let fields = [
                ("consumerGroup", GROUP),
                ("topic", "orders"),
                ("queueId", "0"),
                ("extraInfo", handle.as_str()),
                ("offset", "0"),
                ("invisibleTime", "1000"),
            ];
            for code in [request::CHANGE_MESSAGE_INVISIBLETIME, request::ACK_MESSAGE] {
                let answer = world.me.ask(code, &fields).await;
                // What ends in the far future would be kept until then.
                let expected = if pop_time < 0 { response::SUCCESS } else { response::MESSAGE_ILLEGAL };
                assert_eq!(answer.code, expected, "{pop_time}: {answer:?}");
            }
        }
    }
    let answer = Pop { invisible: "700", ..POP }.of(&world.me).await;
    assert!(matches!(answer.code, response::SUCCESS | response::POLLING_TIMEOUT), "{answer:?}");
}
