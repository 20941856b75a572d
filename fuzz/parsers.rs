//! What must hold for any bytes that reach a parser. Shared by the fuzz targets and by the plain test that replays
//! their corpus (`crates/wire/tests/fuzz_corpus.rs`).

use wire::body::{HeartbeatData, LockBatch, RegisterBrokerBody, TopicRoute};
use wire::frame::{self, FRAME_MAX};
use wire::header::{self, Dialect, FrameWriter, Head};
use wire::ids::{OffsetId, unhex};
use wire::pop::{Handle, normal_topic};
use wire::recall::{self, RecallHandle};
use wire::record::{self, Record};
use wire::{base64, batch, loose_json, properties};

/// Panics when something does not hold.
pub type Check = fn(&[u8]);

/// Name of each target, which is also its folder of the corpus, and what it checks.
#[allow(dead_code)]
pub const TARGETS: [(&str, Check); 8] = [
    ("frame", frame),
    ("json_header", json_header),
    ("binary_header", binary_header),
    ("properties", properties),
    ("batch_body", batch_body),
    ("stored_record", stored_record),
    ("loose_json", loose_json),
    ("identifiers", identifiers),
];

/// Frames one after the other, as a connection splits them.
pub fn frame(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(frame)) = frame::split(rest, FRAME_MAX) {
        assert_eq!(frame.size, 8 + frame.header.len() + frame.body.len());
        assert_eq!(frame::announced(rest), Some(frame.size));
        // A frame is one only when its last byte is there.
        assert!(frame::split(&rest[..frame.size - 1], FRAME_MAX).unwrap().is_none());
        assert!(frame::split(rest, frame.size - 1).is_err());
        header_of(frame.dialect, frame.header);
        rest = &rest[frame.size..];
    }
}

/// A JSON header.
pub fn json_header(bytes: &[u8]) {
    header_of(Dialect::Json, bytes);
}

/// A binary header.
pub fn binary_header(bytes: &[u8]) {
    header_of(Dialect::Binary, bytes);
}

/// A header that is understood says the same after we have written it.
fn header_of(dialect: Dialect, bytes: &[u8]) {
    let Ok(read) = header::parse(dialect, bytes) else { return };
    assert!(read.fields.len() <= header::FIELDS_MAX);
    for (name, value) in read.fields.iter() {
        assert!(read.fields.get(name).is_some());
        assert!(dialect == Dialect::Json || !(name.is_empty() || value.is_empty()));
    }
    let (code, opaque, flag, remark) = (read.code, read.opaque, read.flag, read.remark.as_deref());
    let mut out = Vec::new();
    let mut writer = FrameWriter::new(&mut out, &Head { dialect, code, opaque, flag, remark });
    for (name, value) in read.fields.iter() {
        writer.field(name, value);
    }
    writer.empty();
    let frame = frame::split(&out, usize::MAX).unwrap().unwrap();
    let again = header::parse(dialect, frame.header).unwrap();
    assert_eq!((again.code, again.opaque, again.flag), (code, opaque, flag));
    assert_eq!(again.remark.as_deref(), remark);
    assert!(again.fields.iter().eq(read.fields.iter()));
}

/// Properties text: what is read survives being copied, and the last of equal names wins.
pub fn properties(bytes: &[u8]) {
    let pairs: Vec<_> = properties::iter(bytes).collect();
    for (name, _) in &pairs {
        let last = pairs.iter().rev().find(|(other, _)| other == name).unwrap().1;
        assert_eq!(properties::find(bytes, name), Some(last));
    }
    let mut copy = Vec::new();
    properties::copy_without(bytes, &[], &mut copy);
    assert!(properties::iter(&copy).eq(pairs.iter().copied()));
    let mut changed = bytes.to_vec();
    properties::set(&mut changed, properties::TAGS, "t");
    assert_eq!(properties::find(&changed, properties::TAGS), Some("t"));
}

/// A batch body that is understood to its end is what we would have written, but for its reserved words.
pub fn batch_body(bytes: &[u8]) {
    let mut again = Vec::new();
    let mut at = 0;
    for entry in batch::entries(bytes) {
        let Ok(entry) = entry else { return };
        batch::push(&mut again, &entry);
        again[at + 4..at + 12].copy_from_slice(&bytes[at + 4..at + 12]);
        at = again.len();
    }
    assert_eq!(again, bytes);
}

/// A stored record that is understood is what we would have stored, but for the upper half of its ports.
pub fn stored_record(bytes: &[u8]) {
    let _ = record::properties_of(bytes);
    let Ok(record) = Record::parse(bytes) else { return };
    let _ = record.verify_crc();
    assert_eq!(record::properties_of(bytes), Some(record.properties));
    for (name, _) in properties::iter(record.properties) {
        assert!(record.property(name).is_some());
    }
    let mut again = Vec::new();
    // The second layout holds topics longer than any that we write.
    if record::encode(&record.message(), &mut again).is_err() {
        assert!(record.topic.len() > 255);
        return;
    }
    record::patch(
        &mut again,
        record.queue_offset as u64,
        record.physical_offset as u64,
        record.store_timestamp,
    );
    let copy = Record::parse(&again).unwrap();
    copy.verify_crc().unwrap();
    assert_eq!((copy.topic, copy.body, copy.properties), (record.topic, record.body, record.properties));
    assert_eq!((copy.born_host, copy.store_host), (record.born_host, record.store_host));
    assert_eq!((copy.queue_offset, copy.physical_offset), (record.queue_offset, record.physical_offset));
    assert_eq!((copy.born_timestamp, copy.store_timestamp), (record.born_timestamp, record.store_timestamp));
    assert_eq!((copy.sys_flag, copy.flag, copy.queue_id), (record.sys_flag, record.flag, record.queue_id));
}

/// A body in either form of JSON: rewriting it is bounded and gives what no further rewriting changes.
pub fn loose_json(bytes: &[u8]) {
    if let Ok(strict) = loose_json::strict(bytes) {
        assert!(strict.len() <= 64 + bytes.len() * 64, "{} bytes became {}", bytes.len(), strict.len());
        if std::str::from_utf8(bytes).is_ok() {
            assert!(std::str::from_utf8(&strict).is_ok());
            assert_eq!(loose_json::strict(&strict).unwrap(), strict);
        }
    }
    let _ = loose_json::read::<HeartbeatData>(bytes);
    let _ = loose_json::read::<LockBatch>(bytes);
    let _ = loose_json::read::<RegisterBrokerBody>(bytes);
    let _ = loose_json::read::<TopicRoute>(bytes);
}

/// What clients give back as text: receipt and recall handles, offset ids, sets of bits. What is understood means the
/// same after we have written it.
pub fn identifiers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(handle) = Handle::parse(text) {
        assert_eq!(Handle::parse(&handle.to_string()), Some(handle));
    }
    if let Some(id) = OffsetId::parse(text) {
        assert_eq!(id.to_string(), text.to_ascii_uppercase());
    }
    if let Some(handle) = RecallHandle::parse(text) {
        let millis = handle.millis.parse().unwrap_or(0);
        let mut again = Vec::new();
        recall::write(&handle.topic, &handle.broker_name, millis, &handle.unique_key, &mut again);
        let again = RecallHandle::parse(std::str::from_utf8(&again).unwrap()).unwrap();
        assert_eq!((again.topic, again.broker_name), (handle.topic, handle.broker_name));
        assert_eq!(again.unique_key, handle.unique_key);
    }
    if let Some(bits) = base64::decode(text) {
        assert_eq!(base64::decode(&base64::encode(&bits)), Some(bits));
    }
    if let Some(bytes) = unhex(text) {
        assert_eq!(bytes.len() * 2, text.len());
    }
    let (topic, group) = text.split_once(' ').unwrap_or((text, "group"));
    let _ = normal_topic(topic, group);
}
