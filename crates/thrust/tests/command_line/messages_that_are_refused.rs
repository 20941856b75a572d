//! What is told of messages that a consumer does not take: those that wait, come again, were read again, or are dead.

use std::time::Duration;

use serde_json::Value;
use thrustmq_client::{Client, Consumer, Delivered, Filter, StartFrom};

use super::Server;
use crate::process::{PATIENCE, eventually};

/// Level 1 is over at once, level 3 not within this test.
const LEVELS: &str = "messageDelayLevel=1s 1s 1h";
const AT_ONCE: u32 = 1;
const MUCH_LATER: u32 = 3;
const SOON: Duration = Duration::from_millis(100);

async fn consumer(server: &Server) -> Consumer {
    let client = Client::builder(&server.names).route_refresh(SOON).connect().await.unwrap();
    let consumer =
        client.consumer("picky").subscribe("orders", Filter::all()).start_from(StartFrom::Earliest);
    consumer.rebalance_every(SOON).commit_every(SOON).stream().await.unwrap()
}

async fn next(consumer: &mut Consumer) -> Delivered {
    tokio::time::timeout(PATIENCE, consumer.next()).await.expect("a message").expect("it is open")
}

/// Failures of the message with this key in the group, and where it is since.
fn again(server: &Server, key: &str) -> (i64, String) {
    let tracked = server.json(&["message", "track", key]);
    let group = &tracked[0]["groups"][0];
    assert_eq!((&group["group"], &group["state"]), (&"picky".into(), &"read".into()), "{tracked}");
    (group["failures"].as_i64().unwrap(), group["afterFailure"].as_str().unwrap_or_default().to_owned())
}

fn explained(server: &Server, key: &str) -> (String, String) {
    let told = server.json(&["explain", "message", key]);
    let text = |value: &Value| {
        value.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect::<Vec<_>>().join("\n")
    };
    (text(&told["story"]), text(&told["advice"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fate_of_a_failed_message_is_told() {
    let server = Server::start_with(&[LEVELS]);
    server.prints(&["topic", "create", "orders", "-q", "1"]);
    for key in ["later", "dead", "held", "taken", "good"] {
        server.prints(&["produce", "-t", "orders", "-k", key, key]);
    }
    let mut consumer = consumer(&server).await;
    for _ in 0..5 {
        let message = next(&mut consumer).await;
        match message.text().as_ref() {
            "later" => message.retry_after_level(MUCH_LATER).await,
            "dead" => message.dead_letter().await,
            "good" => message.ack(),
            _ => message.retry_after_level(AT_ONCE).await,
        }
    }
    let mut held = None;
    for _ in 0..2 {
        let message = next(&mut consumer).await;
        assert_eq!(message.reconsume_times, 1);
        match message.text().as_ref() {
            "held" => held = Some(message),
            _ => message.ack(),
        }
    }
    eventually("offsets are written down", || {
        server.json(&["group", "lag", "picky", "-t", "orders"])["behind"] == 0
    });
    assert_eq!(again(&server, "good"), (0, String::new()));
    assert_eq!(again(&server, "later"), (1, "waits for its next attempt".to_owned()));
    assert_eq!(again(&server, "held"), (1, "is offered again".to_owned()));
    assert_eq!(again(&server, "dead").1, "is a dead letter");

    let (story, _) = explained(&server, "later");
    assert!(story.ends_with("There it failed 1 time and waits for its next attempt."), "{story}");
    let (story, advice) = explained(&server, "dead");
    assert!(story.ends_with(" and is a dead letter."), "{story}");
    // What is advised works.
    let line = advice.lines().find_map(|line| line.strip_prefix('`')?.split_once('`')).unwrap().0;
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    assert_eq!(words[..2], ["message", "find"], "{advice}");
    assert!(server.prints(&words).contains("dead"), "{line}");
    let group = server.json(&["explain", "group", "picky"]);
    assert_eq!(group["deadLetters"], 1);
    let advice = group["advice"].to_string();
    assert!(advice.contains("thrust message show --topic %DLQ%picky --queue 0 --offset 0"), "{advice}");
    let letter = server.json(&["message", "show", "--topic", "%DLQ%picky", "--queue", "0", "--offset", "0"]);
    assert_eq!(letter["body"], "dead");

    held.unwrap().ack();
    eventually("the one that was held is read", || again(&server, "held").1 == "was read again");
    assert_eq!(again(&server, "taken"), (1, "was read again".to_owned()));
    consumer.close(PATIENCE).await;
}
