//! When messages were stored, as their records in the log say.

use std::io;

use crate::commit_log::CommitLog;
use crate::queue::Queue;

/// Fixed part of a record up to the end of the store timestamp, for the wider address.
const HEAD_BYTES: usize = 48 + 20 + 8;
const AT_SYS_FLAG: usize = 36;

/// When a message of a queue was stored, Unix milliseconds; `None` if it is not there.
pub(crate) fn of_message(log: &CommitLog, queue: &Queue, offset: u64) -> io::Result<Option<i64>> {
    if offset >= queue.max_offset() {
        return Ok(None);
    }
    match queue.entry(offset)?.filter(|entry| !entry.is_pre_blank()) {
        Some(entry) => of_record(log, entry.physical_offset),
        None => Ok(None),
    }
}

/// When the record at a physical offset was stored, Unix milliseconds; `None` if none is there.
pub(crate) fn of_record(log: &CommitLog, offset: u64) -> io::Result<Option<i64>> {
    if offset.saturating_add(HEAD_BYTES as u64) > log.end() {
        return Ok(None);
    }
    let Some(segment) = log.segment_at(offset) else { return Ok(None) };
    if offset + HEAD_BYTES as u64 > segment.until() {
        return Ok(None);
    }
    let mut scratch = Vec::new();
    let head = segment.bytes(offset, HEAD_BYTES, &mut scratch)?;
    if !wire::record::Prefix::parse(head).is_some_and(|prefix| prefix.is_record()) {
        return Ok(None);
    }
    let sys_flag =
        head.get(AT_SYS_FLAG..).and_then(|rest| rest.first_chunk()).map(|bytes| i32::from_be_bytes(*bytes));
    // The place moves with the width of the born host (store.md §24 T16).
    let at = match sys_flag {
        Some(flag) if flag & wire::sys_flag::BORN_HOST_V6 != 0 => 68,
        _ => 56,
    };
    Ok(head.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| i64::from_be_bytes(*bytes)))
}
