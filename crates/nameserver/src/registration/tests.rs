use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;

use super::*;

const V5: i32 = 513;
const V4: i32 = 407;

fn record(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The layout of Java's `RegisterBrokerBody.encode(true)`; `mappings` only from 5.x.
fn layout(topics: &[&str], mappings: Option<&[&str]>) -> Vec<u8> {
    let mut out = Vec::new();
    record(&mut out, br#"{"counter":3,"stateVersion":2,"timestamp":7}"#);
    out.extend_from_slice(&(topics.len() as u32).to_be_bytes());
    topics.iter().for_each(|topic| record(&mut out, topic.as_bytes()));
    record(&mut out, b"[]");
    if let Some(mappings) = mappings {
        out.extend_from_slice(&(mappings.len() as u32).to_be_bytes());
        mappings.iter().for_each(|mapping| record(&mut out, mapping.as_bytes()));
    }
    out
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn topic(name: &str, read: i32, write: i32, perm: i32, sys_flag: i32) -> TopicQueues {
    TopicQueues { name: name.into(), queues: Queues { read, write, perm, sys_flag } }
}

/// A static topic S with two logical queues, both on broker b.
fn two_of_s() -> TopicQueueMappingInfo {
    TopicQueueMappingInfo {
        bname: "b".to_owned(),
        curr_id_map: BTreeMap::from([(0, 0), (1, 1)]),
        epoch: 1,
        topic: "S".to_owned(),
        total_queues: 2,
        ..TopicQueueMappingInfo::default()
    }
}

#[test]
fn json_of_a_broker_of_today() {
    let body = br#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":3,"stateVersion":2,"timestamp":7},"mappingDataVersion":{"counter":0},"topicConfigTable":{"T":{"attributes":{"+a":"b"},"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":1,"writeQueueNums":4}},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{"S":{"bname":"b","currIdMap":{0:0,1:1},"dirty":false,"epoch":1,"topic":"S","totalQueues":2}}}}"#;
    let payload = decode(body, false, V5).unwrap();
    assert_eq!(payload.version, DataVersion { counter: 3, state_version: 2, timestamp: 7 });
    assert_eq!(payload.topics, [topic("T", 8, 4, 6, 1)]);
    assert_eq!(payload.mappings, [two_of_s()]);
}

#[test]
fn json_with_absent_and_null_members() {
    let body = br#"{"topicConfigSerializeWrapper":{"dataVersion":{"counter":3,"timestamp":7},"topicConfigTable":{"T":{"perm":4},"N":null}}}"#;
    let payload = decode(body, false, V4).unwrap();
    assert_eq!(payload.topics, [topic("T", 16, 16, 4, 0)]);
    assert!(payload.mappings.is_empty());
    for body in ["{}", r#"{"topicConfigSerializeWrapper":null,"filterServerList":null}"#] {
        assert_eq!(decode(body.as_bytes(), false, V4).unwrap(), Payload::default());
    }
    assert_eq!(decode(b"", true, V5).unwrap(), Payload::default());
}

#[test]
fn ancient_broker_sends_the_wrapper_alone() {
    let body = br#"{"dataVersion":{"counter":1,"timestamp":7},"topicConfigTable":{"T":{"topicName":"T","readQueueNums":1,"writeQueueNums":2,"perm":6}}}"#;
    assert_eq!(decode(body, false, 36).unwrap().topics, [topic("T", 1, 2, 6, 0)]);
    assert_eq!(decode(body, false, 37).unwrap(), Payload::default());
}

#[test]
fn compressed_body_of_both_generations() {
    let topics = ["T 8 4 6 SINGLE_TAG", "U 1 1 7 MULTI_TAG {\"+k\":\"v w\"}"];
    let expected = [topic("T", 8, 4, 6, 0), topic("U", 1, 1, 7, 0)];
    let old = decode(&zlib(&layout(&topics, None)), true, V4).unwrap();
    assert_eq!((&old.topics[..], &old.mappings[..]), (&expected[..], &[][..]));
    assert_eq!(old.version, DataVersion { counter: 3, state_version: 2, timestamp: 7 });
    let empty = decode(&zlib(&layout(&topics, Some(&[]))), true, V5).unwrap();
    assert_eq!((&empty.topics[..], &empty.mappings[..]), (&expected[..], &[][..]));
    let mapping = r#"{"bname":"b","currIdMap":{0:0,1:1},"dirty":false,"epoch":1,"scope":"__global__","topic":"S","totalQueues":2}"#;
    let mapped = decode(&zlib(&layout(&topics, Some(&[mapping]))), true, V5).unwrap();
    assert_eq!(mapped.mappings, [two_of_s()]);
}

#[test]
fn damaged_compressed_bodies_are_errors() {
    let whole = layout(&["T 8 4 6 SINGLE_TAG"], Some(&[r#"{"topic":"T"}"#]));
    for end in 0..whole.len() {
        assert!(decode(&zlib(&whole[..end]), true, V5).is_err(), "{end}");
    }
    for bad in ["T 8 4 6", "T 8 x 6 SINGLE_TAG", ""] {
        assert!(decode(&zlib(&layout(&[bad], Some(&[]))), true, V5).is_err(), "{bad}");
    }
    assert!(decode(b"not zlib at all", true, V5).is_err());
    assert!(decode(&zlib(&[0xFF; 8]), true, V5).is_err());
}

#[test]
fn record_that_unfolds_without_end_is_refused_before_it_is_kept() {
    let mut bomb = vec![0x7F, 0xFF, 0xFF, 0xFF];
    bomb.resize(64 << 20, b' ');
    let error = decode(&zlib(&bomb), true, V5).unwrap_err().to_string();
    assert!(error.ends_with("a record has more than 1 MiB"), "{error}");
}

#[test]
fn more_static_topics_than_any_broker_has_are_refused_before_they_are_kept() {
    let bomb = zlib(&layout(&[], Some(&vec!["{}"; MAPPINGS_MAX + 1][..])));
    assert!(bomb.len() < 64 << 10, "{} bytes", bomb.len());
    let error = decode(&bomb, true, V5).unwrap_err().to_string();
    assert!(error.ends_with("more than 200,000 static topics in one registration"), "{error}");
}

#[test]
fn topic_nobody_can_ask_for_is_left_out() {
    let long = "x".repeat(TOPIC_BYTES_MAX + 1);
    let body = format!(
        r#"{{"topicConfigSerializeWrapper":{{"topicConfigTable":{{"{long}":{{"perm":6}},"T":{{"perm":6}}}}}}}}"#
    );
    assert_eq!(decode(body.as_bytes(), false, V5).unwrap().topics.len(), 1);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, compressed: bool, deflate: bool, version in 0..600) {
        let body = if deflate { zlib(&bytes) } else { bytes };
        let _ = decode(&body, compressed, version);
    }
}
