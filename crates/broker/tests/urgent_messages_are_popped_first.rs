//! Messages with a priority: the broker puts them into the queue of their level, and pops of a PRIORITY topic take the
//! most urgent ones first.

use crate::support::pops::{POP, Pop};
use crate::support::{World, number, records};
use serde_json::json;
use wire::code::{request, response};

async fn pop(world: &World, group: &str, topic: &str, count: &str) -> Vec<String> {
    let answer = Pop { group, topic, count, ..POP }.of(&world.me).await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    records(&answer.body).into_iter().map(|got| got.body).collect()
}

/// Sends one message to queue 0; tells where the broker put it.
async fn queue_of(world: &World, topic: &str, properties: &[(&str, &str)]) -> i64 {
    let answer = world.me.try_send(topic, 0, b"x", properties).await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    number(&answer, "queueId")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_priority_chooses_the_queue() {
    let world = World::start().await;
    world.create_topic_with("jobs", 4, "+message.type=PRIORITY").await;
    world.create_topic_with("plain", 4, "").await;
    let priority = "_SYS_MSG_PRIORITY_";
    for topic in ["jobs", "plain"] {
        for (value, queue) in [("0", 0), ("2", 2), ("3", 3), ("99", 3), ("-1", 0), ("high", 0)] {
            assert_eq!(queue_of(&world, topic, &[(priority, value)]).await, queue, "{topic} {value}");
        }
    }
    // What is in order, delayed or in a transaction has no priority, also not in the store.
    assert_eq!(queue_of(&world, "plain", &[(priority, "3"), ("__SHARDINGKEY", "a")]).await, 0);
    let pulled = world.pull("readers", "plain", 0, 0).await;
    let last = pulled.messages.last().expect("the last message of queue 0");
    assert_eq!((last.property(priority), last.property("__SHARDINGKEY")), (None, Some("a")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_urgent_come_first() {
    let world = World::start().await;
    world.create_topic_with("jobs", 4, "+message.type=PRIORITY").await;
    world.create_group("workers").await;
    let group = json!({ "groupName": "unmoved", "attributes": { "+priority.factor": "0" } }).to_string();
    let answer = world.me.ask_with(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], group.as_bytes()).await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    for level in ["1", "0", "3", "2", "3", "0"] {
        let body = format!("level {level}");
        world.send_with("jobs", 0, &body, &[("_SYS_MSG_PRIORITY_", level)]).await;
    }
    assert_eq!(pop(&world, "workers", "jobs", "3").await, ["level 3", "level 3", "level 2"]);
    world.send_with("jobs", 0, "late and urgent", &[("_SYS_MSG_PRIORITY_", "7")]).await;
    assert_eq!(
        pop(&world, "workers", "jobs", "32").await,
        ["late and urgent", "level 1", "level 0", "level 0"]
    );
    // Without the factor the pops begin at any queue.
    let mut first = std::collections::BTreeSet::new();
    for _ in 0..200 {
        world.send_with("jobs", 0, "low", &[("_SYS_MSG_PRIORITY_", "0")]).await;
        world.send_with("jobs", 0, "high", &[("_SYS_MSG_PRIORITY_", "3")]).await;
        first.extend(pop(&world, "unmoved", "jobs", "1").await);
        if first.contains("low") && first.contains("high") {
            return;
        }
    }
    panic!("only {first:?}");
}
