//! Telling a consumer that there is something to pop, without giving it (200054), and how many pops wait (200055)
//! (broker.md §15.3).

use std::sync::Arc;
use std::time::Duration;

use remoting::ReplyTo;
use tokio::time::Instant;
use wire::code::response;
use wire::header::FrameWriter;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, send_refusal};
use crate::filter::TagFilter;
use crate::pop::polling::{NoRoom, Place};
use crate::pop::waits::{NotificationWaiter, watch};
use crate::pop::{PopRequest, poll_left_ms};

impl Broker {
    pub(crate) fn notification(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let (topic, group) = self.check_reader(exchange, "peeking message")?;
        let poll_ms: i64 = exchange.number("pollTime")?;
        let left_ms = u64::try_from(poll_left_ms(exchange, poll_ms, self.now_ms())).unwrap_or(0);
        let request = PopRequest {
            group,
            topic,
            queue_id: exchange.number("queueId")?,
            max_count: 1,
            invisible_ms: 0,
            from_end: false,
            filter: TagFilter::All.into(),
            is_orderly: exchange.flag("order"),
            attempt: exchange.request.field("attemptId").filter(|id| !id.is_empty()).map(str::to_owned),
        };
        let reply_to = exchange.request.reply_to();
        if self.has_something(&request) {
            write(reply_to, true, false, exchange.out);
            return Ok(());
        }
        if poll_ms <= 0 || left_ms == 0 {
            write(reply_to, false, false, exchange.out);
            return Ok(());
        }
        let Some(held) = exchange.channel.hold() else {
            write(reply_to, false, true, exchange.out);
            return Ok(());
        };
        let deadline = Instant::now() + Duration::from_millis(left_ms);
        if let Err(no_room) = self.wait_for_news(NotificationWaiter { request, reply_to, deadline, held }) {
            write(reply_to, false, no_room == NoRoom::Full, exchange.out);
        }
        Ok(())
    }

    /// Lets one wait; answers it at once if something has come in the meantime.
    fn wait_for_news(&self, waiter: NotificationWaiter) -> Result<(), NoRoom> {
        let request = waiter.request.clone();
        let place = Place {
            topic: request.topic.config.topic_name.as_str().into(),
            group: request.group.as_str().into(),
            queue: request.queue_id.max(-1),
        };
        let news = &self.pop.waits.notifications;
        let until = waiter.deadline.min(self.free_at(&request).unwrap_or(waiter.deadline));
        let ticket = news.add(place, until, self.polling_room(), waiter).map_err(|(no_room, _)| no_room)?;
        watch(self.queues_to_watch(&request));
        let is_deleted = self.is_of_deleted(&request);
        if (is_deleted || self.has_something(&request))
            && let Some(waiter) = news.take(ticket)
        {
            if is_deleted {
                self.answer_deleted(&waiter);
            } else {
                answer(&waiter, true);
            }
        }
        Ok(())
    }

    /// When the first queue that an orderly delivery blocks is free.
    fn free_at(&self, request: &PopRequest) -> Option<Instant> {
        if !request.is_orderly {
            return None;
        }
        let now_ms = self.now_ms();
        let until = |queue: &Arc<store::Queue>| {
            let key = crate::pop::order_key(&request.group, queue);
            self.pop.orders.blocked_until(&key, request.attempt.as_deref(), 0, now_ms)
        };
        self.instant_of(self.queues_to_watch(request).filter_map(until).min())
    }

    /// Answers one that was woken, or lets it wait on.
    pub(crate) fn resume_notification(&self, waiter: NotificationWaiter) {
        if !waiter.held.channel().is_open() {
            return self.pop.waits.instead_of(&waiter.request);
        }
        if self.is_of_deleted(&waiter.request) {
            return self.answer_deleted(&waiter);
        }
        let has_something = self.has_something(&waiter.request);
        let is_over = waiter.deadline <= Instant::now() || *self.stopping.borrow();
        if has_something || is_over {
            return answer(&waiter, has_something);
        }
        let (reply_to, channel) = (waiter.reply_to, Arc::clone(waiter.held.channel()));
        if let Err(no_room) = self.wait_for_news(waiter) {
            let mut out = Vec::new();
            write(reply_to, false, no_room == NoRoom::Full, &mut out);
            channel.send(&out);
        }
    }

    /// Answers one whose queues were deleted: there is nothing, or no topic to ask for.
    fn answer_deleted(&self, waiter: &NotificationWaiter) {
        match self.check_still(&waiter.request.topic.config.topic_name) {
            Ok(()) => answer(waiter, false),
            Err(refusal) => send_refusal(waiter.held.channel(), waiter.reply_to, &refusal),
        }
    }

    /// How many pops wait at exactly this place.
    pub(crate) fn polling_info(&self, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let (topic, group) = self.check_reader(exchange, "polling info")?;
        let queue_id: i32 = exchange.number("queueId")?;
        let place = Place {
            topic: topic.config.topic_name.as_str().into(),
            group: group.as_str().into(),
            queue: queue_id.max(-1),
        };
        exchange.ok_number("pollingNum", self.pop.waits.pops.count(&place) as i64)
    }
}

fn answer(waiter: &NotificationWaiter, has_something: bool) {
    let mut out = Vec::new();
    write(waiter.reply_to, has_something, false, &mut out);
    waiter.held.channel().send(&out);
}

fn write(reply_to: ReplyTo, has_something: bool, is_full: bool, out: &mut Vec<u8>) {
    if reply_to.oneway {
        return;
    }
    let word = |yes: bool| if yes { "true" } else { "false" };
    let mut writer = FrameWriter::new(out, &reply_to.head(response::SUCCESS, None));
    writer.field("hasMsg", word(has_something));
    writer.field("pollingFull", word(is_full));
    writer.empty();
}
