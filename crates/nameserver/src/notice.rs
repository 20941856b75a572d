//! Tells the brokers of a group that its lowest id is another one (905), over connections of our own: in acting
//! master mode the slave of the lowest id takes over duties of the master.

use std::sync::Arc;
use std::time::Duration;

use remoting::{Channel, Client, Limits, Service, Turn};
use wire::code::request::NOTIFY_MIN_BROKER_ID_CHANGE;

use crate::tables::MinIdChange;

/// A broker that does not take the notice in time asks by itself later.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);

/// Tells brokers of a group that its lowest id is another one now.
pub(crate) struct Notices {
    client: Arc<Client>,
}

impl Notices {
    pub fn new() -> Notices {
        Notices { client: Arc::new(Client::new(Limits::default(), Arc::new(NothingServed))) }
    }

    /// Sends in the background. Needs a tokio runtime.
    pub fn send(&self, changes: Vec<MinIdChange>) {
        let client = Arc::clone(&self.client);
        tokio::spawn(async move {
            for change in changes {
                tell(&client, &change).await;
            }
        });
    }
}

async fn tell(client: &Client, change: &MinIdChange) {
    let min_id = change.min_id.to_string();
    let mut fields = vec![("minBrokerId", &*min_id), ("minBrokerAddr", &*change.min_address)];
    fields.extend(change.offline_address.as_deref().map(|address| ("offlineBrokerAddr", address)));
    fields.extend(change.ha_address.as_deref().map(|address| ("haBrokerAddr", address)));
    for address in &change.tell {
        match client.channel(address, CONNECT_TIMEOUT).await {
            Ok(channel) => channel.oneway(NOTIFY_MIN_BROKER_ID_CHANGE, &fields, &[]),
            Err(error) => tracing::warn!("broker not told of the lowest id {min_id}: {error}"),
        }
    }
}

/// Brokers ask nothing over a connection that we made.
struct NothingServed;

impl Service for NothingServed {
    fn serve(&self, _: &Arc<Channel>, turn: &mut Turn<'_>) {
        while turn.next_request().is_some() {}
    }

    fn closed(&self, _: &Arc<Channel>) {}
}
