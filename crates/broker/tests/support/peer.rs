//! A client over `remoting::Client`: the requests that the official ones send, and what is pushed to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use remoting::{Answer, Channel, Client, Limits, Service, Turn};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use wire::body::{ConsumerData, HeartbeatData, SubscriptionData};
use wire::code::{request as code, response};
use wire::hash::java_hash;
use wire::header::FrameWriter;

use super::messages::{Got, records, text};
use super::{PATIENCE, eventually, number, stored};

/// Flags of a pull.
pub const COMMIT: i32 = 1;
pub const SUSPEND: i32 = 2;
pub const SUBSCRIPTION: i32 = 4;

/// One client, one connection.
pub struct Peer {
    client: Client,
    address: String,
    ears: Arc<Ears>,
    asked: tokio::sync::Mutex<mpsc::UnboundedReceiver<Asked>>,
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
    /// Groups whose members have changed, as often as it was told.
    changed: Mutex<Vec<String>>,
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
            if asked.code == code::NOTIFY_CONSUMER_IDS_CHANGED {
                let group = asked.field("consumerGroup").unwrap_or_default();
                self.changed.lock().push(group.to_owned());
            }
            let _ = self.asked.send(asked);
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

/// What a pull asks; the rest is as the Java client asks by default.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub queue: i32,
    pub offset: i64,
    pub flags: i32,
    pub suspend: Duration,
    pub tags: &'a str,
    /// Type of the expression in `tags`.
    pub kind: &'a str,
    pub commit: i64,
}

impl<'a> Ask<'a> {
    pub fn new(topic: &'a str, queue: i32, offset: i64) -> Ask<'a> {
        let suspend = Duration::from_secs(15);
        let (group, flags) = ("readers", SUBSCRIPTION);
        Ask { group, topic, queue, offset, flags, suspend, tags: "*", kind: "TAG", commit: 0 }
    }

    /// Waits at the broker when there is nothing.
    pub fn waiting(self, suspend: Duration) -> Ask<'a> {
        Ask { flags: self.flags | SUSPEND, suspend, ..self }
    }

    pub fn tagged(self, tags: &'a str) -> Ask<'a> {
        Ask { tags, ..self }
    }

    /// Filters by properties.
    pub fn by_sql(self, expression: &'a str) -> Ask<'a> {
        Ask { tags: expression, kind: "SQL92", ..self }
    }

    /// Relies on what the group has registered by heartbeat.
    pub fn registered(self) -> Ask<'a> {
        Ask { flags: self.flags & !SUBSCRIPTION, tags: "", ..self }
    }

    pub fn of_group(self, group: &'a str) -> Ask<'a> {
        Ask { group, ..self }
    }

    pub fn committing(self, commit: i64) -> Ask<'a> {
        Ask { flags: self.flags | COMMIT, commit, ..self }
    }

    /// Header of code 11.
    pub fn fields(&self) -> [(&'static str, String); 11] {
        [
            ("consumerGroup", self.group.to_owned()),
            ("topic", self.topic.to_owned()),
            ("queueId", self.queue.to_string()),
            ("queueOffset", self.offset.to_string()),
            ("maxMsgNums", "32".to_owned()),
            ("sysFlag", self.flags.to_string()),
            ("commitOffset", self.commit.to_string()),
            ("suspendTimeoutMillis", self.suspend.as_millis().to_string()),
            ("subscription", self.tags.to_owned()),
            ("subVersion", "0".to_owned()),
            ("expressionType", self.kind.to_owned()),
        ]
    }
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
        let ears = Arc::new(Ears { asked: sender, changed: Mutex::default(), reply: Box::new(reply) });
        let client = Client::new(Limits::default(), Arc::clone(&ears) as Arc<dyn Service>);
        Peer { client, address: address.to_string(), ears, asked: tokio::sync::Mutex::new(receiver) }
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

    /// Sends one message with properties and gives back whatever is answered.
    pub async fn try_send(
        &self,
        topic: &str,
        queue: i32,
        body: &[u8],
        properties: &[(&str, &str)],
    ) -> Answer {
        self.send_with(topic, queue, body, &text(properties)).await
    }

    /// Sends as the Java client does: code 310, short names; the properties are their text.
    pub async fn send_with(&self, topic: &str, queue: i32, body: &[u8], properties: &str) -> Answer {
        self.ask_with(code::SEND_MESSAGE_V2, &short_fields(topic, &queue.to_string(), properties), body).await
    }

    /// Sends one message without properties and gives back whatever is answered.
    pub async fn send(&self, topic: &str, queue: i32, body: &str) -> Answer {
        self.send_with(topic, queue, body.as_bytes(), "").await
    }

    /// Sends what must be stored; gives its queue offset.
    pub async fn store(&self, topic: &str, queue: i32, body: &str) -> i64 {
        number(&stored(self.send(topic, queue, body).await), "queueOffset")
    }

    /// Pulls once.
    pub async fn pull(&self, ask: &Ask<'_>) -> Answer {
        self.ask(code::PULL_MESSAGE, &borrowed(&ask.fields())).await
    }

    /// Everything in a queue, read as a consumer does that follows the offsets it is given.
    pub async fn read_all(&self, topic: &str, queue: i32) -> Vec<Got> {
        let mut all = Vec::new();
        let mut offset = 0;
        loop {
            let answer = self.pull(&Ask::new(topic, queue, offset)).await;
            match answer.code {
                response::SUCCESS => all.extend(records(&answer.body)),
                response::PULL_NOT_FOUND => return all,
                other => panic!("pull of {topic} {queue} at {offset}: {other} {:?}", answer.remark),
            }
            offset = number(&answer, "nextBeginOffset");
        }
    }

    /// Registers as a member of `group`, subscribed to `topic`.
    pub async fn join(&self, client_id: &str, group: &str, topic: &str, tags: &str) -> Answer {
        let heartbeat = heartbeat(client_id, group, &[(topic, tags)]);
        self.ask_with(code::HEART_BEAT, &[], &serde_json::to_vec(&heartbeat).unwrap()).await
    }

    /// Leaves a group.
    pub async fn leave(&self, client_id: &str, group: &str) -> Answer {
        let fields = [("clientID", client_id), ("consumerGroup", group)];
        self.ask(code::UNREGISTER_CLIENT, &fields).await
    }

    /// Heartbeat of a push consumer that reads these topics in full.
    pub async fn consume(&self, client_id: &str, group: &str, topics: &[&str]) {
        let topics: Vec<_> = topics.iter().map(|topic| (*topic, "*")).collect();
        let mut heartbeat = heartbeat(client_id, group, &topics);
        heartbeat.consumer_data_set[0].consume_from_where = "CONSUME_FROM_FIRST_OFFSET".to_owned();
        self.heartbeat(&serde_json::to_value(&heartbeat).unwrap()).await;
    }

    /// Heartbeat of a producer.
    pub async fn produce(&self, client_id: &str, group: &str) {
        let body = json!({"clientID": client_id, "consumerDataSet": [], "producerDataSet": [{ "groupName": group }]});
        self.heartbeat(&body).await;
    }

    async fn heartbeat(&self, body: &Value) {
        let answer = self.ask_with(code::HEART_BEAT, &[], body.to_string().as_bytes()).await;
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }

    /// Ends the connection.
    pub fn close(&self) {
        self.client.close();
    }

    /// How often it was told that the members of `group` have changed.
    pub fn notices(&self, group: &str) -> usize {
        self.ears.changed.lock().iter().filter(|changed| *changed == group).count()
    }

    /// Waits until it was told of changes of `group` so often, and not more often.
    pub async fn is_told(&self, group: &str, count: usize) {
        eventually("notices of changed members", async || self.notices(group) >= count).await;
        assert_eq!(self.notices(group), count, "{group}");
    }
}

/// Fields as requests take them.
pub fn borrowed<'a>(fields: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Header of code 310.
pub fn short_fields<'a>(topic: &'a str, queue: &'a str, properties: &'a str) -> [(&'a str, &'a str); 13] {
    [
        ("a", "producers"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", queue),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
        ("n", "DEFAULT_BROKER"),
    ]
}

/// Header of code 17: a topic with as many queues to read as to write.
pub fn topic_fields<'a>(topic: &'a str, queues: &'a str, attributes: &'a str) -> [(&'a str, &'a str); 8] {
    [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", queues),
        ("writeQueueNums", queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
        ("attributes", attributes),
    ]
}

/// Heartbeat of a push consumer with these topics and tags.
pub fn heartbeat(client_id: &str, group: &str, subscriptions: &[(&str, &str)]) -> HeartbeatData {
    let subscription = |(topic, tags): &(&str, &str)| {
        let tags_set: Vec<String> = match *tags {
            "*" => Vec::new(),
            tags => tags.split("||").map(|tag| tag.trim().to_owned()).collect(),
        };
        SubscriptionData {
            topic: (*topic).to_owned(),
            sub_string: (*tags).to_owned(),
            code_set: tags_set.iter().map(|tag| java_hash(tag)).collect(),
            tags_set,
            sub_version: 1,
            expression_type: "TAG".to_owned(),
            class_filter_mode: false,
        }
    };
    let consumer = ConsumerData {
        group_name: group.to_owned(),
        consume_type: "CONSUME_PASSIVELY".to_owned(),
        message_model: "CLUSTERING".to_owned(),
        consume_from_where: "CONSUME_FROM_LAST_OFFSET".to_owned(),
        subscription_data_set: subscriptions.iter().map(subscription).collect(),
        unit_mode: false,
    };
    HeartbeatData {
        client_id: client_id.to_owned(),
        consumer_data_set: vec![consumer],
        ..HeartbeatData::default()
    }
}
