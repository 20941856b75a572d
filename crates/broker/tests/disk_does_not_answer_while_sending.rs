//! A disk that hangs, a segment that cannot be made, a broker that stops: what senders are told.

use std::io::ErrorKind;
use std::sync::mpsc;

use crate::support::frames::{Wire, frame};
use crate::support::messages::{bodies, text};
use crate::support::peer::{heartbeat, short_fields, topic_fields};
use crate::support::{PATIENCE, Situation, body, eventually, number, remark, stored};
use serde_json::json;
use sim::{Fault, Operation, SimDisk};
use wire::code::{request, response};
use wire::header::{Dialect, Head};
use wire::ids::OffsetId;

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_hanging_disk_is_told_that_the_message_is_stored_and_not_flushed() {
    let situation = Situation::new(&[("flushDiskType", "SYNC_FLUSH"), ("syncFlushTimeout", "100")]);
    let house = situation.start().await;
    let peer = house.peer();
    assert_eq!(peer.store("orders", 0, "durable").await, 0);
    assert_eq!(peer.read_all("orders", 0).await.len(), 1, "and the group of readers is written down");
    situation.disk.hold_syncs(true);
    let slow = peer.send("orders", 0, "slow").await;
    assert_eq!((slow.code, number(&slow, "queueOffset")), (10, 1), "{slow:?}");
    // Who does not want to wait is not told to; nobody sees either message yet.
    let hasty = peer.send_with("orders", 0, b"hasty", &text(&[("WAIT", "false")])).await;
    assert_eq!((hasty.code, number(&hasty, "queueOffset")), (0, 2), "{hasty:?}");
    assert_eq!(bodies(&peer.read_all("orders", 0).await), ["durable"]);
    situation.disk.hold_syncs(false);
    eventually("everything is on the disk", async || peer.read_all("orders", 0).await.len() == 3).await;
    assert_eq!(bodies(&peer.read_all("orders", 0).await), ["durable", "slow", "hasty"]);
    assert_eq!(peer.store("orders", 0, "next").await, 3);
}

/// A producer that was told FLUSH_DISK_TIMEOUT and finds its message by its key will not send it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_disk_does_not_have_is_found_neither_by_key_nor_by_id() {
    let situation = Situation::new(&[
        ("flushDiskType", "SYNC_FLUSH"),
        ("syncFlushTimeout", "100"),
        ("messageIndexEnable", "true"),
        ("maxHashSlotNum", "1000"),
        ("maxIndexNum", "4000"),
    ]);
    let house = situation.start().await;
    let peer = house.peer();
    let send = async |key| peer.try_send("orders", 0, b"body", &[("UNIQ_KEY", key)]).await;
    let by_key = async |key| {
        let fields = [("topic", "orders"), ("key", key), ("_UNIQUE_KEY_QUERY", "true")];
        peer.ask(request::QUERY_MESSAGE, &fields).await.code
    };
    assert_eq!(send("durable").await.code, 0);
    assert_eq!(by_key("durable").await, response::SUCCESS);
    situation.disk.hold_syncs(true);
    let slow = send("slow").await;
    assert_eq!(slow.code, response::FLUSH_DISK_TIMEOUT, "{slow:?}");
    let offset = OffsetId::parse(slow.field("msgId").unwrap()).unwrap().offset.to_string();
    let by_id = async || peer.ask(request::VIEW_MESSAGE_BY_ID, &[("offset", &offset)]).await.code;
    assert_eq!((by_key("slow").await, by_id().await), (response::QUERY_NOT_FOUND, response::SYSTEM_ERROR));
    assert_eq!(by_key("durable").await, response::SUCCESS);
    situation.disk.hold_syncs(false);
    eventually("it is on the disk", async || by_key("slow").await == response::SUCCESS).await;
    assert_eq!(by_id().await, response::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_next_segment_the_answer_says_so_and_the_next_one_may_succeed() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    situation.disk.inject(Fault::from_now(Operation::Create, "commitlog", ErrorKind::PermissionDenied));
    let large = "x".repeat(60_000);
    let mut stored = 0;
    let refused = loop {
        let answer = peer.send("orders", 0, &large).await;
        if answer.code != 0 {
            break answer;
        }
        stored += 1;
        assert!(stored < 10);
    };
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(remark(&refused).starts_with("create mapped file failed, "), "{refused:?}");
    situation.disk.heal();
    assert_eq!(peer.store("orders", 0, "next").await, stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_closed_takes_nothing_more() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    assert_eq!(peer.store("orders", 0, "first").await, 0);
    let broker = std::sync::Arc::clone(&house.broker);
    tokio::task::spawn_blocking(move || broker.finish()).await.unwrap().unwrap();
    let refused = peer.send("orders", 0, "late").await;
    assert_eq!(refused.code, 14, "{refused:?}");
    assert!(remark(&refused).contains("store is stopped"), "{refused:?}");
}

/// Lets syncs go on when a test ends because it has failed, and after a while also where it cannot even fail, since
/// the thread that serves its connections waits for them.
struct LetGo(SimDisk, #[expect(dead_code, reason = "its end ends the wait")] mpsc::Sender<()>);

impl LetGo {
    fn after_a_while(disk: &SimDisk) -> LetGo {
        let late = disk.clone();
        let (over, is_over) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = is_over.recv_timeout(PATIENCE);
            late.hold_syncs(false);
        });
        LetGo(disk.clone(), over)
    }
}

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.hold_syncs(false);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_administrator_whose_topics_are_not_on_disk_yet_is_waited_for_by_nobody_else() {
    let situation = Situation::new(&[("brokerName", "broker-a")]);
    let house = situation.start().await;
    let disk = LetGo::after_a_while(&situation.disk);
    let (tool, sender) = (house.peer(), house.peer());
    assert_eq!(sender.store("orders", 0, "first").await, 0);
    let topic = json!({"topicName": "listed", "perm": 6, "readQueueNums": 1, "writeQueueNums": 1,
                       "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0, "order": false, "attributes": {}});
    let list = json!({"topicConfigList": [topic]}).to_string();
    let mapping =
        json!({"topic": "moving", "bname": "broker-a", "epoch": 1, "totalQueues": 1, "hostedQueues": {}});
    let single = topic_fields("single", "1", "");
    let moving = topic_fields("moving", "1", "");
    let requests = [
        (request::UPDATE_AND_CREATE_TOPIC, &single[..], String::new()),
        (request::UPDATE_AND_CREATE_TOPIC_LIST, &[], list),
        (request::UPDATE_AND_CREATE_STATIC_TOPIC, &moving[..], mapping.to_string()),
    ];
    for (number, (code, fields, body)) in requests.iter().enumerate() {
        disk.0.hold_syncs_of(Some("/topics.json"));
        let asked = tool.ask_with(*code, fields, body.as_bytes());
        let meanwhile = async {
            eventually(&format!("{code}: topics.json waits"), async || disk.0.held_syncs() == 1).await;
            stored(sender.send("orders", 0, "meanwhile").await);
            assert_eq!(disk.0.held_syncs(), 1, "{code}: it still waits");
            disk.0.hold_syncs(false);
        };
        let (answer, ()) = tokio::join!(asked, meanwhile);
        assert_eq!(answer.code, response::SUCCESS, "{code}: {answer:?}");
        assert_eq!(sender.read_all("orders", 0).await.len(), number + 2);
    }
    for topic in ["single", "listed", "moving"] {
        assert_eq!(tool.ok(request::GET_TOPIC_CONFIG, &[("topic", topic)]).await.code, response::SUCCESS);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_group_that_is_not_on_disk_yet_is_waited_for_by_nobody_else() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let disk = LetGo::after_a_while(&situation.disk);
    let (tool, sender) = (house.peer(), house.peer());
    assert_eq!(sender.store("orders", 0, "first").await, 0);
    assert_eq!(sender.read_all("orders", 0).await.len(), 1, "and the group of readers is written down");
    let group = |name: &str| json!({"groupName": name, "consumeEnable": true}).to_string();
    let list = json!({"groupConfigList": [{"groupName": "listed"}]}).to_string();
    let heartbeat = serde_json::to_string(&heartbeat("client", "joining", &[("orders", "*")])).unwrap();
    let forbidden = [("group", "single"), ("topic", "orders"), ("readable", "false")];
    let requests: [(_, &[_], _); 6] = [
        (request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], group("single")),
        (request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, &[], list),
        (request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", "asked")], String::new()),
        (request::UPDATE_AND_GET_GROUP_FORBIDDEN, &forbidden, String::new()),
        (request::DELETE_SUBSCRIPTIONGROUP, &[("groupName", "listed")], String::new()),
        (request::HEART_BEAT, &[], heartbeat),
    ];
    for (code, fields, body) in &requests {
        disk.0.hold_syncs_of(Some("/subscriptionGroup.json"));
        let asked = tool.ask_with(*code, fields, body.as_bytes());
        let meanwhile = async {
            eventually(&format!("{code}: the file waits"), async || disk.0.held_syncs() == 1).await;
            stored(sender.send("orders", 0, "meanwhile").await);
            assert_eq!(disk.0.held_syncs(), 1, "{code}: it still waits");
            disk.0.hold_syncs(false);
        };
        let (answer, ()) = tokio::join!(asked, meanwhile);
        assert_eq!(answer.code, response::SUCCESS, "{code}: {answer:?}");
    }
    let members = tool.ok(request::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", "joining")]).await;
    assert_eq!(body(&members), json!({"consumerIdList": ["client"]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_before_his_group_is_on_disk_is_no_member_of_it() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let disk = LetGo::after_a_while(&situation.disk);
    let (mut leaving, other) = (Wire::connect(house.address()).await, house.peer());
    let producer = json!({"clientID": "leaving", "producerDataSet": [{"groupName": "senders"}]});
    let head = |opaque| Head::request(Dialect::Json, request::HEART_BEAT, opaque);
    leaving.write(&frame(&head(1), &[], producer.to_string().as_bytes())).await;
    assert_eq!(leaving.next().await.map(|framed| framed.answer.code), Some(response::SUCCESS));
    disk.0.hold_syncs_of(Some("/subscriptionGroup.json"));
    let consumer = serde_json::to_vec(&heartbeat("leaving", "readers", &[("orders", "*")])).unwrap();
    leaving.write(&frame(&head(2), &[], &consumer)).await;
    eventually("the file waits", async || disk.0.held_syncs() == 1).await;
    drop(leaving);
    let senders = [("producerGroup", "senders")];
    eventually("the connection is gone", async || {
        other.ask(request::GET_PRODUCER_CONNECTION_LIST, &senders).await.code != response::SUCCESS
    })
    .await;
    disk.0.hold_syncs(false);
    let members =
        async || other.ask(request::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", "readers")]).await;
    let retry = [("topic", "%RETRY%readers")];
    eventually("all of it is made", async || {
        other.ask(request::GET_TOPIC_CONFIG, &retry).await.code == response::SUCCESS
    })
    .await;
    eventually("it has no member", async || members().await.code == response::SYSTEM_ERROR).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_first_message_whose_topic_is_not_on_disk_yet_is_waited_for_by_its_sender_alone() {
    let situation = Situation::new(&[("autoCreateTopicEnable", "true")]);
    let house = situation.start().await;
    let disk = LetGo::after_a_while(&situation.disk);
    let (mut first, sender) = (Wire::connect(house.address()).await, house.peer());
    assert_eq!(sender.store("orders", 0, "before").await, 0);
    disk.0.hold_syncs_of(Some("/topics.json"));
    // What its connection sends at the same time comes behind it, in its order.
    let mut sends = Vec::new();
    for (opaque, topic) in [(1, "orders"), (2, "returns"), (3, "returns"), (4, "more"), (5, "orders")] {
        let head = Head::request(Dialect::Json, request::SEND_MESSAGE_V2, opaque);
        sends.extend(frame(&head, &short_fields(topic, "0", ""), format!("{opaque}").as_bytes()));
    }
    first.write(&sends).await;
    assert_eq!(first.next().await.map(|framed| framed.opaque), Some(1));
    eventually("topics.json waits", async || disk.0.held_syncs() == 1).await;
    assert_eq!(sender.store("orders", 0, "meanwhile").await, 2);
    assert_eq!(disk.0.held_syncs(), 1, "it still waits");
    disk.0.hold_syncs(false);
    for opaque in 2..=5 {
        let framed = first.next().await.unwrap();
        assert_eq!((framed.opaque, framed.answer.code), (opaque, response::SUCCESS), "{framed:?}");
    }
    assert_eq!(bodies(&sender.read_all("returns", 0).await), ["2", "3"]);
    assert_eq!(bodies(&sender.read_all("more", 0).await), ["4"]);
    assert_eq!(bodies(&sender.read_all("orders", 0).await), ["before", "1", "meanwhile", "5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_to_a_topic_that_cannot_be_written_down_is_told_why() {
    let situation = Situation::new(&[("autoCreateTopicEnable", "true")]);
    let house = situation.start().await;
    let peer = house.peer();
    situation.disk.inject(Fault::from_now(Operation::Create, "topics.json", ErrorKind::StorageFull));
    let refused = peer.send("returns", 0, "lost").await;
    assert_eq!(refused.code, response::SYSTEM_ERROR, "{refused:?}");
    assert!(remark(&refused).contains("topics.json"), "{refused:?}");
    situation.disk.heal();
    assert_eq!(peer.store("returns", 0, "kept").await, 0);
}
