//! Timer messages as a producer sends them: accepted with Java's properties, delivered at their time, taken back,
//! refused with Java's codes.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support;
use crate::support::{PATIENCE, World};
use wire::code::{request, response};
use wire::recall::RecallHandle;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Waits until a queue has this many messages.
async fn wait_for(world: &World, topic: &str, queue_id: i32, count: usize) -> support::Pulled {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let pulled = world.pull("readers", topic, queue_id, 0).await;
        if pulled.messages.len() >= count {
            return pulled;
        }
        assert!(tokio::time::Instant::now() < deadline, "{count} messages of {topic}: {pulled:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn started(given: &[(&str, &str)]) -> World {
    let world = World::start_with(given).await;
    world.create_topic("orders", 2).await;
    world.create_group("readers").await;
    world
}

#[tokio::test]
async fn each_of_the_three_properties_delays_and_none_comes_early() {
    let world = started(&[]).await;
    let sent_ms = now_ms();
    let at = (sent_ms + 700).to_string();
    for (property, value) in [("TIMER_DELAY_MS", "300"), ("TIMER_DELIVER_MS", &at), ("TIMER_DELAY_SEC", "1")]
    {
        let sent = world.send_with("orders", 1, property, &[(property, value), ("TAGS", "a")]).await;
        assert_eq!(sent.queue_id, 1, "the queue that was asked for");
    }
    let pulled = wait_for(&world, "orders", 1, 3).await;
    assert_eq!(pulled.bodies(), ["TIMER_DELAY_MS", "TIMER_DELIVER_MS", "TIMER_DELAY_SEC"]);
    for (message, due_ms) in pulled.messages.iter().zip([300, 700, 1000]) {
        let property = |name: &str| {
            message
                .properties
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.as_str())
                .unwrap_or("")
        };
        let delivered: i64 = property("TIMER_DEQUEUE_MS").parse().unwrap();
        assert!(delivered >= sent_ms + due_ms, "{} came early", message.body);
        let out: i64 = property("TIMER_OUT_MS").parse().unwrap();
        assert!(out % 1000 == 0 && out < delivered);
        assert_eq!((property("REAL_TOPIC"), property("REAL_QID"), property("TAGS")), ("orders", "1", "a"));
    }
}

#[tokio::test]
async fn a_time_that_is_past_means_now_and_a_delay_level_wins() {
    let world = started(&[("messageDelayLevel", "1h")]).await;
    let past = (now_ms() - 1000).to_string();
    let sent = world.send_with("orders", 0, "late", &[("TIMER_DELIVER_MS", &past)]).await;
    assert_eq!(sent.queue_offset, 0);
    let answer = world.me.try_send("orders", 0, b"level", &[("DELAY", "1"), ("TIMER_DELAY_MS", "1")]).await;
    assert_eq!((answer.code, answer.field("recallHandle")), (response::SUCCESS, None));
    let again = (now_ms() + 60_000).to_string();
    // What was in the wheel once is not put there again.
    let copied = [("TIMER_DELIVER_MS", again.as_str()), ("TIMER_OUT_MS", "1000")];
    world.send_with("orders", 0, "copied", &copied).await;
    assert_eq!(wait_for(&world, "orders", 0, 2).await.bodies(), ["late", "copied"]);
}

#[tokio::test]
async fn what_java_refuses_is_refused_with_its_codes() {
    let world = started(&[("timerMaxDelaySec", "100"), ("timerCongestNumEachSlot", "2")]).await;
    let far = (now_ms() + 101_500).to_string();
    let past = (now_ms() - 1).to_string();
    for properties in [
        &[("TIMER_DELIVER_MS", far.as_str())][..],
        &[("TIMER_DELAY_SEC", "101")],
        &[("TIMER_DELAY_MS", "soon")],
        &[("TIMER_DELIVER_MS", past.as_str()), ("TIMER_DEL_UNIQKEY", "k")],
    ] {
        let answer = world.me.try_send("orders", 0, b"x", properties).await;
        assert_eq!(answer.code, response::MESSAGE_ILLEGAL, "{properties:?}: {answer:?}");
        let remark = answer.remark.unwrap_or_default();
        assert!(remark.starts_with("timer message illegal, the delay time should not be bigger"), "{remark}");
        assert!(remark.contains("100000ms"), "{remark}");
    }
    let slot = (now_ms() + 50_000).to_string();
    let mut refused = String::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while refused.is_empty() && tokio::time::Instant::now() < deadline {
        let answer = world.me.try_send("orders", 0, b"x", &[("TIMER_DELIVER_MS", &slot)]).await;
        if answer.code != response::SUCCESS {
            assert_eq!(answer.code, response::SYSTEM_ERROR);
            refused = answer.remark.unwrap_or_default();
        }
    }
    assert!(refused.starts_with("timer message is under flow control, max num limit is 4"), "{refused}");

    let world = started(&[("timerWheelEnable", "false")]).await;
    let answer = world.me.try_send("orders", 0, b"x", &[("TIMER_DELAY_SEC", "1")]).await;
    assert_eq!(answer.code, response::SYSTEM_ERROR);
    assert!(answer.remark.unwrap_or_default().starts_with("accurate timer message is not enabled"));
    for code in [request::GET_TIMER_METRICS, request::GET_TIMER_CHECK_POINT] {
        assert_eq!(world.me.ask(code, &[]).await.code, response::SYSTEM_ERROR);
    }
}

#[tokio::test]
async fn a_message_is_taken_back_by_its_handle() {
    let world = started(&[("recallMessageEnable", "true")]).await;
    let answer = world.me.try_send("orders", 0, b"gone", &[("TIMER_DELAY_MS", "2500")]).await;
    let text = answer.field("recallHandle").expect("a handle").to_owned();
    let handle = RecallHandle::parse(&text).expect("a handle that can be read");
    assert_eq!((handle.topic.as_str(), handle.broker_name.as_str()), ("orders", "broker-a"));
    assert_eq!(Some(handle.unique_key.as_str()), answer.field("transactionId"));
    world.send_with("orders", 0, "kept", &[("TIMER_DELAY_MS", "2500")]).await;

    let recall = |topic: &'static str, handle: String| {
        let me = &world.me;
        async move {
            let fields = [("producerGroup", "p"), ("topic", topic), ("recallHandle", handle.as_str())];
            me.ask(request::RECALL_MESSAGE, &fields).await
        }
    };
    let done = recall("orders", text.clone()).await;
    assert_eq!(done.code, response::SUCCESS, "{done:?}");
    assert_eq!(done.field("msgId"), Some(handle.unique_key.as_str()));
    assert_eq!(done.field("MSG_REGION"), Some("DefaultRegion"));
    assert_eq!(wait_for(&world, "orders", 0, 1).await.bodies(), ["kept"]);

    world.create_topic("others", 1).await;
    for (topic, handle, code, remark) in [
        ("orders", "no handle!".to_owned(), response::ILLEGAL_OPERATION, "recall handle is invalid"),
        ("others", text.clone(), response::ILLEGAL_OPERATION, "recall failed, topic not match"),
        ("missing", text.clone(), response::TOPIC_NOT_EXIST, "recall failed, the topic[missing] not exist"),
        ("orders", text, response::ILLEGAL_OPERATION, "recall failed, timestamp invalid"),
    ] {
        let answer = recall(topic, handle).await;
        assert_eq!((answer.code, answer.remark.as_deref()), (code, Some(remark)));
    }
    let world = started(&[]).await;
    let fields = [("producerGroup", "p"), ("topic", "orders"), ("recallHandle", "x")];
    let answer = world.me.ask(request::RECALL_MESSAGE, &fields).await;
    assert_eq!(answer.code, response::NO_PERMISSION);
    assert_eq!(answer.remark.as_deref(), Some("recall failed, operation is forbidden"));
}

#[tokio::test]
async fn what_waits_is_counted_and_survives_a_restart() {
    let world = started(&[]).await;
    for _ in 0..3 {
        world.send_with("orders", 0, "later", &[("TIMER_DELAY_SEC", "3600")]).await;
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let metrics: serde_json::Value =
            serde_json::from_slice(&world.me.ask(request::GET_TIMER_METRICS, &[]).await.body).unwrap();
        if metrics["timingCount"]["orders"]["count"] == 3 {
            assert!(metrics["dataVersion"]["counter"].as_i64() > Some(0));
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{metrics}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let world = world.restart().await;
    let check = world.me.ask(request::GET_TIMER_CHECK_POINT, &[]).await;
    let number = |at: usize| i64::from_be_bytes(check.body[at..at + 8].try_into().unwrap());
    assert_eq!(check.body.len(), 56);
    assert_eq!((number(8), number(16), number(24)), (3 * 52, 3, 3));
    let answer = world.me.ask(request::GET_BROKER_RUNTIME_INFO, &[]).await;
    let info: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (&info["table"]["timerCongestNum"], &info["table"]["timerOffsetBehind"]),
        (&"3".into(), &"0".into())
    );
}

/// What is sent to where timer messages wait would be delivered to the same place again and again.
#[tokio::test]
async fn nobody_sends_to_where_timer_messages_wait() {
    let world = started(&[]).await;
    let timer_topic = "rmq_sys_wheel_timer";
    let made_up = [("TIMER_OUT_MS", "1000"), ("REAL_TOPIC", timer_topic), ("REAL_QID", "0")];
    for properties in [&[][..], &[("TIMER_DELAY_MS", "1")], &[("DELAY", "1")], &made_up] {
        let answer = world.me.try_send(timer_topic, 0, b"x", properties).await;
        assert_eq!(answer.code, response::NO_PERMISSION, "{properties:?}: {answer:?}");
    }
    assert_eq!(world.pull("readers", timer_topic, 0, 0).await.max_offset, 0, "nothing is stored");
}
