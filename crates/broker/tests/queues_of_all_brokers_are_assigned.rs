//! Two brokers of one cluster assign the queues of both, as far as a nameserver tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use nameserver::Nameserver;
use remoting::{Answer, Limits, Listener, Server};
use serde_json::{Value, json};
use tempfile::TempDir;
use wire::body::{LogicQueueMappingItem, TopicQueueMappingDetail};
use wire::code::{request, response};

use crate::support::peer::topic_fields;
use crate::support::{PATIENCE, Peer, World, body, eventually, remark};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
/// A broker asks again so seldom that no test sees it.
const NEVER: &str = "86400000";

/// Two brokers that register with one nameserver.
struct Cluster {
    a: World,
    b: World,
    nameserver: Server,
    _directory: TempDir,
}

impl Cluster {
    /// Routes are asked for every `millis`.
    async fn start(millis: &str) -> Cluster {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let settings = settings::load_nameserver("", &[]).expect("defaults").settings;
        let names = Nameserver::new(settings, directory.path().join("kv.json")).expect("a nameserver");
        let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let address = listener.address().to_string();
        let nameserver = listener.serve(Limits::default(), names);
        let given = |name| {
            [("brokerName", name), ("namesrvAddr", &*address), ("loadBalancePollNameServerInterval", millis)]
        };
        let a = World::start_with(&given("broker-a")).await;
        let b = World::start_with(&given("broker-b")).await;
        for world in [&a, &b] {
            world.create_group(GROUP).await;
        }
        Cluster { a, b, nameserver, _directory: directory }
    }

    /// A topic with so many queues on each broker.
    async fn create_topic(&self, on_a: i32, on_b: i32) {
        self.a.create_topic(TOPIC, on_a).await;
        self.b.create_topic(TOPIC, on_b).await;
    }

    /// A static topic with a logical queue on each broker, the first on broker `b`.
    async fn create_static_topic(&self) {
        for (name, world, id) in [("broker-a", &self.a, 1), ("broker-b", &self.b, 0)] {
            let first = LogicQueueMappingItem { bname: name.to_owned(), ..LogicQueueMappingItem::default() };
            let detail = TopicQueueMappingDetail {
                bname: name.to_owned(),
                epoch: 1,
                hosted_queues: BTreeMap::from([(id, vec![first])]),
                topic: TOPIC.to_owned(),
                total_queues: 2,
                ..TopicQueueMappingDetail::default()
            };
            let body = serde_json::to_vec(&detail).expect("a mapping is JSON");
            let answer = world
                .me
                .ask_with(request::UPDATE_AND_CREATE_STATIC_TOPIC, &topic_fields(TOPIC, "1", ""), &body)
                .await;
            assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        }
    }

    /// A client that consumes from both brokers.
    async fn member(&self, id: &'static str) -> Member {
        let member = Member { id, a: self.a.peer(), b: self.b.peer() };
        for peer in [&member.a, &member.b] {
            peer.consume(id, GROUP, &[TOPIC]).await;
        }
        member
    }

    async fn set_mode(&self, mode: &str, share: i32) {
        let mode = json!({"consumerGroup": GROUP, "topic": TOPIC, "mode": mode, "popShareQueueNum": share});
        for world in [&self.a, &self.b] {
            let answer =
                world.me.ask_with(request::SET_MESSAGE_REQUEST_MODE, &[], mode.to_string().as_bytes()).await;
            assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        }
    }
}

struct Member {
    id: &'static str,
    a: Peer,
    b: Peer,
}

async fn ask(peer: &Peer, client_id: &str, topic: &str) -> Answer {
    let asked = json!({"clientId": client_id, "consumerGroup": GROUP, "messageModel": "CLUSTERING",
                       "strategyName": "AVG", "topic": topic});
    peer.ask_with(request::QUERY_ASSIGNMENT, &[], asked.to_string().as_bytes()).await
}

/// Queues in an answer, such as `broker-a 0 PULL`; `None` if it has no list.
fn queues(answer: &Answer) -> Option<BTreeSet<String>> {
    let body = body(answer);
    let list = body.get("messageQueueAssignments")?.as_array()?;
    let name = |assigned: &Value| {
        let queue = &assigned["messageQueue"];
        let broker = queue["brokerName"].as_str().unwrap();
        format!("{broker} {} {}", queue["queueId"], assigned["mode"].as_str().unwrap())
    };
    Some(list.iter().map(name).collect())
}

/// Both brokers say this of a member's share, sooner or later.
async fn is_assigned(member: &Member, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    for peer in [&member.a, &member.b] {
        let what = format!("{} has {expected:?}", member.id);
        eventually(&what, async || queues(&ask(peer, member.id, TOPIC).await).as_ref() == Some(&expected))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_the_queues_of_both_brokers_whichever_they_ask() {
    let cluster = Cluster::start("1000").await;
    cluster.create_topic(2, 3).await;
    let first = cluster.member("c1").await;
    is_assigned(
        &first,
        &["broker-a 0 PULL", "broker-a 1 PULL", "broker-b 0 PULL", "broker-b 1 PULL", "broker-b 2 PULL"],
    )
    .await;
    let second = cluster.member("c2").await;
    is_assigned(&first, &["broker-a 0 PULL", "broker-a 1 PULL", "broker-b 0 PULL"]).await;
    is_assigned(&second, &["broker-b 1 PULL", "broker-b 2 PULL"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_pop_share_all_of_both_brokers_or_some_of_their_queues() {
    let cluster = Cluster::start("1000").await;
    cluster.create_topic(2, 2).await;
    let members = [cluster.member("c1").await, cluster.member("c2").await, cluster.member("c3").await];
    cluster.set_mode("POP", 0).await;
    for member in &members {
        is_assigned(member, &["broker-a -1 POP", "broker-b -1 POP"]).await;
    }
    // Its own, and that of the next member: the first of three has two queues of four.
    cluster.set_mode("POP", 1).await;
    is_assigned(&members[0], &["broker-a 0 POP", "broker-a 1 POP", "broker-b 0 POP"]).await;
    is_assigned(&members[1], &["broker-b 0 POP", "broker-b 1 POP"]).await;
    is_assigned(&members[2], &["broker-a 0 POP", "broker-a 1 POP", "broker-b 1 POP"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_topic_is_pulled_by_logical_queues_and_popped_where_its_messages_are() {
    let cluster = Cluster::start("1000").await;
    cluster.create_static_topic().await;
    let first = cluster.member("c1").await;
    is_assigned(&first, &["__syslo__global__ 0 PULL", "__syslo__global__ 1 PULL"]).await;
    let second = cluster.member("c2").await;
    is_assigned(&first, &["__syslo__global__ 0 PULL"]).await;
    is_assigned(&second, &["__syslo__global__ 1 PULL"]).await;
    cluster.set_mode("POP", 0).await;
    is_assigned(&second, &["broker-a -1 POP", "broker-b -1 POP"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_of_a_broker_that_leaves_are_assigned_to_nobody() {
    let cluster = Cluster::start("1000").await;
    cluster.create_topic(1, 1).await;
    let member = cluster.member("c1").await;
    is_assigned(&member, &["broker-a 0 PULL", "broker-b 0 PULL"]).await;
    cluster.b.broker.retire().await;
    eventually("the other broker's queue is gone", async || {
        let queues = queues(&ask(&member.a, "c1", TOPIC).await).unwrap();
        queues.iter().eq(["broker-a 0 PULL"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_made_here_is_assigned_at_once() {
    let cluster = Cluster::start(NEVER).await;
    let member = cluster.member("c1").await;
    for (queues_of_a, last) in [(1, "broker-a 0 PULL"), (2, "broker-a 1 PULL")] {
        cluster.a.create_topic(TOPIC, queues_of_a).await;
        eventually(last, async || {
            queues(&ask(&member.a, "c1", TOPIC).await).is_some_and(|queues| queues.contains(last))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_nameserver_the_queues_that_were_known_are_assigned_and_no_others() {
    let cluster = Cluster::start("1000").await;
    cluster.create_topic(1, 1).await;
    for world in [&cluster.a, &cluster.b] {
        world.create_topic("never-asked-for", 1).await;
    }
    let member = cluster.member("c1").await;
    is_assigned(&member, &["broker-a 0 PULL", "broker-b 0 PULL"]).await;
    cluster.nameserver.close(Duration::ZERO).await;
    // Half of the queues would be no answer: the member would leave the other half.
    let asked = Instant::now();
    let answer = ask(&member.a, "c1", "never-asked-for").await;
    assert_eq!(queues(&answer), None);
    assert_eq!(remark(&answer), "no nameserver tells where the topic is");
    assert!(asked.elapsed() < PATIENCE / 2, "it waited for {:?}", asked.elapsed());
    // Longer than it takes to be asked again.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    is_assigned(&member, &["broker-a 0 PULL", "broker-b 0 PULL"]).await;
}

#[tokio::test]
async fn of_a_topic_that_no_nameserver_knows_nothing_is_said() {
    let cluster = Cluster::start("1000").await;
    let member = cluster.member("c1").await;
    let answer = ask(&member.a, "c1", "nowhere").await;
    assert_eq!((queues(&answer), remark(&answer)), (None, "no nameserver knows the topic"));
}
