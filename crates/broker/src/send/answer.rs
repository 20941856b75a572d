//! What a sender is told about its message: where it is.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use remoting::{Held, ReplyTo};
use store::Appended;
use wire::code::response;
use wire::header::FrameWriter;
use wire::ids::OffsetId;

use crate::Broker;
use crate::logical_queue::LogicalQueue;
use crate::repeats::First;

/// What it takes to answer one send once its records have their offsets.
pub(super) struct Answer {
    pub reply_to: ReplyTo,
    /// First record in the batch.
    pub first: usize,
    /// Records; more than one for a batch request, none for the end of a transaction.
    pub count: usize,
    pub queue_id: u32,
    /// Where its unique key stands in `keys`.
    pub key: Range<usize>,
    /// Its record is an inner batch: the sender shows the unique key as the one id of all its messages.
    pub inner_batch: bool,
    /// Where the handle that takes it back stands in `keys`; empty if nothing can.
    pub recall: Range<usize>,
    /// Where its records are if an earlier turn stored them.
    pub stored: Vec<First>,
    /// What its queue stands for, in a static topic.
    pub logical: Option<Arc<LogicalQueue>>,
    /// Gives its place back when the answer is gone.
    pub held: Option<Held>,
}

impl Answer {
    /// For `count` records of the batch from number `first` on, with nothing else to tell.
    pub fn new(reply_to: ReplyTo, first: usize, count: usize, queue_id: u32) -> Answer {
        Answer {
            reply_to,
            first,
            count,
            queue_id,
            key: 0..0,
            inner_batch: false,
            recall: 0..0,
            stored: Vec::new(),
            logical: None,
            held: None,
        }
    }

    /// Where the records are, given where those of the batch are.
    pub fn places(
        &self,
        in_batch: impl Fn(usize) -> Appended + Clone,
    ) -> impl Iterator<Item = Appended> + Clone {
        let before = self.stored.iter().map(|first| first.appended);
        let now = if self.stored.is_empty() { self.first..self.first + self.count } else { 0..0 };
        before.chain(now.map(in_batch))
    }
}

/// Writes answers of sends that were stored.
pub(super) struct AnswerWriter {
    settings: Arc<settings::Broker>,
    address: SocketAddr,
}

impl AnswerWriter {
    pub fn of(broker: &Broker) -> AnswerWriter {
        AnswerWriter { settings: broker.settings.load_full(), address: broker.address }
    }

    /// Writes the answer; `keys` is what its ranges speak of.
    pub fn write(
        &self,
        answer: &Answer,
        offsets: impl Iterator<Item = Appended> + Clone,
        keys: &[u8],
        code: i32,
        out: &mut Vec<u8>,
    ) {
        if answer.reply_to.oneway {
            return;
        }
        if answer.count == 0 {
            // A decision that is not durable yet is made again after a crash; it waits for nothing.
            answer.reply_to.write(out, response::SUCCESS, None);
            return;
        }
        let mut writer = FrameWriter::new(out, &answer.reply_to.head(code, None));
        writer.field("MSG_REGION", &self.settings.region_id);
        writer.field("TRACE_ON", if self.settings.trace_on { "true" } else { "false" });
        writer.field_with("msgId", |out| {
            for (number, offset) in offsets.clone().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                OffsetId { store_host: self.address, offset: offset.offset }.write(out);
            }
        });
        let queue_offset = offsets.clone().next().map_or(0, |offset| offset.queue_offset);
        match &answer.logical {
            None => {
                writer.number("queueId", answer.queue_id);
                writer.number("queueOffset", queue_offset);
            }
            Some(queue) => {
                writer.number("queueId", queue.id);
                writer.number("queueOffset", queue.leader.logical_within(queue_offset as i64));
            }
        }
        let none = 0..0;
        let batch_key = if answer.inner_batch { &answer.key } else { &none };
        let texts =
            [("transactionId", &answer.key), ("batchUniqId", batch_key), ("recallHandle", &answer.recall)];
        for (name, place) in texts {
            let text = keys.get(place.clone()).and_then(|text| std::str::from_utf8(text).ok());
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                writer.field(name, text);
            }
        }
        writer.empty();
    }
}
