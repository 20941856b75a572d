//! Configuration over the wire: what acts at once, what waits, what is refused; clean-ups; requests of later times.

use crate::support;
use crate::support::{World, body_text};
use settings::properties;
use wire::code::{request, response};

async fn update(world: &World, text: &str) -> (i32, String) {
    let answer = world.me.ask_with(request::UPDATE_BROKER_CONFIG, &[], text.as_bytes()).await;
    (answer.code, answer.remark.unwrap_or_default())
}

async fn shown(world: &World, key: &str) -> Option<String> {
    let answer = world.me.ok(request::GET_BROKER_CONFIG, &[]).await;
    let entries = properties::parse(&body_text(&answer)).unwrap();
    entries.into_iter().find(|entry| entry.key == key).map(|entry| entry.value)
}

async fn version(world: &World) -> i64 {
    let answer = world.me.ok(request::GET_BROKER_CONFIG, &[]).await;
    let version: serde_json::Value = serde_json::from_str(answer.field("version").unwrap()).unwrap();
    version["counter"].as_i64().unwrap()
}

#[tokio::test]
async fn a_live_key_acts_at_once() {
    let world = World::start().await;
    let before = version(&world).await;
    assert_eq!(world.me.try_send("Fresh", 0, b"x", &[]).await.code, response::SUCCESS);
    let (code, remark) = update(&world, "autoCreateTopicEnable=false\n").await;
    assert_eq!(code, response::SUCCESS);
    assert!(remark.contains("autoCreateTopicEnable in force until the broker stops"), "{remark}");
    assert_eq!(world.me.try_send("Another", 0, b"x", &[]).await.code, response::TOPIC_NOT_EXIST);
    assert_eq!(shown(&world, "autoCreateTopicEnable").await.as_deref(), Some("false"));
    assert_eq!(version(&world).await, before + 1);
    assert_eq!(update(&world, "autoCreateTopicEnable=false").await, (response::SUCCESS, String::new()));
    assert_eq!(version(&world).await, before + 1, "nothing has changed");
}

#[tokio::test]
async fn a_value_that_is_not_used_as_it_was_given_is_told_of() {
    let world = World::start().await;
    let (code, remark) = update(&world, "diskSpaceWarningLevelRatio=98").await;
    assert_eq!(code, response::SUCCESS);
    assert!(remark.contains("diskSpaceWarningLevelRatio: "), "{remark}");
    assert_eq!(shown(&world, "diskSpaceWarningLevelRatio").await.as_deref(), Some("90"));
    let (code, remark) = update(&world, "maxMessageSize=33554432").await;
    assert_eq!(code, response::SUCCESS);
    assert!(remark.contains("raise thrust.maxFrameBytes"), "{remark}");
    let (_, remark) = update(&world, "autoCreateTopicEnable=false").await;
    assert!(!remark.contains("maxMessageSize"), "it was told before: {remark}");
}

#[tokio::test]
async fn a_key_of_the_start_waits_and_says_so() {
    let world = World::start_with(&[("messageDelayLevel", "1s 5s")]).await;
    let (code, remark) = update(&world, "messageDelayLevel=1s").await;
    assert_eq!(code, response::SUCCESS);
    assert!(remark.contains("messageDelayLevel acts at a start only"), "{remark}");
    assert_eq!(shown(&world, "messageDelayLevel").await.as_deref(), Some("1s"));
}

#[tokio::test]
async fn what_the_store_and_the_senders_hold_changes_too() {
    let world = World::start_with(&[("maxMessageSize", "1000")]).await;
    world.create_topic("T", 1).await;
    let large = || async { world.me.try_send("T", 0, &[b'x'; 1500], &[]).await.code };
    assert_eq!(large().await, response::MESSAGE_ILLEGAL);
    update(&world, "maxMessageSize=2000").await;
    assert_eq!(large().await, response::SUCCESS);
    world.send("T", 0, "small").await;

    assert_eq!(world.pull("g", "T", 0, 0).await.messages.len(), 2);
    update(&world, "maxTransferCountOnMessageInMemory=1").await;
    assert_eq!(world.pull("g", "T", 0, 0).await.messages.len(), 1);

    let traced = |number: usize| {
        let world = &world;
        async move {
            let message = world.pull("g", "T", 0, number as i64).await.messages.remove(0);
            (
                message.property("TRACE_ON").map(str::to_owned),
                message.property("MSG_REGION").map(str::to_owned),
            )
        }
    };
    assert_eq!(traced(1).await.0.as_deref(), Some("true"));
    update(&world, "traceOn=false\nregionId=elsewhere").await;
    let answer = world.me.try_send("T", 0, b"untraced", &[]).await;
    assert_eq!((answer.field("TRACE_ON"), answer.field("MSG_REGION")), (Some("false"), Some("elsewhere")));
    assert_eq!(traced(2).await, (Some("false".to_owned()), Some("elsewhere".to_owned())));
}

#[tokio::test]
async fn changes_are_kept_in_the_file_that_the_broker_was_started_with() {
    let world = World::start().await;
    let path = world.directory().join("broker.conf");
    std::fs::write(&path, "# mine\nfileReservedTime=48\n").unwrap();
    let overridden = vec!["longPollingEnable"];
    world.broker.keep_settings_in(broker::SettingsFile { path: path.clone(), overridden });
    let (code, remark) = update(&world, "fileReservedTime=24\nmessageDelayLevel=1s 2s").await;
    assert_eq!(code, response::SUCCESS);
    assert!(remark.contains("fileReservedTime in force and kept in broker.conf"), "{remark}");
    assert!(remark.contains("messageDelayLevel acts at a start only and is kept in broker.conf"), "{remark}");
    let text = || std::fs::read_to_string(&path).unwrap();
    assert_eq!(text(), "# mine\nfileReservedTime=24\nmessageDelayLevel=1s 2s\n");
    let (_, remark) = update(&world, "longPollingEnable=false").await;
    assert!(remark.contains("longPollingEnable is given on the command line too"), "{remark}");
    // Whatever is refused, and whatever has no effect, does not get there.
    for refused in ["storePathRootDir=/etc", "rocketmqHome=/x", "fileReservedTime=1\nbrokerConfigPath=/x"] {
        assert_eq!(update(&world, refused).await.0, response::NO_PERMISSION);
    }
    update(&world, "fileReservedTime=x").await;
    update(&world, "noSuchKey=1\nsendMessageThreadPoolNums=9\nfileReservedTime=24").await;
    assert_eq!(text(), "# mine\nfileReservedTime=24\nmessageDelayLevel=1s 2s\nlongPollingEnable=false\n");
    // A file that cannot be written does not keep the operator from acting.
    std::fs::remove_file(&path).unwrap();
    let (code, remark) = update(&world, "fileReservedTime=12").await;
    assert_eq!(code, response::SUCCESS);
    assert!(
        remark.contains("fileReservedTime in force until the broker stops (broker.conf cannot"),
        "{remark}"
    );
    assert_eq!(shown(&world, "fileReservedTime").await.as_deref(), Some("12"));
    assert!(!path.exists());
}

#[tokio::test]
async fn what_a_client_may_not_change_stays() {
    let world = World::start_with(&[("configBlackList", "traceOn")]).await;
    for text in [
        "storePathRootDir=/etc",
        "mappedFileSizeCommitLog=4096",
        "namesrvAddr=evil:1",
        "rocketmqHome=/x",
        "brokerConfigPath=/x",
        "traceOn=false",
    ] {
        let (code, remark) = update(&world, text).await;
        assert_eq!(code, response::NO_PERMISSION, "{text}: {remark}");
    }
    for text in ["brokerPermission=abc", "brokerPermission=99", "defaultQueryMaxNum=-1", "a=\\u12"] {
        let (code, remark) = update(&world, text).await;
        assert_eq!(code, response::SYSTEM_ERROR, "{text}: {remark}");
    }
    // One bad key and nothing of the request is taken.
    update(&world, "longPollingEnable=false\nbrokerPermission=abc").await;
    assert_eq!(shown(&world, "longPollingEnable").await.as_deref(), Some("true"));
    let (code, remark) = update(&world, "sendMessageThreadPoolNums=64\nnoSuchKey=1").await;
    assert_eq!(code, response::SUCCESS, "as Java does");
    assert!(remark.contains("sendMessageThreadPoolNums has no effect"), "{remark}");
    assert_eq!(update(&world, "").await, (response::SUCCESS, String::new()));
}

#[tokio::test]
async fn a_new_broker_permission_makes_a_new_version_of_the_topics() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    world.send("Orders", 0, "m").await;
    let version = || async {
        let answer = world.me.ok(request::GET_ALL_TOPIC_CONFIG, &[]).await;
        support::body(&answer)["dataVersion"]["counter"].as_i64().unwrap()
    };
    let before = version().await;
    assert_eq!(update(&world, "brokerPermission=2").await.0, response::SUCCESS);
    assert_eq!(version().await, before + 1);
    assert_eq!(world.pull("g", "Orders", 0, 0).await.code, response::NO_PERMISSION);
    assert_eq!(update(&world, "brokerPermission=6").await.0, response::SUCCESS);
    assert_eq!(world.pull("g", "Orders", 0, 0).await.code, response::SUCCESS);
}

#[tokio::test]
async fn clean_ups_take_what_nobody_knows_and_nothing_else() {
    let world = World::start().await;
    world.create_topic("Orders", 1).await;
    world.send("Orders", 0, "m").await;
    world.create_topic("Orphan", 1).await;
    world.send("Orphan", 0, "m").await;
    let world = world.restart().await;
    let orphaned = world.directory().join("consumequeue/Orphan");
    assert!(orphaned.is_dir());
    // The topic's configuration is lost, as when a file is restored from an old copy.
    let file = world.directory().join("config/topics.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut table: serde_json::Value = serde_json::from_str(&text).unwrap();
    let world = {
        table["topicConfigTable"].as_object_mut().unwrap().shift_remove("Orphan");
        std::fs::write(&file, table.to_string()).unwrap();
        world.restart().await
    };
    for code in
        [request::CLEAN_UNUSED_TOPIC, request::CLEAN_EXPIRED_CONSUMEQUEUE, request::DELETE_EXPIRED_COMMITLOG]
    {
        world.me.ok(code, &[]).await;
    }
    assert!(!orphaned.exists());
    assert_eq!(world.pull("g", "Orders", 0, 0).await.bodies(), ["m"]);
}

#[tokio::test]
async fn requests_of_later_capabilities_are_answered_with_their_name() {
    let world = World::start().await;
    let named = [
        (request::POP_LITE_MESSAGE, "POP_LITE_MESSAGE"),
        (request::SWITCH_TIMER_ENGINE, "SWITCH_TIMER_ENGINE"),
        (request::AUTH_LIST_USER, "AUTH_LIST_USER"),
        (request::GET_BROKER_EPOCH_CACHE, "GET_BROKER_EPOCH_CACHE"),
        (request::CONTROLLER_GET_METADATA_INFO, "CONTROLLER_GET_METADATA_INFO"),
    ];
    for (code, name) in named {
        let answer = world.me.ask(code, &[]).await;
        assert_eq!(answer.code, response::REQUEST_CODE_NOT_SUPPORTED);
        assert!(answer.remark.as_ref().unwrap().contains(name), "{answer:?}");
    }
    let unknown = world.me.ask(31_999, &[]).await;
    assert_eq!(unknown.remark.as_deref(), Some(" request type 31999 not supported"));
}

/// Every administrative request without any field, with wrong fields, and with a body of nonsense.
#[tokio::test]
async fn bad_requests_are_refused_and_the_connection_lives_on() {
    let world = World::start().await;
    let codes = (1..=400).chain([901, 1007, 2001, 3001, 200_050]);
    let served = codes.filter(|code| *code != request::PULL_MESSAGE);
    let fields =
        ["topic", "group", "consumerGroup", "queueId", "timestamp", "index", "msgId", "clientId", "offset"];
    for code in served {
        world.me.ask(code, &[]).await;
        let wrong: Vec<_> = fields.iter().map(|name| (*name, "-9223372036854775809")).collect();
        world.me.ask_with(code, &wrong, b"{[}]\xff\x00=:").await;
    }
    world.me.ok(request::GET_BROKER_RUNTIME_INFO, &[]).await;
}
