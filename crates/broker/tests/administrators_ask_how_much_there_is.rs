//! Figures that tools show: queues, lag, rates, rows, runtime information.

use std::io::ErrorKind;

use crate::support;
use crate::support::messages::text;
use crate::support::{Peer, Situation, World, body, body_text, queue_key};
use serde_json::json;
use sim::{Fault, Operation};
use wire::code::{request, response};
use wire::names;

#[tokio::test]
async fn a_topic_tells_its_ends_and_its_age() {
    let world = World::start().await;
    world.create_topic("Orders", 2).await;
    let before = now_ms();
    for number in 0..3 {
        world.send("Orders", 1, &format!("m{number}")).await;
    }
    let answer = world.me.ok(request::GET_TOPIC_STATS_INFO, &[("topic", "Orders")]).await;
    let text = body_text(&answer);
    // Java reads these keys in this form only.
    assert!(
        text.starts_with(r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"Orders"}:{"#),
        "{text}"
    );
    let stats = body(&answer);
    let empty = &stats["offsetTable"][queue_key("Orders", 0)];
    assert_eq!(empty, &json!({"lastUpdateTimestamp": 0, "maxOffset": 0, "minOffset": 0}));
    let used = &stats["offsetTable"][queue_key("Orders", 1)];
    assert_eq!((&used["minOffset"], &used["maxOffset"]), (&json!(0), &json!(3)));
    assert!((before..=now_ms()).contains(&used["lastUpdateTimestamp"].as_i64().unwrap()), "{used}");
    assert!(stats["topicPutTps"].as_f64().unwrap() > 0.0);

    let unknown = world.me.ask(request::GET_TOPIC_STATS_INFO, &[("topic", "Nowhere")]).await;
    assert_eq!(unknown.code, response::TOPIC_NOT_EXIST);
}

#[tokio::test]
async fn a_group_tells_how_far_behind_it_is() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    world.create_topic("Returns", 1).await;
    world.create_group("billing").await;
    for number in 0..5 {
        world.send("Orders", 0, &format!("m{number}")).await;
    }
    world.send("Returns", 0, "r").await;
    assert_eq!(world.pull("billing", "Orders", 0, 0).await.messages.len(), 5);
    world.commit("billing", "Orders", 0, 2).await;
    world.commit("billing", "Returns", 0, 1).await;

    let stats = body(&world.me.ok(request::GET_CONSUME_STATS, &[("consumerGroup", "billing")]).await);
    let orders = &stats["offsetTable"][queue_key("Orders", 0)];
    assert_eq!(
        (&orders["brokerOffset"], &orders["consumerOffset"], &orders["pullOffset"]),
        (&json!(5), &json!(2), &json!(5))
    );
    assert!(orders["lastTimestamp"].as_i64().unwrap() > 0);
    assert_eq!(stats["offsetTable"][queue_key("Returns", 0)]["consumerOffset"], 1);
    assert!(stats["consumeTps"].as_f64().unwrap() > 0.0);

    // An online group that reads one topic only has left the other, unless it is asked for by list.
    let member = world.peer();
    member.consume("c1", "billing", &["Orders"]).await;
    let stats = body(&world.me.ok(request::GET_CONSUME_STATS, &[("consumerGroup", "billing")]).await);
    assert_eq!(stats["offsetTable"].as_object().unwrap().len(), 1);
    let fields = [("consumerGroup", "billing"), ("topicList", "Returns;Orders;Nowhere")];
    let stats = body(&world.me.ok(request::GET_CONSUME_STATS, &fields).await);
    assert_eq!(stats["offsetTable"].as_object().unwrap().len(), 2);

    let all = body(&world.me.ok(request::GET_BROKER_CONSUME_STATS, &[("isOrder", "false")]).await);
    assert_eq!((&all["totalDiff"], &all["totalInflightDiff"]), (&json!(3), &json!(3)), "{all}");
    let of_billing =
        all["consumeStatsList"].as_array().unwrap().iter().find_map(|group| group.get("billing")).unwrap();
    assert_eq!(of_billing[0]["offsetTable"][queue_key("Orders", 0)]["brokerOffset"], 5);
    let ordered = body(&world.me.ok(request::GET_BROKER_CONSUME_STATS, &[("isOrder", "true")]).await);
    assert_eq!(ordered["totalDiff"], 0);
}

#[tokio::test]
async fn a_group_tells_how_old_its_next_message_is() {
    let world = World::start().await;
    world.create_topic("Orders", 2).await;
    world.send("Orders", 0, "a").await;
    world.send("Orders", 0, "b").await;
    world.create_group("billing").await;
    world.commit("billing", "Orders", 0, 1).await;
    let fields = [("topic", "Orders"), ("group", "billing")];
    let spans = body(&world.me.ok(request::QUERY_CONSUME_TIME_SPAN, &fields).await);
    let [used, empty] = spans["consumeTimeSpanSet"].as_array().unwrap().as_slice() else { panic!("{spans}") };
    let (min, max) = (used["minTimeStamp"].as_i64().unwrap(), used["maxTimeStamp"].as_i64().unwrap());
    assert!(0 < min && min <= max);
    assert_eq!(used["consumeTimeStamp"], min);
    let delay = used["delayTime"].as_i64().unwrap();
    assert!((0..support::PATIENCE.as_millis() as i64).contains(&delay), "{used}");
    assert_eq!((&empty["minTimeStamp"], &empty["delayTime"]), (&json!(-1), &json!(0)));
}

#[tokio::test]
async fn who_reads_what_is_known_with_and_without_members() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    world.create_group("offline").await;
    world.commit("offline", "Orders", 0, 0).await;
    let member = world.peer();
    member.consume("c1", "online", &["Orders"]).await;

    let groups = body(&world.me.ok(request::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", "Orders")]).await);
    assert_eq!(groups, json!({"groupList": ["offline", "online"]}));
    let topics = body(&world.me.ok(request::QUERY_TOPICS_BY_CONSUMER, &[("group", "offline")]).await);
    assert_eq!(topics["topicList"], json!(["Orders"]));
    let fields = [("group", "online"), ("topic", "Orders")];
    let subscription = body(&world.me.ok(request::QUERY_SUBSCRIPTION_BY_CONSUMER, &fields).await);
    assert_eq!(subscription["subscriptionData"]["subString"], "*");
    let fields = [("group", "offline"), ("topic", "Orders")];
    let nobody = body(&world.me.ok(request::QUERY_SUBSCRIPTION_BY_CONSUMER, &fields).await);
    assert_eq!(nobody, json!({"group": "offline", "topic": "Orders"}));
}

#[tokio::test]
async fn rows_of_a_queue_say_which_message_and_who_wants_it() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    world.send_with("Orders", 0, "first", &[("TAGS", "TagA")]).await;
    world.send("Orders", 0, "second").await;
    let member = world.peer();
    member.consume("c1", "billing", &["Orders"]).await;

    let ask = |index: &'static str, group: &'static str| {
        let fields = [
            ("topic", "Orders"),
            ("queueId", "0"),
            ("index", index),
            ("count", "10"),
            ("consumerGroup", group),
        ];
        let me = &world.me;
        async move { me.ok(request::QUERY_CONSUME_QUEUE, &fields).await }
    };
    let rows = body(&ask("0", "billing").await);
    assert_eq!((&rows["minQueueIndex"], &rows["maxQueueIndex"]), (&json!(0), &json!(2)));
    let [first, second] = rows["queueData"].as_array().unwrap().as_slice() else { panic!("{rows}") };
    assert_eq!((&first["tagsCode"], &second["tagsCode"]), (&json!(2_598_919), &json!(0)));
    assert_eq!(second["physicOffset"].as_i64(), first["physicSize"].as_i64());
    assert_eq!((&first["eval"], &rows["subscriptionData"]["topic"]), (&json!(true), &json!("Orders")));

    let rows = body(&ask("1", "stranger").await);
    assert_eq!(rows["queueData"].as_array().unwrap().len(), 1);
    assert_eq!(rows["filterData"], "stranger@Orders is not online!");
    let beyond = ask("2", "billing").await;
    assert!(beyond.body.is_empty() && beyond.remark.unwrap().contains("Index 2 of 0@Orders"));
    let fields = [("topic", "Orders"), ("queueId", "-3"), ("index", "0"), ("count", "-1")];
    assert_eq!(world.me.ask(request::QUERY_CONSUME_QUEUE, &fields).await.code, response::SYSTEM_ERROR);
}

#[tokio::test]
async fn the_broker_counts_what_it_stores_and_hands_out() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    for number in 0..7 {
        world.send("Orders", 0, &format!("m{number}")).await;
    }
    assert_eq!(world.pull("billing", "Orders", 0, 0).await.messages.len(), 7);
    assert_eq!(world.pull("billing", "Orders", 0, 7).await.code, response::PULL_NOT_FOUND);

    let info = body(&world.me.ok(request::GET_BROKER_RUNTIME_INFO, &[]).await);
    let value =
        |key: &str| info["table"][key].as_str().unwrap_or_else(|| panic!("no {key} in {info}")).to_owned();
    assert_eq!(
        (value("msgPutTotalTodayNow"), value("msgGetTotalTodayNow")),
        ("7".to_owned(), "7".to_owned())
    );
    for key in ["putTps", "getTransferredTps", "getFoundTps", "getMissTps", "getTotalTps"] {
        let rates: Vec<f64> = value(key).split(' ').map(|rate| rate.parse().unwrap()).collect();
        assert!(rates.len() == 3 && rates.iter().all(|rate| *rate > 0.0), "{key}: {rates:?}");
    }
    // What clusterList, the dashboard and the exporter read; they fail on a missing key.
    for key in JAVA_KEYS {
        value(key);
    }

    let ask = |name: &'static str, key: &'static str| {
        let me = &world.me;
        async move { me.ask(request::VIEW_BROKER_STATS_DATA, &[("statsName", name), ("statsKey", key)]).await }
    };
    let puts = body(&ask("TOPIC_PUT_NUMS", "Orders").await);
    assert_eq!((&puts["statsMinute"]["sum"], &puts["statsDay"]["sum"]), (&json!(7), &json!(7)));
    let gets = body(&ask("GROUP_GET_NUMS", "Orders@billing").await);
    assert_eq!(gets["statsHour"]["sum"], 7);
    assert!(
        body(&ask("GROUP_GET_SIZE", "Orders@billing").await)["statsHour"]["avgpt"].as_f64().unwrap() > 90.0
    );
    for (name, key) in [("TOPIC_PUT_NUMS", "Nowhere"), ("GROUP_GET_NUMS", "Orders"), ("NONSENSE", "Orders")] {
        let answer = ask(name, key).await;
        assert_eq!(answer.code, response::SYSTEM_ERROR);
        assert_eq!(answer.remark.unwrap(), format!("The stats <{name}> <{key}> not exist"));
    }
}

/// What a topic has counted today.
async fn counted(peer: &Peer, name: &str, topic: &str) -> Option<i64> {
    let fields = [("statsName", name), ("statsKey", topic)];
    let answer = peer.ask(request::VIEW_BROKER_STATS_DATA, &fields).await;
    (answer.code == response::SUCCESS).then(|| body(&answer)["statsDay"]["sum"].as_i64().unwrap())
}

/// With Java 5.5.0 a delayed message counts in the topic that it waits in, and in its own when it comes there.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_counts_where_it_is_stored_and_what_is_refused_counts_nowhere() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    situation.disk.inject(Fault::from_now(Operation::Write, "commitlog", ErrorKind::StorageFull));
    assert_eq!(peer.send("orders", 0, "refused").await.code, response::SERVICE_NOT_AVAILABLE);
    situation.disk.heal();
    assert_eq!(counted(&peer, "TOPIC_PUT_NUMS", "orders").await, None);
    for level in ["0", "18"] {
        let sent = peer.send_with("orders", 0, b"a body of 18 bytes", &text(&[("DELAY", level)])).await;
        assert_eq!(sent.code, response::SUCCESS);
    }
    for topic in ["orders", names::SCHEDULE_TOPIC] {
        assert_eq!(counted(&peer, "TOPIC_PUT_NUMS", topic).await, Some(1), "{topic}");
        let bytes = counted(&peer, "TOPIC_PUT_SIZE", topic).await;
        assert!(bytes > Some(18 + 88), "the whole record: {bytes:?} of {topic}");
    }
}

/// Keys of a Java 5.5.0 broker's answer that do not depend on paths and levels, and what older tools look for.
const JAVA_KEYS: [&str; 61] = [
    "EndTransactionQueueSize",
    "EndTransactionThreadPoolQueueCapacity",
    "ackThreadPoolQueueCapacity",
    "ackThreadPoolQueueHeadWaitTimeMills",
    "ackThreadPoolQueueSize",
    "bootTimestamp",
    "brokerActive",
    "brokerVersionDesc",
    "commitLogDirCapacity",
    "commitLogDiskRatio",
    "commitLogMaxOffset",
    "commitLogMinOffset",
    "consumeQueueDiskRatio",
    "dispatchBehindBytes",
    "dispatchMaxBuffer",
    "earliestMessageTimeStamp",
    "getFoundTps",
    "getMessageEntireTimeMax",
    "getMissTps",
    "getTotalTps",
    "getTransferredTps",
    "litePullThreadPoolQueueCapacity",
    "litePullThreadPoolQueueHeadWaitTimeMills",
    "litePullThreadPoolQueueSize",
    "msgGetTotalTodayMorning",
    "msgGetTotalTodayNow",
    "msgGetTotalYesterdayMorning",
    "msgPutTotalTodayMorning",
    "msgPutTotalTodayNow",
    "msgPutTotalYesterdayMorning",
    "pageCacheLockTimeMills",
    "pullThreadPoolQueueCapacity",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "pullThreadPoolQueueSize",
    "putLatency99",
    "putLatency999",
    "putMessageAverageSize",
    "putMessageDistributeTime",
    "putMessageEntireTimeMax",
    "putMessageFailedTimes",
    "putMessageSizeTotal",
    "putMessageTimesTotal",
    "putTps",
    "queryThreadPoolQueueCapacity",
    "queryThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueSize",
    "remainHowManyDataToFlush",
    "remainTransientStoreBufferNumbs",
    "runtime",
    "sendThreadPoolQueueCapacity",
    "sendThreadPoolQueueHeadWaitTimeMills",
    "sendThreadPoolQueueSize",
    "startAcceptSendRequestTimeStamp",
    "timerCongestNum",
    "timerDequeueTps",
    "timerEnqueueTps",
    "timerOffsetBehind",
    "timerReadBehind",
    "remainHowManyDataToCommit",
    "brokerVersion",
    "getTransferedTps",
];

fn now_ms() -> i64 {
    use store::Clock;
    store::RealClock::default().now_millis()
}

#[tokio::test]
async fn a_master_without_slaves_says_so() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    world.send("Orders", 0, "m").await;
    let status = body(&world.me.ok(request::GET_BROKER_HA_STATUS, &[]).await);
    assert_eq!(status["master"], true);
    assert_eq!((&status["inSyncSlaveNums"], &status["haConnectionInfo"]), (&0.into(), &json!([])));
    assert!(status["masterCommitLogMaxOffset"].as_i64().unwrap() > 0);
}
