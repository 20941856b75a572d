//! SQL92 filters: brought along by a pull, registered by heartbeat, waited with, refused.

use std::path::Path;
use std::time::Duration;

use crate::support::frames::Wire;
use crate::support::messages::{bodies, records, text};
use crate::support::peer::heartbeat;
use crate::support::{Ask, PATIENCE, Peer, Situation, number, stored};
use remoting::Answer;
use serde_json::json;
use store::Disk;
use wire::code::request as code;

const ENABLED: (&str, &str) = ("enablePropertyFilter", "true");

/// Ten messages in queue 0 of `orders`: body and property `n` are the number, tags are `even` and `odd`.
async fn ten_messages(peer: &Peer) {
    for number in 0..10 {
        let tags = if number % 2 == 0 { "even" } else { "odd" };
        let (body, properties) = (number.to_string(), text(&[("n", &number.to_string()), ("TAGS", tags)]));
        stored(peer.send_with("orders", 0, body.as_bytes(), &properties).await);
    }
}

async fn beat(peer: &Peer, group: &str, expression: &str, kind: &str, version: i64) {
    let mut beat = heartbeat("client", group, &[("orders", "*")]);
    let subscription = &mut beat.consumer_data_set[0].subscription_data_set[0];
    subscription.sub_string = expression.to_owned();
    subscription.expression_type = kind.to_owned();
    subscription.sub_version = version;
    let answer = peer.ask_with(code::HEART_BEAT, &[], &serde_json::to_vec(&beat).unwrap()).await;
    assert_eq!(answer.code, 0, "{answer:?}");
}

async fn check(peer: &Peer, expression: &str, kind: &str) -> Answer {
    let body = json!({
        "clientId": "c", "group": "g", "namespace": "",
        "subscriptionData": {"topic": "orders", "subString": expression, "expressionType": kind}
    });
    peer.ask_with(code::CHECK_CLIENT_CONFIG, &[], body.to_string().as_bytes()).await
}

fn remark(answer: &Answer) -> &str {
    answer.remark.as_deref().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_brings_its_expression_along() {
    let house = Situation::new(&[ENABLED]).start().await;
    let peer = house.peer();
    ten_messages(&peer).await;
    let answer = peer.pull(&Ask::new("orders", 0, 0).by_sql("n > 6 OR TAGS = 'even' AND n < 3")).await;
    assert_eq!(bodies(&records(&answer.body)), ["0", "2", "7", "8", "9"]);
    assert_eq!(number(&answer, "nextBeginOffset"), 10);
    // Nothing is wanted: the client goes on behind it.
    let answer = peer.pull(&Ask::new("orders", 0, 0).by_sql("n > 100")).await;
    assert_eq!((answer.code, number(&answer, "nextBeginOffset")), (20, 10));
    // A property that is no number is an error for this message only.
    stored(peer.send_with("orders", 0, b"ten", &text(&[("n", "ten")])).await);
    let answer = peer.pull(&Ask::new("orders", 0, 9).by_sql("n > 6")).await;
    assert_eq!(bodies(&records(&answer.body)), ["9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_expression_is_refused_with_the_place_of_the_fault() {
    let house = Situation::new(&[ENABLED]).start().await;
    let peer = house.peer();
    ten_messages(&peer).await;
    let answer = peer.pull(&Ask::new("orders", 0, 0).by_sql("n > 6 AND region LIKE")).await;
    // LIKE is no word of this language: what stands behind `region` is not looked at.
    assert_eq!(answer.code, 20, "{answer:?}");
    let answer = peer.pull(&Ask::new("orders", 0, 0).by_sql("n > 6 AND !region")).await;
    assert_eq!(answer.code, 23, "{answer:?}");
    assert!(remark(&answer).contains("at character 11"), "{answer:?}");
    let answer = peer.pull(&Ask { kind: "XPATH", ..Ask::new("orders", 0, 0).by_sql("a") }).await;
    assert!(answer.code == 23 && remark(&answer).contains("XPATH"), "{answer:?}");
    let mut class = Ask::new("orders", 0, 0);
    class.flags |= 8;
    let answer = peer.pull(&class).await;
    assert!(answer.code == 23 && remark(&answer).contains("class filters"), "{answer:?}");

    assert_eq!(check(&peer, "n > 6", "SQL92").await.code, 0);
    assert_eq!(check(&peer, "*", "TAG").await.code, 0);
    let answer = check(&peer, "n >", "SQL92").await;
    assert!(answer.code == 23 && remark(&answer).contains("at character 4"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_refused_unless_the_owner_allows_them() {
    let house = Situation::new(&[]).start().await;
    let peer = house.peer();
    ten_messages(&peer).await;
    let answer = peer.pull(&Ask::new("orders", 0, 0).by_sql("n > 6")).await;
    assert!(answer.code == 1 && remark(&answer).contains("enablePropertyFilter"), "{answer:?}");
    let answer = check(&peer, "n > 6", "SQL92").await;
    assert!(answer.code == 1 && remark(&answer).contains("does not support"), "{answer:?}");
    beat(&peer, "readers", "n > 6", "SQL92", 1).await;
    let answer = peer.pull(&Ask::new("orders", 0, 0).registered()).await;
    assert_eq!(answer.code, 1, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_registers_its_expression_and_changes_it() {
    let situation = Situation::new(&[ENABLED]);
    let house = situation.start().await;
    let peer = house.peer();
    ten_messages(&peer).await;
    let ask = Ask::new("orders", 0, 0).registered();
    beat(&peer, "readers", "n < 2", "SQL92", 1).await;
    assert_eq!(bodies(&records(&peer.pull(&ask).await.body)), ["0", "1"]);
    beat(&peer, "readers", "n > 8", "SQL92", 2).await;
    assert_eq!(bodies(&records(&peer.pull(&ask).await.body)), ["9"]);
    // A bad one leaves the group without a filter until it sends a good one.
    beat(&peer, "readers", "n >", "SQL92", 3).await;
    assert_eq!(peer.pull(&ask).await.code, 27);
    beat(&peer, "readers", "odd", "TAG", 4).await;
    assert_eq!(peer.pull(&ask).await.code, 0);
    beat(&peer, "readers", "n = 5", "SQL92", 5).await;
    house.stop().await.unwrap();

    let kept =
        store::config_file::load(&situation.disk, &situation.path("config/consumerFilter.json"), |bytes| {
            serde_json::from_slice::<serde_json::Value>(bytes).ok()
        });
    let kept = kept.unwrap().unwrap();
    let data = &kept["filterDataByTopic"]["orders"]["groupFilterData"]["readers"];
    assert_eq!((data["expression"].as_str(), data["clientVersion"].as_i64()), (Some("n = 5"), Some(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_filter_does_not_want_does_not_answer_a_pull_that_waits() {
    let house = Situation::new(&[ENABLED]).start().await;
    let sender = house.peer();
    ten_messages(&sender).await;
    let mut wire = Wire::connect(house.address()).await;
    wire.park(1, &Ask::new("orders", 0, 10).by_sql("n BETWEEN 20 AND 30").waiting(PATIENCE)).await;
    for number in ["19", "31", "x"] {
        stored(sender.send_with("orders", 0, b"unwanted", &text(&[("n", number)])).await);
        wire.hears_nothing().await;
    }
    stored(sender.send_with("orders", 0, b"wanted", &text(&[("n", "20")])).await);
    let framed = wire.next().await.unwrap();
    assert_eq!((framed.opaque, framed.answer.code), (1, 0), "{framed:?}");
    assert_eq!(bodies(&records(&framed.answer.body)), ["wanted"]);
    assert_eq!(number(&framed.answer, "nextBeginOffset"), 14);
}

/// Puts the address of an extension where an entry has its tags code.
fn extend_entry(situation: &Situation, queue: &str, index: u64) {
    let file =
        situation.disk.open(&situation.path(&format!("consumequeue/{queue}/00000000000000000000"))).unwrap();
    file.write_at(&(i64::MIN + 36 * index as i64).to_be_bytes(), index * 20 + 12).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_queue_extensions_is_read_by_the_messages_themselves() {
    let situation = Situation::new(&[ENABLED, ("messageDelayLevel", "1s 2h")]);
    let house = situation.start().await;
    let peer = house.peer();
    ten_messages(&peer).await;
    stored(peer.send_with("later", 0, b"parked", &text(&[("DELAY", "2")])).await);
    house.stop().await.unwrap();
    (0..10).for_each(|index| extend_entry(&situation, "orders/0", index));
    extend_entry(&situation, "SCHEDULE_TOPIC_XXXX/1", 0);
    situation.disk.create_dir_all(Path::new("/store/consumequeue_ext/orders/0")).unwrap();

    let house = situation.start().await;
    let peer = house.peer();
    let answer = peer.pull(&Ask::new("orders", 0, 0).tagged("odd")).await;
    assert_eq!(bodies(&records(&answer.body)), ["1", "3", "5", "7", "9"]);
    let answer = peer.pull(&Ask::new("orders", 0, 0).by_sql("n = 4")).await;
    assert_eq!(bodies(&records(&answer.body)), ["4"]);
    // New messages have their tags in the entry again.
    stored(peer.send_with("orders", 0, b"ten", &text(&[("TAGS", "odd")])).await);
    let answer = peer.pull(&Ask::new("orders", 0, 9).tagged("odd")).await;
    assert_eq!(bodies(&records(&answer.body)), ["9", "ten"]);
    // What is due in two hours is not delivered because its entry tells no time.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(peer.read_all("later", 0).await.is_empty());
    house.stop().await.unwrap();
}
