//! Finding messages by key: candidates from the index, checked against the log.

use wire::hash::JavaHash;
use wire::properties;
use wire::record::Record;

use crate::error::StoreError;
use crate::index;
use crate::index_state::State;
use crate::store::Store;

/// What kind of key is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// One of the message's keys, or its unique key.
    Key,
    /// Its unique key.
    Unique,
    /// Its tags.
    Tag,
}

/// Messages that a query found.
#[derive(Debug, Default)]
pub struct QueryResult {
    /// Records in log order, the newest matches if there are more than asked for.
    pub records: Vec<Vec<u8>>,
    /// Store time of the newest indexed message.
    pub index_last_timestamp: i64,
    /// Physical offset of the newest indexed message.
    pub index_last_offset: i64,
}

/// A query lets the index catch up by this much of the log at most.
const CATCH_UP_STEPS: u32 = 64;

impl Store {
    /// Messages of a topic with a key, stored between `begin` and `end` (Unix milliseconds, both included), among those
    /// that clients are shown: with synchronous flush no message that the disk does not have.
    pub fn query(
        &self,
        topic: &str,
        key: &str,
        max: usize,
        begin: i64,
        end: i64,
        kind: KeyKind,
    ) -> Result<QueryResult, StoreError> {
        let Some(index) = &self.index else { return Ok(QueryResult::default()) };
        let stuck = self.catch_up_index().err();
        let mut state = index.state.lock();
        let mut result = QueryResult::default();
        if let Some(last) = state.files.last() {
            result.index_last_timestamp = last.header.end_timestamp;
            result.index_last_offset = last.header.end_offset;
        }
        let prefix = JavaHash::default().update(topic).update("#");
        let hash = if kind == KeyKind::Tag { prefix.update("T#").update(key) } else { prefix.update(key) };
        let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
        self.collect_matches(&mut state, index::fold(hash), begin, end, &mut |offset| {
            // One record may be indexed twice (store.md §24 T25).
            if found.iter().all(|(known, _)| *known != offset)
                && let Some(bytes) = self.shown_record_at(offset)?
                && self.matches(&bytes, topic, key, begin, end, kind)
            {
                found.push((offset, bytes));
            }
            Ok(found.len() < max)
        })?;
        found.sort_by_key(|(offset, _)| *offset);
        result.records = found.into_iter().map(|(_, bytes)| bytes).collect();
        match stuck {
            // It may be among what is not indexed: that there is no such message would be a guess.
            Some(error) if result.records.is_empty() => Err(error),
            _ => Ok(result),
        }
    }

    /// Indexes what was stored last, if that is not too much.
    fn catch_up_index(&self) -> Result<(), StoreError> {
        for _ in 0..CATCH_UP_STEPS {
            let step = self.index_step().inspect_err(|error| {
                if self.index_stuck.is_due(self.base.clock.monotonic()) {
                    tracing::error!(%error, "the key index cannot go on: queries find only what it has");
                }
            });
            if !step? {
                self.index_stuck.end();
                break;
            }
        }
        Ok(())
    }

    /// Goes through the index from new to old until `more` says that it is enough.
    fn collect_matches(
        &self,
        state: &mut State,
        hash: u32,
        begin: i64,
        end: i64,
        more: &mut dyn FnMut(u64) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        for file in state.files.iter_mut().rev() {
            let header = file.header;
            if header.begin_timestamp <= end && header.end_timestamp >= begin {
                let mut offsets = Ok(true);
                file.walk(hash, |offset, time| {
                    // Times in the index are rounded down to seconds after the file's first.
                    if time + 1000 < begin {
                        return false;
                    }
                    if time <= end {
                        offsets = more(offset);
                    }
                    matches!(offsets, Ok(true))
                })
                .map_err(StoreError::io("read", &file.path))?;
                if !offsets? {
                    return Ok(());
                }
            }
            if header.begin_timestamp < begin {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether a record that the index names is really one that was asked for: hashes collide.
    fn matches(&self, bytes: &[u8], topic: &str, key: &str, begin: i64, end: i64, kind: KeyKind) -> bool {
        let Ok(record) = Record::parse(bytes) else { return false };
        if record.topic != topic || !(begin..=end).contains(&record.store_timestamp) {
            return false;
        }
        if self.has_expired(topic, record.queue_id, u64::try_from(record.queue_offset).unwrap_or(0)) {
            return false;
        }
        let unique = || record.property(properties::UNIQ_KEY) == Some(key);
        let among_keys =
            || record.property(properties::KEYS).is_some_and(|keys| keys.split(' ').any(|one| one == key));
        match kind {
            KeyKind::Key => among_keys() || unique(),
            KeyKind::Unique => unique(),
            KeyKind::Tag => record.property(properties::TAGS) == Some(key),
        }
    }
}
