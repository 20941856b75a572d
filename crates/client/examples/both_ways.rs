//! Sends to another client what that client must understand, and the other way round, kind by kind, and says what
//! differed:
//! PROGRAM=Peer cargo run -p thrustmq-client --example both_ways -- 127.0.0.1:9876 pop interop/java/run 5.5.0
//!
//! Behind the name server stands whether the other client and the server pop (`pop`, `no-pop`), then the command that
//! starts the other client: a program that takes orders from its input and answers each with a line, as
//! `interop/java/src/main/java/interop/Peer.java` does.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use thrustmq_client::{
    Client, Decision, Filter, Message, Producer, Received, RequestMode, StartFrom, TopicConfig,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(60);
/// Messages of one kind.
const COUNT: usize = 12;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let servers = arguments.next().ok_or("no name server is named")?;
    let pops = arguments.next().ok_or("neither pop nor no-pop")? == "pop";
    let command: Vec<String> = arguments.collect();
    let mut peer = Peer::start(&command)?;
    let client = Client::connect(&servers).await?;
    let ways = Ways { client, run: format!("both-ways-{}", std::process::id()) };
    let kinds = ["normal", "ordered", "delayed", "transaction", "batch", "compressed", "broadcast", "popped"];
    let kinds = &kinds[..if pops { 8 } else { 7 }];
    ways.create_topics(kinds).await?;
    // All is sent before anything is received, so that what takes its time does so beside the rest.
    let mut sent = BTreeMap::new();
    for kind in kinds {
        sent.insert(*kind, ways.send(kind).await.map_err(|error| format!("sending {kind}: {error}"))?);
        let theirs = peer.ask(&["send", kind, &ways.topic("theirs", kind)])?;
        same(&format!("what the other sent, {kind}"), sent[kind].clone(), theirs)?;
    }
    for kind in kinds {
        let ours = ways.receive(kind).await.map_err(|error| format!("receiving {kind}: {error}"))?;
        compare(&format!("received here, {kind}"), kind, &sent[kind], ours)?;
        let (topic, group) = (ways.topic("ours", kind), format!("{}-{kind}-theirs", ways.run));
        let theirs = peer.ask(&["receive", kind, &topic, &group, &sent[kind].len().to_string()])?;
        compare(&format!("received there, {kind}"), kind, &sent[kind], theirs)?;
    }
    ways.ask_and_answer(&mut peer).await?;
    peer.ask(&["end"])?;
    println!("{} kinds of messages and requests work both ways", kinds.len());
    Ok(())
}

struct Ways {
    client: Client,
    run: String,
}

impl Ways {
    fn topic(&self, whose: &str, kind: &str) -> String {
        format!("{}-{whose}-{kind}", self.run)
    }

    async fn create_topics(&self, kinds: &[&str]) -> Outcome<()> {
        let admin = self.client.admin();
        let cluster = admin.cluster().await?.cluster_addr_table.into_keys().next().ok_or("no cluster")?;
        for kind in kinds.iter().chain(&["requests"]) {
            for whose in ["ours", "theirs"] {
                let topic = self.topic(whose, kind);
                admin.create_topic(&cluster, &TopicConfig::new(&topic, 4, 6)).await?;
                let deadline = tokio::time::Instant::now() + PATIENCE;
                while admin.topic_route(&topic).await.is_err() {
                    if tokio::time::Instant::now() > deadline {
                        return Err(format!("topic {topic} is not known in time").into());
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            if *kind == "popped" {
                let group = format!("{}-{kind}-theirs", self.run);
                let mode = RequestMode::Pop { share: 0 };
                admin.set_request_mode(&cluster, &self.topic("ours", kind), &group, mode).await?;
            }
        }
        Ok(())
    }

    /// Sends messages of a kind, and says what shall be received.
    async fn send(&self, kind: &str) -> Outcome<Vec<String>> {
        let topic = self.topic("ours", kind);
        let messages = (0..COUNT).map(|number| message(&topic, kind, number));
        if kind == "transaction" {
            return self.transact(messages.collect()).await;
        }
        let producer = self.client.producer(format!("{}-{kind}-p", self.run)).build()?;
        if kind == "batch" {
            producer.send_all(messages.collect()).await?;
        } else {
            for (number, message) in messages.enumerate() {
                send_one(&producer, kind, number, message).await?;
            }
        }
        Ok((0..COUNT).map(|number| expected(kind, number)).collect())
    }

    /// Half messages: every third is committed, every third taken back, and every third committed when the broker asks.
    async fn transact(&self, messages: Vec<Message>) -> Outcome<Vec<String>> {
        let group = format!("{}-transaction-p", self.run);
        let producer = self.client.producer(group).transactional(|_| async { Decision::Commit })?;
        let mut expecting = Vec::new();
        for (number, message) in messages.into_iter().enumerate() {
            let transaction = producer.begin(message).await?;
            match number % 3 {
                0 => drop(transaction.commit().await?),
                1 => transaction.rollback().await?,
                _ => drop(transaction),
            }
            if number % 3 != 1 {
                expecting.push(expected("transaction", number));
            }
        }
        // Somebody must be there when the broker asks.
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE * 2).await;
            drop(producer);
        });
        Ok(expecting)
    }

    /// Receives what the other client sent of a kind.
    async fn receive(&self, kind: &str) -> Outcome<Vec<String>> {
        let (topic, group) = (self.topic("theirs", kind), format!("{}-{kind}-ours", self.run));
        let count = if kind == "transaction" { COUNT / 3 * 2 } else { COUNT };
        let mut found = Vec::new();
        if kind == "batch" {
            let consumer = self.client.lite_pull_consumer(group).subscribe(topic, Filter::tags(["tag"]));
            let mut consumer = consumer.start_from(StartFrom::Earliest).build().await?;
            let deadline = tokio::time::Instant::now() + PATIENCE;
            while found.len() < count && tokio::time::Instant::now() < deadline {
                found.extend(consumer.poll(Duration::from_secs(1)).await.iter().map(describe));
            }
            consumer.close().await;
            return Ok(found);
        }
        if kind == "popped" {
            let consumer = self.client.pop_consumer(group).subscribe(topic, Filter::tags(["tag"]));
            let mut consumer = consumer.start_from_earliest().stream().await?;
            while found.len() < count {
                let message = tokio::time::timeout(PATIENCE, consumer.next()).await?.ok_or("closed")?;
                found.push(describe(&message));
                message.ack().await?;
            }
            consumer.close(PATIENCE).await;
            return Ok(found);
        }
        let consumer = self.client.consumer(group).subscribe(topic, Filter::tags(["tag"]));
        let consumer = consumer.start_from(StartFrom::Earliest);
        let folder = std::env::temp_dir().join(&self.run);
        let consumer = match kind {
            "ordered" => consumer.orderly(),
            "broadcast" => consumer.broadcast(&folder),
            _ => consumer,
        };
        let mut consumer = consumer.stream().await?;
        while found.len() < count {
            let message = tokio::time::timeout(PATIENCE, consumer.next()).await?.ok_or("closed")?;
            found.push(describe(&message));
            message.ack();
        }
        consumer.close(PATIENCE).await;
        let _ = std::fs::remove_dir_all(folder);
        Ok(found)
    }

    async fn ask_and_answer(&self, peer: &mut Peer) -> Outcome<()> {
        let (ours, theirs) = (self.topic("ours", "requests"), self.topic("theirs", "requests"));
        let producer = self.client.producer(format!("{}-requests-p", self.run)).build()?;
        let answering = producer.clone();
        let consumer = self.client.consumer(format!("{}-requests-ours", self.run));
        let consumer = consumer.subscribe(&theirs, Filter::all()).start_from(StartFrom::Earliest);
        let serving = consumer
            .serve(move |asked| {
                let answering = answering.clone();
                async move { answering.reply(&asked, format!("re: {}", asked.text())).await.map(drop) }
            })
            .await?;
        same("an answer of ours", vec!["re: well".into()], peer.ask(&["ask", &theirs, "well"])?)?;
        serving.close(PATIENCE).await;
        peer.ask(&["answer", &ours, &format!("{}-requests-theirs", self.run)])?;
        let reply = producer.request(Message::new(&ours, "well"), PATIENCE).await?;
        same("an answer of theirs", vec!["re: well".into()], vec![String::from_utf8(reply.body.to_vec())?])
    }
}

async fn send_one(producer: &Producer, kind: &str, number: usize, message: Message) -> Outcome<()> {
    match kind {
        "ordered" => producer.send(message.order_by(ordering_key(number))).await?,
        "delayed" => producer.send(message.delay_level(1)).await?,
        _ => producer.send(message).await?,
    };
    Ok(())
}

fn ordering_key(number: usize) -> String {
    format!("key{}", number % 3)
}

fn body(kind: &str, number: usize) -> String {
    let short = format!("{kind} {number}");
    if kind == "compressed" { format!("{short} {}", "long ".repeat(2_000)) } else { short }
}

fn message(topic: &str, kind: &str, number: usize) -> Message {
    let message = Message::new(topic, body(kind, number)).tag("tag").key(format!("{kind}-{number}"));
    message.property("number", number.to_string())
}

/// A message as both sides tell of it.
fn told(body: &str, tag: &str, key: &str, number: &str) -> String {
    let start: String = body.chars().take(20).collect();
    format!("{start}|{}|{tag}|{key}|{number}", body.len())
}

fn expected(kind: &str, number: usize) -> String {
    told(&body(kind, number), "tag", &format!("{kind}-{number}"), &number.to_string())
}

fn describe(message: &Received) -> String {
    let key = message.keys().next().unwrap_or_default();
    let number = message.property("number").unwrap_or_default();
    told(&message.text(), message.tag().unwrap_or_default(), key, number)
}

/// The same messages, and those of one ordering key in order.
fn compare(what: &str, kind: &str, sent: &[String], mut received: Vec<String>) -> Outcome<()> {
    if kind == "ordered" {
        let numbers = received.iter().filter_map(|told| told.rsplit('|').next()?.parse::<usize>().ok());
        let mut last = BTreeMap::new();
        for number in numbers {
            if last.insert(number % 3, number).is_some_and(|before| before > number) {
                return Err(format!("{what}: out of order: {received:?}").into());
            }
        }
    }
    let mut sent = sent.to_vec();
    sent.sort();
    received.sort();
    same(what, sent, received)
}

fn same(what: &str, expected: Vec<String>, found: Vec<String>) -> Outcome<()> {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?} but got {found:?}").into())
}

/// The other client.
struct Peer {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start(command: &[String]) -> Outcome<Peer> {
        let (program, arguments) = command.split_first().ok_or("no command for the other client")?;
        let mut child =
            Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take().ok_or("it has no input")?;
        let answers = BufReader::new(child.stdout.take().ok_or("it has no output")?);
        Ok(Peer { child, orders, answers })
    }

    /// Gives an order, and waits for what the other client says of it.
    fn ask(&mut self, order: &[&str]) -> Outcome<Vec<String>> {
        let answer = tokio::task::block_in_place(|| -> std::io::Result<String> {
            writeln!(self.orders, "{}", order.join("\t"))?;
            self.orders.flush()?;
            let mut answer = String::new();
            self.answers.read_line(&mut answer)?;
            Ok(answer)
        })?;
        let mut words = answer.trim_end_matches('\n').split('\t').map(str::to_owned);
        match words.next().as_deref() {
            Some("ok") => Ok(words.collect()),
            _ => Err(format!("the other client, told to {}: {answer}", order.join(" ")).into()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
