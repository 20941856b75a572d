//! Messages on their way into the log: encoded side by side in one buffer that the append patches and writes.

use std::ops::Range;
use std::sync::Arc;

use wire::hash;
use wire::prop_crc;
use wire::properties;
use wire::record::{EncodeError, Message};
use wire::sys_flag;

use crate::dispatch;
use crate::index_keys::{FoundBy, Key};
use crate::queue::Queue;
use crate::queue_kind::INNER_MESSAGES_MAX;
use crate::torn;

/// Where an appended message is, and what it takes for it to be safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Physical offset of the first byte of the record; the client sees it inside the `offsetMsgId`.
    pub offset: u64,
    /// Position in its queue, the number consumers count in.
    pub queue_offset: u64,
    /// The log must be flushed and replicated up to here before the answer says SEND_OK.
    pub until: u64,
    /// Clock of this broker at the append, Unix milliseconds.
    pub store_timestamp: i64,
}

/// A reusable buffer of messages that are appended together.
#[derive(Default)]
pub struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: Vec<BatchEntry>,
    /// Bitmaps of the messages, made by the append.
    pub(crate) bitmaps: Vec<u8>,
    /// Hashes under which the messages are to be found, if there is an index.
    pub(crate) hashes: Vec<u32>,
    /// What [`Bitmaps::edition`](crate::Bitmaps::edition) was before they were made.
    pub(crate) edition: Option<u64>,
    open_group: bool,
    group_is_new: bool,
}

/// One message of a batch.
pub(crate) struct BatchEntry {
    pub queue: Arc<Queue>,
    /// Messages that it holds: one, unless it is an inner batch.
    pub count: u16,
    /// What only the append can say in its properties.
    pub late: Option<Box<Late>>,
    /// Where its record begins in the buffer.
    pub start: usize,
    pub len: usize,
    /// Prepared and rolled back transactions get no place in a queue.
    pub queued: bool,
    pub tags_code: i64,
    /// Where its bitmap is in the batch's.
    pub bitmap: Range<usize>,
    /// Where its hashes are in the batch's.
    pub hashes: Range<usize>,
    /// Level of a scheduled message, whose queue entry carries the time of delivery.
    pub delay_level: Option<i32>,
    /// Whether it must stand in the same segment as the entry before.
    pub joined: bool,
    pub appended: Appended,
}

/// Offsets at the end of a record's properties, which only the append knows.
///
/// Each has a fixed width, with leading zeros that Java's reader passes over: so the length of a record is known before
/// its offsets are.
pub(crate) struct Late {
    /// Where the first digit is, counted from the beginning of the record.
    at: usize,
    /// The light queues that name the record too; for none of them it is the offset in its own queue.
    pub light: Vec<Light>,
}

/// A light queue that names a record, and the offset that the record has there.
pub(crate) struct Light {
    pub name: Arc<str>,
    /// Known from the append on.
    pub queue: Option<Arc<Queue>>,
    pub offset: u64,
}

/// Digits of the greatest offset.
const OFFSET_DIGITS: usize = 19;

impl Late {
    /// Writes the offsets into a record.
    pub fn write(&self, record: &mut [u8], queue_offset: u64) {
        let own = [queue_offset];
        let light: Vec<u64> = self.light.iter().map(|light| light.offset).collect();
        let offsets = if light.is_empty() { &own[..] } else { &light };
        for (number, offset) in offsets.iter().enumerate() {
            let at = self.at + number * (OFFSET_DIGITS + 1);
            if let Some(place) = record.get_mut(at..at + OFFSET_DIGITS) {
                place.copy_from_slice(&format!("{offset:0OFFSET_DIGITS$}").as_bytes()[..OFFSET_DIGITS]);
            }
        }
    }
}

impl BatchEntry {
    /// The queues that it has got a place in, with the offset behind it: its own, and light ones.
    pub fn placed(&self) -> impl Iterator<Item = (&Arc<Queue>, u64)> {
        let own = (&self.queue, self.appended.queue_offset + u64::from(self.count));
        let light = self.late.iter().flat_map(|late| &late.light);
        let light = light.filter_map(|light| Some((light.queue.as_ref()?, light.offset + 1)));
        self.queued.then_some(own).into_iter().chain(light)
    }

    /// Whether it is one record of many messages, however few these are.
    pub fn is_inner_batch(&self) -> bool {
        self.late.as_ref().is_some_and(|late| late.light.is_empty())
    }

    /// What the index is to know of it once it is appended; `hashes` are those of the batch.
    pub fn keys(&self, hashes: &[u32]) -> impl Iterator<Item = Key> {
        let Appended { offset, store_timestamp: timestamp, .. } = self.appended;
        hashes[self.hashes.clone()].iter().map(move |&hash| Key { hash, offset, timestamp })
    }
}

impl Batch {
    /// Empties the buffer, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.hashes.clear();
        self.open_group = false;
        self.group_is_new = false;
    }

    /// Whether there is no message in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of records: messages, or inner batches of them.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of all messages, counting each of an inner batch.
    pub fn messages(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.count)).sum()
    }

    /// Bytes of their records.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Topics of the records with the number of their messages and their bytes: one item for all of a topic that follow
    /// each other.
    pub fn by_topic(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        let is_same = |one: &BatchEntry, next: &BatchEntry| {
            Arc::ptr_eq(&one.queue, &next.queue) || one.queue.topic() == next.queue.topic()
        };
        self.entries.chunk_by(is_same).map(|run| {
            let messages = run.iter().map(|entry| u64::from(entry.count)).sum();
            (&**run[0].queue.topic(), messages, run.iter().map(|entry| entry.len as u64).sum())
        })
    }

    /// Adds a message for `queue`; its number in the batch is what [`Batch::appended`] asks for later.
    ///
    /// `tags_code` is that of the message's tags; the store replaces it for scheduled messages.
    pub fn push(
        &mut self,
        queue: &Arc<Queue>,
        message: &Message<'_>,
        tags_code: i64,
    ) -> Result<usize, EncodeError> {
        let found_by = if queue.files.indexed { FoundBy::of(message.properties) } else { FoundBy::default() };
        self.push_placed(queue, message, tags_code, found_by)
    }

    /// Adds a message as [`Batch::push`] does. The caller has looked already what its properties have it found by.
    pub fn push_found(
        &mut self,
        queue: &Arc<Queue>,
        message: &Message<'_>,
        found_by: FoundBy<'_>,
    ) -> Result<usize, EncodeError> {
        debug_assert_eq!(FoundBy::of(message.properties), found_by);
        self.push_placed(queue, message, hash::tags_code(found_by.tags), found_by)
    }

    fn push_placed(
        &mut self,
        queue: &Arc<Queue>,
        message: &Message<'_>,
        tags_code: i64,
        found_by: FoundBy<'_>,
    ) -> Result<usize, EncodeError> {
        if queue.files.multi_dispatch
            && let Some(names) = light_queues_of(message)
        {
            return self.push_light(queue, message, tags_code, found_by, &names);
        }
        self.push_record(queue, message, tags_code, found_by)
    }

    /// Adds a message that light queues name too. Its properties get its offsets there, as Java's broker has it.
    fn push_light(
        &mut self,
        queue: &Arc<Queue>,
        message: &Message<'_>,
        tags_code: i64,
        found_by: FoundBy<'_>,
        names: &[Arc<str>],
    ) -> Result<usize, EncodeError> {
        let mut text = Vec::with_capacity(message.properties.len() + 40 + names.len() * (OFFSET_DIGITS + 1));
        let removed = [properties::WAIT, properties::INNER_MULTI_QUEUE_OFFSET];
        properties::copy_without(message.properties, &removed, &mut text);
        let digits = vec!["0".repeat(OFFSET_DIGITS); names.len()].join(",");
        properties::push(&mut text, properties::INNER_MULTI_QUEUE_OFFSET, &digits);
        let index =
            self.push_record(queue, &Message { properties: &text, ..*message }, tags_code, found_by)?;
        let light = names.iter().map(|name| Light { name: name.clone(), queue: None, offset: 0 });
        self.set_late(index, digits.len(), light.collect());
        Ok(index)
    }

    /// Notes which digits at the end of the properties the append writes.
    fn set_late(&mut self, index: usize, digits: usize, light: Vec<Light>) {
        let entry = &mut self.entries[index];
        let sealed = if entry.queue.files.append_prop_crc { prop_crc::SIZE } else { 0 };
        entry.late = Some(Box::new(Late { at: entry.len - sealed - 1 - digits, light }));
    }

    fn push_record(
        &mut self,
        queue: &Arc<Queue>,
        message: &Message<'_>,
        tags_code: i64,
        found_by: FoundBy<'_>,
    ) -> Result<usize, EncodeError> {
        // No checksum covers them: after a crash such a record would end the log, with all that others have behind it.
        if torn::could_seem_torn(message.properties) {
            return Err(EncodeError::ZerosInProperties);
        }
        let start = self.bytes.len();
        let len = if queue.files.append_prop_crc {
            let properties = prop_crc::reserve(message.properties);
            wire::record::encode(&Message { properties: &properties, ..*message }, &mut self.bytes)?
        } else {
            wire::record::encode(message, &mut self.bytes)?
        };
        let delay_level = (message.topic == dispatch::SCHEDULE_TOPIC)
            .then(|| properties::find(message.properties, properties::DELAY))
            .flatten()
            .and_then(|level| level.parse().ok());
        let hashed = self.hashes.len();
        if queue.files.indexed {
            found_by.push_hashes(message.topic, &mut self.hashes);
        }
        self.entries.push(BatchEntry {
            queue: queue.clone(),
            start,
            len,
            queued: sys_flag::is_queued(message.sys_flag),
            tags_code,
            bitmap: 0..0,
            hashes: hashed..self.hashes.len(),
            delay_level,
            joined: self.open_group && !self.group_is_new,
            appended: Appended::default(),
            count: 1,
            late: None,
        });
        self.group_is_new = false;
        Ok(self.entries.len() - 1)
    }

    /// Adds an inner batch of `count` messages for a batch queue, at most [`INNER_MESSAGES_MAX`]. Its properties get
    /// the offset of the first of them; they must end as whole ones do.
    pub fn push_inner_batch(
        &mut self,
        queue: &Arc<Queue>,
        message: &Message<'_>,
        tags_code: i64,
        count: u16,
    ) -> Result<usize, EncodeError> {
        debug_assert!((1..=INNER_MESSAGES_MAX).contains(&usize::from(count)));
        let mut text = message.properties.to_vec();
        properties::push(&mut text, properties::INNER_BASE, &"0".repeat(OFFSET_DIGITS));
        let found_by = FoundBy::of(message.properties);
        let index =
            self.push_record(queue, &Message { properties: &text, ..*message }, tags_code, found_by)?;
        self.entries[index].count = count;
        self.set_late(index, OFFSET_DIGITS, Vec::new());
        Ok(index)
    }

    /// The messages pushed from here to [`Batch::end_group`] will stand in one segment (store.md §3.7).
    pub fn begin_group(&mut self) {
        self.open_group = true;
        self.group_is_new = true;
    }

    /// See [`Batch::begin_group`].
    pub fn end_group(&mut self) {
        self.open_group = false;
    }

    /// Takes back the messages from number `len` on: a batch request of which one message was illegal.
    pub fn truncate(&mut self, len: usize) {
        if let Some(entry) = self.entries.get(len) {
            self.bytes.truncate(entry.start);
            self.hashes.truncate(entry.hashes.start);
            self.entries.truncate(len);
        }
    }

    /// Where message `index` went, after a successful append.
    pub fn appended(&self, index: usize) -> Appended {
        self.entries[index].appended
    }

    /// How far the log must be flushed for the whole batch to be safe.
    pub fn until(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.appended.until)
    }
}

/// The light queues that a message is to be put into besides its own, if all that it names can be.
fn light_queues_of(message: &Message<'_>) -> Option<Vec<Arc<str>>> {
    if !sys_flag::is_queued(message.sys_flag) || !wire::names::may_name_light_queues(message.topic) {
        return None;
    }
    let names = properties::find(message.properties, properties::INNER_MULTI_DISPATCH)?;
    dispatch::light_names(names)
}
