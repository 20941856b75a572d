//! What a member wants: topics and filters, which the application may change while it works (client.md §3.1).

use std::sync::Arc;

use wire::code::request;
use wire::names::{check_topic, retry_topic};

use super::member::Member;
use crate::error::Error;
use crate::fields::Fields;
use crate::filter::Filter;

impl Member {
    /// Topics and filters as they are now.
    pub(super) fn subscribed(&self) -> Vec<(String, Filter)> {
        let subscriptions = self.subscriptions.read();
        subscriptions.iter().map(|(topic, filter)| (topic.clone(), filter.clone())).collect()
    }

    pub(super) fn subscribed_topics(&self) -> Vec<String> {
        self.subscriptions.read().keys().cloned().collect()
    }

    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        self.subscriptions.read().contains_key(topic)
    }

    /// Which messages of a topic are wanted.
    pub(super) fn filter_of(&self, topic: &str) -> Filter {
        // What is read without being subscribed to are retries, of which the group wants all.
        self.subscriptions.read().get(topic).cloned().unwrap_or(Filter::ALL)
    }

    /// Adds a topic, or wants other messages of it from now on.
    pub(super) async fn subscribe(self: &Arc<Self>, topic: &str, filter: Filter) -> Result<(), Error> {
        let topic = self.shared.namespace.wrap(topic).into_owned();
        check_topic(&topic).map_err(Error::illegal)?;
        self.check_subscription(&topic, &filter).await?;
        let before = self.subscriptions.write().insert(topic.clone(), filter.clone());
        if before.as_ref() == Some(&filter) {
            return Ok(());
        }
        for assigned in self.assigned().iter().filter(|assigned| assigned.queue.topic == topic) {
            // The pull that waits at the broker asks for what was wanted before.
            assigned.interrupt.notify_one();
        }
        self.subscriptions_changed().await;
        Ok(())
    }

    /// Wants nothing of a topic any more.
    pub(super) async fn unsubscribe(self: &Arc<Self>, topic: &str) {
        let topic = self.shared.namespace.wrap(topic);
        // What failed is the group's own, whatever the application wants.
        if *topic == retry_topic(&self.group) {
            return;
        }
        if self.subscriptions.write().remove(&*topic).is_some() {
            self.subscriptions_changed().await;
        }
    }

    /// Tells brokers what is wanted now, and divides queues by it.
    async fn subscriptions_changed(self: &Arc<Self>) {
        self.newer_version();
        self.shared.heartbeat_all().await;
        if !self.divide().await {
            self.rebalance.notify_one();
        }
    }

    /// Learns where a topic lives, and lets its brokers look at the filter.
    pub(super) async fn check_subscription(&self, topic: &str, filter: &Filter) -> Result<(), Error> {
        match self.shared.route(topic).await {
            Ok(route) => self.check_filter(topic, filter, &route.addresses()).await,
            // It may be created later.
            Err(Error::NoRoute { .. }) => {
                tracing::debug!(topic, "nobody has this topic yet");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Brokers refuse wrong conditions here, rather than with every pull.
    async fn check_filter(&self, topic: &str, filter: &Filter, addresses: &[&str]) -> Result<(), Error> {
        if !filter.is_sql() {
            return Ok(());
        }
        let data = serde_json::json!({
            "clientId": self.shared.client_id,
            "group": self.group,
            "subscriptionData": filter.subscription(topic, self.started_ms),
        });
        for address in addresses {
            let body = data.to_string();
            self.shared.ask(address, request::CHECK_CLIENT_CONFIG, &Fields::new(), body.as_bytes()).await?;
        }
        Ok(())
    }
}
