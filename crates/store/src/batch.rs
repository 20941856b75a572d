//! Messages on their way into the log: encoded side by side in one buffer that the append patches and writes.

use std::sync::Arc;

use wire::prop_crc;
use wire::properties;
use wire::record::{EncodeError, Message};
use wire::sys_flag;

use crate::dispatch;
use crate::queue::Queue;
use crate::queue_kind::INNER_MESSAGES_MAX;

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
    /// Level of a scheduled message, whose queue entry carries the time of delivery.
    pub delay_level: Option<i32>,
    /// Whether it must stand in the same segment as the entry before.
    pub joined: bool,
    pub appended: Appended,
}

/// A text of fixed width at the end of a record's properties that the append writes.
///
/// Numbers have leading zeros, which Java's reader passes over: so a record's length is known before its offsets are.
pub(crate) struct Late {
    /// Where the first digit is, counted from the beginning of the record.
    at: usize,
}

/// Digits of the greatest offset.
const OFFSET_DIGITS: usize = 19;

impl Late {
    /// Writes an offset into a record.
    pub fn write(&self, record: &mut [u8], offset: u64) {
        let digits = format!("{offset:0OFFSET_DIGITS$}");
        if let Some(place) = record.get_mut(self.at..self.at + OFFSET_DIGITS) {
            place.copy_from_slice(&digits.as_bytes()[..OFFSET_DIGITS]);
        }
    }
}

impl BatchEntry {
    /// Offset behind the last of its messages.
    pub fn shown_until(&self) -> u64 {
        self.appended.queue_offset + u64::from(self.count)
    }
}

impl Batch {
    /// Empties the buffer, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
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

    /// Adds a message for `queue`; its number in the batch is what [`Batch::appended`] asks for later.
    ///
    /// `tags_code` is that of the message's tags; the store replaces it for scheduled messages.
    pub fn push(
        &mut self,
        queue: &Arc<Queue>,
        message: &Message<'_>,
        tags_code: i64,
    ) -> Result<usize, EncodeError> {
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
        self.entries.push(BatchEntry {
            queue: queue.clone(),
            start,
            len,
            queued: sys_flag::is_queued(message.sys_flag),
            tags_code,
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
        let index = self.push(queue, &Message { properties: &text, ..*message }, tags_code)?;
        let sealed = if queue.files.append_prop_crc { prop_crc::SIZE } else { 0 };
        let entry = &mut self.entries[index];
        entry.count = count;
        entry.late = Some(Box::new(Late { at: entry.len - sealed - 1 - OFFSET_DIGITS }));
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
