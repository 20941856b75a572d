//! What no client should send: each gets the code and remark that a Java client understands, and nothing is stored.

use crate::support;
use crate::support::frames::{Wire, frame};
use crate::support::messages::bodies;
use crate::support::peer::{borrowed, heartbeat, short_fields};
use crate::support::{Ask, House, Peer, Situation, number, remark, stored};
use remoting::Answer;
use wire::batch;
use wire::code::request as code;
use wire::header::{Dialect, Head};

async fn house() -> House {
    Situation::new(&[("maxMessageSize", "1000")]).start().await
}

fn refused(answer: &Answer, code: i32, words: &str) {
    assert_eq!(answer.code, code, "{answer:?}");
    assert!(remark(answer).contains(words), "\"{words}\" is not in {answer:?}");
}

async fn max_offset(peer: &Peer, topic: &str, queue: i32) -> i64 {
    let fields = [("topic", topic.to_owned()), ("queueId", queue.to_string())];
    number(&peer.ask_with(code::GET_MAX_OFFSET, &borrowed(&fields), &[]).await, "offset")
}

#[tokio::test(flavor = "multi_thread")]
async fn illegal_topics() {
    let house = house().await;
    let peer = house.peer();
    let long = "t".repeat(128);
    for (topic, words) in [
        ("", "blank"),
        ("a b", "illegal characters"),
        ("b\u{fc}cher", "illegal characters"),
        ("../../etc/passwd", "illegal characters"),
        (&long, "longer than"),
    ] {
        refused(&peer.send(topic, 0, "x").await, 29, words);
    }
    refused(&peer.send("SCHEDULE_TOPIC_XXXX", 0, "x").await, 16, "forbidden");
    stored(peer.send(&long[1..], 0, "127 bytes are a name").await);
    refused(
        &peer.pull(&Ask::new("nowhere", 0, 0)).await,
        17,
        "topic[nowhere] not exist, apply first please!",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn illegal_groups() {
    let house = house().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "x").await);
    let long = "g".repeat(121);
    for (group, words) in [("a/b", "illegal characters"), (&long, "longer than")] {
        refused(&peer.pull(&Ask::new("orders", 0, 0).of_group(group)).await, 26, words);
        // A heartbeat passes over such groups, as Java's does.
        assert_eq!(peer.join("c", group, "orders", "*").await.code, 0);
        refused(
            &peer.ask_with(code::GET_CONSUMER_LIST_BY_GROUP, &[("consumerGroup", group)], &[]).await,
            1,
            "no consumer for this group",
        );
    }
    refused(&peer.pull(&Ask::new("orders", 0, 0).of_group("")).await, 1, "consumerGroup");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_too_large_or_empty() {
    let house = house().await;
    let peer = house.peer();
    refused(&peer.send_with("orders", 0, &[b'x'; 1001], "").await, 13, "1000B");
    refused(&peer.send_with("orders", 0, b"x", &"p".repeat(32_768)).await, 13, "properties");
    refused(&peer.send_with("orders", 0, b"", "").await, 13, "body is empty");
    // It fits as it came, but no longer with what the broker adds.
    let nearly = format!("k\u{1}{}\u{2}", "v".repeat(32_760));
    refused(&peer.send_with("orders", 0, b"x", &nearly).await, 13, "properties");
    assert_eq!(max_offset(&peer, "orders", 0).await, 0);
    stored(peer.send_with("orders", 0, &[b'x'; 1000], "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_numbers_out_of_range() {
    let house = house().await;
    let peer = house.peer();
    stored(peer.send("orders", 3, "the last of four").await);
    for queue in [4, i32::MAX] {
        refused(&peer.send("orders", queue, "x").await, 29, &format!("queueId[{queue}] is illegal"));
        refused(&peer.pull(&Ask::new("orders", queue, 0)).await, 29, &format!("queueId[{queue}] is illegal"));
    }
    refused(&peer.pull(&Ask::new("orders", -1, 0)).await, 29, "queueId[-1] is illegal");
    // A sender that names none leaves the choice to the broker.
    let mut seen = [0; 4];
    for _ in 0..40 {
        let answer = stored(peer.send("orders", -1, "anywhere").await);
        seen[number(&answer, "queueId") as usize] += 1;
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_malformed_fields() {
    let house = house().await;
    let peer = house.peer();
    stored(peer.send("orders", 0, "x").await);
    let pull = Ask::new("orders", 0, 0).fields();
    let pull = borrowed(&pull);
    for name in ["consumerGroup", "topic", "queueId", "queueOffset", "sysFlag"] {
        let without: Vec<_> = pull.iter().copied().filter(|(key, _)| *key != name).collect();
        refused(&peer.ask_with(code::PULL_MESSAGE, &without, &[]).await, 1, name);
    }
    for (name, value) in [("queueId", "zero"), ("queueOffset", ""), ("sysFlag", "99999999999")] {
        let with: Vec<_> =
            pull.iter().map(|pair| if pair.0 == name { (name, value) } else { *pair }).collect();
        refused(&peer.ask_with(code::PULL_MESSAGE, &with, &[]).await, 1, name);
    }
    let send = short_fields("orders", "0", "");
    let without: Vec<_> = send.iter().copied().filter(|(key, _)| *key != "e").collect();
    refused(&peer.ask_with(code::SEND_MESSAGE_V2, &without, b"x").await, 1, "queueId");
    for (name, words) in [("e", "queueId"), ("f", "sysFlag"), ("g", "bornTimestamp"), ("h", "flag")] {
        let with: Vec<_> = send.iter().map(|pair| if pair.0 == name { (name, "x") } else { *pair }).collect();
        refused(&peer.ask_with(code::SEND_MESSAGE_V2, &with, b"x").await, 1, words);
    }
    assert_eq!(max_offset(&peer, "orders", 0).await, 1);
    // Bodies that are no JSON, or another one.
    for body in [&b""[..], b"{", b"[1,2", b"\xff\xfe", b"{\"consumerDataSet\":7}", b"{\"mqSet\":\"x\"}"] {
        for asked in [code::HEART_BEAT, code::LOCK_BATCH_MQ] {
            let answer = peer.ask_with(asked, &[], body).await;
            assert!(answer.code == 1 || answer.code == 0, "{asked} {body:?}: {answer:?}");
        }
    }
    refused(&peer.ask_with(code::HEART_BEAT, &[], b"{\"clientID\":").await, 1, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_out_of_range_tell_where_to_go_on() {
    let house = house().await;
    let peer = house.peer();
    for body in ["0", "1", "2"] {
        stored(peer.send("orders", 1, body).await);
    }
    for (queue, offset, code, next) in [
        (1, 4, 21, 3),
        (1, i64::MAX, 21, 3),
        (1, -1, 21, 0),
        (1, i64::MIN, 21, 0),
        (1, 3, 19, 3),
        (0, 0, 19, 0),
        (0, 9, 21, 0),
    ] {
        // None of them waits, although the client would.
        let ask = Ask::new("orders", queue, offset);
        let ask = if code == 21 { ask.waiting(support::PATIENCE) } else { ask };
        let answer = peer.pull(&ask).await;
        assert_eq!(
            (answer.code, number(&answer, "nextBeginOffset")),
            (code, next),
            "{queue} {offset}: {answer:?}"
        );
        assert_eq!(number(&answer, "maxOffset"), if queue == 1 { 3 } else { 0 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_that_nobody_knows() {
    let house = house().await;
    let peer = house.peer();
    for asked in [9_999, 0, -5, 70_000] {
        let answer = peer.ask_with(asked, &[], b"whatever").await;
        assert_eq!(answer.code, 3);
        assert_eq!(remark(&answer), format!(" request type {asked} not supported"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_with_lengths_that_cannot_be() {
    let house = house().await;
    let peer = house.peer();
    let mut good = Vec::new();
    for body in [&b"first"[..], b"second"] {
        batch::push(&mut good, &batch::Entry { flag: 0, body, properties: b"" });
    }
    let second = good.len() - 22 - 6;
    let mut fields = short_fields("orders", "0", "");
    fields[11].1 = "true";
    let mut bad = Vec::new();
    for (at, value) in
        [(0, -1), (0, i32::MAX), (second, -27), (second + 16, i32::MIN), (second + 16, 7), (second, 21)]
    {
        let mut body = good.clone();
        body[at..at + 4].copy_from_slice(&i32::to_be_bytes(value));
        bad.push(body);
    }
    bad.extend([good[..good.len() - 1].to_vec(), [&good[..], &[0; 3]].concat()]);
    for body in bad {
        refused(&peer.ask_with(code::SEND_BATCH_MESSAGE, &fields, &body).await, 13, "malformed");
        assert_eq!(max_offset(&peer, "orders", 0).await, 0, "part of a bad batch is stored");
    }
    let answer = stored(peer.ask_with(code::SEND_BATCH_MESSAGE, &fields, &good).await);
    assert_eq!(answer.field("msgId").unwrap().split(',').count(), 2);
    assert_eq!(bodies(&peer.read_all("orders", 0).await), ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_answered_in_its_own_dialect_and_one_way_requests_never() {
    let house = house().await;
    let mut wire = Wire::connect(house.address()).await;
    let fields = short_fields("orders", "0", "");
    let mut bytes = Vec::new();
    for dialect in [Dialect::Binary, Dialect::Json] {
        for asked in [code::SEND_MESSAGE_V2, code::PULL_MESSAGE, code::HEART_BEAT, 9_999] {
            bytes.extend(frame(&Head::oneway(dialect, asked, 1), &fields, b"one way"));
        }
        bytes.extend(frame(&Head::request(dialect, code::SEND_MESSAGE_V2, 2), &fields, b"both ways"));
        bytes.extend(frame(&Head::request(dialect, 9_999, 3), &fields, &[]));
    }
    wire.write(&bytes).await;
    // A send is answered when its turn is over; the order within the connection is not promised.
    let mut answers = Vec::new();
    for _ in 0..4 {
        let framed = wire.next().await.unwrap();
        answers.push((framed.dialect.byte(), framed.opaque, framed.answer.code));
    }
    answers.sort();
    let (json, binary) = (Dialect::Json.byte(), Dialect::Binary.byte());
    assert_eq!(answers, [(json, 2, 0), (json, 3, 3), (binary, 2, 0), (binary, 3, 3)]);
    wire.hears_nothing().await;
    let all = house.peer().read_all("orders", 0).await;
    assert_eq!(bodies(&all), ["one way", "both ways", "one way", "both ways"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_frames_end_their_connection_and_no_other() {
    let house = house().await;
    let mut other = Wire::connect(house.address()).await;
    other.hears_nothing().await;
    let mut bad_header = frame(&Head::request(Dialect::Json, code::HEART_BEAT, 1), &[], &[]);
    bad_header[8] = b'[';
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0xFF; 64],
        vec![0; 64],
        vec![0, 0, 0, 9, 7, 0, 0, 1, b'{', b'}', 0, 0, 0],
        bad_header,
    ] {
        let mut wire = Wire::connect(house.address()).await;
        wire.write(&bytes).await;
        assert!(wire.next().await.is_none(), "{bytes:?}");
    }
    // What came whole before the rubbish is served.
    let mut wire = Wire::connect(house.address()).await;
    let mut bytes = frame(
        &Head::request(Dialect::Json, code::SEND_MESSAGE_V2, 5),
        &short_fields("orders", "0", ""),
        b"good",
    );
    bytes.extend([0xFF; 16]);
    wire.write(&bytes).await;
    assert_eq!(wire.next().await.expect("an answer").answer.code, 0);
    assert!(wire.next().await.is_none());
    other.hears_nothing().await;
    let heartbeat = serde_json::to_vec(&heartbeat("c", "readers", &[("orders", "*")])).unwrap();
    assert_eq!(house.peer().ask_with(code::HEART_BEAT, &[], &heartbeat).await.code, 0);
}
