//! Changing for how long a delivered message stays hidden (200053): a consumer needs longer, or gives up at once
//! (broker.md §15.4).

use std::sync::Arc;

use remoting::Held;
use store::{Flushed, Queue};
use wire::code::response;
use wire::header::FrameWriter;
use wire::pop::Handle;

use crate::Broker;
use crate::ack::{acks_of, illegal_offset, parse_handle};
use crate::exchange::{Exchange, Outcome};
use crate::offset_requests::check_not_own;
use crate::pop::outstanding::Checkpoint;
use crate::pop::{check_invisible, order_key};
use crate::pull::{no_group, no_topic};

/// What the client makes its new handle of.
#[derive(Debug, Clone, Copy, Default)]
struct Changed {
    pop_time: i64,
    invisible_ms: i64,
    revive_queue: i32,
}

impl Changed {
    fn write(self, mut writer: FrameWriter<'_>) {
        writer.number("invisibleTime", self.invisible_ms);
        writer.number("popTime", self.pop_time);
        writer.number("reviveQid", self.revive_queue);
        writer.empty();
    }
}

impl Broker {
    pub(crate) fn change_invisible_time(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let name = exchange.text("topic")?;
        let topic = self.topics.get(name).ok_or_else(|| no_topic(name))?;
        let queue = self.popped_queue(exchange, &topic)?;
        let offset: i64 = exchange.number("offset")?;
        if offset < queue.min_offset() as i64 || offset >= queue.max_offset() as i64 {
            return Err(illegal_offset(&queue, offset));
        }
        let group = exchange.text("consumerGroup")?.to_owned();
        check_not_own(&group)?;
        self.groups.get(&group).ok_or_else(|| no_group(&group))?;
        let invisible_ms: i64 = exchange.number("invisibleTime")?;
        check_invisible(invisible_ms)?;
        let suspended = exchange.flag("suspend");
        let now_ms = self.now_ms();
        let handle = parse_handle(exchange, now_ms)?;
        if handle.is_orderly() {
            let changed = self.change_orderly(&group, &queue, offset, &handle, invisible_ms);
            return exchange.answer(response::SUCCESS, None, |writer| changed.write(writer));
        }
        let revive_queue = self.checked_revive_queue(&handle)?;
        let mut old = acks_of(&handle, &group, &queue, revive_queue);
        old.offsets.push(offset);
        let pop_time = old.replaced_at(now_ms);
        let checkpoint = Checkpoint {
            topic: Arc::clone(queue.topic()),
            group: group.as_str().into(),
            queue: queue.id() as i32,
            start: offset,
            pop_time,
            due_ms: pop_time.saturating_add(invisible_ms),
            offsets: [offset].into(),
            acked: 0,
            suspended,
        };
        let changed = Changed { pop_time, invisible_ms, revive_queue: handle.revive_queue };
        // The place first: what is changed is also answered, and not before it is on the disk.
        let held = self.place(exchange.channel, true)?;
        let until = self.pop.log.replace(&self.store, &old, checkpoint, now_ms)?;
        self.stats.opened(&group, name);
        self.stats.acknowledged(&group, name, 1);
        self.answer_change(exchange, changed, until, held)
    }

    /// With synchronous flush the answer waits for the disk: the old delivery must not come back before its time.
    fn answer_change(
        &self,
        exchange: &mut Exchange<'_, '_>,
        changed: Changed,
        until: u64,
        held: Option<Held>,
    ) -> Outcome {
        let Some(held) = held else {
            return exchange.answer(response::SUCCESS, None, |writer| changed.write(writer));
        };
        let reply_to = exchange.request.reply_to();
        self.answer_when_flushed(until, exchange.channel, held, move |flushed, out| match flushed {
            Flushed::Done if !reply_to.oneway => {
                changed.write(FrameWriter::new(out, &reply_to.head(response::SUCCESS, None)));
            }
            Flushed::Done => (),
            Flushed::Timeout | Flushed::Failed => {
                let remark = "changed, but the disk has not confirmed it";
                reply_to.write(out, response::SYSTEM_ERROR, Some(remark));
            }
        });
        Ok(())
    }

    /// An orderly delivery has no checkpoint: the message's own time is noted with it. One that is acknowledged
    /// already is answered with zeros.
    fn change_orderly(
        &self,
        group: &str,
        queue: &Queue,
        offset: i64,
        handle: &Handle<'_>,
        invisible_ms: i64,
    ) -> Changed {
        let key = order_key(group, queue);
        if offset < self.offsets.get(group, key.topic, key.queue).unwrap_or(-1) {
            return Changed::default();
        }
        let visible_ms = self.now_ms() + invisible_ms;
        self.pop.orders.show_at(&key, offset, handle.pop_time, visible_ms);
        // Who waits for the queue waits for the old time.
        self.pop.waits.arrived_in(key.topic, group, &[key.queue]);
        Changed {
            pop_time: handle.pop_time,
            invisible_ms: visible_ms.saturating_sub(handle.pop_time),
            revive_queue: handle.revive_queue,
        }
    }
}
