//! A broker on real sockets over a temporary directory, and peers that speak frames to it.
//!
//! [`World::start`] gives a running broker and one connection to it; [`World::peer`] gives further connections, each a
//! client of its own that can answer what the broker asks it.
#![allow(dead_code, reason = "each test uses a part of this")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, MainPort};
use remoting::{Answer, Channel, Client, Limits, Listener, Server, Service, Turn};
use serde_json::{Value, json};
use settings::Surroundings;
use store::{RealClock, RealDisk};
use tempfile::TempDir;
use tokio::sync::mpsc;
use wire::code::{request, response};
use wire::header::FrameWriter;
use wire::loose_json;
use wire::properties as props;
use wire::record::Record;

/// How long any answer may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running broker.
pub struct World {
    pub broker: Arc<Broker>,
    /// The connection that the helpers below use.
    pub me: Peer,
    server: Server,
    dir: TempDir,
    given: Vec<(String, String)>,
}

impl World {
    /// With default settings, apart from small files.
    pub async fn start() -> World {
        World::start_with(&[]).await
    }

    /// With some keys of `broker.conf`.
    pub async fn start_with(given: &[(&str, &str)]) -> World {
        let given = given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        World::open(tempfile::tempdir().expect("a temporary directory"), given).await
    }

    /// Over the files in a directory.
    pub async fn open(dir: TempDir, given: Vec<(String, String)>) -> World {
        let mut overrides = vec![
            ("brokerName".to_owned(), "broker-a".to_owned()),
            ("storePathRootDir".to_owned(), dir.path().display().to_string()),
            ("mappedFileSizeCommitLog".to_owned(), (8 << 20).to_string()),
            ("maxHashSlotNum".to_owned(), "1000".to_owned()),
            ("maxIndexNum".to_owned(), "4000".to_owned()),
        ];
        overrides.extend(given.iter().cloned());
        let loaded =
            settings::load_in(&Surroundings::default(), "", &overrides).expect("settings that are accepted");
        let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.address();
        let broker =
            Broker::open(loaded.settings, address, Arc::new(RealDisk), Arc::new(RealClock::default()))
                .expect("a broker on an empty or clean directory");
        broker.start().await;
        let server = listener.serve(Limits::default(), Arc::new(MainPort(Arc::clone(&broker))));
        World { me: Peer::new(address), broker, server, dir, given }
    }

    /// Stops cleanly and starts again over the same files. Connections of peers end.
    pub async fn restart(self) -> World {
        let World { broker, me, server, dir, given } = self;
        me.leave();
        broker.retire().await;
        server.close(Duration::from_secs(2)).await;
        broker.finish().expect("everything on disk");
        // The directory is free when the last task has let go of the broker.
        let alive = Arc::downgrade(&broker);
        drop((broker, server));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while alive.strong_count() > 0 {
            assert!(tokio::time::Instant::now() < deadline, "something still holds the broker");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        World::open(dir, given).await
    }

    /// The same with further keys of `broker.conf`.
    pub async fn restart_with(mut self, given: &[(&str, &str)]) -> World {
        self.given.extend(given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self.restart().await
    }

    /// Another client.
    pub fn peer(&self) -> Peer {
        Peer::new(self.server.address())
    }

    /// Where the broker listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its data.
    pub fn directory(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// A topic with as many queues to read as to write.
    pub async fn create_topic(&self, name: &str, queues: i32) {
        let queues = queues.to_string();
        let fields = [
            ("topic", name),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", &queues),
            ("writeQueueNums", &queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("order", "false"),
        ];
        self.me.ok(request::UPDATE_AND_CREATE_TOPIC, &fields).await;
    }

    /// A consumer group with default settings.
    pub async fn create_group(&self, name: &str) {
        let body = json!({ "groupName": name }).to_string();
        let answer =
            self.me.ask_with(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], body.as_bytes()).await;
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }

    /// Sends one message without properties.
    pub async fn send(&self, topic: &str, queue_id: i32, body: &str) -> Sent {
        self.send_with(topic, queue_id, body, &[]).await
    }

    /// Sends one message with properties, such as `("TAGS", "a")`.
    pub async fn send_with(
        &self,
        topic: &str,
        queue_id: i32,
        body: &str,
        properties: &[(&str, &str)],
    ) -> Sent {
        let answer = self.me.try_send(topic, queue_id, body.as_bytes(), properties).await;
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        Sent {
            offset_id: answer.field("msgId").expect("an offset id").to_owned(),
            unique_key: answer.field("transactionId").expect("a unique key").to_owned(),
            queue_id: number(&answer, "queueId") as i32,
            queue_offset: number(&answer, "queueOffset"),
        }
    }

    /// Pulls up to 32 messages at once or nothing; never waits.
    pub async fn pull(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Pulled {
        self.me.pull(group, topic, queue_id, offset, "*").await
    }

    /// Commits an offset.
    pub async fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Answer {
        let (queue_id, offset) = (queue_id.to_string(), offset.to_string());
        let fields =
            [("consumerGroup", group), ("topic", topic), ("queueId", &queue_id), ("commitOffset", &offset)];
        self.me.ask(request::UPDATE_CONSUMER_OFFSET, &fields).await
    }

    /// The committed offset; `None` when there is none.
    pub async fn committed(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let queue_id = queue_id.to_string();
        let fields = [
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", &queue_id),
            ("setZeroIfNotFound", "false"),
        ];
        let answer = self.me.ask(request::QUERY_CONSUMER_OFFSET, &fields).await;
        (answer.code == response::SUCCESS).then(|| number(&answer, "offset"))
    }
}

/// What a send was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub offset_id: String,
    pub unique_key: String,
    pub queue_id: i32,
    pub queue_offset: i64,
}

/// What a pull was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    pub code: i32,
    pub next_offset: i64,
    pub min_offset: i64,
    pub max_offset: i64,
    pub messages: Vec<Got>,
}

impl Pulled {
    /// The bodies as text.
    pub fn bodies(&self) -> Vec<&str> {
        self.messages.iter().map(|message| message.body.as_str()).collect()
    }
}

/// One message of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub topic: String,
    pub queue_offset: i64,
    pub physical_offset: i64,
    pub body: String,
    pub properties: Vec<(String, String)>,
}

impl Got {
    /// Value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Reads records that stand one behind the other.
pub fn records(mut bytes: &[u8]) -> Vec<Got> {
    let mut messages = Vec::new();
    while let Some(size) = bytes.first_chunk::<4>() {
        let (record, rest) = bytes.split_at(u32::from_be_bytes(*size) as usize);
        let record = Record::parse(record).expect("a record");
        messages.push(Got {
            topic: record.topic.to_owned(),
            queue_offset: record.queue_offset,
            physical_offset: record.physical_offset,
            body: String::from_utf8_lossy(record.body).into_owned(),
            properties: props::iter(record.properties)
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        });
        bytes = rest;
    }
    messages
}

/// A number among the fields of an answer.
pub fn number(answer: &Answer, name: &str) -> i64 {
    let text = answer.field(name).unwrap_or_else(|| panic!("no field {name} in {answer:?}"));
    text.parse().unwrap_or_else(|_| panic!("{name} is {text}"))
}

/// The JSON body of an answer that must be SUCCESS. Object keys become strings of their compact text.
pub fn body(answer: &Answer) -> Value {
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    loose_json::read(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", body_text(answer)))
}

/// The body of an answer as text.
pub fn body_text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// A queue as a key in a loose body that [`body`] has read.
pub fn queue_key(topic: &str, queue_id: i32) -> String {
    format!(r#"{{"brokerName":"broker-a","queueId":{queue_id},"topic":"{topic}"}}"#)
}

/// A request that the broker sent to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub code: i32,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    /// Value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What a peer answers to the broker: code and body; `None` is silence.
type Reply = Box<dyn Fn(&Asked) -> Option<(i32, Vec<u8>)> + Send + Sync>;

struct Ears {
    asked: mpsc::UnboundedSender<Asked>,
    reply: Reply,
}

impl Service for Ears {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(request) = turn.next_request() {
            let fields = request.header.fields.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
            let asked =
                Asked { code: request.header.code, fields: fields.collect(), body: request.body.to_vec() };
            if let Some((code, body)) = (self.reply)(&asked)
                && !request.header.is_oneway()
            {
                FrameWriter::new(turn.out, &request.reply_to().head(code, None)).body(&body);
            }
            let _ = self.asked.send(asked);
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

/// A client: one connection to the broker.
pub struct Peer {
    address: String,
    client: Client,
    asked: tokio::sync::Mutex<mpsc::UnboundedReceiver<Asked>>,
}

impl Peer {
    /// One that answers nothing.
    pub fn new(address: SocketAddr) -> Peer {
        Peer::answering(address, |_| None)
    }

    /// One that answers what the broker asks it.
    pub fn answering(
        address: SocketAddr,
        reply: impl Fn(&Asked) -> Option<(i32, Vec<u8>)> + Send + Sync + 'static,
    ) -> Peer {
        let (sender, receiver) = mpsc::unbounded_channel();
        let ears = Ears { asked: sender, reply: Box::new(reply) };
        let client = Client::new(Limits::default(), Arc::new(ears));
        Peer { address: address.to_string(), client, asked: tokio::sync::Mutex::new(receiver) }
    }

    /// Sends a request without a body.
    pub async fn ask(&self, code: i32, fields: &[(&str, &str)]) -> Answer {
        self.ask_with(code, fields, &[]).await
    }

    /// Sends a request with a body.
    pub async fn ask_with(&self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let answer = self.client.call(&self.address, code, fields, body, PATIENCE).await;
        answer.unwrap_or_else(|error| panic!("request {code}: {error}"))
    }

    /// Sends a request that must succeed.
    pub async fn ok(&self, code: i32, fields: &[(&str, &str)]) -> Answer {
        let answer = self.ask(code, fields).await;
        assert_eq!(answer.code, response::SUCCESS, "request {code}: {answer:?}");
        answer
    }

    /// The next request of the broker with this code; others are passed over.
    pub async fn hears(&self, code: i32) -> Asked {
        let mut asked = self.asked.lock().await;
        let wanted = async {
            loop {
                match asked.recv().await {
                    Some(request) if request.code == code => return request,
                    Some(_) => (),
                    None => panic!("the connection is gone"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, wanted)
            .await
            .unwrap_or_else(|_| panic!("nothing with code {code} came"))
    }

    /// Sends one message and gives back whatever is answered.
    pub async fn try_send(
        &self,
        topic: &str,
        queue_id: i32,
        body: &[u8],
        properties: &[(&str, &str)],
    ) -> Answer {
        let mut text = Vec::new();
        for (name, value) in properties {
            props::push(&mut text, name, value);
        }
        let queue_id = queue_id.to_string();
        let fields = [
            ("a", "producers"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", &queue_id),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", std::str::from_utf8(&text).expect("properties are text")),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
        ];
        self.ask_with(request::SEND_MESSAGE_V2, &fields, body).await
    }

    /// Pulls with a tag expression of its own; never waits.
    pub async fn pull(&self, group: &str, topic: &str, queue_id: i32, offset: i64, tags: &str) -> Pulled {
        const SUBSCRIPTION: &str = "4";
        let (queue_id, offset) = (queue_id.to_string(), offset.to_string());
        let fields = [
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", &queue_id),
            ("queueOffset", &offset),
            ("maxMsgNums", "32"),
            ("sysFlag", SUBSCRIPTION),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", tags),
            ("subVersion", "0"),
        ];
        let answer = self.ask(request::PULL_MESSAGE, &fields).await;
        let found = answer.code == response::SUCCESS;
        let field = |name| if answer.field(name).is_some() { number(&answer, name) } else { -1 };
        Pulled {
            code: answer.code,
            next_offset: field("nextBeginOffset"),
            min_offset: field("minOffset"),
            max_offset: field("maxOffset"),
            messages: if found { records(&answer.body) } else { Vec::new() },
        }
    }

    /// Heartbeat of a push consumer that reads these topics in full.
    pub async fn consume(&self, client_id: &str, group: &str, topics: &[&str]) {
        let subscriptions: Vec<Value> = topics
            .iter()
            .map(|topic| {
                json!({"classFilterMode": false, "codeSet": [], "expressionType": "TAG", "subString": "*",
                       "subVersion": 1, "tagsSet": [], "topic": topic})
            })
            .collect();
        let consumer = json!({
            "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "consumeType": "CONSUME_PASSIVELY", "groupName": group,
            "messageModel": "CLUSTERING", "subscriptionDataSet": subscriptions, "unitMode": false,
        });
        self.heartbeat(json!({"clientID": client_id, "consumerDataSet": [consumer], "producerDataSet": []}))
            .await;
    }

    /// Heartbeat of a producer.
    pub async fn produce(&self, client_id: &str, group: &str) {
        let body = json!({"clientID": client_id, "consumerDataSet": [], "producerDataSet": [{ "groupName": group }]});
        self.heartbeat(body).await;
    }

    async fn heartbeat(&self, body: Value) {
        let answer = self.ask_with(request::HEART_BEAT, &[], body.to_string().as_bytes()).await;
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }

    /// Ends the connection.
    pub fn leave(&self) {
        self.client.close();
    }
}
