//! What a member wants: topics and filters, which the application may change while it works (client.md §3.1).

use std::sync::Arc;

use tokio::task::JoinSet;
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

    /// Brokers refuse wrong conditions here, rather than with every pull. All are asked at a time: one that is silent
    /// does not keep the refusal of another from being told.
    async fn check_filter(&self, topic: &str, filter: &Filter, addresses: &[&str]) -> Result<(), Error> {
        if !filter.is_sql() {
            return Ok(());
        }
        let data = serde_json::json!({
            "clientId": self.shared.client_id,
            "group": self.group,
            "subscriptionData": filter.subscription(topic, self.started_ms),
        });
        let body: Arc<str> = data.to_string().into();
        let mut asked = JoinSet::new();
        for address in addresses {
            let (shared, address, body) =
                (Arc::clone(&self.shared), (*address).to_owned(), Arc::clone(&body));
            let code = request::CHECK_CLIENT_CONFIG;
            asked.spawn(async move { shared.ask(&address, code, &Fields::new(), body.as_bytes()).await });
        }
        let mut checked = Ok(());
        while let Some(answer) = asked.join_next().await {
            match answer.map_err(Error::illegal)? {
                Ok(_) => (),
                // Whatever the others say, or whether they say anything.
                Err(error) if error.broker_code().is_some() => return Err(error),
                Err(error) => checked = Err(error),
            }
        }
        checked
    }
}

#[cfg(test)]
mod tests {
    use wire::code::response;

    use super::super::member::tests::member;
    use super::super::options::{Options, Role};
    use super::*;
    use crate::pretended::{Said, pretend};

    #[tokio::test]
    async fn a_wrong_condition_is_told_at_the_start_also_while_another_broker_is_silent() {
        let (silent, _silent) = pretend(|_| None);
        let (other, _server) = pretend(|_| Some(Said::code(response::SUBSCRIPTION_PARSE_FAILED)));
        let member = member(Options::usual(Role::Push));
        let wrong = Filter::sql("a >");
        for addresses in [[&*silent, &*other], [&*other, &*silent]] {
            let refused = member.check_filter("T", &wrong, &addresses).await.unwrap_err();
            assert_eq!(refused.broker_code(), Some(response::SUBSCRIPTION_PARSE_FAILED), "{refused}");
        }
        let unheard = member.check_filter("T", &wrong, &[&*silent]).await.unwrap_err();
        assert!(unheard.nobody_answered(), "nobody has looked at it: {unheard}");
    }
}
