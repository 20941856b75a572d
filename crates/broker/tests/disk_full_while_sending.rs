//! The disk has no space left: senders are told, readers go on, and nothing is half there.

use std::io::ErrorKind;

use crate::support::frames::{Wire, frame};
use crate::support::messages::bodies;
use crate::support::peer::short_fields;
use crate::support::{PATIENCE, Situation, eventually, number, remark, stored};
use sim::{Fault, Operation};
use store::Space;
use wire::code::request as code;
use wire::header::{Dialect, Head};

#[tokio::test(flavor = "multi_thread")]
async fn senders_get_14_until_space_returns_and_readers_do_not_notice() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    for number in 0..10 {
        assert_eq!(peer.store("orders", 1, &format!("before {number}")).await, number);
    }
    let full = Fault::from_now(Operation::Write, "commitlog", ErrorKind::StorageFull);
    situation.disk.inject(Fault { bytes_written: 100, ..full });
    for _ in 0..3 {
        let refused = peer.send("orders", 1, "lost").await;
        assert_eq!(refused.code, 14, "{refused:?}");
        assert!(remark(&refused).starts_with("service not available now"), "{refused:?}");
        assert!(remark(&refused).contains("is full"), "{refused:?}");
        assert_eq!(refused.field("TRACE_ON"), Some("true"), "refusals carry it too");
    }
    // Everything that needs no space is served as ever.
    assert_eq!(peer.read_all("orders", 1).await.len(), 10);
    assert_eq!(peer.join("c", "readers", "orders", "*").await.code, 0);
    assert_eq!(number(&peer.ask_with(code::GET_MAX_OFFSET, &queue("orders", "1"), &[]).await, "offset"), 10);

    situation.disk.heal();
    assert_eq!(peer.store("orders", 1, "after").await, 10);
    let killed = situation.after_kill();
    let house = killed.start().await;
    let all = house.peer().read_all("orders", 1).await;
    let expected: Vec<_> =
        (0..10).map(|number| format!("before {number}")).chain(["after".to_owned()]).collect();
    assert_eq!(bodies(&all), expected);
    assert!(all.iter().map(|message| message.queue_offset).eq(0..11));
}

/// A disk of which so many percent are free.
fn free(percent: u64) -> Space {
    Space { total: 100, free: percent, available: percent }
}

/// The disk is not full yet, but fuller than it may be: Java's code and words, until somebody makes room.
#[tokio::test(flavor = "multi_thread")]
async fn above_the_warning_level_senders_get_14_until_somebody_makes_room() {
    let situation = Situation::new(&[("cleanResourceInterval", "100")]);
    let house = situation.start().await;
    let peer = house.peer();
    assert_eq!(peer.store("orders", 0, "before").await, 0);
    for offset in 1..3 {
        situation.disk.set_space(free(5));
        eventually("sends are refused", async || peer.send("orders", 0, "refused").await.code != 0).await;
        let refused = peer.send("orders", 0, "refused").await;
        assert_eq!(refused.code, 14, "{refused:?}");
        assert!(remark(&refused).starts_with("service not available now. disk of "), "{refused:?}");
        assert!(remark(&refused).contains("is full (95 % used, the limit is 90 %)"), "{refused:?}");
        assert!(peer.read_all("orders", 0).await.len() as i64 >= offset);
        situation.disk.set_space(free(50));
        eventually("sends are taken", async || peer.send("orders", 0, "after").await.code == 0).await;
    }
}

/// That is how room is made, and what the broker names where a topic keeps the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_consumed_can_be_deleted_then() {
    let situation = Situation::new(&[("cleanResourceInterval", "100")]);
    let house = situation.start().await;
    let peer = house.peer();
    assert_eq!(peer.store("orders", 0, "before").await, 0);
    assert_eq!(peer.join("c", "readers", "orders", "*").await.code, 0);
    let offset = [("consumerGroup", "readers"), ("topic", "orders"), ("queueId", "0"), ("commitOffset", "1")];
    assert_eq!(peer.ask_with(code::UPDATE_CONSUMER_OFFSET, &offset, &[]).await.code, 0);
    situation.disk.set_space(free(5));
    eventually("sends are refused", async || peer.send("orders", 0, "refused").await.code == 14).await;
    let deleted = peer.ask_with(code::DELETE_TOPIC_IN_BROKER, &[("topic", "orders")], &[]).await;
    assert_eq!(deleted.code, 0, "{deleted:?}");
}

/// The log has room and the queues have not, as when they are on a disk of their own.
#[tokio::test(flavor = "multi_thread")]
async fn without_space_for_queue_files_nothing_is_lost() {
    let situation = Situation::new(&[("flushIntervalConsumeQueue", "1")]);
    let house = situation.start().await;
    let peer = house.peer();
    situation.disk.inject(Fault::from_now(Operation::Write, "consumequeue", ErrorKind::StorageFull));
    for offset in 0..20 {
        assert_eq!(peer.store("orders", 0, "waits").await, offset);
    }
    assert_eq!(peer.read_all("orders", 0).await.len(), 20);
    situation.disk.heal();
    assert_eq!(peer.store("orders", 0, "last").await, 20);
    let killed = situation.after_kill();
    assert_eq!(killed.start().await.peer().read_all("orders", 0).await.len(), 21);
}

/// Frames that one read delivers are appended together, so a fault in between hits some writes and not others.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_pipelined_stream_exactly_the_acknowledged_messages_are_stored() {
    const COUNT: i32 = 600;
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    stored(house.peer().send("orders", 0, "first").await);
    let full = Fault::from_now(Operation::Write, "commitlog", ErrorKind::StorageFull);
    // Of each three failing writes one leaves all of its bytes behind, which must not come to life.
    for (after, bytes_written) in [(2, 0), (3, usize::MAX), (5, 700)] {
        situation.disk.inject(Fault { after, times: 1, bytes_written, ..full.clone() });
    }
    let address = house.address();
    let mut senders = Vec::new();
    for sender in 0..3 {
        senders.push(tokio::spawn(async move {
            let mut wire = Wire::connect(address).await;
            let mut acknowledged = Vec::new();
            for chunk in 0..COUNT / 20 {
                let mut bytes = Vec::new();
                for opaque in chunk * 20..chunk * 20 + 20 {
                    let body = format!("{sender}/{opaque}");
                    let head = Head::request(Dialect::Json, code::SEND_MESSAGE_V2, opaque);
                    bytes.extend(frame(&head, &short_fields("orders", "0", ""), body.as_bytes()));
                }
                wire.write(&bytes).await;
                for _ in 0..20 {
                    let framed = wire.next().await.expect("every send is answered");
                    match framed.answer.code {
                        0 => acknowledged.push((
                            number(&framed.answer, "queueOffset"),
                            format!("{sender}/{}", framed.opaque),
                        )),
                        14 => (),
                        _ => panic!("{framed:?}"),
                    }
                }
            }
            acknowledged
        }));
    }
    let mut acknowledged = vec![(0, "first".to_owned())];
    for sender in senders {
        acknowledged.extend(tokio::time::timeout(PATIENCE, sender).await.unwrap().unwrap());
    }
    acknowledged.sort();
    assert!(acknowledged.len() < 1 + 3 * COUNT as usize, "the faults hit nothing");

    for situation in [None, Some(situation.after_kill())] {
        let restarted = match &situation {
            Some(situation) => Some(situation.start().await),
            None => None,
        };
        let all = restarted.as_ref().unwrap_or(&house).peer().read_all("orders", 0).await;
        let read: Vec<_> = all.into_iter().map(|message| (message.queue_offset, message.body)).collect();
        assert_eq!(read, acknowledged);
    }
}

/// A topic that was refused must not stay behind in memory: its messages would be unreachable after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_cannot_be_written_down_is_not_created() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    situation.disk.inject(Fault::from_now(Operation::Write, "config", ErrorKind::StorageFull));
    let refused = peer.send("orders", 0, "lost").await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(remark(&refused).contains("topics.json"), "{refused:?}");
    let refused = peer.send("orders", 0, "lost").await;
    assert_eq!(refused.code, 1, "it must not be taken for created: {refused:?}");
    // A group is not created either, and whoever asks again is refused again.
    for _ in 0..2 {
        let joined = peer.join("c", "new", "orders", "*").await;
        assert_eq!(joined.code, 1, "{joined:?}");
        assert!(remark(&joined).contains("subscriptionGroup.json"), "{joined:?}");
    }

    situation.disk.heal();
    stored(peer.send("orders", 0, "kept").await);
    assert_eq!(peer.join("c", "new", "orders", "*").await.code, 0);
    let killed = situation.after_kill();
    let house = killed.start().await;
    let peer = house.peer();
    assert_eq!(bodies(&peer.read_all("orders", 0).await), ["kept"]);
    let groups = peer.ask_with(code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[], &[]).await;
    assert!(String::from_utf8(groups.body).unwrap().contains("\"new\""));
}

fn queue<'a>(topic: &'a str, id: &'a str) -> [(&'a str, &'a str); 2] {
    [("topic", topic), ("queueId", id)]
}
