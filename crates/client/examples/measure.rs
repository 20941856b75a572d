//! Measures this client, beside its twin in Java (`interop/java/src/main/java/interop/Measure.java`);
//! `scripts/client-side-by-side` runs both in turn:
//! cargo run --release -p thrustmq-client --example measure -- 127.0.0.1:9876 send bench 5
//!
//! Work is `send` (1 KiB, 1,024 under way), `sync` (1 KiB, one after the other), `awake` (the same with a producer that
//! stays awake until it is answered), `consume` (a new group reads the topic from its beginning to its end) or `fill`
//! (sends as many messages as the last argument says). It prints messages per second, microseconds of this process's
//! CPU for each, and the median of the time of a send in microseconds.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use thrustmq_client::{Client, Filter, Message, Producer, StartFrom, TopicConfig};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const BODY_BYTES: usize = 1_024;
/// Sends under way, which is the usual limit of the producer.
const UNDER_WAY: usize = 1_024;
/// How long a producer stays awake that does.
const AWAKE: Duration = Duration::from_micros(500);
/// Time before the window, in which a virtual machine would compile.
const WARM_UP: Duration = Duration::from_secs(5);
/// The part of what is consumed that is not measured.
const WARM_UP_PART: u64 = 3;
/// Ticks of the processor's clock in a second, as Linux has them on all common machines.
const TICKS: f64 = 100.0;

#[tokio::main]
async fn main() -> Outcome<()> {
    // In a task, as in applications: the thread of `main` is none of the runtime's, and one of those would have to wake
    // it for every answer.
    tokio::spawn(measure()).await?
}

async fn measure() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, work, topic, last] = &arguments[..] else {
        return Err("usage: measure NAME-SERVER send|sync|awake|consume|fill TOPIC SECONDS|COUNT".into());
    };
    let number: u64 = last.parse()?;
    let client = Client::connect(servers).await?;
    create(&client, topic).await?;
    let awake = if work == "awake" { AWAKE } else { Duration::ZERO };
    let producer = client.producer("measure").stay_awake(awake).build()?;
    let measured = match work.as_str() {
        "send" => send(&producer, topic, Duration::from_secs(number)).await?,
        "sync" | "awake" => sync(&producer, topic, Duration::from_secs(number)).await?,
        "consume" => consume(&client, topic).await?,
        "fill" => fill(&producer, topic, number).await?,
        other => return Err(format!("no such work: {other}").into()),
    };
    println!("{:.0} {:.2} {:.0}", measured.rate, measured.cpu_us, measured.median_us);
    Ok(())
}

struct Measured {
    rate: f64,
    cpu_us: f64,
    median_us: f64,
}

/// From here on it counts.
struct Window {
    begun: Instant,
    ticks: f64,
}

impl Window {
    fn open() -> Outcome<Window> {
        Ok(Window { begun: Instant::now(), ticks: ticks()? })
    }

    fn close(&self, messages: u64, median_us: f64) -> Outcome<Measured> {
        let (seconds, cpu) = (self.begun.elapsed().as_secs_f64(), (ticks()? - self.ticks) / TICKS);
        let messages = messages.max(1) as f64;
        Ok(Measured { rate: messages / seconds, cpu_us: cpu * 1e6 / messages, median_us })
    }
}

/// User and system time of this process, in ticks.
fn ticks() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program may have spaces, and ends with a bracket.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    Ok(field(11) + field(12))
}

async fn create(client: &Client, topic: &str) -> Outcome<()> {
    let admin = client.admin();
    let cluster = admin.cluster().await?.cluster_addr_table.into_keys().next().ok_or("no cluster")?;
    admin.create_topic(&cluster, &TopicConfig::new(topic, 4, 6)).await?;
    while admin.topic_route(topic).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn send(producer: &Producer, topic: &str, time: Duration) -> Outcome<Measured> {
    sending(producer, topic, WARM_UP).await?;
    let window = Window::open()?;
    let sent = sending(producer, topic, time).await?;
    window.close(sent, 0.0)
}

/// Sends for so long, and says how many were confirmed.
async fn sending(producer: &Producer, topic: &str, time: Duration) -> Outcome<u64> {
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let (begun, mut sent, mut pending) = (Instant::now(), 0, VecDeque::with_capacity(UNDER_WAY));
    while begun.elapsed() < time {
        if pending.len() >= UNDER_WAY
            && let Some(oldest) = pending.pop_front()
        {
            confirmed(oldest).await?;
            sent += 1;
        }
        pending.push_back(producer.enqueue(Message::new(topic, body.clone())).await?);
    }
    for rest in pending {
        confirmed(rest).await?;
        sent += 1;
    }
    Ok(sent)
}

async fn confirmed(pending: thrustmq_client::Pending) -> Outcome<()> {
    pending.await.map(drop).map_err(|error| error.to_string().into())
}

async fn sync(producer: &Producer, topic: &str, time: Duration) -> Outcome<Measured> {
    one_by_one(producer, topic, WARM_UP).await?;
    let window = Window::open()?;
    let mut times = one_by_one(producer, topic, time).await?;
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    window.close(times.len() as u64, median.as_secs_f64() * 1e6)
}

async fn one_by_one(producer: &Producer, topic: &str, time: Duration) -> Outcome<Vec<Duration>> {
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let sent = Instant::now();
        producer.send(Message::new(topic, body.clone())).await?;
        times.push(sent.elapsed());
    }
    Ok(times)
}

async fn fill(producer: &Producer, topic: &str, count: u64) -> Outcome<Measured> {
    let window = Window::open()?;
    let mut sent = 0;
    while sent < count {
        sent += sending(producer, topic, Duration::from_secs(1)).await?;
    }
    window.close(sent, 0.0)
}

async fn consume(client: &Client, topic: &str) -> Outcome<Measured> {
    let stats = client.admin().topic_stats(topic).await?;
    let all: i64 = stats.offset_table.values().map(|offset| offset.max_offset - offset.min_offset).sum();
    let all = u64::try_from(all)?;
    let came = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&came);
    let group = format!("measure-{}", std::process::id());
    let consumer = client.consumer(group).subscribe(topic, Filter::all()).start_from(StartFrom::Earliest);
    let serving = consumer
        .serve(move |message| {
            counted.fetch_add(u64::from(message.body.len() == BODY_BYTES), Ordering::Relaxed);
            async { Ok::<(), String>(()) }
        })
        .await?;
    let measured = reading(&came, all).await;
    serving.close(Duration::from_secs(10)).await;
    measured
}

async fn reading(came: &AtomicU64, all: u64) -> Outcome<Measured> {
    while came.load(Ordering::Relaxed) < all / WARM_UP_PART {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (window, before) = (Window::open()?, came.load(Ordering::Relaxed));
    // The last messages of the queues do not come evenly.
    let end = all - all / 20;
    while came.load(Ordering::Relaxed) < end {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    window.close(came.load(Ordering::Relaxed) - before, 0.0)
}
