//! Topics with `queue.type=BatchCQ`: what Java's producers send as a batch is one record with many offsets, which
//! clients unwrap.

use crate::support::frames::{Wire, frame};
use crate::support::peer::topic_fields;
use crate::support::pops::{POP, Pop, ack, deliveries, hide};
use crate::support::{Ask, World, body, eventually, number, queue_key, records, remark};
use remoting::Answer;
use wire::batch::{self, Entry};
use wire::code::{request, response};
use wire::header::{Dialect, Head};
use wire::properties as props;
use wire::record::Record;
use wire::sys_flag;

const BATCH_KEY: &str = "0A00000100002A9F000000000000ABCD";

async fn create(world: &World, topic: &str, attributes: &str) -> Answer {
    world.me.ask(request::UPDATE_AND_CREATE_TOPIC, &topic_fields(topic, "1", attributes)).await
}

async fn batch_topic(world: &World) {
    let created = create(world, "Letters", "+queue.type=BatchCQ").await;
    assert_eq!(created.code, response::SUCCESS, "{created:?}");
}

/// The body of a batch of messages with these bodies.
fn messages(bodies: &[String]) -> Vec<u8> {
    let mut text = Vec::new();
    for body in bodies {
        let mut properties = Vec::new();
        props::push(&mut properties, props::UNIQ_KEY, &format!("key-of-{body}"));
        batch::push(&mut text, &Entry { flag: 7, body: body.as_bytes(), properties: &properties });
    }
    text
}

async fn send_batch(world: &World, code: i32, bodies: &[u8], properties: &[(&str, &str)]) -> Answer {
    let mut text = Vec::new();
    for (name, value) in properties {
        props::push(&mut text, name, value);
    }
    let text = String::from_utf8(text).unwrap();
    let long = code == request::SEND_MESSAGE;
    let name = |long_name: &'static str, short: &'static str| if long { long_name } else { short };
    let fields = [
        (name("producerGroup", "a"), "producers"),
        (name("topic", "b"), "Letters"),
        (name("defaultTopic", "c"), "TBW102"),
        (name("defaultTopicQueueNums", "d"), "4"),
        (name("queueId", "e"), "0"),
        (name("sysFlag", "f"), "0"),
        (name("bornTimestamp", "g"), "1700000000000"),
        (name("flag", "h"), "0"),
        (name("properties", "i"), &text),
        (name("reconsumeTimes", "j"), "0"),
        (name("unitMode", "k"), "false"),
        (name("batch", "m"), "true"),
    ];
    world.me.ask_with(code, &fields, bodies).await
}

fn bodies(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}-{number}")).collect()
}

/// Pulls from an offset: for each record its first offset and the bodies in it, and where the next pull begins.
async fn pull(world: &World, offset: i64) -> (Vec<(i64, Vec<String>)>, i64) {
    let answer = world.me.pull(&Ask::new("Letters", 0, offset)).await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let mut rest = &answer.body[..];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let size = u32::from_be_bytes(*rest.first_chunk().unwrap()) as usize;
        let record = Record::parse(&rest[..size]).unwrap();
        records.push((record.queue_offset, unwrapped(&record)));
        rest = &rest[size..];
    }
    (records, number(&answer, "nextBeginOffset"))
}

/// What a client makes of a record.
fn unwrapped(record: &Record<'_>) -> Vec<String> {
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
    let wrapped = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;
    if record.sys_flag & wrapped != wrapped {
        return vec![text(record.body)];
    }
    let entries: Vec<_> = batch::entries(record.body).map(Result::unwrap).collect();
    assert_eq!(record.property(props::INNER_NUM), Some(&*entries.len().to_string()));
    let base: i64 = record.property(props::INNER_BASE).unwrap().parse().unwrap();
    assert_eq!(base, record.queue_offset);
    entries.iter().map(|entry| text(entry.body)).collect()
}

#[tokio::test]
async fn a_batch_is_one_record_and_found_at_each_of_its_offsets() {
    let world = World::start().await;
    batch_topic(&world).await;
    world.create_group("readers").await;
    let (first, second) = (bodies("first", 4), bodies("second", 3));
    let sent = send_batch(
        &world,
        request::SEND_BATCH_MESSAGE,
        &messages(&first),
        &[(props::UNIQ_KEY, BATCH_KEY), (props::KEYS, "order-7")],
    )
    .await;
    assert_eq!(sent.code, response::SUCCESS, "{sent:?}");
    assert_eq!((number(&sent, "queueOffset"), sent.field("batchUniqId")), (0, Some(BATCH_KEY)));
    assert_eq!(sent.field("msgId").unwrap().len(), 32, "one id for all of it");
    assert_eq!(world.send("Letters", 0, "alone").await.queue_offset, 4);
    let sent =
        send_batch(&world, request::SEND_MESSAGE, &messages(&second), &[(props::UNIQ_KEY, "another")]).await;
    assert_eq!((number(&sent, "queueOffset"), sent.field("batchUniqId")), (5, Some("another")));

    let all = vec![(0, first.clone()), (4, vec!["alone".to_owned()]), (5, second.clone())];
    for (offset, from) in [(0, 0), (3, 0), (4, 1), (5, 2), (7, 2)] {
        assert_eq!(pull(&world, offset).await, (all[from..].to_vec(), 8), "from {offset}");
    }

    // Stores of messages, not of records: statistics count each.
    let stats = body(&world.me.ok(request::GET_TOPIC_STATS_INFO, &[("topic", "Letters")]).await);
    let queue = &stats["offsetTable"][queue_key("Letters", 0)];
    assert_eq!((queue["minOffset"].as_i64(), queue["maxOffset"].as_i64()), (Some(0), Some(8)));
    world.commit("readers", "Letters", 0, 4).await;
    let fields = [("consumerGroup", "readers"), ("topic", "Letters")];
    let stats = body(&world.me.ok(request::GET_CONSUME_STATS, &fields).await);
    let queue = &stats["offsetTable"][queue_key("Letters", 0)];
    assert_eq!((queue["brokerOffset"].as_i64(), queue["consumerOffset"].as_i64()), (Some(8), Some(4)));
    let fields = [("topic", "Letters"), ("queueId", "0"), ("timestamp", "0")];
    let found = world.me.ok(request::SEARCH_OFFSET_BY_TIMESTAMP, &fields).await;
    assert_eq!(number(&found, "offset"), 0);
    // The batch is known by the keys of all of it.
    let now = i64::MAX.to_string();
    let fields = [
        ("topic", "Letters"),
        ("key", "order-7"),
        ("maxNum", "10"),
        ("beginTimestamp", "0"),
        ("endTimestamp", &now),
    ];
    let found = world.me.ok(request::QUERY_MESSAGE, &fields).await;
    assert_eq!(unwrapped(&Record::parse(&found.body).unwrap()), first);

    let world = world.restart().await;
    assert_eq!(pull(&world, 1).await, (all, 8));
}

#[tokio::test]
async fn batches_of_older_clients_become_single_messages() {
    let world = World::start().await;
    batch_topic(&world).await;
    world.create_group("readers").await;
    let sent = send_batch(&world, request::SEND_BATCH_MESSAGE, &messages(&bodies("old", 2)), &[]).await;
    assert_eq!((sent.code, sent.field("batchUniqId")), (response::SUCCESS, None));
    let single = |number: usize| vec![format!("old-{number}")];
    assert_eq!(pull(&world, 0).await, (vec![(0, single(0)), (1, single(1))], 2));
}

#[tokio::test]
async fn a_failed_message_does_not_bring_its_batch_back() {
    let world = World::start().await;
    batch_topic(&world).await;
    world.create_group("readers").await;
    let key = [(props::UNIQ_KEY, BATCH_KEY)];
    send_batch(&world, request::SEND_BATCH_MESSAGE, &messages(&bodies("failed", 3)), &key).await;
    let answer = world.me.pull(&Ask::new("Letters", 0, 1)).await;
    let offset = Record::parse(&answer.body).unwrap().physical_offset.to_string();
    let log_end = async || {
        let runtime = body(&world.me.ok(request::GET_BROKER_RUNTIME_INFO, &[]).await);
        runtime["table"]["commitLogMaxOffset"].as_str().unwrap().to_owned()
    };
    let before = log_end().await;
    for level in ["0", "-1"] {
        let fields = [
            ("offset", &*offset),
            ("group", "readers"),
            ("delayLevel", level),
            ("originTopic", "Letters"),
            ("maxReconsumeTimes", "16"),
        ];
        let refused = world.me.ask(request::CONSUMER_SEND_MSG_BACK, &fields).await;
        assert_eq!(refused.code, response::SYSTEM_ERROR, "{refused:?}");
    }
    assert_eq!(log_end().await, before, "nothing is stored");
    // Go's client takes any answer for a success, so to refuse it would lose the message.
    let head = Head::request(Dialect::Json, request::CONSUMER_SEND_MSG_BACK, 7);
    let fields =
        [("offset", &*offset), ("group", "readers"), ("delayLevel", "0"), ("originTopic", "Letters")];
    let mut bytes = frame(&head, &fields, &[]);
    let at = bytes.windows(6).position(|word| word == b"\"JAVA\"").unwrap();
    bytes[at..at + 6].copy_from_slice(b"\"GO\"  ");
    let mut wire = Wire::connect(world.address()).await;
    wire.write(&bytes).await;
    let framed = wire.next().await.unwrap();
    assert_eq!(framed.answer.code, response::SUCCESS, "{framed:?}");
    assert_ne!(log_end().await, before);
}

#[tokio::test]
async fn what_no_client_could_unwrap_is_refused() {
    let world = World::start().await;
    batch_topic(&world).await;
    let key = [(props::UNIQ_KEY, BATCH_KEY)];
    for (what, text) in [("none", &b"\0\0\0\0"[..]), ("half", &messages(&bodies("cut", 2))[..40])] {
        let sent = send_batch(&world, request::SEND_BATCH_MESSAGE, text, &key).await;
        assert_eq!(sent.code, response::MESSAGE_ILLEGAL, "{what}: {sent:?}");
    }
    // Only a batch request makes one.
    let sent = world.me.try_send("Letters", 0, b"forged", &[(props::INNER_NUM, "1000")]).await;
    assert_eq!(sent.code, response::MESSAGE_ILLEGAL, "{sent:?}");
    let refused = create(&world, "Both", "+queue.type=BatchCQ,+dedup.window.ms=1000").await;
    assert!(refused.remark.unwrap_or_default().contains("one by one"));
    let refused = create(&world, "Letters", "+queue.type=SimpleCQ").await;
    assert!(refused.remark.unwrap_or_default().contains("unchangeable"));
}

#[tokio::test]
async fn a_deleted_batch_topic_may_come_back_as_another_kind() {
    let world = World::start().await;
    batch_topic(&world).await;
    world.create_group("readers").await;
    let key = [(props::UNIQ_KEY, BATCH_KEY)];
    let old = messages(&bodies("old", 5));
    send_batch(&world, request::SEND_BATCH_MESSAGE, &old, &key).await;
    world.me.ok(request::DELETE_TOPIC_IN_BROKER, &[("topic", "Letters")]).await;
    assert!(!world.directory().join("batchconsumequeue/Letters").exists());
    world.create_topic("Letters", 1).await;
    let sent = send_batch(&world, request::SEND_BATCH_MESSAGE, &messages(&bodies("new", 2)), &key).await;
    assert_eq!((number(&sent, "queueOffset"), sent.field("batchUniqId")), (0, None));
    let world = world.restart().await;
    let single = |number: usize| vec![format!("new-{number}")];
    assert_eq!(pull(&world, 0).await, (vec![(0, single(0)), (1, single(1))], 2));
}

async fn pop(world: &World, order: &str) -> Answer {
    Pop { topic: "Letters", order, ..POP }.of(&world.me).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_popped_batch_is_one_delivery_and_comes_back_message_by_message() {
    let world = World::start().await;
    batch_topic(&world).await;
    world.create_group("readers").await;
    let (lost, done) = (bodies("lost", 4), bodies("done", 2));
    for (batch, key) in [(&lost, BATCH_KEY), (&done, "another")] {
        let sent = send_batch(
            &world,
            request::SEND_BATCH_MESSAGE,
            &messages(batch),
            &[(props::UNIQ_KEY, key), (props::KEYS, "k")],
        )
        .await;
        assert_eq!(sent.code, response::SUCCESS, "{sent:?}");
    }
    let refused = pop(&world, "true").await;
    assert!(refused.code == response::NO_PERMISSION && remark(&refused).contains("in order"), "{refused:?}");

    let popped = pop(&world, "false").await;
    assert_eq!(popped.code, response::SUCCESS, "{popped:?}");
    assert_eq!(popped.field("msgOffsetInfo"), Some("0 0 0,4"), "by the first offset of each");
    let (first, second) =
        popped.body.split_at(u32::from_be_bytes(*popped.body.first_chunk().unwrap()) as usize);
    assert_eq!(unwrapped(&Record::parse(first).unwrap()), lost);
    assert_eq!(unwrapped(&Record::parse(second).unwrap()), done);
    assert_eq!(pop(&world, "false").await.code, response::POLLING_TIMEOUT);
    let popped = deliveries(&popped);
    assert_eq!(ack(&world, &popped[1]).await.code, response::SUCCESS);
    assert_eq!(hide(&world, &popped[0], "1").await.code, response::SUCCESS);

    let world = world.restart().await;
    let mut again = Vec::new();
    eventually("all of the batch", async || {
        let popped = pop(&world, "false").await;
        again.extend(if popped.code == response::SUCCESS { records(&popped.body) } else { Vec::new() });
        again.len() >= lost.len()
    })
    .await;
    for (got, body) in again.iter().zip(&lost) {
        assert_eq!((&got.body, got.reconsume_times), (body, 1));
        assert_eq!(got.property(props::UNIQ_KEY), Some(&*format!("key-of-{body}")));
        assert_eq!((got.topic.as_str(), got.property(props::INNER_NUM)), ("Letters", None));
    }
    assert_eq!(again.len(), lost.len());
}

#[tokio::test]
async fn what_a_killed_deletion_has_left_of_a_batch_topic_makes_no_start_fail() {
    let world = World::start().await;
    batch_topic(&world).await;
    let sent = send_batch(
        &world,
        request::SEND_MESSAGE,
        &messages(&bodies("a", 3)),
        &[(props::UNIQ_KEY, BATCH_KEY)],
    )
    .await;
    assert_eq!(sent.code, response::SUCCESS, "{sent:?}");
    let dir = world.stop().await;
    // Killed between the two parts of a deletion.
    let file = dir.path().join("config/topics.json");
    let mut topics: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(topics["topicConfigTable"].as_object_mut().unwrap().remove("Letters").is_some());
    std::fs::write(&file, topics.to_string()).unwrap();
    let world = World::open(dir, Vec::new()).await;
    world.send("Letters", 0, "alone").await;
    let world = world.restart().await;
    let pulled = world.pull("readers", "Letters", 0, 0).await;
    assert_eq!(pulled.bodies(), ["alone"]);
}
