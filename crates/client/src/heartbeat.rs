//! Heartbeats: brokers know their clients by them, and forget those that fall silent.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use wire::code::request;

use crate::fields::Fields;
use crate::greetings::Step;
use crate::shared::Shared;

/// A heartbeat that takes longer is given up; the next one follows anyway.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The longest wait for brokers that are told who is here before something is sent that they may answer by a push.
const GREETING: Duration = Duration::from_millis(500);

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
        let version = self.registry.greetings.version();
        let over = self.beat(address).await;
        self.registry.greetings.told(address, version, over);
    }

    /// Gives the connection that a broker was told over who is here.
    async fn beat(&self, address: &str) -> Option<u64> {
        let data = self.registry.heartbeat(&self.client_id)?;
        let body = serde_json::to_vec(&data).ok()?;
        let before = self.remoting.connection(address);
        let answer = self.call(address, request::HEART_BEAT, &Fields::new(), &body, TIMEOUT).await;
        if let Err(error) = answer.and_then(|answer| crate::shared::success(address, answer)) {
            tracing::warn!(address, "heartbeat failed: {error}");
            self.doubt(address, &error);
            return None;
        }
        let after = self.remoting.connection(address)?;
        // Another connection may be that of a broker that was started again since.
        before.is_none_or(|before| before == after).then_some(after)
    }

    /// Makes sure that these brokers have heard of everybody who is here, and waits for those that can be reached, but
    /// no longer than `patience` for the others, which are told when that is possible.
    pub async fn greet(self: &Arc<Self>, addresses: &[&str], patience: Duration) {
        let patience = patience.min(GREETING);
        let mut ends = Vec::new();
        for address in addresses {
            match self.registry.greetings.step(address, self.remoting.connection(address)) {
                Step::Nothing => (),
                // Somebody has waited for this one before.
                Step::Wait { since, .. } if since.elapsed() >= patience => (),
                Step::Wait { ended, .. } => ends.push(ended),
                Step::Tell(end, ended) => {
                    let (shared, address) = (Arc::clone(self), (*address).to_owned());
                    tokio::spawn(async move {
                        shared.heartbeat(&address).await;
                        drop(end);
                    });
                    ends.push(ended);
                }
            }
        }
        if ends.is_empty() {
            return;
        }
        let all = async {
            for mut ended in ends {
                // Nothing is ever said there but that it is over.
                let _ = ended.changed().await;
            }
        };
        let _ = tokio::time::timeout(patience, all).await;
    }

    /// Tells every known broker that a group is left.
    pub async fn unregister(self: &Arc<Self>, fields: Fields<'static>) {
        let fields = fields.text("clientID", self.client_id.clone());
        let mut told = JoinSet::new();
        for address in self.routes.addresses(false) {
            let (shared, fields) = (Arc::clone(self), fields.clone());
            told.spawn(async move {
                let answer = shared.call(&address, request::UNREGISTER_CLIENT, &fields, &[], TIMEOUT).await;
                if let Err(error) = answer {
                    tracing::debug!(address, "leaving a group was not answered: {error}");
                }
            });
        }
        while told.join_next().await.is_some() {}
    }
}
