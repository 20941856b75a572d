//! Routes that are known, and the addresses of brokers that they tell.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::route::{MASTER_ID, Route};

/// How long the route of a topic that nobody has yet is used without asking again.
const TEMPLATE_AGE_MAX: Duration = Duration::from_secs(1);

/// Routes by topic, and addresses by broker name and id.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    known: Mutex<Known>,
    /// One asks while the others wait for what it learns.
    pub asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    routes: HashMap<String, (Arc<Route>, Instant)>,
    brokers: HashMap<String, BTreeMap<i64, String>>,
}

impl Routes {
    /// What is known of a topic, without asking.
    pub fn known(&self, topic: &str) -> Option<Arc<Route>> {
        self.known.lock().routes.get(topic).map(|(route, _)| Arc::clone(route))
    }

    /// What is known of a topic and need not be asked for again; to a template only who sends is content.
    pub fn usable(&self, topic: &str, template_too: bool) -> Option<Arc<Route>> {
        let known = self.known.lock();
        let (route, since) = known.routes.get(topic)?;
        let usable = !route.is_template() || (template_too && since.elapsed() < TEMPLATE_AGE_MAX);
        usable.then(|| Arc::clone(route))
    }

    /// Topics with a route.
    pub fn topics(&self) -> Vec<String> {
        self.known.lock().routes.keys().cloned().collect()
    }

    /// Keeps a route.
    pub fn learn(&self, route: Route) -> Arc<Route> {
        let mut known = self.known.lock();
        for broker in route.brokers() {
            known.brokers.insert(broker.broker_name.clone(), broker.broker_addrs.clone());
        }
        let route = Arc::new(route);
        known.routes.insert(route.topic().to_owned(), (Arc::clone(&route), Instant::now()));
        route
    }

    /// Drops the route of a topic that is gone, and brokers that no other route names.
    pub fn forget(&self, topic: &str) {
        let mut known = self.known.lock();
        known.routes.remove(topic);
        let named: Vec<String> = known
            .routes
            .values()
            .flat_map(|(route, _)| route.brokers().iter().map(|broker| broker.broker_name.clone()))
            .collect();
        known.brokers.retain(|name, _| named.contains(name));
    }

    /// Address of the master of a broker group.
    pub fn master(&self, broker_name: &str) -> Option<String> {
        self.known.lock().brokers.get(broker_name)?.get(&MASTER_ID).cloned()
    }

    /// Address to read from: the member with this id, else the next one, else any of the group.
    pub fn reader(&self, broker_name: &str, id: i64) -> Option<String> {
        let known = self.known.lock();
        let members = known.brokers.get(broker_name)?;
        let wanted = members.get(&id).or_else(|| if id > 0 { members.get(&(id + 1)) } else { None });
        wanted.or_else(|| members.values().next()).cloned()
    }

    /// Name of the broker group that an address belongs to.
    pub fn name_of(&self, address: &str) -> Option<String> {
        let known = self.known.lock();
        let found =
            known.brokers.iter().find(|(_, members)| members.values().any(|member| member == address));
        found.map(|(name, _)| name.clone())
    }

    /// Addresses of all brokers that are known, of masters alone if that is enough.
    pub fn addresses(&self, masters_only: bool) -> Vec<String> {
        let known = self.known.lock();
        let members = known.brokers.values().flat_map(|members| members.iter());
        let mut addresses: Vec<String> = members
            .filter(|(id, _)| !masters_only || **id == MASTER_ID)
            .map(|(_, address)| address.clone())
            .collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }
}
