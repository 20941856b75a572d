//! The answer to a pop: where its messages come from as text in the header, their records in the body.

use remoting::ReplyTo;
use wire::code::response;
use wire::header::FrameWriter;
use wire::pop::{Handle, Origin};
use wire::properties as props;
use wire::record::{self, Message, Record};

use super::{Part, PopRequest, Popped};
use crate::Broker;
use crate::exchange::Refusal;

impl Broker {
    /// Writes what was popped, or with another code that nothing was.
    pub(super) fn write_popped(
        &self,
        request: &PopRequest,
        popped: &Popped,
        reply_to: ReplyTo,
        code: i32,
        out: &mut Vec<u8>,
    ) {
        if reply_to.oneway {
            return;
        }
        let start = out.len();
        let remark = if code == response::SUCCESS { "FOUND" } else { "NO_MESSAGE_IN_QUEUE" };
        let mut writer = FrameWriter::new(out, &reply_to.head(code, Some(remark)));
        writer.number("invisibleTime", popped.invisible_ms);
        writer.field_with("msgOffsetInfo", |out| write_offsets(&popped.parts, out));
        if request.is_orderly {
            writer.field_with("orderCountInfo", |out| write_failures(&popped.parts, out));
        }
        writer.number("popTime", popped.pop_time);
        writer.number("restNum", popped.rest);
        writer.number("reviveQid", popped.revive_queue);
        writer.field_with("startOffsetInfo", |out| write_starts(&popped.parts, out));
        let mut written = Ok(());
        writer.body_with(|out| {
            written = popped.parts.iter().try_for_each(|part| self.write_records(request, popped, part, out));
        });
        if let Err(error) = written {
            // The messages come back when their time is over.
            out.truncate(start);
            tracing::error!(topic = %request.topic.config.topic_name, "cannot read the log: {}", error.remark);
            let remark = "the commit log cannot be read; see the broker's log";
            reply_to.write(out, response::SYSTEM_ERROR, Some(remark));
            return;
        }
        if popped.parts.is_empty() {
            self.stats.got(&request.group, &request.topic.config.topic_name, 0, 0);
        }
        for part in &popped.parts {
            let (count, bytes) = (part.records.len() as u64, part.records.byte_len() as u64);
            self.stats.got(&request.group, part.queue.topic(), count, bytes);
        }
    }

    fn write_records(
        &self,
        request: &PopRequest,
        popped: &Popped,
        part: &Part,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        if part.origin == Origin::Normal || self.settings.load().pop_response_return_actual_retry_topic {
            return Ok(part.records.copy_to(out)?);
        }
        for bytes in part.records.iter() {
            self.write_retry(request, popped, part, &bytes?, out)?;
        }
        Ok(())
    }

    /// A retry is shown as a message of its topic, with the handle that says where it really lies.
    fn write_retry(
        &self,
        request: &PopRequest,
        popped: &Popped,
        part: &Part,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let record = Record::parse(bytes).map_err(Refusal::system)?;
        let settings = self.settings.load();
        let handle = Handle {
            start: part.start,
            pop_time: popped.pop_time,
            invisible_ms: popped.invisible_ms,
            revive_queue: popped.revive_queue,
            origin: part.origin,
            broker: &settings.broker_name,
            queue: part.queue.id() as i32,
            offset: record.queue_offset,
        };
        let mut properties = Vec::with_capacity(record.properties.len() + 96);
        props::copy_without(record.properties, &[props::POP_CK], &mut properties);
        props::push(&mut properties, props::POP_CK, &handle.to_string());
        let topic = &request.topic.config.topic_name;
        let message = Message { topic, properties: &properties, ..record.message() };
        let start = out.len();
        match record::encode(&message, out) {
            Ok(_) => {
                let (queue_offset, physical) = (record.queue_offset as u64, record.physical_offset as u64);
                record::patch(&mut out[start..], queue_offset, physical, record.store_timestamp);
            }
            // Properties that have no room for the handle: the client makes one up from the header.
            Err(_) => out.extend_from_slice(bytes),
        }
        Ok(())
    }
}

fn write_starts(parts: &[Part], out: &mut Vec<u8>) {
    for (number, part) in parts.iter().enumerate() {
        write_mark(number, part, out);
        push_number(out, part.start);
    }
}

fn write_offsets(parts: &[Part], out: &mut Vec<u8>) {
    for (number, part) in parts.iter().enumerate() {
        write_mark(number, part, out);
        for (index, offset) in part.offsets.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_number(out, *offset);
        }
    }
}

/// Each message's failures, and for clients of old the smallest number of each queue.
fn write_failures(parts: &[Part], out: &mut Vec<u8>) {
    let begin = out.len();
    for part in parts {
        let queue = part.queue.id();
        for (offset, count) in part.failures.iter().filter(|(_, count)| *count > 0) {
            if out.len() > begin {
                out.push(b';');
            }
            out.extend_from_slice(format!("{} qo{queue}%{offset} {count}", part.origin.mark()).as_bytes());
        }
        let least = part.failures.iter().map(|(_, count)| *count).min().unwrap_or(0);
        if out.len() > begin {
            out.push(b';');
        }
        out.extend_from_slice(format!("{} {queue} {least}", part.origin.mark()).as_bytes());
    }
}

fn write_mark(number: usize, part: &Part, out: &mut Vec<u8>) {
    if number > 0 {
        out.push(b';');
    }
    out.extend_from_slice(part.origin.mark().as_bytes());
    out.push(b' ');
    push_number(out, i64::from(part.queue.id()));
    out.push(b' ');
}

fn push_number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
