//! A client over `remoting::Client`: the requests that the official ones send, and what is pushed to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use remoting::{Answer, Channel, Client, Limits, Service, Turn};
use wire::body::{ConsumerData, HeartbeatData, SubscriptionData};
use wire::code::request as code;
use wire::hash::java_hash;

use super::messages::{Got, got};
use super::{PATIENCE, eventually};

/// Flags of a pull.
pub const COMMIT: i32 = 1;
pub const SUSPEND: i32 = 2;
pub const SUBSCRIPTION: i32 = 4;

/// One client, one connection.
pub struct Peer {
    client: Client,
    address: String,
    heard: Arc<Heard>,
}

/// Requests that the broker has sent: code and `consumerGroup`.
#[derive(Default)]
struct Heard(Mutex<Vec<(i32, String)>>);

impl Service for Heard {
    fn serve(&self, _channel: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(request) = turn.next_request() {
            let group = request.field("consumerGroup").unwrap_or_default().to_owned();
            self.0.lock().push((request.header.code, group));
        }
    }

    fn closed(&self, _channel: &Arc<Channel>) {}
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
    pub fn new(address: SocketAddr) -> Peer {
        let heard = Arc::new(Heard::default());
        let client = Client::new(Limits::default(), Arc::clone(&heard) as Arc<dyn Service>);
        Peer { client, address: address.to_string(), heard }
    }

    pub async fn call(&self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let answer = self.client.call(&self.address, code, fields, body, PATIENCE).await;
        answer.unwrap_or_else(|error| panic!("code {code}: {error}"))
    }

    /// Sends as the Java client does: code 310, short names.
    pub async fn send_with(&self, topic: &str, queue: i32, body: &[u8], properties: &str) -> Answer {
        self.call(code::SEND_MESSAGE_V2, &short_fields(topic, &queue.to_string(), properties), body).await
    }

    pub async fn send(&self, topic: &str, queue: i32, body: &str) -> Answer {
        self.send_with(topic, queue, body.as_bytes(), "").await
    }

    /// Sends what must be stored; gives its queue offset.
    pub async fn store(&self, topic: &str, queue: i32, body: &str) -> i64 {
        number(&stored(self.send(topic, queue, body).await), "queueOffset")
    }

    pub async fn pull(&self, ask: &Ask<'_>) -> Answer {
        self.call(code::PULL_MESSAGE, &borrowed(&ask.fields()), &[]).await
    }

    /// Everything in a queue, read as a consumer does that follows the offsets it is given.
    pub async fn read_all(&self, topic: &str, queue: i32) -> Vec<Got> {
        let mut all = Vec::new();
        let mut offset = 0;
        loop {
            let answer = self.pull(&Ask::new(topic, queue, offset)).await;
            match answer.code {
                0 => all.extend(got(&answer.body)),
                19 => return all,
                other => panic!("pull of {topic} {queue} at {offset}: {other} {:?}", answer.remark),
            }
            offset = number(&answer, "nextBeginOffset");
        }
    }

    /// Registers as a member of `group`, subscribed to `topic`.
    pub async fn join(&self, client_id: &str, group: &str, topic: &str, tags: &str) -> Answer {
        let heartbeat = heartbeat(client_id, group, &[(topic, tags)]);
        self.call(code::HEART_BEAT, &[], &serde_json::to_vec(&heartbeat).unwrap()).await
    }

    pub async fn leave(&self, client_id: &str, group: &str) -> Answer {
        let fields = [("clientID", client_id), ("consumerGroup", group)];
        self.call(code::UNREGISTER_CLIENT, &fields, &[]).await
    }

    /// Ends the connection.
    pub fn close(&self) {
        self.client.close();
    }

    /// How often it was told that the members of `group` have changed.
    pub fn notices(&self, group: &str) -> usize {
        let told = (code::NOTIFY_CONSUMER_IDS_CHANGED, group.to_owned());
        self.heard.0.lock().iter().filter(|heard| **heard == told).count()
    }

    pub async fn hears(&self, group: &str, count: usize) {
        eventually("notices of changed members", async || self.notices(group) >= count).await;
        assert_eq!(self.notices(group), count, "{group}");
    }
}

pub fn borrowed<'a>(fields: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Header of code 310.
pub fn short_fields<'a>(topic: &'a str, queue: &'a str, properties: &'a str) -> [(&'a str, &'a str); 13] {
    [
        ("a", "senders"),
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

/// An answer that says the message is stored.
pub fn stored(answer: Answer) -> Answer {
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    answer
}

/// A field that must be a number.
pub fn number(answer: &Answer, name: &str) -> i64 {
    let text = answer.field(name).unwrap_or_else(|| panic!("{name} is missing in {answer:?}"));
    text.parse().unwrap_or_else(|_| panic!("{name} is {text}"))
}

pub fn remark(answer: &Answer) -> &str {
    answer.remark.as_deref().unwrap_or_default()
}

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
