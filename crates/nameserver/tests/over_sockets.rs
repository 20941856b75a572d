//! The whole nameserver through its only door, a TCP connection.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use nameserver::Nameserver;
use remoting::{Answer, Channel, Client, Limits, Server, Service, Turn};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::code::request::*;
use wire::frame::{self, FRAME_MAX};
use wire::header;

struct Silent;

impl Service for Silent {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while turn.next_request().is_some() {}
    }
    fn closed(&self, _: &Arc<Channel>) {}
}

struct World {
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    /// A nameserver whose `namesrv.conf` says `text`.
    fn new(text: &str) -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings::load_nameserver(text, &[]).unwrap().settings;
        settings.config_store_path = folder.path().join("namesrv.conf");
        std::fs::write(&settings.config_store_path, text).unwrap();
        let nameserver = Nameserver::new(settings, folder.path().join("kvConfig.json")).unwrap();
        nameserver.spawn_expiry();
        let server =
            Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), Limits::default(), nameserver).unwrap();
        World { server, folder }
    }

    /// A connection of its own.
    fn peer(&self) -> Peer {
        Peer {
            client: Client::new(Limits::default(), Arc::new(Silent)),
            address: self.server.address().to_string(),
        }
    }
}

struct Peer {
    client: Client,
    address: String,
}

impl Peer {
    async fn ask(&self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        self.client.call(&self.address, code, fields, body, Duration::from_secs(5)).await.unwrap()
    }

    async fn json(&self, code: i32, fields: &[(&str, &str)]) -> Value {
        let answer = self.ask(code, fields, &[]).await;
        assert_eq!(answer.code, 0, "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    async fn register(&self, id: &str, address: &str, more: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut fields = vec![
            ("clusterName", "c"),
            ("brokerName", "b"),
            ("brokerAddr", address),
            ("brokerId", id),
            ("haServerAddr", "127.0.0.1:10912"),
        ];
        fields.extend_from_slice(more);
        self.ask(REGISTER_BROKER, &fields, body).await
    }

    async fn route(&self, topic: &str) -> Answer {
        self.ask(GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)], &[]).await
    }

    async fn route_becomes(&self, topic: &str, code: i32) -> Duration {
        let start = Instant::now();
        while self.route(topic).await.code != code {
            assert!(start.elapsed() < Duration::from_secs(10), "the route of {topic} did not become {code}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        start.elapsed()
    }
}

/// The compressed form of a table (wire.md §11.14).
fn compressed(topics: &[String]) -> Vec<u8> {
    let mut body = Vec::new();
    let number = |body: &mut Vec<u8>, number: usize| body.extend((number as u32).to_be_bytes());
    let version = br#"{"counter":1,"stateVersion":0,"timestamp":7}"#;
    number(&mut body, version.len());
    body.extend(version);
    number(&mut body, topics.len());
    for topic in topics {
        let record = format!("{topic} 4 4 6 SINGLE_TAG");
        number(&mut body, record.len());
        body.extend(record.as_bytes());
    }
    // No filter servers, and no static topics.
    number(&mut body, 2);
    body.extend(b"[]");
    number(&mut body, 0);
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&body).unwrap();
    encoder.finish().unwrap()
}

fn table(topics: &[&str]) -> Vec<u8> {
    let config = |name: &str| json!({"topicName": name, "readQueueNums": 4, "writeQueueNums": 4, "perm": 6});
    let topics: serde_json::Map<_, _> = topics.iter().map(|name| (name.to_string(), config(name))).collect();
    json!({"topicConfigSerializeWrapper": {
        "dataVersion": {"counter": 1, "timestamp": 7, "stateVersion": 0}, "topicConfigTable": topics
    }})
    .to_string()
    .into_bytes()
}

#[tokio::test]
async fn registered_broker_is_found_until_it_unregisters() {
    let world = World::new("");
    let (broker, client) = (world.peer(), world.peer());
    let unknown = client.route("T").await;
    assert_eq!(unknown.code, 17);
    assert!(unknown.remark.unwrap().starts_with("No topic route info in name server for the topic: T\n"));

    let registered = broker.register("0", "127.0.0.1:10911", &[], &table(&["T", "b"])).await;
    assert_eq!((registered.code, registered.fields().count(), registered.body.len()), (0, 0, 0));
    let route = client.route("T").await;
    // Byte for byte what Java's nameserver says to a client of today.
    let expected = r#"{"brokerDatas":[{"brokerAddrs":{"0":"127.0.0.1:10911"},"brokerName":"b","cluster":"c","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;
    assert_eq!(String::from_utf8(route.body).unwrap(), expected);

    let slave = world.peer().register("1", "127.0.0.1:10921", &[], &table(&["T", "b"])).await;
    assert_eq!(slave.field("masterAddr"), Some("127.0.0.1:10911"));
    assert_eq!(slave.field("haServerAddr"), Some("127.0.0.1:10912"));

    let members = client.json(GET_BROKER_MEMBER_GROUP, &[("clusterName", "c"), ("brokerName", "b")]).await;
    let addresses = json!({"0": "127.0.0.1:10911", "1": "127.0.0.1:10921"});
    assert_eq!(members["brokerMemberGroup"]["brokerAddrs"], addresses);
    let cluster = client.json(GET_BROKER_CLUSTER_INFO, &[]).await;
    assert_eq!(cluster["clusterAddrTable"], json!({"c": ["b"]}));
    assert_eq!(cluster["brokerAddrTable"]["b"]["brokerAddrs"], addresses);

    for (id, address) in [("0", "127.0.0.1:10911"), ("1", "127.0.0.1:10921")] {
        let fields = [("clusterName", "c"), ("brokerName", "b"), ("brokerAddr", address), ("brokerId", id)];
        assert_eq!(broker.ask(UNREGISTER_BROKER, &fields, &[]).await.code, 0);
    }
    assert_eq!(client.route("T").await.code, 17);
}

#[tokio::test]
async fn broker_disappears_at_once_when_its_connection_closes() {
    let world = World::new("");
    let (broker, client) = (world.peer(), world.peer());
    broker.register("0", "127.0.0.1:10911", &[], &table(&["T", "b"])).await;
    assert_eq!(client.route("T").await.code, 0);
    broker.client.close();
    client.route_becomes("T", 17).await;
}

#[tokio::test]
async fn silent_broker_expires_and_loses_its_connection_while_another_keeps_talking() {
    let world = World::new("scanNotActiveBrokerInterval=50");
    let (silent, talking, client) = (world.peer(), world.peer(), world.peer());
    let patience = |ms| [("heartbeatTimeoutMillis", ms), ("enableActingMaster", "true")];
    silent.register("0", "127.0.0.1:10911", &patience("300"), &table(&["T", "b"])).await;
    talking.register("1", "127.0.0.1:10921", &patience("2000"), &table(&["T", "b"])).await;
    let channel = silent.client.channel(&silent.address, Duration::from_secs(1)).await.unwrap();
    let start = Instant::now();
    while channel.is_open() || start.elapsed() < Duration::from_secs(3) {
        assert!(start.elapsed() < Duration::from_secs(10), "the silent broker keeps its connection");
        let fields = [("clusterName", "c"), ("brokerAddr", "127.0.0.1:10921"), ("brokerName", "b")];
        talking.ask(BROKER_HEARTBEAT, &fields, &[]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let members = client.json(GET_BROKER_MEMBER_GROUP, &[("clusterName", "c"), ("brokerName", "b")]).await;
    assert_eq!(members["brokerMemberGroup"]["brokerAddrs"], json!({"1": "127.0.0.1:10921"}));
    // Once both are silent nothing is left.
    client.route_becomes("T", 17).await;
}

#[tokio::test]
async fn large_registration_is_read_aside_and_found_afterwards() {
    let world = World::new("");
    let (broker, client) = (world.peer(), world.peer());
    let names: Vec<String> = (0..20_000).map(|number| format!("topic-{number}")).collect();
    let body = table(&names.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(body.len() > 1 << 20);
    let crc32 = (crc32fast::hash(&body) & 0x7FFF_FFFF).to_string();
    assert_eq!(broker.register("0", "127.0.0.1:10911", &[("bodyCrc32", &crc32)], &body).await.code, 0);
    assert_eq!(client.route("topic-19999").await.code, 0);
    let topics = client.json(GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[]).await;
    assert_eq!(topics["topicList"].as_array().unwrap().len(), 20_000);
    broker.client.close();
    client.route_becomes("topic-0", 17).await;
}

#[tokio::test]
async fn bad_registrations_are_refused_and_the_next_one_is_served() {
    let world = World::new("");
    let broker = world.peer();
    let body = table(&["T", "b"]);
    let wrong = broker.register("0", "127.0.0.1:10911", &[("bodyCrc32", "12345")], &body).await;
    assert_eq!((wrong.code, wrong.remark.as_deref()), (1, Some("crc32 not match")));
    let lone = broker.register("0", "127.0.0.1:10911", &[], &table(&["T"])).await;
    assert_eq!((lone.code, lone.remark.as_deref()), (1, Some("register broker failed")));
    let garbage = broker.register("0", "127.0.0.1:10911", &[("compressed", "true")], b"garbage").await;
    assert!(garbage.remark.unwrap().starts_with("Failed to decode RegisterBrokerBody"));
    assert_eq!(broker.register("zero", "127.0.0.1:10911", &[], &body).await.code, 1);
    assert_eq!(broker.ask(REGISTER_BROKER, &[], &body).await.code, 1);
    assert_eq!(broker.route("T").await.code, 17);
    assert_eq!(broker.register("0", "127.0.0.1:10911", &[], &body).await.code, 0);
    assert_eq!(broker.route("T").await.code, 0);
}

#[tokio::test]
async fn unknown_code_is_answered_as_java_does() {
    let world = World::new("");
    let answer = world.peer().ask(3442, &[], &[]).await;
    assert_eq!((answer.code, answer.remark.as_deref()), (3, Some(" request type 3442 not supported")));
}

#[tokio::test]
async fn version_query_tells_whether_topics_changed() {
    let world = World::new("");
    let broker = world.peer();
    let fields =
        [("clusterName", "c"), ("brokerName", "b"), ("brokerAddr", "127.0.0.1:10911"), ("brokerId", "0")];
    let same = br#"{"counter":1,"stateVersion":0,"timestamp":7}"#;
    let before = broker.ask(QUERY_DATA_VERSION, &fields, same).await;
    assert_eq!((before.field("changed"), before.body.len()), (Some("true"), 0));
    broker.register("0", "127.0.0.1:10911", &[], &table(&["T", "b"])).await;
    let after = broker.ask(QUERY_DATA_VERSION, &fields, same).await;
    assert_eq!((after.field("changed"), &after.body[..]), (Some("false"), &same[..]));
    let newer = broker.ask(QUERY_DATA_VERSION, &fields, br#"{"counter":2,"timestamp":7}"#).await;
    assert_eq!(newer.field("changed"), Some("true"));
}

#[tokio::test]
async fn order_topics_reach_clients_and_brokers_and_survive_a_restart() {
    let world = World::new("orderMessageEnable=true");
    let peer = world.peer();
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T")];
    let missing = peer.ask(GET_KV_CONFIG, &order, &[]).await;
    let remark = "No config item, Namespace: ORDER_TOPIC_CONFIG Key: T";
    assert_eq!((missing.code, missing.remark.as_deref()), (22, Some(remark)));
    assert_eq!(peer.ask(GET_KVLIST_BY_NAMESPACE, &order[..1], &[]).await.code, 22);

    let put = [order[0], order[1], ("value", "b:4")];
    assert_eq!(peer.ask(PUT_KV_CONFIG, &put, &[]).await.code, 0);
    assert_eq!(peer.ask(GET_KV_CONFIG, &order, &[]).await.field("value"), Some("b:4"));
    let registered = peer.register("0", "127.0.0.1:10911", &[], &table(&["T", "b"])).await;
    assert_eq!(registered.body, br#"{"table":{"T":"b:4"}}"#);
    assert_eq!(peer.json(GET_ROUTEINFO_BY_TOPIC, &[("topic", "T")]).await["orderTopicConf"], "b:4");

    let again =
        Nameserver::new(settings::Nameserver::default(), world.folder.path().join("kvConfig.json")).unwrap();
    let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), Limits::default(), again).unwrap();
    let restarted = Peer { client: peer.client, address: server.address().to_string() };
    assert_eq!(restarted.ask(GET_KV_CONFIG, &order, &[]).await.field("value"), Some("b:4"));
    assert_eq!(restarted.ask(DELETE_KV_CONFIG, &order, &[]).await.code, 0);
    assert_eq!(restarted.ask(GET_KV_CONFIG, &order, &[]).await.code, 22);
}

#[tokio::test]
async fn administrator_changes_settings_that_may_be_changed() {
    let world = World::new("# ours\norderMessageEnable = false\n");
    let peer = world.peer();
    assert_eq!(peer.ask(UPDATE_NAMESRV_CONFIG, &[], b"enableAllTopicList=false\n").await.code, 0);
    let topics = peer.ask(GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[], &[]).await;
    assert_eq!((topics.code, topics.remark.as_deref()), (1, Some("disable")));
    let shown = String::from_utf8(peer.ask(GET_NAMESRV_CONFIG, &[], &[]).await.body).unwrap();
    assert!(shown.lines().any(|line| line == "enableAllTopicList=false"), "{shown}");
    let file = std::fs::read_to_string(world.folder.path().join("namesrv.conf")).unwrap();
    assert_eq!(file, "# ours\norderMessageEnable = false\nenableAllTopicList=false\n");

    for forbidden in ["kvConfigPath=/tmp/x", "rocketmqHome=/tmp/x", "configBlackList=", "listenPort=1"] {
        let body = format!("enableAllTopicList=true\n{forbidden}\n");
        assert_eq!(peer.ask(UPDATE_NAMESRV_CONFIG, &[], body.as_bytes()).await.code, 16, "{forbidden}");
    }
    assert_eq!(peer.ask(UPDATE_NAMESRV_CONFIG, &[], b"enableAllTopicList=perhaps").await.code, 1);
    assert_eq!(peer.ask(GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[], &[]).await.code, 1);
}

/// The larger one is unfolded by another thread than that of its connection: it may be a thousand times as large.
#[tokio::test]
async fn compressed_registrations_of_any_size_are_taken() {
    let world = World::new("");
    let broker = world.peer();
    for count in [2, 3000] {
        let topics: Vec<String> = (0..count).map(|n| format!("topic-{}", n * 7919 % 4001)).collect();
        let body = compressed(&topics);
        assert_eq!(body.len() > 4 << 10, count == 3000, "{} bytes", body.len());
        let registered = broker.register("0", "127.0.0.1:10911", &[("compressed", "true")], &body).await;
        assert_eq!(registered.code, 0, "{registered:?}");
        assert_eq!(broker.route(&topics[count - 1]).await.code, 0);
    }
}

#[tokio::test]
async fn a_settings_file_that_is_changed_stays_the_link_and_as_private_as_it_was() {
    let world = World::new("# ours\n");
    let path = world.folder.path().join("namesrv.conf");
    let real = world.folder.path().join("real.conf");
    std::fs::rename(&path, &real).unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, &path).unwrap();
    assert_eq!(world.peer().ask(UPDATE_NAMESRV_CONFIG, &[], b"enableAllTopicList=false\n").await.code, 0);
    assert_eq!(std::fs::read_to_string(&real).unwrap(), "# ours\nenableAllTopicList=false\n");
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(std::fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(std::fs::read_dir(world.folder.path()).unwrap().count(), 2, "nothing is left beside it");
}

#[tokio::test]
async fn administrator_wipes_deletes_and_lists() {
    let world = World::new("");
    let peer = world.peer();
    peer.register("0", "127.0.0.1:10911", &[], &table(&["T", "b"])).await;
    let wiped = peer.ask(WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", "b")], &[]).await;
    assert_eq!(wiped.field("wipeTopicCount"), Some("2"));
    assert_eq!(peer.json(GET_ROUTEINFO_BY_TOPIC, &[("topic", "T")]).await["queueDatas"][0]["perm"], 4);
    let added = peer.ask(ADD_WRITE_PERM_OF_BROKER, &[("brokerName", "b")], &[]).await;
    assert_eq!(added.field("addTopicCount"), Some("2"));

    let body = br#"{"queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":1,"writeQueueNums":1,"topicSysFlag":3}]}"#;
    assert_eq!(peer.ask(REGISTER_TOPIC_IN_NAMESRV, &[("topic", "U")], body).await.code, 0);
    assert_eq!(peer.json(GET_UNIT_TOPIC_LIST, &[]).await["topicList"], json!(["U"]));
    assert_eq!(peer.json(GET_HAS_UNIT_SUB_TOPIC_LIST, &[]).await["topicList"], json!(["U"]));
    assert_eq!(peer.json(GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, &[]).await["topicList"], json!([]));
    let of_cluster = peer.json(GET_TOPICS_BY_CLUSTER, &[("cluster", "c")]).await;
    assert_eq!(of_cluster["topicList"], json!(["T", "U", "b"]));
    let system = peer.json(GET_SYSTEM_TOPIC_LIST_FROM_NS, &[]).await;
    assert_eq!(system, json!({"brokerAddr": "127.0.0.1:10911", "topicList": ["b", "c"]}));
    assert_eq!(peer.ask(DELETE_TOPIC_IN_NAMESRV, &[("topic", "T")], &[]).await.code, 0);
    assert_eq!(peer.route("T").await.code, 17);
}

#[tokio::test]
async fn routes_are_refused_until_brokers_had_time_to_register() {
    let world = World::new("needWaitForService=true\nwaitSecondsForService=1");
    let peer = world.peer();
    peer.register("0", "127.0.0.1:10911", &[], &table(&["T", "b"])).await;
    let early = peer.route("T").await;
    assert_eq!((early.code, early.remark.as_deref()), (1, Some("name server not ready")));
    peer.route_becomes("T", 0).await;
}

#[tokio::test]
async fn lowest_id_that_changed_is_told_to_the_others() {
    struct Notice(tokio::sync::mpsc::UnboundedSender<(i32, Option<String>, Option<String>)>);
    impl Service for Notice {
        fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
            while let Some(request) = turn.next_request() {
                let text = |name| request.field(name).map(str::to_owned);
                let _ = self.0.send((request.header.code, text("minBrokerId"), text("offlineBrokerAddr")));
            }
        }
        fn closed(&self, _: &Arc<Channel>) {}
    }
    let (sender, mut notices) = tokio::sync::mpsc::unbounded_channel();
    let slave =
        Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), Limits::default(), Arc::new(Notice(sender)))
            .unwrap();
    let world = World::new("notifyMinBrokerIdChanged=true");
    let (master, other) = (world.peer(), world.peer());
    let acting = [("enableActingMaster", "true")];
    other.register("1", &slave.address().to_string(), &acting, &table(&["T", "b"])).await;
    master.register("0", "127.0.0.1:1", &acting, &table(&["T", "b"])).await;
    assert_eq!(notices.recv().await.unwrap(), (905, Some("0".to_owned()), None));
    master.client.close();
    let offline = Some("127.0.0.1:1".to_owned());
    assert_eq!(notices.recv().await.unwrap(), (905, Some("1".to_owned()), offline));
}

/// What Java brokers sent, as it was captured.
#[tokio::test]
async fn java_brokers_of_both_generations_register_in_both_dialects() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/tests/golden");
    for broker in ["broker497", "broker550"] {
        for dialect in ["json", "binary"] {
            let world = World::new("");
            let mut stream = TcpStream::connect(world.server.address()).await.unwrap();
            let full = std::fs::read(golden.join(format!("register_broker_request_{broker}_{dialect}.bin")))
                .unwrap();
            let increment = golden.join(format!("register_broker_increment_request_{broker}_{dialect}.bin"));
            let mut frames = vec![full];
            frames.extend(std::fs::read(increment));
            for bytes in &frames {
                stream.write_all(bytes).await.unwrap();
                let (code, answered_in) = read_answer(&mut stream).await;
                let asked = frame::split(bytes, FRAME_MAX).unwrap().unwrap();
                assert_eq!((code, answered_in), (0, asked.dialect), "{broker} {dialect}");
            }
            let client = world.peer();
            let route = client.json(GET_ROUTEINFO_BY_TOPIC, &[("topic", "TBW102")]).await;
            assert_eq!(route["brokerDatas"][0]["brokerAddrs"], json!({"0": "127.0.0.1:29911"}));
            let queues = json!({
                "brokerName": "broker-a", "perm": 7, "readQueueNums": 8, "topicSysFlag": 0, "writeQueueNums": 8
            });
            assert_eq!(route["queueDatas"], json!([queues]));
            if frames.len() == 2 {
                assert_eq!(client.route("GoldJ5").await.code, 0, "{broker} {dialect}");
            }
        }
    }
}

async fn read_answer(stream: &mut TcpStream) -> (i32, header::Dialect) {
    let mut bytes = vec![0; 4];
    stream.read_exact(&mut bytes).await.unwrap();
    let size = frame::announced(&bytes).unwrap();
    bytes.resize(size, 0);
    stream.read_exact(&mut bytes[4..]).await.unwrap();
    let frame = frame::split(&bytes, FRAME_MAX).unwrap().unwrap();
    (header::parse(frame.dialect, frame.header).unwrap().code, frame.dialect)
}
