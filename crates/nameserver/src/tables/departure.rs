//! Brokers that leave: by their own wish, with their connection, or because they are silent (cluster.md §1.5,
//! §1.6).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use wire::body::PERM_WRITE;

use super::{BrokerKey, Live, MASTER_ID, MinIdChange, Tables};

/// Who leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Departure {
    /// Everybody who registered over this connection.
    Channel(u64),
    /// One broker, by its own wish (104).
    Broker(BrokerKey, String),
}

/// Brokers that were not heard of in time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expired {
    /// Connections over which no live broker is left.
    pub channels: Vec<u64>,
    pub min_id_changes: Vec<MinIdChange>,
}

/// What departures make of the groups that brokers were in.
#[derive(Default)]
struct Left {
    /// Nobody is in them any more.
    ended: HashSet<Arc<str>>,
    /// They have no master, and another member may act as one.
    masterless: HashSet<Arc<str>>,
    changes: BTreeMap<Arc<str>, MinIdChange>,
}

impl Tables {
    /// Forgets brokers, the groups that end with them and the topics that nobody else holds. One pass over all
    /// topics serves any number of departures.
    pub fn leave(&mut self, departures: &[Departure]) -> Vec<MinIdChange> {
        let mut left = Left::default();
        for (key, named) in self.resolve(departures) {
            let live = self.forget(&key);
            let name = live.map_or(named, |live| live.group);
            self.leave_group(name, key.address, &mut left);
        }
        self.clear_topics(&left);
        left.changes.into_values().collect()
    }

    /// Takes the broker at an address out of its group; `left` is told what that makes of the group.
    fn leave_group(&mut self, name: Arc<str>, address: String, left: &mut Left) {
        let Some(group) = self.groups.get_mut(&name) else { return };
        let min_leaves = group.addresses.values().next() == Some(&address);
        let before = group.addresses.len();
        group.addresses.retain(|_, member| *member != address);
        if group.addresses.len() == before {
            return;
        }
        tracing::info!(broker = %name, %address, "broker left");
        if group.addresses.is_empty() {
            self.groups.remove(&name);
            left.changes.remove(&name);
            left.masterless.remove(&name);
            left.ended.insert(name);
            return;
        }
        if !group.acting_master {
            return;
        }
        if !group.addresses.contains_key(&MASTER_ID) {
            left.masterless.insert(Arc::clone(&name));
        }
        if min_leaves && let Some((id, min_address)) = group.addresses.first_key_value() {
            let change = MinIdChange {
                min_id: *id,
                min_address: min_address.clone(),
                offline_address: Some(address),
                ha_address: None,
                tell: group.addresses.values().cloned().collect(),
            };
            left.changes.insert(name, change);
        }
    }

    /// Topics lose the groups that have ended, and in those without a master the right to write.
    fn clear_topics(&mut self, left: &Left) {
        let Left { ended, masterless, .. } = left;
        if ended.is_empty() && masterless.is_empty() {
            return;
        }
        self.topics.retain(|_, holders| {
            holders.retain(|holder| !ended.contains(&holder.broker));
            for holder in holders.iter_mut().filter(|holder| masterless.contains(&holder.broker)) {
                holder.queues.perm &= !PERM_WRITE;
            }
            !holders.is_empty()
        });
    }

    /// Forgets the brokers whose time is over.
    pub fn expire(&mut self, now_ms: i64) -> Expired {
        let silent: Vec<(BrokerKey, u64)> = self
            .live
            .iter()
            .filter(|(_, live)| live.expires_ms() < now_ms)
            .map(|(key, live)| (key.clone(), live.channel))
            .collect();
        let departures: Vec<_> =
            silent.iter().map(|(key, _)| Departure::Broker(key.clone(), String::new())).collect();
        for (key, _) in &silent {
            tracing::warn!(address = %key.address, cluster = %key.cluster, "broker is silent, its routes end");
        }
        let min_id_changes = self.leave(&departures);
        let mut channels: Vec<u64> = silent.into_iter().map(|(_, channel)| channel).collect();
        channels.sort_unstable();
        channels.dedup();
        // A container registers several brokers over one connection; those that still talk keep it.
        channels.retain(|channel| !self.by_channel.contains_key(channel));
        Expired { channels, min_id_changes }
    }

    /// When the next broker is gone unless it is heard of.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.live.values().map(Live::expires_ms).min()
    }

    /// Whether a broker registered over this connection.
    pub fn has_channel(&self, channel: u64) -> bool {
        self.by_channel.contains_key(&channel)
    }

    fn resolve(&self, departures: &[Departure]) -> Vec<(BrokerKey, Arc<str>)> {
        let mut leaving = Vec::with_capacity(departures.len());
        for departure in departures {
            match departure {
                Departure::Channel(channel) => {
                    let brokers = self.by_channel.get(channel).into_iter().flatten();
                    leaving.extend(brokers.map(|key| (key.clone(), Arc::from(""))));
                }
                Departure::Broker(key, named) => leaving.push((key.clone(), Arc::from(&**named))),
            }
        }
        leaving
    }

    /// Forgets that a broker lives; its place in a group is another matter.
    pub(super) fn forget(&mut self, broker: &BrokerKey) -> Option<Live> {
        let live = self.live.remove(broker)?;
        if let Some(brokers) = self.by_channel.get_mut(&live.channel) {
            brokers.retain(|key| key != broker);
            if brokers.is_empty() {
                self.by_channel.remove(&live.channel);
            }
        }
        Some(live)
    }
}
