//! What comes from the name server and the broker is damaged, cut off or lost for a while: nothing of a client ends by
//! it, and when answers are right again everything goes on.
//!
//! `ANSWER_SEEDS=50 cargo test -p thrustmq-client --test answers_are_damaged_for_a_while` tries more.

mod support;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use remoting::{Channel, Limits, Listener, Server, Service, Turn};
use sim::Random;
use support::{PATIENCE, World, eventually};
use thrustmq_client::{Client, ConsumeOrderlyStatus, Filter, Message, Producer, Received, StartFrom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use wire::code::{request, response};
use wire::frame::{FRAME_MAX, split};
use wire::header::{self, FrameWriter, Head};

const QUEUES: i32 = 2;
const SOON: Duration = Duration::from_millis(200);
const DAMAGED: Duration = Duration::from_secs(3);
/// Of a hundred frames.
const DAMAGED_PERCENT: u64 = 10;

const CODES: [i32; 12] = [-1, 0, 1, 2, 11, 14, 17, 19, 20, 21, 24, i32::MAX];
const VALUES: [&str; 8] = ["", "-1", "0", "7", "x", "null", "9223372036854775807", "99999999999999999999"];

/// A name server that knows one broker, at the address of a relay.
struct Names(String);

impl Service for Names {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(asked) = turn.next_request() {
            if asked.header.code != request::GET_ROUTEINFO_BY_TOPIC {
                continue;
            }
            let topic = asked.field("topic").unwrap_or_default();
            let count = if topic.starts_with('%') { 1 } else { QUEUES };
            let route = format!(
                r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{}"}},"brokerName":"broker-a","cluster":"{}"}}],"queueDatas":[{{"brokerName":"broker-a","perm":6,"readQueueNums":{count},"writeQueueNums":{count}}}]}}"#,
                self.0,
                support::CLUSTER
            );
            FrameWriter::new(turn.out, &asked.reply_to().head(response::SUCCESS, None))
                .body(route.as_bytes());
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

/// What stands between clients and servers.
#[derive(Clone)]
struct Relays {
    honest: Arc<AtomicBool>,
    random: Arc<Mutex<Random>>,
}

impl Relays {
    /// Address of a relay to a server.
    async fn towards(&self, server: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let relays = self.clone();
        tokio::spawn(async move {
            loop {
                let (outside, _) = listener.accept().await.unwrap();
                let Ok(inside) = TcpStream::connect(&server).await else { continue };
                let ((mut asks, is_answered), (answers, mut is_asked)) =
                    (outside.into_split(), inside.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut asks, &mut is_asked).await });
                tokio::spawn(relays.clone().answer(answers, is_answered));
            }
        });
        address
    }

    async fn answer(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut read = Vec::new();
        while let Ok(1..) = from.read_buf(&mut read).await {
            while let Ok(Some(frame)) = split(&read, FRAME_MAX) {
                let size = frame.size;
                let (bytes, goes_on) = self.pass(&read[..size]);
                if to.write_all(&bytes).await.is_err() || !goes_on {
                    return;
                }
                read.drain(..size);
            }
        }
    }

    /// What is passed on of a frame, and whether the connection stays.
    fn pass(&self, frame: &[u8]) -> (Vec<u8>, bool) {
        let mut random = self.random.lock();
        if self.honest.load(Ordering::SeqCst) || !random.chance(DAMAGED_PERCENT) {
            return (frame.to_vec(), true);
        }
        match random.below(10) {
            0 => (Vec::new(), true),
            1 => (frame[..random.below(frame.len() as u64) as usize].to_vec(), false),
            2 => {
                let mut bytes = frame.to_vec();
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.below(8);
                (bytes, true)
            }
            _ => (changed(frame, &mut random), true),
        }
    }
}

/// A frame that is well formed and says something else.
fn changed(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let frame = split(bytes, FRAME_MAX).unwrap().unwrap();
    let header = header::parse(frame.dialect, frame.header).unwrap();
    let mut fields: Vec<_> = header.fields.iter().map(|(name, value)| (name, value.to_owned())).collect();
    let (mut code, mut body) = (header.code, frame.body.to_vec());
    let mut any = |count: usize| random.below(count as u64) as usize;
    match any(4) {
        0 => code = CODES[any(CODES.len())],
        1 if !fields.is_empty() => drop(fields.swap_remove(any(fields.len()))),
        2 if !body.is_empty() => match any(3) {
            0 => body.truncate(any(body.len())),
            1 => body.clear(),
            _ => {
                let at = any(body.len());
                body[at] ^= 1 << any(8);
            }
        },
        _ if !fields.is_empty() => {
            let at = any(fields.len());
            fields[at].1 = VALUES[any(VALUES.len())].to_owned();
        }
        _ => body.extend_from_slice(b"{\"a\":"),
    }
    let head = Head {
        dialect: frame.dialect,
        code,
        opaque: header.opaque,
        flag: header.flag,
        remark: header.remark.as_deref(),
    };
    let mut out = Vec::new();
    let mut writer = FrameWriter::new(&mut out, &head);
    for (name, value) in &fields {
        writer.field(name, value);
    }
    writer.body(&body);
    out
}

fn names(broker: &str) -> (Server, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address();
    (listener.serve(Limits::default(), Arc::new(Names(broker.to_owned()))), address)
}

/// Texts that came to somebody.
type Seen = Arc<Mutex<BTreeSet<String>>>;

/// Sends `text` to each queue until each has it.
async fn send(producer: &Producer, text: &str) {
    for queue in producer.queues("T").await.unwrap() {
        let text = format!("{text} {}", queue.queue_id);
        eventually("it is sent", async || {
            producer.send_to(Message::new("T", text.clone()), &queue).await.is_ok()
        })
        .await;
    }
}

async fn is_survived(seed: u64) {
    println!("seed {seed}");
    let world = World::start().await;
    world.create_topic("T", QUEUES).await;
    let honest = Arc::new(AtomicBool::new(true));
    let relays = Relays { honest: Arc::clone(&honest), random: Arc::new(Mutex::new(Random::new(seed))) };
    let broker = relays.towards(world.broker(0)).await;
    let (_server, names) = names(&broker);
    let names = relays.towards(names.to_string()).await;
    let builder = Client::builder(names).route_refresh(SOON).heartbeat(SOON).call_timeout(5 * SOON);
    let client = builder.connect().await.unwrap();

    let seen: [Seen; 3] = Default::default();
    let note = |at: usize| {
        let seen = Arc::clone(&seen[at]);
        move |text: &str| {
            seen.lock().insert(text.to_owned());
        }
    };
    let consumer = |group: &str| {
        let consumer = client.consumer(group).subscribe("T", Filter::all());
        consumer.start_from(StartFrom::Earliest).rebalance_every(SOON).commit_every(SOON)
    };
    let see = note(0);
    let concurrent = consumer("concurrent")
        .serve(move |message: Received| {
            see(&message.text());
            async { Ok::<_, Infallible>(()) }
        })
        .await
        .unwrap();
    let see = note(1);
    let orderly = consumer("orderly")
        .serve_orderly(8, move |messages: Vec<Received>| {
            messages.iter().for_each(|message| see(&message.text()));
            async { Ok::<_, Infallible>(ConsumeOrderlyStatus::Success) }
        })
        .await
        .unwrap();
    let see = note(2);
    let popping = client.pop_consumer("popping").subscribe("T", Filter::all()).start_from_earliest();
    let popping = popping
        .rebalance_every(SOON)
        .serve(move |message: Received| {
            see(&message.text());
            async { Ok::<_, Infallible>(()) }
        })
        .await
        .unwrap();

    let producer = client.producer("P").build().unwrap();
    honest.store(false, Ordering::SeqCst);
    let until = tokio::time::Instant::now() + DAMAGED;
    while tokio::time::Instant::now() < until {
        // It may fail, and it may be stored all the same.
        let _ = producer.send(Message::new("T", "meanwhile")).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    honest.store(true, Ordering::SeqCst);
    // A consumer that was told of an offset far ahead passes over what is sent before it has come back.
    let after = |number: usize| format!("after {number}");
    for number in 0.. {
        send(&producer, &after(number)).await;
        let has_all = |seen: &Seen| {
            let seen = seen.lock();
            (0..QUEUES).all(|queue| {
                let end = format!(" {queue}");
                seen.iter().any(|text| text.starts_with("after") && text.ends_with(&end))
            })
        };
        if seen.iter().all(has_all) {
            break;
        }
        assert!(number < 200, "not everybody goes on: {seen:?}");
        tokio::time::sleep(SOON).await;
    }
    for serving in [concurrent, orderly, popping] {
        tokio::time::timeout(PATIENCE, serving.close(SOON)).await.expect("a close that ends");
    }
    client.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_goes_on_when_answers_are_right_again() {
    let seeds = std::env::var("ANSWER_SEEDS").ok().map_or(1, |text| text.parse().expect("a number"));
    for seed in 1..=seeds {
        is_survived(seed).await;
    }
}
