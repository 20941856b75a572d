//! Brokers that refuse a message, or store it less safely than it should be: which send goes to another, and which
//! does not.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use remoting::{Channel, Limits, Listener, Server, Service, Turn};
use thrustmq_client::{Client, Decision, Message, Producer, ProducerBuilder, SendStatus};
use wire::code::{request, response};
use wire::header::FrameWriter;
use wire::properties;

/// A broker that answers every send with one code, and notes under which keys it was sent messages.
struct Answering {
    code: i32,
    /// What it says as a name server.
    route: Mutex<String>,
    keys: Mutex<Vec<String>>,
}

impl Service for Answering {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(asked) = turn.next_request() {
            let head = asked.reply_to();
            match asked.header.code {
                request::GET_ROUTEINFO_BY_TOPIC => {
                    let route = self.route.lock();
                    FrameWriter::new(turn.out, &head.head(response::SUCCESS, None)).body(route.as_bytes());
                }
                request::SEND_MESSAGE_V2 => {
                    let text = asked.field("i").unwrap_or_default().as_bytes();
                    self.keys.lock().extend(properties::find(text, properties::UNIQ_KEY).map(str::to_owned));
                    let mut answer = FrameWriter::new(turn.out, &head.head(self.code, None));
                    let place = "7F00000100002A9F0000000000000000";
                    answer.field("msgId", place).field("queueId", "0").field("queueOffset", "7");
                    answer.empty();
                }
                _ => FrameWriter::new(turn.out, &head.head(response::SUCCESS, None)).empty(),
            }
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

/// Brokers `a`, `b` and so on, of which the first is the name server too.
struct Brokers {
    all: Vec<Arc<Answering>>,
    client: Client,
    _servers: Vec<Server>,
}

impl Brokers {
    async fn answering(codes: &[i32]) -> Brokers {
        let answering =
            |code: &i32| Arc::new(Answering { code: *code, route: Mutex::default(), keys: Mutex::default() });
        let all: Vec<_> = codes.iter().map(answering).collect();
        let (mut addresses, mut servers) = (Vec::new(), Vec::new());
        for broker in &all {
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            addresses.push(listener.address().to_string());
            servers.push(listener.serve(Limits::default(), broker.clone()));
        }
        let named = || addresses.iter().zip('a'..);
        let datas: Vec<_> = named()
            .map(|(address, name)| {
                format!(r#"{{"brokerAddrs":{{"0":"{address}"}},"brokerName":"{name}","cluster":"c"}}"#)
            })
            .collect();
        let queues: Vec<_> = named()
            .map(|(_, name)| {
                format!(r#"{{"brokerName":"{name}","perm":6,"readQueueNums":1,"writeQueueNums":1}}"#)
            })
            .collect();
        *all[0].route.lock() =
            format!(r#"{{"brokerDatas":[{}],"queueDatas":[{}]}}"#, datas.join(","), queues.join(","));
        // Nothing is asked for again by the clock.
        let client = Client::builder(&addresses[0]).route_refresh(Duration::from_secs(3_600));
        let client = client.connect().await.unwrap();
        Brokers { all, client, _servers: servers }
    }

    fn producer(&self) -> ProducerBuilder {
        self.client.producer("P").timeout(Duration::from_secs(20))
    }

    /// How many messages each was sent, and whether all were the same.
    fn sent(&self) -> (Vec<usize>, bool) {
        let keys: Vec<_> = self.all.iter().map(|broker| std::mem::take(&mut *broker.keys.lock())).collect();
        let mut distinct = keys.concat();
        distinct.sort();
        distinct.dedup();
        (keys.iter().map(Vec::len).collect(), distinct.len() == 1)
    }
}

/// Sends until a message comes to the first broker first, which takes turns with the other.
async fn sent_to_first(brokers: &Brokers, producer: &Producer) -> thrustmq_client::Receipt {
    for _ in 0..8 {
        let receipt = producer.send(Message::new("T", "x")).await.unwrap();
        let (sent, same) = brokers.sent();
        assert!(same, "all attempts have one key");
        if sent[0] > 0 {
            assert_eq!((sent.iter().sum::<usize>(), receipt.attempts as usize), (sent.len(), sent.len()));
            return receipt;
        }
    }
    panic!("the first broker was never chosen first");
}

#[tokio::test]
async fn what_one_broker_stores_unsafely_another_stores_too_if_that_is_wanted() {
    let brokers = Brokers::answering(&[response::FLUSH_DISK_TIMEOUT, response::SUCCESS]).await;
    let producer = brokers.producer().build().unwrap();
    let statuses = async || {
        let mut statuses = Vec::new();
        for _ in 0..4 {
            let receipt = producer.send(Message::new("T", "x")).await.unwrap();
            assert_eq!(receipt.attempts, 1);
            statuses.push(receipt.status);
        }
        statuses
    };
    let unsafely = statuses().await.into_iter().filter(|status| *status == SendStatus::FlushDiskTimeout);
    assert_eq!(unsafely.count(), 2, "by default it stays where it is");
    drop(producer);
    brokers.sent();

    let producer = brokers.producer().retry_another_broker_when_not_store_ok(true).build().unwrap();
    let receipt = sent_to_first(&brokers, &producer).await;
    assert_eq!((receipt.status, receipt.queue.broker_name.as_str()), (SendStatus::Stored, "b"));
    let queue = producer.queues("T").await.unwrap().remove(0);
    let named = producer.send_to(Message::new("T", "x"), &queue).await.unwrap();
    assert_eq!((named.status, named.attempts), (SendStatus::FlushDiskTimeout, 1));
}

#[tokio::test]
async fn where_no_broker_stores_safely_the_receipt_is_of_one_that_stored() {
    let codes = [response::FLUSH_SLAVE_TIMEOUT, response::FLUSH_SLAVE_TIMEOUT];
    let brokers = Brokers::answering(&codes).await;
    let producer = brokers.producer().attempts(2).retry_another_broker_when_not_store_ok(true);
    let producer = producer.build().unwrap();
    let receipt = producer.send(Message::new("T", "x")).await.unwrap();
    assert_eq!((receipt.status, receipt.attempts), (SendStatus::FlushSlaveTimeout, 2));
    assert_eq!(brokers.sent(), (vec![1, 1], true));
    drop(producer);

    let codes = [response::SLAVE_NOT_AVAILABLE, response::MESSAGE_ILLEGAL];
    let brokers = Brokers::answering(&codes).await;
    let producer = brokers.producer().retry_another_broker_when_not_store_ok(true).build().unwrap();
    let stored = async || producer.send(Message::new("T", "x")).await.ok();
    let receipts = [stored().await, stored().await];
    let stored: Vec<_> = receipts.into_iter().flatten().collect();
    assert!(stored.iter().any(|receipt| receipt.status == SendStatus::SlaveNotAvailable), "{stored:?}");
}

#[tokio::test]
async fn a_broker_alone_and_a_half_message_are_not_asked_twice() {
    let brokers = Brokers::answering(&[response::SLAVE_NOT_AVAILABLE]).await;
    let producer = brokers.producer().retry_another_broker_when_not_store_ok(true).build().unwrap();
    let receipt = producer.send(Message::new("T", "x")).await.unwrap();
    assert_eq!((receipt.status, receipt.attempts), (SendStatus::SlaveNotAvailable, 1));
    drop(producer);

    let codes = [response::SLAVE_NOT_AVAILABLE, response::SLAVE_NOT_AVAILABLE];
    let brokers = Brokers::answering(&codes).await;
    let producer = brokers.producer().retry_another_broker_when_not_store_ok(true);
    let producer = producer.transactional(|_| async { Decision::Unknown }).unwrap();
    let error = producer.begin(Message::new("T", "x")).await.unwrap_err();
    assert_eq!((error.attempts(), brokers.sent().0.iter().sum::<usize>()), (1, 1));
}

#[tokio::test]
async fn codes_decide_whether_another_attempt_is_made() {
    let brokers = Brokers::answering(&[response::NO_PERMISSION, response::SUCCESS]).await;
    let producer = brokers.producer().build().unwrap();
    let receipt = sent_to_first(&brokers, &producer).await;
    assert_eq!(receipt.queue.broker_name, "b", "as Java does by default");
    drop(producer);

    let unusual = 2_001;
    let brokers = Brokers::answering(&[unusual, response::SUCCESS]).await;
    let producer = brokers.producer().build().unwrap();
    let sends = [
        producer.send(Message::new("T", "x")).await.is_err(),
        producer.send(Message::new("T", "x")).await.is_err(),
    ];
    assert!(sends.contains(&true), "it is refused for good");
    drop(producer);
    brokers.sent();
    let producer = brokers.producer().add_retry_response_code(unusual).build().unwrap();
    sent_to_first(&brokers, &producer).await;
}

#[tokio::test]
async fn a_broker_that_says_that_it_failed_may_have_stored_the_message() {
    let brokers = Brokers::answering(&[response::SYSTEM_ERROR]).await;
    let producer = brokers.producer().build().unwrap();
    let error = producer.send(Message::new("T", "x")).await.unwrap_err();
    assert!(error.maybe_stored() && error.attempts() == 3, "{error}");
    assert_eq!(brokers.sent(), (vec![3], true));
    let ordered = producer.send(Message::new("T", "x").order_by("k")).await.unwrap_err();
    assert_eq!(ordered.attempts(), 1, "a second copy might come behind others");
    drop(producer);

    let brokers = Brokers::answering(&[response::SYSTEM_BUSY]).await;
    let producer = brokers.producer().build().unwrap();
    let error = producer.send(Message::new("T", "x").order_by("k")).await.unwrap_err();
    assert!(!error.maybe_stored() && error.attempts() == 3, "{error}");
}

#[tokio::test]
async fn queues_that_may_be_written_again_are_found_by_who_sends() {
    let brokers = Brokers::answering(&[response::SUCCESS]).await;
    let producer = brokers.producer().build().unwrap();
    let route = &brokers.all[0].route;
    let writable = route.lock().clone();
    *route.lock() = writable.replace(r#""perm":6"#, r#""perm":4"#);
    producer.send(Message::new("T", "x")).await.expect_err("no queue may be written");
    *route.lock() = writable;
    let sent = async {
        while producer.send(Message::new("T", "x")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), sent).await.expect("it is sent soon");
}
