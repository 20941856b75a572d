//! Keys on their way from the append to the index, so that the index need not read again what was just written.
//!
//! Nothing depends on it: what is not here, because too much came at once, or was written before the start, the index
//! reads from the log.

use std::ops::Range;

use wire::hash::JavaHash;
use wire::properties;
use wire::record::Record;
use wire::sys_flag;

/// Hashes that may wait for the index, of 24 bytes: more than come while it gathers.
const WAITING_MAX: usize = 1 << 16;

/// A hash under which a record is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub hash: u32,
    /// Where the record stands in the log.
    pub offset: u64,
    /// Its store time, Unix milliseconds.
    pub timestamp: i64,
}

/// All keys of a stretch of the log, in the order of its records. By default there is room for none.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    stretch: Range<u64>,
    keys: Vec<Key>,
    max: usize,
    /// What came then has no room, or does not follow: the stretch ends before it.
    ended: bool,
}

impl Keys {
    /// Nothing yet, and room for what comes.
    pub fn with_room() -> Keys {
        Keys { max: WAITING_MAX, ..Keys::default() }
    }

    /// Adds a part of the log with the keys of its records.
    pub fn add(&mut self, part: Range<u64>, keys: impl Iterator<Item = Key>) {
        if self.stretch.is_empty() {
            self.stretch = part.start..part.start;
        }
        self.ended |= part.start != self.stretch.end || self.max == 0;
        if self.ended {
            return;
        }
        let before = self.keys.len();
        self.keys.extend(keys.take(self.max - before + 1));
        if self.keys.len() > self.max {
            self.keys.truncate(before);
            self.ended = true;
        } else {
            self.stretch.end = part.end;
        }
    }

    /// The stretch of the log whose keys these are.
    pub fn stretch(&self) -> &Range<u64> {
        &self.stretch
    }

    /// The keys of the records from `position` on, which is where a record begins.
    pub fn from(&self, position: u64) -> &[Key] {
        &self.keys[self.keys.partition_point(|key| key.offset < position)..]
    }

    /// Forgets everything, and keeps the memory for what comes.
    pub fn clear(&mut self) {
        self.keys.clear();
        (self.stretch, self.ended) = (0..0, false);
    }

    /// Gives back the memory that holds nothing.
    pub fn give_back(&mut self) {
        self.keys.shrink_to_fit();
    }
}

/// The keys of a record of the log.
pub(crate) fn of<'a>(record: &Record<'a>) -> impl Iterator<Item = Key> + use<'a> {
    let (offset, timestamp) = (record.physical_offset as u64, record.store_timestamp);
    hashes_of(record).map(move |(hash, _)| Key { hash, offset, timestamp })
}

/// The hashes under which a record is indexed, in order; the flag marks the one of its tags, which Java's broker does
/// not index before 5.4.
pub(crate) fn hashes_of<'a>(record: &Record<'a>) -> impl Iterator<Item = (u32, bool)> + use<'a> {
    let rolled_back = record.sys_flag & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_ROLLBACK;
    let found = if rolled_back { FoundBy::default() } else { FoundBy::of(record.properties) };
    found.hashes(record.topic)
}

/// What a message is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FoundBy<'a> {
    /// `UNIQ_KEY`.
    pub unique_key: Option<&'a str>,
    /// `KEYS`, with spaces between them.
    pub keys: Option<&'a str>,
    /// `TAGS`.
    pub tags: Option<&'a str>,
}

impl<'a> FoundBy<'a> {
    /// What the properties of a message say.
    pub fn of(properties: &'a [u8]) -> FoundBy<'a> {
        let mut found = FoundBy::default();
        for (name, value) in properties::iter(properties) {
            match name {
                properties::UNIQ_KEY => found.unique_key = Some(value),
                properties::KEYS => found.keys = Some(value),
                properties::TAGS => found.tags = Some(value),
                _ => {}
            }
        }
        found
    }

    /// As [`hashes_of`] a record of this topic.
    fn hashes(self, topic: &str) -> impl Iterator<Item = (u32, bool)> + use<'a> {
        let topic = JavaHash::default().update(topic).update("#");
        let tag = self.tags.map(|tags| (topic.update("T#").update(tags), true));
        let keys = self.keys.unwrap_or_default().split(' ').filter(|key| !key.is_empty());
        let hashes = self.unique_key.into_iter().chain(keys).map(move |key| (topic.update(key), false));
        hashes.chain(tag).map(|(hash, is_tag)| (fold(hash), is_tag))
    }

    /// Adds the hashes of a message that is appended to this topic.
    pub(crate) fn push_hashes(self, topic: &str, hashes: &mut Vec<u32>) {
        hashes.extend(self.hashes(topic).map(|(hash, _)| hash));
    }
}

/// Java's index hash: the absolute value, with the one number that has none becoming 0.
pub(crate) fn fold(hash: JavaHash) -> u32 {
    hash.0.checked_abs().unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(offset: u64) -> Key {
        Key { hash: 7, offset, timestamp: 1 }
    }

    #[test]
    fn a_stretch_goes_on_with_what_follows_and_ends_before_a_gap() {
        let mut keys = Keys::with_room();
        keys.add(100..200, [key(100), key(100), key(150)].into_iter());
        keys.add(200..250, std::iter::empty());
        keys.add(250..300, std::iter::once(key(250)));
        keys.add(350..400, std::iter::once(key(350)));
        keys.add(300..350, std::iter::once(key(300)));
        assert_eq!(keys.stretch(), &(100..300));
        assert_eq!(keys.from(0).len(), 4);
        assert_eq!(keys.from(150), [key(150), key(250)]);
        assert_eq!(keys.from(251), []);
        keys.clear();
        keys.add(400..500, std::iter::once(key(400)));
        assert_eq!((keys.stretch(), keys.from(400)), (&(400..500), &[key(400)][..]));
    }

    #[test]
    fn a_stretch_ends_before_what_has_no_room() {
        let mut keys = Keys { max: 3, ..Keys::default() };
        keys.add(0..100, [key(0), key(50)].into_iter());
        keys.add(100..200, [key(100), key(150)].into_iter());
        keys.add(200..300, std::iter::empty());
        assert_eq!((keys.stretch(), keys.from(0)), (&(0..100), &[key(0), key(50)][..]));
        let mut none = Keys::default();
        none.add(0..100, std::iter::empty());
        assert!(none.stretch().is_empty());
    }

    #[test]
    fn a_message_is_found_by_its_unique_key_each_of_its_keys_and_its_tags() {
        let found = FoundBy { unique_key: Some("u"), keys: Some(" a  b "), tags: Some("x") };
        let hash = |text| fold(JavaHash::default().update(text));
        let expected =
            [(hash("t#u"), false), (hash("t#a"), false), (hash("t#b"), false), (hash("t#T#x"), true)];
        assert_eq!(found.hashes("t").collect::<Vec<_>>(), expected);
        assert_eq!(FoundBy::of(b"KEYS\x01 a  b \x02UNIQ_KEY\x01u\x02TAGS\x01x"), found);
    }
}
