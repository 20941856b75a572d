//! The disk fails now and then: each sender hears about its own messages, and nothing is half there.

use std::io::ErrorKind;

use crate::support::messages::{bodies, text};
use crate::support::{Ask, Situation, remark, stored};
use sim::{Fault, Operation};
use wire::code::request as code;

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_is_answered_with_1_and_the_next_one_succeeds() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    assert_eq!(peer.store("orders", 0, "first").await, 0);
    for bytes_written in [0, 60, usize::MAX] {
        let broken = Fault::from_now(Operation::Write, "commitlog", ErrorKind::Other);
        situation.disk.inject(Fault { times: 1, bytes_written, ..broken });
        let refused = peer.send("orders", 0, "lost").await;
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(remark(&refused).starts_with("UNKNOWN_ERROR"), "{refused:?}");
        assert!(remark(&refused).contains("injected"), "the cause is named: {refused:?}");
    }
    assert_eq!(peer.store("orders", 0, "2nd").await, 1);
    for situation in [situation.after_kill(), situation.after_kill()] {
        let restarted = situation.start().await;
        assert_eq!(bodies(&restarted.peer().read_all("orders", 0).await), ["first", "2nd"]);
        restarted.stop().await.unwrap();
        let restarted = situation.start().await;
        assert_eq!(
            bodies(&restarted.peer().read_all("orders", 0).await),
            ["first", "2nd"],
            "after a clean stop"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn send_backs_and_delayed_messages_are_refused_as_sends_are() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "failed").await);
    let failed = peer.read_all("orders", 0).await.remove(0);
    situation.disk.inject(Fault::from_now(Operation::Write, "commitlog", ErrorKind::Other));
    let offset = failed.physical_offset.to_string();
    let back = [("offset", offset.as_str()), ("group", "readers"), ("delayLevel", "0")];
    assert_eq!(peer.ask_with(code::CONSUMER_SEND_MSG_BACK, &back, &[]).await.code, 1);
    let delayed = text(&[("DELAY", "1")]);
    assert_eq!(peer.send_with("orders", 0, b"later", &delayed).await.code, 1);
    situation.disk.heal();
    assert_eq!(peer.ask_with(code::CONSUMER_SEND_MSG_BACK, &back, &[]).await.code, 0);
    assert_eq!(peer.store("orders", 0, "next").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_read_is_an_error_to_its_reader_and_to_nobody_else() {
    let situation = Situation::new(&[]);
    let house = situation.start().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "there").await);
    situation.disk.inject(Fault::from_now(Operation::Read, "commitlog", ErrorKind::Other));
    let answer = peer.pull(&Ask::new("orders", 0, 0)).await;
    assert_eq!((answer.code, answer.body.len()), (1, 0), "{answer:?}");
    assert!(remark(&answer).contains("cannot read"), "{answer:?}");
    stored(peer.send("orders", 0, "more").await);
    situation.disk.heal();
    assert_eq!(bodies(&peer.read_all("orders", 0).await), ["there", "more"]);
}
