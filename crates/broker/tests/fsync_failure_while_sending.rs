//! A sync of the log fails: what is durable is unknown, so nothing more is accepted, and what is known is served.

use std::io::ErrorKind;

use crate::support::messages::bodies;
use crate::support::{Ask, Situation, eventually, remark, stored};
use sim::{Fault, Operation};
use wire::code::request as code;

fn broken() -> Fault {
    Fault::from_now(Operation::Sync, "commitlog", ErrorKind::Other)
}

/// The zeros that are written ahead of the log are synced too. Should that be the first sync to fail, the message is
/// refused before it is stored, and the situation is another one.
#[tokio::test(flavor = "multi_thread")]
async fn with_synchronous_flush_nobody_is_told_that_the_disk_has_it() {
    for _ in 0..20 {
        let situation = Situation::new(&[("flushDiskType", "SYNC_FLUSH")]);
        let house = situation.start().await;
        let peer = house.peer();
        assert_eq!(peer.store("orders", 0, "durable").await, 0);
        situation.disk.inject(broken());
        let unknown = peer.send("orders", 0, "unknown").await.code;
        // A disk that seems to be sound again is no proof: what it dropped is not known.
        situation.disk.heal();
        for _ in 0..3 {
            let refused = peer.send("orders", 0, "late").await;
            assert_eq!(refused.code, 14, "{refused:?}");
            assert!(remark(&refused).contains("read-only"), "{refused:?}");
        }
        // Only what is durable is ever shown.
        assert_eq!(bodies(&peer.read_all("orders", 0).await), ["durable"]);
        assert_eq!(peer.join("c", "readers", "orders", "*").await.code, 0);
        assert!(house.stop().await.is_err(), "a stop that could not flush says so");
        assert!(situation.disk.files().contains_key(&situation.path("abort")));
        match unknown {
            // FLUSH_DISK_TIMEOUT: stored, not known to be durable.
            10 => return,
            other => assert_eq!(other, 14),
        }
    }
    panic!("no message was ever answered FLUSH_DISK_TIMEOUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_asynchronous_flush_everything_is_refused_and_reads_go_on() {
    let situation = Situation::new(&[("flushIntervalCommitLog", "10")]);
    let house = situation.start().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "first").await);
    situation.disk.inject(broken());
    let mut count = 1;
    eventually("sends are refused", async || {
        let answer = peer.send("orders", 0, "more").await;
        count += i32::from(answer.code == 0);
        answer.code != 0
    })
    .await;
    let refused = peer.send("orders", 0, "late").await;
    assert_eq!(refused.code, 14, "{refused:?}");
    assert!(remark(&refused).contains("read-only"), "{refused:?}");
    let messages = peer.read_all("orders", 0).await;
    let offset = messages[0].physical_offset.to_string();
    assert_eq!(messages.len(), count as usize);
    let back = [("offset", offset.as_str()), ("group", "readers"), ("delayLevel", "0")];
    assert_eq!(peer.ask_with(code::CONSUMER_SEND_MSG_BACK, &back, &[]).await.code, 14);
    // Consumers still commit how far they have come.
    let pull = Ask::new("orders", 0, 1).committing(1);
    peer.pull(&pull).await;
    let asked = [("consumerGroup", "readers"), ("topic", "orders"), ("queueId", "0")];
    let committed = peer.ask_with(code::QUERY_CONSUMER_OFFSET, &asked, &[]).await;
    assert_eq!(committed.field("offset"), Some("1"), "{committed:?}");
}

/// What the disk has lost cannot keep the message back after the next start.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_that_a_message_is_taken_back() {
    let situation = Situation::new(&[("flushDiskType", "SYNC_FLUSH"), ("recallMessageEnable", "true")]);
    let house = situation.start().await;
    let peer = house.peer();
    peer.store("orders", 0, "so that there is the topic").await;
    let later = stored(peer.try_send("orders", 0, b"later", &[("TIMER_DELAY_SEC", "3600")]).await);
    let handle = later.field("recallHandle").unwrap();
    situation.disk.inject(broken());
    let fields = [("producerGroup", "p"), ("topic", "orders"), ("recallHandle", handle)];
    let answer = peer.ask(code::RECALL_MESSAGE, &fields).await;
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(remark(&answer).starts_with("recall failed"), "{answer:?}");
}
