//! What happens to messages is seen by hooks, and written to the topic of traces where tools look it up.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use support::{PATIENCE, World, eventually};
use thrustmq_client::{
    Client, ConsumeHook, ConsumeOutcome, Consumed, Consuming, Decision, Filter, Message, SendHook,
    SendOutcome, Sending, Sent, StartFrom, Trace,
};

const TRACES: &str = "RMQ_SYS_TRACE_TOPIC";

/// Records of a message, by kind.
async fn records(client: &Client, message_id: &str) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut records: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let found = client.admin().messages_by_key(TRACES, message_id, 32, 0, i64::MAX).await;
    for message in found.unwrap_or_default() {
        let text = message.text().into_owned();
        assert!(text.ends_with('\u{2}'), "{text:?}");
        for record in text.split_terminator('\u{2}') {
            let fields: Vec<String> = record.split('\u{1}').map(str::to_owned).collect();
            if fields.iter().any(|field| field == message_id) {
                records.entry(fields[0].clone()).or_default().push(fields);
            }
        }
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_traced_from_its_producer_to_its_consumer() {
    let world = World::with(1, &[("traceTopicEnable", "true")]).await;
    world.create_topic("orders", 1).await;
    let client = Client::builder(world.names()).trace(Trace::default()).connect().await.unwrap();

    let producer = client.producer("shop").transactional(|_| async { Decision::Unknown }).unwrap();
    let message = Message::new("orders", "x".repeat(9_000)).tag("paid").key("7").key("seven");
    let first = producer.send(message).await.unwrap();
    let batch = vec![Message::new("orders", "a"), Message::new("orders", "b").key("of b")];
    let receipts = producer.send_all(batch).await.unwrap();
    let half = producer.begin(Message::new("orders", "half")).await.unwrap();
    let half_id = half.message_id().to_owned();
    half.commit().await.unwrap();
    producer.close().await;

    let consumer = client.consumer("service").subscribe("orders", Filter::all());
    let mut consumer = consumer.start_from(StartFrom::Earliest).stream().await.unwrap();
    for _ in 0..4 {
        let order = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
        if order.message_id() == receipts[0].message_id { order.dead_letter().await } else { order.ack() }
    }
    consumer.close(PATIENCE).await;

    eventually("everything is recorded", async || records(&client, &first.message_id).await.len() == 3).await;
    let of_first = records(&client, &first.message_id).await;
    let sent = &of_first["Pub"][0];
    assert_eq!(sent.len(), 14);
    let [region, group, topic, id, tag, keys] = &sent[2..8] else { panic!("{sent:?}") };
    assert_eq!([region, group, topic, id], ["DefaultRegion", "shop", "orders", first.message_id.as_str()]);
    assert_eq!((tag.as_str(), keys.as_str(), sent[13].as_str()), ("paid", "7 seven", "true"));
    assert_eq!((&sent[8], &sent[11], &sent[12]), (&world.broker(0), &"0".to_owned(), &first.offset_id));
    assert!(sent[9].parse::<usize>().unwrap() < 9_000, "as it travelled, which is compressed");
    let (before, after) = (&of_first["SubBefore"][0], &of_first["SubAfter"][0]);
    assert_eq!(before[4], after[1], "one consumption");
    assert_eq!((before[3].as_str(), after[4].as_str(), after[6].as_str()), ("service", "true", "0"));
    // By a key of the application too.
    assert_eq!(records(&client, "seven").await.len(), 0, "no field is only that key");
    assert!(!client.admin().messages_by_key(TRACES, "seven", 32, 0, i64::MAX).await.unwrap().is_empty());

    let dead = records(&client, &receipts[0].message_id).await;
    assert_eq!((dead["SubAfter"][0][4].as_str(), dead["SubAfter"][0][6].as_str()), ("false", "4"));
    let of_half = records(&client, &half_id).await;
    assert_eq!(of_half["Pub"][0][11], "1");
    assert_eq!(of_half["EndTransaction"][0][11], "COMMIT_MESSAGE");
}

/// Remembers what it saw.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl SendHook for Notes {
    fn before(&self, sending: &mut Sending<'_>) {
        sending.property("origin", "a hook");
        sending.property("wrong", "a\u{1}b");
    }

    fn after(&self, sending: &Sending<'_>, sent: &Sent<'_>) {
        let what = match sent.outcome {
            SendOutcome::Stored(receipt) => format!("stored at {}", receipt.offset),
            SendOutcome::Unanswered => "told".to_owned(),
            SendOutcome::Failed { maybe_stored, .. } => format!("failed {maybe_stored}"),
            _ => "?".to_owned(),
        };
        self.0.lock().push(format!("{} {what}", String::from_utf8_lossy(sending.body)));
    }
}

impl ConsumeHook for Notes {
    fn after(&self, consuming: &Consuming<'_>, consumed: &Consumed) {
        let message = consuming.message;
        assert_eq!((consuming.group, message.property("origin")), ("service", Some("a hook")));
        assert_eq!(message.property("wrong"), None);
        self.0.lock().push(format!("{} {:?}", message.text(), consumed.outcome));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_see_every_end_once() {
    let world = World::start().await;
    world.create_topic("orders", 1).await;
    let notes = Notes::default();
    let hooked = Client::builder(world.names()).send_hook(notes.clone()).consume_hook(notes.clone());
    let client = hooked.connect().await.unwrap();
    let producer = client.producer("shop").build().unwrap();
    producer.send(Message::new("orders", "one")).await.unwrap();
    producer.send_all(vec![Message::new("orders", "two"), Message::new("orders", "three")]).await.unwrap();
    producer.send_oneway(Message::new("orders", "four")).await.unwrap();
    producer.send(Message::new("or ders", "five")).await.unwrap_err();
    let mixed = vec![
        Message::new("orders", "six"),
        Message::new("or ders", "seven"),
        Message::new("orders", "eight"),
    ];
    assert_eq!(producer.send_all(mixed).await.unwrap_err().unsent.len(), 2);
    let sent = std::mem::take(&mut *notes.0.lock());
    let expected = [
        "one stored at 0",
        "two stored at 1",
        "three stored at 2",
        "four told",
        "five failed false",
        "six stored at 4",
        "seven failed false",
        "eight failed false",
    ];
    assert_eq!(sent, expected);

    let consumer = client.consumer("service").subscribe("orders", Filter::all());
    let mut consumer = consumer.start_from(StartFrom::Earliest).stream().await.unwrap();
    let outcomes = [
        ConsumeOutcome::Done,
        ConsumeOutcome::Failed,
        ConsumeOutcome::Dead,
        ConsumeOutcome::Dropped,
        ConsumeOutcome::Done,
    ];
    for outcome in outcomes {
        let order = tokio::time::timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
        match outcome {
            ConsumeOutcome::Failed => order.retry().await,
            ConsumeOutcome::Dead => order.dead_letter().await,
            ConsumeOutcome::Dropped => drop(order),
            _ => order.ack(),
        }
    }
    let expected = ["one Done", "two Failed", "three Dead", "four Dropped", "six Done"];
    assert_eq!(*notes.0.lock(), expected);
    consumer.close(Duration::from_secs(5)).await;
}
