//! From the tables to what clients and tools ask for: routes, cluster info, topic lists (cluster.md §1.7, §1.9).

use std::collections::{BTreeMap, BTreeSet};

use wire::body::{BrokerMemberGroup, ClusterInfo, PERM_WRITE, TopicList, TopicRoute};

use crate::tables::{Holder, MASTER_ID, Tables};

/// Topics of this kind show the true members of a group, so nobody acts as master in their routes.
const SYNC_MEMBERS_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";
/// Topic flag: the topic belongs to a unit.
pub(crate) const FLAG_UNIT: i32 = 1;
/// Topic flag: the topic is subscribed to within units.
pub(crate) const FLAG_UNIT_SUB: i32 = 2;

impl Tables {
    /// Where a topic lives; `None` when no broker is known that holds it.
    pub fn route(&self, topic: &str, support_acting_master: bool) -> Option<TopicRoute> {
        let holders = self.holders(topic);
        let mapping_of =
            |holder: &Holder| Some((holder.broker.to_string(), (**holder.mapping.as_ref()?).clone()));
        let mappings: BTreeMap<_, _> = holders.iter().filter_map(mapping_of).collect();
        let mut route = TopicRoute {
            queue_datas: holders.iter().map(Holder::queue_data).collect(),
            topic_queue_mapping_by_broker: (!mappings.is_empty()).then_some(mappings),
            ..TopicRoute::default()
        };
        for holder in holders {
            let Some(group) = self.groups().get(&holder.broker) else { continue };
            let mut data = group.broker_data(&holder.broker);
            let may_act = support_acting_master
                && data.enable_acting_master
                && holder.queues.perm & PERM_WRITE == 0
                && !data.broker_addrs.contains_key(&MASTER_ID)
                && !topic.starts_with(SYNC_MEMBERS_PREFIX);
            if may_act && let Some((_, address)) = data.broker_addrs.pop_first() {
                // Clients read from id 0 only; the missing write permission keeps producers away.
                data.broker_addrs.insert(MASTER_ID, address);
            }
            route.broker_datas.push(data);
        }
        (!route.broker_datas.is_empty()).then_some(route)
    }

    /// All brokers and clusters.
    pub fn cluster_info(&self) -> ClusterInfo {
        let mut info = ClusterInfo::default();
        for (name, group) in self.groups() {
            info.broker_addr_table.insert(name.to_string(), group.broker_data(name));
            info.cluster_addr_table.entry(group.cluster.clone()).or_default().insert(name.to_string());
        }
        info
    }

    /// The members of a group; none when it is unknown.
    pub fn members(&self, cluster: &str, broker: &str) -> BrokerMemberGroup {
        BrokerMemberGroup {
            broker_addrs: self.groups().get(broker).map(|group| group.addresses.clone()).unwrap_or_default(),
            broker_name: broker.to_owned(),
            cluster: cluster.to_owned(),
        }
    }

    /// The topics for which `wanted` holds, in no order.
    pub fn topic_names(&self, wanted: impl Fn(&[Holder]) -> bool) -> Vec<String> {
        let topics = self.topics().filter(|(_, holders)| wanted(holders));
        topics.map(|(topic, _)| topic.to_owned()).collect()
    }

    /// The topics of a cluster, in no order.
    pub fn topics_of_cluster(&self, cluster: &str) -> Vec<String> {
        let is_there =
            |holder: &Holder| self.groups().get(&holder.broker).is_some_and(|group| group.cluster == cluster);
        self.topic_names(|holders| holders.iter().any(is_there))
    }

    /// The topics whose first holder says so by its flags, in no order.
    pub fn topics_flagged(&self, wanted: impl Fn(i32) -> bool) -> Vec<String> {
        self.topic_names(|holders| holders.first().is_some_and(|holder| wanted(holder.queues.sys_flag)))
    }

    /// Names that are topics in every cluster: clusters and brokers. With them the address of a broker, which
    /// knows the rest.
    pub fn system_topics(&self) -> TopicList {
        let mut names = BTreeSet::new();
        for (name, group) in self.groups() {
            names.insert(group.cluster.clone());
            names.insert(name.to_string());
        }
        let broker = self.groups().values().next().and_then(|group| group.addresses.values().next());
        TopicList { broker_addr: broker.cloned(), topic_list: names.into_iter().collect() }
    }
}

/// Removes the brokers of other zones that have a master; without a master, any zone is better than none.
pub(crate) fn keep_zone(route: &mut TopicRoute, zone: &str) {
    let mut removed = BTreeSet::new();
    route.broker_datas.retain(|data| {
        let here = data.zone_name.as_deref().is_some_and(|name| name.to_lowercase() == zone.to_lowercase());
        let keep = here || !data.broker_addrs.contains_key(&MASTER_ID);
        if !keep {
            removed.insert(data.broker_name.clone());
        }
        keep
    });
    route.queue_datas.retain(|data| !removed.contains(&data.broker_name));
}
