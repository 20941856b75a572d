//! Finding messages by key: candidates from the index, checked against the log.

use wire::hash::JavaHash;
use wire::properties;
use wire::record::Record;

use crate::error::StoreError;
use crate::index::Index;
use crate::index_keys;
use crate::index_search::IndexSearch;
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

/// What is looked for.
struct Wanted<'a> {
    topic: &'a str,
    key: &'a str,
    kind: KeyKind,
    begin: i64,
    end: i64,
}

impl Wanted<'_> {
    /// What the index has it under.
    fn hash(&self) -> u32 {
        let prefix = JavaHash::default().update(self.topic).update("#");
        let prefix = if self.kind == KeyKind::Tag { prefix.update("T#") } else { prefix };
        index_keys::fold(prefix.update(self.key))
    }
}

/// How a search went.
#[derive(Default)]
struct Searched {
    /// What was found, in log order.
    records: Vec<Vec<u8>>,
    /// Records that the index named.
    looked_at: usize,
    given_up: bool,
}

/// A query is given up when it has read so many records, or met so many entries of the index (as a file of the usual
/// size has): mostly nearly all records that the index names are wanted, but the key may be one of another kind of
/// messages beyond number.
const RECORDS_MAX: usize = 10_000;
const ENTRIES_MAX: u64 = 20_000_000;

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
        let mut result = QueryResult::default();
        if let Some(last) = index.state.lock().files.last() {
            result.index_last_timestamp = last.header.end_timestamp;
            result.index_last_offset = last.header.end_offset;
        }
        let wanted = Wanted { topic, key, kind, begin, end };
        let mut search = IndexSearch::new(wanted.hash(), begin.max(self.expired_before(topic)), end);
        let searched = self.search(index, &mut search, &wanted, max)?;
        result.records = searched.records;
        match stuck {
            // It may be among what is not indexed: that there is no such message would be a guess.
            Some(error) if result.records.is_empty() => Err(error),
            // Or among what was not looked at.
            None if result.records.is_empty() && searched.given_up => {
                Err(StoreError::QueryGivenUp { records: searched.looked_at, entries: search.entries() })
            }
            _ => Ok(result),
        }
    }

    /// Reads what the index names, until there are enough. Others have the index meanwhile.
    fn search(
        &self,
        index: &Index,
        search: &mut IndexSearch,
        wanted: &Wanted<'_>,
        max: usize,
    ) -> Result<Searched, StoreError> {
        let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut searched = Searched::default();
        while found.len() < max && !searched.given_up {
            // A statement of its own: the lock ends with it.
            let offsets = search.some_more(&index.state.lock(), self.base.log.min())?;
            let Some(offsets) = offsets else { break };
            searched.looked_at += offsets.len();
            for offset in offsets {
                // One record may be indexed twice (store.md §24 T25).
                if found.len() < max
                    && found.iter().all(|(known, _)| *known != offset)
                    && let Some(bytes) = self.shown_record_at(offset)?
                    && self.matches(&bytes, wanted)
                {
                    found.push((offset, bytes));
                }
            }
            searched.given_up = searched.looked_at >= RECORDS_MAX || search.entries() >= ENTRIES_MAX;
        }
        found.sort_by_key(|(offset, _)| *offset);
        searched.records = found.into_iter().map(|(_, bytes)| bytes).collect();
        Ok(searched)
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

    /// Whether a record that the index names is really one that was asked for: hashes collide.
    fn matches(&self, bytes: &[u8], wanted: &Wanted<'_>) -> bool {
        let &Wanted { topic, key, kind, begin, end } = wanted;
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
