//! What tests of compacted topics share: small files, and a model that knows what must be there.
#![allow(dead_code, reason = "each test uses a part of this")]

use std::collections::HashMap;

use store::{CompactionOptions, Options, ReadLimits, ReadStatus, Store};
use wire::properties;
use wire::record::Record;

use crate::support::{Letter, letter, send, small_options};

pub const TOPIC: &str = "state";

/// Parts of ten messages.
pub fn options() -> Options {
    let compaction =
        CompactionOptions { log_file_bytes: 1, units_file_bytes: 46 * 11, ..CompactionOptions::default() };
    Options { compaction: Some(compaction), ..small_options() }
}

/// One message as a consumer gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub queue_offset: i64,
    pub key: String,
    pub body: String,
}

/// Reads a queue from an offset to its end.
pub fn read_from(store: &Store, queue: u32, offset: i64) -> Vec<Kept> {
    let queue = store.queue(TOPIC, queue);
    let mut got = Vec::new();
    let mut next = offset;
    loop {
        let limits = ReadLimits { max_count: 7, max_bytes: 1 << 20 };
        let result = store.read(&queue, next, limits, &mut |_| true).expect("reading works");
        assert_eq!(result.max_offset, queue.max_offset() as i64);
        assert_eq!(result.min_offset, queue.min_offset() as i64);
        match result.status {
            ReadStatus::Found => {}
            ReadStatus::OffsetOverflowOne | ReadStatus::NoMessageInQueue => return got,
            other => panic!("{queue:?}: {other:?} at {next}"),
        }
        for bytes in result.records.iter() {
            let bytes = bytes.unwrap();
            let record = Record::parse(&bytes).expect("a record");
            record.verify_crc().expect("its CRC");
            assert_eq!((record.topic, record.queue_id), (TOPIC, queue.id()));
            got.push(Kept {
                queue_offset: record.queue_offset,
                key: record.property(properties::KEYS).unwrap_or_default().to_owned(),
                body: String::from_utf8_lossy(record.body).into_owned(),
            });
        }
        assert!(result.next_offset > next, "{next} to {}", result.next_offset);
        assert!(got.last().is_some_and(|last| last.queue_offset < result.next_offset));
        next = result.next_offset;
    }
}

/// What was sent and is durable, by queue.
#[derive(Default)]
pub struct Model {
    sent: HashMap<u32, Vec<Kept>>,
}

impl Model {
    /// Of a queue to which this was sent.
    pub fn following(queue: u32, sent: &[Kept]) -> Model {
        Model { sent: HashMap::from([(queue, sent.to_vec())]) }
    }

    pub fn send(&mut self, store: &Store, queue: u32, key: &str, body: &str) {
        let letter = Letter { keys: key.into(), ..letter(TOPIC, queue, body) };
        let appended = send(store, &letter).expect("sending works");
        store.flush_step().expect("the log can be flushed");
        let sent = self.sent.entry(queue).or_default();
        assert_eq!(appended.queue_offset, sent.len() as u64, "a number is given twice");
        sent.push(Kept { queue_offset: sent.len() as i64, key: key.into(), body: body.into() });
    }

    /// Last message of each key of a queue.
    pub fn last(&self, queue: u32) -> HashMap<&str, &Kept> {
        let sent = self.sent.get(&queue).map(Vec::as_slice).unwrap_or_default();
        sent.iter().map(|kept| (kept.key.as_str(), kept)).collect()
    }

    /// A reader that begins at 0 gets messages that were sent, in order, and of each key the last one; of a key that
    /// was deleted either that or nothing.
    pub fn check(&self, store: &Store) {
        for (queue, sent) in &self.sent {
            let got = read_from(store, *queue, 0);
            assert!(got.is_sorted_by(|a, b| a.queue_offset < b.queue_offset), "{got:?}");
            for kept in &got {
                assert_eq!(kept, &sent[kept.queue_offset as usize]);
            }
            let seen: HashMap<_, _> = got.iter().map(|kept| (kept.key.as_str(), kept)).collect();
            for (key, last) in self.last(*queue) {
                match seen.get(key) {
                    Some(seen) => assert_eq!(*seen, last),
                    None => assert!(last.body.is_empty(), "{last:?} is gone"),
                }
            }
        }
    }
}
