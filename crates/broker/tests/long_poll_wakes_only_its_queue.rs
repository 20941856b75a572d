//! Pulls that wait: woken by what they want, left alone by all else, answered at their deadline.

use std::time::{Duration, Instant};

use crate::support::frames::{Wire, frame};
use crate::support::messages::{bodies, records, text};
use crate::support::pops::{POP, Pop};
use crate::support::{Ask, PATIENCE, Situation, eventually, number, stored};
use wire::code::{request, response};
use wire::header::{Dialect, Head};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_wakes_those_who_wait_for_its_queue_and_nobody_else() {
    for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
        let situation = Situation::new(&[("flushDiskType", flush)]);
        let house = situation.start().await;
        let sender = house.peer();
        stored(sender.send("orders", 0, "before").await);
        let mut first = Wire::connect(house.address()).await;
        let mut second = Wire::connect(house.address()).await;
        first.park(1, &Ask::new("orders", 0, 1).waiting(PATIENCE)).await;
        first.park(2, &Ask::new("orders", 1, 0).waiting(PATIENCE)).await;
        second.park(3, &Ask::new("orders", 0, 1).waiting(PATIENCE)).await;
        second.park(4, &Ask::new("orders", 2, 0).waiting(PATIENCE)).await;
        stored(sender.send("orders", 0, "now").await);
        for (wire, opaque) in [(&mut first, 1), (&mut second, 3)] {
            let framed = wire.next().await.unwrap();
            assert_eq!((framed.opaque, framed.answer.code), (opaque, 0), "{framed:?}");
            assert_eq!(bodies(&records(&framed.answer.body)), ["now"]);
            assert_eq!(number(&framed.answer, "nextBeginOffset"), 2);
            wire.hears_nothing().await;
        }
        // The others still wait, and are woken in their turn.
        stored(sender.send("orders", 2, "later").await);
        assert_eq!(second.next().await.unwrap().opaque, 4);
        first.hears_nothing().await;
        stored(sender.send("orders", 1, "last").await);
        assert_eq!(first.next().await.unwrap().opaque, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_of_a_client_that_has_left_are_let_go_before_their_time() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    stored(house.peer().send("orders", 0, "before").await);
    let mut leaving = Wire::connect(house.address()).await;
    let mut staying = Wire::connect(house.address()).await;
    for opaque in 0..20 {
        leaving
            .park(opaque, &Ask::new("orders", opaque % 2, i64::from(1 - opaque % 2)).waiting(3 * PATIENCE))
            .await;
    }
    staying.park(1, &Ask::new("orders", 0, 1).waiting(PATIENCE)).await;
    assert_eq!(house.broker.waiting_pulls(), 21);
    drop(leaving);
    eventually("the pulls to be gone", async || house.broker.waiting_pulls() == 1).await;
    stored(house.peer().send("orders", 0, "now").await);
    assert_eq!(staying.next().await.unwrap().opaque, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_topic_that_is_deleted_is_told_at_once() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let sender = house.peer();
    for topic in ["orders", "others"] {
        stored(sender.send(topic, 0, "before").await);
    }
    let mut wire = Wire::connect(house.address()).await;
    let mut staying = Wire::connect(house.address()).await;
    wire.park(1, &Ask::new("orders", 0, 1).waiting(3 * PATIENCE)).await;
    staying.park(2, &Ask::new("others", 0, 1).waiting(3 * PATIENCE)).await;
    sender.ok(request::DELETE_TOPIC_IN_BROKER, &[("topic", "orders")]).await;
    let framed = wire.next().await.unwrap();
    assert_eq!((framed.opaque, framed.answer.code), (1, response::TOPIC_NOT_EXIST), "{framed:?}");
    staying.hears_nothing().await;
    assert_eq!(house.broker.waiting_pulls(), 1);
}

/// Files are removed then, and the log is flushed: that takes its time, and nobody need wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_topic_is_told_that_it_is_deleted_while_the_disk_does_not_answer() {
    // Offsets are not saved meanwhile: that waits for the log too, on a thread that serves.
    let situation = Situation::new(&[("flushConsumerOffsetInterval", "600000")]);
    let house = situation.start().await;
    let (sender, administrator) = (house.peer(), house.peer());
    stored(sender.send("orders", 0, "before").await);
    sender.join("c", "readers", "orders", "*").await;
    situation.disk.hold_syncs_of(Some("commitlog"));
    stored(sender.send("orders", 0, "not flushed").await);
    let mut wire = Wire::connect(house.address()).await;
    wire.park(1, &Ask::new("orders", 0, 2).waiting(3 * PATIENCE)).await;
    let poll = (3 * PATIENCE).as_millis().to_string();
    let pop = Pop { queue: "1", poll: &poll, ..POP };
    wire.write(&frame(&Head::request(Dialect::Json, request::POP_MESSAGE, 2), &pop.fields(), &[])).await;
    wire.hears_nothing().await;
    let (tell, both_told) = std::sync::mpsc::channel();
    let disk = situation.disk.clone();
    let disk_answers = std::thread::spawn(move || {
        let in_time = both_told.recv_timeout(PATIENCE / 2).is_ok();
        disk.hold_syncs(false);
        in_time
    });
    let told = async {
        let both = [wire.next().await.unwrap(), wire.next().await.unwrap()];
        let _ = tell.send(());
        both.map(|framed| (framed.opaque, framed.answer.code))
    };
    let gone = [("topic", "orders")];
    let (mut told, _) = tokio::join!(told, administrator.ok(request::DELETE_TOPIC_IN_BROKER, &gone));
    assert!(disk_answers.join().unwrap(), "both are told while the deletion waits");
    told.sort();
    assert_eq!(told, [(1, response::TOPIC_NOT_EXIST), (2, response::TOPIC_NOT_EXIST)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_another_tag_does_not_answer_a_pull_that_waits() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let sender = house.peer();
    stored(sender.send("orders", 0, "before").await);
    let mut wire = Wire::connect(house.address()).await;
    wire.park(1, &Ask::new("orders", 0, 1).tagged("red || blue").waiting(PATIENCE)).await;
    for body in ["a", "b", "c"] {
        stored(sender.send_with("orders", 0, body.as_bytes(), &text(&[("TAGS", "green")])).await);
        wire.hears_nothing().await;
    }
    stored(sender.send_with("orders", 0, b"wanted", &text(&[("TAGS", "blue")])).await);
    let framed = wire.next().await.unwrap();
    assert_eq!((framed.opaque, framed.answer.code), (1, 0), "{framed:?}");
    assert_eq!(bodies(&records(&framed.answer.body)), ["wanted"]);
    assert_eq!(number(&framed.answer, "nextBeginOffset"), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_deadline_a_pull_is_answered_19_or_20_if_it_has_moved_on() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let sender = house.peer();
    stored(sender.send("orders", 0, "before").await);
    let suspend = Duration::from_millis(400);
    let (mut idle, mut passed) = (Wire::connect(house.address()).await, Wire::connect(house.address()).await);
    let since = Instant::now();
    idle.park(1, &Ask::new("orders", 1, 0).waiting(suspend)).await;
    // Long enough to survive the two sends below on a slow machine.
    passed.park(2, &Ask::new("orders", 0, 1).tagged("red").waiting(3 * suspend)).await;
    for body in ["a", "b"] {
        stored(sender.send_with("orders", 0, body.as_bytes(), &text(&[("TAGS", "green")])).await);
    }
    let framed = idle.next().await.unwrap();
    assert!(since.elapsed() >= suspend, "answered early, after {:?}", since.elapsed());
    assert_eq!((framed.opaque, framed.answer.code), (1, 19), "{framed:?}");
    assert_eq!(number(&framed.answer, "nextBeginOffset"), 0);
    let framed = passed.next().await.unwrap();
    assert!(since.elapsed() >= 3 * suspend, "answered early, after {:?}", since.elapsed());
    assert_eq!((framed.opaque, framed.answer.code), (2, 20), "{framed:?}");
    assert_eq!(number(&framed.answer, "nextBeginOffset"), 3, "it need not look at them again");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_long_polling_a_pull_waits_for_the_short_time() {
    let situation = Situation::new(&[("longPollingEnable", "false"), ("shortPollingTimeMills", "50")]);
    let house = situation.start().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "before").await);
    let since = Instant::now();
    let answer = peer.pull(&Ask::new("orders", 0, 1).waiting(PATIENCE)).await;
    assert_eq!(answer.code, 19);
    assert!(since.elapsed() >= Duration::from_millis(50) && since.elapsed() < PATIENCE / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_answers_who_waits() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    stored(house.peer().send("orders", 0, "before").await);
    let mut wire = Wire::connect(house.address()).await;
    wire.park(1, &Ask::new("orders", 0, 1).waiting(PATIENCE)).await;
    wire.park(2, &Ask::new("orders", 1, 0).waiting(PATIENCE)).await;
    house.stop().await.unwrap();
    let mut answers = Vec::new();
    while let Some(framed) = wire.next().await {
        answers.push((framed.opaque, framed.answer.code));
    }
    answers.sort();
    assert_eq!(answers, [(1, 19), (2, 19)]);
}
