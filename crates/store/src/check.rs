//! Whether the bytes that a queue entry leads to are the message it speaks of, before anybody gets them.
//!
//! Every read compares what the record says of its own place: size, queue, queue offset, physical offset. A record that
//! was on the disk before this process came, or has left memory since, may have changed there; of such a one all is
//! checked that its format vouches for: shape, topic and body, and with `forceVerifyPropCRC` every byte. What this
//! process itself appended is still in memory and is not summed again: at 1 KiB a message that would take a tenth of
//! what a pull takes.

use std::io;

use wire::prop_crc;
use wire::record::{Prefix, Record};

use crate::dispatch;
use crate::queue::Queue;
use crate::queue_kind::QueueKind;
use crate::segment::Segment;
use crate::store::Store;

/// Bytes of a record up to and with its physical offset.
const PLACE_BYTES: usize = 36;
/// Queues of this kind name messages of other topics.
const LIGHT_QUEUE: &str = "%LMQ%";

/// What a record says of its own place.
struct Place {
    prefix: Prefix,
    queue_id: u32,
    queue_offset: i64,
    physical_offset: i64,
}

impl Place {
    fn parse(bytes: &[u8]) -> Option<Place> {
        let long = |at: usize| bytes.get(at..)?.first_chunk().map(|chunk| i64::from_be_bytes(*chunk));
        Some(Place {
            prefix: Prefix::parse(bytes)?,
            queue_id: u32::from_be_bytes(*bytes.get(12..)?.first_chunk()?),
            queue_offset: long(20)?,
            physical_offset: long(28)?,
        })
    }

    fn read(segment: &Segment, at: u64) -> io::Result<Option<Place>> {
        if at + PLACE_BYTES as u64 > segment.until() {
            return Ok(None);
        }
        let mut scratch = Vec::new();
        Ok(Place::parse(segment.bytes(at, PLACE_BYTES, &mut scratch)?))
    }
}

impl Store {
    /// What is wrong with the record that entry `index` of a queue leads to, if anything is: `bytes`, as many as the
    /// entry says, from offset `at` of the log.
    pub(crate) fn unsound(
        &self,
        bytes: &[u8],
        queue: &Queue,
        index: u64,
        at: u64,
    ) -> io::Result<Option<String>> {
        let Some(place) = Place::parse(bytes) else { return Ok(Some("no record fits there".into())) };
        if !place.prefix.is_record() || place.prefix.size as usize != bytes.len() {
            return Ok(Some(format!("no record of {} bytes begins there", bytes.len())));
        }
        if place.physical_offset != at as i64 {
            return Ok(Some(format!("the record says that it stands at {}", place.physical_offset)));
        }
        let light = queue.topic().starts_with(LIGHT_QUEUE);
        if !light && place.queue_id != queue.id() {
            return Ok(Some(format!("the record says that it is of queue {}", place.queue_id)));
        }
        if !light
            && place.queue_offset != index as i64
            && !self.is_shifted(queue, index, place.queue_offset - index as i64)?
        {
            return Ok(Some(format!("the record says that it has queue offset {}", place.queue_offset)));
        }
        if !self.may_have_changed(at) {
            return Ok(None);
        }
        Ok(match self.sound_record(bytes, at) {
            Ok(record) if !light && record.topic != &**queue.topic() => {
                Some(format!("the record says that it is of topic {:?}", record.topic))
            }
            Ok(_) => None,
            Err(reason) => Some(reason),
        })
    }

    /// Whether the bytes at an offset came from the disk, or may come from there when they are read.
    fn may_have_changed(&self, at: u64) -> bool {
        at < self.opened_end || !self.is_in_memory(at)
    }

    /// Whether a neighbour of an entry is numbered as far off as the entry itself. Java's broker shifts the rest of a
    /// queue when a queue offset was left out (store.md §24 T4); one record alone is damaged.
    fn is_shifted(&self, queue: &Queue, index: u64, by: i64) -> io::Result<bool> {
        if queue.kind() == QueueKind::Batch {
            return Ok(false);
        }
        for neighbour in [index.checked_sub(1), index.checked_add(1)].into_iter().flatten() {
            let Some(entry) = queue.entry(neighbour)? else { continue };
            let Some(segment) = self.base.log.segment_at(entry.physical_offset) else { continue };
            let place = Place::read(&segment, entry.physical_offset)?;
            if place.is_some_and(|place| place.queue_offset.checked_sub(neighbour as i64) == Some(by)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The record that `bytes`, from offset `at` of the log, are; or why they are none that may be served.
    pub(crate) fn sound_record<'a>(&self, bytes: &'a [u8], at: u64) -> Result<Record<'a>, String> {
        let record = Record::parse(bytes).map_err(|error| error.to_string())?;
        if record.physical_offset != at as i64 {
            return Err(format!("record says it stands at {}", record.physical_offset));
        }
        if dispatch::is_filler(&record) {
            return Err("a repair has put this record in the place of lost ones".into());
        }
        let verified = if self.base.options.force_verify_prop_crc {
            prop_crc::verify(record.bytes)
        } else {
            record.verify_crc()
        };
        verified.map_err(|error| error.to_string())?;
        Ok(record)
    }
}
