//! Requests of administrators and their tools (broker.md §18).

mod groups;
mod topics;

use std::sync::Arc;

use wire::code::request as code;

use crate::Broker;
use crate::exchange::{Exchange, Outcome};

impl Broker {
    /// Serves an administrative request; `None` for a code that is none.
    pub(crate) fn administer(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Option<Outcome> {
        let outcome = match exchange.request.header.code {
            code::UPDATE_AND_CREATE_TOPIC => self.update_topic(exchange),
            code::UPDATE_AND_CREATE_TOPIC_LIST => self.update_topics(exchange),
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
            _ => return None,
        };
        Some(outcome)
    }
}
