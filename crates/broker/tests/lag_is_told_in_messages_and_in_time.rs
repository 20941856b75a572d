//! How far a group is behind: in messages, and as the age of what it read last and of what it reads next.

use std::time::Duration;

use crate::support::{Sent, World, body, queue_key};
use serde_json::{Value, json};
use store::Clock;
use wire::code::request;
use wire::ids::OffsetId;
use wire::record::Record;

/// The store time that the message itself carries.
async fn store_time(world: &World, sent: &Sent) -> i64 {
    let offset = OffsetId::parse(&sent.offset_id).unwrap().offset.to_string();
    let answer = world.me.ok(request::VIEW_MESSAGE_BY_ID, &[("topic", "Orders"), ("offset", &offset)]).await;
    Record::parse(&answer.body).unwrap().store_timestamp
}

/// Of one queue: messages behind, and the store time of the last message that was consumed.
async fn lag(world: &World) -> (i64, i64) {
    let fields = [("consumerGroup", "billing"), ("topic", "Orders")];
    let stats = body(&world.me.ok(request::GET_CONSUME_STATS, &fields).await);
    let lag = lag_of(&stats);
    let all = body(&world.me.ok(request::GET_BROKER_CONSUME_STATS, &[("isOrder", "false")]).await);
    let groups = all["consumeStatsList"].as_array().unwrap();
    if let Some(of_group) = groups.iter().find_map(|group| group.get("billing")?.get(0)) {
        assert_eq!(lag_of(of_group), lag, "one group and the whole broker say the same");
        assert_eq!(all["totalDiff"], json!(lag.0));
    }
    lag
}

fn lag_of(stats: &Value) -> (i64, i64) {
    let queue = &stats["offsetTable"][queue_key("Orders", 0)];
    let number = |name: &str| queue[name].as_i64().unwrap();
    (number("brokerOffset") - number("consumerOffset"), number("lastTimestamp"))
}

/// Of one queue: store time of the last message that was consumed, and how long the next one has waited.
async fn span(world: &World) -> (i64, i64) {
    let fields = [("topic", "Orders"), ("group", "billing")];
    let spans = body(&world.me.ok(request::QUERY_CONSUME_TIME_SPAN, &fields).await);
    let span = &spans["consumeTimeSpanSet"][0];
    (span["consumeTimeStamp"].as_i64().unwrap(), span["delayTime"].as_i64().unwrap())
}

/// Waits so that the next message has another store time.
async fn later() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[tokio::test]
async fn a_group_is_behind_by_messages_and_by_their_age() {
    let world = World::start().await;
    let clock = store::RealClock::default();
    world.create_topic("Orders", 1).await;
    world.create_group("billing").await;
    let mut times = Vec::new();
    for number in 0..3 {
        let sent = world.send("Orders", 0, &format!("m{number}")).await;
        times.push(store_time(&world, &sent).await);
        later().await;
    }
    assert!(times[0] < times[1] && times[1] < times[2], "{times:?}");

    // Who never committed has read nothing, and the first message waits for it.
    assert_eq!(lag(&world).await, (3, 0));
    waits_since(&world, &clock, times[0]).await;

    world.commit("billing", "Orders", 0, 2).await;
    assert_eq!(lag(&world).await, (1, times[1]));
    assert_eq!(span(&world).await.0, times[1]);
    waits_since(&world, &clock, times[2]).await;

    world.commit("billing", "Orders", 0, 3).await;
    assert_eq!(lag(&world).await, (0, times[2]));
    assert_eq!(span(&world).await, (times[2], 0));
}

/// The delay is the age of the next message at some moment between question and answer.
async fn waits_since(world: &World, clock: &store::RealClock, next: i64) {
    const SLACK_MS: i64 = 10;
    let before = clock.now_millis();
    let (_, delay) = span(world).await;
    let after = clock.now_millis();
    assert!(
        (before - next - SLACK_MS..=after - next + SLACK_MS).contains(&delay),
        "{before} {delay} {after} {next}"
    );
}
