//! Requests of administrators and their tools (broker.md §18).

mod configuration;
mod connections;
mod groups;
mod json;
mod lookups;
mod relay;
mod reset;
mod runtime;
mod static_topics;
mod statistics;
mod story;
mod topics;
mod unserved;

use std::sync::Arc;
use std::time::Duration;

use wire::code::request as code;

use crate::Broker;
use crate::exchange::{Exchange, Outcome, Reply, answer_later};

pub(crate) use configuration::Configuration;

/// How long the answer to a new topic waits for the nameservers, so that a route asked for next is there.
const SETTLE: Duration = Duration::from_secs(3);

impl Broker {
    /// Serves an administrative request; `None` for a code that is none.
    pub(crate) fn administer(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Option<Outcome> {
        let outcome = match exchange.request.header.code {
            code::UPDATE_AND_CREATE_TOPIC => self.update_topic(exchange),
            code::UPDATE_AND_CREATE_TOPIC_LIST => self.update_topics(exchange),
            code::UPDATE_AND_CREATE_STATIC_TOPIC => self.update_static_topic(exchange),
            code::DELETE_TOPIC_IN_BROKER => self.delete_topic(exchange),
            code::GET_ALL_TOPIC_CONFIG => self.all_topics(exchange),
            code::GET_TOPIC_CONFIG => self.topic_config(exchange),
            code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => self.system_topics(exchange),
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => self.update_group(exchange),
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => self.update_groups(exchange),
            code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => self.all_groups(exchange),
            code::GET_SUBSCRIPTIONGROUP_CONFIG => self.group_config(exchange),
            code::DELETE_SUBSCRIPTIONGROUP => self.delete_group(exchange),
            code::UPDATE_AND_GET_GROUP_FORBIDDEN => self.group_forbidden(exchange),
            code::UPDATE_BROKER_CONFIG => self.update_config(exchange),
            code::GET_BROKER_CONFIG => self.config(exchange),
            code::GET_BROKER_RUNTIME_INFO => self.runtime_info(exchange),
            code::GET_BROKER_HA_STATUS => self.ha_status(exchange),
            code::GET_ALL_CONSUMER_OFFSET => self.all_consumer_offsets(exchange),
            code::GET_ALL_DELAY_OFFSET => self.all_delay_offsets(exchange),
            code::GET_TIMER_CHECK_POINT => self.timer_check_point(exchange),
            code::GET_TIMER_METRICS => self.timer_metrics(exchange),
            code::CLEAN_EXPIRED_CONSUMEQUEUE => self.clean_queues(exchange),
            code::CLEAN_UNUSED_TOPIC => self.clean_unused_topics(exchange),
            code::DELETE_EXPIRED_COMMITLOG => self.delete_expired_log(exchange),
            code::GET_TOPIC_STATS_INFO => self.topic_stats(exchange),
            code::GET_CONSUME_STATS => self.consume_stats(exchange),
            code::GET_BROKER_CONSUME_STATS => self.all_consume_stats(exchange),
            code::QUERY_CONSUME_TIME_SPAN => self.consume_time_span(exchange),
            code::VIEW_BROKER_STATS_DATA => self.view_stats(exchange),
            code::QUERY_TOPIC_CONSUME_BY_WHO => self.groups_of_topic(exchange),
            code::QUERY_TOPICS_BY_CONSUMER => self.topics_of_group(exchange),
            code::QUERY_SUBSCRIPTION_BY_CONSUMER => self.subscription_of_group(exchange),
            code::QUERY_CONSUME_QUEUE => self.queue_rows(exchange),
            code::QUERY_CORRECTION_OFFSET => self.correction_offsets(exchange),
            code::GET_CONSUMER_CONNECTION_LIST => self.consumer_connections(exchange),
            code::GET_PRODUCER_CONNECTION_LIST => self.producer_connections(exchange),
            code::GET_ALL_PRODUCER_INFO => self.all_producers(exchange),
            code::INVOKE_BROKER_TO_RESET_OFFSET => self.reset_offset(exchange),
            code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => self.consumer_status(exchange),
            code::CLONE_GROUP_OFFSET => self.clone_offsets(exchange),
            code::GET_CONSUMER_RUNNING_INFO => self.running_info(exchange),
            code::CONSUME_MESSAGE_DIRECTLY => self.consume_directly(exchange),
            code::RESUME_CHECK_HALF_MESSAGE => self.resume_check(exchange),
            code::UPDATE_COLD_DATA_FLOW_CTR_CONFIG => self.limit_cold_reads(exchange),
            code::REMOVE_COLD_DATA_FLOW_CTR_CONFIG => self.free_cold_reads(exchange),
            code::GET_COLD_DATA_FLOW_CTR_INFO => self.cold_reads(exchange),
            code::SET_COMMITLOG_READ_MODE => self.set_read_ahead(exchange),
            code::GET_MESSAGE_STORY => self.message_story(exchange),
            other => return unserved::refusal(other).map(Err),
        };
        Some(outcome)
    }

    /// Does what takes the disk its time on a thread that may wait for it, and answers SUCCESS then. Those who hear of
    /// it are served meanwhile: whom a thread that serves connections wakes may have to wait until its own work is
    /// done.
    fn ok_when_done(
        self: &Arc<Self>,
        exchange: &Exchange<'_, '_>,
        work: impl FnOnce(&Broker) -> Outcome + Send + 'static,
    ) -> Outcome {
        let broker = Arc::clone(self);
        answer_later(exchange, async move {
            broker.aside(work).await?;
            Ok(|mut reply: Reply<'_>| reply.ok())
        })
    }

    /// The same for what the nameservers must know before the answer: a route asked for right after it must be there.
    fn ok_when_registered(
        self: &Arc<Self>,
        exchange: &Exchange<'_, '_>,
        work: impl FnOnce(&Broker) -> Outcome + Send + 'static,
    ) -> Outcome {
        let broker = Arc::clone(self);
        let oneway = exchange.request.reply_to().oneway;
        answer_later(exchange, async move {
            broker.aside(work).await?;
            if !oneway {
                broker.registration.settled(SETTLE).await;
            }
            Ok(|mut reply: Reply<'_>| reply.ok())
        })
    }
}
