//! A topic with `cleanup.policy=COMPACTION` as clients see it: keys are asked for, the last message of each key stays,
//! and offsets lead over what went.

use std::io::ErrorKind;

use crate::support::peer::topic_fields;
use crate::support::{Situation, World, eventually, number, stored};
use sim::{Fault, Operation};
use wire::code::{request, response};

const TOPIC: &str = "prices";

/// Files of ten messages, compacted all the time.
const SMALL_FILES: [(&str, &str); 4] = [
    ("compactionCqMappedFileSize", "506"),
    ("compactionMappedFileSize", "8000"),
    ("compactionScheduleInternal", "20"),
    ("flushIntervalCommitLog", "1"),
];

async fn world() -> World {
    World::start_with(&SMALL_FILES).await
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
    eventually("something is compacted", async || min_offset(&world).await > 0).await;
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
async fn a_topic_that_could_not_be_deleted_is_compacted_as_before() {
    let situation = Situation::new(&SMALL_FILES);
    let house = situation.start().await;
    let peer = house.peer();
    let fields = topic_fields(TOPIC, "1", "+cleanup.policy=COMPACTION");
    peer.ok(request::UPDATE_AND_CREATE_TOPIC, &fields).await;
    situation.disk.inject(Fault::from_now(Operation::Create, "topics.json", ErrorKind::StorageFull));
    let refused = peer.ask(request::DELETE_TOPIC_IN_BROKER, &[("topic", TOPIC)]).await;
    assert_eq!(refused.code, response::SYSTEM_ERROR, "{refused:?}");
    situation.disk.heal();
    for i in 0..95 {
        stored(peer.try_send(TOPIC, 0, b"value", &[("KEYS", &format!("k{}", i % 10))]).await);
    }
    let queue = [("topic", TOPIC), ("queueId", "0")];
    eventually("something is compacted", async || {
        number(&peer.ok(request::GET_MIN_OFFSET, &queue).await, "offset") > 0
    })
    .await;
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
