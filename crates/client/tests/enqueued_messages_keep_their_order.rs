//! Messages of one key arrive in the order in which they were enqueued, also when some need several attempts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use remoting::{Channel, Limits, Listener, Server, Service, Turn};
use thrustmq_client::{AutoBatch, Client, Error, Message, ProducerBuilder, SendFailed, SendHook, Sending};
use wire::code::{request, response};
use wire::header::FrameWriter;

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A name server and broker that is busy when a message comes for the first time, and notes what it takes then.
#[derive(Default)]
struct Busy {
    address: Mutex<String>,
    /// Takes nothing, and does not say so.
    silent: AtomicBool,
    refused: Mutex<Vec<String>>,
    taken: Mutex<Vec<String>>,
}

impl Busy {
    fn start() -> (Arc<Busy>, Server) {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let busy = Arc::new(Busy::default());
        *busy.address.lock() = listener.address().to_string();
        let server = listener.serve(Limits::default(), busy.clone());
        (busy, server)
    }

    /// Every third one it refuses once.
    fn refuses(&self, text: &str) -> bool {
        let mut refused = self.refused.lock();
        let first = text.ends_with(['0', '3', '6', '9']) && !refused.iter().any(|known| known == text);
        if first {
            refused.push(text.to_owned());
        }
        first
    }
}

impl Service for Busy {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(asked) = turn.next_request() {
            let head = asked.reply_to();
            match asked.header.code {
                request::GET_ROUTEINFO_BY_TOPIC => {
                    let route = format!(
                        r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{}"}},"brokerName":"b","cluster":"c"}}],
                            "queueDatas":[{{"brokerName":"b","perm":6,"readQueueNums":2,"writeQueueNums":2}}]}}"#,
                        self.address.lock()
                    );
                    FrameWriter::new(turn.out, &head.head(response::SUCCESS, None)).body(route.as_bytes());
                }
                request::SEND_MESSAGE_V2 if self.silent.load(Ordering::Relaxed) => (),
                request::SEND_MESSAGE_V2 => {
                    let text = String::from_utf8(asked.body.to_vec()).unwrap();
                    if self.refuses(&text) {
                        head.write(turn.out, response::SYSTEM_BUSY, Some("come again"));
                        continue;
                    }
                    self.taken.lock().push(text);
                    let mut answer = FrameWriter::new(turn.out, &head.head(response::SUCCESS, None));
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

async fn arrive_in_order(made: impl FnOnce(ProducerBuilder) -> ProducerBuilder) {
    let (busy, _server) = Busy::start();
    let address = busy.address.lock().clone();
    let client = Client::connect(&address).await.unwrap();
    let producer = made(client.producer("P").timeout(PATIENCE)).build().unwrap();
    let mut pending = Vec::new();
    for number in 0..20 {
        for key in ["a", "b"] {
            let message = Message::new("T", format!("{key} {number}")).order_by(key);
            pending.push(producer.enqueue(message).await.unwrap());
        }
    }
    let last = producer.send(Message::new("T", "a last").order_by("a")).await.unwrap();
    assert_eq!(last.queue.topic, "T");
    for sent in pending {
        sent.await.unwrap();
    }
    let taken = busy.taken.lock().clone();
    for key in ["a", "b"] {
        let of_key: Vec<_> = taken.iter().filter(|text| text.starts_with(key)).collect();
        let mut expected: Vec<_> = (0..20).map(|number| format!("{key} {number}")).collect();
        if key == "a" {
            expected.push("a last".to_owned());
        }
        assert_eq!(of_key, expected.iter().collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_needs_another_attempt_is_not_passed_by_the_next() {
    arrive_in_order(|producer| producer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_do_not_change_it() {
    arrive_in_order(|producer| producer.auto_batch(AutoBatch::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_behind_a_silent_broker_do_not_each_wait_for_it() {
    let (busy, _server) = Busy::start();
    busy.silent.store(true, Ordering::Relaxed);
    let address = busy.address.lock().clone();
    let client = Client::connect(&address).await.unwrap();
    let timeout = Duration::from_millis(200);
    let producer = client.producer("P").timeout(timeout).build().unwrap();
    // One after the other would take 10 s.
    let most = Duration::from_secs(5);
    let begun = Instant::now();
    let mut pending = Vec::new();
    for number in 0..50 {
        let message = Message::new("T", format!("{number}")).order_by("a");
        pending.push(producer.enqueue(message).await.unwrap());
    }
    let beside = producer.send(Message::new("T", "beside").order_by("a"));
    let beside = tokio::time::timeout(most, beside).await.expect("a send that ends").unwrap_err();
    assert!(matches!(beside.cause(), Error::TooLate { .. } | Error::Timeout { .. }), "{beside}");
    tokio::time::timeout(most, producer.close()).await.expect("a close that ends");
    assert!(begun.elapsed() < most, "{:?}", begun.elapsed());

    let mut unsent = 0;
    for sent in pending {
        let Err(SendFailed::Send(error)) = sent.await else { panic!("nobody has taken it") };
        let too_late = matches!(error.cause(), Error::TooLate { after, .. } if *after == timeout);
        assert!(!(too_late && error.maybe_stored()), "{error}");
        unsent += u32::from(too_late);
    }
    assert!(unsent > 0, "all were sent");
}

/// Forbids what is secret, but only when it is told to.
struct Hesitating(Mutex<mpsc::Receiver<()>>);

impl SendHook for Hesitating {
    fn check(&self, sending: &Sending<'_>) -> Result<(), String> {
        if sending.body.as_ref() != b"secret" {
            return Ok(());
        }
        let _ = self.0.lock().recv();
        Err("it is a secret".to_owned())
    }
}

// The hook keeps one of the threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_refused_does_not_make_those_fail_that_have_waited_long() {
    let (busy, _server) = Busy::start();
    let address = busy.address.lock().clone();
    let (tell, told) = mpsc::channel();
    let hook = Hesitating(Mutex::new(told));
    let client = Client::builder(&address).send_hook(hook).connect().await.unwrap();
    let timeout = Duration::from_secs(2);
    let producer = client.producer("P").timeout(timeout).build().unwrap();
    let secret = producer.enqueue(Message::new("T", "secret").order_by("a")).await.unwrap();
    let behind = producer.enqueue(Message::new("T", "behind").order_by("a")).await.unwrap();
    tokio::time::sleep(timeout).await;
    let beside = producer.send(Message::new("T", "beside").order_by("a")).await.unwrap_err();
    assert!(matches!(beside.cause(), Error::TooLate { .. }) && !beside.maybe_stored(), "{beside}");
    tell.send(()).unwrap();
    let Err(SendFailed::Send(error)) = secret.await else { panic!("it is a secret") };
    assert!(matches!(error.cause(), Error::Forbidden(_)), "{error}");
    behind.await.unwrap();
    assert_eq!(*busy.taken.lock(), ["behind"]);
}
