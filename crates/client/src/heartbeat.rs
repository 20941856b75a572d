//! Heartbeats: brokers know their clients by them, and forget those that fall silent.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use wire::code::request;

use crate::fields::Fields;
use crate::shared::Shared;

/// A heartbeat that takes longer is given up; the next one follows anyway.
const TIMEOUT: Duration = Duration::from_secs(3);

impl Shared {
    /// Tells every known broker who is here.
    pub async fn heartbeat_all(self: &Arc<Self>) {
        let mut beats = JoinSet::new();
        for address in self.routes.addresses(!self.registry.has_consumers()) {
            let shared = Arc::clone(self);
            beats.spawn(async move { shared.heartbeat(&address).await });
        }
        while beats.join_next().await.is_some() {}
    }

    /// Tells one broker who is here.
    pub async fn heartbeat(&self, address: &str) {
        let Some(data) = self.registry.heartbeat(&self.client_id) else { return };
        let Ok(body) = serde_json::to_vec(&data) else { return };
        let answer = self.call(address, request::HEART_BEAT, &Fields::new(), &body, TIMEOUT).await;
        match answer.and_then(|answer| crate::shared::success(address, answer)) {
            Ok(_) => self.registry.greeted(address),
            Err(error) => {
                tracing::warn!(address, "heartbeat failed: {error}");
                self.doubt(address, &error);
            }
        }
    }

    /// Makes sure that these brokers have heard of everybody who is here.
    pub async fn greet(&self, addresses: &[&str]) {
        for address in addresses.iter().filter(|address| self.registry.must_greet(address)) {
            self.heartbeat(address).await;
        }
    }

    /// Tells every known broker that a group is left.
    pub async fn unregister(&self, fields: Fields<'_>) {
        let fields = fields.text("clientID", self.client_id.as_str());
        for address in self.routes.addresses(false) {
            let answer = self.call(&address, request::UNREGISTER_CLIENT, &fields, &[], TIMEOUT).await;
            if let Err(error) = answer {
                tracing::debug!(address, "leaving a group was not answered: {error}");
            }
        }
    }
}
