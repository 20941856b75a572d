//! Static topics on two brokers: a logical queue that moves keeps its number, its offsets and its readers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use remoting::{Answer, Channel, Limits, Listener, Server, Service, Turn};
use serde_json::{Value, json};
use wire::body::{
    BrokerData, ClusterInfo, LogicQueueMappingItem, RegisterBrokerBody, TopicConfigAndMappingWrapper,
    TopicConfigAndQueueMapping, TopicQueueMappingDetail,
};
use wire::code::{request, response};
use wire::header::FrameWriter;
use wire::loose_json;

use crate::support::{PATIENCE, Peer, World, body, number, records};

const TOPIC: &str = "moving";
const GROUP: &str = "readers";
/// What a pull that may wait asks for beside its subscription.
const SUBSCRIPTION: i32 = 4;
const SUSPEND: i32 = 2;
const COMMIT: i32 = 1;

/// A nameserver that knows where brokers are and keeps what they register last.
#[derive(Default)]
struct Names {
    masters: Mutex<BTreeMap<String, String>>,
    registered: Mutex<BTreeMap<String, TopicConfigAndMappingWrapper>>,
}

impl Service for Names {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while let Some(request) = turn.next_request() {
            let writer = FrameWriter::new(turn.out, &request.reply_to().head(response::SUCCESS, None));
            match request.header.code {
                request::GET_BROKER_CLUSTER_INFO => loose_json::body_of(writer, &self.cluster()),
                request::REGISTER_BROKER => {
                    let body: RegisterBrokerBody = loose_json::read(request.body).expect("a registration");
                    let name = request.field("brokerName").unwrap_or_default().to_owned();
                    let topics = body.topic_config_serialize_wrapper;
                    self.registered.lock().unwrap().insert(name, topics);
                    writer.empty();
                }
                _ => writer.empty(),
            }
        }
    }

    fn closed(&self, _: &Arc<Channel>) {}
}

impl Names {
    fn cluster(&self) -> ClusterInfo {
        let data = |(name, address): (&String, &String)| {
            let addresses = BTreeMap::from([(0, address.clone())]);
            let data = BrokerData {
                broker_addrs: addresses,
                broker_name: name.clone(),
                cluster: "DefaultCluster".to_owned(),
                ..BrokerData::default()
            };
            (name.clone(), data)
        };
        ClusterInfo {
            broker_addr_table: self.masters.lock().unwrap().iter().map(data).collect(),
            ..ClusterInfo::default()
        }
    }

    fn moved(&self, name: &str, address: SocketAddr) {
        self.masters.lock().unwrap().insert(name.to_owned(), address.to_string());
    }

    /// Logical queues that a broker has registered to lead, with their physical ones.
    fn led(&self, broker: &str) -> Option<BTreeMap<i32, i32>> {
        let registered = self.registered.lock().unwrap();
        Some(registered.get(broker)?.topic_queue_mapping_info_map.get(TOPIC)?.curr_id_map.clone())
    }
}

/// Two brokers of one cluster.
struct Cluster {
    a: World,
    b: World,
    names: Arc<Names>,
    _server: Server,
}

impl Cluster {
    async fn start() -> Cluster {
        let names = Arc::new(Names::default());
        let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.address().to_string();
        let server = listener.serve(Limits::default(), Arc::clone(&names) as _);
        let given = |name| [("brokerName", name), ("namesrvAddr", &*address), ("forwardTimeout", "5000")];
        let a = World::start_with(&given("broker-a")).await;
        let b = World::start_with(&given("broker-b")).await;
        names.moved("broker-a", a.address());
        names.moved("broker-b", b.address());
        for world in [&a, &b] {
            world.create_group(GROUP).await;
        }
        Cluster { a, b, names, _server: server }
    }

    /// Says the same of logical queue 0 to both brokers, as the administration tool does, each with as many physical
    /// queues as it holds of it.
    async fn map(&self, epoch: i64, items: &[LogicQueueMappingItem]) {
        for (name, world) in [("broker-a", &self.a), ("broker-b", &self.b)] {
            let answer = map_at(&world.me, name, epoch, items).await;
            assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        }
    }
}

async fn map_at(peer: &Peer, name: &str, epoch: i64, items: &[LogicQueueMappingItem]) -> Answer {
    let queues = items.iter().filter(|item| item.bname == name).map(|item| item.queue_id + 1).max();
    let queues = queues.unwrap_or(0).to_string();
    let hosted = if items.iter().any(|item| item.bname == name) {
        BTreeMap::from([(0, items.to_vec())])
    } else {
        BTreeMap::new()
    };
    let detail = TopicQueueMappingDetail {
        bname: name.to_owned(),
        epoch,
        hosted_queues: hosted,
        topic: TOPIC.to_owned(),
        total_queues: 1,
        ..TopicQueueMappingDetail::default()
    };
    let fields = [
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", &queues),
        ("writeQueueNums", &queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
        ("force", "false"),
    ];
    let body = serde_json::to_vec(&detail).expect("a mapping is JSON");
    peer.ask_with(request::UPDATE_AND_CREATE_STATIC_TOPIC, &fields, &body).await
}

fn item(generation: i32, bname: &str, queue_id: i32, logic_offset: i64) -> LogicQueueMappingItem {
    let bname = bname.to_owned();
    LogicQueueMappingItem {
        r#gen: generation,
        bname,
        queue_id,
        logic_offset,
        ..LogicQueueMappingItem::default()
    }
}

/// The three generations that the tests go through: on `a`, on `b`, and on `a` again.
fn generations() -> [LogicQueueMappingItem; 3] {
    [item(0, "broker-a", 0, 0), item(1, "broker-b", 0, 10_000), item(2, "broker-a", 1, 20_000)]
}

fn undecided(item: &LogicQueueMappingItem) -> LogicQueueMappingItem {
    LogicQueueMappingItem { logic_offset: -1, ..item.clone() }
}

async fn pull(peer: &Peer, offset: i64, flags: i32, commit: i64) -> Answer {
    let (offset, flags, commit) =
        (offset.to_string(), (SUBSCRIPTION | flags).to_string(), commit.to_string());
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("queueOffset", &offset),
        ("maxMsgNums", "32"),
        ("sysFlag", &flags),
        ("commitOffset", &commit),
        ("suspendTimeoutMillis", "15000"),
        ("subscription", "*"),
        ("subVersion", "0"),
    ];
    peer.ask(request::PULL_MESSAGE, &fields).await
}

/// Code, next offset, and logical offsets and bodies of the messages.
async fn got(peer: &Peer, offset: i64) -> (i32, i64, Vec<(i64, String)>) {
    let answer = pull(peer, offset, 0, 0).await;
    if answer.field("nextBeginOffset").is_none() {
        return (answer.code, -1, Vec::new());
    }
    let messages = if answer.code == response::SUCCESS { records(&answer.body) } else { Vec::new() };
    let delta = number(&answer, "offsetDelta");
    let messages = messages.into_iter().map(|message| (message.queue_offset + delta, message.body));
    (answer.code, number(&answer, "nextBeginOffset"), messages.collect())
}

fn texts(messages: &[(i64, &str)]) -> Vec<(i64, String)> {
    messages.iter().map(|(offset, body)| (*offset, (*body).to_owned())).collect()
}

/// Asks for a number of logical queue 0.
async fn asked(peer: &Peer, code: i32, more: &[(&str, &str)]) -> Result<i64, i32> {
    let fields = [&[("topic", TOPIC), ("queueId", "0"), ("consumerGroup", GROUP)][..], more].concat();
    let answer = peer.ask(code, &fields).await;
    let name = if code == request::GET_EARLIEST_MSG_STORETIME { "timestamp" } else { "offset" };
    if answer.code == response::SUCCESS { Ok(number(&answer, name)) } else { Err(answer.code) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_read_through_from_its_first_generation_to_its_last() {
    let cluster = Cluster::start().await;
    let (a, b) = (&cluster.a, &cluster.b);
    let [first, second, third] = generations();
    cluster.map(1, std::slice::from_ref(&first)).await;
    assert_eq!(cluster.names.led("broker-a"), Some(BTreeMap::from([(0, 0)])), "told before the answer");
    for (offset, text) in [(0, "m0"), (1, "m1"), (2, "m2")] {
        let sent = a.send(TOPIC, 0, text).await;
        assert_eq!((sent.queue_id, sent.queue_offset), (0, offset));
    }
    let elsewhere = b.me.try_send(TOPIC, 0, b"nobody", &[]).await;
    assert_eq!(elsewhere.code, response::NOT_LEADER_FOR_QUEUE, "{elsewhere:?}");

    // The new leader takes messages before it is known which offsets they have.
    cluster.map(2, &[first.clone(), undecided(&second)]).await;
    assert_eq!(cluster.names.led("broker-a"), Some(BTreeMap::new()));
    assert_eq!(cluster.names.led("broker-b"), Some(BTreeMap::from([(0, 0)])));
    assert_eq!(a.me.try_send(TOPIC, 0, b"nobody", &[]).await.code, response::NOT_LEADER_FOR_QUEUE);
    assert_eq!(b.send(TOPIC, 0, "m3").await.queue_offset, -1);
    assert_eq!(got(&b.me, 0).await, (response::SUCCESS, 3, texts(&[(0, "m0"), (1, "m1"), (2, "m2")])));
    assert_eq!(got(&b.me, 3).await, (response::PULL_NOT_FOUND, 3, Vec::new()));
    assert_eq!(asked(&b.me, request::GET_MAX_OFFSET, &[]).await, Ok(3));

    cluster.map(2, &[first.clone(), second.clone()]).await;
    assert_eq!(b.send(TOPIC, 0, "m4").await.queue_offset, 10_001);
    assert_eq!(got(&b.me, 1).await, (response::SUCCESS, 3, texts(&[(1, "m1"), (2, "m2")])));
    assert_eq!(got(&b.me, 3).await, (response::PULL_RETRY_IMMEDIATELY, 10_000, Vec::new()));
    let both = texts(&[(10_000, "m3"), (10_001, "m4")]);
    assert_eq!(got(&b.me, 10_000).await, (response::SUCCESS, 10_002, both.clone()));
    assert_eq!(got(&a.me, 10_000).await.0, response::NOT_LEADER_FOR_QUEUE);

    // It comes back: one generation is elsewhere between two that are here.
    cluster.map(3, &[first.clone(), second.clone(), third.clone()]).await;
    let sent = a.send(TOPIC, 0, "m5").await;
    assert_eq!((sent.queue_id, sent.queue_offset), (0, 20_000));
    let mut read = Vec::new();
    let mut offset = 0;
    while offset < 20_001 {
        let (code, next, messages) = got(&a.me, offset).await;
        assert!(code == response::SUCCESS || code == response::PULL_RETRY_IMMEDIATELY, "{code} at {offset}");
        assert!(next > offset, "{next} after {offset}");
        read.extend(messages);
        offset = next;
    }
    let all = [(0, "m0"), (1, "m1"), (2, "m2"), (10_000, "m3"), (10_001, "m4"), (20_000, "m5")];
    assert_eq!(read, texts(&all));
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_and_times_of_a_queue_are_those_of_all_its_generations() {
    let cluster = Cluster::start().await;
    let (a, b) = (&cluster.a, &cluster.b);
    let [first, second, third] = generations();
    cluster.map(1, std::slice::from_ref(&first)).await;
    for text in ["m0", "m1"] {
        a.send(TOPIC, 0, text).await;
    }
    let pause = Duration::from_millis(20);
    tokio::time::sleep(pause).await;
    let between_ms = now_ms();
    tokio::time::sleep(pause).await;
    cluster.map(2, &[first.clone(), second.clone()]).await;
    b.send(TOPIC, 0, "m2").await;
    tokio::time::sleep(pause).await;
    let after_ms = now_ms();
    for leader in [&b.me, &a.me] {
        assert_eq!(asked(leader, request::GET_MIN_OFFSET, &[]).await, Ok(0));
        let earliest = asked(leader, request::GET_EARLIEST_MSG_STORETIME, &[]).await.unwrap();
        assert!((1..between_ms).contains(&earliest), "{earliest}");
        let end = asked(leader, request::GET_MAX_OFFSET, &[]).await.unwrap();
        for (time_ms, lower, upper) in [(0, 0, 0), (between_ms, 10_000, 1), (after_ms, end, 10_000)] {
            for (boundary, expected) in [("LOWER", lower), ("UPPER", upper)] {
                let time = time_ms.to_string();
                let fields = [("timestamp", time.as_str()), ("boundaryType", boundary)];
                let found = asked(leader, request::SEARCH_OFFSET_BY_TIMESTAMP, &fields).await;
                assert_eq!(found, Ok(expected), "{boundary} {time_ms}");
            }
        }
        if end == 10_001 {
            // The same questions once more, with the last generation empty and the others elsewhere and here.
            cluster.map(3, &[first.clone(), second.clone(), third.clone()]).await;
            assert_eq!(asked(&b.me, request::GET_MAX_OFFSET, &[]).await, Err(response::NOT_LEADER_FOR_QUEUE));
        } else {
            assert_eq!(end, 20_000);
        }
    }
    // Statistics are of physical queues, and settings show the mapping to those who know of it.
    let stats = a.me.ok(request::GET_TOPIC_STATS_INFO, &[("topic", TOPIC)]).await;
    let queues = body(&stats)["offsetTable"].as_object().map(serde_json::Map::len);
    assert_eq!(queues, Some(2), "{stats:?}");
    let config = body(&a.me.ok(request::GET_TOPIC_CONFIG, &[("topic", TOPIC)]).await);
    assert_eq!(config["mappingDetail"], Value::Null);
    let config = a.me.ok(request::GET_TOPIC_CONFIG, &[("topic", TOPIC), ("lo", "true")]).await;
    let config: TopicConfigAndQueueMapping = loose_json::read(&config.body).unwrap();
    assert_eq!(config.mapping_detail.unwrap().hosted_queues[&0], [first, second, third]);
    let all = body(&a.me.ok(request::GET_ALL_TOPIC_CONFIG, &[]).await);
    assert_eq!(all["topicQueueMappingDetailMap"][TOPIC]["epoch"], json!(3));
}

/// Else a client that begins at the end asks where that is, and passes over what is sent in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_begins_at_the_first_message_of_a_queue_that_was_moved_while_it_was_empty() {
    let cluster = Cluster::start().await;
    let b = &cluster.b;
    let [first, second, _] = generations();
    cluster.map(1, std::slice::from_ref(&first)).await;
    cluster.map(2, &[first, second]).await;
    let known = [("setZeroIfNotFound", "false")];
    let committed = asked(&b.me, request::QUERY_CONSUMER_OFFSET, &known).await;
    assert_eq!(committed, Err(response::QUERY_NOT_FOUND));
    assert_eq!(asked(&b.me, request::QUERY_CONSUMER_OFFSET, &[]).await, Ok(10_000));
    b.send(TOPIC, 0, "m0").await;
    assert_eq!(got(&b.me, 10_000).await, (response::SUCCESS, 10_001, texts(&[(10_000, "m0")])));
    assert_eq!(asked(&b.me, request::QUERY_CONSUMER_OFFSET, &[]).await, Err(response::QUERY_NOT_FOUND));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_where_it_was_whichever_broker_knows() {
    let cluster = Cluster::start().await;
    let (a, b) = (&cluster.a, &cluster.b);
    let [first, second, third] = generations();
    cluster.map(1, std::slice::from_ref(&first)).await;
    a.send(TOPIC, 0, "m0").await;
    cluster.map(2, &[first.clone(), second.clone()]).await;
    b.send(TOPIC, 0, "m1").await;
    assert_eq!(asked(&b.me, request::QUERY_CONSUMER_OFFSET, &[]).await, Err(response::QUERY_NOT_FOUND));
    for (offset, at_a, at_b) in [(1, Some(1), None), (10_000, Some(1), Some(0)), (10_001, Some(1), Some(1))] {
        let text = offset.to_string();
        let commit = [("commitOffset", text.as_str())];
        let refused = asked(&a.me, request::UPDATE_CONSUMER_OFFSET, &commit).await;
        assert_eq!(refused, Err(response::NOT_LEADER_FOR_QUEUE));
        let fields = [("topic", TOPIC), ("queueId", "0"), ("consumerGroup", GROUP), commit[0]];
        b.me.ok(request::UPDATE_CONSUMER_OFFSET, &fields).await;
        assert_eq!(asked(&b.me, request::QUERY_CONSUMER_OFFSET, &[]).await, Ok(offset));
        for (world, expected) in [(a, at_a), (b, at_b)] {
            let physical = [("lo", "false"), ("setZeroIfNotFound", "false")];
            let known = asked(&world.me, request::QUERY_CONSUMER_OFFSET, &physical).await.ok();
            assert_eq!(known, expected, "physically, after {offset}");
        }
    }
    // Back on the first broker, the group has come as far as the second knows.
    cluster.map(3, &[first, second, third]).await;
    assert_eq!(asked(&a.me, request::QUERY_CONSUMER_OFFSET, &[]).await, Ok(10_001));
    // What a pull brings along is an offset of the logical queue too; Java takes it for a physical one.
    pull(&a.me, 20_000, COMMIT, 20_000).await;
    assert_eq!(asked(&a.me, request::QUERY_CONSUMER_OFFSET, &[]).await, Ok(20_000));
    let stats =
        body(&b.me.ok(request::GET_CONSUME_STATS, &[("consumerGroup", GROUP), ("topic", TOPIC)]).await);
    let key = format!(r#"{{"brokerName":"broker-b","queueId":0,"topic":"{TOPIC}"}}"#);
    assert_eq!(stats["offsetTable"][&key]["consumerOffset"], json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_queue_is_told_at_once_that_it_has_moved() {
    let cluster = Cluster::start().await;
    let [first, second, _] = generations();
    cluster.map(1, std::slice::from_ref(&first)).await;
    cluster.a.send(TOPIC, 0, "m0").await;
    let reader = cluster.a.peer();
    let begun = Instant::now();
    let waiting = tokio::spawn(async move { pull(&reader, 1, SUSPEND, 0).await });
    // It is answered when the queue moves, whether it had come to wait by then or not.
    tokio::time::sleep(Duration::from_millis(50)).await;
    cluster.map(2, &[first, second]).await;
    let answer = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(12), "after its time was over");
    match answer.code {
        response::PULL_RETRY_IMMEDIATELY => assert_eq!(number(&answer, "nextBeginOffset"), 1),
        code => assert_eq!(code, response::NOT_LEADER_FOR_QUEUE, "{answer:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_pull_of_the_leader_is_woken_by_a_message() {
    let cluster = Cluster::start().await;
    let [first, second, _] = generations();
    cluster.map(2, &[first, second]).await;
    let reader = cluster.b.peer();
    let waiting = tokio::spawn(async move { pull(&reader, 10_000, SUSPEND, 0).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    cluster.b.send(TOPIC, 0, "m0").await;
    let answer = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!((answer.code, number(&answer, "nextBeginOffset")), (response::SUCCESS, 10_001));
    assert_eq!(number(&answer, "offsetDelta"), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_that_is_gone_holds_is_refused_in_time_and_the_rest_is_served() {
    let Cluster { a, b, names, _server } = Cluster::start().await;
    let cluster = Cluster { a, b, names, _server };
    let [first, second, _] = generations();
    cluster.map(2, &[first, second]).await;
    cluster.b.send(TOPIC, 0, "m0").await;
    assert_eq!(got(&cluster.b.me, 10_000).await.0, response::SUCCESS);
    // Nobody listens there.
    let nowhere = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap().address();
    cluster.names.moved("broker-a", nowhere);
    let answer = pull(&cluster.b.me, 0, 0, 0).await;
    assert_eq!(answer.code, response::SYSTEM_ERROR, "{answer:?}");
    assert!(answer.remark.is_some_and(|remark| remark.contains("broker-a")));
    assert_eq!(asked(&cluster.b.me, request::GET_MIN_OFFSET, &[]).await, Err(response::SYSTEM_ERROR));
    assert_eq!(got(&cluster.b.me, 10_000).await.2, texts(&[(10_000, "m0")]));
    // It comes back at another address.
    cluster.names.moved("broker-a", cluster.a.address());
    let deadline = Instant::now() + PATIENCE;
    while asked(&cluster.b.me, request::GET_MIN_OFFSET, &[]).await != Ok(0) {
        assert!(Instant::now() < deadline, "its new address is not found");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mappings_outlive_a_restart_and_end_with_their_topic() {
    let cluster = Cluster::start().await;
    let [first, second, _] = generations();
    cluster.map(1, std::slice::from_ref(&first)).await;
    cluster.a.send(TOPIC, 0, "m0").await;
    cluster.map(2, &[first.clone(), second]).await;
    let Cluster { a, b, names, _server } = cluster;
    let b = b.restart().await;
    assert_eq!(b.send(TOPIC, 0, "m1").await.queue_offset, 10_000);
    assert_eq!(got(&b.me, 0).await.2, texts(&[(0, "m0")]));
    let stale = map_at(&b.me, "broker-b", 1, &[first]).await;
    assert_eq!(stale.code, response::SYSTEM_ERROR);
    assert!(stale.remark.is_some_and(|remark| remark.contains("small epoch")));
    b.me.ok(request::DELETE_TOPIC_IN_BROKER, &[("topic", TOPIC)]).await;
    b.create_topic(TOPIC, 2).await;
    let sent = b.send(TOPIC, 1, "ordinary").await;
    assert_eq!((sent.queue_id, sent.queue_offset), (1, 0));
    let b = b.restart().await;
    assert_eq!(b.send(TOPIC, 1, "still").await.queue_offset, 1);
    drop((a, names));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_of_something_else_is_refused_and_changes_nothing() {
    let world = World::start().await;
    let mapping = |topic: &str, bname: &str, queue_id| {
        let detail = TopicQueueMappingDetail {
            bname: bname.to_owned(),
            hosted_queues: BTreeMap::from([(0, vec![item(0, bname, queue_id, 0)])]),
            topic: topic.to_owned(),
            total_queues: 1,
            ..TopicQueueMappingDetail::default()
        };
        serde_json::to_vec(&detail).unwrap()
    };
    let bodies = [
        (TOPIC, mapping("other", "broker-a", 0), response::INVALID_PARAMETER),
        (TOPIC, mapping(TOPIC, "broker-b", 0), response::INVALID_PARAMETER),
        (TOPIC, mapping(TOPIC, "broker-a", 1), response::INVALID_PARAMETER),
        ("TBW102", mapping("TBW102", "broker-a", 0), response::INVALID_PARAMETER),
        ("a b", mapping("a b", "broker-a", 0), response::INVALID_PARAMETER),
        (TOPIC, mapping(TOPIC, "broker-a", -1), response::SYSTEM_ERROR),
        (TOPIC, b"null".to_vec(), response::SYSTEM_ERROR),
        (TOPIC, Vec::new(), response::SYSTEM_ERROR),
    ];
    for (topic, body, code) in bodies {
        let fields = [
            ("topic", topic),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
        ];
        let answer = world.me.ask_with(request::UPDATE_AND_CREATE_STATIC_TOPIC, &fields, &body).await;
        assert_eq!(answer.code, code, "{}: {answer:?}", String::from_utf8_lossy(&body));
    }
    let unknown = world.me.ask(request::GET_TOPIC_CONFIG, &[("topic", TOPIC)]).await;
    assert_eq!(unknown.code, response::TOPIC_NOT_EXIST);
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("a clock after 1970").as_millis() as i64
}
