//! Routes that are known, when they are asked for again, and the addresses of brokers that they tell.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wire::body::TopicRoute;
use wire::code::{request, response};
use wire::names::AUTO_CREATE_TOPIC;

use crate::error::Error;
use crate::fields::Fields;
use crate::route::{MASTER_ID, Route};
use crate::shared::{Shared, decode};

/// How long the route of a topic that nobody has yet is used without asking again.
const TEMPLATE_AGE_MAX: Duration = Duration::from_secs(1);

/// Routes by topic, and addresses by broker name and id.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    known: Mutex<Known>,
    /// One asks while the others wait for what it learns.
    asking: tokio::sync::Mutex<()>,
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

    fn usable(&self, topic: &str, template_too: bool) -> Option<Arc<Route>> {
        let known = self.known.lock();
        let (route, since) = known.routes.get(topic)?;
        let usable = !route.is_template() || (template_too && since.elapsed() < TEMPLATE_AGE_MAX);
        usable.then(|| Arc::clone(route))
    }

    pub fn topics(&self) -> Vec<String> {
        self.known.lock().routes.keys().cloned().collect()
    }

    fn learn(&self, route: Route) -> Arc<Route> {
        let mut known = self.known.lock();
        for broker in route.brokers() {
            known.brokers.insert(broker.broker_name.clone(), broker.broker_addrs.clone());
        }
        let route = Arc::new(route);
        known.routes.insert(route.topic().to_owned(), (Arc::clone(&route), Instant::now()));
        route
    }

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

impl Shared {
    /// The route of a topic that is there.
    pub async fn route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        match self.routes.usable(topic, false) {
            Some(route) => Ok(route),
            // Boxed, since it is rare and would make the futures of all who ask large.
            None => Box::pin(self.learn_route(topic)).await,
        }
    }

    async fn learn_route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        let _asking = self.routes.asking.lock().await;
        if let Some(route) = self.routes.usable(topic, false) {
            return Ok(route);
        }
        self.ask_for_route(topic).await
    }

    /// The route to send along: that of new topics when nobody has this one yet.
    pub async fn route_to_send(&self, topic: &str) -> Result<Arc<Route>, Error> {
        match self.routes.usable(topic, true) {
            Some(route) => Ok(route),
            None => Box::pin(self.learn_route_to_send(topic)).await,
        }
    }

    async fn learn_route_to_send(&self, topic: &str) -> Result<Arc<Route>, Error> {
        let _asking = self.routes.asking.lock().await;
        if let Some(route) = self.routes.usable(topic, true) {
            return Ok(route);
        }
        match self.ask_for_route(topic).await {
            Err(Error::NoRoute { .. }) => {
                let raw = self.ask_names_for_route(AUTO_CREATE_TOPIC).await.map_err(|error| match error {
                    Error::NoRoute { .. } => Error::NoRoute { topic: topic.to_owned() },
                    other => other,
                })?;
                Ok(self.routes.learn(Route::of_template(topic, raw)))
            }
            other => other,
        }
    }

    /// Asks again for every topic that is in use, and says whether something changed.
    pub async fn refresh_routes(&self) -> bool {
        let mut changed = false;
        for topic in self.routes.topics() {
            let before = self.routes.known(&topic);
            if before.as_ref().is_some_and(|route| route.is_template()) {
                continue;
            }
            match self.ask_for_route(&topic).await {
                Ok(after) => changed |= before.is_none_or(|before| *before != *after),
                Err(Error::NoRoute { .. }) => {
                    self.routes.forget(&topic);
                    changed = true;
                }
                // What was known stays in use while no name server answers.
                Err(error) => tracing::warn!(topic, "route is not refreshed: {error}"),
            }
        }
        changed
    }

    /// Asks a name server and keeps what it says.
    pub async fn ask_for_route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        let raw = self.ask_names_for_route(topic).await?;
        Ok(self.routes.learn(Route::new(topic, raw)))
    }

    /// Asks for the route at once if a broker said that a logical queue has moved away from it.
    pub async fn note_moved(&self, topic: &str, error: &Error) {
        if error.broker_code() != Some(response::NOT_LEADER_FOR_QUEUE) {
            return;
        }
        if let Err(error) = self.ask_for_route(topic).await {
            tracing::warn!(topic, "route is not refreshed: {error}");
        }
    }

    async fn ask_names_for_route(&self, topic: &str) -> Result<TopicRoute, Error> {
        let fields = Fields::new().text("topic", topic).flag("acceptStandardJsonOnly", true);
        let answer = self.ask_names(request::GET_ROUTEINFO_BY_TOPIC, &fields, &[]).await;
        let (server, answer) = match answer {
            Err(Error::Refused { code: response::TOPIC_NOT_EXIST, .. }) => {
                return Err(Error::NoRoute { topic: topic.to_owned() });
            }
            other => other?,
        };
        let raw: TopicRoute = decode(&server, &answer)?;
        if raw.broker_datas.is_empty() {
            return Err(Error::NoRoute { topic: topic.to_owned() });
        }
        Ok(raw)
    }
}
