//! A topic with `cleanup.policy=COMPACTION` as clients see it: keys are asked for, the last message of each key stays,
//! and offsets lead over what went.

use crate::support::{PATIENCE, World, number};
use tokio::time::Instant;
use wire::code::{request, response};

const TOPIC: &str = "prices";

/// Files of ten messages, compacted all the time.
async fn world() -> World {
    World::start_with(&[
        ("compactionCqMappedFileSize", "506"),
        ("compactionMappedFileSize", "8000"),
        ("compactionScheduleInternal", "20"),
        ("flushIntervalCommitLog", "1"),
    ])
    .await
}

async fn create(world: &World) {
    world.create_topic_with(TOPIC, 1, "+cleanup.policy=COMPACTION").await;
}

async fn min_offset(world: &World) -> i64 {
    number(&world.me.ok(request::GET_MIN_OFFSET, &[("topic", TOPIC), ("queueId", "0")]).await, "offset")
}

/// What a consumer gets that begins at 0: offset and body.
async fn read_all(world: &World) -> Vec<(i64, String)> {
    let mut got = Vec::new();
    let mut next = 0;
    loop {
        let pulled = world.pull("readers", TOPIC, 0, next).await;
        if pulled.code != response::SUCCESS {
            assert_eq!(pulled.code, response::PULL_NOT_FOUND);
            return got;
        }
        got.extend(pulled.messages.into_iter().map(|got| (got.queue_offset, got.body)));
        next = pulled.next_offset;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_message_of_each_key_stays_over_restarts() {
    let world = world().await;
    create(&world).await;
    for i in 0..95 {
        let key = format!("k{}", i % 10);
        world.send_with(TOPIC, 0, &format!("v{i}"), &[("KEYS", &key)]).await;
    }
    let deadline = Instant::now() + PATIENCE;
    while min_offset(&world).await == 0 {
        assert!(Instant::now() < deadline, "nothing was compacted");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let got = read_all(&world).await;
    assert!(got.len() < 40, "{got:?}");
    for i in 85..95 {
        assert!(got.contains(&(i, format!("v{i}"))), "{got:?}");
    }
    let world = world.restart().await;
    let got = read_all(&world).await;
    for i in 85..95 {
        assert!(got.contains(&(i, format!("v{i}"))), "{got:?}");
    }
    let sent = world.send_with(TOPIC, 0, "next", &[("KEYS", "k0")]).await;
    assert_eq!(sent.queue_offset, 95);
    assert_eq!(read_all(&world).await.last(), Some(&(95, "next".to_owned())));
    // A deleted topic leaves nothing to its namesake.
    world.me.ok(request::DELETE_TOPIC_IN_BROKER, &[("topic", TOPIC)]).await;
    create(&world).await;
    world.send_with(TOPIC, 0, "first", &[("KEYS", "k")]).await;
    assert_eq!(read_all(&world).await, [(0, "first".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_must_have_a_key() {
    let world = world().await;
    create(&world).await;
    for properties in [&[][..], &[("KEYS", " ")], &[("TAGS", "red")]] {
        let refused = world.me.try_send(TOPIC, 0, b"x", properties).await;
        assert_eq!(refused.code, response::MESSAGE_ILLEGAL, "{refused:?}");
        assert!(refused.remark.as_deref().unwrap_or_default().contains("key is missing"), "{refused:?}");
    }
    let mut batch = Vec::new();
    for properties in ["KEYS\u{1}a\u{2}", "TAGS\u{1}b\u{2}"] {
        let size = 4 + 4 + 4 + 4 + 4 + 1 + 2 + properties.len() as u32;
        for number in [size, 0, 0, 0, 1] {
            batch.extend_from_slice(&number.to_be_bytes());
        }
        batch.push(b'x');
        batch.extend_from_slice(&(properties.len() as u16).to_be_bytes());
        batch.extend_from_slice(properties.as_bytes());
    }
    let fields = [("a", "producers"), ("b", TOPIC), ("c", "TBW102"), ("d", "1"), ("e", "0"), ("m", "true")];
    let refused = world.me.ask_with(request::SEND_BATCH_MESSAGE, &fields, &batch).await;
    assert_eq!(refused.code, response::MESSAGE_ILLEGAL, "{refused:?}");
    assert_eq!(read_all(&world).await, [], "of a batch all is stored or nothing");
    // A key is deleted by a message without a body; elsewhere such a message is refused.
    world.send_with(TOPIC, 0, "", &[("KEYS", "a")]).await;
    world.create_topic("other", 1).await;
    let refused = world.me.try_send("other", 0, b"", &[("KEYS", "a")]).await;
    assert_eq!(refused.code, response::MESSAGE_ILLEGAL);
}
