//! A broker behind a real socket, over a temporary directory.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, MainPort};
use remoting::{Answer, Limits, Listener, Server};
use serde_json::json;
use settings::Surroundings;
use store::{RealClock, RealDisk};
use tempfile::TempDir;
use wire::code::{request, response};

use super::messages::bodies;
use super::peer::topic_fields;
use super::{Ask, Got, PATIENCE, Peer, number, records};

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
        let given = self.given.clone();
        World::open(self.stop().await, given).await
    }

    /// Stops cleanly, and leaves its files. Connections of peers end.
    pub async fn stop(self) -> TempDir {
        let World { broker, me, server, dir, .. } = self;
        me.close();
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
        dir
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
        self.create_topic_with(name, queues, "").await;
    }

    /// The same with attributes, such as `+message.type=FIFO`.
    pub async fn create_topic_with(&self, name: &str, queues: i32, attributes: &str) {
        let queues = queues.to_string();
        let fields = topic_fields(name, &queues, attributes);
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
        let ask = Ask::new(topic, queue_id, offset).of_group(group);
        Pulled::of(&self.me.pull(&ask).await)
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
    fn of(answer: &Answer) -> Pulled {
        let found = answer.code == response::SUCCESS;
        let field = |name| if answer.field(name).is_some() { number(answer, name) } else { -1 };
        Pulled {
            code: answer.code,
            next_offset: field("nextBeginOffset"),
            min_offset: field("minOffset"),
            max_offset: field("maxOffset"),
            messages: if found { records(&answer.body) } else { Vec::new() },
        }
    }

    /// The bodies as text.
    pub fn bodies(&self) -> Vec<&str> {
        bodies(&self.messages)
    }
}
