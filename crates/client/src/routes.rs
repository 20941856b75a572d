//! Routes that are known, and the addresses of brokers that they tell.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::Error;
use crate::route::{MASTER_ID, Route};

/// How long the route of a topic that nobody has yet, or that nobody may write, is used without asking again.
const UNSETTLED_AGE_MAX: Duration = Duration::from_secs(1);
/// For so long a route is used further when name servers say that there is none, and a broker that no route names: a
/// name server that was started again knows nothing until brokers register, which they do every 30 s.
const MISSED_MAX: Duration = Duration::from_secs(60);

/// Routes by topic, and addresses by broker name and id.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    known: Mutex<Known>,
    /// One asks while the others wait for what it learns.
    pub asking: tokio::sync::Mutex<Silence>,
}

/// That nobody answered who was asked for a route, and until when.
#[derive(Debug, Default)]
pub(crate) struct Silence(Option<(Instant, Error)>);

impl Silence {
    /// What also those need not find out by themselves who have waited since before it was over.
    pub fn since(&self, came: Instant) -> Option<Error> {
        let (until, error) = self.0.as_ref()?;
        (came <= *until).then(|| error.clone())
    }

    /// Somebody has asked.
    pub fn note<T>(&mut self, answer: &Result<T, Error>) {
        let silent = answer.as_ref().err().filter(|error| matches!(error, Error::NoNameServer { .. }));
        self.0 = silent.map(|error| (Instant::now(), error.clone()));
    }
}

#[derive(Debug, Default)]
struct Known {
    routes: HashMap<String, Learnt>,
    brokers: HashMap<String, Members>,
}

/// A broker group.
#[derive(Debug)]
struct Members {
    addresses: BTreeMap<i64, String>,
    /// Since when no route has named it, as far as somebody has looked.
    unnamed_since: Option<Instant>,
}

#[derive(Debug)]
struct Learnt {
    route: Arc<Route>,
    since: Instant,
    /// When name servers said for the first time that there is none, if they have only said so since.
    missed_since: Option<Instant>,
}

impl Routes {
    /// What is known of a topic, without asking.
    pub fn known(&self, topic: &str) -> Option<Arc<Route>> {
        self.known.lock().routes.get(topic).map(|learnt| Arc::clone(&learnt.route))
    }

    /// What is known of a topic and need not be asked for again. To a template only `who_sends` is content, and neither
    /// to that nor to a route without a queue to write for long.
    pub fn usable(&self, topic: &str, who_sends: bool) -> Option<Arc<Route>> {
        let known = self.known.lock();
        let Learnt { route, since, .. } = known.routes.get(topic)?;
        let may_change = route.is_template() || (who_sends && route.writable().is_empty());
        let usable = !may_change || (who_sends && since.elapsed() < UNSETTLED_AGE_MAX);
        usable.then(|| Arc::clone(route))
    }

    /// Topics that somebody has, those first whose routes are oldest.
    pub fn topics(&self) -> Vec<String> {
        let known = self.known.lock();
        let mut topics: Vec<_> = known.routes.values().filter(|learnt| !learnt.route.is_template()).collect();
        topics.sort_by_key(|learnt| learnt.since);
        topics.into_iter().map(|learnt| learnt.route.topic().to_owned()).collect()
    }

    /// Keeps a route.
    pub fn learn(&self, route: Route) -> Arc<Route> {
        let mut known = self.known.lock();
        for broker in route.brokers() {
            let members = Members { addresses: broker.broker_addrs.clone(), unnamed_since: None };
            known.brokers.insert(broker.broker_name.clone(), members);
        }
        let route = Arc::new(route);
        let learnt = Learnt { route: Arc::clone(&route), since: Instant::now(), missed_since: None };
        known.routes.insert(route.topic().to_owned(), learnt);
        route
    }

    /// Name servers say that a topic has no route. Drops the one that is known if they have said so for long enough,
    /// and tells whether it did.
    pub fn missed(&self, topic: &str, now: Instant) -> bool {
        let gone = self.known.lock().routes.get_mut(topic).is_some_and(|learnt| {
            let since = *learnt.missed_since.get_or_insert(now);
            now.saturating_duration_since(since) >= MISSED_MAX
        });
        if gone {
            self.forget(topic);
        }
        gone
    }

    /// Drops the route of a topic that is gone.
    pub fn forget(&self, topic: &str) {
        self.known.lock().routes.remove(topic);
    }

    /// Drops brokers that no route has named for a while, which heartbeats would otherwise wait for again and again,
    /// and templates that nobody sends along any more.
    pub fn tidy(&self, now: Instant) {
        let mut known = self.known.lock();
        let Known { routes, brokers } = &mut *known;
        let age = |since: Instant| now.saturating_duration_since(since);
        routes.retain(|_, learnt| !learnt.route.is_template() || age(learnt.since) < MISSED_MAX);
        let brokers_of = routes.values().flat_map(|learnt| learnt.route.brokers());
        let named: HashSet<&str> = brokers_of.map(|broker| broker.broker_name.as_str()).collect();
        brokers.retain(|name, members| {
            if named.contains(name.as_str()) {
                members.unnamed_since = None;
                return true;
            }
            age(*members.unnamed_since.get_or_insert(now)) < MISSED_MAX
        });
    }

    /// Address of the master of a broker group.
    pub fn master(&self, broker_name: &str) -> Option<String> {
        self.known.lock().brokers.get(broker_name)?.addresses.get(&MASTER_ID).cloned()
    }

    /// Address to read from: the member with this id, else the next one, else any of the group.
    pub fn reader(&self, broker_name: &str, id: i64) -> Option<String> {
        let known = self.known.lock();
        let members = &known.brokers.get(broker_name)?.addresses;
        let wanted = members.get(&id).or_else(|| if id > 0 { members.get(&(id + 1)) } else { None });
        wanted.or_else(|| members.values().next()).cloned()
    }

    /// Name of the broker group that an address belongs to.
    pub fn name_of(&self, address: &str) -> Option<String> {
        let known = self.known.lock();
        let found = known
            .brokers
            .iter()
            .find(|(_, members)| members.addresses.values().any(|member| member == address));
        found.map(|(name, _)| name.clone())
    }

    /// Addresses of all brokers that are known, of masters alone if that is enough.
    pub fn addresses(&self, masters_only: bool) -> Vec<String> {
        let known = self.known.lock();
        let members = known.brokers.values().flat_map(|members| members.addresses.iter());
        let mut addresses: Vec<String> = members
            .filter(|(id, _)| !masters_only || **id == MASTER_ID)
            .map(|(_, address)| address.clone())
            .collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::body::{BrokerData, TopicRoute};

    fn route(topic: &str, brokers: &[&str]) -> Route {
        let broker = |name: &&str| BrokerData {
            broker_name: (*name).to_owned(),
            broker_addrs: [(MASTER_ID, format!("{name}:10911"))].into(),
            ..BrokerData::default()
        };
        let broker_datas = brokers.iter().map(broker).collect();
        Route::new(topic, TopicRoute { broker_datas, ..TopicRoute::default() })
    }

    #[test]
    fn a_route_is_dropped_only_when_name_servers_have_missed_it_for_a_while() {
        let (routes, start) = (Routes::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        routes.learn(route("T", &["a"]));
        assert!(!routes.missed("T", start) && !routes.missed("T", after(59)));
        routes.learn(route("T", &["a"]));
        assert!(!routes.missed("T", after(60)), "it was there again in between");
        assert!(routes.known("T").is_some() && routes.master("a").is_some());
        assert!(!routes.missed("T", after(119)) && routes.missed("T", after(120)));
        assert!(routes.known("T").is_none());
        assert!(!routes.missed("T", after(121)), "it is gone already");
    }

    #[test]
    fn the_oldest_routes_are_the_first_to_be_asked_for_again() {
        let routes = Routes::default();
        let learn = |topic: &str| drop(routes.learn(route(topic, &["a"])));
        ["T", "U", "V", "T"].into_iter().for_each(learn);
        let raw = route("W", &["a"]).raw().clone();
        routes.learn(Route::of_template("W", raw));
        assert_eq!(routes.topics(), ["U", "V", "T"]);
    }

    #[test]
    fn a_broker_that_no_route_names_is_dropped_after_a_while() {
        let (routes, start) = (Routes::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        routes.learn(route("T", &["a", "b"]));
        routes.learn(route("U", &["a"]));
        routes.learn(route("T", &["a"]));
        routes.tidy(after(10));
        assert!(routes.master("b").is_some(), "something may still be on its way there");
        routes.tidy(after(69));
        routes.learn(route("U", &["a", "b"]));
        routes.tidy(after(70));
        assert_eq!(routes.addresses(true), ["a:10911", "b:10911"], "it was named again");
        routes.forget("U");
        routes.tidy(after(71));
        routes.tidy(after(131));
        assert_eq!(routes.addresses(true), ["a:10911"]);
    }

    #[test]
    fn a_template_is_dropped_when_nobody_sends_along_it() {
        let routes = Routes::default();
        let raw = route("T", &["a"]).raw().clone();
        routes.learn(Route::of_template("T", raw));
        let later = Instant::now() + MISSED_MAX;
        routes.tidy(later);
        routes.tidy(later + MISSED_MAX);
        assert!(routes.known("T").is_none() && routes.master("a").is_none());
    }
}
