//! Pulls of logical queues: here if this broker holds the messages, else from the one that does (11, 361).

use std::sync::Arc;

use remoting::Answer;
use wire::body::LogicQueueMappingItem;
use wire::code::{request as code, response};
use wire::pull_flag::{COMMIT_OFFSET, SUSPEND};

use super::forward::number_in;
use super::{LogicalQueue, Mapping, Told};
use crate::Broker;
use crate::exchange::{Exchange, Outcome, Refusal, Reply, answer_later, passed_on};

/// Fields of an answer to a pull that are translated.
const OFFSETS: [&str; 4] = ["nextBeginOffset", "minOffset", "maxOffset", "offsetDelta"];

/// Where a pull reads: a physical queue of this broker.
pub(crate) struct PullPlace {
    pub queue_id: i32,
    pub offset: i64,
    /// Most messages to read.
    pub count_max: i32,
    /// What it stands for, in a static topic.
    pub logical: Option<Box<LogicalRead>>,
}

/// The generation that a pull reads.
pub(crate) struct LogicalRead {
    pub queue: Arc<LogicalQueue>,
    pub item: LogicQueueMappingItem,
}

impl LogicalRead {
    /// Translates what a read at a physical offset has come to.
    pub fn told(&self, asked: i64, read: Told) -> Told {
        self.queue.told(&self.item, asked, read)
    }

    /// Whether `mapping` says of the queue what it said when the pull came.
    pub fn is_of(&self, mapping: Option<&Arc<Mapping>>) -> bool {
        mapping.and_then(|mapping| mapping.led(self.queue.id).ok()).is_some_and(|queue| queue == self.queue)
    }
}

impl Broker {
    /// Where a pull of a logical queue reads; `None` if another broker was asked, whose answer follows.
    pub(crate) fn place_of_pull(
        self: &Arc<Self>,
        exchange: &Exchange<'_, '_>,
        mapping: &Mapping,
    ) -> Result<Option<PullPlace>, Refusal> {
        let queue = mapping.led(exchange.number("queueId")?)?;
        let mut logical: i64 = exchange.number("queueOffset")?;
        let mut item = queue.item_at(logical)?;
        if queue.room(item, logical) == Some(0)
            && let Some(next) = queue.after(item)
        {
            // Between the end of a generation and the begin of the next there is nothing.
            (item, logical) = (next, next.logic_offset);
        }
        let room = queue.room(item, logical).map_or(i32::MAX, |room| i32::try_from(room).unwrap_or(i32::MAX));
        let place = PullPlace {
            queue_id: item.queue_id,
            offset: item.physical(logical),
            count_max: room.max(1),
            logical: None,
        };
        let read = LogicalRead { item: item.clone(), queue: Arc::clone(&queue) };
        if queue.is_here(item) {
            return Ok(Some(PullPlace { logical: Some(Box::new(read)), ..place }));
        }
        self.pull_elsewhere(exchange, place, read)?;
        Ok(None)
    }

    /// Passes a pull on. The other broker neither lets it wait nor commits: both are for the leader to do.
    fn pull_elsewhere(
        self: &Arc<Self>,
        exchange: &Exchange<'_, '_>,
        place: PullPlace,
        read: LogicalRead,
    ) -> Outcome {
        let flags = exchange.number::<i32>("sysFlag")? & !(COMMIT_OFFSET | SUSPEND);
        let count = exchange.number_or("maxMsgNums", 32).min(place.count_max);
        let mut fields = passed_on(exchange);
        for (name, value) in [
            ("queueId", place.queue_id.to_string()),
            ("queueOffset", place.offset.to_string()),
            ("maxMsgNums", count.to_string()),
            ("sysFlag", flags.to_string()),
            ("lo", "false".to_owned()),
            ("bname", read.item.bname.clone()),
        ] {
            fields.retain(|(known, _)| known != name);
            fields.push((name.to_owned(), value));
        }
        let broker = Arc::clone(self);
        answer_later(exchange, async move {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let expected = [
                response::SUCCESS,
                response::PULL_NOT_FOUND,
                response::PULL_RETRY_IMMEDIATELY,
                response::PULL_OFFSET_MOVED,
            ];
            let answer =
                broker.ask_neighbour(&read.item.bname, code::PULL_MESSAGE, &fields, &expected).await?;
            let told = read.told(place.offset, told_by(&answer)?);
            Ok(move |reply: Reply<'_>| pass_back(&answer, told, reply))
        })
    }
}

/// What another broker has told in physical offsets.
fn told_by(answer: &Answer) -> Result<Told, Refusal> {
    Ok(Told {
        code: answer.code,
        next: number_in(answer, "nextBeginOffset")?,
        min: number_in(answer, "minOffset")?,
        max: number_in(answer, "maxOffset")?,
        delta: None,
    })
}

/// Another broker's answer, with the offsets of the logical queue.
fn pass_back(answer: &Answer, told: Told, mut reply: Reply<'_>) -> Outcome {
    reply.answer(told.code, answer.remark.as_deref(), |mut writer| {
        for (name, value) in answer.fields().filter(|(name, _)| !OFFSETS.contains(name)) {
            writer.field(name, value);
        }
        told.write(&mut writer);
        writer.body(&answer.body);
    })
}
