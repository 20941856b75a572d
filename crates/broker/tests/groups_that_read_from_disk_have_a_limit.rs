//! Consumers far behind are held back when their group has had enough from the disk, and administrators see and say
//! how much that is.

use std::time::{Duration, Instant};

use remoting::Limits;
use serde_json::Value;
use wire::code::{request, response};

use crate::support::messages::{bodies, records};
use crate::support::slow_disk::SlowDisk;
use crate::support::{Ask, House, Peer, Situation, body, remark};

const FIRST_SEGMENT: &str = "commitlog/00000000000000000000";
const BODY_BYTES: usize = 8000;
const MESSAGES: i64 = 40;

/// Forty messages, of which those in the first file of the log are not in memory.
async fn start(keys: &[(&str, &str)]) -> (Situation, House) {
    let situation = Situation::new(keys);
    let disk = SlowDisk::over(&situation.disk);
    let house = situation.start_on(disk.seen(), Limits::default()).await;
    let sender = house.peer();
    for number in 0..MESSAGES {
        assert_eq!(sender.store("orders", 0, &text(number)).await, number);
    }
    disk.stick(FIRST_SEGMENT);
    disk.let_go();
    (situation, house)
}

fn text(number: i64) -> String {
    format!("{number:0>BODY_BYTES$}")
}

async fn told(peer: &Peer) -> Value {
    body(&peer.ask(request::GET_COLD_DATA_FLOW_CTR_INFO, &[]).await)
}

async fn limit(peer: &Peer, lines: &str) -> i32 {
    peer.ask_with(request::UPDATE_COLD_DATA_FLOW_CTR_CONFIG, &[], lines.as_bytes()).await.code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_consumer_at_its_limit_comes_again_later_and_reads_what_is_in_memory_meanwhile() {
    let (_situation, house) = start(&[("coldDataFlowControlEnable", "true")]).await;
    let peer = house.peer();
    peer.join("c", "readers", "orders", "*").await;
    let first = peer.pull(&Ask::new("orders", 0, 0)).await;
    assert_eq!(first.code, response::SUCCESS, "{first:?}");
    let read = told(&peer).await["runtimeTable"]["readers"]["lastColdReadTimeMills"].as_i64();
    assert!(read.is_some_and(|at| at > 0));

    assert_eq!(limit(&peer, "readers=0\nothers=5").await, response::SUCCESS);
    let table = told(&peer).await["configTable"].clone();
    assert_eq!((&table["readers"], &table["others"]), (&0.into(), &5.into()));
    let refused = peer.pull(&Ask::new("orders", 0, 0)).await;
    assert_eq!(refused.code, response::SYSTEM_BUSY, "{refused:?}");
    assert_eq!(remark(&refused), "This consumer group is reading cold data. It has been flow control");
    let near = peer.pull(&Ask::new("orders", 0, MESSAGES - 1)).await;
    assert_eq!(bodies(&records(&near.body)), [text(MESSAGES - 1)]);

    peer.ask_with(request::REMOVE_COLD_DATA_FLOW_CTR_CONFIG, &[], b"readers").await;
    assert_eq!(told(&peer).await["configTable"].as_object().unwrap().len(), 1);
    assert_eq!(peer.pull(&Ask::new("orders", 0, 0)).await.code, response::SUCCESS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_asks_by_itself_gets_one_message_after_a_pause() {
    let (_situation, house) = start(&[("coldDataFlowControlEnable", "true")]).await;
    let peer = house.peer();
    let all = peer.pull(&Ask::new("orders", 0, 0)).await;
    assert!(records(&all.body).len() > 1);
    assert_eq!(limit(&peer, "readers=0").await, response::SUCCESS);
    let since = Instant::now();
    let one = peer.pull(&Ask::new("orders", 0, 0)).await;
    assert_eq!(bodies(&records(&one.body)), [text(0)]);
    assert!(since.elapsed() >= Duration::from_millis(2_900), "after {:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_held_back_unless_the_owner_wants_it_and_bad_limits_are_refused() {
    let (_situation, house) = start(&[]).await;
    let peer = house.peer();
    peer.join("c", "readers", "orders", "*").await;
    assert_eq!(limit(&peer, "readers=0").await, response::SUCCESS);
    for _ in 0..2 {
        assert_eq!(peer.pull(&Ask::new("orders", 0, 0)).await.code, response::SUCCESS);
    }
    let before = told(&peer).await;
    assert_eq!((&before["runtimeTable"], &before["globalAcc"]), (&serde_json::json!({}), &0.into()));
    assert_eq!(
        (&before["cgColdReadThreshold"], &before["globalColdReadThreshold"]),
        (&3145728.into(), &104857600.into())
    );
    for lines in ["good=1\nreaders=many", "readers=-1", "no/name=1"] {
        assert_eq!(limit(&peer, lines).await, response::SYSTEM_ERROR, "{lines}");
    }
    assert_eq!(told(&peer).await, before, "all or nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_ahead_is_turned_off_and_on() {
    let (_situation, house) = start(&[]).await;
    let peer = house.peer();
    for (mode, code) in [
        ("1", response::SUCCESS),
        ("2", response::INVALID_PARAMETER),
        ("x", response::SYSTEM_ERROR),
        ("0", response::SUCCESS),
    ] {
        let answer = peer.ask(request::SET_COMMITLOG_READ_MODE, &[("READ_AHEAD_MODE", mode)]).await;
        assert_eq!(answer.code, code, "{mode} {answer:?}");
        if code == response::SUCCESS {
            assert_eq!(remark(&answer), format!("set commitlog readahead mode success, mode: {mode}"));
            let config = peer.ask(request::GET_BROKER_CONFIG, &[]).await;
            let line = format!("dataReadAheadEnable={}", mode == "0");
            assert!(String::from_utf8_lossy(&config.body).contains(&line), "{line}");
        }
        let got = peer.pull(&Ask::new("orders", 0, 0)).await;
        assert_eq!(records(&got.body)[0].body, text(0), "{mode}");
    }
    assert_eq!(peer.ask(request::SET_COMMITLOG_READ_MODE, &[]).await.code, response::SYSTEM_ERROR);
}
